//! The stream directory: what its runs and checkpoints say, as bytes.
//!
//! A *run* covers a stretch of the log and is the payload of a side file: tables of rows of fixed size, one behind the
//! other, each in the order that [`RunTable`] gives them. A *checkpoint* has no payload; its head says where the log stood,
//! and which runs cover everything before.

use super::Fault;
use super::wire::Wire;
use crate::ids::{BatchId, Incarnation, Position, Revision, Salt, SegmentOrdinal, StreamId};
use crate::limits::NUMBER_MAX;

/// Length of the head of a run, in bytes.
pub const RUN_HEAD_BYTES: usize = 64;
/// The most runs that a checkpoint names.
pub const RUNS_MAX: usize = 64;

/// The tables of a run, in the order in which they stand in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunTable {
    /// [`NameRow`]s of the streams that were made in the stretch, by identity.
    Names,
    /// Their names, one behind the other.
    NameBytes,
    /// Numbers of rows of `Names`, u32, in the order of the names' bytes.
    NameOrder,
    /// [`HeadRow`]s of the streams that have a section in the stretch, by identity.
    Heads,
    /// [`RetryRow`]s of the batches in the stretch with an id given by the caller, in log order.
    Retries,
    /// Numbers of rows of `Retries`, u32, in the order of the ids' bytes, and for the same id of the places.
    RetryOrder,
    /// [`SegmentRow`]s of the segments that ended in the stretch, in log order.
    Segments,
}

/// What the head of a run says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RunHead {
    /// It covers the frames that begin at `from` or behind it …
    pub from: Position,
    /// … and before this place.
    pub to: Position,
    /// Rows of [`RunTable::Names`].
    pub names: u32,
    /// Bytes of [`RunTable::NameBytes`].
    pub name_bytes: u64,
    /// Rows of [`RunTable::Heads`].
    pub heads: u32,
    /// Rows of [`RunTable::Retries`].
    pub retries: u32,
    /// Rows of [`RunTable::Segments`].
    pub segments: u32,
}

impl RunHead {
    /// The head as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RUN_HEAD_BYTES);
        for word in [self.from.0, self.to.0, self.name_bytes] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for count in [self.names, self.heads, self.retries, self.segments] {
            out.extend_from_slice(&count.to_le_bytes());
        }
        out.resize(RUN_HEAD_BYTES, 0);
        out
    }

    /// What the head says; `payload_len` is what its file says of itself.
    pub fn decode(bytes: &[u8], payload_len: u64) -> Result<RunHead, Fault> {
        let mut wire = Wire::new(bytes);
        let (from, to, name_bytes) = (Position(wire.u64()?), Position(wire.u64()?), wire.u64()?);
        let (names, heads, retries, segments) = (wire.u32()?, wire.u32()?, wire.u32()?, wire.u32()?);
        wire.zeros(RUN_HEAD_BYTES - 40, "the reserved part of a run's head")?;
        wire.end("the head of a run")?;
        let head = RunHead { from, to, names, name_bytes, heads, retries, segments };
        if from >= to || to.0 > NUMBER_MAX || name_bytes > payload_len || head.payload_len() != payload_len {
            return Err(Fault::bad(format!("a run with a payload of {payload_len} bytes says that it has others")));
        }
        Ok(head)
    }

    /// Where a table begins in the payload.
    #[must_use]
    pub fn table_at(&self, table: RunTable) -> u64 {
        let lens = [
            (RunTable::Names, u64::from(self.names) * NAME_ROW_BYTES),
            (RunTable::NameBytes, self.name_bytes.next_multiple_of(8)),
            (RunTable::NameOrder, (u64::from(self.names) * ORDER_BYTES).next_multiple_of(8)),
            (RunTable::Heads, u64::from(self.heads) * HEAD_ROW_BYTES),
            (RunTable::Retries, u64::from(self.retries) * RETRY_ROW_BYTES),
            (RunTable::RetryOrder, (u64::from(self.retries) * ORDER_BYTES).next_multiple_of(8)),
        ];
        lens.iter().take_while(|(other, _)| *other != table).map(|(_, len)| len).sum()
    }

    /// Length of the payload, in bytes.
    #[must_use]
    pub fn payload_len(&self) -> u64 {
        self.table_at(RunTable::Segments) + u64::from(self.segments) * SEGMENT_ROW_BYTES
    }
}

