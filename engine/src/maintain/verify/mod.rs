//! Verifying: is every byte of the log as it was written, and does everything that is said twice agree?
//!
//! As a numbered list:
//! 1. the identity file, or where it is lost, what the segments repeat of it;
//! 2. which files are the log and where it ends: opening's own decision, reached by opening's own code;
//! 3. [`frames`]: every frame below the end, every byte of it, the chain, positions, numbers and witnesses;
//!    [`streams`]: sections and items against the streams they continue; [`index_blocks`]: each block against its stretch;
//!    [`seals`]: each hash against the bytes; the statements of each open frame against the segment before it;
//! 4. [`files`]: what lies beside the log.
//!
//! Invariants: nothing is written; all damage is reported, going on behind it; no byte is in two ranges of damage. Memory
//! grows with streams and with what is listed between two index blocks, not with events.

mod events;
pub(super) mod files;
mod frames;
mod index_blocks;
mod seals;
mod snapshots;
mod streams;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::Result;
use crate::error::Damage;
use crate::format::file_name;
use crate::format::item::ACCEPTED_COPY_INCOMPLETE;
use crate::ids::{Position, Revision, StreamId};
use crate::index::find::section_of;
use crate::maintain::report::{Progress, VerifyReport};
use crate::recovery::decision::Place;
use crate::recovery::open::{Found, find_telling};
use crate::segment::set::{Known, SegmentSet};
use crate::storage::Storage;

/// Verifies the store in the directory `path`: every check, chain and invariant of every byte of the log.
///
/// Opens nothing for writing and changes no byte. Another process may write meanwhile: the log is verified up to where
/// it ended when this began. What is wrong is in the report, not an error.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) and [`NotAStore`](crate::ErrorKind::NotAStore) where there is no store;
/// [`Unsupported`](crate::ErrorKind::Unsupported) where a newer version wrote it; [`Io`](crate::ErrorKind::Io) from the system.
///
/// # Example
/// ```
/// # fn main() -> treering::Result<()> {
/// # let folder = std::env::temp_dir().join(format!("treering-verify-{}", std::process::id()));
/// let store = treering::Store::open(&folder, treering::Options::new())?;
/// let events = [treering::NewEvent::new("greeting", "hello")];
/// let _receipt = store.append(&treering::Batch::to("session", treering::Expected::Any, &events))?;
/// store.close()?;
/// let report = treering::maintain::verify(&folder, &mut |_done: u64, _total: u64| {})?;
/// assert!(report.is_clean());
/// assert_eq!(report.events, 1);
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok(())
/// # }
/// ```
pub fn verify(path: impl AsRef<Path>, progress: &mut dyn Progress) -> Result<VerifyReport> {
    verify_on(super::open_folder(path.as_ref())?, progress)
}

/// As [`verify`](fn@verify), on any storage.
///
/// # Errors
/// As [`verify`](fn@verify).
pub fn verify_on(storage: Arc<dyn Storage>, progress: &mut dyn Progress) -> Result<VerifyReport> {
    run(storage, progress).map(|(_, report)| report)
}

/// Verifies; also what was found at opening, where there is a log at all.
pub(super) fn run(storage: Arc<dyn Storage>, progress: &mut dyn Progress) -> Result<(Option<Found>, VerifyReport)> {
    let mut ledger = Ledger::default();
    let mut notes = Vec::new();
    let identity = files::identity(&*storage, &mut ledger, &mut notes)?;
    let checkpoints = files::Checkpoints::hold(&storage, &identity);
    // Opening's look at the log is a third of the work, at most.
    let mut first = 0;
    let mut tell = |done: u64, total: u64| {
        first = total;
        progress.advance(done, 3 * total);
    };
    let found = find_telling(Arc::clone(&storage), &identity, &mut tell)?;
    found.set.check_supported(Position::MAX)?;
    let mut segments = found.set.all();
    if segments.is_empty() {
        // The identity file gets its name last: with it there was a log.
        ledger.add(Damage::new(
            crate::DamageClass::Missing,
            file_name::segment(crate::SegmentOrdinal(0)),
            0..identity.block.segment_bytes,
            Position::ZERO..Position(identity.block.segment_bytes),
            "there is an identity file but no segment: the log is missing",
        ));
        return Ok((None, VerifyReport { damage: ledger.into_damage(), notes, ..VerifyReport::default() }));
    }
    let committed = found.replay.at;
    for known in &mut segments {
        // The last has no end of its own yet: the log ends in it.
        known.end = Some(known.end.unwrap_or(committed).min(known.file_end).max(known.base));
    }
    for damage in &found.line.damage {
        // What is missing in a copy, the replay knows to be no damage but the end of the copy.
        let same = |judged: &&Damage| judged.file == damage.file && judged.bytes.start == damage.bytes.start;
        ledger.add(found.replay.damage.iter().find(same).unwrap_or(damage).clone());
    }
    // Where a copy ends is known from opening, with what the log had behind it; that its file is short is the lesser half of it.
    for damage in found.replay.damage.iter().filter(|damage| damage.class == crate::DamageClass::CopyIncomplete) {
        ledger.add(damage.clone());
    }
    let mut work = Work::new(progress, &segments, first);
    let mut walk =
        frames::Walk::new(Log { set: &found.set, segments: &segments, is_moved: found.place == Place::Moved }, ledger);
    for (index, known) in segments.iter().enumerate() {
        walk.segment(known, index + 1 == segments.len(), &mut work)?;
    }
    let (mut report, bound) = walk.finish();
    report.damage.extend(snapshots::check(&found, bound)?);
    report.segments = segments.len() as u64;
    report.bytes = segments.iter().map(|known| known.end.map_or(0, |end| end.0 - known.base.0)).sum();
    report.committed = committed;
    report.durable = found.replay.witness.min(committed);
    report.torn_tail = found.replay.torn_tail.clone();
    let report = conclude(&found, &segments, checkpoints, report, notes, work)?;
    Ok((Some(found), report))
}

