//! Whether a whole batch adds up.

use super::{SKIP_EVERY, Sections};
use crate::format::Fault;
use crate::format::frame::{FRAME_ALIGNMENT, Frame};

/// Checks the structure of a whole batch, but for bodies: that everything adds up, and nothing is left over.
///
/// The streams of the sections are not compared with each other here; `verify` does.
pub fn check_structure(frame: &Frame<'_>) -> Result<(), Fault> {
    let mut sections = Sections::new(*frame)?;
    let mut stored = 0;
    while let Some(section) = sections.next()? {
        stored += section.body_len();
        let mut entries = section.entries_from(0)?;
        while let Some(entry) = entries.next()? {
            if entry.index.is_multiple_of(SKIP_EVERY) && entry.index > 0 {
                let mut skipped = section.entries_from(entry.index)?;
                let same = skipped.next()?.is_some_and(|other| {
                    other.body_at == entry.body_at && other.bytes.as_ptr() == entry.bytes.as_ptr()
                });
                if !same {
                    return Err(Fault::bad(format!("the skip table does not lead to entry {}", entry.index)));
                }
            }
        }
        if entries.body_at as u64 != section.raw_len() {
            return Err(Fault::bad(format!(
                "a body is {} bytes long, its events take {}",
                section.raw_len(),
                entries.body_at
            )));
        }
        sections.walked_to(entries.at());
    }
    let (mut wire, items) = sections.items()?;
    for _ in 0..items {
        wire.u8()?;
        wire.bytes()?;
    }
    wire.end("the plain part of a batch")?;
    let padding = frame.bodies().get(stored..).ok_or(Fault::Short)?;
    if padding.len() >= FRAME_ALIGNMENT as usize || padding.iter().any(|byte| *byte != 0) {
        return Err(Fault::bad("what follows the bodies is not padding"));
    }
    Ok(())
}
