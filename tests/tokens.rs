//! Cursor tokens: going on behind any event without gap or duplicate, in whatever process, life or copy of the store; and
//! what is said where a token leads nowhere.

use std::io;
use std::sync::Arc;

use treering::format::frame::FRAME_HEADER_BYTES;
use treering::storage::mem::MemStorage;
use treering::{
    Batch, BootId, Durability, ErrorKind, Event, Expected, Incarnation, NewEvent, Position, ReadAllOptions,
    ReadOptions, Revision, Store, SubscribeOptions, Token, Visibility,
};
use treering_tests::image::Image;
use treering_tests::store::{everything, log, noise, open, open_read_only, put, small, stream, try_put};

const STREAMS: [&str; 3] = ["a", "b", "c"];

fn behind(token: &Token) -> ReadAllOptions<'static> {
    ReadAllOptions::new().visibility(Visibility::Committed).after_token(token)
}

/// What a subscription hands out now.
fn drain(store: &Store, options: SubscribeOptions) -> Vec<Event> {
    let mut subscription = store.subscribe(options.visibility(Visibility::Committed)).unwrap();
    std::iter::from_fn(|| subscription.try_next().unwrap()).collect()
}

/// Every way of reading on behind the token gives exactly the events of `all` that lie behind its position.
fn goes_on(store: &Store, token: &Token, all: &[Event]) {
    let rest: Vec<Event> = all.iter().filter(|event| event.position > token.position()).cloned().collect();
    assert_eq!(log(store, behind(token)), rest, "{token:?}");
    assert_eq!(drain(store, SubscribeOptions::all().after_token(token)), rest, "{token:?}");
    for name in STREAMS {
        let of_stream: Vec<Event> = rest.iter().filter(|event| &*event.stream == name).cloned().collect();
        assert_eq!(drain(store, SubscribeOptions::stream(name).after_token(token)), of_stream, "{name} {token:?}");
        if all.iter().any(|event| &*event.stream == name) {
            let options = ReadOptions::new().visibility(Visibility::Committed).after_token(token);
            assert_eq!(stream(store, name, options), of_stream, "{name} {token:?}");
            let mut backwards = stream(store, name, options.backwards());
            backwards.reverse();
            assert_eq!(backwards, of_stream, "{name} {token:?}");
        }
    }
}

/// The token is refused as lost by every way of reading on; up to where both histories are the same.
fn is_lost(store: &Store, token: &Token) -> Option<Position> {
    let error = store.read_all(behind(token)).err().unwrap_or_else(|| panic!("{token:?} is good"));
    let lost = error.lost_token().unwrap_or_else(|| panic!("{token:?}: {error}"));
    assert_eq!((error.kind(), lost.position), (ErrorKind::LostToken, token.position()));
    assert_eq!(lost.incarnation, token.incarnation);
    if let Some(until) = lost.shared_until {
        assert!(error.to_string().contains("read on from there") && until <= token.position(), "{error}");
    }
    let subscribed = store.subscribe(SubscribeOptions::all().after_token(token)).unwrap_err();
    let read = store.read_stream("a", ReadOptions::new().after_token(token)).unwrap_err();
    for other in [subscribed, read] {
        // Seals may be appended meanwhile: where both histories are the same up to the end of this one, that end moves.
        let other = other.lost_token().expect("it is refused in every way");
        assert_eq!((other.position, other.incarnation), (lost.position, lost.incarnation));
        assert!(other.shared_until >= lost.shared_until, "{other:?} {lost:?}");
    }
    lost.shared_until
}

/// Appends batches of every shape to a store that is small enough to roll on the way; returns the receipts' tokens.
fn append_some(store: &Store, from: u64, count: u64) -> Vec<Token> {
    (from..from + count)
        .map(|number| {
            let payload = noise(number, (number * 97 % 900) as usize);
            let events = [NewEvent::new("t", &payload); 3];
            let batch = match number % 4 {
                0 => Batch::to("a", Expected::Any, &events[..1]),
                1 => Batch::to("b", Expected::Any, &events).section("a", Expected::Any, &events[..2]),
                2 => Batch::to("c", Expected::Any, &events[..2]).section("b", Expected::Any, &events[..1]),
                _ => Batch::to("a", Expected::Any, &events[..2]).section("c", Expected::Any, &events[..1]),
            };
            let level = if number % 7 == 0 { Durability::Synced } else { Durability::Written };
            store.append(&batch.durability(level)).unwrap().token()
        })
        .collect()
}

