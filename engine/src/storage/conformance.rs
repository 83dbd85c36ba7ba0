//! What every storage promises, checked on each implementation.
//!
//! One function per promise; the macro at the end runs all of them on the real directory and on the one in memory, and
//! lists them for implementations elsewhere, such as simulators. What only one of them can show (links, pipes, faults) is
//! tested beside it.

// A check may stop where it stands: that is how it fails.
#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{Access, FilePlace, LockKind, MAX_NAME_LEN, Reasons, SharedWords, Storage, StorageFile};

fn kind_of<T>(result: io::Result<T>) -> io::ErrorKind {
    result.map(drop).expect_err("the call must fail").kind()
}

fn contents(file: &dyn StorageFile) -> Vec<u8> {
    let mut bytes = vec![0xEE; file.len().unwrap() as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

fn names(storage: &dyn Storage) -> Vec<(String, u64)> {
    let mut names: Vec<_> = storage.list().unwrap().into_iter().map(|entry| (entry.name, entry.len)).collect();
    names.sort();
    names
}

fn file_with(storage: &dyn Storage, name: &str, bytes: &[u8]) -> Arc<dyn StorageFile> {
    let file = storage.create(name, 0).unwrap();
    file.write_at(bytes, 0).unwrap();
    file
}

fn a_new_file_is_zero_and_takes_no_space(storage: &dyn Storage) {
    let file = storage.create("a", 300_000).unwrap();
    assert_eq!(file.len().unwrap(), 300_000);
    assert!(!file.is_empty().unwrap());
    assert!(contents(&*file).iter().all(|&byte| byte == 0));
    assert_eq!(file.allocated_len().unwrap(), 0);
    assert!(storage.create("b", 0).unwrap().is_empty().unwrap());
    assert_eq!(names(storage), [("a".to_owned(), 300_000), ("b".to_owned(), 0)]);
    assert!(storage.list().unwrap().iter().all(|entry| entry.is_file));
}

fn create_never_replaces(storage: &dyn Storage) {
    file_with(storage, "a", b"old");
    assert_eq!(kind_of(storage.create("a", 9)), io::ErrorKind::AlreadyExists);
    assert_eq!(contents(&*storage.open("a", Access::Read).unwrap()), b"old");
}

fn rename_moves_and_never_replaces(storage: &dyn Storage) {
    let a = file_with(storage, "a", b"A");
    file_with(storage, "b", b"B");
    assert_eq!(kind_of(storage.rename("a", "b")), io::ErrorKind::AlreadyExists);
    assert_eq!(kind_of(storage.rename("a", "a")), io::ErrorKind::AlreadyExists);
    assert_eq!(kind_of(storage.rename("none", "b")), io::ErrorKind::NotFound);
    assert_eq!(names(storage), [("a".to_owned(), 1), ("b".to_owned(), 1)]);

    storage.rename("a", "c").unwrap();
    assert_eq!(kind_of(storage.open("a", Access::Read)), io::ErrorKind::NotFound);
    a.write_at(b"!", 1).unwrap();
    assert_eq!(contents(&*storage.open("c", Access::Read).unwrap()), b"A!", "an open file follows its name");
    assert_eq!(contents(&*storage.open("b", Access::Read).unwrap()), b"B");
    storage.sync_directory().unwrap();
}

fn a_removed_file_stays_good_for_those_who_have_it(storage: &dyn Storage) {
    let file = file_with(storage, "a", b"kept");
    let mapping = file.map().unwrap();
    storage.remove("a").unwrap();
    assert_eq!(kind_of(storage.remove("a")), io::ErrorKind::NotFound);
    assert_eq!(kind_of(storage.open("a", Access::Read)), io::ErrorKind::NotFound);
    assert!(names(storage).is_empty());

    let successor = file_with(storage, "a", b"next");
    file.write_at(b"K", 0).unwrap();
    assert_eq!(contents(&*file), b"Kept");
    assert_eq!(contents(&*successor), b"next");
    assert_ne!(file.place().unwrap(), successor.place().unwrap());
    drop(file);
    assert_eq!(mapping.as_slice(), b"Kept");
    mapping.populate(0..4).unwrap();
}

fn a_name_tells_whether_it_leads_to_a_file_still(storage: &dyn Storage) {
    let file = file_with(storage, "a", b"one");
    let place = file.place().unwrap();
    assert!(storage.leads_to("a", &place).unwrap());
    assert!(!storage.leads_to("b", &place).unwrap(), "there is no such name");
    file.write_at(b"more", 3).unwrap();
    assert!(storage.leads_to("a", &place).unwrap(), "what is in it does not matter");
    storage.rename("a", "b").unwrap();
    assert!(!storage.leads_to("a", &place).unwrap());
    assert!(storage.leads_to("b", &place).unwrap());
    let other = file_with(storage, "a", b"one").place().unwrap();
    assert!(!storage.leads_to("a", &place).unwrap(), "another file has the name");
    assert!(storage.leads_to("a", &other).unwrap());
    storage.remove("b").unwrap();
    assert!(!storage.leads_to("b", &place).unwrap());
    let successor = file_with(storage, "b", b"one");
    assert!(!storage.leads_to("b", &place).unwrap(), "it is open still, so that no other file is where it was");
    assert!(storage.leads_to("b", &successor.place().unwrap()).unwrap());
    drop(file);
}

fn only_plain_names_are_taken(storage: &dyn Storage) {
    file_with(storage, "a", b"");
    let long = "n".repeat(MAX_NAME_LEN + 1);
    for bad in ["", ".", "..", "/", "a/", "/a", "./a", "../a", "a/b", "a\0", "\0", &long] {
        let refused = io::ErrorKind::InvalidInput;
        assert_eq!(kind_of(storage.open(bad, Access::Read)), refused, "{bad:?}");
        assert_eq!(kind_of(storage.create(bad, 0)), refused, "{bad:?}");
        assert_eq!(kind_of(storage.remove(bad)), refused, "{bad:?}");
        assert_eq!(kind_of(storage.rename(bad, "x")), refused, "{bad:?}");
        assert_eq!(kind_of(storage.rename("a", bad)), refused, "{bad:?}");
        assert_eq!(kind_of(storage.leads_to(bad, &FilePlace::default())), refused, "{bad:?}");
    }
    for good in ["...", "ü", " ", "a\\b", "-", &long[1..]] {
        storage.create(good, 0).unwrap();
        storage.open(good, Access::Read).unwrap();
    }
}

fn reads_are_short_at_the_end_only(storage: &dyn Storage) {
    let file = file_with(storage, "a", b"0123456789");
    let read = |offset, len: usize| {
        let mut buffer = vec![b'_'; len];
        let count = file.read_at(&mut buffer, offset).unwrap();
        assert!(buffer[count..].iter().all(|&byte| byte == b'_'), "nothing is stored behind what was read");
        buffer.truncate(count);
        String::from_utf8(buffer).unwrap()
    };
    assert_eq!(read(0, 10), "0123456789");
    assert_eq!(read(3, 4), "3456");
    assert_eq!(read(7, 100), "789");
    assert_eq!(read(10, 1), "");
    assert_eq!(read(11, 1), "");
    assert_eq!(read(2, 0), "");
    assert_eq!(read(i64::MAX as u64, 5), "");
    assert_eq!(read(u64::MAX, 5), "");
}

fn writes_extend_and_leave_holes_of_zeros(storage: &dyn Storage) {
    let file = storage.create("a", 2).unwrap();
    file.write_at(b"xyz", 1).unwrap();
    assert_eq!(contents(&*file), b"\0xyz");
    file.write_at(b"!", 9).unwrap();
    assert_eq!(contents(&*file), b"\0xyz\0\0\0\0\0!");
    file.write_at(b"", 50).unwrap();
    assert_eq!(file.len().unwrap(), 10, "no bytes extend nothing");
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    file.write_at(&large, 5).unwrap();
    assert_eq!(contents(&*file)[5..], large);
    assert_eq!(kind_of(file.write_at(b"x", u64::MAX)), io::ErrorKind::FileTooLarge);
    assert_eq!(kind_of(file.write_at(b"x", i64::MAX as u64)), io::ErrorKind::FileTooLarge);
    assert_eq!(file.len().unwrap(), 3_000_005);
}

fn a_file_open_for_reading_refuses_changes(storage: &dyn Storage) {
    file_with(storage, "a", &[5; 5000]).allocate(0..5000).unwrap();
    let file = storage.open("a", Access::Read).unwrap();
    file.write_at(b"x", 0).unwrap_err();
    file.punch(0..5000).unwrap_err();
    file.allocate(0..50_000).unwrap_err();
    file.map_writable(0..4096).unwrap_err();
    assert_eq!(contents(&*file), [5; 5000]);
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    assert_eq!(file.map().unwrap().as_slice(), [5; 5000]);
}

fn all_handles_see_a_write_at_once(storage: &dyn Storage) {
    let file = storage.create("a", 10_000).unwrap();
    let mapping = file.map().unwrap();
    let clone = mapping.clone();
    let cut = mapping.bytes(4990..5010);
    let other = storage.open("a", Access::ReadWrite).unwrap();
    assert!(mapping.as_slice().iter().all(|&byte| byte == 0));

    other.write_at(b"seen", 5000).unwrap();
    assert_eq!(&mapping.as_slice()[5000..5004], b"seen");
    assert_eq!(&clone.as_slice()[5000..5004], b"seen");
    assert_eq!(&cut[10..14], b"seen");
    let mut buffer = [0; 4];
    file.read_at(&mut buffer, 5000).unwrap();
    assert_eq!(&buffer, b"seen");

    file.write_at(b"longer", 9998).unwrap();
    assert_eq!(mapping.len(), 10_000, "a mapping keeps its length");
    let fresh = other.map().unwrap();
    assert_eq!((fresh.len(), &fresh.as_slice()[9998..]), (10_004, &b"longer"[..]));
    fresh.populate(0..10_004).unwrap();
    assert_eq!(kind_of(fresh.populate(0..10_005)), io::ErrorKind::InvalidInput);
}

fn an_empty_file_has_an_empty_mapping(storage: &dyn Storage) {
    let mapping = storage.create("a", 0).unwrap().map().unwrap();
    assert!(mapping.is_empty() && mapping.as_slice().is_empty() && mapping.bytes(0..0).is_empty());
    mapping.populate(0..0).unwrap();
}

fn what_is_copied_into_a_mapping_is_written(storage: &dyn Storage) {
    let file = storage.create("a", 65_536).unwrap();
    file.write_at(b"before", 8190).unwrap();
    let reader = file.map().unwrap();
    assert_eq!(kind_of(file.map_writable(8192..65_536)), io::ErrorKind::InvalidInput, "not allocated");
    file.allocate(8192..65_536).unwrap();
    let mut writable = match file.map_writable(8192..65_536) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
        mapped => mapped.unwrap(),
    };
    assert_eq!(writable.range(), 8192..65_536);
    writable.prefaulter().prefault(0..10_000).unwrap();
    assert_eq!(kind_of(writable.prefaulter().prefault(0..57_345)), io::ErrorKind::InvalidInput);
    writable.copy_in(0, b"FORE").unwrap();
    writable.copy_in(65_536 - 8192 - 3, b"end").unwrap();
    writable.copy_in(65_536 - 8192, b"").unwrap();

    let bytes = contents(&*file);
    assert_eq!((&bytes[8190..8197], &bytes[65_533..]), (&b"beFORE\0"[..], &b"end"[..]));
    assert_eq!(reader.as_slice(), bytes);
    file.write_at(b"mixed", 8192).unwrap();
    writable.copy_in(5, b"up").unwrap();
    file.sync_data().unwrap();
    drop((writable, file));
    let file = storage.open("a", Access::ReadWrite).unwrap();
    assert_eq!(&contents(&*file)[8192..8199], b"mixedup");

    for bad in [0..65_537, 70_000..80_000, 4096..4096] {
        assert_eq!(kind_of(file.map_writable(bad)), io::ErrorKind::InvalidInput);
    }
}

/// Six threads sleep again and again, each for another reason: at last one call wakes all who sleep for these, and it never wakes
/// others.
fn wake_sleepers(words: &SharedWords, watched: &SharedWords, reasons: Reasons, sleepers: usize) {
    let (is_over, ended) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (is_over, ended) = (&is_over, &ended);
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    watched.wait_for(7, 0, Reasons::one(number), Duration::from_secs(3600));
                }
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
        loop {
            let woken = words.wake_for(7, reasons, u32::MAX);
            assert!(woken <= sleepers, "{woken} of {sleepers}");
            if woken == sleepers {
                break;
            }
            std::thread::yield_now();
        }
        is_over.store(true, Ordering::SeqCst);
        while ended.load(Ordering::SeqCst) < 6 {
            words.wake(7, u32::MAX);
            std::thread::yield_now();
        }
    });
}

