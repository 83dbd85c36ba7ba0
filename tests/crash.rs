//! The crash laboratory: what every crash that the simulation knows leaves of every workload.
//!
//! How it works stands in `support/sim/`, how to run more of it and to see a failure again in `README.md` beside this file.
//! Each state is held against everything that is promised; the tests are named for the promise that their workloads are
//! made to break.

mod plants;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use treering::storage::{Access, LockKind, Storage, conformance};
use treering_tests::sim::SimStorage;
use treering_tests::sim::enumerate::{Base, Blank, Numbers, Width, hostile, image, power};
use treering_tests::sim::hashes::Hashes;
use treering_tests::sim::lab::{Budget, Count, Profile, Record, explore};
use treering_tests::sim::random::walk;
use treering_tests::sim::rot::{Copied, Rotten, copy, flip};
use treering_tests::sim::sweep::{sweep, sweep_opening};
use treering_tests::sim::workloads::{self, Workload};

const PREFIX: &[&str] = &[
    "singles",
    "written_then_synced",
    "rolls",
    "index_blocks_and_seals",
    "closed_and_opened",
    "jumbo",
    "prepared_segments",
    "seals_in_several_lives",
];
const ATOMIC: &[&str] = &["batches_to_many_streams"];
const INVENTED: &[&str] = &["torn_and_rolled", "frames_behind_a_tear", "payloads_that_are_segments"];
const TWICE: &[&str] = &[
    "takeovers",
    "two_writers_end_at_the_same_byte",
    "a_second_writer",
    "retries_by_batch_id",
    "control_page_replaced",
    "watermark_of_another_history",
];
const FAIL_STOP: &[&str] = &["failed_sync_then_eviction", "reverted_sync", "late_error"];
const FORKED: &[&str] = &["forks", "forks_across_segments", "forks_in_several_lives"];
const BESIDE: &[&str] = &["snapshots", "snapshots_in_several_lives"];
const CLAIMED: &[&str] = &["claims", "claims_in_several_lives"];
const FULL: &[&str] = &["full_disk"];
const ACCEPTED: &[&str] = &["accepts_lost_frames", "accepts_a_lost_segment", "accepts_lost_names"];

fn named(names: &[&str]) -> impl Iterator<Item = &'static Workload> {
    let found: Vec<_> = workloads::ALL.iter().filter(|workload| names.contains(&workload.name)).collect();
    assert_eq!(found.len(), names.len(), "{names:?}");
    found.into_iter()
}

/// Explores workloads; panics at the first broken promise, with what it takes to see it again.
fn explore_all(workloads: impl Iterator<Item = &'static Workload>, profiles: &[Profile], budget: Budget) {
    let mut total = Count::default();
    let replay = std::env::var("TREERING_CRASH_REPLAY").ok();
    let is_meant = |workload: &&Workload| replay.as_ref().is_none_or(|line| line.starts_with(workload.name));
    for workload in workloads.filter(is_meant) {
        let record = Record::of_workload(workload, None);
        for profile in profiles {
            let count = explore(&record, *profile, budget, workload.name)
                .unwrap_or_else(|broken| panic!("{}\nTREERING_CRASH_REPLAY='{}'", broken.what, broken.replay));
            println!("{:>34} {profile:?}: {count:?}", workload.name);
            total += count;
        }
    }
    println!("{:>34} {profiles:?}: {total:?}", "all");
    assert!(total.opened > 0 || std::env::var_os("TREERING_CRASH_REPLAY").is_some());
}

#[test]
fn every_workload_is_in_one_test_of_a_promise() {
    let lists = [PREFIX, ATOMIC, INVENTED, TWICE, FAIL_STOP, FORKED, BESIDE, CLAIMED, FULL, ACCEPTED];
    let listed: BTreeSet<&str> = lists.concat().into_iter().collect();
    let all: BTreeSet<&str> = workloads::ALL.iter().map(|workload| workload.name).collect();
    assert_eq!((listed.len(), listed), (lists.concat().len(), all));
}

#[test]
fn p01_power_loss_leaves_a_prefix_with_all_that_was_synced() {
    explore_all(named(PREFIX), &[Profile::Power], Budget::of_environment(300));
}

#[test]
fn p01_what_a_killed_process_leaves_is_a_prefix_with_all_that_was_acknowledged() {
    explore_all(workloads::ALL.iter(), &[Profile::Killed], Budget::of_environment(120));
}

#[test]
fn p02_power_loss_never_splits_a_batch() {
    explore_all(named(ATOMIC), &[Profile::Power], Budget::of_environment(300));
}

#[test]
fn p03_power_loss_brings_no_frame_back_from_behind_a_tear() {
    explore_all(named(INVENTED), &[Profile::Power], Budget::of_environment(300));
}

