//! The index block: an in-band frame that says what lies in the stretch before it.
//!
//! It repeats, for each frame of the stretch, its length and its sections, and for each stream at its first appearance in
//! the segment its name and parent. So boundaries behind damage come from a proven place, and finding a stream reads
//! blocks instead of events. Nothing in it is true that the frames do not say; it may be skipped.

use smallvec::SmallVec;

use super::Fault;
use super::frame::{self, FRAME_HEADER_BYTES, Frame, KIND_BATCH, KIND_INDEX_BLOCK};
use super::wire::{Few, Wire, back, put_bytes, put_var, text};
use crate::ids::{Position, Revision, StreamId};
use crate::limits;

/// Stream flag: the name follows.
pub const INDEX_NAMED: u8 = 0x01;
/// Stream flag: parent and fork revision follow.
pub const INDEX_FORKED: u8 = 0x02;
const STREAM_REQUIRED: u8 = 0x1F;

/// A stream as an index block lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedStream<'a> {
    /// The stream.
    pub stream: StreamId,
    /// Its name, where it appears the first time in the segment.
    pub name: Option<&'a str>,
    /// Parent and the last revision shared with it, where it is a fork and named here.
    pub parent: Option<(StreamId, Revision)>,
}

/// A section as an index block lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedSection {
    /// Index into the streams of the block.
    pub stream: u32,
    /// Revision of its first event.
    pub first_revision: Revision,
    /// How many events.
    pub count: u32,
}

/// What an index block says of a stream at its first appearance in a segment.
#[derive(Clone, Debug)]
pub struct NamedStream {
    /// Its name.
    pub name: std::sync::Arc<str>,
    /// Parent and the last revision shared with it, where it is a fork.
    pub parent: Option<(StreamId, Revision)>,
}

/// Collects what the next index block will say, while frames are appended.
#[derive(Clone, Debug, Default)]
pub struct IndexBlockBuilder {
    streams: Vec<u8>,
    stream_count: u32,
    ids: foldhash::HashMap<StreamId, u32>,
    /// The stream that was asked for last: mostly it is the next one too.
    recent: Option<(StreamId, u32)>,
    stream_entries: Vec<(StreamId, std::ops::Range<usize>)>,
    /// Places of streams whose names are still to be given.
    unnamed: Vec<u32>,
    frames: Vec<u8>,
    frame_count: u32,
}

/// Where an index block stands among the others of its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct IndexLinks {
    /// Its number in the segment, from 0.
    pub number: u64,
    /// The first frame that it covers.
    pub stretch: Position,
    /// The index block before in the segment; zero for none.
    pub previous: Position,
    /// An older index block of the segment; zero for none.
    pub jump: Position,
    /// Greatest `recorded_at` of the log so far.
    pub max_recorded_at: i64,
}

impl IndexBlockBuilder {
    /// Adds a frame that is no batch.
    pub fn add_other_frame(&mut self, kind: u8, frame_len: u32) {
        debug_assert_ne!(kind, KIND_BATCH);
        put_var(&mut self.frames, u64::from(frame_len) / 8);
        self.frames.extend_from_slice(&[0, kind]);
        self.frame_count += 1;
    }

    /// Adds a batch frame; [`add_section`](Self::add_section) follows once for each of its sections.
    pub fn add_batch_frame(&mut self, frame_len: u32, sections: usize) {
        let mut fields = Few::<20>::new();
        fields.var(u64::from(frame_len) / 8).var(sections as u64 + 1);
        self.frames.extend_from_slice(fields.bytes());
        self.frame_count += 1;
    }

    /// Adds a section of the batch frame added last.
    pub fn add_section(&mut self, stream: StreamId, first_revision: Revision, count: u32) {
        let index = self.index_of(stream).unwrap_or_else(|| self.add_stream(stream, None, None));
        let mut fields = Few::<30>::new();
        fields.var(u64::from(index)).var(first_revision.0).var(u64::from(count));
        self.frames.extend_from_slice(fields.bytes());
    }

    /// Lists a stream by its name: to be called at its first appearance in a segment, before its section is added.
    pub fn add_stream(&mut self, stream: StreamId, name: Option<&str>, parent: Option<(StreamId, Revision)>) -> u32 {
        let index = self.stream_count;
        let start = self.streams.len();
        put_stream(&mut self.streams, name, parent);
        self.stream_entries.push((stream, start..self.streams.len()));
        self.stream_count += 1;
        self.ids.insert(stream, index);
        self.recent = Some((stream, index));
        index
    }

    /// Lists a stream at its first appearance in a segment; its name is given later, before encoding.
    pub fn add_unnamed_stream(&mut self, stream: StreamId) -> u32 {
        let index = self.add_stream(stream, None, None);
        self.unnamed.push(index);
        index
    }

