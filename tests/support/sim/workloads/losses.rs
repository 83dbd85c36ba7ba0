//! Workloads that lose a part of the log before their trace begins, and accept it.

use std::ops::Range;

use treering::Durability::{Synced, Written};
use treering::SegmentOrdinal;
use treering::format::file_name;
use treering::storage::{Access, Storage as _};

use super::super::account::Outcome;
use super::super::loss::{Loss, accept};
use super::Run;
use crate::store::noise;

/// The length of a segment.
const SEGMENT_BYTES: u64 = 16 << 10;

impl Run {
    /// Loses what lies between two positions of one segment, all of it where the file is to go: the store is closed before,
    /// and the trace begins anew behind the loss.
    ///
    /// # Panics
    /// Where the store is open, or the file is not there.
    pub(super) fn lose(&mut self, positions: Range<u64>, is_file_lost: bool) {
        assert!(self.store.is_none(), "the store is closed");
        let mut loss = Loss::default();
        let name = file_name::segment(SegmentOrdinal(positions.start / SEGMENT_BYTES));
        let other = self.machine.process();
        if is_file_lost {
            other.remove(&name).expect("the file is there");
        } else {
            let bytes = noise(7, (positions.end - positions.start) as usize);
            let file = other.open(&name, Access::ReadWrite).expect("the file is there");
            file.write_at(&bytes, positions.start % SEGMENT_BYTES).expect("it can be written");
        }
        self.account.entries.retain_mut(|entry| {
            (entry.began, entry.ended) = (0, 0);
            let Outcome::Acknowledged(receipt) = &entry.outcome else { panic!("nothing failed so far: {entry:?}") };
            for section in &receipt.sections {
                let last = loss.heads.entry(section.stream.to_string()).or_insert(section.last_revision);
                *last = section.last_revision.max(*last);
            }
            !positions.contains(&receipt.position.0)
        });
        self.account.seen.iter_mut().for_each(|(stamp, ..)| *stamp = 0);
        self.account.durable.iter_mut().for_each(|(stamp, _)| *stamp = 0);
        self.account.loss = Some(loss);
        self.machine.begin_anew();
    }

    /// Accepts what is lost.
    ///
    /// # Panics
    /// Where that fails.
    pub(super) fn accept(&mut self) {
        let began = self.machine.trace_len() + 1;
        accept(&self.machine).expect("the loss can be accepted");
        let loss = self.account.loss.as_mut().expect("something is lost");
        loss.accepted = Some((began, self.machine.trace_len()));
    }

    /// Where a batch lies, by its place among the appends.
    fn place_of(&self, entry: usize) -> Range<u64> {
        match &self.account.entries[entry].outcome {
            Outcome::Acknowledged(receipt) => receipt.position.0..receipt.end.0,
            other => panic!("it was not appended: {other:?}"),
        }
    }
}

/// The last frames, below what was durable, and no index block lists them: nobody knows how many events which stream had.
pub(super) fn accepts_lost_frames(run: &mut Run) {
    run.open();
    for number in 0..6 {
        run.append(["a", "b"][number % 2], 100, Written);
    }
    run.close();
    run.lose(run.place_of(3).start..run.place_of(5).end, false);
    run.accept();
    run.open();
    run.append("a", 60, Synced);
    run.append("b", 60, Written);
}

pub(super) fn accepts_a_lost_segment(run: &mut Run) {
    run.open();
    for number in 0..10 {
        run.append(["a", "b"][number % 2], 3100, if number % 3 == 2 { Synced } else { Written });
    }
    run.rest();
    run.close();
    run.lose(16 << 10..32 << 10, true);
    run.accept();
    run.open();
    run.append("b", 60, Synced);
}

/// The streams were made there, and nowhere else: an incarnation begins.
pub(super) fn accepts_lost_names(run: &mut Run) {
    run.open();
    run.append("a", 100, Written);
    run.append("b", 100, Written);
    run.append("a", 30, Synced);
    run.close();
    run.lose(run.place_of(1), false);
    run.accept();
    run.open();
    run.append("b", 10, Synced);
}
