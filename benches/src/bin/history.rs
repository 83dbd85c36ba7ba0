//! Prints what it costs to open stores of growing size, to append to them and to find things in them.
//!
//! `cargo run --release -p treering-benches --bin history -- [--json] [--events N]... [--streams N] [--bytes N] [DIR]`. Each
//! store is built once and kept below DIR (default: the target folder), so that a second run begins at once. Times are medians; the
//! page cache is warm, since the store was just written or read through.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use treering::{Batch, Durability, Event, Expected, NewEvent, Options, ReadOptions, Revision, Store, Visibility};
use treering_benches::{Failure, Outcome, finish, program};

const USAGE: &str = "\
usage: history [--json] [--events N]... [--streams N] [--bytes N] [DIR]

  --json         one JSON object a store instead of a table
  --events N     size of a store, may be given again (1000000 and 10000000)
  --streams N    streams over which they are spread (a hundredth of the events)
  --bytes N      payload of an event (256)
  DIR            where the stores are built and kept (target/history)";

/// The argument with which the program calls itself to be killed.
const KILLED_CHILD: &str = "--killed-child";
/// Openings, of which the median counts.
const OPENINGS: usize = 15;
/// Reads of each kind.
const READS: u64 = 2000;

struct Arguments {
    is_json: bool,
    events: Vec<u64>,
    streams: Option<u64>,
    bytes: usize,
    directory: PathBuf,
}

impl Arguments {
    fn read(given: &mut dyn Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments {
            is_json: false,
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
        let measured = measure(&path, streams)?;
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
    let store = Store::open(path, Options::new().durability(Durability::Written))?;
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
    let store = Store::open(path, Options::new())?;
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

fn measure(path: &Path, streams: u64) -> Outcome<Vec<(&'static str, f64, &'static str)>> {
    let mut rows = Vec::new();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    rows.push(("open to first append, closed before", micros(opening(path, false)?), "us"));
    rows.push(("open to first append, killed before", micros(opening(path, true)?), "us"));
    rows.push((
        "open for reading",
        micros(median(OPENINGS, || {
            let start = Instant::now();
            let store = Store::open_read_only(path, Options::new())?;
            let time = start.elapsed();
            drop(store);
            Ok(time)
        })?),
        "us",
    ));
    let store = Store::open(path, Options::new())?;
    let mut random = Random(7);
    let synced = median(300, || append(&store, &name_of(random.below(streams)), Durability::Synced))?;
    rows.push(("append of one event, Synced", micros(synced), "us"));
    let written = median(20_000, || append(&store, &name_of(random.below(streams)), Durability::Written))?;
    rows.push(("append of one event, Written", written.as_nanos() as f64, "ns"));
    let last = |name: &str| {
        let start = Instant::now();
        let mut reader = store.read_stream(name, ReadOptions::new().last(50).visibility(Visibility::Committed))?;
        let mut count = 0;
        while let Some(event) = reader.next() {
            count += event?.payload().len();
        }
        std::hint::black_box(count);
        Ok::<_, Failure>(start.elapsed())
    };
    rows.push((
        "last 50 of a stream, the first time",
        micros(median(READS as usize, || last(&name_of(random.below(streams))))?),
        "us",
    ));
    rows.push(("last 50 of a stream, warm", micros(median(READS as usize, || last(&name_of(streams / 2)))?), "us"));
    let (mut read, mut time) = (0, Duration::ZERO);
    for stream in (0..streams).step_by((streams as usize / 300).max(1)) {
        for is_timed in [false, true] {
            let start = Instant::now();
            let mut reader =
                store.read_stream(&name_of(stream), ReadOptions::new().visibility(Visibility::Committed))?;
            while let Some(event) = reader.next() {
                std::hint::black_box(event?.payload().len());
                read += u64::from(is_timed);
            }
            time += if is_timed { start.elapsed() } else { Duration::ZERO };
        }
    }
    rows.push(("an event of a whole stream, warm", time.as_nanos() as f64 / read as f64, "ns"));
    let heads: Vec<u64> = (0..200.min(streams))
        .map(|stream| Ok::<_, Failure>(store.stream(&name_of(stream))?.ok_or("a stream is missing")?.head.get()))
        .collect::<Outcome<_>>()?;
    let mut point = |is_counted: bool| {
        let stream = random.below(heads.len() as u64);
        let revision = Revision(random.below(heads[stream as usize] + 1));
        let name = name_of(stream);
        let start = Instant::now();
        let event: Option<Event> = store.event(&name, revision, Visibility::Committed)?;
        std::hint::black_box(event.ok_or("an event is missing")?);
        Ok::<_, Failure>(if is_counted { start.elapsed() } else { Duration::ZERO })
    };
    for _ in 0..5 * READS {
        let _ = point(false)?;
    }
    rows.push((
        "one event by stream and revision, warm",
        median(READS as usize, || point(true))?.as_nanos() as f64,
        "ns",
    ));
    let stat = store.stat()?;
    let derived = stat.index_bytes + stat.directory.map_or(0, |directory| directory.bytes);
    rows.push(("derived files, of the log", derived as f64 * 100.0 / stat.bytes as f64, "%"));
    rows.push(("memory beside mapped files", own_memory()? as f64 / (1 << 20) as f64, "MiB"));
    rows.push(("segments", stat.segments as f64, ""));
    store.close()?;
    Ok(rows)
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
        let store = Store::open(path, Options::new())?;
        let time = start.elapsed() + append(&store, &name_of(1), Durability::Written)?;
        store.close()?;
        Ok(time)
    })
}

/// Appends for a while, then dies without a word.
fn be_killed(path: &Path) -> Outcome<()> {
    let store = Store::open(path, Options::new())?;
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
        writeln!(out, "  {what:<42} {value:>10.1} {unit}")?;
    }
    Ok(())
}
