//! The floor: what this disk does without an engine, for the same bytes.
//!
//! A frame of the size that the engine writes, with a check over every event and one over the whole, goes into blocks that
//! are allocated already: for Synced by a positioned write and fdatasync, for Written by a copy into a mapping whose pages
//! are there already. No index, no streams, no receipts, no second reader: nothing that stores can be faster than this in
//! earnest.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use treering::checksum::{long_check, short_check};
use treering::storage::os::OsStorage;
use treering::storage::{Storage, StorageFile, WritableMapping};

use crate::exit::{Failure, Outcome};

/// Bytes of the file that a part writes to, from the start again when it is full.
pub(super) const FILE_BYTES: u64 = 96 << 20;
const NAME: &str = "floor";

/// A file for one part of one round.
pub(super) struct Floor<'a> {
    storage: &'a OsStorage,
    file: Arc<dyn StorageFile>,
    mapping: Option<WritableMapping>,
    frame: Vec<u8>,
    events: usize,
    payload_bytes: usize,
    at: u64,
    counter: u64,
}

impl<'a> Floor<'a> {
    /// Makes the file, allocates it, and maps it where that is asked for and can be had.
    pub(super) fn new(
        storage: &'a OsStorage,
        events: usize,
        payload_bytes: usize,
        is_mapped: bool,
    ) -> Outcome<Floor<'a>> {
        let failed = |error: io::Error| Failure::io("prepare", "the file for the floor", &error);
        let range: Range<u64> = 0..FILE_BYTES;
        let file = storage.create(NAME, FILE_BYTES).map_err(failed)?;
        file.allocate(range.clone()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let mut mapping = None;
        if is_mapped {
            mapping = match file.map_writable(range) {
                Ok(mapping) => {
                    // Where the pages cannot be had beforehand they come by faults, as they would for anybody.
                    match mapping.prefaulter().prefault(0..FILE_BYTES as usize) {
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                        Err(error) => return Err(failed(error)),
                    }
                    Some(mapping)
                }
                Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
                Err(error) => return Err(failed(error)),
            };
        }
        let frame = vec![0; frame_bytes(events, payload_bytes)];
        Ok(Floor { storage, file, mapping, frame, events, payload_bytes, at: 0, counter: 0 })
    }

    /// Puts one frame in; with `sync` waits until it is on the device.
    pub(super) fn append(&mut self, payload: &[u8], sync: bool) -> Outcome {
        self.encode(payload);
        if self.at + self.frame.len() as u64 > FILE_BYTES {
            self.at = 0;
        }
        match &mut self.mapping {
            Some(mapping) => mapping.copy_in(self.at as usize, &self.frame),
            None => self.file.write_at(&self.frame, self.at),
        }
        .map_err(|error| Failure::io("write", "the file for the floor", &error))?;
        self.at += self.frame.len() as u64;
        if sync {
            self.file.sync_data().map_err(|error| Failure::io("sync", "the file for the floor", &error))?;
        }
        Ok(())
    }

    /// A header, then for each event its check, then the payloads; the check over all of it in front.
    fn encode(&mut self, payload: &[u8]) {
        let table = HEADER_BYTES;
        let bodies = table + self.events * ENTRY_BYTES;
        for event in 0..self.events {
            self.counter += 1;
            let check = short_check(self.counter as u32, &[payload]);
            let entry = table + event * ENTRY_BYTES;
            self.frame[entry..entry + 4].copy_from_slice(&check.to_le_bytes());
            let body = bodies + event * self.payload_bytes;
            self.frame[body..body + self.payload_bytes].copy_from_slice(payload);
        }
        self.frame[8..16].copy_from_slice(&self.counter.to_le_bytes());
        let check = long_check(self.counter, &self.frame[8..]);
        self.frame[..8].copy_from_slice(&check.to_le_bytes());
    }
}

/// Nothing of it stays.
impl Drop for Floor<'_> {
    fn drop(&mut self) {
        let _ = self.storage.remove(NAME);
    }
}

/// What comes before the events of a frame: the fixed header and what is said once about a stream.
const HEADER_BYTES: usize = 96;
/// What is said about each event beside its payload.
const ENTRY_BYTES: usize = 10;

/// Bytes of a frame with so many events.
pub(super) fn frame_bytes(events: usize, payload_bytes: usize) -> usize {
    (HEADER_BYTES + events * (ENTRY_BYTES + payload_bytes)).next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_in_one_after_the_other_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let storage = OsStorage::open(folder.path()).unwrap();
        for (is_mapped, sync) in [(false, true), (true, false)] {
            let mut floor = Floor::new(&storage, 2, 256, is_mapped).unwrap();
            let payload = [7; 256];
            floor.append(&payload, sync).unwrap();
            floor.append(&payload, sync).unwrap();
            let bytes = frame_bytes(2, 256);
            assert_eq!(floor.at, 2 * bytes as u64);
            let mut read = vec![0; bytes];
            floor.file.read_at(&mut read, bytes as u64).unwrap();
            assert_eq!(read, floor.frame, "the second frame is where it belongs");
            assert_eq!(&read[..8], long_check(4, &read[8..]).to_le_bytes().as_slice());
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_full_file_is_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let storage = OsStorage::open(folder.path()).unwrap();
        let mut floor = Floor::new(&storage, 1, 256, false).unwrap();
        floor.at = FILE_BYTES - 8;
        floor.append(&[1; 256], false).unwrap();
        assert_eq!(floor.at, frame_bytes(1, 256) as u64);
    }
}
