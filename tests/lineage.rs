//! Forks of streams: the child is its parent's exact prefix and goes on by itself, at the cost of one frame, however long the
//! history and however deep the lineage.

use std::sync::Arc;

use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};
use treering::{
    Batch, BatchId, Durability, ErrorKind, Event, Expected, Fork, Forked, NewEvent, Options, ReadOptions, Revision,
    Store, SubscribeOptions, Visibility, maintain,
};
use treering_tests::image::Image;
use treering_tests::store::{block_on, everything, noise, open, open_read_only, put, small, stream};

fn committed() -> ReadOptions<'static> {
    ReadOptions::new().visibility(Visibility::Committed)
}

fn fork(store: &Store, parent: &str, at: Option<u64>, name: &str) -> Forked {
    let mut fork = Fork::new(parent, name).durability(Durability::Written);
    if let Some(at) = at {
        fork = fork.at(Revision(at));
    }
    store.fork(&fork).unwrap()
}

fn places(events: &[Event]) -> Vec<(u64, u64)> {
    events.iter().map(|event| (event.revision.0, event.position.0)).collect()
}

/// A parent with batches, forks at its head and in the midst of a batch, a fork of a fork below its fork point, one without
/// events of its own, and everything going on afterwards.
fn family(store: &Store) {
    let payloads: Vec<Vec<u8>> = (0..40).map(|number| noise(number, 300)).collect();
    let events: Vec<NewEvent<'_>> = payloads
        .iter()
        .enumerate()
        .map(|(number, payload)| NewEvent::new(if number % 3 == 0 { "third" } else { "other" }, payload))
        .collect();
    let level = Durability::Written;
    for _ in 0..3 {
        let both =
            Batch::new().section("parent", Expected::Any, &events[..20]).section("beside", Expected::Any, &events);
        let _ = store.append(&both.durability(level)).unwrap();
    }
    let _ = fork(store, "parent", Some(33), "child");
    let _ = put(store, "parent", b"60");
    for number in 0..30 {
        let _ = put(store, "child", &noise(number, 200));
        let _ = put(store, "beside", &noise(number, 200));
    }
    let _ = fork(store, "child", Some(50), "grandchild");
    let _ = fork(store, "grandchild", None, "silent");
    let _ = fork(store, "silent", Some(20), "early");
    for number in 0..30 {
        for name in ["child", "grandchild", "early", "parent"] {
            let _ = put(store, name, &noise(100 + number, 150));
        }
    }
    let _ = fork(store, "silent", None, "late");
}

const FAMILY: [&str; 6] = ["parent", "child", "grandchild", "silent", "early", "late"];

/// What each stream of the family is, said the long way: whose events up to which revision, then its own.
fn said_the_long_way(store: &Store, name: &str) -> Vec<Event> {
    let shared = match name {
        "child" => Some(("parent", 33)),
        "grandchild" => Some(("child", 50)),
        "silent" => Some(("grandchild", 50)),
        "early" => Some(("silent", 20)),
        "late" => Some(("silent", 50)),
        _ => None,
    };
    let mut all = shared.map_or(Vec::new(), |(parent, _)| said_the_long_way(store, parent));
    all.retain(|event| shared.is_none_or(|(_, last)| event.revision.0 <= last));
    all.extend(everything(store).into_iter().filter(|event| &*event.stream == name));
    all
}

/// A copy without indexes, directory and control page.
fn without_indexes(storage: &MemStorage) -> MemStorage {
    let bare = storage.deep_copy().unwrap();
    for entry in bare.list().unwrap() {
        let is_kept = ["identity", "watermark"].contains(&&*entry.name) || entry.name.ends_with(".segment");
        if !is_kept {
            bare.remove(&entry.name).unwrap();
        }
    }
    bare
}

