//! Where the events of streams lie, as far as somebody has looked: a table of bounded size.
//!
//! The links of a stream, or the indexes of segments, lead to the frame that holds a revision; each step is a look at bytes far
//! from the last ones. Whoever went there leaves here what was found, so that the next reader goes straight to the frame it
//! wants. Nothing rests on it: whoever uses a place proves the frame that stands there, and forgets the place where that fails.
//!
//! A *block* says of 32 granules of a stream, one behind the other, which frame holds them. A granule is one revision; or 32, or
//! 32 × 32 of them, and so on, that all lie in one section, so that a large batch takes few entries. A block is found by one
//! line of names, whatever the stream is. What is full drops what was not used since the hand of a clock passed it last.

use crate::ids::{Position, Revision, StreamId};
use crate::storage;
use crate::sync::Mutex;

/// Parts with a lock of their own, so that readers seldom meet.
const SHARDS: usize = 16;
/// Most bytes that all shards together hold.
const BYTES_MAX: usize = 12 << 20;
/// Blocks between which a name may choose.
const WAYS: usize = 3;
/// Sets of a shard that holds anything.
const SETS_MIN: usize = 16;
const SETS_MAX: usize = BYTES_MAX / SHARDS / size_of::<Set>();
/// Granules of a block.
const GRANULES: u64 = 32;
/// Sizes of granules: 1, 32, 1,024 and 32,768 revisions.
const LEVELS: u64 = 4;
/// The most frames that are handed out at once.
const RUN_MAX: usize = 64;
/// Frames begin at multiples of so many bytes.
const UNIT: u64 = 8;

/// Where a section lies: its first revision, the last that is looked for in it (behind its own last one where those that follow
/// are lost), and its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) first: Revision,
    pub(crate) last: Revision,
    pub(crate) frame: Position,
}

/// What a block is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    stream: StreamId,
    /// Which block of the stream it is, and in the highest bits its level.
    number: u64,
}

impl Name {
    const NONE: Name = Name { stream: StreamId(u64::MAX), number: u64::MAX };

    #[inline]
    fn new(stream: StreamId, level: u64, revision: Revision) -> Name {
        Name { stream, number: revision.0 >> (5 * (level + 1)) | level << 61 }
    }

    /// A number that differs in all its bits where names differ in one. The identities of most streams are multiples of 8.
    #[inline]
    fn spread(self) -> u64 {
        const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
        let mixed = (self.number ^ self.stream.0.rotate_left(29)).wrapping_mul(ODD);
        (mixed ^ mixed >> 32).wrapping_mul(ODD)
    }
}

/// Which granule of its block at this level a revision lies in.
#[inline]
fn granule(level: u64, revision: Revision) -> usize {
    (revision.0 >> (5 * level)) as usize % GRANULES as usize
}

/// Blocks among which a name is looked for. What is compared comes first, in one line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Set {
    numbers: [u64; WAYS],
    streams: [StreamId; WAYS],
    /// The upper halves of places, the same for a whole block.
    highs: [u32; WAYS],
    was_used: [bool; WAYS],
    hand: u8,
    /// The lower halves, in units; 0 where a place is not known.
    lows: [[u32; GRANULES as usize]; WAYS],
}

impl Set {
    const EMPTY: Set = Set {
        numbers: [Name::NONE.number; WAYS],
        streams: [Name::NONE.stream; WAYS],
        highs: [0; WAYS],
        was_used: [false; WAYS],
        hand: 0,
        lows: [[0; GRANULES as usize]; WAYS],
    };

    #[inline]
    fn name(&self, way: usize) -> Name {
        Name { stream: self.streams[way], number: self.numbers[way] }
    }

    #[inline]
    fn way_of(&self, name: Name) -> Option<usize> {
        (0..WAYS).find(|way| self.numbers[*way] == name.number && self.streams[*way] == name.stream)
    }

    /// The place that the block of a name has for a granule. All that may be it are fetched at once, with the names: what is
    /// compared first would be waited for twice.
    #[inline]
    fn look(&mut self, name: Name, granule: usize) -> Option<Position> {
        let lows: [u32; WAYS] = std::hint::black_box(std::array::from_fn(|way| self.lows[way][granule]));
        let way = self.way_of(name)?;
        self.was_used[way] = true;
        self.place_of(way, lows[way])
    }

