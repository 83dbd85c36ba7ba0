//! Planted bugs: with a mistake in the engine, the part that claims it must find a violation, soon.
//!
//! A second build of this very command, with `--cfg treering_planted`, in a folder of its own below `target/`, runs one part
//! for each bug, two bugs at a time, and stops at the first violation. A bug that no part finds is a failure of the
//! laboratory. Bugs are counted to the end whatever the time, since each takes seconds.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use treering_tests::lab::{Part, Share};

/// Each bug of `engine/src/planted.rs`, and the part that finds it.
const CLAIMED: &[(&str, &str)] = &[
    ("AckBeforeSync", "crash-states"),
    ("ActiveNotSynced", "crash-states"),
    ("LeftNotSynced", "crash-states"),
    ("DurableBeforeSync", "crash-states"),
    ("SyncRetried", "crash-states"),
    ("NoPoisonAfterSync", "error-sweep"),
    ("WriteErrorsAreNoSpace", "error-sweep"),
    ("NumberMovesFirst", "error-sweep"),
    ("WitnessCommitted", "crash-states"),
    ("OpenWitnessCommitted", "crash-states"),
    ("ClosedBeforeSync", "crash-states"),
    ("NoDirectorySyncAtRoll", "crash-states"),
    ("PublishedUnsynced", "crash-states"),
    ("ReaderSyncsDirectory", "crash-states"),
    ("FrameCheckIgnored", "crash-states"),
    ("GoesOnInOldTail", "crash-states"),
    ("TakeoverNotMadeDurable", "crash-states"),
    ("TakeoverSyncsOnly", "crash-states"),
    ("StatedEndIgnored", "crash-states"),
    ("TakeoverNotCounted", "crash-states"),
    ("CleanSlotLeft", "crash-states"),
    ("LockSkipped", "crash-states"),
    ("HeaderCheckIgnored", "rot"),
    ("EventCheckIgnored", "rot"),
    ("DamageIsTorn", "rot"),
    ("ReaderTrustsCache", "crash-states"),
    ("RetryForgotten", "crash-states"),
    ("PageOfOtherBoot", "crash-states"),
    ("PageUnproven", "crash-states"),
    ("ExpectationsIgnored", "model"),
    ("NoRoomForIndexBlock", "model"),
    ("OneMissingIsCopied", "rot"),
    ("StaleWatermark", "crash-states"),
    ("ShownEndIgnored", "crash-states"),
    ("SyncInFlightIgnored", "crash-states"),
    ("PoisonMarkIgnored", "crash-states"),
    ("EndNotLookedUp", "crash-states"),
    ("ForkAckBeforeSync", "crash-states"),
    ("ForkNotListed", "crash-states"),
    ("ForkPlaceOff", "crash-states"),
    ("ForkJumpsToParent", "crash-states"),
    ("ForkLowestOwn", "crash-states"),
    ("ForkHeadRestarts", "crash-states"),
    ("OldTokenCounts", "crash-states"),
    ("ClaimNotNoted", "crash-states"),
    ("ClaimNotLookedUp", "crash-states"),
    ("SnapshotAckBeforeSync", "crash-states"),
    ("SnapshotNotBound", "crash-states"),
    ("SnapshotChainStale", "crash-states"),
    ("CursorWithoutPlace", "crash-states"),
    ("SaltIgnored", "damage"),
    ("ChainIgnored", "vectors"),
    ("SearchTakesAnything", "vectors"),
    ("LeaderDropsFollower", "schedules"),
    ("RollNotMarked", "several"),
    ("DeadSyncTrusted", "several"),
    ("FreshFileTrusted", "several"),
    ("BegunTakenForWhole", "several"),
    ("OthersErrorIgnored", "several"),
];
/// What a build with the bugs is built with.
pub(super) const FLAGS: &str = "--cfg treering_planted";
/// So long a part may look for a bug: most are found within seconds, one took half a minute, and the machine may be busy.
const MOST: Duration = Duration::from_secs(180);

