//! One open regular file of the operating system.
//!
//! Invariants:
//!
//! 1. The descriptor is of a regular file, opened once; nothing is ever synced through another one, since a fresh one may
//!    not see an error that an earlier write met.
//! 2. Only an interruption is tried again. A short write goes on with the rest: what stopped it then shows.
//! 3. No call raises a signal by itself: the limit on file sizes is looked up before the kernel enforces it by one.
//! 4. Locks belong to the open file, not to the process. The process that took them gives them back when the file object
//!    is dropped, even if a child inherited the descriptor; a child that drops its copy does not.
//! 5. The descriptor is noted for forks from before the first lock until after the last one is gone; in between, locks
//!    come and go without a look at that table.
//! 6. In a fork of the process that opened it the file is for reading: see [`home`].

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, FallocateFlags, Mode, OFlags, SeekFrom, StatxFlags};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};
use rustix::process::{Resource, getrlimit};

use super::{file_system, holders, lock};
use crate::storage::home::{self, Home};
use crate::storage::mapping::Region;
use crate::storage::{
    FilePlace, LockHolder, LockKind, Mapping, SharedWords, StorageFile, WritableMapping, check_offset, check_range,
};

/// What direct reads are aligned to: a multiple of every common device's block.
const DIRECT_ALIGNMENT: usize = 4096;
/// The most that one direct read asks for.
const DIRECT_CHUNK: usize = 256 * 1024;
/// The unit of `st_blocks`, whatever the block size of the file system.
const STAT_BLOCK: u64 = 512;
/// The largest offset a file can have.
const MAX_OFFSET: u64 = i64::MAX as u64;

/// See the module.
#[derive(Debug)]
pub(super) struct OsFile {
    descriptor: OwnedFd,
    /// The file system could not allocate blocks ahead, so that a store into a mapping may meet a full disk.
    allocates_late: AtomicBool,
    /// Up to here the limit on the size of files was found to let this process write.
    allowed: AtomicU64,
    /// The locks that were taken through this open file; held while one is asked for, which never waits.
    held: Mutex<Held>,
    home: Home,
}

/// The locks of one open file.
#[derive(Debug, Default)]
struct Held {
    whole: bool,
    bytes: BTreeSet<u64>,
}

impl Held {
    fn is_nothing(&self) -> bool {
        !self.whole && self.bytes.is_empty()
    }
}

/// The limit is asked for once for so many bytes of a file. A process whose limit is lowered while it writes may be ended by the
/// signal within them, as by any other.
const ALLOWED_STEP: u64 = 1 << 20;

/// A file that has no data in its last so many bytes is taken for one that is still written. What the last event of a full segment
/// did not fit into is mostly less.
const GROWING_BYTES: u64 = 128 << 10;

/// How far a file may reach by the limit of this process. Beyond it the kernel does not only fail a call, but first sends
/// a signal that ends the process unless somebody catches it.
fn size_limit() -> u64 {
    getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX).min(MAX_OFFSET)
}

/// Sets the length of a file that was just created.
pub(super) fn set_len(descriptor: BorrowedFd<'_>, len: u64) -> io::Result<()> {
    if len > size_limit() {
        return Err(Errno::FBIG.into());
    }
    Ok(retry_on_intr(|| fs::ftruncate(descriptor, len))?)
}

