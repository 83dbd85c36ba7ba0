//! Checkpoints and the stream directory: opening reads a stretch of the log and no more, whatever the log holds, and says
//! of streams what the whole log says. Without these files, with older, other or damaged ones, every answer is the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use treering::format::file_name::{self, FileKind};
use treering::format::segment_header::FIRST_FRAME_OFFSET;
use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};
use treering::{
    Batch, BatchId, BootId, ErrorKind, Event, Expected, NewEvent, ReadOptions, Revision, Store, Visibility,
};
use treering_tests::store::{everything, open_read_only, put, small};

/// Opens a store whose background does what it is told, so that two of them do the same.
pub(crate) fn open(storage: &MemStorage) -> Store {
    Store::open_on(Arc::new(storage.clone()), small().background_threads(false)).unwrap()
}

/// Appends `batches` batches to `streams` streams in turn, durable, with all background work done as it comes.
pub(crate) fn fill(store: &Store, batches: u64, streams: u64) {
    // No id comes twice.
    let first = store.stat().unwrap().events;
    for number in first..first + batches {
        let name = format!("agent/{}", number * 7 % streams);
        let payload = [number as u8; 200];
        let events = [NewEvent::new("t", &payload[..]), NewEvent::new("u", &payload[..number as usize % 90])];
        let events = &events[..1 + (number % 3 == 0) as usize];
        let _ = store.append(&Batch::with_id(id(number)).section(&name, Expected::Any, events)).unwrap();
        if number % 20 == 0 {
            store.work_in_background().unwrap();
        }
    }
    store.work_in_background().unwrap();
}

fn id(number: u64) -> BatchId {
    let mut id = [0xC0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    BatchId(id)
}

fn filled(batches: u64, streams: u64) -> MemStorage {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, batches, streams);
    store.close().unwrap();
    storage
}

/// The files of the directory and the checkpoints.
pub(crate) fn derived(storage: &MemStorage) -> Vec<String> {
    let is_derived = |name: &String| matches!(file_name::parse(name), FileKind::Directory(_) | FileKind::Checkpoint(_));
    let mut names: Vec<String> =
        storage.list().unwrap().into_iter().map(|entry| entry.name).filter(is_derived).collect();
    names.sort_unstable();
    names
}

fn bytes_of(storage: &MemStorage, name: &str) -> Vec<u8> {
    let file = storage.open(name, Access::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn put_bytes(storage: &MemStorage, name: &str, bytes: &[u8]) {
    let _ = storage.remove(name);
    storage.create(name, 0).unwrap().write_at(bytes, 0).unwrap();
}

pub(crate) fn without_directory(storage: &MemStorage) -> MemStorage {
    let copy = copy_of(storage);
    for name in derived(&copy) {
        copy.remove(&name).unwrap();
    }
    copy
}

/// A copy of the folder.
fn copy_of(storage: &MemStorage) -> MemStorage {
    storage.deep_copy().unwrap()
}

/// Everything that a store says of its streams and events, through every way of asking.
#[derive(Debug, PartialEq)]
pub(crate) struct Answers {
    log: Vec<Event>,
    listed: Vec<(String, u64, u64, u64)>,
    prefixed: Vec<String>,
    pub(crate) heads: BTreeMap<String, Option<(u64, u64)>>,
    streams: BTreeMap<String, Vec<Event>>,
    backwards: BTreeMap<String, Vec<Event>>,
    points: BTreeMap<String, Vec<Option<Event>>>,
}

pub(crate) fn answers(store: &Store, names: &[String]) -> Answers {
    let read = |name: &str, options: ReadOptions<'_>| {
        let mut events = Vec::new();
        match store.read_stream(name, options.visibility(Visibility::Committed)) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
            Ok(mut reader) => {
                while let Some(event) = reader.next() {
                    events.push(event.unwrap().hold());
                }
            }
        }
        events
    };
    let per_name = |look: &dyn Fn(&str) -> Vec<Event>| names.iter().map(|name| (name.clone(), look(name))).collect();
    let point = |name: &String, revision| store.event(name, Revision(revision), Visibility::Committed).unwrap();
    let listed = store.streams().unwrap();
    Answers {
        // Streams first: what the log says must not have loaded them.
        heads: names
            .iter()
            .map(|name| (name.clone(), store.stream(name).unwrap().map(|it| (it.id.0, it.head.0))))
            .collect(),
        streams: per_name(&|name| read(name, ReadOptions::new())),
        backwards: per_name(&|name| read(name, ReadOptions::new().backwards().last(7))),
        points: names.iter().map(|name| (name.clone(), [0, 1, 5, 40].map(|at| point(name, at)).to_vec())).collect(),
        listed: listed.iter().map(|it| (it.name.to_string(), it.id.0, it.head.0, it.head_position.0)).collect(),
        prefixed: store.streams_with_prefix("agent/1").unwrap().iter().map(|it| it.name.to_string()).collect(),
        log: everything(store),
    }
}

