//! The hex examples of the pages, decoded by the engine and made again from what it found.

use treering::Options;
use treering::checksum::Seeds;
use treering::format::batch::{NewEntry, Origin, Sections, put_counts, put_section};
use treering::format::chain::{CHAIN_START, CanonicalEvent, link};
use treering::format::frame::{self, Frame};
use treering::format::index_block::{IndexBlock, IndexBlockBuilder};
use treering::format::item::Item;
use treering::format::open::HeadBlock;
use treering::format::seal::Seal;
use treering::format::segment_header::SegmentHeader;
use treering::format::store_block::StoreBlock;
use treering::format::token::Token;
use treering::format::watermark::Watermark;
use treering::format::wire::{Wire, put_var};
use treering::{Position, Revision, Salt, SegmentOrdinal, StreamId};

use super::pages::{HexField, bytes, example, hex};

/// The number that a field of an example holds.
pub(super) fn number(example: &str, field: &str) -> u64 {
    let fields = hex(example);
    let HexField { bytes, .. } = fields.iter().find(|other| other.name == field).expect("the example has the field");
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn salt() -> Salt {
    let line = example("seeds").lines().next().expect("the first line is the salt").to_owned();
    let digits: String = line.strip_prefix("salt").expect("a salt").split_whitespace().collect();
    let mut salt = Salt::default();
    for (at, byte) in salt.0.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hex");
    }
    salt
}

/// [GEN-1] Every spelling of the page is what the engine writes and reads; what it calls bad is refused.
#[test]
fn vars_are_spelled_as_on_the_page() {
    let mut met = 0;
    for line in example("var").lines() {
        let (value, spelling) = line.trim().split_once("  ").expect("a value and its bytes");
        let spelling: Vec<u8> = spelling
            .split(" (")
            .next()
            .expect("bytes")
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).expect("hex"))
            .collect();
        if value == "bad" {
            assert!(Wire::new(&spelling).var().is_err(), "{line}");
        } else {
            let value: u64 = value.parse().expect("a number");
            let mut out = Vec::new();
            put_var(&mut out, value);
            assert_eq!(out, spelling);
            assert_eq!(Wire::new(&spelling).var(), Ok(value));
        }
        met += 1;
    }
    assert!(met >= 8);
}

#[test]
fn seeds_are_those_of_the_page() {
    let seeds = Seeds::new(salt());
    let lines = example("seeds");
    let mut met = 0;
    for line in lines.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x").expect("hex"), 16).expect("hex");
        let position = Position(words[1].parse().expect("a position"));
        assert_eq!((seeds.long(position), u64::from(seeds.short(position))), (hex(words[4]), hex(words[7])), "{line}");
        met += 1;
    }
    assert_eq!(met, 3);
}

#[test]
fn the_blocks_of_the_pages_are_read_and_made_again() {
    let store = StoreBlock::decode(&bytes("store_block")).unwrap();
    assert_eq!(store.encode(), bytes("store_block")[..]);
    assert_eq!(store.segment_bytes, number("store_block", "segment_size"));
    assert_eq!(store.created_at as u64, number("store_block", "created_at"));

    let header = SegmentHeader::decode(&bytes("segment_header")).unwrap();
    assert_eq!(header.encode(), bytes("segment_header")[..]);
    assert_eq!((header.store, header.salt, header.ordinal), (store, salt(), SegmentOrdinal(0)));

    let block = [bytes("segment_header"), bytes("open_frame")].concat();
    let head = HeadBlock::decode(&block).unwrap();
    let (again, check) = HeadBlock::encode(&header, &head.open);
    assert_eq!(again[..block.len()], block[..]);
    assert_eq!(check, number("open_frame", "frame_check"));
    assert_eq!(head.open.predecessor, None);
    assert_eq!(head.open.max_recorded_at, i64::MIN);

    let watermark = Watermark::decode(&bytes("watermark_slot")).unwrap();
    assert_eq!(watermark.encode(), bytes("watermark_slot")[..]);
    assert_eq!(watermark.durable.0, number("watermark_slot", "durable"));
    assert!(watermark.is_clean);

    let token = Token::decode(&bytes("cursor_token")).unwrap();
    assert_eq!(token.to_bytes(), bytes("cursor_token")[..]);
    assert_eq!(u64::from(token.ordinal), number("cursor_token", "ordinal"));
}