    #[inline]
    fn place(&self, way: usize, granule: usize) -> Option<Position> {
        self.place_of(way, self.lows[way][granule])
    }

    #[inline]
    fn place_of(&self, way: usize, low: u32) -> Option<Position> {
        (low != 0).then(|| Position((u64::from(self.highs[way]) << 32 | u64::from(low)) * UNIT))
    }

    fn begin(&mut self, way: usize, name: Name) {
        (self.numbers[way], self.streams[way]) = (name.number, name.stream);
        (self.lows[way], self.highs[way], self.was_used[way]) = ([0; GRANULES as usize], 0, false);
    }

    fn note(&mut self, way: usize, granule: usize, frame: Position) {
        let units = frame.0 / UNIT;
        let high = (units >> 32) as u32;
        if self.highs[way] != high {
            // One block does not reach over so many bytes: the newest counts.
            (self.highs[way], self.lows[way]) = (high, [0; GRANULES as usize]);
        }
        self.lows[way][granule] = units as u32;
    }

    /// A way for a new block: a free one, or where `may_drop` that of a block that was not used.
    fn room(&mut self, may_drop: bool) -> Option<usize> {
        if let Some(free) = self.way_of(Name::NONE) {
            return Some(free);
        }
        if !may_drop {
            return None;
        }
        loop {
            self.hand = (self.hand + 1) % WAYS as u8;
            let way = usize::from(self.hand);
            if !std::mem::take(&mut self.was_used[way]) {
                return Some(way);
            }
        }
    }
}

/// A part of the table, which grows as it fills.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard {
    sets: Vec<Set>,
}

impl Shard {
    #[inline]
    fn index_of(&self, spread: u64) -> usize {
        // The upper half times the number of sets, without its own upper half.
        (((spread >> 32) * self.sets.len() as u64) >> 32) as usize
    }

    #[inline]
    fn find(&mut self, name: Name, spread: u64) -> Option<(&mut Set, usize)> {
        let index = self.index_of(spread);
        let set = self.sets.get_mut(index)?;
        let way = set.way_of(name)?;
        set.was_used[way] = true;
        Some((set, way))
    }

