//! `treering tail`: the newest events of one stream or of the whole store, and with `-f` those to come.
//!
//! The newest of the whole store are found from the heads of its streams backwards, without reading the log: what that
//! costs depends on how many are asked for, not on how many there are. Following begins exactly where the newest end, so
//! nothing is missed or shown twice. It works from another process than the one that writes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use treering::{
    Event, Options, Position, ReadOptions, Store, StreamInfo, StreamReader, SubscribeOptions, Subscription, Token,
    Visibility,
};

use crate::args::token;
use crate::commands::cat::{no_such_stream, visibility};
use crate::commands::show::{DamageMet, Shown};
use crate::exit::Outcome;
use crate::output::{self, Out, printable, width};

/// Print the newest events, and follow with -f
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering tail s                      the newest ten events of the store
  treering tail s SESSION -n 3         the newest three of one stream
  treering tail s -f                   everything, live; end with Ctrl-C
  treering tail s SESSION -f -n 0      only what comes from now on
  treering tail s -f --json | jq .type
  treering tail s -f --json --after TOKEN   goes on where TOKEN, of an event or a receipt, was taken

Shows what is committed; --durable leaves out what a power loss could still take.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// The stream; all of them unless given. With -f it need not exist yet
    stream: Option<String>,
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
    let store = Store::open_read_only(&args.store, Options::new())?;
    let visibility = visibility(args.durable);
    // A store opened for reading stands still until it is told to look again: what is read now ends just here.
    let marks = store.watermarks();
    let end = match visibility {
        Visibility::Durable => marks.durable,
        Visibility::Committed => marks.committed,
    };
    let mut show = Show { args: &args, out: Out::stdout(), width: width(), damage: DamageMet::at_opening(&store) };
    let mut options = SubscribeOptions::all();
    if let Some(name) = &args.stream {
        options = SubscribeOptions::stream(name.clone());
        if store.stream(name)?.is_none() {
            if !args.follow {
                return Err(no_such_stream(name));
            }
            output::note(format_args!("treering: there is no stream {} yet; waiting for it", printable(name)));
        }
    }
    options = options.visibility(visibility);
    let mut subscription = None;
    match (&args.after, &args.stream) {
        (Some(token), _) => {
            let subscribed = subscription.insert(store.subscribe(options.clone().after_token(token))?);
            show.what_is_there(subscribed)?;
        }
        (None, None) => show.newest_of_all(&store, visibility)?,
        (None, Some(name)) if store.stream(name)?.is_some() => show.newest_of(&store, name, visibility)?,
        (None, Some(_)) => {}
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

    fn newest_of(&mut self, store: &Store, name: &str, visibility: Visibility) -> Outcome {
        let mut reader = store.read_stream(name, ReadOptions::new().last(self.args.n).visibility(visibility))?;
        while let Some(next) = reader.next() {
            match next {
                Ok(event) => self.event(Shown::from(&event))?,
                Err(error) => self.damage.take(error)?,
            }
        }
        Ok(())
    }

    fn newest_of_all(&mut self, store: &Store, visibility: Visibility) -> Outcome {
        let mut newest = Vec::new();
        let mut ends = Ends::new(store, visibility);
        while (newest.len() as u64) < self.args.n {
            match ends.previous()? {
                Some(Ok(event)) => newest.push(event),
                Some(Err(error)) => self.damage.take(error)?,
                None => break,
            }
        }
        newest.iter().rev().try_for_each(|event| self.event(Shown::from(event)))
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

/// The events of a store from the newest backwards: the streams' own ends, merged by position.
struct Ends<'a> {
    store: &'a Store,
    visibility: Visibility,
    heap: BinaryHeap<End>,
}

/// Where one stream goes on backwards.
struct End {
    /// Its next event lies here, or before where `event` is not read yet.
    position: Position,
    name: Arc<str>,
    reader: Option<StreamReader>,
    event: Option<Event>,
}

impl<'a> Ends<'a> {
    fn new(store: &'a Store, visibility: Visibility) -> Ends<'a> {
        let end =
            |stream: StreamInfo| End { position: stream.head_position, name: stream.name, reader: None, event: None };
        Ends { store, visibility, heap: store.streams().into_iter().map(end).collect() }
    }

    /// The event before those given so far. An error that is damage may be passed over by asking again.
    fn previous(&mut self) -> Outcome<Option<Result<Event, treering::Error>>> {
        // The topmost event that is read is the newest: whatever else there is lies at or before what is below it.
        while let Some(mut end) = self.heap.pop() {
            if let Some(event) = end.event.take() {
                end.position = Position(event.position.get().saturating_sub(1));
                self.heap.push(end);
                return Ok(Some(Ok(event)));
            }
            let reader = match &mut end.reader {
                Some(reader) => reader,
                None => {
                    let options = ReadOptions::new().backwards().visibility(self.visibility);
                    end.reader.insert(self.store.read_stream(&end.name, options)?)
                }
            };
            match reader.next() {
                Some(Ok(event)) => {
                    end.position = event.position();
                    end.event = Some(event.hold());
                    self.heap.push(end);
                }
                Some(Err(error)) => {
                    self.heap.push(end);
                    return Ok(Some(Err(error)));
                }
                None => {}
            }
        }
        Ok(None)
    }
}

impl PartialEq for End {
    fn eq(&self, other: &End) -> bool {
        self.position == other.position
    }
}

impl Eq for End {}

impl PartialOrd for End {
    fn partial_cmp(&self, other: &End) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for End {
    fn cmp(&self, other: &End) -> Ordering {
        self.position.cmp(&other.position)
    }
}