/// What a process would leave that is killed now.
fn kill(storage: &MemStorage, store: Store) {
    storage.fail_after(0, io::ErrorKind::Other, true);
    drop(store);
    storage.clear_fault();
}

fn boot(storage: &MemStorage, number: u8) {
    storage.set_boot_id(BootId([number; 16]));
}

/// A store that was closed, killed and taken over after a reboot, with several segments; open.
fn lived() -> (MemStorage, Store) {
    let storage = MemStorage::new();
    boot(&storage, 1);
    let store = open(&storage);
    append_some(&store, 0, 20);
    store.close().unwrap();
    let store = open(&storage);
    append_some(&store, 20, 12);
    kill(&storage, store);
    let store = open(&storage);
    append_some(&store, 32, 12);
    kill(&storage, store);
    boot(&storage, 2);
    let store = open(&storage);
    append_some(&store, 44, 20);
    (storage, store)
}

#[test]
fn p13_reading_goes_on_behind_any_token_without_gap_or_duplicate() {
    let (storage, store) = lived();
    let all = everything(&store);
    let reader = open_read_only(&storage);
    assert!(store.stat().unwrap().segments > 3 && all.len() > 150);
    for (index, event) in all.iter().enumerate() {
        let token = event.token();
        let again: Token = token.to_string().parse().unwrap();
        assert_eq!((again, Token::from_bytes(&token.to_bytes()).unwrap()), (token, token));
        assert_eq!((token.position(), token.number), (event.position, index as u64));
        if index % 3 == 0 {
            goes_on(&store, &token, &all);
        }
        goes_on(&reader, &token, &all);
    }
    let origin = Token { frame: Position::ZERO, ordinal: 0, number: 0, frame_check: 0, ..all[0].token() };
    assert!(origin.is_origin());
    goes_on(&store, &origin, &all);
}

#[test]
fn p13_a_receipt_an_event_and_a_readers_place_give_the_same_token() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let of_receipts: Vec<Token> = append_some(&store, 0, 24);
    let mut all = store.read_all(ReadAllOptions::new().visibility(Visibility::Committed)).unwrap();
    assert_eq!(all.token(), None, "nothing was handed out");
    let mut of_events = Vec::new();
    while let Some(event) = all.next() {
        let token = event.unwrap().token();
        assert_eq!(all.token(), Some(token));
        of_events.push(token);
    }
    assert_eq!(all.token(), of_events.last().copied(), "at the end it stands behind the last event");
    drop(all);
    assert!(of_receipts.iter().all(|token| of_events.contains(token)));
    let mut of_streams = Vec::new();
    for name in STREAMS {
        let mut reader = store.read_stream(name, ReadOptions::new().visibility(Visibility::Committed)).unwrap();
        while let Some(event) = reader.next() {
            let token = event.unwrap().token();
            assert_eq!(reader.token(), Some(token));
            of_streams.push(token);
        }
    }
    of_streams.sort_by_key(Token::position);
    assert_eq!(of_streams, of_events);
    let mut subscription = store.subscribe(SubscribeOptions::all().visibility(Visibility::Committed)).unwrap();
    assert_eq!(subscription.token(), None);
    for token in &of_events {
        let event = subscription.try_next().unwrap().unwrap();
        assert_eq!((event.token(), subscription.token()), (*token, Some(*token)));
    }
    let begun = store.subscribe(SubscribeOptions::all().after_token(&of_events[5])).unwrap();
    assert_eq!(begun.token(), Some(of_events[5]), "where it was begun, before it handed out anything");
    // A retry that is recognised gives the first receipt, also after the store was opened anew.
    let events = [NewEvent::new("t", "once"); 2];
    let batch = Batch::with_id(treering::BatchId([7; 16])).section("r", Expected::NoStream, &events);
    let first = store.append(&batch).unwrap();
    assert_eq!(store.append(&batch).unwrap().token(), first.token());
    store.close().unwrap();
    assert_eq!(open(&storage).append(&batch).unwrap().token(), first.token());
}

