//! `torture-writer`: appends to a store until it is killed or done, and prints a line for each receipt that it was given.
//!
//! A line is printed by one call, behind the acknowledgement and before the next append of its thread. What it appends and
//! prints is said in `treering_tests::torture::script`. It ends by itself where nobody reads its lines any more.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use treering::{Batch, Durability, Expected, NewEvent, Options, Receipt, Store};
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

fn run(arguments: Arguments) -> treering::Result<()> {
    let store = Store::open(&arguments.store, arguments.kind.options())?;
    let epoch = store.open_report().epoch;
    say(&Line::Opened(epoch.segment.0, u64::from(epoch.takeover)));
    let writer = Writer { store, arguments, batches: AtomicU64::new(0) };
    let (kind, seed) = (writer.arguments.kind, writer.arguments.seed);
    match kind {
        Kind::Group => std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|thread| {
                    scope.spawn({
                        let writer = &writer;
                        move || writer.append_all(Dice::new(seed + thread))
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
        })?,
        Kind::Tasks => writer.submit_all(Dice::new(seed))?,
        _ => writer.append_all(Dice::new(seed))?,
    }
    writer.store.close()?;
    say(&Line::Closed);
    Ok(())
}

impl Writer {
    /// The number of the next batch, or `None` where there were enough.
    fn next(&self) -> Option<u64> {
        let next = self.batches.fetch_add(1, Ordering::Relaxed);
        if self.arguments.dies_after == Some(next) {
            std::process::abort(); // for the store the same as SIGKILL
        }
        (next < self.arguments.batches).then_some(next)
    }

    fn append_all(&self, mut dice: Dice) -> treering::Result<()> {
        while let Some(batch) = self.next() {
            let sections = self.draw(batch, &mut dice);
            let receipt = self.with_batch(&sections, self.level(batch, &mut dice), |batch| self.store.append(batch))?;
            self.tell(batch, &receipt);
        }
        Ok(())
    }

    fn submit_all(&self, mut dice: Dice) -> treering::Result<()> {
        let mut outstanding = Vec::new();
        while let Some(batch) = self.next() {
            let sections = self.draw(batch, &mut dice);
            outstanding
                .push((batch, self.with_batch(&sections, Durability::Synced, |batch| self.store.submit(batch))?));
            if outstanding.len() as u64 > dice.below(8) {
                for (batch, pending) in outstanding.drain(..) {
                    self.tell(batch, &pending.wait()?);
                }
            }
        }
        outstanding
            .into_iter()
            .try_for_each(|(batch, pending)| pending.wait().map(|receipt| self.tell(batch, &receipt)))
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

    /// Builds the batch and hands it to `send`.
    fn with_batch<T>(&self, sections: &Sections, level: Durability, send: impl FnOnce(&Batch<'_>) -> T) -> T {
        let events: Vec<Vec<NewEvent<'_>>> = sections
            .iter()
            .map(|(_, bodies)| {
                bodies.iter().map(|(mark, payload)| NewEvent::new("t", payload).metadata(mark)).collect()
            })
            .collect();
        let mut batch = Batch::new().durability(level);
        for ((stream, _), events) in sections.iter().zip(&events) {
            batch = batch.section(stream, Expected::Any, events);
        }
        send(&batch)
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

fn say(line: &Line) {
    // One call, so that a line of another thread never stands in it.
    if std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).is_err() {
        std::process::exit(3); // whoever started it is gone
    }
}
