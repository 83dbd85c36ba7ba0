//! Reading a part of the log: the events of some types, or of the streams whose names begin alike. What indexes say of where they lie
//! is looked at, so that the rest need not be.
//!
//! The index of a segment says whether it holds the type at all, and where, if it is rare; and where the events of each stream
//! lie. Of other segments nothing is known, and all of their frames are looked at. A reader hands out an event only after a
//! look at its type and stream.

use std::ops::Range;
use std::sync::Arc;

use crate::Result;
use crate::format::Fault;
use crate::format::segment_index::{postings, types};
use crate::ids::{Position, StreamId};
use crate::index::on_demand::Streams;
use crate::index::segment_indexes::{SegmentIndex, SegmentIndexes};
use crate::read::held::Held;
use crate::watermark::{Marks, Visibility};

/// So many streams at most are looked up in an index; of more, every frame is looked at.
const STREAMS_MAX: usize = 1 << 16;
/// So many places of a segment are listed at most.
const PLACES_MAX: usize = 1 << 16;

/// What is asked for, and what indexes say of where it lies.
#[derive(Debug)]
pub(crate) struct Only {
    /// Empty: of any.
    event_types: Vec<Box<str>>,
    named: Option<Named>,
    indexes: Arc<SegmentIndexes>,
    /// What is known of a segment: its range, where it ended, and the places that are asked for.
    here: Option<(Range<Position>, Position, Places)>,
}

/// Streams whose names begin alike.
#[derive(Debug)]
struct Named {
    prefix: Box<str>,
    streams: Arc<Streams>,
    marks: Arc<Marks>,
    /// Those that were made before `known_to`, in order; `None` where they are too many.
    ids: Option<Vec<StreamId>>,
    known_to: Position,
}

#[derive(Debug)]
enum Places {
    /// Any frame may hold it.
    Any,
    /// These do, and no others.
    Listed(Vec<Position>),
}

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing is known of the frame there.
    There,
    /// At this frame; what lies before it is not asked for.
    At(Position),
    /// Nothing more in the segment, which ends there.
    Behind(Position),
}

impl Only {
    /// Everything so far.
    pub(crate) fn new(indexes: &Arc<SegmentIndexes>) -> Only {
        Only { event_types: Vec::new(), named: None, indexes: Arc::clone(indexes), here: None }
    }

    /// Of it, only events of this type, and of those that this is called with else.
    pub(crate) fn of_type(mut self, name: &str) -> Only {
        self.event_types.push(name.into());
        self
    }

    /// Of it, only events of streams whose names begin with `prefix`.
    ///
    /// # Errors
    /// As reading the log, where the stream directory proves bad.
    pub(crate) fn of_streams(self, prefix: &str, streams: &Arc<Streams>, marks: &Arc<Marks>) -> Result<Only> {
        let (streams, marks) = (Arc::clone(streams), Arc::clone(marks));
        let mut named =
            Named { prefix: prefix.into(), streams, marks, ids: Some(Vec::new()), known_to: Position::ZERO };
        named.look_up()?;
        Ok(Only { named: Some(named), ..self })
    }

    /// Whether the event is asked for at which a reader stands.
    #[inline]
    pub(crate) fn is(&self, held: &Held) -> bool {
        (self.event_types.is_empty() || self.event_types.iter().any(|name| **name == *held.event_type()))
            && self.named.as_ref().is_none_or(|named| held.stream_name().starts_with(&*named.prefix))
    }

    /// Whether the frame at a place may hold what is asked for.
    pub(crate) fn may_be_in(&mut self, place: Position) -> bool {
        match self.places(place) {
            (_, Places::Any) => true,
            (_, Places::Listed(listed)) => listed.binary_search(&place).is_ok(),
        }
    }

    /// Where the next frame lies that may hold it, from a place on.
    pub(crate) fn next(&mut self, place: Position) -> Next {
        match self.places(place) {
            (_, Places::Any) => Next::There,
            (end, Places::Listed(listed)) => match listed.get(listed.partition_point(|listed| *listed < place)) {
                Some(next) => Next::At(*next),
                None => Next::Behind(end),
            },
        }
    }

    /// The index of the segment that holds a place said what is not so.
    #[cold]
    pub(crate) fn doubt(&mut self, place: Position) {
        if let Some(index) = self.indexes.holding(place) {
            self.indexes.doubt(index.head.ordinal);
        }
        self.here = None;
    }

    fn places(&mut self, place: Position) -> (Position, &Places) {
        if self.here.as_ref().is_none_or(|(range, ..)| !range.contains(&place)) {
            self.here = Some(self.look(place));
        }
        let (_, end, places) = self.here.as_ref().expect("it was just looked up");
        (*end, places)
    }

