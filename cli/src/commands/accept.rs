//! `treering accept`: what is lost is lost, the log goes on.
//!
//! Says first what is lost, for whom, and what accepting means; then, with `--yes` or a *yes* typed at a terminal, records it
//! in the log. Without either nothing is accepted: nobody accepts a loss by leaving something out.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use serde::Serialize;
use treering::DamageClass;
use treering::maintain::{AcceptPlan, AcceptedStream, accept, accept_plan};

use crate::commands::verify::{Bar, DamageLine};
use crate::exit::{Failure, Outcome};
use crate::output::{Out, bytes_bar, count, counted, note, printable};

/// Accept what is damaged or missing as lost, so that appending goes on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering accept s --dry-run  what is lost and what accepting means; no more
  treering accept s            the same, then asks
  treering accept s --yes      the same, and does it
  treering accept s --yes --json | jq 'select(.kind == \"stream\")'

Bring back what is missing first: a file from a backup, the rest of a copy. Accepting deletes and \
repairs nothing. It records in the log that this is lost: streams whose end is hidden go on behind \
every revision that may have been there, a copy that ends early can be written, and what was \
accepted stays reported as accepted.

Exit code 0 where it was accepted, or where there is nothing to accept, and for --dry-run.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// Only say what would be accepted
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Accept without asking
    #[arg(long)]
    yes: bool,
    /// One JSON object a line: each damage, each stream, then the summary
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct StreamLine<'a> {
    kind: &'static str,
    stream: &'a str,
    id: u64,
    known_head: u64,
    accepted_head: u64,
}

impl<'a> From<&'a AcceptedStream> for StreamLine<'a> {
    fn from(stream: &'a AcceptedStream) -> StreamLine<'a> {
        StreamLine {
            kind: "stream",
            stream: &stream.name,
            id: stream.stream.get(),
            known_head: stream.known_head.get(),
            accepted_head: stream.accepted_head.get(),
        }
    }
}

#[derive(Serialize)]
struct Summary {
    kind: &'static str,
    damage: u64,
    streams: u64,
    unlisted_events_max: u64,
    begins_incarnation: bool,
    end: u64,
    accepted: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let mut bar = Bar(bytes_bar(0));
    let plan = accept_plan(&args.store, &mut bar);
    bar.0.finish_and_clear();
    let plan = plan?;
    let mut out = Out::stdout();
    if args.json {
        list_as_json(&plan, &mut out)?;
    } else {
        tell(&plan, &mut out)?;
    }
    out.flush()?;
    let is_accepted = !plan.is_empty() && !args.dry_run && is_confirmed(&args)? && accept(&args.store, &plan)?;
    if args.json {
        out.json(&Summary {
            kind: "summary",
            damage: plan.damage.len() as u64,
            streams: plan.streams.len() as u64,
            unlisted_events_max: plan.unlisted_events_max,
            begins_incarnation: plan.begins_incarnation,
            end: plan.end.get(),
            accepted: is_accepted,
        })?;
    } else if is_accepted {
        out.line("accepted: the log records it, and appending goes on")?;
    } else if !plan.is_empty() {
        out.line("nothing was accepted")?;
    }
    out.flush()
}

fn is_confirmed(args: &Args) -> Outcome<bool> {
    if args.yes {
        return Ok(true);
    }
    if args.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::Usage(
            "nothing was accepted: say --yes to accept this, or --dry-run to only look".to_owned(),
        ));
    }
    note("Type yes to accept this as lost:");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::io("read from", "standard input", &error))?;
    Ok(answer.trim() == "yes")
}

fn list_as_json(plan: &AcceptPlan, out: &mut Out) -> Outcome {
    for damage in &plan.damage {
        out.json(&DamageLine::from(damage))?;
    }
    plan.streams.iter().try_for_each(|stream| out.json(&StreamLine::from(stream)))
}

fn tell(plan: &AcceptPlan, out: &mut Out) -> Outcome {
    /// More streams than this are counted; `--json` lists them all.
    const STREAMS_TOLD_MAX: usize = 20;
    if plan.is_empty() {
        return out.line("nothing to accept: nothing is lost that was not accepted before");
    }
    for damage in &plan.damage {
        out.line(printable(&damage.to_string()))?;
        out.line(format_args!("  {}", damage.meaning()))?;
    }
    let is_copy = plan.damage.iter().any(|damage| damage.class == DamageClass::CopyIncomplete);
    out.line("")?;
    out.line("Accepting this means:")?;
    out.line("- The events in it are gone for good, unless the bytes come back. Nothing else is deleted or changed.")?;
    if is_copy {
        out.line(format_args!(
            "- This copy ends at position {}; it goes on from there as a store of its own, without what came behind.",
            count(plan.end.get())
        ))?;
    }
    if plan.unlisted_events_max > 0 {
        out.line(format_args!(
            "- Nothing that is left says whose events lay there; there were {} at most. Every stream that may have had one \
             goes on behind all revisions that may have been given, so that none is given twice:",
            count(plan.unlisted_events_max)
        ))?;
    }
    for stream in plan.streams.iter().take(STREAMS_TOLD_MAX) {
        out.line(format_args!(
            "    {}: the last known revision is {}; the next event gets {}",
            printable(&stream.name),
            stream.known_head,
            stream.accepted_head.get() + 1
        ))?;
    }
    if plan.streams.len() > STREAMS_TOLD_MAX {
        let more = (plan.streams.len() - STREAMS_TOLD_MAX) as u64;
        out.line(format_args!("    and {}; --json lists all", counted(more, "more stream")))?;
    }
    if plan.unlisted_events_max > 0 {
        out.line(
            "- A stream that was begun there and never written again is gone; its name is free, and what is begun under it \
             is another stream.",
        )?;
    }
    if plan.begins_incarnation {
        out.line("- The store begins a new incarnation: receipts from before can be told from those that come.")?;
    }
    out.line("")
}
