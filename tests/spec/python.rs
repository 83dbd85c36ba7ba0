//! The reader in `format-spec/reader`, which was written from the pages alone, judges what the engine writes.
//!
//! It checks every check, chain, index block and seal and the rules between them, and hands out the events, which must be
//! those that the engine hands out. Without `python3` these tests say so and pass: the reader needs it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use treering::{
    Batch, BatchId, Compression, Durability, Expected, Fork, NewEvent, Options, ReadOptions, Revision, Store,
    Visibility,
};

use super::pages;
use super::vectors::read_all;

/// The reader over a store; `None` where there is no Python.
fn reader(store: &Path, options: &[&str]) -> Option<(Vec<Value>, i32)> {
    let program = pages::folder().join("reader/treering_reader.py");
    let output = match Command::new("python3")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(program)
        .arg(store)
        .args(options)
        .output()
    {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: there is no python3 to run the format's reader with");
            return None;
        }
        Err(error) => panic!("python3: {error}"),
    };
    let lines = String::from_utf8(output.stdout).expect("the reader prints UTF-8");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    assert!(!lines.is_empty() || output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    Some((lines, output.status.code().unwrap_or(-1)))
}

/// The reader finds nothing wrong, and reads what the engine reads. Returns what the reader says of the whole.
fn agree(folder: &Path, what: &str) -> Option<Value> {
    let (findings, code) = reader(folder, &["--verify"])?;
    let (summary, findings) = findings.split_last().expect("a summary comes last");
    let findings: Vec<&Value> =
        findings.iter().filter(|finding| finding["class"] != "note" && finding["class"] != "torn_tail").collect();
    assert!(findings.is_empty() && code == 0, "{what}: {findings:?} {summary}");
    let (events, _) = reader(folder, &[])?;
    let store = Store::open_read_only(folder, Options::new()).unwrap();
    let (ours, damage, errors) = read_all(&store);
    assert!(damage.is_empty() && errors.is_empty(), "{what}: {damage:?} {errors:?}");
    assert_eq!(ours.len(), events.len(), "{what}");
    for (ours, theirs) in ours.iter().zip(&events) {
        // The reader has no zstd of its own for every kind of block: then it says how long the parts are.
        if theirs.get("coded").is_some() {
            for key in ["stream", "revision", "position", "id", "type", "recorded_at", "occurred_at", "batch"] {
                assert_eq!(ours[key], theirs[key], "{what}: {key}");
            }
        } else {
            assert_eq!(ours, theirs, "{what}");
        }
    }
    assert_eq!(summary["end"], store.watermarks().committed.0, "{what}");
    Some(summary.clone())
}

/// What the reader says of the side files, held against the log by it: none says what the log does not. Returns the kinds of
/// those that count, of indexes also what they say.
fn side_files_agree(folder: &Path, what: &str) -> Option<Vec<String>> {
    let (lines, code) = reader(folder, &["--side"])?;
    let lies: Vec<&Value> = lines.iter().filter(|line| line["state"] == "lies").collect();
    assert!(lies.is_empty() && code == 0, "{what}: {lies:?}");
    let counting = lines.iter().filter(|line| line["state"] == "counts");
    let text = |line: &Value, key: &str| line[key].as_str().expect("it is a text").to_owned();
    Some(counting.flat_map(|line| [text(line, "kind"), text(line, "detail")]).collect())
}

