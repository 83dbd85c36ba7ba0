//! What shared writers do, step by step, and what befalls them. Here is what is explored, how appends go, and how it ends;
//! `opening.rs` and `syncing.rs` have the other steps.
//!
//! A step is what one process does without another one being able to see, or to die in, its middle: reading under a lock, and the
//! one change that follows from it. Each process has two parts that run beside each other, one that opens, appends and closes and
//! one that syncs, as the threads of a real one do. What they know they share.

use super::checker::Model;
use super::claims;
use super::state::{
    Budget, Bytes, Frame, Lookalike, Name, PROCESSES, Page, Place, Process, SEGMENTS, Slot, State, Syncer, Writer,
};

/// Whom the kernel tells that a write-back failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errors {
    /// Linux: everybody who had a descriptor then, once each; if nobody has heard of it yet, the next one that is opened too.
    EachDescriptor,
    /// As before, but for descriptors opened later: the file was forgotten by memory in between.
    EachDescriptorOfThen,
    /// Whoever syncs first.
    FirstWhoSyncs,
}

/// A mistake of design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    RollWithoutMark,
    RollOfAPoisonedStoreWithoutMark,
    RollSyncsUnderTheTurn,
    TornTailIsPassed,
    ClearedTailIsNotSynced,
    TailIsClearedAtOnce,
    ClearedTailIsSyncedBesideTheOwnSync,
    HigherTakeoverIsNotTakenOn,
    MissingFramesAreNotNoticed,
    JoinerDoesNotCatchUp,
    ExpectationIsCheckedBeforeTheTurn,
    InFlightIsIgnored,
    FreshDescriptorVouches,
    PoisonIsNotCheckedByAppends,
    PoisonIsNotCheckedBySyncs,
    FailedSyncIsTriedAgain,
    DurableIsWhatWasCommittedAfterTheSync,
    OnlyTheNewestSegmentIsSynced,
    RewriteWithoutTheTurn,
    SegmentsThatAreNotOpenAreLeftOut,
    RecoveryOnlySyncs,
    NewPageCallsAllDurable,
    NewPageIsNotNoticed,
    NewPageIsNotToldTheTail,
    MissingPageIsNotNoticed,
    NewPageIsTrusted,
}

/// What is explored: how much work, which faults, on which kernel, with which mistake.
#[derive(Clone, Copy)]
pub(super) struct Shared {
    /// Events of each process.
    pub(super) events: [u8; PROCESSES],
    pub(super) budget: Budget,
    pub(super) errors: Errors,
    pub(super) mistake: Option<Mistake>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The part that opens and appends goes on.
    Write(usize),
    /// It rolls, where it could append.
    Roll(usize),
    /// The part that syncs goes on.
    Sync(usize),
    /// A look at the page for what others have synced.
    Look(usize),
    Close(usize),
    Die(usize),
    /// The kernel writes back what is dirty in a segment, and fails.
    WriteBackFails(usize),
    /// The cache lets go of what it failed to write.
    CacheLoses(usize),
    /// Somebody deletes the control page.
    PageVanishes,
}

impl Model for Shared {
    type State = State;
    type Action = Action;

    /// One process has a new store open, the others have not.
    fn start(&self) -> State {
        let mut state = State { budget: self.budget, next_check: 1, named: Some(0), ..State::default() };
        state.segments[0].is_made = true;
        for (number, process) in state.processes.iter_mut().enumerate() {
            process.name = Name(number as u8);
            process.left = self.events[number];
        }
        let first = &mut state.processes[0];
        first.writer = Writer::Idle;
        first.descriptors[0].is_open = true;
        // It took the store over from another one, and has not appended since.
        first.takeover = 1;
        state.pages[0].epoch = (0, 1);
        state.normalize();
        state
    }

    fn actions(&self) -> Vec<Action> {
        use Action::{CacheLoses, Close, Die, Look, PageVanishes, Roll, Sync, Write, WriteBackFails};
        let of_processes =
            (0..PROCESSES).flat_map(|who| [Write, Roll, Sync, Look, Close, Die].map(|action| action(who)));
        of_processes
            .chain((0..SEGMENTS).flat_map(|segment| [WriteBackFails(segment), CacheLoses(segment)]))
            .chain([PageVanishes])
            .collect()
    }

    fn is_fault(&self, action: Action) -> bool {
        matches!(action, Action::Die(_) | Action::WriteBackFails(_) | Action::CacheLoses(_) | Action::PageVanishes)
    }

