//! Stores that are not as they were written: every bit, every length, and contradictions under right checks.

use proptest::prelude::*;
use treering::checksum::Seeds;
use treering::format::batch::Sections;
use treering::format::frame::{self, Frame};
use treering::format::item::Item;
use treering::format::segment_header::{FIRST_FRAME_OFFSET, HEAD_BLOCK_BYTES, SegmentHeader};

use treering::{Fork, Position, Revision, StreamId};
use treering_tests::mutate::{self, Change, apply};

use super::*;

/// Flips a bit, verifies, and flips it back.
fn with_flipped(storage: &MemStorage, name: &str, at: u64, bit: u32, check: impl FnOnce(VerifyReport)) {
    let file = storage.open(name, Access::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, at).unwrap();
    file.write_at(&[byte[0] ^ 1 << bit], at).unwrap();
    check(verify(storage));
    file.write_at(&byte, at).unwrap();
}

/// [REC-4] Each bit below the end of the log is covered by a check, and the damage that is reported holds the bit.
#[test]
fn p05_every_flipped_bit_of_the_log_is_reported() {
    let (storage, _) = small_store();
    let (sound, _) = events(&storage);
    for (name, end) in ends(&storage) {
        for at in 0..end {
            // Every bit of a frame; of the head blocks, which are mostly padding, one bit of each byte.
            let bits = if at < FIRST_FRAME_OFFSET { at as u32 % 8..at as u32 % 8 + 1 } else { 0..8 };
            for bit in bits {
                with_flipped(&storage, &name, at, bit, |report| {
                    let found =
                        report.damage.iter().filter(|damage| damage.file == name && damage.bytes.contains(&at)).count();
                    assert_eq!(found, 1, "byte {at} bit {bit} of {name}: {:#?}", report.damage);
                    assert_eq!(report.damage.len(), 1, "byte {at} bit {bit} of {name}: {:#?}", report.damage);
                });
            }
        }
    }
    assert_eq!(events(&storage), (sound, 0));
}

#[test]
fn p05_every_flipped_bit_of_the_identity_file_is_reported_and_all_events_are_counted() {
    let (storage, _) = small_store();
    for at in 0..128 {
        for bit in 0..8 {
            with_flipped(&storage, "identity", at, bit, |report| {
                assert_eq!(report.damage.len(), 1, "byte {at} bit {bit}: {:#?}", report.damage);
                assert_eq!(report.damage[0].file, "identity");
                assert_eq!(report.events, EVENTS);
            });
        }
    }
}

/// [WMK-2] A bad slot is as good as none.
#[test]
fn p11_no_flipped_bit_of_the_watermark_or_of_void_bytes_is_damage() {
    let (storage, _) = small_store();
    let (sound, _) = events(&storage);
    let same = |name: &str, at: u64, bit: u32| {
        with_flipped(&storage, name, at, bit, |report| {
            assert!(report.is_clean(), "byte {at} bit {bit} of {name}: {:#?}", report.damage);
            assert_eq!(report.events, EVENTS, "byte {at} bit {bit} of {name}");
            assert_eq!(events(&storage).0, sound, "byte {at} bit {bit} of {name}");
        });
    };
    for slot in [0, 4096] {
        for at in slot..slot + 130 {
            same("watermark", at, at as u32 % 8);
        }
    }
    for (name, end) in ends(&storage) {
        for at in (end..SEGMENT_BYTES).step_by(61) {
            same(&name, at, at as u32 % 8);
        }
    }
}

#[test]
fn p05_every_file_that_is_cut_short_is_reported() {
    let (storage, _) = small_store();
    let files = files_of(&storage);
    for (number, (name, bytes)) in files.iter().enumerate().filter(|(_, (name, _))| !name.ends_with(".prepared")) {
        let step = if bytes.len() >= 4096 { 37 } else { 1 };
        for len in (0..bytes.len()).step_by(step).chain(bytes.len() - 1..bytes.len()) {
            let mut cut = files.clone();
            cut[number].1.truncate(len);
            let report = verify(&storage_of(&cut));
            if ["watermark", "control"].contains(&&**name) {
                assert!(report.is_clean() && report.events == EVENTS, "{name} cut to {len}: {report:#?}");
            } else if name.ends_with(".index") {
                assert!(report.is_clean() && report.events == EVENTS, "{name} cut to {len}: {report:#?}");
                assert_eq!(report.notes.len(), 1, "{name} cut to {len}: {report:#?}");
            } else if name.starts_with("directory-") || name.starts_with("checkpoint-") {
                assert!(report.is_clean() && report.events == EVENTS, "{name} cut to {len}: {report:#?}");
                // Of a run that is bad each checkpoint is noted that names it.
                assert!((1..=2).contains(&report.notes.len()), "{name} cut to {len}: {report:#?}");
            } else {
                assert!(!report.is_clean(), "{name} cut to {len}");
            }
            // Whoever reads a note has a way out of it.
            let way_out =
                if *name == "watermark" { "writers give it its length" } else { "`treering reindex` makes it anew" };
            let derived = report.notes.iter().all(|note| note.contains("it is derived") && note.contains(way_out));
            assert!(derived || name.ends_with(".segment") || *name == "identity", "{name} cut to {len}: {report:#?}");
        }
    }
}

