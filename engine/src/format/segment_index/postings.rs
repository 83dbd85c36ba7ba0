//! The streams of a segment index: where the sections of each lie, and how older ones are found.
//!
//! Rows of fixed size, in the order of ids, lead to records; a look at every 256th id says which rows to search. A record
//! says which revisions of its stream the segment holds and lists the places of its sections in chunks, each with a row to
//! find it by. Its number counts the segments of the stream; by it and one jump besides the place of the section before,
//! any older segment is reached in a logarithmic number of steps, as index blocks are
//! ([`jump_target`](crate::format::index_block::jump_target)).

use std::ops::Range;

use super::{Payload, SegmentIndexHead, outside, u32_at, u64_at};
use crate::format::Fault;
use crate::format::wire::{Wire, back, put_var};
use crate::ids::{Position, Revision, SegmentOrdinal, StreamId};

/// Length of the row of a stream, in bytes: its id, and where its record begins.
pub const ROW_BYTES: u64 = 12;
/// The id of every so many rows stands in the top level.
pub const ROWS_A_TOP: u64 = 256;
/// So many sections make a chunk.
pub const CHUNK_SECTIONS: u64 = 128;
/// Length of the row of a chunk, in bytes: first revision, place, where its postings begin.
pub const CHUNK_ROW_BYTES: u64 = 16;
/// A record without its chunks is no longer.
const RECORD_BYTES_MAX: u64 = 90;

/// Each section of the chunk begins one revision behind the section before; places alone are stored.
const MODE_SINGLE: u8 = 0;
/// Places and revisions are stored in pairs.
const MODE_PAIRS: u8 = 1;

/// An older segment of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// The segment.
    pub ordinal: SegmentOrdinal,
    /// The first revision of the stream in it.
    pub first_revision: Revision,
}

/// What an index says of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// The stream.
    pub stream: StreamId,
    /// How many segments before this one hold the stream and can be reached from index to index.
    pub number: u64,
    /// First revision in the segment.
    pub first_revision: Revision,
    /// Last revision in the segment.
    pub last_revision: Revision,
    /// Sections in the segment.
    pub sections: u64,
    /// Where the first of them lies.
    pub first_place: Position,
    /// Where the section before that lies, or the fork; `None` where the stream begins here.
    pub reach_back: Option<Position>,
    /// An older segment; there is one where the number is not 0.
    pub jump: Option<Jump>,
    /// Where the rows of its chunks lie, but for the first.
    chunk_rows: Range<u64>,
    /// Where its postings lie.
    postings: Range<u64>,
}

/// A run of sections of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its number in the record.
    pub number: u64,
    /// First revision and place of its first section.
    pub first: (Revision, Position),
    /// Those of the first section behind it, where the record has one.
    pub next: Option<(Revision, Position)>,
    /// How many sections it has.
    pub sections: u64,
    /// The last revision that its sections may have.
    pub last_revision: Revision,
    postings: Range<u64>,
}

/// A stream to be put into an index.
#[derive(Clone, Copy, Debug)]
pub struct NewStream {
    /// See [`StreamRecord::number`].
    pub number: u64,
    /// Last revision in the segment.
    pub last_revision: Revision,
    /// See [`StreamRecord::reach_back`].
    pub reach_back: Option<Position>,
    /// See [`StreamRecord::jump`].
    pub jump: Option<Jump>,
}

