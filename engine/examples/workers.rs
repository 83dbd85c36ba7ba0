//! Worker processes advance agents, and are killed at random: every step is in the log once, and none is lost.
//!
//! `cargo run --release -p treering --example workers` starts them, kills them, and looks at what came of it. A worker keeps nothing:
//!
//! 1. The log says which streams have something to do ([`Store::find_work`]): an agent's step is asked for and not done.
//! 2. A claim keeps two workers from doing the same step at the same time; it ends with its process. Its fencing token, and the
//!    expected revision, refuse whoever comes late all the same.
//! 3. Before anything is done outside of the log, an *intent* says so; behind it an *outcome* does. A worker that finds an intent
//!    without an outcome ([`Store::open_intents`]) knows that another died in between, and looks at the world first.
//! 4. The outcome of a step and the next step that is asked for are one batch: no kill falls between them.

use std::error::Error;
use std::fs::File;
use std::io::{self, ErrorKind as IoErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use treering::{
    Batch, Durability, ErrorKind, Expected, FencingToken, NewEvent, Options, ReadOptions, Revision, Store, Visibility,
    Work, WorkOptions,
};

/// A step is asked for.
pub const ASKED: &str = "step.asked";
/// The step's effect is about to be made.
pub const INTENDED: &str = "effect.intended";
/// The effect was made and the step is done.
pub const DONE: &str = "step.done";

/// Whatever goes wrong is told.
pub type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Any number of processes write to the store.
fn open(store: &Path) -> Result<Store> {
    Ok(Store::open(store, Options::new())?)
}

/// The agents, with their first steps asked for.
pub fn begin(store: &Path, agents: u64) -> Result {
    let store = open(store)?;
    for agent in 0..agents {
        let first = [NewEvent::new(ASKED, "0").id("0")];
        let _ = store.append(&Batch::to(&format!("agent/{agent}"), Expected::NoStream, &first))?;
    }
    Ok(store.close()?)
}

/// What is work here: committed is enough to find it by, since the append that ends it is Synced.
pub fn steps() -> WorkOptions {
    WorkOptions::new([ASKED], [DONE]).stream_prefix("agent/").visibility(Visibility::Committed)
}

/// Advances whatever agent there is to advance, each by one step at a time, until none has anything to do.
pub fn work(store: &Path, world: &Path, steps_each: u64) -> Result {
    let store = open(store)?;
    let mut finder = store.find_work(steps())?;
    loop {
        finder.look()?;
        let mut has_done = false;
        let open: Vec<Work> = finder.open().cloned().collect();
        if open.is_empty() {
            return Ok(store.close()?);
        }
        // Each begins elsewhere, so that they seldom want the same.
        let first = std::process::id() as usize % open.len();
        for work in open.iter().cycle().skip(first).take(open.len()) {
            let claim = match store.try_claim(&work.stream) {
                Ok(claim) => claim,
                Err(error) if error.kind() == ErrorKind::Locked => continue,
                Err(error) => return Err(error.into()),
            };
            let token = store.fencing_token(&claim)?;
            match advance(&store, world, &work.stream, token, steps_each) {
                Ok(()) => has_done = true,
                // Another was faster, or has the stream by now: what it appended says what there is to do.
                Err(error) if is_lost(&*error) => {}
                Err(error) => return Err(error),
            }
            claim.release()?;
        }
        if !has_done {
            // Others have all of it. One that is killed wakes nobody, so it is looked again soon.
            finder.wait(Duration::from_millis(50))?;
        }
    }
}

fn is_lost(error: &(dyn Error + 'static)) -> bool {
    let kind = error.downcast_ref::<treering::Error>().map(treering::Error::kind);
    matches!(kind, Some(ErrorKind::Conflict | ErrorKind::Fenced))
}

/// Takes the agent's next step, if it is still to be taken.
fn advance(store: &Store, world: &Path, agent: &str, token: FencingToken, steps_each: u64) -> Result {
    let all = ReadOptions::new().visibility(Visibility::Committed);
    store.refresh()?;
    let mut last = store.read_stream(agent, all.last(1))?;
    let Some((step, is_intended, mut head)) = (match last.next().transpose()? {
        Some(event) if event.event_type() == ASKED => Some((number(event.payload())?, false, event.revision())),
        Some(event) if event.event_type() == INTENDED => Some((number(event.payload())?, true, event.revision())),
        _ => None,
    }) else {
        return Ok(()); // it was done meanwhile
    };
    let effect = format!("{} step {step}", agent.replace('/', " "));
    let id = step.to_string();
    let append = |expected: Revision, events: &[NewEvent<'_>]| -> Result<Revision> {
        let batch = Batch::to(agent, Expected::Exactly(expected), events).fenced(agent, token);
        Ok(store.append(&batch.durability(Durability::Synced))?.sections[0].last_revision)
    };
    if !is_intended {
        head = append(head, &[NewEvent::new(INTENDED, &id).id(&id)])?;
    } else if store.open_intents(agent, &[INTENDED], &[DONE], all)?.len() == 1 {
        // Whoever intended it died before it said what became of it: the world knows.
        println!("{effect}: taken over");
    }
    make_effect(world, &effect)?;
    let next = (step + 1).to_string();
    let done = NewEvent::new(DONE, &id).id(&id);
    let events = [done, NewEvent::new(ASKED, &next).id(&next)];
    append(head, if step + 1 < steps_each { &events } else { &events[..1] })?;
    Ok(())
}

fn number(payload: &[u8]) -> Result<u64> {
    Ok(std::str::from_utf8(payload)?.parse()?)
}

/// Something that happens outside of the log, and can be seen there: a file of that name. Making it twice does nothing, as it is
/// with calls that carry a key of their own; where that is not so, the worker asks first.
fn make_effect(world: &Path, effect: &str) -> Result {
    match File::create_new(world.join(effect)) {
        Err(error) if error.kind() == IoErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop).map_err(Into::into),
    }
}

/// Starts a worker: this program again.
fn start(store: &Path, world: &Path, steps_each: u64) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("worker").arg(store).arg(world).arg(steps_each.to_string()).stdin(Stdio::null()).spawn()
}

