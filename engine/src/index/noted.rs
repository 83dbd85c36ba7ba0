//! What was appended in the stretch of an index block, beyond what that block says: noted on the way, for who makes what is derived
//! from the log in this process. He reads the block, and not the frames.
//!
//! It is noted only while somebody wants it, and only of stretches every frame of which this process appended, and that are no more
//! than batches of plain sections, seals and the block (`commit/notes.rs`). Of all others the frames are read, and so they are where
//! what waits takes too much: it is dropped then. So nothing is true because it was noted, and nothing waits for it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::ids::{BatchId, Position, StreamId};
use crate::sync::{AtomicBool, Mutex, Ordering};

/// So many of each wait at most, some 2 MB in all: what is noted of 50 to 300 MiB of short events.
const STRETCHES_MAX: usize = 2048;
const REACH_BACK_MAX: usize = 65_536;
const TYPES_MAX: usize = 8192;
/// A stretch with more types is not noted: they are looked for one by one while the end of the log is held.
const TYPES_A_STRETCH_MAX: usize = 16;
const RUNS_MAX: usize = 32_768;
const GIVEN_MAX: usize = 8192;

/// Frames in succession each of which holds so many events of a type and no others. Without frames it says more of the last frame
/// before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypeRun {
    pub(crate) frames: u32,
    /// Which of the types of the stretch.
    pub(crate) name: u32,
    pub(crate) events: u32,
}

/// What was noted of a stretch.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// Where it begins.
    start: Position,
    /// Where its last frame so far ends; in the end the index block stands there.
    at: Position,
    /// Where the index block ends.
    end: Position,
    /// The streams whose first section in the segment lies here, in order, and the frame that holds the section before it, or that
    /// made the fork. Those that begin here are left out.
    pub(crate) reach_back: Vec<(StreamId, Position)>,
    /// The types of its events.
    pub(crate) types: Vec<Arc<[u8]>>,
    /// For each batch, in order, the types of its events, in the order in which they appear.
    pub(crate) runs: Vec<TypeRun>,
    /// Least and greatest time of recording of its events.
    pub(crate) recorded_at: (i64, i64),
    /// The batches whose ids were given by the caller.
    pub(crate) given: Vec<(BatchId, Position)>,
}

impl Noted {
    /// Forgets all: nothing was appended yet of the stretch that begins there.
    pub(crate) fn begin(&mut self, start: Position) {
        (self.start, self.at, self.end) = (start, start, start);
        self.recorded_at = (i64::MAX, i64::MIN);
        self.reach_back.clear();
        self.types.clear();
        self.runs.clear();
        self.given.clear();
    }

    /// A frame was appended; `false` where it is not the one behind those before.
    #[inline]
    pub(crate) fn go_on(&mut self, frame: &Range<Position>) -> bool {
        let goes_on = self.at == frame.start;
        if goes_on {
            self.at = frame.end;
        }
        goes_on
    }

    /// The index block was appended; `false` where it is not behind the frames before.
    pub(crate) fn end_with(&mut self, block: &Range<Position>) -> bool {
        self.end = block.end;
        self.at == block.start
    }

    /// The frames that it is of.
    pub(crate) fn stretch(&self) -> Range<Position> {
        self.start..self.at
    }

    /// The index block that says the rest.
    pub(crate) fn block(&self) -> Range<Position> {
        self.at..self.end
    }

    /// Takes in the types of a batch, and when its events were recorded; `recent` is the type that was met last. `false` where the
    /// stretch comes to more than is noted of one.
    #[inline]
    pub(crate) fn add_events<'a>(&mut self, events: impl Iterator<Item = (&'a str, i64)>, recent: &mut u32) -> bool {
        let from = self.runs.len();
        for (name, recorded_at) in events {
            self.recorded_at = (self.recorded_at.0.min(recorded_at), self.recorded_at.1.max(recorded_at));
            let Some(name) = self.number_of(name, recent) else { return false };
            match self.runs[from..].iter_mut().rev().find(|run| run.name == name) {
                Some(run) => run.events += 1,
                None => self.runs.push(TypeRun { frames: u32::from(self.runs.len() == from), name, events: 1 }),
            }
        }
        if let [.., before, last] = &mut self.runs[..]
            && before.frames > 0
            && (before.name, before.events) == (last.name, last.events)
        {
            before.frames += 1;
            self.runs.pop();
        }
        self.reach_back.len() <= REACH_BACK_MAX && self.runs.len() <= RUNS_MAX && self.given.len() <= GIVEN_MAX
    }

    /// The number of a type; `None` where there are too many.
    #[inline]
    fn number_of(&mut self, name: &str, recent: &mut u32) -> Option<u32> {
        let is_it = |known: &Arc<[u8]>| **known == *name.as_bytes();
        if !self.types.get(*recent as usize).is_some_and(is_it) {
            let known = self.types.iter().position(is_it);
            if known.is_none() {
                if self.types.len() == TYPES_A_STRETCH_MAX {
                    return None;
                }
                self.types.push(name.as_bytes().into());
            }
            *recent = known.unwrap_or(self.types.len() - 1) as u32;
        }
        Some(*recent)
    }
}

