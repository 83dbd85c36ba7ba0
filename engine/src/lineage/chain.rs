//! The stream chain: what a stream's history comes to in 32 bytes.
//!
//! It is defined by the format and stored in snapshots alone; everybody else folds it. What was folded is remembered, in
//! bounded memory, so that the next value of the same stream costs the events behind.

use std::sync::Arc;

use foldhash::HashMap;

use crate::format::chain::{CHAIN_START, CanonicalEvent, Link, link};
use crate::ids::{Position, Revision, StreamId};
use crate::index::find::Finder;
use crate::lineage::StreamReader;
use crate::read::{EventRef, ReadOptions};
use crate::sync::Mutex;
use crate::{Error, ErrorKind, Result};

/// Of so many streams at most values are remembered, and of each so many.
const STREAMS_KEPT: usize = 1 << 12;
const VALUES_KEPT: usize = 8;

/// A value of a stream's chain: how many events it covers, from the first on, and what they come to.
pub(crate) type Value = (u64, Link);

/// The values that were folded.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    known: Mutex<HashMap<StreamId, Vec<Value>>>,
}

impl Chains {
    /// The chain behind the first `count` events of a stream. `given` is a value that is taken at its word, if it helps.
    ///
    /// # Errors
    /// [`Damage`](ErrorKind::Damage) where an event is lost; [`NotFound`](ErrorKind::NotFound) where there are not as many.
    pub(crate) fn behind(
        &self,
        finder: &Arc<Finder>,
        (stream, name): (StreamId, &str),
        count: u64,
        given: Option<Value>,
    ) -> Result<Link> {
        let folded = self.newest(stream, count);
        let (start, is_folded) = match given.filter(|given| (folded.0..=count).contains(&given.0)) {
            Some(given) if given.0 > folded.0 => (given, false),
            _ => (folded, true),
        };
        let value = fold(finder, name, start, count)?;
        if is_folded {
            self.keep(stream, (count, value));
        }
        Ok(value)
    }

    fn newest(&self, stream: StreamId, count: u64) -> Value {
        let known = self.known.lock();
        let values = known.get(&stream).map_or(&[][..], Vec::as_slice);
        values.iter().filter(|value| value.0 <= count).max_by_key(|value| value.0).copied().unwrap_or((0, CHAIN_START))
    }

    fn keep(&self, stream: StreamId, value: Value) {
        let mut known = self.known.lock();
        if known.len() >= STREAMS_KEPT && !known.contains_key(&stream) {
            known.clear();
        }
        let values = known.entry(stream).or_default();
        if values.contains(&value) {
            return;
        }
        if values.len() == VALUES_KEPT {
            values.remove(0);
        }
        values.push(value);
    }
}

fn fold(finder: &Arc<Finder>, name: &str, (from, mut value): Value, count: u64) -> Result<Link> {
    let Some(last) = count.checked_sub(1).filter(|last| *last >= from) else { return Ok(value) };
    let options = ReadOptions::new().from(Revision(from)).to(Revision(last));
    let mut due = from;
    if let Some(mut reader) = StreamReader::new(finder, name, Position::MAX, options)? {
        while let Some(event) = reader.next() {
            let event = event?;
            if event.revision().0 != due {
                break;
            }
            value = link(&value, &canonical(&event));
            due += 1;
        }
    }
    match due == count {
        true => Ok(value),
        false => Err(Error::new(ErrorKind::NotFound, format!("the stream {name:?} has no revision {due}"))),
    }
}

/// An event as the chain takes it.
pub(crate) fn canonical<'a>(event: &EventRef<'a>) -> CanonicalEvent<'a> {
    CanonicalEvent {
        revision: event.revision(),
        id: event.id().unwrap_or_default().as_bytes(),
        type_name: event.event_type().as_bytes(),
        recorded_at: event.recorded_at(),
        occurred_at: event.occurred_at(),
        metadata: event.metadata(),
        payload: event.payload(),
    }
}
