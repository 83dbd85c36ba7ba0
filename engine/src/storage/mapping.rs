//! How bytes of a file are lent as memory.
//!
//! [`Mapping`] is a read-only view of a whole file; [`WritableMapping`] is a stretch of a file into which bytes are
//! copied. Both stand on a region: memory that stays mapped at one address until its last owner is gone, whether a file
//! or nothing at all is behind it.
//!
//! Invariants:
//!
//! 1. A region is never unmapped, moved or shortened while a mapping, or a `Bytes` cut from one, exists.
//! 2. Stores into a region go through this module alone, as plain copies from memory that is not the region.
//!
//! What is left to others, because no type can say it: bytes below the committed end are never stored to again, and
//! nobody looks at bytes above it as anything but untrusted. A slice of a mapping may therefore cover bytes that change
//! later, but nobody derives a fact from such a byte before the writer has published it. Against other processes that
//! cut the file short, only [`Mapping::populate`] helps, and only for the moment.
//!
//! A file may have bytes whose pages cannot be had: on tmpfs a hole, once the file system is full, since to look at it through a
//! mapping wants a page there, which reading does not. [`Mapping::fetch`] reads such pages into memory that takes their place.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw};
use parking_lot::{Mutex, RwLock};
use rustix::mm::{MremapFlags, mremap_fixed};

use super::StorageFile;
use super::guard::{self, Guarded};
use super::home::Home;

/// The files that this process has mapped, for whoever keeps mappings for later use.
static MAPPED: AtomicUsize = AtomicUsize::new(0);

/// Whether this process may keep more files mapped than it must: it has fewer than a quarter of the mappings that the system lets
/// it have, and than the guard has room for, with some of it left to others.
pub(crate) fn has_mappings_to_spare() -> bool {
    /// What Linux says unless somebody changed it.
    const USUAL_MAX: usize = 65_530;
    static MAX: OnceLock<usize> = OnceLock::new();
    let most = *MAX.get_or_init(|| {
        let said = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
        let max = said.and_then(|said| said.trim_ascii().parse().ok()).unwrap_or(USUAL_MAX);
        (max / 4).min(guard::MAPPINGS_MAX / 4 * 3)
    });
    MAPPED.load(Ordering::Relaxed) < most
}

/// A file that is mapped, as it is counted.
struct Counted;

