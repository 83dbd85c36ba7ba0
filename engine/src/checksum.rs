//! The checks of the format and their seeds.
//!
//! A CRC-32 stands over each header and each event, an XXH64 over each frame: two unrelated functions, 64 bits and more
//! over every byte. Both start from a value made of the segment's random salt and the position of what they cover, so
//! that bytes of another file, another life of the store or another place never pass.

use crate::ids::{Position, Salt};
use crate::planted::{Plant, planted};

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
        if planted(Plant::SaltIgnored) {
            return Seeds { low: 1, high: 2 };
        }
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

/// Tables for sixteen bytes at once: line `n` is what a byte adds that has `n` bytes behind it.
static TABLES: [[u32; 256]; 16] = tables();

const fn tables() -> [[u32; 256]; 16] {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    let mut tables = [[0; 256]; 16];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut line = 1;
    while line < 16 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[line - 1][byte];
            tables[line][byte] = before >> 8 ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        line += 1;
    }
    tables
}

/// The longest piece that [`short_check_joined`] takes in one step, in bytes.
const PIECE_MAX: usize = 8;

/// Up to eight bytes as a number, the first byte lowest.
#[inline(always)]
fn number(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let shift = 8 * (len as u32 - 4);
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << shift;
    }
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// As [`short_check`] of two pieces, which are mostly a few bytes long: then one look at tables serves both.
#[inline]
#[must_use]
pub fn short_check_joined(start: u32, first: &[u8], second: &[u8]) -> u32 {
    let len = first.len() + second.len();
    if first.len() > PIECE_MAX || second.len() > PIECE_MAX || len < 4 {
        return short_check(start, &[first, second]);
    }
    short_check_of_numbers(start, number(first), first.len(), number(second), second.len())
}

/// As [`short_check_joined`], of pieces of up to eight bytes that are numbers already, the first byte lowest and zeros
/// behind the last. Both together have at least four bytes.
#[inline(always)]
#[must_use]
pub fn short_check_of_numbers(start: u32, first: u64, first_len: usize, second: u64, second_len: usize) -> u32 {
    let len = first_len + second_len;
    debug_assert!(first_len <= PIECE_MAX && second_len <= PIECE_MAX && len >= 4);
    let joined = u128::from(first) | (u128::from(second) << (8 * first_len as u32));
    // Zeros in front of the bytes change nothing once the start was added to the first four of them.
    let block = ((joined ^ u128::from(!start)) << ((128 - 8 * len as u32) % 128)).to_le_bytes();
    let mut state = 0;
    for (line, byte) in TABLES.iter().rev().zip(block) {
        state ^= line[usize::from(byte)];
    }
    !state
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
    fn joined_pieces_of_every_length_check_as_one() {
        let bytes: Vec<u8> = (0..40u8).map(|byte| byte.wrapping_mul(97) ^ 0x5A).collect();
        for start in [0, 1, 0xFFFF_FFFF, 0xDEAD_BEEF] {
            for (first, second) in (0..20).flat_map(|first| (0..20).map(move |second| (first, second))) {
                let (one, other) = (&bytes[..first], &bytes[first..first + second]);
                let expected = short_check(start, &[&bytes[..first + second]]);
                assert_eq!(short_check_joined(start, one, other), expected, "{first} and {second} bytes");
            }
        }
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
