//! Reading streams by the indexes of segments: no place of theirs is remembered that an index leads to, and whatever becomes of
//! the indexes, and of the log under them, the answers are those of a reader that remembers all places.

use std::fmt::Write as _;

use treering::{Event, ReadOptions, Visibility};
use treering_tests::store::everything;

use super::*;

/// What reading a stream gave: its events and what was said to be lost.
fn read(store: &Store, name: &str, options: ReadOptions<'_>) -> Vec<String> {
    let mut reader = store.read_stream(name, options.visibility(Visibility::Committed)).expect("the stream is there");
    let mut found = Vec::new();
    while let Some(event) = reader.next() {
        found.push(match event {
            Ok(event) => line(&event.hold()),
            Err(error) => match error.damage() {
                Some(damage) => format!("lost {:?} {:?}", damage.positions, damage.streams),
                None => panic!("{error}"),
            },
        });
    }
    found
}

fn line(event: &Event) -> String {
    let mut line = format!("{} at {}: ", event.revision, event.position);
    event.payload.iter().for_each(|byte| write!(line, "{byte:02x}").expect("a string takes it"));
    line
}

/// The streams as the log tells them: name, and their events in order.
fn truth(store: &Store) -> BTreeMap<String, Vec<String>> {
    let mut streams = BTreeMap::<String, Vec<String>>::new();
    for event in everything(store) {
        streams.entry(event.stream.to_string()).or_default().push(line(&event));
    }
    streams
}

/// Every way to read each stream gives what the log holds.
fn assert_reads(store: &Store, truth: &BTreeMap<String, Vec<String>>, step: usize) {
    for (name, events) in truth {
        let backwards: Vec<_> = events.iter().rev().cloned().collect();
        assert_eq!(read(store, name, ReadOptions::new()), *events, "{name}");
        assert_eq!(read(store, name, ReadOptions::new().backwards()), backwards, "{name} backwards");
        for at in (0..events.len()).step_by(step) {
            let revision = Revision(at as u64);
            let event = store.event(name, revision, Visibility::Committed).expect("is whole").expect("is there");
            assert_eq!(line(&event), events[at]);
            let few = Revision(at as u64 + 5);
            assert_eq!(
                read(store, name, ReadOptions::new().from(revision).to(few)),
                events[at..events.len().min(at + 6)]
            );
            assert_eq!(read(store, name, ReadOptions::new().to(revision).last(3)), events[at.saturating_sub(2)..=at]);
        }
    }
}

/// [SIX-3] The writer forgets places that an index leads to; readers find the same events.
#[test]
fn p13_streams_are_read_by_the_indexes_of_their_segments() {
    let storage = MemStorage::new();
    let store = filled(&storage);
    assert_reads(&store, &truth(&store), 7);
    // What comes later goes on from there.
    for number in 0..100 {
        let _ = put(&store, "s3", &noise(number, 50));
    }
    let all = truth(&store);
    assert_reads(&store, &all, 31);
    settle(&store);
    assert_reads(&store, &all, 31);
}

/// Streams that grow steadily, at the ends of the log alone, or in bursts: where one event lies is found by whoever asks for nothing
/// else, and so are the last few.
#[test]
fn p13_one_event_is_found_by_indexes_however_unsteadily_its_stream_grew() {
    let storage = MemStorage::new();
    let store = open(&storage);
    for round in 0..900_u64 {
        let payload = noise(round, 20 + round as usize % 90);
        let to = |name: &str, events: usize| {
            let events = vec![NewEvent::new("usual", &payload); events];
            let batch = Batch::to(name, Expected::Any, &events).durability(Durability::Written);
            let _ = store.append(&batch).expect("is appended");
        };
        to("steady", 1);
        to(&format!("s{}", round % 11), 1 + round as usize % 3);
        if !(60..=890).contains(&round) {
            to("ends", 1);
        }
        if round % 250 < 30 {
            to("bursts", if round % 250 == 7 { 40 } else { 1 });
        }
        if round == 2 || round > 700 {
            to("late", 2);
        }
        if round % 100 == 0 {
            settle(&store);
        }
    }
    settle(&store);
    let all = truth(&store);
    store.close().unwrap();
    for start in 0..8_usize {
        let store = Store::open_read_only_on(Arc::new(storage.clone()), options()).unwrap();
        assert!(store.stat().unwrap().indexed_segments > 8);
        for (name, events) in &all {
            // Backwards in uneven steps, so that seldom the one before has left what this one wants.
            let mut at = events.len().saturating_sub(1 + start * 3);
            loop {
                let event = store.event(name, Revision(at as u64), Visibility::Committed).unwrap().expect("is there");
                assert_eq!(line(&event), events[at], "{name}");
                let Some(next) = at.checked_sub(17 + at % 23) else { break };
                at = next;
            }
        }
        let store = Store::open_read_only_on(Arc::new(storage.clone()), options()).unwrap();
        for (name, events) in &all {
            let last = 3 + 20 * start;
            let expected: Vec<_> = events[events.len().saturating_sub(last)..].to_vec();
            assert_eq!(read(&store, name, ReadOptions::new().last(last as u64)), expected, "{name}");
        }
    }
}

