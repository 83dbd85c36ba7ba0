//! The fourth background thread of a writer that shares its store: it looks at what others append.
//!
//! Tasks of this process wait for it. What a process left unsynced that died is to be synced by those that live. And whoever makes what
//! is derived for all of them has to hear that there is something to make. While others append, the thread looks every now and then;
//! once nothing came between two looks and all is durable, it sleeps until somebody appends: an idle store makes no call.
//!
//! **The lost wake-up.** Who goes to sleep reads the count of calls, says in the control page that somebody sleeps, and looks at the
//! log once more. Who appends looks behind its append whether somebody sleeps, and then takes that word back, counts a call, and wakes
//! all. So of an append and a look one sees the other. The page is advice: where it was replaced or garbled, a look [`LOST`] later finds
//! what nobody told, and without a page the thread goes on looking.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::commit::keeper::IN_BACKGROUND;
use crate::commit::writer::Writer;
use crate::process::control::word;
use crate::storage::SharedWords;
use crate::sync::thread::Builder;
use crate::sync::{Ordering, fence, now};
use crate::watermark::Watermarks;
use crate::{Error, Position, Result};

/// So often, at most, it is looked for what others have left, while they append.
const EVERY: Duration = Duration::from_millis(500);
/// A wake-up that was lost costs so much.
const LOST: Duration = Duration::from_secs(30);
/// The same, where a task waits.
const LOST_FOR_TASKS: Duration = Duration::from_millis(50);
/// What is appended is mostly synced at once: that is looked for more often, where a task waits.
const UNSYNCED: Duration = Duration::from_millis(2);

/// Starts the thread, where there is none. It ends after [`stop`].
pub(crate) fn start(writer: &Arc<Writer>) -> io::Result<()> {
    let mut watcher = writer.signals.watcher.lock();
    if watcher.is_some() || writer.signals.is_stopping() {
        return Ok(());
    }
    let watching = Arc::clone(writer);
    let started = Builder::new().name("treering-watch".into()).spawn(move || {
        let _unwinding = watching.stop_on_panic(IN_BACKGROUND);
        run(&watching);
    });
    *watcher = Some(started?);
    Ok(())
}

/// From now on tasks of this process are woken by what others append.
pub(crate) fn for_tasks(writer: &Arc<Writer>) -> Result<()> {
    if !writer.signals.tasks_wait.swap(true, Ordering::SeqCst) {
        writer.call_watchers();
    }
    start(writer).map_err(|error| Error::io("start a thread for", "what other processes append", error))
}

/// Waits for the end of the thread, once the writer's [`Signals`](crate::commit::keeper::Signals) say that it is to end.
pub(crate) fn stop(writer: &Writer) {
    let watcher = writer.signals.watcher.lock().take();
    if let Some(watcher) = watcher {
        writer.call_watchers();
        let _ = watcher.join(); // a panic there was printed by it
    }
}

impl Writer {
    /// Wakes the threads that look at what others append, of all processes, where one sleeps.
    #[inline]
    pub(crate) fn wake_watchers(&self) {
        if self.control.words().is_some_and(|words| words.load(word::ASLEEP) != 0) {
            self.call_watchers();
        }
    }

    #[cold]
    fn call_watchers(&self) {
        match self.control.words() {
            Some(words) => call(words),
            None => self.signals.call_watcher(),
        }
    }
}

/// Wakes all who sleep by this page.
pub(super) fn call(words: &SharedWords) {
    words.store(word::ASLEEP, 0);
    words.count_up(word::CALLS);
    words.wake(word::CALLS, u32::MAX);
}

fn run(writer: &Writer) {
    let signals = &writer.signals;
    let mut left = Left::default();
    let mut is_told = false;
    while !signals.is_stopping() {
        let is_quiet = left.look(writer);
        if !signals.tasks_wait.load(Ordering::SeqCst) {
            sleep(writer, is_quiet);
            continue;
        }
        if !is_told {
            writer.turns.sleep_from_now();
            is_told = true;
        }
        let marks = writer.marks.get();
        let (word, timeout) = match marks.durable < marks.committed {
            true => (word::SYNCED, UNSYNCED),
            false => (word::GROWN, LOST_FOR_TASKS),
        };
        // An error is met again by whoever reads, and a task that is woken for nothing sleeps again.
        writer.control.wait(word, timeout, || !signals.is_stopping() && !has_news(writer, marks));
    }
    if is_told {
        writer.turns.sleep_no_more();
    }
}

/// Until it is time for another look: where the log is quiet, until somebody appends.
fn sleep(writer: &Writer, is_quiet: bool) {
    let signals = &writer.signals;
    let Some(words) = writer.control.words() else { return signals.wait_for_call(EVERY) };
    let marks = writer.marks.get();
    let seen = words.load(word::CALLS);
    // Nobody calls by a page that was replaced. Where that is done by now it is seen here, later it is told.
    let is_newest = writer.control.words().is_some_and(|newest| std::ptr::eq(newest, words));
    let is_deep = is_quiet && is_newest && writer.control.is_current();
    if is_deep {
        words.store(word::ASLEEP, 1);
        fence(Ordering::SeqCst); // before the log is looked at
    }
    let is_called = signals.is_stopping() || signals.tasks_wait.load(Ordering::SeqCst);
    if !is_called && is_newest && !(is_deep && has_news(writer, marks)) {
        words.wait(word::CALLS, seen, if is_deep { LOST } else { EVERY });
    }
}

/// Whether the log is not any more what it was; an error is told to whoever reads.
fn has_news(writer: &Writer, marks: Watermarks) -> bool {
    refresh(writer) && writer.marks.get() != marks
}

/// Takes in what others have appended, and wakes the tasks that waited for it; `false` where there was an error.
fn refresh(writer: &Writer) -> bool {
    let _waking = writer.marks.waking();
    writer.refresh().is_ok()
}

/// What others have appended and nobody has synced: its writers may be dead by now.
#[derive(Debug, Default)]
struct Left {
    /// When it is looked for.
    at: Option<Instant>,
    /// Where the log stood when it was looked for last.
    seen: Position,
    is_quiet: bool,
}

impl Left {
    /// Looks, where it is time to; whether nothing came since the last look, and nothing waits for its sync.
    fn look(&mut self, writer: &Writer) -> bool {
        let now = now();
        if self.at.is_some_and(|at| at > now) && !self.is_quiet {
            return false;
        }
        self.at = Some(now + EVERY.max(writer.options.sync_interval));
        self.is_quiet = writer.poison.is_set(); // nothing is left to be done but to close it
        if self.is_quiet || !refresh(writer) {
            return self.is_quiet; // of an error whoever reads is told
        }
        let marks = writer.marks.get();
        if marks.durable < self.seen {
            writer.signals.note_unsynced(); // it was there the last time
        }
        if marks.committed > self.seen {
            writer.signals.want_work();
        }
        self.is_quiet = marks.committed == self.seen && marks.durable == marks.committed;
        self.seen = marks.committed;
        self.is_quiet
    }
}
