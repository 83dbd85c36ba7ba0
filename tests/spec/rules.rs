//! Rules of the pages that a single structure or a single vector shows: what is refused, and what is passed over.
//!
//! A vector that is named here for a rule is one that breaks or needs it; what the engine must say of it stands in its
//! `expected.json`, and all of it is compared.

use std::process::Command;

use treering::checksum::{Seeds, long_check};
use treering::format::chain::{CHAIN_START, CanonicalEvent, Link, link};
use treering::format::frame::{self, FRAME_HEADER_BYTES, Frame, FrameHeader, KIND_BATCH};
use treering::format::index_block::IndexBlock;
use treering::format::item::Item;
use treering::format::store_block::StoreBlock;
use treering::format::token::Token;
use treering::format::watermark::Watermark;
use treering::format::wire::Wire;
use treering::format::{Fault, batch};
use treering::{Batch, BatchId, DamageClass, Expected, NewEvent, Options, Position, ReadOptions, Salt, Store};

use super::layout::{encode, range, raw};
use super::{pages, tables, vectors};

fn shown_by(names: &[&str]) {
    let all = vectors::all();
    for name in names {
        let (_, vector) = all.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("no vector {name}"));
        let differences = vectors::differences(vector);
        assert!(differences.is_empty(), "{name}: {differences:?}");
    }
}

/// [SEG-2] [SEG-3] Either copy of the head block serves; a bad one is reported.
#[test]
fn either_head_block_serves() {
    shown_by(&["damaged/head-block-first", "damaged/head-block-copy"]);
}

/// [SEG-4] Nothing of a foreign segment is returned.
#[test]
fn a_foreign_segment_is_reported_and_not_read() {
    let all = vectors::all();
    let (_, vector) = all.iter().find(|(name, _)| name == "damaged/foreign-segment").unwrap();
    let folder = vectors::copy(vector);
    let store = Store::open_read_only(folder.path(), Options::new()).unwrap();
    let foreign: Vec<_> =
        store.open_report().damage.iter().map(|damage| (damage.class, damage.bytes.clone())).collect();
    assert_eq!(foreign, [(DamageClass::Foreign, 0..16 << 10)]);
    let (events, _, _) = vectors::read_all(&store);
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event["position"].as_u64().unwrap() > 16 << 10));
}

/// [SEG-5] Nothing of a stale segment is returned. [SEG-9] [SEG-10] Nothing is read of void and of prepared segments.
#[test]
fn stale_void_and_prepared_segments_are_not_read() {
    shown_by(&["damaged/stale-segment", "void/whole-segment", "void/whole-frames-then-roll", "valid/other-files"]);
}

/// [WMK-6] A slot that contradicts itself under a right check is none.
#[test]
fn a_slot_that_contradicts_itself_is_none() {
    let good = Watermark::decode(&pages::bytes("watermark_slot")).unwrap();
    let most = Position(1 << 63);
    for bad in [
        Watermark { last_frame: good.durable, ..good },
        Watermark { durable: Position(most.0 + 8), ..good },
        Watermark { last_index_block: Position(good.last_frame.0 + 8), ..good },
        Watermark { next_number: most.0 + 1, ..good },
    ] {
        assert!(matches!(Watermark::decode(&bad.encode()), Err(Fault::Bad(_))), "{bad:?}");
    }
    assert!(Watermark::decode(&Watermark { durable: most, next_number: most.0, ..good }.encode()).is_ok());
}

/// [STO-1] Derived files of any content, or none, change no event. [WMK-2] Another store's watermark raises no witness.
#[test]
fn derived_files_change_no_event() {
    shown_by(&["valid/other-files"]);
    for name in ["valid/segments", "valid/jumbo", "torn/garbage"] {
        let all = vectors::all();
        let (_, vector) = all.iter().find(|(other, _)| other == name).unwrap();
        let read = |change: &dyn Fn(&std::path::Path)| {
            let folder = vectors::copy(vector);
            change(&folder.path().join("watermark"));
            vectors::read_all(&Store::open_read_only(folder.path(), Options::new()).unwrap()).0
        };
        let events = read(&|_| {});
        for bytes in [&b""[..], b"short", &[0xA5; 8192], &[0; 9000]] {
            assert_eq!(read(&|path| std::fs::write(path, bytes).unwrap()), events, "{name}");
        }
        assert_eq!(read(&|path| drop(std::fs::remove_file(path))), events, "{name}");
    }
}

