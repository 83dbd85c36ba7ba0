//! Index blocks: does each one say exactly what the frames of its stretch say?
//!
//! What the frames say is collected from the frames themselves, between one block and the next. Where a frame of the
//! stretch is lost, only the frames that were met can be held against the block; where a block is lost, so are the links
//! that lead to it.

use std::collections::HashMap;

use super::streams::Streams;
use crate::format::Fault;
use crate::format::frame::{Frame, KIND_BATCH};
use crate::format::index_block::{IndexBlock, IndexedFrame, jump_target};
use crate::ids::{Position, Revision, SegmentOrdinal, StreamId};

/// A frame as it was met.
#[derive(Debug)]
struct Met {
    position: Position,
    len: u64,
    kind: u8,
    sections: Vec<(StreamId, Revision, u32)>,
}

/// The index blocks of the segment that is being walked.
#[derive(Debug, Default)]
pub(super) struct IndexBlocks {
    segment: SegmentOrdinal,
    /// Where the blocks stand, by number; `None` for lost ones.
    blocks: Vec<Option<Position>>,
    /// Where the stretch of the next block begins.
    stretch: Position,
    met: Vec<Met>,
    /// Streams of the stretch that forks have made.
    forked: Vec<StreamId>,
    /// A frame of the stretch was lost.
    has_lost_frames: bool,
    /// A frame of the segment was lost, perhaps a block.
    has_lost_blocks: bool,
    pub(super) checked: u64,
}

impl IndexBlocks {
    /// A segment begins.
    pub(super) fn begin(&mut self, segment: SegmentOrdinal, first_frame: Position) {
        let checked = self.checked;
        *self = IndexBlocks { segment, stretch: first_frame, checked, ..IndexBlocks::default() };
    }

    /// The last block met: zero for none, `None` where one may have been lost since.
    pub(super) fn last_block(&self) -> Option<Position> {
        let known = self.blocks.last().copied().unwrap_or(Some(Position::ZERO));
        known.filter(|_| !self.has_lost_frames)
    }

    /// Whether no frame was met since the last block.
    pub(super) fn covers_all(&self) -> bool {
        self.met.is_empty() || self.has_lost_frames
    }

    /// A frame that is no index block.
    pub(super) fn note(&mut self, frame: &Frame<'_>, sections: Vec<(StreamId, Revision, u32)>, forked: Vec<StreamId>) {
        let (position, len, kind) = (frame.position, u64::from(frame.frame_len()), frame.kind());
        self.met.push(Met { position, len, kind, sections });
        self.forked.extend(forked);
    }

    /// Frames were lost.
    pub(super) fn note_loss(&mut self) {
        self.has_lost_frames = true;
        self.has_lost_blocks = true;
    }

    /// Holds a block against what was met. What does not fit goes to `problems`.
    pub(super) fn check(
        &mut self,
        frame: &Frame<'_>,
        max_recorded_at: Option<i64>,
        streams: &mut Streams,
        problems: &mut Vec<String>,
    ) -> Result<(), Fault> {
        let block = IndexBlock::decode(frame)?;
        self.check_links(&block, max_recorded_at, problems);
        let mut listed = Vec::new();
        block.frames(|frame| listed.push(frame))?;
        self.check_frames(&block, &listed, problems);
        self.check_streams(&block, &listed, streams, problems);
        self.blocks.push(Some(frame.position));
        self.stretch = frame.end();
        self.met.clear();
        self.forked.clear();
        self.has_lost_frames = false;
        self.checked += 1;
        Ok(())
    }

