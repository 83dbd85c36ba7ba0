//! How does an event look as one line of JSON, and how does it come back?
//!
//! The same shape serves `export`, `cat --json` and `tail --json`. Every field of the event is there; `payload` and
//! `metadata` are strings where they are UTF-8 and otherwise stand in base64 as `payload_base64` and
//! `metadata_base64`, so nothing is lost either way. Times are integers: nanoseconds since 1970 UTC. `position` and
//! `number` say where the event stood in the store that it came from; taking a line back gives it a new place there, but
//! the same stream, revision, id, type, times, metadata and payload. `token` is for reading on behind the event, in the same
//! store (`--after`); an export leaves it out.
//!
//! An export also has a line for each fork, behind the last event that it shares and before the first of its own: where it leaves
//! its parent ([`ForkLine`]). What it shares stands in the export once. A snapshot is a line too, with its events in it
//! ([`ExportedSnapshot`]).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// One exported event.
#[derive(Debug, Serialize)]
pub(crate) struct EventLine<'a> {
    pub(crate) stream: &'a str,
    pub(crate) revision: u64,
    pub(crate) position: u64,
    pub(crate) number: u64,
    pub(crate) id: Option<&'a str>,
    #[serde(rename = "type")]
    pub(crate) event_type: &'a str,
    pub(crate) recorded_at: i64,
    pub(crate) occurred_at: Option<i64>,
    pub(crate) batch: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload_base64: Option<String>,
}

impl<'a> EventLine<'a> {
    /// The line of an event whose bytes these are; the other fields are the caller's to fill in.
    pub(crate) fn with_bytes(metadata: &'a [u8], payload: &'a [u8]) -> EventLine<'a> {
        let (metadata, metadata_base64) = text_or_base64(metadata);
        let (payload, payload_base64) = text_or_base64(payload);
        EventLine {
            stream: "",
            revision: 0,
            position: 0,
            number: 0,
            id: None,
            event_type: "",
            recorded_at: 0,
            occurred_at: None,
            batch: String::new(),
            token: None,
            metadata,
            metadata_base64,
            payload,
            payload_base64,
        }
    }
}

/// One exported fork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForkLine {
    /// Its name.
    pub(crate) fork: String,
    /// The stream that it leaves.
    pub(crate) parent: String,
    /// The last revision that both share.
    pub(crate) revision: u64,
}

/// One exported snapshot: its label, whose range it stands for, and its events.
#[derive(Debug, Serialize)]
pub(crate) struct ExportedSnapshot<'a> {
    pub(crate) snapshot: &'a str,
    pub(crate) version: &'a str,
    pub(crate) of: &'a str,
    /// First revision, and the one behind the last.
    pub(crate) range: [u64; 2],
    pub(crate) events: Vec<EventLine<'a>>,
}

/// A snapshot taken back from a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotBack {
    pub(crate) label: String,
    pub(crate) version: String,
    pub(crate) of: String,
    pub(crate) range: [u64; 2],
    /// In the order of their revisions, which say nothing here.
    pub(crate) events: Vec<TakenBack>,
}

fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// One event taken back from a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakenBack {
    pub(crate) stream: String,
    pub(crate) revision: u64,
    pub(crate) id: Option<String>,
    pub(crate) event_type: String,
    pub(crate) recorded_at: i64,
    pub(crate) occurred_at: Option<i64>,
    /// The batch that it was appended in, where the line says so.
    pub(crate) batch: Option<String>,
    pub(crate) metadata: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

#[derive(Deserialize)]
struct Read<'a> {
    stream: String,
    revision: u64,
    #[serde(default)]
    id: Option<String>,
    #[serde(rename = "type")]
    event_type: String,
    recorded_at: i64,
    #[serde(default)]
    occurred_at: Option<i64>,
    #[serde(default)]
    batch: Option<String>,
    #[serde(default, borrow)]
    metadata: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    metadata_base64: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    payload: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    payload_base64: Option<Cow<'a, str>>,
}

/// What a line of an export holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// An event.
    Event(TakenBack),
    /// A fork.
    Fork(ForkLine),
    /// A snapshot.
    Snapshot(SnapshotBack),
}

#[derive(Deserialize)]
struct SnapshotRead<'a> {
    snapshot: String,
    #[serde(default)]
    version: String,
    of: String,
    range: [u64; 2],
    #[serde(borrow)]
    events: Vec<Read<'a>>,
}