/// Small random numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn build(text: &str, index: usize) -> NewEvent<'_> {
    let event = NewEvent::new(["turn", "tool.call", "tool.result"][index % 3], text);
    if index % 2 == 1 { event.metadata(br#"{"k":[1,2]}"#).occurred_at(index as i64 - 3) } else { event }
}

fn append_some(store: &Store, dice: &mut Dice, batches: u64) {
    for _ in 0..batches {
        let count = [1, 1, 2, 5, 40][dice.below(5) as usize];
        let size = [0, 3, 40, 100, 900][dice.below(5) as usize];
        let texts: Vec<String> = (0..count).map(|index| format!("{index}:").repeat(size / 2)).collect();
        let id = format!("id {}", dice.below(1 << 20));
        let mut events: Vec<NewEvent<'_>> = texts.iter().enumerate().map(|(index, text)| build(text, index)).collect();
        events[0] = NewEvent::new("with.an.id", texts[0].as_str()).id(&id).recorded_at(77);
        let more = [NewEvent::new("note", "beside it")];
        let stream = format!("stream {}", dice.below(6));
        let level = if dice.below(4) == 0 { Durability::Synced } else { Durability::Written };
        let mut batch = match dice.below(2) {
            0 => Batch::new().section(&stream, Expected::Any, &events),
            _ => {
                let mut id = BatchId::default();
                id.0[..8].copy_from_slice(&(dice.below(1 << 30) + 1).to_le_bytes());
                Batch::with_id(id).section(&stream, Expected::Any, &events)
            }
        };
        if dice.below(3) == 0 {
            batch = batch.section("another stream", Expected::Any, &more);
        }
        match store.append(&batch.durability(level)) {
            Ok(_) => {}
            // A batch id drawn twice with other events is refused; that is not what is asked here.
            Err(error) => assert_eq!(error.kind(), treering::ErrorKind::Invalid, "{error:?}"),
        }
    }
}

fn options() -> Options {
    Options::new().segment_bytes(32 << 10).index_stride_bytes(4 << 10)
}

/// What the engine writes keeps the rules of the pages, through rolls, seals, clean and unclean openings: the independent
/// reader checks all of it. [FRM-8] [FRM-9] [OPN-4] [OPN-6] [OPN-7] [BAT-1] [BAT-2] [BAT-3] [BAT-4] [BAT-5] [BAT-6]
/// [IDX-1] [IDX-2] [IDX-3] [IDX-4] [IDX-5] [SEA-1] [SEA-2] [SEA-4] [SEG-1] [SEG-6] [SEG-11] [SIX-1] [SIX-4] [DIR-1] [DIR-4]
#[test]
fn the_independent_reader_agrees_with_everything_that_the_engine_writes() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(7);
    let mut side_files = Vec::new();
    for round in 0..4 {
        // By one process alone, whose events are copied into mappings, and as several would, by turns.
        let store = Store::open(folder.path(), options().exclusive(round % 2 == 0)).unwrap();
        append_some(&store, &mut dice, 40);
        if round % 2 == 0 {
            store.close().unwrap();
        } else {
            store.sync().unwrap();
            // As after `kill -9`: the files as they are while the store is open.
            let left = tempfile::tempdir().unwrap();
            for (name, bytes) in super::vectors::files(folder.path()) {
                std::fs::write(left.path().join(&name), bytes).unwrap();
            }
            drop(store);
            for name in super::vectors::files(folder.path()).keys() {
                let from = left.path().join(name);
                if from.exists() {
                    // Written in place: the identity file must stay the file that it is.
                    std::fs::write(folder.path().join(name), std::fs::read(from).unwrap()).unwrap();
                }
            }
        }
        if agree(folder.path(), &format!("round {round}")).is_none() {
            return;
        }
        side_files.extend(side_files_agree(folder.path(), &format!("round {round}")).expect("there is a reader"));
    }
    let segments = super::vectors::files(folder.path()).keys().filter(|name| name.ends_with(".segment")).count();
    assert!(segments > 4, "{segments} segments");
    for kind in ["segment index", "directory run", "checkpoint", "numbers up to 2"] {
        assert!(side_files.iter().filter(|found| *found == kind).count() > 1, "{side_files:?}");
    }
    for (name, bytes) in super::vectors::files(folder.path()) {
        assert!(!name.ends_with(".segment") || bytes.len().is_multiple_of(32 << 10), "{name}");
    }
}

/// What the reader says of every stream: name, identity, head, parent, and where each of its events lies, those that it shares
/// included. The engine says the same.
fn streams_agree(folder: &Path, what: &str) -> Option<usize> {
    let (theirs, _) = reader(folder, &["--streams"])?;
    let store = Store::open_read_only(folder, Options::new()).unwrap();
    let streams = store.streams().unwrap();
    assert_eq!(streams.len(), theirs.len(), "{what}");
    let mut forks = 0;
    for (stream, theirs) in streams.iter().zip(&theirs) {
        let point = store.fork_point(&stream.name).unwrap();
        forks += usize::from(point.is_some());
        let options = ReadOptions::new().visibility(Visibility::Committed);
        let mut reader = store.read_stream(&stream.name, options).unwrap();
        let (mut revisions, mut positions) = (Vec::new(), Vec::new());
        while let Some(event) = reader.next() {
            let event = event.unwrap();
            revisions.push(event.revision().0);
            positions.push(event.position().0);
        }
        let ours = serde_json::json!({
            "stream": &*stream.name,
            "id": stream.id.0,
            "head": stream.head.0,
            "parent": point.as_ref().map(|point| &*point.parent_name),
            "fork_revision": point.as_ref().map(|point| point.revision.0),
            "depth": point.as_ref().map_or(0, |point| point.depth),
            "revisions": revisions,
            "positions": positions,
        });
        assert_eq!(ours, *theirs, "{what}");
    }
    Some(forks)
}

