//! The floors: what the raw operation costs, with frame and checks, through the engine's storage seam, with no index.
//!
//! A floor's frame is as long as the engine's and carries the same checks by the same functions: a CRC-32 over header and
//! table, a CRC-32 over each event, an XXH64 over the whole. It knows no streams, no expectations, no clock, no other
//! thread, and it never rolls: one file holds everything.
//!
//! In every timed part: building the frame with its checks, and putting it into the file. Outside of every timed part:
//! creating the file, allocating its blocks, mapping it. Of mapped copies there are two floors, since the first touch of a
//! page costs more than the copy: [`Pages::Ready`] has the pages of the whole file made present before the clock starts;
//! with [`Pages::Faulted`] the copying thread makes them present itself, in the engine's steps, while the clock runs. The
//! engine lies between: a thread of its own makes pages present, which costs the copying thread only what the two share.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use treering::checksum::{Seeds, long_check, short_check};
use treering::storage::{Mapping, Storage, StorageFile};
use treering::{Position, Salt};

use crate::Outcome;
use crate::workload::{PAYLOAD_BYTES, Payloads};

/// Length of a frame's header: as the engine's.
const HEADER_BYTES: usize = 72;
/// Length of the part that says which stream a frame continues: as the engine's on an ordinary day.
const SECTION_BYTES: usize = 22;
/// Length of an event's entry: as the engine's for an event of 256 bytes without id and times.
const ENTRY_BYTES: usize = 9;
/// Where a frame's XXH64 stands; it covers everything behind it.
const LONG_AT: usize = 4;
/// Where the lengths stand.
const LENGTHS_AT: usize = 12;
/// Pages are made present in such steps, where the copying thread does it itself: as the engine's.
const POPULATE_BYTES: usize = 1 << 20;
/// So far ahead of the event that is checked the next ones are touched.
const PREFETCH_EVENTS: usize = 8;

/// Length of the frame of a batch, in bytes.
#[must_use]
pub fn frame_bytes(events: usize) -> usize {
    (HEADER_BYTES + SECTION_BYTES + events * (ENTRY_BYTES + PAYLOAD_BYTES)).next_multiple_of(8)
}

fn seeds() -> Seeds {
    Seeds::new(Salt([7; 16]))
}

/// Builds frames.
#[derive(Debug)]
pub struct Framer {
    seeds: Seeds,
    at: u64,
    previous: u64,
    frame: Vec<u8>,
    payloads: Payloads,
    next: u64,
}

impl Default for Framer {
    fn default() -> Framer {
        Framer { seeds: seeds(), at: 0, previous: 0, frame: Vec::new(), payloads: Payloads::default(), next: 0 }
    }
}

