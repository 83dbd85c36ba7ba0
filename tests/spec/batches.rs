//! The byte tables of batch frames, items and index blocks beside what the engine makes of the same values.

use treering::checksum::{Seeds, short_check};
use treering::format::batch::{self, Coding, NewEntry, Origin};
use treering::format::frame::{self, FRAME_HEADER_BYTES};
use treering::format::index_block::{IndexBlockBuilder, IndexLinks};
use treering::format::item::{Accept, AcceptedRange, Item};
use treering::{Position, Revision, StreamId};

use super::layout::{Value, encode, raw};
use super::tables::{SALT, token, token_by_page};

/// The values of the fields of a structure.
type Fields = Vec<(&'static str, Value)>;

fn entry_values(flags: u8, entry: &NewEntry<'_>, type_name: &str, seeds: Seeds, position: Position) -> Vec<u8> {
    let mut values: Vec<(&str, Value)> = vec![("flags", flags.into()), ("type_index", entry.type_index.into())];
    if let Some(id) = entry.id {
        values.extend([("id_length", (id.len() as u64).into()), ("id", raw(id))]);
    }
    values.extend(entry.occurred_at.map(|at| ("occurred_at", at.into())));
    values.extend(entry.recorded_at.map(|at| ("recorded_at", at.into())));
    values.push(("metadata_length", (entry.metadata.len() as u64).into()));
    values.push(("payload_length", (entry.payload.len() as u64).into()));
    values.push(("check", 0.into()));
    let mut bytes = encode("entry", &values);
    let checked = bytes.len() - 4;
    let parts = [&bytes[..checked], type_name.as_bytes(), entry.metadata, entry.payload];
    let check = short_check(seeds.short(position), &parts);
    bytes[checked..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// Sections, entries and the plain part around them, in every form that the engine writes. [BAT-9]
#[test]
fn batch_frames_are_those_of_the_page() {
    let (seeds, frame_position) = (Seeds::new(SALT), Position(70_000));
    let full = NewEntry {
        type_index: 1,
        id: Some("given"),
        occurred_at: Some(-1),
        recorded_at: Some(i64::MAX),
        metadata: b"{}",
        payload: b"abc",
    };
    let plain = NewEntry { type_index: 0, id: None, occurred_at: None, recorded_at: None, metadata: b"", payload: b"" };
    let types = ["t", "longer.type"];
    let coding = Coding { codec: batch::CODEC_ZSTD, key: 300, raw_len: 165, stored_check: 0xA0B0_C0D0 };
    let entries: Vec<NewEntry<'_>> = (0..33).map(|index| if index % 2 == 0 { full } else { plain }).collect();
    for (origin, coding) in [
        (Origin::Creates { name: b"made" }, None),
        (
            Origin::Continues { stream: StreamId(9000), first_revision: Revision(400), previous: Position(60_000) },
            Some(coding),
        ),
    ] {
        let (mut values, flags): (Vec<(&str, Value)>, _) = match origin {
            Origin::Creates { name } => (vec![("name_length", 4.into()), ("name", raw(name))], 1),
            Origin::Continues { stream, first_revision, previous } => (
                vec![
                    ("stream_back", (frame_position.0 - stream.0).into()),
                    ("first_revision", first_revision.0.into()),
                    ("previous_back", ((frame_position.0 - previous.0) / 8).into()),
                ],
                0,
            ),
        };
        values.insert(0, ("flags", (flags | if coding.is_some() { 2 } else { 0 }).into()));
        values.extend([("count", 33.into()), ("body_length", 85.into())]);
        if let Some(coding) = coding {
            values.push(("codec", coding.codec.into()));
            values.push(("key_id", coding.key.into()));
            values.push(("raw_length", coding.raw_len.into()));
            values.push(("stored_check", coding.stored_check.into()));
        }
        values.push(("type_count", 2.into()));
        for name in types {
            values.extend([("type_length", (name.len() as u64).into()), ("type", raw(name))]);
        }
        let first_position = Position(frame_position.0 + 7);
        let encoded: Vec<Vec<u8>> = (0..)
            .zip(&entries)
            .map(|(index, entry)| {
                let flags = if entry.id.is_some() { 1 | 2 | 4 } else { 0 };
                let position = Position(first_position.0 + index);
                entry_values(flags, entry, types[entry.type_index as usize], seeds, position)
            })
            .collect();
        for line in [16, 32] {
            let entry_at: usize = encoded[..line].iter().map(Vec::len).sum();
            let body_at: usize = entries[..line].iter().map(|entry| entry.metadata.len() + entry.payload.len()).sum();
            values.extend([("skip_entry", (entry_at as u64).into()), ("skip_body", (body_at as u64).into())]);
        }
        values.extend(encoded.iter().map(|entry| ("entries", raw(entry))));
        let mut section = Vec::new();
        let iter = entries.iter().copied();
        batch::put_section(&mut section, seeds, frame_position, first_position, origin, 85, coding, &types, iter);
        assert_eq!(encode("section", &values), section);
        let mut counts = Vec::new();
        batch::put_counts(&mut counts, 300, 2);
        let by_page = encode("batch_plain", &[("section_count", 300.into()), ("item_count", 2.into())]);
        assert_eq!(by_page, counts);
    }
}

#[test]
fn items_are_those_of_the_page() {
    let (frame, own) = (Position(100_000), Position(100_003));
    let back = |from: Position, to: u64| Value::from(from.0 - to);
    let token = token();
    let ranges = [(4u64, 900u64, 1u8), (70, 8, 3)];
    let accept_body = Accept::encode(
        &ranges.map(|(start, len, class)| AcceptedRange { start: Position(start), len, class }),
        &[(StreamId(3), None), (StreamId(400), Some(Revision(8)))],
    );
    let mut accept: Vec<(&str, Value)> = vec![("range_count", 2.into())];
    for (start, len, class) in ranges {
        accept.extend([("start", start.into()), ("length", len.into()), ("class", class.into())]);
    }
    accept.push(("stream_count", 2.into()));
    for (stream, head) in [(3, u64::MAX), (400, 8)] {
        accept.extend([("stream", stream.into()), ("head", head.into())]);
    }
    let fork = Item::Fork {
        name: "child",
        parent: StreamId(9000),
        revision: Revision(700),
        parent_place: Position(80_000),
        depth: 2,
        jump: StreamId(8192),
        jump_depth: 1,
        lowest: Revision(300),
    };
    let snapshot = Item::Snapshot {
        section: 6,
        source: StreamId(9000),
        first: Revision(1),
        end: Revision(900),
        place: Position(96_000),
        chain_before: [4; 32],
        chain_end: [5; 32],
        label: "summary",
        version: "v1",
    };
    let cases: [(&str, Item<'_>, Fields); 6] = [
        (
            "fork",
            fork,
            vec![
                ("name_length", 5.into()),
                ("name", raw("child")),
                ("parent_back", back(own, 9000)),
                ("fork_revision", 700.into()),
                ("place_back", 2500.into()),
                ("depth", 2.into()),
                ("jump_back", back(own, 8192)),
                ("jump_depth", 1.into()),
                ("lowest_back", 400.into()),
            ],
        ),
        (
            "snapshot",
            snapshot,
            vec![
                ("section", 6.into()),
                ("source_back", back(frame, 9000)),
                ("range_first", 1.into()),
                ("range_end", 900.into()),
                ("place_back", 500.into()),
                ("chain_at_first", raw([4; 32])),
                ("chain_at_end", raw([5; 32])),
                ("label_length", 7.into()),
                ("label", raw("summary")),
                ("version_length", 2.into()),
                ("version", raw("v1")),
            ],
        ),
        (
            "cursor",
            Item::Cursor { name: "ui", token },
            vec![("name_length", 2.into()), ("name", raw("ui")), ("token", raw(token_by_page()))],
        ),
        (
            "claim",
            Item::Claim { stream: StreamId(9000), note: "pid 7" },
            vec![("stream_back", back(frame, 9000)), ("note_length", 5.into()), ("note", raw("pid 7"))],
        ),
        (
            "fence",
            Item::Fence { stream: StreamId(9000), claim: Position(99_001) },
            vec![("stream_back", back(frame, 9000)), ("claim_back", back(frame, 99_001))],
        ),
        ("accept", Item::Accept(Accept::over(&accept_body)), accept),
    ];
    let kinds = super::pages::table("item_kinds").values();
    assert_eq!(kinds.len(), cases.len());
    for (name, item, values) in cases {
        let kind: i128 = kinds.iter().find(|(kind, _)| kind == name).unwrap().1.parse().unwrap();
        let body = encode(name, &values);
        let whole = [("kind", kind.into()), ("length", (body.len() as u64).into()), ("body", raw(body))];
        let mut out = Vec::new();
        item.encode(&mut out, frame, own);
        assert_eq!(encode("item", &whole), out, "{name}");
    }
}

#[test]
fn index_blocks_are_those_of_the_page() {
    let position = Position(200_000);
    let mut builder = IndexBlockBuilder::default();
    builder.add_batch_frame(160, 2);
    builder.add_stream(StreamId(199_000), Some("new"), None);
    builder.add_section(StreamId(199_000), Revision(0), 3);
    builder.add_section(StreamId(5), Revision(100), 1);
    builder.add_other_frame(frame::KIND_SEAL, 168);
    builder.add_stream(StreamId(7), Some("fork"), Some((StreamId(5), Revision(9))));
    let links = IndexLinks {
        number: 300,
        stretch: Position(199_672),
        previous: Position(190_000),
        jump: Position(180_000),
        max_recorded_at: -6,
    };
    let mut out = Vec::new();
    let plain_len = builder.encode(&mut out, position, links);
    let back = |place: u64| Value::from(position.0 - place);
    let streams = [
        encode(
            "index_stream",
            &[("flags", 1.into()), ("id_back", back(199_000)), ("name_length", 3.into()), ("name", raw("new"))],
        ),
        encode("index_stream", &[("flags", 0.into()), ("id_back", back(5))]),
        encode(
            "index_stream",
            &[
                ("flags", 3.into()),
                ("id_back", back(7)),
                ("name_length", 4.into()),
                ("name", raw("fork")),
                ("parent_back", back(5)),
                ("fork_revision", 9.into()),
            ],
        ),
    ];
    let section = |stream: u64, first: u64, count: u64| {
        [("stream", stream.into()), ("first_revision", first.into()), ("count", count.into())]
    };
    let mut batch: Vec<(&str, Value)> = vec![("length", 20.into()), ("shape", 3.into())];
    batch.extend(section(0, 0, 3));
    batch.extend(section(1, 100, 1));
    let frames = [
        encode("index_frame", &batch),
        encode("index_frame", &[("length", 21.into()), ("shape", 0.into()), ("kind", 3.into())]),
    ];
    let mut values: Vec<(&str, Value)> = vec![
        ("number", 300.into()),
        ("stretch_back", 41.into()),
        ("previous_back", 1250.into()),
        ("jump_back", 2500.into()),
        ("max_recorded_at", (-6).into()),
        ("stream_count", 3.into()),
    ];
    values.extend(streams.iter().map(|stream| ("streams", raw(stream))));
    values.push(("frame_count", 2.into()));
    values.extend(frames.iter().map(|frame| ("frames", raw(frame))));
    values.push(("extensions", raw(encode("extensions", &[("count", 0.into())]))));
    assert_eq!(encode("index_plain", &values), out[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + plain_len]);
}
