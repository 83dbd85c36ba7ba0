//! The commands, one file each. Every one reads its arguments, uses the engine, prints, and returns an
//! [`Outcome`](crate::exit::Outcome); none knows of another.

pub(crate) mod accept;
pub(crate) mod append;
pub(crate) mod bench;
pub(crate) mod cat;
pub(crate) mod claim;
pub(crate) mod context;
pub(crate) mod cursor;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod dump;
pub(crate) mod export;
pub(crate) mod fork;
pub(crate) mod forks;
pub(crate) mod import;
pub(crate) mod intents;
pub(crate) mod project;
pub(crate) mod reindex;
pub(crate) mod salvage;
pub(crate) mod show;
pub(crate) mod snapshot;
pub(crate) mod snapshots;
pub(crate) mod stat;
pub(crate) mod streams;
pub(crate) mod tail;
pub(crate) mod types;
pub(crate) mod unlock;
pub(crate) mod verify;
pub(crate) mod wanted;
pub(crate) mod watch;
