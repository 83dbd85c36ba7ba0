//! Forks of a process that has a store open. What runs in a child ends with a code of its own; a panic there is 101.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use treering::storage::{Child, Fork};
use treering::{
    Batch, Durability, Error, ErrorKind, Expected, NewEvent, Options, ReadAllOptions, ReadOptions, Revision, Store,
    SubscribeOptions, Visibility,
};
use treering_tests::store::{block_on, everything, noise, run_alone, small, try_put, wait_until};

/// Set for a process that opens a store, forks, and waits to be killed: how it forks, how it opens it, and the folder.
const HOLDER: &str = "TREERING_FORK_HOLDER";
/// Set for a process that forks with a store open.
const FORKING: &str = "TREERING_FORKING";

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

#[track_caller]
fn refused<T>(result: Result<T, Error>, process: u32) {
    let error = result.err().expect("a fork is refused");
    assert_eq!(error.kind(), ErrorKind::Forked, "{error}");
    assert!(error.to_string().contains(&format!("process {process} ")), "{error}");
}

fn ends_well(child: std::io::Result<Child>) {
    assert_eq!(child.unwrap().wait().unwrap(), Some(0), "what the child says stands above");
}

/// More Written appends than it takes until they are copied into a mapping.
fn burst(store: &Store) {
    for number in 0..40 {
        let _ = try_put(store, "s", &noise(number, 60), Durability::Written).unwrap();
    }
}

/// In a process without other tests: what their threads do at the moment of the fork stays half done in the child.
#[test]
fn p14_a_fork_of_the_writing_process_is_refused_and_changes_nothing() {
    run_alone("forks::forking", FORKING);
}

/// Not a test of its own. Does nothing where it is run as a test.
///
/// With a background, whose threads the child does not have, and without one, where not a byte changes but by the child.
#[test]
fn forking() {
    if std::env::var_os(FORKING).is_none() {
        return;
    }
    let process = std::process::id();
    for (how, has_threads, is_mapped, is_alone) in [
        (Fork::Plain, false, false, true),
        (Fork::Plain, false, true, true),
        (Fork::Bare, false, true, true),
        (Fork::Plain, true, true, true),
        (Fork::Bare, true, false, true),
        (Fork::Plain, false, false, false),
        (Fork::Bare, true, false, false),
        (Fork::Plain, true, false, false),
    ] {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let options = small().background_threads(has_threads).mapped_writes(is_mapped).exclusive(is_alone);
        let alone = options.clone().exclusive(true);
        let store = Store::open(folder.path(), options.clone()).unwrap();
        let _ = try_put(&store, "s", b"synced", Durability::Synced).unwrap();
        burst(&store);
        let event = [NewEvent::new("t", b"pending")];
        let submit = || store.submit(&Batch::to("s", Expected::Any, &event)).unwrap();
        let (waited, polled) = (submit(), submit());
        let before = everything(&store);
        let reading = Store::open_read_only(folder.path(), options.clone()).unwrap();
        let mut followed = store.subscribe(SubscribeOptions::all().visibility(Visibility::Committed)).unwrap();
        let _ = followed.next().unwrap();
        let taken = files(folder.path());

        // Nothing of this process is dropped by what follows: the child has its own copies.
        let store = std::cell::Cell::new(Some(store));
        let pendings = std::cell::Cell::new(Some((waited, polled)));
        ends_well(Child::fork(how, || {
            let store = store.take().unwrap();
            let (waited, polled) = pendings.take().unwrap();
            for level in [Durability::Synced, Durability::Written] {
                refused(try_put(&store, "s", b"of the child", level), process);
            }
            refused(store.submit(&Batch::to("s", Expected::Any, &event)), process);
            refused(waited.wait(), process);
            refused(block_on(polled), process);
            refused(store.sync(), process);
            refused(store.wait_durable(store.watermarks().committed), process);
            refused(store.work_in_background(), process);
            refused(store.refresh(), process);
            refused(store.stat(), process);
            refused(store.stream("s"), process);
            refused(store.event("s", Revision(0), Visibility::Committed), process);
            refused(store.read_stream("s", ReadOptions::new()), process);
            refused(store.read_all(ReadAllOptions::new()), process);
            refused(store.end_at(i64::MAX, Visibility::Committed), process);
            refused(store.subscribe(SubscribeOptions::all()), process);
            // No wait for what nobody here will ever do.
            refused(followed.next(), process);
            refused(block_on(followed.next_async()), process);
            refused(store.streams(), process);
            assert_eq!(before[0].payload, b"synced"[..], "events in hand stay good");
            assert_eq!(everything(&reading), before, "a store open for reading is read");
            reading.refresh().unwrap();
            let error = Store::open(folder.path(), alone.clone()).expect_err("the lock is the parent's");
            assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
            assert!(error.to_string().contains(&process.to_string()), "{error}");
            refused(store.close(), process);
            0
        }));
        // And one that drops everything without a word.
        ends_well(Child::fork(how, || {
            drop((store.take(), pendings.take()));
            0
        }));
        if !has_threads {
            assert!(files(folder.path()) == taken, "{how:?}: the children changed nothing");
        }
        let store = store.take().unwrap();
        let (waited, polled) = pendings.take().unwrap();
        if has_threads {
            assert_eq!(block_on(polled).unwrap().level, Durability::Synced);
        }
        assert_eq!(waited.wait().unwrap().level, Durability::Synced, "the parent goes on");
        burst(&store);
        let after = everything(&store);
        assert_eq!((after.len(), &after[..before.len()]), (before.len() + 40, &before[..]));
        let error = Store::open(folder.path(), alone).expect_err("it kept its lock through all of that");
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        store.close().unwrap();

        // Opened anew the store is the child's, once its parent has closed it.
        ends_well(Child::fork(Fork::Plain, || {
            let store = Store::open(folder.path(), options.clone()).unwrap();
            assert!(store.open_report().was_clean && everything(&store) == after);
            let _ = try_put(&store, "s", b"of the child", Durability::Synced).unwrap();
            burst(&store);
            store.close().unwrap();
            0
        }));
        let store = Store::open(folder.path(), options).unwrap();
        assert!(store.open_report().was_clean);
        assert_eq!(everything(&store).len(), after.len() + 41);
    }
}

