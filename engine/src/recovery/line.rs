//! The line: which files are the log.
//!
//! It begins at the newest segment whose head proves itself and goes down, each open frame naming the segment before it,
//! where that ended, and its salt. Files between a stated end and the segment that states it are void. Where a segment is
//! missing or its head is lost, the line goes on with the next lower file, which then has no stated end.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Damage, DamageClass};
use crate::format::file_name::{self, FileKind};
use crate::format::open::{OpenFrame, OpenReason, Predecessor};
use crate::format::segment_header::FIRST_FRAME_OFFSET;
use crate::format::watermark::Watermark;
use crate::ids::{Incarnation, Position, SegmentOrdinal};
use crate::recovery::checkpoint::Resumed;
use crate::segment::one::{LostHead, Segment, Unusable};
use crate::segment::set::{Known, SegmentSet};
use crate::storage::Access;
use crate::{Error, Result};

/// The segments of the log, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) known: Vec<Known>,
    /// For each of them, what the next one says about it.
    pub(crate) stated: Vec<Option<Stated>>,
    /// The newest segment that proves itself.
    pub(crate) newest: Option<Arc<Segment>>,
    /// The first ordinal behind every file there is.
    pub(crate) next_ordinal: SegmentOrdinal,
    /// The highest witness of the open frames met.
    pub(crate) witness: Position,
    pub(crate) damage: Vec<Damage>,
}

/// What an open frame says about the segment before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stated {
    pub(crate) predecessor: Predecessor,
    /// Stored check of its last frame.
    pub(crate) last_check: u64,
    /// The life of the store in which it ended; zeros where that is not said.
    incarnation: Incarnation,
}

impl Stated {
    fn by(open: &OpenFrame) -> Option<Stated> {
        let is_same_life = open.reason != OpenReason::NewIncarnation;
        let incarnation = if is_same_life { open.incarnation } else { Incarnation::default() };
        open.predecessor.map(|predecessor| Stated { predecessor, last_check: open.previous_check, incarnation })
    }
}

/// Finds the line in the directory of a store.
///
/// `watermark` is what the watermark file of this store says, believed for its own life only. With a checkpoint nothing
/// before its segment is looked at, and while nothing is found behind that, the directory is not listed. `None` where the
/// checkpoint stands in void bytes: the log went on from a place before it.
pub(crate) fn find(set: &SegmentSet, watermark: Option<&Watermark>, resumed: Option<&Resumed>) -> Result<Option<Line>> {
    let segment_bytes = set.store.segment_bytes;
    let line = match resumed.filter(|resumed| is_last(set, resumed)) {
        Some(resumed) => Some(of_checkpoint(resumed)),
        None => of_listing(set, resumed)?,
    };
    let Some(mut line) = line else { return Ok(None) };
    line.known.reverse();
    line.stated.reverse();
    line.add_lost_newest(set, watermark);
    line.complete_headless_newest(segment_bytes, watermark);
    Ok(Some(line))
}