/// What opening noticed and the walk did not meet, what lies beside the log, and the order of it all.
fn conclude(
    found: &Found,
    segments: &[Known],
    checkpoints: files::Checkpoints,
    mut report: VerifyReport,
    mut notes: Vec<String>,
    mut work: Work<'_>,
) -> Result<VerifyReport> {
    let mut ledger = Ledger::default();
    for damage in std::mem::take(&mut report.damage) {
        ledger.add(damage);
    }
    for damage in &found.replay.damage {
        ledger.add(damage.clone());
    }
    report.damage = ledger.into_damage();
    for damage in &mut report.damage {
        found.set.mark_accepted(damage);
    }
    for range in found.set.accepted().iter().filter(|range| range.class == ACCEPTED_COPY_INCOMPLETE) {
        notes.push(format!(
            "this store was a copy that ended early, at position {}; that was accepted, and what came behind is not in it",
            range.start
        ));
    }
    files::beside_the_log(found, segments, checkpoints, &mut notes)?;
    report.notes.append(&mut notes);
    work.finish();
    Ok(report)
}

/// The segments of the log, each with where it ended.
#[derive(Clone, Copy, Debug)]
struct Log<'v> {
    set: &'v SegmentSet,
    segments: &'v [Known],
    /// The store lies elsewhere than its last writer said.
    is_moved: bool,
}

impl Log<'_> {
    /// Whether the frame at a position holds a revision in the section of a stream.
    fn holds(&self, place: Position, stream: StreamId, revision: Revision) -> bool {
        let Ok(segment) = self.set.holding(place) else { return false };
        let Ok(frame) = segment.frame(place, segment.file_end()) else { return false };
        let section = section_of(frame, stream).ok().flatten();
        section.is_some_and(|section| (section.first_revision..=section.last_revision()).contains(&revision))
    }
}

/// The damage found so far, no byte of a file in it twice.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    damage: Vec<Damage>,
    ranges: HashMap<String, BTreeMap<u64, u64>>,
}

impl Ledger {
    /// Takes damage in, unless some of its bytes are known to be damaged. Returns whether it was new.
    pub(super) fn add(&mut self, damage: Damage) -> bool {
        let ranges = self.ranges.entry(damage.file.clone()).or_default();
        let before = ranges.range(..damage.bytes.end.max(damage.bytes.start + 1)).next_back();
        if before.is_some_and(|(_, end)| *end > damage.bytes.start) {
            return false;
        }
        ranges.insert(damage.bytes.start, damage.bytes.end.max(damage.bytes.start + 1));
        self.damage.push(damage);
        true
    }

    /// Whether any byte of the file is known to be damaged.
    fn knows(&self, file: &str) -> bool {
        self.ranges.get(file).is_some_and(|ranges| !ranges.is_empty())
    }

    /// All of it, in the order of the files' names, which for segments is the order of the log.
    pub(super) fn into_damage(self) -> Vec<Damage> {
        let mut damage = self.damage;
        damage.sort_by(|a, b| {
            let is_segment = |damage: &Damage| damage.file != file_name::IDENTITY;
            (is_segment(a), &a.file, a.bytes.start).cmp(&(is_segment(b), &b.file, b.bytes.start))
        });
        damage
    }
}

/// How much is done: every segment is read once for its frames, every finished one once more for its seal.
struct Work<'p> {
    progress: &'p mut dyn Progress,
    done: u64,
    told: u64,
    total: u64,
    /// What was told before, as done and of how much this work is the rest.
    first: u64,
}

impl<'p> Work<'p> {
    const STEP_BYTES: u64 = 1 << 20;

    fn new(progress: &'p mut dyn Progress, segments: &[Known], first: u64) -> Work<'p> {
        let len = |known: &Known| known.end.map_or(0, |end| end.0 - known.base.0);
        let once: u64 = segments.iter().map(len).sum();
        let twice: u64 = segments.iter().rev().skip(1).map(len).sum();
        let work = Work { progress, done: 0, told: 0, total: (once + twice).max(1), first };
        work.progress.advance(work.first, 3 * work.first);
        work
    }

    fn add(&mut self, bytes: u64) {
        self.done = (self.done + bytes).min(self.total);
        if self.done - self.told >= Work::STEP_BYTES {
            self.told = self.done;
            let share = u128::from(2 * self.first) * u128::from(self.done) / u128::from(self.total);
            self.progress.advance(self.first + share as u64, 3 * self.first);
        }
    }

    fn finish(&mut self) {
        self.progress.advance(3 * self.first, 3 * self.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DamageClass;

    #[test]
    fn no_byte_is_reported_twice() {
        let mut ledger = Ledger::default();
        let damage = |file: &str, bytes: std::ops::Range<u64>| {
            Damage::new(DamageClass::Damage, file, bytes, Position::ZERO..Position::ZERO, "")
        };
        assert!(ledger.add(damage("a", 10..20)));
        for overlapping in [10..20, 0..11, 19..30, 12..13, 0..40, 15..15] {
            assert!(!ledger.add(damage("a", overlapping)));
        }
        for beside in [0..10, 20..30] {
            assert!(ledger.add(damage("a", beside)));
        }
        assert!(ledger.add(damage("b", 12..13)));
        assert!(ledger.knows("b") && !ledger.knows("c"));
        let order: Vec<_> = ledger.into_damage().into_iter().map(|damage| (damage.file, damage.bytes.start)).collect();
        assert_eq!(order, [("a".into(), 0), ("a".into(), 10), ("a".into(), 20), ("b".into(), 12)]);
    }
}
