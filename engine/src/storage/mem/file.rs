//! One file in memory, and handles on it.
//!
//! Invariants, of an inode's content:
//!
//! 1. `len <=` the length of its region; every byte of the region at or behind `len` is zero.
//! 2. A block that is not marked as allocated reads as zero.
//! 3. The number of marked blocks is what the inode has taken of the storage's space; it gives them back with its last
//!    name or handle. (Mappings keep the bytes, not the space: an operating system would count them on.)
//!
//! A file whose growth outgrows its region moves to a larger one. Mappings made before stay readable but no longer
//! follow; so that nothing is lost, growth is refused while a writable mapping exists. Files that are created at their
//! full length, as segments are, never move.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::io::Errno;

use super::byte_locks::ByteLocks;
use super::controls::{BLOCK, Controls, Operation};
use crate::storage::mapping::Region;
use crate::storage::{
    Access, FilePlace, LockHolder, LockKind, Mapping, SharedWords, StorageFile, WritableMapping, check_offset,
    check_range,
};

/// The longest file: far above any use, far below what address space allows.
const MAX_LEN: u64 = 1 << 40;
/// The smallest region, so that small files that grow seldom move. Untouched pages cost nothing.
const MIN_REGION: u64 = 64 * 1024;

/// A set of block numbers.
#[derive(Clone, Default)]
struct Blocks {
    words: Vec<u64>,
    count: u64,
}

impl Blocks {
    fn contains(&self, block: u64) -> bool {
        self.words.get((block / 64) as usize).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    /// Adds a block that is not in the set.
    fn insert(&mut self, block: u64) {
        let at = (block / 64) as usize;
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        self.words[at] |= 1 << (block % 64);
        self.count += 1;
    }

    /// Removes a block; whether it was there.
    fn remove(&mut self, block: u64) -> bool {
        let there = self.contains(block);
        if there {
            self.words[(block / 64) as usize] &= !(1 << (block % 64));
            self.count -= 1;
        }
        there
    }

    /// One above the largest that can be in the set.
    fn end(&self) -> u64 {
        self.words.len() as u64 * 64
    }
}

/// The blocks that bytes `range` touch.
fn blocks_of(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK..range.end.div_ceil(BLOCK)
}

/// What a disk below the page cache would hold, and which blocks of memory wait to be put there.
#[derive(Default)]
struct Disk {
    blocks: BTreeMap<u64, Box<[u8; BLOCK as usize]>>,
    dirty: BTreeSet<u64>,
    /// Words are shared, whose stores nobody hears of: it counts as waiting for ever.
    is_shared: bool,
}

struct Content {
    region: Arc<Region>,
    len: u64,
    allocated: Blocks,
    /// Where the storage models one.
    disk: Option<Disk>,
}

/// A file, with or without a name.
pub(super) struct Inode {
    controls: Arc<Controls>,
    place: FilePlace,
    content: Mutex<Content>,
    /// The handle that holds the lock; 0 for none.
    lock: AtomicU64,
    /// The handles that hold bytes.
    bytes: Mutex<ByteLocks>,
    /// The handles given out, to tell them apart.
    handles: AtomicU64,
    /// It has lost its name.
    removed: AtomicBool,
}

thread_local! {
    /// Regions of the smallest size whose file is gone, all zeros again: simulations make thousands of files a second, and to
    /// map, fault in and unmap each of them would take most of their time.
    static SPARE: RefCell<Vec<Arc<Region>>> = const { RefCell::new(Vec::new()) };
}
/// So many of them are kept by a thread.
const SPARE_MAX: usize = 64;

/// A region for `len` bytes, all of them zero.
fn region_for(len: u64) -> io::Result<Arc<Region>> {
    if len > MAX_LEN {
        return Err(Errno::FBIG.into());
    }
    if len <= MIN_REGION
        && let Some(spare) = SPARE.with_borrow_mut(Vec::pop)
    {
        return Ok(spare);
    }
    Ok(Arc::new(Region::zeroed(usize::try_from(len.max(MIN_REGION)).map_err(|_| Errno::FBIG)?)?))
}

/// Keeps the region of a file that is gone, where nobody else has it: its blocks are zeroed, the others are zero.
fn give_back(content: &mut Content) {
    let is_plain = content.disk.is_none() && content.region.len() as u64 == MIN_REGION;
    if !is_plain || Arc::get_mut(&mut content.region).is_none() {
        return;
    }
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            for block in (0..content.len.div_ceil(BLOCK)).filter(|&block| content.allocated.contains(block)) {
                content.region.clear((block * BLOCK) as usize..((block + 1) * BLOCK).min(MIN_REGION) as usize);
            }
            spare.push(Arc::clone(&content.region));
        }
    });
}

