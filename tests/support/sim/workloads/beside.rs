//! Workloads in which snapshots and cursors stand beside streams: between batches, over rolls, in several lives.

use treering::Durability::{Synced, Written};

use super::Run;

/// Snapshots and places of every level between batches, of a stream and of a fork, in a segment and over a roll.
pub(super) fn snapshots(run: &mut Run) {
    run.open();
    run.append("a", 40, Synced);
    run.append("a", 300, Written);
    run.snapshot("a", 2, &[60, 10], Written);
    run.append("a", 20, Written);
    run.cursor("a", 1, Written);
    run.fork("a", 1, "b", Written);
    run.append("b", 50, Written);
    run.snapshot("b", 3, &[30], Synced);
    run.cursor("b", 2, Synced);
    run.append("a", 6000, Written); // rolls
    run.snapshot("a", 4, &[400], Written);
    run.cursor("a", 3, Written);
    run.append("b", 30, Synced);
}

/// Snapshots and places that the next life goes on with: closed, killed, and in the background's hands.
pub(super) fn snapshots_in_several_lives(run: &mut Run) {
    run.open();
    run.append("a", 60, Written);
    run.append("a", 60, Written);
    run.snapshot("a", 1, &[80], Written);
    run.cursor("a", 0, Written);
    run.kill();
    run.open();
    run.append("a", 5000, Written);
    run.snapshot("a", 3, &[80, 80], Synced);
    run.rest();
    run.close();
    run.open();
    run.cursor("a", 2, Written);
    run.append("a", 10, Written);
    run.snapshot("a", 4, &[5], Written);
    run.kill();
    run.open();
    run.cursor("a", 3, Synced);
}
