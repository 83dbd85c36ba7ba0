//! Making the index of a segment: one pass over its frames, then one over its streams.
//!
//! The frames are walked as readers walk them, by their chain: a segment with a frame that does not prove itself gets no
//! index. Whoever walks them anyway, and proves as much, may hand them over one by one as he comes to them, or, of what his own
//! process has just appended, as they were noted then; those that he did not come to are walked here. What is gathered meanwhile
//! takes 16 bytes a section, and goes through a buffer into the file.

use std::sync::Arc;

use foldhash::HashMap;

use crate::format::batch::{Entry, Section, Sections};
use crate::format::frame::{Frame, KIND_BATCH};
use crate::format::index_block::{IndexBlock, IndexedFrame, jump_target};
use crate::format::open::open_position;
use crate::format::segment_index::postings::{self, Jump, NewStream, ROWS_A_TOP};
use crate::format::segment_index::{SegmentIndexHead, types};
use crate::format::side_file::SideKind;
use crate::format::wire::put_var;
use crate::format::{Fault, file_name};
use crate::ids::{Position, Revision, SegmentOrdinal, StreamId};
use crate::index::find::section_of;
use crate::index::noted::{Noted, TypeRun};
use crate::index::segment_indexes::{SegmentIndex, SegmentIndexes};
use crate::index::side_file::SideWriter;
use crate::segment::one::Segment;
use crate::segment::scan::{Proof, Scan, Step};
use crate::segment::set::SegmentSet;
use crate::{Error, Result};

/// A segment with fewer sections gets no index: the links are as fast, and a file takes two blocks at least.
pub(crate) const SECTIONS_MIN: usize = 8;
/// So many links are followed to an older segment that has an index.
const LINKS_MAX: u32 = 64;

/// No section follows.
const NONE: u32 = u32::MAX;

/// An index that is being made.
#[derive(Debug)]
pub(crate) struct IndexBuild {
    segment: Arc<Segment>,
    /// Where the segment ended; the end of its file, as long as that is not known.
    end: Position,
    /// Up to where its frames were walked.
    at: Position,
    previous_check: Option<u64>,
    found: Found,
}

/// What was found in the frames so far.
#[derive(Debug)]
struct Found {
    base: Position,
    last_frame: Position,
    frames: u64,
    batches: u64,
    events: u64,
    recorded_at: (i64, i64),
    /// All sections in the order of the log.
    sections: Vec<Posting>,
    streams: Vec<StreamSoFar>,
    stream_slots: HashMap<StreamId, u32>,
    types: Vec<TypeSoFar>,
    type_slots: HashMap<Arc<[u8]>, u32>,
    /// The type that was asked for last: mostly it is the next one too.
    recent_type: Option<(Arc<[u8]>, u32)>,
    /// The frame that is being read: when it was written, and where it lies, in units of eight bytes from the segment's begin.
    frame_recorded_at: i64,
    units: u32,
    /// The types of the section that is being read, by their number there.
    section_types: Vec<u32>,
}

#[derive(Debug)]
struct Posting {
    first_revision: Revision,
    /// Where its frame lies, in units of eight bytes from the segment's begin.
    units: u32,
    /// The section behind it in its stream.
    next: u32,
}

#[derive(Debug)]
struct StreamSoFar {
    id: StreamId,
    first: u32,
    last: u32,
    last_revision: Revision,
    /// Zero: there is nothing before.
    reach_back: Position,
}

impl StreamSoFar {
    fn reach_back(&self) -> Option<Position> {
        Some(self.reach_back).filter(|place| *place != Position::ZERO)
    }
}

/// What a build took up, for the next one: megabytes for a segment of many streams, which would lie in pieces otherwise.
#[derive(Debug)]
pub(crate) struct Memory {
    sections: Vec<Posting>,
    streams: Vec<StreamSoFar>,
    stream_slots: HashMap<StreamId, u32>,
}

impl Memory {
    fn bytes(&self) -> usize {
        self.sections.capacity() * size_of::<Posting>()
            + self.streams.capacity() * size_of::<StreamSoFar>()
            + self.stream_slots.capacity() * size_of::<(StreamId, u32)>()
    }
}