/// Length of an entry of the two orders, in bytes.
pub const ORDER_BYTES: u64 = 4;
/// Length of a [`NameRow`], in bytes.
pub const NAME_ROW_BYTES: u64 = 32;
/// Length of a [`HeadRow`], in bytes.
pub const HEAD_ROW_BYTES: u64 = 32;
/// Length of a [`RetryRow`], in bytes.
pub const RETRY_ROW_BYTES: u64 = 24;
/// Length of a [`SegmentRow`], in bytes.
pub const SEGMENT_ROW_BYTES: u64 = 64;

/// A stream that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRow {
    /// The stream.
    pub stream: StreamId,
    /// The first revision of its own: above 0 for a fork.
    pub first: Revision,
    /// Where its name begins in [`RunTable::NameBytes`].
    pub name_at: u64,
    /// Length of the name, in bytes.
    pub name_len: u32,
}

impl NameRow {
    /// The row as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; NAME_ROW_BYTES as usize] {
        let mut row = [0; NAME_ROW_BYTES as usize];
        row[..8].copy_from_slice(&self.stream.0.to_le_bytes());
        row[8..16].copy_from_slice(&self.first.0.to_le_bytes());
        row[16..24].copy_from_slice(&self.name_at.to_le_bytes());
        row[24..28].copy_from_slice(&self.name_len.to_le_bytes());
        row
    }

    /// What a row says.
    pub fn decode(bytes: &[u8]) -> Result<NameRow, Fault> {
        let mut wire = Wire::new(bytes);
        let (stream, first) = (StreamId(wire.u64()?), Revision(wire.u64()?));
        Ok(NameRow { stream, first, name_at: wire.u64()?, name_len: wire.u32()? })
    }
}

/// Where a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadRow {
    /// The stream.
    pub stream: StreamId,
    /// Its last revision.
    pub head: Revision,
    /// Position of the event with that revision.
    pub head_position: Position,
    /// The frame that holds it.
    pub last_place: Position,
}

impl HeadRow {
    /// The row as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEAD_ROW_BYTES as usize] {
        let mut row = [0; HEAD_ROW_BYTES as usize];
        let words = [self.stream.0, self.head.0, self.head_position.0, self.last_place.0];
        for (at, word) in row.chunks_exact_mut(8).zip(words) {
            at.copy_from_slice(&word.to_le_bytes());
        }
        row
    }

    /// What a row says.
    pub fn decode(bytes: &[u8]) -> Result<HeadRow, Fault> {
        let mut wire = Wire::new(bytes);
        Ok(HeadRow {
            stream: StreamId(wire.u64()?),
            head: Revision(wire.u64()?),
            head_position: Position(wire.u64()?),
            last_place: Position(wire.u64()?),
        })
    }
}

/// A batch with an id given by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryRow {
    /// The id.
    pub batch: BatchId,
    /// Its frame.
    pub frame: Position,
}

impl RetryRow {
    /// The row as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RETRY_ROW_BYTES as usize] {
        let mut row = [0; RETRY_ROW_BYTES as usize];
        row[..16].copy_from_slice(&self.batch.0);
        row[16..].copy_from_slice(&self.frame.0.to_le_bytes());
        row
    }

    /// What a row says.
    pub fn decode(bytes: &[u8]) -> Result<RetryRow, Fault> {
        let mut wire = Wire::new(bytes);
        Ok(RetryRow { batch: BatchId(wire.array()?), frame: Position(wire.u64()?) })
    }
}

/// A segment that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// The segment.
    pub ordinal: SegmentOrdinal,
    /// Where the log left it.
    pub end: Position,
    /// Its last index block; zero where it has none.
    pub last_index_block: Position,
    /// How many ordinals its file takes.
    pub span: u32,
    /// Its salt.
    pub salt: Salt,
    /// The life of the store in which it was begun.
    pub incarnation: Incarnation,
}

