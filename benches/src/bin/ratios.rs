//! Prints, for each comparison, engine and floor as measured in turn on this machine, and the ratio of the two.
//!
//! `cargo run --release -p treering-benches --bin ratios -- [--json] [--quick] [--shared] [--only NAME] [--rounds N]
//! [--memory-gigabytes N] [DIR]`. DIR must lie on the disk that is to be measured. Each round runs the engine and then the
//! floor; a ratio is made of the two of one round, so that a busy neighbour, who slows both, cancels out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::{Value, json};
use treering::storage::Storage;
use treering::storage::os::OsStorage;
use treering_benches::contest::{self, ReadSize};
use treering_benches::engine::Mode;
use treering_benches::{Contest, Outcome, memory};

const USAGE: &str = "\
usage: ratios [--json] [--quick] [--shared] [--only NAME] [--rounds N] [--memory-gigabytes N] [DIR]

  --json                one JSON object a line instead of a table
  --quick               fewer rounds, smaller ones, no memory row
  --shared              stores are opened as by default, so that other processes may append too, and not exclusively
  --only NAME           only the rows whose name begins so
  --rounds N            rounds of each row (7; quick: 3)
  --memory-gigabytes N  how much is appended for the memory row (2; 0: no such row)
  DIR                   where the stores are made: a directory on the disk to be measured (default: the current one)";

/// The argument with which the program calls itself for the memory row.
const MEMORY_CHILD: &str = "--memory-child";

struct Arguments {
    is_json: bool,
    is_quick: bool,
    mode: Mode,
    only: String,
    rounds: Option<usize>,
    memory_gigabytes: Option<u64>,
    directory: PathBuf,
}

