//! Reading: every way into a stream and into the log, across segments, big batches, batches over several streams and
//! compressed sections; and events that outlive the store.

use std::sync::Arc;

use treering::storage::Storage;
use treering::storage::mem::MemStorage;
use treering::{
    Batch, Compression, Durability, Event, Expected, NewEvent, Options, Position, ReadAllOptions, ReadMode,
    ReadOptions, Revision, Store, Visibility,
};
use treering_tests::store::{everything, log, noise, open, put, small, stream, try_put};

fn committed() -> ReadOptions<'static> {
    ReadOptions::new().visibility(Visibility::Committed)
}

/// A log with single events, a batch long enough for a skip table, batches over several streams, and a jumbo segment.
fn fill(store: &Store) {
    let many: Vec<Vec<u8>> =
        (0..100).map(|number| format!("event {number} ").repeat(number % 9).into_bytes()).collect();
    let events: Vec<NewEvent<'_>> = many.iter().map(|payload| NewEvent::new("many", payload)).collect();
    for round in 0..8u64 {
        let _ = put(store, "a", &noise(round, 400));
        let batch = Batch::new()
            .section("b", Expected::Any, &events)
            .section("a", Expected::Any, &events[..17])
            .section("c", Expected::Any, &events[40..41]);
        let _ = store.append(&batch.durability(Durability::Written)).unwrap();
        let _ = put(store, "c", "compressible ".repeat(300).as_bytes());
    }
    let _ = put(store, "a", &noise(99, 40_000));
    let _ = put(store, "c", b"last");
}

fn stores() -> Vec<(&'static str, MemStorage, Store)> {
    let compressed = small().compression(Some(Compression { level: 1, min_bytes: 64 }));
    let positioned = small().read_mode(ReadMode::Positioned);
    [("plain", small()), ("compressed", compressed), ("positioned", positioned)]
        .map(|(what, options): (_, Options)| {
            let storage = MemStorage::new();
            let store = Store::open_on(Arc::new(storage.clone()), options).unwrap();
            fill(&store);
            (what, storage, store)
        })
        .into()
}

#[test]
fn p13_every_range_of_a_stream_forwards_and_backwards_is_the_same_events() {
    for (what, _, store) in stores() {
        assert!(store.stat().unwrap().segments > 3);
        assert_eq!(store.stat().unwrap().coded_raw_bytes, 0, "counted when the store was opened");
        for name in ["a", "b", "c"] {
            let all = stream(&store, name, committed());
            assert!(all.iter().enumerate().all(|(index, event)| event.revision.0 == index as u64));
            let of_log: Vec<Event> = everything(&store).into_iter().filter(|event| &*event.stream == name).collect();
            assert_eq!(all, of_log, "{what} {name}: stream and log agree");
            let len = all.len() as u64;
            assert_eq!(store.stream(name).unwrap().unwrap().head, Revision(len - 1));
            let mut backwards = stream(&store, name, committed().backwards());
            backwards.reverse();
            assert_eq!(backwards, all, "{what} {name}");
            let bounds = [0, 1, 15, 16, 17, 18, len / 2, len.saturating_sub(18), len - 2, len - 1, len, len + 5];
            for from in bounds {
                for to in bounds {
                    let slice: &[Event] = match (from as usize, (to + 1).min(len) as usize) {
                        (from, to) if from < to => &all[from..to],
                        _ => &[],
                    };
                    let (low, high) = (Revision(from), Revision(to));
                    assert_eq!(
                        stream(&store, name, committed().from(low).to(high)),
                        slice,
                        "{what} {name} {from}..={to}"
                    );
                    let mut back = stream(&store, name, committed().backwards().from(high).to(low));
                    back.reverse();
                    assert_eq!(back, slice, "{what} {name} {from}..={to} backwards");
                }
                let newest = &all[(len - from.min(len)) as usize..];
                assert_eq!(stream(&store, name, committed().last(from)), newest, "{what} {name} last {from}");
                let mut back = stream(&store, name, committed().last(from).backwards());
                back.reverse();
                assert_eq!(back, newest, "{what} {name} last {from} backwards");
            }
            for (index, event) in all.iter().enumerate() {
                let read = store.event(name, Revision(index as u64), Visibility::Committed).unwrap();
                assert_eq!(read.as_ref(), Some(event), "{what} {name} {index}");
            }
        }
        assert_eq!(store.event("none", Revision(0), Visibility::Committed).unwrap(), None);
    }
}

