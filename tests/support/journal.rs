//! A storage in memory that keeps account of what is durable, and can hold syncs back.
//!
//! For each file it knows up to which offset bytes were written and up to which a sync covers them. A sync covers what was
//! written before it *began*: bytes that arrive while it runs are not counted. It offers no mapped writes, so that every
//! byte of a store passes through here.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};

use treering::storage::mem::MemStorage;
use treering::storage::{
    Access, DirectoryEntry, FilePlace, FileSystem, LockHolder, LockKind, Mapping, Storage, StorageFile, WritableMapping,
};
use treering::{BootId, Position};

/// A storage that keeps account of its syncs.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    inner: MemStorage,
    account: Arc<Account>,
}

type InSync = dyn Fn(&str) -> io::Result<()> + Send + Sync;

#[derive(Default)]
struct Account {
    state: Mutex<State>,
    changed: Condvar,
    in_sync: Option<Box<InSync>>,
}

impl fmt::Debug for Account {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(to)
    }
}

#[derive(Debug, Default)]
struct State {
    written: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    syncs_begun: u64,
    are_syncs_held: bool,
}

/// Syncs that do not end while this lives.
pub struct HeldSyncs(Arc<Account>);

impl Drop for HeldSyncs {
    fn drop(&mut self) {
        self.0.state.lock().expect("no panic under the lock").are_syncs_held = false;
        self.0.changed.notify_all();
    }
}

impl Journal {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Journal {
        Journal::default()
    }

    /// An empty directory whose syncs of files do this between their beginning and their end: let others go on, fail, panic.
    /// It is told the file's name, for a prepared segment the one that it will have.
    #[must_use]
    pub fn with_syncs(in_sync: impl Fn(&str) -> io::Result<()> + Send + Sync + 'static) -> Journal {
        let account = Account { in_sync: Some(Box::new(in_sync)), ..Account::default() };
        Journal { account: Arc::new(account), ..Journal::default() }
    }

    /// The storage below, for its counts and faults.
    #[must_use]
    pub fn memory(&self) -> &MemStorage {
        &self.inner
    }

    /// Whether everything of the segment that holds `end - 1` was synced up to `end` by a sync that began after it was
    /// written.
    ///
    /// # Panics
    /// Never: the account's lock is not held across anything that panics.
    #[must_use]
    pub fn is_durable(&self, end: Position, segment_bytes: u64) -> bool {
        let (ordinal, offset) = ((end.0 - 1) / segment_bytes, (end.0 - 1) % segment_bytes + 1);
        let state = self.account.state.lock().expect("no panic under the lock");
        state.durable.get(&format!("{ordinal:016x}.segment")).is_some_and(|durable| *durable >= offset)
    }

    /// Syncs that begin from now on do not end before what this returns is dropped: also by a panic, behind which somebody may wait
    /// for a thread that syncs.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn hold_syncs(&self) -> HeldSyncs {
        self.account.state.lock().expect("no panic under the lock").are_syncs_held = true;
        HeldSyncs(Arc::clone(&self.account))
    }

    /// How many syncs of files have begun.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn syncs_begun(&self) -> u64 {
        self.account.state.lock().expect("no panic under the lock").syncs_begun
    }

    fn wrap(&self, name: &str, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        let name = name.replace(".prepared", ".segment");
        Arc::new(JournalFile { name, file, account: Arc::clone(&self.account) })
    }
}

impl Storage for Journal {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn list(&self) -> io::Result<Vec<DirectoryEntry>> {
        self.inner.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.wrap(name, self.inner.open(name, access)?))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.wrap(name, self.inner.create(name, len)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn leads_to(&self, name: &str, place: &FilePlace) -> io::Result<bool> {
        self.inner.leads_to(name, place)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.inner.sync_directory()
    }

    fn sync_name(&self) -> io::Result<()> {
        self.inner.sync_name()
    }

    fn now(&self) -> i64 {
        self.inner.now()
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.fill_random(bytes)
    }

    fn boot_id(&self) -> BootId {
        self.inner.boot_id()
    }

    fn file_system(&self) -> io::Result<FileSystem> {
        self.inner.file_system()
    }
}

#[derive(Debug)]
struct JournalFile {
    name: String,
    file: Arc<dyn StorageFile>,
    account: Arc<Account>,
}

impl JournalFile {
    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let name = self.name.clone();
        let covered = {
            let mut state = self.account.state.lock().expect("no panic under the lock");
            state.syncs_begun += 1;
            let covered = state.written.get(&name).copied().unwrap_or(0);
            self.account.changed.notify_all();
            drop(
                self.account.changed.wait_while(state, |state| state.are_syncs_held).expect("no panic under the lock"),
            );
            covered
        };
        self.account.in_sync.as_ref().map_or(Ok(()), |hook| hook(&name))?;
        sync()?;
        let mut state = self.account.state.lock().expect("no panic under the lock");
        let durable = state.durable.entry(name).or_default();
        *durable = covered.max(*durable);
        Ok(())
    }
}

impl StorageFile for JournalFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn read_direct_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_direct_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)?;
        let name = self.name.clone();
        let mut state = self.account.state.lock().expect("no panic under the lock");
        let written = state.written.entry(name).or_default();
        *written = (offset + bytes.len() as u64).max(*written);
        Ok(())
    }

    fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        self.file.allocate(range)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.file.punch(range)
    }

    fn allocated_len(&self) -> io::Result<u64> {
        self.file.allocated_len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(|| self.file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(|| self.file.sync_all())
    }

    fn map(&self) -> io::Result<Mapping> {
        self.file.map()
    }

    fn map_writable(&self, _range: Range<u64>) -> io::Result<WritableMapping> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }

    fn lock_holder(&self) -> Option<LockHolder> {
        self.file.lock_holder()
    }

    fn try_lock_byte(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        self.file.try_lock_byte(offset, kind)
    }

    fn unlock_byte(&self, offset: u64) -> io::Result<()> {
        self.file.unlock_byte(offset)
    }

    fn is_byte_locked(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        self.file.is_byte_locked(offset, kind)
    }

    fn byte_holders(&self, offset: u64) -> Vec<(LockHolder, LockKind)> {
        self.file.byte_holders(offset)
    }

    fn place(&self) -> io::Result<FilePlace> {
        self.file.place()
    }
}
