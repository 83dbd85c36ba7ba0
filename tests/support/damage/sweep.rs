//! Sweeps: all faults of a class on a store, or some of them, spread evenly.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::fault::{Fault, Filling};
use super::golden::Golden;
use super::oracle::check;
use super::shape::Shape;

/// Faults of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Every bit of every file.
    Flips,
    /// Every block of 512 bytes and of 4 KiB of every file: zeros, ones, noise, those of every other place, of another store,
    /// of another time.
    Blocks,
    /// Every length that a file can be cut to.
    Cuts,
    /// Bytes behind the end of every file.
    Tails,
    /// Every file, and every pair of files, missing; every file another one altogether.
    Files,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 5] = [Class::Flips, Class::Blocks, Class::Cuts, Class::Tails, Class::Files];
}

/// How much of a sweep is tried.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// At most so many faults, spread evenly over all there are.
    pub faults: u64,
    /// After one fault in so many the store is also verified, written to and opened again.
    pub write_one_in: u64,
    /// Which are tried, where not all are.
    pub seed: u64,
    /// Of so many threads this one's share: its number, and how many they are.
    pub part: (u64, u64),
}

impl Budget {
    /// All faults there are; one in `write_one_in` is written behind.
    #[must_use]
    pub const fn all(write_one_in: u64) -> Budget {
        Budget { faults: u64::MAX, write_one_in, seed: 0, part: (0, 1) }
    }

    /// So many faults.
    #[must_use]
    pub const fn of(faults: u64, write_one_in: u64) -> Budget {
        Budget { faults, write_one_in, seed: 0, part: (0, 1) }
    }

    /// The share of a thread.
    #[must_use]
    pub const fn part(self, number: u64, of: u64) -> Budget {
        Budget { part: (number, of), ..self }
    }

    /// Other faults than those of another seed.
    #[must_use]
    pub const fn seed(self, seed: u64) -> Budget {
        Budget { seed, ..self }
    }

    /// The numbers of those that are tried of so many, with whether they are written behind.
    fn chosen(self, of_all: u64) -> impl Iterator<Item = (u64, bool)> {
        let count = self.faults.min(of_all);
        let one_in = self.write_one_in.max(1);
        (0..count).filter(move |number| number % self.part.1 == self.part.0).map(move |number| {
            // Somewhere in the stretch that is its own.
            let (from, to) = (stretch(number, of_all, count), stretch(number + 1, of_all, count));
            let drawn = mix(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            (from + drawn % (to - from), (drawn >> 32).is_multiple_of(one_in))
        })
    }
}

fn stretch(number: u64, of_all: u64, count: u64) -> u64 {
    (u128::from(number) * u128::from(of_all) / u128::from(count)) as u64
}

fn mix(mut state: u64) -> u64 {
    state = (state ^ state >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    state = (state ^ state >> 29).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    state ^ state >> 32
}

/// A promise that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What [`replay`] takes.
    pub replay: String,
    /// What was expected and what was found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TREERING_DAMAGE_REPLAY='{}': {}", self.replay, self.what)
    }
}

/// What a sweep came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Faults that there are.
    pub of_all: u64,
    /// Faults that were made and read behind.
    pub tried: u64,
    /// Those of them that were verified, written behind, opened again.
    pub written: u64,
    /// Faults that would change nothing.
    pub void: u64,
    /// What did not hold: the first sixteen.
    pub violations: Vec<Violation>,
    /// The time that it took.
    pub elapsed: Duration,
}

impl Tally {
    /// Takes another one in, of another thread or another store.
    pub fn add(&mut self, other: Tally) {
        self.of_all += other.of_all;
        self.tried += other.tried;
        self.written += other.written;
        self.void += other.void;
        self.violations.extend(other.violations);
        self.elapsed += other.elapsed;
    }

    /// Faults a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.tried as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Ends a test: nothing was violated, and enough was tried.
    ///
    /// # Panics
    /// Where that is not so.
    pub fn finish(&self, at_least: u64) {
        let first: Vec<String> = self.violations.iter().take(8).map(ToString::to_string).collect();
        assert!(first.is_empty(), "{} of {} fail: {first:#?}", self.violations.len(), self.tried);
        assert!(self.tried >= at_least, "{} faults were tried", self.tried);
    }
}

/// Tries the faults of a class on a store that is made for it.
#[must_use]
pub fn sweep(shape: Shape, class: Class, budget: Budget) -> Tally {
    sweep_with(&Golden::new(shape), class, budget)
}

/// Tries the faults of a class on a store; it is as it was afterwards.
#[must_use]
pub fn sweep_with(golden: &Golden, class: Class, budget: Budget) -> Tally {
    let begun = Instant::now();
    let list = List::new(golden, class);
    let mut tally = Tally { of_all: list.len(), ..Tally::default() };
    for (number, is_whole) in budget.chosen(tally.of_all) {
        if tally.violations.len() >= 16 {
            break; // enough to know
        }
        attempt(golden, list.get(number), is_whole, &mut tally);
    }
    tally.elapsed = begun.elapsed();
    tally
}

