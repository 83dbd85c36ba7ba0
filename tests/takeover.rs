//! Taking over from a writer that was killed, by what the control page says: going on in place or rolling, and what is
//! written again before it is called durable.

use std::io;
use std::sync::Arc;

use treering::storage::mem::{Fault, MemStorage, Operation};
use treering::storage::{Access, Storage};
use treering::{
    Batch, BootId, Durability, ErrorKind, Event, Expected, NewEvent, ReadAllOptions, Receipt, Store, Visibility,
    maintain,
};
use treering_tests::image::Image;
use treering_tests::store::{alone, everything, log, noise, open, open_read_only, put, small, try_open, try_put};

/// What a process would leave that is killed now.
fn kill(storage: &MemStorage, store: Store) {
    storage.fail_after(0, io::ErrorKind::Other, true);
    drop(store);
    storage.clear_fault();
}

/// Kills the process in the middle of what must be a write, which keeps so many bytes.
fn kill_in_write(storage: &MemStorage, store: Store, keep: usize, payload: &[u8]) {
    let written = storage.written_bytes();
    storage.inject(Fault { after: 0, error: io::ErrorKind::Other, sticky: true, on: None, keep });
    let _ = try_put(&store, "s", payload, Durability::Written).expect_err("its write is cut off");
    assert!(keep == 0 || storage.written_bytes() > written, "the first call is the write");
    drop(store);
    storage.clear_fault();
}

fn segments(storage: &MemStorage) -> Vec<String> {
    let names = storage.list().unwrap().into_iter().map(|entry| entry.name);
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".segment")).collect();
    names.sort();
    names
}

