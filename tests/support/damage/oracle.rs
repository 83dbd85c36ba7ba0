//! What is asked of a store after one change to its files.
//!
//! Reading, by the log and by streams, forwards and backwards: no event that was not there, each byte for byte as it was; all
//! events that do not lie in what was hit; the change reported, with a range that holds it, or nothing of it part of the log.
//! Then writing: nothing is given twice, nothing below the end of the log is changed, what was reported is reported again.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use treering::{Damage, ErrorKind, StreamId, maintain};

use super::fault::hull;
use super::golden::Golden;

mod reading;
mod writing;

pub(super) use reading::Found;

/// A change to the files of a golden store.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// For messages: the line that makes it again.
    pub what: String,
    /// The bytes that are not what they were, by file; every byte of a range differs.
    pub bytes: Vec<(String, Range<u64>)>,
    /// Files that are not there any more, or are other files altogether.
    pub files: Vec<String>,
    /// A file ends early: the frame in which it does is lost as a whole.
    pub is_cut: bool,
}

impl Change {
    fn changed_files(&self) -> BTreeSet<&String> {
        self.bytes.iter().map(|(file, _)| file).collect()
    }

    /// The events that may be lost.
    fn lost(&self, golden: &Golden) -> BTreeSet<u64> {
        let mut lost = BTreeSet::new();
        for (file, bytes) in &self.bytes {
            lost.extend(golden.lost(file, bytes, self.is_cut));
        }
        for (file, hull) in self.blind(golden) {
            lost.extend(golden.lost(file, &hull, self.is_cut));
        }
        for file in self.files.iter().chain(self.headless()) {
            lost.extend(golden.lost(file, &(0..u64::MAX), true));
        }
        lost
    }

    /// Between two bad places nobody knows where frames begin once the index block that says it is bad too.
    fn blind(&self, golden: &Golden) -> Vec<(&String, Range<u64>)> {
        let hulls = self.changed_files().into_iter().filter_map(|file| Some((file, hull(&self.bytes, file)?)));
        let is_blind = |(file, hull): &(&String, Range<u64>)| {
            golden.hit(file, hull).any(|span| span.is_index && self.touches_range(file, &span.bytes))
        };
        hulls.filter(is_blind).collect()
    }

    /// Segments both copies of whose head are bad.
    fn headless(&self) -> impl Iterator<Item = &String> {
        let is_headless = |file: &&String| [0..4096, 4096..8192].iter().all(|block| self.touches_range(file, block));
        self.changed_files().into_iter().filter(|file| file.ends_with(".segment")).filter(is_headless)
    }

    /// The first frame without a witness that is hit: there the log may end.
    fn first_unwitnessed(&self, golden: &Golden) -> Option<u64> {
        let hit = self.bytes.iter().flat_map(|(file, bytes)| golden.hit(file, bytes));
        let whole = self.files.iter().flat_map(|file| golden.hit(file, &(0..u64::MAX)));
        hit.chain(whole).map(|span| span.position).filter(|position| *position >= self.witness(golden)).min()
    }

    /// How far what is left says that the log was durable: the slots of the watermark file, where nobody touched them, and
    /// frames.
    fn witness(&self, golden: &Golden) -> u64 {
        let is_hit = |file: &str, bytes: &Range<u64>| {
            self.files.iter().any(|other| other == file) || self.touches_range(file, bytes)
        };
        let by_slot = if self.touches("watermark") { 0 } else { golden.watermark };
        golden.witness_without(&is_hit).max(by_slot).min(golden.witness)
    }

    /// The newest segment is gone without a trace, and so is all that told of it: nothing is left that says that it was.
    fn is_beyond_proof(&self, golden: &Golden) -> bool {
        let has_no_watermark = !golden.image.0.contains_key("watermark") || self.touches("watermark");
        self.files.contains(&golden.image.last_segment()) && has_no_watermark
    }

    /// Streams whose name may be lost.
    fn nameless(&self, golden: &Golden) -> BTreeSet<StreamId> {
        let hit = self.bytes.iter().flat_map(|(file, bytes)| golden.named_in(file, bytes, self.is_cut));
        let blind = self.blind(golden);
        let between = blind.iter().flat_map(|(file, hull)| golden.named_in(file, hull, self.is_cut));
        let whole = self.files.iter().chain(self.headless());
        hit.chain(between).chain(whole.flat_map(|file| golden.named_in(file, &(0..u64::MAX), true))).collect()
    }

    fn touches(&self, file: &str) -> bool {
        self.bytes.iter().any(|(other, _)| other == file) || self.files.iter().any(|other| other == file)
    }

    fn touches_range(&self, file: &str, bytes: &Range<u64>) -> bool {
        self.bytes.iter().any(|(other, run)| other == file && run.start < bytes.end && bytes.start < run.end)
    }
}

/// The bytes of a range that no damage to the file covers: asked of whole files, so that what is covered is leapt over.
fn uncovered<'d>(damage: &'d [Damage], file: &'d str, bytes: Range<u64>) -> impl Iterator<Item = u64> + 'd {
    let of_file: Vec<&Range<u64>> = damage.iter().filter(|it| it.file == file).map(|it| &it.bytes).collect();
    let mut at = bytes.start;
    std::iter::from_fn(move || {
        while let Some(range) = of_file.iter().find(|range| range.contains(&at)) {
            at = range.end;
        }
        at += 1;
        (at <= bytes.end).then_some(at - 1)
    })
}

