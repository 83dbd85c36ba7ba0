//! Appending: the writer, its place at the end of the log, group commit, and the work in the background.
//!
//! [`writer`] admits batches and writes their frames, [`tail`] is the end of the log and what must be known to continue
//! it, [`index_state`] collects the next index block, [`group`] makes one sync serve many, [`keeper`] does what nobody
//! waits for: interval syncs, the next segment, seals, the watermark file; and [`indexer`] the indexes of finished segments.
//! [`fence`] refuses who had a stream before; [`unwinding`] stops all writing after a panic;
//! [`share`] is how all of that is done together with other processes, and [`watch`] looks at what they append.

pub(crate) mod admit;
pub(crate) mod cursor;
pub(crate) mod durable;
mod fence;
mod fork;
pub(crate) mod group;
pub(crate) mod index_state;
pub(crate) mod indexer;
pub(crate) mod keeper;
pub(crate) mod notes;
mod pending;
pub(crate) mod retry;
pub(crate) mod roll;
pub(crate) mod share;
pub(crate) mod snapshot;
pub(crate) mod tail;
mod unwinding;
pub(crate) mod watch;
pub(crate) mod writer;

pub use indexer::ReindexReport;
pub use pending::Pending;
