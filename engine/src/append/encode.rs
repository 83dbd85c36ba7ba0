//! From a batch to the bytes of its frame.
//!
//! The position of a frame is part of every check in it, so a batch is encoded when its place is known, under the
//! writer's lock; everything that can be checked earlier was.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::append::{BatchSection, NewEvent};
use crate::checksum::Seeds;
use crate::format::batch::{self, CODEC_ZSTD, Coding, NewEntry, Origin, SECTION_ENGINE};
use crate::format::codec;
use crate::format::frame::{self, FrameHeader};
use crate::format::item::Item;
use crate::ids::{Position, Revision, StreamId};
use crate::limits;
use crate::options::Compression;

/// The stream that a section continues.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Existing {
    pub(crate) stream: StreamId,
    /// Its place in the stream table.
    pub(crate) slot: u32,
    /// The first revision of its own: above 0 for a fork.
    pub(crate) first: Revision,
    pub(crate) head: Revision,
    pub(crate) last_place: Position,
}

/// For each section of a batch the stream that it continues; `None` where it makes one.
pub(crate) type Continued = SmallVec<[Option<Existing>; 1]>;

/// Encodes the frame of a batch at the end of `out`, which must be empty. Returns its frame check.
///
/// `existing` has one entry a section: the stream that it continues, or `None` where it makes one. Items stand behind the
/// sections and take the positions behind the last event, in order; there is a section or an item at least.
#[allow(clippy::too_many_arguments)]
pub(crate) fn encode_batch(
    out: &mut Vec<u8>,
    sections: &[BatchSection<'_>],
    existing: &[Option<Existing>],
    items: &[Item<'_>],
    header: &FrameHeader,
    seeds: Seeds,
    position: Position,
    compression: Option<Compression>,
) -> u64 {
    debug_assert!(out.is_empty() && sections.len() == existing.len() && sections.len() + items.len() > 0);
    out.reserve(len_about(sections));
    frame::begin(out);
    let plain_start = out.len();
    batch::put_counts(out, sections.len(), items.len());
    let mut first_position = position;
    let mut stored_bodies: Vec<Option<Vec<u8>>> = Vec::new();
    for (section, existing) in sections.iter().zip(existing) {
        let stored = compression.and_then(|compression| compress(section.events, compression));
        let raw_len: usize = section.events.iter().map(body_len).sum();
        let coding = stored.as_ref().map(|stored| Coding {
            codec: CODEC_ZSTD,
            key: 0,
            raw_len: raw_len as u64,
            stored_check: batch::stored_check(seeds, first_position, stored),
        });
        let stored_len = stored.as_ref().map_or(raw_len, Vec::len) as u64;
        let origin = match existing {
            None => Origin::Creates { name: section.stream.as_bytes() },
            Some(existing) => Origin::Continues {
                stream: existing.stream,
                first_revision: Revision(existing.head.0 + 1),
                previous: existing.last_place,
            },
        };
        let flags_at = out.len();
        put_section(out, seeds, position, first_position, origin, stored_len, coding, section.events);
        if limits::is_engines(section.stream) {
            out[flags_at] |= SECTION_ENGINE;
        }
        if compression.is_some() {
            stored_bodies.push(stored);
        }
        first_position.0 += section.events.len() as u64;
    }
    for (item, number) in items.iter().zip(0..) {
        item.encode(out, position, Position(first_position.0 + number));
    }
    let plain_len = out.len() - plain_start;
    for (index, section) in sections.iter().enumerate() {
        match stored_bodies.get(index) {
            Some(Some(stored)) => out.extend_from_slice(stored),
            _ => section.events.iter().for_each(|event| {
                out.extend_from_slice(event.metadata);
                out.extend_from_slice(event.payload);
            }),
        }
    }
    frame::pad(out, 0);
    frame::finish(out, plain_len, header, seeds, position)
}

/// About how long the frame will be: room for it is made once.
fn len_about(sections: &[BatchSection<'_>]) -> usize {
    const SECTION_BYTES: usize = 96;
    const ENTRY_BYTES: usize = 40;
    let event = |event: &NewEvent<'_>| ENTRY_BYTES + event.id.map_or(0, str::len) + body_len(event);
    let section = |section: &BatchSection<'_>| {
        let events: usize = section.events.iter().map(event).sum();
        SECTION_BYTES + section.stream.len() + events
    };
    frame::FRAME_HEADER_BYTES + sections.iter().map(section).sum::<usize>()
}

fn body_len(event: &NewEvent<'_>) -> usize {
    event.metadata.len() + event.payload.len()
}

fn compress(events: &[NewEvent<'_>], compression: Compression) -> Option<Vec<u8>> {
    let raw_len: usize = events.iter().map(body_len).sum();
    if raw_len < compression.min_bytes.max(1) {
        return None;
    }
    if let [event] = events
        && event.metadata.is_empty()
    {
        return codec::compress(event.payload, compression.level);
    }
    let mut raw = Vec::with_capacity(raw_len);
    for event in events {
        raw.extend_from_slice(event.metadata);
        raw.extend_from_slice(event.payload);
    }
    codec::compress(&raw, compression.level)
}

#[allow(clippy::too_many_arguments)]
fn put_section(
    out: &mut Vec<u8>,
    seeds: Seeds,
    position: Position,
    first_position: Position,
    origin: Origin<'_>,
    stored_len: u64,
    coding: Option<Coding>,
    events: &[NewEvent<'_>],
) {
    if let [event] = events {
        let one = std::iter::once(new_entry(0, event));
        batch::put_section(out, seeds, position, first_position, origin, stored_len, coding, &[event.event_type], one);
        return;
    }
    let mut types = Types::default();
    let indexes: Vec<u32> = events.iter().map(|event| types.index(event.event_type)).collect();
    let entries = events.iter().zip(&indexes).map(|(event, index)| new_entry(*index, event));
    batch::put_section(out, seeds, position, first_position, origin, stored_len, coding, &types.names, entries);
}

fn new_entry<'a>(type_index: u32, event: &NewEvent<'a>) -> NewEntry<'a> {
    NewEntry {
        type_index,
        id: event.id,
        occurred_at: event.occurred_at,
        recorded_at: event.recorded_at,
        metadata: event.metadata,
        payload: event.payload,
    }
}

/// The distinct types of a section, in order of appearance.
#[derive(Default)]
struct Types<'a> {
    names: Vec<&'a str>,
    /// Filled only where there are many.
    lookup: HashMap<&'a str, u32>,
}

impl<'a> Types<'a> {
    const FEW: usize = 32;

    fn index(&mut self, name: &'a str) -> u32 {
        let found = match self.names.len() <= Self::FEW {
            true => self.names.iter().position(|known| *known == name).map(|index| index as u32),
            false => self.lookup.get(name).copied(),
        };
        found.unwrap_or_else(|| {
            let index = self.names.len() as u32;
            self.names.push(name);
            if self.names.len() == Self::FEW + 1 {
                self.lookup = self.names.iter().zip(0..).map(|(name, index)| (*name, index)).collect();
            } else if self.names.len() > Self::FEW {
                self.lookup.insert(name, index);
            }
            index
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stand_behind_the_sections_and_take_the_positions_behind_the_events() {
        const PLACE: Position = Position(81_920);
        let seeds = Seeds::new(crate::ids::Salt([7; 16]));
        let events = [NewEvent::new("one", "1"), NewEvent::new("two", "2")];
        let section = BatchSection { stream: "s", expected: crate::Expected::Any, events: &events };
        let items = [
            Item::Claim { stream: StreamId(9000), note: "who" },
            Item::Fence { stream: StreamId(9000), claim: Position(80_000) },
        ];
        for sections in [&[][..], &[section][..]] {
            let count = sections.iter().map(|section| section.events.len()).sum::<usize>() as u64;
            let header = FrameHeader {
                kind: frame::KIND_BATCH,
                flags: 0,
                takeover: 0,
                frame_len: 0,
                plain_len: 0,
                witness: None,
                events: count as u32,
                previous_check: 0,
                first_number: 0,
                recorded_at: 0,
                batch: crate::ids::BatchId([1; 16]),
                frame_check: 0,
            };
            let mut out = Vec::new();
            let none = vec![None; sections.len()];
            let _ = encode_batch(&mut out, sections, &none, &items, &header, seeds, PLACE, None);
            let decoded = frame::Frame::decode(&out, seeds, PLACE).expect("decodes");
            batch::check_structure(&decoded).expect("adds up");
            let walk = batch::Sections::new(decoded).expect("is a batch");
            let (mut wire, item_count) = walk.items().expect("its events are as many as it says");
            assert_eq!(item_count, 2);
            for (item, number) in items.iter().zip(0..) {
                let position = Position(PLACE.0 + count + number);
                assert_eq!(Item::decode(&mut wire, PLACE, position).as_ref(), Ok(item));
            }
        }
    }

    #[test]
    fn types_keep_their_index_when_they_become_many() {
        let names: Vec<String> = (0..200).map(|number| format!("type-{number}")).collect();
        let mut types = Types::default();
        for _ in 0..2 {
            for (number, name) in names.iter().enumerate() {
                assert_eq!(types.index(name) as usize, number);
            }
        }
        assert_eq!(types.names.len(), 200);
    }
}
