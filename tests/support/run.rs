//! Runs a workload on a store and on the model at once, and says at the first difference what it was.
//!
//! The question it answers: does this store answer as the model does? A store comes as a [`Target`], which is a thin
//! translation of the public API into plain types; see there for what each call stands for.
//!
//! What is compared beyond equal events: positions rise over the whole log and are those of the receipts; a retry gets
//! the first receipt; epochs never fall and the incarnation stays; a Synced receipt is below the durable watermark;
//! what is seen as durable is a prefix of the log that ends with a batch, holds every Synced append, and never shrinks.

use crate::model::{Appended, Batch, Forked, Model, Prediction, Query, Receipt, Seen};
use crate::workload::Op;

/// Why a run stopped: a difference from the model, or an error that no call of the workload may meet, in words.
pub type Failure = String;

/// A store under test.
///
/// Every method stands for the call of the same name in the public API. `Err` is for errors that the workload does not
/// expect, and fails the run; refusals and conflicts are values of [`Appended`].
pub trait Target {
    /// Appends, waiting for the batch's level. `ErrorKind::Limit` and `ErrorKind::Invalid` are [`Appended::Refused`].
    fn append(&mut self, batch: &Batch) -> Result<Appended, Failure>;
    /// Forks a stream and waits until that is durable.
    fn fork(&mut self, parent: &str, revision: Option<u64>, name: &str) -> Result<Forked, Failure>;
    /// `None` where there is no such stream (`ErrorKind::NotFound`). `durable` chooses the visibility.
    fn read_stream(&mut self, stream: &str, query: Query, durable: bool) -> Result<Option<Vec<Seen>>, Failure>;
    /// All events with a position of at least `from`.
    fn read_all(&mut self, from: u64, durable: bool) -> Result<Vec<Seen>, Failure>;
    /// Point read; `None` where there is no such stream or event.
    fn event(&mut self, stream: &str, revision: u64, durable: bool) -> Result<Option<Seen>, Failure>;
    /// Name and head of every stream, in order of creation.
    fn streams(&mut self) -> Result<Vec<(String, Option<u64>)>, Failure>;
    /// Makes everything durable; returns up to where.
    fn sync(&mut self) -> Result<u64, Failure>;
    /// The watermarks: committed, durable.
    fn watermarks(&mut self) -> Result<(u64, u64), Failure>;
    /// Closes and opens again.
    fn reopen(&mut self) -> Result<(), Failure>;
}

/// Runs all of `ops`, then compares everything once more, before and after a last clean reopening.
///
/// # Errors
///
/// The first difference, with the number of the operation and the operation itself.
pub fn run(ops: &[Op], target: &mut impl Target) -> Result<Model, Failure> {
    let mut runner = Runner { model: Model::new(), target, durable_events: 0, durable: 0 };
    for (number, op) in ops.iter().enumerate() {
        runner.step(op).map_err(|failure| format!("operation {number} of {}: {failure}\nit was {op:?}", ops.len()))?;
    }
    runner.compare_all().map_err(|failure| format!("at the end: {failure}"))?;
    runner.reopen().and_then(|()| runner.compare_all()).map_err(|failure| format!("after reopening: {failure}"))?;
    Ok(runner.model)
}

struct Runner<'t, T> {
    model: Model,
    target: &'t mut T,
    /// So many events are known to be durable.
    durable_events: u64,
    /// The highest durable watermark seen.
    durable: u64,
}

