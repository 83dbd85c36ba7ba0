//! Finding the frames that hold a stretch of a stream.
//!
//! From a remembered place behind the wanted revision the sections lead back, one link each, to the one that holds it. Where no
//! place is remembered the indexes of segments lead to the sections ([`older`](super::older)). What either way finds is known to
//! the next reader ([`known_places`](super::known_places)). A damaged frame breaks the links; then the log between two places
//! that are known is walked instead, which is slower and finds the same.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Damage;
use crate::format::Fault;
use crate::format::batch::{Section, Sections};
use crate::format::frame::{Frame, KIND_BATCH};
use crate::ids::{Position, Revision, SegmentOrdinal, StreamId};
use crate::index::forks::Forks;
use crate::index::known_places::{KnownPlaces, Located};
use crate::index::older::Placed;
use crate::index::on_demand::Streams;
use crate::index::segment_indexes::SegmentIndexes;
use crate::index::streams::{Stream, Stretch};
use crate::segment::set::SegmentSet;
use crate::segment::walk::{LogWalk, Walked};
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
pub(crate) struct Finder {
    pub(crate) set: Arc<SegmentSet>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) indexes: Arc<SegmentIndexes>,
    pub(crate) forks: Forks,
    pub(crate) known: KnownPlaces,
}

impl fmt::Debug for Finder {
    /// Without what grows with the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finder").field("set", &self.set).finish_non_exhaustive()
    }
}

/// What looking for a revision has found.
#[derive(Debug)]
pub(super) struct Found {
    /// The section in which it is to be looked for.
    pub(super) section: Located,
    /// The earliest section of those that were found with it.
    pub(super) earliest: Placed,
    /// The segment whose index says so.
    pub(super) index: Option<SegmentOrdinal>,
    /// That segment holds few sections of the stream: to ask the index of the one before costs more than to follow the links.
    pub(super) is_sparse: bool,
}

impl Finder {
    /// A finder that knows no place yet.
    pub(crate) fn new(set: Arc<SegmentSet>, streams: Arc<Streams>, indexes: Arc<SegmentIndexes>) -> Finder {
        let forks = Forks::new(Arc::clone(&set), Arc::clone(&streams));
        Finder { set, streams, indexes, forks, known: KnownPlaces::default() }
    }

    /// What `look` says of a stream that there is.
    ///
    /// # Errors
    /// As reading the log.
    pub(crate) fn of_stream<T>(&self, stream: StreamId, look: impl Fn(&Stream) -> T) -> Result<T> {
        self.streams.of_id(stream, look)?.ok_or_else(|| no_longer_known(stream))
    }

    /// The section in which a revision of the stream is to be looked for, whatever is known; `None` where damage hides
    /// it. What is found on the way is known from then on, and so is what lies before it down to `low`, as far as that can be had.
    #[cold]
    #[inline(never)]
    pub(crate) fn locate(&self, stream: StreamId, revision: Revision, low: Revision) -> Result<Option<Located>> {
        let stretch_of = |revision| self.of_stream(stream, |stream| stream.stretch(revision));
        let mut stretch = stretch_of(revision)?;
        let Some(found) = self.find(&stretch, revision)? else { return Ok(None) };
        let (mut earliest, mut is_sparse) = (found.earliest, found.is_sparse);
        while earliest.0 > low {
            let before = Revision(earliest.0.0 - 1);
            if self.known.get(stream, before).is_some() {
                break;
            }
            stretch = match stretch.start {
                Some(_) => stretch_of(before)?,
                None => Stretch { next: Some(earliest), ..stretch },
            };
            if is_sparse && self.follow_links(&stretch, low)? {
                break;
            }
            match self.find(&stretch, before) {
                Ok(Some(found)) if found.earliest.0 < earliest.0 => {
                    (earliest, is_sparse) = (found.earliest, found.is_sparse);
                }
                // Whoever comes there hears of it.
                _ => break,
            }
        }
        Ok(Some(found.section))
    }

    /// As [`locate`](Self::locate), in a stretch.
    fn find(&self, stretch: &Stretch, revision: Revision) -> Result<Option<Found>> {
        match stretch.start {
            Some(start) => self.walk(stretch, start, revision),
            None => self.older(stretch, revision),
        }
    }

    /// Keeps where sections lie.
    pub(super) fn keep(&self, stretch: &Stretch, sections: &[Located]) {
        self.known.keep(stretch.stream, sections);
    }

