//! The frame in which a reader stands, and the step from one of its events to the next.
//!
//! What is kept are places, not borrows: the frame's header (whose check held when the frame was entered), the section's
//! shape, the place among its entries. A step borrows them from the mapping again, which below the end of the log never
//! changes.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Damage, DamageClass};
use crate::format::Fault;
use crate::format::batch::{Entries, EntriesPlace, Section, SectionShape};
use crate::format::frame::{Frame, FrameHeader};
use crate::ids::{BatchId, Position, Revision, StreamId};
use crate::segment::one::Segment;
use crate::{Error, ErrorKind, Result};

/// How many types a reader remembers as text.
const TYPES_KEPT: usize = 16;

/// A section that a reader stands in, and the event that it handed out last.
#[derive(Debug)]
pub(crate) struct Held {
    segment: Arc<Segment>,
    position: Position,
    header: FrameHeader,
    section: SectionShape,
    place: EntriesPlace,
    /// The decoded body of a coded section.
    raw_body: Option<Bytes>,
    pub(crate) stream_name: Arc<str>,
    pub(crate) event: EventFacts,
    pub(crate) id: String,
    pub(crate) event_type: Arc<str>,
    types: Vec<Arc<str>>,
}

/// The numbers of an event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EventFacts {
    pub(crate) stream: StreamId,
    pub(crate) revision: Revision,
    pub(crate) position: Position,
    pub(crate) global_number: u64,
    pub(crate) recorded_at: i64,
    pub(crate) occurred_at: Option<i64>,
    pub(crate) batch: BatchId,
    pub(crate) has_id: bool,
}

/// An event's place in the frame's bytes, after its check held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bodies {
    start: usize,
    metadata_len: usize,
    payload_len: usize,
}

impl Held {
    /// Stands in a section of a frame, before the event at `index`.
    pub(crate) fn enter(
        segment: &Arc<Segment>,
        frame: &Frame<'_>,
        section: &Section<'_>,
        index: u32,
        stream_name: Arc<str>,
    ) -> Result<Held> {
        let mut held = Held {
            segment: Arc::clone(segment),
            position: frame.position,
            header: frame.header,
            section: section.shape(),
            place: EntriesPlace::default(),
            raw_body: None,
            stream_name,
            event: EventFacts::default(),
            id: String::new(),
            event_type: Arc::clone(empty_name()),
            types: Vec::new(),
        };
        held.settle(frame, section, index)?;
        Ok(held)
    }

    /// Moves to a section of another frame, or of the same. Without a name the stream is the same as before.
    pub(crate) fn move_to(
        &mut self,
        segment: &Arc<Segment>,
        frame: &Frame<'_>,
        section: &Section<'_>,
        index: u32,
        stream_name: Option<Arc<str>>,
    ) -> Result<()> {
        if !Arc::ptr_eq(&self.segment, segment) {
            self.segment = Arc::clone(segment);
        }
        debug_assert!(stream_name.is_some() || self.section.stream == section.stream);
        if let Some(stream_name) = stream_name {
            self.stream_name = stream_name;
        }
        self.position = frame.position;
        self.header = frame.header;
        self.section = section.shape();
        self.raw_body = None;
        self.settle(frame, section, index)
    }

    fn settle(&mut self, frame: &Frame<'_>, section: &Section<'_>, index: u32) -> Result<()> {
        let whole = |fault: Fault| damage_error(&self.segment, frame.position, frame.end(), &fault);
        if section.coding.is_some()
            && let Cow::Owned(raw) = section.raw_body(self.segment.seeds).map_err(whole)?
        {
            self.raw_body = Some(Bytes::from(raw));
        }
        self.place = section.entries_from(index).map_err(whole)?.place();
        Ok(())
    }

    /// The section it stands in.
    pub(crate) fn section(&self) -> &SectionShape {
        &self.section
    }

    /// Which event of the section comes next.
    pub(crate) fn next_index(&self) -> u32 {
        self.place.index
    }

    /// Moves to another event of the same section.
    pub(crate) fn seek(&mut self, index: u32) -> Result<()> {
        let segment = Arc::clone(&self.segment);
        let frame = self.frame(&segment);
        let section = Section::again(self.section, &frame);
        self.place = section
            .entries_from(index)
            .map_err(|fault| damage_error(&segment, frame.position, frame.end(), &fault))?
            .place();
        Ok(())
    }

