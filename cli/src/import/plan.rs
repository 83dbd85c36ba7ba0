//! Does a stream already hold this file, the beginning of it, or something else?
//!
//! Decided by the bytes alone, line against event, both streamed: neither file nor stream is held in memory. The answers:
//!
//! - [`Verdict::Repeats`]: every line is there already (the file may also be an older, shorter copy): nothing to add.
//! - [`Verdict::Continues`]: the stream is the beginning of the file: the rest is to be added. Where the stream ends in a
//!   line that had no LF when it was imported, and the file now continues that line (be it only by its LF), the whole
//!   line is to be added again, as an event that replaces the torn one.
//! - [`Verdict::Diverges`]: some line differs: the file needs a stream of its own.
//!
//! Invariant: adding what `Continues` asks for, then gluing the stream ([`super::mark::Gluer`]), gives the file; and asking
//! again then gives `Repeats`. The tests hold both over random files cut at random places.

use std::io::Read;

use super::lines::{Line, LineError, Lines};
use super::mark::{Ending, ending};

/// The events of a stream, in order, as far as planning looks at them.
pub(crate) trait Recorded {
    /// What goes wrong when reading.
    type Error: From<LineError>;

    /// The next event; `None` behind the head.
    fn next_event(&mut self) -> Result<Option<Seen<'_>>, Self::Error>;
}

/// What planning sees of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    /// The line.
    pub(crate) payload: &'a [u8],
    /// Its marks, if it was imported.
    pub(crate) metadata: &'a [u8],
}

/// How a file stands to a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing to add.
    Repeats,
    /// The rest of the file is to be added.
    Continues {
        /// How many events the stream holds.
        events: u64,
        /// The first line to add. The reader stands behind it.
        first: Line,
        /// The revision of the torn event that this line replaces.
        replaces: Option<u64>,
    },
    /// The file is not this stream's.
    Diverges {
        /// The first line that differs, from 1.
        line: u64,
    },
}

/// What the event before was compared with.
struct Compared {
    line: Line,
    /// The event was marked as a line without LF.
    no_lf: bool,
    /// The event holds all of the line.
    is_whole: bool,
}

/// Compares a file, from its first line, with a stream, from its first event.
pub(crate) fn compare<R: Read, S: Recorded>(lines: &mut Lines<R>, stream: &mut S) -> Result<Verdict, S::Error> {
    let mut revision: u64 = 0;
    let mut before: Option<Compared> = None;
    while let Some(Seen { payload, metadata }) = stream.next_event()? {
        let Ending { no_lf, replaces } = ending(metadata);
        let line = match before.take().filter(|before| before.no_lf) {
            // This event takes the place of the one before: it stands for the same line.
            Some(torn) if replaces.is_some() && replaces == revision.checked_sub(1) => Some(torn.line),
            // The torn event is not last any more: it stands for just its bytes, with an LF behind them.
            Some(torn) if !torn.is_whole => return Ok(Verdict::Diverges { line: torn.line.number }),
            _ => lines.next_line()?,
        };
        let Some(line) = line else { return Ok(Verdict::Repeats) };
        let is_whole = line.bytes == payload;
        if !is_whole {
            if !line.terminated && payload.starts_with(&line.bytes) {
                // The file ends inside this line: a copy of an older moment.
                return Ok(Verdict::Repeats);
            }
            if !(no_lf && line.bytes.starts_with(payload)) {
                return Ok(Verdict::Diverges { line: line.number });
            }
        }
        before = Some(Compared { line, no_lf, is_whole });
        revision += 1;
    }
    if let Some(torn) = before.filter(|before| before.no_lf) {
        if torn.is_whole && !torn.line.terminated {
            return Ok(Verdict::Repeats);
        }
        return Ok(Verdict::Continues { events: revision, first: torn.line, replaces: revision.checked_sub(1) });
    }
    Ok(match lines.next_line()? {
        Some(first) => Verdict::Continues { events: revision, first, replaces: None },
        None => Verdict::Repeats,
    })
}

#[cfg(test)]
mod tests {
    use super::super::mark::{Gluer, Marks};
    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Stream {
        events: Vec<(Vec<u8>, Vec<u8>)>,
        next: usize,
    }

    impl Recorded for Stream {
        type Error = LineError;

