//! Appending together with other processes.
//!
//! Who has the turn first takes in what others appended since its own last look, from the log itself: what they say elsewhere is
//! not needed for it. So under the turn the tail is the end of the log, and all that holds for a writer that is alone holds
//! here too: expected revisions are held against every event there is.
//!
//! 1. *Nobody has appended* is seen by a look at eight bytes: a frame would begin at the tail, and bytes behind the end of the log
//!    are zero. That they stay zero where the log went on in another segment is why a writer marks its last frame before it
//!    begins one ([`FLAG_LEFT`](crate::format::frame::FLAG_LEFT)): only behind such a frame is another segment looked for.
//! 2. Bytes at the tail that are no whole frame are what a process wrote that died in the middle. Nobody was told of them. They
//!    are filled with zeros, durably, before anything is written there: rows of the takeover say why.
//! 3. Readers of this process look for what is new without the turn: they take whole frames alone, and clear nothing.
//! 4. What another process found to be wrong (the page is poisoned) stops this one before its next write.

use std::fmt;
use std::sync::Arc;

use crate::commit::index_state::is_left_at;
use crate::commit::tail::Tail;
use crate::commit::unwinding::Unwinding;
use crate::commit::watch;
use crate::commit::writer::Writer;
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::ids::Position;
use crate::planted::{Plant, planted};
use crate::process::control::{ControlPage, Others};
use crate::process::turn::Turn;
use crate::segment::again;
use crate::segment::scan::last_set_byte;
use crate::segment::set::Known;
use crate::storage::Access;
use crate::sync::MutexGuard;
use crate::{Error, ErrorKind, Result};

/// Reads on in the log, from where the tail stands.
pub(crate) trait Follow: Send + fmt::Debug {
    /// Takes in the whole frames behind the tail and moves it behind them, also where that ends in an error. Returns up to where
    /// these frames say that the log was durable. Below `whole` every frame was written to its last byte by who committed it, as long
    /// as the system runs: what proves it is its header and the chain.
    ///
    /// # Errors
    /// From the system; where a newer version writes; where another segment stands in place of the next one.
    fn follow(&mut self, tail: &mut Tail, whole: Position) -> Result<Position>;
}

/// The end of the log, and the right to append there. It is not taken apart: a panic stops all writing before the tail is let go of,
/// and the tail is let go of before the turn.
#[derive(Debug)]
pub(crate) struct AtEnd<'w> {
    _unwinding: Unwinding<'w>,
    pub(crate) tail: MutexGuard<'w, Tail>,
    pub(crate) turn: Turn<'w>,
}

