//! Snapshots: side forks that stand for a range, what is read through them, and what they never do.

use std::sync::Arc;

use treering::storage::mem::MemStorage;
use treering::{
    Batch, BatchId, ContextOptions, ContextPart, Durability, ErrorKind, Expected, Fork, NewEvent, NewSnapshot, Options,
    ReadAllOptions, ReadOptions, Revision, Snapshot, Snapshotted, Store, SubscribeOptions, Visibility, maintain,
};
use treering_tests::image::{Image, put_file};
use treering_tests::mutate::{Change, apply};
use treering_tests::store::{everything, log, open, open_read_only, put, stream};
use treering_tests::vectors;

fn committed() -> ContextOptions<'static> {
    ContextOptions::new().visibility(Visibility::Committed)
}

fn range(first: u64, end: u64) -> std::ops::Range<Revision> {
    Revision(first)..Revision(end)
}

fn snapshot(store: &Store, name: &str, first: u64, end: u64, label: &str) -> Snapshotted {
    let text = format!("{label} of {name} {first}..{end}");
    let events = [NewEvent::new("summary", &text), NewEvent::new("note", "second")];
    let new = NewSnapshot::new(name, range(first, end), label, &events).version("v1");
    store.snapshot(&new.durability(Durability::Written)).unwrap()
}

fn fill(store: &Store, name: &str, count: u64) {
    for _ in 0..count {
        let next = store.stream(name).unwrap().map_or(0, |stream| stream.head.0 + 1);
        let _ = put(store, name, format!("{name} {next} ").repeat(20).as_bytes());
    }
}

/// The context in a line: `[0..7 sum]` for a snapshot, `7-9` for events.
fn told(store: &Store, name: &str, options: ContextOptions<'_>) -> String {
    let context = store.context(name, options).unwrap();
    let part = |part: &ContextPart| match part {
        ContextPart::Snapshot(Snapshot { range, label, .. }) => format!("[{}..{} {label}]", range.start, range.end),
        ContextPart::Events(first, last) => format!("{first}-{last}"),
    };
    // What is read is what the parts say.
    let mut reader = context.read();
    let (mut events, mut next) = (0, 0);
    while let Some(event) = reader.next() {
        let (stream, revision) = event.map(|event| (event.stream().to_owned(), event.revision())).unwrap();
        match reader.part().unwrap() {
            ContextPart::Snapshot(snapshot) => {
                assert!(snapshot.events.contains(&revision) && *snapshot.stream == stream);
                next = snapshot.range.end.0;
            }
            ContextPart::Events(first, last) => {
                assert_eq!(revision.0, next.max(first.0));
                assert!(revision <= *last && !stream.starts_with('$'));
                next = revision.0 + 1;
            }
        }
        events += 1;
    }
    assert_eq!((events, next), (context.len(), context.at.map_or(0, |at| at.0 + 1)));
    context.parts.iter().map(part).collect::<Vec<_>>().join(" ")
}

