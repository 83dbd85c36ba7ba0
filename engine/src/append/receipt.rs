//! What an append returns.

use std::sync::Arc;

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
    /// Of a batch that is on its way into the log. It is filled in where it is, from the batch's admission on: passed back
    /// from function to function, it would be copied for every append while it is being written.
    #[inline]
    pub(crate) fn begun() -> Receipt {
        Receipt {
            batch: BatchId::default(),
            epoch: Epoch::default(),
            incarnation: Incarnation::default(),
            position: Position::ZERO,
            end: Position::ZERO,
            level: Durability::Written,
            is_repeated: false,
            sections: SectionReceipts::default(),
            proof: FrameProof::default(),
        }
    }

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

/// The streams' parts of a receipt, to be used as a slice. Mostly one, which then needs no memory of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SectionReceipts(Sections);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sections {
    UpToOne(Option<SectionReceipt>),
    Many(Vec<SectionReceipt>),
}

impl Default for Sections {
    fn default() -> Sections {
        Sections::UpToOne(None)
    }
}

impl std::ops::Deref for SectionReceipts {
    type Target = [SectionReceipt];

    #[inline]
    fn deref(&self) -> &[SectionReceipt] {
        match &self.0 {
            Sections::UpToOne(section) => section.as_slice(),
            Sections::Many(sections) => sections,
        }
    }
}

impl SectionReceipts {
    /// Keeps only the first so many.
    pub(crate) fn truncate(&mut self, len: usize) {
        match &mut self.0 {
            Sections::UpToOne(section) if len == 0 => *section = None,
            Sections::UpToOne(_) => {}
            Sections::Many(sections) => sections.truncate(len),
        }
    }

    /// Adds what `make` makes: called where the section is to lie, it is made there and not copied.
    #[inline(always)]
    pub(crate) fn push(&mut self, make: impl FnOnce() -> SectionReceipt) {
        match &mut self.0 {
            Sections::UpToOne(none @ None) => *none = Some(make()),
            _ => self.many().push(make()),
        }
    }

    #[inline(never)]
    fn many(&mut self) -> &mut Vec<SectionReceipt> {
        if let Sections::UpToOne(first) = &mut self.0 {
            self.0 = Sections::Many(first.take().into_iter().collect());
        }
        match &mut self.0 {
            Sections::Many(sections) => sections,
            Sections::UpToOne(_) => unreachable!("it was just made many"),
        }
    }
}

impl<'r> IntoIterator for &'r SectionReceipts {
    type Item = &'r SectionReceipt;
    type IntoIter = std::slice::Iter<'r, SectionReceipt>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
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