impl Writer {
    /// Whether other processes may append too.
    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        self.turns.are_shared()
    }

    /// Takes the turn and goes to the end of the log.
    pub(crate) fn at_end(&self) -> Result<AtEnd<'_>> {
        // What is read while others have their turns is not read in this one. An error is met again in it.
        let meanwhile = || drop(self.catch_up(&mut self.tail.lock()));
        let turn = self.turns.take(&self.control, &|| self.set.storage.describe(), &meanwhile)?;
        let tail = self.tail.lock();
        let mut end = AtEnd { _unwinding: self.stop_on_panic("stood at the end of the log"), tail, turn };
        self.poison.check()?;
        if self.is_shared() {
            self.go_to_the_end(&mut end.tail)?;
        }
        Ok(end)
    }

    /// What a shared writer does before it appends, once it has the turn.
    fn go_to_the_end(&self, tail: &mut Tail) -> Result<()> {
        self.check_others()?;
        let is_torn = self.catch_up(tail)?;
        if !self.control.is_current() {
            self.change_page(tail)?;
        }
        // Somebody was shown more than there is: the system lost what it had in memory, and where is not known.
        if self.control.committed().is_some_and(|committed| committed.end > tail.at) {
            let what = format!("the log ends at position {} and was shown to a later one", tail.at);
            return Err(self.stop(&Error::new(ErrorKind::Damage, what)));
        }
        if is_torn {
            let _one = self.syncing.lock();
            let segment = &tail.segment;
            let set_end = last_set_byte(segment, tail.at, segment.file_end());
            // For want of space nothing happened: the next one tries it again.
            again::clear(segment, tail.at, set_end)
                .map_err(|error| if error.kind() == ErrorKind::NoSpace { error } else { self.stop(&error) })?;
        }
        if !tail.is_name_durable && tail.at == tail.segment.first_frame() {
            // Who gave it the name may have died before that was durable: what is shown in it must not go with the name.
            let storage = &self.set.storage;
            let synced = storage.sync_directory();
            synced.map_err(|error| self.stop(&Error::io("sync the directory of", &storage.describe(), error)))?;
        }
        tail.is_name_durable = true;
        Ok(())
    }

    /// Goes over to the control page that has the name now, or makes one, where the one before was removed or replaced. What was
    /// noted there meanwhile nobody knows: all that is not durable is as if its sync had been under way.
    #[cold]
    fn change_page(&self, tail: &Tail) -> Result<()> {
        let storage = &*self.set.storage;
        let Some(owner) = self.page_owner() else { return Ok(()) };
        let newer = ControlPage::join(storage, &owner).unwrap_or_else(|| {
            let made = ControlPage::establish(storage, &owner, tail.epoch(), tail.log_end(), Others::Unheard);
            made.begin_sync(tail.at);
            made
        });
        let before = self.control.words();
        self.control.replace(newer);
        before.into_iter().for_each(watch::call); // who sleeps by it
        self.files.lock().forget(tail.at);
        self.check_others()?;
        if self.control.committed().is_none_or(|committed| committed.end < tail.at) {
            self.control.commit(tail.log_end());
        }
        Ok(())
    }

    /// Stops this process where another one had an error whose effect is unknown.
    pub(crate) fn check_others(&self) -> Result<()> {
        if self.is_shared()
            && self.control.is_poisoned()
            && !self.poison.is_set()
            && !planted(Plant::OthersErrorIgnored)
        {
            return Err(self.stop(&Error::new(ErrorKind::Io, "of another process that writes to the store")));
        }
        Ok(())
    }

    /// Takes in what others have appended, for readers.
    pub(crate) fn refresh(&self) -> Result<()> {
        if self.is_shared() {
            self.catch_up(&mut self.tail.lock())?;
            self.learn_durable();
        }
        Ok(())
    }

    /// Takes in what others have appended; whether bytes are left at the tail that are no frame.
    #[inline]
    pub(crate) fn catch_up(&self, tail: &mut Tail) -> Result<bool> {
        let is_left = is_left_at(&tail.segment, tail.at, tail.is_left);
        if !is_left && !has_bytes(tail) {
            return Ok(false);
        }
        self.follow(tail)?;
        Ok(has_bytes(tail))
    }

    #[cold]
    fn follow(&self, tail: &mut Tail) -> Result<()> {
        let _unwinding = self.stop_on_panic("took in what others appended");
        let Some(mut follower) = tail.follower.take() else { return Ok(()) };
        let (before, ordinal, block) = (tail.at, tail.segment.ordinal(), tail.index.last_block());
        // Each says here that it committed behind its last write of the frame; what died in the middle of it is not said.
        let whole = self.control.committed().map_or(Position::ZERO, |committed| committed.end);
        let followed = follower.follow(tail, if planted(Plant::BegunTakenForWhole) { Position::MAX } else { whole });
        tail.follower = Some(follower);
        // Whatever became of it: the tail is where it stands now.
        if tail.segment.ordinal() != ordinal {
            self.enter_segments(tail, before)?;
        }
        if tail.at != before {
            self.marks.commit(tail.log_end());
            if tail.index.last_block() != block || tail.segment.ordinal() != ordinal {
                self.signals.note_index_due(tail.index.last_block());
            }
        }
        let witness = followed?;
        self.marks.make_durable(witness.min(tail.at));
        Ok(())
    }

    /// Takes up the segments that others have begun since the log stood at `before`, to write and to sync there.
    fn enter_segments(&self, tail: &mut Tail, before: Position) -> Result<()> {
        let active = tail.segment.ordinal();
        let known: Vec<Known> = self.set.all().into_iter().filter(|known| known.base > before).collect();
        for known in &known {
            let is_active = known.ordinal == active;
            let access = if is_active { Access::ReadWrite } else { Access::Read };
            let segment = Arc::new(self.set.open_with(known, access).map_err(Error::from)?);
            // What was written before it was opened may have met an error that it does not hear of.
            let vouched_from = if is_active { tail.at } else { known.end.unwrap_or(tail.at) };
            if is_active {
                self.set.keep(&segment);
                let at = tail.at.0 - segment.base.0;
                let _ = tail.output.next_segment(at.next_multiple_of(4096).min(segment.head.header.file_bytes()));
                tail.segment = Arc::clone(&segment);
                tail.is_name_durable = false;
                self.next_segment.lock().ordinal = segment.next_ordinal();
            }
            self.files.lock().roll(segment, vouched_from);
        }
        self.signals.want_work();
        Ok(())
    }

    /// Believes what others say of how far the log is durable, where the log holds the frame that they name.
    pub(crate) fn learn_durable(&self) {
        let marks = self.marks.get();
        let Some(says) = self.control.durable().filter(|says| says.end > marks.durable && says.end <= marks.committed)
        else {
            return;
        };
        if self.set.holding(says.last_frame).is_ok_and(|segment| segment.holds(says) == Some(true)) {
            self.marks.make_durable(says.end);
        }
    }
}

/// Whether anything stands where the next frame would begin: the first of its bytes are set.
#[inline]
fn has_bytes(tail: &Tail) -> bool {
    let end = Position(tail.at.0 + FRAME_HEADER_BYTES as u64).min(tail.segment.file_end());
    let bytes = tail.segment.unproven_bytes(tail.at, end);
    bytes.first_chunk::<8>().is_some_and(|bytes| u64::from_ne_bytes(*bytes) != 0)
}