/// Reads until the buffer is full or the file ends.
fn read_full(descriptor: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        // Nothing lies beyond the largest offset; the kernel would call the question invalid.
        let Some(at) = offset.checked_add(done as u64).filter(|&at| at <= MAX_OFFSET) else { break };
        let most = usize::try_from(MAX_OFFSET - at).unwrap_or(usize::MAX).min(buffer.len() - done);
        match retry_on_intr(|| pread(descriptor, &mut buffer[done..done + most], at))? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

/// Memory of which [`aligned`] takes a chunk for direct calls: one alignment longer.
fn direct_memory() -> Vec<u8> {
    vec![0; DIRECT_CHUNK + DIRECT_ALIGNMENT]
}

/// The aligned chunk of it, wherever it begins.
fn aligned(memory: &mut [u8]) -> &mut [u8] {
    let skip = memory.as_ptr().align_offset(DIRECT_ALIGNMENT);
    &mut memory[skip..skip + DIRECT_CHUNK]
}

impl OsFile {
    /// Takes over a descriptor of a regular file, which a process alone may change.
    pub(super) fn new(descriptor: OwnedFd, home: Home) -> OsFile {
        OsFile {
            descriptor,
            allocates_late: AtomicBool::new(false),
            allowed: AtomicU64::new(0),
            held: Mutex::default(),
            home,
        }
    }

    fn stat(&self) -> io::Result<fs::Stat> {
        Ok(fs::fstat(&self.descriptor)?)
    }

    /// How far a write that is to reach `end` may go.
    fn limit_for(&self, end: u64) -> u64 {
        let allowed = self.allowed.load(Ordering::Relaxed);
        if end <= allowed {
            return allowed;
        }
        let limit = size_limit();
        let step = end.checked_next_multiple_of(ALLOWED_STEP).unwrap_or(u64::MAX);
        self.allowed.store(step.min(limit), Ordering::Relaxed);
        limit
    }

    /// Asks for a lock by `take`, and notes it by `note` where it is given.
    fn take_lock(
        &self,
        take: impl FnOnce(BorrowedFd<'_>) -> io::Result<bool>,
        note: impl FnOnce(&mut Held),
    ) -> io::Result<bool> {
        self.home.check()?;
        let mut held = self.held.lock();
        let is_first = held.is_nothing();
        if is_first {
            // Before it is held: a fork in between then takes it from the child too.
            home::note_lock(self.descriptor.as_fd());
        }
        let taken = take(self.descriptor.as_fd());
        match taken {
            Ok(true) => note(&mut held),
            _ if is_first => home::forget_lock(self.descriptor.as_fd()),
            _ => {}
        }
        taken
    }

    /// Lets go of a lock by `give`, and forgets it by `forget`.
    fn give_lock(
        &self,
        give: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
        forget: impl FnOnce(&mut Held),
    ) -> io::Result<()> {
        self.home.check()?;
        let mut held = self.held.lock();
        give(self.descriptor.as_fd())?;
        let was_nothing = held.is_nothing();
        forget(&mut held);
        if held.is_nothing() && !was_nothing {
            home::forget_lock(self.descriptor.as_fd());
        }
        Ok(())
    }

    /// Opens the same inode once more, past the page cache. `Unsupported` where that is not possible.
    fn open_direct(&self, access: OFlags) -> io::Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
        let flags = access | OFlags::DIRECT | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match retry_on_intr(|| fs::open(path.as_str(), flags, Mode::empty())) {
            // The file system knows no direct reading, or /proc is not there.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOENT) => Err(io::ErrorKind::Unsupported.into()),
            opened => Ok(opened?),
        }
    }

    /// Writes past the page cache, whole blocks, with what stands around the bytes. `Unsupported` where that is not possible.
    fn write_direct(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        const ALIGNMENT: u64 = DIRECT_ALIGNMENT as u64;
        let end = offset.saturating_add(bytes.len() as u64);
        let (mut at, upto) = (offset / ALIGNMENT * ALIGNMENT, end.next_multiple_of(ALIGNMENT));
        if upto > self.len()?.min(size_limit()) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let descriptor = self.open_direct(OFlags::RDWR)?;
        let mut memory = direct_memory();
        let bounce = aligned(&mut memory);
        while at < upto {
            let block = &mut bounce[..(upto - at).min(DIRECT_CHUNK as u64) as usize];
            if read_full(self.descriptor.as_fd(), block, at)? < block.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (from, to) = (offset.max(at), end.min(at + block.len() as u64));
            block[(from - at) as usize..(to - at) as usize]
                .copy_from_slice(&bytes[(from - offset) as usize..(to - offset) as usize]);
            match retry_on_intr(|| pwrite(&descriptor, &*block, at)) {
                Err(Errno::INVAL | Errno::OPNOTSUPP) => return Err(io::ErrorKind::Unsupported.into()),
                written => match written? / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    count => at += count as u64,
                },
            }
        }
        Ok(())
    }

    /// Changes blocks in `range`, which is not empty.
    fn change_blocks(&self, flags: FallocateFlags, range: &Range<u64>) -> io::Result<Supported> {
        let len = range.end - range.start;
        match retry_on_intr(|| fs::fallocate(&self.descriptor, flags, range.start, len)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Supported::No),
            done => Ok(done.map(|()| Supported::Yes)?),
        }
    }

    /// Maps a stretch of the file for reading and storing, where a store can neither differ from a write nor meet a full
    /// disk.
    fn map_shared(&self, range: &Range<u64>) -> io::Result<MmapRaw> {
        check_range(range)?;
        self.home.check()?;
        if range.is_empty() || range.end > self.len()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the range to map does not lie in the file"));
        }
        if self.allocates_late.load(Ordering::Relaxed) || !file_system::takes_mapped_stores(self.descriptor.as_fd())? {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // Necessary, not sufficient: the blocks might lie elsewhere in the file. It catches a forgotten allocation.
        if self.allocated_len()? < range.end - range.start {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the range to map is not allocated"));
        }
        let len = usize::try_from(range.end - range.start).map_err(|_| Errno::FBIG)?;
        MmapOptions::new().offset(range.start).len(len).map_raw(&self.descriptor)
    }
}

