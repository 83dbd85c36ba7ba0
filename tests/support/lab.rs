//! What a part of the laboratory is, and what it is given: a share of the time, processors, and a place to report to.
//!
//! The command `lab` (`tests/lab/`) runs parts one after another. To add one: put what it does into a plain function of a
//! budget here in `support/`, implement [`Part`] for it in `tests/lab/parts/`, and name it in `parts::all`. The part counts
//! what it does and reports what it finds through its [`Share`], from any thread, as it goes: a part that is cut short, or
//! that panics, has still reported all that it did. Nothing here decides what is right.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A part that found so many violations stops.
const FAILURES_MAX: usize = 10;

/// A part of the laboratory.
pub trait Part: Sync {
    /// Its name: one word with dashes, which `--only` takes and with which its replay lines begin.
    fn name(&self) -> &'static str;

    /// What it does, in half a line.
    fn about(&self) -> &'static str;

    /// How much of the time it gets, compared with the other parts. What a part leaves goes to those after it.
    fn weight(&self) -> u32;

    /// Builds what it needs, before the time begins. What goes wrong is met again when it runs, and told then.
    fn prepare(&self) {}

    /// Does its work until it is all done or [`Share::is_over`]; without an end of time ([`Share::is_full`]) until its own
    /// figure is reached. Counts, failures and why it was skipped go to `share`. A panic counts as a failure.
    fn run(&self, share: &Share);

    /// Does again what a replay line of this part says; the line is what [`Share::fail`] was given.
    ///
    /// # Errors
    /// What is broken, where it still is.
    fn replay(&self, line: &str) -> Result<(), String>;
}

/// What broke, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The promise, and how it was broken; may have several lines.
    pub what: String,
    /// One line, which [`Part::replay`] understands.
    pub replay: String,
}

/// What a part did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How many of what; the names are read by people: "states", "kills".
    pub counts: BTreeMap<&'static str, u64>,
    /// What broke.
    pub failures: Vec<Failure>,
    /// Why it, or a piece of it, could not run here.
    pub skipped: Option<String>,
    /// Lines that people want to read beside the counts.
    pub notes: Vec<String>,
}

/// What one part has: time, processors, a place to report to.
#[derive(Debug)]
pub struct Share {
    began: Instant,
    time: Option<Duration>,
    threads: usize,
    failures_max: usize,
    is_stopped: AtomicBool,
    outcome: Mutex<Outcome>,
    now: Mutex<String>,
}

impl Share {
    /// A share that ends after `time`; never, where there is none.
    #[must_use]
    pub fn new(time: Option<Duration>, threads: usize) -> Share {
        Share {
            began: Instant::now(),
            time,
            threads: threads.max(1),
            failures_max: FAILURES_MAX,
            is_stopped: AtomicBool::new(false),
            outcome: Mutex::default(),
            now: Mutex::default(),
        }
    }

    /// The same, over at so many failures.
    #[must_use]
    pub fn stop_at(self, failures: Option<usize>) -> Share {
        Share { failures_max: failures.unwrap_or(FAILURES_MAX), ..self }
    }

    /// Whether the part runs until its own figure is reached, however long that takes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.time.is_none()
    }

    /// Whether one violation is all that is looked for: then much that is looked at a little is better than little that is looked
    /// at closely.
    #[must_use]
    pub fn is_hunt(&self) -> bool {
        self.failures_max == 1
    }

    /// Whether it is time to end. To be asked often: between two states, kills or executions.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed) || self.left().is_some_and(|left| left.is_zero())
    }

    /// How much time is left, where there is an end.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        self.time.map(|time| time.saturating_sub(self.began.elapsed()))
    }

    /// The time that it has in all.
    #[must_use]
    pub fn time(&self) -> Option<Duration> {
        self.time
    }

    /// Since when it runs.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How many threads may work at once.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` on each of the threads that may be used, with the number of the thread, and waits for all.
    pub fn on_all(&self, work: impl Fn(usize) + Sync) {
        self.on_times(1, work);
    }

    /// As [`on_all`](Self::on_all), on so many times as many: for work that waits for processes and disks longer than it works.
    pub fn on_times(&self, times: usize, work: impl Fn(usize) + Sync) {
        let work = &work;
        std::thread::scope(|scope| {
            (0..self.threads * times).for_each(|number| drop(scope.spawn(move || work(number))));
        });
    }

    /// So many more of this. Takes a lock: sum up what comes a million times a second.
    pub fn count(&self, what: &'static str, more: u64) {
        *self.outcome().counts.entry(what).or_default() += more;
    }

    /// How many of this so far.
    #[must_use]
    pub fn counted(&self, what: &str) -> u64 {
        self.outcome().counts.get(what).copied().unwrap_or(0)
    }

    /// Something broke; `replay` is one line that shows it again. After some of these the share is over.
    pub fn fail(&self, what: impl Into<String>, replay: impl Into<String>) {
        let mut outcome = self.outcome();
        outcome.failures.push(Failure { what: what.into(), replay: replay.into() });
        if outcome.failures.len() >= self.failures_max {
            self.is_stopped.store(true, Ordering::Relaxed);
        }
    }

    /// The part, or a piece of it, cannot run here.
    pub fn skip(&self, because: impl Into<String>) {
        self.outcome().skipped = Some(because.into());
    }

    /// A line for people, printed under the table.
    pub fn note(&self, line: impl Into<String>) {
        self.outcome().notes.push(line.into());
    }

    /// What is under way, for those who watch.
    pub fn say(&self, now: impl Into<String>) {
        *self.now.lock().expect("no panic under the lock") = now.into();
    }

    /// What was said last, and the counts, in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let counts: Vec<String> = self.outcome().counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        format!("{} {}", counts.join(", "), self.now.lock().expect("no panic under the lock"))
    }

    /// What the part did so far.
    #[must_use]
    pub fn outcome_now(&self) -> Outcome {
        self.outcome().clone()
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().expect("no panic under the lock")
    }
}
