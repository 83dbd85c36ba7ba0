//! `treering types`: which types of events there are, and how often.

use std::path::PathBuf;

use serde::Serialize;
use treering::ReadAllOptions;

use crate::commands::cat::moment;
use crate::commands::show::DamageMet;
use crate::commands::wanted::visibility;
use crate::exit::Outcome;
use crate::opening;
use crate::output::{Out, Table, bytes_bar, count, printable};

/// List the types of events, and how often each occurs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering types s
  treering types s SESSION/    in the streams whose names begin so
  treering types s --at 2026-02-12
                               as it was when that day began (UTC)
  treering types s --json | jq -r .type

The most frequent come first. What the engine keeps in streams of its own is not counted, nor is \
what forks share counted twice.

Finished segments are not read: their indexes say it, also of an event that went bad since. \
`treering verify` looks for those. With PREFIX all events of these streams are read.

`treering cat s --type T` shows the events of one.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// Only streams whose names begin so
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    /// What was recorded up to this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<i64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Only what is durable
    #[arg(long)]
    durable: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    events: u64,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = opening::for_reading(&args.store)?;
    let mut damage = DamageMet::at_opening(&store);
    let visibility = visibility(args.durable);
    let mut options = ReadAllOptions::new().visibility(visibility);
    if !args.prefix.is_empty() {
        options = options.stream_prefix(&args.prefix);
    }
    if let Some(time) = args.at {
        options = options.at(store.end_at(time, visibility)?);
    }
    let bar = bytes_bar(0).with_message("counting");
    let counted = store.count_types(options, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let mut counted = counted?;
    counted.types.sort_by_key(|count| std::cmp::Reverse(count.events));
    let all: u64 = counted.types.iter().map(|count| count.events).sum();
    let mut out = Out::stdout();
    let mut table = Table::new(&["type", ">events", ">%"]);
    for it in &counted.types {
        if args.json {
            out.json(&Row { event_type: &it.name, events: it.events })?;
        } else {
            let part = format!("{:.1}", it.events as f64 * 100.0 / all as f64);
            table.row([printable(&it.name).into_owned(), count(it.events), part]);
        }
    }
    if !args.json {
        out.line(table)?;
    }
    out.flush()?;
    counted.damage.iter().for_each(|lost| damage.note(lost));
    damage.outcome()
}
