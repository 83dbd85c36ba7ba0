//! Steps of opening and rolling: what a process does that finds the store left, held by others, or poisoned.

use super::protocol::{Errors, Made, Mistake, Step};
use super::state::{Bytes, Descriptor, End, Page, Place, SEGMENTS, Segment, Writer};

impl Step<'_> {
    pub(super) fn roll(&mut self) -> Made {
        if self.me().writer != Writer::Turn || self.state.budget.rolls == 0 || self.state.free_segment().is_none() {
            return None;
        }
        self.state.budget.rolls -= 1;
        if self.me().is_behind_mark || self.makes(Mistake::RollWithoutMark) {
            self.me().writer = Writer::Marked;
            return Some("rolls: needs no mark");
        }
        let tail = self.me().tail;
        self.state.write(tail, Bytes::Half);
        self.me().writer = Writer::MarkHalf;
        Some("rolls: writes half of a mark")
    }

    pub(super) fn write_mark(&mut self, next: Writer) -> &'static str {
        let check = self.state.new_check();
        self.write_frame(check, true);
        let me = self.me();
        me.tail.frame += 1;
        (me.last, me.last_takeover, me.is_behind_mark, me.writer) = (check, me.takeover, true, next);
        "writes the other half of the mark"
    }

    /// Makes the next segment, its open frame durable before it has its name.
    pub(super) fn make_segment(&mut self, next: Writer) -> &'static str {
        let number = self.state.free_segment().expect("looked for before");
        let check = self.state.new_check();
        let witness = self.witness();
        let me = self.me();
        let segment = Segment { is_made: true, stated: me.tail, before: me.last, check, witness, ..Segment::default() };
        me.begin_segment(number as u8, check);
        me.writer = next;
        me.descriptors[number].is_open = true;
        self.state.segments[number] = segment;
        "makes the next segment"
    }

    /// Takes the turn too and decides what kind of opening this is.
    pub(super) fn look_around(&mut self) -> &'static str {
        let end = self.read_all();
        let is_alone = self.state.processes.iter().all(|process| !process.is_present());
        let page = self.state.named.map(|named| self.state.pages[usize::from(named)]);
        if is_alone {
            let known = page.filter(|page| !page.is_poisoned).map_or(end.witness, |page| page.durable);
            if !self.makes(Mistake::RecoveryOnlySyncs) {
                self.rewrite(known, end.tail);
            }
            self.me().writer = Writer::Recovering;
            return "takes the TURN, is alone, writes again what is not witnessed";
        }
        match page {
            Some(page) if page.is_poisoned => {
                self.me().writer = Writer::Rejoining;
                "takes the TURN, finds others and a poisoned page"
            }
            Some(page) if end.tail < page.committed && !self.makes(Mistake::MissingFramesAreNotNoticed) => {
                self.named_page().expect("it was looked at").is_poisoned = true;
                self.me().writer = Writer::Rejoining;
                "takes the TURN, finds others, and less than the page says: poisons it"
            }
            Some(page) => {
                let named = self.state.named.expect("there is a page");
                self.me().go_on_from(page.epoch);
                self.enter(named);
                "takes the TURN, catches up, joins; lets go of both"
            }
            None => {
                self.open_with_new_page(false);
                "takes the TURN, joins with a new page; lets go of both"
            }
        }
    }

    /// Reads the log from the front with descriptors of its own.
    pub(super) fn read_all(&mut self) -> End {
        for segment in 0..SEGMENTS {
            if self.state.segments[segment].is_made {
                self.open_descriptor(segment);
            }
        }
        let end = self.state.walk(false, |_, _, _| {});
        let me = self.me();
        (me.tail, me.last, me.events, me.is_behind_mark) = (end.tail, end.last, end.events, end.is_behind_mark);
        (me.takeover, me.last_takeover) = (end.takeover, end.takeover);
        end
    }

    pub(super) fn open_descriptor(&mut self, segment: usize) {
        let file = &self.state.segments[segment];
        let is_told_of_old_errors = self.design.errors == Errors::EachDescriptor && !file.is_told;
        let there = file.slots.iter().rposition(|slot| slot.bytes != Bytes::Zeros).map_or(0, |last| last as u8 + 1);
        let descriptor = Descriptor {
            is_open: true,
            heard: if is_told_of_old_errors { 0 } else { file.errors },
            unvouched: if self.makes(Mistake::FreshDescriptorVouches) { 0 } else { there },
        };
        self.me().descriptors[segment] = descriptor;
    }

    /// The same bytes to the same place: they are dirty again.
    pub(super) fn rewrite(&mut self, from: Place, to: Place) {
        for (number, segment) in self.state.segments.iter_mut().enumerate() {
            for (frame, slot) in segment.slots.iter_mut().enumerate() {
                let place = Place { segment: number as u8, frame: frame as u8 };
                if from <= place && place < to && slot.bytes != Bytes::Zeros {
                    slot.is_dirty = true;
                }
            }
        }
    }

    pub(super) fn recovery_syncs(&mut self) -> &'static str {
        let mut is_told = false;
        for segment in 0..SEGMENTS {
            is_told |= self.state.segments[segment].is_made && self.fdatasync(segment);
        }
        if is_told {
            self.forget_all();
            return "syncs, is told of an error, gives up opening";
        }
        self.me().writer = Writer::Recovered;
        "syncs"
    }

    /// Goes on in place if nothing but processes died, else in a new segment.
    pub(super) fn recovery_ends(&mut self) -> &'static str {
        let tail = self.me().tail;
        let page = self.named_page().copied();
        let is_whole = |page: &Page| page.committed <= tail || self.makes(Mistake::MissingFramesAreNotNoticed);
        let is_idle = page.is_some_and(|page| !page.is_poisoned && !page.is_in_flight && is_whole(&page));
        if is_idle || self.state.free_segment().is_none() {
            if !self.clears_tail() {
                return "is told of an error when it clears the tail, gives up opening";
            }
            self.me().go_on_from(page.map_or((0, 0), |page| page.epoch));
            self.me().takeover += 1;
            self.open_with_new_page(true);
            return "goes on in place, with a new page; lets go of both";
        }
        self.make_segment(Writer::RecoveredElsewhere)
    }

    pub(super) fn named_page(&mut self) -> Option<&mut Page> {
        self.state.named.map(|named| &mut self.state.pages[usize::from(named)])
    }

    /// Clears a torn tail, in the two parts and with the sync of `Writer::Torn`. Gives up opening where that is told of an error.
    fn clears_tail(&mut self) -> bool {
        let tail = self.me().tail;
        if self.state.slot(tail).bytes == Bytes::Zeros {
            return true;
        }
        let writer = self.me().writer;
        self.clear_torn();
        if self.fdatasync(usize::from(tail.segment)) {
            self.forget_all();
            return false;
        }
        self.state.clear(tail);
        self.me().writer = writer;
        true
    }

    /// Makes the page by which the store is found from now on.
    pub(super) fn open_with_new_page(&mut self, is_all_durable: bool) -> &'static str {
        let end = self.state.walk(false, |_, _, _| {});
        let is_all_durable = is_all_durable || self.makes(Mistake::NewPageCallsAllDurable);
        let durable = if is_all_durable { end.tail } else { end.witness };
        let page = self.state.new_page(Page { durable, committed: end.tail, ..Page::default() });
        if is_all_durable {
            self.me().descriptors.iter_mut().for_each(|descriptor| descriptor.unvouched = 0);
        }
        self.enter(page);
        "makes a new page; lets go of both"
    }

    pub(super) fn enter(&mut self, page: u8) {
        let is_new = self.makes(Mistake::JoinerDoesNotCatchUp);
        let me = self.me();
        (me.writer, me.page, me.is_new) = (Writer::Idle, page, is_new);
        self.show_tail();
    }

    /// Opens a store that is poisoned for others: rolls, with a mark, since they may not know of it.
    pub(super) fn rejoin(&mut self) -> &'static str {
        if !self.clears_tail() {
            return "is told of an error when it clears the tail, gives up opening";
        }
        if self.state.free_segment().is_none() {
            return self.open_with_new_page(false);
        }
        if self.me().is_behind_mark || self.makes(Mistake::RollOfAPoisonedStoreWithoutMark) {
            return self.make_segment(Writer::RejoinedElsewhere);
        }
        let tail = self.me().tail;
        self.state.write(tail, Bytes::Half);
        self.me().writer = Writer::RejoiningHalf;
        "writes half of a mark"
    }
}
