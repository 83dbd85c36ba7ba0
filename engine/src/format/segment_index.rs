//! The index of a sealed segment: what its head says, and the parts of its payload.
//!
//! A side file ([`side_file`](super::side_file)) that answers from a few blocks where the sections of a stream lie in the
//! segment ([`postings`]), and which frames hold events of a type ([`types`]). Nothing in it is true that the segment does
//! not say. Lookups take bytes from a [`Payload`], which proves no more than what they ask for; whatever they find there,
//! they end, and allocate nothing.

use std::ops::Range;

use super::Fault;
use super::wire::Wire;
use crate::ids::{Position, Salt, SegmentOrdinal};

pub mod postings;
pub mod types;

/// Length of the head, in bytes.
pub const SEGMENT_INDEX_HEAD_BYTES: usize = 168;

/// Where the bytes of a payload come from.
pub trait Payload {
    /// Bytes that lie in the payload, after they were proven.
    ///
    /// # Errors
    /// Where they do not lie in it, or do not prove themselves.
    fn bytes(&self, range: Range<u64>) -> Result<&[u8], Fault>;
}

impl Payload for [u8] {
    fn bytes(&self, range: Range<u64>) -> Result<&[u8], Fault> {
        self.get(range.start as usize..range.end as usize).ok_or(Fault::Short)
    }
}

/// What the head of a segment index says: which segment it is of, and what that holds as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentIndexHead {
    /// The segment.
    pub ordinal: SegmentOrdinal,
    /// Ordinals that it takes.
    pub span: u32,
    /// Position of byte 0 of its file.
    pub base: Position,
    /// Where it ended.
    pub end: Position,
    /// Its last frame.
    pub last_frame: Position,
    /// The stored check of that; with the salt it says that this very segment is meant.
    pub last_check: u64,
    /// Its salt.
    pub salt: Salt,
    /// Global number of its first event, or of the first one behind it.
    pub first_number: u64,
    /// Its events.
    pub events: u64,
    /// Its frames behind the open frame.
    pub frames: u64,
    /// How many of them are batches.
    pub batches: u64,
    /// Their sections.
    pub sections: u64,
    /// Least and greatest time of recording of its events; `i64::MAX` and `i64::MIN` where it has none.
    pub recorded_at: (i64, i64),
    /// Greatest time of recording in the log up to its end.
    pub max_recorded_at: i64,
    /// How many streams have sections in it.
    pub streams: u64,
    /// Where the rows of the streams begin in the payload; before them lie the records.
    pub stream_rows_at: u64,
    /// Where the ids of every so many rows stand once more.
    pub stream_tops_at: u64,
    /// How many types of events there are.
    pub types: u64,
    /// Where the rows of the types begin.
    pub type_rows_at: u64,
}

