//! Which handles hold which bytes of a file in memory.
//!
//! Invariant: the list of a byte is not empty, names no handle twice, and has either one exclusive lock or shared ones alone.

use std::collections::BTreeMap;

use crate::storage::LockKind;

/// The locks on the bytes of one file.
#[derive(Debug, Default)]
pub(super) struct ByteLocks {
    held: BTreeMap<u64, Vec<(u64, LockKind)>>,
}

impl ByteLocks {
    /// Gives `handle` a lock of this kind, in place of the one that it has; whether the others let it.
    pub(super) fn take(&mut self, handle: u64, offset: u64, kind: LockKind) -> bool {
        if self.excludes(handle, offset, kind) {
            return false;
        }
        let holders = self.held.entry(offset).or_default();
        holders.retain(|(other, _)| *other != handle);
        holders.push((handle, kind));
        true
    }

    /// Takes the lock on a byte from `handle`, if there is one.
    pub(super) fn give_back(&mut self, handle: u64, offset: u64) {
        if let Some(holders) = self.held.get_mut(&offset) {
            holders.retain(|(other, _)| *other != handle);
            if holders.is_empty() {
                self.held.remove(&offset);
            }
        }
    }

    /// Takes all its locks from a handle.
    pub(super) fn forget(&mut self, handle: u64) {
        self.held.retain(|_, holders| {
            holders.retain(|(other, _)| *other != handle);
            !holders.is_empty()
        });
    }

    /// Whether a lock of another handle excludes one of this kind.
    pub(super) fn excludes(&self, handle: u64, offset: u64, kind: LockKind) -> bool {
        let excludes = |(other, held): &(u64, LockKind)| {
            *other != handle && (*held == LockKind::Exclusive || kind == LockKind::Exclusive)
        };
        self.held.get(&offset).is_some_and(|holders| holders.iter().any(excludes))
    }

    /// How the byte is locked: one kind, since others exclude each other.
    pub(super) fn kind(&self, offset: u64) -> Option<LockKind> {
        self.held.get(&offset).and_then(|holders| holders.first()).map(|(_, kind)| *kind)
    }
}
