//! Random workloads: what a store may be asked to do, in an order that nobody would think of.
//!
//! The question it answers: which operations come next? Operations are small descriptions that say what they mean only
//! against the log so far ("a retry of the third batch", "expecting the head less one"), so that a shrunk workload stays
//! a sensible one. Bytes are described by a seed and a length: messages stay short, shrinking stays fast.
//!
//! Few streams, so that they meet often. Sizes are mostly small, now and then at a border, rarely larger than a small
//! segment. Left to others: what must come out (`model`), comparing (`run`).

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::model::{Batch, Event, Expected, LABEL_BYTES_MAX, Model, NAME_BYTES_MAX, Query, Section};

/// One operation.
#[derive(Clone, Debug)]
pub enum Op {
    /// An append that is well formed; its expectations may or may not hold.
    Append(Append),
    /// An append of an earlier batch once more, as it was or with other content under the same id.
    Retry(Retry),
    /// An append that must be refused.
    Malformed(Malformed),
    /// Forks a stream.
    Fork(Fork),
    /// Makes everything durable.
    Sync,
    /// A clean close, and open again.
    Reopen,
    /// Reads a stream.
    ReadStream {
        /// Which.
        stream: StreamName,
        /// What of it.
        query: Query,
        /// Durable or committed.
        durable: bool,
    },
    /// Reads all streams in the order of the log.
    ReadAll {
        /// From the position of this event, modulo their number and the end.
        from_event: u16,
        /// Beside that position.
        beside: i8,
        /// Durable or committed.
        durable: bool,
    },
    /// Reads one event.
    Point {
        /// Of which stream.
        stream: StreamName,
        /// Which revision; often one that is not there.
        revision: u64,
        /// Durable or committed.
        durable: bool,
    },
    /// Lists the streams.
    Streams,
}

/// One of a few names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamName(pub u8);

/// How many different names there are.
pub const STREAMS: u8 = 10;

impl StreamName {
    /// The name: short, with a path, not ASCII, one byte, with spaces, and as long as may be.
    #[must_use]
    pub fn name(self) -> String {
        match self.0 % STREAMS {
            0 => "session-1".into(),
            1 => "session-1/agent-7".into(),
            2 => "наблюдатель ✓".into(),
            3 => "x".into(),
            4 => " a\tb\n".into(),
            5 => "n".repeat(NAME_BYTES_MAX),
            fork => format!("session-1/fork-{fork}"),
        }
    }
}

/// A well-formed append.
#[derive(Clone, Debug)]
pub struct Append {
    /// Sections; a second one of the same stream is left out when the append is made.
    pub sections: Vec<(StreamName, Expectation, Vec<EventShape>)>,
    /// A batch id given by the caller.
    pub id: Option<u64>,
    /// Synced or Written.
    pub synced: bool,
}

/// A fork, which may or may not be possible.
#[derive(Clone, Copy, Debug)]
pub struct Fork {
    /// What is forked.
    pub parent: StreamName,
    /// Where.
    pub at: ForkAt,
    /// The name of the fork; mostly one that nothing else makes.
    pub name: StreamName,
}

/// Where a fork leaves its parent.
#[derive(Clone, Copy, Debug)]
pub enum ForkAt {
    /// At the head.
    Head,
    /// So many revisions before it.
    Before(u8),
    /// At this revision.
    Exactly(u64),
}

impl ForkAt {
    /// The revision that is asked for.
    #[must_use]
    pub fn resolve(self, head: Option<u64>) -> Option<u64> {
        match self {
            ForkAt::Head => None,
            ForkAt::Before(few) => Some(head.unwrap_or(0).saturating_sub(u64::from(few))),
            ForkAt::Exactly(revision) => Some(revision),
        }
    }
}

/// An expectation, by what is the case when it is used.
#[derive(Clone, Copy, Debug)]
pub enum Expectation {
    /// Any.
    Any,
    /// What is exactly the case: the head, or no stream.
    Fitting,
    /// Exists.
    Exists,
    /// No stream.
    NoStream,
    /// The head and so many more, or the number itself where there is no stream.
    Beside(i8),
    /// This revision.
    Exactly(u64),
}

/// One event, by its shape.
#[derive(Clone, Debug)]
pub struct EventShape {
    /// Which type.
    pub event_type: u8,
    /// The caller's id.
    pub id: Option<u8>,
    /// When it happened.
    pub occurred_at: Option<i64>,
    /// When another store recorded it.
    pub recorded_at: Option<i64>,
    /// Metadata.
    pub metadata: Blob,
    /// Payload.
    pub payload: Blob,
}

