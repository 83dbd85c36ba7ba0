//! Reading one stream, forwards or backwards, from any revision.

use std::sync::Arc;

use crate::error::Damage;
use crate::format::batch::Section;
use crate::format::file_name;
use crate::ids::{Position, Revision, SegmentOrdinal, StreamId};
use crate::index::find::{self, Place};
use crate::index::streams::StreamTable;
use crate::read::event::EventRef;
use crate::read::held::{Bodies, Held, damage_error};
use crate::segment::one::Segment;
use crate::segment::set::SegmentSet;
use crate::sync::RwLock;
use crate::watermark::Visibility;
use crate::{DamageClass, Error, Result};

/// What of a stream is to be read, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    pub(crate) from: Option<Revision>,
    pub(crate) to: Option<Revision>,
    pub(crate) last: Option<u64>,
    pub(crate) backwards: bool,
    pub(crate) visibility: Visibility,
}

impl ReadOptions {
    /// Everything that is durable, from the first event on.
    #[must_use]
    pub fn new() -> ReadOptions {
        ReadOptions::default()
    }

    /// Begin with this revision. Default: the first; backwards the head.
    #[must_use]
    pub fn from(mut self, revision: Revision) -> ReadOptions {
        self.from = Some(revision);
        self
    }

    /// End with this revision, itself included. Default: the head; backwards the first.
    #[must_use]
    pub fn to(mut self, revision: Revision) -> ReadOptions {
        self.to = Some(revision);
        self
    }

    /// Only the newest so many events of what else was asked for.
    #[must_use]
    pub fn last(mut self, count: u64) -> ReadOptions {
        self.last = Some(count);
        self
    }

    /// The newest event first.
    #[must_use]
    pub fn backwards(mut self) -> ReadOptions {
        self.backwards = true;
        self
    }

    /// Whether events that are not durable yet are shown. Default: no.
    #[must_use]
    pub fn visibility(mut self, visibility: Visibility) -> ReadOptions {
        self.visibility = visibility;
        self
    }
}

/// Reads the events of one stream: those that were visible when it was made.
#[derive(Debug)]
pub struct StreamReader {
    set: Arc<SegmentSet>,
    streams: Arc<RwLock<StreamTable>>,
    stream: StreamId,
    name: Arc<str>,
    backwards: bool,
    /// The revision that comes next, and the last one, both included; `None`: nothing is left.
    range: Option<(Revision, Revision)>,
    /// Frames to be read, the next one last.
    places: Vec<Place>,
    segment: Option<Arc<Segment>>,
    held: Option<Held>,
    gaps: Gaps,
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
    /// An event that waits until the gap before it was told.
    waiting: Option<Bodies>,
}

impl StreamReader {
    /// A reader of the stream, whose name is in the table, over what lies below `visible`.
    pub(crate) fn new(
        set: Arc<SegmentSet>,
        streams: Arc<RwLock<StreamTable>>,
        name: &str,
        visible: Position,
        options: ReadOptions,
    ) -> Result<Option<StreamReader>> {
        let Some(stream) = streams.read().by_name(name).cloned() else { return Ok(None) };
        let first = stream.first;
        let mut reader = StreamReader {
            set,
            streams,
            stream: stream.id,
            name: stream.name,
            backwards: options.backwards,
            range: None,
            places: Vec::new(),
            segment: None,
            held: None,
            gaps: Gaps { due: None, lost_up_to: stream.head, is_told: false, waiting: None },
        };
        let head = match stream.head_position < visible {
            true => Some(stream.last_event),
            false => reader.head_below(visible, stream.last_event)?,
        };
        let Some(head) = head else { return Ok(Some(reader)) };
        if stream.head_position >= visible {
            reader.gaps.lost_up_to = head;
        }
        let (low, high) = if options.backwards { (options.to, options.from) } else { (options.from, options.to) };
        let to = high.map_or(head, |to| to.min(head));
        // What a fork shares with its parent is read there.
        let mut from = low.unwrap_or(Revision(0)).max(first);
        if let Some(last) = options.last {
            if last == 0 {
                return Ok(Some(reader));
            }
            from = from.max(Revision((to.0 + 1).saturating_sub(last)));
        }
        reader.range = (from <= to).then_some((from, to));
        // What was accepted as lost behind the last event is told where it was asked for.
        let lost_up_to = high.map_or(reader.gaps.lost_up_to, |high| high.min(reader.gaps.lost_up_to));
        reader.gaps.lost_up_to = lost_up_to;
        let (begin, end) = (from.min(lost_up_to), lost_up_to.max(to));
        reader.gaps.due = (from <= end).then_some(if options.backwards { end } else { begin });
        Ok(Some(reader))
    }

