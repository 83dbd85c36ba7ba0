//! Accepting what is lost: what would be accepted, and the frame that records it.
//!
//! Where frames are lost and no index block lists them, nobody knows where the streams end that may have had events there,
//! nor whether streams were made there. Appending to them waits for somebody to say: it is lost, go on.
//!
//! Nothing is given twice by going on:
//! 1. *Positions*: a new segment is begun behind every file there is.
//! 2. *Revisions*: a stream goes on behind its last known revision *plus as many events as can have been lost*. That number
//!    is exact where a frame behind the loss proves itself (events are numbered throughout the log), else it is what there
//!    was room for. The revisions between are never given to any event.
//! 3. *Names*: a stream that was made in the lost stretch, and nowhere else, may be made again under its name. It is another
//!    stream, with another id, and it begins in a new incarnation of the store: receipts and tokens of the one never fit the
//!    other.
//!
//! A copy that ends early has nothing lost in it: it goes on where it ends, in an incarnation of its own.
//!
//! The frame that says so is the first of the new segment and written before that gets its name: with the one rename the
//! loss is accepted and the log goes on, or neither.

use std::sync::Arc;
use std::time::Duration;

use crate::checksum::Seeds;
use crate::commit::keeper::WatermarkFile;
use crate::commit::writer::Life;
use crate::error::{Damage, DamageClass};
use crate::format::batch;
use crate::format::frame::{self, FrameHeader, KIND_BATCH};
use crate::format::item::{ACCEPTED_COPY_INCOMPLETE, ACCEPTED_DAMAGE, ACCEPTED_MISSING, Accept, AcceptedRange, Item};
use crate::format::open::{HeadBlock, OpenReason};
use crate::format::segment_header::FIRST_FRAME_OFFSET;
use crate::format::watermark::{Watermark, fold_boot};
use crate::ids::{BatchId, Position, Revision, StreamId};
use crate::limits;
use crate::process::turn::Turns;
use crate::recovery::decision::{Place, TailState};
use crate::recovery::identity;
use crate::recovery::open::{self, Found};
use crate::segment::create;
use crate::storage::{Access, Storage};
use crate::{Error, ErrorKind, Result};

/// What accepting would mean for a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptPlan {
    /// What would be accepted as lost: everything that is damaged, missing or incomplete and was not accepted before.
    pub damage: Vec<Damage>,
    /// The streams whose head is not known, and where they would go on.
    pub streams: Vec<AcceptedStream>,
    /// At most so many events lie in stretches of which nothing says what was there.
    pub unlisted_events_max: u64,
    /// Streams may have been made there, and be made again under their names; and a copy gets a life of its own.
    pub begins_incarnation: bool,
    /// Where the log ends.
    pub end: Position,
}

/// A stream whose head is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptedStream {
    /// The stream.
    pub stream: StreamId,
    /// Its name.
    pub name: Arc<str>,
    /// The last revision that is known of it.
    pub known_head: Revision,
    /// The head that would be accepted: no event behind `known_head` up to it will ever be there; the next revision is the
    /// one behind it.
    pub accepted_head: Revision,
}