fn stores() -> Vec<(&'static str, Store)> {
    let storage = MemStorage::new();
    let store = open(&storage);
    family(&store);
    let fresh = MemStorage::new();
    let open_still = open(&fresh);
    family(&open_still);
    store.close().unwrap();
    let again = Store::open_on(Arc::new(storage.clone()), small()).unwrap();
    again.work_in_background().unwrap();
    let _ = again.reindex(&mut |_, _| {}).unwrap();
    again.close().unwrap();
    let bare = without_indexes(&storage);
    vec![
        ("never closed", open_still),
        ("closed and indexed", open_read_only(&storage)),
        ("without what is derived", open_read_only(&bare)),
        ("written on", open(&storage)),
    ]
}

#[test]
fn p16_every_way_of_reading_a_fork_hands_out_its_parents_exact_prefix_and_its_own() {
    for (what, store) in stores() {
        for name in FAMILY {
            let all = said_the_long_way(&store, name);
            let len = all.len() as u64;
            assert_eq!(stream(&store, name, committed()), all, "{what}: {name}");
            assert_eq!(store.stream(name).unwrap().unwrap().head, Revision(len - 1), "{what}: {name}");
            let mut backwards = stream(&store, name, committed().backwards());
            backwards.reverse();
            assert_eq!(backwards, all, "{what}: {name} backwards");
            for from in (0..len).step_by(7) {
                let some = stream(&store, name, committed().from(Revision(from)).to(Revision(from + 25)));
                assert_eq!(places(&some), places(&all[from as usize..(from as usize + 26).min(all.len())]));
                let one = store.event(name, Revision(from), Visibility::Committed).unwrap();
                assert_eq!(one.as_ref(), all.get(from as usize), "{what}: {name} {from}");
                let last = stream(&store, name, committed().last(from));
                assert_eq!(places(&last), places(&all[all.len() - from as usize..]));
                let typed = stream(&store, name, committed().from(Revision(from)).event_type("third"));
                let expected: Vec<Event> =
                    all[from as usize..].iter().filter(|event| &*event.event_type == "third").cloned().collect();
                assert_eq!(typed, expected, "{what}: {name} by type from {from}");
                let token = all[from as usize].token();
                let rest = stream(&store, name, committed().after_token(&token));
                assert_eq!(places(&rest), places(&all[from as usize + 1..]), "{what}: {name} after {from}");
                // As it was before that event was appended: of a fork that came later nothing, else what came before.
                let at = all[from as usize].position;
                let then = stream(&store, name, committed().at(at));
                let made = store.fork_point(name).unwrap().map_or(0, |point| point.stream.0);
                let before: Vec<Event> =
                    all.iter().filter(|event| event.position < at && made < at.0).cloned().collect();
                let whole_batches = |events: &[Event]| {
                    let batch = all[from as usize].batch;
                    places(&events.iter().filter(|event| event.batch != batch).cloned().collect::<Vec<_>>())
                };
                assert_eq!(whole_batches(&then), whole_batches(&before), "{what}: {name} at {at}");
            }
            assert_eq!(store.event(name, Revision(len), Visibility::Committed).unwrap(), None);
        }
    }
}

#[test]
fn p16_lineage_and_what_two_streams_share_are_told() {
    for (what, store) in stores() {
        let lineage = store.lineage("late").unwrap();
        let told: Vec<_> = lineage.iter().map(|point| (&*point.parent_name, point.revision.0, point.depth)).collect();
        assert_eq!(told, [("silent", 50, 4), ("grandchild", 50, 3), ("child", 50, 2), ("parent", 33, 1)], "{what}");
        assert!(store.lineage("parent").unwrap().is_empty() && store.fork_point("parent").unwrap().is_none());
        let names: Vec<_> = store.forks().unwrap().iter().map(|point| point.name.to_string()).collect();
        assert_eq!(names, ["child", "grandchild", "silent", "early", "late"]);
        for one in FAMILY {
            for other in FAMILY {
                let (these, those) = (said_the_long_way(&store, one), said_the_long_way(&store, other));
                let shared = these.iter().zip(&those).take_while(|(this, that)| this == that).count() as u64;
                let parting = store.parting(one, other).unwrap();
                assert_eq!(parting.shared_events(), shared, "{what}: {one} and {other}: {parting:?}");
                assert_eq!(parting.added(), [these.len() as u64 - shared, those.len() as u64 - shared]);
                let last = these.get((shared - 1) as usize).unwrap();
                assert_eq!(parting.shared, Some((Arc::clone(&last.stream), last.revision)));
            }
            assert_eq!(store.parting(one, "beside").unwrap().shared, None);
        }
    }
}

