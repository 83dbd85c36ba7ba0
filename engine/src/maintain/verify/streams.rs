//! Streams: does every section continue its stream, densely, by a link that leads where it should?
//!
//! For each stream its next revision and the frame of its last section are kept, nothing of its events. Where frames were
//! lost since a stream was last met, a gap of it is no news: the loss was reported.

use std::collections::HashMap;
use std::sync::Arc;

use super::snapshots::Bound;
use crate::error::Damage;
use crate::format::Fault;
use crate::format::batch::{Origin, Section};
use crate::format::frame::Frame;
use crate::format::item::Item;
use crate::format::wire::{Wire, text};
use crate::ids::{Position, Revision, SegmentOrdinal, StreamId};

/// A stream so far.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// `None` where the frame that made it is lost.
    pub(super) name: Option<Arc<str>>,
    /// Parent and fork revision, where it is a fork.
    pub(super) parent: Option<(StreamId, Revision)>,
    /// Revision of its next event.
    next: u64,
    /// The frame of its last section, or of its fork.
    last_place: Position,
    /// How many losses there were when it was last met.
    losses: u64,
    /// The segment in which an index block has named it last.
    pub(super) named_in: Option<SegmentOrdinal>,
}

/// All streams so far.
#[derive(Debug, Default)]
pub(super) struct Streams {
    by_id: HashMap<StreamId, Stream>,
    by_name: HashMap<Arc<str>, StreamId>,
    /// The newest claim of each stream that was claimed with a token.
    claims: HashMap<StreamId, Position>,
    /// What is to be held against the streams once all of them are known.
    pub(super) snapshots: Vec<Bound>,
    /// How many stretches of the log were lost so far.
    losses: u64,
}

impl Streams {
    pub(super) fn len(&self) -> u64 {
        self.by_id.len() as u64
    }

    pub(super) fn get_mut(&mut self, stream: StreamId) -> Option<&mut Stream> {
        self.by_id.get_mut(&stream)
    }

    /// Gives the streams that damage is said to hold their names.
    pub(super) fn name_in(&self, damage: &mut Damage) {
        damage.name_streams(|stream| self.by_id.get(&stream)?.name.as_deref().map(Into::into));
    }

    /// Frames were lost.
    pub(super) fn note_loss(&mut self) {
        self.losses += 1;
    }

    /// Whether anything was lost so far.
    pub(super) fn has_losses(&self) -> bool {
        self.losses > 0
    }

    /// Takes a section in; what does not fit goes to `problems`.
    pub(super) fn section(&mut self, section: &Section<'_>, frame: Position, problems: &mut Vec<String>) {
        let next = section.first_revision.0.saturating_add(u64::from(section.count));
        let id = section.stream;
        let previous = match section.origin() {
            Origin::Creates { name } => {
                self.create(id, name, None, next, frame, problems);
                return;
            }
            Origin::Continues { previous, .. } => previous,
        };
        let losses = self.losses;
        let Some(stream) = self.by_id.get_mut(&id) else {
            if losses == 0 {
                problems.push(format!("a section continues stream {id}, which no frame has made"));
            }
            self.by_id.insert(id, Stream { name: None, parent: None, next, last_place: frame, losses, named_in: None });
            return;
        };
        let first = section.first_revision.0;
        let may_miss = stream.losses < losses;
        if stream.last_place == frame {
            problems.push(format!("stream {id} has two sections in the frame"));
        } else if first < stream.next || (first > stream.next && !may_miss) {
            problems.push(format!("revision {} of stream {id} was due, {first} stands there", stream.next));
        } else if previous != stream.last_place && !(may_miss && previous > stream.last_place) {
            problems.push(format!(
                "the section before of stream {id} lies at {}, the link leads to {previous}",
                stream.last_place
            ));
        }
        stream.next = next.max(stream.next);
        stream.last_place = frame;
        stream.losses = losses;
    }

