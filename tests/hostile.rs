//! Hostile files, opened as a store: whatever stands in them under right checks, every call returns, hands out nothing that was
//! never written, and asks for no more memory than such files deserve.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use treering::storage::Storage;
use treering::storage::mem::MemStorage;
use treering::{
    Batch, Compression, Durability, Expected, Fork, NewEvent, ReadAllOptions, ReadOptions, Store, SubscribeOptions,
    Visibility, maintain,
};
use treering_tests::image::Image;
use treering_tests::mutate;
use treering_tests::store::{PATIENCE, everything, noise, small, try_put};

use crate::spec::vectors;

/// The address space that the sweep gets, in KiB: what the test program takes before it begins (binary, stacks, standard
/// library), and room for stores of at most 64 KiB.
const ADDRESS_SPACE_KIB: u64 = 256 << 10;
/// A store of three small segments has fewer events and places of damage than this: who hands out more goes in circles.
const STEPS_MAX: usize = 20_000;
/// A change that keeps the sweep for longer is a hang.
const HANG: Duration = PATIENCE;

/// Where it panicked last.
static PANICKED: Mutex<String> = Mutex::new(String::new());
/// What is being tried, for the watchdog and for the report.
static TRYING: Mutex<(u64, String)> = Mutex::new((0, String::new()));

fn storage_of(image: &Image) -> MemStorage {
    let storage = MemStorage::new();
    for (name, bytes) in &image.0 {
        storage.create(name, bytes.len() as u64).unwrap().write_at(bytes, 0).unwrap();
    }
    storage
}

/// Every payload that the store hands out, by every way of reading.
fn payloads(store: &Store) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    let committed = ReadAllOptions::new().visibility(Visibility::Committed);
    let mut steps = 0;
    let mut step = || {
        steps += 1;
        assert!(steps < STEPS_MAX, "reading does not end");
    };
    if let Ok(mut reader) = store.read_all(committed) {
        while let Some(next) = reader.next() {
            step();
            match next {
                Ok(event) => drop(found.insert(event.payload().to_vec())),
                Err(error) if error.damage().is_some() => {}
                Err(_) => break,
            }
        }
        let _ = reader.token();
    }
    for stream in store.streams().unwrap() {
        for backwards in [false, true] {
            let options = ReadOptions::new().visibility(Visibility::Committed);
            let options = if backwards { options.backwards() } else { options };
            let Ok(mut reader) = store.read_stream(&stream.name, options) else { continue };
            while let Some(next) = reader.next() {
                step();
                match next {
                    Ok(event) => drop(found.insert(event.payload().to_vec())),
                    Err(error) if error.damage().is_some() => {}
                    Err(_) => break,
                }
            }
        }
        let _ = store.event(&stream.name, stream.head, Visibility::Committed);
        let _ = store.fork_point(&stream.name);
        let _ = store.lineage(&stream.name).map(|points| points.iter().for_each(|_| step()));
    }
    for fork in store.forks().unwrap_or_default() {
        step();
        let _ = store.parting(&fork.name, &fork.parent_name);
    }
    if let Ok(mut subscription) = store.subscribe(SubscribeOptions::all().visibility(Visibility::Committed)) {
        while let Ok(Some(event)) = subscription.try_next() {
            step();
            found.insert(event.payload.to_vec());
        }
    }
    found
}

