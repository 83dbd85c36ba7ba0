//! The batch: events that become visible together or not at all.
//!
//! Everything is borrowed: an append copies it into the log before it returns. All limits on what users hand in are
//! checked here, before anything is locked.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use crate::format::token::Token;
use crate::ids::{BatchId, FencingToken, Revision};
use crate::options::Durability;
use crate::{Error, ErrorKind, Result, limits};

/// An event to be appended.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    pub(crate) event_type: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) metadata: &'a [u8],
    pub(crate) id: Option<&'a str>,
    pub(crate) occurred_at: Option<i64>,
    pub(crate) recorded_at: Option<i64>,
}

impl<'a> NewEvent<'a> {
    /// An event of this type (1 to 255 bytes) with this payload (may be empty).
    pub fn new(event_type: &'a str, payload: &'a (impl AsRef<[u8]> + ?Sized)) -> NewEvent<'a> {
        let payload = payload.as_ref();
        NewEvent { event_type, payload, metadata: &[], id: None, occurred_at: None, recorded_at: None }
    }

    /// An id of the caller's own (1 to 255 bytes). The store does not look at it; it need not be unique.
    #[must_use]
    pub fn id(mut self, id: &'a str) -> NewEvent<'a> {
        self.id = Some(id);
        self
    }

    /// Metadata beside the payload, mostly JSON; at most 16 MiB.
    #[must_use]
    pub fn metadata(mut self, metadata: &'a (impl AsRef<[u8]> + ?Sized)) -> NewEvent<'a> {
        self.metadata = metadata.as_ref();
        self
    }

    /// When it happened, in nanoseconds since 1970 UTC, where that is another time than now.
    #[must_use]
    pub fn occurred_at(mut self, nanoseconds: i64) -> NewEvent<'a> {
        self.occurred_at = Some(nanoseconds);
        self
    }

    /// When it was recorded the first time, for events that come from an export of another store.
    #[must_use]
    pub fn recorded_at(mut self, nanoseconds: i64) -> NewEvent<'a> {
        self.recorded_at = Some(nanoseconds);
        self
    }
}

/// What the stream must be like for an append to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Expected {
    /// Anything goes.
    #[default]
    Any,
    /// The stream does not exist.
    NoStream,
    /// The stream exists.
    Exists,
    /// The stream's last event has this revision.
    Exactly(Revision),
}

/// One stream's part of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchSection<'a> {
    pub(crate) stream: &'a str,
    pub(crate) expected: Expected,
    pub(crate) events: &'a [NewEvent<'a>],
}