fn shared_words_are_one_memory_and_the_files_bytes(storage: &dyn Storage) {
    let file = storage.create("a", 0).unwrap();
    match kind_of(file.map_words(1)) {
        io::ErrorKind::Unsupported => return,
        other => assert_eq!(other, io::ErrorKind::InvalidInput, "the file is shorter"),
    }
    file.write_at(&[0; 4096], 0).unwrap();
    let words = match file.map_words(512) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
        mapped => mapped.unwrap(),
    };
    assert_eq!(words.count(), 512);
    let other = storage.open("a", Access::ReadWrite).unwrap();
    let same = other.map_words(512).unwrap();
    words.store(3, 0x0102_0304_0506_0708);
    assert_eq!((same.load(3), words.load(4)), (0x0102_0304_0506_0708, 0));
    assert_eq!(contents(&*other)[24..32], [8, 7, 6, 5, 4, 3, 2, 1], "little-endian, and in the file");
    other.write_at(&[9, 0, 0, 0, 0, 0, 0, 1], 4088).unwrap();
    assert_eq!(words.load(511), 9 + (1 << 56));
    let watched = storage.open("a", Access::Read).unwrap().map_words_to_read(512).unwrap();
    words.count_up(5);
    watched.count_up(5);
    watched.store(5, 9);
    assert_eq!((watched.load(3), watched.load(5)), (0x0102_0304_0506_0708, 1), "nothing is stored by who looks");
    watched.wait(5, 0, Duration::from_secs(3600)); // it is another by now
    watched.wait(5, 1, Duration::from_millis(1));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while watched.load(5) == 1 {
                watched.wait(5, 1, Duration::from_secs(3600));
            }
        });
        words.count_up(5);
        words.wake(5, 1);
    });
    for (reasons, sleepers) in [(Reasons::ANY, 6), (Reasons::one(0), 1), (Reasons::one(37), 1)] {
        wake_sleepers(&words, &watched, reasons, sleepers);
    }
    assert!(file.is_linked().unwrap());
    storage.remove("a").unwrap();
    assert!(!file.is_linked().unwrap());
    words.store(0, 7);
    assert_eq!(same.load(0), 7, "a removed file stays good for those who have it");
    storage.open("a", Access::Read).map(drop).unwrap_err();
    assert_eq!(kind_of(file.map_words(513)), io::ErrorKind::InvalidInput);
    assert_eq!(kind_of(file.map_words(0)), io::ErrorKind::InvalidInput);
    file_with(storage, "b", &[0; 4096]);
    storage.open("b", Access::Read).unwrap().map_words(1).unwrap_err();
}

