//! Items of a batch frame: forks, snapshots, cursors, claims, fences and accepts, atomic with the events beside them.

use super::Fault;
use super::token::{TOKEN_BYTES, Token};
use super::wire::{Wire, back, put_bytes, put_var, text};
use crate::ids::{Position, Revision, StreamId};
use crate::limits;

/// Item kind: a fork.
pub const ITEM_FORK: u8 = 1;
/// Item kind: a snapshot binding.
pub const ITEM_SNAPSHOT: u8 = 2;
/// Item kind: a cursor.
pub const ITEM_CURSOR: u8 = 3;
/// Item kind: a claim.
pub const ITEM_CLAIM: u8 = 4;
/// Item kind: the claim under which the batch was appended.
pub const ITEM_FENCE: u8 = 5;
/// Item kind: damage that was accepted.
pub const ITEM_ACCEPT: u8 = 6;
/// Class of an accepted range: bytes that are not what was written.
pub const ACCEPTED_DAMAGE: u8 = 1;
/// Class of an accepted range: a segment that is not there, or another file in its place.
pub const ACCEPTED_MISSING: u8 = 2;
/// Class of an accepted range: what a copy does not have.
pub const ACCEPTED_COPY_INCOMPLETE: u8 = 3;
/// Kinds from here on may be skipped by who does not know them.
pub const ITEM_IGNORABLE: u8 = 0x80;

/// One item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A new stream that continues another one.
    Fork {
        /// Its name.
        name: &'a str,
        /// The stream it leaves.
        parent: StreamId,
        /// The last revision that it shares with its parent.
        revision: Revision,
        /// The frame that holds that revision.
        parent_place: Position,
        /// How many forks lie between it and a stream that is none.
        depth: u64,
        /// An ancestor further up, by a skew-binary link.
        jump: StreamId,
        /// Depth of that ancestor.
        jump_depth: u64,
        /// The lowest fork revision among this fork and the ancestors that the link leaps over.
        lowest: Revision,
    },
    /// The events of one section stand for a range of another stream.
    Snapshot {
        /// Which section of this frame holds them.
        section: u32,
        /// The stream they stand for.
        source: StreamId,
        /// First revision of the range.
        first: Revision,
        /// The revision behind the range.
        end: Revision,
        /// The frame that holds the last event of the range.
        place: Position,
        /// Stream chain before the range.
        chain_before: [u8; 32],
        /// Stream chain at the end of the range.
        chain_end: [u8; 32],
        /// What it is for.
        label: &'a str,
        /// Version of what made it.
        version: &'a str,
    },
    /// A consumer's place.
    Cursor {
        /// Its name.
        name: &'a str,
        /// The place.
        token: Token,
    },
    /// The right to advance a stream was taken; the fencing token is the item's position.
    Claim {
        /// The stream.
        stream: StreamId,
        /// Who took it, for people.
        note: &'a str,
    },
    /// The batch was appended under this claim.
    Fence {
        /// The stream.
        stream: StreamId,
        /// The claim item.
        claim: Position,
    },
    /// What is lost is lost: writing may go on.
    Accept(Accept<'a>),
    /// An ignorable item of a later version.
    Unknown {
        /// Its kind.
        kind: u8,
    },
}

/// What an accept item says, still as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept<'a> {
    bytes: &'a [u8],
}

/// A stretch that was accepted as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedRange {
    /// Where it begins.
    pub start: Position,
    /// Its length, in bytes.
    pub len: u64,
    /// 1 damage, 2 missing, 3 copy incomplete.
    pub class: u8,
}

impl AcceptedRange {
    /// Whether all of a stretch lies in it.
    #[must_use]
    pub fn holds(&self, positions: &std::ops::Range<Position>) -> bool {
        self.start <= positions.start && positions.start <= positions.end && positions.end.0 - self.start.0 <= self.len
    }
}

impl<'a> Accept<'a> {
    /// The ranges, then the streams with their accepted heads (`None`: no event).
    #[allow(clippy::type_complexity)]
    pub fn decode(&self) -> Result<(Vec<AcceptedRange>, Vec<(StreamId, Option<Revision>)>), Fault> {
        let mut wire = Wire::new(self.bytes);
        let mut ranges = Vec::new();
        for _ in 0..wire.var()? {
            let start = Position(wire.var_up_to(limits::NUMBER_MAX, "the start of an accepted range")?);
            let len = wire.var_up_to(limits::NUMBER_MAX - start.0, "the length of an accepted range")?;
            let class = wire.u8()?;
            if !(ACCEPTED_DAMAGE..=ACCEPTED_COPY_INCOMPLETE).contains(&class) {
                return Err(Fault::bad(format!("an accept of class {class}")));
            }
            ranges.push(AcceptedRange { start, len, class });
        }
        let mut streams = Vec::new();
        for _ in 0..wire.var()? {
            let stream = StreamId(wire.var()?);
            let head = match wire.var()? {
                u64::MAX => None,
                head if head < limits::NUMBER_MAX => Some(Revision(head)),
                head => return Err(Fault::bad(format!("an accepted head of {head}"))),
            };
            streams.push((stream, head));
        }
        wire.end("an accept item")?;
        Ok((ranges, streams))
    }

