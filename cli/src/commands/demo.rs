//! `treering demo`: the story of the engine in under a minute, told by doing it.
//!
//! A worker process advances an agent's session, a follower in this process shows it live from the log, the worker is
//! killed with SIGKILL in the middle of a turn, another picks up from the log alone, a late one is refused by its expected
//! revision, two models go on from the middle of the session, a summary is put beside it, a pool of workers advances several
//! agents while it is killed at random, and everything that was acknowledged is checked to be there. Nothing is staged: workers
//! are this program run again, the kills are real, every figure is measured in the run.

mod branches;
mod pool;
mod story;
pub(crate) mod worker;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use treering::{
    Batch, Durability, ErrorKind, Expected, NewEvent, Options, Position, ReadOptions, Revision, Store,
    SubscribeOptions, Subscription, Visibility,
};

use crate::exit::{Failure, Outcome};
use crate::import::record::{self, Format};
use story::{Ending, Story};
use worker::{SCRIPT, STREAM, Said};

/// The log of the session's sub-agent and that of another tool: there from the beginning.
const OTHERS: [(&str, Format, &str); 2] = [
    (
        "6b30bc6d-525e-427f-a53d-9ec562ab9f18/agent-a7d3c19",
        Format::ClaudeCode,
        include_str!("../../samples/claude-code-agent.jsonl"),
    ),
    ("019cbe0a-5d1c-7a40-9c55-3f0e8d2b7a16", Format::Codex, include_str!("../../samples/codex-rollout.jsonl")),
];

/// The first worker is killed behind this many events at the earliest, once a tool was called and has not answered.
const KILL_BEHIND_EVENTS: u64 = 12;
/// How long nothing may happen before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same where the worker is gone: what it appended shows much sooner.
const PATIENCE_AFTER_END: Duration = Duration::from_secs(2);

/// Tell the story in under a minute: append, kill, pick up, follow, verify
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering demo         in a new temporary folder, which is kept
  treering demo s       in a folder of your choice, which must be new or empty
  treering demo --json  every step as one JSON object a line")]
pub(crate) struct Args {
    /// Where the store is to be made
    store: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// How long a step of the worker takes, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(0..=1000))]
    step_millis: u64,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let path = match args.store {
        Some(path) => path,
        None => std::env::temp_dir().join(format!("treering-demo-{}", std::process::id())),
    };
    if path.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::Error(format!(
            "{} is not empty, and the demo wants to begin with nothing; name a folder that does not exist yet",
            path.display()
        )));
    }
    let mut story = Story::new(args.json);
    story.begins(&path)?;
    let kept = fill_with_others(&path)?;
    story.others_are_in(&kept)?;

    let store = Store::open_read_only(&path, Options::new())?;
    let mut follower = Follower::new(&store)?;
    let mut first = Worker::start(&path, args.step_millis)?;
    story.worker_started(1, first.pid())?;
    follower.follow(&mut story, &mut first, |events, payload| events > KILL_BEHIND_EVENTS && calls_a_tool(payload))?;
    first.kill()?;
    let killed = Instant::now();
    store.refresh()?;
    let is_unanswered = last_payload(&store)?.is_some_and(|payload| calls_a_tool(&payload));
    story.worker_killed(first.pid(), first.acknowledged.len() as u64, follower.events, is_unanswered)?;

    let mut second = Worker::start(&path, args.step_millis)?;
    story.worker_started(2, second.pid())?;
    let whole = SCRIPT.lines().count() as u64;
    follower.follow(&mut story, &mut second, |events, _| events == whole)?;
    second.finish()?;
    let picked_up = second.first_receipt.map(|at| at.duration_since(killed)).unwrap_or_default();

    let stale = Revision(second.found.saturating_sub(1));
    let actual = late_worker(&path, stale)?;
    story.late_worker_refused(stale.get(), actual)?;
    branches::grow(&path, &mut story)?;
    pool::run(&path, Duration::from_millis(args.step_millis), &mut story)?;

    store.refresh()?;
    let found = check(&store)?;
    let lost = first.acknowledged.iter().chain(&second.acknowledged).filter(|revision| **revision >= found).count();
    let started = Instant::now();
    let report = treering::maintain::verify(&path, &mut ())?;
    let verify_time = started.elapsed();
    let stat = store.stat()?;
    story.ends(Ending {
        path: &path,
        acknowledged: (first.acknowledged.len() + second.acknowledged.len()) as u64,
        lost: lost as u64,
        is_clean: report.is_clean(),
        verify_time,
        picked_up,
        open_time: Duration::from_micros(second.open_micros),
        delays: follower.delays,
        appends: first.append_micros.iter().chain(&second.append_micros).copied().map(Duration::from_micros).collect(),
        step: Duration::from_millis(args.step_millis),
        events: stat.events,
        streams: stat.streams,
        disk_bytes: stat.disk_bytes,
    })?;
    if !report.is_clean() || lost > 0 {
        return Err(Failure::Damage("the store that the demo made is not whole, which is a bug".to_owned()));
    }
    Ok(())
}