/// The value of a field of the control page, as `dump` shows it.
fn page(storage: &MemStorage, field: &str) -> Option<u64> {
    let mut text = Vec::new();
    maintain::dump_on(storage, "control", &mut text).ok()?;
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find(|line| line.contains(field))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Up to where the control page says that the log was durable.
fn durable_by_page(storage: &MemStorage) -> Option<u64> {
    let mut text = Vec::new();
    maintain::dump_on(storage, "control", &mut text).ok()?;
    let text = String::from_utf8(text).unwrap();
    let slots = text.split("durable, slot").skip(1);
    slots.filter_map(|slot| slot.lines().nth(1)?.split("end: ").nth(1)?.parse().ok()).max()
}

const IN_FLIGHT: &str = "sync in flight, up to";
const POISONED: &str = "poisoned (0: no)";

/// The reason in the open frame of the newest segment, as `dump` shows it.
fn reason_of_newest(storage: &MemStorage) -> String {
    let mut text = Vec::new();
    maintain::dump_on(storage, segments(storage).last().unwrap(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    text.lines().find(|line| line.contains("reason")).unwrap().rsplit("reason").next().unwrap().to_owned()
}

fn bytes_of(storage: &MemStorage, name: &str) -> Vec<u8> {
    Image::take(storage).0.remove(name).unwrap()
}

fn write(storage: &MemStorage, name: &str, at: u64, bytes: &[u8]) {
    storage.open(name, Access::ReadWrite).unwrap().write_at(bytes, at).unwrap();
}

#[test]
fn p01_after_a_mere_kill_the_log_goes_on_in_its_segment_with_all_that_was_written() {
    let storage = MemStorage::new();
    let mut store = open(&storage);
    let mut last: Option<Receipt> = None;
    for round in 0..12u64 {
        let opened = store.open_report().epoch;
        // Now and then it is killed before it appended anything, or after it synced.
        for number in 0..round % 3 {
            let level = if (round + number) % 4 == 0 { Durability::Synced } else { Durability::Written };
            let receipt = try_put(&store, "s", &noise(round, 50), level).unwrap();
            if let Some(last) = last.replace(receipt.clone()) {
                assert_eq!(receipt.position, last.end, "round {round}: right behind the last frame");
                assert!(receipt.epoch >= last.epoch && receipt.epoch == opened);
            }
        }
        let before = everything(&store);
        kill(&storage, store);
        assert_eq!(everything(&open_read_only(&storage)), before, "round {round}");
        store = open(&storage);
        let report = store.open_report();
        assert!(!report.has_rolled && !report.was_clean && report.torn_tail.is_none(), "round {round}: {report:?}");
        assert_eq!((report.epoch.segment, report.epoch.takeover), (opened.segment, opened.takeover + 1), "{round}");
        assert_eq!(log(&store, ReadAllOptions::new()), before, "round {round}: what was found is durable");
        assert_eq!(segments(&storage).len(), 1, "round {round}");
    }
    store.close().unwrap();
    assert!(open(&storage).open_report().was_clean);
}

#[test]
fn p04_no_epoch_is_given_twice_however_often_the_opening_itself_is_killed() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "s", b"0");
    let mut last = store.open_report().epoch;
    kill(&storage, store);
    for after in 0..40 {
        let expected = everything(&open_read_only(&storage));
        storage.fail_after(after, io::ErrorKind::Other, true);
        let opened = try_open(&storage);
        if let Ok(store) = opened {
            assert!(store.open_report().epoch > last, "{after}");
            last = store.open_report().epoch;
            drop(store);
        }
        storage.clear_fault();
        let store = open(&storage);
        assert!(store.open_report().epoch > last, "{after}: {:?}", store.open_report());
        last = store.open_report().epoch;
        assert_eq!(everything(&store), expected);
        // Every other time an event carries the epoch.
        if after % 2 == 0 {
            assert_eq!(put(&store, "s", &after.to_le_bytes()).epoch, last);
        }
        kill(&storage, store);
    }
}

#[test]
fn p02_a_frame_torn_by_a_kill_is_gone_and_its_bytes_are_cleared() {
    for keep in (0..400).step_by(7) {
        let storage = MemStorage::new();
        let store = open(&storage);
        let first = put(&store, "s", b"0");
        let before = everything(&store);
        // The payload looks like what has its place behind the end: a whole frame of this very store.
        let name = segments(&storage).remove(0);
        let frame = bytes_of(&storage, &name)[first.position.0 as usize..first.end.0 as usize].to_vec();
        kill_in_write(&storage, store, keep, &frame.repeat(4));
        let torn = bytes_of(&storage, &name);
        let is_torn = torn[first.end.0 as usize..].iter().any(|byte| *byte != 0);
        assert_eq!(is_torn, keep > 0, "{keep} {:?}", &torn[first.end.0 as usize..][..64]);

        let store = open(&storage);
        let report = store.open_report().clone();
        assert!(!report.has_rolled && report.damage.is_empty(), "{keep}: {report:?}");
        assert_eq!(report.torn_tail.is_some(), keep > 0, "{keep}: {report:?}");
        assert_eq!(everything(&store), before);
        let cleared = bytes_of(&storage, &name);
        assert_eq!(cleared[..first.end.0 as usize], torn[..first.end.0 as usize], "nothing else is touched");
        assert!(cleared[first.end.0 as usize..].iter().all(|byte| *byte == 0), "{keep}: zeros behind the end");
        let next = put(&store, "s", b"next");
        assert_eq!(next.position, first.end);
        kill(&storage, store);
        let store = open(&storage);
        assert!(!store.open_report().has_rolled);
        assert_eq!(everything(&store).len(), 2);
        assert_eq!(segments(&storage).len(), 1);
    }
}

/// The dead writer's first frame is torn, its second whole; the successor's first ends where the second one begins.
#[test]
fn p03_a_dead_writers_second_frame_never_follows_its_successors_first() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let base = put(&store, "s", b"base");
    let page_before = bytes_of(&storage, "control");
    let dead = [put(&store, "s", b"dead 1"), put(&store, "s", b"dead 2")];
    kill(&storage, store);
    let name = segments(&storage).remove(0);
    let dead_bytes = bytes_of(&storage, &name);
    let second = dead[1].position.0 as usize..dead[1].end.0 as usize;
    // Nobody was shown either: the page is the one from before.
    write(&storage, "control", 0, &page_before);
    write(&storage, &name, dead[0].position.0, &[0; 24]);

    let store = open(&storage);
    let report = store.open_report();
    assert!(!report.has_rolled && report.torn_tail.is_some() && report.damage.is_empty(), "{report:?}");
    let successors = put(&store, "s", b"next 1");
    assert_eq!((successors.position, successors.end), (dead[0].position, dead[0].end), "the very same bytes");
    let expected = everything(&store);
    assert_eq!(expected.iter().map(|event| event.position).collect::<Vec<_>>(), [base.position, successors.position]);
    kill(&storage, store);
    assert_eq!(everything(&open_read_only(&storage)), expected);
    let image = Image::take(&storage);
    // The zeros never reached the disk, and the second frame did: after the power went, it is back behind the successor's.
    for is_same_boot in [true, false] {
        image.put_back(&storage);
        write(&storage, &name, second.start as u64, &dead_bytes[second.clone()]);
        if !is_same_boot {
            storage.set_boot_id(BootId(*b"one-more-boot-id"));
        }
        assert_eq!(everything(&open_read_only(&storage)), expected, "a reader");
        let store = open(&storage);
        assert_eq!(store.open_report().damage, []);
        assert_eq!(store.open_report().has_rolled, !is_same_boot);
        assert_eq!(everything(&store), expected, "the chain leads to the successor's frame and no further");
        let _ = put(&store, "s", b"behind");
        kill(&storage, store);
        assert_eq!(everything(&open(&storage)).len(), 3);
    }
}

