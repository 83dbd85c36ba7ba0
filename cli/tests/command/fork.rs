//! Forks: made, listed, drawn and compared; and every other command that shows one.

use serde_json::Value;
use treering::{Durability, Fork, NewEvent, Options, Revision, Store};

use crate::support::{Place, treering};

/// A session, two models that go on from its revision 2, and a fork of one of them that has nothing of its own.
fn family() -> Place {
    let place = Place::new();
    place.feed("append", &["session"], b"zero\none\ntwo\n").ok();
    place.run("fork", &["session", "opus"]).ok();
    place.run("fork", &["session@2", "sonnet"]).ok();
    place.feed("append", &["session"], b"three\n").ok();
    place.feed("append", &["opus"], b"opus 3\nopus 4\n").ok();
    place.feed("append", &["sonnet"], b"sonnet 3\n").ok();
    place.run("fork", &["opus@3", "quiet"]).ok();
    place
}

fn payloads(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["payload"].as_str().unwrap()).collect()
}

#[test]
fn a_fork_reads_as_its_parent_up_to_there_and_goes_on_alone() {
    let place = family();
    assert_eq!(place.raw("opus"), b"zero\none\ntwo\nopus 3\nopus 4\n");
    assert_eq!(place.raw("sonnet"), b"zero\none\ntwo\nsonnet 3\n");
    assert_eq!(place.raw("quiet"), b"zero\none\ntwo\nopus 3\n");
    assert_eq!(place.raw("session"), b"zero\none\ntwo\nthree\n");
    let opus = place.run("cat", &["opus", "--json"]).json();
    let streams: Vec<_> = opus.iter().map(|line| line["stream"].as_str().unwrap()).collect();
    assert_eq!(streams, ["session", "session", "session", "opus", "opus"], "each where it was appended");
    let revisions: Vec<_> = opus.iter().map(|line| line["revision"].as_u64().unwrap()).collect();
    assert_eq!(revisions, [0, 1, 2, 3, 4]);
    assert_eq!(payloads(&place.run("tail", &["opus", "-n", "3", "--json"]).json()), ["two", "opus 3", "opus 4"]);
    assert_eq!(payloads(&place.run("cat", &["quiet", "--from", "2", "--json"]).json()), ["two", "opus 3"]);
    assert_eq!(place.events(), 7, "what is shared is there once");
    assert_eq!(place.last_json("stat", &["--json"])["streams"], 4);
    place.is_clean();
}

#[test]
fn a_fork_says_what_it_made_and_streams_where_each_leaves() {
    let place = family();
    let made = place.last_json("fork", &["quiet", "again", "--json", "--durability", "written"]);
    assert_eq!((&made["stream"], &made["parent"], &made["revision"]), (&"again".into(), &"quiet".into(), &3.into()));
    assert_eq!(made["level"], "written");
    assert_eq!(
        place.run("fork", &["sonnet@0", "early"]).text(),
        "early forks sonnet at revision 0, goes on with 1 synced\n"
    );

    let streams = place.run("streams", &["--json"]).json();
    let of = |name: &str| streams.iter().find(|line| line["stream"] == name).unwrap();
    assert_eq!(of("session")["fork"], Value::Null);
    assert_eq!(of("opus")["fork"], serde_json::json!({"parent":"session","revision":2,"own_events":2,"depth":1}));
    assert_eq!((&of("opus")["events"], &of("opus")["head"]), (&5.into(), &4.into()));
    assert_eq!(of("again")["fork"], serde_json::json!({"parent":"quiet","revision":3,"own_events":0,"depth":3}));
    assert_eq!(of("again")["id"], made["id"]);
    let shown = place.run("streams", &["quiet"]).text();
    assert!(shown.contains("fork of opus@3, 0 events of its own"), "{shown}");
}

#[test]
fn what_cannot_be_forked_says_why_and_changes_nothing() {
    let place = family();
    let before = place.run("export", &[]).ok();
    place.run("fork", &["session", "opus"]).failed(3, "conflict: the stream \"opus\" exists, at revision 4");
    let ran = place.run("fork", &["session", "session", "--json"]).failed(3, "another name");
    let object: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((&object["error"], &object["exit_code"]), (&"conflict".into(), &3.into()));
    assert_eq!((&object["conflict"]["stream"], &object["conflict"]["actual"]), (&"session".into(), &3.into()));
    place.run("fork", &["none", "x"]).failed(1, "no stream \"none\"");
    place.run("fork", &["session@4", "x"]).failed(1, "no revision 4");
    place.run("fork", &["session@9223372036854775808", "x"]).failed(2, "below 2^63");
    place.run("fork", &["session", ""]).failed(2, "not empty");
    place.run("fork", &["session", "$x"]).failed(2, "belong to the engine");
    place.run("fork", &["@2", "x"]).failed(2, "not empty");
    place.run_on(&place.path("nowhere"), "fork", &["session", "x"]).failed(1, "there is no store");
    assert!(!place.path("nowhere").exists());
    assert_eq!(place.run("export", &[]).ok(), before);
    for command in [&["forks", "none"][..], &["diff", "none", "opus"], &["diff", "opus", "none"]] {
        place.run(command[0], &command[1..]).failed(1, "no stream");
    }
}

