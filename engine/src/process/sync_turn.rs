//! Taking turns to sync: one process syncs, for all that is committed by then, and those whose frames it covers are served.
//!
//! **Who is woken.** A sync that is under way covers what was committed before it began; who comes later waits for the one after
//! it. So who waits says for which of the two, by whether the number of that sync is odd, or for both where it cannot tell; and
//! the end of a sync wakes all whom it served, and of the others one alone, to sync next. To wake all of them would
//! cost each a look at the log and another sleep, where the processors are what is short.
//!
//! **Gathering.** Who has the right to sync waits a moment for others who are likely to come: those that the last syncs served
//! mostly come back. It says how many it waits for, and only the last of them wakes it.
//!
//! All that the page says of it is advice. Whoever is not woken looks again by itself after twice the time that the last sync
//! took, and a process that was woken to sync and was killed before it did so costs the others such a nap.

use std::time::Duration;

use crate::Result;
use crate::ids::Position;
use crate::process::control::{ControlPage, word};
use crate::process::turn::{NAP, SYNC, Turns, lock_error};
use crate::storage::{LockKind, Reasons, SharedWords};
use crate::sync::{now, thread};

/// The longest nap of who waits for a sync, whatever the page says of the last one.
const NAP_MAX: Duration = Duration::from_millis(10);
/// The longest time that others are waited for, whatever the page says of the last sync.
const GATHER_MAX: Duration = Duration::from_millis(1);

/// The right to sync, until it is dropped.
#[derive(Debug)]
pub(crate) struct SyncLock<'a>(Option<Held<'a>>);

#[derive(Debug)]
struct Held<'a> {
    turns: &'a Turns,
    control: &'a ControlPage,
    /// The number of the last sync that was begun before.
    before: u64,
}

impl Turns {
    /// Takes the right to sync, or returns `None` once `is_over`, which it is when the log is durable up to `target`.
    pub(crate) fn take_sync<'a>(
        &'a self,
        control: &'a ControlPage,
        target: Position,
        describe: &dyn Fn() -> String,
        is_over: impl Fn() -> bool,
    ) -> Result<Option<SyncLock<'a>>> {
        if !self.are_shared() {
            return Ok(Some(SyncLock(None)));
        }
        if is_over() {
            return Ok(None);
        }
        let words = control.words();
        if let Some(words) = words {
            arrive(words);
        }
        let until = now() + self.patience;
        let mut naps = 0;
        loop {
            let seen = words.map_or(0, |words| words.load(word::HANDED_ON));
            if naps > 0 && is_over() {
                return Ok(None);
            }
            // Whoever gathers others has it for now.
            let is_gathering = naps == 0 && words.is_some_and(is_gathering);
            if !is_gathering && let Some(lock) = self.lock_sync(control)? {
                return Ok(Some(lock));
            }
            if now() >= until {
                return Err(self.out_of_patience(&describe(), word::SYNCED));
            }
            // Its end wakes those it served: they look by themselves hardly before it should be over, and less often the longer
            // it takes.
            let least = NAP * (1 << (naps / 8).min(7));
            naps += 1;
            match words {
                Some(words) => {
                    let twice = Duration::from_nanos(words.load(word::TOOK).saturating_mul(2)).clamp(NAP, NAP_MAX);
                    words.wait_for(word::HANDED_ON, seen, served_by(words, target), twice.max(least));
                }
                None => thread::sleep(least),
            }
        }
    }

    /// Takes the right to sync, if nobody has it.
    pub(crate) fn try_sync<'a>(&'a self, control: &'a ControlPage) -> Option<SyncLock<'a>> {
        if !self.are_shared() {
            return Some(SyncLock(None));
        }
        self.lock_sync(control).ok().flatten()
    }

    fn lock_sync<'a>(&'a self, control: &'a ControlPage) -> Result<Option<SyncLock<'a>>> {
        let got = self.identity.try_lock_byte(SYNC, LockKind::Exclusive).map_err(lock_error)?;
        Ok(got.then(|| {
            let before = control.words().map_or(0, |words| words.load(word::BEGUN));
            SyncLock(Some(Held { turns: self, control, before }))
        }))
    }

    /// Waits a moment for others who are likely to come. At most a quarter of what the last sync took, and at most a
    /// millisecond, whatever the page says. For who has the right to sync.
    pub(crate) fn gather(&self, control: &ControlPage) {
        let Some(words) = control.words().filter(|_| self.are_shared()) else { return };
        let gathered = words.load(word::GATHERED);
        let expected = word::CAME.map(|came| words.load(came)).into_iter().max().unwrap_or(0);
        let until = now() + Duration::from_nanos(words.load(word::TOOK) / 4).min(GATHER_MAX);
        words.store(word::AWAITED, gathered.wrapping_add(expected));
        let came = loop {
            let arrived = words.load(word::ARRIVED);
            let came = arrived.wrapping_sub(gathered);
            let left = until.saturating_duration_since(now());
            if came >= expected || left.is_zero() {
                words.store(word::GATHERED, arrived);
                break came;
            }
            words.wait(word::ARRIVED, arrived, left);
        };
        words.store(word::AWAITED, 0);
        words.store(word::CAME[1], words.load(word::CAME[0]));
        words.store(word::CAME[0], came);
    }
}

