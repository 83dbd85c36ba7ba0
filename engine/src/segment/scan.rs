//! The one loop that decodes frames one after the other.
//!
//! A frame belongs to the log only if it proves itself *and* carries the stored check of the frame before it. The scan
//! says what stands at the place where that stops to be so; what it means is decided elsewhere.

use crate::format::frame::{FRAME_HEADER_BYTES, Frame, KIND_BATCH};
use crate::format::{Fault, batch};
use crate::ids::Position;
use crate::planted::{Plant, planted};
use crate::segment::one::Segment;

/// How much of each frame is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Header and plain part, and the chain. Bodies prove themselves when they are handed out; they are not read from the
    /// disk, and [`Segment::fetch_frame`] comes before whoever touches them.
    Header,
    /// Every byte, and that the structure of a batch adds up.
    Whole,
}

/// What the scan met.
#[derive(Debug)]
pub(crate) enum Step<'s> {
    /// A frame of the log.
    Frame(Frame<'s>),
    /// The limit was reached exactly.
    End,
    /// No frame of the log stands here.
    Bad(Fault),
}

/// A walk over the frames of a segment.
#[derive(Clone, Debug)]
pub(crate) struct Scan<'s> {
    segment: &'s Segment,
    at: Position,
    limit: Position,
    /// Stored check of the frame before; `None` right behind damage.
    previous_check: Option<u64>,
    proof: Proof,
}

impl<'s> Scan<'s> {
    /// From a frame boundary inside the segment.
    pub(crate) fn resume(
        segment: &'s Segment,
        at: Position,
        previous_check: Option<u64>,
        limit: Position,
        proof: Proof,
    ) -> Scan<'s> {
        Scan { segment, at, limit, previous_check, proof }
    }

    /// The next frame, or what stands in its place. Behind [`Step::Bad`] the scan stays where it is.
    #[inline]
    pub(crate) fn next(&mut self) -> Step<'s> {
        if self.at >= self.limit {
            return Step::End;
        }
        match self.decode() {
            Ok(frame) => {
                self.at = frame.end();
                self.previous_check = Some(frame.frame_check());
                Step::Frame(frame)
            }
            Err(fault) => Step::Bad(fault),
        }
    }

    #[inline]
    fn decode(&self) -> Result<Frame<'s>, Fault> {
        let frame = match self.proof {
            Proof::Header => self.segment.frame_without_bodies(self.at, self.limit)?,
            Proof::Whole => self.segment.frame(self.at, self.limit)?,
        };
        if let Some(expected) = self.previous_check.filter(|expected| *expected != frame.previous_check())
            && !planted(Plant::ChainIgnored)
        {
            let found = frame.previous_check();
            return Err(Fault::bad(format!(
                "the frame follows one whose check is {found:016x}, here {expected:016x} stands before it"
            )));
        }
        if self.proof == Proof::Whole {
            frame.prove(self.segment.seeds)?;
            if frame.kind() == KIND_BATCH {
                batch::check_structure(&frame)?;
            }
        }
        Ok(frame)
    }
}

/// Whether a header's worth of bytes at `at` reads as zero: nobody finished writing a frame there.
pub(crate) fn is_header_absent(segment: &Segment, at: Position) -> bool {
    segment.unproven_bytes(at, Position(at.0 + FRAME_HEADER_BYTES as u64)).iter().all(|byte| *byte == 0)
}

/// The place behind the last byte that is set, between two places; the first where none is. Looks from the end, a piece at a
/// time, at no more than it must: what lies before the last byte that is set is not read. There may be megabytes of zeros, which
/// take half as long to read as to map.
pub(crate) fn last_set_byte(segment: &Segment, from: Position, to: Position) -> Position {
    const PIECE_BYTES: u64 = 64 << 10; // stays in the processor's cache
    const LINE_BYTES: usize = 64;
    let is_zero = |line: &[u8]| line.iter().fold(0, |all, byte| all | byte) == 0;
    // Holes are passed over: touching them would make a page of zeros for each.
    let mut ranges = Vec::new();
    let (mut at, end) = (from.0 - segment.base.0, to.0.saturating_sub(segment.base.0));
    while at < end {
        let data = match segment.open_file().and_then(|file| file.next_data(at)) {
            Ok(None) => break,
            Ok(Some(data)) if data.start >= end => break,
            Ok(Some(data)) => data.start..data.end.min(end),
            Err(_) => at..end,
        };
        at = data.end;
        ranges.push(data);
    }
    let longest = ranges.iter().map(|data| data.end - data.start).max().unwrap_or(0);
    let mut buffer = vec![0; longest.min(PIECE_BYTES) as usize];
    for data in ranges.into_iter().rev() {
        let mut end = data.end;
        while end > data.start {
            let start = ((end - 1) / PIECE_BYTES * PIECE_BYTES).max(data.start);
            let piece = Position(segment.base.0 + start);
            let bytes = segment.read(piece, &mut buffer[..(end - start) as usize]);
            // Most of what is looked at is zero: first in lines, which go many times as fast as bytes.
            let zeros: usize = bytes.rchunks(LINE_BYTES).take_while(|line| is_zero(line)).map(<[u8]>::len).sum();
            if let Some(set) = bytes[..bytes.len() - zeros].iter().rposition(|byte| *byte != 0) {
                return Position((piece.0 + set as u64 + 1).next_multiple_of(8).min(to.0));
            }
            end = start;
        }
    }
    from
}
