//! What happened when? Every event in a line, for who has to retrace it.
//!
//! Nothing is left out: types that are not known stand there by their names, what cannot be read with the reason. The order is that
//! of the log. Times are those at which things happened, as far as that is said, else those at which they were recorded; gaps are
//! between times of the same kind, since a log may be imported long after. A gap below zero is a clock that was set back, or an event
//! that was written late. The lines can be taken out as they come ([`Timeline::take`]).

use serde::{Deserialize, Serialize};
use treering::{EventView, Projection};

use crate::event::AgentEvent;
use crate::fold::{load, save};
use crate::say::line;

/// A line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The stream.
    pub stream: String,
    /// The event's place in it.
    pub revision: u64,
    /// When it happened, in nanoseconds since 1970 UTC.
    pub time: i64,
    /// Whether that is said; else it is when the event was recorded.
    pub has_occurred: bool,
    /// Nanoseconds since the event before whose time is of the same kind; `None` for the first.
    pub gap: Option<i64>,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What it is in the vocabulary: several for some foreign events, none for types that are not known.
    pub kinds: Vec<String>,
    /// What it says, or why it cannot be read.
    pub says: String,
    /// Whether it cannot be read.
    pub is_unreadable: bool,
}

/// The fold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    entries: Vec<Entry>,
    last_occurred: Option<i64>,
    last_recorded: Option<i64>,
}

impl Timeline {
    /// Nothing happened yet.
    #[must_use]
    pub fn new() -> Timeline {
        Timeline::default()
    }

    /// The lines that were not taken out.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.state.entries
    }

    /// Takes out the lines since the last time.
    pub fn take(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.state.entries)
    }
}

impl Projection for Timeline {
    fn name(&self) -> &str {
        "agent-timeline"
    }

    fn version(&self) -> String {
        "1".to_owned()
    }

    fn apply(&mut self, event: &EventView<'_>) {
        let (time, has_occurred) = (event.time(), event.occurred_at.is_some());
        let State { last_occurred, last_recorded, .. } = &mut self.state;
        let last = if has_occurred { last_occurred } else { last_recorded }.replace(time);
        let (kinds, says, is_unreadable) = match AgentEvent::read(event.event_type, event.payload) {
            Ok(reading) => {
                let kinds = reading.events.iter().map(|said| said.event_type().to_owned()).collect();
                let says: Vec<String> = reading.events.iter().map(line).filter(|says| !says.is_empty()).collect();
                (kinds, says.join(" · "), false)
            }
            Err(error) => (Vec::new(), error.reason, true),
        };
        self.state.entries.push(Entry {
            stream: event.stream.to_owned(),
            revision: event.revision.get(),
            time,
            has_occurred,
            gap: last.map(|last| time.saturating_sub(last)),
            event_type: event.event_type.to_owned(),
            kinds,
            says,
            is_unreadable,
        });
    }

    fn save(&self) -> Vec<u8> {
        save(&self.state)
    }

    fn load(&mut self, state: &[u8]) -> Result<(), String> {
        load(&mut self.state, state)
    }
}
