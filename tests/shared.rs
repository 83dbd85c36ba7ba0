//! Several processes that append to one store: here as several open stores, each with locks, memory and threads of its own.
//! Real processes are in `kill.rs` and the laboratory.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use treering::storage::Storage;
use treering::storage::mem::MemStorage;
use treering::storage::os::OsStorage;
use treering::{Batch, Durability, ErrorKind, Expected, NewEvent, Options, Revision, Store};
use treering_tests::sim::enumerate::Width;
use treering_tests::sim::lab::{Budget, Count, Profile, Record, explore};
use treering_tests::sim::{SimStorage, several};
use treering_tests::store::{everything, noise, small};

fn together() -> Options {
    small().exclusive(false).sync_interval(Duration::from_millis(20))
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
