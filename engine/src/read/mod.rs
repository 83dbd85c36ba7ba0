//! Reading: events lent from the mapped log, in the order of a stream or of the whole store.
//!
//! Every event is proven before it is handed out: its frame's header and place in the chain of a walk, its own check.
//! Damage is handed out between the events, with its range; a reader may be asked to go on behind it.

mod event;
mod held;
mod log_reader;
pub(crate) mod look_up;
mod only;
mod options;
pub(crate) mod own_reader;
pub(crate) mod place;

use crate::{Error, Result};

pub use event::{Event, EventRef};
pub use log_reader::{LogReader, ReadAllOptions};
pub(crate) use only::Only;
pub use options::ReadOptions;

/// Guards mapped reads of this process against signals, for good: where a file of a store is cut short by somebody else while it
/// is mapped, or its device fails, whoever reads there gets an [`Io`](crate::ErrorKind::Io) error that names the file and the
/// bytes, instead of the process being ended by `SIGBUS`. Where it is the page through which writers know of each other they go on
/// with another one.
///
/// It sets a handler for that signal, which takes faults inside of this crate's mappings and passes all others to the handler
/// that was there before. It is for programs, such as the command line, to decide on, not for libraries: a handler set later
/// that does not pass on what is not its own disables it. What was lent before a page was lost reads as zeros from then on.
/// Calling it again does nothing.
///
/// # Errors
/// [`Io`](crate::ErrorKind::Io) where the system refuses.
pub fn guard_mapped_reads() -> Result<()> {
    crate::storage::guard::install().map_err(|error| Error::io("install", "the guard of mapped reads", error))
}