/// Damage in two places, one of them in a body: each is named, and everything between them is still counted.
#[test]
fn p05_all_damage_is_reported_and_a_lost_body_costs_its_own_events_only() {
    let (storage, frames) = small_store();
    let body = bytes_of(&storage, &segment(0));
    let from = frames[1] as usize;
    let hello = (from + body[from..].windows(5).position(|bytes| bytes == b"hello").unwrap()) as u64;
    let header = frames[4] % SEGMENT_BYTES + 9;
    for (name, at) in [(segment(0), hello), (segment(1), header)] {
        let file = storage.open(&name, Access::ReadWrite).unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, at).unwrap();
        file.write_at(&[byte[0] ^ 4], at).unwrap();
    }
    let report = verify(&storage);
    assert_eq!(report.damage.len(), 2, "{:#?}", report.damage);
    let (first, second) = (&report.damage[0], &report.damage[1]);
    assert_eq!(
        (first.file.clone(), first.positions.clone()),
        (segment(0), Position(frames[1] + 2)..Position(frames[1] + 3))
    );
    assert_eq!(first.bytes, hello - 2..hello + 5, "metadata and payload of the event");
    assert_eq!(second.bytes.start, frames[4] % SEGMENT_BYTES);
    assert_eq!(second.positions.end, Position(frames[5]), "the next frame is sound");
    let held = |damage: &treering::Damage| -> Vec<u64> {
        let streams = damage.streams.as_deref().expect("the table says what was there");
        assert!(streams.iter().all(|stream| stream.name.is_some()), "{streams:?}");
        streams.iter().map(|stream| stream.revisions.1.0 - stream.revisions.0.0 + 1).collect()
    };
    assert_eq!((held(first), held(second)), (vec![1], vec![2, 1]), "closing left an index block behind the second");
    assert_eq!(report.events, EVENTS - 3, "the lost frame held three");
    let (read, met) = events(&storage);
    assert_eq!((read.len(), met), (EVENTS as usize - 3 - 1, 2));
}

/// Changes the frame that is the `which`th of a segment by `change` (its header, its plain part), and makes all checks and
/// the chain behind it right again. Returns the frame's offset.
fn change_and_mend(segment: &mut [u8], which: usize, change: impl Fn(&mut frame::FrameHeader, &mut [u8])) -> u64 {
    let (seeds, base, frames) = frames_of(segment);
    let mut previous_check = None;
    for (number, at) in frames.iter().enumerate().skip(which) {
        let place = Position(base + at);
        let decoded = Frame::decode(&segment[*at as usize..], seeds, place).unwrap();
        let (mut header, plain_len, len) = (decoded.header(), decoded.plain().len(), decoded.bytes().len());
        let bytes = &mut segment[*at as usize..*at as usize + len];
        if number == which {
            change(&mut header, &mut bytes[frame::FRAME_HEADER_BYTES..frame::FRAME_HEADER_BYTES + plain_len]);
        }
        header.previous_check = previous_check.unwrap_or(header.previous_check);
        previous_check = Some(frame::finish(bytes, plain_len, &header, seeds, place));
    }
    frames[which]
}

