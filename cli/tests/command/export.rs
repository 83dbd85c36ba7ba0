//! `export`, and `import --format treering`: there and back without a difference that matters.

use serde_json::Value;

use crate::support::Place;

/// An export without what says where an event stood in its store.
fn essence(lines: &[Value]) -> Vec<Value> {
    let mut lines = lines.to_vec();
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        assert!(line.remove("position").unwrap().is_u64());
        assert!(line.remove("number").unwrap().is_u64());
    }
    lines
}

fn filled() -> Place {
    let place = Place::new();
    place.write(
        "log.jsonl",
        "{\"type\":\"user\",\"sessionId\":\"s\",\"uuid\":\"u1\",\"timestamp\":\"2026-02-12T14:11:57.667Z\",\"message\":{\"role\":\"user\",\"content\":\"ü\"}}\n{\"torn",
    );
    place.run("import", &["log.jsonl"]).ok();
    place.feed("append", &["bytes", "--batch", "3"], b"\xff\0\x80\n\n\"quoted\" \\ \xe2\x80\xa8\nlast").ok();
    place.feed("append", &["s"], b"more\n").ok();
    place.feed("append", &["bytes"], b"and more\n").ok();
    place
}

#[test]
fn an_export_that_is_imported_gives_the_same_export() {
    let place = filled();
    let export = place.run("export", &[]).ok();
    let file = place.write("export.jsonl", &export);
    let lines: Vec<Value> =
        String::from_utf8(export).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 8);
    let (copy, path) = (place.path("copy"), file.to_str().unwrap());
    for format in ["treering", "auto"] {
        let summary = place.run_on(&copy, "import", &[path, "--format", format, "--json"]).json().pop().unwrap();
        let added = if format == "treering" { 8 } else { 0 };
        assert_eq!((&summary["events"], &summary["streams"]), (&added.into(), &2.into()), "{format}");
    }
    let back = place.run_on(&copy, "export", &[]).json();
    assert_eq!(essence(&back), essence(&lines), "streams, revisions, ids, times, batches, bytes and their order");
    let summary = place.run_on(&copy, "verify", &["--json"]).json().pop().unwrap();
    assert_eq!(summary["clean"], true);
    assert_eq!(place.run_on(&copy, "cat", &["s", "--raw"]).ok(), place.raw("s"));
}

#[test]
fn every_field_is_there() {
    let place = filled();
    let lines = place.run("export", &["s"]).json();
    let first = lines[0].as_object().unwrap();
    let keys: Vec<_> = first.keys().map(String::as_str).collect();
    for key in [
        "stream",
        "revision",
        "position",
        "number",
        "id",
        "type",
        "recorded_at",
        "occurred_at",
        "batch",
        "metadata",
        "payload",
    ] {
        assert!(keys.contains(&key), "{key} is not in {keys:?}");
    }
    assert_eq!((&first["id"], &first["type"]), (&"u1".into(), &"user".into()));
    assert_eq!(first["occurred_at"], 1_770_905_517_667_000_000_i64);
    assert_eq!((&lines[1]["occurred_at"], &lines[1]["id"]), (&Value::Null, &Value::Null));
    let bytes = place.run("export", &["bytes"]).json();
    assert_eq!((&bytes[0]["payload_base64"], &bytes[0]["payload"]), (&"/wCA".into(), &Value::Null));
    assert_eq!(bytes[1]["payload"], "");
}

#[test]
fn chosen_streams_come_whole_and_in_the_order_of_asking() {
    let place = filled();
    let lines = place.run("export", &["bytes", "s"]).json();
    let order = lines.iter().map(|line| (line["stream"].as_str().unwrap(), line["revision"].as_u64().unwrap()));
    let expected = (0..5).map(|r| ("bytes", r)).chain((0..3).map(|r| ("s", r)));
    assert!(order.eq(expected), "{lines:?}");
    place.run("export", &["gone"]).failed(1, "there is no stream gone");
}

#[test]
fn a_grown_export_adds_the_rest_and_another_history_goes_beside() {
    let place = filled();
    let old = place.write("old.jsonl", place.run("export", &[]).ok());
    place.feed("append", &["s"], b"newest\n").ok();
    let new = place.write("new.jsonl", place.run("export", &[]).ok());
    let copy = place.path("copy");
    let import = |path: &std::path::Path, args: &[&str]| {
        place.run_on(&copy, "import", &[&[path.to_str().unwrap(), "--json"], args].concat()).json()
    };
    import(&old, &[]);
    let told = import(&new, &[]);
    assert_eq!(told.last().unwrap()["events"], 1);
    assert_eq!(told.last().unwrap()["unchanged"], 1, "the stream `bytes`");
    assert_eq!(import(&old, &[]).pop().unwrap()["events"], 0, "the older export is a part of what is there");
    // The same names, other events.
    let other = Place::new();
    other.feed("append", &["s"], b"another history\n").ok();
    let third = other.write("third.jsonl", other.run("export", &[]).ok());
    let told = import(&third, &[]);
    assert_eq!((&told[0]["stream"], &told[0]["instead_of"]), (&"s~2".into(), &"s".into()));
    assert_eq!(place.run_on(&copy, "cat", &["s~2", "--raw"]).ok(), b"another history\n");
    let told = import(&third, &["--stream-prefix", "other/"]);
    assert_eq!(told[0]["stream"], "other/s");
    assert_eq!(import(&third, &["--stream", "named"])[0]["stream"], "named");
    place.run_on(&copy, "import", &[new.to_str().unwrap(), "--stream", "one"]).failed(2, "--stream-prefix");
}

