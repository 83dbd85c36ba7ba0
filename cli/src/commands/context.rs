//! `treering context`: what a stream comes to at a revision: its newest snapshots, and the events behind them.

use std::path::PathBuf;

use serde::Serialize;
use treering::{Context, ContextOptions, ContextPart, Revision};
use treering_agent::estimated_tokens;

use crate::commands::cat::no_such_stream;
use crate::commands::show::{DamageMet, Shown};
use crate::commands::wanted::visibility;
use crate::event_json::EventLine;
use crate::exit::{Failure, Outcome};
use crate::opening;
use crate::output::{self, Out, counted, printable};

/// Print what a stream comes to: its newest snapshots, and the events behind them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering context s SESSION        by the snapshots that reach furthest
  treering context s SESSION --label summary
                                    by those of one strategy
  treering context s SESSION --at 400
                                    as it was when 400 was the head
  treering context s SESSION --budget 8000 --json
                                    what fits into 8,000 tokens, for a program
  treering context s SESSION --raw  the payloads, each with a newline

It is a function of the stream and the revision: a snapshot that was made after the next event of \
the stream does not count at an earlier revision. A fork has the snapshots of its parent that end \
before it leaves it. What does not match, or is lost, is told and passed over; --proven folds the \
whole history to hold each snapshot against it. With a budget snapshots come first, then the \
newest events; tokens are estimated, a token for three ASCII characters, or for one other. With \
--json an event that stands for others says in `snapshot` for which.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// The stream
    stream: String,
    /// Only by snapshots with this label
    #[arg(long, value_name = "L")]
    label: Option<String>,
    /// As it was when this revision was the head
    #[arg(long, value_name = "R")]
    at: Option<u64>,
    /// At most so many tokens
    #[arg(long, value_name = "N")]
    budget: Option<u64>,
    /// Hold each snapshot against the history that it stands for
    #[arg(long)]
    proven: bool,
    /// Only payloads
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Only what is durable
    #[arg(long)]
    durable: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: EventLine<'a>,
    /// What it stands for; left out of an event of the stream itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<StandsFor<'a>>,
}

#[derive(Serialize)]
struct StandsFor<'a> {
    label: &'a str,
    version: &'a str,
    range: [u64; 2],
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = opening::for_reading(&args.store)?;
    let mut damage = DamageMet::at_opening(&store);
    let Some(stream) = store.stream(&args.stream)? else { return Err(no_such_stream(&store, &args.stream)) };
    if let Some(at) = args.at.filter(|at| *at > stream.head.get()) {
        let (name, head) = (printable(&args.stream), stream.head);
        return Err(Failure::Error(format!("{name} has no revision {at}: it ends with revision {head}")));
    }
    let mut options = ContextOptions::new().visibility(visibility(args.durable));
    if let Some(label) = &args.label {
        options = options.label(label);
    }
    if let Some(at) = args.at {
        options = options.at(Revision(at));
    }
    if args.proven {
        options = options.proven();
    }
    let context = store.context(&args.stream, options)?;
    for ignored in &context.ignored {
        let (stream, why) = (printable(&ignored.stream), ignored.why.to_string());
        output::note(format_args!("treering: a snapshot in {stream} is passed over: {}", printable(&why)));
    }
    let kept = args.budget.map(|budget| within(&context, budget)).transpose()?;
    let mut out = Out::stdout();
    print(&args, &context, kept.as_deref(), &mut out, &mut damage)?;
    out.flush()?;
    if let Some(kept) = kept {
        let left_out = kept.iter().filter(|kept| !**kept).count() as u64;
        if left_out > 0 {
            output::note(format_args!(
                "treering: {} left out, which the budget has no room for",
                counted(left_out, "event")
            ));
        }
    }
    damage.outcome()
}

/// Which events fit: those of snapshots, the newest first, then those of the stream, the newest first.
fn within(context: &Context, budget: u64) -> Outcome<Vec<bool>> {
    let mut costs = Vec::new();
    let mut reader = context.read();
    while let Some(event) = reader.next() {
        let Ok(cost) = event.map(|event| estimated_tokens(&String::from_utf8_lossy(event.payload()))) else { continue };
        costs.push((matches!(reader.part(), Some(ContextPart::Snapshot(_))), cost));
    }
    let mut kept = vec![false; costs.len()];
    let mut left = budget;
    for of_snapshots in [true, false] {
        let those = costs.iter().enumerate().rev().filter(|(_, (is_of_snapshot, _))| *is_of_snapshot == of_snapshots);
        for (index, (_, cost)) in those {
            // From the first that does not fit on all are left out, so that no hole is in what is told.
            let Some(rest) = left.checked_sub(*cost) else { break };
            left = rest;
            kept[index] = true;
        }
    }
    Ok(kept)
}

fn print(args: &Args, context: &Context, kept: Option<&[bool]>, out: &mut Out, damage: &mut DamageMet) -> Outcome {
    let width = output::width();
    let mut reader = context.read();
    let (mut number, mut shown) = (0, None);
    while let Some(event) = reader.next() {
        let event = match event {
            Ok(event) => event.hold(),
            Err(error) => {
                out.flush()?;
                damage.take(error)?;
                continue;
            }
        };
        let part = reader.part();
        let is_kept = kept.is_none_or(|kept| kept.get(number).copied().unwrap_or(false));
        number += 1;
        if !is_kept {
            continue;
        }
        let snapshot = match part {
            Some(ContextPart::Snapshot(snapshot)) => Some(snapshot),
            _ => None,
        };
        if args.raw {
            out.bytes(&event.payload)?;
            out.bytes(b"\n")?;
        } else if args.json {
            let stands_for = snapshot.map(|snapshot| StandsFor {
                label: &snapshot.label,
                version: &snapshot.version,
                range: [snapshot.range.start.get(), snapshot.range.end.get()],
            });
            out.json(&Line { event: Shown::from(&event).as_object(), snapshot: stands_for })?;
        } else {
            if let Some(snapshot) = snapshot.filter(|snapshot| shown != Some(snapshot.position)) {
                shown = Some(snapshot.position);
                let (first, last) = (snapshot.range.start, snapshot.range.end.get() - 1);
                let label = printable(&snapshot.label);
                out.line(format_args!("  for revisions {first} to {last}, by {label}:"))?;
            }
            Shown::from(&event).as_line(out, false, width)?;
        }
    }
    Ok(())
}
