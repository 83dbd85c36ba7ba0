//! The bytes of the store, and nothing but the bytes.
//!
//! Each module here is one page of `format-spec/`: it turns values into bytes and bytes into values. It knows no file, no
//! lock and no policy; it allocates no more than its input is long; on any input it returns a value or a [`Fault`], and
//! never panics.

pub mod batch;
pub mod chain;
pub mod codec;
pub mod directory;
pub mod file_name;
pub mod frame;
pub mod index_block;
pub mod item;
pub mod open;
pub mod seal;
pub mod segment_header;
pub mod segment_index;
pub mod side_file;
pub mod store_block;
pub mod token;
pub mod watermark;
pub mod wire;

use std::borrow::Cow;
use std::fmt;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes end before the structure does.
    Short,
    /// Nothing was ever written here: the place reads as zero.
    Absent,
    /// The bytes contradict themselves or their checks; what was expected and found.
    Bad(Cow<'static, str>),
    /// The bytes are sound, but this version does not know what they mean.
    Unsupported(String),
}

impl Fault {
    pub(crate) fn bad(detail: impl Into<Cow<'static, str>>) -> Fault {
        Fault::Bad(detail.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Short => f.write_str("the bytes end too early"),
            Fault::Absent => f.write_str("nothing was written here"),
            Fault::Bad(detail) => f.write_str(detail),
            Fault::Unsupported(detail) => write!(f, "not known to this version: {detail}"),
        }
    }
}
