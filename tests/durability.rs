//! What makes an append durable, how few syncs it takes, and what happens when a sync or a write fails.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use treering::storage::mem::{Fault, MemStorage, Operation};
use treering::{Batch, Durability, ErrorKind, Expected, NewEvent, Store, SubscribeOptions, Visibility};
use treering_tests::journal::Journal;
use treering_tests::store::{block_on, everything, log, noise, open, put, small, try_open, try_put, wait_until};

fn once(on: Operation, after: u64, error: io::ErrorKind) -> Fault {
    Fault { after, error, sticky: false, on: Some(on), keep: 0 }
}

/// Calls that change what the storage holds or makes it durable.
fn touching(storage: &MemStorage) -> [u64; 7] {
    use Operation::{Allocate, Create, Punch, Rename, Sync, SyncDirectory, Write};
    [Allocate, Create, Punch, Rename, Sync, SyncDirectory, Write].map(|on| storage.count(on))
}

#[test]
fn p01_every_synced_receipt_follows_a_sync_that_began_after_its_bytes_were_written() {
    let journal = Journal::new();
    let store = Store::open_on(Arc::new(journal.clone()), small()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..6u64 {
            let (store, journal) = (&store, &journal);
            scope.spawn(move || {
                let name = format!("s{thread}");
                for round in 0..60 {
                    let payload = noise(round, (thread * 100) as usize);
                    let event = [NewEvent::new("t", &payload)];
                    let batch = Batch::to(&name, Expected::Any, &event);
                    let (receipt, level) = match round % 4 {
                        0 => (store.append(&batch).unwrap(), Durability::Synced),
                        1 => (store.submit(&batch).unwrap().wait().unwrap(), Durability::Synced),
                        2 => (block_on(store.submit(&batch).unwrap()).unwrap(), Durability::Synced),
                        _ => (store.append(&batch.durability(Durability::Written)).unwrap(), Durability::Written),
                    };
                    assert_eq!(receipt.level, level);
                    if level == Durability::Synced {
                        assert!(journal.is_durable(receipt.end, 16 << 10), "{receipt:?}");
                        assert!(store.watermarks().durable >= receipt.end);
                    }
                }
            });
        }
    });
    let end = store.watermarks().committed;
    store.close().unwrap();
    assert!(journal.is_durable(end, 16 << 10), "closing makes everything durable");
}

#[test]
fn p01_the_durable_mark_never_passes_what_was_synced() {
    let journal = Journal::new();
    let store = Store::open_on(Arc::new(journal.clone()), small()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let durable = store.watermarks().durable;
                let first_frame = durable.0 % (16 << 10) <= 8192; // its head block was synced under another name
                assert!(first_frame || journal.is_durable(durable, 16 << 10), "{durable}");
            }
        });
        for round in 0..400 {
            let level = if round % 7 == 0 { Durability::Synced } else { Durability::Written };
            let _ = try_put(&store, "s", &noise(round, 300), level).unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn p01_a_sync_covers_nothing_that_was_appended_while_it_ran() {
    let journal = Journal::new();
    let store = Store::open_on(Arc::new(journal.clone()), small().segment_bytes(1 << 20)).unwrap();
    let before = journal.syncs_begun();
    let late = std::thread::scope(|scope| {
        let held = journal.hold_syncs();
        let synced = scope.spawn(|| try_put(&store, "s", b"synced", Durability::Synced).unwrap());
        wait_until("its sync begins", || journal.syncs_begun() > before);
        let late = put(&store, "s", b"late");
        drop(held);
        assert!(synced.join().unwrap().end < late.end);
        late
    });
    assert!(!journal.is_durable(late.end, 1 << 20));
    assert!(store.watermarks().durable < late.end, "nobody synced it");
}

#[test]
fn p01_written_makes_no_sync_of_its_own() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = try_put(&store, "s", b"first", Durability::Synced).unwrap();
    let (syncs, durable) = (storage.syncs(), store.watermarks().durable);
    for _ in 0..20 {
        let _ = put(&store, "s", b"written");
    }
    // The watermark file is synced once the log was quiet; the segment is not, so the durable mark stays.
    assert_eq!(store.watermarks().durable, durable);
    assert!(storage.syncs() <= syncs + 1);
    store.close().unwrap();
    assert_eq!(everything(&open(&storage)).len(), 21);
}

#[test]
fn p01_written_events_are_synced_in_the_background() {
    let storage = MemStorage::new();
    let options = small().sync_interval(Duration::from_millis(1));
    let store = Store::open_on(Arc::new(storage), options).unwrap();
    let receipt = put(&store, "s", b"nobody waits for this one");
    let mut follower = store.subscribe(treering::SubscribeOptions::all()).unwrap();
    assert_eq!(follower.next().unwrap().position, receipt.position, "the durable mark rises by itself");
    assert!(store.watermarks().durable >= receipt.end);
}