impl Counted {
    fn one() -> Counted {
        MAPPED.fetch_add(1, Ordering::Relaxed);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        MAPPED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a region is a copy of what a file said when it was read.
struct Copied {
    source: Arc<dyn StorageFile>,
    /// All of it, or the pages that could not be had otherwise.
    stretches: Mutex<Vec<Range<usize>>>,
}

/// Memory that keeps its address for life. See the invariants of the module.
pub(super) struct Region {
    /// Its place in the guard's table. Before `memory`, so that it is given back before the memory is unmapped.
    guarded: Option<Guarded>,
    memory: MmapRaw,
    _counted: Option<Counted>,
    /// What of it is a copy of a file, a stretch at a time.
    copied: OnceLock<Copied>,
    /// Held by who has pages fetched, and alone by who puts others in their place: so no page is replaced that was fetched.
    pages: RwLock<()>,
    /// Bytes that could not be fetched: start and end, the start above the end where there are none.
    lost: [AtomicUsize; 2],
    /// Whether a file is behind it, so that a page may be absent.
    of_file: bool,
    /// Whether nothing is read around what is asked for: see [`of_growing_file`](Self::of_growing_file).
    is_exact: bool,
    /// Whether its pages may be stored to.
    writable: bool,
    /// The process that may store to it, where others share the memory.
    home: Option<Home>,
    /// How many writable mappings of it exist.
    writers: AtomicUsize,
}

impl Region {
    /// Fresh memory of `len` bytes (not 0) that read as zero. Pages are taken from the system on first touch only.
    pub(super) fn zeroed(len: usize) -> io::Result<Region> {
        let memory = MmapOptions::new().len(len).no_reserve_swap().map_anon()?;
        Ok(Region::new(memory.into(), false, true, None))
    }

    /// Wraps a mapping of a file for reading.
    pub(super) fn of_file(memory: MmapRaw) -> Region {
        Region::new(memory, true, false, None)
    }

    /// Wraps a mapping for reading of a file that is still written to, behind what is read.
    ///
    /// Where the kernel reads on ahead it makes pages large, also those that nobody has written yet; and at each small write
    /// into a large page ext4 goes through all of its blocks, which made an append half as long again. So here it reads what is
    /// asked for and no more.
    pub(super) fn of_growing_file(memory: MmapRaw) -> Region {
        let region = Region { is_exact: true, ..Region::new(memory, true, false, None) };
        let _ = region.memory.advise(Advice::Random); // a hint, without which all is as right
        region
    }

    /// Wraps a shared mapping of a file for reading and storing, by this process alone.
    pub(super) fn of_writable_file(memory: MmapRaw, home: Home) -> Region {
        Region::new(memory, true, true, Some(home))
    }

    /// Wraps words of a file that several processes share. Where their page is lost they read as zero, and stores go nowhere.
    pub(super) fn of_words(memory: MmapRaw, home: Home) -> Region {
        let guarded = Guarded::new(memory.as_ptr() as usize, memory.len(), true);
        Region { guarded, ..Region::new(memory, true, true, Some(home)) }
    }

    fn new(memory: MmapRaw, of_file: bool, writable: bool, home: Option<Home>) -> Region {
        let is_guarded = of_file && !writable;
        Region {
            guarded: is_guarded.then(|| Guarded::new(memory.as_ptr() as usize, memory.len(), false)).flatten(),
            memory,
            _counted: of_file.then(Counted::one),
            copied: OnceLock::new(),
            pages: RwLock::new(()),
            lost: [AtomicUsize::new(usize::MAX), AtomicUsize::new(0)],
            of_file,
            is_exact: false,
            writable,
            home,
            writers: AtomicUsize::new(0),
        }
    }

    /// Reads what of a range is a copy from the file once more.
    fn read_copies(&self, copied: &Copied, range: &Range<usize>) -> io::Result<()> {
        const CHUNK_BYTES: usize = 256 << 10;
        let within = |stretch: &Range<usize>| stretch.start.max(range.start)..stretch.end.min(range.end);
        let parts: Vec<_> = copied.stretches.lock().iter().map(within).filter(|part| !part.is_empty()).collect();
        let most = parts.iter().map(Range::len).max().unwrap_or(0);
        let mut chunk = vec![0; most.min(CHUNK_BYTES)];
        for part in parts {
            let mut at = part.start;
            while at < part.end {
                let piece = &mut chunk[..(part.end - at).min(CHUNK_BYTES)];
                let read = copied.source.read_at(piece, at as u64)?;
                self.store(at, &piece[..read]);
                if read < piece.len() {
                    return Err(cut_short());
                }
                at += read;
            }
        }
        Ok(())
    }

    /// Puts copies in place of those pages of a range that cannot be had and can be read.
    fn replace_pages(&self, source: &Arc<dyn StorageFile>, range: Range<usize>) -> io::Result<()> {
        let page_bytes = rustix::param::page_size();
        let _alone = self.pages.write();
        for start in (range.start / page_bytes * page_bytes..range.end).step_by(page_bytes) {
            let end = (start + page_bytes).min(self.len());
            if self.advise(Advice::PopulateRead, start..end).is_ok() {
                continue;
            }
            let mut page = MmapOptions::new().len(page_bytes).map_anon()?;
            if source.read_at(&mut page[..end - start], start as u64)? < end - start {
                return Err(cut_short());
            }
            let page = MmapRaw::from(page);
            // SAFETY: `page` is one page of this process's own, which nobody else knows. The place it is moved to is one page
            // that lies in the region (regions begin at a page, and `start` lies below its length), and stays mapped as before,
            // so that every pointer into it stays good. Nobody has read it, or what was read is what the copy holds: while
            // `pages` is held alone nobody fetches it, and one that had been fetched before could be had again just now, or
            // holds what was published, which never changes.
            unsafe {
                let target = self.memory.as_mut_ptr().add(start);
                mremap_fixed(page.as_mut_ptr().cast(), page_bytes, page_bytes, MremapFlags::MAYMOVE, target.cast())?;
            }
            std::mem::forget(page); // it belongs to the region now, with which it is unmapped
            let stretches = Mutex::default();
            let copied = self.copied.get_or_init(|| Copied { source: Arc::clone(source), stretches });
            let mut stretches = copied.stretches.lock();
            match stretches.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => stretches.push(start..end),
            }
        }
        Ok(())
    }

    /// Notes bytes that cannot be had.
    fn lose(&self, range: Range<usize>) {
        self.lost[0].fetch_min(range.start, Ordering::AcqRel);
        self.lost[1].fetch_max(range.end, Ordering::AcqRel);
    }

    /// The bytes that could not be had, with what lies between them.
    pub(super) fn lost(&self) -> Option<Range<usize>> {
        let own = self.lost[0].load(Ordering::Acquire)..self.lost[1].load(Ordering::Acquire);
        let of_guard = self.guarded.as_ref().and_then(Guarded::lost);
        match (of_guard, own.start < own.end) {
            (Some(other), true) => Some(own.start.min(other.start)..own.end.max(other.end)),
            (other, false) => other,
            (None, true) => Some(own),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.memory.len()
    }

    /// How many writable mappings of it exist.
    pub(super) fn writers(&self) -> usize {
        self.writers.load(Ordering::Acquire)
    }

    /// Panics where `len` bytes at `at` do not lie in the region: callers have checked what came from outside.
    fn check(&self, at: usize, len: usize) {
        let inside = at.checked_add(len).is_some_and(|end| end <= self.len());
        assert!(inside, "{len} bytes at {at} do not lie in a region of {}", self.len());
    }

    /// Copies from the region.
    pub(super) fn read(&self, at: usize, buffer: &mut [u8]) {
        self.check(at, buffer.len());
        // SAFETY: the source lies in the region (just checked), which is mapped as long as `self` lives; the target is
        // a `&mut` slice, so that it overlaps nothing else.
        unsafe { std::ptr::copy_nonoverlapping(self.memory.as_ptr().add(at), buffer.as_mut_ptr(), buffer.len()) }
    }

    /// Copies into the region.
    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        assert!(self.writable, "a store into a region that is mapped for reading");
        self.store(at, bytes);
    }

    /// Copies to where it may be stored: a region, or pages of it, that are writable.
    fn store(&self, at: usize, bytes: &[u8]) {
        self.check(at, bytes.len());
        let target = self.memory.as_mut_ptr();
        let (from, to) = (bytes.as_ptr() as usize, target as usize + at);
        assert!(from.abs_diff(to) >= bytes.len(), "a region is copied onto itself");
        // SAFETY: the target lies in the region (just checked) and is mapped for writing as long as `self` lives: all of the
        // region is, as `write` has asserted, or it is a copy, and those are; source and target do not overlap (just checked).
        // That nobody relies on the bytes stored to is the module's contract.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target.add(at), bytes.len()) }
    }

    /// The eight bytes at `at`, which is a multiple of eight, as a word that several processes use at once.
    pub(super) fn word(&self, at: usize) -> &AtomicU64 {
        self.check(at, size_of::<u64>());
        assert!(at.is_multiple_of(align_of::<AtomicU64>()), "no word of a region at {at}");
        // SAFETY: the word lies in the region (just checked), which is mapped as long as `self` lives, and is aligned:
        // regions begin at a page. Where it is mapped for reading, its words are only loaded (`SharedWords` sees to that),
        // which a processor of 64 bits does by a plain load. Whoever uses the same bytes through a mapping uses them as
        // atomic words; the system itself, on behalf of positioned reads and writes, copies them outside of the language.
        // Any bytes are a word.
        unsafe { AtomicU64::from_ptr(self.memory.as_mut_ptr().add(at).cast()) }
    }

    /// The first four of these bytes, as what the system compares when somebody is to wait for the word: nobody else uses it.
    pub(super) fn half_word(&self, at: usize) -> &AtomicU32 {
        self.check(at, size_of::<u64>());
        assert!(at.is_multiple_of(align_of::<AtomicU64>()), "no word of a region at {at}");
        // SAFETY: as for `word`; it is neither loaded nor stored by this process, its address is given to the system.
        unsafe { AtomicU32::from_ptr(self.memory.as_mut_ptr().add(at).cast()) }
    }

    /// Fails in a process that only inherited it.
    #[inline]
    pub(super) fn check_home(&self) -> io::Result<()> {
        self.home.as_ref().map_or(Ok(()), Home::check)
    }

    /// One more writable mapping of it exists.
    pub(super) fn add_writer(&self) {
        self.writers.fetch_add(1, Ordering::AcqRel);
    }

    /// One writable mapping of it less exists.
    pub(super) fn remove_writer(&self) {
        self.writers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Fills a stretch of the region with zeros.
    pub(super) fn clear(&self, range: Range<usize>) {
        self.check(range.start, range.len());
        assert!(self.writable, "a store into a region that is mapped for reading");
        // SAFETY: the stretch lies in the region (just checked), which is mapped for writing as long as `self` lives.
        unsafe { std::ptr::write_bytes(self.memory.as_mut_ptr().add(range.start), 0, range.len()) }
    }

    /// Lets the system fetch the pages of `range` now.
    fn advise(&self, advice: Advice, range: Range<usize>) -> io::Result<()> {
        loop {
            match self.memory.advise_range(advice, range.start, range.len()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Where touching the page would have raised a signal, the system says EFAULT, which tells a reader of
                // messages nothing.
                Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::FAULT) => {
                    return Err(io::Error::other(
                        "a page of the mapping cannot be had: the file was cut short, the disk is full or it failed",
                    ));
                }
                done => return done,
            }
        }
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut short")
}

/// Whether the kernel does not know the advice.
fn is_unknown(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::INVAL)
}

/// `InvalidInput` unless `range` lies below `len` and is in order.
fn check_range(range: &Range<usize>, len: usize) -> io::Result<()> {
    if range.start <= range.end && range.end <= len {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("bytes {range:?} do not lie in a mapping of {len}")))
}

