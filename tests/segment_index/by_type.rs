//! Reading by type: what indexes let a reader pass over is nothing that it was asked for.

use treering::{Event, ReadAllOptions, ReadOptions, Visibility};
use treering_tests::store::{everything, log, stream};

use super::*;

const TYPES: [&str; 4] = ["usual", "rare", "t", "none"];

/// Every way to read by type gives what reading all and looking at each gives.
fn assert_reads(store: &Store) {
    let all = everything(store);
    let end = all.last().expect("there are events").position;
    for event_type in TYPES {
        let is_asked = |event: &&Event| &*event.event_type == event_type;
        let places = |events: &mut dyn Iterator<Item = &Event>| events.map(|event| event.position).collect::<Vec<_>>();
        let committed = ReadAllOptions::new().visibility(Visibility::Committed).event_type(event_type);
        let read = |options| places(&mut log(store, options).iter());
        assert_eq!(read(committed), places(&mut all.iter().filter(is_asked)), "{event_type}");
        for from in (0..end.0).step_by(end.0 as usize / 23).map(Position) {
            let expected = places(&mut all.iter().filter(is_asked).filter(|event| event.position >= from));
            assert_eq!(read(committed.from(from)), expected, "{event_type} from {from}");
            // Whole batches: all that begin before it.
            let at = read(committed.at(from));
            let unfiltered = log(store, ReadAllOptions::new().visibility(Visibility::Committed).at(from));
            assert_eq!(at, places(&mut unfiltered.iter().filter(is_asked)), "{event_type} at {from}");
        }
        for name in ["s0", "s3", "shared", "seldom", "ends"] {
            let options = ReadOptions::new().visibility(Visibility::Committed);
            for options in
                [options, options.backwards(), options.from(Revision(11)), options.last(50), options.to(Revision(90))]
            {
                let found = stream(store, name, options.event_type(event_type));
                let expected = stream(store, name, options);
                let expected = places(&mut expected.iter().filter(is_asked));
                assert_eq!(places(&mut found.iter()), expected, "{event_type} of {name}, {options:?}");
            }
        }
    }
}

#[test]
fn p13_reading_by_type_gives_what_a_look_at_every_event_gives() {
    let storage = MemStorage::new();
    let store = filled(&storage);
    assert_reads(&store);
    store.close().unwrap();
    assert_reads(&Store::open_read_only_on(Arc::new(storage.clone()), options()).unwrap());
}

/// [SIX-2] Also where some of the indexes are lost, bad or of another segment.
#[test]
fn p11_reading_by_type_needs_no_index() {
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