/// [IDX-4] [SEA-4] What two places say is held against each other, even where every check is right.
#[test]
fn p05_contradictions_under_right_checks_are_reported() {
    let (storage, _) = small_store_once();
    let files = files_of(storage);
    let reported = |ordinal: u64, which: usize, change: &dyn Fn(&mut frame::FrameHeader, &mut [u8])| {
        let mut files = files.clone();
        let file = files.iter_mut().find(|(name, _)| *name == segment(ordinal)).unwrap();
        let at = change_and_mend(&mut file.1, which, change);
        let report = match maintain::verify_on(Arc::new(storage_of(&files)), &mut ()) {
            // A kind, flag or codec of a later version: that is an answer too.
            Err(error) if error.kind() == ErrorKind::Unsupported => return (true, VerifyReport::default()),
            report => report.unwrap(),
        };
        // Beyond what the segment behind says of the last frame's check, and its seal of the hash.
        let inside = report.damage.iter().any(|damage| {
            damage.file == segment(ordinal) && damage.bytes.start >= at && damage.bytes.end <= SEGMENT_BYTES
        });
        (inside, report)
    };
    for ordinal in 0..2 {
        let bytes = bytes_of(storage, &segment(ordinal));
        let (seeds, base, frames) = frames_of(&bytes);
        for (which, at) in frames.iter().enumerate() {
            let plain = Frame::decode(&bytes[*at as usize..], seeds, Position(base + at)).unwrap().plain().len();
            let (inside, report) = reported(ordinal, which, &|_, _| {});
            assert!(!inside && report.is_clean(), "nothing was changed: {:#?}", report.damage);
            for place in 0..plain {
                let (inside, report) = reported(ordinal, which, &|_, plain| plain[place] ^= 1);
                assert!(inside, "segment {ordinal}, frame {which}, byte {place}: {:#?}", report.damage);
            }
            type Change = fn(&mut frame::FrameHeader);
            let mut changes: Vec<(&str, Change)> = vec![
                ("first number", |header| header.first_number += 1),
                ("kind", |header| header.kind = frame::KIND_OPEN),
                ("events", |header| header.events += 1),
            ];
            if which > 0 {
                changes.push(("witness", |header| header.witness = Some(Position::ZERO)));
            }
            if which + 1 < frames.len() {
                changes.push(("takeover", |header| header.takeover += 1));
            }
            for (name, change) in changes {
                let (inside, report) = reported(ordinal, which, &|header, _| {
                    // An open frame holds no events, or nothing decodes at all.
                    header.events = if name == "kind" { 0 } else { header.events };
                    change(header);
                });
                assert!(inside, "segment {ordinal}, frame {which}, {name}: {:#?}", report.damage);
            }
        }
    }
}

/// Where each frame behind the head block begins in a segment, with its seeds.
fn frames_of(bytes: &[u8]) -> (Seeds, u64, Vec<u64>) {
    let header = SegmentHeader::decode(bytes).unwrap();
    let (seeds, base) = (Seeds::new(header.salt), header.ordinal.0 * header.store.segment_bytes);
    let (mut at, mut frames) = (FIRST_FRAME_OFFSET, Vec::new());
    while let Ok(frame) = Frame::decode(&bytes[at as usize..], seeds, Position(base + at)) {
        frames.push(at);
        at += u64::from(frame.frame_len());
    }
    (seeds, base, frames)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p07_no_bytes_under_right_checks_make_verify_or_dump_panic(
        ordinal in 0u64..3,
        which: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (storage, _) = small_store_once();
        let mut files = files_of(storage);
        let file = files.iter_mut().find(|(name, _)| *name == segment(ordinal)).unwrap();
        let which = which.index(frames_of(&file.1).2.len());
        change_and_mend(&mut file.1, which, |_, plain| {
            for (place, value) in &changes {
                let place = place.index(plain.len());
                plain[place] = *value;
            }
        });
        let storage = storage_of(&files);
        let _ = maintain::verify_on(Arc::new(storage.clone()), &mut ());
        let mut text = Vec::new();
        maintain::dump_on(&storage, &segment(ordinal), &mut text).unwrap();
        prop_assert!(!text.is_empty());
    }

    #[test]
    fn p07_no_bytes_at_all_make_verify_or_dump_panic(
        target in 0usize..6,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        tail in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
    ) {
        let (storage, _) = small_store_once();
        let mut files = files_of(storage);
        let number = target % files.len();
        let bytes = &mut files[number].1;
        for (place, value) in &changes {
            let place = place.index(bytes.len());
            bytes[place] = *value;
        }
        if let Some(tail) = tail {
            let at = changes[0].0.index(bytes.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&tail);
        }
        let mut text = Vec::new();
        let _ = maintain::dump_bytes(bytes, &mut text).unwrap();
        let _ = maintain::verify_on(Arc::new(storage_of(&files)), &mut ());
    }

    #[test]
    fn p07_random_bytes_behind_a_right_head_are_no_frames(
        noise in prop::collection::vec(any::<u8>(), 0..4096),
        magic in prop::sample::select(vec!["TRINGSEG", "TRINGWMK", "TREERING", "TRCT", ""]),
    ) {
        let bytes = [magic.as_bytes(), &noise].concat();
        let mut text = Vec::new();
        let known = maintain::dump_bytes(&bytes, &mut text).unwrap();
        prop_assert_eq!(known, !text.is_empty());
        prop_assert!(known || magic.is_empty());
        let (storage, _) = small_store_once();
        let mut segment = bytes_of(storage, &segment(2));
        segment.truncate(2 * HEAD_BLOCK_BYTES);
        segment.extend_from_slice(&noise);
        prop_assert!(maintain::dump_bytes(&segment, &mut Vec::new()).unwrap());
    }
}

