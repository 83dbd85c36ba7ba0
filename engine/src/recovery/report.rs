//! What was found at opening.

use crate::error::Damage;
use crate::ids::{Epoch, Incarnation, Position};

/// What opening a store found and did.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// The store was made by this opening.
    pub is_new: bool,
    /// The store had been closed, and nothing had to be recovered.
    pub was_clean: bool,
    /// Other processes had it open for writing, and go on with it too.
    pub was_open: bool,
    /// A new segment was begun, since the end of the log was not certain.
    pub has_rolled: bool,
    /// Up to where the log was known durable before.
    pub witness: Position,
    /// Where the log ends.
    pub end: Position,
    /// The epoch of this writer; of the last one, for a reader.
    pub epoch: Epoch,
    /// The life of the store.
    pub incarnation: Incarnation,
    /// Bytes behind the end that were being written when a writer died. Nobody was promised them.
    pub torn_tail: Option<Damage>,
    /// What is lost or in doubt; empty for a sound store.
    pub damage: Vec<Damage>,
    /// Where reading the log began: before it only the checkpoint was looked at. Damage there is told by who reads it, and by
    /// [`verify`](fn@crate::maintain::verify).
    pub read_from: Position,
    /// How many frames were read.
    pub frames_read: u64,
}