/// [SIX-2] Whatever becomes of index files under a store that remembers no places, every answer stays.
#[test]
fn p11_index_files_that_are_lost_cut_swapped_or_changed_under_a_store_change_no_answer() {
    for seed in 0..12_u64 {
        let storage = MemStorage::with_seed(seed);
        let store = filled(&storage);
        let all = truth(&store);
        let indexed = store.stat().unwrap().indexed_segments;
        let mut draw = noise(seed, 4 * indexed as usize).into_iter();
        for ordinal in (0..indexed).map(SegmentOrdinal) {
            let name = file_name::segment_index(ordinal);
            let (what, at) =
                (draw.next().unwrap(), usize::from(draw.next().unwrap()) << 8 | usize::from(draw.next().unwrap()));
            let mut bytes = read_file(&storage, &name);
            let file = storage.open(&name, Access::ReadWrite).unwrap();
            match what % 6 {
                0 => storage.remove(&name).unwrap(),
                1 => storage.set_len(&name, (at % bytes.len()) as u64).unwrap(),
                2 => {
                    let at = at % bytes.len();
                    bytes[at] ^= 1 << (what >> 5);
                    file.write_at(&bytes[at..=at], at as u64).unwrap();
                }
                3 => {
                    // Behind the header, so that it is met by who has it open.
                    bytes[SIDE_BLOCK_BYTES..].fill(what);
                    file.write_at(&bytes, 0).unwrap();
                }
                4 => {
                    let other = file_name::segment_index(SegmentOrdinal((ordinal.0 + 1) % indexed));
                    if let Ok(other) = storage.open(&other, Access::Read) {
                        let mut bytes = vec![0; other.len().unwrap() as usize];
                        other.read_at(&mut bytes, 0).unwrap();
                        file.write_at(&bytes, 0).unwrap();
                    }
                }
                _ => {}
            }
        }
        assert_reads(&store, &all, 41);
        store.work_in_background().unwrap();
        assert_reads(&store, &all, 83);
        store.close().unwrap();
        let store = open(&storage);
        store.work_in_background().unwrap();
        assert_reads(&store, &all, 83);
    }
}

/// Damage that comes into the log under a store that finds by indexes is told as a store tells it that has looked at all frames.
#[test]
fn p05_damage_in_an_indexed_segment_is_told_as_without_an_index() {
    for seed in 0..10_u64 {
        let storage = MemStorage::with_seed(seed);
        let store = filled(&storage);
        let names: Vec<_> = truth(&store).into_keys().collect();
        let ordinal = SegmentOrdinal(1 + seed % 9);
        let segment = read_file(&storage, &file_name::segment(ordinal));
        let frames = frames_of(&segment);
        let file = storage.open(&file_name::segment(ordinal), Access::ReadWrite).unwrap();
        for number in 0..1 + seed % 3 {
            let frame = frames[(seed * 7 + number * 5) as usize % frames.len()].clone();
            let at = frame.start + 8 + (seed * 11) as usize % (frame.len() - 8);
            file.write_at(&[segment[at] ^ 0x10], at as u64).unwrap();
        }
        let fresh = Store::open_read_only_on(Arc::new(storage.clone()), options()).unwrap();
        for round in 0..2 {
            for name in &names {
                for options in [ReadOptions::new(), ReadOptions::new().backwards(), ReadOptions::new().last(40)] {
                    let (found, expected) = (read(&store, name, options), read(&fresh, name, options));
                    let events = |found: &[String]| -> Vec<String> {
                        found.iter().filter(|line| !line.starts_with("lost")).cloned().collect()
                    };
                    assert_eq!(events(&found), events(&expected), "seed {seed}, {name}, {options:?}, round {round}");
                    let is_told = |found: &[String]| found.iter().any(|line| line.starts_with("lost"));
                    assert_eq!(is_told(&found), is_told(&expected), "seed {seed}, {name}: {found:?} {expected:?}");
                }
            }
            store.work_in_background().unwrap();
        }
    }
}
