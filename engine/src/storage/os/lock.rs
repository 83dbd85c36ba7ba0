//! The calls that take locks and let go of them: `flock` for a whole file, open-file-description locks for a byte.
//!
//! Both belong to the open file, not to the process: whoever opens the file again is another party, in the same process too,
//! and closing any other descriptor of it frees nothing (as it would with the locks of POSIX). None of these calls waits.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

use crate::storage::LockKind;

/// Asks for the exclusive lock on the file; whether it was given.
pub(super) fn try_whole(file: BorrowedFd<'_>) -> io::Result<bool> {
    match retry_on_intr(|| flock(file, FlockOperation::NonBlockingLockExclusive)) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        taken => Ok(taken.map(|()| true)?),
    }
}

/// Lets go of it.
pub(super) fn give_whole(file: BorrowedFd<'_>) -> io::Result<()> {
    Ok(retry_on_intr(|| flock(file, FlockOperation::Unlock))?)
}

/// Asks for a lock on one byte; whether it was given.
pub(super) fn try_byte(file: BorrowedFd<'_>, offset: u64, kind: LockKind) -> io::Result<bool> {
    match ask(file, libc::F_OFD_SETLK, &mut range(type_of(kind), offset, 1)) {
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        taken => taken.map(|()| true).map_err(said),
    }
}

/// Lets go of the lock on one byte.
pub(super) fn give_byte(file: BorrowedFd<'_>, offset: u64) -> io::Result<()> {
    ask(file, libc::F_OFD_SETLK, &mut range(libc::F_UNLCK, offset, 1)).map_err(said)
}

/// Lets go of the locks on all bytes.
pub(super) fn give_all_bytes(file: BorrowedFd<'_>) -> io::Result<()> {
    const TO_THE_END: i64 = 0;
    ask(file, libc::F_OFD_SETLK, &mut range(libc::F_UNLCK, 0, TO_THE_END)).map_err(said)
}

/// Whether another open file holds a lock on the byte that excludes one of this kind.
pub(super) fn is_byte_locked(file: BorrowedFd<'_>, offset: u64, kind: LockKind) -> io::Result<bool> {
    let mut found = range(type_of(kind), offset, 1);
    ask(file, libc::F_OFD_GETLK, &mut found).map_err(said)?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

fn type_of(kind: LockKind) -> i32 {
    match kind {
        LockKind::Shared => libc::F_RDLCK,
        LockKind::Exclusive => libc::F_WRLCK,
    }
}

/// A question about `len` bytes at `offset`, which lies below the largest offset of a file.
fn range(lock_type: i32, offset: u64, len: i64) -> libc::flock {
    libc::flock {
        l_type: lock_type as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset.cast_signed(),
        l_len: len,
        l_pid: 0, // anything else is refused for locks of open files
    }
}

fn ask(file: BorrowedFd<'_>, command: i32, range: &mut libc::flock) -> Result<(), Errno> {
    retry_on_intr(|| {
        // SAFETY: the descriptor is open, and both commands take a pointer to this structure, which lives through the call.
        match unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(range)) } {
            -1 => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
            _ => Ok(()),
        }
    })
}

/// The error for what a lock on a byte met: where the kernel or the file system has none it says so in several ways.
fn said(errno: Errno) -> io::Error {
    match errno {
        Errno::NOLCK | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => {
            let what = format!("the kernel or this file system has no locks of open files on bytes ({errno})");
            io::Error::new(io::ErrorKind::Unsupported, what)
        }
        errno => errno.into(),
    }
}
