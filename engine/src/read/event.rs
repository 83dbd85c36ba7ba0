//! An event, lent or held.

use std::sync::Arc;

use bytes::Bytes;

use crate::Result;
use crate::format::batch::{ProvenEntry, Section};
use crate::format::frame::Frame;
use crate::format::token::Token;
use crate::ids::{BatchId, Position, Revision, StreamId};
use crate::index::type_names::TypeNames;
use crate::read::held::{Details, Held};
use crate::read::place::token_of;
use crate::segment::one::Segment;

/// An event, lent by a reader until its next call. Its bytes are those of the mapped log; nothing was copied.
#[derive(Clone, Copy)]
pub struct EventRef<'a> {
    pub(crate) held: &'a Held,
}

impl<'a> EventRef<'a> {
    /// The name of its stream.
    #[must_use]
    pub fn stream(&self) -> &'a str {
        self.held.stream_name()
    }

    /// Its stream.
    #[must_use]
    pub fn stream_id(&self) -> StreamId {
        self.held.section().stream
    }

    /// Its place in its stream.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.held.revision()
    }

    /// Its place in the log.
    #[must_use]
    pub fn position(&self) -> Position {
        self.held.position()
    }

    /// How many events are in the log before it.
    #[must_use]
    pub fn global_number(&self) -> u64 {
        self.held.global_number()
    }

    /// The caller's id.
    #[must_use]
    pub fn id(&self) -> Option<&'a str> {
        self.held.id()
    }

    /// Its type.
    #[must_use]
    pub fn event_type(&self) -> &'a str {
        self.held.event_type()
    }

    /// When it was recorded, in nanoseconds since 1970 UTC.
    #[must_use]
    pub fn recorded_at(&self) -> i64 {
        self.held.recorded_at()
    }

    /// When it happened, in nanoseconds since 1970 UTC, where that was said.
    #[must_use]
    pub fn occurred_at(&self) -> Option<i64> {
        self.held.occurred_at()
    }

    /// Its metadata.
    #[inline]
    #[must_use]
    pub fn metadata(&self) -> &'a [u8] {
        self.held.metadata()
    }

    /// Its payload.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.held.payload()
    }

    /// The batch that it was appended with.
    #[must_use]
    pub fn batch(&self) -> BatchId {
        self.held.batch()
    }

    /// The place behind the event: reading goes on there, also in another process or after a crash.
    #[must_use]
    pub fn token(&self) -> Token {
        self.held.token()
    }

    /// The event as a value of its own. Its bytes are not copied: they keep the mapping alive, even of a removed file.
    #[must_use]
    pub fn hold(&self) -> Event {
        let Details { id, event_type, recorded_at, occurred_at } = self.held.details();
        Event {
            stream: Arc::clone(self.held.stream_name()),
            stream_id: self.stream_id(),
            revision: self.revision(),
            position: self.position(),
            global_number: self.global_number(),
            id,
            event_type,
            recorded_at,
            occurred_at,
            metadata: self.held.keep(self.metadata()),
            payload: self.held.keep(self.payload()),
            batch: self.batch(),
            token: self.token(),
        }
    }
}

impl std::fmt::Debug for EventRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventRef")
            .field("stream", &self.stream())
            .field("revision", &self.revision())
            .field("position", &self.position())
            .field("event_type", &self.event_type())
            .field("payload_len", &self.payload().len())
            .finish_non_exhaustive()
    }
}

/// An event that stands on its own.
#[derive(Clone, Debug)]
pub struct Event {
    /// The name of its stream.
    pub stream: Arc<str>,
    /// Its stream.
    pub stream_id: StreamId,
    /// Its place in its stream.
    pub revision: Revision,
    /// Its place in the log.
    pub position: Position,
    /// How many events are in the log before it.
    pub global_number: u64,
    /// The caller's id.
    pub id: Option<Box<str>>,
    /// Its type.
    pub event_type: Arc<str>,
    /// When it was recorded, in nanoseconds since 1970 UTC.
    pub recorded_at: i64,
    /// When it happened, in nanoseconds since 1970 UTC, where that was said.
    pub occurred_at: Option<i64>,
    /// Its metadata.
    pub metadata: Bytes,
    /// Its payload.
    pub payload: Bytes,
    /// The batch that it was appended with.
    pub batch: BatchId,
    token: Token,
}

/// Two are equal whose content and place are: what proves the place (the token) may say less of it where a head block is
/// lost.
impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        let Event { stream, stream_id, revision, position, global_number, id, .. } = self;
        let Event { event_type, recorded_at, occurred_at, metadata, payload, batch, .. } = self;
        (stream, stream_id, revision, position) == (&other.stream, &other.stream_id, &other.revision, &other.position)
            && (global_number, id, event_type) == (&other.global_number, &other.id, &other.event_type)
            && (recorded_at, occurred_at, batch) == (&other.recorded_at, &other.occurred_at, &other.batch)
            && are_same(metadata, &other.metadata)
            && are_same(payload, &other.payload)
    }
}

impl Eq for Event {}

/// Whether bytes are equal; of events that lend the same bytes of one mapping none is looked at.
fn are_same(one: &Bytes, other: &Bytes) -> bool {
    (one.as_ptr(), one.len()) == (other.as_ptr(), other.len()) || one == other
}

impl Event {
    /// The event at `index` of a section, where that and its entry are usual ones and the event proves itself; `None` says nothing.
    /// In the form in which it is handed on: out of it and into another it would be copied, and wait for what was just written.
    #[inline]
    pub(crate) fn usual(
        segment: &Segment,
        frame: &Frame<'_>,
        section: &Section<'_>,
        index: u32,
        stream: &Arc<str>,
        types: &TypeNames,
    ) -> Result<Option<Event>> {
        let Some((entry, event_type)) = Event::usual_entry(segment, frame, section, index) else { return Ok(None) };
        let body_at = segment.offset_of(section.stored_body());
        let kept = |from: usize, to: usize| match from < to {
            true => segment.kept(body_at + from..body_at + to),
            false => Bytes::new(),
        };
        let ordinal = section.first_ordinal + index;
        Ok(Some(Event {
            stream: Arc::clone(stream),
            stream_id: section.stream,
            revision: section.revision(index),
            position: section.position(index),
            global_number: frame.first_number().saturating_add(u64::from(ordinal)),
            id: None,
            event_type: types.shared(event_type),
            recorded_at: frame.recorded_at(),
            occurred_at: None,
            metadata: kept(entry.metadata_at, entry.payload_at),
            payload: kept(entry.payload_at, entry.payload_end),
            batch: frame.batch(),
            token: token_of(segment, frame, ordinal),
        }))
    }

    /// The entry at `index`, where all is usual and the event's check holds, and its type.
    #[inline(always)]
    fn usual_entry<'a>(
        segment: &Segment,
        frame: &Frame<'a>,
        section: &Section<'a>,
        index: u32,
    ) -> Option<(ProvenEntry, &'a str)> {
        if section.coding.is_some() {
            return None;
        }
        let at = match index {
            0 => section.first_entry(),
            _ => section.entries_from(index).ok()?.place(),
        };
        let (plain, body) = (frame.plain(), section.stored_body());
        let from_plain = &segment.file()[segment.offset_of(plain)..];
        let entry = section.usual_entry(segment.seeds, at, from_plain, plain.len(), body)?;
        let event_type = std::str::from_utf8(section.type_name(0).ok()?).ok()?;
        Some((entry, event_type))
    }

    /// The place behind the event, as [`EventRef::token`] says it.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }
}
