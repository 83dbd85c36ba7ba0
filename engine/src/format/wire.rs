//! Numbers and byte strings on the wire: little-endian fixed integers and canonical LEB128.

use super::Fault;

/// The most bytes that a `var` takes.
pub const VAR_BYTES_MAX: usize = 10;

/// Appends `value` as LEB128 in its shortest form.
#[inline]
pub fn put_var(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(Few::<VAR_BYTES_MAX>::new().var(value).bytes());
}

/// A few fields that are put together in registers and on the stack, and then appended at once: appending each by itself
/// would load and store the length of the vector for every byte.
#[derive(Debug)]
pub struct Few<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Few<N> {
    /// No field yet. All together must not take more than `N` bytes, else a call panics.
    #[inline]
    #[must_use]
    pub fn new() -> Few<N> {
        Few { bytes: [0; N], len: 0 }
    }

    /// Adds a byte.
    #[inline]
    pub fn u8(&mut self, value: u8) -> &mut Few<N> {
        self.bytes[self.len] = value;
        self.len += 1;
        self
    }

    /// Adds `value` as LEB128 in its shortest form.
    #[inline]
    pub fn var(&mut self, mut value: u64) -> &mut Few<N> {
        // Kept in a register: a length that is stored and loaded for every byte is what this would mostly wait for.
        let mut len = self.len;
        while value >= 0x80 {
            self.bytes[len] = value as u8 | 0x80;
            len += 1;
            value >>= 7;
        }
        self.bytes[len] = value as u8;
        self.len = len + 1;
        self
    }

    /// Adds bytes as they are.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) -> &mut Few<N> {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        self
    }

    /// What was added so far.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// How many bytes still fit.
    #[inline]
    #[must_use]
    pub fn left(&self) -> usize {
        N - self.len
    }
}

impl<const N: usize> Default for Few<N> {
    fn default() -> Few<N> {
        Few::new()
    }
}

/// How many bytes [`put_var`] takes for `value`.
#[must_use]
pub fn var_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends the length of `bytes` as a `var`, then the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_var(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads from the start of a byte string towards its end; every method fails with [`Fault::Short`] where it ends early.
#[derive(Clone, Debug)]
pub struct Wire<'a> {
    /// What is left: taking shortens it, so that each byte costs one look at the length.
    rest: &'a [u8],
    len: usize,
}

// Kept out of the way of numbers that are as they should be.

#[cold]
#[inline(never)]
fn above(value: u64, max: u64, what: &str) -> Fault {
    Fault::bad(format!("{what} is {value}, above {max}"))
}

#[cold]
#[inline(never)]
fn too_large() -> Fault {
    Fault::bad("a number is larger than 64 bits")
}

impl<'a> Wire<'a> {
    /// A reader at the start of `bytes`.
    #[inline]
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Wire<'a> {
        Wire { rest: bytes, len: bytes.len() }
    }

    /// A reader at byte `at` of `bytes`.
    #[inline]
    #[must_use]
    pub fn starting_at(bytes: &'a [u8], at: usize) -> Wire<'a> {
        Wire { rest: bytes.get(at..).unwrap_or_default(), len: bytes.len() }
    }

    /// How many bytes were read.
    #[inline]
    #[must_use]
    pub fn at(&self) -> usize {
        self.len.wrapping_sub(self.rest.len())
    }

    /// The bytes that are left.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes are left.
    #[inline]
    #[must_use]
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `len` bytes.
    #[inline(always)]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Fault::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    #[inline(always)]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Fault::Short)?;
        self.rest = rest;
        Ok(*array)
    }

    /// One byte.
    #[inline(always)]
    pub fn u8(&mut self) -> Result<u8, Fault> {
        let (byte, rest) = self.rest.split_first().ok_or(Fault::Short)?;
        self.rest = rest;
        Ok(*byte)
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes, little-endian.
    #[inline(always)]
    pub fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    #[inline(always)]
    pub fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian, signed.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Fault> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A LEB128 number in its shortest form; any other form is bad.
    #[inline(always)]
    pub fn var(&mut self) -> Result<u64, Fault> {
        // Most numbers take up to three bytes.
        match *self.rest {
            [first, ref rest @ ..] if first < 0x80 => {
                self.rest = rest;
                Ok(u64::from(first))
            }
            [first, second @ 1..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(first & 0x7F) | u64::from(second) << 7)
            }
            [first, second @ 0x80..=0xFF, third @ 1..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(first & 0x7F) | u64::from(second & 0x7F) << 7 | u64::from(third) << 14)
            }
            _ => self.long_var(),
        }
    }

    #[inline(never)]
    fn long_var(&mut self) -> Result<u64, Fault> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if shift > 63 || shift == 63 && bits > 1 {
                return Err(too_large());
            }
            value |= bits << shift;
            if byte < 0x80 {
                if byte == 0 && shift > 0 {
                    return Err(Fault::bad("a number is not in its shortest form"));
                }
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// A `var` that must not be above `max`.
    #[inline(always)]
    pub fn var_up_to(&mut self, max: u64, what: &str) -> Result<u64, Fault> {
        match self.var()? {
            value if value <= max => Ok(value),
            value => Err(above(value, max, what)),
        }
    }

    /// A `var` length, then that many bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let len = self.var()?;
        self.take(usize::try_from(len).map_err(|_| Fault::Short)?)
    }

    /// Takes `len` bytes that must all be zero.
    pub fn zeros(&mut self, len: usize, what: &str) -> Result<(), Fault> {
        // All of them, without a look at each by itself: a head has some thousands.
        match self.take(len)?.iter().fold(0, |set, byte| set | byte) {
            0 => Ok(()),
            _ => Err(Fault::bad(format!("{what} must be zero and is not"))),
        }
    }

    /// Nothing may be left.
    pub fn end(&self, what: &str) -> Result<(), Fault> {
        match self.left() {
            0 => Ok(()),
            left => Err(Fault::bad(format!("{left} bytes too many in {what}"))),
        }
    }
}

/// `bytes` as text.
pub fn text<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| Fault::bad(format!("{what} is not UTF-8")))
}

/// `place − back`, where a distance backwards must not lead before the start.
pub fn back(place: u64, distance: u64, what: &str) -> Result<u64, Fault> {
    place.checked_sub(distance).ok_or_else(|| before_start(what))
}

#[cold]
fn before_start(what: &str) -> Fault {
    Fault::bad(format!("{what} leads before the start of the log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [GEN-1] A `var` has one spelling only.
    #[test]
    fn vars_round_trip_and_have_one_spelling() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_var(&mut out, value);
            assert_eq!(out.len(), var_len(value), "{value}");
            assert!(out.len() <= VAR_BYTES_MAX);
            assert_eq!(Wire::new(&out).var(), Ok(value));
            for cut in 0..out.len() {
                assert_eq!(Wire::new(&out[..cut]).var(), Err(Fault::Short));
            }
        }
        for bad in [
            &[0x80, 0x00][..],
            &[0xFF, 0x80, 0x00],
            &[0xFF; 10],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02],
        ] {
            assert!(matches!(Wire::new(bad).var(), Err(Fault::Bad(_))), "{bad:?}");
        }
    }

    #[test]
    fn p07_taking_more_than_there_is_fails_without_moving() {
        let mut wire = Wire::new(b"abc");
        assert_eq!(wire.take(4), Err(Fault::Short));
        assert_eq!(wire.take(usize::MAX), Err(Fault::Short));
        assert_eq!(wire.take(3), Ok(&b"abc"[..]));
        assert_eq!(wire.u8(), Err(Fault::Short));
    }
}