#[test]
fn p16_a_context_is_the_newest_snapshots_and_the_events_behind_them() {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, "s", 10);
    assert_eq!(told(&store, "s", committed()), "0-9");
    let _ = snapshot(&store, "s", 0, 6, "sum");
    assert_eq!(told(&store, "s", committed()), "[0..6 sum] 6-9");
    fill(&store, "s", 10);
    let _ = snapshot(&store, "s", 6, 15, "sum");
    assert_eq!(told(&store, "s", committed()), "[0..6 sum] [6..15 sum] 15-19");
    // Another strategy, and the same one once more over all of it.
    let _ = snapshot(&store, "s", 2, 18, "other");
    assert_eq!(told(&store, "s", committed()), "0-1 [2..18 other] 18-19");
    assert_eq!(told(&store, "s", committed().label("sum")), "[0..6 sum] [6..15 sum] 15-19");
    let _ = snapshot(&store, "s", 0, 12, "sum");
    assert_eq!(told(&store, "s", committed().label("sum")), "[0..12 sum] 12-19", "the newest counts");
    assert_eq!(told(&store, "s", committed().label("nobody's")), "0-19");
    assert_eq!(told(&store, "s", committed().proven()), "0-1 [2..18 other] 18-19");
    store.close().unwrap();
    for store in [open_read_only(&storage), open(&storage)] {
        assert_eq!(told(&store, "s", committed()), "0-1 [2..18 other] 18-19");
        assert_eq!(told(&store, "s", committed().label("sum").proven()), "[0..12 sum] 12-19");
        let all: Vec<Snapshot> = store.snapshots("s").unwrap().into_iter().map(Result::unwrap).collect();
        let ranges: Vec<_> = all.iter().map(|one| (&*one.label, one.range.start.0, one.range.end.0)).collect();
        assert_eq!(ranges, [("sum", 0, 6), ("sum", 6, 15), ("sum", 0, 12), ("other", 2, 18)]);
        // From an event of a snapshot back to what it stands for.
        for one in &all {
            for revision in one.events.start.0..one.events.end.0 {
                assert_eq!(store.snapshot_of(&one.stream, Revision(revision)).unwrap().as_ref(), Some(one));
            }
        }
        assert_eq!(store.snapshot_of("s", Revision(0)).unwrap(), None);
        assert_eq!(stream(&store, "s", ReadOptions::new().visibility(Visibility::Committed)).len(), 20);
    }
}

/// A context at a revision is the same however much came later, and as it was told then.
#[test]
fn p16_a_context_of_the_past_is_what_it_was_then() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let mut then = Vec::new();
    for round in 0..12 {
        fill(&store, "s", 3);
        if round % 3 == 1 {
            let head = store.stream("s").unwrap().unwrap().head.0;
            let _ = snapshot(&store, "s", 0, head - 1, "sum");
        }
        let head = store.stream("s").unwrap().unwrap().head;
        then.push((head, told(&store, "s", committed())));
    }
    let _ = snapshot(&store, "s", 0, 1, "sum");
    let _ = snapshot(&store, "s", 0, 35, "too late for all but the head");
    for (at, told_then) in &then[..then.len() - 1] {
        assert_eq!(&told(&store, "s", committed().at(*at)), told_then, "at {at}");
    }
    store.close().unwrap();
    let store = open_read_only(&storage);
    for (at, told_then) in &then[..then.len() - 1] {
        assert_eq!(&told(&store, "s", committed().at(*at)), told_then, "at {at}");
    }
    assert!(told(&store, "s", committed()).starts_with("[0..35 too late"));
}

