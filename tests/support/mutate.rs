//! Files with one field changed, and every check and the chain behind it made right again: what somebody could write who
//! knows the format and means no good.
//!
//! Fields are not named: every aligned word of a fixed structure, and every byte of a plain part, takes the values that
//! break arithmetic. A plain part is also changed in length, which only its last frame can be.

use std::ops::Range;

use treering::Position;
use treering::checksum::{Seeds, long_check, long_check_of_parts, short_check};
use treering::format::batch::Sections;
use treering::format::frame::{FRAME_HEADER_BYTES, Frame};
use treering::format::segment_header::{FIRST_FRAME_OFFSET, HEAD_BLOCK_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader};
use treering::format::store_block::STORE_BLOCK_BYTES;
use treering::format::watermark::WATERMARK_SLOT_BYTES;

/// One change of a file.
#[derive(Clone, Debug)]
pub enum Change {
    /// A word of so many bytes, at an offset in the file, takes a value.
    #[allow(missing_docs)] // the line above says it
    Word { at: usize, width: usize, value: u64 },
    /// In the frame at `frame` the bytes `range` of the plain part are replaced; nothing of the log stands behind it any more.
    #[allow(missing_docs)]
    Splice { frame: usize, range: Range<usize>, bytes: Vec<u8> },
}

/// What breaks arithmetic, and what leads around in circles: `near` are values that mean something in this file.
fn values(old: u64, width: usize, near: &[u64]) -> Vec<u64> {
    let max = u64::MAX >> (64 - 8 * width);
    let mut values = vec![0, 1, 2, max, max - 1, max >> 1, (max >> 1) + 1, old.wrapping_add(1), old.wrapping_sub(1)];
    if width == 8 {
        values.extend([old.wrapping_add(8), old.wrapping_sub(8), 1 << 40, (1 << 63) - 8]);
    }
    if width == 4 {
        values.extend([old.wrapping_mul(2), 1 << 20, 72, 80, 3840]);
    }
    values.extend_from_slice(if width >= 4 { near } else { &[] });
    values.iter_mut().for_each(|value| *value &= max);
    values.sort_unstable();
    values.dedup();
    values.retain(|value| *value != old);
    values
}

fn word_at(bytes: &[u8], at: usize, width: usize) -> u64 {
    let mut word = [0; 8];
    word[..width].copy_from_slice(&bytes[at..at + width]);
    u64::from_le_bytes(word)
}

fn var(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn words(bytes: &[u8], range: Range<usize>, widths: &[usize], near: &[u64], out: &mut Vec<Change>) {
    for width in widths {
        for at in range.clone().step_by(*width).filter(|at| at + width <= range.end) {
            let old = word_at(bytes, at, *width);
            out.extend(values(old, *width, near).into_iter().map(|value| Change::Word { at, width: *width, value }));
        }
    }
}

/// Where the frames of a segment lie behind its head block.
pub fn frames_of(bytes: &[u8]) -> Vec<Range<usize>> {
    let Ok(header) = SegmentHeader::decode(bytes) else { return Vec::new() };
    let (seeds, base) = (Seeds::new(header.salt), header.ordinal.0 * header.store.segment_bytes);
    let (mut at, mut frames) = (FIRST_FRAME_OFFSET as usize, Vec::new());
    while let Ok(frame) = Frame::decode(bytes.get(at..).unwrap_or_default(), seeds, Position(base + at as u64)) {
        frames.push(at..at + frame.frame_len() as usize);
        at += frame.frame_len() as usize;
    }
    frames
}

/// Every payload in the frames of a segment.
pub fn payloads_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    let Some((seeds, base)) = seeds_of(bytes) else { return payloads };
    for range in frames_of(bytes) {
        let frame =
            Frame::decode(&bytes[range.clone()], seeds, Position(base + range.start as u64)).expect("it is a frame");
        let Ok(mut sections) = Sections::new(frame) else { continue };
        while let Ok(Some(section)) = sections.next() {
            let Ok(body) = section.raw_body(seeds) else { continue };
            let Ok(mut entries) = section.entries_from(0) else { continue };
            while let Ok(Some(entry)) = entries.next() {
                payloads.extend(entry.body(&section, seeds, &body).map(|(_, payload)| payload.to_vec()));
            }
        }
    }
    payloads
}

