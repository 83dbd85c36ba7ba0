//! Which types of events there are: by indexes, whatever became of them, it is what a scan of everything says.

use std::collections::BTreeMap;
use std::sync::Arc;

use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};
use treering::{Position, ReadAllOptions, Store, TypeCounts, Visibility, maintain};
use treering_tests::grown::{Draw, grown, hit, options, spoil};
use treering_tests::mutate::frames_of;
use treering_tests::store::put;

type Counts = BTreeMap<String, u64>;

/// The twin: by a scan. Also whether it met damage.
fn scanned(store: &Store, options: ReadAllOptions<'_>) -> (Counts, bool) {
    let mut reader = store.read_all(options).unwrap();
    let (mut counts, mut is_damaged) = (Counts::new(), false);
    while let Some(event) = reader.next() {
        match event {
            Ok(event) => *counts.entry(event.event_type().to_owned()).or_default() += 1,
            Err(error) => is_damaged |= error.damage().is_some(),
        }
    }
    (counts, is_damaged)
}

fn counted(store: &Store, options: ReadAllOptions<'_>) -> (Counts, TypeCounts) {
    let (mut before, mut calls) = (0, 0);
    let found = store
        .count_types(options, &mut |done, all| {
            assert!(before <= done && done <= all, "{before}, then {done} of {all}");
            (before, calls) = (done, calls + 1);
        })
        .unwrap();
    assert!(calls > 0);
    assert!(found.types.is_sorted_by(|one, next| one.name < next.name), "{found:?}");
    let counts = found.types.iter().map(|count| (count.name.to_string(), count.events)).collect();
    (counts, found)
}

fn committed<'a>() -> ReadAllOptions<'a> {
    ReadAllOptions::new().visibility(Visibility::Committed)
}

/// What may be asked for, from places that the draw gives.
fn asked<'a>(draw: &mut Draw, end: Position) -> Vec<ReadAllOptions<'a>> {
    let mut place = || Position(draw.below(end.get() + 1));
    vec![
        committed(),
        ReadAllOptions::new(),
        committed().with_engine_streams(),
        committed().stream_prefix("s"),
        committed().stream_prefix("$snapshot/"),
        committed().event_type("rare"),
        committed().event_types(&["usual", "zz", "none"]).with_engine_streams(),
        committed().last(700),
        committed().from(place()),
        committed().at(place()),
        committed().from(place()).at(place()).with_engine_streams(),
    ]
}

#[test]
fn p11_types_counted_by_indexes_are_those_of_a_full_scan() {
    for seed in 0..4 {
        let storage = MemStorage::with_seed(seed);
        let store = grown(&storage, seed);
        let _ = put(&store, "behind the last index", b"x");
        let indexed = store.stat().unwrap().indexed_segments;
        assert!(indexed > 15, "{indexed}");
        let mut draw = Draw::new(seed);
        let end = store.watermarks().committed;
        for options in asked(&mut draw, end) {
            let (counts, found) = counted(&store, options);
            assert_eq!((counts, found.damage), (scanned(&store, options).0, vec![]), "{options:?}");
        }
        store.close().unwrap();
        for _ in 0..8 {
            let copy = storage.deep_copy().unwrap();
            spoil(&copy, &mut draw);
            let store = Store::open_read_only_on(Arc::new(copy.clone()), options()).unwrap();
            for options in asked(&mut draw, end) {
                let (counts, found) = counted(&store, options);
                assert_eq!((counts, found.damage), (scanned(&store, options).0, vec![]), "seed {seed}, {options:?}");
            }
        }
    }
}