#[test]
fn p10_forking_changes_no_byte_of_the_log_and_verify_finds_it_whole() {
    let storage = MemStorage::new();
    let store = open(&storage);
    family(&store);
    store.sync().unwrap();
    // The end first: the background may append a seal at any time.
    let end = store.watermarks().committed;
    let before = Image::take(&storage).segments();
    let forked = fork(&store, "early", Some(3), "one more");
    assert!(forked.receipt.position >= end);
    let segment_bytes = small_segment();
    for ((name, old), (_, new)) in before.iter().zip(&Image::take(&storage).segments()) {
        let base = u64::from_str_radix(&name[..16], 16).unwrap() * segment_bytes;
        let len = (end.0.saturating_sub(base) as usize).min(old.len());
        assert_eq!(old[..len], new[..len], "{name}");
    }
    store.close().unwrap();
    let report = maintain::verify_on(Arc::new(storage), &mut ()).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

fn small_segment() -> u64 {
    16 << 10
}

#[test]
fn p16_a_fork_is_one_frame_of_a_hundred_bytes_at_any_length_and_depth() {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage), Options::new().segment_bytes(1 << 20).mapped_writes(false)).unwrap();
    let events = vec![NewEvent::new("t", "x"); 1000];
    let bytes = |forked: &Forked| forked.receipt.end.0 - forked.receipt.position.0;
    let _ = put(&store, "s", b"0");
    let before = store.watermarks().committed;
    let short = fork(&store, "s", None, "of one");
    assert_eq!((short.receipt.position, short.receipt.end), (before, store.watermarks().committed));
    for _ in 0..100 {
        let _ = store.append(&Batch::to("s", Expected::Any, &events).durability(Durability::Written)).unwrap();
    }
    let long = fork(&store, "s", None, "of many");
    let deep = (0..2000u64).fold(String::from("of many"), |parent, depth| {
        let name = format!("deep {depth}");
        let _ = fork(&store, &parent, None, &name);
        name
    });
    let deepest = fork(&store, &deep, None, "deepest");
    for forked in [short, long, deepest] {
        assert!(bytes(&forked) <= 112, "{}", bytes(&forked));
    }
}

