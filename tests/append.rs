//! Appending: what a receipt says, when an expected revision is met, and that a batch happens whole or not at all.

use treering::storage::mem::MemStorage;
use treering::{
    Batch, BatchId, Durability, ErrorKind, Expected, NewEvent, Options, Position, ReadOptions, Revision, Store,
    Visibility,
};
use treering_tests::store::{everything, noise, open, put, small, stream, try_put};

fn all() -> ReadOptions<'static> {
    ReadOptions::new().visibility(Visibility::Committed)
}

/// The file that holds a position, in a store with the smallest segments.
fn segment_of(position: Position) -> u64 {
    position.0 / (16 << 10)
}

#[test]
fn p12_every_expectation_meets_every_state_of_a_stream() {
    let store = open(&MemStorage::new());
    // (expectation, met by a stream that does not exist, by one with head 0, by one with head 2)
    let table = [
        (Expected::Any, [true, true, true]),
        (Expected::NoStream, [true, false, false]),
        (Expected::Exists, [false, true, true]),
        (Expected::Exactly(Revision(0)), [false, true, false]),
        (Expected::Exactly(Revision(1)), [false, false, false]),
        (Expected::Exactly(Revision(2)), [false, false, true]),
        (Expected::Exactly(Revision(3)), [false, false, false]),
        (Expected::Exactly(Revision((1 << 63) - 1)), [false, false, false]),
    ];
    for (row, (expected, met)) in table.into_iter().enumerate() {
        for (state, met) in met.into_iter().enumerate() {
            let name = format!("{row} {state}");
            let events = [0, 1, 3][state];
            for _ in 0..events {
                let _ = put(&store, &name, b"before");
            }
            let before = store.watermarks().committed;
            let appended = store.append(&Batch::to(&name, expected, &[NewEvent::new("t", "new")]));
            if met {
                let receipt = appended.unwrap_or_else(|error| panic!("{expected:?} on {events}: {error}"));
                assert_eq!(receipt.sections[0].first_revision, Revision(events));
                assert_eq!(stream(&store, &name, all()).len() as u64, events + 1);
                continue;
            }
            let error = appended.expect_err("not met");
            let conflict = error.conflict().expect("a conflict says the actual head");
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert_eq!((&conflict.stream, conflict.actual), (&name, events.checked_sub(1).map(Revision)));
            assert_eq!(store.watermarks().committed, before, "a refused batch leaves no byte");
            assert_eq!(store.stream(&name).unwrap().map(|info| info.head), conflict.actual);
        }
    }
}

#[test]
fn p12_a_conflict_says_up_to_where_its_head_must_become_durable() {
    let store = open(&MemStorage::new());
    let head = put(&store, "s", b"written only");
    let _ = put(&store, "other", b"behind it");
    let refused = store.append(&Batch::to("s", Expected::NoStream, &[NewEvent::new("t", "x")])).unwrap_err();
    let conflict = refused.conflict().unwrap().clone();
    assert!(head.position < conflict.position && conflict.position <= head.end);
    assert!(store.watermarks().durable < conflict.position, "nothing was synced so far");
    store.wait_durable(conflict.position).unwrap();
    assert!(store.watermarks().durable >= conflict.position);
    assert!(store.event("s", conflict.actual.unwrap(), Visibility::Durable).unwrap().is_some());

    let none = store.append(&Batch::to("none", Expected::Exists, &[NewEvent::new("t", "x")])).unwrap_err();
    assert_eq!(none.conflict().unwrap().position, Position::ZERO);
    let beyond = store.wait_durable(Position(store.watermarks().committed.0 + 1)).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::Invalid, "waiting for what was never appended would never end");
}

