//! Workloads in which streams are forked: beside batches, over rolls and index blocks, and in several lives.

use treering::Durability::{Synced, Written};
use treering::ErrorKind;

use super::Run;

/// Forks of every level between batches: of what is durable and of what is not yet, of forks, with own events and without.
pub(super) fn forks(run: &mut Run) {
    run.open();
    run.append("a", 40, Synced);
    run.append("a", 300, Written);
    run.fork("a", 1, "b", Written);
    run.append("b", 60, Written);
    run.append("a", 20, Written);
    run.fork("b", 2, "c", Synced);
    run.fork("c", 0, "d", Written);
    let plan = run.plan(&[("a", &[10, 20]), ("c", &[400]), ("d", &[5])], Written);
    run.try_append(plan).expect("the append succeeds");
    // A name that there is cannot be taken, and nothing is written for it.
    let len = run.machine().trace_len();
    let taken = run.fork_plan_named("a", 0, "b", Written).append(run.store()).map_err(|error| error.kind());
    assert_eq!(taken.err(), Some(ErrorKind::Conflict), "P12: the name is taken");
    assert_eq!(run.machine().trace_len(), len, "P12: a refused fork wrote");
    run.append("d", 30, Synced);
    run.fork("d", 2, "e", Written);
}

/// Forks before and behind rolls, named by index blocks, of streams whose newest section lies segments back.
pub(super) fn forks_across_segments(run: &mut Run) {
    run.open();
    run.append("a", 100, Written);
    run.fork("a", 0, "b", Written);
    for number in 0..3 {
        run.append("a", 2500, if number == 1 { Synced } else { Written });
        run.fork(["a", "b", "fork 0"][number], 0, &format!("fork {number}"), Written);
    }
    run.append("b", 4000, Written); // rolls: its fork lies in the segment that is left
    run.fork("b", 1, "c", Synced);
    run.append("fork 1", 4000, Written);
    run.sync();
    run.rest(); // sealed, and indexed
    run.append("c", 5000, Written);
    run.fork("c", 2, "d", Written);
    run.append("fork 2", 20, Written);
}

/// Forks that the next life goes on with: closed, killed, and tried again by their ids.
pub(super) fn forks_in_several_lives(run: &mut Run) {
    run.open();
    run.append("a", 60, Written);
    run.append("a", 60, Written);
    let first = run.fork_plan_named("a", 1, "b", Written);
    run.try_append(first.clone()).expect("the fork succeeds");
    run.kill();
    run.open();
    run.try_append(first.clone()).expect("a retry succeeds");
    run.append("b", 90, Written);
    let second = run.fork_plan_named("b", 2, "c", Synced);
    run.try_append(second.clone()).expect("the fork succeeds");
    run.close();
    run.open();
    run.try_append(second).expect("a retry succeeds");
    run.append("c", 6000, Written);
    run.fork("c", 3, "d", Written);
    run.kill();
    run.open();
    run.append("d", 200, Synced);
    run.try_append(first).expect("a retry succeeds");
    run.append("c", 10, Written);
}
