//! The types of events of a segment index: how often each occurs, and where those lie that are rare.
//!
//! Rows lead to records in the order of names. A type that is in fewer than a quarter of the batches has the places of
//! those that hold it; to read the others by a list would gain little.

use std::ops::Range;

use super::{Payload, SegmentIndexHead, outside, u32_at};
use crate::format::Fault;
use crate::format::wire::{Wire, put_bytes, put_var};
use crate::ids::Position;
use crate::limits;

/// Length of the row of a type, in bytes: where its record begins.
pub const ROW_BYTES: u64 = 4;
/// A record without its postings is no longer.
const RECORD_BYTES_MAX: u64 = 2 + limits::TYPE_BYTES_MAX as u64 + 30;

/// What an index says of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeRecord<'p> {
    /// Its name, as bytes.
    pub name: &'p [u8],
    /// Events of it in the segment.
    pub events: u64,
    /// Batches with such events.
    pub frames: u64,
    /// Where the list of these lies; `None` where they are too many to be listed.
    postings: Option<Range<u64>>,
}

/// Whether a type that is in `frames` of `batches` batches has them listed.
#[must_use]
pub fn is_listed(frames: u64, batches: u64) -> bool {
    frames.saturating_mul(4) < batches
}

/// Appends the record of a type. `postings` are distances of places in units of eight bytes, the first from the segment's
/// begin; empty where they are not listed.
pub fn put_type(out: &mut Vec<u8>, name: &[u8], events: u64, frames: u64, postings: &[u8]) {
    put_bytes(out, name);
    put_var(out, events);
    put_var(out, frames);
    put_bytes(out, postings);
}

/// What the index says of a type; `None` where the segment has no event of it.
pub fn find<'p, P: Payload + ?Sized>(
    payload: &'p P,
    head: &SegmentIndexHead,
    name: &[u8],
) -> Result<Option<TypeRecord<'p>>, Fault> {
    let (mut low, mut high) = (0, head.types);
    while low < high {
        let middle = low + (high - low) / 2;
        let record = nth(payload, head, middle)?;
        match record.name.cmp(name) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Equal => return Ok(Some(record)),
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    Ok(None)
}

/// Hands out every type with the number of its events, in the order of names.
///
/// # Errors
/// Where the types do not add up: what was handed out by then may be wrong.
pub fn each<P: Payload + ?Sized>(
    payload: &P,
    head: &SegmentIndexHead,
    mut take: impl FnMut(&str, u64),
) -> Result<(), Fault> {
    let (mut all, mut before) = (0u64, None);
    for index in 0..head.types {
        let record = nth(payload, head, index)?;
        if before.replace(record.name).is_some_and(|before| before >= record.name) {
            return Err(Fault::bad("the types of a segment index do not stand in the order of their names"));
        }
        all = all.saturating_add(record.events);
        take(std::str::from_utf8(record.name).map_err(|_| Fault::bad("a type that is not UTF-8"))?, record.events);
    }
    match all == head.events {
        true => Ok(()),
        false => Err(Fault::bad(format!("types of {all} events in a segment index of {}", head.events))),
    }
}

/// The type of the row `index`, which must be below [`SegmentIndexHead::types`].
pub fn nth<'p, P: Payload + ?Sized>(
    payload: &'p P,
    head: &SegmentIndexHead,
    index: u64,
) -> Result<TypeRecord<'p>, Fault> {
    let row_at = head.type_rows_at + index * ROW_BYTES;
    let at = u64::from(u32_at(payload.bytes(row_at..row_at + ROW_BYTES)?, 0));
    let end = head.type_rows_at;
    let mut wire = Wire::new(payload.bytes(at..(at + RECORD_BYTES_MAX).min(end).max(at))?);
    let name = wire.bytes()?;
    let (events, frames) = (wire.var()?, wire.var_up_to(head.batches, "the batches of a type")?);
    let postings_len = wire.var_up_to(end, "the length of postings")?;
    let postings_at = at + wire.at() as u64;
    let postings_end = postings_at.checked_add(postings_len).filter(|to| *to <= end).ok_or(Fault::Short)?;
    let postings = is_listed(frames, head.batches).then_some(postings_at..postings_end);
    Ok(TypeRecord { name, events, frames, postings })
}

impl TypeRecord<'_> {
    /// The list of batches that hold the type, where there is one.
    #[must_use]
    pub fn places(&self) -> Option<TypePlaces> {
        Some(TypePlaces { rest: self.postings.clone()?, left: self.frames, units: 0 })
    }
}

/// A walk over the batches that hold a type. Keeps nothing but where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypePlaces {
    rest: Range<u64>,
    left: u64,
    /// The place that was handed out last, in units of eight bytes.
    units: u64,
}

