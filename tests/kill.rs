//! `kill -9` of a real process, again and again, beside an account of what it had acknowledged.
//!
//! The worker is this very test binary, called again with the worker's variable set. It prints a line for each receipt that
//! it was given, and nothing before. The lines outlive it in the pipe: whatever they say must be in the store.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use treering::{Batch, Durability, Epoch, Expected, NewEvent, Options, ReadOptions, Revision, SegmentOrdinal, Store};
use treering_tests::store::{everything, noise, stream};

const WORKER: &str = "TREERING_KILL_WORKER";
/// Set for a worker that never syncs, so that no kill can fall into a sync.
const NEVER_SYNCS: &str = "TREERING_KILL_WORKER_NEVER_SYNCS";
const KILLS: usize = 30;

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).index_stride_bytes(16 << 10)
}

/// One segment is enough for all, and nothing is synced by itself.
fn options_without_syncs() -> Options {
    Options::new().segment_bytes(64 << 20).sync_interval(Duration::from_secs(3600))
}

fn payload(revision: u64) -> Vec<u8> {
    noise(revision, (revision * 37 % 900) as usize)
}

/// Not a test of its own: what the other one starts and kills. Does nothing where it is run as a test.
#[test]
fn worker() {
    let Some(path) = std::env::var_os(WORKER) else { return };
    let is_syncing = std::env::var_os(NEVER_SYNCS).is_none();
    let options = if is_syncing { options() } else { options_without_syncs() };
    let store = Store::open(Path::new(&path), options).unwrap();
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| {
        out.write_all(line.as_bytes()).unwrap();
        out.flush().unwrap();
    };
    let epoch = store.open_report().epoch;
    say(format!("\nopened {} {}\n", epoch.segment, epoch.takeover));
    let mut head = store.stream("s").unwrap().map(|info| info.head.0);
    loop {
        let next = head.map_or(0, |head| head + 1);
        let bytes = payload(next);
        let events = [NewEvent::new("t", &bytes)];
        let expected = head.map_or(Expected::NoStream, |head| Expected::Exactly(Revision(head)));
        // Long runs of Written, so that they come to be copied into the mapping.
        let level = if is_syncing && next.is_multiple_of(60) { Durability::Synced } else { Durability::Written };
        let batch = Batch::to("s", expected, &events).section("beside", Expected::Any, &events).durability(level);
        let receipt = store.append(&batch).unwrap();
        say(format!("acknowledged {} {}\n", receipt.sections[0].last_revision, receipt.position));
        head = Some(next);
    }
}

/// Starts a worker, kills it after so many receipts. Its epoch, and the revisions and positions it acknowledged.
fn run_and_kill(path: &Path, receipts: usize, is_syncing: bool) -> (Epoch, Vec<(u64, u64)>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kill::worker", "--nocapture", "--test-threads=1"]).env(WORKER, path);
    if !is_syncing {
        command.env(NEVER_SYNCS, "1");
    }
    let mut worker = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    let (mut epoch, mut acknowledged, mut is_killed) = (None, Vec::new(), false);
    while let Some(line) = lines.next().transpose().unwrap() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["opened", segment, takeover] => {
                let segment = SegmentOrdinal(segment.parse().unwrap());
                epoch = Some(Epoch { segment, takeover: takeover.parse().unwrap() });
            }
            ["acknowledged", revision, position] => {
                acknowledged.push((revision.parse().unwrap(), position.parse().unwrap()));
            }
            _ => {}
        }
        if !is_killed && acknowledged.len() >= receipts {
            worker.kill().unwrap(); // SIGKILL; the lines that are in the pipe by now are read all the same
            is_killed = true;
        }
    }
    let status = worker.wait().unwrap();
    assert!(is_killed && !status.success(), "the worker ended by itself: {status}");
    (epoch.expect("it opened the store"), acknowledged)
}

#[test]
fn p01_every_receipt_printed_before_a_kill_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let (mut last_epoch, mut account) = (None, Vec::new());
    for kill in 0..KILLS {
        let (epoch, acknowledged) = run_and_kill(&path, 1 + kill * 53 % 190, true);
        assert!(last_epoch < Some(epoch), "{last_epoch:?}, then {epoch:?}");
        last_epoch = Some(epoch);
        account.extend(acknowledged);
        // Every other time the next worker finds what the kill left; a reader may look at it and change nothing.
        let store = match kill % 2 {
            0 => Store::open_read_only(&path, options()).unwrap(),
            _ => Store::open(&path, options()).unwrap(),
        };
        assert_eq!(store.open_report().damage, []);
        if kill % 2 == 1 {
            last_epoch = last_epoch.max(Some(store.open_report().epoch));
        }
        let committed = ReadOptions::new().visibility(treering::Visibility::Committed);
        let events = stream(&store, "s", committed);
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event.revision.0, index as u64);
            assert!(event.payload == payload(index as u64), "revision {index}");
        }
        for (revision, position) in &account {
            let found = events.get(*revision as usize).map(|event| event.position.0);
            assert_eq!(found, Some(*position), "revision {revision} was acknowledged before kill {kill}");
        }
        assert!(account.windows(2).all(|pair| pair[0].0 < pair[1].0), "no revision twice");
        assert!(events.len() <= account.len() + kill + 1, "one append at most was under way at each kill");
        assert_eq!(stream(&store, "beside", committed).len(), events.len(), "batches are whole");
        assert_eq!(everything(&store).len(), 2 * events.len());
    }
}

/// [REC-13] Killed outside of a sync, it goes on in its segment: no kill costs a file, and all that was Written is there.
#[test]
fn p01_a_store_whose_writer_is_killed_again_and_again_goes_on_in_one_segment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut account = Vec::new();
    let mut expected = Epoch { segment: SegmentOrdinal(0), takeover: 0 };
    for kill in 0..KILLS {
        let (epoch, acknowledged) = run_and_kill(&path, 1 + kill * 71 % 300, false);
        if !path.join("control").exists() {
            eprintln!("this kernel or file system has no memory that outlives a process, so there is nothing to test");
            return;
        }
        assert_eq!(epoch, expected, "kill {kill}");
        expected.takeover += 1;
        account.extend(acknowledged);
        let store = Store::open_read_only(&path, options_without_syncs()).unwrap();
        assert_eq!(store.open_report().damage, []);
        let committed = ReadOptions::new().visibility(treering::Visibility::Committed);
        let events = stream(&store, "s", committed);
        for (revision, position) in &account {
            let found = events.get(*revision as usize);
            assert!(
                found.is_some_and(|event| event.position.0 == *position && event.payload == payload(*revision)),
                "revision {revision} was acknowledged before kill {kill}"
            );
        }
        assert!(account.windows(2).all(|pair| pair[0].0 < pair[1].0), "no revision twice");
        assert_eq!(stream(&store, "beside", committed).len(), events.len(), "batches are whole");
    }
    let names = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().ends_with(".segment")).count(), 1);
    let store = Store::open(&path, options_without_syncs()).unwrap();
    assert!(!store.open_report().has_rolled && store.open_report().epoch == expected, "{:?}", store.open_report());
    store.close().unwrap();
    assert!(Store::open(&path, options_without_syncs()).unwrap().open_report().was_clean);
}
