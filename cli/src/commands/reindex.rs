//! `treering reindex`: makes everything anew that is derived from the log.
//!
//! The directory of streams first, which takes a walk over the whole log; then the index of each finished segment.

use std::path::{Path, PathBuf};

use serde::Serialize;
use treering::maintain::verify;
use treering::{Options, ReindexReport, Store};

use crate::commands::show::outcome_of;
use crate::commands::stat::Directory;
use crate::commands::verify::Bar;
use crate::exit::Outcome;
use crate::opening;
use crate::output::{Out, bytes, bytes_bar, counted, printable};

/// Make the indexes and the directory of a store anew
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering reindex s
  treering reindex s --json | jq .indexed_segments

Both are made in the background anyway, and nothing but the time that reading takes depends on \
them: this is for who lost these files, or does not trust them. `treering stat` says what is \
missing, `treering verify` what is bad. Killed on its way it leaves what it has made, and may be \
run again. Of a segment that is damaged no index can be made: it ends with 4 then, unless that was \
accepted.

Others may have the store open, unless one of them makes these files: then it ends with 6 and \
names that process.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Object {
    indexed_segments: u64,
    index_bytes: u64,
    /// `null` where the log is too short to need one, or damaged.
    directory: Option<Directory>,
    left_out: Vec<LeftOut>,
}

#[derive(Serialize)]
struct LeftOut {
    file: String,
    reason: String,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = opening::for_writing(&args.store, Options::new().create(false))?;
    let report = reindex(&store)?;
    let directory = Directory::of(&store.stat()?);
    store.close()?;
    let is_whole = report.left_out.is_empty();
    let mut out = Out::stdout();
    if args.json {
        let left_out = report.left_out.into_iter().map(|(file, reason)| LeftOut { file, reason }).collect();
        let (indexed_segments, index_bytes) = (report.indexed_segments, report.index_bytes);
        out.json(&Object { indexed_segments, index_bytes, directory, left_out })?;
    } else {
        for (file, reason) in &report.left_out {
            out.line(format_args!("no index can be made of {}: {}", printable(file), printable(reason)))?;
        }
        let segments = counted(report.indexed_segments, "segment");
        let directory = match directory {
            None => "no directory".to_owned(),
            Some(made) => format!("a directory of {}, {}", counted(made.streams, "stream"), bytes(made.bytes)),
        };
        out.line(format_args!("{segments} indexed, {}; {directory}", bytes(report.index_bytes)))?;
    }
    out.flush()?;
    if is_whole { Ok(()) } else { outcome_of_damaged(&args.store) }
}

/// How it ends where not all could be read: as `verify` does, which knows whether that was accepted as lost.
fn outcome_of_damaged(store: &Path) -> Outcome {
    let mut bar = Bar(bytes_bar(0).with_message("verifying"));
    let report = verify(store, &mut bar);
    bar.0.finish_and_clear();
    outcome_of(&report?.damage)
}

/// Makes it all, and shows how far it is.
fn reindex(store: &Store) -> treering::Result<ReindexReport> {
    let bar = bytes_bar(0).with_message("reindexing");
    let report = store.reindex(&mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    report
}
