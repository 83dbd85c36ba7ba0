//! Appending goes on behind damage: where heads can be proven at once, elsewhere after an accept. Nothing is given twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use treering::maintain::{self, AcceptPlan, VerifyReport};
use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};
use treering::{
    Batch, DamageClass, Durability, ErrorKind, Event, Expected, NewEvent, ReadAllOptions, ReadOptions, Store,
    Visibility,
};
use treering_tests::image::Image;
use treering_tests::store::{everything, noise, open, open_read_only, put, small, try_open, try_put};

fn plan(storage: &MemStorage) -> AcceptPlan {
    maintain::accept_plan_on(Arc::new(storage.clone()), &mut ()).unwrap()
}

fn accept(storage: &MemStorage) -> bool {
    maintain::accept_on(Arc::new(storage.clone()), &plan(storage)).unwrap()
}

fn verify(storage: &MemStorage) -> VerifyReport {
    maintain::verify_on(Arc::new(storage.clone()), &mut ()).unwrap()
}

fn name(number: usize) -> String {
    format!("stream {number}")
}

/// All events that can be read, and how often damage was met between them.
fn readable(store: &Store) -> (Vec<Event>, usize) {
    let mut reader = store.read_all(ReadAllOptions::new().visibility(Visibility::Committed)).unwrap();
    let (mut events, mut damage) = (Vec::new(), 0);
    while let Some(event) = reader.next() {
        match event {
            Ok(event) => events.push(event.hold()),
            Err(error) if error.damage().is_some() => damage += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(damage < 1000, "reading does not end");
    }
    (events, damage)
}

/// A store of several segments: streams come and go, two of them are written in the middle only, one in the last frame only.
/// Closed; every event of it was durable.
fn filled() -> (MemStorage, Vec<Event>) {
    let storage = MemStorage::new();
    for life in 0..3u64 {
        storage.set_boot_id(treering::BootId([life as u8 + 1; 16]));
        let store = open(&storage);
        for number in 0..9 {
            let stream = match (life, number) {
                (1, 3) => name(3),
                (1, 4..=5) => name(4),
                _ => name((number % 3) as usize),
            };
            let payload = noise(life * 100 + number, 60 + 173 * (number as usize % 4));
            let events = [NewEvent::new("t", &payload), NewEvent::new("u", "second").metadata("{}")];
            let _ = store.append(&Batch::to(&stream, Expected::Any, &events)).unwrap();
            let _ = put(&store, "all", b"beside");
        }
        store.close().unwrap();
    }
    let store = open(&storage);
    let _ = put(&store, "last", b"the only one");
    let events = everything(&store);
    store.close().unwrap();
    (storage, events)
}

/// The greatest revision of each stream.
fn heads(events: &[Event]) -> BTreeMap<String, u64> {
    let mut heads = BTreeMap::new();
    for event in events {
        heads.insert(event.stream.to_string(), event.revision.0);
    }
    heads
}

fn flip(storage: &MemStorage, file: &str, at: u64, mask: u8) {
    let file = storage.open(file, Access::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, at).unwrap();
    file.write_at(&[byte[0] ^ mask], at).unwrap();
}

/// What must hold of a damaged store, before an accept and after it.
fn check_damaged(storage: &MemStorage, original: &[Event], when: &str) {
    let heads = heads(original);
    let incarnation = open_read_only(storage).open_report().incarnation;
    let (read, _) = readable(&open_read_only(storage));
    let positions: BTreeSet<u64> = original.iter().map(|event| event.position.0).collect();
    assert!(read.iter().all(|event| original.contains(event) || event.stream.starts_with('$')), "{when}: invented");
    let mut given: BTreeSet<(String, u64)> =
        original.iter().map(|event| (event.stream.to_string(), event.revision.0)).collect();
    let mut appended = 0;
    // Before the accept: the head is right, or is said to be unknown.
    let store = try_open(storage).unwrap_or_else(|error| panic!("{when}: {error}"));
    let mut unknown = Vec::new();
    for (stream, head) in &heads {
        match try_put(&store, stream, b"before the accept", Durability::Synced) {
            Ok(receipt) => {
                assert_eq!(receipt.sections[0].first_revision.0, head + 1, "{when}: {stream}");
                assert!(!positions.contains(&receipt.position.0), "{when}");
                assert!(given.insert((stream.clone(), head + 1)));
                appended += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::HeadUnknown, "{when}: {error}");
                unknown.push(stream.clone());
            }
        }
    }
    store.close().unwrap();
    let planned = plan(storage);
    let listed: Vec<_> = planned.streams.iter().map(|stream| stream.name.to_string()).collect();
    assert!(listed.iter().all(|stream| unknown.contains(stream)), "{when}: {listed:?} {unknown:?}");
    let before = Image::take(storage);
    let again = plan(storage);
    assert!(again == planned && Image::take(storage) == before, "{when}: planning changes nothing");
    let is_something = !planned.is_empty();
    assert_eq!(maintain::accept_on(Arc::new(storage.clone()), &planned).unwrap(), is_something, "{when}");
    assert!(!accept(storage), "{when}: accepted already");
    // After it every stream goes on, behind all that was ever given.
    let store = try_open(storage).unwrap_or_else(|error| panic!("{when}: {error}"));
    let report = store.open_report().clone();
    assert!(report.damage.iter().all(|damage| damage.is_accepted || damage.file == "identity"), "{when}: {report:?}");
    for stream in heads.keys().map(String::as_str).chain(["new"]) {
        let receipt = try_put(&store, stream, b"after the accept", Durability::Synced);
        let receipt = receipt.unwrap_or_else(|error| panic!("{when}: {stream}: {error}"));
        let revision = receipt.sections[0].first_revision.0;
        assert!(!positions.contains(&receipt.position.0), "{when}");
        let is_new = given.insert((stream.to_owned(), revision));
        let is_other_life = receipt.incarnation != incarnation && revision == 0;
        assert!(is_new || is_other_life, "{when}: revision {revision} of {stream} is given twice");
        appended += 1;
        // Reading it says where something is missing, and ends.
        let mut reader = store.read_stream(stream, ReadOptions::new().visibility(Visibility::Committed)).unwrap();
        let (mut last, mut way) = (None, Vec::new());
        for _ in 0..1000 {
            match reader.next() {
                Some(Ok(event)) => {
                    last = Some(event.revision().0);
                    way.push(event.revision().0.to_string());
                }
                Some(Err(error)) => {
                    assert!(error.damage().is_some(), "{when}: {error}");
                    way.push(error.to_string());
                }
                None => break,
            }
        }
        assert_eq!(last, Some(revision), "{when}: {stream}: {way:#?}");
    }
    store.close().unwrap();
    let report = verify(storage);
    assert!(report.is_accepted(), "{when}: {:#?}", report.damage);
    assert!(report.is_clean() || is_something, "{when}");
    let (after, _) = readable(&open_read_only(storage));
    assert_eq!(after.len(), read.len() + appended, "{when}: what could be read before can be read now");
    assert!(after.starts_with(&read), "{when}");
}

