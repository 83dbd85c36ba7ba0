//! Reading by positioned reads: files whose mappings are memory of one's own.
//!
//! [`Positioned`] is any storage, but that what its files lend for reading was read into memory before, a stretch at a time
//! when it is asked for ([`Mapping::populate`](super::Mapping::populate)). No page of such a mapping can be lost, so that
//! nothing another process or a failing device does raises a signal; a read that fails is an error. It costs a copy, and the
//! memory of what is read for as long as somebody holds it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::{
    Access, DirectoryEntry, FilePlace, FileSystem, LockHolder, LockKind, Mapping, SharedWords, Storage, StorageFile,
    WritableMapping,
};
use crate::ids::BootId;

/// See the module.
#[derive(Debug)]
pub struct Positioned(pub Arc<dyn Storage>);

#[derive(Debug)]
struct PositionedFile(Arc<dyn StorageFile>);

/// A mapping of a file that is memory of one's own.
///
/// # Errors
///
/// What the system says.
pub(crate) fn map(file: Arc<dyn StorageFile>) -> io::Result<Mapping> {
    let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    Mapping::copy_of(file, len)
}

impl Storage for Positioned {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn list(&self) -> io::Result<Vec<DirectoryEntry>> {
        self.0.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(PositionedFile(self.0.open(name, access)?)))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(PositionedFile(self.0.create(name, len)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn leads_to(&self, name: &str, place: &FilePlace) -> io::Result<bool> {
        self.0.leads_to(name, place)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.0.sync_directory()
    }

    fn sync_name(&self) -> io::Result<()> {
        self.0.sync_name()
    }

    fn now(&self) -> i64 {
        self.0.now()
    }

    fn give_way(&self) {
        self.0.give_way();
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.0.fill_random(bytes)
    }

    fn boot_id(&self) -> BootId {
        self.0.boot_id()
    }

    fn forked_from(&self) -> Option<u32> {
        self.0.forked_from()
    }

    fn mount_id(&self) -> Option<u64> {
        self.0.mount_id()
    }

    fn file_system(&self) -> io::Result<FileSystem> {
        self.0.file_system()
    }
}

impl StorageFile for PositionedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn read_direct_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_direct_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn rewrite_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.rewrite_at(bytes, offset)
    }

    fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        self.0.allocate(range)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.0.punch(range)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.0.next_data(offset)
    }

    fn allocated_len(&self) -> io::Result<u64> {
        self.0.allocated_len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn map(&self) -> io::Result<Mapping> {
        map(Arc::clone(&self.0))
    }

    fn map_writable(&self, range: Range<u64>) -> io::Result<WritableMapping> {
        self.0.map_writable(range)
    }

    fn map_words(&self, count: usize) -> io::Result<SharedWords> {
        self.0.map_words(count)
    }

    fn map_words_to_read(&self, count: usize) -> io::Result<SharedWords> {
        self.0.map_words_to_read(count)
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.0.try_lock()
    }

    fn unlock(&self) -> io::Result<()> {
        self.0.unlock()
    }

    fn lock_holder(&self) -> Option<LockHolder> {
        self.0.lock_holder()
    }

    fn try_lock_byte(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        self.0.try_lock_byte(offset, kind)
    }

    fn unlock_byte(&self, offset: u64) -> io::Result<()> {
        self.0.unlock_byte(offset)
    }

    fn is_byte_locked(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        self.0.is_byte_locked(offset, kind)
    }

    fn byte_holders(&self, offset: u64) -> Vec<(LockHolder, LockKind)> {
        self.0.byte_holders(offset)
    }

    fn is_linked(&self) -> io::Result<bool> {
        self.0.is_linked()
    }

    fn place(&self) -> io::Result<FilePlace> {
        self.0.place()
    }
}
