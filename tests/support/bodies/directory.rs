//! A directory of any files: some as a writer left them, some changed under right checks, some of nothing but the fuzzer's
//! bytes, under names that mean something and names that do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use treering::storage::Storage;
use treering::storage::mem::MemStorage;
use treering::{Durability, Store, maintain};

use super::input::Input;
use super::{golden, readable};
use crate::image::Image;
use crate::mutate::{Change, apply, frames_of};
use crate::store::{small, try_put};

/// So many changes of a directory at most.
const CHANGES: usize = 12;

/// Opens a directory of any files for reading and for writing, verifies and dumps it, plans an accept and salvages it.
///
/// # Panics
/// Where the engine does: nothing is asked of a directory like that but an answer.
pub fn directory(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (golden, _) = golden();
    let mut files = if input.below(4) == 0 { BTreeMap::new() } else { golden.0.clone() };
    for _ in 0..CHANGES {
        if input.is_empty() {
            break;
        }
        change(&mut files, golden, &mut input);
    }
    let image = Image(files);
    let storage = image.to_storage(1);
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    for name in image.0.keys() {
        let _ = maintain::dump_on(&*shared, name, &mut std::io::sink());
    }
    if let Ok(store) = Store::open_read_only_on(Arc::clone(&shared), small()) {
        let _ = readable(&store);
    }
    assert_eq!(Image::take(&storage), image, "opening for reading changed a file");
    let _ = maintain::verify_on(Arc::clone(&shared), &mut ());
    let _ = maintain::accept_plan_on(Arc::clone(&shared), &mut ());
    let _ = maintain::salvage_on(Arc::clone(&shared), Arc::new(MemStorage::new()), &mut ());
    if let Ok(store) = Store::open_on(Arc::clone(&shared), small()) {
        let _ = try_put(&store, "new", b"payload", Durability::Synced);
        let _ = readable(&store);
        drop(store);
        if let Ok(again) = Store::open_read_only_on(shared, small()) {
            let _ = readable(&again);
        }
    }
}

fn name(input: &mut Input<'_>) -> String {
    match input.below(14) {
        0 => "identity".to_owned(),
        1 => "watermark".to_owned(),
        2 => "control".to_owned(),
        number @ 3..9 => format!("{:016x}.segment", number - 3),
        9 => format!("{:016x}.segment", input.number()),
        10 => format!("{:016x}.prepared", input.below(5)),
        11 => "identity.new".to_owned(),
        12 => format!("{:016X}.segment", input.below(3)),
        _ => String::from_utf8_lossy(&input.take(20)).replace(['/', '\0'], "_") + "x",
    }
}

fn change(files: &mut BTreeMap<String, Vec<u8>>, golden: &Image, input: &mut Input<'_>) {
    let name = name(input);
    match input.below(8) {
        0 => drop(files.insert(name, input.take(1 << 16))),
        1 => drop(files.remove(&name)),
        2 => {
            let from = input.below(golden.0.len());
            drop(files.insert(name, golden.0.values().nth(from).expect("it is one of them").clone()));
        }
        kind => {
            let Some(file) = files.get_mut(&name).filter(|file| !file.is_empty()) else { return };
            match kind {
                3 => {
                    let at = input.below(file.len());
                    file[at] ^= input.byte().max(1);
                }
                4 => {
                    let len = input.below(file.len() + 1);
                    file.truncate(len);
                }
                5 => {
                    let new = input.take(64);
                    let at = input.below(file.len());
                    let len = new.len().min(file.len() - at);
                    file[at..at + len].copy_from_slice(&new[..len]);
                }
                _ => mended(file, &name, kind == 6, input),
            }
        }
    }
}

/// A change whose checks are made right again, and the chain behind it.
fn mended(file: &mut [u8], name: &str, is_word: bool, input: &mut Input<'_>) {
    let whole = match name {
        "identity" => 128,
        "control" => 4096,
        "watermark" => 8192,
        _ => 16 << 10,
    };
    if file.len() < whole {
        return; // what it would mend is not there
    }
    let frames = frames_of(file);
    if is_word || frames.is_empty() {
        let width = 1 << input.below(4);
        // Near a frame's start, where the fields are, or anywhere.
        let start = match input.below(frames.len() + 2) {
            0 => 0,
            number => frames.get(number - 1).map_or_else(|| input.below(whole), |frame| frame.start),
        };
        let at = (start + input.below(256)).min(whole - 8) / width * width;
        if name != "watermark" || at % 4096 < 120 {
            apply(&Change::Word { at, width, value: input.number() }, name, file);
        }
    } else {
        let frame = &frames[input.below(frames.len())];
        let plain = u32::from_le_bytes(file[frame.start + 12..][..4].try_into().expect("four bytes")) as usize;
        let from = input.below(plain + 1);
        let to = (from + input.below(9)).min(plain);
        apply(&Change::Splice { frame: frame.start, range: from..to, bytes: input.take(32) }, name, file);
    }
}
