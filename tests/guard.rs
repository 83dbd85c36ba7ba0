//! Files that are cut short while they are mapped: an error, not a signal.
//!
//! What may raise a signal runs in a process of its own, which is this very test binary, called again with the reader's
//! variable set. It reads one event, says so, waits until the file was cut, reads on, and ends with a code that says how
//! that went.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use treering::storage::os::OsStorage;
use treering::storage::{Access, Storage};
use treering::{Durability, ErrorKind, Options, ReadAllOptions, ReadMode, Store};
use treering_tests::store::{everything, noise, try_put};

const READER: &str = "TREERING_GUARD_READER";
const SEGMENT_BYTES: u64 = 256 << 10;
const SIGBUS: i32 = 7;
/// How the reader ends where it met an error of the kind `Io` that names file and bytes.
const TOLD: u8 = 33;

fn options(mode: ReadMode) -> Options {
    Options::new().read_mode(mode).segment_bytes(SEGMENT_BYTES).index_stride_bytes(64 << 10)
}

/// A closed store of so many segments.
fn fill(path: &Path, segments: u64) {
    let store = Store::open(path, options(ReadMode::Mapped)).unwrap();
    let payload = noise(segments, 4000);
    while store.stat().unwrap().segments < segments {
        for _ in 0..16 {
            let _ = try_put(&store, "s", &payload, Durability::Written).unwrap();
        }
    }
    store.close().unwrap();
}

fn cut(path: &Path, len: u64) {
    let file = OpenOptions::new().write(true).open(path.join(format!("{:016x}.segment", 0))).unwrap();
    file.set_len(len).unwrap();
}

/// Reads to the end; what it met that was no event.
fn read_on(store: &Store, mut first: impl FnMut()) -> Vec<treering::Error> {
    let mut reader = store.read_all(ReadAllOptions::new()).unwrap();
    let (mut events, mut errors, mut payload) = (0, Vec::new(), Vec::new());
    while let Some(event) = reader.next() {
        match event {
            Ok(event) => {
                if events == 0 {
                    payload = event.payload().to_vec();
                }
                assert!(event.payload() == payload, "nothing else is handed out");
                events += 1;
            }
            Err(error) => {
                let ends = error.damage().is_none();
                errors.push(error);
                if ends {
                    break;
                }
            }
        }
        if events == 1 {
            first();
        }
    }
    errors
}

fn is_told(errors: &[treering::Error]) -> bool {
    errors.iter().any(|error| {
        let text = error.to_string();
        error.kind() == ErrorKind::Io && text.contains(&format!("{:016x}.segment", 0)) && text.contains("bytes")
    })
}

/// Not a test of its own. Does nothing where it is run as a test.
#[test]
fn reader() {
    let Some(given) = std::env::var_os(READER) else { return };
    let given = given.into_string().unwrap();
    let (mode, path) = given.split_once(':').unwrap();
    let path = Path::new(path);
    if mode == "guarded" || mode == "elsewhere" {
        treering::guard_mapped_reads().unwrap();
        treering::guard_mapped_reads().unwrap();
    }
    let ready = || {
        let mut out = std::io::stdout().lock();
        out.write_all(b"\nready\n").unwrap();
        out.flush().unwrap();
        let _ = std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    };
    if mode == "elsewhere" {
        // Mappings that are written to are nobody's but the writer's: a fault there is passed on.
        let storage = OsStorage::open(path).unwrap();
        let file = storage.open("elsewhere", Access::ReadWrite).unwrap();
        let mut mapping = file.map_writable(0..8192).unwrap();
        ready();
        mapping.copy_in(4096, b"lost").unwrap();
        std::process::exit(0);
    }
    let read_mode = if mode == "positioned" { ReadMode::Positioned } else { ReadMode::Mapped };
    let store = Store::open_read_only(path, options(read_mode)).unwrap();
    let errors = read_on(&store, ready);
    std::process::exit(if is_told(&errors) { i32::from(TOLD) } else { 1 });
}

/// Runs the reader; `cut` is called when it has read an event.
fn run(mode: &str, path: &Path, cut: impl FnOnce()) -> ExitStatus {
    let mut reader = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "guard::reader", "--nocapture", "--test-threads=1"])
        .env(READER, format!("{mode}:{}", path.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"), "the reader comes to its first event");
    cut();
    reader.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    reader.wait().unwrap()
}

#[test]
fn p07_a_file_that_is_cut_short_under_a_guarded_reader_is_an_error_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 2);
    let status = run("guarded", folder.path(), || cut(folder.path(), 16 << 10));
    assert_eq!((status.signal(), status.code()), (None, Some(i32::from(TOLD))));
}

/// What the guard is for: the same without it.
#[test]
fn a_file_that_is_cut_short_under_an_unguarded_reader_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 2);
    let status = run("unguarded", folder.path(), || cut(folder.path(), 16 << 10));
    assert_eq!(status.signal(), Some(SIGBUS));
}

#[test]
fn p07_a_file_that_is_cut_short_under_a_positioned_reader_is_an_error_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 4);
    let status = run("positioned", folder.path(), || cut(folder.path(), 64 << 10));
    assert_eq!((status.signal(), status.code()), (None, Some(i32::from(TOLD))));
}

/// A reader of another process's store goes on behind what it has read into memory, wherever it looked before.
#[test]
fn p13_a_positioned_reader_follows_the_writer_through_rolls() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Store::open(folder.path(), options(ReadMode::Mapped)).unwrap();
    let reader = Store::open_read_only(folder.path(), options(ReadMode::Positioned)).unwrap();
    for round in 0..400u64 {
        let _ = try_put(&writer, "s", &noise(round, 2000), Durability::Written).unwrap();
        reader.refresh().unwrap();
        if round % 10 == 0 {
            let read = everything(&reader);
            assert_eq!(read.len() as u64, round + 1);
            assert!(read.last().unwrap().payload[..] == noise(round, 2000)[..]);
        }
    }
    assert!(reader.stat().unwrap().segments > 2);
    let held = everything(&reader);
    drop(reader);
    writer.close().unwrap();
    for (round, event) in held.iter().enumerate() {
        assert!(event.payload[..] == noise(round as u64, 2000)[..], "events own their bytes");
    }
}

#[test]
fn p07_a_fault_that_is_not_the_guards_still_ends_the_process() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let storage = OsStorage::open(folder.path()).unwrap();
    let file = storage.create("elsewhere", 8192).unwrap();
    file.allocate(0..8192).unwrap();
    if file.map_writable(0..8192).is_err() {
        eprintln!("skipped: the file system of the build takes no mapped stores");
        return;
    }
    let status = run("elsewhere", folder.path(), || {
        OpenOptions::new().write(true).open(folder.path().join("elsewhere")).unwrap().set_len(0).unwrap();
    });
    assert_eq!(status.signal(), Some(SIGBUS));
}

/// Without any guard: the pages behind the cut were not fetched yet, and fetching them is what fails.
#[test]
fn p07_a_page_that_cannot_be_had_is_an_error_before_it_is_lent() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 36);
    let store = Store::open_read_only(folder.path(), options(ReadMode::Mapped)).unwrap();
    let errors = read_on(&store, || cut(folder.path(), 64 << 10));
    assert!(is_told(&errors), "{errors:?}");
}
