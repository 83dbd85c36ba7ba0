//! Several processes that append to one store: here as several open stores, each with locks, memory and threads of its own.
//! Real processes are in `kill.rs` and the laboratory.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use treering::storage::mem::MemStorage;
use treering::storage::os::OsStorage;
use treering::storage::{Access, Storage};
use treering::{
    Batch, Durability, ErrorKind, Expected, NewEvent, Options, Revision, Store, SubscribeOptions, Visibility,
};
use treering_tests::counting::Counting;
use treering_tests::sim::enumerate::Width;
use treering_tests::sim::lab::{Budget, Count, Profile, Record, explore};
use treering_tests::sim::{SimStorage, several};
use treering_tests::store::{PATIENCE, alone, block_on, everything, noise, small, try_put, wait_until};

fn together() -> Options {
    small().sync_interval(Duration::from_millis(20))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn on(path: &Path) -> Arc<dyn Storage> {
    Arc::new(OsStorage::create(path).unwrap())
}

/// A directory, opened as another process would.
type Directory = Box<dyn Fn() -> Arc<dyn Storage>>;

/// One of either kind.
fn storages() -> Vec<(&'static str, Directory, Option<tempfile::TempDir>)> {
    let memory = MemStorage::new();
    let folder = folder();
    let path = folder.path().to_owned();
    vec![
        ("memory", Box::new(move || Arc::new(memory.clone()) as Arc<dyn Storage>), None),
        ("disk", Box::new(move || on(&path)), Some(folder)),
    ]
}

/// The folder's own name is made durable by who opens the store first, in either mode, and not by those who come to it.
#[test]
fn p01_the_folder_is_durable_in_the_one_above_before_anything_is_acknowledged() {
    let memory = MemStorage::new();
    let open = |options: Options| {
        let counting = Counting::new(&memory);
        let store = Store::open_on(Arc::new(counting.clone()), options).unwrap();
        (store, counting.named())
    };
    let (first, named) = open(together());
    assert_eq!(named, 1);
    let (second, named) = open(together());
    assert_eq!((second.open_report().was_open, named), (true, 0));
    first.close().unwrap();
    second.close().unwrap();
    // It may have been copied or moved since.
    for options in [together(), alone()] {
        let (store, named) = open(options);
        assert_eq!(named, 1);
        store.close().unwrap();
    }
    assert_eq!(open(alone().create(false)).1, 1);
}

/// Whoever opens it reads what is behind the last checkpoint, and that lies below what is durable.
#[test]
fn p15_in_a_shared_store_little_waits_for_a_sync_whatever_its_interval() {
    const UNSYNCED_BYTES_MAX: u64 = 2 << 20;
    for (kind, storage, _folder) in storages() {
        let options = Options::new().sync_interval(Duration::from_secs(3600));
        let store = Store::open_on(storage(), options.clone()).unwrap();
        let payload = noise(1, 4000);
        let events = [NewEvent::new("t", &payload)];
        for _ in 0..2000 {
            let _ = store.append(&Batch::to("a", Expected::Any, &events).durability(Durability::Written)).unwrap();
        }
        let waiting = || {
            let marks = store.watermarks();
            marks.committed.0 - marks.durable.0
        };
        wait_until(kind, || waiting() < UNSYNCED_BYTES_MAX);
    }
}

#[test]
fn p12_stores_that_append_by_turns_give_each_revision_once_also_across_rolls() {
    for (kind, storage, _folder) in storages() {
        let stores: Vec<Store> =
            (0..3).map(|_| Store::open_on(storage(), together().background_threads(false)).unwrap()).collect();
        assert!(!stores[0].open_report().was_open && stores[1].open_report().was_open, "{kind}");
        let mut appended = Vec::new();
        for round in 0..400u64 {
            let payload = noise(round, (round * 37 % 700) as usize);
            let store = &stores[(round * 7 % 3) as usize];
            let level = if round % 5 == 0 { Durability::Synced } else { Durability::Written };
            let expected = round.checked_sub(1).map_or(Expected::NoStream, |last| Expected::Exactly(Revision(last)));
            let event = [NewEvent::new("t", &payload)];
            let batch = Batch::to("a", expected, &event);
            let receipt = store.append(&batch.durability(level)).unwrap();
            assert_eq!(receipt.sections[0].first_revision, Revision(round), "{kind}");
            appended.push((receipt.position, payload));
        }
        assert!(stores[0].stat().unwrap().segments > 10, "{kind}");
        for store in &stores {
            store.refresh().unwrap();
            let found: Vec<_> =
                everything(store).into_iter().map(|event| (event.position, event.payload.to_vec())).collect();
            assert_eq!(found, appended, "{kind}");
        }
        drop(stores);
        let store = Store::open_on(storage(), together()).unwrap();
        assert!(store.open_report().was_clean && store.open_report().damage.is_empty(), "{kind}");
        assert_eq!(everything(&store).len(), 400, "{kind}");
    }
}

#[test]
fn p12_an_expected_revision_is_met_by_one_of_all_who_try_at_once() {
    for (kind, storage, _folder) in storages() {
        let wins = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for number in 0..4u8 {
                let (storage, wins) = (&storage, &wins);
                let store = Store::open_on(storage(), together()).unwrap();
                scope.spawn(move || {
                    let mut head = None;
                    for round in 0..150u8 {
                        let expected = head.map_or(Expected::NoStream, Expected::Exactly);
                        let payload = [number, round];
                        let event = [NewEvent::new("t", &payload)];
                        match store.append(&Batch::to("one", expected, &event).durability(Durability::Written)) {
                            Ok(receipt) => {
                                head = Some(receipt.sections[0].last_revision);
                                wins.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                                head = error.conflict().unwrap().actual;
                            }
                        }
                    }
                });
            }
        });
        let store = Store::open_on(storage(), together()).unwrap();
        let events = everything(&store);
        assert_eq!(events.len() as u64, wins.load(Ordering::Relaxed), "{kind}");
        let distinct: BTreeSet<_> = events.iter().map(|event| event.payload.to_vec()).collect();
        assert_eq!(distinct.len(), events.len(), "{kind}");
        assert!(events.iter().enumerate().all(|(number, event)| event.revision == Revision(number as u64)), "{kind}");
    }
}

