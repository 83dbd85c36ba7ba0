//! The part of the demo in which a pool of workers advances several agents at once, and its workers are killed at random.
//!
//! A worker asks the log which agents have something to do, claims one, says what it is about to do, does it, and says what came
//! of it together with the step that is due next. It keeps nothing: whoever finds a step begun and not done goes on with it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use treering::{
    Batch, Durability, ErrorKind, Expected, FencingToken, NewEvent, Options, ReadOptions, Store, Visibility,
    WorkOptions,
};

use super::story::{Pooled, Story};
use crate::exit::{Failure, Outcome};

const WORKERS: usize = 3;
const AGENTS: u64 = 6;
const STEPS: u64 = 4;
/// Behind so many kills the pool is left alone.
const KILLS_MAX: u64 = 8;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(60);

const AGENT_PREFIX: &str = "agent/";
const ASKED: &str = "step_asked";
const BEGUN: &str = "step_begun";
const DONE: &str = "step_done";

/// What each event says: which step, and which process.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    step: u64,
    by: u32,
}

impl Step {
    fn bytes(step: u64) -> Vec<u8> {
        serde_json::to_vec(&Step { step, by: std::process::id() }).unwrap_or_default()
    }

    fn of(payload: &[u8]) -> Outcome<Step> {
        serde_json::from_slice(payload).map_err(|error| Failure::Error(format!("a step that cannot be read: {error}")))
    }
}

fn open(path: &Path) -> Outcome<Store> {
    Ok(Store::open(path, Options::new())?)
}

/// Committed is enough to find work by: the append that ends it is Synced.
fn steps() -> WorkOptions {
    WorkOptions::new([ASKED], [DONE]).stream_prefix(AGENT_PREFIX).visibility(Visibility::Committed)
}

/// Has the pool advance the agents while its workers are killed, and looks at what came of it.
pub(super) fn run(path: &Path, step: Duration, story: &mut Story) -> Outcome {
    let store = open(path)?;
    for agent in 0..AGENTS {
        let payload = Step::bytes(0);
        let first = [NewEvent::new(ASKED, &payload)];
        let _receipt = store.append(&Batch::to(&format!("{AGENT_PREFIX}{agent}"), Expected::NoStream, &first))?;
    }
    store.close()?;
    story.pool_starts(WORKERS as u64, AGENTS, STEPS)?;
    let begun = Instant::now();
    let killed = keep_killing(path, step)?;
    let time = begun.elapsed();

    let store = Store::open_read_only(path, Options::new())?;
    let mut taken_over = 0;
    for agent in 0..AGENTS {
        taken_over += check(&store, &format!("{AGENT_PREFIX}{agent}"))?;
    }
    story.pool_ends(&Pooled { workers: WORKERS as u64, agents: AGENTS, steps: STEPS, killed, taken_over, time })
}

/// Keeps as many workers running as the pool has until nothing is left to do, and kills one after the other meanwhile.
fn keep_killing(path: &Path, step: Duration) -> Outcome<u64> {
    let store = Store::open_read_only(path, Options::new())?;
    let mut finder = store.find_work(steps())?;
    let mut running: Vec<Member> = Vec::new();
    let (mut kills, mut dice) = (0, u64::from(std::process::id()) | 1);
    let until = Instant::now() + PATIENCE;
    loop {
        while running.len() < WORKERS {
            running.push(Member::start(path, step)?);
        }
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(step + step.mul_f64((dice >> 40 & 255) as f64 / 256.0));
        finder.look()?;
        if finder.open().next().is_none() {
            return Ok(kills);
        }
        if Instant::now() > until {
            return Err(Failure::Error("the pool does not get done, which is a bug".to_owned()));
        }
        if kills < KILLS_MAX {
            let mut killed = running.swap_remove((dice >> 33) as usize % WORKERS);
            // One that had ended found nothing to do just now.
            kills += u64::from(killed.end()?);
        } else {
            running.retain_mut(|member| matches!(member.0.try_wait(), Ok(None)));
        }
    }
}

/// A worker's process; it ends with this.
struct Member(Child);