/// [STO-4] [STO-5] [GEN-4] [FRM-7] [BAT-13] Other versions and unknown features, kinds, flags and items, passed over or
/// refused by their ranges. [GEN-5] What is required is served up to there, then reading ends with *unsupported*.
#[test]
fn other_versions_are_read_refused_or_passed_over() {
    shown_by(&["valid/newer-major", "valid/newer-minor", "valid/incompatible-feature", "valid/read-only-feature"]);
    shown_by(&["valid/required-kind", "valid/required-flag", "valid/required-item", "valid/required-section-flag"]);
}

/// [STO-7] A bad identity file is reported, and the segments serve for reading; nobody appends.
#[test]
fn a_bad_identity_file_hides_nothing() {
    shown_by(&["damaged/identity"]);
    let all = vectors::all();
    let (_, vector) = all.iter().find(|(name, _)| name == "damaged/identity").unwrap();
    let folder = vectors::copy(vector);
    assert!(Store::open(folder.path(), Options::new()).is_err());
    assert_eq!(vectors::files(folder.path()), vectors::files(&vector.join("store")));
}

/// [FRM-2] [BAT-10] [BAT-11] Rot in a body hides the events that it touches, and no other. [BAT-7] The stored check of a
/// coded section is looked at before it is decoded. [BAT-8] What cannot be decoded keeps its place.
#[test]
fn rot_in_bodies_hides_what_it_touches() {
    shown_by(&["damaged/payload", "damaged/coded-section", "valid/coded"]);
}

/// [FRM-3] Whole frames that do not continue the chain are not log.
#[test]
fn whole_frames_outside_the_chain_are_not_read() {
    shown_by(&["torn/second-frame-of-a-dead-writer", "torn/whole-frames-behind", "void/whole-frames-then-roll"]);
}

/// [REC-3] A missing segment is reported, and what lies behind it is read. [REC-4] [IDX-6] So is any other damage.
/// [REC-5] Nothing that lies in a payload is taken for a frame.
#[test]
fn damage_is_reported_and_read_around() {
    shown_by(&["damaged/missing-middle", "damaged/header", "damaged/tables", "damaged/zeroed-block"]);
    shown_by(&["damaged/frame-in-a-payload", "damaged/first-of-a-group", "damaged/lost-write"]);
}

/// [BAT-14] [BAT-15] A fork reads as its own from behind its fork revision, eleven deep, over segments, and where index blocks
/// alone still say that it is one; one that is older than its parent is refused.
#[test]
fn forks_are_placed_behind_their_parents() {
    shown_by(&["valid/forks", "valid/items", "valid/forks-in-segments", "damaged/forks-frame"]);
    let body = |parent_back: i128| {
        let fields = [
            ("name_length", 1.into()),
            ("name", raw("x")),
            ("parent_back", parent_back.into()),
            ("fork_revision", 0.into()),
            ("place_back", 1.into()),
            ("depth", 1.into()),
            ("jump_back", 8.into()),
            ("jump_depth", 0.into()),
            ("lowest_back", 0.into()),
        ];
        let body = encode("fork", &fields);
        encode("item", &[("kind", 1.into()), ("length", (body.len() as u64).into()), ("body", raw(body))])
    };
    let decode = |bytes: &[u8]| Item::decode(&mut Wire::new(bytes), Position(9000), Position(9000)).map(|_| ());
    assert_eq!(decode(&body(8)), Ok(()));
    assert!(matches!(decode(&body(0)), Err(Fault::Bad(_))));
}

/// What the engine does not look at yet, the independent reader does: its tests show the contradictions that it finds.
/// [BAT-16] [BAT-17] [SEA-3] [CHN-2]
#[test]
fn the_independent_reader_finds_contradictions_under_right_checks() {
    let mut python = Command::new("python3");
    python.args(["-m", "unittest", "test_reader.Contradictions", "test_reader.Vectors"]);
    python.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(pages::folder().join("reader"));
    match python.output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => eprintln!("skipped: python3 cannot be run: {error}"),
    }
}

