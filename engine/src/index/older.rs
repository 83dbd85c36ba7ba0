//! Finding the older part of a stream, of which no place is remembered, through the indexes of segments.
//!
//! From the border, the first remembered place (or the stream's last section), the links lead back through what has no index;
//! where they come to a segment with one, its record of the stream leads on: by the place of the section before the segment,
//! or by its jump, until a segment holds the wanted revision. So a stream in thousands of segments takes a few steps. What
//! an index says is a hint: where it is missing or leads astray the links go on, and whoever takes a place proves the frame
//! there.

use std::sync::Arc;

use crate::Result;
use crate::format::index_block::jump_target;
use crate::format::segment_index::postings::{Chunk, StreamRecord};
use crate::ids::{Position, Revision, StreamId};
use crate::index::find::{Finder, section_of};
use crate::index::known_places::{Sections, StretchKey};
use crate::index::segment_indexes::SegmentIndex;
use crate::index::streams::{Stream, Stretch};

/// First revision and frame of a section.
pub(crate) type Placed = (Revision, Position);

/// Names a run of sections in the cache: those that links lead to from a place. Stretches are named by their first places.
const RUN: u64 = 1 << 63;
/// The run does not begin with that place itself. Places are multiples of eight.
const WITHOUT_IT: u64 = 1;

/// Where the sections around a revision were found.
#[derive(Debug)]
pub(crate) enum Older {
    /// In a chunk of an index, as far as it lies before the next section.
    Indexed(IndexedChunk),
    /// In a run that is in the cache by this name; it begins and ends with these.
    Run(StretchKey, Placed, Option<Placed>),
}

/// A chunk of an index.
#[derive(Debug)]
pub(crate) struct IndexedChunk {
    pub(crate) index: Arc<SegmentIndex>,
    pub(crate) chunk: Chunk,
    /// The first section that is not meant, in it or behind it.
    pub(crate) next: Option<Placed>,
}

/// Where going back from index to index ended.
enum Descent {
    Found(IndexedChunk),
    /// At a place without an index that could be used; the section behind it.
    Left(Position, Option<Placed>),
}

/// Where following the links ended.
enum Linked {
    /// At the section that holds the revision, which is the first of a run now.
    Found(StretchKey, Placed),
    /// In another segment, which has an index; the section behind that place.
    Indexed(Position, Placed),
    Broken,
}

impl Finder {
    /// Where the sections around `wanted` lie, which comes before the border of the stretch. `None` where damage hides it.
    pub(crate) fn older(&self, stretch: &Stretch, wanted: Revision) -> Result<Option<Older>> {
        // The place of a section that is not looked at yet, or that of `next` itself.
        let (mut at, mut next) = (stretch.upto(), stretch.next);
        // Each round ends further back in the log than it began.
        loop {
            if let Some(index) = self.indexes.holding(at) {
                match self.descend(index, stretch.stream, wanted, at, next) {
                    Descent::Found(chunk) => return Ok(Some(Older::Indexed(chunk))),
                    Descent::Left(place, section) => (at, next) = (place, section),
                }
            }
            match self.linked(stretch.stream, wanted, at, next)? {
                Linked::Found(key, first) => return Ok(Some(Older::Run(key, first, next))),
                Linked::Indexed(place, section) => (at, next) = (place, Some(section)),
                Linked::Broken => return Ok(self.indexed_around(stretch, wanted, at).map(Older::Indexed)),
            }
        }
    }

    /// From the index of the segment that holds `at` to the one whose segment holds `wanted`.
    fn descend(
        &self,
        index: Arc<SegmentIndex>,
        stream: StreamId,
        wanted: Revision,
        mut at: Position,
        mut next: Option<Placed>,
    ) -> Descent {
        let mut index = index;
        let Some(mut record) = self.record(&index, stream) else { return Descent::Left(at, next) };
        loop {
            if record.first_revision <= wanted {
                return match self.chunk(index, &record, wanted, next) {
                    Some(chunk) => Descent::Found(chunk),
                    None => Descent::Left(at, next),
                };
            }
            let jumped = record.jump.filter(|jump| jump.first_revision > wanted).and_then(|jump| {
                let number = jump_target(record.number)?;
                self.indexes.numbered(jump, stream, number)
            });
            if let Some((older, jumped)) = jumped {
                (index, record) = (older, jumped);
                continue;
            }
            next = Some((record.first_revision, record.first_place));
            let Some(place) = record.reach_back.filter(|place| *place < index.head.base) else {
                return Descent::Left(record.first_place, next);
            };
            at = place;
            let Some(older) = self.indexes.holding(place) else { return Descent::Left(at, next) };
            match self.record(&older, stream).filter(|older| older.first_revision < record.first_revision) {
                Some(before) => (index, record) = (older, before),
                None => return Descent::Left(at, next),
            }
        }
    }

    /// What an index says of a stream. One with a bad block is not asked again.
    fn record(&self, index: &SegmentIndex, stream: StreamId) -> Option<StreamRecord> {
        index.find(stream).unwrap_or_else(|_| {
            self.indexes.doubt(index.head.ordinal);
            None
        })
    }

