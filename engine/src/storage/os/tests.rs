//! What only a real directory can show: links, pipes, limits, other processes.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};
use tempfile::TempDir;

use super::*;

fn folder() -> (TempDir, OsStorage) {
    let folder = tempfile::tempdir().unwrap();
    let storage = OsStorage::open(folder.path()).unwrap();
    (folder, storage)
}

#[test]
fn only_regular_files_are_opened_and_nothing_is_waited_for() {
    let (folder, storage) = folder();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), "x").unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    symlink("file", at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    fs::mknodat(fs::CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();

    for name in ["folder", "link", "dangling", "pipe", "socket"] {
        for access in [Access::Read, Access::ReadWrite] {
            let error = storage.open(name, access).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name} {access:?}: {error}");
        }
        assert_eq!(storage.create(name, 0).unwrap_err().kind(), io::ErrorKind::AlreadyExists, "{name}");
        assert_eq!(storage.rename("file", name).unwrap_err().kind(), io::ErrorKind::AlreadyExists, "{name}");
    }
    assert!(!at("nowhere").exists(), "a dangling link is not followed to create");
    for entry in storage.list().unwrap() {
        assert_eq!((entry.is_file, entry.len), if entry.name == "file" { (true, 1) } else { (false, 0) }, "{entry:?}");
    }
}

#[test]
fn names_stay_in_the_folder_that_was_opened() {
    let outer = tempfile::tempdir().unwrap();
    let (first, second) = (outer.path().join("first"), outer.path().join("second"));
    let storage = OsStorage::create(&first).unwrap();
    std::fs::rename(&first, &second).unwrap();
    std::fs::create_dir(&first).unwrap();
    storage.create("a", 0).unwrap();
    assert!(second.join("a").exists() && !first.join("a").exists());
    assert_eq!((storage.path(), storage.describe()), (&*first, first.display().to_string()));
}

