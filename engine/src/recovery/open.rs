//! Opening, from the directory to a store that can be read or written.

use std::sync::Arc;
use std::time::Duration;

use crate::commit::durable::Files;
use crate::commit::keeper::{self, WatermarkFile};
use crate::commit::notes::Notes;
use crate::commit::tail::{Output, Tail};
use crate::commit::writer::{Doubts, Life, Parts, Writer, page_owner};
use crate::error::ErrorKind;
use crate::format::open::{OpenFrame, OpenReason, open_position};
use crate::format::watermark::{Watermark, fold_boot};
use crate::ids::{Incarnation, Position, SegmentOrdinal};
use crate::index::on_demand::{LogRead, ReadLog, Streams};
use crate::options::Options;
use crate::planted::{Plant, planted};
use crate::process::control::{self, ControlPage, Others, Seen};
use crate::process::turn::Turns;
use crate::recovery::checkpoint::{self, Resumed};
use crate::recovery::decision::{Opening, Place, Proceed, TailState, WatermarkState};
use crate::recovery::identity::{self, Identity};
use crate::recovery::line::{self, Line};
use crate::recovery::onward::Onward;
use crate::recovery::page;
use crate::recovery::prove;
use crate::recovery::replay::Replay;
use crate::recovery::report::OpenReport;
use crate::recovery::rewrite;
use crate::segment::again;
use crate::segment::create;
use crate::segment::one::Segment;
use crate::segment::scan::is_header_absent;
use crate::segment::set::{Known, SegmentSet};
use crate::storage::{Access, Storage, StorageFile};
use crate::sync::{Mutex, now, thread};
use crate::watermark::{LogEnd, Marks};
use crate::{Error, Result};

/// What was found, before anything was written.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) set: Arc<SegmentSet>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) line: Line,
    pub(crate) replay: Replay,
    watermark: Option<Watermark>,
    /// The highest generation of any slot of the store: those that are written are above it.
    pub(crate) generation: u64,
    pub(crate) place: Place,
    /// The control page, where it says something of this log.
    page: Option<Seen>,
}

impl Found {
    /// The highest takeover that was ever given in the segment in which the log ends.
    fn takeover(&self) -> u16 {
        let by_page = self.page.and_then(|seen| page::takeover_of(&seen, &self.line, &self.replay)).unwrap_or(0);
        let by_slot = self.watermark.map_or(0, |watermark| watermark.takeover);
        self.replay.takeover.max(by_slot).max(by_page)
    }
}

/// A store that was opened for writing.
#[derive(Debug)]
pub(crate) struct OpenedWriter {
    pub(crate) writer: Arc<Writer>,
    pub(crate) watermark: Arc<Mutex<WatermarkFile>>,
    pub(crate) report: OpenReport,
    /// Bytes in coded sections so far, before and after coding.
    pub(crate) coded: (u64, u64),
}

/// A store that was opened for reading.
#[derive(Debug)]
pub(crate) struct OpenedReader {
    pub(crate) set: Arc<SegmentSet>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) marks: Arc<Marks>,
    pub(crate) replay: Replay,
    /// The file on which writers lock; of a segment, where it is lost.
    pub(crate) identity: Arc<dyn StorageFile>,
    pub(crate) report: OpenReport,
}

/// Opens a store for reading: writes no byte, makes no file, takes no lock.
pub(crate) fn for_reading(storage: Arc<dyn Storage>) -> Result<OpenedReader> {
    if planted(Plant::ReaderSyncsDirectory) {
        let _ = storage.sync_directory();
    }
    // Every segment repeats what the identity file says: without it, a store can be read but not locked.
    let Some((identity, damage)) = identity::read_or_recover(&*storage)? else { return Err(no_store(&*storage)) };
    let found = find_from_checkpoint(storage, &identity)?;
    let Found { set, streams, line, mut replay, .. } = found;
    if line.known.is_empty() {
        return Err(log_missing(&*set.storage));
    }
    replay.damage.extend(damage);
    let durable = prove::durable_up_to(&set, replay.witness, replay.at);
    let report = report_of(&replay);
    let marks = Arc::new(Marks::new(replay.log_end(), durable));
    Ok(OpenedReader { set, streams, marks, replay, identity: identity.file, report })
}

