//! A batch that is appended again: recognised by its id, answered with the first receipt, and a conflict where the same
//! id stands for something else.

use treering::storage::mem::MemStorage;
use treering::{Batch, BatchId, Durability, ErrorKind, Expected, NewEvent, Receipt, Revision, Store, limits};
use treering_tests::store::{everything, open, put, try_open};

fn id(number: u64) -> BatchId {
    let mut id = [0xB0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    BatchId(id)
}

/// The first receipt, as a retry must answer it: only the level may have risen since.
fn again(first: &Receipt) -> Receipt {
    Receipt { is_repeated: true, level: Durability::Synced, ..first.clone() }
}

fn expectations() -> [(&'static str, Expected); 4] {
    [
        ("any", Expected::Any),
        ("new", Expected::NoStream),
        ("exists", Expected::Exists),
        ("exactly", Expected::Exactly(Revision(1))),
    ]
}

fn before_all(store: &Store) {
    for name in ["any", "exists", "exactly"] {
        let _ = put(store, name, b"0");
        let _ = put(store, name, b"1");
    }
}

#[test]
fn p12_a_retry_returns_the_first_receipt_through_later_events_and_openings() {
    let storage = MemStorage::new();
    let mut store = open(&storage);
    before_all(&store);
    let side = [NewEvent::new("side", "s")];
    let events = [NewEvent::new("t", "one").id("i").metadata("m").occurred_at(5), NewEvent::new("u", "two")];
    let batch = |number: usize, name: &'static str, expected| {
        Batch::with_id(id(number as u64)).section(name, expected, &events).section("side", Expected::Any, &side)
    };
    let first: Vec<Receipt> = expectations()
        .iter()
        .enumerate()
        .map(|(number, (name, expected))| store.append(&batch(number, name, *expected)).unwrap())
        .collect();
    assert!(first.iter().all(|receipt| !receipt.is_repeated));
    // At once; behind later events of the same streams, segments further on; after a clean opening; after a kill.
    for round in 0..4 {
        let log = everything(&store);
        for (number, (name, expected)) in expectations().into_iter().enumerate() {
            let retried = store.append(&batch(number, name, expected)).unwrap();
            assert_eq!(retried, again(&first[number]), "round {round}, {name}");
        }
        assert_eq!(everything(&store), log, "a retry appends nothing");
        match round {
            0 => {
                for (name, _) in expectations().into_iter().cycle().take(40) {
                    let _ = put(&store, name, &[0; 1000]);
                }
                assert!(store.stat().unwrap().segments > 1);
            }
            1 => {
                store.close().unwrap();
                store = open(&storage);
                assert!(store.open_report().was_clean);
            }
            _ => {
                storage.fail_after(0, std::io::ErrorKind::Other, true);
                drop(store);
                storage.clear_fault();
                store = open(&storage);
            }
        }
    }
}

#[test]
fn p12_a_batch_value_appended_twice_is_a_retry_where_it_expects_a_revision() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let event = [NewEvent::new("t", "x")];
    for expected in [Expected::NoStream, Expected::Exactly(Revision(0)), Expected::Exactly(Revision(1))] {
        let batch = Batch::to("s", expected, &event); // its id is random
        let first = store.append(&batch).unwrap();
        assert_eq!(store.append(&batch).unwrap(), again(&first));
        let other = store.append(&Batch::to("s", expected, &event)).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Conflict, "the same events under another id are no retry");
    }
    let batch = Batch::to("s", Expected::Any, &event);
    let (first, second) = (store.append(&batch).unwrap(), store.append(&batch).unwrap());
    assert!(first.position < second.position, "without an id of the caller's and a revision nothing tells a retry");
}

