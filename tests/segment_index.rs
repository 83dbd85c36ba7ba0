//! The indexes of finished segments: when they are made, what they say, and that nothing depends on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use treering::checksum::Seeds;
use treering::format::batch::Sections;
use treering::format::file_name::{self, FileKind};
use treering::format::frame::{Frame, KIND_BATCH};
use treering::format::index_block::jump_target;
use treering::format::segment_header::SegmentHeader;
use treering::format::segment_index::{SegmentIndexHead, postings, types};
use treering::format::side_file::{SIDE_BLOCK_BYTES, SideHeader, SideKind};
use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};
use treering::{
    Batch, BootId, Durability, Expected, NewEvent, Options, Position, Revision, SegmentOrdinal, Store, StreamId,
};
use treering_tests::image::Image;
use treering_tests::mutate::frames_of;
use treering_tests::store::{noise, put, small, wait_until};

mod parts;
mod reading;

/// No threads: what the background has to do is done when the test says so.
fn options() -> Options {
    small().background_threads(false)
}

fn open(storage: &MemStorage) -> Store {
    Store::open_on(Arc::new(storage.clone()), options()).expect("the store opens")
}

/// A store of about 14 segments: streams of one section in each batch, streams that share batches, one that comes once in a
/// while, one that is in the first and last segments alone; types of every frequency.
fn filled(storage: &MemStorage) -> Store {
    let store = open(storage);
    let _ = put(&store, "ends", b"first");
    for round in 0..700_u64 {
        let payload = noise(round, 20 + round as usize % 90);
        let events: Vec<_> = (0..1 + round % 3)
            .map(|at| NewEvent::new(if round % 97 == 5 && at == 0 { "rare" } else { "usual" }, &payload))
            .collect();
        let name = format!("s{}", round % 7);
        let mut batch = Batch::to(&name, Expected::Any, &events).durability(Durability::Written);
        if round % 5 == 0 {
            batch = batch.section("shared", Expected::Any, &events[..1]);
        }
        let _ = store.append(&batch).expect("is appended");
        if round % 300 == 200 {
            let _ = put(&store, "seldom", &payload);
        }
        if round % 50 == 0 {
            store.sync().expect("syncs");
            store.work_in_background().expect("works");
        }
    }
    let _ = put(&store, "ends", b"last");
    settle(&store);
    store
}

/// What the background has to do is done, that which it makes for itself too: a seal may begin a segment.
fn settle(store: &Store) {
    for _ in 0..3 {
        store.sync().expect("syncs");
        store.work_in_background().expect("works");
    }
}

fn read_file(storage: &dyn Storage, name: &str) -> Vec<u8> {
    let file = storage.open(name, Access::Read).expect("is there");
    let mut bytes = vec![0; file.len().expect("has a length") as usize];
    file.read_at(&mut bytes, 0).expect("reads");
    bytes
}

type Listed = BTreeMap<StreamId, Vec<(Revision, Position)>>;

/// By name of a type: its events, and its frames.
type Types = BTreeMap<Vec<u8>, (u64, Vec<Position>)>;

/// What the frames of a segment say: sections of streams, events and batches of types.
fn by_frames(segment: &[u8]) -> (Listed, Types) {
    let (mut streams, mut types) = (Listed::new(), Types::new());
    let header = SegmentHeader::decode(segment).expect("a segment");
    let (seeds, base) = (Seeds::new(header.salt), header.ordinal.0 * header.store.segment_bytes);
    for range in frames_of(segment) {
        let position = Position(base + range.start as u64);
        let frame = Frame::decode(&segment[range], seeds, position).expect("a frame");
        if frame.kind() != KIND_BATCH {
            continue;
        }
        let mut sections = Sections::new(frame).expect("a batch");
        while let Some(section) = sections.next().expect("a section") {
            streams.entry(section.stream).or_default().push((section.first_revision, frame.position));
            let mut entries = section.entries_from(0).expect("entries");
            while let Some(entry) = entries.next().expect("an entry") {
                let name = section.type_name(entry.type_index).expect("a type");
                let (events, places) = types.entry(name.to_vec()).or_default();
                *events += 1;
                if places.last() != Some(&frame.position) {
                    places.push(frame.position);
                }
            }
        }
    }
    (streams, types)
}

