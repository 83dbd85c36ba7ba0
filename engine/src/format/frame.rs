//! The header that every frame begins with, and the checks that make a frame prove itself.
//!
//! Three types, so that skipping a check does not compile: raw bytes; a [`Frame`], whose header check holds (lengths,
//! kind, table and stored checks may be used); and a [`Frame`] on which [`Frame::prove`] succeeded, after which every byte
//! of it is known to be as written.

use super::Fault;
use crate::checksum::{Seeds, long_check, long_check_of_parts, short_check};
use crate::ids::{BatchId, Position};
use crate::limits::{FRAME_BYTES_MAX, NUMBER_MAX};
use crate::planted::{Plant, planted};

/// Length of the frame header, in bytes; the plain part follows it.
pub const FRAME_HEADER_BYTES: usize = 72;
/// Frames begin and end at multiples of this many bytes.
pub const FRAME_ALIGNMENT: u64 = 8;
/// The value of `witness back` that says nothing.
pub const WITNESS_UNKNOWN: u32 = u32::MAX;

/// Kind of the frame that opens a segment.
pub const KIND_OPEN: u8 = 1;
/// Kind of the frame that holds a batch.
pub const KIND_BATCH: u8 = 2;
/// Kind of the frame that seals an earlier segment.
pub const KIND_SEAL: u8 = 3;
/// Kind of an index block.
pub const KIND_INDEX_BLOCK: u8 = 0x81;
/// Kinds from here on may be skipped by who does not know them.
pub const KIND_IGNORABLE: u8 = 0x80;

/// Flag bits that must be known to use the frame.
pub const FLAGS_REQUIRED: u8 = 0x0F;
/// Flag: the caller gave the batch id.
pub const FLAG_GIVEN_ID: u8 = 0x10;
/// Flag: a writer that shares the log with others was about to go on in the next segment. What it says of the log is nothing;
/// to the others it says where to look.
pub const FLAG_LEFT: u8 = 0x20;

/// The fields of a frame header that are not checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame holds.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Second half of the writer's epoch.
    pub takeover: u16,
    /// Length of the frame with its padding, in bytes.
    pub frame_len: u32,
    /// Length of the plain part, in bytes.
    pub plain_len: u32,
    /// Up to where the log was known durable when the frame was written.
    pub witness: Option<Position>,
    /// How many events it holds.
    pub events: u32,
    /// The stored check of the frame before.
    pub previous_check: u64,
    /// How many events are in the log before it.
    pub first_number: u64,
    /// When it was written, in nanoseconds since 1970 UTC.
    pub recorded_at: i64,
    /// The batch.
    pub batch: BatchId,
    /// The check over the whole frame, as stored.
    pub frame_check: u64,
}

/// Where a proven frame lies: all that must be kept to come back to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct FramePlace {
    /// Where it begins.
    pub position: Position,
    /// Its length, and above it that of its plain part: in one word, since two that are written one by one and copied at
    /// once cost a reader of every frame a store that must be waited for.
    lens: u64,
}

impl FramePlace {
    #[inline]
    fn new(position: Position, frame_len: u32, plain_len: u32) -> FramePlace {
        FramePlace { position, lens: u64::from(frame_len) | u64::from(plain_len) << 32 }
    }

    /// Its length, in bytes.
    #[inline]
    #[must_use]
    pub fn frame_len(&self) -> u32 {
        self.lens as u32
    }

    #[inline]
    fn plain_len(&self) -> u32 {
        (self.lens >> 32) as u32
    }

    /// Where the next frame begins.
    #[inline]
    #[must_use]
    pub fn end(&self) -> Position {
        Position(self.position.0 + u64::from(self.frame_len()))
    }
}

