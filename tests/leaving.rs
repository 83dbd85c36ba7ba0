//! Streams that leave memory while a store is open: those that nobody goes on with are looked up again when they are asked for, and
//! every answer stays the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use treering::storage::mem::MemStorage;
use treering::{Batch, ErrorKind, Expected, NewEvent, Revision, Store, Visibility};
use treering_tests::store::small;

use crate::directory::{answers, fill, in_memory, names, without_directory};

/// As [`small`] makes them.
const SEGMENT_BYTES: u64 = 16 << 10;

/// Opens the store for reading, with so many streams kept in memory.
fn read_only(storage: &MemStorage, kept: usize) -> Store {
    Store::open_read_only_on(Arc::new(storage.clone()), small().streams_kept(kept)).unwrap()
}

/// Nobody asks for them, and nobody goes on with them: they are where those are that the store was not opened with.
#[test]
fn p20_streams_that_nobody_goes_on_with_leave_memory() {
    const STREAMS: u64 = 900;
    let storage = MemStorage::new();
    let open =
        |kept| Store::open_on(Arc::new(storage.clone()), small().background_threads(false).streams_kept(kept)).unwrap();
    // Of one that made all of them, then of one that was opened, and of one beside it that does not make what is derived.
    let mut others: Vec<Store> = Vec::new();
    for round in 0..3 {
        let store = open(20);
        fill(&store, 2000, STREAMS);
        // Beside others it looks at what they made when a segment is begun; what they seal is durable by then.
        for _ in 0..2 {
            for other in &others {
                other.refresh().unwrap();
                other.work_in_background().unwrap();
            }
            fill(&store, 120, STREAMS);
        }
        // Of the segment at the end and what is not in a checkpoint yet, all streams stay.
        assert!(in_memory(&store) < STREAMS / 3, "{} streams are in memory, round {round}", in_memory(&store));
        assert_eq!(store.stat().unwrap().streams, STREAMS);
        others.iter().for_each(|other| {
            other.refresh().unwrap();
            other.work_in_background().unwrap();
            assert!(in_memory(other) < STREAMS / 3, "{} streams are in memory beside it", in_memory(other));
            assert_eq!(other.stat().unwrap().streams, STREAMS);
        });
        let names = names(STREAMS);
        let expected = answers(&crate::directory::open(&without_directory(&storage)), &names);
        for store in others.iter().chain([&store]) {
            assert_eq!(answers(store, &names), expected);
            assert!(in_memory(store) >= STREAMS, "all were asked for");
            store.work_in_background().unwrap();
        }
        // They are gone on with from where they were.
        for number in (0..STREAMS).step_by(7) {
            let name = format!("agent/{number}");
            let head = expected.heads[&name].unwrap().1;
            let event = [NewEvent::new("t", "x")];
            let append = |expected| store.append(&Batch::to(&name, expected, &event));
            assert_eq!(append(Expected::NoStream).unwrap_err().kind(), ErrorKind::Conflict);
            let receipt = append(Expected::Exactly(Revision(head))).unwrap();
            assert_eq!(receipt.sections[0].first_revision, Revision(head + 1));
            store.work_in_background().unwrap();
        }
        others.push(store);
    }
}

/// Of one that only reads: those that it was asked for, and those that it met.
#[test]
fn p20_streams_leave_the_memory_of_a_process_that_only_reads() {
    const STREAMS: u64 = 900;
    const KEPT: u64 = 20;
    let storage = MemStorage::new();
    let open = || Store::open_on(Arc::new(storage.clone()), small().background_threads(false)).unwrap();
    let store = open();
    fill(&store, 2000, STREAMS);
    store.close().unwrap();
    let names = names(STREAMS);
    let expected = answers(&open(), &names);
    let reader = read_only(&storage, KEPT as usize);
    // What lies behind the checkpoint of closing is no stream's.
    assert_eq!(in_memory(&reader), 0);
    for name in &names {
        assert_eq!(reader.stream(name).unwrap().map(|it| (it.id.0, it.head.0)), expected.heads[name]);
        assert!(in_memory(&reader) <= KEPT, "{} streams are in memory", in_memory(&reader));
    }
    assert_eq!(answers(&reader, &names), expected);
    assert!(in_memory(&reader) <= KEPT, "{} streams are in memory", in_memory(&reader));
    // It follows what comes, and is asked meanwhile.
    let store = open();
    for (round, name) in names.iter().cycle().take(600).enumerate() {
        fill(&store, 5, STREAMS);
        reader.refresh().unwrap();
        let is_head = |store: &Store| store.stream(name).unwrap().map(|it| it.head);
        assert_eq!(is_head(&reader), is_head(&store), "of {name}");
        // Of the segment at the end, and of what has no checkpoint yet, all stay.
        assert!(in_memory(&reader) < STREAMS / 4, "{} streams are in memory, round {round}", in_memory(&reader));
        assert_eq!(reader.stat().unwrap().streams, store.stat().unwrap().streams);
    }
    assert_eq!(answers(&reader, &names), answers(&store, &names));
}

