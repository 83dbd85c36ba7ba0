//! Taking turns: who may append, who does the work in the background, and who has the store open. Who may sync: `sync_turn`.
//!
//! All of it is kernel locks on the identity file, never on a file that is derived; each ends with its process, however that
//! ends. Nothing is taken by force, and no time that passes gives a lock away.
//!
//! | lock | held by |
//! |---|---|
//! | the whole file | who has the *turn*: for one commit, or all the time by an exclusive writer |
//! | byte [`PRESENCE`], shared | each shared writer, all the time |
//! | byte [`PRESENCE`], exclusive | an exclusive writer, all the time |
//! | byte [`SYNC`] | who syncs, for one sync |
//! | byte [`WORK`] | the one shared writer that makes what is derived and seals |
//! | byte [`FOLLOW`], shared | each reader that sleeps until the log grows |
//!
//! Order: the sync lock, then the turn, then the locks of this process. Threads of one process queue before they ask the
//! kernel, since to it they are one.
//!
//! **Fairness.** Who asks first does not get the lock first: a process that commits without pause would take it again before
//! a sleeper is awake. So whoever waits says so in the control page, and a process that has gone on for [`SLICE`] while
//! somebody waited stands back until one of them had its turn, for [`STAND_BACK`] at most. The page is advice: one who died
//! while it waited costs others a few such pauses, until they count it out.
//!
//! **The lost wake-up.** Who waits reads the count of turns, tries the lock, and sleeps while the count is the one it read; who
//! ends a turn lets the lock go before it counts. A process that was killed wakes nobody, and one within its slice does not
//! either: a sleeper looks again by itself, after [`NAP`], or later where very many wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::ErrorKind;
use crate::process::control::{ControlPage, word};
use crate::storage::{LockHolder, LockKind, Storage, StorageFile};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, now, thread};
use crate::{Error, Result};

/// Who has the store open for writing.
const PRESENCE: u64 = 1 << 62;
/// Who syncs.
pub(super) const SYNC: u64 = PRESENCE + 1;
/// Who works in the background.
const WORK: u64 = PRESENCE + 2;
/// Who follows from another process.
const FOLLOW: u64 = PRESENCE + 3;

/// So long a process goes on while others wait.
const SLICE: Duration = Duration::from_millis(1);
/// So long it stands back then, at most.
const STAND_BACK: Duration = Duration::from_micros(300);
/// So long who waits for a lock sleeps, at most, before it tries again.
pub(super) const NAP: Duration = Duration::from_micros(200);
/// So many who wait look again after one nap each; of more each takes longer naps.
const TOGETHER: u64 = 8;
/// The longest nap, in naps.
const NAPS_MAX: u64 = 512;
/// So often who waits for a turn tries again before it sleeps: most turns are over before it would be awake again.
const TRIES: u32 = 12;
/// After so many pauses in which nobody took the turn, those who wait are taken for dead.
const FRUITLESS_MAX: u32 = 16;

/// The locks of one open store.
#[derive(Debug)]
pub(crate) struct Turns {
    pub(crate) identity: Arc<dyn StorageFile>,
    is_shared: bool,
    /// How long somebody else's turn, or sync, is waited for.
    pub(super) patience: Duration,
    /// Tells this open store from others.
    number: u64,
    mine: Mutex<Slice>,
    /// Whether this process works in the background; taken once, held to the end.
    is_worker: Mutex<bool>,
    /// How many threads of this process sleep until the log grows.
    sleepers: Mutex<usize>,
    /// When followers were looked for last, by the wall clock, and whether there were any.
    followers: AtomicU64,
}

/// How long this process has gone on while others waited.
#[derive(Debug, Default)]
struct Slice {
    since: Option<Instant>,
    fruitless: u32,
    /// So many of those who seem to wait are dead.
    dead: u64,
}

/// The right to append, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    held: Option<(&'a Turns, &'a ControlPage, MutexGuard<'a, Slice>)>,
    /// Whether who waits is to be woken also within the slice: this process will not come back at once.
    pub(crate) is_last: bool,
}