/// Whether no segment is to be found behind that of a checkpoint: none has one of the next names, nor one further on, at
/// distances that double.
fn is_last(set: &SegmentSet, resumed: &Resumed) -> bool {
    const PROBED_NEXT: u64 = 64;
    let next = resumed.segment.next_ordinal().0;
    let end = crate::limits::NUMBER_MAX / set.store.segment_bytes;
    let further =
        (0..64).map(|power| next.saturating_add(PROBED_NEXT << power.min(50))).take_while(|ordinal| *ordinal < end);
    let is_free = |ordinal: u64| {
        let name = file_name::segment(SegmentOrdinal(ordinal));
        set.storage.open(&name, Access::Read).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    (next..next.saturating_add(PROBED_NEXT).min(end)).chain(further).all(is_free)
}

/// The line up to the segment of a checkpoint, newest first.
fn of_checkpoint(resumed: &Resumed) -> Line {
    let segment = &resumed.segment;
    let mut line = Line { next_ordinal: segment.next_ordinal(), ..Line::default() };
    line.push_segment(Arc::clone(segment), None);
    line.push_older(resumed);
    line
}

/// The line as the directory has it, newest first.
fn of_listing(set: &SegmentSet, resumed: Option<&Resumed>) -> Result<Option<Line>> {
    let storage = &*set.storage;
    let entries = storage.list().map_err(|error| Error::io("list", &storage.describe(), error))?;
    let segment_bytes = set.store.segment_bytes;
    let mut ordinals: Vec<(SegmentOrdinal, u32)> = Vec::new();
    let mut line = Line::default();
    for entry in &entries {
        if let FileKind::Segment(ordinal) = file_name::parse(&entry.name)
            && ordinal.0 < crate::limits::NUMBER_MAX / segment_bytes
        {
            // A file that cannot be read still takes as many ordinals as it is long.
            let span = entry.len.div_ceil(segment_bytes).clamp(1, u64::from(u32::MAX));
            ordinals.push((ordinal, span as u32));
            line.next_ordinal = line.next_ordinal.max(SegmentOrdinal(ordinal.0 + span));
        }
    }
    ordinals.sort_unstable();
    let mut wanted: Option<Stated> = None;
    let mut below = u64::MAX;
    loop {
        let ordinal = match wanted {
            Some(stated) => stated.predecessor.ordinal,
            None => {
                let lower = ordinals.partition_point(|(ordinal, _)| ordinal.0 < below).checked_sub(1);
                let lower = lower.map(|index| &ordinals[index]);
                let lower_end = lower.map_or(0, |(ordinal, span)| ordinal.0 + u64::from(*span));
                // Above the newest segment that proves itself nobody knows what was there.
                if let Some(lost) = line.known.last().filter(|_| line.newest.is_some()) {
                    let hole = hole_in(lower_end..lost.ordinal.0, segment_bytes);
                    line.push_hole(hole);
                }
                match lower {
                    Some((ordinal, _)) => *ordinal,
                    None => break,
                }
            }
        };
        below = ordinal.0;
        let next_base = line.known.last().map_or(Position::MAX, |next| next.base);
        let opened = Segment::open(storage, ordinal, Access::Read, &set.store).and_then(|segment| match wanted {
            Some(stated) if stated.predecessor.salt != segment.head.header.salt => {
                Err(Unusable::Damaged(segment.damage(
                    segment.base,
                    segment.file_end(),
                    DamageClass::Stale,
                    "it is another file than the one that the next segment continued".into(),
                )))
            }
            _ if segment.file_end() > next_base => Err(Unusable::Damaged(segment.damage(
                segment.base,
                segment.file_end().min(next_base),
                DamageClass::Damage,
                format!("it says that it reaches to {}, where another segment lies", segment.file_end()),
            ))),
            _ => Ok(segment),
        });
        let segment = match opened {
            Ok(segment) => segment,
            Err(Unusable::HeadLost(damage)) => {
                let there = ordinals.binary_search_by_key(&ordinal, |(other, _)| *other);
                let span = there.map_or(1, |index| ordinals[index].1);
                let room = (next_base.0 - ordinal.0 * segment_bytes) / segment_bytes;
                let stated_end = wanted.map_or(0, |stated| stated.predecessor.end.0);
                let stated = stated_end.saturating_sub(ordinal.0 * segment_bytes).div_ceil(segment_bytes);
                let span = u64::from(span).max(stated).min(room).clamp(1, u64::from(u32::MAX)) as u32;
                line.push_headless(ordinal, span, damage, wanted, segment_bytes);
                wanted = None;
                continue;
            }
            Err(Unusable::Damaged(damage)) => {
                let file_end = wanted.map_or(damage.positions.end, |stated| {
                    let span_end = stated.predecessor.end.0.next_multiple_of(set.store.segment_bytes);
                    Position(span_end.max(damage.positions.end.0))
                });
                let file_end = file_end.min(next_base);
                line.known.push(Known {
                    ordinal,
                    base: damage.positions.start,
                    file_end,
                    end: wanted.map(|stated| stated.predecessor.end),
                    last_index_block: Position::ZERO,
                    damage: Some(damage.clone()),
                    lost_head: None,
                    expected: None,
                });
                line.stated.push(wanted);
                line.damage.push(damage);
                wanted = None;
                continue;
            }
            Err(other) => return Err(other.into()),
        };
        let before = Stated::by(&segment.head.open);
        let left = wanted.map_or(Position::MAX, |stated| stated.predecessor.end);
        let salt = segment.head.header.salt;
        let segment = Arc::new(segment);
        // Whoever reads the line next need not open it once more.
        set.keep(&segment);
        line.push_segment(segment, wanted);
        wanted = before;
        if let Some(resumed) = resumed.filter(|resumed| resumed.checkpoint.salt == salt) {
            line.push_older(resumed);
            return Ok((resumed.checkpoint.at <= left).then_some(line));
        }
        if wanted.is_none() {
            break;
        }
    }
    // The log does not go through the segment of the checkpoint.
    Ok(resumed.is_none().then_some(line))
}

impl Line {
    /// Adds a segment in front of those there are.
    fn push_segment(&mut self, segment: Arc<Segment>, stated: Option<Stated>) {
        self.witness = self.witness.max(segment.head.open.witness.unwrap_or(Position::ZERO));
        self.next_ordinal = self.next_ordinal.max(segment.next_ordinal());
        self.known.push(Known {
            end: stated.map(|stated| stated.predecessor.end),
            last_index_block: stated.map_or(Position::ZERO, |stated| stated.predecessor.last_index_block),
            ..Known::active(&segment)
        });
        self.stated.push(stated);
        self.newest.get_or_insert(segment);
    }

    /// Leaves out what lies behind a place at which a frame ends.
    pub(crate) fn cut(&mut self, upto: Position) {
        self.known.retain(|known| known.base < upto);
        self.stated.truncate(self.known.len());
        self.damage.retain(|damage| damage.positions.start < upto);
        if let Some(last) = self.known.last_mut()
            && last.end.is_none_or(|end| end > upto)
        {
            last.end = Some(upto);
            self.stated[self.known.len() - 1] = None;
        }
    }

    /// Adds the segments that a checkpoint knows in front of its own.
    fn push_older(&mut self, resumed: &Resumed) {
        self.known.extend(resumed.older.iter().rev().cloned());
        self.stated.resize(self.known.len(), None);
    }

    /// Whether every segment that proves itself belongs to another store than the identity file says.
    pub(crate) fn is_of_another_store(&self) -> bool {
        let is_foreign =
            |known: &Known| known.damage.as_ref().is_some_and(|damage| damage.class == DamageClass::Foreign);
        self.newest.is_none() && self.known.iter().any(is_foreign)
    }

    /// What is wrong with the file of a segment as a whole, or with its head block where that is lost.
    pub(crate) fn damage_of<'l>(&'l self, known: &'l Known) -> Option<&'l Damage> {
        let of_head = || {
            let starts_there = |damage: &&Damage| damage.positions.start == known.base && damage.bytes.start == 0;
            self.damage.iter().find(starts_there).filter(|_| known.lost_head.is_some())
        };
        known.damage.as_ref().or_else(of_head)
    }

    fn push_hole(&mut self, hole: Option<Known>) {
        self.damage.extend(hole.iter().filter_map(|hole| hole.damage.clone()));
        self.known.extend(hole);
        self.stated.resize(self.known.len(), None);
    }

    /// A file neither copy of whose head block proves itself. Where the segment behind says its salt, its frames are read.
    fn push_headless(
        &mut self,
        ordinal: SegmentOrdinal,
        span: u32,
        damage: Damage,
        stated: Option<Stated>,
        segment_bytes: u64,
    ) {
        let base = Position(ordinal.0 * segment_bytes);
        let mut known = Known {
            ordinal,
            base,
            file_end: Position(base.0 + u64::from(span) * segment_bytes),
            end: stated.map(|stated| stated.predecessor.end),
            last_index_block: stated.map_or(Position::ZERO, |stated| stated.predecessor.last_index_block),
            damage: None,
            lost_head: None,
            expected: None,
        };
        let whole = known.file_end;
        let damage = Damage { bytes: 0..whole.0 - base.0, positions: base..whole, ..damage };
        match stated {
            Some(Stated { predecessor, incarnation, .. }) => {
                known.lost_head = Some(LostHead { salt: predecessor.salt, span, incarnation });
                self.damage.push(head_only(damage));
            }
            None => {
                known.damage = Some(damage.clone());
                self.damage.push(damage);
            }
        }
        self.known.push(known);
        self.stated.push(stated);
    }

    /// The newest file has lost its head block: the watermark file may know its salt.
    fn complete_headless_newest(&mut self, segment_bytes: u64, watermark: Option<&Watermark>) {
        let Some(watermark) = watermark else { return };
        let Some(last) = self.known.last_mut() else { return };
        let is_in_it = last.base <= watermark.last_frame && watermark.last_frame < last.file_end;
        // Where no segment says which life it is, the salt decides: with another one no frame proves itself.
        let is_of_other_life =
            self.newest.as_ref().is_some_and(|newest| watermark.incarnation != newest.head.open.incarnation);
        if !is_in_it || is_of_other_life {
            return;
        }
        // Only a file that is there and says nothing of itself is whole-file damage of this class.
        let Some(whole) = last.damage.take_if(|damage| damage.class == DamageClass::Damage) else { return };
        let span = (last.file_end.0 - last.base.0) / segment_bytes;
        last.lost_head = Some(LostHead { salt: watermark.salt, span: span as u32, incarnation: watermark.incarnation });
        if let Some(found) = self.damage.iter_mut().find(|damage| **damage == whole) {
            *found = head_only(whole);
        }
        self.add_holes_above_newest(segment_bytes);
    }

    /// The log reached the last segment of the line: what is not there between it and the newest that proves itself is missing.
    fn add_holes_above_newest(&mut self, segment_bytes: u64) {
        let proven = self.newest.as_ref().map_or(SegmentOrdinal(0), |newest| newest.next_ordinal());
        let mut above = self.known.len();
        while let Some(index) = above.checked_sub(1).filter(|index| self.known[*index].ordinal >= proven) {
            let below = index.checked_sub(1).map_or(0, |below| self.known[below].file_end.0 / segment_bytes);
            if let Some(hole) = hole_in(below..self.known[index].ordinal.0, segment_bytes) {
                self.damage.extend(hole.damage.clone());
                self.known.insert(index, hole);
                self.stated.insert(index, None);
            }
            above = index;
        }
    }

    /// A segment that the watermark file knew, behind all that are there, is missing.
    fn add_lost_newest(&mut self, set: &SegmentSet, watermark: Option<&Watermark>) {
        let Some((newest, watermark)) = self.newest.as_ref().zip(watermark) else { return };
        if watermark.incarnation != newest.head.open.incarnation || watermark.last_frame < newest.file_end() {
            return;
        }
        // A file that is there and cannot be read is known already, and its damage reported.
        if self.known.last().is_some_and(|last| watermark.last_frame < last.file_end) {
            return;
        }
        let ordinal = SegmentOrdinal(watermark.last_frame.0 / set.store.segment_bytes);
        let base = Position(ordinal.0 * set.store.segment_bytes);
        let file_end = Position(watermark.durable.0.next_multiple_of(set.store.segment_bytes));
        let damage = Damage::new(
            DamageClass::Missing,
            file_name::segment(ordinal),
            0..file_end.0 - base.0,
            base..file_end,
            "the file is not there, or the one before it was longer; the watermark file says that the log reached here",
        );
        self.next_ordinal = self.next_ordinal.max(SegmentOrdinal(file_end.0 / set.store.segment_bytes));
        let before = self.known.last().map_or(0, |last| last.file_end.0 / set.store.segment_bytes);
        self.push_hole(hole_in(before..ordinal.0, set.store.segment_bytes));
        self.known.push(Known {
            ordinal,
            base,
            file_end,
            end: Some(watermark.durable),
            last_index_block: Position::ZERO,
            damage: Some(damage.clone()),
            lost_head: None,
            expected: None,
        });
        self.stated.push(None);
        self.damage.push(damage);
    }
}

/// Ordinals of which nothing is there and nothing says that they are void: segments that are missing. [REC-3]
fn hole_in(ordinals: Range<u64>, segment_bytes: u64) -> Option<Known> {
    let ordinal = SegmentOrdinal(ordinals.start);
    let (base, file_end) = (Position(ordinals.start * segment_bytes), Position(ordinals.end * segment_bytes));
    let detail = "the file is not there, nor any up to the next segment that is reported or read";
    (!ordinals.is_empty()).then(|| Known {
        ordinal,
        base,
        file_end,
        end: Some(file_end),
        last_index_block: Position::ZERO,
        damage: Some(Damage::new(
            DamageClass::Missing,
            file_name::segment(ordinal),
            0..file_end.0 - base.0,
            base..file_end,
            detail,
        )),
        lost_head: None,
        expected: None,
    })
}

/// Of a file whose frames can be read only the head block is lost.
fn head_only(damage: Damage) -> Damage {
    let Damage { bytes, positions, .. } = &damage;
    let bytes = bytes.start..bytes.start + FIRST_FRAME_OFFSET;
    let positions = positions.start..Position(positions.start.0 + FIRST_FRAME_OFFSET);
    let detail = format!("{}; its salt is known from elsewhere, so that the frames are read", damage.detail);
    Damage { bytes, positions, detail, ..damage }
}