/// Makes the store and imports the other logs; gives each stream with its number of events.
fn fill_with_others(path: &Path) -> Outcome<Vec<(&'static str, u64)>> {
    let store = Store::open(path, Options::new())?;
    let mut kept = Vec::new();
    for (stream, format, text) in OTHERS {
        let records: Vec<_> = text.lines().map(|line| (record::read(format, line.as_bytes()), line)).collect();
        let events: Vec<_> = records
            .iter()
            .map(|(record, line)| {
                let event = NewEvent::new(&record.event_type, *line);
                let event = record.occurred_at.map_or(event, |time| event.occurred_at(time));
                record.id.as_deref().map_or(event, |id| event.id(id))
            })
            .collect();
        let receipt = store.append(&Batch::to(stream, Expected::NoStream, &events).durability(Durability::Synced))?;
        kept.push((stream, receipt.sections[0].last_revision.get() + 1));
    }
    store.close()?;
    Ok(kept)
}

/// Whether a record of the session calls a tool, so that the turn goes on.
fn calls_a_tool(payload: &[u8]) -> bool {
    let called = b"\"type\":\"tool_use\"";
    payload.windows(called.len()).any(|bytes| bytes == called)
}

/// The session's last event.
fn last_payload(store: &Store) -> Outcome<Option<Vec<u8>>> {
    let options = ReadOptions::new().last(1).visibility(Visibility::Committed);
    let mut reader = store.read_stream(STREAM, options)?;
    Ok(reader.next().transpose()?.map(|event| event.payload().to_vec()))
}

/// A process that appends.
struct Worker {
    child: Child,
    said: Receiver<(Instant, Said)>,
    /// The revisions that it was given receipts for.
    acknowledged: Vec<u64>,
    append_micros: Vec<u64>,
    open_micros: u64,
    found: u64,
    first_receipt: Option<Instant>,
}

impl Worker {
    fn start(path: &Path, step_millis: u64) -> Outcome<Worker> {
        let program = std::env::current_exe().map_err(|error| Failure::io("find", "this program", &error))?;
        let mut child = Command::new(program)
            .arg("demo-worker")
            .arg(path)
            .args(["--step-millis", &step_millis.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::io("start", "a worker", &error))?;
        let (sender, said) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    // A line that was cut by the kill is no receipt.
                    let Ok(line) = serde_json::from_str(&line) else { continue };
                    if sender.send((Instant::now(), line)).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Worker {
            child,
            said,
            acknowledged: Vec::new(),
            append_micros: Vec::new(),
            open_micros: 0,
            found: 0,
            first_receipt: None,
        })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Takes down what it said.
    fn heed(&mut self, at: Instant, said: &Said) {
        match said {
            Said::PickedUp { events, open_micros, .. } => {
                self.found = *events;
                self.open_micros = *open_micros;
            }
            Said::Appended { revision, micros } => {
                self.acknowledged.push(*revision);
                self.append_micros.push(*micros);
                self.first_receipt.get_or_insert(at);
            }
        }
    }

    /// Ends it as a crash would, and hears out what it said before.
    fn kill(&mut self) -> Outcome {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map_err(|error| Failure::io("kill", "the worker", &error))?;
        self.hear_out();
        Ok(())
    }

    /// Waits for its end, which must be a good one.
    fn finish(&mut self) -> Outcome {
        let status = self.child.wait().map_err(|error| Failure::io("wait for", "the worker", &error))?;
        self.hear_out();
        if status.success() { Ok(()) } else { Err(Failure::Error(format!("the worker failed ({status})"))) }
    }

    fn hear_out(&mut self) {
        // Ends when the thread that reads the pipe has read it to its end.
        while let Ok((at, said)) = self.said.recv_timeout(PATIENCE) {
            self.heed(at, &said);
        }
    }
}

/// No worker outlives the demo.
impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Shows the session as it grows, from the log alone: it has no other tie to the workers, and stays when one dies.
struct Follower {
    subscription: Subscription,
    events: u64,
    /// From the clock reading in the event to its being here.
    delays: Vec<Duration>,
}

impl Follower {
    fn new(store: &Store) -> Outcome<Follower> {
        // The session does not exist yet: everything is followed, and what is not of it was there before.
        // The next event will begin where the log ends now.
        let end = store.watermarks().committed.get();
        let options = SubscribeOptions::all().after(Position(end.saturating_sub(1))).visibility(Visibility::Committed);
        Ok(Follower { subscription: store.subscribe(options)?, events: 0, delays: Vec::new() })
    }

