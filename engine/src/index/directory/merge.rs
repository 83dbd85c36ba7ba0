//! Writing runs: from streams in memory, and from two runs that follow each other.
//!
//! Two runs become one row by row: tables that are ordered by the log are joined, the others merged, and of two heads of a
//! stream the later one stays. Nothing but a few buffers is held in memory, however many rows there are.

use std::cmp::Ordering;

use crate::Result;
use crate::error::ErrorKind;
use crate::format::Fault;
use crate::format::directory::{HeadRow, NameRow, RetryRow, RunHead, RunName, SegmentRow};
use crate::format::file_name;
use crate::format::side_file::SideKind;
use crate::ids::{Position, StoreId};
use crate::index::directory::run::Run;
use crate::index::side_file::SideWriter;
use crate::limits::RETRY_WINDOW_BATCHES;
use crate::storage::Storage;

/// What a stretch of the log adds to the directory.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Streams that were made, by identity, with their names.
    pub(crate) made: Vec<(NameRow, Box<str>)>,
    /// Streams with a section in the stretch, by identity.
    pub(crate) heads: Vec<HeadRow>,
    /// Batches with an id given by the caller, in log order.
    pub(crate) retries: Vec<RetryRow>,
    /// Segments that ended, in log order.
    pub(crate) segments: Vec<SegmentRow>,
}

/// Where runs are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'s> {
    pub(crate) storage: &'s dyn Storage,
    pub(crate) store: StoreId,
}

impl Place<'_> {
    /// Writes the rows of a stretch as a run.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) and [`NoSpace`](ErrorKind::NoSpace) from the system; nothing is left behind then.
    pub(crate) fn write(&self, number: u64, from: Position, to: Position, rows: &Rows) -> Result<RunName> {
        let mut order: Vec<u32> = (0..rows.made.len() as u32).collect();
        order.sort_unstable_by_key(|index| rows.made[*index as usize].1.as_bytes());
        let mut retries: Vec<u32> = (0..rows.retries.len() as u32).collect();
        retries.sort_unstable_by_key(|index| (rows.retries[*index as usize].batch.0, *index));
        let mut head = RunHead { from, to, ..RunHead::default() };
        self.with_writer(number, |out| {
            for (row, name) in &rows.made {
                let row = NameRow { name_at: head.name_bytes, name_len: name.len() as u32, ..*row };
                head.name_bytes += u64::from(row.name_len);
                out.put(&row.encode())?;
            }
            for (_, name) in &rows.made {
                out.put(name.as_bytes())?;
            }
            out.align(8)?;
            for index in &order {
                out.put(&index.to_le_bytes())?;
            }
            out.align(8)?;
            for row in &rows.heads {
                out.put(&row.encode())?;
            }
            for row in &rows.retries {
                out.put(&row.encode())?;
            }
            for index in &retries {
                out.put(&index.to_le_bytes())?;
            }
            out.align(8)?;
            for row in &rows.segments {
                out.put(&row.encode())?;
            }
            head.names = rows.made.len() as u32;
            head.heads = rows.heads.len() as u32;
            head.retries = rows.retries.len() as u32;
            head.segments = rows.segments.len() as u32;
            Ok(head)
        })
    }

    /// Writes one run in place of two that follow each other. It is durable when this returns, so that the two can go.
    /// They are the last two, so that the window of retries ends with them: what no retry can mean any more is left out.
    ///
    /// # Errors
    /// As [`write`](Self::write); [`Damage`](ErrorKind::Damage) where one of the runs is bad.
    pub(crate) fn merge(&self, number: u64, older: &Run, newer: &Run) -> Result<RunName> {
        debug_assert_eq!(older.head.to, newer.head.from);
        let mut head = RunHead { from: older.head.from, to: newer.head.to, ..RunHead::default() };
        self.with_writer(number, |out| {
            let bad = |fault: Fault| crate::Error::new(ErrorKind::Damage, format!("a run of the directory: {fault}"));
            self.merge_names(out, older, newer, &mut head, bad)?;
            merge_heads(out, older, newer, &mut head, bad)?;
            merge_retries(out, older, newer, &mut head, bad)?;
            for run in [older, newer] {
                for index in 0..run.head.segments {
                    out.put(&run.segment_row(index).map_err(bad)?.encode())?;
                }
            }
            head.segments = older.head.segments + newer.head.segments;
            Ok(head)
        })
    }

    fn merge_names(
        &self,
        out: &mut SideWriter<'_>,
        older: &Run,
        newer: &Run,
        head: &mut RunHead,
        bad: impl Fn(Fault) -> crate::Error + Copy,
    ) -> Result<()> {
        for run in [older, newer] {
            for index in 0..run.head.names {
                let row = run.name_row(index).map_err(bad)?;
                let row = NameRow { name_at: head.name_bytes, ..row };
                head.name_bytes += u64::from(row.name_len);
                out.put(&row.encode())?;
            }
        }
        for run in [older, newer] {
            for index in 0..run.head.names {
                let row = run.name_row(index).map_err(bad)?;
                out.put(run.name_of(&row).map_err(bad)?)?;
            }
        }
        out.align(8)?;
        let numbers = [older.head.names, newer.head.names];
        let name_of = |run: &Run, index: u32| {
            let number = run.name_at(index)?;
            let row = run.name_row(number)?;
            Ok::<_, Fault>((run.name_of(&row)?.to_vec(), number))
        };
        merge_orders(
            out,
            numbers,
            |index| name_of(older, index).map_err(bad),
            |index| name_of(newer, index).map_err(bad),
        )?;
        head.names = older.head.names + newer.head.names;
        Ok(())
    }

    fn with_writer(&self, number: u64, fill: impl FnOnce(&mut SideWriter<'_>) -> Result<RunHead>) -> Result<RunName> {
        let name = file_name::directory(number);
        let mut out = SideWriter::begin(self.storage, &name, SideKind::DirectoryRun, self.store)?;
        let head = match fill(&mut out) {
            Ok(head) => head,
            Err(error) => {
                out.discard();
                return Err(error);
            }
        };
        debug_assert_eq!(out.len(), head.payload_len());
        let check = out.publish(head.encode(), true)?;
        Ok(RunName { number, from: head.from, to: head.to, check })
    }
}