    /// The next event; `None` behind the last.
    ///
    /// # Errors
    /// [`Damage`](crate::ErrorKind::Damage) for events that are lost: asked again, the reader goes on behind them. Any
    /// other error ends the reading.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Result<EventRef<'_>>> {
        let bodies = match self.gaps.waiting.take().map_or_else(|| self.advance(), |bodies| Ok(Some(bodies))) {
            Ok(Some(bodies)) => bodies,
            Ok(None) => return self.lost_end().map(Err),
            Err(error) => {
                if error.damage().is_none() {
                    self.range = None;
                }
                self.gaps.is_told = true;
                return Some(Err(self.told(error)));
            }
        };
        let held = self.held.as_ref().expect("an event was just stepped to");
        let revision = held.event.revision;
        if self.gaps.due != Some(revision) && !self.gaps.is_told {
            self.gaps.is_told = true;
            self.gaps.waiting = Some(bodies);
            let gap = self.gap_before(revision);
            return Some(Err(Error::from_damage(gap)));
        }
        self.gaps.is_told = false;
        self.gaps.due = if self.backwards { revision.0.checked_sub(1).map(Revision) } else { revision.next() };
        let (metadata, payload) = held.bodies(bodies);
        Some(Ok(EventRef { held, metadata, payload }))
    }

    /// Gives damage the names of streams, and says where its loss was accepted.
    #[cold]
    fn told(&self, error: Error) -> Error {
        error.map_damage(|damage| {
            self.streams.read().name_in(damage);
            self.set.mark_accepted(damage);
        })
    }

    /// Forwards, what was accepted as lost behind the last event.
    #[cold]
    fn lost_end(&mut self) -> Option<Error> {
        let due = self.gaps.due.take().filter(|due| !self.backwards && *due <= self.gaps.lost_up_to)?;
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
        let stream = self.streams.read().by_id(self.stream).cloned().expect("streams are never forgotten");
        let before = stream.place_before(first).map_or(Position(stream.id.0), |(_, place)| place);
        let accepted = self.set.accepted();
        let range = accepted.iter().find(|range| range.start >= before);
        let place = range.map_or(before, |range| range.start);
        let ordinal = SegmentOrdinal(place.0 / self.set.store.segment_bytes);
        let base = ordinal.0 * self.set.store.segment_bytes;
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

    fn advance(&mut self) -> Result<Option<Bodies>> {
        loop {
            let Some((from, to)) = self.range else { return Ok(None) };
            let wanted = if self.backwards { to } else { from };
            if let Some(held) = &mut self.held {
                let section = held.section();
                if section.first_revision <= wanted && wanted <= section.last_revision() {
                    let index = (wanted.0 - section.first_revision.0) as u32;
                    if held.next_index() != index {
                        held.seek(index)?;
                    }
                    self.pass(wanted, wanted);
                    // An error is this event's: the next call goes on behind it.
                    return held_step(&mut self.held);
                }
            }
            self.enter_frame_of(wanted)?;
        }
    }

    /// Takes revisions out of the range: they were handed out, or are lost.
    fn pass(&mut self, first: Revision, last: Revision) {
        self.range = self.range.and_then(|(from, to)| {
            let (from, to) = match self.backwards {
                true => (from, Revision(first.0.checked_sub(1)?)),
                false => (Revision(last.0 + 1), to),
            };
            (from <= to).then_some((from, to))
        });
    }

    /// Stands in the section that holds `wanted`. Where it is lost, the range moves past it and the damage is the error.
    fn enter_frame_of(&mut self, wanted: Revision) -> Result<()> {
        if self.backwards {
            return self.enter_previous(wanted);
        }
        if self.places.is_empty() {
            let stream = self.streams.read().by_id(self.stream).cloned().expect("streams are never forgotten");
            self.places = find::places_from(&self.set, &stream, wanted)?;
        }
        match self.places.pop() {
            None => {
                self.range = None;
                Ok(())
            }
            Some(Place::Lost(damage)) => {
                self.skip_to_next_place(wanted)?;
                Err(Error::from_damage(damage))
            }
            Some(Place::Frame(position)) => self.enter(position, wanted),
        }
    }

    /// Behind damage, the next revision is the first of the next frame that is whole.
    fn skip_to_next_place(&mut self, wanted: Revision) -> Result<()> {
        let Some(Place::Frame(position)) = self.places.last().cloned() else {
            if self.places.is_empty() {
                self.range = None;
            }
            return Ok(());
        };
        let segment = self.set.holding(position)?;
        let frame = segment
            .frame(position, segment.file_end())
            .map_err(|fault| damage_error(&segment, position, position, &fault))?;
        if let Ok(Some(section)) = find::section_of(frame, self.stream)
            && section.first_revision > wanted
        {
            self.pass(wanted, Revision(section.first_revision.0 - 1));
        }
        Ok(())
    }

    fn enter(&mut self, position: Position, wanted: Revision) -> Result<()> {
        let inside =
            self.segment.as_ref().is_some_and(|segment| segment.base <= position && position < segment.file_end());
        if !inside {
            self.segment = Some(self.set.holding(position)?);
        }
        let segment = self.segment.as_ref().expect("it was just opened");
        let lost = |fault| damage_error(segment, position, position, &fault);
        let frame = segment.frame(position, segment.file_end()).map_err(lost)?;
        let section: Section<'_> = find::section_of(frame, self.stream).map_err(lost)?.ok_or_else(|| {
            Error::from_damage(segment.damage(
                position,
                frame.end(),
                DamageClass::Damage,
                "the frame does not hold the stream".into(),
            ))
        })?;
        if wanted < section.first_revision || wanted > section.last_revision() {
            if wanted < section.first_revision && !self.backwards {
                // Reported as damage before: what lies between is lost.
                let last = Revision(section.first_revision.0 - 1);
                self.pass(wanted, last);
            }
            return Ok(());
        }
        let index = (wanted.0 - section.first_revision.0) as u32;
        match &mut self.held {
            Some(held) => held.move_to(segment, &frame, &section, index, None),
            None => {
                Held::enter(segment, &frame, &section, index, Arc::clone(&self.name)).map(|held| self.held = Some(held))
            }
        }
        .inspect_err(|_| {
            let (first, last) = (wanted, section.last_revision());
            let (first, last) = if self.backwards { (section.first_revision, wanted) } else { (first, last) };
            self.held = None;
            let range = self.range.take();
            self.range = range.and_then(|(from, to)| match self.backwards {
                true => first.0.checked_sub(1).map(|to| (from, Revision(to))).filter(|(from, to)| from <= to),
                false => Some((Revision(last.0 + 1), to)).filter(|(from, to)| from <= to),
            });
        })
    }

    /// Backwards: the section that the one held leads back to, else one that is looked up.
    fn enter_previous(&mut self, wanted: Revision) -> Result<()> {
        let linked = self.held.as_ref().map(Held::section).filter(|section| section.first_revision.0 == wanted.0 + 1);
        if let Some(previous) = linked.and_then(|section| section.previous)
            && self.enter(previous, wanted).is_ok()
            && self.held.as_ref().is_some_and(|held| held.section().last_revision() == wanted)
        {
            return Ok(());
        }
        let stream = self.streams.read().by_id(self.stream).cloned().expect("streams are never forgotten");
        let places = find::places_from(&self.set, &stream, wanted)?;
        match places.last() {
            Some(Place::Frame(position)) => {
                let position = *position;
                let before = self.range;
                self.enter(position, wanted)?;
                let stands = self.held.as_ref().is_some_and(|held| {
                    held.section().first_revision <= wanted && wanted <= held.section().last_revision()
                });
                if !stands && self.range == before {
                    self.pass(wanted, wanted);
                }
                Ok(())
            }
            Some(Place::Lost(damage)) => {
                let damage = damage.clone();
                let before =
                    find::last_before(&self.set, &stream, wanted).map_or(wanted, |before| Revision(before.0 + 1));
                self.pass(before.min(wanted), wanted);
                Err(Error::from_damage(damage))
            }
            None => {
                self.range = None;
                Ok(())
            }
        }
    }

    /// The last revision below a position.
    fn head_below(&self, visible: Position, head: Revision) -> Result<Option<Revision>> {
        let Some(stream) = self.streams.read().by_id(self.stream).cloned() else { return Ok(None) };
        // The section that holds a revision begins at a position that rises with the revision.
        let (mut low, mut high) = (0, head.0 + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let frame = match find::frame_holding(&self.set, &stream, Revision(middle)) {
                Ok(frame) => frame,
                Err(error) if error.damage().is_some() => {
                    error.damage().map_or(Position::ZERO, |damage| damage.positions.start)
                }
                Err(error) => return Err(error),
            };
            if frame < visible {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.checked_sub(1).map(Revision))
    }
}

fn held_step(held: &mut Option<Held>) -> Result<Option<Bodies>> {
    held.as_mut().expect("it was just looked at").step()
}
