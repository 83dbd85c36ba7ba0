//! Runs the parts one after another and shares the time between them.
//!
//! What they need is built first, and takes none of it. A part gets what is left, by its weight among those that are still to
//! come: what one leaves, the others have. While it runs a line on the terminal says what it counts; a panic ends the part, not
//! the laboratory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use treering_tests::lab::{Outcome, Part, Share};

/// A part that has run.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
}

/// Runs them all; within `time`, where there is one. A part stops at so many violations, if that is said.
pub(crate) fn all(parts: &[&dyn Part], time: Option<Duration>, threads: usize, failures: Option<usize>) -> Vec<Done> {
    prepare(parts);
    let began = Instant::now();
    let mut done = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let weights: u32 = parts[number..].iter().map(|part| part.weight()).sum();
        let of_left =
            |time: Duration| time.saturating_sub(began.elapsed()).mul_f64(part.weight() as f64 / weights as f64);
        let share = Share::new(time.map(of_left), threads).stop_at(failures);
        run(*part, &share);
        done.push(Done { name: part.name(), about: part.about(), took: share.elapsed(), outcome: share.outcome_now() });
    }
    done
}

/// Builds what they need, which takes minutes in a fresh clone and none of the time that they are given.
fn prepare(parts: &[&dyn Part]) {
    let bar = ProgressBar::new_spinner();
    bar.set_style(
        ProgressStyle::with_template("{prefix:>16} {spinner} {elapsed} building").expect("the template is well formed"),
    );
    bar.enable_steady_tick(Duration::from_millis(100));
    for part in parts {
        bar.set_prefix(part.name());
        part.prepare();
    }
    bar.finish_and_clear();
}

fn run(part: &dyn Part, share: &Share) {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| watch(part.name(), share, &is_done));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| part.run(share))) {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            let what = format!("the part panicked: {}", text.unwrap_or("without words"));
            share.fail(what, format!("(run the part again: --only {})", part.name()));
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

/// Shows how the part goes on until it is done.
fn watch(name: &'static str, share: &Share, is_done: &AtomicBool) {
    let seconds = share.time().map(|time| time.as_secs().max(1));
    let bar = seconds.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = match seconds {
        Some(_) => "{prefix:>16} [{bar:20}] {pos}/{len} s {wide_msg}",
        None => "{prefix:>16} {spinner} {elapsed} {wide_msg}",
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the template is well formed").progress_chars("=> "));
    bar.set_prefix(name);
    while !is_done.load(Ordering::Relaxed) {
        bar.set_position(share.elapsed().as_secs());
        bar.set_message(share.line());
        std::thread::sleep(Duration::from_millis(50));
    }
    bar.finish_and_clear();
}
