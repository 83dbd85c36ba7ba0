//! Snapshots: side forks of events that stand for a range of a stream, and the context that is read through them.
//!
//! A compaction is lossy, so it never takes the place of what it compacts: its events lie beside the stream, in a stream of the
//! engine's own for each source and label, and an item in their frame says which stream and range they stand for, the stream's
//! chain at both ends, label and version. Frame and item are there together or not at all, so a compaction that fails or comes too
//! late leaves nothing behind, and events that were appended while it was computed are simply not in its range.
//!
//! Invariants:
//! 1. No operation here changes or removes a byte of the log.
//! 2. The context of a stream at a revision depends on the log before the next event of the stream alone: what a snapshot made
//!    later would have made of it is not shown. At the head, that is all snapshots that there are.
//! 3. A snapshot that is not bound to what is there is passed over and told, and so is one whose own events are lost.
//!
//! How a snapshot is held against its source: its frame proves itself, and the frame that it names is looked at, whether it
//! really holds the last event of the range. The chain itself is folded where that is asked for, and by `verify`: it costs the
//! history.

mod context;
mod find;
mod make;

use std::ops::Range;
use std::sync::Arc;

pub(crate) use context::context;
pub(crate) use context::newest_of;
pub use context::{Context, ContextOptions, ContextPart, ContextReader};
pub(crate) use find::{NOT_THERE, holds_last, of_event, of_stream};
pub(crate) use make::make;
pub use make::{NewSnapshot, Snapshotted};

use crate::Error;
use crate::ids::{Position, Revision, StreamId};
use crate::limits::SNAPSHOT_PREFIX;

/// How labels begin that belong to the engine: such snapshots stand beside a stream and in no context of it.
const ENGINES_LABELS: &str = "$";
/// How labels begin of states of projections.
pub(crate) const PROJECTION_LABELS: &str = "$projection/";

/// Events that stand for a range of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The stream that it is of.
    pub source: StreamId,
    /// The revisions that it stands for, the second one not included.
    pub range: Range<Revision>,
    /// What it is for: a strategy, a model, a projection.
    pub label: Arc<str>,
    /// Version of what made it.
    pub version: Arc<str>,
    /// The stream that holds its events.
    pub stream: Arc<str>,
    /// The revisions of its events there, the second one not included.
    pub events: Range<Revision>,
    /// Where it lies in the log.
    pub position: Position,
    /// The source's chain before the range, and at its end.
    pub chain: [[u8; 32]; 2],
    /// The frame that it says holds the last event of the range.
    pub(crate) place: Position,
}

/// A snapshot that is not used.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ignored {
    /// The stream that holds its events.
    pub stream: Arc<str>,
    /// The snapshot, where that can be read.
    pub snapshot: Option<Snapshot>,
    /// Why.
    pub why: Error,
}

/// The name of the stream that holds the snapshots of a stream with a label.
fn side_stream(source: StreamId, label: &str) -> String {
    format!("{SNAPSHOT_PREFIX}{:016x}/{label}", source.0)
}

/// The label of a stream that holds snapshots of `source`.
fn label_of(side: &str, source: StreamId) -> Option<&str> {
    side.strip_prefix(&side_stream(source, ""))
}