#[test]
fn p15_what_opening_reads_is_known_in_bytes_of_the_log() {
    let storage = filled(60, 30);
    let stat = open_read_only(&without_directory(&storage)).stat().unwrap();
    assert_eq!((stat.directory, stat.opening_bytes), (None, stat.bytes), "all of it");
    let stat = open_read_only(&storage).stat().unwrap();
    let covered = stat.directory.unwrap().covered;
    let before = stat.opening_bytes;
    assert_eq!(before, stat.watermarks.committed.0 - covered.0, "{stat:?}");
    assert!(before < stat.bytes / 4, "{stat:?}");
    // The rest of a segment that was left is no part of the log.
    storage.set_boot_id(BootId([7; 16]));
    let store = Store::open_on(Arc::new(storage.clone()), small().background_threads(false)).unwrap();
    let stat = store.stat().unwrap();
    assert!(stat.opening_bytes <= before + FIRST_FRAME_OFFSET + 512, "{stat:?}");
    assert!(stat.opening_bytes < stat.watermarks.committed.0 - covered.0, "{stat:?}");
}

pub(crate) fn in_memory(store: &Store) -> u64 {
    store.stat().unwrap().streams_in_memory
}

pub(crate) fn names(streams: u64) -> Vec<String> {
    (0..streams).map(|number| format!("agent/{number}")).chain(["agent".into(), "nobody".into()]).collect()
}

#[test]
fn p15_opening_reads_one_stretch_of_the_log_whatever_the_log_holds() {
    let frames = |batches: u64, streams: u64| {
        let storage = filled(batches, streams);
        let clean = open(&copy_of(&storage)).open_report().frames_read;
        let reader = open_read_only(&copy_of(&storage)).open_report().frames_read;
        // Killed: the files as they were while the store was open.
        let killed = copy_of(&storage);
        let store = open(&killed);
        fill(&store, 60, streams);
        let killed = copy_of(&killed);
        let killed = open(&killed).open_report().frames_read;
        // Without: from the first frame on.
        let all = open(&without_directory(&storage)).open_report().frames_read;
        assert!(all >= batches, "{all} frames of {batches} batches");
        [clean, reader, killed]
    };
    // 4 KiB are some 14 frames of these; a stretch is four times as long.
    for (batches, streams) in [(100, 3), (1000, 40), (4000, 700)] {
        let [clean, reader, killed] = frames(batches, streams);
        // What is closed has an index block and a checkpoint within an eighth of that.
        assert!(clean <= 4 && reader <= 4, "{clean} and {reader} frames of {batches} batches");
        assert!(killed <= 140, "{killed} frames of {batches} batches after a kill");
    }
}

