//! Finding the frames that hold a stretch of a stream.
//!
//! From a remembered place behind the wanted revision the sections lead back, one link each, to the one that holds it. A
//! damaged frame breaks the links; then the log between two remembered places is walked instead, which is slower and
//! finds the same.

use std::sync::Arc;

use crate::error::Damage;
use crate::format::Fault;
use crate::format::batch::{Section, Sections};
use crate::format::frame::{Frame, KIND_BATCH};
use crate::ids::{Position, Revision, StreamId};
use crate::index::streams::Stream;
use crate::segment::set::SegmentSet;
use crate::segment::walk::{LogWalk, Walked};
use crate::{Error, Result};

/// A stop on the way through a stream.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A frame that holds a section of the stream.
    Frame(Position),
    /// Bytes that may have held one.
    Lost(Damage),
}

/// The section of a stream in a frame.
pub(crate) fn section_of<'a>(frame: Frame<'a>, stream: StreamId) -> Result<Option<Section<'a>>, Fault> {
    if frame.header.kind != KIND_BATCH {
        return Ok(None);
    }
    let mut sections = Sections::new(frame)?;
    while let Some(section) = sections.next()? {
        if section.stream == stream {
            return Ok(Some(section));
        }
    }
    Ok(None)
}

/// The frames that hold the stream from `revision` on, up to a remembered place: the *last comes first*, so that they can
/// be popped in order. Never empty where the stream holds the revision.
pub(crate) fn places_from(set: &Arc<SegmentSet>, stream: &Stream, revision: Revision) -> Result<Vec<Place>> {
    let start = stream.place_behind(revision);
    match walk_links(set, stream.id, start, revision)? {
        Some(places) => Ok(places),
        None => walk_log(set, stream, start, revision),
    }
}

/// Back along the links; `None` where they are broken.
fn walk_links(
    set: &Arc<SegmentSet>,
    stream: StreamId,
    start: Position,
    revision: Revision,
) -> Result<Option<Vec<Place>>> {
    let mut places = Vec::new();
    let mut at = start;
    let mut segment = match set.holding(at) {
        Ok(segment) => segment,
        Err(error) if error.damage().is_some() => return Ok(None),
        Err(error) => return Err(error),
    };
    loop {
        if at < segment.base {
            segment = match set.holding(at) {
                Ok(segment) => segment,
                Err(error) if error.damage().is_some() => return Ok(None),
                Err(error) => return Err(error),
            };
        }
        let Ok(frame) = segment.frame(at, segment.file_end()) else { return Ok(None) };
        let Ok(Some(section)) = section_of(frame, stream) else { return Ok(None) };
        places.push(Place::Frame(at));
        if section.first_revision <= revision {
            return Ok(Some(places));
        }
        match section.previous {
            Some(previous) if previous < at => at = previous,
            _ => return Ok(None),
        }
    }
}

/// The last revision below `revision` that a section holds, as far as links lead to it from behind: what lies between is
/// lost. `None` where they do not.
pub(crate) fn last_before(set: &Arc<SegmentSet>, stream: &Stream, revision: Revision) -> Option<Revision> {
    let mut at = stream.place_behind(revision);
    loop {
        let segment = set.holding(at).ok()?;
        let section = section_of(segment.frame(at, segment.file_end()).ok()?, stream.id).ok()??;
        if section.last_revision() < revision {
            return Some(section.last_revision());
        }
        at = section.previous.filter(|previous| *previous < at)?;
    }
}

/// Forward through the log between remembered places, around damage. What is lost is never the last place, unless nothing of
/// the stream lies behind it.
fn walk_log(set: &Arc<SegmentSet>, stream: &Stream, last: Position, revision: Revision) -> Result<Vec<Place>> {
    let from = stream.place_before(revision).map_or(Position(stream.id.0), |(_, place)| place);
    let mut walk = LogWalk::new(Arc::clone(set), from);
    let mut places = Vec::new();
    loop {
        let is_open = matches!(places.last(), Some(Place::Lost(_)));
        let last = if is_open { stream.last_place.max(last) } else { last };
        if walk.at() > last {
            break;
        }
        match walk.next(Position::MAX)? {
            Walked::End => break,
            Walked::Damage(damage) => places.push(Place::Lost(damage)),
            Walked::Frame(position, header) if header.kind == KIND_BATCH && position <= last => {
                let frame = walk.frame(position, header).expect("it was just met");
                match section_of(frame, stream.id) {
                    Ok(Some(section)) if section.last_revision() >= revision => places.push(Place::Frame(position)),
                    Ok(_) => {}
                    Err(fault) => {
                        let segment = walk.segment().expect("the walk stands in a segment");
                        places.push(Place::Lost(segment.damage(
                            position,
                            frame.end(),
                            crate::DamageClass::Damage,
                            fault.to_string(),
                        )));
                    }
                }
            }
            Walked::Frame(..) => {}
        }
    }
    places.reverse();
    Ok(places)
}

/// The frame that holds a revision of the stream, or the damage in its place.
pub(crate) fn frame_holding(set: &Arc<SegmentSet>, stream: &Stream, revision: Revision) -> Result<Position> {
    let places = places_from(set, stream, revision)?;
    match places.last() {
        Some(Place::Frame(position)) => Ok(*position),
        Some(Place::Lost(damage)) => Err(Error::from_damage(damage.clone())),
        None => Err(Error::new(
            crate::ErrorKind::NotFound,
            format!("revision {revision} of {:?} lies in no frame that is whole", stream.name),
        )),
    }
}
