//! The value tables of the pages beside the engine's constants: kinds, flags, codecs, limits, names of files.

use treering::format::file_name::{self, FileKind};
use treering::format::{batch, frame, index_block, item, watermark};
use treering::{SegmentOrdinal, limits};

use super::pages::{table, tables};

/// The table of this name says exactly these numbers, in any order.
fn says(name: &str, constants: &[(&str, u64)]) {
    let mut listed: Vec<(String, u64)> =
        table(name).values().into_iter().map(|(name, value)| (name, value.parse().expect("a number"))).collect();
    let mut wanted: Vec<(String, u64)> = constants.iter().map(|(name, value)| ((*name).into(), *value)).collect();
    listed.sort();
    wanted.sort();
    assert_eq!(listed, wanted, "{name}");
}

#[test]
fn kinds_flags_and_codecs_are_those_of_the_pages() {
    let kinds = [
        ("open", frame::KIND_OPEN),
        ("batch", frame::KIND_BATCH),
        ("seal", frame::KIND_SEAL),
        ("index_block", frame::KIND_INDEX_BLOCK),
    ];
    says("frame_kinds", &kinds.map(|(name, kind)| (name, kind.into())));
    says("frame_flags", &[("GIVEN_ID", frame::FLAG_GIVEN_ID.into()), ("LEFT", frame::FLAG_LEFT.into())]);
    let section =
        [("CREATES", batch::SECTION_CREATES), ("CODED", batch::SECTION_CODED), ("ENGINE", batch::SECTION_ENGINE)];
    says("section_flags", &section.map(|(name, flag)| (name, flag.into())));
    says("codecs", &[("zstd", batch::CODEC_ZSTD.into())]);
    let entry = [
        ("ID", batch::ENTRY_ID),
        ("OCCURRED", batch::ENTRY_OCCURRED),
        ("RECORDED", batch::ENTRY_RECORDED),
        ("TAGS", batch::ENTRY_TAGS),
        ("DIGESTS", batch::ENTRY_DIGESTS),
    ];
    says("entry_flags", &entry.map(|(name, flag)| (name, flag.into())));
    let items = [
        ("fork", item::ITEM_FORK),
        ("snapshot", item::ITEM_SNAPSHOT),
        ("cursor", item::ITEM_CURSOR),
        ("claim", item::ITEM_CLAIM),
        ("fence", item::ITEM_FENCE),
        ("accept", item::ITEM_ACCEPT),
    ];
    says("item_kinds", &items.map(|(name, kind)| (name, kind.into())));
    let streams = [("NAMED", index_block::INDEX_NAMED), ("FORKED", index_block::INDEX_FORKED)];
    says("index_stream_flags", &streams.map(|(name, flag)| (name, flag.into())));
    says("watermark_flags", &[("CLEAN", watermark::WATERMARK_CLEAN.into())]);
}

/// [GEN-6] The limits are one table; the engine's constants are its numbers.
#[test]
fn limits_are_those_of_the_page() {
    says(
        "limits",
        &[
            ("STREAM_NAME_BYTES_MAX", limits::STREAM_NAME_BYTES_MAX as u64),
            ("TYPE_BYTES_MAX", limits::TYPE_BYTES_MAX as u64),
            ("EVENT_ID_BYTES_MAX", limits::EVENT_ID_BYTES_MAX as u64),
            ("METADATA_BYTES_MAX", limits::METADATA_BYTES_MAX as u64),
            ("BATCH_BYTES_MAX", limits::BATCH_BYTES_MAX as u64),
            ("BATCH_EVENTS_MAX", limits::BATCH_EVENTS_MAX as u64),
            ("BATCH_SECTIONS_MAX", limits::BATCH_SECTIONS_MAX as u64),
            ("SEGMENT_BYTES_MIN", limits::SEGMENT_BYTES_MIN),
            ("SEGMENT_BYTES_MAX", limits::SEGMENT_BYTES_MAX),
            ("INDEX_STRIDE_BYTES_MIN", limits::INDEX_STRIDE_BYTES_MIN),
            ("FRAME_BYTES_MAX", limits::FRAME_BYTES_MAX),
            ("NUMBER_MAX", limits::NUMBER_MAX),
        ],
    );
}

/// [STO-2] Names are exactly those of the table; another spelling is not of the store.
#[test]
fn names_of_files_are_those_of_the_page() {
    let ordinal = SegmentOrdinal(0x00AB_CDEF);
    let digits = "0000000000abcdef";
    let names = table("file_names").values();
    for (name, pattern) in &names {
        let example = pattern.replace('O', digits).replace("HH", "cd").replace('*', "identity");
        let wanted = match name.as_str() {
            "identity" => FileKind::Identity,
            "segment" => FileKind::Segment(ordinal),
            "prepared" => FileKind::Prepared(ordinal),
            "watermark" => FileKind::Watermark,
            "control" => FileKind::Control,
            "index" => FileKind::SegmentIndex(ordinal),
            "directory" => FileKind::Directory(ordinal.0),
            "checkpoint_0" => FileKind::Checkpoint(0),
            "checkpoint_1" => FileKind::Checkpoint(1),
            "claims" => FileKind::Claims(0xCD),
            "new" => FileKind::Temporary,
            other => panic!("the page knows a file {other}"),
        };
        assert_eq!(file_name::parse(&example), wanted, "{pattern}");
        let upper = pattern.replace('O', "0000000000ABCDEF").replace("HH", "CD").replace('*', "identity");
        if upper != example {
            assert_eq!(file_name::parse(&upper), FileKind::Other, "{upper}");
        }
        assert_eq!(file_name::parse(&format!("{example}x")), FileKind::Other, "{example}x");
    }
    assert_eq!(file_name::segment(ordinal), format!("{digits}.segment"));
    assert_eq!(file_name::prepared(ordinal), format!("{digits}.prepared"));
}

#[test]
fn every_value_table_is_compared() {
    let compared = [
        "file_names",
        "frame_kinds",
        "frame_flags",
        "open_reasons",
        "section_flags",
        "codecs",
        "entry_flags",
        "item_kinds",
        "index_stream_flags",
        "watermark_flags",
        "side_kinds",
        "limits",
    ];
    let tables = tables();
    let values: Vec<&str> = tables
        .iter()
        .filter(|table| !table.is_layout() && !table.name.starts_with("recovery"))
        .map(|table| &*table.name)
        .collect();
    assert_eq!(values, compared);
}
