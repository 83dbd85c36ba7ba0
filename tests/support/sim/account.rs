//! What was appended and what was acknowledged, kept outside of the store; and what must be found again.
//!
//! Every entry of the account is stamped with the length of the trace when the append began and when it returned. So for any
//! moment of the trace it says which batches must be there, which may, and which positions somebody has seen.

use std::collections::BTreeMap;

use treering::{
    Batch, BatchId, Durability, Epoch, Error, ErrorKind, Expected, FencingToken, Fork, NewEvent, NewSnapshot, Receipt,
    Revision, Store, Visibility,
};

use super::check::Seen;
use super::loss::Loss;
use crate::store::noise;

/// A batch, or a fork, that can be made again: its number says all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its number, from which its id is made.
    pub number: u64,
    /// Streams and payloads; nothing in a fork.
    pub sections: Vec<(String, Vec<Vec<u8>>)>,
    /// The fork that it makes instead.
    pub fork: Option<Forking>,
    /// The snapshot that it is, or the cursor that it moves: then its section is of the engine's stream for it.
    pub beside: Option<Beside>,
    /// What its append waits for.
    pub level: Durability,
}

/// A fork to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forking {
    /// The stream that it leaves.
    pub parent: String,
    /// At this revision.
    pub revision: u64,
    /// Its name.
    pub name: String,
}

/// What stands beside a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// A snapshot of the revisions of a stream below `end`.
    #[allow(missing_docs)]
    Snapshot { source: String, end: u64 },
    /// The place of a cursor behind an event of a stream.
    #[allow(missing_docs)]
    Cursor { stream: String, revision: u64 },
    /// A fence: who appends has claimed the stream.
    #[allow(missing_docs)]
    Fence { stream: String, token: FencingToken },
}

impl Beside {
    /// The last event that must be there before it can be made.
    #[must_use]
    pub fn needs(&self) -> (&str, u64) {
        match self {
            Beside::Snapshot { source, end } => (source, end - 1),
            Beside::Cursor { stream, revision } => (stream, *revision),
            Beside::Fence { stream, .. } => (stream, 0),
        }
    }
}

/// The label of snapshots, and the name of the cursor.
const LABEL: &str = "sum";

impl Plan {
    /// One event of `len` bytes that depend on `number`, to one stream.
    #[must_use]
    pub fn one(number: u64, stream: &str, len: usize, level: Durability) -> Plan {
        Plan { number, sections: vec![(stream.into(), vec![noise(number, len)])], fork: None, beside: None, level }
    }

    /// A fork `name` of `parent`, whose last shared revision is `revision`.
    #[must_use]
    pub fn fork(number: u64, parent: &str, revision: u64, name: &str, level: Durability) -> Plan {
        let fork = Forking { parent: parent.into(), revision, name: name.into() };
        Plan { number, sections: Vec::new(), fork: Some(fork), beside: None, level }
    }

    /// A snapshot of the revisions of `source` below `end`, of as many events as there are payloads.
    ///
    /// # Panics
    /// Where there is no such stream.
    #[must_use]
    pub fn snapshot(number: u64, store: &Store, source: &str, end: u64, lens: &[usize], level: Durability) -> Plan {
        let id = store.stream(source).expect("the stream is looked up").expect("there is such a stream").id.0;
        let payloads = lens.iter().enumerate().map(|(at, len)| noise(number * 100 + at as u64, *len)).collect();
        let beside = Some(Beside::Snapshot { source: source.into(), end });
        Plan { number, sections: vec![(format!("$snapshot/{id:016x}/{LABEL}"), payloads)], fork: None, beside, level }
    }

