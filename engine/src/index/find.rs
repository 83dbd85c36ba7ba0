//! Finding the frames that hold a stretch of a stream.
//!
//! From a remembered place behind the wanted revision the sections lead back, one link each, to the one that holds it;
//! [`Finder`] keeps what such walks found for the next reader. A damaged frame breaks the links; then the log between two
//! remembered places is walked instead, which is slower and finds the same.

use std::sync::Arc;

use crate::error::Damage;
use crate::format::Fault;
use crate::format::batch::{Section, Sections};
use crate::format::frame::{Frame, KIND_BATCH};
use crate::ids::{Position, Revision, StreamId};
use crate::index::known_places::{self, KnownPlaces};
use crate::index::streams::{Stream, StreamTable, Stretch};
use crate::segment::set::SegmentSet;
use crate::segment::walk::{LogWalk, Walked};
use crate::sync::RwLock;
use crate::{Error, Result};

/// A stop on the way through a stream.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A frame that holds a section of the stream.
    Frame(Position),
    /// Bytes that may have held one.
    Lost(Box<Damage>),
}

/// Finds frames, and remembers what it found.
#[derive(Debug)]
pub(crate) struct Finder {
    pub(crate) set: Arc<SegmentSet>,
    pub(crate) streams: Arc<RwLock<StreamTable>>,
    known: KnownPlaces,
}

impl Finder {
    /// A finder that knows no place yet.
    pub(crate) fn new(set: Arc<SegmentSet>, streams: Arc<RwLock<StreamTable>>) -> Finder {
        Finder { set, streams, known: KnownPlaces::default() }
    }

    /// The stretch of the stream at `slot` of the table that holds `revision`.
    #[inline]
    pub(crate) fn stretch(&self, slot: u32, revision: Revision) -> Stretch {
        self.streams.read().by_slot(slot).stretch(revision)
    }

    /// Looks at the sections of a stretch, all of them; `None` where damage breaks the links to them.
    #[inline]
    pub(crate) fn look<T>(
        &self,
        stretch: &Stretch,
        look: impl FnOnce(&known_places::Sections) -> T,
    ) -> Result<Option<T>> {
        let key = (stretch.stream, stretch.number);
        let mut look = Some(look);
        let done = self
            .known
            .look(key, |known| (known.upto() >= stretch.upto()).then(|| look.take().expect("one look only")(known)));
        if let Some(Some(done)) = done {
            return Ok(Some(done));
        }
        let look = look.expect("nothing was whole");
        let Some(found) = self.walk(stretch)? else { return Ok(None) };
        let sections = known_places::Sections::new(&found, stretch.upto());
        let done = look(&sections);
        self.known.keep(key, sections);
        Ok(Some(done))
    }

    /// Forgets what is known of a stretch: a frame of it could not be proven.
    pub(crate) fn forget(&self, stretch: &Stretch) {
        self.known.forget((stretch.stream, stretch.number));
    }

    /// First revisions and frames of the sections of a stretch, in order.
    #[cold]
    fn walk(&self, stretch: &Stretch) -> Result<Option<Vec<(Revision, Position)>>> {
        let Some((first, first_place)) = stretch.start else { return Ok(None) };
        let mut found = self.known.look((stretch.stream, stretch.number), |known| known.iter().collect::<Vec<_>>());
        let known_to = found.as_ref().and_then(|found| found.last()).map_or(first_place, |(_, place)| *place);
        let from = stretch.upto();
        let mut newer = Vec::new();
        let ended = walk_links(&self.set, stretch.stream, from, |revision, frame| {
            // The frame behind the stretch belongs to the next one.
            if frame != from || stretch.next.is_none() {
                newer.push((revision, frame));
            }
            frame <= known_to || revision <= first
        })?;
        let is_joined = ended && newer.last().is_some_and(|(_, frame)| *frame == known_to);
        if !is_joined {
            return Ok(None);
        }
        if found.is_some() {
            newer.pop();
        }
        newer.reverse();
        let all = found.get_or_insert_default();
        all.append(&mut newer);
        Ok((all[0] == (first, first_place)).then(|| std::mem::take(all)))
    }

    /// The places of the stream from the one that holds `revision` on, up to a remembered one, found by walking the log
    /// around damage.
    #[cold]
    pub(crate) fn around_damage(&self, slot: u32, revision: Revision) -> Result<Vec<Place>> {
        let stream = self.streams.read().by_slot(slot).clone();
        walk_log(&self.set, &stream, stream.place_behind(revision), revision)
    }
}

/// The section of a stream in a frame.
#[inline]
pub(crate) fn section_of<'a>(frame: Frame<'a>, stream: StreamId) -> Result<Option<Section<'a>>, Fault> {
    if frame.kind() != KIND_BATCH {
        return Ok(None);
    }
    if let Some(only) = Section::only(&frame) {
        return Ok((only.stream == stream).then_some(only));
    }
    let mut sections = Sections::new(frame)?;
    while let Some(section) = sections.next()? {
        if section.stream == stream {
            return Ok(Some(section));
        }
    }
    Ok(None)
}

/// Back along the links from the section in the frame at `start`, until `visit` (first revision, frame) says that it is
/// enough. `false` where the links are broken before.
fn walk_links(
    set: &Arc<SegmentSet>,
    stream: StreamId,
    start: Position,
    mut visit: impl FnMut(Revision, Position) -> bool,
) -> Result<bool> {
    let mut at = start;
    let mut segment = None;
    loop {
        let here = match segment.take() {
            Some(here) => here,
            None => match set.holding(at) {
                Ok(here) => here,
                Err(error) if error.damage().is_some() => return Ok(false),
                Err(error) => return Err(error),
            },
        };
        let Ok(frame) = here.frame(at, here.file_end()) else { return Ok(false) };
        let Ok(Some(section)) = section_of(frame, stream) else { return Ok(false) };
        if visit(section.first_revision, at) {
            return Ok(true);
        }
        match section.previous {
            Some(previous) if previous < at => at = previous,
            _ => return Ok(false),
        }
        segment = Some(here).filter(|here| here.base <= at);
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
            Walked::Frame(place) if place.position <= last => {
                let frame = walk.frame(place);
                match section_of(frame, stream.id) {
                    Ok(Some(section)) if section.last_revision() >= revision => {
                        places.push(Place::Frame(place.position));
                    }
                    Ok(_) => {}
                    Err(fault) => {
                        let segment = walk.segment().expect("the walk stands in a segment");
                        places.push(Place::Lost(Box::new(segment.damage(
                            place.position,
                            place.end(),
                            crate::DamageClass::Damage,
                            fault.to_string(),
                        ))));
                    }
                }
            }
            Walked::Frame(_) => {}
        }
    }
    Ok(places)
}

/// The frame that holds a revision of the stream, or the damage in its place.
pub(crate) fn frame_holding(set: &Arc<SegmentSet>, stream: &Stream, revision: Revision) -> Result<Position> {
    let mut found = None;
    let start = stream.place_behind(revision);
    let ended = walk_links(set, stream.id, start, |first, frame| {
        found = Some(frame);
        first <= revision
    })?;
    if let Some(frame) = found.filter(|_| ended) {
        return Ok(frame);
    }
    match walk_log(set, stream, start, revision)?.into_iter().next() {
        Some(Place::Frame(position)) => Ok(position),
        Some(Place::Lost(damage)) => Err(Error::from_damage(*damage)),
        None => Err(Error::new(
            crate::ErrorKind::NotFound,
            format!("revision {revision} of {:?} lies in no frame that is whole", stream.name),
        )),
    }
}
