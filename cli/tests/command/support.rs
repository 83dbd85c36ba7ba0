//! Running the command, and looking at what came out.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for what others bring about: longer than it takes on a slow machine that is busy, and not for ever.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The built binary, ready for arguments.
pub(crate) fn treering<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_treering"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A command that goes on until it is dropped, line by line.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Running { child, lines }
    }

    /// The next line that it prints.
    #[track_caller]
    pub(crate) fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line in time")
    }

    /// The next line that it prints within this time.
    pub(crate) fn next_within(&self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    /// Nobody reads any more: its pipe is closed behind the next line.
    pub(crate) fn read_no_more(&mut self) {
        self.lines = channel().1;
    }

    /// The code with which it ended by itself, if it has.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a run ended, in a form that reads well in a failed test.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panicked"), "{stderr}");
        Ran { code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr }
    }
}

impl Ran {
    /// Standard output of a run that went well.
    pub(crate) fn ok(self) -> Vec<u8> {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// The same as text.
    pub(crate) fn text(self) -> String {
        String::from_utf8(self.ok()).unwrap()
    }

    /// The same as one JSON value a line.
    pub(crate) fn json(self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Checks that the run failed so, with these words on standard error.
    pub(crate) fn failed(self, code: i32, words: &str) -> Ran {
        assert_eq!(self.code, code, "{} {}", self.stderr, String::from_utf8_lossy(&self.stdout));
        assert!(self.stderr.contains(words), "{:?} is not in {:?}", words, self.stderr);
        self
    }

    pub(crate) fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A folder for one test: a store in it, and files.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The store that every test uses unless it needs two.
    pub(crate) fn store(&self) -> PathBuf {
        self.path("s")
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs `treering COMMAND STORE ARGS…`.
    pub(crate) fn run(&self, command: &str, args: &[&str]) -> Ran {
        self.run_on(&self.store(), command, args)
    }

    pub(crate) fn run_on(&self, store: &Path, command: &str, args: &[&str]) -> Ran {
        treering([command]).arg(store).args(args).current_dir(self.folder.path()).output().unwrap().into()
    }

    /// The same with standard input.
    pub(crate) fn feed(&self, command: &str, args: &[&str], input: &[u8]) -> Ran {
        let mut child = treering([command]).arg(self.store()).args(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || {
            // A command that fails early does not read to the end.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        output.into()
    }

    /// The payloads of a stream, glued.
    pub(crate) fn raw(&self, stream: &str) -> Vec<u8> {
        self.run("cat", &[stream, "--raw"]).ok()
    }

    /// The last object that a command prints.
    pub(crate) fn last_json(&self, command: &str, args: &[&str]) -> Value {
        self.run(command, args).json().pop().unwrap()
    }

    /// How many events the store holds.
    pub(crate) fn events(&self) -> u64 {
        self.last_json("stat", &["--json"])["events"].as_u64().unwrap()
    }

    pub(crate) fn is_clean(&self) {
        let summary = self.last_json("verify", &["--json"]);
        assert_eq!(summary["clean"], true, "{summary}");
    }
}

/// The real logs beside the project, where they are; tests that want them say so and end where they are not.
pub(crate) fn real_logs(kind: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/agent-logs").join(kind);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: there are no logs in {}", path.display());
    None
}
