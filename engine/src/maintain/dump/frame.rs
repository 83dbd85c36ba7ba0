//! The dump of one frame: header, plain part, bodies.

use std::io::{self, Write};

use super::fields::{Fields, Stop, finish_to, offset, preview, verdict};
use super::segment::chain;
use super::token;
use crate::checksum::{Seeds, short_check};
use crate::format::batch::{
    ENTRY_DIGEST_BYTES, ENTRY_DIGESTS, ENTRY_ID, ENTRY_OCCURRED, ENTRY_RECORDED, ENTRY_TAGS, SECTION_CODED,
    SECTION_CREATES, SKIP_EVERY, Section, Sections,
};
use crate::format::frame::{
    FRAME_ALIGNMENT, FRAME_HEADER_BYTES, Frame, FrameHeader, KIND_BATCH, KIND_INDEX_BLOCK, KIND_OPEN, KIND_SEAL,
    WITNESS_UNKNOWN,
};
use crate::format::index_block::{INDEX_FORKED, INDEX_NAMED};
use crate::format::item::{ITEM_ACCEPT, ITEM_CLAIM, ITEM_CURSOR, ITEM_FENCE, ITEM_FORK, ITEM_SNAPSHOT};
use crate::format::open::OPEN_FIXED_BYTES;
use crate::ids::Position;

/// Writes a frame at `at` in the file. Returns whether its header holds.
pub(super) fn dump(
    bytes: &[u8],
    at: u64,
    position: Position,
    seeds: Seeds,
    previous_check: Option<u64>,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let frame = match Frame::decode(bytes, seeds, position) {
        Ok(frame) => frame,
        Err(fault) => {
            writeln!(out, "{} frame at position {position}: BAD: {fault}", offset(at))?;
            dump_header(bytes, at, position, seeds, out)?;
            return Ok(false);
        }
    };
    let FrameHeader { kind, frame_len, events, previous_check: stored, .. } = frame.header();
    let state = match frame.prove(seeds) {
        Ok(()) => "ok".into(),
        Err(fault) => format!("BAD: {fault}"),
    };
    let kind_name = kind_name(kind);
    writeln!(
        out,
        "{} {kind_name} frame at position {position}, {frame_len} bytes, {events} events: {state}",
        offset(at)
    )?;
    dump_header(bytes, at, position, seeds, out)?;
    if kind != KIND_OPEN {
        writeln!(out, "{}   {}", offset(at + 24), chain(stored, previous_check))?;
    }
    let plain_at = at + FRAME_HEADER_BYTES as u64;
    let mut fields = Fields::new(frame.plain(), plain_at, out).inner();
    let shown = match kind {
        KIND_OPEN => open(&mut fields),
        KIND_BATCH => batch(&mut fields, &frame, seeds),
        KIND_SEAL => seal(&mut fields),
        KIND_INDEX_BLOCK => index_block(&mut fields, &frame),
        _ => fields.text("plain part", frame.plain().len()).map(drop),
    };
    let is_rest = shown.is_ok() && fields.at() < frame.plain().len();
    let rest_at = plain_at + fields.at() as u64;
    finish_to(shown, out)?;
    if is_rest {
        writeln!(out, "{}   BAD: more in the plain part than it says", offset(rest_at))?;
    }
    Ok(true)
}

fn kind_name(kind: u8) -> String {
    match kind {
        KIND_OPEN => "open".into(),
        KIND_BATCH => "batch".into(),
        KIND_SEAL => "seal".into(),
        KIND_INDEX_BLOCK => "index block".into(),
        other => format!("kind {other}"),
    }
}