/// Not a test of its own. Does nothing where it is run as a test.
#[test]
fn holder() {
    let Some(given) = std::env::var_os(HOLDER) else { return };
    let given = given.into_string().unwrap();
    let [how, mode, folder] = given.splitn(3, ':').collect::<Vec<_>>()[..] else { panic!("{given}") };
    let store = Store::open(folder, Options::new().exclusive(mode == "alone")).unwrap();
    let _ = try_put(&store, "s", b"1", Durability::Written).unwrap();
    let how = if how == "plain" { Fork::Plain } else { Fork::Bare };
    let child = Child::fork(how, || {
        // Past every handler of the fork; by no lock that another thread may have held.
        std::fs::write("/proc/self/fd/1", "\nforked\n").unwrap();
        // Until whoever started all of this closes its end.
        let _ = std::io::stdin().read(&mut [0; 1]).unwrap();
        0
    });
    println!("\nready {}", child.unwrap().id());
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Whether a process runs: one that has ended and that nobody has waited for does not.
fn lives(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat"));
    status.is_ok_and(|status| !status.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

#[test]
fn p14_a_lock_ends_with_its_process_whatever_fork_of_it_lives_on() {
    for (how, mode) in [("plain", "alone"), ("bare", "alone"), ("plain", "shared"), ("bare", "shared")] {
        let folder = tempfile::tempdir().unwrap();
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "forks::holder", "--nocapture", "--test-threads=1"])
            .env(HOLDER, format!("{how}:{mode}:{}", folder.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines().map(Result::unwrap);
        let (mut child, mut is_forked) = (None, false);
        while child.is_none() || !is_forked {
            let line = lines.next().unwrap();
            is_forked |= line == "forked";
            child = child.or(line.strip_prefix("ready ").map(str::to_owned));
        }
        let child = child.unwrap();
        let alone = || Store::open(folder.path(), Options::new().exclusive(true));
        assert_eq!(alone().unwrap_err().kind(), ErrorKind::Locked);
        holder.kill().unwrap();
        let input = holder.stdin.take();
        holder.wait().unwrap();
        assert!(lives(&child), "the fork outlives who opened the store");
        if how == "bare" {
            // Nothing ran in the child that could have let go of its share, which keeps out who wants to be alone, and those who
            // share where that share is all of it.
            assert_eq!(alone().unwrap_err().kind(), ErrorKind::Locked);
            let beside = Store::open(folder.path(), Options::new());
            assert_eq!(beside.is_ok(), mode == "shared", "{:?}", beside.err());
            if let Ok(store) = beside {
                let _ = try_put(&store, "s", b"2", Durability::Synced).unwrap();
            }
            drop(input);
            wait_until("it ends", || !lives(&child));
            assert_eq!(everything(&alone().unwrap()).len(), if mode == "shared" { 2 } else { 1 });
        } else {
            let store = alone().unwrap();
            assert_eq!(everything(&store).len(), 1);
            assert!(lives(&child));
            drop(input);
        }
    }
}
