//! What does one line say about the event that it becomes?
//!
//! The payload of the event is always the line itself, byte for byte; what is read here only describes it: a type, the
//! id that its writer gave it, and when it says that it happened. A line that is not JSON is of type [`UNPARSED`] and
//! carries its [`Flaw`]; a line of white space only is of type [`BLANK`]; JSON that is no object, or names no type, is of
//! type [`UNTYPED`].
//!
//! Invariants: a type is never empty and never beyond its limit (a longer one is cut between two characters); an id that
//! is empty or beyond its limit is left out rather than cut, for a cut id is another id.

use std::borrow::Cow;
use std::fmt;

use super::shallow::{self, Flaw, Shape};
use super::{claude_code, codex, jsonl};

/// The type of a line that is not JSON.
pub(crate) const UNPARSED: &str = "unparsed";
/// The type of a line that holds nothing.
pub(crate) const BLANK: &str = "blank";
/// The type of JSON that names none.
pub(crate) const UNTYPED: &str = "json";

/// The formats that lines are read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// The session log of Claude Code.
    ClaudeCode,
    /// The rollout of Codex.
    Codex,
    /// Any other JSON lines.
    Jsonl,
    /// What `treering export` writes.
    Treering,
}

impl Format {
    /// Its name on the command line and in metadata.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Format::ClaudeCode => "claude-code",
            Format::Codex => "codex",
            Format::Jsonl => "jsonl",
            Format::Treering => "treering",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a line says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The type of the event.
    pub(crate) event_type: String,
    /// The writer's own id.
    pub(crate) id: Option<String>,
    /// When it says that it happened, in nanoseconds since 1970 UTC.
    pub(crate) occurred_at: Option<i64>,
    /// Why the line is not JSON; only with the type [`UNPARSED`].
    pub(crate) flaw: Option<Flaw>,
}

impl Record {
    /// A record of this type that says nothing else. Too long a type is cut; an empty one becomes [`UNTYPED`].
    pub(crate) fn of_type(event_type: &str) -> Record {
        let cut = cut_to(event_type, treering::limits::TYPE_BYTES_MAX);
        let event_type = if cut.is_empty() { UNTYPED } else { cut };
        Record { event_type: event_type.to_owned(), id: None, occurred_at: None, flaw: None }
    }

    /// As it is, with this id where that can be one.
    pub(crate) fn with_id(mut self, id: Option<Cow<'_, str>>) -> Record {
        self.id =
            id.filter(|id| !id.is_empty() && id.len() <= treering::limits::EVENT_ID_BYTES_MAX).map(Cow::into_owned);
        self
    }

    /// As it is, with this RFC 3339 text as its time, where it is one.
    pub(crate) fn with_time(mut self, text: Option<Cow<'_, str>>) -> Record {
        self.occurred_at = text.and_then(|text| crate::time::parse_rfc3339(&text));
        self
    }
}

/// Reads one line in a format. A [`Format::Treering`] line is read as any JSON line here; taking it back is
/// [`super::take_back`]'s matter.
pub(crate) fn read(format: Format, line: &[u8]) -> Record {
    let parsed = match format {
        Format::ClaudeCode => shallow::parse(line, claude_code::FIELDS).map(|shape| object(shape, claude_code::record)),
        Format::Codex => shallow::parse(line, codex::FIELDS).map(|shape| object(shape, codex::record)),
        Format::Jsonl | Format::Treering => {
            shallow::parse(line, jsonl::FIELDS).map(|shape| object(shape, jsonl::record))
        }
    };
    parsed.unwrap_or_else(|flaw| Record { flaw: Some(flaw), ..Record::of_type(UNPARSED) })
}

fn object<const N: usize>(shape: Shape<'_, N>, read: impl Fn(&[Option<&str>; N]) -> Record) -> Record {
    match shape {
        Shape::Object(fields) => read(&fields),
        Shape::Other => Record::of_type(UNTYPED),
        Shape::Blank => Record::of_type(BLANK),
    }
}

/// The longest start of a text that takes at most `bytes_max` bytes and splits no character.
pub(crate) fn cut_to(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// `outer/inner` where there is an inner type, else `outer`.
pub(crate) fn joined(outer: &str, inner: Option<&str>) -> String {
    match inner {
        Some(inner) if !inner.is_empty() => format!("{outer}/{inner}"),
        _ => outer.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_cut_at_the_limit_and_never_empty() {
        let at = "t".repeat(255);
        assert_eq!(Record::of_type(&at).event_type, at);
        assert_eq!(Record::of_type(&"t".repeat(256)).event_type, at);
        let umlauts = "ü".repeat(128);
        assert_eq!(Record::of_type(&umlauts).event_type, "ü".repeat(127), "no character is split");
        assert_eq!(Record::of_type("").event_type, UNTYPED);
        for format in [Format::ClaudeCode, Format::Codex, Format::Jsonl] {
            let record = read(format, br#"{"type":"","payload":{"type":""}}"#);
            assert_eq!(record.event_type, UNTYPED, "{format}");
        }
    }

    #[test]
    fn an_id_beyond_the_limit_is_left_out_not_cut() {
        let id = |len: usize| Record::of_type("t").with_id(Some("i".repeat(len).into())).id.map(|id| id.len());
        assert_eq!((id(0), id(1), id(255), id(256)), (None, Some(1), Some(255), None));
    }

    #[test]
    fn every_line_becomes_something_in_every_format() {
        let lines: &[(&[u8], &str)] = &[
            (b"", BLANK),
            (b"\r", BLANK),
            (b"null", UNTYPED),
            (b"[]", UNTYPED),
            (b"\"text\"", UNTYPED),
            (b"{}", UNTYPED),
            (br#"{"type":null,"payload":null}"#, UNTYPED),
            (b"{", UNPARSED),
            (b"{}{}", UNPARSED),
            (b"\0\0", UNPARSED),
            (b"\xff", UNPARSED),
            (b"words", UNPARSED),
        ];
        for format in [Format::ClaudeCode, Format::Codex, Format::Jsonl, Format::Treering] {
            for (line, event_type) in lines {
                let record = read(format, line);
                assert_eq!(record.event_type, *event_type, "{format}: {line:?}");
                assert_eq!(record.flaw.is_some(), *event_type == UNPARSED);
            }
        }
    }
}
