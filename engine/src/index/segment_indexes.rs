//! The indexes of sealed segments that are there, opened when they are asked for.
//!
//! An index counts only for the very segment that it was made of: same salt, same end, same last frame. Whoever uses what it
//! says proves the frame at the place all the same. One that was found to lie is *doubted*: it is passed over from then on,
//! and made again in the background. What is not there is remembered until something may have changed.

use std::sync::Arc;

use foldhash::HashMap;

use crate::format::segment_index::postings::{self, Jump, StreamRecord};
use crate::format::segment_index::{Payload, SegmentIndexHead};
use crate::format::side_file::SideKind;
use crate::format::{Fault, file_name};
use crate::ids::{Position, SegmentOrdinal, StoreId, StreamId};
use crate::index::side_file::SideFile;
use crate::segment::one::Segment;
use crate::segment::set::{Known, SegmentSet, is_too_many_mapped};
use crate::storage::Storage;
use crate::sync::{AtomicBool, Mutex, Ordering, RwLock};

/// The newest segment that has an index is one of so many, where indexes are made at all: those that are made wait for no more.
const LOOKED_AT: usize = 32;

/// The index of a segment.
#[derive(Debug)]
pub(crate) struct SegmentIndex {
    pub(crate) head: SegmentIndexHead,
    pub(crate) file: SideFile,
}

impl Payload for SideFile {
    #[inline]
    fn bytes(&self, range: std::ops::Range<u64>) -> Result<&[u8], Fault> {
        SideFile::bytes(self, range)
    }
}

impl SegmentIndex {
    /// The index file of this name, where it is one of this store that holds together.
    pub(crate) fn open(storage: &dyn Storage, ordinal: SegmentOrdinal, store: StoreId) -> Option<SegmentIndex> {
        let file = SideFile::open(storage, &file_name::segment_index(ordinal), SideKind::SegmentIndex, store)?;
        let head = SegmentIndexHead::decode(&file.header.head, file.header.payload_len).ok()?;
        (head.ordinal == ordinal).then_some(SegmentIndex { head, file })
    }

    /// Whether it was made of this very segment, which ended at `end`.
    pub(crate) fn is_of(&self, segment: &Segment, end: Position) -> bool {
        let SegmentIndexHead { base, last_frame, last_check, .. } = self.head;
        if base != segment.base || self.head.end != end || self.head.salt != segment.head.header.salt {
            return false;
        }
        if last_frame < segment.first_frame() {
            return segment.first_check() == Some(last_check); // it holds nothing but its open frame
        }
        let frame = segment.frame_without_bodies(last_frame, end);
        frame.is_ok_and(|frame| frame.end() == end && frame.frame_check() == last_check)
    }

    /// What it says of a stream.
    #[inline]
    pub(crate) fn find(&self, stream: StreamId) -> Result<Option<StreamRecord>, Fault> {
        postings::find(&self.file, &self.head, stream)
    }
}

#[derive(Debug)]
struct Slot {
    /// `None`: none is there that could be used.
    index: Option<Arc<SegmentIndex>>,
    /// It said what is not so, or a block of it is bad.
    is_doubted: AtomicBool,
    was_used: AtomicBool,
}

/// The indexes of a store's segments.
#[derive(Debug)]
pub(crate) struct SegmentIndexes {
    set: Arc<SegmentSet>,
    slots: RwLock<HashMap<SegmentOrdinal, Slot>>,
    /// Those that are to be made anew.
    doubted: Mutex<Vec<SegmentOrdinal>>,
}

impl Slot {
    #[inline]
    fn trusted(&self) -> Option<Arc<SegmentIndex>> {
        self.was_used.store(true, Ordering::Relaxed);
        self.index.clone().filter(|_| !self.is_doubted.load(Ordering::Relaxed))
    }
}

impl SegmentIndexes {
    /// None is open yet.
    pub(crate) fn new(set: Arc<SegmentSet>) -> SegmentIndexes {
        SegmentIndexes { set, slots: RwLock::default(), doubted: Mutex::default() }
    }