impl SegmentRow {
    /// The row as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_ROW_BYTES as usize] {
        let mut row = [0; SEGMENT_ROW_BYTES as usize];
        row[..8].copy_from_slice(&self.ordinal.0.to_le_bytes());
        row[8..16].copy_from_slice(&self.end.0.to_le_bytes());
        row[16..24].copy_from_slice(&self.last_index_block.0.to_le_bytes());
        row[24..28].copy_from_slice(&self.span.to_le_bytes());
        row[32..48].copy_from_slice(&self.salt.0);
        row[48..].copy_from_slice(&self.incarnation.0);
        row
    }

    /// What a row says.
    pub fn decode(bytes: &[u8]) -> Result<SegmentRow, Fault> {
        let mut wire = Wire::new(bytes);
        let (ordinal, end, last_index_block) =
            (SegmentOrdinal(wire.u64()?), Position(wire.u64()?), Position(wire.u64()?));
        let span = wire.u32()?;
        wire.zeros(4, "the reserved part of a segment's row")?;
        let (salt, incarnation) = (Salt(wire.array()?), Incarnation(wire.array()?));
        Ok(SegmentRow { ordinal, end, last_index_block, span, salt, incarnation })
    }
}

/// A run, as a checkpoint names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunName {
    /// The number in the name of its file.
    pub number: u64,
    /// It covers the frames that begin at `from` or behind it …
    pub from: Position,
    /// … and before this place.
    pub to: Position,
    /// The check of its header.
    pub check: u64,
}

/// Where the log stood behind an index block, or behind the head block of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Rises with every checkpoint; the higher valid one counts.
    pub generation: u64,
    /// This life of the store.
    pub incarnation: Incarnation,
    /// The place: everything before it was durable and is covered by the runs.
    pub at: Position,
    /// The frame that ends there.
    pub last_frame: Position,
    /// Its stored check.
    pub last_check: u64,
    /// The last index block of the segment before the place; zero where there is none.
    pub last_index_block: Position,
    /// The segment that holds the place.
    pub segment: SegmentOrdinal,
    /// Its salt.
    pub salt: Salt,
    /// Global number of the next event.
    pub next_number: u64,
    /// Greatest `recorded_at` before.
    pub max_recorded_at: i64,
    /// The highest takeover in the segment before.
    pub takeover: u16,
    /// The newest seal before; zero where there is none.
    pub last_seal: Position,
    /// The hash in it.
    pub seal_hash: [u8; 32],
    /// The first segment that is not sealed.
    pub next_to_seal: SegmentOrdinal,
    /// How many streams there were.
    pub streams: u64,
    /// Bytes in coded sections, before and after coding.
    pub coded: (u64, u64),
    /// The runs that cover the log before, oldest first, without a gap.
    pub runs: Vec<RunName>,
}