/// Merges the orders of two tables that are joined, the older one's rows first.
fn merge_orders<Key: Ord>(
    out: &mut SideWriter<'_>,
    counts: [u32; 2],
    older: impl Fn(u32) -> Result<(Key, u32)>,
    newer: impl Fn(u32) -> Result<(Key, u32)>,
) -> Result<()> {
    let at = |index: u32, side: usize| -> Result<Option<(Key, u32)>> {
        if index == counts[side] {
            return Ok(None);
        }
        if side == 0 { older(index).map(Some) } else { newer(index).map(Some) }
    };
    let mut next = [0, 0];
    let mut heads = [at(0, 0)?, at(0, 1)?];
    loop {
        let side = match &heads {
            [None, None] => break,
            [Some(_), None] => 0,
            [None, Some(_)] => 1,
            [Some(first), Some(second)] => usize::from(second.0 < first.0),
        };
        let (_, number) = heads[side].take().expect("it was just chosen");
        let joined = if side == 0 { number } else { counts[0] + number };
        out.put(&joined.to_le_bytes())?;
        next[side] += 1;
        heads[side] = at(next[side], side)?;
    }
    out.align(8)
}

fn merge_heads(
    out: &mut SideWriter<'_>,
    older: &Run,
    newer: &Run,
    head: &mut RunHead,
    bad: impl Fn(Fault) -> crate::Error,
) -> Result<()> {
    let at = |run: &Run, index: u32| match index < run.head.heads {
        true => run.head_row(index).map(Some),
        false => Ok(None),
    };
    let (mut first, mut second) = (0, 0);
    loop {
        let row = match (at(older, first).map_err(&bad)?, at(newer, second).map_err(&bad)?) {
            (None, None) => return Ok(()),
            (Some(row), None) => {
                first += 1;
                row
            }
            (None, Some(row)) => {
                second += 1;
                row
            }
            (Some(old), Some(new)) => match old.stream.cmp(&new.stream) {
                Ordering::Less => {
                    first += 1;
                    old
                }
                order => {
                    first += u32::from(order == Ordering::Equal);
                    second += 1;
                    new
                }
            },
        };
        out.put(&row.encode())?;
        head.heads += 1;
    }
}

fn merge_retries(
    out: &mut SideWriter<'_>,
    older: &Run,
    newer: &Run,
    head: &mut RunHead,
    bad: impl Fn(Fault) -> crate::Error + Copy,
) -> Result<()> {
    let both = u64::from(older.head.retries) + u64::from(newer.head.retries);
    let kept = both.min(RETRY_WINDOW_BATCHES as u64);
    // The first so many rows of both together go.
    let gone = both - kept;
    let gone =
        [gone.min(u64::from(older.head.retries)) as u32, gone.saturating_sub(u64::from(older.head.retries)) as u32];
    for (run, gone) in [(older, gone[0]), (newer, gone[1])] {
        for index in gone..run.head.retries {
            out.put(&run.retry_row(index).map_err(bad)?.encode())?;
        }
    }
    let kept_of = |run: &Run, gone: u32| -> Result<Vec<([u8; 16], u32)>> {
        let mut rows = Vec::new();
        for index in 0..run.head.retries {
            let number = run.retry_at(index).map_err(bad)?;
            if let Some(number) = number.checked_sub(gone) {
                rows.push((run.retry_row(number + gone).map_err(bad)?.batch.0, number));
            }
        }
        Ok(rows)
    };
    // At most a window of them.
    let (first, second) = (kept_of(older, gone[0])?, kept_of(newer, gone[1])?);
    let counts = [first.len() as u32, second.len() as u32];
    merge_orders(out, counts, |index| Ok(first[index as usize]), |index| Ok(second[index as usize]))?;
    head.retries = kept as u32;
    Ok(())
}
