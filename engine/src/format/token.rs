//! The cursor token: a place in the log that another process, or a later life of the store, can check before it goes on.

use super::Fault;
use super::wire::Wire;
use crate::checksum::long_check;
use crate::ids::{Epoch, Incarnation, Position, SegmentOrdinal, StoreId};

/// Length of a token, in bytes.
pub const TOKEN_BYTES: usize = 88;
/// First bytes of a token.
pub const TOKEN_MAGIC: [u8; 4] = *b"TRCT";
/// Version of the layout.
pub const TOKEN_VERSION: u16 = 1;

/// A place in the log, with what proves that it is in the same history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The store.
    pub store: StoreId,
    /// The life of the store.
    pub incarnation: Incarnation,
    /// The epoch of the frame.
    pub epoch: Epoch,
    /// The frame.
    pub frame: Position,
    /// The event in it.
    pub ordinal: u32,
    /// Global number of the event.
    pub number: u64,
    /// Stored check of the frame.
    pub frame_check: u64,
}

impl Token {
    /// The token as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; TOKEN_BYTES] {
        let mut out = Vec::with_capacity(TOKEN_BYTES);
        out.extend_from_slice(&TOKEN_MAGIC);
        out.extend_from_slice(&TOKEN_VERSION.to_le_bytes());
        out.extend_from_slice(&self.epoch.takeover.to_le_bytes());
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&self.incarnation.0);
        out.extend_from_slice(&self.epoch.segment.0.to_le_bytes());
        out.extend_from_slice(&self.frame.0.to_le_bytes());
        out.extend_from_slice(&self.ordinal.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.frame_check.to_le_bytes());
        out.extend_from_slice(&long_check(0, &out).to_le_bytes());
        let mut token = [0; TOKEN_BYTES];
        token.copy_from_slice(&out);
        token
    }

    /// The value of the first [`TOKEN_BYTES`] of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Token, Fault> {
        let bytes = bytes.get(..TOKEN_BYTES).ok_or(Fault::Short)?;
        let mut wire = Wire::new(bytes);
        if wire.array::<4>()? != TOKEN_MAGIC {
            return Err(Fault::bad("a cursor token begins with TRCT"));
        }
        if Wire::starting_at(bytes, TOKEN_BYTES - 8).u64()? != long_check(0, &bytes[..TOKEN_BYTES - 8]) {
            return Err(Fault::bad("the check of the cursor token does not hold"));
        }
        let version = wire.u16()?;
        if version != TOKEN_VERSION {
            return Err(Fault::Unsupported(format!("cursor token version {version}")));
        }
        let takeover = wire.u16()?;
        let store = StoreId(wire.array()?);
        let incarnation = Incarnation(wire.array()?);
        let epoch = Epoch { segment: SegmentOrdinal(wire.u64()?), takeover };
        let frame = Position(wire.u64()?);
        let ordinal = wire.u32()?;
        wire.zeros(4, "the reserved part of the cursor token")?;
        Ok(Token { store, incarnation, epoch, frame, ordinal, number: wire.u64()?, frame_check: wire.u64()? })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Token {
        Token {
            store: StoreId([1; 16]),
            incarnation: Incarnation([2; 16]),
            epoch: Epoch { segment: SegmentOrdinal(3), takeover: 4 },
            frame: Position(5000),
            ordinal: 6,
            number: 7,
            frame_check: 8,
        }
    }

    #[test]
    fn p07_every_flipped_bit_of_a_token_is_found() {
        let good = sample().encode();
        assert_eq!(Token::decode(&good), Ok(sample()));
        for bit in 0..good.len() * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Token::decode(&bytes).is_err(), "bit {bit}");
        }
    }
}
