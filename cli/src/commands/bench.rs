//! `treering bench`: append throughput and latency on this disk, beside what the disk does without an engine.
//!
//! Several short rounds; in each, every kind of append runs right beside its floor ([`floor`]), so that whatever else the
//! machine does meets both. Shown are the medians of the rounds; the share of the floor is the median of the rounds'
//! shares. What was Written is synced, untimed, before the next part begins, so no part pays for the one before.

mod floor;
mod sample;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use treering::storage::Storage as _;
use treering::storage::os::OsStorage;
use treering::{Batch, Durability, Expected, NewEvent, Options, Store};

use crate::args::level_word;
use crate::exit::{Failure, Outcome};
use crate::output::{Out, Table, bytes, duration, rate, steps_bar};
use floor::{FILE_BYTES, Floor, frame_bytes};
use sample::{Sample, Until, median};

const PAYLOAD_BYTES: usize = 256;
/// No round begins later than this.
const LAST_ROUND_AT: Duration = Duration::from_secs(18);
/// How long a Synced part runs.
const SYNCED_PART: Duration = Duration::from_millis(300);
/// How much a Written part writes, in bytes: within the file of the floor, so that both touch fresh pages.
const WRITTEN_PART_BYTES: u64 = 48 << 20;
/// What may be needed at most, in bytes, with room to spare.
const FREE_BYTES: u64 = 2 << 30;

/// What is measured: level, and events in a batch.
const WORKS: [(Durability, usize); 4] =
    [(Durability::Synced, 1), (Durability::Synced, 100), (Durability::Written, 1), (Durability::Written, 100)];

/// Measure appends on this disk, beside the disk alone
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering bench            in this folder
  treering bench /mnt/disk  on another disk
  treering bench --shared   as processes append that share a store
  treering bench --json     one JSON object for each kind of append

Takes less than 30 seconds and up to 2 GiB, in a folder of its own that is removed at the end. \
Events have 256 bytes. The floor is the raw operation with the same bytes and checks: pwrite and \
fdatasync into allocated blocks, and a copy into a mapping whose pages are there.")]
pub(crate) struct Args {
    /// A folder on the disk to measure
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Open the store as processes do that share it, not for this one alone
    #[arg(long)]
    shared: bool,
    /// How many rounds at most
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=9))]
    rounds: u64,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    work: &'static str,
    shared: bool,
    level: &'static str,
    batch: usize,
    payload_bytes: usize,
    rounds: usize,
    events_per_second: f64,
    floor_events_per_second: f64,
    of_floor: f64,
    p50_nanos: u64,
    p99_nanos: u64,
    floor_p50_nanos: u64,
    floor_p99_nanos: u64,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let folder = Folder::make(&args.dir)?;
    let storage = OsStorage::open(&folder.0).map_err(|error| Failure::io("open", folder.0.display(), &error))?;
    let disk = storage.file_system().map_err(|error| Failure::io("look at", folder.0.display(), &error))?;
    if disk.free_bytes < FREE_BYTES {
        return Err(Failure::Error(format!(
            "{} has {} free, and the measurement may take {}",
            args.dir.display(),
            bytes(disk.free_bytes),
            bytes(FREE_BYTES)
        )));
    }
    // The floor is that of a single writer.
    let store = Store::open(folder.0.join("store"), Options::new().exclusive(!args.shared))?;
    let rounds = measure(&store, &storage, args.rounds)?;
    store.close()?;
    let rows: Vec<_> = WORKS.iter().zip(&rounds).map(|(work, rounds)| row(*work, args.shared, rounds)).collect();
    let mut out = Out::stdout();
    if args.json {
        for row in &rows {
            out.json(row)?;
        }
    } else {
        out.line(table(&rows))?;
        out.line(format_args!(
            "\n{PAYLOAD_BYTES}-byte events, the store opened {}, medians of {} rounds, on {} ({} free)",
            if args.shared { "to be shared" } else { "exclusively" },
            rounds[0].len(),
            disk.name,
            bytes(disk.free_bytes)
        ))?;
    }
    out.flush()
}

/// One part of one round: the store's, and the floor's.
type Pair = (Sample, Sample);

