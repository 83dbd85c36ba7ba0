//! What is asked of a store after one change to its files.
//!
//! Reading, by the log and by streams: no event that was not there, each byte for byte as it was; all events that do not
//! lie in what was hit; the change reported, with a range that holds it, or nothing of it part of the log. Then writing:
//! nothing is given twice, nothing below the end of the log is changed, what was reported is reported again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use treering::maintain;
use treering::storage::mem::MemStorage;
use treering::{
    Batch, Damage, DamageClass, Durability, ErrorKind, Event, Expected, NewEvent, ReadAllOptions, ReadOptions, Store,
    StreamId, Visibility,
};
use treering_tests::image::Image;

use super::golden::{Golden, SEGMENT_BYTES, options};

/// A change to the files of a golden store.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    /// For messages.
    pub(super) what: String,
    /// The bytes that are not what they were, by file.
    pub(super) bytes: Vec<(String, Range<u64>)>,
    /// Files that are not there any more, or are other files altogether.
    pub(super) files: Vec<String>,
    /// A file ends early: the frame in which it does is lost as a whole.
    pub(super) is_cut: bool,
}

impl Change {
    pub(super) fn of(what: impl Into<String>, file: &str, bytes: Range<u64>) -> Change {
        Change { what: what.into(), bytes: vec![(file.to_owned(), bytes)], ..Change::default() }
    }

    /// The events that may be lost.
    fn lost(&self, golden: &Golden) -> BTreeSet<u64> {
        let mut lost = BTreeSet::new();
        for (file, bytes) in &self.bytes {
            lost.extend(golden.lost(file, bytes, self.is_cut));
        }
        for file in &self.files {
            lost.extend(golden.lost(file, &(0..u64::MAX), true));
        }
        lost
    }

    /// Streams whose name may be lost.
    fn nameless(&self, golden: &Golden) -> BTreeSet<StreamId> {
        let hit = self.bytes.iter().flat_map(|(file, bytes)| golden.named_in(file, bytes));
        hit.chain(self.files.iter().flat_map(|file| golden.named_in(file, &(0..u64::MAX)))).collect()
    }

    fn touches(&self, file: &str) -> bool {
        self.bytes.iter().any(|(other, _)| other == file) || self.files.iter().any(|other| other == file)
    }
}

/// What reading a changed store gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) events: BTreeMap<u64, Event>,
    /// What opening and reading reported.
    pub(super) damage: Vec<Damage>,
    pub(super) torn: Option<Damage>,
    pub(super) heads: BTreeMap<String, u64>,
    pub(super) end: u64,
}

/// Everything that can be read, past all damage; the log and the streams must say the same.
pub(super) fn read(storage: &MemStorage, what: &str) -> Result<Found, treering::Error> {
    let store = Store::open_read_only_on(Arc::new(storage.clone()), options())?;
    Ok(read_store(&store, what))
}

fn read_store(store: &Store, what: &str) -> Found {
    let report = store.open_report();
    let mut found = Found { damage: report.damage.clone(), torn: report.torn_tail.clone(), ..Found::default() };
    found.end = store.watermarks().committed.0;
    let mut reader = store.read_all(ReadAllOptions::new().visibility(Visibility::Committed)).unwrap();
    let mut last = 0;
    let mut patience = 2_000;
    while let Some(next) = reader.next() {
        patience -= 1;
        assert!(patience > 0, "{what}: reading does not end");
        match next {
            Ok(event) => {
                assert!(event.position().0 > last, "{what}: positions rise");
                last = event.position().0;
                found.events.insert(last, event.hold());
            }
            Err(error) => match error.damage() {
                Some(damage) => found.damage.push(damage.clone()),
                None => panic!("{what}: reading says {error}"),
            },
        }
    }
    read_streams(store, &mut found, what);
    found
}

/// Reads every stream, forwards; each gives exactly the events that the log gives.
fn read_streams(store: &Store, found: &mut Found, what: &str) {
    let mut by_stream: BTreeMap<StreamId, Vec<u64>> = BTreeMap::new();
    for (position, event) in &found.events {
        by_stream.entry(event.stream_id).or_default().push(*position);
    }
    for stream in store.streams() {
        let wanted = by_stream.remove(&stream.id).unwrap_or_default();
        let options = ReadOptions::new().visibility(Visibility::Committed);
        let mut reader = store.read_stream(&stream.name, options).unwrap();
        let mut read = Vec::new();
        let mut errors = Vec::new();
        let mut next_revision = 0;
        let mut gap_was_told = false;
        let mut patience = 2_000;
        while let Some(next) = reader.next() {
            patience -= 1;
            assert!(patience > 0, "{what}: reading {:?} does not end", stream.name);
            match next {
                Ok(event) => {
                    assert!(
                        event.revision().0 == next_revision || gap_was_told && event.revision().0 > next_revision,
                        "{what}: {:?} goes from revision {next_revision} to {} in silence",
                        stream.name,
                        event.revision()
                    );
                    gap_was_told = false;
                    next_revision = event.revision().0 + 1;
                    read.push(event.position().0);
                    assert_eq!(event.hold(), found.events[&event.position().0], "{what}: {:?}", stream.name);
                }
                Err(error) => {
                    assert!(error.damage().is_some(), "{what}: reading {:?} says {error}", stream.name);
                    gap_was_told = true;
                    errors.push(error.to_string());
                }
            }
        }
        assert_eq!(read, wanted, "{what}: {:?} holds what the log holds of it; {errors:?}", stream.name);
        assert!(
            next_revision == stream.head.0 + 1 || gap_was_told,
            "{what}: {:?} ends at {next_revision} in silence, its head is {}",
            stream.name,
            stream.head
        );
        found.heads.insert(stream.name.to_string(), stream.head.0);
    }
    assert!(by_stream.is_empty(), "{what}: streams that are not listed: {by_stream:?}");
}