fn allocating_keeps_bytes_and_length(storage: &dyn Storage) {
    let file = storage.create("a", 20_000).unwrap();
    file.write_at(b"here", 9000).unwrap();
    let before = contents(&*file);
    file.allocate(4096..40_960).unwrap();
    assert_eq!(contents(&*file), before);
    assert!(file.allocated_len().unwrap() >= 40_960 - 4096);
    file.allocate(7..7).unwrap();
    for bad in [std::ops::Range { start: 9, end: 8 }, 0..u64::MAX] {
        assert_eq!(kind_of(file.allocate(bad.clone())), io::ErrorKind::InvalidInput);
        assert_eq!(kind_of(file.punch(bad)), io::ErrorKind::InvalidInput);
    }
}

fn punching_gives_space_back_and_keeps_the_length(storage: &dyn Storage) {
    let file = file_with(storage, "a", &[1; 50_000]);
    file.sync_data().unwrap();
    let mapping = file.map().unwrap();
    let before = file.allocated_len().unwrap();
    file.punch(5000..45_000).unwrap();
    // Before anybody looks through a mapping: on tmpfs that alone allocates a page for a hole.
    assert!(file.allocated_len().unwrap() <= before - 8 * 4096);
    let bytes = contents(&*file);
    assert_eq!(bytes.len(), 50_000);
    assert!(bytes[..5000].iter().chain(&bytes[45_000..]).all(|&byte| byte == 1));
    assert!(bytes[5000..45_000].iter().all(|&byte| byte == 0));
    assert_eq!(mapping.as_slice(), bytes);
    file.punch(49_999..90_000).unwrap();
    assert_eq!((file.len().unwrap(), contents(&*file)[49_999]), (50_000, 0));
    file.punch(5..5).unwrap();
}