impl Inode {
    /// Whether this is the file there.
    pub(super) fn lies_at(&self, place: &FilePlace) -> bool {
        self.place == *place
    }

    /// A new file of `len` bytes, none of them allocated.
    pub(super) fn new(controls: &Arc<Controls>, len: u64) -> io::Result<Inode> {
        let region = region_for(len)?;
        let place =
            FilePlace { file_system: controls.file_system(), inode: controls.next_inode(), birth: controls.glance() };
        let disk = controls.models_disk().then(Disk::default);
        let content = Mutex::new(Content { region, len, allocated: Blocks::default(), disk });
        let (lock, handles) = (AtomicU64::new(0), AtomicU64::new(0));
        let (bytes, removed) = (Mutex::default(), AtomicBool::new(false));
        Ok(Inode { controls: Arc::clone(controls), place, content, lock, bytes, handles, removed })
    }

    /// Its name was removed.
    pub(super) fn unlink(&self) {
        self.removed.store(true, Ordering::Release);
    }

    /// A new file with the same content and the same holes.
    pub(super) fn copy(&self, controls: &Arc<Controls>) -> io::Result<Inode> {
        let content = self.content.lock();
        let copy = Inode::new(controls, content.len)?;
        {
            let mut target = copy.content.lock();
            if controls.take_blocks(content.allocated.count) < content.allocated.count {
                return Err(Errno::NOSPC.into());
            }
            target.allocated = content.allocated.clone();
            let mut bytes = [0; BLOCK as usize];
            for block in (0..content.len.div_ceil(BLOCK)).filter(|&block| content.allocated.contains(block)) {
                let at = block * BLOCK;
                let bytes = &mut bytes[..(content.len - at).min(BLOCK) as usize];
                content.region.read(at as usize, bytes);
                target.region.write(at as usize, bytes);
            }
        }
        Ok(copy)
    }

    pub(super) fn len(&self) -> u64 {
        self.content.lock().len
    }

    /// Cuts the file short, or makes it longer.
    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        let mut content = self.content.lock();
        content.reserve(len)?;
        if len < content.len {
            content.region.clear(len as usize..content.len as usize);
            let behind = len.div_ceil(BLOCK)..content.allocated.end();
            let given = behind.filter(|&block| content.allocated.remove(block)).count();
            self.controls.give_blocks(given as u64);
        }
        content.len = len;
        Ok(())
    }

    /// A sync ended: what waited for it is on the disk, or is not and waits no more.
    fn synced(&self, has_succeeded: bool) {
        let mut content = self.content.lock();
        let Content { region, disk: Some(disk), .. } = &mut *content else { return };
        for block in std::mem::take(&mut disk.dirty).into_iter().filter(|_| has_succeeded) {
            let bytes = disk.blocks.entry(block).or_insert_with(|| Box::new([0; BLOCK as usize]));
            let at = (block * BLOCK) as usize;
            region.read(at, &mut bytes[..(region.len() - at).min(BLOCK as usize)]);
        }
    }

    /// Takes from the disk what waits for no sync.
    pub(super) fn evict(&self) {
        let content = self.content.lock();
        let Some(disk) = content.disk.as_ref().filter(|disk| !disk.is_shared) else { return };
        for block in (0..content.len.div_ceil(BLOCK)).filter(|block| !disk.dirty.contains(block)) {
            let at = (block * BLOCK) as usize;
            let len = (content.region.len() - at).min(BLOCK as usize);
            match disk.blocks.get(&block) {
                Some(bytes) => content.region.write(at, &bytes[..len]),
                None => content.region.clear(at..at + len),
            }
        }
    }

    /// A new handle.
    pub(super) fn open(self: &Arc<Inode>, access: Access) -> Arc<dyn StorageFile> {
        let handle = self.handles.fetch_add(1, Ordering::Relaxed) + 1;
        Arc::new(MemFile { inode: Arc::clone(self), access, handle })
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        let content = self.content.get_mut();
        self.controls.give_blocks(content.allocated.count);
        give_back(content);
    }
}

