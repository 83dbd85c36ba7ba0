//! A whole writer on a real ext4 whose device fails its syncs.
//!
//! A writer appends until a sync fails. It has to say so as poison, and to acknowledge nothing more: it tries, and says how that
//! went (`torture-writer --expects-failure`). Then the device works again, and the file system is mounted anew, from what the device
//! holds: every Synced receipt is there, at its place, and the next writer goes on.
//!
//! What the file system makes of the failure is not the engine's doing: where data cannot be written it says so to the sync and goes
//! on; where a flush fails it gives up its journal, so that every later change is refused.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::torture::blocks::look;
use crate::torture::device::{Device, PAGE_BYTES};
use crate::torture::processes::{LIMIT, said, within};
use crate::torture::programs::Programs;
use crate::torture::script::{Dice, Line};

/// What of the device fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// Every flush.
    Flushes,
    /// Writes to places that were never written.
    Writes,
}

impl Failing {
    /// Both.
    pub const ALL: [Failing; 2] = [Failing::Flushes, Failing::Writes];
}

/// Kinds of writers that wait for syncs.
const KINDS: [&str; 3] = ["mixed", "group", "tasks"];

/// A writer meets it, some receipts into its life; with odd seeds blocks are smaller than pages, where flushes fail. How many Synced
/// receipts it had been given.
///
/// # Errors
/// Outside: it could not be tried. Inside: what is broken.
pub fn writer_meets(programs: &Programs, seed: u64, failing: Failing) -> Result<Result<u64, String>, String> {
    let block = if failing == Failing::Writes || seed.is_multiple_of(2) { PAGE_BYTES } else { 1024 };
    let mut device = Device::new(block)?;
    let mut dice = Dice::new(seed);
    let after = 5 + dice.below(60) as usize;
    let mut writer = Command::new(&programs.writer);
    writer.arg(device.store()).args(["--kind", KINDS[seed as usize % KINDS.len()], "--life", "0"]);
    writer.args(["--seed", &seed.to_string(), "--expects-failure"]);
    let writer = writer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut writer = writer.map_err(|error| error.to_string())?;
    let out = BufReader::new(writer.stdout.take().expect("it is a pipe"));
    let lines = Mutex::new(Vec::new());
    let so_many = || lines.lock().expect("no panic under the lock").len();
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| {
            out.lines()
                .map_while(Result::ok)
                .for_each(|line| lines.lock().expect("no panic under the lock").push(line));
        });
        let began = Instant::now();
        while so_many() < after && began.elapsed() < LIMIT && writer.try_wait().is_ok_and(|ended| ended.is_none()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let failed = match failing {
            Failing::Flushes => device.fail_flushes(),
            Failing::Writes => device.fail(),
        };
        if failed.is_err() {
            let _ = writer.kill(); // it would not end by itself
        }
        let ended = within(&mut writer, "a writer whose device fails");
        failed.map(|()| ended)
    })?;
    let lines = lines.into_inner().expect("no panic under the lock");
    let tell = |what: String| Ok(Err(format!("{failing:?} fail after {after} lines, with blocks of {block}: {what}")));
    match ended {
        Err(hangs) => return tell(hangs),
        Ok(status) if !status.success() => return tell(format!("P6: {}", said(&mut writer))),
        Ok(_) if lines.last().map(String::as_str) != Some(&Line::Stopped.to_string()) => {
            return tell(format!("the writer did not stop, its last line is {:?}", lines.last()));
        }
        Ok(_) => {}
    }
    if failing == Failing::Writes {
        device.heal()?;
    }
    device.reconnect()?;
    let is_synced = |line: &&String| matches!(Line::parse(line), Some(Line::Receipt(receipt)) if receipt.is_synced);
    let synced: Vec<&String> = lines.iter().filter(is_synced).collect();
    let journal = device.at("receipts");
    let text: String = synced.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&journal, text).map_err(|error| error.to_string())?;
    match look(programs, &device.store(), &journal, !synced.is_empty()) {
        Ok(()) => Ok(Ok(synced.len() as u64)),
        Err(what) => tell(format!("mounted anew: {what}")),
    }
}