impl TypePlaces {
    /// The next place; `None` behind the last.
    pub fn next<P: Payload + ?Sized>(
        &mut self,
        payload: &P,
        head: &SegmentIndexHead,
    ) -> Result<Option<Position>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        let bytes = payload.bytes(self.rest.start..self.rest.end.min(self.rest.start + 10))?;
        let mut wire = Wire::new(bytes);
        let units = match wire.var()? {
            0 => None,
            distance => self.units.checked_add(distance),
        };
        let place = head.place(units.ok_or_else(outside)?)?;
        self.units = (place.0 - head.base.0) / 8;
        self.rest.start += wire.at() as u64;
        self.left -= 1;
        Ok(Some(place))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::head;
    use super::*;

    /// An index without streams of these types: name, and how many batches of 1000 hold it.
    fn index_of(all: &[(&str, u64)]) -> (Vec<u8>, SegmentIndexHead) {
        let mut head = SegmentIndexHead { streams: 0, stream_rows_at: 0, stream_tops_at: 0, batches: 1000, ..head() };
        let (mut out, mut rows) = (Vec::new(), Vec::new());
        for (name, frames) in all {
            rows.extend_from_slice(&(out.len() as u32).to_le_bytes());
            let mut postings = Vec::new();
            for frame in 0..*frames {
                put_var(&mut postings, 1024 * u64::from(frame == 0) + 9);
            }
            let postings = if is_listed(*frames, head.batches) { &postings[..] } else { &[] };
            put_type(&mut out, name.as_bytes(), 2 * frames, *frames, postings);
        }
        head.types = all.len() as u64;
        head.type_rows_at = out.len() as u64;
        out.extend_from_slice(&rows);
        (out, head)
    }

    fn places(payload: &[u8], head: &SegmentIndexHead, record: &TypeRecord<'_>) -> Result<Vec<Position>, Fault> {
        let Some(mut places) = record.places() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        while let Some(place) = places.next(payload, head)? {
            found.push(place);
        }
        Ok(found)
    }

    #[test]
    fn every_type_is_found_and_rare_ones_with_their_batches() {
        let long = "z".repeat(255);
        let all = [("a", 1), ("b", 249), ("c", 250), ("d", 1000), (long.as_str(), 3)];
        let (payload, head) = index_of(&all);
        assert_eq!(SegmentIndexHead::decode(&head.encode(), payload.len() as u64), Ok(head.clone()));
        for (name, frames) in all {
            let record = find(&payload[..], &head, name.as_bytes()).expect("holds").expect("is there");
            assert_eq!((record.events, record.frames), (2 * frames, frames));
            assert_eq!(record.places().is_some(), frames < 250, "{name}");
            let expected = if frames < 250 { frames } else { 0 };
            let places = places(&payload, &head, &record).expect("holds");
            assert_eq!(places.len() as u64, expected);
            assert!(places.windows(2).all(|pair| pair[1].0 == pair[0].0 + 72));
        }
        for absent in ["", "aa", "e", "zz"] {
            assert_eq!(find(&payload[..], &head, absent.as_bytes()), Ok(None));
        }
    }

    /// [SIX-5] What the types say is taken where it adds up, and not where any bit is another one.
    #[test]
    fn p11_types_that_do_not_add_up_are_not_counted() {
        let (payload, mut head) = index_of(&[("a", 100), ("b", 2), ("c", 900)]);
        let all = |payload: &[u8], head: &SegmentIndexHead| {
            let mut all = Vec::new();
            each(payload, head, |name, events| all.push((name.to_owned(), events))).map(|()| all)
        };
        assert!(all(&payload, &head).is_err(), "the head tells of other events");
        head.events = 2004;
        let whole = all(&payload, &head).expect("adds up");
        assert_eq!(whole, [("a".into(), 200), ("b".into(), 4), ("c".into(), 1800)]);
        for bit in 0..payload.len() * 8 {
            let mut flipped = payload.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let numbers = |all: Vec<(String, u64)>| all.into_iter().map(|(_, events)| events).sum::<u64>();
            assert!(all(&flipped, &head).map_or(2004, numbers) == 2004, "bit {bit}");
        }
        let (twice, head) = index_of(&[("a", 1), ("a", 1)]);
        assert!(all(&twice, &SegmentIndexHead { events: 4, ..head }).is_err());
    }

    #[test]
    fn p11_no_bytes_of_types_bring_lookups_to_panic_or_to_leave_the_segment() {
        let (payload, head) = index_of(&[("a", 100), ("b", 2), ("c", 900)]);
        for bit in 0..payload.len() * 8 {
            let mut flipped = payload.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            for name in ["a", "b", "c", "d"] {
                let found = find(&flipped[..], &head, name.as_bytes());
                let found = found.and_then(|record| record.map(|record| places(&flipped, &head, &record)).transpose());
                if let Ok(Some(places)) = found {
                    assert!(places.iter().all(|place| head.base <= *place && *place < head.end));
                }
            }
        }
    }
}
