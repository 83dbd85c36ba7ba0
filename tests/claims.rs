//! Claims: who has one, who is told so, and when it is free again. Processes that are killed here are this test run again.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use treering::maintain;
use treering::storage::mem::MemStorage;
use treering::storage::{Access, Child, Fork, LockKind, Storage};
use treering::{Claim, Claims, Error, ErrorKind, Options, Store};
use treering_tests::sim::SimStorage;
use treering_tests::store::{everything, open, open_read_only, put, run_alone, small, wait_until};

/// Set for a process that claims a stream and waits to be killed: how it forks before, and the folder.
const HOLDER: &str = "TREERING_CLAIM_HOLDER";
/// Set for a process that forks with claims in its hands.
const FORKING: &str = "TREERING_CLAIM_FORKING";

/// Set for a process that claims a stream again and again: the folder.
const CONTENDER: &str = "TREERING_CLAIM_CONTENDER";

/// A folder with a store that nobody has open.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    Store::open(folder.path(), small()).unwrap().close().unwrap();
    folder
}

fn claims(folder: &Path) -> Claims {
    Claims::open(folder, &Options::new()).unwrap()
}

#[track_caller]
fn refused(claimed: Result<Claim, Error>, by: &str) {
    let error = claimed.map(drop).expect_err("it is claimed");
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    assert!(error.to_string().contains(by), "{error}");
}

/// The names of the files of claims.
fn files(storage: &dyn Storage) -> Vec<String> {
    let names = storage.list().unwrap().into_iter().map(|entry| entry.name);
    let mut names: Vec<String> = names.filter(|name| name.starts_with("claims-")).collect();
    names.sort();
    names
}

/// The number of the file that a stream's claim lies in, and the byte there, as the page says.
fn byte_of(stream: &str) -> (u64, u64) {
    let hash = treering::checksum::long_check(0, stream.as_bytes());
    (hash >> 56, hash % (1 << 56))
}

#[test]
fn p12_a_claim_is_one_handles_until_it_lets_go() {
    let folder = folder();
    let in_memory = MemStorage::new();
    let memory = || Store::open_on(Arc::new(in_memory.clone()), small()).unwrap();
    let of_memory = || Claims::open_on(Arc::new(in_memory.clone()), &small()).unwrap();
    type Open<'a> = (&'a dyn Fn() -> Store, &'a dyn Fn() -> Claims);
    let on_disk = || Store::open(folder.path(), small()).unwrap();
    let both: [Open<'_>; 2] = [(&memory, &of_memory), (&on_disk, &|| claims(folder.path()))];
    for (open, open_claims) in both {
        let store = open();
        let _ = put(&store, "there", b"1");
        let (one, other) = (open_claims(), open_claims());
        for stream in ["there", "not yet", "ü/\u{1F600}"] {
            let claim = store.try_claim(stream).unwrap();
            assert_eq!(claim.stream(), stream);
            refused(store.try_claim(stream), "by this handle");
            refused(one.try_claim(stream), "by another handle of this process");
            refused(one.claim(stream, Some(Duration::from_millis(3))), "by another handle of this process");
            let beside = one.try_claim("beside").unwrap();
            refused(one.clone().try_claim("beside"), "by this handle");
            refused(store.try_claim("beside"), "by another handle of this process");
            drop(claim);
            let claim = other.try_claim(stream).unwrap();
            refused(one.try_claim(stream), "by another handle");
            claim.release().unwrap();
            drop(one.try_claim(stream).unwrap());
            drop(beside);
        }
        // A claim outlives the handle that it was taken through.
        let claim = other.try_claim("there").unwrap();
        drop(other);
        refused(one.try_claim("there"), "by another handle");
        // Appending asks for none.
        let _ = put(&store, "there", b"2");
        assert_eq!(everything(&store).len(), 2);
        store.close().unwrap();
        refused(one.try_claim("there"), "by another handle");
        drop(claim);
        drop(one.try_claim("there").unwrap());
    }
}

#[test]
fn p12_a_claim_is_waited_for_and_given_to_one_after_the_other() {
    const THREADS: usize = 6;
    const ROUNDS: usize = 40;
    let folder = folder();
    let shared = claims(folder.path());
    let (is_held, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            // Half of them have handles of their own.
            let claims = if thread % 2 == 0 { shared.clone() } else { claims(folder.path()) };
            let (is_held, done) = (&is_held, &done);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let timeout = (round % 2 == 0).then_some(Duration::MAX);
                    let claim = claims.claim("s", timeout).unwrap();
                    assert!(!is_held.swap(true, Ordering::SeqCst), "two have the claim");
                    std::thread::yield_now();
                    done.fetch_add(1, Ordering::SeqCst);
                    assert!(is_held.swap(false, Ordering::SeqCst));
                    drop(claim);
                }
            });
        }
    });
    assert_eq!(done.into_inner(), THREADS * ROUNDS);
}