/// Does with a store all that can be done; nothing but `written` may come out.
fn exercise(image: &Image, written: &BTreeSet<Vec<u8>>) {
    let storage = storage_of(image);
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let check = |store: &Store| {
        let found = payloads(store);
        let strange = found.difference(written).next();
        assert!(strange.is_none(), "never written: {strange:?}");
    };
    if let Ok(store) = Store::open_read_only_on(Arc::clone(&shared), small()) {
        check(&store);
        let _ = store.stat();
        let _ = store.refresh();
    }
    let _ = maintain::verify_on(Arc::clone(&shared), &mut ());
    for name in image.0.keys() {
        let _ = maintain::dump_on(&*shared, name, &mut std::io::sink());
    }
    let _ = maintain::salvage_on(Arc::clone(&shared), Arc::new(MemStorage::new()), &mut ());
    assert!(Image::take(&storage) == *image, "reading changed a file");
    let _ = maintain::accept_plan_on(Arc::clone(&shared), &mut ())
        .map(|plan| maintain::accept_on(Arc::clone(&shared), &plan));
    if let Ok(store) = Store::open_on(Arc::clone(&shared), small()) {
        for stream in
            store.streams().unwrap().iter().take(4).map(|stream| stream.name.to_string()).chain(["new".into()])
        {
            let _ = try_put(&store, &stream, b"appended", Durability::Synced);
            let _ = store.fork(&Fork::new(&stream, &format!("fork of {stream}")).durability(Durability::Written));
        }
        check(&store);
        let _ = store.close();
    }
    if let Ok(store) = Store::open_read_only_on(shared, small()) {
        check(&store);
    }
}

/// Stores with every kind of frame, section and item: those of the vectors, and one of the engine's own with all its files.
fn stores() -> Vec<(String, Image)> {
    let wanted = [
        "valid/items",
        "valid/forks",
        "valid/forks-in-segments",
        "valid/fields",
        "valid/jumbo",
        "valid/several-streams",
        "valid/index-jumps",
        "valid/segments",
        "damaged/accepted",
        "damaged/accepted-heads",
        "damaged/forks-frame",
        "damaged/header",
        "damaged/head-blocks-both",
        "void/tear-then-roll",
        "torn/whole-frames-behind",
        "copied/early-segment",
    ];
    let all = vectors::all().into_iter().filter(|(name, _)| wanted.contains(&name.as_str()));
    let mut stores: Vec<_> = all.map(|(name, path)| (name, Image(vectors::files(&path.join("store"))))).collect();
    assert_eq!(stores.len(), wanted.len());
    stores.push(("own".into(), own()));
    stores
}

/// A store that was closed, killed and opened again, with coded sections.
fn own() -> Image {
    let storage = MemStorage::new();
    let options = || small().compression(Some(Compression { level: 1, min_bytes: 64 }));
    for life in 0..3u64 {
        let store = Store::open_on(Arc::new(storage.clone()), options()).unwrap();
        for number in 0..8u64 {
            let noise = noise(life * 10 + number, 400);
            let text = "again and again ".repeat(20);
            let events =
                [NewEvent::new("noise", &noise).id("i").metadata("{}"), NewEvent::new("text", &text).occurred_at(-1)];
            let batch = Batch::to("a", Expected::Any, &events).section("b", Expected::Any, &events[1..]);
            let _ = store.append(&batch.durability(Durability::Synced)).unwrap();
        }
        if life == 1 {
            storage.fail_after(0, std::io::ErrorKind::Other, true);
            drop(store);
            storage.clear_fault();
        } else {
            store.close().unwrap();
        }
    }
    Image::take(&storage)
}

/// Ends the program when one change takes for ever.
fn watch() {
    std::thread::spawn(|| {
        let mut last = u64::MAX;
        loop {
            std::thread::sleep(HANG);
            let trying = TRYING.lock().unwrap().clone();
            if trying.0 == last {
                eprintln!("this does not end: {}", trying.1);
                std::process::exit(9);
            }
            last = trying.0;
        }
    });
}

