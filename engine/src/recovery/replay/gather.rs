//! What the indexes of segments say, gathered from the frames that are read for the stream directory, so that nobody reads them
//! for that alone.
//!
//! A segment is gathered from its first frame to its end, or not at all: whoever makes its index then walks it himself. So it is
//! where reading began inside of it, where a frame could not be taken in, and where nobody took it before the next one ended: each
//! takes megabytes, and one is held.

use std::sync::Arc;

use crate::format::batch::{Entry, Section};
use crate::format::frame::Frame;
use crate::ids::{Position, SegmentOrdinal};
use crate::index::build::{IndexBuild, Memory, NotedFrames};
use crate::index::noted::Noted;
use crate::segment::one::Segment;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    /// The segment that is being read.
    current: Option<IndexBuild>,
    /// The last one that was read to its end, until it is taken.
    finished: Option<IndexBuild>,
    /// What one before took up.
    memory: Option<Memory>,
}

impl Gather {
    /// Whether it holds a segment that was read to its end. One before `from` is given up.
    pub(crate) fn has_finished(&mut self, from: SegmentOrdinal) -> bool {
        self.finished.take_if(|build| build.ordinal() < from);
        self.finished.is_some()
    }

    /// Gives back what something gathered took up.
    pub(crate) fn give_back(&mut self, memory: Memory) {
        match &mut self.current {
            Some(current) if current.is_empty() => current.take_up(memory),
            _ => self.memory = Some(memory),
        }
    }

    /// Whether the segment is being gathered.
    pub(crate) fn is_in(&self, ordinal: SegmentOrdinal) -> bool {
        self.current.as_ref().is_some_and(|build| build.ordinal() == ordinal)
    }

    /// Hands out what was gathered of a segment that ended at `end`, if that is all; what is held of those before is given up.
    pub(crate) fn take(&mut self, ordinal: SegmentOrdinal, end: Position) -> Option<IndexBuild> {
        if self.is_in(ordinal) {
            self.finished = self.current.take().and_then(|mut build| build.end_at(end).then_some(build));
        }
        let is_meant = |build: &mut IndexBuild| build.ordinal() <= ordinal;
        self.finished.take_if(is_meant).filter(|build| build.ordinal() == ordinal)
    }

    /// The segment before ended at `end`, and the log goes on in `segment`.
    pub(super) fn enter(&mut self, end: Position, segment: &Arc<Segment>) {
        if let Some(mut build) = self.current.take()
            && build.end_at(end)
        {
            self.finished = Some(build);
        }
        let mut build = IndexBuild::gather(Arc::clone(segment));
        if let Some(memory) = self.memory.take() {
            build.take_up(memory);
        }
        self.current = Some(build);
    }

    /// Nothing can come any more of what was gathered of the segment that is being read.
    pub(super) fn give_up(&mut self) {
        self.current = None;
    }

    /// Frames follow that are known by what was noted of them, from `at` on; `None` where their segment is not gathered.
    pub(super) fn begin_noted<'g>(&'g mut self, noted: &'g Noted, at: Position) -> Option<NotedFrames<'g>> {
        self.current.as_mut().filter(|build| build.is_at(at)).map(|build| build.begin_noted(noted))
    }

    /// A frame of the log: its sections and their entries follow.
    pub(super) fn begin_frame(&mut self, frame: &Frame<'_>) {
        if self.current.as_mut().is_some_and(|build| build.begin_frame(frame).is_err()) {
            self.give_up();
        }
    }

    /// The next section of that frame.
    pub(super) fn begin_section(&mut self, section: &Section<'_>) {
        if self.current.as_mut().is_some_and(|build| build.begin_section(section).is_err()) {
            self.give_up();
        }
    }

    /// The next entry of that section.
    #[inline]
    pub(super) fn take_entry(&mut self, entry: &Entry<'_>) {
        if let Some(build) = &mut self.current {
            build.take_entry(entry);
        }
    }

    /// All of the frame was taken in.
    pub(super) fn end_frame(&mut self, frame: &Frame<'_>) {
        if let Some(build) = &mut self.current {
            build.end_frame(frame);
        }
    }
}