/// Four bytes of a header; `at` is a constant wherever this is called.
#[inline(always)]
fn u32_at(head: &[u8; FRAME_HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(*head[at..].first_chunk().expect("it lies in the header"))
}

/// Eight bytes of a header.
#[inline(always)]
fn u64_at(head: &[u8; FRAME_HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(*head[at..].first_chunk().expect("it lies in the header"))
}

/// Whether kind and lengths of a header can be those of a frame.
#[inline(always)]
fn is_sound(head: &[u8; FRAME_HEADER_BYTES]) -> bool {
    let (kind, len, content) = (head[4], u32_at(head, 8), FRAME_HEADER_BYTES as u64 + u64::from(u32_at(head, 12)));
    kind != 0
        && kind != 0xFF
        && u64::from(len).is_multiple_of(FRAME_ALIGNMENT)
        && u64::from(len) <= FRAME_BYTES_MAX
        && content <= u64::from(len)
}

/// A frame whose header check holds. Its fields are read where they stand, when they are asked for.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// Where it begins.
    pub position: Position,
    head: &'a [u8; FRAME_HEADER_BYTES],
    bytes: &'a [u8],
    /// Kept as it was when the check held: what is derived from it stays inside of `bytes` whatever becomes of the file.
    plain_len: u32,
}

impl<'a> Frame<'a> {
    /// The frame at the start of `bytes`, which reach to the end of what may be a frame here.
    ///
    /// [`Fault::Absent`] where the first [`FRAME_HEADER_BYTES`] are zero; [`Fault::Short`] where the frame would be longer
    /// than `bytes`; [`Fault::Bad`] where anything contradicts itself.
    #[inline(always)]
    pub fn decode(bytes: &'a [u8], seeds: Seeds, position: Position) -> Result<Frame<'a>, Fault> {
        let head = bytes.first_chunk().ok_or(Fault::Short)?;
        let frame = Frame { position, head, bytes, plain_len: u32_at(head, 12) };
        let (len, content) = (frame.frame_len() as usize, FRAME_HEADER_BYTES + frame.plain_len as usize);
        let kind = frame.kind();
        if !is_sound(head) {
            return Err(frame.what_is_unsound());
        }
        if len > bytes.len() {
            return Err(Fault::Short);
        }
        let bytes = &bytes[..len];
        let actual = short_check(seeds.short(position), &[&bytes[4..content]]);
        if actual != frame.header_check() && !planted(Plant::HeaderCheckIgnored) {
            return Err(frame.wrong_check(actual));
        }
        let witness_back = frame.witness_back();
        if witness_back != WITNESS_UNKNOWN && u64::from(witness_back) * FRAME_ALIGNMENT > position.0 {
            return Err(Fault::bad("the witness lies before the log"));
        }
        let events = frame.events();
        let is_too_many = events as usize > len || frame.first_number() > NUMBER_MAX;
        if is_too_many || (events != 0 && kind != KIND_BATCH && kind < KIND_IGNORABLE) {
            return Err(frame.too_many_events());
        }
        Ok(Frame { bytes, ..frame })
    }

    /// Whether [`decode`](Self::decode) would go on to the checks: for who tries one place after the other.
    #[inline]
    pub(crate) fn may_begin(bytes: &[u8]) -> bool {
        bytes.first_chunk().is_some_and(|head| is_sound(head) && u32_at(head, 8) as usize <= bytes.len())
    }

    /// Where it lies, for [`again`](Self::again).
    #[inline]
    #[must_use]
    pub fn place(&self) -> FramePlace {
        FramePlace::new(self.position, self.bytes.len() as u32, self.plain_len)
    }

    /// The frame that was at `place`, from the same bytes.
    ///
    /// # Panics
    /// Where `bytes` are shorter than the frame was.
    #[inline]
    #[must_use]
    pub fn again(place: FramePlace, bytes: &'a [u8]) -> Frame<'a> {
        let bytes = &bytes[..place.frame_len() as usize];
        let head = bytes.first_chunk().expect("a frame is longer than its header");
        Frame { position: place.position, head, bytes, plain_len: place.plain_len() }
    }

    #[cold]
    #[inline(never)]
    fn what_is_unsound(&self) -> Fault {
        match self.kind() {
            0 | 0xFF if self.head.iter().all(|byte| *byte == 0) => Fault::Absent,
            0 | 0xFF => Fault::bad("no frame begins here"),
            _ => Fault::bad(format!(
                "a frame of {} bytes with a plain part of {} cannot be",
                self.frame_len(),
                self.plain_len()
            )),
        }
    }

    #[cold]
    #[inline(never)]
    fn wrong_check(&self, actual: u32) -> Fault {
        Fault::bad(format!("the header check is {:08x}, the bytes give {actual:08x}", self.header_check()))
    }

    #[cold]
    #[inline(never)]
    fn too_many_events(&self) -> Fault {
        Fault::bad(format!(
            "a frame of kind {} and {} bytes cannot hold {} events behind {} others",
            self.kind(),
            self.frame_len(),
            self.events(),
            self.first_number()
        ))
    }

    #[inline]
    fn header_check(&self) -> u32 {
        u32_at(self.head, 0)
    }

    /// What the frame holds.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.head[4]
    }

    /// Flags.
    #[inline]
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.head[5]
    }

    /// Second half of the writer's epoch.
    #[inline]
    #[must_use]
    pub fn takeover(&self) -> u16 {
        u16::from_le_bytes([self.head[6], self.head[7]])
    }

    /// Length of the frame with its padding, in bytes.
    #[inline]
    #[must_use]
    pub fn frame_len(&self) -> u32 {
        u32_at(self.head, 8)
    }

    /// Length of the plain part, in bytes.
    #[inline]
    #[must_use]
    pub fn plain_len(&self) -> u32 {
        self.plain_len
    }

    #[inline]
    fn witness_back(&self) -> u32 {
        u32_at(self.head, 16)
    }

    /// Up to where the log was known durable when the frame was written.
    #[inline]
    #[must_use]
    pub fn witness(&self) -> Option<Position> {
        match self.witness_back() {
            WITNESS_UNKNOWN => None,
            back => Some(Position(self.position.0.saturating_sub(u64::from(back) * FRAME_ALIGNMENT))),
        }
    }

    /// How many events it holds.
    #[inline]
    #[must_use]
    pub fn events(&self) -> u32 {
        u32_at(self.head, 20)
    }

    /// The stored check of the frame before.
    #[inline]
    #[must_use]
    pub fn previous_check(&self) -> u64 {
        u64_at(self.head, 24)
    }

    /// How many events are in the log before it.
    #[inline]
    #[must_use]
    pub fn first_number(&self) -> u64 {
        u64_at(self.head, 32)
    }

    /// When it was written, in nanoseconds since 1970 UTC.
    #[inline]
    #[must_use]
    pub fn recorded_at(&self) -> i64 {
        u64_at(self.head, 40).cast_signed()
    }

    /// The batch.
    #[inline]
    #[must_use]
    pub fn batch(&self) -> BatchId {
        BatchId(*self.head[48..].first_chunk().expect("it lies in the header"))
    }

    /// The check over the whole frame, as stored.
    #[inline]
    #[must_use]
    pub fn frame_check(&self) -> u64 {
        u64_at(self.head, 64)
    }

    /// All fields of its header.
    #[must_use]
    pub fn header(&self) -> FrameHeader {
        FrameHeader {
            kind: self.kind(),
            flags: self.flags(),
            takeover: self.takeover(),
            frame_len: self.frame_len(),
            plain_len: self.plain_len(),
            witness: self.witness(),
            events: self.events(),
            previous_check: self.previous_check(),
            first_number: self.first_number(),
            recorded_at: self.recorded_at(),
            batch: self.batch(),
            frame_check: self.frame_check(),
        }
    }

    /// Checks every byte of the frame, padding included.
    pub fn prove(&self, seeds: Seeds) -> Result<(), Fault> {
        let actual = frame_check(self.bytes, seeds, self.position);
        let stored = self.frame_check();
        if actual != stored {
            return Err(Fault::bad(format!("the frame check is {stored:016x}, the bytes give {actual:016x}")));
        }
        Ok(())
    }

    /// Whether this version may use what the frame holds. `Ok(false)`: it may be skipped.
    #[inline]
    pub fn is_known(&self) -> Result<bool, Fault> {
        if self.flags() & FLAGS_REQUIRED != 0 {
            return Err(self.unknown_flags());
        }
        match self.kind() {
            KIND_OPEN | KIND_BATCH | KIND_SEAL | KIND_INDEX_BLOCK => Ok(true),
            KIND_IGNORABLE.. => Ok(false),
            _ => Err(self.unknown_kind()),
        }
    }

    #[cold]
    #[inline(never)]
    fn unknown_flags(&self) -> Fault {
        Fault::Unsupported(format!("flags {:#x} of the frame at {}", self.flags() & FLAGS_REQUIRED, self.position))
    }

    #[cold]
    #[inline(never)]
    fn unknown_kind(&self) -> Fault {
        Fault::Unsupported(format!("kind {} of the frame at {}", self.kind(), self.position))
    }

    /// Where the next frame begins.
    #[inline]
    #[must_use]
    pub fn end(&self) -> Position {
        Position(self.position.0 + self.bytes.len() as u64)
    }

    /// The plain part.
    #[inline]
    #[must_use]
    pub fn plain(&self) -> &'a [u8] {
        &self.bytes[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + self.plain_len as usize]
    }

    /// The bodies with the padding behind them.
    #[inline]
    #[must_use]
    pub fn bodies(&self) -> &'a [u8] {
        &self.bytes[FRAME_HEADER_BYTES + self.plain_len as usize..]
    }

    /// All bytes of the frame.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl std::fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame")
            .field("position", &self.position)
            .field("header", &self.header())
            .finish_non_exhaustive()
    }
}

