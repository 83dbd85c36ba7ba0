//! `treering streams`: what streams a store holds, in the order of their creation.

use std::path::PathBuf;

use serde::Serialize;

use crate::commands::show::DamageMet;
use crate::exit::Outcome;
use crate::opening;
use crate::output::{Out, Table, count, counted, printable};

/// List the streams of a store
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering streams s
  treering streams s SESSION/  those whose names begin so
  treering streams s --json | jq -r .stream

The events of a fork are those that it shares and its own; `treering forks` shows forks as a tree.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// Only streams whose names begin so
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    stream: &'a str,
    id: u64,
    events: u64,
    /// The last revision that was given, or accepted as given.
    head: u64,
    head_position: u64,
    last_event: u64,
    /// Where it leaves its parent; `null` for a stream that is no fork, and for a fork whose frame is lost.
    fork: Option<ForkPart<'a>>,
    /// `false`: damage may hide later events; the stream is appended to after an accept only.
    head_known: bool,
}

#[derive(Serialize)]
struct ForkPart<'a> {
    parent: &'a str,
    /// The last revision that both share.
    revision: u64,
    /// Events behind that.
    own_events: u64,
    /// How many forks lie between it and a stream that is none.
    depth: u64,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = opening::for_reading(&args.store)?;
    let mut out = Out::stdout();
    let mut damage = DamageMet::at_opening(&store);
    let mut table = Table::new(&["stream", ">events", ">head at", ""]);
    for stream in store.streams_with_prefix(&args.prefix)? {
        let (head, last_event) = (stream.head.get(), stream.last_event.get());
        let (events, head_known) = (last_event + 1, stream.is_head_known);
        let head_position = stream.head_position.get();
        let own_events = events.saturating_sub(stream.first.get());
        let point = match stream.first.get() {
            0 => None,
            _ => damage.or_none(store.fork_point(&stream.name))?.flatten(),
        };
        let mut remarks = Vec::new();
        match &point {
            Some(point) => remarks.push(format!(
                "fork of {}@{}, {} of its own",
                printable(&point.parent_name),
                point.revision,
                counted(own_events, "event")
            )),
            None if stream.first.get() > 0 => remarks.push("a fork; what says of which stream is lost".to_owned()),
            None => {}
        }
        match (head_known, head > last_event) {
            (false, _) => remarks.push("damage may hide its end".to_owned()),
            (true, true) => {
                remarks.push(format!("goes on behind revision {head}: what may have been there was accepted as lost"))
            }
            (true, false) => {}
        }
        if args.json {
            out.json(&Row {
                stream: &stream.name,
                id: stream.id.get(),
                events,
                head,
                head_position,
                last_event,
                fork: point.as_ref().map(|point| ForkPart {
                    parent: &point.parent_name,
                    revision: point.revision.get(),
                    own_events,
                    depth: point.depth,
                }),
                head_known,
            })?;
        } else {
            table.row([printable(&stream.name).into_owned(), count(events), count(head_position), remarks.join("; ")]);
        }
    }
    if !args.json {
        out.line(table)?;
    }
    out.flush()?;
    // Where opening found damage, streams may be missing here.
    damage.outcome()
}