#[test]
fn p12_a_file_of_claims_that_is_deleted_is_made_anew_and_all_agree_on_it() {
    let in_first = |stream: &String| byte_of(stream).0 == 0;
    let streams: Vec<String> = (0..).map(|number| format!("s{number}")).filter(in_first).take(4).collect();
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| &*streams[at]);
    let folder = folder();
    let path = folder.path().join("claims-00");
    let (one, other) = (claims(folder.path()), claims(folder.path()));
    let old = one.try_claim(a).unwrap();
    std::fs::remove_file(&path).unwrap();
    // The handle that knows the old file finds the new one, whoever makes it.
    let of_other = other.try_claim(b).unwrap();
    refused(one.try_claim(b), "by another handle");
    let of_one = one.try_claim(c).unwrap();
    refused(other.try_claim(c), "by another handle");
    // What it holds in the old one it does not take twice.
    refused(one.try_claim(a), "by this handle");

    // A lock that is held in a file without a name keeps nobody out.
    std::fs::remove_file(&path).unwrap();
    drop(one.try_claim(b).unwrap());
    let fresh = one.try_claim(d).unwrap();
    refused(other.try_claim(d), "by another handle");
    drop((old, of_one, of_other, fresh));
    for stream in [a, b, c, d] {
        drop(one.try_claim(stream).unwrap());
        drop(other.try_claim(stream).unwrap());
    }
    // Something else that has the name is said, and left alone.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = one.try_claim(a).unwrap_err();
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains(path.to_str().unwrap()), "{error}");
    let report = maintain::verify(folder.path(), &mut ()).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("is no file")), "{:?}", report.notes);
    assert!(path.is_dir());
}

