//! Locks, atomics, threads and the clock of waiting, by one name each, so that a scheduler can be put in their place.
//!
//! Built with `--cfg treering_shuttle` (for tests only, never a feature), all of them are those of the scheduler shuttle,
//! which tries out orders of events that a machine seldom shows: see [`scheduled`]. Else they are what they seem.

#[cfg(not(treering_shuttle))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(treering_shuttle))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(treering_shuttle))]
pub(crate) use std::thread;

#[cfg(treering_shuttle)]
mod scheduled;
#[cfg(treering_shuttle)]
pub(crate) use scheduled::{
    AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, RwLock, fence, now, thread,
};

/// The moment by the clock that timed waits go by.
#[cfg(not(treering_shuttle))]
#[inline]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Whether this thread unwinds.
#[inline]
pub(crate) fn is_panicking() -> bool {
    std::thread::panicking()
}

/// Wakes a task. Its waker is code of the caller's, and runs on whichever thread came by: what it does wrong must not keep others
/// from being woken, nor end the work of who wakes it. The panic was told by its hook.
pub(crate) fn wake(waker: std::task::Waker) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()));
}
