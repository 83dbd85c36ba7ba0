//! Noting what is appended for who makes what is derived of it: what that is, and when it is noted, stands with what is noted
//! ([`index::noted`](crate::index::noted)).

use std::ops::Range;
use std::sync::Arc;

use crate::append::BatchSection;
use crate::append::encode::Existing;
use crate::ids::{BatchId, Position};
use crate::index::noted::{Noted, Waiting};

/// Notes what is appended.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// What was noted since the last index block, …
    current: Noted,
    /// … and that is all there was.
    is_all: bool,
    /// The type that was noted last: mostly it is the next one too.
    recent: u32,
    waiting: Arc<Waiting>,
}

/// A batch, as far as it is noted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewBatch<'a> {
    pub(crate) sections: &'a [BatchSection<'a>],
    /// For each section the stream that it continues.
    pub(crate) existing: &'a [Option<Existing>],
    /// Its id, where that was given by the caller.
    pub(crate) given: Option<BatchId>,
    pub(crate) recorded_at: i64,
}

impl Notes {
    /// Notes for whoever takes them from there: of the stretch that begins at the end of the log, where one does, and those behind.
    pub(crate) fn waiting_in(waiting: Arc<Waiting>, stretch: Option<Position>) -> Notes {
        let mut notes = Notes { waiting, ..Notes::default() };
        if let Some(start) = stretch {
            notes.begin(start);
        }
        notes
    }

    /// A stretch begins.
    pub(crate) fn begin(&mut self, start: Position) {
        self.recent = 0;
        self.current.begin(start);
        self.is_all = self.waiting.is_wanted();
    }

    /// A frame was appended: what has been noted so far goes on there. `None` where another frame lies between that was not noted.
    #[inline]
    fn go_on(&mut self, frame: &Range<Position>) -> Option<&mut Noted> {
        self.is_all = self.is_all && self.current.go_on(frame);
        self.is_all.then_some(&mut self.current)
    }

    /// A batch was appended, without items and coded sections, to a segment whose frames begin at `first_frame`.
    #[inline]
    pub(crate) fn note_batch(&mut self, frame: Range<Position>, first_frame: Position, batch: NewBatch<'_>) {
        let (position, mut recent) = (frame.start, self.recent);
        let Some(noted) = self.go_on(&frame) else { return };
        for existing in batch.existing.iter().flatten() {
            let is_fork_without_events = existing.head < existing.first;
            if existing.last_place < first_frame || is_fork_without_events {
                noted.reach_back.push((existing.stream, existing.last_place));
            }
        }
        noted.given.extend(batch.given.map(|id| (id, position)));
        let events = batch.sections.iter().flat_map(|section| section.events);
        let events = events.map(|event| (event.event_type, event.recorded_at.unwrap_or(batch.recorded_at)));
        self.is_all = noted.add_events(events, &mut recent);
        self.recent = recent;
    }

    /// A seal was appended.
    pub(crate) fn note_seal(&mut self, frame: Range<Position>) {
        let _ = self.go_on(&frame);
    }

