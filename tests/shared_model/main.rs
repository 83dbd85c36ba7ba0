//! Do the steps of several processes that append to one log keep what is promised, in whatever order they come?
//!
//! What runs here is no code of the engine but the protocol of shared writers: the locks TURN, SYNC and PRESENCE, the catching up,
//! the mark before a roll, the control page, syncs, their failures and their successors. `protocol.rs`, `opening.rs` and
//! `syncing.rs` have its steps, `claims.rs` what must hold behind each of them, `state.rs` what there is, `checker.rs` tries all
//! orders. A violation is shown as the steps that led to it.
//!
//! The bounds are small: what goes wrong with two or three processes, an event or two each, one roll and one of each
//! fault, is found; what needs more is not. `TREERING_MODEL_BUDGET=1` asks for wider ones, which take minutes.
//!
//! Each rule of the protocol that a claim rests on can be left out (`Mistake`), and a test for each shows that the checker then
//! finds a violation.

use std::time::Instant;

mod checker;
mod claims;
mod opening;
mod protocol;
mod state;
mod syncing;

use checker::{ENDLESS, Explored, STUCK, Violation, explore};
use claims::{BY_KILL, BY_POWER, IN_POISON, INVENTED, POSITION, REVISION, UNTRUE};
use protocol::{Errors, Mistake, Shared};
use state::Budget;

const KERNELS: [Errors; 3] = [Errors::EachDescriptor, Errors::EachDescriptorOfThen, Errors::FirstWhoSyncs];

const NO_FAULTS: Budget = Budget { rolls: 0, deaths: 0, failures: 0, vanishings: 0, losses: 0 };
const ONE_OF_EACH: Budget = Budget { rolls: 1, deaths: 1, failures: 1, vanishings: 1, losses: 0 };

/// Tries all orders; they must keep every claim.
#[track_caller]
fn holds(events: [u8; 3], budget: Budget, errors: Errors) {
    let begun = Instant::now();
    match explore(&Shared { events, budget, errors, mistake: None }) {
        Ok(Explored { states, steps, depth }) => {
            let time = begun.elapsed();
            println!("{events:?} {budget:?} {errors:?}: {states} states, {steps} steps, {depth} deep, in {time:.1?}");
        }
        Err(Violation { claim, trace, .. }) => panic!("{claim}:\n{}\n", trace.join("\n")),
    }
}

fn is_wide() -> bool {
    std::env::var_os("TREERING_MODEL_BUDGET").is_some()
}

#[test]
fn p12_two_shared_writers_append_as_if_one_after_another_in_every_order_of_steps() {
    holds([2, 2, 0], Budget { rolls: 1, ..NO_FAULTS }, Errors::EachDescriptor);
    holds([2, 1, 0], Budget { rolls: 1, deaths: 1, ..NO_FAULTS }, Errors::EachDescriptor);
    if is_wide() {
        holds([2, 2, 0], Budget { rolls: 2, deaths: 1, ..NO_FAULTS }, Errors::EachDescriptor);
        holds([2, 2, 0], Budget { vanishings: 0, ..ONE_OF_EACH }, Errors::EachDescriptor);
    }
}

#[test]
fn p12_three_shared_writers_append_as_if_one_after_another_in_every_order_of_steps() {
    holds([1, 1, 1], Budget { rolls: 1, deaths: 1, ..NO_FAULTS }, Errors::EachDescriptor);
    if is_wide() {
        holds([2, 1, 1], Budget { rolls: 1, deaths: 1, ..NO_FAULTS }, Errors::EachDescriptor);
        holds([1, 1, 1], Budget { rolls: 2, deaths: 2, ..NO_FAULTS }, Errors::EachDescriptor);
    }
}

#[test]
fn p01_shared_writers_that_are_killed_in_any_step_lose_nothing_and_hold_up_nobody() {
    holds([1, 1, 1], Budget { deaths: 2, ..NO_FAULTS }, Errors::EachDescriptor);
    holds([1, 1, 0], Budget { rolls: 2, deaths: 3, ..NO_FAULTS }, Errors::EachDescriptor);
}

#[test]
fn p06_syncs_that_fail_under_shared_writers_have_nobody_acknowledge_what_is_not_on_the_device() {
    for errors in KERNELS {
        holds([1, 1, 0], Budget { rolls: 1, deaths: 1, failures: 2, vanishings: 0, losses: 0 }, errors);
        holds([1, 1, 1], Budget { rolls: 0, deaths: 1, failures: 1, vanishings: 0, losses: 0 }, errors);
        if is_wide() {
            holds([2, 1, 0], Budget { rolls: 1, deaths: 1, failures: 2, vanishings: 0, losses: 0 }, errors);
            holds([1, 1, 1], Budget { rolls: 1, deaths: 1, failures: 2, vanishings: 0, losses: 0 }, errors);
        }
    }
}

