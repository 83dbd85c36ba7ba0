//! What is wrong with a section, in words: out of the way of sections that are as they should be.

use super::{SECTION_CODED, SECTION_CREATES, SECTION_REQUIRED};
use crate::format::Fault;

#[cold]
pub(super) fn no_batch(kind: u8) -> Fault {
    Fault::bad(format!("a frame of kind {kind} is no batch"))
}

#[cold]
pub(super) fn empty_batch() -> Fault {
    Fault::bad("a batch is empty")
}

#[cold]
pub(super) fn too_many_events() -> Fault {
    Fault::bad("the sections hold more events than the frame says")
}

#[cold]
pub(super) fn unknown_section(flags: u8) -> Fault {
    let unknown = flags & SECTION_REQUIRED & !(SECTION_CREATES | SECTION_CODED);
    Fault::Unsupported(format!("section flags {unknown:#x}"))
}

#[cold]
pub(super) fn wrong_name(len: usize) -> Fault {
    Fault::bad(format!("a stream name of {len} bytes"))
}

#[cold]
pub(super) fn far_back() -> Fault {
    Fault::bad("a stream's previous place lies before the log")
}

#[cold]
pub(super) fn not_before() -> Fault {
    Fault::bad("a section continues a stream that is not before it")
}

#[cold]
pub(super) fn empty_section(count: u32) -> Fault {
    Fault::bad(if count == 0 { "a section is empty" } else { "a section has no types" })
}

#[cold]
pub(super) fn out_of_proportion(raw_len: u64, stored_len: u32) -> Fault {
    Fault::bad(format!("a coded body of {stored_len} bytes cannot hold {raw_len}"))
}

#[cold]
pub(super) fn empty_type() -> Fault {
    Fault::bad("a type is empty")
}