#[test]
fn p20_opening_holds_no_stream_that_nobody_asked_for() {
    let storage = filled(3000, 900);
    let store = open(&storage);
    assert!(in_memory(&store) <= 30, "{} streams are in memory", in_memory(&store));
    assert_eq!(store.stat().unwrap().streams, 900);
    assert_eq!(store.streams().unwrap().len(), 900);
    assert!(store.stream("agent/5").unwrap().is_some());
    let _ = put(&store, "agent/6", b"x");
    assert!(in_memory(&store) <= 32, "{} streams are in memory", in_memory(&store));
}

#[test]
fn p11_every_answer_is_that_of_the_whole_log() {
    let storage = filled(1500, 60);
    let names = names(60);
    let whole = open(&without_directory(&storage));
    let expected = answers(&whole, &names);
    assert_eq!(answers(&open(&copy_of(&storage)), &names), expected);
    assert_eq!(answers(&open_read_only(&storage), &names), expected);
    // And goes on from there.
    let (one, other) = (open(&copy_of(&storage)), open(&without_directory(&storage)));
    for store in [&one, &other] {
        fill(store, 90, 75);
        let repeated =
            store.append(&Batch::with_id(id(3)).section("agent/21", Expected::Any, &[NewEvent::new("t", "")]));
        assert_eq!(repeated.unwrap_err().kind(), ErrorKind::Conflict, "its id is that of another batch");
    }
    let names = self::names(75);
    let mut left = answers(&one, &names);
    let mut right = answers(&other, &names);
    for answers in [&mut left, &mut right] {
        answers.log.iter_mut().chain(answers.streams.values_mut().flatten()).for_each(same_times);
        answers.backwards.values_mut().flatten().for_each(same_times);
        answers.points.values_mut().flatten().flatten().for_each(same_times);
    }
    assert_eq!(left, right);
}

/// Two stores that went on beside each other differ in when that was.
fn same_times(event: &mut Event) {
    event.recorded_at = 0;
}

#[test]
fn p12_a_retry_is_recognised_by_what_the_directory_knows() {
    let storage = filled(1000, 40);
    let log = everything(&open_read_only(&storage));
    let store = open(&storage);
    for number in [0u64, 1, 499, 998, 999] {
        let name = format!("agent/{}", number * 7 % 40);
        let payload = [number as u8; 200];
        let events = [NewEvent::new("t", &payload[..]), NewEvent::new("u", &payload[..number as usize % 90])];
        let events = &events[..1 + (number % 3 == 0) as usize];
        let receipt = store.append(&Batch::with_id(id(number)).section(&name, Expected::Any, events)).unwrap();
        assert!(receipt.is_repeated, "batch {number} is in the log");
        let first = log.iter().find(|event| event.batch == id(number)).unwrap();
        assert_eq!(receipt.sections[0].first_position, first.position);
    }
    assert_eq!(everything(&store), log);
}

#[test]
fn p11_checkpoints_of_other_stores_and_of_other_times_do_not_count() {
    let names = names(40);
    let earlier = filled(600, 40);
    let later = copy_of(&earlier);
    let store = open(&later);
    fill(&store, 700, 40);
    store.close().unwrap();
    let other = MemStorage::with_seed(99);
    let store = open(&other);
    fill(&store, 900, 40);
    store.close().unwrap();
    for (what, storage, from) in
        [("another store", &earlier, &other), ("the future", &earlier, &later), ("the past", &later, &earlier)]
    {
        let whole = open_read_only(&without_directory(storage));
        let (expected, all) = (answers(&whole, &names), whole.open_report().frames_read);
        let mixed = without_directory(storage);
        for name in derived(from) {
            put_bytes(&mixed, &name, &bytes_of(from, &name));
        }
        let found = open_read_only(&mixed);
        assert_eq!(answers(&found, &names), expected, "{what}");
        let frames = found.open_report().frames_read;
        assert_eq!(frames < all, what == "the past", "{what}: {frames} of {all} frames were read");
        // A writer makes good ones again.
        let store = open(&mixed);
        fill(&store, 100, 40);
        store.close().unwrap();
        assert!(open(&mixed).open_report().frames_read <= 30, "{what}");
    }
}

