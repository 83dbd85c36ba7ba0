//! Fields of a structure, read and shown one after the other.
//!
//! Each field is one line: its offset in the file, its name, its value. The structure ends where its bytes do, or where
//! a field cannot be: that is shown in its place, and nothing more of the structure is.

use std::io::{self, Write};

use crate::format::Fault;
use crate::format::wire::Wire;

/// Longest preview of a byte string, in bytes.
pub(super) const PREVIEW_BYTES_MAX: usize = 64;

/// Why a structure was not shown to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// Its bytes cannot be; said where.
    Fault { at: u64, depth: usize, fault: Fault },
    /// Nobody takes the text any more.
    Out(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Out(error)
    }
}

/// An offset as every line begins with it.
pub(super) fn offset(at: u64) -> String {
    format!("{at:010}")
}

/// Bytes as text of one line: what is printable in ASCII as it is, all else escaped; cut after
/// [`PREVIEW_BYTES_MAX`] bytes.
pub(super) fn preview(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(PREVIEW_BYTES_MAX)];
    let more = if shown.len() < bytes.len() { "…" } else { "" };
    format!("\"{}\"{more}", shown.escape_ascii())
}

/// Bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads fields from the start of some bytes and shows them.
pub(super) struct Fields<'a, 'w> {
    wire: Wire<'a>,
    bytes: &'a [u8],
    /// Offset of the first byte in the file.
    base: u64,
    depth: usize,
    out: &'w mut dyn Write,
}

impl<'a, 'w> Fields<'a, 'w> {
    /// Fields of `bytes`, which lie at `base` in the file.
    pub(super) fn new(bytes: &'a [u8], base: u64, out: &'w mut dyn Write) -> Fields<'a, 'w> {
        Fields { wire: Wire::new(bytes), bytes, base, depth: 1, out }
    }

    /// One level further in.
    pub(super) fn inner(mut self) -> Fields<'a, 'w> {
        self.depth += 1;
        self
    }

    /// The fields that follow lie one level further in, or further out again.
    pub(super) fn indent(&mut self, by: isize) {
        self.depth = self.depth.saturating_add_signed(by);
    }