/// An index file in parts: its head, its payload.
fn parts(bytes: &[u8], store: treering::StoreId) -> (SegmentIndexHead, &[u8]) {
    let header = SideHeader::decode(bytes, SideKind::SegmentIndex, store).expect("a segment index");
    let head = SegmentIndexHead::decode(&header.head, header.payload_len).expect("a head");
    (head, &bytes[SIDE_BLOCK_BYTES..][..header.payload_len as usize])
}

/// A store that is to derive nothing, for measuring, has no index and no checkpoint, and reads the same.
#[test]
fn a_store_that_derives_nothing_makes_no_side_file() {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage.clone()), options().derives(false)).expect("the store opens");
    for number in 0..300 {
        let _ = put(&store, "s", &noise(number, 200));
    }
    settle(&store);
    let stat = store.stat().unwrap();
    assert!(stat.segments > 3 && stat.indexed_segments == 0 && stat.directory.is_none());
    assert_eq!(treering_tests::store::everything(&store).len(), 300);
    store.close().unwrap();
    let is_derived =
        |kind| matches!(kind, FileKind::SegmentIndex(_) | FileKind::Directory(_) | FileKind::Checkpoint(_));
    let names = storage.list().unwrap().into_iter().map(|entry| entry.name);
    assert_eq!(names.filter(|name| is_derived(file_name::parse(name))).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn an_index_says_of_each_stream_and_type_what_its_segment_holds() {
    let storage = MemStorage::new();
    let store = filled(&storage);
    let stat = store.stat().expect("figures");
    assert!(stat.segments >= 12 && stat.indexed_segments == stat.segments - 1, "{stat:?}");
    // Of each stream: its number in the segments so far, with their ordinals and first revisions.
    let mut seen: BTreeMap<StreamId, Vec<(SegmentOrdinal, Revision, Position)>> = BTreeMap::new();
    let (mut numbers, mut bytes) = (0, 0);
    for ordinal in (0..stat.indexed_segments).map(SegmentOrdinal) {
        let segment = read_file(&storage, &file_name::segment(ordinal));
        let index = read_file(&storage, &file_name::segment_index(ordinal));
        bytes += index.len() as u64;
        let (head, payload) = parts(&index, stat.store);
        let (streams, of_types) = by_frames(&segment);
        assert_eq!(head.streams, streams.len() as u64);
        assert_eq!(head.sections, streams.values().map(Vec::len).sum::<usize>() as u64);
        assert_eq!(head.events, of_types.values().map(|(events, _)| events).sum::<u64>());
        assert_eq!((head.first_number, head.frames > head.batches), (numbers, true));
        numbers += head.events;
        for (stream, sections) in &streams {
            let record = postings::find(payload, &head, *stream).expect("holds").expect("is listed");
            let mut found = Vec::new();
            for chunk in 0..record.chunks() {
                let chunk = record.chunk(payload, &head, chunk).expect("holds");
                let walked = chunk.walk(payload, &head, |revision, place| {
                    found.push((revision, place));
                    true
                });
                walked.expect("holds");
            }
            assert_eq!(found, *sections);
            let before = seen.entry(*stream).or_default();
            assert_eq!(record.number, before.len() as u64, "segment {ordinal}");
            assert_eq!(record.reach_back, before.last().map(|(_, _, last)| *last));
            let jumped = jump_target(record.number).map(|number| before[number as usize]);
            assert_eq!(record.jump.map(|jump| (jump.ordinal, jump.first_revision)), jumped.map(|(o, r, _)| (o, r)));
            before.push((ordinal, sections[0].0, sections[sections.len() - 1].1));
        }
        assert_eq!(head.types, of_types.len() as u64);
        for (name, (events, places)) in &of_types {
            let record = types::find(payload, &head, name).expect("holds").expect("is listed");
            assert_eq!((record.events, record.frames), (*events, places.len() as u64));
            assert_eq!(record.places().is_some(), types::is_listed(record.frames, head.batches));
            let Some(mut walk) = record.places() else { continue };
            for place in places {
                assert_eq!(walk.next(payload, &head), Ok(Some(*place)));
            }
            assert_eq!(walk.next(payload, &head), Ok(None));
        }
    }
    assert_eq!(bytes, stat.index_bytes);
    let lengths: Vec<_> = seen.values().map(Vec::len).collect();
    assert!(lengths.iter().any(|len| *len >= 12) && lengths.contains(&2), "{lengths:?}");
}

#[test]
fn p11_a_segment_gets_its_index_once_it_is_durable_and_no_sooner() {
    let storage = MemStorage::new();
    let store = open(&storage);
    for number in 0..200 {
        let _ = put(&store, "a", &noise(number, 150));
    }
    assert!(store.stat().unwrap().segments > 2);
    store.work_in_background().unwrap();
    let stat = store.stat().unwrap();
    assert_eq!((stat.indexed_segments, stat.unindexed_segments), (0, stat.segments - 1), "nothing was synced");
    settle(&store);
    let stat = store.stat().unwrap();
    assert_eq!((stat.indexed_segments, stat.unindexed_segments), (stat.segments - 1, 0));
}

/// What has none for good is not waited for.
#[test]
fn p11_a_segment_that_needs_no_index_does_not_lack_one() {
    let sections_of = |count: u64| {
        let storage = MemStorage::new();
        let mut finished = Vec::new();
        for life in 0..2 {
            let store = open(&storage);
            for number in 0..count - 1 {
                let _ = put(&store, "a", &noise(number, 10));
            }
            let two = [NewEvent::new("t", "1"), NewEvent::new("t", "2")];
            let _ = store.append(&Batch::to("b", Expected::Any, &two)).unwrap();
            settle(&store);
            if life == 0 {
                // Another start of the machine: the next life begins a segment.
                storage.set_boot_id(BootId([7; 16]));
            }
            finished.push(store.stat().unwrap());
        }
        let indexes = storage.list().unwrap().into_iter().filter(|entry| entry.name.ends_with(".index"));
        indexes.for_each(|entry| storage.remove(&entry.name).unwrap());
        let stat = Store::open_read_only_on(Arc::new(storage), small()).unwrap().stat().unwrap();
        assert_eq!((stat.segments, stat.indexed_segments), (2, 0), "{finished:?}");
        stat.unindexed_segments
    };
    assert_eq!((sections_of(7), sections_of(8)), (0, 1));
}

/// The threads of a writer do it too, and what another process opens for reading has them.
#[test]
fn p11_indexes_are_made_in_the_background_and_found_by_readers() {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage.clone()), small()).unwrap();
    for number in 0..400 {
        let _ = put(&store, "a", &noise(number, 150));
        if number % 100 == 99 {
            store.sync().unwrap();
        }
    }
    let is_done = || {
        let stat = Store::open_read_only_on(Arc::new(storage.clone()), small()).unwrap().stat().unwrap();
        // The last one is active, or was left to seals a moment ago.
        stat.segments > 4 && stat.indexed_segments + 2 >= stat.segments
    };
    wait_until("finished segments have indexes", is_done);
    store.close().unwrap();
}

