//! The way past damage: the next frame boundary behind a bad place.
//!
//! Boundaries come from index blocks that prove themselves, found backwards from a proven place near the end of the
//! segment. Bytes that look like a frame are not searched for, since a payload may hold anything, whole segments included;
//! save in the stretch at a segment's end that no index block covers yet. There a frame is taken only if it proves itself
//! *and* the chain leads from it to something that is known to be log: the proven end, or a frame that witnesses the bad
//! place.

use crate::error::Damage;
use crate::format::index_block::IndexBlock;
use crate::ids::{Position, Revision, StreamId};
use crate::planted::{Plant, planted};
use crate::segment::one::Segment;
use crate::segment::scan::{Proof, Scan, Step};

/// So many bytes of frames are proven at most while one boundary is searched for.
const SEARCH_BYTES_MAX: u64 = 256 << 20;

/// The first proven frame boundary behind `bad`, not beyond `end`, going back from the index block at `last_block`.
///
/// Zero or a place that holds no index block for `last_block` means that none is known. `end` is known to be a boundary;
/// where nothing better is found, it is the answer.
pub(crate) fn boundary_behind(segment: &Segment, bad: Position, last_block: Position, end: Position) -> Position {
    let mut best = end;
    let mut at = last_block;
    while at > bad && at >= segment.first_frame() && at < end {
        let Ok(frame) = segment.frame(at, end) else { break };
        if frame.prove(segment.seeds).is_err() {
            break;
        }
        let Ok(block) = IndexBlock::decode(&frame) else { break };
        best = best.min(at);
        let mut found = None;
        let stretch = block.links.stretch;
        if stretch > bad {
            best = best.min(stretch);
        } else {
            let whole = block.frames(|listed| {
                if listed.position > bad && found.is_none() {
                    found = Some(listed.position);
                }
            });
            return if whole.is_ok() { found.unwrap_or(best).min(best) } else { best };
        }
        if block.links.previous >= at {
            break;
        }
        at = block.links.previous;
    }
    if best == end { search(segment, bad, end) } else { best }
}

/// The first place behind `bad` from which the chain leads to `end`, or to a frame that witnesses `bad`; else `end`.
///
/// A payload may hold what looks like a frame and end where the frame around it ends: the frame at `end` names another one
/// as the one before it.
fn search(segment: &Segment, bad: Position, end: Position) -> Position {
    let mut at = Position((bad.0 + 1).next_multiple_of(8));
    let mut budget = SEARCH_BYTES_MAX;
    while at < end && budget > 0 {
        // Most places are refused by their first bytes; a few hash what would be a header.
        budget = budget.saturating_sub(64);
        if !segment.may_hold_frame(at, end) {
            at.0 += 8;
            continue;
        }
        let mut scan = Scan::resume(segment, at, None, end, Proof::Whole);
        while let Step::Frame(frame) = scan.next() {
            budget = budget.saturating_sub(u64::from(frame.frame_len()));
            let check = frame.frame_check();
            let is_last = frame.end() == end
                && segment.frame(end, segment.file_end()).map_or(true, |next| next.previous_check() == check);
            if planted(Plant::SearchTakesAnything) || is_last || frame.witness().is_some_and(|witness| witness > bad) {
                return at;
            }
        }
        at.0 += 8;
    }
    end
}

/// Whether a whole frame begins between two places and ends at `limit` or before.
pub(crate) fn has_whole_frame(segment: &Segment, from: Position, to: Position, limit: Position) -> bool {
    let mut budget = SEARCH_BYTES_MAX;
    let mut at = Position(from.0.next_multiple_of(8));
    while at < to && budget > 0 {
        if segment.may_hold_frame(at, limit)
            && let Ok(frame) = segment.frame(at, limit)
        {
            if frame.prove(segment.seeds).is_ok() {
                return true;
            }
            budget = budget.saturating_sub(u64::from(frame.frame_len()));
        }
        budget = budget.saturating_sub(64);
        at.0 += 8;
    }
    false
}

/// The last proven frame boundary at or before `place`, going back from the index block at `last_block`; the segment's
/// first frame where no index block is known.
pub(crate) fn boundary_before(segment: &Segment, place: Position, last_block: Position, end: Position) -> Position {
    let first = segment.first_frame();
    let mut at = last_block;
    while at >= first && at < end {
        let Ok(frame) = segment.frame(at, end) else { break };
        if frame.prove(segment.seeds).is_err() {
            break;
        }
        if frame.end() <= place {
            return frame.end();
        }
        let Ok(block) = IndexBlock::decode(&frame) else { break };
        if at <= place {
            return at;
        }
        if block.links.stretch <= place {
            let mut best = block.links.stretch;
            let whole = block.frames(|listed| {
                if listed.position <= place {
                    best = listed.position;
                }
            });
            return if whole.is_ok() { best } else { first };
        }
        if block.links.previous >= at {
            break;
        }
        at = block.links.previous;
    }
    first
}

