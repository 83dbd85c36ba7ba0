//! `treering streams`: what streams a store holds, in the order of their creation.

use std::path::PathBuf;

use serde::Serialize;
use treering::{Options, Store};

use crate::commands::show::DamageMet;
use crate::exit::Outcome;
use crate::output::{Out, Table, count, printable};

/// List the streams of a store
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering streams s
  treering streams s SESSION/                    those whose names begin so
  treering streams s --json | jq -r .stream")]
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
    /// `false`: damage may hide later events; the stream is appended to after an accept only.
    head_known: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = Store::open_read_only(&args.store, Options::new())?;
    let mut out = Out::stdout();
    let mut table = Table::new(&["stream", ">events", ">head at", ""]);
    for stream in store.streams_with_prefix(&args.prefix)? {
        let (head, last_event) = (stream.head.get(), stream.last_event.get());
        let (events, head_known) = (last_event + 1, stream.is_head_known);
        let head_position = stream.head_position.get();
        let remark = match (head_known, head > last_event) {
            (false, _) => "damage may hide its end".to_owned(),
            (true, true) => format!("goes on behind revision {head}: what may have been there was accepted as lost"),
            (true, false) => String::new(),
        };
        if args.json {
            out.json(&Row {
                stream: &stream.name,
                id: stream.id.get(),
                events,
                head,
                head_position,
                last_event,
                head_known,
            })?;
        } else {
            table.row([printable(&stream.name).into_owned(), count(events), count(head_position), remark]);
        }
    }
    if !args.json {
        out.line(table)?;
    }
    out.flush()?;
    // Where opening found damage, streams may be missing here.
    DamageMet::at_opening(&store).outcome()
}