/// Reads a line; on failure says in words what is wrong with it.
pub(crate) fn take_back(line: &[u8]) -> Result<Back, String> {
    if let Ok(fork) = serde_json::from_slice::<ForkLine>(line) {
        return Ok(Back::Fork(fork));
    }
    if let Ok(SnapshotRead { snapshot: label, version, of, range, events }) = serde_json::from_slice(line) {
        let events = events.into_iter().map(event_of).collect::<Result<_, _>>()?;
        return Ok(Back::Snapshot(SnapshotBack { label, version, of, range, events }));
    }
    take_event(line).map(Back::Event)
}

fn take_event(line: &[u8]) -> Result<TakenBack, String> {
    event_of(serde_json::from_slice(line).map_err(|error| {
        let message = error.to_string();
        message.split(" at line ").next().unwrap_or(&message).to_owned()
    })?)
}

fn event_of(read: Read<'_>) -> Result<TakenBack, String> {
    let metadata = bytes("metadata", read.metadata, read.metadata_base64)?.unwrap_or_default();
    let payload = bytes("payload", read.payload, read.payload_base64)?.ok_or("there is no payload")?;
    Ok(TakenBack {
        stream: read.stream,
        revision: read.revision,
        id: read.id,
        event_type: read.event_type,
        recorded_at: read.recorded_at,
        occurred_at: read.occurred_at,
        batch: read.batch,
        metadata,
        payload,
    })
}

fn bytes(name: &str, text: Option<Cow<'_, str>>, base64: Option<Cow<'_, str>>) -> Result<Option<Vec<u8>>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("{name} stands both as text and in base64")),
        (Some(text), None) => Ok(Some(text.into_owned().into_bytes())),
        (None, Some(base64)) => {
            STANDARD.decode(&*base64).map(Some).map_err(|error| format!("{name}_base64 is not base64: {error}"))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(metadata: &[u8], payload: &[u8]) -> (String, TakenBack) {
        let line = EventLine {
            stream: "s/ü\n",
            revision: 7,
            position: 8264,
            number: 9,
            id: Some("i"),
            event_type: "t",
            recorded_at: i64::MIN,
            occurred_at: Some(i64::MAX),
            batch: "00ff".into(),
            ..EventLine::with_bytes(metadata, payload)
        };
        let text = serde_json::to_string(&line).unwrap();
        let back = take_event(text.as_bytes()).unwrap();
        (text, back)
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let cases = [&b""[..], b"text", "\u{2028}\0\u{7f}\r\n\"\\ü😀".as_bytes(), b"\xff", &all];
        for metadata in cases {
            for payload in cases {
                let (text, back) = round(metadata, payload);
                assert_eq!((&back.metadata[..], &back.payload[..]), (metadata, payload));
                assert!(!text.contains('\n'), "an event is one line");
                assert_eq!(text.contains("payload_base64"), std::str::from_utf8(payload).is_err());
                assert_eq!((back.stream.as_str(), back.revision, back.id.as_deref()), ("s/ü\n", 7, Some("i")));
                assert_eq!((back.recorded_at, back.occurred_at), (i64::MIN, Some(i64::MAX)));
                assert_eq!((back.event_type.as_str(), back.batch.as_deref()), ("t", Some("00ff")));
            }
        }
    }

    #[test]
    fn a_line_that_is_no_exported_event_says_what_is_wrong() {
        for (line, expected) in [
            (r#"{"revision":0,"type":"t","recorded_at":0,"payload":""}"#, "missing field `stream`"),
            (r#"{"stream":"s","revision":0,"type":"t","recorded_at":0}"#, "there is no payload"),
            (r#"{"stream":"s","revision":-1,"type":"t","recorded_at":0,"payload":""}"#, "invalid value"),
            (r#"{"stream":"s","revision":0,"type":"t","recorded_at":0,"payload":"","payload_base64":""}"#, "both"),
            (r#"{"stream":"s","revision":0,"type":"t","recorded_at":0,"payload_base64":"*"}"#, "not base64"),
            ("[", "EOF"),
        ] {
            let error = take_back(line.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn a_fork_comes_back_and_is_no_event() {
        let fork = ForkLine { fork: "ü\n".into(), parent: "s".into(), revision: u64::MAX };
        let text = serde_json::to_string(&fork).unwrap();
        assert_eq!(take_back(text.as_bytes()), Ok(Back::Fork(fork)));
        let event = r#"{"fork":1,"stream":"s","revision":0,"type":"t","recorded_at":5,"payload":"p"}"#;
        assert!(matches!(take_back(event.as_bytes()), Ok(Back::Event(_))));
    }

    #[test]
    fn fields_that_a_later_version_adds_are_passed_over() {
        let line = r#"{"stream":"s","revision":0,"type":"t","recorded_at":5,"payload":"p","tags":["new"]}"#;
        let back = take_event(line.as_bytes()).unwrap();
        assert_eq!((back.payload, back.metadata, back.batch), (b"p".to_vec(), Vec::new(), None));
    }
}