impl AcceptPlan {
    /// Whether there is nothing to accept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.damage.is_empty() && self.streams.is_empty()
    }

    /// The plan for a store without any log: there is nothing to go on from.
    pub(crate) fn nothing(damage: &[Damage]) -> AcceptPlan {
        AcceptPlan {
            damage: damage.to_vec(),
            streams: Vec::new(),
            unlisted_events_max: 0,
            begins_incarnation: false,
            end: Position::ZERO,
        }
    }

    /// What would be accepted of what was found. `damage` is everything known to be wrong, opening's findings included.
    pub(crate) fn of(found: &Found, damage: &[Damage]) -> AcceptPlan {
        let replay = &found.replay;
        let is_of_the_log = |damage: &&Damage| {
            !damage.is_accepted && damage.class != DamageClass::TornTail && found.set.positions_of(damage).is_some()
        };
        let damage = damage.iter().filter(is_of_the_log).cloned().collect();
        let mut streams = Vec::new();
        for stream in found.streams.read().iter() {
            let Some(events) = replay.lost_behind(stream.head_position) else { continue };
            let head = stream.head.0.saturating_add(events).min(limits::NUMBER_MAX - 2);
            streams.push(AcceptedStream {
                stream: stream.id,
                name: Arc::clone(&stream.name),
                known_head: stream.head,
                accepted_head: Revision(head.max(stream.head.0)),
            });
        }
        AcceptPlan {
            damage,
            streams,
            unlisted_events_max: replay.lost_behind(Position::ZERO).unwrap_or(0),
            begins_incarnation: found.place == Place::Moved
                || replay.tail == TailState::Copy
                || !replay.lost.is_empty(),
            end: replay.at,
        }
    }

    /// The stretches to be recorded, touching ones of a class as one.
    fn ranges(&self, found: &Found) -> Vec<AcceptedRange> {
        let mut ranges: Vec<AcceptedRange> = Vec::new();
        let lost = found.replay.lost.iter().map(|lost| (lost.positions.clone(), ACCEPTED_DAMAGE));
        let unaccepted = found.replay.damage.iter().filter(|damage| !damage.is_accepted);
        let damage = self.damage.iter().chain(unaccepted).filter_map(|damage| {
            let mut positions = found.set.positions_of(damage)?;
            let class = class_of(damage);
            if class == ACCEPTED_COPY_INCOMPLETE {
                // All that the file could have held behind the end of the copy.
                let known = found.line.known.iter().find(|known| positions.start < known.file_end);
                positions.end = known.map_or(positions.end, |known| positions.end.max(known.file_end));
            }
            Some((positions, class))
        });
        let mut all: Vec<_> = damage.chain(lost).collect();
        all.sort_by_key(|(positions, class)| (positions.start, positions.end, *class));
        for (positions, class) in all {
            let range = AcceptedRange { start: positions.start, len: positions.end.0 - positions.start.0, class };
            match ranges.last_mut() {
                Some(last) if last.holds(&positions) => {}
                Some(last) if last.class == class && last.start.0 + last.len >= positions.start.0 => {
                    last.len = positions.end.0 - last.start.0;
                }
                _ => ranges.push(range),
            }
        }
        ranges
    }
}

fn class_of(damage: &Damage) -> u8 {
    match damage.class {
        DamageClass::CopyIncomplete => ACCEPTED_COPY_INCOMPLETE,
        DamageClass::Missing | DamageClass::Foreign | DamageClass::Stale => ACCEPTED_MISSING,
        DamageClass::Damage | DamageClass::TornTail | DamageClass::Undecoded => ACCEPTED_DAMAGE,
    }
}

/// Accepts what a plan lists, and makes that durable. Returns whether there was anything to accept.
///
/// The store is locked meanwhile, and must be as it was when the plan was made.
pub(crate) fn apply(storage: Arc<dyn Storage>, plan: &AcceptPlan) -> Result<bool> {
    open::refuse_network(&*storage, false)?;
    let Some(identity) = identity::read(&*storage, Access::ReadWrite)? else { return Err(open::no_store(&*storage)) };
    let turns = Turns::new(&*storage, Arc::clone(&identity.file), false, Duration::from_secs(10));
    turns.enter(&storage.describe())?;
    let applied = apply_locked(Arc::clone(&storage), &identity, plan);
    turns.leave();
    applied
}

