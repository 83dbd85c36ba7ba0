//! Forking a stream: one frame with one item, whatever the history.
//!
//! The item is made under the writer's turn, so that a fork at the head leaves it where it is in the log just then. It leads
//! to the frame that really holds the last shared event, so that no reader has to ask every ancestor for it.

use crate::append::{Batch, Fork, Forked, FrameProof, Receipt, check_stream_name};
use crate::commit::admit::head_unknown;
use crate::commit::writer::Writer;
use crate::error::Conflict;
use crate::format::item::Item;
use crate::ids::{Epoch, Position, Revision, StreamId};
use crate::index::forks::Jump;
use crate::index::streams::Stream;
use crate::options::Durability;
use crate::planted::{Plant, planted};
use crate::{Error, ErrorKind, Result};

impl Writer {
    /// Makes a fork and waits for its level.
    pub(crate) fn fork(&self, fork: &Fork<'_>) -> Result<Forked> {
        check_stream_name(fork.name)?;
        let batch = fork.id.map_or_else(Batch::new, Batch::with_id);
        let level = fork.durability.unwrap_or(self.options.durability);
        let mut receipt = Receipt::begun();
        let mut made = None;
        let put = self.put_with(&batch, 0, level, &mut receipt, |_, _| {
            let item = self.fork_item(fork)?;
            if let Item::Fork { parent, revision, .. } = item {
                made = Some((parent, revision));
            }
            Ok(vec![item])
        });
        let mut forked = match (put, made) {
            (Ok(()), Some((parent, revision))) => {
                let stream = StreamId(receipt.position.0);
                Forked { name: fork.name.into(), stream, parent, revision, receipt }
            }
            (Err(error), _) => match error.kind() {
                ErrorKind::Conflict => self.forked_before(fork)?.ok_or(error)?,
                _ => return Err(error),
            },
            (Ok(()), None) => unreachable!("a batch without sections is never found to be there already"),
        };
        if level == Durability::Synced && !planted(Plant::ForkAckBeforeSync) {
            self.wait_durable(forked.receipt.end)?;
            forked.receipt.level = Durability::Synced;
        }
        Ok(forked)
    }

    /// What the log is to say of the fork, as it stands now.
    fn fork_item<'a>(&self, fork: &Fork<'a>) -> Result<Item<'a>> {
        self.streams.load(fork.parent)?;
        self.streams.load(fork.name)?;
        let unknown_until = self.doubts.unknown_until.max(self.streams.unknown_until());
        let streams = self.streams.read();
        if let Some(there) = streams.by_name(fork.name) {
            return Err(name_taken(there));
        }
        if unknown_until > Position::ZERO {
            return Err(head_unknown(fork.name)); // a stream of this name may be among what is lost
        }
        let parent = streams.by_name(fork.parent).ok_or_else(|| Error::no_stream(fork.parent))?;
        let revision = fork.revision.unwrap_or(parent.last_event);
        if revision > parent.last_event {
            return Err(no_revision(parent, revision));
        }
        // Not a copy of all that is known of the parent: that grows with its history.
        let (parent, first) = (parent.id, parent.first);
        drop(streams);
        let forks = &self.finder.forks;
        let owner = if revision < first { forks.owner_of(parent, revision)? } else { parent };
        let mut parent_place = self.finder.frame_of(owner, revision)?;
        parent_place.0 += if planted(Plant::ForkPlaceOff) { 8 } else { 0 };
        let Jump { to: jump, depth: jump_depth, lowest } = forks.jump_of_child(parent, revision)?;
        let depth = forks.depth(parent)? + 1;
        Ok(Item::Fork { name: fork.name, parent, revision, parent_place, depth, jump, jump_depth, lowest })
    }

    /// The fork that an earlier try with the same id has made, if that is what goes by the name.
    fn forked_before(&self, fork: &Fork<'_>) -> Result<Option<Forked>> {
        let (Some(id), Some(stream)) = (fork.id, self.id_of(fork.name)?) else { return Ok(None) };
        let (Some(link), Some(parent)) = (self.finder.forks.of(stream)?, self.id_of(fork.parent)?) else {
            return Ok(None);
        };
        if link.parent != parent || fork.revision.is_some_and(|revision| revision != link.revision) {
            return Ok(None);
        }
        let position = Position(stream.0);
        let segment = self.set.holding(position)?;
        let Ok(frame) = segment.frame(position, segment.file_end()) else { return Ok(None) };
        if frame.batch() != id {
            return Ok(None);
        }
        let is_durable = self.marks.get().durable >= frame.end();
        let receipt = Receipt {
            batch: id,
            epoch: Epoch { segment: segment.ordinal(), takeover: frame.takeover() },
            incarnation: segment.head.open.incarnation,
            position,
            end: frame.end(),
            level: if is_durable { Durability::Synced } else { Durability::Written },
            is_repeated: true,
            sections: Default::default(),
            proof: FrameProof {
                store: self.set.store.store,
                first_number: frame.first_number(),
                check: frame.frame_check(),
            },
        };
        Ok(Some(Forked { name: fork.name.into(), stream, parent, revision: link.revision, receipt }))
    }
}

fn name_taken(there: &Stream) -> Error {
    let message = format!(
        "the stream {:?} exists, at revision {}; give the fork another name, or go on with what is there",
        there.name, there.head
    );
    let position = Position(there.head_position.0 + 1);
    Error::from_conflict(Conflict { stream: (*there.name).into(), actual: Some(there.head), position }, message)
}

fn no_revision(parent: &Stream, revision: Revision) -> Error {
    let (name, last) = (&parent.name, parent.last_event);
    let why = match revision > parent.head {
        true => format!("it ends with revision {last}"),
        false => format!("what followed revision {last} was lost, which was accepted"),
    };
    let way_out = "fork at an earlier revision, or leave it out for the newest";
    Error::new(ErrorKind::NotFound, format!("the stream {name:?} has no revision {revision}: {why}; {way_out}"))
}
