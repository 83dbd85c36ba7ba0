//! Prints what it costs to open stores of growing size, to append to them and to find things in them.
//!
//! `cargo run --release -p treering-benches --bin history -- [--json] [--only PART]... [--events N]... [--streams N] [--bytes N]
//! [DIR]`. Each store is built once and kept below DIR (default: the target folder), so that a second run begins at once. Times are medians; the
//! page cache is warm, since the store was just written or read through.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use treering::storage::os::OsStorage;
use treering::{Batch, Durability, Event, Expected, NewEvent, Options, ReadOptions, Revision, Store, Visibility};
use treering_benches::engine::Mode;
use treering_benches::floor::Frames;
use treering_benches::{Outcome, finish, program};

const USAGE: &str = "\
usage: history [--json] [--only PART]... [--events N]... [--streams N] [--bytes N] [DIR]

  --json         one JSON object a store instead of a table
  --only PART    opening, appending, finding or reading, may be given again (all)
  --events N     size of a store, may be given again (1000000 and 10000000)
  --streams N    streams over which they are spread (a hundredth of the events)
  --bytes N      payload of an event (256)
  DIR            where the stores are built and kept (target/history)";

/// The argument with which the program calls itself to be killed.
const KILLED_CHILD: &str = "--killed-child";
/// Openings, of which the median counts.
const OPENINGS: usize = 15;
/// Reads of each kind.
const READS: usize = 2000;
/// Events at the end of a stream.
const LAST: u64 = 50;
/// Events of the store beside which appends are measured.
const SMALL_EVENTS: u64 = 1000;
/// Streams that are read as a whole.
const WHOLE: u64 = 300;
/// Reads that do not count end after it, those that count after twice the time.
const PAIRS_TIME: Duration = Duration::from_secs(10);
/// The most frames of a floor.
const FLOOR_EVENTS_MAX: u64 = 10_000_000;

/// What can be measured by itself.
const PARTS: [&str; 4] = ["opening", "appending", "finding", "reading"];

struct Arguments {
    is_json: bool,
    only: Vec<String>,
    events: Vec<u64>,
    streams: Option<u64>,
    bytes: usize,
    directory: PathBuf,
}

impl Arguments {
    fn read(given: &mut dyn Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments {
            is_json: false,
            only: Vec::new(),
            events: Vec::new(),
            streams: None,
            bytes: 256,
            directory: PathBuf::from("target/history"),
        };
        while let Some(argument) = given.next() {
            let mut number = || {
                let value = given.next().and_then(|value| value.parse::<u64>().ok()).filter(|value| *value > 0);
                value.ok_or_else(|| format!("{argument} wants a number of at least 1"))
            };
            match argument.as_str() {
                "--json" => arguments.is_json = true,
                "--only" => {
                    let part = given.next().filter(|part| PARTS.contains(&part.as_str()));
                    arguments.only.push(part.ok_or_else(|| format!("--only wants one of {}", PARTS.join(", ")))?);
                }
                "--events" => arguments.events.push(number()?),
                "--streams" => arguments.streams = Some(number()?),
                "--bytes" => arguments.bytes = number()? as usize,
                option if option.starts_with('-') => return Err(format!("{option} is not known")),
                directory => arguments.directory = directory.into(),
            }
        }
        if arguments.events.is_empty() {
            arguments.events = vec![1_000_000, 10_000_000];
        }
        Ok(arguments)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }
}

fn main() -> ExitCode {
    let mut given = std::env::args().skip(1);
    if given.next().is_some_and(|first| first == KILLED_CHILD) {
        return finish("history", be_killed(Path::new(&given.next().unwrap_or_default())));
    }
    program("history", USAGE, |given| Arguments::read(given), run)
}

fn run(arguments: &Arguments) -> Outcome<()> {
    for events in &arguments.events {
        let streams = arguments.streams.unwrap_or((events / 100).max(1));
        let name = format!("{events}-{streams}-{}", arguments.bytes);
        let path = arguments.directory.join(name);
        build(&path, *events, streams, arguments.bytes)?;
        let measured = measure(&path, *events, streams, arguments)?;
        show(arguments.is_json, *events, streams, arguments.bytes, &measured)?;
    }
    Ok(())
}