    /// The block of this name, made where there is none.
    fn get_or_begin(&mut self, name: Name, spread: u64) -> (&mut Set, usize) {
        if self.sets.is_empty() {
            self.sets = vec![Set::EMPTY; SETS_MIN];
        }
        loop {
            let index = self.index_of(spread);
            let is_full = self.sets.len() >= SETS_MAX;
            let set = &mut self.sets[index];
            let known = set.way_of(name);
            if let Some(way) = known.or_else(|| set.room(is_full)) {
                let set = &mut self.sets[index];
                if known.is_none() {
                    set.begin(way, name);
                }
                return (set, way);
            }
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        let len = (2 * self.sets.len()).min(SETS_MAX);
        let old = std::mem::replace(&mut self.sets, vec![Set::EMPTY; len]);
        for set in &old {
            for way in (0..WAYS).filter(|way| set.name(*way) != Name::NONE) {
                let index = self.index_of(set.name(way).spread());
                let new = &mut self.sets[index];
                if let Some(room) = new.room(true) {
                    new.begin(room, set.name(way));
                    (new.lows[room], new.highs[room]) = (set.lows[way], set.highs[way]);
                    new.was_used[room] = set.was_used[way];
                }
            }
        }
    }
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct KnownPlaces {
    shards: [Mutex<Shard>; SHARDS],
}

impl KnownPlaces {
    #[inline]
    fn shard(&self, spread: u64) -> &Mutex<Shard> {
        &self.shards[spread as usize % SHARDS]
    }

    /// The frame in which a revision of a stream is to be looked for, where that is known.
    #[inline]
    pub(crate) fn get(&self, stream: StreamId, revision: Revision) -> Option<Position> {
        (0..LEVELS).find_map(|level| {
            let name = Name::new(stream, level, revision);
            let spread = name.spread();
            let mut shard = self.shard(spread).lock();
            let index = shard.index_of(spread);
            shard.sets.get_mut(index)?.look(name, granule(level, revision))
        })
    }

    /// Begins to fetch what may be known by a name.
    #[inline]
    fn prefetch(&self, name: Name) {
        let spread = name.spread();
        let shard = self.shard(spread).lock();
        if let Some(set) = shard.sets.get(shard.index_of(spread)) {
            storage::prefetch(set);
        }
    }

    /// Hands out the frames in which the revisions from `from` to `to` (which may lie before it) are to be looked for, each once
    /// with the revision that led to it, as far as all are known and up to a bound. Returns the first revision that was not
    /// reached, `None` behind `to`.
    pub(crate) fn run(
        &self,
        stream: StreamId,
        from: Revision,
        to: Revision,
        mut each: impl FnMut(Revision, Position),
    ) -> Option<Revision> {
        let backwards = to < from;
        let (mut at, mut last, mut count, mut found_at) = (from, None, 0, 0);
        'blocks: loop {
            // The block behind this one comes to the processor while this one is gone through.
            let here = Name::new(stream, found_at, at);
            if here != Name::new(stream, found_at, to) {
                self.prefetch(Name { number: if backwards { here.number - 1 } else { here.number + 1 }, ..here });
            }
            for level in 0..LEVELS {
                let name = Name::new(stream, level, at);
                let spread = name.spread();
                let mut shard = self.shard(spread).lock();
                let Some((set, way)) = shard.find(name, spread) else { continue };
                let mut is_any = false;
                while let Some(place) = set.place(way, granule(level, at)) {
                    (is_any, found_at) = (true, level);
                    if last != Some(place) {
                        if count == RUN_MAX {
                            return Some(at);
                        }
                        count += 1;
                        last = Some(place);
                        each(at, place);
                    }
                    // The revisions of the granule.
                    let first = at.0 >> (5 * level) << (5 * level);
                    let behind = first | ((1 << (5 * level)) - 1);
                    let next = match backwards {
                        true if first <= to.0 => return None,
                        true => Revision(first - 1),
                        false if behind >= to.0 => return None,
                        false => Revision(behind + 1),
                    };
                    let is_same_block = Name::new(stream, level, next) == name;
                    at = next;
                    if !is_same_block {
                        continue 'blocks;
                    }
                }
                if is_any {
                    continue 'blocks;
                }
            }
            return Some(at);
        }
    }

    /// Keeps where sections lie, which follow each other.
    pub(crate) fn keep(&self, stream: StreamId, sections: &[Located]) {
        for level in 0..LEVELS {
            let is_any_as_long = |section: &Located| section.last.0 - section.first.0 >= (1 << (5 * level)) - 1;
            if !sections.iter().any(is_any_as_long) {
                break;
            }
            self.keep_level(stream, level, sections);
        }
    }

    /// Keeps of each section the granules of one size that lie in it but in no larger one that does.
    fn keep_level(&self, stream: StreamId, level: u64, sections: &[Located]) {
        let bits = 5 * level;
        let is_highest = level + 1 == LEVELS;
        let granules = sections.iter().flat_map(|section| {
            // From the first granule that begins in the section up to the one that does not end in it.
            let whole = |bits: u64| -> (u64, u64) {
                let first = (section.first.0 >> bits) + u64::from(section.first.0 & ((1 << bits) - 1) != 0);
                (first, section.last.0.saturating_add(1) >> bits)
            };
            let (from, to) = whole(bits);
            let (larger_from, larger_to) = match is_highest {
                false => whole(bits + 5),
                true => (0, 0),
            };
            let (before, behind) = match larger_from < larger_to {
                true => (from..larger_from << 5, larger_to << 5..to),
                false => (from..to, 0..0),
            };
            before.chain(behind).map(|number| (number, section.frame))
        });
        let mut granules = granules.peekable();
        while let Some((number, _)) = granules.peek() {
            let block = *number / GRANULES;
            let name = Name::new(stream, level, Revision(number << bits));
            let spread = name.spread();
            let mut shard = self.shard(spread).lock();
            let (set, way) = shard.get_or_begin(name, spread);
            while let Some((number, frame)) = granules.next_if(|(number, _)| number / GRANULES == block) {
                set.note(way, (number % GRANULES) as usize, frame);
            }
        }
    }

    /// Forgets everything.
    #[cold]
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            shard.lock().sets = Vec::new();
        }
    }

    /// Forgets where a revision is to be looked for.
    #[cold]
    pub(crate) fn forget(&self, stream: StreamId, revision: Revision) {
        for level in 0..LEVELS {
            let name = Name::new(stream, level, revision);
            let spread = name.spread();
            let mut shard = self.shard(spread).lock();
            if let Some((set, way)) = shard.find(name, spread) {
                set.lows[way][granule(level, revision)] = 0;
            }
        }
    }
}

