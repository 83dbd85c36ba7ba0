//! `treering export`: events as JSON lines with every field, for other tools and other stores.
//!
//! All streams come in the order of the log; named ones come one after the other. Either way the events of a stream come
//! in its order, so [`crate::commands::import`] takes them back with their revisions.
//!
//! A fork is a line of its own, behind the last event that it shares and before the first of its own; what it shares comes once. So is
//! a snapshot, with its events in it; states of projections and places of consumers are of this store, and stay.
//! Of named streams those events come too that they share with others. A fork then names as its parent the stream that has its
//! history, where the one that it was forked from does not come itself.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use treering::{
    Event, EventRef, ForkPoint, ReadAllOptions, ReadOptions, Revision, Snapshot, Store, Visibility, limits,
};

use crate::commands::cat::{moment, no_such_stream};
use crate::commands::show::{DamageMet, Shown};
use crate::commands::wanted::visibility;
use crate::event_json::{ExportedSnapshot, ForkLine};
use crate::exit::Outcome;
use crate::opening;
use crate::output::{Out, bytes_bar};

/// Write events as JSON lines, with every field
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering export s > all.jsonl  the whole store, in the order of the log
  treering export s SESSION OTHER > two.jsonl
                                 two streams, one after the other
  treering export s --at 2026-02-12 > then.jsonl
                                 as it was when that day began (UTC)
  treering import new all.jsonl  and back: ids, times and revisions are equal

A fork is a line {\"fork\":…,\"parent\":…,\"revision\":…}; what it shares with its parent comes \
once. A snapshot is a line {\"snapshot\":LABEL,\"of\":…,\"range\":[…],\"events\":[…]}. Places of \
consumers (cursors) stay with their store. Payload and metadata are strings where they are UTF-8, \
else payload_base64 and metadata_base64. Times are integers, nanoseconds since 1970 UTC.

Shows what is committed; --durable leaves out what a power loss could still take.")]
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
    let store = opening::for_reading(&args.store)?;
    let mut out = Out::stdout();
    let mut damage = DamageMet::at_opening(&store);
    let visibility = visibility(args.durable);
    let at = args.at.map(|time| store.end_at(time, visibility)).transpose()?;
    let (mut all, mut one) = (ReadAllOptions::new().visibility(visibility), ReadOptions::new().visibility(visibility));
    if let Some(at) = at {
        (all, one) = (all.at(at), one.at(at));
    }
    let end = at.unwrap_or(match args.durable {
        true => store.watermarks().durable,
        false => store.watermarks().committed,
    });
    if args.streams.is_empty() {
        let bar = bytes_bar(end.get());
        // Each where it was made: a parent's shared events and the parent itself come before it.
        let mut beside = all_beside(&store, end.get(), &mut damage)?.into_iter().peekable();
        let mut reader = store.read_all(all)?;
        let mut events: u64 = 0;
        while let Some(next) = reader.next() {
            match next {
                Ok(event) => {
                    events += 1;
                    if events.is_multiple_of(1024) {
                        bar.set_position(event.position().get());
                    }
                    while let Some(made) = beside.next_if(|made| made.position() < event.position().get()) {
                        made.tell(&store, &mut out)?;
                    }
                    Shown::from(&event).without_token().as_json(&mut out)?;
                }
                Err(error) => damage.take(error)?,
            }
        }
        for made in beside {
            made.tell(&store, &mut out)?;
        }
        bar.finish_and_clear();
    }
    let mut named = Named::default();
    for name in &args.streams {
        if store.stream(name)?.is_none() {
            // What was asked for and is there comes all the same.
            out.flush()?;
            return Err(no_such_stream(&store, name));
        }
        let mut reader = store.read_stream(name, one)?;
        let mut before: Option<String> = None;
        while let Some(next) = reader.next() {
            match next {
                Ok(event) => named.event(&store, &event, &mut before, &mut out)?,
                Err(error) => damage.take(error)?,
            }
        }
        named.fork(&store, name, before.as_deref(), &mut out)?;
        let mut snapshots = snapshots_of(&store, name, end.get(), &mut damage)?;
        snapshots.sort_by_key(Beside::position);
        snapshots.iter().try_for_each(|made| made.tell(&store, &mut out))?;
    }
    out.flush()?;
    damage.outcome()
}

/// What has a line of its own between events.
enum Beside {
    Fork(ForkPoint),
    /// Of the stream of that name.
    Snapshot(String, Snapshot),
}