    fn create(
        &mut self,
        id: StreamId,
        name: &[u8],
        parent: Option<(StreamId, Revision)>,
        next: u64,
        place: Position,
        problems: &mut Vec<String>,
    ) {
        let name: Option<Arc<str>> = match text(name, "the name of a stream") {
            Ok(name) => Some(name.into()),
            Err(fault) => {
                problems.push(fault.to_string());
                None
            }
        };
        if let Some(name) = &name
            && let Some(other) = self.by_name.insert(Arc::clone(name), id)
        {
            problems.push(format!("stream {id} is made with the name {name:?}, which stream {other} has"));
        }
        let stream = Stream { name, parent, next, last_place: place, losses: self.losses, named_in: None };
        if self.by_id.insert(id, stream).is_some() {
            problems.push(format!("stream {id} is made twice"));
        }
    }

    /// Takes in the items of a batch frame: `wire` stands at the first of `count`. Returns the streams that forks made.
    pub(super) fn items(
        &mut self,
        mut wire: Wire<'_>,
        count: u32,
        frame: &Frame<'_>,
        problems: &mut Vec<String>,
    ) -> Result<Vec<StreamId>, Fault> {
        let mut forked = Vec::new();
        for index in 0..count {
            let events = u64::from(frame.events());
            let position = Position(frame.position.0 + events + u64::from(index));
            if position >= frame.end() {
                return Err(Fault::bad("a frame has more items than bytes"));
            }
            match Item::decode(&mut wire, frame.position, position)? {
                Item::Fork { name, parent, revision, depth, .. } => {
                    let id = StreamId(position.0);
                    forked.push(id);
                    self.check_fork(parent, revision, depth, problems);
                    let (parent, next) = (Some((parent, revision)), revision.0.saturating_add(1));
                    self.create(id, name.as_bytes(), parent, next, frame.position, problems);
                }
                Item::Accept(accept) => {
                    for (stream, head) in accept.decode()?.1 {
                        if let Some(stream) = self.by_id.get_mut(&stream) {
                            stream.next = head.map_or(0, |head| head.0.saturating_add(1));
                        }
                    }
                }
                Item::Snapshot { source, first, end, place, chain_before, chain_end, .. } => {
                    self.must_exist(source, problems);
                    let (frame, end_of_frame) = (frame.position, frame.end());
                    let chain = [chain_before, chain_end];
                    self.snapshots.push(Bound { frame, end_of_frame, source, first, end, place, chain });
                }
                Item::Claim { stream, .. } => {
                    self.must_exist(stream, problems);
                    self.claims.insert(stream, position);
                }
                Item::Fence { stream, claim } => {
                    self.must_exist(stream, problems);
                    self.check_fence(stream, claim, problems);
                }
                Item::Cursor { .. } | Item::Unknown { .. } => {}
            }
        }
        Ok(forked)
    }

    fn check_fork(&self, parent: StreamId, revision: Revision, depth: u64, problems: &mut Vec<String>) {
        self.must_exist(parent, problems);
        if let Some(known) = self.by_id.get(&parent)
            && self.losses == 0
        {
            if known.next <= revision.0 {
                problems.push(format!("a fork leaves stream {parent} at revision {revision}, which it does not have"));
            }
            if known.parent.is_none() && depth != 1 {
                problems.push(format!("a fork of stream {parent}, which is none, has depth {depth}"));
            }
        }
    }

    fn check_fence(&self, stream: StreamId, claim: Position, problems: &mut Vec<String>) {
        let newest = self.claims.get(&stream);
        if self.losses == 0 && newest != Some(&claim) {
            let newest = newest.map_or_else(|| "none".to_owned(), |newest| format!("the one at {newest}"));
            problems.push(format!("a fence names claim {claim} of stream {stream}, whose newest claim is {newest}"));
        }
    }

    fn must_exist(&self, stream: StreamId, problems: &mut Vec<String>) {
        if self.losses == 0 && !self.by_id.contains_key(&stream) {
            problems.push(format!("an item names stream {stream}, which no frame has made"));
        }
    }
}
