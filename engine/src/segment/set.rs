//! All segments of a store, in log order, and the open ones among them.
//!
//! What is known of every segment is small and kept; the mappings are made when asked for and bounded in number, the
//! least recently used going first. So are open files, of which a process may have few: those that were not used for longest
//! are let go of, and what they map stays. A cursor keeps its own segment open for as long as it stands in it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use foldhash::HashMap;

use crate::error::{Damage, DamageClass};
use crate::format::file_name::{self, FileKind};
use crate::format::item::AcceptedRange;
use crate::format::store_block::StoreBlock;
use crate::ids::{Position, SegmentOrdinal};
use crate::segment::one::{LostHead, Segment, Unusable};
use crate::storage::{Access, Storage, has_mappings_to_spare};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, RwLock};
use crate::{Error, Result};

/// The most segments that are kept with their open files, of which a process may mostly have a thousand.
const FILES_MAX: usize = 128;
/// The most that are kept mapped, as long as the process has mappings to spare. Read everywhere, so much takes page tables of a
/// 512th of it.
const MAPPED_BYTES_MAX: u64 = 64 << 30;
/// But no more than so many.
const MAPPED_MAX: u64 = 4096;
/// The most where the process has none to spare.
const MAPPED_MIN: u64 = 128;

/// The most that are kept open where each is a copy in memory.
const COPIES_MAX: usize = 2;

/// What is known of a segment without opening it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) ordinal: SegmentOrdinal,
    /// Position of byte 0 of its file.
    pub(crate) base: Position,
    /// Position behind its file.
    pub(crate) file_end: Position,
    /// Where it ended; `None` for the active one.
    pub(crate) end: Option<Position>,
    /// Its last index block; zero where it has none or none is known.
    pub(crate) last_index_block: Position,
    /// What is wrong with it as a whole: it cannot be opened.
    pub(crate) damage: Option<Damage>,
    /// Its head block is lost; what is needed to read it all the same.
    pub(crate) lost_head: Option<LostHead>,
    /// Its file was not looked at yet: what its head block said when it was.
    pub(crate) expected: Option<LostHead>,
}

impl Known {
    /// An open segment that has no end yet.
    pub(crate) fn active(segment: &Segment) -> Known {
        Known {
            ordinal: segment.ordinal(),
            base: segment.base,
            file_end: segment.file_end(),
            end: None,
            last_index_block: Position::ZERO,
            damage: None,
            lost_head: None,
            expected: None,
        }
    }

    /// Whether it was active when it was looked up and has been left since, since the log reaches `limit`: then it may have
    /// ended before bytes that look like the next frame.
    #[inline]
    pub(crate) fn may_have_ended(&self, limit: Position) -> bool {
        self.end.is_none() && limit > self.file_end
    }
}

/// All segments of a store.
pub(crate) struct SegmentSet {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) store: StoreBlock,
    known: RwLock<Vec<Known>>,
    open: Mutex<Open>,
    /// Where reading ends at something of a newer version, and what it is.
    unsupported: RwLock<Option<(Position, String)>>,
    /// A place at which a frame ends for certain: where the log ended when that was last looked up.
    proven_end: AtomicU64,
    /// The stretches of the log whose loss was accepted.
    accepted: RwLock<Vec<AcceptedRange>>,
    /// A writer goes on with it.
    is_written: AtomicBool,
}

impl fmt::Debug for SegmentSet {
    /// Without the segments, which may be many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentSet").field("storage", &self.storage.describe()).finish_non_exhaustive()
    }
}

/// Whether so many files, one of each segment, are more than are to be kept mapped for later use.
pub(crate) fn is_too_many_mapped(count: usize, segment_bytes: u64) -> bool {
    let most = (MAPPED_BYTES_MAX / segment_bytes.max(1)).clamp(MAPPED_MIN, MAPPED_MAX);
    count as u64 > most || count as u64 > MAPPED_MIN && !has_mappings_to_spare()
}

/// The segments that are kept open, by their ordinals.
#[derive(Debug, Default)]
struct Open {
    segments: HashMap<SegmentOrdinal, Kept>,
    /// Those among them that have their open file.
    with_file: usize,
    /// Rises with each use.
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    segment: Arc<Segment>,
    /// When it was used last.
    used: u64,
}

impl Open {
    fn close(&mut self, ordinal: SegmentOrdinal) {
        let closed = self.segments.remove(&ordinal);
        self.with_file -= closed.map_or(0, |closed| usize::from(closed.segment.has_file()));
    }

    fn get(&mut self, ordinal: SegmentOrdinal) -> Option<Arc<Segment>> {
        let kept = self.segments.get_mut(&ordinal)?;
        self.uses += 1;
        kept.used = self.uses;
        Some(Arc::clone(&kept.segment))
    }

