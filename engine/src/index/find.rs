//! Finding the frames that hold a stretch of a stream.
//!
//! From a remembered place behind the wanted revision the sections lead back, one link each, to the one that holds it;
//! [`Finder`] keeps what such walks found for the next reader. Where no place is remembered the indexes of segments lead to the
//! sections ([`older`](super::older)). A damaged frame breaks the links; then the log between two places that are known is
//! walked instead, which is slower and finds the same.

use std::sync::Arc;

use crate::error::Damage;
use crate::format::Fault;
use crate::format::batch::{Section, Sections};
use crate::format::frame::{Frame, KIND_BATCH};
use crate::ids::{Position, Revision, StreamId};
use crate::index::forks::Forks;
use crate::index::known_places::{self, KnownPlaces, StretchKey};
use crate::index::older::{IndexedChunk, Older, Placed};
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
#[derive(Debug)]
pub(crate) struct Finder {
    pub(crate) set: Arc<SegmentSet>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) indexes: Arc<SegmentIndexes>,
    pub(crate) forks: Forks,
    pub(super) known: KnownPlaces,
}

/// A stretch of a stream's sections, and how it is come by.
#[derive(Debug)]
pub(crate) struct Way {
    /// Its first section; `None` where damage hides it.
    pub(crate) start: Option<Placed>,
    /// The first section behind it; `None` where it ends with the stream.
    pub(crate) next: Option<Placed>,
    by: By,
}

#[derive(Debug)]
enum By {
    /// By links between remembered places.
    Places(Stretch),
    /// By the cache, where a walk over links has just left it.
    Run(StretchKey),
    /// By an index.
    Index(known_places::Sections),
}

impl Finder {
    /// A finder that knows no place yet.
    pub(crate) fn new(set: Arc<SegmentSet>, streams: Arc<Streams>, indexes: Arc<SegmentIndexes>) -> Finder {
        let forks = Forks::new(Arc::clone(&set), Arc::clone(&streams));
        Finder { set, streams, indexes, forks, known: KnownPlaces::default() }
    }

    /// The stretch of the stream at `slot` of the table that holds `revision`.
    #[inline]
    pub(crate) fn stretch(&self, slot: u32, revision: Revision) -> Result<Way> {
        let stretch = self.streams.read().by_slot(slot).stretch(revision);
        match stretch.start {
            Some(_) => Ok(Way { start: stretch.start, next: stretch.next, by: By::Places(stretch) }),
            None => self.older_stretch(stretch, revision),
        }
    }

    #[inline(never)]
    fn older_stretch(&self, stretch: Stretch, revision: Revision) -> Result<Way> {
        loop {
            match self.older(&stretch, revision)? {
                None => return Ok(Way { start: None, next: stretch.next, by: By::Places(stretch) }),
                Some(Older::Run(key, start, next)) => return Ok(Way { start: Some(start), next, by: By::Run(key) }),
                Some(Older::Indexed(found)) => match listed(&found) {
                    Ok(sections) => {
                        let start = Some(found.chunk.first);
                        return Ok(Way { start, next: found.next, by: By::Index(sections) });
                    }
                    Err(_) => self.indexes.doubt(found.index.head.ordinal),
                },
            }
        }
    }

    /// Where the section lies that holds `revision`, by what is known of its stretch; `None` where damage hides it.
    #[inline]
    pub(crate) fn place_of(&self, stretch: &Stretch, revision: Revision) -> Result<Option<Position>> {
        if stretch.start.is_some() {
            return self.look_places(stretch, |sections| sections.get(sections.index_of(revision)).1);
        }
        match self.older(stretch, revision)? {
            Some(Older::Indexed(IndexedChunk { index, chunk, .. })) => {
                let mut place = chunk.first.1;
                let walked = chunk.walk(&index.file, &index.head, |first, at| {
                    let is_before = first <= revision;
                    place = if is_before { at } else { place };
                    is_before
                });
                if walked.is_err() {
                    self.indexes.doubt(index.head.ordinal);
                }
                Ok(walked.is_ok().then_some(place))
            }
            Some(Older::Run(key, ..)) => {
                Ok(self.known.look(key, |sections| sections.get(sections.index_of(revision)).1))
            }
            None => Ok(None),
        }
    }