/// Bytes, by seed and length.
#[derive(Clone, Copy, Debug)]
pub struct Blob {
    /// What they look like.
    pub kind: BlobKind,
    /// Chooses among those of the kind.
    pub seed: u32,
    /// How many.
    pub len: u32,
}

/// What bytes look like.
#[derive(Clone, Copy, Debug)]
pub enum BlobKind {
    /// Noise, which does not compress.
    Noise,
    /// A line of JSON over and over, which does.
    Text,
    /// Zeros, which look like an unused rest.
    Zeros,
    /// The magic bytes of the format over and over, which look like a store.
    Magic,
}

impl Blob {
    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        let len = self.len as usize;
        match self.kind {
            BlobKind::Noise => {
                // SplitMix64: small, and the same on every machine.
                let mut state = u64::from(self.seed);
                let mut word = || {
                    state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                    let mut z = state;
                    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                    z ^ (z >> 31)
                };
                let mut bytes = vec![0; len];
                bytes.chunks_mut(8).for_each(|part| part.copy_from_slice(&word().to_le_bytes()[..part.len()]));
                bytes
            }
            BlobKind::Text => {
                let line = format!("{{\"role\":\"user\",\"n\":{},\"text\":\"and again\"}}\n", self.seed);
                again(line.as_bytes(), len)
            }
            BlobKind::Zeros => vec![0; len],
            BlobKind::Magic => again(b"TREERINGTRINGSEGTRINGWMK", len),
        }
    }
}

/// The bytes over and over, so many in all.
fn again(bytes: &[u8], len: usize) -> Vec<u8> {
    let mut all = bytes.repeat(len.div_ceil(bytes.len()));
    all.truncate(len);
    all
}

impl EventShape {
    fn event(&self) -> Event {
        let event_type = match self.event_type % 6 {
            0 => "message".into(),
            1 => "tool_call".into(),
            2 => "tool_result".into(),
            3 => "é".into(),
            4 => "t".into(),
            _ => "T".repeat(LABEL_BYTES_MAX),
        };
        let id = self.id.map(|id| match id {
            0 => "i".repeat(LABEL_BYTES_MAX),
            id => format!("id-{}", id % 5),
        });
        Event {
            event_type,
            id,
            occurred_at: self.occurred_at,
            recorded_at: self.recorded_at,
            metadata: self.metadata.bytes(),
            payload: self.payload.bytes(),
        }
    }
}

impl Append {
    /// The batch that it stands for now.
    #[must_use]
    pub fn resolve(&self, model: &Model) -> Batch {
        let mut sections: Vec<Section> = Vec::new();
        for (stream, expectation, events) in &self.sections {
            let stream = stream.name();
            if sections.iter().any(|section| section.stream == stream) {
                continue;
            }
            let head = model.head(&stream);
            let expected = match *expectation {
                Expectation::Any => Expected::Any,
                Expectation::Exists => Expected::Exists,
                Expectation::NoStream => Expected::NoStream,
                Expectation::Fitting => head.map_or(Expected::NoStream, Expected::Exactly),
                Expectation::Beside(more) => {
                    Expected::Exactly(head.unwrap_or(0).saturating_add_signed(i64::from(more)))
                }
                Expectation::Exactly(n) => Expected::Exactly(n),
            };
            sections.push(Section { stream, expected, events: events.iter().map(EventShape::event).collect() });
        }
        // An id of its own for every place in the log: giving one to two different batches is what Retry does.
        let id = self.id.map(|id| {
            let mut bytes = [0xAA; 16];
            bytes[..8].copy_from_slice(&id.to_le_bytes());
            bytes[8..].copy_from_slice(&(model.batches_count() as u64).to_le_bytes());
            bytes
        });
        Batch { id, synced: self.synced, sections }
    }
}

/// An earlier batch that had a given id, once more.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Which, modulo their number.
    pub which: u16,
    /// What is different.
    pub change: Change,
    /// Synced or Written; the level may differ from the first time.
    pub synced: bool,
}

/// What is different in a retry.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// Nothing: it must be recognised.
    Nothing,
    /// A payload is longer.
    Payload,
    /// Metadata is longer.
    Metadata,
    /// A type is another.
    Type,
    /// An event's id is another.
    Id,
    /// The time that was given.
    OccurredAt,
    /// One event more.
    OneMore,
}