fn attempt(store: &Store, number: u64) -> Result<Receipt, treering::Error> {
    let payload = noise(number, [40, 900, 2500, 5000][number as usize % 4]);
    let level = if number % 3 == 1 { Durability::Synced } else { Durability::Written };
    try_put(store, &format!("s{}", number % 2), &payload, level)
}

/// [REC-13] [COM-9] Killed in each call in turn: whoever comes next does what the table of openings says of what the page says.
#[test]
fn p08_a_writer_killed_in_any_call_is_succeeded_as_the_table_says() {
    let (mut continued, mut rolled_in_flight) = (0, 0);
    for after in 0.. {
        let storage = MemStorage::new();
        storage.fail_after(after, io::ErrorKind::Other, true);
        let mut acknowledged = 0;
        // Without a background, whose calls would count too.
        let alone = alone().background_threads(false);
        if let Ok(store) = Store::open_on(Arc::new(storage.clone()), alone) {
            acknowledged = (0..14).take_while(|number| attempt(&store, *number).is_ok()).count();
        }
        storage.clear_fault();
        let when = format!("killed in call {after}");
        let is_whole = acknowledged == 14;
        // Where it was durable by then, the sync had ended, and only the note of it was not taken back.
        let in_flight = page(&storage, IN_FLIGHT).map(|upto| Some(upto) > durable_by_page(&storage));
        let poisoned = page(&storage, POISONED);
        let (named, newest) = (page(&storage, "epoch's segment"), segments(&storage).last().cloned());
        assert!(poisoned.is_none_or(|poisoned| poisoned == 0), "{when}: the dead say nothing");
        let is_of_newest = named.zip(newest).is_some_and(|(named, newest)| newest == format!("{named:016x}.segment"));
        let store = try_open(&storage).unwrap_or_else(|error| panic!("{when}: {error}"));
        let report = store.open_report().clone();
        let events = everything(&store);
        assert_eq!(report.damage, [], "{when}");
        assert!(
            (acknowledged..=acknowledged + 1).contains(&events.len()),
            "{when}: {} of {acknowledged}",
            events.len()
        );
        assert_eq!(log(&store, ReadAllOptions::new()), events, "{when}: what was found is durable");
        match in_flight {
            _ if report.is_new || report.was_clean => {}
            Some(false) if is_of_newest => {
                assert!(!report.has_rolled && Some(report.epoch.segment.0) == named, "{when}: {report:?}");
                continued += 1;
            }
            Some(false) | None => assert!(report.has_rolled, "{when}: the page is of another segment"),
            Some(true) => {
                assert!(report.has_rolled, "{when}: nobody knows what became of the sync");
                rolled_in_flight += 1;
            }
        }
        let number = events.len() as u64;
        let receipt = attempt(&store, number).unwrap_or_else(|error| panic!("{when}: {error}"));
        assert!(receipt.position >= report.end, "{when}");
        kill(&storage, store);
        assert_eq!(everything(&open(&storage)).len(), events.len() + 1, "{when}");
        if is_whole {
            break;
        }
    }
    assert!(continued > 20 && rolled_in_flight > 4, "{continued} went on in place, {rolled_in_flight} rolled");
}