    fn keep(&mut self, segment: &Arc<Segment>, segment_bytes: u64) {
        self.uses += 1;
        self.with_file += usize::from(segment.has_file());
        let kept = Kept { segment: Arc::clone(segment), used: self.uses };
        let before = self.segments.insert(segment.ordinal(), kept);
        self.with_file -= before.map_or(0, |before| usize::from(before.segment.has_file()));
        if segment.is_copy() {
            return self.drop_oldest(COPIES_MAX);
        }
        if self.with_file > FILES_MAX {
            self.let_go_of_files();
        }
        if is_too_many_mapped(self.segments.len(), segment_bytes) {
            // Several at once: each time all are looked at.
            self.drop_oldest(self.segments.len() - self.segments.len() / 16 - 1);
        }
    }

    /// When the segment was used last behind which `most` were.
    fn used_before(uses: impl Iterator<Item = u64>, most: usize) -> u64 {
        let mut uses: Vec<u64> = uses.collect();
        let Some(behind) = uses.len().checked_sub(most + 1) else { return 0 };
        *uses.select_nth_unstable(behind).1
    }

    /// Drops all but those that were used last.
    fn drop_oldest(&mut self, most: usize) {
        let oldest = Open::used_before(self.segments.values().map(|kept| kept.used), most);
        self.segments.retain(|_, kept| kept.used > oldest);
        self.with_file = self.segments.values().filter(|kept| kept.segment.has_file()).count();
    }

    /// Lets go of half of the open files.
    fn let_go_of_files(&mut self) {
        let with_file = || self.segments.values().filter(|kept| kept.segment.has_file());
        let oldest = Open::used_before(with_file().map(|kept| kept.used), FILES_MAX / 2);
        for kept in self.segments.values_mut().filter(|kept| kept.used <= oldest && kept.segment.has_file()) {
            kept.segment = Arc::new(kept.segment.without_file());
            self.with_file -= 1;
        }
    }
}

impl SegmentSet {
    /// A set without segments.
    pub(crate) fn new(storage: Arc<dyn Storage>, store: StoreBlock) -> SegmentSet {
        SegmentSet {
            storage,
            store,
            known: RwLock::new(Vec::new()),
            open: Mutex::new(Open::default()),
            unsupported: RwLock::new(None),
            proven_end: AtomicU64::new(0),
            accepted: RwLock::new(Vec::new()),
            is_written: AtomicBool::new(false),
        }
    }

    /// Notes that a writer goes on with it, whose threads change it at any moment.
    pub(crate) fn begin_writing(&self) {
        self.is_written.store(true, Ordering::Relaxed);
    }

    /// Fails in a fork of the process that writes. The writer's threads are not there: a lock that one of them held is held
    /// for ever, and what is at the end of the log is no longer heard of. What is open for reading alone has no threads.
    #[inline]
    pub(crate) fn check_process(&self) -> Result<()> {
        match self.storage.forked_from().filter(|_| self.is_written.load(Ordering::Relaxed)) {
            None => Ok(()),
            Some(process) => Err(Error::forked(process)),
        }
    }

    /// Notes where the log ends.
    pub(crate) fn prove_end(&self, end: Position) {
        self.proven_end.fetch_max(end.0, Ordering::Relaxed);
    }

    /// A place at which a frame ends for certain, mostly the end of the log.
    pub(crate) fn proven_end(&self) -> Position {
        Position(self.proven_end.load(Ordering::Relaxed))
    }

    /// Notes stretches whose loss was accepted.
    pub(crate) fn accept(&self, ranges: &[AcceptedRange]) {
        self.accepted.write().extend_from_slice(ranges);
    }

    /// The stretches whose loss was accepted, in the order in which that was done.
    pub(crate) fn accepted(&self) -> Vec<AcceptedRange> {
        self.accepted.read().clone()
    }

    /// Marks damage whose loss was accepted: all of it lies in one stretch that an accept names.
    pub(crate) fn mark_accepted(&self, damage: &mut Damage) {
        let accepted = self.accepted.read();
        if accepted.is_empty() {
            return;
        }
        let Some(positions) = self.positions_of(damage) else { return };
        damage.is_accepted = accepted.iter().any(|range| range.holds(&positions));
    }

    /// The stretch of the log that damage takes: its positions, or for parts of a segment that hold none, such as a copy of
    /// the head block, those of its bytes. `None` for other files.
    pub(crate) fn positions_of(&self, damage: &Damage) -> Option<Range<Position>> {
        if damage.positions.start < damage.positions.end {
            return Some(damage.positions.clone());
        }
        let FileKind::Segment(ordinal) = file_name::parse(&damage.file) else { return None };
        let base = ordinal.0.checked_mul(self.store.segment_bytes)?;
        Some(Position(base.checked_add(damage.bytes.start)?)..Position(base.checked_add(damage.bytes.end)?))
    }

    /// The log goes on at `position` with something that only a newer version knows.
    pub(crate) fn set_unsupported(&self, position: Position, what: String) {
        *self.unsupported.write() = Some((position, what));
    }

    /// Fails where the log goes on, at `position` or before, with something that only a newer version knows.
    pub(crate) fn check_supported(&self, position: Position) -> Result<()> {
        match &*self.unsupported.read() {
            Some((at, what)) if *at <= position => Err(Error::new(
                crate::ErrorKind::Unsupported,
                format!("{what} at position {at}; use a newer version of treering"),
            )),
            _ => Ok(()),
        }
    }