    /// Forgets what is known of where a revision of the stream lies: a frame could not be proven.
    #[cold]
    pub(crate) fn forget(&self, stretch: &Stretch, revision: Revision) {
        if stretch.start.is_none()
            && let Ok(Some(Found { index: Some(index), .. })) = self.older(stretch, revision)
        {
            // Who knows what else came from there.
            self.indexes.doubt(index);
            self.known.clear();
        }
        self.known.forget(stretch.stream, revision);
    }

    /// Back along the links of a stretch that begins with `start`, down to what is known; `None` where they are broken.
    fn walk(&self, stretch: &Stretch, start: Placed, revision: Revision) -> Result<Option<Found>> {
        let from = stretch.upto();
        let mut sections: Vec<Located> = Vec::new();
        let mut next = None;
        let ended = walk_links(&self.set, stretch.stream, from, |section, frame| {
            let first = section.first_revision;
            let last = next.replace(first).map_or(section.last_revision(), |next| Revision(next.0 - 1));
            // The frame behind the stretch belongs to the next one.
            if frame != from || stretch.next.is_none() {
                sections.push(Located { first, last, frame });
            }
            let is_known = || {
                let before = first.0.checked_sub(1).map(Revision);
                let known = before.and_then(|before| self.known.get(stretch.stream, before));
                known.is_some() && known == section.previous
            };
            frame <= start.1 || first <= start.0 || first <= revision && is_known()
        })?;
        let Some(earliest) = sections.last().filter(|_| ended) else { return Ok(None) };
        let earliest = (earliest.first, earliest.frame);
        if earliest != start && (earliest.0 <= start.0 || earliest.1 <= start.1) {
            return Ok(None);
        }
        sections.reverse();
        self.keep(stretch, &sections);
        let at = sections.partition_point(|section| section.first <= revision).saturating_sub(1);
        Ok(Some(Found { section: sections[at], earliest, index: None, is_sparse: false }))
    }

    /// The places of the stream from the one that holds `revision` on, up to a remembered one, found by walking the log
    /// around damage.
    #[cold]
    pub(crate) fn around_damage(&self, stream: StreamId, revision: Revision) -> Result<Vec<Place>> {
        let stream = self.of_stream(stream, Stream::clone)?;
        self.around(&stream, revision)
    }

    fn around(&self, stream: &Stream, revision: Revision) -> Result<Vec<Place>> {
        let (before, behind) = match stream.place_before(revision) {
            None => self.indexed_near(stream, revision),
            known => (known, None),
        };
        let from = before.map_or(Position(stream.id.0), |(_, place)| place);
        let last = behind.map_or(stream.place_behind(revision), |(_, place)| place);
        walk_log(&self.set, stream, from, last, revision)
    }

    /// The nearest section that is known not to begin behind `revision`.
    #[cold]
    pub(crate) fn place_before(&self, stream: StreamId, revision: Revision) -> Result<Option<Placed>> {
        let stream = self.of_stream(stream, Stream::clone)?;
        Ok(stream.place_before(revision).or_else(|| self.indexed_near(&stream, revision).0))
    }

    /// As [`frame_holding`](Self::frame_holding), of a stream of the table, of which nothing is copied where all is as it should be.
    pub(crate) fn frame_of(&self, stream: StreamId, revision: Revision) -> Result<Position> {
        let place = match self.known.get(stream, revision) {
            None => self.locate(stream, revision, revision)?.map(|section| section.frame),
            known => known,
        };
        match place.filter(|place| self.is_in(*place, stream, revision)) {
            Some(place) => Ok(place),
            None => {
                let stream = self.of_stream(stream, Stream::clone)?;
                self.frame_holding(&stream, revision)
            }
        }
    }

    /// Whether the frame at a place is whole and holds a section of the stream that may hold the revision.
    fn is_in(&self, place: Position, stream: StreamId, revision: Revision) -> bool {
        let Ok(segment) = self.set.holding(place) else { return false };
        let Ok(frame) = segment.frame(place, segment.file_end()) else { return false };
        let section = section_of(frame, stream).ok().flatten();
        section.is_some_and(|section| section.first_revision <= revision)
    }

    /// The frame that holds a revision of the stream, or the damage in its place.
    pub(crate) fn frame_holding(&self, stream: &Stream, revision: Revision) -> Result<Position> {
        if let Some(place) = self.found(stream, revision)? {
            return Ok(place);
        }
        match self.places_of(stream, revision)?.into_iter().next() {
            Some(Place::Frame(position)) => Ok(position),
            Some(Place::Lost(damage)) => Err(Error::from_damage(*damage)),
            None => Err(in_no_frame(stream, revision)),
        }
    }