fn covers(damage: &[Damage], file: &str, at: u64) -> bool {
    damage.iter().any(|damage| damage.file == file && damage.bytes.contains(&at))
}

/// What is asked of reading. Returns what was read.
pub(super) fn check_reading(golden: &Golden, change: &Change) -> Option<Found> {
    let what = &change.what;
    let found = match read(&golden.storage, what) {
        Ok(found) => found,
        Err(error) => panic!("{what}: opening for reading says {error:?}"),
    };
    // Nothing invented.
    let nameless = change.nameless(golden);
    for (position, event) in &found.events {
        let Some(truth) = golden.events.get(position) else { panic!("{what}: never appended: {event:?}") };
        let mut event = event.clone();
        if *event.stream == *format!("${}", event.stream_id) && nameless.contains(&event.stream_id) {
            event.stream = Arc::clone(&truth.stream);
        }
        assert_eq!(event, *truth, "{what}");
    }
    // Nothing lost beyond what was hit, but above the witness the log may end there.
    let lost = change.lost(golden);
    let first_unwitnessed = lost.iter().copied().find(|position| *position >= golden.witness);
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
    // Whatever is lost below the witness is reported, with all bytes that were hit.
    for (file, bytes) in &change.bytes {
        let end = golden.ends.get(file).copied().unwrap_or(if file == "identity" { 128 } else { 0 });
        for at in bytes.start..bytes.end.min(end) {
            let is_changed = golden.image.0[file].get(at as usize) != changed_byte(golden, file, at).as_ref();
            let is_above = golden.base(file) + at >= golden.witness && file != "identity";
            let is_told = covers(&found.damage, file, at)
                || is_above && found.torn.iter().any(|torn| torn.file == *file && torn.bytes.contains(&at))
                || is_above && found.end <= golden.base(file) + at;
            assert!(
                !is_changed || is_told || golden.is_padding(file, at),
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

/// The byte as it is now.
fn changed_byte(golden: &Golden, file: &str, at: u64) -> Option<u8> {
    use treering::storage::{Access, Storage};
    let file = golden.storage.open(file, Access::Read).ok()?;
    let mut byte = [0];
    (file.read_at(&mut byte, at).ok()? == 1).then_some(byte[0])
}

impl Golden {
    fn base(&self, file: &str) -> u64 {
        let ordinal = file.strip_suffix(".segment").and_then(|ordinal| u64::from_str_radix(ordinal, 16).ok());
        ordinal.map_or(0, |ordinal| ordinal * SEGMENT_BYTES)
    }
}

/// What is asked of verify: all that was hit is reported, and nothing that reading reported is passed over.
fn check_verify(golden: &Golden, change: &Change, found: &Found) {
    let what = &change.what;
    let report = maintain::verify_on(Arc::new(golden.storage.clone()), &mut ())
        .unwrap_or_else(|error| panic!("{what}: verify says {error:?}"));
    for (file, bytes) in &change.bytes {
        let end = golden.ends.get(file).copied().unwrap_or(if file == "identity" { 128 } else { 0 });
        for at in bytes.start..bytes.end.min(end) {
            let is_changed = golden.image.0[file].get(at as usize) != changed_byte(golden, file, at).as_ref();
            let is_above = golden.base(file) + at >= golden.witness && file != "identity";
            assert!(
                !is_changed || covers(&report.damage, file, at) || is_above,
                "{what}: byte {at} of {file} is not reported by verify: {:#?}",
                report.damage
            );
        }
    }
    for damage in &found.damage {
        let is_sound = |at: u64| {
            let byte = golden.image.0.get(&damage.file).and_then(|bytes| bytes.get(at as usize)).copied();
            byte.is_some() && byte == changed_byte(golden, &damage.file, at)
        };
        let is_known = damage.bytes.clone().all(|at| covers(&report.damage, &damage.file, at) || is_sound(at));
        assert!(is_known, "{what}: reading reported {damage}, verify only {:#?}", report.damage);
    }
    assert!(report.is_clean() || !change.bytes.is_empty() || !change.files.is_empty(), "{what}: {:#?}", report.damage);
    assert_eq!(report.torn_tail.is_some(), found.torn.is_some(), "{what}");
}

/// Reading, verifying, writing and reading again. The golden storage is as it was before this, afterwards.
pub(super) fn check(golden: &Golden, change: &Change) {
    if let Some(found) = check_reading(golden, change) {
        check_verify(golden, change, &found);
        check_writing(golden, change, &found);
    }
    golden.image.put_back(&golden.storage);
}

/// What is asked of a writer: what may be appended is appended where nothing ever was.
fn check_writing(golden: &Golden, change: &Change, had: &Found) {
    let what = &change.what;
    let before = Image::take(&golden.storage);
    let store = match Store::open_on(Arc::new(golden.storage.clone()), options()) {
        Ok(store) => store,
        Err(error) => {
            let is_expected = match error.kind() {
                ErrorKind::Damage | ErrorKind::NotFound | ErrorKind::NotAStore => change.touches("identity"),
                _ => false,
            };
            assert!(is_expected, "{what}: opening for writing says {error:?}");
            assert!(Image::take(&golden.storage) == before, "{what}: a refused opening changed a file");
            return;
        }
    };
    let lost = change.lost(golden);
    let is_torn = had.torn.is_some() || lost.iter().any(|position| *position >= golden.witness);
    let mut appended = BTreeMap::new();
    let mut heads: BTreeMap<&str, u64> = BTreeMap::new();
    for event in golden.events.values().filter(|event| event.position.0 < golden.witness || !is_torn) {
        heads.insert(&event.stream, event.revision.0);
    }
    let last_position = golden.events.keys().last().copied().unwrap_or(0);
    for (round, name) in heads.keys().copied().chain(["fresh"]).chain(heads.keys().copied()).enumerate() {
        let payload = format!("behind it all {round}");
        let events = [NewEvent::new("added", &payload)];
        let appending = store.append(&Batch::to(name, Expected::Any, &events).durability(Durability::Synced));
        match appending {
            Ok(receipt) => {
                let revision = receipt.sections[0].first_revision.0;
                let truth = heads.get(name);
                let known = appended.values().filter(|(other, _, _)| other == name).map(|(_, revision, _)| *revision);
                let due = known.max().or(truth.copied()).map_or(0, |head| head + 1);
                let may_differ = is_torn && revision > 0;
                assert!(revision == due || may_differ && revision > due, "{what}: {name:?} {revision}, not {due}");
                assert!(receipt.position.0 > last_position, "{what}: {} was given before", receipt.position);
                appended.insert(receipt.position.0, (name.to_owned(), revision, payload.clone()));
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::HeadUnknown, "{what}: {error:?}"),
        }
    }
    if had.damage.iter().all(|damage| damage.file == "identity" || damage.positions.is_empty()) {
        assert!(appended.len() > heads.len(), "{what}: nothing is in doubt");
    }
    store.close().unwrap();
    let after = Image::take(&golden.storage);
    for (file, bytes) in before.0.iter().filter(|(file, _)| golden.ends.contains_key(*file) || *file == "identity") {
        // A torn tail is void from now on; its blocks may be given back.
        let read_to = had.end.saturating_sub(golden.base(file)).min(bytes.len() as u64);
        let end = golden.ends.get(file).map_or(bytes.len() as u64, |end| (*end).min(read_to)) as usize;
        assert!(after.0[file][..end] == bytes[..end], "{what}: {file} was changed below the end of the log");
    }
    for round in 0..2 {
        let again = read(&golden.storage, what).unwrap_or_else(|error| panic!("{what}: reopened: {error:?}"));
        check_again(what, had, &again, &appended, round);
        if round == 0 {
            let store = Store::open_on(Arc::new(golden.storage.clone()), options());
            drop(store.unwrap_or_else(|error| panic!("{what}: opened again: {error:?}")));
        }
    }
}

/// A later opening finds what was there, what was appended, and the same damage.
fn check_again(what: &str, had: &Found, again: &Found, appended: &BTreeMap<u64, (String, u64, String)>, round: usize) {
    let mut wanted: Vec<u64> = had.events.keys().copied().collect();
    wanted.extend(appended.keys());
    assert!(
        again.events.keys().copied().eq(wanted.iter().copied()),
        "{what}: reopened {round}, {:?} for {wanted:?}",
        again.events.keys().collect::<Vec<_>>()
    );
    for (position, (name, revision, payload)) in appended {
        let event = &again.events[position];
        assert_eq!((&*event.stream, event.revision.0, &event.payload[..]), (&**name, *revision, payload.as_bytes()));
    }
    let mut given = BTreeSet::new();
    for event in again.events.values() {
        assert!(given.insert((event.stream_id, event.revision)), "{what}: given twice: {event:?}");
    }
    for damage in had.damage.iter().filter(|damage| damage.class != DamageClass::TornTail) {
        let is_told = damage.bytes.clone().step_by(8).all(|at| covers(&again.damage, &damage.file, at));
        assert!(is_told, "{what}: reopened {round}, {damage} is not reported any more: {:#?}", again.damage);
    }
}