impl Arguments {
    fn read(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments {
            is_json: false,
            is_quick: false,
            mode: Mode::Exclusive,
            only: String::new(),
            rounds: None,
            memory_gigabytes: None,
            directory: PathBuf::from("."),
        };
        while let Some(argument) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{argument} wants a value"));
            match argument.as_str() {
                "--json" => arguments.is_json = true,
                "--quick" => arguments.is_quick = true,
                "--shared" => arguments.mode = Mode::Shared,
                "--only" => arguments.only = value()?,
                "--rounds" => match value()?.parse() {
                    Ok(rounds) if rounds > 0 => arguments.rounds = Some(rounds),
                    _ => return Err("--rounds wants a number of at least 1".into()),
                },
                "--memory-gigabytes" => match value()?.parse() {
                    Ok(number) if number <= 1 << 20 => arguments.memory_gigabytes = Some(number),
                    _ => return Err("--memory-gigabytes wants a number up to 1048576".into()),
                },
                option if option.starts_with('-') => return Err(format!("{option} is not known")),
                directory => arguments.directory = directory.into(),
            }
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let done = match given.as_slice() {
        [child, directory, bytes] if child == MEMORY_CHILD => memory_child(Path::new(directory), bytes),
        given => match Arguments::read(given.iter().cloned()) {
            Ok(arguments) => run(&arguments),
            Err(what) => {
                eprintln!("{what}\n{USAGE}");
                return ExitCode::from(2);
            }
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let directory = tempfile::Builder::new().prefix("treering-ratios-").tempdir_in(&arguments.directory)?;
    let directory = directory.path();
    let file_system = OsStorage::open(directory)?.file_system()?.name;
    if !arguments.is_json {
        let mode = if arguments.mode == Mode::Shared { "shared" } else { "exclusive" };
        println!(
            "on {file_system}, {mode}; times per event; ratio: engine's rate / floor's, median of the rounds (least, most)"
        );
    }
    let is_wanted = |contest: &Contest| contest.name.starts_with(&arguments.only);
    for contest in contest::appending(directory, arguments.mode).into_iter().filter(is_wanted) {
        row(arguments, contest)?;
    }
    let size = if arguments.is_quick { ReadSize::QUICK } else { ReadSize::ORDINARY };
    const READING: [&str; 5] = ["scan-one", "scan-batch", "stream", "last", "point"];
    if READING.iter().any(|name| name.starts_with(&arguments.only)) {
        for contest in contest::reading(directory, arguments.mode, size)?.into_iter().filter(is_wanted) {
            row(arguments, contest)?;
        }
    }
    let gigabytes = arguments.memory_gigabytes.unwrap_or(if arguments.is_quick { 0 } else { 2 });
    if gigabytes > 0 && "memory".starts_with(&arguments.only) {
        memory_row(arguments, directory, gigabytes << 30)?;
    }
    Ok(())
}

/// Median, least and most.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[values.len() / 2], values[0], values[values.len() - 1]]
}

fn row(arguments: &Arguments, mut contest: Contest) -> Outcome<()> {
    let rounds = arguments.rounds.unwrap_or(if arguments.is_quick { 3 } else { 7 });
    let operations = if arguments.is_quick { contest.operations.div_ceil(4) } else { contest.operations };
    let events = (operations * contest.events) as f64;
    let nanoseconds = |took: Duration| took.as_nanos() as f64 / events;
    // The first of each fills caches and page tables, and is not counted.
    (contest.engine)(operations.div_ceil(4))?;
    (contest.floor)(operations.div_ceil(4))?;
    let (mut engine, mut floor, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (one, other) = (nanoseconds((contest.engine)(operations)?), nanoseconds((contest.floor)(operations)?));
        engine.push(one);
        floor.push(other);
        ratios.push(other / one);
    }
    let ([engine, ..], [floor, ..], [ratio, least, most]) = (spread(engine), spread(floor), spread(ratios));
    let is_reached = contest.goal.is_reached(ratio);
    if arguments.is_json {
        let line = json!({
            "name": contest.name,
            "shared": arguments.mode == Mode::Shared,
            "work": contest.work.trim(),
            "rounds": rounds,
            "events_a_round": events as u64,
            "engine_ns": engine,
            "floor_ns": floor,
            "ratio": ratio,
            "ratio_min": least,
            "ratio_max": most,
            "goal": contest.goal.to_string(),
            "reached": is_reached,
        });
        println!("{line}");
    } else {
        let verdict = is_reached.map_or("", |reached| if reached { ": reached" } else { ": not reached" });
        println!("{}: {}", contest.name, contest.work);
        println!(
            "    engine {}, floor {}; ratio {ratio:.2} ({least:.2}, {most:.2}); {}{verdict}",
            time(engine),
            time(floor),
            contest.goal
        );
    }
    std::io::stdout().flush()?;
    Ok(())
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        many if many >= 10_000.0 => format!("{:.1} us", many / 1000.0),
        few => format!("{few:.0} ns ({:.2} M/s)", 1000.0 / few),
    }
}

/// Appends in a process of its own, whose memory is then that of the appending alone.
fn memory_row(arguments: &Arguments, directory: &Path, bytes: u64) -> Outcome<()> {
    let output = Command::new(std::env::current_exe()?)
        .arg(MEMORY_CHILD)
        .arg(directory)
        .arg(bytes.to_string())
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the process that appends for the memory row failed".into());
    }
    if arguments.is_json {
        print!("{}", String::from_utf8_lossy(&output.stdout));
        return Ok(());
    }
    let needed: Value = serde_json::from_slice(&output.stdout)?;
    let mebibytes = |key: &str| needed[key].as_u64().unwrap_or(0) as f64 / f64::from(1 << 20);
    println!(
        "memory: resident while appending {:.0} MiB, batches of 100 to 1,000 streams",
        mebibytes("appended_bytes")
    );
    println!(
        "    {:.1} MiB of its own at most (goal: at most 64, whatever was appended), {:.1} MiB with the mapped pages of files",
        mebibytes("anonymous_max_bytes"),
        mebibytes("resident_max_bytes")
    );
    Ok(())
}

fn memory_child(directory: &Path, bytes: &str) -> Outcome<()> {
    let needed = memory::append(directory, bytes.parse()?)?;
    let line = json!({
        "name": "memory",
        "work": "resident while appending, batches of 100 to 1,000 streams",
        "appended_bytes": needed.appended,
        "resident_max_bytes": needed.resident_max,
        "anonymous_max_bytes": needed.anonymous_max,
        "goal": "at most 64 MiB beside mapped pages",
        "reached": needed.anonymous_max <= 64 << 20,
    });
    println!("{line}");
    Ok(())
}
