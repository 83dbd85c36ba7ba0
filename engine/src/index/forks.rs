//! Where a fork leaves its parent, as its item in the log says it, and which stream really holds the event that it shares last.
//!
//! The identity of a fork is the position of its item, so no table of forks is kept: what the item says is read where it
//! stands, once, and remembered in bounded memory. A parent is older than its child by position, so no walk up a lineage
//! goes in circles, whatever the items say.

use std::sync::Arc;

use foldhash::HashMap;

use crate::format::Fault;
use crate::format::batch::Sections;
use crate::format::frame::{Frame, KIND_BATCH};
use crate::format::item::Item;
use crate::ids::{Position, Revision, StreamId};
use crate::index::find::damage_at;
use crate::index::on_demand::Streams;
use crate::planted::{Plant, planted};
use crate::segment::resync;
use crate::segment::set::SegmentSet;
use crate::segment::walk::{LogWalk, Walked};
use crate::sync::Mutex;
use crate::{DamageClass, Error, Result};

/// So many forks are remembered at most: a few megabytes.
const KEPT: usize = 1 << 16;

/// What a fork's item says, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForkLink {
    pub(crate) parent: StreamId,
    /// The last revision that it shares with its parent.
    pub(crate) revision: Revision,
    /// The frame that holds it.
    pub(crate) place: Position,
    pub(crate) depth: u64,
    pub(crate) jump: StreamId,
    pub(crate) jump_depth: u64,
    /// The lowest revision at which it, or an ancestor that the link leaps over, leaves its parent.
    pub(crate) lowest: Revision,
}

/// The forks of a store, read on demand.
#[derive(Debug)]
pub(crate) struct Forks {
    set: Arc<SegmentSet>,
    streams: Arc<Streams>,
    known: Mutex<HashMap<StreamId, Option<Known>>>,
}

/// Where the link of a fork leads that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jump {
    pub(crate) to: StreamId,
    pub(crate) depth: u64,
    /// The lowest fork revision before that, of the fork's own and those of the ancestors between.
    pub(crate) lowest: Revision,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    link: ForkLink,
    /// What holds the event that is shared last, once that was asked for.
    owner: Option<Owner>,
}

/// What holds the event that a fork shares last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The stream of the lineage to which it was appended.
    pub(crate) stream: StreamId,
    /// The frame that holds it; `None` where the lineage says which stream it is, and not the item.
    pub(crate) place: Option<Position>,
}

impl Forks {
    pub(crate) fn new(set: Arc<SegmentSet>, streams: Arc<Streams>) -> Forks {
        Forks { set, streams, known: Mutex::default() }
    }

    /// The fork that made a stream; `None` for a stream that none made.
    ///
    /// # Errors
    /// [`Damage`](crate::ErrorKind::Damage) where its item is lost.
    pub(crate) fn of(&self, stream: StreamId) -> Result<Option<ForkLink>> {
        if let Some(known) = self.known.lock().get(&stream) {
            return Ok(known.map(|known| known.link));
        }
        let link = match self.read(stream) {
            Err(error) if error.damage().is_some() => Some(self.listed(stream)?.ok_or(error)?),
            read => read?,
        };
        self.keep(stream, link.map(|link| Known { link, owner: None }));
        Ok(link)
    }

    /// What holds the event that a fork shares last.
    ///
    /// # Errors
    /// As [`of`](Self::of); [`Damage`](crate::ErrorKind::Damage) where neither the event's frame nor the lineage says it.
    pub(crate) fn owner(&self, fork: StreamId, link: &ForkLink) -> Result<Owner> {
        if let Some(Some(Known { owner: Some(owner), .. })) = self.known.lock().get(&fork) {
            return Ok(*owner);
        }
        let owner = self.find_owner(link)?;
        self.keep(fork, Some(Known { link: *link, owner: Some(owner) }));
        Ok(owner)
    }

