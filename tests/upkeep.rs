//! What opening and keeping a store costs the log: how many bytes recovery reads, and that no operation changes one below the
//! committed end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use treering::format::frame::{KIND_INDEX_BLOCK, KIND_SEAL};
use treering::storage::Storage;
use treering::storage::mem::MemStorage;
use treering::{BootId, Durability, Options, ReadMode, Store, SubscribeOptions, Visibility, maintain};
use treering_tests::counting::Counting;
use treering_tests::image::Image;
use treering_tests::mutate::frames_of;
use treering_tests::store::{alone, everything, noise, open, open_read_only, put, try_open, try_put};

/// Pages are fetched in stretches of this length; a header lies in at most two.
const STRETCH: u64 = 64 << 10;

fn kill(storage: &MemStorage, store: Store) {
    storage.fail_after(0, io::ErrorKind::Other, true);
    drop(store);
    storage.clear_fault();
}

/// [REC-11] Opening reads the head and the last stretches of each segment and the header and plain part of each frame, and of
/// the bodies only those that no witness covers: these at most five times (proven, written again, looked at again).
#[test]
fn p08_opening_reads_headers_and_what_no_witness_covers_and_no_more() {
    const BODY: usize = 900_000;
    let options =
        || alone().segment_bytes(4 << 20).index_stride_bytes(1 << 20).read_mode(ReadMode::Positioned).create(false);
    let storage = MemStorage::new();
    storage.set_boot_id(BootId([1; 16]));
    let store = Store::open_on(Arc::new(storage.clone()), options().create(true)).unwrap();
    let append = |store: &Store, from: u64, count: u64, level| {
        (from..from + count).for_each(|number| drop(try_put(store, "s", &noise(number, BODY), level).unwrap()));
    };
    append(&store, 0, 24, Durability::Synced);
    store.close().unwrap();
    let measure = |what: &str, unwitnessed: u64, open: &dyn Fn(Arc<dyn Storage>, Options) -> Store| {
        let counting = Counting::new(&storage);
        let store = open(Arc::new(counting.clone()), options());
        let read = counting.bytes();
        let stat = store.stat().unwrap();
        let frames = stat.events + 2 * stat.segments; // index blocks, seals, open frames
        let bound = 2 * STRETCH * frames + 4 * STRETCH * stat.segments + 5 * unwitnessed * BODY as u64;
        // A writer's background goes on to seal what was left: it reads those segments, and is no part of opening.
        let is_writer = store.sync().is_ok();
        let sealing = if is_writer { 2 * (4 << 20) * (stat.segments - stat.sealed_segments + 1) } else { 0 };
        let bound = bound + sealing;
        println!("{what}: {read} of {} bytes, at most {bound}", stat.bytes);
        assert!(read <= bound, "{what}: {read} bytes were read, {bound} are allowed");
        assert!(
            unwitnessed > 0 || is_writer || bound < stat.bytes / 2,
            "{what}: the bound says something: {bound} of {}",
            stat.bytes
        );
        store
    };
    let for_writing = |storage: Arc<dyn Storage>, options: Options| Store::open_on(storage, options).unwrap();
    let for_reading = |storage: Arc<dyn Storage>, options: Options| Store::open_read_only_on(storage, options).unwrap();
    drop(measure("closed, for reading", 0, &for_reading));
    let store = measure("closed, for writing", 0, &for_writing);
    append(&store, 24, 3, Durability::Written);
    kill(&storage, store);
    drop(measure("killed, for reading", 3, &for_reading));
    let store = measure("killed, for writing", 3, &for_writing);
    store.close().unwrap();
    storage.set_boot_id(BootId([2; 16]));
    let store = measure("another boot", 0, &for_writing);
    append(&store, 27, 2, Durability::Written);
    kill(&storage, store);
    storage.set_boot_id(BootId([3; 16]));
    let store = measure("killed, and another boot", 2, &for_writing);
    assert!(store.open_report().has_rolled);
    store.close().unwrap();
}

/// What the log is made of: of each segment the bytes up to the end of its last frame below `committed`.
fn log_of(image: &Image) -> Vec<(String, Vec<u8>)> {
    let segments = image.0.iter().filter(|(name, _)| name.ends_with(".segment"));
    segments
        .map(|(name, bytes)| {
            let end = frames_of(bytes).last().map_or(8192, |frame| frame.end);
            (name.clone(), bytes[..end].to_vec())
        })
        .collect()
}

/// Watches the files of a storage over operations.
struct Watch {
    storage: MemStorage,
    before: Image,
    done: Vec<&'static str>,
}

impl Watch {
    fn new(storage: &MemStorage) -> Watch {
        Watch { storage: storage.clone(), before: Image::take(storage), done: Vec::new() }
    }

    /// Nothing of the log has changed since the last look, nor of the identity file. Control page, watermark file and prepared
    /// segments are derived; behind the end of the log zeros are written over a torn tail, and blocks given back.
    fn look(&mut self, what: &'static str) {
        let after = Image::take(&self.storage);
        for (name, log) in log_of(&self.before) {
            let now = after.0.get(&name).unwrap_or_else(|| panic!("{what} removed {name}"));
            assert!(now.len() >= log.len() && now[..log.len()] == log[..], "{what} changed {name}");
        }
        assert_eq!(after.0.get("identity"), self.before.0.get("identity"), "{what}");
        self.before = after;
        self.done.push(what);
    }
}

