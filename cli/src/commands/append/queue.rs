//! Lines on their way from standard input to the log: a queue that is bounded by bytes.
//!
//! One side reads and puts batches in, as many at a time as came together; the other takes them out. Reading never runs
//! further ahead than [`BYTES_MAX`] (one load of any size always fits). The taker can ask without waiting, so it can use
//! the time in which nothing comes.
//!
//! States: *open* (batches may come), *ended* (none will; what lies there is still taken), *abandoned by the taker*
//! (putting says so, and the reader stops). A waiting side is always woken by the change that it waits for: every change happens
//! under the lock and is followed by a wake-up of all.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How many bytes may wait.
const BYTES_MAX: usize = 16 << 20;

/// The lines of one batch, without their LFs.
pub(super) type Lines = Vec<Vec<u8>>;

/// Batches that came together.
pub(super) type Load = Vec<Lines>;

/// What taking gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Batches.
    Load(Load),
    /// Nothing at the moment.
    NotYet,
    /// Nothing will come any more.
    Ended,
}

#[derive(Debug, Default)]
struct State {
    loads: VecDeque<(Load, usize)>,
    bytes: usize,
    ended: bool,
    abandoned: bool,
}

/// The queue. Shared by reference between the two sides.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a thread could have panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts batches in, waiting for room. `false` where nobody will take them.
    pub(super) fn put(&self, load: Load) -> bool {
        // A line costs its place in memory also where it is empty.
        let bytes = load.iter().flatten().map(|line| line.len() + 64).sum();
        let mut state = self.lock();
        while !state.abandoned && !state.loads.is_empty() && state.bytes + bytes > BYTES_MAX {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.abandoned {
            return false;
        }
        state.bytes += bytes;
        state.loads.push_back((load, bytes));
        self.changed.notify_all();
        true
    }

    /// Says that nothing more comes.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Says that nothing more is taken.
    pub(super) fn abandon(&self) {
        self.lock().abandoned = true;
        self.changed.notify_all();
    }

    /// Takes what was put first; where there is nothing, waits for it if told to.
    pub(super) fn take(&self, wait: bool) -> Taken {
        let mut state = self.lock();
        loop {
            if let Some((load, bytes)) = state.loads.pop_front() {
                state.bytes -= bytes;
                self.changed.notify_all();
                return Taken::Load(load);
            }
            if state.ended {
                return Taken::Ended;
            }
            if !wait {
                return Taken::NotYet;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(len: usize) -> Load {
        vec![vec![vec![b'x'; len]]]
    }

    #[test]
    fn batches_come_out_in_order_and_the_end_comes_last() {
        let queue = Queue::default();
        assert_eq!(queue.take(false), Taken::NotYet);
        assert!(queue.put(line(1)) && queue.put(line(2)));
        queue.end();
        assert_eq!(queue.take(true), Taken::Load(line(1)));
        assert_eq!(queue.take(false), Taken::Load(line(2)));
        assert_eq!((queue.take(false), queue.take(true)), (Taken::Ended, Taken::Ended));
    }

    #[test]
    fn reading_ahead_is_bounded_and_goes_on_when_there_is_room() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..8 {
                    assert!(queue.put(line(BYTES_MAX / 2)));
                }
                assert!(queue.put(line(BYTES_MAX * 2)), "a batch of any size fits on its own");
                queue.end();
            });
            let mut taken = Vec::new();
            while let Taken::Load(load) = queue.take(true) {
                assert!(queue.lock().loads.len() <= 1, "half the bytes each: one in hand, one waiting");
                taken.push(load[0][0].len());
            }
            assert_eq!(taken.len(), 9);
            assert_eq!(taken[8], BYTES_MAX * 2);
        });
    }

    #[test]
    fn a_reader_that_waits_for_room_is_told_that_nobody_takes() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut put = 0;
                while queue.put(line(BYTES_MAX)) {
                    put += 1;
                }
                put
            });
            while queue.lock().loads.is_empty() {
                std::thread::yield_now();
            }
            queue.abandon();
            assert!(reader.join().unwrap() <= 1);
        });
    }
}
