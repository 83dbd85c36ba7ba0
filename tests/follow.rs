//! Following: history, then live, each event once and in order, whoever appends meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};
use treering::{
    Batch, BootId, Durability, ErrorKind, Expected, NewEvent, Position, Revision, Store, SubscribeOptions,
    Subscription, Visibility,
};
use treering_tests::image::Image;
use treering_tests::store::{block_on, everything, noise, open, open_read_only, put, small, try_put};

const THREADS: u64 = 4;
const ROUNDS: u64 = 150;

/// Each of four threads appends batches of one to three events to its stream and to a common one, now and then synced.
fn append_from_all_sides(store: &Store) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let name = format!("s{thread}");
                for round in 0..ROUNDS {
                    let payload = noise(round, ((round * 31 + thread * 7) % 300) as usize);
                    let events = [NewEvent::new("t", &payload); 3];
                    let batch = Batch::new().section(&name, Expected::Any, &events[..=(round % 3) as usize]).section(
                        "common",
                        Expected::Any,
                        &events[..1],
                    );
                    let level = if round % 16 == 0 { Durability::Synced } else { Durability::Written };
                    let _ = store.append(&batch.durability(level)).unwrap();
                }
            });
        }
    });
}

/// Everything that a subscription hands out until the store is closed: position and revision.
fn until_closed(mut next: impl FnMut() -> treering::Result<treering::Event>) -> Vec<(Position, Arc<str>, Revision)> {
    let mut seen = Vec::new();
    loop {
        match next() {
            Ok(event) => seen.push((event.position, event.stream, event.revision)),
            Err(error) if error.kind() == ErrorKind::Closed => return seen,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn p13_followers_see_each_event_once_and_in_order_while_four_threads_append() {
    let storage = MemStorage::new();
    let options = small().sync_interval(Duration::from_millis(2));
    let store = Store::open_on(Arc::new(storage.clone()), options).unwrap();
    for round in 0..30 {
        let _ = put(&store, "common", &noise(round, 700)); // the history, over several segments
    }
    let after = everything(&store)[20].position;
    let all = |visibility| SubscribeOptions::all().visibility(visibility);
    let plans: Vec<(&str, SubscribeOptions)> = vec![
        ("all, committed", all(Visibility::Committed)),
        ("all, durable", all(Visibility::Durable)),
        ("all, behind a position", all(Visibility::Committed).after(after)),
        ("one stream that comes yet", SubscribeOptions::stream("s2")),
        ("one stream", SubscribeOptions::stream("common").visibility(Visibility::Committed)),
        ("one stream, from a revision", SubscribeOptions::stream("common").from(Revision(25))),
    ];
    let seen = std::thread::scope(|scope| {
        let followers: Vec<_> = plans
            .iter()
            .flat_map(|(what, options)| [(what, options, false), (what, options, true)])
            .map(|(what, options, is_async)| {
                let mut follower = store.subscribe(options.clone()).unwrap();
                let seen = scope.spawn(move || match is_async {
                    false => until_closed(|| follower.next()),
                    true => until_closed(|| block_on(follower.next_async())),
                });
                (*what, is_async, seen)
            })
            .collect();
        append_from_all_sides(&store);
        store.close().unwrap();
        followers.into_iter().map(|(what, is_async, seen)| (what, is_async, seen.join().unwrap())).collect::<Vec<_>>()
    });
    let whole: Vec<_> =
        everything(&open(&storage)).into_iter().map(|event| (event.position, event.stream, event.revision)).collect();
    assert_eq!(whole.len() as u64, 30 + THREADS * ROUNDS * 3);
    for (what, is_async, seen) in seen {
        let expected: Vec<_> = whole
            .iter()
            .filter(|(position, stream, revision)| match what {
                "all, behind a position" => *position > after,
                "one stream that comes yet" => &**stream == "s2",
                "one stream" => &**stream == "common",
                "one stream, from a revision" => &**stream == "common" && *revision >= Revision(25),
                _ => true,
            })
            .cloned()
            .collect();
        assert!(seen == expected, "{what}, async {is_async}: {} of {} events", seen.len(), expected.len());
    }
}

#[test]
fn p13_a_follower_begins_at_any_event() {
    // One segment: leaving one asks for a sync.
    let store = Store::open_on(Arc::new(MemStorage::new()), small().segment_bytes(1 << 20)).unwrap();
    let events = [NewEvent::new("t", "x"); 3];
    for round in 0..20 {
        let _ = store.append(&Batch::to("s", Expected::Any, &events).durability(Durability::Written)).unwrap();
        let _ = put(&store, "other", &noise(round, 700));
    }
    let all = everything(&store);
    let drain = |mut follower: Subscription| {
        let mut found = Vec::new();
        while let Some(event) = follower.try_next().unwrap() {
            found.push(event);
        }
        found
    };
    for (index, event) in all.iter().enumerate() {
        let options = SubscribeOptions::all().visibility(Visibility::Committed).after(event.position);
        assert_eq!(drain(store.subscribe(options).unwrap()), all[index + 1..], "behind {}", event.position);
    }
    for revision in 0..=60 {
        let options = SubscribeOptions::stream("s").visibility(Visibility::Committed).from(Revision(revision));
        let found: Vec<u64> = drain(store.subscribe(options).unwrap()).iter().map(|event| event.revision.0).collect();
        assert_eq!(found, (revision..60).collect::<Vec<_>>());
    }
    let durable = SubscribeOptions::all().after(all[4].position);
    assert!(drain(store.subscribe(durable).unwrap()).is_empty(), "nothing of it is durable");
}

#[test]
fn p13_a_follower_that_waits_is_woken_and_one_that_waits_in_vain_is_not_kept() {
    let store = open(&MemStorage::new());
    let mut follower = store.subscribe(SubscribeOptions::all()).unwrap();
    assert_eq!(follower.next_timeout(Duration::ZERO).unwrap(), None);
    assert_eq!(follower.next_timeout(Duration::from_millis(1)).unwrap(), None);
    let _ = put(&store, "s", b"not durable");
    assert_eq!(follower.next_timeout(Duration::from_millis(1)).unwrap(), None);
    let mut live = store.subscribe(SubscribeOptions::all().visibility(Visibility::Committed)).unwrap();
    assert_eq!(&live.next().unwrap().payload[..], b"not durable");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| follower.next().unwrap());
        let waiting_async = scope.spawn(|| block_on(live.next_async()).unwrap());
        let _ = try_put(&store, "s", b"durable", Durability::Synced).unwrap();
        assert_eq!(&waiting.join().unwrap().payload[..], b"not durable", "the first comes first");
        assert_eq!(&waiting_async.join().unwrap().payload[..], b"durable");
    });
}

