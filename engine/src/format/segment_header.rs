//! The header of a segment file, and the layout of the head block around it.

use super::Fault;
use super::store_block::{STORE_BLOCK_BYTES, StoreBlock};
use super::wire::Wire;
use crate::checksum::long_check;
use crate::ids::{Salt, SegmentOrdinal};

/// Length of the header, in bytes; the open frame follows it.
pub const SEGMENT_HEADER_BYTES: usize = 256;
/// Length of the head block (header and open frame), in bytes.
pub const HEAD_BLOCK_BYTES: usize = 4096;
/// The head block stands here and, again, right behind itself; then the frames begin.
pub const FIRST_FRAME_OFFSET: u64 = 2 * HEAD_BLOCK_BYTES as u64;
/// First bytes of the header.
pub const SEGMENT_MAGIC: [u8; 8] = *b"TRINGSEG";

/// What is fixed about a segment when its file is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its (first) ordinal.
    pub ordinal: SegmentOrdinal,
    /// How many ordinals it spans: 1, or more for a jumbo segment.
    pub span: u32,
    /// Random bytes that every check in it depends on.
    pub salt: Salt,
    /// When the file was made, in nanoseconds since 1970 UTC.
    pub created_at: i64,
    /// The store it belongs to.
    pub store: StoreBlock,
}

impl SegmentHeader {
    /// The header as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&self.ordinal.0.to_le_bytes());
        out.extend_from_slice(&self.span.to_le_bytes());
        out.extend_from_slice(&(FIRST_FRAME_OFFSET as u32).to_le_bytes());
        out.extend_from_slice(&self.salt.0);
        out.extend_from_slice(&self.created_at.to_le_bytes());
        out.resize(SEGMENT_HEADER_BYTES - 8 - STORE_BLOCK_BYTES, 0);
        out.extend_from_slice(&self.store.encode());
        out.extend_from_slice(&long_check(0, &out).to_le_bytes());
        let mut header = [0; SEGMENT_HEADER_BYTES];
        header.copy_from_slice(&out);
        header
    }

    /// The value of the first [`SEGMENT_HEADER_BYTES`] of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, Fault> {
        let bytes = bytes.get(..SEGMENT_HEADER_BYTES).ok_or(Fault::Short)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(Fault::Absent);
        }
        let mut wire = Wire::new(bytes);
        if wire.array::<8>()? != SEGMENT_MAGIC {
            return Err(Fault::bad("the segment header does not begin with TRINGSEG"));
        }
        let check = Wire::starting_at(bytes, SEGMENT_HEADER_BYTES - 8).u64()?;
        let actual = long_check(0, &bytes[..SEGMENT_HEADER_BYTES - 8]);
        if check != actual {
            return Err(Fault::bad(format!(
                "the check of the segment header is {check:016x}, its bytes give {actual:016x}"
            )));
        }
        let ordinal = SegmentOrdinal(wire.u64()?);
        let span = wire.u32()?;
        let first_frame = wire.u32()?;
        let salt = Salt(wire.array()?);
        let created_at = wire.i64()?;
        wire.zeros(72, "the reserved part of the segment header")?;
        let store = StoreBlock::decode(wire.take(STORE_BLOCK_BYTES)?)?;
        if u64::from(first_frame) != FIRST_FRAME_OFFSET {
            return Err(Fault::Unsupported(format!("frames that begin at byte {first_frame}")));
        }
        let end = ordinal.0.checked_add(u64::from(span)).and_then(|end| end.checked_mul(store.segment_bytes));
        if span == 0 || end.is_none_or(|end| end > crate::limits::NUMBER_MAX) {
            return Err(Fault::bad(format!("a segment at ordinal {ordinal} cannot span {span}")));
        }
        Ok(SegmentHeader { ordinal, span, salt, created_at, store })
    }

    /// Length of the segment's file, in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        u64::from(self.span) * self.store.segment_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StoreId;

    fn header() -> SegmentHeader {
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
        SegmentHeader { ordinal: SegmentOrdinal(9), span: 2, salt: Salt([5; 16]), created_at: -4, store }
    }

    #[test]
    fn p07_every_flipped_bit_of_the_segment_header_is_found() {
        let good = header().encode();
        assert_eq!(SegmentHeader::decode(&good), Ok(header()));
        for bit in 0..good.len() * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(SegmentHeader::decode(&bytes), Err(Fault::Bad(_))), "bit {bit}");
        }
    }

    #[test]
    fn p07_ordinals_at_the_end_of_the_numbers_are_refused() {
        for (ordinal, span) in [(u64::MAX, 1), (u64::MAX >> 14, 2), (3, 0)] {
            let bad = SegmentHeader { ordinal: SegmentOrdinal(ordinal), span, ..header() };
            assert!(matches!(SegmentHeader::decode(&bad.encode()), Err(Fault::Bad(_))), "{ordinal} {span}");
        }
    }
}