    /// The body of an accept item.
    #[must_use]
    pub fn encode(ranges: &[AcceptedRange], streams: &[(StreamId, Option<Revision>)]) -> Vec<u8> {
        let mut body = Vec::new();
        put_var(&mut body, ranges.len() as u64);
        for range in ranges {
            put_var(&mut body, range.start.0);
            put_var(&mut body, range.len);
            body.push(range.class);
        }
        put_var(&mut body, streams.len() as u64);
        for (stream, head) in streams {
            put_var(&mut body, stream.0);
            put_var(&mut body, head.map_or(u64::MAX, Revision::get));
        }
        body
    }

    /// An accept item over a body made by [`Accept::encode`].
    #[must_use]
    pub fn over(body: &'a [u8]) -> Accept<'a> {
        Accept { bytes: body }
    }
}

impl<'a> Item<'a> {
    /// Appends the item. `frame` is where its frame begins, `position` its own position.
    ///
    /// # Panics
    /// On [`Item::Unknown`]: there is nothing to write.
    pub fn encode(&self, out: &mut Vec<u8>, frame: Position, position: Position) {
        let mut body = Vec::new();
        let kind = match self {
            Item::Fork { name, parent, revision, parent_place, depth, jump, jump_depth, lowest } => {
                put_bytes(&mut body, name.as_bytes());
                put_var(&mut body, position.0 - parent.0);
                put_var(&mut body, revision.0);
                put_var(&mut body, (frame.0 - parent_place.0) / 8);
                put_var(&mut body, *depth);
                put_var(&mut body, position.0 - jump.0);
                put_var(&mut body, *jump_depth);
                put_var(&mut body, revision.0 - lowest.0);
                ITEM_FORK
            }
            Item::Snapshot { section, source, first, end, place, chain_before, chain_end, label, version } => {
                put_var(&mut body, u64::from(*section));
                put_var(&mut body, frame.0 - source.0);
                put_var(&mut body, first.0);
                put_var(&mut body, end.0);
                put_var(&mut body, (frame.0 - place.0) / 8);
                body.extend_from_slice(chain_before);
                body.extend_from_slice(chain_end);
                put_bytes(&mut body, label.as_bytes());
                put_bytes(&mut body, version.as_bytes());
                ITEM_SNAPSHOT
            }
            Item::Cursor { name, token } => {
                put_bytes(&mut body, name.as_bytes());
                body.extend_from_slice(&token.to_bytes());
                ITEM_CURSOR
            }
            Item::Claim { stream, note } => {
                put_var(&mut body, frame.0 - stream.0);
                put_bytes(&mut body, note.as_bytes());
                ITEM_CLAIM
            }
            Item::Fence { stream, claim } => {
                put_var(&mut body, frame.0 - stream.0);
                put_var(&mut body, frame.0 - claim.0);
                ITEM_FENCE
            }
            Item::Accept(accept) => {
                body.extend_from_slice(accept.bytes);
                ITEM_ACCEPT
            }
            Item::Unknown { .. } => unreachable!("unknown items are only ever read"),
        };
        out.push(kind);
        put_bytes(out, &body);
    }

