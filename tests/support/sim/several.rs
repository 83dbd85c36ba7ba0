//! Several processes that write to one store, and die in the middle of it while the others go on: steps drawn from a seed.
//!
//! A process dies at a call that the seed picks: a write is done by half, no later call of it does anything, its locks are
//! free. The others may not notice: whatever they do succeeds, and all that anybody was acknowledged stays. Now and then a
//! sync fails; then all of them stop, and go on once they have opened the store again. What is left in the end is given back,
//! so that every state that a crash may leave of it can be looked at too.

use std::sync::Arc;

use treering::storage::mem::Operation;
use treering::{Durability, ErrorKind, Options, Store};

use super::account::{Account, Plan};
use super::check::{look_on, read};
use super::enumerate::Numbers;
use super::{Failure, Fault, SimStorage};
use crate::store::noise;

const SIZES: [usize; 10] = [0, 1, 10, 60, 128, 300, 440, 900, 2500, 6_000];
const STREAMS: [&str; 3] = ["a", "b", "c"];
const PROCESSES: usize = 3;

/// How these processes open the store.
#[must_use]
pub fn options() -> Options {
    super::options().exclusive(false)
}

/// What the walk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Did {
    /// Processes that died in the middle of a call.
    pub deaths: u64,
    /// Processes that joined others.
    pub joined: u64,
    /// Syncs that failed.
    pub failures: u64,
    /// Those of processes that died in them, so that nobody heard.
    pub unheard: u64,
}

struct Walk<'m> {
    machine: &'m SimStorage,
    numbers: Numbers,
    processes: Vec<Option<(SimStorage, Store)>>,
    account: Account,
    next: u64,
    did: Did,
}

/// Walks so many steps that the seed says.
///
/// # Errors
/// The promise that is broken, in words.
pub fn walk(machine: &SimStorage, seed: u64, steps: usize) -> Result<(Account, Did), String> {
    let mut walk = Walk {
        machine,
        numbers: Numbers(seed),
        processes: (0..PROCESSES).map(|_| None).collect(),
        account: Account::default(),
        next: 0,
        did: Did::default(),
    };
    for number in 0..steps {
        walk.step().map_err(|what| format!("step {number}: {what}"))?;
    }
    for (process, _) in walk.processes.iter().flatten() {
        process.kill();
    }
    walk.processes.clear();
    walk.did.unheard = machine.unheard_syncs();
    Ok((walk.account, walk.did))
}

