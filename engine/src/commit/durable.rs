//! From committed to durable: syncs by one descriptor a segment, in log order, served to all who wait.
//!
//! Order: `committed` is read first, then the files that may hold bytes below it; all of them are synced; then `durable`
//! rises to what was read. A byte below the old `committed` lies in a segment that was left (and is listed from the moment
//! it was left until a sync covered it) or in the active one.
//!
//! The control page says that the sync is under way for as long as it is: whoever takes over from a writer that was killed
//! meanwhile does not know what became of it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::commit::group::{Entered, Role};
use crate::commit::writer::Writer;
use crate::ids::Position;
use crate::planted::{Plant, planted};
use crate::segment::one::Segment;
use crate::sync::now;
use crate::watermark::LogEnd;
use crate::{Error, ErrorKind, Result};

/// The files that hold bytes above the durable mark, in log order.
#[derive(Debug)]
pub(crate) struct Files {
    /// Segments that were left and not synced since.
    older: Vec<Arc<Segment>>,
    active: Arc<Segment>,
}

impl Files {
    pub(crate) fn new(active: Arc<Segment>) -> Files {
        Files { older: Vec::new(), active }
    }

    /// The log goes on in another segment.
    pub(crate) fn roll(&mut self, active: Arc<Segment>) {
        let left = std::mem::replace(&mut self.active, active);
        self.older.push(left);
    }
}

impl Writer {
    /// Blocks until the log is durable up to `target`.
    pub(crate) fn wait_durable(&self, target: Position) -> Result<()> {
        let is_over = || self.marks.get().durable >= target || self.poison.is_set();
        loop {
            if self.marks.get().durable >= target {
                return Ok(());
            }
            self.poison.check()?;
            match self.group.enter(target, is_over) {
                Role::Served => {}
                Role::Leader => self.lead()?,
            }
        }
    }

    /// As [`wait_durable`](Self::wait_durable) for a task: the background thread leads for it.
    pub(crate) fn poll_durable(&self, target: Position, waker: &Waker) -> Poll<Result<()>> {
        let is_over = || self.marks.get().durable >= target || self.poison.is_set();
        if let Entered::Waits { is_leader_wanted } = self.group.enter_task(target, waker, is_over) {
            if is_leader_wanted {
                self.signals.want_sync();
            }
            return Poll::Pending;
        }
        if self.marks.get().durable >= target {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.poison.check())
    }

    /// Syncs for whoever waits, unless somebody does already.
    pub(crate) fn sync_in_background(&self) -> Result<()> {
        let marks = self.marks.get();
        if marks.durable < marks.committed && !self.poison.is_set() && self.group.try_lead() {
            self.lead()?;
        }
        Ok(())
    }

    /// Waits for a sync where too many bytes are not durable yet.
    pub(crate) fn hold_back(&self) -> Result<()> {
        let marks = self.marks.get();
        let allowed = self.options.unsynced_bytes_max;
        if marks.committed.0.saturating_sub(marks.durable.0) > allowed {
            self.wait_durable(Position(marks.committed.0 - allowed))?;
        }
        Ok(())
    }

    /// One sync, as leader; hands the lead on, whatever happens.
    fn lead(&self) -> Result<()> {
        let start = now();
        if planted(Plant::DurableBeforeSync) {
            self.marks.make_durable(self.marks.get().committed);
        }
        // A panic leaves the effect as unknown as an error does, and nobody may wait for ever for who was to lead.
        let synced = catch_unwind(AssertUnwindSafe(|| self.sync_files())).unwrap_or_else(|panic| {
            self.stop(&Error::new(ErrorKind::Io, "the thread that led a sync panicked"));
            resume_unwind(panic)
        });
        match synced {
            Ok(durable) => {
                self.control.end_sync(durable);
                self.marks.make_durable(durable.end);
                if self.group.served(Some(durable.end), now() - start) {
                    self.signals.want_sync();
                }
                self.signals.note_durable(durable.end);
                Ok(())
            }
            Err(error) if planted(Plant::NoPoisonAfterSync) => {
                self.group.served(None, std::time::Duration::ZERO);
                Err(error)
            }
            Err(error) => Err(self.stop(&error)),
        }
    }

    /// Syncs every file with bytes below `committed`; returns up to where the log is durable.
    fn sync_files(&self) -> Result<LogEnd> {
        self.poison.check()?;
        let committed = self.marks.log_end();
        self.control.begin_sync(committed.end);
        let (older, active) = {
            let files = self.files.lock();
            (files.older.clone(), Arc::clone(&files.active))
        };
        for segment in older.iter().chain([&active]) {
            let is_active = segment.ordinal() == active.ordinal();
            if planted(Plant::ActiveNotSynced) && is_active || planted(Plant::LeftNotSynced) && !is_active {
                continue;
            }
            let synced = segment.file.sync_data();
            let synced =
                if planted(Plant::SyncRetried) { synced.or_else(|_| segment.file.sync_data()) } else { synced };
            synced.map_err(|error| Error::io("sync", &segment.name, error))?;
        }
        if !older.is_empty() {
            self.files.lock().older.retain(|left| older.iter().all(|synced| synced.ordinal() != left.ordinal()));
        }
        Ok(committed)
    }
}

impl Writer {
    /// The last sync of a store that is being closed, and the note that it ended cleanly.
    pub(crate) fn finish(&self, watermark: &mut crate::commit::keeper::WatermarkFile) -> Result<()> {
        self.poison.check()?; // also where everything is durable: bytes of unknown effect may lie behind the end
        if let Some(prepared) = self.next_segment.lock().prepared.take() {
            crate::segment::create::discard(&*self.set.storage, prepared);
        }
        if planted(Plant::ClosedBeforeSync) {
            self.marks.make_durable(self.marks.get().committed);
        }
        self.wait_durable(self.marks.get().committed)?;
        watermark.write(self, true)
    }
}
