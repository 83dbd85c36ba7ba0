//! What is derived while several append by turns, space runs out and processes come and go: it says what the log says.

use std::sync::Arc;

use treering::storage::mem::MemStorage;
use treering::{Batch, BatchId, ErrorKind, Expected, Fork, NewEvent, Options, Store, maintain};

const TYPES: [&str; 5] = ["a", "b", "tool_call", "tool_result", "message"];

/// A sequence of numbers that a seed stands for.
struct Draw(u64);

impl Draw {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn options(is_alone: bool) -> Options {
    let options = Options::new().segment_bytes(64 << 10).index_stride_bytes(4 << 10).background_threads(false);
    options.streams_kept(4).exclusive(is_alone)
}

fn open(storage: &MemStorage, is_alone: bool) -> Store {
    Store::open_on(Arc::new(storage.clone()), options(is_alone)).unwrap()
}

/// Whether it was appended; for want of space it may not be.
fn append(store: &Store, batch: &Batch<'_>) -> bool {
    let appended = store.append(batch);
    assert!(appended.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::NoSpace), "{appended:?}");
    appended.is_ok()
}

/// One life of a store with one writer or two; how many appends found no space.
fn live(storage: &MemStorage, seed: u64) -> u64 {
    let mut draw = Draw(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let count = if seed.is_multiple_of(4) { 1 } else { 2 };
    let mut stores: Vec<Store> = (0..count).map(|_| open(storage, count == 1)).collect();
    let (mut who, mut burst, mut scarce, mut refused, mut forks) = (0, 0, 0, 0, Vec::new());
    for step in 0..2000u64 {
        if burst == 0 {
            who = draw.below(count) as usize;
            burst = [1, 3, 60, 250][draw.below(4) as usize];
        }
        burst -= 1;
        scarce = u64::saturating_sub(scarce, 1);
        match draw.below(700) {
            0 if scarce == 0 => {
                storage.set_space_limit(None);
                let gone = draw.below(count) as usize;
                stores.remove(gone).close().unwrap();
                stores.insert(gone, open(storage, count == 1));
            }
            1..3 if !seed.is_multiple_of(3) => {
                scarce = draw.below(60) + 2;
                storage.set_space_limit(Some(storage.used_bytes() + draw.below(40_000)));
            }
            3..7 => storage.set_clock(draw.below(1 << 40) as i64),
            _ if scarce == 0 => storage.set_space_limit(None),
            _ => {}
        }
        let store = &stores[who];
        let events = if draw.below(5) == 0 { draw.below(40) + 1 } else { 1 };
        let mut event = |index: u64| {
            let event = NewEvent::new(TYPES[draw.below(if step % 2 == 0 { 2 } else { 5 }) as usize], &[7; 90]);
            if draw.below(4) == 0 { event.recorded_at((step + index) as i64 * 1000 - 5000) } else { event }
        };
        let events: Vec<NewEvent<'_>> = (0..events).map(&mut event).collect();
        let names = [0, 1, 2].map(|part| format!("stream {}", 3 * draw.below(10 + step / 100) + part));
        let batch = match draw.below(60) {
            0..6 => Batch::with_id(BatchId([step.to_le_bytes(), [9; 8]].concat().try_into().unwrap())),
            6..12 => Batch::new().section(&names[1], Expected::Any, &events).section(&names[2], Expected::Any, &events),
            12 => {
                let fork = format!("fork {step}");
                if store.fork(&Fork::new(&names[0], &fork)).is_ok() {
                    forks.push(fork);
                }
                Batch::new()
            }
            _ => Batch::new(),
        };
        refused += u64::from(!append(store, &batch.section(&names[0], Expected::Any, &events)));
        if !forks.is_empty() && draw.below(20) == 0 {
            let fork = forks.swap_remove(draw.below(forks.len() as u64) as usize);
            let _ = append(store, &Batch::to(&fork, Expected::Any, &events));
        }
        if draw.below(40) == 0 {
            stores.iter().for_each(|store| store.work_in_background().unwrap());
        }
    }
    storage.set_space_limit(None);
    for store in stores {
        store.work_in_background().unwrap();
        let stat = store.stat().unwrap();
        assert!(stat.segments > 10 && stat.indexed_segments > 5, "{stat:?}");
        store.close().unwrap();
    }
    refused
}

/// `verify` walks every segment, and holds against it each index, and each checkpoint with its directory.
#[test]
fn p11_what_writers_derive_by_turns_and_without_space_says_what_the_log_says() {
    let mut refused = 0;
    for seed in 0..12 {
        let storage = MemStorage::with_seed(seed);
        refused += live(&storage, seed);
        let report = maintain::verify_on(Arc::new(storage), &mut ()).unwrap();
        assert!(report.is_clean() && report.notes.is_empty(), "seed {seed}: {:?} {:?}", report.damage, report.notes);
    }
    assert!(refused > 20, "{refused} appends found no space");
}
