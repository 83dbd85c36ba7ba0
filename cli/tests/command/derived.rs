//! What is made from the log, in the hands of somebody who has the command only: how it is, and how it is made anew.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::support::{Place, treering};

/// A store of two segments, the first of which is finished: the folder was copied, so its writer went on in a new one.
fn filled() -> (Place, PathBuf) {
    let place = Place::new();
    let lines: String = (0..20_000).map(|number| format!("{number} {}\n", "x".repeat(80))).collect();
    for stream in ["a", "b"] {
        place.feed("append", &[stream, "--batch", "10"], lines.as_bytes()).ok();
    }
    let copy = place.path("copy");
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(place.store()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    place.run_on(&copy, "reindex", &[]).ok();
    (place, copy)
}

/// Removes the files whose names begin or end so.
fn remove(store: &Path, part: &str) -> usize {
    let names = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    let meant: Vec<_> = names.filter(|path| path.file_name().unwrap().to_str().unwrap().contains(part)).collect();
    meant.iter().for_each(|path| fs::remove_file(path).unwrap());
    meant.len()
}

#[test]
fn stat_says_what_is_missing_and_reindex_makes_it() {
    let (place, store) = filled();
    let stat = |words: &[&str]| {
        let text = place.run_on(&store, "stat", &[]).text();
        assert!(words.iter().all(|words| text.contains(words)), "{words:?} in {text}");
        text
    };
    let whole = ["indexes     1 segment of ", "directory   2 streams in "];
    assert!(!stat(&whole).contains("reindex"));
    assert_eq!(remove(&store, ".index"), 1);
    stat(&["indexes     none\n", "\n            1 segment without; `treering reindex` makes them\n", whole[1]]);
    assert!(remove(&store, "checkpoint-") >= 1);
    let text = stat(&["directory   none; opening reads all of the log, "]);
    let json = &place.run_on(&store, "stat", &["--json"]).json()[0];
    assert_eq!(json["opening_bytes"], json["bytes"], "{text}");
    assert_eq!((&json["unindexed_segments"], &json["directory"]), (&1.into(), &serde_json::Value::Null));

    let text = place.run_on(&store, "reindex", &[]).text();
    assert!(text.starts_with("1 segment indexed, ") && text.contains("; a directory of 2 streams, "), "{text}");
    assert!(!stat(&whole).contains("reindex"));
    let json = &place.run_on(&store, "reindex", &["--json"]).json()[0];
    assert_eq!((&json["indexed_segments"], &json["directory"]["streams"]), (&1.into(), &2.into()), "{json}");
    assert!(json["directory"]["behind"].as_u64().unwrap() < 64 << 10, "{json}");
}

/// `kill -9` anywhere in it, again and again: what is there is used, and at last it is all there.
#[test]
fn a_reindex_that_is_killed_leaves_a_store_that_says_the_same() {
    let (place, store) = filled();
    let events = place.run_on(&store, "cat", &["--json"]).ok();
    for round in 0..8 {
        let mut child = treering(["reindex"]).arg(&store).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(3 * round));
        let _ = child.kill();
        child.wait().unwrap();
        assert!(place.run_on(&store, "cat", &["--json"]).ok() == events, "round {round}");
        let streams = place.run_on(&store, "streams", &["--json"]).json();
        assert_eq!(streams.len(), 2, "round {round}");
    }
    place.run_on(&store, "reindex", &[]).ok();
    let stat = place.run_on(&store, "stat", &[]).text();
    assert!(!stat.contains("reindex") && stat.contains("directory   2 streams"), "{stat}");
    let summary = place.run_on(&store, "verify", &[]).text();
    assert!(summary.contains("clean: 40,000 events of 2 streams"), "{summary}");
}

#[test]
fn a_reindex_that_cannot_read_all_ends_so() {
    let (place, store) = filled();
    let segment = fs::OpenOptions::new().read(true).write(true).open(store.join("0000000000000000.segment")).unwrap();
    // In the header of a frame, in the middle of the log.
    let at = place.run_on(&store, "cat", &["b", "--json", "--to", "0"]).json()[0]["position"].as_u64().unwrap();
    let mut byte = [0];
    segment.read_exact_at(&mut byte, at + 20).unwrap();
    segment.write_all_at(&[byte[0] ^ 1], at + 20).unwrap();
    let ran = place.run_on(&store, "reindex", &[]).failed(4, "1 place of damage");
    assert!(ran.stdout_text().starts_with("no index can be made of 0000000000000000.segment: "), "{ran:?}");
    place.run_on(&store, "accept", &["--yes"]).ok();
    let text = place.run_on(&store, "reindex", &[]).text();
    assert!(text.starts_with("no index can be made of 0000000000000000.segment: "), "{text}");
}

/// `types` says what a scan says, with indexes and without, of some streams, and as of a time.
#[test]
fn types_are_counted_with_indexes_and_without() {
    let (place, store) = filled();
    for (event_type, count) in [("rare", 3), ("tool call", 40)] {
        let lines = place.write("lines", "a line\n".repeat(count));
        let mut append = treering(["append"]);
        append.arg(&store).args(["c", "--type", event_type]).stdin(fs::File::open(lines).unwrap());
        assert!(append.output().unwrap().status.success());
    }
    let json = |args: &[&str]| -> Vec<(String, u64)> {
        let rows = place.run_on(&store, "types", &[&["--json"], args].concat()).json();
        rows.iter().map(|row| (row["type"].as_str().unwrap().to_owned(), row["events"].as_u64().unwrap())).collect()
    };
    let scan = |args: &[&str]| {
        let mut counts = std::collections::BTreeMap::<String, u64>::new();
        for event in place.run_on(&store, "cat", &[&["--json"], args].concat()).json() {
            *counts.entry(event["type"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, events)| std::cmp::Reverse(*events));
        counts
    };
    let all = scan(&[]);
    assert_eq!(all.len(), 3);
    for kind in ["", ".index", "checkpoint-"] {
        assert!(kind.is_empty() || remove(&store, kind) >= 1);
        assert_eq!(json(&[]), all, "without {kind}");
        assert_eq!(json(&["c"]), scan(&["--streams", "c"]), "without {kind}");
        assert_eq!(json(&["--at", "2026-02-12"]), []);
    }
    let text = place.run_on(&store, "types", &[]).text();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((&rows[0][..], &rows[1][..]), (&["type", "events", "%"][..], &["line", "40,000", "99.9"][..]), "{text}");
    place.run("types", &["--since", "1h"]).failed(2, "unexpected argument");
}