    /// The streams whose names are still to be given.
    pub fn unnamed(&self) -> impl Iterator<Item = StreamId> {
        self.unnamed.iter().map(|index| self.stream_entries[*index as usize].0)
    }

    /// Gives the streams their names that were listed without, and their parents where they have one; `None`: nobody knows it.
    pub fn name_all(&mut self, mut named: impl FnMut(StreamId) -> Option<NamedStream>) {
        for index in std::mem::take(&mut self.unnamed) {
            let (stream, range) = &mut self.stream_entries[index as usize];
            if let Some(NamedStream { name, parent }) = named(*stream) {
                let start = self.streams.len();
                put_stream(&mut self.streams, Some(&name), parent);
                *range = start..self.streams.len();
            }
        }
    }

    /// The index of a stream that is listed already.
    fn index_of(&mut self, stream: StreamId) -> Option<u32> {
        if let Some((_, index)) = self.recent.filter(|(recent, _)| *recent == stream) {
            return Some(index);
        }
        let index = self.ids.get(&stream).copied()?;
        self.recent = Some((stream, index));
        Some(index)
    }

    /// How many frames were added.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.frame_count
    }

    /// An upper bound of the length of the frame that [`encode`](Self::encode) will make, in bytes.
    #[must_use]
    pub fn encoded_len_max(&self) -> u64 {
        // Flags move to the front, and each of the up to two distances takes at most ten bytes.
        let names = self.unnamed.len() * (limits::STREAM_NAME_BYTES_MAX + 24);
        let streams = self.streams.len() + self.stream_count as usize * 20 + names;
        (FRAME_HEADER_BYTES + 80 + streams + self.frames.len()) as u64 + 16
    }

    /// An upper bound of how much a batch frame of `sections` sections adds to [`encoded_len_max`](Self::encoded_len_max),
    /// were all of its streams new to the segment with names of `name_bytes` in sum.
    #[must_use]
    pub fn growth_max(sections: usize, name_bytes: usize) -> u64 {
        (32 + sections * 80 + name_bytes) as u64
    }

    /// Appends the frame of the index block that stands at `position`, header still to be finished; returns the length
    /// of its plain part.
    pub fn encode(&self, out: &mut Vec<u8>, position: Position, links: IndexLinks) -> usize {
        let start = out.len();
        frame::begin(out);
        let plain = out.len();
        let distance = |place: Position| if place == Position::ZERO { 0 } else { (position.0 - place.0) / 8 };
        put_var(out, links.number);
        put_var(out, (position.0 - links.stretch.0) / 8);
        put_var(out, distance(links.previous));
        put_var(out, distance(links.jump));
        out.extend_from_slice(&links.max_recorded_at.to_le_bytes());
        put_var(out, u64::from(self.stream_count));
        for (stream, range) in &self.stream_entries {
            let stored = &self.streams[range.clone()];
            let (flags, stored) = stored.split_last().expect("an entry ends with its flags");
            out.extend_from_slice(Few::<11>::new().u8(*flags).var(position.0 - stream.0).bytes());
            let mut wire = Wire::new(stored);
            if flags & INDEX_NAMED != 0 {
                let name = wire.bytes().expect("the builder wrote it");
                put_bytes(out, name);
            }
            if flags & INDEX_FORKED != 0 {
                let parent = wire.var().expect("the builder wrote it");
                let revision = wire.var().expect("the builder wrote it");
                put_var(out, position.0 - parent);
                put_var(out, revision);
            }
        }
        put_var(out, u64::from(self.frame_count));
        out.extend_from_slice(&self.frames);
        put_var(out, 0); // no extensions
        let plain_len = out.len() - plain;
        frame::pad(out, start);
        debug_assert!((out.len() - start) as u64 <= self.encoded_len_max());
        plain_len
    }

    /// Forgets everything: the next block begins.
    pub fn clear(&mut self) {
        self.streams.clear();
        self.stream_count = 0;
        self.ids.clear();
        self.recent = None;
        self.stream_entries.clear();
        self.unnamed.clear();
        self.frames.clear();
        self.frame_count = 0;
    }

    /// Whether the stream is listed already.
    #[must_use]
    pub fn lists(&mut self, stream: StreamId) -> bool {
        self.index_of(stream).is_some()
    }
}

/// What is kept of a stream until the block is encoded.
fn put_stream(out: &mut Vec<u8>, name: Option<&str>, parent: Option<(StreamId, Revision)>) {
    if let Some(name) = name {
        put_bytes(out, name.as_bytes());
    }
    if let Some((parent, revision)) = parent {
        put_var(out, parent.0);
        put_var(out, revision.0);
    }
    out.push(if name.is_some() { INDEX_NAMED } else { 0 } | if parent.is_some() { INDEX_FORKED } else { 0 });
}