/// A stream of 10,000 forks, each of which added an event, and its reading.
#[test]
fn p16_a_lineage_ten_thousand_deep_reads_as_one_stream() {
    const DEPTH: u64 = 10_000;
    let storage = MemStorage::new();
    let options = || Options::new().segment_bytes(1 << 20).index_stride_bytes(64 << 10).mapped_writes(false);
    let store = Store::open_on(Arc::new(storage.clone()), options()).unwrap();
    let _ = put(&store, "0", b"0");
    for depth in 1..=DEPTH {
        let _ = fork(&store, &(depth - 1).to_string(), None, &depth.to_string());
        let _ = put(&store, &depth.to_string(), depth.to_string().as_bytes());
    }
    let check = |store: &Store| {
        let name = DEPTH.to_string();
        let all = stream(store, &name, committed());
        assert_eq!(all.len() as u64, DEPTH + 1);
        for (number, event) in all.iter().enumerate() {
            assert_eq!((event.revision.0, &event.payload[..]), (number as u64, number.to_string().as_bytes()));
        }
        assert_eq!(stream(store, &name, committed().backwards()).len() as u64, DEPTH + 1);
        let first = store.event(&name, Revision(0), Visibility::Committed).unwrap().unwrap();
        assert_eq!(&first.payload[..], b"0");
        let lineage = store.lineage(&name).unwrap();
        assert_eq!((lineage.len() as u64, lineage[0].depth), (DEPTH, DEPTH));
        assert_eq!(store.parting(&name, "5000").unwrap().shared_events(), 5001);
        assert_eq!(stream(store, &name, committed().last(3)).len(), 3);
    };
    check(&store);
    // From an old revision, through all of the lineage.
    let early = fork(&store, &DEPTH.to_string(), Some(17), "early");
    assert_eq!(stream(&store, "early", committed()).len(), 18);
    assert_eq!(store.lineage("early").unwrap()[0].depth, DEPTH + 1);
    assert_eq!(early.revision, Revision(17));
    store.close().unwrap();
    check(&Store::open_read_only_on(Arc::new(storage.clone()), options()).unwrap());
    let report = maintain::verify_on(Arc::new(storage), &mut ()).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

/// Forks of forks whose fork points go up and down: who has each event is found from every one of them, past all that
/// lies between.
#[test]
fn p16_the_owner_of_any_revision_is_found_through_fork_points_that_go_up_and_down() {
    const FORKS: u64 = 400;
    let storage = MemStorage::new();
    let options = || Options::new().segment_bytes(1 << 20).index_stride_bytes(16 << 10).mapped_writes(false);
    let store = Store::open_on(Arc::new(storage.clone()), options()).unwrap();
    let mut random = noise(7, 16 * FORKS as usize).into_iter().map(u64::from);
    let mut below = |end: u64| (random.next().unwrap() * 256 + random.next().unwrap()) % end;
    let name = |number: u64| number.to_string();
    // What each stream reads as, and how deep it is.
    let mut streams: Vec<(Vec<String>, u64)> = vec![(vec![], 0)];
    let add = |number: u64, events: &mut Vec<String>| {
        let payload = format!("{number}: {}", events.len());
        let _ = put(&store, &name(number), payload.as_bytes());
        events.push(payload);
    };
    (0..30).for_each(|_| add(0, &mut streams[0].0));
    for number in 1..=FORKS {
        // Mostly of the newest: the lineage becomes deep.
        let parent = if below(8) == 0 { below(number) } else { number - 1 };
        let (shared, depth) = &streams[parent as usize];
        let last = shared.len() as u64 - 1;
        let at = if below(4) == 0 { below(last + 1) } else { last - below(3).min(last) };
        let _ = fork(&store, &name(parent), Some(at), &name(number));
        let (mut events, depth) = (shared[..=at as usize].to_vec(), depth + 1);
        (0..below(4)).for_each(|_| add(number, &mut events));
        streams.push((events, depth));
    }
    assert!(streams.iter().any(|(_, depth)| *depth > 30));
    let check = |store: &Store| {
        for (number, (events, depth)) in (0u64..).zip(&streams) {
            let lineage = store.lineage(&name(number)).unwrap();
            assert_eq!(lineage.len() as u64, *depth);
            for (revision, payload) in (0u64..).zip(events) {
                let event = store.event(&name(number), Revision(revision), Visibility::Committed).unwrap().unwrap();
                assert_eq!(&event.payload[..], payload.as_bytes(), "{number} at {revision}");
            }
            let upto = Revision(events.len() as u64 / 2);
            let half = stream(store, &name(number), committed().backwards().from(upto));
            assert!(half.iter().rev().zip(events).all(|(event, payload)| &event.payload[..] == payload.as_bytes()));
        }
    };
    check(&store);
    store.close().unwrap();
    check(&Store::open_read_only_on(Arc::new(storage.clone()), options()).unwrap());
    check(&Store::open_read_only_on(Arc::new(without_indexes(&storage)), options()).unwrap());
    assert!(maintain::verify_on(Arc::new(storage), &mut ()).unwrap().is_clean());
}

#[test]
fn p16_ten_thousand_forks_of_one_stream_each_go_on_alone() {
    const FORKS: u64 = 10_000;
    let storage = MemStorage::new();
    let options = || Options::new().segment_bytes(1 << 20).index_stride_bytes(64 << 10).mapped_writes(false);
    let store = Store::open_on(Arc::new(storage.clone()), options()).unwrap();
    for number in 0..50u64 {
        let _ = put(&store, "s", &number.to_le_bytes());
    }
    for number in 0..FORKS {
        let _ = fork(&store, "s", Some(number % 50), &format!("fork {number}"));
    }
    for number in (0..FORKS).step_by(3) {
        let _ = put(&store, &format!("fork {number}"), b"own");
    }
    store.close().unwrap();
    let store = Store::open_read_only_on(Arc::new(storage), options()).unwrap();
    for number in (0..FORKS).step_by(11) {
        let events = stream(&store, &format!("fork {number}"), committed());
        let own = usize::from(number.is_multiple_of(3));
        assert_eq!(events.len(), (number % 50) as usize + 1 + own);
        assert_eq!(&*events[0].stream, "s");
        assert_eq!(own == 1, &events[events.len() - 1].payload[..] == b"own");
    }
    assert_eq!(store.forks().unwrap().len() as u64, FORKS);
    assert_eq!(store.stat().unwrap().streams, FORKS + 1);
}

#[test]
fn p12_what_cannot_be_forked_is_refused_with_nothing_written() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "s", b"0");
    let _ = put(&store, "other", b"0");
    let end = store.watermarks().committed;
    let refused = |parent: &str, at: Option<u64>, name: &str, kind: ErrorKind, word: &str| {
        let mut asked = Fork::new(parent, name);
        if let Some(at) = at {
            asked = asked.at(Revision(at));
        }
        let error = store.fork(&asked).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(store.watermarks().committed, end, "{error}");
    };
    refused("s", Some(1), "x", ErrorKind::NotFound, "ends with revision 0");
    refused("s", Some(u64::MAX), "x", ErrorKind::NotFound, "no revision");
    refused("nobody", None, "x", ErrorKind::NotFound, "nobody");
    refused("s", None, "other", ErrorKind::Conflict, "exists");
    refused("s", None, "s", ErrorKind::Conflict, "exists");
    refused("s", None, "", ErrorKind::Invalid, "empty");
    refused("s", None, "$mine", ErrorKind::Invalid, "engine");
    refused("s", None, &"n".repeat(1025), ErrorKind::Limit, "1024");
    let conflict = store.fork(&Fork::new("s", "other")).unwrap_err();
    assert_eq!(conflict.conflict().unwrap().actual, Some(Revision(0)));
    // A fork has a head of its own for what is appended to it.
    let _ = fork(&store, "s", None, "x");
    let again = [NewEvent::new("t", "again")];
    for expected in [Expected::NoStream, Expected::Exactly(Revision(1))] {
        let error = store.append(&Batch::to("x", expected, &again)).unwrap_err();
        assert_eq!(error.conflict().unwrap().actual, Some(Revision(0)), "{error}");
    }
    let receipt = store.append(&Batch::to("x", Expected::Exactly(Revision(0)), &again)).unwrap();
    assert_eq!(receipt.sections[0].first_revision, Revision(1));
    let read_only = open_read_only(&storage);
    assert_eq!(read_only.fork(&Fork::new("s", "y")).unwrap_err().kind(), ErrorKind::ReadOnly);
}

