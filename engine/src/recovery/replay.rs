//! The frames of the line, in order: what the log holds, and where it ends.
//!
//! Below the witness a frame's header, plain part and chain are proven; above it every byte, since nobody has proven them
//! yet. The same object goes on later, when another process appends: a reader that follows is a replay that never stops.

use std::sync::Arc;

use crate::commit::index_state::IndexState;
use crate::commit::retry::RetryWindow;
use crate::commit::tail::SealState;
use crate::error::{Damage, DamageClass};
use crate::format::Fault;
use crate::format::frame::{FLAG_GIVEN_ID, FLAG_LEFT, Frame, KIND_BATCH, KIND_INDEX_BLOCK, KIND_SEAL};
use crate::format::open::{Predecessor, open_position};
use crate::format::segment_header::HEAD_BLOCK_BYTES;
use crate::format::watermark::Watermark;
use crate::ids::{Incarnation, Position, SegmentOrdinal};
use crate::index::on_demand::Streams;
use crate::planted::{Plant, planted};
use crate::recovery::checkpoint::Resumed;
use crate::recovery::decision::{Blocks, ChainEnd, EndMeaning, FileMeaning, FileSeen, Owner, Place, Stop, TailState};
use crate::recovery::line::{Line, Stated};
use crate::segment::one::Segment;
use crate::segment::resync;
use crate::segment::scan::{Proof, Scan, Step, last_set_byte};
use crate::segment::set::{Known, SegmentSet};
use crate::storage::Access;
use crate::watermark::LogEnd;
use crate::{Error, ErrorKind, Result};

mod batches;
mod follow;
mod gather;
mod lost;
mod noted;

pub(crate) use gather::Gather;
pub(crate) use lost::Lost;
pub(crate) use noted::NotedStretches;

/// What the log holds, as far as it was read.
#[derive(Debug)]
pub(crate) struct Replay {
    set: Arc<SegmentSet>,
    streams: Arc<Streams>,
    place: Place,
    /// The segment in which the log ends so far.
    pub(crate) segment: Option<Arc<Segment>>,
    /// What the watermark file says, where it counts.
    watermark: Option<Watermark>,
    /// Where the log ends in a segment that is lost: what the next one is to say of it, so that the loss stays known.
    pub(crate) lost_end: Option<Predecessor>,
    /// Behind the last byte that is set in the segment: a frame that reaches beyond was cut, or ends with zeros.
    set_end: Position,
    /// Where the next frame is expected.
    pub(crate) at: Position,
    pub(crate) previous_check: u64,
    pub(crate) last_frame: Position,
    pub(crate) next_number: u64,
    pub(crate) max_recorded_at: i64,
    /// The highest takeover met in the segment.
    pub(crate) takeover: u16,
    pub(crate) incarnation: Incarnation,
    pub(crate) index: IndexState,
    pub(crate) retries: RetryWindow,
    pub(crate) seals: SealState,
    /// The highest witness: everything below was durable.
    pub(crate) witness: Position,
    /// All frames below it were written to their ends, as who wrote them says while the system runs.
    pub(crate) whole: Position,
    /// In each segment that has one, the first frame that reaches beyond what was known durable then.
    pub(crate) unwitnessed: Vec<(SegmentOrdinal, Position)>,
    pub(crate) tail: TailState,
    pub(crate) torn_tail: Option<Damage>,
    pub(crate) damage: Vec<Damage>,
    /// What is lost without anything that says what was there, and was not accepted.
    pub(crate) lost: Vec<Lost>,
    pub(crate) frames_read: u64,
    /// The last frame says that its writer was about to go on in the next segment.
    pub(crate) is_left: bool,
    /// Nobody goes on in another segment without such a frame: where there is none, none is looked for.
    pub(crate) are_rolls_marked: bool,
    /// Before it, the directory is not looked through again for who goes on with the log.
    list_again_at: Option<std::time::Instant>,
    /// How many bytes lie in coded sections, before and after coding.
    pub(crate) coded: (u64, u64),
    /// Where reading began: before it nothing but the checkpoint was looked at.
    pub(crate) from: Position,
    /// Reading pauses behind an index block that ends there or later.
    pause_behind: Position,
    /// Who reads for what is derived alone gathers what the indexes of segments say.
    pub(crate) gather: Option<Gather>,
    /// What was noted of stretches that this process appended, in place of their frames.
    pub(crate) noted: Option<NotedStretches>,
    /// Why a stream could not be looked up.
    failed: Option<Error>,
}