/// Runs the rounds; gives for each work its rounds.
fn measure(store: &Store, storage: &OsStorage, rounds_max: u64) -> Outcome<Vec<Vec<Pair>>> {
    let started = Instant::now();
    let bar = steps_bar(rounds_max * WORKS.len() as u64);
    let mut rounds = vec![Vec::new(); WORKS.len()];
    let payload = [b'r'; PAYLOAD_BYTES];
    for round in 0..rounds_max {
        if started.elapsed() > LAST_ROUND_AT {
            break;
        }
        for (place, (level, batch)) in WORKS.into_iter().enumerate() {
            bar.set_message(title(level, batch));
            // Who comes first changes from round to round.
            let pair = if round % 2 == 0 {
                let floor = floor_part(storage, level, batch, &payload)?;
                (store_part(store, level, batch, &payload)?, floor)
            } else {
                let store = store_part(store, level, batch, &payload)?;
                (store, floor_part(storage, level, batch, &payload)?)
            };
            rounds[place].push(pair);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(rounds)
}

fn until(level: Durability, batch: usize) -> Until {
    match level {
        Durability::Synced => Until::Time(SYNCED_PART),
        Durability::Written => Until::Operations(WRITTEN_PART_BYTES / frame_bytes(batch, PAYLOAD_BYTES) as u64),
    }
}

fn store_part(store: &Store, level: Durability, batch: usize, payload: &[u8]) -> Outcome<Sample> {
    let events = vec![NewEvent::new("bench", payload); batch];
    let sample = Sample::take(until(level, batch), batch as u64, || {
        let _receipt = store.append(&Batch::to("bench", Expected::Any, &events).durability(level))?;
        Ok(())
    })?;
    store.sync()?;
    Ok(sample)
}

fn floor_part(storage: &OsStorage, level: Durability, batch: usize, payload: &[u8]) -> Outcome<Sample> {
    let is_synced = level == Durability::Synced;
    let mut floor = Floor::new(storage, batch, PAYLOAD_BYTES, !is_synced)?;
    Sample::take(until(level, batch), batch as u64, || floor.append(payload, is_synced))
}

fn title(level: Durability, batch: usize) -> String {
    let level = match level {
        Durability::Synced => "Synced",
        Durability::Written => "Written",
    };
    match batch {
        1 => format!("{level}, one event"),
        batch => format!("{level}, batches of {batch}"),
    }
}

fn row((level, batch): (Durability, usize), shared: bool, rounds: &[Pair]) -> Row {
    let over = |figure: &dyn Fn(&Pair) -> f64| median(rounds.iter().map(figure));
    let nanos = |time: Duration| time.as_nanos() as f64;
    Row {
        work: "append",
        shared,
        level: level_word(level),
        batch,
        payload_bytes: PAYLOAD_BYTES,
        rounds: rounds.len(),
        events_per_second: over(&|(store, _)| store.rate()),
        floor_events_per_second: over(&|(_, floor)| floor.rate()),
        of_floor: over(&|(store, floor)| store.rate() / floor.rate().max(1e-9)),
        p50_nanos: over(&|(store, _)| nanos(store.latency(0.5))) as u64,
        p99_nanos: over(&|(store, _)| nanos(store.latency(0.99))) as u64,
        floor_p50_nanos: over(&|(_, floor)| nanos(floor.latency(0.5))) as u64,
        floor_p99_nanos: over(&|(_, floor)| nanos(floor.latency(0.99))) as u64,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table =
        Table::new(&["append", ">events", ">floor", ">of floor", ">p50", ">p99", ">floor p50", ">floor p99"]);
    for row in rows {
        let level = if row.level == "synced" { Durability::Synced } else { Durability::Written };
        let a_second = |figure: f64| rate(figure.round() as u64, Duration::from_secs(1));
        let time = |nanos: u64| duration(Duration::from_nanos(nanos));
        table.row([
            title(level, row.batch),
            a_second(row.events_per_second),
            a_second(row.floor_events_per_second),
            format!("{:.0} %", row.of_floor * 100.0),
            time(row.p50_nanos),
            time(row.p99_nanos),
            time(row.floor_p50_nanos),
            time(row.floor_p99_nanos),
        ]);
    }
    table
}

/// A folder that is removed with everything in it, however the command ends.
struct Folder(PathBuf);

impl Folder {
    fn make(dir: &Path) -> Outcome<Folder> {
        let path = dir.join(format!("treering-bench-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| Failure::io("make the folder", path.display(), &error))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const _: () = assert!(WRITTEN_PART_BYTES + (1 << 20) < FILE_BYTES);
