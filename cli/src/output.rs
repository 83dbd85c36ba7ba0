//! How is something shown: to people in words and tables, to programs as one JSON object a line, to pipes as bytes?
//!
//! Standard output carries results, standard error everything else (progress, errors). All writing goes through [`Out`],
//! which buffers, and turns a closed pipe into [`Failure::OutputClosed`]: nothing panics for a missing reader. What comes
//! out of a log and goes to a terminal passes [`printable`]: no log may steer a terminal.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::exit::{Failure, Outcome};

const BUFFER_BYTES: usize = 64 << 10;

/// Whether programs listen: `--json` was given.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Says once, at the start, whether programs listen.
pub(crate) fn speak(json: bool) {
    IS_JSON.store(json, Ordering::Relaxed);
}

/// Whether programs listen.
pub(crate) fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Standard output, buffered.
#[derive(Debug)]
pub(crate) struct Out {
    writer: BufWriter<Stdout>,
}

impl Out {
    /// Standard output.
    pub(crate) fn stdout() -> Out {
        Out { writer: BufWriter::with_capacity(BUFFER_BYTES, io::stdout()) }
    }

    /// Writes one line of text.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> Outcome {
        writeln!(self.writer, "{text}").map_err(|error| Failure::output(&error))
    }

    /// Writes one JSON object as a line.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Outcome {
        serde_json::to_writer(&mut self.writer, value).map_err(|error| Failure::output(&error.into()))?;
        self.bytes(b"\n")
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Outcome {
        self.writer.write_all(bytes).map_err(|error| Failure::output(&error))
    }

    /// Hands everything written so far to whoever reads.
    pub(crate) fn flush(&mut self) -> Outcome {
        self.writer.flush().map_err(|error| Failure::output(&error))
    }
}

/// As a raw writer, for what formats itself; errors keep their kind.
impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Says something on standard error, beside the results.
pub(crate) fn note(text: impl fmt::Display) {
    // Nobody left to tell is no reason to stop.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says an object on standard error, beside the results, as one line of JSON.
pub(crate) fn note_json(value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(value) {
        note(text);
    }
}

/// The text without anything that would steer a terminal: control characters become `\u{…}`, LF and tab their short forms.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    // Also characters that turn the direction of writing or cannot be seen: they make a name look like another.
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if steers(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// The beginning of some bytes as printable text of at most `width` characters; `…` says that there is more. Looks at no
/// more bytes than that takes.
pub(crate) fn excerpt(bytes: &[u8], width: usize) -> String {
    let head = &bytes[..bytes.len().min(width.saturating_mul(4))];
    let text = String::from_utf8_lossy(head);
    let shown = printable(&text);
    let mut cut: String = shown.chars().take(width).collect();
    if cut.len() < shown.len() || head.len() < bytes.len() {
        if cut.chars().count() == width {
            cut.pop();
        }
        cut.push('…');
    }
    cut
}

/// The width to cut lines to: that of the terminal, or `None` where output is not one and nothing is cut.
pub(crate) fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0).max(40))
}

/// A number with separators: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun: `1 event`, `2,000 events`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A number of bytes for people: `17 B`, `64.0 KiB`, `1.2 GiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be shown as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A stretch of time for people: `850 ns`, `12.3 µs`, `4.5 ms`, `1.20 s`, `2 min 05 s`, `3 h 20 min`, `5 d 07 h`.
pub(crate) fn duration(time: Duration) -> String {
    let nanos = time.as_nanos();
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..999_950 => format!("{:.1} µs", nanos as f64 / 1e3),
        999_950..999_950_000 => format!("{:.1} ms", nanos as f64 / 1e6),
        999_950_000..60_000_000_000 => format!("{:.2} s", nanos as f64 / 1e9),
        60_000_000_000..3_600_000_000_000 => format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60),
        3_600_000_000_000..86_400_000_000_000 => {
            format!("{} h {:02} min", time.as_secs() / 3_600, time.as_secs() % 3_600 / 60)
        }
        _ => format!("{} d {:02} h", time.as_secs() / 86_400, time.as_secs() % 86_400 / 3_600),
    }
}

