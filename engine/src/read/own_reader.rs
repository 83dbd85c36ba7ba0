//! Reading what was appended to one stream, forwards or backwards, from any revision of its own. What a fork shares with its
//! parent is read there: [`lineage`](crate::lineage) goes from part to part.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Damage;
use crate::format::batch::Section;
use crate::format::frame::Frame;
use crate::format::token::Token;
use crate::format::{Fault, file_name};
use crate::ids::{Position, Revision, SegmentOrdinal, StreamId};
use crate::index::find::{self, Finder, Place};
use crate::read::event::EventRef;
use crate::read::held::{Held, damage_error};
use crate::read::only::Only;
use crate::read::place;
use crate::segment::one::{FRAME_TOUCHED_BYTES, Segment};
use crate::{DamageClass, Error, Result};

/// So many frames ahead of the one that is read, the next ones are fetched.
const AHEAD: usize = 8;
/// So many revisions are looked up at once, where they are not known.
pub(super) const LOOKED_UP: u64 = 63;

/// A part of a stream to be read.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) stream: StreamId,
    pub(crate) name: Arc<str>,
    /// The first revision and the last, both included, of those that events have.
    pub(crate) from: Revision,
    pub(crate) to: Revision,
    /// Revisions behind that up to here are lost.
    pub(crate) lost_up_to: Revision,
    /// The frame that holds `to`, where that is known.
    pub(crate) place: Option<Position>,
}

/// Reads parts of streams.
#[derive(Debug)]
pub(crate) struct OwnReader {
    finder: Arc<Finder>,
    stream: StreamId,
    name: Arc<str>,
    backwards: bool,
    /// The revision that comes next, and the last one, both included; `None`: nothing is left.
    range: Option<(Revision, Revision)>,
    /// Frames to be read, in the order of reading.
    places: VecDeque<Place>,
    /// The first revision to look up once few places are left; `None` where they reach as far as is known.
    beyond: Option<Revision>,
    /// The revision down to which the places reach that were found by walking around damage, backwards.
    walked_to: Revision,
    /// The damage that was reported last.
    told: Option<Range<Position>>,
    segment: Option<Arc<Segment>>,
    /// Segments of frames that were fetched ahead, in the order of reading.
    coming: VecDeque<Arc<Segment>>,
    /// So many bytes of each are fetched: frames of a stream are mostly as long as the one before.
    touched_bytes: usize,
    held: Option<Held>,
    gaps: Gaps,
    only: Option<Box<Only>>,
    /// The token that it was begun behind.
    begun: Option<Token>,
    /// The event that was handed out last; zero before the first.
    last: Position,
}

/// Watches that no revision is passed over in silence.
#[derive(Debug)]
struct Gaps {
    /// The revision that is due; `None` where all were handed out.
    due: Option<Revision>,
    /// Behind the last event up to here all is lost: that was accepted.
    lost_up_to: Revision,
    /// Damage was handed out since the last event.
    is_told: bool,
    /// An event waits until the gap before it was told.
    is_waiting: bool,
}

impl OwnReader {
    /// A reader that has nothing to read yet; `begun` is the token that it begins behind.
    pub(crate) fn new(
        finder: &Arc<Finder>,
        backwards: bool,
        event_type: Option<&str>,
        begun: Option<Token>,
    ) -> OwnReader {
        OwnReader {
            finder: Arc::clone(finder),
            stream: StreamId(0),
            name: Arc::default(),
            backwards,
            range: None,
            places: VecDeque::new(),
            beyond: None,
            walked_to: Revision(0),
            told: None,
            segment: None,
            coming: VecDeque::new(),
            touched_bytes: FRAME_TOUCHED_BYTES,
            held: None,
            gaps: Gaps { due: None, lost_up_to: Revision(0), is_told: false, is_waiting: false },
            only: event_type.map(|name| Box::new(Only::new(&finder.indexes).of_type(name))),
            begun,
            last: Position::ZERO,
        }
    }

