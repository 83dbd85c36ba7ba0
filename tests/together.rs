//! Processes that share a store, and what may be wrong with one of them: other options, a newer build, a page that is garbage or cut,
//! clocks that jump, no descriptors left, a stop in the middle of its turn; and very many of them. Each is answered with an
//! error that says so or with the right answer, and nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use treering::checksum::Seeds;
use treering::format::frame::{self, Frame, FrameHeader};
use treering::format::segment_header::{FIRST_FRAME_OFFSET, SegmentHeader};
use treering::storage::mem::MemStorage;
use treering::storage::os::OsStorage;
use treering::storage::{Access, Storage};
use treering::{
    Batch, BatchId, Compression, Durability, ErrorKind, Expected, NewEvent, Options, Position, ReadMode, Revision,
    Store, SubscribeOptions, Visibility, maintain,
};
use treering_tests::store::{PATIENCE, everything, noise, small, try_put, wait_until};

/// Set for a process that shares a store: the folder, what it does, how often, and its name.
const MEMBER: &str = "TREERING_MEMBER";

fn together() -> Options {
    small().sync_interval(Duration::from_millis(20))
}

/// Not a test of its own. Does nothing where it is run as a test.
///
/// Prints a line for each receipt and each error that it is given.
#[test]
fn member() {
    let Some(given) = std::env::var_os(MEMBER) else { return };
    let given = given.into_string().unwrap();
    let [folder, what, count, name] = given.split('\n').collect::<Vec<_>>()[..] else { panic!("{given}") };
    let folder = Path::new(folder);
    if what == "holds" {
        let storage = OsStorage::open(folder).unwrap();
        let identity = storage.open("identity", Access::ReadWrite).unwrap();
        assert!(identity.try_lock().unwrap());
        println!("\nready");
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    if what == "hasty, guarded" {
        treering::guard_mapped_reads().unwrap();
    }
    let patience = if what.starts_with("hasty") { Duration::from_millis(300) } else { PATIENCE };
    let store = match Store::open(folder, together().patience(patience)) {
        Ok(store) => store,
        Err(error) => return println!("\nerror {:?} {error}", error.kind()),
    };
    for number in 0..count.parse::<u64>().unwrap() {
        let payload = [format!("{name} {number} ").into_bytes(), noise(number, 400)].concat();
        let level = if what == "written" { Durability::Written } else { Durability::Synced };
        match try_put(&store, "m", &payload, level) {
            Ok(receipt) => println!("\ngot {} {}", receipt.sections[0].last_revision, receipt.position),
            Err(error) => return println!("\nerror {:?} {error}", error.kind()),
        }
    }
    match store.close() {
        Ok(()) => println!("\nclosed"),
        Err(error) => println!("\nerror {:?} {error}", error.kind()),
    }
}

/// A member's process; `limit` is set for it by its shell.
fn command(folder: &Path, what: &str, count: u64, name: &str, limit: Option<&str>) -> Command {
    let program = std::env::current_exe().unwrap();
    let arguments = ["--exact", "together::member", "--nocapture", "--test-threads=1"];
    let mut command = match limit {
        None => Command::new(&program),
        Some(limit) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")]).arg(&program);
            shell
        }
    };
    command.args(arguments).env(MEMBER, format!("{}\n{what}\n{count}\n{name}", folder.display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What members said: the revisions that they got, and their errors.
#[derive(Debug, Default)]
struct Said {
    got: Vec<(u64, u64)>,
    errors: Vec<String>,
    closed: u64,
}

impl Said {
    fn take(&mut self, output: &Output) {
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.split_once(' ') {
                Some(("got", place)) => {
                    let (revision, position) = place.split_once(' ').unwrap();
                    self.got.push((revision.parse().unwrap(), position.parse().unwrap()));
                }
                Some(("error", error)) => self.errors.push(error.to_owned()),
                _ => self.closed += u64::from(line == "closed"),
            }
        }
    }

    /// Everything that was acknowledged is in the store, once.
    fn check(&self, folder: &Path) -> u64 {
        let store = Store::open_read_only(folder, Options::new()).unwrap();
        let events = everything(&store);
        let places: BTreeSet<(u64, u64)> = events.iter().map(|event| (event.revision.0, event.position.0)).collect();
        let got: BTreeSet<(u64, u64)> = self.got.iter().copied().collect();
        assert_eq!(got.len(), self.got.len(), "none is given twice");
        assert!(got.is_subset(&places), "what was acknowledged is there");
        let payloads: BTreeSet<&[u8]> = events.iter().map(|event| &*event.payload).collect();
        assert_eq!(payloads.len(), events.len(), "and nothing is there twice");
        assert!(events.iter().enumerate().all(|(number, event)| event.revision == Revision(number as u64)));
        let report = maintain::verify(folder, &mut ()).unwrap();
        assert!(report.is_clean(), "{:#?}", report.damage);
        events.len() as u64
    }
}

fn made() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    Store::open(folder.path(), together()).unwrap().close().unwrap();
    folder
}

/// Ends with its process.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(process: &Process, name: &str) {
    assert!(Command::new("kill").args([name, &process.0.id().to_string()]).status().unwrap().success());
}

