//! Blocks that are zero, garbage, or those of another place, another store or another time; files that are cut or go on.

use treering_tests::store::noise;

use super::*;

/// The change that makes `now` of the files, and the files.
fn change_to(golden: &Golden, what: String, image: &Image) -> Change {
    let mut change = Change { what, ..Change::default() };
    for (name, before) in &golden.image.0 {
        let Some(now) = image.0.get(name) else {
            change.files.push(name.clone());
            continue;
        };
        let differs = |at: &usize| before.get(*at) != now.get(*at);
        let len = before.len().max(now.len());
        let Some(first) = (0..len).find(differs) else { continue };
        let last = (0..len).rev().find(differs).expect("the first one differs");
        change.bytes.push((name.clone(), first as u64..last as u64 + 1));
    }
    change
}

fn attempt(golden: &Golden, tally: &mut Tally, what: String, image: &Image) {
    let change = change_to(golden, what, image);
    image.put_back(&golden.storage);
    tally.attempt(golden, &change, check);
}

/// What a block can come to be.
const FAULTS: [&str; 9] =
    ["zero", "ones", "noise", "doubled", "swapped", "moved", "of another file", "foreign", "stale"];

/// The image with the block of a file changed; `None` where there is nothing to take its place.
fn faulty(golden: &Golden, fault: &str, name: &str, at: usize, size: usize) -> Option<Image> {
    let mut image = golden.image.clone();
    let len = golden.image.0[name].len();
    let end = (at + size).min(len);
    let other = |at: usize| golden.image.0[name].get(at..at + (end - at.min(end)).min(size)).map(<[u8]>::to_vec);
    let of = |other: &Image, file: &str| other.0.get(file).and_then(|bytes| bytes.get(at..end)).map(<[u8]>::to_vec);
    let block = match fault {
        "zero" => vec![0; end - at],
        "ones" => vec![0xFF; end - at],
        "noise" => noise((at * size) as u64, end - at),
        "doubled" => golden.image.0[name][at.checked_sub(size)?..at].to_vec(),
        "swapped" => {
            let next = other(end).filter(|next| next.len() == end - at)?;
            let this = golden.image.0[name][at..end].to_vec();
            image.0.get_mut(name)?[end..end + this.len()].copy_from_slice(&this);
            next
        }
        // Where frames are: from two blocks further on, around the end.
        "moved" => {
            let from = 8192 + (at + 2 * size + len / 2) % (len.checked_sub(8192 + size)?).max(1) / size * size;
            golden.image.0[name].get(from..from + (end - at))?.to_vec()
        }
        "of another file" => {
            let names: Vec<&String> = golden.segments().map(|(name, _)| name).collect();
            let number = names.iter().position(|other| *other == name)?;
            of(&golden.image, names[(number + 1) % names.len()])?
        }
        // An identity file of another store makes all segments foreign: all of it is said, and nothing read.
        "foreign" if name == "identity" => return None,
        "foreign" => of(&golden.foreign, name)?,
        _ => of(&golden.earlier, name)?,
    };
    (block.len() == end - at).then_some(())?;
    image.0.get_mut(name)?[at..end].copy_from_slice(&block);
    (image != golden.image).then_some(image)
}

fn sweep_blocks(golden: &Golden, tally: &mut Tally, size: usize) {
    for name in golden.image.0.keys() {
        let end = golden.ends.get(name).map_or(usize::MAX, |end| *end as usize + size);
        for at in (0..golden.image.0[name].len().min(end)).step_by(size) {
            for fault in FAULTS {
                if let Some(image) = faulty(golden, fault, name, at, size) {
                    attempt(golden, tally, format!("block {at} of {size} bytes of {name} is {fault}"), &image);
                }
            }
        }
    }
}

/// [FRM-5]
#[test]
fn p03_blocks_of_another_place_store_or_time_are_never_taken_for_what_was_there() {
    let (golden, mut tally) = (Golden::closed(), Tally::default());
    sweep_blocks(&golden, &mut tally, 4096);
    tally.finish(100);
}

#[test]
fn p05_lost_sectors_cost_the_frames_that_they_hold() {
    let (golden, mut tally) = (Golden::closed(), Tally::default());
    sweep_blocks(&golden, &mut tally, 512);
    tally.finish(700);
}