fn what_is_passed_over_as_hole_is_zero(storage: &dyn Storage) {
    let file = storage.create("a", 1 << 20).unwrap();
    file.allocate(0..256 << 10).unwrap();
    file.write_at(b"x", 100_000).unwrap();
    file.write_at(b"y", 900_000).unwrap();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(data) = file.next_data(at).unwrap() {
        assert!(data.start >= at && data.start < data.end && data.end <= 1 << 20, "{data:?}");
        at = data.end;
        found.push(data);
    }
    for set in [100_000, 900_000] {
        assert!(found.iter().any(|data| data.contains(&set)), "{set}: {found:?}");
    }
    assert_eq!(file.next_data(1 << 20).unwrap(), None);
}

fn the_lock_excludes_others_until_it_is_dropped(storage: &dyn Storage) {
    let file = storage.create("a", 0).unwrap();
    let second = storage.open("a", Access::ReadWrite).unwrap();
    assert_eq!(file.lock_holder(), None);
    assert!(file.try_lock().unwrap());
    assert!(file.try_lock().unwrap(), "who has it keeps it");
    assert!(!second.try_lock().unwrap());
    assert!(!storage.open("a", Access::Read).unwrap().try_lock().unwrap());
    second.unlock().unwrap();
    assert!(!second.try_lock().unwrap(), "nobody else can let go of it");
    assert_eq!(second.lock_holder().expect("the lock is held").pid, std::process::id());
    assert!(storage.create("b", 0).unwrap().try_lock().unwrap(), "another file has a lock of its own");

    file.unlock().unwrap();
    assert_eq!(second.lock_holder(), None);
    assert!(second.try_lock().unwrap());
    assert!(!file.try_lock().unwrap());
    drop(second);
    assert!(file.try_lock().unwrap());
    storage.rename("a", "c").unwrap();
    let again = storage.open("c", Access::Read).unwrap();
    assert!(!again.try_lock().unwrap(), "the lock is the file's, not the name's");
    drop(file);
    assert!(again.try_lock().unwrap());
}