/// Opens a store for writing, and makes it where there is none and the options say so.
pub(crate) fn for_writing(storage: Arc<dyn Storage>, options: &Options) -> Result<OpenedWriter> {
    options.check()?;
    refuse_network(&*storage, options.force_network_file_system)?;
    let (identity, is_new) = identity_to_write(&*storage, options)?;
    let turns = Turns::new(&*storage, Arc::clone(&identity.file), !options.exclusive, options.patience);
    if is_new || !planted(Plant::LockSkipped) {
        turns.enter(&storage.describe())?;
    }
    if !identity.block.is_writable() {
        let message = format!(
            "{} uses features that this build can read but not write; use a newer version of treering",
            storage.describe()
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let place = identity.place;
    let boot = storage.boot_id();
    let found = find_from_checkpoint(storage, &identity)?;
    found.set.check_supported(Position::MAX)?;
    if found.line.known.is_empty() && !is_new {
        return Err(log_missing(&*found.set.storage));
    }
    let others = others(&found, &turns)?;
    let opening = Opening {
        tail: found.replay.tail,
        watermark: watermark_state(&found),
        is_same_boot: fold_boot(boot) != 0
            && found.watermark.is_some_and(|watermark| watermark.boot == fold_boot(boot)),
        control: page::state(found.page.as_ref(), found.watermark.as_ref(), &found.set, &found.line, &found.replay),
        place: found.place,
    };
    let (row, proceed) = opening.decide();
    let is_plain_roll = matches!(proceed, Proceed::Roll { new_incarnation: false, .. });
    let proceed = if planted(Plant::GoesOnInOldTail) && is_plain_roll { Proceed::Continue } else { proceed };
    let was_clean = matches!(row, "O1" | "O2") && !found.line.known.is_empty();
    let life = |incarnation| Life { incarnation, identity_place: place, boot };
    let generation = found.generation;
    let mut report = report_of(&found.replay);
    let coded = found.replay.coded;
    let is_first = found.line.known.is_empty();
    let is_joining = others == Others::Unheard;
    if !is_joining {
        // Those who have it open have done it.
        let storage = &found.set.storage;
        storage.sync_name().map_err(|error| Error::io("sync the directory above", &storage.describe(), error))?;
    }
    let (tail, life) = if is_joining {
        if proceed == Proceed::AcceptFirst {
            return Err(copy_incomplete(&found.replay));
        }
        check_shown(&found)?;
        (join(&found)?, life(found.replay.incarnation))
    } else if is_first {
        let life = life(new_incarnation(&*found.set.storage)?);
        let tail = begin(&found, life, options, SegmentOrdinal(0), OpenReason::First)?;
        identity::publish(&*found.set.storage)?;
        (tail, life)
    } else {
        match proceed {
            Proceed::Continue if found.takeover() < u16::MAX && others == Others::None => {
                (carry_on(&found, options)?, life(found.replay.incarnation))
            }
            Proceed::AcceptFirst => return Err(copy_incomplete(&found.replay)),
            proceed => {
                let is_moved = matches!(proceed, Proceed::Roll { new_incarnation: true, .. });
                // Where no segment says which life this is, it is a new one.
                let is_moved = is_moved || found.replay.incarnation == Incarnation::default();
                let incarnation = match is_moved {
                    true => new_incarnation(&*found.set.storage)?,
                    false => found.replay.incarnation,
                };
                let reason = match proceed {
                    Proceed::RollAfterError => OpenReason::IoError,
                    _ if is_moved => OpenReason::NewIncarnation,
                    _ => OpenReason::Takeover,
                };
                make_durable(&found, None)?;
                report.has_rolled = true;
                let life = life(incarnation);
                (begin(&found, life, options, found.line.next_ordinal, reason)?, life)
            }
        }
    };
    report.is_new = is_new;
    report.was_clean = was_clean;
    report.incarnation = life.incarnation;
    report.epoch = tail.epoch();
    report.was_open = is_joining;
    // Everything was durable before it was closed, or was made so; while others write, as much as is witnessed.
    let durable = if is_joining { found.replay.witness.min(tail.at) } else { tail.at };
    let marks = Arc::new(Marks::new(tail.log_end(), durable));
    let set = found.set;
    set.begin_writing();
    let damaged = || found.replay.damage.iter().map(|damage| &damage.positions).filter(|range| range.start < range.end);
    let damaged_from = damaged().map(|range| range.start).min().unwrap_or(Position::MAX);
    let damaged_until = damaged().map(|range| range.end).max().unwrap_or(Position::ZERO);
    let doubts = Doubts { unknown_until: found.replay.unknown_until(), damaged_from, damaged_until };
    let continues = !report.has_rolled && !is_first && !is_joining;
    let control = control_page(&set, &life, &tail, others);
    let mut tail = tail;
    if turns.are_shared() {
        tail.follower = Some(Box::new(Onward::behind(found.replay)));
    }
    let files = Files::of(&set, Arc::clone(&tail.segment), durable, tail.at)?;
    let (streams, options) = (found.streams, options.clone());
    let parts = Parts { set, streams, marks, options, life, tail, files, doubts, turns, control };
    let writer = Arc::new(Writer::new(parts));
    let mut watermark = WatermarkFile::new(generation);
    if continues && !planted(Plant::CleanSlotLeft) {
        // Before the first frame of this takeover: a slot that says CLEAN would let the next one take the same epoch.
        watermark.write(&writer, false)?;
    }
    let watermark = Arc::new(Mutex::new(watermark));
    writer.turns.end_opening()?;
    Ok(OpenedWriter { writer, watermark, report, coded })
}

/// The identity file, to be locked, and whether the store is being made.
fn identity_to_write(storage: &dyn Storage, options: &Options) -> Result<(Identity, bool)> {
    let until = now() + options.patience;
    loop {
        if let Some(identity) = identity::read(storage, Access::ReadWrite)? {
            return Ok((identity, false));
        }
        if !options.create {
            return Err(no_store(storage));
        }
        match identity::begin(storage, options) {
            // Another process has made it meanwhile; what it left in between looks like a store without identity.
            Err(_) if matches!(identity::read(storage, Access::Read), Ok(Some(_))) => {}
            // Others who may write at the same time wait until it is made.
            Err(error) if error.kind() == ErrorKind::Locked && !options.exclusive && now() < until => {
                thread::sleep(Duration::from_millis(1));
            }
            begun => return Ok((begun?, true)),
        }
    }
}

/// Who else has the store open for writing, for whom has the turn.
fn others(found: &Found, turns: &Turns) -> Result<Others> {
    if !turns.has_others()? {
        return Ok(Others::None);
    }
    let is_ours = |seen: &Seen| seen.owner.store == found.set.store.store;
    let seen = Seen::read(&*found.set.storage).filter(is_ours);
    // Those who had an error write no more, whatever they have open.
    Ok(if seen.is_some_and(|seen| seen.is_poisoned) { Others::Stopped } else { Others::Unheard })
}

/// Fails where those who write were shown more than the log holds: the system lost what it had in memory.
fn check_shown(found: &Found) -> Result<()> {
    let seen = Seen::read(&*found.set.storage).filter(|seen| seen.owner.incarnation == found.replay.incarnation);
    let shown = seen.and_then(|seen| seen.committed).map_or(Position::ZERO, |committed| committed.end);
    if shown <= found.replay.at {
        return Ok(());
    }
    control::poison_page(&*found.set.storage);
    let message = format!(
        "the log ends at position {} and was shown up to {shown} to those who have it open: the system lost what it had in \
         memory; open the store again, and append again with the same batch ids",
        found.replay.at
    );
    Err(Error::new(ErrorKind::Poisoned, message))
}

/// Goes on in the segment in which others write, at the end of the log: nothing is made durable that they have not, and they are
/// not disturbed. Where one of them died in the middle of an append, the rest of it goes.
fn join(found: &Found) -> Result<Tail> {
    let replay = &found.replay;
    let Some(ordinal) = replay.segment.as_ref().map(|segment| segment.ordinal()).filter(|_| replay.lost_end.is_none())
    else {
        let message = "the segment in which the log ends is lost; let the processes that have the store open close it, and \
                       open it again";
        return Err(Error::new(ErrorKind::Damage, message));
    };
    let segment = open_to_write(found, ordinal)?;
    if let Some(torn) = replay.torn_end() {
        again::clear(&segment, replay.at, torn.positions.end)?;
    }
    let segment = Arc::new(segment);
    found.set.keep(&segment);
    let allocated = (replay.at.0 - segment.base.0).next_multiple_of(4096).min(segment.head.header.file_bytes());
    let mut tail = tail_at(found, segment, Output::new(false, allocated));
    tail.takeover = found.takeover();
    tail.is_name_durable = false;
    Ok(tail)
}

/// Reads everything there is to know, from the start of the log. Writes nothing.
pub(crate) fn find(storage: Arc<dyn Storage>, identity: &Identity) -> Result<Found> {
    find_telling(storage, identity, &mut |_, _| ())
}

/// As [`find`], from the newest checkpoint on.
pub(crate) fn find_from_checkpoint(storage: Arc<dyn Storage>, identity: &Identity) -> Result<Found> {
    let set = Arc::new(SegmentSet::new(storage, identity.block));
    let said = Said::read(&*set.storage, identity);
    for checkpoint in checkpoint::read_all(&set) {
        if let Some(resumed) = checkpoint::resume(&set, checkpoint)
            && let Some(found) = find_in(&set, identity, &said, &Reach::From(Box::new(resumed)), &mut |_, _| ())?
        {
            return Ok(found);
        }
    }
    find_all(&set, identity, &said, &Reach::All, &mut |_, _| ())
}

/// As [`find`]; `tell` hears how many bytes of how many are looked at, segment by segment.
pub(crate) fn find_telling(
    storage: Arc<dyn Storage>,
    identity: &Identity,
    tell: &mut dyn FnMut(u64, u64),
) -> Result<Found> {
    let said = Said::read(&*storage, identity);
    find_all(&Arc::new(SegmentSet::new(storage, identity.block)), identity, &said, &Reach::All, tell)
}

/// As [`find_in`], without a checkpoint that might not fit.
fn find_all(
    set: &Arc<SegmentSet>,
    identity: &Identity,
    said: &Said,
    reach: &Reach,
    tell: &mut dyn FnMut(u64, u64),
) -> Result<Found> {
    let found = find_in(set, identity, said, reach, tell)?;
    Ok(found.expect("only a checkpoint can stand in void bytes"))
}

/// How much of the log is read.
enum Reach {
    All,
    From(Box<Resumed>),
    Below(Position),
}

/// What other files than the log say of it. Read before any of the log is, so that what a writer that is at work had said by then is
/// there when the log is read.
struct Said {
    page: Option<Seen>,
    /// The slots of this store, the newer first.
    slots: Vec<Watermark>,
}

impl Said {
    fn read(storage: &dyn Storage, identity: &Identity) -> Said {
        Said { page: page::read(storage, identity), slots: keeper::read_slots(storage, identity.block.store) }
    }
}

/// Reads as much of the log as is asked for; `None` where the checkpoint stands in void bytes.
fn find_in(
    set: &Arc<SegmentSet>,
    identity: &Identity,
    said: &Said,
    reach: &Reach,
    tell: &mut dyn FnMut(u64, u64),
) -> Result<Option<Found>> {
    let Said { page, slots } = said;
    let set = Arc::clone(set);
    let resumed = match reach {
        Reach::From(resumed) => Some(&**resumed),
        _ => None,
    };
    let Some(mut line) = line::find(&set, slots.first(), resumed)? else { return Ok(None) };
    if let Reach::Below(upto) = reach {
        line.cut(*upto);
    }
    if line.is_of_another_store() {
        return Err(other_identity(&set, &line));
    }
    let watermark = slots.iter().find(|slot| counts(slot, &set, &line)).copied();
    let proven = page.map(|seen| (seen, page::witness(&seen, &set, &line)));
    let (page, by_page) = match proven {
        Some((seen, Some(witness))) => (Some(seen), witness),
        _ => (None, Position::ZERO),
    };
    let generation = slots.first().map_or(0, |slot| slot.generation);
    let place = match &line.newest {
        Some(newest) if !newest.head.open.identity_place.may_be(&identity.place) => Place::Moved,
        _ => Place::Home,
    };
    let opened = resumed.map(|from| (Arc::clone(&from.directory), from.checkpoint.streams));
    let read_log = read_log(Arc::clone(&set.storage), identity);
    let streams = Arc::new(Streams::new(Arc::clone(&set), opened, read_log));
    let mut replay = Replay::new(Arc::clone(&set), Arc::clone(&streams), place, watermark);
    replay.witness = replay.witness.max(by_page);
    replay.read_line(&line, resumed, tell)?;
    Ok(Some(Found { set, streams, line, replay, watermark, generation, place, page }))
}

/// What reads the log up to a checkpoint, should its directory prove bad.
fn read_log(storage: Arc<dyn Storage>, identity: &Identity) -> Box<ReadLog> {
    let identity = Identity { file: Arc::clone(&identity.file), ..*identity };
    Box::new(move |upto| {
        let set = Arc::new(SegmentSet::new(Arc::clone(&storage), identity.block));
        let said = Said::read(&*storage, &identity);
        let found = find_all(&set, &identity, &said, &Reach::Below(upto), &mut |_, _| ())?;
        let streams = found.streams.read().iter().cloned().collect();
        let retries = found.replay.retries.iter().collect();
        Ok(LogRead { streams, unknown_until: found.replay.unknown_until(), retries })
    })
}

/// Whether a slot says something of this life of the store and of the files that are there. If not, it is as good as none.
fn counts(watermark: &Watermark, set: &SegmentSet, line: &Line) -> bool {
    let is_same_life = match line.newest.as_deref() {
        Some(newest) => watermark.incarnation == newest.head.open.incarnation,
        // The head block of the only segment is lost: the slot that knows its salt may count.
        None => line.known.last().and_then(|last| last.lost_head).is_some_and(|lost| lost.salt == watermark.salt),
    };
    if !is_same_life || planted(Plant::StaleWatermark) {
        return is_same_life;
    }
    segment_of(set, line, watermark.last_frame).is_none_or(|segment| slot_counts(watermark, &segment))
}

/// Whether a slot of this life says something of the very file that holds the place of its last frame.
pub(crate) fn slot_counts(watermark: &Watermark, segment: &Segment) -> bool {
    let says = LogEnd { end: watermark.durable, last_frame: watermark.last_frame, last_check: watermark.last_check };
    // Where that frame is bad the salt tells whether the slot is of this file.
    segment.holds(says).unwrap_or_else(|| segment.head.header.salt == watermark.salt)
}

/// Whether the log holds the frame in which something else says that it ended once; `None` where there is no frame.
pub(crate) fn log_holds(set: &SegmentSet, line: &Line, log: LogEnd) -> Option<bool> {
    segment_of(set, line, log.last_frame)?.holds(log)
}

/// The sound segment of the line whose file holds a position.
fn segment_of(set: &SegmentSet, line: &Line, position: Position) -> Option<Arc<Segment>> {
    let holds = |known: &&Known| known.base <= position && position < known.file_end;
    let known = line.known.iter().find(holds).filter(|known| known.damage.is_none())?;
    set.open(known).ok()
}

/// Every segment is foreign: it is the identity file that does not belong here.
fn other_identity(set: &SegmentSet, line: &Line) -> Error {
    let is_foreign = |damage: &&crate::Damage| damage.class == crate::DamageClass::Foreign;
    let damage = line.damage.iter().find(is_foreign).cloned().expect("a segment is foreign");
    let message = format!(
        "the identity file of {} is that of the store {}, its segments belong to another one: it was probably copied over from \
         there. Put the right one back; without any (move this one away) the store can be read, and `salvage` copies it into a \
         new one. {damage}",
        set.storage.describe(),
        set.store.store
    );
    Error::with_damage(damage, message)
}

fn watermark_state(found: &Found) -> WatermarkState {
    let Some(watermark) = found.watermark else { return WatermarkState::None };
    let replay = &found.replay;
    let segment_ok = replay
        .segment
        .as_ref()
        .is_some_and(|segment| segment.head.header.salt == watermark.salt && is_header_absent(segment, replay.at));
    let ends_here = watermark.durable == replay.at && watermark.last_check == replay.previous_check && segment_ok;
    if watermark.is_clean && ends_here { WatermarkState::Clean } else { WatermarkState::Open }
}

pub(crate) fn refuse_network(storage: &dyn Storage, is_forced: bool) -> Result<()> {
    let system =
        storage.file_system().map_err(|error| Error::io("look at the file system of", &storage.describe(), error))?;
    if system.is_network && !is_forced {
        let message = format!(
            "{} lies on {}, where locks and syncs promise less than a store needs; use a local disk, or force it",
            storage.describe(),
            system.name
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(())
}

/// The segment in which the log ends, with its file open for writing; as it is mapped for the reading of the log, where it is.
fn open_to_write(found: &Found, ordinal: SegmentOrdinal) -> Result<Segment> {
    let storage = &*found.set.storage;
    let read = found.replay.segment.as_ref().filter(|read| read.ordinal() == ordinal);
    let shared =
        read.map_or(Ok(None), |read| read.to_write(storage).map_err(|error| Error::io("open", &read.name, error)))?;
    match shared {
        Some(segment) => Ok(segment),
        None => Ok(Segment::open(storage, ordinal, Access::ReadWrite, &found.set.store)?),
    }
}

/// Continues in the segment in which the log ends: it was closed, or its writer was killed, and the kernel has run since.
fn carry_on(found: &Found, options: &Options) -> Result<Tail> {
    let replay = &found.replay;
    let ordinal = replay.segment.as_ref().expect("the log ends in a segment").ordinal();
    let segment = open_to_write(found, ordinal)?;
    make_durable(found, Some(&segment))?;
    let segment = Arc::new(segment);
    found.set.keep(&segment);
    let allocated = (replay.at.0 - segment.base.0).next_multiple_of(4096).min(segment.head.header.file_bytes());
    let mut tail = tail_at(found, segment, Output::new(options.mapped_writes && options.exclusive, allocated));
    tail.takeover = found.takeover() + u16::from(!planted(Plant::TakeoverNotCounted));
    Ok(tail)
}

/// Begins a new segment behind everything there is.
fn begin(found: &Found, life: Life, options: &Options, ordinal: SegmentOrdinal, reason: OpenReason) -> Result<Tail> {
    let storage = &*found.set.storage;
    let prepared = create::prepare(storage, &found.set.store, ordinal, 1, create::FIRST_STEP_BYTES)?;
    let open = open_frame(found, life, reason);
    let allocated = prepared.allocated;
    let segment = create::publish(storage, &prepared, &open, &[]).map_err(|failed| failed.error)?;
    let segment = Arc::new(segment);
    found.set.roll(&segment, found.replay.at, found.replay.index.last_block());
    let mut tail =
        tail_at(found, Arc::clone(&segment), Output::new(options.mapped_writes && options.exclusive, allocated));
    tail.at = segment.first_frame();
    tail.last_frame = open_position(&segment.head.header);
    tail.previous_check = segment.head.open_check;
    tail.is_left = false;
    tail.takeover = 0;
    Ok(tail)
}

/// The open frame of a segment that goes on behind everything there is.
pub(crate) fn open_frame(found: &Found, life: Life, reason: OpenReason) -> OpenFrame {
    let replay = &found.replay;
    let predecessor = replay.predecessor();
    OpenFrame {
        incarnation: life.incarnation,
        identity_place: life.identity_place,
        boot: life.boot,
        predecessor,
        last_seal: replay.seals.last,
        reason,
        max_recorded_at: replay.max_recorded_at,
        previous_check: replay.previous_check,
        first_number: replay.next_number,
        witness: predecessor.map(|predecessor| predecessor.end),
        recorded_at: found.set.storage.now(),
    }
}

/// The tail where the replay ended, in `segment`. What the replay knew moves over.
fn tail_at(found: &Found, segment: Arc<Segment>, output: Output) -> Tail {
    let replay = &found.replay;
    let mut index = replay.index.clone();
    if replay.segment.as_ref().is_none_or(|last| last.ordinal() != segment.ordinal()) {
        index.begin(segment.first_frame());
    }
    Tail {
        segment,
        at: replay.at,
        previous_check: replay.previous_check,
        last_frame: replay.last_frame,
        next_number: replay.next_number,
        takeover: replay.takeover,
        max_recorded_at: replay.max_recorded_at,
        index,
        notes: Notes::default(),
        retries: replay.retries.clone(),
        seals: replay.seals,
        output,
        is_closed: false,
        is_left: replay.is_left,
        is_name_durable: true,
        follower: None,
        has_asked_to_prepare: false,
        scratch: Vec::new(),
    }
}

/// Makes durable what nobody witnessed. If that fails, whoever opens the store next knows that something did.
pub(crate) fn make_durable(found: &Found, kept: Option<&Segment>) -> Result<()> {
    if planted(Plant::TakeoverNotMadeDurable) {
        return Ok(());
    }
    rewrite::make_durable(&found.set, &found.replay, kept).inspect_err(|error| {
        if error.kind() != ErrorKind::NoSpace {
            control::poison_page(&*found.set.storage);
        }
    })
}

/// The page of a writer that begins at this tail, or the one that others go by.
fn control_page(set: &SegmentSet, life: &Life, tail: &Tail, others: Others) -> ControlPage {
    let Some(owner) = page_owner(set, life) else { return ControlPage::default() };
    let joined = (others == Others::Unheard).then(|| ControlPage::join(&*set.storage, &owner)).flatten();
    joined.unwrap_or_else(|| {
        let made = ControlPage::establish(&*set.storage, &owner, tail.epoch(), tail.log_end(), others);
        if others == Others::Unheard {
            made.begin_sync(tail.at); // whether one is under way was said in the page that is lost
        }
        made
    })
}

pub(crate) fn new_incarnation(storage: &dyn Storage) -> Result<Incarnation> {
    let mut incarnation = Incarnation::default();
    storage
        .fill_random(&mut incarnation.0)
        .map_err(|error| Error::io("draw random bytes for", &storage.describe(), error))?;
    Ok(incarnation)
}

fn report_of(replay: &Replay) -> OpenReport {
    OpenReport {
        is_new: false,
        was_open: false,
        was_clean: replay.tail == TailState::End && replay.witness >= replay.at,
        has_rolled: false,
        witness: replay.witness,
        end: replay.at,
        epoch: crate::Epoch {
            segment: replay.segment.as_ref().map_or(SegmentOrdinal(0), |segment| segment.ordinal()),
            takeover: replay.takeover,
        },
        incarnation: replay.incarnation,
        torn_tail: replay.torn_tail.clone(),
        damage: replay.damage.clone(),
        read_from: replay.from,
        frames_read: replay.frames_read,
    }
}

pub(crate) fn no_store(storage: &dyn Storage) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no store in {}; a writing command makes one", storage.describe()))
}

/// The identity file gets its name last: with it there was a log.
pub(crate) fn log_missing(storage: &dyn Storage) -> Error {
    let message =
        format!("{} has an identity file but no segment: its log is missing; bring the files back", storage.describe());
    Error::new(ErrorKind::Damage, message)
}

fn copy_incomplete(replay: &Replay) -> Error {
    let damage =
        replay.damage.iter().find(|damage| damage.class == crate::DamageClass::CopyIncomplete).or(replay.damage.last());
    let message = "this store is a copy that ends early, and is not written as it is: copy it again to have the rest, or \
                   `accept` its end (--dry-run first); reading works";
    match damage {
        Some(damage) => {
            let damage = crate::Damage { class: crate::DamageClass::CopyIncomplete, ..damage.clone() };
            Error::with_damage(damage.clone(), format!("{message}. {damage}"))
        }
        None => Error::new(ErrorKind::CopyIncomplete, message),
    }
}