#[test]
fn p03_lost_sectors_above_the_witness_end_the_log_and_invent_nothing() {
    let (golden, mut tally) = (Golden::killed(), Tally::default());
    let name = golden.image.last_segment();
    for at in (8192..golden.ends[&name] as usize).step_by(512) {
        for fault in FAULTS {
            if let Some(image) = faulty(&golden, fault, &name, at, 512) {
                attempt(&golden, &mut tally, format!("sector {at} of {name} is {fault}"), &image);
            }
        }
    }
    tally.finish(20);
}

fn read_only(golden: &Golden, change: &Change) {
    let _ = check_reading(golden, change);
}

#[test]
fn p05_no_file_is_cut_short_in_silence() {
    let (golden, mut tally) = (Golden::closed(), Tally::default());
    // The identity file is what makes this place the store's home: it stays the same file.
    for (name, bytes) in golden.image.0.iter().filter(|(name, _)| *name != "identity") {
        let step = if name.ends_with(".segment") { 56 / (depth() as usize).min(7) } else { 1 };
        for len in (0..bytes.len()).step_by(step).chain(bytes.len().saturating_sub(9)..bytes.len()) {
            let mut image = golden.image.clone();
            image.0.get_mut(name).unwrap().truncate(len);
            let mut change = change_to(&golden, format!("{name} is cut to {len}"), &image);
            // A head that is not there in both copies takes the segment with it, but for what others know.
            if len < 4096 && name.ends_with(".segment") {
                change.files.push(name.clone());
            }
            change.is_cut = true;
            image.put_back(&golden.storage);
            let is_whole_check = len % (17 * step) == 0;
            tally.attempt(&golden, &change, if is_whole_check { check } else { read_only });
        }
    }
    golden.image.put_back(&golden.storage);
    tally.finish(1_500);
}

#[test]
fn p03_what_follows_the_end_of_a_file_means_nothing() {
    let (golden, mut tally) = (Golden::closed(), Tally::default());
    for name in golden.image.0.keys() {
        for more in [1, 7, 8, 72, 512, 4096, 16_384, 40_000] {
            for fault in ["noise", "zero", "its own"] {
                let mut image = golden.image.clone();
                let bytes = image.0.get_mut(name).unwrap();
                let tail = match fault {
                    "noise" => noise(more as u64, more),
                    "zero" => vec![0; more],
                    _ => bytes.iter().copied().cycle().skip(8192 % bytes.len()).take(more).collect(),
                };
                bytes.extend(tail);
                let change =
                    Change { what: format!("{name} goes on with {more} bytes ({fault})"), ..Change::default() };
                image.put_back(&golden.storage);
                tally.attempt(&golden, &change, check);
            }
        }
    }
    tally.finish(100);
}

/// [SEG-4] [SEG-5] Whole files of another store, another time, or another name.
#[test]
fn p03_files_of_another_store_time_or_name_are_told_apart() {
    let (golden, mut tally) = (Golden::closed(), Tally::default());
    let names: Vec<&String> = golden.image.0.keys().collect();
    for name in &names {
        for (what, other) in [("foreign", &golden.foreign), ("earlier", &golden.earlier)] {
            let Some(bytes) = other.0.get(*name) else { continue };
            let mut image = golden.image.clone();
            image.0.insert((*name).clone(), bytes.clone());
            let mut change = change_to(&golden, format!("{name} is {what}"), &image);
            if what == "foreign" && name.ends_with(".segment") {
                change.bytes.clear();
                change.files.push((*name).clone());
            }
            if *name == "identity" && what == "foreign" {
                continue; // a store of its own: all segments are foreign to it
            }
            image.put_back(&golden.storage);
            tally.attempt(&golden, &change, check);
        }
        for other in names.iter().filter(|other| *other != name && other.ends_with(".segment")) {
            if !name.ends_with(".segment") {
                continue;
            }
            let mut image = golden.image.clone();
            image.0.insert((*name).clone(), golden.image.0[*other].clone());
            let what = format!("{name} is a copy of {other}");
            image.put_back(&golden.storage);
            let change = Change { what, files: vec![(*name).clone()], ..Change::default() };
            tally.attempt(&golden, &change, check);
        }
    }
    tally.finish(25);
}
