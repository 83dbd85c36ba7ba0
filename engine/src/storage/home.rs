//! Which process a handle belongs to.
//!
//! A fork hands the child all that its parent has open: descriptors, the locks on them, shared mappings, and the memory that
//! says how far they are; but none of the threads that were going on with it. Two processes that go on from there would both
//! write the log at the same place. So a handle remembers its [`Home`], the process that opened it, and changes nothing in
//! any other.
//!
//! 1. A word in a page of its own is the stamp of the process. A child finds zeros in place of the page (`MADV_WIPEONFORK`,
//!    Linux 4.14), whatever call made it; where the kernel does not know that, what `fork` calls in the child clears the
//!    word. To ask is one load.
//! 2. Stamps come from a count that a child inherits and goes on with: along a line of forks none is given twice.
//! 3. A lock belongs to the open file, and every process that inherited it holds it. So that it ends with the process that
//!    took it, `fork` puts a descriptor that leads nowhere in the place of each locked one of the child. What makes a child
//!    past the C library (a bare `clone`) leaves it a share in the lock, until it ends or runs another program.
//!
//! What runs in the child between `fork` and its return takes no lock and allocates nothing.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

/// The most locks that a fork takes from the child. A child keeps its share in those beyond.
const LOCKS_MAX: usize = 1024;
/// A place of the table that holds no descriptor.
const FREE: i32 = -1;

/// The process that opened a handle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    word: &'static AtomicU64,
    stamp: u64,
    /// Its number, for people.
    process: u32,
}

impl Home {
    /// This process. Fails where the system gives nothing to tell a fork by.
    pub(super) fn here() -> io::Result<Home> {
        /// The last stamp that was given, in this process or in one that it was forked from.
        static GIVEN: AtomicU64 = AtomicU64::new(0);
        let word = word().ok_or(io::ErrorKind::OutOfMemory)?;
        let stamp = match word.load(Ordering::Relaxed) {
            0 => {
                let fresh = GIVEN.fetch_add(1, Ordering::Relaxed) + 1;
                // Whoever comes first in a new process gives it its stamp.
                word.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed)
                    .map_or_else(|other| other, |_| fresh)
            }
            stamp => stamp,
        };
        Ok(Home { word, stamp, process: std::process::id() })
    }

    /// Whether this process is it.
    #[inline]
    pub(super) fn is_here(&self) -> bool {
        self.word.load(Ordering::Relaxed) == self.stamp
    }

    /// Fails in every other process.
    #[inline]
    pub(super) fn check(&self) -> io::Result<()> {
        if self.is_here() { Ok(()) } else { Err(self.refused()) }
    }

    /// The process that it is, where this one is a fork of it.
    #[inline]
    pub(super) fn forked_from(&self) -> Option<u32> {
        (!self.is_here()).then_some(self.process)
    }

    #[cold]
    fn refused(&self) -> io::Error {
        io::Error::other(format!(
            "it was opened by process {}, of which this one is a fork: open it anew",
            self.process
        ))
    }
}

/// The word of the process, made when it is first asked for.
fn word() -> Option<&'static AtomicU64> {
    static WORD: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();
    /// In place of a page that the kernel does not wipe.
    static PLAIN: AtomicU64 = AtomicU64::new(0);

    /// Called by `fork` in the child.
    extern "C" fn in_child() {
        if let Some(Some(word)) = WORD.get() {
            word.store(0, Ordering::Relaxed);
        }
        leave_locks();
    }

    *WORD.get_or_init(|| {
        // SAFETY: `in_child` is a function for the rest of the program, and does only what a child of a process with threads
        // may do: see the module.
        let registered = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        wiped_page().ok().or((registered == 0).then_some(&PLAIN))
    })
}

