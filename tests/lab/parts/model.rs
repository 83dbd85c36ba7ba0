//! Random sequences of operations on the real engine, compared with the reference model after every one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use treering::storage::mem::MemStorage;
use treering::{Compression, Options};
use treering_tests::bodies::operations_of;
use treering_tests::lab::{Part, Share};
use treering_tests::sim::enumerate::Numbers;
use treering_tests::workload::{Op, Sizes};
use treering_tests::{Engine, run};

/// A sequence has fewer operations than this, any number of them: 36 as a rule. Short ones meet a store that has little.
const OPERATIONS: usize = 72;
/// Bytes enough for all of them.
const BYTES: usize = 16 << 10;
/// Events that fill a segment of 16 KiB with a few batches, and never need one of their own.
const SMALL: Sizes = Sizes { small_bytes: 120, large_bytes: 3_000, events: 24 };
/// One sequence in so many has larger ones.
const LARGE_ONE_IN: u64 = 8;
/// The figure of a full run.
const SEQUENCES: u64 = 1_000_000;

pub(crate) struct ModelSequences;

impl Part for ModelSequences {
    fn name(&self) -> &'static str {
        "model"
    }

    fn about(&self) -> &'static str {
        "sequences of operations against the reference model"
    }

    fn weight(&self) -> u32 {
        88
    }

    fn run(&self, share: &Share) {
        let next = AtomicU64::new(0);
        // Those with threads wait for them.
        share.on_times(2, |_| {
            while !share.is_over() {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if share.is_full() && seed >= SEQUENCES {
                    break;
                }
                let operations = sequence(seed);
                share.count("operations", operations.len() as u64);
                if let Err(what) = one(seed, &operations) {
                    share.fail(format!("seed {seed}: {what}"), format!("seed={seed}"));
                }
                share.count("model sequences", 1);
            }
        });
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        let seed = line.strip_prefix("seed=").and_then(|text| text.parse().ok());
        let seed = seed.ok_or("a line of the model is `seed=NUMBER`")?;
        let mut operations = sequence(seed);
        let Err(mut what) = one(seed, &operations) else { return Ok(()) };
        // The shortest sequence that still fails: without each operation in turn.
        let mut at = operations.len();
        while at > 0 {
            at -= 1;
            let mut fewer = operations.clone();
            fewer.remove(at);
            if let Err(other) = one(seed, &fewer) {
                (operations, what) = (fewer, other);
            }
        }
        Err(format!("{what}\n{operations:#?}"))
    }
}

/// The sequence of a seed.
fn sequence(seed: u64) -> Vec<Op> {
    let mut numbers = Numbers(seed);
    let most = 1 + numbers.below(OPERATIONS);
    let bytes: Vec<u8> = (0..BYTES / 8).flat_map(|_| numbers.next().to_le_bytes()).collect();
    operations_of(&bytes, most, if seed % LARGE_ONE_IN == 2 { Sizes::default() } else { SMALL })
}

/// Runs it; one in eight with compression, and another one with the threads of the background, which cost more than the rest; every
/// second one alone, so that events are copied into mappings too.
fn one(seed: u64, operations: &[Op]) -> Result<(), String> {
    let options = Options::new().segment_bytes(16 << 10).index_stride_bytes(4 << 10).background_threads(seed % 8 == 1);
    let options = options.exclusive((seed / 8).is_multiple_of(2));
    let options = match seed.is_multiple_of(8) {
        true => options.compression(Some(Compression { level: 1, min_bytes: 64 })),
        false => options,
    };
    let outcome = std::panic::catch_unwind(|| {
        let mut engine =
            Engine::open(Arc::new(MemStorage::new()), options).map_err(|failure| format!("{failure:?}"))?;
        run(operations, &mut engine).map(drop).map_err(|failure| failure.to_string())
    });
    outcome.unwrap_or_else(|_| Err("P7: a panic, whose words are above".into()))
}
