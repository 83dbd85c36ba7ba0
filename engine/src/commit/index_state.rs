//! What the next index block of the active segment will say; built the same way while appending and while replaying.

use crate::format::index_block::{IndexBlock, IndexBlockBuilder, IndexLinks, NamedStream, jump_target};
use crate::ids::{Position, Revision, StreamId};
use crate::planted::{Plant, planted};
use crate::segment::one::Segment;

/// A section as the index notes it; the name is asked for only at the stream's first appearance in the segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted<'a> {
    pub(crate) stream: StreamId,
    /// `None` where it is not known yet.
    pub(crate) name: Option<&'a str>,
    /// Parent and the last revision shared with it, where it is a fork and has a name here.
    pub(crate) parent: Option<(StreamId, Revision)>,
    /// The frame that holds the section before it, or that made the fork.
    pub(crate) previous: Option<Position>,
    pub(crate) first_revision: Revision,
    pub(crate) count: u32,
}

/// The index of the active segment so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct IndexState {
    builder: IndexBlockBuilder,
    /// The last block, and before it those that later ones may link to: what its older links lead to, by number.
    blocks: Vec<(u64, Position)>,
    /// Where the stretch of the next block begins.
    stretch: Position,
    /// Where the frames of the segment begin.
    first_frame: Position,
}

impl IndexState {
    /// A new segment begins, its frames at `first_frame`.
    pub(crate) fn begin(&mut self, first_frame: Position) {
        self.builder.clear();
        self.blocks.clear();
        self.stretch = first_frame;
        self.first_frame = first_frame;
    }

    /// The index behind the last block of a segment, where everything up to `at` is covered; zero: there is none. `None`
    /// where a block that it would link to cannot be read.
    pub(crate) fn resume(segment: &Segment, last_block: Position, at: Position) -> Option<IndexState> {
        let mut state = IndexState::default();
        state.begin(segment.first_frame());
        let mut block_at = last_block;
        while block_at != Position::ZERO {
            let frame = segment.frame(block_at, at).ok()?;
            let links = IndexBlock::decode(&frame).ok()?.links;
            if links.jump >= block_at || jump_target(links.number).is_some() != (links.jump != Position::ZERO) {
                return None;
            }
            state.blocks.push((links.number, block_at));
            block_at = links.jump;
        }
        state.blocks.reverse();
        state.stretch = at;
        Some(state)
    }

    /// The number of the next block.
    fn next_number(&self) -> u64 {
        self.blocks.last().map_or(0, |(number, _)| number + 1)
    }

    /// A frame that is neither batch nor index block.
    pub(crate) fn note_other(&mut self, kind: u8, frame_len: u32) {
        self.builder.add_other_frame(kind, frame_len);
    }

    /// A batch frame with its sections.
    pub(crate) fn note_batch<'a>(&mut self, frame_len: u32, sections: impl ExactSizeIterator<Item = Noted<'a>>) {
        self.builder.add_batch_frame(frame_len, sections.len());
        for noted in sections {
            if !self.builder.lists(noted.stream) {
                let is_named = noted.previous.is_some_and(|previous| previous >= self.first_frame);
                match noted.name {
                    None if !is_named => self.builder.add_unnamed_stream(noted.stream),
                    name => {
                        let name = name.filter(|_| !is_named);
                        self.builder.add_stream(noted.stream, name, noted.parent.filter(|_| name.is_some()))
                    }
                };
            }
            self.builder.add_section(noted.stream, noted.first_revision, noted.count);
        }
    }

    /// A fork that the batch frame noted last has made.
    pub(crate) fn note_fork(&mut self, stream: StreamId, name: &str, parent: (StreamId, Revision)) {
        if !self.builder.lists(stream) && !planted(Plant::ForkNotListed) {
            self.builder.add_stream(stream, Some(name), Some(parent));
        }
    }

    /// The streams whose names the next block must say and that nobody has given yet.
    pub(crate) fn unnamed(&self) -> impl Iterator<Item = StreamId> {
        self.builder.unnamed()
    }

    /// Gives those streams their names.
    pub(crate) fn name_all(&mut self, named: impl FnMut(StreamId) -> Option<NamedStream>) {
        self.builder.name_all(named);
    }

    /// An index block at `position` was written, or met, that ends at `end`.
    pub(crate) fn note_block(&mut self, position: Position, end: Position) {
        self.builder.clear();
        let number = self.next_number();
        let target = jump_target(number);
        self.blocks.retain(|(other, _)| Some(*other) <= target);
        self.blocks.push((number, position));
        self.stretch = end;
    }

    /// Whether the stretch up to `at` is long enough for a block.
    pub(crate) fn is_due(&self, at: Position, stride_bytes: u64) -> bool {
        at.0 - self.stretch.0 >= stride_bytes && self.builder.frames() > 0
    }

    /// Whether there is anything that no block covers yet.
    pub(crate) fn has_frames(&self) -> bool {
        self.builder.frames() > 0
    }

    /// Bytes to be kept free in the segment for the block, were a batch of `sections` sections with `name_bytes` of names
    /// added.
    pub(crate) fn reserve(&self, sections: usize, name_bytes: usize) -> u64 {
        self.builder.encoded_len_max() + IndexBlockBuilder::growth_max(sections, name_bytes)
    }

    /// The last block of the segment; zero where there is none.
    pub(crate) fn last_block(&self) -> Position {
        self.blocks.last().map_or(Position::ZERO, |(_, block)| *block)
    }

    /// Appends the frame of the block at `position`; returns the length of its plain part.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, position: Position, max_recorded_at: i64) -> usize {
        let number = self.next_number();
        let target = jump_target(number);
        let jump = self.blocks.iter().find(|(other, _)| Some(*other) == target).map(|(_, block)| *block);
        let links = IndexLinks {
            number,
            stretch: self.stretch,
            previous: self.last_block(),
            jump: jump.unwrap_or(Position::ZERO),
            max_recorded_at,
        };
        self.builder.encode(out, position, links)
    }
}

/// As [`IndexState::reserve`], in a segment that begins with the batch.
pub(crate) fn fresh_reserve(sections: usize, name_bytes: usize) -> u64 {
    IndexState::default().reserve(sections, name_bytes)
}

/// Whether who writes together with others may have gone on in the next segment when the log stood at a place: a frame says
/// so, or there was no room for one.
#[inline]
pub(crate) fn is_left_at(segment: &Segment, at: Position, is_marked: bool) -> bool {
    const MARK_BYTES_MAX: u64 = 256;
    debug_assert!(!cfg!(test) || fresh_reserve(0, 0) <= MARK_BYTES_MAX);
    is_marked || at.0 + MARK_BYTES_MAX > segment.file_end().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_later_ones_link_to_are_kept_and_few() {
        let mut state = IndexState::default();
        state.begin(Position(8192));
        for number in 0..5000u64 {
            let target = jump_target(number);
            let is_kept = |target| state.blocks.iter().any(|(other, _)| *other == target);
            assert!(target.is_none_or(is_kept), "block {number} links to {target:?}: {:?}", state.blocks);
            state.note_block(Position(8192 + number * 512), Position(8192 + number * 512 + 512));
            assert_eq!(state.last_block(), Position(8192 + number * 512));
            assert!(state.blocks.len() <= 26, "{}", state.blocks.len());
        }
    }
}