    /// Adds the segment behind all others.
    pub(crate) fn push(&self, known: Known) {
        let mut all = self.known.write();
        debug_assert!(all.last().is_none_or(|last| last.file_end <= known.base));
        all.push(known);
    }

    /// Adds the new active segment, which is open, behind all others, and says where the one before ended.
    pub(crate) fn roll(&self, segment: &Arc<Segment>, predecessor_end: Position, last_index_block: Position) {
        let mut all = self.known.write();
        if let Some(before) = all.last_mut() {
            before.end = Some(predecessor_end);
            before.last_index_block = last_index_block;
        }
        all.push(Known::active(segment));
        drop(all);
        self.keep(segment);
    }

    /// Says where a segment ended, and which was its last index block.
    pub(crate) fn finish(&self, ordinal: SegmentOrdinal, end: Position, last_index_block: Position) {
        let mut all = self.known.write();
        if let Some(known) = all.iter_mut().rev().find(|known| known.ordinal == ordinal) {
            known.end = Some(end);
            known.last_index_block = last_index_block;
        }
    }

    /// The log ends in this segment, whatever an open frame behind it says: those behind it are void, and it has no end yet.
    /// The index block that the open frame named may be void too.
    pub(crate) fn finish_replay_at(&self, ordinal: SegmentOrdinal, last_index_block: Position) {
        let mut all = self.known.write();
        all.retain(|known| known.ordinal <= ordinal);
        if let Some(last) = all.last_mut() {
            last.end = None;
            last.last_index_block = last_index_block;
        }
    }

    /// Remembers the last index block of the active segment.
    pub(crate) fn set_last_index_block(&self, position: Position) {
        if let Some(active) = self.known.write().last_mut() {
            active.last_index_block = position;
        }
    }

    /// The last index block of the log; zero where there is none.
    pub(crate) fn last_index_block(&self) -> Position {
        let last = |known: &&Known| known.last_index_block != Position::ZERO;
        self.known.read().iter().rev().find(last).map_or(Position::ZERO, |known| known.last_index_block)
    }

    /// Everything known, in log order.
    pub(crate) fn all(&self) -> Vec<Known> {
        self.known.read().clone()
    }

    /// The last segment.
    pub(crate) fn last(&self) -> Option<Known> {
        self.known.read().last().cloned()
    }

    /// The segment whose file holds `position`, or else the first one behind it.
    pub(crate) fn at_or_behind(&self, position: Position) -> Option<Known> {
        let all = self.known.read();
        let index = all.partition_point(|known| known.file_end <= position);
        all.get(index).cloned()
    }

    /// The open segment whose file holds `position`.
    pub(crate) fn holding(&self, position: Position) -> Result<Arc<Segment>> {
        self.check_process()?;
        // Mostly a segment takes one ordinal, which its places tell.
        if let Some(segment) = self.open.lock().get(SegmentOrdinal(position.0 / self.store.segment_bytes)) {
            return Ok(segment);
        }
        let known = self.at_or_behind(position).filter(|known| known.base <= position).ok_or_else(|| {
            Error::new(crate::ErrorKind::Invalid, format!("position {position} lies in no segment of the store"))
        })?;
        self.open(&known).map_err(Error::from)
    }

    /// Opens a known segment.
    pub(crate) fn open(&self, known: &Known) -> Result<Arc<Segment>, Unusable> {
        self.check_process().map_err(Unusable::System)?;
        if let Some(segment) = self.open.lock().get(known.ordinal) {
            return Ok(segment);
        }
        if let Some(damage) = &known.damage {
            return Err(Unusable::Damaged(damage.clone()));
        }
        let segment = self.open_with(known, Access::Read)?;
        let segment = Arc::new(segment);
        self.keep(&segment);
        Ok(segment)
    }

    /// Opens the file of a known segment once more, for reading or writing.
    pub(crate) fn open_with(&self, known: &Known, access: Access) -> Result<Segment, Unusable> {
        match &known.lost_head {
            Some(lost) => Segment::open_without_head(&*self.storage, known.ordinal, access, &self.store, lost),
            None => match (Segment::open(&*self.storage, known.ordinal, access, &self.store), &known.expected) {
                // Its frames can be read all the same.
                (Err(Unusable::HeadLost(_)), Some(expected)) => {
                    Segment::open_without_head(&*self.storage, known.ordinal, access, &self.store, expected)
                }
                (Ok(segment), Some(expected))
                    if (segment.head.header.salt, segment.head.header.span) != (expected.salt, expected.span) =>
                {
                    Err(Unusable::Damaged(segment.damage(
                        segment.base,
                        segment.file_end(),
                        DamageClass::Stale,
                        "it is another file than the one that the log went through".into(),
                    )))
                }
                (opened, _) => opened,
            },
        }
    }

    /// Keeps an open segment for later use.
    pub(crate) fn keep(&self, segment: &Arc<Segment>) {
        self.open.lock().keep(segment, self.store.segment_bytes);
    }

    /// Closes a segment that nobody is expected to read soon, so that its mapped pages are not counted as this process's.
    pub(crate) fn close(&self, ordinal: SegmentOrdinal) {
        self.open.lock().close(ordinal);
    }
}
