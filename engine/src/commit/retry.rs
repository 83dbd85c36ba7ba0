//! The newest batches with an id given by the caller: what recognises a retry that expects no exact revision.

use std::collections::{HashMap, VecDeque};

use crate::ids::{BatchId, Position};
use crate::limits::RETRY_WINDOW_BATCHES;

/// The window of batch ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct RetryWindow {
    order: VecDeque<BatchId>,
    frames: HashMap<BatchId, Position>,
}

impl RetryWindow {
    /// Remembers a batch; the oldest goes when there are too many.
    pub(crate) fn remember(&mut self, id: BatchId, frame: Position) {
        if self.frames.insert(id, frame).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > RETRY_WINDOW_BATCHES
            && let Some(oldest) = self.order.pop_front()
        {
            self.frames.remove(&oldest);
        }
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> u64 {
        self.order.len() as u64
    }

    /// What is remembered, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (BatchId, Position)> + '_ {
        self.order.iter().map(|id| (*id, self.frames[id]))
    }

    /// The frame of a batch that is remembered.
    pub(crate) fn frame_of(&self, id: BatchId) -> Option<Position> {
        self.frames.get(&id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p12_the_window_keeps_the_newest() {
        let id = |number: u64| BatchId([number.to_le_bytes(), [0; 8]].concat().try_into().expect("sixteen bytes"));
        let mut window = RetryWindow::default();
        for number in 0..=RETRY_WINDOW_BATCHES as u64 {
            window.remember(id(number), Position(number * 8));
        }
        assert_eq!(window.frame_of(id(0)), None, "one over the limit");
        assert_eq!(window.frame_of(id(1)), Some(Position(8)));
    }
}
