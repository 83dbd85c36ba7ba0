//! Fencing tokens: who had a stream before is refused, through any opening of the store, in any process, and where damage hides
//! whether it had. That a token is only given to who has the claim is here; what a claim is, in `claims.rs`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use treering::checksum::Seeds;
use treering::format::frame::{self, FRAME_HEADER_BYTES, Frame};
use treering::format::segment_header::{FIRST_FRAME_OFFSET, SegmentHeader};
use treering::maintain;
use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};
use treering::{
    Batch, BatchId, Durability, Error, ErrorKind, Expected, FencingToken, NewEvent, Position, Receipt, Result,
    Revision, Store,
};
use treering_tests::store::{PATIENCE, everything, noise, open, open_read_only, put, small, wait_until};

/// Set for a process that takes a claim with a token and appends under it when it is told to: the folder.
const HOLDER: &str = "TREERING_FENCE_HOLDER";

fn try_put(store: &Store, stream: &str, expected: Expected, token: FencingToken) -> Result<Receipt> {
    let event = [NewEvent::new("step", "fenced")];
    store.append(&Batch::to(stream, expected, &event).fenced(stream, token).durability(Durability::Written))
}

/// Takes the claim on a stream, a token, and lets go of the claim: as who has the stream now.
fn token(store: &Store, stream: &str) -> FencingToken {
    let claim = store.try_claim(stream).unwrap();
    store.fencing_token(&claim).unwrap()
}

#[track_caller]
fn fenced(result: Result<Receipt>, why: &str) {
    let error: Error = result.expect_err("the token is not the newest");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

fn verify_clean(storage: &MemStorage) {
    let report = maintain::verify_on(Arc::new(storage.clone()), &mut ()).unwrap();
    assert!(report.is_clean(), "{:#?}", report.damage);
}

/// [BAT-18] [BAT-19]
#[test]
fn p12_an_append_under_an_older_claim_is_refused() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "s", b"1");
    let _ = put(&store, "other", b"1");
    let claim = store.try_claim("s").unwrap();
    let first = store.fencing_token(&claim).unwrap();
    let receipt = try_put(&store, "s", Expected::Exactly(Revision(0)), first).unwrap();
    assert_eq!(receipt.sections[0].last_revision, Revision(1));
    // Whoever holds the claim may take another token; the one before ends with that.
    let second = store.fencing_token(&claim).unwrap();
    assert!(second > first && second.get() > receipt.position.0);
    fenced(try_put(&store, "s", Expected::Any, first), &format!("claimed again, with token {second}"));
    let _ = try_put(&store, "s", Expected::Exactly(Revision(1)), second).unwrap();

    // Of a stream alone: the tokens of others are no tokens of it, and neither is any other number.
    let of_other = token(&store, "other");
    fenced(try_put(&store, "s", Expected::Any, of_other), "no claim of the stream was given it");
    fenced(try_put(&store, "other", Expected::Any, second), "claimed again");
    for number in [0, 1, second.get() + 1, second.get() - 1, u64::MAX] {
        fenced(try_put(&store, "s", Expected::Any, FencingToken(number)), "nothing was appended");
    }
    fenced(try_put(&store, "nowhere", Expected::NoStream, second), "no such stream");
    // A conflict is one under the newest token; under an older one it is said that the stream was lost.
    let conflict = try_put(&store, "s", Expected::NoStream, second).unwrap_err();
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    fenced(try_put(&store, "s", Expected::Exactly(Revision(0)), first), "claimed again");
    // Who carries no token is not asked for one.
    let _ = put(&store, "s", b"without");

    // Events go to other streams, and to several, under the claim on one.
    let events = [NewEvent::new("t", "1")];
    let both = |token| {
        let batch = Batch::new().section("s", Expected::Any, &events).section("new", Expected::NoStream, &events);
        batch.fenced("other", of_other).fenced("s", token)
    };
    fenced(store.append(&both(first)), "stream \"s\"");
    assert!(store.stream("new").unwrap().is_none(), "nothing of the batch was appended");
    let _ = store.append(&both(second)).unwrap();
    let _ = store.append(&Batch::to("new", Expected::Exists, &events).fenced("s", second)).unwrap();

    // In what is asked for wrongly nothing is looked up.
    let twice = Batch::to("s", Expected::Any, &events).fenced("s", second).fenced("s", second);
    assert_eq!(store.append(&twice).unwrap_err().kind(), ErrorKind::Invalid);
    let engine = Batch::to("s", Expected::Any, &events).fenced("$s", second);
    assert_eq!(store.append(&engine).unwrap_err().kind(), ErrorKind::Invalid);
    let mut many = Batch::to("s", Expected::Any, &events);
    let names: Vec<String> = (0..=treering::limits::BATCH_SECTIONS_MAX).map(|number| format!("n{number}")).collect();
    for name in &names {
        many = many.fenced(name, second);
    }
    assert_eq!(store.append(&many).unwrap_err().kind(), ErrorKind::Limit);

    assert_eq!(everything(&store).len(), 8);
    assert_eq!(store.stat().unwrap().events, 8, "claims are no events");
    store.close().unwrap();
    verify_clean(&storage);
}

