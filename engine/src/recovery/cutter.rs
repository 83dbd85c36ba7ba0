//! Who writes checkpoints: a reader of the log that follows the writer through what is durable.
//!
//! It begins at the checkpoint that opening began from, or at the first segment, reads to an index block far enough behind, writes
//! what the stretch added as a run of the directory, then the checkpoint that names it. So making the directory for the first
//! time, making it anew, and keeping it up are one thing. It holds the streams of one stretch in memory, however many there
//! are in all. On the way it gathers what the indexes of the segments say (`replay/gather.rs`).
//!
//! What it leaves behind at any moment is whole: runs that no checkpoint names are nothing, the older checkpoint stays until
//! the newer one has its name, and the runs of both are kept.

use std::sync::Arc;

use crate::commit::indexer::Derive;
use crate::commit::writer::{CLOSING_SHARE, Writer};
use crate::error::ErrorKind;
use crate::format::directory::{Checkpoint, HeadRow, NameRow, RetryRow, SegmentRow};
use crate::format::file_name;
use crate::format::side_file::SideKind;
use crate::format::store_block::StoreBlock;
use crate::ids::{Position, SegmentOrdinal};
use crate::index::build::{IndexBuild, Memory};
use crate::index::directory::{Directory, Place, Rows};
use crate::index::noted::Waiting;
use crate::index::on_demand::{ReadLog, Streams};
use crate::index::side_file::SideWriter;
use crate::limits::RETRY_WINDOW_BATCHES;
use crate::recovery::checkpoint::{self, Resumed};
use crate::recovery::decision;
use crate::recovery::replay::{Gather, NotedStretches, Replay};
use crate::segment::one::Segment;
use crate::segment::set::{Known, SegmentSet};
use crate::storage::{Access, Storage};
use crate::{Error, Result};

/// A checkpoint is due once an index block that lies so many stretches behind the last one is durable.
const DUE_STRIDES: u64 = 2;
/// Far behind the log, checkpoints are this part of the way apart …
const CATCH_UP_SHARE: u64 = 4;
/// … but no further than so many bytes: what one stretch adds is held in memory.
const STRETCH_BYTES_MAX: u64 = 8 << 20;

/// Writes checkpoints.
#[derive(Debug)]
pub(crate) struct Cutter {
    storage: Arc<dyn Storage>,
    store: StoreBlock,
    /// The checkpoint that was found: until one is due behind it, nothing is opened.
    covered: Position,
    reading: Option<Box<Reading>>,
    /// It is tried again once so much is durable; never where nothing can come of it.
    again_at: Position,
    /// The directory that there is proved bad: it is made anew, from the first segment on.
    is_anew: bool,
    /// The index block that the next checkpoint may stand behind: one that is durable, or will be soon.
    block: Option<Position>,
    /// What the writer of this process notes of what it appends.
    noted: Arc<Waiting>,
}

/// Where it stands in the log.
#[derive(Debug)]
struct Reading {
    set: Arc<SegmentSet>,
    replay: Replay,
    streams: Arc<Streams>,
    directory: Directory,
    /// The segment of the last checkpoint: from it on segments may have ended that no run names.
    segment: SegmentOrdinal,
    generation: u64,
    /// The last checkpoint that was written or found.
    last: Option<Checkpoint>,
    /// The last number that a file of the directory got, and those that there are.
    number: u64,
    files: Vec<u64>,
}

impl Cutter {
    /// For a store that was opened for writing from the checkpoint at `covered`; zero where there was none.
    /// What is `noted` is taken in place of frames.
    pub(crate) fn new(storage: Arc<dyn Storage>, store: StoreBlock, covered: Position, noted: Arc<Waiting>) -> Cutter {
        let again_at = Position::ZERO;
        Cutter { storage, store, covered, reading: None, again_at, is_anew: false, block: None, noted }
    }

