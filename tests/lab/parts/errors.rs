//! The error sweep: every call of a workload, and of opening what crashes left, fails in every way, once and for ever.

use std::sync::atomic::{AtomicUsize, Ordering};

use treering_tests::lab::{Part, Share};
use treering_tests::sim::sweep::{Swept, faults, run_one, sweep_opening};
use treering_tests::sim::workloads;

/// So many states after a loss of power are opened after each run.
const STATES: usize = 3;

pub(crate) struct ErrorSweep;

impl Part for ErrorSweep {
    fn name(&self) -> &'static str {
        "error-sweep"
    }

    fn about(&self) -> &'static str {
        "every call fails in every way, once and for ever"
    }

    fn weight(&self) -> u32 {
        18
    }

    fn run(&self, share: &Share) {
        let faults = match faults(0, 1) {
            Ok(faults) => faults,
            Err(what) => return share.fail(what, "at=0"),
        };
        let next = AtomicUsize::new(0);
        share.on_all(|_| {
            while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !share.is_over()) {
                let mut swept = Swept::default();
                if let Err(what) = run_one(*fault, STATES, &mut swept) {
                    share.fail(format!("{fault:?}: {what}"), format!("{fault:?}"));
                }
                counted(share, &swept);
            }
        });
        share.note(match next.into_inner() >= faults.len() {
            true => format!("all {} faults of the script of appends", faults.len()),
            false => format!("time was up before all {} faults of the script of appends", faults.len()),
        });
        let (next, sound) = (AtomicUsize::new(0), workloads::sound().collect::<Vec<_>>());
        share.on_all(|_| {
            while let Some(workload) = sound.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !share.is_over()) {
                match sweep_opening(workload, 2, 2) {
                    Ok(swept) => counted(share, &swept),
                    Err(what) => share.fail(what, format!("opening {}", workload.name)),
                }
            }
        });
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        if let Some(name) = line.strip_prefix("opening ") {
            let workload = workloads::ALL.iter().find(|workload| workload.name == name).ok_or("no such workload")?;
            return sweep_opening(workload, 2, 2).map(drop);
        }
        let faults = faults(0, 1)?;
        let fault = faults.iter().find(|fault| format!("{fault:?}") == line).ok_or("no such fault")?;
        run_one(*fault, STATES, &mut Swept::default())
    }
}

fn counted(share: &Share, swept: &Swept) {
    share.count("error runs", swept.runs as u64);
    share.count("states after errors", swept.states as u64);
}
