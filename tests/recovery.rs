//! Opening after every kind of end: closed, killed at any call, torn at any byte, copied, after another boot.
//!
//! A process is killed here by making every call of the storage fail from a certain one on and dropping the store: what is
//! left is what that process had done until then.

use std::io;
use std::sync::Arc;

use treering::format::watermark::Watermark;
use treering::storage::mem::{Fault, MemStorage, Operation};
use treering::{
    Batch, BatchId, BootId, Durability, Error, Event, Expected, NewEvent, ReadAllOptions, Receipt, Store, maintain,
};
use treering_tests::damage::wait_for_seals;
use treering_tests::image::Image;
use treering_tests::store::{everything, log, noise, open, open_read_only, put, small, try_open, try_put};

/// What a process would leave that is killed now.
fn kill(storage: &MemStorage, store: Store) {
    storage.fail_after(0, io::ErrorKind::Other, true);
    drop(store);
    storage.clear_fault();
}

/// The batches of the workload: two streams each, of sizes that roll, one of them jumbo.
fn attempt(store: &Store, number: u64) -> Result<Receipt, Error> {
    let payload = noise(number, [40, 900, 2500, 7000, 17_000][number as usize % 5]);
    let events = [NewEvent::new("t", &payload), NewEvent::new("u", "second")];
    let other = [NewEvent::new("v", "elsewhere")];
    let level = if number % 4 == 1 { Durability::Synced } else { Durability::Written };
    let name = format!("stream {}", number % 3);
    let batch = Batch::with_id(batch_id(number))
        .section(&name, Expected::Any, &events)
        .section("all", Expected::Any, &other)
        .durability(level);
    store.append(&batch)
}

fn batch_id(number: u64) -> BatchId {
    let mut id = [1; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    BatchId(id)
}

const BATCHES: u64 = 12;

/// Which batches the log holds; panics where one is not whole, or not in order.
fn batches_in(events: &[Event]) -> Vec<u64> {
    assert_eq!(events.len() % 3, 0, "batches are whole");
    let numbers: Vec<u64> = events
        .chunks(3)
        .map(|batch| {
            let number = u64::from_le_bytes(batch[0].batch.0[..8].try_into().unwrap());
            assert!(batch.iter().all(|event| event.batch == batch_id(number)));
            assert!(batch[0].payload == noise(number, batch[0].payload.len()));
            assert_eq!((&*batch[1].event_type, &*batch[2].stream), ("u", "all"));
            number
        })
        .collect();
    assert!(numbers.iter().enumerate().all(|(index, number)| index as u64 == *number), "a prefix: {numbers:?}");
    numbers
}

/// Runs the workload until a call fails. Which batches were acknowledged.
fn run_until_killed(storage: &MemStorage) -> u64 {
    let Ok(store) = try_open(storage) else { return 0 };
    let acknowledged = (0..BATCHES).take_while(|number| attempt(&store, *number).is_ok()).count() as u64;
    drop(store);
    acknowledged
}

#[test]
fn p08_a_store_that_was_closed_goes_on_in_place() {
    let storage = MemStorage::new();
    let store = open(&storage);
    assert!(store.open_report().is_new);
    let first = put(&store, "s", b"0");
    store.close().unwrap();
    let mut last = first;
    for round in 1..4 {
        let store = open(&storage);
        let report = store.open_report().clone();
        assert!(report.was_clean && !report.has_rolled && !report.is_new, "{report:?}");
        assert_eq!((report.end, report.witness, report.torn_tail, report.damage), (last.end, last.end, None, vec![]));
        assert_eq!(store.watermarks().durable, last.end);
        let receipt = put(&store, "s", b"x");
        assert_eq!(receipt.position, last.end, "right behind the last frame");
        assert_eq!(receipt.epoch.segment, last.epoch.segment);
        assert_eq!(receipt.epoch.takeover, last.epoch.takeover + 1, "round {round}");
        last = receipt;
        store.close().unwrap();
    }
}

#[test]
fn p08_dropping_a_store_closes_it() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "s", b"0");
    drop(store);
    assert!(open(&storage).open_report().was_clean);
}

