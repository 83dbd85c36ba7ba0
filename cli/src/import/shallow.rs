//! What are the top-level fields of a line of JSON, without building the rest of it?
//!
//! The whole line is checked to be JSON, but only named fields are kept, as slices of the line. Skipping a value neither
//! recurses nor allocates by its size, so a line of 64 MB costs its own bytes and a line of a million open brackets costs
//! no stack. Where a key occurs twice, the last one counts, as in the languages that write these logs. Numbers are
//! checked for grammar only, so a huge one is no error.
//!
//! A line that is not JSON is described by a [`Flaw`]: one of the ways in which agent logs go bad in the field.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

/// What a line holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shape<'a, const N: usize> {
    /// An object, with the raw JSON of the fields that were asked for.
    Object([Option<&'a str>; N]),
    /// Another JSON value.
    Other,
    /// Nothing but white space.
    Blank,
}

/// Why a line is not JSON. Offsets are bytes from the start of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Bytes that no UTF-8 text holds.
    NotUtf8 { at: usize },
    /// A run of NUL bytes, as a crash leaves them.
    NulRun { at: usize, len: usize },
    /// A whole record is followed by more on the same line.
    Glued { at: usize },
    /// The record ends before it is complete.
    Torn,
    /// Anything else, in the parser's words.
    Malformed { at: usize, what: String },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::NotUtf8 { at } => write!(f, "not UTF-8 at byte {at}"),
            Flaw::NulRun { at, len } => write!(f, "{len} NUL bytes at byte {at}"),
            Flaw::Glued { at } => write!(f, "glued: a whole record ends at byte {at} and more follows"),
            Flaw::Torn => write!(f, "torn: the record ends early"),
            Flaw::Malformed { at, what } => write!(f, "not JSON at byte {at}: {what}"),
        }
    }
}

/// Reads one line; a byte order mark in front is passed over.
pub(crate) fn parse<'a, const N: usize>(line: &'a [u8], names: [&str; N]) -> Result<Shape<'a, N>, Flaw> {
    let text = std::str::from_utf8(line).map_err(|error| match nul_run(line) {
        Some(run) => run,
        None => Flaw::NotUtf8 { at: error.valid_up_to() },
    })?;
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let skipped = text.len() - body.len();
    if body.bytes().all(is_space) {
        return Ok(Shape::Blank);
    }
    fields(body, names).map_err(|error| describe(line, skipped, &error))
}

/// Reads one level of an object inside a line that was found to be JSON; `None` where it is no object.
pub(crate) fn parse_inner<'a, const N: usize>(raw: &'a str, names: [&str; N]) -> Option<[Option<&'a str>; N]> {
    match fields(raw, names) {
        Ok(Shape::Object(fields)) => Some(fields),
        _ => None,
    }
}

/// The text of a raw JSON value, where it is a string that can be had.
pub(crate) fn string(raw: Option<&str>) -> Option<Cow<'_, str>> {
    let raw = raw?;
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        // Fails where half of a surrogate pair is escaped, which no text can hold.
        return serde_json::from_str::<String>(raw).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// Whether a raw JSON value is an object.
pub(crate) fn is_object(raw: Option<&str>) -> bool {
    raw.is_some_and(|raw| raw.starts_with('{'))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn fields<'a, const N: usize>(body: &'a str, names: [&str; N]) -> serde_json::Result<Shape<'a, N>> {
    let mut parser = Deserializer::from_str(body);
    let shape = if body.trim_start_matches(|c: char| c.is_ascii() && is_space(c as u8)).starts_with('{') {
        Shape::Object(parser.deserialize_map(Fields { names: &names })?)
    } else {
        parser.deserialize_ignored_any(IgnoredAny)?;
        Shape::Other
    };
    parser.end()?;
    Ok(shape)
}

struct Fields<'n, const N: usize> {
    names: &'n [&'n str; N],
}

impl<'de, const N: usize> Visitor<'de> for Fields<'_, N> {
    type Value = [Option<&'de str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(place) = map.next_key_seed(Key { names: self.names })? {
            match place {
                Some(place) => found[place] = Some(map.next_value::<&'de RawValue>()?.get()),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// A key, as its place among the names: no key is copied.
struct Key<'n> {
    names: &'n [&'n str],
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.names.iter().position(|name| *name == key))
    }
}

fn nul_run(line: &[u8]) -> Option<Flaw> {
    let at = line.iter().position(|byte| *byte == 0)?;
    let len = line[at..].iter().take_while(|byte| **byte == 0).count();
    Some(Flaw::NulRun { at, len })
}

