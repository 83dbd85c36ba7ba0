//! `treering dump`: any file of a store, as stable text.
//!
//! Stable means: the same bytes give the same text, so two dumps can be compared with `diff`. The file is looked at on its
//! own, so it also works where the store does not open, and on a file that was carried away from it.

use std::path::PathBuf;

use crate::exit::{Failure, Outcome};
use crate::output::Out;

/// Print any file of a store as stable text
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering dump s/identity
  treering dump s/0000000000000000.segment | less
  diff <(treering dump old/watermark) <(treering dump new/watermark)")]
pub(crate) struct Args {
    /// A segment, the identity file, the watermark file, the control page, …
    file: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let mut out = Out::stdout();
    let dumped = treering::maintain::dump(&args.file, &mut out);
    // What was written so far belongs to the reader also where the rest could not be read.
    let flushed = out.flush();
    match dumped {
        Ok(()) => flushed,
        Err(error) if is_closed_output(&error) => Err(Failure::OutputClosed),
        Err(error) => Err(error.into()),
    }
}

/// Whether the engine failed because the reader of our output has gone.
fn is_closed_output(error: &treering::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::BrokenPipe
        {
            return true;
        }
        source = cause.source();
    }
    false
}
