//! Cursors: named durable places of consumers, moved with what a consumer has made of the events, or now and then.

use std::time::Duration;

use treering::storage::mem::MemStorage;
use treering::{
    Batch, Durability, ErrorKind, Event, Expected, NewEvent, NewSnapshot, Position, ReadAllOptions, Revision, Store,
    StoreId, SubscribeOptions, Token, Visibility,
};
use treering_tests::store::{everything, log, open, open_read_only, put};

fn fill(store: &Store, count: u64) {
    for number in 0..count {
        let _ = put(store, "s", format!("event {number}").as_bytes());
    }
}

fn behind(store: &Store, token: Option<Token>) -> Vec<Event> {
    let mut options = ReadAllOptions::new().visibility(Visibility::Committed);
    if let Some(token) = &token {
        options = options.after_token(token);
    }
    log(store, options)
}

#[test]
fn p16_a_cursor_goes_on_where_it_was_saved_and_writes_no_more_often_than_it_may() {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, 500);
    let mut cursor = store.cursor("consumer").unwrap().interval(Duration::from_secs(3600));
    assert_eq!(cursor.token(), None);
    assert!(store.cursor_place("consumer").unwrap().is_none());
    for event in behind(&store, None).iter().take(400) {
        cursor.advance(&event.token()).unwrap();
    }
    // Written at the first event, and not since.
    let place = store.cursor_place("consumer").unwrap().unwrap();
    assert_eq!((place.revision, place.token.number, place.lag_events), (Revision(0), 0, 499));
    cursor.save().unwrap();
    let place = store.cursor_place("consumer").unwrap().unwrap();
    assert_eq!((place.revision, place.token.number), (Revision(1), 399));
    assert_eq!(place.lag_events, 100);
    cursor.save().unwrap();
    assert_eq!(store.cursor_place("consumer").unwrap().unwrap().revision, Revision(1), "it did not move");
    drop(cursor);
    store.close().unwrap();
    let store = open(&storage);
    let cursor = store.cursor("consumer").unwrap();
    let rest = behind(&store, cursor.token());
    assert_eq!(rest.iter().map(|event| event.revision.0).collect::<Vec<_>>(), (400..500).collect::<Vec<_>>());
    // What was not saved comes again: dropping it writes the place.
    let mut cursor = store.cursor("consumer").unwrap().interval(Duration::from_secs(3600));
    for event in &rest[..50] {
        cursor.advance(&event.token()).unwrap();
    }
    drop(cursor);
    assert_eq!(behind(&store, store.cursor("consumer").unwrap().token()).len(), 50);
    // Who reads or follows the whole log meets none of this.
    assert_eq!(everything(&store).len(), 500);
    assert_eq!(store.streams().unwrap().len(), 1);
    let mut all = store.subscribe(SubscribeOptions::all().visibility(Visibility::Committed)).unwrap();
    let mut followed = 0;
    while all.try_next().unwrap().is_some() {
        followed += 1;
    }
    assert_eq!(followed, 500);
}

#[test]
fn p16_who_has_read_the_whole_log_is_0_behind_whatever_the_engine_keeps_in_it() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let summary = [NewEvent::new("summary", "all of it")];
    for round in 0..200u64 {
        fill(&store, 1 + round % 3);
        let token = everything(&store).last().unwrap().token();
        let results = [NewEvent::new("sum", "1"), NewEvent::new("sum", "2")];
        let batch = Batch::new().cursor("often", &token, Expected::Any);
        let batch = if round % 2 == 0 { batch.section("sums", Expected::Any, &results) } else { batch };
        let _ = store.append(&batch.durability(Durability::Written)).unwrap();
        if round % 20 == 7 {
            let end = store.stream("s").unwrap().unwrap().head;
            let _ = store.snapshot(&NewSnapshot::new("s", Revision(0)..end, "summary", &summary)).unwrap();
        }
    }
    let events = everything(&store);
    let place = store.cursor_place("often").unwrap().unwrap();
    let behind = events.iter().filter(|event| event.position > place.token.position()).count() as u64;
    assert_eq!(place.lag_events, behind);
    for (index, event) in events.iter().enumerate().rev().step_by(7) {
        let _ = store.append(&Batch::new().cursor("any", &event.token(), Expected::Any)).unwrap();
        let behind = (events.len() - 1 - index) as u64;
        assert_eq!(store.cursor_place("any").unwrap().unwrap().lag_events, behind, "at {}", event.position);
    }
    let origin = Token { frame: Position::ZERO, ordinal: 0, number: 0, frame_check: 0, ..events[0].token() };
    let _ = store.append(&Batch::new().cursor("none", &origin, Expected::Any)).unwrap();
    let last = events.last().unwrap().token();
    let _ = store.append(&Batch::new().cursor("all", &last, Expected::Any)).unwrap();
    let lags = |store: &Store| -> Vec<(String, u64)> {
        let places = store.cursors().unwrap().into_iter();
        places.map(|(name, place)| (name.to_string(), place.unwrap().lag_events)).collect()
    };
    let found = lags(&store);
    let of = |name: &str| found.iter().find(|(of, _)| of == name).unwrap().1;
    assert_eq!((of("all"), of("none"), of("often")), (0, events.len() as u64, behind));
    store.close().unwrap();
    assert_eq!(lags(&open_read_only(&storage)), found);
    assert_eq!(lags(&open(&storage)), found);
}

