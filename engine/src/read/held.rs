//! The section in which a reader stands, and the step from one of its events to the next.
//!
//! What is kept are places, not borrows and not copies: where the frame lies (whose header check held when the frame was
//! entered), the section's shape, the place among its entries. A step borrows them from the mapping again, which below
//! the end of the log never changes. What few callers ask for (names, types, times) is read where it stands when it is
//! asked for, so that a step costs little more than the event's check.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::error::{Damage, DamageClass};
use crate::format::Fault;
use crate::format::batch::{EntriesPlace, Entry, Section, SectionShape};
use crate::format::frame::{Frame, FramePlace};
use crate::format::token::Token;
use crate::ids::{Position, Revision, StreamId};
use crate::index::on_demand::Streams;
use crate::read::place::token_of;
use crate::segment::one::Segment;
use crate::{Error, ErrorKind, Result};

/// A section that a reader stands in, and the event that it handed out last.
#[derive(Debug)]
pub(crate) struct Held {
    segment: Arc<Segment>,
    streams: Arc<Streams>,
    frame: FramePlace,
    section: SectionShape,
    /// Where in the file the frame's plain part and the section's stored body lie.
    plain: Range<usize>,
    body: Range<usize>,
    /// The entry that was handed out last.
    at: EntriesPlace,
    /// The entry that comes next.
    next: EntriesPlace,
    /// Where the event's parts lie in the section's body.
    metadata_at: usize,
    payload_at: usize,
    payload_end: usize,
    /// The frame was just read again, since an event of it did not prove itself.
    was_read_again: bool,
    /// The decoded body of a coded section.
    raw_body: Option<Bytes>,
    stream_name: OnceLock<Arc<str>>,
    /// Type and id, where they are no text and must be made one.
    mended_type: OnceLock<Box<str>>,
    mended_id: OnceLock<Box<str>>,
}

/// What is said of an event beside its place and its bytes.
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) id: Option<Box<str>>,
    pub(crate) event_type: Arc<str>,
    pub(crate) recorded_at: i64,
    pub(crate) occurred_at: Option<i64>,
}

impl Held {
    /// Stands nowhere yet.
    pub(crate) fn new(segment: &Arc<Segment>, streams: &Arc<Streams>) -> Held {
        Held {
            segment: Arc::clone(segment),
            streams: Arc::clone(streams),
            frame: FramePlace::default(),
            section: SectionShape::default(),
            plain: 0..0,
            body: 0..0,
            at: EntriesPlace::default(),
            next: EntriesPlace::default(),
            metadata_at: 0,
            payload_at: 0,
            payload_end: 0,
            was_read_again: false,
            raw_body: None,
            stream_name: OnceLock::new(),
            mended_type: OnceLock::new(),
            mended_id: OnceLock::new(),
        }
    }

    /// As [`new`](Self::new), for a reader of one stream.
    pub(crate) fn of_stream(segment: &Arc<Segment>, streams: &Arc<Streams>, stream: StreamId, name: Arc<str>) -> Held {
        let mut held = Held::new(segment, streams);
        held.section.stream = stream;
        held.stream_name = OnceLock::from(name);
        held
    }

    /// Stands in a section of a frame, before the event at `index`. After an error it stands nowhere.
    #[inline(always)]
    pub(crate) fn enter(
        &mut self,
        segment: &Arc<Segment>,
        frame: &Frame<'_>,
        section: &Section<'_>,
        index: u32,
    ) -> Result<()> {
        if !Arc::ptr_eq(&self.segment, segment) {
            self.segment = Arc::clone(segment);
        }
        if self.section.stream != section.stream {
            forget(&mut self.stream_name);
        }
        self.frame = frame.place();
        self.section = section.shape();
        let (plain, body) = (frame.plain(), section.stored_body());
        let (plain_at, body_at) = (segment.offset_of(plain), segment.offset_of(body));
        self.plain = plain_at..plain_at.wrapping_add(plain.len());
        self.body = body_at..body_at.wrapping_add(body.len());
        if self.raw_body.is_some() {
            self.raw_body = None;
        }
        self.next = section.first_entry();
        // What is seldom needed is made again from what was kept: borrowed from here, it would be written twice.
        if section.coding.is_some() || index > 0 { self.settle(index) } else { Ok(()) }
    }

