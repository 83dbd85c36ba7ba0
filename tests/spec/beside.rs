//! Vectors with side files that Python built from the pages: the engine uses those that count and no other.
//!
//! That the events are the same with all of them is looked at with every vector; here, what is said of the files themselves.

use std::path::Path;

use treering::format::file_name::{FileKind, parse};
use treering::{Options, Position, Revision, Store, Visibility, maintain};

use super::vectors;

/// The vectors with side files: name, folder, and what stands of each file in `expected.json`.
fn with_side_files() -> Vec<(String, std::path::PathBuf, serde_json::Value)> {
    let all = vectors::all().into_iter().map(|(name, vector)| {
        let expected = vectors::expected(&vector);
        (name, vector, expected)
    });
    let found: Vec<_> = all.filter(|(.., expected)| expected.get("side_files").is_some()).collect();
    assert!(found.len() > 8);
    found
}

fn open(folder: &Path) -> Store {
    Store::open_read_only(folder, Options::new()).unwrap()
}

/// [SID-1] [SID-2] [SIX-1] [DIR-5] Verify names each side file that does not count or that lies, and no other.
#[test]
fn verify_names_the_side_files_that_do_not_count_and_those_that_lie() {
    let mut wrong = Vec::new();
    for (name, vector, expected) in with_side_files() {
        let folder = vectors::copy(&vector);
        let report = maintain::verify(folder.path(), &mut ()).unwrap();
        for (file, state) in expected["side_files"].as_object().unwrap() {
            // What is wrong with a run is told of the checkpoint that names it.
            if matches!(parse(file), FileKind::Directory(_)) {
                continue;
            }
            let is_named = report.notes.iter().any(|note| note.starts_with(&format!("{file}: ")));
            if is_named != (state != "counts") {
                wrong.push(format!("{name}: {file} {state}, verify says {:?}", report.notes));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// [DIR-1] Opening reads from the newest checkpoint that fits, which Python made, or from the start.
#[test]
fn opening_reads_from_the_newest_checkpoint_that_fits() {
    let mut from_a_checkpoint = 0;
    for (name, vector, expected) in with_side_files() {
        let folder = vectors::copy(&vector);
        let store = open(folder.path());
        let resumes_at = expected["resumes_at"].as_u64().unwrap();
        let report = store.open_report();
        assert_eq!(report.read_from, Position(resumes_at), "{name}");
        assert_eq!(store.stat().unwrap().directory.map_or(0, |stat| stat.covered.0), resumes_at, "{name}");
        from_a_checkpoint += u64::from(resumes_at > 0);
    }
    assert!(from_a_checkpoint > 3);
}

/// [DIR-4] [SIX-2] Streams are the same by the directory and the indexes as by the log: heads, names, and each event by its
/// revision.
#[test]
fn streams_are_the_same_with_side_files_and_without() {
    for (name, vector, expected) in with_side_files() {
        let (with, without) = (vectors::copy(&vector), vectors::copy(&vector));
        for file in expected["side_files"].as_object().unwrap().keys() {
            std::fs::remove_file(without.path().join(file)).unwrap();
        }
        let (with, without) = (open(with.path()), open(without.path()));
        let streams = without.streams().unwrap();
        assert!(streams.len() > 2, "{name}");
        let mut found_events = 0;
        // Asked one by one first: a list of all is read another way.
        for stream in &streams {
            let found = with.stream(&stream.name).unwrap();
            assert_eq!(format!("{found:?}"), format!("{:?}", Some(stream)), "{name}");
            for revision in 0..=stream.head.0 + 1 {
                let event = |store: &Store| {
                    let event = store.event(&stream.name, Revision(revision), Visibility::Committed).unwrap();
                    event.map(|event| format!("{event:?}"))
                };
                assert_eq!(event(&with), event(&without), "{name}: {} {revision}", stream.name);
                // What a fork shares is its parent's.
                let own = with.event(&stream.name, Revision(revision), Visibility::Committed).unwrap();
                found_events += usize::from(own.is_some_and(|event| event.stream == stream.name));
            }
        }
        assert_eq!(found_events, expected["events"].as_array().unwrap().len(), "{name}");
        assert_eq!(format!("{:?}", with.streams().unwrap()), format!("{streams:?}"), "{name}");
        assert_eq!(without.open_report().read_from, Position::ZERO);
    }
}
