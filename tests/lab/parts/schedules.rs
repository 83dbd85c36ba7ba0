//! Orders of events: the test binary `schedules`, built for the scheduler into a folder of its own, for as long as there is
//! time.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use treering_tests::lab::{Part, Share};

use super::plants;

/// So many tests share the time.
const SCENARIOS: f64 = 7.0;
/// So long each of them runs where there is no end of time.
const SECONDS_WANTED: f64 = 120.0;
/// So long each of them looks for a planted bug.
const SECONDS_OF_A_HUNT: f64 = 2.0;

pub(crate) struct Schedules;

impl Part for Schedules {
    fn name(&self) -> &'static str {
        "schedules"
    }

    fn about(&self) -> &'static str {
        "orders of events in commit, watermarks and wake-ups"
    }

    fn weight(&self) -> u32 {
        11
    }

    fn prepare(&self) {
        let _ = tests().arg("--no-run").output();
    }

    fn run(&self, share: &Share) {
        match tests().arg("--no-run").output() {
            Err(error) => return share.skip(format!("cargo cannot be started: {error}")),
            Ok(built) if !built.status.success() => return share.skip(format!("it cannot be built: {}", tail(&built))),
            Ok(_) => {}
        }
        let each = |left: std::time::Duration| left.as_secs_f64() * share.threads() as f64 / SCENARIOS * 0.9;
        // A bug is met at once or not at all, and its hunt ends when all tests have had their time.
        let most = if treering::planted::active().is_some() { SECONDS_OF_A_HUNT } else { f64::MAX };
        let seconds = share.left().map_or(SECONDS_WANTED, each).max(1.0).min(most);
        share.say("trying orders");
        let ran = tests()
            .args(["--", "--nocapture", "--test-threads", &share.threads().to_string()])
            .env("TREERING_SCHEDULE_SECONDS", seconds.to_string())
            .output();
        let ran = match ran {
            Ok(ran) => ran,
            Err(error) => return share.skip(format!("cargo cannot be started: {error}")),
        };
        let text = String::from_utf8_lossy(&ran.stdout);
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["orders:", count, _] = words[..] {
                share.count("schedules", count.parse().unwrap_or(0));
            }
            if let Some(replay) = line.strip_prefix("broken: TREERING_SCHEDULE='") {
                share.fail(tail(&ran), replay.trim_end_matches('\''));
            }
        }
        if !ran.status.success() && share.outcome_now().failures.is_empty() {
            // Of a planted bug that is no proof: it may have nothing to do with it.
            match treering::planted::active() {
                Some(_) => share.skip(format!("it ended without naming an order: {}", tail(&ran))),
                None => share.fail(tail(&ran), ""),
            }
        }
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        let ran = tests().args(["--", "--nocapture"]).env("TREERING_SCHEDULE", line).output();
        let ran = ran.map_err(|error| format!("cargo cannot be started: {error}"))?;
        if ran.status.success() { Ok(()) } else { Err(tail(&ran)) }
    }
}

/// `cargo test` of the binary, with the scheduler, and with the bugs, so that one build is enough: the one that is switched on
/// here is switched on there.
fn tests() -> Command {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["test", "--quiet", "--release", "--test", "schedules", "--manifest-path"])
        .arg(package.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(package.join("../target/shuttle"));
    cargo.env("RUSTFLAGS", format!("--cfg treering_shuttle {}", plants::FLAGS)).stdin(Stdio::null());
    if let Some(bug) = treering::planted::active() {
        cargo.env("TREERING_SCHEDULE_PLANT", bug);
    }
    cargo
}

/// The last lines of what it said.
fn tail(output: &Output) -> String {
    let text = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("panicked") || line.contains("error")).collect();
    let told = if lines.is_empty() { text.lines().rev().take(5).collect() } else { lines };
    told.into_iter().take(8).map(|line| line.chars().take(300).collect::<String>()).collect::<Vec<_>>().join("\n")
}
