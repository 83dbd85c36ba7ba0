//! Group commit: one sync serves all who wait.
//!
//! States: *idle*, or *syncing* with one leader. A waiter that finds the group idle becomes its leader, else it enters
//! itself and sleeps on a word of its own. When a sync ends, the leader wakes exactly those whose bytes it covered, and one
//! of the rest to lead the next sync. A leader that finds fewer than the last group came waits a moment first, at most a
//! quarter of the last sync: waiters that were just served mostly come back.
//!
//! The lost wake-up: entering, looking at the durable mark and handing on the lead all happen under one lock.

use std::task::Waker;
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::ids::Position;
use crate::sync::{AtomicBool, Condvar, Mutex, Ordering};
use std::sync::Arc;

/// Who waits for the log to be durable up to a place.
#[derive(Debug)]
struct Waiter {
    target: Position,
    wake: Wake,
}

#[derive(Debug)]
enum Wake {
    Thread(Thread, Arc<AtomicBool>),
    Task(Waker),
}

impl Wake {
    fn now(self) {
        match self {
            Wake::Thread(thread, word) => {
                word.store(true, Ordering::SeqCst);
                thread.unpark();
            }
            Wake::Task(waker) => waker.wake(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    is_syncing: bool,
    waiters: Vec<Waiter>,
    /// How many the last sync served, and how long it took.
    last_served: usize,
    last_sync: Duration,
    is_gathering: bool,
}

/// The group of those who wait.
#[derive(Debug, Default)]
pub(crate) struct Group {
    state: Mutex<State>,
    arrived: Condvar,
}

/// What a waiter is to do.
pub(crate) enum Role {
    /// The target is durable, or nothing will ever be again: look at the mark and the poison.
    Served,
    /// Sync, then call [`Group::served`].
    Leader,
}

impl Group {
    /// Waits until `is_over` or until this thread is to lead.
    pub(crate) fn enter(&self, target: Position, is_over: impl Fn() -> bool) -> Role {
        let word = Arc::new(AtomicBool::new(false));
        loop {
            let mut state = self.state.lock();
            if is_over() {
                return Role::Served;
            }
            if !state.is_syncing {
                state.is_syncing = true;
                self.gather(&mut state);
                return Role::Leader;
            }
            word.store(false, Ordering::SeqCst);
            state.waiters.push(Waiter { target, wake: Wake::Thread(std::thread::current(), Arc::clone(&word)) });
            if state.is_gathering && state.waiters.len() + 1 >= state.last_served {
                self.arrived.notify_one();
            }
            drop(state);
            while !word.load(Ordering::SeqCst) {
                std::thread::park();
            }
        }
    }

    /// Takes the lead where nobody has it, for who syncs without waiting for a target.
    pub(crate) fn try_lead(&self) -> bool {
        let mut state = self.state.lock();
        let free = !state.is_syncing;
        state.is_syncing = true;
        if free && !state.waiters.is_empty() {
            self.gather(&mut state);
        }
        free
    }

    /// Enters a task; `false` where `is_over` already. Somebody else must lead.
    pub(crate) fn enter_task(&self, target: Position, waker: &Waker, is_over: impl Fn() -> bool) -> bool {
        let mut state = self.state.lock();
        if is_over() {
            return false;
        }
        state.waiters.retain(
            |waiter| !matches!(&waiter.wake, Wake::Task(other) if waiter.target == target && other.will_wake(waker)),
        );
        state.waiters.push(Waiter { target, wake: Wake::Task(waker.clone()) });
        if state.is_gathering && state.waiters.len() + 1 >= state.last_served {
            self.arrived.notify_one();
        }
        true
    }

    /// Ends a sync: wakes all whose target is at or below `durable` (`None`: everyone, since nothing will be durable any
    /// more), and hands the lead on. Returns whether tasks still wait, for which somebody must lead.
    pub(crate) fn served(&self, durable: Option<Position>, took: Duration) -> bool {
        let mut state = self.state.lock();
        state.is_syncing = false;
        let (done, rest): (Vec<Waiter>, Vec<Waiter>) = std::mem::take(&mut state.waiters)
            .into_iter()
            .partition(|waiter| durable.is_none_or(|durable| waiter.target <= durable));
        state.waiters = rest;
        state.last_served = done.len() + 1;
        state.last_sync = took;
        // The next leader is a thread that waits; it is taken out, and enters again as leader.
        let next = state.waiters.iter().position(|waiter| matches!(waiter.wake, Wake::Thread(..)));
        let next = next.map(|index| state.waiters.swap_remove(index));
        let tasks_left = next.is_none() && !state.waiters.is_empty();
        drop(state);
        next.into_iter().chain(done).for_each(|waiter| waiter.wake.now());
        tasks_left
    }

    fn gather(&self, state: &mut crate::sync::MutexGuard<'_, State>) {
        if state.last_served <= 1 || state.waiters.len() + 1 >= state.last_served {
            return;
        }
        let until = Instant::now() + state.last_sync / 4;
        state.is_gathering = true;
        while state.waiters.len() + 1 < state.last_served {
            if self.arrived.wait_until(state, until).timed_out() {
                break;
            }
        }
        state.is_gathering = false;
    }
}