    /// The stream of the lineage of `stream` to which its event at `revision` was appended: the first from there that leaves its
    /// parent before that, or leaves none. Takes as many looks as a skew-binary list does, logarithmic in the depth.
    ///
    /// # Errors
    /// [`Damage`](crate::ErrorKind::Damage) where the lineage is lost on the way.
    pub(crate) fn owner_of(&self, stream: StreamId, revision: Revision) -> Result<StreamId> {
        let mut at = stream;
        loop {
            at = match self.of(at) {
                Ok(Some(link)) if link.revision < revision => return Ok(at),
                Ok(Some(link)) if link.lowest >= revision && link.jump < at => link.jump,
                Ok(Some(link)) => link.parent,
                Ok(None) => return Ok(at),
                // What made it is lost: whether it has an event of its own there may stand elsewhere.
                Err(error) if error.damage().is_some() => {
                    let first = self.streams.of_id(at, |stream| stream.first)?;
                    return first.filter(|first| *first <= revision).map(|_| at).ok_or(error);
                }
                Err(error) => return Err(error),
            };
        }
    }

    fn keep(&self, stream: StreamId, found: Option<Known>) {
        let mut known = self.known.lock();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(stream, found);
    }

    /// How many forks lie between a stream and one that is none.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(crate) fn depth(&self, stream: StreamId) -> Result<u64> {
        Ok(self.of(stream)?.map_or(0, |link| link.depth))
    }

    /// The ancestor of a stream that lies `depth` forks deep, or the stream itself; `None` where it is not that deep.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(crate) fn ancestor(&self, stream: StreamId, depth: u64) -> Result<Option<StreamId>> {
        let mut at = stream;
        loop {
            let Some(link) = self.of(at)? else { return Ok((depth == 0).then_some(at)) };
            at = match link.depth {
                here if here == depth => return Ok(Some(at)),
                here if here < depth => return Ok(None),
                // An item that says what cannot be leads to its parent: that is always older.
                _ if (depth..link.depth).contains(&link.jump_depth) && link.jump < at => link.jump,
                _ => link.parent,
            };
        }
    }

    /// The link that a fork of `parent` at `revision` gets: an ancestor by the rule of skew-binary numbers.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(crate) fn jump_of_child(&self, parent: StreamId, revision: Revision) -> Result<Jump> {
        let Some(link) = self.of(parent)? else { return Ok(Jump { to: parent, depth: 0, lowest: revision }) };
        let over = self.of(link.jump)?;
        let (to, depth) = over.map_or((link.jump, 0), |over| (over.jump, over.jump_depth));
        let is_even = link.depth.saturating_sub(link.jump_depth) == link.jump_depth.saturating_sub(depth);
        if !is_even || planted(Plant::ForkJumpsToParent) {
            return Ok(Jump { to: parent, depth: link.depth, lowest: revision });
        }
        let above = over.map_or(link.lowest, |over| over.lowest.min(link.lowest));
        let lowest = if planted(Plant::ForkLowestOwn) { revision } else { revision.min(above) };
        Ok(Jump { to, depth, lowest })
    }

    /// The link of a fork whose frame is lost, as an index block has it; those of its ancestors that are lost too are looked up on
    /// the way, and none twice.
    #[cold]
    fn listed(&self, stream: StreamId) -> Result<Option<ForkLink>> {
        let mut lost = Vec::new();
        let mut at = stream;
        // Down to an ancestor whose depth is known.
        let depth = loop {
            let known = self.known.lock().get(&at).copied();
            let link = match known {
                Some(known) => known.map(|known| known.link),
                None => match self.read(at) {
                    Err(error) if error.damage().is_some() => {
                        let position = Position(at.0);
                        let segment = self.set.holding(position)?;
                        let last_block = self.set.at_or_behind(position).map(|known| known.last_index_block);
                        let found = last_block.and_then(|last_block| resync::lost_fork(&segment, at, last_block));
                        match found.filter(|fork| fork.parent < at) {
                            Some(fork) => {
                                lost.push((at, fork.parent, fork.revision));
                                at = fork.parent;
                                continue;
                            }
                            // Not known to be a fork: as far as can be told the lineage begins here.
                            None if at == stream => return Ok(None),
                            None => None,
                        }
                    }
                    read => read?,
                },
            };
            break link.map_or(0, |link| link.depth);
        };
        let mut newest = None;
        for ((fork, parent, revision), above) in lost.into_iter().rev().zip(depth..) {
            // Where the shared event lies is found by way of the parent.
            let place = Position::ZERO;
            let link = ForkLink {
                parent,
                revision,
                place,
                depth: above + 1,
                jump: parent,
                jump_depth: above,
                lowest: revision,
            };
            if fork != stream {
                self.keep(fork, Some(Known { link, owner: None }));
            }
            newest = Some(link);
        }
        Ok(newest)
    }

    /// What stands in the log at the stream's identity.
    fn read(&self, stream: StreamId) -> Result<Option<ForkLink>> {
        let position = Position(stream.0);
        let bad = |frame: &Frame<'_>, fault: &Fault| match self.set.holding(position) {
            Ok(here) => Error::from_damage(here.damage(
                frame.position,
                frame.end(),
                DamageClass::Damage,
                format!("the items of the frame cannot be read: {fault}"),
            )),
            Err(error) => error,
        };
        // A fork mostly has a frame to itself, which then begins where its item stands.
        let segment = self.set.holding(position)?;
        if position.0.is_multiple_of(8)
            && let Ok(frame) = segment.frame(position, segment.file_end())
            && frame.events() == 0
        {
            return item_in(&frame, stream).map_err(|fault| bad(&frame, &fault));
        }
        let mut walk = LogWalk::new(Arc::clone(&self.set), position);
        loop {
            match walk.next(Position::MAX)? {
                Walked::Frame(place) if place.position <= position && position < place.end() => {
                    let frame = walk.frame(place);
                    return item_in(&frame, stream).map_err(|fault| bad(&frame, &fault));
                }
                Walked::Frame(place) if place.end() <= position => {}
                Walked::Damage(damage) if damage.positions.contains(&position) => {
                    return Err(Error::from_damage(*damage));
                }
                Walked::Damage(damage) if damage.positions.end <= position => {}
                _ => return Ok(None),
            }
        }
    }

    fn find_owner(&self, link: &ForkLink) -> Result<Owner> {
        // The item leads to the frame. What it holds is believed of a stream of the lineage alone.
        if let Some(there) = self.section_at(link)
            && (there == link.parent || self.is_ancestor(there, link.parent)?)
        {
            return Ok(Owner { stream: there, place: Some(link.place) });
        }
        let stream = self.owner_of(link.parent, link.revision)?;
        if self.streams.of_id(stream, |_| ())?.is_none() {
            let damage = damage_at(&self.set, Position(stream.0));
            return Err(damage.map_or_else(|| no_parent(stream), Error::from_damage));
        }
        Ok(Owner { stream, place: None })
    }

    /// Whether one stream is an ancestor of another; not, where what would say so is lost.
    fn is_ancestor(&self, there: StreamId, of: StreamId) -> Result<bool> {
        match self.depth(there).and_then(|depth| self.ancestor(of, depth)) {
            Err(error) if error.damage().is_some() => Ok(false),
            found => Ok(found? == Some(there)),
        }
    }

    /// The stream whose section in the frame at the link's place holds the last shared revision, if that is one only.
    fn section_at(&self, link: &ForkLink) -> Option<StreamId> {
        let segment = self.set.holding(link.place).ok()?;
        let frame = segment.frame(link.place, segment.file_end()).ok()?;
        if frame.kind() != KIND_BATCH {
            return None;
        }
        let mut sections = Sections::new(frame).ok()?;
        let mut found = None;
        while let Some(section) = sections.next().ok()? {
            let holds = (section.first_revision..=section.last_revision()).contains(&link.revision);
            match found {
                _ if !holds => {}
                _ if section.stream == link.parent => return Some(section.stream),
                None => found = Some(section.stream),
                Some(_) => return None,
            }
        }
        found
    }
}

/// The fork item that makes a stream, if it stands in the frame.
fn item_in(frame: &Frame<'_>, stream: StreamId) -> Result<Option<ForkLink>, Fault> {
    if frame.kind() != KIND_BATCH {
        return Ok(None);
    }
    let (mut items, count) = Sections::new(*frame)?.items()?;
    for number in 0..u64::from(count) {
        let position = Position(frame.position.0 + u64::from(frame.events()) + number);
        if let Item::Fork { parent, revision, parent_place: place, depth, jump, jump_depth, lowest, .. } =
            Item::decode(&mut items, frame.position, position)?
            && position.0 == stream.0
        {
            return Ok(Some(ForkLink { parent, revision, place, depth, jump, jump_depth, lowest }));
        }
    }
    Ok(None)
}

#[cold]
fn no_parent(parent: StreamId) -> Error {
    Error::new(
        crate::ErrorKind::Unsupported,
        format!("a fork says that it continues stream {parent}, which the log does not hold; `verify` says more"),
    )
}