/// Who has not read so far must not know what it says: what it reads then would not go on where it ends.
#[test]
fn p12_a_directory_is_not_taken_up_before_all_that_it_covers_was_read() {
    const STREAMS: u64 = 400;
    let storage = MemStorage::new();
    let open = || Store::open_on(Arc::new(storage.clone()), small().background_threads(false).streams_kept(0)).unwrap();
    let (store, other) = (open(), open());
    fill(&store, 2000, STREAMS);
    let names = names(STREAMS);
    let heads = |store: &Store| -> Vec<Option<Revision>> {
        names.iter().map(|name| store.stream(name).unwrap().map(|it| it.head)).collect()
    };
    let mut further = 0;
    for round in 0..60 {
        // Streams leave, and where another segment begins they may again.
        other.refresh().unwrap();
        other.work_in_background().unwrap();
        fill(&store, 60 + round % 17, STREAMS);
        other.refresh().unwrap();
        fill(&store, 20, STREAMS);
        let covered = store.stat().unwrap().directory.unwrap().covered;
        let read = other.watermarks().committed;
        further += u64::from(covered > read && covered.0 / SEGMENT_BYTES == read.0 / SEGMENT_BYTES);
        other.work_in_background().unwrap();
        let known = heads(&other);
        other.refresh().unwrap();
        assert_eq!(heads(&other), heads(&store), "it knew {known:?}");
    }
    assert!(further > 10, "{further} times the directory reached further");
    assert_eq!(answers(&other, &names), answers(&store, &names));
}

/// Says that it is over, also where a thread fails.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn p12_a_stream_that_leaves_memory_is_found_at_every_moment() {
    find_at_every_moment(|store, _| Arc::clone(store));
}

#[test]
fn p12_a_stream_that_leaves_a_readers_memory_is_found_at_every_moment() {
    find_at_every_moment(|_, storage| Arc::new(read_only(storage, 0)));
}

/// A stream is there, and as it was, whatever moment the store is asked for it that `asked` makes of the one that is written.
fn find_at_every_moment(asked: impl FnOnce(&Arc<Store>, &MemStorage) -> Arc<Store>) {
    const STREAMS: usize = 200;
    /// The others are seen to leave, since no reader brings them back.
    const READ: usize = 100;
    const ROUNDS: usize = 10_000;
    let storage = MemStorage::new();
    let options = small().background_threads(false).streams_kept(0);
    let store = Arc::new(Store::open_on(Arc::new(storage.clone()), options).unwrap());
    let asked = asked(&store, &storage);
    let name = |number: usize| format!("agent/{number}");
    let payload = [7; 300];
    let event = [NewEvent::new("t", &payload[..])];
    let heads: Vec<AtomicU64> = (0..STREAMS).map(|_| AtomicU64::new(0)).collect();
    for number in 0..STREAMS {
        let _ = store.append(&Batch::to(&name(number), Expected::NoStream, &event)).unwrap();
    }
    asked.refresh().unwrap();
    let is_over = AtomicBool::new(false);
    let mut left = 0;
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|reader| {
                let (asked, heads, is_over) = (&asked, &heads, &is_over);
                scope.spawn(move || {
                    let mut found = 0;
                    let _over = OnDrop(is_over);
                    for number in (0..READ).cycle().skip(reader) {
                        if is_over.load(Ordering::SeqCst) {
                            break;
                        }
                        let before = heads[number].load(Ordering::SeqCst);
                        let info = asked.stream(&name(number)).unwrap().expect("it is there");
                        assert!(info.head.0 >= before, "head {} of one that was at {before}", info.head);
                        let event = asked.event(&name(number), Revision(before), Visibility::Committed).unwrap();
                        assert_eq!(event.expect("it is there").revision, Revision(before));
                        found += 1;
                    }
                    found
                })
            })
            .collect();
        let _over = OnDrop(&is_over);
        // Unevenly, so that at each moment some were left alone.
        for round in 0..ROUNDS {
            let number = (round * round / 7 + round % 5) % STREAMS;
            let head = heads[number].load(Ordering::SeqCst);
            let expected = Expected::Exactly(Revision(head));
            let _ = store.append(&Batch::to(&name(number), expected, &event)).unwrap();
            if round % 8 == 0 {
                let before = in_memory(&asked);
                store.work_in_background().unwrap();
                asked.refresh().unwrap();
                left += before.saturating_sub(in_memory(&asked));
            }
            asked.refresh().unwrap();
            heads[number].store(head + 1, Ordering::SeqCst);
        }
        is_over.store(true, Ordering::SeqCst);
        let found: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(found > 0 && left > 500, "{left} times a stream left memory, {found} times one was found");
    });
}
