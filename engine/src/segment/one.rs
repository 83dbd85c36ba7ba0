//! One open segment, mapped for reading.
//!
//! Invariants: the head block proved itself and belongs to the store, unless it is said to be lost; the mapping never changes
//! below the end of the log; a file that is shorter than it should be reads as if it ended there. Where the log ends is not known here.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::checksum::Seeds;
use crate::error::{Damage, DamageClass};
use crate::format::frame::{FRAME_HEADER_BYTES, Frame, FramePlace, KIND_OPEN};
use crate::format::open::{HeadBlock, OpenFrame, OpenReason, open_position};
use crate::format::segment_header::{HEAD_BLOCK_BYTES, SegmentHeader};
use crate::format::store_block::StoreBlock;
use crate::format::{Fault, file_name};
use crate::ids::{BootId, FilePlace, Incarnation, Position, Salt, SegmentOrdinal};
use crate::storage::{Access, Mapping, Storage, StorageFile};
use crate::sync::Mutex;
use crate::watermark::LogEnd;
use crate::{Error, Result};

/// Pages are fetched in such stretches, which also bounds how far behind the end of the log that happens.
const STRETCH_BYTES: usize = 64 << 10;
/// So many stretches at once for who reads on.
const STRETCHES_AHEAD: usize = 16;

/// What is fetched ahead of a frame whose length is not known: a header, a section and an event of usual size. What is longer is
/// fetched as it is read.
pub(crate) const FRAME_TOUCHED_BYTES: usize = 448;

/// A segment file whose head block holds.
pub(crate) struct Segment {
    pub(crate) head: HeadBlock,
    pub(crate) name: String,
    /// Position of byte 0 of the file.
    pub(crate) base: Position,
    pub(crate) seeds: Seeds,
    /// `None`: it was let go of.
    file: Option<Arc<dyn StorageFile>>,
    /// Where the file lies, once somebody asked.
    place: OnceLock<FilePlace>,
    mapping: Mapping,
    /// All of the mapping, as what is handed out keeps it.
    whole: Bytes,
    /// One bit for each stretch of [`STRETCH_BYTES`] whose pages were fetched.
    fetched: Box<[AtomicU64]>,
    fetching: Mutex<()>,
    /// What is wrong with one copy of the head block while the other serves.
    pub(crate) head_damage: Option<Damage>,
    /// Neither copy proved itself: `head` is put together from what others say, and its open frame says nothing.
    pub(crate) is_head_lost: bool,
}

impl fmt::Debug for Segment {
    /// Without its bytes, which are many, and which to touch may be a signal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("name", &self.name).field("base", &self.base).finish_non_exhaustive()
    }
}

/// What others know of a segment neither copy of whose head block proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LostHead {
    /// Without it no frame could be told from garbage.
    pub(crate) salt: Salt,
    /// Segments that the file takes, by its length.
    pub(crate) span: u32,
    pub(crate) incarnation: Incarnation,
}

/// Why a segment file cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// The system said no; nothing is known about the file.
    System(Error),
    /// What is in it is not what should be.
    Damaged(Damage),
    /// Neither copy of the head block proves itself; the frames behind it may.
    HeadLost(Damage),
    /// It was written by a newer version.
    Unsupported(String),
}

impl From<Unusable> for Error {
    fn from(unusable: Unusable) -> Error {
        match unusable {
            Unusable::System(error) => error,
            Unusable::Damaged(damage) | Unusable::HeadLost(damage) => Error::from_damage(damage),
            Unusable::Unsupported(what) => {
                Error::new(crate::ErrorKind::Unsupported, format!("{what}; use a newer version of treering"))
            }
        }
    }
}

