//! What is lost, as far as opening can say: which stretches, how many events they can have held, which streams end in doubt.
//!
//! Nothing here decides whether anything is lost; it keeps account, so that no revision is given twice and no loss is
//! forgotten.

use std::ops::Range;
use std::sync::Arc;

use super::{Replay, last_set_byte};
use crate::commit::index_state::Noted;
use crate::error::Damage;
use crate::format::frame::{Frame, KIND_BATCH, KIND_INDEX_BLOCK};
use crate::format::index_block::IndexBlock;
use crate::format::open::Predecessor;
use crate::format::watermark::Watermark;
use crate::ids::{Position, Salt};
use crate::index::streams::{Placed, Stream};
use crate::recovery::decision::TailState;
use crate::segment::resync::LostFrame;
use crate::segment::set::Known;

/// A stretch of the log whose frames are lost and listed nowhere. Streams whose last event lies before it may have had later
/// ones in it; so may streams that nobody knows.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) positions: Range<Position>,
    /// How many events can have been there at most; `None` until something behind it says how many there were.
    pub(crate) events: Option<u64>,
}

impl Replay {
    /// The log ends in a segment of which nothing can be read. Whoever writes on says of it what the watermark file says,
    /// or else that it was full, so that no later opening takes the loss for nothing.
    pub(super) fn end_in_lost(&mut self, known: &Known) {
        let inside =
            |watermark: &Watermark| known.base <= watermark.last_frame && watermark.last_frame < known.file_end;
        let said = self.watermark.filter(inside);
        self.at = said.map_or(known.file_end, |watermark| watermark.durable);
        self.last_frame = said.map_or(Position::ZERO, |watermark| watermark.last_frame);
        self.previous_check = said.map_or(0, |watermark| watermark.last_check);
        // Behind a slot that is not clean more may have been made durable: there what there was room for is counted.
        if let Some(clean) = said.filter(|watermark| watermark.is_clean) {
            self.count_lost(clean.next_number);
            self.next_number = clean.next_number.max(self.next_number);
        }
        self.lost_end = Some(Predecessor {
            ordinal: known.ordinal,
            end: self.at,
            last_frame: self.last_frame,
            last_index_block: said.map_or(Position::ZERO, |watermark| watermark.last_index_block),
            salt: said.map_or_else(Salt::default, |watermark| watermark.salt),
        });
    }

    /// An index block may name streams whose first section is lost. [BAT-5]
    pub(super) fn take_names(&self, frame: &Frame<'_>) {
        if !self.streams.read().has_nameless() {
            return;
        }
        let Ok(block) = IndexBlock::decode(frame) else { return };
        let mut streams = self.streams.write();
        for listed in &block.streams {
            if let Some(name) = listed.name {
                streams.name(listed.stream, name, listed.parent.map(|(_, revision)| revision));
            }
        }
    }

    /// Takes in what an index block says of frames that are lost, so that no revision of theirs is given again. Where none
    /// says it, every stream whose head may have lain there is unknown from now on.
    pub(super) fn take_lost(&mut self, lost: Option<&[LostFrame]>, end: Position) {
        let Some(lost) = lost else {
            self.lost.push(Lost { positions: self.at..end, events: None });
            return;
        };
        let sections = lost.iter().flat_map(|frame| &frame.sections).map(|section| section.stream);
        for stream in sections.chain(lost.iter().flat_map(|frame| &frame.forks).map(|fork| fork.stream)) {
            if let Err(error) = self.streams.load_id(stream) {
                self.failed = Some(error);
            }
        }
        let mut streams = self.streams.write();
        let mut is_all_placed = true;
        for frame in lost {
            self.last_frame = frame.position;
            let mut first_position = frame.position;
            let last_section = |stream| streams.by_id(stream).map(|stream: &Stream| stream.last_place);
            let previous: Vec<_> = frame.sections.iter().map(|section| last_section(section.stream)).collect();
            for section in &frame.sections {
                if let Some(name) = &section.name {
                    let fork = frame.forks.iter().find(|fork| fork.stream == section.stream);
                    streams.name(section.stream, name, fork.map(|fork| fork.revision));
                }
                let name = section.name.as_deref().filter(|_| streams.by_id(section.stream).is_none());
                let placed = Placed {
                    stream: section.stream,
                    first_revision: section.first_revision,
                    count: section.count,
                    frame: frame.position,
                    first_position,
                };
                is_all_placed &= streams.place_behind_gap(name, placed);
                first_position.0 += u64::from(section.count);
            }
            if frame.kind == KIND_INDEX_BLOCK {
                self.index.note_block(frame.position, Position(frame.position.0 + frame.len));
            } else if frame.kind == KIND_BATCH {
                let noted: Vec<_> = frame
                    .sections
                    .iter()
                    .zip(previous)
                    .filter_map(|(section, previous)| {
                        Some((section, previous, Arc::clone(&streams.by_id(section.stream)?.name)))
                    })
                    .collect();
                let noted = noted.iter().map(|(section, previous, name)| Noted {
                    stream: section.stream,
                    name: Some(name),
                    parent: None,
                    previous: *previous,
                    first_revision: section.first_revision,
                    count: section.count,
                });
                self.index.note_batch(frame.len as u32, noted);
            } else {
                self.index.note_other(frame.kind, frame.len as u32);
            }
            for fork in &frame.forks {
                let is_placed = streams.place_fork(&fork.name, fork.stream, fork.revision, frame.position);
                is_all_placed &= is_placed || streams.by_id(fork.stream).is_some();
                self.index.note_fork(fork.stream, &fork.name, (fork.parent, fork.revision));
            }
        }
        if !is_all_placed {
            self.lost.push(Lost { positions: self.at..end, events: None });
        }
    }