#[test]
fn every_name_can_be_forked_whatever_it_holds() {
    let place = Place::new();
    for name in ["me@host", "v1@2", "odd@", "v1"] {
        place.feed("append", &[name], b"a\nb\nc\n").ok();
    }
    for (from, parent, revision) in [
        ("me@host", "me@host", 2),
        ("me@host@1", "me@host", 1),
        ("v1@2", "v1", 2),
        ("v1@2@", "v1@2", 2),
        ("v1@2@0", "v1@2", 0),
        ("odd@@", "odd@", 2),
        ("odd@@1", "odd@", 1),
    ] {
        let made = place.last_json("fork", &[from, &format!("fork of {from}"), "--json"]);
        assert_eq!((&made["parent"], &made["revision"]), (&parent.into(), &revision.into()), "{from}");
    }
}

#[test]
fn forks_are_drawn_as_a_tree_and_listed_flat() {
    let place = family();
    place.feed("append", &["lonely"], b"x\n").ok();
    let tree = "\
stream       leaves at  own  events
session                           4
├─ opus      session@2    2       5
│  └─ quiet  opus@3       0       4
└─ sonnet    session@2    1       4
";
    assert_eq!(place.run("forks", &[]).text(), tree);
    assert_eq!(
        place.run("forks", &["opus"]).text(),
        "stream    leaves at  own  events\nopus      session@2    2       5\n└─ quiet  opus@3       0       4\n"
    );
    assert_eq!(
        place.run("forks", &["lonely"]).text(),
        "stream  leaves at  own  events\nlonely                       1\n"
    );
    let flat = place.run("forks", &["--json"]).json();
    let names: Vec<_> = flat.iter().map(|line| line["stream"].as_str().unwrap()).collect();
    assert_eq!(names, ["opus", "sonnet", "quiet"], "in the order of their making, parents first");
    assert_eq!((&flat[2]["parent"], &flat[2]["revision"], &flat[2]["depth"]), (&"opus".into(), &3.into(), &2.into()));
    assert_eq!((&flat[2]["events"], &flat[2]["own_events"]), (&4.into(), &0.into()));
    assert_eq!(place.run("forks", &["opus", "--json"]).json().len(), 2);
    let other = Place::new();
    other.feed("append", &["s"], b"x\n").ok();
    assert_eq!(other.run("forks", &[]).text(), "no forks\n");
    assert!(other.run("forks", &["--json"]).json().is_empty());
}

#[test]
fn where_two_streams_part_and_what_each_added_is_told() {
    let place = family();
    let told = place.run("diff", &["opus", "sonnet"]).text();
    assert_eq!(
        told,
        "shared  3 events, up to session@2\nopus    2 events added, revisions 3..=4\nsonnet  1 event added, revision 3\n"
    );
    let told = place.run("diff", &["quiet", "opus", "--events"]).text();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(
        lines[..4],
        ["shared  4 events, up to opus@3", "quiet   0 events added", "opus    1 event added, revision 4", ""]
    );
    assert_eq!(lines[4], "opus");
    assert!(lines[5].starts_with("     4  ") && lines[5].ends_with("opus 4"), "{told}");
    assert_eq!(lines.len(), 6);

    let lines = place.run("diff", &["sonnet", "quiet", "--events", "--json"]).json();
    assert_eq!(lines[0]["shared"], serde_json::json!({"stream":"session","revision":2,"events":3}));
    assert_eq!(lines[0]["sides"][1], serde_json::json!({"stream":"quiet","added":1,"first":3,"last":3}));
    let events: Vec<_> =
        lines[1..].iter().map(|line| (line["side"].as_str().unwrap(), line["payload"].as_str().unwrap())).collect();
    assert_eq!(events, [("sonnet", "sonnet 3"), ("quiet", "opus 3")], "also what lies in a fork between");
    assert_eq!(lines[2]["stream"], "opus");

    place.feed("append", &["alone"], b"x\n").ok();
    let told = place.last_json("diff", &["alone", "opus", "--json"]);
    assert_eq!(
        (&told["shared"], &told["sides"][0]["first"], &told["sides"][1]["added"]),
        (&Value::Null, &0.into(), &5.into())
    );
    assert!(place.run("diff", &["alone", "opus"]).text().starts_with("shared  nothing\n"));
    let same = place.last_json("diff", &["opus", "opus", "--json"]);
    assert_eq!((&same["shared"]["events"], &same["sides"][0]["added"]), (&5.into(), &0.into()));
}

