//! The guard: a page of a mapped file that cannot be had is an error to who reads it, not the end of the process.
//!
//! Where another process cuts a mapped file short, or the device fails, touching the page raises `SIGBUS`, whose default is
//! death. [`install`] sets a handler that knows the mappings of this crate that are read, and the words that processes share.
//! For a fault inside one of them it puts a page of zeros in place of the lost one and notes which it was; the reader goes on,
//! its check fails on the zeros, and before it calls them damage it asks the mapping whether pages were lost
//! ([`Mapping::lost`](super::Mapping::lost), [`SharedWords::is_lost`](super::SharedWords::is_lost)). What is stored to words
//! that were lost nobody else sees. Any other fault goes to whoever handled the signal before.
//!
//! What the handler relies on:
//!
//! 1. It runs on the thread that touched the page. That thread lends bytes of the mapping, so the mapping is registered and
//!    stays so until the handler returns.
//! 2. The table is an array that never moves. An entry is published by an even version and changed under an odd one; a
//!    handler that meets an entry being changed, or changed meanwhile, passes over it: it is of another mapping.
//! 3. It takes no lock, allocates nothing, and calls nothing but `mmap`, `sigaction` and `raise`, which on Linux are plain
//!    system calls; `errno` is put back.
//!
//! Mappings into which bytes of the log are copied are not registered: what is copied in would be acknowledged and lost.

use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

/// The most mappings that are guarded at once; a fault in one beyond goes to the handler before.
pub(super) const MAPPINGS_MAX: usize = 16_384;

/// One guarded mapping.
#[derive(Debug)]
struct Entry {
    /// Odd while the entry is being changed.
    version: AtomicUsize,
    start: AtomicUsize,
    /// 0: the entry is free.
    len: AtomicUsize,
    /// Whether its pages may be stored to.
    is_writable: AtomicBool,
    /// The lost pages lie in these bytes of the mapping; start above end where none is lost. Said by who takes the entry.
    lost_start: AtomicUsize,
    lost_end: AtomicUsize,
}

impl Entry {
    const fn free_entry() -> Entry {
        Entry {
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            is_writable: AtomicBool::new(false),
            lost_start: AtomicUsize::new(0),
            lost_end: AtomicUsize::new(0),
        }
    }

