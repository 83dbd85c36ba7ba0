//! `torture-verifier`: holds a store that a writer was killed in against the journal of its receipts, or follows one that is
//! being written. Built on the reader alone: it never opens a store for writing.
//!
//! What must hold, wherever it looks: revisions are dense in each stream, positions rise, every event is byte for byte what
//! its mark says, batches are whole and none stands there twice. In a check, beside that: every receipt of the journal is
//! there, at the place that it says, and what followers saw is what the log begins with.
//!
//! Ends with 0 where all holds, with 4 and a sentence where not.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use treering::{ErrorKind, Event, Options, ReadAllOptions, ReadMode, Store, SubscribeOptions, Visibility, maintain};
use treering_tests::torture::script::{Line, Mark, Receipt};

/// Something that was promised is broken.
const VIOLATION: u8 = 4;
/// How long a follower waits at most before it looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(5);

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Holds a store that nobody writes against the journal.
    Check {
        store: PathBuf,
        /// The lines that writers printed.
        journal: PathBuf,
        /// What a follower saw: how many events, and their hash.
        #[arg(long)]
        seen: Vec<String>,
        /// Verifies every byte too.
        #[arg(long)]
        every_byte: bool,
        /// The writers lived at the same time, and may live yet.
        #[arg(long)]
        crowd: bool,
    },
    /// Follows a store until its standard input ends and it has seen as many events as that says; prints what it saw.
    Follow {
        store: PathBuf,
        /// Committed events, not only durable ones.
        #[arg(long)]
        committed: bool,
        /// Opens the store anew again and again, instead of following it with one reader.
        #[arg(long)]
        reopens: bool,
        /// The writers live at the same time.
        #[arg(long)]
        crowd: bool,
    },
    /// Reads one event, says so, and reads on once its standard input ends: then an error of the system must come that names a
    /// file, and nothing else.
    Outlive {
        store: PathBuf,
        /// Through mappings with the guard, or by positioned reads.
        #[arg(long)]
        reads: String,
    },
}

type Broken = Result<(), String>;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Check { store, journal, seen, every_byte, crowd } => check(&store, &journal, &seen, every_byte, crowd),
        Command::Follow { store, committed, reopens, crowd } => follow(&store, committed, reopens, crowd),
        Command::Outlive { store, reads } => outlive(&store, reads == "positioned"),
    };
    match done {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(broken) => {
            println!("{broken}");
            ExitCode::from(VIOLATION)
        }
    }
}

/// A section of a batch: its stream, first and last revision.
type Section = (String, u64, u64);

/// The events of a log so far, one after the other.
#[derive(Default)]
struct Walk {
    /// Whether several lives may append at the same time.
    is_crowd: bool,
    /// How many.
    events: u64,
    /// Of all of them.
    hash: DefaultHasher,
    position: Option<u64>,
    heads: HashMap<Arc<str>, u64>,
    /// The batch that the last event was of, and how many of its events are still to come.
    batch: Option<((u64, u64), u64)>,
    /// Each batch, with the position of its first event and its sections.
    batches: BTreeMap<(u64, u64), (u64, Vec<Section>)>,
}

impl Walk {
    fn take(&mut self, event: &Event) -> Broken {
        let place = format!("event {} ({}/{})", event.position, event.stream, event.revision);
        if self.position.is_some_and(|before| before >= event.position.0) {
            return Err(format!("{place} comes behind position {:?}", self.position));
        }
        let expected = self.heads.get(&event.stream).map_or(0, |head| head + 1);
        if event.revision.0 != expected {
            return Err(format!("{place}: revision {expected} is the next of its stream"));
        }
        if event.global_number != self.events {
            return Err(format!("{place} says that {} events lie before it, {} do", event.global_number, self.events));
        }
        let mark = Mark::parse(&event.metadata).ok_or_else(|| format!("{place} was appended by nobody"))?;
        if event.payload != mark.payload() {
            return Err(format!("{place} of batch {mark} has other bytes"));
        }
        self.take_mark(&mark, event).map_err(|what| format!("{place}: {what}"))?;
        self.position = Some(event.position.0);
        self.heads.insert(Arc::clone(&event.stream), event.revision.0);
        self.events += 1;
        (event.position.0, &event.stream, event.revision.0, &event.payload).hash(&mut self.hash);
        Ok(())
    }

    fn take_mark(&mut self, mark: &Mark, event: &Event) -> Broken {
        let id = (mark.life, mark.batch);
        match self.batch {
            Some((before, left)) if left > 0 && (before != id || mark.events - left != mark.event) => {
                return Err(format!("batch {before:?} ends {left} events early, before {mark}"));
            }
            Some((_, left)) if left > 0 => {}
            _ if mark.event != 0 => return Err(format!("batch {mark} begins in its middle")),
            _ if !self.is_crowd && self.batches.last_key_value().is_some_and(|(last, _)| last.0 > mark.life) => {
                return Err(format!("batch {mark} stands behind a later life"));
            }
            _ if self.batches.insert(id, (event.position.0, Vec::new())).is_some() => {
                return Err(format!("batch {mark} stands there twice"));
            }
            _ => {}
        }
        self.batch = Some((id, mark.events - mark.event - 1));
        let (_, sections) = self.batches.get_mut(&id).expect("it was put in with its first event");
        match sections.last_mut() {
            Some((stream, _, last)) if **stream == *event.stream => *last = event.revision.0,
            _ => sections.push((event.stream.to_string(), event.revision.0, event.revision.0)),
        }
        Ok(())
    }

    /// Whether what is visible ends with a whole batch, as it always must.
    fn is_whole(&self) -> Broken {
        match self.batch {
            Some((id, left)) if left > 0 => Err(format!("batch {id:?} is visible without its last {left} events")),
            _ => Ok(()),
        }
    }