/// A worker's process, which ends with this.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// Keeps `workers` of them at work until there is no more of it, and kills one of them every few milliseconds. Returns how many.
pub fn keep_killing(store: &Path, workers: usize, mut start: impl FnMut() -> io::Result<Child>) -> Result<u64> {
    let looking = Store::open_read_only(store, Options::new())?;
    let mut finder = looking.find_work(steps())?;
    let mut running = Vec::new();
    let (mut kills, mut dice) = (0, u64::from(std::process::id()) | 1);
    loop {
        while running.len() < workers {
            running.push(Worker(start()?));
        }
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(dice >> 33 & 31));
        finder.look()?;
        if finder.open().next().is_none() {
            break;
        }
        let mut killed = running.swap_remove((dice >> 40) as usize % workers);
        killed.0.kill()?;
        // One that had ended by itself found nothing to do just now, or could not go on: that is seen in the end.
        kills += u64::from(killed.0.wait()?.code().is_none());
    }
    for mut worker in running {
        let status = worker.0.wait()?;
        if !status.success() {
            return Err(format!("a worker failed: {status}").into());
        }
    }
    Ok(kills)
}

fn main() -> Result {
    const WORKERS: usize = 4;
    const AGENTS: u64 = 12;
    const STEPS: u64 = 10;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, store, world, steps_each] = &arguments[..]
        && command == "worker"
    {
        return work(Path::new(store), Path::new(world), steps_each.parse()?);
    }
    let folder: PathBuf = std::env::temp_dir().join(format!("treering-workers-{}", std::process::id()));
    let (store, world) = (folder.join("store"), folder.join("world"));
    std::fs::create_dir_all(&world)?;
    begin(&store, AGENTS)?;
    let kills = keep_killing(&store, WORKERS, || start(&store, &world, STEPS))?;

    let read = Store::open_read_only(&store, Options::new())?;
    for agent in 0..AGENTS {
        let mut events = read.read_stream(&format!("agent/{agent}"), ReadOptions::new())?;
        for step in 0..STEPS {
            for event_type in [ASKED, INTENDED, DONE] {
                let event = events.next().ok_or("a step is lost")??;
                if event.event_type() != event_type || number(event.payload())? != step {
                    return Err(
                        format!("agent {agent} has {} where {event_type} {step} was due", event.event_type()).into()
                    );
                }
            }
        }
        if events.next().is_some() {
            return Err("a step was taken twice".into());
        }
    }
    let effects = std::fs::read_dir(&world)?.count();
    writeln!(
        io::stdout(),
        "{WORKERS} workers took {STEPS} steps for each of {AGENTS} agents; {kills} of them were killed. Every step is in the log once, \
         and {effects} effects are in the world. The store is in {}",
        store.display()
    )?;
    Ok(())
}