#[test]
fn p15_the_newest_events_of_the_log_are_the_end_of_what_a_scan_finds() {
    use treering::{Position, ReadAllOptions};
    use treering_tests::store::log;
    let storage = filled(700, 20);
    let store = open(&storage);
    let all = everything(&store);
    let committed = || ReadAllOptions::new().visibility(Visibility::Committed);
    for count in [0, 1, 2, 7, 50, 333, all.len() - 1, all.len(), all.len() + 1, usize::MAX] {
        let newest = &all[all.len().saturating_sub(count)..];
        assert_eq!(log(&store, committed().last(count as u64)), newest, "the last {count}");
    }
    for end in all.iter().step_by(71) {
        let at = Position(end.position.0);
        let found = log(&store, committed().at(at).last(5));
        let whole: Vec<Event> = log(&store, committed().at(at));
        assert_eq!(found, whole[whole.len().saturating_sub(5)..], "the last five at {at}");
    }
}

/// [DIR-5] A row that says something else than the log, with all checks right.
#[test]
fn p11_the_log_is_believed_over_a_directory_that_lies() {
    use treering::format::directory::{HeadRow, RunHead, RunTable};
    use treering::format::side_file::{SIDE_BLOCK_BYTES, SideHeader, SideKind, block_check, table_check};
    // Its writer was killed behind the last checkpoint: what came since contradicts the lie too.
    let storage = filled(400, 10);
    let store = open(&storage);
    (0..10).for_each(|number| drop(put(&store, &format!("agent/{number}"), &[7; 30])));
    let storage = copy_of(&storage);
    let names = names(10);
    let expected = answers(&open(&without_directory(&storage)), &names);
    let store = open_read_only(&storage).stat().unwrap().store;
    let run =
        derived(&storage).into_iter().find(|name| matches!(file_name::parse(name), FileKind::Directory(_))).unwrap();
    let mut bytes = bytes_of(&storage, &run);
    let mut header = SideHeader::decode(&bytes, SideKind::DirectoryRun, store).unwrap();
    let head = RunHead::decode(&header.head, header.payload_len).unwrap();
    let rows = SIDE_BLOCK_BYTES + head.table_at(RunTable::Heads) as usize;
    for row in bytes[rows..rows + 32 * head.heads as usize].chunks_mut(32) {
        let mut lie = HeadRow::decode(row).unwrap();
        lie.head.0 += 3;
        row.copy_from_slice(&lie.encode());
    }
    let (payload, table) = bytes.split_at_mut(header.table_at() as usize);
    for (number, block) in payload[SIDE_BLOCK_BYTES..].chunks(SIDE_BLOCK_BYTES).enumerate() {
        table[number * 8..number * 8 + 8].copy_from_slice(&block_check(number as u64, block).to_le_bytes());
    }
    header.table_check = table_check(table);
    let encoded = header.encode();
    bytes[..SIDE_BLOCK_BYTES].copy_from_slice(&encoded);
    put_bytes(&storage, &run, &bytes);
    // The checkpoints name it by its new check.
    for number in [0, 1] {
        let name = file_name::checkpoint(number);
        let Ok(file) = storage.open(&name, Access::Read) else { continue };
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        let mut header = SideHeader::decode(&bytes, SideKind::Checkpoint, store).unwrap();
        let mut checkpoint = treering::format::directory::Checkpoint::decode(&header.head).unwrap();
        for named in &mut checkpoint.runs {
            if file_name::directory(named.number) == run {
                named.check = SideHeader::check_of(&encoded);
            }
        }
        header.head = checkpoint.encode();
        put_bytes(&storage, &name, &header.encode());
    }
    let reader = open_read_only(&storage);
    assert!(reader.open_report().frames_read < 100, "the lie is believed so far");
    assert_eq!(answers(&reader, &names), expected);
    let writer = open(&storage);
    let receipt = put(&writer, "agent/3", b"next");
    assert_eq!(receipt.sections[0].first_revision.0, expected.heads["agent/3"].unwrap().1 + 1);
    // It is made anew.
    fill(&writer, 100, 10);
    writer.close().unwrap();
    let whole = answers(&open(&without_directory(&storage)), &names);
    assert_eq!(answers(&open(&storage), &names), whole);
    assert!(open(&storage).open_report().frames_read <= 30);
}