/// Whether the file system knows a request.
enum Supported {
    Yes,
    No,
}

impl StorageFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.stat()?.st_size.cast_unsigned())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        read_full(self.descriptor.as_fd(), buffer, offset)
    }

    fn read_direct_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        const ALIGNMENT: u64 = DIRECT_ALIGNMENT as u64;
        let descriptor = self.open_direct(OFlags::RDONLY)?;
        let mut memory = direct_memory();
        let bounce = aligned(&mut memory);

        let mut done = 0;
        while done < buffer.len() {
            let Some(at) = offset.checked_add(done as u64).filter(|&at| at <= MAX_OFFSET) else { break };
            let lead = (at % ALIGNMENT) as usize;
            let wanted = (lead + buffer.len() - done).next_multiple_of(DIRECT_ALIGNMENT).min(DIRECT_CHUNK);
            let count = match retry_on_intr(|| pread(&descriptor, &mut bounce[..wanted], at - lead as u64)) {
                Err(Errno::INVAL | Errno::OPNOTSUPP) => return Err(io::ErrorKind::Unsupported.into()),
                count => count?,
            };
            let fresh = count.saturating_sub(lead).min(buffer.len() - done);
            buffer[done..done + fresh].copy_from_slice(&bounce[lead..lead + fresh]);
            done += fresh;
            // Direct reads come in whole blocks except at the end of the file.
            if fresh == 0 || !count.is_multiple_of(DIRECT_ALIGNMENT) {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.home.check()?;
        let limit = self.limit_for(offset.saturating_add(bytes.len() as u64));
        let mut done = 0;
        while done < bytes.len() {
            let Some(at) = offset.checked_add(done as u64).filter(|&at| at < limit) else {
                return Err(Errno::FBIG.into());
            };
            let most = usize::try_from(limit - at).unwrap_or(usize::MAX).min(bytes.len() - done);
            match retry_on_intr(|| pwrite(&self.descriptor, &bytes[done..done + most], at))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => done += count,
            }
        }
        Ok(())
    }

    fn rewrite_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.home.check()?;
        match self.write_direct(bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.write_at(bytes, offset),
            done => done,
        }
    }

    fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        check_range(&range)?;
        self.home.check()?;
        if range.is_empty() {
            return Ok(());
        }
        if let Supported::No = self.change_blocks(FallocateFlags::KEEP_SIZE, &range)? {
            self.allocates_late.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        check_range(&range)?;
        self.home.check()?;
        if !range.is_empty() {
            self.change_blocks(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, &range)?;
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let len = self.len()?;
        if offset >= len {
            return Ok(None);
        }
        // The descriptor's own place is used by nobody: reads and writes say theirs.
        match fs::seek(&self.descriptor, SeekFrom::Data(offset)) {
            Ok(start) if start >= len => Ok(None),
            Ok(start) => {
                let end = fs::seek(&self.descriptor, SeekFrom::Hole(start))?;
                Ok(Some(start..end.min(len)))
            }
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(offset..len)),
            Err(errno) => Err(errno.into()),
        }
    }

    fn allocated_len(&self) -> io::Result<u64> {
        Ok(self.stat()?.st_blocks.cast_unsigned().saturating_mul(STAT_BLOCK))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.home.check()?;
        Ok(retry_on_intr(|| fs::fdatasync(&self.descriptor))?)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.home.check()?;
        Ok(retry_on_intr(|| fs::fsync(&self.descriptor))?)
    }

    fn map(&self) -> io::Result<Mapping> {
        let len = usize::try_from(self.len()?).map_err(|_| Errno::FBIG)?;
        if len == 0 {
            return Ok(Mapping::empty());
        }
        let memory = MmapOptions::new().len(len).map_raw_read_only(&self.descriptor)?;
        let is_growing = self.next_data((len as u64).saturating_sub(GROWING_BYTES))?.is_none();
        let region = if is_growing { Region::of_growing_file(memory) } else { Region::of_file(memory) };
        Ok(Mapping::of(Arc::new(region), len))
    }

    fn map_writable(&self, range: Range<u64>) -> io::Result<WritableMapping> {
        let memory = self.map_shared(&range)?;
        Ok(WritableMapping::of(Arc::new(Region::of_writable_file(memory, self.home)), 0, range))
    }

    fn map_words(&self, count: usize) -> io::Result<SharedWords> {
        let len = count.checked_mul(size_of::<u64>()).ok_or(Errno::FBIG)?;
        let memory = self.map_shared(&(0..len as u64))?;
        Ok(SharedWords::of(Arc::new(Region::of_words(memory, self.home)), count))
    }

    fn map_words_to_read(&self, count: usize) -> io::Result<SharedWords> {
        let len = count.checked_mul(size_of::<u64>()).ok_or(Errno::FBIG)?;
        if len == 0 || len as u64 > self.len()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the words to map do not lie in the file"));
        }
        if !file_system::takes_mapped_stores(self.descriptor.as_fd())? {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let memory = MmapOptions::new().len(len).map_raw_read_only(&self.descriptor)?;
        Ok(SharedWords::to_read(Arc::new(Region::of_file(memory)), count))
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.take_lock(lock::try_whole, |held| held.whole = true)
    }

    fn unlock(&self) -> io::Result<()> {
        self.give_lock(lock::give_whole, |held| held.whole = false)
    }

    fn lock_holder(&self) -> Option<LockHolder> {
        let stat = self.stat().ok()?;
        holders::of_whole(fs::major(stat.st_dev), fs::minor(stat.st_dev), stat.st_ino)
    }

    fn try_lock_byte(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        check_offset(offset)?;
        self.take_lock(
            |file| lock::try_byte(file, offset, kind),
            |held| {
                held.bytes.insert(offset);
            },
        )
    }

    fn unlock_byte(&self, offset: u64) -> io::Result<()> {
        check_offset(offset)?;
        self.give_lock(
            |file| lock::give_byte(file, offset),
            |held| {
                held.bytes.remove(&offset);
            },
        )
    }

    fn is_byte_locked(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        check_offset(offset)?;
        self.home.check()?; // in a fork the descriptor may lead nowhere
        lock::is_byte_locked(self.descriptor.as_fd(), offset, kind)
    }

    fn byte_holders(&self, offset: u64) -> Vec<(LockHolder, LockKind)> {
        holders::of_byte(self.descriptor.as_fd(), offset)
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.stat()?.st_nlink > 0)
    }

    fn place(&self) -> io::Result<FilePlace> {
        let stat = self.stat()?;
        let wanted = StatxFlags::BTIME;
        let birth = match fs::statx(&self.descriptor, "", AtFlags::EMPTY_PATH, wanted) {
            Ok(found) if StatxFlags::from_bits_retain(found.stx_mask).contains(wanted) => {
                nanoseconds(found.stx_btime.tv_sec, found.stx_btime.tv_nsec.into())
            }
            // The file system keeps no such time, or the kernel cannot be asked for it.
            Ok(_) | Err(Errno::NOSYS | Errno::INVAL) => 0,
            Err(error) => return Err(error.into()),
        };
        let file_system = file_system::identity(self.descriptor.as_fd())?.unwrap_or(stat.st_dev);
        Ok(FilePlace { file_system, inode: stat.st_ino, birth })
    }
}