/// A store on a disk below the page cache, with one durable event and one that is only written.
fn on_a_disk() -> (MemStorage, Store) {
    let storage = MemStorage::new();
    storage.model_disk();
    // No thread makes a call between those that a test counts, such as for the segment that comes next.
    let options = small().segment_bytes(1 << 20).background_threads(false);
    let store = Store::open_on(Arc::new(storage.clone()), options).unwrap();
    let _ = try_put(&store, "s", b"synced", Durability::Synced).unwrap();
    let _ = put(&store, "s", &noise(1, 9000));
    (storage, store)
}

fn fails_once(on: Operation) -> Fault {
    Fault { after: 0, error: io::ErrorKind::Other, sticky: false, on: Some(on), keep: 0 }
}

/// What ext4 does: the sync fails, the next one succeeds without writing, and what memory holds is not what the disk does.
#[test]
fn p06_after_a_failed_sync_what_is_called_durable_was_written_again() {
    let (storage, store) = on_a_disk();
    storage.inject(fails_once(Operation::Sync));
    let error = try_put(&store, "s", b"unknown", Durability::Synced).expect_err("its sync failed");
    assert!(error.is_outcome_unknown() && error.kind() == ErrorKind::Poisoned, "{error}");
    let syncs = storage.syncs();
    assert!(store.sync().unwrap_err().is_outcome_unknown());
    let before = everything(&store);
    assert_eq!(page(&storage, POISONED), Some(1), "every other opener knows");
    assert!(store.close().unwrap_err().is_outcome_unknown());
    assert_eq!(storage.syncs(), syncs, "no sync is tried again");

    let store = open(&storage);
    assert!(store.open_report().has_rolled && !store.open_report().was_clean);
    assert!(reason_of_newest(&storage).contains('4'), "{}", reason_of_newest(&storage));
    assert_eq!(page(&storage, POISONED), Some(0), "a page of its own");
    assert_eq!(log(&store, ReadAllOptions::new()), before);
    storage.evict();
    assert_eq!(everything(&open_read_only(&storage)), before, "it is on the disk");
    kill(&storage, store);
    assert!(!open(&storage).open_report().has_rolled, "the new segment is none of the old one's trouble");
}

/// The sync fails, and the process is killed before anybody hears of it.
#[test]
fn p06_a_sync_that_was_under_way_when_its_writer_was_killed_proves_nothing() {
    for has_page in [true, false] {
        let (storage, store) = on_a_disk();
        let before = everything(&store);
        assert_eq!(before.len(), 2);
        storage.inject(Fault { after: 1, error: io::ErrorKind::Other, sticky: true, on: None, keep: 0 });
        let _ = try_put(&store, "s", b"unknown", Durability::Synced).expect_err("killed in its sync");
        drop(store);
        storage.clear_fault();
        assert!(page(&storage, IN_FLIGHT) > Some(0) && page(&storage, POISONED) == Some(0));
        if !has_page {
            storage.remove("control").unwrap();
        }
        let store = open(&storage);
        assert!(store.open_report().has_rolled);
        let found = log(&store, ReadAllOptions::new());
        assert_eq!(found[..2], before);
        assert_eq!(found.len(), 3, "it was whole in memory");
        storage.evict();
        assert_eq!(everything(&open_read_only(&storage)), found, "page {has_page}: it is on the disk");
    }
}

