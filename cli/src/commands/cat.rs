//! `treering cat`: the events of one stream, or of the whole log.
//!
//! `--raw` gives the payloads back as the file they came from: each with its LF; a last line that had none gets none as
//! long as it is last; one that a grown file continued is left out for the whole line that follows
//! ([`crate::import::mark`]). What `--from`, `--to` and `--last` cut out is glued as if it were all there is: `--to R`
//! gives the file as it was when R was the head.

use std::path::PathBuf;
use std::time::SystemTime;

use treering::{Store, Token};

use crate::args::token;
use crate::commands::show::{DamageMet, Shown};
use crate::commands::wanted::Wanted;
use crate::exit::{Failure, Outcome};
use crate::import::mark::{Gluer, ending};
use crate::opening;
use crate::output::{Out, count, printable, width};
use crate::time::parse_moment;

/// Print the events of a stream, or of all of them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering cat s SESSION               one line an event
  treering cat s SESSION --last 20     the last twenty
  treering cat s SESSION --from 100 --to 199
                                       a hundred of them
  treering cat s SESSION --raw > log.jsonl
                                       the file that was imported, byte for byte
  treering cat s SESSION --json | jq .type
                                       every field, one object a line
  treering cat s SESSION --since 2h    what happened in the last two hours
  treering cat s --type failure        events of one type, of all streams
  treering cat s --type failure --last 5
                                       the last five of them
  treering cat s --since 2h --until 1h
                                       all streams, in the order of the log
  treering cat s --streams project-a/  of the streams whose names begin so
  treering cat s SESSION --at 2026-02-12
                                       as it was when that day began (UTC)

--since and --until go by the time that is shown, when it happened; --at by when it was recorded. \
--since looks at what was recorded a day before TIME or later, since clocks may differ. \
TIME is 2026-02-12T14:11:57Z, a day, or how long ago: 90s, 15m, 2h, 3d.

Shows what is committed; --durable leaves out what a power loss could still take.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// The stream; all of them unless given
    stream: Option<String>,
    /// Only streams whose names begin with this
    #[arg(long, value_name = "PREFIX", conflicts_with = "stream")]
    streams: Option<String>,
    /// The first revision to show
    #[arg(long, value_name = "R", requires = "stream")]
    from: Option<u64>,
    /// The last revision to show
    #[arg(long, value_name = "R", requires = "stream")]
    to: Option<u64>,
    /// Only the last so many of what else is asked for
    #[arg(long, value_name = "N", conflicts_with_all = ["from", "to"])]
    last: Option<u64>,
    /// Only what lies behind the event that this token names (as --json shows it; it may be of any stream)
    #[arg(long, value_name = "TOKEN", value_parser = token)]
    after: Option<Token>,
    /// Only what happened at this time or later
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<i64>,
    /// Only what happened before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<i64>,
    /// What was recorded up to this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<i64>,
    /// Only events of this type
    #[arg(long = "type", value_name = "T")]
    event_type: Option<String>,
    /// Payloads only, each followed by LF
    #[arg(long, conflicts_with = "json", requires = "stream")]
    raw: bool,
    /// One JSON object a line, with every field
    #[arg(long)]
    json: bool,
    /// Only what is durable
    #[arg(long)]
    durable: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = opening::for_reading(&args.store)?;
    if let Some(stream) = &args.stream
        && store.stream(stream)?.is_none()
    {
        return Err(no_such_stream(&store, stream));
    }
    let (mut out, mut damage, mut gluer) = (Out::stdout(), DamageMet::at_opening(&store), Gluer::default());
    let width = width();
    args.wanted().read(&store, |next| {
        let event = match next {
            Ok(event) => event,
            Err(error) => {
                // What comes before the damage is shown before the damage is told.
                out.flush()?;
                return damage.take(error);
            }
        };
        if args.raw {
            let marks = ending(event.metadata());
            gluer.push(event.revision().get(), event.payload(), marks, |bytes| out.bytes(bytes))
        } else if args.json {
            Shown::from(&event).as_json(&mut out)
        } else {
            Shown::from(&event).as_line(&mut out, args.stream.is_none(), width)
        }
    })?;
    gluer.finish(|bytes| out.bytes(bytes))?;
    out.flush()?;
    damage.outcome()
}

impl Args {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            stream: self.stream.as_deref(),
            prefix: self.streams.as_deref(),
            from: self.from,
            to: self.to,
            event_type: self.event_type.as_deref(),
            after: self.after.as_ref(),
            since: self.since,
            until: self.until,
            at: self.at,
            last: self.last,
            durable: self.durable,
        }
    }
}

/// A moment on the command line.
pub(crate) fn moment(text: &str) -> Result<i64, String> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    parse_moment(text, i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX))
}

/// The error for a stream that is not there: mostly its name was not written to its end.
pub(crate) fn no_such_stream(store: &Store, name: &str) -> Failure {
    let begin_so = if name.is_empty() { Vec::new() } else { store.streams_with_prefix(name).unwrap_or_default() };
    let (name, first) = (printable(name), begin_so.first().map(|stream| printable(&stream.name)));
    Failure::Error(match (first, begin_so.len()) {
        (None, _) => format!("there is no stream {name}; `treering streams` lists what there is"),
        (Some(first), 1) => format!("there is no stream {name}; one begins so: {first}"),
        (Some(first), many) => format!(
            "there is no stream {name}; {} begin so, {first} among them: `treering streams STORE {name}` lists them",
            count(many as u64)
        ),
    })
}
