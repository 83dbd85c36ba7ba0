//! The log and its streams as they were at a time or a position, each held against a scan of everything.

use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;
use treering::format::file_name::{self, FileKind};
use treering::format::frame::{FRAME_HEADER_BYTES, KIND_INDEX_BLOCK};
use treering::format::segment_header::FIRST_FRAME_OFFSET;
use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};
use treering::{
    Batch, Event, Expected, NewEvent, Position, ReadAllOptions, ReadOptions, Revision, Store, Visibility, maintain,
};
use treering_tests::grown::{Draw, grown, hit, spoil};
use treering_tests::store::{everything, log, noise, open, open_read_only, stream};

const STREAMS: [&str; 3] = ["a", "b", "c"];
/// Places in a frame header.
const KIND_AT: usize = 4;
const LEN_AT: usize = 8;

/// A batch as it is appended: what the clock says, and for each event its stream, its size and a time of its own.
type Written = (i64, Vec<(usize, usize, Option<i64>)>);

fn batches() -> impl Strategy<Value = Vec<Written>> {
    let time = prop_oneof![4 => 0i64..1000, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    let event = (0..STREAMS.len(), 0usize..1200, proptest::option::weighted(0.3, time.clone()));
    proptest::collection::vec((time, proptest::collection::vec(event, 1..4)), 1..120)
}

fn write(store: &Store, storage: &MemStorage, batches: &[Written]) {
    for (number, (clock, events)) in batches.iter().enumerate() {
        storage.set_clock(*clock);
        let payloads: Vec<Vec<u8>> = events.iter().map(|(_, len, _)| noise(number as u64, *len)).collect();
        let sections: Vec<(usize, NewEvent<'_>)> = events
            .iter()
            .zip(&payloads)
            .map(|((stream, _, own), payload)| {
                let event = NewEvent::new("t", payload);
                (*stream, own.map_or(event, |time| event.recorded_at(time)))
            })
            .collect();
        let mut batch = Batch::new();
        for (index, name) in STREAMS.iter().enumerate() {
            let of_stream = sections.iter().filter(|(stream, _)| *stream == index);
            let events: Vec<NewEvent<'_>> = of_stream.map(|(_, event)| *event).collect();
            if !events.is_empty() {
                batch = batch.section(name, Expected::Any, events.leak());
            }
        }
        let _ = store.append(&batch).unwrap();
    }
}

/// The twin of `end_at`: the events before the first batch that holds one recorded behind `time`.
fn prefix_at(all: &[Event], time: i64) -> &[Event] {
    let later = all.iter().find(|event| event.recorded_at > time).map(|event| event.batch);
    let end = later.map_or(all.len(), |batch| all.iter().position(|event| event.batch == batch).unwrap());
    &all[..end]
}

fn places<'e>(events: impl IntoIterator<Item = &'e Event>) -> Vec<(String, Revision, Position)> {
    events.into_iter().map(|event| (event.stream.to_string(), event.revision, event.position)).collect()
}

/// Everything that is read at a time, or at a position, is what a scan of everything says.
fn compare(store: &Store, times: &[i64]) {
    let all = everything(store);
    let committed = ReadAllOptions::new().visibility(Visibility::Committed);
    let mut before = Position::ZERO;
    for time in times {
        let end = store.end_at(*time, Visibility::Committed).unwrap();
        assert!(end >= before, "a later time has no shorter log");
        before = end;
        let expected = prefix_at(&all, *time);
        assert_eq!(places(&log(store, committed.at(end))), places(expected), "the log at {time}");
        for name in STREAMS.iter().filter(|name| store.stream(name).unwrap().is_some()) {
            let options = ReadOptions::new().visibility(Visibility::Committed).at(end);
            let of_stream: Vec<&Event> = expected.iter().filter(|event| *event.stream == **name).collect();
            assert_eq!(places(&stream(store, name, options)), places(of_stream.iter().copied()), "{name} at {time}");
            let last: Vec<_> = of_stream.iter().rev().take(2).copied().collect();
            assert_eq!(places(&stream(store, name, options.last(2).backwards())), places(last), "{name} at {time}");
            let options = ReadOptions::new().visibility(Visibility::Committed).from_position(end);
            let rest: Vec<&Event> = all[expected.len()..].iter().filter(|event| *event.stream == **name).collect();
            assert_eq!(places(&stream(store, name, options)), places(rest.iter().copied()), "{name} behind {time}");
            let last: Vec<_> = rest.iter().rev().take(2).copied().collect();
            assert_eq!(places(&stream(store, name, options.last(2).backwards())), places(last), "{name} behind {time}");
        }
    }
    for event in all.iter().step_by(7) {
        let whole = all.iter().filter(|other| begin_of(&all, other) < event.position);
        assert_eq!(places(&log(store, committed.at(event.position))), places(whole), "the log at {}", event.position);
    }
}

fn begin_of(all: &[Event], event: &Event) -> Position {
    all.iter().find(|other| other.batch == event.batch).unwrap().position
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Clocks jump, events bring times of their own, segments roll: the log at any time is what a full scan says.
    #[test]
    fn p18_the_log_at_a_time_is_what_a_full_scan_says(batches in batches(), mut times in proptest::collection::vec(-1i64..1001, 12)) {
        let storage = MemStorage::new();
        storage.set_clock_step(0);
        let store = open(&storage);
        write(&store, &storage, &batches);
        times.extend([i64::MIN, i64::MAX]);
        times.sort_unstable();
        compare(&store, &times);
        store.close().unwrap();
        compare(&open_read_only(&storage), &times);
    }
}

/// Index blocks and open frames only help: with any of them damaged, the log at a time is what can be read of it.
#[test]
fn p18_the_log_at_a_time_needs_no_index_block() {
    let storage = MemStorage::new();
    storage.set_clock_step(0);
    let store = open(&storage);
    let rising: Vec<Written> = (0..150).map(|number| (number, vec![(number as usize % 3, 400, None)])).collect();
    write(&store, &storage, &rising);
    store.close().unwrap();
    let times: Vec<i64> = (-1..152).collect();
    let whole = open_read_only(&storage);
    compare(&whole, &times);
    let blocks = index_blocks(&storage);
    assert!(blocks.len() > 8, "{blocks:?}");
    for (file, at) in blocks {
        let copy = storage.deep_copy().unwrap();
        let hit = copy.open(&file, Access::ReadWrite).unwrap();
        let mut byte = [0];
        assert_eq!(hit.read_at(&mut byte, at).unwrap(), 1);
        hit.write_at(&[byte[0] ^ 1], at).unwrap();
        let store = open_read_only(&copy);
        let all = readable(&store, ReadAllOptions::new().visibility(Visibility::Committed));
        for time in &times {
            let end = store.end_at(*time, Visibility::Committed).unwrap();
            let found = readable(&store, ReadAllOptions::new().visibility(Visibility::Committed).at(end));
            assert_eq!(places(&found), places(prefix_at(&all, *time)), "at {time}, with {file} hit at {at}");
        }
    }
}

/// What a reader of a stream hands out: the events, and where it was told of damage.
fn items(store: &Store, name: &str, options: ReadOptions<'_>) -> (Vec<Event>, Vec<Range<Position>>) {
    let mut reader = store.read_stream(name, options.visibility(Visibility::Committed)).unwrap();
    let (mut events, mut lost) = (Vec::new(), Vec::new());
    while let Some(event) = reader.next() {
        match event {
            Ok(event) => events.push(event.hold()),
            Err(error) => lost.push(error.damage().expect("nothing else").positions.clone()),
        }
    }
    (events, lost)
}

/// A stream from a place of the log on is what a reader of all of it finds there: across forks, with the files that are derived
/// lost, cut or changed, and with damage in the log, accepted or not.
#[test]
fn p18_a_stream_from_a_time_on_is_what_a_full_scan_says() {
    let (mut cut, mut told_of) = (0, 0);
    for seed in 0..16 {
        let storage = MemStorage::with_seed(seed);
        grown(&storage, seed).close().unwrap();
        let mut draw = Draw::new(seed);
        for round in 0..12 {
            let copy = storage.deep_copy().unwrap();
            (0..round % 3).for_each(|_| hit(&copy, &mut draw));
            if round > 0 {
                spoil(&copy, &mut draw);
            }
            if round > 3 {
                let plan = maintain::accept_plan_on(Arc::new(copy.clone()), &mut ()).unwrap();
                let _ = maintain::accept_on(Arc::new(copy.clone()), &plan).unwrap();
            }
            let store = open_read_only(&copy);
            for stream in store.streams().unwrap() {
                let (all, lost) = items(&store, &stream.name, ReadOptions::new());
                for _ in 0..6 {
                    let time = draw.below(1_000_000) as i64;
                    let end = store.end_at(time, Visibility::Committed).unwrap();
                    let options = ReadOptions::new().from_position(end);
                    let (found, told) = items(&store, &stream.name, options);
                    let begins = |event: &&Event| event.position >= end;
                    let name = &stream.name;
                    let expected = all.iter().filter(begins);
                    assert_eq!(
                        places(&found),
                        places(expected),
                        "{name} from {end}, seed {seed}, round {round}, lost {lost:?}"
                    );
                    let is_gap = |pair: &[Event]| pair[0].revision.get() + 1 < pair[1].revision.get();
                    assert!(!told.is_empty() || !found.windows(2).any(is_gap), "{name} from {end}: nothing is told");
                    let (found, _) = items(&store, &stream.name, ReadOptions::new().at(end));
                    // A fork was not there before it was made.
                    let is_there = stream.first.get() == 0 || stream.id.get() < end.get();
                    let expected = all.iter().filter(|event| is_there && !begins(event));
                    assert_eq!(places(&found), places(expected), "{name} up to {end}");
                    if let Some(event) = all.get(draw.below(all.len() as u64 + 1) as usize) {
                        let options = ReadOptions::new().after_token(&event.token());
                        let rest = all.iter().filter(|other| other.position > event.position);
                        assert_eq!(places(&items(&store, name, options).0), places(rest), "{name} behind {event:?}");
                    }
                    (cut, told_of) = (cut + u64::from(found.len() < all.len()), told_of + told.len());
                    let (found, _) = items(&store, &stream.name, options.backwards().last(3));
                    assert!(found.iter().all(|event| begins(&event)), "{name} from {end}");
                }
            }
        }
    }
    assert!(
        cut > 1000 && told_of > 50,
        "{cut} readers began behind the beginning, {told_of} times one was told of damage"
    );
}

fn readable(store: &Store, options: ReadAllOptions<'_>) -> Vec<Event> {
    let mut reader = store.read_all(options).unwrap();
    let mut events = Vec::new();
    while let Some(event) = reader.next() {
        events.extend(event.ok().map(|event| event.hold()));
    }
    events
}

/// File and offset of every index block.
fn index_blocks(storage: &MemStorage) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in
        storage.list().unwrap().iter().filter(|entry| matches!(file_name::parse(&entry.name), FileKind::Segment(_)))
    {
        let file = storage.open(&entry.name, Access::Read).unwrap();
        let mut bytes = vec![0; entry.len as usize];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
        let mut at = FIRST_FRAME_OFFSET as usize;
        while at + FRAME_HEADER_BYTES <= bytes.len() && bytes[at + KIND_AT] != 0 {
            if bytes[at + KIND_AT] == KIND_INDEX_BLOCK {
                found.push((entry.name.clone(), (at + FRAME_HEADER_BYTES) as u64));
            }
            at += u32::from_le_bytes(*bytes[at + LEN_AT..].first_chunk().unwrap()) as usize;
        }
    }
    found
}