#[test]
fn p12_what_cannot_be_claimed_says_why_and_changes_nothing() {
    let storage = MemStorage::new();
    let error = Claims::open_on(Arc::new(storage.clone()), &small()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    storage.create("notes.txt", 0).unwrap();
    Claims::open_on(Arc::new(storage.clone()), &small()).unwrap_err();
    assert_eq!(storage.list().unwrap().len(), 1, "where there is no store nothing is made");
    let missing = tempfile::tempdir().unwrap().path().join("none");
    assert_eq!(Claims::open(&missing, &Options::new()).unwrap_err().kind(), ErrorKind::NotFound);

    let storage = MemStorage::new();
    let store = open(&storage);
    for (name, kind) in
        [("", ErrorKind::Invalid), ("$engine", ErrorKind::Invalid), (&*"n".repeat(1025), ErrorKind::Limit)]
    {
        assert_eq!(store.try_claim(name).unwrap_err().kind(), kind, "{name:?}");
        assert_eq!(store.claim(name, None).unwrap_err().kind(), kind, "{name:?}");
    }
    let reading = open_read_only(&storage);
    assert_eq!(reading.try_claim("s").unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(reading.claim("s", None).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(files(&storage), [""; 0], "no file is made before it is needed");

    let claim = store.try_claim("s").unwrap();
    let [file] = &files(&storage)[..] else { panic!("{:?}", files(&storage)) };
    assert!(storage.open(file, Access::Read).unwrap().is_empty().unwrap(), "it has no byte");
    let mut text = Vec::new();
    maintain::dump_on(&storage, file, &mut text).unwrap();
    assert!(text.starts_with(b"file: claims, no bytes"), "{}", String::from_utf8_lossy(&text));
    let report = maintain::verify_on(Arc::new(storage.clone()), &mut ()).unwrap();
    assert_eq!(report.notes, [""; 0], "and is of the store");
    drop(claim);
    // A store is opened, and copied into another, whatever files of claims it has.
    store.close().unwrap();
    let store = open(&storage);
    assert!(store.open_report().was_clean);
}

/// [STO-9] The byte of a stream is that of the page: others who take it are told apart by it.
#[test]
fn p12_a_claim_is_a_lock_on_the_byte_that_the_page_says() {
    let storage = MemStorage::new();
    let store = open(&storage);
    for stream in ["s", "session-1", "ü"] {
        let (file, offset) = byte_of(stream);
        let name = format!("claims-{file:02x}");
        let claim = store.try_claim(stream).unwrap();
        let file = storage.open(&name, Access::ReadWrite).unwrap();
        assert!(file.is_byte_locked(offset, LockKind::Shared).unwrap(), "{stream}");
        for beside in [offset - 1, offset + 1] {
            assert!(!file.is_byte_locked(beside, LockKind::Exclusive).unwrap(), "{stream}");
        }
        drop(claim);
        assert!(file.try_lock_byte(offset, LockKind::Shared).unwrap(), "{stream}");
        refused(store.try_claim(stream), "by another handle");
    }
}

#[test]
fn p12_thousands_of_claims_take_a_file_for_each_hundred_and_give_all_back() {
    let folder = folder();
    let open_files = || {
        let names = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
        let paths = names.filter_map(|name| std::fs::read_link(name).ok());
        paths.filter(|path| path.starts_with(folder.path()) && path.is_file()).count()
    };
    let (one, other) = (claims(folder.path()), claims(folder.path()));
    let held: Vec<Claim> = (0..3000).map(|number| one.try_claim(&format!("s{number}")).unwrap()).collect();
    assert!((200..=256).contains(&open_files()), "{}", open_files());
    for number in (0..3000).step_by(100) {
        refused(other.try_claim(&format!("s{number}")), "by another handle");
    }
    drop(held);
    assert_eq!(open_files(), 0, "a handle that holds nothing has no file open");
    drop(other.try_claim("s7").unwrap());
}

#[test]
fn p14_a_simulated_process_that_is_killed_has_no_claim() {
    let sim = SimStorage::new(5);
    Store::open_on(Arc::new(sim.process()), small()).unwrap().close().unwrap();
    let dead = sim.process();
    let claim = Claims::open_on(Arc::new(dead.clone()), &small()).unwrap().try_claim("s").unwrap();
    let alive = Claims::open_on(Arc::new(sim.process()), &small()).unwrap();
    refused(alive.try_claim("s"), "is held");
    dead.kill();
    let taken = alive.try_claim("s").unwrap();
    drop(claim);
    let third = Claims::open_on(Arc::new(sim.process()), &small()).unwrap();
    refused(third.try_claim("s"), "is held");
    drop(taken);
    drop(third.try_claim("s").unwrap());
}

/// Not a test of its own. Does nothing where it is run as a test.
#[test]
fn holder() {
    let Some(given) = std::env::var_os(HOLDER) else { return };
    let given = given.into_string().unwrap();
    let (how, folder) = given.split_once(':').unwrap();
    let claims = claims(Path::new(folder));
    let _claim = claims.try_claim("s").unwrap();
    let fork = match how {
        "plain" => Some(Fork::Plain),
        "bare" => Some(Fork::Bare),
        _ => None,
    };
    let child = fork.map(|how| {
        let child = Child::fork(how, || {
            std::fs::write("/proc/self/fd/1", "\nforked\n").unwrap();
            // Until whoever started all of this closes its end.
            let _ = std::io::stdin().read(&mut [0; 1]).unwrap();
            0
        });
        child.unwrap().id()
    });
    println!("\nready {}", child.map_or_else(|| "forked".to_owned(), |child| child.to_string()));
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// A process that holds the claim on `s`.
struct Holder {
    process: std::process::Child,
    /// Its fork, where it has one.
    child: Option<String>,
}

impl Holder {
    fn start(how: &str, folder: &Path) -> Holder {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "claims::holder", "--nocapture", "--test-threads=1"])
            .env(HOLDER, format!("{how}:{}", folder.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let (mut ready, mut is_forked) = (None, how == "alone");
        while ready.is_none() || !is_forked {
            let line = lines.next().expect("it claims the stream");
            is_forked |= line == "forked";
            ready = ready.or(line.strip_prefix("ready ").map(str::to_owned));
        }
        Holder { process, child: ready.filter(|_| how != "alone") }
    }

    /// Kills it, and lets a fork of it live on.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The state of a process, as one letter; none where it is gone.
fn state(process: &str) -> Option<char> {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    status.rsplit(") ").next()?.chars().next()
}

#[test]
fn p14_a_claim_ends_with_its_process_and_its_holder_is_named() {
    let folder = folder();
    let claims = claims(folder.path());
    for _ in 0..3 {
        let mut holder = Holder::start("alone", folder.path());
        let pid = holder.process.id().to_string();
        refused(claims.try_claim("s"), &format!("by process {pid} (all"));
        drop(claims.try_claim("other").unwrap());

        assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
        wait_until("it stops", || state(&pid) == Some('T'));
        refused(claims.try_claim("s"), "which is stopped");
        refused(claims.claim("s", Some(Duration::from_millis(5))), &format!("kill -CONT {pid}"));

        // Whoever waits has it as soon as the process is gone.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| claims.claim("s", None).unwrap());
            holder.kill();
            refused_by_here(&claims, waiting.join().unwrap());
        });
        drop(claims.try_claim("s").unwrap());
    }
}

fn refused_by_here(claims: &Claims, claim: Claim) {
    refused(claims.try_claim("s"), "by this handle");
    drop(claim);
}

/// Not a test of its own. Does nothing where it is run as a test.
///
/// Claims the stream again and again. While it has it the mark beside the store is its own.
#[test]
fn contender() {
    let Some(folder) = std::env::var_os(CONTENDER) else { return };
    let folder = Path::new(&folder);
    let claims = claims(&folder.join("s"));
    for round in 0_u64.. {
        let claim = claims.claim("s", None).unwrap();
        let mark = format!("{} {round}", std::process::id());
        std::fs::write(folder.join("mark"), &mark).unwrap();
        std::thread::sleep(Duration::from_micros(200));
        let found = std::fs::read_to_string(folder.join("mark")).unwrap();
        if found != mark {
            // A panic takes its time, in which this process may be killed.
            std::fs::write(folder.join("two at once"), format!("{found} beside {mark}")).unwrap();
        }
        std::fs::File::options().append(true).open(folder.join("rounds")).unwrap().write_all(b".").unwrap();
        claim.release().unwrap();
    }
}

#[test]
fn p14_of_processes_that_are_killed_while_they_contend_one_has_the_claim() {
    const PROCESSES: usize = 4;
    const KILLS: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    Store::open(folder.path().join("s"), small()).unwrap().close().unwrap();
    std::fs::write(folder.path().join("rounds"), "").unwrap();
    let rounds = || std::fs::metadata(folder.path().join("rounds")).unwrap().len();
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "claims::contender", "--nocapture", "--test-threads=1"]).stdout(Stdio::null());
        command.env(CONTENDER, folder.path()).spawn().unwrap()
    };
    let mut processes: Vec<std::process::Child> = (0..PROCESSES).map(|_| start()).collect();
    for kill in 0..KILLS + PROCESSES {
        let before = rounds();
        wait_until("somebody has the claim", || {
            for process in &mut processes {
                assert!(process.try_wait().unwrap().is_none(), "what it says stands above");
            }
            rounds() > before + 4 || kill >= KILLS
        });
        // The one that has it, now and then: which one that is nobody knows.
        let mut killed = processes.remove(0);
        killed.kill().unwrap();
        killed.wait().unwrap();
        if kill < KILLS {
            processes.push(start());
        }
    }
    let two = std::fs::read_to_string(folder.path().join("two at once"));
    assert!(two.is_err(), "{}", two.unwrap());
    assert!(rounds() > 4 * KILLS as u64);
    drop(claims(&folder.path().join("s")).try_claim("s").unwrap());
}

