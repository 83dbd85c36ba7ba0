//! One run of the directory, read a row at a time.
//!
//! Everything that is handed out was proven by the check of its block; what a row says of another place in the file is held
//! against the file's own figures first. A fault means that the run is not what was written, and is not to be asked again.

use std::cmp::Ordering;

use crate::format::Fault;
use crate::format::directory::{
    HEAD_ROW_BYTES, HeadRow, NAME_ROW_BYTES, NameRow, ORDER_BYTES, RETRY_ROW_BYTES, RetryRow, RunHead, RunName,
    RunTable, SEGMENT_ROW_BYTES, SegmentRow,
};
use crate::format::file_name;
use crate::format::side_file::SideKind;
use crate::ids::{BatchId, StoreId, StreamId};
use crate::index::side_file::SideFile;
use crate::storage::Storage;

/// A run that is open.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) name: RunName,
    pub(crate) head: RunHead,
    file: SideFile,
}

impl Run {
    /// Opens the run that a checkpoint names. `None` where it is not there, or another one.
    pub(crate) fn open(storage: &dyn Storage, store: StoreId, name: &RunName) -> Option<Run> {
        let file = SideFile::open(storage, &file_name::directory(name.number), SideKind::DirectoryRun, store)?;
        let head = RunHead::decode(&file.header.head, file.header.payload_len).ok()?;
        let is_named = file.check == name.check && (head.from, head.to) == (name.from, name.to);
        is_named.then_some(Run { name: *name, head, file })
    }

    /// How many rows stand in its tables: what writing it again costs.
    pub(crate) fn rows(&self) -> u64 {
        u64::from(self.head.names)
            + u64::from(self.head.heads)
            + u64::from(self.head.retries)
            + u64::from(self.head.segments)
    }

    /// Length of its file, in bytes.
    pub(crate) fn file_len(&self) -> u64 {
        self.file.file_len()
    }

    /// Row `index` of a table.
    #[inline]
    fn row(&self, table: RunTable, index: u32, row_bytes: u64) -> Result<&[u8], Fault> {
        let start = self.head.table_at(table) + u64::from(index) * row_bytes;
        self.file.bytes(start..start + row_bytes)
    }

    /// The stream that was made as number `index` in the stretch.
    pub(crate) fn name_row(&self, index: u32) -> Result<NameRow, Fault> {
        NameRow::decode(self.row(RunTable::Names, index, NAME_ROW_BYTES)?)
    }

    /// The name of a stream, as bytes.
    pub(crate) fn name_of(&self, row: &NameRow) -> Result<&[u8], Fault> {
        let end = row.name_at.saturating_add(u64::from(row.name_len));
        if end > self.head.name_bytes {
            return Err(Fault::bad("the name of a stream lies behind the names"));
        }
        let start = self.head.table_at(RunTable::NameBytes);
        self.file.bytes(start + row.name_at..start + end)
    }

    /// Which row of the names is number `index` in the order of their bytes.
    pub(crate) fn name_at(&self, index: u32) -> Result<u32, Fault> {
        self.order(RunTable::NameOrder, index, self.head.names)
    }

    /// Which row of the retries is number `index` in the order of the ids.
    pub(crate) fn retry_at(&self, index: u32) -> Result<u32, Fault> {
        self.order(RunTable::RetryOrder, index, self.head.retries)
    }

    fn order(&self, table: RunTable, index: u32, rows: u32) -> Result<u32, Fault> {
        let bytes = self.row(table, index, ORDER_BYTES)?;
        let row = bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        if row >= rows {
            return Err(Fault::bad("an order names a row behind the last"));
        }
        Ok(row)
    }

    /// Head number `index`, in the order of identities.
    pub(crate) fn head_row(&self, index: u32) -> Result<HeadRow, Fault> {
        HeadRow::decode(self.row(RunTable::Heads, index, HEAD_ROW_BYTES)?)
    }

    /// Retry number `index`, in log order.
    pub(crate) fn retry_row(&self, index: u32) -> Result<RetryRow, Fault> {
        RetryRow::decode(self.row(RunTable::Retries, index, RETRY_ROW_BYTES)?)
    }

    /// Segment number `index`, in log order.
    pub(crate) fn segment_row(&self, index: u32) -> Result<SegmentRow, Fault> {
        SegmentRow::decode(self.row(RunTable::Segments, index, SEGMENT_ROW_BYTES)?)
    }

    /// The stream of this name, where it was made in the stretch.
    pub(crate) fn find_name(&self, name: &[u8]) -> Result<Option<NameRow>, Fault> {
        let index = self.first_name_from(name)?;
        if index == self.head.names {
            return Ok(None);
        }
        let row = self.name_row(self.name_at(index)?)?;
        Ok((self.name_of(&row)? == name).then_some(row))
    }

    /// How many names come before this one in the order of their bytes.
    pub(crate) fn first_name_from(&self, name: &[u8]) -> Result<u32, Fault> {
        lower_bound(self.head.names, |index| {
            let row = self.name_row(self.name_at(index)?)?;
            Ok(self.name_of(&row)?.cmp(name))
        })
    }

    /// The stream of this identity, where it was made in the stretch.
    pub(crate) fn find_made(&self, stream: StreamId) -> Result<Option<NameRow>, Fault> {
        let index = lower_bound(self.head.names, |index| Ok(self.name_row(index)?.stream.cmp(&stream)))?;
        if index == self.head.names {
            return Ok(None);
        }
        Ok(Some(self.name_row(index)?).filter(|row| row.stream == stream))
    }

    /// Where the stream ended, if it has a section in the stretch.
    pub(crate) fn find_head(&self, stream: StreamId) -> Result<Option<HeadRow>, Fault> {
        let index = lower_bound(self.head.heads, |index| Ok(self.head_row(index)?.stream.cmp(&stream)))?;
        if index == self.head.heads {
            return Ok(None);
        }
        Ok(Some(self.head_row(index)?).filter(|row| row.stream == stream))
    }

    /// The newest batch of this id in the stretch, and its number among those that have one.
    pub(crate) fn find_retry(&self, batch: BatchId) -> Result<Option<(u32, RetryRow)>, Fault> {
        let behind = lower_bound(self.head.retries, |index| {
            Ok(self.retry_row(self.retry_at(index)?)?.batch.0.cmp(&batch.0).then(Ordering::Less))
        })?;
        let Some(index) = behind.checked_sub(1) else { return Ok(None) };
        let number = self.retry_at(index)?;
        let row = self.retry_row(number)?;
        Ok((row.batch == batch).then_some((number, row)))
    }
}

/// The first of `count` indexes, which are in order, at which `compare` says that what stands there is not less.
fn lower_bound(count: u32, compare: impl Fn(u32) -> Result<Ordering, Fault>) -> Result<u32, Fault> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if compare(middle)? == Ordering::Less {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
