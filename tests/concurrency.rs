//! Many threads on one store: appends are met one after another, readers see prefixes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use treering::storage::mem::MemStorage;
use treering::{
    Batch, BatchId, Durability, ErrorKind, Expected, NewEvent, ReadAllOptions, ReadOptions, Revision, Store, Visibility,
};
use treering_tests::store::{alone, block_on, everything, noise, open, small, stream};

fn committed() -> ReadOptions<'static> {
    ReadOptions::new().visibility(Visibility::Committed)
}

#[test]
fn p12_each_revision_goes_to_one_of_the_threads_that_expect_it() {
    const THREADS: u64 = 8;
    const EACH: u64 = 60;
    let storage = MemStorage::new();
    let store = open(&storage);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                let mut expected = Expected::NoStream;
                for number in 0..EACH {
                    let payload = (thread * EACH + number).to_le_bytes();
                    let event = [NewEvent::new("t", &payload)];
                    loop {
                        match store.append(&Batch::to("s", expected, &event).durability(Durability::Written)) {
                            Ok(receipt) => {
                                let section = &receipt.sections[0];
                                let owned = match expected {
                                    Expected::Exactly(head) => head.0 + 1,
                                    _ => 0,
                                };
                                assert!(!receipt.is_repeated);
                                assert_eq!(section.first_revision, Revision(owned));
                                expected = Expected::Exactly(section.last_revision);
                                break;
                            }
                            Err(error) => {
                                let conflict = error.conflict().expect("nothing but conflicts").clone();
                                let head = conflict.actual.expect("somebody else made the stream");
                                assert!(conflict.position <= store.watermarks().committed);
                                expected = Expected::Exactly(head);
                            }
                        }
                    }
                }
            });
        }
    });
    let events = stream(&store, "s", committed());
    assert!(events.iter().enumerate().all(|(index, event)| event.revision.0 == index as u64));
    let mut numbers: Vec<u64> =
        events.iter().map(|event| u64::from_le_bytes(event.payload[..].try_into().unwrap())).collect();
    for thread in 0..THREADS {
        let own = numbers.iter().filter(|number| **number / EACH == thread);
        assert!(own.is_sorted(), "each thread's appends are in its order");
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..THREADS * EACH), "none twice, none lost");
}

#[test]
fn p12_threads_that_append_the_same_batch_get_one_receipt() {
    let store = open(&MemStorage::new());
    for round in 0..40u64 {
        let payload = noise(round, 200);
        let event = [NewEvent::new("t", &payload)];
        let id = BatchId([round as u8 + 1; 16]);
        let receipts: Vec<_> = std::thread::scope(|scope| {
            let append = || store.append(&Batch::with_id(id).section("s", Expected::Any, &event)).unwrap();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(append)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(receipts.iter().filter(|receipt| !receipt.is_repeated).count(), 1);
        assert!(receipts.windows(2).all(|pair| pair[0].position == pair[1].position && pair[0].epoch == pair[1].epoch));
        assert!(receipts.iter().all(|receipt| receipt.level == Durability::Synced));
    }
    assert_eq!(everything(&store).len(), 40);
}

#[test]
fn p13_readers_see_prefixes_of_whole_batches_while_writers_append() {
    let store = open(&MemStorage::new());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for visibility in [Visibility::Committed, Visibility::Durable] {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::SeqCst) {
                    let mut reader = store.read_all(ReadAllOptions::new().visibility(visibility)).unwrap();
                    let (mut count, mut batch, mut of_batch) = (0, None, 3);
                    while let Some(event) = reader.next() {
                        let event = event.unwrap();
                        assert_eq!(event.global_number(), count, "no gap");
                        if batch != Some(event.batch()) {
                            assert_eq!(of_batch, 3, "batches are whole");
                            (batch, of_batch) = (Some(event.batch()), 0);
                        }
                        of_batch += 1;
                        count += 1;
                    }
                    assert!(of_batch == 3 && count >= last, "what was seen stays");
                    last = count;
                    for info in store.streams().unwrap() {
                        let head = stream(store, &info.name, ReadOptions::new().visibility(visibility).last(1));
                        assert!(visibility == Visibility::Durable || head[0].revision >= info.head);
                    }
                }
            });
        }
        let writers: Vec<_> = (0..3)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || {
                    let name = format!("s{thread}");
                    for round in 0..120u64 {
                        let payload = noise(round, (round * 13 % 400) as usize);
                        let events = [NewEvent::new("t", &payload); 2];
                        let level = if round % 9 == 0 { Durability::Synced } else { Durability::Written };
                        let batch =
                            Batch::to(&name, Expected::Any, &events).section("common", Expected::Any, &events[..1]);
                        let _ = store.append(&batch.durability(level)).unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(everything(&store).len(), 3 * 120 * 3);
}

#[test]
fn p01_many_outstanding_appends_of_one_thread_all_become_durable() {
    let store = Arc::new(Store::open_on(Arc::new(MemStorage::new()), small()).unwrap());
    for round in 0..10u64 {
        let pending: Vec<_> = (0..64)
            .map(|number| {
                let payload = noise(number, 30);
                let event = [NewEvent::new("t", &payload)];
                store.submit(&Batch::to("s", Expected::Any, &event)).unwrap()
            })
            .collect();
        // Waited for in another order than they were appended, partly blocking, one dropped.
        for (index, pending) in pending.into_iter().rev().enumerate() {
            let revision = Revision(round * 64 + 63 - index as u64);
            assert_eq!(pending.receipt().sections[0].first_revision, revision);
            let receipt = match index % 3 {
                0 => block_on(pending).unwrap(),
                1 => pending.wait().unwrap(),
                _ => {
                    drop(pending);
                    continue;
                }
            };
            assert!(receipt.level == Durability::Synced && store.watermarks().durable >= receipt.end);
        }
    }
    store.sync().unwrap();
    assert_eq!(stream(&store, "s", ReadOptions::new()).len(), 640);
}

#[test]
fn p14_a_closed_store_lets_go_and_says_so() {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage.clone()), alone()).unwrap();
    let second = Store::open_on(Arc::new(storage.clone()), small()).map(drop).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Locked);
    let event = [NewEvent::new("t", "x")];
    let pending = store.submit(&Batch::to("s", Expected::Any, &event)).unwrap();
    store.close().unwrap();
    assert_eq!(pending.wait().unwrap().level, Durability::Synced, "closing synced what was waited for");
    let store = open(&storage);
    assert_eq!(everything(&store).len(), 1);
}
