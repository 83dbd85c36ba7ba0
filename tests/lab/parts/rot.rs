//! Bytes that changed at rest, and copies whose files are of different moments: of every workload, closed.

use std::sync::atomic::{AtomicUsize, Ordering};

use treering_tests::lab::{Part, Share};
use treering_tests::sim::lab::Record;
use treering_tests::sim::rot::{copy, flip};
use treering_tests::sim::workloads;

/// Rounds with ever more bytes and copies: one in so many bytes is flipped, in which of its bits.
const ROUNDS: [(usize, usize); 11] =
    [(97, 0), (31, 0), (7, 0), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7)];
/// So many copies are made in a round of which every byte is flipped; fewer in those before.
const COPIES: usize = 4_000;

pub(crate) struct Rot;

impl Part for Rot {
    fn name(&self) -> &'static str {
        "rot"
    }

    fn about(&self) -> &'static str {
        "flipped bytes and copies of different moments, then appends"
    }

    fn weight(&self) -> u32 {
        22
    }

    fn run(&self, share: &Share) {
        let sound: Vec<_> = workloads::sound().collect();
        for (stride, bit) in ROUNDS {
            let next = AtomicUsize::new(0);
            share.on_all(|_| {
                while !share.is_over()
                    && let Some(workload) = sound.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let record = Record::of_closed(workload);
                    match flip(&record, stride, bit) {
                        Ok(rotten) => share.count("flips with appends behind", rotten.states as u64),
                        Err(what) => share.fail(what, format!("{} flip {stride} {bit}", workload.name)),
                    }
                    if bit > 0 {
                        continue; // they would be the same copies
                    }
                    match copy(&record, COPIES / stride) {
                        Ok(copied) => share.count("copies while written", copied.copies as u64),
                        Err(what) => share.fail(what, format!("{} copy {stride} 0", workload.name)),
                    }
                }
            });
        }
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, what, stride, bit] = words[..] else {
            return Err("a line is `WORKLOAD flip|copy STRIDE BIT`".into());
        };
        let workload = workloads::ALL.iter().find(|workload| workload.name == name).ok_or("no such workload")?;
        let number = |word: &str| word.parse::<usize>().map_err(|_| "stride and bit are numbers");
        let (stride, bit) = (number(stride)?, number(bit)?);
        let record = Record::of_closed(workload);
        match what {
            "flip" => flip(&record, stride, bit).map(drop),
            _ => copy(&record, COPIES / stride).map(drop),
        }
    }
}
