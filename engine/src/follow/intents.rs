//! Which intents of a stream have no outcome? What [`Store::open_intents`](crate::Store::open_intents) says.

use std::collections::{BTreeMap, HashMap};

use crate::ids::Revision;
use crate::lineage::StreamReader;
use crate::read::{Event, ReadOptions};
use crate::{Error, ErrorKind, Result};

/// The events of the types `intents` that no later one of the types `outcomes` with the same id has ended, in order.
pub(crate) fn open_intents(
    intents: &[&str],
    outcomes: &[&str],
    options: &ReadOptions<'_>,
    read: impl FnOnce() -> Result<StreamReader>,
) -> Result<Vec<Event>> {
    if let Some(both) = intents.iter().find(|name| outcomes.contains(name)) {
        return Err(Error::new(ErrorKind::Invalid, format!("the type {both:?} cannot be an intent and an outcome")));
    }
    if options.backwards {
        return Err(Error::new(ErrorKind::Invalid, "intents come before their outcomes: they are read forwards"));
    }
    let mut reader = read()?;
    let mut open: BTreeMap<Revision, Event> = BTreeMap::new();
    // Of each id those that are open, the oldest first.
    let mut by_id: HashMap<Option<String>, Vec<Revision>> = HashMap::new();
    while let Some(event) = reader.next() {
        let event = event?;
        if intents.contains(&event.event_type()) {
            by_id.entry(event.id().map(Into::into)).or_default().push(event.revision());
            open.insert(event.revision(), event.hold());
        } else if outcomes.contains(&event.event_type()) {
            let id = event.id().map(Into::into);
            let Some(of_id) = by_id.get_mut(&id) else { continue };
            let ended = if id.is_some() { of_id.len() } else { 1 };
            for revision in of_id.drain(..ended) {
                open.remove(&revision);
            }
            if of_id.is_empty() {
                by_id.remove(&id);
            }
        }
    }
    Ok(open.into_values().collect())
}
