//! From committed to durable: syncs by one descriptor a segment, in log order, served to all who wait.
//!
//! Order: `committed` is read first, then the files that may hold bytes below it; all of them are synced; then `durable`
//! rises to what was read. A byte below the old `committed` lies in a segment that was left (and is listed from the moment
//! it was left until a sync covered it) or in the active one.
//!
//! A sync of a file that has no name keeps nothing. So before each sync the leader looks whether the files still have theirs, and the
//! identity file one, without which nobody opens the store or is kept from writing to it beside this process. Where one has not,
//! nothing is acknowledged any more.
//!
//! The control page says that the sync is under way for as long as it is: whoever takes over from a writer that was killed
//! meanwhile does not know what became of it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::commit::group::{Entered, Role};
use crate::commit::writer::Writer;
use crate::format::file_name::IDENTITY;
use crate::ids::Position;
use crate::planted::{Plant, planted};
use crate::process::control::word;
use crate::segment::again;
use crate::segment::one::Segment;
use crate::segment::set::{Known, SegmentSet};
use crate::storage::Access;
use crate::sync::now;
use crate::watermark::LogEnd;
use crate::{Error, ErrorKind, Result};

/// The files that hold bytes above the durable mark, in log order.
#[derive(Debug)]
pub(crate) struct Files {
    /// Segments that were left and not synced since.
    older: Vec<Written>,
    active: Written,
}

/// A segment with bytes that are not durable yet.
#[derive(Clone, Debug)]
struct Written {
    segment: Arc<Segment>,
    /// Up to here its bytes were there before the file was opened, so that a sync of it says nothing of them: it does not hear
    /// of an error that somebody else met.
    vouched_from: Position,
}

impl Files {
    /// For a log that ends at `end`, in `active`, and is durable up to `durable`.
    pub(crate) fn of(set: &SegmentSet, active: Arc<Segment>, durable: Position, end: Position) -> Result<Files> {
        let vouched_from = if durable < end { end } else { Position::ZERO };
        let mut older = Vec::new();
        if vouched_from > Position::ZERO {
            let is_left = |known: &Known| known.ordinal < active.ordinal() && known.damage.is_none();
            for known in set.all().into_iter().filter(|known| is_left(known) && known.end > Some(durable)) {
                let segment = Arc::new(set.open_with(&known, Access::Read).map_err(Error::from)?);
                older.push(Written { segment, vouched_from: known.end.unwrap_or(end) });
            }
        }
        Ok(Files { older, active: Written { segment: active, vouched_from } })
    }

    /// What is not durable yet, up to `end`, is to be written again before a sync of it counts.
    pub(crate) fn forget(&mut self, end: Position) {
        for written in self.older.iter_mut().chain([&mut self.active]) {
            written.vouched_from = end;
        }
    }

    /// The log goes on in another segment.
    pub(crate) fn roll(&mut self, active: Arc<Segment>, vouched_from: Position) {
        let left = std::mem::replace(&mut self.active, Written { segment: active, vouched_from });
        self.older.push(left);
    }
}