#[derive(Debug, Default)]
struct TypeSoFar {
    events: u64,
    frames: u64,
    /// The batch that was counted last, in units of eight bytes from the segment's begin.
    units: u64,
    postings: Vec<u8>,
}

/// Why no index was made.
#[derive(Debug)]
pub(crate) enum NotIndexed {
    /// The segment is not as a segment should be, or cannot be read.
    Segment(Fault),
    /// The file could not be written.
    File(Error),
    /// Whoever asked for it gave up.
    Stopped,
    /// The segment has so few sections that none is needed.
    Needless,
}

impl From<Error> for NotIndexed {
    fn from(error: Error) -> NotIndexed {
        NotIndexed::File(error)
    }
}

impl From<Fault> for NotIndexed {
    fn from(fault: Fault) -> NotIndexed {
        NotIndexed::Segment(fault)
    }
}

impl IndexBuild {
    /// Begins the index of a segment that ended at `end` and is durable.
    pub(crate) fn begin(segment: Arc<Segment>, end: Position) -> IndexBuild {
        let found = Found {
            base: segment.base,
            last_frame: open_position(&segment.head.header),
            frames: 0,
            batches: 0,
            events: 0,
            recorded_at: (i64::MAX, i64::MIN),
            sections: Vec::new(),
            streams: Vec::new(),
            stream_slots: HashMap::default(),
            types: Vec::new(),
            type_slots: HashMap::default(),
            recent_type: None,
            frame_recorded_at: 0,
            units: 0,
            section_types: Vec::new(),
        };
        IndexBuild { at: segment.first_frame(), previous_check: segment.first_check(), end, segment, found }
    }

    /// Begins the index of a segment whose frames are handed over by who reads them, while others may still be appended.
    pub(crate) fn gather(segment: Arc<Segment>) -> IndexBuild {
        let end = segment.file_end();
        IndexBuild::begin(segment, end)
    }