#[test]
fn p01_too_many_bytes_that_are_not_synced_hold_the_writer_back() {
    let journal = Journal::new();
    let options = small().unsynced_bytes_max(4096);
    let store = Store::open_on(Arc::new(journal), options).unwrap();
    for round in 0..100 {
        let _ = put(&store, "s", &noise(round, 500));
        let marks = store.watermarks();
        // Void between two segments counts as if it were bytes; that errs on the side of syncing.
        assert!(marks.committed.0 - marks.durable.0 <= 4096, "{marks:?}");
    }
}

#[test]
fn p01_one_sync_serves_all_who_wait() {
    let journal = Journal::new();
    let options = small().segment_bytes(1 << 20);
    let store = Store::open_on(Arc::new(journal.clone()), options).unwrap();
    let _ = put(&store, "s", b"first");
    let before = journal.syncs_begun();
    std::thread::scope(|scope| {
        let held = journal.hold_syncs();
        for thread in 0..32 {
            let store = &store;
            scope.spawn(move || try_put(store, &format!("s{thread}"), b"x", Durability::Synced).unwrap());
        }
        // All are in the log before the first sync ends: the next one covers whoever it did not.
        wait_until("all are in the log", || store.stat().unwrap().events == 33);
        drop(held);
    });
    let syncs = journal.syncs_begun() - before;
    assert!(syncs <= 4, "{syncs} syncs for 32 appends"); // two of the log, and the watermark file's
}

/// A store with one event, opened again: nothing became durable since, and the segment is far from full, so that the
/// background has nothing to do.
fn with_a_durable_event() -> (MemStorage, Store) {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage.clone()), small().segment_bytes(1 << 20)).unwrap();
    let _ = put(&store, "s", b"durable");
    store.close().unwrap();
    let store = open(&storage);
    (storage, store)
}

#[test]
fn p06_a_failed_sync_stops_all_writing_until_the_store_is_reopened() {
    for is_async in [false, true] {
        let (storage, store) = with_a_durable_event();
        let _ = put(&store, "s", b"written");
        let log_before = everything(&store);
        storage.inject(Fault { sticky: true, ..once(Operation::Sync, 0, io::ErrorKind::Other) });
        let event = [NewEvent::new("t", "unknown")];
        let batch = Batch::to("s", Expected::Any, &event);
        let failed = if is_async { block_on(store.submit(&batch).unwrap()) } else { store.append(&batch) };
        let error = failed.expect_err("its sync failed");
        assert_eq!(error.kind(), ErrorKind::Poisoned);
        assert!(error.is_outcome_unknown());
        storage.clear_fault(); // a retried sync would succeed, and lie
        let touched = touching(&storage);
        for level in [Durability::Written, Durability::Synced] {
            assert_eq!(try_put(&store, "s", b"later", level).unwrap_err().kind(), ErrorKind::Poisoned);
        }
        assert_eq!(store.sync().unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(everything(&store)[..2], log_before, "reading goes on");
        assert_eq!(log(&store, treering::ReadAllOptions::new()).len(), 1, "nothing became durable");
        let pending = store.submit(&batch).map(drop);
        assert_eq!(pending.unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(touching(&storage), touched, "nothing was written or synced after it, async {is_async}");

        let store = open(&storage);
        assert!(store.open_report().has_rolled, "nobody knows what the failed sync left");
        assert_eq!(everything(&store)[..2], log_before);
        let retried = store.append(&batch).unwrap();
        let unknown = everything(&store).iter().filter(|event| &event.payload[..] == b"unknown").count();
        assert!((1..=2).contains(&unknown), "{retried:?}");
        assert!(store.watermarks().durable >= retried.end);
    }
}

#[test]
fn p06_all_who_wait_hear_of_a_failed_sync() {
    let journal = Journal::new();
    let store = Store::open_on(Arc::new(journal.clone()), small().segment_bytes(1 << 20)).unwrap();
    std::thread::scope(|scope| {
        let held = journal.hold_syncs();
        let waiting: Vec<_> = (0..8)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || {
                    let (name, event) = (format!("s{thread}"), [NewEvent::new("t", "x")]);
                    let pending = store.submit(&Batch::to(&name, Expected::Any, &event)).unwrap();
                    if thread % 2 == 0 { block_on(pending) } else { pending.wait() }
                })
            })
            .collect();
        wait_until("all are in the log", || store.stat().unwrap().events == 8);
        journal.memory().inject(Fault { sticky: true, ..once(Operation::Sync, 0, io::ErrorKind::Other) });
        drop(held);
        for waiter in waiting {
            let error = waiter.join().unwrap().expect_err("the only sync failed");
            assert_eq!(error.kind(), ErrorKind::Poisoned);
        }
    });
}

