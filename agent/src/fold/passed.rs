//! What was passed over on the way, so that nobody takes it for read.

use serde::{Deserialize, Serialize};
use treering::EventView;

use crate::event::{AgentEvent, Reading};

/// Events that say nothing to a fold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Of types that the vocabulary does not know.
    pub unknown: u64,
    /// Of known types, without their shape.
    pub unreadable: u64,
    /// The first of those: its stream, its revision, and what is wrong with it.
    pub first_unreadable: Option<(String, u64, String)>,
}

impl Passed {
    /// Reads an event; nothing where it says nothing, which is counted.
    pub(crate) fn read(&mut self, event: &EventView<'_>) -> Reading {
        match AgentEvent::read(event.event_type, event.payload) {
            Ok(reading) => {
                self.unknown += u64::from(reading.events.is_empty());
                reading
            }
            Err(error) => {
                self.unreadable += 1;
                let place = || (event.stream.to_owned(), event.revision.get(), error.to_string());
                self.first_unreadable.get_or_insert_with(place);
                Reading::default()
            }
        }
    }
}
