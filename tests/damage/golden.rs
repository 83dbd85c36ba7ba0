//! Stores to be damaged, with all that is true of them: each event, and where in which file its bytes lie.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use treering::checksum::Seeds;
use treering::format::batch::Sections;
use treering::format::frame::{FRAME_HEADER_BYTES, Frame, KIND_BATCH};
use treering::format::open::HeadBlock;
use treering::format::segment_header::FIRST_FRAME_OFFSET;
use treering::storage::Storage;
use treering::storage::mem::{Fault, MemStorage, Operation};
use treering::{
    Batch, BootId, Compression, Durability, Event, Expected, NewEvent, Options, Position, Receipt, Store, StreamId,
};
use treering_tests::image::Image;
use treering_tests::store::{everything, noise, small};

pub(super) const SEGMENT_BYTES: u64 = 16 << 10;

/// A frame behind a head block.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) file: String,
    /// Its bytes in the file.
    pub(super) bytes: Range<u64>,
    /// From here on only bodies and padding.
    pub(super) bodies_at: u64,
    /// Behind the last byte of a body.
    pub(super) bodies_end: u64,
    /// Its events: position, stream, and the bytes of the file that its body depends on.
    pub(super) events: Vec<(u64, StreamId, Range<u64>)>,
    /// Streams that it creates.
    pub(super) creates: Vec<StreamId>,
    pub(super) position: u64,
}

/// A store and the truth about it.
#[derive(Debug)]
pub(super) struct Golden {
    pub(super) storage: MemStorage,
    pub(super) image: Image,
    /// The same store, some appends earlier.
    pub(super) earlier: Image,
    /// Another store with the same events.
    pub(super) foreign: Image,
    /// Every event by its position.
    pub(super) events: BTreeMap<u64, Event>,
    pub(super) frames: Vec<Span>,
    /// Where the log ends in each segment file.
    pub(super) ends: BTreeMap<String, u64>,
    /// Everything below was known to be durable.
    pub(super) witness: u64,
}

pub(super) fn segment(ordinal: u64) -> String {
    format!("{ordinal:016x}.segment")
}

pub(super) fn options() -> Options {
    small().compression(Some(Compression { level: 1, min_bytes: 64 }))
}

