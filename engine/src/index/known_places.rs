//! Where the sections of streams lie, as far as somebody has walked there: a cache of bounded size.
//!
//! Between two remembered places of a stream its sections are reached by links, each a look at a frame far from the last
//! one. Whoever walked a stretch leaves what was found here, so that the next reader goes straight to the frame it wants.
//! Nothing rests on it: whoever uses a place proves the frame that stands there, and forgets the stretch where it fails.
//! What is full drops what was not used since the hand of a clock passed it last.

use foldhash::HashMap;

use crate::ids::{Position, Revision, StreamId};
use crate::sync::Mutex;

/// Parts with a lock of their own, so that readers seldom meet.
const SHARDS: usize = 16;
/// Most bytes that all shards together hold.
const BYTES_MAX: usize = 12 << 20;
/// What a stretch costs beside its places, roughly: the entry, its key, and room that is not used.
const STRETCH_BYTES: usize = 120;

/// Where the sections of a stretch lie, in order, from its first section on without a gap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sections {
    first: Revision,
    base: Position,
    /// The section from which was walked back to them: the one behind the stretch, or the stream's last one then.
    upto: Position,
    /// Distance of each frame from the first, in units of the alignment of frames.
    frames: Vec<u32>,
    /// Distance of each section's first revision from the first; empty where every section has one event.
    revisions: Vec<u32>,
    /// Instead of both, where a distance is too large for them.
    wide: Vec<(Revision, Position)>,
}

impl Sections {
    /// From first revisions and frames in order, at least one, and the section from which was walked back to them.
    pub(crate) fn new(found: &[(Revision, Position)], upto: Position) -> Sections {
        let (first, base) = found[0];
        let none = || Sections { first, base, upto, ..Sections::default() };
        let narrow = found.iter().try_fold(none(), |mut all, (at, frame)| {
            all.frames.push(u32::try_from((frame.0 - base.0) / 8).ok()?);
            all.revisions.push(u32::try_from(at.0 - first.0).ok()?);
            Some(all)
        });
        match narrow {
            Some(mut narrow) => {
                if narrow.revisions.iter().zip(0..).all(|(distance, index)| *distance == index) {
                    narrow.revisions = Vec::new();
                }
                narrow
            }
            None => Sections { wide: found.to_vec(), ..none() },
        }
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.frames.len().max(self.wide.len())
    }

    /// First revision and frame of the section at `index`.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> (Revision, Position) {
        if let Some(wide) = self.wide.get(index) {
            return *wide;
        }
        let distance = self.revisions.get(index).map_or(index as u64, |distance| u64::from(*distance));
        (Revision(self.first.0 + distance), Position(self.base.0 + u64::from(self.frames[index]) * 8))
    }

    /// The section that holds `revision`, which does not lie before the first: the last that does not begin behind it.
    #[inline]
    pub(crate) fn index_of(&self, revision: Revision) -> usize {
        let distance = revision.0 - self.first.0;
        if self.revisions.is_empty() && self.wide.is_empty() {
            return usize::try_from(distance).unwrap_or(usize::MAX).min(self.frames.len() - 1);
        }
        let behind = match self.wide.as_slice() {
            [] => self.revisions.partition_point(|first| u64::from(*first) <= distance),
            wide => wide.partition_point(|(first, _)| *first <= revision),
        };
        behind.saturating_sub(1)
    }

    /// The section from which was walked back to them.
    pub(crate) fn upto(&self) -> Position {
        self.upto
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Revision, Position)> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    fn bytes(&self) -> usize {
        STRETCH_BYTES + 4 * (self.frames.capacity() + self.revisions.capacity()) + 16 * self.wide.capacity()
    }
}

/// Names a stretch: the stream, and where it begins.
pub(crate) type StretchKey = (StreamId, u64);

#[derive(Debug, Default)]
struct Shard {
    slots: Vec<Slot>,
    by_key: HashMap<StretchKey, u32>,
    bytes: usize,
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    key: StretchKey,
    sections: Sections,
    was_used: bool,
}

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct KnownPlaces {
    shards: [Mutex<Shard>; SHARDS],
}

