//! Events: does each one's own check hold, and are its words text?
//!
//! Where bodies are not what was written, the damage is that of the events whose checks fail, so that a report names what
//! readers lose and no more. Bodies of coded sections are decoded; where that fails the section is lost as a whole.

use std::ops::Range;

use crate::error::{Damage, DamageClass};
use crate::format::Fault;
use crate::format::batch::{Section, Sections};
use crate::format::frame::{FRAME_HEADER_BYTES, Frame};
use crate::format::wire::text;
use crate::ids::{Position, Revision, StreamId};
use crate::segment::one::Segment;

/// Events of a frame that are lost, next to each other.
#[derive(Debug)]
struct Run {
    positions: Range<u64>,
    /// Bytes of the bodies part of the frame.
    bytes: Range<u64>,
    /// Streams, with the first and last revision that is lost.
    streams: Vec<(StreamId, Revision, Revision)>,
    fault: Fault,
}

/// What the events of a batch frame come to.
#[derive(Debug)]
pub(super) struct Checked {
    /// Greatest time of recording of its events.
    pub(super) max_recorded_at: i64,
    /// Events in sections whose stored bytes are as they were written, but cannot be decoded by this build.
    pub(super) undecoded: u64,
    /// Events that are lost.
    pub(super) damage: Vec<Damage>,
}

/// Checks every event of a batch frame whose structure adds up. `problems` gets what is wrong with words.
pub(super) fn check(frame: &Frame<'_>, segment: &Segment, problems: &mut Vec<String>) -> Result<Checked, Fault> {
    let mut runs: Vec<Run> = Vec::new();
    let mut max_recorded_at = i64::MIN;
    let mut undecoded = 0;
    let mut sections = Sections::new(*frame)?;
    while let Some(section) = sections.next()? {
        check_types(&section, problems)?;
        let raw = section.raw_body(segment.seeds);
        if let Err(Fault::Unsupported(_)) = &raw {
            undecoded += u64::from(section.count);
        } else if let Err(fault) = &raw {
            let start = section.body_offset() as u64;
            let bytes = start..start + section.stored_body().len() as u64;
            let positions = section.position(0).0..section.position(section.count - 1).0 + 1;
            let streams = vec![(section.stream, section.first_revision, section.last_revision())];
            runs.push(Run { positions, bytes, streams, fault: fault.clone() });
        }
        let mut entries = section.entries_from(0)?;
        while let Some(entry) = entries.next()? {
            max_recorded_at = max_recorded_at.max(entry.recorded_at.unwrap_or(frame.recorded_at()));
            if let Some(id) = entry.id
                && (id.is_empty() || text(id, "an id").is_err())
            {
                problems.push(format!("the id of the event at {} is no text", section.position(entry.index)));
            }
            let Ok(raw) = &raw else { continue };
            let Err(fault) = entry.body(&section, segment.seeds, raw) else { continue };
            let position = section.position(entry.index).0;
            let start = section.body_offset() as u64 + if section.coding.is_some() { 0 } else { entry.body_at as u64 };
            let len = match section.coding {
                Some(_) => section.stored_body().len(),
                None => entry.metadata_len + entry.payload_len,
            };
            let bytes = start..start + len as u64;
            let revision = section.revision(entry.index);
            let lost = (section.stream, revision, revision);
            match runs.last_mut().filter(|last| last.positions.end == position && bytes.start <= last.bytes.end) {
                Some(last) => {
                    last.positions.end = position + 1;
                    last.bytes.end = last.bytes.end.max(bytes.end);
                    last.streams.push(lost);
                }
                None => runs.push(Run { positions: position..position + 1, bytes, streams: vec![lost], fault }),
            }
        }
        sections.walked_to(entries.at());
    }
    let bodies_at = frame.position.0 + FRAME_HEADER_BYTES as u64 + frame.plain().len() as u64;
    let damage = runs.into_iter().map(|run| {
        let empty = run.bytes.is_empty();
        let from = if empty { frame.position.0 } else { bodies_at + run.bytes.start };
        let to = if empty { frame.end().0 } else { bodies_at + run.bytes.end };
        let events = run.positions.end - run.positions.start;
        let detail = format!("{events} of the events of the frame at {}: {}", frame.position, run.fault);
        let mut damage = segment.damage(Position(from), Position(to), DamageClass::Damage, detail);
        for (stream, first, last) in run.streams {
            damage.note_stream(stream, None, first, last);
        }
        Damage { positions: Position(run.positions.start)..Position(run.positions.end), ..damage }
    });
    Ok(Checked { max_recorded_at, undecoded, damage: damage.collect() })
}

fn check_types(section: &Section<'_>, problems: &mut Vec<String>) -> Result<(), Fault> {
    for index in 0..section.type_count() {
        if let Err(fault) = text(section.type_name(index)?, "a type") {
            problems.push(format!("{fault}, in the section of stream {}", section.stream));
        }
    }
    Ok(())
}