#[test]
fn p06_a_write_of_unknown_effect_stops_all_writing() {
    for keep in [0, 8, 100] {
        let (storage, store) = with_a_durable_event();
        let before = everything(&store);
        storage.inject(Fault { sticky: true, keep, ..once(Operation::Write, 0, io::ErrorKind::Other) });
        let error = try_put(&store, "s", &[1; 200], Durability::Written).expect_err("the write failed");
        assert_eq!(error.kind(), ErrorKind::Poisoned, "keep {keep}: {error}");
        storage.clear_fault();
        let touched = touching(&storage);
        assert_eq!(try_put(&store, "s", b"x", Durability::Written).unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(everything(&store), before);
        drop(store);
        assert_eq!(touching(&storage), touched, "keep {keep}: nothing was written or synced after it");
        let store = open(&storage);
        assert_eq!(everything(&store), before);
        let _ = put(&store, "s", b"goes on");
        assert_eq!(everything(&store).len(), 2);
    }
}

/// Appends that use every way of the writer: small, large, many streams, jumbo, both levels.
fn workload(number: u64) -> (Vec<u8>, Durability) {
    let level = if number.is_multiple_of(3) { Durability::Synced } else { Durability::Written };
    (noise(number, [10, 700, 3000, 20_000][number as usize % 4]), level)
}

#[test]
fn p09_want_of_space_in_any_call_leaves_the_log_as_it_was_and_passes() {
    use Operation::{Allocate, Create, Rename, Write};
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
    let mut refused = [0; 4];
    for (index, on) in [Write, Allocate, Create, Rename].into_iter().enumerate() {
        for (after, sticky) in (0..30).flat_map(|after| [(after, false), (after, true)]) {
            let storage = MemStorage::new();
            let store = open(&storage);
            let error = kinds[after as usize % 3];
            storage.inject(Fault { sticky, keep: 50, ..once(on, after, error) });
            let mut acknowledged = Vec::new();
            for number in 0..16 {
                let (payload, level) = workload(number);
                let before = everything(&store);
                match try_put(&store, "s", &payload, level) {
                    Ok(_) => acknowledged.push(payload),
                    Err(error) => {
                        let place = format!("{on:?} {after} {sticky} {number}: {error}");
                        assert_eq!(error.kind(), ErrorKind::NoSpace, "{place}");
                        refused[index] += 1;
                        assert_eq!(everything(&store), before, "{place}");
                        storage.clear_fault();
                        let again = try_put(&store, "s", &payload, level);
                        acknowledged.push(payload);
                        let _ = again.unwrap_or_else(|error| panic!("{place}, then {error}"));
                    }
                }
            }
            storage.clear_fault();
            let check = |store: &Store| {
                let payloads: Vec<_> = everything(store).iter().map(|event| event.payload.to_vec()).collect();
                assert!(payloads == acknowledged, "{on:?} {after} {sticky}");
            };
            check(&store);
            store.close().unwrap();
            let store = try_open(&storage).unwrap();
            assert_eq!(store.open_report().damage, [], "{on:?} {after} {sticky}");
            check(&store);
        }
    }
    assert!(refused.iter().all(|count| *count > 0), "each call was met: {refused:?}");
}

#[test]
fn p09_a_full_disk_is_appended_to_again_once_there_is_space() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let (mut kept, mut refused) = (0, 0);
    for round in 0..200 {
        // The limit rises by a block now and then, as if somebody cleaned up a little.
        storage.set_space_limit(Some(64 << 10).filter(|_| round < 190).map(|limit| limit + (round / 20) * 4096));
        match try_put(&store, "s", &noise(round, 1500), Durability::Synced) {
            Ok(receipt) => {
                assert_eq!(receipt.sections[0].first_revision.0, kept);
                kept += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                refused += 1;
            }
        }
        assert_eq!(everything(&store).len() as u64, kept);
        if round == 150 {
            let reader = treering_tests::store::open_read_only(&storage);
            assert_eq!(everything(&reader).len() as u64, kept, "a full disk can be read");
        }
    }
    assert!(refused > 20 && kept > 20, "{refused} {kept}");
    store.close().unwrap();
    let store = open(&storage);
    assert_eq!(everything(&store).len() as u64, kept);
    assert!(store.event("s", treering::Revision(kept - 1), Visibility::Durable).unwrap().is_some());
}

/// A waker that panics wherever it is woken.
struct Bad(AtomicBool);

impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
        panic!("the waker's own");
    }
}

