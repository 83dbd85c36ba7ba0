//! Many processes that write to one store together, while others follow it, and all of them are killed, stopped and continued.
//!
//! At any moment the verifier may hold the store against all receipts so far, also while every writer is stopped, so that
//! surely somebody is stopped who has the turn or is about to take it: readers do not wait for that one. Once all
//! are continued, each writer must be told of a further batch. In the end those who are left close the store; then it opens as
//! one that was closed, and followers see all that is in it. Whoever is not done after [`LIMIT`] hangs, and is named.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::torture::kills::{Place, journalled};
use crate::torture::processes::{Follower, LIMIT, Watching, is_stopped, place_of, signal, within};
use crate::torture::programs::Programs;
use crate::torture::script::{Dice, Line};

/// So many write at a time.
const WRITERS: usize = 8;
/// The kinds of their lives.
const KINDS: [&str; 5] = ["mixed", "group", "tasks", "burst", "mixed"];
/// How the followers read.
const WATCHING: [Watching; 4] =
    [Watching::CrowdDurable, Watching::CrowdCommitted, Watching::CrowdDurable, Watching::CrowdCommitted];
/// What writers print, in the order of [`Heard`].
const HEARD: usize = 6;

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Writers and followers that were killed.
    pub kills: u64,
    /// Writers and followers that were stopped and continued.
    pub stops: u64,
    /// Writers that closed the store.
    pub closings: u64,
    /// Receipts in the journals, at either level.
    pub receipts: u64,
    /// Of them those that were Synced.
    pub synced: u64,
    /// Batches that expected what another writer had changed.
    pub conflicts: u64,
    /// How often a writer was told that another one has the store locked.
    pub locked: u64,
    /// How often the store was held against its journal, while writers lived or not.
    pub checks: u64,
    /// Events that followers saw.
    pub followed: u64,
}

/// How often one writer printed what.
#[derive(Debug, Default)]
struct Heard([AtomicU64; HEARD]);

impl Heard {
    fn note(&self, line: &Line) {
        let index = match line {
            Line::Opened(..) => 0,
            Line::Receipt(receipt) => 1 + usize::from(receipt.is_synced),
            Line::Conflict => 3,
            Line::Locked(_) => 4,
            Line::Closed | Line::Stopped => 5,
        };
        self.0[index].fetch_add(1, Ordering::Relaxed);
    }

    fn of(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Relaxed)
    }

    fn receipts(&self) -> u64 {
        self.of(1) + self.of(2)
    }
}

/// A writer that lives.
#[derive(Debug)]
struct Writer {
    process: Child,
    heard: Arc<Heard>,
    /// Writes its lines into the journal, until it has ended.
    reading: Option<JoinHandle<std::io::Result<Vec<Line>>>>,
}

impl Writer {
    fn start(programs: &Programs, place: &Place, life: u64, dice: &mut Dice) -> Result<Writer, String> {
        let kind = KINDS[dice.below(KINDS.len() as u64) as usize];
        let patience = if dice.below(2) == 0 { 300 } else { 10_000 };
        let rest = [0, 500, 4_000, 20_000][dice.below(4) as usize];
        let mut writer = Command::new(&programs.writer);
        writer.arg(place.store()).args(["--kind", kind]);
        let seed = dice.below(1 << 40);
        for (name, value) in [("--life", life), ("--seed", seed), ("--shared", patience), ("--rest", rest)] {
            writer.args([name, &value.to_string()]);
        }
        let started = writer.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut process = started.map_err(|error| error.to_string())?;
        let out = process.stdout.take().expect("it is a pipe");
        let heard = Arc::new(Heard::default());
        let (hears, journal) = (Arc::clone(&heard), place.journal());
        let reading = std::thread::spawn(move || journalled(out, &journal, |line| hears.note(line)));
        Ok(Writer { process, heard, reading: Some(reading) })
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Kills it.
    fn kill(mut self, count: &mut Count) -> Result<(), String> {
        let _ = self.process.kill(); // it may have ended by itself, which is told below
        match self.ended()? {
            None => count.kills += 1,
            Some(code) => return Err(self.failed(code)),
        }
        self.counted(count)
    }

    /// Lets it close the store.
    fn close(mut self, count: &mut Count) -> Result<(), String> {
        drop(self.process.stdin.take());
        match self.ended()? {
            Some(0) => count.closings += self.heard.of(5),
            Some(code) => return Err(self.failed(code)),
            None => return Err(format!("writer {} was killed by a signal that nobody sent", self.pid())),
        }
        self.counted(count)
    }

    fn ended(&mut self) -> Result<Option<i32>, String> {
        Ok(within(&mut self.process, "a writer that is to close the store")?.code())
    }

    fn failed(&mut self, code: i32) -> String {
        let mut said = String::new();
        let _ = self.process.stderr.take().map(|mut err| err.read_to_string(&mut said)); // what there is of it
        format!("writer {} ended with {code}: {said}", self.pid())
    }

    fn counted(&mut self, count: &mut Count) -> Result<(), String> {
        if let Some(reading) = self.reading.take() {
            reading.join().expect("no panic").map_err(|error| error.to_string())?;
        }
        count.receipts += self.heard.receipts();
        count.synced += self.heard.of(2);
        count.conflicts += self.heard.of(3);
        count.locked += self.heard.of(4);
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill(); // where the run ended early
        let _ = self.process.wait();
    }
}

/// The processes of one store.
struct Crowd<'a> {
    programs: &'a Programs,
    place: &'a Place,
    writers: Vec<Writer>,
    followers: Vec<Follower>,
    lives: u64,
    dice: Dice,
}

