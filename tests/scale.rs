//! Stores that are large in one way: very many segments, very many names, names that are hard to tell apart. What is asked of them
//! costs what it costs in a small one, also where every derived file is gone.

use std::sync::Arc;

use treering::format::file_name::{self, FileKind};
use treering::storage::Storage;
use treering::storage::mem::{Fault, MemStorage, Operation};
use treering::{
    Batch, Durability, Expected, NewEvent, ReadAllOptions, ReadOptions, Revision, Store, Visibility, limits,
};
use treering_tests::counting::Counting;
use treering_tests::store::{log, noise, open_read_only, small, stream, try_put};

fn open(storage: &MemStorage) -> Store {
    Store::open_on(Arc::new(storage.clone()), small().background_threads(false)).unwrap()
}

/// Removes all that is derived from the log.
fn remove_derived(storage: &MemStorage) {
    for entry in storage.list().unwrap() {
        if !matches!(file_name::parse(&entry.name), FileKind::Segment(_) | FileKind::Identity) {
            storage.remove(&entry.name).unwrap();
        }
    }
}

/// A disk that can be read alone: whatever would change it fails.
fn make_read_only(storage: &MemStorage) {
    storage.inject(Fault {
        after: 0,
        error: std::io::ErrorKind::ReadOnlyFilesystem,
        sticky: true,
        on: Some(Operation::Write),
        keep: 0,
    });
}

#[test]
fn p15_ten_thousand_segments_cost_opening_and_reading_what_a_hundred_do() {
    const SEGMENTS: u64 = 10_000;
    let storage = MemStorage::new();
    let store = open(&storage);
    let rest = vec![9; 14_000];
    let mut costs = Vec::new();
    for number in 0..SEGMENTS {
        // Each segment holds an event of one of ten streams, and one that fills it.
        let name = format!("agent/{}", number % 10);
        let payload = number.to_le_bytes();
        let (event, filler) = ([NewEvent::new("step", &payload[..])], [NewEvent::new("filler", &rest)]);
        let batch = Batch::new().section(&name, Expected::Any, &event).section("filler", Expected::Any, &filler);
        let _ = store.append(&batch.durability(Durability::Written)).unwrap();
        if number % 50 == 49 {
            store.sync().unwrap();
            store.work_in_background().unwrap();
        }
        if number == 100 || number == SEGMENTS - 1 {
            store.sync().unwrap();
            store.work_in_background().unwrap();
            let counting = Counting::new(&storage);
            let reader = Store::open_read_only_on(Arc::new(counting.clone()), small()).unwrap();
            assert_eq!(counting.listed(), 0, "the directory is not listed");
            let opened = counting.opened();
            let last = ReadOptions::new().last(3).visibility(Visibility::Committed);
            assert_eq!(stream(&reader, "agent/0", last).len(), 3);
            let newest = ReadAllOptions::new().last(2).visibility(Visibility::Committed);
            assert_eq!(log(&reader, newest).len(), 2);
            costs.push((opened, counting.opened() - opened, reader.open_report().frames_read));
        }
    }
    assert!(store.stat().unwrap().segments >= SEGMENTS);
    store.close().unwrap();
    let [(opening, reading, _), (opening_late, reading_late, frames)] = costs[..] else { panic!("{costs:?}") };
    assert!(opening_late <= opening + 10 && reading_late <= reading + 10, "{costs:?}");
    assert!(frames <= 300, "{costs:?}: what was not covered when it was opened");

    remove_derived(&storage);
    make_read_only(&storage);
    let reader = open_read_only(&storage);
    assert!(reader.open_report().damage.is_empty());
    let events = stream(&reader, "agent/7", ReadOptions::new().visibility(Visibility::Committed));
    assert_eq!(events.len() as u64, SEGMENTS / 10);
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.payload[..], (index as u64 * 10 + 7).to_le_bytes());
    }
}

