//! The batch frame: sections of events, one a stream, and items.
//!
//! The plain part holds everything that is needed to find events (streams, revisions, lengths, types, ids, checks); the
//! bodies (metadata and payloads) lie behind it, so that rot in a body never hides a revision. Decoding borrows from the
//! frame and walks; it allocates nothing.

use std::borrow::Cow;

use super::Fault;
use super::codec;
use super::frame::{FRAME_HEADER_BYTES, Frame, KIND_BATCH};
use super::wire::{Wire, back};

use crate::checksum::{Seeds, short_check};
use crate::ids::{Position, Revision, StreamId};
use crate::limits;
use crate::planted::{Plant, planted};

mod encode;
mod entries;
mod faults;
mod structure;
mod usual;

pub use encode::{NewEntry, put_counts, put_section};
pub use entries::{Entries, EntriesPlace, Entry, event_check};
pub use structure::check_structure;
pub(crate) use usual::ProvenEntry;

use faults::{
    empty_batch, empty_section, empty_type, far_back, no_batch, not_before, out_of_proportion, too_many_events,
    unknown_section, wrong_name,
};

/// Section flag: the stream begins here; its name follows.
pub const SECTION_CREATES: u8 = 0x01;
/// Section flag: the body is compressed or encrypted.
pub const SECTION_CODED: u8 = 0x02;
/// Section flag: the stream is one of the engine's own, which readers of the whole log pass over.
pub const SECTION_ENGINE: u8 = 0x20;
/// Section flag bits that must be known to use the section.
pub const SECTION_REQUIRED: u8 = 0x1F;
/// Codec: one zstd frame.
pub const CODEC_ZSTD: u8 = 1;

/// Entry flag: an id follows.
pub const ENTRY_ID: u8 = 0x01;
/// Entry flag: the time it happened follows.
pub const ENTRY_OCCURRED: u8 = 0x02;
/// Entry flag: its own time of recording follows.
pub const ENTRY_RECORDED: u8 = 0x04;
/// Entry flag: tags follow.
pub const ENTRY_TAGS: u8 = 0x08;
/// Entry flag: keyed digests of an encrypted body follow.
pub const ENTRY_DIGESTS: u8 = 0x10;
/// Entry flag bits that must be known to use the entry.
pub const ENTRY_REQUIRED: u8 = 0x1F;
/// Length of the digests of an entry, in bytes.
pub const ENTRY_DIGEST_BYTES: usize = 64;

/// Every so many entries the skip table of a longer section has a line.
pub const SKIP_EVERY: u32 = 16;
const SKIP_LINE_BYTES: usize = 8;

/// How a section continues its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// It begins the stream of this name.
    Creates {
        /// The name, as bytes.
        name: &'a [u8],
    },
    /// It continues the stream.
    Continues {
        /// The stream.
        stream: StreamId,
        /// Revision of the section's first event.
        first_revision: Revision,
        /// The frame that holds the stream's section before, or its fork.
        previous: Position,
    },
}

/// How the body of a section is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coding {
    /// The codec.
    pub codec: u8,
    /// The key it is encrypted with; 0 for none.
    pub key: u64,
    /// Length of the body before coding, in bytes.
    pub raw_len: u64,
    /// Check over the stored bytes.
    pub stored_check: u32,
}

fn skip_table_len(count: u32) -> usize {
    count.saturating_sub(1) as usize / SKIP_EVERY as usize * SKIP_LINE_BYTES
}

/// The check over the stored bytes of a coded section.
#[must_use]
pub fn stored_check(seeds: Seeds, first_position: Position, stored: &[u8]) -> u32 {
    short_check(seeds.short(first_position), &[stored])
}

/// Walks the sections of a batch frame, then its items.
#[derive(Clone, Debug)]
pub struct Sections<'a> {
    frame: Frame<'a>,
    wire: Wire<'a>,
    left: u32,
    items: u32,
    ordinal: u32,
    body_at: usize,
    /// The section that was handed out last, where its end is not known yet.
    pending: Option<SectionShape>,
}

/// Where a walk over sections stands.
#[derive(Clone, Copy, Debug)]
pub struct SectionsPlace {
    at: usize,
    left: u32,
    items: u32,
    ordinal: u32,
    body_at: usize,
}

