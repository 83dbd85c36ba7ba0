//! Dumping a side file: its header, the check of each block, and what the index of a segment lists.

use std::io::{self, Write};

use super::fields::{self, Fields, Stop};
use crate::format::Fault;
use crate::format::segment_index::{SegmentIndexHead, postings, types};
use crate::format::side_file::{SIDE_BLOCK_BYTES, SIDE_MAGIC, SideHeader, SideKind, block_check, table_check};
use crate::format::wire::Wire;
use crate::ids::StoreId;

/// So many sections of a stream stand in a line.
const SECTIONS_A_LINE: usize = 8;

pub(super) fn dump(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "file: side file, {} bytes", bytes.len())?;
    let shown = header(&mut Fields::new(bytes, 0, out));
    fields::finish_to(shown, out)?;
    let Some(store) = bytes.get(16..32).and_then(|store| store.try_into().ok()).map(StoreId) else { return Ok(()) };
    let kinds = [SideKind::SegmentIndex, SideKind::DirectoryRun, SideKind::Checkpoint];
    let known = kinds.into_iter().find_map(|kind| SideHeader::decode(bytes, kind, store).ok());
    let Some(header) = known else { return writeln!(out, "{} its header does not hold: BAD", fields::offset(0)) };
    let table = &bytes[header.table_at() as usize..];
    for (number, block) in bytes[SIDE_BLOCK_BYTES..header.table_at() as usize].chunks(SIDE_BLOCK_BYTES).enumerate() {
        let expected = Wire::starting_at(table, 8 * number).u64().unwrap_or(0);
        let word = if block_check(number as u64, block) == expected { "ok" } else { "BAD" };
        writeln!(out, "{} block {number}, check {word}", fields::offset(((1 + number) * SIDE_BLOCK_BYTES) as u64))?;
    }
    let word = if table_check(table) == header.table_check { "ok" } else { "BAD" };
    writeln!(out, "{} table of checks, {} bytes, check {word}", fields::offset(header.table_at()), table.len())?;
    if header.kind == SideKind::SegmentIndex {
        let payload = &bytes[SIDE_BLOCK_BYTES..][..header.payload_len as usize];
        match SegmentIndexHead::decode(&header.head, header.payload_len) {
            Ok(head) => segment_index(&head, payload, out)?,
            Err(fault) => writeln!(out, "{} its head: {fault}: BAD", fields::offset(0))?,
        }
    }
    Ok(())
}

fn header(fields: &mut Fields<'_, '_>) -> Result<(), Stop> {
    fields.text("magic", SIDE_MAGIC.len())?;
    fields.u16("version")?;
    fields.u16("kind (1: segment index, 2: directory, 3: checkpoint)")?;
    fields.u32("head length")?;
    fields.hex("store id", 16)?;
    fields.u64("payload length")?;
    fields.hex("table check", 8)?;
    Ok(())
}

fn segment_index(head: &SegmentIndexHead, payload: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let at = fields::offset(0);
    writeln!(out, "{at} index of segment {}, positions {} to {}", head.ordinal, head.base, head.end)?;
    writeln!(
        out,
        "{at} {} events from number {}, {} frames, {} batches, {} sections, last frame at {}",
        head.events, head.first_number, head.frames, head.batches, head.sections, head.last_frame
    )?;
    for index in 0..head.streams {
        if let Err(fault) = stream(head, payload, index, out)? {
            writeln!(out, "{at} stream {index}: {fault}: BAD")?;
        }
    }
    for index in 0..head.types {
        match types::nth(payload, head, index) {
            Ok(record) => {
                let listed = if record.places().is_some() { ", listed" } else { "" };
                let name = String::from_utf8_lossy(record.name);
                writeln!(out, "{at} type {name:?}: {} events in {} batches{listed}", record.events, record.frames)?;
            }
            Err(fault) => writeln!(out, "{at} type {index}: {fault}: BAD")?,
        }
    }
    Ok(())
}

/// The outer error is that of `out`.
fn stream(head: &SegmentIndexHead, payload: &[u8], index: u64, out: &mut dyn Write) -> io::Result<Result<(), Fault>> {
    let record = match postings::nth(payload, head, index) {
        Ok(record) => record,
        Err(fault) => return Ok(Err(fault)),
    };
    let at = fields::offset(0);
    write!(
        out,
        "{at} stream {}: revisions {} to {} in {} sections, number {}",
        record.stream, record.first_revision, record.last_revision, record.sections, record.number
    )?;
    if let Some(place) = record.reach_back {
        write!(out, ", before at {place}")?;
    }
    if let Some(jump) = record.jump {
        write!(out, ", jump to segment {} from revision {}", jump.ordinal, jump.first_revision)?;
    }
    writeln!(out)?;
    for number in 0..record.chunks() {
        let mut sections = Vec::new();
        let walked = record.chunk(payload, head, number).and_then(|chunk| {
            chunk.walk(payload, head, |revision, place| {
                sections.push(format!("{revision} at {place}"));
                true
            })
        });
        for line in sections.chunks(SECTIONS_A_LINE) {
            writeln!(out, "{at}   {}", line.join(", "))?;
        }
        if let Err(fault) = walked {
            return Ok(Err(fault));
        }
    }
    Ok(Ok(()))
}
