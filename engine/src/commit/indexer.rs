//! What the third background thread does: indexes of finished segments, and that streams which nobody goes on with leave memory.
//!
//! Segments are indexed oldest first, once they are durable. Who makes what else is derived reads their frames anyway and gathers
//! what their indexes say; those that it did not read from their beginnings are walked here, a piece at a time. What is there
//! and is of the segment is kept; what is missing, of an older state, or bad is made anew. A segment with damage gets none, and
//! is tried again after the next opening. Index files are derived: nothing waits for them, and a failure is nobody's error.

use std::sync::Arc;

use crate::Result;
use crate::commit::writer::Writer;
use crate::format::file_name::{self, FileKind};
use crate::ids::{Position, SegmentOrdinal};
use crate::index::build::{IndexBuild, Memory, NotIndexed};
use crate::index::directory::Directory;
use crate::index::segment_indexes::SegmentIndex;
use crate::segment::set::Known;
use crate::storage::Access;

/// So much of a segment is walked in one step.
const PIECE_BYTES: u64 = 1 << 20;

/// What making all derived files anew came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReindexReport {
    /// Finished segments that have an index now. One of a few sections needs none.
    pub indexed_segments: u64,
    /// Length of these indexes, in bytes.
    pub index_bytes: u64,
    /// Segment files that got none, and why: mostly since they are damaged.
    pub left_out: Vec<(String, String)>,
}

/// Work of another layer that the same thread does.
pub(crate) trait Derive: std::fmt::Debug + Send {
    /// Does a piece of what there is to do; `true` where there is more.
    fn step(&mut self, writer: &Writer) -> bool;

    /// The store is being closed, and everything is durable: does what the next opening gains most by.
    fn close(&mut self, writer: &Writer);

    /// Makes anew what there is of it; `tell` hears how far in the log that is.
    fn make_anew(&mut self, writer: &Writer, tell: &mut dyn FnMut(Position));

    /// The newest directory of streams that there is of what this process has taken in, whoever made it.
    fn directory(&self, writer: &Writer) -> Option<Arc<Directory>>;

    /// Whether it holds what it has gathered for the index of a finished segment. What is of segments before `from` is given up.
    fn has_gathered(&mut self, from: SegmentOrdinal) -> bool;

    /// What it has gathered for the index of this segment, which ended at `end` and is durable, and reads the rest of, where it is
    /// near; what it has of those before is given up.
    fn take_gathered(&mut self, ordinal: SegmentOrdinal, end: Position) -> Option<IndexBuild>;

    /// Whether it takes what is noted of what this process appends.
    fn takes_notes(&self) -> bool;

    /// Gives back what something gathered took up.
    fn give_back(&mut self, memory: Memory);

    /// Whether its next steps lead through this segment, which ended at `end`: up to there lies more than is read at once.
    fn will_gather(&self, ordinal: SegmentOrdinal, end: Position) -> bool;
}

/// The work on indexes, and how far it is.
#[derive(Debug, Default)]
pub(crate) struct Indexer {
    /// What else is to be done, before anything here.
    first: Option<Box<dyn Derive>>,
    /// All finished segments before it were dealt with.
    next: SegmentOrdinal,
    current: Option<IndexBuild>,
    /// A segment before `next` has none though it needs one: what lies behind that is found by places.
    has_gap: bool,
    /// Index files of segments that are void were removed.
    has_cleared: bool,
    /// The names that the first index block will say were looked up.
    has_looked_up: bool,
    /// The segment up to which streams were let go of, where another process makes the indexes.
    seen: SegmentOrdinal,
}

impl Indexer {
    /// Has other work done before its own.
    pub(crate) fn do_first(&mut self, first: Box<dyn Derive>) {
        self.first = Some(first);
    }

    /// The store is being closed, and everything is durable.
    pub(crate) fn close(&mut self, writer: &Writer) {
        if let Some(first) = self.first.as_mut().filter(|_| writer.options.derives) {
            first.close(writer);
        }
    }

    /// Does a piece of what there is to do; `true` where there is more.
    pub(crate) fn step(&mut self, writer: &Writer) -> bool {
        if writer.poison.is_set() {
            return false;
        }
        let is_worker = writer.turns.is_worker();
        let takes_notes = self.first.as_ref().is_some_and(|first| first.takes_notes());
        writer.noted.want(is_worker && writer.options.derives && takes_notes);
        if !is_worker {
            self.look_on(writer);
            return false; // when the other one is gone, what comes asks again
        }
        if !std::mem::replace(&mut self.has_looked_up, true) {
            look_up_names(writer);
        }
        if !writer.options.derives {
            return false;
        }
        // What was gathered for an index is written, behind those before it, before more is: it takes megabytes.
        let has_gathered = self.first.as_mut().is_some_and(|first| first.has_gathered(self.next));
        if has_gathered && self.index(writer) {
            return true;
        }
        self.first.as_mut().is_some_and(|first| first.step(writer)) || self.index(writer)
    }