#[test]
fn p14_a_process_that_is_stopped_in_its_turn_is_named_and_readers_go_on() {
    let folder = made();
    let store = Store::open(folder.path(), together().patience(Duration::from_millis(50))).unwrap();
    let _ = try_put(&store, "m", b"before", Durability::Synced).unwrap();
    let mut holder = Process(command(folder.path(), "holds", 0, "", None).spawn().unwrap());
    let mut lines = BufReader::new(holder.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "ready"));
    signal(&holder, "-STOP");
    let pid = holder.0.id();
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    wait_until("it stops", || stat().contains(") T"));
    for _ in 0..2 {
        let error = try_put(&store, "m", b"kept out", Durability::Written).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
        assert!(
            error.to_string().contains(&format!("process {pid}")) && error.to_string().contains("stopped"),
            "{error}"
        );
        store.refresh().unwrap();
        assert_eq!(everything(&store).len(), 1);
        let reader = Store::open_read_only(folder.path(), Options::new()).unwrap();
        assert_eq!(everything(&reader).len(), 1, "who opens it for reading waits for nobody");
    }
    drop(holder);
    let _ = try_put(&store, "m", b"after", Durability::Synced).unwrap();
    assert_eq!(everything(&store).len(), 2);
}

#[test]
fn p07_who_opens_a_shared_store_with_other_options_takes_it_as_it_is() {
    let folder = made();
    let others = [
        together().segment_bytes(64 << 10).index_stride_bytes(16 << 10),
        together().compression(Some(Compression::default())).durability(Durability::Written),
        together().mapped_writes(true).read_mode(ReadMode::Positioned),
        together().background_threads(false).unsynced_bytes_max(1 << 16).sync_interval(Duration::from_secs(3600)),
    ];
    let first = Store::open(folder.path(), together()).unwrap();
    let stores: Vec<Store> = others.into_iter().map(|other| Store::open(folder.path(), other).unwrap()).collect();
    let mut payloads = Vec::new();
    for round in 0..300u64 {
        let payload = vec![round as u8; (round * 37 % 900) as usize];
        let store = stores.get(round as usize % 5).unwrap_or(&first);
        let expected = round.checked_sub(1).map_or(Expected::NoStream, |last| Expected::Exactly(Revision(last)));
        let _ = store.append(&Batch::to("m", expected, &[NewEvent::new("t", &payload)])).unwrap();
        payloads.push(payload);
    }
    for store in stores.iter().chain([&first]) {
        store.refresh().unwrap();
        assert_eq!(store.stat().unwrap().segment_bytes, 16 << 10, "it is the store's");
        let found: Vec<Vec<u8>> = everything(store).iter().map(|event| event.payload.to_vec()).collect();
        assert_eq!(found, payloads);
    }
    drop((stores, first));
    assert!(maintain::verify(folder.path(), &mut ()).unwrap().is_clean());
    // What no store can have is refused before anything is looked at.
    let error = Store::open(folder.path(), together().segment_bytes(12_345)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

/// The identity file, which is the lock, is replaced under a writer that shares the store: who comes then begins a life of its own
/// behind all that it finds, the one before finds that the log is not its own any more, and both stop until it is opened anew.
#[test]
fn p04_shared_writers_whose_lock_file_was_replaced_stop_and_nothing_of_the_old_one_is_seen() {
    let folder = made();
    let old = Store::open(folder.path(), together()).unwrap();
    for round in 0..20 {
        let _ = try_put(&old, "m", &noise(round, 40), Durability::Synced).unwrap();
    }
    let mut kept = everything(&old);
    let at = |name: &str| folder.path().join(name);
    std::fs::copy(at("identity"), at("identity.other")).unwrap();
    std::fs::rename(at("identity.other"), at("identity")).unwrap();

    let new = Store::open(folder.path(), together()).unwrap();
    assert!(new.open_report().has_rolled && new.open_report().incarnation != old.open_report().incarnation);
    assert_eq!(everything(&new), kept);
    let receipt = try_put(&new, "m", b"of the new life", Durability::Synced).unwrap();
    kept.push(new.event("m", receipt.sections[0].last_revision, Visibility::Durable).unwrap().unwrap());
    for level in [Durability::Written, Durability::Synced] {
        let error = try_put(&old, "m", b"of the old one", level).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
    }
    assert_eq!(everything(&new), kept);
    // Both have one control page, in which the old one has said that something is wrong.
    let error = try_put(&new, "m", b"not yet", Durability::Synced).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
    drop((old, new));
    let again = Store::open(folder.path(), together()).unwrap();
    assert_eq!(everything(&again), kept);
    let _ = try_put(&again, "m", b"and on", Durability::Synced).unwrap();
    drop(again);
    let report = maintain::verify(folder.path(), &mut ()).unwrap();
    assert!(report.is_clean(), "{:?}", report.damage);
}

/// A frame of a kind that only a newer build knows, behind the last one of the log.
fn append_as_newer_build(folder: &Path) {
    let path = folder.join("0000000000000000.segment");
    let mut bytes = std::fs::read(&path).unwrap();
    let header = SegmentHeader::decode(&bytes).unwrap();
    let seeds = Seeds::new(header.salt);
    let (mut at, mut last) = (FIRST_FRAME_OFFSET as usize, None);
    while let Ok(decoded) = Frame::decode(&bytes[at..], seeds, Position(at as u64)) {
        last = Some((decoded.header(), decoded.frame_check()));
        at += decoded.frame_len() as usize;
    }
    let (before, previous_check) = last.expect("there is a frame");
    let mut out = Vec::new();
    frame::begin(&mut out);
    out.extend_from_slice(b"who knows");
    frame::pad(&mut out, 0);
    let header = FrameHeader {
        kind: 9,
        events: 0,
        batch: BatchId::default(),
        first_number: before.first_number + u64::from(before.events),
        previous_check,
        ..before
    };
    frame::finish(&mut out, 9, &header, seeds, Position(at as u64));
    bytes[at..at + out.len()].copy_from_slice(&out);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &out, at as u64).unwrap();
}

#[test]
fn p07_beside_a_newer_build_nothing_is_written_and_what_came_before_is_read() {
    let folder = made();
    let (one, other) =
        (Store::open(folder.path(), together()).unwrap(), Store::open(folder.path(), together()).unwrap());
    let _ = try_put(&one, "m", b"before", Durability::Synced).unwrap();
    other.refresh().unwrap();
    append_as_newer_build(folder.path());
    let len = || std::fs::read(folder.path().join("0000000000000000.segment")).unwrap();
    let bytes = len();
    for store in [&one, &other, &one] {
        let error = try_put(store, "m", b"behind", Durability::Written).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("newer version"), "{error}");
        assert_eq!(store.event("m", Revision(0), Visibility::Committed).unwrap().unwrap().payload, &b"before"[..]);
    }
    assert_eq!(Store::open(folder.path(), together()).unwrap_err().kind(), ErrorKind::Unsupported);
    drop((one, other));
    assert!(len() == bytes, "not a byte of the log has changed");
}

