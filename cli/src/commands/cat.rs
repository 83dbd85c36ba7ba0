//! `treering cat`: the events of one stream, or of the whole log.
//!
//! `--raw` gives the payloads back as the file they came from: each with its LF; a last line that had none gets none as
//! long as it is last; one that a grown file continued is left out for the whole line that follows
//! ([`crate::import::mark`]). What `--from`, `--to` and `--last` cut out is glued as if it were all there is: `--to R`
//! gives the file as it was when R was the head.

use std::path::PathBuf;
use std::time::SystemTime;

use treering::{EventRef, Position, ReadAllOptions, ReadOptions, Revision, Store, Token, Visibility};

use crate::args::token;
use crate::commands::show::{DamageMet, Shown};
use crate::exit::{Failure, Outcome};
use crate::import::mark::{Gluer, ending};
use crate::opening;
use crate::output::{Out, printable, width};
use crate::time::parse_moment;

/// Print the events of a stream, or of all of them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering cat s SESSION                     one line an event
  treering cat s SESSION --last 20           the last twenty
  treering cat s SESSION --from 100 --to 199 a hundred of them
  treering cat s SESSION --raw > log.jsonl   the file that was imported, byte for byte
  treering cat s SESSION --json | jq .type   every field, one object a line
  treering cat s SESSION --since 2h          what happened in the last two hours
  treering cat s SESSION --type failure      events of one type
  treering cat s --type failure --since 2h   of all streams, in the order of the log
  treering cat s --streams project-a/        of the streams whose names begin so
  treering cat s SESSION --at 2026-02-12     the stream as it was when that day began (UTC)

--since and --until go by the time that is shown, when it happened; --at by when it was recorded.
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
    /// Only the last so many; of all streams what lies among them
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

impl Args {
    /// Whether an event is asked for, by its time.
    fn wants(&self, event: &EventRef<'_>) -> bool {
        let time = event.occurred_at().unwrap_or(event.recorded_at());
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = opening::for_reading(&args.store)?;
    let mut show = Show {
        args: &args,
        out: Out::stdout(),
        damage: DamageMet::at_opening(&store),
        gluer: Gluer::default(),
        width: width(),
    };
    let at = args.at.map(|time| store.end_at(time, visibility(args.durable))).transpose()?;
    match &args.stream {
        Some(stream) => show.stream(&store, stream, at)?,
        None => show.log(&store, at)?,
    }
    let Show { mut out, damage, gluer, .. } = show;
    gluer.finish(|bytes| out.bytes(bytes))?;
    out.flush()?;
    damage.outcome()
}

struct Show<'a> {
    args: &'a Args,
    out: Out,
    damage: DamageMet,
    gluer: Gluer,
    width: Option<usize>,
}

impl Show<'_> {
    fn stream(&mut self, store: &Store, stream: &str, at: Option<Position>) -> Outcome {
        let args = self.args;
        if store.stream(stream)?.is_none() {
            return Err(no_such_stream(stream));
        }
        let mut options = ReadOptions::new().visibility(visibility(args.durable));
        if let Some(from) = args.from {
            options = options.from(Revision(from));
        }
        if let Some(to) = args.to {
            options = options.to(Revision(to));
        }
        if let Some(last) = args.last {
            options = options.last(last);
        }
        if let Some(event_type) = &args.event_type {
            options = options.event_type(event_type);
        }
        if let Some(after) = &args.after {
            options = options.after_token(after);
        }
        if let Some(at) = at {
            options = options.at(at);
        }
        let mut reader = store.read_stream(stream, options)?;
        while let Some(next) = reader.next() {
            self.next(next)?;
        }
        Ok(())
    }

    fn log(&mut self, store: &Store, at: Option<Position>) -> Outcome {
        let args = self.args;
        let mut options = ReadAllOptions::new().visibility(visibility(args.durable));
        if let Some(prefix) = &args.streams {
            options = options.stream_prefix(prefix);
        }
        if let Some(last) = args.last {
            options = options.last(last);
        }
        if let Some(event_type) = &args.event_type {
            options = options.event_type(event_type);
        }
        if let Some(after) = &args.after {
            options = options.after_token(after);
        }
        if let Some(at) = at {
            options = options.at(at);
        }
        let mut reader = store.read_all(options)?;
        while let Some(next) = reader.next() {
            self.next(next)?;
        }
        Ok(())
    }

    fn next(&mut self, next: treering::Result<EventRef<'_>>) -> Outcome {
        let event = match next {
            Ok(event) => event,
            Err(error) => {
                // What comes before the damage is shown before the damage is told.
                self.out.flush()?;
                return self.damage.take(error);
            }
        };
        if !self.args.wants(&event) {
            return Ok(());
        }
        if self.args.raw {
            let (out, marks) = (&mut self.out, ending(event.metadata()));
            self.gluer.push(event.revision().get(), event.payload(), marks, |bytes| out.bytes(bytes))
        } else if self.args.json {
            Shown::from(&event).as_json(&mut self.out)
        } else {
            Shown::from(&event).as_line(&mut self.out, self.args.stream.is_none(), self.width)
        }
    }
}

/// What readers are shown: everything committed, unless told otherwise.
pub(crate) fn visibility(durable: bool) -> Visibility {
    if durable { Visibility::Durable } else { Visibility::Committed }
}

/// A moment on the command line.
pub(crate) fn moment(text: &str) -> Result<i64, String> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    parse_moment(text, i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX))
}

/// The error for a stream that is not there.
pub(crate) fn no_such_stream(name: &str) -> Failure {
    Failure::Error(format!("there is no stream {}; `treering streams` lists what there is", printable(name)))
}