impl Replay {
    /// Nothing read yet.
    pub(crate) fn new(
        set: Arc<SegmentSet>,
        streams: Arc<Streams>,
        place: Place,
        watermark: Option<Watermark>,
    ) -> Replay {
        Replay {
            set,
            streams,
            place,
            segment: None,
            watermark,
            lost_end: None,
            set_end: Position::ZERO,
            at: Position::ZERO,
            previous_check: 0,
            last_frame: Position::ZERO,
            next_number: 0,
            max_recorded_at: i64::MIN,
            takeover: 0,
            incarnation: Incarnation::default(),
            index: IndexState::default(),
            retries: RetryWindow::default(),
            seals: SealState::default(),
            witness: watermark.map_or(Position::ZERO, |watermark| watermark.durable),
            whole: Position::ZERO,
            unwitnessed: Vec::new(),
            tail: TailState::End,
            torn_tail: None,
            damage: Vec::new(),
            lost: Vec::new(),
            frames_read: 0,
            is_left: false,
            are_rolls_marked: false,
            list_again_at: None,
            coded: (0, 0),
            from: Position::ZERO,
            pause_behind: Position::MAX,
            gather: None,
            noted: None,
            failed: None,
        }
    }

    /// From here on streams are looked up in these, and batches remembered anew: those before are in a directory.
    pub(crate) fn change_streams(&mut self, streams: Arc<Streams>) {
        self.streams = streams;
        self.retries = RetryWindow::default();
    }

    /// Where the log ends, and the frame that ends there.
    pub(crate) fn log_end(&self) -> LogEnd {
        LogEnd { end: self.at, last_frame: self.last_frame, last_check: self.previous_check }
    }

    /// Reads the whole line. Segments behind the place where the log ends are left out of the set: they are void.
    /// `tell` hears how many bytes of how many are read.
    pub(crate) fn read_line(
        &mut self,
        line: &Line,
        resumed: Option<&Resumed>,
        tell: &mut dyn FnMut(u64, u64),
    ) -> Result<()> {
        self.read_segments(line, resumed, tell)?;
        self.settle_accepted();
        self.settle_lost_end();
        self.set.prove_end(self.at);
        Ok(())
    }

