//! `treering tail`: the newest events of one stream or of the whole store, and with `-f` those to come.
//!
//! What that costs depends on how many are asked for, not on how many there are. Following begins exactly where the newest
//! end, so nothing is missed or shown twice. It works from another process than the one that writes.

use std::path::PathBuf;
use std::time::Duration;

use treering::{Position, SubscribeOptions, Subscription, Token, Visibility};

use crate::args::token;
use crate::commands::cat::no_such_stream;
use crate::commands::show::{DamageMet, Shown};
use crate::commands::wanted::{Wanted, visibility};
use crate::exit::Outcome;
use crate::opening;
use crate::output::{self, Out, printable, width};

/// Print the newest events, and follow with -f
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering tail s                          the newest ten events of the store
  treering tail s SESSION -n 3             the newest three of one stream
  treering tail s -f                       everything, live; end with Ctrl-C
  treering tail s -f --type failure        what fails, in any stream
  treering tail s SESSION -f -n 0          only what comes from now on
  treering tail s -f --json | jq .type
  treering tail s -f --json --after TOKEN  goes on where TOKEN was taken

Shows what is committed; --durable leaves out what a power loss could still take.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// The stream; all of them unless given. With -f it need not exist yet
    stream: Option<String>,
    /// Only streams whose names begin with this
    #[arg(long, value_name = "PREFIX", conflicts_with = "stream")]
    streams: Option<String>,
    /// Only events of this type
    #[arg(long = "type", value_name = "T")]
    event_type: Option<String>,
    /// How many events to begin with
    #[arg(short, value_name = "N", default_value_t = 10)]
    n: u64,
    /// Everything behind the event that this token names, in place of the newest (--json shows each event's)
    #[arg(long, value_name = "TOKEN", value_parser = token, conflicts_with = "n")]
    after: Option<Token>,
    /// Go on showing what is appended
    #[arg(short, long)]
    follow: bool,
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
    let visibility = visibility(args.durable);
    // A store opened for reading stands still until it is told to look again: what is read now ends just here.
    let marks = store.watermarks();
    let end = match visibility {
        Visibility::Durable => marks.durable,
        Visibility::Committed => marks.committed,
    };
    let mut show = Show { args: &args, out: Out::stdout(), width: width(), damage: DamageMet::at_opening(&store) };
    let mut options = SubscribeOptions::all();
    let mut is_there = true;
    if let Some(name) = &args.stream {
        options = SubscribeOptions::stream(name.clone());
        is_there = store.stream(name)?.is_some();
        if !is_there && !args.follow {
            return Err(no_such_stream(&store, name));
        }
        if !is_there {
            output::note(format_args!("treering: there is no stream {} yet; waiting for it", printable(name)));
        }
    }
    if let Some(prefix) = &args.streams {
        options = SubscribeOptions::stream_prefix(prefix.clone());
    }
    options = options.event_types(&args.event_type).visibility(visibility);
    let mut subscription = None;
    if let Some(token) = &args.after {
        let subscribed = subscription.insert(store.subscribe(options.clone().after_token(token))?);
        show.what_is_there(subscribed)?;
    } else if is_there {
        args.newest().read(&store, |next| match next {
            Ok(event) => show.event(Shown::from(&event)),
            Err(error) => show.damage.take(error),
        })?;
    }
    show.out.flush()?;
    if args.follow {
        let subscription = match subscription {
            Some(subscription) => subscription,
            None => store.subscribe(options.after(Position(end.get().saturating_sub(1))))?,
        };
        show.follow(subscription)?;
    }
    show.damage.outcome()
}

impl Args {
    fn newest(&self) -> Wanted<'_> {
        Wanted {
            stream: self.stream.as_deref(),
            prefix: self.streams.as_deref(),
            event_type: self.event_type.as_deref(),
            last: Some(self.n),
            durable: self.durable,
            ..Wanted::default()
        }
    }
}

struct Show<'a> {
    args: &'a Args,
    out: Out,
    width: Option<usize>,
    damage: DamageMet,
}

impl Show<'_> {
    fn event(&mut self, event: Shown<'_>) -> Outcome {
        match self.args.json {
            true => event.as_json(&mut self.out),
            false => event.as_line(&mut self.out, self.args.stream.is_none(), self.width),
        }
    }

    /// Shows what is there already.
    fn what_is_there(&mut self, subscription: &mut Subscription) -> Outcome {
        loop {
            match subscription.try_next() {
                Ok(Some(event)) => self.event(Shown::from(&event))?,
                Ok(None) => return Ok(()),
                Err(error) => self.damage.take(error)?,
            }
        }
    }

    /// Shows what comes, until it is interrupted.
    fn follow(&mut self, mut subscription: Subscription) -> Outcome {
        loop {
            match subscription.next_timeout(Duration::from_secs(60)) {
                Ok(Some(event)) => {
                    self.event(Shown::from(&event))?;
                    self.out.flush()?;
                }
                Ok(None) => {}
                Err(error) => self.damage.take(error)?,
            }
        }
    }
}