/// Where the parts of a section stand in its frame: all that a reader must keep to come back to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SectionShape {
    /// The stream.
    pub stream: StreamId,
    /// Revision of its first event.
    pub first_revision: Revision,
    /// The frame that holds the stream's section before, or its fork; `None` where the stream begins here.
    pub previous: Option<Position>,
    /// How many events it has, at least one.
    pub count: u32,
    /// Place of its first event in the frame.
    pub first_ordinal: u32,
    /// How the body is stored; `None` where it is as given.
    pub coding: Option<Coding>,
    /// It is of a stream of the engine's own.
    pub is_engines: bool,
    frame_position: Position,
    // Places in the plain part, and in the bodies for the body. A frame's length has 32 bits.
    name_at: u32,
    name_len: u32,
    body_at: u32,
    body_len: u32,
    types_at: u32,
    type_count: u32,
    skip_at: u32,
    entries_at: u32,
}

/// One section of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    shape: SectionShape,
    plain: &'a [u8],
    bodies: &'a [u8],
}

impl std::ops::Deref for Section<'_> {
    type Target = SectionShape;

    #[inline]
    fn deref(&self) -> &SectionShape {
        &self.shape
    }
}

impl<'a> Sections<'a> {
    /// The sections of a batch frame.
    #[inline(always)]
    pub fn new(frame: Frame<'a>) -> Result<Sections<'a>, Fault> {
        if frame.kind() != KIND_BATCH {
            return Err(no_batch(frame.kind()));
        }
        let mut wire = Wire::new(frame.plain());
        let sections = wire.var_up_to(limits::BATCH_SECTIONS_MAX as u64, "the number of sections")? as u32;
        let items = wire.var_up_to(frame.bytes().len() as u64, "the number of items")? as u32;
        if sections == 0 && items == 0 {
            return Err(empty_batch());
        }
        Ok(Sections { frame, wire, left: sections, items, ordinal: 0, body_at: 0, pending: None })
    }

    /// The next section; `None` behind the last.
    #[allow(clippy::should_implement_trait)]
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<Section<'a>>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.settle()?;
        self.left -= 1;
        let section = self.decode_section()?;
        self.ordinal = self
            .ordinal
            .checked_add(section.count)
            .filter(|ordinal| *ordinal <= self.frame.events())
            .ok_or_else(too_many_events)?;
        self.body_at = self.body_at.wrapping_add(section.body_len as usize);
        self.pending = Some(section.shape);
        Ok(Some(section))
    }

    /// Tells where the entries of the section handed out last end, by who has walked them anyway.
    pub fn walked_to(&mut self, end: usize) {
        if self.pending.take().is_some() {
            self.wire = Wire::starting_at(self.frame.plain(), end);
        }
    }

    /// Where the walk stands, for [`resume`](Self::resume).
    pub fn place(mut self) -> Result<SectionsPlace, Fault> {
        self.settle()?;
        let Sections { left, items, ordinal, body_at, .. } = self;
        Ok(SectionsPlace { at: self.wire.at(), left, items, ordinal, body_at })
    }