/// A consumer that counts letters and dies between any two of its steps; its sums and its place are one batch.
#[test]
fn p02_a_consumer_that_moves_its_cursor_with_its_results_counts_every_event_once() {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, 60);
    store.close().unwrap();
    for round in 0..20u64 {
        let store = open(&storage);
        let place = store.cursor_place("sums").unwrap();
        let mut expected = place.as_ref().map_or(Expected::NoStream, |place| Expected::Exactly(place.revision));
        let options = ReadAllOptions::new().visibility(Visibility::Committed).stream_prefix("s");
        let token = place.map(|place| place.token);
        let options = token.as_ref().map_or(options, |token| options.after_token(token));
        for (number, event) in log(&store, options).into_iter().filter(|event| &*event.stream == "s").enumerate() {
            if number as u64 == 3 + round % 3 {
                break; // it dies here
            }
            let sum = event.payload.len().to_string();
            let results = [NewEvent::new("sum", &sum)];
            let token = event.token();
            let batch = || {
                let sums = Batch::new().section("sums", Expected::Any, &results);
                sums.cursor("sums", &token, expected).durability(Durability::Written)
            };
            let receipt = store.append(&batch()).unwrap();
            assert_eq!(receipt.sections.len(), 1, "the receipt is of the caller's sections");
            let revision = store.cursor_place("sums").unwrap().unwrap().revision;
            // Another one that takes it for dead is refused, and nothing of its batch is there.
            let error = store.append(&batch()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
            expected = Expected::Exactly(revision);
        }
        drop(store);
    }
    let store = open(&storage);
    let of = |stream: &str| everything(&store).into_iter().filter(|event| &*event.stream == stream).collect::<Vec<_>>();
    let lens: Vec<String> = of("s").iter().map(|event| event.payload.len().to_string()).collect();
    let sums: Vec<String> = of("sums").iter().map(|event| String::from_utf8(event.payload.to_vec()).unwrap()).collect();
    assert_eq!(sums, lens);
}

#[test]
fn p12_of_two_holders_of_a_cursor_the_second_one_is_told() {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, 10);
    let tokens: Vec<Token> = everything(&store).iter().map(Event::token).collect();
    let (mut one, mut two) = (store.cursor("c").unwrap(), store.cursor("c").unwrap());
    one.advance(&tokens[3]).unwrap();
    assert_eq!(two.advance(&tokens[5]).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(two.save().unwrap_err().kind(), ErrorKind::Conflict);
    one.advance(&tokens[4]).unwrap();
    one.save().unwrap();
    drop(two);
    assert_eq!(store.cursor_place("c").unwrap().unwrap().token, tokens[4]);
    // Set back on purpose, whatever it was.
    let _ = store.append(&Batch::new().cursor("c", &tokens[0], Expected::Any)).unwrap();
    assert_eq!(behind(&store, store.cursor("c").unwrap().token()).len(), 9);
}

#[test]
fn p07_what_cannot_be_a_cursor_is_refused_with_nothing_written() {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, 3);
    let token = everything(&store)[1].token();
    let end = store.watermarks().committed;
    let refused = |batch: &Batch<'_>, kind: ErrorKind| {
        let error = store.append(batch).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(store.watermarks().committed, end);
    };
    let foreign = Token { store: StoreId([9; 16]), ..token };
    refused(&Batch::new().cursor("c", &foreign, Expected::Any), ErrorKind::ForeignToken);
    refused(&Batch::new().cursor("", &token, Expected::Any), ErrorKind::Invalid);
    refused(&Batch::new().cursor(&"c".repeat(256), &token, Expected::Any), ErrorKind::Limit);
    let twice = Batch::new().cursor("c", &token, Expected::Any).cursor("c", &token, Expected::Any);
    refused(&twice, ErrorKind::Invalid);
    let unmet = Batch::new().cursor("c", &token, Expected::Exactly(Revision(0)));
    refused(&unmet, ErrorKind::Conflict);
    let events = [NewEvent::new("t", "x")];
    let reserved = Batch::new().section("$cursor/c", Expected::Any, &events).cursor("d", &token, Expected::Any);
    refused(&reserved, ErrorKind::Invalid);
    assert_eq!(store.cursor("").unwrap_err().kind(), ErrorKind::Invalid);
    for name in ["a/b", " ", "\n", "$", &"c".repeat(255)] {
        let _ = store.append(&Batch::new().cursor(name, &token, Expected::NoStream)).unwrap();
        assert_eq!(store.cursor_place(name).unwrap().unwrap().token, token);
    }
    let names: Vec<String> = store.cursors().unwrap().into_iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["a/b", " ", "\n", "$", &"c".repeat(255)]);
    store.close().unwrap();
    let read_only = open_read_only(&storage);
    assert_eq!(read_only.cursors().unwrap().len(), 5);
    let mut cursor = read_only.cursor("a/b").unwrap();
    assert_eq!(cursor.advance(&token).unwrap_err().kind(), ErrorKind::ReadOnly);
}