/// Appends the record of a stream with the first revisions and places of its sections, in order and at least one.
pub fn put_stream(
    out: &mut Vec<u8>,
    ordinal: SegmentOrdinal,
    base: Position,
    stream: &NewStream,
    sections: &[(Revision, Position)],
) {
    let units = |place: Position| (place.0 - base.0) / 8;
    let (first_revision, first_place) = sections[0];
    let mut rows = Vec::new();
    let mut postings = Vec::new();
    for (number, chunk) in sections.chunks(CHUNK_SECTIONS as usize).enumerate() {
        if number > 0 {
            let (revision, place) = chunk[0];
            rows.extend_from_slice(&revision.0.to_le_bytes());
            rows.extend_from_slice(&(units(place) as u32).to_le_bytes());
            rows.extend_from_slice(&(postings.len() as u32).to_le_bytes());
        }
        if chunk.len() == 1 {
            continue;
        }
        let is_single = chunk.windows(2).all(|pair| pair[1].0.0 == pair[0].0.0 + 1);
        postings.push(if is_single { MODE_SINGLE } else { MODE_PAIRS });
        for pair in chunk.windows(2) {
            put_var(&mut postings, units(pair[1].1) - units(pair[0].1));
            if !is_single {
                put_var(&mut postings, pair[1].0.0 - pair[0].0.0);
            }
        }
    }
    put_var(out, stream.number);
    put_var(out, first_revision.0);
    put_var(out, stream.last_revision.0 - first_revision.0);
    put_var(out, sections.len() as u64);
    put_var(out, units(first_place));
    put_var(out, stream.reach_back.map_or(0, |place| (first_place.0 - place.0) / 8));
    if stream.number > 0 {
        let jump = stream.jump.expect("a stream with older segments has a jump");
        put_var(out, ordinal.0 - jump.ordinal.0);
        put_var(out, first_revision.0 - jump.first_revision.0);
    }
    put_var(out, postings.len() as u64);
    out.extend_from_slice(&rows);
    out.extend_from_slice(&postings);
}

/// Appends the row of a stream.
pub fn put_row(out: &mut Vec<u8>, stream: StreamId, record_at: u32) {
    out.extend_from_slice(&stream.0.to_le_bytes());
    out.extend_from_slice(&record_at.to_le_bytes());
}

/// What the index says of a stream; `None` where the segment holds no section of it.
pub fn find<P: Payload + ?Sized>(
    payload: &P,
    head: &SegmentIndexHead,
    stream: StreamId,
) -> Result<Option<StreamRecord>, Fault> {
    if head.streams == 0 {
        return Ok(None);
    }
    let tops = head.streams.div_ceil(ROWS_A_TOP);
    let mut rows = 0..head.streams;
    // Streams are made before what is in them.
    let mut bounds = (0, head.end.0);
    if tops > 1 {
        let ids = payload.bytes(head.stream_tops_at..head.stream_tops_at + 8 * tops)?;
        let id_of = |index: usize| u64_at(ids, 8 * index);
        let last = tops as usize - 1;
        let behind = match id_of(last) <= stream.0 {
            true => tops,
            false => rank(last, id_of, stream.0 + 1, (id_of(0), id_of(last))) as u64,
        };
        let Some(top) = behind.checked_sub(1) else { return Ok(None) };
        rows = top * ROWS_A_TOP..(behind * ROWS_A_TOP).min(head.streams);
        bounds = (id_of(top as usize), if behind < tops { id_of(behind as usize) } else { head.end.0 });
    }
    let at = head.stream_rows_at;
    let bytes = payload.bytes(at + rows.start * ROW_BYTES..at + rows.end * ROW_BYTES)?;
    let row = |index: usize| index * ROW_BYTES as usize;
    let count = (rows.end - rows.start) as usize;
    let index = rank(count, |index| u64_at(bytes, row(index)), stream.0, bounds);
    if index == count || u64_at(bytes, row(index)) != stream.0 {
        return Ok(None);
    }
    record_at(payload, head, stream, u32_at(bytes, row(index) + 8)).map(Some)
}

/// The stream of the row `index`, which must be below [`SegmentIndexHead::streams`].
pub fn nth<P: Payload + ?Sized>(payload: &P, head: &SegmentIndexHead, index: u64) -> Result<StreamRecord, Fault> {
    let at = head.stream_rows_at + index * ROW_BYTES;
    let row = payload.bytes(at..at + ROW_BYTES)?;
    record_at(payload, head, StreamId(u64_at(row, 0)), u32_at(row, 8))
}

/// How many of `count` ids, which rise, are less than `id`. They lie mostly on a line between the bounds: where that leads is looked
/// at first, then in the middle of what is left.
#[inline]
fn rank(count: usize, id_of: impl Fn(usize) -> u64, id: u64, (mut least, mut most): (u64, u64)) -> usize {
    const GUESSES: u32 = 4;
    let (mut low, mut high) = (0, count);
    for _ in 0..GUESSES {
        if low >= high || least >= id || most < id {
            break;
        }
        let along = u128::from(id - least) * (high - low) as u128 / u128::from(most - least);
        let guess = (low + along as usize).min(high - 1);
        match id_of(guess) {
            found if found == id => return guess,
            found if found < id => (low, least) = (guess + 1, found),
            found => (high, most) = (guess, found),
        }
    }
    low + partition(high - low, |index| id_of(low + index) < id)
}

