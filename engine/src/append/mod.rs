//! What is appended: the batch and its parts, and turning it into a frame.

mod batch;
pub(crate) mod encode;
mod fork;
mod receipt;

pub use batch::{Batch, Expected, NewEvent};
pub(crate) use batch::{BatchSection, CursorMove, check_stream_name};
pub use fork::{Fork, Forked};
pub use receipt::{FrameProof, Receipt, SectionReceipt, SectionReceipts};