/// A retry is answered with its first receipt, whoever has the stream by then.
#[test]
fn p12_a_retry_under_a_claim_that_has_ended_is_recognised() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "s", b"1");
    let first = token(&store, "s");
    let events = [NewEvent::new("t", "2")];
    let given = Batch::with_id(BatchId([7; 16])).section("s", Expected::Any, &events).fenced("s", first);
    let drawn = Batch::to("s", Expected::Exactly(Revision(1)), &events).fenced("s", first);
    let receipts = [store.append(&given).unwrap(), store.append(&drawn).unwrap()];
    let _ = token(&store, "s");
    for (batch, receipt) in [&given, &drawn].into_iter().zip(&receipts) {
        let again = store.append(batch).unwrap();
        assert!(again.is_repeated && again.position == receipt.position);
    }
    assert_eq!(everything(&store).len(), 3);
}

#[test]
fn p12_a_token_is_given_to_who_has_the_claim_on_a_stream_of_the_store() {
    let (storage, elsewhere) = (MemStorage::new(), MemStorage::new());
    let (store, other) = (open(&storage), open(&elsewhere));
    for store in [&store, &other] {
        let _ = put(store, "s", b"1");
    }
    let foreign = other.try_claim("s").unwrap();
    assert_eq!(store.fencing_token(&foreign).unwrap_err().kind(), ErrorKind::Invalid);
    // The claim of a stream that is not there yet is good; a token there is once it was begun.
    let claim = store.try_claim("not yet").unwrap();
    let error = store.fencing_token(&claim).unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("begin it"), "{error}");
    let _ = put(&store, "not yet", b"1");
    let token = store.fencing_token(&claim).unwrap();
    let _ = try_put(&store, "not yet", Expected::Any, token).unwrap();
    // A claim whose file was deleted keeps nobody out, so there is no token for it.
    let name = storage.list().unwrap().into_iter().map(|entry| entry.name).find(|name| name.starts_with("claims-"));
    storage.remove(&name.unwrap()).unwrap();
    assert_eq!(store.fencing_token(&claim).unwrap_err().kind(), ErrorKind::Invalid);
    store.close().unwrap();
    let reading = open_read_only(&storage);
    assert_eq!(reading.fencing_token(&claim).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(everything(&reading).len(), 3);
}

fn fill(store: &Store, batches: u64) {
    for number in 0..batches {
        let payload = noise(number, 300);
        let _ = store.append(&Batch::to("beside", Expected::Any, &[NewEvent::new("t", &payload)])).unwrap();
        if number % 20 == 0 {
            store.work_in_background().unwrap();
        }
    }
}

/// Where the claim lies before what opening reads, where the stream's last frame is fenced and where it is not.
#[test]
fn p12_a_fencing_token_holds_and_ends_through_rolls_openings_and_checkpoints() {
    for is_last_fenced in [true, false] {
        let storage = MemStorage::new();
        let open = || Store::open_on(Arc::new(storage.clone()), small().background_threads(false)).unwrap();
        let store = open();
        for name in ["s", "taken"] {
            let _ = put(&store, name, b"1");
        }
        let (good, old) = (token(&store, "s"), token(&store, "taken"));
        let _ = try_put(&store, "s", Expected::Any, good).unwrap();
        let _ = try_put(&store, "taken", Expected::Any, old).unwrap();
        fill(&store, 200);
        let new = token(&store, "taken");
        if !is_last_fenced {
            for name in ["s", "taken"] {
                let _ = put(&store, name, b"without a token");
            }
        }
        fill(&store, 200);
        let segments = store.stat().unwrap().segments;
        store.close().unwrap();
        assert!(segments > 5, "{segments}");
        for round in 0..3 {
            let store = open();
            let covered = store.stat().unwrap().directory.expect("there is a checkpoint").covered;
            assert!(covered.0 > new.get() || round > 0, "the claims lie before it");
            assert!(store.stat().unwrap().streams_in_memory < 3, "opening asked for none of them");
            fenced(try_put(&store, "taken", Expected::Any, old), &format!("claimed again, with token {new}"));
            fenced(try_put(&store, "s", Expected::Any, FencingToken(good.get() + 8)), "no claim of the stream");
            fenced(try_put(&store, "s", Expected::Any, new), "no claim of the stream");
            let _ = try_put(&store, "s", Expected::Any, good).unwrap();
            let _ = try_put(&store, "taken", Expected::Any, new).unwrap();
            fill(&store, 20);
            store.close().unwrap();
        }
        let store = open();
        let newest = token(&store, "s");
        fenced(try_put(&store, "s", Expected::Any, good), &format!("claimed again, with token {newest}"));
        let _ = try_put(&store, "s", Expected::Any, newest).unwrap();
        store.close().unwrap();
        verify_clean(&storage);
    }
}

