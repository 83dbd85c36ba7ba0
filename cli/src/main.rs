//! The `treering` command.
#![allow(dead_code)]
mod event_json;
mod import;
mod time;
fn main() {}