    /// A move of the cursor behind an event.
    #[must_use]
    pub fn cursor(number: u64, stream: &str, revision: u64, level: Durability) -> Plan {
        let beside = Some(Beside::Cursor { stream: stream.into(), revision });
        Plan { number, sections: vec![(format!("$cursor/{LABEL}"), vec![Vec::new()])], fork: None, beside, level }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> BatchId {
        let mut id = [7; 16];
        id[..8].copy_from_slice(&self.number.to_le_bytes());
        BatchId(id)
    }

    /// How many events it has, a fork counted as one.
    #[must_use]
    pub fn events(&self) -> usize {
        self.sections.iter().map(|(_, payloads)| payloads.len()).sum::<usize>() + usize::from(self.fork.is_some())
    }

    /// Whether it is among what was found.
    #[must_use]
    pub fn is_among(&self, events: &[Seen]) -> bool {
        match &self.fork {
            Some(_) => events.iter().any(|seen| self.is(std::slice::from_ref(seen))),
            None => events.iter().any(|seen| seen.batch == self.id()),
        }
    }

    /// Appends it.
    ///
    /// # Errors
    /// What the append said.
    pub fn append(&self, store: &Store) -> Result<Receipt, Error> {
        if let Some(Forking { parent, revision, name }) = &self.fork {
            let fork = Fork::new(parent, name).at(Revision(*revision)).with_id(self.id()).durability(self.level);
            return store.fork(&fork).map(|forked| forked.receipt);
        }
        let events: Vec<Vec<NewEvent<'_>>> = self
            .sections
            .iter()
            .map(|(_, payloads)| payloads.iter().map(|payload| NewEvent::new("t", payload)).collect())
            .collect();
        match &self.beside {
            None | Some(Beside::Fence { .. }) => {}
            Some(Beside::Snapshot { source, end }) => {
                let new = NewSnapshot::new(source, Revision(0)..Revision(*end), LABEL, &events[0]);
                return store.snapshot(&new.with_id(self.id()).durability(self.level)).map(|made| made.receipt);
            }
            Some(Beside::Cursor { stream, revision }) => {
                let event = store.event(stream, Revision(*revision), Visibility::Committed)?;
                let token = event.expect("it was looked for before").token();
                let batch = Batch::with_id(self.id()).cursor(LABEL, &token, Expected::Any);
                return store.append(&batch.durability(self.level));
            }
        }
        let mut batch = Batch::with_id(self.id()).durability(self.level);
        if let Some(Beside::Fence { stream, token }) = &self.beside {
            batch = batch.fenced(stream, *token);
        }
        for ((stream, _), events) in self.sections.iter().zip(&events) {
            batch = batch.section(stream, Expected::Any, events);
        }
        store.append(&batch)
    }

    /// Whether these events are this batch: all of it, in order, byte for byte.
    #[must_use]
    pub fn is(&self, events: &[Seen]) -> bool {
        if let Some(Forking { parent, revision, name }) = &self.fork {
            return matches!(events, [Seen { leaves: Some(leaves), stream, revision: at, .. }]
                if leaves == parent && stream == name && at == revision);
        }
        let expected = self.sections.iter().flat_map(|(stream, payloads)| payloads.iter().map(move |p| (stream, p)));
        events.len() == self.events()
            && expected.zip(events).all(|((stream, payload), seen)| {
                seen.leaves.is_none() && seen.batch == self.id() && seen.stream == *stream && seen.payload == *payload
            })
    }
}

/// What became of an append.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Nobody knows: it did not return, or its effect is unknown.
    Unknown,
    /// It was refused, and must not be there.
    Refused,
    /// It was acknowledged.
    Acknowledged(Receipt),
}

/// One append.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What was appended.
    pub plan: Plan,
    /// Length of the trace with the first call of the append; 0 where it was there from the beginning.
    pub began: usize,
    /// Length of the trace after.
    pub ended: usize,
    /// What came of it.
    pub outcome: Outcome,
}

/// All appends, in the order in which they were made, and what was said about durability.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The appends.
    pub entries: Vec<Entry>,
    /// At this length of the trace the store said that it is durable up to this position.
    pub durable: Vec<(usize, u64)>,
    /// Positions and epochs that somebody has seen, of events that may be gone: stamp, end, epoch.
    pub seen: Vec<(usize, u64, Epoch)>,
    /// A stretch of the log that is lost from the beginning; its batches are no entries.
    pub loss: Option<Loss>,
    /// The claims of streams in the order in which they were made.
    pub claims: Vec<Claimed>,
}

