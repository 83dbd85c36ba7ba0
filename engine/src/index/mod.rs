//! Finding: where the events of a stream lie, and where the log stood at a time.

pub(crate) mod build;
pub(crate) mod directory;
pub(crate) mod find;
pub(crate) mod forks;
pub(crate) mod known_places;
pub(crate) mod noted;
pub(crate) mod number;
pub(crate) mod older;
pub(crate) mod on_demand;
pub(crate) mod segment_indexes;
pub(crate) mod side_file;
pub(crate) mod streams;
pub(crate) mod stretch;
pub(crate) mod time;
pub(crate) mod type_names;
