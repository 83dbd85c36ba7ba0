//! How is the demo told? To people as a story in chapters, to programs as one JSON object a step.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::exit::Outcome;
use crate::output::{Out, bytes, count, counted, duration, excerpt, printable, width};

/// What the demo came to.
pub(super) struct Ending<'a> {
    pub(super) path: &'a Path,
    /// Receipts that workers printed.
    pub(super) acknowledged: u64,
    /// Those of them that were not found again.
    pub(super) lost: u64,
    pub(super) is_clean: bool,
    pub(super) verify_time: Duration,
    /// From the kill to the next worker's first receipt.
    pub(super) picked_up: Duration,
    /// Opening the store after the kill.
    pub(super) open_time: Duration,
    pub(super) delays: Vec<Duration>,
    pub(super) appends: Vec<Duration>,
    /// How long a worker's step takes: the second one thinks that long before its first receipt.
    pub(super) step: Duration,
    pub(super) events: u64,
    pub(super) streams: u64,
    pub(super) disk_bytes: u64,
}

/// What forks and a summary came to.
pub(super) struct Branches<'a> {
    pub(super) at: u64,
    pub(super) names: &'a [String],
    pub(super) fork_bytes: u64,
    pub(super) shared: u64,
    pub(super) added: [u64; 2],
    /// So many events the summary stands for.
    pub(super) stands_for: u64,
    pub(super) context_events: u64,
    pub(super) raw_events: u64,
}

/// What a pool of workers came to.
pub(super) struct Pooled {
    pub(super) workers: u64,
    pub(super) agents: u64,
    /// Of each agent.
    pub(super) steps: u64,
    pub(super) killed: u64,
    /// Steps that were ended by another process than began them.
    pub(super) taken_over: u64,
    pub(super) time: Duration,
}

/// The telling.
pub(super) struct Story {
    out: Out,
    json: bool,
    width: usize,
}

impl Story {
    pub(super) fn new(json: bool) -> Story {
        Story { out: Out::stdout(), json, width: width().unwrap_or(110).min(110) }
    }

    /// One step: the object, or the text.
    fn tell(&mut self, object: impl Serialize, text: impl std::fmt::Display) -> Outcome {
        if self.json {
            self.out.json(&object)?
        } else {
            self.out.line(text)?
        }
        self.out.flush()
    }

    pub(super) fn begins(&mut self, path: &Path) -> Outcome {
        self.tell(
            json!({ "step": "begin", "store": path.display().to_string() }),
            format_args!(
                "An agent is its log. Whoever holds the log can go on: here is what that means.\n\n\
                 1. A store is made in {}",
                path.display()
            ),
        )
    }

    pub(super) fn others_are_in(&mut self, kept: &[(&str, u64)]) -> Outcome {
        let streams: Vec<_> =
            kept.iter().map(|(stream, events)| json!({ "stream": stream, "events": events })).collect();
        let names: Vec<_> = kept.iter().map(|(stream, events)| format!("   {stream}  {events} events")).collect();
        self.tell(
            json!({ "step": "imported", "streams": streams }),
            format_args!(
                "   with two logs in it already, of a sub-agent and of another tool:\n{}\n\n\
                 2. A worker process advances a session; this one follows it live, from the log alone.",
                names.join("\n")
            ),
        )
    }

    pub(super) fn worker_started(&mut self, number: u32, pid: u32) -> Outcome {
        self.tell(
            json!({ "step": "worker_started", "worker": number, "pid": pid }),
            format_args!("   worker {number} starts (process {pid})"),
        )
    }

    pub(super) fn worker_picked_up(&mut self, events: u64, last: Option<&str>, open_micros: u64) -> Outcome {
        let open = duration(Duration::from_micros(open_micros));
        let found = match last {
            Some(last) => format!("reads {} there, the last of type {}", counted(events, "event"), printable(last)),
            None => "finds no event of the session: it begins".to_owned(),
        };
        self.tell(
            json!({ "step": "worker_reads_log", "events": events, "last_type": last, "open_micros": open_micros }),
            format_args!("   it opens the store in {open} and {found}"),
        )
    }

