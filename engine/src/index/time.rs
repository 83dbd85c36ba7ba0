//! Where the log stood at a time.
//!
//! *The log at time T* is its longest prefix of whole batches in which no event was recorded behind T. Clocks go backwards,
//! so it is the running maximum of `recorded_at` that counts: it rises with the log, whatever the clocks did, and so the
//! prefix at a later time is never the shorter one.
//!
//! Open frames and index blocks carry that maximum. The segment is found by halving, the stretch in it by going back from
//! its last index block, by jump links where they help; only that stretch is read frame by frame.

use std::sync::Arc;

use crate::Result;
use crate::format::batch::Sections;
use crate::format::frame::{Frame, KIND_BATCH};
use crate::format::index_block::IndexBlock;
use crate::ids::Position;
use crate::segment::one::Segment;
use crate::segment::set::{Known, SegmentSet};
use crate::segment::walk::{LogWalk, Walked};

/// The end of the log at `time` (nanoseconds since 1970), as far as it lies below `end`.
///
/// What is lost to damage is passed over: nobody knows when it was recorded.
pub(crate) fn end_at(set: &Arc<SegmentSet>, time: i64, end: Position) -> Result<Position> {
    let from = match last_segment_before(set, time, end)? {
        Some((known, segment)) => last_block_before(&segment, last_block(set, &known), time, end),
        None => Position::ZERO,
    };
    let mut walk = LogWalk::new(Arc::clone(set), from);
    loop {
        match walk.next(end)? {
            Walked::End => return Ok(end),
            Walked::Damage(_) => {}
            Walked::Frame(place) => {
                if is_later(&walk.frame(place), time) {
                    return Ok(place.position);
                }
            }
        }
    }
}

/// The newest segment before which nothing was recorded behind `time`; `None` where no head that can be read says so.
fn last_segment_before(set: &SegmentSet, time: i64, end: Position) -> Result<Option<(Known, Arc<Segment>)>> {
    let all: Vec<Known> = set.all().into_iter().filter(|known| known.base < end).collect();
    let (mut low, mut high) = (0, all.len());
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        // A lost head says nothing: the next one that can be read does.
        let readable = (middle..high).find_map(|index| {
            let segment = set.open(&all[index]).ok()?;
            (!segment.is_head_lost).then_some((index, segment))
        });
        match readable {
            Some((index, segment)) if segment.head.open.max_recorded_at <= time => {
                found = Some((all[index].clone(), segment));
                low = index + 1;
            }
            _ => high = middle,
        }
    }
    Ok(found)
}

/// The last index block of the segment; it may be newer than `known` where that is the active one.
fn last_block(set: &SegmentSet, known: &Known) -> Position {
    set.at_or_behind(known.base)
        .filter(|fresh| fresh.ordinal == known.ordinal)
        .map_or(Position::ZERO, |fresh| fresh.last_index_block)
}

/// The end of the last index block up to which nothing was recorded behind `time`; the segment's first frame where there is
/// none. Every step halves the blocks that are left, or nearly so.
fn last_block_before(segment: &Segment, last_block: Position, time: i64, end: Position) -> Position {
    let read = |at: Position| {
        let frame = segment.frame(at, end).ok().filter(|frame| frame.prove(segment.seeds).is_ok())?;
        let block = IndexBlock::decode(&frame).ok()?;
        Some((block.links, frame.end()))
    };
    let first = segment.first_frame();
    let mut at = last_block;
    while at >= first
        && let Some((links, behind)) = read(at)
    {
        if links.max_recorded_at <= time {
            return behind;
        }
        let is_jump_later = || read(links.jump).is_some_and(|(jump, _)| jump.max_recorded_at > time);
        let next = if (first..at).contains(&links.jump) && is_jump_later() { links.jump } else { links.previous };
        if next >= at {
            break;
        }
        at = next;
    }
    first
}

/// Whether any event of the frame was recorded behind `time`.
fn is_later(frame: &Frame<'_>, time: i64) -> bool {
    if frame.kind() != KIND_BATCH || frame.events() == 0 {
        return false;
    }
    let any_later = || {
        let mut sections = Sections::new(*frame)?;
        while let Some(section) = sections.next()? {
            let mut entries = section.entries_from(0)?;
            while let Some(entry) = entries.next()? {
                if entry.recorded_at.unwrap_or(frame.recorded_at()) > time {
                    return Ok(true);
                }
            }
            sections.walked_to(entries.at());
        }
        Ok::<_, crate::format::Fault>(false)
    };
    // What cannot be decoded is met as damage by whoever reads it.
    any_later().unwrap_or(false)
}
