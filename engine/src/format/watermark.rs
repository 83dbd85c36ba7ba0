//! The watermark file: two slots that say how far the log is durable. Derived: only ever a hint and a witness.

use super::Fault;
use super::wire::Wire;
use crate::checksum::long_check;
use crate::ids::{BootId, Incarnation, Position, Salt, StoreId};
use crate::limits::NUMBER_MAX;

/// First bytes of a slot.
pub const WATERMARK_MAGIC: [u8; 8] = *b"TRINGWMK";
/// Length of a slot, in bytes.
pub const WATERMARK_SLOT_BYTES: usize = 128;
/// Distance between the slots: each has a block of its own.
pub const WATERMARK_SLOT_STRIDE: u64 = 4096;
/// Length of the file, in bytes.
pub const WATERMARK_FILE_BYTES: u64 = 2 * WATERMARK_SLOT_STRIDE;
/// Flag: the log ended here and nobody was writing.
pub const WATERMARK_CLEAN: u8 = 1;

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Rises with every write; the higher valid slot counts.
    pub generation: u64,
    /// The store.
    pub store: StoreId,
    /// This life of it.
    pub incarnation: Incarnation,
    /// Everything below is durable.
    pub durable: Position,
    /// Stored check of the last frame below.
    pub last_check: u64,
    /// Where that frame begins.
    pub last_frame: Position,
    /// The last index block below; zero where there is none in its segment.
    pub last_index_block: Position,
    /// Global number of the next event.
    pub next_number: u64,
    /// Salt of the segment that holds `durable`.
    pub salt: Salt,
    /// Second half of the epoch of who wrote it.
    pub takeover: u16,
    /// The log ended at `durable` and nobody was writing.
    pub is_clean: bool,
    /// The run of the kernel, folded by [`fold_boot`].
    pub boot: u64,
}

/// A boot id as one word; zero where it is not known.
#[must_use]
pub fn fold_boot(boot: BootId) -> u64 {
    let mut wire = Wire::new(&boot.0);
    wire.u64().and_then(|low| Ok(low ^ wire.u64()?)).unwrap_or(0)
}

impl Watermark {
    /// The slot as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; WATERMARK_SLOT_BYTES] {
        let mut out = Vec::with_capacity(WATERMARK_SLOT_BYTES);
        out.extend_from_slice(&WATERMARK_MAGIC);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&self.incarnation.0);
        for word in [self.durable.0, self.last_check, self.last_frame.0, self.last_index_block.0, self.next_number] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.salt.0);
        out.extend_from_slice(&self.takeover.to_le_bytes());
        out.push(if self.is_clean { WATERMARK_CLEAN } else { 0 });
        out.extend_from_slice(&[0; 5]);
        out.extend_from_slice(&self.boot.to_le_bytes());
        out.extend_from_slice(&long_check(0, &out).to_le_bytes());
        let mut slot = [0; WATERMARK_SLOT_BYTES];
        slot.copy_from_slice(&out);
        slot
    }

    /// The value of one slot.
    pub fn decode(bytes: &[u8]) -> Result<Watermark, Fault> {
        let bytes = bytes.get(..WATERMARK_SLOT_BYTES).ok_or(Fault::Short)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(Fault::Absent);
        }
        let mut wire = Wire::new(bytes);
        if wire.array::<8>()? != WATERMARK_MAGIC {
            return Err(Fault::bad("the slot does not begin with TRINGWMK"));
        }
        let check = Wire::starting_at(bytes, WATERMARK_SLOT_BYTES - 8).u64()?;
        if check != long_check(0, &bytes[..WATERMARK_SLOT_BYTES - 8]) {
            return Err(Fault::bad("the check of the slot does not hold"));
        }
        let generation = wire.u64()?;
        let store = StoreId(wire.array()?);
        let incarnation = Incarnation(wire.array()?);
        let durable = Position(wire.u64()?);
        let last_check = wire.u64()?;
        let last_frame = Position(wire.u64()?);
        let last_index_block = Position(wire.u64()?);
        let next_number = wire.u64()?;
        let salt = Salt(wire.array()?);
        let takeover = wire.u16()?;
        let flags = wire.u8()?;
        if flags & !WATERMARK_CLEAN != 0 {
            return Err(Fault::bad(format!("reserved flags {flags:#x} of the slot are set")));
        }
        wire.zeros(5, "the reserved part of the slot")?;
        if last_frame >= durable || durable.0 > NUMBER_MAX || last_index_block > last_frame || next_number > NUMBER_MAX
        {
            return Err(Fault::bad(format!(
                "the slot says that the log was durable to {durable}, with its last frame at {last_frame}, its last index \
                 block at {last_index_block} and {next_number} events"
            )));
        }
        Ok(Watermark {
            generation,
            store,
            incarnation,
            durable,
            last_check,
            last_frame,
            last_index_block,
            next_number,
            salt,
            takeover,
            is_clean: flags & WATERMARK_CLEAN != 0,
            boot: wire.u64()?,
        })
    }

    /// The slots of a watermark file that prove themselves, the one with the higher generation first.
    #[must_use]
    pub fn slots(file: &[u8]) -> Vec<Watermark> {
        let slot = |number: usize| file.get(number * WATERMARK_SLOT_STRIDE as usize..);
        let slots = [slot(0), slot(1)].into_iter().flatten();
        let mut slots: Vec<Watermark> = slots.filter_map(|bytes| Watermark::decode(bytes).ok()).collect();
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.generation));
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watermark(generation: u64) -> Watermark {
        Watermark {
            generation,
            store: StoreId([1; 16]),
            incarnation: Incarnation([2; 16]),
            durable: Position(9000),
            last_check: 5,
            last_frame: Position(8200),
            last_index_block: Position::ZERO,
            next_number: 4,
            salt: Salt([7; 16]),
            takeover: 3,
            is_clean: true,
            boot: 9,
        }
    }

    #[test]
    fn p07_every_flipped_bit_of_a_slot_is_found() {
        let good = watermark(1).encode();
        assert_eq!(Watermark::decode(&good), Ok(watermark(1)));
        for bit in 0..good.len() * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Watermark::decode(&bytes), Err(Fault::Bad(_))), "bit {bit}");
        }
    }

    /// [WMK-1] [WMK-5] The higher generation comes first, whatever its place; bad, short and missing slots are passed over.
    #[test]
    fn slots_come_in_the_order_of_their_generations() {
        let mut file = vec![0; WATERMARK_FILE_BYTES as usize];
        assert_eq!(Watermark::slots(&file), []);
        file[..128].copy_from_slice(&watermark(4).encode());
        assert_eq!(Watermark::slots(&file), [watermark(4)]);
        file[4096..4224].copy_from_slice(&watermark(5).encode());
        assert_eq!(Watermark::slots(&file), [watermark(5), watermark(4)]);
        file[4100] ^= 1;
        assert_eq!(Watermark::slots(&file), [watermark(4)]);
        assert_eq!(Watermark::slots(&file[..50]), []);
        file.extend([7; 99]);
        assert_eq!(Watermark::slots(&file), [watermark(4)]);
    }
}
