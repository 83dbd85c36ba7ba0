//! A store that was damaged, or copied in the middle of a write, in the hands of somebody who has the command only: told what
//! is lost and what to do, and going on behind it.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value;

use crate::support::{Place, Ran};

/// Streams, and how many events each gets at a time.
const STREAMS: [&str; 3] = ["a", "b", "c"];

/// What a store held before it was damaged.
struct Before {
    place: Place,
    /// Payloads by stream, in order.
    events: BTreeMap<String, Vec<String>>,
    /// The place of each event's frame in the first segment, by stream.
    frames: BTreeMap<String, Vec<u64>>,
}

/// Streams whose events lie one to a frame, in turn; and one that was written once, in the middle.
fn filled() -> Before {
    let place = Place::new();
    let mut before = Before { place, events: BTreeMap::new(), frames: BTreeMap::new() };
    for round in 0..4 {
        for stream in STREAMS {
            before.append(stream, round, 3);
        }
        if round == 2 {
            before.append("once", round, 1);
        }
    }
    before
}

impl Before {
    fn append(&mut self, stream: &str, round: u64, count: u64) {
        let lines: Vec<String> = (0..count).map(|number| format!("{stream} round {round} event {number}")).collect();
        let input = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        for receipt in self.place.feed("append", &[stream, "--json"], input.as_bytes()).json() {
            let position = receipt["position"].as_u64().unwrap();
            self.frames.entry(stream.to_owned()).or_default().push(position);
        }
        self.events.entry(stream.to_owned()).or_default().extend(lines);
    }

    fn head(&self, stream: &str) -> u64 {
        self.events[stream].len() as u64 - 1
    }
}

fn segment(store: &Path) -> std::path::PathBuf {
    store.join("0000000000000000.segment")
}

fn flip(store: &Path, at: u64, mask: u8) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(segment(store)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ mask], at).unwrap();
}

