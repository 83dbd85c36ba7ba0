//! Every vector of the format, verified and dumped: what the pages say is wrong with it is what verify says.
//!
//! The vectors were made byte by byte from the pages, so that verify is judged here by something that shares no code
//! with the engine. Verify also meets what opening leaves to it: bodies and padding below the witness, and seals.

use std::path::Path;

use super::*;
use treering_tests::vectors::{all, copy, expected, files, findings, opened};

/// The differences between what verify says of a vector and what is expected.
fn differences(vector: &Path) -> Vec<String> {
    let expected = expected(vector);
    let folder = copy(vector);
    let report = maintain::verify(folder.path(), &mut ());
    let mut wrong = Vec::new();
    if files(folder.path()) != files(&vector.join("store")) {
        wrong.push("verifying changed a file".into());
    }
    for name in files(folder.path()).keys() {
        let (mut once, mut again) = (Vec::new(), Vec::new());
        let dumped = maintain::dump(folder.path().join(name), &mut once);
        let _ = maintain::dump(folder.path().join(name), &mut again);
        if dumped.is_err_and(|error| error.kind() != ErrorKind::Invalid) || once != again {
            wrong.push(format!("{name} cannot be dumped"));
        }
    }
    let exit = expected["exit"].as_str().unwrap();
    let report = match opened(exit, report) {
        Ok(report) => report,
        Err(difference) => {
            wrong.extend(difference);
            return wrong;
        }
    };
    if expected["end"] != report.committed.0 {
        wrong.push(format!("the log ends at {}, not {}", report.committed, expected["end"]));
    }
    let events = expected["events"].as_array().unwrap().len() as u64;
    let found = report.events + report.engine_events;
    if found < events {
        wrong.push(format!("{found} events, not {events} or more"));
    }
    wrong.extend(findings(&expected, &report.damage, report.torn_tail.as_ref(), true));
    wrong
}

/// [REC-4] [SEA-3]
#[test]
fn p19_verify_says_of_every_vector_what_the_pages_say() {
    let vectors = all();
    assert!(vectors.len() > 50);
    let mut wrong = Vec::new();
    for (name, vector) in &vectors {
        wrong.extend(differences(vector).into_iter().map(|difference| format!("{name}: {difference}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