impl KnownPlaces {
    fn shard(&self, key: StretchKey) -> &Mutex<Shard> {
        let spread = (key.0.0 ^ key.1.rotate_left(23)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &self.shards[(spread >> 60) as usize % SHARDS]
    }

    /// Looks at a stretch, where it is known.
    #[inline]
    pub(crate) fn look<T>(&self, key: StretchKey, look: impl FnOnce(&Sections) -> T) -> Option<T> {
        let mut shard = self.shard(key).lock();
        let index = *shard.by_key.get(&key)?;
        let slot = &mut shard.slots[index as usize];
        slot.was_used = true;
        Some(look(&slot.sections))
    }

    /// Keeps a stretch, in place of what was known of it.
    pub(crate) fn keep(&self, key: StretchKey, sections: Sections) {
        let mut shard = self.shard(key).lock();
        shard.forget(key);
        shard.bytes += sections.bytes();
        let index = shard.slots.len() as u32;
        shard.slots.push(Slot { key, sections, was_used: false });
        shard.by_key.insert(key, index);
        while shard.bytes > BYTES_MAX / SHARDS && shard.slots.len() > 1 {
            shard.drop_one(key);
        }
    }

    /// Forgets a stretch.
    pub(crate) fn forget(&self, key: StretchKey) {
        self.shard(key).lock().forget(key);
    }
}

impl Shard {
    fn forget(&mut self, key: StretchKey) {
        let Some(index) = self.by_key.remove(&key) else { return };
        let gone = self.slots.swap_remove(index as usize);
        self.bytes -= gone.sections.bytes();
        if let Some(moved) = self.slots.get(index as usize) {
            self.by_key.insert(moved.key, index);
        }
    }

    /// Drops the next stretch that was not used since the hand passed it, but not `newest`.
    fn drop_one(&mut self, newest: StretchKey) {
        loop {
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            let slot = &mut self.slots[self.hand];
            if !std::mem::take(&mut slot.was_used) && slot.key != newest {
                let key = slot.key;
                return self.forget(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_of_any_distance_are_found_by_their_revisions() {
        let dense: Vec<_> = (0..32).map(|n| (Revision(100 + n), Position(8000 + n * 360))).collect();
        let uneven: Vec<_> = (0..32).map(|n| (Revision(5 + n * n), Position(8000 + n * n * 800))).collect();
        let wide: Vec<_> = (0..32).map(|n| (Revision(n * 3), Position(8000 + (n << 36)))).collect();
        for given in [dense, uneven, wide, vec![(Revision(7), Position(16))]] {
            let sections = Sections::new(&given, Position(9));
            assert_eq!(sections.iter().collect::<Vec<_>>(), given);
            assert_eq!((sections.len(), sections.upto()), (given.len(), Position(9)));
            for revision in given[0].0.0..given.last().expect("is not empty").0.0 + 3 {
                let expected = given.iter().rposition(|(first, _)| first.0 <= revision).expect("not before the first");
                assert_eq!(sections.index_of(Revision(revision)), expected);
            }
        }
    }

    #[test]
    fn p20_the_cache_keeps_its_bound_and_what_is_used() {
        let known = KnownPlaces::default();
        let stretch = |number: u64| {
            let found: Vec<_> = (0..32).map(|n| (Revision(n), Position(8 * n))).collect();
            Sections::new(&found, Position(number))
        };
        let often = (StreamId(1), 0);
        known.keep(often, stretch(77));
        let many = (3 * BYTES_MAX / STRETCH_BYTES) as u64;
        for number in 0..many {
            known.keep((StreamId(2), number), stretch(number));
            assert_eq!(known.look(often, Sections::len), Some(32), "it was used all the time");
        }
        let held: usize = known.shards.iter().map(|shard| shard.lock().bytes).sum();
        assert!(held <= BYTES_MAX && held > BYTES_MAX / 2, "{held}");
        let newest = (StreamId(2), many - 1);
        assert_eq!(known.look(newest, Sections::upto), Some(Position(many - 1)));
        known.forget(newest);
        assert!(known.look(newest, Sections::upto).is_none());
        for shard in &known.shards {
            let shard = shard.lock();
            assert_eq!(shard.bytes, shard.slots.iter().map(|slot| slot.sections.bytes()).sum::<usize>());
            assert!(shard.by_key.iter().all(|(key, index)| shard.slots[*index as usize].key == *key));
        }
    }
}