#[test]
fn p04_no_position_is_given_twice_by_shared_writers_whose_cache_lost_what_it_could_not_write() {
    for errors in KERNELS {
        holds([1, 1, 0], Budget { rolls: 1, deaths: 1, failures: 1, vanishings: 0, losses: 1 }, errors);
        holds([1, 1, 1], Budget { rolls: 0, deaths: 1, failures: 1, vanishings: 0, losses: 1 }, errors);
    }
}

#[test]
fn p11_the_control_page_may_vanish_under_shared_writers_in_any_order_of_steps() {
    for errors in KERNELS {
        holds([1, 1, 0], Budget { rolls: 1, deaths: 1, failures: 1, vanishings: 2, losses: 0 }, errors);
        if is_wide() {
            holds([1, 1, 1], ONE_OF_EACH, errors);
            holds([2, 1, 0], Budget { failures: 2, ..ONE_OF_EACH }, errors);
        }
    }
    holds([1, 1, 1], Budget { rolls: 0, ..ONE_OF_EACH }, Errors::EachDescriptor);
}

/// Tries all orders with a mistake planted; the claim must be found broken.
#[track_caller]
fn breaks(mistake: Mistake, claim: &str, events: [u8; 3], budget: Budget, errors: Errors) {
    let begun = Instant::now();
    match explore(&Shared { events, budget, errors, mistake: Some(mistake) }) {
        Ok(all) => panic!("{mistake:?} was not found: {all:?}"),
        Err(found) => {
            let steps = found.trace.len() - 1;
            let (states, time) = (found.states, begun.elapsed());
            println!("{mistake:?}: {} by {steps} steps, among {states} states in {time:.1?}:", found.claim);
            println!("{}", found.trace.join("\n"));
            assert_eq!(found.claim, claim);
        }
    }
}

/// Tries all orders with a mistake planted; no claim is broken. A rule that rests on this is there for other kernels.
#[track_caller]
fn does_no_harm(mistake: Mistake, events: [u8; 3], budget: Budget, errors: Errors) {
    let found = explore(&Shared { events, budget, errors, mistake: Some(mistake) });
    assert!(found.is_ok(), "{mistake:?} does harm: {found:?}");
}

