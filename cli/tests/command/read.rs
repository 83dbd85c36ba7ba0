//! `cat`, `tail`, `streams`, `stat`, `dump`: what is shown, to whom, and while others write.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Place, Ran, Running, treering};

fn filled() -> Place {
    let place = Place::new();
    place.feed("append", &["a", "--type", "ta"], b"a0\na1\na2\n").ok();
    place.feed("append", &["b", "--type", "tb"], b"b0\nb1\n").ok();
    place.feed("append", &["a", "--type", "ta"], b"a3\n").ok();
    place
}

fn payloads(ran: Ran) -> Vec<String> {
    ran.json().iter().map(|event| event["payload"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn cat_shows_the_stretch_that_was_asked_for() {
    let place = filled();
    let cases: &[(&[&str], &str)] = &[
        (&[], "a0\na1\na2\na3\n"),
        (&["--from", "2"], "a2\na3\n"),
        (&["--to", "1"], "a0\na1\n"),
        (&["--from", "1", "--to", "2"], "a1\na2\n"),
        (&["--from", "3", "--to", "3"], "a3\n"),
        (&["--last", "2"], "a2\na3\n"),
        (&["--last", "99"], "a0\na1\na2\na3\n"),
        (&["--last", "0"], ""),
        (&["--from", "4"], ""),
        (&["--from", "2", "--to", "1"], ""),
        (&["--from", "18446744073709551615"], ""),
        (&["--durable"], "a0\na1\na2\na3\n"),
    ];
    for (args, expected) in cases {
        let raw = place.run("cat", &[&["a", "--raw"], *args].concat()).text();
        assert_eq!(raw, *expected, "{args:?}");
        let json = payloads(place.run("cat", &[&["a", "--json"], *args].concat()));
        assert_eq!(json, expected.lines().collect::<Vec<_>>(), "{args:?}");
        assert_eq!(place.run("cat", &[&["a"], *args].concat()).text().lines().count(), json.len());
    }
    place.run("cat", &["a", "--raw", "--json"]).failed(2, "cannot be used with");
    place.run("cat", &["gone"]).failed(1, "there is no stream gone; `treering streams` lists what there is");
    for name in ["session/1", "session/2", "solo"] {
        place.feed("append", &[name], b"x\n").ok();
    }
    place.run("cat", &["so"]).failed(1, "there is no stream so; one begins so: solo");
    let words =
        "there is no stream session; 2 begin so, session/1 among them: `treering streams STORE session` lists them";
    place.run("cat", &["session"]).failed(1, words);
}

#[test]
fn cat_shows_all_streams_or_those_that_are_asked_for_in_the_order_of_the_log() {
    let place = filled();
    place.feed("append", &["bc", "--type", "ta"], b"c0\n").ok();
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["a0", "a1", "a2", "b0", "b1", "a3", "c0"]),
        (&["--type", "ta"], &["a0", "a1", "a2", "a3", "c0"]),
        (&["--streams", "b"], &["b0", "b1", "c0"]),
        (&["--streams", "b", "--type", "ta"], &["c0"]),
        (&["--streams", "x"], &[]),
        (&["--last", "3"], &["b1", "a3", "c0"]),
        (&["--last", "3", "--streams", "b"], &["b0", "b1", "c0"]),
        (&["--since", "0s"], &[]),
        (&["--at", "2026-02-12"], &[]),
    ];
    for (args, expected) in cases {
        assert_eq!(payloads(place.run("cat", &[&["--json"], *args].concat())), *expected, "{args:?}");
    }
    let text = place.run("cat", &["--streams", "bc"]).text();
    assert!(text.starts_with("bc 0  "), "each line names its stream: {text}");
    place.run("cat", &["--raw"]).failed(2, "required");
    place.run("cat", &["--from", "2"]).failed(2, "required");
    place.run("cat", &["a", "--streams", "b"]).failed(2, "cannot be used with");
}

/// Events that happened an hour apart, recorded now; and a store that is exported as it was between two appends.
#[test]
fn times_choose_by_when_it_happened_and_at_by_when_it_was_recorded() {
    let place = Place::new();
    let line = |hour: u32, kind: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"sessionId\":\"s\",\"timestamp\":\"2026-02-12T{hour:02}:00:00Z\",\"n\":{hour}}}\n"
        )
    };
    let lines: Vec<String> = (10..16).map(|hour| line(hour, if hour % 2 == 0 { "user" } else { "failure" })).collect();
    let path = place.write("s.jsonl", lines.concat());
    place.run("import", &[path.to_str().unwrap(), "--stream", "s"]).ok();
    let cases: &[(&[&str], std::ops::Range<usize>)] = &[
        (&["--since", "2026-02-12T12:00:00Z"], 2..6),
        (&["--since", "2026-02-12T13:00:00+01:00", "--until", "2026-02-12T14:00:00Z"], 2..4),
        (&["--until", "2026-02-12"], 0..0),
        (&["--since", "2026-02-12"], 0..6),
        (&["--since", "0s"], 0..0),
        (&["--at", "0s"], 0..6),
        (&["--at", "2026-02-12T23:00:00Z"], 0..0),
    ];
    for (args, expected) in cases {
        let raw = place.run("cat", &[&["s", "--raw"], *args].concat()).text();
        assert_eq!(raw, lines[expected.clone()].concat(), "{args:?}");
    }
    let failures = place.run("cat", &["s", "--raw", "--type", "failure", "--since", "2026-02-12T12:30:00Z"]).text();
    assert_eq!(failures, [&lines[3][..], &lines[5][..]].concat());
    place.run("cat", &["s", "--since", "yesterday"]).failed(2, "how long ago");
    let before = place.run("export", &[]).text();
    std::thread::sleep(Duration::from_millis(3));
    place.feed("append", &["later"], b"x\n").ok();
    // Its time is shown in whole milliseconds, rounded down: after all that came before, and not after itself.
    let shown = place.run("cat", &["later"]).text();
    let time = shown.split_whitespace().nth(1).unwrap();
    assert_eq!(place.run("export", &["--at", time]).text(), before);
    assert_eq!(place.run("cat", &["later", "--at", time]).text(), "");
    assert_eq!(place.run("export", &["--at", "0s"]).json().len(), 7);
}

