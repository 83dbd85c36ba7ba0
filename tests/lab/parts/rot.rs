//! Bytes that changed at rest, and copies whose files are of different moments: of every workload, closed.

use std::sync::atomic::{AtomicUsize, Ordering};

use treering_tests::lab::{Part, Share};
use treering_tests::sim::lab::Record;
use treering_tests::sim::rot::{copy, flip};
use treering_tests::sim::workloads;

/// Rounds with ever more bytes and copies: one in so many bytes is flipped.
const STRIDES: [usize; 4] = [97, 31, 7, 1];

pub(crate) struct Rot;

impl Part for Rot {
    fn name(&self) -> &'static str {
        "rot"
    }

    fn about(&self) -> &'static str {
        "flipped bytes and copies of different moments, then appends"
    }

    fn weight(&self) -> u32 {
        20
    }

    fn run(&self, share: &Share) {
        let sound: Vec<_> = workloads::sound().collect();
        for stride in STRIDES {
            let next = AtomicUsize::new(0);
            share.on_all(|_| {
                while !share.is_over()
                    && let Some(workload) = sound.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let record = Record::of_closed(workload);
                    match flip(&record, stride) {
                        Ok(rotten) => share.count("flips with appends behind", rotten.states as u64),
                        Err(what) => share.fail(what, format!("{} flip {stride}", workload.name)),
                    }
                    match copy(&record, 4_000 / stride) {
                        Ok(copied) => share.count("copies while written", copied.copies as u64),
                        Err(what) => share.fail(what, format!("{} copy {stride}", workload.name)),
                    }
                }
            });
        }
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, what, stride] = words[..] else { return Err("a line is `WORKLOAD flip|copy STRIDE`".into()) };
        let workload = workloads::ALL.iter().find(|workload| workload.name == name).ok_or("no such workload")?;
        let stride: usize = stride.parse().map_err(|_| "the stride is a number")?;
        let record = Record::of_closed(workload);
        match what {
            "flip" => flip(&record, stride).map(drop),
            _ => copy(&record, 4_000 / stride).map(drop),
        }
    }
}
