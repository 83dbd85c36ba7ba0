//! The `treering` command: append, import, read, follow, verify and export agents' logs.
//!
//! The command line is taken apart in [`args`]; each command has its file in [`commands`]. What is shown goes through
//! [`output`], how it ends is decided in [`exit`]. Reading other tools' logs is [`import`]'s, the shape of an exported
//! event [`event_json`]'s, what may be called how [`names`]'s, what opening takes [`opening`]'s. The command uses the engine through its public interface only, and holds no unsafe code.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod event_json;
mod exit;
mod import;
mod names;
mod opening;
mod output;
mod time;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let given = std::env::args_os().skip(1).take_while(|arg| arg != "--");
    output::speak(given.into_iter().any(|arg| arg == "--json"));
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are asked for, and no failure.
        Err(error) if !error.use_stderr() || !output::is_json() => error.exit(),
        Err(error) => return exit::Failure::Usage(error.to_string().trim_end().to_owned()).report(),
    };
    // A store that somebody cuts short while it is read is an error, not the end by a signal. Without the guard that is
    // all that is lost.
    let _ = treering::guard_mapped_reads();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
