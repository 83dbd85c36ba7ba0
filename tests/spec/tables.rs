//! Each byte table of the pages beside what the engine makes of the same values: files, frames and what lies outside of
//! batches. Those of batches and index blocks are next door.

use treering::checksum::{Seeds, long_check_of_parts, short_check};
use treering::format::chain::CanonicalEvent;
use treering::format::frame::{self, FRAME_HEADER_BYTES, FrameHeader};
use treering::format::open::{HeadBlock, OpenFrame, OpenReason, Predecessor};
use treering::format::seal::Seal;
use treering::format::segment_header::SegmentHeader;
use treering::format::store_block::StoreBlock;
use treering::format::token::Token;
use treering::format::watermark::Watermark;
use treering::storage::FilePlace;
use treering::{BatchId, BootId, Epoch, Incarnation, Position, Revision, Salt, SegmentOrdinal, StoreId};

use super::layout::{encode, range, raw};

const STORE: StoreId = StoreId([0x51; 16]);
pub(super) const SALT: Salt = Salt([7, 1, 9, 3, 5, 2, 8, 6, 4, 0, 11, 13, 17, 19, 23, 29]);
const INCARNATION: Incarnation = Incarnation([0x62; 16]);

pub(super) fn store_block() -> StoreBlock {
    StoreBlock {
        minor: 3,
        compatible: 0x0102_0304_0506_0708,
        read_only_compatible: 0x1112_1314_1516_1718,
        incompatible: 0x2122_2324_2526_2728,
        store: STORE,
        segment_bytes: 1 << 15,
        index_stride_bytes: 1 << 13,
        created_at: -5,
    }
}

/// Every byte table is compared in this module; a new one must be, too.
const COMPARED: [&str; 35] = [
    "store_block",
    "segment_file",
    "segment_header",
    "frame_header",
    "open_plain",
    "extensions",
    "batch_plain",
    "section",
    "entry",
    "item",
    "fork",
    "snapshot",
    "cursor",
    "claim",
    "fence",
    "accept",
    "index_plain",
    "index_stream",
    "index_frame",
    "seal_plain",
    "watermark_slot",
    "canonical_event",
    "side_header",
    "segment_index_head",
    "segment_index_row",
    "segment_index_record",
    "segment_index_chunk",
    "segment_index_type",
    "checkpoint",
    "run_name",
    "run_head",
    "name_row",
    "head_row",
    "retry_row",
    "segment_row",
];

#[test]
fn every_byte_table_is_compared() {
    let tables = super::pages::tables();
    let layouts: Vec<&str> = tables.iter().filter(|table| table.is_layout()).map(|table| &*table.name).collect();
    let mut compared = COMPARED.to_vec();
    compared.push("cursor_token");
    compared.sort_unstable();
    let mut sorted = layouts;
    sorted.sort_unstable();
    assert_eq!(sorted, compared);
}

#[test]
fn the_store_block_and_the_segment_header_are_those_of_the_pages() {
    let block = store_block();
    let by_page = encode(
        "store_block",
        &[
            ("minor", 3.into()),
            ("features_compatible", block.compatible.into()),
            ("features_read_only", block.read_only_compatible.into()),
            ("features_incompatible", block.incompatible.into()),
            ("store_id", raw(STORE.0)),
            ("segment_size", block.segment_bytes.into()),
            ("index_stride", block.index_stride_bytes.into()),
            ("created_at", (-5).into()),
        ],
    );
    assert_eq!(by_page, block.encode());
    let header =
        SegmentHeader { ordinal: SegmentOrdinal(0x0A0B_0C0D), span: 0x0E0F, salt: SALT, created_at: 77, store: block };
    let header_by_page = encode(
        "segment_header",
        &[
            ("ordinal", header.ordinal.0.into()),
            ("span", header.span.into()),
            ("salt", raw(SALT.0)),
            ("created_at", 77.into()),
            ("store_block", raw(by_page)),
        ],
    );
    assert_eq!(header_by_page, header.encode());
}

fn frame_header() -> FrameHeader {
    FrameHeader {
        kind: frame::KIND_BATCH,
        flags: frame::FLAG_GIVEN_ID,
        takeover: 0x0304,
        frame_len: 0,
        plain_len: 0,
        witness: Some(Position(8192)),
        events: 2,
        previous_check: 0x1112_1314_1516_1718,
        first_number: 0x2122_2324_2526_2728,
        recorded_at: -9,
        batch: BatchId([0x77; 16]),
        frame_check: 0,
    }
}

