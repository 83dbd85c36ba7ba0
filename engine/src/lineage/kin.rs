//! How streams are related: from which one a fork comes, what two streams share, where they part.

use std::sync::Arc;

use foldhash::HashMap;

use crate::ids::{Revision, StreamId};
use crate::index::find::Finder;
use crate::index::streams::Stream;
use crate::lineage::parts;
use crate::{Error, Result};

/// Where a stream leaves another one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForkPoint {
    /// The fork.
    pub stream: StreamId,
    /// Its name.
    pub name: Arc<str>,
    /// The stream that it leaves.
    pub parent: StreamId,
    /// The name of that.
    pub parent_name: Arc<str>,
    /// The last revision that both share.
    pub revision: Revision,
    /// How many forks lie between the stream and one that is none: 1 for a fork of such a stream.
    pub depth: u64,
}

/// What two streams have in common, and what each has of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parting {
    /// The stream to which the last event was appended that both share, and its revision; `None` where they share nothing.
    pub shared: Option<(Arc<str>, Revision)>,
    /// The heads of the two.
    pub heads: [Revision; 2],
}

impl Parting {
    /// How many events both share.
    #[must_use]
    pub fn shared_events(&self) -> u64 {
        self.shared.as_ref().map_or(0, |(_, revision)| revision.0 + 1)
    }

    /// How many events each of the two has behind those that both share.
    #[must_use]
    pub fn added(&self) -> [u64; 2] {
        self.heads.map(|head| (head.0 + 1).saturating_sub(self.shared_events()))
    }
}

/// Where a stream leaves its parent; `None` where it is no fork.
///
/// # Errors
/// [`Damage`](crate::ErrorKind::Damage) where the frame is lost that says it.
pub(crate) fn fork_point(finder: &Finder, stream: StreamId) -> Result<Option<ForkPoint>> {
    let Some(link) = finder.forks.of(stream)? else { return Ok(None) };
    let name = |stream: StreamId| {
        Ok::<_, Error>(finder.streams.name_of(stream)?.unwrap_or_else(|| format!("${stream}").into()))
    };
    Ok(Some(ForkPoint {
        stream,
        name: name(stream)?,
        parent: link.parent,
        parent_name: name(link.parent)?,
        revision: link.revision,
        depth: link.depth,
    }))
}

/// The forks that lead to a stream, its own first; nothing for a stream that is none.
///
/// # Errors
/// As [`fork_point`].
pub(crate) fn lineage(finder: &Finder, name: &str) -> Result<Vec<ForkPoint>> {
    let mut points = Vec::new();
    let mut at = named(finder, name)?.id;
    while let Some(point) = fork_point(finder, at)? {
        at = point.parent;
        points.push(point);
    }
    Ok(points)
}

/// What two streams share, and where they part.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) where there is no such stream; [`Damage`](crate::ErrorKind::Damage) where the lineage of one is
/// lost before they meet.
pub(crate) fn parting(finder: &Finder, one: &str, other: &str) -> Result<Parting> {
    let (one, other) = (named(finder, one)?, named(finder, other)?);
    let (these, those) = (owned(finder, &one)?, owned(finder, &other)?);
    // Newest first. Where both have a part of one stream, they share it up to where the first of them leaves it, and all
    // that comes before: the first such part is the newest.
    let ends: HashMap<StreamId, Revision> = those.parts.iter().map(|part| (part.stream, part.to)).collect();
    let shared = these.parts.iter().find_map(|part| {
        let to = ends.get(&part.stream)?;
        Some((Arc::clone(&part.name), part.to.min(*to)))
    });
    if let (None, Some(lost)) = (&shared, these.lost.or(those.lost)) {
        return Err(lost);
    }
    Ok(Parting { shared, heads: [one.last_event, other.last_event] })
}

/// All parts of a stream, its own included, the newest first.
fn owned(finder: &Finder, stream: &Stream) -> Result<parts::Shared> {
    let mut all = match stream.first.0.checked_sub(1) {
        Some(upto) => parts::shared(finder, stream.id, Revision(0), Revision(upto))?.unwrap_or_default(),
        None => parts::Shared::default(),
    };
    if stream.last_event >= stream.first {
        all.parts.insert(0, parts::own(stream));
    }
    Ok(all)
}

fn named(finder: &Finder, name: &str) -> Result<Stream> {
    finder.streams.of_name(name, Stream::clone)?.ok_or_else(|| Error::no_stream(name))
}
