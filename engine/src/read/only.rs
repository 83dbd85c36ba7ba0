//! Reading the events of one type alone: what indexes say of where they lie, so that the rest is not looked at.
//!
//! The index of a segment says whether it holds the type at all, and where, if it is rare. Of other segments nothing is known,
//! and all of their frames are looked at. A reader hands out an event only after a look at its type.

use std::ops::Range;
use std::sync::Arc;

use crate::format::Fault;
use crate::format::segment_index::types;
use crate::ids::Position;
use crate::index::segment_indexes::{SegmentIndex, SegmentIndexes};

/// The one type that is asked for.
#[derive(Debug)]
pub(crate) struct OnlyType {
    name: Box<str>,
    indexes: Arc<SegmentIndexes>,
    /// What is known of a segment: its range, where it ended, and the places of the type.
    here: Option<(Range<Position>, Position, Places)>,
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

impl OnlyType {
    pub(crate) fn new(name: &str, indexes: &Arc<SegmentIndexes>) -> OnlyType {
        OnlyType { name: name.into(), indexes: Arc::clone(indexes), here: None }
    }

    /// Whether this is the type.
    #[inline]
    pub(crate) fn is(&self, event_type: &str) -> bool {
        *self.name == *event_type
    }

    /// Whether the frame at a place may hold the type.
    pub(crate) fn may_be_in(&mut self, place: Position) -> bool {
        match self.places(place) {
            (_, Places::Any) => true,
            (_, Places::Listed(listed)) => listed.binary_search(&place).is_ok(),
        }
    }

    /// Where the next frame lies that may hold the type, from a place on.
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

    fn look(&self, place: Position) -> (Range<Position>, Position, Places) {
        if let Some(index) = self.indexes.holding(place) {
            let (base, end) = (index.head.base, index.head.end);
            if base <= place && place < end {
                match listed(&index, &self.name) {
                    Ok(places) => return (base..end, end, places),
                    Err(_) => self.indexes.doubt(index.head.ordinal),
                }
            }
        }
        // Of the next stretch nothing is known; what comes behind it is looked up when it is come to.
        let segment_bytes = self.indexes.segment_bytes();
        let start = place.0 / segment_bytes * segment_bytes;
        (Position(start)..Position(start + segment_bytes), place, Places::Any)
    }
}

fn listed(index: &SegmentIndex, name: &str) -> Result<Places, Fault> {
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
