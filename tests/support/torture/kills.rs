//! Writers that are killed at random moments, in a store that four others read all the while.
//!
//! One store takes so many lives, one writer after the other; after each kill the verifier holds what is there against every
//! receipt so far. Two followers keep one reader through all lives (one sees what is durable, one what is committed), two
//! open the store anew again and again. At the end what each of them saw must be what the log begins with.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::torture::processes::{Follower, Watching};
use crate::torture::programs::Programs;
use crate::torture::script::{Dice, Line};

/// The kinds of writers that take turns; see `tests/torture/writer.rs`.
const KINDS: [&str; 6] = ["mixed", "group", "burst", "tasks", "quiet", "mixed"];

/// How the followers read.
const WATCHING: [Watching; 4] = [Watching::Durable, Watching::Committed, Watching::Anew, Watching::Anew];

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Writers that were killed while they worked.
    pub kills: u64,
    /// Writers that were done before.
    pub closings: u64,
    /// Writers that went on in the segment of the one before.
    pub in_place: u64,
    /// Receipts in the journals.
    pub receipts: u64,
    /// How often a store was held against its journal.
    pub checks: u64,
    /// Events that followers saw.
    pub followed: u64,
}

/// How a store is tortured.
#[derive(Clone, Debug)]
pub struct Torture {
    /// Draws kinds and moments.
    pub seed: u64,
    /// So many lives.
    pub lives: u64,
    /// The one kind of all lives, where it does not change; then they are killed at work only, when the store is open.
    pub kind: Option<&'static str>,
    /// So many followers, at most four.
    pub followers: usize,
}

/// A store that is tortured, and what stands beside it.
#[derive(Debug)]
pub struct Place {
    /// Keeps both.
    pub folder: PathBuf,
}

impl Place {
    /// The store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// What its writers printed.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.folder.join("receipts")
    }
}

/// Tortures one store; ends early where `is_over` says so. Returns the epochs of its writers.
///
/// # Errors
/// What is broken. The files stay.
pub fn torture(
    programs: &Programs,
    place: &Place,
    torture: &Torture,
    count: &mut Count,
    is_over: &dyn Fn() -> bool,
) -> Result<Vec<(u64, u64)>, String> {
    let mut dice = Dice::new(torture.seed);
    let mut epochs: Vec<(u64, u64)> = Vec::new();
    let mut followers = Vec::new();
    std::fs::write(place.journal(), "").map_err(|error| error.to_string())?;
    for life in 0..torture.lives {
        let kind = torture.kind.unwrap_or(KINDS[dice.below(KINDS.len() as u64) as usize]);
        let mut writer = Command::new(&programs.writer);
        writer.arg(place.store()).args(["--kind", kind, "--life", &life.to_string()]);
        writer.args(["--seed", &(torture.seed.wrapping_add(life * 7919) % (1 << 40)).to_string()]);
        // One in three dies while it opens the store or soon after, the others at work; a few while they close it, and a few
        // close it.
        let (batches, lines) = match dice.below(12) {
            0 if torture.kind.is_none() => (1 + dice.below(40), u64::MAX),
            1 if torture.kind.is_none() => {
                let batches = 1 + dice.below(40);
                (batches, batches + 1) // the first line says that the store is open
            }
            2..6 if torture.kind.is_none() => (1_000_000, 0),
            _ => (1_000_000, 1 + dice.below(200)),
        };
        writer.args(["--batches", &batches.to_string()]);
        let wait = Duration::from_micros(dice.below(if lines == 0 { 12_000 } else { 1_500 }));
        let lines = run_and_kill(&mut writer, lines, wait, place, count)?;
        for line in &lines {
            match line {
                Line::Opened(segment, takeover) => {
                    let epoch = (*segment, *takeover);
                    if let Some(before) = epochs.last()
                        && *before >= epoch
                    {
                        return Err(format!("life {life} has epoch {epoch:?}, the one before had {before:?}"));
                    }
                    count.in_place += u64::from(epoch.1 > 0);
                    epochs.push(epoch);
                }
                Line::Receipt(_) => count.receipts += 1,
                Line::Closed | Line::Locked(_) | Line::Conflict | Line::Stopped => {}
            }
        }
        if followers.is_empty() && !epochs.is_empty() {
            followers = (0..torture.followers)
                .map(|kind| Follower::start(programs, &place.store(), WATCHING[kind % 4]))
                .collect::<Result<_, _>>()?;
        }
        if epochs.is_empty() {
            continue; // it died before there was a store
        }
        let is_last = life + 1 == torture.lives || is_over();
        let seen: Vec<String> = match is_last {
            true => followers.drain(..).map(|follower| follower.end(0)).collect::<Result<_, _>>()?,
            false => Vec::new(),
        };
        count.followed += seen.iter().filter_map(|seen| seen.split(':').next()?.parse::<u64>().ok()).sum::<u64>();
        programs
            .check(&place.store(), &place.journal(), &seen, is_last)
            .map_err(|what| format!("life {life}: {what}"))?;
        count.checks += 1;
        if is_last {
            break;
        }
    }
    Ok(epochs)
}

/// Starts a writer, waits until it has printed so many lines and a moment longer, kills it, and returns all that it printed,
/// which stands in the journal then.
fn run_and_kill(
    command: &mut Command,
    after: u64,
    wait: Duration,
    place: &Place,
    count: &mut Count,
) -> Result<Vec<Line>, String> {
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut writer = started.map_err(|error| error.to_string())?;
    let out = writer.stdout.take().expect("it is a pipe");
    let (printed, lines_come) = std::sync::mpsc::channel();
    let (lines, status) = std::thread::scope(|scope| {
        let journal = place.journal();
        let reading = scope.spawn(move || {
            journalled(out, &journal, |_| {
                let _ = printed.send(()); // who was to hear of it has killed it already
            })
        });
        // Fewer come where it is done before.
        lines_come.iter().take(after.min(1 << 40) as usize).for_each(drop);
        std::thread::sleep(wait);
        let _ = writer.kill(); // SIGKILL; it may have ended by itself
        let status = writer.wait();
        (reading.join().expect("no panic"), status)
    });
    let (lines, status) = (lines.map_err(|e| e.to_string())?, status.map_err(|e| e.to_string())?);
    match status.code() {
        None => count.kills += 1,
        Some(0) => count.closings += 1,
        Some(code) => {
            let mut said = String::new();
            let _ = std::io::Read::read_to_string(&mut writer.stderr.take().expect("it is a pipe"), &mut said);
            return Err(format!("a writer ended with {code}: {said}"));
        }
    }
    Ok(lines)
}

/// Writes the lines of a writer into the journal as they come, calling `on_line` behind each, until it is dead and the pipe
/// is empty. Several may write into one journal.
///
/// # Errors
/// From the system.
pub fn journalled(out: ChildStdout, journal: &Path, mut on_line: impl FnMut(&Line)) -> std::io::Result<Vec<Line>> {
    let mut journal = std::fs::OpenOptions::new().append(true).create(true).open(journal)?;
    let mut lines = Vec::new();
    for line in BufReader::new(out).lines() {
        let line = line?;
        // A line that was cut short by the kill is no receipt, and is kept from looking like one.
        if let Some(parsed) = Line::parse(&line) {
            journal.write_all(format!("{line}\n").as_bytes())?;
            on_line(&parsed);
            lines.push(parsed);
        }
    }
    Ok(lines)
}
