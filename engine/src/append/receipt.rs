//! What an append returns.

use std::sync::Arc;

use crate::ids::{BatchId, Epoch, Incarnation, Position, Revision};
use crate::options::Durability;

/// Says that a batch is in the log, where, and how well it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a receipt says which level of durability was reached"]
pub struct Receipt {
    /// The batch.
    pub batch: BatchId,
    /// The epoch of the writer that appended it. Where it differs later, events that were only Written may have been lost.
    pub epoch: Epoch,
    /// The life of the store.
    pub incarnation: Incarnation,
    /// Where the batch begins in the log.
    pub position: Position,
    /// Where it ends: durable once the durable watermark is here.
    pub end: Position,
    /// The level that was reached when the receipt was given.
    pub level: Durability,
    /// Whether the batch was in the log already, from an earlier try.
    pub is_repeated: bool,
    /// One for each stream, in the order of the batch.
    pub sections: Vec<SectionReceipt>,
}

/// Where the events of one stream went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionReceipt {
    /// The stream.
    pub stream: Arc<str>,
    /// Revision of its first event in the batch.
    pub first_revision: Revision,
    /// Revision of its last event in the batch: the stream's head now.
    pub last_revision: Revision,
    /// Position of its first event in the batch; the others follow one by one.
    pub first_position: Position,
}