    /// Whether no section was found yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.sections.is_empty()
    }

    /// Goes on in the memory of another one, where it is empty.
    pub(crate) fn take_up(&mut self, memory: Memory) {
        let Memory { mut sections, mut streams, mut stream_slots } = memory;
        sections.clear();
        streams.clear();
        stream_slots.clear();
        (self.found.sections, self.found.streams, self.found.stream_slots) = (sections, streams, stream_slots);
    }

    /// The memory that it took, if that is not more than the next one may want.
    pub(crate) fn into_memory(self) -> Option<Memory> {
        const KEPT_BYTES_MAX: usize = 16 << 20;
        let Found { sections, streams, stream_slots, .. } = self.found;
        Some(Memory { sections, streams, stream_slots }).filter(|memory| memory.bytes() <= KEPT_BYTES_MAX)
    }

    /// A frame is handed over, its sections and their entries follow, then [`end_frame`](Self::end_frame). Where it fails, or
    /// anything fails before that, nothing can come of the build any more.
    pub(crate) fn begin_frame(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if self.at != frame.position || self.previous_check != Some(frame.previous_check()) {
            return Err(Fault::bad("it is not the frame behind those that were handed over"));
        }
        self.found.begin_frame(frame)
    }

    /// The next section of that frame.
    pub(crate) fn begin_section(&mut self, section: &Section<'_>) -> Result<(), Fault> {
        self.found.begin_section(section)
    }

    /// The next entry of that section.
    #[inline]
    pub(crate) fn take_entry(&mut self, entry: &Entry<'_>) {
        self.found.take_entry(entry);
    }

    /// All of the frame was handed over.
    pub(crate) fn end_frame(&mut self, frame: &Frame<'_>) {
        (self.at, self.previous_check) = (frame.end(), Some(frame.frame_check()));
    }

    /// Whether the frames before were handed over, and no other.
    pub(crate) fn is_at(&self, at: Position) -> bool {
        self.at == at
    }

    /// Frames follow that are known by what was noted of them.
    pub(crate) fn begin_noted<'b>(&'b mut self, noted: &'b Noted) -> NotedFrames<'b> {
        let slots = noted.types.iter().map(|name| self.found.slot_of(name)).collect();
        let found = &mut self.found;
        found.recorded_at.0 = found.recorded_at.0.min(noted.recorded_at.0);
        found.recorded_at.1 = found.recorded_at.1.max(noted.recorded_at.1);
        NotedFrames { build: self, slots, reach_back: noted.reach_back.iter(), runs: noted.runs.iter(), left: None }
    }

    /// The segment ended there. `false` where not all frames before it were handed over.
    pub(crate) fn end_at(&mut self, end: Position) -> bool {
        self.end = end;
        self.at == end
    }

    /// Its ordinal.
    pub(crate) fn ordinal(&self) -> SegmentOrdinal {
        self.segment.ordinal()
    }

    /// Where it ended.
    pub(crate) fn end(&self) -> Position {
        self.end
    }

    /// Walks the frames of the next `bytes` bytes or a few more. `true` once all were walked.
    pub(crate) fn step(&mut self, bytes: u64) -> Result<bool, NotIndexed> {
        if self.segment.is_head_lost {
            return Err(Fault::bad("the head block of the segment is lost").into());
        }
        let until = Position(self.at.0.saturating_add(bytes));
        let mut scan = Scan::resume(&self.segment, self.at, self.previous_check, self.end, Proof::Header);
        loop {
            match scan.next() {
                Step::Frame(frame) => {
                    self.found.take(&frame)?;
                    (self.at, self.previous_check) = (frame.end(), Some(frame.frame_check()));
                    if self.at >= until {
                        return Ok(self.at >= self.end);
                    }
                }
                Step::End => return Ok(true),
                Step::Bad(fault) => return Err(fault.into()),
            }
        }
    }

    /// What an index says otherwise than the frames, after all of them were walked.
    pub(crate) fn difference(&self, index: &SegmentIndex) -> Option<String> {
        let (found, head, file) = (&self.found, &index.head, &index.file);
        let counts = [found.frames, found.batches, found.events, found.sections.len() as u64];
        let lengths = [found.streams.len() as u64, found.types.len() as u64];
        if counts != [head.frames, head.batches, head.events, head.sections] || lengths != [head.streams, head.types] {
            return Some("it counts otherwise than the segment".into());
        }
        if found.recorded_at != head.recorded_at {
            return Some("it says otherwise than the segment when events were recorded".into());
        }
        for stream in &found.streams {
            let mut at = stream.first;
            let mut walk = || -> std::result::Result<bool, Fault> {
                let Some(record) = index.find(stream.id)? else { return Ok(false) };
                let mut is_same =
                    record.last_revision == stream.last_revision && record.reach_back == stream.reach_back();
                for number in 0..record.chunks() {
                    record.chunk(file, head, number)?.walk(file, head, |revision, place| {
                        let here = found.sections.get(at as usize);
                        is_same &= here.is_some_and(|here| {
                            here.first_revision == revision && found.base.0 + 8 * u64::from(here.units) == place.0
                        });
                        at = here.map_or(NONE, |here| here.next);
                        is_same
                    })?;
                }
                Ok(is_same && at == NONE)
            };
            match walk() {
                Ok(true) => {}
                Ok(false) => return Some(format!("it lists the stream {} otherwise than the segment", stream.id)),
                Err(fault) => return Some(fault.to_string()),
            }
        }
        for (name, slot) in &found.type_slots {
            let of_type = &found.types[*slot as usize];
            let is_same = || {
                let Some(record) = types::find(file, head, name)? else { return Ok(false) };
                let counts = (record.events, record.frames) == (of_type.events, of_type.frames);
                let (mut listed, mut before) = (Vec::new(), found.base);
                let Some(mut places) = record.places().filter(|_| counts) else { return Ok(counts) };
                while let Some(place) = places.next(file, head)? {
                    put_var(&mut listed, (place.0 - before.0) / 8);
                    before = place;
                }
                Ok::<_, Fault>(listed == of_type.postings)
            };
            match is_same() {
                Ok(true) => {}
                Ok(false) => return Some("it says otherwise than the segment where events of a type lie".into()),
                Err(fault) => return Some(fault.to_string()),
            }
        }
        None
    }

    /// Writes the file, after all frames were walked. What `goes_on` says is asked now and then.
    pub(crate) fn publish(
        &mut self,
        set: &SegmentSet,
        older: &SegmentIndexes,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<(), NotIndexed> {
        if self.found.sections.len() < SECTIONS_MIN {
            return Err(NotIndexed::Needless);
        }
        let (storage, store) = (&*set.storage, set.store.store);
        let name = file_name::segment_index(self.ordinal());
        let mut file = SideWriter::begin(storage, &name, SideKind::SegmentIndex, store)?;
        match self.write(&mut file, set, older, goes_on) {
            Ok(head) => {
                file.publish(head.encode(), true)?;
                Ok(())
            }
            Err(error) => {
                file.discard();
                Err(error)
            }
        }
    }

    fn write(
        &mut self,
        file: &mut SideWriter<'_>,
        set: &SegmentSet,
        older: &SegmentIndexes,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<SegmentIndexHead, NotIndexed> {
        let (base, ordinal) = (self.segment.base, self.ordinal());
        let (mut rows, mut tops, mut out) = (Vec::new(), Vec::new(), Vec::new());
        let mut sections = Vec::new();
        self.found.streams.sort_unstable_by_key(|stream| stream.id);
        for (index, stream) in self.found.streams.iter().enumerate() {
            if (index as u64).is_multiple_of(ROWS_A_TOP) {
                if !goes_on() {
                    return Err(NotIndexed::Stopped);
                }
                tops.extend_from_slice(&stream.id.0.to_le_bytes());
            }
            sections.clear();
            let mut at = stream.first;
            while at != NONE {
                let posting = &self.found.sections[at as usize];
                sections.push((posting.first_revision, Position(base.0 + 8 * u64::from(posting.units))));
                at = posting.next;
            }
            let reach_back = stream.reach_back();
            let (number, jump) = links(set, older, stream.id, sections[0].0, reach_back);
            let new = NewStream { number, last_revision: stream.last_revision, reach_back, jump };
            postings::put_row(&mut rows, stream.id, offset(file)?);
            out.clear();
            postings::put_stream(&mut out, ordinal, base, &new, &sections);
            file.put(&out)?;
        }
        let stream_rows_at = file.len();
        file.put(&rows)?;
        let stream_tops_at = file.len();
        file.put(&tops)?;
        rows.clear();
        let mut by_name: Vec<_> = std::mem::take(&mut self.found.type_slots).into_iter().collect();
        by_name.sort_unstable();
        for (name, slot) in &by_name {
            let of_type = &self.found.types[*slot as usize];
            let is_listed = types::is_listed(of_type.frames, self.found.batches);
            let postings = if is_listed { of_type.postings.as_slice() } else { &[] };
            rows.extend_from_slice(&offset(file)?.to_le_bytes());
            out.clear();
            types::put_type(&mut out, name, of_type.events, of_type.frames, postings);
            file.put(&out)?;
        }
        let type_rows_at = file.len();
        file.put(&rows)?;
        let open = &self.segment.head.open;
        Ok(SegmentIndexHead {
            ordinal,
            span: self.segment.head.header.span,
            base,
            end: self.end,
            last_frame: self.found.last_frame,
            last_check: self.previous_check.unwrap_or_default(),
            salt: self.segment.head.header.salt,
            first_number: open.first_number,
            events: self.found.events,
            frames: self.found.frames,
            batches: self.found.batches,
            sections: self.found.sections.len() as u64,
            recorded_at: self.found.recorded_at,
            max_recorded_at: open.max_recorded_at.max(self.found.recorded_at.1),
            streams: self.found.streams.len() as u64,
            stream_rows_at,
            stream_tops_at,
            types: by_name.len() as u64,
            type_rows_at,
        })
    }
}

/// Where the next record begins; rows have four bytes for it.
fn offset(file: &SideWriter<'_>) -> Result<u32, NotIndexed> {
    u32::try_from(file.len()).map_err(|_| Fault::bad("its index would be longer than 4 GiB").into())
}

/// The number of a stream's segment and its jump, from the indexes of older segments; where none is near, the numbers begin
/// anew.
fn links(
    set: &SegmentSet,
    older: &SegmentIndexes,
    stream: StreamId,
    first_revision: Revision,
    reach_back: Option<Position>,
) -> (u64, Option<Jump>) {
    let found = || {
        let mut place = reach_back?;
        let mut links = 0;
        let before = loop {
            if let Some(before) = older.holding(place) {
                break before;
            }
            let segment = set.holding(place).ok().filter(|_| links < LINKS_MAX)?;
            let frame = segment.frame_without_bodies(place, segment.file_end()).ok()?;
            place = section_of(frame, stream).ok()??.previous.filter(|previous| *previous < place)?;
            links += 1;
        };
        let record = before.find(stream).ok()??;
        if record.first_revision >= first_revision {
            return None;
        }
        let number = record.number + 1;
        if jump_target(number) == Some(record.number) {
            return Some((number, Jump { ordinal: before.head.ordinal, first_revision: record.first_revision }));
        }
        let (_, jumped) = older.numbered(record.jump?, stream, jump_target(record.number)?)?;
        Some((number, jumped.jump?))
    };
    found().map_or((0, None), |(number, jump)| (number, Some(jump)))
}

/// Frames of a stretch that are handed over as they were noted.
#[derive(Debug)]
pub(crate) struct NotedFrames<'b> {
    build: &'b mut IndexBuild,
    /// The slot of each type of the stretch.
    slots: Vec<u32>,
    reach_back: std::slice::Iter<'b, (StreamId, Position)>,
    runs: std::slice::Iter<'b, TypeRun>,
    /// The run that is not at its end.
    left: Option<TypeRun>,
}

