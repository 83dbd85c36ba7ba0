//! Appending a snapshot: its events and what they stand for, in one frame.

use crate::Result;
use crate::append::{Batch, Expected, NewEvent, Receipt};
use crate::commit::writer::Writer;
use crate::format::item::Item;
use crate::ids::BatchId;
use crate::options::Durability;
use crate::planted::{Plant, planted};

/// What is appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotParts<'a> {
    /// The stream that holds the events.
    pub(crate) side: &'a str,
    pub(crate) events: &'a [NewEvent<'a>],
    pub(crate) id: Option<BatchId>,
    pub(crate) durability: Option<Durability>,
}

impl Writer {
    /// Appends the events of a snapshot with the item that binds them, and waits for its level. The item is of section 0.
    pub(crate) fn append_snapshot(&self, parts: SnapshotParts<'_>, item: Item<'_>) -> Result<Receipt> {
        let batch = parts.id.map_or_else(Batch::new, Batch::with_id).section(parts.side, Expected::Any, parts.events);
        let body_bytes = batch.check_as_engine()?;
        let level = parts.durability.unwrap_or(self.options.durability);
        let mut receipt = Receipt::begun();
        self.put_with(&batch, body_bytes, level, &mut receipt, |_, _| {
            Ok(if planted(Plant::SnapshotNotBound) { Vec::new() } else { vec![item] })
        })?;
        if level == Durability::Synced && !planted(Plant::SnapshotAckBeforeSync) {
            self.wait_durable(receipt.end)?;
            receipt.level = Durability::Synced;
        }
        Ok(receipt)
    }
}
