//! Opening a store: what is found, what it means, what is done.
//!
//! As a numbered list:
//! 1. the identity file is read (or made, where there is no store yet), and locked by who writes;
//! 2. [`checkpoint`]: where reading the log may begin;
//! 3. [`line`]: the newest segment whose head proves itself, and from it down, open frame by open frame, the line of
//!    segments that are the log; whatever lies between them is void;
//! 4. the witness: how far the log was known durable, from the watermark file, the control page ([`page`]) and every frame
//!    met;
//! 5. [`replay`]: the frames of the line behind the checkpoint, in order; below the witness their headers, above it every byte;
//! 6. [`decision`]: what stands where the chain ends is looked up in a table, and so is how a writer goes on;
//! 7. [`open`]: a reader may prove durable what is not witnessed ([`prove`]); a writer makes it durable ([`rewrite`]), then
//!    continues or rolls; one that joins others goes on where they do, and reads on as they append ([`onward`]).
//!
//! [`accept`] stands beside: where something is lost it is accepted as lost, and the log goes on. So does [`cutter`], which
//! follows the log of a store that is open and writes the checkpoints.
//!
//! Nothing before step 7 writes, so a reader does the same up to there, and a crash anywhere leads back to step 1.

pub(crate) mod accept;
pub(crate) mod checkpoint;
pub(crate) mod cutter;
pub(crate) mod decision;
pub(crate) mod identity;
pub(crate) mod line;
mod onward;
pub(crate) mod open;
pub(crate) mod page;
mod prove;
pub(crate) mod replay;
mod report;
mod rewrite;

pub use accept::{AcceptPlan, AcceptedStream};
pub use checkpoint::DirectoryStat;
pub use report::OpenReport;