/// A frame that is lost, as the index block behind it lists it.
#[derive(Clone, Debug)]
pub(crate) struct LostFrame {
    pub(crate) position: Position,
    pub(crate) len: u64,
    pub(crate) kind: u8,
    pub(crate) sections: Vec<LostSection>,
    pub(crate) forks: Vec<LostFork>,
}

/// A fork that a lost frame has made.
#[derive(Clone, Debug)]
pub(crate) struct LostFork {
    pub(crate) stream: StreamId,
    pub(crate) name: String,
    pub(crate) parent: StreamId,
    pub(crate) revision: Revision,
}

/// A section of a lost frame.
#[derive(Clone, Debug)]
pub(crate) struct LostSection {
    pub(crate) stream: StreamId,
    /// The name, where the index block gives it.
    pub(crate) name: Option<String>,
    pub(crate) first_revision: Revision,
    pub(crate) count: u32,
}

/// Notes the streams of lost frames in the damage that took them; nothing where no index block lists the frames.
pub(crate) fn note_streams(damage: &mut Damage, lost: Option<&[LostFrame]>) {
    let Some(lost) = lost else { return };
    damage.streams.get_or_insert_default();
    for section in lost.iter().flat_map(|frame| &frame.sections) {
        let last = Revision(section.first_revision.0 + u64::from(section.count) - 1);
        damage.note_stream(section.stream, section.name.as_deref(), section.first_revision, last);
    }
}

/// The forks that a block names.
fn forks_in<'b>(block: &'b IndexBlock<'_>) -> impl Iterator<Item = LostFork> + 'b {
    block.streams.iter().filter_map(|listed| {
        let (parent, revision) = listed.parent?;
        Some(LostFork { stream: listed.stream, name: listed.name?.into(), parent, revision })
    })
}

/// The fork that made a stream, as the index block says it that covers its frame, which is lost.
pub(crate) fn lost_fork(segment: &Segment, stream: StreamId, last_block: Position) -> Option<LostFork> {
    let mut at = last_block;
    while at.0 > stream.0 {
        let frame = segment.frame(at, segment.file_end()).ok()?;
        frame.prove(segment.seeds).ok()?;
        let block = IndexBlock::decode(&frame).ok()?;
        if block.links.stretch.0 <= stream.0 {
            return forks_in(&block).find(|fork| fork.stream == stream);
        }
        if block.links.previous >= at {
            return None;
        }
        at = block.links.previous;
    }
    None
}

/// The frames that lay between two boundaries, where one proven index block lists them all; `None` where none does.
pub(crate) fn lost_frames(
    segment: &Segment,
    from: Position,
    to: Position,
    last_block: Position,
    end: Position,
) -> Option<Vec<LostFrame>> {
    let mut at = last_block;
    while at >= to && at < end {
        let frame = segment.frame(at, end).ok()?;
        frame.prove(segment.seeds).ok()?;
        let block = IndexBlock::decode(&frame).ok()?;
        if block.links.stretch <= from {
            let mut lost = Vec::new();
            let mut next = None;
            block
                .frames(|listed| {
                    if listed.position >= from && listed.position < to {
                        next = Some(Position(listed.position.0 + listed.len));
                        let sections = listed.sections.iter().map(|section| {
                            let stream = &block.streams[section.stream as usize];
                            LostSection {
                                stream: stream.stream,
                                name: stream.name.map(Into::into),
                                first_revision: section.first_revision,
                                count: section.count,
                            }
                        });
                        let sections = sections.collect();
                        let (position, len, kind) = (listed.position, listed.len, listed.kind);
                        let inside = position.0..position.0 + len;
                        let forks = forks_in(&block).filter(|fork| inside.contains(&fork.stream.0)).collect();
                        lost.push(LostFrame { position, len, kind, sections, forks });
                    }
                })
                .ok()?;
            let whole = lost.first().is_some_and(|first| first.position == from) && next == Some(to);
            return whole.then_some(lost);
        }
        if block.links.previous >= at {
            return None;
        }
        at = block.links.previous;
    }
    None
}
