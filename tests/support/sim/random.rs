//! Workloads that nobody wrote: steps drawn from a seed, faults among them.

use std::sync::Arc;

use treering::storage::mem::Operation;
use treering::{Durability, Store};

use super::enumerate::Numbers;
use super::sweep::{Swept, append, open};
use super::workloads::Run;
use super::{Failure, SimStorage, options};

const SIZES: [usize; 12] = [0, 1, 10, 60, 128, 200, 440, 600, 1500, 3500, 9_000, 17_000];
const STREAMS: [&str; 4] = ["a", "b", "c", "d"];

/// Walks so many steps that the seed says.
///
/// # Errors
/// An outcome that is not allowed.
pub fn walk(machine: &SimStorage, seed: u64, steps: usize) -> Result<Run, String> {
    let mut run = Run::new(machine);
    // A sync that reverts takes events along that were only Written; half of the walks know no such syncs.
    let reverts = seed % 2 == 1;
    if reverts {
        run.allow_reverts();
    }
    let mut numbers = Numbers(seed);
    let mut swept = Swept::default();
    open(&mut run, &mut swept)?;
    for number in 0..steps {
        step(&mut run, &mut numbers, reverts, &mut swept).map_err(|what| format!("step {number}: {what}"))?;
        run.heal();
    }
    Ok(run)
}

fn step(run: &mut Run, numbers: &mut Numbers, reverts: bool, swept: &mut Swept) -> Result<(), String> {
    let failure = match numbers.below(24) {
        0 => {
            if run.store().sync().is_err() {
                run.kill(); // a late error was told
                return open(run, swept);
            }
            run.note();
            return Ok(());
        }
        1 => {
            run.try_close();
            run.kill(); // where it failed
            return open(run, swept);
        }
        2 => {
            run.kill();
            return open(run, swept);
        }
        3 => {
            run.rest();
            return Ok(());
        }
        4 => {
            if !run.machine().disk().evicted().is_empty() {
                run.allow_reverts(); // a write-back failed: with its pages goes what was only Written
            }
            run.machine().evict();
            return Ok(());
        }
        10 => {
            // A reader that finds out what the disk holds: what it calls durable must be.
            let reader = Store::open_read_only_on(Arc::new(run.machine().process()), options());
            run.note_of(&reader.map_err(|error| format!("P13: {error:?}"))?);
            return Ok(());
        }
        5 => Some((Operation::Sync, if reverts { Failure::SyncReverts } else { Failure::SyncKeeps })),
        6 => Some((Operation::Write, Failure::Late)),
        7 => Some((Operation::Write, Failure::Short)),
        8 => Some((Operation::Write, Failure::Error(std::io::ErrorKind::StorageFull))),
        9 => Some((Operation::Allocate, Failure::Error(std::io::ErrorKind::StorageFull))),
        _ => None,
    };
    if let Some((on, how)) = failure {
        run.fail(on, how);
    }
    // Where a sync may take events back, it may take what was to be forked.
    if !run.may_revert() && numbers.below(6) == 0 {
        let streams = run.store().streams().map_err(|error| format!("P11: {error:?}"))?;
        if !streams.is_empty() {
            let parent = &streams[numbers.below(streams.len())];
            let revision = numbers.below(parent.head.0 as usize + 1) as u64;
            let level = if numbers.below(3) == 0 { Durability::Synced } else { Durability::Written };
            let plan = run.fork_plan(&parent.name, revision, level);
            return append(run, plan, swept);
        }
    }
    let first = numbers.below(STREAMS.len());
    let sections: Vec<(&str, Vec<usize>)> = (0..1 + numbers.below(3))
        .map(|section| {
            let sizes = (0..1 + numbers.below(2)).map(|_| SIZES[numbers.below(SIZES.len()).min(numbers.below(14))]);
            (STREAMS[(first + section) % STREAMS.len()], sizes.collect())
        })
        .collect();
    let mut borrowed: Vec<(&str, &[usize])> = sections.iter().map(|(stream, sizes)| (*stream, &sizes[..])).collect();
    let forks = run.store().forks().map_err(|error| format!("P16: {error:?}"))?;
    if !forks.is_empty() && numbers.below(3) == 0 {
        borrowed[0].0 = &forks[numbers.below(forks.len())].name;
    }
    let level = if numbers.below(3) == 0 { Durability::Synced } else { Durability::Written };
    let plan = run.plan(&borrowed, level);
    append(run, plan, swept)
}