/// [BAT-17] [REC-6] [REC-7] [REC-8] [REC-9]
#[test]
fn p05_one_flipped_byte_anywhere_never_stops_appending_for_good_and_nothing_is_given_twice() {
    let (storage, events) = filled();
    let image = Image::take(&storage);
    let files: Vec<(String, u64)> = image
        .0
        .iter()
        .filter(|(name, _)| name.ends_with(".segment"))
        .map(|(name, bytes)| {
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
            (name.clone(), end)
        })
        .collect();
    let mut was_unknown = 0;
    for number in 0..1000u64 {
        let random = noise(number, 12);
        let pick = |at: usize| u32::from_le_bytes(random[at..at + 4].try_into().unwrap());
        let (file, end) = &files[pick(0) as usize % files.len()];
        // Two of three behind the head blocks, where the frames are.
        let from = if number % 3 == 0 { 0 } else { 8192.min(*end - 1) };
        let at = from + u64::from(pick(4)) % (end - from);
        let mask = (pick(8) % 255 + 1) as u8;
        image.put_back(&storage);
        flip(&storage, file, at, mask);
        was_unknown += usize::from(!plan(&storage).streams.is_empty());
        check_damaged(&storage, &events, &format!("byte {at} of {file} ^ {mask:#x}"));
    }
    assert!(was_unknown > 20, "{was_unknown} times the head of a stream was unknown");
}

/// A copy taken while a writer ran: its last segment is cut in half, and it lies elsewhere.
fn cut_copy() -> (MemStorage, Vec<Event>) {
    let storage = MemStorage::new();
    let store = open(&storage);
    for number in 0..40 {
        let _ = try_put(&store, &name(number % 3), &noise(number as u64, 300), Durability::Synced).unwrap();
    }
    let events = everything(&store);
    store.close().unwrap();
    let mut image = Image::take(&storage);
    let last = image.last_segment();
    let bytes = image.0.get_mut(&last).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes.truncate(8192 + (end - 8192) / 2);
    let copy = MemStorage::with_seed(7);
    for (name, bytes) in &image.0 {
        copy.create(name, bytes.len() as u64).unwrap().write_at(bytes, 0).unwrap();
    }
    (copy, events)
}