    fn chunk(
        &self,
        index: Arc<SegmentIndex>,
        record: &StreamRecord,
        wanted: Revision,
        next: Option<Placed>,
    ) -> Option<IndexedChunk> {
        match record.chunk_of(&index.file, &index.head, wanted) {
            Ok(chunk) => {
                // The border may lie inside of the chunk.
                let inside = chunk.next.filter(|(inside, _)| next.is_none_or(|(next, _)| *inside < next));
                Some(IndexedChunk { index, next: inside.or(next), chunk })
            }
            Err(_) => {
                self.indexes.doubt(index.head.ordinal);
                None
            }
        }
    }

    /// Back along the links from the section at `at`, which is not meant itself where it is `next`; what is found is kept.
    fn linked(&self, stream: StreamId, wanted: Revision, at: Position, next: Option<Placed>) -> Result<Linked> {
        let is_without = next.is_some_and(|(_, place)| place == at);
        let key = (stream, RUN | at.0 | if is_without { WITHOUT_IT } else { 0 });
        let known = self.known.look(key, |known| known.get(0));
        if let Some(first) = known.filter(|(first, _)| *first <= wanted) {
            return Ok(Linked::Found(key, first));
        }
        let skipped = known.map(|(_, place)| place).or(is_without.then_some(at));
        let mut place = skipped.unwrap_or(at);
        let segment_of = |place: Position| place.0 / self.set.store.segment_bytes;
        let mut newer = Vec::new();
        let (mut segment, mut behind) = (None, None);
        let ended = loop {
            let here = match segment.take().filter(|here: &Arc<crate::segment::one::Segment>| here.base <= place) {
                Some(here) => here,
                None => match self.set.holding(place) {
                    Ok(here) => here,
                    Err(error) if error.damage().is_some() => break Linked::Broken,
                    Err(error) => return Err(error),
                },
            };
            let Ok(frame) = here.frame(place, here.file_end()) else { break Linked::Broken };
            let Ok(Some(section)) = section_of(frame, stream) else { break Linked::Broken };
            let found = (section.first_revision, place);
            // A section that says what cannot be, under right checks, leads nowhere.
            if behind.replace(found.0).is_some_and(|behind| section.last_revision() >= behind) {
                break Linked::Broken;
            }
            if Some(place) != skipped {
                newer.push(found);
            }
            if found.0 <= wanted {
                break Linked::Found(key, found);
            }
            let Some(previous) = section.previous.filter(|previous| *previous < place) else { break Linked::Broken };
            if segment_of(previous) != segment_of(place) && self.indexes.holding(previous).is_some() {
                break Linked::Indexed(previous, found);
            }
            segment = Some(here);
            place = previous;
        };
        if !newer.is_empty() {
            newer.reverse();
            self.known.look(key, |known| newer.extend(known.iter()));
            self.known.keep(key, Sections::new(&newer, at));
        }
        Ok(ended)
    }

    /// The chunk that holds `wanted`, in the index of any segment before `behind`: where damage breaks the links.
    #[cold]
    fn indexed_around(&self, stretch: &Stretch, wanted: Revision, behind: Position) -> Option<IndexedChunk> {
        let all = self.set.all();
        for known in all.iter().rev().filter(|known| known.base < behind) {
            let Some(index) = self.indexes.of(known) else { continue };
            let Some(record) = self.record(&index, stretch.stream) else { continue };
            if record.first_revision > wanted {
                continue;
            }
            // Behind its last section there may be others, in what is damaged.
            let next = (Revision(record.last_revision.0 + 1), stretch.upto());
            return (wanted <= record.last_revision).then(|| self.chunk(index, &record, wanted, Some(next))).flatten();
        }
        None
    }

    /// The sections nearest to `revision` before it (or at it) and behind it, of which nothing is remembered: as indexes say it,
    /// those too that are not trusted, and as the frames prove it.
    #[cold]
    pub(crate) fn indexed_near(&self, stream: &Stream, revision: Revision) -> (Option<Placed>, Option<Placed>) {
        let behind = stream.place_behind(revision);
        let is_proven = |(first, place): Placed| {
            let Ok(segment) = self.set.holding(place) else { return false };
            let Ok(frame) = segment.frame(place, segment.file_end()) else { return false };
            matches!(section_of(frame, stream.id), Ok(Some(section)) if section.first_revision == first)
        };
        let (mut before, mut after) = (None, None);
        for known in self.set.all().iter().rev().filter(|known| known.base <= behind) {
            let Some(index) = self.indexes.doubted_or_not(known) else { continue };
            let Ok(Some(record)) = index.find(stream.id) else { continue };
            for number in (0..record.chunks()).rev() {
                let Ok(chunk) = record.chunk(&index.file, &index.head, number) else { continue };
                let mut sections = Vec::new();
                let listed = chunk.walk(&index.file, &index.head, |revision, place| {
                    sections.push((revision, place));
                    true
                });
                if listed.is_err() {
                    continue;
                }
                let split = sections.partition_point(|(first, _)| *first <= revision);
                if chunk.first.0 > revision && before.is_none() && number > 0 && after.is_some() {
                    continue; // there is one that is nearer
                }
                let nearest = sections[split..].iter().find(|section| section.1 < behind && is_proven(**section));
                after = nearest.copied().or(after);
                before = sections[..split].iter().rev().find(|section| is_proven(**section)).copied();
                if before.is_some() {
                    return (before, after);
                }
            }
        }
        (before, after)
    }
}
