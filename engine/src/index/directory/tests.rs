//! The directory against a plain map, over many stretches, and against files that are not what was written.

use std::collections::BTreeMap;

use super::*;
use crate::format::directory::RetryRow;
use crate::format::file_name;
use crate::storage::mem::{Fault, MemStorage, Operation};
use crate::storage::{Access, Storage};

const STORE: StoreId = StoreId([7; 16]);
/// So many bytes of log a stretch of the tests takes.
const STRETCH: u64 = 1000;

/// What is true.
#[derive(Default)]
struct Truth {
    streams: BTreeMap<String, Entry>,
    retries: Vec<RetryRow>,
}

fn name_of(number: u64) -> String {
    // Names with one prefix, with others inside of them, empty ones and long ones.
    match number % 4 {
        0 => format!("agent/{number}"),
        1 => format!("agent/{}", "x".repeat(number as usize % 700)) + &number.to_string(),
        2 => format!("{number}\u{1F332}"),
        _ => format!("agent/{}/{number}", number % 7),
    }
}

/// Stretch `number` of a log: some streams are made, some of all go on.
fn stretch(number: u64, truth: &mut Truth) -> Rows {
    let base = number * STRETCH;
    let mut rows = Rows::default();
    for made in 0..(number * 37 % 23) {
        let stream = StreamId(base + 8 + made);
        let name = name_of(stream.0);
        rows.made.push((NameRow { stream, first: Revision(made % 3), name_at: 0, name_len: 0 }, name.as_str().into()));
        let (first, head) = (Revision(made % 3), Revision(made % 3));
        let (head_position, last_place) = (Position(stream.0), Position(stream.0));
        truth.streams.insert(name.clone(), Entry { stream, name, first, head, head_position, last_place });
    }
    for (index, entry) in truth.streams.values_mut().enumerate() {
        let is_new = entry.stream.0 >= base;
        if is_new || (index as u64 + number).is_multiple_of(5) {
            entry.head = Revision(entry.head.0 + number + 1);
            entry.head_position = Position(base + 500 + index as u64);
            entry.last_place = Position(base + 500);
            let Entry { stream, head, head_position, last_place, .. } = *entry;
            rows.heads.push(HeadRow { stream, head, head_position, last_place });
        }
    }
    rows.heads.sort_unstable_by_key(|row| row.stream);
    for retry in 0..number % 4 {
        let row = RetryRow { batch: BatchId([(number * 7 + retry) as u8; 16]), frame: Position(base + retry * 8) };
        rows.retries.push(row);
        truth.retries.push(row);
    }
    rows
}

fn filled(storage: &MemStorage, stretches: u64) -> (Directory, Truth) {
    let (mut directory, mut truth, mut number) = (Directory::default(), Truth::default(), 0);
    for stretch_number in 0..stretches {
        let rows = stretch(stretch_number, &mut truth);
        let to = Position((stretch_number + 1) * STRETCH);
        let next = || {
            number += 1;
            number
        };
        directory.extend(Place { storage, store: STORE }, to, &rows, next).expect("is written");
    }
    (directory, truth)
}

fn agrees(directory: &Directory, truth: &Truth) {
    for (name, entry) in &truth.streams {
        assert_eq!(directory.by_name(name), Ok(Some(entry.clone())), "{name}");
        assert_eq!(directory.by_id(entry.stream), Ok(Some(entry.clone())), "{name}");
        assert_eq!(directory.by_name(&format!("{name}!")), Ok(None));
    }
    for absent in ["", "agent", "agent/", "zzz"] {
        assert_eq!(directory.by_name(absent), Ok(None), "{absent:?}");
    }
    for prefix in ["", "agent/", "agent/3/", "1", "nobody"] {
        let mut found = Vec::new();
        directory
            .with_prefix(prefix, |entry| {
                found.push(entry);
                ControlFlow::Continue(())
            })
            .expect("reads");
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let expected: Vec<_> = truth.streams.values().filter(|entry| entry.name.starts_with(prefix)).cloned().collect();
        assert_eq!(found, expected, "{prefix:?}");
    }
    for row in &truth.retries {
        let newest = truth.retries.iter().rfind(|other| other.batch == row.batch).expect("is there");
        assert_eq!(directory.retry_of(row.batch, 0), Ok(Some(newest.frame)));
        assert_eq!(directory.retry_of(row.batch, RETRY_WINDOW_BATCHES as u64), Ok(None), "out of the window");
    }
    assert_eq!(directory.retry_of(BatchId([255; 16]), 0), Ok(None));
}

#[test]
fn p11_the_directory_says_what_a_plain_map_says_after_any_number_of_stretches() {
    for stretches in [1, 2, 3, 10, 40] {
        let storage = MemStorage::new();
        let (directory, truth) = filled(&storage, stretches);
        agrees(&directory, &truth);
        let again = Directory::open(&storage, STORE, &directory.names()).expect("its runs are there");
        agrees(&again, &truth);
        assert_eq!(again.covered(), Position(stretches * STRETCH));
    }
}