fn apply_locked(storage: Arc<dyn Storage>, identity: &identity::Identity, plan: &AcceptPlan) -> Result<bool> {
    if !identity.block.is_writable() {
        let message = format!("{} uses features that this build cannot write", storage.describe());
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let boot = storage.boot_id();
    let found = open::find(storage, identity)?;
    found.set.check_supported(Position::MAX)?;
    let now = AcceptPlan::of(&found, &plan.damage);
    let is_planned = |damage: &Damage| plan.damage.iter().any(|planned| do_meet(damage, planned));
    let is_all_in_plan = found
        .replay
        .damage
        .iter()
        .all(|damage| damage.is_accepted || is_planned(damage) || found.set.positions_of(damage).is_none());
    let same = (now.end, &now.streams, now.begins_incarnation) == (plan.end, &plan.streams, plan.begins_incarnation);
    if found.replay.segment.is_none() {
        let message = format!("no segment of {} proves itself: there is no log to go on", found.set.storage.describe());
        return Err(Error::new(ErrorKind::Damage, message));
    }
    if !same || !is_all_in_plan {
        return Err(Error::new(
            ErrorKind::Invalid,
            "the store is not as it was when the plan was made; make a new plan and look at it again",
        ));
    }
    if plan.is_empty() {
        return Ok(false);
    }
    let incarnation = match plan.begins_incarnation {
        true => open::new_incarnation(&*found.set.storage)?,
        false => found.replay.incarnation,
    };
    open::make_durable(&found, None)?;
    let reason = if plan.begins_incarnation { OpenReason::NewIncarnation } else { OpenReason::Forced };
    publish(&found, Life { incarnation, identity_place: identity.place, boot }, reason, plan)?;
    Ok(true)
}

/// Whether two reports of damage, made in different ways, speak of the same place.
fn do_meet(a: &Damage, b: &Damage) -> bool {
    a.file == b.file && a.bytes.start <= b.bytes.end && b.bytes.start <= a.bytes.end
}

/// Begins a segment whose first frame is the accept.
fn publish(found: &Found, life: Life, reason: OpenReason, plan: &AcceptPlan) -> Result<()> {
    /// Room for the index block that covers the frame.
    const INDEX_BYTES: u64 = 1 << 10;
    let storage = &*found.set.storage;
    let heads: Vec<_> = plan.streams.iter().map(|stream| (stream.stream, Some(stream.accepted_head))).collect();
    let body = Accept::encode(&plan.ranges(found), &heads);
    if body.len() as u64 > limits::FRAME_BYTES_MAX / 2 {
        return Err(Error::new(ErrorKind::Limit, "more is to be accepted than one frame can say; use salvage"));
    }
    let span = (FIRST_FRAME_OFFSET + body.len() as u64 + INDEX_BYTES).div_ceil(found.set.store.segment_bytes);
    let prepared =
        create::prepare(storage, &found.set.store, found.line.next_ordinal, span as u32, create::FIRST_STEP_BYTES)?;
    let open = open::open_frame(found, life, reason);
    let (_, open_check) = HeadBlock::encode(&prepared.header, &open);
    let mut batch = BatchId::default();
    storage
        .fill_random(&mut batch.0)
        .map_err(|error| Error::io("draw random bytes for", &storage.describe(), error))?;
    let header = FrameHeader {
        kind: KIND_BATCH,
        flags: 0,
        takeover: 0,
        frame_len: 0,
        plain_len: 0,
        witness: open.witness,
        events: 0,
        previous_check: open_check,
        first_number: open.first_number,
        recorded_at: storage.now(),
        batch,
        frame_check: 0,
    };
    let position = HeadBlock::first_frame(&prepared.header);
    let mut bytes = Vec::new();
    frame::begin(&mut bytes);
    let start = bytes.len();
    batch::put_counts(&mut bytes, 0, 1);
    Item::Accept(Accept::over(&body)).encode(&mut bytes, position, position);
    let plain_len = bytes.len() - start;
    frame::pad(&mut bytes, 0);
    let last_check = frame::finish(&mut bytes, plain_len, &header, Seeds::new(prepared.header.salt), position);
    if let Err(failed) = create::publish(storage, &prepared, &open, &bytes) {
        if !failed.is_effect_unknown {
            create::discard(storage, prepared);
        }
        return Err(failed.error);
    }
    let watermark = Watermark {
        generation: found.generation + 1,
        store: found.set.store.store,
        incarnation: life.incarnation,
        durable: Position(position.0 + bytes.len() as u64),
        last_check,
        last_frame: position,
        last_index_block: Position::ZERO,
        next_number: header.first_number,
        salt: prepared.header.salt,
        takeover: 0,
        is_clean: true,
        boot: fold_boot(life.boot),
    };
    // Derived: without it the next writer begins one more segment.
    let _ = WatermarkFile::new(found.generation).put(storage, &watermark);
    Ok(())
}
