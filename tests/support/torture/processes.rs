//! Processes that are watched: no wait without an end, and who hangs is named with what it waits for.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::torture::programs::Programs;

/// Nothing takes so long, however busy the machine is: who is not done by then hangs.
pub const LIMIT: Duration = Duration::from_secs(90);

/// How a follower reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watching {
    /// With one reader, what is durable.
    Durable,
    /// With one reader, what is committed.
    Committed,
    /// Opens the store anew again and again.
    Anew,
    /// What is durable, of writers that live at the same time.
    CrowdDurable,
    /// What is committed, of writers that live at the same time.
    CrowdCommitted,
}

/// A reader in a process of its own.
#[derive(Debug)]
pub struct Follower(Child);

impl Follower {
    /// Starts one.
    ///
    /// # Errors
    /// From the system.
    pub fn start(programs: &Programs, store: &Path, watching: Watching) -> Result<Follower, String> {
        let mut command = Command::new(&programs.verifier);
        command.arg("follow").arg(store);
        command.args(match watching {
            Watching::Durable => &[][..],
            Watching::Committed => &["--committed"],
            Watching::Anew => &["--reopens"],
            Watching::CrowdDurable => &["--crowd"],
            Watching::CrowdCommitted => &["--crowd", "--committed"],
        });
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        started.map(Follower).map_err(|error| error.to_string())
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Kills it at once. One that had ended by itself before says why.
    ///
    /// # Errors
    /// What it found to be broken.
    pub fn kill(mut self) -> Result<(), String> {
        let _ = self.0.kill();
        let status = self.0.wait().map_err(|error| error.to_string())?;
        match status.code() {
            None => Ok(()),
            Some(code) => Err(format!("follower {} ended with {code}: {}", self.pid(), said(&mut self.0))),
        }
    }

    /// What it saw, once that is so many events.
    ///
    /// # Errors
    /// What it found to be broken, or that it sees no more.
    pub fn end(mut self, events: u64) -> Result<String, String> {
        if let Some(mut input) = self.0.stdin.take() {
            let _ = input.write_all(events.to_string().as_bytes()); // where it has ended it says why below
        }
        let (is_well, text) = end_of(&mut self.0, "a follower")?;
        if is_well { Ok(text.trim_end().to_owned()) } else { Err(format!("a follower says: {text}")) }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill(); // nothing it could say is of interest any more
        let _ = self.0.wait();
    }
}

/// Waits for the end of a process that says little: whether it ended well, and what it said.
///
/// # Errors
/// It hangs; it is killed then.
pub fn end_of(child: &mut Child, who: &str) -> Result<(bool, String), String> {
    let status = within(child, who)?;
    Ok((status.success(), said(child)))
}

/// What a process that has ended said.
pub fn said(child: &mut Child) -> String {
    let mut bytes = Vec::new();
    let _ = child.stdout.take().map(|mut out| out.read_to_end(&mut bytes)); // what there is of it
    let _ = child.stderr.take().map(|mut out| out.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for the end of a process.
///
/// # Errors
/// It hangs; it is killed then.
pub fn within(child: &mut Child, who: &str) -> Result<ExitStatus, String> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        if began.elapsed() > LIMIT {
            let place = place_of(child.id());
            let _ = child.kill();
            return Err(format!("{who} hangs: {place}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Where the threads of a process are: state, what it waits for, and the kernel's stack where that is shown.
#[must_use]
pub fn place_of(pid: u32) -> String {
    let mut text = format!("process {pid}");
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return text + " is gone" };
    for thread in threads.flatten() {
        let read = |name: &str| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let (stat, name) = (read("stat"), read("comm"));
        let state = stat.rsplit_once(") ").map_or("?", |(_, behind)| &behind[..1]);
        let stack = read("stack").lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join(" < ");
        let (wchan, call) = (read("wchan"), read("syscall"));
        text += &format!(
            "\n  {} {} {state} {wchan} call {} {stack}",
            thread.file_name().display(),
            name.trim(),
            call.trim()
        );
    }
    text
}

/// Whether a process is stopped by a signal.
#[must_use]
pub fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, behind)| behind.starts_with('T'))
}

/// Sends a signal, `STOP` or `CONT`, to processes of ours that were not waited for yet.
///
/// # Errors
/// From the system.
pub fn signal(name: &str, pids: &[u32]) -> Result<(), String> {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).args(pids.iter().map(u32::to_string));
    // One that has ended meanwhile is still there until it is waited for.
    let status = kill.stdin(Stdio::null()).stderr(Stdio::null()).status().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("kill -{name} {pids:?} failed")) }
}
