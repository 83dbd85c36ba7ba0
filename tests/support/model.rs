//! The reference model: what a store must answer, as plainly as it can be said.
//!
//! The question it answers: given the batches appended so far, what does an append return, and what does a reader see?
//!
//! Everything is a vector in memory, in append order. The limits are written out again on purpose: a limit that was
//! mistyped in the engine must not be mistyped here by import. What the model cannot know (positions, which depend on
//! bytes; the clock; a random batch id) it learns from the first answer and holds the store to from then on.
//!
//! Left to others: comparing (`run`), making input up (`workload`).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

/// Longest stream name, in bytes.
pub const NAME_BYTES_MAX: usize = 1_024;
/// Longest type and longest event id, in bytes.
pub const LABEL_BYTES_MAX: usize = 255;
/// Largest metadata of one event, in bytes.
pub const METADATA_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// First number that is no revision any more.
pub const REVISIONS_END: u64 = 1 << 63;

/// One event as a caller hands it in.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Event {
    /// Its type.
    pub event_type: String,
    /// The caller's id.
    pub id: Option<String>,
    /// When it happened, in nanoseconds since 1970 UTC.
    pub occurred_at: Option<i64>,
    /// When another store recorded it; only imports of exports say so.
    pub recorded_at: Option<i64>,
    /// Metadata.
    pub metadata: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

/// What the caller expects of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Any,
    /// That it does not exist.
    NoStream,
    /// That it exists.
    Exists,
    /// That its head has this revision.
    Exactly(u64),
}

/// A batch's part for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The stream's name.
    pub stream: String,
    /// What is expected of it.
    pub expected: Expected,
    /// What is appended to it.
    pub events: Vec<Event>,
}

/// Events that are appended together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The batch id, where the caller gives one.
    pub id: Option<[u8; 16]>,
    /// Level: Synced or Written.
    pub synced: bool,
    /// At most one section a stream.
    pub sections: Vec<Section>,
}

/// What an append returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// A receipt.
    Receipt(Receipt),
    /// A conflict, with the stream and its actual head.
    Conflict {
        /// The stream.
        stream: String,
        /// Its head, or nothing where it does not exist.
        actual: Option<u64>,
    },
    /// The arguments were refused: a limit, or no sense in them.
    Refused,
}

/// What a receipt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The batch id, given or random.
    pub batch: [u8; 16],
    /// The life of the store.
    pub incarnation: [u8; 16],
    /// The epoch: segment ordinal and takeover.
    pub epoch: (u64, u16),
    /// Where the frame starts.
    pub position: u64,
    /// Where it ends.
    pub end: u64,
    /// Whether the level Synced was reached.
    pub synced: bool,
    /// Whether it is the receipt of an earlier append, recognised as a retry.
    pub repeated: bool,
    /// One for each section, in the batch's order.
    pub sections: Vec<SectionReceipt>,
}

/// A receipt's part for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionReceipt {
    /// The stream.
    pub stream: String,
    /// Revision of the section's first event.
    pub first_revision: u64,
    /// Revision of its last event.
    pub last_revision: u64,
    /// Position of its first event; the others follow one by one.
    pub first_position: u64,
}

/// What a fork came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// There is one, which shares its parent's events up to this revision.
    At(u64),
    /// There is no such parent, or it does not have the revision.
    NotFound,
    /// A stream of that name exists.
    Conflict,
    /// The name was refused.
    Refused,
}

/// One event as a reader sees it. Its parts are shared with whoever lent them: some thousands of these are compared for each
/// workload, and mostly there is nothing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The stream's name.
    pub stream: Arc<str>,
    /// The place in the stream.
    pub revision: u64,
    /// The place in the store.
    pub position: u64,
    /// How many events lie before it in the store.
    pub global_number: u64,
    /// The batch it came with.
    pub batch: [u8; 16],
    /// When it was recorded.
    pub recorded_at: i64,
    /// The caller's id.
    pub id: Option<Box<str>>,
    /// Its type.
    pub event_type: Arc<str>,
    /// When it happened.
    pub occurred_at: Option<i64>,
    /// Metadata.
    pub metadata: Bytes,
    /// Payload.
    pub payload: Bytes,
}

/// Which events of a stream are wanted, in which order.
///
/// Forwards, `from` is the lower end (default 0) and `to` the upper one, inclusive (default the head). Backwards, `from`
/// is the upper end (default the head) and `to` the lower one, inclusive. `last` stands alone: the newest so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Query {
    /// Where reading starts.
    pub from: Option<u64>,
    /// Where it ends, inclusive.
    pub to: Option<u64>,
    /// Only the newest so many; then `from` and `to` are not given.
    pub last: Option<u64>,
    /// Newest first.
    pub backwards: bool,
}