/// Tortures one store with so many steps; ends early where `is_over` says so.
///
/// # Errors
/// What is broken, or who hangs where. The files stay.
pub fn torture(
    programs: &Programs,
    place: &Place,
    seed: u64,
    steps: u64,
    count: &mut Count,
    is_over: &dyn Fn() -> bool,
) -> Result<(), String> {
    std::fs::write(place.journal(), "").map_err(|error| error.to_string())?;
    let (writers, followers) = (Vec::new(), Vec::new());
    let mut crowd = Crowd { programs, place, writers, followers, lives: 0, dice: Dice::new(seed) };
    let done = crowd.live(steps, count, is_over);
    done.map_err(|what| format!("{what}{}", crowd.last_words()))
}

impl Crowd<'_> {
    fn live(&mut self, steps: u64, count: &mut Count, is_over: &dyn Fn() -> bool) -> Result<(), String> {
        for _ in 0..WRITERS {
            self.add()?;
        }
        self.all_go_on()?;
        for watching in WATCHING {
            self.followers.push(Follower::start(self.programs, &self.place.store(), watching)?);
        }
        for step in 0..steps {
            self.step(count).map_err(|what| format!("step {step}: {what}"))?;
            if is_over() {
                break;
            }
            std::thread::sleep(Duration::from_micros(self.dice.below(40_000)));
        }
        self.end(count)
    }

    /// What writers said that ended by themselves: an error of one is an error of all, and only one of them knows why.
    fn last_words(&mut self) -> String {
        std::thread::sleep(Duration::from_millis(300)); // for those that are about to
        let mut words = String::new();
        for writer in &mut self.writers {
            if let Ok(Some(status)) = writer.process.try_wait() {
                words += &format!("\n  beside it: {}", writer.failed(status.code().unwrap_or(-1)));
            }
        }
        words
    }

    /// One more writer.
    fn add(&mut self) -> Result<(), String> {
        self.lives += 1;
        self.writers.push(Writer::start(self.programs, self.place, self.lives, &mut self.dice)?);
        Ok(())
    }

    fn step(&mut self, count: &mut Count) -> Result<(), String> {
        let chosen = self.dice.below(WRITERS as u64) as usize;
        let follower = self.dice.below(WATCHING.len() as u64) as usize;
        match self.dice.below(20) {
            0..7 => {
                self.writers.swap_remove(chosen).kill(count)?;
                self.add()
            }
            7 => {
                self.writers.swap_remove(chosen).close(count)?;
                self.add()
            }
            // A few stops last longer than some have patience.
            8..12 => {
                let millis = if self.dice.below(4) == 0 { 700 } else { self.dice.below(60) };
                self.stopped(&[self.writers[chosen].pid()], count, |_, _| {
                    std::thread::sleep(Duration::from_millis(millis));
                    Ok(())
                })
            }
            // It is killed in the middle of what it does, and the others find that out.
            12 => {
                let pid = self.writers[chosen].pid();
                self.stopped(&[pid], count, |_, _| {
                    std::thread::sleep(Duration::from_millis(30));
                    Ok(())
                })?;
                self.writers.swap_remove(chosen).kill(count)?;
                self.add()
            }
            13 => {
                let pids: Vec<u32> = self.writers.iter().map(Writer::pid).collect();
                self.stopped(&pids, count, Crowd::check)
            }
            14 => self.check(count),
            15 | 16 => {
                self.followers.swap_remove(follower).kill()?;
                count.kills += 1;
                let watching = WATCHING[self.dice.below(WATCHING.len() as u64) as usize];
                self.followers.push(Follower::start(self.programs, &self.place.store(), watching)?);
                Ok(())
            }
            17 | 18 => self.stopped(&[self.followers[follower].pid()], count, |crowd, _| {
                std::thread::sleep(Duration::from_millis(crowd.dice.below(80)));
                Ok(())
            }),
            _ => self.all_go_on(),
        }
    }

    /// Stops processes, does something, and continues them, whatever became of it.
    fn stopped(
        &mut self,
        pids: &[u32],
        count: &mut Count,
        then: impl FnOnce(&mut Self, &mut Count) -> Result<(), String>,
    ) -> Result<(), String> {
        signal("STOP", pids)?;
        let began = Instant::now();
        while let Some(pid) = pids.iter().find(|pid| !is_stopped(**pid)) {
            if began.elapsed() > LIMIT {
                return Err(format!("it does not stop, or has ended: {}", place_of(*pid)));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        count.stops += pids.len() as u64;
        let done = then(self, count);
        signal("CONT", pids)?;
        done
    }

    /// Holds the store against all receipts so far. Nobody need stand still for it, or move.
    fn check(&mut self, count: &mut Count) -> Result<(), String> {
        self.programs.check_crowd(&self.place.store(), &self.place.journal(), &[], false)?;
        count.checks += 1;
        Ok(())
    }

    /// Every writer is told of a further batch.
    fn all_go_on(&mut self) -> Result<(), String> {
        let before: Vec<u64> = self.writers.iter().map(|writer| writer.heard.receipts()).collect();
        let began = Instant::now();
        loop {
            let waits = |(writer, before): &(&Writer, &u64)| writer.heard.receipts() <= **before;
            let Some(waiting) = self.writers.iter().zip(&before).position(|pair| waits(&pair)) else { return Ok(()) };
            let writer = &mut self.writers[waiting];
            if let Ok(Some(status)) = writer.process.try_wait() {
                return Err(writer.failed(status.code().unwrap_or(-1)));
            }
            if began.elapsed() > LIMIT {
                let pid = self.writers[waiting].pid();
                let places: Vec<String> = self.writers.iter().map(|writer| place_of(writer.pid())).collect();
                return Err(format!("writer {pid} hangs, of these:\n{}", places.join("\n")));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A few are killed, the others close the store.
    fn end(&mut self, count: &mut Count) -> Result<(), String> {
        self.all_go_on()?;
        for _ in 0..self.dice.below(4) {
            self.writers.pop().expect("there are more").kill(count)?;
        }
        while let Some(writer) = self.writers.pop() {
            writer.close(count)?;
        }
        let (store, journal) = (self.place.store(), self.place.journal());
        self.programs.check_crowd(&store, &journal, &[], true)?;
        // Whoever comes next finds a store that was closed, and goes on with it alone.
        self.lives += 1;
        let mut next = Command::new(&self.programs.writer);
        next.arg(&store).args(["--kind", "mixed", "--seed", "1", "--batches", "5", "--wants-clean"]);
        next.args(["--life", &self.lives.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut next = next.stderr(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        let lines =
            journalled(next.stdout.take().expect("it is a pipe"), &journal, |_| ()).map_err(|e| e.to_string())?;
        let (is_well, said) = crate::torture::processes::end_of(&mut next, "the next opener")?;
        if !is_well || lines.len() != 7 {
            return Err(format!("the next opener printed {} lines and said: {said}", lines.len()));
        }
        let found = self.programs.check_crowd(&store, &journal, &[], false)?;
        let events: u64 = found.split(' ').next().and_then(|n| n.parse().ok()).ok_or("the verifier prints a number")?;
        let seen: Vec<String> =
            self.followers.drain(..).map(|follower| follower.end(events)).collect::<Result<_, _>>()?;
        self.programs.check_crowd(&store, &journal, &seen, true)?;
        count.followed += events * seen.len() as u64;
        count.receipts += 5;
        count.checks += 3;
        Ok(())
    }
}
