//! A storage that counts the bytes that are read from it, the files that are opened, and how often it is listed.
//!
//! Mapped reads are not seen: a store is opened with [`ReadMode::Positioned`](treering::ReadMode::Positioned), which reads what
//! a mapping would have fetched.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use treering::storage::mem::MemStorage;
use treering::storage::{
    Access, DirectoryEntry, FileSystem, LockHolder, LockKind, Mapping, SharedWords, Storage, StorageFile,
    WritableMapping,
};
use treering::{BootId, FilePlace};

/// See the module.
#[derive(Clone, Debug)]
pub struct Counting {
    inner: MemStorage,
    read: Arc<AtomicU64>,
    opened: Arc<AtomicU64>,
    listed: Arc<AtomicU64>,
    named: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountingFile {
    inner: Arc<dyn StorageFile>,
    read: Arc<AtomicU64>,
}

impl Counting {
    /// Counts what is read of this storage from now on.
    #[must_use]
    pub fn new(inner: &MemStorage) -> Counting {
        let (read, opened, listed, named) = Default::default();
        Counting { inner: inner.clone(), read, opened, listed, named }
    }

    /// How many bytes were read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// How many files were opened, or not found.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// How often the directory was listed.
    #[must_use]
    pub fn listed(&self) -> u64 {
        self.listed.load(Ordering::Relaxed)
    }

    /// How often the name of the directory itself was made durable.
    #[must_use]
    pub fn named(&self) -> u64 {
        self.named.load(Ordering::Relaxed)
    }

    fn file(&self, inner: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(CountingFile { inner, read: Arc::clone(&self.read) })
    }
}

impl Storage for Counting {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn list(&self) -> io::Result<Vec<DirectoryEntry>> {
        self.listed.fetch_add(1, Ordering::Relaxed);
        self.inner.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(self.file(self.inner.open(name, access)?))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.file(self.inner.create(name, len)?))
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
        self.named.fetch_add(1, Ordering::Relaxed);
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

    fn mount_id(&self) -> Option<u64> {
        self.inner.mount_id()
    }

    fn file_system(&self) -> io::Result<FileSystem> {
        self.inner.file_system()
    }
}

impl CountingFile {
    fn count(&self, read: io::Result<usize>) -> io::Result<usize> {
        self.read.fetch_add(*read.as_ref().unwrap_or(&0) as u64, Ordering::Relaxed);
        read
    }
}

impl StorageFile for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.count(self.inner.read_at(buffer, offset))
    }

    fn read_direct_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.count(self.inner.read_direct_at(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(bytes, offset)
    }

    fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        self.inner.allocate(range)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.inner.punch(range)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.inner.next_data(offset)
    }

    fn allocated_len(&self) -> io::Result<u64> {
        self.inner.allocated_len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }

    fn map(&self) -> io::Result<Mapping> {
        self.inner.map()
    }

    fn map_writable(&self, range: Range<u64>) -> io::Result<WritableMapping> {
        self.inner.map_writable(range)
    }

    fn map_words(&self, count: usize) -> io::Result<SharedWords> {
        self.inner.map_words(count)
    }

    fn map_words_to_read(&self, count: usize) -> io::Result<SharedWords> {
        self.inner.map_words_to_read(count)
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.inner.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }

    fn lock_holder(&self) -> Option<LockHolder> {
        self.inner.lock_holder()
    }

    fn try_lock_byte(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        self.inner.try_lock_byte(offset, kind)
    }

    fn unlock_byte(&self, offset: u64) -> io::Result<()> {
        self.inner.unlock_byte(offset)
    }

    fn is_byte_locked(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        self.inner.is_byte_locked(offset, kind)
    }

    fn byte_holders(&self, offset: u64) -> Vec<(LockHolder, LockKind)> {
        self.inner.byte_holders(offset)
    }

    fn is_linked(&self) -> io::Result<bool> {
        self.inner.is_linked()
    }

    fn place(&self) -> io::Result<FilePlace> {
        self.inner.place()
    }
}
