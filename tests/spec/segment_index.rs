//! Segment indexes: head, rows and records beside the page's tables, and what breaks them.

use treering::format::index_block::jump_target;
use treering::format::segment_index::postings::{self, Jump, NewStream};
use treering::format::segment_index::{SegmentIndexHead, types};
use treering::{Position, Revision, Salt, SegmentOrdinal, StreamId};

use super::layout::{encode, raw};

const BASE: u64 = 5 << 20;

fn head(payload_len: u64) -> SegmentIndexHead {
    SegmentIndexHead {
        ordinal: SegmentOrdinal(5),
        span: 1,
        base: Position(BASE),
        end: Position(BASE + (1 << 20)),
        last_frame: Position(BASE + 9000),
        last_check: 0x0102_0304_0506_0708,
        salt: Salt([3; 16]),
        first_number: 77,
        events: 400,
        frames: 390,
        batches: 380,
        sections: 391,
        recorded_at: (-9, 1 << 40),
        max_recorded_at: 1 << 41,
        streams: 1,
        stream_rows_at: payload_len - 20,
        stream_tops_at: payload_len - 8,
        types: 0,
        type_rows_at: payload_len,
    }
}

#[test]
fn the_head_of_a_segment_index_is_that_of_the_page() {
    let by_page = encode(
        "segment_index_head",
        &[
            ("ordinal", 5.into()),
            ("span", 1.into()),
            ("base", BASE.into()),
            ("end", (BASE + (1 << 20)).into()),
            ("last_frame", (BASE + 9000).into()),
            ("last_check", 0x0102_0304_0506_0708_u64.into()),
            ("salt", raw([3; 16])),
            ("first_number", 77.into()),
            ("events", 400.into()),
            ("frames", 390.into()),
            ("batches", 380.into()),
            ("sections", 391.into()),
            ("least_recorded_at", (-9).into()),
            ("greatest_recorded_at", (1_i64 << 40).into()),
            ("max_recorded_at", (1_i64 << 41).into()),
            ("streams", 1.into()),
            ("stream_rows_at", 980.into()),
            ("stream_tops_at", 992.into()),
            ("types", 0.into()),
            ("type_rows_at", 1000.into()),
        ],
    );
    assert_eq!(by_page, head(1000).encode());
    assert_eq!(SegmentIndexHead::decode(&by_page, 1000), Ok(head(1000)));
}

/// 130 sections of which the last skips a revision: two chunks, the first of mode 0, the second of mode 1.
#[test]
fn the_parts_of_a_segment_index_are_those_of_the_page() {
    let sections: Vec<_> = (0..130).map(|at| (Revision(40 + at + at / 129), Position(BASE + 8192 + 80 * at))).collect();
    let jump = Jump { ordinal: SegmentOrdinal(2), first_revision: Revision(7) };
    let reach_back = Some(Position(BASE - 800));
    let new = NewStream { number: 3, last_revision: Revision(171), reach_back, jump: Some(jump) };
    let mut out = Vec::new();
    postings::put_stream(&mut out, SegmentOrdinal(5), Position(BASE), &new, &sections);
    let mut by_page = encode(
        "segment_index_record",
        &[
            ("number", 3.into()),
            ("first_revision", 40.into()),
            ("revisions", 131.into()),
            ("section_count", 130.into()),
            ("first_place", 1024.into()),
            ("reach_back", (8992 / 8).into()),
            ("jump_ordinals", 3.into()),
            ("jump_revisions", 33.into()),
            ("postings_length", 131.into()),
        ],
    );
    let chunk = [("first_revision", 168.into()), ("place", (1024 + 1280).into()), ("postings_at", 128.into())];
    by_page.extend(encode("segment_index_chunk", &chunk));
    by_page.push(0);
    by_page.extend([10; 127]);
    by_page.extend([1, 10, 2]);
    assert_eq!(by_page, out);
    assert_eq!(jump_target(3), Some(0));

    let mut row = Vec::new();
    postings::put_row(&mut row, StreamId(81_920), 0);
    assert_eq!(encode("segment_index_row", &[("stream", 81_920.into()), ("record_at", 0.into())]), row);

    let mut of_type = Vec::new();
    types::put_type(&mut of_type, b"done", 9, 3, &[0x80, 0x08, 10, 10]);
    let mut by_page = encode(
        "segment_index_type",
        &[
            ("name_length", 4.into()),
            ("name", raw(b"done")),
            ("events", 9.into()),
            ("batches", 3.into()),
            ("postings_length", 4.into()),
        ],
    );
    by_page.extend([0x80, 0x08, 10, 10]);
    assert_eq!(by_page, of_type);
    assert!(types::is_listed(94, 380) && !types::is_listed(95, 380));
}

/// [SIX-4] A distance of 0, one that leads beyond the end, and a revision beyond the last one end the walk.
#[test]
fn postings_that_lead_nowhere_are_refused() {
    let sections: Vec<_> = (0..3).map(|at| (Revision(at), Position(BASE + 8192 + 80 * at))).collect();
    let new = NewStream { number: 0, last_revision: Revision(2), reach_back: None, jump: None };
    let mut payload = Vec::new();
    postings::put_stream(&mut payload, SegmentOrdinal(5), Position(BASE), &new, &sections);
    let distance_at = payload.len() - 1;
    postings::put_row(&mut payload, StreamId(9), 0);
    payload.extend(9_u64.to_le_bytes());
    let head = head(payload.len() as u64);
    let walk = |payload: &[u8]| {
        let record = postings::find(payload, &head, StreamId(9))?.expect("it is listed");
        let mut found = Vec::new();
        record.chunk(payload, &head, 0)?.walk(payload, &head, |revision, place| {
            found.push((revision, place));
            true
        })?;
        Ok::<_, treering::format::Fault>(found)
    };
    assert_eq!(walk(&payload), Ok(sections));
    payload[distance_at] = 0;
    assert!(walk(&payload).is_err(), "round in a circle");
    payload[distance_at] = 10;
    payload[distance_at - 1] = 0;
    assert!(walk(&payload).is_err());
    let near = SegmentIndexHead { end: Position(BASE + 8192 + 160), last_frame: Position(BASE + 8192), ..head.clone() };
    payload[distance_at - 1] = 10;
    let record = postings::find(&payload[..], &near, StreamId(9)).expect("holds").expect("it is listed");
    let chunk = record.chunk(&payload[..], &near, 0).expect("holds");
    assert!(chunk.walk(&payload[..], &near, |_, _| true).is_err(), "beyond the end");
}