/// Begins to fetch what lies in memory there into the processor's cache. Waits for nothing, and changes nothing.
#[inline]
pub(crate) fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const LINE: usize = 64;
        let start = std::ptr::from_ref(value).cast::<i8>();
        // From the line in which it begins to the one in which it ends.
        let before = start as usize % LINE;
        for line in 0..(before + size_of_val(value)).div_ceil(LINE) {
            // SAFETY: a prefetch is no access: it reads nothing that the program sees, and never faults, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_sub(before).wrapping_add(line * LINE)) }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// A read-only view of a file, as long as the file was when it was mapped.
///
/// Clones share the mapping. It stays readable when the file is removed and when the file object is dropped.
///
/// # Signals
///
/// Where another process cuts the file short or the device fails, touching a page that is absent raises `SIGBUS`.
/// [`populate`](Self::populate) turns that into an error for the pages it covers.
#[derive(Clone)]
pub struct Mapping {
    /// `None` for an empty file, of which there is nothing to map.
    region: Option<Arc<Region>>,
    len: usize,
}

impl Mapping {
    /// The mapping of an empty file.
    pub(super) fn empty() -> Mapping {
        Mapping { region: None, len: 0 }
    }

    /// The first `len` bytes of a region.
    pub(super) fn of(region: Arc<Region>, len: usize) -> Mapping {
        assert!(len <= region.len(), "a mapping longer than its region");
        Mapping { region: Some(region), len }
    }

    /// The bytes of the file.
    ///
    /// Bytes that were not yet published by the file's writer may change while they are looked at.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.region {
            None => &[],
            // SAFETY: the first `len` bytes lie in the region (checked when made), are initialised (a page of a file or
            // of zeros), and stay mapped as long as `self` holds the region. Stores into them by a writer are confined
            // to bytes that nobody relies on: the contract of the module.
            Some(region) => unsafe { std::slice::from_raw_parts(region.memory.as_ptr(), self.len) },
        }
    }

    /// How many bytes are mapped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the file was empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A stretch of the mapping, without a copy, that keeps the mapping alive.
    ///
    /// # Panics
    ///
    /// Where `range` does not lie in the mapping, as slicing does.
    #[must_use]
    pub fn bytes(&self, range: Range<usize>) -> Bytes {
        Bytes::from_owner(self.clone()).slice(range)
    }

    /// Begins to fetch `len` bytes at `at` into the processor's cache, as far as they are mapped. Waits for nothing; raises
    /// no signal where a page cannot be had.
    #[inline]
    pub fn prefetch(&self, at: usize, len: usize) {
        if let Some(bytes) = self.as_slice().get(at..at.saturating_add(len).min(self.len)) {
            prefetch(bytes);
        }
    }

    /// Fetches the pages of `range` into memory, so that a page that cannot be had is an error here and not a signal
    /// later.
    ///
    /// In a copy of a file it reads the bytes again; that is for bytes that were never lent, or that proved nothing.
    ///
    /// Does nothing where the memory is no file's, and where the kernel (before 5.14) does not know how.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where `range` does not lie in the mapping; [`io::ErrorKind::Other`] where a page cannot be had;
    /// else what the system says.
    pub fn populate(&self, range: Range<usize>) -> io::Result<()> {
        check_range(&range, self.len)?;
        let Some(region) = self.region.as_ref().filter(|_| !range.is_empty()) else { return Ok(()) };
        let _pages = region.pages.read();
        if let Some(copied) = region.copied.get() {
            region.read_copies(copied, &range)?;
        }
        if !region.of_file {
            return Ok(());
        }
        if region.is_exact {
            let _ = region.advise(Advice::WillNeed, range.clone()); // all of it at once, instead of page by page
        }
        match region.advise(Advice::PopulateRead, range) {
            Err(error) if is_unknown(&error) => Ok(()),
            done => done,
        }
    }

    /// As [`populate`](Self::populate); what the mapping does not give and `file`, which it is of, does, is read into memory that
    /// takes the place of its pages. From then on that is a copy: see [`has_copies`](Self::has_copies).
    ///
    /// # Errors
    ///
    /// As [`populate`](Self::populate), where bytes can be had neither way.
    pub fn fetch(&self, range: Range<usize>, file: &Arc<dyn StorageFile>) -> io::Result<()> {
        let failed = match self.populate(range.clone()) {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => error,
            done => return done,
        };
        match self.region.as_ref().filter(|region| region.of_file) {
            Some(region) => region.replace_pages(file, range).map_err(|_| failed),
            None => Err(failed),
        }
    }

    /// Memory of one's own in place of a mapping: `len` bytes of a file, which read as zero until
    /// [`populate`](Self::populate) has read them.
    pub(super) fn copy_of(file: Arc<dyn StorageFile>, len: usize) -> io::Result<Mapping> {
        if len == 0 {
            return Ok(Mapping::empty());
        }
        let region = Region::zeroed(len)?;
        let whole = std::iter::once(0..len).collect();
        let _ = region.copied.set(Copied { source: file, stretches: Mutex::new(whole) });
        Ok(Mapping::of(Arc::new(region), len))
    }

    /// Whether all of it is a copy, in memory of this process.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        self.region.as_ref().is_some_and(|region| !region.of_file && region.copied.get().is_some())
    }

    /// Whether some of it is a copy, which what is written to the file later does not change.
    #[must_use]
    pub fn has_copies(&self) -> bool {
        self.region.as_ref().is_some_and(|region| region.copied.get().is_some())
    }

    /// Notes that bytes of the mapping cannot be had, for whoever asks [`lost`](Self::lost).
    pub fn lose(&self, range: Range<usize>) {
        if let Some(region) = &self.region {
            region.lose(range);
        }
    }

    /// The bytes that could not be had, with what lies between them: noted by [`lose`](Self::lose), or by the
    /// [guard](super::guard), which put zeros in their place. `None` where all could be had so far.
    #[must_use]
    pub fn lost(&self) -> Option<Range<usize>> {
        self.region.as_ref().and_then(|region| region.lost())
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("len", &self.len).finish_non_exhaustive()
    }
}