/// What the model says of an append before it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// It is refused; nothing changes.
    Refused,
    /// It conflicts, on one of these streams with that actual head.
    Conflict {
        /// The streams that may be named.
        possible: Vec<(String, Option<u64>)>,
        /// Whether refusing the number itself is as right.
        or_refused: bool,
    },
    /// It is a retry: this receipt comes back.
    Repeat(Receipt),
    /// It is appended; each section's stream with its first and last revision.
    Append(Vec<(String, u64, u64)>),
}

/// The log so far.
#[derive(Clone, Debug, Default)]
pub struct Model {
    events: Vec<Recorded>,
    streams: Vec<Stream>,
    by_name: HashMap<String, usize>,
    batches: Vec<Committed>,
    window_batches: Option<usize>,
}

#[derive(Clone, Debug)]
struct Recorded {
    stream: usize,
    revision: u64,
    position: u64,
    batch: usize,
    recorded_at: Option<i64>,
    content: Event,
}

#[derive(Clone, Debug)]
struct Stream {
    name: String,
    /// Global numbers of its events, those of its parent first where it is a fork; the place in the vector is the revision.
    events: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Committed {
    batch: Batch,
    receipt: Receipt,
}

impl Model {
    /// An empty store.
    #[must_use]
    pub fn new() -> Model {
        Model::default()
    }

    /// An empty store that remembers only so many batches with a given id.
    #[must_use]
    pub fn with_window(batches: usize) -> Model {
        Model { window_batches: Some(batches), ..Model::default() }
    }

    /// How many events there are.
    #[must_use]
    pub fn events_count(&self) -> u64 {
        self.events.len() as u64
    }

    /// How many batches there are.
    #[must_use]
    pub fn batches_count(&self) -> usize {
        self.batches.len()
    }

    /// The batch that was appended as the n-th, with its receipt.
    #[must_use]
    pub fn committed(&self, n: usize) -> Option<(&Batch, &Receipt)> {
        self.batches.get(n).map(|committed| (&committed.batch, &committed.receipt))
    }

    /// End of the last frame; 0 before the first.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.batches.last().map_or(0, |committed| committed.receipt.end)
    }

    /// Position of the event with this global number.
    #[must_use]
    pub fn position_of(&self, global_number: u64) -> Option<u64> {
        self.events.get(usize::try_from(global_number).ok()?).map(|event| event.position)
    }

    /// Revision of the stream's last event; nothing where there is no such stream.
    #[must_use]
    pub fn head(&self, stream: &str) -> Option<u64> {
        self.stream(stream).map(|stream| stream.events.len() as u64 - 1)
    }

    /// Names and heads of all streams, in order of creation.
    #[must_use]
    pub fn streams(&self) -> Vec<(String, u64)> {
        self.streams.iter().map(|stream| (stream.name.clone(), stream.events.len() as u64 - 1)).collect()
    }

    fn stream(&self, name: &str) -> Option<&Stream> {
        self.by_name.get(name).map(|&index| &self.streams[index])
    }

    /// What appending `batch` must return now.
    #[must_use]
    pub fn predict(&self, batch: &Batch) -> Prediction {
        if !is_well_formed(batch) {
            return Prediction::Refused;
        }
        if let Some(earlier) = self.retry_of(batch) {
            let earlier = &self.batches[earlier];
            if have_same_content(&earlier.batch, batch) {
                return Prediction::Repeat(Receipt { repeated: true, ..earlier.receipt.clone() });
            }
            let possible = batch.sections.iter().map(|s| (s.stream.clone(), self.head(&s.stream))).collect();
            return Prediction::Conflict { possible, or_refused: false };
        }
        let beyond = |s: &Section| matches!(s.expected, Expected::Exactly(n) if n >= REVISIONS_END);
        let possible: Vec<_> = (batch.sections.iter())
            .filter(|section| !self.is_met(section))
            .map(|section| (section.stream.clone(), self.head(&section.stream)))
            .collect();
        if !possible.is_empty() {
            return Prediction::Conflict { possible, or_refused: batch.sections.iter().any(beyond) };
        }
        let sections = batch.sections.iter().map(|section| {
            let first = self.head(&section.stream).map_or(0, |head| head + 1);
            (section.stream.clone(), first, first + section.events.len() as u64 - 1)
        });
        Prediction::Append(sections.collect())
    }

    fn is_met(&self, section: &Section) -> bool {
        match (section.expected, self.head(&section.stream)) {
            (Expected::Any, _) | (Expected::NoStream, None) | (Expected::Exists, Some(_)) => true,
            (Expected::Exactly(n), Some(head)) => n == head,
            (Expected::NoStream, Some(_)) | (Expected::Exists | Expected::Exactly(_), None) => false,
        }
    }

