//! The control page: what writers leave in shared memory, for each other and for whoever opens the store after they were
//! killed.
//!
//! It answers what the log cannot say: did the kernel, and the mount, live through the writer's end; was a sync under way
//! whose result nobody heard; had a write or sync failed; how far did the log reach, and how far was it durable, when
//! its writer ended. So a successor may go on in place after a mere kill, and knows what it must write again. Those who
//! write at the same time learn from it what was synced, and that something happened at all.
//!
//! 1. The page is advice. Whoever reads it believes a value only as far as its check holds *and* the log proves it. A page
//!    that is missing, short, garbled, of another store, life, boot, mount or place, or that the log contradicts, is as none.
//! 2. A value of several words is written behind its check's being wrong: in two slots by turns (ends of the log), or so
//!    that a half-written one reads as the careful answer (a sync is under way, the epoch is unknown).
//! 3. *In flight* is set before a sync begins and cleared after *durable* was raised to what the sync covered.
//! 4. *Poisoned* is never cleared: a writer that rolled makes a new page. Who has the old one mapped stays stopped.
//! 5. No system call: a commit stores five words, a sync ten; one more where somebody sleeps who is to be woken.
//! 6. *Committed* and *epoch* are stored by who has the turn, *durable* and *in flight* by who has the sync lock. The words
//!    that count what happened have no check: they say that it is worth looking.
//!
//! What is made of it is decided in recovery. The bytes are this version's own; another version number is no page.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::checksum::long_check;
use crate::format::file_name;
use crate::ids::{BootId, Epoch, FilePlace, Incarnation, Position, SegmentOrdinal, StoreId};
use crate::storage::{Access, SharedWords, Storage, StorageFile};
use crate::sync::{AtomicUsize, Ordering, thread};
use crate::watermark::LogEnd;

/// Length of the file, in bytes.
pub(crate) const CONTROL_BYTES: usize = 4096;
/// First bytes of the file.
pub(crate) const CONTROL_MAGIC: [u8; 8] = *b"TRINGCTL";
/// This layout.
const VERSION: u64 = 1;

/// Which word stands where. Words that several threads write at once have a line of the cache to themselves.
pub(crate) mod word {
    /// Magic, version, store, incarnation, boot, mount, identity's place, process.
    pub(crate) const HEADER: usize = 0;
    pub(crate) const HEADER_CHECK: usize = 15;
    pub(crate) const POISONED: usize = 16;
    pub(crate) const IN_FLIGHT: usize = 24;
    pub(crate) const EPOCH: usize = 32;
    pub(crate) const DURABLE: [usize; 2] = [40, 48];
    pub(crate) const COMMITTED: [usize; 2] = [56, 64];
    /// How often the log grew, and how often more of it became durable.
    pub(crate) const GROWN: usize = 72;
    pub(crate) const SYNCED: usize = 80;
    /// How many have begun to wait for their turn, have ended that, and how often a turn was ended for them.
    pub(crate) const WANTED: usize = 88;
    pub(crate) const SERVED: usize = 96;
    pub(crate) const TURNS: usize = 104;
    /// Who had the last turn: a number that tells it from others.
    pub(crate) const HOLDER: usize = 105;
    /// How many have come to sync; that count when the last sync began; how many had come before that one and the one before.
    pub(crate) const ARRIVED: usize = 112;
    pub(crate) const GATHERED: usize = 120;
    pub(crate) const CAME: [usize; 2] = [121, 122];
    /// How long the last sync took, in nanoseconds.
    pub(crate) const TOOK: usize = 123;
    /// Up to what count of those who came the present leader waits; zero where none does.
    pub(crate) const AWAITED: usize = 124;
    /// How many syncs were begun.
    pub(crate) const BEGUN: usize = 125;
    /// How often the right to sync was let go.
    pub(crate) const HANDED_ON: usize = 126;
    /// Whether threads sleep that look at what others append, until somebody calls them; how often that was done.
    pub(crate) const ASLEEP: usize = 106;
    pub(crate) const CALLS: usize = 107;
    /// Words of the page that mean something.
    pub(crate) const COUNT: usize = 128;
}

/// Makes the checks of the kinds of values differ.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Durable = 1,
    Committed,
    InFlight,
    Epoch,
}

