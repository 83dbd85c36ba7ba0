//! The error sweep: every call of a workload fails once, in every way, once and for ever.
//!
//! Each run must end in an outcome that is allowed. An append fails with a typed error; then either the log is as it was, and
//! the same append succeeds once the calls do, or the store is poisoned, and nothing more reaches the storage until it was
//! opened again. Opening fails with a typed error and succeeds once the calls do. At the end everything that was acknowledged
//! is found, also by who comes after a loss of power.

use std::io;
use std::sync::Arc;

use treering::storage::mem::Operation;
use treering::{Durability, Error, ErrorKind, Store};

use super::account::{Account, Plan};
use super::check::{Seen, read};
use super::enumerate::Width;
use super::lab::{Budget, Profile, Record, boot_id, explore, hold_end};
use super::workloads::{Run, Workload};
use super::{Failure, Fault, Image, SimStorage, options};

/// In which ways calls fail.
pub const WAYS: &[Failure] = &[
    Failure::Error(io::ErrorKind::Other),
    Failure::Error(io::ErrorKind::StorageFull),
    Failure::Error(io::ErrorKind::QuotaExceeded),
    Failure::Error(io::ErrorKind::Interrupted),
    Failure::Error(io::ErrorKind::WriteZero),
    Failure::Short,
    Failure::SyncReverts,
    Failure::Late,
];

/// Streams, and the sizes of what is appended to them.
type Sections = [(&'static str, &'static [usize])];

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swept {
    /// Runs, each with one fault.
    pub runs: usize,
    /// Appends that failed and left the log as it was.
    pub refused: usize,
    /// Appends after which the store was poisoned.
    pub poisoned: usize,
    /// Openings that failed.
    pub unopened: usize,
    /// States after a loss of power that were opened.
    pub states: usize,
}

/// Sweeps over the calls `from`, `from + step`, …; of each `states` states after a loss of power are opened.
///
/// # Errors
/// The first outcome that is not allowed, with the fault that led to it.
pub fn sweep(from: u64, step: usize, states: usize) -> Result<Swept, String> {
    let mut swept = Swept::default();
    for fault in faults(from, step)? {
        run_one(fault, states, &mut swept).map_err(|what| format!("{fault:?}: {what}"))?;
    }
    Ok(swept)
}

/// The faults of a sweep over the calls `from`, `from + step`, …: each call in every way, once and for ever.
///
/// # Errors
/// Where the script does not succeed without a fault.
pub fn faults(from: u64, step: usize) -> Result<Vec<Fault>, String> {
    let mut swept = Swept::default();
    let machine = SimStorage::new(5);
    work(&mut Run::new(&machine), &mut swept)?;
    if (swept.refused, swept.poisoned, swept.unopened) != (0, 0, 0) {
        return Err(format!("without a fault all succeeds: {swept:?}"));
    }
    let mut faults = Vec::new();
    for (number, after) in (from..machine.calls()).step_by(step).enumerate() {
        for how in WAYS {
            for sticky in [false, true] {
                // Only syncs revert.
                let on = (*how == Failure::SyncReverts).then_some(Operation::Sync);
                let after = if on.is_some() { number as u64 } else { after };
                faults.push(Fault { after, sticky, on, how: *how });
            }
        }
    }
    Ok(faults)
}

/// One run with one fault.
///
/// # Errors
/// What is not allowed.
pub fn run_one(fault: Fault, states: usize, swept: &mut Swept) -> Result<(), String> {
    let machine = SimStorage::new(5);
    machine.fail(Some(fault));
    let mut run = Run::new(&machine);
    if fault.how == Failure::SyncReverts {
        run.allow_reverts();
    }
    work(&mut run, swept)?;
    swept.runs += 1;
    machine.fail(None);
    explore_after(&Record::of_run(&machine, run.finish()), fault, states, swept)
}

/// What a run left is found by who comes next, at once and after a loss of power at any moment of it.
fn explore_after(record: &Record, fault: Fault, states: usize, swept: &mut Swept) -> Result<(), String> {
    // Where the cache went back to old bytes, what was only Written may be gone.
    hold_end(record, fault.how == Failure::SyncReverts)?;
    let moments_one_in = if states > 10 { 1 } else { 16 };
    let width = Width { exhaustive: 3, pairs: 2, random: 2, moments_one_in };
    let budget = Budget { states, deep_states: 0, deep_one_in: 0, width, is_second: false };
    let count = explore(record, Profile::Power, budget, "sweep")
        .map_err(|broken| format!("{}\n{}", broken.what, broken.replay))?;
    swept.states += count.opened;
    Ok(())
}

/// Sweeps over all calls of opening what a crash left of a workload, in some of its states.
///
/// # Errors
/// The first outcome that is not allowed, with the fault that led to it.
pub fn sweep_opening(workload: &Workload, images: usize, states: usize) -> Result<Swept, String> {
    let mut swept = Swept::default();
    let first = Record::of_workload(workload, None);
    for (image, account) in super::lab::images(&first, Profile::Power, images)? {
        let calls = {
            let machine = SimStorage::of_image(&image, 3, boot_id(2));
            let _store = Store::open_on(Arc::new(machine.process()), options()).map_err(|error| error.to_string())?;
            machine.calls()
        };
        let faults = (0..calls).flat_map(|after| {
            let ways = WAYS.iter().flat_map(|how| [(how, false), (how, true)]);
            ways.map(move |(how, sticky)| Fault { after, sticky, on: None, how: *how })
        });
        for fault in faults {
            open_one(&image, &account, fault, states, &mut swept)
                .map_err(|what| format!("{}, {fault:?}: {what}", workload.name))?;
        }
    }
    Ok(swept)
}