    /// Where in the mapping an address lies; `None` for any other.
    fn place_of(&self, address: usize) -> Option<usize> {
        let version = self.version.load(Ordering::Acquire);
        let (start, len) = (self.start.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let is_whole = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        let at = address.wrapping_sub(start);
        (is_whole && at < len).then_some(at)
    }

    /// Tries to take the entry for a mapping.
    fn take(&self, start: usize, len: usize, is_writable: bool) -> bool {
        let version = self.version.load(Ordering::Relaxed);
        if !version.is_multiple_of(2) || self.len.load(Ordering::Relaxed) != 0 {
            return false;
        }
        if self.version.compare_exchange(version, version + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        let is_free = self.len.load(Ordering::Relaxed) == 0;
        if is_free {
            self.lost_start.store(usize::MAX, Ordering::Relaxed);
            self.lost_end.store(0, Ordering::Relaxed);
            self.start.store(start, Ordering::Relaxed);
            self.is_writable.store(is_writable, Ordering::Relaxed);
            self.len.store(len, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
        is_free
    }

    fn free(&self) {
        let version = self.version.fetch_add(1, Ordering::AcqRel);
        debug_assert!(version.is_multiple_of(2), "only its owner changes an entry that is taken");
        fence(Ordering::Release);
        self.len.store(0, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
    }
}

static TABLE: [Entry; MAPPINGS_MAX] = [const { Entry::free_entry() }; MAPPINGS_MAX];

/// A mapping's entry, for as long as it is mapped.
#[derive(Debug)]
pub(super) struct Guarded(&'static Entry);

impl Guarded {
    /// Registers the mapping of `len` bytes at `start`; `None` where the table is full.
    pub(super) fn new(start: usize, len: usize, is_writable: bool) -> Option<Guarded> {
        // From behind the one that was taken last on: those before it are mostly taken.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let first = NEXT.load(Ordering::Relaxed);
        let mut places = (first..MAPPINGS_MAX).chain(0..first);
        let place = places.find(|place| TABLE[*place].take(start, len, is_writable))?;
        NEXT.store((place + 1) % MAPPINGS_MAX, Ordering::Relaxed);
        Some(Guarded(&TABLE[place]))
    }

    /// The bytes of the mapping that were lost, with what lies between them; `None` where none was.
    pub(super) fn lost(&self) -> Option<Range<usize>> {
        let end = self.0.lost_end.load(Ordering::Acquire);
        let start = self.0.lost_start.load(Ordering::Acquire);
        (start < end).then_some(start..end)
    }

    /// Notes that bytes cannot be had.
    fn lose(entry: &Entry, range: Range<usize>) {
        entry.lost_start.fetch_min(range.start, Ordering::AcqRel);
        entry.lost_end.fetch_max(range.end, Ordering::AcqRel);
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.free();
    }
}

/// What the signal did before, and the length of a page.
struct Before {
    action: libc::sigaction,
    page_bytes: usize,
}

static BEFORE: OnceLock<Before> = OnceLock::new();

/// Installs the guard, once for the process. A handler that is installed later must itself pass on what is not its own.
///
/// # Errors
///
/// What the system says.
pub fn install() -> io::Result<()> {
    static INSTALLING: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    let _one = INSTALLING.lock();
    if BEFORE.get().is_some() {
        return Ok(());
    }
    // SAFETY: a `sigaction` is a structure of numbers and a nullable pointer; all zero is a valid one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: asks for the present action only; `action` is a valid place for it.
    if unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut action) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Told before the handler can run.
    let _ = BEFORE.set(Before { action, page_bytes: rustix::param::page_size() });
    // SAFETY: as above.
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    ours.sa_sigaction = on_fault as *const () as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: `on_fault` has the type that `SA_SIGINFO` asks for, and does nothing that a signal handler must not do (see
    // the module); the mask is empty, as zeroed.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The handler.
extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid `siginfo_t` to a handler set with `SA_SIGINFO`.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let Some(before) = BEFORE.get() else { return };
    // A code of 0 or below: somebody sent the signal, and there is no address.
    if code > 0 && replace_page(address, before.page_bytes) {
        return;
    }
    pass_on(before, signal, info, context, code > 0);
}

/// Puts zeros in place of the page, where it is of a guarded mapping.
fn replace_page(address: usize, page_bytes: usize) -> bool {
    let Some((entry, at)) = TABLE.iter().find_map(|entry| Some((entry, entry.place_of(address)?))) else {
        return false;
    };
    // SAFETY: gives the place of this thread's `errno`.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: `errno` is this thread's own.
    let kept = unsafe { *errno };
    let (page, start) = (address - address % page_bytes, at - at % page_bytes);
    let is_writable = entry.is_writable.load(Ordering::Relaxed);
    let protection = libc::PROT_READ | if is_writable { libc::PROT_WRITE } else { 0 };
    // SAFETY: the page lies in a mapping of a file (mappings begin at a page) that stays mapped while this thread reads it;
    // private zeros take its place, of the same length and protection, so that every pointer into it stays good. Its
    // content changes from bytes that cannot be had to zeros: nobody has read them, or who has read words before knows that
    // they may change at any moment.
    let placed = unsafe {
        libc::mmap(
            page as *mut libc::c_void,
            page_bytes,
            protection,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    // SAFETY: as above.
    unsafe { *errno = kept };
    if placed == libc::MAP_FAILED {
        return false;
    }
    Guarded::lose(entry, start..start + page_bytes);
    true
}

/// Does what the signal did before.
fn pass_on(
    before: &Before,
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
    is_fault: bool,
) {
    let action = &before.action;
    match action.sa_sigaction {
        libc::SIG_IGN if !is_fault => {}
        // A fault cannot be ignored: the instruction would raise it again for ever.
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: sets the default action, then raises the signal, which is delivered when this handler returns.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
        }
        handler if action.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: who set the action with `SA_SIGINFO` gave a function of this type.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: who set the action without `SA_SIGINFO` gave a function of this type.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_address_until_they_are_freed() {
        let guarded = Guarded::new(0x7000_0000, 8192, false).expect("the table has room");
        let other = Guarded::new(0x7000_2000, 4096, true).expect("the table has room");
        let find = |address| TABLE.iter().filter_map(|entry| entry.place_of(address)).collect::<Vec<_>>();
        assert_eq!((find(0x7000_0000), find(0x7000_1FFF), find(0x7000_2000)), (vec![0], vec![8191], vec![0]));
        assert!(find(0x6FFF_FFFF).is_empty() && find(0x7000_3000).is_empty());
        assert_eq!(guarded.lost(), None);
        Guarded::lose(guarded.0, 4096..8192);
        Guarded::lose(guarded.0, 0..10);
        assert_eq!((guarded.lost(), other.lost()), (Some(0..8192), None));
        drop(guarded);
        assert!(find(0x7000_0000).is_empty());
        let again = Guarded::new(0x7000_0000, 10, false).expect("the table has room");
        assert_eq!(again.lost(), None, "a new mapping has lost nothing");
        drop((again, other));
    }
}
