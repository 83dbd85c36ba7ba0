//! `torture-writer`: appends to a store until it is killed or done, and prints a line for each receipt that it was given.
//!
//! A line is printed by one call, behind the acknowledgement and before the next append of its thread. What it appends and
//! prints is said in `treering_tests::torture::script`. It ends by itself where nobody reads its lines any more.
//!
//! A *shared* writer is one of several. One batch in four expects the revisions that it knows, and a line is printed too where
//! somebody else was first, or had the store locked; then it goes on with the next batch. It closes the store once its
//! standard input ends.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use treering::{Batch, Durability, Error, ErrorKind, Expected, NewEvent, Options, Receipt, Revision, Store};
use treering_tests::torture::script::{Dice, Line, Mark, Receipt as ReceiptLine};

#[derive(Debug, Parser)]
struct Arguments {
    store: PathBuf,
    /// Which life of a writer of this store this is.
    #[arg(long)]
    life: u64,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    kind: Kind,
    /// Closes the store after so many batches.
    #[arg(long, default_value_t = u64::MAX)]
    batches: u64,
    /// Kills itself after so many batches.
    #[arg(long)]
    dies_after: Option<u64>,
    /// Appends together with others, and has so many milliseconds of patience with them.
    #[arg(long)]
    shared: Option<u64>,
    /// Rests for up to so many microseconds behind each batch.
    #[arg(long, default_value_t = 0)]
    rest: u64,
    /// Appends until a sync fails; then nothing may be acknowledged any more.
    #[arg(long)]
    expects_failure: bool,
    /// Fails where the store was not closed, or is not sound.
    #[arg(long)]
    wants_clean: bool,
}

/// How it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One thread; both levels, one to three streams a batch, now and then a batch that wants a segment of its own.
    Mixed,
    /// Three threads, all Synced, so that they share syncs.
    Group,
    /// One thread with up to eight batches outstanding.
    Tasks,
    /// Written only, with syncs in the background: copies into the mapping.
    Burst,
    /// Written only, in one segment, and never a sync.
    Quiet,
    /// The same calls to the system each time, as far as that can be: both levels, rolls, a seal.
    Fixed,
}

impl Kind {
    fn options(self) -> Options {
        let small = Options::new().segment_bytes(64 << 10).index_stride_bytes(16 << 10);
        match self {
            Kind::Quiet => Options::new().segment_bytes(64 << 20).sync_interval(Duration::from_secs(3600)),
            Kind::Burst => small.sync_interval(Duration::from_millis(2)),
            _ => small.sync_interval(Duration::from_millis(20)),
        }
    }
}

/// Events of one batch, by section: the stream, the marks and the payloads.
type Sections = Vec<(String, Vec<(String, Vec<u8>)>)>;

struct Writer {
    store: Store,
    arguments: Arguments,
    batches: AtomicU64,
    /// Whether it is to end, whatever is left.
    is_over: Arc<AtomicBool>,
    /// The heads of streams as far as a shared writer has heard of them.
    heads: Mutex<HashMap<String, u64>>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the writer failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What it says in the end where something is wrong.
type Failed = Box<dyn std::error::Error + Send + Sync>;

fn run(arguments: Arguments) -> Result<(), Failed> {
    let store = open(&arguments)?;
    let report = store.open_report();
    if arguments.wants_clean && !(report.was_clean && report.damage.is_empty() && !report.has_rolled) {
        return Err(format!("the store was not left as a closed one is: {report:?}").into());
    }
    say(&Line::Opened(report.epoch.segment.0, u64::from(report.epoch.takeover)));
    let is_over = Arc::new(AtomicBool::new(false));
    if arguments.shared.is_some() {
        let ending = Arc::clone(&is_over);
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            ending.store(true, Ordering::Relaxed);
        });
    }
    let writer = Writer { store, arguments, batches: AtomicU64::new(0), is_over, heads: Mutex::default() };
    let (kind, seed) = (writer.arguments.kind, writer.arguments.seed);
    let worked = match kind {
        Kind::Group => std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|thread| {
                    scope.spawn({
                        let writer = &writer;
                        move || writer.append_all(Dice::new(seed + thread))
                    })
                })
                .collect();
            let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
            ended.into_iter().collect()
        }),
        Kind::Tasks => writer.submit_all(Dice::new(seed)),
        _ => writer.append_all(Dice::new(seed)),
    };
    if writer.arguments.expects_failure {
        return writer.stops(worked);
    }
    worked?;
    let is_shared = writer.arguments.shared.is_some();
    match writer.store.close() {
        // Who stands in its way is stopped. What is not synced yet is synced by those who are left.
        Err(error) if is_shared && error.kind() == ErrorKind::Locked => say(&Line::Locked(pid_in(&error))),
        closed => {
            closed?;
            say(&Line::Closed);
        }
    }
    Ok(())
}

