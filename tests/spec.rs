//! The pages of the format and the engine, held against each other.
//!
//! The question it answers: do the two say the same? Layouts are read from the pages, never typed here a second time; the
//! vectors and the Python reader were made from the pages alone, so that an error of the engine cannot hide in them.

mod batches;
mod beside;
mod hex;
mod hex_side;
mod layout;
mod pages;
mod python;
mod rules;
mod rules_live;
mod segment_index;
mod side_files;
mod tables;
mod values;
pub(crate) mod vectors;