/// [DIR-2] What is known to be damaged, or was accepted as lost, stands in the way of checkpoints: each opening says it.
#[test]
fn p05_no_checkpoint_hides_damage_that_is_known_or_was_accepted() {
    let storage = without_directory(&filled(300, 10));
    let file = storage.open(&file_name::segment(treering::SegmentOrdinal(1)), Access::ReadWrite).unwrap();
    file.write_at(&[0x55; 40], 12_000).unwrap();
    let damage = open(&storage).open_report().damage.clone();
    assert!(!damage.is_empty());
    let go_on = || {
        let store = open(&storage);
        fill(&store, 200, 10);
        store.close().unwrap();
        assert_eq!(derived(&storage), Vec::<String>::new(), "no checkpoint");
        let found = open_read_only(&storage).open_report().damage.clone();
        assert_eq!(found.len(), damage.len());
        found
    };
    assert!(go_on().iter().all(|damage| !damage.is_accepted));
    let shared = || Arc::new(storage.clone());
    let plan = treering::maintain::accept_plan_on(shared(), &mut ()).unwrap();
    assert!(treering::maintain::accept_on(shared(), &plan).unwrap());
    assert!(go_on().iter().all(|damage| damage.is_accepted));
}

/// [DIR-3] Whichever checkpoint is lost, the other one leads to runs that are there.
#[test]
fn p11_the_older_checkpoint_serves_when_the_newer_one_is_lost() {
    let storage = MemStorage::new();
    let store = open(&storage);
    for round in 0..12 {
        fill(&store, 40 + round * 9, 25);
        let number = [0, 1].map(file_name::checkpoint);
        if number.iter().any(|name| storage.open(name, Access::Read).is_err()) {
            continue;
        }
        let names = names(25);
        let expected = answers(&open_read_only(&without_directory(&storage)), &names);
        for lost in &number {
            let copy = copy_of(&storage);
            copy.remove(lost).unwrap();
            let found = open_read_only(&copy);
            assert!(found.open_report().read_from.0 > 0, "round {round}: the other checkpoint fits");
            assert_eq!(answers(&found, &names), expected, "round {round} without {lost}");
        }
    }
}

#[test]
fn p05_damage_before_a_checkpoint_is_told_by_who_reads_it_and_heads_stay_known() {
    let storage = filled(600, 20);
    let log = everything(&open_read_only(&storage));
    let hit = log.iter().find(|event| event.revision.0 == 9).unwrap();
    let (name, offset) =
        (file_name::segment(treering::SegmentOrdinal(hit.position.0 / (16 << 10))), hit.position.0 % (16 << 10));
    let file = storage.open(&name, Access::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, offset + 100).unwrap();
    file.write_at(&[byte[0] ^ 0x40], offset + 100).unwrap();
    let store = open(&storage);
    assert!(store.open_report().damage.is_empty(), "opening did not look there");
    let mut reader = store.read_stream(&hit.stream, ReadOptions::new()).unwrap();
    let (mut lost, mut read) = (Vec::new(), Vec::new());
    while let Some(event) = reader.next() {
        match event {
            Ok(event) => read.push(event.revision().0),
            Err(error) => lost.push(error.damage().expect("it is damage").clone()),
        }
    }
    let head = store.stream(&hit.stream).unwrap().unwrap();
    assert!(head.is_head_known);
    let others = log.iter().filter(|event| event.stream == hit.stream && event.batch != hit.batch);
    let expected: Vec<u64> = others.map(|event| event.revision.0).collect();
    assert_eq!(read, expected);
    assert!(lost.iter().any(|damage| damage.file == name && damage.positions.contains(&hit.position)), "{lost:?}");
    assert_eq!(put(&store, &hit.stream, b"next").sections[0].first_revision.0, head.head.0 + 1);
    // A checkpoint behind it hides it from nobody who looks.
    drop(store);
    let report = treering::maintain::verify_on(Arc::new(storage.clone()), &mut ()).unwrap();
    assert!(report.damage.iter().any(|damage| damage.file == name), "{:?}", report.damage);
}