#[test]
fn p02_a_conflict_in_the_last_section_leaves_nothing_of_the_others() {
    let store = open(&MemStorage::new());
    let _ = put(&store, "a", b"0");
    let _ = put(&store, "c", b"0");
    let (before, marks) = (everything(&store), store.watermarks());
    let events = [NewEvent::new("t", "1"), NewEvent::new("t", "2")];
    let batch = |last| {
        Batch::new()
            .section("a", Expected::Exactly(Revision(0)), &events)
            .section("b", Expected::NoStream, &events)
            .section("c", last, &events)
    };
    let refused = store.append(&batch(Expected::Exactly(Revision(7)))).unwrap_err();
    assert_eq!(refused.conflict().map(|conflict| conflict.stream.as_str()), Some("c"));
    assert_eq!((everything(&store), store.watermarks()), (before, marks));
    assert!(store.stream("b").unwrap().is_none());

    let receipt = store.append(&batch(Expected::Exactly(Revision(0)))).unwrap();
    assert_eq!(receipt.sections.iter().map(|section| &*section.stream).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(everything(&store).len(), 8);
}

#[test]
fn p03_a_receipt_says_where_the_events_are() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "a", b"0");
    let id = BatchId([7; 16]);
    let (two, three) = ([NewEvent::new("t", "x"); 2], [NewEvent::new("u", "y"); 3]);
    let batch = Batch::with_id(id).section("a", Expected::Any, &two).section("b", Expected::Any, &three);
    assert_eq!((batch.id(), batch.events()), (id, 5));
    let receipt = store.append(&batch.durability(Durability::Synced)).unwrap();
    assert_eq!((receipt.batch, receipt.level, receipt.is_repeated), (id, Durability::Synced, false));
    assert_eq!(receipt.epoch, store.open_report().epoch);
    assert_eq!(receipt.incarnation, store.open_report().incarnation);
    assert_eq!(receipt.end, store.watermarks().committed);
    assert!(store.watermarks().durable >= receipt.end);
    let [a, b] = &receipt.sections[..] else { panic!("{receipt:?}") };
    assert_eq!((&*a.stream, a.first_revision, a.last_revision), ("a", Revision(1), Revision(2)));
    assert_eq!((&*b.stream, b.first_revision, b.last_revision), ("b", Revision(0), Revision(2)));
    assert_eq!((a.first_position, b.first_position.0), (receipt.position, receipt.position.0 + 2));
    let read: Vec<_> = everything(&store).iter().skip(1).map(|event| event.position.0 - receipt.position.0).collect();
    assert_eq!(read, [0, 1, 2, 3, 4]);
    assert!(everything(&store).iter().skip(1).all(|event| event.batch == id));
}

