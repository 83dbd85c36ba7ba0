//! Workloads for the laboratory: short scripts, each of which walks through one way of the engine.
//!
//! To add one: write a function of a [`Run`] and name it in [`ALL`]. What it appends goes into the account by itself.

use treering::storage::mem::Operation;
use treering::storage::{Access, Storage as _};
use treering::{Durability, Error, Store};

use super::account::{Account, Outcome, Plan};
use super::check::{look_on, read};
use super::disk::CONTROL;
use super::{Failure, Fault, Image, SimStorage, options};
use crate::store::noise;

mod beside;
mod claims;
mod forks;
mod losses;

use beside::{snapshots, snapshots_in_several_lives};
use claims::{claims, claims_in_several_lives};
use forks::{forks, forks_across_segments, forks_in_several_lives};
use losses::{accepts_a_lost_segment, accepts_lost_frames, accepts_lost_names};

/// The watermark file.
const WATERMARK: &str = "watermark";

/// A workload: its name, and what it does.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its name, for replays.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&mut Run),
}

impl Workload {
    /// Whether a stretch of the log is lost in it, and accepted.
    #[must_use]
    pub fn has_loss(&self) -> bool {
        self.name.starts_with("accepts")
    }
}

macro_rules! workloads {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// All workloads.
        pub const ALL: &[Workload] = &[$(Workload { name: stringify!($name), run: $name }),*];
    };
}

workloads! {
    singles
    batches_to_many_streams
    written_then_synced
    rolls
    index_blocks_and_seals
    closed_and_opened
    takeovers
    jumbo
    full_disk
    torn_and_rolled
    frames_behind_a_tear
    two_writers_end_at_the_same_byte
    failed_sync_then_eviction
    reverted_sync
    late_error
    payloads_that_are_segments
    a_second_writer
    prepared_segments
    seals_in_several_lives
    retries_by_batch_id
    control_page_replaced
    watermark_of_another_history
    forks
    forks_across_segments
    forks_in_several_lives
    snapshots
    snapshots_in_several_lives
    claims
    claims_in_several_lives
    accepts_lost_frames
    accepts_a_lost_segment
    accepts_lost_names
}

/// Those in which nothing is lost, for who damages or copies stores.
pub fn sound() -> impl Iterator<Item = &'static Workload> {
    ALL.iter().filter(|workload| !workload.has_loss())
}

/// A workload under way.
#[derive(Debug)]
pub struct Run {
    machine: SimStorage,
    process: SimStorage,
    store: Option<Store>,
    account: Account,
    next: u64,
    /// Whether a failed sync took the cache back to old bytes.
    reverts: bool,
}

impl Run {
    /// A store on an empty directory.
    #[must_use]
    pub fn new(machine: &SimStorage) -> Run {
        let process = machine.process();
        Run { machine: machine.clone(), process, store: None, account: Account::default(), next: 0, reverts: false }
    }

    /// Ends it as a crash would; what was appended.
    #[must_use]
    pub fn finish(mut self) -> Account {
        self.kill();
        self.account
    }

    /// The directory.
    #[must_use]
    pub fn machine(&self) -> &SimStorage {
        &self.machine
    }