    fn check_links(&mut self, block: &IndexBlock<'_>, max_recorded_at: Option<i64>, problems: &mut Vec<String>) {
        let links = &block.links;
        let number = self.blocks.len() as u64;
        let mut wrong = |what: &str, expected: String, found: String| {
            problems.push(format!("{what} should be {expected}, the index block says {found}"));
        };
        if links.number != number {
            // No more blocks can have been lost than there is room for between the ones that are left.
            let room = (self.stretch.0.max(links.stretch.0) - self.stretch.0) / 8;
            if !self.has_lost_blocks || links.number < number || links.number - number > room {
                wrong("its number", number.to_string(), links.number.to_string());
                return;
            }
            self.blocks.resize(links.number as usize, None);
        }
        let at = |number: Option<u64>| match number {
            None => Some(Position::ZERO),
            Some(number) => self.blocks.get(number as usize).copied().flatten(),
        };
        if let Some(previous) = at(links.number.checked_sub(1))
            && links.previous != previous
        {
            wrong("the block before", previous.to_string(), links.previous.to_string());
        }
        if let Some(jump) = at(jump_target(links.number))
            && links.jump != jump
        {
            wrong("the older block", jump.to_string(), links.jump.to_string());
        }
        if links.stretch != self.stretch && !self.has_lost_frames {
            wrong("its stretch", self.stretch.to_string(), links.stretch.to_string());
        }
        if let Some(max) = max_recorded_at
            && links.max_recorded_at != max
        {
            wrong("the greatest time of recording", max.to_string(), links.max_recorded_at.to_string());
        }
    }

    fn check_frames(&self, block: &IndexBlock<'_>, listed: &[IndexedFrame], problems: &mut Vec<String>) {
        let mut listed_at = listed.iter();
        for met in self.met.iter().filter(|met| met.position >= block.links.stretch) {
            let same = listed_at
                .find(|listed| self.has_lost_frames.then_some(met.position).is_none_or(|at| listed.position >= at));
            let Some(same) = same else {
                problems.push(format!("it does not list the frame at {}", met.position));
                return;
            };
            let is_same = same.position == met.position
                && same.len == met.len
                && same.kind == met.kind
                && same.sections.len() == met.sections.len()
                && same.sections.iter().zip(&met.sections).all(|(listed, met)| {
                    let stream = block.streams[listed.stream as usize].stream;
                    (stream, listed.first_revision, listed.count) == *met
                });
            if !is_same {
                problems.push(format!("it lists the frame at {} otherwise than that is", met.position));
                return;
            }
        }
        if !self.has_lost_frames && listed_at.next().is_some() {
            problems.push("it lists frames that are not there".into());
        }
    }

    fn check_streams(
        &self,
        block: &IndexBlock<'_>,
        listed: &[IndexedFrame],
        streams: &mut Streams,
        problems: &mut Vec<String>,
    ) {
        let mut wanted: HashMap<StreamId, bool> = self.forked.iter().map(|stream| (*stream, false)).collect();
        let sections = listed.iter().filter(|frame| frame.kind == KIND_BATCH).flat_map(|frame| &frame.sections);
        wanted.extend(sections.map(|section| (block.streams[section.stream as usize].stream, false)));
        for listed in &block.streams {
            match wanted.get_mut(&listed.stream) {
                Some(found) if !*found => *found = true,
                Some(_) => problems.push(format!("it lists stream {} twice", listed.stream)),
                None if self.has_lost_frames => {}
                None => problems.push(format!("it lists stream {}, which is not in its stretch", listed.stream)),
            }
            let Some(known) = streams.get_mut(listed.stream) else { continue };
            let is_first = known.named_in != Some(self.segment);
            if is_first != listed.name.is_some() && !self.has_lost_blocks {
                let verb = if is_first { "does not name" } else { "names again" };
                problems.push(format!("it {verb} stream {}", listed.stream));
            }
            if let Some(name) = listed.name {
                known.named_in = Some(self.segment);
                if known.name.as_deref().is_some_and(|known| known != name) {
                    problems.push(format!("it names stream {} {name:?}, which is not its name", listed.stream));
                }
                if known.name.is_some() && known.parent != listed.parent {
                    problems.push(format!("it says another parent of stream {} than its fork", listed.stream));
                }
            }
        }
        if wanted.values().any(|found| !found) {
            problems.push("it leaves out a stream of its stretch".into());
        }
    }
}
