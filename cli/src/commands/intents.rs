//! `treering intents`: what somebody was about to do in a stream, and nobody says whether it was done.

use std::path::PathBuf;

use treering::{ReadOptions, Revision, Visibility};

use crate::commands::cat::no_such_stream;
use crate::commands::show::{DamageMet, Shown};
use crate::exit::{Failure, Outcome};
use crate::names::{event_type, stream_name};
use crate::opening;
use crate::output::{Out, width};

/// List the intents of a stream that have no outcome yet
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering intents s agent-7 --intent tool_call --outcome tool_result
  treering intents s agent-7 --intent pay,mail --outcome done,failed --json
  treering intents s agent-7 --intent pay --outcome done --from 4000
                what lies behind a summary

An intent is appended before something is done outside of the log, its outcome behind that. An \
outcome ends the intents with its event id; one without an id ends the oldest intent that has \
none. What is listed was begun by a process that died, or is at work. Ends with 0 whether or not \
there is any.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// The stream
    #[arg(value_parser = stream_name)]
    stream: String,
    /// Types of events that say that something will be done
    #[arg(long = "intent", value_name = "T", required = true, value_delimiter = ',', value_parser = event_type)]
    intents: Vec<String>,
    /// Types of events that say what became of it
    #[arg(long = "outcome", value_name = "T", required = true, value_delimiter = ',', value_parser = event_type)]
    outcomes: Vec<String>,
    /// The first revision to look at
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// One JSON object a line, with every field
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    if let Some(both) = args.intents.iter().find(|name| args.outcomes.contains(name)) {
        return Err(Failure::Usage(format!("{both} is given as an intent and as an outcome")));
    }
    let store = opening::for_reading(&args.store)?;
    let damage = DamageMet::at_opening(&store);
    if store.stream(&args.stream)?.is_none() {
        return Err(no_such_stream(&store, &args.stream));
    }
    let intents: Vec<&str> = args.intents.iter().map(String::as_str).collect();
    let outcomes: Vec<&str> = args.outcomes.iter().map(String::as_str).collect();
    let options = ReadOptions::new().from(Revision(args.from)).visibility(Visibility::Committed);
    let mut out = Out::stdout();
    let width = width();
    for event in store.open_intents(&args.stream, &intents, &outcomes, options)? {
        match args.json {
            true => Shown::from(&event).as_json(&mut out)?,
            false => Shown::from(&event).as_line(&mut out, false, width)?,
        }
    }
    out.flush()?;
    damage.outcome()
}
