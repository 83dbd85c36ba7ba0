//! Rules of the pages that show in what a living store does to its files, in which order, and what it refuses.

use std::io;
use std::sync::Arc;

use treering::format::file_name::{self, FileKind};
use treering::format::watermark::Watermark;
use treering::storage::mem::{Fault, MemStorage, Operation};
use treering::storage::{Access, Storage};
use treering::{Batch, Durability, ErrorKind, Expected, NewEvent, Options, Position, Receipt, Result, Store};

fn options() -> Options {
    Options::new().segment_bytes(16 << 10).index_stride_bytes(4 << 10).mapped_writes(false)
}

fn open(storage: &Arc<MemStorage>) -> Result<Store> {
    Store::open_on(Arc::clone(storage) as Arc<dyn Storage>, options())
}

fn append(store: &Store, level: Durability, text: &str) -> Result<Receipt> {
    let events = [NewEvent::new("t", text)];
    store.append(&Batch::to("s", Expected::Any, &events).durability(level))
}

fn names(storage: &MemStorage, is_wanted: impl Fn(FileKind) -> bool) -> Vec<String> {
    let entries = storage.list().unwrap().into_iter().map(|entry| entry.name);
    let mut names: Vec<String> = entries.filter(|name| is_wanted(file_name::parse(name))).collect();
    names.sort();
    names
}

fn segments(storage: &MemStorage) -> Vec<String> {
    names(storage, |kind| matches!(kind, FileKind::Segment(_)))
}

