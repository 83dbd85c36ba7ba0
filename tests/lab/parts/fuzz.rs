//! The fuzz targets, built as `fuzz/README.md` says, one after the other.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use treering_tests::lab::{Part, Share};

/// The targets, and how much of the time each gets.
const TARGETS: [(&str, u32); 6] =
    [("decode", 3), ("dump", 3), ("store", 2), ("directory", 3), ("operations", 2), ("crashes", 3)];
/// So long each of them runs where there is no end of time.
const WANTED: Duration = Duration::from_secs(120);
/// See `fuzz/README.md`.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
const HOST: &str = "x86_64-unknown-linux-gnu";

pub(crate) struct Fuzz;

impl Part for Fuzz {
    fn name(&self) -> &'static str {
        "fuzz"
    }

    fn about(&self) -> &'static str {
        "the fuzz targets, from the seeds of the corpus"
    }

    fn weight(&self) -> u32 {
        13
    }

    fn prepare(&self) {
        if can_run() {
            let _ = build();
        }
    }

    fn run(&self, share: &Share) {
        if !can_run() {
            return share.skip("the flags are those of x86-64 Linux");
        }
        share.say("being built with what guides the fuzzer");
        if let Err(because) = build() {
            return share.skip(because);
        }
        let all: u32 = TARGETS.iter().map(|(_, weight)| weight).sum();
        let left = share.left();
        for (target, weight) in TARGETS {
            let time = left.map_or(WANTED, |left| left.mul_f64(f64::from(weight) / f64::from(all)));
            share.say(target);
            std::thread::scope(|scope| {
                for thread in 0..share.threads() {
                    scope.spawn(move || run(target, thread as u64, time, share));
                }
            });
        }
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        let (target, file) = line.split_once(' ').ok_or("a line is a target and a file")?;
        build()?;
        let ran = Command::new(program(target)).arg(file).output().map_err(|error| error.to_string())?;
        if ran.status.success() { Ok(()) } else { Err(last_words(&ran.stderr)) }
    }
}

fn can_run() -> bool {
    cfg!(all(target_arch = "x86_64", target_os = "linux"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn program(target: &str) -> PathBuf {
    folder().join("target").join(HOST).join("release").join(target)
}

fn build() -> Result<(), String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "--locked", "--target", HOST]).current_dir(folder());
    let built = cargo.env("RUSTFLAGS", FLAGS).stdin(Stdio::null()).output();
    let built = built.map_err(|error| format!("cargo cannot be started: {error}"))?;
    match built.status.success() {
        true => Ok(()),
        false => Err(format!("the targets cannot be built: {}", last_words(&built.stderr))),
    }
}

/// Runs a target for a while, from the seeds; what it finds beside them goes with the folder.
fn run(target: &'static str, thread: u64, time: Duration, share: &Share) {
    let Ok(found) = tempfile::tempdir() else { return share.skip("no folder for what is found") };
    let artifacts = folder().join("artifacts").join(target);
    let _ = std::fs::create_dir_all(&artifacts);
    let mut fuzzer = Command::new(program(target));
    fuzzer.arg(found.path()).arg(folder().join("seeds").join(target));
    fuzzer.arg(format!("-max_total_time={}", time.as_secs().max(1))).arg(format!("-seed={}", thread + 1));
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzzer.args(["-print_final_stats=1", "-timeout=60", "-rss_limit_mb=4096", "-verbosity=0"]);
    let ran = match fuzzer.stdin(Stdio::null()).output() {
        Ok(ran) => ran,
        Err(error) => return share.skip(format!("{target}: {error}")),
    };
    let text = String::from_utf8_lossy(&ran.stderr);
    let executions = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let executions = executions.and_then(|number| number.trim().parse().ok()).unwrap_or(0);
    share.count("fuzz executions", executions);
    if !ran.status.success() {
        let file = text.lines().find_map(|line| line.split_once("Test unit written to ")).map_or("", |(_, file)| file);
        share.fail(last_words(&ran.stderr), format!("{target} {file}"));
    }
}

fn last_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let told: Vec<&str> =
        text.lines().filter(|line| ["panicked", "ERROR", "error"].iter().any(|word| line.contains(word))).collect();
    told.into_iter().take(6).map(|line| line.chars().take(300).collect::<String>()).collect::<Vec<_>>().join("\n")
}
