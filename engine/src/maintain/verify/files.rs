//! What lies beside the frames: the identity file, the watermark file, and every other name in the directory.
//!
//! The identity file is of the log: a bad one is damage. All else is derived or not of the store: what is wrong with it
//! is noted and harms nobody.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::Ledger;
use crate::format::Fault;
use crate::format::file_name::{self, FileKind};
use crate::format::store_block::STORE_BLOCK_BYTES;
use crate::format::watermark::{WATERMARK_FILE_BYTES, WATERMARK_SLOT_BYTES, WATERMARK_SLOT_STRIDE, Watermark};
use crate::ids::Position;
use crate::index::build::IndexBuild;
use crate::index::segment_indexes::SegmentIndex;
use crate::recovery::checkpoint::{self, Held};
use crate::recovery::identity::{self as recovered, Identity};
use crate::recovery::open::Found;
use crate::segment::set::{Known, SegmentSet};
use crate::storage::{Access, Storage};
use crate::{Error, ErrorKind, Result};

/// What a note says of a file that is made from the log.
const REINDEX: &str = "it is derived: nothing is lost, and `treering reindex` makes it anew";

/// What a note says of the file of watermarks, of which a writer writes no more than its slots.
const DELETE: &str =
    "it is derived: nothing is lost; deleted while nobody writes to the store, it is made anew by the next writer";

/// What it says of one that was cut short, which writers mend.
const SHORT: &str = "it is derived: nothing is lost, and writers give it its length as they go on";

/// Reads the identity file; where it is lost, what the segments repeat of it.
pub(in crate::maintain) fn identity(
    storage: &dyn Storage,
    ledger: &mut Ledger,
    notes: &mut Vec<String>,
) -> Result<Identity> {
    let name = file_name::IDENTITY;
    let missing = || Error::new(ErrorKind::NotFound, format!("there is no store in {}", storage.describe()));
    let (identity, damage) = recovered::read_or_recover(storage)?.ok_or_else(missing)?;
    match damage {
        Some(damage) => drop(ledger.add(damage)),
        None => {
            let len = identity.file.len().map_err(|error| Error::io("look at", name, error))?;
            if len != STORE_BLOCK_BYTES as u64 {
                notes
                    .push(format!("{name} is {len} bytes long instead of {STORE_BLOCK_BYTES}; the rest means nothing"));
            }
        }
    }
    Ok(identity)
}

fn list(storage: &dyn Storage) -> Result<Vec<(String, bool)>> {
    let entries = storage.list().map_err(|error| Error::io("list", &storage.describe(), error))?;
    Ok(entries.into_iter().map(|entry| (entry.name, entry.is_file)).collect())
}

/// The checkpoints that there were before the log was read, by their numbers, with what they name: so none tells of a place behind
/// what was verified, and a writer that replaces them takes nothing away.
pub(super) struct Checkpoints([Option<Held>; 2]);

impl Checkpoints {
    pub(super) fn hold(storage: &Arc<dyn Storage>, identity: &Identity) -> Checkpoints {
        let set = SegmentSet::new(Arc::clone(storage), identity.block);
        Checkpoints([0, 1].map(|number| checkpoint::hold(&set, number)))
    }

    fn take(&mut self, number: u64) -> Option<Held> {
        self.0.get_mut(number as usize)?.take()
    }
}

/// Notes what lies beside the log.
pub(super) fn beside_the_log(
    found: &Found,
    segments: &[Known],
    mut checkpoints: Checkpoints,
    notes: &mut Vec<String>,
) -> Result<()> {
    let storage = &*found.set.storage;
    let mut names = list(storage)?;
    names.sort();
    for (name, is_file) in names {
        match file_name::parse(&name) {
            FileKind::Segment(ordinal) => {
                let is_newer = segments.last().is_some_and(|last| ordinal > last.ordinal);
                // What a writer has begun since is no concern of this verification.
                if is_newer && found.line.known.iter().all(|known| known.ordinal != ordinal) {
                    continue;
                }
                if segments.iter().all(|known| known.ordinal != ordinal) {
                    notes.push(format!(
                        "{name} is void: no segment of the log continues or states it; it may be removed"
                    ));
                }
            }
            // One that is derived is being written just now, or the next writer removes it.
            FileKind::Temporary
                if matches!(
                    file_name::without_temporary(&name).map(file_name::parse),
                    Some(FileKind::SegmentIndex(_) | FileKind::Directory(_) | FileKind::Checkpoint(_))
                ) => {}
            FileKind::Temporary => {
                notes.push(format!("{name} was left behind by a process that ended; it may be removed"))
            }
            FileKind::Other => notes.push(format!("{name:?} is not a name of a store; it is left alone")),
            FileKind::Claims(_) if !is_file => {
                notes.push(format!("{name} is no file: what it stands for cannot be claimed"))
            }
            FileKind::Watermark => watermark(found, notes),
            FileKind::SegmentIndex(ordinal) => {
                if let Some(known) = segments.iter().find(|known| known.ordinal == ordinal)
                    && let Some(end) = known.end
                    && let Some(what) = wrong_index(found, known, end)
                {
                    notes.push(format!("{name}: {what}; {REINDEX}"));
                }
            }
            FileKind::Checkpoint(number) => {
                if let Some(what) = wrong_checkpoint(found, number, checkpoints.take(number)) {
                    notes.push(format!("{name}: {what}; {REINDEX}"));
                }
            }
            FileKind::Identity
            | FileKind::Prepared(_)
            | FileKind::Control
            | FileKind::Directory(_)
            | FileKind::Claims(_) => {}
        }
    }
    Ok(())
}