fn name_of(stream: u64) -> String {
    format!("agent/{stream:08}")
}

/// Builds a store where there is none of that size: events one a frame, stream after stream in turn.
fn build(path: &Path, events: u64, streams: u64, bytes: usize) -> Outcome<()> {
    let done = path.with_extension("built");
    if done.exists() {
        return Ok(());
    }
    let _ = std::fs::remove_dir_all(path);
    std::fs::create_dir_all(path)?;
    let store = Store::open(path, Mode::Exclusive.options(Durability::Written))?;
    let names: Vec<String> = (0..streams).map(name_of).collect();
    let mut payload = vec![0x5A; bytes];
    for number in 0..events {
        if number % 200_000 == 0 {
            eprint!("\rbuilding {}: {} %", path.display(), number * 100 / events);
        }
        let head = number.to_le_bytes();
        let len = head.len().min(bytes);
        payload[..len].copy_from_slice(&head[..len]);
        let event = [NewEvent::new("step", &payload[..])];
        let _ = store.append(&Batch::to(&names[(number % streams) as usize], Expected::Any, &event))?;
    }
    eprintln!("\rbuilding {}: done ", path.display());
    store.close()?;
    wait_for_indexes(path)?;
    std::fs::write(done, b"")?;
    Ok(())
}

/// What is made in the background is made by a writer that has nothing else to do.
fn wait_for_indexes(path: &Path) -> Outcome<()> {
    let store = Store::open(path, Mode::Exclusive.options(Durability::Synced))?;
    let until = Instant::now() + Duration::from_secs(600);
    loop {
        let stat = store.stat()?;
        let finished = stat.segments.saturating_sub(1);
        if stat.sealed_segments >= finished && stat.indexed_segments >= finished {
            break;
        }
        if Instant::now() > until {
            return Err("the background work did not end within ten minutes".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    store.close()?;
    Ok(())
}

type Row = (&'static str, f64, &'static str);

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn measure(path: &Path, events: u64, streams: u64, arguments: &Arguments) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    if arguments.wants("opening") {
        rows.push(("open to first append, closed before", micros(opening(path, false)?), "us"));
        rows.push(("open to first append, killed before", micros(opening(path, true)?), "us"));
        rows.push(("open for reading", micros(median(OPENINGS, || opening_to_read(path))?), "us"));
    }
    let store = Store::open(path, Mode::Exclusive.options(Durability::Synced))?;
    let mut random = Random(7);
    if arguments.wants("appending") {
        rows.extend(beside_small(&store, path, streams)?);
    }
    if arguments.wants("finding") {
        let first = median(READS, || last(&store, &name_of(random.below(streams))))?;
        rows.push(("last 50 of a stream, the first time", micros(first), "us"));
        let stat = store.stat()?;
        let derived = stat.index_bytes + stat.directory.map_or(0, |directory| directory.bytes);
        rows.push(("derived files, of the log", derived as f64 * 100.0 / stat.bytes as f64, "%"));
        rows.push(("memory beside mapped files", own_memory()? as f64 / (1 << 20) as f64, "MiB"));
        rows.push(("segments", stat.segments as f64, ""));
    }
    if arguments.wants("reading") {
        rows.extend(beside_floor(&store, path, events, streams)?);
    }
    store.close()?;
    Ok(rows)
}

/// Appends beside those to a store of [`SMALL_EVENTS`], in turn with them: to any stream, most of which this process has not met
/// yet, and to some that are in use.
fn beside_small(store: &Store, path: &Path, streams: u64) -> Outcome<Vec<Row>> {
    let small_streams = SMALL_EVENTS / 100;
    let small_path = path.with_extension("small");
    let _ = std::fs::remove_dir_all(&small_path);
    std::fs::create_dir_all(&small_path)?;
    let small = Store::open(&small_path, Mode::Exclusive.options(Durability::Synced))?;
    for number in 0..SMALL_EVENTS {
        append(&small, &name_of(number % small_streams), Durability::Written)?;
    }
    let mut random = Random(7);
    let mut rows = Vec::new();
    let mut row = |names: [&'static str; 3], of: u64, level: Durability, count: usize, skipped: usize| -> Outcome<()> {
        let [here, there] = pairs(count, skipped, || {
            let stream = random.below(of);
            let there = append(&small, &name_of(stream % small_streams), level)?;
            Ok([append(store, &name_of(stream), level)?, there])
        })?;
        rows.push((names[0], micros(here), "us"));
        rows.push((names[1], micros(there), "us"));
        rows.push((names[2], micros(here) / micros(there), "x"));
        Ok(())
    };
    let small_row = "  of 1,000 events in all";
    let over = "  over it";
    row(["append to any stream, Synced", small_row, over], streams, Durability::Synced, 1000, 10)?;
    row(["append to any stream, Written", small_row, over], streams, Durability::Written, 20_000, 10)?;
    let some = streams.min(200);
    row(["append to one of 200 streams, Synced", small_row, over], some, Durability::Synced, 1000, 400)?;
    row(["append to one of 200 streams, Written", small_row, over], some, Durability::Written, 20_000, 2_000)?;
    small.close()?;
    std::fs::remove_dir_all(&small_path)?;
    Ok(rows)
}

/// Reads beside their floors, each in turn with the same of a table of offsets in memory: as many frames of one event of 256 bytes,
/// up to [`FLOOR_EVENTS_MAX`]. What is *warm* was read before; *anywhere* is what hardly was.
fn beside_floor(store: &Store, path: &Path, events: u64, streams: u64) -> Outcome<Vec<Row>> {
    let storage = OsStorage::open(path.parent().ok_or("the store lies nowhere")?)?;
    let each = events / streams;
    let floor_streams = streams.min(FLOOR_EVENTS_MAX / each);
    let floor = Frames::write(&storage, (floor_streams * each) as usize, 1)?;
    let frame_of = |stream: u64, revision: u64| (revision * floor_streams + stream % floor_streams) as usize;
    let some = 200.min(floor_streams);
    let mut random = Random(11);
    let mut rows = Vec::new();
    let mut row = |names: [&'static str; 3], unit: &'static str, parts: f64, [engine, floor]: [Duration; 2]| {
        let time = |time: Duration| time.as_nanos() as f64 / parts / if unit == "us" { 1e3 } else { 1.0 };
        rows.push((names[0], time(engine), unit));
        rows.push((names[1], time(floor), unit));
        rows.push((names[2], time(engine) / time(floor), "x floor"));
    };
    let mut point = |of: u64, count: usize, skipped: usize| {
        pairs(count, skipped, || {
            let (stream, revision) = (random.below(of), random.below(each));
            let name = name_of(stream);
            let start = Instant::now();
            let event: Option<Event> = store.event(&name, Revision(revision), Visibility::Committed)?;
            std::hint::black_box(event.ok_or("an event is missing")?);
            let engine = start.elapsed();
            let start = Instant::now();
            let _ = floor.point(frame_of(stream, revision))?;
            Ok([engine, start.elapsed()])
        })
    };
    let names = ["one event of 200 streams, warm", "  its floor", "  over it"];
    row(names, "ns", 1.0, point(some, READS, 10 * READS)?);
    row(["one event anywhere", "  its floor", "  over it"], "ns", 1.0, point(streams, 10 * READS, 50 * READS)?);
    let few = LAST.min(each);
    let last_50 = pairs(READS, READS, || {
        let engine = last(store, &name_of(streams / 2))?;
        let start = Instant::now();
        floor.strided(frame_of(streams / 2, each - few), floor_streams as usize, few as usize)?;
        Ok([engine, start.elapsed()])
    })?;
    row(["last 50 of a stream, warm", "  its floor", "  over it"], "us", 1.0, last_50);
    let mut number = 0;
    let whole = pairs(5 * WHOLE as usize, WHOLE as usize, || {
        number += 1;
        let stream = number % WHOLE.min(floor_streams) * (floor_streams / WHOLE).max(1);
        let start = Instant::now();
        let options = ReadOptions::new().to(Revision(each - 1)).visibility(Visibility::Committed);
        let mut reader = store.read_stream(&name_of(stream), options)?;
        while let Some(event) = reader.next() {
            std::hint::black_box(event?.payload().len());
        }
        let engine = start.elapsed();
        let start = Instant::now();
        floor.strided(frame_of(stream, 0), floor_streams as usize, each as usize)?;
        Ok([engine, start.elapsed()])
    })?;
    row(["an event of a whole stream, warm", "  its floor", "  over it"], "ns", each as f64, whole);
    Ok(rows)
}

/// The median times of two that are done in turn, after so many that do not count; fewer of both where they take long.
fn pairs(count: usize, skipped: usize, mut once: impl FnMut() -> Outcome<[Duration; 2]>) -> Outcome<[Duration; 2]> {
    let begun = Instant::now();
    for _ in (0..skipped).take_while(|_| begun.elapsed() < PAIRS_TIME) {
        let _ = once()?;
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in (0..count).take_while(|number| *number < 100 || begun.elapsed() < 2 * PAIRS_TIME) {
        let pair = once()?;
        times.iter_mut().zip(pair).for_each(|(times, time)| times.push(time));
    }
    Ok(times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    }))
}

/// Reads the last events of a stream.
fn last(store: &Store, name: &str) -> Outcome<Duration> {
    let start = Instant::now();
    let mut reader = store.read_stream(name, ReadOptions::new().last(LAST).visibility(Visibility::Committed))?;
    let mut count = 0;
    while let Some(event) = reader.next() {
        count += event?.payload().len();
    }
    std::hint::black_box(count);
    Ok(start.elapsed())
}

/// The median time from opening to the first append. The store was closed before, or its writer was killed at work.
fn opening(path: &Path, is_killed: bool) -> Outcome<Duration> {
    median(OPENINGS, || {
        if is_killed {
            let status = Command::new(std::env::current_exe()?).arg(KILLED_CHILD).arg(path).status()?;
            if status.success() {
                return Err("the writer that was to be killed ended by itself".into());
            }
        }
        let start = Instant::now();
        let store = Store::open(path, Mode::Exclusive.options(Durability::Synced))?;
        let time = start.elapsed() + append(&store, &name_of(1), Durability::Written)?;
        store.close()?;
        Ok(time)
    })
}

fn opening_to_read(path: &Path) -> Outcome<Duration> {
    let start = Instant::now();
    let store = Store::open_read_only(path, Options::new())?;
    let time = start.elapsed();
    drop(store);
    Ok(time)
}

/// Appends for a while, then dies without a word.
fn be_killed(path: &Path) -> Outcome<()> {
    let store = Store::open(path, Mode::Exclusive.options(Durability::Synced))?;
    for number in 0..3000 {
        append(
            &store,
            &name_of(number % 50),
            if number % 100 == 0 { Durability::Synced } else { Durability::Written },
        )?;
    }
    std::process::abort();
}

fn append(store: &Store, name: &str, level: Durability) -> Outcome<Duration> {
    let event = [NewEvent::new("step", &[0x5A; 256][..])];
    let start = Instant::now();
    let _ = store.append(&Batch::to(name, Expected::Any, &event).durability(level))?;
    Ok(start.elapsed())
}

fn median(count: usize, mut once: impl FnMut() -> Outcome<Duration>) -> Outcome<Duration> {
    let mut times = (0..count).map(|_| once()).collect::<Outcome<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// Memory of this process that is no page of a file, in bytes.
fn own_memory() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("the system does not say")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (self.0 >> 33) % bound
    }
}

fn show(is_json: bool, events: u64, streams: u64, bytes: usize, rows: &[(&str, f64, &str)]) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    if is_json {
        let rows: Vec<Value> =
            rows.iter().map(|(what, value, unit)| json!({ "what": what, "value": value, "unit": unit })).collect();
        writeln!(out, "{}", json!({ "events": events, "streams": streams, "payload_bytes": bytes, "rows": rows }))?;
        return Ok(());
    }
    writeln!(out, "{events} events of {bytes} bytes, {streams} streams")?;
    for (what, value, unit) in rows {
        let digits = if unit.starts_with('x') { 2 } else { 1 };
        writeln!(out, "  {what:<42} {value:>10.digits$} {unit}")?;
    }
    Ok(())
}
