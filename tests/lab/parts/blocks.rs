//! What a loss of power leaves of a real ext4, from a record of its block writes; and what its device leaves that fails.

use treering_tests::lab::{Part, Share};
use treering_tests::torture::blocks::{Recording, is_possible};
use treering_tests::torture::device;
use treering_tests::torture::failing::{Failing, writer_meets};
use treering_tests::torture::programs::Programs;

/// So many batches a recording.
const BATCHES: u64 = 120;
/// So many replays of a recording, before the next one.
const REPLAYS: u64 = 100;
/// So many are wanted where there is no end of time.
const REPLAYS_WANTED: u64 = 2_000;

pub(crate) struct Blocks;

impl Part for Blocks {
    fn name(&self) -> &'static str {
        "ext4"
    }

    fn about(&self) -> &'static str {
        "losses of power on a real ext4, and devices below it that fail"
    }

    fn weight(&self) -> u32 {
        14
    }

    fn prepare(&self) {
        let _ = Programs::build();
    }

    fn run(&self, share: &Share) {
        let programs = match is_possible().and_then(|()| Programs::build()) {
            Ok(programs) => programs,
            Err(because) => return share.skip(because),
        };
        // One after the other: loop devices that several give back and take at the same moment show one what another's held.
        for seed in 1.. {
            if share.is_over() || share.is_full() && share.counted("replays on ext4") >= REPLAYS_WANTED {
                return;
            }
            let recording = match Recording::of_writer(&programs, seed, BATCHES) {
                Ok(recording) => recording,
                Err(because) => return share.skip(because),
            };
            share.count("block writes recorded", recording.moments() as u64 - 1);
            if let Err(because) = failing(&programs, seed, share) {
                return share.skip(because);
            }
            for replay in (0..REPLAYS).take_while(|_| !share.is_over()) {
                // Spread over all moments; of each second one only a part of what no flush covers.
                let moment = (replay * 7919 + seed) as usize % recording.moments();
                let subset = if replay % 2 == 0 { 0 } else { replay };
                match recording.replay(&programs, moment, subset) {
                    Ok(Ok(())) => share.count("replays on ext4", 1),
                    Ok(Err(what)) => share.fail(what, format!("writer={seed} moment={moment} subset={subset}")),
                    Err(because) => return share.skip(because),
                }
            }
        }
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        if let Some(seed) = line.strip_prefix("device=").and_then(|seed| seed.parse().ok()) {
            let programs = is_possible().and_then(|()| Programs::build())?;
            let share = Share::new(None, 1);
            failing(&programs, seed, &share)?;
            return share.outcome_now().failures.first().map_or(Ok(()), |failure| Err(failure.what.clone()));
        }
        let number = |word: &str, name| word.strip_prefix(name).and_then(|number| number.parse::<u64>().ok());
        let numbers: Vec<u64> = ["writer=", "moment=", "subset="]
            .iter()
            .filter_map(|name| line.split(' ').find_map(|word| number(word, *name)))
            .collect();
        let [writer, moment, subset] = numbers[..] else {
            return Err("a line is `writer=N moment=N subset=N`".to_owned());
        };
        let programs = is_possible().and_then(|()| Programs::build())?;
        // The background does not write at the same moments each time: the moments beside it too.
        let recording = Recording::of_writer(&programs, writer, BATCHES)?;
        let moments = (moment as usize).saturating_sub(2)..(moment as usize + 3).min(recording.moments());
        moments.into_iter().try_for_each(|moment| recording.replay(&programs, moment, subset)?)
    }
}

/// A device that fails for a moment, another that dies under a reader, two that fail the syncs of a whole writer.
fn failing(programs: &Programs, seed: u64, share: &Share) -> Result<(), String> {
    let line = || format!("device={seed}");
    match device::rewritten()? {
        Ok(()) => share.count("failed devices", 1),
        Err(what) => share.fail(what, line()),
    }
    match device::device_dies(programs, seed, device::READERS[seed as usize % 2])? {
        Ok(()) => share.count("readers whose device died", 1),
        Err(what) => share.fail(what, line()),
    }
    for failing in Failing::ALL {
        match writer_meets(programs, seed, failing)? {
            Ok(synced) => {
                share.count("writers whose device failed", 1);
                share.count("their Synced receipts, found", synced);
            }
            Err(what) => share.fail(what, line()),
        }
    }
    Ok(())
}
