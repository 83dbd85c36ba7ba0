//! The usual section and the usual entry, decoded in one go.
//!
//! Nearly every frame holds one section that continues its stream, with one type; nearly every entry has neither id nor
//! times. Both fit a window of a few bytes whose length is a constant, in which no step looks at a length. What is not
//! usual in any way, wrong or only longer, is `None` here, and is decoded field by field as ever: this module accepts
//! nothing that is refused there, and what it accepts it decodes to the same.

use super::{ENTRY_REQUIRED, EntriesPlace, SKIP_EVERY, SectionShape, skip_table_len};
use crate::checksum::{Seeds, short_check, short_check_of_numbers};
use crate::format::frame::{FRAME_HEADER_BYTES, Frame};
use crate::ids::{Position, Revision, StreamId};
use crate::limits;

// The most bytes of each number here: a stream up to 2^49 bytes back, a place up to 2^45.
const STREAM_BACK: u32 = 7;
const FIRST_REVISION: u32 = 5;
const PLACE_BACK: u32 = 6;
const COUNT: u32 = 3;
const BYTES: u32 = 4;

/// Bytes in which the head of a usual section lies, up to the length of its type.
const SECTION_WINDOW: usize = 32;
/// Bytes in which a usual entry lies: flags, the type, two numbers, the check.
const ENTRY_WINDOW: usize = 16;
/// The longest type, and the longest entry without its check, whose bytes fit a number.
const NUMBER_BYTES: usize = 8;

const _: () = assert!(3 + STREAM_BACK + FIRST_REVISION + PLACE_BACK + COUNT + BYTES + 2 <= SECTION_WINDOW as u32);
const _: () = assert!(2 + 2 * BYTES + 4 <= ENTRY_WINDOW as u32);

/// Reads in a window that is longer than what is read in it.
struct Window<'a, const N: usize> {
    bytes: &'a [u8; N],
    at: usize,
}

impl<const N: usize> Window<'_, N> {
    #[inline(always)]
    fn byte(&mut self) -> u64 {
        let byte = self.bytes[self.at % N];
        self.at += 1;
        u64::from(byte)
    }

    /// A number of up to `MAX` bytes in its shortest form.
    #[inline(always)]
    fn var<const MAX: u32>(&mut self) -> Option<u64> {
        let mut value = self.byte();
        if value < 0x80 {
            return Some(value);
        }
        value &= 0x7F;
        let mut shift = 7;
        while shift < 7 * MAX {
            let byte = self.byte();
            if byte < 0x80 {
                return (byte != 0).then_some(value | byte << shift);
            }
            value |= (byte & 0x7F) << shift;
            shift += 7;
        }
        None
    }
}

/// The only section of a frame without items, where it is a usual one.
#[inline(always)]
pub(super) fn only_section(frame: &Frame<'_>) -> Option<SectionShape> {
    let after_header = &frame.bytes()[FRAME_HEADER_BYTES..];
    let mut window = Window::<SECTION_WINDOW> { bytes: after_header.first_chunk()?, at: 0 };
    // One section, no items, no flags: it continues a stream and is stored as given.
    if (window.byte(), window.byte(), window.byte()) != (1, 0, 0) {
        return None;
    }
    let stream_back = window.var::<STREAM_BACK>()?;
    let first_revision = window.var::<FIRST_REVISION>()?;
    let distance = window.var::<PLACE_BACK>()? * 8;
    let count = window.var::<COUNT>()?;
    let body_len = window.var::<BYTES>()?;
    let types_at = window.at + 1;
    // One type.
    if window.byte() != 1 {
        return None;
    }
    let type_len = window.byte() as usize;
    let skip_at = types_at + 1 + type_len;
    let position = frame.position.0;
    let is_sound = type_len != 0
        && (1..=limits::BATCH_EVENTS_MAX as u64).contains(&count)
        && count == u64::from(frame.events())
        && (1..=position).contains(&stream_back)
        && (1..=position).contains(&distance)
        && body_len <= frame.bodies().len() as u64;
    let entries_at = skip_at + if count > u64::from(SKIP_EVERY) { skip_table_len(count as u32) } else { 0 };
    if !is_sound || entries_at > frame.plain().len() {
        return None;
    }
    Some(SectionShape {
        stream: StreamId(position - stream_back),
        first_revision: Revision(first_revision),
        previous: Some(Position(position - distance)),
        count: count as u32,
        first_ordinal: 0,
        coding: None,
        is_engines: false,
        frame_position: frame.position,
        name_at: 0,
        name_len: 0,
        body_at: 0,
        body_len: body_len as u32,
        types_at: types_at as u32,
        type_count: 1,
        skip_at: skip_at as u32,
        entries_at: entries_at as u32,
    })
}

