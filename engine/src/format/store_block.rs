//! The store block: identity and unchangeable options. It is the whole identity file and stands in every segment header.

use super::Fault;
use super::wire::Wire;
use crate::checksum::long_check;
use crate::ids::StoreId;
use crate::limits;

/// Length of the block, in bytes.
pub const STORE_BLOCK_BYTES: usize = 128;
/// First bytes of the block.
pub const STORE_MAGIC: [u8; 8] = *b"TREERING";
/// The major version of the format: another one cannot be read.
pub const FORMAT_MAJOR: u16 = 1;
/// The minor version of the format: a higher one can be read.
pub const FORMAT_MINOR: u16 = 0;

/// Features that may be ignored by who does not know them.
pub const KNOWN_COMPATIBLE: u64 = 0;
/// Features without which a store may be read but not written.
pub const KNOWN_READ_ONLY_COMPATIBLE: u64 = 0;
/// Features without which a store may not be opened.
pub const KNOWN_INCOMPATIBLE: u64 = 0;

/// Identity and options of a store, fixed when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreBlock {
    /// Minor version of the format it was made with.
    pub minor: u16,
    /// Compatible features.
    pub compatible: u64,
    /// Read-only compatible features.
    pub read_only_compatible: u64,
    /// Incompatible features.
    pub incompatible: u64,
    /// Random identity.
    pub store: StoreId,
    /// Segment size, in bytes.
    pub segment_bytes: u64,
    /// Distance between index blocks, in bytes.
    pub index_stride_bytes: u64,
    /// When the store was made, in nanoseconds since 1970 UTC.
    pub created_at: i64,
}

impl StoreBlock {
    /// The block as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; STORE_BLOCK_BYTES] {
        let mut out = Vec::with_capacity(STORE_BLOCK_BYTES);
        out.extend_from_slice(&STORE_MAGIC);
        out.extend_from_slice(&FORMAT_MAJOR.to_le_bytes());
        out.extend_from_slice(&self.minor.to_le_bytes());
        out.extend_from_slice(&(STORE_BLOCK_BYTES as u32).to_le_bytes());
        for word in [self.compatible, self.read_only_compatible, self.incompatible] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&self.segment_bytes.to_le_bytes());
        out.extend_from_slice(&self.index_stride_bytes.to_le_bytes());
        out.extend_from_slice(&self.created_at.to_le_bytes());
        out.resize(STORE_BLOCK_BYTES - 8, 0);
        out.extend_from_slice(&long_check(0, &out).to_le_bytes());
        let mut block = [0; STORE_BLOCK_BYTES];
        block.copy_from_slice(&out);
        block
    }

    /// The value of the first [`STORE_BLOCK_BYTES`] of `bytes`.
    ///
    /// [`Fault::Unsupported`] for another major version and for unknown incompatible features, both believed only from a
    /// block whose check holds.
    pub fn decode(bytes: &[u8]) -> Result<StoreBlock, Fault> {
        let bytes = bytes.get(..STORE_BLOCK_BYTES).ok_or(Fault::Short)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(Fault::Absent);
        }
        let mut wire = Wire::new(bytes);
        if wire.array::<8>()? != STORE_MAGIC {
            return Err(Fault::bad("the store block does not begin with TREERING"));
        }
        let check = Wire::starting_at(bytes, STORE_BLOCK_BYTES - 8).u64()?;
        let actual = long_check(0, &bytes[..STORE_BLOCK_BYTES - 8]);
        if check != actual {
            return Err(Fault::bad(format!(
                "the check of the store block is {check:016x}, its bytes give {actual:016x}"
            )));
        }
        let major = wire.u16()?;
        if major != FORMAT_MAJOR {
            return Err(Fault::Unsupported(format!("format version {major}; this build reads version {FORMAT_MAJOR}")));
        }
        let minor = wire.u16()?;
        let len = wire.u32()?;
        if len as usize != STORE_BLOCK_BYTES {
            return Err(Fault::bad(format!("the store block says it is {len} bytes long")));
        }
        let block = StoreBlock {
            minor,
            compatible: wire.u64()?,
            read_only_compatible: wire.u64()?,
            incompatible: wire.u64()?,
            store: StoreId(wire.array()?),
            segment_bytes: wire.u64()?,
            index_stride_bytes: wire.u64()?,
            created_at: wire.i64()?,
        };
        let unknown = block.incompatible & !KNOWN_INCOMPATIBLE;
        if unknown != 0 {
            return Err(Fault::Unsupported(format!("incompatible features {unknown:#x}")));
        }
        if minor == FORMAT_MINOR {
            wire.zeros(40, "the rest of the store block")?;
        }
        block.check_sizes()?;
        Ok(block)
    }

    /// Whether a build that knows these features only may write.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.read_only_compatible & !KNOWN_READ_ONLY_COMPATIBLE == 0
    }

    fn check_sizes(&self) -> Result<(), Fault> {
        let StoreBlock { segment_bytes, index_stride_bytes, .. } = *self;
        let fits = |value: u64, min: u64, max: u64| value.is_power_of_two() && (min..=max).contains(&value);
        if !fits(segment_bytes, limits::SEGMENT_BYTES_MIN, limits::SEGMENT_BYTES_MAX) {
            return Err(Fault::bad(format!("a segment size of {segment_bytes} bytes is not allowed")));
        }
        if !fits(index_stride_bytes, limits::INDEX_STRIDE_BYTES_MIN, segment_bytes) {
            return Err(Fault::bad(format!("an index stride of {index_stride_bytes} bytes is not allowed")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> StoreBlock {
        StoreBlock {
            minor: 0,
            compatible: 0,
            read_only_compatible: 0,
            incompatible: 0,
            store: StoreId([3; 16]),
            segment_bytes: 64 << 20,
            index_stride_bytes: 256 << 10,
            created_at: 12,
        }
    }

    #[test]
    fn p07_every_flipped_bit_of_the_store_block_is_found() {
        let good = block().encode();
        assert_eq!(StoreBlock::decode(&good), Ok(block()));
        for bit in 0..good.len() * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(StoreBlock::decode(&bytes), Err(Fault::Bad(_))), "bit {bit}");
        }
    }

    #[test]
    fn versions_and_features_decide_who_may_open() {
        let with = |change: fn(&mut StoreBlock)| {
            let mut changed = block();
            change(&mut changed);
            StoreBlock::decode(&changed.encode())
        };
        assert!(matches!(with(|b| b.incompatible = 4), Err(Fault::Unsupported(_))));
        assert!(with(|b| b.compatible = 4).is_ok_and(|b| b.is_writable()));
        assert!(with(|b| b.read_only_compatible = 4).is_ok_and(|b| !b.is_writable()));
        assert!(with(|b| b.minor = 9).is_ok());
        assert!(matches!(with(|b| b.segment_bytes = 8 << 10), Err(Fault::Bad(_))));
        assert!(matches!(with(|b| b.segment_bytes = (64 << 20) + 1), Err(Fault::Bad(_))));
        assert!(matches!(with(|b| b.index_stride_bytes = 128 << 20), Err(Fault::Bad(_))));
        let mut newer = block().encode();
        newer[8] = 2;
        let check = long_check(0, &newer[..120]).to_le_bytes();
        newer[120..].copy_from_slice(&check);
        assert!(matches!(StoreBlock::decode(&newer), Err(Fault::Unsupported(_))));
        assert_eq!(StoreBlock::decode(&[0; 128]), Err(Fault::Absent));
        assert_eq!(StoreBlock::decode(&[1; 12]), Err(Fault::Short));
    }
}
