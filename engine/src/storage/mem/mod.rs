//! A directory in memory, for tests and simulations.
//!
//! It behaves as a directory of the operating system does in everything that [`Storage`] promises, and in what it
//! promises of files that are gone: an open file and a mapping of a removed name stay good. Beyond that it is exact and
//! repeatable: clock, randomness, places and space are its own and can be set, any call can be made to fail.
//!
//! What it leaves to others: what a power loss keeps. Syncs are counted, and nothing is lost, unless a test asks for
//! [a disk below](MemStorage::model_disk).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;

use super::{Access, DirectoryEntry, FilePlace, FileSystem, Storage, StorageFile, check_name};
use crate::ids::BootId;

mod byte_locks;
mod controls;
mod file;

pub use controls::{Fault, Operation};

use controls::Controls;
use file::Inode;

/// The seed of [`MemStorage::new`].
const DEFAULT_SEED: u64 = 0x7472_6565_7269_6E67;

/// A directory in memory. Clones are the same directory.
#[derive(Clone, Debug)]
pub struct MemStorage {
    controls: Arc<Controls>,
    names: Arc<Mutex<BTreeMap<String, Arc<Inode>>>>,
}

impl Default for MemStorage {
    fn default() -> Self {
        MemStorage::new()
    }
}

impl MemStorage {
    /// An empty directory that behaves the same in every run.
    ///
    /// Two of them have the same randomness and the same places; for directories that are to differ see
    /// [`with_seed`](Self::with_seed).
    #[must_use]
    pub fn new() -> MemStorage {
        MemStorage::with_seed(DEFAULT_SEED)
    }

    /// An empty directory whose randomness, boot id and file system id come from `seed`.
    #[must_use]
    pub fn with_seed(seed: u64) -> MemStorage {
        MemStorage { controls: Arc::new(Controls::new(seed)), names: Arc::default() }
    }

    /// An independent directory with the same names and bytes, as a copy of the folder is: every file has a new place.
    /// Same machine (boot id, clock) and same space limit, of its own; no locks, faults or counts; other randomness.
    ///
    /// # Errors
    ///
    /// `StorageFull` where the limit was set below what is used; `OutOfMemory` where there is no memory.
    pub fn deep_copy(&self) -> io::Result<MemStorage> {
        let controls = Arc::new(self.controls.of_copy());
        let names = self.names.lock();
        let copies = names.iter().map(|(name, inode)| Ok((name.clone(), Arc::new(inode.copy(&controls)?))));
        let copies = copies.collect::<io::Result<_>>()?;
        Ok(MemStorage { controls, names: Arc::new(Mutex::new(copies)) })
    }

    /// Makes the call after the next `after` ones fail, and with `sticky` every later one.
    pub fn fail_after(&self, after: u64, error: io::ErrorKind, sticky: bool) {
        self.inject(Fault { after, error, sticky, on: None, keep: 0 });
    }

    /// Makes calls fail; takes the place of an earlier fault.
    ///
    /// Once a fault was met that makes every call fail, for ever, stores into [`SharedWords`](crate::storage::SharedWords) land nowhere either: so
    /// looks what a process does that is dead.
    pub fn inject(&self, fault: Fault) {
        self.controls.inject(Some(fault));
    }

    /// Whether a call that is made to fail panics instead, behind what it keeps.
    pub fn panic_at_faults(&self, panics: bool) {
        self.controls.set_faults_panic(panics);
    }

    /// Lets every call succeed again.
    pub fn clear_fault(&self) {
        self.controls.inject(None);
    }