/// The two checks cover what the page says they cover, from the seeds that it says. [FRM-6]
#[test]
fn the_frame_header_is_that_of_the_page() {
    let (seeds, position, plain) = (Seeds::new(SALT), Position(70_000), 13);
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    bytes.extend((1..=21).chain([0, 0, 0]));
    let check = frame::finish(&mut bytes, plain, &frame_header(), seeds, position);
    let covered = |field: &str| {
        let value = super::pages::table("frame_header").fields().into_iter().find(|row| row.name == field);
        value.expect("the table has it").value
    };
    assert_eq!(covered("header_check"), "crc(seed32(position), bytes [4, 72 + plain_length))");
    assert_eq!(covered("frame_check"), "xxh64(seed64(position), bytes [4, 64) ++ bytes [72, frame_length))");
    let short = short_check(seeds.short(position), &[&bytes[4..72 + plain]]);
    let long = long_check_of_parts(seeds.long(position), &[&bytes[4..64], &bytes[72..]]);
    assert_eq!(check, long);
    let by_page = encode(
        "frame_header",
        &[
            ("header_check", short.into()),
            ("kind", frame::KIND_BATCH.into()),
            ("flags", frame::FLAG_GIVEN_ID.into()),
            ("takeover", 0x0304.into()),
            ("frame_length", (bytes.len() as u32).into()),
            ("plain_length", (plain as u32).into()),
            ("witness_back", ((70_000 - 8192) / 8).into()),
            ("events", 2.into()),
            ("previous_check", 0x1112_1314_1516_1718_u64.into()),
            ("global_number", 0x2122_2324_2526_2728_u64.into()),
            ("recorded_at", (-9).into()),
            ("batch_id", raw([0x77; 16])),
            ("frame_check", long.into()),
        ],
    );
    assert_eq!(by_page, bytes[..FRAME_HEADER_BYTES]);
}

pub(super) fn open_frame() -> OpenFrame {
    let predecessor = Predecessor {
        ordinal: SegmentOrdinal(4),
        end: Position((4 << 15) + 9008),
        last_frame: Position((4 << 15) + 8800),
        last_index_block: Position((4 << 15) + 8400),
        salt: Salt([0x33; 16]),
    };
    OpenFrame {
        incarnation: INCARNATION,
        identity_place: FilePlace { file_system: 0xA1A2, inode: 0xB1B2, birth: -3 },
        boot: BootId([0x44; 16]),
        predecessor: Some(predecessor),
        last_seal: Position(0xC1C2),
        reason: OpenReason::IoError,
        max_recorded_at: -77,
        previous_check: 0xD1D2,
        first_number: 0xE1E2,
        witness: Some(Position((4 << 15) + 8800)),
        recorded_at: 55,
    }
}

#[test]
fn the_head_block_and_its_open_frame_are_those_of_the_pages() {
    let store = StoreBlock { minor: 0, incompatible: 0, ..store_block() };
    let header = SegmentHeader { ordinal: SegmentOrdinal(5), span: 1, salt: SALT, created_at: 77, store };
    let (file, check) = HeadBlock::encode(&header, &open_frame());
    assert_eq!(file[range("segment_file", "header")], header.encode());
    let open = &file[range("segment_file", "open_frame")];
    assert_eq!(file[range("segment_file", "copy")], file[..4096]);
    let base = 5u64 << 15;
    let frame = frame::Frame::decode(open, Seeds::new(SALT), Position(base + 256)).unwrap();
    frame.prove(Seeds::new(SALT)).unwrap();
    assert_eq!(frame.frame_check(), check);
    assert_eq!(frame.frame_len() as usize, range("segment_file", "open_frame").len());
    let extensions = encode("extensions", &[("count", 0.into())]);
    let by_page = |reason: u8| {
        encode(
            "open_plain",
            &[
                ("incarnation", raw([0x62; 16])),
                ("place_file_system", 0xA1A2.into()),
                ("place_inode", 0xB1B2.into()),
                ("place_birth", (-3).into()),
                ("boot_id", raw([0x44; 16])),
                ("predecessor", 4.into()),
                ("predecessor_end", ((4 << 15) + 9008).into()),
                ("predecessor_last_frame", ((4 << 15) + 8800).into()),
                ("predecessor_last_index", ((4 << 15) + 8400).into()),
                ("predecessor_salt", raw([0x33; 16])),
                ("newest_seal", 0xC1C2.into()),
                ("reason", reason.into()),
                ("max_recorded_at", (-77).into()),
                ("extensions", raw(&extensions)),
            ],
        )
    };
    assert_eq!(by_page(4), frame.plain());
    let reasons = super::pages::table("open_reasons").values();
    let known = [
        OpenReason::First,
        OpenReason::Full,
        OpenReason::Takeover,
        OpenReason::Jumbo,
        OpenReason::IoError,
        OpenReason::NewIncarnation,
        OpenReason::Forced,
    ];
    assert_eq!(reasons.len(), known.len());
    for ((name, number), reason) in reasons.iter().zip(known) {
        let words: String = format!("{reason:?}").to_lowercase();
        assert_eq!(name.replace('_', ""), words);
        let (file, _) = HeadBlock::encode(&header, &OpenFrame { reason, ..open_frame() });
        let plain = &file[256 + FRAME_HEADER_BYTES..];
        assert_eq!(plain[range("open_plain", "reason")], [number.parse::<u8>().unwrap()], "{name}");
    }
}

