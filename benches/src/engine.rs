//! The engine's side of every comparison, through its public API alone.
//!
//! Appending: each run has a fresh store in a directory of its own; making it, creating its streams and a few appends to
//! get it going come before the clock starts, closing and removing it after the clock has stopped. Everything that the
//! store does meanwhile counts: rolling, index blocks, pages made present, blocks allocated, syncs in the background.
//! Reading: one store is written once, made durable, and read again and again from the page cache.
//! The store is opened in the mode that is asked for.

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use treering::{
    Batch, Durability, Expected, NewEvent, Options, ReadAllOptions, ReadOptions, Revision, Store, Visibility,
};

use crate::workload::{BATCH_EVENTS, EVENT_TYPE, OUTSTANDING, Payloads, scattered, stream_name};
use crate::{Outcome, executor};

/// Appends that get a store going before the clock starts.
const FIRST_APPENDS: u64 = 64;
/// How many different streams many threads append to.
const THREADS: usize = 64;
/// Threads that keep futures outstanding.
const ASYNC_THREADS: usize = 2;

/// How the store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For one process alone, which is the fastest.
    Exclusive,
    /// As by default: any other process might append too.
    Shared,
}

impl Mode {
    /// The options for it.
    #[must_use]
    pub fn options(self, durability: Durability) -> Options {
        Options::new().exclusive(self == Mode::Exclusive).durability(durability)
    }
}

/// A store in a directory that is removed with it.
struct Fresh {
    store: Store,
    payloads: Payloads,
    _directory: TempDir,
}

impl Fresh {
    fn open(directory: &Path, mode: Mode, durability: Durability) -> Outcome<Fresh> {
        let directory = tempfile::Builder::new().prefix("treering-bench-").tempdir_in(directory)?;
        let store = Store::open(directory.path(), mode.options(durability))?;
        let fresh = Fresh { store, payloads: Payloads::default(), _directory: directory };
        for number in 0..FIRST_APPENDS {
            fresh.append(&stream_name(number as usize % THREADS), number)?;
        }
        Ok(fresh)
    }

    #[inline]
    fn append(&self, stream: &str, number: u64) -> Outcome<()> {
        let event = [NewEvent::new(EVENT_TYPE, self.payloads.get(number))];
        let _ = self.store.append(&Batch::to(stream, Expected::Any, &event))?;
        Ok(())
    }

    /// Appends `events` events in batches of `batch`, from this thread.
    fn append_all(&self, events: u64, batch: usize) -> Outcome<()> {
        let stream = stream_name(0);
        if batch == 1 {
            return (0..events).try_for_each(|number| self.append(&stream, number));
        }
        let mut numbers = 0..events.div_ceil(batch as u64);
        numbers.try_for_each(|number| {
            let first = number * batch as u64;
            let event = |index| NewEvent::new(EVENT_TYPE, self.payloads.get(first + index));
            let events: Vec<NewEvent<'_>> = (0..batch as u64).map(event).collect();
            let _ = self.store.append(&Batch::to(&stream, Expected::Any, &events))?;
            Ok(())
        })
    }
}

/// One thread, one stream, batches of `batch`, each waited for.
pub fn append(directory: &Path, mode: Mode, durability: Durability, events: u64, batch: usize) -> Outcome<Duration> {
    let fresh = Fresh::open(directory, mode, durability)?;
    let start = Instant::now();
    fresh.append_all(events, batch)?;
    Ok(start.elapsed())
}

/// As [`append`] with Written events, until the last of them is durable.
pub fn sustained(directory: &Path, mode: Mode, events: u64) -> Outcome<Duration> {
    let fresh = Fresh::open(directory, mode, Durability::Written)?;
    let start = Instant::now();
    fresh.append_all(events, 1)?;
    fresh.store.sync()?;
    Ok(start.elapsed())
}

/// Bytes of a segment where it is asked what indexes cost: many are left while it runs, more than may wait for theirs.
const UPKEEP_SEGMENT_BYTES: u64 = 8 << 20;
/// Streams to which is appended in turn there.
const UPKEEP_STREAMS: usize = 1000;

/// Written events of many streams, one a call, over many segments, until the last of them is durable; `with` all that a store does to
/// find them again later, or without: no index blocks on the way, no indexes, no directory. By the clock, or what the appending
/// thread itself ran, which says what is left of it where another core does the rest.
pub fn upkeep(directory: &Path, mode: Mode, events: u64, with: bool, by_clock: bool) -> Outcome<Duration> {
    let directory = tempfile::Builder::new().prefix("treering-bench-").tempdir_in(directory)?;
    let options = mode.options(Durability::Written).segment_bytes(UPKEEP_SEGMENT_BYTES);
    let options = if with { options } else { options.index_stride_bytes(UPKEEP_SEGMENT_BYTES).derives(false) };
    let store = Store::open(directory.path(), options)?;
    let fresh = Fresh { store, payloads: Payloads::default(), _directory: directory };
    let streams: Vec<String> = (0..UPKEEP_STREAMS).map(stream_name).collect();
    let append = |number: u64| fresh.append(&streams[number as usize % UPKEEP_STREAMS], number);
    (0..UPKEEP_STREAMS as u64).try_for_each(append)?;
    let (start, ran_before) = (Instant::now(), thread_ran()?);
    (0..events).try_for_each(append)?;
    fresh.store.sync()?;
    if by_clock { Ok(start.elapsed()) } else { Ok(thread_ran()? - ran_before) }
}

