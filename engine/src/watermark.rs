//! The two watermarks, and waking who waits for them.
//!
//! States of a mark: a number that only rises. *committed* is raised by the writer after the bytes below it are in the
//! page cache, *durable* after a sync that covers them; durable never passes committed.
//!
//! *committed* comes with the frame that ends there, so that a sync knows what it covered; whoever wants both reads them
//! again until no raise came between (a sequence number that is odd during one).
//!
//! The lost wake-up: a watcher that looked (too low), then sleeps, must not miss the raise between the two. It counts
//! itself in before it looks the second time; a raiser stores first and counts watchers after. Both are sequentially
//! consistent, so one of them sees the other. A raise with nobody watching makes no system call.
//!
//! Threads are woken by the raise itself. The wakers of tasks are code of the caller's, which may append or read, and a mark is
//! mostly raised under locks: so a raise only notes who is to be woken, and whoever raised it wakes them once it holds nothing
//! ([`Marks::waking`]), also where an error or a panic ended what it did.

use std::task::Waker;
use std::time::Instant;

use crate::ids::Position;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, fence, thread, wake};

/// How far the log reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Everything below is in the log and visible to every process.
    pub committed: Position,
    /// Everything below survives a power loss.
    pub durable: Position,
}

/// An end of the log, with what proves it: the last frame before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct LogEnd {
    /// Behind the last byte.
    pub(crate) end: Position,
    /// Where the last frame begins.
    pub(crate) last_frame: Position,
    /// Its stored check.
    pub(crate) last_check: u64,
}

/// What a reader is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Visibility {
    /// Events below the durable watermark: what was seen is never lost. For whatever acts on events.
    #[default]
    Durable,
    /// All events of the log: what was seen may be lost with the power. For live display.
    Committed,
}

/// The shared watermarks of an open store.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    committed: AtomicU64,
    last_frame: AtomicU64,
    last_check: AtomicU64,
    /// Odd while the three above are being changed.
    sequence: AtomicU64,
    durable: AtomicU64,
    closed: AtomicBool,
    watching: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
    changed: Condvar,
    /// Tasks that are to be woken by whoever holds no lock, and whether there are any.
    due: Mutex<Vec<Waker>>,
    has_due: AtomicBool,
}

/// Wakes the tasks that are to be woken when it is dropped. Whoever raises a mark makes it before it takes its locks.
#[derive(Debug)]
pub(crate) struct Waking<'m>(&'m Marks);

impl Drop for Waking<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.0.has_due.load(Ordering::SeqCst) {
            self.0.wake_due();
        }
    }
}

impl Marks {
    /// Marks at these places.
    pub(crate) fn new(committed: LogEnd, durable: Position) -> Marks {
        let new = Marks::default();
        new.commit(committed);
        new.durable.store(durable.0, Ordering::SeqCst);
        new
    }

    /// Both marks; durable is read first, so that it never seems to be ahead.
    pub(crate) fn get(&self) -> Watermarks {
        let durable = Position(self.durable.load(Ordering::SeqCst));
        Watermarks { committed: Position(self.committed.load(Ordering::SeqCst)), durable }
    }

    /// The mark that a reader with this visibility goes by.
    #[inline]
    pub(crate) fn visible(&self, visibility: Visibility) -> Position {
        Position(match visibility {
            Visibility::Durable => self.durable.load(Ordering::SeqCst),
            Visibility::Committed => self.committed.load(Ordering::SeqCst),
        })
    }

