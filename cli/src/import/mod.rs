//! From files of agents' logs to events: framing, describing, naming, and what of a file is new.
//!
//! The way of a line: [`lines`] cuts it out of the file, [`mod@format`] has recognised the file by its first lines,
//! [`stream_name`] has named its stream, [`plan`] says whether it is new, [`record`] (by [`claude_code`], [`codex`],
//! [`jsonl`]) says what to call it, [`mark`] what stands in its metadata. The payload is the line, unchanged, always.
//! An export of treering itself takes another way, [`take_back`]: its lines name their events.
//!
//! Nothing here touches a store; the command does.

pub(crate) mod claude_code;
pub(crate) mod codex;
pub(crate) mod format;
pub(crate) mod jsonl;
pub(crate) mod lines;
pub(crate) mod mark;
pub(crate) mod plan;
pub(crate) mod record;
pub(crate) mod shallow;
pub(crate) mod stream_name;
pub(crate) mod take_back;
pub(crate) mod walk;