/// The check of up to three words: cheap, since it is made with every commit, and enough against values that were written
/// by halves or not by a writer.
#[inline]
pub(crate) fn check_of(kind: Kind, words: [u64; 3]) -> u64 {
    let mut mixed = kind as u64;
    for word in words {
        mixed = (mixed ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
    mixed
}

/// To what a page belongs: every field must be the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) store: StoreId,
    pub(crate) incarnation: Incarnation,
    pub(crate) boot: BootId,
    pub(crate) mount: u64,
    /// Where the identity file lies.
    pub(crate) identity: FilePlace,
}

/// Who else may have the page mapped that there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// Nobody: all of the log is durable.
    None,
    /// Processes that had an error, and are not to write any more. All of the log is durable.
    Stopped,
    /// Processes that write. How far the log is durable is not known.
    Unheard,
}

/// The page of an open writer. Without one (the file could not be made, or memory not be shared) it does nothing.
///
/// Where its file was replaced, it goes on with the new one; the old memory stays mapped until the store is closed.
#[derive(Debug, Default)]
pub(crate) struct ControlPage {
    page: OnceLock<Box<Page>>,
    /// How many threads of this process wait for a word of it.
    watching: AtomicUsize,
}

#[derive(Debug)]
struct Page {
    words: SharedWords,
    file: Arc<dyn StorageFile>,
    newer: OnceLock<Box<Page>>,
}

impl ControlPage {
    fn of(words: SharedWords, file: Arc<dyn StorageFile>) -> ControlPage {
        let page = Box::new(Page { words, file, newer: OnceLock::new() });
        ControlPage { page: OnceLock::from(page), watching: AtomicUsize::new(0) }
    }

    #[inline]
    fn page(&self) -> Option<&Page> {
        let mut page = self.page.get()?;
        while let Some(newer) = page.newer.get() {
            page = newer;
        }
        Some(page)
    }

    /// The words of the page, where there is one.
    #[inline]
    pub(crate) fn words(&self) -> Option<&SharedWords> {
        self.page().map(|page| &page.words)
    }

    /// Makes the page of a writer that begins with this epoch at this end. It takes the place of the one before: in the same
    /// file where there is one, unless others have that mapped.
    ///
    /// Never fails: a store without a page is as good, and only the next opening after a kill is slower.
    pub(crate) fn establish(
        storage: &dyn Storage,
        owner: &Owner,
        epoch: Epoch,
        end: LogEnd,
        others: Others,
    ) -> ControlPage {
        let durable = if others == Others::Unheard { LogEnd::default() } else { end };
        let bytes = encode(owner, storage.process_id(), epoch, end, durable);
        if others != Others::None {
            let _ = storage.remove(file_name::CONTROL); // where that fails, so does making another
        }
        let made = open_or_make(storage).and_then(|file| {
            file.write_at(&bytes, 0)?; // one page, one call; and with it its block
            Ok((file.map_words(word::COUNT)?, file))
        });
        match made {
            Ok((words, file)) => ControlPage::of(words, file),
            Err(_) => {
                let _ = storage.remove(file_name::CONTROL); // an old one that stays is refused by its epoch
                ControlPage::default()
            }
        }
    }

    /// The page that others have made and go by; `None` where there is none, or not all of it holds.
    pub(crate) fn join(storage: &dyn Storage, owner: &Owner) -> Option<ControlPage> {
        let file = storage.open(file_name::CONTROL, Access::ReadWrite).ok()?;
        if file.len().ok()? != CONTROL_BYTES as u64 {
            return None;
        }
        let page = ControlPage::of(file.map_words(word::COUNT).ok()?, file);
        let seen = page.seen()?;
        // In another mount of the same file system, such as that of a container, it is the same page.
        let is_ours = Owner { mount: owner.mount, ..seen.owner } == *owner;
        (is_ours && seen.epoch.is_some() && seen.durable.is_some() && seen.committed.is_some()).then_some(page)
    }

    /// The page of the writers, to look at and to be woken by; `None` where there is none that can be mapped.
    pub(crate) fn watch(storage: &dyn Storage) -> Option<ControlPage> {
        let file = storage.open(file_name::CONTROL, Access::Read).ok()?;
        if file.len().ok()? != CONTROL_BYTES as u64 {
            return None;
        }
        Some(ControlPage::of(file.map_words_to_read(word::COUNT).ok()?, file))
    }

