//! The only door to the system.
//!
//! Everything that the engine asks of an operating system goes through [`Storage`] (one directory, the clock, the
//! random numbers) and [`StorageFile`] (one open file). Nothing else in the workspace's engine names a system call, and
//! all unsafe code lives below this module.
//!
//! Two implementations: [`os`] is the real one, [`mem`] is exact and lives in memory; one conformance suite runs over
//! both. Simulators implement the same traits.
//!
//! What is promised of every implementation:
//!
//! 1. A write that returned is seen by every read, mapping and process at once; it is durable only after a sync *of the
//!    same open file* that began later and succeeded.
//! 2. A created, renamed or removed name is durable only after [`Storage::sync_directory`].
//! 3. Dropping a file or a mapping syncs nothing.
//! 4. No call retries after an error other than an interruption, and none hides a short result.
//! 5. In a fork of the process that opened it nothing is changed through a directory, a file or a mapping: what would be
//!    fails ([`Storage::forked_from`]), and dropping them leaves locks and files to that process. Reading works.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::ids::BootId;
pub use crate::ids::FilePlace;

pub mod mem;
pub mod os;

pub mod guard;
mod home;
mod mapping;
pub mod positioned;
mod words;

#[cfg(any(test, feature = "unstable"))]
pub mod conformance;

#[cfg(any(test, feature = "unstable"))]
pub use home::{Child, Fork};
pub use mapping::{Mapping, Prefaulter, WritableMapping};
pub(crate) use mapping::{has_mappings_to_spare, prefetch};
pub use words::{OnStore, Reasons, SharedWords};

/// The longest file name, in bytes.
const MAX_NAME_LEN: usize = 255;

/// Refuses what is no plain file name, the same way in every implementation.
fn check_name(name: &str) -> io::Result<()> {
    let is_odd = |byte: u8| matches!(byte, b'/' | 0);
    let plain = !matches!(name, "" | "." | "..") && !name.bytes().any(is_odd) && name.len() <= MAX_NAME_LEN;
    if plain {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("not a plain file name: {name:?}")))
}

/// Refuses an offset at which a file can have no byte.
fn check_offset(offset: u64) -> io::Result<()> {
    if offset < i64::MAX as u64 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no file has a byte at {offset}")))
}

/// Refuses a range of file offsets that is not in order or leaves what a file can have.
fn check_range(range: &Range<u64>) -> io::Result<()> {
    if range.start <= range.end && range.end <= i64::MAX as u64 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("not a range of file offsets: {range:?}")))
}

/// One directory of files, the clock and the source of randomness.
///
/// Names are plain file names: never empty, no `/`, neither `.` nor `..`. An implementation refuses others with
/// [`io::ErrorKind::InvalidInput`], follows no symbolic link and opens regular files only.
pub trait Storage: Send + Sync + fmt::Debug {
    /// What stands in front of a name in messages: the path of the directory.
    fn describe(&self) -> String;

    /// The names in the directory, in no particular order.
    fn list(&self) -> io::Result<Vec<DirectoryEntry>>;

    /// Opens a regular file that exists.
    ///
    /// Fails with `NotFound` where there is none, `InvalidInput` where the name leads to anything else than a regular
    /// file (a link, a folder, a pipe), without waiting for a pipe's other end.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>>;

    /// Creates a file of `len` bytes that read as zero, none of them allocated; `AlreadyExists` where the name is taken.
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn StorageFile>>;

    /// Gives the file another name; `AlreadyExists` (and nothing done) where that is taken.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Open files and mappings of it stay good.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Whether the name leads to the file that lies at `place` and is open: `false` where it leads to another one, or nowhere,
    /// since that file was removed, replaced or given another name, or all of the directory was removed. A directory that was given
    /// another name, or lies elsewhere, holds its names as before. One call to the system; it waits for no disk.
    fn leads_to(&self, name: &str, place: &FilePlace) -> io::Result<bool>;