/// What was noted and not taken yet, in memory that is taken once: whoever appends would wait for the system to give him some while
/// others have it make pages present.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    is_wanted: AtomicBool,
    kept: Mutex<Kept>,
}

/// Stretches in the order of the log, and what was noted of one behind the other.
#[derive(Debug, Default)]
struct Kept {
    stretches: VecDeque<Stretch>,
    reach_back: VecDeque<(StreamId, Position)>,
    types: VecDeque<Arc<[u8]>>,
    runs: VecDeque<TypeRun>,
    given: VecDeque<(BatchId, Position)>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: Position,
    at: Position,
    end: Position,
    recorded_at: (i64, i64),
    /// How many of each are its own.
    reach_back: usize,
    types: usize,
    runs: usize,
    given: usize,
}

impl Kept {
    fn push(&mut self, noted: &mut Noted) {
        self.stretches.push_back(Stretch {
            start: noted.start,
            at: noted.at,
            end: noted.end,
            recorded_at: noted.recorded_at,
            reach_back: noted.reach_back.len(),
            types: noted.types.len(),
            runs: noted.runs.len(),
            given: noted.given.len(),
        });
        self.reach_back.extend(noted.reach_back.drain(..));
        self.types.extend(noted.types.drain(..));
        self.runs.extend(noted.runs.drain(..));
        self.given.extend(noted.given.drain(..));
    }

    fn pop_into(&mut self, noted: &mut Noted) {
        let Some(stretch) = self.stretches.pop_front() else { return };
        noted.begin(stretch.start);
        (noted.at, noted.end, noted.recorded_at) = (stretch.at, stretch.end, stretch.recorded_at);
        noted.reach_back.extend(self.reach_back.drain(..stretch.reach_back));
        noted.types.extend(self.types.drain(..stretch.types));
        noted.runs.extend(self.runs.drain(..stretch.runs));
        noted.given.extend(self.given.drain(..stretch.given));
    }

    /// Has the memory for all that may wait, and says whether there is room for what was noted.
    fn has_room(&mut self, noted: &Noted) -> bool {
        if self.stretches.capacity() == 0 {
            self.stretches.reserve_exact(STRETCHES_MAX);
            self.reach_back.reserve_exact(REACH_BACK_MAX);
            self.types.reserve_exact(TYPES_MAX);
            self.runs.reserve_exact(RUNS_MAX);
            self.given.reserve_exact(GIVEN_MAX);
        }
        self.stretches.len() < STRETCHES_MAX
            && self.reach_back.len() + noted.reach_back.len() <= REACH_BACK_MAX
            && self.types.len() + noted.types.len() <= TYPES_MAX
            && self.runs.len() + noted.runs.len() <= RUNS_MAX
            && self.given.len() + noted.given.len() <= GIVEN_MAX
    }
}

impl Waiting {
    /// Whether somebody takes what is noted from here on.
    pub(crate) fn want(&self, is_wanted: bool) {
        if self.is_wanted.swap(is_wanted, Ordering::Relaxed) && !is_wanted {
            *self.kept.lock() = Kept::default();
        }
    }

    /// Whether anybody does.
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// Leaves what was noted of a stretch for whoever takes it, where there is room.
    pub(crate) fn leave(&self, noted: &mut Noted) {
        let kept = &mut *self.kept.lock();
        if self.is_wanted() && kept.has_room(noted) {
            kept.push(noted);
        }
    }

    /// Takes into `noted` what was noted of the stretch that begins at `start` and whose block ends at `limit` or before; `false` where
    /// there is none. What is of stretches before it is given up.
    pub(crate) fn take(&self, start: Position, limit: Position, noted: &mut Noted) -> bool {
        let kept = &mut *self.kept.lock();
        while kept.stretches.front().is_some_and(|stretch| stretch.start < start) {
            kept.pop_into(noted);
        }
        let is_it = kept.stretches.front().is_some_and(|stretch| stretch.start == start && stretch.end <= limit);
        if is_it {
            kept.pop_into(noted);
        }
        is_it
    }

    /// How many stretches wait, and how many entries that have room in all.
    #[cfg(test)]
    pub(crate) fn held(&self) -> (usize, usize) {
        let kept = &*self.kept.lock();
        let room = [kept.reach_back.capacity(), kept.types.capacity(), kept.runs.capacity(), kept.given.capacity()];
        (kept.stretches.len(), kept.stretches.capacity() + room.iter().sum::<usize>())
    }
}
