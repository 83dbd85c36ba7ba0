//! The walk over every frame below the end of the log.
//!
//! A frame is held against what came before it: the chain, the count of events, the witness, the takeover. A frame whose
//! header and table hold but whose bodies do not still says which revisions it has, so nothing behind it is in doubt; one
//! whose header is lost takes everything up to the next proven boundary with it.

use super::index_blocks::IndexBlocks;
use super::seals::Seals;
use super::snapshots::Bound;
use super::streams::Streams;
use super::{Ledger, Log, Work, events};
use crate::error::{Damage, DamageClass};
use crate::format::Fault;
use crate::format::batch::{Sections, check_structure};
use crate::format::frame::{Frame, KIND_BATCH, KIND_IGNORABLE, KIND_INDEX_BLOCK, KIND_OPEN, KIND_SEAL};
use crate::format::open::{OpenReason, open_position};
use crate::format::seal::Seal;
use crate::ids::{BatchId, Incarnation, Position, Salt, SegmentOrdinal};
use crate::maintain::report::VerifyReport;
use crate::segment::one::{Segment, Unusable};
use crate::segment::resync;
use crate::segment::set::Known;
use crate::{Error, ErrorKind, Result};

/// The segment that was walked before, as far as all of its end was met.
#[derive(Debug)]
struct Before {
    next_ordinal: SegmentOrdinal,
    incarnation: Incarnation,
    salt: Salt,
    last_frame: Position,
    last_check: u64,
    last_block: Option<Position>,
    is_covered: bool,
}

/// What is known of the log up to where the walk stands.
#[derive(Debug)]
pub(super) struct Walk<'v> {
    log: Log<'v>,
    ledger: Ledger,
    streams: Streams,
    index: IndexBlocks,
    seals: Seals,
    report: VerifyReport,
    next_number: u64,
    /// Events whose sections this build cannot decode.
    undecoded: u64,
    max_recorded_at: i64,
    witness: Position,
    takeover: u16,
    before: Option<Before>,
    /// Nothing at all was met yet, or lost.
    is_first: bool,
    /// The last frame met in this segment and its stored check; `None` where frames behind it are lost.
    last: Option<(Position, u64)>,
}