    /// The walk over the frame that stood at `place`.
    #[must_use]
    pub fn resume(frame: Frame<'a>, place: SectionsPlace) -> Sections<'a> {
        let wire = Wire::starting_at(frame.plain(), place.at);
        let SectionsPlace { left, items, ordinal, body_at, .. } = place;
        Sections { frame, wire, left, items, ordinal, body_at, pending: None }
    }

    /// Behind the last section: the bytes of the items and their number.
    pub fn items(mut self) -> Result<(Wire<'a>, u32), Fault> {
        while self.next()?.is_some() {}
        self.settle()?;
        if self.ordinal != self.frame.events() {
            return Err(Fault::bad(format!(
                "the frame says {} events, its sections hold {}",
                self.frame.events(),
                self.ordinal
            )));
        }
        Ok((self.wire, self.items))
    }

    #[inline]
    fn settle(&mut self) -> Result<(), Fault> {
        if let Some(shape) = self.pending.take() {
            let end = shape.entries_end(self.frame.plain())?;
            self.wire = Wire::starting_at(self.frame.plain(), end);
        }
        Ok(())
    }

    #[inline(always)]
    fn decode_section(&mut self) -> Result<Section<'a>, Fault> {
        let frame_position = self.frame.position;
        let (plain, bodies) = (self.frame.plain(), self.frame.bodies());
        let frame_len = self.frame.bytes().len() as u64;
        let wire = &mut self.wire;
        let flags = wire.u8()?;
        if flags & SECTION_REQUIRED & !(SECTION_CREATES | SECTION_CODED) != 0 {
            return Err(unknown_section(flags));
        }
        let (mut name_at, mut name_len) = (0, 0);
        let (stream, first_revision, previous) = if flags & SECTION_CREATES != 0 {
            let name = wire.bytes()?;
            name_len = name.len() as u32;
            name_at = wire.at() as u32 - name_len;
            if name.is_empty() || name.len() > limits::STREAM_NAME_BYTES_MAX {
                return Err(wrong_name(name.len()));
            }
            (StreamId(frame_position.0 + u64::from(self.ordinal)), Revision(0), None)
        } else {
            let stream = StreamId(back(frame_position.0, wire.var()?, "a stream")?);
            let first_revision = Revision(wire.var_up_to(limits::NUMBER_MAX, "a revision")?);
            let distance = wire.var()?.checked_mul(8).ok_or_else(far_back)?;
            let previous = Position(back(frame_position.0, distance, "a stream's previous place")?);
            if previous >= frame_position || stream.0 >= frame_position.0 {
                return Err(not_before());
            }
            (stream, first_revision, Some(previous))
        };
        let count = wire.var_up_to(limits::BATCH_EVENTS_MAX as u64, "the number of events in a section")? as u32;
        let body_len = wire.var_up_to(frame_len, "the length of a body")? as u32;
        let coding = match flags & SECTION_CODED {
            0 => None,
            _ => Some(Coding {
                codec: wire.u8()?,
                key: wire.var()?,
                raw_len: wire.var_up_to(limits::BATCH_BYTES_MAX as u64, "the raw length of a body")?,
                stored_check: wire.u32()?,
            }),
        };
        if let Some(coding) = &coding
            && coding.raw_len > u64::from(body_len) * codec::RATIO_MAX
        {
            return Err(out_of_proportion(coding.raw_len, body_len));
        }
        let type_count = wire.var_up_to(u64::from(count), "the number of types")? as u32;
        if count == 0 || type_count == 0 {
            return Err(empty_section(count));
        }
        let types_at = wire.at() as u32;
        for _ in 0..type_count {
            match wire.u8()? {
                0 => return Err(empty_type()),
                len => wire.take(usize::from(len))?,
            };
        }
        let skip_at = wire.at() as u32;
        if count > SKIP_EVERY {
            wire.take(skip_table_len(count))?;
        }
        if self.body_at.checked_add(body_len as usize).is_none_or(|end| end > bodies.len()) {
            return Err(Fault::Short);
        }
        let shape = SectionShape {
            stream,
            first_revision,
            previous,
            count,
            first_ordinal: self.ordinal,
            coding,
            is_engines: flags & SECTION_ENGINE != 0,
            frame_position,
            name_at,
            name_len,
            body_at: self.body_at as u32,
            body_len,
            types_at,
            type_count,
            skip_at,
            entries_at: wire.at() as u32,
        };
        Ok(Section { shape, plain, bodies })
    }
}

impl SectionShape {
    /// Position of the event at `index`.
    #[inline]
    #[must_use]
    pub fn position(&self, index: u32) -> Position {
        Position(self.frame_position.0 + u64::from(self.first_ordinal) + u64::from(index))
    }

    /// Revision of the event at `index`.
    #[inline(always)]
    #[must_use]
    pub fn revision(&self, index: u32) -> Revision {
        Revision(self.first_revision.0 + u64::from(index))
    }

    /// Revision of its last event.
    #[inline(always)]
    #[must_use]
    pub fn last_revision(&self) -> Revision {
        self.revision(self.count - 1)
    }

