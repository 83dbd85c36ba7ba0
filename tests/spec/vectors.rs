//! Every vector, opened by the engine, and gone on with: the work is in `support/vectors.rs`.

pub(crate) use treering_tests::vectors::{all, copy, differences, expected, files, go_on, read_all};

/// [STO-5] [SEG-3] [SEG-9] [FRM-4] [FRM-5]
#[test]
fn the_engine_says_of_every_vector_what_the_pages_say() {
    let mut wrong = Vec::new();
    let vectors = all();
    assert!(vectors.len() > 50);
    for (name, vector) in &vectors {
        wrong.extend(differences(vector).into_iter().map(|difference| format!("{name}: {difference}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// [REC-2] What is served is the same after a recovery, after what it appended, and after opening again; every byte
/// below the end of the log stays. A store that a writer must refuse is left as it is.
#[test]
fn every_vector_is_gone_on_with_as_the_pages_say() {
    let mut wrong = Vec::new();
    for (name, vector) in all() {
        wrong.extend(go_on(&name, &vector).into_iter().map(|difference| format!("{name}: {difference}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