/// The check over a whole frame, by its bytes (the header check and the stored frame check left out).
fn frame_check(bytes: &[u8], seeds: Seeds, position: Position) -> u64 {
    long_check_of_parts(seeds.long(position), &[&bytes[4..FRAME_HEADER_BYTES - 8], &bytes[FRAME_HEADER_BYTES..]])
}

/// Completes the frame in `bytes` (header room, plain part, bodies; aligned length): writes the header with its checks.
/// Returns the frame check.
///
/// The lengths and the frame check of `header` are not looked at.
pub fn finish(bytes: &mut [u8], plain_len: usize, header: &FrameHeader, seeds: Seeds, position: Position) -> u64 {
    assert!((bytes.len() as u64).is_multiple_of(FRAME_ALIGNMENT) && bytes.len() as u64 <= FRAME_BYTES_MAX);
    assert!(FRAME_HEADER_BYTES + plain_len <= bytes.len() && header.events as usize <= bytes.len());
    let witness_back = header.witness.and_then(|witness| {
        let distance =
            position.0.checked_sub(witness.0).expect("a witness is never ahead of the frame that carries it");
        debug_assert!(distance.is_multiple_of(FRAME_ALIGNMENT));
        u32::try_from(distance / FRAME_ALIGNMENT).ok().filter(|back| *back != WITNESS_UNKNOWN)
    });
    let mut head = [0; FRAME_HEADER_BYTES];
    head[4] = header.kind;
    head[5] = header.flags;
    head[6..8].copy_from_slice(&header.takeover.to_le_bytes());
    head[8..12].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    head[12..16].copy_from_slice(&(plain_len as u32).to_le_bytes());
    head[16..20].copy_from_slice(&witness_back.unwrap_or(WITNESS_UNKNOWN).to_le_bytes());
    head[20..24].copy_from_slice(&header.events.to_le_bytes());
    head[24..32].copy_from_slice(&header.previous_check.to_le_bytes());
    head[32..40].copy_from_slice(&header.first_number.to_le_bytes());
    head[40..48].copy_from_slice(&header.recorded_at.to_le_bytes());
    head[48..64].copy_from_slice(&header.batch.0);
    // The long check leaves out the header's first and last field. Put over the last one for a moment, what it covers is
    // one piece, for which the check costs half as much as for two; the header takes its place right after.
    const PIECE_AT: usize = 4 + 8;
    bytes[PIECE_AT..FRAME_HEADER_BYTES].copy_from_slice(&head[4..FRAME_HEADER_BYTES - 8]);
    let long = long_check(seeds.long(position), &bytes[PIECE_AT..]);
    head[64..72].copy_from_slice(&long.to_le_bytes());
    bytes[..FRAME_HEADER_BYTES].copy_from_slice(&head);
    debug_assert_eq!(long, frame_check(bytes, seeds, position));
    let short = short_check(seeds.short(position), &[&bytes[4..FRAME_HEADER_BYTES + plain_len]]);
    bytes[0..4].copy_from_slice(&short.to_le_bytes());
    long
}

