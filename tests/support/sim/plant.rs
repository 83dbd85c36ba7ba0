//! Planted bugs: promises of the storage that are broken on purpose, to see that a test notices.
//!
//! Each stands for a mistake of the engine that has the same effect on the disk: a sync that is dropped is one that the
//! engine forgot.

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Syncs of segments do nothing.
    NoSegmentSync,
    /// Syncs of segments that still have their prepared name do nothing: renamed before it was synced.
    NoPreparedSync,
    /// Syncs of the identity file do nothing, under either name.
    NoIdentitySync,
    /// Syncs of the directory do nothing.
    NoDirectorySync,
    /// A sync leaves the last change out.
    SyncReturnsEarly,
    /// A sync that fails says that it succeeded.
    SyncErrorsHidden,
    /// A write that stops early says that it did not.
    ShortWritesHidden,
    /// Random bytes are always the same.
    SameSalts,
    /// Every lock is free.
    LocksAreFree,
}

impl Plant {
    /// Whether a sync of the file with this name does nothing.
    #[must_use]
    pub fn drops_sync_of(self, name: &str) -> bool {
        match self {
            Plant::NoSegmentSync => name.ends_with(".segment"),
            Plant::NoPreparedSync => name.ends_with(".prepared"),
            Plant::NoIdentitySync => name.starts_with("identity"),
            _ => false,
        }
    }
}
