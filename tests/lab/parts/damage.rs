//! Damage at rest: every bit flipped, every block, every length, every file, of small stores that have everything.

use std::sync::atomic::{AtomicUsize, Ordering};

use treering_tests::damage::{Budget, Class, Golden, Shape, replay, sweep_with};
use treering_tests::lab::{Part, Share};

/// A class is tried in so many rounds, each of them spread over all of a store: where time ends, every store had its share.
const ROUNDS: u64 = 256;
/// Of the large stores one round is tried with so many of the small ones, which together have all that the large ones have
/// and are read three times as fast; their other rounds come last.
const SMALL_ROUNDS_A_LARGE_ONE: u64 = 8;
/// Behind one flip in so many the store is verified, written to and opened again.
const FLIPS_WRITTEN_BEHIND: u64 = 16;
/// The same of other faults.
const OTHERS_WRITTEN_BEHIND: u64 = 4;

pub(crate) struct Damage;

impl Part for Damage {
    fn name(&self) -> &'static str {
        "damage"
    }

    fn about(&self) -> &'static str {
        "every bit, block, length and file of stores at rest"
    }

    fn weight(&self) -> u32 {
        73
    }

    fn run(&self, share: &Share) {
        // What is few comes first, with a part of the time; the flips take the rest.
        let units = units();
        let groups = [(&[Class::Blocks, Class::Cuts, Class::Tails, Class::Files][..], 0.38), (&[Class::Flips], 1.0)];
        let nexts = groups.map(|_| AtomicUsize::new(0));
        share.on_all(|_| {
            // A store is changed in place: each thread has its own.
            let stores = Shape::ALL.map(Golden::new);
            for ((classes, part), next) in groups.iter().zip(&nexts) {
                let until = share.time().map(|time| time.mul_f64(*part));
                let is_over = || share.is_over() || until.is_some_and(|until| share.elapsed() >= until);
                while !is_over()
                    && let Some((round, store)) = units.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    classes.iter().take_while(|_| !is_over()).for_each(|class| {
                        one(share, &stores[*store], *class, *round);
                    });
                }
            }
        });
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        replay(line)
    }
}

/// Which round of which store comes when.
fn units() -> Vec<(u64, usize)> {
    let all = (0..ROUNDS).flat_map(|round| (0..Shape::ALL.len()).map(move |store| (round, store)));
    let is_late = |(round, store): &(u64, usize)| {
        !Shape::SMALL.contains(&Shape::ALL[*store]) && !round.is_multiple_of(SMALL_ROUNDS_A_LARGE_ONE)
    };
    let (late, first): (Vec<_>, Vec<_>) = all.partition(is_late);
    [first, late].concat()
}

/// One round of a class on a store.
fn one(share: &Share, store: &Golden, class: Class, round: u64) {
    let is_flips = class == Class::Flips;
    let budget = Budget::all(if is_flips { FLIPS_WRITTEN_BEHIND } else { OTHERS_WRITTEN_BEHIND }).part(round, ROUNDS);
    let tally = sweep_with(store, class, budget);
    let name = match class {
        Class::Flips => "flipped bits",
        Class::Blocks => "blocks changed",
        Class::Cuts | Class::Tails => "lengths changed",
        Class::Files => "files missing or others",
    };
    share.count(name, tally.tried);
    share.count("written behind damage", tally.written);
    for violation in tally.violations {
        share.fail(violation.what, violation.replay);
    }
}
