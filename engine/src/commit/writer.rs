//! The writer: admits batches, writes their frames, moves the end of the log.
//!
//! Invariants, under the tail's lock:
//! 1. everything below `committed` is in the page cache, whole and chained; `committed` is the tail's place;
//! 2. the stream table knows exactly the sections below `committed`;
//! 3. a frame never leaves less room in its segment than the index block that covers it needs.
//!
//! Admission is in [`admit`](super::admit), rolling in [`roll`](super::roll), syncing in [`durable`](super::durable).

use std::fmt;
use std::sync::Arc;

use crate::append::encode::{Continued, Existing, encode_batch};
use crate::append::{Batch, FrameProof, Receipt, SectionReceipt};
use crate::commit::durable::Files;
use crate::commit::group::Group;
use crate::commit::index_state::Noted;
use crate::commit::indexer::Indexer;
use crate::commit::keeper::Signals;
use crate::commit::notes::{NewBatch, Notes};
use crate::commit::pending::Pending;
use crate::commit::roll::NextSegment;
use crate::commit::tail::{Tail, write_error};
use crate::format::frame::{self, FLAG_GIVEN_ID, FLAG_LEFT, FrameHeader, KIND_BATCH, KIND_INDEX_BLOCK};
use crate::format::index_block::NamedStream;
use crate::format::item::Item;
use crate::ids::{BatchId, BootId, FilePlace, Incarnation, Position, Revision, StreamId};
use crate::index::find::Finder;
use crate::index::noted::Waiting;
use crate::index::on_demand::Streams;
use crate::index::segment_indexes::SegmentIndexes;
use crate::index::streams::Placed;
use crate::options::{Durability, Options};
use crate::planted::{Plant, planted};
use crate::poison::Poison;
use crate::process::control::{ControlPage, Owner, word};
use crate::process::turn::Turns;
use crate::segment::set::SegmentSet;
use crate::sync::{Mutex, now};
use crate::watermark::Marks;
use crate::{Error, ErrorKind, Result, limits};

/// The writer of a store, in this process.
pub(crate) struct Writer {
    pub(crate) set: Arc<SegmentSet>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) marks: Arc<Marks>,
    pub(crate) options: Options,
    pub(crate) life: Life,
    pub(crate) doubts: Doubts,
    pub(crate) poison: Poison,
    pub(crate) tail: Mutex<Tail>,
    pub(crate) files: Mutex<Files>,
    /// Held around syncs of the log: of two threads that sync by one descriptor only one is told of an error.
    pub(crate) syncing: Mutex<()>,
    pub(crate) next_segment: Mutex<NextSegment>,
    pub(crate) signals: Signals,
    pub(crate) group: Group,
    pub(crate) turns: Turns,
    pub(crate) control: ControlPage,
    pub(crate) finder: Arc<Finder>,
    /// Taken only by who does the work on indexes.
    pub(crate) indexer: Mutex<Indexer>,
    /// What was noted for him of what is appended.
    pub(crate) noted: Arc<Waiting>,
}

/// What opening makes a writer of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) set: Arc<SegmentSet>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) marks: Arc<Marks>,
    pub(crate) options: Options,
    pub(crate) life: Life,
    pub(crate) tail: Tail,
    pub(crate) files: Files,
    pub(crate) doubts: Doubts,
    pub(crate) turns: Turns,
    pub(crate) control: ControlPage,
}

/// What damage found at opening leaves in doubt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubts {
    /// Streams whose last known event lies before it may have had later ones: their head is unknown.
    pub(crate) unknown_until: Position,
    /// Where the first damage lies: a segment that reaches beyond it is not sealed, since a seal would bless it.
    pub(crate) damaged_from: Position,
    /// Where the last damage ends: an index block may say that no head is hidden there, and says nothing of claims.
    pub(crate) damaged_until: Position,
}

/// Which life of the store this is, for open frames and receipts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) incarnation: Incarnation,
    pub(crate) identity_place: FilePlace,
    pub(crate) boot: BootId,
}

/// What is known of a frame once it was encoded.
#[derive(Clone, Copy, Debug)]
struct Encoded {
    recorded_at: i64,
    frame_check: u64,
}

/// In a store that is shared, a sync begins once so much waits for one: a checkpoint stands only behind what is durable, and whoever
/// opens the store beside others reads what lies behind it while they wait for their turns.
const SHARED_UNSYNCED_BYTES: u64 = 1 << 20;
/// What is closed gets an index block and a checkpoint behind this part of the stretch that one covers otherwise.
pub(crate) const CLOSING_SHARE: u64 = 8;