/// Opens the store; a shared writer tries it until nobody stands in its way.
fn open(arguments: &Arguments) -> treering::Result<Store> {
    let options = arguments.kind.options();
    let Some(patience) = arguments.shared else { return Store::open(&arguments.store, options.exclusive(true)) };
    let options = options.patience(Duration::from_millis(patience));
    loop {
        match Store::open(&arguments.store, options.clone()) {
            Err(error) if error.kind() == ErrorKind::Locked => say(&Line::Locked(pid_in(&error))),
            opened => return opened,
        }
    }
}

/// The process that an error names; 0 where it names none, since that one had ended by then.
fn pid_in(error: &Error) -> u64 {
    let text = error.to_string();
    let behind = text.split_once("process ").map_or("", |(_, behind)| behind);
    behind.split(|c: char| !c.is_ascii_digit()).next().and_then(|pid| pid.parse().ok()).unwrap_or(0)
}

impl Writer {
    /// The number of the next batch, or `None` where there were enough.
    fn next(&self) -> Option<u64> {
        let next = self.batches.fetch_add(1, Ordering::Relaxed);
        if self.arguments.dies_after == Some(next) {
            std::process::abort(); // for the store the same as SIGKILL
        }
        (next < self.arguments.batches && !self.is_over.load(Ordering::Relaxed)).then_some(next)
    }

    /// Behind a sync that failed every append, at either level, and every sync says that the store is poisoned. Where the next
    /// segment could not be begun nothing is poisoned, since nobody knows of it, as long as all that was appended can be synced.
    fn stops(&self, worked: Result<(), Failed>) -> Result<(), Failed> {
        let failed = worked.err().ok_or("nothing failed")?;
        let error = failed.downcast_ref::<Error>().ok_or_else(|| format!("it ended otherwise: {failed}"))?;
        match error.kind() {
            ErrorKind::Poisoned => {}
            ErrorKind::Io | ErrorKind::NoSpace if self.store.sync().is_ok() => {
                say(&Line::Stopped);
                return Ok(());
            }
            ErrorKind::Io | ErrorKind::NoSpace => {}
            _ => return Err(format!("it ended otherwise: {error:?}").into()),
        }
        for level in [Durability::Written, Durability::Synced, Durability::Written] {
            let events = [NewEvent::new("t", "not to be appended")];
            match self.store.append(&Batch::to("s0", Expected::Any, &events).durability(level)) {
                Err(error) if error.kind() == ErrorKind::Poisoned => {}
                other => return Err(format!("{level:?} after {failed}: {other:?}").into()),
            }
        }
        match self.store.sync() {
            Err(error) if error.kind() == ErrorKind::Poisoned => say(&Line::Stopped),
            other => return Err(format!("a sync after {failed}: {other:?}").into()),
        }
        Ok(())
    }

    fn append_all(&self, mut dice: Dice) -> Result<(), Failed> {
        while let Some(batch) = self.next() {
            let sections = self.draw(batch, &mut dice);
            let expected = self.expected(&sections, &mut dice);
            let level = self.level(batch, &mut dice);
            let answer = with_batch(&sections, &expected, level, |batch| self.store.append(batch));
            self.take(batch, &expected, answer)?;
            if self.arguments.rest > 0 {
                std::thread::sleep(Duration::from_micros(dice.below(self.arguments.rest)));
            }
        }
        Ok(())
    }

    fn submit_all(&self, mut dice: Dice) -> Result<(), Failed> {
        let mut outstanding = Vec::new();
        while let Some(batch) = self.next() {
            let sections = self.draw(batch, &mut dice);
            let expected = self.expected(&sections, &mut dice);
            match with_batch(&sections, &expected, Durability::Synced, |batch| self.store.submit(batch)) {
                Ok(pending) => outstanding.push((batch, expected, pending)),
                Err(error) => self.take(batch, &expected, Err(error))?,
            }
            if outstanding.len() as u64 > dice.below(8) {
                for (batch, expected, pending) in outstanding.drain(..) {
                    self.take(batch, &expected, pending.wait())?;
                }
            }
        }
        outstanding.into_iter().try_for_each(|(batch, expected, pending)| self.take(batch, &expected, pending.wait()))
    }

