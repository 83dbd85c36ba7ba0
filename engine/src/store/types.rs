//! Which types of events are there, and how often?
//!
//! The index of a segment says how many events of each type it holds, so a segment that has one is not read. It says so of all of
//! them: what lies in streams of the engine's own is looked up through the index, too, and taken off. An index counts only where it
//! is of the very segment and its figures add up; everything else is read: what lies behind the last index, a segment of which a part
//! is asked for, one with damage that is known, one whose index is missing or bad.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::Result;
use crate::error::{Damage, Error};
use crate::format::item::AcceptedRange;
use crate::format::segment_index::types;
use crate::ids::Position;
use crate::limits;
use crate::read::{LogReader, ReadAllOptions};
use crate::segment::set::Known;
use crate::store::Store;

/// So many events are counted before it is told how far it is.
const TOLD_EVENTS: u64 = 1 << 12;

/// Counted events, by their types.
type Counts = BTreeMap<Box<str>, u64>;

/// How many events of a type there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeCount {
    /// The type.
    pub name: Box<str>,
    /// Events of it; at least one.
    pub events: u64,
}

/// What counting events by their types came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypeCounts {
    /// The types that there are, in the order of their bytes.
    pub types: Vec<TypeCount>,
    /// What was met in place of events, which were of any type.
    pub damage: Vec<Damage>,
}

impl Store {
    /// Counts events by their types: those that [`read_all`](Store::read_all) with these options hands out. `tell` hears how many bytes
    /// of the log of how many are dealt with.
    ///
    /// Costs a look at the index of each segment, and reading what has none, or holds more of the engine's own than is looked up.
    /// Where a [prefix](ReadAllOptions::stream_prefix) is asked for, the events of these streams are read, since an index says of a
    /// type how often it occurs, and not in which stream. An event whose bytes went bad since its segment was indexed is counted, and
    /// nothing is told of that damage: [`verify`](fn@crate::maintain::verify) looks for it.
    ///
    /// # Errors
    /// As [`read_all`](Store::read_all), and what ends reading there. Damage is no error: what was met of it is handed out.
    pub fn count_types(&self, options: ReadAllOptions<'_>, tell: &mut dyn FnMut(u64, u64)) -> Result<TypeCounts> {
        let (from, behind) = self.view.log_reader(options)?.bounds();
        // Looked up last: who begins behind a token takes in first what others have appended.
        let end = behind.min(self.view.visible(options.visibility));
        let mut counting = Counting {
            store: self,
            // The places are known by now.
            options: ReadAllOptions { from: Position::ZERO, after_token: None, last: None, ..options },
            all: from..end.max(from),
            counts: Counts::new(),
            damage: Vec::new(),
            engines: None,
            tell,
        };
        counting.run()?;
        let types = counting.counts.into_iter().map(|(name, events)| TypeCount { name, events });
        Ok(TypeCounts { types: types.filter(|count| count.events > 0).collect(), damage: counting.damage })
    }
}

struct Counting<'s, 'o> {
    store: &'s Store,
    options: ReadAllOptions<'o>,
    all: Range<Position>,
    counts: Counts,
    damage: Vec<Damage>,
    /// Reads events of the engine's own in segments that are not read, and stands before one, or behind the last.
    engines: Option<Engines>,
    tell: &'s mut dyn FnMut(u64, u64),
}

impl Counting<'_, '_> {
    fn run(&mut self) -> Result<()> {
        let all = self.store.view.set.all();
        let has_index: Vec<bool> = all.iter().map(|known| self.has_index(known)).collect();
        // Up to there it is counted, or to be read with what comes.
        let mut from = self.all.start;
        for (number, known) in all.iter().enumerate() {
            let end = known.end.filter(|end| has_index[number] && known.base >= from && *end <= self.all.end);
            let Some((end, of_segment)) = end.and_then(|end| Some((end, self.by_index(known)?))) else {
                self.engines = None; // a reader of those is kept as long as one segment with an index follows another
                continue;
            };
            self.read(from..known.base)?;
            let run_end = || {
                let run = all[number..].iter().zip(&has_index[number..]).take_while(|(_, has_index)| **has_index);
                run.last().and_then(|(known, _)| known.end).unwrap_or(end)
            };
            match self.without_engines(of_segment, known.base..end, run_end)? {
                Some(of_segment) => of_segment.iter().for_each(|(name, events)| add(&mut self.counts, name, *events)),
                None => self.read(known.base..end)?,
            }
            from = end;
            self.tell(end);
        }
        self.read(from..self.all.end)?;
        self.tell(self.all.end);
        Ok(())
    }

    fn tell(&mut self, at: Position) {
        let all = self.all.end.0 - self.all.start.0;
        (self.tell)(at.0.saturating_sub(self.all.start.0).min(all), all);
    }

