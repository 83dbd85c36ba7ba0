//! Side files on storage: written under a temporary name and published whole, read a proven block at a time.
//!
//! Nothing here is the log: a side file that is missing, cut, of another store or bad is no damage. Whoever wanted it goes
//! the longer way and has it made again. What is read in place is synced before it has its name: else a page whose write-back failed
//! could be dropped by the system after it was proven, and read as what the disk has, as if streams were not there. A checkpoint
//! is read once, and needs no sync.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::format::Fault;
use crate::format::file_name;
use crate::format::side_file::{SIDE_BLOCK_BYTES, SideHeader, SideKind, block_check, table_check};
use crate::ids::StoreId;
use crate::storage::{Access, Mapping, Storage, StorageFile};
use crate::sync::{AtomicU64, Ordering};
use crate::{Error, Result};

/// So many bytes of the payload are gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// A side file that is read.
#[derive(Debug)]
pub(crate) struct SideFile {
    pub(crate) header: SideHeader,
    /// The check of its header, by which others name it.
    pub(crate) check: u64,
    mapping: Mapping,
    /// A bit for each block that was proven; the last bit is that of the table.
    proven: Box<[AtomicU64]>,
}

impl SideFile {
    /// Opens a side file. `None` where there is no file of this name, or none of this kind and store whose header holds.
    pub(crate) fn open(storage: &dyn Storage, name: &str, kind: SideKind, store: StoreId) -> Option<SideFile> {
        let mapping = storage.open(name, Access::Read).and_then(|file| file.map()).ok()?;
        let head = 0..SIDE_BLOCK_BYTES.min(mapping.len());
        mapping.populate(head).ok()?;
        let header = SideHeader::decode(mapping.as_slice(), kind, store).ok()?;
        let check = SideHeader::check_of(&mapping.as_slice()[..SIDE_BLOCK_BYTES]);
        let proven = (0..(header.blocks() + 1).div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Some(SideFile { header, check, mapping, proven })
    }

    /// Bytes of the payload, proven. Those that are asked for must lie in it.
    #[inline]
    pub(crate) fn bytes(&self, range: Range<u64>) -> Result<&[u8], Fault> {
        if range.start > range.end || range.end > self.header.payload_len {
            return Err(Fault::bad("a place in a side file lies behind its end"));
        }
        if range.start < range.end {
            let block = SIDE_BLOCK_BYTES as u64;
            for number in range.start / block..=(range.end - 1) / block {
                if !self.is_proven(number) {
                    self.prove(number)?;
                }
            }
        }
        let at = |place: u64| SIDE_BLOCK_BYTES + place as usize;
        Ok(&self.mapping.as_slice()[at(range.start)..at(range.end)])
    }

    /// Length of the file, in bytes.
    pub(crate) fn file_len(&self) -> u64 {
        self.header.file_len()
    }

    #[inline]
    fn is_proven(&self, number: u64) -> bool {
        self.proven[number as usize / 64].load(Ordering::Relaxed) >> (number % 64) & 1 == 1
    }

    fn note_proven(&self, number: u64) {
        self.proven[number as usize / 64].fetch_or(1 << (number % 64), Ordering::Relaxed);
    }

    #[cold]
    #[inline(never)]
    fn prove(&self, number: u64) -> Result<(), Fault> {
        let table = self.header.table_at() as usize..self.header.file_len() as usize;
        if !self.is_proven(self.header.blocks()) {
            if table_check(self.fetched(table.clone())?) != self.header.table_check {
                return Err(Fault::bad("the table of checks of a side file does not hold"));
            }
            self.note_proven(self.header.blocks());
        }
        let start = (1 + number as usize) * SIDE_BLOCK_BYTES;
        let block = self.fetched(start..start + SIDE_BLOCK_BYTES)?;
        let at = table.start + 8 * number as usize;
        let mut check = [0; 8];
        check.copy_from_slice(&self.mapping.as_slice()[at..at + 8]);
        if u64::from_le_bytes(check) != block_check(number, block) {
            return Err(Fault::bad(format!("the check of block {number} of a side file does not hold")));
        }
        self.note_proven(number);
        Ok(())
    }

    /// Bytes of the file whose pages are there: to touch others would raise a signal.
    fn fetched(&self, range: Range<usize>) -> Result<&[u8], Fault> {
        self.mapping.populate(range.clone()).map_err(|error| Fault::bad(format!("it cannot be read: {error}")))?;
        Ok(&self.mapping.as_slice()[range])
    }
}

/// A side file that is being written.
#[derive(Debug)]
pub(crate) struct SideWriter<'s> {
    storage: &'s dyn Storage,
    name: String,
    temporary: String,
    file: Arc<dyn StorageFile>,
    kind: SideKind,
    store: StoreId,
    /// Payload that is not written yet.
    pending: Vec<u8>,
    /// How much is.
    written: u64,
    table: Vec<u8>,
}