    #[inline(never)]
    fn settle(&mut self, index: u32) -> Result<()> {
        self.leave();
        let frame = &self.segment.again(self.frame);
        let section = &Section::again(self.section, frame);
        let whole = |fault: Fault| damage_error(&self.segment, frame.position, frame.end(), &fault);
        if section.coding.is_some() {
            let raw = match section.raw_body(self.segment.seeds) {
                // In a copy its bytes may have been written since they were read.
                Err(_) if self.segment.read_frame_again(frame.place()) => section.raw_body(self.segment.seeds),
                tried => tried,
            };
            let raw = raw.map_err(|fault| section_damage(&self.segment, frame, section, &fault))?;
            if let Cow::Owned(raw) = raw {
                self.raw_body = Some(Bytes::from(raw));
            }
        }
        self.next = section.entries_from(index).map_err(whole)?.place();
        Ok(())
    }

    /// Has no further event.
    fn leave(&mut self) {
        self.next = EntriesPlace::behind(self.section.count);
    }

    /// Stands in no section: the revisions of the one that it stood in are those of another stream from now on. The event
    /// that was handed out last stays.
    pub(crate) fn leave_section(&mut self) {
        self.section.count = 0;
        self.leave();
    }

    /// The section it stands in.
    pub(crate) fn section(&self) -> &SectionShape {
        &self.section
    }

    /// Moves before the event with this revision. `false` where the section does not hold it.
    #[inline]
    pub(crate) fn seek(&mut self, revision: Revision) -> Result<bool> {
        let index = revision.0.wrapping_sub(self.section.first_revision.0);
        if index >= u64::from(self.section.count) {
            return Ok(false);
        }
        if u64::from(self.next.index) != index {
            let entries = self.section.entries_from(self.plain(), index as u32);
            let lost = |fault| damage_error(&self.segment, self.frame.position, self.frame.end(), &fault);
            self.next = entries.map_err(lost)?.place();
        }
        Ok(true)
    }

