//! What came out of repeating one operation: how many a second, and how long one took.

use std::time::{Duration, Instant};

use crate::exit::Outcome;

/// When to stop repeating.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// After this long; every operation is timed.
    Time(Duration),
    /// After so many; every 16th is timed, for looking at the clock costs as much as a fast append.
    Operations(u64),
}

/// What one part of one round gave.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) events: u64,
    pub(super) elapsed: Duration,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Sample {
    /// Repeats `operation`, which appends `events_each` events.
    pub(super) fn take(until: Until, events_each: u64, mut operation: impl FnMut() -> Outcome) -> Outcome<Sample> {
        let mut latencies = Vec::with_capacity(4096);
        let mut operations: u64 = 0;
        let started = Instant::now();
        let elapsed = loop {
            let timed = match until {
                Until::Time(_) => true,
                Until::Operations(_) => operations.is_multiple_of(16),
            };
            if timed {
                let before = Instant::now();
                operation()?;
                latencies.push(before.elapsed());
            } else {
                operation()?;
            }
            operations += 1;
            match until {
                Until::Time(time) => {
                    let elapsed = started.elapsed();
                    if elapsed >= time {
                        break elapsed;
                    }
                }
                Until::Operations(most) if operations >= most => break started.elapsed(),
                Until::Operations(_) => {}
            }
        };
        latencies.sort_unstable();
        Ok(Sample { events: operations * events_each, elapsed, latencies })
    }

    /// Events a second.
    pub(super) fn rate(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// The latency that this share of operations (0 to 1) stays within.
    pub(super) fn latency(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

/// The middle of some figures; 0 of none.
pub(super) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.into_iter().collect();
    figures.sort_unstable_by(f64::total_cmp);
    match figures.len() {
        0 => 0.0,
        len if len % 2 == 1 => figures[len / 2],
        len => (figures[len / 2 - 1] + figures[len / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_and_some_of_them_timed() {
        let mut done = 0;
        let sample = Sample::take(Until::Operations(33), 100, || {
            done += 1;
            Ok(())
        });
        let sample = sample.unwrap();
        assert_eq!((done, sample.events, sample.latencies.len()), (33, 3_300, 3));
        assert!(sample.rate() > 0.0 && sample.latency(0.5) <= sample.latency(1.0));
    }

    #[test]
    fn time_is_kept() {
        let sample = Sample::take(Until::Time(Duration::from_millis(5)), 1, || {
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        });
        let sample = sample.unwrap();
        assert!(sample.elapsed >= Duration::from_millis(5) && sample.events >= 1 && sample.events <= 5);
        assert_eq!(sample.latencies.len() as u64, sample.events);
    }

    #[test]
    fn a_failure_ends_it() {
        let failing = Sample::take(Until::Operations(9), 1, || Err(crate::exit::Failure::Error("no".into())));
        assert!(failing.is_err());
    }

    #[test]
    fn the_middle_is_the_middle() {
        assert_eq!(median([]), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
