//! `treering forks`: which stream was forked from which, as a tree.
//!
//! For programs the forks come flat, one object a line, each behind its parent. For people they are [drawn](draw).

mod draw;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use treering::{Revision, Store, StreamId, StreamInfo};

use crate::commands::cat::no_such_stream;
use crate::commands::show::DamageMet;
use crate::exit::Outcome;
use crate::opening;
use crate::output::Out;

/// Show the forks of a store, or of one stream, as a tree
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering forks s          every stream that has forks, and those below it
  treering forks s SESSION  one stream, and the forks below it
  treering forks s --json | jq -r 'select(.own_events == 0) | .stream'

`leaves at` says the parent and the last revision that both share; `own` counts the events behind \
that. Where many forks follow one another in one line, those in the middle are counted; --all \
shows them. What lies deep stands in a tree of its own below. --json is flat: one object for each \
fork, parents before their forks.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// The stream to begin with
    stream: Option<String>,
    /// Leave no fork out
    #[arg(long)]
    all: bool,
    /// One JSON object a line, for each fork
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    stream: &'a str,
    id: u64,
    parent: &'a str,
    parent_id: u64,
    /// The last revision that it shares with its parent.
    revision: u64,
    /// How many forks lie between it and a stream that is none.
    depth: u64,
    /// With those that it shares.
    events: u64,
    own_events: u64,
    head_known: bool,
}

/// A stream that is a fork or has forks.
struct Node {
    name: Arc<str>,
    id: StreamId,
    /// Of a fork: its parent, what that is called, and the last revision that both share.
    leaves: Option<(StreamId, Arc<str>, Revision)>,
    depth: u64,
    events: u64,
    own_events: u64,
    head_known: bool,
    /// Where in the family its forks are, oldest first.
    forks: Vec<usize>,
}

impl Node {
    fn of(stream: StreamInfo) -> Node {
        let events = stream.last_event.get() + 1;
        Node {
            own_events: events.saturating_sub(stream.first.get()),
            name: stream.name,
            id: stream.id,
            leaves: None,
            depth: 0,
            events,
            head_known: stream.is_head_known,
            forks: Vec::new(),
        }
    }
}

/// All that is to be shown, parents before their forks.
struct Family {
    nodes: Vec<Node>,
    /// Those that are drawn at the left.
    roots: Vec<usize>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = opening::for_reading(&args.store)?;
    let mut damage = DamageMet::at_opening(&store);
    let family = gather(&store, args.stream.as_deref(), &mut damage)?;
    let mut out = Out::stdout();
    if args.json {
        for node in &family.nodes {
            let Some((parent, parent_name, revision)) = &node.leaves else { continue };
            out.json(&Row {
                stream: &node.name,
                id: node.id.get(),
                parent: parent_name,
                parent_id: parent.get(),
                revision: revision.get(),
                depth: node.depth,
                events: node.events,
                own_events: node.own_events,
                head_known: node.head_known,
            })?;
        }
    } else if family.roots.is_empty() {
        out.line("no forks")?;
    } else {
        draw::draw(&family, args.all, &mut out)?;
    }
    out.flush()?;
    damage.outcome()
}

/// The streams that are forks or have some; those of one stream where one is named, and that itself.
fn gather(store: &Store, below: Option<&str>, damage: &mut DamageMet) -> Outcome<Family> {
    let below = match below {
        Some(name) => Some(store.stream(name)?.ok_or_else(|| no_such_stream(store, name))?.id),
        None => None,
    };
    let mut nodes: Vec<Node> = Vec::new();
    // In the order of their making a parent comes before its forks.
    let mut places: HashMap<StreamId, usize> = HashMap::new();
    for stream in store.streams()? {
        let is_fork = stream.first.get() > 0;
        let mut node = Node::of(stream);
        if is_fork && let Some(Some(point)) = damage.or_none(store.fork_point(&node.name))? {
            node.leaves = Some((point.parent, point.parent_name, point.revision));
            node.depth = point.depth;
        }
        let above = node.leaves.as_ref().and_then(|(parent, ..)| places.get(parent)).copied();
        if below.is_some() && above.is_none() && below != Some(node.id) {
            continue;
        }
        places.insert(node.id, nodes.len());
        if let Some(above) = above {
            let place = nodes.len();
            nodes[above].forks.push(place);
        }
        nodes.push(node);
    }
    let is_below = |node: &Node| node.leaves.as_ref().is_some_and(|(parent, ..)| places.contains_key(parent));
    let is_shown = |node: &Node| !node.forks.is_empty() || node.leaves.is_some() || below == Some(node.id);
    let roots = (0..nodes.len()).filter(|place| !is_below(&nodes[*place]) && is_shown(&nodes[*place])).collect();
    Ok(Family { nodes, roots })
}