#[test]
fn p12_a_fork_tried_again_is_the_first_one() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "s", b"0");
    let id = BatchId([7; 16]);
    let first = store.fork(&Fork::new("s", "x").with_id(id)).unwrap();
    let _ = put(&store, "s", b"1");
    let _ = put(&store, "x", b"own");
    let same = |store: &Store| {
        let again = store.fork(&Fork::new("s", "x").with_id(id)).unwrap();
        assert!(again.receipt.is_repeated);
        assert_eq!(
            (again.stream, again.revision, again.receipt.position),
            (first.stream, Revision(0), first.receipt.position)
        );
        assert_eq!(again.receipt.token(), first.receipt.token());
    };
    same(&store);
    for other in [Fork::new("s", "x"), Fork::new("s", "x").with_id(id).at(Revision(1)), Fork::new("x", "x").with_id(id)]
    {
        assert_eq!(store.fork(&other).unwrap_err().kind(), ErrorKind::Conflict);
    }
    store.close().unwrap();
    same(&open(&storage));
}

#[test]
fn p13_who_follows_a_fork_gets_what_it_shares_then_what_comes() {
    let storage = MemStorage::new();
    let store = open(&storage);
    for number in 0..5u64 {
        let _ = put(&store, "s", &number.to_le_bytes());
    }
    let options = |name: &str| SubscribeOptions::stream(name).visibility(Visibility::Committed);
    let mut before = store.subscribe(options("x")).unwrap();
    let mut from = store.subscribe(options("x").from(Revision(2))).unwrap();
    assert!(before.try_next().unwrap().is_none() && from.try_next().unwrap().is_none());
    let _ = fork(&store, "s", Some(3), "x");
    let _ = put(&store, "x", b"own");
    let _ = put(&store, "s", b"not of the fork");
    let mut after = store.subscribe(options("x")).unwrap();
    let token = store.event("s", Revision(1), Visibility::Committed).unwrap().unwrap().token();
    let mut behind = store.subscribe(options("x").after_token(&token)).unwrap();
    let revisions = |subscription: &mut treering::Subscription| {
        let mut all = Vec::new();
        while let Some(event) = subscription.try_next().unwrap() {
            assert_eq!(subscription.token(), Some(event.token()));
            all.push(event.revision.0);
        }
        all
    };
    assert_eq!(revisions(&mut before), [0, 1, 2, 3, 4]);
    assert_eq!(revisions(&mut after), [0, 1, 2, 3, 4]);
    assert_eq!(revisions(&mut from), [2, 3, 4]);
    assert_eq!(revisions(&mut behind), [2, 3, 4]);
    let _ = put(&store, "x", b"live");
    for subscription in [&mut before, &mut after, &mut from, &mut behind] {
        assert_eq!(block_on(subscription.next_async()).unwrap().revision, Revision(5));
        assert!(subscription.try_next().unwrap().is_none());
    }
}

