//! Writing a batch: its sections, their entries and skip tables, into the plain part of a frame that is being built.

use super::{
    Coding, ENTRY_ID, ENTRY_OCCURRED, ENTRY_RECORDED, Origin, SECTION_CODED, SECTION_CREATES, SKIP_EVERY,
    SKIP_LINE_BYTES, event_check, skip_table_len,
};
use crate::checksum::Seeds;
use crate::format::wire::{put_bytes, put_var};
use crate::ids::Position;

/// What an entry says of its event, to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    /// Its type, as index into the section's types.
    pub type_index: u32,
    /// The caller's id.
    pub id: Option<&'a str>,
    /// When it happened.
    pub occurred_at: Option<i64>,
    /// When it was recorded, where that is not the frame's time.
    pub recorded_at: Option<i64>,
    /// Metadata.
    pub metadata: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

/// Appends the counts that a plain part begins with.
pub fn put_counts(out: &mut Vec<u8>, sections: usize, items: usize) {
    put_var(out, sections as u64);
    put_var(out, items as u64);
}

/// Appends a section: its head and its entries.
///
/// `first_position` is that of the section's first event, `body_len` the stored length of its body.
#[allow(clippy::too_many_arguments)]
pub fn put_section<'a>(
    out: &mut Vec<u8>,
    seeds: Seeds,
    frame_position: Position,
    first_position: Position,
    origin: Origin<'_>,
    body_len: u64,
    coding: Option<Coding>,
    types: &[&str],
    entries: impl ExactSizeIterator<Item = NewEntry<'a>>,
) {
    let count = entries.len() as u32;
    let creates = matches!(origin, Origin::Creates { .. });
    out.push(if creates { SECTION_CREATES } else { 0 } | if coding.is_some() { SECTION_CODED } else { 0 });
    match origin {
        Origin::Creates { name } => put_bytes(out, name),
        Origin::Continues { stream, first_revision, previous } => {
            put_var(out, frame_position.0 - stream.0);
            put_var(out, first_revision.0);
            put_var(out, (frame_position.0 - previous.0) / 8);
        }
    }
    put_var(out, u64::from(count));
    put_var(out, body_len);
    if let Some(coding) = coding {
        out.push(coding.codec);
        put_var(out, coding.key);
        put_var(out, coding.raw_len);
        out.extend_from_slice(&coding.stored_check.to_le_bytes());
    }
    put_var(out, types.len() as u64);
    for name in types {
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
    }
    let mut skip_at = out.len();
    out.resize(skip_at + skip_table_len(count), 0);
    let entries_start = out.len();
    let mut body_at = 0u32;
    for (index, entry) in entries.enumerate() {
        if index > 0 && (index as u32).is_multiple_of(SKIP_EVERY) {
            let entry_at = (out.len() - entries_start) as u32;
            out[skip_at..skip_at + 4].copy_from_slice(&entry_at.to_le_bytes());
            out[skip_at + 4..skip_at + 8].copy_from_slice(&body_at.to_le_bytes());
            skip_at += SKIP_LINE_BYTES;
        }
        let position = Position(first_position.0 + index as u64);
        put_entry(out, seeds, position, &entry, types[entry.type_index as usize]);
        body_at += (entry.metadata.len() + entry.payload.len()) as u32;
    }
}

#[inline]
fn put_entry(out: &mut Vec<u8>, seeds: Seeds, position: Position, entry: &NewEntry<'_>, type_name: &str) {
    let start = out.len();
    let mut flags = 0;
    out.push(0);
    put_var(out, u64::from(entry.type_index));
    if let Some(id) = entry.id {
        flags |= ENTRY_ID;
        out.push(id.len() as u8);
        out.extend_from_slice(id.as_bytes());
    }
    if let Some(at) = entry.occurred_at {
        flags |= ENTRY_OCCURRED;
        out.extend_from_slice(&at.to_le_bytes());
    }
    if let Some(at) = entry.recorded_at {
        flags |= ENTRY_RECORDED;
        out.extend_from_slice(&at.to_le_bytes());
    }
    out[start] = flags;
    put_var(out, entry.metadata.len() as u64);
    put_var(out, entry.payload.len() as u64);
    let check = event_check(seeds, position, &out[start..], type_name.as_bytes(), entry.metadata, entry.payload);
    out.extend_from_slice(&check.to_le_bytes());
}
