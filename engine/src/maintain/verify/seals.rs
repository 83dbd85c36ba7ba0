//! Seals: is every finished segment, byte for byte, what its seal says, and do the seals chain?
//!
//! A hash is computed when its seal is met, from the bytes of the segment, which lie further back in the log. Where the
//! seal before is lost, the hash that this one repeats of it is taken, so that one lost seal hides nothing of the others.

use super::{Ledger, Log, Work};
use crate::Result;
use crate::error::DamageClass;
use crate::format::seal::{self, Seal};
use crate::ids::{Position, SegmentOrdinal};
use crate::segment::set::Known;

/// The seals met so far.
#[derive(Debug, Default)]
pub(super) struct Seals {
    /// The newest seal frame, where it is known.
    last: Option<(Position, Seal)>,
    /// Whether a seal frame may have been lost since.
    is_uncertain: bool,
    pub(super) checked: u64,
}

impl Seals {
    /// The newest seal frame: zero for none, `None` where one may have been lost.
    pub(super) fn last_position(&self) -> Option<Position> {
        (!self.is_uncertain).then(|| self.last.map_or(Position::ZERO, |(position, _)| position))
    }

    /// Frames were lost, seals perhaps among them.
    pub(super) fn note_loss(&mut self) {
        self.is_uncertain = true;
    }

    /// Holds a seal against the seal before it and the segment it stands for. What does not fit goes to `problems`, but
    /// for bytes of the sealed segment, which are its own damage.
    pub(super) fn check(
        &mut self,
        position: Position,
        seal: &Seal,
        log: &Log<'_>,
        ledger: &mut Ledger,
        problems: &mut Vec<String>,
        work: &mut Work<'_>,
    ) -> Result<()> {
        self.chain(seal, log.segments, problems);
        let known = log.segments.iter().find(|known| known.ordinal == seal.ordinal);
        let is_last = log.segments.last().is_some_and(|last| last.ordinal == seal.ordinal);
        self.last = Some((position, *seal));
        self.is_uncertain = false;
        let Some(known) = known.filter(|_| !is_last) else {
            problems.push(format!("it seals segment {}, which is no finished segment of the log", seal.ordinal));
            return Ok(());
        };
        if known.damage.is_some() {
            return Ok(()); // it is reported as a whole
        }
        let segment = log.set.open(known)?;
        let span = segment.head.header.span;
        if Some(seal.end) != known.end || seal.span != span {
            problems.push(format!(
                "it says that segment {} spans {} and ended at {}; the log says {span} and {}",
                seal.ordinal,
                seal.span,
                seal.end,
                known.end.unwrap_or(Position::ZERO)
            ));
            return Ok(());
        }
        let mut hasher = seal::hasher(&seal.previous_hash);
        let mut at = segment.base;
        while at < seal.end {
            let to = Position((at.0 + Work::STEP_BYTES).min(seal.end.0));
            hasher.update(segment.bytes(at, to));
            segment.check_readable()?;
            work.add(to.0 - at.0);
            at = to;
        }
        self.checked += 1;
        // Where damage is known already it is what changes the hash.
        if *hasher.finalize().as_bytes() != seal.hash && !ledger.knows(&segment.name) {
            let detail = format!(
                "its seal at {position} has another hash than its bytes, though each frame in it proves itself: the \
                 segment was replaced"
            );
            ledger.add(segment.damage(segment.base, seal.end, DamageClass::Damage, detail));
        }
        Ok(())
    }

    fn chain(&self, seal: &Seal, segments: &[Known], problems: &mut Vec<String>) {
        match self.last {
            Some((before, last)) if !self.is_uncertain || seal.previous == before => {
                if seal.previous != before || seal.previous_hash != last.hash {
                    problems.push(format!("it does not continue the seal at {before}"));
                }
                let next = SegmentOrdinal(last.ordinal.0.saturating_add(u64::from(last.span)));
                let skipped = segments.iter().any(|known| known.ordinal >= next && known.ordinal < seal.ordinal);
                if seal.ordinal < next || skipped {
                    problems.push(format!("it seals segment {}, out of turn", seal.ordinal));
                }
            }
            None if !self.is_uncertain => {
                let first = segments.first().map(|known| known.ordinal);
                if seal.previous != Position::ZERO || seal.previous_hash != [0; 32] || Some(seal.ordinal) != first {
                    problems.push("the first seal of the log continues another one".into());
                }
            }
            _ => {}
        }
    }
}
