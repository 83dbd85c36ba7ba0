//! Looking after a store from outside: is every byte of it as it was written, and what does a file say?
//!
//! Both work on the files alone and never through an open [`Store`](crate::Store), so that they answer when a store will
//! not open. Neither writes a byte, takes a lock or makes a file; another process may write meanwhile.
//!
//! [`verify`](fn@verify) decides nothing anew: which files are the log, where it ends and what is a torn tail is what
//! opening decides. It then proves every byte of that. [`dump`](fn@dump) decides nothing at all: it shows one file.

pub(crate) mod dump;
mod report;
pub(crate) mod verify;

pub use dump::{dump, dump_bytes, dump_on};
pub use report::{Progress, VerifyReport};
pub use verify::{verify, verify_on};
