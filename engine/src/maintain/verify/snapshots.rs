//! Snapshots: is each bound to what is really there?
//!
//! Looked at once the walk is over, for the sources that have any: the chain of a source is folded from its first event on, once,
//! through its forks. What is lost in a range is told as damage already, and says nothing of the snapshot.

use std::sync::Arc;

use crate::error::{Damage, DamageClass};
use crate::format::chain::Link;
use crate::ids::{Position, Revision, StreamId};
use crate::index::find::Finder;
use crate::index::segment_indexes::SegmentIndexes;
use crate::lineage::Chains;
use crate::recovery::open::Found;
use crate::snapshot;
use crate::{Error, Result};

/// What an item says of a snapshot, and the frame that it stands in.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) frame: Position,
    pub(super) end_of_frame: Position,
    pub(super) source: StreamId,
    pub(super) first: Revision,
    pub(super) end: Revision,
    pub(super) place: Position,
    pub(super) chain: [Link; 2],
}

/// The frames of snapshots that stand for something else than what is there.
pub(super) fn check(found: &Found, mut all: Vec<Bound>) -> Result<Vec<Damage>> {
    let mut damage = Vec::new();
    if all.is_empty() {
        return Ok(damage);
    }
    let (set, streams) = (Arc::clone(&found.set), Arc::clone(&found.streams));
    let finder = Arc::new(Finder::new(Arc::clone(&set), streams, Arc::new(SegmentIndexes::new(set))));
    let chains = Chains::default();
    // So that each value of a chain goes on from the one before.
    all.sort_by_key(|bound| (bound.source, bound.end, bound.first));
    for bound in all {
        let why = match mismatch(&finder, &chains, &bound) {
            Ok(Some(why)) => why,
            Ok(None) => continue,
            Err(error) if error.damage().is_some() => continue,
            Err(error) => return Err(error),
        };
        let segment = finder.set.holding(bound.frame)?;
        let detail = format!(
            "its snapshot of revisions {}..{} of stream {} does not stand for what is there: {why}; it is ignored",
            bound.first, bound.end, bound.source
        );
        let lost = segment.damage(bound.frame, bound.end_of_frame, DamageClass::Damage, detail);
        damage.push(Damage { streams: Some(Vec::new()), ..lost });
    }
    Ok(damage)
}

fn mismatch(finder: &Arc<Finder>, chains: &Chains, bound: &Bound) -> Result<Option<&'static str>> {
    let Some(name) = finder.streams.name_of(bound.source)? else { return Ok(None) }; // that was told
    let is_missing = |error: &Error| error.kind() == crate::ErrorKind::NotFound;
    for (count, said) in [bound.first, bound.end].into_iter().zip(bound.chain) {
        match chains.behind(finder, (bound.source, &name), count.0, None) {
            Ok(chain) if chain == said => {}
            Ok(_) => return Ok(Some("its chain is not that of the range")),
            Err(error) if is_missing(&error) => return Ok(Some("the stream ends before the range does")),
            Err(error) => return Err(error),
        }
    }
    let holds = snapshot::holds_last(finder, bound.source, bound.end, bound.place)?;
    Ok((!holds).then_some(snapshot::NOT_THERE))
}
