//! Finding the older part of a stream, of which no place is remembered, through the indexes of segments.
//!
//! Most streams grow steadily while they grow: so the segment is guessed by a line from the beginning of the stream to its end,
//! and its index asked. Where the guess does not hit, the way is a chain: from the border, the first remembered place (or the
//! stream's last section), the links lead back through what has no index; where they come to a segment with one, its record of
//! the stream leads on: by the place of the section before the segment, or by its jump, until a segment holds the wanted revision.
//! So a stream in thousands of segments takes a few steps. What an index says is a hint: where it is missing or leads astray
//! the links go on, and whoever takes a place proves the frame there.

use std::sync::Arc;

use crate::Result;
use crate::format::index_block::jump_target;
use crate::format::segment_index::postings::{Chunk, StreamRecord};
use crate::ids::{Position, Revision, StreamId};
use crate::index::find::{Finder, Found, section_of};
use crate::index::known_places::Located;
use crate::index::segment_indexes::SegmentIndex;
use crate::index::streams::{Stream, Stretch};
use crate::segment::one::FRAME_TOUCHED_BYTES;

/// First revision and frame of a section.
pub(crate) type Placed = (Revision, Position);

/// So many segments are guessed.
const GUESSES: u32 = 3;
/// A segment with fewer sections of a stream holds few: an index is asked in the time of some ten links.
const SPARSE_SECTIONS: u64 = 16;

/// A chunk of an index.
#[derive(Debug)]
struct IndexedChunk {
    index: Arc<SegmentIndex>,
    chunk: Chunk,
    /// The first section that is not meant, in it or behind it.
    next: Option<Placed>,
}

/// Where going back from index to index ended.
enum Descent {
    Found(IndexedChunk),
    /// At a place without an index that could be used; the section behind it.
    Left(Position, Option<Placed>),
}

/// Where following the links ended.
enum Linked {
    /// At the section that holds the revision.
    Found(Found),
    /// In another segment, which has an index; the section behind that place.
    Indexed(Position, Placed),
    Broken,
}

impl Finder {
    /// Where the section lies that holds `wanted`, which comes before the border of the stretch. `None` where damage hides it.
    #[inline(never)]
    pub(super) fn older(&self, stretch: &Stretch, wanted: Revision) -> Result<Option<Found>> {
        // The place of a section that is not looked at yet, or that of `next` itself.
        let (mut at, mut next) = (stretch.upto(), stretch.next);
        if let Some(found) =
            self.guessed(stretch, wanted, &mut at, &mut next).and_then(|chunk| self.listed(stretch, wanted, &chunk))
        {
            return Ok(Some(found));
        }
        // Each round ends further back in the log than it began, or one index is asked no more.
        loop {
            if let Some(index) = self.indexes.holding(at) {
                match self.descend(index, stretch.stream, wanted, at, next) {
                    Descent::Found(chunk) => match self.listed(stretch, wanted, &chunk) {
                        None => continue,
                        found => return Ok(found),
                    },
                    Descent::Left(place, section) => (at, next) = (place, section),
                }
            }
            match self.linked(stretch, wanted, at, next)? {
                Linked::Found(found) => return Ok(Some(found)),
                Linked::Indexed(place, section) => (at, next) = (place, Some(section)),
                Linked::Broken => {
                    let around = self.indexed_around(stretch, wanted, at);
                    return Ok(around.and_then(|chunk| self.listed(stretch, wanted, &chunk)));
                }
            }
        }
    }

    /// The chunk that holds `wanted`, where the stream grew so steadily that its segment can be guessed. Where not, what was
    /// met behind it is nearer than `at` and `next`.
    fn guessed(
        &self,
        stretch: &Stretch,
        wanted: Revision,
        at: &mut Position,
        next: &mut Option<Placed>,
    ) -> Option<IndexedChunk> {
        let mut low = (stretch.first, Position(stretch.stream.0));
        let mut high = next.unwrap_or((Revision(stretch.head.0.saturating_add(1)), *at));
        for _ in 0..GUESSES {
            let revisions = high.0.0.checked_sub(low.0.0).filter(|many| *many > 0)?;
            let bytes = high.1.0.checked_sub(low.1.0)?;
            let part = u128::from(wanted.0.checked_sub(low.0.0)?) * u128::from(bytes) / u128::from(revisions);
            let index = self.indexes.holding(Position(low.1.0 + u64::try_from(part).ok()?))?;
            let record = self.record(&index, stretch.stream)?;
            if record.first_revision > wanted {
                high = (record.first_revision, record.first_place);
                if high.1 < *at {
                    (*at, *next) = (high.1, Some(high));
                }
            } else if record.last_revision < wanted {
                low = (Revision(record.last_revision.0 + 1), index.head.end);
            } else {
                return self.chunk(index, &record, wanted, None);
            }
        }
        None
    }