    /// An index block was appended, and the next stretch begins.
    pub(crate) fn note_block(&mut self, block: Range<Position>) {
        if self.is_all && self.current.end_with(&block) {
            self.waiting.leave(&mut self.current);
        }
        self.begin(block.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::append::{Expected, NewEvent};
    use crate::ids::{Revision, StreamId};
    use crate::index::noted::TypeRun;

    const FRAME_BYTES: u64 = 400;
    const BLOCK_BYTES: u64 = 1000;

    /// Notes a stretch of that many batches and its block; where the next one begins.
    fn stretch(notes: &mut Notes, mut at: Position, batches: u64) -> Position {
        let events = [NewEvent::new("t", "")];
        let sections = [BatchSection { stream: "s", expected: Expected::Any, events: &events }];
        for number in 0..batches {
            let last_place = Position(8);
            let existing =
                Existing { stream: StreamId(number), slot: 0, first: Revision(0), head: Revision(1), last_place };
            let existing = [Some(existing)];
            let batch = NewBatch { sections: &sections, existing: &existing, given: None, recorded_at: 5 };
            notes.note_batch(at..Position(at.0 + FRAME_BYTES), Position(8192), batch);
            at.0 += FRAME_BYTES;
        }
        notes.note_block(at..Position(at.0 + BLOCK_BYTES));
        Position(at.0 + BLOCK_BYTES)
    }

    fn begun() -> (Notes, Arc<Waiting>, Position) {
        let (waiting, at) = (Arc::new(Waiting::default()), Position(8192));
        waiting.want(true);
        (Notes::waiting_in(Arc::clone(&waiting), Some(at)), waiting, at)
    }

    #[test]
    fn p20_what_is_noted_and_not_taken_is_bounded_and_given_up_when_nobody_wants_it() {
        let (mut notes, waiting, mut at) = begun();
        assert_eq!(waiting.held(), (0, 0), "before the first block it takes no memory");
        at = stretch(&mut notes, at, 800);
        let (_, room) = waiting.held();
        for _ in 0..5000 {
            at = stretch(&mut notes, at, 800);
        }
        assert_eq!(waiting.held(), (65_536 / 800, room));
        let (mut notes, waiting, mut at) = begun();
        for _ in 0..5000 {
            at = stretch(&mut notes, at, 1);
        }
        assert_eq!(waiting.held(), (2048, room));
        waiting.want(false);
        assert_eq!(waiting.held(), (0, 0));
    }

    /// Else a batch of many types would be looked through once for each, while the end of the log is held.
    #[test]
    fn p12_a_stretch_of_many_types_is_given_up_at_once() {
        let names: Vec<String> = (0..1 << 17).map(|number| format!("type {number}")).collect();
        let events: Vec<NewEvent<'_>> = names.iter().map(|name| NewEvent::new(name, "")).collect();
        for (count, is_noted) in [(16, true), (17, false), (1 << 17, false)] {
            let (mut notes, waiting, at) = begun();
            let sections = [BatchSection { stream: "s", expected: Expected::Any, events: &events[..count] }];
            let batch = NewBatch { sections: &sections, existing: &[None], given: None, recorded_at: 5 };
            let end = Position(at.0 + FRAME_BYTES);
            notes.note_batch(at..end, Position(8192), batch);
            assert!(notes.current.types.len() <= 16 && notes.current.runs.len() <= 16);
            notes.note_block(end..Position(end.0 + BLOCK_BYTES));
            assert_eq!(waiting.take(at, Position::MAX, &mut Noted::default()), is_noted, "{count} types");
        }
    }

    #[test]
    fn whoever_takes_what_was_noted_gets_the_stretch_that_he_stands_before_or_nothing() {
        let (mut notes, waiting, first) = begun();
        let second = stretch(&mut notes, first, 3);
        let third = stretch(&mut notes, second, 3);
        let end = stretch(&mut notes, third, 3);
        let mut noted = Noted::default();
        assert!(!waiting.take(Position(first.0 - 8), end, &mut noted), "nothing begins there");
        assert!(!waiting.take(first, Position(second.0 - 8), &mut noted), "its block is not durable");
        assert!(waiting.take(first, second, &mut noted));
        assert_eq!(noted.stretch(), first..Position(second.0 - BLOCK_BYTES));
        assert_eq!(noted.block(), Position(second.0 - BLOCK_BYTES)..second);
        assert_eq!((noted.reach_back.len(), noted.recorded_at), (3, (5, 5)));
        assert_eq!(noted.runs, [TypeRun { frames: 3, name: 0, events: 1 }]);
        assert!(!waiting.take(first, end, &mut noted), "it was taken");
        assert!(waiting.take(third, end, &mut noted) && !waiting.take(second, end, &mut noted));
        assert_eq!(noted.stretch().start, third);
        assert_eq!(waiting.held().0, 0);
        let _ = stretch(&mut notes, end, 3);
        waiting.want(false);
        assert!(!waiting.take(end, Position::MAX, &mut noted));
    }

    #[test]
    fn a_stretch_with_a_frame_that_was_not_noted_is_not_noted() {
        let (mut notes, waiting, first) = begun();
        let mut noted = Noted::default();
        let behind = Position(first.0 + 64);
        let second = stretch(&mut notes, behind, 3);
        assert!(!waiting.take(first, second, &mut noted) && !waiting.take(behind, second, &mut noted));
        let third = stretch(&mut notes, second, 3);
        notes.note_block(Position(third.0 + 64)..Position(third.0 + 128));
        assert!(waiting.take(second, third, &mut noted) && !waiting.take(third, Position::MAX, &mut noted));
    }
}
