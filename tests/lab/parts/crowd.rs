//! Eight real processes that write to one store together and four that follow it, killed, stopped and continued.

use std::time::Duration;

use treering_tests::lab::{Part, Share};
use treering_tests::torture::crowd::{Count, torture};
use treering_tests::torture::kills::Place;
use treering_tests::torture::programs::Programs;

use super::kills::again;

/// So many steps a store: what a check costs grows with the store.
const STEPS: u64 = 80;
/// So many kills are wanted where there is no end of time.
const KILLS_WANTED: u64 = 2_000;

pub(crate) struct Crowd;

impl Part for Crowd {
    fn name(&self) -> &'static str {
        "crowd"
    }

    fn about(&self) -> &'static str {
        "eight writers of one store and four followers, killed and stopped"
    }

    fn weight(&self) -> u32 {
        9
    }

    fn prepare(&self) {
        let _ = Programs::build();
    }

    fn run(&self, share: &Share) {
        let programs = match Programs::build() {
            Ok(programs) => programs,
            Err(because) => return share.skip(because),
        };
        // One at a time: they are twelve processes as it is.
        let mut seed = 0;
        while !(share.is_over() || share.is_full() && share.counted("kills") >= KILLS_WANTED) {
            seed += 1;
            if let Err(what) = one(&programs, seed, share) {
                share.fail(what, format!("seed={seed}"));
            }
        }
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        again(line, Duration::from_secs(120), one)
    }
}

fn one(programs: &Programs, seed: u64, share: &Share) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let place = Place { folder: folder.path().to_owned() };
    let mut count = Count::default();
    let done = torture(programs, &place, seed, STEPS, &mut count, &|| share.is_over());
    share.count("kills", count.kills);
    share.count("stops", count.stops);
    share.count("closings", count.closings);
    share.count("receipts", count.receipts);
    share.count("receipts of them Synced", count.synced);
    share.count("conflicts", count.conflicts);
    share.count("told that it is locked", count.locked);
    share.count("checks by the verifier", count.checks);
    share.count("events followed", count.followed);
    done.map_err(|what| format!("{what} (in {})", folder.keep().display()))
}