#[test]
fn p10_compression_is_seen_in_the_figures_only() {
    let mut read = Vec::new();
    for (what, storage, store) in stores() {
        let events = everything(&store);
        store.close().unwrap();
        let store = open(&storage);
        assert_eq!(everything(&store), events, "{what}: whoever opens it");
        let stat = store.stat().unwrap();
        match what {
            "plain" | "positioned" => assert_eq!((stat.coded_raw_bytes, stat.coded_stored_bytes), (0, 0)),
            _ => assert!(stat.coded_raw_bytes > 2 * stat.coded_stored_bytes && stat.coded_stored_bytes > 0, "{stat:?}"),
        }
        let bodies: Vec<_> = events.into_iter().map(|event| (event.stream, event.revision, event.payload)).collect();
        read.push(bodies);
    }
    assert_eq!(read[0], read[1]);
}

#[test]
fn p13_the_log_is_read_from_every_position() {
    for (what, _, store) in stores() {
        let all = everything(&store);
        assert!(all.windows(2).all(|pair| pair[0].position < pair[1].position));
        assert!(all.iter().enumerate().all(|(number, event)| event.global_number == number as u64));
        let from =
            |position| log(&store, ReadAllOptions::new().from(Position(position)).visibility(Visibility::Committed));
        // Reading to the end from everywhere takes long; the first event and how many follow say as much.
        let first = |position: u64| {
            let options = ReadAllOptions::new().from(Position(position)).visibility(Visibility::Committed);
            let mut reader = store.read_all(options).unwrap();
            reader.next().map(|event| event.unwrap().hold())
        };
        for position in all.iter().flat_map(|event| [event.position.0 - 1, event.position.0, event.position.0 + 1]) {
            let expected = all.iter().find(|event| event.position.0 >= position);
            assert_eq!(first(position).as_ref(), expected, "{what} from {position}");
        }
        for segment in 0..store.stat().unwrap().segments + 3 {
            for position in [segment << 14, (segment << 14) + 1, (segment << 14) + 8192, (segment << 14) + 16383] {
                let expected: Vec<Event> = all.iter().filter(|event| event.position.0 >= position).cloned().collect();
                assert_eq!(from(position), expected, "{what} from {position}");
            }
        }
        assert_eq!(first(store.watermarks().committed.0), None);
    }
}

#[test]
fn p13_a_reader_asked_again_behind_the_end_goes_on_with_what_came() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let options = ReadAllOptions::new().visibility(Visibility::Committed);
    let (mut reader, mut durable) = (store.read_all(options).unwrap(), store.read_all(ReadAllOptions::new()).unwrap());
    let (mut in_stream, mut durable_seen) = (None, 0);
    for round in 0..120u64 {
        assert!(reader.next().is_none() && reader.next().is_none());
        let receipt = put(&store, "s", &noise(round, (round as usize * 37) % 1500));
        let event = reader.next().expect("the event is there").unwrap();
        assert_eq!((event.revision(), event.position()), (Revision(round), receipt.position));
        if round % 10 == 0 {
            store.sync().unwrap();
        }
        while let Some(event) = durable.next() {
            let event = event.unwrap();
            assert_eq!(event.revision(), Revision(durable_seen));
            assert!(event.position() < store.watermarks().durable);
            durable_seen += 1;
        }
        assert!(round % 10 != 0 || durable_seen == round + 1, "a sync shows all there is");
        let reader = in_stream.get_or_insert_with(|| store.read_stream("s", committed()).unwrap());
        if round == 0 {
            assert_eq!(reader.next().unwrap().unwrap().revision(), Revision(0));
        }
        assert!(reader.next().is_none(), "a stream reader keeps to what there was when it was made");
    }
    assert!(store.stat().unwrap().segments > 3);
}