/// Streams of which each of thousands of segments, or each at the ends of the log alone, holds an event or some: the last ones are
/// found by the links between them, and any by a few steps from index to index. Counted in files that are opened.
#[test]
fn p15_streams_in_thousands_of_segments_are_found_in_a_few_steps() {
    const LAST: u64 = 50;
    let storage = MemStorage::new();
    let store = open(&storage);
    let (event, rest) = ([NewEvent::new("step", "one")], vec![9; 14_000]);
    let filler = [NewEvent::new("filler", &rest)];
    let append = |number: u64, batch: Batch<'_>| {
        // Enough sections that the segment gets an index.
        let others: Vec<String> = (0..8).map(|other| format!("other/{other}")).collect();
        let batch = others.iter().fold(batch, |batch, name| batch.section(name, Expected::Any, &event));
        let batch = batch.section("filler", Expected::Any, &filler).durability(Durability::Written);
        let _ = store.append(&batch).unwrap();
        if number % 50 == 49 {
            store.sync().unwrap();
            store.work_in_background().unwrap();
        }
    };
    let mut costs = Vec::new();
    for segments in [200, 4000_u64] {
        let names = [format!("steady/{segments}"), format!("uneven/{segments}")];
        let mut counts = [0, 0];
        for number in 0..segments {
            let events = vec![event[0]; if number % 9 == 0 { 3 } else { 1 }];
            let mut batch = Batch::new().section(&names[0], Expected::Any, &event);
            counts[0] += 1;
            if !(segments / 6..segments * 5 / 6).contains(&number) {
                batch = batch.section(&names[1], Expected::Any, &events);
                counts[1] += events.len() as u64;
            }
            append(number, batch);
        }
        // What comes then takes their ends out of what opening reads.
        (0..300).for_each(|number| append(number, Batch::new()));
        for (name, count) in names.iter().zip(counts) {
            let opened = |read: &dyn Fn(&Store)| {
                let counting = Counting::new(&storage);
                let reader = Store::open_read_only_on(Arc::new(counting.clone()), small()).unwrap();
                let before = counting.opened();
                read(&reader);
                counting.opened() - before
            };
            let last = opened(&|reader| {
                let options = ReadOptions::new().last(LAST).visibility(Visibility::Committed);
                let revisions: Vec<u64> = stream(reader, name, options).iter().map(|event| event.revision.0).collect();
                assert_eq!(revisions, (count - LAST..count).collect::<Vec<_>>());
            });
            let any = (0..count).step_by(count as usize / 37).map(|revision| {
                opened(&|reader| {
                    let revision = Revision(revision);
                    let event = reader.event(name, revision, Visibility::Committed).unwrap().expect("is there");
                    assert_eq!(event.revision, revision);
                })
            });
            costs.push((last, any.max().unwrap()));
        }
    }
    assert!(store.stat().unwrap().indexed_segments > 4500);
    println!(
        "files opened for the last {LAST} and for any one event, steady and uneven, of 200 and 4000 segments: {costs:?}"
    );
    for (last, any) in &costs {
        assert!(*last <= LAST + 10, "{costs:?}: the segments that hold them, and few indexes");
        assert!(*any <= 70, "{costs:?}: an index and its segment for each step, and a few steps for each doubling");
    }
}

/// A hundred thousand; `TREERING_NAMES` says how many else.
#[test]
fn p11_names_that_begin_alike_are_found_however_many_there_are() {
    let count = std::env::var("TREERING_NAMES").map_or(100_000, |count| count.parse().expect("a number"));
    let storage = MemStorage::new();
    let options = || small().segment_bytes(1 << 20).index_stride_bytes(64 << 10).background_threads(false);
    let store = Store::open_on(Arc::new(storage.clone()), options()).unwrap();
    let name = |number: u64| format!("tenant/one/agent/{:07}", number * 7919 % count);
    let event = [NewEvent::new("made", "x")];
    for first in (0..count).step_by(1000) {
        let names: Vec<String> = (first..(first + 1000).min(count)).map(name).collect();
        let batch = names.iter().fold(Batch::new(), |batch, name| batch.section(name, Expected::NoStream, &event));
        let _ = store.append(&batch.durability(Durability::Written)).unwrap();
        store.sync().unwrap();
        store.work_in_background().unwrap();
    }
    store.close().unwrap();
    let store = Store::open_on(Arc::new(storage.clone()), options()).unwrap();
    let stat = store.stat().unwrap();
    assert_eq!(stat.streams, count);
    assert!(stat.streams_in_memory <= 2000, "{stat:?}");
    for number in (0..count).step_by(count as usize / 97) {
        assert_eq!(store.stream(&name(number)).unwrap().expect("it is there").head, Revision(0));
        let one = ReadOptions::new().visibility(Visibility::Committed);
        assert_eq!(stream(&store, &name(number), one).len(), 1);
    }
    assert!(store.stream("tenant/one/agent/").unwrap().is_none());
    for (prefix, expected) in [
        ("tenant/one/agent/", count),
        ("tenant/one/agent/00000", 100),
        ("tenant/one/agent/0000017", 1),
        ("tenant/two", 0),
    ] {
        assert_eq!(store.streams_with_prefix(prefix).unwrap().len() as u64, expected, "{prefix}");
        let events = log(&store, ReadAllOptions::new().stream_prefix(prefix).visibility(Visibility::Committed));
        assert_eq!(events.len() as u64, expected, "{prefix}");
    }
    let _ = store.append(&Batch::to(&name(5), Expected::Exactly(Revision(0)), &event)).unwrap();
    store.close().unwrap();
}

