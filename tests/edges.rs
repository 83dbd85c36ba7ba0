//! Stores at the edge of what can be read: what is left is served, what cannot be is an item that can be passed, and the error
//! says what probably happened and the way out.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use treering::format::file_name;
use treering::storage::Storage;
use treering::storage::mem::MemStorage;
use treering::{
    DamageClass, Durability, ErrorKind, ReadAllOptions, ReadOptions, Store, SubscribeOptions, Visibility, maintain,
};
use treering_tests::image::Image;
use treering_tests::store::{everything, noise, open, open_read_only, put, small, try_open, try_put, wait_until};

use crate::spec::vectors;

fn storage_of(files: &BTreeMap<String, Vec<u8>>) -> MemStorage {
    let storage = MemStorage::new();
    for (name, bytes) in files {
        storage.create(name, bytes.len() as u64).unwrap().write_at(bytes, 0).unwrap();
    }
    storage
}

fn vector(name: &str) -> MemStorage {
    let all = vectors::all();
    let (_, path) = all.iter().find(|(other, _)| other == name).unwrap();
    storage_of(&vectors::files(&path.join("store")))
}

fn readable(store: &Store) -> Vec<treering::Event> {
    let mut reader = store.read_all(ReadAllOptions::new().visibility(Visibility::Committed)).unwrap();
    let mut events = Vec::new();
    while let Some(next) = reader.next() {
        match next {
            Ok(event) => events.push(event.hold()),
            Err(error) => assert!(error.damage().is_some(), "{error}"),
        }
    }
    events
}

/// Refreshes until the newest event is this one; looking for it may wait for its turn.
fn refresh_until(reader: &Store, payload: &[u8]) {
    wait_until("the reader sees it", || {
        reader.refresh().unwrap();
        readable(reader).last().is_some_and(|event| event.payload == payload)
    });
}

/// The power went after a roll, before the old segment was synced: the segments behind are void, and whoever takes over leaves
/// their ordinals out.
#[test]
fn p13_a_reader_passes_a_takeover_that_leaves_out_ordinals() {
    let storage = vector("torn/old-segment-behind-roll");
    let reader = Store::open_read_only_on(Arc::new(storage.clone()), small()).unwrap();
    let before = readable(&reader);
    let ended_in = reader.open_report().epoch.segment.0;
    let writer = open(&storage);
    assert!(writer.open_report().epoch.segment.0 > ended_in + 1, "{:?}", writer.open_report().epoch);
    let _ = put(&writer, "new", b"behind the void");
    refresh_until(&reader, b"behind the void");
    for number in 0..40 {
        let _ = put(&writer, "new", &noise(number, 900)); // and on, through rolls
    }
    let _ = put(&writer, "new", b"the last");
    refresh_until(&reader, b"the last");
    assert_eq!(readable(&reader), readable(&writer));
    assert_eq!(readable(&reader).len(), before.len() + 42);
}

#[test]
fn p13_a_reader_of_a_log_that_ends_in_a_lost_segment_goes_on_with_who_accepted_that() {
    let storage = vector("damaged/missing-newest");
    let reader = Store::open_read_only_on(Arc::new(storage.clone()), small()).unwrap();
    let before = readable(&reader).len();
    assert!(reader.open_report().damage.iter().any(|damage| damage.class == DamageClass::Missing));
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let plan = maintain::accept_plan_on(Arc::clone(&shared), &mut ()).unwrap();
    assert!(maintain::accept_on(shared, &plan).unwrap());
    let writer = open(&storage);
    let _ = put(&writer, "new", b"behind the loss");
    refresh_until(&reader, b"behind the loss");
    assert_eq!(readable(&reader).len(), before + 1);
}