    /// Writes the next checkpoint, if one is due of what is durable. `last_block` is the last index block that was written.
    /// `true` where another one may be due at once.
    fn step_to(&mut self, durable: Position, last_block: Position, due: u64) -> bool {
        // While much is written the newest block is never durable yet: it is waited for, and gives way to a newer one when a
        // checkpoint stands behind it, or when that one is durable too.
        let is_due = |block: Position| block.0 >= self.covered.0.saturating_add(due);
        if self.block.is_none_or(|block| !is_due(block) || block < durable && last_block < durable) {
            self.block = Some(last_block);
        }
        let next = *self.block.get_or_insert(last_block);
        // Far behind, a block on the way will do.
        if next >= durable && !self.is_far(durable) || durable < self.again_at {
            return false;
        }
        match self.try_step(durable, next.min(durable), due) {
            Ok(is_more) => is_more,
            // What was begun is forgotten, so that nothing half true is kept.
            Err(error) if error.kind() == ErrorKind::Damage && !self.is_anew => {
                self.begin_anew();
                true
            }
            Err(_) => {
                // It is derived: without it opening reads more.
                self.reading = None;
                self.again_at = Position(durable.0.saturating_add(STRETCH_BYTES_MAX));
                false
            }
        }
    }

    /// Whether more lies between the last checkpoint and a place than is read at once.
    fn is_far(&self, place: Position) -> bool {
        place.0 > self.covered.0.saturating_add(STRETCH_BYTES_MAX)
    }

    /// The directory is made anew, from the first segment on.
    fn begin_anew(&mut self) {
        self.is_anew = true;
        self.covered = Position::ZERO;
        self.reading = None;
    }

    /// Goes on as far as can be; `tell` hears how far it is.
    fn step_all(&mut self, writer: &Writer, tell: &mut dyn FnMut(Position)) {
        let due = self.store.index_stride_bytes / CLOSING_SHARE;
        while self.step_to(writer.marks.get().durable, writer.set.last_index_block(), due) {
            tell(self.reading.as_ref().map_or(self.covered, |reading| reading.replay.at));
        }
    }

    /// Begins to read at the checkpoint that was found, where it has not yet and can.
    fn begin_reading(&mut self) -> Result<()> {
        if self.reading.is_none() {
            match Reading::begin(&self.storage, self.store, self.covered)? {
                Some(mut reading) => {
                    reading.replay.noted = Some(NotedStretches::of(Arc::clone(&self.noted)));
                    self.reading = Some(Box::new(reading));
                }
                None => self.again_at = Position::MAX,
            }
        }
        Ok(())
    }

    /// Goes on to the index block at `block`, all of which is durable, if that is far enough.
    fn try_step(&mut self, durable: Position, block: Position, due: u64) -> Result<bool> {
        let is_due = |covered: Position| block.0 >= covered.0.saturating_add(due);
        if self.reading.is_none() && !is_due(self.covered) {
            return Ok(false);
        }
        self.begin_reading()?;
        let Some(reading) = &mut self.reading else { return Ok(false) };
        let covered = reading.directory.covered();
        if !is_due(covered) {
            return Ok(false);
        }
        let behind = block.0 - covered.0;
        let upto = match behind > STRETCH_BYTES_MAX {
            true => Position(covered.0 + (behind / CATCH_UP_SHARE).min(STRETCH_BYTES_MAX)),
            false => Position(block.0 + 1),
        };
        reading.replay.witness = reading.replay.witness.max(durable);
        let before = reading.replay.at;
        reading.replay.follow_to_block(durable, upto)?;
        if reading.is_unfit()? {
            self.again_at = Position::MAX;
            return Ok(false);
        }
        let is_there = reading.replay.at >= upto && reading.replay.is_behind_block();
        if is_there {
            reading.cut()?;
            self.covered = reading.directory.covered();
        }
        // It pauses where a segment ended, so that whoever makes the indexes takes what was gathered of it.
        Ok(is_there || reading.replay.at > before && self.has_gathered(SegmentOrdinal(0)))
    }
}

impl Derive for Cutter {
    fn step(&mut self, writer: &Writer) -> bool {
        // Whoever looked a stream up has found that the directory is not what was written.
        if writer.streams.is_directory_bad() && !self.is_anew {
            self.begin_anew();
        }
        let due = DUE_STRIDES * self.store.index_stride_bytes;
        self.step_to(writer.marks.get().durable, writer.set.last_index_block(), due)
    }

