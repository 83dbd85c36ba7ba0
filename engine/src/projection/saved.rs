//! A state and its place as bytes, and whether they are of use.
//!
//! ```text
//! "TRFD", version u16, flags u16 (1: has gaps, 2: has a place, 4: of a stream)
//! name, version, stream: a length and text each
//! events: a number        place: 88 bytes, where there is one
//! state: a length and bytes        check over all before it: u64
//! ```
//!
//! It is no file of a store and no part of the format: who keeps it may lose it.

use std::fmt;

use crate::checksum::long_check;
use crate::format::Fault;
use crate::format::token::{TOKEN_BYTES, Token};
use crate::format::wire::{Wire, put_bytes, put_var, text};
use crate::projection::fold::Source;

const MAGIC: [u8; 4] = *b"TRFD";
const LAYOUT: u16 = 1;
const HAS_GAPS: u16 = 1;
const HAS_PLACE: u16 = 2;
const OF_STREAM: u16 = 4;

/// Why a saved state is not taken up. The way out is always the same: build it anew from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unusable {
    /// The bytes are not what [`Fold::save`](crate::Fold::save) gave.
    Bytes(String),
    /// They are of another projection, of another version of it, or of another source: which was expected, and found.
    Other {
        /// What it is that differs: `name`, `version` or `source`.
        what: &'static str,
        /// What the fold has.
        expected: String,
        /// What the bytes have.
        found: String,
    },
    /// The projection itself refuses the state.
    State(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Bytes(detail) => write!(f, "no saved state of a projection: {detail}")?,
            Unusable::Other { what, expected, found } => {
                write!(f, "a saved state of another projection: its {what} is {found:?}, here {expected:?}")?;
            }
            Unusable::State(detail) => write!(f, "a saved state that its projection refuses: {detail}")?,
        }
        f.write_str("; build it anew from the log")
    }
}

impl std::error::Error for Unusable {}

/// What is saved.
pub(super) struct Saved<'a> {
    pub(super) after: Option<Token>,
    pub(super) events: u64,
    pub(super) has_gaps: bool,
    pub(super) state: &'a [u8],
}

/// What was read, with what it belongs to.
pub(super) struct Read<'a> {
    pub(super) after: Option<Token>,
    pub(super) events: u64,
    pub(super) has_gaps: bool,
    pub(super) state: &'a [u8],
    name: &'a str,
    version: &'a str,
    stream: Option<&'a str>,
}

impl Saved<'_> {
    pub(super) fn encode(&self, name: &str, version: &str, source: &Source) -> Vec<u8> {
        let stream = match source {
            Source::Stream(name) => Some(name.as_str()),
            Source::Log => None,
        };
        let mut flags = 0;
        for (flag, holds) in
            [(HAS_GAPS, self.has_gaps), (HAS_PLACE, self.after.is_some()), (OF_STREAM, stream.is_some())]
        {
            flags |= if holds { flag } else { 0 };
        }
        let mut out = Vec::with_capacity(self.state.len() + 256);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&LAYOUT.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        for part in [name, version, stream.unwrap_or_default()] {
            put_bytes(&mut out, part.as_bytes());
        }
        put_var(&mut out, self.events);
        if let Some(after) = &self.after {
            out.extend_from_slice(&after.to_bytes());
        }
        put_bytes(&mut out, self.state);
        let check = long_check(0, &out);
        out.extend_from_slice(&check.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Read<'_>, Unusable> {
        decode(bytes).map_err(|fault| Unusable::Bytes(fault.to_string()))
    }
}

fn decode(bytes: &[u8]) -> Result<Read<'_>, Fault> {
    let checked = bytes.len().checked_sub(8).ok_or(Fault::Short)?;
    if Wire::starting_at(bytes, checked).u64()? != long_check(0, &bytes[..checked]) {
        return Err(Fault::bad("its check does not hold"));
    }
    let mut wire = Wire::new(&bytes[..checked]);
    if wire.array::<4>()? != MAGIC {
        return Err(Fault::bad("it begins with TRFD"));
    }
    let layout = wire.u16()?;
    if layout != LAYOUT {
        return Err(Fault::Unsupported(format!("layout {layout}")));
    }
    let flags = wire.u16()?;
    if flags & !(HAS_GAPS | HAS_PLACE | OF_STREAM) != 0 {
        return Err(Fault::Unsupported(format!("flags {flags:#x}")));
    }
    let name = text(wire.bytes()?, "its name")?;
    let version = text(wire.bytes()?, "its version")?;
    let stream = text(wire.bytes()?, "its stream")?;
    let events = wire.var()?;
    let after = if flags & HAS_PLACE != 0 { Some(Token::decode(wire.take(TOKEN_BYTES)?)?) } else { None };
    let state = wire.bytes()?;
    wire.end("a saved state")?;
    let stream = (flags & OF_STREAM != 0).then_some(stream);
    Ok(Read { after, events, has_gaps: flags & HAS_GAPS != 0, state, name, version, stream })
}

impl Read<'_> {
    /// Whether it is of this projection, and over this source where one is given.
    pub(super) fn is_of(&self, name: &str, version: &str, source: Option<&Source>) -> Result<(), Unusable> {
        let other = |what, expected: &str, found: &str| {
            Err(Unusable::Other { what, expected: expected.to_owned(), found: found.to_owned() })
        };
        if self.name != name {
            return other("name", name, self.name);
        }
        if self.version != version {
            return other("version", version, self.version);
        }
        match (source, self.stream) {
            (None, _) | (Some(Source::Log), None) => Ok(()),
            (Some(Source::Stream(expected)), Some(found)) if expected == found => Ok(()),
            (Some(Source::Stream(expected)), found) => other("source", expected, found.unwrap_or("the whole log")),
            (Some(Source::Log), Some(found)) => other("source", "the whole log", found),
        }
    }
}
