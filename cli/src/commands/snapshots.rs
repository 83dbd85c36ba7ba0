//! `treering snapshots`: the snapshots of a stream.

use std::path::PathBuf;

use serde::Serialize;

use crate::commands::cat::no_such_stream;
use crate::commands::show::DamageMet;
use crate::commands::snapshot::SnapshotLine;
use crate::exit::Outcome;
use crate::opening;
use crate::output::{Out, Table, count, printable};

/// List the snapshots of a stream
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering snapshots s SESSION
  treering snapshots s SESSION --json | jq -r .stream
                where their events are, for treering cat

Label by label, the oldest first. A fork also reads through those of its parent that end before it \
leaves it; they are listed with the parent.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// The stream
    stream: String,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A snapshot that is lost.
#[derive(Serialize)]
struct LostLine<'a> {
    stream: &'a str,
    lost: String,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = opening::for_reading(&args.store)?;
    let mut damage = DamageMet::at_opening(&store);
    if store.stream(&args.stream)?.is_none() {
        return Err(no_such_stream(&store, &args.stream));
    }
    let mut out = Out::stdout();
    let mut table = Table::new(&["label", ">from", ">to", ">events", "version", "their stream"]);
    for found in store.snapshots(&args.stream)? {
        match found {
            Ok(snapshot) if args.json => out.json(&SnapshotLine::from(&snapshot))?,
            Ok(snapshot) => table.row([
                printable(&snapshot.label).into_owned(),
                count(snapshot.range.start.get()),
                count(snapshot.range.end.get() - 1),
                count(snapshot.events.end.get() - snapshot.events.start.get()),
                printable(&snapshot.version).into_owned(),
                printable(&snapshot.stream).into_owned(),
            ]),
            Err(ignored) => {
                if args.json {
                    out.json(&LostLine { stream: &ignored.stream, lost: ignored.why.to_string() })?;
                }
                damage.take(ignored.why)?;
            }
        }
    }
    if !args.json {
        out.line(table)?;
    }
    out.flush()?;
    damage.outcome()
}