#[test]
fn p16_a_fork_has_the_snapshots_that_lie_before_its_fork_point() {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, "s", 20);
    let _ = snapshot(&store, "s", 0, 8, "sum");
    let _ = snapshot(&store, "s", 8, 16, "sum");
    let fork = |parent: &str, at: u64, name: &str| {
        let _ = store.fork(&Fork::new(parent, name).at(Revision(at)).durability(Durability::Written)).unwrap();
    };
    fork("s", 12, "early");
    fork("s", 15, "exact");
    fork("early", 10, "of it");
    fill(&store, "early", 5);
    fill(&store, "of it", 5);
    // Made after the fork, of a range before it: it says the same of what both share.
    assert_eq!(told(&store, "early", committed()), "[0..8 sum] 8-17");
    assert_eq!(told(&store, "exact", committed()), "[0..8 sum] [8..16 sum]");
    assert_eq!(told(&store, "of it", committed()), "[0..8 sum] 8-15");
    // Its own range may reach over its fork point; its parent knows nothing of it.
    let _ = snapshot(&store, "early", 4, 16, "mine");
    assert_eq!(told(&store, "early", committed()), "0-3 [4..16 mine] 16-17");
    assert_eq!(told(&store, "early", committed().label("sum")), "[0..8 sum] 8-17");
    assert_eq!(told(&store, "s", committed()), "[0..8 sum] [8..16 sum] 16-19");
    assert_eq!(told(&store, "of it", committed()), "[0..8 sum] 8-15");
    assert_eq!(told(&store, "early", committed().proven()), "0-3 [4..16 mine] 16-17");
    // The chain of a fork goes on from its parent's. [CHN-2]
    assert_eq!(store.chain("s", 13).unwrap(), store.chain("early", 13).unwrap());
    assert_ne!(store.chain("s", 14).unwrap(), store.chain("early", 14).unwrap());
    store.close().unwrap();
    let report = maintain::verify_on(Arc::new(storage), &mut ()).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn p10_snapshots_are_beside_the_log_and_change_nothing_of_it() {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, "s", 50);
    store.sync().unwrap();
    // The end first: the background may append a seal at any time.
    let end = store.watermarks().committed.0;
    let (before, events) = (Image::take(&storage).segments(), everything(&store));
    let made = snapshot(&store, "s", 0, 40, "sum");
    let token = events[3].token();
    let _ = store.append(&Batch::new().cursor("c", &token, Expected::Any)).unwrap();
    // What was appended while it was computed stays.
    fill(&store, "s", 1);
    assert_eq!(told(&store, "s", committed()), "[0..40 sum] 40-50");
    for (name, old) in before {
        let base = u64::from_str_radix(&name[..16], 16).unwrap() * (16 << 10);
        let len = (end.saturating_sub(base) as usize).min(old.len());
        assert_eq!(
            Image::take(&storage).segments().into_iter().find(|(other, _)| *other == name).unwrap().1[..len],
            old[..len]
        );
    }
    // Who reads or follows the whole log, or lists the streams, does not meet it unless he asks.
    assert_eq!(everything(&store)[..50], events[..]);
    assert_eq!(everything(&store).len(), 51);
    let all = log(&store, ReadAllOptions::new().visibility(Visibility::Committed).with_engine_streams());
    assert_eq!(all.len(), 54);
    assert_eq!(store.streams().unwrap().len(), 1);
    assert_eq!(store.streams_with_prefix("$snapshot/").unwrap().len(), 1);
    let mut following = store.subscribe(SubscribeOptions::all().visibility(Visibility::Committed)).unwrap();
    let mut followed = 0;
    while following.try_next().unwrap().is_some() {
        followed += 1;
    }
    assert_eq!(followed, 51);
    let of_it = SubscribeOptions::stream(&*made.snapshot.stream).visibility(Visibility::Committed);
    assert_eq!(&store.subscribe(of_it).unwrap().try_next().unwrap().unwrap().payload[..], b"sum of s 0..40");
}

/// [BAT-16] Somebody who knows the format wrote other chain values, a later range, or another place.
#[test]
fn p16_a_snapshot_that_does_not_match_is_ignored_and_told() {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, "s", 10);
    let _ = snapshot(&store, "s", 0, 5, "sum");
    let made = snapshot(&store, "s", 0, 8, "sum").snapshot;
    store.close().unwrap();
    let name = "0000000000000000.segment";
    let bytes = Image::take(&storage).segments()[0].1.clone();
    let chain_at = bytes.windows(32).position(|window| window == made.chain[1]).unwrap();
    let broken = |at: usize| {
        let copy = storage.deep_copy().unwrap();
        let mut changed = bytes.clone();
        let value = u64::from(changed[at] ^ 1);
        apply(&Change::Word { at, width: 1, value }, name, &mut changed);
        put_file(&copy, name, &changed);
        copy
    };
    // The chain at the end, then the one before the range (zeros), then the place.
    for (at, is_seen_at_once) in [(chain_at, false), (chain_at - 32, false), (chain_at - 33, true)] {
        let storage = broken(at);
        let store = open_read_only(&storage);
        let options = if is_seen_at_once { committed() } else { committed().proven() };
        assert_eq!(told(&store, "s", options), "[0..5 sum] 5-9");
        let context = store.context("s", options).unwrap();
        assert_eq!(context.ignored.len(), 1);
        let why = &context.ignored[0].why;
        assert!(why.to_string().contains("does not stand for what is there"), "{why}");
        let report = maintain::verify_on(Arc::new(storage), &mut ()).unwrap();
        assert!(!report.is_clean(), "{at}");
    }
}