impl Beside {
    fn position(&self) -> u64 {
        match self {
            Beside::Fork(fork) => fork.stream.get(),
            Beside::Snapshot(_, snapshot) => snapshot.position.get(),
        }
    }

    fn tell(&self, store: &Store, out: &mut Out) -> Outcome {
        match self {
            Beside::Fork(fork) => out.json(&line_of(fork, &fork.parent_name)),
            Beside::Snapshot(of, snapshot) => {
                let Snapshot { stream, events, range, label, version, .. } = snapshot;
                let mut held: Vec<Event> = Vec::new();
                for revision in events.start.get()..events.end.get() {
                    held.extend(store.event(stream, Revision(revision), Visibility::Committed)?);
                }
                let events = held.iter().map(|event| Shown::from(event).without_token().as_object());
                out.json(&ExportedSnapshot {
                    snapshot: label,
                    version,
                    of,
                    range: [range.start.get(), range.end.get()],
                    events: events.collect(),
                })
            }
        }
    }
}

/// All forks and snapshots below a position, in the order of the log.
fn all_beside(store: &Store, end: u64, damage: &mut DamageMet) -> Outcome<Vec<Beside>> {
    let forks = store.forks()?.into_iter().filter(|fork| fork.stream.get() < end).map(Beside::Fork);
    let mut all: Vec<Beside> = forks.collect();
    let sides = store.streams_with_prefix(limits::SNAPSHOT_PREFIX)?;
    let sources: HashSet<u64> = sides.iter().filter_map(|side| source_of(&side.name)).collect();
    if !sources.is_empty() {
        for source in store.streams()?.iter().filter(|stream| sources.contains(&stream.id.get())) {
            all.append(&mut snapshots_of(store, &source.name, end, damage)?);
        }
    }
    all.sort_by_key(Beside::position);
    Ok(all)
}

/// The stream whose snapshots lie in a stream of this name.
fn source_of(side: &str) -> Option<u64> {
    u64::from_str_radix(side.strip_prefix(limits::SNAPSHOT_PREFIX)?.split_once('/')?.0, 16).ok()
}

/// The snapshots of a stream below a position, but for states of projections. Those that are lost are told.
fn snapshots_of(store: &Store, name: &str, end: u64, damage: &mut DamageMet) -> Outcome<Vec<Beside>> {
    let mut found = Vec::new();
    for snapshot in store.snapshots(name)? {
        match snapshot {
            Ok(one) if one.position.get() >= end || one.label.starts_with(limits::RESERVED_NAME_PREFIX) => {}
            Ok(one) => found.push(Beside::Snapshot(name.to_owned(), one)),
            Err(ignored) => damage.take(ignored.why)?,
        }
    }
    Ok(found)
}

fn line_of(fork: &ForkPoint, parent: &str) -> ForkLine {
    ForkLine { fork: (*fork.name).to_owned(), parent: parent.to_owned(), revision: fork.revision.get() }
}

/// What came so far of named streams: how many revisions of each, those that it shares counted.
#[derive(Debug, Default)]
struct Named {
    came: HashMap<String, u64>,
}

impl Named {
    /// An event of a stream that was asked for, which may be shared, and may have come.
    fn event(&mut self, store: &Store, event: &EventRef<'_>, before: &mut Option<String>, out: &mut Out) -> Outcome {
        let (stream, revision) = (event.stream(), event.revision().get());
        if before.as_deref() != Some(stream) {
            self.fork(store, stream, before.as_deref(), out)?;
            *before = Some(stream.to_owned());
        }
        let came = self.came.entry(stream.to_owned()).or_default();
        if revision < *came {
            return Ok(());
        }
        *came = revision + 1;
        Shown::from(event).without_token().as_json(out)
    }

    /// Says that a stream is a fork, where it is one and that was not said; `holder` is the stream that has its history.
    fn fork(&mut self, store: &Store, name: &str, holder: Option<&str>, out: &mut Out) -> Outcome {
        if self.came.contains_key(name) {
            return Ok(());
        }
        let (Some(fork), Some(holder)) = (store.fork_point(name)?, holder) else { return Ok(()) };
        let revision = fork.revision.get();
        let has_parent = self.came.get(&*fork.parent_name).is_some_and(|came| *came > revision);
        self.came.insert(name.to_owned(), revision + 1);
        out.json(&line_of(&fork, if has_parent { &fork.parent_name } else { holder }))
    }
}