    /// Where its stored body begins in the bodies part of the frame.
    #[must_use]
    pub fn body_offset(&self) -> usize {
        self.body_at as usize
    }

    /// Length of its stored body, in bytes.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.body_len as usize
    }

    /// How many types it names.
    #[must_use]
    pub fn type_count(&self) -> u32 {
        self.type_count
    }

    /// Length of the body before coding, in bytes.
    #[must_use]
    pub fn raw_len(&self) -> u64 {
        self.coding.map_or(u64::from(self.body_len), |coding| coding.raw_len)
    }

    /// Its body as stored, in the bodies part of its frame.
    #[inline(always)]
    #[must_use]
    pub fn stored_body<'a>(&self, bodies: &'a [u8]) -> &'a [u8] {
        &bodies[self.body_at as usize..][..self.body_len as usize]
    }

    /// The walk over its entries that stood at `place`. `plain` is the plain part of its frame.
    #[inline]
    #[must_use]
    pub fn entries_at<'a>(&self, plain: &'a [u8], place: EntriesPlace) -> Entries<'a> {
        Entries {
            count: self.count,
            type_count: self.type_count,
            wire: Wire::starting_at(plain, place.at as usize),
            index: place.index,
            body_at: place.body_at as usize,
        }
    }

    /// Walks its entries from the one at `index`, which must be one of the section. `plain` is the plain part of its
    /// frame.
    #[inline]
    pub fn entries_from<'a>(&self, plain: &'a [u8], index: u32) -> Result<Entries<'a>, Fault> {
        debug_assert!(index <= self.count);
        let mut entries = self.entries_at(plain, EntriesPlace { at: self.entries_at, index: 0, body_at: 0 });
        let lines = index.min(self.count - 1) / SKIP_EVERY;
        if lines > 0 {
            let line_at = self.skip_at as usize + (lines as usize - 1) * SKIP_LINE_BYTES;
            let mut line = Wire::starting_at(plain, line_at);
            let entry_at = line.u32()? as usize;
            entries.body_at = line.u32()? as usize;
            entries.wire = Wire::starting_at(plain, (self.entries_at as usize).saturating_add(entry_at));
            entries.index = lines * SKIP_EVERY;
        }
        while entries.index < index && entries.next()?.is_some() {}
        Ok(entries)
    }

    /// The type with this index. `plain` is the plain part of its frame.
    #[inline]
    pub fn type_name<'a>(&self, plain: &'a [u8], index: u32) -> Result<&'a [u8], Fault> {
        if index >= self.type_count {
            return Err(self.wrong_type(index));
        }
        let mut wire = Wire::starting_at(plain, self.types_at as usize);
        for _ in 0..index {
            let len = wire.u8()?;
            wire.take(usize::from(len))?;
        }
        let len = wire.u8()?;
        wire.take(usize::from(len))
    }

    #[cold]
    fn wrong_type(&self, index: u32) -> Fault {
        Fault::bad(format!("type {index} of {}", self.type_count))
    }

    fn entries_end(&self, plain: &[u8]) -> Result<usize, Fault> {
        let mut entries = self.entries_from(plain, self.count - 1)?;
        entries.next()?;
        Ok(entries.wire.at())
    }
}

impl<'a> Section<'a> {
    /// The section of a frame that holds nothing else, where it is a usual one; `None` says nothing.
    #[inline(always)]
    #[must_use]
    pub fn only(frame: &Frame<'a>) -> Option<Section<'a>> {
        Some(Section::again(usual::only_section(frame)?, frame))
    }

    /// The section of this shape in its frame.
    #[inline(always)]
    #[must_use]
    pub fn again(shape: SectionShape, frame: &Frame<'a>) -> Section<'a> {
        Section { shape, plain: frame.plain(), bodies: frame.bodies() }
    }

    /// Where its parts stand.
    #[inline(always)]
    #[must_use]
    pub fn shape(&self) -> SectionShape {
        self.shape
    }

    /// How it continues its stream.
    #[must_use]
    pub fn origin(&self) -> Origin<'a> {
        match self.previous {
            Some(previous) => Origin::Continues { stream: self.stream, first_revision: self.first_revision, previous },
            None => {
                let at = self.name_at as usize;
                Origin::Creates { name: &self.plain[at..at + self.name_len as usize] }
            }
        }
    }

    /// The body as stored.
    #[inline(always)]
    #[must_use]
    pub fn stored_body(&self) -> &'a [u8] {
        self.shape.stored_body(self.bodies)
    }