impl fmt::Debug for Writer {
    /// Without what grows with the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("set", &self.set).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer that stands where opening has found the end of the log.
    pub(crate) fn new(parts: Parts) -> Writer {
        let Parts { set, streams, marks, options, life, mut tail, files, doubts, turns, control } = parts;
        let noted = Arc::new(Waiting::default());
        noted.want(options.derives);
        let stretch = Some(tail.at).filter(|_| !tail.index.has_frames()); // of one that is begun its frames are read
        tail.notes = Notes::waiting_in(Arc::clone(&noted), stretch);
        let next_segment = NextSegment { ordinal: tail.segment.next_ordinal(), prepared: None };
        let indexes = Arc::new(SegmentIndexes::new(Arc::clone(&set)));
        Writer {
            finder: Arc::new(Finder::new(Arc::clone(&set), Arc::clone(&streams), indexes)),
            indexer: Mutex::default(),
            noted,
            set,
            streams,
            marks,
            options,
            life,
            doubts,
            poison: Poison::default(),
            tail: Mutex::new(tail),
            files: Mutex::new(files),
            syncing: Mutex::default(),
            next_segment: Mutex::new(next_segment),
            signals: Signals::default(),
            group: Group::default(),
            turns,
            control,
        }
    }

    /// Appends a batch and waits for its level.
    pub(crate) fn append(&self, batch: &Batch<'_>) -> Result<Receipt> {
        let mut receipt = Receipt::begun();
        let level = self.level_of(batch);
        self.put(batch, level, &mut receipt)?;
        if level == Durability::Synced && !planted(Plant::AckBeforeSync) {
            self.wait_durable(receipt.end)?;
            receipt.level = Durability::Synced;
        }
        Ok(receipt)
    }

    /// Appends a batch: when this returns it is in the log and visible as committed.
    pub(crate) fn submit(self: &Arc<Self>, batch: &Batch<'_>) -> Result<Pending> {
        let mut receipt = Receipt::begun();
        let level = self.level_of(batch);
        self.put(batch, level, &mut receipt)?;
        Ok(Pending::new(Arc::clone(self), receipt, level))
    }

    fn level_of(&self, batch: &Batch<'_>) -> Durability {
        batch.durability.unwrap_or(self.options.durability)
    }

    /// To what a control page of this writer belongs; `None` where nobody could say later whether it is to be believed.
    pub(crate) fn page_owner(&self) -> Option<Owner> {
        page_owner(&self.set, &self.life)
    }

    /// Puts a batch into the log and fills in its receipt.
    fn put(&self, batch: &Batch<'_>, level: Durability, receipt: &mut Receipt) -> Result<()> {
        if !batch.cursors.is_empty() {
            return self.put_with_cursors(batch, level, receipt);
        }
        let body_bytes = batch.check()?;
        if batch.fences.is_empty() {
            return self.put_with(batch, body_bytes, level, receipt, |_, _| Ok(Vec::new()));
        }
        self.put_with_items(batch, body_bytes, level, receipt)
    }