/// Every change of a file that is worth a try.
pub fn changes_of(name: &str, bytes: &[u8]) -> Vec<Change> {
    let mut out = Vec::new();
    let all = &[1, 2, 4, 8];
    match name {
        "identity" => words(bytes, 0..STORE_BLOCK_BYTES - 8, all, &[16 << 10, 4 << 30], &mut out),
        "watermark" => {
            for slot in [0, 4096] {
                words(bytes, slot..slot + WATERMARK_SLOT_BYTES - 8, &[2, 8], &[8192, 16 << 10], &mut out);
            }
        }
        "control" => words(bytes, 0..72 * 8, &[8], &[8192, 16 << 10], &mut out),
        name if name.ends_with(".segment") => changes_of_segment(bytes, &mut out),
        _ => {}
    }
    out
}

fn changes_of_segment(bytes: &[u8], out: &mut Vec<Change>) {
    let Ok(header) = SegmentHeader::decode(bytes) else { return };
    let base = header.ordinal.0 * header.store.segment_bytes;
    let frames = frames_of(bytes);
    let ends = [frames.first(), frames.last()].into_iter().flatten();
    let mut near: Vec<u64> = ends.flat_map(|frame| [base + frame.start as u64, base + frame.end as u64]).collect();
    near.extend([base, base + 256, base + 8192, base + bytes.len() as u64, header.ordinal.0]);
    words(bytes, 0..SEGMENT_HEADER_BYTES - 8, &[1, 4, 8], &near, out);
    let open = SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES;
    words(bytes, SEGMENT_HEADER_BYTES..open - 8, &[1, 2, 4, 8], &near, out);
    words(bytes, open..open + 201, &[1, 8], &near, out);
    for frame in &frames {
        words(bytes, frame.start..frame.start + FRAME_HEADER_BYTES - 8, &[1, 2, 4, 8], &near, out);
        let plain_len = word_at(bytes, frame.start + 12, 4) as usize;
        let plain = frame.start + FRAME_HEADER_BYTES..frame.start + FRAME_HEADER_BYTES + plain_len;
        for at in plain.clone() {
            let old = u64::from(bytes[at]);
            let byte = |value| Change::Word { at, width: 1, value };
            out.extend(values(old, 1, &[]).into_iter().map(byte));
            for value in [
                0,
                127,
                128,
                16_384,
                1 << 30,
                u64::from(u32::MAX),
                1 << 32,
                (1 << 63) - 1,
                1 << 63,
                u64::MAX - 1,
                u64::MAX,
            ] {
                let end = plain.clone().find(|end| *end >= at && bytes[*end] < 0x80).unwrap_or(at) + 1;
                let range = at - plain.start..end.min(plain.end) - plain.start;
                out.push(Change::Splice { frame: frame.start, range, bytes: var(value) });
            }
        }
    }
}

/// Makes the change, and every check right again that covers it.
pub fn apply(change: &Change, name: &str, bytes: &mut [u8]) {
    match change {
        Change::Word { at, width, value } => {
            let segment = name.ends_with(".segment").then(|| (frames_of(bytes), seeds_of(bytes)));
            bytes[*at..at + width].copy_from_slice(&value.to_le_bytes()[..*width]);
            match (segment, name) {
                (Some((frames, Some(seeds))), _) => mend_segment(bytes, &frames, *at, seeds),
                (_, "identity") => mend_long(bytes, 0..STORE_BLOCK_BYTES),
                (_, "watermark") => mend_long(bytes, at / 4096 * 4096..at / 4096 * 4096 + WATERMARK_SLOT_BYTES),
                (_, "control") => mend_long(bytes, 0..128),
                _ => {}
            }
        }
        Change::Splice { frame, range, bytes: new } => splice(bytes, *frame, range.clone(), new),
    }
}