impl fmt::Debug for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inode").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Content {
    /// Moves to a larger region unless `end` bytes fit.
    fn reserve(&mut self, end: u64) -> io::Result<()> {
        let capacity = self.region.len() as u64;
        if end <= capacity {
            return Ok(());
        }
        if self.region.writers() > 0 {
            let reason = "a file in memory cannot grow while a writable mapping of it exists";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, reason));
        }
        let larger = region_for(end.max(capacity.saturating_mul(2).min(MAX_LEN)))?;
        let mut bytes = [0; BLOCK as usize];
        for block in (0..self.len.div_ceil(BLOCK)).filter(|&block| self.allocated.contains(block)) {
            let at = (block * BLOCK) as usize;
            let bytes = &mut bytes[..(self.len - block * BLOCK).min(BLOCK) as usize];
            self.region.read(at, bytes);
            larger.write(at, bytes);
        }
        self.region = larger;
        Ok(())
    }

    /// Allocates the blocks of `range` as far as there is space; up to where all bytes are allocated.
    fn allocate(&mut self, range: &Range<u64>, controls: &Controls) -> u64 {
        for block in blocks_of(range) {
            if !self.allocated.contains(block) {
                if controls.take_blocks(1) == 0 {
                    return (block * BLOCK).max(range.start);
                }
                self.allocated.insert(block);
            }
        }
        range.end
    }

    /// Writes bytes that fit in the region, as many as there is space for; how many.
    fn write(&mut self, bytes: &[u8], offset: u64, controls: &Controls) -> usize {
        let end = self.allocate(&(offset..offset + bytes.len() as u64), controls);
        let count = (end - offset) as usize;
        if count > 0 {
            self.region.write(offset as usize, &bytes[..count]);
            self.len = self.len.max(end);
            if let Some(disk) = &mut self.disk {
                disk.dirty.extend(blocks_of(&(offset..end)));
            }
        }
        count
    }
}

/// One open file in memory.
#[derive(Debug)]
struct MemFile {
    inode: Arc<Inode>,
    access: Access,
    handle: u64,
}

impl MemFile {
    fn controls(&self) -> &Controls {
        &self.inode.controls
    }

    /// What the system says to a change through a file that is open for reading.
    fn check_writable(&self) -> io::Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::Read => Err(Errno::BADF.into()),
        }
    }
}

/// Who holds whatever is held of a file in memory.
fn this_process() -> LockHolder {
    LockHolder { pid: std::process::id(), state: Some('R'), command: None }
}