/// The system itself failed to write in the background, which nobody hears of; then the writer is killed.
#[test]
fn p06_what_was_only_written_is_written_again_before_it_is_called_durable() {
    let (storage, store) = on_a_disk();
    let before = everything(&store);
    let name = segments(&storage).remove(0);
    kill(&storage, store);
    storage.inject(fails_once(Operation::Sync));
    storage.open(&name, Access::ReadWrite).unwrap().sync_data().unwrap_err();
    let store = open(&storage);
    assert!(!store.open_report().has_rolled);
    assert_eq!(log(&store, ReadAllOptions::new()), before);
    storage.evict();
    assert_eq!(everything(&open_read_only(&storage)), before);
}

/// The same, and the memory is taken away before anybody opens the store: the log is shorter than it was shown.
#[test]
fn p04_a_log_that_lost_what_was_shown_is_not_gone_on_with_in_place() {
    let (storage, store) = on_a_disk();
    let shown = everything(&store);
    let end = store.watermarks().committed;
    let name = segments(&storage).remove(0);
    kill(&storage, store);
    storage.inject(fails_once(Operation::Sync));
    storage.open(&name, Access::ReadWrite).unwrap().sync_data().unwrap_err();
    storage.evict();
    let store = open(&storage);
    assert_eq!(everything(&store), shown[..1], "the written one is gone with a failure of the disk");
    assert!(store.open_report().has_rolled);
    assert!(put(&store, "s", b"new").position > end, "no position that was shown is given again");
}

#[test]
fn p06_an_opening_that_cannot_make_the_log_durable_says_so_and_the_next_one_rolls() {
    let (storage, store) = on_a_disk();
    let before = everything(&store);
    kill(&storage, store);
    for on in [Operation::Sync, Operation::Write] {
        storage.inject(fails_once(on));
        let error = try_open(&storage).expect_err("what is not durable cannot be made so");
        assert_eq!(error.kind(), ErrorKind::Io, "{on:?}: {error}");
        assert!(error.to_string().contains(".segment"), "{error}");
    }
    assert_eq!(page(&storage, POISONED), Some(1));
    let store = open(&storage);
    assert!(store.open_report().has_rolled);
    assert_eq!(everything(&store), before);
    storage.evict();
    assert_eq!(everything(&open_read_only(&storage)), before);
}

/// [COM-8] Segments that were left and not synced are made durable too, cut off at any call and begun again.
#[test]
fn p08_a_takeover_makes_earlier_segments_durable_too_wherever_it_is_cut_off() {
    let storage = MemStorage::new();
    storage.model_disk();
    let store = open(&storage);
    let _ = try_put(&store, "s", b"synced", Durability::Synced).unwrap();
    // Killed in the first sync of the background, which the roll asks for.
    storage.inject(Fault { after: 0, error: io::ErrorKind::Other, sticky: true, on: Some(Operation::Sync), keep: 0 });
    let mut number = 0;
    while try_put(&store, "s", &noise(number, 1500), Durability::Written).is_ok() {
        number += 1;
    }
    drop(store);
    storage.clear_fault();
    let expected = everything(&open_read_only(&storage));
    assert!(expected.len() > 3);
    // Each try may leave a segment, which takes the next one a few calls more.
    for after in (0..2000).step_by(7) {
        storage.fail_after(after, io::ErrorKind::Other, true);
        let first = try_open(&storage);
        let is_whole = first.is_ok();
        drop(first);
        storage.clear_fault();
        assert_eq!(everything(&open_read_only(&storage)), expected, "cut off at call {after}");
        if is_whole {
            break;
        }
    }
    let store = open(&storage);
    assert_eq!(log(&store, ReadAllOptions::new()), expected);
    storage.evict();
    assert_eq!(everything(&open_read_only(&storage)), expected, "all of it is on the disk");
}

