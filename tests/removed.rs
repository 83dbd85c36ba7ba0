//! Files that are taken away under a writer: whatever lost its name ends with the process, so nothing more is acknowledged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use treering::storage::Storage;
use treering::storage::mem::MemStorage;
use treering::{Batch, Durability, ErrorKind, Expected, NewEvent, Options, Receipt, Result, Store, maintain};
use treering_tests::store::{PATIENCE, block_on, everything, noise, open, small, try_put};

/// The files of the log, in order.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<PathBuf> = names.filter(|path| path.extension().is_some_and(|it| it == "segment")).collect();
    names.sort();
    names
}

fn name_of(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Another file of the same bytes takes the name, as a copy that is put back does.
fn replace(path: &Path) {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    fs::rename(&copy, path).unwrap();
}

/// Takes something away from a store whose last segment is being written; returns the name that the error is to say.
type Taken = fn(&Path) -> String;

fn active(folder: &Path) -> (PathBuf, String) {
    let path = segments(folder).pop().unwrap();
    let name = name_of(&path).to_owned();
    (path, name)
}

const WAYS: [(&str, Taken); 8] = [
    ("the whole folder", |folder| {
        let (_, name) = active(folder);
        fs::remove_dir_all(folder).unwrap();
        name
    }),
    ("all in the folder", |folder| {
        let (_, name) = active(folder);
        fs::read_dir(folder).unwrap().for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
        name
    }),
    ("the active segment", |folder| {
        let (path, name) = active(folder);
        fs::remove_file(path).unwrap();
        name
    }),
    ("the active segment, to elsewhere", |folder| {
        let (path, name) = active(folder);
        fs::rename(&path, path.with_extension("archived")).unwrap();
        name
    }),
    ("the active segment, with another name left", |folder| {
        let (path, name) = active(folder);
        fs::hard_link(&path, path.with_extension("backup")).unwrap();
        fs::remove_file(path).unwrap();
        name
    }),
    ("the active segment, for a copy", |folder| {
        let (path, name) = active(folder);
        replace(&path);
        name
    }),
    ("the identity file", |folder| {
        fs::remove_file(folder.join("identity")).unwrap();
        "identity".into()
    }),
    ("the identity file, for a copy", |folder| {
        replace(&folder.join("identity"));
        "identity".into()
    }),
];

/// The ways to append at level Synced.
type Append = fn(&Store, &Batch<'_>) -> Result<Receipt>;
const APPENDS: [Append; 3] = [
    |store, batch| store.append(batch),
    |store, batch| store.submit(batch)?.wait(),
    |store, batch| block_on(store.submit(batch)?),
];

#[test]
fn p06_a_writer_whose_files_are_taken_away_acknowledges_nothing_more() {
    for (what, take) in WAYS {
        for (number, append) in APPENDS.into_iter().enumerate() {
            let is_exclusive = number != 0;
            let parent = tempfile::tempdir().unwrap();
            let folder = parent.path().join("store");
            let store = Store::open(&folder, small().exclusive(is_exclusive)).unwrap();
            let _ = try_put(&store, "s", b"one", Durability::Synced).unwrap();
            let _ = try_put(&store, "s", b"two", Durability::Written).unwrap();
            let name = take(&folder);
            let event = [NewEvent::new("t", "three")];
            let batch = Batch::to("s", Expected::Any, &event);
            let error = append(&store, &batch).expect_err(what);
            let place = format!("{what}, exclusive {is_exclusive}: {error}");
            assert_eq!(error.kind(), ErrorKind::Removed, "{place}");
            assert!(error.is_outcome_unknown(), "{place}");
            assert!(error.to_string().contains(&format!("the file {name} of the store")), "{place}");
            for level in [Durability::Written, Durability::Synced] {
                assert_eq!(try_put(&store, "s", b"later", level).unwrap_err().kind(), ErrorKind::Removed, "{place}");
            }
            assert_eq!(store.sync().unwrap_err().kind(), ErrorKind::Removed, "{place}");
            assert_eq!(store.watermarks().durable, first_end(&store), "{place}");
            assert_eq!(everything(&store).len(), 3, "reading goes on: {place}");
            assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Removed, "{place}");
        }
    }
}

/// Behind the first event, up to where the log was synced.
fn first_end(store: &Store) -> treering::Position {
    everything(store)[1].position
}

#[test]
fn p06_what_nobody_waits_for_is_refused_too_once_the_background_finds_its_files_gone() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    let options = Options::new().exclusive(true).sync_interval(Duration::from_millis(1));
    let store = Store::open(&folder, options).unwrap();
    let _ = try_put(&store, "s", b"one", Durability::Synced).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let give_up = Instant::now() + PATIENCE;
    let error = loop {
        match try_put(&store, "s", b"more", Durability::Written) {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < give_up, "appends go on without files"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(error.kind(), ErrorKind::Removed, "{error}");
    assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Removed);
}

#[test]
fn p06_closing_and_syncing_say_that_files_are_gone_also_where_all_was_durable() {
    for (what, take) in WAYS {
        for is_closing in [true, false] {
            let parent = tempfile::tempdir().unwrap();
            let folder = parent.path().join("store");
            let store = Store::open(&folder, small().exclusive(true)).unwrap();
            let _ = try_put(&store, "s", b"one", Durability::Synced).unwrap();
            let _ = take(&folder);
            let told = if is_closing { store.close() } else { store.sync().map(drop) };
            assert_eq!(told.expect_err(what).kind(), ErrorKind::Removed, "{what}");
        }
    }
}

#[test]
fn p06_a_segment_that_was_left_and_not_synced_is_looked_at_too() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = try_put(&store, "s", b"one", Durability::Synced).unwrap();
    let before = storage.list().unwrap().len();
    let mut number = 0;
    while storage.list().unwrap().len() <= before {
        number += 1;
        let _ = try_put(&store, "s", &noise(number, 3000), Durability::Written).unwrap();
    }
    let names = storage.list().unwrap().into_iter().map(|entry| entry.name);
    let first = names.filter(|name| name.ends_with(".segment")).min().unwrap();
    storage.remove(&first).unwrap();
    let error = try_put(&store, "s", b"last", Durability::Synced).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Removed, "{error}");
    assert!(error.to_string().contains(&first), "{error}");
}

