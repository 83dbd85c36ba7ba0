//! Verifying and dumping whole stores: what is sound is called sound, whatever happened to it on the way; what is not is
//! named, byte by byte; and nothing makes either of them panic.

use std::sync::Arc;

use proptest::prelude::*;
use treering::maintain::{self, VerifyReport};
use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};
use treering::{
    Batch, BootId, Compression, DamageClass, Durability, ErrorKind, Expected, NewEvent, Options, ReadAllOptions, Store,
    Visibility,
};
use treering_tests::damage::wait_for_seals;
use treering_tests::store::{noise, put};
use treering_tests::workload::{Blob, BlobKind, Sizes, operations};
use treering_tests::{Engine, Target, run};

mod dump;
mod mutations;
mod vectors;

const SEGMENT_BYTES: u64 = 16 << 10;
/// How many events the small store holds.
const EVENTS: u64 = 76;

fn small() -> Options {
    Options::new().segment_bytes(SEGMENT_BYTES).index_stride_bytes(4 << 10)
}

fn compressing() -> Options {
    small().compression(Some(Compression { level: 1, min_bytes: 64 }))
}

fn verify(storage: &MemStorage) -> VerifyReport {
    maintain::verify_on(Arc::new(storage.clone()), &mut ()).unwrap()
}

/// A copy of a segment in memory is older than the segment while it is written: what is sealed is the file.
#[test]
fn p13_a_store_that_is_read_by_position_seals_what_is_in_its_files() {
    let storage = MemStorage::new();
    let options = small().read_mode(treering::ReadMode::Positioned);
    let store = Store::open_on(Arc::new(storage.clone()), options).unwrap();
    for number in 0..60u64 {
        let _ = put(&store, "s", &noise(number, 1500));
        // Every stretch is read before it is full, and sealed before its copy makes room for another.
        let newest = store.event("s", treering::Revision(number), Visibility::Committed).unwrap().unwrap();
        assert!(newest.payload[..] == noise(number, 1500)[..]);
        wait_for_seals(&store);
    }
    assert!(store.stat().unwrap().sealed_segments > 3);
    store.close().unwrap();
    let report = verify(&storage);
    assert!(report.is_clean(), "{report:#?}");
}

fn append(store: &Store, batch: &Batch<'_>) -> u64 {
    store.append(batch).unwrap().position.0
}

