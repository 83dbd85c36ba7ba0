//! Prints what a fork costs, and what reading through a deep lineage costs beside a flat stream.
//!
//! `cargo run --release -p treering-benches --bin forks -- [--json] [--history N]... [--level N]... [--depth N] [DIR]`. Stores are built
//! below DIR (default: the target folder) and removed. Times are medians; the page cache is warm, since the store was just written.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use treering::{Batch, Durability, Expected, Fork, NewEvent, ReadOptions, Revision, Store, Visibility};
use treering_benches::Outcome;
use treering_benches::engine::Mode;

const USAGE: &str = "\
usage: forks [--json] [--history N]... [--level N]... [--depth N] [DIR]

  --json         one JSON object a store instead of a table
  --history N    events of the stream that is forked, may be given again (10 and 1000000)
  --level N      events that each fork of a lineage adds, may be given again (1, 10 and 100)
  --depth N      how deep the lineage is (10000)
  DIR            where the stores are built (target/forks)";

const PAYLOAD: [u8; 256] = [0x5A; 256];
/// Forks of one kind, of which the median counts.
const FORKS: usize = 2000;
/// Readings of each kind, in turn.
const ROUNDS: usize = 7;

struct Arguments {
    is_json: bool,
    histories: Vec<u64>,
    levels: Vec<u64>,
    depth: u64,
    directory: PathBuf,
}

