//! What a store opened for reading shows as durable where no witness says it: what the device holds, and nothing else.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;

use treering::storage::Storage;
use treering::storage::mem::Operation;
use treering::{Batch, Durability, Expected, NewEvent, ReadOptions, Store};
use treering_tests::sim::{Failure, Fault, SimStorage};
use treering_tests::store::{everything, noise, put, small, stream};

/// A store whose newest events were written and never synced, by a process that is gone. Where `sync_fails`, a sync was
/// tried, failed, and left the pages clean: another one says that all is well, and the disk does not hold them.
fn left_unsynced(sync_fails: bool) -> SimStorage {
    let sim = SimStorage::new(5);
    let process = sim.process();
    let store = Store::open_on(Arc::new(process.clone()), small()).unwrap();
    let synced = [NewEvent::new("t", "synced")];
    let _ = store.append(&Batch::to("s", Expected::Any, &synced).durability(Durability::Synced)).unwrap();
    for number in 0..5u64 {
        let payload = noise(number, 2000);
        let events = [NewEvent::new("t", &payload)];
        let _ = store.append(&Batch::to("s", Expected::Any, &events).durability(Durability::Written)).unwrap();
    }
    if sync_fails {
        process.fail(Some(Fault { after: 0, sticky: false, on: Some(Operation::Sync), how: Failure::SyncKeeps }));
        let _ = store.sync().unwrap_err();
    }
    process.kill();
    drop(store);
    sim
}

#[test]
fn p08_opening_for_reading_proves_durable_what_the_device_holds() {
    let sim = left_unsynced(false);
    let names = sim.memory().list().unwrap().len();
    let reader = Store::open_read_only_on(Arc::new(sim.process()), small()).unwrap();
    let marks = reader.watermarks();
    assert_eq!(marks.durable, marks.committed);
    assert_eq!(stream(&reader, "s", ReadOptions::new()).len(), 6, "durable readers see them");
    assert_eq!(sim.memory().list().unwrap().len(), names, "no file was made");
}

#[test]
fn p08_opening_for_reading_believes_no_sync_that_the_device_does_not_bear_out() {
    let sim = left_unsynced(true);
    let reader = Store::open_read_only_on(Arc::new(sim.process()), small()).unwrap();
    let marks = reader.watermarks();
    assert!(marks.durable < marks.committed, "{marks:?}");
    assert!(stream(&reader, "s", ReadOptions::new()).len() < 6);
    assert_eq!(everything(&reader).len(), 6);
}

#[test]
fn p08_a_sync_that_fails_leaves_a_reader_with_the_highest_witness() {
    let sim = left_unsynced(false);
    let process = sim.process();
    process.fail(Some(Fault {
        after: 0,
        sticky: true,
        on: Some(Operation::Sync),
        how: Failure::Error(io::ErrorKind::Other),
    }));
    let reader = Store::open_read_only_on(Arc::new(process), small()).unwrap();
    let marks = reader.watermarks();
    assert!(marks.durable < marks.committed, "{marks:?}");
    assert_eq!(everything(&reader).len(), 6);
}

/// On a file system that is mounted for reading only; root alone may make one.
#[test]
fn p08_a_store_on_a_read_only_file_system_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (image, mount) = (folder.path().join("image"), folder.path().join("mount"));
    std::fs::create_dir(&mount).unwrap();
    std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let run = |program: &str, arguments: &[&OsStr]| {
        let done = std::process::Command::new(program).args(arguments).output();
        done.is_ok_and(|output| output.status.success())
    };
    let (image, mount) = (image.as_os_str(), mount.as_os_str());
    let of = |text: &'static str| OsStr::new(text);
    if !run("mkfs.ext4", &[of("-q"), image]) || !run("mount", &[of("-o"), of("loop"), image, mount]) {
        eprintln!("skipped: a file system can be made and mounted by root only");
        return;
    }
    let path = Path::new(mount).join("store");
    let store = Store::open(&path, small()).unwrap();
    for number in 0..7 {
        let _ = put(&store, "s", &noise(number, 3000));
    }
    // Held events keep the segments open that they lie in, so that nothing could be mounted anew.
    let plain = |store: &Store| -> Vec<_> {
        everything(store).iter().map(|event| (event.position, event.payload.to_vec())).collect()
    };
    let events = plain(&store);
    drop(store);
    let is_read_only = run("mount", &[of("-o"), of("remount,ro"), mount]);
    let read = Store::open_read_only(&path, small()).map(|reader| (plain(&reader), reader.watermarks()));
    let unmounted = run("umount", &[mount]);
    assert!(is_read_only && unmounted);
    let (read, marks) = read.unwrap();
    assert!(read == events);
    assert_eq!(marks.durable, marks.committed);
}