/// A start of the machine.
fn boot(number: u8) -> BootId {
    BootId([number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
}

/// A store of three segments, each begun by another start of the machine, the first two sealed; with coded sections, a batch
/// over two streams, a section that is long enough for a skip table, and an index block in the first. Also the positions of
/// the three batch frames that each segment begins with.
fn small_store() -> (MemStorage, Vec<u64>) {
    let storage = MemStorage::new();
    let mut frames = Vec::new();
    for life in 0..3u8 {
        storage.set_boot_id(boot(life));
        let store = Store::open_on(Arc::new(storage.clone()), compressing()).unwrap();
        let many: Vec<NewEvent<'_>> = (0..20).map(|_| NewEvent::new("tick", "t")).collect();
        let text = "{\"say\": \"again and again\"}".repeat(8);
        let told = [NewEvent::new("user", "hello").id("id-1").metadata("{}"), NewEvent::new("model", &text)];
        frames.push(append(&store, &Batch::to("session", Expected::Any, &told)));
        let both = Batch::new().section("session/agent", Expected::Any, &many[..2]).section(
            "session",
            Expected::Any,
            &told[..1],
        );
        frames.push(append(&store, &both));
        frames.push(append(&store, &Batch::to("session/agent", Expected::Any, &many)));
        if life == 0 {
            // Enough for an index block.
            let noise = Blob { kind: BlobKind::Noise, seed: 1, len: 4000 }.bytes();
            append(&store, &Batch::to("session", Expected::Any, &[NewEvent::new("noise", &noise)]));
        }
        wait_for_seals(&store);
        store.close().unwrap();
    }
    (storage, frames)
}

/// All events of a store, as far as they can be read; how many times damage was met on the way.
fn events(storage: &MemStorage) -> (Vec<(u64, Vec<u8>)>, usize) {
    let store = Store::open_read_only_on(Arc::new(storage.clone()), small()).unwrap();
    let mut reader = store.read_all(ReadAllOptions::new().visibility(Visibility::Committed)).unwrap();
    let (mut events, mut damage) = (Vec::new(), 0);
    while let Some(event) = reader.next() {
        match event {
            Ok(event) => events.push((event.position().0, event.payload().to_vec())),
            Err(error) if error.damage().is_some() => damage += 1,
            Err(error) => panic!("{error}"),
        }
    }
    (events, damage)
}

fn bytes_of(storage: &MemStorage, name: &str) -> Vec<u8> {
    let file = storage.open(name, Access::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

fn names(storage: &MemStorage) -> Vec<String> {
    let mut names: Vec<String> = storage.list().unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

/// A storage with these files.
fn storage_of(files: &[(String, Vec<u8>)]) -> MemStorage {
    let storage = MemStorage::with_seed(9);
    for (name, bytes) in files {
        storage.create(name, bytes.len() as u64).unwrap().write_at(bytes, 0).unwrap();
    }
    storage
}

fn files_of(storage: &MemStorage) -> Vec<(String, Vec<u8>)> {
    names(storage).into_iter().map(|name| (name.clone(), bytes_of(storage, &name))).collect()
}

fn segment(ordinal: u64) -> String {
    format!("{ordinal:016x}.segment")
}

/// Where the log ends in each segment file, as offsets, by their names.
fn ends(storage: &MemStorage) -> Vec<(String, u64)> {
    use treering::format::open::HeadBlock;
    let mut ends = Vec::new();
    let segments: Vec<String> = names(storage).into_iter().filter(|name| name.ends_with(".segment")).collect();
    for (index, name) in segments.iter().enumerate() {
        let end = match segments.get(index + 1) {
            Some(next) => HeadBlock::decode(&bytes_of(storage, next)).unwrap().open.predecessor.unwrap().end.0,
            None => verify(storage).committed.0,
        };
        ends.push((name.clone(), end % SEGMENT_BYTES));
    }
    ends
}

fn assert_sound(report: &VerifyReport) -> Result<(), TestCaseError> {
    prop_assert!(report.is_clean(), "{:#?}", report.damage);
    prop_assert!(report.torn_tail.is_none(), "{:?}", report.torn_tail);
    prop_assert!(report.notes.is_empty(), "{:?}", report.notes);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// [IDX-4] [SEA-4] [OPN-4] What the engine writes says the same wherever it says it twice.
    #[test]
    fn p05_whatever_was_appended_verifies_clean(ops in operations(60, Sizes::default()), is_compressing: bool) {
        let storage = MemStorage::new();
        let options = if is_compressing { compressing() } else { small() };
        let mut engine = Engine::open(Arc::new(storage.clone()), options.clone()).unwrap();
        let model = run(&ops, &mut engine).map_err(TestCaseError::fail)?;
        let counts = |report: &VerifyReport| (report.events, report.streams);
        let expected = (model.events_count(), model.streams().len() as u64);

        let open = verify(&storage);
        assert_sound(&open)?;
        prop_assert_eq!(counts(&open), expected);

        wait_for_seals(engine.store());
        let sealed = verify(&storage);
        assert_sound(&sealed)?;
        let stat = engine.store().stat().unwrap();
        prop_assert_eq!(sealed.seals_checked, stat.sealed_segments);
        prop_assert_eq!((sealed.segments, sealed.bytes), (stat.segments, stat.bytes));
        prop_assert_eq!(sealed.committed, stat.watermarks.committed);

        // A copy of the open store is gone on with in a new life; then, as after a kill, with no word of how it ended.
        let copy = storage.deep_copy().unwrap();
        for is_killed in [false, true] {
            if is_killed {
                copy.remove("watermark").unwrap();
                copy.remove("control").unwrap();
            }
            let opened = Store::open_on(Arc::new(copy.clone()), options.clone()).unwrap();
            prop_assert!(opened.open_report().has_rolled);
            drop(opened);
            let copied = verify(&copy);
            assert_sound(&copied)?;
            prop_assert_eq!(counts(&copied), expected);
        }

        engine.reopen().unwrap();
        let reopened = verify(&storage);
        assert_sound(&reopened)?;
        prop_assert_eq!(counts(&reopened), expected);
        prop_assert_eq!(reopened.durable, reopened.committed);
        storage.set_boot_id(boot(77));
        engine.reopen().unwrap();
        let rolled = verify(&storage);
        assert_sound(&rolled)?;
        prop_assert_eq!(counts(&rolled), expected);
    }
}

#[test]
fn p13_a_store_that_is_written_meanwhile_verifies_clean() {
    let storage = MemStorage::new();
    let store = Arc::new(Store::open_on(Arc::new(storage.clone()), compressing()).unwrap());
    let writer = {
        let store = Arc::clone(&store);
        std::thread::spawn(move || {
            let text = "some words that are said ".repeat(10);
            for number in 0..3_000u32 {
                let events = [NewEvent::new("tick", &text), NewEvent::new("tock", &text[..number as usize % 200])];
                let stream = format!("stream-{}", number % 7);
                let level = if number % 50 == 0 { Durability::Synced } else { Durability::Written };
                let _receipt = store.append(&Batch::to(&stream, Expected::Any, &events).durability(level)).unwrap();
            }
        })
    };
    let mut last = 0;
    let mut rounds = 0;
    while !writer.is_finished() || rounds == 0 {
        let before = store.stat().unwrap().events;
        let report = verify(&storage);
        assert!(report.is_clean(), "{:#?}", report.damage);
        assert!(report.events >= before && report.events >= last, "{} {before} {last}", report.events);
        last = report.events;
        rounds += 1;
    }
    writer.join().unwrap();
    let report = verify(&storage);
    assert!(report.is_clean() && report.torn_tail.is_none(), "{report:#?}");
    assert_eq!(report.events, 6_000);
}

#[test]
fn p08_verifying_writes_no_byte_and_tells_how_far_it_is() {
    let (storage, _) = small_store();
    let before = files_of(&storage);
    let (writes, syncs) = (storage.writes(), storage.syncs());
    let mut told = Vec::new();
    let report =
        maintain::verify_on(Arc::new(storage.clone()), &mut |done: u64, total: u64| told.push((done, total))).unwrap();
    assert!(report.is_clean() && report.notes.is_empty(), "{report:#?}");
    assert_eq!((report.segments, report.seals_checked, report.streams), (3, 2, 2));
    assert_eq!(report.events, EVENTS);
    assert!(report.index_blocks_checked >= 1);
    assert_eq!((storage.writes(), storage.syncs()), (writes, syncs));
    assert!(files_of(&storage) == before);
    let (done, total) = *told.last().unwrap();
    assert!(done == total && total >= report.bytes);
    assert!(told.is_sorted() && told.iter().all(|(_, each)| *each == total));
}

/// Checkpoints that a writer makes meanwhile tell of a log that goes on behind what is verified, and take the place of those that
/// there were, with what these name.
#[test]
fn p11_checkpoints_that_are_replaced_while_a_store_is_verified_are_not_called_wrong() {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage.clone()), small().background_threads(false)).unwrap();
    let go_on = || {
        for number in 0..60u64 {
            let _ = put(&store, &format!("stream {}", number % 7), &noise(number, 500));
        }
        store.reindex(&mut |_, _| ()).unwrap();
    };
    go_on();
    let checkpoints = || {
        let files = files_of(&storage).into_iter();
        files.filter(|(name, _)| name.starts_with("checkpoint") || name.starts_with("directory")).collect::<Vec<_>>()
    };
    for moment in 0..8 {
        let (before, mut calls) = (checkpoints(), 0);
        let mut advance = |_: u64, _: u64| {
            if calls == moment {
                go_on();
            }
            calls += 1;
        };
        let report = maintain::verify_on(Arc::new(storage.clone()), &mut advance).unwrap();
        assert!(report.is_clean() && report.notes.is_empty(), "at call {moment}: {report:#?}");
        assert!(calls > moment && checkpoints() != before, "they are replaced at call {moment}");
    }
}

#[test]
fn p17_files_that_are_missing_or_of_another_store_or_moment_are_named() {
    let (storage, _) = small_store();
    let files = files_of(&storage);
    type Change<'a> = &'a dyn Fn(&str, &[u8]) -> Option<Vec<u8>>;
    let with = |change: Change<'_>| {
        let changed = files.iter().filter_map(|(name, bytes)| Some((name.clone(), change(name, bytes)?)));
        maintain::verify_on(Arc::new(storage_of(&changed.collect::<Vec<_>>())), &mut ()).unwrap()
    };
    let same = with(&|_, bytes| Some(bytes.to_vec()));
    assert!(same.is_clean(), "{same:#?}");
    for lost in 0..3 {
        let report = with(&|name, bytes| (*name != segment(lost)).then(|| bytes.to_vec()));
        assert!(!report.is_clean(), "segment {lost}");
    }
    let report = with(&|name, bytes| (name != "identity").then(|| bytes.to_vec()));
    assert_eq!(report.damage.len(), 1, "{report:#?}");
    assert_eq!((report.damage[0].class, report.damage[0].file.as_str()), (DamageClass::Missing, "identity"));
    assert_eq!(report.events, EVENTS);
    let report = with(&|name, bytes| (name != "watermark").then(|| bytes.to_vec()));
    assert!(report.is_clean() && report.events == EVENTS, "{report:#?}");

    // Two segments change places.
    let swapped = |a: u64, b: u64| {
        with(&|name, bytes| {
            let other = |name: &str| files.iter().find(|(other, _)| other == name).unwrap().1.clone();
            Some(match name {
                _ if name == segment(a) => other(&segment(b)),
                _ if name == segment(b) => other(&segment(a)),
                _ => bytes.to_vec(),
            })
        })
    };
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        let report = swapped(a, b);
        let mut named: Vec<_> = report.damage.iter().map(|damage| (damage.file.clone(), damage.class)).collect();
        named.dedup();
        assert!(named.contains(&(segment(a), DamageClass::Stale)), "{a} {b}: {named:?}");
        assert!(named.contains(&(segment(b), DamageClass::Stale)), "{a} {b}: {named:?}");
    }

    // A segment of another store; and of another life of this one, which has the same ordinal.
    let other = {
        let other = MemStorage::with_seed(4);
        drop(Store::open_on(Arc::new(other.clone()), small()).unwrap());
        other
    };
    let foreign = bytes_of(&other, &segment(0));
    let report = with(&|name, bytes| Some(if name == segment(0) { foreign.clone() } else { bytes.to_vec() }));
    let first = report.damage.iter().find(|damage| damage.file == segment(0)).unwrap();
    assert_eq!(first.class, DamageClass::Foreign, "{report:#?}");
    let older = storage.deep_copy().unwrap();
    older.remove(&segment(1)).unwrap();
    older.remove(&segment(2)).unwrap();
    older.remove("watermark").unwrap();
    drop(Store::open_on(Arc::new(older.clone()), small()).unwrap());
    let stale = bytes_of(&older, &segment(1));
    let report = with(&|name, bytes| Some(if name == segment(1) { stale.clone() } else { bytes.to_vec() }));
    let first = report.damage.iter().find(|damage| damage.file == segment(1)).unwrap();
    assert_eq!(first.class, DamageClass::Stale, "{report:#?}");
}

#[test]
fn files_beside_the_log_are_noted_and_harm_nobody() {
    let (storage, _) = small_store();
    for name in ["notes.txt", "identity-0000000000000001.new", "00000000000000ff.prepared"] {
        storage.create(name, 3).unwrap();
    }
    storage.open("control", Access::ReadWrite).unwrap().write_at(b"anything", 0).unwrap();
    let watermark = storage.open("watermark", Access::ReadWrite).unwrap();
    watermark.write_at(b"x", 200).unwrap();
    let report = verify(&storage);
    assert!(report.is_clean(), "{report:#?}");
    let has = |words: &str| report.notes.iter().any(|note| note.contains(words));
    assert!(has("notes.txt") && has("identity-0000000000000001.new") && has("watermark"), "{:?}", report.notes);
    assert_eq!(report.notes.len(), 3, "{:?}", report.notes);
    // What the note advises helps, and no less does.
    for is_deleted in [false, true] {
        if is_deleted {
            storage.remove("watermark").unwrap();
        }
        drop(Store::open_on(Arc::new(storage.clone()), compressing()).unwrap());
        let report = verify(&storage);
        assert!(report.is_clean(), "{report:#?}");
        assert_eq!(!report.notes.iter().any(|note| note.contains("watermark")), is_deleted, "{:?}", report.notes);
    }
}

#[test]
fn what_is_no_store_is_refused() {
    let kind = |storage: MemStorage| maintain::verify_on(Arc::new(storage), &mut ()).unwrap_err().kind();
    assert_eq!(kind(MemStorage::new()), ErrorKind::NotFound);
    let other = MemStorage::new();
    other.create("identity", 0).unwrap().write_at(b"my identity", 0).unwrap();
    assert_eq!(kind(other), ErrorKind::NotAStore);
    let folder = tempfile::tempdir().unwrap();
    let kind = |path: &std::path::Path| maintain::verify(path, &mut ()).unwrap_err().kind();
    assert_eq!(kind(&folder.path().join("none")), ErrorKind::NotFound);
    std::fs::write(folder.path().join("file"), "x").unwrap();
    assert_eq!(kind(&folder.path().join("file")), ErrorKind::NotAStore);
}
