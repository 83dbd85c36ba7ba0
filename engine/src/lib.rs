//! treering: an embedded event-store engine for agents.

mod append;
pub mod checksum;
mod commit;
mod error;
mod follow;
pub mod format;
mod ids;
mod index;
pub mod limits;
pub mod maintain;
mod options;
mod poison;
mod read;
mod recovery;
mod segment;
pub mod storage;
mod store;
mod sync;
mod watermark;

pub use append::{Batch, Expected, NewEvent, Receipt, SectionReceipt};
pub use commit::Pending;
pub use error::{Conflict, Damage, DamageClass, Error, ErrorKind, Result};
pub use follow::{SubscribeOptions, Subscription};
pub use ids::{
    BatchId, BootId, Epoch, Incarnation, InvalidHex, Position, Revision, Salt, SegmentOrdinal, StoreId, StreamId,
};
pub use options::{Compression, Durability, Options};
pub use read::{Event, EventRef, LogReader, ReadAllOptions, ReadOptions, StreamReader};
pub use recovery::OpenReport;
pub use store::{Stat, Store, StreamInfo};
pub use watermark::{Visibility, Watermarks};