fn bytes_are_locked_shared_or_alone(storage: &dyn Storage) {
    use LockKind::{Exclusive, Shared};
    let file = storage.create("a", 0).unwrap();
    let [second, third] = [(); 2].map(|()| storage.open("a", Access::ReadWrite).unwrap());
    let reading = storage.open("a", Access::Read).unwrap();
    let process = std::process::id();
    let holders = |offset| {
        let holders = third.byte_holders(offset).into_iter();
        holders.map(|(holder, kind)| (holder.pid, kind)).collect::<Vec<_>>()
    };
    for at in [0, 7, 1 << 62, i64::MAX as u64 - 1] {
        assert_eq!(holders(at), [], "{at}");
        assert!(file.try_lock_byte(at, Shared).unwrap() && reading.try_lock_byte(at, Shared).unwrap(), "{at}");
        assert!(file.try_lock_byte(at, Shared).unwrap(), "who has it keeps it");
        assert!(!second.is_byte_locked(at, Shared).unwrap() && second.is_byte_locked(at, Exclusive).unwrap());
        assert!(!second.try_lock_byte(at, Exclusive).unwrap(), "{at}");
        assert!(!file.try_lock_byte(at, Exclusive).unwrap(), "beside another share none is alone");
        assert_eq!(holders(at), [(process, Shared)], "{at}");

        reading.unlock_byte(at).unwrap();
        second.unlock_byte(at).unwrap();
        assert!(second.is_byte_locked(at, Exclusive).unwrap(), "what another holds is not given back");
        assert!(!file.is_byte_locked(at, Exclusive).unwrap(), "one's own lock excludes oneself from nothing");
        assert!(file.try_lock_byte(at, Exclusive).unwrap(), "the kind changes");
        assert!(!reading.try_lock_byte(at, Shared).unwrap() && !second.try_lock_byte(at, Exclusive).unwrap());
        assert!(reading.is_byte_locked(at, Shared).unwrap());
        assert_eq!(holders(at), [(process, Exclusive)], "{at}");
        for beside in [at - at.min(1), at + 1].into_iter().filter(|&beside| beside != at && beside < i64::MAX as u64) {
            assert!(!second.is_byte_locked(beside, Exclusive).unwrap() && holders(beside).is_empty(), "{beside}");
            assert!(second.try_lock_byte(beside, Exclusive).unwrap(), "{beside}");
            assert!(!file.try_lock_byte(beside, Shared).unwrap(), "{beside}");
            second.unlock_byte(beside).unwrap();
        }

        assert!(file.try_lock_byte(at, Shared).unwrap(), "and back");
        assert!(reading.try_lock_byte(at, Shared).unwrap(), "{at}");
        file.unlock_byte(at).unwrap();
        file.unlock_byte(at).unwrap();
        assert!(second.is_byte_locked(at, Exclusive).unwrap(), "the other share is still there");
        reading.unlock_byte(at).unwrap();
        assert!(second.try_lock_byte(at, Exclusive).unwrap(), "{at}");
        second.unlock_byte(at).unwrap();
    }
    reading.try_lock_byte(3, Exclusive).expect_err("a file that is open for reading takes shares only");
    assert!(!second.is_byte_locked(3, Exclusive).unwrap());
    for beyond in [i64::MAX as u64, u64::MAX] {
        assert_eq!(kind_of(file.try_lock_byte(beyond, Shared)), io::ErrorKind::InvalidInput);
        assert_eq!(kind_of(file.unlock_byte(beyond)), io::ErrorKind::InvalidInput);
        assert_eq!(kind_of(file.is_byte_locked(beyond, Shared)), io::ErrorKind::InvalidInput);
        assert_eq!(holders(beyond), []);
    }
    assert_eq!((file.len().unwrap(), file.allocated_len().unwrap()), (0, 0), "a lock takes no byte");
}

