//! `treering unlock`: who keeps others from writing, and an end of that.
//!
//! Nothing is taken from a living process: either it goes on, or it is ended.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use treering::maintain::{self, WriterProcess, Writers};

use crate::exit::{Failure, Outcome};
use crate::output::{Out, printable};

/// So long a turn is looked at: one that lasts is of a process that does not end it.
const LOOK: Duration = Duration::from_millis(500);
/// So long an end is waited for.
const END: Duration = Duration::from_secs(5);

/// Name the process that keeps others from writing, and end it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering unlock s         who it is, and in which state
  treering unlock s --kill  end it (SIGKILL); what it was acknowledged stays

A lock ends with its process; there is no lock file to remove. A process that is stopped in the \
middle of an append keeps its turn: let it go on (kill -CONT), or end it. One that has the store \
open alone is named too.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// End the process
    #[arg(long)]
    kill: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Object<'a> {
    pid: Option<u32>,
    command: Option<&'a str>,
    state: Option<char>,
    exclusive: bool,
    killed: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let holder = holder(&args)?;
    let mut out = Out::stdout();
    let killed = match &holder {
        Some(holder) if args.kill => {
            end(&args, holder)?;
            true
        }
        _ => false,
    };
    if args.json {
        let holder = holder.as_ref();
        out.json(&Object {
            pid: holder.map(|it| it.pid),
            command: holder.and_then(|it| it.command.as_deref()),
            state: holder.and_then(|it| it.state),
            exclusive: holder.is_some_and(|it| it.is_exclusive),
            killed,
        })?;
    } else {
        match &holder {
            None => out.line(format_args!("nobody keeps others from writing"))?,
            Some(holder) => {
                let command = printable(holder.command.as_deref().unwrap_or("?"));
                let state = if holder.state == Some('T') { ", which is stopped" } else { "" };
                let how = if holder.is_exclusive { "has the store open alone" } else { "has its turn to write" };
                let end = if killed { "; it was ended" } else { "" };
                out.line(format_args!("process {} ({command}){state}, {how}{end}", holder.pid))?;
            }
        }
    }
    out.flush()
}

/// The process that keeps others from writing: alone, or in a turn that does not end.
fn holder(args: &Args) -> Result<Option<WriterProcess>, Failure> {
    let until = Instant::now() + LOOK;
    let mut first: Option<WriterProcess> = None;
    loop {
        let Writers { processes, turn } = maintain::writers(&args.store)?;
        if let Some(alone) = processes.into_iter().find(|it| it.is_exclusive) {
            return Ok(Some(alone));
        }
        let is_same = |turn: &WriterProcess| first.as_ref().is_none_or(|first| first.pid == turn.pid);
        let Some(turn) = turn.filter(is_same) else { return Ok(None) };
        if Instant::now() >= until {
            return Ok(Some(turn));
        }
        first = Some(turn);
        std::thread::sleep(LOOK / 10);
    }
}

fn end(args: &Args, holder: &WriterProcess) -> Outcome {
    let failed = |why: &str| Failure::Error(format!("process {} could not be ended: {why}", holder.pid));
    let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw).ok_or_else(|| failed("it has no number here"))?;
    kill_process(pid, Signal::KILL).map_err(|error| failed(&error.to_string()))?;
    let until = Instant::now() + END;
    loop {
        let Writers { processes, turn } = maintain::writers(&args.store)?;
        if processes.iter().chain(&turn).all(|it| it.pid != holder.pid) {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Failure::Error(format!(
                "process {} was told to end and does not: look at the disk",
                holder.pid
            )));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
