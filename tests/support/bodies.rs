//! The bodies of the fuzz targets: plain functions of bytes that must return, whatever the bytes are.
//!
//! They are run by the targets in `fuzz/` and, on made-up bytes, by an ordinary test.

mod crashes;
mod directory;
mod input;
mod operations;

pub use crashes::crashes;
pub use directory::directory;
pub use operations::{operations, operations_of};

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use treering::checksum::Seeds;
use treering::format::batch::{self, Sections};
use treering::format::frame::Frame;
use treering::format::index_block::IndexBlock;
use treering::format::item::Item;
use treering::format::open::HeadBlock;
use treering::format::seal::Seal;
use treering::format::store_block::StoreBlock;
use treering::format::token::Token;
use treering::format::watermark::Watermark;
use treering::maintain;
use treering::storage::mem::MemStorage;
use treering::{Durability, Event, Position, ReadAllOptions, Salt, Store, Visibility};

use crate::image::Image;
use crate::store::{noise, small, try_put};

/// Every decoder of the format, on any bytes.
pub fn decode(bytes: &[u8]) {
    let _ = StoreBlock::decode(bytes);
    let _ = HeadBlock::decode(bytes);
    let _ = Watermark::decode(bytes);
    let _ = Token::decode(bytes);
    let _ = bytes.first_chunk::<88>().map(|bytes| Token::from_bytes(bytes));
    let _ = std::str::from_utf8(bytes).map(str::parse::<Token>);
    let Some((place, rest)) = bytes.split_first_chunk::<24>() else { return };
    let mut salt = Salt::default();
    salt.0.copy_from_slice(&place[..16]);
    let position = Position(u64::from_le_bytes(place[16..].try_into().expect("eight bytes")) / 2);
    let seeds = Seeds::new(salt);
    let Ok(frame) = Frame::decode(rest, seeds, position) else { return };
    let _ = frame.prove(seeds);
    let _ = Seal::decode(&frame);
    if let Ok(block) = IndexBlock::decode(&frame) {
        let _ = block.frames(|_| {});
    }
    let _ = batch::check_structure(&frame);
    let Ok(mut sections) = Sections::new(frame) else { return };
    while let Ok(Some(section)) = sections.next() {
        let Ok(body) = section.raw_body(seeds) else { continue };
        let Ok(mut entries) = section.entries_from(0) else { continue };
        while let Ok(Some(entry)) = entries.next() {
            let _ = entry.body(&section, seeds, &body);
        }
    }
    if let Ok((mut items, count)) = sections.items() {
        for _ in 0..count {
            if Item::decode(&mut items, position, position).is_err() {
                break;
            }
        }
    }
}

/// A dump of any file.
pub fn dump(bytes: &[u8]) {
    maintain::dump_bytes(bytes, &mut std::io::sink()).expect("a sink takes everything");
}

/// A small store whose files are changed: eight bytes a change say where and what.
///
/// # Panics
/// Where the changed store hands out an event that was never appended, or an opening that succeeded is not one the next
/// time.
pub fn store(bytes: &[u8]) {
    let (image, appended) = golden();
    let storage = MemStorage::new();
    let mut image = image.clone();
    let names: Vec<String> = image.0.keys().cloned().collect();
    for change in bytes.chunks_exact(8) {
        let file = image.0.get_mut(&names[usize::from(change[0]) % names.len()]).expect("it is one of them");
        let at = u32::from_le_bytes([change[1], change[2], change[3], 0]) as usize % file.len().max(1);
        let len = (1 << (change[4] % 13)).min(file.len() - at);
        match change[5] % 4 {
            0 => file[at] ^= change[6].max(1),
            1 => file[at..at + len].fill(change[6]),
            2 => file.truncate(at),
            _ => {
                let from = u16::from_le_bytes([change[6], change[7]]) as usize % file.len().max(1);
                let end = (from + len).min(file.len());
                let to = at.min(file.len() - (end - from));
                file.copy_within(from..end, to);
            }
        }
        if file.is_empty() {
            file.push(0);
        }
    }
    // The identity file of a new storage has another place than the image's: a copy, which is a fair thing to be.
    for (name, bytes) in &image.0 {
        let file = treering::storage::Storage::create(&storage, name, 0).expect("the storage is empty");
        file.write_at(bytes, 0).expect("there is space");
    }
    let shared: Arc<dyn treering::storage::Storage> = Arc::new(storage.clone());
    let read = Store::open_read_only_on(Arc::clone(&shared), small()).map(|store| readable(&store));
    if let Ok(found) = &read {
        let strange = found.iter().find(|event| !appended.contains(&key(event)));
        assert!(strange.is_none(), "never appended: {strange:?}");
    }
    let _ = maintain::verify_on(Arc::clone(&shared), &mut ());
    if let Ok(store) = Store::open_on(Arc::clone(&shared), small()) {
        let _ = try_put(&store, "new", b"payload", Durability::Synced);
        let before = readable(&store);
        drop(store);
        let again = Store::open_read_only_on(shared, small()).expect("it was opened before");
        assert_eq!(readable(&again), before);
    }
}

type Key = (String, u64, Vec<u8>);

fn key(event: &Event) -> Key {
    (event.stream.to_string(), event.revision.0, event.payload.to_vec())
}

/// Every event that can be read, past all damage.
fn readable(store: &Store) -> Vec<Event> {
    let options = ReadAllOptions::new().visibility(Visibility::Committed).with_engine_streams();
    let Ok(mut reader) = store.read_all(options) else { return Vec::new() };
    let mut found = Vec::new();
    while let Some(event) = reader.next() {
        match event {
            Ok(event) => found.push(event.hold()),
            Err(error) if error.damage().is_some() => {}
            Err(_) => break,
        }
    }
    found
}

/// A store of three small segments, and what was appended to it.
fn golden() -> &'static (Image, BTreeSet<Key>) {
    static GOLDEN: OnceLock<(Image, BTreeSet<Key>)> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        let storage = MemStorage::new();
        let mut appended = BTreeSet::new();
        for life in 0..3u64 {
            let store = crate::store::open(&storage);
            for number in 0..14u64 {
                let payload = noise(life * 100 + number, 300);
                let stream = format!("stream-{}", number % 3);
                let receipt = try_put(&store, &stream, &payload, Durability::Synced).expect("it fits");
                // A stream whose name is lost is called by its identity.
                let id = store.stream(&stream).expect("no error").expect("it is there").id;
                for name in [stream, format!("${id}")] {
                    appended.insert((name, receipt.sections[0].first_revision.0, payload.clone()));
                }
            }
            store.close().expect("it closes");
        }
        (Image::take(&storage), appended)
    })
}
