//! The comparisons: what is done on both sides, and the goal for the two.
//!
//! The goals are those that the engine sets itself; they are ratios, since both sides run interleaved on the same machine
//! and a busy neighbour slows both.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use treering::Durability;
use treering::storage::os::OsStorage;

use crate::engine::{self, Full, Mode};
use crate::floor::{self, Frames, Pages};
use crate::workload::{BATCH_EVENTS, OUTSTANDING, scattered};
use crate::{Failure, Outcome};

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At least so many times the floor's rate.
    RateAtLeast(f64),
    /// At most so many times the floor's time.
    TimeAtMost(f64),
    /// No goal of its own: a second floor that helps to read the first.
    Shown,
}

impl Goal {
    /// Whether an engine that takes `engine` where the floor takes `floor` reaches it; `None` where there is none.
    #[must_use]
    pub fn is_reached(self, rate_ratio: f64) -> Option<bool> {
        match self {
            Goal::RateAtLeast(least) => Some(rate_ratio >= least),
            Goal::TimeAtMost(most) => Some(rate_ratio.recip() <= most),
            Goal::Shown => None,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::RateAtLeast(least) => write!(f, "rate at least {least} x floor"),
            Goal::TimeAtMost(most) => write!(f, "time at most {most} x floor"),
            Goal::Shown => write!(f, "shown beside the row before"),
        }
    }
}

/// One side of a comparison: does so many operations, and says how long the timed part took.
pub type Side = Box<dyn FnMut(u64) -> Outcome<Duration> + Send>;

/// One comparison.
pub struct Contest {
    /// A short name for files and command lines.
    pub name: &'static str,
    /// What is done, for people.
    pub work: &'static str,
    /// What is to be reached.
    pub goal: Goal,
    /// Operations in one round of an ordinary run.
    pub operations: u64,
    /// Events of one operation.
    pub events: u64,
    /// The engine's side.
    pub engine: Side,
    /// The floor's side.
    pub floor: Side,
}

impl fmt::Debug for Contest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contest").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A directory for the floors' files.
fn storage(directory: &Path) -> Outcome<OsStorage> {
    Ok(OsStorage::open(directory)?)
}

/// A side that needs a directory.
fn in_directory(directory: &Path, mut run: impl FnMut(&Path, u64) -> Outcome<Duration> + Send + 'static) -> Side {
    let directory = PathBuf::from(directory);
    Box::new(move |operations| run(&directory, operations))
}

/// A side that does one operation after the other.
fn repeated(mut run: impl FnMut(u64) -> Outcome<()> + Send + 'static) -> Side {
    Box::new(move |operations| {
        let start = Instant::now();
        (0..operations).try_for_each(&mut run)?;
        Ok(start.elapsed())
    })
}

/// All about appending, in a directory on the disk that is to be measured, to stores that are opened in this mode.
#[must_use]
pub fn appending(directory: &Path, mode: Mode) -> Vec<Contest> {
    let synced_floor =
        |group| in_directory(directory, move |directory, events| floor::synced(&storage(directory)?, events, group));
    let mapped_floor = |batch: usize, pages| {
        in_directory(directory, move |directory, batches| {
            floor::mapped(&storage(directory)?, batches * batch as u64, batch, pages)
        })
    };
    let written = |batch: usize| {
        in_directory(directory, move |directory, batches| {
            engine::append(directory, mode, Durability::Written, batches * batch as u64, batch)
        })
    };
    vec![
        Contest {
            name: "synced-one",
            work: "Synced append, one thread",
            goal: Goal::RateAtLeast(0.95),
            operations: 500,
            events: 1,
            engine: in_directory(directory, move |directory, events| {
                engine::append(directory, mode, Durability::Synced, events, 1)
            }),
            floor: synced_floor(1),
        },
        Contest {
            name: "synced-threads",
            work: "Synced append, 64 blocking threads (floor: 64 events a sync)",
            goal: Goal::RateAtLeast(0.8),
            operations: 16_384,
            events: 1,
            engine: in_directory(directory, move |directory, events| {
                engine::synced_by_threads(directory, mode, events)
            }),
            floor: synced_floor(OUTSTANDING),
        },
        Contest {
            name: "synced-futures",
            work: "Synced append, 64 outstanding from two threads (floor: 64 events a sync)",
            goal: Goal::RateAtLeast(0.8),
            operations: 16_384,
            events: 1,
            engine: in_directory(directory, move |directory, events| {
                engine::synced_by_futures(directory, mode, events)
            }),
            floor: synced_floor(OUTSTANDING),
        },
        Contest {
            name: "written-one",
            work: "Written append, one event a call (floor: mapped copy, pages ready)",
            goal: Goal::RateAtLeast(0.5),
            operations: 400_000,
            events: 1,
            engine: written(1),
            floor: mapped_floor(1, Pages::Ready),
        },
        Contest {
            name: "written-one-faulted",
            work: "  the same (floor: mapped copy, pages faulted in by the copying thread)",
            goal: Goal::Shown,
            operations: 400_000,
            events: 1,
            engine: written(1),
            floor: mapped_floor(1, Pages::Faulted),
        },
        Contest {
            name: "written-batch",
            work: "Written append, batches of 100 (floor: mapped copy, pages ready)",
            goal: Goal::RateAtLeast(0.6),
            operations: 5_000,
            events: BATCH_EVENTS as u64,
            engine: written(BATCH_EVENTS),
            floor: mapped_floor(BATCH_EVENTS, Pages::Ready),
        },
        Contest {
            name: "written-batch-faulted",
            work: "  the same (floor: mapped copy, pages faulted in by the copying thread)",
            goal: Goal::Shown,
            operations: 5_000,
            events: BATCH_EVENTS as u64,
            engine: written(BATCH_EVENTS),
            floor: mapped_floor(BATCH_EVENTS, Pages::Faulted),
        },
        Contest {
            name: "written-sustained",
            work: "Written append, one event a call, until all is durable (floor: sequential write and sync)",
            goal: Goal::RateAtLeast(0.8),
            operations: 1_000_000,
            events: 1,
            engine: in_directory(directory, move |directory, events| engine::sustained(directory, mode, events)),
            floor: in_directory(directory, |directory, events| floor::sequential(&storage(directory)?, events)),
        },
        Contest {
            name: "upkeep",
            work: "Written append to 1,000 streams over many segments, until all is durable (floor: the same without any index)",
            goal: Goal::TimeAtMost(1.1),
            operations: 1_000_000,
            events: 1,
            engine: in_directory(directory, move |directory, events| {
                engine::upkeep(directory, mode, events, true, true)
            }),
            floor: in_directory(directory, move |directory, events| {
                engine::upkeep(directory, mode, events, false, true)
            }),
        },
        Contest {
            name: "upkeep-thread",
            work: "  the same, time that the appending thread ran",
            goal: Goal::TimeAtMost(1.1),
            operations: 1_000_000,
            events: 1,
            engine: in_directory(directory, move |directory, events| {
                engine::upkeep(directory, mode, events, true, false)
            }),
            floor: in_directory(directory, move |directory, events| {
                engine::upkeep(directory, mode, events, false, false)
            }),
        },
    ]
}

