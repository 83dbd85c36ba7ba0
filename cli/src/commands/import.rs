//! `treering import`: files of agents' logs become streams, line by line, losing nothing.
//!
//! Each file is recognised, named, compared with the stream of that name, and only what is new is added; see
//! [`crate::import`] for how. Appends are Written while the work runs and synced once at the end: the summary is printed
//! when everything is durable. An import that is killed half-way is finished by running it again.
//!
//! A file that cannot be taken is told, the others are imported all the same, and the command ends with 1.

mod export_file;
mod log_file;
mod report;

use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;
use treering::{Options, Store};

use crate::exit::{Failure, Outcome};
use crate::import::record::Format;
use crate::import::walk::Found;
use crate::opening;
use crate::output::bytes_bar;
use report::{FileReport, Report};

/// Import agents' logs: each line becomes an event, exactly as found
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering import s ~/.claude/projects
                every session in the folder, a stream each
  treering import s rollout.jsonl --stream review
                one file, one stream of that name
  treering import s logs --stream-prefix laptop/
                streams laptop/SESSION …
  treering import s events.jsonl --format jsonl
                any JSON lines, or any lines at all
  treering import new export.jsonl --format treering
                what `treering export old > export.jsonl` wrote

A folder is walked for files that end in .jsonl or .ndjson. Importing again, or a file that has \
grown, adds only what is new. A file that neither continues nor repeats its stream goes to NAME~2, \
NAME~3, … A line that is not JSON becomes an event of type `unparsed`. `treering cat --raw` gives \
the file back, byte for byte. What the line alone does not say stands in the metadata: `import` \
and `file` on a stream's first event, `unparsed` with the reason, `no_lf` on a last line without \
LF, `replaces` on the whole line that a grown file put in place of such a one.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// Files, or folders to walk
    #[arg(required = true, value_name = "FILE|FOLDER")]
    paths: Vec<PathBuf>,
    /// In which format the lines are
    #[arg(long, value_enum, default_value = "auto")]
    format: FormatArg,
    /// The stream to import to, instead of one named by the session or the file
    #[arg(long, value_name = "NAME", value_parser = crate::names::stream_name)]
    stream: Option<String>,
    /// What to put in front of the names of streams
    #[arg(long, value_name = "P", value_parser = crate::names::stream_name, conflicts_with = "stream")]
    stream_prefix: Option<String>,
    /// One JSON object a line: each file, each unparsed line, then the summary
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// Recognise it, or say why not
    Auto,
    /// Any JSON lines
    Jsonl,
    /// Sessions of Claude Code
    ClaudeCode,
    /// Rollouts of Codex
    Codex,
    /// What `treering export` wrote
    Treering,
}

impl FormatArg {
    fn named(self) -> Option<Format> {
        match self {
            FormatArg::Auto => None,
            FormatArg::Jsonl => Some(Format::Jsonl),
            FormatArg::ClaudeCode => Some(Format::ClaudeCode),
            FormatArg::Codex => Some(Format::Codex),
            FormatArg::Treering => Some(Format::Treering),
        }
    }
}

/// What every file of one run needs.
struct Run<'a> {
    store: &'a Store,
    format: Option<Format>,
    stream: Option<&'a str>,
    prefix: &'a str,
    bar: indicatif::ProgressBar,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let started = Instant::now();
    let found = Found::look(&args.paths);
    if found.files.is_empty() && found.failed.is_empty() {
        return Err(Failure::Error(
            "there is no file that ends in .jsonl or .ndjson in there; name a file to import it whatever its name"
                .to_owned(),
        ));
    }
    if found.files.is_empty() {
        let (path, why) = &found.failed[0];
        return Err(Failure::Error(format!("{}: {why}", path.display())));
    }
    // A sync at the end stands for all of them.
    let store = opening::for_writing(&args.store, Options::new())?;
    let total = found.files.iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum();
    let run = Run {
        store: &store,
        format: args.format.named(),
        stream: args.stream.as_deref(),
        prefix: args.stream_prefix.as_deref().unwrap_or(""),
        bar: bytes_bar(total),
    };
    let mut report = Report::new(args.json, run.bar.clone());
    for (path, why) in &found.failed {
        report.file(&FileReport::refused(path, why.clone()))?;
    }
    for path in &found.compressed {
        report.passed_over(path)?;
    }
    for path in &found.files {
        run.bar.set_message(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        log_file::import(&run, path, &mut report)?;
    }
    run.bar.finish_and_clear();
    drop(run);
    store.sync()?;
    store.close()?;
    report.summary(started.elapsed(), found.passed_over)
}