fn locks_of_bytes_and_of_the_file_know_nothing_of_each_other(storage: &dyn Storage) {
    let (file, second) = (storage.create("a", 10).unwrap(), storage.open("a", Access::ReadWrite).unwrap());
    assert!(file.try_lock_byte(0, LockKind::Exclusive).unwrap());
    assert!(second.try_lock().unwrap() && !file.try_lock().unwrap());
    assert!(second.try_lock_byte(1, LockKind::Exclusive).unwrap());
    second.unlock().unwrap();
    assert!(second.is_byte_locked(0, LockKind::Shared).unwrap() && file.is_byte_locked(1, LockKind::Shared).unwrap());
    for _ in 0..3 {
        assert!(file.try_lock().unwrap() && !second.try_lock().unwrap());
        file.unlock().unwrap();
    }
    assert!(file.try_lock().unwrap());
    file.unlock_byte(0).unwrap();
    assert!(!second.is_byte_locked(0, LockKind::Shared).unwrap());
    assert!(!second.try_lock().unwrap(), "the lock of the file stays");

    storage.rename("a", "b").unwrap();
    let again = storage.open("b", Access::ReadWrite).unwrap();
    let other = storage.create("a", 10).unwrap();
    assert!(again.is_byte_locked(1, LockKind::Shared).unwrap(), "a lock is the file's, not the name's");
    assert!(other.try_lock_byte(1, LockKind::Exclusive).unwrap(), "another file has locks of its own");
    assert!(second.try_lock_byte(2, LockKind::Shared).unwrap());
    drop((file, second));
    for at in 0..3 {
        assert!(again.try_lock_byte(at, LockKind::Exclusive).unwrap(), "{at}: they end with the open file");
    }
    assert!(again.try_lock().unwrap());
}

fn a_place_is_one_files_own(storage: &dyn Storage) {
    let (a, b) = (storage.create("a", 0).unwrap(), storage.create("b", 0).unwrap());
    let place = a.place().unwrap();
    assert_ne!(place.inode, b.place().unwrap().inode);
    assert_eq!(place.file_system, b.place().unwrap().file_system);
    a.write_at(b"x", 0).unwrap();
    storage.rename("a", "c").unwrap();
    assert_eq!(storage.open("c", Access::Read).unwrap().place().unwrap(), place);
}

fn direct_reads_give_the_same_bytes_at_any_alignment(storage: &dyn Storage) {
    let bytes: Vec<u8> = (0..600_001_u32).map(|n| (n ^ n >> 8) as u8).collect();
    let file = file_with(storage, "a", &bytes);
    file.sync_data().unwrap();
    for (offset, len) in [(0, 600_001), (1, 600_001), (4095, 2), (262_143, 262_146), (600_000, 9), (600_001, 1), (0, 0)]
    {
        let mut buffer = vec![0xEE; len];
        let count = match file.read_direct_at(&mut buffer, offset as u64) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return,
            count => count.unwrap(),
        };
        let wanted = &bytes[offset..(offset + len).min(bytes.len())];
        assert!(&buffer[..count] == wanted, "{len} bytes at {offset} gave {count}");
    }
    assert_eq!(file.read_direct_at(&mut [0; 4], u64::MAX).unwrap(), 0);
}

