//! The names of [`sync`](super) for a run under shuttle: every lock, atomic and thread is a place where the scheduler may
//! go on with another thread. Threads are coroutines of one real thread, so that a run is one order and can be replayed.
//!
//! Locks look as those of parking_lot do: nothing is poisoned by a panic. Atomics are sequentially consistent, whatever the
//! code asks for, so mistakes in weaker orders are not found here.
//!
//! **Time** is made up. A clock moves by a microsecond each time that somebody looks at it. A wait that ends within
//! [`SOON`] may end at any moment, which moves the clock there; a longer one never ends by itself, so that who sleeps on
//! without a wake-up is found as a deadlock instead of being saved by an hour's timeout.

use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use shuttle::rand::Rng;
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

/// Waits up to here end by themselves.
const SOON: Duration = Duration::from_secs(1);

thread_local! {
    /// How far the clock stands behind its start. All coroutines share it.
    static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// The moment by the clock that timed waits go by.
pub(crate) fn now() -> Instant {
    CLOCK.set(CLOCK.get() + Duration::from_micros(1));
    start() + CLOCK.get()
}

fn move_clock(to: Instant) {
    CLOCK.set(CLOCK.get().max(to.saturating_duration_since(start())));
}

/// Threads of the scheduler.
pub(crate) mod thread {
    pub(crate) use shuttle::thread::{Builder, JoinHandle, Thread, current, park, yield_now};

    /// Lets others go on, and the clock with them.
    pub(crate) fn sleep(duration: std::time::Duration) {
        super::move_clock(super::now() + duration);
        yield_now();
    }
}

/// As `parking_lot::Mutex`.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

/// As `parking_lot::MutexGuard`.
#[derive(Debug)]
pub(crate) struct MutexGuard<'m, T> {
    /// `None` only while a condition is waited for.
    held: Option<shuttle::sync::MutexGuard<'m, T>>,
    of: &'m Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { held: Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)), of: self }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let held = match self.0.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(MutexGuard { held: Some(held), of: self })
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("it is held but while waiting")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("it is held but while waiting")
    }
}

impl<T: fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(to)
    }
}

/// As `parking_lot::RwLock`.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> RwLock<T> {
        RwLock(shuttle::sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> shuttle::sync::RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> shuttle::sync::RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As `parking_lot::Condvar`.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    condition: shuttle::sync::Condvar,
    /// How often somebody called, for those who wait for a time.
    calls: std::sync::atomic::AtomicU64,
}

/// As `parking_lot::WaitTimeoutResult`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimedOut(bool);

impl TimedOut {
    pub(crate) fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("it is held but while waiting");
        guard.held = Some(self.condition.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) -> TimedOut {
        if until.saturating_duration_since(now()) > SOON {
            self.wait(guard);
            return TimedOut(false);
        }
        let before = self.calls();
        drop(guard.held.take());
        for _ in 0..shuttle::rand::thread_rng().gen_range(0..4) {
            thread::yield_now();
        }
        guard.held = guard.of.lock().held;
        let is_called = self.calls() != before;
        if !is_called {
            move_clock(until);
        }
        TimedOut(!is_called)
    }

    pub(crate) fn notify_one(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.condition.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.condition.notify_all();
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}
