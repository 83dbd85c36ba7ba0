//! Damage in whole stores: every bit, every block, every length and every file of stores made for this is changed in turn.
//!
//! What is asked of the engine after each change stands in [`oracle`]; which stores are changed in [`golden`]. `DEPTH` in the
//! environment multiplies what an ordinary run tries.

use std::ops::Range;

use treering_tests::image::Image;

mod blocks;
mod flips;
mod golden;
mod lost_segments;
mod oracle;

use golden::{Golden, SEGMENT_BYTES, segment};
use oracle::{Change, check, check_reading};

/// How much more than in an ordinary run is tried: 1 unless the environment says otherwise.
fn depth() -> u64 {
    std::env::var("DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(1).max(1)
}

/// Failures of many changes, so that one run tells all of them.
#[derive(Debug, Default)]
struct Tally {
    tried: u64,
    failures: Vec<String>,
}

impl Tally {
    /// Tries a change; what fails is told at the end. The golden store is put back.
    fn attempt(&mut self, golden: &Golden, change: &Change, ask: fn(&Golden, &Change)) {
        if self.failures.len() >= 16 {
            return; // enough to know
        }
        self.tried += 1;
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ask(golden, change)));
        if let Err(panic) = asked {
            let message = panic.downcast_ref::<String>().cloned();
            let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            self.failures.push(format!("{}: {}", change.what, message.unwrap_or_default()));
            golden.image.put_back(&golden.storage);
        }
    }

    fn finish(self, at_least: u64) {
        let first: Vec<&String> = self.failures.iter().take(8).collect();
        assert!(self.failures.is_empty(), "{} of {} fail: {first:#?}", self.failures.len(), self.tried);
        assert!(self.tried >= at_least, "{} changes were tried", self.tried);
    }
}