pub(super) fn token() -> Token {
    Token {
        store: STORE,
        incarnation: INCARNATION,
        epoch: Epoch { segment: SegmentOrdinal(0x0301), takeover: 0x0402 },
        frame: Position(0x5003),
        ordinal: 0x0604,
        number: 0x0705,
        frame_check: 0x0806,
    }
}

pub(super) fn token_by_page() -> Vec<u8> {
    encode(
        "cursor_token",
        &[
            ("takeover", 0x0402.into()),
            ("store_id", raw(STORE.0)),
            ("incarnation", raw(INCARNATION.0)),
            ("epoch_segment", 0x0301.into()),
            ("frame_position", 0x5003.into()),
            ("ordinal", 0x0604.into()),
            ("global_number", 0x0705.into()),
            ("frame_check", 0x0806.into()),
        ],
    )
}

#[test]
fn seals_watermark_slots_tokens_and_canonical_events_are_those_of_the_pages() {
    let seal = Seal {
        ordinal: SegmentOrdinal(4),
        span: 6,
        end: Position(70_000),
        previous: Position(40_000),
        hash: [1; 32],
        previous_hash: [2; 32],
    };
    let mut out = Vec::new();
    let plain_len = seal.encode(&mut out);
    let by_page = encode(
        "seal_plain",
        &[
            ("ordinal", 4.into()),
            ("end", 70_000.into()),
            ("previous_seal", 40_000.into()),
            ("span", 6.into()),
            ("hash", raw([1; 32])),
            ("previous_hash", raw([2; 32])),
        ],
    );
    assert_eq!(by_page, out[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + plain_len]);

    let watermark = Watermark {
        generation: 0x0102,
        store: STORE,
        incarnation: INCARNATION,
        durable: Position(0x0304),
        last_check: 0x0506,
        last_frame: Position(0x0708),
        last_index_block: Position(0x090A),
        next_number: 0x0B0C,
        salt: SALT,
        takeover: 0x0D0E,
        is_clean: true,
        boot: 0x0F10,
    };
    let slot = encode(
        "watermark_slot",
        &[
            ("generation", 0x0102.into()),
            ("store_id", raw(STORE.0)),
            ("incarnation", raw(INCARNATION.0)),
            ("durable", 0x0304.into()),
            ("last_check", 0x0506.into()),
            ("last_frame", 0x0708.into()),
            ("last_index", 0x090A.into()),
            ("global_number", 0x0B0C.into()),
            ("salt", raw(SALT.0)),
            ("takeover", 0x0D0E.into()),
            ("flags", 1.into()),
            ("boot", 0x0F10.into()),
        ],
    );
    assert_eq!(slot, watermark.encode());
    assert_eq!(token_by_page(), token().to_bytes());

    for occurred_at in [None, Some(-8)] {
        let event = CanonicalEvent {
            revision: Revision(9),
            id: b"given",
            type_name: b"t",
            recorded_at: -7,
            occurred_at,
            metadata: b"{}",
            payload: b"body",
        };
        let digest = |bytes: &[u8]| raw(treering::format::chain::digest(bytes));
        let by_page = encode(
            "canonical_event",
            &[
                ("revision", 9.into()),
                ("id_length", 5.into()),
                ("id", raw("given")),
                ("type_length", 1.into()),
                ("type", raw("t")),
                ("recorded_at", (-7).into()),
                ("has_occurred", u8::from(occurred_at.is_some()).into()),
                ("occurred_at", occurred_at.unwrap_or(0).into()),
                ("metadata_length", 2.into()),
                ("metadata_digest", digest(b"{}")),
                ("payload_length", 4.into()),
                ("payload_digest", digest(b"body")),
            ],
        );
        assert_eq!(by_page, event.encode());
    }
}
