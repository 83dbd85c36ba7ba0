//! Reading the whole log, in the order of positions.

use std::sync::Arc;

use crate::format::batch::{Section, Sections, SectionsPlace};
use crate::format::frame::{FramePlace, KIND_BATCH};
use crate::format::token::Token;
use crate::ids::Position;
use crate::index::number;
use crate::index::on_demand::Streams;
use crate::read::event::EventRef;
use crate::read::held::{Held, damage_error};
use crate::read::only::{Next, Only};
use crate::read::place;
use crate::segment::set::SegmentSet;
use crate::segment::walk::{LogWalk, Walked};
use crate::watermark::{Marks, Visibility};
use crate::{Error, Result, limits};

/// What of the log is to be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadAllOptions<'a> {
    pub(crate) from: Position,
    pub(crate) after_token: Option<Token>,
    pub(crate) at: Option<Position>,
    pub(crate) last: Option<u64>,
    pub(crate) visibility: Visibility,
    pub(crate) event_type: Option<&'a str>,
    pub(crate) event_types: &'a [&'a str],
    pub(crate) stream_prefix: Option<&'a str>,
    pub(crate) with_engine_streams: bool,
}

impl<'a> ReadAllOptions<'a> {
    /// Everything that is durable, from the beginning.
    #[must_use]
    pub fn new() -> ReadAllOptions<'a> {
        ReadAllOptions::default()
    }

    /// From the event at this position, or the first behind it.
    #[must_use]
    pub fn from(mut self, position: Position) -> ReadAllOptions<'a> {
        self.from = position;
        self
    }

    /// Only what lies behind the event that this token names: no event is left out, and none comes again.
    #[must_use]
    pub fn after_token(mut self, token: &Token) -> ReadAllOptions<'a> {
        self.after_token = Some(*token);
        self
    }

    /// Only what lies among the newest so many events of the log when the reader is made, and what comes later. Events of other
    /// types count, and so do those that were lost. The cost does not grow with the log.
    #[must_use]
    pub fn last(mut self, count: u64) -> ReadAllOptions<'a> {
        self.last = Some(count);
        self
    }

    /// The log as it was when it ended at `position`: whole batches, those that begin before it. A time is turned into
    /// such a position by [`Store::end_at`](crate::Store::end_at).
    #[must_use]
    pub fn at(mut self, position: Position) -> ReadAllOptions<'a> {
        self.at = Some(position);
        self
    }

    /// Whether events that are not durable yet are shown. Default: no.
    #[must_use]
    pub fn visibility(mut self, visibility: Visibility) -> ReadAllOptions<'a> {
        self.visibility = visibility;
        self
    }

    /// Only events of this type. What holds none of them is not looked at where an index says so, and damage there is not told.
    #[must_use]
    pub fn event_type(mut self, name: &'a str) -> ReadAllOptions<'a> {
        self.event_type = Some(name);
        self
    }

    /// Also events of the streams that belong to the engine, whose names begin with `$`: those of snapshots and cursors. Otherwise
    /// they are passed over, unless a prefix asks for them.
    #[must_use]
    pub fn with_engine_streams(mut self) -> ReadAllOptions<'a> {
        self.with_engine_streams = true;
        self
    }

    /// Only events of these types, and of that of [`event_type`](Self::event_type); an empty list changes nothing. As there, what holds
    /// none of them is not looked at where an index says so.
    #[must_use]
    pub fn event_types(mut self, names: &'a [&'a str]) -> ReadAllOptions<'a> {
        self.event_types = names;
        self
    }

    /// Only events of streams whose names begin with `prefix`, also of those that are made later. What holds none of them is not
    /// looked at where an index says so, and damage there is not told.
    #[must_use]
    pub fn stream_prefix(mut self, prefix: &'a str) -> ReadAllOptions<'a> {
        self.stream_prefix = Some(prefix);
        self
    }
}