    pub(super) fn event(&mut self, revision: u64, event_type: &str, payload: &[u8]) -> Outcome {
        let text = what_it_says(payload);
        let head = format!("   {revision:>5}  {:<24}", printable(event_type));
        let room = self.width.saturating_sub(head.chars().count()).max(20);
        self.tell(
            json!({ "step": "event", "revision": revision, "type": event_type, "says": text }),
            format_args!("{head}{}", excerpt(text.as_bytes(), room)),
        )
    }

    pub(super) fn worker_killed(&mut self, pid: u32, acknowledged: u64, events: u64, is_unanswered: bool) -> Outcome {
        let turn = if is_unanswered { ": a tool was called and its answer is not there" } else { "" };
        self.tell(
            json!({
                "step": "worker_killed",
                "pid": pid,
                "signal": "SIGKILL",
                "acknowledged": acknowledged,
                "tool_call_unanswered": is_unanswered,
            }),
            format_args!(
                "\n3. SIGKILL to process {pid}, in the middle of a turn{turn}.\n   \
                 The worker had {} by then, and the follower had seen {}. It stays; a new worker starts,\n   \
                 which knows nothing but the log.",
                counted(acknowledged, "receipt"),
                counted(events, "event")
            ),
        )
    }

    pub(super) fn late_worker_refused(&mut self, believed: u64, actual: Option<u64>) -> Outcome {
        let head = actual.map_or("nothing".to_owned(), |head| format!("revision {head}"));
        self.tell(
            json!({ "step": "late_worker_refused", "expected": believed, "actual": actual }),
            format_args!(
                "\n4. A worker that slept through all this appends behind revision {believed}, as it remembers the log.\n   \
                 It is refused: conflict, the head is {head}. No turn happens twice."
            ),
        )
    }

    pub(super) fn branched(&mut self, branches: &Branches<'_>) -> Outcome {
        let Branches { at, names, fork_bytes, shared, added, stands_for, context_events, raw_events } = *branches;
        self.tell(
            json!({
                "step": "branched",
                "at": at,
                "forks": names,
                "fork_bytes": fork_bytes,
                "shared": shared,
                "added": added,
                "summary_stands_for": stands_for,
                "context_events": context_events,
                "raw_events": raw_events,
            }),
            format_args!(
                "\n5. Two models go on from revision {at}, each in a fork of its own: {fork_bytes} bytes in the log, nothing copied.\n   \
                 They share {} and each added {}.\n   \
                 A summary is put beside the session: one event that stands for {}. With it the context is\n   \
                 {}, and all {raw_events} of the session are there as before.",
                counted(shared, "event"),
                counted(added[0], "event"),
                stands_for,
                counted(context_events, "event"),
            ),
        )
    }

    pub(super) fn pool_starts(&mut self, workers: u64, agents: u64, steps: u64) -> Outcome {
        self.tell(
            json!({ "step": "pool_starts", "workers": workers, "agents": agents, "steps_each": steps }),
            format_args!(
                "\n6. {workers} workers write to the store at once, and take {steps} steps for each of {agents} agents. They ask the log\n   \
                 what there is to do, and claim it. One after the other is killed and replaced."
            ),
        )
    }

    pub(super) fn pool_ends(&mut self, pooled: &Pooled) -> Outcome {
        let Pooled { workers, agents, steps, killed, taken_over, time } = *pooled;
        self.tell(
            json!({
                "step": "pool_ends",
                "workers": workers,
                "agents": agents,
                "steps": agents * steps,
                "killed": killed,
                "taken_over": taken_over,
                "micros": time.as_micros() as u64,
            }),
            format_args!(
                "   {} are done in {}, and {} were killed; ended by another process than began them: {}.\n   \
                 Each is in the log once, and none is missing.",
                counted(agents * steps, "step"),
                duration(time),
                counted(killed, "worker"),
                count(taken_over),
            ),
        )
    }

