//! Reading the whole log, in the order of positions.

use std::sync::Arc;

use crate::format::batch::{Sections, SectionsPlace};
use crate::format::frame::{FrameHeader, KIND_BATCH};
use crate::ids::Position;
use crate::index::streams::StreamTable;
use crate::read::event::EventRef;
use crate::read::held::{Held, damage_error};
use crate::segment::set::SegmentSet;
use crate::segment::walk::{LogWalk, Walked};
use crate::sync::RwLock;
use crate::watermark::{Marks, Visibility};
use crate::{Error, Result};

/// What of the log is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadAllOptions {
    pub(crate) from: Position,
    pub(crate) visibility: Visibility,
}

impl ReadAllOptions {
    /// Everything that is durable, from the beginning.
    #[must_use]
    pub fn new() -> ReadAllOptions {
        ReadAllOptions::default()
    }

    /// From the event at this position, or the first behind it.
    #[must_use]
    pub fn from(mut self, position: Position) -> ReadAllOptions {
        self.from = position;
        self
    }

    /// Whether events that are not durable yet are shown. Default: no.
    #[must_use]
    pub fn visibility(mut self, visibility: Visibility) -> ReadAllOptions {
        self.visibility = visibility;
        self
    }
}

/// Reads the events of all streams, in the order of the log.
///
/// It ends where the log ended at the moment when it got there; asked again later, it goes on with what came since.
#[derive(Debug)]
pub struct LogReader {
    streams: Arc<RwLock<StreamTable>>,
    marks: Arc<Marks>,
    visibility: Visibility,
    /// Events before it are passed over.
    from: Position,
    walk: LogWalk,
    /// Up to where the log was visible when this was last looked up.
    limit: Position,
    held: Option<Held>,
    /// The frame that is being read: its sections behind the one held.
    sections_left: Option<(Position, FrameHeader, Option<SectionsPlace>)>,
}

impl LogReader {
    pub(crate) fn new(
        set: Arc<SegmentSet>,
        streams: Arc<RwLock<StreamTable>>,
        marks: Arc<Marks>,
        options: ReadAllOptions,
    ) -> LogReader {
        LogReader {
            streams,
            marks,
            visibility: options.visibility,
            from: options.from,
            walk: LogWalk::new(set, options.from),
            limit: Position::ZERO,
            held: None,
            sections_left: None,
        }
    }

    /// The next event; `None` where the visible log ends.
    ///
    /// # Errors
    /// [`Damage`](crate::ErrorKind::Damage) for a stretch that is lost: asked again, the reader goes on behind it. Any
    /// other error ends the reading.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Result<EventRef<'_>>> {
        let bodies = loop {
            match self.advance() {
                Ok(Some(bodies)) => {
                    if self.held.as_ref().is_some_and(|held| held.event.position >= self.from) {
                        break bodies;
                    }
                }
                Ok(None) => return None,
                Err(error) => return Some(Err(self.told(error))),
            }
        };
        let held = self.held.as_ref().expect("an event was just stepped to");
        let (metadata, payload) = held.bodies(bodies);
        Some(Ok(EventRef { held, metadata, payload }))
    }

    /// Gives damage the names of streams, and says where its loss was accepted.
    #[cold]
    fn told(&self, error: Error) -> Error {
        error.map_damage(|damage| {
            self.streams.read().name_in(damage);
            self.walk.set().mark_accepted(damage);
        })
    }

    #[inline]
    fn advance(&mut self) -> Result<Option<crate::read::held::Bodies>> {
        loop {
            if let Some(held) = &mut self.held
                && let Some(bodies) = held.step()?
            {
                return Ok(Some(bodies));
            }
            if self.next_section()? {
                continue;
            }
            if self.walk.at() >= self.limit {
                self.limit = self.marks.visible(self.visibility);
            }
            match self.walk.next(self.limit)? {
                // The walk may have come to a limit that was looked up before its last event was handed out. Whoever waits
                // for more after this `None` relies on everything that was visible having been read.
                Walked::End => {
                    let visible = self.marks.visible(self.visibility);
                    if visible <= self.limit {
                        return Ok(None);
                    }
                    self.limit = visible;
                }
                Walked::Damage(damage) => return Err(Error::from_damage(damage)),
                Walked::Frame(position, header) if header.kind == KIND_BATCH => {
                    self.sections_left = Some((position, header, None));
                }
                Walked::Frame(..) => {}
            }
        }
    }

    /// Enters the next section of the frame. `false` behind the last.
    fn next_section(&mut self) -> Result<bool> {
        let Some((position, header, place)) = self.sections_left else { return Ok(false) };
        let segment = self.walk.segment().expect("the frame lies in a segment");
        let frame = self.walk.frame(position, header).expect("it was just met");
        let whole = |fault| damage_error(segment, frame.position, frame.end(), &fault);
        let sections = match place {
            Some(place) => Ok(Sections::resume(frame, place)),
            None => Sections::new(frame),
        };
        let found = sections.and_then(|mut sections| {
            let Some(section) = sections.next()? else { return Ok(None) };
            let is_last = header.events <= section.first_ordinal + section.count;
            Ok(Some((section, if is_last { None } else { Some(sections.place()?) })))
        });
        let (section, rest) = match found {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.sections_left = None;
                return Ok(false);
            }
            Err(fault) => {
                self.sections_left = None;
                return Err(whole(fault));
            }
        };
        self.sections_left = rest.map(|rest| (position, header, Some(rest)));
        let name = |streams: &RwLock<StreamTable>| match streams.read().by_id(section.stream) {
            Some(stream) => Arc::clone(&stream.name),
            // Only damage hides the name of a stream: its identity serves.
            None => format!("${}", section.stream).into(),
        };
        let entered = match &mut self.held {
            Some(held) => {
                let is_other = held.section().stream != section.stream;
                held.move_to(segment, &frame, &section, 0, is_other.then(|| name(&self.streams)))
            }
            None => Held::enter(segment, &frame, &section, 0, name(&self.streams)).map(|held| self.held = Some(held)),
        };
        if entered.is_err() {
            self.held = None;
        }
        entered.map(|()| true)
    }
}
