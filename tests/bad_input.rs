//! What is not a store, or not one that may be opened so: each refused with its kind, nothing changed.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use treering::format::store_block::StoreBlock;
use treering::storage::mem::{Fault, MemStorage, Operation};
use treering::{Error, ErrorKind, Options, ReadOptions, Store};
use treering_tests::store::{alone, everything, open, put, small};

/// Names and bytes of everything below a folder.
fn contents(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default()))
        .collect();
    found.sort();
    found
}

/// Opens for writing and for reading, which must both be refused and change nothing below `around`.
fn refused(around: &Path, path: &Path) -> [Error; 2] {
    let before = contents(around);
    let errors = [
        Store::open(path, small()).map(drop).expect_err("for writing"),
        Store::open_read_only(path, small()).map(drop).expect_err("for reading"),
    ];
    assert!(contents(around) == before, "nothing changed");
    errors
}

fn kinds(errors: &[Error; 2]) -> [ErrorKind; 2] {
    [errors[0].kind(), errors[1].kind()]
}

/// A store with one event.
fn store_at(path: &Path) {
    let store = Store::open(path, small()).unwrap();
    let _ = put(&store, "s", b"x");
    store.close().unwrap();
}

#[test]
fn p07_what_is_not_a_store_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("letter.txt"), "dear").unwrap();
    let errors = refused(&path, &path);
    assert_eq!(kinds(&errors), [ErrorKind::NotAStore, ErrorKind::NotFound]);
    assert!(errors[0].to_string().contains("letter.txt"), "{}", errors[0]);

    fs::write(path.join("identity"), "this is a file about somebody's identity").unwrap();
    assert_eq!(kinds(&refused(&path, &path)), [ErrorKind::NotAStore; 2]);
    fs::write(path.join("identity"), "").unwrap();
    assert_eq!(kinds(&refused(&path, &path)), [ErrorKind::Damage; 2], "it may have been one");
    fs::remove_file(path.join("identity")).unwrap();
    fs::create_dir(path.join("identity")).unwrap();
    assert_eq!(kinds(&refused(&path, &path)), [ErrorKind::NotAStore; 2]);

    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    assert_eq!(kinds(&refused(folder.path(), &file)), [ErrorKind::NotAStore; 2]);
    assert_eq!(kinds(&refused(folder.path(), &file.join("below"))), [ErrorKind::NotAStore; 2]);
}

#[test]
fn p07_a_store_that_is_missing_is_not_made_by_who_did_not_ask_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none");
    for made in [false, true] {
        if made {
            fs::create_dir(&path).unwrap();
        }
        let error = Store::open_read_only(&path, small()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        let error = Store::open(&path, small().create(false)).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert_eq!(path.exists(), made);
        assert!(!made || contents(&path).is_empty());
    }
    store_at(&path); // an empty folder becomes a store
    let store = Store::open_read_only(&path, Options::new()).unwrap();
    assert_eq!(store.read_stream("none", ReadOptions::new()).map(drop).unwrap_err().kind(), ErrorKind::NotFound);
    let error = store.append(&treering::Batch::to("s", treering::Expected::Any, &[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    assert_eq!(store.sync().unwrap_err().kind(), ErrorKind::ReadOnly);
}

#[test]
fn p07_a_store_of_a_newer_version_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    store_at(&path);
    let identity = path.join("identity");
    let good = fs::read(&identity).unwrap();
    let block = StoreBlock::decode(&good).unwrap();

    let mut newer = good.clone();
    newer[8] += 1;
    let check = treering::checksum::long_check(0, &newer[..120]).to_le_bytes();
    newer[120..].copy_from_slice(&check);
    fs::write(&identity, &newer).unwrap();
    let errors = refused(&path, &path);
    assert_eq!(kinds(&errors), [ErrorKind::Unsupported; 2]);
    assert!(errors.iter().all(|error| error.to_string().contains("newer version")), "{errors:?}");

    fs::write(&identity, StoreBlock { incompatible: 1 << 40, ..block }.encode()).unwrap();
    assert_eq!(kinds(&refused(&path, &path)), [ErrorKind::Unsupported; 2]);

    // One damaged bit is damage, neither another version nor something that never was a store: it is not written to, and
    // read by what its segments repeat.
    for byte in [0, 8, 57, 127] {
        let mut damaged = good.clone();
        damaged[byte] ^= 4;
        fs::write(&identity, &damaged).unwrap();
        let before = contents(&path);
        let error = Store::open(&path, small()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damage, "byte {byte}: {error}");
        let reader = Store::open_read_only(&path, small()).unwrap();
        assert_eq!(everything(&reader).len(), 1, "byte {byte}");
        assert!(reader.open_report().damage.iter().any(|damage| damage.file == "identity"), "byte {byte}");
        assert!(contents(&path) == before, "nothing changed");
    }
    fs::write(&identity, &good).unwrap();
    assert_eq!(everything(&Store::open(&path, small()).unwrap()).len(), 1);
}

#[test]
fn p14_a_second_writer_is_told_who_writes_and_readers_are_not_kept_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let writer = Store::open(&path, alone()).unwrap();
    let _ = put(&writer, "s", b"x");
    let error = Store::open(&path, small()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    let pid = std::process::id().to_string();
    // The kernel's table is not shown everywhere; then the message names nobody.
    if fs::read_to_string("/proc/locks").is_ok_and(|locks| locks.contains(&pid)) {
        assert!(error.to_string().contains(&pid), "{error}");
    } else {
        eprintln!("skipped: the kernel's table of locks is not shown here, so nobody can be named");
    }
    let reader = Store::open_read_only(&path, small()).unwrap();
    assert_eq!(everything(&reader).len(), 1);
    let _ = put(&writer, "s", b"y");
    reader.refresh().unwrap();
    assert_eq!(everything(&reader).len(), 2);
    writer.close().unwrap();
    let writer = Store::open(&path, small()).unwrap();
    assert_eq!(everything(&writer).len(), 2, "the lock went with its holder");
}

#[test]
fn p07_on_a_read_only_file_system_nobody_is_told_to_do_what_they_cannot() {
    let storage = MemStorage::new();
    drop(open(&storage));
    let fault =
        Fault { after: 0, error: io::ErrorKind::ReadOnlyFilesystem, sticky: true, on: Some(Operation::Write), keep: 0 };
    storage.inject(fault);
    let error = Store::open_on(Arc::new(storage), small()).map(drop).expect_err("it cannot be written");
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    assert!(error.to_string().ends_with("; what lies on a read-only file system can be read, not written"), "{error}");
}

#[test]
fn p07_a_folder_that_cannot_be_written_is_refused_for_writing_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    store_at(&path);
    let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    set(0o500);
    if fs::write(path.join("probe"), "").is_ok() {
        set(0o700);
        eprintln!("skipped: permissions do not hold for this user");
        return;
    }
    fs::set_permissions(path.join("identity"), fs::Permissions::from_mode(0o400)).unwrap();
    let before = contents(&path);
    let error = Store::open(&path, small()).map(drop).expect_err("it cannot be written");
    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::ReadOnly), "{error:?}");
    assert!(error.to_string().contains("permission"), "{error}");
    assert_eq!(everything(&Store::open_read_only(&path, small()).unwrap()).len(), 1);
    assert!(contents(&path) == before);
    let error = Store::open(path.join("below"), small()).map(drop).expect_err("no store can be made here");
    assert!(error.to_string().contains("permission"), "{error}");
    set(0o700);
}