/// Begins a frame in `out`: room for the header. The plain part follows.
pub fn begin(out: &mut Vec<u8>) {
    out.resize(out.len() + FRAME_HEADER_BYTES, 0);
}

/// Fills `out` with zeros to the alignment of frames, counted from `start`.
pub fn pad(out: &mut Vec<u8>, start: usize) {
    let len = (out.len() - start).next_multiple_of(FRAME_ALIGNMENT as usize);
    out.resize(start + len, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Salt;

    fn header() -> FrameHeader {
        FrameHeader {
            kind: KIND_BATCH,
            flags: FLAG_GIVEN_ID,
            takeover: 7,
            frame_len: 0,
            plain_len: 0,
            witness: Some(Position(8000)),
            events: 2,
            previous_check: 77,
            first_number: 5,
            recorded_at: -3,
            batch: BatchId([9; 16]),
            frame_check: 0,
        }
    }

    fn frame(seeds: Seeds, position: Position) -> Vec<u8> {
        let mut out = Vec::new();
        begin(&mut out);
        out.extend_from_slice(b"plain part");
        out.extend_from_slice(b"bodies");
        pad(&mut out, 0);
        finish(&mut out, 10, &header(), seeds, position);
        out
    }

    #[test]
    fn p03_a_frame_proves_itself_at_its_own_place_only() {
        let (seeds, place) = (Seeds::new(Salt([1; 16])), Position(8192));
        let bytes = frame(seeds, place);
        let decoded = Frame::decode(&bytes, seeds, place).expect("decodes");
        decoded.prove(seeds).expect("proves");
        assert_eq!((decoded.plain(), &decoded.bodies()[..6]), (&b"plain part"[..], &b"bodies"[..]));
        assert_eq!(
            decoded.header(),
            FrameHeader {
                frame_len: bytes.len() as u32,
                plain_len: 10,
                frame_check: decoded.frame_check(),
                ..header()
            }
        );
        assert!(Frame::decode(&bytes, seeds, Position(8200)).is_err());
        assert!(Frame::decode(&bytes, Seeds::new(Salt([2; 16])), place).is_err());
        assert_eq!(Frame::decode(&[0; 200], seeds, place).err(), Some(Fault::Absent));
    }

    #[test]
    fn p05_every_flipped_bit_of_a_frame_is_found_padding_included() {
        let (seeds, place) = (Seeds::new(Salt([1; 16])), Position(8192));
        let good = frame(seeds, place);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = Frame::decode(&bytes, seeds, place).and_then(|frame| frame.prove(seeds));
            assert!(found.is_err(), "bit {bit} of byte {}", bit / 8);
        }
    }

    #[test]
    fn p07_every_cut_of_a_frame_is_short() {
        let (seeds, place) = (Seeds::new(Salt([1; 16])), Position(8192));
        let good = frame(seeds, place);
        for cut in 0..good.len() {
            assert_eq!(Frame::decode(&good[..cut], seeds, place).err(), Some(Fault::Short), "{cut}");
        }
    }

    #[test]
    fn a_witness_too_far_back_says_nothing_rather_than_something_wrong() {
        let seeds = Seeds::new(Salt([1; 16]));
        let place = Position(1 << 40);
        let mut out = vec![0; 80];
        finish(&mut out, 0, &FrameHeader { witness: Some(Position(8192)), ..header() }, seeds, place);
        assert_eq!(Frame::decode(&out, seeds, place).expect("decodes").witness(), None);
        finish(&mut out, 0, &FrameHeader { witness: Some(place), ..header() }, seeds, place);
        assert_eq!(Frame::decode(&out, seeds, place).expect("decodes").witness(), Some(place));
    }

    #[test]
    fn unknown_kinds_and_flags_are_skipped_or_refused_by_their_range() {
        let (seeds, place) = (Seeds::new(Salt([1; 16])), Position(8192));
        let known = |kind, flags| {
            let mut out = vec![0; 80];
            finish(&mut out, 0, &FrameHeader { kind, flags, events: 0, ..header() }, seeds, place);
            Frame::decode(&out, seeds, place).and_then(|frame| frame.is_known())
        };
        assert_eq!(known(KIND_BATCH, 0x80), Ok(true));
        assert_eq!(known(0xA0, 0), Ok(false));
        assert!(matches!(known(9, 0), Err(Fault::Unsupported(_))));
        assert!(matches!(known(KIND_BATCH, 1), Err(Fault::Unsupported(_))));
        assert!(matches!(known(0xFF, 0), Err(Fault::Bad(_))));
    }
}