/// A stretch of a file that bytes can be copied into without a system call.
///
/// What was copied is seen at once by every reader, as after a write; a sync of the file makes it durable.
pub struct WritableMapping {
    region: Arc<Region>,
    /// Where in the region the stretch begins.
    start: usize,
    range: Range<u64>,
}

impl WritableMapping {
    /// The stretch `range` of a file, which begins at byte `start` of `region`.
    pub(super) fn of(region: Arc<Region>, start: usize, range: Range<u64>) -> WritableMapping {
        let len = (range.end - range.start) as usize;
        region.check(start, len);
        assert!(region.writable, "a writable mapping of a region that is mapped for reading");
        region.add_writer();
        WritableMapping { region, start, range }
    }

    /// Which bytes of the file are mapped.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    fn len(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }

    /// Copies `bytes` to byte `at` of the mapping (not of the file).
    ///
    /// On a full disk this may raise `SIGBUS` where the bytes below were not allocated, or are shared with another file.
    ///
    /// # Errors
    ///
    /// In a fork of the process that made the mapping: nothing is copied then.
    ///
    /// # Panics
    ///
    /// Where the bytes would not lie in the mapping.
    pub fn copy_in(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let inside = at.checked_add(bytes.len()).is_some_and(|end| end <= self.len());
        assert!(inside, "{} bytes at {at} do not lie in a mapping of {}", bytes.len(), self.len());
        self.region.check_home()?;
        self.region.write(self.start + at, bytes);
        Ok(())
    }

