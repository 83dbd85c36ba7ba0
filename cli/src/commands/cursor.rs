//! `treering cursor`: where consumers stand, and moving one.

use std::path::PathBuf;

use serde::Serialize;
use treering::{Batch, CursorPlace, Expected, Options, Token};

use crate::args::{expectation, token};
use crate::commands::show::DamageMet;
use crate::exit::{Failure, Outcome};
use crate::opening;
use crate::output::{Out, Table, count, printable};
use crate::time::format_utc;

/// Show where consumers stand, or move one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering cursor s          all, with how far behind each is
  treering cursor s indexer  one
  treering cursor s indexer --json | jq -r .token
                             its place, for `treering tail --after`
  treering cursor s indexer --set TOKEN
                             move it, forwards or back
  treering cursor s indexer --set TOKEN --expect 41
                             only if nobody moved it since; else exit code 3

A cursor is the named place of a consumer, kept in the log. Its first move makes it. What is \
behind counts all events of the log, those included that the consumer may not care for.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// The cursor
    name: Option<String>,
    /// Move it behind the event that this token names
    #[arg(long, value_name = "TOKEN", value_parser = token, requires = "name")]
    set: Option<Token>,
    /// Move it only if its last place has this revision: any, none (there is no such cursor yet), or a number
    #[arg(long, value_name = "any|none|N", value_parser = expectation, default_value = "any", requires = "set")]
    expect: Expected,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    cursor: &'a str,
    token: String,
    /// Position of the event that was dealt with last.
    position: u64,
    /// How many moves there were before.
    revision: u64,
    written_at: i64,
    lag_events: u64,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let mut out = Out::stdout();
    if let (Some(name), Some(token)) = (&args.name, &args.set) {
        let store = opening::for_writing(&args.store, Options::new().create(false))?;
        let _told = DamageMet::at_opening(&store);
        let _ = store.append(&Batch::new().cursor(name, token, args.expect))?;
        let place = store.cursor_place(name)?;
        show(&args, place.into_iter().collect(), &mut out)?;
        store.close()?;
        return Ok(());
    }
    let store = opening::for_reading(&args.store)?;
    let mut damage = DamageMet::at_opening(&store);
    let places = match &args.name {
        Some(name) => match store.cursor_place(name)? {
            Some(place) => vec![place],
            None => {
                let message =
                    format!("there is no cursor {}; `treering cursor STORE` lists those there are", printable(name));
                return Err(Failure::Error(message));
            }
        },
        None => {
            let mut places = Vec::new();
            for (_, place) in store.cursors()? {
                match place {
                    Ok(place) => places.push(place),
                    Err(error) => damage.take(error)?,
                }
            }
            places
        }
    };
    show(&args, places, &mut out)?;
    damage.outcome()
}

fn show(args: &Args, places: Vec<CursorPlace>, out: &mut Out) -> Outcome {
    let mut table = Table::new(&["cursor", ">position", ">behind", "written", ">moves"]);
    for place in &places {
        let position = place.token.position().get();
        if args.json {
            out.json(&Line {
                cursor: &place.name,
                token: place.token.to_string(),
                position,
                revision: place.revision.get(),
                written_at: place.written_at,
                lag_events: place.lag_events,
            })?;
        } else {
            table.row([
                printable(&place.name).into_owned(),
                count(position),
                count(place.lag_events),
                format_utc(place.written_at),
                count(place.revision.get() + 1),
            ]);
        }
    }
    if !args.json {
        out.line(table)?;
    }
    out.flush()
}