#[test]
fn p14_a_claim_ends_with_its_process_whatever_fork_of_it_lives_on() {
    for how in ["plain", "bare"] {
        let folder = folder();
        let claims = claims(folder.path());
        let mut holder = Holder::start(how, folder.path());
        let child = holder.child.clone().unwrap();
        refused(claims.try_claim("s"), "by process");
        let input = holder.process.stdin.take();
        holder.kill();
        assert!(state(&child).is_some_and(|state| state != 'Z'), "the fork outlives who claimed the stream");
        if how == "bare" {
            // Nothing ran in the child that could have let go of its share.
            refused(claims.try_claim("s"), &format!("by process {child}"));
            drop(input);
            drop(claims.claim("s", None).unwrap());
        } else {
            drop(claims.try_claim("s").unwrap());
            assert!(state(&child).is_some_and(|state| state != 'Z'));
            drop(input);
        }
    }
}

/// In a process without other tests, as for the forks of a store.
#[test]
fn p14_a_fork_has_no_share_in_claims_and_takes_none() {
    run_alone("claims::forking", FORKING);
}

/// Not a test of its own. Does nothing where it is run as a test.
#[test]
fn forking() {
    if std::env::var_os(FORKING).is_none() {
        return;
    }
    for how in [Fork::Plain, Fork::Bare] {
        let folder = folder();
        let one = claims(folder.path());
        let claim = std::cell::Cell::new(Some((one.try_claim("s").unwrap(), one.try_claim("t").unwrap())));
        let process = std::process::id();
        let forked = |result: Result<(), Error>| {
            let error = result.expect_err("a fork is refused");
            assert_eq!(error.kind(), ErrorKind::Forked, "{error}");
            assert!(error.to_string().contains(&format!("process {process} ")), "{error}");
        };
        let child = Child::fork(how, || {
            forked(one.try_claim("s").map(drop));
            forked(one.try_claim("u").map(drop));
            forked(one.claim("s", None).map(drop));
            let (released, dropped) = claim.take().unwrap();
            forked(released.release());
            drop(dropped);
            let own = claims(folder.path());
            refused(own.try_claim("s"), &format!("by process {process} "));
            drop(own.try_claim("u").unwrap());
            0
        });
        assert_eq!(child.unwrap().wait().unwrap(), Some(0), "{how:?}: what the child says stands above");
        let other = claims(folder.path());
        refused(other.try_claim("s"), "by another handle of this process");
        refused(other.try_claim("t"), "by another handle of this process");
        drop(claim.take());
        drop((other.try_claim("s").unwrap(), other.try_claim("t").unwrap()));
    }
}
