//! The end of the log: all that must be known to append the next frame, and the two ways of putting its bytes there.
//!
//! The state moves only after the bytes are in the page cache. A write that failed for want of space leaves it as it was:
//! the next frame goes to the same place.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::commit::index_state::IndexState;
use crate::commit::notes::Notes;
use crate::commit::retry::RetryWindow;
use crate::commit::share::Follow;
use crate::ids::{Epoch, Position, SegmentOrdinal};
use crate::options::Durability;
use crate::segment::create::FIRST_STEP_BYTES;
use crate::segment::one::Segment;
use crate::storage::{Prefaulter, WritableMapping};
use crate::sync::{AtomicU64, Ordering};
use crate::watermark::LogEnd;
use crate::{Error, Result};

/// Frames longer than this are written by a system call: a copy gains nothing.
const MAPPED_FRAME_BYTES_MAX: usize = 256 << 10;
/// So many bytes are faulted in at once where a copy would have to wait for them: few, since the background thread, which
/// was asked by then, goes on from there.
const PREFAULT_BYTES: u64 = 64 << 10;
/// So far ahead of mapped copies pages are faulted in by the background thread.
const AHEAD_BYTES: u64 = 8 << 20;
/// A store of that many Written appends one after the other begins to copy into a mapping.
const MAPPED_STREAK: u32 = 16;
/// The largest step in which blocks are allocated.
const STEP_BYTES_MAX: u64 = 64 << 20;

/// The seals so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SealState {
    /// The newest seal frame; zero where there is none.
    pub(crate) last: Position,
    /// The hash in it.
    pub(crate) hash: [u8; 32],
    /// The first segment that is not sealed.
    pub(crate) next: SegmentOrdinal,
}

impl Default for SealState {
    fn default() -> SealState {
        SealState { last: Position::ZERO, hash: [0; 32], next: SegmentOrdinal(0) }
    }
}

/// The end of the log.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) segment: Arc<Segment>,
    /// Where the next frame goes.
    pub(crate) at: Position,
    /// Stored check of the last frame.
    pub(crate) previous_check: u64,
    /// Where the last frame begins.
    pub(crate) last_frame: Position,
    /// Global number of the next event.
    pub(crate) next_number: u64,
    pub(crate) takeover: u16,
    /// Greatest `recorded_at` of the log.
    pub(crate) max_recorded_at: i64,
    pub(crate) index: IndexState,
    pub(crate) notes: Notes,
    pub(crate) retries: RetryWindow,
    pub(crate) seals: SealState,
    pub(crate) output: Output,
    pub(crate) is_closed: bool,
    /// The last frame says that its writer was about to go on in the next segment.
    pub(crate) is_left: bool,
    /// The name of the segment is durable: this process made it so, or frames stand in it, before the first of which that is done.
    pub(crate) is_name_durable: bool,
    /// Reads on behind the tail, where others write too.
    pub(crate) follower: Option<Box<dyn Follow>>,
    /// Whether the background thread was asked for the next segment.
    pub(crate) has_asked_to_prepare: bool,
    /// The frame that is being built.
    pub(crate) scratch: Vec<u8>,
}

impl Tail {
    /// The writer's epoch.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch { segment: self.segment.ordinal(), takeover: self.takeover }
    }

    /// Where the log ends, and the frame that ends there.
    pub(crate) fn log_end(&self) -> LogEnd {
        LogEnd { end: self.at, last_frame: self.last_frame, last_check: self.previous_check }
    }

    /// Puts the frame in `scratch` at the end of the log. On error nothing of the tail has changed, and the frame is not
    /// in the log; whether its bytes are in the file is known only as [`is_effect_known`] says.
    ///
    /// `level` is what the append waits for; `None` for the engine's own frames, which go the way of those around them.
    pub(crate) fn put_scratch(&mut self, level: Option<Durability>) -> Result<(), io::Error> {
        let offset = self.at.0 - self.segment.base.0;
        self.output.put(&self.segment, &self.scratch, offset, level)
    }
}