    /// A proven header says how many events there are before it: so many at most were lost since the last one.
    #[inline]
    pub(super) fn count_lost(&mut self, first_number: u64) {
        if !self.lost.is_empty() {
            let events = first_number.saturating_sub(self.next_number);
            self.lost.iter_mut().filter(|lost| lost.events.is_none()).for_each(|lost| lost.events = Some(events));
        }
    }

    /// Nothing behind the last losses says how many events they took: as many as there is room for. The numbers of later
    /// events go on behind them, so that every later opening counts the same.
    pub(super) fn settle_lost_end(&mut self) {
        /// An event takes at least so many bytes of a frame.
        const EVENT_BYTES_MIN: u64 = 8;
        let mut room: u64 = 0;
        for lost in self.lost.iter().filter(|lost| lost.events.is_none()) {
            let mut end = lost.positions.end;
            // Whole frames may have lain behind the last witness too.
            if let Some(segment) =
                self.segment.as_ref().filter(|segment| segment.base <= end && end < segment.file_end())
            {
                end = end.max(last_set_byte(segment, end, segment.file_end()));
            }
            room += (end.0 - lost.positions.start.0) / EVENT_BYTES_MIN;
        }
        self.lost.iter_mut().filter(|lost| lost.events.is_none()).for_each(|lost| lost.events = Some(room));
        self.next_number = self.next_number.saturating_add(room).min(crate::limits::NUMBER_MAX);
    }

    /// Marks what was accepted. What is left of it is history: it stands in the way of nothing.
    pub(super) fn settle_accepted(&mut self) {
        for damage in &mut self.damage {
            self.set.mark_accepted(damage);
        }
        // A bad copy of a head block stands in nobody's way: it holds no positions.
        let is_in_the_way = |damage: &Damage| {
            !damage.is_accepted && (damage.positions.start < damage.positions.end || damage.bytes.is_empty())
        };
        if self.tail == TailState::Damage && !self.damage.iter().any(is_in_the_way) {
            self.tail = if self.torn_end().is_some() { TailState::Torn } else { TailState::End };
        }
    }

    /// The torn tail in which the log ends. In a segment below one that is lost there may be another, which is told of and ends
    /// nothing.
    pub(crate) fn torn_end(&self) -> Option<&Damage> {
        self.torn_tail.as_ref().filter(|torn| torn.positions.start == self.at)
    }

    /// Streams whose last event lies before it may have had later ones, which are lost; so may streams nobody knows.
    pub(crate) fn unknown_until(&self) -> Position {
        self.lost.iter().map(|lost| lost.positions.end).max().unwrap_or(Position::ZERO)
    }

    /// How many events a stream may have had behind its last known one, which lies at `head_position`; `None` where its
    /// head is certain.
    pub(crate) fn lost_behind(&self, head_position: Position) -> Option<u64> {
        let behind = self.lost.iter().filter(|lost| head_position < lost.positions.end);
        behind.map(|lost| lost.events.unwrap_or(0)).reduce(u64::saturating_add)
    }
}