#[test]
fn p01_durable_readers_see_whole_batches_that_were_synced() {
    // One segment: leaving one asks for a sync.
    let store = Store::open_on(Arc::new(MemStorage::new()), small().segment_bytes(1 << 20)).unwrap();
    let mut seen = 0;
    for round in 0..60u64 {
        let events = [NewEvent::new("t", "x"); 5];
        let batch = Batch::to("s", Expected::Any, &events);
        let _ = store.append(&batch.durability(Durability::Written)).unwrap();
        if round % 13 == 5 {
            seen = (round + 1) * 5;
            store.sync().unwrap();
        }
        let newest = stream(&store, "s", ReadOptions::new().last(1)).first().map(|event| event.revision.0 + 1);
        assert_eq!(newest.unwrap_or(0), seen);
        assert_eq!(log(&store, ReadAllOptions::new()).len() as u64, seen);
        let at = store.event("s", Revision(seen), Visibility::Durable).unwrap();
        assert_eq!(at, None, "the first that is not durable");
    }
}

#[test]
fn p13_held_events_outlive_the_store_and_its_files() {
    for (what, storage, store) in stores() {
        let held = everything(&store);
        let texts: Vec<String> = held.iter().map(|event| format!("{event:?}")).collect();
        let part = held[0].payload.slice(3..90);
        store.close().unwrap();
        for entry in storage.list().unwrap() {
            storage.remove(&entry.name).unwrap();
        }
        assert!(held.iter().map(|event| format!("{event:?}")).eq(texts), "{what}");
        let first = held[0].payload.clone();
        drop(held);
        assert_eq!((&first[..], &part[..]), (&noise(0, 400)[..], &noise(0, 400)[3..90]));
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("s"), small()).unwrap();
    fill(&store);
    let held = everything(&store);
    let texts: Vec<String> = held.iter().map(|event| format!("{event:?}")).collect();
    drop(store);
    folder.close().unwrap();
    assert!(held.iter().map(|event| format!("{event:?}")).eq(texts), "on a disk");
}

#[test]
fn p13_a_reader_beside_the_writer_reads_on_through_rolls() {
    let storage = MemStorage::new();
    let writer = open(&storage);
    let _ = put(&writer, "s", b"0");
    let reader = treering_tests::store::open_read_only(&storage);
    let proven = reader.watermarks().durable;
    for round in 1..60u64 {
        let level = if round % 20 == 0 { Durability::Synced } else { Durability::Written };
        let _ = try_put(&writer, &format!("s{}", round % 4), &noise(round, 900), level).unwrap();
        reader.refresh().unwrap();
        assert_eq!(everything(&reader), everything(&writer), "round {round}");
        assert_eq!(reader.streams().unwrap(), writer.streams().unwrap());
        let durable = reader.watermarks().durable;
        assert!(durable <= writer.watermarks().durable.max(proven), "it believes only what was witnessed, or proven");
    }
    assert!(writer.stat().unwrap().segments > 3);
    assert_eq!(reader.stat().unwrap().events, 60);
}

#[test]
fn p13_a_segment_that_was_begun_and_left_since_a_reader_looked_is_not_passed_over() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let (_, _) = (put(&store, "s", b"0"), put(&store, "s", b"1"));
    storage.fail_after(0, std::io::ErrorKind::Other, true);
    drop(store);
    storage.clear_fault();
    storage.set_boot_id(treering::BootId([9; 16]));
    let store = open(&storage);
    assert!(store.open_report().has_rolled, "the log ends at the beginning of a segment");
    for visibility in [Visibility::Committed, Visibility::Durable] {
        let mut reader = store.read_all(ReadAllOptions::new().visibility(visibility)).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().revision(), Revision(0));
        let segments = store.stat().unwrap().segments;
        while store.stat().unwrap().segments < segments + 2 {
            let _ = put(&store, "s", &noise(1, 900));
        }
        store.sync().unwrap();
        let mut seen = 1;
        while let Some(event) = reader.next() {
            assert_eq!(event.unwrap().revision(), Revision(seen), "{visibility:?}");
            seen += 1;
        }
        assert_eq!(seen, store.stream("s").unwrap().unwrap().head.0 + 1);
    }
}