/// The sweep itself, which the test below starts in a process of its own. Of all changes each `EVERY`th is tried.
#[test]
#[ignore = "it runs in a process of its own, whose memory is limited"]
fn sweep_of_hostile_fields() {
    let every: usize = std::env::var("TREERING_HOSTILE_EVERY").map_or(1, |every| every.parse().unwrap());
    watch();
    // What panicked is told at the end, each place a few times.
    std::panic::set_hook(Box::new(|info| *PANICKED.lock().unwrap() = info.to_string()));
    let mut tried = 0u64;
    let mut failed = Vec::new();
    for (store, image) in stores() {
        let reader = Store::open_read_only_on(Arc::new(storage_of(&image)), small()).map(|store| payloads(&store));
        let mut written = reader.unwrap_or_default();
        written.insert(b"appended".to_vec());
        // Damage and early ends may hide events from readers that a change brings back.
        written.extend(image.0.values().flat_map(|bytes| mutate::payloads_of(bytes)));
        let files: Vec<_> = image.0.iter().filter(|(name, _)| !name.ends_with(".prepared")).collect();
        for (name, bytes) in files {
            let changes = mutate::changes_of(name, bytes);
            for change in changes.iter().skip(tried as usize % every).step_by(every) {
                tried += 1;
                *TRYING.lock().unwrap() = (tried, format!("{store} {name} {change:?}"));
                let mut image = image.clone();
                mutate::apply(change, name, image.0.get_mut(name).unwrap());
                if catch_unwind(AssertUnwindSafe(|| exercise(&image, &written))).is_err() {
                    failed.push((PANICKED.lock().unwrap().clone(), format!("{store} {name} {change:?}")));
                }
            }
        }
    }
    println!("{tried} changes");
    assert!(tried > 3000, "{tried}");
    failed.sort();
    failed.dedup_by_key(|(panicked, _)| panicked.chars().take(120).collect::<String>());
    for (panicked, change) in &failed {
        println!("{}\n    after {change}", panicked.chars().take(400).collect::<String>());
    }
    assert!(failed.is_empty(), "{} different panics", failed.len());
}

/// Ten thousand names that mean nothing, and everything a name can lead to in place of a segment or a derived file.
#[test]
fn p07_a_folder_full_of_odd_things_is_read_past_them_and_they_are_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    for life in 0..2u64 {
        let store = Store::open(&path, small()).unwrap();
        (0..40).for_each(|number| {
            drop(try_put(&store, "s", &noise(life * 40 + number, 400), Durability::Synced).unwrap())
        });
        store.close().unwrap();
    }
    let sound = everything(&Store::open_read_only(&path, small()).unwrap());
    let next = std::fs::read_dir(&path).unwrap().count() as u64 + 10;
    let segment = |ordinal: u64| path.join(format!("{ordinal:016x}.segment"));
    for number in 0..10_000u32 {
        let name = match number % 5 {
            0 => [b"odd-", number.to_le_bytes().map(|byte| byte | 0x80).as_slice()].concat(), // no UTF-8
            1 => format!("{number:016X}.SEGMENT").into_bytes(),
            2 => format!("{number:x}.segment").into_bytes(),
            3 => format!(" \n\u{1b}[2J{number}{}", "x".repeat(200)).into_bytes(),
            _ => format!("{number:016x}.segment.copy").into_bytes(),
        };
        std::fs::write(path.join(OsStr::from_bytes(&name)), "").unwrap();
    }
    // Names that are used, with something else behind them.
    std::fs::remove_file(path.join("watermark")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path.join("watermark")).unwrap();
    let _ = std::fs::remove_file(path.join("control"));
    assert!(Command::new("mkfifo").arg(path.join("control")).status().unwrap().success());
    std::fs::create_dir(path.join("0000000000000005.prepared")).unwrap();
    let reader = Store::open_read_only(&path, small()).unwrap();
    assert_eq!(readable(&reader), sound);
    let report = maintain::verify(&path, &mut ()).unwrap();
    assert_eq!(report.events as usize, sound.len());
    assert!(report.is_clean() && report.notes.len() >= 10_000, "{} {:?}", report.notes.len(), report.damage);
    let store = Store::open(&path, small()).unwrap();
    let _ = try_put(&store, "s", b"beside all that", Durability::Synced).unwrap();
    store.close().unwrap();
    let sound = everything(&Store::open_read_only(&path, small()).unwrap());
    // In place of later segments: each is told of, since a segment of that name may have been there.
    std::fs::create_dir(segment(next)).unwrap();
    std::os::unix::fs::symlink(segment(0), segment(next + 2)).unwrap();
    std::fs::hard_link(segment(0), segment(next + 4)).unwrap();
    assert!(Command::new("mkfifo").arg(segment(next + 6)).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(segment(next + 8)).unwrap();
    std::fs::write(segment(next + 10), "").unwrap();
    std::fs::write(segment(u64::MAX), "").unwrap();
    let reader = Store::open_read_only(&path, small()).unwrap();
    assert_eq!(readable(&reader), sound);
    let report = maintain::verify(&path, &mut ()).unwrap();
    for ordinal in (0..=10).step_by(2).map(|odd| next + odd) {
        let name = format!("{ordinal:016x}.segment");
        assert!(report.damage.iter().any(|damage| damage.file == name), "{name}: {:?}", report.damage);
        assert!(reader.open_report().damage.iter().any(|damage| damage.file == name), "{name}");
    }
    let text = format!("{:?}", report.damage);
    assert!(text.contains("no regular file") && text.contains("renamed or copied over"), "{text}");
    // Nobody appends where streams may have had later events, before that is accepted.
    let store = Store::open(&path, small()).unwrap();
    let refused = try_put(&store, "s", b"x", Durability::Synced).unwrap_err();
    assert_eq!(refused.kind(), treering::ErrorKind::HeadUnknown, "{refused}");
}