impl Walk<'_> {
    fn step(&mut self) -> Result<(), String> {
        let who = self.numbers.below(PROCESSES);
        if self.processes[who].is_none() {
            self.open(who)?;
        } else if self.numbers.below(40) == 0 {
            self.fail_a_sync(who)?;
        } else {
            self.work(who)?;
        }
        if !self.account.entries.is_empty() || self.processes.iter().any(Option::is_some) {
            look_on(self.machine, &mut self.account, false)?;
        }
        Ok(())
    }

    fn open(&mut self, who: usize) -> Result<(), String> {
        let process = self.machine.process();
        let dies = self.numbers.below(5) == 0 && !self.account.entries.is_empty();
        process.kill_after(dies.then(|| self.numbers.below(60) as u64));
        let opened = Store::open_on(Arc::new(process.clone()), options());
        process.kill_after(None);
        match opened {
            Ok(store) if !process.is_dead() => {
                self.did.joined += u64::from(store.open_report().was_open);
                let (events, losses) = read(&store)?;
                if losses > 0 || !store.open_report().damage.is_empty() {
                    return Err(format!("P5: {losses} losses, {:?}", store.open_report().damage));
                }
                let oracle = super::account::Oracle {
                    account: &self.account,
                    first: usize::MAX,
                    last: self.machine.trace_len(),
                    demand: super::account::Demand::Acknowledged,
                };
                let _ = oracle.hold(&events, false)?;
                self.account.note(&store, self.machine.trace_len());
                self.processes[who] = Some((process, store));
            }
            Ok(_) => self.did.deaths += 1,
            Err(_) if process.is_dead() => self.did.deaths += 1,
            Err(error) => return Err(format!("P14: the store does not open: {error:?}")),
        }
        Ok(())
    }

    /// One call of one process, in which it may die.
    fn work(&mut self, who: usize) -> Result<(), String> {
        let dies = (self.numbers.below(8) == 0).then(|| self.numbers.below(14) as u64);
        let kind = self.numbers.below(16);
        let plan = self.plan();
        let (process, store) = self.processes[who].take().expect("it is open");
        let mut store = Some(store);
        process.kill_after(dies);
        let machine = self.machine;
        let now = || machine.trace_len();
        let open = || store.as_ref().expect("it is open");
        let done = match kind {
            1 => open().sync().map(drop),
            2 => open().work_in_background(),
            3 => open().refresh(),
            4 => store.take().expect("it is open").close(),
            _ => self.account.append(open(), plan, now).map(drop),
        };
        process.kill_after(None);
        if process.is_dead() {
            self.did.deaths += 1;
            return Ok(());
        }
        done.map_err(|error| format!("P14: a living process fails: {error:?}"))?;
        if let Some(store) = store {
            self.account.note(&store, now());
            self.processes[who] = Some((process, store));
        }
        Ok(())
    }

    /// A sync fails: nobody appends any more, until all have opened the store anew.
    fn fail_a_sync(&mut self, who: usize) -> Result<(), String> {
        let before = self.machine.failed();
        let how = Failure::SyncKeeps;
        self.machine.fail(Some(Fault { after: 0, sticky: false, on: Some(Operation::Sync), how }));
        let plan = Plan { level: Durability::Synced, ..self.plan() };
        let machine = self.machine;
        let (_, store) = self.processes[who].as_ref().expect("it is open");
        let appended = self.account.append(store, plan, || machine.trace_len());
        self.machine.fail(None);
        if self.machine.failed() == before {
            return appended.map(drop).map_err(|error| format!("no sync failed, and {error:?}"));
        }
        match appended {
            Err(error) if error.kind() == ErrorKind::Poisoned => {}
            Err(_) => return Ok(()), // of a segment that was not begun yet: nothing of it is known to anybody
            Ok(receipt) => return Err(format!("P6: a sync failed, and {receipt:?}")),
        }
        self.did.failures += 1;
        for (number, process) in self.processes.iter().enumerate() {
            let Some((_, store)) = process else { continue };
            let plan = Plan::one(self.next + 1, "d", 30, Durability::Written);
            self.next += 1;
            let appended = self.account.append(store, plan, || machine.trace_len());
            match appended {
                Err(error) if error.kind() == ErrorKind::Poisoned => {}
                other => return Err(format!("P6: process {number} after a failed sync: {other:?}")),
            }
        }
        // In any order: the first one goes on while the others have it open still.
        let first = (who + 1) % PROCESSES;
        for who in (0..PROCESSES).map(|step| (first + step) % PROCESSES) {
            if let Some((process, store)) = self.processes[who].take() {
                drop(store);
                process.kill();
            }
            if self.numbers.below(2) == 0 {
                self.open(who)?;
            }
        }
        Ok(())
    }

    fn plan(&mut self) -> Plan {
        self.next += 1;
        let number = self.next;
        let heads: Vec<(String, u64)> = self.account.heads().into_iter().collect();
        if !heads.is_empty() && self.numbers.below(6) == 0 {
            // Of anything that somebody was acknowledged, whichever process made it.
            let (parent, head) = &heads[self.numbers.below(heads.len())];
            let revision = self.numbers.below(*head as usize + 1) as u64;
            let level = if self.numbers.below(3) == 0 { Durability::Synced } else { Durability::Written };
            return Plan::fork(number, parent, revision, &format!("fork {number}"), level);
        }
        let forks: Vec<&str> = heads.iter().map(|(name, _)| &**name).filter(|name| name.starts_with("fork")).collect();
        let fork = (!forks.is_empty() && self.numbers.below(3) == 0).then(|| forks[self.numbers.below(forks.len())]);
        let sections = (0..1 + self.numbers.below(2)).map(|section| {
            let stream = STREAMS[(self.numbers.below(2) + section) % STREAMS.len()];
            let stream = fork.filter(|_| section == 0).unwrap_or(stream);
            let count = 1 + self.numbers.below(2);
            let sizes = (0..count).map(|_| SIZES[self.numbers.below(SIZES.len())]);
            let payloads = sizes.enumerate().map(|(at, len)| noise(number * 100 + at as u64, len)).collect();
            (stream.to_owned(), payloads)
        });
        let mut sections: Vec<(String, Vec<Vec<u8>>)> = sections.collect();
        sections.dedup_by(|one, other| one.0 == other.0);
        let level = if self.numbers.below(3) == 0 { Durability::Synced } else { Durability::Written };
        Plan { number, sections, fork: None, beside: None, level }
    }
}