#[test]
fn p06_where_no_next_segment_can_be_made_the_reason_is_told() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    let store = Store::open(&folder, small().exclusive(true)).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let append = || (0..100).find_map(|number| try_put(&store, "s", &noise(number, 3000), Durability::Written).err());
    let error = append().expect("the folder takes no other file");
    assert_eq!(error.kind(), ErrorKind::Removed, "{error}");
}

#[test]
fn p01_a_folder_that_is_moved_under_its_writer_stays_its_store() {
    for is_exclusive in [true, false] {
        let parent = tempfile::tempdir().unwrap();
        let (folder, moved) = (parent.path().join("store"), parent.path().join("moved"));
        let store = Store::open(&folder, small().exclusive(is_exclusive)).unwrap();
        let _ = try_put(&store, "s", b"one", Durability::Synced).unwrap();
        let incarnation = store.open_report().incarnation;
        fs::rename(&folder, &moved).unwrap();
        for number in 0..20 {
            let _ = try_put(&store, "s", &noise(number, 3000), Durability::Synced).unwrap();
        }
        store.close().unwrap();
        assert!(segments(&moved).len() > 3, "the log goes on in new files there");
        assert!(!folder.exists());
        let store = Store::open(&moved, small()).unwrap();
        assert_eq!(everything(&store).len(), 21);
        assert_eq!(store.open_report().incarnation, incarnation);
    }
}

#[test]
fn p11_derived_files_may_be_removed_under_a_writer_that_goes_on() {
    for is_exclusive in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), small().exclusive(is_exclusive)).unwrap();
        let mut has_removed_prepared = false;
        for number in 0..60 {
            let _ = try_put(&store, "s", &noise(number, 1500), Durability::Synced).unwrap();
            store.work_in_background().unwrap();
            for entry in fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
                let is_prepared = entry.extension().is_some_and(|it| it == "prepared");
                if is_prepared || name_of(&entry) != "identity" && entry.extension().is_none_or(|it| it != "segment") {
                    has_removed_prepared |= is_prepared;
                    let _ = fs::remove_file(&entry); // a thread may have been faster
                }
            }
        }
        assert!(has_removed_prepared || !is_exclusive);
        store.close().unwrap();
        let store = Store::open(folder.path(), small()).unwrap();
        assert_eq!(everything(&store).len(), 60);
        drop(store);
        assert!(maintain::verify(folder.path(), &mut ()).unwrap().damage.is_empty());
    }
}

#[test]
fn p06_all_who_share_a_store_stop_where_its_files_are_taken_away() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    let stores = [(); 2].map(|()| Arc::new(Store::open(&folder, small().exclusive(false)).unwrap()));
    for store in &stores {
        let _ = try_put(store, "s", b"one", Durability::Synced).unwrap();
    }
    fs::remove_file(folder.join("identity")).unwrap();
    for store in &stores {
        let error = try_put(store, "s", b"two", Durability::Synced).unwrap_err();
        assert!([ErrorKind::Removed, ErrorKind::Poisoned].contains(&error.kind()), "{error}");
    }
}
