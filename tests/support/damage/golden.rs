//! All that is true of a store: each event, and where in which file its bytes lie.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use treering::checksum::Seeds;
use treering::format::batch::Sections;
use treering::format::frame::{FRAME_HEADER_BYTES, Frame, KIND_BATCH, KIND_INDEX_BLOCK};
use treering::format::item::Item;
use treering::format::open::HeadBlock;
use treering::format::segment_header::FIRST_FRAME_OFFSET;
use treering::format::watermark::{WATERMARK_SLOT_STRIDE, Watermark};
use treering::storage::mem::MemStorage;
use treering::{Event, Position, Store, StreamId};

use super::shape::{SEGMENT_BYTES, Shape, options};
use crate::image::Image;
use crate::store::everything;

/// A frame behind a head block.
#[derive(Debug)]
pub(super) struct Span {
    /// Its bytes in the file.
    pub(super) bytes: Range<u64>,
    /// From here on only bodies and padding.
    pub(super) bodies_at: u64,
    /// Behind the last byte of a body.
    pub(super) bodies_end: u64,
    /// Its events: position, stream, and the bytes of the file that its body depends on.
    pub(super) events: Vec<(u64, StreamId, Range<u64>)>,
    /// Streams that it creates, forks too.
    pub(super) creates: Vec<StreamId>,
    pub(super) position: u64,
    /// How far the log was durable when it was written.
    witness: u64,
    /// An index block: it says where other frames are.
    pub(super) is_index: bool,
}

/// A store and the truth about it.
#[derive(Debug)]
pub struct Golden {
    /// Which store it is.
    pub shape: Shape,
    /// Where it lies.
    pub storage: MemStorage,
    /// Its files as they ought to be.
    pub image: Image,
    /// The same store, some appends earlier.
    pub earlier: Image,
    /// Another store with the same events.
    pub foreign: Image,
    /// Every event by its position.
    pub events: BTreeMap<u64, Event>,
    pub(super) frames: BTreeMap<String, Vec<Span>>,
    /// Where the log ends in each segment file.
    pub ends: BTreeMap<String, u64>,
    /// Everything below was known to be durable.
    pub witness: u64,
    /// What the watermark file says of it.
    pub(super) watermark: u64,
    /// The witness of each segment's open frame.
    open_witness: BTreeMap<String, u64>,
}

impl Golden {
    /// Makes a store, and finds out all about it.
    ///
    /// # Panics
    /// Where a sound store cannot be made or read.
    #[must_use]
    pub fn new(shape: Shape) -> Golden {
        let (storage, earlier) = shape.make(1);
        let (foreign, _) = shape.make(2);
        Golden::look_at(shape, storage, earlier, Image::take(&foreign))
    }

    fn look_at(shape: Shape, storage: MemStorage, earlier: Image, foreign: Image) -> Golden {
        let image = Image::take(&storage);
        let store = Store::open_read_only_on(Arc::new(storage.clone()), options()).unwrap();
        assert_eq!(store.open_report().damage, []);
        let events = everything(&store);
        let witness = store.open_report().witness.0;
        let committed = store.watermarks().committed.0;
        let mut golden = Golden {
            shape,
            storage,
            image,
            earlier,
            foreign,
            // Bytes of its own: those of the storage are going to be changed.
            events: events.into_iter().map(|event| (event.position.0, own(event))).collect(),
            frames: BTreeMap::new(),
            ends: BTreeMap::new(),
            witness,
            watermark: 0,
            open_witness: BTreeMap::new(),
        };
        let slots =
            golden.image.0.get("watermark").map_or(&[][..], Vec::as_slice).chunks(WATERMARK_SLOT_STRIDE as usize);
        let slots = slots.filter_map(|slot| Watermark::decode(slot).ok());
        golden.watermark = slots.max_by_key(|slot| slot.generation).map_or(0, |slot| slot.durable.0);
        golden.find_ends(committed);
        golden.find_frames();
        let found: BTreeSet<u64> = golden.spans().flat_map(|span| span.events.iter().map(|event| event.0)).collect();
        assert!(found.iter().eq(golden.events.keys()), "each event lies in a frame");
        golden
    }

    fn spans(&self) -> impl Iterator<Item = &Span> {
        self.frames.values().flatten()
    }

    /// The segment files.
    pub fn segments(&self) -> impl Iterator<Item = (&String, &Vec<u8>)> {
        self.image.0.iter().filter(|(name, _)| name.ends_with(".segment"))
    }