    /// Counts what a reader hands out.
    fn read(&mut self, range: Range<Position>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let mut reader = self.reader(self.options, range)?;
        let mut until_told = TOLD_EVENTS;
        while let Some(next) = reader.next() {
            match next {
                Ok(event) => {
                    add(&mut self.counts, event.event_type(), 1);
                    until_told -= 1;
                    if until_told == 0 {
                        until_told = TOLD_EVENTS;
                        let at = event.position();
                        self.tell(at);
                    }
                }
                Err(error) => self.damage.push(damage_of(error)?),
            }
        }
        Ok(())
    }

    fn reader(&self, options: ReadAllOptions<'_>, range: Range<Position>) -> Result<LogReader> {
        self.store.view.log_reader(options.from(range.start).at(range.end))
    }

    /// Whether what is asked for in a segment can be counted by its index.
    fn has_index(&self, known: &Known) -> bool {
        let view = &self.store.view;
        let Some(end) = known.end.filter(|_| self.options.stream_prefix.is_none()) else { return false };
        let is_accepted = |lost: &AcceptedRange| lost.start < end && lost.start.0 + lost.len > known.base.0;
        known.damage.is_none()
            && known.lost_head.is_none()
            && !view.set.accepted().iter().any(is_accepted)
            && view.finder.indexes.of(known).is_some()
    }

    /// What the index of a segment says of the types that are asked for; `None` where it says nothing that could be.
    fn by_index(&self, known: &Known) -> Option<Counts> {
        let indexes = &self.store.view.finder.indexes;
        let index = indexes.of(known)?;
        let mut counts = Counts::new();
        let (one, more) = (self.options.event_type, self.options.event_types);
        let is_any = one.is_none() && more.is_empty();
        let counted = types::each(&index.file, &index.head, |name, events| {
            if is_any || one == Some(name) || more.contains(&name) {
                add(&mut counts, name, events);
            }
        });
        if counted.is_err() {
            indexes.doubt(known.ordinal);
            return None;
        }
        Some(counts)
    }

    /// The same without events of the engine's own, where these are not asked for; `None` where they cannot all be read.
    fn without_engines(
        &mut self,
        mut counts: Counts,
        segment: Range<Position>,
        run_end: impl FnOnce() -> Position,
    ) -> Result<Option<Counts>> {
        if self.options.with_engine_streams {
            return Ok(Some(counts));
        }
        if self.engines.is_none() {
            let mut prefix = [0; 4];
            let options = self.options.stream_prefix(limits::RESERVED_NAME_PREFIX.encode_utf8(&mut prefix));
            let reader = self.reader(options, segment.start..run_end().min(self.all.end))?;
            self.engines = Some(Engines { reader, next: None, lost: None });
        }
        let engines = self.engines.as_mut().expect("it was just made");
        let mut is_more = true; // than the index counts
        while let Some(event_type) = engines.next_before(segment.end)? {
            match counts.get_mut(&*event_type).filter(|events| **events > 0) {
                Some(events) => *events -= 1,
                None => is_more = false,
            }
        }
        let is_lost = |lost: &Range<Position>| lost.start < segment.end && lost.end > segment.start;
        Ok((is_more && !engines.lost.as_ref().is_some_and(is_lost)).then_some(counts))
    }
}

/// Reads events of the engine's own.
struct Engines {
    reader: LogReader,
    /// The one that it stands at: its place and its type.
    next: Option<(Position, Box<str>)>,
    /// Among what was read some are lost.
    lost: Option<Range<Position>>,
}

impl Engines {
    /// The type of the next one that lies before `end`.
    fn next_before(&mut self, end: Position) -> Result<Option<Box<str>>> {
        while self.next.is_none() {
            match self.reader.next() {
                None => return Ok(None),
                Some(Ok(event)) => self.next = Some((event.position(), event.event_type().into())),
                Some(Err(error)) => {
                    let lost = damage_of(error)?.positions;
                    let start = self.lost.as_ref().map_or(lost.start, |before| before.start);
                    self.lost = Some(start..lost.end);
                }
            }
        }
        let is_before = |(position, _): &mut (Position, Box<str>)| *position < end;
        Ok(self.next.take_if(is_before).map(|(_, event_type)| event_type))
    }
}

fn add(counts: &mut Counts, name: &str, events: u64) {
    match counts.get_mut(name) {
        Some(count) => *count += events,
        None => {
            counts.insert(name.into(), events);
        }
    }
}

/// The damage that was met; any other error is one.
fn damage_of(error: Error) -> Result<Damage> {
    match error.damage() {
        Some(damage) => Ok(damage.clone()),
        None => Err(error),
    }
}