    /// As [`step`](Self::step), of the indexes of segments.
    fn index(&mut self, writer: &Writer) -> bool {
        if !self.has_cleared {
            self.has_cleared = true;
            clear_void(writer);
        }
        if let Some(ordinal) = writer.finder.indexes.take_doubted() {
            make_again(writer, ordinal);
            return true;
        }
        match self.current.take() {
            Some(build) => {
                self.go_on(writer, build);
                true
            }
            None => self.begin(writer),
        }
    }

    /// Makes all that is derived anew; `tell` hears how many bytes of the log of how many were read. What else is derived takes
    /// all of them, then each index those of its segment.
    ///
    /// # Errors
    /// Where an index cannot be written. Those before it are made.
    pub(crate) fn make_all(&mut self, writer: &Writer, tell: &mut dyn FnMut(u64, u64)) -> Result<ReindexReport> {
        self.current = None;
        clear_void(writer);
        let durable = writer.marks.get().durable;
        let finished = |known: &Known| known.end.filter(|end| *end <= durable).map(|end| end.0 - known.base.0);
        let all = writer.set.all();
        let whole = durable.0 + all.iter().filter_map(finished).sum::<u64>();
        let mut done = 0;
        tell(done, whole);
        if let Some(first) = &mut self.first {
            first.make_anew(writer, &mut |at| {
                done = done.max(at.0.min(durable.0));
                tell(done, whole);
            });
            let _ = first.has_gathered(SegmentOrdinal(u64::MAX)); // all are walked below, one after the other
        }
        done = durable.0;
        let mut report = ReindexReport::default();
        for known in all.iter() {
            let Some(bytes) = finished(known) else { continue };
            writer.poison.check()?;
            tell(done, whole);
            if let Err(why) = make(writer, known)? {
                report.left_out.push((file_name::segment(known.ordinal), why));
            }
            done += bytes;
            writer.finder.indexes.look_again(known.ordinal);
            if let Some(index) = writer.finder.indexes.of(known) {
                report.indexed_segments += 1;
                report.index_bytes += index.file.file_len();
            }
        }
        tell(whole, whole);
        Ok(report)
    }

    /// Takes up the next finished segment; `false` where there is none.
    fn begin(&mut self, writer: &Writer) -> bool {
        let Some((known, end)) = self.next_finished(writer) else { return false };
        // Asked for again once it is durable.
        if writer.marks.get().durable < end {
            writer.signals.note_index_due(end);
            return writer.marks.get().durable >= end;
        }
        if self.first.as_ref().is_some_and(|first| first.will_gather(known.ordinal, end)) {
            return false;
        }
        self.next = SegmentOrdinal(known.file_end.0 / writer.set.store.segment_bytes);
        if has_index(writer, &known, end) {
            self.passed(writer, end);
            return true;
        }
        let gathered = self.first.as_mut().and_then(|first| first.take_gathered(known.ordinal, end));
        self.current = gathered.filter(|build| build.end() == end).or_else(|| begun(writer, &known, end));
        self.has_gap |= self.current.is_none();
        true
    }

    /// The next finished segment that can be read, and where it ended.
    fn next_finished(&mut self, writer: &Writer) -> Option<(Known, Position)> {
        let mut place = Position(self.next.0.checked_mul(writer.set.store.segment_bytes)?);
        loop {
            let known = writer.set.at_or_behind(place)?;
            let end = known.end?;
            if known.damage.is_none() && known.lost_head.is_none() {
                return Some((known, end));
            }
            self.has_gap = true;
            place = known.file_end;
        }
    }

    fn go_on(&mut self, writer: &Writer, mut build: IndexBuild) {
        match build.step(PIECE_BYTES) {
            Ok(false) => self.current = Some(build),
            Ok(true) => {
                let (ordinal, end) = (build.ordinal(), build.end());
                let goes_on = || !writer.signals.is_stopping() && !writer.poison.is_set();
                let made = build.publish(&writer.set, &writer.finder.indexes, &goes_on);
                writer.finder.indexes.look_again(ordinal);
                if let (Some(first), Some(memory)) = (&mut self.first, build.into_memory()) {
                    first.give_back(memory);
                }
                match made {
                    Ok(()) | Err(NotIndexed::Needless) => self.passed(writer, end),
                    // Without it readers go the longer way, and the next opening tries again.
                    Err(_) => self.has_gap = true,
                }
            }
            Err(_) => {
                self.has_gap = true;
                remove(writer, build.ordinal());
            }
        }
    }

    /// A segment has the index that it needs: places in it need not be remembered.
    fn passed(&mut self, writer: &Writer, end: Position) {
        if !self.has_gap {
            self.let_go(writer, end);
        }
    }