    /// Looks at the sections of a stretch, all of them; `None` where damage breaks the links to them.
    #[inline]
    pub(crate) fn look<T>(&self, way: &Way, look: impl FnOnce(&known_places::Sections) -> T) -> Result<Option<T>> {
        match &way.by {
            By::Places(stretch) => self.look_places(stretch, look),
            By::Run(key) => Ok(self.known.look(*key, look)),
            By::Index(sections) => Ok(Some(look(sections))),
        }
    }

    #[inline]
    fn look_places<T>(&self, stretch: &Stretch, look: impl FnOnce(&known_places::Sections) -> T) -> Result<Option<T>> {
        let Some(key) = key_of(stretch) else { return Ok(None) };
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

    /// Forgets what is known of where a revision of the stretch lies: a frame could not be proven.
    #[cold]
    pub(crate) fn forget(&self, stretch: &Stretch, revision: Revision) {
        if let Some(key) = key_of(stretch) {
            return self.known.forget(key);
        }
        match self.older(stretch, revision) {
            Ok(Some(Older::Indexed(found))) => self.indexes.doubt(found.index.head.ordinal),
            Ok(Some(Older::Run(key, ..))) => self.known.forget(key),
            _ => {}
        }
    }

    /// First revisions and frames of the sections of a stretch, in order.
    #[cold]
    fn walk(&self, stretch: &Stretch) -> Result<Option<Vec<(Revision, Position)>>> {
        let Some((first, first_place)) = stretch.start else { return Ok(None) };
        let mut found = self.known.look((stretch.stream, first_place.0), |known| known.iter().collect::<Vec<_>>());
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
    pub(crate) fn place_before(&self, slot: u32, revision: Revision) -> Option<Placed> {
        let stream = self.streams.read().by_slot(slot).clone();
        stream.place_before(revision).or_else(|| self.indexed_near(&stream, revision).0)
    }

    /// As [`frame_holding`](Self::frame_holding), of a stream of the table, of which nothing is copied where all is as it should be.
    pub(crate) fn frame_of_slot(&self, slot: u32, revision: Revision) -> Result<Position> {
        let way = self.stretch(slot, revision)?;
        let place = self.look(&way, |sections| sections.get(sections.index_of(revision)).1)?;
        let stream = self.streams.read().by_slot(slot).id;
        match place.filter(|place| self.is_in(*place, stream, revision)) {
            Some(place) => Ok(place),
            None => {
                let stream = self.streams.read().by_slot(slot).clone();
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
        let stretch = stream.stretch(revision);
        if let Some(place) = self.place_of(&stretch, revision)? {
            if self.is_in(place, stream.id, revision) {
                return Ok(place);
            }
            self.forget(&stretch, revision);
        }
        match self.around(stream, revision)?.into_iter().next() {
            Some(Place::Frame(position)) => Ok(position),
            Some(Place::Lost(damage)) => Err(Error::from_damage(*damage)),
            None => Err(Error::new(
                crate::ErrorKind::NotFound,
                format!("revision {revision} of {:?} lies in no frame that is whole", stream.name),
            )),
        }
    }
}

/// What a stretch goes by in the cache.
#[inline]
fn key_of(stretch: &Stretch) -> Option<StretchKey> {
    stretch.start.map(|(_, place)| (stretch.stream, place.0))
}

/// The sections of a chunk that come before the next one.
fn listed(found: &IndexedChunk) -> Result<known_places::Sections, Fault> {
    let mut sections = Vec::with_capacity(found.chunk.sections as usize);
    found.chunk.walk(&found.index.file, &found.index.head, |revision, place| {
        let is_meant = found.next.is_none_or(|(next, _)| revision < next);
        if is_meant {
            sections.push((revision, place));
        }
        is_meant
    })?;
    match sections.first() {
        Some(_) => Ok(known_places::Sections::new(&sections, Position::ZERO)),
        None => Err(Fault::bad("a chunk of a segment index holds nothing")),
    }
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
