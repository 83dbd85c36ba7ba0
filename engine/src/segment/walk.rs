//! A walk over the frames of the whole log: segment after segment, past void stretches, past damage.
//!
//! Damage is handed out between the frames, with the range that is lost; the walk goes on at the next proven boundary
//! when it is called again. Void stretches are passed in silence: nothing in them was ever part of the log.

use std::sync::Arc;

use crate::error::Damage;
use crate::error::DamageClass;
use crate::format::Fault;
use crate::format::frame::{Frame, FramePlace, KIND_BATCH};
use crate::ids::Position;
use crate::planted::{Plant, planted};
use crate::segment::one::{Segment, Unusable};
use crate::segment::resync;
use crate::segment::set::{Known, SegmentSet};
use crate::{Error, ErrorKind, Result};

/// What the walk met.
#[derive(Debug)]
pub(crate) enum Walked {
    /// A frame: see [`LogWalk::frame`].
    Frame(FramePlace),
    /// Bytes of the log that are lost.
    Damage(Box<Damage>),
    /// The limit was reached.
    End,
}

/// A walk over the frames of the log.
#[derive(Debug)]
pub(crate) struct LogWalk {
    set: Arc<SegmentSet>,
    standing: Option<(Known, Arc<Segment>)>,
    at: Position,
    previous_check: Option<u64>,
    /// It was said that the log goes on with what only a newer version knows.
    has_told_unsupported: bool,
}

impl LogWalk {
    /// From the frame that holds `from`, or the first behind it.
    pub(crate) fn new(set: Arc<SegmentSet>, from: Position) -> LogWalk {
        LogWalk { set, standing: None, at: from, previous_check: None, has_told_unsupported: false }
    }

    /// The segments it walks over.
    pub(crate) fn set(&self) -> &Arc<SegmentSet> {
        &self.set
    }

    /// The segment in which the walk stands.
    pub(crate) fn segment(&self) -> Option<&Arc<Segment>> {
        self.standing.as_ref().map(|(_, segment)| segment)
    }

    /// Where the next frame begins, or is looked for.
    pub(crate) fn at(&self) -> Position {
        self.at
    }

    /// Goes to a later frame of the segment in which it stands, where a batch proves itself there; else `false`.
    pub(crate) fn go_to(&mut self, place: Position) -> bool {
        let Some((_, segment)) = &self.standing else { return false };
        let is_there = place > self.at
            && place < segment.file_end()
            && segment.frame(place, segment.file_end()).is_ok_and(|frame| frame.kind() == KIND_BATCH);
        if is_there {
            (self.at, self.previous_check) = (place, None);
        }
        is_there
    }

    /// Goes to the end of the segment in which it stands: nothing before it is asked for.
    pub(crate) fn go_to_end(&mut self, end: Position) {
        if self.standing.as_ref().is_some_and(|(_, segment)| segment.base < end && end <= segment.file_end()) {
            (self.at, self.previous_check) = (end, None);
        }
    }