pub(crate) struct PlantedBugs;

impl Part for PlantedBugs {
    fn name(&self) -> &'static str {
        "planted-bugs"
    }

    fn about(&self) -> &'static str {
        "mistakes made on purpose, each found by the part that claims it"
    }

    fn weight(&self) -> u32 {
        55
    }

    fn prepare(&self) {
        let _ = build();
    }

    fn run(&self, share: &Share) {
        let lab = match build() {
            Ok(Some(lab)) => lab,
            Ok(None) => return share.skip("there is no cargo and no source to build the bugs from"),
            Err(what) => return share.fail(what, "build"),
        };
        let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        share.on_all(|_| {
            while let Some((at, (plant, part))) =
                Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, CLAIMED.get(at)?)))
            {
                share.say(*plant);
                share.count("planted bugs", 1);
                match hunt(&lab, plant, part) {
                    Ok((what, took)) => {
                        share.count("of them caught", 1);
                        let line = format!("{plant} by {part} after {:.1} s: {what}", took.as_secs_f64());
                        found.lock().expect("no panic under the lock").insert(at, line);
                    }
                    Err(what) => share.fail(format!("{plant}: {what}"), *plant),
                }
            }
        });
        found.into_inner().expect("no panic under the lock").into_values().for_each(|line| share.note(line));
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        let lab = build()?.ok_or("there is no cargo to build the bugs with")?;
        let (plant, part) = CLAIMED.iter().find(|(plant, _)| *plant == line).ok_or("no such bug")?;
        let (what, took) = hunt(&lab, plant, part)?;
        println!("{plant}: found by {part} after {:.1} s: {what}", took.as_secs_f64());
        Ok(())
    }
}

/// The signal of a process that ends itself.
const ABORTED: i32 = 6;

/// Lets the part that claims it look for the bug: what it said first, and how long it took.
fn hunt(lab: &Path, plant: &str, part: &str) -> Result<(String, Duration), String> {
    let began = Instant::now();
    let minutes = format!("{}", MOST.as_secs_f64() / 60.0);
    let arguments = ["--plant", plant, "--only", part, "--minutes", &minutes, "--threads", "1", "--json"];
    let output = Command::new(lab).args(arguments).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let Output { status, stdout, stderr } = output;
    match status.code() {
        Some(4) => {
            let report: serde_json::Value = serde_json::from_slice(&stdout).map_err(|error| error.to_string())?;
            let what = report["parts"][0]["failures"][0]["what"].as_str().unwrap_or_default();
            Ok((what.lines().next().unwrap_or_default().chars().take(110).collect(), began.elapsed()))
        }
        // A bug that has an assertion of the engine fail, and fail again while what is open is closed, ends the process: it was found.
        None if status.signal() == Some(ABORTED) => {
            let said = String::from_utf8_lossy(&stderr);
            let what = said.lines().find(|line| line.contains("panicked at")).unwrap_or_default();
            Ok((what.chars().take(110).collect(), began.elapsed()))
        }
        Some(0) => Err(format!("{part} did not find it in {:.0} s", began.elapsed().as_secs_f64())),
        _ => Err(format!("{part} ended with {status}: {}", String::from_utf8_lossy(&stderr))),
    }
}

/// Builds this command with the bugs in it; where it is.
fn build() -> Result<Option<PathBuf>, String> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tests.parent().expect("the tests are a folder of the workspace");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("planted");
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--package", "treering-tests", "--bin", "lab", "--target-dir"])
        .arg(&target)
        .current_dir(root)
        .env("RUSTFLAGS", FLAGS)
        .envs(super::QUICKLY_BUILT)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stdin(Stdio::null())
        .output();
    match built {
        Ok(output) if output.status.success() => Ok(Some(target.join("release").join("lab"))),
        Ok(output) => Err(format!("the bugs do not build: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cargo cannot be run: {error}")),
    }
}