    /// What each section of a batch expects: one batch in four of a shared writer the heads that it knows.
    fn expected(&self, sections: &Sections, dice: &mut Dice) -> Vec<Expected> {
        if self.arguments.shared.is_none() || dice.below(4) > 0 {
            return vec![Expected::Any; sections.len()];
        }
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |stream: &str| heads.get(stream).map(|head| Expected::Exactly(Revision(*head)));
        sections.iter().map(|(stream, _)| known(stream).unwrap_or(Expected::NoStream)).collect()
    }

    /// Says what became of a batch. A shared writer goes on where somebody else was first, or has the store locked.
    fn take(&self, batch: u64, expected: &[Expected], answer: treering::Result<Receipt>) -> Result<(), Failed> {
        let is_shared = self.arguments.shared.is_some();
        let receipt = match answer {
            Ok(receipt) => receipt,
            Err(error) if is_shared && error.kind() == ErrorKind::Locked => {
                say(&Line::Locked(pid_in(&error)));
                return Ok(());
            }
            Err(error) if is_shared && error.kind() == ErrorKind::Conflict => {
                let conflict = error.conflict().ok_or("a conflict says of what")?;
                let head = conflict.actual.ok_or("a stream that this writer knows does not exist")?;
                self.heads.lock().unwrap_or_else(PoisonError::into_inner).insert(conflict.stream.clone(), head.0);
                say(&Line::Conflict);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for (section, expected) in receipt.sections.iter().zip(expected) {
            let is_met = match expected {
                Expected::Exactly(head) => section.first_revision.0 == head.0 + 1,
                Expected::NoStream => section.first_revision.0 == 0,
                _ => true,
            };
            if !is_met {
                return Err(format!("{} of batch {batch} expected {expected:?}", section.stream).into());
            }
        }
        self.tell(batch, &receipt);
        if is_shared {
            let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
            heads.extend(receipt.sections.iter().map(|s| (s.stream.to_string(), s.last_revision.0)));
        }
        Ok(())
    }

    fn level(&self, batch: u64, dice: &mut Dice) -> Durability {
        let is_synced = match self.arguments.kind {
            Kind::Group | Kind::Tasks => true,
            Kind::Burst | Kind::Quiet => false,
            Kind::Fixed => batch < 3 || batch.is_multiple_of(30),
            Kind::Mixed => dice.below(12) == 0,
        };
        if is_synced { Durability::Synced } else { Durability::Written }
    }

    /// What the batch holds.
    fn draw(&self, batch: u64, dice: &mut Dice) -> Sections {
        let kind = self.arguments.kind;
        let counts: Vec<u64> = match kind {
            Kind::Fixed => vec![1, 1],
            _ => (0..=dice.below(3)).map(|_| 1 + dice.below(4)).collect(),
        };
        let events = counts.iter().sum();
        let mut event = 0;
        let first = dice.below(5);
        let sections = counts.iter().enumerate().map(|(section, count)| {
            let bodies = (0..*count).map(|_| {
                let len = match kind {
                    Kind::Fixed => 700 + batch % 7 * 100,
                    Kind::Mixed if dice.below(150) == 0 => 50_000 + dice.below(100_000),
                    _ if dice.below(30) == 0 => dice.below(9_000),
                    _ => dice.below(500),
                };
                let mark = Mark { life: self.arguments.life, batch, event, events, len };
                event += 1;
                (mark.to_string(), mark.payload())
            });
            (format!("s{}", (first + section as u64) % 5), bodies.collect())
        });
        sections.collect()
    }

    fn tell(&self, batch: u64, receipt: &Receipt) {
        let sections = receipt.sections.iter();
        say(&Line::Receipt(ReceiptLine {
            batch: (self.arguments.life, batch),
            is_synced: receipt.level == Durability::Synced,
            position: receipt.position.0,
            end: receipt.end.0,
            sections: sections.map(|s| (s.stream.to_string(), s.first_revision.0, s.last_revision.0)).collect(),
        }));
    }
}

/// Builds the batch and hands it to `send`.
fn with_batch<T>(
    sections: &Sections,
    expected: &[Expected],
    level: Durability,
    send: impl FnOnce(&Batch<'_>) -> T,
) -> T {
    let events: Vec<Vec<NewEvent<'_>>> = sections
        .iter()
        .map(|(_, bodies)| bodies.iter().map(|(mark, payload)| NewEvent::new("t", payload).metadata(mark)).collect())
        .collect();
    let mut batch = Batch::new().durability(level);
    for (((stream, _), events), expected) in sections.iter().zip(&events).zip(expected) {
        batch = batch.section(stream, *expected, events);
    }
    send(&batch)
}

fn say(line: &Line) {
    // One call, so that a line of another thread never stands in it.
    if std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).is_err() {
        std::process::exit(3); // whoever started it is gone
    }
}
