//! What a storage in memory does beyond the promises that every storage keeps.

use super::*;

fn read_all(file: &dyn StorageFile) -> Vec<u8> {
    let mut bytes = vec![0xEE; file.len().unwrap() as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

#[test]
fn what_a_failed_sync_was_to_put_on_the_disk_is_gone_with_the_memory() {
    let storage = MemStorage::new();
    storage.model_disk();
    let file = storage.create("a", 20_000).unwrap();
    let read = |at: u64| {
        let mut byte = [0];
        file.read_at(&mut byte, at).unwrap();
        byte[0]
    };
    file.write_at(b"1", 5000).unwrap();
    file.sync_data().unwrap();
    file.write_at(b"2", 5001).unwrap();
    file.write_at(b"3", 12_000).unwrap();
    storage.evict();
    assert_eq!([read(5000), read(5001), read(12_000)], *b"123", "what waits for a sync stays");
    storage.inject(Fault { after: 0, error: io::ErrorKind::Other, sticky: false, on: Some(Operation::Sync), keep: 0 });
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!([read(5000), read(5001), read(12_000)], *b"123", "the second sync has nothing to do, and says so");
    file.write_at(b"3", 12_000).unwrap();
    storage.evict();
    assert_eq!([read(5000), read(5001), read(12_000)], *b"1\x003");
}

#[test]
fn a_full_disk_takes_the_prefix_that_fits_in_whole_blocks() {
    let storage = MemStorage::new();
    storage.set_space_limit(Some(3 * 4096 + 4095));
    let file = storage.create("a", 100_000).unwrap();
    assert_eq!(storage.used_bytes(), 0, "a new file has no blocks");
    let error = file.write_at(&[7; 20_000], 4000).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let bytes = read_all(&*file);
    assert!(bytes[4000..3 * 4096].iter().all(|&byte| byte == 7) && bytes[3 * 4096..].iter().all(|&byte| byte == 0));
    assert_eq!(storage.file_system().unwrap().free_bytes, 0);

    file.write_at(&[8; 96], 0).expect("blocks that are there need no space");
    let other = storage.create("b", 0).unwrap();
    assert_eq!(other.write_at(&[1], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(other.len().unwrap(), 0, "no byte fitted");
    assert_eq!(other.allocate(0..1).unwrap_err().kind(), io::ErrorKind::StorageFull);

    storage.remove("a").unwrap();
    assert_eq!(storage.used_bytes(), 3 * 4096, "an open file keeps its space");
    drop(file);
    assert_eq!(storage.used_bytes(), 0);
    other.write_at(&[1], 0).expect("space was given back");
}

#[test]
fn a_failing_write_keeps_what_the_fault_says() {
    let storage = MemStorage::new();
    let file = storage.create("a", 0).unwrap();
    let error = io::ErrorKind::Other;
    storage.inject(Fault { after: 1, error, sticky: false, on: Some(Operation::Write), keep: 2 });
    file.write_at(b"abcd", 0).unwrap();
    assert_eq!(file.write_at(b"ABCD", 0).unwrap_err().kind(), error);
    assert_eq!(read_all(&*file), b"ABcd");
    file.write_at(b"EFGH", 4).expect("the fault came once");
    assert_eq!((storage.writes(), storage.written_bytes(), storage.failed()), (3, 10, 1));
}

#[test]
fn every_call_of_a_workload_can_be_made_to_fail_and_then_does_nothing() {
    let work = |storage: &MemStorage| -> io::Result<()> {
        let file = storage.create("a", 4096)?;
        file.allocate(0..4096)?;
        file.map_writable(0..4096)?.copy_in(0, b"x")?;
        file.sync_data()?;
        storage.rename("a", "b")?;
        storage.sync_directory()?;
        storage.list()?;
        let file = storage.open("b", Access::ReadWrite)?;
        file.read_at(&mut [0], 0)?;
        file.map()?;
        file.punch(0..4096)?;
        file.sync_all()?;
        storage.fill_random(&mut [0])?;
        storage.remove("b")
    };
    let storage = MemStorage::new();
    work(&storage).unwrap();
    let calls = storage.operations();
    assert_eq!(calls, 14);
    for after in 0..calls {
        let storage = MemStorage::new();
        storage.fail_after(after, io::ErrorKind::PermissionDenied, true);
        assert_eq!(work(&storage).unwrap_err().kind(), io::ErrorKind::PermissionDenied, "after {after}");
        assert_eq!((storage.operations(), storage.failed()), (after + 1, 1));
        storage.clear_fault();
        let names: Vec<String> = storage.list().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(
            names,
            if after == 0 {
                vec![]
            } else if after < 5 {
                vec!["a"]
            } else {
                vec!["b"]
            }
        );
    }
}

#[test]
fn growth_keeps_bytes_and_old_mappings_and_never_orphans_a_writable_one() {
    let storage = MemStorage::new();
    let file = storage.create("a", 0).unwrap();
    file.write_at(b"begin", 3).unwrap();
    let old = file.map().unwrap();
    file.allocate(0..8).unwrap();
    let mut writable = file.map_writable(0..8).unwrap();
    let error = file.write_at(b"end", 1 << 20).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    writable.copy_in(0, b"the").unwrap();
    drop(writable);
    file.write_at(b"end", 1 << 20).unwrap();
    assert_eq!(old.as_slice(), b"thebegin");
    let bytes = read_all(&*file);
    assert_eq!((&bytes[..8], &bytes[1 << 20..], bytes.len()), (&b"thebegin"[..], &b"end"[..], (1 << 20) + 3));
    assert!(bytes[8..1 << 20].iter().all(|&byte| byte == 0));
    assert_eq!(file.allocated_len().unwrap(), 2 * 4096, "the hole between takes nothing");
}

#[test]
fn a_file_has_a_longest_length() {
    let storage = MemStorage::new();
    assert_eq!(storage.create("a", (1 << 40) + 1).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    assert!(storage.list().unwrap().is_empty());
    let file = storage.create("a", 0).unwrap();
    for offset in [1 << 40, u64::MAX] {
        assert_eq!(file.write_at(b"x", offset).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
    assert_eq!(file.allocate(0..(1 << 40) + 1).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    assert_eq!((file.len().unwrap(), storage.used_bytes()), (0, 0));
}

#[test]
fn a_deep_copy_is_as_a_copied_folder() {
    let storage = MemStorage::new();
    storage.set_space_limit(Some(1 << 20));
    let file = storage.create("a", 50_000).unwrap();
    file.write_at(b"same", 40_000).unwrap();
    assert!(file.try_lock().unwrap());
    storage.create("gone", 1).unwrap();
    storage.remove("gone").unwrap();

    let copy = storage.deep_copy().unwrap();
    assert_eq!(copy.list().unwrap(), storage.list().unwrap());
    assert_eq!(copy.used_bytes(), 4096);
    let copied = copy.open("a", Access::ReadWrite).unwrap();
    assert_eq!(read_all(&*copied), read_all(&*file));
    assert!(copied.try_lock().unwrap(), "a lock is not copied");
    assert_ne!(copied.place().unwrap().file_system, file.place().unwrap().file_system);
    assert_eq!(copy.boot_id(), storage.boot_id());

    copied.write_at(b"else", 40_000).unwrap();
    assert_eq!(&read_all(&*file)[40_000..40_004], b"same", "the copy is independent");
    let clone = storage.clone();
    assert!(!clone.open("a", Access::Read).unwrap().try_lock().unwrap(), "a clone is the same directory");

    storage.set_space_limit(Some(0));
    assert_eq!(storage.deep_copy().unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn the_clock_is_the_tests_own() {
    let storage = MemStorage::new();
    let first = storage.now();
    assert_eq!((storage.now(), MemStorage::new().now()), (first + 1000, first));
    storage.set_clock_step(0);
    storage.set_clock(-5);
    storage.advance_clock(2);
    assert_eq!((storage.now(), storage.now()), (-3, -3));
    storage.set_clock(i64::MAX);
    storage.advance_clock(1);
    assert_eq!(storage.now(), i64::MAX);
    storage.set_clock(9);
    assert_eq!(storage.create("a", 0).unwrap().place().unwrap().birth, 9);
    storage.set_boot_id(BootId([3; 16]));
    assert_eq!(storage.boot_id(), BootId([3; 16]));
}