impl Retry {
    /// The batch that it stands for now; nothing as long as no batch had a given id.
    #[must_use]
    pub fn resolve(&self, model: &Model) -> Option<Batch> {
        let given: Vec<&Batch> = (0..model.batches_count())
            .filter_map(|n| model.committed(n))
            .map(|(batch, _)| batch)
            .filter(|batch| batch.id.is_some())
            .collect();
        let mut batch = given.get(usize::from(self.which) % given.len().max(1)).copied()?.clone();
        batch.synced = self.synced;
        let events = &mut batch.sections.last_mut()?.events;
        let event = events.last_mut()?;
        match self.change {
            Change::Nothing => {}
            Change::Payload => event.payload.push(b'+'),
            Change::Metadata => event.metadata.push(b'+'),
            Change::Type => event.event_type = if event.event_type == "t" { "u".into() } else { "t".into() },
            Change::Id => event.id = event.id.is_none().then(|| "another".into()),
            Change::OccurredAt => event.occurred_at = Some(event.occurred_at.map_or(0, |at| at ^ 1)),
            Change::OneMore => {
                let more = event.clone();
                events.push(more);
            }
        }
        Some(batch)
    }
}

/// An append that must be refused and change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A batch without sections.
    NoSection,
    /// A section without events.
    NoEvent,
    /// A good section, then one without events.
    NoEventInSecond,
    /// The empty name.
    EmptyName,
    /// A name one byte too long.
    LongName,
    /// A name of the engine's own.
    ReservedName,
    /// The empty type.
    EmptyType,
    /// A type one byte too long.
    LongType,
    /// The empty event id.
    EmptyId,
    /// An event id one byte too long.
    LongId,
    /// Two sections of one stream.
    SameStreamTwice,
}

/// Every malformed append.
pub const MALFORMED: [Malformed; 11] = [
    Malformed::NoSection,
    Malformed::NoEvent,
    Malformed::NoEventInSecond,
    Malformed::EmptyName,
    Malformed::LongName,
    Malformed::ReservedName,
    Malformed::EmptyType,
    Malformed::LongType,
    Malformed::EmptyId,
    Malformed::LongId,
    Malformed::SameStreamTwice,
];

impl Malformed {
    /// The batch that it stands for.
    #[must_use]
    pub fn batch(self) -> Batch {
        let event = || Event { event_type: "message".into(), payload: b"{}".to_vec(), ..Event::default() };
        let section = |stream: String, event: Event| Section { stream, expected: Expected::Any, events: vec![event] };
        let good = || section(StreamName(0).name(), event());
        let with = |event: Event| vec![section(StreamName(0).name(), event)];
        let sections = match self {
            Malformed::NoSection => vec![],
            Malformed::NoEvent => vec![Section { events: vec![], ..good() }],
            Malformed::NoEventInSecond => {
                vec![good(), Section { events: vec![], ..section(StreamName(1).name(), event()) }]
            }
            Malformed::EmptyName => vec![section(String::new(), event())],
            Malformed::LongName => vec![section("n".repeat(NAME_BYTES_MAX + 1), event())],
            Malformed::ReservedName => vec![section("$streams".into(), event())],
            Malformed::EmptyType => with(Event { event_type: String::new(), ..event() }),
            Malformed::LongType => with(Event { event_type: "t".repeat(LABEL_BYTES_MAX + 1), ..event() }),
            Malformed::EmptyId => with(Event { id: Some(String::new()), ..event() }),
            Malformed::LongId => with(Event { id: Some("i".repeat(LABEL_BYTES_MAX + 1)), ..event() }),
            Malformed::SameStreamTwice => vec![good(), good()],
        };
        Batch { id: None, synced: true, sections }
    }
}

/// How large things get.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Most payloads are at most so long, in bytes.
    pub small_bytes: u32,
    /// A few are up to so long: choose it beyond a segment to see large ones.
    pub large_bytes: u32,
    /// Events in a section, at most.
    pub events: usize,
}

impl Default for Sizes {
    /// For segments of 16 KiB.
    fn default() -> Sizes {
        Sizes { small_bytes: 200, large_bytes: 40_000, events: 40 }
    }
}

/// Workloads of at most so many operations.
pub fn operations(most: usize, sizes: Sizes) -> impl Strategy<Value = Vec<Op>> {
    vec(operation(sizes), 1..=most)
}

fn operation(sizes: Sizes) -> impl Strategy<Value = Op> {
    let malformed = prop::sample::select(&MALFORMED[..]).prop_map(Op::Malformed);
    let read_all = (any::<u16>(), prop_oneof![3 => Just(0), 1 => -1..=1i8], any::<bool>())
        .prop_map(|(from_event, beside, durable)| Op::ReadAll { from_event, beside, durable });
    let read_stream = (stream(), query(), any::<bool>()).prop_map(|(stream, query, durable)| Op::ReadStream {
        stream,
        query,
        durable,
    });
    let point = (stream(), revision(), any::<bool>()).prop_map(|(stream, revision, durable)| Op::Point {
        stream,
        revision,
        durable,
    });
    prop_oneof![
        12 => append(sizes).prop_map(Op::Append),
        4 => retry().prop_map(Op::Retry),
        3 => fork().prop_map(Op::Fork),
        1 => malformed,
        1 => Just(Op::Sync),
        1 => Just(Op::Reopen),
        4 => read_stream,
        2 => read_all,
        2 => point,
        1 => Just(Op::Streams),
    ]
}

