//! Prints what a snapshot costs to make, and a context to read, as the history grows.
//!
//! `cargo run --release -p treering-benches --bin contexts -- [--json] [--history N]... [DIR]`. Stores are built below DIR (default: the
//! target folder) and removed. Times are medians; the page cache is warm, since the store was just written.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use treering::{
    Batch, ContextOptions, Durability, Expected, NewEvent, NewSnapshot, Options, Revision, Store, Visibility,
};
use treering_benches::Outcome;
use treering_benches::engine::Mode;

const USAGE: &str = "\
usage: contexts [--json] [--history N]... [DIR]

  --json         one JSON object a store instead of a table
  --history N    events of the stream, may be given again (10000, 100000 and 1000000)
  DIR            where the stores are built (target/contexts)";

const PAYLOAD: [u8; 256] = [0x5A; 256];
/// Events that lie behind the snapshot.
const BEHIND: u64 = 100;
/// Readings of each kind.
const ROUNDS: usize = 200;
/// Openings.
const OPENINGS: usize = 15;

struct Arguments {
    is_json: bool,
    histories: Vec<u64>,
    directory: PathBuf,
}

impl Arguments {
    fn read(given: &mut dyn Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments =
            Arguments { is_json: false, histories: Vec::new(), directory: PathBuf::from("target/contexts") };
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--json" => arguments.is_json = true,
                "--history" => {
                    let value = given.next().and_then(|value| value.parse::<u64>().ok()).filter(|n| *n > 2 * BEHIND);
                    arguments.histories.push(value.ok_or("--history wants a number above 200")?);
                }
                option if option.starts_with('-') => return Err(format!("{option} is not known")),
                directory => arguments.directory = directory.into(),
            }
        }
        if arguments.histories.is_empty() {
            arguments.histories = vec![10_000, 100_000, 1_000_000];
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    treering_benches::program("contexts", USAGE, |given| Arguments::read(given), run)
}

/// What one store showed.
struct Figures {
    first_snapshot: Duration,
    next_snapshot: Duration,
    snapshot_bytes: u64,
    context: Duration,
    context_and_events: Duration,
    past: Duration,
    opened_and_read: Duration,
}

fn run(arguments: &Arguments) -> Outcome<()> {
    if !arguments.is_json {
        println!(
            "   events  first snapshot  a further one  its bytes     context  with events  at half    opened, read"
        );
    }
    for history in &arguments.histories {
        let folder = arguments.directory.join(history.to_string());
        let _ = std::fs::remove_dir_all(&folder);
        let figures = measure(&folder, *history)?;
        std::fs::remove_dir_all(&folder)?;
        let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
        if arguments.is_json {
            let object = json!({
                "events": history,
                "first_snapshot_us": micros(figures.first_snapshot),
                "next_snapshot_us": micros(figures.next_snapshot),
                "snapshot_bytes": figures.snapshot_bytes,
                "context_us": micros(figures.context),
                "context_and_events_us": micros(figures.context_and_events),
                "context_at_half_us": micros(figures.past),
                "opened_and_read_us": micros(figures.opened_and_read),
            });
            println!("{object}");
        } else {
            println!(
                "{history:9}  {:11.1} ms  {:10.1} us  {:9}  {:7.1} us  {:8.1} us  {:6.1} us  {:9.1} us",
                micros(figures.first_snapshot) / 1000.0,
                micros(figures.next_snapshot),
                figures.snapshot_bytes,
                micros(figures.context),
                micros(figures.context_and_events),
                micros(figures.past),
                micros(figures.opened_and_read),
            );
        }
    }
    Ok(())
}

fn measure(folder: &Path, history: u64) -> Outcome<Figures> {
    let store = Store::open(folder, Mode::Exclusive.options(Durability::Synced))?;
    let events = vec![NewEvent::new("t", &PAYLOAD); 1000];
    let mut left = history;
    while left > 0 {
        let some = &events[..left.min(1000) as usize];
        let _ = store.append(&Batch::to("s", Expected::Any, some).durability(Durability::Written))?;
        left -= some.len() as u64;
    }
    store.sync()?;
    let summary = [NewEvent::new("summary", "what was said")];
    let snapshot = |first: u64, end: u64| -> Outcome<(Duration, u64)> {
        let new = NewSnapshot::new("s", Revision(first)..Revision(end), "sum", &summary);
        let start = Instant::now();
        let made = store.snapshot(&new.durability(Durability::Written))?;
        Ok((start.elapsed(), made.receipt.end.get() - made.receipt.position.get()))
    };
    let (first_snapshot, snapshot_bytes) = snapshot(0, history - BEHIND - 20)?;
    let mut next = Vec::new();
    for step in 0..20 {
        next.push(snapshot(0, history - BEHIND - 20 + step + 1)?.0);
    }
    let committed = || ContextOptions::new().visibility(Visibility::Committed);
    let context = median(ROUNDS, || {
        let start = Instant::now();
        let context = store.context("s", committed())?;
        let time = start.elapsed();
        assert_eq!(context.len(), BEHIND + 1);
        Ok(time)
    })?;
    let read = |store: &Store| -> Outcome<()> {
        let context = store.context("s", committed())?;
        let (mut reader, mut count) = (context.read(), 0);
        while let Some(event) = reader.next() {
            count += u64::from(event?.payload().len() > 1);
        }
        assert_eq!(count, BEHIND + 1);
        Ok(())
    };
    let context_and_events = median(ROUNDS, || timed(|| read(&store)))?;
    let half = Revision(history / 2);
    let past = median(ROUNDS, || timed(|| Ok(store.context("s", committed().at(half)).map(drop)?)))?;
    store.close()?;
    let opened_and_read = median(OPENINGS, || timed(|| read(&Store::open_read_only(folder, Options::new())?)))?;
    let next_snapshot = middle(next);
    Ok(Figures { first_snapshot, next_snapshot, snapshot_bytes, context, context_and_events, past, opened_and_read })
}

fn timed(work: impl FnOnce() -> Outcome<()>) -> Outcome<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn median(rounds: usize, mut one: impl FnMut() -> Outcome<Duration>) -> Outcome<Duration> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        times.push(one()?);
    }
    Ok(middle(times))
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
