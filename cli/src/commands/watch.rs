//! `treering watch`: streams as they grow, whoever writes to them.
//!
//! It waits until the log grows, then for a moment, so that a burst is shown once: it does nothing while nothing happens. On a
//! terminal it is a table that stays in place, the streams that grew last on top; elsewhere a line for each stream and moment.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use treering::{Event, Position, ReadAllOptions, SubscribeOptions, Subscription, Visibility};

use crate::commands::show::DamageMet;
use crate::commands::wanted::visibility;
use crate::exit::Outcome;
use crate::opening;
use crate::output::{Out, Table, count, counted, printable};
use crate::time::format_utc;

/// What comes within this time of the first event is shown with it.
const MOMENT: Duration = Duration::from_millis(200);
/// So many streams are remembered for the table: those that grew last.
const STREAMS_MAX: usize = 4096;
/// So many of the newest events fill the table at the start.
const NEWEST: u64 = 1000;

/// Show streams as they grow
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering watch s           a table, what grew last on top; end with Ctrl-C
  treering watch s SESSION/  those whose names begin so
  treering watch s | tee growth.log
                             a line for each stream that grew
  treering watch s --json | jq -r .stream

Shows what any process appends, a fifth of a second later at most, and nothing while nothing is \
appended. What is committed counts; --durable leaves out what a power loss could still take.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// Only streams whose names begin so
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    /// One JSON object a line, for each stream that grew
    #[arg(long)]
    json: bool,
    /// Only what is durable
    #[arg(long)]
    durable: bool,
}

/// A stream that grew.
#[derive(Clone, Debug)]
struct Growth {
    stream: Arc<str>,
    /// How many events came since it was shown last.
    grew: u64,
    /// How many it has.
    events: u64,
    /// Type, time and position of the newest.
    event_type: Arc<str>,
    recorded_at: i64,
    position: u64,
}

#[derive(Serialize)]
struct GrowthLine<'a> {
    stream: &'a str,
    grew: u64,
    events: u64,
    #[serde(rename = "type")]
    event_type: &'a str,
    recorded_at: i64,
    position: u64,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = opening::for_reading(&args.store)?;
    let visibility = visibility(args.durable);
    let mut damage = DamageMet::at_opening(&store);
    let mut out = Out::stdout();
    let mut grown = Grown::default();
    let is_table = !args.json && io::stdout().is_terminal();
    let marks = store.watermarks();
    let end = if visibility == Visibility::Durable { marks.durable } else { marks.committed };
    if is_table {
        let newest = ReadAllOptions::new().last(NEWEST).stream_prefix(&args.prefix).visibility(visibility).at(end);
        let mut reader = store.read_all(newest)?;
        while let Some(next) = reader.next() {
            match next {
                Ok(event) => grown.take(&event.hold(), false),
                Err(error) => damage.take(error)?,
            }
        }
        show_table(&mut out, &args, &grown)?;
    }
    let options = match &*args.prefix {
        "" => SubscribeOptions::all(),
        prefix => SubscribeOptions::stream_prefix(prefix),
    };
    let options = options.visibility(visibility).after(Position(end.get().saturating_sub(1)));
    let mut subscription = store.subscribe(options)?;
    loop {
        if !a_moment(&mut subscription, &mut grown, &mut damage)? {
            continue;
        }
        if is_table {
            show_table(&mut out, &args, &grown)?;
        }
        for growth in grown.since_shown() {
            match (args.json, is_table) {
                (true, _) => out.json(&growth.as_line())?,
                (false, true) => {}
                (false, false) => out.line(line(&growth))?,
            }
        }
        out.flush()?;
    }
}

/// Waits for an event, then takes in what comes within a moment. Whether there was any.
fn a_moment(subscription: &mut Subscription, grown: &mut Grown, damage: &mut DamageMet) -> Outcome<bool> {
    let (mut until, mut is_first) = (Instant::now() + Duration::from_secs(3600), true);
    loop {
        match subscription.next_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Some(event)) => {
                grown.take(&event, true);
                if std::mem::take(&mut is_first) {
                    until = Instant::now() + MOMENT;
                }
                if Instant::now() >= until {
                    return Ok(true);
                }
            }
            Ok(None) => return Ok(!is_first),
            Err(error) => damage.take(error)?,
        }
    }
}

impl Growth {
    fn as_line(&self) -> GrowthLine<'_> {
        GrowthLine {
            stream: &self.stream,
            grew: self.grew,
            events: self.events,
            event_type: &self.event_type,
            recorded_at: self.recorded_at,
            position: self.position,
        }
    }
}

/// One line of text for a stream that grew.
fn line(growth: &Growth) -> String {
    let Growth { stream, grew, events, event_type, recorded_at, .. } = growth;
    let (stream, event_type) = (printable(stream), printable(event_type));
    format!("{}  {stream}  +{} of {}, {event_type}", format_utc(*recorded_at), count(*grew), counted(*events, "event"))
}

fn show_table(out: &mut Out, args: &Args, grown: &Grown) -> Outcome {
    let size = terminal_size::terminal_size();
    let (width, height) = size.map_or((100, 24), |(width, height)| (usize::from(width.0), usize::from(height.0)));
    out.bytes(table(grown, &args.store.display().to_string(), width.max(20), height.max(4)).as_bytes())?;
    out.flush()
}