/// [OPN-7] What is accepted of a copy is its end: it goes on there, with a life of its own.
#[test]
fn p17_a_copy_that_ends_early_is_written_after_an_accept_only() {
    let (storage, original) = cut_copy();
    let before = Image::take(&storage);
    let (read, _) = readable(&open_read_only(&storage));
    assert!(original.starts_with(&read) && read.len() > 20 && read.len() < original.len());
    assert_eq!(try_open(&storage).unwrap_err().kind(), ErrorKind::CopyIncomplete);
    let report = verify(&storage);
    assert!(report.damage.iter().all(|damage| damage.class == DamageClass::CopyIncomplete), "{:#?}", report.damage);
    assert!(!report.is_accepted());
    let planned = plan(&storage);
    assert!(planned.begins_incarnation && planned.streams.is_empty(), "{planned:?}");
    assert!(Image::take(&storage) == before, "until then nothing is written");
    let incarnation = open_read_only(&storage).open_report().incarnation;
    assert!(accept(&storage) && !accept(&storage));
    let store = open(&storage);
    assert_eq!(everything(&store), read, "what the copy has is kept");
    let heads = heads(&read);
    for (stream, head) in &heads {
        let receipt = put(&store, stream, b"in the copy");
        assert_eq!(receipt.sections[0].first_revision.0, head + 1, "nothing is lost in a copy");
        assert_ne!(receipt.incarnation, incarnation);
    }
    store.close().unwrap();
    let report = verify(&storage);
    assert!(report.is_accepted(), "{:#?}", report.damage);
    assert!(report.notes.iter().any(|note| note.contains("ended early")), "{:?}", report.notes);
    assert_eq!(everything(&open(&storage)).len(), read.len() + heads.len());
}

/// [REC-10] Whatever call of it is the last one, the loss is accepted as a whole or not at all, and it can be done again.
#[test]
fn p08_an_accept_that_is_cut_off_at_any_call_is_whole_or_not_there() {
    let (flipped, events) = filled();
    let segment = Image::take(&flipped).last_segment();
    flip(&flipped, &segment, 8192 + 9, 1);
    for (storage, kind) in [(cut_copy().0, "a copy"), (flipped, "a damaged store")] {
        let image = Image::take(&storage);
        let planned = plan(&storage);
        assert!(!planned.is_empty(), "{kind}");
        let mut after = 0;
        let (mut done, mut undone) = (0, 0);
        loop {
            image.put_back(&storage);
            storage.fail_after(after, io::ErrorKind::Other, true);
            let is_whole = maintain::accept_on(Arc::new(storage.clone()), &planned).is_ok();
            storage.clear_fault();
            let left = plan(&storage);
            match left.is_empty() {
                true => done += 1,
                false => {
                    assert_eq!(
                        (&left.damage, &left.streams),
                        (&planned.damage, &planned.streams),
                        "{kind}, call {after}"
                    );
                    undone += 1;
                    assert!(!is_whole && accept(&storage), "{kind}, call {after}");
                }
            }
            assert!(plan(&storage).is_empty(), "{kind}, call {after}");
            let store = try_open(&storage).unwrap_or_else(|error| panic!("{kind}, call {after}: {error}"));
            let _ = put(&store, "all", b"goes on");
            store.close().unwrap();
            if is_whole {
                break;
            }
            after += 1;
        }
        assert!(undone > 5 && done > 0, "{kind}: {undone} times not there, {done} times there");
    }
    assert!(!events.is_empty());
}

/// A plan is for the store that was looked at.
#[test]
fn p05_an_accept_of_another_state_is_refused_and_changes_nothing() {
    let (storage, _) = filled();
    let segment = Image::take(&storage).last_segment();
    let sound = plan(&storage);
    flip(&storage, &segment, 8192 + 9, 1);
    let old = plan(&storage);
    let before = Image::take(&storage);
    let refused = maintain::accept_on(Arc::new(storage.clone()), &sound).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "what is lost now was not in the plan");
    assert!(Image::take(&storage) == before);
    open(&storage).close().unwrap();
    let refused = maintain::accept_on(Arc::new(storage.clone()), &old).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "somebody went on behind it");
    let store = open(&storage);
    let locked = maintain::accept_on(Arc::new(storage.clone()), &plan(&storage)).unwrap_err();
    assert_eq!(locked.kind(), ErrorKind::Locked);
    drop(store);
    assert!(accept(&storage));
}