impl SegmentIndexHead {
    /// The bytes of the head.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_INDEX_HEAD_BYTES);
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        put(&self.ordinal.0.to_le_bytes());
        put(&self.span.to_le_bytes());
        put(&[0; 4]);
        put(&self.base.0.to_le_bytes());
        put(&self.end.0.to_le_bytes());
        put(&self.last_frame.0.to_le_bytes());
        put(&self.last_check.to_le_bytes());
        put(&self.salt.0);
        for number in [self.first_number, self.events, self.frames, self.batches, self.sections] {
            put(&number.to_le_bytes());
        }
        for time in [self.recorded_at.0, self.recorded_at.1, self.max_recorded_at] {
            put(&time.to_le_bytes());
        }
        for number in [self.streams, self.stream_rows_at, self.stream_tops_at, self.types, self.type_rows_at] {
            put(&number.to_le_bytes());
        }
        debug_assert_eq!(out.len(), SEGMENT_INDEX_HEAD_BYTES);
        out
    }

    /// The head of the index whose payload is `payload_len` bytes long; its parts lie in that, in order.
    pub fn decode(bytes: &[u8], payload_len: u64) -> Result<SegmentIndexHead, Fault> {
        let mut wire = Wire::new(bytes);
        let ordinal = SegmentOrdinal(wire.u64()?);
        let span = wire.u32()?;
        wire.zeros(4, "the head of a segment index")?;
        let (base, end) = (Position(wire.u64()?), Position(wire.u64()?));
        let (last_frame, last_check) = (Position(wire.u64()?), wire.u64()?);
        let salt = Salt(wire.array()?);
        let mut numbers = [0; 5];
        for number in &mut numbers {
            *number = wire.u64()?;
        }
        let [first_number, events, frames, batches, sections] = numbers;
        let (least, greatest, max_recorded_at) = (wire.i64()?, wire.i64()?, wire.i64()?);
        for number in &mut numbers {
            *number = wire.u64()?;
        }
        let [streams, stream_rows_at, stream_tops_at, types, type_rows_at] = numbers;
        wire.end("the head of a segment index")?;
        let head = SegmentIndexHead {
            ordinal,
            span,
            base,
            end,
            last_frame,
            last_check,
            salt,
            first_number,
            events,
            frames,
            batches,
            sections,
            recorded_at: (least, greatest),
            max_recorded_at,
            streams,
            stream_rows_at,
            stream_tops_at,
            types,
            type_rows_at,
        };
        let rows_len = streams.checked_mul(postings::ROW_BYTES);
        let rows_end = rows_len.and_then(|len| len.checked_add(stream_rows_at)).filter(|end| *end <= stream_tops_at);
        let tops_end = streams.div_ceil(postings::ROWS_A_TOP).checked_mul(8);
        let tops_end = tops_end.and_then(|len| len.checked_add(stream_tops_at)).filter(|end| *end <= type_rows_at);
        let types_end = types.checked_mul(types::ROW_BYTES).and_then(|len| len.checked_add(type_rows_at));
        if rows_end.is_none() || tops_end.is_none() || types_end != Some(payload_len) {
            return Err(Fault::bad("the parts of a segment index do not lie in it in order"));
        }
        if !(base <= last_frame && last_frame < end && base.0.is_multiple_of(8)) {
            return Err(Fault::bad(format!("a segment index of {base} to {end} with a last frame at {last_frame}")));
        }
        Ok(head)
    }

    /// The place `units` of eight bytes behind the segment's begin; it must lie before its end.
    #[inline]
    fn place(&self, units: u64) -> Result<Position, Fault> {
        match units.checked_mul(8).and_then(|bytes| bytes.checked_add(self.base.0)).map(Position) {
            Some(place) if place < self.end => Ok(place),
            _ => Err(outside()),
        }
    }
}

#[cold]
fn outside() -> Fault {
    Fault::bad("a segment index names a place outside of its segment")
}

/// An integer of four bytes in a slice that is long enough.
#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// An integer of eight bytes in a slice that is long enough.
#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn head() -> SegmentIndexHead {
        SegmentIndexHead {
            ordinal: SegmentOrdinal(3),
            span: 1,
            base: Position(3 << 20),
            end: Position(4 << 20),
            last_frame: Position((4 << 20) - 80),
            last_check: 0x1122_3344_5566_7788,
            salt: Salt([9; 16]),
            first_number: 1000,
            events: 5,
            frames: 4,
            batches: 3,
            sections: 4,
            recorded_at: (-5, 7),
            max_recorded_at: 8,
            streams: 300,
            stream_rows_at: 100,
            stream_tops_at: 100 + 300 * 12,
            types: 2,
            type_rows_at: 4000,
        }
    }

    #[test]
    fn a_head_says_what_was_encoded() {
        let bytes = head().encode();
        assert_eq!(SegmentIndexHead::decode(&bytes, 4008), Ok(head()));
    }

    #[test]
    fn p11_heads_whose_parts_do_not_add_up_are_refused() {
        let bytes = head().encode();
        for len in 0..bytes.len() {
            assert!(SegmentIndexHead::decode(&bytes[..len], 4008).is_err());
        }
        assert!(SegmentIndexHead::decode(&bytes, 4007).is_err() && SegmentIndexHead::decode(&bytes, 4009).is_err());
        for wrong in [
            SegmentIndexHead { streams: u64::MAX, ..head() },
            SegmentIndexHead { streams: 301, ..head() },
            SegmentIndexHead { types: u64::MAX / 2, ..head() },
            SegmentIndexHead { stream_tops_at: 3990, ..head() },
            SegmentIndexHead { last_frame: Position(4 << 20), ..head() },
            SegmentIndexHead { base: Position((3 << 20) + 4), ..head() },
        ] {
            assert!(SegmentIndexHead::decode(&wrong.encode(), 4008).is_err(), "{wrong:?}");
        }
    }
}