    fn step(&self, state: &mut State, action: Action) -> Option<(char, &'static str)> {
        let who = match action {
            Action::Write(who) | Action::Roll(who) | Action::Sync(who) => Some(who),
            Action::Look(who) | Action::Close(who) | Action::Die(who) => Some(who),
            Action::WriteBackFails(_) | Action::CacheLoses(_) | Action::PageVanishes => None,
        };
        let name = who.map_or(' ', |who| char::from(b'A' + state.processes[who].name.0));
        let mut step = Step { design: self, state, who: who.unwrap_or_default() };
        let what = match action {
            Action::Write(_) => step.write(),
            Action::Roll(_) => step.roll(),
            Action::Sync(_) => step.sync(),
            Action::Look(_) => step.look(),
            Action::Close(_) => step.close(),
            Action::Die(_) => step.die(),
            Action::WriteBackFails(segment) => step.write_back_fails(segment),
            Action::CacheLoses(segment) => step.cache_loses(segment),
            Action::PageVanishes => step.page_vanishes(),
        }?;
        state.normalize();
        Some((name, what))
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        claims::broken(state)
    }

    fn is_done(&self, state: &State) -> bool {
        state.processes.iter().all(|process| {
            let rests = match process.writer {
                Writer::Idle => process.syncer == Syncer::Idle && process.unsynced == 0,
                writer => writer == Writer::Closed,
            };
            rests && process.left == 0
        })
    }
}

/// A step of one process.
pub(super) struct Step<'s> {
    pub(super) design: &'s Shared,
    pub(super) state: &'s mut State,
    pub(super) who: usize,
}

/// A step that was made.
pub(super) type Made = Option<&'static str>;

