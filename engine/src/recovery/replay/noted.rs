//! Stretches that the writer of this process has appended: to who reads for what is derived alone, their index blocks and what was
//! noted beside them say what their frames say. The blocks are read from the log, and prove themselves.

use std::sync::Arc;

use super::Replay;
use crate::commit::tail::SealState;
use crate::error::{Damage, DamageClass};
use crate::format::Fault;
use crate::format::frame::{Frame, KIND_SEAL};
use crate::format::index_block::{IndexBlock, IndexedFrame};
use crate::format::seal::Seal;
use crate::ids::{Position, SegmentOrdinal};
use crate::index::noted::{Noted, Waiting};
use crate::index::streams::{Placed, StreamTable};
use crate::segment::one::Segment;
use crate::{Error, Result};

/// Where noted stretches come from, and the memory for one of them.
#[derive(Debug)]
pub(crate) struct NotedStretches {
    waiting: Arc<Waiting>,
    noted: Noted,
    /// The bytes of its index block.
    block: Vec<u8>,
}

impl NotedStretches {
    /// What waits there is taken.
    pub(crate) fn of(waiting: Arc<Waiting>) -> NotedStretches {
        NotedStretches { waiting, noted: Noted::default(), block: Vec::new() }
    }
}

impl Replay {
    /// Takes in the stretch that begins here, and the index block behind it, where it was noted and ends at `limit` or before.
    ///
    /// # Errors
    /// [`Damage`](crate::ErrorKind::Damage) where the block does not say what was noted: some of it was taken in.
    pub(super) fn take_noted(&mut self, segment: &Segment, limit: Position) -> Result<bool> {
        let Some(mut stretches) = self.noted.take() else { return Ok(false) };
        let NotedStretches { waiting, noted, block } = &mut stretches;
        let is_there = self.damage.is_empty() && waiting.take(self.at, limit, noted);
        let taken = if is_there { self.take_stretch(noted, block, segment) } else { Ok(false) };
        self.noted = Some(stretches);
        taken
    }

    fn take_stretch(&mut self, noted: &Noted, bytes: &mut Vec<u8>, segment: &Segment) -> Result<bool> {
        let block = noted.block();
        bytes.clear();
        bytes.resize((block.end.0 - block.start.0) as usize, 0);
        if segment.copy(block.start, bytes).is_err() {
            return Ok(false); // who reads the frames is told
        }
        let Ok(frame) = Frame::decode(bytes, segment.seeds, block.start) else { return Ok(false) };
        let listed = frame.prove(segment.seeds).and_then(|()| IndexBlock::decode(&frame));
        let Some(listed) = listed.ok().filter(|listed| listed.links.stretch == self.at) else { return Ok(false) };
        self.take_listed(noted, &frame, &listed, segment).map(|()| true).map_err(|fault| {
            let detail = format!("what was noted of it is not what its index block says: {fault}");
            let positions = noted.stretch();
            Error::from_damage(Damage::new(DamageClass::Damage, &segment.name, 0..0, positions, detail))
        })
    }

    /// As [`take_noted`](Self::take_noted): the frames that are listed in `block`, and the block.
    fn take_listed(
        &mut self,
        noted: &Noted,
        frame: &Frame<'_>,
        block: &IndexBlock<'_>,
        segment: &Segment,
    ) -> Result<(), Fault> {
        let at = frame.position;
        let mut gathers = self.gather.as_mut().and_then(|gather| gather.begin_noted(noted, self.at));
        let mut streams = self.streams.write();
        let mut first_fault = None;
        let mut seals = Vec::new();
        block.frames(|indexed| {
            let mut taken = place(&mut streams, block, &indexed);
            if let Some(gathers) = &mut gathers {
                taken = taken.and_then(|()| gathers.take_frame(&indexed, block));
            }
            if let Err(fault) = taken {
                first_fault.get_or_insert(fault);
            }
            if indexed.kind == KIND_SEAL {
                seals.push(indexed.position);
            }
        })?;
        drop(streams);
        if let Some(fault) = first_fault {
            return Err(fault);
        }
        if let Some(gathers) = gathers {
            gathers.end(at, frame.previous_check());
        }
        for seal in seals {
            self.take_seal(&segment.frame(seal, at)?)?;
        }
        self.max_recorded_at = self.max_recorded_at.max(block.links.max_recorded_at);
        for (batch, place) in &noted.given {
            self.retries.remember(*batch, *place);
        }
        self.take(frame, segment, false)
    }

    /// Takes in a seal.
    pub(super) fn take_seal(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let seal = Seal::decode(frame)?;
        let next = SegmentOrdinal(seal.ordinal.0 + u64::from(seal.span));
        self.seals = SealState { last: frame.position, hash: seal.hash, next };
        Ok(())
    }
}

/// Takes in the sections of a frame as its index block lists them.
fn place(streams: &mut StreamTable, block: &IndexBlock<'_>, frame: &IndexedFrame) -> Result<(), Fault> {
    let mut first_position = frame.position;
    for section in &frame.sections {
        let listed = &block.streams[section.stream as usize];
        // A stream is named by the first of its events.
        let name = listed.name.filter(|_| listed.stream.0 == first_position.0);
        let (stream, first_revision, count) = (listed.stream, section.first_revision, section.count);
        if !streams.place(name, Placed { stream, first_revision, count, frame: frame.position, first_position }) {
            return Err(Fault::bad(format!("a section of stream {stream} does not continue it")));
        }
        first_position.0 += u64::from(count);
    }
    Ok(())
}
