//! What the indexes of segments say, gathered from the frames that are read for the stream directory, so that nobody reads them
//! for that alone.
//!
//! A segment is gathered from its first frame to its end, or not at all: whoever makes its index then walks it himself. So it is
//! where reading began inside of it, where a frame could not be taken in, and where more segments were read than are held here.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::format::batch::{Entry, Section};
use crate::format::frame::Frame;
use crate::ids::{Position, SegmentOrdinal};
use crate::index::build::IndexBuild;
use crate::segment::one::Segment;

/// So many finished segments are held for whoever writes their indexes: each takes megabytes.
const GATHERED_MAX: usize = 2;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    /// The segment that is being read.
    current: Option<IndexBuild>,
    /// Those that were read to their ends, oldest first.
    finished: VecDeque<IndexBuild>,
}

impl Gather {
    /// The first of the segments that are held.
    pub(crate) fn first(&self) -> Option<SegmentOrdinal> {
        self.finished.front().map(IndexBuild::ordinal)
    }

    /// Hands out what was gathered of a segment; what is held of those before is given up.
    pub(crate) fn take(&mut self, ordinal: SegmentOrdinal) -> Option<IndexBuild> {
        self.finished.retain(|build| build.ordinal() >= ordinal);
        if self.first() == Some(ordinal) { self.finished.pop_front() } else { None }
    }

    /// The segment before ended at `end`, and the log goes on in `segment`.
    pub(super) fn enter(&mut self, end: Position, segment: &Arc<Segment>) {
        if let Some(mut build) = self.current.take()
            && build.end_at(end)
        {
            self.finished.push_back(build);
        }
        self.current = (self.finished.len() < GATHERED_MAX).then(|| IndexBuild::gather(Arc::clone(segment)));
    }

    /// Nothing can come any more of what was gathered of the segment that is being read.
    pub(super) fn give_up(&mut self) {
        self.current = None;
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
