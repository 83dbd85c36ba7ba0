//! The names of the files of a store, built and parsed in this one place.

use crate::ids::SegmentOrdinal;

/// The identity file: written once, and locked by the writer.
pub const IDENTITY: &str = "identity";
/// The watermark file: derived, two slots.
pub const WATERMARK: &str = "watermark";
/// The control page: derived, shared between processes.
pub const CONTROL: &str = "control";

const SEGMENT: &str = ".segment";
const PREPARED: &str = ".prepared";
const SEGMENT_INDEX: &str = ".index";
const TEMPORARY: &str = ".new";
const DIRECTORY: &str = "directory-";
const CHECKPOINT: &str = "checkpoint-";
const CLAIMS: &str = "claims-";

/// What a name in a store's directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The identity file.
    Identity,
    /// A segment.
    Segment(SegmentOrdinal),
    /// A segment that is being prepared; not part of the log.
    Prepared(SegmentOrdinal),
    /// The index of a sealed segment; derived.
    SegmentIndex(SegmentOrdinal),
    /// The watermark file; derived.
    Watermark,
    /// The control page; derived.
    Control,
    /// A run of the stream directory, by its number; derived.
    Directory(u64),
    /// A checkpoint, the one or the other; derived.
    Checkpoint(u64),
    /// A file of claims, by its number: empty, its bytes are locked; derived.
    Claims(u8),
    /// A file that was being written when its writer died; not part of the store.
    Temporary,
    /// Not a name of a store.
    Other,
}

/// A number of sixteen digits between two pieces of text. Put together by hand: opening a store asks for a hundred names.
fn numbered(before: &str, number: u64, behind: &str) -> String {
    let mut name = String::with_capacity(before.len() + 16 + behind.len());
    name.push_str(before);
    let digits: [u8; 16] = std::array::from_fn(|at| b"0123456789abcdef"[(number >> (60 - 4 * at) & 15) as usize]);
    name.push_str(str::from_utf8(&digits).expect("these digits are ASCII"));
    name.push_str(behind);
    name
}

/// The name of a segment file.
#[must_use]
pub fn segment(ordinal: SegmentOrdinal) -> String {
    numbered("", ordinal.0, SEGMENT)
}

/// The name of a segment file that is being prepared.
#[must_use]
pub fn prepared(ordinal: SegmentOrdinal) -> String {
    numbered("", ordinal.0, PREPARED)
}

/// The name of the index of a sealed segment.
#[must_use]
pub fn segment_index(ordinal: SegmentOrdinal) -> String {
    numbered("", ordinal.0, SEGMENT_INDEX)
}

/// The name of a run of the stream directory.
#[must_use]
pub fn directory(number: u64) -> String {
    numbered(DIRECTORY, number, "")
}

/// The names of the two checkpoints, of which each is written in turn.
#[must_use]
pub fn checkpoint(number: u64) -> String {
    format!("{CHECKPOINT}{number}", number = number % 2)
}

/// The name of a file of claims.
#[must_use]
pub fn claims(number: u8) -> String {
    format!("{CLAIMS}{number:02x}")
}

/// The name under which a file is written before it gets its own.
#[must_use]
pub fn temporary(name: &str, salt: u64) -> String {
    format!("{name}-{salt:016x}{TEMPORARY}")
}

/// The name that a file gets that is being written under this one.
#[must_use]
pub fn without_temporary(name: &str) -> Option<&str> {
    name.strip_suffix(TEMPORARY)?.rsplit_once('-').map(|(name, _)| name)
}

/// What the name stands for.
#[must_use]
pub fn parse(name: &str) -> FileKind {
    let number = |digits: &str, count: usize| {
        let is_canonical = digits.len() == count && digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        is_canonical.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
    };
    let ordinal = |digits: &str| number(digits, 16).map(SegmentOrdinal);
    match name {
        IDENTITY => return FileKind::Identity,
        WATERMARK => return FileKind::Watermark,
        CONTROL => return FileKind::Control,
        _ => {}
    }
    if name.ends_with(TEMPORARY) {
        return FileKind::Temporary;
    }
    if let Some(digits) = name.strip_prefix(DIRECTORY) {
        return ordinal(digits).map_or(FileKind::Other, |number| FileKind::Directory(number.0));
    }
    if let Some(digits) = name.strip_prefix(CLAIMS) {
        return number(digits, 2).map_or(FileKind::Other, |number| FileKind::Claims(number as u8));
    }
    match name.strip_prefix(CHECKPOINT) {
        Some("0") => return FileKind::Checkpoint(0),
        Some("1") => return FileKind::Checkpoint(1),
        _ => {}
    }
    type Kind = fn(SegmentOrdinal) -> FileKind;
    let endings: [(&str, Kind); 3] = [
        (SEGMENT, FileKind::Segment as Kind),
        (PREPARED, FileKind::Prepared as Kind),
        (SEGMENT_INDEX, FileKind::SegmentIndex as Kind),
    ];
    endings
        .into_iter()
        .find_map(|(ending, kind)| ordinal(name.strip_suffix(ending)?).map(kind))
        .unwrap_or(FileKind::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_only_canonical_ones_parse() {
        for ordinal in [0, 1, 0xABCDEF, u64::MAX].map(SegmentOrdinal) {
            assert_eq!(parse(&segment(ordinal)), FileKind::Segment(ordinal));
            assert_eq!(parse(&prepared(ordinal)), FileKind::Prepared(ordinal));
            assert_eq!(parse(&segment_index(ordinal)), FileKind::SegmentIndex(ordinal));
            assert_eq!(parse(&directory(ordinal.0)), FileKind::Directory(ordinal.0));
            assert_eq!(parse(&checkpoint(ordinal.0)), FileKind::Checkpoint(ordinal.0 % 2));
        }
        for number in [0, 9, 0xAB, u8::MAX] {
            assert_eq!(parse(&claims(number)), FileKind::Claims(number));
        }
        assert_eq!(parse(&temporary(IDENTITY, 7)), FileKind::Temporary);
        assert_eq!(without_temporary(&temporary("directory-a", 7)), Some("directory-a"));
        assert_eq!(without_temporary(IDENTITY), None);
        for other in [
            "",
            "1.segment",
            "000000000000000A.segment",
            "+00000000000000a.segment",
            "x",
            "directory-1",
            "checkpoint-2",
            "checkpoint-",
            "claims",
            "claims-0",
            "claims-0A",
            "claims-000",
            "identity ",
        ] {
            assert_eq!(parse(other), FileKind::Other, "{other:?}");
        }
    }
}
