//! The canonical event and the stream chain: what a stream's history hashes to, whatever frames it lies in.
//!
//! Framing, positions and the stream's name are left out, so that the chain survives export and import and continues
//! through forks.

use crate::ids::Revision;

/// First bytes of a canonical event.
pub const CANONICAL_MAGIC: [u8; 4] = *b"TRE1";

/// A value of the chain.
pub type Link = [u8; 32];

/// The chain before the first event.
pub const CHAIN_START: Link = [0; 32];

/// The fields of an event that its chain depends on.
#[derive(Clone, Copy, Debug)]
pub struct CanonicalEvent<'a> {
    /// Its revision.
    pub revision: Revision,
    /// The caller's id; empty where there is none.
    pub id: &'a [u8],
    /// Its type.
    pub type_name: &'a [u8],
    /// When it was recorded.
    pub recorded_at: i64,
    /// When it happened.
    pub occurred_at: Option<i64>,
    /// Metadata.
    pub metadata: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

impl CanonicalEvent<'_> {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.id.len() + self.type_name.len());
        out.extend_from_slice(&CANONICAL_MAGIC);
        out.extend_from_slice(&self.revision.0.to_le_bytes());
        for short in [self.id, self.type_name] {
            out.push(short.len() as u8);
            out.extend_from_slice(short);
        }
        out.extend_from_slice(&self.recorded_at.to_le_bytes());
        out.push(u8::from(self.occurred_at.is_some()));
        out.extend_from_slice(&self.occurred_at.unwrap_or(0).to_le_bytes());
        for long in [self.metadata, self.payload] {
            out.extend_from_slice(&(long.len() as u64).to_le_bytes());
            out.extend_from_slice(&digest(long));
        }
        out
    }
}

/// What stands in a canonical event for bytes of any length.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// The chain behind `event`, from the chain before it.
#[must_use]
pub fn link(before: &Link, event: &CanonicalEvent<'_>) -> Link {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before);
    hasher.update(&event.encode());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p16_every_field_and_the_order_change_the_chain() {
        let event = CanonicalEvent {
            revision: Revision(1),
            id: b"id",
            type_name: b"user",
            recorded_at: 2,
            occurred_at: Some(0),
            metadata: b"m",
            payload: b"p",
        };
        let base = link(&CHAIN_START, &event);
        let others = [
            CanonicalEvent { revision: Revision(2), ..event },
            CanonicalEvent { id: b"i", type_name: b"duser", ..event },
            CanonicalEvent { recorded_at: 3, ..event },
            CanonicalEvent { occurred_at: None, ..event },
            CanonicalEvent { metadata: b"mp", payload: b"", ..event },
            CanonicalEvent { payload: b"q", ..event },
        ];
        for other in others {
            assert_ne!(link(&CHAIN_START, &other), base, "{other:?}");
        }
        assert_ne!(link(&base, &event), base);
    }
}
