//! What do the events come to? A fold of a stream, or of the whole log, that goes on where it stopped.
//!
//! A [`Projection`] is a function from a state and an event to the next state. A [`Fold`] runs it: it knows how far it has
//! read, reads on from there, and turns state and place into bytes from which a later process goes on.
//!
//! Invariants:
//! 1. The state is that of all events before the place, each taken once, in order. Rebuilt from the first event, and gone on with
//!    in any number of steps, saved and taken up between any two of them, it comes out the same.
//! 2. A saved state is used where this log holds the very event that it ends with, for the same name, version and source. It is
//!    derived: anything else means building it anew from the log, which is always possible.
//! 3. Nothing is passed over in silence: damage ends the reading or is taken by the caller, and a state with gaps says so.
//!
//! The binding to the history is a [`Token`](crate::Token). It names the stored check of its event's frame, and each frame's
//! check covers that of the frame before it: so it stands for the whole log up to there, and nothing is hashed again.
//!
//! Where a saved state is kept is left to the caller; the log itself is one place ([`kept`]).

mod fold;
pub(crate) mod kept;
mod saved;

pub use fold::{Fold, Source};
pub use saved::Unusable;

use crate::ids::{Position, Revision};
use crate::read::{Event, EventRef};

/// A fold over events.
///
/// ```
/// use treering::{Batch, EventView, Expected, Fold, NewEvent, Options, Projection, Store, Visibility};
///
/// /// How many bytes of payload there are.
/// #[derive(Default)]
/// struct Bytes(u64);
///
/// impl Projection for Bytes {
///     fn name(&self) -> &str {
///         "bytes"
///     }
///     fn version(&self) -> String {
///         "1".into()
///     }
///     fn apply(&mut self, event: &EventView<'_>) {
///         self.0 += event.payload.len() as u64;
///     }
///     fn save(&self) -> Vec<u8> {
///         self.0.to_le_bytes().into()
///     }
///     fn load(&mut self, state: &[u8]) -> Result<(), String> {
///         self.0 = u64::from_le_bytes(state.try_into().map_err(|_| "it has eight bytes")?);
///         Ok(())
///     }
/// }
///
/// # let folder = std::env::temp_dir().join(format!("treering-fold-{}", std::process::id()));
/// let store = Store::open(&folder, Options::new())?;
/// let _ = store.append(&Batch::to("s", Expected::Any, &[NewEvent::new("note", "one")]))?;
/// let mut fold = Fold::over_stream("s", Bytes::default());
/// store.catch_up(&mut fold, Visibility::Durable, Err)?;
/// let saved = fold.save();
///
/// // Later, perhaps in another process: only what is new is read.
/// let _ = store.append(&Batch::to("s", Expected::Any, &[NewEvent::new("note", "three")]))?;
/// let mut fold = Fold::over_stream("s", Bytes::default());
/// fold.resume(&saved).expect("it was saved by the same version");
/// assert_eq!(store.catch_up(&mut fold, Visibility::Durable, Err)?, 1);
/// assert_eq!(fold.projection().0, 8);
/// # store.close()?;
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok::<(), treering::Error>(())
/// ```
pub trait Projection {
    /// What it is called; saved states of other names are not taken.
    fn name(&self) -> &str;

    /// Which states it can go on from: changes with the code and with every setting that the state depends on.
    fn version(&self) -> String;

    /// Takes the next event. The state depends on nothing but the events so far: no clock, no chance, no file.
    fn apply(&mut self, event: &EventView<'_>);

    /// The whole state as bytes. Equal states give equal bytes.
    fn save(&self) -> Vec<u8>;

    /// Takes a state that [`save`](Self::save) gave, in the same version; the state before it is forgotten.
    ///
    /// # Errors
    /// Why the bytes are no such state, in words. Any bytes may come: no panic, and no more memory than they deserve. What
    /// the state is then does not matter, since nobody uses it.
    fn load(&mut self, state: &[u8]) -> Result<(), String>;
}

/// An event as projections see it, lent or held.
#[derive(Clone, Copy, Debug)]
pub struct EventView<'a> {
    /// The name of its stream.
    pub stream: &'a str,
    /// Its place in its stream.
    pub revision: Revision,
    /// Its place in the log.
    pub position: Position,
    /// The caller's id.
    pub id: Option<&'a str>,
    /// Its type.
    pub event_type: &'a str,
    /// When it was recorded, in nanoseconds since 1970 UTC.
    pub recorded_at: i64,
    /// When it happened, in nanoseconds since 1970 UTC, where that was said.
    pub occurred_at: Option<i64>,
    /// Its metadata.
    pub metadata: &'a [u8],
    /// Its payload.
    pub payload: &'a [u8],
}

impl EventView<'_> {
    /// When it happened, where that was said, else when it was recorded.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.occurred_at.unwrap_or(self.recorded_at)
    }
}

impl<'a> From<&EventRef<'a>> for EventView<'a> {
    fn from(event: &EventRef<'a>) -> EventView<'a> {
        EventView {
            stream: event.stream(),
            revision: event.revision(),
            position: event.position(),
            id: event.id(),
            event_type: event.event_type(),
            recorded_at: event.recorded_at(),
            occurred_at: event.occurred_at(),
            metadata: event.metadata(),
            payload: event.payload(),
        }
    }
}

impl<'a> From<&'a Event> for EventView<'a> {
    fn from(event: &'a Event) -> EventView<'a> {
        EventView {
            stream: &event.stream,
            revision: event.revision,
            position: event.position,
            id: event.id.as_deref(),
            event_type: &event.event_type,
            recorded_at: event.recorded_at,
            occurred_at: event.occurred_at,
            metadata: &event.metadata,
            payload: &event.payload,
        }
    }
}
