//! All tests, one binary (but for `schedules`, for which everything is built anew).
//!
//! A test that holds a promise begins with its number (`p05_…`) and is listed in `engine/PROMISES.md`; one that holds a
//! rule of the format names the rule in square brackets. Both are checked by `tidy`.

// A test may stop where it stands: that is how it fails.
#![allow(clippy::unwrap_used)]

mod accept;
mod append;
mod around;
mod at_time;
mod bad_input;
mod bodies;
mod by_default;
mod claims;
mod clock;
mod concurrency;
mod crash;
mod cursors;
mod damage;
mod derived;
mod directory;
mod durability;
mod edges;
mod fencing;
mod follow;
mod forks;
mod guard;
mod hostile;
mod kill;
mod leaving;
mod limits;
mod lineage;
mod model;
mod panics;
mod projection;
mod prove;
mod read;
mod recovery;
mod reference;
mod removed;
mod retry;
mod salvage;
mod scale;
mod segment_index;
mod shared;
mod snapshots;
mod spec;
mod takeover;
mod tidy;
mod together;
mod tokens;
mod types;
mod upkeep;
mod verify;
mod wakers;
mod work;
mod workers;