/// Reads the events of all streams, in the order of the log.
///
/// It ends where the log ended at the moment when it got there; asked again later, it goes on with what came since.
#[derive(Debug)]
pub struct LogReader {
    streams: Arc<Streams>,
    marks: Arc<Marks>,
    visibility: Visibility,
    /// Events before it are passed over.
    from: Position,
    /// The token that it was begun behind.
    begun: Option<Token>,
    /// The event that was handed out last; zero before the first.
    last: Position,
    /// Batches that begin there or behind are not read.
    behind: Position,
    walk: LogWalk,
    /// Up to where the log was visible when this was last looked up.
    limit: Position,
    held: Option<Held>,
    only: Option<Box<Only>>,
    with_engine_streams: bool,
    /// An error that cannot be passed was handed out.
    is_ended: bool,
    /// The frame that is being read: its sections behind the one held.
    sections_left: Option<(FramePlace, SectionsPlace)>,
}

impl LogReader {
    pub(crate) fn new(
        set: Arc<SegmentSet>,
        streams: Arc<Streams>,
        marks: Arc<Marks>,
        options: ReadAllOptions<'_>,
    ) -> Result<LogReader> {
        let behind = |token: &Token| place::behind(&set, token, marks.visible(Visibility::Committed));
        let behind = options.after_token.as_ref().map(behind).transpose()?;
        let mut from = options.from.max(behind.unwrap_or_default());
        if let Some(count) = options.last {
            let visible = marks.visible(options.visibility);
            from = from.max(number::newest(&set, count, visible, options.at.unwrap_or(visible))?);
        }
        Ok(LogReader {
            streams,
            marks,
            visibility: options.visibility,
            from,
            begun: options.after_token,
            last: Position::ZERO,
            behind: options.at.unwrap_or(Position::MAX),
            walk: LogWalk::new(set, from),
            limit: Position::ZERO,
            held: None,
            only: None,
            with_engine_streams: options.with_engine_streams
                || options.stream_prefix.is_some_and(|prefix| prefix.starts_with(limits::RESERVED_NAME_PREFIX)),
            is_ended: false,
            sections_left: None,
        })
    }

    /// The same, of a part of the events alone.
    pub(crate) fn of(mut self, only: Only) -> LogReader {
        self.only = Some(Box::new(only));
        self
    }

    /// Where it begins, and where what it reads ends at the latest.
    pub(crate) fn bounds(&self) -> (Position, Position) {
        (self.from, self.behind)
    }