#[test]
fn raw_shows_the_file_as_it_was_at_a_revision() {
    let place = Place::new();
    for text in ["one\ntw", "one\ntwo\nthr", "one\ntwo\nthree\n"] {
        let path = place.write("f.jsonl", text);
        place.run("import", &[path.to_str().unwrap(), "--format", "jsonl"]).ok();
    }
    assert_eq!(place.events(), 5);
    for (to, expected) in [("0", "one\n"), ("1", "one\ntw"), ("2", "one\ntwo\n"), ("3", "one\ntwo\nthr")] {
        assert_eq!(place.run("cat", &["f", "--raw", "--to", to]).text(), expected);
    }
    assert_eq!(place.raw("f"), b"one\ntwo\nthree\n");
}

#[test]
fn people_see_no_control_characters_and_programs_see_everything() {
    let place = Place::new();
    place.feed("append", &["s", "--type", "t\u{1b}[2J"], b"\x1b[31mred\x07\xff\n").ok();
    let text = place.run("cat", &["s"]).text();
    assert!(text.contains("\\u{1b}[31mred\\u{7}\u{fffd}") && text.contains("t\\u{1b}[2J"), "{text}");
    assert!(!text.contains('\u{1b}'));
    assert_eq!(place.raw("s"), b"\x1b[31mred\x07\xff\n");
    assert_eq!(place.run("cat", &["s", "--json"]).json()[0]["payload_base64"], "G1szMW1yZWQH/w==");
}

#[test]
fn tail_shows_the_newest_of_one_stream_and_of_all() {
    let place = filled();
    assert_eq!(payloads(place.run("tail", &["--json"])), ["a0", "a1", "a2", "b0", "b1", "a3"]);
    assert_eq!(payloads(place.run("tail", &["--json", "-n", "3"])), ["b0", "b1", "a3"]);
    assert_eq!(payloads(place.run("tail", &["--json", "-n", "0"])), [""; 0]);
    assert_eq!(payloads(place.run("tail", &["a", "--json", "-n", "2"])), ["a2", "a3"]);
    let text = place.run("tail", &["-n", "2"]).text();
    assert!(text.lines().next().unwrap().starts_with("b 1  "), "{text}");
    place.run("tail", &["gone"]).failed(1, "there is no stream gone");
}

/// A `tail -f` of another process, event by event.
struct Following(Running);

impl Following {
    fn start(place: &Place, args: &[&str]) -> Following {
        Following(Running::start(treering(["tail"]).arg(place.store()).args(args).args(["-f", "--json"])))
    }