    /// The index of the segment whose file holds a place, where there is one that can be used.
    #[inline]
    pub(crate) fn holding(&self, place: Position) -> Option<Arc<SegmentIndex>> {
        // Mostly a segment takes one ordinal, which its places tell.
        let ordinal = SegmentOrdinal(place.0 / self.set.store.segment_bytes);
        if let Some(slot) = self.slots.read().get(&ordinal) {
            return slot.trusted();
        }
        let known = self.set.at_or_behind(place).filter(|known| known.base <= place)?;
        self.of(&known)
    }

    /// The index of a segment, where there is one that can be used.
    pub(crate) fn of(&self, known: &Known) -> Option<Arc<SegmentIndex>> {
        self.get(known, Slot::trusted)
    }

    /// The index of a segment, where there is one, also one that is doubted: for who proves all that it says.
    pub(crate) fn doubted_or_not(&self, known: &Known) -> Option<Arc<SegmentIndex>> {
        self.get(known, |slot| slot.index.clone())
    }

    fn get(&self, known: &Known, take: impl FnOnce(&Slot) -> Option<Arc<SegmentIndex>>) -> Option<Arc<SegmentIndex>> {
        if let Some(slot) = self.slots.read().get(&known.ordinal) {
            return take(slot);
        }
        let end = known.end?;
        let index = self.open(known, end).map(Arc::new);
        let mut slots = self.slots.write();
        if is_too_many_mapped(slots.len() + 1, self.segment_bytes()) {
            // Those that nobody asked for since the last time go.
            let most = slots.len();
            slots.retain(|_, slot| std::mem::replace(slot.was_used.get_mut(), false));
            if slots.len() >= most {
                slots.clear();
            }
        }
        let slot = Slot { index: index.clone(), is_doubted: AtomicBool::new(false), was_used: AtomicBool::new(true) };
        slots.insert(known.ordinal, slot);
        index
    }

    fn open(&self, known: &Known, end: Position) -> Option<SegmentIndex> {
        let index = SegmentIndex::open(&*self.set.storage, known.ordinal, self.set.store.store)?;
        let segment = self.set.open(known).ok().filter(|segment| !segment.is_head_lost)?;
        index.is_of(&segment, end).then_some(index)
    }

    /// What the index of an older segment says of a stream, to which a jump leads; it must be the stream's segment `number`.
    pub(crate) fn numbered(
        &self,
        jump: Jump,
        stream: StreamId,
        number: u64,
    ) -> Option<(Arc<SegmentIndex>, StreamRecord)> {
        let place = Position(jump.ordinal.0.checked_mul(self.set.store.segment_bytes)?);
        let index = self.holding(place)?;
        let record = index.find(stream).ok()??;
        (record.number == number && record.first_revision == jump.first_revision).then_some((index, record))
    }

    /// An index said what is not so, or a block of it is bad: it is not asked again, and made anew in the background.
    #[cold]
    pub(crate) fn doubt(&self, ordinal: SegmentOrdinal) {
        let slots = self.slots.read();
        let Some(slot) = slots.get(&ordinal) else { return };
        if !slot.is_doubted.swap(true, Ordering::Relaxed) {
            self.doubted.lock().push(ordinal);
        }
    }

    /// One that was doubted since this was asked last.
    pub(crate) fn take_doubted(&self) -> Option<SegmentOrdinal> {
        self.doubted.lock().pop()
    }

    /// Where there was none one may be now: for who reads what another process writes.
    pub(crate) fn look_for_more(&self) {
        if self.slots.read().values().any(|slot| slot.index.is_none()) {
            self.slots.write().retain(|_, slot| slot.index.is_some());
        }
    }

    /// Where the newest of the segments ends that have an index, as far as it is one of the last; else the start of the log.
    pub(crate) fn indexed_end(&self) -> Position {
        let all = self.set.all();
        let mut finished = all.iter().rev().filter(|known| known.end.is_some()).take(LOOKED_AT);
        let indexed = finished.find(|known| self.of(known).is_some());
        indexed.and_then(|known| known.end).unwrap_or(Position::ZERO)
    }

    /// How many bytes an ordinal stands for.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.set.store.segment_bytes
    }

    /// An index may be there now, or be another one.
    pub(crate) fn look_again(&self, ordinal: SegmentOrdinal) {
        self.slots.write().remove(&ordinal);
    }
}