    fn read_segments(&mut self, line: &Line, resumed: Option<&Resumed>, tell: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let first = resumed.map_or(SegmentOrdinal(0), |resumed| resumed.segment.ordinal());
        let is_read = |known: &&Known| known.ordinal >= first;
        let len = |known: &Known| known.file_end.0 - known.base.0;
        let (total, mut done) = (line.known.iter().filter(is_read).map(len).sum(), 0);
        self.witness = self.witness.max(line.witness);
        let mut newest_end = None;
        if let Some(newest) = &line.newest {
            let from = match resumed.filter(|resumed| resumed.segment.ordinal() == newest.ordinal()) {
                Some(resumed) => (resumed.checkpoint.at, Some(resumed.checkpoint.last_check)),
                None => (newest.first_frame(), newest.first_check()),
            };
            // Looked for once: there may be megabytes of zeros behind it.
            let set_end = last_set_byte(newest, from.0, newest.file_end());
            newest_end = Some((newest.ordinal(), set_end));
            self.witness = self.witness.max(witness_in(newest, from, set_end, self.block_hint()));
        }
        self.damage.extend(line.damage.iter().cloned());
        for (index, known) in line.known.iter().enumerate() {
            if known.ordinal < first {
                self.set.push(known.clone());
                continue;
            }
            tell(done, total);
            done += len(known);
            let is_last = index + 1 == line.known.len();
            if let Some(damage) = line.damage_of(known) {
                if self.judge(damage).decide().1 == FileMeaning::CopyIncomplete {
                    // What is missing behind it was not copied either.
                    let is_behind = |found: &Damage| found.positions.start >= damage.positions.start;
                    let is_missing = |found: &Damage| found.class == DamageClass::Missing && is_behind(found);
                    let is_meant = |found: &&mut Damage| {
                        *found == damage || is_missing(found) && !planted(Plant::OneMissingIsCopied)
                    };
                    for found in self.damage.iter_mut().filter(is_meant) {
                        found.class = DamageClass::CopyIncomplete;
                        found.detail = "it was not copied; the log of this copy ends before it".into();
                    }
                    self.worsen(TailState::Copy);
                    self.set.push(known.clone());
                    return Ok(()); // the log ends before it
                }
                self.worsen(TailState::Damage);
                if known.damage.is_some() {
                    self.lost.push(Lost { positions: known.base..known.file_end, events: None });
                    self.set.push(known.clone());
                    if is_last {
                        self.end_in_lost(known);
                    }
                    continue;
                }
            }
            let segment = self.set.open(known)?;
            let blocks = if segment.head_damage.is_none() { Blocks::Both } else { Blocks::One };
            let seen = FileSeen { is_present: true, blocks, owner: Owner::Ours, is_void: false, place: self.place };
            if seen.decide().1 == (FileMeaning::Use { is_block_damaged: true }) {
                self.damage.extend(segment.head_damage.clone());
            }
            self.set.push(known.clone());
            match resumed.filter(|resumed| resumed.segment.ordinal() == known.ordinal) {
                Some(resumed) => self.resume(resumed, segment),
                None => self.enter(segment),
            }
            let set_end = newest_end.filter(|(ordinal, _)| *ordinal == known.ordinal).map(|(_, end)| end);
            if !self.read_segment(known, line.stated[index], is_last, set_end)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What is observed of a file that cannot be used, for the table of files.
    fn judge(&self, damage: &Damage) -> FileSeen {
        let is_head_zero = || {
            let mut head = [0; 2 * HEAD_BLOCK_BYTES];
            let file = self.set.storage.open(&damage.file, Access::Read);
            let read = file.and_then(|file| file.read_at(&mut head, 0));
            read.is_ok() && head.iter().all(|byte| *byte == 0)
        };
        let (blocks, owner) = match damage.class {
            DamageClass::Foreign => (Blocks::Both, Owner::Foreign),
            DamageClass::Stale => (Blocks::Both, Owner::Stale),
            _ if is_head_zero() => (Blocks::Zero, Owner::Ours),
            _ => (Blocks::None, Owner::Ours),
        };
        let is_present = damage.class != DamageClass::Missing;
        FileSeen { is_present, blocks, owner, is_void: false, place: self.place }
    }

    /// What the next segment says of the one in which the log ends.
    pub(crate) fn predecessor(&self) -> Option<Predecessor> {
        let of = |segment: &Arc<Segment>| Predecessor {
            ordinal: segment.ordinal(),
            end: self.at,
            last_frame: self.last_frame,
            last_index_block: self.index.last_block(),
            salt: segment.head.header.salt,
        };
        self.lost_end.or_else(|| self.segment.as_ref().map(of))
    }

    /// Goes on from a checkpoint, in its segment as the set has it: what lies before it is not read.
    pub(crate) fn resume(&mut self, resumed: &Resumed, segment: Arc<Segment>) {
        let checkpoint = &resumed.checkpoint;
        self.at = checkpoint.at;
        self.from = checkpoint.at;
        self.last_frame = checkpoint.last_frame;
        let last = segment.frame_without_bodies(checkpoint.last_frame, checkpoint.at);
        self.is_left = last.is_ok_and(|last| last.flags() & FLAG_LEFT != 0);
        self.previous_check = checkpoint.last_check;
        self.next_number = checkpoint.next_number;
        self.max_recorded_at = self.max_recorded_at.max(checkpoint.max_recorded_at);
        self.incarnation = checkpoint.incarnation;
        self.takeover = checkpoint.takeover;
        self.seals =
            SealState { last: checkpoint.last_seal, hash: checkpoint.seal_hash, next: checkpoint.next_to_seal };
        self.coded = checkpoint.coded;
        self.witness = self.witness.max(checkpoint.at);
        self.index = resumed.index.clone();
        self.segment = Some(segment);
        // No frame before the checkpoint says it.
        if self.set.last().is_some_and(|last| last.end.is_none() && last.ordinal == checkpoint.segment) {
            self.set.set_last_index_block(checkpoint.last_index_block);
        }
    }

    /// Begins a segment.
    pub(crate) fn enter(&mut self, segment: Arc<Segment>) {
        if let Some(gather) = &mut self.gather {
            gather.enter(self.at, &segment);
        }
        let open = &segment.head.open;
        self.at = segment.first_frame();
        self.last_frame = open_position(&segment.head.header);
        self.previous_check = segment.head.open_check;
        if segment.is_head_lost {
            // Where the first frame counts on from what is known, nothing is lost between.
            let first = segment.frame(self.at, segment.file_end());
            if !first.is_ok_and(|first| first.first_number() == self.next_number) {
                self.lost.push(Lost { positions: segment.base..self.at, events: None });
            }
        } else {
            self.count_lost(open.first_number);
            self.next_number = open.first_number;
        }
        self.max_recorded_at = self.max_recorded_at.max(open.max_recorded_at);
        self.incarnation = open.incarnation;
        self.takeover = 0;
        self.is_left = false;
        self.index.begin(self.at);
        self.segment = Some(segment);
    }

    /// Reads a segment of the line to its end. `false`: the log ends in it.
    /// `set_end`: behind the last byte of its file that is set, where that is known.
    fn read_segment(
        &mut self,
        known: &Known,
        stated: Option<Stated>,
        is_last: bool,
        set_end: Option<Position>,
    ) -> Result<bool> {
        let segment = Arc::clone(self.segment.as_ref().expect("a segment was entered"));
        let limit = known.end.filter(|_| !planted(Plant::StatedEndIgnored)).unwrap_or(segment.file_end());
        let is_begun = self.at > segment.first_frame();
        let mut previous_check = if is_begun { Some(self.previous_check) } else { segment.first_check() };
        let mut looked_again_at = Position::ZERO;
        self.set_end = match set_end {
            Some(set_end) => set_end.min(limit),
            None => last_set_byte(&segment, self.at, limit),
        };
        loop {
            let from = self.at;
            let read = self.read_frames(&segment, previous_check, limit)?;
            if self.at > from {
                previous_check = Some(self.previous_check);
            }
            let (bad, fault) = match read {
                None => {
                    let stop = match stated {
                        Some(stated) if previous_check.is_some() && stated.last_check != self.previous_check => {
                            Stop::Crossing
                        }
                        _ => Stop::Reached,
                    };
                    (stop, Fault::bad("the last frame is not the one that the next segment continued"))
                }
                Some(Fault::Unsupported(what)) => {
                    // The log is served up to here; whoever comes here is told, and nobody appends.
                    self.set.set_unsupported(self.at, format!("{} uses {what}", segment.name));
                    self.set.finish_replay_at(segment.ordinal(), self.index.last_block());
                    return Ok(false);
                }
                Some(fault) => (self.stop_at(&segment, limit, &fault, known.end.is_some()), fault),
            };
            segment.check_readable()?;
            let end = ChainEnd {
                stop: bad,
                is_end_stated: known.end.is_some(),
                // Where the segment behind is lost, so is what it said: the loss is reported there.
                is_below_witness: self.at < self.witness && (known.end.is_some() || is_last),
                has_frames_behind: false, // it makes no difference to what is done
                place: self.place,
            };
            let at = self.at;
            let meaning = end.decide().1;
            let is_hidden = planted(Plant::DamageIsTorn) && meaning == EndMeaning::Damage;
            match if is_hidden { EndMeaning::Torn } else { meaning } {
                EndMeaning::Log => return Ok(true),
                EndMeaning::End => return self.end_or_gap(&segment, is_last),
                // A writer that is at work may have ended the frame since: it is looked at once more.
                EndMeaning::Torn if is_last && looked_again_at != at => {
                    looked_again_at = at;
                }
                EndMeaning::Torn => {
                    let behind = last_set_byte(&segment, at, limit);
                    if behind > at || known.end.is_some() {
                        self.torn_tail = Some(segment.damage(at, behind, DamageClass::TornTail, fault.to_string()));
                    }
                    if !is_last && known.end.is_none() {
                        return self.end_or_gap(&segment, is_last);
                    }
                    self.worsen(TailState::Torn);
                    self.set.finish_replay_at(segment.ordinal(), self.index.last_block());
                    return Ok(false);
                }
                EndMeaning::CopyIncomplete => {
                    let detail = format!("the copy ends here: {fault}");
                    self.damage.push(segment.damage(
                        at,
                        limit.min(self.witness.max(at)),
                        DamageClass::CopyIncomplete,
                        detail,
                    ));
                    self.worsen(TailState::Copy);
                    self.set.finish_replay_at(segment.ordinal(), self.index.last_block());
                    return Ok(false);
                }
                EndMeaning::Damage if self.take_cut(&segment, previous_check, limit) => {
                    previous_check = Some(self.previous_check);
                }
                EndMeaning::Damage => {
                    self.worsen(TailState::Damage);
                    let proven_end = if known.end.is_some() { limit } else { self.witness.max(at).min(limit) };
                    let boundary = if end.stop == Stop::Crossing {
                        proven_end
                    } else {
                        resync::boundary_behind(
                            &segment,
                            at,
                            known.last_index_block.max(self.index_hint(&segment)),
                            proven_end,
                        )
                    };
                    let hint = known.last_index_block.max(self.index_hint(&segment));
                    let lost = resync::lost_frames(&segment, at, boundary, hint, limit);
                    let mut damage = segment.damage(at, boundary, DamageClass::Damage, fault.to_string());
                    resync::note_streams(&mut damage, lost.as_deref());
                    self.take_lost(lost.as_deref(), boundary);
                    self.failed.take().map_or(Ok(()), Err)?;
                    self.streams.name_in(&mut damage);
                    self.damage.push(damage);
                    let is_log_behind = || {
                        known.end.is_none()
                            && segment.frame(boundary, limit).is_ok_and(|frame| {
                                prove_whole(&frame, &segment).is_ok()
                                    && frame.witness().is_some_and(|witness| witness > at)
                            })
                    };
                    if boundary <= at || boundary >= proven_end && !is_log_behind() {
                        self.at = boundary.max(at);
                        if known.end.is_some() {
                            return Ok(true);
                        }
                        return self.end_or_gap(&segment, is_last);
                    }
                    self.at = boundary;
                    previous_check = None;
                }
            }
        }
    }

    /// The end of a segment that states none: the end of the log, or a loss that is reported with the segment behind it.
    fn end_or_gap(&mut self, segment: &Segment, is_last: bool) -> Result<bool> {
        if !is_last {
            self.set.finish(segment.ordinal(), self.at, self.index.last_block());
        }
        Ok(!is_last)
    }

    /// An index block of the segment that the watermark file knew, as a place to go back from.
    fn index_hint(&self, segment: &Segment) -> Position {
        let known = self.set.last().filter(|last| last.ordinal == segment.ordinal());
        let known = known.map_or(Position::ZERO, |known| known.last_index_block);
        if self.block_hint() < segment.file_end() { known.max(self.block_hint()) } else { known }
    }

    /// The last index block that the watermark file knew.
    fn block_hint(&self) -> Position {
        self.watermark.map_or(Position::ZERO, |watermark| watermark.last_index_block)
    }

    /// Takes a frame in whose header and plain part hold, but whose bodies were cut off: its revisions are known, and the
    /// events that prove themselves are served. `false` where no such frame stands here.
    fn take_cut(&mut self, segment: &Segment, previous_check: Option<u64>, limit: Position) -> bool {
        let Ok(frame) = segment.frame(self.at, limit) else { return false };
        let continues = previous_check.is_none_or(|expected| expected == frame.previous_check());
        let Err(fault) = frame.prove(segment.seeds) else { return false };
        if !continues || self.take(&frame, segment, true).is_err() {
            return false;
        }
        self.worsen(TailState::Damage);
        let bodies = Position(frame.end().0 - frame.bodies().len() as u64);
        self.damage.push(segment.damage(bodies, frame.end(), DamageClass::Damage, fault.to_string()));
        true
    }

    /// Reads frames up to `limit`; what stands in the way, where they do not reach it.
    fn read_frames(
        &mut self,
        segment: &Segment,
        previous_check: Option<u64>,
        limit: Position,
    ) -> Result<Option<Fault>> {
        let mut scan = Scan::resume(segment, self.at, previous_check, limit, Proof::Header);
        loop {
            if self.at >= self.pause_behind && self.is_behind_block() {
                return Ok(None);
            }
            if self.take_noted(segment, limit)? {
                scan = Scan::resume(segment, self.at, Some(self.previous_check), limit, Proof::Header);
                continue;
            }
            match scan.next() {
                Step::End => return Ok(None),
                Step::Bad(fault) => return Ok(Some(fault)),
                Step::Frame(frame) => {
                    let is_proven = frame.end() <= self.witness.min(self.set_end).max(self.whole);
                    if !is_proven && !segment.fetch_frame(frame.place()) {
                        return Ok(Some(Fault::Short));
                    }
                    if !is_proven
                        && !planted(Plant::FrameCheckIgnored)
                        && prove_whole(&frame, segment).is_err()
                        && let Err(fault) = {
                            segment.read_frame_again(frame.place());
                            prove_whole(&frame, segment)
                        }
                    {
                        return Ok(Some(fault));
                    }
                    if let Err(fault) = self.take(&frame, segment, previous_check.is_none() || !self.damage.is_empty())
                    {
                        if let Some(gather) = &mut self.gather {
                            gather.give_up();
                        }
                        return self.failed.take().map_or(Ok(Some(fault)), Err);
                    }
                }
            }
        }
    }

    /// Takes in a frame of the log.
    fn take(&mut self, frame: &Frame<'_>, segment: &Segment, is_behind_damage: bool) -> Result<(), Fault> {
        frame.is_known()?;
        if let Some(gather) = &mut self.gather {
            gather.begin_frame(frame);
        }
        let header = &frame.header();
        match header.kind {
            KIND_BATCH => self.take_batch(frame, is_behind_damage)?,
            KIND_INDEX_BLOCK => {
                self.take_names(frame);
                self.index.note_block(frame.position, frame.end());
            }
            kind => {
                if kind == KIND_SEAL {
                    self.take_seal(frame)?;
                }
                if self.gather.is_none() {
                    self.index.note_other(kind, header.frame_len);
                }
            }
        }
        if header.kind == KIND_INDEX_BLOCK
            && self.set.last().is_some_and(|last| last.ordinal == segment.ordinal() && last.end.is_none())
        {
            self.set.set_last_index_block(frame.position);
        }
        if header.flags & FLAG_GIVEN_ID != 0 {
            self.retries.remember(header.batch, frame.position);
        }
        if frame.end() > self.witness && self.unwitnessed.last().is_none_or(|(last, _)| *last != segment.ordinal()) {
            self.unwitnessed.push((segment.ordinal(), frame.position));
        }
        self.witness = self.witness.max(header.witness.unwrap_or(Position::ZERO));
        self.takeover = self.takeover.max(header.takeover);
        self.count_lost(header.first_number);
        self.next_number = header.first_number + u64::from(header.events);
        self.previous_check = header.frame_check;
        self.is_left = header.flags & FLAG_LEFT != 0;
        self.last_frame = frame.position;
        self.at = frame.end();
        self.frames_read += 1;
        if let Some(gather) = &mut self.gather {
            gather.end_frame(frame);
        }
        Ok(())
    }

    fn stop_at(&self, segment: &Segment, limit: Position, fault: &Fault, is_end_stated: bool) -> Stop {
        // All was zero from there on when reading began.
        if self.at >= self.set_end && self.at >= self.witness {
            return Stop::Zero;
        }
        let behind = last_set_byte(segment, self.at, limit);
        if behind == self.at {
            return Stop::Zero;
        }
        let frame = segment.frame(self.at, segment.file_end()).ok();
        let frame = frame.filter(|frame| frame.previous_check() == self.previous_check);
        if is_end_stated && frame.is_some_and(|frame| frame.end() > limit) {
            return Stop::Crossing;
        }
        // Whole in itself, but for what it says of its place in the log.
        let is_whole = !matches!(fault, Fault::Short | Fault::Absent)
            && segment.frame(self.at, limit).is_ok_and(|frame| frame.prove(segment.seeds).is_ok());
        if !is_whole
            && behind < self.witness
            && behind < limit
            && !resync::has_whole_frame(segment, Position(self.at.0 + 8), behind, limit)
        {
            return Stop::Cut;
        }
        match frame {
            Some(frame) if frame.end() <= limit && !is_whole => Stop::Body,
            _ => Stop::Bytes,
        }
    }

    fn worsen(&mut self, state: TailState) {
        self.tail = self.tail.max(state);
    }
}

fn prove_whole(frame: &Frame<'_>, segment: &Segment) -> Result<(), Fault> {
    frame.prove(segment.seeds)?;
    if frame.kind() == KIND_BATCH { crate::format::batch::check_structure(frame) } else { Ok(()) }
}

fn unsupported(segment: &Segment, what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{} uses {what}; use a newer version of treering", segment.name))
}

/// The highest witness that the proven frames of the newest segment carry, from a place on, those behind a bad place included: a
/// witness was true when it was written, whether or not its frame is part of the log. All is zero from `end` on.
fn witness_in(segment: &Segment, from: (Position, Option<u64>), end: Position, block_hint: Position) -> Position {
    let (mut at, mut previous_check) = from;
    let mut highest = Position::ZERO;
    loop {
        let mut scan = Scan::resume(segment, at, previous_check, segment.file_end(), Proof::Header);
        while let Step::Frame(frame) = scan.next() {
            highest = highest.max(frame.witness().unwrap_or(Position::ZERO));
            at = frame.end();
        }
        if end <= at {
            return highest;
        }
        let boundary = resync::boundary_behind(segment, at, block_hint, end);
        if boundary <= at || boundary >= end {
            return highest;
        }
        (at, previous_check) = (boundary, None);
    }
}