impl<'s> SideWriter<'s> {
    /// Begins a file that is to get the name `name`.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) and [`NoSpace`](crate::ErrorKind::NoSpace) from the system.
    pub(crate) fn begin(
        storage: &'s dyn Storage,
        name: &str,
        kind: SideKind,
        store: StoreId,
    ) -> Result<SideWriter<'s>> {
        let mut salt = [0; 8];
        storage.fill_random(&mut salt).map_err(|error| Error::io("draw random bytes for", name, error))?;
        let temporary = file_name::temporary(name, u64::from_le_bytes(salt));
        let file = storage.create(&temporary, 0).map_err(|error| Error::io("create", &temporary, error))?;
        let (pending, table) = (Vec::new(), Vec::new());
        Ok(SideWriter { storage, name: name.into(), temporary, file, kind, store, pending, written: 0, table })
    }

    /// How many bytes of payload there are so far.
    pub(crate) fn len(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Appends payload.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= WRITE_BYTES {
            self.write_blocks()?;
        }
        Ok(())
    }

    /// Fills up with zeros to a multiple of `alignment` bytes.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub(crate) fn align(&mut self, alignment: u64) -> Result<()> {
        let missing = self.len().next_multiple_of(alignment) - self.len();
        self.put(&[0; SIDE_BLOCK_BYTES][..missing as usize])
    }

    /// Writes the blocks that are whole.
    fn write_blocks(&mut self) -> Result<()> {
        let whole = self.pending.len() / SIDE_BLOCK_BYTES * SIDE_BLOCK_BYTES;
        for block in self.pending[..whole].chunks(SIDE_BLOCK_BYTES) {
            let number = self.table.len() as u64 / 8;
            self.table.extend_from_slice(&block_check(number, block).to_le_bytes());
        }
        let offset = SIDE_BLOCK_BYTES as u64 + self.written;
        self.write(&self.pending[..whole], offset)?;
        self.written += whole as u64;
        self.pending.drain(..whole);
        Ok(())
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_at(bytes, offset).map_err(|error| Error::io("write", &self.temporary, error))
    }

    /// Ends the file and gives it its name, in place of what had it. With `is_synced` it is durable before that. Returns the
    /// check of its header.
    ///
    /// # Errors
    /// As [`begin`](Self::begin). What had the name may be gone then.
    pub(crate) fn publish(mut self, head: Vec<u8>, is_synced: bool) -> Result<u64> {
        let published = self.publish_under_name(head, is_synced);
        if published.is_err() {
            let _ = self.storage.remove(&self.temporary); // best effort: it is no part of the store
        }
        published
    }

    fn publish_under_name(&mut self, head: Vec<u8>, is_synced: bool) -> Result<u64> {
        let payload_len = self.len();
        self.align(SIDE_BLOCK_BYTES as u64)?;
        self.write_blocks()?;
        let (kind, store) = (self.kind, self.store);
        let header = SideHeader { kind, store, payload_len, table_check: table_check(&self.table), head };
        self.write(&self.table, header.table_at())?;
        let encoded = header.encode();
        self.write(&encoded, 0)?;
        if is_synced {
            self.file.sync_data().map_err(|error| Error::io("sync", &self.temporary, error))?;
        }
        let rename = || self.storage.rename(&self.temporary, &self.name);
        let renamed = match rename() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.storage.remove(&self.name).and_then(|()| rename())
            }
            other => other,
        };
        renamed.map_err(|error| Error::io("rename to", &self.name, error))?;
        Ok(SideHeader::check_of(&encoded))
    }

    /// Gives up: the file is removed.
    pub(crate) fn discard(self) {
        let _ = self.storage.remove(&self.temporary); // best effort: it is no part of the store
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::mem::MemStorage;

    const STORE: StoreId = StoreId([7; 16]);
    const NAME: &str = "0000000000000001.index";

    fn payload(len: usize) -> Vec<u8> {
        (0..len).map(|at| ((at * 31) >> 3) as u8).collect()
    }

    fn written(storage: &MemStorage, payload: &[u8]) -> u64 {
        let mut writer = SideWriter::begin(storage, NAME, SideKind::SegmentIndex, STORE).expect("begins");
        for piece in payload.chunks(1000) {
            writer.put(piece).expect("is taken");
        }
        writer.publish(vec![9], false).expect("is published")
    }

    fn open(storage: &MemStorage) -> Option<SideFile> {
        SideFile::open(storage, NAME, SideKind::SegmentIndex, STORE)
    }

    #[test]
    fn what_was_put_is_read_at_any_place_and_a_second_file_takes_the_name() {
        for len in [0, 1, 4096, 4097, 700_000] {
            let storage = MemStorage::new();
            written(&storage, &payload(10));
            let check = written(&storage, &payload(len));
            let file = open(&storage).expect("is whole");
            assert_eq!((file.check, &file.header.head[..]), (check, &[9][..]));
            assert_eq!(file.bytes(0..len as u64).expect("is proven"), payload(len));
            for at in (0..len).step_by(997) {
                assert_eq!(file.bytes(at as u64..at as u64 + 1).expect("is proven")[0], payload(len)[at]);
            }
            assert!(file.bytes(0..len as u64 + 1).is_err());
            assert_eq!(storage.list().expect("lists").len(), 1, "no temporary file is left");
        }
    }

    #[test]
    fn p11_a_changed_bit_of_a_side_file_is_found_before_its_block_is_used() {
        let storage = MemStorage::new();
        written(&storage, &payload(9000));
        let file = storage.open(NAME, Access::ReadWrite).expect("is there");
        let mut bytes = vec![0; file.len().expect("has a length") as usize];
        file.read_at(&mut bytes, 0).expect("reads");
        for at in (0..bytes.len()).step_by(7).chain(bytes.len() - 24..bytes.len()) {
            file.write_at(&[bytes[at] ^ 4], at as u64).expect("writes");
            let whole = open(&storage).and_then(|file| file.bytes(0..9000).ok().map(<[u8]>::to_vec));
            assert_eq!(whole, None, "byte {at}");
            file.write_at(&bytes[at..=at], at as u64).expect("writes");
        }
        assert!(open(&storage).is_some_and(|file| file.bytes(0..9000).is_ok()));
    }

    #[test]
    fn p11_the_other_blocks_of_a_bad_side_file_can_be_read() {
        let storage = MemStorage::new();
        written(&storage, &payload(9000));
        let file = storage.open(NAME, Access::ReadWrite).expect("is there");
        file.write_at(&[0xFF; 8], 4096 + 4096 + 5).expect("writes");
        let file = open(&storage).expect("its header is whole");
        assert!(file.bytes(0..4096).is_ok() && file.bytes(8192..9000).is_ok());
        assert!(file.bytes(4090..4100).is_err() && file.bytes(4096..8192).is_err());
    }
}