    /// As [`put`](Self::put), with items behind the sections, of which there may be none then. `items_of` makes them under the
    /// writer's turn, once the sections are admitted: it is given the end of the log and the streams that they continue. Its
    /// error ends the append with nothing written. The batch was checked, but for its having a section.
    ///
    /// The first item's position is the frame's position plus the events of the batch.
    pub(crate) fn put_with<'i>(
        &self,
        batch: &Batch<'_>,
        body_bytes: usize,
        level: Durability,
        receipt: &mut Receipt,
        items_of: impl FnOnce(&Tail, &[Option<Existing>]) -> Result<Vec<Item<'i>>>,
    ) -> Result<()> {
        let mut clock = None;
        {
            let _waking = self.marks.waking();
            let mut end = self.at_end()?;
            let tail = &mut *end.tail;
            if tail.is_closed {
                return Err(Error::new(ErrorKind::Closed, "the store was closed"));
            }
            let mut existing = Continued::new();
            if self.admit(tail, batch, &mut existing, receipt)? {
                let items = items_of(tail, &existing)?;
                clock = Some(self.write_batch(tail, batch, body_bytes, &existing, &items, level, receipt)?);
            }
            end.turn.is_last = level == Durability::Synced;
        }
        if let Some(clock) = clock {
            self.wake_followers(word::GROWN, clock); // behind the turn: whoever waits for it does not wait for this
        }
        if level == Durability::Written {
            self.signals.note_unsynced();
            self.hold_back()?;
        }
        Ok(())
    }

    /// Writes an admitted batch and fills in its receipt; when it was recorded, by the wall clock.
    #[allow(clippy::too_many_arguments)]
    fn write_batch(
        &self,
        tail: &mut Tail,
        batch: &Batch<'_>,
        body_bytes: usize,
        existing: &[Option<Existing>],
        items: &[Item<'_>],
        level: Durability,
        receipt: &mut Receipt,
    ) -> Result<i64> {
        let events = batch.events() as u64;
        let forks = items.iter().filter_map(fork_name);
        let listed = batch.sections.len() + forks.clone().count();
        let name_bytes: usize = batch.sections.iter().map(|section| section.stream).chain(forks).map(str::len).sum();
        debug_assert!(existing.len() == batch.sections.len() && body_bytes <= limits::BATCH_BYTES_MAX);
        if tail.next_number.saturating_add(events) > limits::NUMBER_MAX {
            return Err(Error::new(ErrorKind::Limit, "the store holds 2^63 events"));
        }
        let mut reserve = tail.index.reserve(listed, name_bytes);
        let mut encoded = self.encode(tail, batch, existing, items);
        let len = tail.scratch.len() as u64;
        if tail.at.0 + len + reserve > tail.segment.file_end().0 && tail.index.unnamed().next().is_some() {
            self.name_listed(tail)?;
            reserve = tail.index.reserve(listed, name_bytes);
        }
        let reserve = if planted(Plant::NoRoomForIndexBlock) { 0 } else { reserve };
        if tail.at.0 + len + reserve > tail.segment.file_end().0 {
            // Links grow by a few bytes each in a segment further on.
            let grown = len + 32 * (batch.sections.len() + items.len()) as u64 + 64;
            let names: usize = name_bytes + listed * 8;
            self.roll_for(tail, grown, crate::commit::index_state::fresh_reserve(listed, names))?;
            encoded = self.encode(tail, batch, existing, items);
        }
        if let Err(error) = tail.put_scratch(Some(level)) {
            tail.next_number += if planted(Plant::NumberMovesFirst) { events } else { 0 };
            return Err(self.failed_write(tail, error));
        }
        self.adopt(tail, batch, existing, items, encoded, receipt);
        Ok(encoded.recorded_at)
    }

    /// Encodes the batch for the tail's place, into its scratch buffer.
    fn encode(&self, tail: &mut Tail, batch: &Batch<'_>, existing: &[Option<Existing>], items: &[Item<'_>]) -> Encoded {
        let mut header = self.header(tail, KIND_BATCH, if batch.is_id_given { FLAG_GIVEN_ID } else { 0 });
        header.events = batch.events() as u32;
        header.batch = batch.id;
        let (seeds, at) = (tail.segment.seeds, tail.at);
        let out = &mut tail.scratch;
        out.clear();
        let frame_check =
            encode_batch(out, &batch.sections, existing, items, &header, seeds, at, self.options.compression);
        Encoded { recorded_at: header.recorded_at, frame_check }
    }

    /// The header of the next frame, lengths and checks left out.
    pub(crate) fn header(&self, tail: &Tail, kind: u8, flags: u8) -> FrameHeader {
        FrameHeader {
            kind,
            flags,
            takeover: tail.takeover,
            frame_len: 0,
            plain_len: 0,
            witness: Some(if planted(Plant::WitnessCommitted) {
                tail.at
            } else {
                self.marks.get().durable.min(tail.at)
            }),
            events: 0,
            previous_check: tail.previous_check,
            first_number: tail.next_number,
            recorded_at: self.set.storage.now(),
            batch: BatchId::default(),
            frame_check: 0,
        }
    }

    /// Takes the batch in, whose bytes are at the tail now.
    fn adopt(
        &self,
        tail: &mut Tail,
        batch: &Batch<'_>,
        existing: &[Option<Existing>],
        items: &[Item<'_>],
        encoded: Encoded,
        receipt: &mut Receipt,
    ) {
        let position = tail.at;
        let mut first_position = position;
        let mut max_recorded_at = tail.max_recorded_at;
        // Held until the batch is committed: who looks a head up never finds one that is not visible yet.
        let mut streams = self.streams.write();
        for (section, existing) in batch.sections.iter().zip(existing) {
            let first_revision = existing.map_or(Revision(0), |existing| Revision(existing.head.0 + 1));
            let stream = existing.map_or(StreamId(first_position.0), |existing| existing.stream);
            let count = section.events.len() as u32;
            let placed = Placed { stream, first_revision, count, frame: position, first_position };
            let known = match existing {
                Some(existing) => streams.extend(existing.slot, placed),
                None => streams.place(Some(section.stream), placed).then(|| streams.by_id(stream)).flatten(),
            };
            let known = known.expect("the table was asked before the batch was admitted");
            receipt.sections.push(|| SectionReceipt {
                stream: Arc::clone(&known.name),
                first_revision,
                last_revision: known.head,
                first_position,
            });
            for event in section.events {
                max_recorded_at = max_recorded_at.max(event.recorded_at.unwrap_or(encoded.recorded_at));
            }
            first_position.0 += u64::from(count);
        }
        for (item, number) in items.iter().zip(0..) {
            let item_position = Position(first_position.0 + number);
            match item {
                Item::Fork { name, revision, .. } => {
                    let is_placed = streams.place_fork(name, StreamId(item_position.0), *revision, position);
                    debug_assert!(is_placed, "the table was asked for the name before the fork was made");
                }
                Item::Claim { stream, .. } => streams.note_claim(*stream, item_position),
                _ => {}
            }
        }
        let noted = receipt.sections.iter().zip(existing).map(|(section, existing)| Noted {
            stream: existing.map_or(StreamId(section.first_position.0), |existing| existing.stream),
            name: Some(&section.stream),
            parent: existing.and_then(|existing| self.parent_of(existing.stream, existing.first)),
            previous: existing.map(|existing| existing.last_place),
            first_revision: section.first_revision,
            count: (section.last_revision.0 - section.first_revision.0 + 1) as u32,
        });
        tail.index.note_batch(tail.scratch.len() as u32, noted);
        if items.is_empty() && self.options.compression.is_none() {
            let given = batch.is_id_given.then_some(batch.id);
            let recorded_at = encoded.recorded_at;
            let new = NewBatch { sections: &batch.sections, existing, given, recorded_at };
            let end = Position(position.0 + tail.scratch.len() as u64);
            tail.notes.note_batch(position..end, tail.segment.first_frame(), new);
        }
        for (item, number) in items.iter().zip(0..) {
            if let Item::Fork { name, parent, revision, .. } = item {
                tail.index.note_fork(StreamId(first_position.0 + number), name, (*parent, *revision));
            }
        }
        if batch.is_id_given {
            tail.retries.remember(batch.id, position);
        }
        receipt.batch = batch.id;
        receipt.position = position;
        receipt.epoch = tail.epoch();
        receipt.incarnation = self.life.incarnation;
        receipt.proof =
            FrameProof { store: self.set.store.store, first_number: tail.next_number, check: encoded.frame_check };
        tail.next_number += first_position.0 - position.0;
        tail.max_recorded_at = max_recorded_at;
        self.advance(tail, encoded.frame_check);
        drop(streams);
        receipt.end = tail.at;
        self.write_due_index_block(tail);
        self.prepare_in_time(tail);
        if let Some((ahead, to)) = tail.output.take_ahead(tail.at.0 - tail.segment.base.0) {
            self.signals.want_pages(ahead, to);
        }
    }

    /// Moves the tail behind the frame in scratch, which is in the page cache now, and publishes it.
    fn advance(&self, tail: &mut Tail, frame_check: u64) {
        const SCRATCH_KEPT_BYTES: usize = 1 << 20;
        tail.last_frame = tail.at;
        tail.at.0 += tail.scratch.len() as u64;
        tail.previous_check = frame_check;
        tail.is_left = false;
        if tail.scratch.capacity() > SCRATCH_KEPT_BYTES {
            tail.scratch = Vec::new();
        }
        self.publish(tail);
    }

    /// Shows everyone where the log ends.
    #[inline]
    pub(crate) fn publish(&self, tail: &Tail) {
        let log = tail.log_end();
        self.control.commit(log);
        self.marks.commit(log);
    }

    /// Wakes who follows from other processes, and who waits for them in this one; at a moment of the wall clock.
    #[inline]
    pub(crate) fn wake_followers(&self, word: usize, clock: i64) {
        if let Some(words) = self.control.words()
            && (self.control.is_watched() || self.turns.are_followed(clock))
        {
            words.wake(word, u32::MAX);
        }
        self.wake_watchers();
    }

    pub(super) fn write_due_index_block(&self, tail: &mut Tail) {
        if tail.index.is_due(tail.at, self.set.store.index_stride_bytes) {
            // The batch before it is in the log whatever happens here; for want of space the block is written later.
            let _ = self.write_index_block(tail, 0);
            if self.turns.are_shared() && tail.at.0 - self.marks.get().durable.0 >= SHARED_UNSYNCED_BYTES {
                self.signals.want_sync();
            }
        }
    }

    /// Writes the index block for the stretch that ends at the tail.
    pub(crate) fn write_index_block(&self, tail: &mut Tail, flags: u8) -> Result<()> {
        self.name_listed(tail)?;
        tail.scratch.clear();
        let mut scratch = std::mem::take(&mut tail.scratch);
        let plain_len = tail.index.encode(&mut scratch, tail.at, tail.max_recorded_at);
        tail.scratch = scratch;
        let position = tail.at;
        self.put_engine_frame(tail, KIND_INDEX_BLOCK, flags, plain_len)?;
        tail.is_left = flags & FLAG_LEFT != 0;
        tail.index.note_block(position, tail.at);
        tail.notes.note_block(position..tail.at);
        self.set.set_last_index_block(position);
        self.signals.note_index_due(tail.at);
        Ok(())
    }

    /// Nothing is appended from here on. An index block covers the last frames, unless they are few: a checkpoint can stand behind it,
    /// so that the next opening has little to read.
    pub(crate) fn cover_the_end(&self) {
        if let Ok(mut end) = self.at_end() {
            let tail = &mut *end.tail;
            let is_due = tail.index.is_due(tail.at, self.set.store.index_stride_bytes / CLOSING_SHARE);
            if is_due && !tail.is_closed {
                let _ = self.write_index_block(tail, 0); // without it the next opening reads more
            }
            tail.is_closed = true;
        }
        self.tail.lock().is_closed = true;
    }

    /// Looks up the names that the next index block must say and that opening did not: those of streams that it met without asking
    /// the directory for them.
    pub(crate) fn name_listed(&self, tail: &mut Tail) -> Result<()> {
        let unnamed: Vec<_> = tail.index.unnamed().collect();
        let named = unnamed.iter().map(|stream| self.named(*stream)).collect::<Result<Vec<_>>>()?;
        let mut named = named.into_iter();
        tail.index.name_all(|_| named.next().flatten());
        Ok(())
    }

    fn named(&self, stream: StreamId) -> Result<Option<NamedStream>> {
        let Some((name, first)) = self.streams.named(stream)? else { return Ok(None) };
        Ok(Some(NamedStream { name, parent: self.parent_of(stream, first) }))
    }

    /// Which stream another one leaves, and where, as far as the log still says it; `first` is the first revision of its own.
    fn parent_of(&self, stream: StreamId, first: Revision) -> Option<(StreamId, Revision)> {
        if first.0 == 0 {
            return None;
        }
        self.finder.forks.of(stream).ok().flatten().map(|link| (link.parent, link.revision))
    }

    /// Writes a frame of the engine's own, whose plain part is in scratch.
    pub(crate) fn put_engine_frame(&self, tail: &mut Tail, kind: u8, flags: u8, plain_len: usize) -> Result<()> {
        let header = self.header(tail, kind, flags);
        let (seeds, at) = (tail.segment.seeds, tail.at);
        let frame_check = frame::finish(&mut tail.scratch, plain_len, &header, seeds, at);
        assert!(at.0 + tail.scratch.len() as u64 <= tail.segment.file_end().0, "room is kept for the engine's frames");
        tail.put_scratch(None).map_err(|error| self.failed_write(tail, error))?;
        self.advance(tail, frame_check);
        Ok(())
    }

    /// What a failed write means: for want of space nothing happened, else nobody writes any more.
    fn failed_write(&self, tail: &Tail, error: std::io::Error) -> Error {
        let (error, known) = write_error(&tail.segment, error);
        if known || planted(Plant::WriteErrorsAreNoSpace) { error } else { self.stop(&error) }
    }

    /// Poisons the store; the error that says so.
    pub(crate) fn stop(&self, cause: &Error) -> Error {
        self.poison.note(cause); // whoever reads it in the page before it is set here would say that it was another process
        // The page is first: once anyone hears of it, the store may be closed, and the page be the next writer's. Where files were taken away
        // it may be that already: who shares the store finds that out by itself, and who has made another one is none of ours.
        if cause.kind() != ErrorKind::Removed {
            self.control.poison();
        }
        self.poison.set(cause);
        self.marks.close();
        self.serve(None, now());
        self.poison.error()
    }
}

/// The name of the stream that an item makes.
fn fork_name<'a>(item: &Item<'a>) -> Option<&'a str> {
    match item {
        Item::Fork { name, .. } => Some(name),
        _ => None,
    }
}

/// As [`Writer::page_owner`].
pub(crate) fn page_owner(set: &SegmentSet, life: &Life) -> Option<Owner> {
    let mount = set.storage.mount_id().filter(|_| life.boot != BootId::default())?;
    Some(Owner {
        store: set.store.store,
        incarnation: life.incarnation,
        boot: life.boot,
        mount,
        identity: life.identity_place,
    })
}