    /// Whether a thread of this process waits for a word.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.watching.load(Ordering::SeqCst) > 0
    }

    /// Sleeps until a word is no longer what `look` found it to be, for `timeout` at most; not at all where `look`, which comes
    /// after the word was read, says that there is no need to.
    pub(crate) fn wait(&self, word: usize, timeout: Duration, look: impl FnOnce() -> bool) {
        const WITHOUT_PAGE: Duration = Duration::from_millis(20);
        self.watching.fetch_add(1, Ordering::SeqCst);
        let words = self.words();
        let seen = words.map_or(0, |words| words.load(word));
        if look() {
            match words {
                Some(words) => words.wait(word, seen, timeout),
                None => thread::sleep(timeout.min(WITHOUT_PAGE)),
            }
        }
        self.watching.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether the file has its name still and was not cut short, or there is no page at all. One call to the system.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.page().is_none_or(|page| page.file.is_linked().unwrap_or(false) && !page.words.is_lost())
    }

    /// Goes on with another page.
    pub(crate) fn replace(&self, newer: ControlPage) {
        let Some(newer) = newer.page.into_inner() else { return };
        let mut last = &self.page;
        while let Some(page) = last.get() {
            last = &page.newer;
        }
        let _ = last.set(newer); // somebody else was faster: the next look tells whether that is the right one
    }

    /// What the page says now.
    pub(crate) fn seen(&self) -> Option<Seen> {
        let words = self.words()?;
        let mut bytes = [0; word::COUNT * 8];
        for (index, target) in bytes.chunks_exact_mut(8).enumerate() {
            target.copy_from_slice(&words.load(index).to_le_bytes());
        }
        Seen::decode(&bytes)
    }

    /// The log reaches to `end`: its bytes are in the page cache. One caller at a time.
    #[inline]
    pub(crate) fn commit(&self, end: LogEnd) {
        if let Some(words) = self.words() {
            put_end(words, Kind::Committed, word::COMMITTED, end);
            words.store(word::GROWN, words.load(word::GROWN).wrapping_add(1));
        }
    }

    /// A sync of everything below `upto` is about to begin. One caller at a time.
    pub(crate) fn begin_sync(&self, upto: Position) {
        if let Some(words) = self.words() {
            words.store(word::BEGUN, words.load(word::BEGUN).wrapping_add(1)); // first: whoever sees it under way knows which it is
            words.store(word::IN_FLIGHT + 1, check_of(Kind::InFlight, [upto.0, 0, 0]));
            words.store(word::IN_FLIGHT, upto.0);
        }
    }

    /// That sync succeeded: everything below `durable` is.
    pub(crate) fn end_sync(&self, durable: LogEnd, took: Duration) {
        if let Some(words) = self.words() {
            words.store(word::TOOK, took.as_nanos() as u64);
            put_end(words, Kind::Durable, word::DURABLE, durable);
            words.store(word::IN_FLIGHT + 1, check_of(Kind::InFlight, [0, 0, 0]));
            words.store(word::IN_FLIGHT, 0);
            words.store(word::SYNCED, words.load(word::SYNCED).wrapping_add(1));
        }
    }

    /// The log goes on in another segment.
    pub(crate) fn set_epoch(&self, epoch: Epoch) {
        if let Some(words) = self.words() {
            let values = [epoch.segment.0, u64::from(epoch.takeover), 0];
            words.store(word::EPOCH + 2, check_of(Kind::Epoch, values));
            words.store(word::EPOCH + 1, values[1]);
            words.store(word::EPOCH, values[0]);
        }
    }

    /// A write or sync had an unknown effect. Whoever waits for anything hears of it.
    pub(crate) fn poison(&self) {
        if let Some(words) = self.words() {
            words.store(word::POISONED, 1);
            for word in [word::GROWN, word::SYNCED, word::HANDED_ON] {
                words.count_up(word);
                words.wake(word, u32::MAX);
            }
        }
    }

    /// Up to where the page says that the log is durable.
    pub(crate) fn durable(&self) -> Option<LogEnd> {
        self.end_of(Kind::Durable, word::DURABLE)
    }

    /// Up to where the page says that the log was shown.
    #[inline]
    pub(crate) fn committed(&self) -> Option<LogEnd> {
        self.end_of(Kind::Committed, word::COMMITTED)
    }

    #[inline]
    fn end_of(&self, kind: Kind, slots: [usize; 2]) -> Option<LogEnd> {
        let words = self.words()?;
        let slot = |at: usize| {
            let values = [words.load(at), words.load(at + 1), words.load(at + 2)];
            let end = LogEnd { end: Position(values[0]), last_frame: Position(values[1]), last_check: values[2] };
            (words.load(at + 3) == check_of(kind, values)).then_some(end)
        };
        slots.into_iter().filter_map(slot).max_by_key(|end| end.end)
    }

    /// Whether the page says that a sync was begun that nobody has ended.
    pub(crate) fn is_sync_in_flight(&self) -> bool {
        self.words().is_some_and(|words| {
            let upto = words.load(word::IN_FLIGHT);
            upto != 0 || words.load(word::IN_FLIGHT + 1) != check_of(Kind::InFlight, [0, 0, 0])
        })
    }

    /// Whether any process has had a write or sync of unknown effect.
    #[inline]
    pub(crate) fn is_poisoned(&self) -> bool {
        self.words().is_some_and(|words| words.load(word::POISONED) != 0)
    }
}

