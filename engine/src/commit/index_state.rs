//! What the next index block of the active segment will say; built the same way while appending and while replaying.

use foldhash::HashSet;

use crate::format::index_block::{IndexBlockBuilder, IndexLinks, jump_target};
use crate::ids::{Position, Revision, StreamId};

/// A section as the index notes it; the name is asked for only at the stream's first appearance in the segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted<'a> {
    pub(crate) stream: StreamId,
    pub(crate) name: &'a str,
    pub(crate) first_revision: Revision,
    pub(crate) count: u32,
}

/// The index of the active segment so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct IndexState {
    builder: IndexBlockBuilder,
    /// Where the blocks of the segment stand, by number.
    blocks: Vec<Position>,
    /// Where the stretch of the next block begins.
    stretch: Position,
    /// Streams that a block of this segment names already, or will.
    named: HashSet<StreamId>,
}

impl IndexState {
    /// A new segment begins, its frames at `first_frame`.
    pub(crate) fn begin(&mut self, first_frame: Position) {
        self.builder.clear();
        self.blocks.clear();
        self.named.clear();
        self.stretch = first_frame;
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
                let name = self.named.insert(noted.stream).then_some(noted.name);
                self.builder.add_stream(noted.stream, name, None);
            }
            self.builder.add_section(noted.stream, noted.first_revision, noted.count);
        }
    }

    /// An index block at `position` was written, or met, that ends at `end`.
    pub(crate) fn note_block(&mut self, position: Position, end: Position) {
        self.builder.clear();
        self.blocks.push(position);
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
        self.blocks.last().copied().unwrap_or(Position::ZERO)
    }

    /// Appends the frame of the block at `position`; returns the length of its plain part.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, position: Position, max_recorded_at: i64) -> usize {
        let number = self.blocks.len() as u64;
        let jump = jump_target(number).and_then(|target| self.blocks.get(target as usize)).copied();
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
