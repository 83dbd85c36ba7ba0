//! Work: which streams have something to do, held against a scan of the whole log; and intents that have no outcome.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};
use treering::{
    Batch, Durability, ErrorKind, Event, Expected, NewEvent, Options, Position, ReadOptions, Revision, Store,
    Visibility, WorkFinder, WorkOptions,
};
use treering_tests::store::{PATIENCE, everything, noise, open, open_read_only, put, small, try_put};

fn options() -> WorkOptions {
    WorkOptions::new(["ask", "again"], ["done", "failed"]).visibility(Visibility::Committed)
}

fn append(store: &Store, stream: &str, event_type: &str) -> Position {
    let event = [NewEvent::new(event_type, "{}")];
    let batch = Batch::to(stream, Expected::Any, &event).durability(Durability::Written);
    store.append(&batch).unwrap().sections[0].first_position
}

/// Stream, revision, position, type: what is open, the oldest first.
type Found = Vec<(String, u64, u64, String)>;

/// By a look at every event of the log from a place on.
fn scanned(events: &[Event], from: Position, prefix: &str) -> Found {
    let mut open: BTreeMap<&str, &Event> = BTreeMap::new();
    for event in events.iter().filter(|event| event.position >= from && event.stream.starts_with(prefix)) {
        match &*event.event_type {
            "ask" | "again" => _ = open.entry(&event.stream).or_insert(event),
            "done" | "failed" => _ = open.remove(&*event.stream),
            _ => {}
        }
    }
    let found =
        |event: &&Event| (event.stream.to_string(), event.revision.0, event.position.0, event.event_type.to_string());
    let mut all: Found = open.values().map(found).collect();
    all.sort_by_key(|found| found.2);
    all
}

fn found(finder: &WorkFinder) -> Found {
    let found =
        |work: &treering::Work| (work.stream.to_string(), work.revision.0, work.position.0, work.event_type.clone());
    finder.open().map(found).collect()
}

/// A finder that has looked.
fn finder(store: &Store, options: WorkOptions) -> WorkFinder {
    let mut finder = store.find_work(options).unwrap();
    finder.look().unwrap();
    finder
}

/// Small random numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Finders of all kinds beside a log that grows, in the process that writes and in another, through openings.
#[test]
fn p13_a_finder_of_work_says_what_a_scan_of_the_log_says() {
    for seed in 0..6 {
        let mut dice = Dice(seed);
        let storage = MemStorage::new();
        let reopen = || Store::open_on(Arc::new(storage.clone()), small().background_threads(false)).unwrap();
        let mut store = reopen();
        let _ = put(&store, "a0", b"begun");
        let reader = open_read_only(&storage);
        let most = [1, 2, 5, 40][seed as usize % 4];
        let mut near = store.find_work(options().most(most)).unwrap();
        let mut far = reader.find_work(options()).unwrap();
        let mut part = reader.find_work(options().most(most).stream_prefix("b")).unwrap();
        for round in 0..120 {
            for _ in 0..dice.below(20) {
                let stream = format!("{}{}", ["a", "b"][dice.below(2) as usize], dice.below(12));
                let kind = ["ask", "again", "done", "failed", "done", "note", "note"][dice.below(7) as usize];
                let _ = append(&store, &stream, kind);
                let _ = put(&store, &stream, &noise(round, dice.below(200) as usize));
            }
            store.sync().unwrap();
            store.work_in_background().unwrap();
            if dice.below(10) == 0 {
                let token = near.token();
                drop(near);
                store.close().unwrap();
                store = reopen();
                let options = options().most(most);
                let options = token.as_ref().map_or(options.clone(), |token| options.clone().after_token(token));
                near = finder(&store, options);
            }
            let events = everything(&store);
            let all = scanned(&events, Position::ZERO, "");
            for (known, all) in [(&mut near, &all), (&mut part, &scanned(&events, Position::ZERO, "b"))] {
                known.look().unwrap();
                let open = found(known);
                assert_eq!(open, all[..open.len()], "seed {seed} round {round}");
                assert!(known.has_more() || open.len() == all.len(), "seed {seed} round {round}");
                assert!(open.len() == all.len() || open.len() > most / 2, "seed {seed} round {round}");
                assert!(open.len() <= most);
            }
            far.look().unwrap();
            assert_eq!(found(&far), all, "seed {seed} round {round}");
            // Behind the place of any of them everything is found again, by a finder that knows nothing else.
            for known in [&near, &far] {
                let options = known.token().as_ref().map_or(options(), |token| options().after_token(token));
                assert_eq!(found(&finder(&store, options)), all, "seed {seed} round {round}");
            }
            if let Some(event) = events.get(dice.below(events.len() as u64) as usize) {
                let late = finder(&store, options().from(event.position));
                assert_eq!(found(&late), scanned(&events, event.position, ""), "seed {seed} round {round}");
            }
        }
        assert!(store.stat().unwrap().indexed_segments > 3, "segments with indexes were among them");
    }
}

