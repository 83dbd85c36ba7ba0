//! The `treering` command.
#![allow(dead_code)]
mod event_json;
mod exit;
mod import;
mod output;
mod time;
fn main() {}