/// Readers say where something that was accepted is missing, in either direction, and go on behind it.
#[test]
fn p05_a_gap_that_was_accepted_is_never_passed_over_in_silence() {
    let storage = MemStorage::new();
    // Closing leaves no index block behind so little.
    let store = Store::open_on(Arc::new(storage.clone()), small().index_stride_bytes(16 << 10)).unwrap();
    let mut receipts = Vec::new();
    for number in 0..9 {
        receipts.push(put(&store, "s", &noise(number, 50)));
    }
    store.close().unwrap();
    // The last three frames but one, so that nothing of the stream is left behind them: no index block lists them.
    let segment = Image::take(&storage).last_segment();
    for receipt in &receipts[6..] {
        flip(&storage, &segment, receipt.position.0 + 9, 1);
    }
    let planned = plan(&storage);
    let [stream] = &planned.streams[..] else { panic!("{planned:?}") };
    assert_eq!((&*stream.name, stream.known_head.0), ("s", 5));
    assert!(stream.accepted_head.0 >= 8, "no revision that was there is given again");
    assert!(accept(&storage));
    let accepted = stream.accepted_head;
    let read = |options: ReadOptions<'_>| {
        let store = open_read_only(&storage);
        let mut reader = store.read_stream("s", options).unwrap();
        let mut way = Vec::new();
        while let Some(next) = reader.next() {
            match next {
                Ok(event) => way.push(event.revision().0 as i64),
                Err(error) => {
                    assert!(error.damage().unwrap().is_accepted, "{error}");
                    way.push(-1);
                }
            }
            assert!(way.len() < 50);
        }
        way
    };
    assert_eq!(read(ReadOptions::new()), [0, 1, 2, 3, 4, 5, -1], "lost at the end");
    assert_eq!(read(ReadOptions::new().backwards()), [-1, 5, 4, 3, 2, 1, 0]);
    assert_eq!(read(ReadOptions::new().last(2)), [4, 5, -1], "the newest that there are");
    assert_eq!(read(ReadOptions::new().to(treering::Revision(3))), [0, 1, 2, 3]);
    let store = open(&storage);
    let conflict = store.append(&Batch::to("s", Expected::Exactly(treering::Revision(5)), &[NewEvent::new("t", "x")]));
    let conflict = conflict.unwrap_err();
    assert_eq!(conflict.conflict().and_then(|conflict| conflict.actual), Some(accepted));
    let receipt = store.append(&Batch::to("s", Expected::Exactly(accepted), &[NewEvent::new("t", "x")])).unwrap();
    assert_eq!(receipt.sections[0].first_revision.0, accepted.0 + 1);
    store.close().unwrap();
    let next = accepted.0 as i64 + 1;
    assert_eq!(read(ReadOptions::new()), [0, 1, 2, 3, 4, 5, -1, next]);
    assert_eq!(read(ReadOptions::new().backwards()), [next, -1, 5, 4, 3, 2, 1, 0]);
    assert_eq!(read(ReadOptions::new().from(treering::Revision(7))), [-1, next]);
}

/// [REC-12] What is lost stays lost for those who open later: a segment that is gone, or has lost its head, is not forgotten because a
/// writer went on behind it.
#[test]
fn p04_a_segment_that_is_lost_gives_none_of_its_revisions_again() {
    let (storage, events) = filled();
    let image = Image::take(&storage);
    let names: Vec<String> = image.0.keys().filter(|name| name.ends_with(".segment")).cloned().collect();
    for name in &names {
        let mut missing = image.clone();
        missing.0.remove(name);
        missing.put_back(&storage);
        check_damaged(&storage, &events, &format!("without {name}"));
        let mut headless = image.clone();
        headless.0.get_mut(name).unwrap()[..8192].fill(0xA5);
        headless.put_back(&storage);
        check_damaged(&storage, &events, &format!("{name} without its head"));
    }
}

/// What is bad in a segment below one that is lost is no torn tail that the log ends in.
#[test]
fn p05_behind_a_bad_segment_and_a_lost_one_a_writer_goes_on_after_an_accept() {
    let (storage, _) = filled();
    let whole = Image::take(&storage);
    let segments = whole.clone().segments();
    let mut torn = 0;
    for pair in segments.windows(2) {
        let ((bad, bytes), (lost, _)) = (&pair[0], &pair[1]);
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for at in (8192..used).step_by(131) {
            flip(&storage, bad, at as u64, 0x20);
            storage.remove(lost).unwrap();
            torn += u64::from(open_read_only(&storage).open_report().torn_tail.is_some());
            if accept(&storage) {
                for _ in 0..2 {
                    let store = open(&storage);
                    let _ = put(&store, "behind", b"it goes on");
                    store.close().unwrap();
                }
                let (read, _) = readable(&open_read_only(&storage));
                assert_eq!(read.iter().filter(|event| &*event.stream == "behind").count(), 2, "{bad}, byte {at}");
            }
            whole.put_back(&storage);
        }
    }
    assert!(torn > 3, "{torn} openings found such bytes");
}