#[test]
fn p13_a_finder_that_waits_is_woken_by_what_concerns_it() {
    let folder = tempfile::tempdir().unwrap();
    let together = || Store::open(folder.path(), small()).unwrap();
    let (store, other) = (together(), together());
    let mut finder = other.find_work(options()).unwrap();
    assert!(!finder.wait(Duration::from_millis(1)).unwrap());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            assert!(finder.wait(PATIENCE).unwrap());
            while finder.open().next().is_some() {
                finder.wait(PATIENCE).unwrap();
            }
        });
        for _ in 0..20 {
            let _ = put(&store, "s", b"note");
        }
        let _ = append(&store, "s", "ask");
        while !waiting.is_finished() {
            let _ = append(&store, "s", "done");
            std::thread::sleep(Duration::from_millis(1));
        }
        waiting.join().unwrap();
    });
}

#[test]
fn p13_a_finder_sees_what_its_visibility_shows_and_refuses_what_makes_no_sense() {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage.clone()), small().background_threads(false)).unwrap();
    let _ = append(&store, "s", "ask");
    let mut durable = finder(&store, options().visibility(Visibility::Durable));
    assert_eq!((found(&durable).len(), found(&finder(&store, options())).len()), (0, 1));
    store.sync().unwrap();
    durable.look().unwrap();
    assert_eq!(found(&durable).len(), 1);
    let none: [&str; 0] = [];
    for bad in [WorkOptions::new(none, none), WorkOptions::new(["a"].as_slice().to_vec(), Vec::new())] {
        assert_eq!(store.find_work(bad).unwrap_err().kind(), ErrorKind::Invalid);
    }
    let both = WorkOptions::new(["a", "b"], ["b", "c"]);
    assert_eq!(store.find_work(both).unwrap_err().kind(), ErrorKind::Invalid);
}

/// Damage is told once, by the look that meets it, and what lies behind it is found.
#[test]
fn p05_a_finder_of_work_tells_of_damage_and_goes_on_behind_it() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = append(&store, "before", "ask");
    let hit = append(&store, "lost", "ask");
    let _ = append(&store, "behind", "ask");
    store.close().unwrap();
    let file = storage.open("0000000000000000.segment", Access::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, hit.0 + 75).unwrap();
    file.write_at(&[byte[0] ^ 4], hit.0 + 75).unwrap();
    let store = Store::open_read_only_on(Arc::new(storage), Options::new()).unwrap();
    let mut finder = store.find_work(options()).unwrap();
    assert_eq!(finder.look().unwrap_err().kind(), ErrorKind::Damage);
    assert_eq!(found(&finder).len(), 1);
    finder.look().unwrap();
    let streams: Vec<String> = found(&finder).into_iter().map(|found| found.0).collect();
    assert_eq!(streams, ["before", "behind"]);
    finder.look().unwrap();
}

fn event<'a>(event_type: &'a str, id: &'a str) -> NewEvent<'a> {
    match id {
        "" => NewEvent::new(event_type, "{}"),
        id => NewEvent::new(event_type, "{}").id(id),
    }
}

#[test]
fn p13_intents_without_an_outcome_are_listed() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let ask = |stream: &str, options: ReadOptions<'_>| {
        let options = options.visibility(Visibility::Committed);
        store.open_intents(stream, &["call", "pay"], &["result", "error"], options)
    };
    let revisions = |stream: &str, options| -> Vec<u64> {
        ask(stream, options).unwrap().iter().map(|event| event.revision.0).collect()
    };
    let history = [
        ("call", "a", &[0][..]),
        ("note", "a", &[0]),
        ("pay", "b", &[0, 2]),
        ("result", "b", &[0]),
        ("result", "b", &[0]),
        ("call", "a", &[0, 5]), // tried again
        ("error", "a", &[]),
        ("call", "", &[7]),
        ("pay", "", &[7, 8]),
        ("result", "c", &[7, 8]),
        ("result", "", &[8]),
        ("call", "d", &[8, 11]),
        ("result", "", &[11]),
        ("result", "", &[11]),
    ];
    for (event_type, id, open) in history {
        let _ = store.append(&Batch::to("s", Expected::Any, &[event(event_type, id)])).unwrap();
        assert_eq!(revisions("s", ReadOptions::new()), open, "behind {event_type} {id:?}");
    }
    assert_eq!(revisions("s", ReadOptions::new().to(Revision(5))), [0, 5]);
    assert_eq!(revisions("s", ReadOptions::new().from(Revision(3)).to(Revision(5))), [5]);
    let open = ask("s", ReadOptions::new()).unwrap();
    assert_eq!((&*open[0].event_type, open[0].id.as_deref()), ("call", Some("d")));
    // It is another process that looks.
    store.sync().unwrap();
    let reader = open_read_only(&storage);
    assert_eq!(reader.open_intents("s", &["call"], &["result"], ReadOptions::new()).unwrap().len(), 3);
    let _ = try_put(&store, "other", b"", Durability::Written).unwrap();
    assert_eq!(revisions("other", ReadOptions::new()), [0; 0]);
    assert_eq!(ask("nowhere", ReadOptions::new()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(ask("s", ReadOptions::new().backwards()).unwrap_err().kind(), ErrorKind::Invalid);
    let both = store.open_intents("s", &["call"], &["call"], ReadOptions::new());
    assert_eq!(both.unwrap_err().kind(), ErrorKind::Invalid);
}