/// What is wrong with a checkpoint and the directory that it names, which are derived. `before`: as it was before the log was read.
fn wrong_checkpoint(found: &Found, number: u64, before: Option<Held>) -> Option<String> {
    let held = match before {
        Some(before) => Some(before),
        None => match checkpoint::hold(&found.set, number) {
            // Written since.
            Some(new) if new.checkpoint.at > found.replay.at => return None,
            held => held,
        },
    };
    let Some(resumed) = held.and_then(|held| checkpoint::fitting(&found.set, &held)) else {
        return Some("it does not fit the log, or its directory is not whole".into());
    };
    let table = found.streams.read();
    let mut wrong = None;
    let read = resumed.directory.with_prefix("", |entry| {
        let known = table.by_id(entry.stream);
        let agrees = known.is_some_and(|known| *known.name == *entry.name && known.head >= entry.head);
        if agrees && found.streams.agrees(&entry) {
            return ControlFlow::Continue(());
        }
        wrong = Some(format!("its directory says of {:?} what the log does not", entry.name));
        ControlFlow::Break(())
    });
    wrong.or_else(|| read.err().map(|fault| format!("its directory: {fault}")))
}

/// What is wrong with the index of a finished segment, which is derived.
fn wrong_index(found: &Found, known: &Known, end: Position) -> Option<String> {
    let set = &found.set;
    let segment = set.open_with(known, Access::Read).ok()?;
    let Some(index) = SegmentIndex::open(&*set.storage, known.ordinal, set.store.store) else {
        return Some("it is not whole, or none of this store".into());
    };
    if !index.is_of(&segment, end) {
        return Some("it is not of this segment as it is".into());
    }
    let mut build = IndexBuild::begin(Arc::new(segment), end);
    loop {
        match build.step(u64::MAX) {
            Ok(true) => return build.difference(&index),
            Ok(false) => {}
            Err(_) => return None, // what is wrong with the segment is told as damage
        }
    }
}

/// Notes what is wrong with the watermark file, which is derived.
fn watermark(found: &Found, notes: &mut Vec<String>) {
    let name = file_name::WATERMARK;
    let mut note = |what: String, way_out: &str| notes.push(format!("{name}: {what}; {way_out}"));
    let mut bytes = vec![0; WATERMARK_FILE_BYTES as usize];
    let read = found.set.storage.open(name, Access::Read).and_then(|file| {
        let read = file.read_at(&mut bytes, 0)?;
        Ok((read, file.len()?))
    });
    let (read, len) = match read {
        Ok(read) => read,
        Err(error) => return note(format!("it cannot be read: {error}"), DELETE),
    };
    if len != WATERMARK_FILE_BYTES {
        let way_out = if len < WATERMARK_FILE_BYTES { SHORT } else { DELETE };
        note(format!("it is {len} bytes long instead of {WATERMARK_FILE_BYTES}"), way_out);
    }
    for number in 0..2usize {
        let start = (number as u64 * WATERMARK_SLOT_STRIDE) as usize;
        let block = bytes[..read].get(start..(start + WATERMARK_SLOT_STRIDE as usize).min(read)).unwrap_or_default();
        match Watermark::decode(block) {
            Err(Fault::Absent) => {}
            Err(Fault::Short) if len < WATERMARK_FILE_BYTES => {} // that was said
            Err(fault) => note(format!("slot {number}: {fault}"), DELETE),
            Ok(slot) => {
                if let Some(what) = contradiction(found, &slot) {
                    note(format!("slot {number} {what}"), DELETE);
                }
            }
        }
        if block.get(WATERMARK_SLOT_BYTES..).unwrap_or_default().iter().any(|byte| *byte != 0) {
            note(format!("the rest of the block of slot {number} is not zero"), DELETE);
        }
    }
}

/// How a slot of this store contradicts the log, where what it speaks of was not written while verifying.
fn contradiction(found: &Found, slot: &Watermark) -> Option<String> {
    if slot.store != found.set.store.store {
        return Some(format!("belongs to the store {}", slot.store));
    }
    let known = found.set.at_or_behind(slot.last_frame).filter(|known| known.damage.is_none())?;
    let segment = found.set.open(&known).ok()?;
    let is_of_segment = segment.head.header.salt == slot.salt && segment.head.open.incarnation == slot.incarnation;
    let is_below = slot.last_frame >= segment.first_frame() && slot.durable <= found.replay.at;
    if !is_of_segment || !is_below {
        return None; // an older slot, or a newer one than what was verified
    }
    let frame = segment.frame(slot.last_frame, segment.file_end()).ok()?;
    let next = frame.first_number().saturating_add(u64::from(frame.events()));
    let is_same = frame.end() == slot.durable && frame.frame_check() == slot.last_check && next == slot.next_number;
    (!is_same).then(|| format!("says something else of the frame at {} than that is", slot.last_frame))
}