    fn look(&mut self, place: Position) -> (Range<Position>, Position, Places) {
        if let Some(index) = self.indexes.holding(place) {
            let (base, end) = (index.head.base, index.head.end);
            if base <= place && place < end {
                // Where it fails every frame is looked at: so no event is left out.
                let is_known = self.named.as_mut().is_none_or(|named| named.known_to >= end || named.look_up().is_ok());
                match self.listed(&index) {
                    Ok(places) if is_known => return (base..end, end, places),
                    Ok(_) => {}
                    Err(_) => self.indexes.doubt(index.head.ordinal),
                }
            }
        }
        // Of the next stretch nothing is known; what comes behind it is looked up when it is come to.
        let segment_bytes = self.indexes.segment_bytes();
        let start = place.0 / segment_bytes * segment_bytes;
        (Position(start)..Position(start + segment_bytes), place, Places::Any)
    }

    fn listed(&self, index: &SegmentIndex) -> Result<Places, Fault> {
        let of_types = (!self.event_types.is_empty()).then(|| of_types(index, &self.event_types)).transpose()?;
        let of_streams = self.named.as_ref().map(|named| named.places(index)).transpose()?;
        Ok(match (of_types, of_streams) {
            (Some(Places::Listed(mut these)), Some(Places::Listed(those))) => {
                these.retain(|place| those.binary_search(place).is_ok());
                Places::Listed(these)
            }
            (Some(Places::Listed(listed)), _) | (_, Some(Places::Listed(listed))) => Places::Listed(listed),
            _ => Places::Any,
        })
    }
}

impl Named {
    /// Looks up which there are by now.
    fn look_up(&mut self) -> Result<()> {
        if self.ids.is_none() {
            return Ok(()); // they do not become fewer
        }
        // First, so that all that were made before it are among those that are looked up then.
        let known_to = self.marks.visible(Visibility::Committed);
        let (mut ids, mut count) = (Vec::new(), 0);
        self.streams.with_prefix(&self.prefix, |stream| {
            count += 1;
            if count <= STREAMS_MAX {
                ids.push(stream.id);
            }
        })?;
        ids.sort_unstable();
        self.ids = (count <= STREAMS_MAX).then_some(ids);
        self.known_to = known_to;
        Ok(())
    }

    /// Where their events lie in a segment.
    fn places(&self, index: &SegmentIndex) -> Result<Places, Fault> {
        let Some(ids) = &self.ids else { return Ok(Places::Any) };
        let mut listed = Vec::new();
        let mut add = |record: postings::StreamRecord| -> Result<(), Fault> {
            for number in 0..record.chunks() {
                record.chunk(&index.file, &index.head, number)?.walk(&index.file, &index.head, |_, place| {
                    listed.push(place);
                    listed.len() <= PLACES_MAX
                })?;
            }
            Ok(())
        };
        // By those that are fewer: streams that are asked for, or streams of the segment.
        if index.head.streams < ids.len() as u64 {
            for number in 0..index.head.streams {
                let record = postings::nth(&index.file, &index.head, number)?;
                if ids.binary_search(&record.stream).is_ok() {
                    add(record)?;
                }
            }
        } else {
            for stream in ids {
                index.find(*stream)?.map_or(Ok(()), &mut add)?;
            }
        }
        if listed.len() > PLACES_MAX {
            return Ok(Places::Any);
        }
        listed.sort_unstable();
        listed.dedup(); // a frame may hold several of them
        Ok(Places::Listed(listed))
    }
}

/// Where a segment holds any of the types.
fn of_types(index: &SegmentIndex, names: &[Box<str>]) -> Result<Places, Fault> {
    let mut all = Vec::new();
    for name in names {
        match of_type(index, name)? {
            Places::Listed(listed) => all.extend(listed),
            Places::Any => return Ok(Places::Any),
        }
    }
    all.sort_unstable();
    all.dedup(); // a frame may hold several of them
    Ok(Places::Listed(all))
}

/// Where a segment holds a type.
fn of_type(index: &SegmentIndex, name: &str) -> Result<Places, Fault> {
    let Some(record) = types::find(&index.file, &index.head, name.as_bytes())? else {
        return Ok(Places::Listed(Vec::new()));
    };
    let Some(mut places) = record.places() else { return Ok(Places::Any) };
    let mut listed = Vec::new();
    while let Some(place) = places.next(&index.file, &index.head)? {
        listed.push(place);
    }
    Ok(Places::Listed(listed))
}