/// The page under the mappings of two processes at work is filled with garbage, or cut short, again and again. An error is an
/// answer, and so is the signal that ends who touches a page that is no more and has no guard; the next one goes on with all that
/// was told.
#[test]
fn p11_a_control_page_that_is_garbled_or_cut_under_live_processes_costs_nothing_that_was_told() {
    for (how, what) in [("garbage", "hasty"), ("cut", "hasty"), ("cut under a guard", "hasty, guarded")] {
        let folder = made();
        let mut said = Said::default();
        for round in 0..4u64 {
            let names = [format!("one {round}"), format!("other {round}")];
            let children = names.map(|name| command(folder.path(), what, 60, &name, None).spawn().unwrap());
            let page = std::fs::OpenOptions::new().write(true).open(folder.path().join("control")).ok();
            for step in 0..20u64 {
                // Now and then there is time for a sync to end.
                std::thread::sleep(Duration::from_millis([2, 2, 2, 20][step as usize % 4]));
                let Some(page) = &page else { continue };
                if how != "garbage" {
                    page.set_len([0, 100, 4096][step as usize % 3]).unwrap();
                } else {
                    let junk = noise(round * 100 + step, 4096);
                    std::os::unix::fs::FileExt::write_all_at(page, &junk, 0).unwrap();
                }
            }
            for child in children {
                let output = child.wait_with_output().unwrap();
                let ended = output.status.signal();
                assert!(
                    output.status.success() || how == "cut" && ended == Some(7),
                    "{how}: {:?} {}",
                    output.status,
                    String::from_utf8_lossy(&output.stderr)
                );
                said.take(&output);
            }
        }
        said.check(folder.path());
        for error in &said.errors {
            assert!(error.starts_with("Poisoned") || error.starts_with("Locked"), "{how}: {error}");
        }
        assert!(!said.got.is_empty(), "{how}");
        let store = Store::open(folder.path(), together()).unwrap();
        let _ = try_put(&store, "m", b"and on", Durability::Synced).unwrap();
    }
}