#[test]
fn p03_every_field_of_an_event_comes_back_as_it_was_given() {
    let storage = MemStorage::new();
    let store = open(&storage);
    storage.set_clock(5_000);
    storage.set_clock_step(0);
    let payload: Vec<u8> = (0..=255).collect();
    let events = [
        NewEvent::new("bare", ""),
        NewEvent::new("full", &payload).id("id ü").metadata(br#"{"a":1}"#).occurred_at(i64::MIN).recorded_at(i64::MAX),
        NewEvent::new("past", "p").occurred_at(-1).recorded_at(-2),
        NewEvent::new("metadata only", "").metadata("m"),
    ];
    let _ = store.append(&Batch::to("s", Expected::Any, &events)).unwrap();
    for reopened in [false, true] {
        let store = if reopened { None } else { Some(&store) };
        let copy = storage.deep_copy().unwrap();
        let other = store.is_none().then(|| open(&copy));
        let store = store.or(other.as_ref()).unwrap();
        let read = stream(store, "s", all());
        let texts: Vec<_> = read.iter().map(|event| (&*event.event_type, event.id.as_deref())).collect();
        assert_eq!(texts, [("bare", None), ("full", Some("id ü")), ("past", None), ("metadata only", None)]);
        let times: Vec<_> = read.iter().map(|event| (event.recorded_at, event.occurred_at)).collect();
        assert_eq!(times, [(5_000, None), (i64::MAX, Some(i64::MIN)), (-2, Some(-1)), (5_000, None)]);
        let bodies: Vec<_> = read.iter().map(|event| (&event.metadata[..], &event.payload[..])).collect();
        assert_eq!(bodies, [(&b""[..], &b""[..]), (br#"{"a":1}"#, &payload), (b"", b"p"), (b"m", b"")]);
        assert_eq!(read.iter().map(|event| event.global_number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}

#[test]
fn p01_written_becomes_durable_with_the_next_sync_and_the_default_level_is_the_stores() {
    let storage = MemStorage::new();
    let options = small().durability(Durability::Written);
    let store = Store::open_on(std::sync::Arc::new(storage.clone()), options).unwrap();
    let written = store.append(&Batch::to("s", Expected::Any, &[NewEvent::new("t", "w")])).unwrap();
    assert_eq!(written.level, Durability::Written);
    assert!(store.watermarks().durable < written.end);
    assert!(stream(&store, "s", ReadOptions::new()).is_empty(), "readers see what is durable unless told otherwise");
    assert_eq!(stream(&store, "s", all()).len(), 1);
    assert_eq!(store.sync().unwrap(), written.end);
    assert_eq!(stream(&store, "s", ReadOptions::new()).len(), 1);

    let synced = try_put(&store, "s", b"s", Durability::Synced).unwrap();
    assert_eq!((synced.level, store.watermarks().durable), (Durability::Synced, synced.end));
    let pending = store.submit(&Batch::to("s", Expected::Any, &[NewEvent::new("t", "p")])).unwrap();
    assert_eq!(pending.receipt().level, Durability::Written);
    assert_eq!(stream(&store, "s", all()).len(), 3, "a submitted batch is in the log before anyone waits");
    assert_eq!(pending.wait().unwrap().level, Durability::Written);
}

#[test]
fn a_frame_of_ten_segments_gets_one_of_its_own() {
    for rounds in [1, 3] {
        let storage = MemStorage::new();
        let store = open(&storage);
        let _ = put(&store, "s", b"small");
        let big: Vec<Vec<u8>> = (0..rounds).map(|seed| noise(seed, 160 << 10)).collect();
        let receipts: Vec<_> = big.iter().map(|payload| put(&store, "s", payload)).collect();
        let behind = put(&store, "s", b"behind");
        for pair in receipts.windows(2) {
            assert!(segment_of(pair[1].position) > segment_of(pair[0].end), "each has a segment of its own");
        }
        assert!(behind.position >= receipts.last().unwrap().end);
        let before = everything(&store);
        store.close().unwrap();
        let store = open(&storage);
        assert!(store.open_report().was_clean && !store.open_report().has_rolled);
        let _ = put(&store, "s", b"after reopening");
        let read = everything(&store);
        assert_eq!(read[..before.len()], before);
        assert_eq!(&read.last().unwrap().payload[..], b"after reopening");
        for (event, payload) in read[1..].iter().zip(&big) {
            assert!(event.payload == payload[..], "payload at {}", event.position);
        }
        assert_eq!(stream(&store, "s", all().backwards()).len(), read.len());
    }
}

/// How much room is left in the active segment, by the arithmetic of the format: ordinal, base and end.
#[test]
fn p03_frames_at_the_edge_of_a_segment_are_kept_whole() {
    // Every payload length around the place where the frame no longer fits, so that the exact edge is among them.
    let mut rolled_at = Vec::new();
    for payload_len in (7_200..8_100).step_by(8).chain(15_200..15_400) {
        let storage = MemStorage::new();
        let store = open(&storage);
        let first = put(&store, "edge", &noise(1, payload_len));
        let _ = put(&store, "other", b"next");
        let last = put(&store, "edge", &noise(2, payload_len));
        let _ = put(&store, "edge", b"behind");
        rolled_at.push(segment_of(first.position) > 0);
        let before = everything(&store);
        assert_eq!(before.len(), 4, "{payload_len}");
        assert_eq!(before[2].position, last.position);
        store.close().unwrap();
        let store = open(&storage);
        assert!(store.open_report().damage.is_empty(), "{payload_len}: {:?}", store.open_report());
        assert_eq!(everything(&store), before, "{payload_len}");
        let _ = put(&store, "edge", b"once more");
        assert_eq!(everything(&store).len(), 5);
    }
    assert!(rolled_at.contains(&true) && rolled_at.contains(&false), "the edge lies within the lengths tried");
}

#[test]
fn p02_many_streams_in_one_batch_roll_together() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let names: Vec<String> = (0..300).map(|number| format!("stream number {number}")).collect();
    for round in 0..6u64 {
        let payload = noise(round, 50);
        let event = [NewEvent::new("t", &payload)];
        let batch = names.iter().fold(Batch::new(), |batch, name| batch.section(name, Expected::Any, &event));
        let receipt = store.append(&batch.durability(Durability::Written)).unwrap();
        assert!(receipt.sections.iter().all(|section| section.last_revision == Revision(round)));
        assert_eq!(receipt.sections.len(), names.len());
    }
    store.close().unwrap();
    let store = open(&storage);
    for name in &names {
        let payloads: Vec<_> = stream(&store, name, all()).iter().map(|event| event.payload.to_vec()).collect();
        assert_eq!(payloads, (0..6).map(|round| noise(round, 50)).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn options_out_of_range_are_refused_before_anything_is_made() {
    let storage = MemStorage::new();
    let bad = [
        Options::new().segment_bytes(8 << 10),
        Options::new().segment_bytes(8 << 30),
        Options::new().segment_bytes((16 << 10) + 1),
        Options::new().segment_bytes(16 << 10).index_stride_bytes(32 << 10),
        Options::new().index_stride_bytes(2 << 10),
        Options::new().compression(Some(treering::Compression { level: 20, min_bytes: 0 })),
        Options::new().compression(Some(treering::Compression { level: 0, min_bytes: 0 })),
    ];
    for options in bad {
        let shown = format!("{options:?}");
        let refused = Store::open_on(std::sync::Arc::new(storage.clone()), options);
        assert_eq!(refused.map(drop).map_err(|error| error.kind()), Err(ErrorKind::Invalid), "{shown}");
    }
    assert_eq!(storage.count(treering::storage::mem::Operation::Create), 0);
}
