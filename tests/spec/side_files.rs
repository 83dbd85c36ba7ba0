//! Side files: their header and the rows of the directory beside the pages' tables, and when they count.

use treering::checksum::long_check;
use treering::format::directory::{Checkpoint, HeadRow, NameRow, RetryRow, RunHead, RunName, SegmentRow};
use treering::format::side_file::{SIDE_BLOCK_BYTES, SideHeader, SideKind, block_check};
use treering::{BatchId, Incarnation, Position, Revision, Salt, SegmentOrdinal, StoreId, StreamId};

use super::layout::{encode, raw};
use super::pages::table;

const STORE: StoreId = StoreId([0x51; 16]);

const KINDS: [(&str, SideKind); 3] = [
    ("SEGMENT_INDEX", SideKind::SegmentIndex),
    ("DIRECTORY_RUN", SideKind::DirectoryRun),
    ("CHECKPOINT", SideKind::Checkpoint),
];

/// [SID-1] [SID-2] Header and checks are those of the page; another kind or store does not count.
#[test]
fn side_files_are_those_of_the_page() {
    let values = table("side_kinds").values();
    assert_eq!(values.len(), KINDS.len());
    for (name, kind) in KINDS {
        let (_, number) = values.iter().find(|(known, _)| known == name).expect("the page knows it");
        let header = SideHeader { kind, store: STORE, payload_len: 4097, table_check: 0x0102_0304, head: vec![8, 9] };
        let mut by_page = encode(
            "side_header",
            &[
                ("kind", number.parse::<u64>().expect("a number").into()),
                ("head_length", 2.into()),
                ("store_id", raw(STORE.0)),
                ("payload_length", 4097.into()),
                ("table_check", 0x0102_0304.into()),
            ],
        );
        by_page.extend_from_slice(&[8, 9]);
        by_page.resize(4088, 0);
        by_page.extend_from_slice(&long_check(0, &by_page).to_le_bytes());
        assert_eq!(by_page, header.encode(), "{name}");
        by_page.resize(4096 + 2 * 4096 + 2 * 8, 0);
        assert_eq!(SideHeader::decode(&by_page, kind, STORE), Ok(header));
        assert!(SideHeader::decode(&by_page[..by_page.len() - 8], kind, STORE).is_err());
        assert!(SideHeader::decode(&by_page, kind, StoreId([0; 16])).is_err());
        for (_, other) in KINDS.iter().filter(|(_, other)| *other != kind) {
            assert!(SideHeader::decode(&by_page, *other, STORE).is_err());
        }
    }
    let block = [7; SIDE_BLOCK_BYTES];
    assert_eq!(block_check(3, &block), long_check(3, &block));
}