/// Whether a failed write has a known effect: nothing of it is in the log, and nothing else was touched.
pub(crate) fn is_effect_known(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// The way of bytes into the active segment's file.
#[derive(Debug)]
pub(crate) struct Output {
    is_mapping_allowed: bool,
    /// Blocks are allocated up to this file offset.
    allocated: u64,
    step: u64,
    window: Option<(WritableMapping, Arc<Ahead>)>,
    window_failed: bool,
    /// Where the background thread is asked the next time.
    ask_at: u64,
    written_streak: u32,
}

impl Output {
    /// For a segment that has blocks up to `allocated`.
    pub(crate) fn new(is_mapping_allowed: bool, allocated: u64) -> Output {
        let step = FIRST_STEP_BYTES;
        Output { is_mapping_allowed, allocated, step, window: None, window_failed: false, ask_at: 0, written_streak: 0 }
    }

    /// Goes on in a new segment, at the pace of the one before. Returns what was mapped of that one.
    pub(crate) fn next_segment(&mut self, allocated: u64) -> Option<WritableMapping> {
        let next = Output::new(self.is_mapping_allowed, allocated);
        let next = Output { step: self.step, written_streak: self.written_streak, ..next };
        std::mem::replace(self, next).window.map(|(mapping, _)| mapping)
    }

    /// How many bytes are allocated at once, at the pace of the log so far.
    pub(crate) fn step(&self) -> u64 {
        self.step
    }

    fn put(&mut self, segment: &Segment, bytes: &[u8], offset: u64, level: Option<Durability>) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        if end > self.allocated {
            self.allocate(segment, end)?;
        }
        self.written_streak = match level {
            Some(Durability::Written) => self.written_streak.saturating_add(1),
            Some(Durability::Synced) => 0,
            None => self.written_streak,
        };
        let mapped =
            self.is_mapping_allowed && self.written_streak > MAPPED_STREAK && bytes.len() <= MAPPED_FRAME_BYTES_MAX;
        if mapped && self.prefault(segment, offset, end) {
            let (window, _) = self.window.as_mut().expect("prefault opened it");
            return window.copy_in((offset - window.range().start) as usize, bytes);
        }
        segment.open_file()?.write_at(bytes, offset)
    }

    /// Allocates in growing steps, so that a small store stays small and a fast writer seldom waits.
    fn allocate(&mut self, segment: &Segment, end: u64) -> io::Result<()> {
        let file_bytes = segment.head.header.file_bytes();
        let wanted = end.max(self.allocated + self.step).next_multiple_of(4096).min(file_bytes);
        let file = segment.open_file()?;
        match file.allocate(self.allocated..wanted) {
            // A step ahead is a favour; what this frame needs is what counts.
            Err(error) if is_effect_known(&error) => {
                let needed = end.next_multiple_of(4096).min(file_bytes);
                file.allocate(self.allocated..needed)?;
                self.allocated = needed;
            }
            Err(error) => return Err(error),
            Ok(()) => {
                self.allocated = wanted;
                self.step = (self.step * 2).min(STEP_BYTES_MAX);
            }
        }
        self.window = None; // it maps allocated blocks only
        Ok(())
    }

    /// Makes sure that a copy to `offset..end` meets present pages. `false` where that cannot be had.
    #[inline]
    fn prefault(&mut self, segment: &Segment, offset: u64, end: u64) -> bool {
        if self.window_failed {
            return false;
        }
        if self.window.is_none() {
            let start = offset & !4095;
            match segment.open_file().and_then(|file| file.map_writable(start..self.allocated)) {
                Ok(window) => {
                    let ahead =
                        Ahead { faulter: window.prefaulter(), range: window.range(), upto: AtomicU64::new(start) };
                    self.window = Some((window, Arc::new(ahead)));
                    self.ask_at = start;
                }
                Err(_) => {
                    self.window_failed = true;
                    return false;
                }
            }
        }
        let (_, ahead) = self.window.as_ref().expect("it was just opened");
        let there = end <= ahead.upto.load(Ordering::Relaxed) || ahead.fault_in(end.max(offset + PREFAULT_BYTES));
        self.window_failed = !there;
        there
    }

    /// What the background thread is to fault in, where it is time to ask.
    #[inline]
    pub(crate) fn take_ahead(&mut self, offset: u64) -> Option<(Arc<Ahead>, u64)> {
        let (_, ahead) = self.window.as_ref()?;
        if offset < self.ask_at {
            return None;
        }
        self.ask_at = offset + AHEAD_BYTES / 2;
        Some((Arc::clone(ahead), offset + AHEAD_BYTES))
    }
}

/// Pages that are made present ahead of mapped copies.
#[derive(Debug)]
pub(crate) struct Ahead {
    faulter: Prefaulter,
    /// Which bytes of the file are mapped.
    range: Range<u64>,
    /// Pages are present up to this file offset.
    upto: AtomicU64,
}

impl Ahead {
    const STEP_BYTES: u64 = 256 << 10;

    /// Makes pages present up to `to`, step by step. `false` where one cannot be had.
    pub(crate) fn fault_in(&self, to: u64) -> bool {
        let to = to.next_multiple_of(4096).min(self.range.end);
        loop {
            // Two threads may do the same step: it changes nothing twice.
            let from = self.upto.load(Ordering::Relaxed);
            if from >= to {
                return true;
            }
            let step_end = (from + Self::STEP_BYTES).min(to);
            if self
                .faulter
                .prefault((from - self.range.start) as usize..(step_end - self.range.start) as usize)
                .is_err()
            {
                return false;
            }
            self.upto.fetch_max(step_end, Ordering::Relaxed);
        }
    }
}

/// What a failed write means for the caller, by whether its effect is known.
pub(crate) fn write_error(segment: &Segment, error: io::Error) -> (Error, bool) {
    let known = is_effect_known(&error);
    (Error::io("write", &segment.name, error), known)
}
