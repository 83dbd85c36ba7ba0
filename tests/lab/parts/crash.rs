//! Crash states: what every crash that the simulation knows leaves of every workload, opened by the real engine.
//!
//! First the workloads that are written by hand, each under every profile; then walks that a seed draws, until the time is
//! over. A state counts once, by the hash of the image that was opened, whichever workload and profile it came from; every
//! one was opened, checked, appended to, opened again and compared.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use treering_tests::lab::{Part, Share};
use treering_tests::sim::SimStorage;
use treering_tests::sim::enumerate::Width;
use treering_tests::sim::lab::{Broken, Budget, Orders, Profile, Record, explore_for};
use treering_tests::sim::random::walk;
use treering_tests::sim::workloads::{self, Workload};

const PROFILES: [Profile; 5] = [Profile::Power, Profile::Killed, Profile::Hostile, Profile::Lying, Profile::Beside];
/// The figure of a full run: so many walks beside all that is written by hand.
const WALKS: u64 = 20_000;
/// So many states a second are expected of a thread, to share the time between workloads and walks.
const STATES_A_SECOND: f64 = 7_000.0;
/// So many states of a walk are opened under each profile: to make them costs as much as to open two thousand.
const STATES_A_WALK: usize = 12_000;
/// Steps of a walk: from so many to nearly three times as many. Short ones leave small stores, which open fast.
const STEPS: usize = 9;

pub(crate) struct CrashStates;

impl Part for CrashStates {
    fn name(&self) -> &'static str {
        "crash-states"
    }

    fn about(&self) -> &'static str {
        "what crashes leave of workloads, opened, checked, continued"
    }

    fn weight(&self) -> u32 {
        216
    }

    fn run(&self, share: &Share) {
        let items: Vec<(&Workload, Profile)> =
            PROFILES.iter().flat_map(|profile| workloads::ALL.iter().map(|one| (one, *profile))).collect();
        // Half of what the time allows goes to what is written by hand.
        let by_hand = share.time().map_or(usize::MAX, |time| {
            let states = time.as_secs_f64() * share.threads() as f64 * STATES_A_SECOND / 2.0;
            (states as usize / items.len()).max(60)
        });
        // Who hunts goes over all of them quickly first.
        let rounds = if share.is_hunt() { &[QUICK, wide(by_hand)][..] } else { &[wide(by_hand)] };
        let all: Vec<_> = rounds.iter().flat_map(|budget| items.iter().map(move |item| (item, *budget))).collect();
        let (next, seed) = (AtomicUsize::new(0), AtomicU64::new(0));
        share.on_all(|_| {
            while !share.is_over()
                && let Some(((workload, profile), budget)) = all.get(next.fetch_add(1, Ordering::Relaxed))
            {
                share.say(format!("{profile:?} {}", workload.name));
                match recorded(workload) {
                    Ok(record) => explored(&record, *profile, *budget, workload.name, share),
                    Err(what) => share.fail(what, format!("{} {profile:?} ", workload.name)),
                }
            }
            while !share.is_over() {
                let seed = seed.fetch_add(1, Ordering::Relaxed);
                if share.is_full() && seed >= WALKS {
                    break;
                }
                share.say(format!("walk {seed}"));
                walked(seed, None, share);
            }
        });
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        // A walk that stops by itself has no state that its line could name.
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let share = Share::new(None, 1);
        if let Some(seed) = name.strip_prefix("seed=").and_then(|seed| seed.parse().ok()) {
            walked(seed, Some(line), &share);
        } else {
            let workload = workloads::ALL
                .iter()
                .find(|workload| workload.name == name)
                .ok_or("a line begins with a workload or with `seed=NUMBER`")?;
            let profile = PROFILES.into_iter().find(|profile| rest.starts_with(&format!("{profile:?} ")));
            let profile = profile.ok_or("a line names a profile after its workload")?;
            let orders =
                Orders { only: Some(line), threads: 1, is_over: &|| false, opened: &|_, _| (), is_known: &|_| false };
            // As wide as the run that found it: the seed of what is random depends on nothing else.
            let found = explore_for(&recorded(workload)?, profile, wide(usize::MAX), name, orders);
            return replayed(found.map(|count| count.opened));
        }
        match share.outcome_now().failures.first() {
            Some(failure) => Err(failure.what.clone()),
            None => replayed(Ok(share.counted("opened") as usize)),
        }
    }
}