#[test]
fn p12_a_token_that_another_process_has_taken_ends_all_before_it_at_once() {
    let storage = MemStorage::new();
    let open = || Store::open_on(Arc::new(storage.clone()), small()).unwrap();
    let (one, other) = (open(), open());
    let _ = put(&one, "s", b"1");
    for round in 0..40 {
        let (had, has) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let before = token(had, "s");
        let _ = try_put(had, "s", Expected::Any, before).unwrap();
        // Whoever opened the store later is held to it too, and may be given a token by hand.
        let third = (round % 10 == 0).then(open);
        let _ = try_put(has, "s", Expected::Any, before).unwrap();
        let after = token(has, "s");
        fenced(try_put(had, "s", Expected::Any, before), "claimed again");
        if let Some(third) = third {
            fenced(try_put(&third, "s", Expected::Any, before), "claimed again");
            let _ = try_put(&third, "s", Expected::Any, after).unwrap();
        }
        let _ = try_put(had, "s", Expected::Any, after).unwrap();
        let _ = put(has, "beside", &noise(round, 700));
    }
    assert!(one.stat().unwrap().segments > 1);
    drop((one, other));
    verify_clean(&storage);
}

/// A claim that is lost may have been the newest one: nothing is appended under those before it, accepted or not.
#[test]
fn p12_damage_that_may_hide_a_newer_claim_ends_the_tokens_before_it() {
    for (is_newest_lost, is_read_from_checkpoint) in [(true, true), (true, false), (false, true), (false, false)] {
        let storage = MemStorage::new();
        let open = || Store::open_on(Arc::new(storage.clone()), small().background_threads(false)).unwrap();
        let store = open();
        let _ = put(&store, "s", b"1");
        let before = token(&store, "s");
        let _ = try_put(&store, "s", Expected::Any, before).unwrap();
        let hit = if is_newest_lost { token(&store, "s").get() } else { put(&store, "beside", b"1").position.0 };
        for _ in 0..3 {
            let _ = put(&store, "s", b"behind");
        }
        store.sync().unwrap();
        store.close().unwrap();
        // With its index block, so that nothing says what was there.
        let segment = storage.open(&segment(0), Access::ReadWrite).unwrap();
        let mut bytes = vec![0; (16 << 10) - hit as usize];
        segment.read_at(&mut bytes, hit).unwrap();
        bytes[8..40].fill(0xAA);
        segment.write_at(&bytes, hit).unwrap();
        for entry in storage.list().unwrap() {
            if entry.name.starts_with("checkpoint-") && !is_read_from_checkpoint {
                storage.remove(&entry.name).unwrap();
            }
        }

        let store = open();
        fenced(try_put(&store, "s", Expected::Any, before), "damage behind it");
        store.close().unwrap();
        let plan = maintain::accept_plan_on(Arc::new(storage.clone()), &mut ()).unwrap();
        assert!(maintain::accept_on(Arc::new(storage.clone()), &plan).unwrap());
        let store = open();
        fenced(try_put(&store, "s", Expected::Any, before), "damage behind it");
        if is_newest_lost {
            fenced(try_put(&store, "s", Expected::Any, FencingToken(hit)), "nothing was appended");
        }
        let after = token(&store, "s");
        let _ = try_put(&store, "s", Expected::Any, after).unwrap();
        store.close().unwrap();
    }
}

fn segment(ordinal: u64) -> String {
    format!("{ordinal:016x}.segment")
}

