//! What a panic means for a store that is written: as an error of unknown effect does, it stops all writing.
//!
//! A panic unwinds through whatever was under way: a frame may be in the file that the end of the log does not know, or the
//! other way round, and locks are let go of as if all was well. So who holds the end of the log, takes in what others appended, or
//! works for the writer in the background holds an [`Unwinding`] beside it, which is dropped before the locks are. Who leads a
//! sync has the same by other means, since nobody may wait for it for ever.

use crate::commit::writer::Writer;
use crate::sync::is_panicking;
use crate::{Error, ErrorKind};

/// Stops all writing where it is dropped by a panic.
#[derive(Debug)]
pub(crate) struct Unwinding<'w> {
    writer: &'w Writer,
    what: &'static str,
    /// The store is used by a destructor that runs for another panic, which is not of its doing.
    was_panicking: bool,
}

impl Writer {
    /// To be held while `what` is done.
    #[inline]
    pub(crate) fn stop_on_panic(&self, what: &'static str) -> Unwinding<'_> {
        Unwinding { writer: self, what, was_panicking: is_panicking() }
    }
}

impl Drop for Unwinding<'_> {
    #[inline]
    fn drop(&mut self) {
        if is_panicking() && !self.was_panicking {
            let _ = self.writer.stop(&Error::new(ErrorKind::Io, format!("a thread panicked that {}", self.what)));
        }
    }
}