/// [GEN-2] A reserved byte or bit that is set under a right check is bad.
#[test]
fn reserved_bytes_are_refused_under_right_checks() {
    let again = |bytes: &mut [u8]| {
        let upto = bytes.len() - 8;
        let check = long_check(0, &bytes[..upto]);
        bytes[upto..].copy_from_slice(&check.to_le_bytes());
    };
    let mut block = pages::bytes("store_block");
    let mut slot = pages::bytes("watermark_slot");
    let mut token = pages::bytes("cursor_token");
    for (bytes, at) in [
        (&mut block, range("store_block", "reserved").start + 39),
        (&mut slot, range("watermark_slot", "reserved").start),
        (&mut token, range("cursor_token", "reserved").start),
    ] {
        bytes[at] = 1;
        again(bytes);
    }
    assert!(matches!(StoreBlock::decode(&block), Err(Fault::Bad(_))));
    assert!(matches!(Watermark::decode(&slot), Err(Fault::Bad(_))));
    assert!(matches!(Token::decode(&token), Err(Fault::Bad(_))));
    let mut slot = pages::bytes("watermark_slot");
    slot[range("watermark_slot", "flags").start] |= 0x40;
    again(&mut slot);
    assert!(matches!(Watermark::decode(&slot), Err(Fault::Bad(_))));
}

/// [STO-6] Sizes that are no power of two, or out of their range, are refused under a right check.
#[test]
fn odd_sizes_are_refused_under_right_checks() {
    let with = |segment_bytes, index_stride_bytes| {
        let block = StoreBlock {
            minor: 0,
            incompatible: 0,
            read_only_compatible: 0,
            compatible: 0,
            segment_bytes,
            index_stride_bytes,
            ..tables::store_block()
        };
        StoreBlock::decode(&block.encode())
    };
    for (segment, stride) in [(1 << 14, 1 << 12), (1 << 32, 1 << 32), (1 << 20, 1 << 20)] {
        assert!(with(segment, stride).is_ok(), "{segment} {stride}");
    }
    for (segment, stride) in [
        (0, 4096),
        (1 << 13, 4096),
        (1 << 33, 4096),
        ((1 << 14) + 1, 4096),
        (3 << 14, 4096),
        (1 << 14, 2048),
        (1 << 14, 6000),
        (1 << 14, 1 << 15),
    ] {
        assert!(matches!(with(segment, stride), Err(Fault::Bad(_))), "{segment} {stride}");
    }
}

fn header(kind: u8, events: u32) -> FrameHeader {
    FrameHeader {
        kind,
        flags: 0,
        takeover: 0,
        frame_len: 0,
        plain_len: 0,
        witness: None,
        events,
        previous_check: 0,
        first_number: 0,
        recorded_at: 0,
        batch: BatchId::default(),
        frame_check: 0,
    }
}

/// [FRM-1] [GEN-3] A header proves itself only with a kind that is used, lengths that fit each other, and an end within
/// the file; nothing is read beyond the bytes that are there.
#[test]
fn headers_that_cannot_be_are_refused_under_right_checks() {
    let (seeds, place) = (Seeds::new(Salt([9; 16])), Position(8192));
    let made = |kind, events| {
        let mut bytes = vec![0; FRAME_HEADER_BYTES + 16];
        frame::finish(&mut bytes, 3, &header(kind, events), seeds, place);
        bytes
    };
    let good = made(KIND_BATCH, 1);
    assert!(Frame::decode(&good, seeds, place).is_ok());
    for kind in [0, 0xFF] {
        assert!(Frame::decode(&made(kind, 0), seeds, place).is_err(), "kind {kind}");
    }
    assert!(Frame::decode(&made(frame::KIND_SEAL, 1), seeds, place).is_err(), "a seal with events");
    assert_eq!(Frame::decode(&good[..good.len() - 1], seeds, place).err(), Some(Fault::Short));
    for (field, value) in
        [("frame_length", 84u32), ("frame_length", u32::MAX - 7), ("plain_length", 17), ("plain_length", u32::MAX)]
    {
        let mut bytes = good.clone();
        bytes[range("frame_header", field)].copy_from_slice(&value.to_le_bytes());
        let plain = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let end = (FRAME_HEADER_BYTES + plain).min(bytes.len());
        let check = treering::checksum::short_check(seeds.short(place), &[&bytes[4..end]]);
        bytes[..4].copy_from_slice(&check.to_le_bytes());
        assert!(Frame::decode(&bytes, seeds, place).is_err(), "{field} = {value}");
    }
}