/// The older block that block `number` links to besides the one before it: the skew-binary link, by which any older block
/// is reached in a logarithmic number of steps.
///
/// The number is written as a sum of numbers 2^k − 1, the greatest first; the link leads back by the last of them.
#[must_use]
pub fn jump_target(number: u64) -> Option<u64> {
    let mut left = number;
    let mut last = None;
    while left > 0 {
        let digits = 63 - left.saturating_add(1).leading_zeros();
        let term = (1u64 << digits) - 1;
        left -= term;
        last = Some(term);
    }
    last.map(|term| number - term)
}

/// A decoded index block.
#[derive(Clone, Debug)]
pub struct IndexBlock<'a> {
    /// Its links.
    pub links: IndexLinks,
    /// The streams that appear in its stretch.
    pub streams: Vec<IndexedStream<'a>>,
    position: Position,
    frames: Wire<'a>,
    frame_count: u64,
}

/// A frame as an index block lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedFrame {
    /// Where it begins.
    pub position: Position,
    /// Its length, in bytes.
    pub len: u64,
    /// Its kind.
    pub kind: u8,
    /// Its sections, where it is a batch.
    pub sections: SmallVec<[IndexedSection; 1]>,
}

impl<'a> IndexBlock<'a> {
    /// What the frame says. Allocates one entry a listed stream, of which each takes two bytes at least.
    pub fn decode(frame: &Frame<'a>) -> Result<IndexBlock<'a>, Fault> {
        if frame.kind() != KIND_INDEX_BLOCK {
            return Err(Fault::bad(format!("a frame of kind {} is no index block", frame.kind())));
        }
        let position = frame.position;
        let mut wire = Wire::new(frame.plain());
        let number = wire.var()?;
        let mut place = |what: &str| {
            let distance =
                wire.var()?.checked_mul(8).ok_or_else(|| Fault::bad(format!("{what} lies before the log")))?;
            back(position.0, distance, what).map(|found| if distance == 0 { Position::ZERO } else { Position(found) })
        };
        let stretch = match place("the stretch of an index block")? {
            Position::ZERO => position, // an empty one
            stretch => stretch,
        };
        let previous = place("the index block before")?;
        let jump = place("the older index block")?;
        let links = IndexLinks { number, stretch, previous, jump, max_recorded_at: wire.i64()? };
        let count = wire.var_up_to(wire.left() as u64 / 2, "the number of streams")?;
        let mut streams = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let flags = wire.u8()?;
            if flags & STREAM_REQUIRED & !(INDEX_NAMED | INDEX_FORKED) != 0 {
                return Err(Fault::Unsupported(format!("flags {flags:#x} of a stream in an index block")));
            }
            let stream = StreamId(back(position.0, wire.var()?, "a stream")?);
            let name = match flags & INDEX_NAMED {
                0 => None,
                _ => Some(text(wire.bytes()?, "a stream's name")?),
            };
            let parent = match flags & INDEX_FORKED {
                0 => None,
                _ => Some((StreamId(back(position.0, wire.var()?, "a stream's parent")?), Revision(wire.var()?))),
            };
            streams.push(IndexedStream { stream, name, parent });
        }
        let frame_count = wire.var_up_to(wire.left() as u64 / 2, "the number of frames")?;
        Ok(IndexBlock { links, streams, position, frames: wire, frame_count })
    }

