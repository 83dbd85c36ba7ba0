//! The command as people and scripts meet it: every test runs the real binary, on real files, in processes of its own.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

mod append;
mod bad_input;
mod claim;
mod cursor;
mod damage;
mod demo;
mod derived;
mod export;
mod find;
mod fork;
mod full_disk;
mod import;
mod killed;
mod project;
mod read;
mod snapshot;
mod support;
mod watch;