/// [BAT-19] A fence that names another claim than the newest is a contradiction that verify reports.
#[test]
fn p05_a_fence_of_another_claim_is_reported() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "s", b"1");
    let newest = token(&store, "s");
    let receipt = try_put(&store, "s", Expected::Any, newest).unwrap();
    // As it is after a kill: nothing stands behind the frame.
    let left = storage.deep_copy().unwrap();
    store.close().unwrap();
    verify_clean(&left);
    let name = segment(0);
    let file = left.open(&name, Access::ReadWrite).unwrap();
    let mut bytes = vec![0; 16 << 10];
    file.read_at(&mut bytes, 0).unwrap();
    let seeds = Seeds::new(SegmentHeader::decode(&bytes).unwrap().salt);
    let at = receipt.position.0 as usize;
    assert!(at as u64 > FIRST_FRAME_OFFSET);
    let decoded = Frame::decode(&bytes[at..], seeds, receipt.position).unwrap();
    let (header, plain_len, len) = (decoded.header(), decoded.plain().len(), decoded.bytes().len());
    // The last byte of the plain part is the distance to the claim; frames are short here.
    let distance = &mut bytes[at + FRAME_HEADER_BYTES + plain_len - 1];
    assert_eq!(u64::from(*distance), receipt.position.0 - newest.get());
    *distance -= 1;
    frame::finish(&mut bytes[at..at + len], plain_len, &header, seeds, receipt.position);
    file.write_at(&bytes, 0).unwrap();
    let report = maintain::verify_on(Arc::new(left.clone()), &mut ()).unwrap();
    let [damage] = &report.damage[..] else { panic!("{:#?}", report.damage) };
    assert!(damage.detail.contains(&format!("a fence names claim {}", newest.get() + 1)), "{damage}");
    assert_eq!(damage.positions.start, Position(receipt.position.0));
}

/// Not a test of its own. Does nothing where it is run as a test.
///
/// Has the claim on `s` with a token, says so, and appends under it for each line that it is given.
#[test]
fn holder() {
    let Some(folder) = std::env::var_os(HOLDER) else { return };
    let store = Store::open(Path::new(&folder), small()).unwrap();
    let claim = store.claim("s", None).unwrap();
    let token = store.fencing_token(&claim).unwrap();
    println!("\ntoken {token}");
    for line in std::io::stdin().lines() {
        let event = [NewEvent::new("step", line.as_ref().unwrap())];
        match store.append(&Batch::to("s", Expected::Any, &event).fenced("s", token)) {
            Ok(receipt) => println!("\nappended {}", receipt.sections[0].last_revision),
            Err(error) => println!("\nrefused {:?}", error.kind()),
        }
    }
}

/// A process that has the claim, and what it says.
struct Holder {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Holder {
    fn start(folder: &Path) -> Holder {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "fencing::holder", "--nocapture", "--test-threads=1"])
            .env(HOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Holder { process, lines }
    }

    /// What it says next that begins with one of these words.
    fn hear(&mut self, words: &[&str]) -> String {
        loop {
            let line = self.lines.next().expect("it is alive").unwrap();
            if words.iter().any(|word| line.starts_with(word)) {
                return line;
            }
        }
    }

    fn append(&mut self, what: &str) -> String {
        self.tell(what);
        self.hear(&["appended", "refused"])
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{what}").unwrap();
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The claim is taken from a process that lives by deleting its file: what it appends from then on is refused, also what it was
/// told to append while it was stopped.
#[test]
fn p14_a_process_whose_claim_was_taken_from_it_appends_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), small()).unwrap();
    let _ = put(&store, "s", b"begun");
    let mut had = Holder::start(folder.path());
    had.hear(&["token"]);
    assert_eq!(had.append("one"), "appended 1");
    let error = store.try_claim("s").unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", had.process.id())), "{error}");
    had.signal("-STOP");
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", had.process.id())).unwrap();
    wait_until("it stops", || stat().contains(") T"));
    had.tell("late");
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("claims-") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let mut has = Holder::start(folder.path());
    has.hear(&["token"]);
    had.signal("-CONT");
    assert_eq!(had.hear(&["appended", "refused"]), "refused Fenced");
    assert_eq!(has.append("two"), "appended 2");
    assert_eq!(had.append("again"), "refused Fenced");
    // A token outlives its process, and the store that it was taken through.
    drop(has);
    assert_eq!(had.append("and again"), "refused Fenced");
    drop(had);
    store.refresh().unwrap();
    let payloads: Vec<_> = everything(&store).iter().map(|event| event.payload.to_vec()).collect();
    assert_eq!(payloads, [&b"begun"[..], b"one", b"two"]);
    let claim = store.claim("s", Some(PATIENCE)).unwrap();
    let _ = store.fencing_token(&claim).unwrap();
}
