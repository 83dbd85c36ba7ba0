//! Everything that can be read of a store, past all damage.

use std::collections::BTreeMap;
use std::sync::Arc;

use treering::storage::mem::MemStorage;
use treering::{Damage, Event, ReadAllOptions, ReadOptions, Store, StreamId, Visibility};

use crate::damage::shape::options;

/// What reading a changed store gave.
#[derive(Debug, Default)]
pub(in crate::damage) struct Found {
    /// What the log gives, by position.
    pub(in crate::damage) events: BTreeMap<u64, Event>,
    /// What streams give beyond it: their links lead to frames between two bad places whose borders nothing else tells.
    pub(in crate::damage) beside: BTreeMap<u64, Event>,
    /// What opening and reading reported.
    pub(in crate::damage) damage: Vec<Damage>,
    pub(in crate::damage) torn: Option<Damage>,
    pub(in crate::damage) heads: BTreeMap<String, u64>,
    pub(in crate::damage) end: u64,
    /// Where opening began to read.
    pub(in crate::damage) read_from: u64,
}

/// Everything that can be read, past all damage; the log and the streams must say the same.
pub(super) fn read(storage: &MemStorage, what: &str) -> Result<Found, treering::Error> {
    let store = Store::open_read_only_on(Arc::new(storage.clone()), options())?;
    Ok(read_store(&store, what))
}

fn read_store(store: &Store, what: &str) -> Found {
    let report = store.open_report();
    let mut found = Found { damage: report.damage.clone(), torn: report.torn_tail.clone(), ..Found::default() };
    found.end = store.watermarks().committed.0;
    found.read_from = report.read_from.0;
    let mut reader = store.read_all(ReadAllOptions::new().visibility(Visibility::Committed)).unwrap();
    let mut last = 0;
    let mut patience = 2_000;
    while let Some(next) = reader.next() {
        patience -= 1;
        assert!(patience > 0, "{what}: reading does not end");
        match next {
            Ok(event) => {
                assert!(event.position().0 > last, "{what}: positions rise");
                last = event.position().0;
                found.events.insert(last, event.hold());
            }
            Err(error) => match error.damage() {
                Some(damage) => found.damage.push(damage.clone()),
                None => panic!("{what}: reading says {error}"),
            },
        }
    }
    read_streams(store, &mut found, what);
    found
}

/// Reads every stream, forwards and backwards; each gives the events that the log gives of it, a fork also what its parent gives
/// up to its fork point, as far as anything says where that is.
fn read_streams(store: &Store, found: &mut Found, what: &str) {
    let mut by_stream: BTreeMap<StreamId, Vec<u64>> = BTreeMap::new();
    for (position, event) in &found.events {
        by_stream.entry(event.stream_id).or_default().push(*position);
    }
    let mut whole: BTreeMap<StreamId, Vec<u64>> = BTreeMap::new();
    for stream in store.streams().unwrap() {
        let mut wanted = match store.fork_point(&stream.name) {
            // A parent is older than its forks.
            Ok(Some(point)) => whole.get(&point.parent).cloned().unwrap_or_default(),
            Ok(None) => Vec::new(),
            Err(error) => {
                assert!(error.damage().is_some(), "{what}: where {:?} leaves its parent: {error}", stream.name);
                Vec::new()
            }
        };
        wanted.retain(|position| found.events[position].revision < stream.first);
        wanted.extend(by_stream.remove(&stream.id).unwrap_or_default());
        whole.insert(stream.id, wanted.clone());
        let forwards = read_stream(store, &stream.name, stream.head.0, false, found, what);
        let mut backwards = read_stream(store, &stream.name, stream.head.0, true, found, what);
        backwards.reverse();
        for (read, way) in [(forwards, "forwards"), (backwards, "backwards")] {
            let in_log: Vec<u64> = read.iter().copied().filter(|at| found.events.contains_key(at)).collect();
            assert_eq!(
                in_log, wanted,
                "{what}: {:?}, read {way}, holds what the log holds of it; {:#?}",
                stream.name, found.damage
            );
            let is_sound = in_log.len() == read.len() || !found.damage.is_empty();
            assert!(is_sound, "{what}: {:?} has more than a sound log", stream.name);
        }
        found.heads.insert(stream.name.to_string(), stream.head.0);
    }
    assert!(by_stream.is_empty(), "{what}: streams that are not listed: {by_stream:?}");
}

/// Reads a stream past all damage: the positions of its events. No revision is left out in silence.
fn read_stream(store: &Store, name: &str, head: u64, is_backwards: bool, found: &mut Found, what: &str) -> Vec<u64> {
    let options = ReadOptions::new().visibility(Visibility::Committed);
    let options = if is_backwards { options.backwards() } else { options };
    let mut reader = store.read_stream(name, options).unwrap();
    let mut read = Vec::new();
    // How many revisions lie behind, in the order of reading.
    let mut passed = 0;
    let mut gap_was_told = false;
    let mut patience = 2_000;
    while let Some(next) = reader.next() {
        patience -= 1;
        assert!(patience > 0, "{what}: reading {name:?} does not end");
        match next {
            Ok(event) => {
                let revision = event.revision().0;
                assert!(revision <= head, "{what}: {name:?} has revision {revision}, its head is {head}");
                let place = if is_backwards { head - revision } else { revision };
                assert!(
                    place == passed || gap_was_told && place > passed,
                    "{what}: {name:?} goes on with revision {revision} behind {passed} in silence"
                );
                gap_was_told = false;
                passed = place + 1;
                let position = event.position().0;
                read.push(position);
                let held = event.hold();
                match found.events.get(&position) {
                    Some(in_log) => assert_eq!(held, *in_log, "{what}: {name:?}"),
                    None => drop(found.beside.insert(position, held)),
                }
            }
            Err(error) => {
                assert!(error.damage().is_some(), "{what}: reading {name:?} says {error}");
                gap_was_told = true;
            }
        }
    }
    assert!(passed == head + 1 || gap_was_told, "{what}: {name:?} ends at {passed} in silence, its head is {head}");
    read
}
