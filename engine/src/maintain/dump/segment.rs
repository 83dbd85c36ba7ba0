//! The dump of a segment file: both head blocks, then frame after frame.
//!
//! Behind a frame whose header is bad the dump goes on at the frames that the next index block lists: blocks are found
//! by their checks, which hold only at their own place in this very segment. Where none is found, all the rest is shown as
//! void or unused, with where its last set byte is.

use std::io::{self, Write};

use super::fields::{Fields, Stop, finish_to, offset, verdict};
use super::{frame, store_block};
use crate::checksum::{Seeds, long_check};
use crate::format::Fault;
use crate::format::frame::{FRAME_HEADER_BYTES, Frame, KIND_INDEX_BLOCK};
use crate::format::index_block::IndexBlock;
use crate::format::segment_header::{
    FIRST_FRAME_OFFSET, HEAD_BLOCK_BYTES, SEGMENT_HEADER_BYTES, SEGMENT_MAGIC, SegmentHeader,
};
use crate::format::store_block::STORE_BLOCK_BYTES;
use crate::ids::Position;

/// What is searched for index blocks behind a bad frame may make the dump read so many times its length, no more.
const SEARCH_FACTOR: usize = 16;

/// Writes the dump of a segment.
pub(super) fn dump(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "file: segment, {} bytes", bytes.len())?;
    let copy = |number: usize| {
        let block = bytes.get(number * HEAD_BLOCK_BYTES..).unwrap_or_default();
        &block[..block.len().min(HEAD_BLOCK_BYTES)]
    };
    let (first, second) = (copy(0), copy(1));
    head_block(0, first, out)?;
    if second == first {
        writeln!(out, "{} head block, copy 2: the same bytes", offset(HEAD_BLOCK_BYTES as u64))?;
    } else {
        head_block(1, second, out)?;
    }
    let Some(header) = [first, second].into_iter().find_map(|block| SegmentHeader::decode(block).ok()) else {
        return writeln!(out, "{} BAD: without a header no frame can be read", offset(FIRST_FRAME_OFFSET));
    };
    let open = [first, second].into_iter().find_map(|block| crate::format::open::HeadBlock::decode(block).ok());
    let log = Log { bytes, seeds: Seeds::new(header.salt), base: header.ordinal.0 * header.store.segment_bytes };
    frames(&log, open.map(|open| open.open_check), out)
}

fn head_block(number: usize, block: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let base = (number * HEAD_BLOCK_BYTES) as u64;
    writeln!(out, "{} head block, copy {}", offset(base), number + 1)?;
    let shown = header(&mut Fields::new(block, base, out), block);
    finish_to(shown, out)?;
    let Ok(header) = SegmentHeader::decode(block) else { return Ok(()) };
    let seeds = Seeds::new(header.salt);
    let position = crate::format::open::open_position(&header);
    let bytes = block.get(SEGMENT_HEADER_BYTES..).unwrap_or_default();
    frame::dump(bytes, base + SEGMENT_HEADER_BYTES as u64, position, seeds, None, out).map(|_| ())
}

fn header(fields: &mut Fields<'_, '_>, block: &[u8]) -> Result<(), Stop> {
    fields.text("magic", SEGMENT_MAGIC.len())?;
    fields.u64("ordinal")?;
    fields.u32("span")?;
    fields.u32("first frame's offset")?;
    fields.hex("salt", 16)?;
    fields.i64("created at")?;
    fields.zeros(72)?;
    fields.line("store block")?;
    fields.indent(1);
    let before = fields.at();
    store_block(fields)?;
    debug_assert_eq!(fields.at() - before, STORE_BLOCK_BYTES);
    fields.indent(-1);
    fields.long_check(long_check(0, block.get(..SEGMENT_HEADER_BYTES - 8).unwrap_or_default()))
}

/// The bytes of a segment and what its checks start from.
struct Log<'a> {
    bytes: &'a [u8],
    seeds: Seeds,
    base: u64,
}

impl<'a> Log<'a> {
    fn from(&self, at: u64) -> &'a [u8] {
        self.bytes.get(at as usize..).unwrap_or_default()
    }

    fn frame(&self, at: u64) -> Result<Frame<'a>, Fault> {
        Frame::decode(self.from(at), self.seeds, Position(self.base + at))
    }
}

fn frames(log: &Log<'_>, open_check: Option<u64>, out: &mut dyn Write) -> io::Result<()> {
    let len = log.bytes.len() as u64;
    let mut previous_check = open_check;
    let mut at = FIRST_FRAME_OFFSET;
    let mut budget = log.bytes.len().saturating_mul(SEARCH_FACTOR);
    while at < len {
        let fault = match log.frame(at) {
            Ok(decoded) => {
                let position = Position(log.base + at);
                frame::dump(log.from(at), at, position, log.seeds, previous_check, out)?;
                previous_check = Some(decoded.frame_check());
                at += u64::from(decoded.frame_len());
                continue;
            }
            Err(fault) => fault,
        };
        let Some((boundary, block)) = next_boundary(log, at, &mut budget) else { break };
        let (from, place) = (offset(at), log.base + at);
        writeln!(out, "{from} frame at position {place}: BAD: {fault}")?;
        frame::dump_header(log.from(at), at, Position(place), log.seeds, out)?;
        let behind = offset(boundary);
        writeln!(out, "{behind} going on here: the index block at position {} lists what follows", log.base + block)?;
        previous_check = None;
        at = boundary;
    }
    let rest = log.from(at);
    if rest.is_empty() {
        return Ok(());
    }
    let from = offset(at);
    match rest.iter().rposition(|byte| *byte != 0) {
        None => writeln!(out, "{from} void or unused: {} bytes, all zero", rest.len()),
        Some(last) => {
            let what = match log.frame(at) {
                Err(fault) => fault.to_string(),
                Ok(_) => "a frame".into(), // never: the loop would have gone on
            };
            writeln!(
                out,
                "{from} void or unused: {} bytes, the last that is set at {}; here: {what}",
                rest.len(),
                at + last as u64
            )?;
            frame::dump_header(rest, at, Position(log.base + at), log.seeds, out)
        }
    }
}

/// The first frame boundary behind `bad` that an index block lists, or the block itself, and where that block stands.
fn next_boundary(log: &Log<'_>, bad: u64, budget: &mut usize) -> Option<(u64, u64)> {
    let mut at = bad + 8;
    while at as usize + FRAME_HEADER_BYTES <= log.bytes.len() {
        let bytes = log.from(at);
        if bytes[4] == KIND_INDEX_BLOCK {
            let said = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize;
            *budget = budget.checked_sub(said.min(bytes.len()))?;
            if let Ok(frame) = log.frame(at)
                && frame.prove(log.seeds).is_ok()
                && let Ok(block) = IndexBlock::decode(&frame)
            {
                let mut found = at;
                let behind = log.base + bad;
                let stretch = block.links.stretch.0;
                let listed = block.frames(|listed| {
                    if listed.position.0 > behind {
                        found = found.min(listed.position.0 - log.base);
                    }
                });
                let boundary = if listed.is_ok() && stretch >= log.base { found } else { at };
                return Some((boundary, at));
            }
        }
        at += 8;
    }
    None
}

/// The chain of a frame, shown: whether it carries the check of the frame before it.
pub(super) fn chain(stored: u64, previous_check: Option<u64>) -> String {
    match previous_check {
        None => format!("previous check: {stored:016x}, what lies before is not known"),
        Some(expected) => verdict("previous check", &format!("{stored:016x}"), &format!("{expected:016x}"))
            .replace("the bytes give", "the frame before it has"),
    }
}