impl Segment {
    /// Opens the segment with this ordinal and proves its head block.
    pub(crate) fn open(
        storage: &dyn Storage,
        ordinal: SegmentOrdinal,
        access: Access,
        store: &StoreBlock,
    ) -> Result<Segment, Unusable> {
        let name = file_name::segment(ordinal);
        let file = storage.open(&name, access).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Unusable::Damaged(whole_file(
                &name,
                ordinal,
                store,
                1,
                DamageClass::Missing,
                "the file is not there".into(),
            )),
            std::io::ErrorKind::InvalidInput => Unusable::Damaged(whole_file(
                &name,
                ordinal,
                store,
                1,
                DamageClass::Foreign,
                format!("the name leads to no regular file: {error}"),
            )),
            _ => Unusable::System(Error::io("open", &name, error)),
        })?;
        let mapping = file.map().map_err(|error| Unusable::System(Error::io("map", &name, error)))?;
        Segment::from_parts(file, mapping, name, ordinal, store)
    }

    /// The segment in a file that is open already.
    pub(crate) fn from_file(
        file: Arc<dyn StorageFile>,
        name: String,
        ordinal: SegmentOrdinal,
        store: &StoreBlock,
    ) -> Result<Segment, Unusable> {
        let mapping = file.map().map_err(|error| Unusable::System(Error::io("map", &name, error)))?;
        Segment::from_parts(file, mapping, name, ordinal, store)
    }

    fn from_parts(
        file: Arc<dyn StorageFile>,
        mapping: Mapping,
        name: String,
        ordinal: SegmentOrdinal,
        store: &StoreBlock,
    ) -> Result<Segment, Unusable> {
        let head_bytes = 0..mapping.len().min(2 * HEAD_BLOCK_BYTES);
        mapping.fetch(head_bytes, &file).map_err(|error| Unusable::System(Error::io("read", &name, error)))?;
        let bytes = mapping.as_slice();
        let copy = |number: usize| bytes.get(number * HEAD_BLOCK_BYTES..(number + 1) * HEAD_BLOCK_BYTES);
        let decoded = |number: usize| HeadBlock::decode(copy(number).unwrap_or_default());
        let first = decoded(0);
        // The same bytes say the same: mostly one copy is decoded.
        let second = if copy(0) == copy(1) { first.clone() } else { decoded(1) };
        let damaged_copy = |number: usize, fault: &Fault| {
            let bytes = (number * HEAD_BLOCK_BYTES) as u64..((number + 1) * HEAD_BLOCK_BYTES) as u64;
            let detail = format!("copy {} of the head block: {fault}; the other copy serves", number + 1);
            let damage = Damage::new(DamageClass::Damage, &name, bytes, Position::ZERO..Position::ZERO, detail);
            Damage { streams: Some(Vec::new()), ..damage }
        };
        // A block of another file that was written here proves itself too: it must not take the place of the right one.
        let is_ours = |head: &HeadBlock| head.header.ordinal == ordinal && head.header.store == *store;
        let (head, head_damage) = match (first, second) {
            (Ok(head), Ok(same)) if head == same => (head, None),
            (Ok(other), Ok(head)) if !is_ours(&other) && is_ours(&head) => {
                (head, Some(damaged_copy(0, &Fault::bad("it is that of another file"))))
            }
            (Ok(head), Ok(_)) => (head, Some(damaged_copy(1, &Fault::bad("it differs from the first")))),
            (Ok(head), Err(fault)) => (head, Some(damaged_copy(1, &fault))),
            (Err(fault), Ok(head)) => (head, Some(damaged_copy(0, &fault))),
            (Err(Fault::Unsupported(what)), Err(_)) | (Err(_), Err(Fault::Unsupported(what))) => {
                return Err(Unusable::Unsupported(format!("{name} uses {what}")));
            }
            (Err(fault), Err(_)) => {
                let detail = format!("neither copy of the head block holds: {fault}");
                let mut damage = whole_file(&name, ordinal, store, 1, DamageClass::Damage, detail);
                damage.bytes.end = bytes.len() as u64;
                return Err(Unusable::HeadLost(damage));
            }
        };
        let SegmentHeader { ordinal: found, span, store: found_store, .. } = head.header;
        if found_store.store != store.store {
            let detail = format!("it belongs to the store {}, this one is {}", found_store.store, store.store);
            return Err(Unusable::Damaged(whole_file(&name, ordinal, store, span, DamageClass::Foreign, detail)));
        }
        if found != ordinal || found_store != *store {
            let detail = match found == ordinal {
                true => "its store block is another one than that of the identity file".into(),
                false => format!("it says it is segment {found}; a file was renamed or copied over it"),
            };
            return Err(Unusable::Damaged(whole_file(&name, ordinal, store, 1, DamageClass::Stale, detail)));
        }
        let base = Position(ordinal.0 * store.segment_bytes);
        Ok(Segment::assemble(file, mapping, name, base, head, head_damage))
    }

    /// Opens a segment whose head block is lost, for its frames: their salt is known from elsewhere.
    pub(crate) fn open_without_head(
        storage: &dyn Storage,
        ordinal: SegmentOrdinal,
        access: Access,
        store: &StoreBlock,
        lost: &LostHead,
    ) -> Result<Segment, Unusable> {
        let name = file_name::segment(ordinal);
        let file = storage.open(&name, access);
        let file = file.map_err(|error| Unusable::System(Error::io("open", &name, error)))?;
        let mapping = file.map().map_err(|error| Unusable::System(Error::io("map", &name, error)))?;
        let LostHead { salt, span, incarnation } = *lost;
        let open = OpenFrame {
            incarnation,
            identity_place: FilePlace::default(),
            boot: BootId::default(),
            predecessor: None,
            last_seal: Position::ZERO,
            reason: OpenReason::Full,
            max_recorded_at: i64::MIN,
            previous_check: 0,
            first_number: 0,
            witness: None,
            recorded_at: 0,
        };
        let header = SegmentHeader { ordinal, span, salt, created_at: 0, store: *store };
        let head = HeadBlock { header, open, open_check: 0 };
        let base = Position(ordinal.0 * store.segment_bytes);
        let mut segment = Segment::assemble(file, mapping, name, base, head, None);
        segment.is_head_lost = true;
        Ok(segment)
    }

    fn assemble(
        file: Arc<dyn StorageFile>,
        mapping: Mapping,
        name: String,
        base: Position,
        head: HeadBlock,
        head_damage: Option<Damage>,
    ) -> Segment {
        let stretches = mapping.len().div_ceil(64 * STRETCH_BYTES);
        Segment {
            head,
            name,
            base,
            seeds: Seeds::new(head.header.salt),
            file: Some(file),
            place: OnceLock::new(),
            whole: Bytes::from_owner(mapping.clone()),
            mapping,
            fetched: (0..stretches).map(|_| AtomicU64::new(0)).collect(),
            fetching: Mutex::new(()),
            head_damage,
            is_head_lost: false,
        }
    }

    /// The same without its open file, of which a process may have few: what is mapped stays.
    pub(crate) fn without_file(&self) -> Segment {
        let fetched = self.fetched.iter().map(|bits| AtomicU64::new(bits.load(Ordering::Relaxed)));
        Segment {
            head: self.head,
            name: self.name.clone(),
            file: None,
            place: OnceLock::new(),
            mapping: self.mapping.clone(),
            whole: self.whole.clone(),
            fetched: fetched.collect(),
            fetching: Mutex::new(()),
            head_damage: self.head_damage.clone(),
            ..*self
        }
    }

    /// The same with its file open for writing: what is mapped, and was fetched of it, stays. `None` where that cannot be told to
    /// be the same file, or its head block is lost.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn to_write(&self, storage: &dyn Storage) -> io::Result<Option<Segment>> {
        let Some(mapped) = self.file.as_ref().filter(|_| !self.is_head_lost) else { return Ok(None) };
        let file = storage.open(&self.name, Access::ReadWrite)?;
        let is_same = file.place()? == mapped.place()?;
        Ok(is_same.then(|| Segment { file: Some(file), ..self.without_file() }))
    }

    /// Its open file. Whoever opened the segment for himself has it.
    ///
    /// # Errors
    /// Where it was let go of.
    pub(crate) fn open_file(&self) -> io::Result<&Arc<dyn StorageFile>> {
        self.file.as_ref().ok_or_else(|| io::Error::other("the file was closed, and its bytes stay mapped"))
    }

    /// Whether its name leads to this file still. Where that cannot be told, it does.
    pub(crate) fn is_in_place(&self, storage: &dyn Storage) -> bool {
        let look = || {
            let place = match self.place.get() {
                Some(place) => *place,
                None => *self.place.get_or_init({
                    let place = self.open_file()?.place()?;
                    move || place
                }),
            };
            storage.leads_to(&self.name, &place)
        };
        look().unwrap_or(true)
    }

    /// Whether its open file was not let go of.
    pub(crate) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// The check that the first frame behind the head block must carry; `None` where the open frame is lost.
    pub(crate) fn first_check(&self) -> Option<u64> {
        (!self.is_head_lost).then_some(self.head.open_check)
    }

    pub(crate) fn ordinal(&self) -> SegmentOrdinal {
        self.head.header.ordinal
    }

    /// The ordinal of the segment behind it.
    pub(crate) fn next_ordinal(&self) -> SegmentOrdinal {
        SegmentOrdinal(self.ordinal().0 + u64::from(self.head.header.span))
    }

    /// Where its first frame behind the open frame begins.
    pub(crate) fn first_frame(&self) -> Position {
        HeadBlock::first_frame(&self.head.header)
    }

    /// Position behind the last byte that its file should have.
    pub(crate) fn file_end(&self) -> Position {
        Position(self.base.0 + self.head.header.file_bytes())
    }

    /// Whether a place lies in it.
    #[inline]
    pub(crate) fn spans(&self, position: Position) -> bool {
        self.base <= position && position < self.file_end()
    }

    /// Whether the log once ended in this segment as something else than it says; `None` where no frame stands there.
    pub(crate) fn holds(&self, log: LogEnd) -> Option<bool> {
        let (end, check) = match log.last_frame < self.first_frame() {
            true if log.last_frame == open_position(&self.head.header) && !self.is_head_lost => {
                (self.first_frame(), self.head.open_check)
            }
            true => return None,
            false => {
                let frame = self.frame(log.last_frame, self.file_end()).ok()?;
                (frame.end(), frame.frame_check())
            }
        };
        Some((log.end, log.last_check) == (end, check))
    }

    /// All bytes of the file.
    #[inline(always)]
    pub(crate) fn file(&self) -> &[u8] {
        self.mapping.as_slice()
    }

    /// The bytes between two positions; cut where the file ends, none where their pages cannot be had.
    #[inline]
    pub(crate) fn bytes(&self, from: Position, to: Position) -> &[u8] {
        let bytes = self.file();
        let offset = |position: Position| (position.0.saturating_sub(self.base.0) as usize).min(bytes.len());
        let range = offset(from)..offset(to).max(offset(from));
        match self.fetch(range.start, range.end, range.end) {
            true => &bytes[range],
            false => &[],
        }
    }

    /// Bytes from a position on as the file has them now, in memory of one's own: for who looks at much of it once, which is not to
    /// be mapped for that. Where the file was let go of, or cannot be read so, they are those of the mapping.
    pub(crate) fn read<'b>(&self, from: Position, buffer: &'b mut [u8]) -> &'b [u8] {
        let read = self.open_file().and_then(|file| file.read_at(buffer, from.0 - self.base.0)).unwrap_or_else(|_| {
            let bytes = self.unproven_bytes(from, Position(from.0 + buffer.len() as u64));
            buffer[..bytes.len()].copy_from_slice(bytes);
            bytes.len()
        });
        &buffer[..read]
    }

    /// As [`bytes`](Self::bytes), where no frame has proven them: in a copy they are read again, since they may have been
    /// written since. Over bytes that were lent the same bytes are read: below its end the log never changes.
    pub(crate) fn unproven_bytes(&self, from: Position, to: Position) -> &[u8] {
        let bytes = self.bytes(from, to);
        let start = self.offset_of(bytes);
        if !bytes.is_empty() {
            self.read_again(start..start + bytes.len());
        }
        bytes
    }

    /// Reads bytes of a copy once more that did not prove themselves: they may have been written since. `false` where the
    /// mapping is the file itself.
    #[cold]
    #[inline(never)]
    pub(crate) fn read_again(&self, range: Range<usize>) -> bool {
        if !self.mapping.has_copies() {
            return false;
        }
        let _one = self.fetching.lock();
        if self.mapping.populate(range.clone()).is_err() {
            self.mapping.lose(range);
        }
        true
    }

    /// As [`read_again`](Self::read_again), the bytes of a frame.
    pub(crate) fn read_frame_again(&self, place: FramePlace) -> bool {
        let start = place.position.0.wrapping_sub(self.base.0) as usize;
        self.read_again(start..start + place.frame_len() as usize)
    }

    /// Sees to it that the pages of a range can be had, once for each stretch. Where they cannot, that is noted for
    /// [`check_readable`](Self::check_readable), and `false`: they must not be touched.
    #[inline(always)]
    fn fetch(&self, start: usize, end: usize, limit: usize) -> bool {
        let is_fetched = |stretch: usize| {
            let bits = self.fetched.get(stretch / 64).map_or(0, |bits| bits.load(Ordering::Relaxed));
            bits >> (stretch % 64) & 1 == 1
        };
        let (first, last) = (start / STRETCH_BYTES, end.saturating_sub(1) / STRETCH_BYTES);
        is_fetched(first) && (first == last || first + 1 == last && is_fetched(last))
            || self.fetch_stretches(first, last, start..end, limit)
    }

    #[cold]
    #[inline(never)]
    fn fetch_stretches(&self, first: usize, last: usize, range: Range<usize>, limit: usize) -> bool {
        // A copy is never read again over what was lent.
        let _one = self.mapping.has_copies().then(|| self.fetching.lock());
        // Who reads on from a stretch before will read on behind this one.
        let is_fetched = |stretch: usize| {
            self.fetched.get(stretch / 64).is_some_and(|bits| bits.load(Ordering::Relaxed) >> (stretch % 64) & 1 == 1)
        };
        let reads_on = first.checked_sub(1).is_some_and(is_fetched);
        let ahead = if reads_on { (first + STRETCHES_AHEAD).min(limit / STRETCH_BYTES) } else { 0 };
        for stretch in (first..=last.max(ahead)).filter(|stretch| !is_fetched(*stretch)) {
            let start = stretch * STRETCH_BYTES;
            let end = (start + STRETCH_BYTES).min(self.mapping.len());
            if start >= end {
                break;
            }
            let fetched = match &self.file {
                Some(file) => self.mapping.fetch(start..end, file),
                None => self.mapping.populate(start..end),
            };
            match fetched {
                Ok(()) => {
                    if let Some(bits) = self.fetched.get(stretch / 64) {
                        bits.fetch_or(1 << (stretch % 64), Ordering::Relaxed);
                    }
                }
                Err(_) => {
                    // Perhaps what is needed can be had: then nothing is lost yet.
                    let needed = start.max(range.start)..end.min(range.end);
                    if needed.start < needed.end && self.mapping.populate(needed.clone()).is_err() {
                        self.mapping.lose(needed);
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Fails where bytes of the file could not be had since it was opened: what does not prove itself is then no damage.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) with the file and the range.
    pub(crate) fn check_readable(&self) -> Result<()> {
        match self.mapping.lost() {
            None => Ok(()),
            Some(lost) => Err(Error::new(
                crate::ErrorKind::Io,
                format!(
                    "cannot read {}, bytes {}..{}: its pages cannot be had; the file was cut short while it was open, or \
                     the device failed: look at the system's log, then open the store anew",
                    self.name, lost.start, lost.end
                ),
            )),
        }
    }

    /// Copies bytes of the file, for who reads a place only once: nothing is mapped for it.
    ///
    /// # Errors
    /// What the system says; where the file was let go of, or ends before them.
    pub(crate) fn copy(&self, from: Position, bytes: &mut [u8]) -> io::Result<()> {
        match self.open_file()?.read_at(bytes, from.0 - self.base.0)? == bytes.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The frame at a position, which must end at `limit` or before.
    #[inline(always)]
    pub(crate) fn frame(&self, position: Position, limit: Position) -> Result<Frame<'_>, Fault> {
        self.frame_of::<true>(position, limit)
    }

    /// Whether a frame may begin at a position that ends at `limit` or before, by the lengths that stand there: what most
    /// places are refused for, in a few instructions, where one is tried after the other. In a copy every place may.
    #[inline]
    pub(crate) fn may_hold_frame(&self, position: Position, limit: Position) -> bool {
        self.mapping.has_copies() || {
            let start = position.0.wrapping_sub(self.base.0) as usize;
            let room = limit.0.saturating_sub(position.0) as usize;
            let bytes = self.file().get(start..).unwrap_or_default();
            let limit = start + room.min(bytes.len());
            let is_had = self.fetch(start, (start + FRAME_HEADER_BYTES).min(limit), limit);
            is_had && Frame::may_begin(&bytes[..limit - start])
        }
    }

    /// As [`frame`](Self::frame), for who looks at its header and plain part only: its bodies are not read from the disk, and
    /// must not be touched before [`fetch_frame`](Self::fetch_frame).
    #[inline(always)]
    pub(crate) fn frame_without_bodies(&self, position: Position, limit: Position) -> Result<Frame<'_>, Fault> {
        self.frame_of::<false>(position, limit)
    }

    /// Has all bytes of a frame read; `false` where they cannot be had.
    pub(crate) fn fetch_frame(&self, place: FramePlace) -> bool {
        let start = place.position.0.wrapping_sub(self.base.0) as usize;
        let end = start + place.frame_len() as usize;
        self.fetch(start, end, end)
    }

    #[inline(always)]
    fn frame_of<const BODIES: bool>(&self, position: Position, limit: Position) -> Result<Frame<'_>, Fault> {
        let start = position.0.wrapping_sub(self.base.0) as usize;
        let room = limit.0.saturating_sub(position.0) as usize;
        let bytes = self.file().get(start..).unwrap_or_default();
        let bytes = &bytes[..room.min(bytes.len())];
        if let Some(head) = bytes.first_chunk::<FRAME_HEADER_BYTES>() {
            let limit = start + bytes.len();
            if !self.fetch(start, start + FRAME_HEADER_BYTES, limit) {
                return Err(Fault::Short);
            }
            let len = match BODIES {
                true => u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize,
                false => FRAME_HEADER_BYTES + u32::from_le_bytes([head[12], head[13], head[14], head[15]]) as usize,
            };
            if !self.fetch(start, start + len.clamp(FRAME_HEADER_BYTES, bytes.len()), limit) {
                return Err(Fault::Short);
            }
        }
        let frame = match Frame::decode(bytes, self.seeds, position) {
            Ok(frame) => frame,
            Err(fault) => self.decode_again(start, bytes, position, fault)?,
        };
        if frame.kind() == KIND_OPEN {
            return Err(second_open_frame());
        }
        Ok(frame)
    }

    /// A frame that did not prove itself may, in a copy, have been written since it was read.
    #[cold]
    #[inline(never)]
    fn decode_again<'s>(
        &'s self,
        start: usize,
        bytes: &'s [u8],
        position: Position,
        fault: Fault,
    ) -> Result<Frame<'s>, Fault> {
        let head = start..start + bytes.len().min(FRAME_HEADER_BYTES);
        if !self.read_again(head) || bytes.len() < FRAME_HEADER_BYTES {
            return Err(fault);
        }
        let len = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
        self.read_again(start..start + len.clamp(FRAME_HEADER_BYTES, bytes.len()));
        Frame::decode(bytes, self.seeds, position)
    }

    /// Whether it stands on memory of its own, all of it.
    pub(crate) fn is_copy(&self) -> bool {
        self.mapping.is_copy()
    }

    /// A frame of it that was proven before.
    #[inline(always)]
    pub(crate) fn again(&self, place: FramePlace) -> Frame<'_> {
        Frame::again(place, &self.file()[place.position.0.wrapping_sub(self.base.0) as usize..])
    }

    /// The place of a slice of the file in it.
    #[inline]
    pub(crate) fn offset_of(&self, part: &[u8]) -> usize {
        (part.as_ptr() as usize).wrapping_sub(self.file().as_ptr() as usize)
    }

    /// Has `len` bytes from a position on fetched into the processor's cache, as far as they lie in the file.
    #[inline]
    pub(crate) fn prefetch(&self, position: Position, len: usize) {
        if let Some(at) = position.0.checked_sub(self.base.0) {
            self.mapping.prefetch(at as usize, len);
        }
    }

    /// Bytes of the file, which keep the mapping alive.
    #[inline]
    pub(crate) fn kept(&self, range: Range<usize>) -> Bytes {
        self.whole.slice(range)
    }

    /// Damage in this segment between two positions.
    pub(crate) fn damage(&self, from: Position, to: Position, class: DamageClass, detail: String) -> Damage {
        Damage::new(class, &self.name, from.0 - self.base.0..to.0 - self.base.0, from..to, detail)
    }
}

#[cold]
fn second_open_frame() -> Fault {
    Fault::bad("an open frame stands behind the head block")
}

fn whole_file(
    name: &str,
    ordinal: SegmentOrdinal,
    store: &StoreBlock,
    span: u32,
    class: DamageClass,
    detail: String,
) -> Damage {
    let start = ordinal.0 * store.segment_bytes;
    let len = u64::from(span) * store.segment_bytes;
    Damage::new(class, name, 0..len, Position(start)..Position(start + len), detail)
}
