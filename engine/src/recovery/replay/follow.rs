//! Going on: what another process has appended since, in the same segment or in one that it began.
//!
//! A segment is the next one only if its open frame names the place where this log ends: ordinal, salt and end. Mostly its
//! ordinal is the next; where a takeover left out some, those of void or lost files, the directory says which there are.

use std::sync::Arc;

use super::{Replay, unsupported};
use crate::commit::index_state::is_left_at;
use crate::error::{Damage, DamageClass};
use crate::format::Fault;
use crate::format::file_name::{self, FileKind};
use crate::format::open::Predecessor;
use crate::ids::{Position, SegmentOrdinal};
use crate::limits::NUMBER_MAX;
use crate::segment::one::{Segment, Unusable};
use crate::storage::Access;
use crate::{Error, Result};

impl Replay {
    /// Reads what another process has appended since. Returns whether there was anything.
    pub(crate) fn follow(&mut self) -> Result<bool> {
        self.follow_to(Position::MAX)
    }

    /// As [`follow`](Self::follow), no further than `limit`, at which a frame ends and up to which all is durable, and than the
    /// first index block that ends at `pause_behind` or later.
    pub(crate) fn follow_to_block(&mut self, limit: Position, pause_behind: Position) -> Result<bool> {
        self.pause_behind = pause_behind;
        // All of it is durable, so that headers and plain parts are proof enough.
        self.set_end = limit;
        let read = self.follow_to(limit);
        self.pause_behind = Position::MAX;
        read
    }

    /// Whether it stands behind an index block.
    pub(crate) fn is_behind_block(&self) -> bool {
        self.index.last_block() == self.last_frame
    }

    fn follow_to(&mut self, limit: Position) -> Result<bool> {
        let before = self.at;
        let mut named_at = None;
        while let Some(segment) = self.segment.clone() {
            // Where the log ends in a segment that is lost, nothing more comes there.
            if self.lost_end.is_none() {
                // The file may be mapped shorter than it is by now, where it was opened while it was being copied.
                if let Some(Fault::Unsupported(what)) =
                    self.read_frames(&segment, Some(self.previous_check), segment.file_end().min(limit))?
                {
                    return Err(unsupported(&segment, &what));
                }
                segment.check_readable()?;
            }
            if self.at >= limit || self.at >= self.pause_behind && self.is_behind_block() {
                break;
            }
            let Some(expected) = self.predecessor() else { break };
            let next = segment.next_ordinal();
            let opened = match self.are_rolls_marked {
                true if !is_left_at(&segment, self.at, self.is_left) => break,
                true => match self.open_successor(&expected, next)? {
                    None if self.set.storage.open(&file_name::segment(next), Access::Read).is_err() => None,
                    // Who looks without the turn may be overtaken: it got its name since the look before, or since the frames
                    // were read. All that it goes on behind was written before that, so a second look is the last one.
                    None if named_at != Some(self.at) => {
                        named_at = Some(self.at);
                        continue;
                    }
                    None => return Err(left_for_another(&expected, next)),
                    opened => opened,
                },
                false => self.successor(&expected, next)?,
            };
            let Some(opened) = opened else { break };
            self.set.roll(
                &opened,
                self.at,
                opened.head.open.predecessor.map_or(Position::ZERO, |it| it.last_index_block),
            );
            self.lost_end = None;
            self.enter(opened);
            if self.gather.as_mut().is_some_and(|gather| gather.has_finished(SegmentOrdinal(0))) {
                break; // it is to be taken before there is another one
            }
        }
        self.set.prove_end(self.at);
        Ok(self.at != before)
    }

    /// The segment that goes on where this log ends, where there is one: mostly the next ordinal; a takeover leaves out those of
    /// files that are void or lost.
    fn successor(&mut self, expected: &Predecessor, next: SegmentOrdinal) -> Result<Option<Arc<Segment>>> {
        /// Looking through the directory takes at most one part in so many of the time.
        const LISTING_SHARE: u32 = 50;
        if self.lost_end.is_none()
            && let Some(opened) = self.open_successor(expected, next)?
        {
            return Ok(Some(opened));
        }
        let now = crate::sync::now();
        if self.list_again_at.is_some_and(|at| now < at) {
            return Ok(None);
        }
        let storage = &self.set.storage;
        let entries = storage.list().map_err(|error| Error::io("list", &storage.describe(), error))?;
        self.list_again_at = Some(now + now.elapsed() * LISTING_SHARE);
        let mut ordinals: Vec<SegmentOrdinal> = entries
            .iter()
            .filter_map(|entry| match file_name::parse(&entry.name) {
                FileKind::Segment(ordinal) if ordinal > expected.ordinal.max(next) => Some(ordinal),
                FileKind::Segment(ordinal) if ordinal > expected.ordinal && self.lost_end.is_some() => Some(ordinal),
                _ => None,
            })
            .filter(|ordinal| ordinal.0 < NUMBER_MAX / self.set.store.segment_bytes)
            .collect();
        // The newest belongs to the log: of those before it few are looked at, whatever lies there.
        ordinals.sort_unstable_by_key(|ordinal| std::cmp::Reverse(*ordinal));
        for ordinal in ordinals {
            if let Some(opened) = self.open_successor(expected, ordinal)? {
                return Ok(Some(opened));
            }
        }
        Ok(None)
    }

    /// Opens a segment, if it proves itself and continues the one that is expected.
    fn open_successor(&self, expected: &Predecessor, ordinal: SegmentOrdinal) -> Result<Option<Arc<Segment>>> {
        let opened = match Segment::open(&*self.set.storage, ordinal, Access::Read, &self.set.store) {
            Ok(opened) => opened,
            Err(Unusable::Damaged(_) | Unusable::HeadLost(_)) => return Ok(None),
            Err(other) => return Err(other.into()),
        };
        let continues = opened.head.open.predecessor.is_some_and(|before| {
            (before.ordinal, before.salt, before.end) == (expected.ordinal, expected.salt, expected.end)
        });
        Ok(continues.then(|| Arc::new(opened)))
    }
}

/// In a log that several write together nothing but the next segment may have its name: whoever appended here would not be
/// heard.
fn left_for_another(expected: &Predecessor, next: SegmentOrdinal) -> Error {
    let detail = "the log was left for it, and it does not go on where that ended".to_string();
    let (name, positions) = (file_name::segment(next), expected.end..expected.end);
    Error::from_damage(Damage::new(DamageClass::Damage, &name, 0..0, positions, detail))
}