    /// A checkpoint is written behind the last index block, so that the next opening has little to read.
    fn close(&mut self, writer: &Writer) {
        self.step_all(writer, &mut |_| ());
    }

    fn make_anew(&mut self, writer: &Writer, tell: &mut dyn FnMut(Position)) {
        self.begin_anew();
        self.step_all(writer, tell);
    }

    fn directory(&self, writer: &Writer) -> Option<Arc<Directory>> {
        checkpoint::newest(&writer.set, writer.marks.get().committed).map(|newest| newest.directory)
    }

    fn has_gathered(&mut self, from: SegmentOrdinal) -> bool {
        let gather = self.reading.as_mut().and_then(|reading| reading.replay.gather.as_mut());
        gather.is_some_and(|gather| gather.has_finished(from))
    }

    fn takes_notes(&self) -> bool {
        self.again_at != Position::MAX
    }

    fn give_back(&mut self, memory: Memory) {
        if let Some(gather) = self.reading.as_mut().and_then(|reading| reading.replay.gather.as_mut()) {
            gather.give_back(memory);
        }
    }

    fn will_gather(&self, ordinal: SegmentOrdinal, end: Position) -> bool {
        let replay = self.reading.as_ref().map(|reading| &reading.replay);
        let is_before = |replay: &Replay| match &replay.gather {
            Some(gather) if gather.is_in(ordinal) => true,
            _ => replay.segment.as_ref().is_some_and(|segment| segment.ordinal() < ordinal),
        };
        self.is_far(end) && end >= self.again_at && replay.is_none_or(is_before)
    }

    fn take_gathered(&mut self, ordinal: SegmentOrdinal, end: Position) -> Option<IndexBuild> {
        let is_begun = self.reading.is_some();
        if self.again_at == Position::MAX || self.is_far(end) || !is_begun && end <= self.covered.max(self.again_at) {
            return None;
        }
        // What is left of it is read now, by who will need it, and not by somebody else from its beginning.
        let gathered = self.begin_reading().and_then(|()| {
            let Some(reading) = &mut self.reading else { return Ok(None) };
            reading.replay.witness = reading.replay.witness.max(end);
            while reading.replay.at < end && reading.replay.follow_to_block(end, Position::MAX)? {}
            Ok(reading.replay.gather.as_mut().and_then(|gather| gather.take(ordinal, end)))
        });
        // Where it fails, a later step begins anew where the last checkpoint stands, and says what that means.
        if gathered.is_err() {
            self.reading = None;
            self.again_at = self.again_at.max(end);
        }
        gathered.ok().flatten()
    }
}

impl Reading {
    /// Begins at the checkpoint at `covered`, where it fits the log, or at its first segment; `None` where that cannot be read.
    fn begin(storage: &Arc<dyn Storage>, store: StoreBlock, covered: Position) -> Result<Option<Reading>> {
        let set = Arc::new(SegmentSet::new(Arc::clone(storage), store));
        let known = checkpoint::read_all(&set);
        // The one that opening began from, or this writer's last: another one may stand in void bytes.
        let found = known.iter().find(|checkpoint| checkpoint.at == covered).cloned();
        let resumed = found.and_then(|checkpoint| checkpoint::resume(&set, checkpoint));
        let generation = known.first().map_or(0, |newest| newest.generation);
        let needed = checkpoint::needed(&known);
        let number = checkpoint::sweep(&**storage, &needed);
        let directory =
            resumed.as_ref().map_or_else(Directory::default, |resumed| Directory::clone(&resumed.directory));
        let count = resumed.as_ref().map_or(0, |resumed| resumed.checkpoint.streams);
        let streams = streams_on(&set, &directory, count);
        let mut replay = Replay::new(Arc::clone(&set), Arc::clone(&streams), decision::Place::Home, None);
        replay.gather = Some(Gather::default());
        let segment = match &resumed {
            Some(resumed) => {
                for older in &resumed.older {
                    set.push(older.clone());
                }
                set.push(Known::active(&resumed.segment));
                replay.resume(resumed, Arc::clone(&resumed.segment));
                resumed.segment.ordinal()
            }
            None => {
                let Ok(first) = Segment::open(&**storage, SegmentOrdinal(0), Access::Read, &store) else {
                    return Ok(None);
                };
                set.push(Known::active(&first));
                replay.enter(Arc::new(first));
                SegmentOrdinal(0)
            }
        };
        let last = resumed.map(|Resumed { checkpoint, .. }| checkpoint);
        Ok(Some(Reading { set, replay, streams, directory, segment, generation, last, number, files: needed }))
    }