/// Replaced, garbled, deleted: the writer goes on, whoever comes next takes the page for none.
#[test]
fn p11_the_control_page_may_be_taken_from_under_a_live_writer() {
    let open = |storage: &MemStorage| Store::open_on(Arc::new(storage.clone()), alone()).unwrap();
    for what in ["replaced", "garbled", "deleted"] {
        let storage = MemStorage::new();
        let store = open(&storage);
        let _ = put(&store, "s", b"0");
        match what {
            "garbled" => write(&storage, "control", 0, &noise(5, 4096)),
            _ => storage.remove("control").unwrap(),
        }
        if what == "replaced" {
            write_new(&storage, "control", &noise(6, 4096));
        }
        for number in 1..9 {
            let level = if number % 2 == 0 { Durability::Synced } else { Durability::Written };
            let _ = try_put(&store, "s", &noise(number, 2500), level).unwrap();
        }
        let before = everything(&store);
        kill(&storage, store);
        assert_eq!(everything(&open_read_only(&storage)), before, "{what}");
        let store = open(&storage);
        assert!(store.open_report().has_rolled && store.open_report().damage.is_empty(), "{what}");
        assert_eq!(everything(&store), before, "{what}");
        let _ = put(&store, "s", b"goes on");
        kill(&storage, store);
        let store = open(&storage);
        assert!(!store.open_report().has_rolled, "{what}: there is a page again");
        assert_eq!(everything(&store).len(), before.len() + 1);
    }
}

fn write_new(storage: &MemStorage, name: &str, bytes: &[u8]) {
    storage.create(name, 0).unwrap().write_at(bytes, 0).unwrap();
}

/// What a kill left, and all that the page could say instead: the events are the same.
#[test]
fn p11_whatever_the_control_page_says_the_events_are_the_same() {
    let storage = MemStorage::new();
    let store = open(&storage);
    for number in 0..5 {
        let _ = attempt(&store, number).unwrap();
    }
    let expected = everything(&store);
    kill(&storage, store);
    let image = Image::take(&storage);
    let sound = image.0["control"].clone();
    let check = |control: Option<Vec<u8>>, when: &str| -> bool {
        let mut changed = image.clone();
        changed.0.remove("control");
        changed.0.extend(control.map(|bytes| ("control".to_owned(), bytes)));
        changed.put_back(&storage);
        assert_eq!(everything(&open_read_only(&storage)), expected, "{when}");
        let store = try_open(&storage).unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_eq!(store.open_report().damage, [], "{when}");
        assert_eq!(everything(&store), expected, "{when}");
        let has_rolled = store.open_report().has_rolled;
        let _ = put(&store, "s", b"x");
        kill(&storage, store);
        assert_eq!(everything(&open(&storage)).len(), expected.len() + 1, "{when}");
        has_rolled
    };
    assert!(!check(Some(sound.clone()), "as it was"));
    assert!(check(None, "missing"));
    for len in [0, 1, 8, 100, 575, 576, 4095] {
        check(Some(sound[..len].to_vec()), &format!("cut to {len}"));
    }
    check(Some([&sound[..], &[1; 5000]].concat()), "longer");
    // Every word, made another in several ways.
    for word in 0..72 {
        let had = u64::from_le_bytes(sound[word * 8..][..8].try_into().unwrap());
        for value in [had ^ 1, had.wrapping_add(8), !had, 0, had ^ (1 << 40)] {
            if value == had {
                continue;
            }
            let mut bytes = sound.clone();
            bytes[word * 8..][..8].copy_from_slice(&value.to_le_bytes());
            let has_rolled = check(Some(bytes), &format!("word {word} is {value:#x}"));
            if word < 16 {
                assert!(has_rolled, "word {word}: the header does not hold");
            }
        }
    }
    for seed in 0..20 {
        assert!(check(Some(noise(seed, 4096)), "noise"));
    }
}