fn boot(storage: &MemStorage, number: u8) {
    storage.set_boot_id(BootId([number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
}

fn open(storage: &MemStorage) -> Store {
    Store::open_on(Arc::new(storage.clone()), options()).unwrap()
}

/// Waits until every finished segment has its seal, so that the same is done in every run.
fn wait_for_seals(store: &Store) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        store.sync().unwrap();
        let stat = store.stat().unwrap();
        if stat.sealed_segments + 1 >= stat.segments {
            return;
        }
        assert!(Instant::now() < until, "segments are not sealed: {stat:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Batches of every shape: one stream and several, long sections with skip tables, coded bodies, empty payloads, ids.
fn batch(store: &Store, number: u64, level: Durability) -> Receipt {
    let text = "{\"say\": \"again and again\"}".repeat(9);
    let noise = noise(number, [37, 220, 700, 96][number as usize % 4]);
    let told = [
        NewEvent::new("user", "").id("id-1").metadata("{}"),
        NewEvent::new("model", &text).occurred_at(number as i64),
        NewEvent::new("tool", &noise),
    ];
    let ticks = vec![NewEvent::new("tick", &noise[..17]); if number % 15 == 2 { 18 } else { 2 }];
    let batch = match number % 5 {
        0 => Batch::to("a", Expected::Any, &told[..2]),
        1 => Batch::to("a", Expected::Any, &told[2..]).section("b", Expected::Any, &told[..1]),
        2 => Batch::to("c", Expected::Any, &ticks).section("a", Expected::Any, &told[1..2]),
        3 => Batch::to("b", Expected::Any, &told[2..]),
        _ => Batch::to("d", Expected::Any, &told[1..]).section("c", Expected::Any, &told[2..]),
    };
    store.append(&batch.durability(level)).unwrap()
}

/// Segments: one that was full, one that a takeover left, a jumbo segment, one behind a torn tail, and the active one, which
/// was closed; all finished ones sealed.
fn make(seed: u64, earlier: &mut Option<Image>) -> MemStorage {
    let storage = MemStorage::with_seed(seed);
    let mut number = 0;
    let mut some = |store: &Store, count: u64| {
        for _ in 0..count {
            let _ = batch(store, number, Durability::Synced);
            number += 1;
        }
        wait_for_seals(store);
    };
    boot(&storage, 1);
    let store = open(&storage);
    some(&store, 22);
    store.close().unwrap();
    boot(&storage, 2);
    let store = open(&storage);
    some(&store, 4);
    let big = noise(99, 17_000);
    let _ = store.append(&Batch::to("e", Expected::Any, &[NewEvent::new("big", &big)])).unwrap();
    some(&store, 3);
    *earlier = Some(Image::take(&storage));
    some(&store, 1);
    // Killed in the middle of a write.
    storage.inject(Fault {
        after: 0,
        error: std::io::ErrorKind::Other,
        sticky: true,
        on: Some(Operation::Write),
        keep: 200,
    });
    let _ = store.append(&Batch::to("a", Expected::Any, &[NewEvent::new("lost", &big[..900])])).unwrap_err();
    storage.fail_after(0, std::io::ErrorKind::Other, true);
    drop(store);
    storage.clear_fault();
    let store = open(&storage);
    some(&store, 14);
    store.close().unwrap();
    storage
}

impl Golden {
    /// A store that was closed: all of it is witnessed.
    pub(super) fn closed() -> Golden {
        let mut earlier = None;
        let storage = make(1, &mut earlier);
        let foreign = Image::take(&make(2, &mut None));
        Golden::look_at(storage, earlier.unwrap(), foreign)
    }

    /// A store whose writer was killed: of the end no more is witnessed than the last frames say.
    pub(super) fn killed() -> Golden {
        let mut earlier = None;
        let storage = make(1, &mut earlier);
        let foreign = Image::take(&make(2, &mut None));
        let store = open(&storage);
        for number in 0..4 {
            let _ = batch(&store, number, Durability::Synced);
        }
        for number in 4..10 {
            let _ = batch(&store, number, Durability::Written);
        }
        storage.fail_after(0, std::io::ErrorKind::Other, true);
        drop(store);
        storage.clear_fault();
        storage.remove("watermark").unwrap();
        Golden::look_at(storage, earlier.unwrap(), foreign)
    }

    fn look_at(storage: MemStorage, earlier: Image, foreign: Image) -> Golden {
        let image = Image::take(&storage);
        let store = Store::open_read_only_on(Arc::new(storage.clone()), options()).unwrap();
        assert_eq!(store.open_report().damage, []);
        let events = everything(&store);
        let witness = store.open_report().witness.0;
        let committed = store.watermarks().committed.0;
        let mut golden = Golden {
            storage,
            image,
            earlier,
            foreign,
            // Bytes of its own: those of the storage are going to be changed.
            events: events.into_iter().map(|event| (event.position.0, own(event))).collect(),
            frames: Vec::new(),
            ends: BTreeMap::new(),
            witness,
        };
        golden.find_ends(committed);
        golden.find_frames();
        let found: BTreeSet<u64> =
            golden.frames.iter().flat_map(|span| span.events.iter().map(|event| event.0)).collect();
        assert!(found.iter().eq(golden.events.keys()), "each event lies in a frame");
        golden
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.image.0.iter().filter(|(name, _)| name.ends_with(".segment"))
    }

    fn find_ends(&mut self, committed: u64) {
        let heads: Vec<(String, HeadBlock)> =
            self.segments().map(|(name, bytes)| (name.clone(), HeadBlock::decode(bytes).unwrap())).collect();
        for (index, (name, head)) in heads.iter().enumerate() {
            let end = match heads.get(index + 1) {
                Some((_, next)) => next.open.predecessor.unwrap().end.0,
                None => committed,
            };
            self.ends.insert(name.clone(), end - head.header.ordinal.0 * SEGMENT_BYTES);
        }
    }

    fn find_frames(&mut self) {
        for (file, end) in &self.ends {
            let bytes = &self.image.0[file];
            let head = HeadBlock::decode(bytes).unwrap();
            let (seeds, base) = (Seeds::new(head.header.salt), head.header.ordinal.0 * SEGMENT_BYTES);
            let mut at = FIRST_FRAME_OFFSET;
            while at < *end {
                let frame = Frame::decode(&bytes[at as usize..*end as usize], seeds, Position(base + at)).unwrap();
                let span = span_of(file, at, &frame);
                at = span.bytes.end;
                self.frames.push(span);
            }
        }
    }

    /// The events that may be lost where these bytes of a file are not what they were.
    pub(super) fn lost(&self, file: &str, bytes: &Range<u64>, is_whole: bool) -> BTreeSet<u64> {
        let mut lost = BTreeSet::new();
        let touches = |other: &Range<u64>| other.start < bytes.end && bytes.start < other.end;
        for span in self.frames.iter().filter(|span| span.file == file && touches(&span.bytes)) {
            // Above the witness a frame is there as a whole or not at all.
            let is_witnessed = span.position < self.witness;
            let is_in_bodies = bytes.start >= span.bodies_at && is_witnessed && !is_whole;
            let hit = span.events.iter().filter(|(_, _, body)| !is_in_bodies || touches(body));
            lost.extend(hit.map(|(position, _, _)| *position));
        }
        lost
    }

    /// Whether nothing reads these bytes but verify: padding, and what lies behind the end of the log.
    pub(super) fn is_padding(&self, file: &str, at: u64) -> bool {
        let inside = |span: &&Span| span.file == file && span.bytes.contains(&at);
        self.frames.iter().find(inside).is_some_and(|span| at >= span.bodies_end)
    }

    /// Streams whose name stands in these bytes.
    pub(super) fn named_in(&self, file: &str, bytes: &Range<u64>) -> BTreeSet<StreamId> {
        let hit = |span: &&Span| span.file == file && span.bytes.start < bytes.end && bytes.start < span.bodies_at;
        self.frames.iter().filter(hit).flat_map(|span| span.creates.iter().copied()).collect()
    }
}

fn span_of(file: &str, at: u64, frame: &Frame<'_>) -> Span {
    let bodies_at = at + (FRAME_HEADER_BYTES + frame.plain().len()) as u64;
    let mut span = Span {
        file: file.to_owned(),
        bytes: at..at + frame.bytes().len() as u64,
        bodies_at,
        bodies_end: bodies_at,
        events: Vec::new(),
        creates: Vec::new(),
        position: frame.position.0,
    };
    if frame.kind() != KIND_BATCH {
        return span;
    }
    let mut sections = Sections::new(*frame).unwrap();
    while let Some(section) = sections.next().unwrap() {
        let body_at = bodies_at + section.body_offset() as u64;
        let stored = body_at..body_at + section.stored_body().len() as u64;
        span.bodies_end = span.bodies_end.max(stored.end);
        if section.previous.is_none() {
            span.creates.push(section.stream);
        }
        let mut entries = section.entries_from(0).unwrap();
        while let Some(entry) = entries.next().unwrap() {
            let own = body_at + entry.body_at as u64;
            let body = match section.coding {
                Some(_) => stored.clone(),
                None => own..own + (entry.metadata_len + entry.payload_len) as u64,
            };
            span.events.push((section.position(entry.index).0, section.stream, body));
        }
    }
    span
}

fn own(mut event: Event) -> Event {
    event.metadata = event.metadata.to_vec().into();
    event.payload = event.payload.to_vec().into();
    event
}