    fn find_ends(&mut self, committed: u64) {
        let heads: Vec<(String, HeadBlock)> =
            self.segments().map(|(name, bytes)| (name.clone(), HeadBlock::decode(bytes).unwrap())).collect();
        for (index, (name, head)) in heads.iter().enumerate() {
            self.open_witness.insert(name.clone(), head.open.witness.map_or(0, |witness| witness.0));
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
                let span = span_of(at, &frame);
                at = span.bytes.end;
                self.frames.entry(file.clone()).or_default().push(span);
            }
        }
    }

    /// The frames of a file that these bytes touch.
    pub(super) fn hit(&self, file: &str, bytes: &Range<u64>) -> impl Iterator<Item = &Span> {
        let frames = self.frames.get(file).map_or(&[][..], Vec::as_slice);
        let first = frames.partition_point(|span| span.bytes.end <= bytes.start);
        let end = bytes.end;
        frames[first..].iter().take_while(move |span| span.bytes.start < end)
    }

    /// The events that may be lost where these bytes of a file are not what they were.
    pub(super) fn lost(&self, file: &str, bytes: &Range<u64>, is_whole: bool) -> BTreeSet<u64> {
        let mut lost = BTreeSet::new();
        let touches = |other: &Range<u64>| other.start < bytes.end && bytes.start < other.end;
        for span in self.hit(file, bytes) {
            // Above the witness a frame is there as a whole or not at all.
            let is_witnessed = span.position < self.witness;
            let is_in_bodies = bytes.start >= span.bodies_at && is_witnessed && !is_whole;
            let hit = span.events.iter().filter(|(_, _, body)| !is_in_bodies || touches(body));
            lost.extend(hit.map(|(position, _, _)| *position));
        }
        lost
    }

    /// How far the frames and heads that are not hit say that the log was durable.
    pub(super) fn witness_without(&self, is_hit: &dyn Fn(&str, &Range<u64>) -> bool) -> u64 {
        let heads =
            self.open_witness.iter().filter(|(file, _)| !(is_hit(file, &(0..4096)) && is_hit(file, &(4096..8192))));
        let frames = self.frames.iter().flat_map(|(file, spans)| spans.iter().map(move |span| (file, span)));
        let frames = frames.filter(|(file, span)| !is_hit(file, &(span.bytes.start..span.bodies_at)));
        heads.map(|(_, witness)| *witness).chain(frames.map(|(_, span)| span.witness)).max().unwrap_or(0)
    }

    /// Whether nothing reads these bytes but verify: padding, and what lies behind the end of the log.
    pub(super) fn is_padding(&self, file: &str, at: u64) -> bool {
        self.hit(file, &(at..at + 1)).next().is_some_and(|span| at >= span.bodies_end)
    }

    /// Streams whose name stands in these bytes.
    pub(super) fn named_in(&self, file: &str, bytes: &Range<u64>, is_whole: bool) -> BTreeSet<StreamId> {
        let hit = self.hit(file, bytes).filter(|span| is_whole || bytes.start < span.bodies_at);
        hit.flat_map(|span| span.creates.iter().copied()).collect()
    }

    /// The position at which a file begins; 0 for files that are no segments.
    pub(super) fn base(&self, file: &str) -> u64 {
        let ordinal = file.strip_suffix(".segment").and_then(|ordinal| u64::from_str_radix(ordinal, 16).ok());
        ordinal.map_or(0, |ordinal| ordinal * SEGMENT_BYTES)
    }

    /// Up to where somebody depends on the bytes of a file.
    pub(super) fn end(&self, file: &str) -> u64 {
        self.ends.get(file).copied().unwrap_or(if file == "identity" { 128 } else { 0 })
    }
}

fn span_of(at: u64, frame: &Frame<'_>) -> Span {
    let bodies_at = at + (FRAME_HEADER_BYTES + frame.plain().len()) as u64;
    let mut span = Span {
        bytes: at..at + frame.bytes().len() as u64,
        bodies_at,
        bodies_end: bodies_at,
        events: Vec::new(),
        creates: Vec::new(),
        position: frame.position.0,
        witness: frame.header().witness.map_or(0, |witness| witness.0),
        is_index: frame.kind() == KIND_INDEX_BLOCK,
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
    let (mut items, count) = sections.items().unwrap();
    for number in 0..u64::from(count) {
        let position = Position(frame.position.0 + u64::from(frame.events()) + number);
        if let Item::Fork { .. } = Item::decode(&mut items, frame.position, position).unwrap() {
            span.creates.push(StreamId(position.0));
        }
    }
    span
}

fn own(mut event: Event) -> Event {
    event.metadata = event.metadata.to_vec().into();
    event.payload = event.payload.to_vec().into();
    event
}