/// One more has come to sync. The last that is waited for wakes who gathers them.
fn arrive(words: &SharedWords) {
    words.count_up(word::ARRIVED);
    let awaited = words.load(word::AWAITED);
    if awaited != 0 && words.load(word::ARRIVED) >= awaited {
        words.wake(word::ARRIVED, 1);
    }
}

/// Whether somebody gathers those who come, and more are to come than have.
fn is_gathering(words: &SharedWords) -> bool {
    // Nobody has so many processes: the page is garbage.
    const MANY: u64 = 1 << 20;
    (1..MANY).contains(&words.load(word::AWAITED).wrapping_sub(words.load(word::ARRIVED)))
}

/// The sync that makes the log durable up to `target`: the one that is under way, the one after it, or either.
fn served_by(words: &SharedWords, target: Position) -> Reasons {
    let begun = words.load(word::BEGUN);
    let upto = words.load(word::IN_FLIGHT);
    if upto == 0 || words.load(word::BEGUN) != begun {
        return Reasons::ANY;
    }
    number(if target.0 <= upto { begun } else { begun.wrapping_add(1) })
}

/// Who waits for the sync with this number.
fn number(sync: u64) -> Reasons {
    Reasons::one(sync % 2)
}

impl Drop for SyncLock<'_> {
    fn drop(&mut self) {
        let Some(Held { turns, control, before }) = self.0.take() else { return };
        let _ = turns.identity.unlock_byte(SYNC); // fails in a fork alone, which holds nothing
        let Some(words) = control.words() else { return };
        // Those who follow what is durable.
        words.count_up(word::SYNCED);
        words.wake(word::SYNCED, u32::MAX);
        words.count_up(word::HANDED_ON);
        let begun = words.load(word::BEGUN);
        if begun == before.wrapping_add(1) && words.load(word::IN_FLIGHT) == 0 {
            let _ = words.wake_for(word::HANDED_ON, number(begun), u32::MAX);
            let _ = words.wake_for(word::HANDED_ON, number(begun.wrapping_add(1)), 1);
        } else {
            words.wake(word::HANDED_ON, u32::MAX); // it served nobody, or not by this page
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BootId, Epoch, FilePlace, Incarnation, SegmentOrdinal, StoreId};
    use crate::process::control::{Others, Owner};
    use crate::storage::os::OsStorage;
    use crate::storage::{Access, Storage};
    use crate::watermark::LogEnd;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    const OWNER: Owner = Owner {
        store: StoreId([1; 16]),
        incarnation: Incarnation([2; 16]),
        boot: BootId([3; 16]),
        mount: 4,
        identity: FilePlace { file_system: 5, inode: 6, birth: 7 },
    };

    /// A process of its own, to the system: it has opened the identity file anew.
    fn process(storage: &dyn Storage) -> (Turns, ControlPage) {
        let identity = storage.open("identity", Access::ReadWrite).expect("it is there");
        let page = ControlPage::join(storage, &OWNER).expect("a page");
        (Turns::new(storage, identity, true, Duration::from_secs(60)), page)
    }

    fn store() -> (tempfile::TempDir, OsStorage) {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = OsStorage::open(folder.path()).expect("it opens");
        let _ = storage.create("identity", 4096).expect("it is new");
        let epoch = Epoch { segment: SegmentOrdinal(0), takeover: 0 };
        let _ = ControlPage::establish(&storage, &OWNER, epoch, LogEnd::default(), Others::None);
        (folder, storage)
    }

    #[test]
    fn who_finds_that_another_syncs_lets_nothing_go_and_wakes_nobody() {
        let (_folder, storage) = store();
        let ((one, page), (other, others_page)) = (process(&storage), process(&storage));
        let lock = one.try_sync(&page).expect("nobody syncs");
        let handed_on = page.words().expect("words").load(word::HANDED_ON);
        assert!(other.try_sync(&others_page).is_none());
        assert!(other.try_sync(&others_page).is_none(), "the first look let the lock go");
        assert_eq!(page.words().expect("words").load(word::HANDED_ON), handed_on);
        drop(lock);
        assert_eq!(page.words().expect("words").load(word::HANDED_ON), handed_on + 1);
        assert!(other.try_sync(&others_page).is_some());
    }

    #[test]
    fn who_waits_says_for_which_sync() {
        let (_folder, storage) = store();
        let (_, page) = process(&storage);
        let words = page.words().expect("words");
        assert_eq!(served_by(words, Position(100)), Reasons::ANY);
        for (sync, upto) in [(1, 100), (2, 200), (3, 300)] {
            page.begin_sync(Position(upto));
            assert_eq!(words.load(word::BEGUN), sync);
            assert_eq!(served_by(words, Position(upto)), number(sync));
            assert_eq!(served_by(words, Position(upto + 8)), number(sync + 1));
            assert_ne!(number(sync), number(sync + 1));
            page.end_sync(LogEnd { end: Position(upto), ..LogEnd::default() }, Duration::from_micros(100));
            assert_eq!(served_by(words, Position(upto + 8)), Reasons::ANY);
        }
    }

    #[test]
    fn all_who_wait_are_served_and_one_process_at_a_time_syncs() {
        const EACH: u64 = 200;
        let (_folder, storage) = store();
        let (appended, durable, syncing) =
            (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (turns, page) = process(&storage);
                let (appended, durable, syncing) = (Arc::clone(&appended), Arc::clone(&durable), &syncing);
                scope.spawn(move || {
                    for _ in 0..EACH {
                        let target = Position(appended.fetch_add(8, Ordering::SeqCst) + 8);
                        let is_over = || durable.load(Ordering::SeqCst) >= target.0;
                        while !is_over() {
                            let taken = turns.take_sync(&page, target, &String::new, is_over).expect("patience");
                            let Some(lock) = taken else { continue };
                            assert_eq!(syncing.fetch_add(1, Ordering::SeqCst), 0, "two sync at once");
                            turns.gather(&page);
                            let end = Position(appended.load(Ordering::SeqCst));
                            page.begin_sync(end);
                            durable.fetch_max(end.0, Ordering::SeqCst);
                            page.end_sync(LogEnd { end, ..LogEnd::default() }, Duration::from_micros(50));
                            syncing.fetch_sub(1, Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
        assert_eq!(durable.load(Ordering::SeqCst), 4 * EACH * 8);
    }
}