impl Checkpoint {
    /// The head of its side file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(240 + self.runs.len() * 32);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.incarnation.0);
        for word in [
            self.at.0,
            self.last_frame.0,
            self.last_check,
            self.last_index_block.0,
            self.segment.0,
            self.next_number,
            self.last_seal.0,
            self.next_to_seal.0,
            self.streams,
            self.coded.0,
            self.coded.1,
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.max_recorded_at.to_le_bytes());
        out.extend_from_slice(&self.salt.0);
        out.extend_from_slice(&self.seal_hash);
        out.extend_from_slice(&self.takeover.to_le_bytes());
        out.extend_from_slice(&(self.runs.len() as u16).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for run in &self.runs {
            for word in [run.number, run.from.0, run.to.0, run.check] {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
        out
    }

    /// What the head of a checkpoint says.
    pub fn decode(bytes: &[u8]) -> Result<Checkpoint, Fault> {
        let mut wire = Wire::new(bytes);
        let generation = wire.u64()?;
        let incarnation = Incarnation(wire.array()?);
        let (at, last_frame, last_check) = (Position(wire.u64()?), Position(wire.u64()?), wire.u64()?);
        let (last_index_block, segment) = (Position(wire.u64()?), SegmentOrdinal(wire.u64()?));
        let (next_number, last_seal) = (wire.u64()?, Position(wire.u64()?));
        let (next_to_seal, streams) = (SegmentOrdinal(wire.u64()?), wire.u64()?);
        let coded = (wire.u64()?, wire.u64()?);
        let max_recorded_at = wire.i64()?;
        let salt = Salt(wire.array()?);
        let seal_hash = wire.array()?;
        let (takeover, count) = (wire.u16()?, wire.u16()?);
        wire.zeros(4, "the reserved part of a checkpoint")?;
        if usize::from(count) > RUNS_MAX {
            return Err(Fault::bad(format!("a checkpoint names {count} runs, more than {RUNS_MAX}")));
        }
        let mut runs = Vec::with_capacity(usize::from(count));
        let mut covered = Position::ZERO;
        for _ in 0..count {
            let run = RunName {
                number: wire.u64()?,
                from: Position(wire.u64()?),
                to: Position(wire.u64()?),
                check: wire.u64()?,
            };
            if run.from != covered || run.from >= run.to {
                return Err(Fault::bad("the runs of a checkpoint do not follow each other"));
            }
            covered = run.to;
            runs.push(run);
        }
        wire.end("a checkpoint")?;
        if covered != at
            || last_frame >= at
            || last_index_block > last_frame
            || at.0 > NUMBER_MAX
            || next_number > NUMBER_MAX
        {
            return Err(Fault::bad("the places of a checkpoint contradict each other"));
        }
        Ok(Checkpoint {
            generation,
            incarnation,
            at,
            last_frame,
            last_check,
            last_index_block,
            segment,
            salt,
            next_number,
            max_recorded_at,
            takeover,
            last_seal,
            seal_hash,
            next_to_seal,
            streams,
            coded,
            runs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let run = |number, from, to| RunName { number, from: Position(from), to: Position(to), check: number * 3 };
        Checkpoint {
            generation: 9,
            incarnation: Incarnation([2; 16]),
            at: Position(90_000),
            last_frame: Position(80_000),
            last_check: 5,
            last_index_block: Position(80_000),
            segment: SegmentOrdinal(1),
            salt: Salt([3; 16]),
            next_number: 700,
            max_recorded_at: -4,
            takeover: 6,
            last_seal: Position(70_000),
            seal_hash: [8; 32],
            next_to_seal: SegmentOrdinal(1),
            streams: 12,
            coded: (13, 14),
            runs: vec![run(1, 0, 60_000), run(4, 60_000, 90_000)],
        }
    }

    #[test]
    fn a_checkpoint_says_what_was_encoded() {
        let (whole, none) = (checkpoint(), Checkpoint { runs: Vec::new(), ..checkpoint() });
        assert_eq!(Checkpoint::decode(&whole.encode()), Ok(whole.clone()));
        assert!(Checkpoint::decode(&none.encode()).is_err(), "its runs do not reach it");
        let mut gap = whole.clone();
        gap.runs[1].from = Position(60_008);
        assert!(Checkpoint::decode(&gap.encode()).is_err());
        for len in 0..whole.encode().len() {
            assert!(Checkpoint::decode(&whole.encode()[..len]).is_err());
        }
    }

    #[test]
    fn a_full_checkpoint_fits_its_block() {
        let mut full = checkpoint();
        full.runs = vec![full.runs[0]; RUNS_MAX];
        assert!(full.encode().len() <= super::super::side_file::SIDE_HEAD_BYTES_MAX);
    }

    #[test]
    fn rows_and_heads_of_runs_say_what_was_encoded() {
        let head = RunHead {
            from: Position(8),
            to: Position(900),
            names: 3,
            name_bytes: 17,
            heads: 5,
            retries: 1,
            segments: 2,
        };
        assert_eq!(head.payload_len(), 3 * 32 + 24 + 16 + 5 * 32 + 24 + 8 + 2 * 64);
        assert_eq!(RunHead::decode(&head.encode(), head.payload_len()), Ok(head));
        assert!(RunHead::decode(&head.encode(), head.payload_len() + 8).is_err());
        let name = NameRow { stream: StreamId(1), first: Revision(2), name_at: 3, name_len: 4 };
        assert_eq!(NameRow::decode(&name.encode()), Ok(name));
        let row =
            HeadRow { stream: StreamId(1), head: Revision(2), head_position: Position(3), last_place: Position(4) };
        assert_eq!(HeadRow::decode(&row.encode()), Ok(row));
        let retry = RetryRow { batch: BatchId([5; 16]), frame: Position(6) };
        assert_eq!(RetryRow::decode(&retry.encode()), Ok(retry));
        let segment = SegmentRow {
            ordinal: SegmentOrdinal(1),
            end: Position(2),
            last_index_block: Position(3),
            span: 4,
            salt: Salt([5; 16]),
            incarnation: Incarnation([6; 16]),
        };
        assert_eq!(SegmentRow::decode(&segment.encode()), Ok(segment));
    }
}
