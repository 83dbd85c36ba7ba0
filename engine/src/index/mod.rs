//! Finding: where the events of a stream lie.

pub(crate) mod find;
pub(crate) mod known_places;
pub(crate) mod streams;