fn describe(line: &[u8], skipped: usize, error: &serde_json::Error) -> Flaw {
    // No JSON holds a raw NUL byte, so where there is one, it is the flaw.
    if let Some(run) = nul_run(line) {
        return run;
    }
    // There is no LF in a line: the column is the count of bytes read.
    let at = (skipped + error.column().saturating_sub(1)).min(line.len());
    if error.is_eof() {
        return Flaw::Torn;
    }
    let message = error.to_string();
    let what = message.split(" at line ").next().unwrap_or(&message).to_owned();
    if what == "trailing characters" { Flaw::Glued { at } } else { Flaw::Malformed { at, what } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &[u8]) -> Result<Option<String>, Flaw> {
        parse(line, ["type"]).map(|shape| match shape {
            Shape::Object([field]) => string(field).map(Cow::into_owned),
            _ => None,
        })
    }

    #[test]
    fn fields_are_found_wherever_they_stand_and_the_last_one_counts() {
        assert_eq!(one(br#"{"a":[1,{"type":"inner"}],"type":"outer","z":null}"#), Ok(Some("outer".into())));
        assert_eq!(one(br#"{"type":"first","type":"last"}"#), Ok(Some("last".into())));
        assert_eq!(one(b"\xef\xbb\xbf {\"type\" : \"with\\u0020mark\"}\r"), Ok(Some("with mark".into())));
        assert_eq!(one(br#"{"ty\u0070e":"escaped key"}"#), Ok(Some("escaped key".into())));
        assert_eq!(one(br#"{"type":7}"#), Ok(None));
        assert_eq!(one(br#"{"type":"\ud800"}"#), Ok(None), "half a surrogate pair is JSON, but no text");
        assert_eq!(one(br#"{"other":"\ud83d torn emoji"}"#), Ok(None));
    }

    #[test]
    fn values_of_other_kinds_are_json_too() {
        for line in [&b"1"[..], b"-0.5e-9999", b"1e999999999", b"\"text\"", b"[1,2,[3]]", b"null", b" true "] {
            assert!(matches!(parse(line, ["type"]), Ok(Shape::Other)), "{line:?}");
        }
        for line in [&b""[..], b"\r", b" \t ", b"\xef\xbb\xbf"] {
            assert!(matches!(parse(line, ["type"]), Ok(Shape::Blank)), "{line:?}");
        }
    }

    #[test]
    fn huge_numbers_and_depth_are_no_trouble() {
        let digits = "9".repeat(100_000);
        assert_eq!(one(format!(r#"{{"n":{digits},"type":"t"}}"#).as_bytes()), Ok(Some("t".into())));
        assert_eq!(one(format!(r#"{{"type":{digits}}}"#).as_bytes()), Ok(None));
        let deep = format!(r#"{{"d":{}{},"type":"t"}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(one(deep.as_bytes()), Ok(Some("t".into())));
        let deep = format!(r#"{{"type":{}{}}}"#, "{\"a\":".repeat(500_000), "1".to_owned() + &"}".repeat(500_000));
        assert_eq!(one(deep.as_bytes()), Ok(None));
        assert_eq!(one("[".repeat(3_000_000).as_bytes()), Err(Flaw::Torn));
    }

    #[test]
    fn each_way_to_go_bad_is_told_apart() {
        assert_eq!(one(br#"{"type":"us"#), Err(Flaw::Torn));
        assert_eq!(one(br#"{"type":"a"}{"type":"b"}"#), Err(Flaw::Glued { at: 12 }));
        assert_eq!(one(b"\0\0\0{\"type\":\"a\"}"), Err(Flaw::NulRun { at: 0, len: 3 }));
        assert_eq!(one(b"{\"type\":\"a\0\"}"), Err(Flaw::NulRun { at: 10, len: 1 }));
        assert_eq!(one(b"{\"type\":\"\xff\"}"), Err(Flaw::NotUtf8 { at: 9 }));
        assert_eq!(one(b"\xff\0"), Err(Flaw::NulRun { at: 1, len: 1 }));
        assert!(matches!(one(br#"{"type":"spli{"type":"b"}"#), Err(Flaw::Malformed { .. })));
        assert!(matches!(one(b"plain words"), Err(Flaw::Malformed { at: 0, .. })));
        assert!(matches!(one(b"{\"a\":\"\x01\"}"), Err(Flaw::Malformed { .. })), "a raw control character");
        assert_eq!(one("[1]\u{a0}".as_bytes()), Err(Flaw::Glued { at: 3 }));
    }
}
