//! Reading a stream, forwards or backwards, from any revision, across its forks.

use std::sync::Arc;

use crate::format::token::Token;
use crate::ids::{Position, Revision, StreamId};
use crate::index::find::Finder;
use crate::index::streams::Stream;
use crate::lineage::parts;
use crate::read::own_reader::{OwnReader, Part};
use crate::read::{Event, EventRef, ReadOptions, look_up};
use crate::{Error, Result};

/// So many parts ahead of the one that is read, the bytes are fetched.
const AHEAD: usize = 8;

/// Reads the events of one stream: those that were visible when it was made. Those that a fork shares with its parent come as
/// they are there, with the stream to which they were appended as theirs.
#[derive(Debug)]
pub struct StreamReader {
    own: OwnReader,
    /// What is read behind the part at hand, the next one last.
    parts: Vec<Part>,
    backwards: bool,
    /// The lineage is lost before the oldest part.
    lost: Option<Error>,
}

impl StreamReader {
    /// A reader of the stream over what lies below `visible`; `None` where there is none of this name. A token in the options
    /// leads to a place of this log, which [`behind`](crate::read::place::behind) found out.
    pub(crate) fn new(
        finder: &Arc<Finder>,
        name: &str,
        visible: Position,
        options: ReadOptions<'_>,
    ) -> Result<Option<StreamReader>> {
        let visible = options.at.map_or(visible, |at| at.min(visible));
        let known =
            finder.streams.of_name(name, |stream| (KnownHead::of(stream), stream.head, Arc::clone(&stream.name)))?;
        let Some((known, mut lost_up_to, name)) = known else { return Ok(None) };
        let KnownHead { id, first, last_event, head_position } = known;
        let ReadOptions { backwards, event_type, after_token, .. } = options;
        let own = OwnReader::new(finder, backwards, event_type, after_token);
        let mut reader = StreamReader { own, parts: Vec::new(), backwards, lost: None };
        let Some(head) = known.below(finder, visible)? else { return Ok(Some(reader)) };
        if head_position >= visible {
            lost_up_to = head;
        }
        let (low, high) = if backwards { (options.to, options.from) } else { (options.from, options.to) };
        let to = high.map_or(head, |to| to.min(head));
        let mut from = low.unwrap_or(Revision(0));
        let begins =
            [after_token.filter(|token| !token.is_origin()).map(Begin::Behind), options.from_position.map(Begin::At)];
        for begin in begins.iter().flatten().filter(|begin| first.0 == 0 || begin.frame().0 >= id.0) {
            from = from.max(begin.first_of(finder, id, first, last_event)?);
        }
        match options.last {
            Some(0) => return Ok(Some(reader)),
            Some(last) => from = from.max(Revision((to.0 + 1).saturating_sub(last))),
            None => {}
        }
        // What was accepted as lost behind the last event is told where it was asked for.
        let lost_up_to = high.map_or(lost_up_to, |high| high.min(lost_up_to));
        let part = Part { stream: id, name, from: from.max(first), to, lost_up_to, place: None };
        if from < first {
            return reader.across(finder, part, from, first, begins).map(Some);
        }
        reader.own.begin(part);
        Ok(Some(reader))
    }

    /// As a reader of a fork, some of whose shared revisions are asked for: those from `from` on; `first` is the first of its
    /// own.
    fn across(
        mut self,
        finder: &Finder,
        own: Part,
        from: Revision,
        first: Revision,
        begins: [Option<Begin>; 2],
    ) -> Result<StreamReader> {
        let upto = Revision(own.to.0.min(first.0 - 1));
        let Some(mut shared) = parts::shared(finder, own.stream, from, upto)? else {
            self.own.begin(own);
            return Ok(self);
        };
        if own.to >= first || own.lost_up_to >= first {
            shared.parts.insert(0, own);
        }
        for begin in begins.iter().flatten() {
            if cut(finder, &mut shared.parts, begin)? || matches!(begin, Begin::Behind(_)) {
                shared.lost = None; // it lies before that, or the token would not be known
            }
        }
        if self.backwards {
            shared.parts.reverse();
        }
        (self.parts, self.lost) = (shared.parts, shared.lost);
        Ok(self)
    }

    /// The last revision of a stream that lies below `visible`; `None` where there is none.
    pub(crate) fn head(finder: &Arc<Finder>, name: &str, visible: Position) -> Result<Option<Revision>> {
        match finder.streams.of_name(name, KnownHead::of)? {
            Some(known) => known.below(finder, visible),
            None => Ok(None),
        }
    }

