//! Whether what no witness covers is on the device all the same, as far as a reader can find out.
//!
//! The frames behind the highest witness are whole in the page cache; nothing says that they survive a loss of power. A
//! reader may write nothing, but it may sync: on its own read-only descriptor, which tells nothing about an earlier error
//! that another descriptor met, so that the bytes are then read past the cache and compared. Only where all of them are
//! there has the log become durable up to its end.
//!
//! Any doubt (an error, a file system that knows no direct reading, a byte that differs) leaves the highest witness in
//! force, and so does a tail that is longer than [`BYTES_MAX`]: opening stays fast, and the next writer settles it.

use crate::ids::Position;
use crate::planted::{Plant, planted};
use crate::segment::set::SegmentSet;
use crate::storage::Access;

/// The longest tail that is looked at, in bytes.
const BYTES_MAX: u64 = 4 << 20;
/// So many bytes are compared at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Up to where the log, which ends at `end`, is durable, from what the highest witness says.
pub(crate) fn durable_up_to(set: &SegmentSet, witness: Position, end: Position) -> Position {
    let is_there = || planted(Plant::ReaderTrustsCache) || is_on_device(set, witness, end) == Some(true);
    match witness < end && is_there() {
        true => end,
        false => witness.min(end),
    }
}

/// `None` where it cannot be told.
fn is_on_device(set: &SegmentSet, from: Position, to: Position) -> Option<bool> {
    let known = set.all();
    let stretches: Vec<_> = known
        .iter()
        .map(|known| (known, from.max(known.base), to.min(known.end.unwrap_or(known.file_end))))
        .filter(|(_, start, end)| start < end)
        .collect();
    if stretches.iter().map(|(_, start, end)| end.0 - start.0).sum::<u64>() > BYTES_MAX {
        return None;
    }
    let mut chunk = Vec::new();
    for (known, start, end) in stretches {
        let segment = set.open_with(known, Access::Read).ok()?;
        let file = segment.open_file().ok()?;
        file.sync_data().ok()?;
        let mut at = start;
        while at < end {
            let len = (end.0 - at.0).min(CHUNK_BYTES as u64) as usize;
            chunk.resize(len.max(chunk.len()), 0);
            let on_device = &mut chunk[..len];
            let read = file.read_direct_at(on_device, at.0 - segment.base.0).ok()?;
            let in_cache = segment.bytes(at, Position(at.0 + len as u64));
            segment.check_readable().ok()?;
            if read != len || *on_device != *in_cache {
                return Some(false);
            }
            at.0 += len as u64;
        }
    }
    Some(true)
}