impl NotedFrames<'_> {
    /// The next frame, as the index block lists it.
    pub(crate) fn take_frame(&mut self, frame: &IndexedFrame, block: &IndexBlock<'_>) -> Result<(), Fault> {
        let found = &mut self.build.found;
        let events = frame.sections.iter().map(|section| u64::from(section.count)).sum();
        found.count_frame(frame.position, frame.kind, events)?;
        if frame.kind != KIND_BATCH {
            return Ok(());
        }
        for section in &frame.sections {
            let stream = block.streams[section.stream as usize].stream;
            let reach_back = self.reach_back.as_slice().first().filter(|(noted, _)| *noted == stream).map(|it| it.1);
            if reach_back.is_some() {
                self.reach_back.next();
            }
            let last_revision = Revision(section.first_revision.0 + u64::from(section.count) - 1);
            found.add_section(stream, reach_back, section.first_revision, last_revision)?;
        }
        let run = self.left.take().or_else(|| self.runs.next().copied());
        let run = run.ok_or_else(|| Fault::bad("a frame whose types were not noted"))?;
        self.add_run(run);
        if run.frames > 1 {
            self.left = Some(TypeRun { frames: run.frames - 1, ..run });
            return Ok(());
        }
        while let Some(more) = self.runs.as_slice().first().filter(|more| more.frames == 0) {
            self.add_run(*more);
            self.runs.next();
        }
        Ok(())
    }

    fn add_run(&mut self, run: TypeRun) {
        let found = &mut self.build.found;
        let slot = self.slots[run.name as usize];
        found.note_type(slot);
        found.types[slot as usize].events += u64::from(run.events);
    }

    /// All frames up to `at` were handed over, where a frame follows that continues `previous_check`.
    pub(crate) fn end(self, at: Position, previous_check: u64) {
        (self.build.at, self.build.previous_check) = (at, Some(previous_check));
    }
}

