//! The checks of the format and their seeds.
//!
//! A CRC-32 stands over each header and each event, an XXH64 over each frame: two unrelated functions, 64 bits and more
//! over every byte. Both start from a value made of the segment's random salt and the position of what they cover, so
//! that bytes of another file, another life of the store or another place never pass.

use crate::ids::{Position, Salt};

/// Spreads positions that lie close together; 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// What the checks of one segment start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    low: u64,
    high: u64,
}

impl Seeds {
    /// The seeds of the segment with this salt.
    #[must_use]
    pub fn new(salt: Salt) -> Seeds {
        let half = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&salt.0[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Seeds { low: half(0), high: half(8) }
    }

    /// Start of the 32-bit check of what lies at `position`.
    #[inline]
    #[must_use]
    pub fn short(self, position: Position) -> u32 {
        ((self.high ^ position.0).wrapping_mul(SPREAD) >> 32) as u32
    }

    /// Start of the 64-bit check of what lies at `position`.
    #[inline]
    #[must_use]
    pub fn long(self, position: Position) -> u64 {
        self.low ^ position.0.wrapping_mul(SPREAD)
    }
}

/// CRC-32 (ISO-HDLC) of `parts` one after the other, continued from `start`.
#[inline]
#[must_use]
pub fn short_check(start: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(start);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// XXH64 of `bytes` with the given seed.
#[inline]
#[must_use]
pub fn long_check(seed: u64, bytes: &[u8]) -> u64 {
    xxhash_rust::xxh64::xxh64(bytes, seed)
}

/// XXH64 of `parts` one after the other, with the given seed.
#[inline]
#[must_use]
pub fn long_check_of_parts(seed: u64, parts: &[&[u8]]) -> u64 {
    let mut hasher = xxhash_rust::xxh64::Xxh64::new(seed);
    for part in parts {
        hasher.update(part);
    }
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_are_the_published_ones() {
        // Published check values: CRC-32/ISO-HDLC of "123456789"; XXH64 of the empty input and of "abc" with seed 0.
        assert_eq!(short_check(0, &[b"12345", b"6789"]), 0xCBF4_3926);
        assert_eq!(long_check(0, b""), 0xEF46_DB37_51D8_E999);
        assert_eq!(long_check(0, b"abc"), 0x44BC_2CF5_AD77_0999);
        assert_eq!(long_check_of_parts(0, &[b"a", b"bc"]), long_check(0, b"abc"));
    }

    #[test]
    fn p03_seeds_differ_between_neighbouring_places_and_between_salts() {
        let here = Seeds::new(Salt([7; 16]));
        let elsewhere = Seeds::new(Salt([8; 16]));
        for place in 0..1000 {
            let (a, b) = (Position(place), Position(place + 1));
            assert_ne!(here.short(a), here.short(b));
            assert_ne!(here.long(a), here.long(b));
            assert_ne!(here.short(a), elsewhere.short(a));
            assert_ne!(here.long(a), elsewhere.long(a));
        }
    }
}
