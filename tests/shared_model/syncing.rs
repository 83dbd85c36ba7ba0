//! Steps of syncing: who may call what durable, and what a failure leaves behind.

use super::protocol::{Errors, Made, Mistake, Step};
use super::state::{Lookalike, Page, Place, Syncer};

impl Step<'_> {
    pub(super) fn sync(&mut self) -> Made {
        let syncer = self.me().syncer;
        match syncer {
            Syncer::Idle => self.take_sync(),
            Syncer::Held => self.begin_sync(),
            Syncer::Rewriting(end) => Some(self.finish_rewrite(end)),
            Syncer::InFlight(target, segment) => Some(self.sync_segment(target, segment)),
            Syncer::Synced(target) => Some(self.raise_durable(target)),
            Syncer::Failed if self.makes(Mistake::FailedSyncIsTriedAgain) => {
                self.me().syncer = Syncer::Held;
                Some("tries again")
            }
            Syncer::Failed => {
                self.page().is_poisoned = true;
                let me = self.me();
                (me.is_refused, me.syncer) = (true, Syncer::Idle);
                Some("poisons the page, lets SYNC go")
            }
        }
    }

    pub(super) fn take_sync(&mut self) -> Made {
        let me = self.me();
        if !me.is_present() || me.is_refused || me.unsynced == 0 || !self.state.is_sync_free() {
            return None;
        }
        let mapped = self.me().page;
        if self.state.named != Some(mapped) && !self.page().is_poisoned {
            self.leave_page();
        }
        if self.page().is_poisoned && !self.makes(Mistake::PoisonIsNotCheckedBySyncs) {
            self.me().is_refused = true;
            return Some("takes SYNC, finds the page poisoned, lets go");
        }
        if self.acknowledge() && self.me().unsynced == 0 {
            return Some("takes SYNC, finds all durable, lets go: Synced");
        }
        if self.page().is_in_flight && !self.makes(Mistake::InFlightIsIgnored) {
            self.me().distrusts = true;
        }
        self.me().syncer = Syncer::Held;
        Some("takes SYNC")
    }

    /// Goes over to the page that the name leads to now, or makes one. What befell others under another page than the own one
    /// is not known: all that is not durable has to be written again.
    pub(super) fn leave_page(&mut self) {
        let is_missing = self.state.named.is_none();
        if self.makes(Mistake::NewPageIsNotNoticed) || is_missing && self.makes(Mistake::MissingPageIsNotNoticed) {
            return;
        }
        let (durable, tail) = (self.page().durable, self.me().tail);
        let known = Page { durable, committed: tail, ..Page::default() };
        let page = self.state.named.unwrap_or_else(|| self.state.new_page(known));
        let distrusts = !self.makes(Mistake::NewPageIsTrusted);
        let me = self.me();
        (me.page, me.distrusts) = (page, me.distrusts || distrusts);
        if !self.makes(Mistake::NewPageIsNotToldTheTail) {
            self.show_tail();
        }
    }

    /// Writes again what the own descriptor does not vouch for, else marks a sync.
    pub(super) fn begin_sync(&mut self) -> Made {
        let durable = self.page().durable;
        let mut is_vouched = !self.me().distrusts;
        for (number, descriptor) in self.me().descriptors.iter().enumerate() {
            let end = Place { segment: number as u8, frame: descriptor.unvouched };
            is_vouched &= descriptor.unvouched == 0 || end <= durable;
        }
        if !is_vouched {
            if !self.makes(Mistake::RewriteWithoutTheTurn) {
                if !self.is_turn_free() {
                    return None;
                }
                self.catch_up();
                let tail = self.me().tail.max(self.page().committed);
                if self.state.walk(false, |_, _, _| {}).tail < tail && !self.makes(Mistake::MissingFramesAreNotNoticed)
                {
                    self.me().syncer = Syncer::Failed;
                    return Some("takes the TURN, does not find all that was there");
                }
            }
            self.me().syncer = Syncer::Rewriting(self.state.processes[self.who].tail);
            return Some("takes the TURN, reads what is not durable");
        }
        let target = self.target();
        let first = if self.makes(Mistake::OnlyTheNewestSegmentIsSynced) { target } else { durable.min(target) };
        self.page().is_in_flight = true;
        self.me().syncer = Syncer::InFlight(target, first.segment);
        Some("marks a sync in flight")
    }

    /// What the page calls committed, if all of it lies in files that this process has open; else what it knows itself.
    pub(super) fn target(&mut self) -> Place {
        let (tail, committed) = (self.me().tail, self.page().committed);
        let is_open = self.me().descriptors[usize::from(committed.segment)].is_open;
        let is_open = is_open || self.makes(Mistake::SegmentsThatAreNotOpenAreLeftOut);
        if is_open { committed } else { tail }
    }

    pub(super) fn finish_rewrite(&mut self, end: Place) -> &'static str {
        let durable = self.page().durable;
        self.rewrite(durable, end);
        // Whole blocks are written, with what stood behind the end when they were read. Under the turn that is what stands there.
        if self.makes(Mistake::RewriteWithoutTheTurn) {
            let last = &mut self.state.segments[usize::from(end.segment)];
            last.slots[usize::from(end.frame)..].fill(Default::default());
        }
        let me = self.me();
        me.distrusts = false;
        me.descriptors.iter_mut().for_each(|descriptor| descriptor.unvouched = 0);
        me.syncer = Syncer::Held;
        "writes the same bytes again, lets the TURN go"
    }

    /// Writes back what is dirty, then says whether this descriptor is told of an error.
    pub(super) fn fdatasync(&mut self, segment: usize) -> bool {
        let heard = self.me().descriptors[segment].heard;
        let file = &mut self.state.segments[segment];
        if let Some(Lookalike { place, is_zeroed }) = self.state.lookalike
            && usize::from(place.segment) == segment
            && (is_zeroed || file.slots[usize::from(place.frame)].is_dirty)
        {
            self.state.lookalike = None;
        }
        for slot in file.slots.iter_mut().filter(|slot| slot.is_dirty) {
            (slot.is_dirty, slot.is_on_device) = (false, true);
        }
        let errors = file.errors;
        let is_told = match self.design.errors {
            Errors::FirstWhoSyncs => errors > 0 && !file.is_told,
            Errors::EachDescriptor | Errors::EachDescriptorOfThen => heard != errors,
        };
        file.is_told |= is_told;
        self.me().descriptors[segment].heard = errors;
        is_told
    }

    pub(super) fn sync_segment(&mut self, target: Place, segment: u8) -> &'static str {
        let is_open = self.me().descriptors[usize::from(segment)].is_open;
        let (next, what) = if is_open && self.fdatasync(usize::from(segment)) {
            (Syncer::Failed, "syncs, is told of an error")
        } else if segment < target.segment {
            (Syncer::InFlight(target, segment + 1), "syncs a segment")
        } else {
            (Syncer::Synced(target), "syncs the last segment")
        };
        self.me().syncer = next;
        what
    }

    pub(super) fn raise_durable(&mut self, target: Place) -> &'static str {
        if self.page().is_poisoned && !self.makes(Mistake::PoisonIsNotCheckedBySyncs) {
            let me = self.me();
            (me.is_refused, me.syncer) = (true, Syncer::Idle);
            return "finds the page poisoned, lets SYNC go";
        }
        let is_late = self.makes(Mistake::DurableIsWhatWasCommittedAfterTheSync);
        let target = if is_late { self.target() } else { target };
        let page = self.page();
        page.durable = page.durable.max(target);
        page.is_in_flight = false;
        self.state.was_given_in_poison |= self.page().is_poisoned;
        self.acknowledge();
        self.me().syncer = Syncer::Idle;
        "raises durable, lets SYNC go: Synced"
    }

    /// Acknowledges what the page calls durable.
    pub(super) fn acknowledge(&mut self) -> bool {
        let durable = self.page().durable;
        let mut unsynced = self.me().unsynced;
        for (check, acknowledged) in self.state.acknowledged.iter_mut().enumerate() {
            if unsynced & 1 << check != 0 && acknowledged.place < durable {
                unsynced &= !(1 << check);
                acknowledged.is_synced = true;
            }
        }
        std::mem::replace(&mut self.me().unsynced, unsynced) != unsynced
    }

    pub(super) fn look(&mut self) -> Made {
        let me = self.me();
        if !me.is_present() || me.is_refused || me.unsynced == 0 || me.syncer != Syncer::Idle || self.page().is_poisoned
        {
            return None;
        }
        self.acknowledge().then_some("sees in the page what others synced: Synced")
    }
}
