//! Rolling: the log goes on in the next segment.
//!
//! The last stretch of the old segment gets its index block; the new segment's open frame states where the old one ended
//! and is durable, with the file's name, before anything behind it is shown to anyone. The old segment's own bytes need not
//! be durable by then: an open frame is believed only as far as the bytes before it prove themselves, and nothing behind it
//! is acknowledged as durable before they are.

use std::sync::Arc;

use crate::commit::index_state::is_left_at;
use crate::commit::tail::{SealState, Tail};
use crate::commit::writer::Writer;
use crate::format::frame::{FLAG_LEFT, KIND_SEAL};
use crate::format::open::{OpenFrame, OpenReason, Predecessor, open_position};
use crate::format::seal::Seal;
use crate::format::segment_header::FIRST_FRAME_OFFSET;
use crate::ids::{Position, SegmentOrdinal};
use crate::planted::{Plant, planted};
use crate::segment::create::{self, Prepared};
use crate::segment::one::Segment;
use crate::{Error, ErrorKind, Result, limits};

/// The segment behind the active one.
#[derive(Debug)]
pub(crate) struct NextSegment {
    pub(crate) ordinal: SegmentOrdinal,
    /// Its file, where it was prepared already.
    pub(crate) prepared: Option<Prepared>,
}

/// A finished segment of which a part was hashed, for its seal.
#[derive(Debug)]
pub(crate) struct Sealing {
    segment: Arc<Segment>,
    end: Position,
    /// Up to where it was hashed.
    at: Position,
    /// The seals when it was begun; only the thread that seals changes them.
    before: SealState,
    hasher: Box<blake3::Hasher>,
}

impl Writer {
    /// Rolls to a segment that has room for a frame of `frame_len` bytes with `reserve` bytes behind it.
    pub(crate) fn roll_for(&self, tail: &mut Tail, frame_len: u64, reserve: u64) -> Result<()> {
        let segment_bytes = self.set.store.segment_bytes;
        let needed = FIRST_FRAME_OFFSET + frame_len + reserve;
        let span = needed.div_ceil(segment_bytes);
        let reason = if span > 1 { OpenReason::Jumbo } else { OpenReason::Full };
        let header = tail.segment.head.header;
        let ordinal = tail.segment.next_ordinal();
        let end = (ordinal.0 + span).checked_mul(segment_bytes).filter(|end| *end <= limits::NUMBER_MAX);
        if end.is_none() {
            return Err(Error::new(ErrorKind::Limit, "the store holds 2^63 bytes"));
        }
        if tail.index.has_frames() || self.is_shared() && !tail.is_left && !is_left_at(&tail.segment, tail.at, false) {
            let is_marked = self.is_shared() && !planted(Plant::RollNotMarked);
            self.write_index_block(tail, if is_marked { FLAG_LEFT } else { 0 })?;
        }
        // Held until the file has its name: nobody else may touch the one being prepared under it.
        let mut next = self.next_segment.lock();
        debug_assert_eq!(next.ordinal, ordinal);
        let was_prepared = next.prepared.is_some();
        let mut prepared = self.take_prepared(&mut next, span as u32).map_err(|error| self.removed_or(error))?;
        let open = OpenFrame {
            incarnation: self.life.incarnation,
            identity_place: self.life.identity_place,
            boot: self.life.boot,
            predecessor: Some(Predecessor {
                ordinal: header.ordinal,
                end: tail.at,
                last_frame: tail.last_frame,
                last_index_block: tail.index.last_block(),
                salt: header.salt,
            }),
            last_seal: tail.seals.last,
            reason,
            max_recorded_at: tail.max_recorded_at,
            previous_check: tail.previous_check,
            first_number: tail.next_number,
            witness: Some(if planted(Plant::OpenWitnessCommitted) {
                tail.at
            } else {
                self.marks.get().durable.min(tail.at)
            }),
            recorded_at: self.set.storage.now(),
        };
        let mut published = create::publish(&*self.set.storage, &prepared, &open, &[]);
        if was_prepared && published.as_ref().is_err_and(|failed| failed.is_not_there()) {
            // What was prepared may be removed by anyone.
            prepared = self.take_prepared(&mut next, span as u32).map_err(|error| self.removed_or(error))?;
            published = create::publish(&*self.set.storage, &prepared, &open, &[]);
        }
        let allocated = prepared.allocated;
        let segment = match published {
            Ok(segment) => Arc::new(segment),
            Err(failed) if failed.is_effect_unknown => return Err(self.stop(&failed.error)),
            Err(failed) => {
                create::discard(&*self.set.storage, prepared);
                return Err(self.removed_or(failed.error));
            }
        };
        let predecessor_end = tail.at;
        self.set.roll(&segment, predecessor_end, tail.index.last_block());
        self.files.lock().roll(Arc::clone(&segment), Position::ZERO);
        tail.at = segment.first_frame();
        tail.previous_check = segment.head.open_check;
        tail.last_frame = open_position(&segment.head.header);
        tail.takeover = 0;
        tail.is_left = false;
        tail.is_name_durable = true;
        tail.has_asked_to_prepare = false;
        tail.index.begin(tail.at);
        tail.notes.begin(tail.at);
        if let Some(mapped) = tail.output.next_segment(allocated) {
            self.signals.leave(mapped);
        }
        next.ordinal = segment.next_ordinal();
        drop(next);
        tail.segment = segment;
        self.control.set_epoch(tail.epoch());
        self.publish(tail);
        // It is to be sealed. Its sync comes with the next one that anybody waits for or that is due: one at once would keep the
        // disk busy while the next roll waits for a sync of its own.
        self.signals.want_work();
        self.signals.note_index_due(predecessor_end);
        Ok(())
    }