/// Wakers are the one piece of the caller's code that an append or a sync runs.
#[test]
fn p13_a_waker_that_panics_keeps_nobody_waiting_and_breaks_nothing() {
    let journal = Journal::new();
    let options = small().sync_interval(Duration::from_millis(2));
    let store = Store::open_on(Arc::new(journal.clone()), options.clone()).unwrap();
    let event = [NewEvent::new("t", b"payload")];
    let submit = |stream: &str| store.submit(&Batch::to(stream, Expected::Any, &event)).unwrap();
    let (of_sync, of_follower) = (Arc::new(Bad(AtomicBool::new(false))), Arc::new(Bad(AtomicBool::new(false))));
    let poll = |future: Pin<&mut dyn Future<Output = ()>>, bad: &Arc<Bad>| {
        let waker = Waker::from(Arc::clone(bad));
        assert!(future.poll(&mut Context::from_waker(&waker)).is_pending());
    };
    let held = journal.hold_syncs();
    let mut followed = store.subscribe(SubscribeOptions::all().visibility(Visibility::Committed)).unwrap();
    let mut following = Box::pin(async { drop(followed.next_async().await.unwrap()) });
    poll(following.as_mut(), &of_follower);
    // The append that wakes the follower returns its receipt, and all that it does behind that is done.
    let first = submit("bad");
    assert!(of_follower.0.load(Ordering::SeqCst));
    let mut waiting = Box::pin(async { drop(first.await.unwrap()) });
    poll(waiting.as_mut(), &of_sync);
    let others: Vec<_> = (0..3).map(|_| submit("task")).collect();
    std::thread::scope(|scope| {
        let tasks: Vec<_> = others.into_iter().map(|other| scope.spawn(|| block_on(other).unwrap().level)).collect();
        let threads: Vec<_> =
            (0..3).map(|_| scope.spawn(|| try_put(&store, "thread", b"1", Durability::Synced))).collect();
        drop(held);
        assert!(tasks.into_iter().all(|task| task.join().unwrap() == Durability::Synced));
        assert!(threads.into_iter().all(|thread| thread.join().unwrap().unwrap().level == Durability::Synced));
    });
    assert!(of_sync.0.load(Ordering::SeqCst));
    block_on(waiting); // it was woken, however badly
    block_on(following);
    // The background lives: what nobody waits for becomes durable, segments are left and sealed.
    let mut durable = store.subscribe(SubscribeOptions::stream("late")).unwrap();
    for round in 0..12 {
        let _ = try_put(&store, "late", &noise(round, 3000), Durability::Written).unwrap();
    }
    for round in 0..12 {
        assert!(durable.next().unwrap().payload[..] == noise(round, 3000)[..]);
    }
    let before = everything(&store);
    store.close().unwrap();
    let store = Store::open_on(Arc::new(journal), options).unwrap();
    assert!(store.open_report().was_clean && everything(&store) == before && before.len() == 7 + 12);
}

/// Syncs that take longer than every span of time that the engine knows: the same answers, only later.
#[test]
fn p01_a_disk_whose_syncs_take_long_changes_no_answer() {
    let run = |wait: Duration| {
        let journal = Journal::with_syncs(move |_| {
            std::thread::sleep(wait);
            Ok(())
        });
        let options = small().sync_interval(Duration::from_millis(1)).unsynced_bytes_max(9000);
        let store = Store::open_on(Arc::new(journal.clone()), options.clone()).unwrap();
        let mut followed = store.subscribe(SubscribeOptions::stream("s0")).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3u64 {
                let (store, journal) = (&store, &journal);
                scope.spawn(move || {
                    for round in 0..5 {
                        let payload = noise(thread * 10 + round, 1500);
                        let level = [Durability::Synced, Durability::Written][(thread + round) as usize % 2];
                        let receipt = try_put(store, &format!("s{thread}"), &payload, level).unwrap();
                        assert!(receipt.level == level && receipt.sections[0].first_revision.0 == round);
                        assert!(level == Durability::Written || journal.is_durable(receipt.end, 16 << 10));
                        let marks = store.watermarks();
                        assert!(marks.durable <= marks.committed);
                    }
                });
            }
            for round in 0..5 {
                assert_eq!(followed.next().unwrap().revision.0, round, "a follower gets all, whenever it comes");
            }
        });
        store.close().unwrap();
        let store = Store::open_on(Arc::new(journal), options).unwrap();
        assert!(store.open_report().was_clean);
        let mut found: Vec<_> = everything(&store);
        found.sort_by(|a, b| (&a.stream, a.revision).cmp(&(&b.stream, b.revision)));
        found.into_iter().map(|event| (event.stream.to_string(), event.revision, event.payload)).collect::<Vec<_>>()
    };
    let fast = run(Duration::ZERO);
    assert_eq!(fast.len(), 15);
    // The engine waits 10 ms for quiet, 20 ms for calm and looks every 20 ms.
    assert_eq!(run(Duration::from_millis(60)), fast);
}
