//! `treering snapshot`: events that stand beside a range of a stream.

use std::io::Read as _;
use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;
use treering::{NewEvent, NewSnapshot, Options, Revision, Snapshot, limits};

use crate::args::{Level, level_word};
use crate::commands::show::DamageMet;
use crate::exit::{Failure, Outcome};
use crate::names::event_type;
use crate::opening;
use crate::output::{Out, count, counted, printable};

/// Append a snapshot: events, from standard input, that stand beside a range of a stream
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  summarize < old.txt | treering snapshot s SESSION --range 0..900 --label short
  treering snapshot s SESSION --range 900..1800 --label short --version 2 < next
  treering snapshots s SESSION  those that there are
  treering context s SESSION    the newest ones, and the events behind them

Every line is one event; its payload is the line without its LF. They are in the log together or \
not at all, bound to the stream and to what its range holds. Nothing of the range is changed or \
removed: it is read as ever, and what was appended while the snapshot was being made is behind it. \
Several may stand for the same range. The end of a range is not included.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// The stream
    stream: String,
    /// The revisions that they stand for, the second one not included
    #[arg(long, value_name = "A..B", value_parser = range)]
    range: Range<Revision>,
    /// What it is for: the name of a strategy, or of a model
    #[arg(long, value_name = "L", value_parser = label)]
    label: String,
    /// The version of what made it
    #[arg(long, value_name = "V", default_value = "", hide_default_value = true)]
    version: String,
    /// The type of the events
    #[arg(long = "type", value_name = "T", value_parser = event_type, default_value = "summary")]
    event_type: String,
    /// When the snapshot counts as done
    #[arg(long, value_enum, default_value = "synced")]
    durability: Level,
    /// Nobody else may write meanwhile: fails where somebody has the store open for writing, and has others fail
    #[arg(long)]
    exclusive: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// A snapshot, as programs get it.
#[derive(Debug, Serialize)]
pub(super) struct SnapshotLine<'a> {
    pub(super) label: &'a str,
    pub(super) version: &'a str,
    /// The revisions that it stands for, the second one not included.
    pub(super) range: [u64; 2],
    /// Where its events are: `cat STORE STREAM` prints them.
    pub(super) stream: &'a str,
    pub(super) events: [u64; 2],
    pub(super) position: u64,
    pub(super) chain_before: String,
    pub(super) chain_end: String,
}

impl<'a> From<&'a Snapshot> for SnapshotLine<'a> {
    fn from(snapshot: &'a Snapshot) -> SnapshotLine<'a> {
        let hex = |bytes: &[u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        SnapshotLine {
            label: &snapshot.label,
            version: &snapshot.version,
            range: [snapshot.range.start.get(), snapshot.range.end.get()],
            stream: &snapshot.stream,
            events: [snapshot.events.start.get(), snapshot.events.end.get()],
            position: snapshot.position.get(),
            chain_before: hex(&snapshot.chain[0]),
            chain_end: hex(&snapshot.chain[1]),
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let mut input = Vec::new();
    let read = std::io::stdin().lock().take(limits::BATCH_BYTES_MAX as u64 + 1).read_to_end(&mut input);
    read.map_err(|error| Failure::Error(format!("standard input: {error}")))?;
    let lines = input.strip_suffix(b"\n").unwrap_or(&input);
    if lines.is_empty() {
        return Err(Failure::Error("standard input holds no event; a snapshot has one at least".to_owned()));
    }
    let events: Vec<_> = lines.split(|byte| *byte == b'\n').map(|line| NewEvent::new(&args.event_type, line)).collect();
    let store = opening::for_writing(&args.store, Options::new().create(false).exclusive(args.exclusive))?;
    let _told = DamageMet::at_opening(&store);
    let new = NewSnapshot::new(&args.stream, args.range, &args.label, &events).version(&args.version);
    let made = store.snapshot(&new.durability(args.durability.durability()))?;
    let mut out = Out::stdout();
    if args.json {
        out.json(&SnapshotLine::from(&made.snapshot))?;
    } else {
        let Snapshot { range, label, .. } = &made.snapshot;
        out.line(format_args!(
            "{}: {} for {} of {}, revisions {} to {}, {}",
            printable(label),
            counted(events.len() as u64, "event"),
            count(range.end.get() - range.start.get()),
            printable(&args.stream),
            range.start,
            range.end.get() - 1,
            level_word(made.receipt.level)
        ))?;
    }
    out.flush()?;
    store.close()?;
    Ok(())
}

/// A range of revisions, the end not included.
fn range(text: &str) -> Result<Range<Revision>, String> {
    let parse = |number: &str| number.parse::<u64>().ok().filter(|number| *number <= limits::NUMBER_MAX).map(Revision);
    match text.split_once("..").map(|(first, end)| (parse(first), parse(end))) {
        Some((Some(first), Some(end))) if first < end => Ok(first..end),
        Some((Some(_), Some(_))) => Err("it holds no revision; its end is not included".to_owned()),
        _ => Err("it is two revisions, as in 0..900, the second one not included".to_owned()),
    }
}

fn label(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("a label is not empty".to_owned()),
        len if len > limits::LABEL_BYTES_MAX => {
            Err(format!("the label is {len} bytes long, at most {} go", limits::LABEL_BYTES_MAX))
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_two_revisions() {
        assert_eq!(range("0..1"), Ok(Revision(0)..Revision(1)));
        assert_eq!(range("900..1800"), Ok(Revision(900)..Revision(1800)));
        for bad in ["", "..", "1..", "..1", "1..1", "2..1", "1..=2", "-1..2", "a..b", "0..9223372036854775809"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