#[test]
fn p14_processes_that_die_in_the_middle_of_anything_leave_the_others_going_on() {
    let mut total = several::Did::default();
    for seed in 0..120 {
        let machine = SimStorage::new(seed);
        let (_, did) = several::walk(&machine, seed, 60).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        total.deaths += did.deaths;
        total.joined += did.joined;
        total.failures += did.failures;
    }
    assert!(total.deaths > 100 && total.joined > 100 && total.failures > 10, "{total:?}");
}

#[test]
fn p01_what_a_crash_leaves_of_several_writers_is_a_prefix_with_all_that_was_acknowledged() {
    let width = Width { exhaustive: 5, pairs: 10, random: 8, moments_one_in: 9 };
    let mut total = Count::default();
    for seed in 0..8 {
        let machine = SimStorage::new(seed);
        let (account, _) = several::walk(&machine, seed, 40).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        let record = Record::of_run(&machine, account);
        for profile in [Profile::Power, Profile::Hostile, Profile::Killed] {
            let budget = Budget { width, ..Budget::of_environment(40) };
            total += explore(&record, profile, budget, "several writers")
                .unwrap_or_else(|broken| panic!("seed {seed}: {}\n{}", broken.what, broken.replay));
        }
    }
    assert!(total.opened > 300, "{total:?}");
}

#[test]
fn p14_many_who_make_a_store_at_once_share_it() {
    for _ in 0..40 {
        let folder = folder();
        std::thread::scope(|scope| {
            for number in 0..6u8 {
                let storage = on(folder.path());
                scope.spawn(move || {
                    let store = Store::open_on(storage, together()).unwrap();
                    let payload = [number];
                    let event = [NewEvent::new("t", &payload)];
                    let _ =
                        store.append(&Batch::to("a", Expected::Any, &event).durability(Durability::Written)).unwrap();
                });
            }
        });
        let store = Store::open_on(on(folder.path()), together()).unwrap();
        let numbers: BTreeSet<_> = everything(&store).iter().map(|event| event.payload[0]).collect();
        assert_eq!(numbers, BTreeSet::from([0, 1, 2, 3, 4, 5]));
    }
}

