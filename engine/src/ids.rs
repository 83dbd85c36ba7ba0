//! The small types that keep numbers of different meaning apart.
//!
//! An index, a count, a byte size, a revision, a position and a file offset are all 64-bit numbers; mixing two of them
//! up is the commonest bug of storage code. Each that crosses a module border has its own type here; arithmetic between
//! them is written out where it happens.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The number itself.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number! {
    /// The place of an event, a frame or a watermark in the global order of a store.
    ///
    /// Strictly increasing, never given twice, not dense. Position 0 stands for "before everything".
    Position
}
number! {
    /// The dense place of an event in its stream, from 0.
    Revision
}
number! {
    /// The identity of a stream: the position of its first event, or of the fork that made it.
    StreamId
}
number! {
    /// A fencing token: the place in the log of the claim that it was given for. Of two tokens of a stream the later one is
    /// greater. See [`Store::fencing_token`](crate::Store::fencing_token).
    FencingToken
}
number! {
    /// The ordinal of a segment: position divided by the store's segment size.
    SegmentOrdinal
}

impl Position {
    /// Before everything: no event has this position.
    pub const ZERO: Position = Position(0);
    /// Beyond every event that can ever be.
    pub const MAX: Position = Position(u64::MAX);
}

impl Revision {
    /// The revision behind this one; `None` at the end of the numbers.
    #[must_use]
    pub const fn next(self) -> Option<Revision> {
        match self.0.checked_add(1) {
            Some(next) => Some(Revision(next)),
            None => None,
        }
    }
}

macro_rules! sixteen_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidHex;

            /// Takes 32 hexadecimal digits.
            fn from_str(text: &str) -> Result<Self, InvalidHex> {
                let text = text.as_bytes();
                let mut bytes = [0; 16];
                if text.len() != 32 {
                    return Err(InvalidHex);
                }
                for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
                    let digit = |c: u8| (c as char).to_digit(16).ok_or(InvalidHex);
                    *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
                }
                Ok(Self(bytes))
            }
        }
    };
}

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 32 hexadecimal digits")]
pub struct InvalidHex;

sixteen_bytes! {
    /// Identifies a batch, so that a retry of it is recognised.
    BatchId
}
sixteen_bytes! {
    /// Identifies a store for life; copies share it.
    StoreId
}
sixteen_bytes! {
    /// Identifies one life of a store: a copy or a restored image gets a new one before its first write.
    Incarnation
}
sixteen_bytes! {
    /// Random bytes of one segment file that every check in it depends on.
    Salt
}
sixteen_bytes! {
    /// Identifies one run of the machine's kernel; zero where it is not known.
    BootId
}

/// Rises with every takeover of the store by a writer; never given again within an incarnation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Epoch {
    /// The segment in which the writer appends.
    pub segment: SegmentOrdinal,
    /// How often an opening took over inside that segment.
    pub takeover: u16,
}

impl FilePlace {
    /// Whether both may be the same place: a field that is zero says nothing.
    #[must_use]
    pub fn may_be(&self, other: &FilePlace) -> bool {
        let same = |a: u64, b: u64| a == b || a == 0 || b == 0;
        same(self.file_system, other.file_system)
            && same(self.inode, other.inode)
            && same(self.birth as u64, other.birth as u64)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.segment, self.takeover)
    }
}

/// Where a file lies, to notice copies and restored images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FilePlace {
    /// The identity of the file system (or the device number where it has none).
    pub file_system: u64,
    /// The inode.
    pub inode: u64,
    /// When the inode was born, in nanoseconds since 1970 UTC; 0 where unknown.
    pub birth: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_anything_else() {
        let id = BatchId([0xAB; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "ab", &"g".repeat(32), &"é".repeat(16)] {
            assert_eq!(bad.parse::<BatchId>(), Err(InvalidHex), "{bad:?}");
        }
    }

    #[test]
    fn the_last_revision_has_no_next() {
        assert_eq!(Revision(u64::MAX).next(), None);
        assert_eq!(Revision(4).next(), Some(Revision(5)));
    }
}
