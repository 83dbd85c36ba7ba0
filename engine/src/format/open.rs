//! The open frame: how a segment came to be, and where the one before it ended.

use super::Fault;
use super::frame::{self, FRAME_HEADER_BYTES, Frame, FrameHeader, KIND_OPEN};
use super::segment_header::{FIRST_FRAME_OFFSET, HEAD_BLOCK_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::wire::Wire;
use crate::checksum::Seeds;
use crate::ids::{BatchId, BootId, FilePlace, Incarnation, Position, Salt, SegmentOrdinal};

/// Length of the open frame, in bytes: it fills the head block.
pub const OPEN_FRAME_BYTES: usize = HEAD_BLOCK_BYTES - SEGMENT_HEADER_BYTES;
/// Length of the fixed part of its plain part, in bytes.
pub const OPEN_FIXED_BYTES: usize = 160;

/// Why a segment was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenReason {
    /// The first of the store.
    First,
    /// The one before was full.
    Full,
    /// The store was opened and its end was not certain.
    Takeover,
    /// For a frame that fits no ordinary segment.
    Jumbo,
    /// After a failed write or sync.
    IoError,
    /// The store is a copy or was restored.
    NewIncarnation,
    /// The store was opened by force.
    Forced,
    /// A reason of a later version.
    Other(u8),
}

impl OpenReason {
    const KNOWN: [OpenReason; 7] = [
        OpenReason::First,
        OpenReason::Full,
        OpenReason::Takeover,
        OpenReason::Jumbo,
        OpenReason::IoError,
        OpenReason::NewIncarnation,
        OpenReason::Forced,
    ];

    fn number(self) -> u8 {
        match self {
            OpenReason::Other(number) => number,
            known => {
                Self::KNOWN.iter().position(|reason| *reason == known).expect("every known reason is listed") as u8
            }
        }
    }

    fn from_number(number: u8) -> OpenReason {
        Self::KNOWN.get(usize::from(number)).copied().unwrap_or(OpenReason::Other(number))
    }
}

/// The segment before, as the one behind it states it. Everything between `end` and the next segment is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its ordinal.
    pub ordinal: SegmentOrdinal,
    /// Where it ended.
    pub end: Position,
    /// Its last frame.
    pub last_frame: Position,
    /// Its last index block; zero where it has none.
    pub last_index_block: Position,
    /// Its salt.
    pub salt: Salt,
}

/// What an open frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFrame {
    /// This life of the store.
    pub incarnation: Incarnation,
    /// Where the identity file lay.
    pub identity_place: FilePlace,
    /// The run of the kernel that wrote it.
    pub boot: BootId,
    /// The segment before; `None` for the first.
    pub predecessor: Option<Predecessor>,
    /// The newest seal frame; zero where there is none.
    pub last_seal: Position,
    /// Why it was begun.
    pub reason: OpenReason,
    /// Greatest `recorded_at` of the log before it; `i64::MIN` where there is none.
    pub max_recorded_at: i64,
    /// Stored check of the last frame before; zero for the first segment.
    pub previous_check: u64,
    /// How many events are in the log before it.
    pub first_number: u64,
    /// Up to where the log was durable when it was written.
    pub witness: Option<Position>,
    /// When it was written.
    pub recorded_at: i64,
}

/// A head block that proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadBlock {
    /// The segment header.
    pub header: SegmentHeader,
    /// The open frame.
    pub open: OpenFrame,
    /// Stored check of the open frame: what the first frame behind it must carry.
    pub open_check: u64,
}

impl HeadBlock {
    /// Where frames begin.
    #[must_use]
    pub fn first_frame(header: &SegmentHeader) -> Position {
        Position(header.ordinal.0 * header.store.segment_bytes + FIRST_FRAME_OFFSET)
    }