    /// The place before its first entry.
    #[inline(always)]
    #[must_use]
    pub fn first_entry(&self) -> EntriesPlace {
        EntriesPlace { at: self.entries_at, index: 0, body_at: 0 }
    }

    /// The body before coding: borrowed where it is stored as given, else decoded after its stored bytes were checked.
    pub fn raw_body(&self, seeds: Seeds) -> Result<Cow<'a, [u8]>, Fault> {
        let stored = self.stored_body();
        let Some(coding) = self.coding else { return Ok(Cow::Borrowed(stored)) };
        let actual = stored_check(seeds, self.position(0), stored);
        if actual != coding.stored_check && !planted(Plant::EventCheckIgnored) {
            return Err(Fault::bad(format!(
                "the check of a coded body is {:08x}, the bytes give {actual:08x}",
                coding.stored_check
            )));
        }
        if coding.key != 0 {
            return Err(Fault::Unsupported(format!("a body encrypted with key {}", coding.key)));
        }
        codec::decompress(coding.codec, stored, coding.raw_len).map(Cow::Owned)
    }

    /// Walks the entries from the one at `index`, which must be one of the section.
    #[inline]
    pub fn entries_from(&self, index: u32) -> Result<Entries<'a>, Fault> {
        self.shape.entries_from(self.plain, index)
    }

    /// The type with this index.
    #[inline]
    pub fn type_name(&self, index: u32) -> Result<&'a [u8], Fault> {
        self.shape.type_name(self.plain, index)
    }
}