    /// Steps to the next event of the section, after its check held; `false` behind its last. After an error that is
    /// damage the step after it goes on with the event behind the damaged one.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> Result<bool> {
        if self.next.index == self.section.count {
            return Ok(false);
        }
        let file = self.segment.file();
        let body = match &self.raw_body {
            Some(raw) => &raw[..],
            None => &file[self.body.clone()],
        };
        let (from_plain, plain_len) = (&file[self.plain.start..], self.plain.len());
        let usual = self.section.usual_entry(self.segment.seeds, self.next, from_plain, plain_len, body);
        let Some(entry) = usual else { return self.step_of_any() };
        self.at = self.next;
        self.next = entry.next;
        (self.metadata_at, self.payload_at, self.payload_end) =
            (entry.metadata_at, entry.payload_at, entry.payload_end);
        forget(&mut self.mended_type);
        forget(&mut self.mended_id);
        Ok(true)
    }

    /// As [`step`](Self::step), whatever stands there.
    #[inline(never)]
    fn step_of_any(&mut self) -> Result<bool> {
        let file = self.segment.file();
        let plain = &file[self.plain.clone()];
        let mut entries = self.section.entries_at(plain, self.next);
        let entry = match entries.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(false),
            Err(fault) => return Err(self.lost_rest(&fault)),
        };
        self.at = self.next;
        self.next = entries.place();
        let raw_body = match &self.raw_body {
            Some(raw) => &raw[..],
            None => &file[self.body.clone()],
        };
        let proven = match self.section.type_name(plain, entry.type_index) {
            Ok(name) => entry.prove(self.segment.seeds, self.section.position(entry.index), name, raw_body),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = proven {
            // In a copy its bytes may have been written since they were read.
            if !std::mem::replace(&mut self.was_read_again, true)
                && self.raw_body.is_none()
                && self.segment.read_frame_again(self.frame)
            {
                self.next = self.at;
                return self.step_of_any();
            }
            self.was_read_again = false;
            return Err(self.lost(&entry, &fault));
        }
        self.was_read_again = false;
        self.metadata_at = entry.body_at;
        self.payload_at = entry.body_at + entry.metadata_len;
        self.payload_end = self.payload_at + entry.payload_len;
        forget(&mut self.mended_type);
        forget(&mut self.mended_id);
        Ok(true)
    }

    /// The event whose check does not hold.
    #[cold]
    #[inline(never)]
    fn lost(&self, entry: &Entry<'_>, fault: &Fault) -> Error {
        if let Err(unreadable) = self.segment.check_readable() {
            return unreadable;
        }
        let (segment, section) = (&self.segment, &self.section);
        let damage = event_damage(segment, &self.body, section, self.stream_name(), entry, fault);
        Error::from_damage(Damage { class: class_of(fault), ..damage })
    }

    /// An entry that cannot be decoded hides those behind it.
    #[cold]
    #[inline(never)]
    fn lost_rest(&mut self, fault: &Fault) -> Error {
        self.leave();
        damage_error(&self.segment, self.frame.position, self.frame.end(), fault)
    }

    fn frame(&self) -> Frame<'_> {
        self.segment.again(self.frame)
    }

    fn plain(&self) -> &[u8] {
        &self.segment.file()[self.plain.clone()]
    }

    /// What the plain part says of the event.
    fn entry(&self) -> Option<Entry<'_>> {
        // It was decoded before: only a file that was cut meanwhile lets it fail.
        self.section.entries_at(self.plain(), self.at).next().ok().flatten()
    }

    #[inline]
    fn raw(&self) -> &[u8] {
        match &self.raw_body {
            Some(raw) => &raw[..],
            None => &self.segment.file()[self.body.clone()],
        }
    }

    #[inline]
    pub(crate) fn metadata(&self) -> &[u8] {
        &self.raw()[self.metadata_at..self.payload_at]
    }

    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        &self.raw()[self.payload_at..self.payload_end]
    }

    #[inline]
    pub(crate) fn revision(&self) -> Revision {
        self.section.revision(self.at.index)
    }

    #[inline]
    pub(crate) fn position(&self) -> Position {
        self.section.position(self.at.index)
    }

    pub(crate) fn global_number(&self) -> u64 {
        let ordinal = u64::from(self.section.first_ordinal) + u64::from(self.at.index);
        self.frame().first_number().saturating_add(ordinal)
    }

    pub(crate) fn token(&self) -> Token {
        token_of(&self.segment, &self.frame(), self.section.first_ordinal + self.at.index)
    }

    pub(crate) fn recorded_at(&self) -> i64 {
        self.entry().and_then(|entry| entry.recorded_at).unwrap_or_else(|| self.frame().recorded_at())
    }

    pub(crate) fn occurred_at(&self) -> Option<i64> {
        self.entry().and_then(|entry| entry.occurred_at)
    }

    pub(crate) fn batch(&self) -> crate::ids::BatchId {
        self.frame().batch()
    }

    pub(crate) fn stream_name(&self) -> &Arc<str> {
        self.stream_name.get_or_init(|| match self.streams.name_of(self.section.stream) {
            Ok(Some(name)) => name,
            // Only damage hides the name of a stream: its identity serves.
            _ => format!("${}", self.section.stream).into(),
        })
    }

    pub(crate) fn event_type(&self) -> &str {
        let name = self.entry().and_then(|entry| self.section.type_name(self.plain(), entry.type_index).ok());
        text(name.unwrap_or_default(), &self.mended_type)
    }

    /// What [`id`](Self::id), [`event_type`](Self::event_type) and the times say, by one look at the plain part.
    pub(crate) fn details(&self) -> Details {
        let entry = self.entry();
        let name = entry.and_then(|entry| self.section.type_name(self.plain(), entry.type_index).ok());
        Details {
            id: entry.and_then(|entry| entry.id).map(|id| text(id, &self.mended_id).into()),
            event_type: self.streams.types.shared(text(name.unwrap_or_default(), &self.mended_type)),
            recorded_at: entry.and_then(|entry| entry.recorded_at).unwrap_or_else(|| self.frame().recorded_at()),
            occurred_at: entry.and_then(|entry| entry.occurred_at),
        }
    }

    pub(crate) fn id(&self) -> Option<&str> {
        self.entry().and_then(|entry| entry.id).map(|id| text(id, &self.mended_id))
    }

    /// A slice of [`metadata`](Self::metadata) or [`payload`](Self::payload), kept alive.
    pub(crate) fn keep(&self, slice: &[u8]) -> Bytes {
        if slice.is_empty() {
            return Bytes::new();
        }
        match &self.raw_body {
            Some(raw) => raw.slice_ref(slice),
            None => {
                let start = self.segment.offset_of(slice);
                self.segment.kept(start..start + slice.len())
            }
        }
    }
}