impl StorageFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.controls().count(Operation::Read)?;
        let content = self.inode.content.lock();
        let rest = usize::try_from(content.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = rest.min(buffer.len());
        if count > 0 {
            content.region.read(offset as usize, &mut buffer[..count]);
        }
        Ok(count)
    }

    fn read_direct_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let met = self.controls().enter(Operation::Write).err();
        self.check_writable()?;
        let keep = met.map_or(bytes.len(), |fault| fault.keep.min(bytes.len()));
        let fitting = usize::try_from(MAX_LEN.saturating_sub(offset)).unwrap_or(usize::MAX).min(keep);

        let mut written = 0;
        if fitting > 0 {
            let mut content = self.inode.content.lock();
            content.reserve(offset + fitting as u64)?;
            written = content.write(&bytes[..fitting], offset, self.controls());
        }
        self.controls().add_written(written);
        match met {
            Some(fault) => Err(self.controls().fail(&fault)),
            None if written < fitting => Err(Errno::NOSPC.into()),
            None if written < bytes.len() => Err(Errno::FBIG.into()),
            None => Ok(()),
        }
    }

    fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        self.controls().count(Operation::Allocate)?;
        check_range(&range)?;
        self.check_writable()?;
        if range.is_empty() {
            return Ok(());
        }
        if range.end > MAX_LEN {
            return Err(Errno::FBIG.into());
        }
        if self.inode.content.lock().allocate(&range, self.controls()) < range.end {
            return Err(Errno::NOSPC.into());
        }
        Ok(())
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.controls().count(Operation::Punch)?;
        check_range(&range)?;
        self.check_writable()?;
        let mut content = self.inode.content.lock();
        let visible = range.start.min(content.len)..range.end.min(content.len);
        if !visible.is_empty() {
            content.region.clear(visible.start as usize..visible.end as usize);
        }
        if let Some(disk) = &mut content.disk {
            disk.dirty.extend(blocks_of(&visible).filter(|_| !visible.is_empty()));
        }
        let whole = range.start.div_ceil(BLOCK)..(range.end / BLOCK).min(content.allocated.end());
        let given = whole.filter(|&block| content.allocated.remove(block)).count();
        self.controls().give_blocks(given as u64);
        Ok(())
    }

    fn allocated_len(&self) -> io::Result<u64> {
        Ok(self.inode.content.lock().allocated.count * BLOCK)
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.controls().count(Operation::Sync);
        self.inode.synced(synced.is_ok());
        synced
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn map(&self) -> io::Result<Mapping> {
        self.controls().count(Operation::Map)?;
        let content = self.inode.content.lock();
        Ok(Mapping::of(Arc::clone(&content.region), content.len as usize))
    }

    fn map_writable(&self, range: Range<u64>) -> io::Result<WritableMapping> {
        self.controls().count(Operation::MapWritable)?;
        check_range(&range)?;
        if self.access == Access::Read {
            return Err(Errno::ACCESS.into());
        }
        let content = self.inode.content.lock();
        if range.is_empty() || range.end > content.len {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the range to map does not lie in the file"));
        }
        if !blocks_of(&range).all(|block| content.allocated.contains(block)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the range to map is not allocated"));
        }
        Ok(WritableMapping::of(Arc::clone(&content.region), range.start as usize, range))
    }

    fn map_words(&self, count: usize) -> io::Result<SharedWords> {
        let len = count.checked_mul(size_of::<u64>()).ok_or(Errno::FBIG)? as u64;
        let range = self.map_writable(0..len)?.range();
        let mut content = self.inode.content.lock();
        debug_assert!(range.end <= content.len);
        if let Some(disk) = &mut content.disk {
            disk.is_shared = true;
        }
        let controls = Arc::clone(&self.inode.controls);
        let words = SharedWords::of(Arc::clone(&content.region), count);
        Ok(words.watched(Arc::new(move |_, _| !controls.is_dead())))
    }

    fn map_words_to_read(&self, count: usize) -> io::Result<SharedWords> {
        let content = self.inode.content.lock();
        if count == 0 || (count as u64).saturating_mul(8) > content.len {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the words to map do not lie in the file"));
        }
        Ok(SharedWords::to_read(Arc::clone(&content.region), count))
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.inode.lock.compare_exchange(0, self.handle, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(true),
            Err(holder) => Ok(holder == self.handle),
        }
    }

    fn unlock(&self) -> io::Result<()> {
        // Failing means that another handle holds it, or none: nothing to let go of.
        let _ = self.inode.lock.compare_exchange(self.handle, 0, Ordering::AcqRel, Ordering::Acquire);
        Ok(())
    }

    fn lock_holder(&self) -> Option<LockHolder> {
        let held = self.inode.lock.load(Ordering::Acquire) != 0;
        held.then(this_process)
    }

    fn try_lock_byte(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        self.inode.controls.check_byte_locks()?;
        check_offset(offset)?;
        if kind == LockKind::Exclusive {
            self.check_writable()?;
        }
        Ok(self.inode.bytes.lock().take(self.handle, offset, kind))
    }

    fn unlock_byte(&self, offset: u64) -> io::Result<()> {
        self.inode.controls.check_byte_locks()?;
        check_offset(offset)?;
        self.inode.bytes.lock().give_back(self.handle, offset);
        Ok(())
    }

    fn is_byte_locked(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        self.inode.controls.check_byte_locks()?;
        check_offset(offset)?;
        Ok(self.inode.bytes.lock().excludes(self.handle, offset, kind))
    }

    fn byte_holders(&self, offset: u64) -> Vec<(LockHolder, LockKind)> {
        self.inode.bytes.lock().kind(offset).map(|kind| (this_process(), kind)).into_iter().collect()
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(!self.inode.removed.load(Ordering::Acquire))
    }

    fn place(&self) -> io::Result<FilePlace> {
        Ok(self.inode.place)
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        let _ = self.inode.lock.compare_exchange(self.handle, 0, Ordering::AcqRel, Ordering::Acquire);
        self.inode.bytes.lock().forget(self.handle);
    }
}