/// A word that reads as zero in every child, in a page that stays for good.
fn wiped_page() -> io::Result<&'static AtomicU64> {
    let page = MmapRaw::from(MmapOptions::new().len(rustix::param::page_size()).map_anon()?);
    // SAFETY: the range is that of the mapping just made, of which nobody has another pointer; the advice changes it in
    // children only.
    if unsafe { libc::madvise(page.as_mut_ptr().cast(), page.len(), libc::MADV_WIPEONFORK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let word = page.as_mut_ptr().cast();
    std::mem::forget(page);
    // SAFETY: the page is mapped for writing and never unmapped; its first word is aligned, reads as zero, and is used as an
    // atomic word alone. That a child finds another value than was stored is as if another thread had stored it.
    Ok(unsafe { AtomicU64::from_ptr(word) })
}

/// The descriptors through which this process holds locks.
static LOCKED: [AtomicI32; LOCKS_MAX] = [const { AtomicI32::new(FREE) }; LOCKS_MAX];

/// Says that a lock is about to be taken through a descriptor.
pub(super) fn note_lock(descriptor: BorrowedFd<'_>) {
    let number = descriptor.as_raw_fd();
    let is_noted = |place: &AtomicI32| place.load(Ordering::Relaxed) == number;
    let take = |place: &AtomicI32| place.compare_exchange(FREE, number, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    if !LOCKED.iter().any(is_noted) {
        LOCKED.iter().any(take); // where there is no place left, a child keeps its share
    }
}

/// Says that no lock is held through a descriptor any more.
pub(super) fn forget_lock(descriptor: BorrowedFd<'_>) {
    let number = descriptor.as_raw_fd();
    let free = |place: &AtomicI32| place.compare_exchange(number, FREE, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    LOCKED.iter().any(free);
}

/// Has every locked descriptor of a child lead nowhere: closed it would give its number away, while a handle still has it.
fn leave_locks() {
    // SAFETY: opens a file by a constant path.
    let nowhere = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if nowhere < 0 {
        return; // the child keeps its share in the locks
    }
    for place in &LOCKED {
        let number = place.swap(FREE, Ordering::AcqRel);
        if number != FREE {
            // SAFETY: the number is of a descriptor that a handle of this process owns. It goes on owning it; only what it
            // leads to changes, and the handle changes nothing through it here.
            unsafe { libc::dup3(nowhere, number, libc::O_CLOEXEC) };
        }
    }
    // SAFETY: `nowhere` was opened above and is used by nobody else.
    unsafe { libc::close(nowhere) };
}

/// How a child of a test is made.
#[cfg(any(test, feature = "unstable"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// By the C library's `fork`.
    Plain,
    /// By a bare `clone`, past all that the C library does for a fork.
    Bare,
}

/// A child of a test.
#[cfg(any(test, feature = "unstable"))]
#[derive(Debug)]
pub struct Child(rustix::process::Pid);

#[cfg(any(test, feature = "unstable"))]
impl Child {
    /// Forks this process, for tests: the child, in which the calling thread alone goes on, does `work` and ends with the
    /// code that it returns, without any destructor. A panic is the code 101.
    ///
    /// # Errors
    /// What the system says.
    pub fn fork(how: Fork, work: impl FnOnce() -> u8) -> io::Result<Child> {
        let number = match how {
            // SAFETY: the child runs `work` with one thread. As after every fork it must not wait for a lock that another
            // thread may have held; what the tests do there is chosen so.
            Fork::Plain => unsafe { i64::from(libc::fork()) },
            // SAFETY: as above; a `clone` with no flag but the signal is a fork, and without a stack the child goes on with
            // its copy of the caller's.
            Fork::Bare => unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD as libc::c_ulong, 0, 0, 0, 0) },
        };
        match number {
            0 => {
                let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(101);
                // SAFETY: ends the child here, so that nothing of its parent runs in it.
                unsafe { libc::_exit(i32::from(code)) }
            }
            number => match i32::try_from(number).ok().and_then(rustix::process::Pid::from_raw) {
                Some(child) if number > 0 => Ok(Child(child)),
                _ => Err(io::Error::last_os_error()),
            },
        }
    }

    /// Waits until it has ended; its code, or `None` where a signal ended it.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(self) -> io::Result<Option<u8>> {
        use rustix::process::{WaitOptions, waitpid};
        let ended = rustix::io::retry_on_intr(|| waitpid(Some(self.0), WaitOptions::empty()))?;
        Ok(ended.and_then(|(_, status)| status.exit_status()).and_then(|code| u8::try_from(code).ok()))
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.as_raw_pid().cast_unsigned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_at_home_in_the_process_that_opened_it_alone() {
        for how in [Fork::Plain, Fork::Bare] {
            let home = Home::here().unwrap();
            assert!(home.is_here() && home.forked_from().is_none() && home.check().is_ok());
            let process = std::process::id();
            let child = Child::fork(how, || {
                let is_refused = home.forked_from() == Some(process)
                    && home.check().is_err_and(|error| error.to_string().contains(&process.to_string()));
                // What is opened in the child is the child's, and its parent's handles stay its parent's.
                let own = Home::here().unwrap();
                let again = Home::here().unwrap();
                let is_own = own.is_here() && again.is_here() && !home.is_here();
                let grandchild =
                    Child::fork(how, || u8::from(own.is_here() || home.is_here() || !Home::here().unwrap().is_here()));
                let is_none = grandchild.and_then(Child::wait).is_ok_and(|code| code == Some(0));
                u8::from(!(is_refused && is_own && is_none))
            });
            assert_eq!(child.unwrap().wait().unwrap(), Some(0), "{how:?}");
            assert!(home.is_here(), "{how:?}: a child changes nothing for its parent");
        }
    }
}
