//! Words of a file that several processes share as memory.
//!
//! Each word is read and stored whole; between two words there is no order but the one that the caller makes: a store is
//! seen after all that was stored before it. Bytes are little-endian, as everywhere. Nothing is ever made durable, and
//! any process that may write the file may store anything: whoever reads a word believes it only as far as it is proven.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::mapping::Region;

/// Hears of a store, by the word's index and the value, before it happens; whether it lands.
pub type OnStore = Arc<dyn Fn(usize, u64) -> bool + Send + Sync>;

/// What somebody waits for who waits for a word: one or more of 32 reasons, so that who wakes need not wake all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reasons(NonZeroU32);

impl Reasons {
    /// All of them.
    pub const ANY: Reasons = Reasons(NonZeroU32::MAX);

    /// One of the 32: the number modulo 32.
    #[must_use]
    pub fn one(number: u64) -> Reasons {
        Reasons(NonZeroU32::new(1 << (number % 32)).expect("a bit is set"))
    }
}

/// The first words of a file, as shared memory.
///
/// # Signals
///
/// Where another process cuts the file short, touching a word raises `SIGBUS`. With the [guard](super::guard) the words then
/// read as zero, and are lost: what is stored to them no other process sees.
pub struct SharedWords {
    region: Arc<Region>,
    count: usize,
    is_writer: bool,
    on_store: Option<OnStore>,
}

impl SharedWords {
    /// The first `count` words of a region that is mapped for writing.
    pub(super) fn of(region: Arc<Region>, count: usize) -> SharedWords {
        assert!(count * size_of::<u64>() <= region.len(), "more words than the region has");
        region.add_writer();
        SharedWords { region, count, is_writer: true, on_store: None }
    }

    /// The first `count` words of a region that is mapped for reading: nothing is stored through it.
    pub(super) fn to_read(region: Arc<Region>, count: usize) -> SharedWords {
        assert!(count * size_of::<u64>() <= region.len(), "more words than the region has");
        SharedWords { region, count, is_writer: false, on_store: None }
    }

    /// The same words, for a simulation: it hears of each store before it happens, and says whether it lands. Those of a
    /// process that is dead do not.
    #[must_use]
    pub fn watched(self, on_store: OnStore) -> SharedWords {
        let mut words = self;
        words.on_store = Some(on_store);
        words
    }

    /// How many words there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether their page was lost, as far as the [guard](super::guard) has met it.
    #[inline]
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.region.lost().is_some()
    }

    /// The word with this index.
    ///
    /// # Panics
    ///
    /// Where there is none.
    #[inline]
    #[must_use]
    pub fn load(&self, index: usize) -> u64 {
        assert!(index < self.count, "word {index} of {}", self.count);
        u64::from_le(self.region.word(index * size_of::<u64>()).load(Ordering::Acquire))
    }

    /// Stores a word, behind everything that was stored before. Nothing is stored in a fork of the process that mapped it, nor
    /// where the words were mapped for reading.
    ///
    /// # Panics
    ///
    /// Where there is none with this index.
    #[inline]
    pub fn store(&self, index: usize, value: u64) {
        assert!(index < self.count, "word {index} of {}", self.count);
        let is_home = self.is_writer && self.region.check_home().is_ok();
        if is_home && self.on_store.as_ref().is_none_or(|on_store| on_store(index, value)) {
            self.region.word(index * size_of::<u64>()).store(value.to_le(), Ordering::Release);
        }
    }

    /// Counts a word up by one, which several processes may do at once: for words that tell that something changed.
    #[inline]
    pub fn count_up(&self, index: usize) {
        assert!(index < self.count, "word {index} of {}", self.count);
        let is_home = self.is_writer && self.region.check_home().is_ok();
        let next = || u64::from_le(self.region.word(index * size_of::<u64>()).load(Ordering::Acquire)).wrapping_add(1);
        if is_home && self.on_store.as_ref().is_none_or(|on_store| on_store(index, next())) {
            self.region.word(index * size_of::<u64>()).fetch_add(1u64.to_le(), Ordering::SeqCst);
        }
    }

    /// Sleeps until somebody wakes who waits for the word, at most for `timeout`; not at all where the word is no longer
    /// `seen`. May return for no reason. Works across processes, and for words that were mapped for reading.
    pub fn wait(&self, index: usize, seen: u64, timeout: Duration) {
        self.wait_for(index, seen, Reasons::ANY, timeout);
    }

    /// As [`wait`](Self::wait), until those are woken who wait for one of these reasons.
    pub fn wait_for(&self, index: usize, seen: u64, reasons: Reasons, timeout: Duration) {
        let word = self.region.half_word(index * size_of::<u64>());
        // This call takes a moment of the clock, not a time.
        let limit =
            Timespec::try_from(timeout).ok().and_then(|time| clock_gettime(ClockId::Monotonic).checked_add(time));
        match futex::wait_bitset(word, futex::Flags::empty(), low(seen), limit.as_ref(), reasons.0) {
            // Woken, changed, interrupted or over.
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
            // Where the system has no such call for this memory, whoever waits looks again and again.
            Err(_) => std::thread::sleep(timeout.min(Duration::from_millis(1))),
        }
    }

    /// Wakes at most `most` of those who wait for the word. A call to the system, whether or not anybody does.
    pub fn wake(&self, index: usize, most: u32) {
        let _ = self.wake_for(index, Reasons::ANY, most); // they look again anyway
    }

    /// As [`wake`](Self::wake), of those who wait for one of these reasons. How many were woken, as far as the system says it.
    pub fn wake_for(&self, index: usize, reasons: Reasons, most: u32) -> usize {
        if !self.is_writer {
            return 0;
        }
        let word = self.region.half_word(index * size_of::<u64>());
        let most = most.min(i32::MAX.cast_unsigned()); // the system takes a greater number for a negative one, and wakes one
        futex::wake_bitset(word, futex::Flags::empty(), most, reasons.0).unwrap_or(0)
    }
}

/// The half of a word's value that lies at its address.
fn low(value: u64) -> u32 {
    u32::from_ne_bytes(value.to_le_bytes()[..4].try_into().expect("four bytes"))
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        if self.is_writer {
            self.region.remove_writer();
        }
    }
}

impl fmt::Debug for SharedWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedWords").field("count", &self.count).finish_non_exhaustive()
    }
}
