//! Reading on for a writer, where others write too: the reader of the log that opening began with stands by, and takes the
//! tail's place whenever there is something new.

use crate::Result;
use crate::commit::share::Follow;
use crate::commit::tail::Tail;
use crate::ids::Position;
use crate::recovery::replay::Replay;

/// See the module.
#[derive(Debug)]
pub(crate) struct Onward(Box<Replay>);

impl Onward {
    /// Goes on behind what opening has read.
    pub(crate) fn behind(replay: Replay) -> Onward {
        let mut replay = Box::new(replay);
        replay.are_rolls_marked = true;
        // What is appended stands behind a loss at the end, in a segment that was begun since.
        replay.lost_end = None;
        Onward(replay)
    }

    fn exchange(&mut self, tail: &mut Tail) {
        use std::mem::swap;
        let replay = &mut *self.0;
        swap(&mut replay.index, &mut tail.index);
        swap(&mut replay.retries, &mut tail.retries);
    }
}

impl Follow for Onward {
    fn follow(&mut self, tail: &mut Tail, whole: Position) -> Result<Position> {
        self.exchange(tail);
        let replay = &mut *self.0;
        replay.whole = whole;
        replay.segment = Some(tail.segment.clone());
        (replay.at, replay.last_frame, replay.previous_check) = (tail.at, tail.last_frame, tail.previous_check);
        (replay.next_number, replay.max_recorded_at) = (tail.next_number, tail.max_recorded_at);
        (replay.takeover, replay.seals, replay.is_left) = (tail.takeover, tail.seals, tail.is_left);
        let followed = replay.follow();
        if let Some(segment) = &replay.segment {
            tail.segment = segment.clone();
        }
        (tail.at, tail.last_frame, tail.previous_check) = (replay.at, replay.last_frame, replay.previous_check);
        (tail.next_number, tail.max_recorded_at) = (replay.next_number, replay.max_recorded_at);
        (tail.takeover, tail.seals, tail.is_left) = (replay.takeover, replay.seals, replay.is_left);
        let witness = replay.witness;
        self.exchange(tail);
        followed.map(|_| witness)
    }
}