impl Step<'_> {
    pub(super) fn me(&mut self) -> &mut Process {
        &mut self.state.processes[self.who]
    }

    pub(super) fn page(&mut self) -> &mut Page {
        let page = self.me().page;
        &mut self.state.pages[usize::from(page)]
    }

    pub(super) fn makes(&self, mistake: Mistake) -> bool {
        self.design.mistake == Some(mistake)
    }

    pub(super) fn is_turn_free(&self) -> bool {
        let rewriters_take_it = !self.makes(Mistake::RewriteWithoutTheTurn);
        self.state.processes.iter().all(|process| {
            let writer = process.writer;
            let opens = Writer::Recovering <= writer && writer < Writer::Idle;
            let rewrites = rewriters_take_it && matches!(process.syncer, Syncer::Rewriting(_));
            !opens && writer < Writer::Turn && !rewrites
        })
    }

    // Opening and appending.

    pub(super) fn write(&mut self) -> Made {
        match self.me().writer {
            Writer::Closed => {
                if self.me().left == 0 || !self.state.is_sync_free() {
                    return None;
                }
                self.me().writer = Writer::Opening;
                Some("opens: takes SYNC")
            }
            Writer::Opening => self.is_turn_free().then(|| self.look_around()),
            Writer::Recovering => Some(self.recovery_syncs()),
            Writer::Recovered => Some(self.recovery_ends()),
            Writer::RecoveredElsewhere => Some(self.open_with_new_page(true)),
            Writer::Rejoining => Some(self.rejoin()),
            Writer::RejoiningHalf => Some(self.write_mark(Writer::RejoiningMarked)),
            Writer::RejoiningMarked => Some(self.make_segment(Writer::RejoinedElsewhere)),
            Writer::RejoinedElsewhere => Some(self.open_with_new_page(false)),
            Writer::Idle => self.take_turn(),
            Writer::Turn => {
                let tail = self.me().tail;
                self.state.write(tail, Bytes::Half);
                self.me().writer = Writer::Half;
                Some("writes half of a frame")
            }
            Writer::Torn => Some(self.clear_torn()),
            Writer::Stubbed => self.sync_stub(),
            Writer::StubSynced => {
                let tail = self.me().tail;
                self.state.clear(tail);
                self.me().writer = Writer::Turn;
                Some("clears the header too")
            }
            Writer::Half => Some(self.write_event()),
            Writer::Whole(check) => Some(self.publish(check)),
            Writer::MarkHalf => Some(self.write_mark(Writer::Marked)),
            Writer::Marked => {
                if self.makes(Mistake::RollSyncsUnderTheTurn) && !self.state.is_sync_free() {
                    return None;
                }
                let made = self.make_segment(Writer::Turn);
                self.show_tail();
                Some(made)
            }
        }
    }

    pub(super) fn take_turn(&mut self) -> Made {
        if self.me().left == 0 || self.me().is_refused || !self.is_turn_free() {
            return None;
        }
        if self.page().is_poisoned && !self.makes(Mistake::PoisonIsNotCheckedByAppends) {
            self.me().is_refused = true;
            return Some("takes the TURN, finds the page poisoned, lets go");
        }
        let events = self.me().events;
        if !(self.makes(Mistake::JoinerDoesNotCatchUp) && self.me().is_new) {
            self.catch_up();
        }
        if self.makes(Mistake::ExpectationIsCheckedBeforeTheTurn) {
            self.me().events = events;
        }
        let tail = self.me().tail;
        if tail < self.page().committed && !self.makes(Mistake::MissingFramesAreNotNoticed) {
            self.page().is_poisoned = true;
            self.me().is_refused = true;
            return Some("takes the TURN, finds less than the page says, poisons it");
        }
        let is_torn = self.state.slot(tail).bytes != Bytes::Zeros;
        let is_minded = !self.makes(Mistake::TornTailIsPassed);
        self.me().writer = if is_torn && is_minded { Writer::Torn } else { Writer::Turn };
        Some("takes the TURN and catches up")
    }

    /// Reads on from the known tail, under the turn.
    pub(super) fn catch_up(&mut self) {
        loop {
            let Process { tail, last, last_takeover, is_behind_mark, .. } = *self.me();
            let bytes = self.state.slot(tail).bytes;
            if let Bytes::Whole(frame) = bytes
                && frame.before == last
                && frame.takeover >= last_takeover
            {
                let takes_on = !self.makes(Mistake::HigherTakeoverIsNotTakenOn);
                let me = self.me();
                me.tail.frame += 1;
                (me.last, me.last_takeover, me.is_behind_mark) = (frame.check, frame.takeover, frame.is_mark);
                me.events += u8::from(!frame.is_mark);
                me.takeover = me.takeover.max(if takes_on { frame.takeover } else { 0 });
            } else if let Some(next) = self.state.successor(tail, last)
                // Only a mark has it look for a segment.
                && is_behind_mark
            {
                self.open_descriptor(usize::from(next));
                let check = self.state.segments[usize::from(next)].check;
                self.me().begin_segment(next, check);
            } else if bytes != Bytes::Zeros && self.makes(Mistake::TornTailIsPassed) {
                self.me().tail.frame += 1;
            } else {
                return;
            }
        }
    }

    /// What looks like a frame in a torn tail must be gone, also from the device, before anything can end in front of it. The header
    /// stays until then, so that whoever comes next knows.
    pub(super) fn clear_torn(&mut self) -> &'static str {
        let tail = self.me().tail;
        if let Some(lookalike) = &mut self.state.lookalike {
            lookalike.is_zeroed = true;
        }
        // Where errors are told once, a sync beside that of another process would hear of its errors: there it is left out, and with it
        // the lookalikes (`die`).
        let is_done = self.makes(Mistake::ClearedTailIsNotSynced) || self.design.errors == Errors::FirstWhoSyncs;
        if is_done || self.makes(Mistake::TailIsClearedAtOnce) {
            self.state.clear(tail);
            self.me().writer = if is_done { Writer::Turn } else { Writer::Stubbed };
            return "clears the torn tail";
        }
        self.state.write(tail, Bytes::Stub);
        self.me().writer = Writer::Stubbed;
        "clears the torn tail behind its header"
    }

    /// Both parts of a process have one descriptor, which is told of an error once: whoever is told poisons the page before the other
    /// one syncs, and the other one looks.
    pub(super) fn sync_stub(&mut self) -> Made {
        let is_minded = !self.makes(Mistake::ClearedTailIsSyncedBesideTheOwnSync);
        let Process { syncer, tail, .. } = *self.me();
        if is_minded && !matches!(syncer, Syncer::Idle | Syncer::Held | Syncer::Rewriting(_)) {
            return None;
        }
        let is_told = self.fdatasync(usize::from(tail.segment));
        self.page().is_poisoned |= is_told;
        if is_told || is_minded && (self.page().is_poisoned || self.me().is_refused) {
            let me = self.me();
            (me.is_refused, me.writer) = (true, Writer::Idle);
            return Some("syncs, finds an error or the page poisoned");
        }
        self.me().writer = Writer::StubSynced;
        Some("syncs")
    }

    pub(super) fn write_event(&mut self) -> &'static str {
        let check = self.state.new_check();
        self.write_frame(check, false);
        let me = self.me();
        me.left -= 1;
        me.writer = Writer::Whole(check);
        "writes the other half"
    }

    pub(super) fn write_frame(&mut self, check: u8, is_mark: bool) {
        let witness = self.witness();
        let me = self.me();
        let frame = Frame { check, before: me.last, believed: me.events, witness, takeover: me.takeover, is_mark };
        let tail = me.tail;
        self.state.write(tail, Bytes::Whole(frame));
    }

    /// What is known durable: by the page, or before there is one by the log.
    pub(super) fn witness(&mut self) -> Place {
        if self.me().is_present() { self.page().durable } else { self.state.walk(false, |_, _, _| {}).witness }
    }

    pub(super) fn publish(&mut self, check: u8) -> &'static str {
        let me = self.me();
        let place = me.tail;
        me.tail.frame += 1;
        me.last = check;
        me.events += 1;
        (me.is_behind_mark, me.last_takeover) = (false, me.takeover);
        me.is_new = false;
        me.writer = Writer::Idle;
        let is_poisoned = self.page().is_poisoned;
        if (self.me().is_refused || is_poisoned) && !self.makes(Mistake::PoisonIsNotCheckedByAppends) {
            self.me().is_refused = true;
            return "finds the page poisoned, acknowledges nothing";
        }
        self.state.was_given_in_poison |= is_poisoned;
        self.show_tail();
        self.me().unsynced |= 1 << check;
        let acknowledged = &mut self.state.acknowledged[usize::from(check)];
        (acknowledged.is_written, acknowledged.place) = (true, place);
        if self.state.budget.losses < self.design.budget.losses {
            self.state.note_losses();
        }
        "tells the page, lets the TURN go: Written"
    }

    /// Tells the page how far the log reaches.
    pub(super) fn show_tail(&mut self) {
        let Process { tail, takeover, .. } = *self.me();
        let page = self.page();
        page.committed = page.committed.max(tail);
        page.epoch = page.epoch.max((tail.segment, takeover));
    }

    // Ends.

    pub(super) fn close(&mut self) -> Made {
        let me = self.me();
        let is_at_rest = me.writer == Writer::Idle && me.syncer == Syncer::Idle;
        let is_done = me.left == 0 && me.unsynced == 0;
        if !is_at_rest || !(me.is_refused || is_done) {
            return None;
        }
        self.forget_all();
        Some("closes")
    }

    pub(super) fn die(&mut self) -> Made {
        if self.state.budget.deaths == 0 || self.me().writer == Writer::Closed {
            return None;
        }
        self.state.budget.deaths -= 1;
        if self.me().writer == Writer::Half && self.design.errors != Errors::FirstWhoSyncs {
            let Place { segment, frame } = self.me().tail;
            self.state.lookalike = Some(Lookalike { place: Place { segment, frame: frame + 1 }, is_zeroed: false });
        }
        self.forget_all();
        Some("is killed")
    }

    /// What a process knows goes with it. Another one comes in its place and does the work that is left.
    pub(super) fn forget_all(&mut self) {
        let me = self.me();
        *me = Process { name: me.name, left: me.left, ..Default::default() };
    }

    pub(super) fn write_back_fails(&mut self, segment: usize) -> Made {
        let file = &mut self.state.segments[segment];
        if self.state.budget.failures == 0 || file.slots.iter().all(|slot| !slot.is_dirty) {
            return None;
        }
        self.state.budget.failures -= 1;
        // Calling all of it clean is the worst that can happen: what stays dirty would come with the next sync.
        file.slots.iter_mut().for_each(|slot| slot.is_dirty = false);
        file.errors += 1;
        file.is_told = false;
        if let Some(lookalike) = &mut self.state.lookalike {
            lookalike.is_zeroed &= usize::from(lookalike.place.segment) != segment;
        }
        Some("the kernel fails to write back, and calls it clean")
    }

    pub(super) fn cache_loses(&mut self, segment: usize) -> Made {
        let is_lost = |slot: &Slot| matches!(slot.bytes, Bytes::Whole(_)) && !slot.is_dirty && !slot.is_on_device;
        // What somebody has read to write it again comes back.
        let is_in_hands = self.state.processes.iter().any(|process| matches!(process.syncer, Syncer::Rewriting(_)));
        let file = &mut self.state.segments[segment];
        if is_in_hands || self.state.budget.losses == 0 || !file.slots.iter().any(is_lost) {
            return None;
        }
        self.state.budget.losses -= 1;
        file.slots.iter_mut().filter(|slot| is_lost(slot)).for_each(|slot| *slot = Slot::default());
        self.state.note_losses();
        Some("the kernel forgets what it failed to write")
    }

    pub(super) fn page_vanishes(&mut self) -> Made {
        if self.state.budget.vanishings == 0 || self.state.named.is_none() {
            return None;
        }
        self.state.budget.vanishings -= 1;
        self.state.named = None;
        Some("the control page is deleted")
    }
}
