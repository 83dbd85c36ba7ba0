//! Side files: what is derived from the log and kept beside it in files that never change.
//!
//! A side file is a header block, payload in blocks of 4 KiB, and a table with a check for each of those. The header covers
//! the table, so that a reader that needs a few blocks proves those alone. What the payload means is the business of the
//! kinds of side files: the index of a sealed segment, a run of the stream directory, a checkpoint.

use super::Fault;
use super::wire::Wire;
use crate::checksum::long_check;
use crate::ids::StoreId;

/// First bytes of a side file.
pub const SIDE_MAGIC: [u8; 8] = *b"TRINGSID";
/// The version of side files that this build writes and reads. Others are as good as missing: all there is in them can be
/// derived again.
pub const SIDE_VERSION: u16 = 1;
/// Length of the header and of each block of the payload, in bytes.
pub const SIDE_BLOCK_BYTES: usize = 4096;
/// The most bytes that a kind of side file has in the header for itself.
pub const SIDE_HEAD_BYTES_MAX: usize = SIDE_BLOCK_BYTES - HEAD_AT - 8;

/// Where the head of the kind begins in the header.
const HEAD_AT: usize = 48;

/// What a side file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SideKind {
    /// The index of a sealed segment.
    SegmentIndex,
    /// A run of the stream directory.
    DirectoryRun,
    /// Where opening may begin to read the log.
    Checkpoint,
}

impl SideKind {
    fn number(self) -> u16 {
        match self {
            SideKind::SegmentIndex => 1,
            SideKind::DirectoryRun => 2,
            SideKind::Checkpoint => 3,
        }
    }
}

/// The header of a side file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideHeader {
    /// What the file is for.
    pub kind: SideKind,
    /// The store.
    pub store: StoreId,
    /// Length of the payload, in bytes.
    pub payload_len: u64,
    /// Check of the table of checks.
    pub table_check: u64,
    /// What the kind says of itself.
    pub head: Vec<u8>,
}

impl SideHeader {
    /// How many blocks the payload takes.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.payload_len.div_ceil(SIDE_BLOCK_BYTES as u64)
    }

    /// Where the table of checks begins in the file.
    #[must_use]
    pub fn table_at(&self) -> u64 {
        (1 + self.blocks()) * SIDE_BLOCK_BYTES as u64
    }

    /// Length of the whole file, in bytes.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.table_at() + 8 * self.blocks()
    }

    /// The header block. Its last eight bytes are its check, by which another file may name this one.
    ///
    /// # Panics
    /// Where the head is longer than [`SIDE_HEAD_BYTES_MAX`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.head.len() <= SIDE_HEAD_BYTES_MAX, "the head of a side file fits its header");
        let mut out = Vec::with_capacity(SIDE_BLOCK_BYTES);
        out.extend_from_slice(&SIDE_MAGIC);
        out.extend_from_slice(&SIDE_VERSION.to_le_bytes());
        out.extend_from_slice(&self.kind.number().to_le_bytes());
        out.extend_from_slice(&(self.head.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&self.payload_len.to_le_bytes());
        out.extend_from_slice(&self.table_check.to_le_bytes());
        debug_assert_eq!(out.len(), HEAD_AT);
        out.extend_from_slice(&self.head);
        out.resize(SIDE_BLOCK_BYTES - 8, 0);
        out.extend_from_slice(&long_check(0, &out).to_le_bytes());
        out
    }

    /// The header at the start of a side file of this kind and store.
    pub fn decode(bytes: &[u8], kind: SideKind, store: StoreId) -> Result<SideHeader, Fault> {
        let block = bytes.get(..SIDE_BLOCK_BYTES).ok_or(Fault::Short)?;
        let mut wire = Wire::new(block);
        if wire.array::<8>()? != SIDE_MAGIC {
            return Err(Fault::bad("it does not begin with TRINGSID"));
        }
        let (covered, check) = block.split_at(SIDE_BLOCK_BYTES - 8);
        if Wire::new(check).u64()? != long_check(0, covered) {
            return Err(Fault::bad("the check of its header does not hold"));
        }
        let version = wire.u16()?;
        if version != SIDE_VERSION {
            return Err(Fault::Unsupported(format!("version {version} of side files")));
        }
        let number = wire.u16()?;
        if number != kind.number() {
            return Err(Fault::bad(format!("it is a side file of kind {number}, not {}", kind.number())));
        }
        let head_len = wire.u32()? as usize;
        let found = StoreId(wire.array()?);
        if found != store {
            return Err(Fault::bad(format!("it belongs to the store {found}, this one is {store}")));
        }
        let (payload_len, table_check) = (wire.u64()?, wire.u64()?);
        if head_len > SIDE_HEAD_BYTES_MAX {
            return Err(Fault::bad("its head is longer than its header"));
        }
        let head = wire.take(head_len)?.to_vec();
        wire.zeros(SIDE_HEAD_BYTES_MAX - head_len, "the rest of its header")?;
        let header = SideHeader { kind, store, payload_len, table_check, head };
        if payload_len > bytes.len() as u64 || header.file_len() != bytes.len() as u64 {
            return Err(Fault::bad(format!("it has {} bytes and says that it has {}", bytes.len(), header.file_len())));
        }
        Ok(header)
    }

    /// The check of an encoded header.
    #[must_use]
    pub fn check_of(encoded: &[u8]) -> u64 {
        encoded.get(SIDE_BLOCK_BYTES - 8..).and_then(|check| Wire::new(check).u64().ok()).unwrap_or(0)
    }
}

/// The check of a block of the payload, which is filled up with zeros.
#[must_use]
pub fn block_check(number: u64, block: &[u8]) -> u64 {
    debug_assert_eq!(block.len(), SIDE_BLOCK_BYTES);
    long_check(number, block)
}

/// The check of the table of checks.
#[must_use]
pub fn table_check(table: &[u8]) -> u64 {
    long_check(0, table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SideHeader {
        SideHeader {
            kind: SideKind::DirectoryRun,
            store: StoreId([3; 16]),
            payload_len: 5000,
            table_check: 77,
            head: vec![1, 2, 3],
        }
    }

    fn file() -> Vec<u8> {
        let mut bytes = header().encode();
        bytes.resize(header().file_len() as usize, 0);
        bytes
    }

    #[test]
    fn a_header_says_what_was_encoded() {
        let (file, header) = (file(), header());
        assert_eq!(SideHeader::decode(&file, header.kind, header.store), Ok(header.clone()));
        assert_eq!((header.blocks(), header.file_len()), (2, 3 * 4096 + 16));
        assert_eq!(SideHeader::check_of(&file[..SIDE_BLOCK_BYTES]), long_check(0, &file[..SIDE_BLOCK_BYTES - 8]));
    }

    #[test]
    fn p11_headers_of_others_and_changed_ones_are_refused() {
        let (file, header) = (file(), header());
        for kind in [SideKind::SegmentIndex, SideKind::Checkpoint] {
            assert!(SideHeader::decode(&file, kind, header.store).is_err());
        }
        assert!(SideHeader::decode(&file, header.kind, StoreId([4; 16])).is_err());
        for len in [0, 8, SIDE_BLOCK_BYTES - 1, SIDE_BLOCK_BYTES, file.len() - 1, file.len() + 1] {
            let mut cut = file.clone();
            cut.resize(len, 0);
            assert!(SideHeader::decode(&cut, header.kind, header.store).is_err(), "{len}");
        }
        for bit in 0..SIDE_BLOCK_BYTES * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SideHeader::decode(&flipped, header.kind, header.store).is_err(), "bit {bit}");
        }
    }
}