/// [SIX-1] An index counts for its own segment only, in the state that it was made of.
#[test]
fn p11_an_index_that_is_missing_bad_or_of_another_segment_does_not_count_and_is_made_anew() {
    let storage = MemStorage::new();
    let store = filled(&storage);
    let stat = store.stat().unwrap();
    store.close().unwrap();
    let whole = Image::take(&storage);
    let other = MemStorage::with_seed(77);
    filled(&other).close().unwrap();
    let (foreign, name) = (Image::take(&other), |ordinal| file_name::segment_index(SegmentOrdinal(ordinal)));
    let mut images = Vec::new();
    for ordinal in [0, 3, stat.indexed_segments - 1] {
        let mut change = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut image = whole.clone();
            change(image.0.get_mut(&name(ordinal)).unwrap());
            images.push((format!("{ordinal}: {what}"), image));
        };
        change("empty", &|bytes| bytes.clear());
        change("cut", &|bytes| bytes.truncate(bytes.len() - 8));
        change("longer", &|bytes| bytes.push(0));
        change("flipped", &|bytes| bytes[100] ^= 8);
        change("that of another segment", &|bytes| bytes.clone_from(&whole.0[&name((ordinal + 1) % 4)]));
        change("that of another store", &|bytes| bytes.clone_from(&foreign.0[&name(ordinal)]));
        let mut missing = whole.clone();
        missing.0.remove(&name(ordinal));
        images.push((format!("{ordinal}: missing"), missing));
    }
    for (what, image) in images {
        image.put_back(&storage);
        let reader = Store::open_read_only_on(Arc::new(storage.clone()), options()).unwrap();
        let found = reader.stat().unwrap();
        assert_eq!((found.indexed_segments, found.unindexed_segments), (stat.indexed_segments - 1, 1), "{what}");
        drop(reader);
        let store = open(&storage);
        store.work_in_background().unwrap();
        assert_eq!(store.stat().unwrap().indexed_segments, stat.indexed_segments, "{what}");
        store.close().unwrap();
        let again = Image::take(&storage);
        assert!(
            whole.0.iter().filter(|(name, _)| name.ends_with(".index")).all(|file| again.0.get(file.0) == Some(file.1))
        );
    }
}

