//! What of a stream is to be read.

use crate::format::token::Token;
use crate::ids::{Position, Revision};
use crate::watermark::Visibility;

/// What of a stream is to be read, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions<'a> {
    pub(crate) from: Option<Revision>,
    pub(crate) to: Option<Revision>,
    pub(crate) last: Option<u64>,
    pub(crate) after_token: Option<Token>,
    pub(crate) from_position: Option<Position>,
    pub(crate) at: Option<Position>,
    pub(crate) backwards: bool,
    pub(crate) visibility: Visibility,
    pub(crate) event_type: Option<&'a str>,
}

impl<'a> ReadOptions<'a> {
    /// Everything that is durable, from the first event on.
    #[must_use]
    pub fn new() -> ReadOptions<'a> {
        ReadOptions::default()
    }

    /// Begin with this revision. Default: the first; backwards the head.
    #[must_use]
    pub fn from(mut self, revision: Revision) -> ReadOptions<'a> {
        self.from = Some(revision);
        self
    }

    /// End with this revision, itself included. Default: the head; backwards the first.
    #[must_use]
    pub fn to(mut self, revision: Revision) -> ReadOptions<'a> {
        self.to = Some(revision);
        self
    }

    /// Only the newest so many events of what else was asked for.
    #[must_use]
    pub fn last(mut self, count: u64) -> ReadOptions<'a> {
        self.last = Some(count);
        self
    }

    /// Only what lies in the log behind the event that this token names, which may be of any stream: no event is left out,
    /// and none comes again.
    #[must_use]
    pub fn after_token(mut self, token: &Token) -> ReadOptions<'a> {
        self.after_token = Some(*token);
        self
    }

    /// Only what lies in the log at `position` or behind it, in whole batches: those that begin there or later. With
    /// [`Store::end_at`](crate::Store::end_at), which says where the log ended at a time, nothing is left out that was recorded later.
    /// Costs a few looks, whatever lies before it.
    #[must_use]
    pub fn from_position(mut self, position: Position) -> ReadOptions<'a> {
        self.from_position = Some(position);
        self
    }

    /// The stream as it was when the log ended at `position`: whole batches, those that begin before it. What else is asked
    /// for is taken from that. A time is turned into such a position by [`Store::end_at`](crate::Store::end_at).
    #[must_use]
    pub fn at(mut self, position: Position) -> ReadOptions<'a> {
        self.at = Some(position);
        self
    }

    /// The newest event first.
    #[must_use]
    pub fn backwards(mut self) -> ReadOptions<'a> {
        self.backwards = true;
        self
    }

    /// Whether events that are not durable yet are shown. Default: no.
    #[must_use]
    pub fn visibility(mut self, visibility: Visibility) -> ReadOptions<'a> {
        self.visibility = visibility;
        self
    }

    /// Only events of this type. What else was asked for comes first: the last ten are the last ten of any type, of which those
    /// of this type are handed out. What holds none of them is not looked at where an index says so, and damage there is not
    /// told.
    #[must_use]
    pub fn event_type(mut self, name: &'a str) -> ReadOptions<'a> {
        self.event_type = Some(name);
        self
    }
}
