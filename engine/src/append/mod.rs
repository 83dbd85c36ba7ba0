//! What is appended: the batch and its parts, and turning it into a frame.

mod batch;
pub(crate) mod encode;
mod receipt;

pub(crate) use batch::BatchSection;
pub use batch::{Batch, Expected, NewEvent};
pub use receipt::{FrameProof, Receipt, SectionReceipt, SectionReceipts};
