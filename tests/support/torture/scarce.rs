//! Writers that are refused what they need: memory, space on a disk that is really full.
//!
//! Whatever a process meets, it ends by itself or goes on; what it acknowledged is there.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::torture::blocks::{Held, run};
use crate::torture::programs::Programs;
use crate::torture::script::Dice;

fn told(error: std::io::Error) -> String {
    error.to_string()
}

/// How a writer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It did all that it was to do.
    Well,
    /// It said why it could not go on.
    WithError,
    /// It was ended: by a signal of its own, or before it had begun.
    Otherwise,
}

/// Runs a writer whose lines go to the journal; how it ended, and what it said.
fn lived(writer: &mut Command, journal: &Path) -> Result<(Ended, String), String> {
    let ran = writer.stdin(Stdio::null()).output().map_err(told)?;
    let mut file = fs::OpenOptions::new().append(true).create(true).open(journal).map_err(told)?;
    let text = String::from_utf8_lossy(&ran.stdout);
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    file.write_all(whole.as_bytes()).map_err(told)?;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    let ended = match ran.status.code() {
        Some(0) => Ended::Well,
        Some(1) if said.contains("the writer failed") => Ended::WithError,
        _ => Ended::Otherwise,
    };
    Ok((ended, said))
}

fn writer(programs: &Programs, store: &Path, kind: &str, life: u64, seed: u64, batches: u64) -> Vec<String> {
    let words = [&*programs.writer.display().to_string(), &*store.display().to_string(), "--kind", kind];
    let mut words: Vec<String> = words.map(str::to_owned).into();
    for (name, value) in [("--life", life), ("--seed", seed), ("--batches", batches)] {
        words.extend([name.to_owned(), value.to_string()]);
    }
    words
}

/// A writer that may have so many KiB of memory, and one that may have all: everything that either acknowledged is there.
///
/// # Errors
/// Outside: it could not be tried. Inside: what is broken.
pub fn of_memory(programs: &Programs, kib: u64, seed: u64) -> Result<Result<Ended, String>, String> {
    let folder = tempfile::tempdir().map_err(told)?;
    let (store, journal) = (folder.path().join("store"), folder.path().join("journal"));
    let words = writer(programs, &store, ["mixed", "group", "burst"][seed as usize % 3], 0, seed, 60);
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -v {kib} && exec \"$@\""), "sh"]).args(words);
    let (ended, _) = lived(&mut limited, &journal)?;
    let hold = || {
        if store.join("identity").exists() {
            programs.check(&store, &journal, &[], true).map_err(|what| format!("with {kib} KiB: {what}"))?;
        }
        let words = writer(programs, &store, "mixed", 1, seed, 5);
        let mut free = Command::new(&words[0]);
        match lived(free.args(&words[1..]), &journal)? {
            (Ended::Well, _) => programs.check(&store, &journal, &[], true).map(drop),
            (_, said) => Err(format!("with {kib} KiB, then nobody can go on: {said}")),
        }
    };
    Ok(hold().map(|()| ended))
}

/// A small file system, filled by a writer until it says so, beside ballast; what it acknowledged is read while the disk is full,
/// and once the ballast is gone the next writer goes on. Sizes, ballast and kind are drawn by the seed. How many batches were
/// acknowledged before it was full.
///
/// # Errors
/// Outside: it could not be tried. Inside: what is broken.
pub fn of_space(programs: &Programs, seed: u64) -> Result<Result<u64, String>, String> {
    let folder = tempfile::tempdir().map_err(told)?;
    let at = |name: &str| folder.path().join(name);
    let mut dice = Dice::new(seed);
    let bytes = (3 << 20) + dice.below(5 << 20) / 4096 * 4096;
    fs::File::create(at("image")).and_then(|file| file.set_len(bytes)).map_err(told)?;
    fs::create_dir(at("root")).map_err(told)?;
    run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(at("image")))?;
    run(Command::new("mount").args(["-o", "loop,noatime"]).arg(at("image")).arg(at("root")))?;
    let _mount = Held::Mount(at("root"));
    let (store, journal, ballast) = (at("root/store"), at("journal"), at("root/ballast"));
    fs::write(&ballast, vec![1; (200 << 10) + dice.below(600 << 10) as usize]).map_err(told)?;
    let kind = ["mixed", "group", "burst"][dice.below(3) as usize];
    let hold = || -> Result<u64, String> {
        let mut acknowledged = 0;
        for life in 0..3u64 {
            let words = writer(programs, &store, kind, life, seed + life, 100_000);
            let (ended, said) = lived(Command::new(&words[0]).args(&words[1..]), &journal)?;
            if ended != Ended::WithError || !said.contains("make room on the disk and try again") {
                return Err(format!("P9: {kind}, on a full disk: {ended:?}, {said}"));
            }
            if store.join("identity").exists() {
                programs.check(&store, &journal, &[], true).map_err(|what| format!("P9: {kind}, full: {what}"))?;
            }
            let lines = fs::read_to_string(&journal).map_err(told)?;
            acknowledged = lines.lines().filter(|line| line.ends_with(" .")).count() as u64;
            // The second one finds it as full as the first one left it; the third one has room again.
            if life == 1 {
                fs::remove_file(&ballast).map_err(told)?;
            }
        }
        Ok(acknowledged)
    };
    Ok(hold())
}
