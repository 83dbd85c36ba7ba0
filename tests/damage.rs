//! Damage in whole stores: every bit, every block, every length and every file of stores made for this is changed in turn.
//!
//! Stores, faults and what is asked after each are shared with the laboratory (`support/damage`), which tries all faults; an
//! ordinary run tries some, spread evenly. `TREERING_DAMAGE_BUDGET` in the environment multiplies how many, and
//! `TREERING_DAMAGE_REPLAY` tries the one that a failure names.

use treering_tests::damage::{Budget, Class, Golden, Shape, sweep, sweep_with};

mod lost_segments;

/// What an ordinary run tries, times what the environment says.
fn budget(faults: u64, write_one_in: u64) -> Budget {
    let factor = std::env::var("TREERING_DAMAGE_BUDGET").ok().and_then(|factor| factor.parse().ok());
    Budget::of(faults.saturating_mul(factor.unwrap_or(1).max(1)), write_one_in)
}

/// Sweeps a class over a store, and tells how many were tried, and how fast.
fn check(shape: Shape, class: Class, budget: Budget, at_least: u64) {
    let tally = sweep(shape, class, budget);
    println!(
        "{shape} {class:?}: {} of {} tried, {} of them written behind, {:.0}/s",
        tally.tried,
        tally.of_all,
        tally.written,
        tally.rate()
    );
    tally.finish(at_least);
}

#[test]
fn p05_every_flipped_bit_of_a_full_segment_is_reported_and_costs_its_frame_at_most() {
    check(Shape::Full, Class::Flips, budget(30_000, 100), 30_000);
}

#[test]
fn p05_every_flipped_bit_of_segments_that_were_left_early_is_reported() {
    check(Shape::Left, Class::Flips, budget(30_000, 100), 30_000);
}

/// Segments of every kind in one store, the active one, whose end no index block covers, among them.
#[test]
fn p05_every_flipped_bit_of_the_active_segment_is_reported() {
    check(Shape::Every, Class::Flips, budget(10_000, 100), 10_000);
}

/// Above the witness the log may end at the bit that was flipped, and not before. Here no control page tells more.
#[test]
fn p05_a_flipped_bit_above_the_witness_takes_nothing_before_it() {
    check(Shape::Unwitnessed, Class::Flips, budget(10_000, 100), 10_000);
}

/// Behind a kill: the control page is among the files, and says where the log went on in its segment.
#[test]
fn p05_every_flipped_bit_of_what_a_kill_left_is_reported_or_above_the_witness() {
    check(Shape::Killed, Class::Flips, budget(20_000, 20), 20_000);
}

/// A jumbo segment is mostly the payload of one event.
#[test]
fn p05_flipped_bits_of_a_jumbo_segment_cost_its_one_event() {
    check(Shape::Jumbo, Class::Flips, budget(10_000, 100), 10_000);
}

/// Where the frame of a fork is lost, nothing but what it alone said is: its name and where it leaves its parent, unless an index
/// block says them too.
#[test]
fn p05_every_flipped_bit_of_a_store_with_forks_is_reported_and_costs_its_frame_at_most() {
    check(Shape::Forked, Class::Flips, budget(20_000, 50), 20_000);
}

#[test]
fn p05_lost_sectors_and_blocks_of_another_place_take_no_fork_but_those_that_they_hold() {
    check(Shape::Forked, Class::Blocks, budget(1_600, 2), 1_000);
}

/// [FRM-5]
#[test]
fn p03_blocks_of_another_place_store_or_time_are_never_taken_for_what_was_there() {
    for shape in [Shape::Full, Shape::Every] {
        check(shape, Class::Blocks, budget(800, 2), 500);
    }
}

#[test]
fn p05_lost_sectors_cost_the_frames_that_they_hold() {
    for shape in [Shape::Left, Shape::Jumbo] {
        check(shape, Class::Blocks, budget(800, 2), 500);
    }
}

#[test]
fn p03_lost_sectors_above_the_witness_end_the_log_and_invent_nothing() {
    for shape in [Shape::Killed, Shape::Unwitnessed] {
        check(shape, Class::Blocks, budget(800, 2), 500);
    }
}

#[test]
fn p05_no_file_is_cut_short_in_silence() {
    for shape in Shape::ALL {
        check(shape, Class::Cuts, budget(2_000, 20), 1_000);
    }
}

#[test]
fn p03_what_follows_the_end_of_a_file_means_nothing() {
    for shape in Shape::ALL {
        check(shape, Class::Tails, budget(300, 4), 300);
    }
}

/// [SEG-4] [SEG-5] Whole files of another store, another time, or another name; and files that are not there.
#[test]
fn p03_files_of_another_store_time_or_name_are_told_apart() {
    for shape in Shape::ALL {
        check(shape, Class::Files, Budget::all(1), 15);
    }
}

/// What the sweeps found once: a segment without a head that no witness covered kept writers out; of a stream that was read
/// backwards a second loss hid everything before the first; a control page and a tail that went bad together gave a place twice.
#[test]
fn p05_faults_that_once_cost_more_than_they_hit_do_no_more() {
    for line in [
        "unwitnessed length 4 2048 zero",
        "unwitnessed block 1 8192 512 swap 3 25088",
        "full missing 0 1",
        "killed block 0 14336 512 swap 1 512",
    ] {
        treering_tests::damage::replay(line).unwrap();
    }
}

/// One fault again: the line that a failure told.
#[test]
fn a_fault_that_the_environment_names_is_tried_again() {
    if let Ok(line) = std::env::var("TREERING_DAMAGE_REPLAY") {
        treering_tests::damage::replay(&line).unwrap();
    }
}

/// The sweep finds what an engine that reads around a bad frame in silence would do: here the truth is wrong, not the engine.
#[test]
fn a_sweep_that_expects_other_events_fails_and_says_how_to_do_it_again() {
    let mut golden = Golden::new(Shape::Full);
    let first = *golden.events.keys().next().unwrap();
    golden.events.get_mut(&first).unwrap().payload = "another".into();
    let tally = sweep_with(&golden, Class::Flips, Budget::of(40, 1));
    assert_eq!(tally.violations.len(), 16);
    assert!(tally.violations[0].to_string().contains("TREERING_DAMAGE_REPLAY='full flip "), "{}", tally.violations[0]);
}
