//! Resident memory while appending much: what a process of its own needed, as the kernel counts it.
//!
//! `VmHWM` is the most that was ever resident, pages of mapped files included: those are the page cache's, and the kernel
//! takes them back when it wants. What the engine keeps for itself is `RssAnon`, sampled while appending.

use std::path::Path;

use treering::{Batch, Durability, Expected, NewEvent, Store};

use crate::Outcome;
use crate::engine::Mode;
use crate::workload::{BATCH_EVENTS, EVENT_TYPE, Payloads, stream_name};

/// Streams that are appended to in turn.
const STREAMS: usize = 1000;

/// What was needed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Bytes of log that were appended.
    pub appended: u64,
    /// The most that was resident at once, mapped files included.
    pub resident_max: u64,
    /// The most that was resident at once without files behind it.
    pub anonymous_max: u64,
}

/// Appends at least `bytes` bytes of payloads to a fresh store in `directory`, in this process.
///
/// # Errors
/// Where appending fails, or the kernel does not say.
pub fn append(directory: &Path, bytes: u64) -> Outcome<Needed> {
    let directory = tempfile::Builder::new().prefix("treering-bench-").tempdir_in(directory)?;
    let store = Store::open(directory.path(), Mode::Exclusive.options(Durability::Written))?;
    let payloads = Payloads::default();
    let streams: Vec<String> = (0..STREAMS).map(stream_name).collect();
    let (mut appended, mut number, mut anonymous_max) = (0, 0, 0);
    while appended < bytes {
        let events: Vec<NewEvent<'_>> =
            (0..BATCH_EVENTS as u64).map(|index| NewEvent::new(EVENT_TYPE, payloads.get(number + index))).collect();
        let stream = &streams[number as usize / BATCH_EVENTS % STREAMS];
        let _ = store.append(&Batch::to(stream, Expected::Any, &events))?;
        number += events.len() as u64;
        appended = store.watermarks().committed.0;
        if number.is_multiple_of(100_000) {
            anonymous_max = anonymous_max.max(status("RssAnon:")?);
        }
    }
    anonymous_max = anonymous_max.max(status("RssAnon:")?);
    store.close()?;
    Ok(Needed { appended, resident_max: status("VmHWM:")?, anonymous_max })
}

/// A line of what the kernel says about this process, in bytes.
fn status(name: &str) -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kilobytes.map(|number| number * 1024).ok_or_else(|| format!("/proc/self/status has no line {name}").into())
}