    /// Takes note of the indexes that another process makes.
    fn look_on(&mut self, writer: &Writer) {
        let Some(active) = writer.set.last().map(|last| last.ordinal).filter(|active| *active > self.seen) else {
            return;
        };
        self.seen = active;
        writer.finder.indexes.look_for_more();
        self.let_go(writer, writer.finder.indexes.indexed_end());
    }

    /// What is remembered of streams before `border` is forgotten, where indexes and the directory have it.
    fn let_go(&self, writer: &Writer, border: Position) {
        let newest = || self.first.as_ref().and_then(|first| first.directory(writer));
        writer.streams.forget(border, writer.options.streams_kept, newest, || writer.tail.lock());
    }
}

/// Whether a finished segment has its index already.
fn has_index(writer: &Writer, known: &Known, end: Position) -> bool {
    let index = SegmentIndex::open(&*writer.set.storage, known.ordinal, writer.set.store.store);
    index.is_some_and(|index| writer.set.open_with(known, Access::Read).is_ok_and(|segment| index.is_of(&segment, end)))
}

/// A build of which nothing is gathered yet; `None` where the segment cannot be read.
fn begun(writer: &Writer, known: &Known, end: Position) -> Option<IndexBuild> {
    let segment = writer.set.open_with(known, Access::Read).ok()?;
    Some(IndexBuild::begin(Arc::new(segment), end))
}

/// Looks up the names that the next index block must say and that opening did not, so that no append has to.
fn look_up_names(writer: &Writer) {
    let unnamed: Vec<_> = writer.tail.lock().index.unnamed().collect();
    for stream in unnamed {
        let _ = writer.streams.name_of(stream); // whoever needs it is told of the error
    }
}

/// Makes the index of a finished segment; the inner error says why it got none.
fn make(writer: &Writer, known: &Known) -> Result<std::result::Result<(), String>> {
    let Some(end) = known.end else { return Ok(Ok(())) };
    if let Some(damage) = &known.damage {
        return Ok(Err(damage.to_string()));
    }
    let segment = match writer.set.open_with(known, Access::Read) {
        Ok(segment) => segment,
        Err(unusable) => return Ok(Err(crate::Error::from(unusable).to_string())),
    };
    let mut build = IndexBuild::begin(Arc::new(segment), end);
    let made = loop {
        match build.step(u64::MAX) {
            Ok(true) => break build.publish(&writer.set, &writer.finder.indexes, &|| true),
            Ok(false) => {}
            Err(not) => break Err(not),
        }
    };
    match made {
        Ok(()) => Ok(Ok(())),
        Err(NotIndexed::File(error)) => Err(error),
        Err(NotIndexed::Segment(fault)) => Ok(Err(fault.to_string())),
        Err(NotIndexed::Needless) => Ok(Ok(())),
        Err(NotIndexed::Stopped) => Ok(Err("it was given up".into())),
    }
}

/// Makes an index anew that said what is not so, or removes it, where the segment has none any more.
fn make_again(writer: &Writer, ordinal: SegmentOrdinal) {
    let known =
        ordinal.0.checked_mul(writer.set.store.segment_bytes).and_then(|at| writer.set.at_or_behind(Position(at)));
    let Some(known) = known.filter(|known| known.ordinal == ordinal) else { return };
    if !matches!(make(writer, &known), Ok(Ok(()))) {
        remove(writer, ordinal);
    }
    writer.finder.indexes.look_again(ordinal);
}

/// Removes the index of a segment that cannot have one, where it is one of this store.
fn remove(writer: &Writer, ordinal: SegmentOrdinal) {
    let storage = &*writer.set.storage;
    if SegmentIndex::open(storage, ordinal, writer.set.store.store).is_some() {
        let _ = storage.remove(&file_name::segment_index(ordinal)); // it is passed over anyway
    }
    writer.finder.indexes.look_again(ordinal);
}

/// Removes indexes that were not finished, and those of segments that the log has passed over: files of this store, between
/// segments that there are.
fn clear_void(writer: &Writer) {
    let (all, storage) = (writer.set.all(), &*writer.set.storage);
    let Some(last) = all.last().map(|last| last.ordinal) else { return };
    for entry in storage.list().unwrap_or_default() {
        let unfinished = file_name::without_temporary(&entry.name).map(file_name::parse);
        if matches!(unfinished, Some(FileKind::SegmentIndex(_))) {
            let _ = storage.remove(&entry.name); // of a writer that was killed: there is one at a time
        }
        let FileKind::SegmentIndex(ordinal) = file_name::parse(&entry.name) else { continue };
        let is_known = all.binary_search_by_key(&ordinal, |known| known.ordinal).is_ok();
        if !is_known && ordinal < last && SegmentIndex::open(storage, ordinal, writer.set.store.store).is_some() {
            let _ = storage.remove(&entry.name); // it takes room, and nobody asks for it
        }
    }
}
