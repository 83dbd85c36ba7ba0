//! The stream directory: where the streams of the log up to a place ended, looked up when somebody asks.
//!
//! It is a small log-structured set of immutable files, the *runs*. Each covers a stretch of the log, and together they
//! cover all of it up to a checkpoint. A stream's name stands in the run in which it was made, its head in every run in
//! whose stretch it has a section; the newest counts. Opening reads no row of them, so that a million streams cost nothing
//! until one of them is asked for.
//!
//! Runs are merged with their neighbours so that each has at least twice as many rows as the one behind it: there are at
//! most log2 of the rows of them, and a row is written again at most so many times.
//!
//! The directory is derived and never believed over the log: what it says of a stream is held against the frame that it
//! names. A fault means that it is not what was written: whoever meets one reads the log instead.

mod merge;
mod run;

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::format::Fault;
use crate::format::directory::{HeadRow, NameRow, RUNS_MAX, RunName, SegmentRow};
use crate::ids::{BatchId, Position, Revision, StoreId, StreamId};
use crate::limits::RETRY_WINDOW_BATCHES;
use crate::storage::Storage;
use crate::{Error, ErrorKind, Result};

pub(crate) use merge::{Place, Rows};
use run::Run;

/// A stream as the directory knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) stream: StreamId,
    pub(crate) name: String,
    /// The first revision of its own: above 0 for a fork.
    pub(crate) first: Revision,
    pub(crate) head: Revision,
    pub(crate) head_position: Position,
    /// The frame that holds its last section.
    pub(crate) last_place: Position,
}

/// The runs that cover the log up to a checkpoint, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    runs: Vec<Arc<Run>>,
}

impl Directory {
    /// Opens the runs that a checkpoint names. `None` where one of them is not there, or another one.
    pub(crate) fn open(storage: &dyn Storage, store: StoreId, names: &[RunName]) -> Option<Directory> {
        let runs = names.iter().map(|name| Run::open(storage, store, name).map(Arc::new)).collect::<Option<_>>()?;
        Some(Directory { runs })
    }

    /// How far it reaches.
    pub(crate) fn covered(&self) -> Position {
        self.runs.last().map_or(Position::ZERO, |run| run.head.to)
    }

    /// The names of its runs, oldest first.
    pub(crate) fn names(&self) -> Vec<RunName> {
        self.runs.iter().map(|run| run.name).collect()
    }

    /// Length of its files, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.file_len()).sum()
    }

    /// The stream of this name.
    pub(crate) fn by_name(&self, name: &str) -> Result<Option<Entry>, Fault> {
        for run in self.runs.iter().rev() {
            if let Some(row) = run.find_name(name.as_bytes())? {
                return self.entry(run, &row).map(Some);
            }
        }
        Ok(None)
    }

    /// The stream of this identity.
    pub(crate) fn by_id(&self, stream: StreamId) -> Result<Option<Entry>, Fault> {
        self.made(stream)?.map(|(run, row)| self.entry(run, &row)).transpose()
    }

    /// The name of the stream of this identity, and the first revision of its own.
    pub(crate) fn named(&self, stream: StreamId) -> Result<Option<(&str, Revision)>, Fault> {
        self.made(stream)?.map(|(run, row)| Ok((name_in(run, &row)?, row.first))).transpose()
    }

    /// It was made where its identity lies: its first event, or the item that forked it.
    fn made(&self, stream: StreamId) -> Result<Option<(&Run, NameRow)>, Fault> {
        let index = self.runs.partition_point(|run| run.head.to.0 <= stream.0);
        let Some(run) = self.runs.get(index) else { return Ok(None) };
        Ok(run.find_made(stream)?.map(|row| (&**run, row)))
    }

    fn entry(&self, run: &Run, row: &NameRow) -> Result<Entry, Fault> {
        let name = name_in(run, row)?;
        let HeadRow { head, head_position, last_place, .. } = self.head_of(row.stream)?;
        Ok(Entry { stream: row.stream, name: name.into(), first: row.first, head, head_position, last_place })
    }

    fn head_of(&self, stream: StreamId) -> Result<HeadRow, Fault> {
        for run in self.runs.iter().rev() {
            if let Some(row) = run.find_head(stream)? {
                return Ok(row);
            }
        }
        Err(Fault::bad(format!("the directory knows the stream {stream} and no head of it")))
    }

    /// Hands out the streams whose names begin with `prefix`, in the order of the names' bytes within each run.
    pub(crate) fn with_prefix(
        &self,
        prefix: &str,
        mut each: impl FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        for run in &self.runs {
            for index in run.first_name_from(prefix.as_bytes())?..run.head.names {
                let row = run.name_row(run.name_at(index)?)?;
                if !run.name_of(&row)?.starts_with(prefix.as_bytes()) {
                    break;
                }
                if each(self.entry(run, &row)?).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The newest frame of the batch with this id given by the caller, if no more than the window of retries lies behind
    /// it; `newer` such batches are known behind the directory.
    pub(crate) fn retry_of(&self, batch: BatchId, newer: u64) -> Result<Option<Position>, Fault> {
        let mut behind = newer;
        for run in self.runs.iter().rev() {
            if behind >= RETRY_WINDOW_BATCHES as u64 {
                return Ok(None);
            }
            if let Some((number, row)) = run.find_retry(batch)? {
                let behind = behind + u64::from(run.head.retries - number - 1);
                return Ok((behind < RETRY_WINDOW_BATCHES as u64).then_some(row.frame));
            }
            behind += u64::from(run.head.retries);
        }
        Ok(None)
    }

    /// The segments that ended before the checkpoint, oldest first.
    pub(crate) fn segments(&self) -> Result<Vec<SegmentRow>, Fault> {
        let mut all = Vec::new();
        for run in &self.runs {
            for index in 0..run.head.segments {
                all.push(run.segment_row(index)?);
            }
        }
        Ok(all)
    }

    /// Adds what a stretch behind it holds, as a run, and merges runs until each has at least twice the rows of the next.
    /// `number` gives numbers to files.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) and [`NoSpace`](ErrorKind::NoSpace) from the system; [`Damage`](ErrorKind::Damage) where a run is
    /// bad. The directory is of no use then.
    pub(crate) fn extend(
        &mut self,
        place: Place<'_>,
        to: Position,
        rows: &Rows,
        mut number: impl FnMut() -> u64,
    ) -> Result<()> {
        let name = place.write(number(), self.covered(), to, rows)?;
        self.runs.push(open_written(place, &name)?);
        while let [.., older, newer] = self.runs.as_slice()
            && (older.rows() < 2 * newer.rows() || self.runs.len() > RUNS_MAX)
        {
            let merged = place.merge(number(), older, newer)?;
            let merged = open_written(place, &merged)?;
            self.runs.truncate(self.runs.len() - 2);
            self.runs.push(merged);
        }
        Ok(())
    }
}

fn name_in<'r>(run: &'r Run, row: &NameRow) -> Result<&'r str, Fault> {
    std::str::from_utf8(run.name_of(row)?).map_err(|_| Fault::bad("a name in the directory is no text"))
}

fn open_written(place: Place<'_>, name: &RunName) -> Result<Arc<Run>> {
    Run::open(place.storage, place.store, name)
        .map(Arc::new)
        .ok_or_else(|| Error::new(ErrorKind::Damage, "a run of the directory is gone that was just written"))
}

#[cfg(test)]
mod tests;