    fn seen(&self) -> String {
        format!("{}:{:x}", self.events, self.hash.finish())
    }

    fn holds(&self, receipt: &Receipt) -> Broken {
        match self.batches.get(&receipt.batch) {
            None => Err("it was acknowledged and is not there".to_owned()),
            Some((position, _)) if *position != receipt.position => Err(format!("it stands at position {position}")),
            Some((_, sections)) if *sections != receipt.sections => Err(format!("it holds {sections:?}")),
            Some(_) => Ok(()),
        }
    }
}

fn open(store: &Path) -> Result<Store, String> {
    let store = Store::open_read_only(store, Options::new()).map_err(|error| format!("it does not open: {error}"))?;
    match store.open_report().damage.first() {
        None => Ok(store),
        Some(damage) => Err(format!("damage was reported: {damage}")),
    }
}

/// Reads all that is committed; `seen`, what others saw of it, must be its beginning.
fn walk(store: &Store, seen: &[String], is_crowd: bool) -> Result<Walk, String> {
    let options = ReadAllOptions::new().visibility(Visibility::Committed);
    let mut reader = store.read_all(options).map_err(|error| error.to_string())?;
    let mut walk = Walk { is_crowd, ..Walk::default() };
    let mut confirmed = seen.iter().filter(|seen| seen.starts_with("0:")).count();
    while let Some(event) = reader.next() {
        walk.take(&event.map_err(|error| error.to_string())?.hold())?;
        let begins = format!("{}:", walk.events);
        for seen in seen.iter().filter(|seen| seen.starts_with(&begins)) {
            if **seen != walk.seen() {
                return Err(format!("a reader saw {seen}, the log begins with {}", walk.seen()));
            }
            confirmed += 1;
        }
    }
    walk.is_whole()?;
    if confirmed != seen.len() {
        return Err(format!("readers saw {seen:?} events, the log holds {}", walk.events));
    }
    Ok(walk)
}

fn check(store: &Path, journal: &Path, seen: &[String], is_thorough: bool, is_crowd: bool) -> Result<String, String> {
    // Before the store is opened: what is acknowledged later need not be there.
    let lines = std::fs::read_to_string(journal).map_err(|error| format!("the journal: {error}"))?;
    let opened = open(store)?;
    let walk = walk(&opened, seen, is_crowd)?;
    drop(opened);
    let mut receipts = 0;
    for line in lines.lines() {
        let Some(Line::Receipt(receipt)) = Line::parse(line) else { continue };
        walk.holds(&receipt).map_err(|what| format!("{line}: {what}"))?;
        receipts += 1;
    }
    if is_thorough {
        let report = maintain::verify(store, &mut ()).map_err(|error| error.to_string())?;
        if !report.is_clean() || report.events != walk.events {
            return Err(format!("verify found {} events and {:?}", report.events, report.damage));
        }
    }
    Ok(format!("{} events {receipts} receipts", walk.events))
}

fn follow(path: &Path, is_committed: bool, reopens: bool, is_crowd: bool) -> Result<String, String> {
    let (is_over, wanted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (ending, wanting) = (Arc::clone(&is_over), Arc::clone(&wanted));
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = std::io::stdin().read_to_string(&mut text);
        wanting.store(text.trim().parse().unwrap_or(0), Ordering::SeqCst);
        ending.store(true, Ordering::SeqCst);
    });
    if reopens {
        let mut seen = Vec::new();
        while !is_over.load(Ordering::SeqCst) {
            let began = Instant::now();
            let walk = walk(&open(path)?, &seen, is_crowd).map_err(|what| format!("opened anew: {what}"))?;
            seen = vec![walk.seen()];
            std::thread::sleep(PATIENCE + 4 * began.elapsed()); // others want the processor too
        }
        return Ok(seen.pop().unwrap_or_else(|| "0:0".to_owned()));
    }
    let store = open(path)?;
    let visibility = if is_committed { Visibility::Committed } else { Visibility::Durable };
    let mut events = store.subscribe(SubscribeOptions::all().visibility(visibility)).map_err(|e| e.to_string())?;
    let mut walk = Walk { is_crowd, ..Walk::default() };
    loop {
        let is_last = is_over.load(Ordering::SeqCst) && walk.events >= wanted.load(Ordering::SeqCst);
        match events.next_timeout(PATIENCE).map_err(|error| format!("following: {error}"))? {
            Some(event) => walk.take(&event).map_err(|what| format!("following: {what}"))?,
            None => {
                walk.is_whole().map_err(|what| format!("following: {what}"))?;
                if is_last {
                    return Ok(walk.seen());
                }
            }
        }
    }
}

fn outlive(path: &Path, is_positioned: bool) -> Result<String, String> {
    let mode = if is_positioned { ReadMode::Positioned } else { ReadMode::Mapped };
    treering::guard_mapped_reads().map_err(|error| error.to_string())?;
    let store = Store::open_read_only(path, Options::new().read_mode(mode)).map_err(|error| error.to_string())?;
    let mut reader = store.read_all(ReadAllOptions::new()).map_err(|error| error.to_string())?;
    let mut walk = Walk::default();
    while let Some(event) = reader.next() {
        match event {
            Ok(event) => walk.take(&event.hold())?,
            Err(error) => {
                let text = error.to_string();
                let is_told = error.kind() == ErrorKind::Io && text.contains(".segment");
                return if is_told { Ok(text) } else { Err(format!("{:?}: {text}", error.kind())) };
            }
        }
        if walk.events == 1 {
            println!("ready");
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
        }
    }
    Err(format!("it read all {} events, as if nothing had happened", walk.events))
}