#[test]
fn an_export_that_is_not_whole_is_refused_before_anything_is_added() {
    let place = filled();
    let export = place.run("export", &["s"]).text();
    let lines: Vec<_> = export.lines().collect();
    let copy = place.path("copy");
    let cases = [
        (format!("{}\n{}\n", lines[0], lines[2]), "goes on at revision 2 where 1 is due"),
        (format!("{}\n", lines[1]), "goes on at revision 1 where 0 is due"),
        (format!("{}\n{}\n{{\"torn\n", lines[0], lines[1]), "line 3 is no exported event"),
    ];
    for (text, words) in cases {
        let path = place.write("broken.jsonl", text);
        let ran = place.run_on(&copy, "import", &[path.to_str().unwrap(), "--format", "treering"]).failed(1, "");
        assert!(ran.stdout_text().contains(words), "{}", ran.stdout_text());
        assert_eq!(place.run_on(&copy, "streams", &["--json"]).ok(), b"");
    }
}

/// A session with two forks, one of them forked again without anything of its own, and everything going on.
fn with_forks() -> Place {
    let place = Place::new();
    place.feed("append", &["session"], b"zero\none\ntwo\n").ok();
    place.run("fork", &["session@1", "opus"]).ok();
    place.feed("append", &["opus"], b"opus 2\nopus 3\n").ok();
    place.run("fork", &["opus@2", "silent"]).ok();
    place.feed("append", &["session"], b"three\n").ok();
    place.run("fork", &["silent@0", "early"]).ok();
    place.feed("append", &["early"], b"\xff\n").ok();
    place
}

/// What each stream of the store is, and where forks leave their parents.
fn lineages(place: &Place, store: &std::path::Path) -> (Vec<Value>, Vec<(String, Vec<u8>)>) {
    let mut forks = place.run_on(store, "forks", &["--json"]).json();
    for fork in &mut forks {
        let fork = fork.as_object_mut().unwrap();
        assert!(fork.remove("id").is_some() && fork.remove("parent_id").is_some());
    }
    let names = ["session", "opus", "silent", "early"];
    (forks, names.map(|name| (name.to_owned(), place.run_on(store, "cat", &[name, "--raw"]).ok())).into())
}

#[test]
fn forks_survive_an_export_and_an_import() {
    let place = with_forks();
    let export = place.run("export", &[]).ok();
    let text = String::from_utf8(export.clone()).unwrap();
    assert_eq!(text.lines().count(), 7 + 3, "what is shared comes once");
    assert!(text.contains("{\"fork\":\"silent\",\"parent\":\"opus\",\"revision\":2}\n"), "{text}");
    let path = place.write("export.jsonl", &export);
    let (copy, path) = (place.path("copy"), path.to_str().unwrap());
    let summary = place.run_on(&copy, "import", &[path, "--json"]).json().pop().unwrap();
    assert_eq!((&summary["events"], &summary["streams"]), (&7.into(), &4.into()));
    assert_eq!(lineages(&place, &copy), lineages(&place, &place.store()));
    let back = place.run_on(&copy, "verify", &["--json"]).json().pop().unwrap();
    assert_eq!(back["clean"], true);
    // Once more nothing is added, and what came in between is.
    let summary = place.run_on(&copy, "import", &[path, "--json"]).json().pop().unwrap();
    assert_eq!(summary["events"], 0);
    place.run("fork", &["early", "newest"]).ok();
    place.feed("append", &["silent"], b"not silent any more\n").ok();
    let path = place.write("later.jsonl", place.run("export", &[]).ok());
    place.run_on(&copy, "import", &[path.to_str().unwrap()]).ok();
    assert_eq!(lineages(&place, &copy), lineages(&place, &place.store()));
    assert_eq!(place.run_on(&copy, "forks", &["--json"]).json().len(), 4);
}