const _: () = assert!(FRAME_HEADER_BYTES.is_multiple_of(8));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::{self, FrameHeader};
    use crate::ids::{BatchId, Salt};

    const PLACE: Position = Position(81_920);

    fn seeds() -> Seeds {
        Seeds::new(Salt([5; 16]))
    }

    /// Two sections: one that creates with `count` events, one that continues with a single event.
    fn sample(count: usize) -> Vec<u8> {
        let payloads: Vec<Vec<u8>> = (0..count).map(|i| vec![i as u8; i % 40]).collect();
        let mut out = Vec::new();
        frame::begin(&mut out);
        put_counts(&mut out, 2, 0);
        let entries = payloads.iter().enumerate().map(|(i, payload)| NewEntry {
            type_index: (i % 2) as u32,
            id: (i % 3 == 0).then_some("an-id"),
            occurred_at: (i % 5 == 0).then_some(-7),
            recorded_at: None,
            metadata: if i % 4 == 0 { b"{}" } else { b"" },
            payload,
        });
        let body: Vec<u8> = entries.clone().flat_map(|e| [e.metadata, e.payload].concat()).collect();
        let origin = Origin::Creates { name: b"agent" };
        put_section(&mut out, seeds(), PLACE, PLACE, origin, body.len() as u64, None, &["user", "model"], entries);
        let one = NewEntry {
            type_index: 0,
            id: None,
            occurred_at: None,
            recorded_at: Some(3),
            metadata: b"",
            payload: b"pay",
        };
        let origin =
            Origin::Continues { stream: StreamId(9000), first_revision: Revision(41), previous: Position(81_000) };
        let first = Position(PLACE.0 + count as u64);
        put_section(&mut out, seeds(), PLACE, first, origin, 3, None, &["tool"], std::iter::once(one));
        let plain = out.len() - FRAME_HEADER_BYTES;
        out.extend_from_slice(&body);
        out.extend_from_slice(b"pay");
        frame::pad(&mut out, 0);
        let header = FrameHeader {
            kind: KIND_BATCH,
            flags: 0,
            takeover: 0,
            frame_len: 0,
            plain_len: 0,
            witness: None,
            events: count as u32 + 1,
            previous_check: 0,
            first_number: 0,
            recorded_at: 55,
            batch: BatchId([1; 16]),
            frame_check: 0,
        };
        frame::finish(&mut out, plain, &header, seeds(), PLACE);
        out
    }

    #[test]
    fn sections_and_entries_round_trip_and_any_entry_is_found_directly() {
        for count in [2, 16, 17, 18, 33, 100] {
            let bytes = sample(count);
            let frame = Frame::decode(&bytes, seeds(), PLACE).expect("decodes");
            check_structure(&frame).expect("adds up");
            let mut sections = Sections::new(frame).expect("is a batch");
            let first = sections.next().expect("decodes").expect("is there");
            assert_eq!(first.origin(), Origin::Creates { name: b"agent" });
            assert_eq!((first.stream, first.count as usize), (StreamId(PLACE.0), count));
            for index in 0..count as u32 {
                let entry = first.entries_from(index).and_then(|mut e| e.next()).expect("decodes").expect("is there");
                let (metadata, payload) = entry.body(&first, seeds(), first.stored_body()).expect("proves");
                assert_eq!(entry.index, index);
                assert_eq!(payload, vec![index as u8; index as usize % 40]);
                assert_eq!(metadata, if index % 4 == 0 { &b"{}"[..] } else { b"" });
                assert_eq!(entry.id, (index % 3 == 0).then_some(&b"an-id"[..]));
                assert_eq!(first.type_name(entry.type_index), Ok(if index % 2 == 0 { &b"user"[..] } else { b"model" }));
            }
            let second = sections.next().expect("decodes").expect("is there");
            assert_eq!(
                (second.stream, second.first_revision, second.first_ordinal as usize),
                (StreamId(9000), Revision(41), count)
            );
            let entry = second.entries_from(0).and_then(|mut e| e.next()).expect("decodes").expect("is there");
            assert_eq!(entry.body(&second, seeds(), second.stored_body()), Ok((&b""[..], &b"pay"[..])));
            assert!(sections.next().expect("decodes").is_none());
            assert_eq!(sections.items().expect("decodes").1, 0);
        }
    }

    #[test]
    fn p05_a_flipped_body_loses_its_own_event_only() {
        let mut bytes = sample(20);
        let frame = Frame::decode(&bytes, seeds(), PLACE).expect("decodes");
        let hit = FRAME_HEADER_BYTES + frame.plain().len() + 10;
        bytes[hit] ^= 0x40;
        let frame = Frame::decode(&bytes, seeds(), PLACE).expect("the plain part is whole");
        assert!(frame.prove(seeds()).is_err());
        let section = Sections::new(frame).and_then(|mut s| s.next()).expect("decodes").expect("is there");
        let mut entries = section.entries_from(0).expect("decodes");
        let mut lost = 0;
        while let Some(entry) = entries.next().expect("decodes") {
            lost += usize::from(entry.body(&section, seeds(), section.stored_body()).is_err());
        }
        assert_eq!(lost, 1);
    }

    #[test]
    fn p07_any_bytes_in_place_of_the_plain_part_are_refused_without_panic() {
        // The checks are made right again after each change, as an attacker would.
        let good = sample(18);
        let plain_len = Frame::decode(&good, seeds(), PLACE).expect("decodes").plain().len();
        let header = Frame::decode(&good, seeds(), PLACE).expect("decodes").header();
        for at in 0..plain_len {
            for value in [0x00, 0x01, 0x7F, 0x80, 0xFF] {
                let mut bytes = good.clone();
                if bytes[FRAME_HEADER_BYTES + at] == value {
                    continue;
                }
                bytes[FRAME_HEADER_BYTES + at] = value;
                frame::finish(&mut bytes, plain_len, &header, seeds(), PLACE);
                let frame = Frame::decode(&bytes, seeds(), PLACE).expect("checks hold");
                let sound = check_structure(&frame).is_ok();
                let Ok(mut sections) = Sections::new(frame) else { continue };
                let mut proven = 0;
                while let Ok(Some(section)) = sections.next() {
                    let Ok(mut entries) = section.entries_from(0) else { break };
                    while let Ok(Some(entry)) = entries.next() {
                        proven += usize::from(entry.body(&section, seeds(), section.stored_body()).is_ok());
                    }
                }
                assert!(!sound || proven <= 19);
            }
        }
    }
}