impl Drop for OsFile {
    fn drop(&mut self) {
        // Closing alone would leave the locks with a child that inherited the descriptor and did not close it. There is
        // nobody to tell if this fails, and closing then does what it can.
        let held = self.held.get_mut();
        if held.is_nothing() || !self.home.is_here() {
            return;
        }
        let file = self.descriptor.as_fd();
        if held.whole {
            let _ = lock::give_whole(file);
        }
        if !held.bytes.is_empty() {
            let _ = lock::give_all_bytes(file);
        }
        home::forget_lock(file);
    }
}

/// The number of the mount that holds an open directory, from kernels (6.8 and later) that never give one again. The older
/// kind of number is of no use: an unmount frees it for the next mount.
pub(super) fn mount_id(directory: BorrowedFd<'_>) -> Option<u64> {
    const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let found = fs::statx(directory, "", AtFlags::EMPTY_PATH, MNT_ID_UNIQUE).ok()?;
    StatxFlags::from_bits_retain(found.stx_mask).contains(MNT_ID_UNIQUE).then_some(found.stx_mnt_id)
}

/// See [`Storage::leads_to`](crate::storage::Storage::leads_to). No other inode of its file system has the number of a file that is
/// open, and a name in this directory leads to another file system only where somebody has mounted one on it.
pub(super) fn leads_to(directory: BorrowedFd<'_>, name: &str, place: &FilePlace) -> io::Result<bool> {
    // Its number alone: a file whose times somebody has asked for gets new ones at its next write, and ext4 without a journal writes
    // those at the next sync, which then takes half as long again.
    match retry_on_intr(|| fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO)) {
        Ok(found) => Ok(found.stx_ino == place.inode),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Seconds and nanoseconds as one number, as near as it can.
pub(super) fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}
