//! Fail-stop: after the first write or sync whose effect is unknown, nobody writes until the store is reopened.

use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::{Error, ErrorKind, Result};

/// Whether the store may still be written.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    poisoned: AtomicBool,
    cause: Mutex<Option<(ErrorKind, String)>>,
}

impl Poison {
    /// Why all writing is about to be stopped. The first cause stays.
    pub(crate) fn note(&self, cause: &Error) {
        self.cause.lock().get_or_insert_with(|| (cause.kind(), cause.to_string()));
    }

    /// Stops all writing.
    pub(crate) fn set(&self, cause: &Error) {
        self.note(cause);
        self.poisoned.store(true, Ordering::SeqCst);
    }

    /// Fails where writing was stopped.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        match self.poisoned.load(Ordering::SeqCst) {
            false => Ok(()),
            true => Err(self.error()),
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.poisoned.load(Ordering::SeqCst)
    }

    /// The error that everyone gets once writing was stopped. Where files were removed to open the store again helps nobody.
    pub(crate) fn error(&self) -> Error {
        let (kind, cause) = self.cause.lock().clone().unwrap_or((ErrorKind::Io, String::new()));
        if kind == ErrorKind::Removed {
            return Error::new(kind, cause);
        }
        let message = format!(
            "an earlier write or sync had an unknown effect ({cause}); reopen the store, then append again with the same batch ids"
        );
        Error::new(ErrorKind::Poisoned, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p06_the_first_cause_stops_all_writing() {
        let poison = Poison::default();
        poison.note(&Error::new(ErrorKind::Io, "first"));
        poison.check().expect("nothing is stopped yet");
        poison.set(&Error::new(ErrorKind::Io, "second"));
        let error = poison.check().expect_err("stopped");
        assert!(error.is_outcome_unknown() && error.to_string().contains("first"));
    }
}
