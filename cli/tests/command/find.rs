//! Finding events in a store: the newest of a type, of streams, since a time.

use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::{Place, Ran, Running, treering};

/// Many steps; a failure in stream `b/1` and one in `a` before them, one in `b/2` among them.
fn filled() -> Place {
    let place = Place::new();
    let failure = |stream: &str, text: &str| {
        place.feed("append", &[stream, "--type", "failure"], format!("{text}\n").as_bytes()).ok();
    };
    let steps = |stream: &str, count: usize| {
        let lines: String = (0..count).map(|number| format!("{stream} {number}\n")).collect();
        place.feed("append", &[stream, "--type", "step", "--batch", "50"], lines.as_bytes()).ok();
    };
    failure("b/1", "first");
    failure("a", "second");
    steps("a", 700);
    failure("b/2", "third");
    steps("b/1", 40);
    steps("a", 40);
    place
}

fn payloads(ran: Ran) -> Vec<String> {
    ran.json().iter().map(|event| event["payload"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_newest_are_those_of_what_else_is_asked_for() {
    let place = filled();
    let cases: &[(&[&str], &[&str])] = &[
        (&["--type", "failure"], &["first", "second", "third"]),
        (&["--type", "failure", "--last", "2"], &["second", "third"]),
        (&["--type", "failure", "--last", "9"], &["first", "second", "third"]),
        (&["--type", "failure", "--last", "0"], &[]),
        (&["--type", "none", "--last", "2"], &[]),
        (&["--streams", "b/", "--last", "1"], &["b/1 39"]),
        (&["--streams", "b/2", "--last", "2"], &["third"]),
        (&["--streams", "b/", "--type", "failure", "--last", "1"], &["third"]),
        (&["--type", "failure", "--since", "1h", "--last", "1"], &["third"]),
        (&["--type", "failure", "--until", "1h", "--last", "1"], &[]),
        (&["a", "--type", "failure", "--last", "1"], &["second"]),
        (&["a", "--type", "step", "--last", "1"], &["a 39"]),
        (&["a", "--type", "failure", "--last", "1", "--at", "2026-02-12"], &[]),
    ];
    for (args, expected) in cases {
        assert_eq!(payloads(place.run("cat", &[&["--json"], *args].concat())), *expected, "{args:?}");
    }
    let cases: &[(&[&str], &[&str])] = &[
        (&["--type", "failure"], &["first", "second", "third"]),
        (&["--type", "failure", "-n", "1"], &["third"]),
        (&["--streams", "b/2"], &["third"]),
        (&["--streams", "b/", "-n", "1"], &["b/1 39"]),
        (&["a", "--type", "failure", "-n", "1"], &["second"]),
    ];
    for (args, expected) in cases {
        assert_eq!(payloads(place.run("tail", &[&["--json"], *args].concat())), *expected, "{args:?}");
    }
    place.run("tail", &["a", "--streams", "b"]).failed(2, "cannot be used with");
}

#[test]
fn what_is_followed_is_what_is_asked_for() {
    let place = filled();
    let follow =
        |args: &[&str]| Running::start(treering(["tail"]).arg(place.store()).args(args).args(["-f", "--json"]));
    let next = |running: &Running| {
        let event: Value = serde_json::from_str(&running.next()).unwrap();
        event["payload"].as_str().unwrap().to_owned()
    };
    let failures = follow(&["--type", "failure", "-n", "1"]);
    let streams = follow(&["--streams", "b/", "-n", "1"]);
    let both = follow(&["--streams", "b/", "--type", "failure", "-n", "1"]);
    assert_eq!((next(&failures), next(&streams), next(&both)), ("third".into(), "b/1 39".into(), "third".into()));
    place.feed("append", &["a", "--type", "failure"], b"fourth\n").ok();
    place.feed("append", &["b/3", "--type", "step"], b"a step\n").ok();
    place.feed("append", &["b/3", "--type", "failure"], b"fifth\n").ok();
    assert_eq!([next(&failures), next(&failures)], ["fourth", "fifth"]);
    assert_eq!([next(&streams), next(&streams)], ["a step", "fifth"]);
    assert_eq!(next(&both), "fifth");
}

/// Damage where nothing of that time can be is not met, so nothing there was read.
#[test]
fn since_does_not_read_what_was_recorded_long_before() {
    let old = filled();
    let days = |days: i64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
        now - days * 86_400 * 1_000_000_000
    };
    let mut lines = old.run("export", &[]).json();
    let count = lines.len();
    for (number, line) in lines.iter_mut().enumerate() {
        line["recorded_at"] = if number < count / 2 { days(10) } else { days(3) }.into();
    }
    // One of them was recorded by a clock that was behind: it happened later.
    lines[count - 1]["recorded_at"] = (days(0) - 3_600_000_000_000 * 3).into();
    lines[count - 1]["occurred_at"] = (days(0) - 3_600_000_000_000).into();
    let place = Place::new();
    let file = place.write("all.jsonl", lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    place.run("import", &[file.to_str().unwrap(), "--format", "treering"]).ok();
    place.feed("append", &["a"], b"today\n").ok();
    let segment = place.store().join("0000000000000000.segment");
    let bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(5).position(|window| window == b"a 100").unwrap();
    std::fs::OpenOptions::new().write(true).open(&segment).unwrap().write_at(b"A", at as u64).unwrap();
    let since = |args: &[&str]| place.run("cat", &[&["--json", "--since"], args].concat());
    assert_eq!(payloads(since(&["2h"])), ["a 39", "today"]);
    assert_eq!(payloads(since(&["2h", "--last", "1"])), ["today"]);
    assert_eq!(payloads(since(&["2h", "a"])), ["a 39", "today"]);
    assert_eq!(payloads(since(&["2h", "a", "--last", "1"])), ["today"]);
    assert_eq!(payloads(since(&["2h", "a", "--type", "step"])), ["a 39"]);
    assert_eq!(payloads(since(&["4d", "--last", "2"])), ["a 39", "today"]);
    since(&["11d"]).failed(4, "of damage");
    since(&["11d", "a"]).failed(4, "of damage");
}
