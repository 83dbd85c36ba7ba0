//! Folds over what was read: what the conversation is, what it looks like, what is still to come, what it took.
//!
//! Each is a [`treering::Projection`]. Its state is a plain value that serde turns into JSON, always the same for the same state.
//! What grows with the history (lines of a transcript, finished calls) can be taken out while it goes on.

pub(crate) mod context;
pub(crate) mod echo;
pub(crate) mod ledger;
pub(crate) mod passed;
pub(crate) mod timeline;
pub(crate) mod tools;
pub(crate) mod transcript;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A state as bytes.
fn save<S: Serialize>(state: &S) -> Vec<u8> {
    serde_json::to_vec(state).expect("states are maps with names, and hold no number that is not finite")
}

/// And back.
fn load<S: DeserializeOwned>(state: &mut S, bytes: &[u8]) -> Result<(), String> {
    *state = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(())
}