    /// The item at the wire. `frame` is where its frame begins, `position` its own position.
    pub fn decode(wire: &mut Wire<'a>, frame: Position, position: Position) -> Result<Item<'a>, Fault> {
        let kind = wire.u8()?;
        let body = wire.bytes()?;
        let mut wire = Wire::new(body);
        let place = |distance: u64, what: &str| {
            let distance = distance.checked_mul(8).ok_or_else(|| Fault::bad(format!("{what} leads before the log")))?;
            back(frame.0, distance, what).map(Position)
        };
        let item = match kind {
            ITEM_FORK => {
                let name = wire.bytes()?;
                if name.is_empty() || name.len() > limits::STREAM_NAME_BYTES_MAX {
                    return Err(Fault::bad(format!("a stream name of {} bytes", name.len())));
                }
                let parent = StreamId(back(position.0, wire.var()?, "a fork's parent")?);
                let revision = Revision(wire.var_up_to(limits::NUMBER_MAX, "a fork's revision")?);
                let item = Item::Fork {
                    name: text(name, "the name of a fork")?,
                    parent,
                    revision,
                    parent_place: place(wire.var()?, "a fork's place")?,
                    depth: wire.var()?,
                    jump: StreamId(back(position.0, wire.var()?, "a fork's jump link")?),
                    jump_depth: wire.var()?,
                    lowest: Revision(back(revision.0, wire.var()?, "a fork's lowest revision")?),
                };
                match item {
                    // A parent is older than its child, so no lineage has a cycle.
                    Item::Fork { parent, jump, depth, jump_depth, .. }
                        if parent.0 >= position.0 || jump.0 >= position.0 || jump_depth >= depth =>
                    {
                        return Err(Fault::bad("a fork is older than its parent"));
                    }
                    item => item,
                }
            }
            ITEM_SNAPSHOT => {
                let item = Item::Snapshot {
                    section: wire.var_up_to(limits::BATCH_SECTIONS_MAX as u64, "a snapshot's section")? as u32,
                    source: StreamId(back(frame.0, wire.var()?, "a snapshot's source")?),
                    first: Revision(wire.var_up_to(limits::NUMBER_MAX, "a snapshot's range")?),
                    end: Revision(wire.var_up_to(limits::NUMBER_MAX, "a snapshot's range")?),
                    place: place(wire.var()?, "a snapshot's place")?,
                    chain_before: wire.array()?,
                    chain_end: wire.array()?,
                    label: text(wire.bytes()?, "a snapshot's label")?,
                    version: text(wire.bytes()?, "a snapshot's version")?,
                };
                match item {
                    Item::Snapshot { first, end, .. } if first >= end => {
                        return Err(Fault::bad("a snapshot's range is empty"));
                    }
                    item => item,
                }
            }
            ITEM_CURSOR => {
                let name = text(wire.bytes()?, "a cursor's name")?;
                Item::Cursor { name, token: Token::decode(wire.take(TOKEN_BYTES)?)? }
            }
            ITEM_CLAIM => Item::Claim {
                stream: StreamId(back(frame.0, wire.var()?, "a claim's stream")?),
                note: text(wire.bytes()?, "a claim's note")?,
            },
            ITEM_FENCE => Item::Fence {
                stream: StreamId(back(frame.0, wire.var()?, "a fence's stream")?),
                claim: Position(back(frame.0, wire.var()?, "a fence's claim")?),
            },
            ITEM_ACCEPT => {
                let accept = Accept { bytes: body };
                accept.decode()?;
                return Ok(Item::Accept(accept));
            }
            ITEM_IGNORABLE.. => return Ok(Item::Unknown { kind }),
            _ => return Err(Fault::Unsupported(format!("item kind {kind}"))),
        };
        wire.end("an item")?;
        Ok(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::token;

    const FRAME: Position = Position(100_000);
    const OWN: Position = Position(100_003);

    fn round_trip(item: &Item<'_>) {
        let mut out = Vec::new();
        item.encode(&mut out, FRAME, OWN);
        let mut wire = Wire::new(&out);
        assert_eq!(Item::decode(&mut wire, FRAME, OWN).as_ref(), Ok(item));
        assert_eq!(wire.left(), 0);
        for cut in 0..out.len() {
            assert!(Item::decode(&mut Wire::new(&out[..cut]), FRAME, OWN).is_err(), "cut at {cut}");
        }
        for at in 2..out.len() {
            let mut changed = out.clone();
            changed[at] = 0xFF;
            let _ = Item::decode(&mut Wire::new(&changed), FRAME, OWN);
        }
    }

    #[test]
    fn every_item_round_trips() {
        let body = Accept::encode(
            &[AcceptedRange { start: Position(4), len: 9, class: 1 }],
            &[(StreamId(3), None), (StreamId(4), Some(Revision(8)))],
        );
        let items = [
            Item::Fork {
                name: "child",
                parent: StreamId(9000),
                revision: Revision(7),
                parent_place: Position(80_000),
                depth: 2,
                jump: StreamId(8192),
                jump_depth: 0,
                lowest: Revision(2),
            },
            Item::Snapshot {
                section: 0,
                source: StreamId(9000),
                first: Revision(0),
                end: Revision(9),
                place: Position(96_000),
                chain_before: [0; 32],
                chain_end: [1; 32],
                label: "summary",
                version: "v1",
            },
            Item::Cursor { name: "ui", token: token::tests::sample() },
            Item::Claim { stream: StreamId(9000), note: "pid 7" },
            Item::Fence { stream: StreamId(9000), claim: Position(99_000) },
            Item::Accept(Accept::over(&body)),
        ];
        items.iter().for_each(round_trip);
    }

    #[test]
    fn p07_cycles_empty_ranges_and_unknown_kinds_are_refused() {
        let encode = |item: Item<'_>| {
            let mut out = Vec::new();
            item.encode(&mut out, FRAME, OWN);
            out
        };
        let fork = |parent, depth| Item::Fork {
            name: "x",
            parent: StreamId(parent),
            revision: Revision(0),
            parent_place: FRAME,
            depth,
            jump: StreamId(5),
            jump_depth: 0,
            lowest: Revision(0),
        };
        for bad in [fork(OWN.0, 1), fork(9, 0)] {
            assert!(matches!(Item::decode(&mut Wire::new(&encode(bad)), FRAME, OWN), Err(Fault::Bad(_))));
        }
        let decode = |bytes: &'static [u8]| Item::decode(&mut Wire::new(bytes), FRAME, OWN);
        assert_eq!(decode(&[0x90, 2, 1, 2]), Ok(Item::Unknown { kind: 0x90 }));
        assert!(matches!(decode(&[0x09, 0]), Err(Fault::Unsupported(_))));
    }
}