fn attempt(golden: &Golden, fault: Fault, is_whole: bool, tally: &mut Tally) {
    let Some(change) = fault.make(golden) else {
        tally.void += 1;
        return;
    };
    tally.tried += 1;
    tally.written += u64::from(is_whole);
    let asked = catch_unwind(AssertUnwindSafe(|| check(golden, &change, is_whole)));
    let is_all_to_be_put_back = is_whole || asked.is_err();
    if let Err(panic) = asked {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        tally.violations.push(Violation { replay: change.what, what: message.unwrap_or_default() });
    }
    match is_all_to_be_put_back {
        true => golden.put_back(),
        false => fault.take_back(golden),
    }
}

/// Tries one fault again: the line of a [`Violation`].
///
/// # Errors
/// What does not hold, or what is wrong with the line.
pub fn replay(line: &str) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, words) = words.split_first().ok_or("an empty line")?;
    let shape = Shape::ALL.into_iter().find(|shape| shape.name() == *name).ok_or("no such store")?;
    let fault = Fault::of_words(words).ok_or("no such fault")?;
    let mut tally = Tally::default();
    attempt(&Golden::new(shape), fault, true, &mut tally);
    tally.violations.first().map_or(Ok(()), |violation| Err(violation.to_string()))
}

/// The faults of a class, by number.
enum List {
    /// How many bytes the files have.
    Flips(Vec<u64>),
    These(Vec<Fault>),
}

impl List {
    fn new(golden: &Golden, class: Class) -> List {
        let lens: Vec<u64> = golden.image.0.values().map(|bytes| bytes.len() as u64).collect();
        match class {
            Class::Flips => List::Flips(lens),
            Class::Blocks => List::These(blocks(golden, &lens)),
            Class::Cuts => List::These(cuts(golden, &lens)),
            Class::Tails => List::These(tails(&lens)),
            Class::Files => List::These(files(golden)),
        }
    }

    fn len(&self) -> u64 {
        match self {
            List::Flips(lens) => lens.iter().sum::<u64>() * 8,
            List::These(faults) => faults.len() as u64,
        }
    }

    fn get(&self, mut number: u64) -> Fault {
        match self {
            List::Flips(lens) => {
                for (file, len) in lens.iter().enumerate() {
                    if number < len * 8 {
                        return Fault::Flip(file, number / 8, (number % 8) as u8);
                    }
                    number -= len * 8;
                }
                unreachable!("the number is below the length")
            }
            List::These(faults) => faults[number as usize],
        }
    }
}

/// Places of blocks that anything is in, one in.
fn places(golden: &Golden, lens: &[u64], size: u64) -> Vec<(usize, u64)> {
    let mut places = Vec::new();
    for (file, len) in lens.iter().enumerate() {
        let bytes = golden.file(file).1;
        let is_set = |at: &u64| bytes[*at as usize..(*at + size).min(*len) as usize].iter().any(|byte| *byte != 0);
        places.extend((0..*len).step_by(size as usize).filter(is_set).map(|at| (file, at)));
    }
    places
}

fn blocks(golden: &Golden, lens: &[u64]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for size in [512, 4096] {
        let sources = places(golden, lens, size);
        for (file, len) in lens.iter().enumerate() {
            let name = golden.file(file).0;
            for at in (0..*len).step_by(size as usize) {
                let mut add = |filling| faults.push(Fault::Block(file, at, size, filling));
                [Filling::Zero, Filling::Ones, Filling::Noise, Filling::Stale].into_iter().for_each(&mut add);
                // An identity file of another store makes all segments foreign: all of it is said, and nothing read.
                if name != "identity" {
                    add(Filling::Foreign);
                }
                for (other, from) in sources.iter().filter(|place| **place != (file, at)) {
                    add(Filling::Copy(*other, *from));
                    if (*other, *from) > (file, at) {
                        add(Filling::Swap(*other, *from));
                    }
                }
            }
        }
    }
    faults
}

fn cuts(golden: &Golden, lens: &[u64]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (file, len) in lens.iter().enumerate() {
        // Zeros that are cut off are not missed.
        let set = golden.file(file).1.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        let short = (0..(set + 64).min(*len)).chain((set + 64..*len).step_by(61));
        faults.extend(short.map(|len| Fault::Length(file, len, Filling::Zero)));
    }
    faults
}

fn tails(lens: &[u64]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (file, len) in lens.iter().enumerate() {
        for more in (1..80).chain([511, 512, 4096, 8192, 16_384, 40_000]) {
            for filling in [Filling::Zero, Filling::Noise, Filling::Copy(file, 8192)] {
                faults.push(Fault::Length(file, len + more, filling));
            }
        }
    }
    faults
}

fn files(golden: &Golden) -> Vec<Fault> {
    let count = golden.image.0.len();
    let is_segment = |file: usize| golden.file(file).0.ends_with(".segment");
    let mut faults = Vec::new();
    for first in 0..count {
        faults.extend((first..count).map(|second| Fault::Missing(first, second)));
        faults.push(Fault::File(first, Filling::Stale));
        if golden.file(first).0 != "identity" {
            faults.push(Fault::File(first, Filling::Foreign));
        }
        let others = (0..count).filter(|other| *other != first && is_segment(*other) && is_segment(first));
        faults.extend(others.map(|other| Fault::File(first, Filling::Copy(other, 0))));
    }
    faults
}
