//! Where the log stood at a time.
//!
//! *The log at time T* is its longest prefix of whole batches in which no event was recorded behind T. Clocks go backwards,
//! so it is the running maximum of `recorded_at` that counts: it rises with the log, whatever the clocks did, and so the
//! prefix at a later time is never the shorter one.
//!
//! Open frames and index blocks carry that maximum, so that only one [stretch](super::stretch) is read frame by frame.

use std::sync::Arc;

use crate::Result;
use crate::format::batch::Sections;
use crate::format::frame::{Frame, KIND_BATCH};
use crate::ids::Position;
use crate::index::stretch;
use crate::segment::set::SegmentSet;
use crate::segment::walk::{LogWalk, Walked};

/// The end of the log at `time` (nanoseconds since 1970), as far as it lies below `end`.
///
/// What is lost to damage is passed over: nobody knows when it was recorded.
pub(crate) fn end_at(set: &Arc<SegmentSet>, time: i64, end: Position) -> Result<Position> {
    let mut walk = LogWalk::new(Arc::clone(set), stretch::last_where(set, end, |bound| bound.max_recorded_at <= time));
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
