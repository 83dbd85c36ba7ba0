//! The facade's part for projections: folding on, keeping a state beside its stream, taking it up.

use crate::projection::{Fold, Projection, kept};
use crate::snapshot::{Ignored, Snapshotted};
use crate::store::Store;
use crate::watermark::Visibility;
use crate::{Error, Result};

impl Store {
    /// Has a fold take everything behind its place, and says how many events that were.
    ///
    /// Damage goes to `damage`, which gives it back to stop there (`Err` does always) or takes it: then the fold goes on
    /// behind it and [has gaps](Fold::has_gaps). Stopped or not, the fold holds what was read so far.
    ///
    /// # Errors
    /// What `damage` gives back; [`Io`](crate::ErrorKind::Io) from the system; [`NotFound`](crate::ErrorKind::NotFound) for a
    /// stream that was there and is not; as [`read_all`](Store::read_all) where a saved state was taken up whose last event this
    /// log does not hold: then make the fold anew and catch up from the first event.
    pub fn catch_up<P: Projection>(
        &self,
        fold: &mut Fold<P>,
        visibility: Visibility,
        damage: impl FnMut(Error) -> Result<()>,
    ) -> Result<u64> {
        fold.catch_up(&self.view, visibility, damage)
    }

    /// Keeps the state of a fold over a stream in the log, beside the stream, for [`resume`](Store::resume). It is a
    /// [snapshot](Store::snapshot) of the revisions that were taken, and shown in no [context](Store::context). Every state that is kept
    /// stays: keep one now and then, not behind each event.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid): the fold is over the whole log, or has taken no event.
    /// [`Limit`](crate::ErrorKind::Limit): name or version of the projection are too long for a label.
    /// [`Damage`](crate::ErrorKind::Damage): events of the stream are lost, so nothing can be bound to it. Else as
    /// [`append`](Store::append).
    pub fn keep<P: Projection>(&self, fold: &Fold<P>) -> Result<Snapshotted> {
        kept::keep(&self.view, self.writer()?, fold)
    }

    /// Has a fold over a stream take up the newest state of its name and version that was [kept](Store::keep) for the stream, or
    /// for an ancestor before the stream left it. Where there is none the fold stays as it is. What was passed over since it is not
    /// bound to what is there, or is lost, is told; then an older one is taken up, or none.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid): the fold is over the whole log; or the projection refuses a state of its own name
    /// and version, and the fold is to be made anew. [`Io`](crate::ErrorKind::Io) from the system.
    pub fn resume<P: Projection>(&self, fold: &mut Fold<P>, visibility: Visibility) -> Result<Vec<Ignored>> {
        kept::resume(&self.view, fold, visibility)
    }
}
