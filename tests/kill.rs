//! `kill -9` of a real process, again and again, beside an account of what it had acknowledged.
//!
//! What is done stands in `support/torture/`; the laboratory does more of it.

use treering_tests::torture::blocks::{self, Recording};
use treering_tests::torture::calls::{self, Ending};
use treering_tests::torture::kills::{Count, Place, Torture, torture};
use treering_tests::torture::programs::Programs;

fn programs() -> Programs {
    Programs {
        writer: env!("CARGO_BIN_EXE_torture-writer").into(),
        verifier: env!("CARGO_BIN_EXE_torture-verifier").into(),
    }
}

fn place() -> (tempfile::TempDir, Place) {
    let folder = tempfile::tempdir().unwrap();
    let place = Place { folder: folder.path().to_owned() };
    (folder, place)
}

/// All kinds of writers; four readers in processes of their own look on all the while.
#[test]
fn p01_every_receipt_printed_before_a_kill_is_found_again() {
    let (_folder, place) = place();
    let mut count = Count::default();
    let lives = Torture { seed: 11, lives: 30, kind: None, followers: 4 };
    torture(&programs(), &place, &lives, &mut count, &|| false).unwrap();
    assert!(count.kills > 15 && count.receipts > 100 && count.followed > 0, "{count:?}");
    println!("{count:?}");
}

/// [REC-13] Killed outside of a sync, it goes on in its segment: no kill costs a file, and all that was Written is there.
#[test]
fn p01_a_store_whose_writer_is_killed_again_and_again_goes_on_in_one_segment() {
    let (_folder, place) = place();
    let mut count = Count::default();
    let lives = Torture { seed: 12, lives: 20, kind: Some("quiet"), followers: 1 };
    let epochs = torture(&programs(), &place, &lives, &mut count, &|| false).unwrap();
    if !place.store().join("control").exists() {
        eprintln!("this kernel or file system has no memory that outlives a process, so there is nothing to test");
        return;
    }
    assert!(epochs.len() > 5 && epochs.iter().all(|(segment, _)| *segment == epochs[0].0), "{epochs:?}");
    assert!(count.receipts > 100, "{count:?}");
}

/// A few of the calls; the laboratory does all of them.
#[test]
fn p08_a_writer_killed_at_a_call_to_the_system_is_succeeded() {
    if let Err(because) = calls::is_possible() {
        eprintln!("skipped: {because}");
        return;
    }
    let programs = programs();
    let all = calls::all(&programs).unwrap();
    assert!(all.len() > 100, "{} calls", all.len());
    println!("{} calls", all.len());
    let chosen = all.iter().step_by(all.len() / 25);
    let killed = chosen.filter(|call| {
        let ending = calls::kill_at(&programs, call).unwrap_or_else(|what| panic!("{call:?}: {what}"));
        ending == Ending::Killed
    });
    let killed = killed.count();
    assert!(killed > 10, "{killed}");
}

/// What ext4 makes of the block writes up to some moments, all of them and parts of those that no flush covers; the laboratory
/// does more.
#[test]
fn p01_power_loss_on_a_real_ext4_loses_nothing_that_was_synced() {
    if let Err(because) = blocks::is_possible() {
        eprintln!("skipped: {because}");
        return;
    }
    let programs = programs();
    let recording = match Recording::of_writer(&programs, 5, 60) {
        Ok(recording) => recording,
        // Root of a container may not mount.
        Err(because) if ["mount", "losetup", "exports nothing"].iter().any(|word| because.contains(word)) => {
            eprintln!("skipped: {because}");
            return;
        }
        Err(what) => panic!("{what}"),
    };
    assert!(recording.moments() > 60, "{}", recording.moments());
    for (number, moment) in (0..recording.moments()).step_by(recording.moments() / 12).enumerate() {
        for subset in [0, number as u64 + 1] {
            let replayed = recording.replay(&programs, moment, subset).expect("an image can be mounted");
            replayed.unwrap_or_else(|what| panic!("moment {moment}, subset {subset}: {what}"));
        }
    }
}