    /// Makes every earlier create, rename and remove in this directory durable.
    fn sync_directory(&self) -> io::Result<()>;

    /// Makes durable that this directory lies in the one above it: who made it may have died before that, or be another program.
    /// Nothing where there is none above, or where that may not be read.
    fn sync_name(&self) -> io::Result<()> {
        Ok(())
    }

    /// Wall clock, in nanoseconds since 1970 UTC. May jump either way.
    fn now(&self) -> i64;

    /// Fills `bytes` with randomness that nobody can guess.
    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()>;

    /// This run of the kernel; all zero where it cannot be told.
    fn boot_id(&self) -> BootId;

    /// From here on the calling thread gives way to others where they want the processor. It is a hint; may do nothing.
    fn give_way(&self) {}

    /// The number of this process, for people to read.
    fn process_id(&self) -> u32 {
        std::process::id()
    }

    /// The process that opened the directory, where this one is a fork of it: then nothing can be changed through it, nor
    /// through what was opened by it. Costs no call to the system.
    fn forked_from(&self) -> Option<u32> {
        None
    }

    /// This mount of the file system that holds the directory: a number that no other mount has or had since the kernel
    /// started. `None` where it cannot be told.
    fn mount_id(&self) -> Option<u64> {
        None
    }

    /// What kind of file system holds the directory.
    fn file_system(&self) -> io::Result<FileSystem>;
}

