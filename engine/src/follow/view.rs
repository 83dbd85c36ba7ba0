//! An open store as readers see it: its segments, its streams, how far it reaches.
//!
//! In the process that writes, the writer keeps all of it up to date. In any other, [`View::refresh`] reads what was
//! appended since.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::format::file_name;
use crate::format::watermark::{WATERMARK_FILE_BYTES, Watermark};
use crate::ids::{Position, Revision};
use crate::index::find::Finder;
use crate::index::on_demand::Streams;
use crate::index::streams::Stream;
use crate::index::time;
use crate::read::{Event, LogReader, Only, ReadAllOptions, ReadOptions, StreamReader, place, read_one};
use crate::recovery::open::slot_counts;
use crate::recovery::replay::Replay;
use crate::segment::set::SegmentSet;
use crate::storage::Access;
use crate::sync::{Mutex, now, thread};
use crate::watermark::{Marks, Visibility, Watermarks};

/// An open store, to be read.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) set: Arc<SegmentSet>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) marks: Arc<Marks>,
    pub(crate) finder: Arc<Finder>,
    /// What goes on reading where another process writes; `None` in the process that does.
    replay: Option<Mutex<Replay>>,
}

impl View {
    pub(crate) fn new(
        set: Arc<SegmentSet>,
        streams: Arc<Streams>,
        marks: Arc<Marks>,
        finder: Arc<Finder>,
        replay: Option<Replay>,
    ) -> View {
        View { set, streams, marks, finder, replay: replay.map(Mutex::new) }
    }

    /// Whether another process may write.
    pub(crate) fn is_follower(&self) -> bool {
        self.replay.is_some()
    }

    /// Takes in what another process appended. Costs a look at the next frame's place, and reading what is new.
    pub(crate) fn refresh(&self) -> Result<()> {
        self.set.check_process()?;
        let Some(replay) = &self.replay else { return Ok(()) };
        let mut replay = replay.lock();
        replay.follow()?;
        self.finder.indexes.look_for_more();
        let durable = replay.witness.max(self.witnessed_by_file(&replay)).min(replay.at);
        self.marks.commit(replay.log_end());
        self.marks.make_durable(durable);
        Ok(())
    }

    /// Global number of the next event, and the bytes in coded sections before and after coding; for a follower.
    pub(crate) fn replayed<T>(&self, look: impl FnOnce(&Replay) -> T) -> Option<T> {
        self.replay.as_ref().map(|replay| look(&replay.lock()))
    }

    fn witnessed_by_file(&self, replay: &Replay) -> Position {
        let slot = || {
            let file = self.set.storage.open(file_name::WATERMARK, Access::Read).ok()?;
            let mut bytes = vec![0; WATERMARK_FILE_BYTES as usize];
            let read = file.read_at(&mut bytes, 0).ok()?;
            let slots = Watermark::slots(&bytes[..read]);
            let slot = slots.into_iter().find(|slot| slot.store == self.set.store.store)?;
            let is_news = slot.incarnation == replay.incarnation && slot.durable > replay.witness;
            (is_news && slot_counts(&slot, &*self.set.holding(slot.last_frame).ok()?)).then_some(slot.durable)
        };
        slot().unwrap_or(Position::ZERO)
    }

    pub(crate) fn watermarks(&self) -> Watermarks {
        self.marks.get()
    }

    pub(crate) fn visible(&self, visibility: Visibility) -> Position {
        self.marks.visible(visibility)
    }

    pub(crate) fn end_at(&self, recorded: i64, visibility: Visibility) -> Result<Position> {
        self.set.check_process()?;
        time::end_at(&self.set, recorded, self.visible(visibility))
    }

    pub(crate) fn stream(&self, name: &str) -> Result<Option<Stream>> {
        self.set.check_process()?;
        self.streams.load(name)?;
        Ok(self.streams.read().by_name(name).cloned())
    }

    pub(crate) fn stream_reader(&self, name: &str, options: ReadOptions<'_>) -> Result<Option<StreamReader>> {
        self.set.check_process()?;
        if let Some(token) = &options.after_token {
            self.refresh()?;
            place::behind(&self.set, token, self.visible(Visibility::Committed))?;
        }
        let visible = self.visible(options.visibility);
        StreamReader::new(Arc::clone(&self.finder), name, visible, options)
    }

    pub(crate) fn log_reader(&self, options: ReadAllOptions<'_>) -> Result<LogReader> {
        self.set.check_process()?;
        if options.after_token.is_some() {
            // Its event may be one that another process has appended just now.
            self.refresh()?;
        }
        let (set, streams, marks) = (Arc::clone(&self.set), Arc::clone(&self.streams), Arc::clone(&self.marks));
        let reader = LogReader::new(set, streams, marks, options)?;
        if options.event_type.is_none() && options.stream_prefix.is_none() {
            return Ok(reader);
        }
        let mut only = Only::new(&self.finder.indexes);
        if let Some(name) = options.event_type {
            only = only.of_type(name);
        }
        if let Some(prefix) = options.stream_prefix {
            only = only.of_streams(prefix, &self.streams, &self.marks)?;
        }
        Ok(reader.of(only))
    }

    pub(crate) fn event(&self, name: &str, revision: Revision, visibility: Visibility) -> Result<Option<Event>> {
        self.set.check_process()?;
        read_one(&self.finder, name, revision, self.visible(visibility))
    }

    /// Waits until the mark lies above `seen`, at most until `until`; where another process writes, at most for `poll`.
    pub(crate) fn wait_above(&self, visibility: Visibility, seen: Position, until: Instant, poll: Duration) {
        if self.is_follower() {
            let left = until.saturating_duration_since(now());
            thread::sleep(poll.min(left));
        } else {
            self.marks.wait_above(visibility, seen, Some(until));
        }
    }
}