#[test]
fn p16_a_snapshot_whose_own_events_are_lost_is_passed_over_and_told() {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, "s", 10);
    let _ = snapshot(&store, "s", 0, 4, "sum");
    let made = snapshot(&store, "s", 0, 8, "sum");
    fill(&store, "s", 2);
    store.close().unwrap();
    let bytes = Image::take(&storage).segments()[0].1.clone();
    let text = b"sum of s 0..8";
    let body = bytes.windows(text.len()).position(|window| window == text).unwrap();
    let frame = made.receipt.position.0 as usize;
    for at in [body, frame + 20] {
        let storage = storage.deep_copy().unwrap();
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        put_file(&storage, "0000000000000000.segment", &changed);
        let store = open_read_only(&storage);
        assert_eq!(told(&store, "s", committed()), "[0..4 sum] 4-11");
        let context = store.context("s", committed()).unwrap();
        assert_eq!(context.ignored.len(), 1);
        assert_eq!(context.ignored[0].why.kind(), ErrorKind::Damage);
        let lost = store.snapshots("s").unwrap().into_iter().filter(Result::is_err).count();
        assert_eq!(lost, usize::from(at != body));
    }
}

#[test]
fn p16_a_snapshot_outlives_the_loss_of_what_it_stands_for_and_none_is_made_of_what_is_lost() {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, "s", 10);
    let _ = snapshot(&store, "s", 0, 6, "sum");
    let side = store.snapshots("s").unwrap().remove(0).unwrap().stream.to_string();
    let lost = store.event("s", Revision(3), Visibility::Committed).unwrap().unwrap().position.0 as usize;
    let of_it = store.event(&side, Revision(0), Visibility::Committed).unwrap().unwrap().position.0 as usize;
    fill(&store, "s", 2);
    store.close().unwrap();
    let (name, mut bytes) = Image::take(&storage).segments().remove(0);
    bytes[lost + 20] ^= 1;
    put_file(&storage, &name, &bytes);
    let store = open(&storage);
    assert_eq!(told(&store, "s", committed()), "[0..6 sum] 6-11");
    let end = store.watermarks().committed;
    let events = [NewEvent::new("summary", "x")];
    let of_lost = store.snapshot(&NewSnapshot::new("s", range(0, 8), "again", &events)).unwrap_err();
    assert_eq!(of_lost.kind(), ErrorKind::Damage, "{of_lost}");
    assert_eq!(store.watermarks().committed, end);
    // A snapshot of a snapshot, and the same where that is lost.
    let of_side = store.snapshot(&NewSnapshot::new(&side, range(0, 2), "shorter", &events)).unwrap();
    assert_eq!(of_side.snapshot.range, range(0, 2));
    drop(store);
    let (name, mut bytes) = Image::take(&storage).segments().remove(0);
    bytes[of_it + 20] ^= 1;
    put_file(&storage, &name, &bytes);
    let store = open(&storage);
    let end = store.watermarks().committed;
    let error = store.snapshot(&NewSnapshot::new(&side, range(0, 2), "once more", &events)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damage, "{error}");
    assert_eq!(store.watermarks().committed, end);
}

