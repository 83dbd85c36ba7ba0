//! Reading a store that was hurt, with a directory from before and without one: whatever the log hands out, its stream does too.

use std::collections::BTreeMap;
use std::sync::Arc;

use treering::maintain;
use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};
use treering::{
    Batch, Expected, Fork, NewEvent, Position, ReadAllOptions, ReadOptions, Revision, Store, StreamReader, Visibility,
};
use treering_tests::image::Image;
use treering_tests::store::{noise, open_read_only};

use crate::directory::{derived, open};

/// Draws numbers from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn is_one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// A store and what was done to it.
struct Life {
    draw: Draw,
    storage: MemStorage,
    batches: u64,
    forks: Vec<String>,
}

impl Life {
    fn new(seed: u64) -> Life {
        Life { draw: Draw(seed), storage: MemStorage::new(), batches: 0, forks: Vec::new() }
    }

    fn stream(&mut self) -> String {
        match self.draw.below(12) {
            0 if !self.forks.is_empty() => {
                let index = self.draw.below(self.forks.len() as u64) as usize;
                self.forks[index].clone()
            }
            1 => format!("seldom/{}", self.draw.below(60)),
            _ => format!("often/{}", self.draw.below(5)),
        }
    }

    /// One thing that a user does. What is refused behind a loss is of no interest here.
    fn act(&mut self, store: &Store) {
        let stream = self.stream();
        let number = self.batches;
        self.batches += 1;
        let payload = noise(number, 20 + self.draw.below(400) as usize);
        let events = [NewEvent::new("t", &payload), NewEvent::new("u", "beside")];
        let events = &events[..1 + self.draw.below(2) as usize];
        match self.draw.below(30) {
            0 => {
                let fork = format!("fork/{number}");
                if store.fork(&Fork::new(&stream, &fork)).is_ok() {
                    self.forks.push(fork);
                }
            }
            1 => store.work_in_background().unwrap(),
            _ => drop(store.append(&Batch::to(&stream, Expected::Any, events))),
        }
    }

    /// A writer opens the store, does some things, and closes it or dies.
    fn go_on(&mut self, steps: u64) {
        let store = open(&self.storage);
        for _ in 0..steps {
            self.act(&store);
        }
        store.work_in_background().unwrap();
        if self.draw.is_one_in(3) {
            let killed = Image::take(&self.storage);
            drop(store);
            killed.put_back(&self.storage);
        } else {
            store.close().unwrap();
        }
    }

    /// Something happens to a file of the log, as `kind` says.
    fn hurt(&mut self, kind: u64) {
        let segments = Image::take(&self.storage).segments();
        let (name, bytes) = &segments[self.draw.below(segments.len() as u64) as usize];
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64 + 1;
        let file = self.storage.open(name, Access::ReadWrite).unwrap();
        match kind {
            0 => self.storage.remove(name).unwrap(),
            1 => file.write_at(&[0; 8192], 0).unwrap(),
            2 => file.write_at(&[7; 10], 4096 * self.draw.below(2) + 100).unwrap(),
            3 => {
                let at = self.draw.below(used);
                file.write_at(&vec![0; 3000.min(used - at) as usize], at).unwrap();
            }
            _ => {
                let at = self.draw.below(used);
                let len = 1 + self.draw.below(120).min(used - at);
                file.write_at(&noise(at, len as usize), at).unwrap();
            }
        }
    }

    fn remove_directory(&self) {
        for name in derived(&self.storage) {
            self.storage.remove(&name).unwrap();
        }
    }

    /// Accepts whatever is lost, where that can be done.
    fn accept(&self) {
        let shared = || Arc::new(self.storage.clone());
        if let Ok(plan) = maintain::accept_plan_on(shared(), &mut ()) {
            let _ = maintain::accept_on(shared(), &plan);
        }
    }
}

/// The revisions that a reader hands out, with their positions. What is missing between them it must tell.
fn revisions(mut reader: StreamReader, what: &str) -> Vec<(u64, u64)> {
    let (mut found, mut is_told) = (Vec::<(u64, u64)>::new(), false);
    while let Some(event) = reader.next() {
        match event {
            Ok(event) => {
                let revision = event.revision().0;
                let is_next = found.last().is_none_or(|(before, _)| before.abs_diff(revision) == 1);
                assert!(is_next || is_told, "{what}: passes over what is lost before {revision}");
                found.push((revision, event.position().0));
                is_told = false;
            }
            Err(error) => {
                assert!(error.damage().is_some(), "{what}: {error}");
                is_told = true;
            }
        }
    }
    found
}

/// What the log hands out of each stream, its stream hands out too, however it is asked for.
fn check(storage: &MemStorage, when: &str) {
    let store = open_read_only(storage);
    let mut log = BTreeMap::<String, Vec<(u64, u64)>>::new();
    let mut reader = store.read_all(ReadAllOptions::new().visibility(Visibility::Committed)).unwrap();
    while let Some(event) = reader.next() {
        if let Ok(event) = event {
            log.entry(event.stream().into()).or_default().push((event.revision().0, event.position().0));
        }
    }
    let end = store.open_report().end.0;
    for (name, expected) in log {
        let what = |how: &str| format!("{when}, {name} {how}");
        let first = store.stream(&name).unwrap().expect("the log has events of it").first.0;
        let committed = || ReadOptions::new().visibility(Visibility::Committed);
        // Where the log cannot prove that a frame is its own, an index may lead to it all the same: a stream may hand out more.
        let check = |options: ReadOptions<'_>, how: &str, below: u64| {
            let mut found = revisions(store.read_stream(&name, options).unwrap(), &what(how));
            found.retain(|(revision, _)| *revision >= first);
            assert!(found.iter().all(|(_, position)| *position < below), "{}: {found:?}", what(how));
            let missing: Vec<_> = expected.iter().filter(|event| event.1 < below && !found.contains(event)).collect();
            assert!(missing.is_empty(), "{}: {missing:?} is not handed out", what(how));
        };
        check(committed(), "forwards", u64::MAX);
        check(committed().backwards(), "backwards", u64::MAX);
        for part in 1..6 {
            let at = Position(end * part / 6);
            check(ReadOptions::new().at(at), &format!("at {at}"), at.0);
        }
        for (revision, position) in &expected {
            let event = store.event(&name, Revision(*revision), Visibility::Committed);
            let found = event.map(|event| event.map(|event| event.position.0)).map_err(|error| error.to_string());
            assert_eq!(found, Ok(Some(*position)), "{}, revision {revision}", what("looked up"));
        }
    }
}

fn live(seed: u64) {
    let mut life = Life::new(seed);
    for _ in 0..1 + life.draw.below(3) {
        let steps = 20 + life.draw.below(150);
        life.go_on(steps);
    }
    let kind = life.draw.below(12);
    life.hurt(kind);
    if kind > 1 && life.draw.is_one_in(2) {
        life.hurt(4);
    }
    check(&life.storage, &format!("seed {seed}, hurt"));
    if life.draw.is_one_in(2) {
        life.accept();
        let steps = 20 + life.draw.below(60);
        life.go_on(steps);
        check(&life.storage, &format!("seed {seed}, accepted"));
    }
    life.remove_directory();
    check(&life.storage, &format!("seed {seed}, without the directory"));
}

#[test]
fn p05_what_the_log_hands_out_behind_damage_its_stream_hands_out_too() {
    (0..200).for_each(live);
}