#[test]
fn p10_no_operation_changes_a_byte_below_the_committed_end() {
    let storage = MemStorage::new();
    storage.set_boot_id(BootId([1; 16]));
    open(&storage).close().unwrap();
    let mut watch = Watch::new(&storage);
    let store = open(&storage);
    watch.look("opening a closed store");
    for number in 0..60u64 {
        let level = if number % 4 == 0 { Durability::Synced } else { Durability::Written };
        let len = [10, 900, 3000, 20_000][number as usize % 4];
        let _ = try_put(&store, ["a", "b"][number as usize % 2], &noise(number, len), level).unwrap();
        watch.look("append, roll, seal and index");
    }
    store.sync().unwrap();
    watch.look("sync");
    let reader = open_read_only(&storage);
    watch.look("opening for reading");
    let _ = put(&store, "a", b"followed");
    watch.look("append");
    let mut follower = reader.subscribe(SubscribeOptions::all().visibility(Visibility::Committed)).unwrap();
    while follower.try_next().unwrap().is_some() {}
    let _ = reader.event("a", treering::Revision(3), Visibility::Committed).unwrap();
    watch.look("reading and following");
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    assert!(maintain::verify_on(Arc::clone(&shared), &mut ()).unwrap().is_clean());
    watch.look("verify");
    let _ = maintain::salvage_on(Arc::clone(&shared), Arc::new(MemStorage::new()), &mut ()).unwrap();
    watch.look("salvage");
    storage.fail_after(1, io::ErrorKind::StorageFull, true);
    let _ = try_put(&store, "a", &noise(7, 30_000), Durability::Synced).unwrap_err();
    storage.clear_fault();
    watch.look("an append that does not fit");
    kill(&storage, store);
    watch.look("a kill");
    let store = open(&storage);
    watch.look("taking over after a kill");
    let _ = put(&store, "a", b"only written");
    // Killed in the middle of a write: a torn tail.
    let fault =
        treering::storage::mem::Fault { after: 0, error: io::ErrorKind::Other, sticky: true, on: None, keep: 90 };
    storage.inject(fault);
    let _ = try_put(&store, "a", b"torn", Durability::Written).unwrap_err();
    drop(store);
    storage.clear_fault();
    watch.look("a write that was cut off");
    drop(open(&storage));
    watch.look("taking over a torn tail");
    let store = open(&storage);
    let _ = put(&store, "a", b"only written, again");
    kill(&storage, store);
    storage.set_boot_id(BootId([2; 16]));
    let store = open(&storage);
    assert!(store.open_report().has_rolled);
    watch.look("taking over after a reboot");
    let end = everything(&store).len();
    store.close().unwrap();
    watch.look("close");
    // A segment is lost; what is left stays as it is through accept and what comes behind it.
    let lost = watch.before.0.keys().filter(|name| name.ends_with(".segment")).nth(2).unwrap().clone();
    storage.remove(&lost).unwrap();
    watch.before.0.remove(&lost);
    let store = try_open(&storage).unwrap();
    watch.look("opening a damaged store");
    drop(store);
    let plan = maintain::accept_plan_on(Arc::clone(&shared), &mut ()).unwrap();
    watch.look("planning an accept");
    assert!(maintain::accept_on(shared, &plan).unwrap());
    watch.look("accept");
    let store = open(&storage);
    let _ = put(&store, "a", b"behind it");
    store.close().unwrap();
    watch.look("appending behind an accept");
    assert!(end > 60 && watch.done.len() > 75, "{}", watch.done.len());
}

/// [IDX-1] Seals are appended between batches of every size: none takes a stretch so far that the next frame begins without the
/// index block that is due before it.
#[test]
fn p15_no_frame_begins_a_stride_behind_an_index_block_whoever_appends_it() {
    const STRIDE: usize = 4 << 10;
    let storage = MemStorage::new();
    let store = open(&storage);
    for number in 0..6000u64 {
        let _ = put(&store, "s", &noise(number, 300 + (number * 37 % 500) as usize));
        if number % 8 == 0 {
            store.sync().unwrap();
            store.work_in_background().unwrap();
        }
    }
    store.close().unwrap();
    let mut seals = 0;
    for (name, bytes) in Image::take(&storage).segments() {
        let mut covered = None;
        for frame in frames_of(&bytes) {
            let kind = bytes[frame.start + 4];
            let begun = *covered.get_or_insert(frame.start);
            assert!(kind == KIND_INDEX_BLOCK || frame.start - begun < STRIDE, "{name} at {}", frame.start);
            seals += u64::from(kind == KIND_SEAL);
            covered = Some(if kind == KIND_INDEX_BLOCK { frame.end } else { begun });
        }
    }
    assert!(seals > 100, "{seals} seals");
}

/// Killed in the middle of a burst, a writer leaves a log of which little lies behind its last checkpoint.
#[test]
fn p15_checkpoints_keep_up_while_a_burst_of_copies_lasts() {
    const BODY: usize = 200_000;
    const FAR: u64 = 32 << 20;
    /// Short beside the time after which a burst is taken to be over.
    const PAUSE: Duration = Duration::from_millis(2);
    const EVENTS_MAX: u64 = 4_000; // less than sixteen segments of 64 MiB
    let options = Options::new().exclusive(true).sync_interval(Duration::from_millis(1));
    let store = Store::open_on(Arc::new(MemStorage::new()), options).unwrap();
    let body = noise(0, BODY);
    let is_far = |number: u64| {
        drop(try_put(&store, "s", &body, Durability::Written).unwrap());
        if !number.is_multiple_of(10) {
            return false;
        }
        std::thread::sleep(PAUSE); // others have the processor, too
        store.stat().unwrap().directory.is_some_and(|made| made.covered.0 > FAR)
    };
    assert!((0..EVENTS_MAX).any(is_far), "{:?}", store.stat().unwrap());
}
