//! Reading by type and by the beginning of a stream's name: what indexes let a reader pass over is nothing that it was asked for.

use treering::{Event, ReadAllOptions, ReadOptions, SubscribeOptions, Visibility};
use treering_tests::store::{everything, log, stream};

use super::*;

const TYPES: [&str; 4] = ["usual", "rare", "t", "none"];

const PREFIXES: [&str; 6] = ["", "s", "s3", "se", "shared", "none"];

fn places<'e>(events: impl Iterator<Item = &'e Event>) -> Vec<Position> {
    events.map(|event| event.position).collect()
}

/// Every way to read a part of the log gives what reading all of it and looking at each event gives.
fn assert_reads(store: &Store) {
    let all = everything(store);
    let types = TYPES.map(|event_type| (Some(event_type), None));
    let prefixes = PREFIXES.map(|prefix| (None, Some(prefix)));
    let both =
        [(Some("rare"), Some("s")), (Some("usual"), Some("s3")), (Some("t"), Some("sh")), (Some("none"), Some("s"))];
    for part in types.into_iter().chain(prefixes).chain(both) {
        let (event_type, prefix) = part;
        let is_asked = |event: &&Event| {
            event_type.is_none_or(|name| *event.event_type == *name)
                && prefix.is_none_or(|prefix| event.stream.starts_with(prefix))
        };
        assert_log_reads(store, &all, part, &is_asked);
        let Some(event_type) = event_type.filter(|_| prefix.is_none()) else { continue };
        for name in ["s0", "s3", "shared", "seldom", "ends"] {
            let options = ReadOptions::new().visibility(Visibility::Committed);
            for options in
                [options, options.backwards(), options.from(Revision(11)), options.last(50), options.to(Revision(90))]
            {
                let found = stream(store, name, options.event_type(event_type));
                let expected = stream(store, name, options);
                let expected = places(expected.iter().filter(is_asked));
                assert_eq!(places(found.iter()), expected, "{event_type} of {name}, {options:?}");
            }
        }
    }
}

fn assert_log_reads(
    store: &Store,
    all: &[Event],
    part: (Option<&str>, Option<&str>),
    is_asked: &dyn Fn(&&Event) -> bool,
) {
    let end = all.last().expect("there are events").position;
    let unfiltered = ReadAllOptions::new().visibility(Visibility::Committed);
    let mut options = unfiltered;
    if let Some(event_type) = part.0 {
        options = options.event_type(event_type);
    }
    if let Some(prefix) = part.1 {
        options = options.stream_prefix(prefix);
    }
    assert_eq!(places(log(store, options).iter()), places(all.iter().filter(is_asked)), "{part:?}");
    for from in (0..end.0).step_by(end.0 as usize / 23).map(Position) {
        let expected = places(all.iter().filter(is_asked).filter(|event| event.position >= from));
        assert_eq!(places(log(store, options.from(from)).iter()), expected, "{part:?} from {from}");
        // Whole batches: all that begin before it.
        let expected = places(log(store, unfiltered.at(from)).iter().filter(is_asked));
        assert_eq!(places(log(store, options.at(from)).iter()), expected, "{part:?} at {from}");
    }
}

#[test]
fn p13_reading_a_part_gives_what_a_look_at_every_event_gives() {
    let storage = MemStorage::new();
    let store = filled(&storage);
    assert_reads(&store);
    store.close().unwrap();
    assert_reads(&Store::open_read_only_on(Arc::new(storage.clone()), options()).unwrap());
}

/// [SIX-2] Also where some of the indexes are lost, bad or of another segment.
#[test]
fn p11_reading_a_part_needs_no_index() {
    let storage = MemStorage::new();
    let store = filled(&storage);
    let indexed = store.stat().unwrap().indexed_segments;
    store.close().unwrap();
    let whole = Image::take(&storage);
    for seed in 0..8_u64 {
        let mut image = whole.clone();
        for (ordinal, what) in (0..indexed).map(SegmentOrdinal).zip(noise(seed, indexed as usize)) {
            let name = file_name::segment_index(ordinal);
            let other = whole.0[&file_name::segment_index(SegmentOrdinal((ordinal.0 + 1) % indexed))].clone();
            let bytes = image.0.get_mut(&name).unwrap();
            let middle = SIDE_BLOCK_BYTES + usize::from(what) * 3;
            match what % 5 {
                0 => drop(image.0.remove(&name)),
                1 => bytes.truncate(middle),
                2 => bytes[middle] ^= 1 << (what >> 5),
                3 => *bytes = other,
                _ => {}
            }
        }
        image.put_back(&storage);
        assert_reads(&Store::open_read_only_on(Arc::new(storage.clone()), options()).unwrap());
    }
}

/// A reader that was made before: streams that are made while it reads, in segments that get an index meanwhile.
#[test]
fn p13_who_reads_by_names_is_shown_the_streams_that_are_made_later() {
    let storage = MemStorage::new();
    let store = filled(&storage);
    let mut subscription =
        store.subscribe(SubscribeOptions::stream_prefix("later/").visibility(Visibility::Committed)).unwrap();
    assert!(subscription.try_next().unwrap().is_none());
    let indexed = store.stat().unwrap().indexed_segments;
    let mut expected = Vec::new();
    for round in 0..900_u64 {
        if round % 9 == 0 {
            expected.push(put(&store, &format!("later/{}", round % 7), &noise(round, 60)).position);
        }
        let _ = put(&store, &format!("other/{}", round % 5), &noise(round, 40));
        if round % 100 == 99 {
            settle(&store);
        }
    }
    let stat = store.stat().unwrap();
    assert!(stat.indexed_segments > indexed + 3, "{stat:?}, before {indexed}");
    let found: Vec<Position> = std::iter::from_fn(|| subscription.try_next().unwrap()).map(|e| e.position).collect();
    assert_eq!(found, expected);
    store.close().unwrap();
}
