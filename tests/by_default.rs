//! Stores that are opened with no option: programs that know nothing of each other share them.
//!
//! What happens between those who share a store is in `shared.rs` and `together.rs`; here is that nobody has to ask for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use treering::storage::mem::MemStorage;
use treering::{
    Batch, Durability, ErrorKind, Expected, NewEvent, Options, Revision, Store, SubscribeOptions, Visibility, maintain,
};
use treering_tests::store::{PATIENCE, alone, everything, run_alone, small, try_put};

/// Set for a process that appends: the folder.
const PROGRAM: &str = "TREERING_PROGRAM";
/// Set for one that does not get to sync what it has appended, and dies.
const DIES: &str = "TREERING_PROGRAM_DIES";
/// Set for a process that has a store open and is idle.
const IDLE: &str = "TREERING_IDLE";
/// So many events each program appends.
const EACH: u64 = 40;

fn open(folder: &Path) -> Store {
    Store::open(folder, Options::new()).unwrap()
}

/// Appends behind the head that it knows, and where somebody was first, behind the head that it is told.
fn append_behind_the_head(store: &Store, name: &str, count: u64) {
    let mut head = store.stream("session").unwrap().map(|stream| stream.head);
    for number in 0..count {
        let payload = format!("{name} {number}");
        let event = [NewEvent::new("step", payload.as_bytes())];
        loop {
            let expected = head.map_or(Expected::NoStream, Expected::Exactly);
            match store.append(&Batch::to("session", expected, &event)) {
                Ok(receipt) => {
                    head = Some(receipt.sections[0].last_revision);
                    break;
                }
                Err(error) => head = error.conflict().unwrap_or_else(|| panic!("{error}")).actual,
            }
        }
    }
}

/// Not a test of its own. Does nothing where it is run as a test.
#[test]
fn program() {
    let Some(folder) = std::env::var_os(PROGRAM) else { return };
    let store = open(Path::new(&folder));
    if std::env::var_os(DIES).is_some() {
        let _ = try_put(&store, "session", b"left 0", Durability::Written).unwrap();
        std::process::abort();
    }
    append_behind_the_head(&store, &std::process::id().to_string(), EACH);
    store.close().unwrap();
}

fn program_at(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "by_default::program", "--nocapture", "--test-threads=1"]);
    command.env(PROGRAM, folder).stdout(Stdio::null());
    command
}

fn start(folder: &Path) -> Child {
    program_at(folder).spawn().unwrap()
}

/// How many events each has in the stream, which has no gap, each one's in the order in which it appended them.
fn shares(store: &Store) -> BTreeMap<String, u64> {
    let mut shares = BTreeMap::new();
    for (at, event) in everything(store).iter().enumerate() {
        assert_eq!(event.revision, Revision(at as u64));
        let text = String::from_utf8_lossy(&event.payload).into_owned();
        let (name, number) = text.split_once(' ').unwrap();
        let count = shares.entry(name.to_owned()).or_insert(0);
        assert_eq!(number, count.to_string());
        *count += 1;
    }
    shares
}

#[test]
fn p12_programs_that_open_a_store_with_no_option_append_to_one_stream_and_all_see_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let programs = [start(folder.path()), start(folder.path())];
    append_behind_the_head(&store, "here", EACH);
    let mut names = vec!["here".to_owned()];
    for mut program in programs {
        names.push(program.id().to_string());
        assert!(program.wait().unwrap().success());
    }
    names.sort();
    store.refresh().unwrap();
    let all: BTreeMap<String, u64> = names.into_iter().map(|name| (name, EACH)).collect();
    assert_eq!(shares(&store), all);
    let marks = store.watermarks();
    assert_eq!(marks.durable, marks.committed, "what was Synced anywhere is durable here");
    assert_eq!(shares(&Store::open_read_only(folder.path(), Options::new()).unwrap()), all);
    store.close().unwrap();
    assert!(maintain::verify(folder.path(), &mut ()).unwrap().is_clean());
}