    pub(super) fn ends(&mut self, mut ending: Ending<'_>) -> Outcome {
        let store = ending.path.display().to_string();
        let (append_median, append_worst) = middle_and_worst(&mut ending.appends);
        let (delay_median, delay_worst) = middle_and_worst(&mut ending.delays);
        let commands = commands(&store);
        let micros = |time: Duration| time.as_micros() as u64;
        let object = json!({
            "step": "end",
            "store": store,
            "events": ending.events,
            "streams": ending.streams,
            "disk_bytes": ending.disk_bytes,
            "acknowledged": ending.acknowledged,
            "lost": ending.lost,
            "clean": ending.is_clean,
            "verify_micros": micros(ending.verify_time),
            "open_after_kill_micros": micros(ending.open_time),
            "kill_to_next_receipt_micros": micros(ending.picked_up),
            "worker_step_micros": micros(ending.step),
            "synced_append_micros": { "median": micros(append_median), "worst": micros(append_worst) },
            "follower_delay_micros": { "median": micros(delay_median), "worst": micros(delay_worst) },
            "commands": commands,
        });
        let text = format!(
            "\n7. The store is verified: {}.\n\n\
             Kept\n   \
             {} in {}, {} on disk, in {store}\n   \
             {} were given, {} of them lost\n\n\
             Measured\n   \
             a Synced append            {} (median), {} (worst), an fdatasync each\n   \
             from append to follower    {} (median), {} (worst), across processes\n   \
             opening after the kill     {}\n   \
             from kill to next receipt  {}, of which {} the worker's own work on that step\n   \
             verifying everything       {}\n\n\
             Look around\n{}",
            if ending.is_clean { "every checksum and every chain holds" } else { "DAMAGE was found" },
            counted(ending.events, "event"),
            counted(ending.streams, "stream"),
            bytes(ending.disk_bytes),
            counted(ending.acknowledged, "receipt"),
            count(ending.lost),
            duration(append_median),
            duration(append_worst),
            duration(delay_median),
            duration(delay_worst),
            duration(ending.open_time),
            duration(ending.picked_up),
            duration(ending.step),
            duration(ending.verify_time),
            commands.iter().map(|command| format!("   {command}\n")).collect::<String>().trim_end_matches('\n'),
        );
        self.tell(object, text)
    }
}

/// The commands to look around with, as they can be typed here.
fn commands(store: &str) -> Vec<String> {
    let program = std::env::args().next().unwrap_or_else(|| "treering".to_owned());
    let program = if program.is_empty() { "treering".to_owned() } else { program };
    let session = super::worker::STREAM;
    vec![
        format!("{program} streams {store}"),
        format!("{program} cat {store} {session} --last 5"),
        format!("{program} cat {store} {session} --raw"),
        format!("{program} forks {store}"),
        format!("{program} context {store} {session}"),
        format!("{program} stat {store}"),
        format!("{program} verify {store}"),
        format!("echo '{{\"note\":\"mine\"}}' | {program} append {store} notes"),
        format!("{program} tail {store} -f"),
    ]
}

fn middle_and_worst(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    (middle, times.last().copied().unwrap_or_default())
}

/// The words in a record of the sample: what was said, called or answered.
fn what_it_says(payload: &[u8]) -> String {
    let Ok(record) = serde_json::from_slice::<serde_json::Value>(payload) else { return String::new() };
    let content = &record["message"]["content"];
    let block = content.get(0);
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let said = match block.and_then(|block| block["type"].as_str()) {
        Some("text") => block.and_then(|block| text(&block["text"])),
        Some("thinking") => block.and_then(|block| text(&block["thinking"])).map(|thought| format!("({thought})")),
        Some("tool_use") => {
            block.map(|block| format!("calls {} {}", block["name"].as_str().unwrap_or(""), block["input"]))
        }
        Some("tool_result") => {
            block.and_then(|block| text(&block["content"])).map(|answer| format!("answers {answer}"))
        }
        _ => text(content),
    };
    said.or_else(|| text(&record["summary"])).or_else(|| text(&record["content"])).unwrap_or_default()
}