    /// The earlier batch that this one is a retry of: the owner of the revision that an exact expectation would give its
    /// first event, however old; else one of the newest with a given id.
    fn retry_of(&self, batch: &Batch) -> Option<usize> {
        let id = batch.id?;
        let owner = batch.sections.iter().find_map(|section| {
            let revision = match section.expected {
                Expected::NoStream => 0,
                Expected::Exactly(n) => n.checked_add(1)?,
                Expected::Any | Expected::Exists => return None,
            };
            let event = *self.stream(&section.stream)?.events.get(usize::try_from(revision).ok()?)?;
            let owner = self.events[event].batch;
            (self.batches[owner].receipt.batch == id).then_some(owner)
        });
        owner.or_else(|| {
            let given = self.batches.iter().enumerate().rev().filter(|(_, committed)| committed.batch.id.is_some());
            let mut window = given.take(self.window_batches.unwrap_or(usize::MAX));
            window.find(|(_, committed)| committed.receipt.batch == id).map(|(n, _)| n)
        })
    }

    /// Takes the batch into the log as the receipt says. The receipt must have been checked.
    pub fn commit(&mut self, batch: &Batch, receipt: &Receipt) {
        let number = self.batches.len();
        for (section, place) in batch.sections.iter().zip(&receipt.sections) {
            let stream = *self.by_name.entry(section.stream.clone()).or_insert_with(|| {
                self.streams.push(Stream { name: section.stream.clone(), events: Vec::new() });
                self.streams.len() - 1
            });
            for (ordinal, event) in section.events.iter().enumerate() {
                let revision = self.streams[stream].events.len() as u64;
                self.streams[stream].events.push(self.events.len());
                self.events.push(Recorded {
                    stream,
                    revision,
                    position: place.first_position + ordinal as u64,
                    batch: number,
                    recorded_at: event.recorded_at,
                    content: event.clone(),
                });
            }
        }
        self.batches.push(Committed { batch: batch.clone(), receipt: receipt.clone() });
    }

    /// What forking `parent` as `name` must come to, at a revision or at the head.
    #[must_use]
    pub fn predict_fork(&self, parent: &str, revision: Option<u64>, name: &str) -> Forked {
        if self.by_name.contains_key(name) {
            return Forked::Conflict;
        }
        match (self.head(parent), revision) {
            (Some(head), None) => Forked::At(head),
            (Some(head), Some(revision)) if revision <= head => Forked::At(revision),
            _ => Forked::NotFound,
        }
    }

    /// Takes in a fork that was predicted. It counts as there from the last event before it on: it is to be Synced.
    pub fn fork(&mut self, parent: &str, revision: u64, name: &str) {
        let shared = &self.stream(parent).expect("it was predicted").events;
        let events = shared[..=usize::try_from(revision).expect("a revision of it")].to_vec();
        self.by_name.insert(name.to_owned(), self.streams.len());
        self.streams.push(Stream { name: name.to_owned(), events });
    }

    /// The same log, of which only the first `events` are there.
    #[must_use]
    pub fn prefix(&self, events: u64) -> View<'_> {
        View { model: self, events: usize::try_from(events).unwrap_or(usize::MAX).min(self.events.len()) }
    }

    /// The whole log.
    #[must_use]
    pub fn all(&self) -> View<'_> {
        self.prefix(u64::MAX)
    }

    /// Numbers of events at which a batch ends, up to all: the places where a reader's view may end.
    pub fn batch_ends(&self) -> impl Iterator<Item = u64> {
        let counts = self.batches.iter().map(|c| c.batch.sections.iter().map(|s| s.events.len() as u64).sum::<u64>());
        std::iter::once(0).chain(counts.scan(0, |total, count| {
            *total += count;
            Some(*total)
        }))
    }

    /// Learns the clock's reading from what was seen, where it was not given.
    pub fn learn(&mut self, seen: &[Seen]) {
        for seen in seen {
            let index = usize::try_from(seen.global_number).ok();
            if let Some(event) = index.and_then(|index| self.events.get_mut(index)) {
                event.recorded_at.get_or_insert(seen.recorded_at);
            }
        }
    }
}

/// A prefix of the log, as a reader may see it.
#[derive(Clone, Copy, Debug)]
pub struct View<'m> {
    model: &'m Model,
    events: usize,
}