/// One open regular file. All offsets are bytes from its start.
pub trait StorageFile: Send + Sync + fmt::Debug {
    /// The length, in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at `offset` until `buffer` is full or the file ends; returns how many bytes were read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// As [`read_at`](Self::read_at), past the page cache: what the device holds. `Unsupported` where that cannot be
    /// done. `buffer` and `offset` may be of any alignment.
    fn read_direct_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, extending the file where it must.
    ///
    /// On failure a prefix of `bytes` may have been written. [`io::ErrorKind::StorageFull`],
    /// [`QuotaExceeded`](io::ErrorKind::QuotaExceeded) and [`FileTooLarge`](io::ErrorKind::FileTooLarge) have that known
    /// effect; after every other error the effect is unknown.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes `bytes`, which stand there already, once more, so that the next sync finds them whatever a write-back that failed
    /// left in the page cache: pages that are called clean and were never written, or (ext4) blocks that count as never written
    /// while a page of them is in memory, however often that is written and synced. So it goes past the page cache, in whole
    /// blocks with what stands around, where the system can do that; else it is a [`write_at`](Self::write_at).
    fn rewrite_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(bytes, offset)
    }

    /// Allocates blocks for `range` so that later writes there need no space. Bytes that were never written read as zero;
    /// bytes that were stay as they are. The length stays. Does nothing where the file system cannot.
    fn allocate(&self, range: Range<u64>) -> io::Result<()>;

    /// Gives the blocks of `range` back; it reads as zero. The length stays. May do nothing where it is not supported.
    fn punch(&self, range: Range<u64>) -> io::Result<()>;

    /// The next stretch at or behind `offset` that may hold bytes other than zero; `None` where there is none.
    ///
    /// Everything between `offset` and the stretch reads as zero. An implementation that cannot tell returns all that is
    /// left of the file.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let len = self.len()?;
        Ok((offset < len).then_some(offset..len))
    }

    /// How many bytes of disk the file takes.
    fn allocated_len(&self) -> io::Result<u64>;

    /// Makes the data of every earlier write to this file durable, with what is needed to read it back.
    fn sync_data(&self) -> io::Result<()>;

    /// As [`sync_data`](Self::sync_data), with all attributes.
    fn sync_all(&self) -> io::Result<()>;

    /// Maps the whole file for reading, as long as it is now. An empty file gives an empty mapping.
    fn map(&self) -> io::Result<Mapping>;

    /// Maps `range` (which must lie in the file and be allocated) for copying bytes into it.
    ///
    /// `InvalidInput` where the range is empty, leaves the file, or is evidently not allocated. `Unsupported` where stores
    /// into a mapping and positioned writes are not one and the same memory, where a store into allocated blocks may
    /// still meet a full disk, and where an [`allocate`](Self::allocate) of this open file could do nothing.
    fn map_writable(&self, range: Range<u64>) -> io::Result<WritableMapping>;

    /// Maps the first `count` words (of eight bytes) of the file as memory that all processes share which map it.
    ///
    /// `InvalidInput` where the file is shorter or evidently not allocated there. `Unsupported` where
    /// [`map_writable`](Self::map_writable) would be, and where the implementation has no such memory.
    fn map_words(&self, count: usize) -> io::Result<SharedWords> {
        let _ = count;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// As [`map_words`](Self::map_words), to look at them and to wait for them only: nothing is stored. A file that is open for
    /// reading will do.
    fn map_words_to_read(&self, count: usize) -> io::Result<SharedWords> {
        let _ = count;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Tries to take the exclusive lock on the file, for as long as this open file lives. `false` where another open
    /// file holds it, in this process or any other.
    fn try_lock(&self) -> io::Result<bool>;

    /// Lets go of the lock.
    fn unlock(&self) -> io::Result<()>;

    /// Who holds the lock, as far as the system tells.
    fn lock_holder(&self) -> Option<LockHolder>;

    /// Tries to lock the byte at `offset`, where the file need have none, for as long as this open file lives. `false` where
    /// another open file, in this process or any other, holds a lock on it that excludes this one; taking it again in the other
    /// kind changes the kind, or leaves it as it was where the answer is `false`.
    ///
    /// Locks of bytes and the lock of the whole file ([`try_lock`](Self::try_lock)) know nothing of each other. A file that
    /// is open for reading takes shared locks only. `InvalidInput` beyond the largest offset of a file; `Unsupported` where
    /// the system has no such locks for this file.
    fn try_lock_byte(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        let _ = (offset, kind);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Lets go of the lock on a byte, if this open file holds it.
    fn unlock_byte(&self, offset: u64) -> io::Result<()> {
        let _ = offset;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether another open file holds a lock on the byte that would exclude one of this kind.
    fn is_byte_locked(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        let _ = (offset, kind);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The processes that hold a lock on the byte, each with the kind, as far as the system tells. To find them may take
    /// milliseconds: it is for messages.
    fn byte_holders(&self, offset: u64) -> Vec<(LockHolder, LockKind)> {
        let _ = offset;
        Vec::new()
    }

    /// Whether the file has a name still: it was neither removed nor replaced. Where that cannot be told, it has.
    fn is_linked(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// Where the file lies. Two files that exist at once never have the same place.
    fn place(&self) -> io::Result<FilePlace>;
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// How a byte is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Beside other shared ones.
    Shared,
    /// Beside no other.
    Exclusive,
}

/// One name in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The file name; bytes that are not UTF-8 are replaced, so that it may not be openable.
    pub name: String,
    /// Whether it leads to a regular file, not to a folder, link, pipe or device.
    pub is_file: bool,
    /// Length in bytes; 0 for anything else than a regular file.
    pub len: u64,
}

/// The process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Its process id.
    pub pid: u32,
    /// Its state as one letter (`R` running, `S` sleeping, `T` stopped, …), where known.
    pub state: Option<char>,
    /// Its command name, where known.
    pub command: Option<String>,
}

impl fmt::Display for LockHolder {
    /// As messages name it: `process 4711 (name), which is stopped`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        if let Some(command) = &self.command {
            write!(f, " ({command})")?;
        }
        if self.state == Some('T') { f.write_str(", which is stopped") } else { Ok(()) }
    }
}

/// What kind of file system holds a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its name, such as `ext4`; `0x…` where it has none here.
    pub name: String,
    /// Whether it lies across a network, where locks and syncs promise less.
    pub is_network: bool,
    /// Bytes free for this user.
    pub free_bytes: u64,
}
