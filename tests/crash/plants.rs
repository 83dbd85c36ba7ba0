//! The laboratory bites: with a promise of the storage broken on purpose, a state is found that breaks a promise of the
//! engine. What each of them stands for is said in `README.md` beside these files.

use std::panic::{AssertUnwindSafe, catch_unwind};

use treering_tests::sim::enumerate::Width;
use treering_tests::sim::lab::{Budget, Profile, Record, explore};
use treering_tests::sim::{Plant, workloads};

const BUDGET: Budget = Budget {
    states: 400,
    deep_states: 0,
    deep_one_in: 0,
    width: Width { exhaustive: 6, pairs: 20, random: 12, moments_one_in: 1 },
    is_second: false,
};

/// What is found with a bug planted: the first broken promise.
fn found_with(plant: Plant, profile: Profile, name: &str) -> Option<String> {
    let workload = workloads::ALL.iter().find(|workload| workload.name == name).unwrap();
    match catch_unwind(AssertUnwindSafe(|| Record::of_workload(workload, Some(plant)))) {
        Ok(record) => explore(&record, profile, BUDGET, name).err().map(|broken| broken.what),
        Err(_) => Some("the workload itself stops".into()),
    }
}

#[test]
fn what_is_planted_in_the_storage_is_found() {
    use Profile::{Killed, Power};
    let plants = [
        (Plant::NoSegmentSync, Power, "singles"),
        (Plant::NoPreparedSync, Power, "rolls"),
        (Plant::NoIdentitySync, Power, "singles"),
        (Plant::NoDirectorySync, Power, "singles"),
        (Plant::SyncReturnsEarly, Power, "rolls"),
        (Plant::SyncErrorsHidden, Power, "failed_sync_then_eviction"),
        (Plant::ShortWritesHidden, Killed, "singles"),
        (Plant::LocksAreFree, Killed, "a_second_writer"),
    ];
    let mut missed = Vec::new();
    for (plant, profile, workload) in plants {
        let start = std::time::Instant::now();
        match found_with(plant, profile, workload) {
            Some(what) => {
                let what: String = what.lines().next().unwrap_or_default().chars().take(160).collect();
                println!("{plant:?} in {workload}, {:.1?}: {what}", start.elapsed());
            }
            None => missed.push(plant),
        }
    }
    assert_eq!(missed, []);
}
