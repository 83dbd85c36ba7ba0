//! Group commit: one sync serves all who wait.
//!
//! States: *idle*, or *syncing* with one leader. A waiter that finds the group idle becomes its leader, else it enters
//! itself and sleeps on a word of its own. When a sync ends, the leader wakes exactly those whose bytes it covered, and one
//! of the rest to lead the next sync. A leader that finds fewer than a group of late waits a moment first, at most a
//! quarter of the last sync: waiters that were just served mostly come back.
//!
//! Threads are woken as soon as the lead was handed on. The wakers of tasks are code of the caller's, which may come here again: they
//! are handed to who ended the sync, which calls them once it holds nothing.
//!
//! The lost wake-up: entering, looking at the durable mark and handing on the lead all happen under one lock.

use std::task::Waker;
use std::time::Duration;

use crate::ids::Position;
use crate::planted::{Plant, planted};
use crate::sync::thread::{self, Thread};
use crate::sync::{AtomicBool, Condvar, Mutex, Ordering, now};
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

#[derive(Debug, Default)]
struct State {
    is_syncing: bool,
    waiters: Vec<Waiter>,
    /// How many the last two syncs served, the later one first, and how long the last one took.
    served: [usize; 2],
    last_sync: Duration,
    is_gathering: bool,
    /// 1 where the leader waits for the sync itself, 0 where it leads for others only.
    own: usize,
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

/// What became of a task that came to wait.
pub(crate) enum Entered {
    /// As [`Role::Served`].
    Over,
    /// It is woken once that is so; whether the background is to be asked to lead.
    Waits {
        /// Nobody leads, and nobody was asked to.
        is_leader_wanted: bool,
    },
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
                self.gather(&mut state, 1);
                return Role::Leader;
            }
            word.store(false, Ordering::SeqCst);
            state.waiters.push(Waiter { target, wake: Wake::Thread(thread::current(), Arc::clone(&word)) });
            if state.is_gathering && state.waiters.len() + state.own >= state.expected() {
                self.arrived.notify_one();
            }
            drop(state);
            while !word.load(Ordering::SeqCst) {
                thread::park();
            }
        }
    }

    /// Takes the lead where nobody has it, for who syncs without waiting for a target.
    pub(crate) fn try_lead(&self) -> bool {
        let mut state = self.state.lock();
        let free = !state.is_syncing;
        state.is_syncing = true;
        if free {
            self.gather(&mut state, 0);
        }
        free
    }

    /// Enters a task, for which somebody else must lead.
    pub(crate) fn enter_task(&self, target: Position, waker_of: &Waker, is_over: impl Fn() -> bool) -> Entered {
        // Code of the caller's: neither a copy is made nor one dropped under the lock.
        let (waker, _before);
        waker = waker_of.clone();
        let mut state = self.state.lock();
        if is_over() {
            return Entered::Over;
        }
        let is_same = |waiter: &Waiter| matches!(&waiter.wake, Wake::Task(other) if waiter.target == target && other.will_wake(&waker));
        let before = state.waiters.iter().position(is_same);
        _before = before.map(|index| state.waiters.remove(index));
        // Who leads now, or was asked to for the first of those who wait, looks at all of them.
        let is_leader_wanted = !state.is_syncing && state.waiters.is_empty();
        state.waiters.push(Waiter { target, wake: Wake::Task(waker) });
        if state.is_gathering && state.waiters.len() + state.own >= state.expected() {
            self.arrived.notify_one();
        }
        Entered::Waits { is_leader_wanted }
    }

    /// Ends a sync: wakes the threads whose target is at or below `durable` (`None`: all, since nothing will be durable any
    /// more), and hands the lead on. Returns whether tasks still wait, for which somebody must lead, and the tasks that are to be
    /// woken.
    pub(crate) fn served(&self, durable: Option<Position>, took: Duration) -> (bool, Vec<Waker>) {
        let mut state = self.state.lock();
        state.is_syncing = false;
        let (done, rest): (Vec<Waiter>, Vec<Waiter>) = std::mem::take(&mut state.waiters)
            .into_iter()
            .partition(|waiter| durable.is_none_or(|durable| waiter.target <= durable));
        state.waiters = rest;
        state.served = [done.len() + state.own, state.served[0]];
        state.last_sync = took;
        // The next leader is a thread that waits; it is taken out, and enters again as leader.
        let next = state.waiters.iter().position(|waiter| matches!(waiter.wake, Wake::Thread(..)));
        let next = next.map(|index| state.waiters.swap_remove(index));
        let next = next.filter(|_| !planted(Plant::LeaderDropsFollower));
        let tasks_left = next.is_none() && !state.waiters.is_empty();
        drop(state);
        let mut tasks = Vec::new();
        for waiter in next.into_iter().chain(done) {
            match waiter.wake {
                Wake::Thread(thread, word) => {
                    word.store(true, Ordering::SeqCst);
                    thread.unpark();
                }
                Wake::Task(waker) => tasks.push(waker),
            }
        }
        (tasks_left, tasks)
    }

    fn gather(&self, state: &mut crate::sync::MutexGuard<'_, State>, own: usize) {
        state.own = own;
        let expected = state.expected();
        if expected <= 1 || state.waiters.len() + own == 0 || state.waiters.len() + own >= expected {
            return;
        }
        let until = now() + state.last_sync / 4;
        state.is_gathering = true;
        while state.waiters.len() + own < expected {
            if self.arrived.wait_until(state, until).timed_out() {
                break;
            }
        }
        state.is_gathering = false;
    }
}

impl State {
    /// How many are expected to be served by the next sync. Of the last two syncs the one that served more says it: where
    /// many come back at once, the first of them would else begin a sync for itself alone, again and again.
    fn expected(&self) -> usize {
        self.served[0].max(self.served[1])
    }
}
