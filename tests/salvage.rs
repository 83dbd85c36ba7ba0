//! Salvage: everything that proves itself comes over, and nothing of the old store is touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use treering::maintain;
use treering::storage::Storage;
use treering::storage::mem::MemStorage;
use treering::{Batch, ErrorKind, Event, Expected, NewEvent, ReadAllOptions, Store, Visibility};
use treering_tests::image::Image;
use treering_tests::store::{noise, open, open_read_only};

fn filled() -> MemStorage {
    let storage = MemStorage::new();
    let store = open(&storage);
    for number in 0..60u64 {
        let payload = noise(number, 40 + 199 * (number as usize % 5));
        let id = format!("id {number}");
        let events = [
            NewEvent::new("t", &payload).id(&id).metadata("{}").occurred_at(number as i64 - 30),
            NewEvent::new("u", "").recorded_at(1_000 + number as i64),
        ];
        let one = format!("stream {}", number % 4);
        let batch = Batch::new().section(&one, Expected::Any, &events).section("all", Expected::Any, &events[1..]);
        let _ = store.append(&batch).unwrap();
    }
    store.close().unwrap();
    storage
}

fn readable(store: &Store) -> Vec<Event> {
    let mut reader = store.read_all(ReadAllOptions::new().visibility(Visibility::Committed)).unwrap();
    let mut events = Vec::new();
    while let Some(event) = reader.next() {
        match event {
            Ok(event) => events.push(event.hold()),
            Err(error) => assert!(error.damage().is_some(), "{error}"),
        }
    }
    events
}

/// An event without its places, which are others in another log.
fn content(event: &Event) -> impl PartialEq + std::fmt::Debug {
    (
        event.batch,
        event.id.clone(),
        event.event_type.clone(),
        (event.recorded_at, event.occurred_at),
        (event.metadata.clone(), event.payload.clone()),
    )
}

/// Salvages, and holds what came over against what can be read of the old store.
fn check(storage: &MemStorage, when: &str) -> maintain::SalvageReport {
    let before = Image::take(storage);
    let old = readable(&open_read_only(storage));
    let target = MemStorage::with_seed(3);
    let report = maintain::salvage_on(Arc::new(storage.clone()), Arc::new(target.clone()), &mut ())
        .unwrap_or_else(|error| panic!("{when}: {error}"));
    assert!(Image::take(storage) == before, "{when}: the old store is only read");
    let new = readable(&open_read_only(&target));
    assert!(old.iter().map(content).eq(new.iter().map(content)), "{when}: {} events, {}", old.len(), new.len());
    assert_eq!(report.events, new.len() as u64, "{when}");
    assert!(maintain::verify_on(Arc::new(target), &mut ()).unwrap().is_clean(), "{when}");
    // Old revisions lead to the new ones by the ranges that moved.
    let mut moved = BTreeMap::new();
    for range in &report.moved {
        for number in 0..range.events {
            moved.insert((range.old_stream, range.old_first.0 + number), range.new_first.0 + number);
        }
    }
    for (old, new) in old.iter().zip(&new) {
        let expected = moved.get(&(old.stream_id, old.revision.0)).copied().unwrap_or(old.revision.0);
        assert_eq!(new.revision.0, expected, "{when}: {} {}", old.stream, old.revision);
    }
    report
}

#[test]
fn p05_salvage_copies_every_event_that_can_be_read() {
    let storage = filled();
    let whole = check(&storage, "a sound store");
    assert!(whole.damage.is_empty() && whole.moved.is_empty() && whole.missing.is_empty(), "{whole:?}");
    assert_eq!((whole.events, whole.streams), (180, 5));
    let image = Image::take(&storage);
    let names: Vec<String> = image.0.keys().filter(|name| name.ends_with(".segment")).cloned().collect();
    assert!(names.len() >= 3);
    for number in 0..150u64 {
        let random = noise(number, 12);
        let pick = |at: usize| u32::from_le_bytes(random[at..at + 4].try_into().unwrap()) as usize;
        let name = &names[pick(0) % names.len()];
        let mut flipped = image.clone();
        let bytes = flipped.0.get_mut(name).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        let at = pick(4) % end;
        bytes[at] ^= (pick(8) % 255 + 1) as u8;
        flipped.put_back(&storage);
        let _ = check(&storage, &format!("byte {at} of {name}"));
    }
    for name in &names {
        let mut missing = image.clone();
        missing.0.remove(name);
        missing.put_back(&storage);
        let report = check(&storage, &format!("without {name}"));
        assert!(!report.damage.is_empty(), "without {name}");
    }
}

#[test]
fn p05_salvage_makes_a_new_store_only() {
    let storage = filled();
    let other = filled();
    let before = Image::take(&other);
    let refused = maintain::salvage_on(Arc::new(storage), Arc::new(other.clone()), &mut ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(Image::take(&other).0.get("identity"), before.0.get("identity"));
    let nothing = MemStorage::new();
    let refused = maintain::salvage_on(Arc::new(nothing.clone()), Arc::new(MemStorage::new()), &mut ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(nothing.list().unwrap().is_empty());
}
