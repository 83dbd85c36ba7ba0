//! Real processes that are killed: what the programs of the torture say to each other, and who starts and kills them.
//!
//! Three programs. The *writer* (`tests/torture/writer.rs`) appends and prints a line for each receipt that it was given,
//! and nothing before. The *supervisor* (here) kills it with SIGKILL and writes the lines into a journal outside of the
//! store; they outlive the writer in the pipe. The *verifier* (`tests/torture/verifier.rs`) is built on the reader alone: it
//! holds the store against the journal, and follows a store that is being written.
//!
//! [`kills`] kills at random moments, with four followers; [`crowd`] has many that write together; [`calls`] at every call to the system of fixed lives. [`blocks`]
//! takes the power from a real ext4, [`device`] has the device below one fail, [`scarce`] leaves a writer too little memory or space.

pub mod blocks;
pub mod calls;
pub mod crowd;
pub mod device;
pub mod failing;
pub mod kills;
pub mod processes;
pub mod programs;
pub mod scarce;
pub mod script;