fn what_is_written_once_more_stays_as_it_is(storage: &dyn Storage) {
    let bytes: Vec<u8> = (0..700_416_u32).map(|n| (n ^ n >> 8) as u8).collect();
    let file = file_with(storage, "a", &bytes);
    let mapping = file.map().unwrap();
    mapping.populate(0..bytes.len()).unwrap();
    for (offset, len) in [(0, 8192), (1, 5000), (4095, 2), (262_143, 300_000), (700_000, 416), (9, 0)] {
        file.rewrite_at(&bytes[offset..offset + len], offset as u64).unwrap();
        file.sync_data().unwrap();
        assert!(contents(&*file) == bytes && mapping.as_slice() == bytes, "{len} bytes at {offset}");
    }
    // Bytes that were written since and never synced go along.
    file.write_at(b"new", 4090).unwrap();
    file.rewrite_at(&bytes[4096..4100], 4096).unwrap();
    assert!(contents(&*file)[4090..4100] == [b"new", &bytes[4093..4100]].concat());
    // A file that ends inside a block keeps its length.
    let short = file_with(storage, "b", b"short");
    short.rewrite_at(b"hor", 1).unwrap();
    assert_eq!(contents(&*short), b"short");
    storage.open("b", Access::Read).unwrap().rewrite_at(b"x", 0).unwrap_err();
}

fn the_machine_answers(storage: &dyn Storage) {
    let (mut one, mut two) = ([0; 1000], [0; 1000]);
    storage.fill_random(&mut one).unwrap();
    storage.fill_random(&mut two).unwrap();
    assert_ne!(one, two);
    assert!(one.iter().filter(|&&byte| byte == 0).count() < 100, "the end of a long buffer is filled too");
    storage.fill_random(&mut []).unwrap();
    assert!(storage.now() > 1_700_000_000_000_000_000);
    assert_ne!(storage.boot_id().0, [0; 16]);
    assert_eq!(storage.boot_id(), storage.boot_id());
    assert_eq!(storage.mount_id(), storage.mount_id());
    let file_system = storage.file_system().unwrap();
    assert!(!file_system.name.is_empty() && file_system.free_bytes > 0);
    assert!(!storage.describe().is_empty());
}

macro_rules! on_every_storage {
    ($($promise:ident)*) => {
        /// Every promise by its name; the function panics on an empty directory that does not keep it.
        pub const ALL: &[(&str, fn(&dyn Storage))] = &[$((stringify!($promise), $promise)),*];

        #[cfg(test)]
        mod on_os {
            $(#[test] fn $promise() {
                let folder = tempfile::tempdir().unwrap();
                super::$promise(&crate::storage::os::OsStorage::open(folder.path()).unwrap());
            })*
        }
        #[cfg(test)]
        mod on_mem {
            $(#[test] fn $promise() {
                super::$promise(&crate::storage::mem::MemStorage::new());
            })*
        }
    };
}

on_every_storage! {
    a_new_file_is_zero_and_takes_no_space
    create_never_replaces
    rename_moves_and_never_replaces
    a_removed_file_stays_good_for_those_who_have_it
    a_name_tells_whether_it_leads_to_a_file_still
    only_plain_names_are_taken
    reads_are_short_at_the_end_only
    writes_extend_and_leave_holes_of_zeros
    a_file_open_for_reading_refuses_changes
    all_handles_see_a_write_at_once
    an_empty_file_has_an_empty_mapping
    what_is_copied_into_a_mapping_is_written
    shared_words_are_one_memory_and_the_files_bytes
    allocating_keeps_bytes_and_length
    punching_gives_space_back_and_keeps_the_length
    what_is_passed_over_as_hole_is_zero
    the_lock_excludes_others_until_it_is_dropped
    bytes_are_locked_shared_or_alone
    locks_of_bytes_and_of_the_file_know_nothing_of_each_other
    a_place_is_one_files_own
    direct_reads_give_the_same_bytes_at_any_alignment
    what_is_written_once_more_stays_as_it_is
    the_machine_answers
}