fn bytes(storage: &MemStorage, name: &str) -> Vec<u8> {
    let file = storage.open(name, Access::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    let read = file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(read, bytes.len());
    bytes
}

/// A fault on the next call of this kind and all later ones.
fn fail(storage: &MemStorage, on: Operation) {
    storage.inject(Fault { after: 0, error: io::ErrorKind::Other, sticky: true, on: Some(on), keep: 0 });
}

/// [COM-1] [COM-3] What is published can be read at once, by whoever opens the files; what could not be written is not.
/// [COM-5] After a failed write nothing more is written.
#[test]
fn only_what_was_written_is_published() {
    let storage = Arc::new(MemStorage::new());
    let store = open(&storage).unwrap();
    let receipt = append(&store, Durability::Written, "one").unwrap();
    assert_eq!(store.watermarks().committed, receipt.end);
    let reader = Store::open_read_only_on(Arc::clone(&storage) as Arc<dyn Storage>, options()).unwrap();
    assert_eq!(reader.watermarks().committed, receipt.end);
    fail(&storage, Operation::Write);
    assert!(append(&store, Durability::Written, "two").is_err());
    assert_eq!(store.watermarks().committed, receipt.end);
    storage.clear_fault();
    let before = bytes(&storage, &segments(&storage)[0]);
    assert_eq!(append(&store, Durability::Written, "three").unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(bytes(&storage, &segments(&storage)[0]), before);
}

/// [COM-2] [COM-6] A Synced receipt comes after a sync that succeeded, never without; the durable end is never above what
/// was committed, and rises to it.
#[test]
fn a_synced_receipt_comes_after_a_sync() {
    let storage = Arc::new(MemStorage::new());
    let store = open(&storage).unwrap();
    for number in 0..20 {
        let syncs = storage.count(Operation::Sync);
        let receipt = append(&store, Durability::Synced, "text").unwrap();
        assert!(storage.count(Operation::Sync) > syncs, "{number}");
        let marks = store.watermarks();
        assert!(receipt.end <= marks.durable && marks.durable <= marks.committed, "{number}: {marks:?}");
    }
    let written = append(&store, Durability::Written, "text").unwrap();
    fail(&storage, Operation::Sync);
    assert_eq!(append(&store, Durability::Synced, "not acknowledged").unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(store.watermarks().durable < written.end);
}

/// [COM-4] Through rolls, closing and opening again no byte changes below where the log ended.
#[test]
fn bytes_below_the_committed_end_never_change() {
    let storage = Arc::new(MemStorage::new());
    let mut seen: Vec<(String, Vec<u8>)> = Vec::new();
    for _ in 0..6 {
        let store = open(&storage).unwrap();
        let text = "x".repeat(700);
        for _ in 0..12 {
            let _ = append(&store, Durability::Written, &text).unwrap();
        }
        let end = store.sync().unwrap();
        drop(store);
        for (name, before) in &seen {
            assert_eq!(bytes(&storage, name)[..before.len()], before[..], "{name}");
        }
        seen = segments(&storage)
            .into_iter()
            .map(|name| {
                let FileKind::Segment(ordinal) = file_name::parse(&name) else { unreachable!("only segments") };
                let mut bytes = bytes(&storage, &name);
                bytes.truncate(end.0.saturating_sub(ordinal.0 * (16 << 10)).min(bytes.len() as u64) as usize);
                // Behind the last frame of a finished segment there is nothing but zeros, which may become a hole.
                let set = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                bytes.truncate(set);
                (name, bytes)
            })
            .collect();
    }
    assert!(seen.len() > 3);
}

/// [COM-7] A new segment is above every ordinal that any segment file covers, even one that nobody can read.
#[test]
fn no_position_is_given_twice() {
    let storage = Arc::new(MemStorage::new());
    let store = open(&storage).unwrap();
    let _ = append(&store, Durability::Synced, "one").unwrap();
    drop(store.sync());
    let copy = Arc::new(storage.deep_copy().unwrap());
    drop(store);
    let unreadable = copy.create("0000000000000007.segment", 40 << 10).unwrap();
    unreadable.write_at(b"not a segment", 0).unwrap();
    let store = open(&copy).unwrap();
    let segment = store.open_report().epoch.segment.0;
    assert!(segment >= 10, "the file covers 7, 8 and 9, the log goes on in {segment}");
    assert_eq!(bytes(&copy, "0000000000000007.segment")[..13], *b"not a segment");
}

/// [COM-8] A takeover that cannot make durable what it found begins no segment. [OPN-5] Nor does one whose head block is
/// not durable get its name.
#[test]
fn nothing_gets_its_name_before_it_is_durable() {
    let storage = Arc::new(MemStorage::new());
    let store = open(&storage).unwrap();
    let _ = append(&store, Durability::Written, "one").unwrap();
    let left = storage.deep_copy().unwrap();
    drop(store);
    let syncs_of_a_takeover = {
        let copy = Arc::new(left.deep_copy().unwrap());
        let before = copy.count(Operation::Sync);
        let store = open(&copy).unwrap();
        assert!(store.open_report().has_rolled);
        copy.count(Operation::Sync) - before
    };
    assert!(syncs_of_a_takeover >= 2);
    for after in 0..2 {
        let copy = Arc::new(left.deep_copy().unwrap());
        let before = segments(&copy);
        let on = Some(Operation::Sync);
        copy.inject(Fault { after, error: io::ErrorKind::Other, sticky: true, on, keep: 0 });
        assert!(open(&copy).is_err(), "after {after} syncs");
        assert_eq!(segments(&copy), before, "after {after} syncs");
    }
}

/// [STO-8] The identity file comes last: wherever the making of a store fails, there is a store with its segment, or none.
#[test]
fn a_store_has_its_identity_file_last() {
    for after in 0..200 {
        let storage = Arc::new(MemStorage::new());
        storage.fail_after(after, io::ErrorKind::Other, true);
        let opened = open(&storage);
        let is_made = opened.is_ok();
        drop(opened);
        storage.clear_fault();
        if storage.open(file_name::IDENTITY, Access::Read).is_ok() {
            assert_eq!(segments(&storage).len(), 1, "after {after} calls");
        }
        let store = open(&storage).unwrap();
        let _ = append(&store, Durability::Synced, "one").unwrap();
        if is_made {
            return;
        }
    }
    panic!("a store is never made");
}

/// [STO-3] A folder that holds something else is not a store, and is left as it is.
#[test]
fn what_is_not_a_store_is_left_alone() {
    let storage = Arc::new(MemStorage::new());
    for name in ["identity", "notes.txt"] {
        storage.create(name, 0).unwrap().write_at(b"something else altogether", 0).unwrap();
    }
    let before = storage.writes();
    assert_eq!(open(&storage).unwrap_err().kind(), ErrorKind::NotAStore);
    assert_eq!(storage.writes(), before);
    assert_eq!(storage.list().unwrap().len(), 2);
    assert_eq!(bytes(&storage, "identity"), b"something else altogether");
}

fn newest(storage: &MemStorage) -> Watermark {
    *Watermark::slots(&bytes(storage, file_name::WATERMARK)).first().expect("a slot was written")
}

/// [WMK-3] CLEAN is said by a writer that has closed, of the end of the log. [WMK-4] A writer that goes on has said
/// otherwise, with a takeover of its own, before its first frame. [FRM-10] No epoch is given twice.
#[test]
fn clean_is_said_at_the_end_and_taken_back_at_the_beginning() {
    let storage = Arc::new(MemStorage::new());
    let mut epochs = Vec::new();
    for round in 0..6 {
        let store = open(&storage).unwrap();
        let epoch = store.open_report().epoch;
        epochs.push((epoch.segment, epoch.takeover));
        if round > 0 {
            assert!(!store.open_report().has_rolled, "{round}");
            let slot = newest(&storage);
            assert!(!slot.is_clean && slot.takeover == epoch.takeover, "{round}: {slot:?}");
        }
        let mut end = store.watermarks().committed;
        // Every other writer appends nothing: its epoch is spent all the same.
        if round % 2 == 0 {
            end = append(&store, Durability::Synced, "text").unwrap().end;
        }
        store.close().unwrap();
        let slot = newest(&storage);
        assert!(slot.is_clean && slot.durable >= end && end > Position::ZERO, "{round}: {slot:?}");
    }
    assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
}
