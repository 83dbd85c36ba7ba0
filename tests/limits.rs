//! Every limit: reached, and passed by one. A refusal is typed and leaves the log as it was.

use treering::storage::mem::MemStorage;
use treering::{
    Batch, Durability, ErrorKind, Expected, NewEvent, Position, Result, Revision, Store, Visibility, limits,
};
use treering_tests::store::{everything, open, put};

/// Appends at the level Written; a refusal must not move the log.
fn append(store: &Store, batch: Batch<'_>) -> Result<()> {
    let before = store.watermarks().committed;
    let appended = store.append(&batch.durability(Durability::Written)).map(drop);
    assert_eq!(appended.is_ok(), store.watermarks().committed > before);
    appended
}

fn one<'a>(stream: &'a str, events: &'a [NewEvent<'a>]) -> Batch<'a> {
    Batch::to(stream, Expected::Any, events)
}

fn kind(result: Result<()>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn p07_names_types_and_ids_at_their_limit_and_one_over() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let event = [NewEvent::new("t", "x")];
    let text = |len: usize| "ü".repeat(len / 2) + &"x".repeat(len % 2);
    for (len, expected) in [
        (0, Some(ErrorKind::Invalid)),
        (1, None),
        (limits::STREAM_NAME_BYTES_MAX, None),
        (limits::STREAM_NAME_BYTES_MAX + 1, Some(ErrorKind::Limit)),
    ] {
        assert_eq!(kind(append(&store, one(&text(len), &event))), expected, "a name of {len} bytes");
    }
    for (len, expected) in [
        (0, Some(ErrorKind::Invalid)),
        (1, None),
        (limits::TYPE_BYTES_MAX, None),
        (limits::TYPE_BYTES_MAX + 1, Some(ErrorKind::Limit)),
    ] {
        let event_type = text(len);
        assert_eq!(kind(append(&store, one("s", &[NewEvent::new(&event_type, "x")]))), expected, "a type of {len}");
    }
    for (len, expected) in [
        (0, Some(ErrorKind::Invalid)),
        (1, None),
        (limits::EVENT_ID_BYTES_MAX, None),
        (limits::EVENT_ID_BYTES_MAX + 1, Some(ErrorKind::Limit)),
    ] {
        let id = text(len);
        assert_eq!(kind(append(&store, one("s", &[NewEvent::new("t", "x").id(&id)]))), expected, "an id of {len}");
    }
    for (name, expected) in
        [("$", Some(ErrorKind::Invalid)), ("$x", Some(ErrorKind::Invalid)), ("x$", None), (" $", None), ("\0", None)]
    {
        assert_eq!(kind(append(&store, one(name, &event))), expected, "the name {name:?}");
    }
    let before = everything(&store);
    store.close().unwrap();
    let store = open(&storage);
    assert_eq!(everything(&store), before);
    assert!(before.iter().any(|event| event.event_type.len() == limits::TYPE_BYTES_MAX));
    assert!(store.stream(&text(limits::STREAM_NAME_BYTES_MAX)).unwrap().is_some());
}

#[test]
fn p07_empty_batches_and_a_stream_that_stands_twice_are_refused() {
    let store = open(&MemStorage::new());
    let event = [NewEvent::new("t", "x")];
    assert_eq!(kind(append(&store, Batch::new())), Some(ErrorKind::Invalid));
    assert_eq!(kind(append(&store, one("s", &[]))), Some(ErrorKind::Invalid));
    let half = one("s", &event).section("u", Expected::Any, &[]);
    assert_eq!(kind(append(&store, half)), Some(ErrorKind::Invalid));
    let twice = one("s", &event).section("u", Expected::Any, &event).section("s", Expected::Any, &event);
    assert_eq!(kind(append(&store, twice)), Some(ErrorKind::Invalid));
    assert!(everything(&store).is_empty() && store.streams().unwrap().is_empty());
}

