//! Writing a batch: its sections, their entries and skip tables, into the plain part of a frame that is being built.

use super::{
    Coding, ENTRY_ID, ENTRY_OCCURRED, ENTRY_RECORDED, Origin, SECTION_CODED, SECTION_CREATES, SKIP_EVERY,
    SKIP_LINE_BYTES, event_check, skip_table_len,
};
use crate::checksum::{Seeds, short_check};
use crate::format::wire::{Few, put_bytes, put_var};
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
    put_section_head(out, frame_position, origin, count, body_len, coding, types.len());
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

/// A section's head, from its flags to the number of its types.
fn put_section_head(
    out: &mut Vec<u8>,
    frame_position: Position,
    origin: Origin<'_>,
    count: u32,
    body_len: u64,
    coding: Option<Coding>,
    types: usize,
) {
    let mut fields = Few::<96>::new();
    let coded = if coding.is_some() { SECTION_CODED } else { 0 };
    match origin {
        Origin::Creates { name } => {
            out.push(SECTION_CREATES | coded);
            put_bytes(out, name);
        }
        Origin::Continues { stream, first_revision, previous } => {
            fields.u8(coded);
            fields.var(frame_position.0 - stream.0).var(first_revision.0).var((frame_position.0 - previous.0) / 8);
        }
    }
    fields.var(u64::from(count)).var(body_len);
    if let Some(coding) = coding {
        fields.u8(coding.codec).var(coding.key).var(coding.raw_len).put(&coding.stored_check.to_le_bytes());
    }
    fields.var(types as u64);
    out.extend_from_slice(fields.bytes());
}

#[inline]
fn put_entry(out: &mut Vec<u8>, seeds: Seeds, position: Position, entry: &NewEntry<'_>, type_name: &str) {
    // The longest entry without an id, and the short type names that most events have.
    const FEW_BYTES: usize = 128;
    let start = out.len();
    let mut fields = Few::<FEW_BYTES>::new();
    let flag = |is_there: bool, flag: u8| if is_there { flag } else { 0 };
    let flags = flag(entry.id.is_some(), ENTRY_ID)
        | flag(entry.occurred_at.is_some(), ENTRY_OCCURRED)
        | flag(entry.recorded_at.is_some(), ENTRY_RECORDED);
    fields.u8(flags).var(u64::from(entry.type_index));
    if let Some(id) = entry.id {
        out.extend_from_slice(fields.u8(id.len() as u8).bytes());
        out.extend_from_slice(id.as_bytes());
        fields = Few::new();
    }
    for time in [entry.occurred_at, entry.recorded_at].into_iter().flatten() {
        fields.put(&time.to_le_bytes());
    }
    fields.var(entry.metadata.len() as u64).var(entry.payload.len() as u64);
    out.extend_from_slice(fields.bytes());
    let check = if entry.id.is_none() && fields.left() >= type_name.len() && entry.metadata.is_empty() {
        // The usual event: what its check covers besides the payload is joined in one place already.
        fields.put(type_name.as_bytes());
        short_check(seeds.short(position), &[fields.bytes(), entry.payload])
    } else {
        event_check(seeds, position, &out[start..], type_name.as_bytes(), entry.metadata, entry.payload)
    };
    out.extend_from_slice(&check.to_le_bytes());
}