#[test]
fn named_forks_come_with_what_they_share() {
    let place = with_forks();
    for (number, names) in
        [&["early"][..], &["silent", "early"], &["opus", "session", "silent"], &["session"]].into_iter().enumerate()
    {
        let path = place.write("some.jsonl", place.run("export", names).ok());
        let copy = place.path(&format!("copy {number}"));
        place.run_on(&copy, "import", &[path.to_str().unwrap()]).ok();
        for name in names {
            assert_eq!(place.run_on(&copy, "cat", &[name, "--raw"]).ok(), place.raw(name), "{names:?}: {name}");
        }
        // In the store that it came from all of it is there.
        let summary = place.last_json("import", &[path.to_str().unwrap(), "--json"]);
        assert_eq!((&summary["events"], place.run("streams", &["--json"]).json().len()), (&0.into(), 4), "{names:?}");
    }
    // The one that it was forked from does not come: it names the one that has its history.
    let lines = place.run("export", &["early"]).json();
    assert_eq!(lines[1], serde_json::json!({"fork": "early", "parent": "session", "revision": 0}));
    assert_eq!(lines.len(), 3);
}

/// A session that was summed up twice, by two strategies, once before it was forked, and the fork summed up too.
fn with_snapshots() -> Place {
    let place = with_forks();
    let snapshot = |of: &str, range: &str, label: &str, payload: &[u8]| {
        place.feed("snapshot", &[of, "--range", range, "--label", label], payload).ok();
    };
    snapshot("session", "0..2", "sum", b"the first two\nin two events\n");
    place.feed("append", &["session"], b"four\n").ok();
    snapshot("session", "1..4", "other", b"\xff\n");
    snapshot("opus", "0..3", "sum", b"as opus sees it\n");
    place
}

fn contexts(place: &Place, store: &std::path::Path) -> Vec<Vec<u8>> {
    let of = |arguments: &[&str]| place.run_on(store, "context", arguments).ok();
    ["session", "opus", "silent"]
        .into_iter()
        .flat_map(|name| {
            [
                of(&[name, "--raw", "--proven"]),
                of(&[name, "--raw", "--at", "1"]),
                of(&[name, "--raw", "--label", "sum"]),
            ]
        })
        .collect()
}

#[test]
fn snapshots_survive_an_export_and_an_import() {
    let place = with_snapshots();
    for names in [&[][..], &["opus", "session", "silent"]] {
        let path = place.write("export.jsonl", place.run("export", names).ok());
        let (copy, path) = (place.path(&format!("copy of {}", names.len())), path.to_str().unwrap());
        place.run_on(&copy, "import", &[path]).ok();
        if names.is_empty() {
            // By revision as it was then, which the order of the log says.
            assert_eq!(contexts(&place, &copy), contexts(&place, &place.store()));
        }
        let shown = |store: &std::path::Path, name: &str| {
            let mut shown = place.run_on(store, "snapshots", &[name, "--json"]).json();
            for line in &mut shown {
                for key in ["position", "source", "stream", "token", "events"] {
                    line.as_object_mut().unwrap().remove(key);
                }
            }
            shown
        };
        for name in ["session", "opus"] {
            assert!(!shown(&copy, name).is_empty());
            assert_eq!(shown(&copy, name), shown(&place.store(), name), "chains too");
        }
        assert_eq!(place.run_on(&copy, "verify", &["--json"]).json().pop().unwrap()["clean"], true);
        let again = place.run_on(&copy, "import", &[path, "--json"]).json().pop().unwrap();
        assert_eq!(again["events"], 0, "nothing twice");
        let in_the_old_one = place.last_json("import", &[path, "--json"]);
        assert_eq!(in_the_old_one["events"], 0);
    }
    // A state of a projection and a place are of the store alone.
    assert_eq!(place.run("export", &["early"]).text().matches("snapshot").count(), 0);
    assert_eq!(place.run("export", &[]).text().matches("{\"snapshot\":").count(), 3);
}

#[test]
fn a_fork_whose_name_is_taken_goes_beside_it_with_what_comes_of_it() {
    let place = with_forks();
    let path = place.write("export.jsonl", place.run("export", &[]).ok());
    let copy = place.path("copy");
    let mut append = crate::support::treering(["append"])
        .arg(&copy)
        .arg("opus")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut append.stdin.take().unwrap(), b"another opus\n").unwrap();
    assert!(append.wait().unwrap().success());
    place.run_on(&copy, "import", &[path.to_str().unwrap()]).ok();
    let cat = |name: &str| place.run_on(&copy, "cat", &[name, "--raw"]).ok();
    assert_eq!((cat("opus"), cat("opus~2")), (b"another opus\n".to_vec(), place.raw("opus")));
    assert_eq!((cat("silent"), cat("early")), (place.raw("silent"), place.raw("early")));
    let forks = place.run_on(&copy, "forks", &["--json"]).json();
    assert_eq!(forks[1]["parent"], "opus~2", "{forks:?}");
}