impl View<'_> {
    /// The events of a stream that `query` asks for, as global numbers; nothing where there is no such stream.
    #[must_use]
    pub fn stream(&self, name: &str, query: Query) -> Option<Vec<usize>> {
        let stream = self.model.stream(name)?;
        let mut there: Vec<usize> = stream.events.iter().copied().take_while(|&event| event < self.events).collect();
        if there.is_empty() {
            return None;
        }
        if let Some(last) = query.last {
            let skipped = there.len() - usize::try_from(last).unwrap_or(usize::MAX).min(there.len());
            there.drain(..skipped);
        } else {
            let (low, high) = match query.backwards {
                false => (query.from.unwrap_or(0), query.to.unwrap_or(u64::MAX)),
                true => (query.to.unwrap_or(0), query.from.unwrap_or(u64::MAX)),
            };
            there.retain(|&event| (low..=high).contains(&self.model.events[event].revision));
        }
        if query.backwards {
            there.reverse();
        }
        Some(there)
    }

    /// The events of all streams from a position on, as global numbers.
    #[must_use]
    pub fn from_position(&self, position: u64) -> Vec<usize> {
        (0..self.events).filter(|&event| self.model.events[event].position >= position).collect()
    }

    /// The event with this revision, as a global number.
    #[must_use]
    pub fn event(&self, name: &str, revision: u64) -> Option<usize> {
        let index = usize::try_from(revision).ok()?;
        self.model.stream(name)?.events.get(index).copied().filter(|&event| event < self.events)
    }
}

impl Model {
    /// Says in words how `seen` differs from the event with this global number; nothing where it does not.
    #[must_use]
    pub fn difference(&self, global_number: usize, seen: &Seen) -> Option<String> {
        let event = &self.events[global_number];
        let Recorded { content, revision, position, .. } = event;
        // Field by field first: it is asked of every event of every reading, and mostly there is nothing to say.
        let is_same = self.streams[event.stream].name == *seen.stream
            && (*revision, *position, global_number as u64) == (seen.revision, seen.position, seen.global_number)
            && self.batches[event.batch].receipt.batch == seen.batch
            && event.recorded_at.is_none_or(|at| at == seen.recorded_at)
            && (content.id.as_deref(), &*content.event_type, content.occurred_at)
                == (seen.id.as_deref(), &*seen.event_type, seen.occurred_at)
            && (&*content.metadata, &*content.payload) == (&*seen.metadata, &*seen.payload);
        if is_same {
            return None;
        }
        let expected = Seen {
            stream: (*self.streams[event.stream].name).into(),
            revision: event.revision,
            position: event.position,
            global_number: global_number as u64,
            batch: self.batches[event.batch].receipt.batch,
            recorded_at: event.recorded_at.unwrap_or(seen.recorded_at),
            id: event.content.id.as_deref().map(Into::into),
            event_type: (*event.content.event_type).into(),
            occurred_at: event.content.occurred_at,
            metadata: event.content.metadata.clone().into(),
            payload: event.content.payload.clone().into(),
        };
        Some(format!("expected {}, found {}", short(&expected), short(seen)))
    }
}

/// An event without its bytes, which nobody reads in a message.
fn short(seen: &Seen) -> String {
    let Seen { stream, revision, position, global_number, recorded_at, id, event_type, occurred_at, .. } = seen;
    let start = |bytes: &[u8]| format!("{} bytes {:02x?}", bytes.len(), &bytes[..bytes.len().min(8)]);
    format!(
        "event {global_number} ({stream:.20?} revision {revision}, position {position}, batch {:02x?}, recorded \
         {recorded_at}, id {id:?}, type {event_type:.20?}, occurred {occurred_at:?}, metadata {}, payload {})",
        seen.batch,
        start(&seen.metadata),
        start(&seen.payload)
    )
}

fn is_well_formed(batch: &Batch) -> bool {
    let named = |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.starts_with('$');
    let label = |text: &str| !text.is_empty() && text.len() <= LABEL_BYTES_MAX;
    let event = |event: &Event| {
        label(&event.event_type) && event.id.as_deref().is_none_or(label) && event.metadata.len() <= METADATA_BYTES_MAX
    };
    let section = |s: &Section| named(&s.stream) && !s.events.is_empty() && s.events.iter().all(event);
    let mut names: Vec<&str> = batch.sections.iter().map(|section| section.stream.as_str()).collect();
    names.sort_unstable();
    !batch.sections.is_empty() && batch.sections.iter().all(section) && names.windows(2).all(|pair| pair[0] != pair[1])
}

fn have_same_content(one: &Batch, other: &Batch) -> bool {
    one.sections.len() == other.sections.len()
        && one.sections.iter().zip(&other.sections).all(|(a, b)| a.stream == b.stream && a.events == b.events)
}
