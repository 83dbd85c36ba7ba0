//! What does an import write into the metadata of its events, and what does reading it back tell?
//!
//! The payload is the line and nothing else, so what the line alone does not say stands in the metadata, as a compact
//! JSON object. Most events need none and carry no byte of metadata. The keys:
//!
//! | key | value | on which event |
//! |---|---|---|
//! | `import` | the format: `claude-code`, `codex`, `jsonl` | the first event of a stream |
//! | `file` | the name of the file, without its folders | the first event of a stream |
//! | `unparsed` | why the line is not JSON | events of type `unparsed` |
//! | `no_lf` | `true` | the last line of a file that did not end in LF |
//! | `replaces` | a revision | a line that the event of that revision, a `no_lf` one, held only the beginning of |
//!
//! The last two carry meaning for whoever glues a file together again ([`Gluer`]): between events stands an LF; a `no_lf`
//! event that is last gets none; one that the next event replaces is left out. An event replaces only the one just
//! before it, and only a `no_lf` one: other people's metadata that happens to use these words makes nothing disappear.

use serde::{Deserialize, Serialize};

use super::record::Format;

/// What the metadata of an imported event says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// For the first event of a stream: the format and the name of the file.
    pub(crate) origin: Option<(Format, String)>,
    /// Why the line is not JSON.
    pub(crate) unparsed: Option<String>,
    /// Whether the line had no LF.
    pub(crate) no_lf: bool,
    /// The revision of the event that held only the beginning of this line.
    pub(crate) replaces: Option<u64>,
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    import: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unparsed: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_lf: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<u64>,
}

impl Marks {
    /// The metadata; empty where there is nothing to say.
    pub(crate) fn encode(&self) -> Vec<u8> {
        if *self == Marks::default() {
            return Vec::new();
        }
        let written = Written {
            import: self.origin.as_ref().map(|(format, _)| format.as_str()),
            file: self.origin.as_ref().map(|(_, file)| file.as_str()),
            unparsed: self.unparsed.as_deref(),
            no_lf: self.no_lf,
            replaces: self.replaces,
        };
        serde_json::to_vec(&written).expect("strings, numbers and booleans always make JSON")
    }
}

/// What gluing needs to know of an event's metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The line had no LF.
    pub(crate) no_lf: bool,
    /// The event takes the place of the one of this revision.
    pub(crate) replaces: Option<u64>,
}

#[derive(Deserialize)]
struct Read {
    #[serde(default)]
    no_lf: bool,
    #[serde(default)]
    replaces: Option<u64>,
}

/// Reads the marks that matter for gluing; metadata that is nobody's or somebody else's says nothing.
pub(crate) fn ending(metadata: &[u8]) -> Ending {
    if metadata.first() != Some(&b'{') {
        return Ending::default();
    }
    match serde_json::from_slice::<Read>(metadata) {
        Ok(read) => Ending { no_lf: read.no_lf, replaces: read.replaces },
        Err(_) => Ending::default(),
    }
}

/// Glues payloads back into a file: holds one event back until it is known whether the next one replaces it.
#[derive(Debug, Default)]
pub(crate) struct Gluer {
    held: Option<(u64, Vec<u8>)>,
}

impl Gluer {
    /// Takes the next event and gives the pieces that can now be written to `write`.
    pub(crate) fn push<E>(
        &mut self,
        revision: u64,
        payload: &[u8],
        ending: Ending,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some((held, bytes)) = self.held.take()
            && ending.replaces != Some(held)
        {
            put(&bytes, &mut write)?;
        }
        if ending.no_lf {
            self.held = Some((revision, payload.to_vec()));
            return Ok(());
        }
        put(payload, &mut write)
    }

    /// No further event comes: what was held back is the end of the file, without LF.
    pub(crate) fn finish<E>(mut self, mut write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match self.held.take() {
            Some((_, bytes)) => write(&bytes),
            None => Ok(()),
        }
    }
}

fn put<E>(bytes: &[u8], write: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    write(bytes)?;
    write(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glue(events: &[(&str, Ending)]) -> String {
        let mut glued = Vec::new();
        let mut gluer = Gluer::default();
        let mut write = |bytes: &[u8]| {
            glued.extend_from_slice(bytes);
            Ok::<(), ()>(())
        };
        for (revision, (payload, ending)) in events.iter().enumerate() {
            gluer.push(revision as u64, payload.as_bytes(), *ending, &mut write).unwrap();
        }
        gluer.finish(&mut write).unwrap();
        String::from_utf8(glued).unwrap()
    }

    const PLAIN: Ending = Ending { no_lf: false, replaces: None };
    const NO_LF: Ending = Ending { no_lf: true, replaces: None };

    fn replaces(revision: u64, no_lf: bool) -> Ending {
        Ending { no_lf, replaces: Some(revision) }
    }

    #[test]
    fn an_ordinary_event_carries_no_metadata() {
        assert_eq!(Marks::default().encode(), b"");
        let first = Marks { origin: Some((Format::Codex, "a\"b.jsonl".into())), ..Marks::default() };
        assert_eq!(first.encode(), br#"{"import":"codex","file":"a\"b.jsonl"}"#);
    }

    #[test]
    fn marks_come_back_and_foreign_metadata_says_nothing() {
        let marks = Marks { unparsed: Some("torn".into()), no_lf: true, replaces: Some(7), origin: None };
        assert_eq!(marks.encode(), br#"{"unparsed":"torn","no_lf":true,"replaces":7}"#);
        assert_eq!(ending(&marks.encode()), replaces(7, true));
        for foreign in [&b""[..], b"\xff\xfe", b"[1]", b"{}", b"{\"no_lf\":\"yes\"}", b"{\"replaces\":-1}", b"{torn"] {
            assert_eq!(ending(foreign), PLAIN, "{foreign:?}");
        }
        assert_eq!(ending(br#"{"other":[1],"no_lf":true}"#), NO_LF);
    }

    #[test]
    fn lines_are_glued_as_they_stood_in_the_file() {
        assert_eq!(glue(&[]), "");
        assert_eq!(glue(&[("a", PLAIN), ("", PLAIN)]), "a\n\n");
        assert_eq!(glue(&[("a", PLAIN), ("b", NO_LF)]), "a\nb");
        assert_eq!(glue(&[("a", NO_LF), ("ab", replaces(0, true)), ("abc", replaces(1, false))]), "abc\n");
        assert_eq!(glue(&[("a", NO_LF), ("b", PLAIN)]), "a\nb\n", "no longer last");
    }

    #[test]
    fn nothing_disappears_that_was_not_marked_as_a_beginning() {
        assert_eq!(glue(&[("a", PLAIN), ("b", replaces(0, false))]), "a\nb\n");
        assert_eq!(glue(&[("a", NO_LF), ("x", PLAIN), ("ab", replaces(0, false))]), "a\nx\nab\n");
        assert_eq!(glue(&[("a", NO_LF), ("b", replaces(9, false))]), "a\nb\n");
    }
}