    /// The bytes of both copies, to stand at the start of the file, and the open frame's check.
    #[must_use]
    pub fn encode(header: &SegmentHeader, open: &OpenFrame) -> (Vec<u8>, u64) {
        let mut block = Vec::with_capacity(2 * HEAD_BLOCK_BYTES);
        block.extend_from_slice(&header.encode());
        let position = open_position(header);
        block.resize(block.len() + FRAME_HEADER_BYTES, 0);
        let plain_start = block.len();
        block.extend_from_slice(&open.incarnation.0);
        block.extend_from_slice(&open.identity_place.file_system.to_le_bytes());
        block.extend_from_slice(&open.identity_place.inode.to_le_bytes());
        block.extend_from_slice(&open.identity_place.birth.to_le_bytes());
        block.extend_from_slice(&open.boot.0);
        let none = Predecessor {
            ordinal: SegmentOrdinal(u64::MAX),
            end: Position::ZERO,
            last_frame: Position::ZERO,
            last_index_block: Position::ZERO,
            salt: Salt::default(),
        };
        let before = open.predecessor.unwrap_or(none);
        for word in [before.ordinal.0, before.end.0, before.last_frame.0, before.last_index_block.0] {
            block.extend_from_slice(&word.to_le_bytes());
        }
        block.extend_from_slice(&before.salt.0);
        block.extend_from_slice(&open.last_seal.0.to_le_bytes());
        block.push(open.reason.number());
        block.extend_from_slice(&[0; 7]);
        block.extend_from_slice(&open.max_recorded_at.to_le_bytes());
        block.extend_from_slice(&[0; 32]);
        debug_assert_eq!(block.len() - plain_start, OPEN_FIXED_BYTES);
        block.push(0); // no extensions
        let plain_len = block.len() - plain_start;
        block.resize(HEAD_BLOCK_BYTES, 0);
        let frame_header = FrameHeader {
            kind: KIND_OPEN,
            flags: 0,
            takeover: 0,
            frame_len: 0,
            plain_len: 0,
            witness: open.witness,
            events: 0,
            previous_check: open.previous_check,
            first_number: open.first_number,
            recorded_at: open.recorded_at,
            batch: BatchId::default(),
            frame_check: 0,
        };
        let seeds = Seeds::new(header.salt);
        let check = frame::finish(&mut block[SEGMENT_HEADER_BYTES..], plain_len, &frame_header, seeds, position);
        block.extend_from_within(..);
        (block, check)
    }

    /// The value of one copy of a head block.
    pub fn decode(block: &[u8]) -> Result<HeadBlock, Fault> {
        let block = block.get(..HEAD_BLOCK_BYTES).ok_or(Fault::Short)?;
        let header = SegmentHeader::decode(block)?;
        let seeds = Seeds::new(header.salt);
        let frame = Frame::decode(&block[SEGMENT_HEADER_BYTES..], seeds, open_position(&header))?;
        frame.prove(seeds)?;
        let FrameHeader { kind, frame_len, takeover, .. } = frame.header();
        if kind != KIND_OPEN || frame_len as usize != OPEN_FRAME_BYTES || takeover != 0 {
            return Err(Fault::bad(format!(
                "a frame of kind {kind} and {frame_len} bytes stands in place of the open frame"
            )));
        }
        frame.is_known()?;
        let open = decode_plain(&frame, &header)?;
        Ok(HeadBlock { header, open, open_check: frame.frame_check() })
    }
}

/// Where the open frame of a segment begins.
#[must_use]
pub fn open_position(header: &SegmentHeader) -> Position {
    Position(header.ordinal.0 * header.store.segment_bytes + SEGMENT_HEADER_BYTES as u64)
}