    /// Between which positions a revision of the stream lies: that of its frame, or, where that is lost, all that may have held it.
    pub(crate) fn whereabouts(&self, stream: &Stream, revision: Revision) -> Result<Range<Position>> {
        if let Some(place) = self.found(stream, revision)? {
            return Ok(place..Position(place.0 + 1));
        }
        let places = self.places_of(stream, revision)?;
        let (Some(first), Some(last)) = (places.first(), places.last()) else {
            return Err(in_no_frame(stream, revision));
        };
        let start = match first {
            Place::Frame(position) => *position,
            Place::Lost(damage) => damage.positions.start,
        };
        let end = match last {
            Place::Frame(position) => Position(position.0 + 1),
            Place::Lost(damage) => damage.positions.end,
        };
        Ok(start..end)
    }

    /// The frame that holds a revision of the stream, where links or indexes lead to it.
    fn found(&self, stream: &Stream, revision: Revision) -> Result<Option<Position>> {
        let stretch = stream.stretch(revision);
        let place = match self.known.get(stream.id, revision) {
            None => self.find(&stretch, revision)?.map(|found| found.section.frame),
            known => known,
        };
        if let Some(place) = place
            && !self.is_in(place, stream.id, revision)
        {
            self.forget(&stretch, revision);
            return Ok(None);
        }
        Ok(place)
    }

    /// By a walk over the log: the frame that holds a revision of the stream, else the damage that may have taken it. Where nothing
    /// did, since revisions were accepted as lost, the next frame.
    #[cold]
    fn places_of(&self, stream: &Stream, revision: Revision) -> Result<Vec<Place>> {
        let mut places = self.around(stream, revision)?;
        // What is lost before its frame has to do with others.
        let frame = places.iter().enumerate().find_map(|(at, place)| match place {
            Place::Frame(position) => Some((at, *position)),
            Place::Lost(_) => None,
        });
        match frame {
            Some((at, position)) if at == 0 || self.is_in(position, stream.id, revision) => {
                Ok(vec![Place::Frame(position)])
            }
            Some((at, _)) => {
                places.truncate(at);
                Ok(places)
            }
            None => Ok(places),
        }
    }
}

#[cold]
fn in_no_frame(stream: &Stream, revision: Revision) -> Error {
    let message = format!("revision {revision} of {:?} lies in no frame that is whole", stream.name);
    Error::new(crate::ErrorKind::NotFound, message)
}

/// A stream that was read of, or that something in the log names.
#[cold]
fn no_longer_known(stream: StreamId) -> Error {
    let message = format!("stream {stream} is not known, though something leads to it; `verify` says more");
    Error::new(crate::ErrorKind::NotFound, message)
}

/// The damage that takes the frame at a place, as a walk over the log finds it; `None` where none does.
#[cold]
pub(crate) fn damage_at(set: &Arc<SegmentSet>, position: Position) -> Option<Damage> {
    let mut walk = LogWalk::new(Arc::clone(set), position);
    loop {
        match walk.next(Position::MAX).ok()? {
            Walked::Damage(damage) if damage.positions.contains(&position) => return Some(*damage),
            Walked::Frame(place) if place.position >= position => return None,
            Walked::End => return None,
            _ => {}
        }
    }
}

/// The section of a stream in a frame that holds nothing else, where it is a usual one; `None` says nothing.
#[inline(always)]
pub(crate) fn usual_section_of<'a>(frame: &Frame<'a>, stream: StreamId) -> Option<Section<'a>> {
    let only = if frame.kind() == KIND_BATCH { Section::only(frame) } else { None };
    only.filter(|only| only.stream == stream)
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

/// Back along the links from the section in the frame at `start`, until `visit` says that it is enough. `false` where the links are broken before.
fn walk_links(
    set: &Arc<SegmentSet>,
    stream: StreamId,
    start: Position,
    mut visit: impl FnMut(&Section<'_>, Position) -> bool,
) -> Result<bool> {
    let (mut at, mut behind) = (start, None);
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
        // A section that says what cannot be, under right checks, leads nowhere.
        if behind.replace(section.first_revision).is_some_and(|behind| section.last_revision() >= behind) {
            return Ok(false);
        }
        if visit(&section, at) {
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
fn walk_log(
    set: &Arc<SegmentSet>,
    stream: &Stream,
    from: Position,
    last: Position,
    revision: Revision,
) -> Result<Vec<Place>> {
    let mut walk = LogWalk::new(Arc::clone(set), from);
    let mut places = Vec::new();
    loop {
        let is_open = matches!(places.last(), Some(Place::Lost(_)));
        // The identity of a stream may lie inside of its first frame.
        let last = if is_open { stream.last_place.max(last) } else { last.max(from) };
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
                    // What was lost before it held earlier revisions still.
                    Ok(Some(_)) => places.clear(),
                    Ok(None) => {}
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
