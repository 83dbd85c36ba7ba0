//! Segments that are lost as a whole, and what a writer says of them afterwards.

use treering_tests::damage::{Change, Golden, Shape, check, segment};
use treering_tests::image::Image;

/// [REC-12] Each newest segment that is lost stays reported when a writer has gone on behind it: without a head, foreign, not
/// there; known to the watermark file and not.
#[test]
fn p05_a_lost_newest_segment_stays_reported_after_a_writer_went_on() {
    let golden = Golden::new(Shape::Every);
    let name = golden.image.last_segment();
    let is_lost = |change: &dyn Fn(&mut Image)| {
        let mut image = golden.image.clone();
        change(&mut image);
        image.put_back(&golden.storage);
        let change =
            Change { what: "the newest segment is lost".into(), files: vec![name.clone()], ..Change::default() };
        check(&golden, &change, true);
        golden.put_back();
    };
    is_lost(&|image| drop(image.0.remove(&name)));
    is_lost(&|image| drop(image.0.insert(name.clone(), golden.foreign.0[&segment(0)].clone())));
    is_lost(&|image| {
        drop(image.0.insert(name.clone(), golden.foreign.0[&segment(0)].clone()));
        drop(image.0.remove("watermark"));
    });
    is_lost(&|image| {
        image.0.get_mut(&name).unwrap()[..8192].fill(0xEE);
        drop(image.0.remove("watermark"));
    });
    // With the watermark file the salt is known, and only the head is lost.
    let mut image = golden.image.clone();
    image.0.get_mut(&name).unwrap()[..8192].fill(0xEE);
    image.put_back(&golden.storage);
    let what = "the head of the newest segment".into();
    check(&golden, &Change { what, bytes: vec![(name, 0..8192)], ..Change::default() }, true);
}

/// [REC-3] Any segment is gone, and the newest has lost its head, whose salt the watermark file knows: both are reported.
#[test]
fn p05_a_segment_that_is_missing_below_one_without_a_head_is_reported() {
    let golden = Golden::new(Shape::Every);
    let newest = golden.image.last_segment();
    for (missing, _) in golden.segments().filter(|(name, _)| **name != newest) {
        let mut image = golden.image.clone();
        drop(image.0.remove(missing));
        image.0.get_mut(&newest).unwrap()[..8192].fill(0xEE);
        image.put_back(&golden.storage);
        let what = format!("{missing}, and the head of the newest segment");
        let (files, bytes) = (vec![missing.clone()], vec![(newest.clone(), 0..8192)]);
        check(&golden, &Change { what, files, bytes, ..Change::default() }, true);
        golden.put_back();
    }
}

/// A segment in the middle, and any two.
#[test]
fn p05_missing_segments_are_reported_and_the_others_are_read() {
    let golden = Golden::new(Shape::Every);
    let names: Vec<&String> = golden.segments().map(|(name, _)| name).collect();
    for (number, first) in names.iter().enumerate() {
        for second in &names[number..] {
            let mut image = golden.image.clone();
            let files: std::collections::BTreeSet<&String> = [*first, *second].into();
            for file in &files {
                image.0.remove(*file);
            }
            image.put_back(&golden.storage);
            let what = format!("without {files:?}");
            let files = files.into_iter().cloned().collect();
            check(&golden, &Change { what, files, ..Change::default() }, true);
            golden.put_back();
        }
    }
}