    /// The next event; `None` behind the last.
    ///
    /// # Errors
    /// [`Damage`](crate::ErrorKind::Damage) for events that are lost, [`Unsupported`](crate::ErrorKind::Unsupported) for those
    /// that this build cannot decode: where [`Error::damage`](crate::Error::damage) says what they are, the reader goes on
    /// behind them, asked again. Any other error ends the reading.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub fn next(&mut self) -> Option<Result<EventRef<'_>>> {
        match self.step()? {
            Ok(()) => Some(Ok(self.own.event())),
            Err(error) => Some(Err(error)),
        }
    }

    /// Stands at the next event; else as [`next`](Self::next).
    #[inline]
    pub(crate) fn step(&mut self) -> Option<Result<()>> {
        loop {
            match self.own.next() {
                Some(Ok(())) => return Some(Ok(())),
                Some(Err(error)) => return Some(Err(self.told(error))),
                None => {
                    if let Err(lost) = self.next_part()? {
                        return Some(Err(lost));
                    }
                }
            }
        }
    }

    /// The event at which it stands.
    pub(crate) fn event(&self) -> EventRef<'_> {
        self.own.event()
    }

    /// Goes on with the next part; `None` behind the last.
    #[inline(never)]
    fn next_part(&mut self) -> Option<Result<()>> {
        if !self.backwards
            && let Some(lost) = self.lost.take()
        {
            return Some(Err(lost));
        }
        match self.parts.pop() {
            Some(part) => {
                if let Some(place) = self.parts.iter().rev().nth(AHEAD).and_then(|part| part.place) {
                    self.own.touch(place);
                }
                self.own.begin(part);
            }
            None => return self.lost.take().map(Err),
        }
        Some(Ok(()))
    }

    #[cold]
    fn told(&mut self, error: Error) -> Error {
        if error.damage().is_none() {
            (self.parts, self.lost) = (Vec::new(), None);
        }
        error
    }

    /// The place in the log behind the event that was handed out last: a later reader goes on there. `None` before the
    /// first, unless the reader was itself begun behind a token. It is of use to who reads forwards.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.own.token()
    }
}

/// What the table knows of a stream's end.
struct KnownHead {
    id: StreamId,
    first: Revision,
    last_event: Revision,
    head_position: Position,
}

impl KnownHead {
    fn of(stream: &Stream) -> KnownHead {
        let Stream { id, first, last_event, head_position, .. } = *stream;
        KnownHead { id, first, last_event, head_position }
    }

    /// The last revision that lies below `visible`; `None` where there is none.
    fn below(&self, finder: &Finder, visible: Position) -> Result<Option<Revision>> {
        let KnownHead { id, first, last_event, head_position } = *self;
        if first.0 > 0 && id.0 >= visible.0 {
            return Ok(None); // it was forked later
        }
        if head_position < visible {
            return Ok(Some(last_event));
        }
        let own = look_up::head_below(finder, id, visible, first, last_event)?;
        Ok(own.or_else(|| first.0.checked_sub(1).map(Revision)))
    }
}

/// Where in the log a reader begins.
#[derive(Clone, Copy)]
enum Begin {
    /// With the frames there and behind.
    At(Position),
    /// Behind the event that a token names.
    Behind(Token),
}

impl Begin {
    /// No frame before it holds what is read.
    fn frame(&self) -> Position {
        match self {
            Begin::At(position) => *position,
            Begin::Behind(token) => token.frame,
        }
    }

    /// The first revision that is read, of those that a stream has from `first` to `last`.
    fn first_of(&self, finder: &Finder, stream: StreamId, first: Revision, last: Revision) -> Result<Revision> {
        match self {
            Begin::At(position) => look_up::first_at(finder, stream, *position, first, last),
            Begin::Behind(token) => look_up::first_behind(finder, stream, token, first, last),
        }
    }
}

/// Leaves of the parts, the newest first, what a reader reads that begins there; `true` where that is not all of them.
fn cut(finder: &Finder, parts: &mut Vec<Part>, begin: &Begin) -> Result<bool> {
    let mut is_cut = false;
    // Positions rise with revisions: one part at most is cut.
    while let Some(part) = parts.last_mut() {
        let first = begin.first_of(finder, part.stream, part.from, part.to)?;
        is_cut |= first > part.from;
        if first <= part.to {
            part.from = part.from.max(first);
            break;
        }
        parts.pop();
    }
    Ok(is_cut)
}

/// The event with this revision, where it lies below `visible`.
pub(crate) fn read_one(
    finder: &Arc<Finder>,
    name: &str,
    revision: Revision,
    visible: Position,
) -> Result<Option<Event>> {
    let own = finder.streams.of_name(name, |stream| {
        let is_own = (stream.first..=stream.last_event).contains(&revision) && stream.head_position < visible;
        is_own.then(|| (stream.id, Arc::clone(&stream.name)))
    })?;
    match own {
        None => return Ok(None),
        Some(Some((stream, name))) => {
            let known = look_up::read_one_known(finder, stream, name, revision);
            if !matches!(known, Ok(None)) {
                return known; // as it is: to take the event out would copy it
            }
        }
        Some(None) => {}
    }
    let options = ReadOptions::new().from(revision).to(revision);
    let Some(mut reader) = StreamReader::new(finder, name, visible, options)? else { return Ok(None) };
    // Where links are broken the log is walked, and damage is met that may have held it: what comes behind decides.
    let mut lost = None;
    while let Some(event) = reader.next() {
        match event {
            Ok(event) => return Ok(Some(event.hold())),
            Err(error) if error.damage().is_some() => lost = Some(error),
            Err(error) => return Err(error),
        }
    }
    lost.map_or(Ok(None), Err)
}
