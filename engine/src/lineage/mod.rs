//! Lineage: a stream and those it was forked from, read as one.
//!
//! What a fork shares with its parent lies in the log once, where it was appended. Reading a fork means reading parts of
//! streams one after the other, each with its own places and indexes; which parts, the forks' items say. Nothing is copied,
//! and no part but those asked for is looked up.

mod chain;
mod kin;
mod parts;
mod reader;

pub(crate) use chain::{Chains, Value as ChainValue};
pub use kin::{ForkPoint, Parting};
pub(crate) use kin::{fork_point, lineage, parting};
pub use reader::StreamReader;
pub(crate) use reader::read_one;
