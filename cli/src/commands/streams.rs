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
  treering streams s --json | jq -r .stream")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    stream: &'a str,
    id: u64,
    events: u64,
    head: u64,
    head_position: u64,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = Store::open_read_only(&args.store, Options::new())?;
    let mut out = Out::stdout();
    let mut table = Table::new(&["stream", ">events", ">head at"]);
    for stream in store.streams() {
        let head = stream.head.get();
        let events = head + 1;
        let head_position = stream.head_position.get();
        if args.json {
            out.json(&Row { stream: &stream.name, id: stream.id.get(), events, head, head_position })?;
        } else {
            table.row([printable(&stream.name).into_owned(), count(events), count(head_position)]);
        }
    }
    if !args.json {
        out.line(table)?;
    }
    out.flush()?;
    // Where opening found damage, streams may be missing here.
    DamageMet::at_opening(&store).outcome()
}
