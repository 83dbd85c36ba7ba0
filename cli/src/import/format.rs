//! In which format is a file, if it is lines at all?
//!
//! Decided from the first lines of the file ([`Window`]): each line that only one format writes is a vote for it; the
//! most votes win, the earlier vote where they are equal. Without a vote, a file whose lines hold JSON objects is plain
//! `jsonl`. Everything else is refused with the reason and the way out: `auto` never guesses. What a user names
//! explicitly is never refused here.

use std::fmt;
use std::io::Read;

use super::lines::{Line, LineError, Lines};
use super::record::Format;
use super::shallow::{self, Flaw, Shape};
use super::{claude_code, codex, take_back};

const WINDOW_LINES: usize = 64;
const WINDOW_BYTES: usize = 1 << 20;

/// The first lines of a file: at least one where there is one, then as many as a bounded look takes.
#[derive(Debug)]
pub(crate) struct Window {
    /// The lines.
    pub(crate) lines: Vec<Line>,
    /// Whether they are all that the file holds.
    pub(crate) is_whole: bool,
}

impl Window {
    /// Reads the first lines.
    pub(crate) fn read<R: Read>(lines: &mut Lines<R>) -> Result<Window, LineError> {
        let mut window = Window { lines: Vec::new(), is_whole: true };
        let mut bytes = 0;
        loop {
            if window.lines.len() == WINDOW_LINES || bytes >= WINDOW_BYTES {
                window.is_whole = false;
                return Ok(window);
            }
            match lines.next_line()? {
                Some(line) => {
                    bytes += line.bytes.len();
                    window.lines.push(line);
                }
                None => return Ok(window),
            }
        }
    }
}

/// Why a file is not taken for lines of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A file of a known binary kind.
    Binary(&'static str),
    /// One JSON value, whether on one line or spread over several.
    Document,
    /// Lines, but none of them JSON.
    NotJson,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Binary(kind @ ("zstd" | "gzip" | "xz")) => {
                write!(f, "it is compressed ({kind}), not lines of text: decompress it first")
            }
            Refusal::Binary(kind) => write!(f, "it is {kind}, not lines of text"),
            Refusal::Document => f.write_str(
                "it is one JSON document, not one record a line: convert it to JSON lines first, or take each line as \
                 it is with --format jsonl",
            ),
            Refusal::NotJson => f.write_str(
                "none of its first lines is JSON, so it is no log that is known here: take each line as it is with \
                 --format jsonl",
            ),
        }
    }
}

/// Recognises the format; `Ok(None)` for a file without a line. `name` is the file's name: its ending `.json` promises a
/// document where `.jsonl` promises lines.
pub(crate) fn recognise(window: &Window, name: &str) -> Result<Option<Format>, Refusal> {
    let Some(first) = window.lines.first() else { return Ok(None) };
    if let Some(kind) = magic(&first.bytes) {
        return Err(Refusal::Binary(kind));
    }
    let mut votes: Vec<(Format, u32)> = Vec::new();
    let (mut objects, mut others, mut flawed) = (0_u32, 0_u32, 0_u32);
    for line in &window.lines {
        match shallow::parse(&line.bytes, []) {
            Ok(Shape::Object([])) => objects += 1,
            Ok(Shape::Other) => others += 1,
            Ok(Shape::Blank) => {}
            // Records glued together are records all the same.
            Err(Flaw::Glued { .. }) if line.bytes.starts_with(b"{") => objects += 1,
            Err(_) => flawed += 1,
        }
        if let Some(format) = vote(&line.bytes) {
            match votes.iter_mut().find(|(known, _)| *known == format) {
                Some((_, count)) => *count += 1,
                None => votes.push((format, 1)),
            }
        }
    }
    let most = votes.iter().map(|(_, count)| *count).max();
    if let Some((format, _)) = votes.iter().find(|(_, count)| Some(*count) == most) {
        return Ok(Some(*format));
    }
    let alone = window.is_whole && objects + others + flawed == 1;
    if alone && flawed == 0 && (others == 1 || name.to_ascii_lowercase().ends_with(".json")) {
        return Err(Refusal::Document);
    }
    // A document spread over lines begins with one that is torn, if not bare, and holds few that are whole.
    let text = first.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&first.bytes).trim_ascii();
    let is_torn = matches!(text.first(), Some(b'{' | b'[')) && shallow::parse::<0>(text, []) == Err(Flaw::Torn);
    if is_torn && window.lines.len() > 1 && (text.len() == 1 || flawed > objects) {
        return Err(Refusal::Document);
    }
    if objects > 0 || others > 0 && flawed == 0 {
        return Ok(Some(Format::Jsonl));
    }
    if objects + others + flawed == 0 {
        // Blank lines only: nothing to recognise, nothing to refuse.
        return Ok(Some(Format::Jsonl));
    }
    let zeros = window.lines.iter().any(|line| line.bytes.contains(&0));
    Err(if zeros { Refusal::Binary("a binary file") } else { Refusal::NotJson })
}