/// Every event that can be read, past damage.
fn readable(store: &Store) -> Vec<treering::Event> {
    let mut reader = store.read_all(ReadAllOptions::new().visibility(Visibility::Committed)).unwrap();
    let mut events = Vec::new();
    while let Some(next) = reader.next() {
        events.extend(next.ok().map(|event| event.hold()));
        assert!(events.len() < STEPS_MAX);
    }
    events
}

/// A body that shrinks further than any reader believes is stored as it is: who wrote it can read it.
#[test]
fn p07_what_shrinks_beyond_belief_is_stored_as_it_is() {
    let storage = MemStorage::new();
    let options = || small().compression(Some(Compression { level: 3, min_bytes: 64 }));
    let store = Store::open_on(Arc::new(storage.clone()), options()).unwrap();
    let text: String = (0..5000).map(|number| format!("line {number}; ")).collect();
    let (zeros, text) = (vec![0; 4 << 20], text.into_bytes());
    let _ = try_put(&store, "s", &zeros, Durability::Synced).unwrap();
    let _ = try_put(&store, "s", &text, Durability::Synced).unwrap();
    store.close().unwrap();
    let store = Store::open_on(Arc::new(storage), options()).unwrap();
    assert_eq!(store.stat().unwrap().coded_raw_bytes, text.len() as u64);
    let events = everything(&store);
    assert!(events[0].payload[..] == zeros && events[1].payload[..] == text);
}

/// Ten thousand empty files with names of segments: opening does not take the square of them.
#[test]
fn p07_ten_thousand_empty_segments_are_told_of_and_the_log_is_read() {
    let mut image = own();
    let storage = storage_of(&image);
    let sound = everything(&Store::open_read_only_on(Arc::new(storage), small()).unwrap());
    for number in 0..10_000u64 {
        image.0.insert(format!("{:016x}.segment", 100 + number * 3), Vec::new());
    }
    let storage = storage_of(&image);
    let reader = Store::open_read_only_on(Arc::new(storage.clone()), small()).unwrap();
    assert_eq!(readable(&reader), sound);
    assert!(reader.open_report().damage.len() >= 10_000, "each of them");
    assert!(maintain::verify_on(Arc::new(storage), &mut ()).unwrap().damage.len() >= 10_000);
}

#[test]
fn p07_every_field_at_its_extremes_is_refused_or_read_within_bounded_memory() {
    let program = std::env::current_exe().unwrap();
    let every = std::env::var("TREERING_HOSTILE_EVERY").unwrap_or_else(|_| "97".into());
    let script = format!(
        "ulimit -v {ADDRESS_SPACE_KIB} && exec \"$0\" --exact hostile::sweep_of_hostile_fields --ignored --nocapture \
         --test-threads=1"
    );
    let output = Command::new("sh")
        .args([Path::new("-c"), Path::new(&script), &program])
        .env("MALLOC_ARENA_MAX", "1")
        .env("TREERING_HOSTILE_EVERY", every)
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("changes"), "{}\n{out}\n{error}", output.status);
}
