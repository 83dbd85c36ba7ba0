//! Real processes that are killed: at random moments with four live readers, and at every call to the system.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use treering_tests::lab::{Part, Share};
use treering_tests::torture::calls::{self, Call, Ending};
use treering_tests::torture::kills::{Count, Place, Torture, torture};
use treering_tests::torture::programs::Programs;

/// So many lives a store: what a check costs grows with the store.
const LIVES: u64 = 30;
/// So many kills are wanted where there is no end of time.
const KILLS_WANTED: u64 = 4_000;

/// Random moments.
pub(crate) struct Kills;

impl Part for Kills {
    fn name(&self) -> &'static str {
        "kills"
    }

    fn about(&self) -> &'static str {
        "writers killed at random moments, four readers looking on"
    }

    fn weight(&self) -> u32 {
        46
    }

    fn prepare(&self) {
        let _ = Programs::build();
    }

    fn run(&self, share: &Share) {
        let programs = match Programs::build() {
            Ok(programs) => programs,
            Err(because) => return share.skip(because),
        };
        let seed = AtomicU64::new(1);
        share.on_times(2, |_| {
            while !(share.is_over() || share.is_full() && share.counted("kills") >= KILLS_WANTED) {
                let seed = seed.fetch_add(1, Ordering::Relaxed);
                if let Err(what) = one(&programs, seed, share) {
                    share.fail(what, format!("seed={seed}"));
                }
            }
        });
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        again(line, Duration::from_secs(60), one)
    }
}

/// What a seed made, once more: the dice fall as they did, the moments do not, so a few times, to be likely to meet it.
pub(super) fn again(
    line: &str,
    time: Duration,
    one: fn(&Programs, u64, &Share) -> Result<(), String>,
) -> Result<(), String> {
    let seed = line.strip_prefix("seed=").and_then(|seed| seed.parse().ok()).ok_or("a line is `seed=N`")?;
    let share = Share::new(Some(time), 1);
    let programs = Programs::build()?;
    (0..10).try_for_each(|_| one(&programs, seed, &share))
}

fn one(programs: &Programs, seed: u64, share: &Share) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let place = Place { folder: folder.path().to_owned() };
    let mut count = Count::default();
    let lives = Torture { seed, lives: LIVES, kind: None, followers: 4 };
    let done = torture(programs, &place, &lives, &mut count, &|| share.is_over());
    share.count("kills", count.kills);
    share.count("writers that were done before", count.closings);
    share.count("writers that went on in place", count.in_place);
    share.count("receipts", count.receipts);
    share.count("checks by the verifier", count.checks);
    share.count("events followed", count.followed);
    done.map(drop).map_err(|what| format!("{what} (in {})", folder.keep().display()))
}

/// Every call to the system.
pub(crate) struct CallKills;

impl Part for CallKills {
    fn name(&self) -> &'static str {
        "call-kills"
    }

    fn about(&self) -> &'static str {
        "a writer killed at every call to the system of fixed lives"
    }

    fn weight(&self) -> u32 {
        15
    }

    fn prepare(&self) {
        let _ = Programs::build();
    }

    fn run(&self, share: &Share) {
        let calls = calls::is_possible()
            .and_then(|()| Programs::build())
            .and_then(|programs| Ok((calls::all(&programs)?, programs)));
        let (calls, programs) = match calls {
            Ok(calls) => calls,
            Err(because) => return share.skip(because),
        };
        let next = AtomicUsize::new(0);
        share.on_times(2, |_| {
            // A stride that has no divisor in common spreads what is done over both lives where time is short.
            while let Some(number) =
                Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < calls.len() && !share.is_over())
            {
                let call = &calls[number * 7919 % calls.len()];
                match calls::kill_at(&programs, call) {
                    Ok(Ending::Killed) => share.count("kills at a call", 1),
                    Ok(Ending::NeverCame) => share.count("calls that did not come again", 1),
                    Err(what) => share.fail(format!("{call:?}: {what}"), line_of(call)),
                }
            }
        });
        let done = next.into_inner().min(calls.len());
        share.note(format!("{done} of {} calls of both lives", calls.len()));
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split(' ').collect();
        let [life, name, number] = words[..] else { return Err("a line is `first|takeover NAME N`".to_owned()) };
        let number = number.parse().map_err(|_| "the last word is a number")?;
        let call = Call { is_takeover: life == "takeover", name: name.to_owned(), number };
        calls::kill_at(&Programs::build()?, &call).map(drop)
    }
}

fn line_of(call: &Call) -> String {
    format!("{} {} {}", if call.is_takeover { "takeover" } else { "first" }, call.name, call.number)
}
