//! The entries of a section: what the plain part says of each event, and the check that the event proves itself by.

use super::{
    ENTRY_DIGEST_BYTES, ENTRY_DIGESTS, ENTRY_ID, ENTRY_OCCURRED, ENTRY_RECORDED, ENTRY_REQUIRED, ENTRY_TAGS, Section,
};
use crate::checksum::{Seeds, short_check, short_check_joined};
use crate::format::Fault;
use crate::format::wire::Wire;
use crate::ids::Position;
use crate::limits;
use crate::planted::{Plant, planted};

/// The check of an event: over its entry (without the check), type, metadata and payload.
#[inline]
#[must_use]
pub fn event_check(
    seeds: Seeds,
    position: Position,
    entry: &[u8],
    type_name: &[u8],
    metadata: &[u8],
    payload: &[u8],
) -> u32 {
    let start = short_check_joined(seeds.short(position), entry, type_name);
    match metadata {
        [] => short_check(start, &[payload]),
        metadata => short_check(start, &[metadata, payload]),
    }
}

/// What stands in the plain part for one event.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its place in the section.
    pub index: u32,
    /// Its type, as index into the section's types.
    pub type_index: u32,
    /// The caller's id.
    pub id: Option<&'a [u8]>,
    /// When it happened.
    pub occurred_at: Option<i64>,
    /// When it was recorded, where that is not the frame's time.
    pub recorded_at: Option<i64>,
    /// Tags; opaque.
    pub tags: &'a [u8],
    /// Keyed digests of metadata and payload.
    pub digests: Option<&'a [u8]>,
    /// Where its metadata begins in the raw body; the payload follows.
    pub body_at: usize,
    /// Length of the metadata, in bytes.
    pub metadata_len: usize,
    /// Length of the payload, in bytes.
    pub payload_len: usize,
    /// The event's check.
    pub check: u32,
    pub(super) bytes: &'a [u8],
}

/// Where a walk over entries stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct EntriesPlace {
    pub(super) at: u32,
    /// The entry that comes next.
    pub index: u32,
    pub(super) body_at: u32,
}

impl EntriesPlace {
    /// Behind all entries of a section of `count`, wherever they end.
    #[must_use]
    pub fn behind(count: u32) -> EntriesPlace {
        EntriesPlace { at: 0, index: count, body_at: 0 }
    }
}

/// A walk over the entries of a section. Small, since readers take it up again for every event.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    pub(super) count: u32,
    pub(super) type_count: u32,
    pub(super) wire: Wire<'a>,
    pub(super) index: u32,
    pub(super) body_at: usize,
}

impl<'a> Entries<'a> {
    /// The next entry; `None` behind the last.
    #[allow(clippy::should_implement_trait)]
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<Entry<'a>>, Fault> {
        if self.index == self.count {
            return Ok(None);
        }
        let wire = &mut self.wire;
        let start = wire.rest();
        let flags = wire.u8()?;
        let type_index = wire.var_up_to(u64::from(self.type_count) - 1, "the type of an event")? as u32;
        let mut entry = Entry {
            index: self.index,
            type_index,
            id: None,
            occurred_at: None,
            recorded_at: None,
            tags: &[],
            digests: None,
            body_at: self.body_at,
            metadata_len: 0,
            payload_len: 0,
            check: 0,
            bytes: &[],
        };
        if flags & ENTRY_REQUIRED != 0 {
            if flags & ENTRY_ID != 0 {
                let len = wire.u8()?;
                entry.id = Some(wire.take(usize::from(len))?);
            }
            if flags & ENTRY_OCCURRED != 0 {
                entry.occurred_at = Some(wire.i64()?);
            }
            if flags & ENTRY_RECORDED != 0 {
                entry.recorded_at = Some(wire.i64()?);
            }
            if flags & ENTRY_TAGS != 0 {
                entry.tags = wire.bytes()?;
            }
            if flags & ENTRY_DIGESTS != 0 {
                entry.digests = Some(wire.take(ENTRY_DIGEST_BYTES)?);
            }
        }
        entry.metadata_len = wire.var_up_to(limits::METADATA_BYTES_MAX as u64, "the length of metadata")? as usize;
        entry.payload_len = wire.var_up_to(limits::BATCH_BYTES_MAX as u64, "the length of a payload")? as usize;
        entry.bytes = &start[..start.len() - wire.left()];
        entry.check = wire.u32()?;
        self.body_at = self.body_at.saturating_add(entry.metadata_len.wrapping_add(entry.payload_len));
        self.index += 1;
        Ok(Some(entry))
    }

    /// Where the walk stands in the plain part.
    #[must_use]
    pub fn at(&self) -> usize {
        self.wire.at()
    }

    /// Where the walk stands, to come back to it.
    #[inline]
    #[must_use]
    pub fn place(&self) -> EntriesPlace {
        EntriesPlace {
            at: self.wire.at() as u32,
            index: self.index,
            body_at: self.body_at.min(u32::MAX as usize) as u32,
        }
    }
}

impl<'a> Entry<'a> {
    /// Metadata and payload in the section's raw body, after their check held.
    #[inline]
    pub fn body<'b>(
        &self,
        section: &Section<'_>,
        seeds: Seeds,
        raw_body: &'b [u8],
    ) -> Result<(&'b [u8], &'b [u8]), Fault> {
        let type_name = section.type_name(self.type_index)?;
        self.prove(seeds, section.position(self.index), type_name, raw_body)
    }

    /// Metadata and payload in the raw body, after the check of the event at `position` held.
    #[inline(always)]
    pub fn prove<'b>(
        &self,
        seeds: Seeds,
        position: Position,
        type_name: &[u8],
        raw_body: &'b [u8],
    ) -> Result<(&'b [u8], &'b [u8]), Fault> {
        let body = raw_body.get(self.body_at..).ok_or(Fault::Short)?;
        let (metadata, rest) = body.split_at_checked(self.metadata_len).ok_or(Fault::Short)?;
        let payload = rest.get(..self.payload_len).ok_or(Fault::Short)?;
        let actual = event_check(seeds, position, self.bytes, type_name, metadata, payload);
        if actual != self.check && !planted(Plant::EventCheckIgnored) {
            return Err(wrong_event_check(self.check, actual));
        }
        Ok((metadata, payload))
    }
}

#[cold]
fn wrong_event_check(stored: u32, actual: u32) -> Fault {
    Fault::bad(format!("the event's check is {stored:08x}, the bytes give {actual:08x}"))
}