#[test]
fn p01_every_acknowledged_batch_survives_a_kill_at_any_call() {
    let storage = MemStorage::new();
    assert_eq!(run_until_killed(&storage), BATCHES);
    let operations = storage.operations();
    let mut acknowledged_by_then = Vec::new();
    for after in 0..operations {
        for keep in [0, 72, 600] {
            if keep != 0 && after % 3 != 0 {
                continue;
            }
            let storage = MemStorage::new();
            storage.inject(Fault { after, error: io::ErrorKind::Other, sticky: true, on: None, keep });
            let acknowledged = run_until_killed(&storage);
            storage.clear_fault();
            acknowledged_by_then.push(acknowledged);
            check_killed(&storage, acknowledged, &format!("killed at call {after}, {keep} bytes of it kept"));
        }
    }
    // The background does a call more or less: where exactly the last ones fall is not given.
    assert!(acknowledged_by_then.contains(&0) && acknowledged_by_then.iter().any(|count| *count > BATCHES / 2));
}

fn check_killed(storage: &MemStorage, acknowledged: u64, when: &str) {
    let before = Image::take(storage);
    let seen_by_reader = Store::open_read_only_on(std::sync::Arc::new(storage.clone()), Default::default())
        .map(|store| everything(&store))
        .ok();
    assert!(Image::take(storage) == before, "{when}: reading changes nothing");
    let store = try_open(storage).unwrap_or_else(|error| panic!("{when}: {error}"));
    let report = store.open_report().clone();
    assert_eq!(report.damage, [], "{when}");
    let events = everything(&store);
    let batches = batches_in(&events);
    assert!(batches.len() as u64 >= acknowledged, "{when}: {acknowledged} were acknowledged, {batches:?} are there");
    assert!(batches.len() as u64 <= acknowledged + 1, "{when}: one batch at most was under way");
    if let Some(seen) = seen_by_reader {
        assert_eq!(seen, events, "{when}: a reader saw what the writer found");
    }
    assert_eq!(log(&store, ReadAllOptions::new()), events, "{when}: what was found is durable");
    // The rest of the work is taken up; the batch under way is a retry where it was kept.
    for number in acknowledged..BATCHES {
        let receipt = attempt(&store, number).unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_eq!(receipt.is_repeated, batches.contains(&number), "{when}, batch {number}");
    }
    assert_eq!(batches_in(&everything(&store)).len() as u64, BATCHES, "{when}");
    let whole = everything(&store);
    store.close().unwrap();
    let store = open(storage);
    assert!(store.open_report().was_clean && !store.open_report().has_rolled, "{when}: {:?}", store.open_report());
    assert_eq!(everything(&store), whole, "{when}");
}

#[test]
fn p08_recovering_twice_is_recovering_once_wherever_the_first_time_was_cut_off() {
    let storage = MemStorage::new();
    let store = open(&storage);
    for number in 0..8 {
        let _ = attempt(&store, number).unwrap();
    }
    storage.inject(Fault { after: 0, error: io::ErrorKind::Other, sticky: true, on: Some(Operation::Write), keep: 90 });
    assert!(attempt(&store, 8).is_err());
    kill(&storage, store);
    let image = Image::take(&storage);
    let store = open(&storage);
    let expected = everything(&store);
    assert_eq!(batches_in(&expected).len(), 8);
    assert!(store.open_report().has_rolled && store.open_report().torn_tail.is_some());
    kill(&storage, store);
    let mut after = 0;
    loop {
        image.put_back(&storage);
        storage.fail_after(after, io::ErrorKind::Other, true);
        let first = try_open(&storage);
        let is_whole = first.is_ok();
        drop(first);
        storage.clear_fault();
        let store = open(&storage);
        assert_eq!(everything(&store), expected, "the first recovery was cut off at call {after}");
        assert_eq!(store.open_report().damage, []);
        let _ = put(&store, "new", b"x");
        store.close().unwrap();
        assert_eq!(everything(&open(&storage)).len(), expected.len() + 1);
        if is_whole {
            break;
        }
        after += 1;
    }
    assert!(after > 10, "recovery takes more calls than {after}");
}

