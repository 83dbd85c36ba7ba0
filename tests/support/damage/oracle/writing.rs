//! What is asked of a writer: what may be appended is appended where nothing ever was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use treering::{Batch, DamageClass, Durability, ErrorKind, Expected, NewEvent, Store};

use super::reading::{Found, read};
use super::{Change, uncovered};
use crate::damage::golden::Golden;
use crate::damage::shape::options;
use crate::image::Image;

/// What is asked of a writer: what may be appended is appended where nothing ever was.
pub(super) fn check_writing(golden: &Golden, change: &Change, had: &Found) {
    let what = &change.what;
    let before = Image::take(&golden.storage);
    // To start and to end threads takes longer than all the rest: they are there behind one change in eight, else what they do
    // is done here.
    let has_threads = what.bytes().fold(0, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(byte)).is_multiple_of(8);
    let options = || options().background_threads(has_threads);
    let store = match Store::open_on(Arc::new(golden.storage.clone()), options()) {
        Ok(store) => store,
        Err(error) => {
            let is_expected = match error.kind() {
                ErrorKind::Damage | ErrorKind::NotFound | ErrorKind::NotAStore => change.touches("identity"),
                _ => false,
            };
            assert!(is_expected, "{what}: opening for writing says {error:?}");
            assert!(Image::take(&golden.storage) == before, "{what}: a refused opening changed a file");
            return;
        }
    };
    let lost = change.lost(golden);
    let witness = change.witness(golden);
    let is_torn = had.torn.is_some() || lost.iter().any(|position| *position >= witness);
    let mut appended = BTreeMap::new();
    let mut heads: BTreeMap<&str, u64> = BTreeMap::new();
    for event in golden.events.values().filter(|event| event.position.0 < witness || !is_torn) {
        heads.insert(&event.stream, event.revision.0);
    }
    let last_position = golden.events.keys().last().copied().unwrap_or(0);
    for (round, name) in heads.keys().copied().chain(["fresh"]).chain(heads.keys().copied()).enumerate() {
        let payload = format!("behind it all {round}");
        let events = [NewEvent::new("added", &payload)];
        let appending = store.append(&Batch::to(name, Expected::Any, &events).durability(Durability::Synced));
        match appending {
            Ok(receipt) => {
                let revision = receipt.sections[0].first_revision.0;
                let truth = heads.get(name);
                let known = appended.values().filter(|(other, _, _)| other == name).map(|(_, revision, _)| *revision);
                let due = known.max().or(truth.copied()).map_or(0, |head| head + 1);
                let may_differ = is_torn && revision > 0;
                assert!(revision == due || may_differ && revision > due, "{what}: {name:?} {revision}, not {due}");
                assert!(receipt.position.0 > last_position, "{what}: {} was given before", receipt.position);
                appended.insert(receipt.position.0, (name.to_owned(), revision, payload.clone()));
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::HeadUnknown, "{what}: {error:?}"),
        }
    }
    if had.damage.iter().all(|damage| damage.file == "identity" || damage.positions.is_empty()) {
        assert!(appended.len() > heads.len(), "{what}: nothing is in doubt");
    }
    if !has_threads {
        store.work_in_background().unwrap();
    }
    store.close().unwrap();
    let after = Image::take(&golden.storage);
    for (file, bytes) in before.0.iter().filter(|(file, _)| golden.ends.contains_key(*file) || *file == "identity") {
        // A torn tail is void from now on; its blocks may be given back.
        let read_to = had.end.saturating_sub(golden.base(file)).min(bytes.len() as u64);
        let end = golden.ends.get(file).map_or(bytes.len() as u64, |end| (*end).min(read_to)) as usize;
        assert!(after.0[file][..end] == bytes[..end], "{what}: {file} was changed below the end of the log");
    }
    for round in 0..2 {
        let again = read(&golden.storage, what).unwrap_or_else(|error| panic!("{what}: reopened: {error:?}"));
        check_again(what, had, &again, &appended, round);
        check_still_told(golden, &before, change, had, &again);
        if round == 0 {
            let store = Store::open_on(Arc::new(golden.storage.clone()), options());
            drop(store.unwrap_or_else(|error| panic!("{what}: opened again: {error:?}")));
        }
    }
}

/// A later opening finds what was there, what was appended, and the same damage.
fn check_again(what: &str, had: &Found, again: &Found, appended: &BTreeMap<u64, (String, u64, String)>, round: usize) {
    let mut wanted: Vec<u64> = had.events.keys().copied().collect();
    wanted.extend(appended.keys());
    assert!(
        again.events.keys().copied().eq(wanted.iter().copied()),
        "{what}: reopened {round}, {:?} for {wanted:?}",
        again.events.keys().collect::<Vec<_>>()
    );
    for (position, (name, revision, payload)) in appended {
        let event = &again.events[position];
        assert_eq!((&*event.stream, event.revision.0, &event.payload[..]), (&**name, *revision, payload.as_bytes()));
    }
    let mut given = BTreeSet::new();
    for event in again.events.values() {
        assert!(given.insert((event.stream_id, event.revision)), "{what}: given twice: {event:?}");
    }
}

/// What was reported is reported still. An index block that was written since may show that some of it was whole.
fn check_still_told(golden: &Golden, before: &Image, change: &Change, had: &Found, again: &Found) {
    for damage in had.damage.iter().filter(|damage| damage.class != DamageClass::TornTail) {
        let byte = |image: &Image, at: u64| image.0.get(&damage.file).and_then(|bytes| bytes.get(at as usize).copied());
        let is_changed =
            |at: &u64| byte(before, *at) != byte(&golden.image, *at) && !golden.is_padding(&damage.file, *at);
        let untold = uncovered(&again.damage, &damage.file, damage.bytes.clone()).find(is_changed);
        assert_eq!(untold, None, "{}: {damage} is not reported any more: {:#?}", change.what, again.damage);
    }
}
