//! Making durable what nobody witnessed, before a takeover publishes anything.
//!
//! After a sync that failed, in another process or in the background, the page cache may hold bytes that are not on the
//! disk and that no further sync would write: a page is clean, though the disk has not what is in it. So the frames above the
//! witness are read once more, proven in memory of one's own, and written to the same place, past the page cache where that can
//! be done: it may know the blocks as written when the disk does not. Then they are synced, by the open file that wrote them. A page that was dropped meanwhile and read again from
//! the disk shows here, as bytes that prove nothing, and is not written over.
//!
//! Where the log goes on in its last segment, the torn tail behind its end is filled with zeros in the same go, so that
//! nothing of it is ever taken for the start of a frame that ends a later writer's. All this lies above the committed end.
//!
//! Cut off anywhere, it has written bytes that were there, or zeros where nothing is promised: the next one does it again.

use crate::format::frame::Frame;
use crate::format::open::HeadBlock;
use crate::format::segment_header::HEAD_BLOCK_BYTES;
use crate::ids::Position;
use crate::planted::{Plant, planted};
use crate::recovery::replay::Replay;
use crate::segment::one::Segment;
use crate::segment::set::SegmentSet;
use crate::storage::Access;
use crate::{DamageClass, Error, Result};

/// So many bytes of frames are written at once; more only for a frame that is longer.
const STRETCH_BYTES: u64 = 1 << 20;

/// Makes everything below the end of the log durable. `kept` is the last segment, where the log goes on in it: its open file
/// writes and syncs there, now and later.
pub(crate) fn make_durable(set: &SegmentSet, replay: &Replay, kept: Option<&Segment>) -> Result<()> {
    let mut is_name_uncertain = false;
    for known in set.all() {
        let end = known.end.unwrap_or(replay.at).min(replay.at);
        if known.damage.is_some() || end <= replay.witness || end <= known.base {
            continue;
        }
        let is_last = replay.segment.as_ref().is_some_and(|last| last.ordinal() == known.ordinal);
        let opened;
        let segment = match kept.filter(|_| is_last) {
            Some(kept) => kept,
            None => {
                opened = set.open_with(&known, Access::ReadWrite)?;
                &opened
            }
        };
        if replay.witness < segment.first_frame() {
            write_head_again(segment)?;
            is_name_uncertain = true;
        }
        let first = replay.unwitnessed.iter().find(|(ordinal, _)| *ordinal == known.ordinal).map(|(_, first)| *first);
        if let Some(first) = first.filter(|first| *first < end) {
            let last_check = write_again(segment, first, end)?;
            // Where the log ends in a segment that is lost, nobody knows its last check.
            if is_last && replay.lost_end.is_none() && last_check != replay.previous_check {
                return Err(changed(segment, first, end, "other frames stand there"));
            }
        }
        segment.file.sync_data().map_err(|error| Error::io("sync", &segment.name, error))?;
    }
    if is_name_uncertain {
        // Its writer may have been stopped between giving the newest segment its name and making that durable: the name of
        // a segment behind it could outlive it.
        set.storage
            .sync_directory()
            .map_err(|error| Error::io("sync the directory of", &set.storage.describe(), error))?;
    }
    match (kept, &replay.torn_tail) {
        (Some(kept), Some(torn)) => clear(kept, replay.at, torn.positions.end),
        _ => Ok(()),
    }
}

/// Writes both copies of the head block to where they are.
fn write_head_again(segment: &Segment) -> Result<()> {
    let mut bytes = vec![0; 2 * HEAD_BLOCK_BYTES];
    let read = segment.file.read_at(&mut bytes, 0).map_err(|error| Error::io("read", &segment.name, error))?;
    let is_same = |copy: &[u8]| HeadBlock::decode(copy).is_ok_and(|head| head == segment.head);
    // Where one copy is bad it stays as it is, and the other one serves.
    for (number, copy) in bytes[..read].chunks_exact(HEAD_BLOCK_BYTES).enumerate().filter(|(_, copy)| is_same(copy)) {
        let offset = (number * HEAD_BLOCK_BYTES) as u64;
        let written = if planted(Plant::TakeoverSyncsOnly) { Ok(()) } else { segment.file.rewrite_at(copy, offset) };
        written.map_err(|error| Error::io("write", &segment.name, error))?;
    }
    Ok(())
}

/// Writes the frames between two borders to where they are; the stored check of the last one.
fn write_again(segment: &Segment, first: Position, end: Position) -> Result<u64> {
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
        let read = segment.file.read_at(&mut buffer, offset);
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
        let written = if planted(Plant::TakeoverSyncsOnly) { Ok(()) } else { segment.file.rewrite_at(&buffer, offset) };
        written.map_err(|error| Error::io("write", &segment.name, error))?;
        from = to;
    }
    Ok(previous_check.unwrap_or(0))
}

/// Fills what is set between two places with zeros, and syncs that.
fn clear(segment: &Segment, from: Position, to: Position) -> Result<()> {
    let failed = |doing: &str, error| Error::io(doing, &segment.name, error);
    let zeros = vec![0; STRETCH_BYTES.min(to.0.saturating_sub(from.0)) as usize];
    let (mut at, to) = (from.0 - segment.base.0, to.0 - segment.base.0);
    // Holes are zero as they are, and would take space.
    while let Some(data) = segment.file.next_data(at).map_err(|error| failed("read", error))? {
        let (start, end) = (data.start.max(at), data.end.min(to));
        if start >= end {
            break;
        }
        let len = (end - start).min(zeros.len() as u64);
        segment.file.write_at(&zeros[..len as usize], start).map_err(|error| failed("write", error))?;
        at = start + len;
    }
    segment.file.sync_data().map_err(|error| failed("sync", error))
}

/// The bytes are no longer what was proven when the log was read.
fn changed(segment: &Segment, from: Position, to: Position, found: &str) -> Error {
    let detail = format!(
        "frames were here when the store was opened, and are no more ({found}): the disk lost what was in memory; open \
         the store again, its log then ends before them"
    );
    Error::from_damage(segment.damage(from, to, DamageClass::Damage, detail))
}