    fn next(&self) -> String {
        let event: serde_json::Value = serde_json::from_str(&self.0.next()).unwrap();
        event["payload"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_follower_in_another_process_sees_what_is_appended() {
    let place = filled();
    let all = Following::start(&place, &["-n", "2"]);
    let one = Following::start(&place, &["a", "-n", "1"]);
    let new = Following::start(&place, &["b", "-n", "0"]);
    assert_eq!((all.next(), all.next(), one.next()), ("b1".into(), "a3".into(), "a3".into()));
    for round in 0..3 {
        place.feed("append", &["a"], format!("a-live {round}\n").as_bytes()).ok();
        place.feed("append", &["b", "--durability", "written"], format!("b-live {round}\n").as_bytes()).ok();
        assert_eq!(all.next(), format!("a-live {round}"));
        assert_eq!(all.next(), format!("b-live {round}"));
        assert_eq!(one.next(), format!("a-live {round}"));
        assert_eq!(new.next(), format!("b-live {round}"));
    }
    place.feed("append", &["c"], b"a new stream\n").ok();
    assert_eq!(all.next(), "a new stream");
}

#[test]
fn a_token_of_a_receipt_or_an_event_is_where_reading_goes_on() {
    let place = filled();
    let events = place.run("tail", &["--json"]).json();
    let token = |event: &serde_json::Value| event["token"].as_str().unwrap().to_owned();
    for (number, event) in events.iter().enumerate() {
        let rest: Vec<String> =
            events[number + 1..].iter().map(|event| event["payload"].as_str().unwrap().to_owned()).collect();
        assert_eq!(payloads(place.run("tail", &["--json", "--after", &token(event)])), rest);
        let of_a: Vec<String> = rest.iter().filter(|payload| payload.starts_with('a')).cloned().collect();
        for command in ["tail", "cat"] {
            assert_eq!(payloads(place.run(command, &["a", "--json", "--after", &token(event)])), of_a, "{command}");
        }
    }
    let receipts = place.feed("append", &["a", "--json"], b"a4\na5\n").json();
    let following = Following::start(&place, &["--after", &token(&receipts[0])]);
    assert_eq!(following.next(), "a5");
    place.feed("append", &["b"], b"b-live\n").ok();
    assert_eq!(following.next(), "b-live");
    assert!(!place.run("export", &[]).text().contains("token"), "what leaves the store has no place in it");

    let good = token(&events[0]);
    let other = if &good[50..51] == "A" { "B" } else { "A" };
    let bad = format!("{}{other}{}", &good[..50], &good[51..]);
    for wrong in ["x", &good[1..], &bad] {
        place.run("tail", &["--after", wrong]).failed(2, "no cursor token");
    }
    place.run("tail", &["--after", &good, "-n", "1"]).failed(2, "cannot be used with");
    let other = filled();
    let ran = other.run("tail", &["--after", &good, "--json"]).failed(1, "the token is of the store");
    let failure: serde_json::Value = serde_json::from_str(ran.stderr.trim()).unwrap();
    assert_eq!((&failure["error"], &failure["exit_code"]), (&"foreign_token".into(), &1.into()));
}

#[test]
fn a_follower_sees_lines_while_the_writer_still_runs() {
    let place = filled();
    let following = Following::start(&place, &["a", "-n", "0"]);
    let mut writer = treering(["append"]).arg(place.store()).arg("a").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = writer.stdin.take().unwrap();
    let mut worst = Duration::ZERO;
    for number in 0..10 {
        std::thread::sleep(Duration::from_millis(20));
        let started = Instant::now();
        writeln!(stdin, "live {number}").unwrap();
        assert_eq!(following.next(), format!("live {number}"));
        worst = worst.max(started.elapsed());
    }
    // A follower that was not woken looks by itself after a minute.
    assert!(worst < PATIENCE / 3, "{worst:?}");
    drop(stdin);
    assert!(writer.wait().unwrap().success());
}

#[test]
fn a_reader_of_output_that_goes_away_is_no_error() {
    let place = Place::new();
    let input: String = (0..20_000).map(|number| format!("{number} {}\n", "x".repeat(50))).collect();
    place.feed("append", &["s", "--batch", "1000"], input.as_bytes()).ok();
    for args in
        [&["cat", "s"][..], &["cat", "s", "--raw"], &["cat", "s", "--json"], &["export"], &["tail", "-n", "20000"]]
    {
        let mut child = treering([args[0]]).arg(place.store()).args(&args[1..]).spawn().unwrap();
        let mut some = [0; 100];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        // Standard output is closed now, far from its end.
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn streams_and_stat_say_what_there_is() {
    let place = filled();
    let streams = place.run("streams", &["--json"]).json();
    let told: Vec<_> = streams.iter().map(|s| (s["stream"].as_str().unwrap(), s["events"].as_u64().unwrap())).collect();
    assert_eq!(told, [("a", 4), ("b", 2)]);
    let text = place.run("streams", &[]).text();
    assert_eq!(text.lines().count(), 3, "{text}");
    let stat = place.last_json("stat", &["--json"]);
    assert_eq!((&stat["events"], &stat["streams"]), (&6.into(), &2.into()));
    assert_eq!(stat["committed"], stat["durable"], "everything is durable after a clean close");
    assert!(stat["segments"].as_u64().unwrap() >= 1 && stat["bytes"].as_u64().unwrap() > 0);
    assert_eq!(stat["damage"], serde_json::json!([]));
    assert!(stat["disk_bytes"].as_u64().unwrap() < 200 << 10, "a small store costs little: {stat}");
    let text = place.run("stat", &[]).text();
    assert!(text.contains("events      6") && text.contains("indexes     none needed yet"), "{text}");
}

/// A store of three segments, of which two are finished.
#[test]
fn reindex_makes_the_indexes_anew_and_stat_counts_them() {
    let place = Place::new();
    let lines: String = (0..9_000).map(|number| format!("{number} {}\n", "x".repeat(15_000))).collect();
    place.feed("append", &["s", "--batch", "100"], lines.as_bytes()).ok();
    let made = place.last_json("reindex", &["--json"]);
    assert_eq!((&made["indexed_segments"], &made["left_out"]), (&2.into(), &serde_json::json!([])), "{made}");
    let stat = place.last_json("stat", &["--json"]);
    assert_eq!((&stat["indexed_segments"], &stat["index_bytes"]), (&2.into(), &made["index_bytes"]), "{stat}");
    let directory = &stat["directory"];
    assert_eq!(directory["streams"], 1, "{stat}");
    assert!(directory["behind"].as_u64().unwrap() < 2 << 20, "it reaches to the last index block: {stat}");
    let text = place.run("stat", &[]).text();
    assert!(text.contains("indexes     2 segments of ") && text.contains("directory   1 stream in "), "{text}");
    let index = place.store().join("0000000000000001.index");
    let bytes = std::fs::read(&index).unwrap();
    let mut flipped = bytes.clone();
    flipped[4500] ^= 1;
    std::fs::write(&index, &flipped).unwrap();
    let verified = place.run("verify", &[]);
    assert!(verified.text().contains("note: 0000000000000001.index: "), "it is no damage, and told");
    assert!(place.run("reindex", &[]).text().starts_with("2 segments indexed, "));
    assert_eq!(std::fs::read(&index).unwrap(), bytes);
}

#[test]
fn reading_changes_no_file() {
    let place = filled();
    let look = || {
        let mut files: Vec<_> = std::fs::read_dir(place.store())
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let modified = path.metadata().unwrap().modified().unwrap();
                (path.clone(), modified, std::fs::read(&path).unwrap())
            })
            .collect();
        files.sort();
        files
    };
    let before = look();
    for args in [&["cat", "a"][..], &["tail"], &["streams"], &["stat"], &["verify"], &["export"]] {
        place.run(args[0], &args[1..]).ok();
    }
    assert!(look() == before);
}

#[test]
fn every_file_of_a_store_can_be_dumped_and_twice_the_same() {
    let place = filled();
    let mut files = 0;
    for entry in std::fs::read_dir(place.store()).unwrap() {
        let path = entry.unwrap().path();
        let dump = || Ran::from(treering(["dump"]).arg(&path).output().unwrap()).text();
        let text = dump();
        assert!(!text.is_empty(), "{}", path.display());
        assert_eq!(text, dump());
        files += 1;
    }
    assert!(files >= 2, "an identity and a segment at least");
    let other = place.write("other", "no file of a store");
    assert_ne!(Ran::from(treering(["dump"]).arg(other).output().unwrap()).code, 0);
}
