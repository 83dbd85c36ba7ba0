//! Every vector of the format, opened by the engine: what it serves and reports beside what `expected.json` says.
//!
//! The vectors were made byte by byte from the pages. A store is always looked at in a copy, and the copy is compared with
//! the original after reading: reading changes nothing. [REC-1]

// What is wrong with a vector's own files is told by stopping.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use treering::format::file_name::{FileKind, parse};
use treering::{
    Batch, Damage, DamageClass, ErrorKind, EventRef, Expected, NewEvent, Options, ReadAllOptions, Store, Visibility,
};

/// The folder of the vectors.
fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace");
    root.join("format-spec").join("vectors")
}

/// All vectors, by their names `FOLDER/NAME`.
#[must_use]
pub fn all() -> Vec<(String, PathBuf)> {
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).expect("the vectors are there").map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut all = Vec::new();
    for folder in folders(&folder()) {
        all.extend(folders(&folder).into_iter().map(|vector| (format!("{}/{}", name(&folder), name(&vector)), vector)));
    }
    all.sort();
    all
}

/// The files of a folder. One that goes while they are read was derived, and is left out.
#[must_use]
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match std::fs::read(entry.path()) {
            Ok(bytes) => drop(files.insert(entry.file_name().into_string().unwrap(), bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {}
            Err(error) => panic!("{}: {error}", entry.path().display()),
        }
    }
    files
}

