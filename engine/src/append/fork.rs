//! A fork as the caller asks for it, and what becomes of it.

use std::sync::Arc;

use crate::append::Receipt;
use crate::ids::{BatchId, Revision, StreamId};
use crate::options::Durability;

/// A stream that is to go on from a revision of another one, the *parent*, by itself.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is forked before the store is asked to"]
pub struct Fork<'a> {
    pub(crate) parent: &'a str,
    pub(crate) name: &'a str,
    pub(crate) revision: Option<Revision>,
    pub(crate) id: Option<BatchId>,
    pub(crate) durability: Option<Durability>,
}

impl<'a> Fork<'a> {
    /// A fork `name` of the stream `parent`, at its head.
    pub fn new(parent: &'a str, name: &'a str) -> Fork<'a> {
        Fork { parent, name, revision: None, id: None, durability: None }
    }

    /// Leaves the parent at this revision, which is the last that both share. Default: the parent's head when it is made.
    pub fn at(mut self, revision: Revision) -> Fork<'a> {
        self.revision = Some(revision);
        self
    }

    /// The id of its batch. Forking again with it, also in another process, returns what the first try made.
    pub fn with_id(mut self, id: BatchId) -> Fork<'a> {
        self.id = Some(id);
        self
    }

    /// What the call waits for; otherwise the store's option decides.
    pub fn durability(mut self, durability: Durability) -> Fork<'a> {
        self.durability = Some(durability);
        self
    }
}

/// A fork that is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it says which level of durability was reached"]
pub struct Forked {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub stream: StreamId,
    /// The stream that it leaves.
    pub parent: StreamId,
    /// The last revision that it shares with its parent.
    pub revision: Revision,
    /// Of the frame that made it, which holds no event.
    pub receipt: Receipt,
}