fn lines_of(ran: &Ran) -> Vec<Value> {
    ran.stdout_text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The revision of the receipt that an append prints.
fn revision(ran: Ran) -> u64 {
    ran.json()[0]["first_revision"].as_u64().unwrap()
}

/// What a flip came to.
struct Outcome {
    /// Events that are lost.
    lost: u32,
    /// Streams that were not appended to before the accept.
    unknown: u32,
}

/// All of the way: told, read around, appended to as far as is safe, accepted, appended to everywhere.
fn check(before: &Before, at: u64, when: &str) -> Outcome {
    let place = &before.place;
    let ran = place.run("verify", &["--json"]);
    assert_eq!(ran.code, 4, "{when}: {}", ran.stderr);
    let told = lines_of(&ran);
    let holds = |damage: &&Value| {
        damage["kind"] == "damage"
            && (damage["first_byte"].as_u64().unwrap()..damage["end_byte"].as_u64().unwrap()).contains(&at)
    };
    assert_eq!(told.iter().filter(holds).count(), 1, "{when}: the byte is named once: {told:?}");
    let summary = told.last().unwrap();
    assert_eq!((&summary["clean"], &summary["accepted"]), (&false.into(), &0.into()), "{when}");
    // Every other event is there, in its place; at most the events of one frame are not.
    let mut lost: Vec<(String, u64)> = Vec::new();
    let mut nameless: Vec<String> = Vec::new();
    for (stream, events) in &before.events {
        let mut ran = place.run("cat", &[stream, "--json"]);
        if ran.code == 1 {
            nameless.push(stream.clone());
            if events.len() == 1 {
                lost.push((stream.clone(), 0));
                continue;
            }
            // Only the frame that made it holds its name, as long as no index block repeats it: it goes by its identity.
            ran = place.run("cat", &[&format!("${}", before.frames[stream][0]), "--json"]);
        }
        let read: BTreeMap<u64, String> = lines_of(&ran)
            .into_iter()
            .map(|event| (event["revision"].as_u64().unwrap(), event["payload"].as_str().unwrap().to_owned()))
            .collect();
        for (revision, payload) in events.iter().enumerate() {
            match read.get(&(revision as u64)) {
                Some(found) => assert_eq!(found, payload, "{when}"),
                None => lost.push((stream.clone(), revision as u64)),
            }
        }
        assert!(read.len() <= events.len(), "{when}: invented");
        // What opening does not look at is no business of who does not ask for it.
        let is_told = ran.code == 4 || ran.code == 0 && read.len() == events.len();
        assert!(is_told, "{when}: {stream} ends with {}: {}", ran.code, ran.stderr);
    }
    assert!(lost.len() <= 1, "{when}: {lost:?}");
    // Appending goes on behind the head, or says that nobody knows it.
    let mut given: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for stream in before.events.keys() {
        let ran = place.feed("append", &[stream, "--json"], b"before the accept\n");
        match ran.code {
            0 => {
                let revision = revision(ran);
                assert_eq!(revision, before.head(stream) + 1, "{when}: {stream}");
                given.entry(stream.clone()).or_default().push(revision);
            }
            _ => {
                let last: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
                assert_eq!((&last["error"], &last["exit_code"]), (&"head_unknown".into(), &4.into()), "{when}");
                let listed = lines_of(&place.run("streams", &["--json"]));
                let is_known = listed.iter().find(|row| row["stream"] == **stream).map(|row| &row["head_known"]);
                assert!(is_known.is_none_or(|known| *known == false), "{when}: {listed:?}");
                ran.failed(4, "accept");
            }
        }
    }
    let unknown = before.events.len() - given.len();
    accept_and_go_on(before, &mut given, &nameless, when);
    Outcome { lost: lost.len() as u32, unknown: unknown as u32 }
}

fn accept_and_go_on(before: &Before, given: &mut BTreeMap<String, Vec<u64>>, nameless: &[String], when: &str) {
    let place = &before.place;
    let planned = place.run("accept", &["--dry-run"]).text();
    assert!(
        planned.contains("Accepting this means") && planned.ends_with("nothing was accepted\n"),
        "{when}: {planned}"
    );
    place.run("accept", &[]).failed(2, "--yes");
    assert_eq!(place.run("verify", &[]).code, 4, "{when}: nothing was accepted");
    let summary = place.last_json("accept", &["--yes", "--json"]);
    assert_eq!(summary["accepted"], true, "{when}: {summary}");
    assert!(place.run("accept", &["--yes"]).text().starts_with("nothing to accept"), "{when}: once is enough");
    for stream in before.events.keys().map(String::as_str).chain(["new"]) {
        let revision = revision(place.feed("append", &[stream, "--json"], b"after the accept\n"));
        let was_given = given.entry(stream.to_owned()).or_default();
        let head = before.events.get(stream).map(|events| events.len() as u64 - 1);
        // A name that is lost for good begins again, in another incarnation.
        let is_free = nameless.iter().any(|name| name == stream);
        let is_gone = revision == 0 && summary["begins_incarnation"] == true && is_free;
        assert!(head.is_none_or(|head| revision > head) || is_gone, "{when}: {stream} {revision} is given twice");
        assert!(!was_given.contains(&revision), "{when}: {stream} {revision} is given twice");
        place.run("cat", &[stream, "--last", "1"]).ok();
    }
    let ran = place.run("verify", &["--json"]);
    assert_eq!(ran.code, 0, "{when}: {}", ran.stderr);
    let told = lines_of(&ran);
    let summary = told.last().unwrap();
    assert_eq!(summary["clean"], false, "{when}: accepted is not clean");
    assert!(
        summary["accepted"].as_u64().unwrap() >= 1 && summary["accepted"] == summary["damage"],
        "{when}: {summary}"
    );
    assert!(told.iter().filter(|line| line["kind"] == "damage").all(|damage| damage["accepted"] == true), "{when}");
    assert!(place.run("verify", &[]).text().contains("accepted damage"), "{when}");
}

#[test]
fn a_flipped_payload_costs_its_event_and_is_accepted() {
    let before = filled();
    let bytes = std::fs::read(segment(&before.place.store())).unwrap();
    let needle = b"b round 1 event 2";
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap() as u64;
    flip(&before.place.store(), at + 3, 0x20);
    let ran = before.place.run("verify", &["--json"]);
    let damage = &lines_of(&ran)[0];
    let lost = &damage["streams"][0];
    assert_eq!((&lost["stream"], &lost["first_revision"], &lost["last_revision"]), (&"b".into(), &5.into(), &5.into()));
    assert_eq!(check(&before, at + 3, "a payload").lost, 1);
}

#[test]
fn a_flipped_frame_header_hides_no_head_that_can_be_proven() {
    for (stream, number) in [("a", 4), ("c", 11), ("b", 9)] {
        let before = filled();
        let at = before.frames[stream][number] + 10;
        flip(&before.place.store(), at, 1);
        assert_eq!(check(&before, at, &format!("the header of frame {number} of {stream}")).lost, 1);
    }
}

#[test]
fn a_flipped_frame_that_makes_a_stream_costs_its_first_event() {
    let before = filled();
    let at = before.frames["once"][0] + 20;
    flip(&before.place.store(), at, 0x80);
    assert_eq!(check(&before, at, "the frame that makes a stream").lost, 1);
}

#[test]
fn a_flipped_head_block_costs_nothing() {
    for (at, when) in [(70, "a segment header"), (256 + 100, "an open frame"), (4096 + 80, "the copy of one")] {
        let before = filled();
        flip(&before.place.store(), at, 4);
        let ran = before.place.run("verify", &["--json"]);
        assert_eq!(lines_of(&ran)[0]["streams"], Value::Array(Vec::new()), "{when}: no event lies there");
        assert_eq!(check(&before, at, when).lost, 0);
    }
}

/// The files of a store, to be put back where they lie: a copy would be a store of its own.
struct Saved(BTreeMap<std::path::PathBuf, (u64, Vec<u8>)>);

/// No segment of these tests has events behind this.
const SAVED_BYTES: usize = 64 << 10;

impl Saved {
    fn of(store: &Path) -> Saved {
        let paths = std::fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
        Saved(paths.map(|path| (path.clone(), Saved::read(&path))).collect())
    }

    fn read(path: &Path) -> (u64, Vec<u8>) {
        let file = std::fs::File::open(path).unwrap();
        let len = file.metadata().unwrap().len();
        let mut bytes = vec![0; SAVED_BYTES.min(len as usize)];
        file.read_exact_at(&mut bytes, 0).unwrap();
        (len, bytes)
    }

    fn put_back(&self, store: &Path) {
        for entry in std::fs::read_dir(store).unwrap() {
            let path = entry.unwrap().path();
            if !self.0.contains_key(&path) {
                std::fs::remove_file(path).unwrap();
            }
        }
        for (path, (len, bytes)) in &self.0 {
            let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
            file.set_len(*len).unwrap();
            file.write_all_at(bytes, 0).unwrap();
        }
    }
}

/// As often as `TREERING_FLIPS` says, else a few dozen times.
#[test]
fn a_flip_anywhere_has_no_other_outcome() {
    let flips = std::env::var("TREERING_FLIPS").ok().and_then(|flips| flips.parse().ok()).unwrap_or(32u32);
    let before = filled();
    let store = before.place.store();
    let saved = Saved::of(&store);
    let end = before.frames.values().flatten().max().unwrap() + 100;
    assert!(end < SAVED_BYTES as u64);
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let (mut events, mut unknown) = (0, 0);
    for number in 0..flips {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // One in eight in the head block and its copy, which are mostly padding.
        let at = if state >> 61 == 0 { (state >> 32) % 8192 } else { 8192 + (state >> 32) % (end - 8192) };
        flip(&store, at, 1 << (state >> 20 & 7));
        let outcome = check(&before, at, &format!("flip {number}, byte {at}"));
        events += outcome.lost;
        unknown += outcome.unknown;
        saved.put_back(&store);
    }
    println!("{flips} flips: {events} events lost, {unknown} appends to streams whose head was unknown");
    assert!(events <= flips, "a flip costs an event at most");
}

#[test]
fn a_copy_whose_last_segment_is_cut_in_half_is_read_to_there_and_written_after_an_accept() {
    let before = filled();
    let copy = before.place.path("copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(before.place.store()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let cut = before.frames["c"][6] + 20;
    std::fs::OpenOptions::new().write(true).open(segment(&copy)).unwrap().set_len(cut).unwrap();
    let run = |command: &str, args: &[&str]| before.place.run_on(&copy, command, args);
    for command in ["stat", "streams", "verify", "export", "tail"] {
        run(command, &[]).failed(5, "ends early");
    }
    let told = run("verify", &[]).stdout_text();
    assert!(told.contains("the copy ends here") && !told.contains("nothing of the log was there"), "{told}");
    let lines = before.place.write("in.jsonl", "{}\n");
    run("import", &[lines.to_str().unwrap()]).failed(5, "accept");
    let ran = run("cat", &["c", "--json"]).failed(5, "copy incomplete");
    let read: Vec<u64> = lines_of(&ran).iter().map(|event| event["revision"].as_u64().unwrap()).collect();
    assert_eq!(read, [0, 1, 2, 3, 4, 5], "it is read to there");
    let ran = run("append", &["c", "--json"]).failed(5, "accept");
    let told: Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((&told["error"], &told["damage"]["class"]), (&"copy_incomplete".into(), &"copy incomplete".into()));
    assert!(run("accept", &["--dry-run"]).text().contains("as a store of its own"));
    run("accept", &["--yes"]).ok();
    run("append", &["c"]).ok();
    run("cat", &["c"]).ok();
    assert!(run("verify", &[]).text().contains("was a copy that ended early"));
}

#[test]
fn salvage_copies_everything_that_is_whole_and_lists_what_is_not() {
    let before = filled();
    let place = &before.place;
    let (store, new) = (place.store(), place.path("new"));
    let new_text = new.to_str().unwrap();
    let lost_at = before.frames["b"][4];
    flip(&store, lost_at + 10, 1);
    std::fs::remove_file(store.join("identity")).unwrap();
    place.feed("append", &["a"], b"x\n").failed(4, "no identity file");
    let files = || -> BTreeMap<_, _> {
        let entries = std::fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    };
    let untouched = files();
    let ran = place.run("salvage", &[new_text, "--json"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let told = lines_of(&ran);
    let of_kind = |kind: &str| told.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    let missing = of_kind("missing");
    assert_eq!((missing.len(), &missing[0]["stream"]), (1, &"b".into()));
    assert_eq!((&missing[0]["first_revision"], &missing[0]["last_revision"]), (&4.into(), &4.into()));
    let moved = of_kind("moved");
    assert_eq!(
        (moved.len(), &moved[0]["old_first_revision"], &moved[0]["new_first_revision"]),
        (1, &5.into(), &4.into())
    );
    assert_eq!(moved[0]["events"], 7);
    assert_eq!(files(), untouched, "the old store is only read");
    place.run("salvage", &[new_text]).failed(1, "exists");
    place.run("salvage", &[store.join("inside").to_str().unwrap()]).failed(1, "lies in");
    assert_eq!(place.run_on(&new, "verify", &["--json"]).json().pop().unwrap()["clean"], true);
    for (stream, events) in &before.events {
        let wanted: String = events
            .iter()
            .enumerate()
            .filter(|(revision, _)| !(stream == "b" && *revision == 4))
            .map(|(_, payload)| format!("{payload}\n"))
            .collect();
        assert_eq!(place.run_on(&new, "cat", &[stream, "--raw"]).text(), wanted);
    }
    // Times, types and batches are those of the old store.
    let field = |store: &Path, name: &str| -> Vec<Value> {
        let ran = place.run_on(store, "cat", &["c", "--json"]);
        lines_of(&ran).iter().map(|event| event[name].clone()).collect()
    };
    for name in ["recorded_at", "type", "batch", "id", "occurred_at", "revision"] {
        assert_eq!(field(&new, name), field(&store, name), "{name}");
    }
    let export = |store: &Path| -> Vec<String> {
        let ran = place.run_on(store, "export", &[]);
        lines_of(&ran).iter().map(|event| event["payload"].to_string()).collect()
    };
    assert_eq!(export(&new), export(&store), "the order of the log");
    place.run_on(&new, "stat", &[]).ok();
}

/// Every failure is one object on standard error where programs listen, with the code that the command ends with.
#[test]
fn every_failure_is_an_object_with_json() {
    let place = Place::new();
    place.feed("append", &["s"], b"0\n").ok();
    let cases: &[(&str, &[&str], i32, &str)] = &[
        ("cat", &["gone"], 1, "error"),
        ("cat", &["s", "--last", "x"], 2, "usage"),
        ("tail", &["gone"], 1, "error"),
        ("append", &["s", "--expect", "7"], 3, "conflict"),
        ("append", &["$s"], 2, "usage"),
        ("nonsense", &[], 2, "usage"),
    ];
    for (command, args, code, kind) in cases {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let ran = place.feed(command, &args, b"x\n").failed(*code, "{");
        let told: Value = serde_json::from_str(ran.stderr.trim_end()).unwrap();
        assert_eq!((&told["error"], &told["exit_code"]), (&(*kind).into(), &(*code).into()), "{command} {args:?}");
        assert!(!told["message"].as_str().unwrap().is_empty());
    }
    for command in ["streams", "stat", "verify", "accept", "export", "tail"] {
        let ran = place.run_on(&place.path("no-store"), command, &["--json"]).failed(1, "not_found");
        let told: Value = serde_json::from_str(ran.stderr.trim_end()).unwrap();
        assert_eq!((&told["error"], &told["exit_code"]), (&"not_found".into(), &1.into()), "{command}");
    }
}