    /// Hands out the frames of the stretch in log order, then checks that they end where the block begins.
    pub fn frames(&self, mut each: impl FnMut(IndexedFrame)) -> Result<(), Fault> {
        let mut wire = self.frames.clone();
        let mut at = self.links.stretch;
        for _ in 0..self.frame_count {
            let len = wire.var_up_to(limits::FRAME_BYTES_MAX / 8, "the length of a frame")? * 8;
            let shape = wire.var()?;
            let mut frame = IndexedFrame { position: at, len, kind: KIND_BATCH, sections: SmallVec::new() };
            if shape == 0 {
                frame.kind = wire.u8()?;
            } else {
                for _ in 1..shape {
                    let stream = wire
                        .var_up_to((self.streams.len() as u64).saturating_sub(1), "the stream of a section")?
                        as u32;
                    let first_revision = Revision(wire.var()?);
                    let count = wire.var_up_to(limits::BATCH_EVENTS_MAX as u64, "the number of events")? as u32;
                    if stream as usize >= self.streams.len() {
                        return Err(Fault::bad("a section of a stream that is not listed"));
                    }
                    frame.sections.push(IndexedSection { stream, first_revision, count });
                }
            }
            at = Position(at.0 + len);
            if len == 0 || at > self.position {
                return Err(Fault::bad("the frames of an index block lead beyond it"));
            }
            each(frame);
        }
        if at != self.position {
            return Err(Fault::bad(format!(
                "the frames of an index block end at {at}, it stands at {}",
                self.position
            )));
        }
        for _ in 0..wire.var()? {
            wire.u8()?;
            wire.bytes()?;
        }
        wire.end("an index block")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Seeds;
    use crate::format::frame::FrameHeader;
    use crate::ids::{BatchId, Salt};

    const PLACE: Position = Position(200_000);

    fn frame_of(builder: &IndexBlockBuilder, links: IndexLinks) -> Vec<u8> {
        let mut out = Vec::new();
        let plain = builder.encode(&mut out, PLACE, links);
        let header = FrameHeader {
            kind: KIND_INDEX_BLOCK,
            flags: 0,
            takeover: 0,
            frame_len: 0,
            plain_len: 0,
            witness: None,
            events: 0,
            previous_check: 0,
            first_number: 0,
            recorded_at: 0,
            batch: BatchId::default(),
            frame_check: 0,
        };
        frame::finish(&mut out, plain, &header, Seeds::new(Salt([1; 16])), PLACE);
        out
    }

    fn sample() -> (IndexBlockBuilder, IndexLinks) {
        let mut builder = IndexBlockBuilder::default();
        builder.add_batch_frame(160, 2);
        builder.add_stream(StreamId(199_000), Some("new"), None);
        builder.add_section(StreamId(199_000), Revision(0), 3);
        builder.add_section(StreamId(5), Revision(100), 1);
        builder.add_other_frame(frame::KIND_SEAL, 168);
        builder.add_stream(StreamId(7), Some("fork"), Some((StreamId(5), Revision(9))));
        builder.add_batch_frame(80, 1);
        builder.add_section(StreamId(7), Revision(10), 1);
        let links = IndexLinks {
            number: 3,
            stretch: Position(PLACE.0 - 408),
            previous: Position(190_000),
            jump: Position::ZERO,
            max_recorded_at: 6,
        };
        (builder, links)
    }

    #[test]
    fn an_index_block_says_what_was_added() {
        let (builder, links) = sample();
        let bytes = frame_of(&builder, links);
        assert!(bytes.len() as u64 <= builder.encoded_len_max());
        let frame = Frame::decode(&bytes, Seeds::new(Salt([1; 16])), PLACE).expect("decodes");
        let block = IndexBlock::decode(&frame).expect("decodes");
        assert_eq!(block.links, links);
        let stream = |stream, name, parent| IndexedStream { stream: StreamId(stream), name, parent };
        assert_eq!(
            block.streams,
            [
                stream(199_000, Some("new"), None),
                stream(5, None, None),
                stream(7, Some("fork"), Some((StreamId(5), Revision(9))))
            ]
        );
        let mut frames = Vec::new();
        block.frames(|frame| frames.push(frame)).expect("adds up");
        let lens: Vec<_> =
            frames.iter().map(|frame| (frame.position.0, frame.len, frame.kind, frame.sections.len())).collect();
        assert_eq!(
            lens,
            [
                (PLACE.0 - 408, 160, KIND_BATCH, 2),
                (PLACE.0 - 248, 168, frame::KIND_SEAL, 0),
                (PLACE.0 - 80, 80, KIND_BATCH, 1)
            ]
        );
        assert_eq!(frames[0].sections[1], IndexedSection { stream: 1, first_revision: Revision(100), count: 1 });
    }

    #[test]
    fn p07_blocks_whose_frames_do_not_add_up_are_refused() {
        let (builder, links) = sample();
        for stretch in [PLACE.0 - 416, PLACE.0 - 400, 8] {
            let bytes = frame_of(&builder, IndexLinks { stretch: Position(stretch), ..links });
            let frame = Frame::decode(&bytes, Seeds::new(Salt([1; 16])), PLACE).expect("decodes");
            let block = IndexBlock::decode(&frame).expect("decodes");
            assert!(matches!(block.frames(|_| {}), Err(Fault::Bad(_))), "{stretch}");
        }
    }

    #[test]
    fn jump_links_reach_the_first_block_in_few_steps() {
        let first: Vec<_> = (1..=10).map(|number| jump_target(number).expect("not the first")).collect();
        assert_eq!(first, [0, 1, 0, 3, 4, 3, 0, 7, 8, 7]);
        for number in [0u64, 1, 5, 255, 256, 1 << 40] {
            let (mut at, mut steps) = (number, 0);
            while let Some(next) = jump_target(at) {
                at = next;
                steps += 1;
            }
            assert!(at == 0 && steps <= 80);
        }
    }
}