/// A usual entry whose event's check held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProvenEntry {
    /// The place of the next entry.
    pub(crate) next: EntriesPlace,
    /// Where its metadata begins in the body.
    pub(crate) metadata_at: usize,
    /// Where its payload begins in the body.
    pub(crate) payload_at: usize,
    /// Where its payload ends in the body.
    pub(crate) payload_end: usize,
}

impl SectionShape {
    /// The entry at `place`, where it is a usual one and the check of its event holds. `from_plain` is the plain part of
    /// the frame, `plain_len` bytes long, and whatever lies behind it; `body` the section's body.
    #[inline(always)]
    pub(crate) fn usual_entry(
        &self,
        seeds: Seeds,
        place: EntriesPlace,
        from_plain: &[u8],
        plain_len: usize,
        body: &[u8],
    ) -> Option<ProvenEntry> {
        let bytes: &[u8; ENTRY_WINDOW] = from_plain.get(place.at as usize..)?.first_chunk()?;
        let mut window = Window { bytes, at: 0 };
        let (flags, type_index) = (window.byte(), window.byte());
        if flags & u64::from(ENTRY_REQUIRED) != 0 || type_index != 0 {
            return None;
        }
        let (metadata_len, payload_len) = (window.var::<BYTES>()? as usize, window.var::<BYTES>()? as usize);
        let len = window.at;
        if len > NUMBER_BYTES {
            return None;
        }
        let stored = u32::from_le_bytes(*bytes[len..].first_chunk()?);
        let name: &[u8; 1 + NUMBER_BYTES] = from_plain.get(self.types_at as usize..)?.first_chunk()?;
        let name_len = usize::from(name[0]);
        let at = place.at as usize + len + 4;
        if name_len > NUMBER_BYTES || at > plain_len || metadata_len > limits::METADATA_BYTES_MAX {
            return None;
        }
        let metadata_at = place.body_at as usize;
        let payload_at = metadata_at + metadata_len;
        let payload_end = payload_at + payload_len;
        let parts = body.get(metadata_at..payload_end)?;
        let entry = masked(*bytes.first_chunk()?, len);
        let type_name = masked(*name.last_chunk()?, name_len);
        let start = seeds.short(self.position(place.index));
        let start = short_check_of_numbers(start, entry, len, type_name, name_len);
        // Metadata and payload lie side by side, so that one pass covers both.
        if short_check(start, &[parts]) != stored {
            return None;
        }
        let next = EntriesPlace { at: at as u32, index: place.index + 1, body_at: payload_end as u32 };
        Some(ProvenEntry { next, metadata_at, payload_at, payload_end })
    }
}

