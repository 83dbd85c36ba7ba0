//! Making a snapshot: what is asked for, and what it is bound to.

use std::ops::Range;

use crate::append::{NewEvent, Receipt};
use crate::commit::snapshot::SnapshotParts;
use crate::commit::writer::Writer;
use crate::follow::view::View;
use crate::format::chain::Link;
use crate::format::item::Item;
use crate::ids::{BatchId, Revision, StreamId};
use crate::index::streams::Stream;
use crate::lineage::ChainValue;
use crate::options::Durability;
use crate::planted::{Plant, planted};
use crate::snapshot::{ENGINES_LABELS, Snapshot, find, side_stream};
use crate::{Error, ErrorKind, Result, limits};

/// Events that are to stand for a range of a stream.
#[derive(Clone, Debug)]
#[must_use = "nothing is appended before the store is asked to"]
pub struct NewSnapshot<'a> {
    stream: &'a str,
    range: Range<Revision>,
    label: &'a str,
    version: &'a str,
    events: &'a [NewEvent<'a>],
    id: Option<BatchId>,
    durability: Option<Durability>,
    is_engines: bool,
}

impl<'a> NewSnapshot<'a> {
    /// Of the revisions `range` of `stream`, its end not included, under a label: the name of a strategy, a model, a projection.
    pub fn new(stream: &'a str, range: Range<Revision>, label: &'a str, events: &'a [NewEvent<'a>]) -> NewSnapshot<'a> {
        NewSnapshot { stream, range, label, version: "", events, id: None, durability: None, is_engines: false }
    }

    /// With a label that belongs to the engine.
    pub(crate) fn of_state(
        stream: &'a str,
        range: Range<Revision>,
        label: &'a str,
        version: &'a str,
        events: &'a [NewEvent<'a>],
    ) -> NewSnapshot<'a> {
        NewSnapshot { version, is_engines: true, ..NewSnapshot::new(stream, range, label, events) }
    }

    /// The version of what made it. Default: none.
    pub fn version(mut self, version: &'a str) -> NewSnapshot<'a> {
        self.version = version;
        self
    }

    /// The id of its batch: appended again with it, it is the first one.
    pub fn with_id(mut self, id: BatchId) -> NewSnapshot<'a> {
        self.id = Some(id);
        self
    }

    /// What the call waits for; otherwise the store's option decides.
    pub fn durability(mut self, durability: Durability) -> NewSnapshot<'a> {
        self.durability = Some(durability);
        self
    }

    fn check(&self) -> Result<()> {
        let invalid = |what: String| Err(Error::new(ErrorKind::Invalid, what));
        if self.label.is_empty() {
            return invalid("a snapshot's label must not be empty; it tells strategies and models apart".into());
        }
        if self.label.starts_with(ENGINES_LABELS) && !self.is_engines {
            return invalid(format!(
                "a snapshot's label must not begin with {ENGINES_LABELS}, which is for the engine's own, as {:?} does",
                self.label
            ));
        }
        for (what, text) in [("label", self.label), ("version", self.version)] {
            if text.len() > limits::LABEL_BYTES_MAX {
                let message =
                    format!("a snapshot's {what} is {} bytes at most, not {}", limits::LABEL_BYTES_MAX, text.len());
                return Err(Error::new(ErrorKind::Limit, message));
            }
        }
        if self.range.start >= self.range.end {
            let Range { start, end } = &self.range;
            return invalid(format!(
                "a snapshot stands for one revision at least, and {start}..{end} holds none; the end is not included"
            ));
        }
        Ok(())
    }
}

/// A snapshot that is in the log.
#[derive(Clone, Debug)]
#[must_use = "it says which level of durability was reached"]
pub struct Snapshotted {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Of its batch.
    pub receipt: Receipt,
}

/// Appends a snapshot. What it is bound to is found out before the turn of a writer is taken, since it does not change.
pub(crate) fn make(view: &View, writer: &Writer, new: &NewSnapshot<'_>) -> Result<Snapshotted> {
    new.check()?;
    // The range may be of events that another process has appended just now.
    view.refresh()?;
    let finder = &view.finder;
    let source = view.stream(new.stream)?.ok_or_else(|| Error::no_stream(new.stream))?;
    let Range { start: first, end } = new.range;
    if end.0 - 1 > source.last_event.0 {
        return Err(beyond(&source, &new.range));
    }
    let id = (source.id, new.stream);
    let given = find::newest_value(view, &source, first.0)?;
    let chain_before = chain_behind(view, id, first.0, given)?;
    let chain_end = chain_behind(view, id, end.0, Some((first.0, chain_before)).filter(|_| first.0 > 0))?;
    let chain_end = if planted(Plant::SnapshotChainStale) { chain_before } else { chain_end };
    let owner = finder.forks.owner_of(source.id, Revision(end.0 - 1))?;
    let place = finder.frame_of(owner, Revision(end.0 - 1))?;
    let side = side_stream(source.id, new.label);
    let item = Item::Snapshot {
        section: 0,
        source: source.id,
        first,
        end,
        place,
        chain_before,
        chain_end,
        label: new.label,
        version: new.version,
    };
    let parts = SnapshotParts { side: &side, events: new.events, id: new.id, durability: new.durability };
    let receipt = writer.append_snapshot(parts, item)?;
    let section = &receipt.sections[0];
    let snapshot = Snapshot {
        source: source.id,
        range: new.range.clone(),
        label: new.label.into(),
        version: new.version.into(),
        stream: section.stream.clone(),
        events: section.first_revision..Revision(section.last_revision.0 + 1),
        position: receipt.position,
        chain: [chain_before, chain_end],
        place,
    };
    Ok(Snapshotted { snapshot, receipt })
}

/// The chain behind so many events of the source; what it cannot be folded over is told as what it is to the range.
fn chain_behind(view: &View, id: (StreamId, &str), count: u64, given: Option<ChainValue>) -> Result<Link> {
    view.chains.behind(&view.finder, id, count, given).map_err(|error| {
        let message = format!("the range cannot be bound to its history: {error}");
        match error.damage() {
            Some(damage) => Error::with_damage(damage.clone(), message),
            None => error,
        }
    })
}

#[cold]
fn beyond(source: &Stream, range: &Range<Revision>) -> Error {
    let message = format!(
        "the stream {:?} ends with revision {}, so nothing can stand for {}..{}; the end of the range is not included",
        source.name, source.last_event, range.start, range.end
    );
    Error::new(ErrorKind::NotFound, message)
}