impl Framer {
    /// The frame of the next batch, and where it goes.
    #[inline]
    pub fn build(&mut self, events: usize) -> (&[u8], u64) {
        let at = self.at;
        let frame = &mut self.frame;
        let bodies_at = HEADER_BYTES + SECTION_BYTES + events * ENTRY_BYTES;
        frame.clear();
        frame.resize(HEADER_BYTES + SECTION_BYTES, 0);
        for index in 0..events as u64 {
            let payload = self.payloads.get(self.next + index);
            let mut entry = [0; ENTRY_BYTES];
            entry[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
            let check = short_check(self.seeds.short(Position(at + index)), &[payload]);
            entry[5..].copy_from_slice(&check.to_le_bytes());
            frame.extend_from_slice(&entry);
        }
        for index in 0..events as u64 {
            frame.extend_from_slice(self.payloads.get(self.next + index));
        }
        frame.resize(frame_bytes(events), 0);
        let len = frame.len();
        frame[LENGTHS_AT..LENGTHS_AT + 4].copy_from_slice(&(len as u32).to_le_bytes());
        frame[LENGTHS_AT + 4..LENGTHS_AT + 8].copy_from_slice(&(events as u32).to_le_bytes());
        frame[24..32].copy_from_slice(&self.previous.to_le_bytes());
        frame[32..40].copy_from_slice(&self.next.to_le_bytes());
        let long = long_check(self.seeds.long(Position(at)), &frame[LENGTHS_AT..]);
        frame[LONG_AT..LENGTHS_AT].copy_from_slice(&long.to_le_bytes());
        let short = short_check(self.seeds.short(Position(at)), &[&frame[LONG_AT..bodies_at]]);
        frame[..4].copy_from_slice(&short.to_le_bytes());
        self.previous = long;
        self.next += events as u64;
        self.at += len as u64;
        (frame, at)
    }
}

/// A file of which `len` bytes have blocks; the name is free again at once.
fn allocated_file(storage: &dyn Storage, len: u64) -> io::Result<Arc<dyn StorageFile>> {
    const NAME: &str = "floor";
    let file = storage.create(NAME, len)?;
    storage.remove(NAME)?;
    file.allocate(0..len)?;
    // What was created and allocated must not be written back by the first timed sync.
    file.sync_all()?;
    Ok(file)
}

/// Synced: `group` frames of one event in one positioned write, then a sync, until `events` are durable.
pub fn synced(storage: &dyn Storage, events: u64, group: usize) -> Outcome<Duration> {
    let groups = events.div_ceil(group as u64);
    let len = groups * (group * frame_bytes(1)) as u64;
    let file = allocated_file(storage, len.next_multiple_of(4096))?;
    let mut framer = Framer::default();
    let mut buffer = Vec::with_capacity(group * frame_bytes(1));
    let start = Instant::now();
    for _ in 0..groups {
        buffer.clear();
        let at = framer.at;
        for _ in 0..group {
            buffer.extend_from_slice(framer.build(1).0);
        }
        file.write_at(&buffer, at)?;
        file.sync_data()?;
    }
    Ok(start.elapsed())
}

/// Who makes the pages of a mapping present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// They are there before the clock starts.
    Ready,
    /// The copying thread, while the clock runs.
    Faulted,
}

/// Written: batches copied into a mapping of allocated blocks, until `events` are in the page cache.
pub fn mapped(storage: &dyn Storage, events: u64, batch: usize, pages: Pages) -> Outcome<Duration> {
    let batches = events.div_ceil(batch as u64);
    let len = (batches * frame_bytes(batch) as u64).next_multiple_of(4096);
    let file = allocated_file(storage, len)?;
    let mut mapping = file.map_writable(0..len)?;
    let faulter = mapping.prefaulter();
    let mut ready = 0;
    if pages == Pages::Ready {
        faulter.prefault(0..len as usize)?;
        ready = len as usize;
    }
    let mut framer = Framer::default();
    let start = Instant::now();
    for _ in 0..batches {
        let (frame, at) = framer.build(batch);
        let end = at as usize + frame.len();
        if end > ready {
            let upto = (end + POPULATE_BYTES).min(len as usize);
            faulter.prefault(ready..upto)?;
            ready = upto;
        }
        mapping.copy_in(at as usize, frame)?;
    }
    Ok(start.elapsed())
}

/// Sequential write of the same bytes: frames gathered to 1 MiB a write, one sync at the end.
pub fn sequential(storage: &dyn Storage, events: u64) -> Outcome<Duration> {
    const GATHERED_BYTES: usize = 1 << 20;
    let len = (events * frame_bytes(1) as u64).next_multiple_of(4096);
    let file = allocated_file(storage, len)?;
    let mut framer = Framer::default();
    let mut buffer = Vec::with_capacity(GATHERED_BYTES + frame_bytes(1));
    let mut written = 0;
    let start = Instant::now();
    for _ in 0..events {
        buffer.extend_from_slice(framer.build(1).0);
        if buffer.len() >= GATHERED_BYTES {
            file.write_at(&buffer, written)?;
            written += buffer.len() as u64;
            buffer.clear();
        }
    }
    file.write_at(&buffer, written)?;
    file.sync_data()?;
    Ok(start.elapsed())
}

/// A file of frames with an offset table in memory: what reads are measured against.
#[derive(Debug)]
pub struct Frames {
    mapping: Mapping,
    seeds: Seeds,
    end: usize,
    /// File offset of the frame of each event, by its number.
    offsets: Vec<u64>,
}