/// [REC-13] The page counts for its own boot, mount, store, life and place only, and not once somebody went on without it.
#[test]
fn p11_a_control_page_of_another_moment_is_as_none() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "s", b"0");
    kill(&storage, store);
    let image = Image::take(&storage);
    let rolls = |when: &str, expected: usize| {
        let store = open(&storage);
        assert!(store.open_report().has_rolled, "{when}");
        assert_eq!(everything(&store).len(), expected, "{when}");
        kill(&storage, store);
    };
    storage.set_mount_id(Some(2));
    rolls("another mount", 1);
    image.put_back(&storage);
    storage.set_mount_id(None);
    rolls("a mount that cannot be told", 1);
    rolls("there was no page to be believed", 1);
    storage.set_mount_id(Some(1));
    image.put_back(&storage);
    storage.set_boot_id(BootId([3; 16]));
    rolls("another boot", 1);
    storage.set_boot_id(BootId([0; 16]));
    rolls("a boot that cannot be told", 1);

    // A page from before a later writer's events: it knows less than the log.
    storage.set_boot_id(BootId([4; 16]));
    let store = open(&storage);
    let old = bytes_of(&storage, "control");
    kill(&storage, store);
    let store = open(&storage);
    let _ = put(&store, "s", b"1");
    kill(&storage, store);
    write(&storage, "control", 0, &old);
    rolls("the page of an earlier writer", 2);

    // One of another store.
    let other = MemStorage::with_seed(8);
    let foreign = open(&other);
    let _ = put(&foreign, "s", b"0");
    kill(&other, foreign);
    write(&storage, "control", 0, &bytes_of(&other, "control"));
    rolls("the page of another store", 2);

    // In a copy of the folder the identity file lies elsewhere.
    let copy = storage.deep_copy().unwrap();
    let store = open(&copy);
    assert!(store.open_report().has_rolled);
    assert_ne!(store.open_report().incarnation, open(&storage).open_report().incarnation);
}

#[test]
fn p06_other_openers_of_the_same_boot_hear_of_a_failed_write() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = try_put(&store, "s", b"0", Durability::Synced).unwrap();
    storage.inject(fails_once(Operation::Write));
    assert!(try_put(&store, "s", b"1", Durability::Written).unwrap_err().is_outcome_unknown());
    assert_eq!(page(&storage, POISONED), Some(1));
    // The process is killed before it could close: the flag outlives it.
    kill(&storage, store);
    let store = open(&storage);
    assert!(store.open_report().has_rolled);
    assert!(reason_of_newest(&storage).contains('4'), "{}", reason_of_newest(&storage));
    assert_eq!(everything(&store).len(), 1);
}

/// What a kill cut off between two words of the page reads as the careful answer.
#[test]
fn p08_a_page_that_was_written_by_halves_rolls_at_worst() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let first = put(&store, "s", b"0");
    let events: Vec<Event> = everything(&store);
    kill(&storage, store);
    let image = Image::take(&storage);
    // In flight: the check stands, the place does not yet. Epoch, and the slot that was written last: the same. The older slot is
    // bad while it is written next: then the frame that it is to tell of is whole, and here there is none.
    for (word, rolls) in [(25, true), (34, true), (59, false), (67, true)] {
        image.put_back(&storage);
        write(&storage, "control", word * 8, &[0x5A; 8]);
        let store = open(&storage);
        assert_eq!(store.open_report().has_rolled, rolls, "word {word}");
        assert_eq!(everything(&store), events, "word {word}");
        if !rolls {
            assert_eq!(put(&store, "s", b"1").position, first.end, "the other slot serves");
        }
        kill(&storage, store);
    }
}