/// How many of `count` things come before the first for which `is_before` does not hold.
#[inline]
fn partition(count: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn record_at<P: Payload + ?Sized>(
    payload: &P,
    head: &SegmentIndexHead,
    stream: StreamId,
    at: u32,
) -> Result<StreamRecord, Fault> {
    let (at, records_end) = (u64::from(at), head.stream_rows_at);
    let bytes = payload.bytes(at..(at + RECORD_BYTES_MAX).min(records_end).max(at))?;
    let mut wire = Wire::new(bytes);
    let number = wire.var_up_to(head.ordinal.0, "the number of a stream's segment")?;
    let first_revision = Revision(wire.var()?);
    let last_revision = Revision(first_revision.0.checked_add(wire.var()?).ok_or_else(beyond)?);
    let sections = wire.var_up_to(head.sections, "the number of a stream's sections")?;
    let first_place = head.place(wire.var()?)?;
    let reach_back = match wire.var()? {
        0 => None,
        distance => {
            let bytes = distance.checked_mul(8).ok_or_else(outside)?;
            Some(Position(back(first_place.0, bytes, "a stream's previous place")?))
        }
    };
    let jump = match number {
        0 => None,
        _ => Some(Jump {
            ordinal: SegmentOrdinal(back(head.ordinal.0, wire.var()?.max(1), "a stream's older segment")?),
            first_revision: Revision(back(first_revision.0, wire.var()?, "a revision")?),
        }),
    };
    let postings_len = wire.var_up_to(records_end, "the length of postings")?;
    let rows_at = at + wire.at() as u64;
    // Sections are no more than the head says, which is not believed either: what follows must lie before the rows.
    let rows_len = sections.saturating_sub(1) / CHUNK_SECTIONS * CHUNK_ROW_BYTES;
    let postings_at = rows_at.checked_add(rows_len).ok_or_else(beyond)?;
    let postings_end = postings_at.checked_add(postings_len).filter(|end| *end <= records_end).ok_or_else(beyond)?;
    if sections == 0 || last_revision.0 - first_revision.0 < sections - 1 {
        return Err(beyond());
    }
    let (chunk_rows, postings) = (rows_at..postings_at, postings_at..postings_end);
    Ok(StreamRecord {
        stream,
        number,
        first_revision,
        last_revision,
        sections,
        first_place,
        reach_back,
        jump,
        chunk_rows,
        postings,
    })
}

#[cold]
fn beyond() -> Fault {
    Fault::bad("the record of a stream in a segment index does not add up")
}

impl StreamRecord {
    /// How many chunks it has.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.sections.div_ceil(CHUNK_SECTIONS)
    }

    /// The chunk that holds `revision`, which does not lie before the first: the last that does not begin behind it.
    pub fn chunk_of<P: Payload + ?Sized>(
        &self,
        payload: &P,
        head: &SegmentIndexHead,
        revision: Revision,
    ) -> Result<Chunk, Fault> {
        let rows = payload.bytes(self.chunk_rows.clone())?;
        let count = rows.len() / CHUNK_ROW_BYTES as usize;
        let number = partition(count, |index| u64_at(rows, index * CHUNK_ROW_BYTES as usize) <= revision.0);
        self.chunk(payload, head, number as u64)
    }

    /// The chunk with this number, which must be below [`chunks`](Self::chunks).
    pub fn chunk<P: Payload + ?Sized>(
        &self,
        payload: &P,
        head: &SegmentIndexHead,
        number: u64,
    ) -> Result<Chunk, Fault> {
        let rows = payload.bytes(self.chunk_rows.clone())?;
        let row = |number: u64| -> Result<(Revision, Position, u64), Fault> {
            match number.checked_sub(1) {
                None => Ok((self.first_revision, self.first_place, 0)),
                Some(index) => {
                    let at = (index * CHUNK_ROW_BYTES) as usize;
                    let place = head.place(u64::from(u32_at(rows, at + 8)))?;
                    Ok((Revision(u64_at(rows, at)), place, u64::from(u32_at(rows, at + 12))))
                }
            }
        };
        let (revision, place, from) = row(number)?;
        let is_last = number + 1 == self.chunks();
        let next = if is_last { None } else { Some(row(number + 1)?) };
        let to = next.map_or(self.postings.end - self.postings.start, |(_, _, to)| to);
        let postings = self.postings.start + from..self.postings.start + to;
        let last_revision = next.map_or(self.last_revision.0, |(next, _, _)| next.0.wrapping_sub(1));
        if from > to || postings.end > self.postings.end || last_revision < revision.0 {
            return Err(beyond());
        }
        let sections = if is_last { self.sections - number * CHUNK_SECTIONS } else { CHUNK_SECTIONS };
        Ok(Chunk {
            number,
            first: (revision, place),
            next: next.map(|(revision, place, _)| (revision, place)),
            sections,
            last_revision: Revision(last_revision),
            postings,
        })
    }
}