/// A claim that is in the log, or was.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Length of the trace when its token was given.
    pub at: usize,
    /// Whose it is.
    pub stream: String,
    /// Its token.
    pub token: FencingToken,
}

impl Account {
    /// Appends, and writes down what came of it. A plan of a number that is known is a retry of the same batch.
    ///
    /// # Errors
    /// What the append said.
    pub fn append(&mut self, store: &Store, plan: Plan, now: impl Fn() -> usize) -> Result<Receipt, Error> {
        let began = now() + 1;
        let known = self.entries.iter().position(|entry| entry.plan.number == plan.number);
        let at = known.unwrap_or(self.entries.len());
        match known {
            Some(at) if matches!(self.entries[at].outcome, Outcome::Acknowledged(_)) => {}
            Some(at) => self.entries[at].outcome = Outcome::Unknown,
            None => {
                self.entries.push(Entry { plan: plan.clone(), began, ended: usize::MAX, outcome: Outcome::Unknown })
            }
        }
        let result = plan.append(store);
        let ended = now();
        match &result {
            Ok(receipt) => {
                let mut to = at;
                if !receipt.is_repeated && at + 1 < self.entries.len() {
                    let entry = self.entries.remove(at);
                    self.entries.push(entry);
                    to = self.entries.len() - 1;
                }
                self.seen.push((ended, receipt.end.0, receipt.epoch));
                self.entries[to].ended = ended;
                self.entries[to].outcome = Outcome::Acknowledged(receipt.clone());
            }
            Err(error) => {
                self.entries[at].ended = ended;
                self.entries[at].outcome = match error.kind() {
                    ErrorKind::NoSpace => Outcome::Refused,
                    _ => Outcome::Unknown,
                };
            }
        }
        self.durable.push((ended, store.watermarks().durable.0));
        result
    }

    /// The last revision of each stream that was acknowledged. A fork has that of its fork point.
    #[must_use]
    pub fn heads(&self) -> BTreeMap<String, u64> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| matches!(entry.outcome, Outcome::Acknowledged(_))) {
            if let Some(Forking { revision, name, .. }) = &entry.plan.fork {
                counts.insert(name.clone(), revision + 1);
            }
            for (stream, payloads) in &entry.plan.sections {
                *counts.entry(stream.clone()).or_default() += payloads.len() as u64;
            }
        }
        counts.into_iter().map(|(stream, count)| (stream, count - 1)).collect()
    }

    /// Writes down what an open store says of durability now.
    pub fn note(&mut self, store: &Store, now: usize) {
        self.durable.push((now, store.watermarks().durable.0));
    }

    /// Up to where the store said that it is durable before a moment.
    #[must_use]
    pub fn durable_at(&self, at: usize) -> u64 {
        self.durable.iter().filter(|(stamp, _)| *stamp <= at).map(|(_, durable)| *durable).max().unwrap_or(0)
    }

    /// The highest end and epoch that anybody had seen before a moment.
    #[must_use]
    pub fn seen_at(&self, at: usize) -> (u64, Option<Epoch>) {
        let seen = self.seen.iter().filter(|(stamp, ..)| *stamp <= at);
        seen.fold((0, None), |(end, epoch), seen| (end.max(seen.1), epoch.max(Some(seen.2))))
    }
}

/// How much must have survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Every acknowledged batch: only processes died.
    Acknowledged,
    /// Every Synced batch, and what the store called durable.
    Durable,
    /// As `Durable`; but where recycled blocks make a store that is not whole yet look like a lost one, nothing is made over it.
    DurableOnHostileDisk,
    /// Nothing: the disk lied. What is there must have been appended, and a gap must be reported.
    Nothing,
}

/// What must be found in a state that the trace passed through between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Oracle<'a> {
    /// The account of the whole trace.
    pub account: &'a Account,
    /// The first moment at which this state was possible: nothing later can be in it.
    pub first: usize,
    /// The last moment: everything demanded until then must be in it.
    pub last: usize,
    /// What is demanded.
    pub demand: Demand,
}