/// Writes what stands where the header of a frame belongs, whether it holds or not.
pub(super) fn dump_header(
    bytes: &[u8],
    at: u64,
    position: Position,
    seeds: Seeds,
    out: &mut dyn Write,
) -> io::Result<()> {
    let head = &bytes[..bytes.len().min(FRAME_HEADER_BYTES)];
    let word = |at: usize| head.get(at..at + 4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let covered = word(12).and_then(|plain| bytes.get(4..FRAME_HEADER_BYTES.checked_add(plain as usize)?));
    let actual = covered.map(|covered| short_check(seeds.short(position), &[covered]));
    let witness = match word(16) {
        None | Some(WITNESS_UNKNOWN) => "none said".into(),
        Some(back) => match position.0.checked_sub(u64::from(back) * FRAME_ALIGNMENT) {
            Some(witness) => witness.to_string(),
            None => "before the log".into(),
        },
    };
    let shown = header(&mut Fields::new(head, at, out), actual, &witness);
    finish_to(shown, out)
}

fn header(fields: &mut Fields<'_, '_>, actual: Option<u32>, witness: &str) -> Result<(), Stop> {
    fields.short_check(actual)?;
    fields.u8("kind")?;
    fields.u8("flags")?;
    fields.u16("takeover")?;
    fields.u32("frame length")?;
    fields.u32("plain length")?;
    fields.u32(&format!("witness back (witness {witness})"))?;
    fields.u32("events")?;
    fields.hex("previous check, as stored", 8)?;
    fields.u64("first number")?;
    fields.i64("recorded at")?;
    fields.hex("batch id", 16)?;
    fields.hex("frame check, as stored", 8).map(drop)
}

fn open(fields: &mut Fields<'_, '_>) -> Result<(), Stop> {
    let start = fields.at();
    fields.hex("incarnation", 16)?;
    fields.hex("identity place: file system", 8)?;
    fields.u64("identity place: inode")?;
    fields.i64("identity place: birth")?;
    fields.hex("boot id", 16)?;
    fields.u64("predecessor: ordinal")?;
    fields.u64("predecessor: end")?;
    fields.u64("predecessor: last frame")?;
    fields.u64("predecessor: last index block")?;
    fields.hex("predecessor: salt", 16)?;
    fields.u64("newest seal")?;
    fields.u8("reason")?;
    fields.zeros(7)?;
    fields.i64("greatest recorded at before")?;
    fields.zeros(32)?;
    debug_assert_eq!(fields.at() - start, OPEN_FIXED_BYTES);
    extensions(fields)
}

fn extensions(fields: &mut Fields<'_, '_>) -> Result<(), Stop> {
    for _ in 0..fields.var("extensions")? {
        fields.u8("tag")?;
        fields.var_text("extension")?;
    }
    Ok(())
}

fn seal(fields: &mut Fields<'_, '_>) -> Result<(), Stop> {
    fields.u64("ordinal")?;
    fields.u64("end")?;
    fields.u64("previous seal")?;
    fields.u32("span")?;
    fields.zeros(4)?;
    fields.hex("hash", 32)?;
    fields.hex("previous hash", 32).map(drop)
}

fn index_block(fields: &mut Fields<'_, '_>, frame: &Frame<'_>) -> Result<(), Stop> {
    let position = frame.position.0;
    fields.var("number")?;
    let mut at = fields.back("stretch", position, 8)?;
    fields.back("previous block", position, 8)?;
    fields.back("older block", position, 8)?;
    fields.i64("greatest recorded at")?;
    for index in 0..fields.var("streams")? {
        fields.line(&format!("stream {index}"))?;
        fields.indent(1);
        let flags = fields.u8("flags")?;
        fields.back("stream id", position, 1)?;
        if flags & INDEX_NAMED != 0 {
            fields.var_text("name")?;
        }
        if flags & INDEX_FORKED != 0 {
            fields.back("parent", position, 1)?;
            fields.var("fork revision")?;
        }
        fields.indent(-1);
    }
    for _ in 0..fields.var("frames")? {
        fields.line(&format!("frame at position {at}"))?;
        fields.indent(1);
        at = at.saturating_add(fields.var("length / 8")?.saturating_mul(8));
        match fields.var("shape")? {
            0 => {
                fields.u8("kind")?;
            }
            shape => {
                for _ in 1..shape {
                    fields.var("stream")?;
                    fields.var("first revision")?;
                    fields.var("count")?;
                }
            }
        }
        fields.indent(-1);
    }
    extensions(fields)
}

fn batch(fields: &mut Fields<'_, '_>, frame: &Frame<'_>, seeds: Seeds) -> Result<(), Stop> {
    let sections = fields.var("sections")?;
    let items = fields.var("items")?;
    let mut decoded = Sections::new(*frame).ok();
    for index in 0..sections {
        // The engine's own reading of the section, for what its checks cover; the fields are read on their own.
        let section = decoded.as_mut().and_then(|sections| sections.next().ok().flatten());
        fields.line(&format!("section {index}"))?;
        fields.indent(1);
        let count = section_head(fields, frame)?;
        entries(fields, count, section, seeds)?;
        fields.indent(-1);
    }
    for index in 0..items {
        let position = (frame.position.0 + u64::from(frame.events())).saturating_add(index);
        fields.line(&format!("item {index} at position {position}"))?;
        fields.indent(1);
        item(fields, frame, position)?;
        fields.indent(-1);
    }
    Ok(())
}

fn section_head(fields: &mut Fields<'_, '_>, frame: &Frame<'_>) -> Result<u64, Stop> {
    let position = frame.position.0;
    let flags = fields.u8("flags")?;
    if flags & SECTION_CREATES != 0 {
        fields.var_text("creates stream")?;
    } else {
        fields.back("stream", position, 1)?;
        fields.var("first revision")?;
        fields.back("section before", position, 8)?;
    }
    let count = fields.var("events")?;
    fields.var("body length")?;
    if flags & SECTION_CODED != 0 {
        fields.u8("codec")?;
        fields.var("key id")?;
        fields.var("raw length")?;
        fields.hex("stored check", 4)?;
    }
    for _ in 0..fields.var("types")? {
        fields.short_text("type")?;
    }
    for line in 0..count.saturating_sub(1) / u64::from(SKIP_EVERY) {
        fields.u32(&format!("skip to entry {}: entry at", (line + 1) * u64::from(SKIP_EVERY)))?;
        fields.u32("body at")?;
    }
    Ok(count)
}

fn entries(fields: &mut Fields<'_, '_>, count: u64, section: Option<Section<'_>>, seeds: Seeds) -> Result<(), Stop> {
    let raw = section.map(|section| section.raw_body(seeds));
    if let Some(Err(fault)) = &raw {
        fields.line(&format!("body: BAD: {fault}"))?;
    }
    let mut decoded = section.and_then(|section| section.entries_from(0).ok());
    for index in 0..count {
        let entry = decoded.as_mut().and_then(|entries| entries.next().ok().flatten());
        let place = section.map_or_else(String::new, |section| {
            let (revision, position) = (section.revision(index as u32), section.position(index as u32));
            format!(", revision {revision} at position {position}")
        });
        fields.line(&format!("event {index}{place}"))?;
        fields.indent(1);
        let flags = fields.u8("flags")?;
        fields.var("type")?;
        if flags & ENTRY_ID != 0 {
            fields.short_text("id")?;
        }
        if flags & ENTRY_OCCURRED != 0 {
            fields.i64("occurred at")?;
        }
        if flags & ENTRY_RECORDED != 0 {
            fields.i64("recorded at")?;
        }
        if flags & ENTRY_TAGS != 0 {
            fields.var_text("tags")?;
        }
        if flags & ENTRY_DIGESTS != 0 {
            fields.hex("digests", ENTRY_DIGEST_BYTES)?;
        }
        fields.var("metadata length")?;
        fields.var("payload length")?;
        let check = fields.hex("check", 4)?;
        if let (Some(section), Some(entry), Some(Ok(raw))) = (&section, &entry, &raw) {
            let stored = u32::from_le_bytes([check[0], check[1], check[2], check[3]]);
            let metadata_end = entry.body_at.saturating_add(entry.metadata_len);
            let metadata = raw.get(entry.body_at..metadata_end).unwrap_or_default();
            let payload = raw.get(metadata_end..metadata_end.saturating_add(entry.payload_len)).unwrap_or_default();
            if !metadata.is_empty() {
                fields.line(&format!("metadata: {}", preview(metadata)))?;
            }
            fields.line(&format!("payload: {}", preview(payload)))?;
            match entry.body(section, seeds, raw) {
                Ok(_) => fields.line(&verdict("event", &format!("{stored:08x}"), &format!("{stored:08x}")))?,
                Err(fault) => fields.line(&format!("event: BAD: {fault}"))?,
            }
        }
        fields.indent(-1);
    }
    Ok(())
}

fn item(fields: &mut Fields<'_, '_>, frame: &Frame<'_>, position: u64) -> Result<(), Stop> {
    let at_frame = frame.position.0;
    let kind = fields.u8("kind")?;
    let end = {
        let len = fields.var("length")?;
        fields.at().saturating_add(usize::try_from(len).unwrap_or(usize::MAX))
    };
    match kind {
        ITEM_FORK => {
            fields.var_text("fork, name")?;
            fields.back("parent", position, 1)?;
            fields.var("fork revision")?;
            fields.back("parent's place", at_frame, 8)?;
            fields.var("depth")?;
            fields.back("jump", position, 1)?;
            fields.var("jump's depth")?;
            fields.var("lowest, below fork revision")?;
        }
        ITEM_SNAPSHOT => {
            fields.var("snapshot, section")?;
            fields.back("source", at_frame, 1)?;
            fields.var("first revision")?;
            fields.var("end revision")?;
            fields.back("place", at_frame, 8)?;
            fields.hex("chain before", 32)?;
            fields.hex("chain at end", 32)?;
            fields.var_text("label")?;
            fields.var_text("version")?;
        }
        ITEM_CURSOR => {
            fields.var_text("cursor, name")?;
            token(fields)?;
        }
        ITEM_CLAIM => {
            fields.back("claim, stream", at_frame, 1)?;
            fields.var_text("note")?;
        }
        ITEM_FENCE => {
            fields.back("fence, stream", at_frame, 1)?;
            fields.back("claim", at_frame, 1)?;
        }
        ITEM_ACCEPT => {
            for _ in 0..fields.var("accept, ranges")? {
                fields.var("start")?;
                fields.var("length")?;
                fields.u8("class")?;
            }
            for _ in 0..fields.var("streams")? {
                fields.var("stream")?;
                fields.var("head")?;
            }
        }
        _ => {
            let len = end.checked_sub(fields.at());
            fields.text("body", len.unwrap_or(usize::MAX))?;
        }
    }
    match fields.at() == end {
        true => Ok(()),
        false => fields.refuse("the item is not as long as it says"),
    }
}