    /// Whether there is anything that a checkpoint would hide from later openings.
    fn is_unfit(&self) -> Result<bool> {
        let replay = &self.replay;
        let is_hurt = !replay.damage.is_empty()
            || !replay.lost.is_empty()
            || !self.set.accepted().is_empty()
            || self.streams.read().has_nameless();
        let has_bad_head = || -> Result<bool> {
            for known in self.set.all().iter().filter(|known| known.ordinal >= self.segment) {
                if self.set.open(known).map_err(Error::from)?.head_damage.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        Ok(is_hurt || has_bad_head()?)
    }

    /// Writes a checkpoint of the place where the replay stands.
    fn cut(&mut self) -> Result<()> {
        let rows = self.rows()?;
        let storage = Arc::clone(&self.set.storage);
        let store = self.set.store.store;
        let (number, files) = (&mut self.number, &mut self.files);
        let next_number = || {
            *number += 1;
            files.push(*number);
            *number
        };
        self.directory.extend(Place { storage: &*storage, store }, self.replay.at, &rows, next_number)?;
        let checkpoint = self.checkpoint()?;
        let name = file_name::checkpoint(checkpoint.generation);
        SideWriter::begin(&*storage, &name, SideKind::Checkpoint, store)?.publish(checkpoint.encode(), false)?;
        if self.last.is_none() {
            // The other one, where there is one, is not of what is made here, and would name files that go now.
            let _ = storage.remove(&file_name::checkpoint(checkpoint.generation + 1));
        }
        let needed = checkpoint::needed(self.last.iter().chain([&checkpoint]));
        self.files.retain(|number| {
            let is_needed = needed.contains(number);
            if !is_needed {
                let _ = storage.remove(&file_name::directory(*number)); // what stays is removed by the next writer
            }
            is_needed
        });
        self.generation = checkpoint.generation;
        // What was passed is read no more.
        for passed in self.set.all().iter().filter(|known| known.ordinal < checkpoint.segment) {
            self.set.close(passed.ordinal);
        }
        self.segment = checkpoint.segment;
        self.streams = streams_on(&self.set, &self.directory, checkpoint.streams);
        self.replay.change_streams(Arc::clone(&self.streams));
        self.last = Some(checkpoint);
        Ok(())
    }

    /// What the log added since the last checkpoint.
    fn rows(&self) -> Result<Rows> {
        let from = self.directory.covered();
        let table = self.streams.read();
        let mut rows = Rows::default();
        for stream in table.iter().chain(table.continued()) {
            if stream.id.0 >= from.0 {
                let row = NameRow { stream: stream.id, first: stream.first, name_at: 0, name_len: 0 };
                rows.made.push((row, stream.name.as_ref().into()));
            }
            if stream.last_place >= from {
                rows.heads.push(HeadRow {
                    stream: stream.id,
                    head: stream.head,
                    head_position: stream.head_position,
                    last_place: stream.last_place,
                });
            }
        }
        drop(table);
        rows.made.sort_unstable_by_key(|(row, _)| row.stream);
        rows.heads.sort_unstable_by_key(|row| row.stream);
        let retries = self.replay.retries.iter().map(|(batch, frame)| RetryRow { batch, frame });
        let skipped = (self.replay.retries.len() as usize).saturating_sub(RETRY_WINDOW_BATCHES);
        rows.retries = retries.skip(skipped).collect();
        let current = self.replay.segment.as_ref().map(|segment| segment.ordinal());
        for known in self.set.all() {
            let Some(end) = known.end.filter(|_| known.ordinal >= self.segment && Some(known.ordinal) < current) else {
                continue;
            };
            let segment = self.set.open(&known).map_err(Error::from)?;
            rows.segments.push(SegmentRow {
                ordinal: known.ordinal,
                end,
                last_index_block: known.last_index_block,
                span: segment.head.header.span,
                salt: segment.head.header.salt,
                incarnation: segment.head.open.incarnation,
            });
        }
        Ok(rows)
    }

    fn checkpoint(&self) -> Result<Checkpoint> {
        let replay = &self.replay;
        let segment = replay.segment.as_ref().ok_or_else(|| Error::new(ErrorKind::Invalid, "no segment was read"))?;
        Ok(Checkpoint {
            generation: self.generation + 1,
            incarnation: replay.incarnation,
            at: replay.at,
            last_frame: replay.last_frame,
            last_check: replay.previous_check,
            last_index_block: replay.index.last_block(),
            segment: segment.ordinal(),
            salt: segment.head.header.salt,
            next_number: replay.next_number,
            max_recorded_at: replay.max_recorded_at,
            takeover: replay.takeover,
            last_seal: replay.seals.last,
            seal_hash: replay.seals.hash,
            next_to_seal: replay.seals.next,
            streams: self.streams.read().count(),
            coded: replay.coded,
            runs: self.directory.names(),
        })
    }
}

/// The streams that a directory covers, to be added to. Where it proves bad, the work is given up and begun anew.
fn streams_on(set: &Arc<SegmentSet>, directory: &Directory, count: u64) -> Arc<Streams> {
    let give_up: Box<ReadLog> =
        Box::new(|_| Err(Error::new(ErrorKind::Damage, "the stream directory is not what was written")));
    Arc::new(Streams::new(Arc::clone(set), Some((Arc::new(directory.clone()), count)), give_up))
}

#[cfg(all(test, feature = "unstable"))]
mod tests {
    use super::*;
    use crate::ids::BatchId;
    use crate::index::segment_indexes::SegmentIndex;
    use crate::storage::mem::MemStorage;
    use crate::{Batch, Expected, Fork, NewEvent, Options, Store};

    /// While much is written, the newest index block is never durable yet when the durable mark rises.
    #[test]
    fn p15_checkpoints_keep_up_with_a_durable_mark_that_lags_behind_every_index_block() {
        const STRIDE_BYTES: u64 = 4 << 10;
        let storage: Arc<dyn Storage> = Arc::new(MemStorage::new());
        let mut options = Options::new().index_stride_bytes(STRIDE_BYTES).background_threads(false);
        options.derives = false;
        let store = Store::open_on(Arc::clone(&storage), options).unwrap();
        let set = &store.writer().unwrap().set;
        let mut blocks = Vec::new();
        while blocks.len() < 30 {
            let event = [NewEvent::new("t", &[7; 500])];
            let _ = store.append(&Batch::to("a", Expected::Any, &event)).unwrap();
            if blocks.last() != Some(&set.last_index_block()) {
                blocks.push(set.last_index_block());
            }
        }
        let mut cutter = Cutter::new(storage, set.store, Position::ZERO, Arc::default());
        for (before, newest) in blocks.iter().zip(&blocks[1..]) {
            let _ = cutter.step_to(*before, *newest, STRIDE_BYTES);
            let behind = before.0.saturating_sub(cutter.covered.0);
            assert!(behind < 5 * STRIDE_BYTES, "durable up to {before}, the checkpoint covers {}", cutter.covered);
        }
    }

    /// A store of several segments, and the index blocks that were written into it.
    fn written(storage: &Arc<dyn Storage>, stride_bytes: u64) -> (Store, Vec<Position>) {
        let mut options =
            Options::new().segment_bytes(64 << 10).index_stride_bytes(stride_bytes).background_threads(false);
        options.derives = false;
        let store = Store::open_on(Arc::clone(storage), options).expect("the store opens");
        let set = &store.writer().expect("it is open for writing").set;
        let mut blocks = Vec::new();
        for number in 0..2000u64 {
            let events = [NewEvent::new(["a", "b"][number as usize % 2], &[7; 100]).recorded_at(number as i64); 2];
            let name = format!("stream {}", number % 17);
            let _ = store.append(&Batch::to(&name, Expected::Any, &events)).expect("the append is taken");
            if blocks.last() != Some(&set.last_index_block()) {
                blocks.push(set.last_index_block());
            }
        }
        (store, blocks)
    }

    /// What indexes are written of is the same whether a segment was read for the directory or for its index alone.
    #[test]
    fn p15_what_is_gathered_on_the_way_makes_the_index_that_a_walk_over_the_segment_makes() {
        const STRIDE_BYTES: u64 = 4 << 10;
        let storage: Arc<dyn Storage> = Arc::new(MemStorage::new());
        let (store, blocks) = written(&storage, STRIDE_BYTES);
        let writer = store.writer().unwrap();
        let (set, indexes) = (&writer.set, &writer.finder.indexes);
        let finished: Vec<Known> = set.all().into_iter().filter(|known| known.end.is_some()).collect();
        assert!(finished.len() > 5, "{} segments ended", finished.len());
        let mut finished = finished.iter();
        let mut cutter = Cutter::new(Arc::clone(&storage), set.store, Position::ZERO, Arc::default());
        for block in blocks {
            let _ = cutter.step_to(writer.marks.get().durable, block, STRIDE_BYTES);
            if !cutter.has_gathered(SegmentOrdinal(0)) {
                continue;
            }
            let known = finished.next().unwrap();
            let mut gathered = cutter.take_gathered(known.ordinal, known.end.unwrap()).unwrap();
            let end = known.end.unwrap();
            assert_eq!((gathered.ordinal(), gathered.end()), (known.ordinal, end));
            gathered.publish(set, indexes, &|| true).unwrap();
            let segment = Arc::new(set.open_with(known, Access::Read).unwrap());
            let index = SegmentIndex::open(&*storage, known.ordinal, set.store.store).unwrap();
            assert!(index.is_of(&segment, end));
            let mut walked = IndexBuild::begin(segment, end);
            while !walked.step(u64::MAX).unwrap() {}
            assert_eq!(walked.difference(&index), None);
        }
        assert_eq!(finished.len(), 0, "each was gathered");
    }

    /// Made anew, the directory has one checkpoint at first: none is left that names runs which are gone.
    #[test]
    fn p11_a_directory_that_is_made_anew_leaves_no_checkpoint_without_its_runs() {
        let storage: Arc<dyn Storage> = Arc::new(MemStorage::new());
        let (store, blocks) = written(&storage, 4 << 10);
        let writer = store.writer().unwrap();
        let (set, durable) = (&writer.set, writer.marks.get().durable);
        let mut cutter = Cutter::new(Arc::clone(&storage), set.store, Position::ZERO, Arc::default());
        for block in &blocks[..10] {
            while cutter.step_to(durable, *block, 1) {}
        }
        for times in 1..4 {
            assert_eq!(checkpoint::read_all(set).len(), if times == 1 { 2 } else { 1 });
            cutter.begin_anew();
            while cutter.reading.as_ref().is_none_or(|reading| reading.last.is_none()) {
                let _ = cutter.step_to(durable, *blocks.last().unwrap(), 1);
            }
            let whole = [0, 1].into_iter().filter(|number| checkpoint::hold(set, *number).is_some()).count();
            assert_eq!((whole, checkpoint::read_all(set).len()), (1, 1), "made anew {times} times");
        }
    }

    /// Far behind, a step would lead over many segments: what is gathered of each is handed out.
    #[test]
    fn p15_catching_up_reads_each_segment_once_too() {
        let storage: Arc<dyn Storage> = Arc::new(MemStorage::new());
        let (store, blocks) = written(&storage, 4 << 10);
        let writer = store.writer().unwrap();
        let (durable, newest) = (writer.marks.get().durable, *blocks.last().unwrap());
        let mut cutter = Cutter::new(Arc::clone(&storage), writer.set.store, Position::ZERO, Arc::default());
        for known in writer.set.all().iter().filter(|known| known.end.is_some()) {
            assert!(cutter.step_to(durable, newest, 1));
            let gathered = cutter.reading.as_mut().unwrap().replay.gather.as_mut().unwrap();
            assert!(gathered.take(known.ordinal, known.end.unwrap()).is_some(), "{:?}", known.ordinal);
        }
    }

    /// What was gathered of a segment of many streams takes megabytes: of those that nobody takes one is held.
    #[test]
    fn p20_what_was_gathered_is_held_of_one_segment() {
        const STRIDE_BYTES: u64 = 4 << 10;
        let storage: Arc<dyn Storage> = Arc::new(MemStorage::new());
        let (store, blocks) = written(&storage, STRIDE_BYTES);
        let writer = store.writer().unwrap();
        let mut cutter = Cutter::new(Arc::clone(&storage), writer.set.store, Position::ZERO, Arc::default());
        for block in blocks {
            let _ = cutter.step_to(writer.marks.get().durable, block, STRIDE_BYTES);
        }
        let reading = cutter.reading.as_ref().unwrap();
        let standing_in = reading.replay.segment.as_ref().unwrap().ordinal();
        let all = writer.set.all();
        let before = all.iter().filter(|known| known.ordinal < standing_in);
        let held = before.filter(|known| cutter.take_gathered(known.ordinal, known.end.unwrap()).is_some());
        assert_eq!(held.count(), 1);
        assert!(!cutter.has_gathered(SegmentOrdinal(0)));
    }

    /// A segment that ended while the next checkpoint is not due is read to its end by who has begun to.
    #[test]
    fn p15_a_segment_is_read_once_also_where_it_ends_before_a_checkpoint_is_due() {
        const STRIDE_BYTES: u64 = 4 << 10;
        let storage: Arc<dyn Storage> = Arc::new(MemStorage::new());
        let (store, _) = written(&storage, STRIDE_BYTES);
        let writer = store.writer().unwrap();
        let mut cutter = Cutter::new(Arc::clone(&storage), writer.set.store, Position::ZERO, Arc::default());
        for known in writer.set.all().iter().filter(|known| known.end.is_some()) {
            assert!(cutter.take_gathered(known.ordinal, known.end.unwrap()).is_some(), "{:?}", known.ordinal);
        }
        assert_eq!(cutter.covered, Position::ZERO, "no checkpoint was written");
    }

    /// The id that the batch of a step is given, where it is.
    fn id_of(step: u64) -> BatchId {
        BatchId([step.to_le_bytes(), [9; 8]].concat().try_into().expect("they are 16"))
    }

    /// A store in which everything happens that a writer does, and what became of it in order: index blocks, ends of segments.
    fn lived(storage: &Arc<dyn Storage>, mut each: impl FnMut(&Writer)) -> Store {
        let mut options = Options::new().segment_bytes(64 << 10).index_stride_bytes(4 << 10).background_threads(false);
        options.derives = false;
        let store = Store::open_on(Arc::clone(storage), options).expect("the store opens");
        let writer = store.writer().expect("it is open for writing");
        writer.noted.want(true);
        let types = ["a", "b", "tool_call", "tool_result", "message"];
        let (mut number, mut forks) = (7u64, Vec::new());
        let mut draw = |below: u64| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (number >> 33) % below
        };
        for step in 0..3000u64 {
            let mut events = Vec::new();
            for index in 0..(if draw(5) == 0 { draw(40) + 1 } else { 1 }) {
                let event = NewEvent::new(types[draw(if step % 2 == 0 { 2 } else { 5 }) as usize], &[7; 90]);
                events.push(if draw(4) == 0 { event.recorded_at((step + index) as i64 * 1000 - 5000) } else { event });
            }
            let names = [0, 1, 2].map(|part| format!("stream {}", 3 * draw(10 + step / 100) + part));
            let batch = match draw(20) {
                0 | 1 => Batch::with_id(id_of(step)).section(&names[0], Expected::Any, &events),
                2 | 3 => {
                    let middle = events.len().div_ceil(2);
                    let batch = Batch::new().section(&names[0], Expected::Any, &events[..middle]);
                    let batch = batch.section(&names[1], Expected::Any, &events[middle - 1..]);
                    batch.section(&names[2], Expected::Any, &events)
                }
                4 if step % 9 == 0 => {
                    let fork = format!("fork {step}");
                    if store.fork(&Fork::new(&names[0], &fork)).is_ok() {
                        forks.push((step + draw(100), fork));
                    }
                    Batch::to(&names[1], Expected::Any, &events)
                }
                _ => Batch::to(&names[0], Expected::Any, &events),
            };
            let _ = store.append(&batch).expect("the append is taken");
            for (_, fork) in forks.extract_if(.., |(due, _)| *due <= step) {
                let _ = store.append(&Batch::to(&fork, Expected::Any, &events)).expect("the append is taken");
            }
            if let Some(mut sealing) = writer.begin_seal().expect("it is looked for") {
                while !writer.seal_step(&mut sealing).expect("the seal is appended") {}
            }
            each(writer);
        }
        store
    }

    /// What is derived is the same, byte for byte of what it says, whether frames were read or were noted as they were appended.
    #[test]
    fn p11_what_is_made_of_what_was_noted_says_what_the_frames_say() {
        const STRIDE_BYTES: u64 = 4 << 10;
        let storage: Arc<dyn Storage> = Arc::new(MemStorage::new());
        let mut cutter = None;
        let mut published = Vec::new();
        let store = lived(&storage, |writer| {
            let set = &writer.set;
            let cutter = cutter.get_or_insert_with(|| {
                Cutter::new(Arc::clone(&storage), set.store, Position::ZERO, Arc::clone(&writer.noted))
            });
            while cutter.step_to(writer.marks.get().durable, set.last_index_block(), 2 * STRIDE_BYTES) {
                // As who makes the indexes does it.
                let next = SegmentOrdinal(published.len() as u64);
                let Some(known) = set.all().get(published.len()).cloned() else { continue };
                let Some(end) = known.end.filter(|_| cutter.has_gathered(next)) else { continue };
                let mut gathered = cutter.take_gathered(known.ordinal, end).expect("it was gathered");
                gathered.publish(set, &writer.finder.indexes, &|| true).expect("it is written");
                published.push((known, end));
            }
        });
        let writer = store.writer().unwrap();
        let (set, durable) = (&writer.set, writer.marks.get().durable);
        assert!(published.len() > 10, "{} indexes", published.len());
        for (known, end) in &published {
            let mut walked = IndexBuild::begin(Arc::new(set.open_with(known, Access::Read).unwrap()), *end);
            while !walked.step(u64::MAX).unwrap() {}
            let index = SegmentIndex::open(&*storage, known.ordinal, set.store.store).unwrap();
            assert_eq!(walked.difference(&index), None, "{:?}", known.ordinal);
        }

        let noted = *cutter.unwrap().reading.unwrap();
        let mut anew = Cutter::new(Arc::clone(&storage), set.store, Position::ZERO, Arc::default());
        while anew.step_to(durable, noted.replay.index.last_block(), 1) {}
        let read = *anew.reading.unwrap();
        let (few, all) = (noted.replay.frames_read, read.replay.frames_read);
        assert!(few < all / 2, "{few} of {all} frames were read");
        let both = [&noted, &read].map(|reading| Checkpoint {
            generation: 0,
            runs: Vec::new(),
            ..reading.last.clone().unwrap()
        });
        assert_eq!(both[0], both[1]);
        assert!(both[0].last_seal > Position::ZERO);
        let rows = |reading: &Reading| {
            let mut streams = Vec::new();
            let each = |entry| {
                streams.push(format!("{entry:?}"));
                std::ops::ControlFlow::Continue(())
            };
            reading.directory.with_prefix("", each).unwrap();
            streams.sort();
            streams
        };
        assert!(rows(&read).len() > 100 && rows(&noted) == rows(&read));
        assert_eq!(noted.directory.segments().unwrap(), read.directory.segments().unwrap());
        let mut given = 0;
        for step in 0..3000 {
            let retries = [&noted, &read].map(|reading| reading.directory.retry_of(id_of(step), 0).unwrap());
            assert_eq!(retries[0], retries[1], "batch {step}");
            given += u32::from(retries[0].is_some());
        }
        assert!(given > 100, "{given} batches have ids");
    }
}