/// [OPN-1] An open frame behind the head block is not log, whatever its checks say.
#[test]
fn an_open_frame_is_log_in_its_place_only() {
    let head = [pages::bytes("segment_header"), pages::bytes("open_frame")].concat();
    let mut file = [&head[..], &head[..]].concat();
    let place = Position(file.len() as u64);
    let mut second = pages::bytes("open_frame");
    let check = head[256..][range("frame_header", "frame_check")].try_into().unwrap();
    let open = FrameHeader { previous_check: u64::from_le_bytes(check), ..header(frame::KIND_OPEN, 0) };
    frame::finish(&mut second, 161, &open, Seeds::new(salt()), place);
    file.extend(second);
    file.resize(16 << 10, 0);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("identity"), pages::bytes("store_block")).unwrap();
    std::fs::write(folder.path().join("0000000000000000.segment"), file).unwrap();
    let store = Store::open_read_only(folder.path(), Options::new()).unwrap();
    assert_eq!(store.watermarks().committed, place);
    assert_eq!(store.open_report().torn_tail.as_ref().map(|torn| torn.bytes.start), Some(place.0));
}

/// [BAT-1] [BAT-2] A plain part that is not used up, or counts that do not add up, make a batch bad under right checks.
#[test]
fn batches_that_do_not_add_up_are_refused_under_right_checks() {
    let (seeds, place) = (Seeds::new(Salt([9; 16])), Position(8192));
    let entry = batch::NewEntry {
        type_index: 0,
        id: None,
        occurred_at: None,
        recorded_at: None,
        metadata: b"",
        payload: b"1234",
    };
    let made = |events: u32, body_len: u64, extra: &[u8]| {
        let mut bytes = Vec::new();
        frame::begin(&mut bytes);
        batch::put_counts(&mut bytes, 1, 0);
        let origin = batch::Origin::Creates { name: b"s" };
        batch::put_section(&mut bytes, seeds, place, place, origin, body_len, None, &["t"], [entry].into_iter());
        bytes.extend_from_slice(extra);
        let plain_len = bytes.len() - FRAME_HEADER_BYTES;
        bytes.extend_from_slice(b"1234");
        frame::pad(&mut bytes, 0);
        frame::finish(&mut bytes, plain_len, &header(KIND_BATCH, events), seeds, place);
        let frame = Frame::decode(&bytes, seeds, place)?;
        frame.prove(seeds)?;
        batch::check_structure(&frame)
    };
    assert_eq!(made(1, 4, b""), Ok(()));
    assert!(made(2, 4, b"").is_err(), "an event too many");
    assert!(made(1, 3, b"").is_err(), "a body too short");
    assert!(made(1, 5, b"").is_err(), "a body too long");
    assert!(made(1, 4, b"\0").is_err(), "a byte of the plain part is left over");
}

/// [BAT-12] Text that is not UTF-8, or beyond its limit, makes what it stands in bad.
#[test]
fn text_that_is_none_is_refused() {
    let claim = |note: &[u8]| {
        let fields = [("stream_back", 8.into()), ("note_length", (note.len() as u64).into()), ("note", raw(note))];
        let body = encode("claim", &fields);
        let item = encode("item", &[("kind", 4.into()), ("length", (body.len() as u64).into()), ("body", raw(body))]);
        Item::decode(&mut Wire::new(&item), Position(9000), Position(9000)).map(|_| ())
    };
    assert_eq!(claim("é".as_bytes()), Ok(()));
    assert!(matches!(claim(b"\xC3"), Err(Fault::Bad(_))));
    let mut bytes = pages::bytes("index_block");
    let (seeds, place) = (Seeds::new(salt()), Position(8192 + 128));
    let name = pages::hex("index_block")
        .iter()
        .take_while(|field| field.name != "stream s: name")
        .map(|f| f.bytes.len())
        .sum::<usize>();
    assert_eq!(bytes[name], b's');
    bytes[name] = 0xFF;
    let old = Frame::decode(&pages::bytes("index_block"), seeds, place).unwrap().header();
    frame::finish(&mut bytes, old.plain_len as usize, &old, seeds, place);
    let frame = Frame::decode(&bytes, seeds, place).unwrap();
    assert!(matches!(IndexBlock::decode(&frame), Err(Fault::Bad(_))));
}