    /// Keeps the sections of a chunk that come before the next one. One that does not add up is not asked again.
    fn listed(&self, stretch: &Stretch, wanted: Revision, found: &IndexedChunk) -> Option<Found> {
        let IndexedChunk { index, chunk, next } = found;
        let mut sections: Vec<Located> = Vec::with_capacity(chunk.sections as usize);
        let walked = chunk.walk(&index.file, &index.head, |first, frame| {
            if let Some(before) = sections.last_mut() {
                before.last = Revision(first.0 - 1);
            }
            let is_meant = next.is_none_or(|(next, _)| first < next);
            if is_meant {
                sections.push(Located { first, last: chunk.last_revision.max(first), frame });
            }
            is_meant
        });
        let Some(last) = sections.last_mut().filter(|_| walked.is_ok()) else {
            self.indexes.doubt(index.head.ordinal);
            return None;
        };
        if let Some((next, _)) = next {
            last.last = Revision(next.0 - 1);
        }
        self.keep(stretch, &sections);
        let at = sections.partition_point(|section| section.first <= wanted).saturating_sub(1);
        let earliest = (sections[0].first, sections[0].frame);
        let is_sparse = chunk.number == 0 && chunk.sections < SPARSE_SECTIONS;
        Some(Found { section: sections[at], earliest, index: Some(index.head.ordinal), is_sparse })
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
    fn linked(&self, stretch: &Stretch, wanted: Revision, at: Position, next: Option<Placed>) -> Result<Linked> {
        // Where somebody was before, from there on: a known place is at most as far behind as twice the way to the nearest.
        let behind = next.map_or(stretch.head.0.saturating_add(1), |(next, _)| next.0);
        let steps = (0..63).map(|step| wanted.0.saturating_add(1 << step)).take_while(|revision| *revision < behind);
        let known = steps.filter_map(|revision| self.known.get(stretch.stream, Revision(revision))).next();
        if let Some(known) = known.filter(|known| *known < at) {
            match self.linked_from(stretch, wanted, known, None, false)? {
                Linked::Broken => {}
                found => return Ok(found),
            }
        }
        self.linked_from(stretch, wanted, at, next, false)
    }

    /// Back along the links from the first section behind a stretch to the one that holds `low`, whatever has an index: they lead
    /// to no frame that is not about to be read. What is found is kept. `false` where they are broken.
    pub(super) fn follow_links(&self, stretch: &Stretch, low: Revision) -> Result<bool> {
        let linked = self.linked_from(stretch, low, stretch.upto(), stretch.next, true)?;
        Ok(matches!(linked, Linked::Found(_)))
    }

    /// Back along the links, until they come to another segment that has an index, unless those are passed.
    fn linked_from(
        &self,
        stretch: &Stretch,
        wanted: Revision,
        at: Position,
        next: Option<Placed>,
        passes_indexed: bool,
    ) -> Result<Linked> {
        let segment_of = |place: Position| place.0 / self.set.store.segment_bytes;
        let mut place = at;
        let mut sections: Vec<Located> = Vec::new();
        let mut behind = next.filter(|(_, place)| *place != at).map(|(next, _)| next);
        let mut segment = None;
        let ended = loop {
            let here = match segment.take().filter(|here: &Arc<crate::segment::one::Segment>| here.base <= place) {
                Some(here) => here,
                None => match self.set.holding(place) {
                    Ok(here) => here,
                    Err(error) if error.damage().is_some() => break Linked::Broken,
                    Err(error) => return Err(error),
                },
            };
            here.prefetch(place, FRAME_TOUCHED_BYTES);
            let Ok(frame) = here.frame(place, here.file_end()) else { break Linked::Broken };
            let Ok(Some(section)) = section_of(frame, stretch.stream) else { break Linked::Broken };
            let first = section.first_revision;
            // A section that says what cannot be, under right checks, leads nowhere.
            let next_one = behind.replace(first);
            if next_one.is_some_and(|next| section.last_revision() >= next) {
                break Linked::Broken;
            }
            if next.is_none_or(|(_, next)| next != place) {
                let last = next_one.map_or(section.last_revision(), |next| Revision(next.0 - 1));
                sections.push(Located { first, last, frame: place });
            }
            if first <= wanted {
                let Some(section) = sections.last() else { break Linked::Broken };
                break Linked::Found(Found {
                    section: *section,
                    earliest: (first, place),
                    index: None,
                    is_sparse: false,
                });
            }
            let Some(previous) = section.previous.filter(|previous| *previous < place) else { break Linked::Broken };
            if !passes_indexed && segment_of(previous) != segment_of(place) && self.indexes.holding(previous).is_some()
            {
                break Linked::Indexed(previous, (first, place));
            }
            segment = Some(here);
            place = previous;
        };
        sections.reverse();
        self.keep(stretch, &sections);
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
