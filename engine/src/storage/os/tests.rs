//! What only a real directory can show: links, pipes, limits, other processes.

use std::ops::Range;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};
use tempfile::TempDir;

use super::*;
use crate::storage::{LockHolder, LockKind};

/// How long a test waits for another process.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// A mounted tmpfs of a MiB, gone with the value.
struct SmallTmpfs(TempDir);

impl SmallTmpfs {
    /// `None` where it cannot be had.
    fn mount() -> Option<SmallTmpfs> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(SmallTmpfs(folder))
    }
}

impl Drop for SmallTmpfs {
    fn drop(&mut self) {
        // Lazily: a test that failed may still have files open.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn p09_a_hole_that_a_full_tmpfs_has_no_page_for_is_read() {
    const PAGE: usize = 4096;
    let Some(small) = SmallTmpfs::mount() else { return eprintln!("skipped: only root may mount a tmpfs") };
    let storage = OsStorage::open(small.0.path()).unwrap();
    let file = storage.create("a", (32 * PAGE) as u64).unwrap();
    file.write_at(b"three", (3 * PAGE) as u64).unwrap();
    let ballast = storage.create("ballast", 0).unwrap();
    while ballast.write_at(&[1; PAGE], ballast.len().unwrap()).is_ok() {}

    let mapping = file.map().unwrap();
    let kept = mapping.bytes(3 * PAGE..4 * PAGE);
    assert_eq!(mapping.populate(0..16 * PAGE).unwrap_err().kind(), io::ErrorKind::Other);
    assert!(!mapping.has_copies());
    mapping.fetch(100..16 * PAGE, &file).unwrap();
    assert!(mapping.has_copies() && !mapping.is_copy());
    let is_zero = |range: Range<usize>| mapping.as_slice()[range].iter().all(|byte| *byte == 0);
    assert!(kept.starts_with(b"three") && is_zero(0..3 * PAGE) && is_zero(4 * PAGE..16 * PAGE));
    // The page that was there is still the file's.
    file.write_at(b"THREE", (3 * PAGE) as u64).unwrap();
    assert!(kept.starts_with(b"THREE"));

    // What is written to a copy later is seen once it is fetched again.
    storage.remove("ballast").unwrap();
    drop(ballast);
    file.write_at(b"five", (5 * PAGE) as u64 + 7).unwrap();
    assert!(is_zero(5 * PAGE..6 * PAGE));
    mapping.fetch(5 * PAGE..5 * PAGE + 8, &file).unwrap();
    assert_eq!(&mapping.as_slice()[5 * PAGE + 7..][..4], b"f\0\0\0");
    mapping.fetch(0..16 * PAGE, &file).unwrap();
    assert_eq!(&mapping.as_slice()[5 * PAGE + 7..][..4], b"five");

    // A file that is cut short is no hole.
    std::fs::File::options().write(true).open(small.0.path().join("a")).unwrap().set_len(18 * PAGE as u64).unwrap();
    mapping.fetch(16 * PAGE..18 * PAGE, &file).unwrap();
    let cut = mapping.fetch(16 * PAGE..20 * PAGE, &file).unwrap_err();
    assert!(cut.kind() == io::ErrorKind::Other && cut.to_string().contains("cannot be had"), "{cut}");
}

#[test]
fn a_file_that_is_still_written_is_read_no_further_than_asked() {
    let (_folder, storage) = folder();
    let file = storage.create("a", 16 << 20).unwrap();
    file.allocate(0..4 << 20).unwrap();
    file.write_at(&[7; 100], 0).unwrap();
    file.sync_data().unwrap();
    file.map().unwrap().populate(0..64 << 10).unwrap();
    // Of blocks that were allocated and not written, those count as data whose pages are in the cache.
    let data = file.next_data(0).unwrap().unwrap();
    assert!(data.start == 0 && data.end <= 64 << 10, "{data:?}");
    // One that is whole is read ahead.
    file.write_at(&[7; 4096], (16 << 20) - 4096).unwrap();
    assert_eq!(file.map().unwrap().as_slice()[(16 << 20) - 1], 7);
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
        // It is asked for anew where writing goes on, after a mebibyte at the latest.
        let raised = Rlimit { current: Some(2 << 20), maximum: Some(2 << 20) };
        if setrlimit(Resource::Fsize, raised).is_ok() {
            file.write_at(&[9; 8192], (2 << 20) - 8192).unwrap();
            assert_eq!(file.write_at(&[9; 2], (2 << 20) - 1).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        }
        return;
    }
    let (folder, storage) = folder();
    let output = again("the_limit_on_file_sizes_is_an_error_and_no_signal", &folder).output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let mut names: Vec<_> = storage.list().unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    assert_eq!(names, ["fits", "limited"], "the other process did its part, and left no half-made file");
}

/// A process that is this test run again, until it is dropped.
struct Holder(std::process::Child);

impl Holder {
    /// Starts it and waits until it says that it has its locks.
    fn start(test: &str, folder: &TempDir, storage: &OsStorage) -> Holder {
        let mut holder = Holder(again(test, folder).stdout(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while storage.open("locked", Access::Read).is_err() {
            let is_there = holder.0.try_wait().unwrap().is_none();
            assert!(Instant::now() < deadline && is_there, "the child never took the lock");
            std::thread::sleep(Duration::from_millis(5));
        }
        holder
    }

    /// What the other process does once it has its locks.
    fn stay(storage: &OsStorage) -> ! {
        storage.create("locked", 0).unwrap();
        loop {
            std::thread::park();
        }
    }

    fn stop(&self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        // The signal is on its way until its effect is there to see.
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap().contains(") T ") {
            assert!(Instant::now() < deadline, "the child never stopped");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_named_by(&self, holder: &LockHolder) {
        assert_eq!(holder.pid, self.0.id());
        assert!(holder.state.is_some_and(|state| state.is_ascii_alphabetic()), "{holder:?}");
        assert!(holder.command.as_ref().is_some_and(|command| command.starts_with("treering")), "{holder:?}");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn another_process_holds_the_lock_and_is_named() {
    if let Some(storage) = role() {
        let file = storage.open("lock", Access::ReadWrite).unwrap();
        assert!(file.try_lock().unwrap());
        Holder::stay(&storage);
    }
    let (folder, storage) = folder();
    let file = storage.create("lock", 0).unwrap();
    let other = Holder::start("another_process_holds_the_lock_and_is_named", &folder, &storage);
    assert!(!file.try_lock().unwrap());
    other.is_named_by(&file.lock_holder().expect("the lock is held"));
    other.stop();
    assert_eq!(file.lock_holder().and_then(|holder| holder.state), Some('T'));
    drop(other);
    assert!(file.try_lock().unwrap(), "the kernel frees the lock of the dead");
    assert_eq!(file.lock_holder().map(|holder| holder.pid), Some(std::process::id()));
}

#[test]
fn another_process_holds_bytes_and_is_named() {
    use LockKind::{Exclusive, Shared};
    if let Some(storage) = role() {
        let file = storage.open("lock", Access::ReadWrite).unwrap();
        for (at, kind) in [(4, Exclusive), (5, Exclusive), (6, Exclusive), (9, Shared)] {
            assert!(file.try_lock_byte(at, kind).unwrap());
        }
        Holder::stay(&storage);
    }
    let (folder, storage) = folder();
    let file = storage.create("lock", 0).unwrap();
    assert!(file.try_lock_byte(9, Shared).unwrap());
    let other = Holder::start("another_process_holds_bytes_and_is_named", &folder, &storage);
    for at in 4..7 {
        assert!(!file.try_lock_byte(at, Shared).unwrap() && file.is_byte_locked(at, Shared).unwrap());
        let [(holder, Exclusive)] = &file.byte_holders(at)[..] else { panic!("{:?}", file.byte_holders(at)) };
        other.is_named_by(holder);
    }
    assert!(!file.is_byte_locked(9, Shared).unwrap() && !file.try_lock_byte(9, Exclusive).unwrap());
    let holders = file.byte_holders(9);
    let mut pids: Vec<_> = holders.iter().map(|(holder, kind)| (holder.pid, *kind)).collect();
    pids.sort_by_key(|(pid, _)| *pid != other.0.id());
    assert_eq!(pids, [(other.0.id(), Shared), (std::process::id(), Shared)]);
    assert_eq!(file.byte_holders(8), []);
    other.stop();
    assert_eq!(file.byte_holders(4)[0].0.state, Some('T'));
    drop(other);
    for at in [4, 5, 6, 9] {
        assert!(file.try_lock_byte(at, Exclusive).unwrap(), "the kernel frees the locks of the dead");
    }
}

#[test]
fn an_inherited_descriptor_does_not_keep_the_locks() {
    let (_folder, storage) = folder();
    storage.create("lock", 0).unwrap();
    let descriptor = fs::openat(&storage.directory, "lock", OFlags::RDWR, Mode::empty()).unwrap();
    // The same open file in another hand, as a child has it after a fork.
    let inherited = descriptor.try_clone().unwrap();
    let file = OsFile::new(descriptor, Home::here().unwrap());
    let bytes = [0, 77, 1 << 62];
    assert!(file.try_lock().unwrap() && bytes.iter().all(|at| file.try_lock_byte(*at, LockKind::Exclusive).unwrap()));
    let other = storage.open("lock", Access::Read).unwrap();
    assert!(!other.try_lock().unwrap() && bytes.iter().all(|at| other.is_byte_locked(*at, LockKind::Shared).unwrap()));
    drop(file);
    assert!(other.try_lock().unwrap() && bytes.iter().all(|at| other.try_lock_byte(*at, LockKind::Shared).unwrap()));
    drop(inherited);
}

/// While any lock is held through a file, a fork finds its descriptor and takes it from the child.
#[test]
fn a_fork_has_no_share_in_locks_that_came_and_went_beside_each_other() {
    use crate::storage::home::{Child, Fork};

    let (_folder, storage) = folder();
    let file = storage.create("a", 0).unwrap();
    let place = file.place().unwrap();
    let whole = |is_taken| {
        assert!(if is_taken { file.try_lock().unwrap() } else { file.unlock().is_ok() });
    };
    let byte = |at, is_taken| {
        let lock = || file.try_lock_byte(at, LockKind::Exclusive).unwrap();
        assert!(if is_taken { lock() } else { file.unlock_byte(at).is_ok() });
    };
    /// What is done to the file's locks, and whether any of them is held then.
    type Step<'s> = (&'s dyn Fn(), bool);
    let steps: [Step<'_>; 10] = [
        (&|| byte(1, true), true),
        (&|| whole(true), true),
        (&|| whole(false), true),
        (&|| byte(2, true), true),
        (&|| byte(1, false), true),
        (&|| byte(1, false), true),
        (&|| whole(true), true),
        (&|| byte(2, false), true),
        (&|| whole(false), false),
        (&|| byte(3, true), true),
    ];
    for (at, (step, is_held)) in steps.into_iter().enumerate() {
        step();
        // In the child a locked descriptor leads nowhere.
        let child = Child::fork(Fork::Plain, || u8::from(file.place().is_ok_and(|found| found == place)));
        let wanted = u8::from(!is_held);
        assert_eq!(child.unwrap().wait().unwrap(), Some(wanted), "step {at}");
    }
}

#[test]
fn in_a_fork_nothing_is_changed_through_what_was_inherited() {
    use crate::storage::home::{Child, Fork};

    for how in [Fork::Plain, Fork::Bare] {
        let (_folder, storage) = folder();
        let file = storage.create("a", 8192).unwrap();
        file.allocate(0..8192).unwrap();
        file.write_at(b"ring", 0).unwrap();
        assert!(file.try_lock().unwrap() && file.try_lock_byte(7, LockKind::Exclusive).unwrap());
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
            refused(file.try_lock_byte(9, LockKind::Shared).map(drop));
            refused(file.unlock_byte(7));
            refused(file.is_byte_locked(7, LockKind::Shared).map(drop));
            refused(file.map_writable(0..4096).map(drop));
            refused(file.map_words(8).map(drop));
            refused(storage.create("b", 0).map(none));
            refused(storage.rename("a", "b"));
            refused(storage.remove("a"));
            refused(storage.sync_directory());
            refused(storage.sync_name());
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
        let again = storage.open("a", Access::Read).unwrap();
        assert!(!again.try_lock().unwrap(), "the lock stays with the parent");
        assert!(!again.try_lock_byte(7, LockKind::Shared).unwrap(), "and that of a byte");
    }
}

#[test]
fn a_thread_that_gives_way_does_so_alone() {
    let directory = tempfile::tempdir().unwrap();
    let storage = OsStorage::open(directory.path()).unwrap();
    let priority = || rustix::process::getpriority_process(None).unwrap();
    let before = priority();
    std::thread::scope(|scope| {
        let gives_way = scope.spawn(|| {
            storage.give_way();
            priority()
        });
        let after = gives_way.join().unwrap();
        assert!(after > before || before == 19, "{before} before, {after} behind it");
    });
    assert_eq!(priority(), before);
}