/// The table for a terminal of this size, drawn over what it shows.
fn table(grown: &Grown, store: &str, width: usize, height: usize) -> String {
    const HOME: &str = "\x1b[H";
    const CLEAR_LINE: &str = "\x1b[K";
    const CLEAR_BELOW: &str = "\x1b[J";
    let mut streams: Vec<&Growth> = grown.streams.values().collect();
    streams.sort_unstable_by_key(|growth| std::cmp::Reverse(growth.position));
    let mut rows = Table::new(&["stream", ">new", ">events", "newest", "at"]);
    // The line of the title, that of the heads, and one that stays free for the cursor.
    for growth in streams.iter().take(height - 3) {
        let new = if growth.grew == 0 { String::new() } else { format!("+{}", count(growth.grew)) };
        let (stream, event_type) = (printable(&growth.stream), printable(&growth.event_type));
        let at = format_utc(growth.recorded_at);
        rows.row([stream.into_owned(), new, count(growth.events), event_type.into_owned(), at]);
    }
    let title = format!("{}: {} that grew last", printable(store), counted(streams.len() as u64, "stream"));
    let mut text = String::from(HOME);
    for line in std::iter::once(&*title).chain(rows.to_string().lines()) {
        let line: String = line.chars().take(width).collect();
        let _ = writeln!(text, "{line}{CLEAR_LINE}"); // a text takes all
    }
    text + CLEAR_BELOW
}

/// What grew, as far as it is remembered.
#[derive(Debug, Default)]
struct Grown {
    streams: HashMap<Arc<str>, Growth>,
}

impl Grown {
    fn take(&mut self, event: &Event, is_news: bool) {
        let growth = self.streams.entry(Arc::clone(&event.stream)).or_insert_with(|| Growth {
            stream: Arc::clone(&event.stream),
            grew: 0,
            events: 0,
            event_type: Arc::clone(&event.event_type),
            recorded_at: 0,
            position: 0,
        });
        growth.grew += u64::from(is_news);
        growth.events = event.revision.get() + 1;
        growth.event_type = Arc::clone(&event.event_type);
        growth.recorded_at = event.recorded_at;
        growth.position = event.position.get();
    }

    /// Those that grew since they were shown, in the order in which they were written to last. Of too many the oldest are
    /// forgotten.
    fn since_shown(&mut self) -> Vec<Growth> {
        let mut shown: Vec<Growth> = self.streams.values().filter(|growth| growth.grew > 0).cloned().collect();
        shown.sort_unstable_by_key(|growth| growth.position);
        self.streams.values_mut().for_each(|growth| growth.grew = 0);
        if self.streams.len() > STREAMS_MAX {
            let mut positions: Vec<u64> = self.streams.values().map(|growth| growth.position).collect();
            positions.sort_unstable();
            let oldest_kept = positions[positions.len() - STREAMS_MAX];
            self.streams.retain(|_, growth| growth.position >= oldest_kept);
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use treering::{Options, Store};

    fn event(stream: &str, revision: u64, position: u64) -> Event {
        let folder = std::env::temp_dir().join(format!("treering-watch-{}-{position}", std::process::id()));
        let store = Store::open(&folder, Options::new()).unwrap();
        let new = [treering::NewEvent::new("t", "")];
        let _ = store.append(&treering::Batch::to("s", treering::Expected::Any, &new)).unwrap();
        let mut event = store.event("s", treering::Revision(0), Visibility::Committed).unwrap().unwrap();
        store.close().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        (event.stream, event.revision, event.position) =
            (stream.into(), treering::Revision(revision), Position(position));
        event
    }

    #[test]
    fn the_table_shows_what_grew_last_and_fits_the_terminal() {
        let mut grown = Grown::default();
        for (number, name) in ["old", "\x1b[2Jevil", "middle", "new"].into_iter().enumerate() {
            grown.take(&event(name, number as u64, number as u64 + 1), number > 1);
        }
        let text = table(&grown, "s", 60, 6);
        let lines: Vec<&str> = text.split("\x1b[K\n").collect();
        assert_eq!(lines.len(), 6, "{text:?}");
        assert!(lines[0].ends_with("s: 4 streams that grew last"), "{text:?}");
        assert!(lines[2].starts_with("new ") && lines[2].contains("+1"), "{text:?}");
        assert!(lines[3].starts_with("middle ") && lines[4].starts_with("\\u{1b}[2Jevil "), "{text:?}");
        assert!(lines[1..5].iter().all(|line| line.chars().count() <= 60 && !line.contains('\x1b')), "{text:?}");
        assert_eq!(grown.since_shown().iter().map(|growth| &*growth.stream).collect::<Vec<_>>(), ["middle", "new"]);
        assert!(grown.since_shown().is_empty(), "each is shown once");
    }

    #[test]
    fn of_many_streams_those_that_grew_last_are_remembered() {
        let (mut grown, mut event) = (Grown::default(), event("s", 0, 1));
        for number in 0..2 * STREAMS_MAX as u64 {
            (event.stream, event.position) = (format!("s{number}").into(), Position(number + 1));
            grown.take(&event, true);
        }
        assert_eq!(grown.since_shown().len(), 2 * STREAMS_MAX, "all are told");
        assert_eq!(grown.streams.len(), STREAMS_MAX);
        assert!(grown.streams.values().all(|growth| growth.position > STREAMS_MAX as u64));
    }
}
