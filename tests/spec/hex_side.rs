//! The hex examples of side files, decoded by the engine and made again; and put together to a store that opens by them.

use treering::checksum::long_check;
use treering::format::directory::{Checkpoint, HeadRow, NameRow, RetryRow, RunHead, SegmentRow};
use treering::format::segment_index::postings::{self, Jump, NewStream};
use treering::format::segment_index::{SegmentIndexHead, types};
use treering::format::side_file::{SIDE_BLOCK_BYTES, SideHeader, SideKind, block_check, table_check};
use treering::format::store_block::StoreBlock;
use treering::{Options, Position, Revision, Salt, SegmentOrdinal, Store, StreamId};

use super::hex::number;
use super::pages::{bytes, hex};

const BASE: u64 = 5 << 20;

/// The payload of the run whose header is on the page: its name, the order of it, its head.
fn run_payload() -> Vec<u8> {
    let mut payload = bytes("name_row");
    payload.extend(*b"s\0\0\0\0\0\0\0");
    payload.extend([0; 8]);
    payload.extend(bytes("head_row"));
    payload
}

/// The file of that run.
fn run_file() -> Vec<u8> {
    let mut block = run_payload();
    block.resize(SIDE_BLOCK_BYTES, 0);
    let check = block_check(0, &block).to_le_bytes();
    [bytes("side_header"), block, check.to_vec()].concat()
}

#[test]
fn the_rows_of_the_directory_on_the_page_are_read_and_made_again() {
    let name = NameRow::decode(&bytes("name_row")).unwrap();
    assert_eq!(name, NameRow { stream: StreamId(8192), first: Revision(0), name_at: 0, name_len: 1 });
    assert_eq!(name.encode(), bytes("name_row")[..]);
    let head = HeadRow::decode(&bytes("head_row")).unwrap();
    assert_eq!((head.stream, head.head), (StreamId(8192), Revision(1)));
    assert_eq!((head.head_position, head.last_place), (Position(8193), Position(8192)));
    assert_eq!(head.encode(), bytes("head_row")[..]);
    let retry = RetryRow::decode(&bytes("retry_row")).unwrap();
    let fields = hex("batch_frame");
    let id = &fields.iter().find(|field| field.name == "batch_id").expect("a batch has an id").bytes;
    assert_eq!((&retry.batch.0[..], retry.frame), (&id[..], Position(8192)));
    assert_eq!(retry.encode(), bytes("retry_row")[..]);
    let segment = SegmentRow::decode(&bytes("segment_row")).unwrap();
    assert_eq!((segment.ordinal, segment.span), (SegmentOrdinal(0), 1));
    assert_eq!((segment.last_index_block, segment.end), (Position(8192 + 128), Position(8192 + 128 + 104)));
    assert_eq!(segment.encode(), bytes("segment_row")[..]);
}

/// [SID-1] The header covers the payload of the rows on the other page, and the checkpoint names it.
#[test]
fn the_side_header_and_the_checkpoint_of_the_pages_are_read_and_made_again() {
    let store = StoreBlock::decode(&bytes("store_block")).unwrap().store;
    let file = run_file();
    let header = SideHeader::decode(&file, SideKind::DirectoryRun, store).unwrap();
    assert_eq!(header.encode(), bytes("side_header"));
    assert_eq!((header.payload_len, header.table_check), (run_payload().len() as u64, table_check(&file[8192..])));
    assert_eq!(number("side_header", "header check"), long_check(0, &file[..SIDE_BLOCK_BYTES - 8]));
    let run = RunHead::decode(&header.head, header.payload_len).unwrap();
    assert_eq!((run.names, run.heads, run.retries, run.segments, run.name_bytes), (1, 1, 0, 0, 1));

    let checkpoint = Checkpoint::decode(&bytes("checkpoint")).unwrap();
    assert_eq!(checkpoint.encode(), bytes("checkpoint"));
    assert_eq!(checkpoint.last_check, number("index_block", "frame_check"));
    assert_eq!((checkpoint.runs.len(), checkpoint.runs[0].to), (1, run.to));
    assert_eq!(checkpoint.runs[0].check, number("side_header", "header check"));
}

