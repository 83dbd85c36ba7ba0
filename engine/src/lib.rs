//! An embedded event-store engine for agents.
//!
//! An agent is its log: every user input, model output, tool call and tool result, in order. This crate keeps that log in
//! a folder, durable and append-only, readable while it is written, and honest about what it finds when it opens it again.
//!
//! Begin with [`Store`]: [`Store::open`], [`Store::append`] with a [`Batch`], [`Store::read_stream`],
//! [`Store::subscribe`]. Any number of processes may have a store open and append to it, by turns, unless one chose to be alone
//! ([`Options::exclusive`]). What an acknowledgement means is said at [`Durability`], what a reader is shown at
//! [`Visibility`], and what can go wrong at [`ErrorKind`].
//!
//! ```
//! use treering::{Batch, Expected, NewEvent, Options, ReadOptions, Store};
//!
//! # let folder = std::env::temp_dir().join(format!("treering-doc-{}", std::process::id()));
//! let store = Store::open(&folder, Options::new())?;
//! let event = NewEvent::new("message", r#"{"text":"hello"}"#);
//! let receipt = store.append(&Batch::to("session-1", Expected::NoStream, &[event]))?;
//! assert_eq!(receipt.sections[0].last_revision.get(), 0);
//!
//! let mut events = store.read_stream("session-1", ReadOptions::new())?;
//! while let Some(event) = events.next() {
//!     println!("{}", String::from_utf8_lossy(event?.payload()));
//! }
//! # drop(events);
//! store.close()?;
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok::<(), treering::Error>(())
//! ```
//!
//! # Map
//!
//! In the order in which data flows: `append` and `commit` take events in, `format` and `storage` turn them into bytes on a
//! disk, `segment` and `index` keep and find them, `read` and `follow` hand them out, `recovery` opens what is there,
//! `maintain` looks after it, `store` wires it all. `ARCHITECTURE.md` beside this crate is the page to read first,
//! `PROMISES.md` says what is promised, and the folder `format-spec` specifies every byte.
//!
//! # Features
//!
//! - `zstd` (default): compressed sections, written where [`Options::compression`] says so, and read.
//! - `unstable`: the modules `storage` and `format` and the constructors over any storage, for simulators and tools; no
//!   stability is promised.

#![deny(unsafe_op_in_unsafe_fn)]

mod append;
mod claim;
mod commit;
mod cursor;
mod error;
mod follow;
mod ids;
mod index;
pub mod limits;
mod lineage;
pub mod maintain;
mod options;
mod poison;
mod process;
mod projection;
mod read;
mod recovery;
mod segment;
mod snapshot;
mod store;
mod sync;
mod watermark;
mod work;

// What is public to simulators and tools only may be unused, or unreachable, without them.
#[cfg(feature = "unstable")]
pub mod checksum;
#[cfg(not(feature = "unstable"))]
#[allow(dead_code, unreachable_pub)]
mod checksum;
#[cfg(feature = "unstable")]
pub mod format;
#[cfg(not(feature = "unstable"))]
#[allow(dead_code, unreachable_pub)]
mod format;
#[cfg(feature = "unstable")]
pub mod planted;
#[cfg(not(feature = "unstable"))]
#[allow(dead_code, unreachable_pub)]
mod planted;
#[cfg(feature = "unstable")]
pub mod storage;
#[cfg(not(feature = "unstable"))]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod storage;

pub use append::{Batch, Expected, Fork, Forked, FrameProof, NewEvent, Receipt, SectionReceipt, SectionReceipts};
pub use commit::{Pending, ReindexReport};
pub use cursor::{Cursor, CursorPlace};
pub use error::{Conflict, Damage, DamageClass, DamagedStream, Error, ErrorKind, LostToken, Result};
pub use follow::{SubscribeOptions, Subscription, Work, WorkFinder, WorkOptions};
pub use format::token::Token;
pub use ids::{
    BatchId, BootId, Epoch, FencingToken, FilePlace, Incarnation, InvalidHex, Position, Revision, Salt, SegmentOrdinal,
    StoreId, StreamId,
};
pub use lineage::{ForkPoint, Parting, StreamReader};
pub use options::{Compression, Durability, Options, ReadMode};
pub use process::claims::{Claim, Claims};
pub use projection::{EventView, Fold, Projection, Source, Unusable};
pub use read::{Event, EventRef, LogReader, ReadAllOptions, ReadOptions, guard_mapped_reads};
pub use recovery::{DirectoryStat, OpenReport};
pub use snapshot::{Context, ContextOptions, ContextPart, ContextReader, Ignored, NewSnapshot, Snapshot, Snapshotted};
pub use store::{Stat, Store, StreamInfo, TypeCount, TypeCounts};
pub use watermark::{Visibility, Watermarks};

/// The README's example, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
