//! treering: an embedded event-store engine for agents.

pub mod checksum;
mod error;
pub mod format;
mod ids;
pub mod limits;
pub mod storage;

pub use error::{Conflict, Damage, DamageClass, Error, ErrorKind, Result};
pub use ids::{
    BatchId, BootId, Epoch, Incarnation, InvalidHex, Position, Revision, Salt, SegmentOrdinal, StoreId, StreamId,
};

/// The README's example, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
