//! Writers that are killed at every call to the system.
//!
//! Two lives are followed once, to see which calls they make: one that makes a store, appends at both levels, rolls and
//! closes; and one that takes over from a writer that was killed, and does the same. Then each life is lived again for each
//! call of each name, and killed there. What is left is held against the receipts, gone on with, and held against them
//! again. The calls of the program's start, before it first names the store, are left out.
//!
//! The background's threads are followed too, but do not make the same calls each time, and a call that a run never comes to
//! kills nobody: that is counted apart. Copies into the mapping are no calls; what a kill leaves of them is left to
//! [`kills`](super::kills) and the simulation.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::torture::kills::{Place, journalled};
use crate::torture::programs::Programs;

/// A call at which a life is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whether the life takes over from a killed one.
    pub is_takeover: bool,
    /// The call's name, and how many of that name its thread has made by then, itself included.
    pub name: String,
    /// From 1.
    pub number: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was killed there.
    Killed,
    /// It never came there, and closed the store.
    NeverCame,
}

/// `Err` where lives cannot be followed here: no strace, or not allowed.
///
/// # Errors
/// Why not, in one line.
pub fn is_possible() -> Result<(), String> {
    let tried = Command::new("strace").args(["-qq", "-f", "-o", "/dev/null", "true"]).output();
    match tried {
        Err(_) => Err("strace is not installed".to_owned()),
        Ok(output) if !output.status.success() => Err("strace may not follow a process here".to_owned()),
        Ok(_) => Ok(()),
    }
}

/// All calls of both lives.
///
/// # Errors
/// Where a life cannot be lived.
pub fn all(programs: &Programs) -> Result<Vec<Call>, String> {
    let mut calls = Vec::new();
    for is_takeover in [false, true] {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let place = Place { folder: folder.path().to_owned() };
        let log = folder.path().join("calls");
        before(programs, &place, is_takeover)?;
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-f", "-o"]).arg(&log).arg("--");
        live(programs, &place, &mut strace, is_takeover)?;
        let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
        calls.extend(counted(&text, &place.store()).into_iter().flat_map(|(name, (skipped, most))| {
            (skipped + 1..=most).map(move |number| Call { is_takeover, name: name.clone(), number })
        }));
    }
    Ok(calls)
}

/// For each name: how many calls come before the store is first named, and how many the busiest thread makes.
fn counted(text: &str, store: &Path) -> BTreeMap<String, (u64, u64)> {
    let store = store.display().to_string();
    let mut of_threads: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut skipped: BTreeMap<&str, u64> = BTreeMap::new();
    let mut is_begun = false;
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((name, arguments)) = call.trim_start().split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue; // the second half of a call that was interrupted, or a signal
        }
        is_begun |= name != "execve" && arguments.contains(&store);
        *of_threads.entry((name, thread)).or_default() += 1;
        if !is_begun {
            *skipped.entry(name).or_default() += 1;
        }
    }
    let mut calls = BTreeMap::new();
    for ((name, _), count) in of_threads {
        let (_, most) = calls.entry(name.to_owned()).or_insert((skipped.get(name).copied().unwrap_or(0), 0));
        *most = count.max(*most);
    }
    calls
}

/// Kills a life at `call`; holds what is left against the receipts, goes on, and does it again.
///
/// # Errors
/// What is broken.
pub fn kill_at(programs: &Programs, call: &Call) -> Result<Ending, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let place = Place { folder: folder.path().to_owned() };
    let done = kill_in(programs, &place, call);
    if done.is_err() {
        let _ = folder.keep(); // for who wants to look at it
    }
    done.map_err(|what| format!("{what} (in {})", place.folder.display()))
}

fn kill_in(programs: &Programs, place: &Place, call: &Call) -> Result<Ending, String> {
    before(programs, place, call.is_takeover)?;
    let mut strace = Command::new("strace");
    let at = format!("inject={}:signal=KILL:when={}", call.name, call.number);
    strace.args(["-qq", "-f", "-o", "/dev/null", "-e", &format!("trace={}", call.name), "-e", &at, "--"]);
    let is_killed = live(programs, place, &mut strace, call.is_takeover)?;
    let is_there = place.store().join("identity").exists();
    if is_there {
        programs.check(&place.store(), &place.journal(), &[], false)?;
    }
    let next = u64::from(call.is_takeover) + 1;
    let mut writer = Command::new(&programs.writer);
    writer.arg(place.store()).args(["--kind", "mixed", "--seed", "7", "--batches", "6", "--life", &next.to_string()]);
    if run(&mut writer, place)? {
        return Err("the writer that went on was killed too".to_owned());
    }
    programs.check(&place.store(), &place.journal(), &[], true).map_err(|what| format!("gone on with: {what}"))?;
    Ok(if is_killed { Ending::Killed } else { Ending::NeverCame })
}

/// What a life finds: nothing, or what a writer left that was killed.
fn before(programs: &Programs, place: &Place, is_takeover: bool) -> Result<(), String> {
    if is_takeover {
        let mut writer = fixed(&mut Command::new(&programs.writer), place, 0);
        if !run(writer.args(["--dies-after", "50"]), place)? {
            return Err("the first writer was to die".to_owned());
        }
    }
    Ok(())
}

/// Lives a life under `strace`. Whether it was killed.
fn live(programs: &Programs, place: &Place, strace: &mut Command, is_takeover: bool) -> Result<bool, String> {
    strace.arg(&programs.writer);
    run(&mut fixed(strace, place, u64::from(is_takeover)), place)
}

fn fixed(command: &mut Command, place: &Place, life: u64) -> Command {
    let mut fixed = Command::new(command.get_program());
    fixed.args(command.get_args()).arg(place.store());
    fixed.args(["--kind", "fixed", "--seed", "1", "--batches", "70", "--life", &life.to_string()]);
    fixed
}

/// Runs a writer, with its lines into the journal. Whether it was killed.
fn run(command: &mut Command, place: &Place) -> Result<bool, String> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut writer = command.spawn().map_err(|error| error.to_string())?;
    let out = writer.stdout.take().expect("it is a pipe");
    journalled(out, &place.journal(), |_| ()).map_err(|error| error.to_string())?;
    let ended = writer.wait_with_output().map_err(|error| error.to_string())?;
    match ended.status.code() {
        None => Ok(true),
        Some(0) => Ok(false),
        Some(code) => Err(format!("a writer ended with {code}: {}", String::from_utf8_lossy(&ended.stderr))),
    }
}