    /// Tells every event as it comes, until `is_enough` says so of one (it is asked with the number of events so far and
    /// the payload of the newest).
    fn follow(&mut self, story: &mut Story, worker: &mut Worker, is_enough: impl Fn(u64, &[u8]) -> bool) -> Outcome {
        let mut last_news = Instant::now();
        loop {
            while let Ok((at, said)) = worker.said.try_recv() {
                if let Said::PickedUp { events, last, open_micros } = &said {
                    story.worker_picked_up(*events, last.as_deref(), *open_micros)?;
                }
                worker.heed(at, &said);
            }
            let Some(event) = self.subscription.next_timeout(Duration::from_millis(20))? else {
                let patience = if worker.has_ended() { PATIENCE_AFTER_END } else { PATIENCE };
                if last_news.elapsed() > patience {
                    return Err(Failure::Error("the worker appends nothing any more, too early".to_owned()));
                }
                continue;
            };
            if *event.stream != *STREAM {
                continue;
            }
            last_news = Instant::now();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as i64;
            self.delays.push(Duration::from_nanos(now.saturating_sub(event.recorded_at).max(0) as u64));
            self.events += 1;
            story.event(event.revision.get(), &event.event_type, &event.payload)?;
            if is_enough(self.events, &event.payload) {
                return Ok(());
            }
        }
    }
}

/// A worker that read the log long ago and still believes in an old head; gives the head that it is told.
fn late_worker(path: &Path, believed: Revision) -> Outcome<Option<u64>> {
    let store = Store::open(path, Options::new())?;
    let events = [NewEvent::new("user", r#"{"type":"user","note":"written by a worker that was asleep"}"#)];
    match store.append(&Batch::to(STREAM, Expected::Exactly(believed), &events)) {
        Err(error) if error.kind() == ErrorKind::Conflict => {
            let actual = error.conflict().and_then(|conflict| conflict.actual).map(Revision::get);
            store.close()?;
            Ok(actual)
        }
        Err(error) => Err(error.into()),
        Ok(_receipt) => Err(Failure::Error("an append with an old head was accepted, which is a bug".to_owned())),
    }
}

/// Compares the session with the script, byte for byte; gives the number of events.
fn check(store: &Store) -> Outcome<u64> {
    let mut reader = store.read_stream(STREAM, ReadOptions::new().visibility(Visibility::Durable))?;
    let mut lines = SCRIPT.lines();
    let mut events = 0;
    while let Some(event) = reader.next() {
        let event = event?;
        if lines.next().map(str::as_bytes) != Some(event.payload()) {
            return Err(Failure::Error(format!("revision {events} is not what was appended there, which is a bug")));
        }
        events += 1;
    }
    match lines.next() {
        None => Ok(events),
        Some(_) => Err(Failure::Error(format!("the session ends behind {events} events, which is a bug"))),
    }
}