/// The store of the pages' bytes alone opens from the checkpoint, and knows its stream by the directory.
#[test]
fn the_examples_together_are_a_store_that_opens_from_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let head = [bytes("segment_header"), bytes("open_frame")].concat();
    let mut segment = [&head[..], &head[..], &bytes("batch_frame"), &bytes("index_block")].concat();
    segment.resize(number("store_block", "segment_size") as usize, 0);
    let id = StoreBlock::decode(&bytes("store_block")).unwrap().store;
    let head = bytes("checkpoint");
    let checkpoint =
        SideHeader { kind: SideKind::Checkpoint, store: id, payload_len: 0, table_check: table_check(&[]), head };
    write("identity", &bytes("store_block"));
    write("0000000000000000.segment", &segment);
    write("directory-0000000000000001", &run_file());
    write("checkpoint-1", &checkpoint.encode());
    let store = Store::open_read_only(folder.path(), Options::new()).unwrap();
    let report = store.open_report();
    assert_eq!((report.read_from, report.frames_read), (Position(8192 + 128 + 104), 0));
    assert_eq!(report.damage, []);
    let streams = store.streams().unwrap();
    assert_eq!((&*streams[0].name, streams[0].head, streams.len()), ("s", Revision(1), 1));
}

fn index_head(streams: u64, types: u64, stream_rows_at: u64, type_rows_at: u64) -> SegmentIndexHead {
    SegmentIndexHead {
        ordinal: SegmentOrdinal(5),
        span: 1,
        base: Position(BASE),
        end: Position(BASE + (1 << 20)),
        last_frame: Position(BASE + 8192 + 80 * 130),
        last_check: 0,
        salt: Salt::default(),
        first_number: 0,
        events: 136,
        frames: 131,
        batches: 131,
        sections: 131,
        recorded_at: (0, 0),
        max_recorded_at: 0,
        streams,
        stream_rows_at,
        stream_tops_at: stream_rows_at + 12 * streams,
        types,
        type_rows_at,
    }
}

/// [SIX-4] The record of the page is read chunk by chunk and made again.
#[test]
fn the_records_of_a_segment_index_on_the_page_are_read_and_made_again() {
    let record_bytes = bytes("segment_index_record");
    let mut payload = record_bytes.clone();
    postings::put_row(&mut payload, StreamId(9), 0);
    payload.extend(9_u64.to_le_bytes());
    let head = index_head(1, 0, record_bytes.len() as u64, payload.len() as u64);
    let record = postings::find(&payload[..], &head, StreamId(9)).unwrap().expect("it is listed");
    let mut sections = Vec::new();
    let mut lens = Vec::new();
    for number in 0..record.chunks() {
        let chunk = record.chunk(&payload[..], &head, number).unwrap();
        lens.push(chunk.sections);
        chunk
            .walk(&payload[..], &head, |revision, place| {
                sections.push((revision, place));
                true
            })
            .unwrap();
    }
    let by_text = (0..131_u64).map(|at| (Revision(40 + at + at.saturating_sub(128)), Position(BASE + 8192 + 80 * at)));
    assert_eq!(sections, by_text.collect::<Vec<_>>());
    assert_eq!(lens, [128, 3]);
    let jump = Jump { ordinal: SegmentOrdinal(2), first_revision: Revision(7) };
    let (last_revision, reach_back) = (Revision(175), Some(Position(BASE - 800)));
    assert_eq!((record.number, record.last_revision, record.reach_back), (3, last_revision, reach_back));
    assert_eq!(record.jump, Some(jump));
    let new = NewStream { number: 3, last_revision, reach_back, jump: Some(jump) };
    let mut out = Vec::new();
    postings::put_stream(&mut out, SegmentOrdinal(5), Position(BASE), &new, &sections);
    assert_eq!(out, record_bytes);

    let type_bytes = bytes("segment_index_type");
    let mut payload = type_bytes.clone();
    payload.extend(0_u32.to_le_bytes());
    let head = SegmentIndexHead { batches: 9, ..index_head(0, 1, 0, type_bytes.len() as u64) };
    let record = types::find(&payload[..], &head, b"note").unwrap().expect("it is listed");
    let mut walk = record.places().expect("two of nine are listed");
    let mut places = Vec::new();
    while let Some(place) = walk.next(&payload[..], &head).unwrap() {
        places.push(place.0 - BASE);
    }
    assert_eq!((record.events, record.frames, places), (3, 2, vec![8192, 8352]));
    let mut out = Vec::new();
    types::put_type(&mut out, b"note", 3, 2, &type_bytes[8..]);
    assert_eq!(out, type_bytes);
}
