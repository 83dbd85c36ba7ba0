//! Damage in whole stores: stores made for it, everything that can go wrong with their bytes at rest, and what is asked of
//! the engine afterwards.
//!
//! [`Shape`] says which stores there are, [`Golden`] what is true of one, [`Fault`] what is done to it, `oracle` what is asked
//! then. [`sweep`] tries the faults of a [`Class`]: a few, spread evenly, or all of them, as its [`Budget`] says. Every
//! violation comes with a line that [`replay`] takes.

// What is asserted here is caught, and told as a violation; what is unwrapped fails the test that asked.
#![allow(clippy::unwrap_used)]

mod fault;
mod golden;
mod oracle;
mod shape;
mod sweep;

pub use fault::{Fault, Filling};
pub use golden::Golden;
pub use oracle::{Change, check};
pub use shape::{SEGMENT_BYTES, Shape, boot, options, segment, wait_for_seals};
pub use sweep::{Budget, Class, Tally, Violation, replay, sweep, sweep_with};
