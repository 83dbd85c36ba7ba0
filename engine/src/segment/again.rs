//! Writing bytes of a segment to where they stand already, so that the next sync finds them, and zeros behind the log's end.
//!
//! The bytes are read once more and proven in memory of one's own; what proves itself no longer is not written over.

use std::io;

use crate::format::frame::Frame;
use crate::format::open::HeadBlock;
use crate::format::segment_header::HEAD_BLOCK_BYTES;
use crate::ids::Position;
use crate::planted::{Plant, planted};
use crate::segment::one::Segment;
use crate::{DamageClass, Error, Result};

/// So many bytes of frames are written at once; more only for a frame that is longer.
const STRETCH_BYTES: u64 = 1 << 20;

/// Writes both copies of the head block to where they are.
pub(crate) fn write_head_again(segment: &Segment) -> Result<()> {
    let mut bytes = vec![0; 2 * HEAD_BLOCK_BYTES];
    let read = segment
        .open_file()
        .and_then(|file| file.read_at(&mut bytes, 0))
        .map_err(|error| Error::io("read", &segment.name, error))?;
    let is_same = |copy: &[u8]| HeadBlock::decode(copy).is_ok_and(|head| head == segment.head);
    // Where one copy is bad it stays as it is, and the other one serves.
    for (number, copy) in bytes[..read].chunks_exact(HEAD_BLOCK_BYTES).enumerate().filter(|(_, copy)| is_same(copy)) {
        let offset = (number * HEAD_BLOCK_BYTES) as u64;
        let written = rewrite(segment, copy, offset);
        written.map_err(|error| Error::io("write", &segment.name, error))?;
    }
    Ok(())
}

/// Writes the frames between two borders to where they are; the stored check of the last one.
pub(crate) fn write_again(segment: &Segment, first: Position, end: Position) -> Result<u64> {
    let mut buffer = Vec::new();
    let mut previous_check = None;
    let mut from = first;
    while from < end {
        let mut to = from;
        while to < end && (to == from || to.0 - from.0 < STRETCH_BYTES) {
            let frame = segment.frame(to, end).map_err(|fault| changed(segment, to, end, &fault.to_string()))?;
            to = frame.end();
        }
        buffer.resize((to.0 - from.0) as usize, 0);
        let offset = from.0 - segment.base.0;
        let read = segment.open_file().and_then(|file| file.read_at(&mut buffer, offset));
        let read = read.map_err(|error| Error::io("read", &segment.name, error))?;
        let mut at = from;
        while at < to {
            let bytes = &buffer[(at.0 - from.0) as usize..read];
            let proven = Frame::decode(bytes, segment.seeds, at).and_then(|frame| {
                frame.prove(segment.seeds)?;
                Ok((frame.end(), frame.header()))
            });
            let (frame_end, header) = proven.map_err(|fault| changed(segment, at, to, &fault.to_string()))?;
            if frame_end > to || previous_check.is_some_and(|check| check != header.previous_check) {
                return Err(changed(segment, at, to, "a frame stands there that does not follow the one before it"));
            }
            previous_check = Some(header.frame_check);
            at = frame_end;
        }
        let written = rewrite(segment, &buffer, offset);
        written.map_err(|error| Error::io("write", &segment.name, error))?;
        from = to;
    }
    Ok(previous_check.unwrap_or(0))
}

fn rewrite(segment: &Segment, bytes: &[u8], offset: u64) -> io::Result<()> {
    if planted(Plant::TakeoverSyncsOnly) { Ok(()) } else { segment.open_file()?.rewrite_at(bytes, offset) }
}

/// Fills a torn tail between two places with zeros, and syncs that. The first bytes go last, behind the sync: while they stand,
/// whoever comes finds a torn tail, and does it again.
pub(crate) fn clear(segment: &Segment, from: Position, to: Position) -> Result<()> {
    const FIRST_BYTES: u64 = 8;
    let failed = |doing: &str, error| Error::io(doing, &segment.name, error);
    let file = segment.open_file().map_err(|error| failed("open", error))?;
    let zeros = vec![0; STRETCH_BYTES.min(to.0.saturating_sub(from.0)) as usize];
    let (from, to) = (from.0 - segment.base.0, to.0 - segment.base.0);
    let mut at = (from + FIRST_BYTES).min(to);
    // Holes are zero as they are, and would take space.
    while let Some(data) = file.next_data(at).map_err(|error| failed("read", error))? {
        let (start, end) = (data.start.max(at), data.end.min(to));
        if start >= end {
            break;
        }
        let len = (end - start).min(zeros.len() as u64);
        file.write_at(&zeros[..len as usize], start).map_err(|error| failed("write", error))?;
        at = start + len;
    }
    file.sync_data().map_err(|error| failed("sync", error))?;
    let first = &zeros[..FIRST_BYTES.min(to.saturating_sub(from)) as usize];
    file.write_at(first, from).map_err(|error| failed("write", error))
}

/// The bytes are no longer what was proven when the log was read.
pub(crate) fn changed(segment: &Segment, from: Position, to: Position, found: &str) -> Error {
    let detail = format!(
        "frames were here when the store was opened, and are no more ({found}): the disk lost what was in memory; open \
         the store again, its log then ends before them"
    );
    Error::from_damage(segment.damage(from, to, DamageClass::Damage, detail))
}