#[test]
fn p07_a_reader_ends_at_an_error_of_the_system_and_a_follower_goes_on_once_it_is_gone() {
    let storage = MemStorage::new();
    let store = open(&storage);
    for number in 0..150 {
        let _ = try_put(&store, "s", &noise(number, 12_000), Durability::Synced).unwrap();
    }
    store.close().unwrap();
    let whole = everything(&open_read_only(&storage));
    // Of this one the segments before the checkpoint are not open: nobody has read them.
    let store = open_read_only(&storage);
    let mut reader = store.read_all(ReadAllOptions::new()).unwrap();
    let mut follower = store.subscribe(SubscribeOptions::all()).unwrap();
    storage.fail_after(0, io::ErrorKind::Other, true);
    assert_eq!(reader.next().unwrap().unwrap_err().kind(), ErrorKind::Io);
    assert!(reader.next().is_none() && reader.next().is_none(), "any error but damage ends the reading");
    for _ in 0..3 {
        assert_eq!(follower.try_next().unwrap_err().kind(), ErrorKind::Io);
    }
    storage.clear_fault();
    let followed: Vec<_> = std::iter::from_fn(|| follower.try_next().unwrap()).collect();
    assert_eq!(followed, whole, "nothing was left out");
    assert!(reader.next().is_none(), "who was told that it ended is not surprised");
}

/// [BAT-8] Encrypted bodies, and those of a codec that nobody knows.
#[test]
fn p07_events_that_cannot_be_decoded_are_items_that_can_be_passed() {
    let storage = vector("valid/coded");
    let store = Store::open_read_only_on(Arc::new(storage.clone()), small()).unwrap();
    let mut undecoded_in_all = 0;
    for stream in store.streams().unwrap() {
        for backwards in [false, true] {
            let options = ReadOptions::new().visibility(Visibility::Committed);
            let options = if backwards { options.backwards() } else { options };
            let mut reader = store.read_stream(&stream.name, options).unwrap();
            let (mut events, mut undecoded) = (0, 0);
            while let Some(next) = reader.next() {
                let Err(error) = next else {
                    events += 1;
                    continue;
                };
                let what = error.damage().unwrap_or_else(|| panic!("{error}"));
                assert_eq!((error.kind(), what.class), (ErrorKind::Unsupported, DamageClass::Undecoded));
                let named = &what.streams.as_deref().unwrap()[0];
                assert_eq!(named.name.as_deref(), Some(&*stream.name));
                undecoded += named.revisions.1.0 - named.revisions.0.0 + 1;
            }
            assert_eq!(events + undecoded, stream.head.0 + 1, "{}", stream.name);
            undecoded_in_all += undecoded;
        }
    }
    assert!(undecoded_in_all > 0);
    assert!(maintain::verify_on(Arc::new(storage), &mut ()).unwrap().is_clean(), "nothing is damaged");
}

#[test]
fn p11_a_store_whose_only_head_block_is_lost_is_read_by_the_salt_that_the_watermark_knows() {
    let storage = MemStorage::new();
    let store = open(&storage);
    for number in 0..9 {
        let _ = try_put(&store, "s", &noise(number, 300), Durability::Synced).unwrap();
    }
    store.close().unwrap();
    let whole = everything(&open_read_only(&storage));
    let image = Image::take(&storage);
    for fill in [0, 0xEE] {
        let mut lost = image.clone();
        lost.0.get_mut(&image.last_segment()).unwrap()[..8192].fill(fill);
        lost.put_back(&storage);
        let reader = open_read_only(&storage);
        assert_eq!(readable(&reader), whole, "{fill}");
        assert!(!reader.open_report().damage.is_empty(), "{fill}");
        // With the salt of another file no frame proves itself, and nothing is invented.
        let mut other = lost.clone();
        other.0.insert("watermark".into(), Image::take(&another()).0.remove("watermark").unwrap());
        other.put_back(&storage);
        assert!(readable(&open_read_only(&storage)).is_empty());
        lost.put_back(&storage);
        let writer = open(&storage);
        assert!(writer.open_report().has_rolled && readable(&writer) == whole);
        drop(writer);
        assert_eq!(readable(&open_read_only(&storage)), whole);
    }
}

/// A closed store with other salts.
fn another() -> MemStorage {
    let storage = MemStorage::with_seed(99);
    let store = open(&storage);
    let _ = put(&store, "s", b"x");
    store.close().unwrap();
    storage
}