#[test]
fn p13_closing_ends_following_once_everything_was_handed_out() {
    let store = open(&MemStorage::new());
    let follow = |options: SubscribeOptions| store.subscribe(options).unwrap();
    let mut followers = [
        follow(SubscribeOptions::all()),
        follow(SubscribeOptions::stream("s").visibility(Visibility::Committed)),
        follow(SubscribeOptions::stream("never")),
    ];
    let (_, _) = (put(&store, "s", b"1"), put(&store, "s", b"2"));
    store.close().unwrap();
    for (follower, count) in followers.iter_mut().zip([2, 2, 0]) {
        assert_eq!(until_closed(|| follower.next()).len(), count);
        assert_eq!(follower.next().unwrap_err().kind(), ErrorKind::Closed, "and stays so");
        assert_eq!(block_on(follower.next_async()).unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn p13_a_store_opened_for_reading_follows_the_writer_through_rolls() {
    let storage = MemStorage::new();
    let options = small().sync_interval(Duration::from_millis(2));
    let writer = Store::open_on(Arc::new(storage.clone()), options).unwrap();
    let _ = put(&writer, "common", b"history");
    let reader = open_read_only(&storage);
    let total = 1 + THREADS * ROUNDS * 3;
    let passed = AtomicU64::new(0);
    let mut follower = reader.subscribe(SubscribeOptions::all().visibility(Visibility::Committed)).unwrap();
    let asynchronous = block_on(follower.next_async()).unwrap_err();
    assert_eq!(asynchronous.kind(), ErrorKind::Unsupported, "nobody could wake it");
    let seen = std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            (0..total)
                .map(|_| {
                    let event = follower.next().unwrap();
                    passed.fetch_add(1, Ordering::SeqCst);
                    (event.position, event.global_number)
                })
                .collect::<Vec<_>>()
        });
        append_from_all_sides(&writer);
        seen.join().unwrap()
    });
    assert_eq!(passed.load(Ordering::SeqCst), total);
    let whole: Vec<_> = everything(&writer).iter().map(|event| (event.position, event.global_number)).collect();
    assert!(seen == whole);
    assert!(writer.stat().unwrap().segments > 5);
    let end = writer.watermarks().committed;
    writer.close().unwrap();
    reader.refresh().unwrap();
    assert!(reader.watermarks().durable >= end, "closing noted how far the log is durable");
}