    /// What makes pages present ahead of copies, from any thread.
    #[must_use]
    pub fn prefaulter(&self) -> Prefaulter {
        Prefaulter { region: Arc::clone(&self.region), start: self.start, len: self.len() }
    }
}

/// Makes pages of a writable mapping present, so that copies into it need not wait for them.
#[derive(Clone)]
pub struct Prefaulter {
    region: Arc<Region>,
    start: usize,
    len: usize,
}

impl Prefaulter {
    /// Makes the pages of `range` (of the mapping, not of the file) present and ready to be stored to. Changes no byte.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where `range` does not lie in the mapping; [`io::ErrorKind::Other`] where a page cannot be had,
    /// among others on a full disk; `Unsupported` where the kernel (before 5.14) does not know how.
    pub fn prefault(&self, range: Range<usize>) -> io::Result<()> {
        check_range(&range, self.len)?;
        self.region.check_home()?;
        if !self.region.of_file || range.is_empty() {
            return Ok(());
        }
        match self.region.advise(Advice::PopulateWrite, self.start + range.start..self.start + range.end) {
            Err(error) if is_unknown(&error) => Err(io::ErrorKind::Unsupported.into()),
            done => done,
        }
    }
}

impl fmt::Debug for Prefaulter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefaulter").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Drop for WritableMapping {
    fn drop(&mut self) {
        self.region.remove_writer();
    }
}

