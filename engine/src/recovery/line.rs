//! The line: which files are the log.
//!
//! It begins at the newest segment whose head proves itself and goes down, each open frame naming the segment before it,
//! where that ended, and its salt. Files between a stated end and the segment that states it are void. Where a segment is
//! missing or its head is lost, the line goes on with the next lower file, which then has no stated end.

use std::sync::Arc;

use crate::error::{Damage, DamageClass};
use crate::format::file_name::{self, FileKind};
use crate::format::open::Predecessor;
use crate::format::watermark::Watermark;
use crate::ids::{Position, SegmentOrdinal};
use crate::segment::one::{Segment, Unusable};
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
}

/// Finds the line in the directory of a store.
///
/// `watermark` is what the watermark file of this store says, believed for its own life only.
pub(crate) fn find(set: &SegmentSet, watermark: Option<&Watermark>) -> Result<Line> {
    let storage = &*set.storage;
    let entries = storage.list().map_err(|error| Error::io("list", &storage.describe(), error))?;
    let segment_bytes = set.store.segment_bytes;
    let mut ordinals: Vec<SegmentOrdinal> = Vec::new();
    let mut line = Line::default();
    for entry in &entries {
        if let FileKind::Segment(ordinal) = file_name::parse(&entry.name)
            && ordinal.0 < crate::limits::NUMBER_MAX / segment_bytes
        {
            ordinals.push(ordinal);
            // A file that cannot be read still takes as many ordinals as it is long.
            let behind = SegmentOrdinal(ordinal.0 + entry.len.div_ceil(segment_bytes).max(1));
            line.next_ordinal = line.next_ordinal.max(behind);
        }
    }
    ordinals.sort_unstable();
    let mut wanted: Option<Stated> = None;
    let mut below = u64::MAX;
    loop {
        let ordinal = match wanted {
            Some(stated) => stated.predecessor.ordinal,
            None => match ordinals.iter().rev().find(|ordinal| ordinal.0 < below) {
                Some(ordinal) => *ordinal,
                None => break,
            },
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
                });
                line.stated.push(wanted);
                line.damage.push(damage);
                wanted = None;
                continue;
            }
            Err(other) => return Err(other.into()),
        };
        line.witness = line.witness.max(segment.head.open.witness.unwrap_or(Position::ZERO));
        let end_ordinal = SegmentOrdinal(ordinal.0 + u64::from(segment.head.header.span));
        line.next_ordinal = line.next_ordinal.max(end_ordinal);
        line.known.push(Known {
            ordinal,
            base: segment.base,
            file_end: segment.file_end(),
            end: wanted.map(|stated| stated.predecessor.end),
            last_index_block: wanted.map_or(Position::ZERO, |stated| stated.predecessor.last_index_block),
            damage: None,
        });
        line.stated.push(wanted);
        let open = segment.head.open;
        wanted = open.predecessor.map(|predecessor| Stated { predecessor, last_check: open.previous_check });
        if line.newest.is_none() {
            line.newest = Some(Arc::new(segment));
        }
        if wanted.is_none() {
            break;
        }
    }
    line.known.reverse();
    line.stated.reverse();
    line.add_lost_newest(set, watermark);
    Ok(line)
}

impl Line {
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
            "the file is not there; the watermark file says that the log reached into it",
        );
        self.next_ordinal = self.next_ordinal.max(SegmentOrdinal(file_end.0 / set.store.segment_bytes));
        self.known.push(Known {
            ordinal,
            base,
            file_end,
            end: Some(watermark.durable),
            last_index_block: Position::ZERO,
            damage: Some(damage.clone()),
        });
        self.stated.push(None);
        self.damage.push(damage);
    }
}