#[test]
fn p07_expected_revisions_end_below_two_to_the_63() {
    let store = open(&MemStorage::new());
    let _ = put(&store, "s", b"x");
    let event = [NewEvent::new("t", "x")];
    for (revision, expected) in [
        ((1 << 63) - 1, ErrorKind::Conflict),
        (1 << 63, ErrorKind::Limit),
        ((1 << 63) + 1, ErrorKind::Limit),
        (u64::MAX, ErrorKind::Limit),
    ] {
        let batch = Batch::to("s", Expected::Exactly(Revision(revision)), &event);
        assert_eq!(kind(append(&store, batch)), Some(expected), "{revision}");
    }
    for revision in [1, 1 << 63, u64::MAX] {
        assert_eq!(store.event("s", Revision(revision), Visibility::Committed).unwrap(), None);
        let options = treering::ReadOptions::new().visibility(Visibility::Committed);
        let ask = |options| treering_tests::store::stream(&store, "s", options).len();
        assert_eq!(ask(options.from(Revision(revision))), 0);
        assert_eq!(ask(options.to(Revision(revision))), 1);
        assert_eq!(ask(options.from(Revision(revision)).backwards()), 1);
        assert_eq!(ask(options.to(Revision(revision)).backwards()), 0);
        assert_eq!(ask(options.last(revision)), 1);
        assert_eq!(ask(options.last(revision).backwards().from(Revision(revision))), 1);
    }
    for position in [1 << 63, u64::MAX - 1, u64::MAX] {
        let options = treering::ReadAllOptions::new().from(Position(position)).visibility(Visibility::Committed);
        assert!(treering_tests::store::log(&store, options).is_empty());
        let after = treering::SubscribeOptions::all().after(Position(position)).visibility(Visibility::Committed);
        assert_eq!(store.subscribe(after).unwrap().try_next().unwrap(), None);
    }
}

#[test]
fn p07_metadata_of_16_mib_and_one_byte_more() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let metadata = vec![3; limits::METADATA_BYTES_MAX + 1];
    let over = [NewEvent::new("t", "x").metadata(&metadata)];
    assert_eq!(kind(append(&store, one("s", &over))), Some(ErrorKind::Limit));
    let most = &metadata[1..];
    append(&store, one("s", &[NewEvent::new("t", "x").metadata(most)])).unwrap();
    assert!(everything(&store)[0].metadata == most);
}

#[test]
fn p07_a_batch_beyond_1_gib_is_refused_without_copying_it() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "s", b"x");
    let zeros = vec![0; limits::BATCH_BYTES_MAX + 1]; // never touched, so never in memory
    let written = storage.written_bytes();
    assert_eq!(kind(append(&store, one("s", &[NewEvent::new("t", &zeros)]))), Some(ErrorKind::Limit));
    let half = NewEvent::new("t", &zeros[..limits::BATCH_BYTES_MAX / 2]);
    let (whole, one_more) = ([half, half], [NewEvent::new("t", "").metadata("m")]);
    let over = one("s", &whole).section("u", Expected::Any, &one_more);
    assert_eq!(kind(append(&store, over)), Some(ErrorKind::Limit));
    assert_eq!(storage.written_bytes(), written);
}

#[test]
fn p07_a_batch_of_two_to_the_20_events_and_one_more() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let events = vec![NewEvent::new("t", "x"); limits::BATCH_EVENTS_MAX + 1];
    assert_eq!(kind(append(&store, one("s", &events))), Some(ErrorKind::Limit));
    let most = &events[1..];
    let split = one("s", most).section("u", Expected::Any, &events[..1]);
    assert_eq!(kind(append(&store, split)), Some(ErrorKind::Limit), "all sections count together");
    append(&store, one("s", most)).unwrap();
    append(&store, one("s", &events[..1])).unwrap();
    store.close().unwrap();
    let store = open(&storage);
    assert_eq!(store.stat().unwrap().events, limits::BATCH_EVENTS_MAX as u64 + 1);
    let last = limits::BATCH_EVENTS_MAX as u64;
    for revision in [0, 1, 15, 16, 17, last / 2, last - 1, last] {
        let event = store.event("s", Revision(revision), Visibility::Durable).unwrap().unwrap();
        assert_eq!((event.revision, event.global_number), (Revision(revision), revision));
    }
    assert_eq!(store.event("s", Revision(last + 1), Visibility::Durable).unwrap(), None);
}

#[test]
fn p07_a_batch_of_two_to_the_16_sections_and_one_more() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let names: Vec<String> = (0..=limits::BATCH_SECTIONS_MAX).map(|number| format!("{number:x}")).collect();
    let event = [NewEvent::new("t", "x")];
    let of = |names: &[String]| -> Result<()> {
        append(&store, names.iter().fold(Batch::new(), |batch, name| batch.section(name, Expected::Any, &event)))
    };
    assert_eq!(kind(of(&names)), Some(ErrorKind::Limit));
    of(&names[1..]).unwrap();
    of(&names[1..]).unwrap();
    store.close().unwrap();
    let store = open(&storage);
    assert_eq!(store.stat().unwrap().streams, limits::BATCH_SECTIONS_MAX as u64);
    for name in [&names[1], &names[777], &names[limits::BATCH_SECTIONS_MAX]] {
        assert_eq!(store.stream(name).unwrap().unwrap().head, Revision(1));
        assert!(store.event(name, Revision(1), Visibility::Durable).unwrap().is_some());
    }
    // Each section costs the same, whichever of the frame's it is.
    assert_eq!(everything(&store).len(), 2 * limits::BATCH_SECTIONS_MAX);
}
