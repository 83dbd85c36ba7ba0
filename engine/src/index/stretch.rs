//! Which stretch of the log holds a place that something rises towards: a time, a number of events.
//!
//! Open frames and index blocks say how many events lie before them, and when the latest of those was recorded. The segment is
//! found by halving, the stretch in it by going back from its last index block, by jump links where they help. Only the
//! stretch is left to be read frame by frame.

use std::sync::Arc;

use crate::format::index_block::IndexBlock;
use crate::format::segment_header::FIRST_FRAME_OFFSET;
use crate::ids::Position;
use crate::segment::one::Segment;
use crate::segment::set::{Known, SegmentSet};

/// What an open frame or an index block says of the log before it. Both numbers rise with the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// How many events lie before.
    pub(crate) first_number: u64,
    /// Greatest `recorded_at` before.
    pub(crate) max_recorded_at: i64,
}

impl Bound {
    fn of_head(segment: &Segment) -> Bound {
        let open = &segment.head.open;
        Bound { first_number: open.first_number, max_recorded_at: open.max_recorded_at }
    }
}

/// Where the last stretch begins that begins before a place, as `lies_before` says it of its bound, and before `end`. The start
/// of the log where nothing that can be read says so.
pub(crate) fn last_where(set: &SegmentSet, end: Position, lies_before: impl Fn(&Bound) -> bool) -> Position {
    match last_segment(set, end, &lies_before) {
        Some((known, segment)) => {
            let end = known.end.map_or(end, |left| left.min(end));
            last_block_before(&segment, last_block(set, &known), end, &lies_before)
        }
        None => Position::ZERO,
    }
}

/// The newest segment whose beginning lies before the place; `None` where no head that can be read says so.
fn last_segment(
    set: &SegmentSet,
    end: Position,
    lies_before: &impl Fn(&Bound) -> bool,
) -> Option<(Known, Arc<Segment>)> {
    let all: Vec<Known> = set.all().into_iter().filter(|known| known.base.0 + FIRST_FRAME_OFFSET < end.0).collect();
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
            Some((index, segment)) if lies_before(&Bound::of_head(&segment)) => {
                found = Some((all[index].clone(), segment));
                low = index + 1;
            }
            _ => high = middle,
        }
    }
    found
}

/// The last index block of the segment; it may be newer than `known` where that is the active one.
fn last_block(set: &SegmentSet, known: &Known) -> Position {
    set.at_or_behind(known.base)
        .filter(|fresh| fresh.ordinal == known.ordinal)
        .map_or(Position::ZERO, |fresh| fresh.last_index_block)
}

/// The end of the last index block that lies before the place; the segment's first frame where there is none. Every step
/// halves the blocks that are left, or nearly so.
fn last_block_before(
    segment: &Segment,
    last_block: Position,
    end: Position,
    lies_before: &impl Fn(&Bound) -> bool,
) -> Position {
    let read = |at: Position| {
        let frame = segment.frame(at, segment.file_end()).ok().filter(|frame| frame.prove(segment.seeds).is_ok())?;
        let links = IndexBlock::decode(&frame).ok()?.links;
        Some((links, Bound { first_number: frame.first_number(), max_recorded_at: links.max_recorded_at }, frame.end()))
    };
    let first = segment.first_frame();
    let mut at = last_block;
    while at >= first
        && let Some((links, bound, behind)) = read(at)
    {
        if behind < end && lies_before(&bound) {
            return behind;
        }
        let is_jump_later = || read(links.jump).is_some_and(|(_, bound, behind)| behind >= end || !lies_before(&bound));
        let next = if (first..at).contains(&links.jump) && is_jump_later() { links.jump } else { links.previous };
        if next >= at {
            break;
        }
        at = next;
    }
    first
}