impl Member {
    fn start(path: &Path, step: Duration) -> Outcome<Member> {
        let program = std::env::current_exe().map_err(|error| Failure::io("find", "this program", &error))?;
        let mut command = Command::new(program);
        command.arg("demo-worker").arg(path).args(["--pool", "--step-millis", &step.as_millis().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Member(command.spawn().map_err(|error| Failure::io("start", "a worker", &error))?))
    }

    /// Kills it; whether it was still running.
    fn end(&mut self) -> Outcome<bool> {
        let ended = self.0.kill().and_then(|()| self.0.wait());
        Ok(ended.map_err(|error| Failure::io("kill", "a worker", &error))?.code().is_none())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.end(); // it may have ended
    }
}

/// Fails unless each step of the agent is in the log once; how many were ended by another process than began them.
fn check(store: &Store, agent: &str) -> Outcome<u64> {
    let bug = |what: String| Failure::Error(format!("{agent}: {what}, which is a bug"));
    let mut events = store.read_stream(agent, ReadOptions::new().visibility(Visibility::Committed))?;
    let mut taken_over = 0;
    for step in 0..STEPS {
        let mut begun_by = None;
        for due in [ASKED, BEGUN, DONE] {
            let event = events.next().transpose()?.ok_or_else(|| bug(format!("{due} of step {step} is missing")))?;
            let said = Step::of(event.payload())?;
            if event.event_type() != due || said.step != step {
                return Err(bug(format!("{} of step {} where {due} of {step} was due", event.event_type(), said.step)));
            }
            match due {
                BEGUN => begun_by = Some(said.by),
                DONE => taken_over += u64::from(begun_by != Some(said.by)),
                _ => {}
            }
        }
    }
    match events.next() {
        None => Ok(taken_over),
        Some(_) => Err(bug("a step was taken twice".to_owned())),
    }
}

/// A worker of the pool: takes steps until no agent has one to take.
pub(super) fn work(path: &Path, step: Duration) -> Outcome {
    let store = open(path)?;
    let mut finder = store.find_work(steps())?;
    loop {
        finder.look()?;
        let open: Vec<String> = finder.open().map(|work| work.stream.to_string()).collect();
        if open.is_empty() {
            return Ok(store.close()?);
        }
        let mut has_taken = false;
        // Each begins elsewhere, so that they seldom want the same.
        let first = std::process::id() as usize % open.len();
        for agent in open.iter().cycle().skip(first).take(open.len()) {
            let claim = match store.try_claim(agent) {
                Ok(claim) => claim,
                Err(error) if error.kind() == ErrorKind::Locked => continue,
                Err(error) => return Err(error.into()),
            };
            let token = store.fencing_token(&claim)?;
            match advance(&store, agent, token, step) {
                Ok(()) => has_taken = true,
                // Another has taken it meanwhile: the log says so.
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Fenced) => {}
                Err(error) => return Err(error.into()),
            }
            claim.release()?;
        }
        if !has_taken {
            // Others have all of it. One that is killed wakes nobody, so it is looked again soon.
            finder.wait(Duration::from_millis(50))?;
        }
    }
}

/// Takes the step that is due, if one is.
fn advance(store: &Store, agent: &str, token: FencingToken, step: Duration) -> treering::Result<()> {
    store.refresh()?;
    let newest = ReadOptions::new().visibility(Visibility::Committed).last(1);
    let Some(last) = store.read_stream(agent, newest)?.next().transpose()?.map(|event| event.hold()) else {
        return Ok(());
    };
    let Ok(Step { step: number, .. }) = Step::of(&last.payload) else { return Ok(()) };
    let mut head = last.revision;
    let mut append = |events: &[NewEvent<'_>]| {
        let batch = Batch::to(agent, Expected::Exactly(head), events).fenced(agent, token);
        head = store.append(&batch.durability(Durability::Synced))?.sections[0].last_revision;
        Ok::<_, treering::Error>(())
    };
    let (this, next) = (Step::bytes(number), Step::bytes(number + 1));
    match &*last.event_type {
        ASKED => append(&[NewEvent::new(BEGUN, &this)])?,
        // Who began it died before it said what came of it.
        BEGUN => {}
        _ => return Ok(()),
    }
    std::thread::sleep(step); // the model, or a tool
    let events = [NewEvent::new(DONE, &this), NewEvent::new(ASKED, &next)];
    append(if number + 1 < STEPS { &events } else { &events[..1] })
}