/// The first `len` of eight bytes as a number, the first byte lowest.
#[inline(always)]
fn masked(bytes: [u8; NUMBER_BYTES], len: usize) -> u64 {
    let all = u64::from_le_bytes(bytes);
    match len {
        0 => 0,
        len => all & u64::MAX >> ((NUMBER_BYTES - len) * 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::batch::{NewEntry, Origin, Section, Sections, put_counts, put_section};
    use crate::format::frame::{self, FrameHeader, KIND_BATCH};
    use crate::ids::{BatchId, Salt};

    const PLACE: Position = Position(1 << 40);

    fn seeds() -> Seeds {
        Seeds::new(Salt([5; 16]))
    }

    fn header(events: usize) -> FrameHeader {
        FrameHeader {
            kind: KIND_BATCH,
            flags: 0,
            takeover: 0,
            frame_len: 0,
            plain_len: 0,
            witness: None,
            events: events as u32,
            previous_check: 0,
            first_number: 0,
            recorded_at: 55,
            batch: BatchId([1; 16]),
            frame_check: 0,
        }
    }

    /// A frame of one section, and the length of its plain part.
    fn sample(origin: Origin<'_>, types: &[&str], events: &[(usize, usize)], id: Option<&str>) -> (Vec<u8>, usize) {
        let body = vec![0x61; events.iter().map(|(metadata, payload)| metadata + payload).sum()];
        let mut at = 0;
        let entries: Vec<NewEntry<'_>> = events
            .iter()
            .enumerate()
            .map(|(index, (metadata_len, payload_len))| {
                let middle = at + metadata_len;
                let (metadata, payload) = (&body[at..middle], &body[middle..middle + payload_len]);
                at = middle + payload_len;
                let type_index = (index % types.len()) as u32;
                NewEntry { type_index, id, occurred_at: None, recorded_at: None, metadata, payload }
            })
            .collect();
        let mut out = Vec::new();
        frame::begin(&mut out);
        put_counts(&mut out, 1, 0);
        put_section(&mut out, seeds(), PLACE, PLACE, origin, body.len() as u64, None, types, entries.into_iter());
        let plain_len = out.len() - FRAME_HEADER_BYTES;
        out.extend_from_slice(&body);
        frame::pad(&mut out, 0);
        frame::finish(&mut out, plain_len, &header(events.len()), seeds(), PLACE);
        (out, plain_len)
    }

    fn continues(stream: u64, revision: u64, previous: u64) -> Origin<'static> {
        Origin::Continues { stream: StreamId(stream), first_revision: Revision(revision), previous: Position(previous) }
    }

    /// Compares both ways to decode; returns how many sections and entries were usual.
    fn compare(bytes: &[u8]) -> (usize, usize) {
        let frame = Frame::decode(bytes, seeds(), PLACE).expect("the checks hold");
        let first = Sections::new(frame).and_then(|mut sections| sections.next());
        let only = Section::only(&frame);
        if let Some(only) = only {
            let first = first.clone().expect("what is usual is right").expect("what is usual is there");
            assert_eq!(format!("{:?}", only.shape()), format!("{:?}", first.shape()));
        }
        let Ok(Some(section)) = first else { return (0, 0) };
        let (plain, body) = (frame.plain(), section.stored_body());
        let Ok(mut entries) = section.entries_from(0) else { return (0, 0) };
        let mut usual = 0;
        loop {
            let place = entries.place();
            let Ok(Some(entry)) = entries.next() else { break };
            let from_plain = &frame.bytes()[FRAME_HEADER_BYTES..];
            let Some(found) = section.shape().usual_entry(seeds(), place, from_plain, plain.len(), body) else {
                continue;
            };
            let (metadata, payload) = entry.body(&section, seeds(), body).expect("what is usual is right");
            assert_eq!(&body[found.metadata_at..found.payload_at], metadata);
            assert_eq!(&body[found.payload_at..found.payload_end], payload);
            assert_eq!(format!("{:?}", found.next), format!("{:?}", entries.place()));
            usual += 1;
        }
        (usize::from(only.is_some()), usual)
    }

    #[test]
    fn what_is_usual_decodes_to_the_same_and_what_is_not_is_left_alone() {
        let near = continues(PLACE.0 - 90, 7, PLACE.0 - 80);
        let far = continues(8, (1 << 35) - 1, PLACE.0 - (8 << 40).min(PLACE.0 - 16));
        for origin in [near, far] {
            for len in [24, 127, 128, 16_383, 16_384, 70_000] {
                assert_eq!(compare(&sample(origin, &["note"], &[(0, len)], None).0), (1, 1), "{origin:?} {len}");
                assert_eq!(compare(&sample(origin, &["a"], &[(len, 3)], None).0), (1, 1), "{origin:?} {len}");
            }
        }
        let events: Vec<_> = (0..40).map(|n| (n % 3, 5 * n)).collect();
        assert_eq!(compare(&sample(near, &["note"], &events, None).0), (1, 40), "a section with a skip table");
        assert_eq!(compare(&sample(near, &["a", "b"], &events, None).0), (0, 20), "of the second type none is usual");
        assert_eq!(compare(&sample(near, &["note"], &events, Some("id")).0), (1, 0), "an id is not usual");
        assert_eq!(compare(&sample(near, &["eight by"], &[(0, 9)], None).0), (1, 1));
        assert_eq!(compare(&sample(near, &["nine byte"], &[(0, 9)], None).0), (1, 0), "nor is a long type");
        assert_eq!(compare(&sample(Origin::Creates { name: b"s" }, &["note"], &[(0, 30)], None).0), (0, 1));
    }

    #[test]
    fn p07_no_bytes_under_right_checks_are_usual_and_refused_elsewhere() {
        let (good, plain_len) = sample(continues(PLACE.0 - 900, 300, PLACE.0 - 800), &["note"], &[(1, 40); 18], None);
        let mut usual = 0;
        for at in 0..plain_len {
            for value in [0x00, 0x01, 0x02, 0x10, 0x7F, 0x80, 0x81, 0xFF] {
                let mut bytes = good.clone();
                bytes[FRAME_HEADER_BYTES + at] = value;
                frame::finish(&mut bytes, plain_len, &header(18), seeds(), PLACE);
                let (sections, entries) = compare(&bytes);
                usual += sections + entries;
            }
        }
        assert!(usual > 1000, "most changes hit one entry only: {usual}");
    }
}