    /// The place behind the event that was handed out last: a later reader goes on there. `None` before the first, unless
    /// the reader was itself begun behind a token.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        if self.last == Position::ZERO {
            return self.begun;
        }
        let held = self.held.as_ref().filter(|held| held.position() == self.last);
        // Behind damage the reader stands elsewhere by now.
        held.map(Held::token).or_else(|| place::token_at(self.walk.set(), self.last)).or(self.begun)
    }

    /// The next event; `None` where the visible log ends.
    ///
    /// # Errors
    /// [`Damage`](crate::ErrorKind::Damage) for a stretch that is lost, [`Unsupported`](crate::ErrorKind::Unsupported) for
    /// events that this build cannot decode: where [`Error::damage`](crate::Error::damage) says what they are, the reader
    /// goes on behind them, asked again. Any other error ends the reading.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub fn next(&mut self) -> Option<Result<EventRef<'_>>> {
        if self.is_ended {
            return None;
        }
        loop {
            match self.advance() {
                Ok(true) => {
                    let held = self.held.as_ref().expect("an event was just stepped to");
                    let is_asked = self.only.as_ref().is_none_or(|only| only.is(held));
                    if is_asked && held.position() >= self.from {
                        break;
                    }
                }
                Ok(false) => return None,
                Err(error) => {
                    self.is_ended = error.damage().is_none();
                    return Some(Err(self.told(error)));
                }
            }
        }
        let held = self.held.as_ref().expect("an event was just stepped to");
        self.last = held.position();
        Some(Ok(EventRef { held }))
    }

    /// Tries again where an error ended the reading: for who follows, and is told of the error each time that it is met.
    pub(crate) fn try_again(&mut self) {
        self.is_ended = false;
    }

    /// Gives damage the names of streams, and says where its loss was accepted.
    #[cold]
    fn told(&self, error: Error) -> Error {
        error.map_damage(|damage| {
            self.streams.name_in(damage);
            self.walk.set().mark_accepted(damage);
        })
    }

    /// Stands at the next event; `false` where there is none.
    fn advance(&mut self) -> Result<bool> {
        loop {
            if let Some(held) = &mut self.held
                && held.step()?
            {
                return Ok(true);
            }
            if self.sections_left.is_some() {
                self.enter_next_section()?;
                continue;
            }
            if self.walk.at() >= self.behind {
                return Ok(false);
            }
            if self.walk.at() >= self.limit {
                self.limit = self.marks.visible(self.visibility);
            }
            if self.only.is_some() {
                self.pass_over();
            }
            match self.walk.next(self.limit)? {
                // The walk may have come to a limit that was looked up before its last event was handed out. Whoever waits
                // for more after this `None` relies on everything that was visible having been read.
                Walked::End => {
                    let visible = self.marks.visible(self.visibility);
                    if visible <= self.limit {
                        return Ok(false);
                    }
                    self.limit = visible;
                }
                // Void stretches are passed in silence, so that what comes may lie behind.
                Walked::Damage(damage) if damage.positions.start >= self.behind => return Ok(false),
                Walked::Damage(damage) => return Err(Error::from_damage(*damage)),
                Walked::Frame(place) => {
                    let frame = self.walk.frame(place);
                    if frame.kind() != KIND_BATCH || place.position >= self.behind {
                        continue;
                    }
                    let segment = self.walk.segment().expect("the frame lies in a segment");
                    let Some(section) = Section::only(&frame) else {
                        let sections = Sections::new(frame).and_then(Sections::place);
                        let lost = |fault| damage_error(segment, frame.position, frame.end(), &fault);
                        self.sections_left = Some((place, sections.map_err(lost)?));
                        continue;
                    };
                    let held = self.held.get_or_insert_with(|| Held::new(segment, &self.streams));
                    held.enter(segment, &frame, &section, 0)?;
                }
            }
        }
    }

    /// Goes to the next frame that may hold what is asked for, where an index knows it and it proves itself there.
    #[cold]
    fn pass_over(&mut self) {
        // The place to begin from may lie inside of a frame: the walk finds it.
        let (Some(only), Some(_)) = (&mut self.only, self.walk.segment()) else { return };
        let at = self.walk.at();
        match only.next(at) {
            Next::At(place) if place > at && !self.walk.go_to(place) => only.doubt(place),
            Next::Behind(end) if end > at => self.walk.go_to_end(end),
            _ => {}
        }
    }

    /// Enters the next section of the frame that is being read; does nothing behind its last.
    #[inline(never)]
    fn enter_next_section(&mut self) -> Result<()> {
        let Some((place, sections)) = self.sections_left.take() else { return Ok(()) };
        let frame = self.walk.frame(place);
        let segment = self.walk.segment().expect("the frame lies in a segment");
        let lost = |fault| damage_error(segment, frame.position, frame.end(), &fault);
        let mut sections = Sections::resume(frame, sections);
        let Some(section) = sections.next().map_err(lost)? else { return Ok(()) };
        if section.first_ordinal + section.count < frame.events() {
            self.sections_left = Some((place, sections.place().map_err(lost)?));
        }
        if section.is_engines && !self.with_engine_streams {
            return Ok(());
        }
        let held = self.held.get_or_insert_with(|| Held::new(segment, &self.streams));
        held.enter(segment, &frame, &section, 0)
    }
}