    /// The open store.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("the store is open")
    }

    /// Opens the store in a process of its own.
    ///
    /// # Panics
    /// Where it does not open.
    pub fn open(&mut self) {
        self.try_open().expect("the store opens");
    }

    /// As [`open`](Self::open).
    ///
    /// # Errors
    /// What opening said.
    pub fn try_open(&mut self) -> Result<(), Error> {
        self.process = self.machine.process();
        let store = Store::open_on(std::sync::Arc::new(self.process.clone()), options())?;
        self.forgive(&store);
        let epoch = store.open_report().epoch;
        assert!(self.account.seen_at(usize::MAX).1 < Some(epoch), "P4: the epoch {epoch} was seen before");
        self.account.seen.push((self.machine.trace_len(), 0, epoch));
        self.account.note(&store, self.machine.trace_len());
        self.store = Some(store);
        Ok(())
    }

    /// A sync may take the cache back to old bytes: what is only Written may be gone then, without a crash.
    pub fn allow_reverts(&mut self) {
        self.reverts = true;
    }

    /// Whether events that were only Written may be gone without a crash.
    #[must_use]
    pub fn may_revert(&self) -> bool {
        self.reverts
    }

    /// Where the cache went back to old bytes after a failed sync, what was only Written may be gone.
    fn forgive(&mut self, store: &Store) {
        let fault = self.machine.take_fault();
        let (events, _) = read(store).expect("the log can be read");
        self.machine.fail(fault);
        for entry in &mut self.account.entries {
            let is_there = entry.plan.is_among(&events);
            if matches!(entry.outcome, Outcome::Acknowledged(_)) && !is_there {
                assert!(self.reverts && entry.plan.level == Written, "P1: lost {entry:?}");
                entry.outcome = Outcome::Unknown;
            }
        }
    }

    /// A plan with the next number.
    pub fn plan(&mut self, sections: &[(&str, &[usize])], level: Durability) -> Plan {
        self.next += 1;
        let number = self.next;
        let sections = sections.iter().map(|(stream, sizes)| {
            let payloads = sizes.iter().enumerate().map(|(at, len)| noise(number * 100 + at as u64, *len));
            ((*stream).to_owned(), payloads.collect())
        });
        Plan { number, sections: sections.collect(), fork: None, beside: None, level }
    }

    /// A plan of a fork, whose name has the next number in it.
    pub fn fork_plan(&mut self, parent: &str, revision: u64, level: Durability) -> Plan {
        let name = format!("fork {}", self.next + 1);
        self.fork_plan_named(parent, revision, &name, level)
    }

    /// A plan of a fork.
    pub fn fork_plan_named(&mut self, parent: &str, revision: u64, name: &str, level: Durability) -> Plan {
        self.next += 1;
        Plan::fork(self.next, parent, revision, name, level)
    }

    /// Forks a stream.
    ///
    /// # Panics
    /// Where the fork fails.
    pub fn fork(&mut self, parent: &str, revision: u64, name: &str, level: Durability) {
        let plan = self.fork_plan_named(parent, revision, name, level);
        self.try_append(plan).expect("the fork succeeds");
    }

    /// Makes a snapshot of the revisions of a stream below `end`.
    ///
    /// # Panics
    /// Where that fails.
    pub fn snapshot(&mut self, source: &str, end: u64, lens: &[usize], level: Durability) {
        self.next += 1;
        let plan = Plan::snapshot(self.next, self.store(), source, end, lens, level);
        self.try_append(plan).expect("the snapshot is made");
    }

    /// Moves the cursor behind an event.
    ///
    /// # Panics
    /// Where that fails.
    pub fn cursor(&mut self, stream: &str, revision: u64, level: Durability) {
        self.next += 1;
        let plan = Plan::cursor(self.next, stream, revision, level);
        self.try_append(plan).expect("the cursor moves");
    }

    /// Appends a plan.
    ///
    /// # Errors
    /// What the append said.
    pub fn try_append(&mut self, plan: Plan) -> Result<(), Error> {
        let machine = &self.machine;
        let store = self.store.as_ref().expect("the store is open");
        let appended = self.account.append(store, plan, || machine.trace_len()).map(drop);
        look_on(machine, &mut self.account, self.reverts).unwrap_or_else(|broken| panic!("{broken}"));
        appended
    }

    /// Appends one event.
    ///
    /// # Panics
    /// Where the append fails.
    pub fn append(&mut self, stream: &str, len: usize, level: Durability) {
        let plan = self.plan(&[(stream, &[len])], level);
        self.try_append(plan).expect("the append succeeds");
    }

    /// Makes all durable.
    ///
    /// # Panics
    /// Where the sync fails.
    pub fn sync(&mut self) {
        let _ = self.store().sync().expect("the sync succeeds");
        self.note();
    }

    /// Writes down how far the store says that it is durable.
    ///
    /// # Panics
    /// Where no store is open.
    pub fn note(&mut self) {
        let now = self.machine.trace_len();
        self.account.note(self.store.as_ref().expect("the store is open"), now);
    }

    /// Writes down how far another store says that the log is durable.
    pub fn note_of(&mut self, store: &Store) {
        let now = self.machine.trace_len();
        self.account.note(store, now);
    }

    /// Closes the store.
    ///
    /// # Panics
    /// Where closing fails.
    pub fn close(&mut self) {
        assert!(self.try_close(), "the store closes");
    }

    /// Closes the store; whether that went well.
    ///
    /// # Panics
    /// Where there is none.
    pub fn try_close(&mut self) -> bool {
        let store = self.store.take().expect("the store is open");
        let end = store.watermarks().committed.0;
        let is_closed = store.close().is_ok();
        if is_closed {
            self.account.durable.push((self.machine.trace_len(), end));
        }
        is_closed
    }

    /// Closes the store, which is opened before where it is not open.
    pub fn end_clean(&mut self) {
        if self.store.is_none() {
            self.open();
        }
        self.close();
    }

    /// Kills the process that has the store open.
    pub fn kill(&mut self) {
        self.process.kill();
        self.store = None;
    }

    /// Lets the background do its work.
    ///
    /// # Panics
    /// Where no store is open.
    pub fn rest(&mut self) {
        self.store().work_in_background().expect("the store is open for writing");
        self.note();
    }

    /// Makes the next call of a kind fail.
    pub fn fail(&mut self, on: Operation, how: Failure) {
        self.reverts |= how == Failure::SyncReverts;
        self.machine.fail(Some(Fault { after: 0, sticky: false, on: Some(on), how }));
    }

    /// Lets all calls succeed.
    pub fn heal(&mut self) {
        self.machine.fail(None);
    }
}