        fn next_event(&mut self) -> Result<Option<Seen<'_>>, LineError> {
            let event = self.events.get(self.next);
            self.next += 1;
            Ok(event.map(|(payload, metadata)| Seen { payload, metadata }))
        }
    }

    impl Stream {
        /// Imports a file into this stream as the command does; says how many events that added.
        fn import(&mut self, file: &[u8]) -> Result<usize, Verdict> {
            self.next = 0;
            let mut lines = Lines::new(file);
            let (mut line, mut replaces) = match compare(&mut lines, self).unwrap() {
                Verdict::Repeats => return Ok(0),
                Verdict::Continues { events, first, replaces } => {
                    assert_eq!(events, self.events.len() as u64);
                    (Some(first), replaces)
                }
                diverges @ Verdict::Diverges { .. } => return Err(diverges),
            };
            let before = self.events.len();
            while let Some(next) = line {
                let marks = Marks { no_lf: !next.terminated, replaces: replaces.take(), ..Marks::default() };
                self.events.push((next.bytes, marks.encode()));
                line = lines.next_line().unwrap();
            }
            Ok(self.events.len() - before)
        }

        fn glued(&self) -> Vec<u8> {
            let mut glued = Vec::new();
            let mut gluer = Gluer::default();
            let mut write = |bytes: &[u8]| {
                glued.extend_from_slice(bytes);
                Ok::<(), ()>(())
            };
            for (revision, (payload, metadata)) in self.events.iter().enumerate() {
                gluer.push(revision as u64, payload, ending(metadata), &mut write).unwrap();
            }
            gluer.finish(&mut write).unwrap();
            glued
        }
    }

    fn imported(file: &[u8]) -> Stream {
        let mut stream = Stream::default();
        stream.import(file).unwrap();
        assert_eq!(stream.glued(), file);
        stream
    }

    #[test]
    fn the_same_file_again_adds_nothing() {
        for file in [&b""[..], b"a", b"a\n", b"\n", b"\n\n", b"a\nb", b"a\r\nb\r\n", b"\xff\0\n\xc3", b"a\na\na\n"] {
            let mut stream = imported(file);
            assert_eq!(stream.import(file), Ok(0), "{file:?}");
            assert_eq!(stream.glued(), file);
        }
    }

    #[test]
    fn a_file_that_has_grown_adds_what_is_new() {
        let mut stream = imported(b"a\nb\n");
        assert_eq!(stream.import(b"a\nb\nc\n\nd\n"), Ok(3));
        assert_eq!(stream.glued(), b"a\nb\nc\n\nd\n");
        let mut empty = imported(b"");
        assert_eq!(empty.import(b"a"), Ok(1));
    }

    #[test]
    fn a_line_that_has_grown_is_added_whole_and_replaces_its_beginning() {
        let mut stream = imported(b"a\nbe");
        assert_eq!(stream.import(b"a\nbegun and done\nc\n"), Ok(2));
        assert_eq!(stream.events[1].0, b"be");
        assert_eq!(stream.events[2].0, b"begun and done");
        assert_eq!(stream.events[2].1, br#"{"replaces":1}"#);
        assert_eq!(stream.glued(), b"a\nbegun and done\nc\n");
        let mut twice = imported(b"x");
        assert_eq!(twice.import(b"xy"), Ok(1));
        assert_eq!(twice.import(b"xyz"), Ok(1));
        assert_eq!(twice.import(b"xyz\n"), Ok(1), "only its LF is new");
        assert_eq!(twice.import(b"xyz\n"), Ok(0));
        assert_eq!((twice.events.len(), twice.glued()), (4, b"xyz\n".to_vec()));
    }

    #[test]
    fn an_older_copy_adds_nothing_wherever_it_was_cut() {
        let file = b"first\nsecond\r\n\nthird, without LF";
        for full in [&file[..], b"first\nsecond\r\n\nthird, without LF\n"] {
            for len in 0..=full.len() {
                let mut stream = imported(full);
                assert_eq!(stream.import(&full[..len]), Ok(0), "cut to {len}");
            }
        }
    }

    #[test]
    fn another_file_is_told_by_its_first_different_line() {
        for (old, new, line) in [
            (&b"a\nb\n"[..], &b"a\nx\n"[..], 2),
            (b"a\nb\n", b"ab\n", 1),
            (b"a\nb\n", b"a\n\nb\n", 2),
            (b"a\r\n", b"a\n", 1),
            (b"a\nbe", b"a\nbx", 2),
            (b"a\nbe", b"a\nb\n", 2),
            (b"a\n", b"ab", 1),
            (b"a\nb\n", b"a\nx", 2),
        ] {
            let mut stream = imported(old);
            assert_eq!(stream.import(new), Err(Verdict::Diverges { line }), "{old:?} then {new:?}");
            assert_eq!(stream.glued(), old);
        }
    }

    #[test]
    fn a_torn_line_that_others_appended_behind_counts_as_it_stands() {
        let mut stream = imported(b"a\nbe");
        stream.events.push((b"note".to_vec(), Vec::new()));
        assert_eq!(stream.import(b"a\nbegun\n"), Err(Verdict::Diverges { line: 2 }));
        assert_eq!(stream.import(b"a\nbe\nnote\nmore\n"), Ok(1));
        assert_eq!(stream.glued(), b"a\nbe\nnote\nmore\n");
    }

    #[test]
    fn random_files_seen_at_random_moments_end_up_whole() {
        // A small generator of its own: the same files in every run.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        for _ in 0..2_000 {
            let len = random(24);
            let file: Vec<u8> = (0..len).map(|_| b"\n\nab\r"[random(5)]).collect();
            let mut moments: Vec<usize> = (0..random(6)).map(|_| random(len + 1)).collect();
            moments.push(len);
            let mut stream = Stream::default();
            let mut seen = 0;
            for moment in moments {
                let added = stream.import(&file[..moment]).unwrap_or_else(|verdict| panic!("{file:?}: {verdict:?}"));
                assert_eq!(added > 0, moment > seen, "{file:?} at {moment} after {seen}");
                seen = seen.max(moment);
                assert_eq!(stream.glued(), file[..seen]);
            }
        }
    }
}
