//! `treering fork`: a new stream that goes on from a revision of another one.

use std::path::PathBuf;

use serde::Serialize;
use treering::{ErrorKind, Fork, Options};

use crate::args::{Level, level_word};
use crate::commands::show::DamageMet;
use crate::exit::{Failure, Outcome};
use crate::names::{ForkedAt, stream_at, stream_name};
use crate::opening;
use crate::output::{Out, printable};

/// Fork a stream: a new one that shares its history up to a revision and goes on by itself
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering fork s SESSION second-try     at its head
  treering fork s SESSION@41 second-try  through revision 41, which both share
  treering fork s me@host@41 second-try  the same of a stream called me@host
  treering fork s v1@2@ second-try       at the head of a stream called v1@2

What stands behind the last @ is a revision where it is digits alone, and the head where it is \
nothing; otherwise the @ belongs to the name. So a name that itself ends in @ and digits, or in @, \
gets an @ behind it.

It is one record, whatever the length of the history: nothing is copied, and STREAM stays as it \
is. Others may write to the same store meanwhile. Ends with 3 where there is a stream NEW, with 1 \
where there is no STREAM or no such revision.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// The stream to fork, and the last revision to share; its head unless given
    #[arg(value_name = "STREAM[@R]", value_parser = stream_at)]
    from: ForkedAt,
    /// The name of the new stream
    #[arg(value_name = "NEW", value_parser = stream_name)]
    name: String,
    /// When the fork counts as done
    #[arg(long, value_enum, default_value = "synced")]
    durability: Level,
    /// Nobody else may write meanwhile: fails where somebody has the store open for writing, and has others fail
    #[arg(long)]
    exclusive: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Object<'a> {
    stream: &'a str,
    id: u64,
    parent: &'a str,
    parent_id: u64,
    /// The last revision that both share.
    revision: u64,
    end: u64,
    level: &'static str,
    batch: String,
    epoch: String,
    incarnation: String,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = opening::for_writing(&args.store, Options::new().create(false).exclusive(args.exclusive))?;
    // Told, and no reason to stop: each stream says for itself whether it goes on.
    let _told = DamageMet::at_opening(&store);
    let mut fork = Fork::new(&args.from.stream, &args.name).durability(args.durability.durability());
    if let Some(revision) = args.from.revision {
        fork = fork.at(revision);
    }
    let forked = store.fork(&fork).map_err(|error| match error.kind() {
        ErrorKind::Conflict => Failure::Taken(error),
        _ => error.into(),
    })?;
    let level = level_word(forked.receipt.level);
    let mut out = Out::stdout();
    if args.json {
        out.json(&Object {
            stream: &forked.name,
            id: forked.stream.get(),
            parent: &args.from.stream,
            parent_id: forked.parent.get(),
            revision: forked.revision.get(),
            end: forked.receipt.end.get(),
            level,
            batch: forked.receipt.batch.to_string(),
            epoch: forked.receipt.epoch.to_string(),
            incarnation: forked.receipt.incarnation.to_string(),
        })?;
    } else {
        let (name, parent) = (printable(&forked.name), printable(&args.from.stream));
        out.line(format_args!(
            "{name} forks {parent} at revision {}, goes on with {} {level}",
            forked.revision,
            forked.revision.get() + 1
        ))?;
    }
    out.flush()?;
    store.close()?;
    Ok(())
}
