//! States that are kept in the log: as snapshots of the stream that they are folded from.
//!
//! A state is one event of a snapshot of all revisions that were taken, labelled `$projection/` and the name of the projection, with
//! its version. So it is bound to the stream, the range and the chain at its end, a fork has the states of its parent from before
//! the fork point, and one that is not bound to what is there is passed over and told. The place to read on from is in the event, as
//! [`Fold::save`] gives it: state and place come together or not at all.

use crate::append::NewEvent;
use crate::commit::writer::Writer;
use crate::follow::view::View;
use crate::ids::{Position, Revision};
use crate::projection::{Fold, Projection, Source, Unusable};
use crate::snapshot::{self, Ignored, NewSnapshot, Snapshotted};
use crate::watermark::Visibility;
use crate::{Error, ErrorKind, Result};

/// Type of the event that holds a state.
const STATE_TYPE: &str = "$state";

fn label(projection: &impl Projection) -> String {
    format!("{}{}", snapshot::PROJECTION_LABELS, projection.name())
}

fn stream_of<P: Projection>(fold: &Fold<P>) -> Result<&str> {
    match fold.source() {
        Source::Stream(name) => Ok(name),
        Source::Log => Err(Error::new(
            ErrorKind::Invalid,
            "a state of the whole log is of no stream that it could be kept beside; keep what Fold::save gives elsewhere",
        )),
    }
}

/// What [`Store::keep`](crate::Store::keep) does.
pub(crate) fn keep<P: Projection>(view: &View, writer: &Writer, fold: &Fold<P>) -> Result<Snapshotted> {
    let stream = stream_of(fold)?;
    let state = fold.save();
    let (label, version) = (label(fold.projection()), fold.projection().version());
    let events = [NewEvent::new(STATE_TYPE, &state)];
    // Revisions are dense from the first on, and where some are lost no range over them can be bound.
    let new = NewSnapshot::of_state(stream, Revision(0)..Revision(fold.events()), &label, &version, &events);
    snapshot::make(view, writer, &new)
}

/// What [`Store::resume`](crate::Store::resume) does.
pub(crate) fn resume<P: Projection>(view: &View, fold: &mut Fold<P>, visibility: Visibility) -> Result<Vec<Ignored>> {
    let stream = stream_of(fold)?.to_owned();
    let (label, version) = (label(fold.projection()), fold.projection().version());
    let mut ignored = Vec::new();
    let mut before = Position::MAX;
    loop {
        let newest = snapshot::newest_of(view, &stream, (&label, &version), (visibility, before), &mut ignored)?;
        let Some(found) = newest else { return Ok(ignored) };
        before = found.position;
        let event = view.event(&found.stream, found.events.start, visibility);
        let taken = event.map(|event| event.map(|event| fold.resume_kept(&event.payload)));
        let why = match taken {
            Ok(Some(Ok(()))) => return Ok(ignored),
            Ok(None) => Error::new(ErrorKind::NotFound, "the event that holds the state is not there"),
            // The projection may have taken half of it.
            Ok(Some(Err(why @ Unusable::State(_)))) => return Err(Error::new(ErrorKind::Invalid, why.to_string())),
            Ok(Some(Err(why))) => Error::new(ErrorKind::Invalid, why.to_string()),
            Err(why) if why.damage().is_some() => why,
            Err(why) => return Err(why),
        };
        ignored.push(Ignored { stream: found.stream.clone(), snapshot: Some(found), why });
    }
}