/// What may be done to the derived files.
#[derive(Clone, Debug)]
enum Fault {
    Removed,
    Cut(u64),
    Flipped(u64, u8),
    /// The bytes of another one of them.
    Swapped(usize),
    Zeroed(u64),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::Removed),
        any::<u64>().prop_map(Fault::Cut),
        (any::<u64>(), 0..8u8).prop_map(|(at, bit)| Fault::Flipped(at, bit)),
        (0..20usize).prop_map(Fault::Swapped),
        any::<u64>().prop_map(Fault::Zeroed),
    ]
}

fn hurt(storage: &MemStorage, name: &str, fault: &Fault) {
    let mut bytes = bytes_of(storage, name);
    let len = bytes.len() as u64;
    match fault {
        Fault::Removed => return storage.remove(name).unwrap(),
        Fault::Cut(at) => bytes.truncate((at % len) as usize),
        Fault::Flipped(at, bit) => bytes[(at % len) as usize] ^= 1 << bit,
        Fault::Swapped(index) => {
            let others = derived(storage);
            bytes = bytes_of(storage, &others[index % others.len()]);
        }
        Fault::Zeroed(at) => {
            let start = (at % len) as usize / 512 * 512;
            let end = (start + 512).min(bytes.len());
            bytes[start..end].fill(0);
        }
    }
    put_bytes(storage, name, &bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p11_whatever_becomes_of_the_directory_every_answer_stays(
        faults in prop::collection::vec((0..20usize, fault()), 1..5),
        batches in 100..400u64,
    ) {
        let storage = filled(batches, 30);
        let names = names(30);
        let expected = answers(&open_read_only(&without_directory(&storage)), &names);
        let all = derived(&storage);
        for (index, fault) in &faults {
            let name = &all[index % all.len()];
            if storage.open(name, Access::Read).is_ok() {
                hurt(&storage, name, fault);
            }
        }
        prop_assert_eq!(&answers(&open_read_only(&storage), &names), &expected);
        let store = open(&storage);
        prop_assert_eq!(&answers(&store, &names), &expected);
        // What is appended behind is right, and so is what the next opening finds.
        for (name, head) in expected.heads.iter().take(8) {
            let receipt = put(&store, name, b"next");
            prop_assert_eq!(receipt.sections[0].first_revision.0, head.map_or(0, |(_, head)| head + 1));
        }
        fill(&store, 40, 30);
        store.close().unwrap();
        let whole = answers(&open(&without_directory(&storage)), &names);
        prop_assert_eq!(&answers(&open(&storage), &names), &whole);
    }
}

/// All of the log is read for the directory, then each finished segment again for its index.
#[test]
fn a_reindex_tells_how_far_it_is_from_its_beginning_to_its_end() {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, 900, 20);
    let mut told = Vec::new();
    let _ = store.reindex(&mut |done, all| told.push((done, all))).unwrap();
    let (log, all) = (store.watermarks().durable.get(), told[0].1);
    assert!(log < all && all <= 2 * log && told.iter().all(|(_, each)| *each == all), "{told:?}");
    assert!(told.is_sorted() && told[0].0 == 0 && told.last() == Some(&(all, all)), "{told:?}");
    let places = |range: std::ops::Range<u64>| told.iter().filter(|(done, _)| range.contains(done)).count();
    assert!(places(1..log) > 5 && places(log..all) > 5, "{log} of {told:?}");
}