#[test]
fn p15_runs_stay_few_and_rows_are_seldom_written_again() {
    let storage = MemStorage::new();
    let (mut directory, mut number, mut written) = (Directory::default(), 0, 0);
    let stretches = 512;
    for stretch in 0..stretches {
        let base = stretch * STRETCH;
        let mut rows = Rows::default();
        for made in 0..16 {
            let stream = StreamId(base + 8 + made);
            let name = format!("s{}", stream.0);
            rows.made.push((NameRow { stream, first: Revision(0), name_at: 0, name_len: 0 }, name.as_str().into()));
            let place = Position(stream.0);
            rows.heads.push(HeadRow { stream, head: Revision(0), head_position: place, last_place: place });
        }
        let before: Vec<u64> = directory.runs.iter().map(|run| run.name.number).collect();
        let next = || {
            number += 1;
            number
        };
        let place = Place { storage: &storage, store: STORE };
        directory.extend(place, Position(base + STRETCH), &rows, next).expect("is written");
        written +=
            directory.runs.iter().filter(|run| !before.contains(&run.name.number)).map(|run| run.rows()).sum::<u64>();
        assert!(directory.runs.len() <= 11, "{} runs of {stretch} stretches", directory.runs.len());
    }
    let rows = stretches * 32;
    assert!(written <= rows * 11, "{written} rows were written for {rows}");
}

#[test]
fn p11_a_run_that_is_not_what_was_written_is_refused_or_a_fault() {
    let storage = MemStorage::new();
    let (directory, truth) = filled(&storage, 10);
    let names = directory.names();
    let file_of =
        |name: &RunName| storage.open(&file_name::directory(name.number), Access::ReadWrite).expect("is there");
    for name in &names {
        let file = file_of(name);
        let len = file.len().expect("has a length");
        for at in (0..len).step_by(61) {
            let mut byte = [0];
            file.read_at(&mut byte, at).expect("reads");
            file.write_at(&[byte[0] ^ 0x10], at).expect("writes");
            if let Some(directory) = Directory::open(&storage, STORE, &names) {
                for (name, entry) in &truth.streams {
                    // The true answer or a fault, never another answer.
                    assert!(
                        directory.by_name(name).is_err_and(|_| true)
                            || directory.by_name(name) == Ok(Some(entry.clone()))
                    );
                }
            }
            file.write_at(&byte, at).expect("writes");
        }
    }
    assert!(Directory::open(&storage, StoreId([8; 16]), &names).is_none(), "another store");
    let mut other = names.clone();
    other[0].check ^= 1;
    assert!(Directory::open(&storage, STORE, &other).is_none(), "another run of that number");
    storage.remove(&file_name::directory(names[0].number)).expect("is removed");
    assert!(Directory::open(&storage, STORE, &names).is_none(), "a run is missing");
}

#[test]
fn p12_what_no_retry_can_mean_is_dropped_by_merging() {
    let storage = MemStorage::new();
    let place = Place { storage: &storage, store: STORE };
    let id = |number: u64| BatchId([number.to_le_bytes(), [0; 8]].concat().try_into().expect("sixteen bytes"));
    let rows = |from: u64, count: u64| Rows {
        retries: (from..from + count).map(|n| RetryRow { batch: id(n), frame: Position(n) }).collect(),
        ..Rows::default()
    };
    let half = RETRY_WINDOW_BATCHES as u64 / 2;
    let (mut directory, mut number) = (Directory::default(), 0);
    for step in 0..4 {
        let rows = rows(step * half, half);
        let next = || {
            number += 1;
            number
        };
        directory.extend(place, Position((step + 1) * half), &rows, next).expect("is written");
    }
    let last = 4 * half;
    for (number, is_known) in [(0, false), (last - 2 * half - 1, false), (last - 2 * half, true), (last - 1, true)] {
        let expected = is_known.then_some(Position(number));
        assert_eq!(directory.retry_of(id(number), 0), Ok(expected), "{number}");
    }
    assert_eq!(directory.retry_of(id(last - 2 * half), 1), Ok(None), "one more was appended since");
    let kept: u64 = directory.runs.iter().map(|run| u64::from(run.head.retries)).sum();
    assert!(kept <= 2 * RETRY_WINDOW_BATCHES as u64);
}

/// Its pages could be dropped later, and read as what the disk has: streams that are there would be missing.
#[test]
fn a_run_whose_sync_fails_gets_no_name() {
    let storage = MemStorage::new();
    let failing = |on| Fault { after: 0, error: std::io::ErrorKind::Other, sticky: false, on: Some(on), keep: 0 };
    storage.inject(failing(Operation::Sync));
    let rows = stretch(0, &mut Truth::default());
    let mut directory = Directory::default();
    let place = Place { storage: &storage, store: STORE };
    assert!(directory.extend(place, Position(STRETCH), &rows, || 1).is_err());
    assert!(storage.list().expect("lists").is_empty() && directory.names().is_empty());
    directory.extend(place, Position(STRETCH), &rows, || 2).expect("is written");
    assert_eq!(directory.names().len(), 1);
}