/// Reads something of the floor's frames, by a number.
type FloorRead = Box<dyn Fn(&Frames, usize) -> Outcome<()> + Send>;

/// How much there is to be read.
#[derive(Clone, Copy, Debug)]
pub struct ReadSize {
    /// Streams that are interleaved.
    pub streams: usize,
    /// Events of each of them.
    pub events_a_stream: usize,
    /// Events of the log in batches of 100.
    pub batched_events: usize,
}

impl ReadSize {
    /// 1,000 streams of 1,000 events each.
    pub const ORDINARY: ReadSize = ReadSize { streams: 1000, events_a_stream: 1000, batched_events: 1_000_000 };
    /// A tenth of it, for a quick look. What fits a processor's cache favours both sides.
    pub const QUICK: ReadSize = ReadSize { streams: 100, events_a_stream: 1000, batched_events: 100_000 };
}

/// All about reading. Writes both sides' data first.
///
/// # Errors
/// Where that fails.
pub fn reading(directory: &Path, mode: Mode, size: ReadSize) -> Outcome<Vec<Contest>> {
    const LAST: usize = 50;
    let ReadSize { streams, events_a_stream, batched_events } = size;
    let events = streams * events_a_stream;
    let full = Arc::new(Mutex::new(Full::interleaved(directory, mode, streams, events_a_stream as u64)?));
    let frames = Arc::new(Frames::write(&storage(directory)?, events, 1)?);
    let batched = Full::batched(directory, mode, batched_events as u64)?;
    let batched_frames = Frames::write(&storage(directory)?, batched_events / BATCH_EVENTS, BATCH_EVENTS)?;
    let stand = || -> Failure { "another benchmark panicked".into() };

    let of_engine = |read: fn(&mut Full, u64) -> Outcome<u64>, least: u64| {
        let full = Arc::clone(&full);
        repeated(move |number| {
            let found = read(&mut *full.lock().map_err(|_| stand())?, number)?;
            if found < least {
                return Err(format!("{found} events were read where {least} were appended").into());
            }
            Ok(())
        })
    };
    let of_floor = |read: FloorRead| {
        let frames = Arc::clone(&frames);
        repeated(move |number| read(&frames, number as usize))
    };
    let mut draw = scattered(events as u64);
    let point_frames = Arc::clone(&frames);
    Ok(vec![
        Contest {
            name: "scan-one",
            work: "full scan, checks verified, frames of one event",
            goal: Goal::RateAtLeast(0.8),
            operations: 1,
            events: events as u64,
            engine: of_engine(|full, _| full.scan(), events as u64),
            floor: of_floor(Box::new(|frames, _| frames.scan().map(drop))),
        },
        Contest {
            name: "scan-batch",
            work: "full scan, checks verified, batches of 100",
            goal: Goal::RateAtLeast(0.8),
            operations: 1,
            events: batched_events as u64,
            engine: repeated(move |_| batched.scan().map(drop)),
            floor: repeated(move |_| batched_frames.scan().map(drop)),
        },
        Contest {
            name: "stream",
            work: "one stream of many interleaved, 1,000 events (floor: offset table, next events touched ahead)",
            goal: Goal::TimeAtMost(0.8),
            operations: 100,
            events: events_a_stream as u64,
            engine: of_engine(|full, number| full.read_stream(number as usize * 37), events_a_stream as u64),
            floor: of_floor(Box::new(move |frames, number| {
                frames.strided(number * 37 % streams, streams, events_a_stream)
            })),
        },
        Contest {
            name: "last",
            work: "last 50 events of a stream (floor: the same by an offset table)",
            goal: Goal::TimeAtMost(1.0),
            operations: 2_000,
            events: LAST as u64,
            engine: of_engine(|full, number| full.read_last(number as usize * 37, LAST as u64), LAST as u64),
            floor: of_floor(Box::new(move |frames, number| {
                frames.strided((events_a_stream - LAST) * streams + number * 37 % streams, streams, LAST)
            })),
        },
        Contest {
            name: "point",
            work: "one event by stream and revision (floor: offset table)",
            goal: Goal::TimeAtMost(1.3),
            operations: 50_000,
            events: 1,
            engine: of_engine(|full, _| full.read_point().map(|()| 1), 1),
            floor: repeated(move |_| point_frames.point(draw() as usize).map(drop)),
        },
    ])
}