fn salt() -> Salt {
    let mut salt = Salt::default();
    let header = pages::bytes("segment_header");
    salt.0.copy_from_slice(&header[range("segment_header", "salt")]);
    salt
}

/// [CHN-3] A token of another length, magic or version, or with a bad check, is none.
#[test]
fn tokens_of_another_form_are_refused() {
    let good = pages::bytes("cursor_token");
    assert!(Token::decode(&good).is_ok());
    assert!(Token::decode(&good[..87]).is_err());
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        assert!(Token::decode(&bytes).is_err(), "byte {at}");
    }
    let mut newer = good;
    newer[range("cursor_token", "version").start] = 2;
    let check = long_check(0, &newer[..80]);
    newer[80..].copy_from_slice(&check.to_le_bytes());
    assert!(matches!(Token::decode(&newer), Err(Fault::Unsupported(_))));
}

/// [CHN-4] The text form is that of the page, and nothing else is one.
#[test]
fn the_text_of_a_token_is_that_of_the_page() {
    let page = pages::example("cursor_token");
    let text = page.trim_end().rsplit('\n').next().unwrap();
    let token = Token::from_bytes(&pages::bytes("cursor_token")).unwrap();
    assert_eq!((text.len(), token.to_string().as_str()), (118, text));
    assert_eq!(text.parse::<Token>().unwrap(), token);
    let padded = format!("{text}==");
    let other_alphabet = text.replace('_', "/").replace('-', "+");
    let bits_behind = format!("{}{}", &text[..117], "R");
    for bad in [&padded, &text[1..], &other_alphabet, &bits_behind] {
        assert!(*bad == *text || bad.parse::<Token>().is_err(), "{bad}");
    }
}

fn chain_of(store: &Store, stream: &str) -> Link {
    let mut reader = store.read_stream(stream, ReadOptions::new()).unwrap();
    let mut chain = CHAIN_START;
    while let Some(event) = reader.next() {
        let event = event.unwrap();
        let canonical = CanonicalEvent {
            revision: event.revision(),
            id: event.id().unwrap_or("").as_bytes(),
            type_name: event.event_type().as_bytes(),
            recorded_at: event.recorded_at(),
            occurred_at: event.occurred_at(),
            metadata: event.metadata(),
            payload: event.payload(),
        };
        chain = link(&chain, &canonical);
    }
    chain
}

/// [CHN-1] Two stores that hold the same events in other frames have the same chain.
#[test]
fn the_chain_of_a_stream_does_not_depend_on_its_frames() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let texts: Vec<String> = (0..20).map(|number| format!("event {number}")).collect();
    let event = |text: &'static str| NewEvent::new("t", text).metadata("m").id("i").recorded_at(5).occurred_at(-2);
    let events: Vec<NewEvent<'_>> = texts.iter().map(|text| event(Box::leak(text.clone().into_boxed_str()))).collect();
    let stores = folders.each_ref().map(|folder| Store::open(folder.path(), Options::new()).unwrap());
    let _ = stores[0].append(&Batch::to("s", Expected::Any, &events)).unwrap();
    for (number, one) in events.chunks(3).enumerate() {
        if number % 2 == 0 {
            let _ = stores[1].append(&Batch::to("beside", Expected::Any, one)).unwrap();
        }
        let _ = stores[1].append(&Batch::to("s", Expected::Any, one)).unwrap();
    }
    assert_eq!(chain_of(&stores[0], "s"), chain_of(&stores[1], "s"));
    assert_ne!(chain_of(&stores[1], "s"), chain_of(&stores[1], "beside"));
}
