//! Checkpoints: where opening may begin to read the log, and who writes them.
//!
//! A checkpoint stands behind an index block. It says where the log stood there, and which runs of the stream directory
//! cover everything before. It counts only where the log holds the very frame that it says ends there: that frame's check
//! goes back, frame by frame, to the first of the log, so a checkpoint of another store, of another life, of an older or a
//! newer copy does not fit. One that does not fit is as good as none: the log is read from an older one, or from the start.
//!
//! They are written in the background by a reader of the log of its own, for what is durable: nothing of the writer waits
//! for it or shares its state. While damage is known, and in a store whose losses were accepted, none is written, so that a
//! loss is found by every opening until it was dealt with.

use std::sync::Arc;

use crate::commit::index_state::IndexState;
use crate::format::directory::{Checkpoint, RunName, SegmentRow};
use crate::format::file_name::{self, FileKind};
use crate::format::side_file::SideKind;
use crate::ids::Position;
use crate::index::directory::Directory;
use crate::index::side_file::SideFile;
use crate::segment::one::{LostHead, Segment};
use crate::segment::set::{Known, SegmentSet};
use crate::storage::{Access, Storage};

/// A checkpoint that fits the log, and what is needed to go on from it.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) checkpoint: Checkpoint,
    /// The segment in which it stands.
    pub(crate) segment: Arc<Segment>,
    pub(crate) index: IndexState,
    pub(crate) directory: Arc<Directory>,
    /// The segments before.
    pub(crate) older: Vec<Known>,
}

/// The checkpoints that there are, the newer first, whether or not they fit.
pub(crate) fn read_all(set: &SegmentSet) -> Vec<Checkpoint> {
    let mut found: Vec<Checkpoint> = [0, 1].into_iter().filter_map(|number| read(set, number)).collect();
    found.sort_unstable_by_key(|checkpoint| std::cmp::Reverse(checkpoint.generation));
    found
}

/// The one or the other checkpoint, whether or not it fits.
fn read(set: &SegmentSet, number: u64) -> Option<Checkpoint> {
    let name = file_name::checkpoint(number);
    let file = SideFile::open(&*set.storage, &name, SideKind::Checkpoint, set.store.store)?;
    Checkpoint::decode(&file.header.head).ok()
}

/// A checkpoint with the runs that it names, all of them open: a writer that replaces them takes nothing away.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) checkpoint: Checkpoint,
    directory: Arc<Directory>,
}

/// The one or the other checkpoint with the runs that it names; `None` where it or one of them is missing or bad.
pub(crate) fn hold(set: &SegmentSet, number: u64) -> Option<Held> {
    /// A writer that is at work takes them away once it has replaced it: then the new one is looked at, no more often than this.
    const LOOKS: u32 = 10;
    let mut checkpoint = read(set, number)?;
    for _ in 0..LOOKS {
        if let Some(directory) = Directory::open(&*set.storage, set.store.store, &checkpoint.runs) {
            return Some(Held { checkpoint, directory: Arc::new(directory) });
        }
        let before = std::mem::replace(&mut checkpoint, read(set, number)?);
        if before.generation == checkpoint.generation {
            break;
        }
    }
    None
}

/// The checkpoint, if it fits the log whose segments are all known in `set`: one that stands in void bytes does not.
pub(crate) fn fitting(set: &SegmentSet, held: &Held) -> Option<Resumed> {
    let Held { checkpoint, directory } = held;
    let known = set.at_or_behind(checkpoint.last_frame)?;
    let is_in_log = known.ordinal == checkpoint.segment && known.end.is_none_or(|end| checkpoint.at <= end);
    let resumed = || resume_with(set, checkpoint.clone(), |_| Some(Arc::clone(directory)));
    is_in_log.then(resumed).flatten()
}

/// What is needed to go on from a checkpoint, if it fits the log.
pub(crate) fn resume(set: &SegmentSet, checkpoint: Checkpoint) -> Option<Resumed> {
    let open = |names: &[RunName]| Directory::open(&*set.storage, set.store.store, names).map(Arc::new);
    resume_with(set, checkpoint, open)
}