#[test]
fn p03_power_loss_on_a_hostile_disk_invents_nothing() {
    explore_all(workloads::ALL.iter(), &[Profile::Hostile], Budget::of_environment(150));
}

#[test]
fn p03_a_disk_that_lies_about_syncs_invents_nothing() {
    explore_all(workloads::ALL.iter(), &[Profile::Lying], Budget::of_environment(150));
}

#[test]
fn p03_a_disk_that_takes_along_what_is_beside_a_write_invents_nothing() {
    explore_all(workloads::ALL.iter(), &[Profile::Beside], Budget::of_environment(150));
}

/// Where an open frame states an end that is lost, the index block that it names is lost too: readers skipped events that
/// a writer found, in one of these states.
#[test]
fn p08_a_reader_finds_behind_damage_what_a_writer_finds() {
    let width = Width { exhaustive: 12, pairs: 2000, random: 256, moments_one_in: 1 };
    let budget = Budget { states: 2857, deep_one_in: 0, deep_states: 0, width, is_second: false };
    explore_all(named(&["index_blocks_and_seals"]), &[Profile::Lying], budget);
}

#[test]
fn p04_power_loss_has_no_place_given_twice() {
    explore_all(named(TWICE), &[Profile::Power], Budget::of_environment(300));
}

#[test]
fn p06_what_a_failed_sync_left_is_synced_anew_or_not_called_durable() {
    explore_all(named(FAIL_STOP), &[Profile::Power], Budget::of_environment(300));
}

#[test]
fn p05_an_accept_that_a_crash_cuts_off_is_whole_or_nothing() {
    explore_all(named(ACCEPTED), &[Profile::Power, Profile::Killed, Profile::Hostile], Budget::of_environment(300));
}

#[test]
fn p08_a_crash_during_recovery_loses_nothing_more() {
    let budget = Budget { deep_one_in: 1, ..Budget::of_environment(40) };
    explore_all(workloads::ALL.iter(), &[Profile::Power], budget);
}

#[test]
fn p16_power_loss_leaves_each_fork_whole_or_not_at_all() {
    explore_all(named(FORKED), &[Profile::Power], Budget::of_environment(300));
}

#[test]
fn p16_a_crash_leaves_each_snapshot_whole_and_bound_or_not_at_all() {
    explore_all(named(BESIDE), &[Profile::Power, Profile::Killed], Budget::of_environment(300));
}

#[test]
fn p14_of_the_claims_that_a_crash_leaves_the_newest_one_counts() {
    explore_all(named(CLAIMED), &[Profile::Power, Profile::Killed], Budget::of_environment(300));
}

#[test]
fn p09_power_loss_on_a_full_disk_keeps_all_that_was_acknowledged() {
    explore_all(named(FULL), &[Profile::Power], Budget::of_environment(300));
}

#[test]
fn the_simulation_keeps_what_every_storage_promises() {
    for (promise, check) in conformance::ALL {
        let kept = catch_unwind(AssertUnwindSafe(|| check(&SimStorage::new(3))));
        assert!(kept.is_ok(), "{promise}");
    }
    assert!(conformance::ALL.len() > 15);
}

#[test]
fn a_simulated_process_that_is_killed_holds_nothing() {
    let sim = SimStorage::new(3);
    let (dead, alive) = (sim.process(), sim.process());
    let file = dead.create("a", 0).unwrap();
    assert!(file.try_lock().unwrap() && file.try_lock_byte(7, LockKind::Exclusive).unwrap());
    let other = alive.open("a", Access::ReadWrite).unwrap();
    assert!(!other.try_lock().unwrap() && !other.try_lock_byte(7, LockKind::Shared).unwrap());
    dead.kill();
    assert!(other.try_lock().unwrap() && other.try_lock_byte(7, LockKind::Exclusive).unwrap());
    drop(file);
    assert!(!alive.open("a", Access::ReadWrite).unwrap().try_lock_byte(7, LockKind::Shared).unwrap());
}

/// States are told apart by hashes that are made without their images.
#[test]
fn what_a_state_hashes_to_is_what_its_image_hashes_to() {
    let width = Width { exhaustive: 6, pairs: 20, random: 8, moments_one_in: 3 };
    let mut compared = 0;
    for workload in workloads::ALL {
        let record = Record::of_workload(workload, None);
        let mut disk = record.start().clone();
        for call in record.trace() {
            disk.apply(call);
            let (base, mut hashes, mut numbers) = (Base::new(&disk), Hashes::new(&disk), Numbers(1));
            let mut choices = power(&disk, width, &mut numbers);
            // Blocks that show what was never written to them have to be looked at.
            choices.extend(hostile(&disk, width, &mut numbers).into_iter().filter(|one| one.blank == Blank::Zeros));
            for choice in choices {
                let hash = image(&disk, &base, &choice).hash();
                assert_eq!(hashes.of(&choice), Some(hash), "{} at {}: {choice:?}", workload.name, disk.calls);
                compared += 1;
            }
        }
    }
    assert!(compared > 10_000, "{compared}");
}

