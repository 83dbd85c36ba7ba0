//! What the laboratory found, as a table for people and as one object for machines.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::run::Done;

/// How many violations there were.
pub(crate) fn violations(done: &[Done]) -> usize {
    done.iter().map(|part| part.outcome.failures.len()).sum()
}

/// The table, the notes, and a line for each violation that shows it again.
pub(crate) fn table(done: &[Done], threads: usize) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a string takes everything");
    line(format!("{:<16} {:>9}  counted", "part", "seconds"));
    for part in done {
        let counts: Vec<String> =
            part.outcome.counts.iter().map(|(what, count)| format!("{} {what}", grouped(*count))).collect();
        let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
        line(format!("{:<16} {:>9.1}  {counts}", part.name, part.took.as_secs_f64()));
        if let Some(because) = &part.outcome.skipped {
            line(format!("{:<16} {:>9}  skipped: {because}", "", ""));
        }
    }
    for part in done {
        part.outcome.notes.iter().for_each(|note| line(format!("{}: {note}", part.name)));
    }
    let violations = violations(done);
    let seconds: f64 = done.iter().map(|part| part.took.as_secs_f64()).sum();
    line(format!("{violations} violations in {seconds:.0} s on {threads} threads"));
    for part in done {
        for failure in &part.outcome.failures {
            line(format!("\n{}: {}", part.name, failure.what));
            line(format!("lab --replay '{}: {}'", part.name, failure.replay));
        }
    }
    text
}

/// The same as one object.
pub(crate) fn json(done: &[Done], threads: usize) -> Value {
    let part = |part: &Done| {
        let failures = part
            .outcome
            .failures
            .iter()
            .map(|failure| json!({ "what": failure.what, "replay": format!("{}: {}", part.name, failure.replay) }));
        json!({
            "name": part.name,
            "about": part.about,
            "seconds": (part.took.as_secs_f64() * 10.0).round() / 10.0,
            "counts": part.outcome.counts,
            "skipped": part.outcome.skipped,
            "notes": part.outcome.notes,
            "failures": failures.collect::<Vec<_>>(),
        })
    };
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    done.iter().flat_map(|part| &part.outcome.counts).for_each(|(what, n)| *totals.entry(what).or_default() += n);
    json!({
        "threads": threads,
        "parts": done.iter().map(part).collect::<Vec<_>>(),
        "totals": totals,
        "violations": violations(done),
    })
}

/// A number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
