//! What can be said on the command line?
//!
//! One command per file in [`crate::commands`]; here stand the list of them and what several share: the
//! parsers of expectations, tokens and levels (names are [`crate::names`]'s). A value that can be seen to be wrong without looking at a store is a usage error
//! (exit code 2) and is told from here; the engine checks everything again.

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand, ValueEnum};
use treering::limits;
use treering::{Durability, Expected, Revision, Token};

use crate::commands::{
    accept, append, bench, cat, claim, context, cursor, demo, diff, dump, export, fork, forks, import, intents,
    project, reindex, salvage, snapshot, snapshots, stat, streams, tail, types, unlock, verify, watch,
};
use crate::exit::Outcome;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold());

const ABOUT: &str = "An event store for agents: append, import, read, follow, verify and export their logs";

const EXAMPLES: &str = "\
Examples:
  treering demo                    the story in under a minute
  treering import s ~/.claude/projects
                                   every session found there, each as a stream
  treering streams s               what the store holds
  treering types s                 which types of events there are, how often
  treering cat s SESSION --last 5  the last five events of one
  treering cat s --type failure --since 2h
                                   what failed in the last two hours, anywhere
  echo '{\"note\":\"hello\"}' | treering append s notes
                                   one event, durable once the receipt is there
  treering tail s -f               everything, live
  treering watch s                 streams as they grow
  treering claim s SESSION -- agent
                                   one agent at a time
  treering project s SESSION --as transcript
                                   the conversation as Markdown
  treering fork s SESSION@41 second-try
                                   goes on from revision 41, beside the first
  treering context s SESSION --budget 8000
                                   its newest summaries and what came behind
  treering stat s                  how much it holds, and how its indexes are
  treering verify s                every checksum and chain
  treering accept s --dry-run      what is lost and what going on means

STORE is a directory; the commands that write make it where it is missing.

Exit codes: 0 done, 1 error, 2 usage, 3 conflict, 4 damage found, 5 copy incomplete, 6 held by \
another.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "treering", version, about = ABOUT, after_help = EXAMPLES, styles = STYLES)]
#[command(arg_required_else_help = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Append(append::Args),
    Import(import::Args),
    Cat(cat::Args),
    Tail(tail::Args),
    Watch(watch::Args),
    Claim(claim::Args),
    Project(project::Args),
    Fork(fork::Args),
    Forks(forks::Args),
    Diff(diff::Args),
    Intents(intents::Args),
    Snapshot(snapshot::Args),
    Snapshots(snapshots::Args),
    Context(context::Args),
    Cursor(cursor::Args),
    Streams(streams::Args),
    Types(types::Args),
    Stat(stat::Args),
    Verify(verify::Args),
    Unlock(unlock::Args),
    Accept(accept::Args),
    Salvage(salvage::Args),
    Dump(dump::Args),
    Reindex(reindex::Args),
    Export(export::Args),
    Demo(demo::Args),
    Bench(bench::Args),
    #[command(hide = true)]
    DemoWorker(demo::worker::Args),
}

impl Cli {
    /// Runs the command that was asked for.
    pub(crate) fn run(self) -> Outcome {
        match self.command {
            Command::Append(args) => append::run(args),
            Command::Import(args) => import::run(args),
            Command::Cat(args) => cat::run(args),
            Command::Tail(args) => tail::run(args),
            Command::Watch(args) => watch::run(args),
            Command::Claim(args) => claim::run(args),
            Command::Project(args) => project::run(args),
            Command::Fork(args) => fork::run(args),
            Command::Forks(args) => forks::run(args),
            Command::Diff(args) => diff::run(args),
            Command::Intents(args) => intents::run(args),
            Command::Snapshot(args) => snapshot::run(args),
            Command::Snapshots(args) => snapshots::run(args),
            Command::Context(args) => context::run(args),
            Command::Cursor(args) => cursor::run(args),
            Command::Streams(args) => streams::run(args),
            Command::Types(args) => types::run(args),
            Command::Stat(args) => stat::run(args),
            Command::Verify(args) => verify::run(args),
            Command::Unlock(args) => unlock::run(args),
            Command::Accept(args) => accept::run(args),
            Command::Salvage(args) => salvage::run(args),
            Command::Dump(args) => dump::run(args),
            Command::Reindex(args) => reindex::run(args),
            Command::Export(args) => export::run(args),
            Command::Demo(args) => demo::run(args),
            Command::Bench(args) => bench::run(args),
            Command::DemoWorker(args) => demo::worker::run(args),
        }
    }
}

/// When an append counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// After fdatasync: survives a power loss
    Synced,
    /// In the operating system's page cache: survives kill -9, not a power loss
    Written,
}

impl Level {
    /// As the engine says it.
    pub(crate) fn durability(self) -> Durability {
        match self {
            Level::Synced => Durability::Synced,
            Level::Written => Durability::Written,
        }
    }
}

/// The word for a level in what is printed.
pub(crate) fn level_word(level: Durability) -> &'static str {
    match level {
        Durability::Synced => "synced",
        Durability::Written => "written",
    }
}

/// What the stream must be like for an append to happen: `any`, `none`, `exists` or the revision of its head.
pub(crate) fn expectation(text: &str) -> Result<Expected, String> {
    match text {
        "any" => Ok(Expected::Any),
        "none" => Ok(Expected::NoStream),
        "exists" => Ok(Expected::Exists),
        number => match number.parse::<u64>() {
            Ok(revision) if revision < limits::NUMBER_MAX => Ok(Expected::Exactly(Revision(revision))),
            Ok(_) => Err("a revision is below 2^63".to_owned()),
            Err(_) => Err("it is one of: any, none, exists, or the revision of the head as a number".to_owned()),
        },
    }
}

/// A cursor token in its text form.
pub(crate) fn token(text: &str) -> Result<Token, String> {
    text.parse().map_err(|error: treering::Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed_and_every_command_shows_examples() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        command.build();
        for inner in command.get_subcommands_mut().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
            let help = inner.render_help().to_string();
            assert!(help.contains("Examples:"), "{} has no examples", inner.get_name());
            assert!(inner.get_about().is_some(), "{} says not what it does", inner.get_name());
        }
    }

    /// Examples stand as they are in 80 columns; what is prose is one line a paragraph, which is broken where the terminal ends.
    #[test]
    fn help_fits_a_terminal_of_80_columns() {
        let mut command = Cli::command();
        command.build();
        let mut all = vec![&command];
        all.extend(command.get_subcommands().filter(|inner| inner.get_name() != "help" && !inner.is_hide_set()));
        for command in all {
            let name = command.get_name();
            let text = command.get_after_help().unwrap().to_string();
            let lines: Vec<&str> = text.lines().collect();
            for (number, line) in lines.iter().enumerate() {
                let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
                if !is_prose(line) {
                    assert!(line.chars().count() <= 80, "{name}: {line}");
                } else if let Some(next) = lines.get(number + 1) {
                    assert!(!is_prose(next), "{name}: broken by hand: {line}");
                }
            }
        }
    }

    #[test]
    fn expectations_are_words_or_revisions() {
        assert!(matches!(expectation("any"), Ok(Expected::Any)));
        assert!(matches!(expectation("none"), Ok(Expected::NoStream)));
        assert!(matches!(expectation("exists"), Ok(Expected::Exists)));
        assert!(matches!(expectation("9223372036854775807"), Ok(Expected::Exactly(Revision(r))) if r == (1 << 63) - 1));
        for bad in ["9223372036854775808", "18446744073709551616", "-1", "", "1.5", "head"] {
            assert!(expectation(bad).is_err(), "{bad}");
        }
    }
}