fn stream() -> impl Strategy<Value = StreamName> {
    (0..STREAMS).prop_map(StreamName)
}

fn fork() -> impl Strategy<Value = Fork> {
    let at = prop_oneof![
        2 => Just(ForkAt::Head),
        4 => (0..12u8).prop_map(ForkAt::Before),
        1 => revision().prop_map(ForkAt::Exactly),
    ];
    let name = prop_oneof![8 => 6..STREAMS, 1 => 0..6u8].prop_map(StreamName);
    (stream(), at, name).prop_map(|(parent, at, name)| Fork { parent, at, name })
}

/// Revisions that are mostly there, and some that cannot be.
fn revision() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 0..50u64, 1 => Just(u64::MAX), 1 => Just((1 << 63) - 1), 1 => Just(1 << 63)]
}

fn query() -> impl Strategy<Value = Query> {
    let range = (option::of(revision()), option::of(revision()), any::<bool>())
        .prop_map(|(from, to, backwards)| Query { from, to, last: None, backwards });
    let last = prop_oneof![8 => 0..20u64, 1 => Just(u64::MAX)];
    let last = (last, any::<bool>()).prop_map(|(n, backwards)| Query { last: Some(n), backwards, ..Query::default() });
    prop_oneof![3 => range, 1 => last]
}

fn append(sizes: Sizes) -> impl Strategy<Value = Append> {
    let events = prop_oneof![
        6 => vec(event(sizes), 1..=3),
        // At the steps of the skip table of a section (every 16 events), and beyond them.
        1 => vec(event(sizes), 1..=sizes.events.max(1)),
    ];
    let expectation = prop_oneof![
        6 => Just(Expectation::Any),
        6 => Just(Expectation::Fitting),
        1 => Just(Expectation::Exists),
        1 => Just(Expectation::NoStream),
        2 => (-2..=2i8).prop_map(Expectation::Beside),
        1 => revision().prop_map(Expectation::Exactly),
    ];
    let sections = prop_oneof![
        5 => vec((stream(), expectation.clone(), events.clone()), 1),
        2 => vec((stream(), expectation, events), 2..=usize::from(STREAMS)),
    ];
    (sections, option::of(any::<u64>()), prop::bool::weighted(0.4)).prop_map(|(sections, id, synced)| Append {
        sections,
        id,
        synced,
    })
}

fn retry() -> impl Strategy<Value = Retry> {
    let change = prop_oneof![
        6 => Just(Change::Nothing),
        1 => Just(Change::Payload),
        1 => Just(Change::Metadata),
        1 => Just(Change::Type),
        1 => Just(Change::Id),
        1 => Just(Change::OccurredAt),
        1 => Just(Change::OneMore),
    ];
    (any::<u16>(), change, any::<bool>()).prop_map(|(which, change, synced)| Retry { which, change, synced })
}

fn event(sizes: Sizes) -> impl Strategy<Value = EventShape> {
    let time = || {
        let at = prop_oneof![4 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => Just(0)];
        option::weighted(0.3, at)
    };
    let metadata = prop_oneof![3 => Just(0), 2 => 0..=40u32, 1 => 0..=sizes.small_bytes];
    let payload = prop_oneof![
        2 => Just(0u32),
        16 => 0..=sizes.small_bytes,
        2 => 1_000..=5_000u32,
        1 => 0..=sizes.large_bytes,
    ];
    (any::<u8>(), option::weighted(0.3, 0..8u8), time(), time(), blob(metadata), blob(payload)).prop_map(
        |(event_type, id, occurred_at, recorded_at, metadata, payload)| EventShape {
            event_type,
            id,
            occurred_at,
            recorded_at,
            metadata,
            payload,
        },
    )
}

fn blob(len: impl Strategy<Value = u32>) -> impl Strategy<Value = Blob> {
    let kind = prop_oneof![
        4 => Just(BlobKind::Noise),
        4 => Just(BlobKind::Text),
        1 => Just(BlobKind::Zeros),
        1 => Just(BlobKind::Magic),
    ];
    (kind, any::<u32>(), len).prop_map(|(kind, seed, len)| Blob { kind, seed, len })
}