    /// The bytes that are left.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.wire.at()..]
    }

    /// Where the next field stands in the bytes.
    pub(super) fn at(&self) -> usize {
        self.wire.at()
    }

    /// A line about the place where the next field stands.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Stop> {
        self.line_at(self.wire.at(), text)
    }

    fn line_at(&mut self, at: usize, text: &str) -> Result<(), Stop> {
        let (indent, at) = (2 * self.depth, offset(self.base + at as u64));
        Ok(writeln!(self.out, "{at} {:indent$}{text}", "")?)
    }

    fn read<T>(&mut self, read: impl FnOnce(&mut Wire<'a>) -> Result<T, Fault>) -> Result<(usize, T), Stop> {
        let at = self.wire.at();
        match read(&mut self.wire) {
            Ok(value) => Ok((at, value)),
            Err(fault) => Err(Stop::Fault { at: self.base + at as u64, depth: self.depth, fault }),
        }
    }

    /// The structure cannot go on here.
    pub(super) fn refuse<T>(&self, what: &str) -> Result<T, Stop> {
        let at = self.base + self.wire.at() as u64;
        Err(Stop::Fault { at, depth: self.depth, fault: Fault::bad(what.to_owned()) })
    }

    pub(super) fn u8(&mut self, name: &str) -> Result<u8, Stop> {
        let (at, value) = self.read(Wire::u8)?;
        self.line_at(at, &format!("{name}: {value}"))?;
        Ok(value)
    }

    pub(super) fn u16(&mut self, name: &str) -> Result<u16, Stop> {
        let (at, value) = self.read(Wire::u16)?;
        self.line_at(at, &format!("{name}: {value}"))?;
        Ok(value)
    }

    pub(super) fn u32(&mut self, name: &str) -> Result<u32, Stop> {
        let (at, value) = self.read(Wire::u32)?;
        self.line_at(at, &format!("{name}: {value}"))?;
        Ok(value)
    }

    pub(super) fn u64(&mut self, name: &str) -> Result<u64, Stop> {
        let (at, value) = self.read(Wire::u64)?;
        self.line_at(at, &format!("{name}: {value}"))?;
        Ok(value)
    }

    pub(super) fn i64(&mut self, name: &str) -> Result<i64, Stop> {
        let (at, value) = self.read(Wire::i64)?;
        self.line_at(at, &format!("{name}: {value}"))?;
        Ok(value)
    }

    pub(super) fn var(&mut self, name: &str) -> Result<u64, Stop> {
        let (at, value) = self.read(Wire::var)?;
        self.line_at(at, &format!("{name}: {value}"))?;
        Ok(value)
    }

    /// A distance backwards, in steps of `unit` bytes, with the place that it leads to from `from`.
    pub(super) fn back(&mut self, name: &str, from: u64, unit: u64) -> Result<u64, Stop> {
        let (at, value) = self.read(Wire::var)?;
        let place = value.checked_mul(unit).and_then(|distance| from.checked_sub(distance));
        let shown = place.map_or_else(|| "before the log".into(), |place| place.to_string());
        self.line_at(at, &format!("{name}: {value} back, {shown}"))?;
        Ok(place.unwrap_or(0))
    }

    /// Bytes shown in hexadecimal; numbers that mean nothing as numbers are shown as their bytes stand.
    pub(super) fn hex(&mut self, name: &str, len: usize) -> Result<&'a [u8], Stop> {
        let (at, value) = self.read(|wire| wire.take(len))?;
        self.line_at(at, &format!("{name}: {}", hex(value)))?;
        Ok(value)
    }

    /// Bytes shown as text.
    pub(super) fn text(&mut self, name: &str, len: usize) -> Result<&'a [u8], Stop> {
        let (at, value) = self.read(|wire| wire.take(len))?;
        self.line_at(at, &format!("{name}: {len} bytes {}", preview(value)))?;
        Ok(value)
    }

    /// A length as `var`, then so many bytes, shown as text.
    pub(super) fn var_text(&mut self, name: &str) -> Result<&'a [u8], Stop> {
        let (at, value) = self.read(Wire::bytes)?;
        self.line_at(at, &format!("{name}: {} bytes {}", value.len(), preview(value)))?;
        Ok(value)
    }

    /// A length as one byte, then so many bytes, shown as text.
    pub(super) fn short_text(&mut self, name: &str) -> Result<&'a [u8], Stop> {
        let (at, value) = self.read(|wire| {
            let len = wire.u8()?;
            wire.take(usize::from(len))
        })?;
        self.line_at(at, &format!("{name}: {} bytes {}", value.len(), preview(value)))?;
        Ok(value)
    }

    /// Bytes that should be zero; shown only where they are not.
    pub(super) fn zeros(&mut self, len: usize) -> Result<(), Stop> {
        let (at, value) = self.read(|wire| wire.take(len))?;
        match value.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => self.line_at(at, &format!("reserved: BAD, not zero: {}", hex(value))),
        }
    }

    /// An 8-byte check, with whether it is `actual`.
    pub(super) fn long_check(&mut self, actual: u64) -> Result<(), Stop> {
        let (at, value) = self.read(Wire::u64)?;
        self.line_at(at, &verdict("check", &format!("{value:016x}"), &format!("{actual:016x}")))
    }

    /// A 4-byte check, with whether it is `actual`; `None` where that cannot be told.
    pub(super) fn short_check(&mut self, actual: Option<u32>) -> Result<(), Stop> {
        let (at, value) = self.read(Wire::u32)?;
        let line = match actual {
            Some(actual) => verdict("check", &format!("{value:08x}"), &format!("{actual:08x}")),
            None => format!("check: {value:08x} BAD, what it covers cannot be read"),
        };
        self.line_at(at, &line)
    }
}

/// A check and whether it holds.
pub(super) fn verdict(name: &str, stored: &str, actual: &str) -> String {
    match stored == actual {
        true => format!("{name}: {stored} ok"),
        false => format!("{name}: {stored} BAD, the bytes give {actual}"),
    }
}

/// Shows where a structure was bad; only a failure of the output is one.
pub(super) fn finish_to(shown: Result<(), Stop>, out: &mut dyn Write) -> io::Result<()> {
    match shown {
        Ok(()) => Ok(()),
        Err(Stop::Out(error)) => Err(error),
        Err(Stop::Fault { at, depth, fault }) => {
            let indent = 2 * depth;
            writeln!(out, "{} {:indent$}BAD: {fault}", offset(at), "")
        }
    }
}