    /// Goes on with a part of a stream; what is left of the one before is not read.
    pub(crate) fn begin(&mut self, part: Part) {
        let Part { stream, name, from, to, lost_up_to, place } = part;
        (self.stream, self.name) = (stream, name);
        self.range = (from <= to).then_some((from, to));
        if let Some(held) = &mut self.held {
            held.leave_section();
        }
        self.places.clear();
        self.beyond = None;
        self.told = None;
        // Of a part that is one event, or is read from its end, no places are asked for.
        if let Some(place) = place.filter(|_| from == to || self.backwards && from < to) {
            self.places.push_back(Place::Frame(place));
        }
        let (begin, end) = (from.min(lost_up_to), lost_up_to.max(to));
        let due = (from <= end).then_some(if self.backwards { end } else { begin });
        self.gaps = Gaps { due, lost_up_to, is_told: false, is_waiting: false };
    }

    /// Stands at the next event that is asked for; `None` behind the last of the part. An error that is not damage ends it.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Result<()>> {
        loop {
            if let Err(error) = self.step()? {
                return Some(Err(error));
            }
            let held = self.held.as_ref().expect("an event was just stepped to");
            if self.only.as_ref().is_none_or(|only| only.is(held)) {
                self.last = held.position();
                return Some(Ok(()));
            }
        }
    }

    /// The event at which [`next`](Self::next) stands.
    #[inline]
    pub(crate) fn event(&self) -> EventRef<'_> {
        EventRef { held: self.held.as_ref().expect("an event was stepped to") }
    }

    /// Stands at the next event of any type.
    #[inline]
    fn step(&mut self) -> Option<Result<()>> {
        let stands = match std::mem::take(&mut self.gaps.is_waiting) {
            true => Ok(true),
            false => self.advance(),
        };
        match stands {
            Ok(true) => {}
            Ok(false) => return self.lost_end().map(Err),
            Err(error) => {
                if error.damage().is_none() {
                    self.range = None;
                }
                self.gaps.is_told = true;
                return Some(Err(self.told(error)));
            }
        }
        let held = self.held.as_ref().expect("an event was just stepped to");
        let revision = held.revision();
        // Where frames are passed over, what is missing says nothing.
        if self.gaps.due != Some(revision) && !self.gaps.is_told && self.only.is_none() {
            self.gaps.is_told = true;
            self.gaps.is_waiting = true;
            return Some(Err(Error::from_damage(self.gap_before(revision))));
        }
        self.gaps.is_told = false;
        self.gaps.due = if self.backwards { revision.0.checked_sub(1).map(Revision) } else { revision.next() };
        Some(Ok(()))
    }

    /// The place in the log behind the event that was handed out last.
    pub(crate) fn token(&self) -> Option<Token> {
        if self.last == Position::ZERO {
            return self.begun;
        }
        let held = self.held.as_ref().filter(|held| held.position() == self.last);
        // Behind damage the reader stands elsewhere by now.
        held.map(Held::token).or_else(|| place::token_at(&self.finder.set, self.last)).or(self.begun)
    }

    /// Gives damage the names of streams, and says where its loss was accepted.
    #[cold]
    fn told(&self, error: Error) -> Error {
        error.map_damage(|damage| {
            self.finder.streams.name_in(damage);
            self.finder.set.mark_accepted(damage);
        })
    }

    /// Forwards, what was accepted as lost behind the last event.
    #[cold]
    fn lost_end(&mut self) -> Option<Error> {
        let is_asked = !self.backwards && self.only.is_none();
        let due = self.gaps.due.take().filter(|due| is_asked && *due <= self.gaps.lost_up_to)?;
        let is_told = std::mem::replace(&mut self.gaps.is_told, true);
        (!is_told).then(|| Error::from_damage(self.gap(due, self.gaps.lost_up_to)))
    }

    /// What is missing between the revision that is due and the one that came.
    #[cold]
    fn gap_before(&self, came: Revision) -> Damage {
        let due = self.gaps.due.unwrap_or(came);
        match self.backwards {
            true => self.gap(Revision(came.0 + 1), due),
            false => self.gap(due, Revision(came.0 - 1)),
        }
    }

    /// Revisions that are not there, with the place where they were lost, as the accept says it.
    fn gap(&self, first: Revision, last: Revision) -> Damage {
        let set = &self.finder.set;
        let before = self.finder.place_before(self.stream, first).ok().flatten();
        let before = before.map_or(Position(self.stream.0), |(_, place)| place);
        let accepted = set.accepted();
        let range = accepted.iter().find(|range| range.start >= before);
        let place = range.map_or(before, |range| range.start);
        let ordinal = SegmentOrdinal(place.0 / set.store.segment_bytes);
        let base = ordinal.0 * set.store.segment_bytes;
        let len = range.map_or(0, |range| range.len);
        let mut damage = Damage::new(
            DamageClass::Damage,
            file_name::segment(ordinal),
            place.0 - base..place.0 - base + len,
            place..Position(place.0 + len),
            "these revisions are lost, or were never given",
        );
        damage.note_stream(self.stream, Some(&self.name), first, last);
        damage.is_accepted = range.is_some();
        damage
    }

    fn advance(&mut self) -> Result<bool> {
        loop {
            let Some((from, to)) = self.range else { return Ok(false) };
            let wanted = if self.backwards { to } else { from };
            if let Some(held) = &mut self.held {
                let stepped = match held.seek(wanted) {
                    Ok(true) => Some(held.step()),
                    Ok(false) => None,
                    Err(error) => Some(Err(error)),
                };
                if let Some(stepped) = stepped {
                    // An error is this event's: the next call goes on behind it.
                    self.pass(wanted, wanted);
                    match stepped {
                        Err(error) if self.is_told(&error) => continue,
                        stepped => return stepped,
                    }
                }
            }
            self.enter_frame_of(wanted)?;
        }
    }

    /// Whether an error is the damage that was told last: an entry that cannot be decoded hides those behind it too.
    #[cold]
    fn is_told(&mut self, error: &Error) -> bool {
        let Some(damage) = error.damage() else { return false };
        let is_told = self.told.as_ref() == Some(&damage.positions);
        self.told = Some(damage.positions.clone());
        is_told
    }

    /// Takes revisions out of the range: they were handed out, or are lost.
    #[inline]
    fn pass(&mut self, first: Revision, last: Revision) {
        self.range = self.without(first, last);
    }

    /// The range without revisions at its beginning.
    #[inline]
    fn without(&self, first: Revision, last: Revision) -> Option<(Revision, Revision)> {
        let (from, to) = self.range?;
        let (from, to) = match self.backwards {
            true => (from, Revision(first.0.checked_sub(1)?)),
            false => (Revision(last.0 + 1), to),
        };
        (from <= to).then_some((from, to))
    }

    /// Stands in the section that holds `wanted`. Where it is lost, the range moves past it and the damage is the error.
    fn enter_frame_of(&mut self, wanted: Revision) -> Result<()> {
        if self.places.is_empty() {
            self.beyond = None;
            self.look_up(wanted)?;
            // Of a stretch all may be passed over.
            while self.places.is_empty()
                && let Some(beyond) = self.beyond.take()
            {
                self.look_up(beyond)?;
            }
        } else if self.places.len() < AHEAD
            && let Some(beyond) = self.beyond.take()
        {
            self.look_up(beyond)?;
        }
        match self.places.pop_front() {
            None => {
                self.range = None;
                Ok(())
            }
            Some(Place::Lost(damage)) => {
                self.skip_to_next_place(wanted)?;
                // Stretches meet at a frame: what is lost there is met from both sides.
                let is_told = self.told.as_ref() == Some(&damage.positions);
                self.told = Some(damage.positions.clone());
                if is_told { Ok(()) } else { Err(Error::from_damage(*damage)) }
            }
            Some(Place::Frame(position)) => {
                if let Some(Place::Frame(ahead)) = self.places.get(AHEAD - 1) {
                    let ahead = *ahead;
                    self.touch(ahead);
                }
                self.enter(position, wanted)
            }
        }
    }

    /// Queues the frames of the next revisions from `wanted` on, as far as the range goes.
    fn look_up(&mut self, wanted: Revision) -> Result<()> {
        let Some((from, to)) = self.range else { return Ok(()) };
        let (backwards, queued) = (self.backwards, self.places.len());
        let end = if backwards { from } else { to.max(wanted) };
        self.beyond = self.queue_known(wanted, end);
        if self.places.len() == queued {
            let ahead = Revision(wanted.0.saturating_add(LOOKED_UP).min(end.0));
            let (high, low) = match backwards {
                true => (wanted, Revision(wanted.0.saturating_sub(LOOKED_UP)).max(from)),
                false => (ahead, wanted),
            };
            let mut found = self.finder.locate(self.stream, high, low)?;
            self.beyond = self.queue_known(wanted, end);
            if self.places.len() == queued {
                if high != wanted {
                    found = self.finder.locate(self.stream, wanted, wanted)?;
                }
                match found {
                    Some(section) => {
                        self.places.push_back(Place::Frame(section.frame));
                        self.beyond = match backwards {
                            true => section.first.0.checked_sub(1).map(Revision).filter(|before| *before >= end),
                            false => section.last.next().filter(|next| *next <= end),
                        };
                    }
                    // What is queued comes first; the damage is met again behind it.
                    None if queued > 0 => self.beyond = None,
                    None => return self.look_around_damage(wanted, from),
                }
            }
        }
        if let Some(only) = &mut self.only {
            let mut number = 0;
            self.places.retain(|place| {
                number += 1;
                number <= queued || matches!(place, Place::Frame(frame) if only.may_be_in(*frame))
            });
        }
        for index in queued..self.places.len().min(AHEAD) {
            if let Place::Frame(ahead) = self.places[index] {
                self.touch(ahead);
            }
        }
        Ok(())
    }

    /// Queues the frames of the next revisions as far as they are known; returns the first one that was not reached.
    #[inline]
    fn queue_known(&mut self, wanted: Revision, end: Revision) -> Option<Revision> {
        let places = &mut self.places;
        self.finder.known.run(self.stream, wanted, end, |_, frame| {
            // Where the last run ended within a section, this one begins in it.
            if !matches!(places.back(), Some(Place::Frame(last)) if *last == frame) {
                places.push_back(Place::Frame(frame));
            }
        })
    }

    /// The frame at `position`, the last that was queued, does not hold `wanted`, which may be lost.
    #[cold]
    fn look_behind_gap(&mut self, position: Position, wanted: Revision) -> Result<()> {
        let located = self.finder.locate(self.stream, wanted, wanted)?;
        self.range = match located {
            // It lies elsewhere.
            Some(here) if here.frame != position => {
                self.places.push_back(Place::Frame(here.frame));
                return Ok(());
            }
            _ if self.backwards => None,
            Some(here) => self.without(wanted, here.last.max(wanted)),
            None => {
                let next = self.finder.of_stream(self.stream, |stream| stream.stretch(wanted))?.next;
                next.filter(|(next, _)| *next > wanted).and_then(|(next, _)| self.without(wanted, Revision(next.0 - 1)))
            }
        };
        Ok(())
    }

    /// Queues what a walk over the log finds where links and indexes are broken.
    #[cold]
    fn look_around_damage(&mut self, wanted: Revision, from: Revision) -> Result<()> {
        self.beyond = None;
        if !self.backwards {
            self.places.extend(self.finder.around_damage(self.stream, wanted)?);
            return Ok(());
        }
        let start = self.finder.place_before(self.stream, wanted)?;
        self.walked_to = start.map_or(from, |(start, _)| start.max(from));
        let around = self.finder.around_damage(self.stream, self.walked_to)?;
        self.places.extend(around.into_iter().rev());
        Ok(())
    }

    /// Has the bytes fetched where a frame will soon be read.
    #[inline]
    pub(crate) fn touch(&mut self, position: Position) {
        let last = self.coming.back().or(self.segment.as_ref());
        if last.is_none_or(|segment| !segment.spans(position)) {
            let Ok(segment) = self.finder.set.holding(position) else { return };
            if self.coming.len() == 2 * AHEAD {
                self.coming.pop_front();
            }
            self.coming.push_back(segment);
        }
        if let Some(segment) = self.coming.back().or(self.segment.as_ref()) {
            segment.prefetch(position, self.touched_bytes);
        }
    }

    /// Stands in the segment that holds a place.
    #[inline(never)]
    fn change_segment(&mut self, position: Position) -> Result<()> {
        while let Some(next) = self.coming.pop_front() {
            if next.spans(position) {
                self.segment = Some(next);
                return Ok(());
            }
        }
        self.segment = Some(self.finder.set.holding(position)?);
        Ok(())
    }

    /// Behind damage the next revision is the first, backwards the last, of the next frame that is whole.
    fn skip_to_next_place(&mut self, wanted: Revision) -> Result<()> {
        let position = match self.places.front() {
            Some(Place::Frame(position)) => *position,
            Some(Place::Lost(_)) => return Ok(()),
            None => {
                // Backwards, the frame in which the stretch begins would be among the places, were it whole; what lies before
                // the stretch is looked up next. Forwards nothing of the stream lies behind.
                match self.backwards {
                    true if self.walked_to <= wanted => self.pass(self.walked_to, wanted),
                    true => {}
                    false => self.range = None,
                }
                return Ok(());
            }
        };
        let segment = self.finder.set.holding(position)?;
        let frame = segment
            .frame(position, segment.file_end())
            .map_err(|fault| damage_error(&segment, position, position, &fault))?;
        if let Ok(Some(section)) = find::section_of(frame, self.stream) {
            let (first, last) = (section.first_revision, section.last_revision());
            match self.backwards {
                true if last < wanted => self.pass(Revision(last.0 + 1), wanted),
                false if first > wanted => self.pass(wanted, Revision(first.0 - 1)),
                _ => {}
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn enter(&mut self, position: Position, wanted: Revision) -> Result<()> {
        if self.segment.as_ref().is_none_or(|segment| !segment.spans(position)) {
            self.change_segment(position)?;
        }
        let segment = self.segment.take().expect("it was just opened");
        let entered = self.enter_in(&segment, position, wanted);
        self.segment = Some(segment);
        entered
    }

    #[inline(always)]
    fn enter_in(&mut self, segment: &Arc<Segment>, position: Position, wanted: Revision) -> Result<()> {
        let frame = match segment.frame(position, segment.file_end()) {
            Ok(frame) => frame,
            Err(fault) => return Err(self.lost_frame(segment, position, wanted, &fault)),
        };
        self.touched_bytes = frame.bytes().len().min(FRAME_TOUCHED_BYTES);
        // Of a usual section each value goes to where it is kept: a copy of the whole would wait for what was just written.
        match find::usual_section_of(&frame, self.stream) {
            Some(usual) => self.enter_section(segment, &frame, &usual, wanted),
            None => self.enter_any(segment, &frame, wanted),
        }
    }

    #[inline(never)]
    fn enter_any(&mut self, segment: &Arc<Segment>, frame: &Frame<'_>, wanted: Revision) -> Result<()> {
        let absent = || Fault::bad("the frame does not hold the stream");
        match find::section_of(*frame, self.stream).and_then(|section| section.ok_or_else(absent)) {
            Ok(section) => self.enter_section(segment, frame, &section, wanted),
            Err(fault) => Err(self.lost_frame(segment, frame.position, wanted, &fault)),
        }
    }

    /// The error for a frame that does not prove itself, or does not hold the stream.
    #[cold]
    fn lost_frame(&self, segment: &Segment, position: Position, wanted: Revision, fault: &Fault) -> Error {
        // It may have been whole when its place was remembered: the next look walks around it.
        let finder = &self.finder;
        match finder.of_stream(self.stream, |stream| stream.stretch(wanted)) {
            Ok(stretch) => finder.forget(&stretch, wanted),
            Err(error) => return error,
        }
        match find::damage_at(&finder.set, position) {
            Some(damage) => Error::from_damage(damage),
            None => damage_error(segment, position, position, fault),
        }
    }

    #[inline(always)]
    fn enter_section(
        &mut self,
        segment: &Arc<Segment>,
        frame: &Frame<'_>,
        section: &Section<'_>,
        wanted: Revision,
    ) -> Result<()> {
        let (first, last) = (section.first_revision, section.last_revision());
        // Between sections revisions are lost. What was not told as damage is told as a gap, with the next event.
        let begins = if self.backwards { wanted.min(last) } else { wanted.max(first) };
        if begins < first || begins > last {
            return if self.places.is_empty() { self.look_behind_gap(frame.position, wanted) } else { Ok(()) };
        }
        if begins != wanted {
            self.range = match self.backwards {
                true => self.without(Revision(begins.0 + 1), wanted),
                false => self.without(wanted, Revision(begins.0 - 1)),
            };
        }
        if self.range.is_none() {
            return Ok(());
        }
        let index = (begins.0 - first.0) as u32;
        let held = self
            .held
            .get_or_insert_with(|| Held::of_stream(segment, &self.finder.streams, self.stream, Arc::clone(&self.name)));
        let entered = held.enter(segment, frame, section, index);
        if entered.is_err() {
            self.pass(first, last);
        }
        entered
    }
}