impl Found {
    /// Takes a frame in.
    fn take(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        self.begin_frame(frame)?;
        if frame.kind() != KIND_BATCH {
            return Ok(());
        }
        let mut sections = Sections::new(*frame)?;
        while let Some(section) = sections.next()? {
            self.begin_section(&section)?;
            let mut entries = section.entries_from(0)?;
            while let Some(entry) = entries.next()? {
                self.take_entry(&entry);
            }
            sections.walked_to(entries.at());
        }
        Ok(())
    }

    fn begin_frame(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        self.frame_recorded_at = frame.recorded_at();
        self.count_frame(frame.position, frame.kind(), u64::from(frame.events()))
    }

    fn count_frame(&mut self, position: Position, kind: u8, events: u64) -> Result<(), Fault> {
        self.frames += 1;
        self.last_frame = position;
        if kind == KIND_BATCH {
            self.batches += 1;
            self.events += events;
            self.units = u32::try_from((position.0 - self.base.0) / 8)
                .map_err(|_| Fault::bad("a frame lies too far behind the segment's begin"))?;
        }
        Ok(())
    }

    fn begin_section(&mut self, section: &Section<'_>) -> Result<(), Fault> {
        self.section_types.clear();
        for index in 0..section.type_count() {
            let slot = self.type_slot(section.type_name(index)?);
            self.section_types.push(slot);
        }
        self.add_section(section.stream, section.previous, section.first_revision, section.last_revision())
    }