#[test]
fn p02_a_tail_torn_at_any_byte_leaves_the_whole_frames_before_it() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let receipts: Vec<Receipt> = (0..6)
        .map(|number| {
            let payload = noise(number, 60);
            let events = [NewEvent::new("t", &payload), NewEvent::new("t", "second")];
            let batch = Batch::to("a", Expected::Any, &events).section("b", Expected::Any, &events[..1]);
            store.append(&batch.durability(Durability::Written)).unwrap()
        })
        .collect();
    let all = everything(&store);
    kill(&storage, store);
    let image = Image::take(&storage);
    // Where the bytes of the tail differ from what they were, it was the power that went.
    storage.set_boot_id(BootId(*b"the power is on!"));
    let name = image.last_segment();
    let end = receipts.last().unwrap().end.0 as usize;
    for cut in 8192..=end {
        // Zeros behind the cut; bytes of something else; the whole rest of a block of ones.
        let fillings: [&[u8]; 3] = [&[], &noise(cut as u64, 40), &[0xFF; 4096]];
        for (kind, filling) in fillings.iter().enumerate().filter(|(kind, _)| *kind == 0 || cut % 4 == 0) {
            let mut torn = image.clone();
            let bytes = torn.0.get_mut(&name).unwrap();
            let is_change = bytes[cut..end].iter().any(|byte| *byte != 0);
            bytes[cut..].fill(0);
            let fill_end = (cut + filling.len()).min(bytes.len());
            bytes[cut..fill_end].copy_from_slice(&filling[..fill_end - cut]);
            torn.put_back(&storage);
            let whole = receipts.iter().filter(|receipt| receipt.end.0 as usize <= cut).count();
            // Padding is zero: a frame that lost nothing else is whole.
            let kept = if kind == 0 && !is_change { receipts.len() } else { whole };
            let store = try_open(&storage).unwrap_or_else(|error| panic!("cut {cut}, filling {kind}: {error}"));
            let found = everything(&store);
            let lost_padding_only = kind == 0 && found.len() == (whole + 1) * 3 && {
                let next = receipts[whole].end.0 as usize;
                image.0[&name][cut..next].iter().all(|byte| *byte == 0)
            };
            let kept = if lost_padding_only { whole + 1 } else { kept };
            assert_eq!(found[..], all[..kept * 3], "cut {cut}, filling {kind}");
            assert_eq!(store.open_report().damage, [], "cut {cut}, filling {kind}");
            assert!(store.open_report().has_rolled);
            let _ = put(&store, "a", b"behind");
            kill(&storage, store);
            let store = open(&storage);
            let again = everything(&store);
            assert_eq!(again[..kept * 3], all[..kept * 3], "cut {cut}, filling {kind}");
            assert_eq!(again.len(), kept * 3 + 1, "cut {cut}, filling {kind}");
        }
    }
}

#[test]
fn p03_frames_behind_a_tear_never_come_back() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let receipts: Vec<Receipt> = (0..8).map(|number| put(&store, "s", &noise(number, 100))).collect();
    let all = everything(&store);
    kill(&storage, store);
    let mut image = Image::take(&storage);
    let name = image.last_segment();
    // The third frame's header is gone, as after a power loss that kept a later page; five whole frames lie behind it.
    let at = receipts[2].position.0 as usize;
    image.0.get_mut(&name).unwrap()[at..at + 16].fill(0);
    image.put_back(&storage);
    let mut added = 0;
    for round in 0..6 {
        let store = open(&storage);
        let found = everything(&store);
        assert_eq!(found[..2], all[..2], "round {round}");
        assert_eq!(found.len(), 2 + added, "round {round}: nothing behind the tear");
        assert_eq!(store.open_report().damage, [], "round {round}");
        // Appending what was lost: positions are never given twice, revisions are.
        for _ in 0..round {
            let receipt = put(&store, "s", b"new");
            assert!(receipt.position > receipts[7].end, "no position that was seen is given again");
            assert_eq!(receipt.sections[0].first_revision.0, 2 + added as u64);
            assert!(receipt.epoch > receipts[7].epoch);
            added += 1;
        }
        if round % 2 == 0 { kill(&storage, store) } else { store.close().unwrap() }
    }
}

#[test]
fn p04_epochs_rise_with_every_opening() {
    let storage = MemStorage::new();
    let mut epochs = Vec::new();
    for round in 0..10 {
        let store = open(&storage);
        epochs.push(store.open_report().epoch);
        let receipt = put(&store, "s", &noise(round, 3000));
        assert!(receipt.epoch >= store.open_report().epoch);
        epochs.push(receipt.epoch);
        if round % 3 == 0 { store.close().unwrap() } else { kill(&storage, store) }
    }
    assert!(epochs.is_sorted());
    let opened: Vec<_> = epochs.iter().step_by(2).collect();
    assert!(opened.windows(2).all(|pair| pair[0] < pair[1]), "{opened:?}");
}