#[test]
fn p12_what_cannot_be_a_snapshot_is_refused_with_nothing_written() {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, "s", 5);
    let end = store.watermarks().committed;
    let events = [NewEvent::new("summary", "x")];
    let long = "l".repeat(256);
    let refused = |new: NewSnapshot<'_>, kind: ErrorKind, word: &str| {
        let error = store.snapshot(&new).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(store.watermarks().committed, end, "{error}");
    };
    refused(NewSnapshot::new("s", range(3, 3), "l", &events), ErrorKind::Invalid, "holds none");
    refused(NewSnapshot::new("s", range(4, 2), "l", &events), ErrorKind::Invalid, "holds none");
    refused(NewSnapshot::new("s", range(0, 6), "l", &events), ErrorKind::NotFound, "ends with revision 4");
    refused(NewSnapshot::new("s", range(0, u64::MAX), "l", &events), ErrorKind::NotFound, "ends with revision 4");
    refused(NewSnapshot::new("nobody", range(0, 1), "l", &events), ErrorKind::NotFound, "nobody");
    refused(NewSnapshot::new("s", range(0, 1), "", &events), ErrorKind::Invalid, "label");
    refused(NewSnapshot::new("s", range(0, 1), &long, &events), ErrorKind::Limit, "label");
    refused(NewSnapshot::new("s", range(0, 1), "l", &events).version(&long), ErrorKind::Limit, "version");
    refused(NewSnapshot::new("s", range(0, 1), "l", &[]), ErrorKind::Invalid, "one event");
    let bad = [NewEvent::new("", "x")];
    refused(NewSnapshot::new("s", range(0, 1), "l", &bad), ErrorKind::Invalid, "type");
    // Nobody else appends to the streams that hold them.
    let side = "$snapshot/0000000000002000/l";
    let error = store.append(&Batch::to(side, Expected::Any, &events)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    for label in ["/", "a/b", " ", "наблюдатель ✓", "\0", &"l".repeat(255)] {
        let made = store.snapshot(&NewSnapshot::new("s", range(0, 5), label, &events)).unwrap();
        assert_eq!(&*made.snapshot.label, label);
        assert_eq!(told(&store, "s", committed().label(label)), format!("[0..5 {label}]"));
    }
}

#[test]
fn p12_a_snapshot_tried_again_is_the_first_one() {
    let storage = MemStorage::new();
    let store = open(&storage);
    fill(&store, "s", 5);
    let events = [NewEvent::new("summary", "x")];
    let new = || NewSnapshot::new("s", range(0, 4), "l", &events).with_id(BatchId([9; 16]));
    let first = store.snapshot(&new()).unwrap();
    fill(&store, "s", 5);
    let again = store.snapshot(&new()).unwrap();
    assert!(again.receipt.is_repeated);
    assert_eq!(again.snapshot, first.snapshot);
    assert_eq!(store.snapshots("s").unwrap().len(), 1);
}

/// Snapshot after snapshot of a stream that grows: each value of the chain is what folding from the beginning gives.
#[test]
fn p16_snapshots_of_a_growing_stream_are_bound_to_all_of_its_history() {
    let storage = MemStorage::new();
    let mut store = open(&storage);
    for round in 0..20u64 {
        fill(&store, "s", 7);
        let end = (round + 1) * 7 - round % 3;
        let _ = snapshot(&store, "s", if round % 2 == 0 { 0 } else { end - 5 }, end, ["a", "b"][(round % 2) as usize]);
        if round % 5 == 4 {
            store.close().unwrap();
            store = open(&storage);
        }
    }
    for one in store.snapshots("s").unwrap().into_iter().map(Result::unwrap) {
        let fresh = open_read_only(&storage);
        let chain = [one.range.start.0, one.range.end.0].map(|count| fresh.chain("s", count).unwrap());
        assert_eq!(one.chain, chain, "{one:?}");
    }
    store.close().unwrap();
    let report = maintain::verify_on(Arc::new(storage), &mut ()).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

/// A store that the engine had no part in making.
#[test]
fn p19_snapshots_and_cursors_that_another_writer_made_by_the_pages_are_read() {
    let (_, vector) = vectors::all().into_iter().find(|(name, _)| name == "valid/beside-streams").unwrap();
    let folder = vectors::copy(&vector);
    let store = Store::open_read_only(folder.path(), Options::new()).unwrap();
    assert_eq!(told(&store, "main", committed().proven()), "[0..4 summary] [4..5 summary] 5-5");
    assert_eq!(told(&store, "main", committed().at(Revision(4))), "[0..4 summary] 4-4");
    let place = store.cursor_place("mailer").unwrap().unwrap();
    let event = store.event("main", Revision(5), Visibility::Committed).unwrap().unwrap();
    assert_eq!((place.token, place.revision), (event.token(), Revision(1)));
    assert_eq!(store.streams().unwrap().len(), 1);
}