impl Oracle<'_> {
    /// Holds what was found against the account: which entries it is made of, and where they are.
    ///
    /// # Errors
    /// The promise that is broken, in words.
    pub fn hold(&self, events: &[Seen], is_damage_reported: bool) -> Result<Vec<(usize, u64)>, String> {
        if self.demand == Demand::Nothing && is_damage_reported {
            return self.hold_what_is_left(events);
        }
        let mut found = Vec::new();
        let mut rest = events;
        let mut gap: Option<usize> = None;
        let durable = self.account.durable_at(self.last);
        for (index, entry) in self.account.entries.iter().enumerate() {
            let len = entry.plan.events().min(rest.len());
            let name = || format!("batch {} (entry {index} of {})", entry.plan.number, self.account.entries.len());
            let is_there = len > 0 && entry.plan.is(&rest[..len]);
            if is_there {
                if let Some(gap) = gap {
                    return Err(format!("P1: {} is there, though entry {gap} before it is not", name()));
                }
                if entry.began > self.first {
                    return Err(format!("P3: {} is there before it was appended", name()));
                }
                match &entry.outcome {
                    Outcome::Refused if entry.ended <= self.first => {
                        return Err(format!("P9: {} is there, though it was refused", name()));
                    }
                    Outcome::Acknowledged(receipt)
                        if entry.ended <= self.last && receipt.position.0 != rest[0].position =>
                    {
                        let at = rest[0].position;
                        return Err(format!("P3: {} is at {at}, its receipt said {}", name(), receipt.position));
                    }
                    _ => {}
                }
                found.push((index, rest[0].position));
                rest = &rest[len..];
                continue;
            }
            if let Outcome::Acknowledged(receipt) = &entry.outcome {
                let is_known = entry.ended <= self.last;
                let is_demanded = match self.demand {
                    Demand::Acknowledged => is_known,
                    Demand::Durable | Demand::DurableOnHostileDisk => {
                        is_known && entry.plan.level == Durability::Synced || receipt.end.0 <= durable
                    }
                    Demand::Nothing => false,
                };
                if is_demanded {
                    return Err(format!("P1: {} is not there, though it was acknowledged: {receipt:?}", name()));
                }
                gap.get_or_insert(index);
            }
        }
        if let Some(event) = rest.first() {
            return Err(format!(
                "P2 or P3: event {} of {} in {:?} (position {}, batch {}) is of no batch that belongs there",
                events.len() - rest.len(),
                events.len(),
                event.stream,
                event.position,
                event.batch
            ));
        }
        Ok(found)
    }

    /// Where damage is reported any event may be missing, and a stream may have lost its name, but what is there was
    /// appended, and is in order.
    fn hold_what_is_left(&self, events: &[Seen]) -> Result<Vec<(usize, u64)>, String> {
        let mut rest = events;
        let is_name = |seen: &str, name: &str| seen == name || seen.starts_with('$');
        for entry in self.account.entries.iter().filter(|entry| entry.began <= self.first) {
            if let (Some(Forking { parent, revision, name }), Some(seen)) = (&entry.plan.fork, rest.first())
                && seen.leaves.as_ref().is_some_and(|leaves| is_name(leaves, parent))
                && is_name(&seen.stream, name)
                && seen.revision == *revision
            {
                rest = &rest[1..];
            }
            for (stream, payloads) in &entry.plan.sections {
                for payload in payloads {
                    let is_it = |seen: &&Seen| {
                        let is_it = seen.leaves.is_none() && seen.batch == entry.plan.id();
                        is_it && is_name(&seen.stream, stream) && seen.payload == *payload
                    };
                    if rest.first().filter(is_it).is_some() {
                        rest = &rest[1..];
                    }
                }
            }
        }
        match rest.first() {
            None => Ok(Vec::new()),
            Some(event) => Err(format!("P3: {event:?} is of no batch that belongs there")),
        }
    }
}
