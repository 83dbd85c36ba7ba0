//! What an append returns.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::format::token::Token;
use crate::ids::{BatchId, Epoch, Incarnation, Position, Revision, StoreId};
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
    pub sections: SectionReceipts,
    /// What proves later that a frame of the log is the one that this was given for.
    pub proof: FrameProof,
}

impl Receipt {
    /// The place behind the last event of the batch: reading goes on with what was appended after it.
    ///
    /// A batch that was only Written may be lost with the power, and its token with it; once it is durable the token is good
    /// for as long as the log is.
    #[must_use]
    pub fn token(&self) -> Token {
        let last = self.sections.last().map_or(0, |section| {
            section.first_position.0 - self.position.0 + (section.last_revision.0 - section.first_revision.0)
        });
        Token {
            store: self.proof.store,
            incarnation: self.incarnation,
            epoch: self.epoch,
            frame: self.position,
            ordinal: last as u32,
            number: self.proof.first_number + last,
            frame_check: self.proof.check,
        }
    }
}

/// What proves later that a frame of the log is a certain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FrameProof {
    /// The store.
    pub store: StoreId,
    /// How many events are in the log before it.
    pub first_number: u64,
    /// The check that is stored in it.
    pub check: u64,
}

/// Where a batch is, as a receipt will say it; small, since it is handed through the writer for every append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    pub(crate) epoch: Epoch,
    pub(crate) incarnation: Incarnation,
    pub(crate) position: Position,
    pub(crate) end: Position,
    pub(crate) is_durable: bool,
    pub(crate) is_repeated: bool,
    pub(crate) proof: FrameProof,
}

impl Put {
    /// The receipt for the batch, in which its streams are as `sections` say.
    #[inline]
    pub(crate) fn receipt(self, batch: BatchId, sections: SectionReceipts) -> Receipt {
        Receipt {
            batch,
            epoch: self.epoch,
            incarnation: self.incarnation,
            position: self.position,
            end: self.end,
            level: if self.is_durable { Durability::Synced } else { Durability::Written },
            is_repeated: self.is_repeated,
            sections,
            proof: self.proof,
        }
    }
}

/// The streams' parts of a receipt, to be used as a slice. Mostly one, which then needs no memory of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SectionReceipts(SmallVec<[SectionReceipt; 1]>);

impl std::ops::Deref for SectionReceipts {
    type Target = [SectionReceipt];

    #[inline]
    fn deref(&self) -> &[SectionReceipt] {
        &self.0
    }
}

impl SectionReceipts {
    #[inline]
    pub(crate) fn push(&mut self, section: SectionReceipt) {
        match self.0.is_empty() {
            true => self.0 = SmallVec::from_buf([section]),
            false => self.0.push(section),
        }
    }
}

impl<'r> IntoIterator for &'r SectionReceipts {
    type Item = &'r SectionReceipt;
    type IntoIter = std::slice::Iter<'r, SectionReceipt>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
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