/// How the log became durable.
enum Synced {
    /// By a sync of this process.
    Here(LogEnd),
    /// Another process had done it.
    Elsewhere,
    /// It is not: what others wrote could not be read, say for want of descriptors. Nothing was written or synced.
    Not(Error),
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
        let _waking = self.marks.waking();
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
            Ok(Synced::Elsewhere) => {
                self.served(start);
                Ok(())
            }
            Ok(Synced::Here(durable)) => {
                self.marks.make_durable(durable.end);
                self.served(start);
                Ok(())
            }
            Err(error) if planted(Plant::NoPoisonAfterSync) => {
                self.serve(None, start);
                Err(error)
            }
            Ok(Synced::Not(error)) => Err(self.not_synced(error, start)),
            Err(error) if error.kind() == ErrorKind::Locked || error.is_for_want_of_descriptors() => {
                Err(self.not_synced(error, start))
            }
            Err(error) => Err(self.stop(&error)),
        }
    }

    /// Wakes those who waited for what is durable now.
    fn served(&self, start: std::time::Instant) {
        let durable = self.marks.get().durable;
        if self.serve(Some(durable), start) {
            self.signals.want_sync();
        }
        self.signals.note_durable(durable);
    }

    /// Nothing was written or synced, but for bytes that stood there: a thread that waits is told, and may try again. Tasks cannot; for
    /// them it is tried again in the background.
    fn not_synced(&self, error: Error, start: std::time::Instant) -> Error {
        if self.serve(Some(self.marks.get().durable), start) {
            self.signals.want_sync();
        }
        error
    }

    /// Ends a sync that began at `start`, for all who wait up to `durable`, or for everybody; whether tasks are left.
    pub(crate) fn serve(&self, durable: Option<Position>, start: std::time::Instant) -> bool {
        let (are_tasks_left, tasks) = self.group.served(durable, now() - start);
        self.marks.wake_later(tasks);
        are_tasks_left
    }

    /// Syncs every file with bytes below `committed`, and says so in the control page.
    fn sync_files(&self) -> Result<Synced> {
        self.poison.check()?;
        let wanted = self.marks.log_end().end;
        let is_over = || {
            let _ = self.refresh(); // the page is believed as far as the log was read; an error is met again below
            self.marks.get().durable >= wanted || self.control.is_poisoned() && !planted(Plant::OthersErrorIgnored)
        };
        let Some(lock) = self.turns.take_sync(&self.control, wanted, &|| self.set.storage.describe(), is_over)? else {
            self.check_others()?;
            return Ok(Synced::Elsewhere);
        };
        if self.is_shared() {
            match self.look_around() {
                Ok(()) => {}
                Err(error) if self.poison.is_set() => return Err(error),
                Err(error) => return Ok(Synced::Not(error)),
            }
            if self.marks.get().durable >= wanted {
                return Ok(Synced::Elsewhere);
            }
        }
        let committed = self.marks.log_end();
        let (mut files, older) = {
            let files = self.files.lock();
            (files.older.iter().chain([&files.active]).cloned().collect::<Vec<_>>(), files.older.len())
        };
        if self.is_shared() {
            self.write_unknown_again(&mut files, committed.end)?;
        }
        self.check_in_place(&files)?;
        self.control.begin_sync(committed.end);
        let begun = now();
        // Alone, nobody else syncs by these descriptors.
        let one = self.is_shared().then(|| self.syncing.lock());
        for (index, Written { segment, .. }) in files.iter().enumerate() {
            let is_active = index == older;
            if planted(Plant::ActiveNotSynced) && is_active || planted(Plant::LeftNotSynced) && !is_active {
                continue;
            }
            let sync = || segment.open_file()?.sync_data();
            let synced = sync();
            let synced = if planted(Plant::SyncRetried) { synced.or_else(|_| sync()) } else { synced };
            synced.map_err(|error| Error::io("sync", &segment.name, error))?;
        }
        // Another thread, or another process, may have been told of an error that this sync was not told of.
        self.poison.check()?;
        self.check_others()?;
        drop(one);
        let mut listed = self.files.lock();
        listed
            .older
            .retain(|left| files[..older].iter().all(|synced| synced.segment.ordinal() != left.segment.ordinal()));
        let active = files[older].segment.ordinal();
        let Files { older: left, active: last } = &mut *listed;
        for written in left.iter_mut().chain([last]).filter(|written| written.segment.ordinal() == active) {
            written.vouched_from = Position::ZERO;
        }
        drop(listed);
        self.control.end_sync(committed, now() - begun);
        if !self.is_shared() {
            self.wake_followers(word::SYNCED, self.set.storage.now());
        }
        drop(lock);
        Ok(Synced::Here(committed))
    }

    /// Fails where one of these files, or the identity file, is not to be found by its name any more.
    fn check_in_place(&self, files: &[Written]) -> Result<()> {
        let storage = &*self.set.storage;
        let mut segments = files.iter().map(|written| &written.segment);
        let gone = segments.find(|segment| !segment.is_in_place(storage)).map(|segment| segment.name.as_str());
        // It costs half of a look at the name. Who moves this file away moves the segments too.
        let is_identity_gone = || !self.turns.identity.is_linked().unwrap_or(true);
        match gone.or_else(|| is_identity_gone().then_some(IDENTITY)) {
            Some(name) => Err(Error::removed(name, &storage.describe())),
            None => Ok(()),
        }
    }

    /// Fails where writing was stopped; stops it where a file that is written is not to be found by its name any more.
    pub(crate) fn check_files(&self) -> Result<()> {
        self.poison.check()?;
        let files: Vec<Written> = {
            let files = self.files.lock();
            files.older.iter().chain([&files.active]).cloned().collect()
        };
        self.check_in_place(&files).map_err(|error| self.stop(&error))
    }

    /// What others have done, before this process syncs for all.
    fn look_around(&self) -> Result<()> {
        self.check_others()?;
        if !self.control.is_current() {
            drop(self.at_end()?); // goes over to the one that there is
        }
        self.turns.gather(&self.control);
        // What others have appended by now is served by the same sync.
        self.refresh()
    }

    /// Writes to where they are those bytes that a sync of these files says nothing of: of what was written before they were
    /// opened, and of a sync that a process began which died in it.
    fn write_unknown_again(&self, files: &mut [Written], upto: Position) -> Result<()> {
        if self.control.is_sync_in_flight() && !planted(Plant::DeadSyncTrusted) {
            files.iter_mut().for_each(|written| written.vouched_from = upto);
        }
        let durable = self.marks.get().durable;
        let is_unknown = |written: &Written| {
            written.vouched_from > durable
                && written.vouched_from > written.segment.base
                && !planted(Plant::FreshFileTrusted)
        };
        if !files.iter().any(is_unknown) {
            return Ok(());
        }
        // Nobody appends to a page while it is written past the cache.
        let end = self.at_end()?;
        drop(end.tail);
        let _turn = end.turn;
        let known = self.set.all();
        let mut is_name_uncertain = false;
        for Written { segment, vouched_from } in files.iter().filter(|written| is_unknown(written)) {
            let end = known.iter().find(|known| known.ordinal == segment.ordinal()).and_then(|known| known.end);
            let end = end.unwrap_or(upto).min(*vouched_from).min(upto);
            let opened;
            let to_write = match self.is_active(segment) {
                true => segment,
                false => {
                    let again = |known: &&Known| known.ordinal == segment.ordinal();
                    let Some(known) = known.iter().find(again) else { continue };
                    opened = Arc::new(self.set.open_with(known, Access::ReadWrite).map_err(Error::from)?);
                    &opened
                }
            };
            if durable < segment.first_frame() {
                again::write_head_again(to_write)?;
                is_name_uncertain = true;
            }
            let from = durable.max(segment.first_frame());
            if from < end {
                again::write_again(to_write, from, end)?;
            }
            if !Arc::ptr_eq(to_write, segment) {
                let synced = to_write.open_file().and_then(|file| file.sync_data());
                synced.map_err(|error| Error::io("sync", &segment.name, error))?;
            }
        }
        if is_name_uncertain {
            let storage = &self.set.storage;
            let synced = storage.sync_directory();
            synced.map_err(|error| Error::io("sync the directory of", &storage.describe(), error))?;
        }
        Ok(())
    }

    fn is_active(&self, segment: &Segment) -> bool {
        self.files.lock().active.segment.ordinal() == segment.ordinal()
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
        self.check_files()?; // also where nothing was left to be synced
        if self.is_shared() { Ok(()) } else { watermark.write(self, true) }
    }

    /// Leaves a store that others may have open too: makes durable also what they have appended by now. The last one notes that
    /// it ended cleanly.
    pub(crate) fn leave(&self, watermark: &mut crate::commit::keeper::WatermarkFile) -> Result<()> {
        loop {
            self.wait_durable(self.marks.get().committed)?;
            let at_end = self.at_end()?;
            let end = at_end.tail.at;
            drop(at_end.tail);
            if self.turns.has_others()? {
                self.turns.leave();
                return Ok(());
            }
            if self.marks.get().durable >= end {
                let written = watermark.write(self, true);
                self.turns.leave(); // while it has the turn: whoever opens the store next finds all of it
                return written;
            }
            drop(at_end.turn);
        }
    }
}