impl Arguments {
    fn read(given: &mut dyn Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments {
            is_json: false,
            histories: Vec::new(),
            levels: Vec::new(),
            depth: 10_000,
            directory: PathBuf::from("target/forks"),
        };
        while let Some(argument) = given.next() {
            let mut number = || {
                let value = given.next().and_then(|value| value.parse::<u64>().ok()).filter(|value| *value > 0);
                value.ok_or_else(|| format!("{argument} wants a number of at least 1"))
            };
            match argument.as_str() {
                "--json" => arguments.is_json = true,
                "--history" => arguments.histories.push(number()?),
                "--level" => arguments.levels.push(number()?),
                "--depth" => arguments.depth = number()?,
                option if option.starts_with('-') => return Err(format!("{option} is not known")),
                directory => arguments.directory = directory.into(),
            }
        }
        if arguments.histories.is_empty() && arguments.levels.is_empty() {
            (arguments.histories, arguments.levels) = (vec![10, 1_000_000], vec![1, 10, 100]);
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    treering_benches::program("forks", USAGE, |given| Arguments::read(given), run)
}

type Row = (String, f64, &'static str);

fn run(arguments: &Arguments) -> Outcome<()> {
    for events in &arguments.histories {
        let rows = in_store(&arguments.directory, |store| forking(store, *events, arguments.depth))?;
        show(arguments.is_json, &format!("a stream of {events} events of 256 bytes, forked"), &rows)?;
    }
    for level in &arguments.levels {
        let rows = in_store(&arguments.directory, |store| reading(store, *level, arguments.depth))?;
        let what = format!("a lineage {} deep, of {level} events of 256 bytes each, read", arguments.depth);
        show(arguments.is_json, &what, &rows)?;
    }
    Ok(())
}

/// A store that is removed once it was measured.
fn in_store(directory: &Path, measure: impl FnOnce(&Store) -> Outcome<Vec<Row>>) -> Outcome<Vec<Row>> {
    let path = directory.join(format!("store-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path)?;
    let store = Store::open(&path, Mode::Exclusive.options(Durability::Written))?;
    let measured = measure(&store);
    store.close()?;
    std::fs::remove_dir_all(&path)?;
    measured
}

fn append(store: &Store, name: &str, events: u64) -> Outcome<()> {
    let event = [NewEvent::new("step", &PAYLOAD[..])];
    for _ in 0..events {
        let _ = store.append(&Batch::to(name, Expected::Any, &event))?;
    }
    Ok(())
}

fn fork(store: &Store, parent: &str, name: &str, at: Option<u64>) -> Outcome<Duration> {
    let fork = Fork::new(parent, name);
    let fork = at.map_or(fork, |at| fork.at(Revision(at)));
    let start = Instant::now();
    let _ = store.fork(&fork)?;
    Ok(start.elapsed())
}

/// What forks cost of a stream of so many events: at its head, anywhere in it, and at the end of a deep lineage.
fn forking(store: &Store, events: u64, depth: u64) -> Outcome<Vec<Row>> {
    append(store, "history", events)?;
    let mut rows = Vec::new();
    let mut random = 7u64;
    let begin = store.watermarks().committed.0;
    let at_head = median((0..FORKS).map(|number| fork(store, "history", &format!("head {number}"), None)))?;
    let end = store.watermarks().committed.0;
    rows.push(("a fork at the head".to_owned(), micros(at_head), "us"));
    rows.push(("log bytes a fork, index blocks with it".to_owned(), (end - begin) as f64 / FORKS as f64, "B"));
    let anywhere = median((0..FORKS).map(|number| {
        random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        fork(store, "history", &format!("any {number}"), Some((random >> 33) % events))
    }))?;
    rows.push(("a fork anywhere".to_owned(), micros(anywhere), "us"));
    // Each of the fork before, with an event of its own: the deep ones are timed at the end.
    let (mut parent, mut deep) = ("history".to_owned(), Vec::new());
    for number in 1..=depth {
        let name = format!("deep {number}");
        let time = fork(store, &parent, &name, None)?;
        append(store, &name, 1)?;
        deep.push(Ok(time));
        parent = name;
    }
    let last = deep.split_off(deep.len().saturating_sub(FORKS));
    rows.push((format!("a fork at the head, {depth} deep"), micros(median(last.into_iter())?), "us"));
    let begin = store.watermarks().committed.0;
    let again = median((0..FORKS).map(|number| fork(store, &parent, &format!("leaf {number}"), Some(0))))?;
    let end = store.watermarks().committed.0;
    rows.push((format!("a fork at revision 0, {depth} deep"), micros(again), "us"));
    rows.push((format!("log bytes a fork, {depth} deep"), (end - begin) as f64 / FORKS as f64, "B"));
    Ok(rows)
}

/// What it costs to read a lineage of so many forks with so many events each, beside a stream that holds as many.
fn reading(store: &Store, level: u64, depth: u64) -> Outcome<Vec<Row>> {
    let mut newest = "lineage 0".to_owned();
    append(store, &newest, level)?;
    for number in 1..depth {
        let name = format!("lineage {number}");
        let _ = fork(store, &newest, &name, None)?;
        append(store, &name, level)?;
        newest = name;
    }
    append(store, "flat", level * depth)?;
    let mut rows = Vec::new();
    for is_backwards in [false, true] {
        let (mut flat, mut deep) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            flat.push(read(store, "flat", is_backwards, level * depth)?);
            deep.push(read(store, &newest, is_backwards, level * depth)?);
        }
        let way = if is_backwards { "backwards" } else { "forwards" };
        let mut each = Vec::new();
        for (times, what) in [(flat, "flat"), (deep, "lineage")] {
            let first = median(times.iter().map(|(first, _)| Ok(*first)))?;
            let rest = median(times.iter().map(|(_, rest)| Ok(*rest)))?;
            let nanos = rest.as_nanos() as f64 / (level * depth - 1).max(1) as f64;
            rows.push((format!("{way}, {what}: to the first event"), micros(first), "us"));
            rows.push((format!("{way}, {what}: each event behind it"), nanos, "ns"));
            each.push(nanos);
        }
        rows.push((format!("{way}: lineage / flat (at most 2 wanted)"), each[1] / each[0], "x"));
    }
    Ok(rows)
}

/// The time to the first event, and from there to the last.
fn read(store: &Store, name: &str, is_backwards: bool, expected: u64) -> Outcome<(Duration, Duration)> {
    let options = ReadOptions::new().visibility(Visibility::Committed);
    let options = if is_backwards { options.backwards() } else { options };
    let start = Instant::now();
    let mut reader = store.read_stream(name, options)?;
    let mut count = 0;
    let mut first = None;
    while let Some(event) = reader.next() {
        std::hint::black_box(event?.payload().len());
        count += 1;
        if count == 1 {
            first = Some(start.elapsed());
        }
    }
    let all = start.elapsed();
    match first {
        Some(first) if count == expected => Ok((first, all - first)),
        _ => Err(format!("{name:?} has {count} events, not {expected}").into()),
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(times: impl Iterator<Item = Outcome<Duration>>) -> Outcome<Duration> {
    let mut times = times.collect::<Outcome<Vec<_>>>()?;
    times.sort_unstable();
    times.get(times.len() / 2).copied().ok_or_else(|| "nothing was timed".into())
}

fn show(is_json: bool, what: &str, rows: &[Row]) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    if is_json {
        let rows: Vec<Value> =
            rows.iter().map(|(what, value, unit)| json!({ "what": what, "value": value, "unit": unit })).collect();
        writeln!(out, "{}", json!({ "what": what, "rows": rows }))?;
        return Ok(());
    }
    writeln!(out, "{what}")?;
    for (what, value, unit) in rows {
        writeln!(out, "  {what:<42} {value:>10.2} {unit}")?;
    }
    Ok(())
}
