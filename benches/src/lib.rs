//! What the benchmarks share: the engine's side of every comparison, the floor beside it, and the goal for the two.
//!
//! A *floor* is the raw operation with frame and checks and no index, done through the engine's own storage seam; no
//! engine that checks what it stores can be below it. A [`Contest`] holds both sides of one comparison as closures that
//! do a number of operations and say how long the timed part took. The criterion suites and the `ratios` program run the
//! same closures. What is in each floor's timed part and what is not is said in [`floor`] and in `benches/README.md`.

pub mod contest;
pub mod engine;
pub mod executor;
pub mod floor;
pub mod memory;
pub mod workload;

use std::process::ExitCode;

pub use contest::{Contest, Goal, Side};

/// Any failure of a benchmark: it ends the run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The outcome of a step of a benchmark.
pub type Outcome<T> = Result<T, Failure>;

/// Runs a program of the benchmarks: its usage where it is asked for, an error of its arguments with it, the run otherwise.
pub fn program<A>(
    name: &str,
    usage: &str,
    read: impl FnOnce(&mut dyn Iterator<Item = String>) -> Result<A, String>,
    run: impl FnOnce(&A) -> Outcome<()>,
) -> ExitCode {
    let mut given = std::env::args().skip(1).peekable();
    if given.peek().is_some_and(|first| first == "--help") {
        println!("{usage}");
        return ExitCode::SUCCESS;
    }
    match read(&mut given) {
        Ok(arguments) => finish(name, run(&arguments)),
        Err(what) => {
            eprintln!("{name}: {what}\n{usage}");
            ExitCode::from(2)
        }
    }
}

/// How a program of the benchmarks ends.
pub fn finish(name: &str, outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
