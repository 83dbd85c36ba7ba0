//! What is looked up in a stream's own events without a reader: one of them, and where they end below a place of the log.

use std::ops::Range;
use std::sync::Arc;

use crate::Result;
use crate::format::frame::Frame;
use crate::format::token::Token;
use crate::ids::{Position, Revision, StreamId};
use crate::index::find::{self, Finder};
use crate::index::streams::Stream;
use crate::read::event::{Event, EventRef};
use crate::read::held::Held;
use crate::read::own_reader::LOOKED_UP;
use crate::segment::one::{FRAME_TOUCHED_BYTES, Segment};

/// The event, where all is as it should be; `None` says nothing.
#[inline]
pub(crate) fn read_one_known(
    finder: &Finder,
    stream: StreamId,
    name: Arc<str>,
    revision: Revision,
) -> Result<Option<Event>> {
    let place = match finder.known.get(stream, revision) {
        None => finder.locate(stream, revision, revision)?.map(|section| section.frame),
        known => known,
    };
    let Some(place) = place else { return Ok(None) };
    let segment = finder.set.holding(place)?;
    segment.prefetch(place, FRAME_TOUCHED_BYTES);
    let Ok(frame) = segment.frame(place, segment.file_end()) else { return Ok(None) };
    if let Some(usual) = find::usual_section_of(&frame, stream) {
        let index = revision.0.wrapping_sub(usual.first_revision.0);
        if index < u64::from(usual.count) {
            let event = Event::usual(&segment, &frame, &usual, index as u32, &name, &finder.streams.types);
            if !matches!(event, Ok(None)) {
                return event;
            }
        }
    }
    read_one_of_any(finder, &segment, &frame, stream, name, revision)
}

/// As [`read_one_known`], of any frame that holds it.
#[inline(never)]
fn read_one_of_any(
    finder: &Finder,
    segment: &Arc<Segment>,
    frame: &Frame<'_>,
    stream: StreamId,
    name: Arc<str>,
    revision: Revision,
) -> Result<Option<Event>> {
    let Ok(Some(section)) = find::section_of(*frame, stream) else { return Ok(None) };
    let index = revision.0.wrapping_sub(section.first_revision.0);
    if index >= u64::from(section.count) {
        return Ok(None);
    }
    let mut held = Held::of_stream(segment, &finder.streams, stream, name);
    let stands = held.enter(segment, frame, &section, index as u32).is_ok() && held.step().unwrap_or(false);
    Ok(stands.then(|| EventRef { held: &held }.hold()))
}

/// The last revision whose section lies below `visible`; `None` where there is none. `head` lies above it.
pub(crate) fn head_below(
    finder: &Finder,
    stream: StreamId,
    visible: Position,
    first: Revision,
    head: Revision,
) -> Result<Option<Revision>> {
    let mut wanted = head;
    // Mostly few sections lie above it: back from the newest.
    loop {
        let mut below = None;
        let next = finder.known.run(stream, wanted, first, |revision, frame| {
            if frame < visible && below.is_none() {
                below = Some(revision);
            }
        });
        match next {
            _ if below.is_some() => return Ok(below),
            None => return Ok(None),
            Some(next) if next < wanted => wanted = next,
            Some(_) => match finder.locate(stream, wanted, Revision(wanted.0.saturating_sub(LOOKED_UP)).max(first))? {
                Some(section) if section.frame < visible => return Ok(Some(wanted)),
                Some(section) if section.first <= first => return Ok(None),
                Some(section) => wanted = Revision(section.first.0 - 1),
                None => return head_below_damage(finder, stream, visible, first, wanted),
            },
        }
    }
}

/// The first revision of a stream that lies in a frame at `position` or behind it.
pub(crate) fn first_at(
    finder: &Finder,
    stream: StreamId,
    position: Position,
    first: Revision,
    last_event: Revision,
) -> Result<Revision> {
    // What may lie behind it is told where it is lost.
    first_where(finder, stream, first, last_event, |place| place.end > position)
}

/// The first revision of a stream whose event lies behind the one that a token names.
pub(crate) fn first_behind(
    finder: &Finder,
    stream: StreamId,
    token: &Token,
    first: Revision,
    last_event: Revision,
) -> Result<Revision> {
    let behind = first_at(finder, stream, token.frame, first, last_event)?;
    // Of the token's own frame the stream may have events on both sides of it. Where that is lost, so are they all.
    let dealt_with = || {
        let segment = finder.set.holding(token.frame).ok()?;
        let frame = segment.frame(token.frame, segment.file_end()).ok()?;
        let section = find::section_of(frame, stream).ok()??;
        let count = (token.ordinal + 1).saturating_sub(section.first_ordinal).min(section.count);
        Some(Revision(section.first_revision.0 + u64::from(count)))
    };
    Ok(dealt_with().map_or(behind, |revision| revision.max(behind)))
}

/// As [`head_below`], from anywhere in the stream, also where damage breaks the links.
#[cold]
fn head_below_damage(
    finder: &Finder,
    stream: StreamId,
    visible: Position,
    first: Revision,
    head: Revision,
) -> Result<Option<Revision>> {
    let behind = first_where(finder, stream, first, head, |place| place.start >= visible)?;
    Ok((behind > first).then(|| Revision(behind.0 - 1)))
}

/// The first revision whose whereabouts are behind something, else the one behind `head`: places rise with revisions.
#[cold]
fn first_where(
    finder: &Finder,
    stream: StreamId,
    first: Revision,
    head: Revision,
    is_behind: impl Fn(Range<Position>) -> bool,
) -> Result<Revision> {
    let stream = finder.of_stream(stream, Stream::clone)?;
    let (mut low, mut high) = (first.0, head.0 + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match is_behind(finder.whereabouts(&stream, Revision(middle))?) {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    Ok(Revision(low))
}