/// The small store, made once: these tests only read it.
fn small_store_once() -> &'static (MemStorage, Vec<u64>) {
    static STORE: std::sync::OnceLock<(MemStorage, Vec<u64>)> = std::sync::OnceLock::new();
    STORE.get_or_init(small_store)
}

/// What a fork says of its lineage, to be changed.
#[derive(Debug, PartialEq)]
struct Said {
    place: Position,
    depth: u64,
    jump: StreamId,
    jump_depth: u64,
    lowest: Revision,
}

type Changed<'c> = &'c dyn Fn(&mut Said);

/// The segment with another item in the fork that is its last frame, under right checks.
fn with_other_item(bytes: &[u8], change: Changed<'_>) -> Vec<u8> {
    let header = SegmentHeader::decode(bytes).unwrap();
    let at = mutate::frames_of(bytes).last().unwrap().clone();
    let position = Position(header.ordinal.0 * header.store.segment_bytes + at.start as u64);
    let frame = Frame::decode(&bytes[at.clone()], Seeds::new(header.salt), position).unwrap();
    let (mut wire, items) = Sections::new(frame).unwrap().items().unwrap();
    let counts = frame.plain().len() - wire.rest().len();
    let Item::Fork { name, parent, revision, parent_place: place, depth, jump, jump_depth, lowest } =
        Item::decode(&mut wire, position, position).unwrap()
    else {
        panic!("the last frame is a fork's")
    };
    assert_eq!((items, wire.rest().len()), (1, 0));
    let mut said = Said { place, depth, jump, jump_depth, lowest };
    change(&mut said);
    let Said { place: parent_place, depth, jump, jump_depth, lowest } = said;
    let item = Item::Fork { name, parent, revision, parent_place, depth, jump, jump_depth, lowest };
    let mut new = Vec::new();
    item.encode(&mut new, position, position);
    let mut changed = bytes.to_vec();
    apply(
        &Change::Splice { frame: at.start, range: counts..frame.plain().len(), bytes: new },
        &segment(0),
        &mut changed,
    );
    changed
}

/// [BAT-14] A fork that says something else of its lineage than the log does is found, though every check is right.
#[test]
fn p05_a_fork_that_says_something_wrong_of_its_lineage_is_found() {
    let storage = MemStorage::new();
    let store = Store::open_on(Arc::new(storage.clone()), small()).unwrap();
    let fork = |parent: &str, name: &str, at: u64| {
        let fork = Fork::new(parent, name).at(Revision(at)).durability(Durability::Written);
        store.fork(&fork).unwrap().stream
    };
    let roots = ["0", "1", "2"].map(|payload| put(&store, "root", payload.as_bytes()).position);
    let _ = fork("root", "one", 1);
    let own = put(&store, "one", b"2, its own");
    let _ = fork("one", "two", 2);
    let three = fork("two", "three", 2);
    let _ = fork("three", "last", 2);
    let bytes = bytes_of(&storage, &segment(0));
    let verified = |bytes: &[u8]| {
        let changed = storage.deep_copy().unwrap();
        changed.open(&segment(0), Access::ReadWrite).unwrap().write_at(bytes, 0).unwrap();
        for name in ["control", "watermark"] {
            let _ = changed.remove(name); // they know what was there
        }
        verify(&changed)
    };
    let same = with_other_item(&bytes, &|said| {
        let right = Said { place: own.position, depth: 4, jump: three, jump_depth: 3, lowest: Revision(2) };
        assert_eq!(*said, right);
    });
    let report = verified(&same);
    assert!(report.is_clean() && report.streams == 5, "{report:#?}");
    let wrong: [(&str, Changed<'_>); 7] = [
        // The parent's parent has that revision too: another event.
        ("does not hold it", &|said| said.place = roots[2]),
        ("does not hold it", &|said| said.place.0 += 8),
        ("that is 4", &|said| said.depth = 5),
        ("the jump link", &|said| said.jump.0 += 8),
        ("the jump link", &|said| said.jump.0 -= 8),
        ("the jump link", &|said| said.jump_depth = 2),
        ("the lowest fork revision", &|said| said.lowest.0 -= 1),
    ];
    for (number, (expected, change)) in wrong.iter().enumerate() {
        let report = verified(&with_other_item(&bytes, change));
        assert_eq!(report.damage.len(), 1, "{number}: {:#?}", report.damage);
        assert!(report.damage[0].detail.contains(expected), "{number}: {}", report.damage[0].detail);
    }
    drop(store);
}