/// The store was copied, both went on, and the copy's watermark file comes back: it says that a segment of this name was
/// durable, and means the copy's.
#[test]
fn p11_a_watermark_of_another_history_makes_nothing_durable_for_who_follows() {
    let storage = MemStorage::new();
    // Nobody seals or syncs between what is compared.
    let open =
        |storage: &MemStorage| Store::open_on(Arc::new(storage.clone()), small().background_threads(false)).unwrap();
    let store = open(&storage);
    let _ = try_put(&store, "s", b"both", Durability::Synced).unwrap();
    store.close().unwrap();
    let image = Image::take(&storage);
    let go_on = |store: &Store, level| {
        for round in 0..4 {
            let _ = try_put(store, "s", &noise(round, 3300), level).unwrap();
        }
    };
    storage.set_boot_id(BootId(*b"one-more-boot-id"));
    let store = open(&storage);
    assert!(
        store.open_report().has_rolled
            && store.open_report().incarnation == open_read_only(&storage).stat().unwrap().incarnation
    );
    go_on(&store, Durability::Synced);
    store.close().unwrap();
    let others = Image::take(&storage).0.remove("watermark").unwrap();
    image.put_back(&storage);

    let store = open(&storage);
    let _ = try_put(&store, "s", b"ours", Durability::Synced).unwrap();
    let reader = open_read_only(&storage);
    go_on(&store, Durability::Written);
    let durable = store.watermarks().durable;
    assert!(durable < store.watermarks().committed && store.stat().unwrap().segments > 1);
    let file = storage.open("watermark", Access::ReadWrite).unwrap();
    file.write_at(&others, 0).unwrap();
    reader.refresh().unwrap();
    assert_eq!(reader.watermarks().committed, store.watermarks().committed);
    assert!(reader.watermarks().durable <= durable, "{:?}, and {durable} is durable", reader.watermarks());
    let _ = store.sync().unwrap();
    store.close().unwrap();
    reader.refresh().unwrap();
    assert_eq!(reader.watermarks().durable, reader.watermarks().committed, "the writer's own slot counts");
}

/// A reader waits at the end of a segment; the writer dies in the middle of a frame there, and the next one begins a segment.
#[test]
fn p03_who_waits_at_the_end_of_a_segment_passes_over_what_its_dead_writer_had_begun() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "s", b"first");
    let reader = open_read_only(&storage);
    let all = SubscribeOptions::all().visibility(Visibility::Committed);
    let mut follower = reader.subscribe(all).unwrap();
    let mut next = || follower.next_timeout(Duration::from_millis(1)).unwrap().map(|event| event.payload);
    assert_eq!(next().as_deref(), Some(&b"first"[..]));
    assert_eq!(next(), None);
    let torn = put(&store, "s", &noise(7, 3000));
    storage.fail_after(0, std::io::ErrorKind::Other, true);
    drop(store);
    storage.clear_fault();
    let segment = storage.open(&Image::take(&storage).last_segment(), Access::ReadWrite).unwrap();
    segment.write_at(&[0; 1000], torn.end.0 - 1000).unwrap();
    storage.set_boot_id(BootId(*b"one-more-boot-id"));

    let store = open(&storage);
    let report = store.open_report();
    assert!(report.has_rolled && report.torn_tail.is_some() && report.damage.is_empty(), "{report:?}");
    let _ = put(&store, "s", b"second");
    assert_eq!(next().as_deref(), Some(&b"second"[..]), "and no damage");
    assert_eq!(next(), None);
}