fn open_one(image: &Image, account: &Account, fault: Fault, states: usize, swept: &mut Swept) -> Result<(), String> {
    let machine = SimStorage::of_image(image, fault.after, boot_id(2));
    let process = machine.process();
    machine.fail(Some(fault));
    let opened = Store::open_on(Arc::new(process.clone()), options());
    if let Err(error) = &opened {
        swept.unopened += 1;
        if ![ErrorKind::Io, ErrorKind::NoSpace, ErrorKind::Poisoned].contains(&error.kind()) {
            return Err(format!("P7: opening failed with {error:?}"));
        }
    }
    process.kill();
    drop(opened);
    machine.fail(None);
    swept.runs += 1;
    explore_after(&Record::of_second_life(image, &machine, account.clone(), 2), fault, states, swept)
}

/// Appends of every kind, in three lives.
fn work(run: &mut Run, swept: &mut Swept) -> Result<(), String> {
    use Durability::{Synced, Written};
    let lasts: [&Sections; 3] = [&[("b", &[3000])], &[("b", &[17_000])], &[("b", &[10])]];
    for (life, last) in lasts.into_iter().enumerate() {
        open(run, swept)?;
        let appends: [(&Sections, Durability); 5] = [
            (&[("a", &[40])], Written),
            (&[("a", &[700, 0]), ("b", &[30])], Synced),
            (&[("c", &[5000])], Written),
            (&[("a", &[100])], Synced),
            (last, Written),
        ];
        for (sections, level) in appends {
            let plan = run.plan(sections, level);
            append(run, plan, swept)?;
        }
        if !run.may_revert() {
            // Of the first event of all, and of what the life before forked.
            let (parent, name) = (["a", "fork 0", "fork 1"][life], format!("fork {life}"));
            let plan = run.fork_plan_named(parent, 0, &name, if life == 1 { Synced } else { Written });
            append(run, plan, swept)?;
            let plan = run.plan(&[(&name, &[300])], Written);
            append(run, plan, swept)?;
        }
        if life == 1 {
            run.kill();
        } else {
            run.try_close();
        }
    }
    Ok(())
}

/// Appends; where that fails, in an allowed way, until it succeeds.
pub(super) fn append(run: &mut Run, plan: Plan, swept: &mut Swept) -> Result<(), String> {
    let before = log_of(run)?;
    let Err(error) = run.try_append(plan.clone()) else { return Ok(()) };
    match error.kind() {
        ErrorKind::Poisoned => {}
        ErrorKind::NoSpace | ErrorKind::Io => {
            swept.refused += 1;
            run.heal();
            let after = log_of(run)?;
            if after != before {
                return Err(format!("P9: {error:?}, and the log went from {} to {}", before.len(), after.len()));
            }
            let failed = run.machine().last_failed();
            let unknown = failed.filter(|(on, name)| *on == Operation::Write && name.ends_with(".segment"));
            let mut again = run.try_append(plan.clone());
            if matches!(&again, Err(late) if late.kind() == ErrorKind::Io) {
                again = run.try_append(plan.clone()); // a write-back that failed before is told once to each file
            }
            match (again, unknown) {
                // Whoever made that call, from then on nobody writes.
                (Ok(()), Some(failed)) if error.kind() == ErrorKind::Io => {
                    return Err(format!("P6: {failed:?} failed, its effect unknown, and the store goes on: {error:?}"));
                }
                (Ok(()), _) => return Ok(()),
                // A write or sync in the background met the fault too.
                (Err(again), _) if again.kind() == ErrorKind::Poisoned => {}
                (Err(again), _) => return Err(format!("P9: after {error:?} tried again: {again:?}")),
            }
        }
        _ => return Err(format!("P7: an append failed with {error:?}")),
    }
    swept.poisoned += 1;
    is_silent(run)?;
    run.kill();
    run.heal();
    open(run, swept)?;
    run.try_append(plan).map_err(|again| format!("P6: after {error:?}, opened again: {again:?}"))
}

/// Opens; where that fails, in an allowed way, once more.
pub(super) fn open(run: &mut Run, swept: &mut Swept) -> Result<(), String> {
    let Err(error) = run.try_open() else { return Ok(()) };
    swept.unopened += 1;
    let allowed = [ErrorKind::Io, ErrorKind::NoSpace, ErrorKind::Poisoned];
    if !allowed.contains(&error.kind()) {
        return Err(format!("P7: opening failed with {error:?}"));
    }
    run.kill();
    run.heal();
    run.try_open().map_err(|again| format!("P8: after {error:?} opened again: {again:?}"))
}

fn log_of(run: &Run) -> Result<Vec<Seen>, String> {
    let fault = run.machine().take_fault();
    let events = read(run.store());
    run.machine().fail(fault);
    events.map(|(events, _)| events)
}

/// Nothing more is written or synced by a poisoned store.
fn is_silent(run: &mut Run) -> Result<(), String> {
    run.heal(); // a call that was tried now would succeed, and be seen
    let len = run.machine().trace_len();
    for level in [Durability::Written, Durability::Synced] {
        let plan = Plan::one(900_000, "a", 10, level);
        expect_poisoned(plan.append(run.store()).map(drop))?;
    }
    let marks = run.store().watermarks();
    if marks.durable < marks.committed {
        expect_poisoned(run.store().sync().map(drop))?; // else there is nothing to be synced
    }
    match run.machine().trace_len() == len {
        true => Ok(()),
        false => Err("P6: a poisoned store went on to write".into()),
    }
}

fn expect_poisoned(result: Result<(), Error>) -> Result<(), String> {
    match result {
        Err(error) if error.kind() == ErrorKind::Poisoned => Ok(()),
        other => Err(format!("P6: a poisoned store answered {other:?}")),
    }
}
