//! Several processes that write to one store and die in the middle of it, and every crash of all of them.
//!
//! A walk alone shows that those who live on notice nothing; then states that a crash may leave of it are opened, as in
//! [`crash`](super::crash).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use treering_tests::lab::{Part, Share};
use treering_tests::sim::SimStorage;
use treering_tests::sim::lab::{Orders, Profile, Record, explore_for};
use treering_tests::sim::several::walk;

use super::crash::{QUICK, explored, wide};

/// The figure of a full run.
const WALKS: u64 = 200_000;
/// Of so many walks one is looked at for what crashes leave of it …
const CRASHED_ONE_IN: u64 = 24;
/// … and of those in which a process died in a sync, which others then have to doubt. Who hunts looks at each of them.
const UNHEARD_ONE_IN: u64 = 4;
/// So many states of it are opened under each profile.
const STATES_A_WALK: usize = 600;
/// Steps of a walk: from so many to nearly three times as many.
const STEPS: usize = 25;

pub(crate) struct Several;

impl Part for Several {
    fn name(&self) -> &'static str {
        "several"
    }

    fn about(&self) -> &'static str {
        "processes that write together, die at any call, and crash"
    }

    fn weight(&self) -> u32 {
        12
    }

    fn run(&self, share: &Share) {
        let seed = AtomicU64::new(0);
        share.on_all(|_| {
            while !share.is_over() {
                let seed = seed.fetch_add(1, Ordering::Relaxed);
                if share.is_full() && seed >= WALKS {
                    break;
                }
                walked(seed, None, share);
            }
        });
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        let seed =
            line.split(' ').next().and_then(|name| name.strip_prefix("seed=")).and_then(|seed| seed.parse().ok());
        let share = Share::new(None, 1);
        walked(seed.ok_or("a line begins with `seed=NUMBER`")?, Some(line), &share);
        match share.outcome_now().failures.first() {
            Some(failure) => Err(failure.what.clone()),
            None => Ok(()),
        }
    }
}

fn walked(seed: u64, only: Option<&str>, share: &Share) {
    let machine = SimStorage::new(seed);
    let name = format!("seed={seed}");
    let walked = catch_unwind(AssertUnwindSafe(|| walk(&machine, seed, STEPS + seed as usize % (2 * STEPS))));
    let (account, did) = match walked.unwrap_or_else(|_| Err("P7: a panic, whose words are above".into())) {
        Ok(walked) => walked,
        Err(what) => return share.fail(what, name),
    };
    share.count("walks of several processes", 1);
    share.count("of them that died", did.deaths);
    share.count("syncs that failed for all", did.failures);
    share.count("syncs that a death cut off", did.unheard);
    let (one_in, budget) = match (share.is_hunt(), did.unheard > 0) {
        (true, true) => (1, QUICK),
        (true, false) => (CRASHED_ONE_IN, QUICK),
        (false, true) => (UNHEARD_ONE_IN, wide(STATES_A_WALK)),
        (false, false) => (CRASHED_ONE_IN, wide(STATES_A_WALK)),
    };
    if only.is_none() && !seed.is_multiple_of(one_in) {
        return;
    }
    let record = Record::of_run(&machine, account);
    for profile in [Profile::Power, Profile::Hostile, Profile::Killed] {
        match only {
            None => explored(&record, profile, budget, &name, share),
            Some(_) => {
                let orders = Orders { only, threads: 1, is_over: &|| false, opened: &|_, _| (), is_known: &|_| false };
                if let Err(broken) = explore_for(&record, profile, wide(usize::MAX), &name, orders) {
                    share.fail(broken.what, broken.replay);
                }
            }
        }
    }
}