/// Forks deep and of forks, over many segments, whose index blocks name them: parents, jump links and places are those that the
/// pages say, and each fork reads as its parent up to its fork revision. [BAT-14] [BAT-15] [IDX-5]
#[test]
fn the_independent_reader_agrees_about_every_fork_that_the_engine_makes() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(11);
    let (mut names, mut forks) = (vec!["stream 0".to_owned()], 0);
    for round in 0..3 {
        let store = Store::open(folder.path(), options()).unwrap();
        let level = Durability::Written;
        let text = "x".repeat(600);
        let event = [NewEvent::new("turn", &text)];
        let append = |name: &str| store.append(&Batch::to(name, Expected::Any, &event).durability(level)).unwrap();
        let _ = append(&names[0]);
        for number in 0..60 {
            // Mostly of the newest, so that some are deep; of any revision, shared or own.
            let parent = match dice.below(3) {
                0 => names[dice.below(names.len() as u64) as usize].clone(),
                _ => names[names.len() - 1].clone(),
            };
            let head = store.stream(&parent).unwrap().unwrap().head.0;
            let revision = if dice.below(2) == 0 { head } else { dice.below(head + 1) };
            let name = format!("fork {round}.{number}");
            let _ = store.fork(&Fork::new(&parent, &name).at(Revision(revision)).durability(level)).unwrap();
            names.push(name);
            for _ in 0..dice.below(4) {
                let _ = append(&names[dice.below(names.len() as u64) as usize]);
            }
            if dice.below(3) > 0 {
                let _ = append(&names[names.len() - 1]);
            }
        }
        store.close().unwrap();
        if agree(folder.path(), &format!("round {round}")).is_none() {
            return;
        }
        forks = streams_agree(folder.path(), &format!("round {round}")).expect("there is a reader");
        let _ = side_files_agree(folder.path(), &format!("round {round}")).expect("there is a reader");
    }
    assert_eq!(forks, 180);
    let segments = super::vectors::files(folder.path()).keys().filter(|name| name.ends_with(".segment")).count();
    assert!(segments > 4, "{segments} segments");
    let store = Store::open_read_only(folder.path(), Options::new()).unwrap();
    assert!(store.forks().unwrap().iter().any(|fork| fork.depth > 20), "some are deep");
}

/// [SEG-7] [SEG-8] A frame too long for a segment gets a jumbo segment with room for its index block, and the log goes on
/// behind it.
#[test]
fn the_independent_reader_reads_jumbo_segments_and_compressed_sections() {
    let folder = tempfile::tempdir().unwrap();
    let options = options().segment_bytes(16 << 10).compression(Some(Compression { level: 3, min_bytes: 256 }));
    let store = Store::open(folder.path(), options).unwrap();
    let mut noise = Dice(3);
    let large: Vec<u8> = (0..40_000).map(|_| noise.below(256) as u8).collect();
    let events = [NewEvent::new("large", &large)];
    let compressible = "the same words again, ".repeat(500);
    let words = [NewEvent::new("text", &compressible)];
    for _ in 0..3 {
        let _ = store.append(&Batch::to("a", Expected::Any, &events)).unwrap();
        let _ = store.append(&Batch::to("a", Expected::Any, &words)).unwrap();
    }
    // Every length around the size of a segment: what fits exactly, and one byte more.
    for len in (7_800..8_200).step_by(40) {
        let events = [NewEvent::new("edge", &large[..len])];
        let _ = store.append(&Batch::to("edge", Expected::Any, &events).durability(Durability::Written)).unwrap();
    }
    store.close().unwrap();
    let lens: Vec<usize> = super::vectors::files(folder.path())
        .into_iter()
        .filter(|(name, _)| name.ends_with(".segment"))
        .map(|(_, bytes)| bytes.len())
        .collect();
    assert!(lens.contains(&(3 * (16 << 10))) && lens.contains(&(16 << 10)), "{lens:?}");
    agree(folder.path(), "jumbo");
}

/// An empty store, and one that was opened and closed and opened again with nothing in it.
#[test]
fn the_independent_reader_reads_stores_with_nothing_in_them() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4 {
        Store::open(folder.path(), options()).unwrap().close().unwrap();
        agree(folder.path(), &format!("opened {round} times before"));
    }
}

/// The vectors that the pages' reader calls whole are whole for the reader after the engine went on with them.
#[test]
fn the_independent_reader_agrees_where_the_engine_went_on_with_a_vector() {
    for (name, vector) in super::vectors::all() {
        let opening = super::vectors::expected(&vector)["opening"].clone();
        if !["valid/", "beside/", "torn/", "void/"].iter().any(|folder| name.starts_with(folder)) || opening.is_null() {
            continue;
        }
        let folder = super::vectors::copy(&vector);
        let store = Store::open(folder.path(), Options::new().create(false)).unwrap();
        let events = [NewEvent::new("added", "behind it")];
        let _ = store.append(&Batch::to("a stream of the test", Expected::NoStream, &events)).unwrap();
        store.close().unwrap();
        let Some((lines, code)) = reader(folder.path(), &["--verify"]) else { return };
        assert_eq!(code, 0, "{name}: {lines:?}");
        let store = Store::open_read_only(folder.path(), Options::new()).unwrap();
        let (ours, damage, undecodable) = read_all(&store);
        let events = ours.len() + undecodable.len();
        assert_eq!(damage, [], "{name}");
        assert_eq!(lines.last().expect("a summary comes last")["events"], events, "{name}");
    }
}