/// What a workload does; an assertion of its own that fails is a violation too.
fn recorded(workload: &Workload) -> Result<Record, String> {
    catch_unwind(AssertUnwindSafe(|| Record::of_workload(workload, None))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        format!("the workload {} itself stops: {}", workload.name, text.unwrap_or("without words"))
    })
}

fn replayed(found: Result<usize, Broken>) -> Result<(), String> {
    match found {
        Ok(0) => Err("this state is not among those that are made now".into()),
        Ok(_) => Ok(()),
        Err(broken) => Err(broken.what),
    }
}

/// A look at a workload: as many states as the ordinary tests open of the larger ones.
pub(super) const QUICK: Budget = Budget {
    states: 400,
    deep_states: 20,
    deep_one_in: 40,
    width: Width { exhaustive: 7, pairs: 40, random: 24, moments_one_in: 1 },
    is_second: false,
};

/// All subsets of up to twelve pending units, and the sample of more; so many states are opened.
pub(super) fn wide(states: usize) -> Budget {
    let width = Width { exhaustive: 12, pairs: 2000, random: 256, moments_one_in: 1 };
    Budget { states, deep_states: 40, deep_one_in: 400, width, is_second: false }
}

/// A walk that a seed draws, and what crashes leave of it.
fn walked(seed: u64, only: Option<&str>, share: &Share) {
    let machine = SimStorage::new(seed);
    let name = format!("seed={seed}");
    let walked = catch_unwind(AssertUnwindSafe(|| walk(&machine, seed, STEPS + seed as usize % (2 * STEPS))));
    let run = match walked.unwrap_or_else(|_| Err("P7: a panic, whose words are above".into())) {
        Ok(run) => run,
        Err(what) => return share.fail(what, name),
    };
    let profiles = [Profile::Power, Profile::Hostile, Profile::Killed];
    // Where a failed sync took Written events along, a kill shows that they are gone.
    let profiles = &profiles[..if run.may_revert() { 2 } else { 3 }];
    let record = Record::of_run(&machine, run.finish());
    for profile in profiles {
        match only {
            None => explored(&record, *profile, wide(STATES_A_WALK), &name, share),
            Some(_) => {
                let orders = Orders { only, threads: 1, is_over: &|| false, opened: &|_, _| (), is_known: &|_| false };
                match explore_for(&record, *profile, wide(usize::MAX), &name, orders) {
                    Ok(count) => share.count("opened", count.opened as u64),
                    Err(broken) => share.fail(broken.what, broken.replay),
                }
            }
        }
    }
}

pub(super) fn explored(record: &Record, profile: Profile, budget: Budget, name: &str, share: &Share) {
    let (new, deep) = (AtomicU64::new(0), AtomicU64::new(0));
    let opened = |hash, is_second| {
        if SEEN.is_new(hash) {
            new.fetch_add(1, Ordering::Relaxed);
            deep.fetch_add(u64::from(is_second), Ordering::Relaxed);
        }
    };
    let is_known = |hash| SEEN.holds(hash);
    let orders = Orders { only: None, threads: 1, is_over: &|| share.is_over(), opened: &opened, is_known: &is_known };
    match explore_for(record, profile, budget, name, orders) {
        Ok(count) => share.count("openings of states", (count.opened + count.deep) as u64),
        Err(broken) => share.fail(broken.what, broken.replay),
    }
    share.count("distinct crash states", new.into_inner());
    share.count("of them inside recovery", deep.into_inner());
}

/// The images that were opened, by their hashes, whichever part opened them: each counts once.
static SEEN: Seen = Seen([const { Mutex::new(BTreeSet::new()) }; 64]);

struct Seen([Mutex<BTreeSet<u64>>; 64]);

impl Seen {
    fn of(&self, hash: u64) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0[(hash >> 58) as usize].lock().expect("no panic under the lock")
    }

    fn is_new(&self, hash: u64) -> bool {
        self.of(hash).insert(hash)
    }

    fn holds(&self, hash: u64) -> bool {
        self.of(hash).contains(&hash)
    }
}
