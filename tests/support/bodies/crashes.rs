//! Crashes whose moment and whose losses the fuzzer's bytes choose, on the simulated disk.

use std::sync::OnceLock;

use super::input::Input;
use crate::sim::enumerate::{Blank, Fate};
use crate::sim::lab::{Profile, Record, hold_state};
use crate::sim::workloads;

/// A crash of one of the laboratory's workloads: which one, at which call, and how each unit fares that was not durable.
///
/// # Panics
/// Where what is left breaks a promise.
pub fn crashes(bytes: &[u8]) {
    static RECORDS: OnceLock<Vec<OnceLock<Record>>> = OnceLock::new();
    let records = RECORDS.get_or_init(|| workloads::ALL.iter().map(|_| OnceLock::new()).collect());
    let mut input = Input(bytes);
    let which = input.below(workloads::ALL.len());
    let workload = &workloads::ALL[which];
    let record = records[which].get_or_init(|| Record::of_workload(workload, None));
    let at = input.below(record.trace().len() + 1);
    let profile = [Profile::Power, Profile::Hostile, Profile::Killed][input.below(3)];
    let blank = if profile == Profile::Hostile && input.flag() { Blank::Noise } else { Blank::Zeros };
    // What the bytes do not say is kept or lost, as they say.
    let others = if input.flag() { Fate::Kept } else { Fate::Lost };
    let fates = if profile == Profile::Hostile { 6 } else { 2 };
    let fate = || match input.is_empty() {
        true => others,
        false => Fate::of_digit((b'0' + input.below(fates) as u8).into()).expect("it is a digit of one"),
    };
    if let Err(what) = hold_state(record, profile, at, blank, fate) {
        panic!("{} at call {at}, {profile:?}: {what}", workload.name);
    }
}
