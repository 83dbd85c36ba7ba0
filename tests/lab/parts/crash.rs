//! Crash states: what every crash that the simulation knows leaves of every workload, opened by the real engine.

use std::sync::atomic::{AtomicU64, Ordering};

use treering_tests::lab::{Part, Share};
use treering_tests::sim::SimStorage;
use treering_tests::sim::lab::{Budget, Count, Profile, Record, explore};
use treering_tests::sim::random::walk;
use treering_tests::sim::workloads;

const PROFILES: [Profile; 4] = [Profile::Power, Profile::Killed, Profile::Hostile, Profile::Lying];
/// The figure of a full run: so many walks beside all that is written by hand.
const WALKS: u64 = 100_000;

pub(crate) struct CrashStates;

impl Part for CrashStates {
    fn name(&self) -> &'static str {
        "crash-states"
    }

    fn about(&self) -> &'static str {
        "what crashes leave of workloads, opened, checked, continued"
    }

    fn weight(&self) -> u32 {
        40
    }

    fn run(&self, share: &Share) {
        let budget = Budget { deep_one_in: 20, ..Budget::of_environment(400) };
        for profile in PROFILES {
            for workload in workloads::ALL {
                if share.is_over() {
                    return;
                }
                share.say(format!("{profile:?} {}", workload.name));
                let record = Record::of_workload(workload, None);
                match explore(&record, profile, budget, workload.name) {
                    Ok(count) => counted(share, &count),
                    Err(broken) => share.fail(broken.what, broken.replay),
                }
            }
        }
        let next = AtomicU64::new(0);
        share.on_all(|_| {
            while !share.is_over() {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if share.is_full() && seed >= WALKS {
                    break;
                }
                if let Err(what) = walked(seed, share) {
                    share.fail(what, format!("seed={seed}"));
                }
            }
        });
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        if let Some(seed) = line.strip_prefix("seed=") {
            let seed = seed.parse().map_err(|_| "a walk is `seed=NUMBER`")?;
            return walked(seed, &Share::new(None, 1));
        }
        let workload = workloads::ALL.iter().find(|workload| line.starts_with(workload.name));
        let workload = workload.ok_or("a line begins with a workload or with `seed=`")?;
        let profile = PROFILES.into_iter().find(|profile| line.contains(&format!(" {profile:?} ")));
        let profile = profile.ok_or("a line names a profile after its workload")?;
        let record = Record::of_workload(workload, None);
        explore(&record, profile, Budget::of_environment(usize::MAX), workload.name)
            .map(drop)
            .map_err(|broken| broken.what)
    }
}

/// A walk that a seed draws, and what crashes leave of it.
fn walked(seed: u64, share: &Share) -> Result<(), String> {
    let machine = SimStorage::new(seed);
    let run = walk(&machine, seed, 25)?;
    let profiles = [Profile::Power, Profile::Hostile, Profile::Killed];
    // Where a failed sync took Written events along, a kill shows that they are gone.
    let profiles = &profiles[..if run.may_revert() { 2 } else { 3 }];
    let record = Record::of_run(&machine, run.finish());
    for profile in profiles {
        let count = explore(&record, *profile, Budget::of_environment(200), "a walk")
            .map_err(|broken| format!("{}\n{}", broken.what, broken.replay))?;
        counted(share, &count);
    }
    Ok(())
}

fn counted(share: &Share, count: &Count) {
    share.count("crash states", (count.opened + count.deep) as u64);
    share.count("inside recovery", count.deep as u64);
}