#[inline]
fn put_end(words: &SharedWords, kind: Kind, slots: [usize; 2], end: LogEnd) {
    // The one that says less: the other stays whole meanwhile.
    let slot = if words.load(slots[0]) > words.load(slots[1]) { slots[1] } else { slots[0] };
    let values = [end.end.0, end.last_frame.0, end.last_check];
    words.store(slot + 3, check_of(kind, values));
    for (index, value) in values.into_iter().enumerate() {
        words.store(slot + index, value);
    }
}

fn open_or_make(storage: &dyn Storage) -> io::Result<Arc<dyn StorageFile>> {
    let name = file_name::CONTROL;
    match storage.open(name, Access::ReadWrite) {
        Ok(file) if file.len()? == CONTROL_BYTES as u64 => return Ok(file),
        Ok(_) => storage.remove(name)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => storage.remove(name)?, // a link or a pipe of that name, or a file of somebody else
    }
    storage.create(name, 0)
}

/// A page as a writer begins with it.
fn encode(owner: &Owner, pid: u32, epoch: Epoch, end: LogEnd, durable: LogEnd) -> [u8; CONTROL_BYTES] {
    let mut page = [0; CONTROL_BYTES];
    let mut put = |at: usize, words: &[u64]| {
        for (word, target) in words.iter().zip(page[at * 8..].chunks_exact_mut(8)) {
            target.copy_from_slice(&word.to_le_bytes());
        }
    };
    put(word::HEADER, &[u64::from_le_bytes(CONTROL_MAGIC), VERSION]);
    put(word::HEADER + 2, &halves(owner.store.0));
    put(word::HEADER + 4, &halves(owner.incarnation.0));
    put(word::HEADER + 6, &halves(owner.boot.0));
    let place = owner.identity;
    put(word::HEADER + 8, &[owner.mount, place.file_system, place.inode, place.birth.cast_unsigned()]);
    put(word::HEADER + 12, &[u64::from(pid)]);
    put(word::IN_FLIGHT, &[0, check_of(Kind::InFlight, [0, 0, 0])]);
    let epoch = [epoch.segment.0, u64::from(epoch.takeover), 0];
    put(word::EPOCH, &[epoch[0], epoch[1], check_of(Kind::Epoch, epoch)]);
    let slots = [(Kind::Durable, word::DURABLE, durable), (Kind::Committed, word::COMMITTED, end)];
    for (kind, slots, end) in slots {
        let end = [end.end.0, end.last_frame.0, end.last_check];
        // Both, so that one that is bad was being written, or is.
        for slot in slots {
            put(slot, &[end[0], end[1], end[2], check_of(kind, end)]);
        }
    }
    let check = long_check(0, &page[..word::HEADER_CHECK * 8]);
    page[word::HEADER_CHECK * 8..][..8].copy_from_slice(&check.to_le_bytes());
    page
}

fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let number = u128::from_le_bytes(bytes);
    [number as u64, (number >> 64) as u64]
}

fn whole(low: u64, high: u64) -> [u8; 16] {
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}

/// What a page says, as it was read at one moment. Its checks held; whether the log agrees is for recovery to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) owner: Owner,
    /// The process that wrote it, for people.
    pub(crate) pid: u64,
    pub(crate) epoch: Option<Epoch>,
    /// The furthest that is whole.
    pub(crate) committed: Option<LogEnd>,
    /// Only one of the two slots is whole: the other was being written, and then the log reaches further; or it went bad.
    pub(crate) is_commit_half: bool,
    /// The furthest that is whole.
    pub(crate) durable: Option<LogEnd>,
    /// A sync was begun, and nobody wrote down that it succeeded.
    pub(crate) is_sync_in_flight: bool,
    /// A write or sync had an unknown effect.
    pub(crate) is_poisoned: bool,
}

impl Seen {
    /// Reads the page of a store; `None` where there is none whose header holds.
    pub(crate) fn read(storage: &dyn Storage) -> Option<Seen> {
        let file = storage.open(file_name::CONTROL, Access::Read).ok()?;
        let mut bytes = [0; CONTROL_BYTES];
        let read = file.read_at(&mut bytes, 0).ok()?;
        Seen::decode(&bytes[..read])
    }

    /// The value of a page.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Seen> {
        let page = bytes.get(..word::COUNT * 8)?;
        let word = |at: usize| u64::from_le_bytes(page[at * 8..][..8].try_into().expect("eight bytes"));
        let check = long_check(0, &page[..word::HEADER_CHECK * 8]);
        let is_ours = word(0) == u64::from_le_bytes(CONTROL_MAGIC) && word(1) == VERSION;
        if !is_ours || word(word::HEADER_CHECK) != check {
            return None;
        }
        let ends = |kind, slots: [usize; 2]| {
            slots.map(|at| {
                let values = [word(at), word(at + 1), word(at + 2)];
                let [end, last_frame, last_check] = values;
                let end = LogEnd { end: Position(end), last_frame: Position(last_frame), last_check };
                (word(at + 3) == check_of(kind, values)).then_some(end)
            })
        };
        let furthest = |ends: [Option<LogEnd>; 2]| ends.into_iter().flatten().max_by_key(|end| end.end);
        let durable = furthest(ends(Kind::Durable, word::DURABLE));
        let committed = ends(Kind::Committed, word::COMMITTED);
        let in_flight = word(word::IN_FLIGHT);
        let is_whole = word(word::IN_FLIGHT + 1) == check_of(Kind::InFlight, [in_flight, 0, 0]);
        let epoch = [word(word::EPOCH), word(word::EPOCH + 1), 0];
        let takeover = u16::try_from(epoch[1]).ok();
        let is_epoch_whole = word(word::EPOCH + 2) == check_of(Kind::Epoch, epoch);
        Some(Seen {
            owner: Owner {
                store: StoreId(whole(word(2), word(3))),
                incarnation: Incarnation(whole(word(4), word(5))),
                boot: BootId(whole(word(6), word(7))),
                mount: word(8),
                identity: FilePlace { file_system: word(9), inode: word(10), birth: word(11).cast_signed() },
            },
            pid: word(12),
            epoch: takeover
                .filter(|_| is_epoch_whole)
                .map(|takeover| Epoch { segment: SegmentOrdinal(epoch[0]), takeover }),
            committed: furthest(committed),
            is_commit_half: committed.contains(&None),
            durable,
            is_sync_in_flight: !is_whole || durable.is_none_or(|durable| in_flight > durable.end.0),
            is_poisoned: word(word::POISONED) != 0,
        })
    }
}

/// Notes in the page that is there, where there is one, that a write or sync had an unknown effect: whoever opens the store
/// next knows it too.
pub(crate) fn poison_page(storage: &dyn Storage) {
    if let Ok(file) = storage.open(file_name::CONTROL, Access::ReadWrite)
        && file.len().is_ok_and(|len| len == CONTROL_BYTES as u64)
    {
        let _ = file.write_at(&1u64.to_le_bytes(), word::POISONED as u64 * 8); // without it the next one fares as this one
    }
}