/// So many a second: `812 k/s`, `9.3 M/s`, `3,120 /s`.
pub(crate) fn rate(number: u64, time: Duration) -> String {
    let each = number as f64 / time.as_secs_f64().max(1e-9);
    if each >= 1e6 {
        format!("{:.1} M/s", each / 1e6)
    } else if each >= 1e5 {
        format!("{:.0} k/s", each / 1e3)
    } else {
        format!("{} /s", count(each.round() as u64))
    }
}

/// A table of text: columns as wide as their widest cell, numbers to the right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// A table with these headings; those that begin with `>` stand to the right.
    pub(crate) fn new(headings: &[&str]) -> Table {
        let right = headings.iter().map(|heading| heading.starts_with('>')).collect();
        let headings = headings.iter().map(|heading| heading.trim_start_matches('>').to_owned()).collect();
        Table { rows: vec![headings], right }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.right.len();
        let wide = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(wide).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate().take(columns) {
                if column > 0 {
                    line.push_str("  ");
                }
                let space = widths[column].saturating_sub(cell.chars().count());
                if self.right[column] {
                    write!(line, "{:space$}{cell}", "")?;
                } else {
                    write!(line, "{cell}{:space$}", "")?;
                }
            }
            if number > 0 {
                f.write_char('\n')?;
            }
            f.write_str(line.trim_end())?;
        }
        Ok(())
    }
}

/// A bar for long work over a known number of bytes, drawn on standard error where that is a terminal.
pub(crate) fn bytes_bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    style(&bar, "{bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}")
}

/// A bar for long work in steps.
pub(crate) fn steps_bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    style(&bar, "{bar:32} {pos}/{len} {wide_msg}")
}

fn style(bar: &ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.clone().with_style(style),
        Err(_) => bar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!((counted(1, "event"), counted(2_000, "event")), ("1 event".into(), "2,000 events".into()));
    }

    #[test]
    fn sizes_and_times_take_the_unit_that_reads_best() {
        for (number, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (64 << 20, "64.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (nanos, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (12_340, "12.3 µs"),
            (999_999, "1.0 ms"),
            (4_500_000, "4.5 ms"),
            (999_999_999, "1.00 s"),
            (125_000_000_000, "2 min 05 s"),
            (12_345_000_000_000, "3 h 25 min"),
            (460_000_000_000_000, "5 d 07 h"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanos)), text);
        }
        assert_eq!(rate(9_300_000, Duration::from_secs(1)), "9.3 M/s");
        assert_eq!(rate(812_000, Duration::from_secs(1)), "812 k/s");
        assert_eq!(rate(6_240, Duration::from_secs(2)), "3,120 /s");
        assert!(!rate(1, Duration::ZERO).contains("inf"));
    }

    #[test]
    fn no_log_steers_the_terminal() {
        assert_eq!(printable("plain ü 😀"), "plain ü 😀");
        assert_eq!(printable("a\x1b[31mred\u{9b}\n\t\r\0"), "a\\u{1b}[31mred\\u{9b}\\n\\t\\r\\u{0}");
        assert_eq!(printable("abc\u{202e}cba"), "abc\\u{202e}cba");
        assert_eq!(excerpt(b"\xff\x1bx", 20), "\u{fffd}\\u{1b}x");
    }

    #[test]
    fn an_excerpt_fits_and_says_that_there_is_more() {
        assert_eq!(excerpt(b"abc", 3), "abc");
        assert_eq!(excerpt(b"abcd", 3), "ab…");
        assert_eq!(excerpt("äöüß".as_bytes(), 4), "äöüß");
        assert_eq!(excerpt(b"", 0), "");
        assert_eq!(excerpt(&vec![b'x'; 1 << 20], 10).chars().count(), 10);
        assert_eq!(excerpt(&b"\n".repeat(100), 10).chars().count(), 10);
    }

    #[test]
    fn tables_line_up() {
        let mut table = Table::new(&["stream", ">events"]);
        table.row(["a", "1"]);
        table.row(["länger", "1,000"]);
        assert_eq!(table.to_string(), "stream  events\na            1\nlänger   1,000");
    }
}
