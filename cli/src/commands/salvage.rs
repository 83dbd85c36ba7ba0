//! `treering salvage`: everything of a store that proves itself, copied into a new one.
//!
//! The old store is only read, so whatever else may be tried with it can be tried afterwards.

use std::path::PathBuf;

use serde::Serialize;
use treering::maintain::{MissingRange, MovedRange, SalvageReport, salvage};

use crate::commands::show::outcome_of;
use crate::commands::verify::{Bar, DamageLine};
use crate::exit::Outcome;
use crate::output::{Out, bytes_bar, counted, printable};

/// Copy everything of a store that is whole into a new store
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering salvage broken saved
  treering salvage broken saved --json > salvage.jsonl
                what is lost, and which revisions became others
  jq 'select(.kind == \"moved\")' salvage.jsonl

For a store that does not open, or that nobody wants to go on with. STORE is only read; NEW must \
not exist. Order, ids, types, times, metadata, payloads and batches come over as they were. \
Revisions do up to the first loss in their stream; behind it they move up, and each range that did \
is listed with its old revision, its new one and its old position.

Exit code 0 where everything came over, 4 where something was lost.")]
pub(crate) struct Args {
    /// The store to read
    store: PathBuf,
    /// The store to make
    new: PathBuf,
    /// One JSON object a line: each damage, each missing and each moved range, then the summary
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct MissingLine<'a> {
    kind: &'static str,
    stream: &'a str,
    first_revision: u64,
    last_revision: u64,
}

impl<'a> From<&'a MissingRange> for MissingLine<'a> {
    fn from(range: &'a MissingRange) -> MissingLine<'a> {
        let (first, last) = (range.revisions.0.get(), range.revisions.1.get());
        MissingLine { kind: "missing", stream: &range.stream, first_revision: first, last_revision: last }
    }
}

#[derive(Serialize)]
struct MovedLine<'a> {
    kind: &'static str,
    stream: &'a str,
    old_id: u64,
    old_first_revision: u64,
    new_first_revision: u64,
    events: u64,
    old_position: u64,
}

impl<'a> From<&'a MovedRange> for MovedLine<'a> {
    fn from(range: &'a MovedRange) -> MovedLine<'a> {
        MovedLine {
            kind: "moved",
            stream: &range.stream,
            old_id: range.old_stream.get(),
            old_first_revision: range.old_first.get(),
            new_first_revision: range.new_first.get(),
            events: range.events,
            old_position: range.old_position.get(),
        }
    }
}

#[derive(Serialize)]
struct Note<'a> {
    kind: &'static str,
    note: &'a str,
}

#[derive(Serialize)]
struct Summary {
    kind: &'static str,
    events: u64,
    streams: u64,
    damage: u64,
    missing: u64,
    moved: u64,
    undecoded: u64,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let mut bar = Bar(bytes_bar(0));
    let report = salvage(&args.store, &args.new, &mut bar);
    bar.0.finish_and_clear();
    let report = report?;
    let mut out = Out::stdout();
    match args.json {
        true => list_as_json(&report, &mut out)?,
        false => tell(&report, &args, &mut out)?,
    }
    out.flush()?;
    outcome_of(&report.damage)
}

fn list_as_json(report: &SalvageReport, out: &mut Out) -> Outcome {
    report.damage.iter().try_for_each(|damage| out.json(&DamageLine::from(damage)))?;
    report.missing.iter().try_for_each(|range| out.json(&MissingLine::from(range)))?;
    report.moved.iter().try_for_each(|range| out.json(&MovedLine::from(range)))?;
    report.undecoded.iter().try_for_each(|note| out.json(&Note { kind: "undecoded", note }))?;
    out.json(&Summary {
        kind: "summary",
        events: report.events,
        streams: report.streams,
        damage: report.damage.len() as u64,
        missing: report.missing.len() as u64,
        moved: report.moved.len() as u64,
        undecoded: report.undecoded.len() as u64,
    })
}

fn tell(report: &SalvageReport, args: &Args, out: &mut Out) -> Outcome {
    for damage in &report.damage {
        out.line(printable(&damage.to_string()))?;
        out.line(format_args!("  {}", damage.meaning()))?;
    }
    for range in &report.missing {
        let (first, last) = range.revisions;
        out.line(format_args!("lost: {} revisions {first}..={last}", printable(&range.stream)))?;
    }
    for range in &report.moved {
        out.line(format_args!(
            "moved: {} of {}, from revision {} on, begin with revision {} now",
            counted(range.events, "event"),
            printable(&range.stream),
            range.old_first,
            range.new_first
        ))?;
    }
    for note in &report.undecoded {
        out.line(format_args!("not copied: {}", printable(note)))?;
    }
    out.line(format_args!(
        "{} of {} are in {}; {} is as it was",
        counted(report.events, "event"),
        counted(report.streams, "stream"),
        printable(&args.new.display().to_string()),
        printable(&args.store.display().to_string())
    ))
}