    /// Why a file could not be made: where nothing is found, all of the directory may have been removed.
    fn removed_or(&self, error: Error) -> Error {
        let checked = if error.kind() == ErrorKind::NotFound { self.check_files() } else { Ok(()) };
        checked.err().unwrap_or(error)
    }

    fn take_prepared(&self, next: &mut NextSegment, span: u32) -> Result<Prepared> {
        match next.prepared.take() {
            Some(prepared) if prepared.header.span == span => Ok(prepared),
            _ => create::prepare(&*self.set.storage, &self.set.store, next.ordinal, span, create::FIRST_STEP_BYTES),
        }
    }

    /// Has the next segment prepared in the background once half of this one is used.
    pub(crate) fn prepare_in_time(&self, tail: &mut Tail) {
        let used = tail.at.0 - tail.segment.base.0;
        if !tail.has_asked_to_prepare && used > self.set.store.segment_bytes / 2 {
            tail.has_asked_to_prepare = true;
            self.signals.want_work();
        }
    }

    /// Prepares the next segment, in the background. A failure is not reported: the roll itself will meet it.
    pub(crate) fn prepare_next(&self) {
        let step = {
            let tail = self.tail.lock();
            // What one process prepared another would replace.
            if !tail.has_asked_to_prepare || self.poison.is_set() || self.is_shared() {
                return;
            }
            tail.output.step()
        };
        let mut next = self.next_segment.lock();
        if next.prepared.is_none() {
            next.prepared = create::prepare(&*self.set.storage, &self.set.store, next.ordinal, 1, step).ok();
        }
    }

    /// How many finished segments have no seal.
    pub(crate) fn unsealed_segments(&self) -> u64 {
        let next = self.tail.lock().seals.next;
        self.set.last().map_or(0, |last| last.ordinal.0.saturating_sub(next.0))
    }

    /// Begins to seal the oldest finished segment that is durable and has no seal; `None` where there is none.
    ///
    /// The hash is over the bytes as they are mapped; a segment with known damage is not sealed, nor any behind it.
    pub(crate) fn begin_seal(&self) -> Result<Option<Sealing>> {
        let seals = self.tail.lock().seals;
        let Some(known) = self.set.all().into_iter().find(|known| known.ordinal >= seals.next && known.end.is_some())
        else {
            return Ok(None);
        };
        let end = known.end.expect("it was filtered by it");
        if end > self.doubts.damaged_from || self.marks.get().durable < end {
            return Ok(None);
        }
        let segment = self.set.open(&known)?;
        let hasher = crate::format::seal::hasher(&seals.hash);
        Ok(Some(Sealing { at: segment.base, segment, end, before: seals, hasher: Box::new(hasher) }))
    }

    /// Hashes the next piece of the segment, or appends its seal once all of it was hashed. `true` once it is sealed.
    pub(crate) fn seal_step(&self, sealing: &mut Sealing) -> Result<bool> {
        const PIECE_BYTES: u64 = 1 << 20;
        let Sealing { segment, end, at, before, hasher } = sealing;
        if *at < *end {
            let to = Position((at.0 + PIECE_BYTES).min(end.0));
            // Read again where it is a copy: it may be older than the segment's end.
            hasher.update(segment.unproven_bytes(*at, to));
            // A hash over what could not be read is none.
            segment.check_readable()?;
            *at = to;
            return Ok(false);
        }
        let seal = Seal {
            ordinal: segment.ordinal(),
            span: segment.head.header.span,
            end: *end,
            previous: before.last,
            hash: *hasher.finalize().as_bytes(),
            previous_hash: before.hash,
        };
        self.append_seal(segment, seal, *before)?;
        self.set.close(segment.ordinal());
        Ok(true)
    }

    fn append_seal(&self, segment: &Segment, seal: Seal, before: SealState) -> Result<()> {
        const SEAL_FRAME_BYTES: u64 = 256;
        let mut end = self.at_end()?;
        let tail = &mut *end.tail;
        // Another process may have done it meanwhile.
        if tail.is_closed || tail.seals != before {
            return Ok(());
        }
        self.name_listed(tail)?;
        if tail.at.0 + SEAL_FRAME_BYTES + tail.index.reserve(1, 0) > tail.segment.file_end().0 {
            self.roll_for(tail, SEAL_FRAME_BYTES, crate::commit::index_state::fresh_reserve(1, 0))?;
        }
        tail.scratch.clear();
        let mut scratch = std::mem::take(&mut tail.scratch);
        let plain_len = seal.encode(&mut scratch);
        tail.scratch = scratch;
        let (position, frame_len) = (tail.at, tail.scratch.len() as u32);
        self.put_engine_frame(tail, KIND_SEAL, 0, plain_len)?;
        tail.index.note_other(KIND_SEAL, frame_len);
        tail.notes.note_seal(position..tail.at);
        tail.seals =
            SealState { last: position, hash: seal.hash, next: SegmentOrdinal(seal.ordinal.0 + u64::from(seal.span)) };
        self.write_due_index_block(tail);
        drop(end);
        self.signals.note_unsynced();
        // What lies behind the end was never part of the log: its blocks go back to the disk.
        let from = (seal.end.0 - segment.base.0).next_multiple_of(4096);
        let to = segment.head.header.file_bytes();
        if from < to {
            let file = self.set.storage.open(&segment.name, crate::storage::Access::ReadWrite);
            let _ = file.and_then(|file| file.punch(from..to)); // a favour to the disk; nothing depends on it
        }
        Ok(())
    }
}
