//! A tiny executor: keeps a fixed number of futures outstanding on one thread.
//!
//! A slot's waker sets the slot's bit and unparks the thread; the thread polls exactly the slots whose bits are set. No
//! wake-up is lost: the bit is set before the unpark, and `park` returns at once where an unpark came before it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::Outcome;

/// The most futures that can be outstanding.
pub const SLOTS_MAX: usize = 64;

struct Ready {
    bits: AtomicU64,
    thread: Thread,
}

struct SlotWaker {
    ready: Arc<Ready>,
    bit: u64,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.ready.bits.fetch_or(self.bit, Ordering::SeqCst) == 0 {
            self.ready.thread.unpark();
        }
    }
}

/// Runs `total` futures that `make` makes, `slots` of them at a time, on this thread until all are done.
///
/// # Errors
/// The first error of `make` or of a future.
///
/// # Panics
/// Where `slots` is 0 or above [`SLOTS_MAX`].
pub fn run<F, T>(slots: usize, total: u64, mut make: impl FnMut(u64) -> Outcome<F>) -> Outcome<()>
where
    F: Future<Output = Result<T, treering::Error>> + Unpin,
{
    assert!((1..=SLOTS_MAX).contains(&slots), "{slots} slots");
    let ready = Arc::new(Ready { bits: AtomicU64::new(0), thread: thread::current() });
    let wakers: Vec<Waker> =
        (0..slots).map(|slot| Arc::new(SlotWaker { ready: Arc::clone(&ready), bit: 1 << slot }).into()).collect();
    let mut futures: Vec<Option<F>> = (0..slots).map(|_| None).collect();
    let (mut started, mut finished) = (0, 0);
    let mut bits = if slots == SLOTS_MAX { u64::MAX } else { (1 << slots) - 1 };
    while finished < total {
        while bits != 0 {
            let slot = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            loop {
                if futures[slot].is_none() && started < total {
                    futures[slot] = Some(make(started)?);
                    started += 1;
                }
                let Some(future) = &mut futures[slot] else { break };
                match Pin::new(future).poll(&mut Context::from_waker(&wakers[slot])) {
                    Poll::Pending => break,
                    Poll::Ready(done) => {
                        done?;
                        finished += 1;
                        futures[slot] = None;
                    }
                }
            }
        }
        if finished < total {
            bits = ready.bits.swap(0, Ordering::SeqCst);
            if bits == 0 {
                thread::park();
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Later(Option<u32>);

    impl Future for Later {
        type Output = Result<u32, treering::Error>;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            match self.0 {
                Some(0) | None => Poll::Ready(Ok(0)),
                Some(left) => {
                    self.0 = Some(left - 1);
                    let waker = context.waker().clone();
                    thread::spawn(move || waker.wake());
                    Poll::Pending
                }
            }
        }
    }

    #[test]
    fn every_future_is_run_to_its_end() {
        for (slots, total) in [(1, 3), (7, 100), (64, 200), (5, 2)] {
            let mut made = 0;
            run(slots, total, |number| {
                made += 1;
                Ok(Later(Some((number % 4) as u32)))
            })
            .expect("all are done");
            assert_eq!(made, total);
        }
    }
}
