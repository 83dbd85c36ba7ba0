//! `treering reindex`: makes everything anew that is derived from the log.

use std::path::PathBuf;

use serde::Serialize;
use treering::{Options, Store};

use crate::exit::Outcome;
use crate::output::{Out, bytes, counted, printable, steps_bar};

/// Make the indexes of a store anew
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering reindex s
  treering reindex s --json | jq .indexed_segments

Indexes are made in the background anyway, and nothing but the time that reading takes depends on them: this is for
who does not trust the files. `treering verify` says whether one is bad. Others may have the store open, unless one of
them makes these files: then it ends with 6 and names that process.")]
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
    left_out: Vec<LeftOut>,
}

#[derive(Serialize)]
struct LeftOut {
    file: String,
    reason: String,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = Store::open(&args.store, Options::new().create(false))?;
    let bar = steps_bar(0);
    let report = store.reindex(&mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report?;
    store.close()?;
    let mut out = Out::stdout();
    if args.json {
        let left_out = report.left_out.into_iter().map(|(file, reason)| LeftOut { file, reason }).collect();
        let (indexed_segments, index_bytes) = (report.indexed_segments, report.index_bytes);
        out.json(&Object { indexed_segments, index_bytes, left_out })?;
    } else {
        for (file, reason) in &report.left_out {
            out.line(format_args!("{} has no index: {}", printable(file), printable(reason)))?;
        }
        let segments = counted(report.indexed_segments, "segment");
        out.line(format_args!("{segments} indexed, {}", bytes(report.index_bytes)))?;
    }
    out.flush()
}