/// Streams of 150 events each in frames of one event, interleaved.
fn interleaved(store: &Store, streams: usize) {
    for round in 0..150u64 {
        for number in 0..streams {
            let _ = put(store, &format!("s{number}"), &noise(round * 31 + number as u64, 40));
        }
    }
}

fn revisions(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.revision.0).collect()
}

#[test]
fn p13_places_that_are_known_grow_with_the_stream() {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage), small()).unwrap();
    for len in 1..200 {
        let _ = put(&store, "a", &noise(len, 20));
        let _ = put(&store, "b", &noise(len, 20));
        assert_eq!(revisions(&stream(&store, "a", committed())), (0..len).collect::<Vec<_>>());
        let newest = store.event("a", Revision(len - 1), Visibility::Committed).unwrap().unwrap();
        assert_eq!(newest.payload[..], noise(len, 20)[..]);
        assert!(store.event("a", Revision(len), Visibility::Committed).unwrap().is_none());
    }
}

#[test]
fn p13_durable_readers_end_at_the_durable_mark_wherever_it_lies() {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage), small()).unwrap();
    for synced in [0, 1, 31, 32, 33, 64, 100] {
        while store.stream("a").unwrap().map_or(0, |stream| stream.head.0 + 1) < synced {
            let _ = put(&store, "a", &noise(synced, 20));
        }
        let _ = store.sync().unwrap();
        for ahead in [0u64, 1, 40] {
            for number in 0..ahead {
                let _ = put(&store, "a", &noise(number, 20));
            }
            if store.stream("a").unwrap().is_some() {
                // A roll may have made more durable meanwhile: then both are asked again.
                let (durable, next) = loop {
                    let before = store.watermarks().durable;
                    let durable = stream(&store, "a", ReadOptions::new());
                    let next = store.event("a", Revision(durable.len() as u64), Visibility::Durable).unwrap();
                    let log = log(&store, ReadAllOptions::new());
                    if before == store.watermarks().durable {
                        assert!(durable == log, "{} and {} at {synced} and {ahead}", durable.len(), log.len());
                        break (durable, next);
                    }
                };
                assert!(next.is_none(), "{}", durable.len());
            }
        }
    }
}

#[test]
fn p05_a_frame_that_goes_bad_after_it_was_read_is_damage_once_and_the_rest_is_read() {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage.clone()), small()).unwrap();
    interleaved(&store, 3);
    for revision in [0u64, 31, 32, 77, 149] {
        let all = stream(&store, "s1", committed());
        assert_eq!(all.len(), 150, "read, so that all places are known");
        let position = all[revision as usize].position.0;
        let (ordinal, offset) = (position / (16 << 10), position % (16 << 10));
        let file = storage.open(&format!("{ordinal:016x}.segment"), treering::storage::Access::ReadWrite);
        let file = file.expect("the segment is there");
        let mut byte = [0];
        assert_eq!(file.read_at(&mut byte, offset + 30).unwrap(), 1);
        file.write_at(&[byte[0] ^ 4], offset + 30).unwrap();
        let lost = store.event("s1", Revision(revision), Visibility::Committed).unwrap_err();
        assert_eq!(lost.kind(), treering::ErrorKind::Damage, "{lost}");
        for options in [committed(), committed().backwards()] {
            let (mut read, mut damage) = (Vec::new(), 0);
            let mut reader = store.read_stream("s1", options).unwrap();
            while let Some(event) = reader.next() {
                match event {
                    Ok(event) => read.push(event.revision().0),
                    Err(error) => {
                        assert!(error.damage().is_some(), "{error}");
                        damage += 1;
                    }
                }
            }
            read.sort_unstable();
            let expected: Vec<u64> = (0..150).filter(|other| *other != revision).collect();
            assert_eq!(read, expected, "all but revision {revision}");
            assert_eq!(damage, 1, "revision {revision} is neither skipped in silence nor reported again and again");
        }
        file.write_at(&byte, offset + 30).unwrap();
    }
}