    /// Steps to the next event of the section; `None` behind its last. After an error that is damage the step after it
    /// goes on with the event behind the damaged one.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<Option<Bodies>> {
        if self.place.index == self.section.count {
            return Ok(None);
        }
        let bytes = self.segment.bytes(self.position, Position(self.position.0 + u64::from(self.header.frame_len)));
        let frame = Frame::again(self.position, self.header, bytes);
        let section = Section::again(self.section, &frame);
        let mut entries = Entries::resume(&section, self.place);
        let index = self.place.index;
        let entry = match entries.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(None),
            Err(fault) => {
                let error = damage_error(&self.segment, frame.position, frame.end(), &fault);
                self.place = EntriesPlace::behind(self.section.count);
                return Err(error);
            }
        };
        self.place = entries.place();
        let raw_body = match &self.raw_body {
            Some(raw) => &raw[..],
            None => section.stored_body(),
        };
        if let Err(fault) = entry.body(&section, self.segment.seeds, raw_body) {
            let at = section.position(index);
            let damage = event_damage(
                &self.segment,
                &frame,
                &section,
                &self.stream_name,
                at,
                entry.body_at..entry.body_at + entry.metadata_len + entry.payload_len,
                &fault,
            );
            return Err(match fault {
                Fault::Unsupported(what) => Error::new(ErrorKind::Unsupported, what),
                _ => Error::from_damage(damage),
            });
        }
        let type_name = section.type_name(entry.type_index).expect("the event's check covers its type");
        if self.event_type.as_bytes() != type_name {
            let known = self.types.iter().find(|known| known.as_bytes() == type_name);
            self.event_type = match known {
                Some(known) => Arc::clone(known),
                None => {
                    let name: Arc<str> = String::from_utf8_lossy(type_name).into();
                    if self.types.len() == TYPES_KEPT {
                        self.types.remove(0);
                    }
                    self.types.push(Arc::clone(&name));
                    name
                }
            };
        }
        if let Some(id) = entry.id {
            self.id.clear();
            self.id.push_str(&String::from_utf8_lossy(id));
        }
        let ordinal = u64::from(section.first_ordinal) + u64::from(index);
        self.event = EventFacts {
            stream: section.stream,
            revision: section.revision(index),
            position: section.position(index),
            global_number: self.header.first_number + ordinal,
            recorded_at: entry.recorded_at.unwrap_or(self.header.recorded_at),
            occurred_at: entry.occurred_at,
            batch: self.header.batch,
            has_id: entry.id.is_some(),
        };
        Ok(Some(Bodies { start: entry.body_at, metadata_len: entry.metadata_len, payload_len: entry.payload_len }))
    }

    /// Metadata and payload of the event that was handed out last.
    #[inline]
    pub(crate) fn bodies(&self, bodies: Bodies) -> (&[u8], &[u8]) {
        let raw = match &self.raw_body {
            Some(raw) => &raw[..],
            None => {
                let bytes =
                    self.segment.bytes(self.position, Position(self.position.0 + u64::from(self.header.frame_len)));
                Section::again(self.section, &Frame::again(self.position, self.header, bytes)).stored_body()
            }
        };
        let middle = bodies.start + bodies.metadata_len;
        (&raw[bodies.start..middle], &raw[middle..middle + bodies.payload_len])
    }

    /// A slice that [`bodies`](Self::bodies) lent, kept alive.
    pub(crate) fn keep(&self, slice: &[u8]) -> Bytes {
        if slice.is_empty() {
            return Bytes::new();
        }
        match &self.raw_body {
            Some(raw) => raw.slice_ref(slice),
            None => {
                let mapping = self.segment.mapping();
                let start = slice.as_ptr() as usize - mapping.as_slice().as_ptr() as usize;
                mapping.bytes(start..start + slice.len())
            }
        }
    }

    fn frame<'s>(&self, segment: &'s Segment) -> Frame<'s> {
        let end = Position(self.position.0 + u64::from(self.header.frame_len));
        Frame::again(self.position, self.header, segment.bytes(self.position, end))
    }
}

/// Damage between two positions of a segment, as an error.
pub(crate) fn damage_error(segment: &Segment, from: Position, to: Position, fault: &Fault) -> Error {
    match fault {
        Fault::Unsupported(what) => Error::new(ErrorKind::Unsupported, format!("{}: {what}", segment.name)),
        fault => Error::from_damage(segment.damage(from, to, DamageClass::Damage, fault.to_string())),
    }
}

/// Damage of one event: its own bytes in the file, where they are stored as given; else those of the whole section.
fn event_damage(
    segment: &Segment,
    frame: &Frame<'_>,
    section: &Section<'_>,
    stream_name: &str,
    at: Position,
    body: std::ops::Range<usize>,
    fault: &Fault,
) -> Damage {
    let bodies_start = frame.end().0 - frame.bodies().len() as u64 - segment.base.0;
    let stored = bodies_start + section.body_offset() as u64;
    let bytes = match section.coding {
        None => stored + body.start as u64..stored + body.end as u64,
        Some(_) => stored..stored + section.stored_body().len() as u64,
    };
    let revision = section.revision((at.0 - section.position(0).0) as u32);
    let mut damage =
        Damage::new(DamageClass::Damage, &segment.name, bytes, at..Position(at.0 + 1), format!("an event: {fault}"));
    damage.note_stream(section.stream, Some(stream_name), revision, revision);
    damage
}

fn empty_name() -> &'static Arc<str> {
    static EMPTY: std::sync::OnceLock<Arc<str>> = std::sync::OnceLock::new();
    EMPTY.get_or_init(|| "".into())
}