/// Empties the cell; costs a look where it is empty.
#[inline]
fn forget<T>(cell: &mut OnceLock<T>) {
    if cell.get().is_some() {
        cell.take();
    }
}

/// `bytes` as text; what is none is mended once, into `mended`.
fn text<'a>(bytes: &'a [u8], mended: &'a OnceLock<Box<str>>) -> &'a str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => mended.get_or_init(|| String::from_utf8_lossy(bytes).into()),
    }
}

/// Damage between two positions of a segment, as an error.
#[cold]
#[inline(never)]
pub(crate) fn damage_error(segment: &Segment, from: Position, to: Position, fault: &Fault) -> Error {
    if let Err(unreadable) = segment.check_readable() {
        return unreadable;
    }
    match fault {
        Fault::Unsupported(what) => Error::new(ErrorKind::Unsupported, format!("{}: {what}", segment.name)),
        fault => Error::from_damage(segment.damage(from, to, DamageClass::Damage, fault.to_string())),
    }
}

/// Damage of a section whose body cannot be decoded: its stored bytes, and all of its events.
fn section_damage(segment: &Segment, frame: &Frame<'_>, section: &Section<'_>, fault: &Fault) -> Error {
    let stored = frame.end().0 - frame.bodies().len() as u64 + section.body_offset() as u64;
    let end = stored + section.stored_body().len() as u64;
    if let Err(unreadable) = segment.check_readable() {
        return unreadable;
    }
    let mut damage = segment.damage(Position(stored), Position(end), class_of(fault), fault.to_string());
    damage.positions = section.position(0)..Position(section.position(section.count - 1).0 + 1);
    damage.note_stream(section.stream, None, section.first_revision, section.last_revision());
    Error::from_damage(damage)
}

/// What a fault of a body makes of its events.
fn class_of(fault: &Fault) -> DamageClass {
    match fault {
        Fault::Unsupported(_) => DamageClass::Undecoded,
        _ => DamageClass::Damage,
    }
}

/// Damage of one event: its own bytes in the file, where they are stored as given; else those of the whole section.
fn event_damage(
    segment: &Segment,
    body: &Range<usize>,
    section: &SectionShape,
    stream_name: &str,
    entry: &Entry<'_>,
    fault: &Fault,
) -> Damage {
    let body = body.start as u64..body.end as u64;
    let bytes = match section.coding {
        None => {
            let start = body.start + entry.body_at as u64;
            start..start + (entry.metadata_len + entry.payload_len) as u64
        }
        Some(_) => body,
    };
    let (at, revision) = (section.position(entry.index), section.revision(entry.index));
    let mut damage =
        Damage::new(DamageClass::Damage, &segment.name, bytes, at..Position(at.0 + 1), format!("an event: {fault}"));
    damage.note_stream(section.stream, Some(stream_name), revision, revision);
    damage
}