impl Frames {
    /// Writes `batches` batches of `batch` events.
    pub fn write(storage: &dyn Storage, batches: usize, batch: usize) -> Outcome<Frames> {
        let len = (batches * frame_bytes(batch)) as u64;
        let file = allocated_file(storage, len.next_multiple_of(4096))?;
        let mut framer = Framer::default();
        let mut offsets = Vec::with_capacity(batches);
        for _ in 0..batches {
            let (frame, at) = framer.build(batch);
            file.write_at(frame, at)?;
            offsets.push(at);
        }
        file.sync_data()?;
        let mapping = file.map()?;
        mapping.populate(0..mapping.len())?;
        Ok(Frames { mapping, seeds: seeds(), end: len as usize, offsets })
    }

    /// Goes over all frames in order and verifies each header's and each event's check; returns the number of events.
    pub fn scan(&self) -> Outcome<u64> {
        let bytes = self.mapping.as_slice();
        let (mut at, mut events) = (0, 0);
        while at < self.end {
            let frame = &bytes[at..];
            let (len, count) = (number(frame, LENGTHS_AT), number(frame, LENGTHS_AT + 4));
            let bodies_at = HEADER_BYTES + SECTION_BYTES + count * ENTRY_BYTES;
            let position = Position(at as u64);
            let header = short_check(self.seeds.short(position), &[&frame[LONG_AT..bodies_at]]);
            if header != number(frame, 0) as u32 {
                return Err("a header's check does not hold".into());
            }
            let mut body_at = bodies_at;
            for index in 0..count {
                body_at += self.verify(frame, at, index, body_at)?.len();
            }
            events += count as u64;
            at += len;
        }
        Ok(events)
    }

    /// Verifies one event of a frame and lends its payload.
    #[inline]
    fn verify<'a>(&self, frame: &'a [u8], at: usize, index: usize, body_at: usize) -> Outcome<&'a [u8]> {
        let entry = &frame[HEADER_BYTES + SECTION_BYTES + index * ENTRY_BYTES..][..ENTRY_BYTES];
        let payload = &frame[body_at..body_at + number(entry, 0)];
        let check = short_check(self.seeds.short(Position((at + index) as u64)), &[payload]);
        if check != number(entry, 5) as u32 {
            return Err("an event's check does not hold".into());
        }
        Ok(black_box(payload))
    }

    /// Reads `count` events that stand `stride` frames of one event apart, by the offset table, the next ones touched
    /// ahead.
    pub fn strided(&self, first: usize, stride: usize, count: usize) -> Outcome<()> {
        let bytes = self.mapping.as_slice();
        for index in 0..count {
            if let Some(ahead) = self.offsets.get(first + (index + PREFETCH_EVENTS) * stride) {
                // Touches the entry's line and the payload's middle; nothing waits for the values.
                let at = *ahead as usize + HEADER_BYTES + SECTION_BYTES;
                black_box(bytes[at] ^ bytes[at + PAYLOAD_BYTES / 2] ^ bytes[at + PAYLOAD_BYTES]);
            }
            self.point(first + index * stride)?;
        }
        Ok(())
    }

    /// Reads the event with this number, of frames of one event, by the offset table.
    #[inline]
    pub fn point(&self, event: usize) -> Outcome<&[u8]> {
        let at = self.offsets[event] as usize;
        let frame = &self.mapping.as_slice()[at..];
        self.verify(frame, at, 0, HEADER_BYTES + SECTION_BYTES + ENTRY_BYTES)
    }
}

#[inline]
fn number(bytes: &[u8], at: usize) -> usize {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use treering::storage::mem::MemStorage;

    #[test]
    fn the_floor_reads_what_it_wrote_and_notices_what_is_not() {
        let storage = MemStorage::new();
        let frames = Frames::write(&storage, 30, 10).expect("written");
        assert_eq!(frames.scan().expect("verified"), 300);
        let singles = Frames::write(&storage, 100, 1).expect("written");
        singles.strided(3, 10, 9).expect("verified");
        assert_eq!(singles.point(5).expect("verified"), Payloads::default().get(5));
        let elsewhere = Frames { seeds: Seeds::new(Salt([8; 16])), ..singles };
        assert!(elsewhere.scan().is_err() && elsewhere.point(5).is_err());
    }

    #[test]
    fn every_floor_of_appending_does_what_was_asked() {
        let storage = MemStorage::new();
        synced(&storage, 100, 1).expect("done");
        synced(&storage, 100, 64).expect("done");
        sequential(&storage, 5000).expect("done");
    }
}