/// Flips a byte in the frame at a position.
fn flip(storage: &MemStorage, position: u64) {
    let (ordinal, offset) = (position / small_segment(), position % small_segment());
    let file = storage.open(&format!("{ordinal:016x}.segment"), Access::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, offset + 20).unwrap();
    file.write_at(&[byte[0] ^ 0x10], offset + 20).unwrap();
}

/// Two forks in a row, the second without an event, whose frames are lost but listed by an index block; the store is written on.
#[test]
fn p05_a_fork_whose_frame_is_lost_is_named_and_read_as_an_index_block_lists_it() {
    let storage = MemStorage::new();
    let store = open(&storage);
    for number in 0..6u64 {
        let _ = put(&store, "s", &number.to_le_bytes());
    }
    let first = fork(&store, "s", Some(2), "first");
    let _ = put(&store, "first", b"own");
    let second = fork(&store, "first", None, "second");
    let alone = fork(&store, "s", Some(1), "alone");
    for number in 0..40 {
        let _ = put(&store, "s", &noise(number, 300));
    }
    store.close().unwrap();
    for forked in [&first, &second, &alone] {
        flip(&storage, forked.receipt.position.0);
    }
    let check = |store: &Store, own: &[u64]| {
        let revisions =
            |name| stream(store, name, committed()).iter().map(|event| event.revision.0).collect::<Vec<_>>();
        assert_eq!(revisions("first"), [0, 1, 2, 3], "{:?}", store.streams());
        assert_eq!(revisions("second"), [&[0, 1, 2, 3][..], own].concat());
        assert_eq!(revisions("alone"), [0, 1]);
        let lineage = store.lineage("second").unwrap();
        let told: Vec<_> = lineage.iter().map(|point| (&*point.parent_name, point.revision.0, point.depth)).collect();
        assert_eq!(told, [("first", 3, 2), ("s", 2, 1)]);
    };
    for storage in [without_indexes(&storage), storage] {
        check(&open_read_only(&storage), &[]);
        let store = open(&storage);
        check(&store, &[]);
        let receipt = put(&store, "second", b"goes on");
        assert_eq!(receipt.sections[0].first_revision, Revision(4));
        let third = fork(&store, "second", None, "third");
        assert_eq!(store.fork_point("third").unwrap().unwrap().depth, 3);
        assert_eq!(third.revision, Revision(4));
        store.close().unwrap();
        check(&open_read_only(&storage), &[4]);
    }
}