/// What is asked of reading. Returns what was read.
fn check_reading(golden: &Golden, change: &Change) -> Option<Found> {
    let what = &change.what;
    let has_segment = golden.segments().any(|(name, _)| !change.files.contains(name));
    let found = match reading::read(&golden.storage, what) {
        Ok(found) => found,
        Err(error) if !has_segment => {
            let expected = if change.touches("identity") { ErrorKind::NotFound } else { ErrorKind::Damage };
            assert_eq!(error.kind(), expected, "{what}: {error}");
            return None;
        }
        Err(error) => panic!("{what}: opening for reading says {error:?}"),
    };
    // Nothing invented.
    let nameless = change.nameless(golden);
    for (position, event) in found.events.iter().chain(&found.beside) {
        let Some(truth) = golden.events.get(position) else { panic!("{what}: never appended: {event:?}") };
        if nameless.contains(&event.stream_id) && *event.stream == *format!("${}", event.stream_id) {
            let mut event = event.clone();
            event.stream = Arc::clone(&truth.stream);
            assert_eq!(event, *truth, "{what}");
        } else {
            assert_eq!(event, truth, "{what}");
        }
    }
    // Nothing lost beyond what was hit, but above the witness the log may end there.
    let lost = change.lost(golden);
    let first_unwitnessed = change.first_unwitnessed(golden);
    let may_be_lost =
        |position: u64| lost.contains(&position) || first_unwitnessed.is_some_and(|first| position >= first);
    for position in golden.events.keys() {
        assert!(
            found.events.contains_key(position) || may_be_lost(*position),
            "{what}: the event at {position} was not hit and is lost; reported {:#?} {:?}",
            found.damage,
            found.torn
        );
    }
    if change.is_beyond_proof(golden) {
        return None;
    }
    // Whatever is lost below the witness is reported, with all bytes that were hit; of a whole file, the file.
    let witness = change.witness(golden);
    for (file, bytes) in change.bytes.iter().filter(|(file, _)| !change.files.contains(file)) {
        let (base, end) = (golden.base(file), golden.end(file));
        for at in uncovered(&found.damage, file, bytes.start..bytes.end.min(end)) {
            let is_above = base + at >= witness && file != "identity";
            let is_torn = || found.torn.iter().any(|torn| torn.file == *file && torn.bytes.contains(&at));
            // A head block of a segment before the checkpoint holds no event; `verify` tells.
            let is_old_head = at < 8192 && base + 8192 <= found.read_from && file != "identity";
            let is_told = is_old_head || is_above && (found.end <= base + at || is_torn());
            assert!(
                is_told || golden.is_padding(file, at),
                "{what}: byte {at} of {file} is not reported: {:#?} {:?}",
                found.damage,
                found.torn
            );
        }
    }
    for file in change.files.iter().filter(|file| golden.ends.contains_key(*file) || *file == "identity") {
        assert!(found.damage.iter().any(|damage| damage.file == *file), "{what}: {file} is not reported");
    }
    let in_log = |file: &String, at: u64| golden.ends.get(file).is_some_and(|end| at < *end) || file == "identity";
    let touches_log = change.bytes.iter().any(|(file, bytes)| in_log(file, bytes.start)) || !change.files.is_empty();
    if !touches_log {
        assert_eq!((found.damage.len(), found.events.len()), (0, golden.events.len()), "{what}: {:#?}", found.damage);
    }
    Some(found)
}

/// What is asked of verify: all that was hit is reported, and nothing that reading reported is passed over.
fn check_verify(golden: &Golden, change: &Change, found: &Found) {
    let what = &change.what;
    let witness = change.witness(golden);
    let report = maintain::verify_on(Arc::new(golden.storage.clone()), &mut ())
        .unwrap_or_else(|error| panic!("{what}: verify says {error:?}"));
    for (file, bytes) in change.bytes.iter().filter(|(file, _)| !change.files.contains(file)) {
        let (base, end) = (golden.base(file), golden.end(file));
        for at in uncovered(&report.damage, file, bytes.start..bytes.end.min(end)) {
            assert!(
                base + at >= witness && file != "identity",
                "{what}: byte {at} of {file} is not reported by verify: {:#?}",
                report.damage
            );
        }
    }
    for damage in &found.damage {
        let len = golden.image.0.get(&damage.file).map_or(0, Vec::len) as u64;
        let is_gone = change.files.contains(&damage.file);
        let is_sound = |at: u64| at < len && !is_gone && !change.touches_range(&damage.file, &(at..at + 1));
        let is_known = uncovered(&report.damage, &damage.file, damage.bytes.clone()).all(is_sound);
        assert!(is_known, "{what}: reading reported {damage}, verify only {:#?}", report.damage);
    }
    assert!(report.is_clean() || !change.bytes.is_empty() || !change.files.is_empty(), "{what}: {:#?}", report.damage);
    assert_eq!(report.torn_tail.is_some(), found.torn.is_some(), "{what}");
}

/// Asks reading, and with `is_whole` verifying, writing and reading again, which costs as much as many readings.
///
/// # Panics
/// Where something is not as it ought to be.
pub fn check(golden: &Golden, change: &Change, is_whole: bool) {
    let found = check_reading(golden, change);
    if let (Some(found), true) = (found, is_whole) {
        check_verify(golden, change, &found);
        writing::check_writing(golden, change, &found);
    }
}
