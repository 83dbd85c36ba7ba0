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

use crate::recovery::replay::Replay;
use crate::segment::again::{changed, clear, write_again, write_head_again};
use crate::segment::one::Segment;
use crate::segment::set::SegmentSet;
use crate::storage::Access;
use crate::{Error, Result};

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
        segment
            .open_file()
            .and_then(|file| file.sync_data())
            .map_err(|error| Error::io("sync", &segment.name, error))?;
    }
    if is_name_uncertain {
        // Its writer may have been stopped between giving the newest segment its name and making that durable: the name of
        // a segment behind it could outlive it.
        set.storage
            .sync_directory()
            .map_err(|error| Error::io("sync the directory of", &set.storage.describe(), error))?;
    }
    match (kept, replay.torn_end()) {
        (Some(kept), Some(torn)) => clear(kept, replay.at, torn.positions.end),
        _ => Ok(()),
    }
}
