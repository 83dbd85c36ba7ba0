//! Work as users ask for it: which streams have something to do, and what was begun in one and has no outcome.
//!
//! How it is found is said in `follow/work.rs` and `follow/intents.rs`.

use crate::Result;
use crate::follow::{WorkFinder, WorkOptions, open_intents};
use crate::read::{Event, ReadOptions};
use crate::store::Store;

impl Store {
    /// Finds the streams that have something to do: see [`WorkFinder`], which has not looked yet.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) where types are missing, or one of them both asks for work and ends it; as
    /// [`subscribe`](Store::subscribe).
    pub fn find_work(&self, options: WorkOptions) -> Result<WorkFinder> {
        WorkFinder::new(self.view(), options)
    }

    /// The intents of a stream that have no outcome yet: what somebody was about to do, and nobody says whether it was done.
    ///
    /// Who does something outside of the log, such as a call to a tool, appends an event of one of the types `intents` before it,
    /// and one of the types `outcomes` behind it. An intent and its outcome have the same [id](crate::NewEvent::id): an outcome ends
    /// all intents with its id that are open. One without an id ends the oldest open intent that has none either. So an intent
    /// that is handed out is one whose process died between the two, or is at it still: whoever has the
    /// [claim](Store::claim) on the stream looks at the world, and does it again or says what became of it.
    ///
    /// `options` say where to begin and what is visible, such as [`from`](ReadOptions::from) behind a snapshot. Costs a look at each event
    /// of the stream from there on.
    ///
    /// # Errors
    /// [`Damage`](crate::ErrorKind::Damage) where events of the stream are lost: an outcome may be among them.
    /// [`Invalid`](crate::ErrorKind::Invalid) for a type that is both, and where they are read backwards.
    /// As [`read_stream`](Store::read_stream).
    pub fn open_intents(
        &self,
        name: &str,
        intents: &[&str],
        outcomes: &[&str],
        options: ReadOptions<'_>,
    ) -> Result<Vec<Event>> {
        open_intents(intents, outcomes, &options, || self.read_stream(name, options))
    }
}