#[test]
fn p13_followers_beside_several_writers_see_each_event_once_and_in_order() {
    const EVENTS: usize = 300;
    for (kind, storage, _folder) in storages() {
        let stores: Vec<Store> = (0..3).map(|_| Store::open_on(storage(), together()).unwrap()).collect();
        let reader = Store::open_read_only_on(storage(), together()).unwrap();
        // Nothing but the task's wait has its process look at the log: without a wake-up it would wait for ever.
        let of_tasks = Store::open_on(storage(), together().background_threads(false)).unwrap();
        std::thread::scope(|scope| {
            let mut followers = Vec::new();
            for store in [&stores[2], &reader] {
                for visibility in [Visibility::Durable, Visibility::Committed] {
                    let mut events = store.subscribe(SubscribeOptions::stream("a").visibility(visibility)).unwrap();
                    followers.push(scope.spawn(move || {
                        let next = |_| events.next_timeout(PATIENCE).unwrap().expect("it comes").revision;
                        (0..EVENTS).map(next).collect::<Vec<_>>()
                    }));
                }
            }
            // A task is woken by what another process appends, too.
            let mut events = of_tasks.subscribe(SubscribeOptions::stream("a")).unwrap();
            followers.push(
                scope.spawn(move || (0..EVENTS).map(|_| block_on(events.next_async()).unwrap().revision).collect()),
            );
            for round in 0..EVENTS {
                let level = if round % 7 == 0 { Durability::Synced } else { Durability::Written };
                let _ = try_put(&stores[round % 2], "a", &noise(round as u64, round % 500), level).unwrap();
            }
            let expected: Vec<_> = (0..EVENTS as u64).map(Revision).collect();
            for follower in followers {
                assert_eq!(follower.join().unwrap(), expected, "{kind}");
            }
        });
    }
}

#[test]
fn p14_a_turn_that_does_not_end_is_named_and_takes_nothing() {
    let folder = folder();
    let store = Store::open_on(on(folder.path()), together().patience(Duration::from_millis(60))).unwrap();
    let _ = try_put(&store, "a", b"before", Durability::Synced).unwrap();
    let identity = on(folder.path()).open("identity", Access::ReadWrite).unwrap();
    assert!(identity.try_lock().unwrap(), "nobody has the turn");
    let error = try_put(&store, "a", b"kept out", Durability::Written).expect_err("it is not its turn");
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    store.refresh().unwrap();
    assert_eq!(everything(&store).len(), 1, "readers are not kept waiting, and nothing was appended");
    let error =
        Store::open_on(on(folder.path()), together().patience(Duration::from_millis(60))).expect_err("the same");
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    identity.unlock().unwrap();
    let _ = try_put(&store, "a", b"after", Durability::Synced).unwrap();
    assert_eq!(everything(&store).len(), 2);
}

#[test]
fn p14_who_writes_alone_and_who_writes_together_keep_each_other_out() {
    let folder = folder();
    let shared = Store::open_on(on(folder.path()), together()).unwrap();
    let error = Store::open_on(on(folder.path()), alone()).expect_err("somebody writes");
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    shared.close().unwrap();
    let alone = Store::open_on(on(folder.path()), alone()).unwrap();
    let error = Store::open_on(on(folder.path()), together()).expect_err("somebody writes alone");
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    alone.close().unwrap();
    let _ = Store::open_on(on(folder.path()), together()).unwrap();
}

#[test]
fn p11_of_those_who_share_a_store_one_makes_what_is_derived_anew() {
    let folder = folder();
    let open = || Store::open_on(on(folder.path()), together().background_threads(false)).unwrap();
    let (worker, other) = (open(), open());
    for number in 0..150 {
        let _ = try_put(&other, "a", &noise(number, 300), Durability::Written).unwrap();
    }
    worker.refresh().unwrap();
    worker.work_in_background().unwrap();
    let error = other.reindex(&mut |_, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    assert!(worker.reindex(&mut |_, _| {}).unwrap().indexed_segments > 2);
    worker.close().unwrap();
    assert!(other.reindex(&mut |_, _| {}).unwrap().indexed_segments > 2);
    assert_eq!(everything(&other).len(), 150);
}

#[test]
fn p11_the_control_page_may_be_removed_or_replaced_under_several_writers() {
    for (kind, storage, _folder) in storages() {
        let stores: Vec<Store> =
            (0..3).map(|_| Store::open_on(storage(), together().background_threads(false)).unwrap()).collect();
        let directory = storage();
        for round in 0..120u64 {
            match round % 12 {
                3 => directory.remove("control").unwrap(),
                7 => {
                    directory.remove("control").unwrap();
                    let file = directory.create("control", 0).unwrap();
                    file.write_at(&[0xA5; 4096], 0).unwrap();
                }
                11 => {
                    let _ = directory.remove("control"); // there may be none where nobody came by since
                    let _ = directory.create("control", 0).unwrap();
                }
                _ => {}
            }
            let level = if round % 3 == 0 { Durability::Synced } else { Durability::Written };
            let store = &stores[(round * 5 % 3) as usize];
            let receipt = try_put(store, "a", &noise(round, 200), level).unwrap();
            assert_eq!(receipt.sections[0].first_revision, Revision(round), "{kind}");
        }
        for store in &stores {
            store.refresh().unwrap();
            assert_eq!(everything(store).len(), 120, "{kind}");
        }
    }
}