/// [DIR-4] Rows and heads of runs are those of the page.
#[test]
fn the_tables_of_the_directory_are_those_of_the_page() {
    let name = NameRow { stream: StreamId(0x0102), first: Revision(0x0304), name_at: 0x0506, name_len: 0x0708 };
    let row = [
        ("stream", 0x0102.into()),
        ("first_revision", 0x0304.into()),
        ("name_at", 0x0506.into()),
        ("name_length", 0x0708.into()),
    ];
    assert_eq!(encode("name_row", &row), name.encode());
    let head = HeadRow {
        stream: StreamId(0x0102),
        head: Revision(0x0304),
        head_position: Position(0x0506),
        last_place: Position(0x0708),
    };
    let row = [
        ("stream", 0x0102.into()),
        ("head", 0x0304.into()),
        ("head_position", 0x0506.into()),
        ("last_place", 0x0708.into()),
    ];
    assert_eq!(encode("head_row", &row), head.encode());
    let retry = RetryRow { batch: BatchId([9; 16]), frame: Position(0x0102) };
    assert_eq!(encode("retry_row", &[("batch_id", raw([9; 16])), ("frame", 0x0102.into())]), retry.encode());
    let segment = SegmentRow {
        ordinal: SegmentOrdinal(0x0102),
        end: Position(0x0304),
        last_index_block: Position(0x0506),
        span: 0x0708,
        salt: Salt([7; 16]),
        incarnation: Incarnation([8; 16]),
    };
    let row = [
        ("ordinal", 0x0102.into()),
        ("end", 0x0304.into()),
        ("last_index", 0x0506.into()),
        ("span", 0x0708.into()),
        ("salt", raw([7; 16])),
        ("incarnation", raw([8; 16])),
    ];
    assert_eq!(encode("segment_row", &row), segment.encode());
    let run = RunHead {
        from: Position(0x0102),
        to: Position(0x0304),
        names: 3,
        name_bytes: 21,
        heads: 4,
        retries: 5,
        segments: 6,
    };
    let row = [
        ("from", 0x0102.into()),
        ("to", 0x0304.into()),
        ("name_bytes", 21.into()),
        ("names", 3.into()),
        ("heads", 4.into()),
        ("retries", 5.into()),
        ("segments", 6.into()),
    ];
    assert_eq!(encode("run_head", &row), run.encode());
    let lens = ["name_row", "head_row", "retry_row", "segment_row"].map(|table| encode_zero(table).len() as u64);
    assert_eq!(run.payload_len(), 3 * lens[0] + 24 + 16 + 4 * lens[1] + 5 * lens[2] + 24 + 6 * lens[3]);
}

/// [DIR-1] A checkpoint is laid out as the page says, and its runs follow each other up to its place.
#[test]
fn a_checkpoint_is_that_of_the_page() {
    let run = |number: u64, from: u64, to: u64| RunName {
        number,
        from: Position(from),
        to: Position(to),
        check: 0x0A0B + number,
    };
    let checkpoint = Checkpoint {
        generation: 0x0102,
        incarnation: Incarnation([0x62; 16]),
        at: Position(0x9000),
        last_frame: Position(0x8000),
        last_check: 0x0506,
        last_index_block: Position(0x7000),
        segment: SegmentOrdinal(0x0708),
        salt: Salt([7; 16]),
        next_number: 0x090A,
        max_recorded_at: -9,
        takeover: 0x0B0C,
        last_seal: Position(0x0D0E),
        seal_hash: [8; 32],
        next_to_seal: SegmentOrdinal(0x0F10),
        streams: 0x1112,
        coded: (0x1314, 0x1516),
        runs: vec![run(3, 0, 0x1000), run(9, 0x1000, 0x9000)],
    };
    let mut by_page = encode(
        "checkpoint",
        &[
            ("generation", 0x0102.into()),
            ("incarnation", raw([0x62; 16])),
            ("at", 0x9000.into()),
            ("last_frame", 0x8000.into()),
            ("last_check", 0x0506.into()),
            ("last_index", 0x7000.into()),
            ("segment", 0x0708.into()),
            ("global_number", 0x090A.into()),
            ("last_seal", 0x0D0E.into()),
            ("next_to_seal", 0x0F10.into()),
            ("streams", 0x1112.into()),
            ("coded_raw", 0x1314.into()),
            ("coded_stored", 0x1516.into()),
            ("max_recorded_at", (-9).into()),
            ("salt", raw([7; 16])),
            ("seal_hash", raw([8; 32])),
            ("takeover", 0x0B0C.into()),
            ("run_count", 2.into()),
        ],
    );
    for run in &checkpoint.runs {
        let row = [
            ("number", run.number.into()),
            ("from", run.from.0.into()),
            ("to", run.to.0.into()),
            ("header_check", run.check.into()),
        ];
        by_page.extend(encode("run_name", &row));
    }
    assert_eq!(by_page, checkpoint.encode());
    assert_eq!(Checkpoint::decode(&by_page), Ok(checkpoint));
}

fn encode_zero(table: &str) -> Vec<u8> {
    let fields = super::pages::table(table).fields();
    let len = fields.iter().map(|field| field.size.expect("a fixed size")).sum();
    vec![0; len]
}