impl fmt::Debug for WritableMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WritableMapping").field("range", &self.range).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_shared_between_threads<T: Send + Sync>() {}
    fn is_sent_between_threads<T: Send>() {}

    #[test]
    fn mappings_cross_threads() {
        is_shared_between_threads::<Mapping>();
        is_sent_between_threads::<WritableMapping>();
    }

    #[test]
    fn bytes_outlive_the_mapping_they_were_cut_from() {
        let region = Arc::new(Region::zeroed(4096).unwrap());
        region.write(10, b"ring");
        let weak = Arc::downgrade(&region);
        let mapping = Mapping::of(region, 100);
        let cut = mapping.bytes(9..15);
        assert_eq!(cut.as_ptr(), mapping.as_slice()[9..].as_ptr(), "cut without a copy");
        drop(mapping);
        assert_eq!(&cut[..], b"\0ring\0");
        drop(cut);
        assert!(weak.upgrade().is_none(), "the last owner lets go of the memory");
    }

    #[test]
    #[should_panic(expected = "do not lie in a mapping of 8")]
    fn a_copy_that_leaves_the_mapping_is_refused_though_the_region_goes_on() {
        let region = Arc::new(Region::zeroed(4096).unwrap());
        WritableMapping::of(region, 16, 0..8).copy_in(1, &[1; 8]).unwrap();
    }

    #[test]
    fn populating_what_is_not_mapped_is_refused() {
        let mapping = Mapping::of(Arc::new(Region::zeroed(4096).unwrap()), 100);
        assert!(mapping.populate(0..100).is_ok());
        for bad in [0..101, Range { start: 5, end: 4 }, usize::MAX - 1..usize::MAX] {
            assert_eq!(mapping.populate(bad).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert!(Mapping::empty().populate(0..0).is_ok());
        assert!(Mapping::empty().as_slice().is_empty());
    }
}
