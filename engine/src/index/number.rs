//! Where the newest events of the log begin.
//!
//! Events are numbered throughout the log, those that were lost included, and every header says the number of its first.

use std::sync::Arc;

use crate::Result;
use crate::ids::Position;
use crate::index::stretch;
use crate::segment::set::SegmentSet;
use crate::segment::walk::{LogWalk, Walked};

/// The first of the `count` newest events in the frames that end at `visible` or before and begin before `end`. What is lost
/// counts as it was numbered.
pub(crate) fn newest(set: &Arc<SegmentSet>, count: u64, visible: Position, end: Position) -> Result<Position> {
    let limits = (visible, end);
    let last = walk_from(set, limits, u64::MAX, |_| false)?;
    let first = last.map_or(0, |last| last.next_number()).saturating_sub(count);
    let found = walk_from(set, limits, first, |frame| frame.next_number() > first)?;
    let found = found.filter(|frame| frame.next_number() > first);
    Ok(found.map_or(visible, |frame| Position(frame.position.0 + first.saturating_sub(frame.first_number))))
}

/// A frame and the events in it.
#[derive(Clone, Copy)]
struct Numbered {
    position: Position,
    first_number: u64,
    events: u32,
}

impl Numbered {
    fn next_number(&self) -> u64 {
        self.first_number + u64::from(self.events)
    }
}

/// Walks from the last stretch that begins at event `number` or before, to the first frame of which `is_it` says so, else to
/// the last; hands that out.
fn walk_from(
    set: &Arc<SegmentSet>,
    (visible, end): (Position, Position),
    number: u64,
    is_it: impl Fn(&Numbered) -> bool,
) -> Result<Option<Numbered>> {
    let from = stretch::last_where(set, visible.min(end), |bound| bound.first_number <= number);
    let mut walk = LogWalk::new(Arc::clone(set), from);
    let mut last = None;
    loop {
        match walk.next(visible)? {
            Walked::Frame(place) if place.position < end => {
                let frame = walk.frame(place);
                let (position, first_number, events) = (frame.position, frame.first_number(), frame.events());
                let here = Numbered { position, first_number, events };
                last = Some(here);
                if is_it(&here) {
                    return Ok(last);
                }
            }
            Walked::Damage(_) => {}
            Walked::Frame(_) | Walked::End => return Ok(last),
        }
    }
}