#[test]
fn a_folder_is_made_with_its_parents_and_nothing_else_is_taken_for_one() {
    let outer = tempfile::tempdir().unwrap();
    let deep = outer.path().join("a/b/../b/c");
    assert_eq!(OsStorage::open(&deep).unwrap_err().kind(), io::ErrorKind::NotFound);
    std::fs::create_dir_all(outer.path().join("a/b")).unwrap();
    OsStorage::create(&deep).unwrap().create("x", 1).unwrap();
    assert_eq!(OsStorage::create(&deep).unwrap().list().unwrap().len(), 1, "what is there stays");
    OsStorage::create(&outer.path().join("p/q/r/s/")).unwrap();
    assert!(outer.path().join("p/q/r/s").is_dir());

    let file = deep.join("x");
    assert_eq!(OsStorage::open(&file).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    assert_eq!(OsStorage::create(&file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(OsStorage::create(&file.join("y")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    assert_eq!(OsStorage::create(Path::new("")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    OsStorage::create(Path::new(".")).unwrap();
    OsStorage::create(Path::new("/")).unwrap();
}

#[test]
fn the_rename_by_link_never_replaces_either() {
    let (_folder, storage) = folder();
    storage.create("a", 1).unwrap();
    storage.create("b", 2).unwrap();
    assert_eq!(storage.rename_by_link("a", "b").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(storage.rename_by_link("none", "c").unwrap_err().kind(), io::ErrorKind::NotFound);
    storage.rename_by_link("a", "c").unwrap();
    let mut found: Vec<_> = storage.list().unwrap().into_iter().map(|entry| (entry.name, entry.len)).collect();
    found.sort();
    assert_eq!(found, [("b".to_owned(), 2), ("c".to_owned(), 1)]);
}

#[test]
fn a_page_that_is_gone_is_an_error_and_no_signal() {
    let (folder, storage) = folder();
    let file = storage.create("a", 40_000).unwrap();
    let mapping = file.map().unwrap();
    mapping.populate(0..40_000).unwrap();
    std::fs::File::options().write(true).open(folder.path().join("a")).unwrap().set_len(10_000).unwrap();
    assert_eq!(mapping.populate(0..40_000).unwrap_err().kind(), io::ErrorKind::Other);
    mapping.populate(0..10_000).unwrap();
    mapping.populate(9_000..12_000).expect("the rest of the last page is there");
}

#[test]
fn the_birth_of_a_file_lies_near_its_making() {
    let (_folder, storage) = folder();
    let file = storage.create("a", 0).unwrap();
    let birth = file.place().unwrap().birth;
    // Some file systems keep no such time; the kernel's coarse clock may lag a little.
    assert!(birth == 0 || (storage.now() - birth).abs() < 10_000_000_000, "{birth}");
}

#[test]
fn a_boot_id_is_read_with_and_without_hyphens() {
    let id = BootId(*b"\x12\x34\x56\x78\x9a\xbc\xde\xf0\x12\x34\x56\x78\x9a\xbc\xde\xf0");
    assert_eq!(parse_boot_id("12345678-9abc-def0-1234-56789abcdef0\n"), id);
    assert_eq!(parse_boot_id("123456789abcdef0123456789abcdef0"), id);
    for bad in ["", "\n", "12345678", "x2345678-9abc-def0-1234-56789abcdef0"] {
        assert_eq!(parse_boot_id(bad), BootId::default(), "{bad:?}");
    }
}

/// What the test binary does when it is started again by one of the tests below, in the folder named here.
const ROLE: &str = "TREERING_STORAGE_TEST_FOLDER";

/// Runs one test of this module again, in a process of its own.
fn again(test: &str, folder: &TempDir) -> Command {
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--exact").arg(name).arg("--nocapture").env(ROLE, folder.path());
    command
}

fn role() -> Option<OsStorage> {
    std::env::var_os(ROLE).map(|folder| OsStorage::open(Path::new(&folder)).unwrap())
}

#[test]
fn the_limit_on_file_sizes_is_an_error_and_no_signal() {
    if let Some(storage) = role() {
        // The signal would end this process.
        setrlimit(Resource::Fsize, Rlimit { current: Some(8192), maximum: Some(8192) }).unwrap();
        let file = storage.create("limited", 0).unwrap();
        let error = file.write_at(&[7; 10_000], 0).unwrap_err();
        assert_eq!((error.kind(), file.len().unwrap()), (io::ErrorKind::FileTooLarge, 8192));
        assert_eq!(file.write_at(&[7], 8192).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        file.write_at(&[8; 8192], 0).unwrap();
        assert_eq!(storage.create("long", 8193).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        storage.create("fits", 8192).unwrap();
        return;
    }
    let (folder, storage) = folder();
    let output = again("the_limit_on_file_sizes_is_an_error_and_no_signal", &folder).output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let mut names: Vec<_> = storage.list().unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    assert_eq!(names, ["fits", "limited"], "the other process did its part, and left no half-made file");
}

#[test]
fn another_process_holds_the_lock_and_is_named() {
    if let Some(storage) = role() {
        let file = storage.open("lock", Access::ReadWrite).unwrap();
        assert!(file.try_lock().unwrap());
        storage.create("locked", 0).unwrap();
        loop {
            std::thread::park();
        }
    }
    let (folder, storage) = folder();
    let file = storage.create("lock", 0).unwrap();
    let mut child =
        again("another_process_holds_the_lock_and_is_named", &folder).stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while storage.open("locked", Access::Read).is_err() {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "the child never took the lock");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!file.try_lock().unwrap());
    let holder = file.lock_holder().expect("the lock is held");
    assert_eq!(holder.pid, child.id());
    assert!(holder.state.is_some_and(|state| state.is_ascii_alphabetic()), "{holder:?}");
    assert!(holder.command.is_some_and(|command| command.starts_with("treering")));

    child.kill().unwrap();
    child.wait().unwrap();
    assert!(file.try_lock().unwrap(), "the kernel frees the lock of the dead");
    assert_eq!(file.lock_holder().map(|holder| holder.pid), Some(std::process::id()));
}

#[test]
fn an_inherited_descriptor_does_not_keep_the_lock() {
    let (_folder, storage) = folder();
    storage.create("lock", 0).unwrap();
    let descriptor = fs::openat(&storage.directory, "lock", OFlags::RDWR, Mode::empty()).unwrap();
    // The same open file in another hand, as a child has it after a fork.
    let inherited = descriptor.try_clone().unwrap();
    let file = OsFile::new(descriptor, Home::here().unwrap());
    assert!(file.try_lock().unwrap());
    let other = storage.open("lock", Access::Read).unwrap();
    assert!(!other.try_lock().unwrap());
    drop(file);
    assert!(other.try_lock().unwrap());
    drop(inherited);
}

#[test]
fn in_a_fork_nothing_is_changed_through_what_was_inherited() {
    use crate::storage::home::{Child, Fork};

    for how in [Fork::Plain, Fork::Bare] {
        let (_folder, storage) = folder();
        let file = storage.create("a", 8192).unwrap();
        file.allocate(0..8192).unwrap();
        file.write_at(b"ring", 0).unwrap();
        assert!(file.try_lock().unwrap());
        let mapped = file.map_writable(0..4096).and_then(|mapping| Ok((mapping, file.map_words(512)?)));
        let mapped = std::cell::Cell::new(Some(mapped));
        let kept = std::cell::Cell::new(Some(Arc::clone(&file)));
        let process = std::process::id();
        let child = Child::fork(how, || {
            let refused = |done: io::Result<()>| {
                let error = done.expect_err("a fork is refused");
                assert!(error.to_string().contains(&process.to_string()), "{error}");
            };
            assert_eq!(storage.forked_from(), Some(process));
            let none = |_: Arc<dyn StorageFile>| ();
            refused(file.write_at(b"x", 0));
            refused(file.rewrite_at(b"x", 0));
            refused(file.allocate(0..8192));
            refused(file.punch(0..4096));
            refused(file.sync_data());
            refused(file.sync_all());
            refused(file.try_lock().map(drop));
            refused(file.unlock());
            refused(file.map_writable(0..4096).map(drop));
            refused(file.map_words(8).map(drop));
            refused(storage.create("b", 0).map(none));
            refused(storage.rename("a", "b"));
            refused(storage.remove("a"));
            refused(storage.sync_directory());
            let again = storage.open("a", Access::ReadWrite).unwrap();
            refused(again.write_at(b"x", 0));
            if let Ok((mut mapping, words)) = mapped.take().unwrap() {
                refused(mapping.copy_in(0, b"x"));
                refused(mapping.prefaulter().prefault(0..4096));
                words.store(1, 7);
                assert_eq!(words.load(1), 0);
            }
            let mut bytes = [0; 4];
            assert!(again.read_at(&mut bytes, 0).is_ok_and(|read| read == 4) && bytes == *b"ring", "reading works");
            drop((again, kept.take()));
            0
        });
        assert_eq!(child.unwrap().wait().unwrap(), Some(0), "{how:?}");
        let mut bytes = [0; 8192];
        assert_eq!(storage.open("a", Access::Read).unwrap().read_at(&mut bytes, 0).unwrap(), 8192);
        assert!(bytes[..4] == *b"ring" && bytes[4..].iter().all(|byte| *byte == 0), "{how:?}");
        let names: Vec<_> = storage.list().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["a"], "{how:?}");
        assert!(!storage.open("a", Access::Read).unwrap().try_lock().unwrap(), "the lock stays with the parent");
    }
}