#[test]
fn p05_an_identity_file_of_another_store_is_called_what_it_is() {
    let storage = another();
    let mut files = Image::take(&storage).0;
    files.insert("identity".into(), Image::take(&another_store()).0.remove("identity").unwrap());
    let mixed = storage_of(&files);
    let before = Image::take(&mixed);
    for error in [
        try_open(&mixed).map(drop).unwrap_err(),
        Store::open_read_only_on(Arc::new(mixed.clone()), small()).map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Damage, "{error}");
        let text = error.to_string();
        assert!(text.contains("copied over") && text.contains("move this one away"), "{text}");
    }
    assert!(Image::take(&mixed) == before, "nothing was written");
    // The way out that it names is one.
    files.remove("identity");
    assert_eq!(readable(&open_read_only(&storage_of(&files))).len(), 1);
}

fn another_store() -> MemStorage {
    let storage = MemStorage::with_seed(100);
    open(&storage).close().unwrap();
    storage
}

/// What a disk keeps that orders nothing: derived files without the identity that was made before them.
#[test]
fn p08_a_store_that_was_half_made_is_made_again_and_a_log_without_identity_is_not() {
    let storage = MemStorage::new();
    open(&storage).close().unwrap();
    let mut files = Image::take(&storage).0;
    files.remove("identity");
    assert!(files.contains_key("watermark"));
    let half = storage_of(&files);
    let store = open(&half);
    assert!(store.open_report().is_new);
    let _ = try_put(&store, "s", b"x", Durability::Synced).unwrap();
    store.close().unwrap();
    let mut files = Image::take(&half).0;
    files.remove("identity");
    let lost = storage_of(&files);
    let before = Image::take(&lost);
    let error = try_open(&lost).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damage, "{error}");
    assert!(error.to_string().contains("no identity file") && error.to_string().contains("salvage"), "{error}");
    assert!(Image::take(&lost) == before);
    assert_eq!(readable(&open_read_only(&lost)).len(), 1);
    // Files of those names alone make no store.
    let only = storage_of(&BTreeMap::from([("control".to_owned(), b"somebody's".to_vec())]));
    assert_eq!(try_open(&only).map(drop).unwrap_err().kind(), ErrorKind::NotAStore);
}

/// As `{:?}` has it, in the message of an `expect` say.
#[test]
fn p20_what_is_printed_of_a_store_and_its_readers_does_not_grow_with_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), small()).unwrap();
    let mut lens = Vec::new();
    for _ in 0..2 {
        for number in 0..300 {
            let _ = put(&store, &format!("stream {number}"), &noise(number, 500));
        }
        let options = || ReadAllOptions::new().visibility(Visibility::Committed);
        let mut stream = store.read_stream("stream 7", ReadOptions::new().visibility(Visibility::Committed)).unwrap();
        let mut all = store.read_all(options()).unwrap();
        let (_, _) = (stream.next().unwrap().unwrap().hold(), all.next().unwrap().unwrap().hold());
        let subscription = store.subscribe(SubscribeOptions::all()).unwrap();
        lens.push([
            format!("{store:?}").len(),
            format!("{:?}", Store::open_read_only(folder.path(), small()).unwrap()).len(),
            format!("{stream:?}").len(),
            format!("{all:?}").len(),
            format!("{subscription:?}").len(),
        ]);
    }
    assert!(store.stat().unwrap().segments > 10);
    for (short, long) in lens[0].iter().zip(lens[1]) {
        assert!(long < 6_000 && long < short + 500, "{lens:?}");
    }
}

/// What another process is just making is nothing yet: neither to be written nor to be read.
#[test]
fn who_makes_a_store_is_named_until_it_is_made_or_has_ended() {
    let storage = MemStorage::new();
    let making = storage.create(&file_name::temporary(file_name::IDENTITY, 0), 0).unwrap();
    assert!(making.try_lock().unwrap());
    let hasty = small().patience(Duration::from_millis(10));
    let error = Store::open_on(Arc::new(storage.clone()), hasty).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("nothing to be read either. Try again then, or once it has ended"), "{error}");
    let read = Store::open_read_only_on(Arc::new(storage.clone()), small()).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::NotFound);
    drop(making);
    let _ = put(&open(&storage), "a", b"made");
}