    #[inline]
    fn take_entry(&mut self, entry: &Entry<'_>) {
        let slot = self.section_types[entry.type_index as usize];
        self.types[slot as usize].events += 1;
        let recorded_at = entry.recorded_at.unwrap_or(self.frame_recorded_at);
        self.recorded_at.0 = self.recorded_at.0.min(recorded_at);
        self.recorded_at.1 = self.recorded_at.1.max(recorded_at);
    }

    /// The slot of a type that the batch holds.
    fn type_slot(&mut self, name: &[u8]) -> u32 {
        let slot = self.slot_of(name);
        self.note_type(slot);
        slot
    }

    /// The slot of a type.
    fn slot_of(&mut self, name: &[u8]) -> u32 {
        match &self.recent_type {
            Some((recent, slot)) if **recent == *name => *slot,
            _ => self.type_slot_of_any(name),
        }
    }

    /// The batch holds events of a type.
    fn note_type(&mut self, slot: u32) {
        let of_type = &mut self.types[slot as usize];
        let units = u64::from(self.units);
        if of_type.units != units {
            put_var(&mut of_type.postings, units - of_type.units);
            of_type.units = units;
            of_type.frames += 1;
        }
    }

    fn type_slot_of_any(&mut self, name: &[u8]) -> u32 {
        let (known, slot) = match self.type_slots.get_key_value(name) {
            Some((known, slot)) => (Arc::clone(known), *slot),
            None => {
                let (known, slot) = (Arc::<[u8]>::from(name), self.types.len() as u32);
                self.type_slots.insert(Arc::clone(&known), slot);
                self.types.push(TypeSoFar::default());
                (known, slot)
            }
        };
        self.recent_type = Some((known, slot));
        slot
    }

    fn add_section(
        &mut self,
        stream: StreamId,
        reach_back: Option<Position>,
        first_revision: Revision,
        last_revision: Revision,
    ) -> Result<(), Fault> {
        let units = self.units;
        let number = u32::try_from(self.sections.len()).ok().filter(|number| *number != NONE);
        let number = number.ok_or_else(|| Fault::bad("a segment of more sections than an index counts"))?;
        self.sections.push(Posting { first_revision, units, next: NONE });
        match self.stream_slots.get(&stream) {
            Some(slot) => {
                let known = &mut self.streams[*slot as usize];
                if first_revision <= known.last_revision || units <= self.sections[known.last as usize].units {
                    return Err(Fault::bad("a section does not follow the one before it in its stream"));
                }
                self.sections[known.last as usize].next = number;
                (known.last, known.last_revision) = (number, last_revision);
            }
            None => {
                self.stream_slots.insert(stream, self.streams.len() as u32);
                let (first, last, reach_back) = (number, number, reach_back.unwrap_or_default());
                self.streams.push(StreamSoFar { id: stream, first, last, last_revision, reach_back });
            }
        }
        Ok(())
    }
}