fn seeds_of(bytes: &[u8]) -> Option<(Seeds, u64)> {
    let header = SegmentHeader::decode(bytes).ok()?;
    Some((Seeds::new(header.salt), header.ordinal.0 * header.store.segment_bytes))
}

fn mend_long(bytes: &mut [u8], range: Range<usize>) {
    let check = long_check(0, &bytes[range.start..range.end - 8]);
    bytes[range.end - 8..range.end].copy_from_slice(&check.to_le_bytes());
}

/// Makes the checks right of a frame whose lengths may be anything; returns the one that the next frame must carry.
fn mend_frame(bytes: &mut [u8], seeds: Seeds, position: u64) -> u64 {
    let len = (word_at(bytes, 8, 4) as usize).clamp(FRAME_HEADER_BYTES, bytes.len());
    let content = (FRAME_HEADER_BYTES + word_at(bytes, 12, 4) as usize).min(bytes.len());
    let parts = [&bytes[4..FRAME_HEADER_BYTES - 8], &bytes[FRAME_HEADER_BYTES..len]];
    let long = long_check_of_parts(seeds.long(Position(position)), &parts);
    bytes[64..72].copy_from_slice(&long.to_le_bytes());
    let short = short_check(seeds.short(Position(position)), &[&bytes[4..content]]);
    bytes[..4].copy_from_slice(&short.to_le_bytes());
    long
}

/// Makes the checks right of the structure that holds the byte at `at`, and the chain behind it.
fn mend_segment(bytes: &mut [u8], frames: &[Range<usize>], at: usize, old: (Seeds, u64)) {
    let mut seeds = old;
    let mut previous = None;
    if at < HEAD_BLOCK_BYTES {
        mend_long(bytes, SEGMENT_HEADER_BYTES - 8 - STORE_BLOCK_BYTES..SEGMENT_HEADER_BYTES - 8);
        mend_long(bytes, 0..SEGMENT_HEADER_BYTES);
        seeds = seeds_of(bytes).unwrap_or(old);
        let open = &mut bytes[SEGMENT_HEADER_BYTES..HEAD_BLOCK_BYTES];
        previous = Some(mend_frame(open, seeds.0, seeds.1 + SEGMENT_HEADER_BYTES as u64));
        bytes.copy_within(..HEAD_BLOCK_BYTES, HEAD_BLOCK_BYTES);
    }
    for frame in frames.iter().filter(|frame| frame.end > at) {
        if let Some(previous) = previous.filter(|_| !(frame.start + 24..frame.start + 32).contains(&at)) {
            bytes[frame.start + 24..frame.start + 32].copy_from_slice(&u64::to_le_bytes(previous));
        }
        previous = Some(mend_frame(&mut bytes[frame.start..], seeds.0, seeds.1 + frame.start as u64));
    }
}

/// Replaces a part of a plain part; the frame becomes the last one of its segment.
fn splice(bytes: &mut [u8], start: usize, range: Range<usize>, new: &[u8]) {
    let Some((seeds, base)) = seeds_of(bytes) else { return };
    let old = Frame::decode(&bytes[start..], seeds, Position(base + start as u64)).expect("it is a frame");
    let mut plain = old.plain().to_vec();
    let bodies = old.bodies().to_vec();
    plain.splice(range, new.iter().copied());
    let mut frame = bytes[start..start + FRAME_HEADER_BYTES].to_vec();
    frame[12..16].copy_from_slice(&(plain.len() as u32).to_le_bytes());
    frame.extend_from_slice(&plain);
    frame.extend_from_slice(&bodies);
    frame.resize(frame.len().next_multiple_of(8), 0);
    let len = frame.len();
    if start + len > bytes.len() {
        return;
    }
    frame[8..12].copy_from_slice(&(len as u32).to_le_bytes());
    mend_frame(&mut frame, seeds, base + start as u64);
    bytes[start..].fill(0);
    bytes[start..start + len].copy_from_slice(&frame);
}