/// The batch of the page is what the engine writes for the same two events; the watermark, the token and the next frame
/// of the pages name its check.
#[test]
fn the_batch_of_the_page_is_read_and_made_again() {
    let (seeds, position) = (Seeds::new(salt()), Position(8192));
    let whole = bytes("batch_frame");
    let fields = hex("batch_frame");
    let header_rows: Vec<_> = fields.iter().take(13).map(|field| (field.name.clone(), field.bytes.clone())).collect();
    let header: Vec<_> = hex("frame_header").iter().map(|field| (field.name.clone(), field.bytes.clone())).collect();
    assert_eq!(header, header_rows);
    let frame = Frame::decode(&whole, seeds, position).unwrap();
    frame.prove(seeds).unwrap();
    treering::format::batch::check_structure(&frame).unwrap();
    assert_eq!(frame.witness(), Some(Position::ZERO));
    assert_eq!(frame.previous_check(), number("open_frame", "frame_check"));
    let mut sections = Sections::new(frame).unwrap();
    let section = sections.next().unwrap().unwrap();
    assert_eq!(section.origin(), Origin::Creates { name: b"s" });
    let raw_body = section.raw_body(seeds).unwrap();
    let mut entries = section.entries_from(0).unwrap();
    let (first, second) = (entries.next().unwrap().unwrap(), entries.next().unwrap().unwrap());
    assert_eq!(first.body(&section, seeds, &raw_body).unwrap(), (&b""[..], &b"hello"[..]));
    assert_eq!(second.body(&section, seeds, &raw_body).unwrap(), (&br#"{"k":1}"#[..], &b"{}"[..]));
    assert_eq!((second.id, section.type_name(0).unwrap()), (Some(&b"n2"[..]), &b"note"[..]));
    assert_eq!(second.occurred_at.unwrap() as u64, number("batch_frame", "section s: event 1: occurred_at"));
    assert!(sections.next().unwrap().is_none());

    let new = |id, occurred_at, metadata, payload| NewEntry {
        type_index: 0,
        id,
        occurred_at,
        recorded_at: None,
        metadata,
        payload,
    };
    let events = [new(None, None, b"", b"hello"), new(Some("n2"), second.occurred_at, br#"{"k":1}"#, b"{}")];
    let mut out = Vec::new();
    frame::begin(&mut out);
    put_counts(&mut out, 1, 0);
    let origin = Origin::Creates { name: b"s" };
    put_section(&mut out, seeds, position, position, origin, 14, None, &["note"], events.iter().copied());
    let plain_len = out.len() - frame::FRAME_HEADER_BYTES;
    out.extend_from_slice(br#"hello{"k":1}{}"#);
    frame::pad(&mut out, 0);
    let check = frame::finish(&mut out, plain_len, &frame.header(), seeds, position);
    assert_eq!(out, whole);
    for (example, field) in
        [("watermark_slot", "last_check"), ("cursor_token", "frame_check"), ("fork_item", "previous_check")]
    {
        assert_eq!(number(example, field), check, "{example}");
    }

    let recorded_at = frame.recorded_at();
    let canonical = |revision, id, occurred_at, metadata, payload| CanonicalEvent {
        revision: Revision(revision),
        id,
        type_name: b"note",
        recorded_at,
        occurred_at,
        metadata,
        payload,
    };
    let second = canonical(1, b"n2", second.occurred_at, br#"{"k":1}"#, b"{}");
    assert_eq!(second.encode(), bytes("canonical_event"));
    let at_0 = link(&CHAIN_START, &canonical(0, b"", None, b"", b"hello"));
    let at_1 = link(&at_0, &second);
    let shown = example("canonical_event");
    for (name, link) in [("H(0)", at_0), ("H(1)", at_1)] {
        let hex: String = link.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(shown.contains(&format!("{name} = {hex}\n")), "{name} is not {hex}");
    }
}

#[test]
fn the_fork_and_the_index_block_of_the_pages_are_read_and_made_again() {
    let (seeds, position) = (Seeds::new(salt()), Position(8192 + 128));
    let whole = bytes("fork_item");
    let frame = Frame::decode(&whole, seeds, position).unwrap();
    frame.prove(seeds).unwrap();
    let (mut wire, count) = Sections::new(frame).unwrap().items().unwrap();
    let item = Item::decode(&mut wire, position, position).unwrap();
    let fork = Item::Fork {
        name: "side",
        parent: StreamId(8192),
        revision: Revision(0),
        parent_place: Position(8192),
        depth: 1,
        jump: StreamId(8192),
        jump_depth: 0,
        lowest: Revision(0),
    };
    assert_eq!((count, &item, wire.left()), (1, &fork, 0));
    let mut out = Vec::new();
    frame::begin(&mut out);
    put_counts(&mut out, 0, 1);
    item.encode(&mut out, position, position);
    let plain_len = out.len() - frame::FRAME_HEADER_BYTES;
    frame::pad(&mut out, 0);
    frame::finish(&mut out, plain_len, &frame.header(), seeds, position);
    assert_eq!(out, whole);

    let whole = bytes("index_block");
    let frame = Frame::decode(&whole, seeds, position).unwrap();
    frame.prove(seeds).unwrap();
    let block = IndexBlock::decode(&frame).unwrap();
    assert_eq!((block.streams[0].stream, block.streams[0].name), (StreamId(8192), Some("s")));
    let mut builder = IndexBlockBuilder::default();
    let mut listed = Vec::new();
    block.frames(|frame| listed.push(frame)).unwrap();
    assert_eq!((listed[0].position, listed[0].len, listed.len()), (Position(8192), 128, 1));
    builder.add_batch_frame(128, 1);
    builder.add_stream(StreamId(8192), Some("s"), None);
    builder.add_section(StreamId(8192), Revision(0), 2);
    let mut out = Vec::new();
    let plain_len = builder.encode(&mut out, position, block.links);
    frame::finish(&mut out, plain_len, &frame.header(), seeds, position);
    assert_eq!(out, whole);
}

/// The salt of the second segment is not on the page: the seal's checks are not computed here, its fields are.
#[test]
fn the_seal_of_the_page_is_made_again() {
    let hash = |field: &str| {
        let fields = hex("seal_frame");
        let bytes = &fields.iter().find(|other| other.name == field).expect("the example has the field").bytes;
        <[u8; 32]>::try_from(&bytes[..]).expect("a hash has 32 bytes")
    };
    let seal = Seal {
        ordinal: SegmentOrdinal(number("seal_frame", "ordinal")),
        span: number("seal_frame", "span") as u32,
        end: Position(number("seal_frame", "end")),
        previous: Position(number("seal_frame", "previous_seal")),
        hash: hash("hash"),
        previous_hash: hash("previous_hash"),
    };
    let mut out = Vec::new();
    seal.encode(&mut out);
    assert_eq!(out[frame::FRAME_HEADER_BYTES..], bytes("seal_frame")[frame::FRAME_HEADER_BYTES..]);
    // The segment of the examples, as far as the seal goes: head block twice, the batch, the index block.
    let head = [bytes("segment_header"), bytes("open_frame")].concat();
    let segment = [&head[..], &head[..], &bytes("batch_frame"), &bytes("index_block")].concat();
    assert_eq!(segment.len() as u64, seal.end.0);
    let mut hasher = treering::format::seal::hasher(&seal.previous_hash);
    assert_eq!(hasher.update(&segment).finalize().as_bytes(), &seal.hash);
}

/// A store of the pages' bytes alone opens and says what they say.
#[test]
fn the_examples_together_are_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let head = [bytes("segment_header"), bytes("open_frame")].concat();
    let mut segment = [&head[..], &head[..], &bytes("batch_frame"), &bytes("index_block")].concat();
    segment.resize(number("store_block", "segment_size") as usize, 0);
    std::fs::write(folder.path().join("identity"), bytes("store_block")).unwrap();
    std::fs::write(folder.path().join("0000000000000000.segment"), segment).unwrap();
    let store = treering::Store::open_read_only(folder.path(), Options::new()).unwrap();
    assert_eq!(store.open_report().damage, []);
    let streams = store.streams().unwrap();
    assert_eq!((&*streams[0].name, streams[0].head, streams.len()), ("s", Revision(1), 1));
    assert_eq!(store.watermarks().committed.0, 8192 + 128 + 104);
}