/// The clock of all of them jumps between any two appends.
#[test]
fn p18_clocks_that_jump_change_nothing_for_processes_that_share_a_store() {
    let storage = MemStorage::new();
    storage.set_clock_step(0);
    let open = || Store::open_on(Arc::new(storage.clone()), together()).unwrap();
    let stores = [open(), open(), open()];
    let mut events = stores[2].subscribe(SubscribeOptions::stream("m").visibility(Visibility::Committed)).unwrap();
    std::thread::scope(|scope| {
        let follower = scope.spawn(move || {
            let next = |_| events.next_timeout(PATIENCE).unwrap().expect("it comes").revision.0;
            (0..200).map(next).collect::<Vec<u64>>()
        });
        let clocks = [1_800_000_000_000_000_000, 0, i64::MAX, -1, i64::MIN, 1, 1_800_000_000_000_000_001];
        for round in 0..200u64 {
            storage.set_clock(clocks[round as usize * 3 % clocks.len()]);
            let expected = round.checked_sub(1).map_or(Expected::NoStream, |last| Expected::Exactly(Revision(last)));
            let payload = noise(round, 300);
            let event = [NewEvent::new("t", &payload)];
            let batch = Batch::to("m", expected, &event).durability(Durability::Written);
            let _ = stores[round as usize % 2].append(&batch).unwrap();
        }
        assert_eq!(follower.join().unwrap(), (0..200).collect::<Vec<_>>());
    });
    drop(stores);
    let report = maintain::verify_on(Arc::new(storage.clone()), &mut ()).unwrap();
    assert!(report.is_clean() && report.events == 200, "{:#?}", report.damage);
}