const _: () = assert!(SETS_MAX > SETS_MIN);

#[cfg(test)]
mod tests {
    use super::*;

    /// Sections of so many events each, one behind the other from `first` on.
    fn sections(first: u64, counts: &[u64]) -> Vec<Located> {
        let mut at = first;
        let mut section = |count: &u64| {
            let first = Revision(at);
            at += count;
            Located { first, last: Revision(at - 1), frame: Position(8192 + first.0 * 360 / 8 * 8) }
        };
        counts.iter().map(&mut section).collect()
    }

    #[test]
    fn the_frame_of_each_revision_is_found_whatever_the_sections_hold() {
        let mixed: Vec<u64> = (0..200).map(|n| [1, 1, 3, 100, 1, 40, 2000][n % 7]).collect();
        for (number, given) in [
            sections(0, &[1; 500]),
            sections(77, &[7; 100]),
            sections(5, &mixed),
            sections(1 << 40, &[3, 1]),
            sections(31, &[200_000, 1, 70_000]),
        ]
        .iter()
        .enumerate()
        {
            let (stream, known) = (StreamId(8 * number as u64), KnownPlaces::default());
            for piece in given.chunks(3) {
                known.keep(stream, piece);
            }
            let (first, last) = (given[0].first, given[given.len() - 1].last);
            for section in given {
                for revision in (section.first.0..=section.last.0).step_by(17).chain([section.last.0]) {
                    assert_eq!(known.get(stream, Revision(revision)), Some(section.frame), "revision {revision}");
                    assert_eq!(known.get(StreamId(stream.0 + 9), Revision(revision)), None);
                }
            }
            assert_eq!(known.get(stream, Revision(last.0 + 1)), None);
            let frames: Vec<_> = given.iter().map(|section| section.frame).collect();
            for (from, to) in [(first, last), (last, first)] {
                let (mut handed, mut at) = (Vec::new(), Some(from));
                while let Some(from) = at {
                    at = known.run(stream, from, to, |_, frame| handed.push(frame));
                }
                if to < from {
                    handed.reverse();
                }
                handed.dedup();
                assert_eq!(handed, frames);
            }
            let (middle, mut count) = (given[given.len() / 2].first, 0);
            known.forget(stream, middle);
            assert_eq!(known.get(stream, middle), None);
            assert_eq!(known.run(stream, middle, last, |_, _| count += 1), Some(middle));
            assert_eq!(count, 0);
        }
    }

    #[test]
    fn places_that_lie_too_far_apart_for_a_block_take_turns_in_it() {
        let known = KnownPlaces::default();
        let far = |revision: u64, frame: u64| {
            [Located { first: Revision(revision), last: Revision(revision), frame: Position(frame) }]
        };
        known.keep(StreamId(1), &far(3, 8000));
        known.keep(StreamId(1), &far(4, (1 << 40) + 8192));
        assert_eq!([3, 4].map(|at| known.get(StreamId(1), Revision(at))), [None, Some(Position((1 << 40) + 8192))]);
        known.keep(StreamId(1), &far(3, 8000));
        assert_eq!([3, 4].map(|at| known.get(StreamId(1), Revision(at))), [Some(Position(8000)), None]);
    }

    #[test]
    fn p20_the_cache_keeps_its_bound_and_what_is_used() {
        let known = KnownPlaces::default();
        let block = sections(0, &[1; 32]);
        known.keep(StreamId(7), &block);
        let blocks = (3 * BYTES_MAX / 160) as u64;
        let stream = |number: u64| StreamId(8 * (100 + number));
        for number in 0..blocks {
            known.keep(stream(number), &block);
            assert_eq!(known.get(StreamId(7), Revision(5)), Some(block[5].frame), "it was used all the time");
        }
        let held: usize = known.shards.iter().map(|shard| shard.lock().sets.capacity() * size_of::<Set>()).sum();
        assert!(held <= BYTES_MAX && held > BYTES_MAX / 2, "{held}");
        let kept = (0..blocks).filter(|number| known.get(stream(*number), Revision(31)).is_some()).count();
        assert!(kept > BYTES_MAX / 250, "{kept} blocks are left");
        assert_eq!(known.get(stream(blocks - 1), Revision(0)), Some(block[0].frame), "the newest is there");
    }
}
