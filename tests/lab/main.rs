//! `lab`: the whole laboratory by one command, in the time that it is given, with a table at the end.
//!
//! What a part is stands in `treering_tests::lab`; the parts stand in `parts/`, `run.rs` shares the time between them,
//! `report.rs` says what came of it. Exit codes: 0 without a violation, 4 with one, 2 where the command line is wrong.

mod parts;
mod report;
mod run;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use treering_tests::lab::Part;

/// Simulations make and drop some thousands of small things for each state: the system's allocator took a fifth of their time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The laboratory of treering: crashes, errors, kills, damage, schedules and planted bugs, counted.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Arguments {
    /// How long it runs, in all.
    #[arg(long, value_name = "N", default_value_t = 10.0, conflicts_with = "full")]
    minutes: f64,
    /// Until every part has reached its own figure, however long that takes.
    #[arg(long)]
    full: bool,
    /// One object on standard output instead of the table.
    #[arg(long)]
    json: bool,
    /// Only these parts; `--only list` names them all.
    #[arg(long, value_name = "PART,…", value_delimiter = ',')]
    only: Vec<String>,
    /// How many threads work at once; as many as there are processors, where it is not said.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Sees a violation again: a line that an earlier run printed.
    #[arg(long, value_name = "LINE")]
    replay: Option<String>,
    /// Switches a planted bug on, in the build that has them, and stops at the first violation.
    #[arg(long, value_name = "NAME", hide = true)]
    plant: Option<String>,
}

/// Something that was promised is broken.
const VIOLATIONS: u8 = 4;
/// The command line is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let all = parts::all();
    if arguments.only == ["list"] {
        all.iter().for_each(|part| println!("{:>16}  {}", part.name(), part.about()));
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = arguments.only.iter().find(|name| all.iter().all(|part| part.name() != **name)) {
        eprintln!("no part is named {unknown:?}; `--only list` names them all");
        return ExitCode::from(USAGE);
    }
    if let Some(name) = arguments.plant.as_ref().filter(|name| !treering::planted::plant(name)) {
        eprintln!("no bug {name:?} can be switched on in this build");
        return ExitCode::from(USAGE);
    }
    if let Some(line) = &arguments.replay {
        return replay(&all, line);
    }
    let is_chosen =
        |part: &&dyn Part| arguments.only.is_empty() || arguments.only.iter().any(|name| name == part.name());
    let chosen: Vec<&dyn Part> = all.iter().map(|part| &**part).filter(is_chosen).collect();
    let time = (!arguments.full).then(|| Duration::from_secs_f64(arguments.minutes.clamp(0.01, 1e6) * 60.0));
    let threads = arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let failures = arguments.plant.is_some().then_some(1);
    let done = run::all(&chosen, time, threads, failures);
    match arguments.json {
        true => println!("{}", report::json(&done, threads)),
        false => print!("{}", report::table(&done, threads)),
    }
    match report::violations(&done) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(VIOLATIONS),
    }
}

fn replay(all: &[Box<dyn Part>], line: &str) -> ExitCode {
    let found = line.split_once(": ").and_then(|(name, rest)| Some((all.iter().find(|p| p.name() == name)?, rest)));
    let Some((part, rest)) = found else {
        eprintln!("a line to replay begins with the name of a part and a colon: `model: seed=7`");
        return ExitCode::from(USAGE);
    };
    match part.replay(rest) {
        Ok(()) => {
            println!("{}: nothing is broken", part.name());
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("{}: {what}", part.name());
            ExitCode::from(VIOLATIONS)
        }
    }
}
