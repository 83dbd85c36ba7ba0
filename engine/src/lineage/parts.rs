//! Which parts of which streams a fork's history is made of.

use std::sync::Arc;

use crate::ids::{Revision, StreamId};
use crate::index::find::Finder;
use crate::index::forks::Owner;
use crate::index::streams::Stream;
use crate::read::own_reader::Part;
use crate::{Error, Result};

/// The parts of what a fork shares with its ancestors.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The newest first.
    pub(crate) parts: Vec<Part>,
    /// Why older ones are not known.
    pub(crate) lost: Option<Error>,
}

/// The parts that hold the revisions from `from` to `upto` of the fork `stream`, none of which is its own; `None` where it is no
/// fork. Costs a few looks for each part; ancestors between them that added nothing to it cost nothing.
///
/// # Errors
/// As reading the log, where that is not damage.
pub(crate) fn shared(finder: &Finder, stream: StreamId, from: Revision, upto: Revision) -> Result<Option<Shared>> {
    let mut shared = Shared::default();
    let (mut at, mut upto) = (stream, upto);
    loop {
        let next = match step(finder, at, from, upto) {
            Ok(Some(next)) => next,
            Ok(None) => return Ok((at != stream).then_some(shared)),
            Err(error) if error.damage().is_some() => {
                shared.lost = Some(error);
                return Ok(Some(shared));
            }
            Err(error) => return Err(error),
        };
        let Step { part, first, owner } = next;
        shared.parts.extend(part);
        match first.0.checked_sub(1) {
            Some(before) if first > from => (at, upto) = (owner, Revision(before.min(upto.0))),
            _ => return Ok(Some(shared)),
        }
    }
}

/// All that a stream has of its own.
pub(crate) fn own(stream: &Stream) -> Part {
    Part {
        stream: stream.id,
        name: Arc::clone(&stream.name),
        from: stream.first,
        to: stream.last_event,
        lost_up_to: stream.head,
        place: None,
    }
}

struct Step {
    part: Option<Part>,
    /// The first revision that the owner of the part has of its own.
    first: Revision,
    owner: StreamId,
}

/// From a fork to the stream that holds the event at `upto`, or the one it shares last.
fn step(finder: &Finder, at: StreamId, from: Revision, upto: Revision) -> Result<Option<Step>> {
    let Some(link) = finder.forks.of(at)? else { return Ok(None) };
    // From far behind, no ancestor is asked that has nothing of what is wanted.
    let owner = match upto < link.revision {
        true => Owner { stream: finder.forks.owner_of(at, upto)?, place: None },
        false => finder.forks.owner(at, &link)?,
    };
    let upto = upto.min(link.revision);
    finder.streams.of_id(owner.stream, |stream| {
        let part = (upto >= stream.first).then(|| Part {
            stream: owner.stream,
            name: Arc::clone(&stream.name),
            from: stream.first.max(from),
            to: stream.last_event.min(upto),
            lost_up_to: upto,
            place: owner.place.filter(|_| upto <= stream.last_event),
        });
        Step { part, first: stream.first, owner: owner.stream }
    })
}
