//! Side files: their header beside the page's table, and when they count.

use treering::StoreId;
use treering::checksum::long_check;
use treering::format::side_file::{SIDE_BLOCK_BYTES, SideHeader, SideKind, block_check};

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
