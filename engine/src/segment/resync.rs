//! The way past damage: the next frame boundary behind a bad place, from index blocks that prove themselves.
//!
//! Bytes that look like a frame are never searched for: a payload may hold anything, whole segments included. Index blocks
//! are found backwards, from a proven place near the end of the segment, each linking to the one before it.

use crate::format::index_block::IndexBlock;
use crate::ids::Position;
use crate::segment::one::Segment;

/// The first proven frame boundary behind `bad`, not beyond `end`, going back from the index block at `last_block`.
///
/// Zero or a place that holds no index block for `last_block` means that none is known; then the answer is `end`.
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
    best
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
