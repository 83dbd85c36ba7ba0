//! Every bit flipped in turn.

use treering::storage::{Access, Storage};

use super::*;

fn read_only(golden: &Golden, change: &Change) {
    let _ = check_reading(golden, change);
}

/// Flips bits of a file, asks, and flips them back: `bits` of each `step`th byte of a range.
fn sweep(golden: &Golden, tally: &mut Tally, name: &str, bytes: Range<u64>, step: usize, bits: u32) {
    for at in bytes.step_by(step) {
        let first = if bits == 8 { 0 } else { at as u32 % 8 };
        for bit in first..(first + bits).min(8) {
            let file = golden.storage.open(name, Access::ReadWrite).unwrap();
            let mut byte = [0];
            assert_eq!(file.read_at(&mut byte, at).unwrap(), 1);
            file.write_at(&[byte[0] ^ 1 << bit], at).unwrap();
            let change = Change::of(format!("bit {bit} of byte {at} of {name}"), name, at..at + 1);
            // What a writer does is asked of some of them: it costs as much as fifty readings.
            if (at * 8 + u64::from(bit)).is_multiple_of((211 / depth()).max(1)) {
                tally.attempt(golden, &change, check);
            } else {
                tally.attempt(golden, &change, read_only);
                let file = golden.storage.open(name, Access::ReadWrite).unwrap();
                file.write_at(&byte, at).unwrap();
            }
        }
    }
}

fn sweep_segments(golden: &Golden, tally: &mut Tally, ordinals: &[u64]) {
    for ordinal in ordinals {
        let name = segment(*ordinal);
        let end = golden.ends[&name];
        // Head blocks are mostly padding; frames are not.
        sweep(golden, tally, &name, 0..8192, if depth() > 1 { 1 } else { 29 }, 1);
        sweep(golden, tally, &name, 8192..end, 1, 8);
        sweep(golden, tally, &name, end..golden.image.0[&name].len() as u64, 257, 1);
    }
}

#[test]
fn p05_every_flipped_bit_of_a_full_segment_is_reported_and_costs_its_frame_at_most() {
    let (golden, mut tally) = (Golden::closed(), Tally::default());
    sweep_segments(&golden, &mut tally, &[0]);
    tally.finish(50_000);
}

#[test]
fn p05_every_flipped_bit_of_segments_that_were_left_early_is_reported() {
    let (golden, mut tally) = (Golden::closed(), Tally::default());
    sweep_segments(&golden, &mut tally, &[1, 5]);
    tally.finish(20_000);
}

/// The last segment, whose end no index block covers; and the two files that are no segments.
#[test]
fn p05_every_flipped_bit_of_the_active_segment_is_reported() {
    let (golden, mut tally) = (Golden::closed(), Tally::default());
    let last = golden.image.last_segment();
    let ordinal = u64::from_str_radix(last.strip_suffix(".segment").unwrap(), 16).unwrap();
    sweep_segments(&golden, &mut tally, &[ordinal]);
    sweep(&golden, &mut tally, "identity", 0..128, 1, 8);
    sweep(&golden, &mut tally, "watermark", 0..128, 1, 8);
    sweep(&golden, &mut tally, "watermark", 4096..4096 + 128, 1, 8);
    tally.finish(20_000);
}

/// Above the witness the log may end at the bit that was flipped, and not before.
#[test]
fn p05_a_flipped_bit_above_the_witness_takes_nothing_before_it() {
    let (golden, mut tally) = (Golden::killed(), Tally::default());
    let last = golden.image.last_segment();
    let ordinal = u64::from_str_radix(last.strip_suffix(".segment").unwrap(), 16).unwrap();
    sweep_segments(&golden, &mut tally, &[ordinal]);
    tally.finish(10_000);
}

/// A jumbo segment is mostly the payload of one event.
#[test]
fn p05_flipped_bits_of_a_jumbo_segment_cost_its_one_event() {
    let (golden, mut tally) = (Golden::closed(), Tally::default());
    let name = segment(3);
    let end = golden.ends[&name];
    assert!(end > SEGMENT_BYTES);
    sweep(&golden, &mut tally, &name, 0..8192, 61, 1);
    sweep(&golden, &mut tally, &name, 8192..8192 + 200, 1, 8);
    sweep(&golden, &mut tally, &name, 8392..end, 13, 1);
    tally.finish(2_000);
}