#[test]
fn p12_a_known_id_with_other_content_is_a_conflict() {
    let store = open(&MemStorage::new());
    before_all(&store);
    let events = [NewEvent::new("t", "one").id("i").metadata("m").occurred_at(5).recorded_at(6)];
    let [event] = events;
    let first = store.append(&Batch::with_id(id(1)).section("any", Expected::Any, &events)).unwrap();
    let log = everything(&store);
    let others = [
        vec![NewEvent::new("t", "One").id("i").metadata("m").occurred_at(5).recorded_at(6)],
        vec![NewEvent::new("T", "one").id("i").metadata("m").occurred_at(5).recorded_at(6)],
        vec![event.id("j")],
        vec![event.metadata("n")],
        vec![event.metadata("")],
        vec![event.occurred_at(6)],
        vec![event.recorded_at(7)],
        vec![NewEvent::new("t", "one").metadata("m").occurred_at(5).recorded_at(6)],
        vec![NewEvent::new("t", "one").id("i").metadata("m").recorded_at(6)],
        vec![NewEvent::new("t", "one").id("i").metadata("m").occurred_at(5)],
        vec![event, event],
    ];
    for (number, other) in others.iter().enumerate() {
        let batch = Batch::with_id(id(1)).section("any", Expected::Any, other);
        let refused = store.append(&batch).expect_err(&format!("change {number}"));
        assert_eq!(refused.kind(), ErrorKind::Conflict, "change {number}");
        assert_eq!(refused.conflict().unwrap().actual, Some(Revision(2)));
    }
    let elsewhere = Batch::with_id(id(1)).section("exists", Expected::Any, &events);
    assert_eq!(store.append(&elsewhere).unwrap_err().kind(), ErrorKind::Conflict);
    let one_more =
        Batch::with_id(id(1)).section("any", Expected::Any, &events).section("exists", Expected::Any, &events);
    assert_eq!(store.append(&one_more).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(everything(&store), log);
    let retried = store.append(&Batch::with_id(id(1)).section("any", Expected::Any, &events)).unwrap();
    assert_eq!(retried, again(&first));
}

#[test]
fn p12_a_retry_of_a_batch_that_was_only_written_waits_for_its_sync() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let event = [NewEvent::new("t", "x")];
    let batch = Batch::with_id(id(9)).section("s", Expected::Any, &event);
    let written = store.append(&batch.clone().durability(Durability::Written)).unwrap();
    let repeated = store.append(&batch.clone().durability(Durability::Written)).unwrap();
    assert_eq!((repeated.level, repeated.is_repeated), (Durability::Written, true));
    assert!(store.watermarks().durable < written.end);
    let synced = store.append(&batch.durability(Durability::Synced)).unwrap();
    assert_eq!(synced, again(&written));
    assert!(store.watermarks().durable >= written.end);
}

#[test]
fn p12_given_ids_are_remembered_up_to_the_window_and_exact_revisions_beyond_it() {
    let storage = MemStorage::new();
    let store = try_open(&storage).unwrap();
    let event = [NewEvent::new("t", "x")];
    let any = |number| Batch::with_id(id(number)).section("s", Expected::Any, &event).durability(Durability::Written);
    let exact = Batch::with_id(id(1 << 40)).section("x", Expected::NoStream, &event);
    let exact_first = store.append(&exact).unwrap();
    let first = store.append(&any(0)).unwrap();
    let second = store.append(&any(1)).unwrap();
    for number in 2..limits::RETRY_WINDOW_BATCHES as u64 {
        let _ = store.append(&any(number)).unwrap();
    }
    store.close().unwrap();
    let store = try_open(&storage).unwrap();
    // `exact`, and the batches from 0 on: one more than the window holds, so that only `exact` fell out.
    assert_eq!(store.append(&any(0)).unwrap(), again(&first));
    let _ = store.append(&any(limits::RETRY_WINDOW_BATCHES as u64)).unwrap();
    let forgotten = store.append(&any(0)).unwrap();
    assert!(!forgotten.is_repeated && forgotten.position > first.position, "beyond the window it is a new batch");
    // That new one made the window lose the next oldest.
    assert!(!store.append(&any(1)).unwrap().is_repeated);
    assert!(second.position > first.position);
    assert_eq!(store.append(&exact).unwrap(), again(&exact_first), "an exact revision needs no window");
}