/// An agent's worker: it takes one event, does its work, keeps the token, and dies at any moment; the writer dies and rolls
/// too. What it did is every event once.
#[test]
fn p13_a_consumer_that_keeps_its_token_with_its_work_sees_every_event_once() {
    let storage = MemStorage::new();
    boot(&storage, 1);
    let (mut kept, mut done): (Option<String>, Vec<(String, u64)>) = (None, Vec::new());
    let mut number = 0;
    for life in 0..40u64 {
        let store = open(&storage);
        append_some(&store, number, 1 + life % 4);
        number += 1 + life % 4;
        store.sync().unwrap();
        // Now and then the worker is another process.
        let reader = (life % 3 == 1).then(|| open_read_only(&storage));
        let mut options = SubscribeOptions::all();
        if let Some(text) = &kept {
            options = options.after_token(&text.parse().unwrap());
        }
        let mut subscription = reader.as_ref().unwrap_or(&store).subscribe(options).unwrap();
        for _ in 0..life % 6 {
            let Some(event) = subscription.try_next().unwrap() else { break };
            done.push((event.stream.to_string(), event.revision.0));
            kept = Some(subscription.token().unwrap().to_string());
        }
        drop(subscription);
        match life % 4 {
            0 => store.close().unwrap(),
            1 => {
                kill(&storage, store);
                boot(&storage, life as u8);
            }
            _ => kill(&storage, store),
        }
    }
    let store = open(&storage);
    let rest = drain(&store, SubscribeOptions::all().after_token(&kept.unwrap().parse().unwrap()));
    done.extend(rest.iter().map(|event| (event.stream.to_string(), event.revision.0)));
    let all: Vec<_> = everything(&store).iter().map(|event| (event.stream.to_string(), event.revision.0)).collect();
    assert_eq!(done, all);
}

#[test]
fn p13_a_reader_of_another_process_goes_on_behind_an_event_that_it_has_not_heard_of() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "a", b"0");
    let reader = open_read_only(&storage);
    let token = append_some(&store, 0, 40).pop().unwrap();
    let _ = put(&store, "a", b"next");
    let next = log(&reader, behind(&token));
    assert_eq!(next.len(), 1);
    assert_eq!(&next[0].payload[..], b"next");
    let _ = put(&store, "b", b"last");
    let last = Receiver::new(&reader, &next[0].token()).next();
    assert_eq!(&last.payload[..], b"last");
}

/// A subscription behind a token.
struct Receiver(treering::Subscription);

impl Receiver {
    fn new(store: &Store, token: &Token) -> Receiver {
        let options = SubscribeOptions::all().visibility(Visibility::Committed).after_token(token);
        Receiver(store.subscribe(options).unwrap())
    }

    fn next(&mut self) -> Event {
        self.0.try_next().unwrap().expect("an event")
    }
}

/// [CHN-5]
#[test]
fn p17_tokens_of_two_copies_are_good_up_to_where_their_lives_part() {
    let (storage, store) = lived();
    store.close().unwrap();
    let before = everything(&open_read_only(&storage));
    let copied = storage.deep_copy().unwrap();
    let original = open(&storage);
    let copy = open(&copied);
    assert_ne!(original.open_report().incarnation, copy.open_report().incarnation);
    append_some(&original, 100, 30);
    append_some(&copy, 200, 30);
    let (of_original, of_copy) = (everything(&original), everything(&copy));
    for event in &before {
        goes_on(&original, &event.token(), &of_original);
        goes_on(&copy, &event.token(), &of_copy);
    }
    let parted = before.last().unwrap().position;
    for event in &of_original[before.len()..] {
        goes_on(&original, &event.token(), &of_original);
        let until = is_lost(&copy, &event.token()).expect("the copy knows where that life ended");
        assert!(until > parted && until <= event.position);
        let on = log(&copy, ReadAllOptions::new().visibility(Visibility::Committed).from(until));
        assert_eq!(on, of_copy[before.len()..], "reading on from there misses nothing");
    }
    for event in &of_copy[before.len()..] {
        goes_on(&copy, &event.token(), &of_copy);
        let until = is_lost(&original, &event.token());
        assert_eq!(until, None, "the original has never heard of that life");
    }
    // The copy that nobody wrote to, read only, ends before.
    let unwritten = storage.deep_copy().unwrap();
    let _ = put(&original, "a", b"later");
    let token = everything(&original).pop().unwrap().token();
    let reader = open_read_only(&unwritten);
    assert_eq!(is_lost(&reader, &token), Some(reader.watermarks().committed));
}