    /// The frame that was handed out last.
    #[inline]
    pub(crate) fn frame(&self, place: FramePlace) -> Frame<'_> {
        self.standing.as_ref().expect("the walk stands in the frame's segment").1.again(place)
    }

    /// The next frame that ends at `limit` or before.
    #[inline(always)]
    pub(crate) fn next(&mut self, limit: Position) -> Result<Walked> {
        // The ordinary case: a known kind of frame in the segment that the walk stands in, which continues the chain.
        if let Some((known, segment)) = &self.standing
            && let Some(expected) = self.previous_check
            && self.at < limit
            && (!known.may_have_ended(limit) || planted(Plant::EndNotLookedUp))
        {
            let end = known.end.unwrap_or(known.file_end).min(limit);
            if let Ok(frame) = segment.frame(self.at, end)
                && frame.previous_check() == expected
                && let Ok(_) = frame.is_known()
            {
                self.at = frame.end();
                self.previous_check = Some(frame.frame_check());
                return Ok(Walked::Frame(frame.place()));
            }
        }
        self.next_of_any(limit)
    }

    /// As [`next`](Self::next), whatever stands there.
    #[inline(never)]
    fn next_of_any(&mut self, limit: Position) -> Result<Walked> {
        loop {
            if self.at >= limit {
                if !self.has_told_unsupported {
                    self.has_told_unsupported = true;
                    self.set.check_supported(self.at)?;
                    self.has_told_unsupported = false;
                }
                return Ok(Walked::End);
            }
            if self.standing.is_none() {
                match self.enter(limit)? {
                    Some(Walked::End) => return Ok(Walked::End),
                    Some(damage) => return Ok(damage),
                    None => {}
                }
            }
            self.look_again(limit);
            let (known, segment) = self.standing.as_ref().expect("a segment was entered");
            let end = known.end.unwrap_or(known.file_end).min(limit);
            if self.at >= end {
                // The limit may be the very place where a segment begins that was left since: it is not at its end yet.
                if known.end.is_none() || self.at >= limit {
                    return Ok(Walked::End);
                }
                self.at = known.file_end;
                self.standing = None;
                continue;
            }
            let decoded = segment.frame(self.at, end);
            let fault = match decoded {
                Ok(frame) if self.previous_check.is_none_or(|expected| expected == frame.previous_check()) => {
                    if let Err(Fault::Unsupported(what)) = frame.is_known() {
                        return Err(newer(&what));
                    }
                    self.at = frame.end();
                    self.previous_check = Some(frame.frame_check());
                    return Ok(Walked::Frame(frame.place()));
                }
                Ok(_) => Fault::bad("the frame does not follow the one before it"),
                Err(fault) => fault,
            };
            segment.check_readable()?;
            let last_block = self.fresh_last_block(known);
            // The limit may lie behind the end of the log, where no frame ends: from there nothing leads back.
            let proven = self.set.proven_end();
            let end = if known.end.is_none() && self.at < proven { end.min(proven) } else { end };
            let boundary = resync::boundary_behind(segment, self.at, last_block, end);
            let mut damage = segment.damage(self.at, boundary, DamageClass::Damage, fault.to_string());
            let lost = resync::lost_frames(segment, self.at, boundary, last_block, known.end.unwrap_or(end));
            resync::note_streams(&mut damage, lost.as_deref());
            self.at = boundary;
            self.previous_check = None;
            return Ok(Walked::Damage(Box::new(damage)));
        }
    }

    /// A segment that was active when it was entered may have been left since: a limit behind its file says so.
    fn look_again(&mut self, limit: Position) {
        if let Some((known, _)) = &mut self.standing
            && known.may_have_ended(limit)
            && let Some(fresh) = self.set.at_or_behind(known.base).filter(|fresh| fresh.ordinal == known.ordinal)
        {
            *known = fresh;
        }
    }

    fn fresh_last_block(&self, known: &Known) -> Position {
        match known.end {
            Some(_) => known.last_index_block,
            None => self
                .set
                .last()
                .filter(|last| last.ordinal == known.ordinal)
                .map_or(known.last_index_block, |last| last.last_index_block),
        }
    }

    /// Enters the segment that holds the place, or the next one. `None`: entered.
    fn enter(&mut self, limit: Position) -> Result<Option<Walked>> {
        let Some(known) = self.set.at_or_behind(self.at) else { return Ok(Some(Walked::End)) };
        let segment = match self.set.open(&known) {
            Ok(segment) => segment,
            Err(Unusable::Damaged(damage) | Unusable::HeadLost(damage)) => {
                self.at = known.file_end;
                self.previous_check = None;
                return Ok(Some(Walked::Damage(Box::new(damage))));
            }
            Err(other) => return Err(other.into()),
        };
        let end = known.end.unwrap_or(known.file_end).min(limit);
        if self.at <= segment.first_frame() {
            self.at = segment.first_frame();
            self.previous_check = segment.first_check();
        } else {
            let last_block = self.fresh_last_block(&known);
            let inside = self.at;
            let mut boundary = resync::boundary_before(&segment, inside, last_block, end);
            // From a proven boundary on, the frames themselves lead to the one that holds the place.
            while let Ok(frame) = segment.frame(boundary, end) {
                if frame.end() > inside {
                    break;
                }
                boundary = frame.end();
            }
            self.at = boundary;
            self.previous_check = None;
        }
        self.standing = Some((known, segment));
        Ok(None)
    }
}

#[cold]
fn newer(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what} is of a newer version of treering"))
}
