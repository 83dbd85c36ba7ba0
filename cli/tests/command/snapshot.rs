//! Snapshots: made from standard input, listed, and the contexts that are read through them.

use serde_json::Value;

use crate::support::Place;

fn session() -> Place {
    let place = Place::new();
    let lines: String = (0..10).map(|number| format!("turn {number}\n")).collect();
    place.feed("append", &["session"], lines.as_bytes()).ok();
    place
}

fn texts(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["payload"].as_str().unwrap()).collect()
}

#[test]
fn what_the_engine_keeps_is_counted_apart_by_all_who_count() {
    let place = session();
    place.feed("snapshot", &["session", "--range", "0..6", "--label", "sum"], b"what was said\nand more\n").ok();
    let token = place.run("cat", &["session", "--json"]).json()[2]["token"].as_str().unwrap().to_owned();
    place.run("cursor", &["indexer", "--set", &token]).ok();
    place.run("cursor", &["other", "--set", &token]).ok();
    for command in ["stat", "verify"] {
        let told = place.last_json(command, &["--json"]);
        let of = |what: &str| told[what].as_u64().unwrap();
        let counts = [of("events"), of("streams"), of("engine_events"), of("engine_streams")];
        assert_eq!(counts, [10, 1, 4, 3], "{command}: {told}");
    }
    assert_eq!(place.run("cat", &["--json"]).json().len(), 10);
    assert_eq!(place.run("streams", &["--json"]).json().len(), 1);
    let stat = place.run("stat", &[]).text();
    assert!(
        stat.contains("events      10\nstreams     1\nand         4 events in 3 streams of the engine's own\n"),
        "{stat}"
    );
    let verified = place.run("verify", &[]).text();
    assert!(
        verified.starts_with("clean: 10 events of 1 stream, and 4 events of 3 streams of the engine's own in "),
        "{verified}"
    );
    let plain = Place::new();
    plain.feed("append", &["s"], b"one\n").ok();
    assert!(!plain.run("stat", &[]).text().contains("engine") && !plain.run("verify", &[]).text().contains("engine"));
}

#[test]
fn a_snapshot_stands_beside_its_range_and_contexts_are_read_through_it() {
    let place = session();
    let before = place.raw("session");
    let told = place.feed("snapshot", &["session", "--range", "0..6", "--label", "sum"], b"what was said\nand more\n");
    let expected = "sum: 2 events for 6 of session, revisions 0 to 5, synced\n";
    assert_eq!(told.text(), expected);
    let context = place.run("context", &["session", "--json"]).json();
    assert_eq!(texts(&context), ["what was said", "and more", "turn 6", "turn 7", "turn 8", "turn 9"]);
    let stands_for = serde_json::json!({"label":"sum","version":"","range":[0,6]});
    assert_eq!((&context[0]["snapshot"], &context[2]["snapshot"]), (&stands_for, &Value::Null));
    assert_eq!(context[0]["type"], "summary");
    let shown = place.run("context", &["session"]).text();
    assert!(shown.contains("for revisions 0 to 5, by sum:") && shown.contains("turn 6"), "{shown}");
    assert_eq!(place.run("context", &["session", "--raw", "--label", "no such"]).ok(), before);
    assert_eq!(place.run("context", &["session", "--raw", "--at", "3"]).ok(), b"turn 0\nturn 1\nturn 2\nturn 3\n");
    assert_eq!(place.raw("session"), before, "nothing of the stream is changed");
    assert_eq!(place.run("cat", &["--json"]).json().len(), 10, "and nobody meets it who reads the log");
    assert_eq!(place.run("streams", &["--json"]).json().len(), 1);

    let made = serde_json::from_slice::<Value>(
        &place
            .feed("snapshot", &["session", "--range", "6..9", "--label", "sum", "--version", "2", "--json"], b"fed\n")
            .ok(),
    )
    .unwrap();
    assert_eq!((&made["range"], &made["version"]), (&serde_json::json!([6, 9]), &"2".into()));
    let listed = place.run("snapshots", &["session", "--json"]).json();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1], made);
    assert_eq!(listed[0]["chain_end"], listed[1]["chain_before"]);
    let side = made["stream"].as_str().unwrap();
    assert_eq!(place.run("cat", &[side, "--from", "2", "--raw"]).ok(), b"fed\n");
    let proven = place.run("context", &["session", "--proven", "--json"]).json();
    assert_eq!(texts(&proven), ["what was said", "and more", "fed", "turn 9"]);
    assert!(place.run("snapshots", &["session"]).text().contains("sum"));
    place.is_clean();
}

#[test]
fn a_fork_is_read_through_its_parents_snapshots() {
    let place = session();
    place.feed("snapshot", &["session", "--range", "0..4", "--label", "sum"], b"early\n").ok();
    place.feed("snapshot", &["session", "--range", "0..9", "--label", "sum"], b"late\n").ok();
    place.run("fork", &["session@6", "other"]).ok();
    place.feed("append", &["other"], b"its own\n").ok();
    let context = place.run("context", &["other", "--json"]).json();
    assert_eq!(texts(&context), ["early", "turn 4", "turn 5", "turn 6", "its own"]);
}

#[test]
fn a_budget_keeps_snapshots_and_the_newest_events() {
    let place = session();
    place.feed("snapshot", &["session", "--range", "0..4", "--label", "sum"], b"short\n").ok();
    // A token for three ASCII characters: two each.
    let context = place.run("context", &["session", "--budget", "8", "--json"]);
    assert_eq!(texts(&context.json()), ["short", "turn 7", "turn 8", "turn 9"]);
    assert!(place.run("context", &["session", "--budget", "1", "--json"]).json().is_empty());
}

#[test]
fn what_cannot_be_a_snapshot_says_why_and_changes_nothing() {
    let place = session();
    let before = place.run("export", &[]).ok();
    let feed = |args: &[&str], input: &[u8]| place.feed("snapshot", args, input);
    feed(&["session", "--range", "0..11", "--label", "l"], b"x\n").failed(1, "ends with revision 9");
    feed(&["nobody", "--range", "0..1", "--label", "l"], b"x\n").failed(1, "no stream");
    feed(&["session", "--range", "0..1", "--label", "l"], b"").failed(1, "no event");
    feed(&["session", "--range", "4..2", "--label", "l"], b"x\n").failed(2, "holds no revision");
    feed(&["session", "--range", "4", "--label", "l"], b"x\n").failed(2, "two revisions");
    feed(&["session", "--range", "0..1", "--label", ""], b"x\n").failed(2, "not empty");
    place.run("context", &["nobody"]).failed(1, "no stream");
    place.run("context", &["session", "--at", "10"]).failed(1, "ends with revision 9");
    place.run("snapshots", &["nobody"]).failed(1, "no stream");
    assert_eq!(place.run("export", &[]).ok(), before);
}

#[test]
fn a_snapshot_that_is_lost_is_told_and_passed_over() {
    let place = session();
    place.feed("snapshot", &["session", "--range", "0..4", "--label", "sum"], b"early\n").ok();
    place.feed("snapshot", &["session", "--range", "0..8", "--label", "sum"], b"to be lost\n").ok();
    let path = place.store().join("0000000000000000.segment");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(10).position(|window| window == b"to be lost").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let context = place.run("context", &["session", "--raw"]);
    assert!(context.ok().starts_with(b"early\nturn 4\n"));
    place.run("verify", &[]).failed(4, "damage");
}
