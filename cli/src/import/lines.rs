//! Where does one line of a file end and the next begin?
//!
//! At LF bytes (0x0A), and nowhere else. Nothing is decoded here: a carriage return, a byte order mark, NUL bytes, torn
//! UTF-8 and the Unicode line separators all stay inside the line, exactly as found. Whoever glues the lines back
//! together, each with its LF, and the last one without where [`Line::terminated`] says so, has the file again.
//!
//! Memory: one read buffer and the line in hand. A line beyond [`LINE_BYTES_MAX`] is refused before it is held.
//!
//! What a line means is not known here; see [`super::record`].

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

/// The longest line that one event can hold: an event is at most a batch, and its metadata counts too.
pub(crate) const LINE_BYTES_MAX: usize = treering::limits::BATCH_BYTES_MAX - METADATA_ROOM_BYTES;

/// What is left of a batch for the metadata of a line: the name of its file, why it is not JSON, a revision.
const METADATA_ROOM_BYTES: usize = 8 << 10;

const BUFFER_BYTES: usize = 256 << 10;

/// One line, without its LF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its number in the file, from 1.
    pub(crate) number: u64,
    /// Where it begins in the file, in bytes.
    pub(crate) offset: u64,
    /// Everything up to its LF.
    pub(crate) bytes: Vec<u8>,
    /// Whether an LF followed. Only the last line of a file can lack it.
    pub(crate) terminated: bool,
}

/// Why the next line cannot be had.
#[derive(Debug)]
pub(crate) enum LineError {
    /// Reading failed.
    Io(io::Error),
    /// The line is longer than one event can be.
    TooLong {
        /// Its number, from 1.
        number: u64,
        /// Where it begins, in bytes.
        offset: u64,
        /// The limit that it passes, in bytes.
        limit: usize,
    },
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::Io(error) => write!(f, "cannot read: {error}"),
            LineError::TooLong { number, offset, limit } => {
                write!(f, "line {number}, which begins at byte {offset}, is longer than the {limit} bytes of one event")
            }
        }
    }
}

/// The lines of a reader, one after the other.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    number: u64,
    offset: u64,
    limit: usize,
    ended: bool,
}

impl<R: Read> Lines<R> {
    /// Frames what `reader` holds from where it stands.
    pub(crate) fn new(reader: R) -> Lines<R> {
        Lines::with_limit(reader, LINE_BYTES_MAX)
    }

    /// As [`new`](Self::new), with another limit on the length of a line.
    pub(crate) fn with_limit(reader: R, limit: usize) -> Lines<R> {
        Lines { reader: BufReader::with_capacity(BUFFER_BYTES, reader), number: 0, offset: 0, limit, ended: false }
    }

    /// How many bytes lie before the next line.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the next line is here already, so that taking it waits for nobody.
    pub(crate) fn is_next_here(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// The next line; `None` behind the last one.
    ///
    /// After an error, and behind the last line, every further call gives `None`.
    pub(crate) fn next_line(&mut self) -> Result<Option<Line>, LineError> {
        if self.ended {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        // One byte more than the limit for the LF, so that a line of exactly the limit still ends here.
        let most = self.limit as u64 + 1;
        let read = match self.reader.by_ref().take(most).read_until(b'\n', &mut bytes) {
            Ok(read) => read as u64,
            Err(error) => {
                self.ended = true;
                return Err(LineError::Io(error));
            }
        };
        if read == 0 {
            self.ended = true;
            return Ok(None);
        }
        let number = self.number + 1;
        let offset = self.offset;
        let terminated = bytes.last() == Some(&b'\n');
        if terminated {
            bytes.pop();
        } else if read == most {
            self.ended = true;
            return Err(LineError::TooLong { number, offset, limit: self.limit });
        } else {
            self.ended = true;
        }
        self.number = number;
        self.offset += read;
        Ok(Some(Line { number, offset, bytes, terminated }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8]) -> Vec<Line> {
        let mut lines = Lines::new(bytes);
        std::iter::from_fn(|| lines.next_line().unwrap()).collect()
    }

    fn glue(lines: &[Line]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            bytes.extend_from_slice(&line.bytes);
            if line.terminated {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    #[test]
    fn only_lf_ends_a_line_and_gluing_gives_the_file_back() {
        let cases: &[(&[u8], usize)] = &[
            (b"", 0),
            (b"\n", 1),
            (b"\n\n", 2),
            (b"a", 1),
            (b"a\n", 1),
            (b"a\nb", 2),
            (b"a\r\nb\r\n", 2),
            (b"\xef\xbb\xbf{}\n", 1),
            (b"\0\0\0\n\0", 2),
            (b"\xff\xfe\xc3\n\xc3", 2),
            ("a\u{2028}b\u{2029}c\u{85}d\n".as_bytes(), 1),
            (b"a\x0bb\x0cc\n", 1),
        ];
        for (bytes, count) in cases {
            let lines = frame(bytes);
            assert_eq!(lines.len(), *count, "{bytes:?}");
            assert_eq!(glue(&lines), *bytes);
        }
    }

    #[test]
    fn numbers_and_offsets_are_those_of_the_file() {
        let lines = frame(b"ab\n\ncde");
        let places: Vec<_> = lines.iter().map(|line| (line.number, line.offset, line.terminated)).collect();
        assert_eq!(places, [(1, 0, true), (2, 3, true), (3, 4, false)]);
    }

    #[test]
    fn a_line_at_the_limit_is_whole_and_one_over_is_refused() {
        for text in [&b"abcd\nx"[..], b"abcd"] {
            let mut lines = Lines::with_limit(text, 4);
            assert_eq!(lines.next_line().unwrap().unwrap().bytes, b"abcd");
        }
        for text in [&b"ok\nabcde\nx"[..], b"ok\nabcde"] {
            let mut lines = Lines::with_limit(text, 4);
            assert_eq!(lines.next_line().unwrap().unwrap().bytes, b"ok");
            assert!(matches!(lines.next_line(), Err(LineError::TooLong { number: 2, offset: 3, limit: 4 })));
            assert!(lines.next_line().unwrap().is_none(), "nothing behind a refused line is read as one");
        }
    }

    #[test]
    fn lines_longer_than_the_buffer_come_in_one_piece() {
        let mut text = vec![b'x'; BUFFER_BYTES * 3 + 17];
        text.push(b'\n');
        text.extend_from_slice(b"tail");
        let lines = frame(&text);
        assert_eq!((lines.len(), lines[0].bytes.len()), (2, BUFFER_BYTES * 3 + 17));
        assert_eq!(lines[1].offset, BUFFER_BYTES as u64 * 3 + 18);
    }

    #[test]
    fn it_is_known_whether_the_next_line_is_here() {
        let mut lines = Lines::new(&b"a\nb\ntorn"[..]);
        assert!(!lines.is_next_here(), "nothing was read yet");
        lines.next_line().unwrap();
        assert!(lines.is_next_here());
        lines.next_line().unwrap();
        assert!(!lines.is_next_here(), "more of the torn line may come");
    }

    #[test]
    fn a_failed_read_is_an_error_and_not_an_end() {
        struct Failing(bool);
        impl Read for Failing {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("the disk said no"));
                }
                buffer[..3].copy_from_slice(b"a\nb");
                Ok(3)
            }
        }
        let mut lines = Lines::new(Failing(false));
        assert_eq!(lines.next_line().unwrap().unwrap().bytes, b"a");
        assert!(matches!(lines.next_line(), Err(LineError::Io(_))), "the torn `b` is not passed off as a last line");
    }
}