impl Turns {
    pub(crate) fn new(
        storage: &dyn Storage,
        identity: Arc<dyn StorageFile>,
        is_shared: bool,
        patience: Duration,
    ) -> Turns {
        // It outlives every order of events that a scheduler tries out, and decides nothing.
        static OPENED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let opened = OPENED.fetch_add(1, Ordering::Relaxed);
        Turns {
            number: u64::from(storage.process_id()) << 32 | opened & u64::from(u32::MAX),
            identity,
            is_shared,
            patience,
            mine: Mutex::default(),
            is_worker: Mutex::new(false),
            sleepers: Mutex::new(0),
            followers: AtomicU64::new(0),
        }
    }

    /// Whether others may append too.
    #[inline]
    pub(crate) fn are_shared(&self) -> bool {
        self.is_shared
    }

    /// Announces this writer, and takes the turn for its opening; an exclusive one keeps it. Fails at once where somebody else
    /// has the store open in a way that excludes this one.
    pub(crate) fn enter(&self, describe: &str) -> Result<()> {
        let until = now() + self.patience;
        let kind = if self.is_shared { LockKind::Shared } else { LockKind::Exclusive };
        let mut naps = 0;
        loop {
            // In this order: who has both is alone with the other.
            let got = if naps == 0 { self.try_often()? } else { self.identity.try_lock().map_err(lock_error)? };
            if got && self.or_alone(self.identity.try_lock_byte(PRESENCE, kind), describe)? {
                return Ok(());
            }
            if got {
                self.identity.unlock().map_err(lock_error)?;
            }
            if self.or_alone(self.identity.is_byte_locked(PRESENCE, kind), describe)? {
                return Err(self.refused(describe));
            }
            if now() >= until {
                return Err(self.out_of_patience(describe, word::TURNS));
            }
            // A thousand that look again every moment would leave no time for whoever has its turn.
            thread::sleep(NAP * (1 << (naps / 8).min(8)));
            naps += 1;
        }
    }

    /// Tries for the turn, where others may have theirs again and again: it is free for a moment between two of them.
    fn try_often(&self) -> Result<bool> {
        for _ in 1..if self.is_shared { TRIES } else { 1 } {
            if self.identity.try_lock().map_err(lock_error)? {
                return Ok(true);
            }
            thread::yield_now();
        }
        self.identity.try_lock().map_err(lock_error)
    }

    /// Whether another writer has the store open.
    pub(crate) fn has_others(&self) -> Result<bool> {
        match self.is_shared {
            true => self.identity.is_byte_locked(PRESENCE, LockKind::Exclusive).map_err(lock_error),
            false => Ok(false),
        }
    }

    /// Where there are no locks of bytes nobody writes together with others, and an exclusive writer needs none.
    fn or_alone(&self, answer: std::io::Result<bool>, describe: &str) -> Result<bool> {
        match answer {
            Err(error) if error.kind() != std::io::ErrorKind::Unsupported => Err(lock_error(error)),
            Err(_) if !self.is_shared => Ok(true),
            Err(error) => {
                let message = format!(
                    "the store {describe} cannot be opened to write together with others: {error}; open it exclusively \
                     (`Options::exclusive`), or move it to a local disk"
                );
                Err(Error::new(ErrorKind::Unsupported, message))
            }
            Ok(answer) => Ok(answer),
        }
    }

    /// Ends the turn of the opening of a shared writer.
    pub(crate) fn end_opening(&self) -> Result<()> {
        if self.is_shared { self.identity.unlock().map_err(lock_error) } else { Ok(()) }
    }

    /// Lets go of everything.
    pub(crate) fn leave(&self) {
        for byte in [WORK, SYNC, PRESENCE] {
            let _ = self.identity.unlock_byte(byte); // it ends with the file anyway
        }
        let _ = self.identity.unlock();
    }

