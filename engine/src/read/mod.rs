//! Reading: events lent from the mapped log, in the order of a stream or of the whole store.
//!
//! Every event is proven before it is handed out: its frame's header and place in the chain of a walk, its own check.
//! Damage is handed out between the events, with its range; a reader may be asked to go on behind it.

mod event;
mod held;
mod log_reader;
mod stream_reader;

pub use event::{Event, EventRef};
pub use log_reader::{LogReader, ReadAllOptions};
pub(crate) use stream_reader::read_one;
pub use stream_reader::{ReadOptions, StreamReader};