/// A real folder, copied file by file.
#[test]
fn p17_tokens_cross_between_real_copies() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let options = || small().segment_bytes(64 << 10);
    let store = Store::open(&one, options()).unwrap();
    let shared = append_some(&store, 0, 10);
    store.close().unwrap();
    std::fs::create_dir(&two).unwrap();
    for entry in std::fs::read_dir(&one).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, two.join(path.file_name().unwrap())).unwrap();
    }
    let stores = [&one, &two].map(|path| Store::open(path, options()).unwrap());
    let own = [append_some(&stores[0], 50, 6), append_some(&stores[1], 70, 6)];
    for (index, store) in stores.iter().enumerate() {
        let all = everything(store);
        shared.iter().chain(&own[index]).for_each(|token| goes_on(store, token, &all));
        own[1 - index].iter().for_each(|token| {
            is_lost(store, token);
        });
    }
}

#[test]
fn p04_a_token_of_an_event_that_power_took_is_refused_for_ever() {
    let storage = MemStorage::new();
    boot(&storage, 1);
    let store = open(&storage);
    append_some(&store, 1, 3);
    store.sync().unwrap();
    let durable = everything(&store);
    let end = store.watermarks().committed;
    let image = Image::take(&storage);
    let lost: Vec<Token> = append_some(&store, 4, 3); // none of them is synced
    kill(&storage, store);
    image.put_back(&storage); // what the disk held when the power went
    boot(&storage, 2);
    let reader = open_read_only(&storage);
    lost.iter().for_each(|token| assert_eq!(is_lost(&reader, token), Some(end)));
    let store = open(&storage);
    for round in 0..3 {
        let all = everything(&store);
        for token in &lost {
            assert_eq!(is_lost(&store, token), Some(end), "round {round}");
        }
        durable.iter().for_each(|event| goes_on(&store, &event.token(), &all));
        append_some(&store, 10 + 20 * round, 20); // other events take the revisions, none the places
    }
}

/// [CHN-6]
#[test]
fn p05_a_token_whose_place_is_damaged_leads_on_behind_it() {
    let (storage, store) = lived();
    store.close().unwrap();
    let all = everything(&open_read_only(&storage));
    let image = Image::take(&storage);
    for (index, event) in all.iter().enumerate().step_by(5) {
        let token = event.token();
        let name = format!("{:016x}.segment", token.epoch.segment.0);
        let offset = (token.frame.0 - token.epoch.segment.0 * (16 << 10)) as usize;
        // In the header, in the table, in the head of the file, the whole file.
        for what in 0..4 {
            let mut damaged = image.clone();
            match what {
                0 => damaged.0.get_mut(&name).unwrap()[offset + 9] ^= 4,
                1 => damaged.0.get_mut(&name).unwrap()[offset + FRAME_HEADER_BYTES + 2] ^= 4,
                2 => damaged.0.get_mut(&name).unwrap()[..8192].fill(0xEE),
                _ => drop(damaged.0.remove(&name)),
            }
            damaged.put_back(&storage);
            let store = open_read_only(&storage);
            let is_undecided = what == 3 && image.last_segment() == name;
            match store.read_all(behind(&token)) {
                Ok(mut reader) => {
                    assert!(!is_undecided, "{token:?}");
                    let mut found = Vec::new();
                    while let Some(next) = reader.next() {
                        match next {
                            Ok(event) => found.push(event.hold()),
                            Err(error) => assert!(error.damage().is_some(), "{what} {error}"),
                        }
                    }
                    assert!(found.iter().all(|event| event.position > token.position()), "{what} {token:?}");
                    let missed: Vec<&Event> = all[index + 1..].iter().filter(|event| !found.contains(event)).collect();
                    // Of the rest only what is lost is missing: events of the same frame, or of the same file.
                    let is_there = |event: &&&Event| match what {
                        0 | 1 => event.token().frame != token.frame,
                        2 => true,
                        _ => event.token().epoch.segment != token.epoch.segment,
                    };
                    assert_eq!(missed.iter().filter(is_there).count(), 0, "{what} {token:?} {missed:?}");
                }
                // Where the newest file is gone, nothing says whether it was of the token's life.
                Err(error) => {
                    assert_eq!((error.kind(), is_undecided), (ErrorKind::Damage, true), "{error}");
                    assert!(error.to_string().contains("go on from"), "{error}");
                }
            }
        }
    }
    image.put_back(&storage);
}

