//! Operations that bytes choose: those of the fuzzer, on a store in memory and on the model at once, and those of the
//! laboratory, for which a strategy would take longer to draw than the engine to execute.

use std::sync::Arc;

use treering::storage::mem::MemStorage;

use super::input::Input;
use crate::model::Query;
use crate::store::small;
use crate::workload::{
    Append, Blob, BlobKind, Change, EventShape, Expectation, Fork, ForkAt, MALFORMED, Op, Retry, STREAMS, Sizes,
    StreamName,
};
use crate::{Engine, run};

/// So many operations at most.
const OPERATIONS: usize = 40;
/// How large they get.
const SIZES: Sizes = Sizes { small_bytes: 300, large_bytes: 40_000, events: 40 };

/// Runs the operations that the bytes stand for.
///
/// # Panics
/// Where the engine answers otherwise than the model.
pub fn operations(bytes: &[u8]) {
    let operations = operations_of(bytes, OPERATIONS, SIZES);
    let mut engine = Engine::open(Arc::new(MemStorage::new()), small()).expect("an empty directory can be opened");
    if let Err(difference) = run(&operations, &mut engine) {
        panic!("{difference}");
    }
}

/// The operations that the bytes stand for, at most so many.
#[must_use]
pub fn operations_of(bytes: &[u8], most: usize, sizes: Sizes) -> Vec<Op> {
    let mut input = Input(bytes);
    let mut operations = Vec::new();
    while !input.is_empty() && operations.len() < most {
        operations.push(operation(&mut input, sizes));
    }
    operations
}

fn operation(input: &mut Input<'_>, sizes: Sizes) -> Op {
    match input.below(16) {
        0..7 => Op::Append(append(input, sizes)),
        7 | 8 => Op::Retry(Retry {
            which: u16::from(input.byte()),
            change: [
                Change::Nothing,
                Change::Nothing,
                Change::Payload,
                Change::Metadata,
                Change::Type,
                Change::Id,
                Change::OccurredAt,
                Change::OneMore,
            ][input.below(8)],
            synced: input.flag(),
        }),
        9 => Op::Malformed(MALFORMED[input.below(MALFORMED.len())]),
        10 => match input.below(3) {
            0 => Op::Sync,
            _ => Op::Fork(fork(input)),
        },
        11 => Op::Reopen,
        12 => Op::ReadStream { stream: stream(input), query: query(input), durable: input.flag() },
        13 => {
            Op::ReadAll { from_event: u16::from(input.byte()), beside: input.below(3) as i8 - 1, durable: input.flag() }
        }
        14 => Op::Point { stream: stream(input), revision: revision(input), durable: input.flag() },
        _ => Op::Streams,
    }
}

fn stream(input: &mut Input<'_>) -> StreamName {
    StreamName(input.below(usize::from(STREAMS)) as u8)
}

fn fork(input: &mut Input<'_>) -> Fork {
    let at = match input.below(8) {
        0 => ForkAt::Head,
        1 => ForkAt::Exactly(revision(input)),
        _ => ForkAt::Before(input.below(12) as u8),
    };
    let name = if input.below(8) == 0 { stream(input) } else { StreamName(6 + input.below(4) as u8) };
    Fork { parent: stream(input), at, name }
}

fn revision(input: &mut Input<'_>) -> u64 {
    if input.below(8) == 0 { input.number() } else { input.below(30) as u64 }
}

fn query(input: &mut Input<'_>) -> Query {
    let backwards = input.flag();
    if input.flag() {
        return Query { last: Some(revision(input)), backwards, ..Query::default() };
    }
    let from = input.flag().then(|| revision(input));
    let to = input.flag().then(|| revision(input));
    Query { from, to, last: None, backwards }
}

fn append(input: &mut Input<'_>, sizes: Sizes) -> Append {
    let sections = (0..=input.below(3)).map(|_| {
        let expectation = match input.below(8) {
            0..3 => Expectation::Any,
            3 | 4 => Expectation::Fitting,
            5 => Expectation::Exists,
            6 => Expectation::NoStream,
            _ => Expectation::Beside(input.below(5) as i8 - 2),
        };
        let events = match input.below(8) {
            0 => input.below(sizes.events),
            _ => 1 + input.below(3),
        };
        (stream(input), expectation, (0..events.max(1)).map(|_| event(input, sizes)).collect())
    });
    let sections = sections.collect();
    Append { sections, id: input.flag().then(|| input.number()), synced: input.below(3) == 0 }
}

fn event(input: &mut Input<'_>, sizes: Sizes) -> EventShape {
    let shape = input.byte();
    EventShape {
        event_type: shape,
        id: (shape & 64 != 0).then(|| input.byte()),
        occurred_at: (shape & 128 != 0).then(|| input.number().cast_signed()),
        recorded_at: (shape & 192 == 192).then(|| input.number().cast_signed()),
        metadata: if shape & 32 == 0 { blob(input, 0) } else { blob(input, 200) },
        payload: match input.below(16) {
            0 => blob(input, sizes.large_bytes as usize),
            1 => blob(input, sizes.large_bytes as usize / 8),
            _ => blob(input, sizes.small_bytes as usize),
        },
    }
}

fn blob(input: &mut Input<'_>, most: usize) -> Blob {
    if most == 0 {
        return Blob { kind: BlobKind::Zeros, seed: 0, len: 0 };
    }
    let kind = [BlobKind::Noise, BlobKind::Text, BlobKind::Zeros, BlobKind::Magic][input.below(4)];
    Blob { kind, seed: u32::from(input.byte()), len: input.below(most + 1) as u32 }
}