/// What was lost since an index was made is counted or told, and nothing is made up.
#[test]
fn p05_types_of_a_damaged_log_are_counted_as_they_were_or_the_damage_is_told() {
    let mut told = 0;
    for seed in 0..6 {
        let storage = MemStorage::with_seed(seed);
        grown(&storage, seed).close().unwrap();
        let open = |storage: &MemStorage| Store::open_read_only_on(Arc::new(storage.clone()), options()).unwrap();
        let mut draw = Draw::new(seed);
        for round in 0..8 {
            let copy = storage.deep_copy().unwrap();
            (0..1 + round % 3).for_each(|_| hit(&copy, &mut draw));
            if round % 2 == 1 {
                spoil(&copy, &mut draw);
            }
            let (whole, store) = (open(&storage), open(&copy));
            for options in asked(&mut draw, store.watermarks().committed) {
                let (counts, found) = counted(&store, options);
                let (left, was) = (scanned(&store, options).0, scanned(&whole, options).0);
                for name in was.keys().chain(counts.keys()) {
                    let of = |counts: &Counts| counts.get(name).copied().unwrap_or(0);
                    let (low, here, high) = (of(&left), of(&counts), of(&was));
                    // Of the newest, what is lost behind the end of a log is not among them.
                    assert!(low <= here && here <= high, "{name}: {low} to {high}, and {here}, {options:?}");
                    assert!(here == high || !found.damage.is_empty(), "{name}: {here} of {high}, {options:?}");
                }
                told += found.damage.len();
            }
            drop(store);
            let plan = maintain::accept_plan_on(Arc::new(copy.clone()), &mut ()).unwrap();
            let _ = maintain::accept_on(Arc::new(copy.clone()), &plan).unwrap();
            let store = open(&copy);
            let (counts, found) = counted(&store, committed());
            assert!(found.damage.iter().all(|damage| damage.is_accepted), "{found:?}");
            // A body that is bad hides its event alone, whatever was accepted.
            let (left, _) = scanned(&store, committed());
            assert_eq!(counts, left, "seed {seed}, round {round}");
        }
    }
    assert!(told > 50, "{told} times damage was told");
}

/// A segment with an index is not read: where its frames are gone the count is the same.
#[test]
fn p13_types_are_counted_without_reading_segments_that_have_an_index() {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage.clone()), options()).unwrap();
    for number in 0..900u32 {
        let _ = put(&store, &format!("{}", number % 3), &[7; 100]);
        if number % 50 == 0 {
            let _ = store.sync().unwrap();
            store.work_in_background().unwrap();
        }
    }
    let _ = store.sync().unwrap();
    store.work_in_background().unwrap();
    let (before, _) = counted(&store, committed());
    assert_eq!(before, Counts::from([("t".to_owned(), 900)]));
    let names = storage.list().unwrap();
    let segment = names.iter().find(|entry| entry.name.starts_with("0000000000000003.segment")).unwrap();
    let file = storage.open(&segment.name, Access::ReadWrite).unwrap();
    let mut bytes = vec![0; segment.len as usize];
    let _ = file.read_at(&mut bytes, 0).unwrap();
    let frames = frames_of(&bytes);
    let gone = frames[1].start..frames[frames.len() - 1].start; // its ends say which segment it is
    file.write_at(&vec![0xAA; gone.len()], gone.start as u64).unwrap();
    assert!(scanned(&store, committed()).1, "a scan meets that");
    assert_eq!(counted(&store, committed()).0, before);
}

/// Who begins behind a token takes in what others have appended, as a reader does.
#[test]
fn types_behind_a_token_are_counted_up_to_where_a_reader_goes() {
    let storage = MemStorage::new();
    let writer = Store::open_on(Arc::new(storage.clone()), options()).unwrap();
    let _ = put(&writer, "a", b"x");
    let open = || Store::open_read_only_on(Arc::new(storage.clone()), options()).unwrap();
    let (counting, scanning) = (open(), open());
    let token = put(&writer, "a", b"x").token();
    for _ in 0..3 {
        let _ = put(&writer, "a", b"x");
    }
    let options = committed().after_token(&token);
    let all = scanned(&scanning, options).0;
    assert_eq!(all, Counts::from([("t".to_owned(), 3)]));
    assert_eq!(counted(&counting, options).0, all);
}