#[test]
fn p03_a_token_is_never_taken_for_one_of_another_event() {
    let (_storage, store) = lived();
    let all = everything(&store);
    let foreign = open(&MemStorage::with_seed(77));
    let theirs = append_some(&foreign, 0, 5);
    for token in theirs {
        let error = store.read_all(behind(&token)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ForeignToken);
        assert!(error.to_string().contains(&token.store.to_string()), "{error}");
        assert!(error.to_string().contains(&store.stat().unwrap().store.to_string()), "{error}");
    }
    // Every field another one: a token that nobody handed out.
    for event in all.iter().step_by(9) {
        let good = event.token();
        let mut forged = vec![
            Token { incarnation: Incarnation([9; 16]), ..good },
            Token { frame_check: good.frame_check ^ 1, ..good },
            Token { number: good.number + 1, ..good },
            Token { ordinal: good.ordinal + 1, ..good },
            Token { ordinal: u32::MAX, ..good },
        ];
        for frame in [8, 64, good.frame.0 + 8, good.frame.0 - 8, u64::MAX - 1, u64::MAX, 1 << 63] {
            forged.push(Token { frame: Position(frame), ..good });
        }
        for takeover in [good.epoch.takeover + 1, u16::MAX] {
            forged.push(Token { epoch: treering::Epoch { takeover, ..good.epoch }, ..good });
        }
        for token in forged {
            is_lost(&store, &token);
        }
    }
}

#[test]
fn p13_a_stream_that_is_read_from_behind_its_head_ends_at_once() {
    let store = open(&MemStorage::new());
    let (_, last) = (put(&store, "a", b"0"), put(&store, "a", b"1"));
    let visible = ReadOptions::new().visibility(Visibility::Committed);
    assert!(stream(&store, "a", visible.from(Revision(2))).is_empty());
    assert!(stream(&store, "a", visible.from(Revision(99))).is_empty());
    assert!(stream(&store, "a", visible.after_token(&last.token())).is_empty());
}

#[test]
fn p13_a_place_behind_damage_is_that_of_the_last_event_handed_out() {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage.clone()), small().segment_bytes(1 << 20)).unwrap();
    let receipts: Vec<_> =
        (0..4).map(|number| try_put(&store, "a", &noise(number, 200), Durability::Synced).unwrap()).collect();
    store.close().unwrap();
    let mut image = Image::take(&storage);
    let name = image.last_segment();
    image.0.get_mut(&name).unwrap()[receipts[2].position.0 as usize + 150] ^= 1; // a body
    image.0.get_mut(&name).unwrap()[receipts[3].position.0 as usize + 9] ^= 1; // a header
    image.put_back(&storage);
    let store = open_read_only(&storage);
    let mut reader = store.read_all(ReadAllOptions::new()).unwrap();
    let mut of_stream = store.read_stream("a", ReadOptions::new()).unwrap();
    for receipt in &receipts[..2] {
        assert_eq!(reader.next().unwrap().unwrap().token(), receipt.token());
        assert_eq!(of_stream.next().unwrap().unwrap().token(), receipt.token());
    }
    while let Some(next) = reader.next() {
        assert!(next.unwrap_err().damage().is_some());
        assert_eq!(reader.token(), Some(receipts[1].token()));
    }
    while let Some(next) = of_stream.next() {
        assert!(next.unwrap_err().damage().is_some());
        assert_eq!(of_stream.token(), Some(receipts[1].token()));
    }
}