#[test]
fn p08_another_boot_begins_a_new_segment_after_a_clean_close_too() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = try_put(&store, "s", b"0", Durability::Synced).unwrap();
    let before = everything(&store);
    store.close().unwrap();
    storage.set_boot_id(BootId(*b"one-more-boot-id"));
    let store = open(&storage);
    assert!(store.open_report().has_rolled && store.open_report().was_clean, "{:?}", store.open_report());
    assert_eq!(everything(&store), before);
    store.close().unwrap();
    assert!(!open(&storage).open_report().has_rolled, "the same boot again");
}

#[test]
fn p04_a_copy_gets_a_life_of_its_own_before_its_first_write() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let original = put(&store, "s", b"0");
    store.close().unwrap();
    let copy = storage.deep_copy().unwrap();
    let reader = open_read_only(&copy);
    assert_eq!(reader.open_report().incarnation, original.incarnation, "reading a copy changes nothing");
    let copied = open(&copy);
    assert!(copied.open_report().has_rolled);
    let (here, there) = (put(&open(&storage), "s", b"here"), put(&copied, "s", b"there"));
    assert_eq!(here.incarnation, original.incarnation);
    assert_ne!(there.incarnation, original.incarnation);
    assert_eq!([&here, &there].map(|receipt| receipt.sections[0].first_revision.0), [1, 1]);
    let life = there.incarnation;
    copied.close().unwrap();
    let copied = open(&copy);
    assert_eq!(copied.open_report().incarnation, life, "once is enough");
    assert_eq!(everything(&copied).len(), 2);
}

#[test]
fn p08_opening_for_reading_touches_nothing() {
    use Operation::{Allocate, Create, MapWritable, Punch, Remove, Rename, SyncDirectory, Write};
    let storage = MemStorage::new();
    let store = open(&storage);
    for number in 0..7 {
        let _ = attempt(&store, number).unwrap();
    }
    kill(&storage, store);
    let (image, touching) = (Image::take(&storage), || {
        [Allocate, Create, MapWritable, Punch, Remove, Rename, SyncDirectory, Write].map(|on| storage.count(on))
    });
    let before = touching();
    let reader = open_read_only(&storage);
    assert_eq!(batches_in(&everything(&reader)).len(), 7);
    reader.refresh().unwrap();
    let _ = (reader.stat().unwrap(), reader.streams().unwrap());
    assert_eq!(touching(), before);
    let writer = open(&storage); // the reader holds no lock
    drop((writer, reader));
    assert!(Image::take(&storage) != image, "the writer is another matter");
}

#[test]
fn p11_a_watermark_file_may_be_missing_old_or_nonsense() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = attempt(&store, 0).unwrap();
    store.close().unwrap();
    let old = Image::take(&storage).0["watermark"].clone();
    let store = open(&storage);
    for number in 1..6 {
        let _ = attempt(&store, number).unwrap();
    }
    let all = everything(&store);
    store.close().unwrap();
    let image = Image::take(&storage);
    for watermark in [None, Some(old), Some(vec![]), Some(vec![0xFF; 8192]), Some(vec![0; 100])] {
        for has_page in [true, false] {
            let mut changed = image.clone();
            let shown = (watermark.as_ref().map(Vec::len), has_page);
            changed.0.remove("watermark");
            changed.0.extend(watermark.clone().map(|bytes| ("watermark".into(), bytes)));
            if !has_page {
                changed.0.remove("control");
            }
            changed.put_back(&storage);
            let store = try_open(&storage).unwrap_or_else(|error| panic!("{shown:?}: {error}"));
            assert_eq!(everything(&store), all, "{shown:?}");
            let report = store.open_report();
            assert_eq!((report.has_rolled, &report.damage[..]), (!has_page, &[][..]), "{shown:?}");
            let _ = attempt(&store, 6).unwrap();
            store.close().unwrap();
            assert!(open(&storage).open_report().was_clean, "{shown:?}");
        }
    }
}

