//! Writers on file systems that are really full, and writers that are refused memory.

use std::sync::atomic::{AtomicU64, Ordering};

use treering_tests::lab::{Part, Share};
use treering_tests::torture::blocks::is_possible;
use treering_tests::torture::programs::Programs;
use treering_tests::torture::scarce::{of_memory, of_space};

/// So many of each are wanted where there is no end of time.
const WANTED: u64 = 1_000;

pub(crate) struct Scarce;

impl Part for Scarce {
    fn name(&self) -> &'static str {
        "scarce"
    }

    fn about(&self) -> &'static str {
        "writers on file systems that are full, and without memory"
    }

    fn weight(&self) -> u32 {
        4
    }

    fn prepare(&self) {
        let _ = Programs::build();
    }

    fn run(&self, share: &Share) {
        let programs = match Programs::build() {
            Ok(programs) => programs,
            Err(because) => return share.skip(because),
        };
        let next = AtomicU64::new(0);
        let can_mount = is_possible();
        if let Err(because) = &can_mount {
            share.skip(format!("no file system is filled: {because}"));
        }
        share.on_times(2, |_| {
            while !share.is_over() {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if share.is_full() && seed >= 2 * WANTED {
                    break;
                }
                let line = format!("seed={seed}");
                let (name, tried) = match seed % 2 {
                    0 if can_mount.is_ok() => {
                        ("file systems filled", of_space(&programs, seed).map(|full| full.map(drop)))
                    }
                    _ => ("writers without memory", of_memory(&programs, kib(seed), seed).map(|ended| ended.map(drop))),
                };
                match tried {
                    Ok(Ok(())) => share.count(name, 1),
                    Ok(Err(what)) => share.fail(what, line),
                    Err(because) => return share.skip(because),
                }
            }
        });
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        let seed = line.strip_prefix("seed=").and_then(|seed| seed.parse().ok()).ok_or("a line is `seed=N`")?;
        let programs = Programs::build()?;
        match seed % 2 {
            0 => of_space(&programs, seed)?.map(drop),
            _ => of_memory(&programs, kib(seed), seed)?.map(drop),
        }
    }
}

/// So much memory a writer gets: from hardly enough to be started to more than it needs.
fn kib(seed: u64) -> u64 {
    4_000 + seed * 7_919 % 400_000
}