impl<'v> Walk<'v> {
    pub(super) fn new(log: Log<'v>, ledger: Ledger) -> Walk<'v> {
        Walk {
            log,
            ledger,
            streams: Streams::default(),
            index: IndexBlocks::default(),
            seals: Seals::default(),
            report: VerifyReport::default(),
            next_number: 0,
            undecoded: 0,
            max_recorded_at: i64::MIN,
            witness: Position::ZERO,
            takeover: 0,
            before: None,
            is_first: true,
            last: None,
        }
    }

    /// What was found.
    /// The report, and the snapshots that were met.
    pub(super) fn finish(mut self) -> (VerifyReport, Vec<Bound>) {
        (self.report.streams, self.report.engine_streams) = self.streams.counts();
        self.report.events -= self.report.engine_events;
        self.report.index_blocks_checked = self.index.checked;
        self.report.seals_checked = self.seals.checked;
        if self.undecoded > 0 {
            let what = "encrypted or coded in a way that this build cannot decode; their stored bytes are sound";
            self.report.notes.push(format!("{} events are {what}", self.undecoded));
        }
        self.report.damage = self.ledger.into_damage();
        (self.report, self.streams.snapshots)
    }

    /// Walks over a segment up to its end.
    pub(super) fn segment(&mut self, known: &Known, is_last: bool, work: &mut Work<'_>) -> Result<()> {
        let end = known.end.unwrap_or(known.file_end);
        let opened = match &known.damage {
            Some(damage) => Err(Unusable::Damaged(damage.clone())),
            None => self.log.set.open(known),
        };
        let segment = match opened {
            Ok(segment) => segment,
            Err(Unusable::Damaged(damage) | Unusable::HeadLost(damage)) => {
                self.ledger.add(damage);
                self.lose();
                self.before = None;
                work.add(end.0 - known.base.0);
                return Ok(());
            }
            Err(other) => return Err(other.into()),
        };
        self.check_length(&segment, end)?;
        self.enter(&segment);
        let mut previous_check = segment.first_check();
        let mut at = segment.first_frame();
        work.add(at.0 - segment.base.0);
        while at < end {
            let next = match segment.frame(at, end) {
                Err(fault) => {
                    segment.check_readable()?;
                    let boundary = resync::boundary_behind(&segment, at, known.last_index_block, end);
                    let mut damage = segment.damage(at, boundary, DamageClass::Damage, fault.to_string());
                    let lost = resync::lost_frames(&segment, at, boundary, known.last_index_block, end);
                    resync::note_streams(&mut damage, lost.as_deref());
                    self.streams.name_in(&mut damage);
                    self.ledger.add(damage);
                    self.lose();
                    previous_check = None;
                    boundary
                }
                Ok(frame) => {
                    self.frame(&frame, &segment, previous_check, work)?;
                    previous_check = Some(frame.frame_check());
                    frame.end()
                }
            };
            debug_assert!(next > at, "a walk that stands still never ends");
            work.add(next.0 - at.0);
            at = next;
        }
        segment.check_readable()?;
        let header = &segment.head.header;
        self.before = self.last.map(|(last_frame, last_check)| Before {
            next_ordinal: segment.next_ordinal(),
            incarnation: segment.head.open.incarnation,
            salt: header.salt,
            last_frame,
            last_check,
            last_block: self.index.last_block(),
            is_covered: self.index.covers_all(),
        });
        debug_assert!(is_last || known.end.is_some());
        Ok(())
    }

    /// A stretch of the log is lost: what it held is not known.
    fn lose(&mut self) {
        self.is_first = false;
        self.last = None;
        self.streams.note_loss();
        self.index.note_loss();
        self.seals.note_loss();
    }

    fn check_length(&mut self, segment: &Segment, end: Position) -> Result<()> {
        let (len, wanted) = (segment.file().len() as u64, segment.head.header.file_bytes());
        if len > wanted {
            self.report.notes.push(format!("{} is {} bytes longer than it should be", segment.name, len - wanted));
        }
        // Where bytes of the log are missing, the walk finds them.
        if len < wanted && segment.base.0 + len >= end.0 {
            let from = Position(segment.base.0 + len);
            let detail = format!("the file ends {} bytes early; nothing of the log was there", wanted - len);
            let class = if self.log.is_moved { DamageClass::CopyIncomplete } else { DamageClass::Missing };
            let damage = segment.damage(from, segment.file_end(), class, detail);
            let streams = Some(Vec::new());
            self.ledger.add(Damage { positions: Position::ZERO..Position::ZERO, streams, ..damage });
        }
        Ok(())
    }

    /// Begins a segment: its open frame is held against the segment before it.
    fn enter(&mut self, segment: &Segment) {
        if segment.is_head_lost {
            self.lose(); // what the open frame said of the segments before is reported as lost with it
            self.takeover = 0;
            self.index.begin(segment.ordinal(), segment.first_frame());
            return;
        }
        let open = &segment.head.open;
        let mut problems = Vec::new();
        let mut differs = |what: &str, said: String, found: String| {
            if said != found {
                problems.push(format!("its open frame says {what} {said}, the log says {found}"));
            }
        };
        if let Some(before) = &self.before {
            let stated = open.predecessor;
            let stated_position = |of: fn(crate::format::open::Predecessor) -> Position| {
                stated.map_or_else(|| "none".into(), |stated| of(stated).to_string())
            };
            differs("the last frame before it is at", stated_position(|p| p.last_frame), before.last_frame.to_string());
            differs(
                "the last frame's check is",
                format!("{:016x}", open.previous_check),
                format!("{:016x}", before.last_check),
            );
            if let Some(last_block) = before.last_block {
                differs(
                    "the last index block before it is at",
                    stated_position(|p| p.last_index_block),
                    last_block.to_string(),
                );
            }
            if stated.is_some_and(|stated| stated.salt != before.salt) {
                differs("another salt of", "the segment before".into(), "not so".into());
            }
            let is_new_life = open.reason == OpenReason::NewIncarnation;
            if is_new_life == (open.incarnation == before.incarnation) && open.reason != OpenReason::Forced {
                differs("it was begun for the reason", format!("{:?}", open.reason), "another one".into());
            }
            if matches!(open.reason, OpenReason::Full | OpenReason::Jumbo) {
                differs("it follows segment", segment.ordinal().to_string(), before.next_ordinal.to_string());
                if !before.is_covered {
                    differs("the segment before was", "full".into(), "left without its last index block".into());
                }
            }
        } else if self.is_first && open.predecessor.is_some() {
            differs("there was a segment before", "yes".into(), "no".into());
        }
        if !self.streams.has_losses() {
            differs("the events before it are", open.first_number.to_string(), self.next_number.to_string());
            differs(
                "the greatest time of recording is",
                open.max_recorded_at.to_string(),
                self.max_recorded_at.to_string(),
            );
        }
        if let Some(seal) = self.seals.last_position() {
            differs("the newest seal is at", open.last_seal.to_string(), seal.to_string());
        }
        if let Some(witness) = open.witness {
            if witness < self.witness {
                problems.push(format!("its witness {witness} is below an earlier one, {}", self.witness));
            }
            self.witness = self.witness.max(witness);
        }
        if !problems.is_empty() {
            let detail = problems.join("; ");
            self.ledger.add(segment.damage(segment.base, segment.first_frame(), DamageClass::Damage, detail));
        }
        self.is_first = false;
        self.next_number = open.first_number;
        self.max_recorded_at = self.max_recorded_at.max(open.max_recorded_at);
        self.takeover = 0;
        self.last = Some((open_position(&segment.head.header), segment.head.open_check));
        self.index.begin(segment.ordinal(), segment.first_frame());
    }

    /// Checks a frame whose header check holds.
    fn frame(
        &mut self,
        frame: &Frame<'_>,
        segment: &Segment,
        previous_check: Option<u64>,
        work: &mut Work<'_>,
    ) -> Result<()> {
        let unsupported = |what: String| {
            Error::new(ErrorKind::Unsupported, format!("{} uses {what}; use a newer version of treering", segment.name))
        };
        if let Err(Fault::Unsupported(what)) = frame.is_known() {
            return Err(unsupported(what));
        }
        let mut problems = Vec::new();
        let mut bodies = Vec::new();
        let proof = frame.prove(segment.seeds);
        self.check_header(frame, previous_check, &mut problems);
        let checked = match frame.kind() {
            KIND_BATCH => self.batch(frame, segment, &mut problems, &mut bodies),
            KIND_INDEX_BLOCK => {
                let max = (!self.streams.has_losses()).then_some(self.max_recorded_at);
                self.index.check(frame, max, &mut self.streams, &mut problems)
            }
            KIND_SEAL => match Seal::decode(frame) {
                Ok(seal) => {
                    let Walk { ledger, seals, log, .. } = self;
                    seals.check(frame.position, &seal, log, ledger, &mut problems, work)?;
                    self.index.note(frame, Vec::new(), Vec::new());
                    Ok(())
                }
                Err(fault) => Err(fault),
            },
            _ => {
                self.index.note(frame, Vec::new(), Vec::new());
                Ok(())
            }
        };
        match checked {
            Err(Fault::Unsupported(what)) => return Err(unsupported(what)),
            Err(fault) => {
                problems.push(fault.to_string());
                self.lose();
            }
            Ok(()) => {}
        }
        if let Err(fault) = proof
            && bodies.is_empty()
        {
            problems.push(fault.to_string());
        }
        if !problems.is_empty() {
            // The whole frame is in doubt: its events are not reported apart from it.
            problems.extend(bodies.iter().map(|damage| damage.detail.clone()));
            let detail = problems.join("; ");
            let mut damage = segment.damage(frame.position, frame.end(), DamageClass::Damage, detail);
            note_sections(&mut damage, frame);
            bodies = vec![damage];
        }
        for mut damage in bodies {
            self.streams.name_in(&mut damage);
            self.ledger.add(damage);
        }
        self.last = Some((frame.position, frame.frame_check()));
        self.report.frames += 1;
        self.report.events += u64::from(frame.events());
        Ok(())
    }

    /// The fields of a header against the log before it.
    fn check_header(&mut self, frame: &Frame<'_>, previous_check: Option<u64>, problems: &mut Vec<String>) {
        let header = &frame.header();
        if previous_check.is_some_and(|expected| expected != header.previous_check) {
            problems.push("it does not carry the check of the frame before it".into());
        }
        let has_gap = previous_check.is_none();
        if header.first_number != self.next_number && !(has_gap && header.first_number > self.next_number) {
            problems.push(format!(
                "its first event should be number {}, it says {}",
                self.next_number, header.first_number
            ));
        }
        self.next_number = header.first_number.max(self.next_number).saturating_add(u64::from(header.events));
        if let Some(witness) = header.witness {
            if witness < self.witness {
                problems.push(format!("its witness {witness} is below an earlier one, {}", self.witness));
            }
            self.witness = self.witness.max(witness);
        }
        if header.takeover < self.takeover {
            problems.push(format!("its takeover {} is below an earlier one, {}", header.takeover, self.takeover));
        }
        self.takeover = self.takeover.max(header.takeover);
        match header.kind {
            KIND_BATCH => return,
            KIND_OPEN => problems.push("an open frame stands in the middle of a segment".into()),
            _ => {}
        }
        if header.events != 0 || header.batch != BatchId::default() {
            problems.push("a frame of the engine says it holds a batch".into());
        }
        let rest = frame.bodies();
        if (header.kind < KIND_IGNORABLE || header.kind == KIND_INDEX_BLOCK)
            && (rest.len() >= 8 || rest.iter().any(|byte| *byte != 0))
        {
            problems.push("what follows its plain part is not padding".into());
        }
    }

    fn batch(
        &mut self,
        frame: &Frame<'_>,
        segment: &Segment,
        problems: &mut Vec<String>,
        bodies: &mut Vec<Damage>,
    ) -> Result<(), Fault> {
        // Padding is looked at last: it must not hide what the sections say.
        let structure = check_structure(frame);
        let mut listed = Vec::new();
        let mut sections = Sections::new(*frame)?;
        while let Some(section) = sections.next()? {
            self.streams.section(&section, frame.position, problems);
            self.report.engine_events += if section.is_engines { u64::from(section.count) } else { 0 };
            listed.push((section.stream, section.first_revision, section.count));
        }
        let (wire, items) = sections.items()?;
        let Walk { streams, log, .. } = self;
        let holds = |place: Position, stream, revision| log.holds(place, stream, revision);
        let forked = streams.items(wire, items, frame, &holds, problems)?;
        self.index.note(frame, listed, forked);
        let checked = events::check(frame, segment, problems)?;
        self.max_recorded_at = self.max_recorded_at.max(checked.max_recorded_at);
        self.undecoded += checked.undecoded;
        *bodies = checked.damage;
        if let Err(fault) = structure {
            problems.push(fault.to_string());
        }
        Ok(())
    }
}

/// Notes the streams of a frame whose header proves itself, as far as its table can be read.
fn note_sections(damage: &mut Damage, frame: &Frame<'_>) {
    damage.streams = Some(Vec::new());
    if frame.kind() != KIND_BATCH {
        return;
    }
    let Ok(mut sections) = Sections::new(*frame) else { return };
    while let Ok(Some(section)) = sections.next() {
        damage.note_stream(section.stream, None, section.first_revision, section.last_revision());
    }
}