/// Whatever number of descriptors a process may have: it does its work, or says what it wants; one that has the store open beside it
/// goes on, and so does the next.
#[test]
fn p09_a_process_without_descriptors_says_so_and_those_beside_it_go_on() {
    let folder = made();
    let mut said = Said::default();
    let (mut told, mut own) = (0, 0);
    let beside = Store::open(folder.path(), together()).unwrap();
    for limit in 4..40u64 {
        let limited = format!("-n {limit}");
        let output = command(folder.path(), "written", 40, &limited, Some(&limited)).output().unwrap();
        let before = said.errors.len();
        said.take(&output);
        for error in &said.errors[before..] {
            assert!(error.contains("ulimit -n"), "{limited}: {error}");
            told += 1;
        }
        let next = Store::open(folder.path(), together()).unwrap();
        for (store, name, level) in [(&beside, "beside", Durability::Synced), (&next, "next", Durability::Written)] {
            let receipt = try_put(store, "m", format!("{name} {limit}").as_bytes(), level).unwrap();
            said.got.push((receipt.sections[0].last_revision.0, receipt.position.0));
            own += 1;
        }
        next.close().unwrap();
    }
    beside.close().unwrap();
    assert!(told > 2, "some had too few: {told}");
    assert!(said.closed > 5, "and some enough: {}", said.closed);
    assert!(said.got.len() as u64 > own + 200, "{}", said.got.len());
    said.check(folder.path());
}

fn crowd(folder: &Path, processes: u64, events: u64) {
    let mut said = Said::default();
    let start = |number: u64| {
        let what = if number.is_multiple_of(2) { "written" } else { "synced" };
        command(folder, what, events, &format!("member {number}"), None).spawn().unwrap()
    };
    let children: Vec<Child> = (0..processes).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        said.take(&output);
    }
    assert!(said.errors.is_empty(), "{:?}", said.errors);
    assert_eq!((said.closed, said.got.len() as u64), (processes, processes * events));
    assert_eq!(said.check(folder), processes * events);
}

/// 32, or as many as `TREERING_PROCESSES` says.
#[test]
fn p14_many_processes_at_once_all_get_their_turns() {
    let processes = std::env::var("TREERING_PROCESSES").map_or(32, |text| text.parse().unwrap());
    let folder = made();
    crowd(folder.path(), processes, 3);
}

/// In memory alone, where the system has such a file system at its usual place.
#[test]
fn p14_processes_share_a_store_on_a_file_system_in_memory() {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: there is no /dev/shm");
        return;
    };
    let path = folder.path().join("s");
    crowd(&path, 8, 40);
    // One is killed in the middle of it, and one follows.
    let reader = Store::open_read_only(&path, Options::new()).unwrap();
    let mut following = reader.subscribe(SubscribeOptions::stream("m").visibility(Visibility::Committed)).unwrap();
    let mut killed = Process(command(&path, "written", u64::from(u32::MAX), "killed", None).spawn().unwrap());
    for revision in 0..8 * 40 + 50 {
        let event = following.next_timeout(PATIENCE).unwrap().expect("it comes");
        assert_eq!(event.revision.0, revision);
    }
    killed.0.kill().unwrap();
    let mut said = Said::default();
    said.take(&command(&path, "synced", 20, "successor", None).output().unwrap());
    assert_eq!((said.got.len(), said.closed), (20, 1), "{said:?}");
    assert!(said.check(&path) >= 8 * 40 + 50 + 20);
}