/// A copy of the vector's store.
#[must_use]
pub fn copy(vector: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files(&vector.join("store")) {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// What the pages say of a vector.
#[must_use]
pub fn expected(vector: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(vector.join("expected.json")).unwrap()).expect("expected.json is JSON")
}

/// What reading a store came to.
#[derive(Debug)]
struct Found {
    events: Vec<Value>,
    end: u64,
    damage: Vec<Damage>,
    torn: Option<Damage>,
    /// What only a newer version knows.
    unsupported: Vec<String>,
}

/// An event as `expected.json` has it.
#[must_use]
pub fn event(event: &EventRef<'_>) -> Value {
    let mut object = serde_json::Map::new();
    object.insert("stream".into(), event.stream().into());
    object.insert("revision".into(), event.revision().0.into());
    object.insert("position".into(), event.position().0.into());
    object.insert("id".into(), event.id().into());
    object.insert("type".into(), event.event_type().into());
    object.insert("recorded_at".into(), event.recorded_at().into());
    object.insert("occurred_at".into(), event.occurred_at().into());
    for (key, bytes) in [("metadata", event.metadata()), ("payload", event.payload())] {
        match std::str::from_utf8(bytes) {
            Ok(text) => object.insert(key.into(), text.into()),
            Err(_) => object.insert(format!("{key}_base64"), base64(bytes).into()),
        };
    }
    object.insert("batch".into(), event.batch().to_string().into());
    object.into()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain([&0, &0]).take(3).fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// All events of a store with what is said to be lost between them.
#[must_use]
pub fn read_all(store: &Store) -> (Vec<Value>, Vec<Damage>, Vec<treering::Error>) {
    let options = ReadAllOptions::new().visibility(Visibility::Committed).with_engine_streams();
    let mut reader = store.read_all(options).unwrap();
    let (mut events, mut damage, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let mut patience = 10_000;
    while let Some(next) = reader.next() {
        match next {
            Ok(found) => events.push(event(&found)),
            Err(error) if error.kind() == ErrorKind::Unsupported => errors.push(error),
            Err(error) => match error.damage() {
                Some(found) => damage.push(found.clone()),
                None => {
                    let is_last = error.kind() == ErrorKind::Io;
                    errors.push(error);
                    if is_last {
                        break;
                    }
                }
            },
        }
        patience -= 1;
        assert!(patience > 0, "reading does not end");
    }
    (events, damage, errors)
}

fn read(folder: &Path) -> Result<Found, treering::Error> {
    let store = Store::open_read_only(folder, Options::new())?;
    let report = store.open_report();
    let (events, met, errors) = read_all(&store);
    let mut unsupported = Vec::new();
    for error in errors {
        match error.kind() {
            ErrorKind::Unsupported => unsupported.push(error.to_string()),
            _ => return Err(error),
        }
    }
    let mut damage = report.damage.clone();
    for found in met {
        if !damage.iter().any(|known| known.file == found.file && known.bytes == found.bytes) {
            damage.push(found);
        }
    }
    Ok(Found { events, end: store.watermarks().committed.0, damage, torn: report.torn_tail.clone(), unsupported })
}

/// What was found in a vector that ends so, where it opens. Else the difference; none where it ought not to open.
///
/// # Errors
/// The difference, if there is one.
pub fn opened<T>(exit: &str, found: Result<T, treering::Error>) -> Result<T, Option<String>> {
    found.map_err(|error| match (exit, error.kind()) {
        ("not_a_store", ErrorKind::NotAStore | ErrorKind::NotFound) | ("unsupported", ErrorKind::Unsupported) => None,
        _ => Some(format!("{exit} is expected, it says {error:?}")),
    })
}

/// The differences between what the engine says of a vector and what is expected.
#[must_use]
pub fn differences(vector: &Path) -> Vec<String> {
    let expected = expected(vector);
    let folder = copy(vector);
    let found = read(folder.path());
    let mut wrong = Vec::new();
    if files(folder.path()) != files(&vector.join("store")) {
        wrong.push("reading changed a file".into());
    }
    let exit = expected["exit"].as_str().unwrap();
    let found = match opened(exit, found) {
        Ok(found) => found,
        Err(difference) => {
            wrong.extend(difference);
            return wrong;
        }
    };
    // A body that cannot be decoded is not handed out; in each vector with such bodies they are in sections of one event.
    let (coded, events): (Vec<&Value>, Vec<&Value>) =
        expected["events"].as_array().unwrap().iter().partition(|event| event.get("coded").is_some());
    if found.unsupported.len() != coded.len() + usize::from(exit == "unsupported") {
        wrong.push(format!("{exit}, {} coded events: {:?}", coded.len(), found.unsupported));
    }
    if !events.iter().copied().eq(&found.events) {
        let at = events.iter().zip(&found.events).take_while(|(a, b)| **a == *b).count();
        let (a, b) = (events.get(at), found.events.get(at));
        wrong.push(format!(
            "{} events, not {}; the first other one is {at}: {b:?} for {a:?}",
            found.events.len(),
            events.len()
        ));
    }
    if expected["end"] != found.end {
        wrong.push(format!("the log ends at {}, not {}", found.end, expected["end"]));
    }
    wrong.extend(findings(&expected, &found.damage, found.torn.as_ref(), false));
    wrong
}

/// Each expected finding is reported once, with all bytes that it must hold and none beyond those that it may; nothing
/// else is reported. What is said to be for verify only it alone reports. [REC-11]
#[must_use]
pub fn findings(expected: &Value, damage: &[Damage], torn: Option<&Damage>, is_verify: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    // What is lost may be said in one piece or in several that touch.
    let mut left: Vec<Damage> = Vec::new();
    for damage in damage.iter().chain(torn) {
        match left.last_mut() {
            Some(last)
                if last.file == damage.file && last.class == damage.class && last.bytes.end == damage.bytes.start =>
            {
                last.bytes.end = damage.bytes.end;
            }
            _ => left.push(damage.clone()),
        }
    }
    let is_finding = |wanted: &&Value| wanted["class"] != "unsupported" && (is_verify || wanted["verify"] != true);
    for wanted in expected["findings"].as_array().unwrap().iter().filter(is_finding) {
        let class = match wanted["class"].as_str().unwrap() {
            "damage" => DamageClass::Damage,
            "missing" => DamageClass::Missing,
            "foreign" => DamageClass::Foreign,
            "stale" => DamageClass::Stale,
            "copy_incomplete" => DamageClass::CopyIncomplete,
            "torn_tail" => DamageClass::TornTail,
            other => panic!("a class {other}"),
        };
        let range = |key: &str| wanted[key][0].as_u64().unwrap()..wanted[key][1].as_u64().unwrap();
        let (holds, within) = (range("bytes"), range("within"));
        let is_it = |damage: &Damage| {
            damage.class == class
                && damage.is_accepted == (wanted["accepted"] == true)
                && damage.file == wanted["file"].as_str().unwrap()
                && damage.bytes.start <= holds.start
                && holds.end <= damage.bytes.end
                && within.start <= damage.bytes.start
                && damage.bytes.end <= within.end
        };
        match left.iter().position(is_it) {
            Some(at) => drop(left.remove(at)),
            None => wrong.push(format!("not reported: {wanted}")),
        }
    }
    wrong.extend(left.into_iter().map(|damage| format!("reported, not expected: {damage}")));
    wrong
}

/// Whether a name is that of a side file, which may go and be made anew whenever the store is open for writing.
fn is_side_file(name: &str) -> bool {
    matches!(parse(name), FileKind::SegmentIndex(_) | FileKind::Directory(_) | FileKind::Checkpoint(_))
}

/// Opens for writing as `expected.json` says, appends, closes, and looks at everything again.
#[must_use]
pub fn go_on(name: &str, vector: &Path) -> Vec<String> {
    let expected = expected(vector);
    let opening = expected["opening"].as_str();
    let folder = copy(vector);
    let before = files(folder.path());
    let segment_bytes =
        before.get("identity").and_then(|block| Some(u64::from_le_bytes(*block.get(56..)?.first_chunk()?)));
    let segment_bytes = segment_bytes.unwrap_or(16 << 10);
    let had = read(folder.path());
    let mut wrong = Vec::new();
    let store = match Store::open(folder.path(), Options::new().create(false)) {
        Ok(store) => store,
        Err(error) => {
            let is_refused = matches!(opening, None | Some("accept_first"));
            if !is_refused {
                wrong.push(format!("{opening:?} is expected, it says {error:?}"));
            }
            if files(folder.path()) != before {
                wrong.push("a refused opening changed a file".into());
            }
            return wrong;
        }
    };
    let Some(opening) = opening else { return vec!["a writer opened what it must refuse".into()] };
    let Ok(had) = had else { return vec![format!("a writer opened what cannot be read: {had:?}")] };
    let report = store.open_report().clone();
    if !report.has_rolled {
        wrong.push("the log goes on in the old segment, under another boot".into());
    }
    let stored = before.values().map(Vec::as_slice).collect::<Vec<_>>();
    let is_new_life = !stored.iter().any(|bytes| bytes.windows(16).any(|window| window == report.incarnation.0));
    if is_new_life != opening.contains("incarnation") {
        wrong.push(format!("{opening}: a new incarnation: {is_new_life}"));
    }
    let events = [NewEvent::new("added", "behind it all")];
    let receipt = store.append(&Batch::to("a stream of the test", Expected::NoStream, &events));
    let receipt = match receipt {
        Ok(receipt) => receipt,
        // A stream that nobody knows may be one of those that are lost. [REC-6]
        Err(error) if opening.contains("guarded") && error.kind() == ErrorKind::HeadUnknown => return wrong,
        Err(error) => return vec![format!("appending says {error:?}")],
    };
    if receipt.position.0 < had.end {
        wrong.push(format!("{name}: appended at {} into a log that ends at {}", receipt.position, had.end));
    }
    if let Err(error) = store.close() {
        wrong.push(format!("closing says {error:?}"));
    }
    let after = files(folder.path());
    for (file, bytes) in &before {
        let now = after.get(file).map_or(&[][..], Vec::as_slice);
        let ordinal = file.strip_suffix(".segment").and_then(|ordinal| u64::from_str_radix(ordinal, 16).ok());
        let upto = match ordinal {
            _ if ["watermark", "control"].contains(&&**file)
                || file.ends_with(".new")
                || file.ends_with(".prepared")
                || is_side_file(file) =>
            {
                continue;
            }
            Some(ordinal) => (had.end.saturating_sub(ordinal * segment_bytes) as usize).min(bytes.len()),
            None => bytes.len(),
        };
        if now.get(..upto) != Some(&bytes[..upto]) {
            wrong.push(format!("{file} is changed below the end of the log"));
        }
    }
    match read(folder.path()) {
        Ok(again) => {
            let (last, rest) = again.events.split_last().expect("one was appended");
            if rest != had.events || last["payload"] != "behind it all" {
                wrong.push("the events are not those from before and the new one".into());
            }
            let ranges = |found: &Found| -> Vec<_> {
                found.damage.iter().map(|damage| (damage.class, damage.file.clone())).collect()
            };
            if ranges(&again) != ranges(&had) || again.torn.is_some() {
                wrong
                    .push(format!("reopened, it reports {:?} {:?}, before {:?}", again.damage, again.torn, had.damage));
            }
        }
        Err(error) => wrong.push(format!("reading it again says {error:?}")),
    }
    match Store::open(folder.path(), Options::new().create(false)) {
        Ok(store) => {
            let report = store.open_report();
            let is_sound = !opening.contains("guarded");
            if is_sound && (report.has_rolled || !report.was_clean) {
                wrong.push(format!("it was closed, and opening again says {report:?}"));
            }
        }
        Err(error) => wrong.push(format!("opening again says {error:?}")),
    }
    wrong
}