#[test]
fn a_roll_without_a_mark_is_found() {
    breaks(Mistake::RollWithoutMark, BY_KILL, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

/// A process that has an older page, since that one was deleted, knows nothing of the poison, and looks for no segment.
#[test]
fn a_roll_of_a_poisoned_store_without_a_mark_is_found() {
    let mistake = Mistake::RollOfAPoisonedStoreWithoutMark;
    breaks(mistake, BY_KILL, [1, 1, 1], Budget { rolls: 0, ..ONE_OF_EACH }, Errors::EachDescriptor);
}

#[test]
fn a_roll_that_takes_sync_inside_the_turn_is_found() {
    breaks(Mistake::RollSyncsUnderTheTurn, STUCK, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn a_torn_tail_that_is_passed_is_found() {
    breaks(Mistake::TornTailIsPassed, BY_KILL, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn a_torn_tail_that_is_cleared_and_not_synced_is_found() {
    breaks(Mistake::ClearedTailIsNotSynced, INVENTED, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

/// Who dies between clearing and syncing leaves zeros: nobody knows that something has to be synced.
#[test]
fn a_torn_tail_that_is_cleared_with_its_header_is_found() {
    let budget = Budget { deaths: 2, ..ONE_OF_EACH };
    breaks(Mistake::TailIsClearedAtOnce, INVENTED, [1, 1, 0], budget, Errors::EachDescriptor);
}

/// The descriptor is told once; the part that syncs was told, and has not poisoned the page yet.
#[test]
fn a_torn_tail_that_is_cleared_beside_the_own_sync_is_found() {
    let budget = Budget { rolls: 0, vanishings: 0, ..ONE_OF_EACH };
    breaks(Mistake::ClearedTailIsSyncedBesideTheOwnSync, INVENTED, [2, 1, 0], budget, Errors::EachDescriptor);
}

/// Who joins without a page knows no takeover but those of the log.
#[test]
fn a_higher_takeover_that_is_not_taken_on_is_found() {
    breaks(Mistake::HigherTakeoverIsNotTakenOn, BY_KILL, [1, 2, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn frames_that_the_cache_lost_and_nobody_missed_are_found() {
    let budget = Budget { vanishings: 0, losses: 1, ..ONE_OF_EACH };
    breaks(Mistake::MissingFramesAreNotNoticed, POSITION, [1, 1, 0], budget, Errors::EachDescriptor);
}

#[test]
fn an_expectation_that_is_checked_before_the_turn_is_found() {
    breaks(Mistake::ExpectationIsCheckedBeforeTheTurn, REVISION, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn a_joiner_that_does_not_catch_up_is_found() {
    breaks(Mistake::JoinerDoesNotCatchUp, BY_KILL, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

/// Where every descriptor is told of every error, those that were open then are told too, and those that are opened later
/// write again what was there. The mark is for systems that tell of an error once.
#[test]
fn a_sync_in_flight_that_is_ignored_is_found_where_errors_are_told_once() {
    breaks(Mistake::InFlightIsIgnored, BY_POWER, [1, 1, 0], ONE_OF_EACH, Errors::FirstWhoSyncs);
    does_no_harm(Mistake::InFlightIsIgnored, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
    does_no_harm(Mistake::InFlightIsIgnored, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptorOfThen);
}

#[test]
fn a_fresh_descriptor_that_vouches_for_what_was_there_is_found() {
    for errors in KERNELS {
        breaks(Mistake::FreshDescriptorVouches, BY_POWER, [1, 1, 0], ONE_OF_EACH, errors);
    }
}

#[test]
fn appends_that_do_not_look_for_poison_are_found() {
    breaks(Mistake::PoisonIsNotCheckedByAppends, IN_POISON, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn syncs_that_do_not_look_for_poison_are_found() {
    breaks(Mistake::PoisonIsNotCheckedBySyncs, IN_POISON, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn a_sync_that_is_tried_again_after_it_failed_is_found() {
    breaks(Mistake::FailedSyncIsTriedAgain, BY_POWER, [1, 0, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn a_durable_end_that_is_read_after_the_sync_is_found() {
    let mistake = Mistake::DurableIsWhatWasCommittedAfterTheSync;
    breaks(mistake, UNTRUE, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn a_sync_of_the_newest_segment_alone_is_found() {
    breaks(Mistake::OnlyTheNewestSegmentIsSynced, BY_POWER, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn a_rewrite_beside_an_append_is_found() {
    breaks(Mistake::RewriteWithoutTheTurn, BY_KILL, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn a_sync_that_leaves_out_a_segment_it_has_not_open_is_found() {
    let mistake = Mistake::SegmentsThatAreNotOpenAreLeftOut;
    breaks(mistake, UNTRUE, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn a_recovery_that_syncs_and_does_not_write_again_is_found() {
    for errors in KERNELS {
        breaks(Mistake::RecoveryOnlySyncs, UNTRUE, [1, 1, 0], ONE_OF_EACH, errors);
    }
}

#[test]
fn a_new_page_that_calls_all_durable_is_found() {
    breaks(Mistake::NewPageCallsAllDurable, UNTRUE, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn a_new_page_that_is_not_noticed_is_found_where_errors_are_told_once() {
    breaks(Mistake::NewPageIsNotNoticed, BY_POWER, [1, 1, 0], ONE_OF_EACH, Errors::FirstWhoSyncs);
    does_no_harm(Mistake::NewPageIsNotNoticed, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn a_new_page_that_is_trusted_is_found_where_errors_are_told_once() {
    let budget = Budget { rolls: 0, ..ONE_OF_EACH };
    breaks(Mistake::NewPageIsTrusted, BY_POWER, [1, 1, 1], budget, Errors::FirstWhoSyncs);
    does_no_harm(Mistake::NewPageIsTrusted, [1, 1, 0], budget, Errors::EachDescriptor);
}

/// A sync that goes as far as the page says would never reach a frame that was appended by who still had the old page.
#[test]
fn a_new_page_that_is_not_told_how_far_the_log_reaches_is_found() {
    breaks(Mistake::NewPageIsNotToldTheTail, ENDLESS, [1, 1, 0], ONE_OF_EACH, Errors::EachDescriptor);
}

#[test]
fn a_missing_page_that_is_not_noticed_is_found_where_errors_are_told_once() {
    let budget = Budget { vanishings: 2, ..ONE_OF_EACH };
    breaks(Mistake::MissingPageIsNotNoticed, BY_POWER, [1, 1, 0], budget, Errors::FirstWhoSyncs);
    does_no_harm(Mistake::MissingPageIsNotNoticed, [1, 1, 0], budget, Errors::EachDescriptor);
}