fn resume_with(
    set: &SegmentSet,
    checkpoint: Checkpoint,
    open: impl FnOnce(&[RunName]) -> Option<Arc<Directory>>,
) -> Option<Resumed> {
    if checkpoint.segment.0 >= crate::limits::NUMBER_MAX / set.store.segment_bytes {
        return None;
    }
    let segment = Segment::open(&*set.storage, checkpoint.segment, Access::Read, &set.store).ok()?;
    let is_same_file = segment.head.header.salt == checkpoint.salt
        && segment.head.open.incarnation == checkpoint.incarnation
        && segment.head_damage.is_none()
        && (segment.first_frame()..segment.file_end()).contains(&checkpoint.last_frame);
    if !is_same_file {
        return None;
    }
    let last = segment.frame(checkpoint.last_frame, segment.file_end()).ok()?;
    if (last.end(), last.frame_check()) != (checkpoint.at, checkpoint.last_check) || last.prove(segment.seeds).is_err()
    {
        return None;
    }
    let index = IndexState::resume(&segment, checkpoint.last_index_block, checkpoint.at)?;
    let directory = open(&checkpoint.runs)?;
    let older = older_segments(set, &directory.segments().ok()?, segment.base)?;
    let segment = Arc::new(segment);
    set.keep(&segment);
    Some(Resumed { checkpoint, segment, index, directory, older })
}

/// The segments before a checkpoint's own; `None` where they contradict each other.
fn older_segments(set: &SegmentSet, rows: &[SegmentRow], base: Position) -> Option<Vec<Known>> {
    let segment_bytes = set.store.segment_bytes;
    let mut below = Position::ZERO;
    let mut older = Vec::with_capacity(rows.len());
    for row in rows {
        let from = Position(row.ordinal.0.checked_mul(segment_bytes)?);
        let file_end = Position(from.0.checked_add(u64::from(row.span).checked_mul(segment_bytes)?)?);
        if from < below || file_end <= from || file_end > base || !(from..=file_end).contains(&row.end) {
            return None;
        }
        below = file_end;
        older.push(Known {
            ordinal: row.ordinal,
            base: from,
            file_end,
            end: Some(row.end),
            last_index_block: row.last_index_block,
            damage: None,
            lost_head: None,
            expected: Some(LostHead { salt: row.salt, span: row.span, incarnation: row.incarnation }),
        });
    }
    Some(older)
}

/// What is known of the stream directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectoryStat {
    /// It covers the log up to here; from here on opening reads the log.
    pub covered: Position,
    /// Its files.
    pub runs: u64,
    /// Their length, in bytes.
    pub bytes: u64,
    /// How many streams it holds.
    pub streams: u64,
}

/// The newest checkpoint that fits the log, of those that do not reach behind `end`: what lies behind the end of what was taken in
/// must not be known already when it is.
pub(crate) fn newest(set: &SegmentSet, end: Position) -> Option<Resumed> {
    let mut held: Vec<Held> = [0, 1].into_iter().filter_map(|number| hold(set, number)).collect();
    held.retain(|held| held.checkpoint.at <= end);
    held.sort_unstable_by_key(|held| std::cmp::Reverse(held.checkpoint.generation));
    held.iter().find_map(|held| fitting(set, held))
}

/// What the newest checkpoint that fits the log says.
pub(crate) fn stat(set: &SegmentSet) -> Option<DirectoryStat> {
    let Resumed { checkpoint, directory, .. } = newest(set, Position::MAX)?;
    let (covered, runs) = (checkpoint.at, checkpoint.runs.len() as u64);
    Some(DirectoryStat { covered, runs, bytes: directory.bytes(), streams: checkpoint.streams })
}

/// The numbers of the files of the directory that some checkpoints need.
pub(crate) fn needed<'c>(checkpoints: impl IntoIterator<Item = &'c Checkpoint>) -> Vec<u64> {
    checkpoints.into_iter().flat_map(|checkpoint| &checkpoint.runs).map(|run: &RunName| run.number).collect()
}

/// Removes the files of the directory that none of the checkpoints needs, and those that a killed writer had begun; best
/// effort, since they are no part of the store. Returns the highest number that one of them had.
pub(crate) fn sweep(storage: &dyn Storage, needed: &[u64]) -> u64 {
    let mut last = needed.iter().copied().max().unwrap_or(0);
    for entry in storage.list().unwrap_or_default() {
        let begun = file_name::without_temporary(&entry.name).map(file_name::parse);
        let is_unneeded = match file_name::parse(&entry.name) {
            FileKind::Directory(number) => {
                last = last.max(number);
                !needed.contains(&number)
            }
            _ => matches!(begun, Some(FileKind::Directory(_) | FileKind::Checkpoint(_))),
        };
        if is_unneeded {
            let _ = storage.remove(&entry.name);
        }
    }
    last
}