fn decode_plain(frame: &Frame<'_>, header: &SegmentHeader) -> Result<OpenFrame, Fault> {
    let mut wire = Wire::new(frame.plain());
    let incarnation = Incarnation(wire.array()?);
    let identity_place = FilePlace { file_system: wire.u64()?, inode: wire.u64()?, birth: wire.i64()? };
    let boot = BootId(wire.array()?);
    let before = Predecessor {
        ordinal: SegmentOrdinal(wire.u64()?),
        end: Position(wire.u64()?),
        last_frame: Position(wire.u64()?),
        last_index_block: Position(wire.u64()?),
        salt: Salt(wire.array()?),
    };
    let last_seal = Position(wire.u64()?);
    let reason = OpenReason::from_number(wire.u8()?);
    wire.zeros(7, "the reserved part of the open frame")?;
    let max_recorded_at = wire.i64()?;
    wire.zeros(32, "the reserved part of the open frame")?;
    for _ in 0..wire.var()? {
        wire.u8()?;
        wire.bytes()?;
    }
    wire.end("the open frame")?;
    let predecessor = (before.ordinal.0 != u64::MAX).then_some(before);
    let base = header.ordinal.0 * header.store.segment_bytes;
    match predecessor {
        None if header.ordinal.0 != 0 => return Err(Fault::bad("only the first segment has no predecessor")),
        Some(before) => {
            let first = before
                .ordinal
                .0
                .checked_mul(header.store.segment_bytes)
                .and_then(|base| base.checked_add(FIRST_FRAME_OFFSET));
            if before.ordinal >= header.ordinal || before.end.0 > base || first.is_none_or(|first| before.end.0 < first)
            {
                return Err(Fault::bad(format!("segment {} cannot have ended at {}", before.ordinal, before.end)));
            }
            if before.last_frame >= before.end || before.last_index_block >= before.end {
                return Err(Fault::bad("the predecessor's last frame lies behind its end"));
            }
        }
        None => {}
    }
    Ok(OpenFrame {
        incarnation,
        identity_place,
        boot,
        predecessor,
        last_seal,
        reason,
        max_recorded_at,
        previous_check: frame.previous_check(),
        first_number: frame.first_number(),
        witness: frame.witness(),
        recorded_at: frame.recorded_at(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::format::store_block::StoreBlock;
    use crate::ids::StoreId;

    pub(crate) fn sample() -> (SegmentHeader, OpenFrame) {
        let store = StoreBlock {
            minor: 0,
            compatible: 0,
            read_only_compatible: 0,
            incompatible: 0,
            store: StoreId([3; 16]),
            segment_bytes: 16 << 10,
            index_stride_bytes: 4 << 10,
            created_at: 12,
        };
        let header = SegmentHeader { ordinal: SegmentOrdinal(3), span: 1, salt: Salt([5; 16]), created_at: 4, store };
        let before = Predecessor {
            ordinal: SegmentOrdinal(2),
            end: Position(2 * 16384 + 9000),
            last_frame: Position(2 * 16384 + 8800),
            last_index_block: Position::ZERO,
            salt: Salt([6; 16]),
        };
        let open = OpenFrame {
            incarnation: Incarnation([1; 16]),
            identity_place: FilePlace { file_system: 1, inode: 2, birth: 3 },
            boot: BootId([4; 16]),
            predecessor: Some(before),
            last_seal: Position::ZERO,
            reason: OpenReason::Takeover,
            max_recorded_at: 99,
            previous_check: 1234,
            first_number: 17,
            witness: Some(Position(2 * 16384 + 8800)),
            recorded_at: 100,
        };
        (header, open)
    }

    /// [SEG-2]
    #[test]
    fn a_head_block_is_written_twice_and_either_copy_serves() {
        let (header, open) = sample();
        let (bytes, check) = HeadBlock::encode(&header, &open);
        assert_eq!(bytes.len() as u64, FIRST_FRAME_OFFSET);
        for copy in bytes.chunks(HEAD_BLOCK_BYTES) {
            assert_eq!(HeadBlock::decode(copy), Ok(HeadBlock { header, open, open_check: check }));
        }
    }

    #[test]
    fn p05_every_flipped_bit_of_a_head_block_is_found() {
        let (header, open) = sample();
        let (bytes, _) = HeadBlock::encode(&header, &open);
        for bit in 0..HEAD_BLOCK_BYTES * 8 {
            let mut block = bytes[..HEAD_BLOCK_BYTES].to_vec();
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(HeadBlock::decode(&block).is_err(), "bit {bit}");
        }
    }

    /// [OPN-2] [OPN-3]
    #[test]
    fn p07_a_predecessor_that_cannot_be_is_refused() {
        let (header, open) = sample();
        let before = open.predecessor.expect("has one");
        let bad = [
            Predecessor { ordinal: SegmentOrdinal(3), ..before },
            Predecessor { end: Position(3 * 16384 + 8), ..before },
            Predecessor { end: Position(2 * 16384), ..before },
            Predecessor { last_frame: before.end, ..before },
            Predecessor { ordinal: SegmentOrdinal(u64::MAX - 1), ..before },
        ];
        for before in bad {
            let (bytes, _) = HeadBlock::encode(&header, &OpenFrame { predecessor: Some(before), ..open });
            assert!(matches!(HeadBlock::decode(&bytes), Err(Fault::Bad(_))), "{before:?}");
        }
        let (bytes, _) = HeadBlock::encode(&header, &OpenFrame { predecessor: None, ..open });
        assert!(matches!(HeadBlock::decode(&bytes), Err(Fault::Bad(_))));
    }
}