#[test]
fn p11_names_of_any_bytes_are_told_apart() {
    let longest = "x".repeat(limits::STREAM_NAME_BYTES_MAX);
    let mut names: Vec<String> = [
        "a",
        "a\0",
        "a\0\0",
        "a\u{1}",
        "aa",
        "A",
        "a ",
        " a",
        "a\n",
        "a/",
        "a/b",
        "\u{10FFFF}",
        "\u{10FFFF}a",
        "é",
        "e\u{301}",
        "a$8192",
        "a$",
        "..",
        ".",
        "/",
        "checkpoint-0",
        "\u{FEFF}a",
        "\u{202E}a",
    ]
    .map(str::to_owned)
    .into();
    names.push(longest.clone());
    names.push(format!("{}y", &longest[1..]));
    names.extend((1..=127_u8).map(|byte| format!("byte {}", byte as char)));
    let storage = MemStorage::new();
    let store = open(&storage);
    for round in 0..3 {
        for name in &names {
            let payload = format!("{round} {name}");
            let _ = store.append(&Batch::to(name, Expected::Any, &[NewEvent::new("t", &payload)])).unwrap();
        }
        store.work_in_background().unwrap();
    }
    store.close().unwrap();
    for has_derived in [true, false] {
        if !has_derived {
            remove_derived(&storage);
            make_read_only(&storage);
        }
        let store = open_read_only(&storage);
        assert_eq!(store.open_report().frames_read < 100, has_derived);
        for name in &names {
            let events = stream(&store, name, ReadOptions::new().visibility(Visibility::Committed));
            let payloads: Vec<String> =
                events.iter().map(|event| String::from_utf8(event.payload.to_vec()).unwrap()).collect();
            assert_eq!(payloads, [0, 1, 2].map(|round| format!("{round} {name}")), "{name:?}");
            let begin_so = names.iter().filter(|other| other.starts_with(name)).count();
            assert_eq!(store.streams_with_prefix(name).unwrap().len(), begin_so, "{name:?}");
        }
        assert_eq!(store.streams().unwrap().len(), names.len());
    }
}

/// Files of a folder whose names end so, of those that this process has open, and of those that it has mapped.
fn open_and_mapped(folder: &std::path::Path, end: &str) -> (usize, usize) {
    let is_one = |path: &std::path::Path| path.starts_with(folder) && path.to_string_lossy().ends_with(end);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| entry.unwrap().path().read_link().ok());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let paths: std::collections::HashSet<&str> =
        maps.lines().filter_map(|line| line.split_once('/').map(|(_, path)| path)).collect();
    let mapped = paths.into_iter().filter(|path| is_one(&std::path::Path::new("/").join(path)));
    (open.filter(|path| is_one(path)).count(), mapped.count())
}

/// Who reads the log for checkpoints is through with a segment once one stands behind it.
#[test]
fn p20_segments_that_were_read_for_checkpoints_do_not_stay_mapped() {
    const SEGMENTS: u64 = 100;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let store = Store::open(&path, small().background_threads(false)).unwrap();
    for number in 0..SEGMENTS {
        let payload = noise(number, 14_000);
        let _ = try_put(&store, "agent", &payload, Durability::Synced).unwrap();
        store.work_in_background().unwrap(); // seals, and lets go of what it wrote
    }
    let (_, before) = open_and_mapped(&path, ".segment");
    store.reindex(&mut |_, _| ()).unwrap();
    let (_, mapped) = open_and_mapped(&path, ".segment");
    assert!(mapped < SEGMENTS as usize / 4, "{mapped} segments are mapped, {before} were before");
    assert!(store.stat().unwrap().directory.unwrap().covered.0 > (SEGMENTS - 10) * (16 << 10));
}

#[test]
fn p20_all_segments_stay_mapped_and_few_of_their_files_open() {
    const SEGMENTS: u64 = 400;
    const FILES_MAX: usize = 128;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let store = Store::open(&path, small().background_threads(false)).unwrap();
    let rest = vec![9; 14_000];
    for number in 0..SEGMENTS {
        let payload = number.to_le_bytes();
        let (event, filler) = ([NewEvent::new("step", &payload[..])], [NewEvent::new("filler", &rest)]);
        let batch = Batch::new().section("agent", Expected::Any, &event).section("filler", Expected::Any, &filler);
        let _ = store.append(&batch.durability(Durability::Written)).unwrap();
    }
    store.close().unwrap();
    let reader = Store::open_read_only(&path, small()).unwrap();
    let segments = reader.stat().unwrap().segments as usize;
    for round in 0..3 {
        for number in 0..SEGMENTS {
            // Old and new in turn, so that no few segments would do.
            let number = if number % 2 == 0 { number } else { SEGMENTS - number };
            let event = reader.event("agent", Revision(number), Visibility::Committed).unwrap().expect("it is there");
            assert_eq!(event.payload[..], number.to_le_bytes());
        }
        let (open, mapped) = open_and_mapped(&path, ".segment");
        assert!(
            open <= FILES_MAX && mapped >= segments - 1,
            "round {round}: {open} open, {mapped} of {segments} mapped"
        );
    }
}