    /// How many calls were made to fail so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.controls.failed()
    }

    /// How many calls of this kind there were, failed ones included.
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        self.controls.count_of(operation)
    }

    /// How many calls there were that can be made to fail.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.controls.operations()
    }

    /// How many writes there were, failed ones included. Copies into a mapping are no calls and not counted.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.count(Operation::Write)
    }

    /// How many syncs of files there were, failed ones included.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.count(Operation::Sync)
    }

    /// How many bytes writes have written.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.controls.written_bytes()
    }

    /// Limits the space of all files together, in bytes; counted in whole blocks of 4096.
    pub fn set_space_limit(&self, bytes: Option<u64>) {
        self.controls.set_space_limit(bytes);
    }

    /// How many bytes of space are taken, by removed files that are still open too.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.controls.used_bytes()
    }

    /// Sets the clock, in nanoseconds since 1970 UTC.
    pub fn set_clock(&self, now: i64) {
        self.controls.set_clock(now);
    }

    /// Moves the clock, in nanoseconds, either way.
    pub fn advance_clock(&self, by: i64) {
        self.controls.advance_clock(by);
    }

    /// By how many nanoseconds each look at the clock moves it: 1000 unless set; 0 lets it stand.
    pub fn set_clock_step(&self, step: i64) {
        self.controls.set_clock_step(step);
    }

    /// From now on keeps what a disk below would hold: a sync that succeeds puts there what was written since the last one, a
    /// sync that fails forgets what it was to put there, as ext4 does. Copies into a mapping are not followed.
    ///
    /// To be called before files are made.
    pub fn model_disk(&self) {
        self.controls.set_models_disk(true);
    }

    /// Reads again from the disk below, as the system does after it took the memory away, whatever is not waiting for a
    /// sync. Where a sync failed, that is not what was written.
    pub fn evict(&self) {
        self.names.lock().values().for_each(|inode| inode.evict());
    }

    /// Cuts a file short, or makes it longer by zeros, as other programs do and no method of [`Storage`].
    ///
    /// # Errors
    ///
    /// `NotFound` without such a file; what [`StorageFile::write_at`] says of one that cannot grow.
    pub fn set_len(&self, name: &str, len: u64) -> io::Result<()> {
        let names = self.names.lock();
        names.get(name).ok_or(Errno::NOENT)?.set_len(len)
    }

    /// Sets the number of the mount, as mounting the file system anew would; `None` as an old kernel would.
    pub fn set_mount_id(&self, mount_id: Option<u64>) {
        self.controls.set_mount_id(mount_id);
    }

    /// Has files know locks on bytes, or none from now on, as on a file system without them.
    pub fn set_byte_locks(&self, are_known: bool) {
        self.controls.set_byte_locks(are_known);
    }

    /// Sets the boot id, as another start of the machine would.
    pub fn set_boot_id(&self, boot_id: BootId) {
        self.controls.set_boot_id(boot_id);
    }
}

impl Storage for MemStorage {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn list(&self) -> io::Result<Vec<DirectoryEntry>> {
        self.controls.count(Operation::List)?;
        let entry = |(name, inode): (&String, &Arc<Inode>)| DirectoryEntry {
            name: name.clone(),
            is_file: true,
            len: inode.len(),
        };
        Ok(self.names.lock().iter().map(entry).collect())
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        self.controls.count(Operation::Open)?;
        check_name(name)?;
        let names = self.names.lock();
        Ok(names.get(name).ok_or(Errno::NOENT)?.open(access))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn StorageFile>> {
        self.controls.count(Operation::Create)?;
        check_name(name)?;
        let mut names = self.names.lock();
        if names.contains_key(name) {
            return Err(Errno::EXIST.into());
        }
        let inode = Arc::new(Inode::new(&self.controls, len)?);
        let file = inode.open(Access::ReadWrite);
        names.insert(name.to_owned(), inode);
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.controls.count(Operation::Rename)?;
        check_name(from)?;
        check_name(to)?;
        let mut names = self.names.lock();
        if !names.contains_key(from) {
            return Err(Errno::NOENT.into());
        }
        if names.contains_key(to) {
            return Err(Errno::EXIST.into());
        }
        if let Some(inode) = names.remove(from) {
            names.insert(to.to_owned(), inode);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.controls.count(Operation::Remove)?;
        check_name(name)?;
        let removed = self.names.lock().remove(name);
        removed.map(|inode| inode.unlink()).ok_or_else(|| Errno::NOENT.into())
    }

    fn leads_to(&self, name: &str, place: &FilePlace) -> io::Result<bool> {
        check_name(name)?;
        Ok(self.names.lock().get(name).is_some_and(|inode| inode.lies_at(place)))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.controls.count(Operation::SyncDirectory)
    }

    fn now(&self) -> i64 {
        self.controls.now()
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.controls.count(Operation::FillRandom)?;
        self.controls.fill_random(bytes);
        Ok(())
    }

    fn boot_id(&self) -> BootId {
        self.controls.boot_id()
    }

    fn mount_id(&self) -> Option<u64> {
        self.controls.mount_id()
    }

    fn file_system(&self) -> io::Result<FileSystem> {
        let free_bytes = self.controls.free_bytes();
        Ok(FileSystem { name: "memory".to_owned(), is_network: false, free_bytes })
    }
}

#[cfg(test)]
mod tests;
