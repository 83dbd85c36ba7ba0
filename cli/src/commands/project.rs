//! `treering project`: what a stream comes to, read through the vocabulary of `treering-agent`.
//!
//! The stream is read once, from its first event on; what is ready is printed as it comes (transcript, timeline, calls that got
//! their results), the rest at the end. Programs get one object a line, and each says in `kind` what it is; the last one is the `summary`.

mod show;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use treering::{EventView, Projection, ReadOptions, Revision, Store};
use treering_agent::{Budget, Context, Ledger, Prices, Timeline, Tools, Transcript};

use crate::commands::cat::no_such_stream;
use crate::commands::show::DamageMet;
use crate::commands::wanted::visibility;
use crate::exit::{Failure, Outcome};
use crate::opening;
use crate::output::{printable, steps_bar, width};
use show::Show;

/// Show what a stream comes to: as a transcript, a model's context, tool calls, a ledger, a timeline
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering project s SESSION --as transcript > session.md
                the conversation as Markdown
  treering project s SESSION --as context --budget 8000
                what fits into 8,000 tokens
  treering project s SESSION --as context --provider openai --json
                for another provider: without what is sealed
  treering project s SESSION --as tools
                tools, and calls without a result
  treering project s SESSION --as ledger
                tokens and cost by model, each counted once
  treering project s SESSION --as ledger --prices FILE
                at these prices, where the log says no cost
  treering project s SESSION --as timeline --at 400
                events up to 400, with times and gaps

Reads the vocabulary of treering-agent (agent/VOCABULARY.md) and, as if they were of it, imported \
lines of Claude Code and Codex. What it does not know is passed over, but for the timeline. Tokens \
of a budget are estimated: a token for three ASCII characters, or for one other. FILE holds US \
dollars for a million tokens, as in \
{\"MODEL\":{\"input\":3,\"cache_write\":3.75,\"cache_read\":0.3,\"output\":15}}. Times with --json \
are nanoseconds. Shows what is committed; --durable leaves out what a power loss could still take.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// The stream
    stream: String,
    /// As what
    #[arg(long = "as", value_name = "KIND")]
    kind: Kind,
    /// As it was at this revision
    #[arg(long, value_name = "R")]
    at: Option<u64>,
    /// At most so many tokens; for a context
    #[arg(long, value_name = "N")]
    budget: Option<u64>,
    /// The provider whose model is to go on: what others have sealed is left out; for a context
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// What a million tokens cost, by model; for a ledger
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Cut nothing that tools take or give; for a transcript
    #[arg(long)]
    full: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Only what is durable
    #[arg(long)]
    durable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The conversation as Markdown
    Transcript,
    /// What a model is told that goes on from here
    Context,
    /// Tool calls, and those that have no result
    Tools,
    /// Tokens and cost by model
    Ledger,
    /// Every event in a line
    Timeline,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let is_of_no_use = [
        (args.budget.is_some() && args.kind != Kind::Context, "--budget is for --as context"),
        (args.provider.is_some() && args.kind != Kind::Context, "--provider is for --as context"),
        (args.prices.is_some() && args.kind != Kind::Ledger, "--prices is for --as ledger"),
        (args.full && args.kind != Kind::Transcript, "--full is for --as transcript"),
    ];
    if let Some((_, why)) = is_of_no_use.into_iter().find(|(is_so, _)| *is_so) {
        return Err(Failure::Usage(why.to_owned()));
    }
    let prices = args.prices.as_deref().map(prices).transpose()?.unwrap_or_default();
    let store = opening::for_reading(&args.store)?;
    let mut damage = DamageMet::at_opening(&store);
    let mut show = Show::new(args.json);
    match args.kind {
        Kind::Transcript => {
            let fold = Transcript::new();
            let mut fold = if args.full { fold.shown_bytes(usize::MAX) } else { fold };
            fold_over(&store, &args, &mut damage, &mut fold, |fold, revision| show.transcript(fold, revision))?;
            show.passed(fold.passed())?;
        }
        Kind::Context => {
            let mut fold = Context::new();
            if let Some(budget) = args.budget {
                fold = fold.budget(Budget::Tokens(budget));
            }
            if let Some(provider) = &args.provider {
                fold = fold.provider(provider);
            }
            fold_over(&store, &args, &mut damage, &mut fold, |_, _| Ok(()))?;
            show.context(&fold, args.budget)?;
        }
        Kind::Tools => {
            let mut fold = Tools::new();
            fold_over(&store, &args, &mut damage, &mut fold, |fold, _| show.finished(fold))?;
            show.tools(&fold)?;
        }
        Kind::Ledger => {
            let mut fold = Ledger::new();
            fold_over(&store, &args, &mut damage, &mut fold, |_, _| Ok(()))?;
            show.ledger(&fold, &prices)?;
        }
        Kind::Timeline => {
            let mut fold = Timeline::new();
            fold_over(&store, &args, &mut damage, &mut fold, |fold, _| show.timeline(fold))?;
            show.summary_of_timeline()?;
        }
    }
    show.out.flush()?;
    damage.outcome()
}

/// Reads a file of prices.
fn prices(path: &Path) -> Outcome<Prices> {
    let shown = path.display().to_string();
    let text = std::fs::read(path).map_err(|error| Failure::io("read", printable(&shown), &error))?;
    serde_json::from_slice(&text).map_err(|error| {
        let way_out = "see `treering project --help` for how prices are written";
        Failure::Error(format!("{} holds no prices: {error}; {way_out}", printable(&shown)))
    })
}

/// Has the fold take the stream; `ready` is asked behind each event, with its revision.
fn fold_over<P: Projection>(
    store: &Store,
    args: &Args,
    damage: &mut DamageMet,
    fold: &mut P,
    mut ready: impl FnMut(&mut P, u64) -> Outcome,
) -> Outcome {
    let Some(stream) = store.stream(&args.stream)? else { return Err(no_such_stream(store, &args.stream)) };
    let head = stream.head.get();
    let mut options = ReadOptions::new().visibility(visibility(args.durable));
    if let Some(at) = args.at {
        if at > head {
            return Err(Failure::Error(format!("the stream has no revision {at} yet; its head is {head}")));
        }
        options = options.to(Revision(at));
    }
    let is_seen_at_once = width().is_some() && matches!(args.kind, Kind::Transcript | Kind::Timeline);
    // A bar between lines that are printed meanwhile would be in their way.
    let bar = if is_seen_at_once { indicatif::ProgressBar::hidden() } else { steps_bar(args.at.unwrap_or(head) + 1) };
    let mut reader = store.read_stream(&args.stream, options)?;
    let mut events: u64 = 0;
    while let Some(next) = reader.next() {
        match next {
            Ok(event) => {
                events += 1;
                if events.is_multiple_of(1024) {
                    bar.set_position(event.revision().get());
                }
                fold.apply(&EventView::from(&event));
                ready(fold, event.revision().get())?;
            }
            Err(error) => damage.take(error)?,
        }
    }
    bar.finish_and_clear();
    Ok(())
}
