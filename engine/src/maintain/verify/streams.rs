//! Streams: does every section continue its stream, densely, by a link that leads where it should?
//!
//! For each stream its next revision and the frame of its last section are kept, nothing of its events. Where frames were
//! lost since a stream was last met, a gap of it is no news: the loss was reported.
//!
//! What a fork's item says of its lineage follows from the items before it: depth, jump link, and which stream holds the event that
//! is shared last, in which frame. Behind a loss that is not known, and not asked.

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
    /// How many forks lie between it and a stream that is none.
    depth: u64,
    /// Where its jump link leads: of a stream that is no fork to itself.
    jump: StreamId,
    /// The lowest fork revision before that; of a stream that is no fork the highest number there is.
    lowest: Revision,
    /// The stream of its lineage that holds the event that it shares last; itself where it is no fork.
    owner: StreamId,
    /// Revision of its next event.
    next: u64,
    /// A section says that it is one of the engine's own.
    is_engines: bool,
    /// The frame of its last section, or of its fork.
    last_place: Position,
    /// How many losses there were when it was last met.
    losses: u64,
    /// The segment in which an index block has named it last.
    pub(super) named_in: Option<SegmentOrdinal>,
}

impl Stream {
    fn new(id: StreamId, next: u64, last_place: Position, losses: u64) -> Stream {
        Stream {
            name: None,
            parent: None,
            depth: 0,
            jump: id,
            lowest: Revision(u64::MAX),
            owner: id,
            next,
            is_engines: false,
            last_place,
            losses,
            named_in: None,
        }
    }
}

/// What the item of a fork says of its lineage.
#[derive(Clone, Copy, Debug)]
struct Descent {
    parent: StreamId,
    revision: Revision,
    /// The frame that holds that revision.
    place: Position,
    depth: u64,
    jump: StreamId,
    jump_depth: u64,
    lowest: Revision,
}

/// What a fork's lineage is, as it follows from the items before.
#[derive(Clone, Copy, Debug)]
struct Lineage {
    depth: u64,
    jump: StreamId,
    jump_depth: u64,
    lowest: Revision,
    owner: StreamId,
}

/// Whether the frame at a position holds this revision in the section of this stream.
pub(super) type Holds<'h> = &'h dyn Fn(Position, StreamId, Revision) -> bool;

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
    /// How many streams there are of users, and of the engine.
    pub(super) fn counts(&self) -> (u64, u64) {
        let engines = self.by_id.values().filter(|stream| stream.is_engines).count();
        ((self.by_id.len() - engines) as u64, engines as u64)
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
                let stream = Stream::new(id, next, frame, self.losses);
                let stream = Stream { is_engines: section.is_engines, ..stream };
                self.create(id, name, stream, problems);
                return;
            }
            Origin::Continues { previous, .. } => previous,
        };
        let losses = self.losses;
        let Some(stream) = self.by_id.get_mut(&id) else {
            if losses == 0 {
                problems.push(format!("a section continues stream {id}, which no frame has made"));
            }
            let stream = Stream::new(id, next, frame, losses);
            self.by_id.insert(id, Stream { is_engines: section.is_engines, ..stream });
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

    fn create(&mut self, id: StreamId, name: &[u8], stream: Stream, problems: &mut Vec<String>) {
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
        if self.by_id.insert(id, Stream { name, ..stream }).is_some() {
            problems.push(format!("stream {id} is made twice"));
        }
    }

    /// Takes in the items of a batch frame: `wire` stands at the first of `count`. Returns the streams that forks made.
    pub(super) fn items(
        &mut self,
        mut wire: Wire<'_>,
        count: u32,
        frame: &Frame<'_>,
        holds: Holds<'_>,
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
                Item::Fork { name, parent, revision, parent_place: place, depth, jump, jump_depth, lowest } => {
                    let id = StreamId(position.0);
                    forked.push(id);
                    let descent = Descent { parent, revision, place, depth, jump, jump_depth, lowest };
                    let Lineage { depth, jump, lowest, owner, .. } = self.check_fork(descent, holds, problems);
                    let made = Stream::new(id, revision.0.saturating_add(1), frame.position, self.losses);
                    let made = Stream { parent: Some((parent, revision)), depth, jump, lowest, owner, ..made };
                    self.create(id, name.as_bytes(), made, problems);
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

    /// Holds what a fork says of its lineage against the log before it; returns what it is to be known by.
    fn check_fork(&self, said: Descent, holds: Holds<'_>, problems: &mut Vec<String>) -> Lineage {
        let Descent { parent, revision, place, depth, jump, jump_depth, lowest } = said;
        self.must_exist(parent, problems);
        let lineage = match self.by_id.get(&parent) {
            Some(known) if self.losses == 0 => {
                if known.next <= revision.0 {
                    problems
                        .push(format!("a fork leaves stream {parent} at revision {revision}, which it does not have"));
                }
                self.lineage_of_child(parent, known, revision)
            }
            _ => None,
        };
        let Some(due) = lineage else { return Lineage { depth, jump, jump_depth, lowest, owner: parent } };
        if depth != due.depth {
            problems.push(format!("a fork of stream {parent} says depth {depth}, that is {}", due.depth));
        }
        if (jump, jump_depth) != (due.jump, due.jump_depth) {
            problems.push(format!(
                "the jump link of a fork of stream {parent} leads to stream {jump} at depth {jump_depth}, {} at {} is due",
                due.jump, due.jump_depth
            ));
        }
        if lowest != due.lowest {
            problems.push(format!(
                "a fork of stream {parent} says that revision {lowest} is the lowest fork revision its jump link leaps over, \
                 that is {}",
                due.lowest
            ));
        }
        if !holds(place, due.owner, revision) {
            problems.push(format!(
                "a fork says that revision {revision} lies in the frame at {place}, which does not hold it of stream {}",
                due.owner
            ));
        }
        due
    }

    /// What a fork of a stream must say of its lineage.
    fn lineage_of_child(&self, parent: StreamId, known: &Stream, revision: Revision) -> Option<Lineage> {
        let near = self.by_id.get(&known.jump)?;
        let far = self.by_id.get(&near.jump)?;
        // The rule of skew-binary numbers: two links of one length become one.
        let is_even = known.depth.checked_sub(near.depth)? == near.depth.checked_sub(far.depth)?;
        let (jump, jump_depth, lowest) = match is_even {
            true => (near.jump, far.depth, revision.min(known.lowest).min(near.lowest)),
            false => (parent, known.depth, revision),
        };
        // Of ancestors that added nothing to what is shared none is looked at.
        let (mut owner, mut at) = (parent, known);
        while at.parent.is_some_and(|(_, shared)| revision <= shared) && at.owner < owner {
            owner = at.owner;
            at = self.by_id.get(&owner)?;
        }
        Some(Lineage { depth: known.depth + 1, jump, jump_depth, lowest, owner })
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