/// The sections of a batch: mostly one, which then needs no memory of its own. (A `SmallVec` would tie the batch to exactly
/// the lifetime of what it borrows.)
#[derive(Clone, Debug)]
pub(crate) enum BatchSections<'a> {
    One([BatchSection<'a>; 1]),
    Many(Vec<BatchSection<'a>>),
}

impl<'a> BatchSections<'a> {
    fn push(&mut self, section: BatchSection<'a>) {
        match self {
            BatchSections::Many(sections) if sections.is_empty() => *self = BatchSections::One([section]),
            BatchSections::Many(sections) => sections.push(section),
            BatchSections::One([first]) => *self = BatchSections::Many(vec![*first, section]),
        }
    }
}

impl<'a> std::ops::Deref for BatchSections<'a> {
    type Target = [BatchSection<'a>];

    #[inline]
    fn deref(&self) -> &[BatchSection<'a>] {
        match self {
            BatchSections::One(one) => one,
            BatchSections::Many(many) => many,
        }
    }
}

/// Events to be appended together, to one stream or several.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    pub(crate) id: BatchId,
    pub(crate) is_id_given: bool,
    pub(crate) durability: Option<Durability>,
    pub(crate) sections: BatchSections<'a>,
    /// Streams with the claims that must be their newest ones.
    pub(crate) fences: Vec<(&'a str, FencingToken)>,
    /// Cursors that it moves.
    pub(crate) cursors: Vec<CursorMove<'a>>,
}

/// A cursor's next place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CursorMove<'a> {
    pub(crate) name: &'a str,
    pub(crate) token: Token,
    /// Of the revision of its last place.
    pub(crate) expected: Expected,
}

impl Default for Batch<'_> {
    fn default() -> Self {
        Batch::new()
    }
}

impl<'a> Batch<'a> {
    /// An empty batch with a random id.
    #[must_use]
    pub fn new() -> Batch<'a> {
        Batch::of(random_id(), false, BatchSections::Many(Vec::new()))
    }

    /// An empty batch with an id given by the caller: appending it again, also in another process, returns the first
    /// receipt, as long as the batch is among the newest 65,536 with an id given, or expects an exact revision.
    #[must_use]
    pub fn with_id(id: BatchId) -> Batch<'a> {
        Batch::of(id, true, BatchSections::Many(Vec::new()))
    }

    /// A batch of events to one stream.
    #[must_use]
    pub fn to(stream: &'a str, expected: Expected, events: &'a [NewEvent<'a>]) -> Batch<'a> {
        Batch::of(random_id(), false, BatchSections::One([BatchSection { stream, expected, events }]))
    }

    fn of(id: BatchId, is_id_given: bool, sections: BatchSections<'a>) -> Batch<'a> {
        Batch { id, is_id_given, durability: None, sections, fences: Vec::new(), cursors: Vec::new() }
    }

    /// Adds events to one more stream. Each stream once, each with one event at least.
    #[must_use]
    pub fn section(mut self, stream: &'a str, expected: Expected, events: &'a [NewEvent<'a>]) -> Batch<'a> {
        self.sections.push(BatchSection { stream, expected, events });
        self
    }

    /// Has the append happen only while `token` is that of the newest claim of `stream`, which need not be one that it appends
    /// to: who had the stream before is refused ([`Fenced`](ErrorKind::Fenced)). See
    /// [`Store::fencing_token`](crate::Store::fencing_token).
    #[must_use]
    pub fn fenced(mut self, stream: &'a str, token: FencingToken) -> Batch<'a> {
        self.fences.push((stream, token));
        self
    }

    /// Moves a cursor behind the event that `token` names, together with the events of the batch, of which there may be none: a
    /// consumer whose results are those events deals with each event once. `expected` is held against the revision of the
    /// cursor's last place ([`CursorPlace::revision`](crate::CursorPlace)), so that of two consumers one is refused.
    #[must_use]
    pub fn cursor(mut self, name: &'a str, token: &Token, expected: Expected) -> Batch<'a> {
        self.cursors.push(CursorMove { name, token: *token, expected });
        self
    }

    /// What the append waits for; otherwise the store's option decides.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Batch<'a> {
        self.durability = Some(durability);
        self
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> BatchId {
        self.id
    }

    /// How many events it holds.
    #[must_use]
    pub fn events(&self) -> usize {
        self.sections.iter().map(|section| section.events.len()).sum()
    }

    /// Refuses what is beyond the limits. Returns the sum of payloads and metadata in bytes.
    pub(crate) fn check(&self) -> Result<usize> {
        self.check_with(check_stream_name)
    }

    /// As [`check`](Self::check), of a batch that the engine has put together, to streams of its own too.
    pub(crate) fn check_as_engine(&self) -> Result<usize> {
        self.check_with(|_| Ok(()))
    }

    fn check_with(&self, check_stream_name: impl Fn(&str) -> Result<()>) -> Result<usize> {
        let limit = |what: String| Err(Error::new(ErrorKind::Limit, what));
        let invalid = |what: String| Err(Error::new(ErrorKind::Invalid, what));
        if self.sections.is_empty() {
            return invalid("a batch needs one event at least".into());
        }
        if self.sections.len() > limits::BATCH_SECTIONS_MAX {
            return limit(format!(
                "a batch appends to {} streams at most, not {}",
                limits::BATCH_SECTIONS_MAX,
                self.sections.len()
            ));
        }
        let (mut events, mut bytes) = (0usize, 0usize);
        for section in self.sections.iter() {
            check_stream_name(section.stream)?;
            if section.events.is_empty() {
                return invalid(format!("a batch needs one event at least for the stream {:?}", section.stream));
            }
            if let Expected::Exactly(revision) = section.expected
                && revision.0 >= limits::NUMBER_MAX
            {
                return limit(format!("an expected revision is below 2^63, not {revision}"));
            }
            events += section.events.len();
            for event in section.events {
                bytes = bytes.saturating_add(check_event(event)?);
            }
        }
        if events > limits::BATCH_EVENTS_MAX {
            return limit(format!("a batch has {} events at most, not {events}", limits::BATCH_EVENTS_MAX));
        }
        if bytes > limits::BATCH_BYTES_MAX {
            return limit(format!(
                "payloads and metadata of a batch are 1 GiB at most, not {bytes} bytes; append them in several batches"
            ));
        }
        if self.sections.len() > 1
            && let Some(twice) = twice_in(self.sections.iter().map(|section| section.stream))
        {
            return invalid(format!("the stream {twice:?} stands twice in the batch; put its events into one section"));
        }
        if !self.fences.is_empty() {
            self.check_fences()?;
        }
        Ok(bytes)
    }

    fn check_fences(&self) -> Result<()> {
        let (max, count) = (limits::BATCH_SECTIONS_MAX, self.fences.len());
        if count > max {
            return Err(Error::new(ErrorKind::Limit, format!("a batch has {max} fencing tokens at most, not {count}")));
        }
        self.fences.iter().try_for_each(|(stream, _)| check_stream_name(stream))?;
        match twice_in(self.fences.iter().map(|(stream, _)| *stream)) {
            None => Ok(()),
            Some(twice) => {
                let message = format!("the batch has two fencing tokens of the stream {twice:?}; give it one");
                Err(Error::new(ErrorKind::Invalid, message))
            }
        }
    }
}

/// A name that is there twice.
fn twice_in<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// Refuses what cannot be the name of a user's stream.
pub(crate) fn check_stream_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "a stream name must not be empty"));
    }
    if name.len() > limits::STREAM_NAME_BYTES_MAX {
        let max = limits::STREAM_NAME_BYTES_MAX;
        return Err(Error::new(ErrorKind::Limit, format!("a stream name is {max} bytes at most, not {}", name.len())));
    }
    if name.starts_with(limits::RESERVED_NAME_PREFIX) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("stream names that begin with $ belong to the engine: {name:?}"),
        ));
    }
    Ok(())
}

