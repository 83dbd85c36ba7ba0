//! What tests do with a store again and again: small options, one event in, everything out, a future to its end.
//!
//! Nothing here compares or decides; it panics where the store answers with an error, which is how a test fails.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use treering::storage::mem::MemStorage;
use treering::{
    Batch, Durability, Event, Expected, NewEvent, Options, ReadAllOptions, ReadOptions, Receipt, Result, Store,
    Visibility,
};

/// The smallest segments, and a background that does nothing unless it is asked: what happens is what the test does.
#[must_use]
pub fn small() -> Options {
    Options::new()
        .segment_bytes(16 << 10)
        .index_stride_bytes(4 << 10)
        .mapped_writes(false)
        .sync_interval(Duration::from_secs(3600))
}

/// As [`small`], for a store that one process writes alone, where that is what a test is about.
#[must_use]
pub fn alone() -> Options {
    small().exclusive(true)
}

/// Opens a store in memory for writing.
///
/// # Panics
/// Where it does not open.
#[must_use]
pub fn open(storage: &MemStorage) -> Store {
    try_open(storage).expect("the store opens")
}

/// As [`open`], with what opening said.
///
/// # Errors
/// What opening said.
pub fn try_open(storage: &MemStorage) -> Result<Store> {
    Store::open_on(Arc::new(storage.clone()), small())
}

/// Opens a store in memory for reading.
///
/// # Panics
/// Where it does not open.
#[must_use]
pub fn open_read_only(storage: &MemStorage) -> Store {
    Store::open_read_only_on(Arc::new(storage.clone()), small()).expect("the store opens for reading")
}

/// Appends one event of type `t`.
///
/// # Errors
/// What the append said.
pub fn try_put(store: &Store, stream: &str, payload: &[u8], level: Durability) -> Result<Receipt> {
    store.append(&Batch::to(stream, Expected::Any, &[NewEvent::new("t", payload)]).durability(level))
}

/// Appends one event of type `t` at the level Written.
///
/// # Panics
/// Where the append fails.
#[allow(clippy::must_use_candidate)] // the receipt says so itself
pub fn put(store: &Store, stream: &str, payload: &[u8]) -> Receipt {
    try_put(store, stream, payload, Durability::Written).expect("the append succeeds")
}

/// All events of the log that are committed.
///
/// # Panics
/// Where reading fails.
#[must_use]
pub fn everything(store: &Store) -> Vec<Event> {
    log(store, ReadAllOptions::new().visibility(Visibility::Committed))
}

/// The events of the log that `options` ask for.
///
/// # Panics
/// Where reading fails.
#[must_use]
pub fn log(store: &Store, options: ReadAllOptions<'_>) -> Vec<Event> {
    let mut reader = store.read_all(options).expect("the log can be read");
    let mut events = Vec::new();
    while let Some(event) = reader.next() {
        events.push(event.expect("an event").hold());
    }
    events
}

/// The events of a stream that `options` ask for.
///
/// # Panics
/// Where reading fails.
#[must_use]
pub fn stream(store: &Store, name: &str, options: ReadOptions<'_>) -> Vec<Event> {
    let mut reader = store.read_stream(name, options).expect("the stream can be read");
    let mut events = Vec::new();
    while let Some(event) = reader.next() {
        events.push(event.expect("an event").hold());
    }
    events
}

/// Bytes that do not compress and differ by `seed`.
#[must_use]
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9E37_79B9_7F4A_7C15;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes()[..4]);
    }
    bytes.truncate(len);
    bytes
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future on this thread until it is ready.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}

/// How long a test waits for what others bring about: longer than it takes on a slow machine that is busy, and not for ever.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so that others bring about, at most for [`PATIENCE`].
///
/// # Panics
/// Where it is not so by then.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < give_up, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a test of this binary in a process of its own, with a variable set that has it do something.
///
/// # Panics
/// Where it fails.
pub fn run_alone(test: &str, variable: &str) {
    let status = std::process::Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(variable, "1")
        .status()
        .expect("this program can be started");
    assert!(status.success(), "what it says stands above");
}