use Durability::{Synced, Written};

fn singles(run: &mut Run) {
    run.open();
    for (number, len) in [5, 300, 0, 700, 64, 40].into_iter().enumerate() {
        run.append("a", len, if number % 2 == 0 { Synced } else { Written });
    }
    run.rest();
    run.append("a", 90, Written);
    run.append("b", 10, Written);
}

fn batches_to_many_streams(run: &mut Run) {
    run.open();
    for round in 0..4 {
        let level = if round % 2 == 1 { Synced } else { Written };
        let plan = run.plan(&[("a", &[20, 30, 0]), ("b", &[600]), ("c", &[1; 4])], level);
        run.try_append(plan).expect("the append succeeds");
        run.append("b", 100, Written);
    }
}

fn written_then_synced(run: &mut Run) {
    run.open();
    for _ in 0..5 {
        run.append("a", 150, Written);
    }
    run.sync();
    for _ in 0..4 {
        run.append("a", 500, Written);
    }
    run.append("b", 10, Synced);
    run.append("b", 10, Written);
}

fn rolls(run: &mut Run) {
    run.open();
    for number in 0..7 {
        run.append("a", 3100, if number % 3 == 2 { Synced } else { Written });
    }
}

fn index_blocks_and_seals(run: &mut Run) {
    run.open();
    for number in 0..9 {
        run.append(["a", "b"][number % 2], 1400, Written);
        if number % 4 == 3 {
            run.sync();
            run.rest(); // the segment that was left is sealed
        }
    }
}

fn closed_and_opened(run: &mut Run) {
    for _ in 0..3 {
        run.open();
        run.append("a", 200, Written);
        run.append("a", 60, Written);
        run.close();
    }
    run.open();
    run.append("a", 20, Synced);
}

fn takeovers(run: &mut Run) {
    for number in 0..3 {
        run.open();
        run.append("a", 200, Written);
        run.append("b", 60, if number == 1 { Synced } else { Written });
        run.kill();
    }
    run.open();
    run.append("a", 20, Written);
}

fn jumbo(run: &mut Run) {
    run.open();
    run.append("a", 50, Written);
    run.append("a", 18_000, Synced);
    run.append("a", 50, Written);
    run.append("b", 9_000, Written);
    run.sync();
}

fn full_disk(run: &mut Run) {
    run.open();
    let limit = 28 << 10;
    run.machine.memory().set_space_limit(Some(limit));
    for number in 0..8 {
        let plan = run.plan(&[("a", &[1900]), ("b", &[30])], if number % 2 == 0 { Synced } else { Written });
        if run.try_append(plan.clone()).is_err() {
            run.machine.memory().set_space_limit(None);
            run.try_append(plan).expect("there is space again");
            run.machine.memory().set_space_limit(Some(limit + 4096 * number));
        }
    }
    run.machine.memory().set_space_limit(None);
}

fn torn_and_rolled(run: &mut Run) {
    run.open();
    run.append("a", 100, Synced);
    run.append("a", 100, Written);
    // A process dies in the middle of a write; its successor rolls over the tear.
    run.fail(Operation::Write, Failure::Short);
    let plan = run.plan(&[("a", &[900])], Written);
    assert!(run.try_append(plan).is_err(), "the write fails");
    run.heal();
    run.kill();
    run.open();
    run.append("a", 200, Written);
    run.append("a", 10, Synced);
}