fn check_event(event: &NewEvent<'_>) -> Result<usize> {
    let limit = |what: String| Err(Error::new(ErrorKind::Limit, what));
    let invalid = |what: &str| Err(Error::new(ErrorKind::Invalid, what));
    if event.event_type.is_empty() {
        return invalid("an event type must not be empty");
    }
    if event.event_type.len() > limits::TYPE_BYTES_MAX {
        return limit(format!(
            "an event type is {} bytes at most, not {}",
            limits::TYPE_BYTES_MAX,
            event.event_type.len()
        ));
    }
    if let Some(id) = event.id {
        if id.is_empty() {
            return invalid("an event id must not be empty; leave it out instead");
        }
        if id.len() > limits::EVENT_ID_BYTES_MAX {
            return limit(format!("an event id is {} bytes at most, not {}", limits::EVENT_ID_BYTES_MAX, id.len()));
        }
    }
    if event.metadata.len() > limits::METADATA_BYTES_MAX {
        return limit(format!("metadata is 16 MiB at most, not {} bytes", event.metadata.len()));
    }
    Ok(event.payload.len().saturating_add(event.metadata.len()))
}

/// A random id: two SplitMix64 generators, seeded for each thread by the keys that the standard library draws.
///
/// Within a thread ids differ, since the generators run through all their values before one comes again; between threads
/// and processes they differ as 128 random bits do. That they cannot be guessed is not needed.
fn random_id() -> BatchId {
    thread_local! {
        static SEEDS: [Cell<u64>; 2] = {
            // The keys of one thread are related to each other; the hash under them is not.
            let seed = |number: u64| Cell::new(RandomState::new().hash_one(number));
            [seed(0), seed(1)]
        };
    }
    let next = |cell: &Cell<u64>| {
        let seed = cell.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        cell.set(seed);
        let value = (seed ^ seed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ value >> 31
    };
    let (low, high) = SEEDS.with(|[low, high]| (next(low), next(high)));
    let mut id = [0; 16];
    id[..8].copy_from_slice(&low.to_le_bytes());
    id[8..].copy_from_slice(&high.to_le_bytes());
    BatchId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_differ_within_and_between_threads() {
        let draw = || (0..1000).map(|_| random_id()).collect::<Vec<_>>();
        let other = std::thread::spawn(draw).join().expect("no panic");
        let all: std::collections::HashSet<_> = draw().into_iter().chain(other).collect();
        assert_eq!(all.len(), 2000);
    }
}