/// What the trace says is in the cache is what readers are shown, after every workload.
#[test]
fn the_pictures_of_the_simulation_are_what_is_read() {
    for workload in workloads::ALL {
        let storage = SimStorage::new(11);
        let mut run = workloads::Run::new(&storage);
        (workload.run)(&mut run);
        let _account = run.finish();
        let disk = storage.disk();
        let entries = treering::storage::Storage::list(&storage).unwrap();
        assert_eq!(entries.len(), disk.names.len(), "{}", workload.name);
        for entry in entries {
            let file =
                treering::storage::Storage::open(&storage, &entry.name, treering::storage::Access::Read).unwrap();
            let mut bytes = vec![0; entry.len as usize];
            assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
            let picture = treering_tests::sim::image::bytes_of(&disk.cache[&disk.names[&entry.name]]);
            assert!(picture == bytes, "{}: {}", workload.name, entry.name);
        }
    }
}

#[test]
fn p06_every_call_that_fails_in_every_way_leaves_all_that_was_acknowledged() {
    let (step, states) = if std::env::var_os("TREERING_CRASH_BUDGET").is_some() { (1, 30) } else { (2, 3) };
    let swept = sweep(0, step, states).unwrap_or_else(|what| panic!("{what}"));
    println!("{swept:?}");
    assert!(swept.refused > 20 && swept.poisoned > 20 && swept.unopened > 20 && swept.states > swept.runs, "{swept:?}");
}

#[test]
fn p08_every_call_of_opening_that_fails_in_every_way_leaves_all_that_was_there() {
    let images = if std::env::var_os("TREERING_CRASH_BUDGET").is_some() { 60 } else { 2 };
    for workload in named(INVENTED).chain(named(FULL)) {
        let swept = sweep_opening(workload, images, 2).unwrap_or_else(|what| panic!("{what}"));
        println!("{:>34} {swept:?}", workload.name);
        assert!(swept.unopened > 20 && swept.states > 20, "{swept:?}");
    }
}

#[test]
fn p01_walks_that_a_seed_draws_survive_every_crash() {
    let width = Width { exhaustive: 5, pairs: 10, random: 8, moments_one_in: 9 };
    let is_large = std::env::var_os("TREERING_CRASH_BUDGET").is_some();
    let mut total = Count::default();
    for seed in 0..if is_large { 1000 } else { 6 } {
        let machine = SimStorage::new(seed);
        let run = walk(&machine, seed, 25).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        // Where a failed sync took Written events along, a kill shows that they are gone.
        let profiles = [Profile::Power, Profile::Hostile, Profile::Killed];
        let profiles = &profiles[..if run.may_revert() { 2 } else { 3 }];
        let record = Record::of_run(&machine, run.finish());
        for profile in profiles {
            let budget = Budget { width, ..Budget::of_environment(40) };
            total += explore(&record, *profile, budget, "a walk")
                .unwrap_or_else(|broken| panic!("seed {seed}: {}\n{}", broken.what, broken.replay));
        }
    }
    println!("{total:?}");
    assert!(total.opened > 300, "{total:?}");
}

#[test]
fn p05_a_flipped_byte_is_told_of_and_no_revision_behind_it_is_given_twice() {
    let stride = if std::env::var_os("TREERING_CRASH_BUDGET").is_some() { 1 } else { 97 };
    let mut total = Rotten::default();
    for workload in workloads::sound() {
        let rotten =
            flip(&Record::of_closed(workload), stride, 0).unwrap_or_else(|what| panic!("{}: {what}", workload.name));
        total.states += rotten.states;
        total.losing += rotten.losing;
        total.refused += rotten.refused;
        total.appended += rotten.appended;
    }
    println!("{total:?}");
    assert!(total.losing > 300 && total.refused > 10 && total.appended > 300, "{total:?}");
}

#[test]
fn p17_a_copy_of_files_of_different_moments_is_a_prefix_and_no_damage() {
    // Enough that of some copies two segments at the end are missing: only the first was said not to be copied once.
    let copies = if std::env::var_os("TREERING_CRASH_BUDGET").is_some() { 20_000 } else { 600 };
    let mut total = Copied::default();
    for workload in workloads::sound() {
        let record = Record::of_closed(workload);
        let copied = copy(&record, copies).unwrap_or_else(|what| panic!("{}: {what}", workload.name));
        total.copies += copied.copies;
        total.incomplete += copied.incomplete;
        total.written += copied.written;
    }
    println!("{total:?}");
    assert!(total.incomplete > 2 && total.written > 300, "{total:?}");
}