/// A segment with a frame that does not prove itself has no index, and those around it have; nor one of a few sections.
#[test]
fn p11_a_segment_with_damage_gets_no_index() {
    let storage = MemStorage::new();
    filled(&storage).close().unwrap();
    let mut image = Image::take(&storage);
    image.0.retain(|name, _| !name.ends_with(".index"));
    let segment = image.0.get_mut(&file_name::segment(SegmentOrdinal(2))).unwrap();
    let frame = frames_of(segment)[5].start;
    segment[frame + 20] ^= 1;
    image.put_back(&storage);
    let store = open(&storage);
    store.work_in_background().unwrap();
    for ordinal in 0..10 {
        let index = storage.open(&file_name::segment_index(SegmentOrdinal(ordinal)), Access::Read);
        assert_eq!(index.is_err(), ordinal == 2, "{ordinal}");
    }
}

/// What lies between segments of the log is void: an index of it goes where it is this store's. Others stay.
#[test]
fn p11_the_index_of_a_void_segment_is_removed_and_no_other_file() {
    let storage = MemStorage::new();
    let store = open(&storage);
    // The second segment takes several ordinals: the one behind its first is nobody's.
    for number in 0..20 {
        let _ = put(&store, "a", &noise(number, 100));
    }
    let _ = put(&store, "a", &noise(2, 60_000));
    for number in 0..200 {
        let _ = put(&store, "a", &noise(number, 150));
    }
    settle(&store);
    let stat = store.stat().unwrap();
    assert!(stat.segments >= 3 && stat.indexed_segments == stat.segments - 1, "{stat:?}");
    store.close().unwrap();
    let image = Image::take(&storage);
    let void = SegmentOrdinal(2);
    assert!(!image.0.contains_key(&file_name::segment(void)));
    let file = |head: SegmentIndexHead, store| {
        let header = SideHeader {
            kind: SideKind::SegmentIndex,
            store,
            payload_len: 0,
            table_check: treering::checksum::long_check(0, &[]),
            head: head.encode(),
        };
        header.encode()
    };
    let (head, _) = parts(&image.0[&file_name::segment_index(SegmentOrdinal(0))], stat.store);
    let nothing = (0, 0, 0, 0, 0);
    let of = |ordinal| {
        let (streams, stream_rows_at, stream_tops_at, types, type_rows_at) = nothing;
        let ordinal = SegmentOrdinal(ordinal);
        SegmentIndexHead { ordinal, streams, stream_rows_at, stream_tops_at, types, type_rows_at, ..head.clone() }
    };
    for (ordinal, of_store, is_removed) in
        [(2, stat.store, true), (2, treering::StoreId([1; 16]), false), (900, stat.store, false)]
    {
        let mut with = image.clone();
        let name = file_name::segment_index(SegmentOrdinal(ordinal));
        with.0.insert(name.clone(), file(of(ordinal), of_store));
        with.put_back(&storage);
        let store = open(&storage);
        store.work_in_background().unwrap();
        assert_eq!(storage.open(&name, Access::Read).is_err(), is_removed, "{ordinal} {of_store}");
        assert_eq!(store.stat().unwrap().indexed_segments, stat.indexed_segments);
        store.close().unwrap();
    }
}