#[test]
fn p12_a_batch_of_a_killed_writer_is_recognised_by_its_successor() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let events = [NewEvent::new("t", "x")];
    let batch = Batch::with_id(treering::BatchId([7; 16])).section("s", Expected::Any, &events);
    let first = store.append(&batch).unwrap();
    kill(&storage, store);
    let store = open(&storage);
    assert!(!store.open_report().has_rolled);
    let again = store.append(&batch).unwrap();
    assert!(again.is_repeated && again.position == first.position && again.epoch == first.epoch);
}

/// The identity file, which is the lock, is replaced under a writer that is alone and does not look: whoever comes then is let in, as into a
/// copy, and begins a life of its own behind all that it finds. What the old writer still stores falls into bytes behind the
/// stated end of its segment, which nobody reads; when it comes to roll, the name is taken.
#[test]
fn p04_a_writer_whose_lock_file_was_replaced_stores_into_void_bytes_alone() {
    for is_mapped in [false, true] {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let options = alone().mapped_writes(is_mapped);
        let old = Store::open(folder.path(), options.clone()).unwrap();
        let _ = try_put(&old, "s", b"synced", Durability::Synced).unwrap();
        for round in 0..20 {
            let _ = put(&old, "s", &noise(round, 40)); // enough to be copied into a mapping, where that is allowed
        }
        let shared = everything(&old);
        let at = |name: &str| folder.path().join(name);
        std::fs::copy(at("identity"), at("identity.other")).unwrap();
        std::fs::rename(at("identity.other"), at("identity")).unwrap();

        let new = Store::open(folder.path(), options.clone()).unwrap();
        let report = new.open_report().clone();
        assert!(report.has_rolled && report.incarnation != old.open_report().incarnation, "{report:?}");
        assert_eq!(everything(&new), shared);
        let mut lost = Vec::new();
        for round in 0..12 {
            // The old one is not told before its next sync. Its receipts are those of a life that ended.
            let level = if round % 4 == 3 { Durability::Synced } else { Durability::Written };
            let receipt = try_put(&old, "s", &noise(round, 300), Durability::Written).unwrap();
            assert!(
                receipt.incarnation != report.incarnation && receipt.position.0 < report.epoch.segment.0 * (16 << 10)
            );
            lost.push(receipt.position);
            let _ = try_put(&new, "s", &noise(100 + round, 50), level).unwrap();
        }
        let mut kept = everything(&new);
        assert_eq!((kept.len(), &kept[..shared.len()]), (shared.len() + 12, &shared[..]));
        assert!(kept.iter().all(|event| !lost.contains(&event.position)), "no place is given twice");
        assert_eq!(everything(&Store::open_read_only(folder.path(), options.clone()).unwrap()), kept);

        let failed = (0..100).find_map(|round| try_put(&old, "s", &noise(round, 900), Durability::Written).err());
        let error = failed.expect("its segment ends, and the next one's name is taken");
        assert!(error.to_string().contains("0000000000000001.segment"), "{error}");
        assert_eq!(everything(&new), kept, "nothing of it is seen");
        let error = old.sync().unwrap_err();
        assert!(error.kind() == ErrorKind::Removed && error.to_string().contains("identity"), "{error}");
        drop(old);
        kept.extend((0..3).map(|round| {
            let receipt = try_put(&new, "s", &noise(round, 5000), Durability::Synced).unwrap(); // rolls, and seals what was left
            new.event("s", receipt.sections[0].last_revision, Visibility::Durable).unwrap().unwrap()
        }));
        assert_eq!(everything(&new), kept);
        let error = Store::open(folder.path(), options.clone()).expect_err("the new lock is held");
        assert_eq!(error.kind(), ErrorKind::Locked);
        new.close().unwrap();
        let report = maintain::verify(folder.path(), &mut ()).unwrap();
        assert!(report.is_clean(), "{:?}", report.damage);
        let again = Store::open(folder.path(), options).unwrap();
        assert!(again.open_report().was_clean && everything(&again) == kept);
    }
}