impl Chunk {
    /// Hands out first revision and place of each of its sections, in order, until `each` says that it is enough.
    #[inline]
    pub fn walk<P: Payload + ?Sized>(
        &self,
        payload: &P,
        head: &SegmentIndexHead,
        mut each: impl FnMut(Revision, Position) -> bool,
    ) -> Result<(), Fault> {
        let (mut revision, mut place) = (self.first.0.0, self.first.1.0);
        if !each(self.first.0, self.first.1) || self.sections == 1 {
            return Ok(());
        }
        let mut wire = Wire::new(payload.bytes(self.postings.clone())?);
        let mode = wire.u8()?;
        if mode > MODE_PAIRS {
            return Err(Fault::bad(format!("postings of mode {mode} in a segment index")));
        }
        for _ in 1..self.sections {
            let distance = wire.var()?;
            let revisions = if mode == MODE_PAIRS { wire.var()? } else { 1 };
            // Both rise, and stay where they belong: so nobody goes back or round in circles.
            if distance == 0 || revisions == 0 || distance > (head.end.0 - place) / 8 {
                return Err(outside());
            }
            place += 8 * distance;
            revision = revision.checked_add(revisions).filter(|at| *at <= self.last_revision.0).ok_or_else(outside)?;
            if place >= head.end.0 {
                return Err(outside());
            }
            if !each(Revision(revision), Position(place)) {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::head;
    use super::*;

    type Listed = Vec<(Revision, Position)>;

    #[test]
    fn an_id_is_found_among_others_however_they_are_spread() {
        let even: Vec<u64> = (0..300).map(|n| 7 + n * 360).collect();
        let uneven: Vec<u64> = (0..300).map(|n| n * n * n + n).collect();
        let last_far: Vec<u64> = (0..300).chain([u64::MAX - 1]).collect();
        for ids in [even, uneven, last_far, vec![5], vec![]] {
            let around = ids.iter().flat_map(|id| [id.saturating_sub(1), *id, id + 1]);
            for id in around.chain([0, 1 << 40, u64::MAX]) {
                let expected = ids.partition_point(|known| *known < id);
                // Bounds are a hint.
                let least = ids.first().copied().unwrap_or(9);
                for bounds in [(0, u64::MAX), (least, u64::MAX), (least, 1 << 41), (id, id), (u64::MAX, 0)] {
                    assert_eq!(rank(ids.len(), |index| ids[index], id, bounds), expected, "{id} {bounds:?}");
                }
            }
        }
    }

    /// An index of streams whose sections are `listed`, ids rising by 10.
    fn index_of(all: &[Listed]) -> (Vec<u8>, SegmentIndexHead) {
        let mut head = head();
        let (mut out, mut rows, mut tops) = (Vec::new(), Vec::new(), Vec::new());
        for (index, sections) in all.iter().enumerate() {
            let id = StreamId(7 + 10 * index as u64);
            if (index as u64).is_multiple_of(ROWS_A_TOP) {
                tops.extend_from_slice(&id.0.to_le_bytes());
            }
            put_row(&mut rows, id, out.len() as u32);
            let is_old = index % 2 == 1 && sections[0].0.0 > 0;
            let jump = Jump { ordinal: SegmentOrdinal(1), first_revision: Revision(0) };
            let stream = NewStream {
                number: u64::from(is_old) * 2,
                last_revision: Revision(sections.last().expect("one at least").0.0 + 2),
                reach_back: is_old.then_some(Position(1 << 20)),
                jump: is_old.then_some(jump),
            };
            put_stream(&mut out, head.ordinal, head.base, &stream, sections);
        }
        head.streams = all.len() as u64;
        head.sections = all.iter().map(Vec::len).sum::<usize>() as u64;
        head.stream_rows_at = out.len() as u64;
        head.stream_tops_at = head.stream_rows_at + rows.len() as u64;
        head.types = 0;
        head.type_rows_at = head.stream_tops_at + tops.len() as u64;
        out.extend_from_slice(&rows);
        out.extend_from_slice(&tops);
        (out, head)
    }

    fn listed(count: u64, first: u64, step: u64) -> Listed {
        (0..count).map(|at| (Revision(first + at * step), Position((3 << 20) + 8192 + at * 64 + at % 3 * 8))).collect()
    }

    fn all_of(payload: &[u8], head: &SegmentIndexHead, record: &StreamRecord) -> Result<Listed, Fault> {
        let mut found = Vec::new();
        for number in 0..record.chunks() {
            record.chunk(payload, head, number)?.walk(payload, head, |revision, place| {
                found.push((revision, place));
                true
            })?;
        }
        Ok(found)
    }

    #[test]
    fn every_stream_and_section_is_found() {
        let all: Vec<Listed> = (0..700)
            .map(|index| listed([1, 2, 127, 128, 129, 256, 300][index % 7], index as u64, 1 + index as u64 % 3))
            .collect();
        let (payload, head) = index_of(&all);
        assert_eq!(SegmentIndexHead::decode(&head.encode(), payload.len() as u64), Ok(head.clone()));
        for (index, sections) in all.iter().enumerate() {
            let id = StreamId(7 + 10 * index as u64);
            for absent in [id.0 - 1, id.0 + 1] {
                assert_eq!(find(&payload[..], &head, StreamId(absent)), Ok(None));
            }
            let record = find(&payload[..], &head, id).expect("holds").expect("is there");
            assert_eq!(nth(&payload[..], &head, index as u64), Ok(record.clone()));
            assert_eq!((record.first_revision, record.first_place), sections[0]);
            assert_eq!(record.last_revision.0, sections[sections.len() - 1].0.0 + 2);
            assert_eq!((record.number > 0, record.jump.is_some()), (record.reach_back.is_some(), record.number > 0));
            assert_eq!(all_of(&payload, &head, &record), Ok(sections.clone()));
            for revision in record.first_revision.0..=record.last_revision.0 {
                let chunk = record.chunk_of(&payload[..], &head, Revision(revision)).expect("holds");
                let mut last = None;
                let walked = chunk.walk(&payload[..], &head, |first, place| {
                    last = if first.0 <= revision { Some((first, place)) } else { last };
                    first.0 <= revision
                });
                assert_eq!(walked, Ok(()));
                assert_eq!(last, sections.iter().rev().find(|(first, _)| first.0 <= revision).copied());
                assert!(chunk.next.is_none_or(|(next, _)| next.0 > revision));
            }
        }
    }

    #[test]
    fn a_section_of_one_event_takes_few_bytes() {
        let sections: Listed =
            (0..60_000).map(|at| (Revision(at), Position((3 << 20) + 8192 + at * 1104 % (1 << 20)))).collect();
        let sections: Listed = sections.into_iter().take(900).collect();
        let (payload, _) = index_of(&[sections]);
        assert!(payload.len() < 2 * 900 + 200, "{} bytes for 900 sections", payload.len());
    }

    #[test]
    fn p11_no_bytes_of_postings_bring_lookups_to_panic_or_to_leave_the_segment() {
        let (payload, head) = index_of(&[listed(300, 5, 1), listed(130, 9, 2), listed(1, 0, 1)]);
        let mut refused = 0;
        for bit in 0..payload.len() * 8 {
            let mut flipped = payload.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            for id in [7, 17, 27] {
                let looked = find(&flipped[..], &head, StreamId(id)).and_then(|record| match record {
                    Some(record) => {
                        record.chunk_of(&flipped[..], &head, Revision(100))?;
                        all_of(&flipped, &head, &record)
                    }
                    None => Ok(Vec::new()),
                });
                match looked {
                    Ok(found) => assert!(found.iter().all(|(_, place)| head.base <= *place && *place < head.end)),
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > 100, "{refused} refused");
    }
}