impl<T: Target> Runner<'_, T> {
    fn step(&mut self, op: &Op) -> Result<(), Failure> {
        match op {
            Op::Append(append) => self.append(&append.resolve(&self.model)),
            Op::Retry(retry) => retry.resolve(&self.model).map_or(Ok(()), |batch| self.append(&batch)),
            Op::Malformed(malformed) => self.append(&malformed.batch()),
            Op::Fork(fork) => {
                let parent = fork.parent.name();
                self.fork(&parent, fork.at.resolve(self.model.head(&parent)), &fork.name.name())
            }
            Op::Sync => self.sync(),
            Op::Reopen => self.reopen(),
            Op::ReadStream { stream, query, durable } => self.read_stream(&stream.name(), *query, *durable),
            Op::ReadAll { from_event, beside, durable } => {
                let events = self.model.events_count();
                let from = self.model.position_of(u64::from(*from_event) % (events + 1)).unwrap_or(self.model.end());
                self.read_all(from.saturating_add_signed(i64::from(*beside)), *durable)
            }
            Op::Point { stream, revision, durable } => self.point(&stream.name(), *revision, *durable),
            Op::Streams => self.streams(),
        }
    }

    fn append(&mut self, batch: &Batch) -> Result<(), Failure> {
        let prediction = self.model.predict(batch);
        match (&prediction, self.target.append(batch)?) {
            (Prediction::Refused, Appended::Refused) => {}
            (Prediction::Conflict { or_refused: true, .. }, Appended::Refused) => {}
            (Prediction::Conflict { possible, .. }, Appended::Conflict { stream, actual })
                if possible.contains(&(stream.clone(), actual)) => {}
            (Prediction::Repeat(first), Appended::Receipt(receipt)) => {
                // The level may have risen since.
                let expected = Receipt { synced: receipt.synced, ..first.clone() };
                if receipt != expected {
                    return Err(format!("a retry got {receipt:?}, the first receipt was {expected:?}"));
                }
                self.check_level(batch, &receipt)?;
                if receipt.synced {
                    let end = self.model.batch_ends().zip(0..).find(|&(_, n)| {
                        n > 0 && self.model.committed(n - 1).is_some_and(|(_, r)| r.position == receipt.position)
                    });
                    self.durable_events = self.durable_events.max(end.map_or(0, |(events, _)| events));
                }
            }
            (Prediction::Append(sections), Appended::Receipt(receipt)) => {
                self.check_receipt(batch, sections, &receipt)?;
                self.check_level(batch, &receipt)?;
                self.model.commit(batch, &receipt);
                if receipt.synced {
                    self.durable_events = self.model.events_count();
                }
            }
            (_, outcome) => return Err(format!("an append returned {outcome:?}, expected {prediction:?}")),
        }
        self.watermarks()
    }

    fn fork(&mut self, parent: &str, revision: Option<u64>, name: &str) -> Result<(), Failure> {
        let expected = self.model.predict_fork(parent, revision, name);
        let found = self.target.fork(parent, revision, name)?;
        if found != expected {
            return Err(format!("forking {parent:.20?} at {revision:?} came to {found:?}, expected {expected:?}"));
        }
        if let Forked::At(revision) = expected {
            self.model.fork(parent, revision, name);
            self.durable_events = self.model.events_count();
        }
        self.watermarks()
    }

    fn check_level(&mut self, batch: &Batch, receipt: &Receipt) -> Result<(), Failure> {
        if batch.synced && !receipt.synced {
            return Err(format!("asked for Synced, got Written: {receipt:?}"));
        }
        let (committed, durable) = self.target.watermarks()?;
        if committed < receipt.end || (receipt.synced && durable < receipt.end) {
            return Err(format!("watermarks {committed}, {durable} do not cover {receipt:?}"));
        }
        Ok(())
    }

    fn check_receipt(&self, batch: &Batch, sections: &[(String, u64, u64)], receipt: &Receipt) -> Result<(), Failure> {
        let wrong = |what: &str| Err(format!("{what}: {receipt:?}, expected sections {sections:?}"));
        let found: Vec<_> =
            receipt.sections.iter().map(|s| (s.stream.clone(), s.first_revision, s.last_revision)).collect();
        if found != sections {
            return wrong("sections");
        }
        let mut position = receipt.position;
        for (section, place) in batch.sections.iter().zip(&receipt.sections) {
            if place.first_position != position {
                return wrong("positions do not follow each other");
            }
            position += section.events.len() as u64;
        }
        if receipt.position < self.model.end().max(1) || receipt.end < position {
            return wrong("the frame's place");
        }
        if receipt.repeated {
            return wrong("called a retry");
        }
        if batch.id.is_some_and(|id| id != receipt.batch) {
            return wrong("another batch id than the given one");
        }
        if let Some((_, before)) = self.model.batches_count().checked_sub(1).and_then(|n| self.model.committed(n)) {
            if receipt.epoch < before.epoch {
                return wrong("the epoch fell");
            }
            if receipt.incarnation != before.incarnation {
                return wrong("another incarnation");
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        let durable = self.target.sync()?;
        if durable < self.model.end() {
            return Err(format!("synced up to {durable} only, the log ends at {}", self.model.end()));
        }
        self.durable_events = self.model.events_count();
        self.watermarks()
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        self.target.reopen()?;
        self.durable_events = self.model.events_count();
        self.watermarks()?;
        if self.durable < self.model.end() {
            return Err(format!(
                "after a clean close durable is {}, the log ends at {}",
                self.durable,
                self.model.end()
            ));
        }
        Ok(())
    }

    fn watermarks(&mut self) -> Result<(), Failure> {
        let (committed, durable) = self.target.watermarks()?;
        if committed < durable || committed < self.model.end() || durable < self.durable {
            return Err(format!(
                "watermarks: committed {committed}, durable {durable}; the log ends at {}, durable was {}",
                self.model.end(),
                self.durable
            ));
        }
        self.durable = durable;
        Ok(())
    }

    /// Compares events with those of the model that have these global numbers.
    fn same(&mut self, expected: &[usize], found: &[Seen]) -> Result<(), Failure> {
        let difference = expected.iter().zip(found).find_map(|(&event, seen)| self.model.difference(event, seen));
        if let Some(difference) = difference {
            return Err(difference);
        }
        if expected.len() != found.len() {
            return Err(format!("expected {} events, found {}", expected.len(), found.len()));
        }
        self.model.learn(found);
        Ok(())
    }

    /// Holds `found` against the answer of every prefix of the log that a reader of durable events may see.
    fn same_as_a_durable_prefix(
        &mut self,
        found: &[Seen],
        answer: impl Fn(&Model, u64) -> Vec<usize>,
    ) -> Result<(), Failure> {
        // The watermark is read after the events, so it can only be higher than when they were shown.
        self.watermarks()?;
        if let Some(seen) = found.iter().find(|seen| seen.position >= self.durable) {
            return Err(format!("position {} was shown as durable, durable is {}", seen.position, self.durable));
        }
        let ends: Vec<u64> = self.model.batch_ends().filter(|&end| end >= self.durable_events).collect();
        let mut first_failure = None;
        for end in ends {
            let expected = answer(&self.model, end);
            match self.same(&expected, found) {
                Ok(()) => {
                    self.durable_events = end;
                    return Ok(());
                }
                Err(failure) => first_failure.get_or_insert(failure),
            };
        }
        Err(format!(
            "no prefix of at least {} events answers so; with the shortest: {}",
            self.durable_events,
            first_failure.unwrap_or_default()
        ))
    }

    fn read_stream(&mut self, stream: &str, query: Query, durable: bool) -> Result<(), Failure> {
        let found = self.target.read_stream(stream, query, durable)?;
        if durable {
            // A stream whose first event is not durable yet may be unknown or empty.
            let found = found.unwrap_or_default();
            return self.same_as_a_durable_prefix(&found, |model, end| {
                model.prefix(end).stream(stream, query).unwrap_or_default()
            });
        }
        match (self.model.all().stream(stream, query), found) {
            (None, None) => Ok(()),
            (Some(expected), Some(found)) => self.same(&expected, &found),
            (expected, found) => Err(format!(
                "stream {stream:.20?}: the model says it {}, the store that it {}",
                if expected.is_some() { "exists" } else { "does not exist" },
                if found.is_some() { "exists" } else { "does not" }
            )),
        }
    }

    fn read_all(&mut self, from: u64, durable: bool) -> Result<(), Failure> {
        let found = self.target.read_all(from, durable)?;
        if durable {
            return self.same_as_a_durable_prefix(&found, |model, end| model.prefix(end).from_position(from));
        }
        let expected = self.model.all().from_position(from);
        self.same(&expected, &found)
    }

    fn point(&mut self, stream: &str, revision: u64, durable: bool) -> Result<(), Failure> {
        let found: Vec<Seen> = self.target.event(stream, revision, durable)?.into_iter().collect();
        let answer = |model: &Model, end| model.prefix(end).event(stream, revision).into_iter().collect::<Vec<_>>();
        if durable {
            return self.same_as_a_durable_prefix(&found, answer);
        }
        let expected = answer(&self.model, u64::MAX);
        self.same(&expected, &found)
    }

    fn streams(&mut self) -> Result<(), Failure> {
        let expected: Vec<_> = self.model.streams().into_iter().map(|(name, head)| (name, Some(head))).collect();
        let found = self.target.streams()?;
        if expected != found {
            return Err(format!("streams: expected {expected:.30?}, found {found:.30?}"));
        }
        Ok(())
    }

    fn compare_all(&mut self) -> Result<(), Failure> {
        self.streams()?;
        self.read_all(0, false)?;
        self.read_all(0, true)?;
        for (name, _) in self.model.streams() {
            self.read_stream(&name, Query::default(), false)?;
            self.read_stream(&name, Query { backwards: true, ..Query::default() }, false)?;
        }
        Ok(())
    }
}
