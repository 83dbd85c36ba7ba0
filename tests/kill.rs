//! `kill -9` of a real process, again and again, beside an account of what it had acknowledged.
//!
//! What is done stands in `support/torture/`; the laboratory does more of it.

use treering_tests::torture::blocks::{self, Recording};
use treering_tests::torture::calls::{self, Ending};
use treering_tests::torture::crowd;
use treering_tests::torture::device;
use treering_tests::torture::failing::{Failing, writer_meets};
use treering_tests::torture::kills::{Count, Place, Torture, torture};
use treering_tests::torture::programs::Programs;
use treering_tests::torture::scarce::{self, Ended};

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

/// Eight that write together, four that follow; the laboratory does more.
#[test]
fn p14_processes_that_write_together_are_killed_and_stopped_and_the_others_go_on() {
    let (_folder, place) = place();
    let mut count = crowd::Count::default();
    let done = crowd::torture(&programs(), &place, 14, 40, &mut count, &|| false);
    println!("{count:?}");
    done.unwrap();
    assert!(count.kills > 8 && count.stops > 8 && count.receipts > 500 && count.synced > 8, "{count:?}");
    assert!(count.conflicts > 0 && count.checks > 2 && count.followed > 0, "{count:?}");
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
    let recording = Recording::of_writer(&programs, 5, 60).unwrap_or_else(|what| panic!("{what}"));
    assert!(recording.moments() > 60, "{}", recording.moments());
    for (number, moment) in (0..recording.moments()).step_by(recording.moments() / 12).enumerate() {
        for subset in [0, number as u64 + 1] {
            let replayed = recording.replay(&programs, moment, subset);
            let replayed = replayed.unwrap_or_else(|what| panic!("no image can be made and mounted: {what}"));
            replayed.unwrap_or_else(|what| panic!("moment {moment}, subset {subset}: {what}"));
        }
    }
}

/// The device below a real ext4 fails for a moment: what was allocated ahead, written, and not synced is written once more.
#[test]
fn p06_bytes_that_a_failed_sync_left_are_on_the_device_when_they_were_written_once_more() {
    if let Err(because) = blocks::is_possible() {
        eprintln!("skipped: {because}");
        return;
    }
    device::rewritten().flatten().unwrap_or_else(|what| panic!("{what}"));
}

/// A whole writer, on a device that fails its syncs: poison, and nothing acknowledged any more; what was is there once the device works.
#[test]
fn p06_a_writer_whose_device_fails_its_syncs_stops_and_what_it_acknowledged_is_there() {
    if let Err(because) = blocks::is_possible() {
        eprintln!("skipped: {because}");
        return;
    }
    let programs = programs();
    for (seed, failing) in (1..).zip([Failing::Flushes, Failing::Writes, Failing::Writes, Failing::Flushes]) {
        let synced = writer_meets(&programs, seed, failing).flatten().unwrap_or_else(|what| panic!("{what}"));
        println!("{failing:?}: {synced} synced");
    }
}

/// The device is gone under the mappings of a reader.
#[test]
fn p07_a_device_that_dies_under_a_reader_is_an_error_and_no_signal() {
    if let Err(because) = blocks::is_possible() {
        eprintln!("skipped: {because}");
        return;
    }
    let programs = programs();
    for reader in device::READERS {
        device::device_dies(&programs, 4, reader).flatten().unwrap_or_else(|what| panic!("{what}"));
    }
}

/// Memory is refused at whatever allocation comes then: the process ends, with a word or without.
#[test]
fn p01_a_writer_that_is_refused_memory_leaves_all_that_it_acknowledged() {
    let programs = programs();
    let mut endings = Vec::new();
    for step in 0..14u64 {
        let kib = 4_000 + step * step * 2_500;
        let ended = scarce::of_memory(&programs, kib, step).unwrap_or_else(|because| panic!("{because}"));
        endings.push(ended.unwrap_or_else(|what| panic!("{what}")));
    }
    assert!(endings.contains(&Ended::Well) && endings.iter().any(|ended| *ended != Ended::Well), "{endings:?}");
}

/// File systems of several sizes, really full; the laboratory does more.
#[test]
fn p09_what_a_full_file_system_took_is_read_and_it_goes_on_once_there_is_room() {
    if let Err(because) = blocks::is_possible() {
        eprintln!("skipped: {because}");
        return;
    }
    let programs = programs();
    for seed in 0..4 {
        let filled = scarce::of_space(&programs, seed).flatten().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        assert!(filled > 50, "seed {seed}: {filled}");
    }
}
