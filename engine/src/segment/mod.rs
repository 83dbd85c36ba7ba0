//! The life of a segment: made, appended to, left, sealed, read.
//!
//! [`one`] is an open segment file for reading, [`scan`] the one loop that decodes frames one after the other, [`resync`]
//! the way past damage, [`set`] all segments of a store, [`walk`] the way through them, [`create`] the making of a file,
//! [`again`] the writing of bytes to where they stand already.

pub(crate) mod again;
pub(crate) mod create;
pub(crate) mod one;
pub(crate) mod resync;
pub(crate) mod scan;
pub(crate) mod set;
pub(crate) mod walk;