/// [WMK-5] Whoever writes next gives it its length; on the way, and where that fails anywhere, what its slots said is kept.
#[test]
fn p11_a_watermark_file_that_was_cut_is_mended_and_keeps_what_it_knew() {
    let storage = MemStorage::new();
    for number in 0..4 {
        let store = open(&storage);
        let _ = attempt(&store, number).unwrap();
        store.close().unwrap();
    }
    // The newer slot is the first one, then the second one.
    for number in 4..6 {
        let whole = Image::take(&storage);
        for len in [0, 1, 127, 128, 4095, 4096, 4097, 4223, 4224, 8191] {
            let mut cut = whole.clone();
            cut.0.get_mut("watermark").unwrap().truncate(len);
            let slots = Watermark::slots(&cut.0["watermark"]);
            for after in 0..12 {
                cut.put_back(&storage);
                storage.inject(Fault { after, error: io::ErrorKind::Other, sticky: true, on: None, keep: 0 });
                if let Ok(store) = try_open(&storage) {
                    let _ = store.close();
                }
                storage.clear_fault();
                let now = Watermark::slots(&Image::take(&storage).0["watermark"]);
                let newest = slots.first().map(|slot| slot.generation);
                assert!(now.first().map(|slot| slot.generation) >= newest, "{len}: {slots:?}, then {now:?}");
                let store = try_open(&storage).unwrap_or_else(|error| panic!("{len}, {after}: {error}"));
                assert_eq!(everything(&store).len(), 3 * number as usize, "{len}, {after}");
                store.close().unwrap();
                open(&storage).close().unwrap();
                let file = &Image::take(&storage).0["watermark"];
                assert_eq!((file.len(), Watermark::slots(file).len()), (8192, 2), "{len}, {after}");
                let report = maintain::verify_on(Arc::new(storage.clone()), &mut ()).unwrap();
                assert!(!report.notes.iter().any(|note| note.contains("watermark")), "{len}: {:?}", report.notes);
            }
        }
        whole.put_back(&storage);
        let store = open(&storage);
        let _ = attempt(&store, number).unwrap();
        store.close().unwrap();
    }
}

/// [WMK-5] So it is where somebody cuts it while a writer has it open.
#[test]
fn p11_a_watermark_file_that_is_cut_under_a_writer_gets_its_length_back() {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage.clone()), small().background_threads(false)).unwrap();
    let note = || {
        let _ = put(&store, "a", b"x");
        let _ = store.sync().unwrap();
        store.work_in_background().unwrap();
        Watermark::slots(&Image::take(&storage).0["watermark"])
    };
    for len in [0, 1, 128, 4095, 4096, 4097, 4224, 8191] {
        let before = note();
        storage.set_len("watermark", len).unwrap();
        let first = note();
        assert!(first[0].generation > before[0].generation, "{len}");
        let _ = note();
        let file = &Image::take(&storage).0["watermark"];
        assert_eq!((file.len(), Watermark::slots(file).len()), (8192, 2), "{len}");
    }
}

/// Each kill inside a sync costs a segment, since nobody knows how the sync ended. The segment that is left gives its unused
/// blocks back when it is sealed: so many kills cost no more than a few blocks each, and none of them costs an event.
#[test]
fn p01_kills_inside_a_sync_lose_nothing_and_cost_a_few_blocks_each() {
    const KILLS: u64 = 250;
    let storage = MemStorage::new();
    let options = small().segment_bytes(1 << 20);
    for number in 0..KILLS {
        // Without a background, whose calls would count too.
        let alone = options.clone().background_threads(false);
        let store = Store::open_on(Arc::new(storage.clone()), alone).unwrap();
        // The write succeeds, the sync does not come back.
        storage.inject(Fault { after: 1, error: io::ErrorKind::Other, sticky: true, on: None, keep: 0 });
        let _ = try_put(&store, "s", &number.to_le_bytes(), Durability::Synced).expect_err("killed in its sync");
        drop(store);
        storage.clear_fault();
    }
    let unsealed = storage.used_bytes();
    let store = Store::open_on(Arc::new(storage.clone()), options).unwrap();
    let numbers: Vec<u64> =
        everything(&store).iter().map(|event| u64::from_le_bytes(event.payload[..].try_into().unwrap())).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert_eq!(numbers.len() as u64, KILLS);
    wait_for_seals(&store);
    store.close().unwrap();
    let each = storage.used_bytes() / KILLS;
    println!("{} events; {} bytes a kill before the seals, {each} behind them", numbers.len(), unsealed / KILLS);
    assert!(each <= 16 << 10, "{each} bytes a kill: more than the head, its copy and the blocks of the frames");
}