/// Forks made without a process for each.
fn make(place: &Place, forks: impl Iterator<Item = (String, String)>) {
    let store = Store::open(place.store(), Options::new()).unwrap();
    let _ = store
        .append(
            &treering::Batch::to("f0", treering::Expected::Any, &[NewEvent::new("t", "x")])
                .durability(Durability::Written),
        )
        .unwrap();
    for (parent, name) in forks {
        let _ = store.fork(&Fork::new(&parent, &name).at(Revision(0)).durability(Durability::Written)).unwrap();
    }
    store.close().unwrap();
}

#[test]
fn ten_thousand_forks_in_one_line_are_a_few_lines_and_all_of_them_when_asked() {
    let place = Place::new();
    make(&place, (1..=10_000).map(|number| (format!("f{}", number - 1), format!("f{number}"))));
    let short = place.run("forks", &[]).text();
    let lines: Vec<_> = short.lines().map(str::trim_end).collect();
    assert_eq!(lines.len(), 4, "{short}");
    assert_eq!(lines[2], "└─ … 9,999 in one line");
    assert!(lines[3].starts_with("   └─ f10000") && lines[3].contains("f9999@0"), "{short}");
    let all = place.run("forks", &["--all"]).text();
    assert!(all.lines().all(|line| line.chars().count() < 120), "no line runs out of the page");
    for number in [1, 12, 13, 14, 5_000, 9_999, 10_000] {
        let drawn = format!("f{}@0", number - 1);
        assert!(all.lines().any(|line| line.split_whitespace().any(|word| word == drawn)), "{drawn}");
    }
    let flat = place.run("forks", &["--json"]).json();
    assert_eq!((flat.len(), &flat[9_999]["depth"]), (10_000, &10_000.into()));
    assert_eq!(place.run("forks", &["f9990", "--json"]).json().len(), 11);
    assert_eq!(place.raw("f10000"), b"x\n");
    let told = place.last_json("diff", &["f10000", "f5", "--json"]);
    assert_eq!(told["shared"]["events"], 1);
}

#[test]
fn a_deep_tree_that_branches_at_every_fork_is_drawn_in_pieces() {
    let place = Place::new();
    let pairs = |number: u64| {
        let parent = format!("f{}", number - 1);
        [(parent.clone(), format!("f{number}")), (parent, format!("side {number}"))]
    };
    make(&place, (1..=3_000).flat_map(pairs));
    let drawn = place.run("forks", &[]).text();
    assert!(drawn.lines().all(|line| line.chars().count() < 120), "no line runs out of the page");
    for number in [1, 11, 12, 13, 14, 1_500, 3_000] {
        let side = format!("side {number} ");
        assert_eq!(drawn.lines().filter(|line| line.contains(&side)).count(), 1, "{side}");
    }
    assert_eq!(drawn.matches("its forks stand below").count(), 3_000 / 12 - usize::from(3_000 % 12 == 0));
}

#[test]
fn a_store_that_others_write_is_forked_too_unless_they_write_alone() {
    let place = family();
    let mut beside = treering(["append"])
        .arg(place.store())
        .args(["beside", "--json"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = beside.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"one\n").unwrap();
    let mut receipt = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(beside.stdout.as_mut().unwrap()), &mut receipt).unwrap();
    place.run("fork", &["beside", "beside too"]).ok();
    place.run("fork", &["beside", "x", "--exclusive"]).failed(6, "");
    drop(stdin);
    assert!(beside.wait().unwrap().success());
    assert_eq!(place.raw("beside too"), b"one\n");
    let alone = Store::open(place.store(), Options::new().exclusive(true)).unwrap();
    place.run("fork", &["beside", "y"]).failed(6, "");
    alone.close().unwrap();
    place.is_clean();
}

#[test]
fn a_fork_whose_frame_is_lost_is_told() {
    let place = family();
    let made = place.last_json("fork", &["opus", "lost", "--json"]);
    let id = usize::try_from(made["id"].as_u64().unwrap()).unwrap();
    place.feed("append", &["lost"], b"behind\n").ok();
    let path = place.store().join("0000000000000000.segment");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[id + 60] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for command in [&["forks"][..], &["streams"], &["forks", "--json"]] {
        let ran = place.run(command[0], &command[1..]).failed(4, "damage");
        assert!(ran.stdout_text().contains("sonnet"), "what is whole is shown");
    }
}
