//! The seal frame: the hash of a finished segment, chained to the seal before.

use super::Fault;
use super::frame::{self, Frame, KIND_SEAL};
use super::wire::Wire;
use crate::ids::{Position, SegmentOrdinal};

/// Length of the plain part of a seal frame, in bytes.
pub const SEAL_BYTES: usize = 96;

/// What a seal frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The segment.
    pub ordinal: SegmentOrdinal,
    /// How many ordinals it spans.
    pub span: u32,
    /// Where it ended.
    pub end: Position,
    /// The seal frame before; zero for the first.
    pub previous: Position,
    /// Hash over the seal before and the bytes of the segment.
    pub hash: [u8; 32],
    /// The hash in the seal before; zeros for the first.
    pub previous_hash: [u8; 32],
}

/// The running hash of a segment: give it the bytes from the segment's start to its end.
#[must_use]
pub fn hasher(previous_hash: &[u8; 32]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous_hash);
    hasher
}

impl Seal {
    /// Appends the whole frame to `out`, header still to be finished; returns the length of its plain part.
    pub fn encode(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        frame::begin(out);
        for word in [self.ordinal.0, self.end.0, self.previous.0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.span.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.previous_hash);
        frame::pad(out, start);
        SEAL_BYTES
    }

    /// What the frame says.
    pub fn decode(frame: &Frame<'_>) -> Result<Seal, Fault> {
        let kind = frame.kind();
        if kind != KIND_SEAL {
            return Err(Fault::bad(format!("a frame of kind {kind} is no seal")));
        }
        let mut wire = Wire::new(frame.plain());
        let ordinal = SegmentOrdinal(wire.u64()?);
        let end = Position(wire.u64()?);
        let previous = Position(wire.u64()?);
        let span = wire.u32()?;
        wire.zeros(4, "the reserved part of the seal")?;
        let seal = Seal { ordinal, span, end, previous, hash: wire.array()?, previous_hash: wire.array()? };
        wire.end("the seal")?;
        if seal.end > frame.position || (seal.previous >= frame.position) {
            return Err(Fault::bad("a seal stands for a segment that is not before it"));
        }
        Ok(seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Seeds;
    use crate::format::frame::FrameHeader;
    use crate::ids::{BatchId, Salt};

    #[test]
    fn a_seal_round_trips_and_never_speaks_of_the_future() {
        let seal = Seal {
            ordinal: SegmentOrdinal(4),
            span: 1,
            end: Position(70_000),
            previous: Position(40_000),
            hash: [1; 32],
            previous_hash: [2; 32],
        };
        let seeds = Seeds::new(Salt([1; 16]));
        let header = FrameHeader {
            kind: KIND_SEAL,
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
        let at = |place: u64| {
            let mut out = Vec::new();
            let plain = seal.encode(&mut out);
            frame::finish(&mut out, plain, &header, seeds, Position(place));
            Frame::decode(&out, seeds, Position(place)).and_then(|frame| Seal::decode(&frame))
        };
        assert_eq!(at(90_000), Ok(seal));
        assert!(at(60_000).is_err());
    }

    #[test]
    fn the_hash_depends_on_the_seal_before() {
        let of = |previous: [u8; 32]| *hasher(&previous).update(b"bytes").finalize().as_bytes();
        assert_ne!(of([0; 32]), of([1; 32]));
    }
}