fn frames_behind_a_tear(run: &mut Run) {
    // Nothing is synced: with the power any frame may go and those behind it stay.
    run.open();
    run.append("a", 10, Synced);
    for _ in 0..6 {
        run.append("a", 440, Written);
    }
    run.append("b", 3900, Written);
    run.append("b", 3900, Written); // rolls
    run.append("b", 40, Written);
}

fn two_writers_end_at_the_same_byte(run: &mut Run) {
    run.open();
    run.append("a", 64, Synced);
    run.close();
    // The first of two writers dies with two frames behind the clean end, the other's first frame is as long as its first.
    run.open();
    run.append("a", 128, Written);
    run.append("a", 128, Written);
    run.kill();
    run.open();
    run.append("a", 128, Written);
    run.close();
    run.open();
    run.append("a", 128, Written);
    run.append("a", 128, Written);
}

/// A sync fails, the process dies, a fresh one opens the store, the cache forgets.
fn sync_fails(run: &mut Run, how: Failure) {
    run.open();
    run.append("a", 30, Synced);
    run.append("a", 400, Written);
    run.append("a", 800, Written);
    run.fail(Operation::Sync, how);
    let plan = run.plan(&[("b", &[40])], Synced);
    let failed = run.try_append(plan.clone()).is_err();
    run.heal();
    assert!(!failed || run.try_append(plan.clone()).is_err(), "the store is poisoned");
    run.kill();
    run.open();
    run.machine.evict();
    run.try_append(plan).expect("a retry succeeds");
    run.append("a", 10, Synced);
    run.machine.evict();
    run.append("a", 10, Written);
}

fn failed_sync_then_eviction(run: &mut Run) {
    sync_fails(run, Failure::SyncKeeps);
}

fn reverted_sync(run: &mut Run) {
    sync_fails(run, Failure::SyncReverts);
}

fn late_error(run: &mut Run) {
    run.open();
    run.append("a", 30, Synced);
    run.append("a", 400, Written);
    // The system fails to write the page back while nobody syncs; the writer that has the file open is told.
    run.fail(Operation::Write, Failure::Late);
    run.append("a", 800, Written);
    let plan = run.plan(&[("b", &[40])], Synced);
    let _ = run.try_append(plan.clone()); // the sync tells of it
    run.kill();
    run.open();
    run.machine.evict();
    run.try_append(plan).expect("a retry succeeds");
    // The same once more, but the process dies before it syncs: its successor's files were opened later.
    run.append("a", 60, Written);
    run.fail(Operation::Write, Failure::Late);
    run.append("a", 70, Written);
    run.kill();
    run.open();
    run.append("a", 80, Synced);
    run.machine.evict();
    run.append("a", 90, Written);
}

/// A file of this store as it is now, to be used as payload.
fn segment_of(run: &Run, from: usize, len: usize) -> Vec<u8> {
    let disk = run.machine().disk();
    let (_, inode) = disk.names.iter().find(|(name, _)| name.ends_with(".segment")).expect("there is a segment");
    let bytes = super::image::bytes_of(&disk.cache[inode]);
    bytes[from..(from + len).min(bytes.len())].to_vec()
}

fn payloads_that_are_segments(run: &mut Run) {
    run.open();
    run.append("a", 300, Written);
    run.append("a", 16, Synced);
    // Frames of this very segment, at places that are a multiple of 8 and of 512 behind where they belong; then a whole head.
    for (from, len) in [(8192, 1000), (8192 + 8, 1504), (0, 4600)] {
        let payload = segment_of(run, from, len);
        let mut plan = run.plan(&[("b", &[0])], Written);
        plan.sections[0].1[0] = payload;
        run.try_append(plan).expect("the append succeeds");
    }
    run.append("a", 20, Synced);
}

fn a_second_writer(run: &mut Run) {
    run.open();
    run.append("a", 40, Synced);
    let machine = run.machine().clone();
    if let Ok(store) = Store::open_on(std::sync::Arc::new(machine.process()), options()) {
        // Never; but where locks are free, this is what happens.
        let plan = run.plan(&[("b", &[60])], Synced);
        let _ = run.account.append(&store, plan, || machine.trace_len());
        run.append("a", 80, Synced);
    }
    run.append("a", 10, Synced);
}

fn prepared_segments(run: &mut Run) {
    run.open();
    run.append("a", 300, Written);
    run.rest(); // the next segment is prepared
    for number in 0..3 {
        run.append("a", 3000, if number == 1 { Synced } else { Written });
    }
    run.rest();
    run.append("b", 20, Written);
    run.kill(); // and one is left behind
    run.open();
    run.append("a", 200, Synced);
    run.rest();
    run.append("a", 7000, Written);
    run.append("b", 7000, Written);
    run.close();
}