/// How long this thread was running so far.
fn thread_ran() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let ran = stat.split_whitespace().next().ok_or("the system does not say how long a thread ran")?;
    Ok(Duration::from_nanos(ran.parse()?))
}

/// 64 threads, each with a stream of its own, each waiting for its event to be durable before it appends the next.
pub fn synced_by_threads(directory: &Path, mode: Mode, events: u64) -> Outcome<Duration> {
    let fresh = Fresh::open(directory, mode, Durability::Synced)?;
    let each = events.div_ceil(THREADS as u64);
    let begin = Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        let work = |thread: usize| {
            let stream = stream_name(thread);
            begin.wait();
            (0..each).try_for_each(|number| fresh.append(&stream, number))
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        begin.wait();
        let start = Instant::now();
        for thread in threads {
            thread.join().map_err(|_| "an appending thread panicked")??;
        }
        Ok(start.elapsed())
    })
}

/// Two threads that keep 32 events each outstanding as futures, each on a stream of its own.
pub fn synced_by_futures(directory: &Path, mode: Mode, events: u64) -> Outcome<Duration> {
    let fresh = Fresh::open(directory, mode, Durability::Synced)?;
    let each = events.div_ceil(ASYNC_THREADS as u64);
    let begin = Barrier::new(ASYNC_THREADS + 1);
    std::thread::scope(|scope| {
        let work = |thread: usize| {
            let stream = stream_name(thread);
            begin.wait();
            executor::run(OUTSTANDING / ASYNC_THREADS, each, |number| {
                let event = [NewEvent::new(EVENT_TYPE, fresh.payloads.get(number))];
                Ok(fresh.store.submit(&Batch::to(&stream, Expected::Any, &event))?)
            })
        };
        let threads: Vec<_> = (0..ASYNC_THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        begin.wait();
        let start = Instant::now();
        for thread in threads {
            thread.join().map_err(|_| "an appending thread panicked")??;
        }
        Ok(start.elapsed())
    })
}

/// A store full of events to be read.
pub struct Full {
    fresh: Fresh,
    streams: Vec<String>,
    events_a_stream: u64,
    scattered: Box<dyn FnMut() -> u64 + Send>,
}

impl Full {
    /// `streams` streams with `events_a_stream` events each, appended round robin in frames of one event.
    pub fn interleaved(directory: &Path, mode: Mode, streams: usize, events_a_stream: u64) -> Outcome<Full> {
        let fresh = Fresh::open(directory, mode, Durability::Written)?;
        let streams: Vec<String> = (0..streams).map(|number| format!("full-{number:04}")).collect();
        for revision in 0..events_a_stream {
            for (number, stream) in streams.iter().enumerate() {
                fresh.append(stream, revision * streams.len() as u64 + number as u64)?;
            }
        }
        fresh.store.sync()?;
        let scattered = Box::new(scattered(streams.len() as u64 * events_a_stream));
        Ok(Full { fresh, streams, events_a_stream, scattered })
    }

    /// One stream in batches of 100.
    pub fn batched(directory: &Path, mode: Mode, events: u64) -> Outcome<Full> {
        let fresh = Fresh::open(directory, mode, Durability::Written)?;
        fresh.append_all(events, BATCH_EVENTS)?;
        fresh.store.sync()?;
        Ok(Full {
            fresh,
            streams: vec![stream_name(0)],
            events_a_stream: events,
            scattered: Box::new(scattered(events)),
        })
    }

    /// Reads the whole log, every check verified; returns the number of events.
    pub fn scan(&self) -> Outcome<u64> {
        let mut reader = self.fresh.store.read_all(ReadAllOptions::new())?;
        let mut events = 0;
        while let Some(event) = reader.next() {
            std::hint::black_box(event?.payload());
            events += 1;
        }
        Ok(events)
    }

    /// Reads a whole stream; returns the number of events.
    pub fn read_stream(&self, number: usize) -> Outcome<u64> {
        self.read(number, ReadOptions::new())
    }

    /// Reads the last `count` events of a stream; returns their number.
    pub fn read_last(&self, number: usize, count: u64) -> Outcome<u64> {
        self.read(number, ReadOptions::new().last(count))
    }

    fn read(&self, number: usize, options: ReadOptions<'_>) -> Outcome<u64> {
        let stream = &self.streams[number % self.streams.len()];
        let mut reader = self.fresh.store.read_stream(stream, options)?;
        let mut events = 0;
        while let Some(event) = reader.next() {
            std::hint::black_box(event?.payload());
            events += 1;
        }
        Ok(events)
    }

    /// Reads some event by stream and revision.
    pub fn read_point(&mut self) -> Outcome<()> {
        let drawn = (self.scattered)();
        let stream = &self.streams[drawn as usize % self.streams.len()];
        let revision = Revision(drawn / self.streams.len() as u64 % self.events_a_stream);
        let event = self.fresh.store.event(stream, revision, Visibility::Durable)?;
        std::hint::black_box(event.ok_or("an event that was appended is not there")?.payload.len());
        Ok(())
    }
}
