//! The stores that are damaged: small, each with a few kinds of segments, closed or killed.

use std::fmt;
use std::sync::Arc;

use treering::storage::Storage;
use treering::storage::mem::{Fault, MemStorage, Operation};
use treering::{Batch, BootId, Compression, Durability, Expected, Fork, NewEvent, Options, Receipt, Revision, Store};

use crate::image::Image;
use crate::store::{noise, small, wait_until};

/// The length of a segment.
pub const SEGMENT_BYTES: u64 = 16 << 10;

/// The name of a segment file.
#[must_use]
pub fn segment(ordinal: u64) -> String {
    format!("{ordinal:016x}.segment")
}

/// How the stores are made and opened.
#[must_use]
pub fn options() -> Options {
    small().compression(Some(Compression { level: 1, min_bytes: 64 }))
}

/// Starts the machine anew.
pub fn boot(storage: &MemStorage, number: u8) {
    storage.set_boot_id(BootId([number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
}

/// Waits until every finished segment has its seal, so that the same is done in every run.
///
/// # Panics
/// Where that takes unreasonably long.
pub fn wait_for_seals(store: &Store) {
    wait_until("all finished segments are sealed", || {
        store.sync().unwrap();
        let stat = store.stat().unwrap();
        stat.sealed_segments + 1 >= stat.segments
    });
}

/// A store that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Segments of every kind: one that was full, one that a takeover left, a jumbo segment, one behind a torn tail, and the
    /// active one, which was closed; all finished ones sealed.
    Every,
    /// A segment that was full, with index blocks, sealed, and the active one, which was closed.
    Full,
    /// Two segments that were left early, one by a takeover, one with a torn tail, and the active one, which was closed.
    Left,
    /// A jumbo segment between two others.
    Jumbo,
    /// The writer was killed and its control page stands; of the end no more is witnessed than frames and watermark say.
    Killed,
    /// Forks of streams and of forks, in a segment that was full and in the active one, with and without events of their own; index
    /// blocks name them. It was closed.
    Forked,
    /// As [`Every`](Shape::Every), then a writer was killed, and watermark and control page are lost.
    Unwitnessed,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 7] =
        [Shape::Every, Shape::Full, Shape::Left, Shape::Jumbo, Shape::Killed, Shape::Forked, Shape::Unwitnessed];

    /// The small ones, which together have all that the large ones have.
    pub const SMALL: [Shape; 5] = [Shape::Full, Shape::Left, Shape::Jumbo, Shape::Killed, Shape::Forked];

    /// Its name in a replay line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Shape::Every => "every",
            Shape::Full => "full",
            Shape::Left => "left",
            Shape::Jumbo => "jumbo",
            Shape::Killed => "killed",
            Shape::Forked => "forked",
            Shape::Unwitnessed => "unwitnessed",
        }
    }

    /// Makes the store: its storage, and its files some appends earlier.
    pub(super) fn make(self, seed: u64) -> (MemStorage, Image) {
        let mut maker = Maker { storage: MemStorage::with_seed(seed), number: 0, earlier: None };
        match self {
            Shape::Every => maker.every(),
            Shape::Full => maker.full(),
            Shape::Left => maker.left(),
            Shape::Jumbo => maker.jumbo(),
            Shape::Killed => maker.killed(),
            Shape::Forked => maker.forked(),
            Shape::Unwitnessed => {
                maker.every();
                maker.kill_a_writer(4, 6);
                maker.storage.remove("watermark").unwrap();
                maker.storage.remove("control").unwrap();
            }
        }
        (maker.storage, maker.earlier.unwrap())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A store that is being made.
struct Maker {
    storage: MemStorage,
    /// Of the next batch.
    number: u64,
    earlier: Option<Image>,
}

impl Maker {
    fn open(&self) -> Store {
        Store::open_on(Arc::new(self.storage.clone()), options()).unwrap()
    }

    fn boot(&self, number: u8) -> Store {
        boot(&self.storage, number);
        self.open()
    }

    fn some(&mut self, store: &Store, count: u64, level: Durability) {
        for _ in 0..count {
            let _ = batch(store, self.number, level);
            self.number += 1;
        }
        if level == Durability::Synced {
            wait_for_seals(store);
        }
    }

    /// A whole life of a writer.
    fn life(&mut self, number: u8, count: u64) {
        let store = self.boot(number);
        self.some(&store, count, Durability::Synced);
        store.close().unwrap();
    }

    fn remember(&mut self) {
        self.earlier = Some(Image::take(&self.storage));
    }

    /// What every process does that is dead: nothing.
    fn kill(&self, store: Store) {
        self.storage.fail_after(0, std::io::ErrorKind::Other, true);
        drop(store);
        self.storage.clear_fault();
    }

    /// The writer is killed in the middle of a write, and finds out that it failed.
    fn tear(&self, store: Store) {
        let lost = noise(98, 900);
        self.storage.inject(Fault {
            after: 0,
            error: std::io::ErrorKind::Other,
            sticky: true,
            on: Some(Operation::Write),
            keep: 200,
        });
        let _ = store.append(&Batch::to("a", Expected::Any, &[NewEvent::new("lost", &lost)])).unwrap_err();
        self.kill(store);
    }

    fn big(&self, store: &Store) {
        let big = noise(99, 17_000);
        let _ = store.append(&Batch::to("e", Expected::Any, &[NewEvent::new("big", &big)])).unwrap();
    }

    fn every(&mut self) {
        self.life(1, 22);
        let store = self.boot(2);
        self.some(&store, 4, Durability::Synced);
        self.big(&store);
        self.some(&store, 3, Durability::Synced);
        self.remember();
        self.some(&store, 1, Durability::Synced);
        self.tear(store);
        let store = self.open();
        self.some(&store, 14, Durability::Synced);
        store.close().unwrap();
    }

    fn full(&mut self) {
        self.life(1, 17);
        self.remember();
        let store = self.open();
        self.some(&store, 5, Durability::Synced);
        store.close().unwrap();
    }

    fn left(&mut self) {
        self.life(1, 5);
        let store = self.boot(2);
        self.some(&store, 2, Durability::Synced);
        self.remember();
        self.some(&store, 2, Durability::Synced);
        self.tear(store);
        let store = self.open();
        self.some(&store, 4, Durability::Synced);
        store.close().unwrap();
    }

    fn jumbo(&mut self) {
        let store = self.boot(1);
        self.some(&store, 3, Durability::Synced);
        self.remember();
        self.big(&store);
        self.some(&store, 3, Durability::Synced);
        store.close().unwrap();
    }

    fn forked(&mut self) {
        let store = self.boot(1);
        self.some(&store, 5, Durability::Synced);
        fork(&store, "a", Some(1), "fork of a");
        fork(&store, "b", None, "fork of b");
        own(&store, "fork of a", 3);
        self.some(&store, 4, Durability::Synced);
        fork(&store, "fork of a", Some(3), "below");
        fork(&store, "fork of a", Some(0), "early");
        own(&store, "below", 2);
        own(&store, "fork of a", 1);
        self.some(&store, 8, Durability::Synced);
        fork(&store, "below", None, "silent");
        self.remember();
        fork(&store, "silent", None, "late");
        own(&store, "late", 2);
        own(&store, "early", 1);
        self.some(&store, 3, Durability::Synced);
        store.close().unwrap();
    }

    fn killed(&mut self) {
        self.life(1, 5);
        self.remember();
        self.kill_a_writer(5, 6);
    }

    fn kill_a_writer(&mut self, synced: u64, written: u64) {
        let store = self.open();
        self.some(&store, synced, Durability::Synced);
        self.some(&store, written, Durability::Written);
        self.kill(store);
    }
}

fn fork(store: &Store, parent: &str, at: Option<u64>, name: &str) {
    let fork = Fork::new(parent, name).durability(Durability::Synced);
    let _ = store.fork(&at.map_or(fork, |at| fork.at(Revision(at)))).unwrap();
}

/// Events of a fork's own.
fn own(store: &Store, name: &str, count: u64) {
    for number in 0..count {
        let payload = noise(70 + number, 60 + 50 * number as usize);
        let events = [NewEvent::new("own", &payload)];
        let _ = store.append(&Batch::to(name, Expected::Exists, &events).durability(Durability::Synced)).unwrap();
    }
}

/// Batches of every shape: one stream and several, long sections with skip tables, coded bodies, empty payloads, ids.
fn batch(store: &Store, number: u64, level: Durability) -> Receipt {
    let text = "{\"say\": \"again and again\"}".repeat(9);
    let noise = noise(number, [37, 220, 700, 96][number as usize % 4]);
    let told = [
        NewEvent::new("user", "").id("id-1").metadata("{}"),
        NewEvent::new("model", &text).occurred_at(number as i64),
        NewEvent::new("tool", &noise),
    ];
    let ticks = vec![NewEvent::new("tick", &noise[..17]); if number % 15 == 2 { 18 } else { 2 }];
    let batch = match number % 5 {
        0 => Batch::to("a", Expected::Any, &told[..2]),
        1 => Batch::to("a", Expected::Any, &told[2..]).section("b", Expected::Any, &told[..1]),
        2 => Batch::to("c", Expected::Any, &ticks).section("a", Expected::Any, &told[1..2]),
        3 => Batch::to("b", Expected::Any, &told[2..]),
        _ => Batch::to("d", Expected::Any, &told[1..]).section("c", Expected::Any, &told[2..]),
    };
    store.append(&batch.durability(level)).unwrap()
}
