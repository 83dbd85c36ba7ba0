//! The worker of the demo: a process that knows nothing but the log.
//!
//! It opens the store, reads the session, and from that alone tells which step comes next; does it (the sample log stands
//! in for model and tools), appends the result with the head that it has read as the expected one, prints the receipt,
//! and goes on. It keeps no state of its own, so it may be killed at any instruction and any other may go on.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use treering::{Batch, Durability, Expected, NewEvent, Options, ReadOptions, Revision, Store, Visibility};

use crate::exit::Outcome;
use crate::import::record::{self, Format};
use crate::output::Out;

/// The session that the worker advances.
pub(super) const STREAM: &str = "6b30bc6d-525e-427f-a53d-9ec562ab9f18";
/// What model and tools would say, step by step.
pub(super) const SCRIPT: &str = include_str!("../../../samples/claude-code-session.jsonl");

/// Advance the session of the demo
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    /// How long a step takes, in milliseconds
    #[arg(long)]
    step_millis: u64,
    /// As one of a pool, for whatever agent has something to do
    #[arg(long)]
    pool: bool,
}

/// What the worker says about itself, one JSON object a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// What the log told it.
    PickedUp {
        /// Events found.
        events: u64,
        /// The type of the last one.
        last: Option<String>,
        /// Opening the store took so long.
        open_micros: u64,
    },
    /// A receipt.
    Appended {
        /// The revision of the event.
        revision: u64,
        /// Appending it took so long.
        micros: u64,
    },
}

/// Runs the worker until the script is done or it is killed.
pub(crate) fn run(args: Args) -> Outcome {
    if args.pool {
        return super::pool::work(&args.store, Duration::from_millis(args.step_millis));
    }
    let mut out = Out::stdout();
    let mut say = |said: Said| {
        out.json(&said)?;
        out.flush()
    };
    let started = Instant::now();
    let store = Store::open(&args.store, Options::new())?;
    let open_micros = started.elapsed().as_micros() as u64;
    let (events, last) = read(&store)?;
    say(Said::PickedUp { events, last, open_micros })?;
    let mut head = events.checked_sub(1).map(Revision);
    for line in SCRIPT.lines().skip(events as usize) {
        std::thread::sleep(Duration::from_millis(args.step_millis));
        let record = record::read(Format::ClaudeCode, line.as_bytes());
        let mut event = NewEvent::new(&record.event_type, line);
        if let Some(id) = &record.id {
            event = event.id(id);
        }
        let expected = head.map_or(Expected::NoStream, Expected::Exactly);
        let started = Instant::now();
        let receipt = store.append(&Batch::to(STREAM, expected, &[event]).durability(Durability::Synced))?;
        let micros = started.elapsed().as_micros() as u64;
        let revision = receipt.sections[0].last_revision;
        head = Some(revision);
        say(Said::Appended { revision: revision.get(), micros })?;
    }
    store.close()?;
    Ok(())
}

/// How far the session is, from the log alone.
fn read(store: &Store) -> Outcome<(u64, Option<String>)> {
    let (mut events, mut last) = (0, None);
    if store.stream(STREAM)?.is_some() {
        let mut reader = store.read_stream(STREAM, ReadOptions::new().visibility(Visibility::Durable))?;
        while let Some(event) = reader.next() {
            let event = event?;
            events += 1;
            last = Some(event.event_type().to_owned());
        }
    }
    Ok((events, last))
}