    /// Takes the turn. While others have theirs, `meanwhile` is done now and then.
    #[inline]
    pub(crate) fn take<'a>(
        &'a self,
        control: &'a ControlPage,
        describe: &dyn Fn() -> String,
        meanwhile: &dyn Fn(),
    ) -> Result<Turn<'a>> {
        if !self.is_shared {
            return Ok(Turn { held: None, is_last: false });
        }
        let mut slice = self.mine.lock();
        self.stand_back(control, &mut slice);
        if !self.try_often()? {
            self.wait(control, describe, meanwhile)?;
        }
        if let Some(words) = control.words()
            && words.load(word::HOLDER) != self.number
        {
            slice.since = None; // somebody else had one in between
            words.store(word::HOLDER, self.number);
        }
        Ok(Turn { held: Some((self, control, slice)), is_last: false })
    }

    /// Whether this process is the one that works in the background. Asked again, it may have become so.
    pub(crate) fn is_worker(&self) -> bool {
        let mut is_worker = self.is_worker.lock();
        if self.is_shared && !*is_worker {
            *is_worker = self.identity.try_lock_byte(WORK, LockKind::Exclusive).unwrap_or(false);
        }
        *is_worker || !self.is_shared
    }

    /// Refuses where another process is the one that works in the background.
    pub(crate) fn check_worker(&self, describe: &str) -> Result<()> {
        if self.is_worker() {
            return Ok(());
        }
        let holder = self.identity.byte_holders(WORK).into_iter().next();
        let holder = holder.map_or_else(|| "another process".to_string(), |(holder, _)| holder.to_string());
        let message = format!(
            "what is derived from the log of the store {describe} is made by {holder}, which has it open; close it there, and try again"
        );
        Err(Error::new(ErrorKind::Locked, message))
    }

    /// One more thread of this process sleeps until the log grows: whoever writes it is to wake it. Where the lock cannot be had,
    /// the log is looked at again and again.
    pub(crate) fn sleep_from_now(&self) {
        let mut sleepers = self.sleepers.lock();
        *sleepers += 1;
        if *sleepers == 1 {
            let _ = self.identity.try_lock_byte(FOLLOW, LockKind::Shared);
        }
    }

    /// One less.
    pub(crate) fn sleep_no_more(&self) {
        let mut sleepers = self.sleepers.lock();
        *sleepers -= 1;
        if *sleepers == 0 {
            let _ = self.identity.unlock_byte(FOLLOW); // it ends with the file anyway
        }
    }

    /// Whether readers in other processes sleep. Looked at once in a millisecond of the wall clock.
    #[inline]
    pub(crate) fn are_followed(&self, wall_clock: i64) -> bool {
        const GRAIN: i64 = 1_000_000;
        let moment = (wall_clock / GRAIN).cast_unsigned() << 1;
        let known = self.followers.load(Ordering::Relaxed);
        if known & !1 == moment {
            return known & 1 == 1;
        }
        let are = self.identity.is_byte_locked(FOLLOW, LockKind::Exclusive).unwrap_or(false);
        self.followers.store(moment | u64::from(are), Ordering::Relaxed);
        are
    }

    /// Waits for the turn, at most as long as there is patience for whoever has it.
    fn wait(&self, control: &ControlPage, describe: &dyn Fn() -> String, meanwhile: &dyn Fn()) -> Result<()> {
        let until = now() + self.patience;
        let words = control.words();
        if let Some(words) = words {
            words.count_up(word::WANTED);
        }
        let waited = loop {
            let seen = words.map_or(0, |words| words.load(word::TURNS));
            match self.identity.try_lock() {
                Ok(true) => break Ok(()),
                Ok(false) if now() >= until => break Err(self.out_of_patience(&describe(), word::TURNS)),
                Ok(false) => meanwhile(),
                Err(error) => break Err(lock_error(error)),
            }
            // Very many that look again every moment would leave no time for whoever has its turn: all together they look as often
            // as a few do.
            match words {
                Some(words) => {
                    let nap = NAP * (1 + waiting(words).min(NAPS_MAX * TOGETHER) / TOGETHER) as u32;
                    words.wait(word::TURNS, seen, nap);
                }
                None => thread::sleep(NAP),
            }
        };
        if let Some(words) = words {
            words.count_up(word::SERVED);
            words.wake(word::SERVED, u32::MAX); // who stands back for it
        }
        waited
    }

    /// Lets others go first, where this process has gone on for long enough while they waited.
    #[inline]
    fn stand_back(&self, control: &ControlPage, slice: &mut Slice) {
        let Some(words) = control.words() else { return };
        let waiting = waiting(words);
        slice.dead = slice.dead.min(waiting);
        if waiting <= slice.dead {
            slice.since = None;
            return;
        }
        let now = now();
        if now - *slice.since.get_or_insert(now) < SLICE {
            return;
        }
        let served = words.load(word::SERVED);
        let until = now + STAND_BACK;
        words.count_up(word::TURNS);
        words.wake(word::TURNS, 1);
        while words.load(word::SERVED) == served {
            let left = until.saturating_duration_since(crate::sync::now());
            if left.is_zero() {
                slice.fruitless += 1;
                if slice.fruitless >= FRUITLESS_MAX {
                    (slice.fruitless, slice.dead) = (0, waiting);
                }
                return;
            }
            words.wait(word::SERVED, served, left);
        }
        (slice.fruitless, slice.since) = (0, None);
    }

    /// Another writer has it open in a way that excludes this one.
    fn refused(&self, describe: &str) -> Error {
        let others = self.writers();
        let mode = if self.is_shared { "exclusively" } else { "to write together with others" };
        let way_out = match self.is_shared {
            true => "wait until it is closed there, or open it shared there; it can be read meanwhile",
            false => "close it there, or open it shared here; it can be read meanwhile",
        };
        let message = format!("the store {describe} is locked, since others have it open {mode}: {others}; {way_out}");
        Error::new(ErrorKind::Locked, message)
    }

    /// The one whose turn it is, or who syncs, does not end it.
    pub(super) fn out_of_patience(&self, describe: &str, word: usize) -> Error {
        let holder = match word {
            word::SYNCED => self.identity.byte_holders(SYNC).into_iter().next().map(|(holder, _)| holder),
            _ => self.identity.lock_holder(),
        };
        let what = if word == word::SYNCED { "synced" } else { "had its turn to write" };
        let stopped = holder.as_ref().is_some_and(|holder| holder.state == Some('T'));
        let holder = holder.as_ref().map_or_else(|| "another process".to_string(), LockHolder::to_string);
        let why = match stopped {
            true => "continue it (SIGCONT), or end it with `treering unlock STORE --kill`",
            false => "try again; if it never ends, end that process",
        };
        let message = format!(
            "the store {describe} is locked: somebody has {what} for {:.1} s: {holder}; {why}; reading works",
            self.patience.as_secs_f64()
        );
        Error::new(ErrorKind::Locked, message)
    }

    /// The other processes that have it open for writing, for messages.
    fn writers(&self) -> String {
        let holders = present(&*self.identity);
        let named: Vec<String> = holders.iter().take(8).map(|(holder, _)| holder.to_string()).collect();
        match (holders.len(), named.as_slice()) {
            (0, _) => "another process".into(),
            (1, [one]) => one.clone(),
            (count, named) if count > named.len() => format!("{} and {} more", named.join(", "), count - named.len()),
            (_, named) => named.join(", "),
        }
    }
}

/// The processes that have the store open for writing, and how.
pub(crate) fn present(identity: &dyn StorageFile) -> Vec<(LockHolder, LockKind)> {
    identity.byte_holders(PRESENCE)
}

/// How many seem to wait.
fn waiting(words: &crate::storage::SharedWords) -> u64 {
    let (wanted, served) = (words.load(word::WANTED), words.load(word::SERVED));
    // Nobody has so many threads: the page is garbage.
    Some(wanted.wrapping_sub(served)).filter(|waiting| *waiting < 1 << 20).unwrap_or(0)
}

pub(super) fn lock_error(error: std::io::Error) -> Error {
    Error::io("lock", crate::format::file_name::IDENTITY, error)
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some((turns, control, slice)) = self.held.take() else { return };
        let _ = turns.identity.unlock(); // fails in a fork alone, which holds nothing
        if let Some(words) = control.words()
            && self.is_last
            && waiting(words) > slice.dead
        {
            words.count_up(word::TURNS);
            words.wake(word::TURNS, 1);
        }
    }
}