fn seals_in_several_lives(run: &mut Run) {
    run.open();
    for _ in 0..3 {
        run.append("a", 5000, Written);
        run.rest(); // nothing is durable: nothing may be sealed
    }
    run.sync();
    run.rest();
    run.append("b", 30, Written);
    run.kill();
    run.open();
    run.rest();
    run.append("b", 5000, Written);
    run.append("b", 5000, Synced);
    run.rest();
    run.close();
    run.open();
    run.append("a", 60, Written);
    run.rest();
}

fn retries_by_batch_id(run: &mut Run) {
    run.open();
    let plans: Vec<Plan> = (0..4u64)
        .map(|number| run.plan(&[("a", &[40]), ("b", &[600, 0])], if number % 2 == 0 { Synced } else { Written }))
        .collect();
    let again = |run: &mut Run, plan: &Plan| run.try_append(plan.clone()).expect("a retry succeeds");
    plans.iter().for_each(|plan| again(run, plan));
    again(run, &plans[1]);
    run.append("c", 6000, Written); // rolls
    again(run, &plans[0]);
    run.kill();
    run.open();
    again(run, &plans[3]);
    run.close();
    run.open();
    again(run, &plans[2]);
    run.append("a", 10, Synced);
}

fn control_page_replaced(run: &mut Run) {
    let other = run.machine().process();
    let page = |storage: &SimStorage| storage.open(CONTROL, Access::ReadWrite).expect("there is a page");
    run.open();
    run.append("a", 300, Synced);
    let mut old = vec![0; 4096];
    let _ = page(&other).read_at(&mut old, 0).expect("it can be read");
    run.append("a", 90, Written);
    // Garbled under its writer.
    page(&other).write_at(&noise(5, 200), 320).expect("it can be written");
    run.append("a", 100, Written);
    run.append("b", 10, Synced);
    run.kill();
    run.open();
    run.append("a", 120, Written);
    // Deleted under its writer.
    other.remove(CONTROL).expect("it can be removed");
    run.append("a", 50, Written);
    run.kill();
    run.open();
    run.append("b", 60, Written);
    // Replaced under its writer by one of an earlier life.
    other.remove(CONTROL).expect("it can be removed");
    let file = other.create(CONTROL, 0).expect("the name is free");
    file.write_at(&old, 0).expect("it can be written");
    run.append("a", 70, Written);
    run.kill();
    run.open();
    run.append("a", 10, Synced);
    run.append("a", 20, Written);
}

/// The watermark file of a copy of this store that somebody else went on with, from the same place: it knows another segment
/// by the name of one that is here, and says that it was durable beyond where the log ends here.
fn watermark_of_another_history(run: &mut Run) {
    run.open();
    run.append("a", 200, Synced);
    run.close();
    let disk = run.machine().disk();
    let files = disk.names.iter().map(|(name, inode)| (name.clone(), (*inode, disk.cache[inode].clone())));
    let copy = Image { files: files.collect(), last_inode: disk.cache.keys().max().copied().unwrap_or(0) };
    let other = SimStorage::of_image(&copy, 77, super::lab::boot_id(9));
    let store = Store::open_on(std::sync::Arc::new(other.clone()), options()).expect("the copy opens");
    for number in 0..4 {
        let plan = Plan { number: 9_000_000 + number, ..run.plan(&[("a", &[3300])], Synced) };
        let _ = plan.append(&store).expect("the append succeeds");
    }
    store.close().expect("the copy closes");
    let mut slots = vec![0; 8192];
    let read = other.open(WATERMARK, Access::Read).and_then(|file| file.read_at(&mut slots, 0));
    slots.truncate(read.expect("it can be read"));

    run.open();
    for _ in 0..5 {
        run.append("a", 3300, Written); // rolls
    }
    run.sync();
    run.append("a", 60, Written);
    run.kill();
    let put = |run: &Run| {
        let file = run.machine().process().open(WATERMARK, Access::ReadWrite).expect("there is one");
        file.write_at(&slots, 0).and_then(|()| file.sync_data()).expect("it can be written");
    };
    put(run);
    run.open();
    run.append("b", 40, Written);
    run.append("b", 30, Synced);
    put(run);
    run.append("a", 50, Written);
    run.kill();
    run.open();
    run.append("a", 20, Written);
    run.close();
}