#[test]
fn p05_a_damaged_event_is_told_to_who_reads_the_fork_as_to_who_reads_its_parent() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let mut lost = 0;
    for number in 0..30 {
        let receipt = put(&store, "s", &noise(number, 300));
        lost = if number == 7 { receipt.position.0 } else { lost };
    }
    let _ = fork(&store, "s", Some(20), "x");
    let _ = put(&store, "x", b"own");
    store.close().unwrap();
    flip(&storage, lost);
    let store = open(&storage);
    let told = |name: &str, backwards: bool| {
        let options = if backwards { committed().backwards() } else { committed() };
        let mut reader = store.read_stream(name, options).unwrap();
        let (mut events, mut damage) = (Vec::new(), Vec::new());
        while let Some(event) = reader.next() {
            match event {
                Ok(event) => events.push(event.revision().0),
                Err(error) => damage.push(error.damage().unwrap().positions.clone()),
            }
        }
        (events, damage)
    };
    for backwards in [false, true] {
        let (mut events, damage) = told("x", backwards);
        events.sort_unstable();
        assert_eq!(events, (0..=21).filter(|revision| *revision != 7).collect::<Vec<_>>());
        assert_eq!(damage, told("s", backwards).1);
        assert_eq!(damage.len(), 1);
    }
    let error = store.fork(&Fork::new("s", "at the loss").at(Revision(7))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damage, "{error}");
    assert_eq!(store.event("x", Revision(7), Visibility::Committed).unwrap_err().kind(), ErrorKind::Damage);
    let fine = store.fork(&Fork::new("x", "behind it").at(Revision(8))).unwrap();
    assert_eq!(fine.revision, Revision(8));
}

/// The frame that made an ancestor is lost, and no index block lists it: whose its events are is still known.
#[test]
fn p05_events_of_an_ancestor_whose_own_fork_is_lost_are_read_through_its_forks() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "s", b"0");
    let _ = put(&store, "s", b"1");
    let lost = fork(&store, "s", Some(1), "x");
    let _ = put(&store, "x", b"of x");
    let _ = fork(&store, "x", None, "silent");
    let _ = fork(&store, "silent", None, "late");
    store.sync().unwrap();
    let _ = put(&store, "late", b"of late");
    store.sync().unwrap();
    let left = storage.deep_copy().unwrap();
    flip(&left, lost.receipt.position.0);
    let store = open_read_only(&left);
    for options in [committed(), committed().backwards()] {
        let mut reader = store.read_stream("late", options).unwrap();
        let (mut payloads, mut damage) = (Vec::new(), 0);
        while let Some(event) = reader.next() {
            match event {
                Ok(event) => payloads.push(event.payload().to_vec()),
                Err(error) => damage += usize::from(error.damage().is_some()),
            }
        }
        payloads.sort();
        assert_eq!(payloads, [b"of late".to_vec(), b"of x".to_vec()]);
        assert!(damage > 0, "what was shared before is told");
    }
}
