//! What is believed of the control page.
//!
//! Two questions. Does it count at all: is it of this store, life, boot, mount and place, and does the log hold the frame
//! up to which it says that the log was durable? Then that place is a witness. And may a writer go by it: does the log agree
//! in everything else too? Whoever answers *no* where *yes* would be true costs one roll; the reverse could cost events.

use crate::format::watermark::Watermark;
use crate::ids::{BootId, Position, SegmentOrdinal};
use crate::planted::{Plant, planted};
use crate::process::control::Seen;
use crate::recovery::decision::ControlState;
use crate::recovery::identity::Identity;
use crate::recovery::line::Line;
use crate::recovery::open::log_holds;
use crate::recovery::replay::Replay;
use crate::segment::set::SegmentSet;
use crate::storage::Storage;
use crate::watermark::LogEnd;

/// The page, where it was written since the kernel started and the file system was mounted, beside this identity file.
pub(crate) fn read(storage: &dyn Storage, identity: &Identity) -> Option<Seen> {
    let (boot, mount) = (storage.boot_id(), storage.mount_id()?);
    Seen::read(storage).filter(|seen| {
        let owner = seen.owner;
        boot != BootId::default()
            && (owner.boot == boot || planted(Plant::PageOfOtherBoot))
            && owner.mount == mount
            && (owner.store, owner.identity) == (identity.block.store, identity.place)
    })
}

/// Up to where the page proves that the log was durable; `None` where it says nothing of this log.
pub(crate) fn witness(seen: &Seen, set: &SegmentSet, line: &Line) -> Option<Position> {
    let newest = line.newest.as_deref()?;
    let durable = seen.durable.filter(|_| seen.owner.incarnation == newest.head.open.incarnation)?;
    (planted(Plant::PageUnproven) || holds(set, line, durable)).then_some(durable.end)
}

/// What a writer is told by a page that counts, for the table of openings.
pub(crate) fn state(
    seen: Option<&Seen>,
    watermark: Option<&Watermark>,
    set: &SegmentSet,
    line: &Line,
    replay: &Replay,
) -> ControlState {
    let Some(seen) = seen else { return ControlState::None };
    if seen.is_poisoned && !planted(Plant::PoisonMarkIgnored) {
        return ControlState::Poisoned;
    }
    let is_agreed = is_newest(seen, line, replay)
        && takeover_of(seen, line, replay) >= Some(takeover_known(watermark, replay))
        && seen.committed.is_some_and(|committed| {
            if planted(Plant::ShownEndIgnored) {
                return true;
            }
            let is_there = committed.end < replay.at && holds(set, line, committed);
            // A frame was whole before its end was put into a slot: where that is bad and the log ends at the other one, the
            // frame went bad too.
            let ends_there = committed.end == replay.at && committed.last_check == replay.previous_check;
            is_there || ends_there && !seen.is_commit_half
        });
    match (is_agreed, seen.is_sync_in_flight && !planted(Plant::SyncInFlightIgnored)) {
        (false, _) => ControlState::None,
        (true, true) => ControlState::InFlight,
        (true, false) => ControlState::Idle,
    }
}

/// The takeover of the writer of the page, where it appended to the segment in which the log ends.
pub(crate) fn takeover_of(seen: &Seen, line: &Line, replay: &Replay) -> Option<u16> {
    seen.epoch.filter(|_| is_newest(seen, line, replay)).map(|epoch| epoch.takeover)
}

fn is_newest(seen: &Seen, line: &Line, replay: &Replay) -> bool {
    let ordinal = |segment: &crate::segment::one::Segment| segment.ordinal();
    let ends_in: Option<SegmentOrdinal> = replay.segment.as_deref().map(ordinal);
    ends_in.is_some()
        && ends_in == line.newest.as_deref().map(ordinal)
        && ends_in == seen.epoch.map(|epoch| epoch.segment)
}

/// The highest takeover of the segment in which the log ends, by its frames and by the slot that counts.
fn takeover_known(watermark: Option<&Watermark>, replay: &Replay) -> u16 {
    let salt = replay.segment.as_ref().map(|segment| segment.head.header.salt);
    let slot = watermark.filter(|slot| Some(slot.salt) == salt).map_or(0, |slot| slot.takeover);
    replay.takeover.max(slot)
}

fn holds(set: &SegmentSet, line: &Line, log: LogEnd) -> bool {
    log_holds(set, line, log) == Some(true)
}