#[test]
fn p12_a_process_that_opens_a_store_twice_with_no_option_appends_through_both() {
    let folder = tempfile::tempdir().unwrap();
    let stores = [open(folder.path()), open(folder.path())];
    let mut followed =
        stores[0].subscribe(SubscribeOptions::stream("session").visibility(Visibility::Committed)).unwrap();
    let event = [NewEvent::new("step", "")];
    for round in 0..60u64 {
        let [one, other] = if round % 2 == 0 { [&stores[0], &stores[1]] } else { [&stores[1], &stores[0]] };
        let level = if round % 3 == 0 { Durability::Synced } else { Durability::Written };
        let expected = round.checked_sub(1).map_or(Expected::NoStream, |last| Expected::Exactly(Revision(last)));
        let receipt = one.append(&Batch::to("session", expected, &event).durability(level)).unwrap();
        assert_eq!(receipt.sections[0].first_revision, Revision(round));
        // Its own append a store shows at once, and that of the other one by telling of the conflict.
        let visibility = if level == Durability::Synced { Visibility::Durable } else { Visibility::Committed };
        assert!(one.event("session", Revision(round), visibility).unwrap().is_some(), "{round}");
        let error = other.append(&Batch::to("session", expected, &event)).unwrap_err();
        assert_eq!(error.conflict().unwrap().actual, Some(Revision(round)), "{error}");
        assert!(other.event("session", Revision(round), Visibility::Committed).unwrap().is_some(), "{round}");
        let next = followed.next_timeout(PATIENCE).unwrap().expect("it comes");
        assert_eq!(next.revision, Revision(round));
    }
    let [one, other] = stores;
    one.close().unwrap();
    let _ = try_put(&other, "session", b"and on", Durability::Synced).unwrap();
    other.close().unwrap();
    assert!(maintain::verify(folder.path(), &mut ()).unwrap().is_clean());
}

/// In a process without other tests, whose threads have other things to do.
#[test]
fn p14_an_idle_store_sleeps_until_somebody_appends_and_syncs_what_that_one_left() {
    run_alone("by_default::idle", IDLE);
}

/// How often threads of the engine have gone to sleep in this process.
fn sleeps() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let of_engine = tasks.filter(|task| std::fs::read_to_string(task.join("comm")).unwrap().starts_with("treering"));
    let count = |task: std::path::PathBuf| {
        let status = std::fs::read_to_string(task.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    of_engine.map(count).sum()
}

/// Waits until the store says so by itself. Not as long as others wait: a wake-up that is lost is made good after 30 s, and would not
/// be noticed then.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Not a test of its own. Does nothing where it is run as a test.
#[test]
fn idle() {
    if std::env::var_os(IDLE).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let _ = try_put(&store, "before", b"0", Durability::Synced).unwrap();
    let settle = || {
        let (begun, mut last) = (Instant::now(), u64::MAX);
        while std::mem::replace(&mut last, sleeps()) != last {
            assert!(begun.elapsed() < PATIENCE, "its threads come to rest");
            std::thread::sleep(Duration::from_millis(1500)); // three times as long as the longest that they sleep otherwise
        }
    };
    for round in 1..4u64 {
        settle();
        let marks = store.watermarks();
        match round {
            3 => {
                // Nobody has the store open but who is idle.
                assert!(!program_at(folder.path()).env(DIES, "1").status().unwrap().success(), "it dies");
                until("what it left is seen", || store.watermarks().committed > marks.committed);
                until("and synced", || store.watermarks().durable == store.watermarks().committed);
            }
            _ => {
                assert!(start(folder.path()).wait().unwrap().success());
                until("what it appended is seen", || store.watermarks().committed > marks.committed);
            }
        }
    }
    assert_eq!(store.stream("session").unwrap().map(|stream| stream.head), Some(Revision(2 * EACH)));
    store.close().unwrap();
}

#[test]
fn p14_where_bytes_cannot_be_locked_opening_with_no_option_says_to_open_exclusively() {
    let storage = MemStorage::new();
    storage.set_byte_locks(false);
    let shared = || Store::open_on(Arc::new(storage.clone()), small()).map(drop);
    let exclusive = || Store::open_on(Arc::new(storage.clone()), alone()).unwrap();
    // Where there is none yet, and where there is one.
    for round in 0..2 {
        let error = shared().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let text = error.to_string();
        for word in ["memory", "locks of open files on bytes", "open it exclusively"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let store = exclusive();
        let _ = try_put(&store, "s", b"1", Durability::Synced).unwrap();
        assert_eq!(everything(&store).len(), round + 1);
        // Nobody may come to it as long as it is open, whatever can be locked.
        assert_eq!(Store::open_on(Arc::new(storage.clone()), alone()).map(drop).unwrap_err().kind(), ErrorKind::Locked);
        store.close().unwrap();
    }
    let reader = Store::open_read_only_on(Arc::new(storage.clone()), small()).unwrap();
    assert_eq!(everything(&reader).len(), 2);
}