    /// Raises committed. One caller at a time.
    #[inline]
    pub(crate) fn commit(&self, log: LogEnd) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.last_frame.store(log.last_frame.0, Ordering::Relaxed);
        self.last_check.store(log.last_check, Ordering::Relaxed);
        self.committed.store(log.end.0, Ordering::SeqCst);
        self.sequence.store(sequence + 2, Ordering::Release);
        self.wake();
    }

    /// Committed, with the frame that ends there.
    pub(crate) fn log_end(&self) -> LogEnd {
        loop {
            let sequence = self.sequence.load(Ordering::Acquire);
            let log = LogEnd {
                end: Position(self.committed.load(Ordering::SeqCst)),
                last_frame: Position(self.last_frame.load(Ordering::Relaxed)),
                last_check: self.last_check.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            if sequence.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == sequence {
                return log;
            }
            thread::yield_now(); // whoever raises it may have been put to sleep meanwhile
        }
    }

    /// Raises durable; a lower place than before changes nothing.
    pub(crate) fn make_durable(&self, end: Position) {
        self.durable.fetch_max(end.0, Ordering::SeqCst);
        self.wake();
    }

    /// Nothing will rise any more: watchers are woken and told so.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    #[inline]
    fn wake(&self) {
        if self.watching.load(Ordering::SeqCst) > 0 {
            let wakers = std::mem::take(&mut *self.wakers.lock());
            self.changed.notify_all();
            self.wake_later(wakers);
        }
    }

    /// Has tasks woken by whoever holds no lock next.
    pub(crate) fn wake_later(&self, wakers: Vec<Waker>) {
        if !wakers.is_empty() {
            self.due.lock().extend(wakers);
            self.has_due.store(true, Ordering::SeqCst);
        }
    }

    /// To be held around what may raise a mark, by who holds no lock.
    #[inline]
    pub(crate) fn waking(&self) -> Waking<'_> {
        Waking(self)
    }

    #[cold]
    fn wake_due(&self) {
        self.has_due.store(false, Ordering::SeqCst); // before they are taken: who comes later says so again
        let due = std::mem::take(&mut *self.due.lock());
        due.into_iter().for_each(wake);
    }

    /// Blocks until the mark lies above `seen`, the marks are closed, or the time is over. Returns the mark.
    pub(crate) fn wait_above(&self, visibility: Visibility, seen: Position, until: Option<Instant>) -> Position {
        self.watching.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.wakers.lock();
        let mark = loop {
            let mark = self.visible(visibility);
            if mark > seen || self.is_closed() {
                break mark;
            }
            match until {
                Some(until) => {
                    if self.changed.wait_until(&mut guard, until).timed_out() {
                        break self.visible(visibility);
                    }
                }
                None => self.changed.wait(&mut guard),
            }
        };
        drop(guard);
        self.watching.fetch_sub(1, Ordering::SeqCst);
        mark
    }

    /// Has `waker` called at the next change, unless the mark lies above `seen` already: then it is returned.
    ///
    /// One call is one wake-up at most; the watcher is counted until [`unwatch`](Self::unwatch).
    pub(crate) fn poll_above(&self, visibility: Visibility, seen: Position, waker: &Waker) -> Option<Position> {
        let waker = waker.clone(); // code of the caller's: neither this nor a drop happens under the lock
        let mut wakers = self.wakers.lock();
        let mark = self.visible(visibility);
        if mark > seen || self.is_closed() {
            return Some(mark);
        }
        if !wakers.iter().any(|other| other.will_wake(&waker)) {
            wakers.push(waker);
        }
        None
    }

    /// Counts an asynchronous watcher in, before its first [`poll_above`](Self::poll_above).
    pub(crate) fn watch(&self) {
        self.watching.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts an asynchronous watcher out.
    pub(crate) fn unwatch(&self) {
        self.watching.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    fn log(end: u64) -> LogEnd {
        LogEnd { end: Position(end), last_frame: Position(end - 8), last_check: end ^ 77 }
    }

    #[test]
    fn a_watcher_is_woken_by_the_mark_it_watches_and_by_closing() {
        let marks = Arc::new(Marks::default());
        let watcher = {
            let marks = Arc::clone(&marks);
            std::thread::spawn(move || marks.wait_above(Visibility::Durable, Position(0), None))
        };
        marks.commit(log(8));
        assert!(!watcher.is_finished() || marks.get().durable > Position(0));
        marks.make_durable(Position(8));
        assert_eq!(watcher.join().expect("no panic"), Position(8));
        let marks_too = Arc::clone(&marks);
        let watcher = std::thread::spawn(move || marks_too.wait_above(Visibility::Durable, Position(8), None));
        marks.close();
        assert_eq!(watcher.join().expect("no panic"), Position(8));
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(Marks::default().wait_above(Visibility::Committed, Position(0), Some(soon)), Position(0));
    }

    #[test]
    fn durable_never_falls() {
        let marks = Marks::default();
        marks.commit(log(16));
        marks.make_durable(Position(16));
        marks.make_durable(Position(8));
        assert_eq!(marks.get(), Watermarks { committed: Position(16), durable: Position(16) });
    }
    #[test]
    fn an_end_is_never_seen_with_the_frame_of_another() {
        let marks = Marks::new(log(8), Position(8));
        std::thread::scope(|scope| {
            scope.spawn(|| (2..200_000).for_each(|count| marks.commit(log(8 * count))));
            let mut last = 0;
            while last < 8 * 199_999 {
                let seen = marks.log_end();
                assert_eq!(seen, log(seen.end.0));
                assert!(seen.end.0 >= last);
                last = seen.end.0;
            }
        });
    }
}
