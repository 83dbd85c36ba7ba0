//! `treering claim`: runs a program while holding the claim on a stream.
//!
//! The claim is this process's: it ends with the program, or with this process. So this process outlives whatever asks the program
//! to end: an interrupt from the terminal reaches both and is the program's to follow, and what reaches this process alone is
//! passed on. What this process was told to ignore (nohup, a job in the background) stays so, for the program too. Nothing can be
//! done about SIGKILL: the program then goes on without the claim.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use treering::{Claim, Claims, FencingToken, Options};

use crate::exit::{Failure, Outcome};
use crate::names;
use crate::opening;

/// Run a program while holding the claim on a stream, so that nobody does the same work at the same time
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering claim s session-1 -- agent --resume session-1
                waits until the session is free
  treering claim s session-1 --no-wait -- agent
                or says who has it, with exit code 6
  treering claim s session-1 --fenced -- \\
      sh -c 'step | treering append s session-1 --fence $TREERING_FENCE'
  treering claim s nightly --timeout 2.5 -- ./report.sh

The program may read and write the store; nothing here has it open. The claim ends with the \
program, whatever that left running, and with this process: after kill -9 of this process alone \
the program goes on without it. A claim keeps work from being done twice and protects nothing: \
what is safe is an append with --expect, or with --fence, which is refused once another has the \
claim with --fenced.

Ends with the program's exit code, or 128 and the number of the signal that ended it; 6 where \
another has the claim.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// The stream, which need not be there yet
    #[arg(value_parser = names::stream_name)]
    stream: String,
    /// Wait for the claim for so long at most
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Do not wait for the claim
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    /// Note the claim in the log, and hand the program its fencing token in the variable TREERING_FENCE; the stream must exist
    #[arg(long)]
    fenced: bool,
    /// A failure as one JSON object on standard error
    #[arg(long)]
    json: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// A time to wait, with parts of a second.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "it is a number of seconds, such as 2.5".to_owned())
}

pub(crate) fn run(args: Args) -> Outcome {
    let claims = Claims::open(&args.store, &Options::new())?;
    let timeout = if args.no_wait { Some(Duration::ZERO) } else { args.timeout };
    let claim = claims.claim(&args.stream, timeout)?;
    let token = if args.fenced { Some(take_token(&args, &claim)?) } else { None };

    let program = args.command[0].to_string_lossy();
    // Before the program is there: none of them is to end this process once it is.
    let signals = Signals::new(followed([SIGHUP, SIGINT, SIGQUIT, SIGTERM]));
    let signals = signals.map_err(|error| Failure::io("take the signals for", &program, &error))?;
    let mut command = Command::new(&args.command[0]);
    if let Some(token) = token {
        command.env("TREERING_FENCE", token.to_string());
    }
    let child = command.args(&args.command[1..]).spawn();
    let mut child = child.map_err(|error| Failure::io("start", &program, &error))?;
    pass_on(signals, &child);
    let status = child.wait().map_err(|error| Failure::io("wait for", &program, &error))?;
    claim.release()?;
    match status.code().or_else(|| status.signal().map(|signal| 128 + signal)) {
        Some(0) => Ok(()),
        code => Err(Failure::Ended(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
    }
}

/// The fencing token, noted in the log. The store is open no longer than that takes.
fn take_token(args: &Args, claim: &Claim) -> Outcome<FencingToken> {
    let store = opening::for_writing(&args.store, Options::new().create(false))?;
    let token = store.fencing_token(claim)?;
    store.close()?;
    Ok(token)
}

/// Those of the signals that are not ignored: with a handler the program would no longer inherit that.
fn followed(signals: [i32; 4]) -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let is_ignored = |signal: &i32| mask.unwrap_or(0) >> (signal - 1) & 1 == 1;
    signals.into_iter().filter(|signal| !is_ignored(signal)).collect()
}

/// Passes signals on to the program, but those that a terminal sends to it as well.
fn pass_on(mut signals: Signals, child: &Child) {
    let pid = Pid::from_child(child);
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let signal = match signal {
                SIGHUP => Signal::HUP,
                SIGTERM => Signal::TERM,
                _ => continue,
            };
            let _ = kill_process(pid, signal); // one that has ended is waited for just now
        }
    });
}
