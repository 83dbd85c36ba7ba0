//! Panics under the engine's locks: of storage, or of an assertion of ours, which look alike from there.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use treering::storage::mem::{Fault, MemStorage, Operation};
use treering::{Batch, Durability, ErrorKind, Expected, Fork, NewEvent, Result, Store};
use treering_tests::store::{PATIENCE, block_on, everything, noise, open, try_put};

fn panic_at(storage: &MemStorage, on: Operation, after: u64, keep: usize) {
    storage.panic_at_faults(true);
    storage.inject(Fault { after, error: io::ErrorKind::Other, sticky: false, on: Some(on), keep });
}

fn heal(storage: &MemStorage) {
    storage.clear_fault();
    storage.panic_at_faults(false);
}

/// Appends in every way of the writer: each with the payload by which it is found again.
type Step = fn(&Store, &[u8]) -> Result<()>;
const STEPS: [(Step, usize); 7] = [
    (|store, payload| try_put(store, "s", payload, Durability::Written).map(drop), 20),
    (|store, payload| try_put(store, "s", payload, Durability::Synced).map(drop), 20),
    (
        |store, payload| {
            block_on(store.submit(&Batch::to("t", Expected::Any, &[NewEvent::new("t", payload)]))?).map(drop)
        },
        30,
    ),
    (|store, payload| try_put(store, "s", payload, Durability::Written).map(drop), 9000),
    (
        |store, payload| store.submit(&Batch::to("s", Expected::Any, &[NewEvent::new("t", payload)]))?.wait().map(drop),
        9000,
    ),
    (|store, payload| try_put(store, "u", payload, Durability::Synced).map(drop), 40_000),
    (
        |store, payload| {
            let name = format!("fork-{}", payload.len());
            let _ = store.fork(&Fork::new("s", &name))?;
            try_put(store, &name, payload, Durability::Synced).map(drop)
        },
        50,
    ),
];

/// Runs the script twice over, until a step panics; whether one did.
fn is_met(on: Operation, after: u64, keep: usize) -> bool {
    let what = format!("{on:?} {after}, {keep} bytes of it kept");
    let storage = MemStorage::new();
    let store = open(&storage);
    let (mut acknowledged, mut is_here) = (Vec::new(), false);
    panic_at(&storage, on, after, keep);
    for (number, (step, len)) in STEPS.iter().chain(&STEPS).enumerate() {
        let payload = noise(number as u64, len + number);
        match catch_unwind(AssertUnwindSafe(|| step(&store, &payload))) {
            Ok(Ok(())) => acknowledged.push(payload),
            // A thread in the background was the one that panicked.
            Ok(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Poisoned, "{what}: {error}");
                break;
            }
            Err(_) => {
                is_here = true;
                break;
            }
        }
    }
    let is_met = storage.failed() > 0;
    heal(&storage);
    if !is_met {
        return false;
    }
    // Where it was a thread in the background it may be unwinding still.
    let give_up = Instant::now() + PATIENCE;
    loop {
        let payload = noise(99, 99);
        match try_put(&store, "s", &payload, Durability::Synced) {
            Err(error) => break assert_eq!(error.kind(), ErrorKind::Poisoned, "{what}: {error}"),
            Ok(_) => acknowledged.push(payload),
        }
        assert!(!is_here, "{what}: acknowledged after it");
        assert!(Instant::now() < give_up, "{what}: appends go on");
    }
    for (step, len) in STEPS {
        let error = step(&store, &noise(1, len)).expect_err(&what);
        assert_eq!(error.kind(), ErrorKind::Poisoned, "{what}: {error}");
        assert!(error.to_string().contains("panicked"), "{what}: {error}");
    }
    assert_eq!(store.sync().unwrap_err().kind(), ErrorKind::Poisoned, "{what}");
    let holds_all = |store: &Store| {
        let there: Vec<Vec<u8>> = everything(store).iter().map(|event| event.payload.to_vec()).collect();
        acknowledged.iter().all(|payload| there.contains(payload))
    };
    assert!(holds_all(&store), "{what}: reading goes on");
    assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Poisoned, "{what}");
    let store = open(&storage);
    assert!(holds_all(&store), "{what}: nothing that was acknowledged is lost");
    let _ = try_put(&store, "s", b"goes on", Durability::Synced).unwrap();
    true
}

#[test]
fn p06_a_panic_in_any_call_of_a_writer_stops_all_writing() {
    use Operation::{Allocate, Create, Rename, Sync, SyncDirectory, Write};
    for on in [Write, Sync, Allocate, Create, Rename, SyncDirectory] {
        let keeps: &[usize] = if on == Write { &[0, 30, usize::MAX] } else { &[0] };
        for keep in keeps {
            let met = (0..200).take_while(|after| is_met(on, *after, *keep)).count();
            assert!(met >= 2, "{on:?}: {met}");
        }
    }
}

#[test]
fn p06_all_who_wait_hear_of_a_panic_and_nobody_is_acknowledged_after_it() {
    for on in [Operation::Write, Operation::Sync] {
        for after in 0..12 {
            let storage = MemStorage::new();
            let store = open(&storage);
            let _ = try_put(&store, "s", b"first", Durability::Synced).unwrap();
            let is_over = AtomicBool::new(false);
            panic_at(&storage, on, after, 10);
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..6)
                    .map(|thread| {
                        let (store, is_over, storage) = (&store, &is_over, &storage);
                        scope.spawn(move || {
                            let payload = noise(thread, 100 + thread as usize);
                            let events = [NewEvent::new("t", &payload)];
                            let batch = Batch::to("s", Expected::Any, &events);
                            loop {
                                let has_failed = is_over.load(Ordering::SeqCst);
                                let done = catch_unwind(AssertUnwindSafe(|| match thread % 3 {
                                    0 => store.append(&batch),
                                    1 => store.submit(&batch)?.wait(),
                                    _ => block_on(store.submit(&batch)?),
                                }));
                                match done {
                                    Ok(Ok(_)) => assert!(!has_failed, "acknowledged after an error was told"),
                                    Ok(Err(error)) => {
                                        assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
                                        break is_over.store(true, Ordering::SeqCst);
                                    }
                                    Err(_) => {
                                        assert!(storage.failed() > 0);
                                        break is_over.store(true, Ordering::SeqCst);
                                    }
                                }
                            }
                        })
                    })
                    .collect();
                threads.into_iter().for_each(|thread| thread.join().unwrap());
            });
            heal(&storage);
            assert_eq!(try_put(&store, "s", b"x", Durability::Synced).unwrap_err().kind(), ErrorKind::Poisoned);
            assert!(!everything(&store).is_empty());
        }
    }
}

#[test]
fn p06_a_store_that_is_used_while_another_panic_unwinds_is_not_stopped() {
    struct AtTheEnd<'s>(&'s Store);
    impl Drop for AtTheEnd<'_> {
        fn drop(&mut self) {
            for level in [Durability::Written, Durability::Synced] {
                let _ = try_put(self.0, "s", b"last words", level).unwrap();
            }
        }
    }
    let storage = MemStorage::new();
    let store = open(&storage);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _last = AtTheEnd(&store);
        panic!("of the program's own");
    }));
    assert!(caught.is_err());
    let _ = try_put(&store, "s", b"goes on", Durability::Synced).unwrap();
    assert_eq!(everything(&store).len(), 3);
    store.close().unwrap();
}
