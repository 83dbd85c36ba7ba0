//! `treering export`: events as JSON lines with every field, for other tools and other stores.
//!
//! All streams come in the order of the log; named ones come one after the other. Either way the events of a stream come
//! in its order, so [`crate::commands::import`] takes them back with their revisions.

use std::path::PathBuf;

use treering::{Options, ReadAllOptions, ReadOptions, Store};

use crate::commands::cat::{moment, no_such_stream, visibility};
use crate::commands::show::{DamageMet, Shown};
use crate::exit::Outcome;
use crate::output::{Out, bytes_bar};

/// Write events as JSON lines, with every field
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering export s > all.jsonl                 the whole store, in the order of the log
  treering export s SESSION OTHER > two.jsonl   two streams, one after the other
  treering export s --at 2026-02-12 > then.jsonl the store as it was when that day began (UTC)
  treering import new all.jsonl                 and back: ids, times and revisions are equal

Payload and metadata are strings where they are UTF-8, else payload_base64 and metadata_base64. Times are integers,
nanoseconds since 1970 UTC. Shows what is committed; --durable leaves out what a power loss could still take.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// The streams; all of them unless given
    #[arg(value_name = "STREAM")]
    streams: Vec<String>,
    /// The store as it was recorded up to this time: 2026-02-12T14:11:57Z, a day, or how long ago (90s, 15m, 2h, 3d)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<i64>,
    /// Only what is durable
    #[arg(long)]
    durable: bool,
    /// As it is anyway; for symmetry with the other commands
    #[arg(long, hide = true)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = Store::open_read_only(&args.store, Options::new())?;
    let mut out = Out::stdout();
    let mut damage = DamageMet::at_opening(&store);
    let visibility = visibility(args.durable);
    let at = args.at.map(|time| store.end_at(time, visibility)).transpose()?;
    let (mut all, mut one) = (ReadAllOptions::new().visibility(visibility), ReadOptions::new().visibility(visibility));
    if let Some(at) = at {
        (all, one) = (all.at(at), one.at(at));
    }
    if args.streams.is_empty() {
        let end = at.unwrap_or(store.watermarks().committed).get();
        let bar = bytes_bar(end);
        let mut reader = store.read_all(all)?;
        let mut events: u64 = 0;
        while let Some(next) = reader.next() {
            match next {
                Ok(event) => {
                    events += 1;
                    if events.is_multiple_of(1024) {
                        bar.set_position(event.position().get());
                    }
                    Shown::from(&event).without_token().as_json(&mut out)?;
                }
                Err(error) => damage.take(error)?,
            }
        }
        bar.finish_and_clear();
    }
    for name in &args.streams {
        if store.stream(name)?.is_none() {
            // What was asked for and is there comes all the same.
            out.flush()?;
            return Err(no_such_stream(name));
        }
        let mut reader = store.read_stream(name, one)?;
        while let Some(next) = reader.next() {
            match next {
                Ok(event) => Shown::from(&event).without_token().as_json(&mut out)?,
                Err(error) => damage.take(error)?,
            }
        }
    }
    out.flush()?;
    damage.outcome()
}
