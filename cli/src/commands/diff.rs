//! `treering diff`: where two streams part, and what each has added since.

use std::path::PathBuf;

use serde::Serialize;
use treering::{Parting, ReadOptions, Revision, Store, Visibility};

use crate::commands::show::{DamageMet, Shown};
use crate::event_json::EventLine;
use crate::exit::Outcome;
use crate::opening;
use crate::output::{Out, counted, printable, width};

/// Show where two streams part and what each has added
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering diff s opus sonnet  what both share, and how much each has of its own
  treering diff s opus sonnet --events
                               and each one's own events, as `cat` shows them
  treering diff s opus sonnet --events --json | jq 'select(.side == \"opus\")'

Streams share events by forks alone: by where events are, not by what they say. What a stream \
added may lie in forks between, which `--json` names with each event.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// A stream
    one: String,
    /// Another one
    other: String,
    /// Also the events that each has added
    #[arg(long)]
    events: bool,
    /// JSON, an object a line: first the summary; with --events then each event, with its `side`
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Object<'a> {
    /// `null` where they share nothing.
    shared: Option<SharedPart<'a>>,
    sides: [SidePart<'a>; 2],
}

#[derive(Serialize)]
struct SharedPart<'a> {
    /// The stream to which the last event was appended that both share.
    stream: &'a str,
    revision: u64,
    events: u64,
}

#[derive(Serialize)]
struct SidePart<'a> {
    stream: &'a str,
    added: u64,
    /// The first and last revision of what it added; `null` where that is nothing.
    first: Option<u64>,
    last: Option<u64>,
}

#[derive(Serialize)]
struct EventOfSide<'a> {
    side: &'a str,
    #[serde(flatten)]
    event: EventLine<'a>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = opening::for_reading(&args.store)?;
    let parting = store.parting(&args.one, &args.other)?;
    let mut show = Show { out: Out::stdout(), damage: DamageMet::at_opening(&store), width: width(), json: args.json };
    let sides = [args.one.as_str(), args.other.as_str()];
    show.summary(&parting, sides)?;
    if args.events {
        for (side, added) in sides.into_iter().zip(parting.added()) {
            if added > 0 {
                show.events(&store, side, Revision(parting.shared_events()))?;
            }
        }
    }
    show.out.flush()?;
    show.damage.outcome()
}

struct Show {
    out: Out,
    damage: DamageMet,
    width: Option<usize>,
    json: bool,
}

impl Show {
    fn summary(&mut self, parting: &Parting, sides: [&str; 2]) -> Outcome {
        let first = parting.shared_events();
        if self.json {
            let side = |number: usize| {
                let added = parting.added()[number];
                let (begin, end) = (first, parting.heads[number].get());
                SidePart {
                    stream: sides[number],
                    added,
                    first: (added > 0).then_some(begin),
                    last: (added > 0).then_some(end),
                }
            };
            return self.out.json(&Object {
                shared: parting.shared.as_ref().map(|(stream, revision)| SharedPart {
                    stream,
                    revision: revision.get(),
                    events: first,
                }),
                sides: [side(0), side(1)],
            });
        }
        let names = sides.map(|side| printable(side).into_owned());
        let wide = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("shared".len());
        let shared = match &parting.shared {
            Some((stream, revision)) => {
                format!("{}, up to {}@{revision}", counted(first, "event"), printable(stream))
            }
            None => "nothing".to_owned(),
        };
        self.out.line(format_args!("{:wide$}  {shared}", "shared"))?;
        for ((name, added), head) in names.iter().zip(parting.added()).zip(parting.heads) {
            let space = wide.saturating_sub(name.chars().count());
            let revisions = match added {
                0 => String::new(),
                1 => format!(", revision {head}"),
                _ => format!(", revisions {first}..={head}"),
            };
            self.out.line(format_args!("{name}{:space$}  {} added{revisions}", "", counted(added, "event")))?;
        }
        Ok(())
    }

    /// What a stream has added.
    fn events(&mut self, store: &Store, side: &str, first: Revision) -> Outcome {
        if !self.json {
            self.out.line(format_args!("\n{}", printable(side)))?;
        }
        let options = ReadOptions::new().from(first).visibility(Visibility::Committed);
        let mut reader = store.read_stream(side, options)?;
        while let Some(next) = reader.next() {
            match next {
                Ok(event) if self.json => {
                    self.out.json(&EventOfSide { side, event: Shown::from(&event).as_object() })?;
                }
                Ok(event) => Shown::from(&event).as_line(&mut self.out, false, self.width)?,
                Err(error) => {
                    // What comes before the damage is shown before the damage is told.
                    self.out.flush()?;
                    self.damage.take(error)?;
                }
            }
        }
        Ok(())
    }
}
