//! The vocabulary and its folds, as who uses the crate meets them.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

mod folds;
mod foreign;
mod support;
mod vocabulary;
