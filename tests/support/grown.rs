//! A store of many segments, with everything that a log may hold, and what may become of its files.
//!
//! Streams of every pace, forks of forks, snapshots and cursors, batches over several streams, types of every frequency, clocks
//! that jump; all of it follows from a seed, and all that is derived is made.

use std::sync::Arc;

use treering::format::file_name::{self, FileKind};
use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};
use treering::{Batch, Durability, Expected, Fork, NewEvent, NewSnapshot, Options, Revision, Store};

use crate::mutate::frames_of;
use crate::store::{noise, small};

/// A sequence of numbers that a seed stands for.
#[derive(Debug)]
pub struct Draw(u64);

impl Draw {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Draw {
        Draw(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number, which lies below this.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// As [`small`], with no threads: what the background has to do is done when a test says so.
#[must_use]
pub fn options() -> Options {
    small().background_threads(false).streams_kept(4)
}

/// A store of some twenty segments.
///
/// # Panics
/// Where something cannot be appended.
#[must_use]
pub fn grown(storage: &MemStorage, seed: u64) -> Store {
    let store = Store::open_on(Arc::new(storage.clone()), options()).expect("the store opens");
    let mut draw = Draw::new(seed);
    let mut names: Vec<String> = Vec::new();
    for step in 0..900u64 {
        if draw.below(30) == 0 {
            storage.set_clock(draw.below(1000) as i64 * 1000);
        }
        let name = match draw.below(3) {
            0 => "often".to_owned(),
            1 => format!("s{}", draw.below(7)),
            _ => format!("seldom {}", draw.below(40)),
        };
        let payload = noise(step, 20 + draw.below(150) as usize);
        let mut event = || {
            let event_type = match draw.below(60) {
                0 => "rare",
                1..20 => "tool_call",
                20..25 => ["a", "ä", "zz"][draw.below(3) as usize],
                _ => "usual",
            };
            let event = NewEvent::new(event_type, &payload);
            if draw.below(5) == 0 { event.recorded_at(draw.below(1000) as i64 * 1000) } else { event }
        };
        let events: Vec<_> = (0..1 + step % 4).map(|_| event()).collect();
        let mut batch = Batch::to(&name, Expected::Any, &events).durability(Durability::Written);
        if step % 5 == 0 {
            batch = batch.section("shared", Expected::Any, &events[..1]);
        }
        let _ = store.append(&batch).expect("is appended");
        if !names.contains(&name) {
            names.push(name);
        }
        match draw.below(40) {
            0 => {
                let (parent, fork) = (names[draw.below(names.len() as u64) as usize].clone(), format!("fork {step}"));
                let head = store.stream(&parent).expect("is known").expect("is there").last_event;
                let at = Revision(draw.below(head.get() + 1));
                let _ = store.fork(&Fork::new(&parent, &fork).at(at)).expect("is forked");
                names.push(fork);
            }
            1 => {
                let source = names[draw.below(names.len() as u64) as usize].clone();
                let _ = store
                    .snapshot(&NewSnapshot::new(&source, Revision(0)..Revision(1), "l", &events[..1]))
                    .expect("is bound");
            }
            2 => {
                let token = store.append(&Batch::to("often", Expected::Any, &events)).expect("is appended").token();
                let _ = store.append(&Batch::new().cursor("c", &token, Expected::Any)).expect("is moved");
            }
            _ => {}
        }
        if let Some(fork) = names.iter().rev().find(|name| name.starts_with("fork")).filter(|_| step % 11 == 0) {
            let _ = store.append(&Batch::to(fork, Expected::Any, &events)).expect("is appended");
        }
        if step % 50 == 0 {
            settle(&store);
        }
    }
    settle(&store);
    store
}

/// What the background has to do is done, that which it makes for itself too.
fn settle(store: &Store) {
    for _ in 0..3 {
        let _ = store.sync().expect("syncs");
        store.work_in_background().expect("works");
    }
}

/// Of the files that are derived from the log some are removed, cut short, changed in a bit, or filled with something else.
///
/// # Panics
/// Where the storage fails.
pub fn spoil(storage: &MemStorage, draw: &mut Draw) {
    for entry in storage.list().expect("lists") {
        if !matches!(
            file_name::parse(&entry.name),
            FileKind::SegmentIndex(_) | FileKind::Checkpoint(_) | FileKind::Directory(_)
        ) {
            continue;
        }
        let len = entry.len.max(1);
        let write = |bytes: &[u8], at| {
            let file = storage.open(&entry.name, Access::ReadWrite).expect("opens");
            file.write_at(bytes, at).expect("is written");
        };
        match draw.below(6) {
            0 => storage.remove(&entry.name).expect("is removed"),
            1 => storage.set_len(&entry.name, draw.below(len)).expect("is cut"),
            2 => {
                let (at, mut byte) = (draw.below(len), [0]);
                let file = storage.open(&entry.name, Access::Read).expect("opens");
                assert_eq!(file.read_at(&mut byte, at).expect("reads"), 1);
                write(&[byte[0] ^ 1 << draw.below(8)], at);
            }
            3 => write(&vec![0x5A; len.saturating_sub(4096) as usize], 4096.min(len)),
            _ => {}
        }
    }
}

/// Somewhere in a frame of a segment a byte is changed, in its header or behind it.
///
/// # Panics
/// Where the storage fails.
pub fn hit(storage: &MemStorage, draw: &mut Draw) {
    let mut segments = storage.list().expect("lists");
    segments.retain(|entry| matches!(file_name::parse(&entry.name), FileKind::Segment(_)));
    let segment = &segments[draw.below(segments.len() as u64) as usize];
    let file = storage.open(&segment.name, Access::ReadWrite).expect("opens");
    let mut bytes = vec![0; segment.len as usize];
    let _ = file.read_at(&mut bytes, 0).expect("reads");
    let frames = frames_of(&bytes);
    let frame = frames[draw.below(frames.len() as u64) as usize].clone();
    let at = frame.start + draw.below(frame.len() as u64) as usize;
    file.write_at(&[bytes[at] ^ 0x10], at as u64).expect("is written");
}