fn vote(line: &[u8]) -> Option<Format> {
    if codex::recognises(line) {
        Some(Format::Codex)
    } else if claude_code::recognises(line) {
        Some(Format::ClaudeCode)
    } else if take_back::recognises(line) {
        Some(Format::Treering)
    } else {
        None
    }
}

fn magic(first: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 8] = [
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x1f\x8b", "gzip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"SQLite format 3\0", "a SQLite database"),
        (b"PK\x03\x04", "a zip archive"),
        (b"%PDF", "a PDF"),
        (b"\x7fELF", "a program"),
        (b"TRINGSEG", "a segment file of a store (see `treering dump`)"),
    ];
    KINDS.iter().find(|(start, _)| first.starts_with(start)).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognised(bytes: &[u8], name: &str) -> Result<Option<Format>, Refusal> {
        recognise(&Window::read(&mut Lines::new(bytes)).unwrap(), name)
    }

    const CLAUDE: &str = r#"{"type":"user","sessionId":"s","message":{"role":"user","content":"hi"}}"#;
    const CODEX: &str = r#"{"timestamp":"t","type":"event_msg","payload":{"type":"user_message"}}"#;

    #[test]
    fn the_known_formats_are_recognised_behind_bad_and_blank_lines() {
        let bad = "\0\0\0\n\n{\"torn\":\n[1]\n";
        for (line, format) in [(CLAUDE, Format::ClaudeCode), (CODEX, Format::Codex)] {
            for text in [line.to_owned(), format!("{line}\n"), format!("{bad}{line}\n"), format!("\u{feff}{line}\r\n")]
            {
                assert_eq!(recognised(text.as_bytes(), "x.jsonl"), Ok(Some(format)), "{text:?}");
            }
        }
        let mixed = format!("{CODEX}\n{CLAUDE}\n{CLAUDE}\n");
        assert_eq!(recognised(mixed.as_bytes(), "x"), Ok(Some(Format::ClaudeCode)), "the most votes win");
    }

    #[test]
    fn other_json_lines_are_plain() {
        for text in
            ["{\"a\":1}\n{\"b\":2}\n", "{\"a\":1}", "1\n2\n3\n", "{\"a\":1}\nnoise\n", "\n\n", "{\"a\":1}{\"b\":2}\n"]
        {
            assert_eq!(recognised(text.as_bytes(), "x.jsonl"), Ok(Some(Format::Jsonl)), "{text:?}");
        }
    }

    #[test]
    fn a_file_without_a_line_is_no_format_and_no_mistake() {
        assert_eq!(recognised(b"", "x.jsonl"), Ok(None));
    }

    #[test]
    fn what_is_not_lines_of_json_is_refused_with_the_reason() {
        assert_eq!(recognised(b"[{\"a\":1},{\"b\":2}]", "x.jsonl"), Err(Refusal::Document));
        assert_eq!(recognised(b"{\n  \"a\": 1\n}\n", "x.json"), Err(Refusal::Document));
        assert_eq!(recognised(b"[\n  {},\n  {}\n]\n", "x.json"), Err(Refusal::Document));
        assert_eq!(recognised(b"{\"a\":1}\n", "session.json"), Err(Refusal::Document));
        assert_eq!(recognised(b"just\nwords\n", "x.txt"), Err(Refusal::NotJson));
        assert_eq!(recognised(b"\x28\xb5\x2f\xfd\0\0", "x.jsonl.zst"), Err(Refusal::Binary("zstd")));
        assert_eq!(recognised(b"SQLite format 3\0....", "x.db"), Err(Refusal::Binary("a SQLite database")));
        assert_eq!(recognised(b"\0\x01\x02\n\0\0", "x.bin"), Err(Refusal::Binary("a binary file")));
    }

    #[test]
    fn one_enormous_line_is_looked_at_and_no_more() {
        let line = format!("{{\"type\":\"x\",\"text\":\"{}\"}}\n", "y".repeat(WINDOW_BYTES * 2));
        let text = line.repeat(3);
        let window = Window::read(&mut Lines::new(text.as_bytes())).unwrap();
        assert_eq!((window.lines.len(), window.is_whole), (1, false));
        assert_eq!(recognise(&window, "x"), Ok(Some(Format::Jsonl)));
    }
}
