//! The reference model judges the store, so it is judged here first: by hand where its answers are known, and by stores
//! that lie in one place each, every one of which the runner must catch.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use treering_tests::model::{
    Appended, Batch, Event, Expected, Forked, Model, Prediction, Query, Receipt, Section, SectionReceipt, Seen,
};
use treering_tests::run::Failure;
use treering_tests::workload::{MALFORMED, Op, Sizes, StreamName, operations};
use treering_tests::{Target, run};

/// One lie of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    DropsLastEventOfStream,
    ForgetsRetries,
    TakesOtherContentForARetry,
    IgnoresExpectations,
    ReportsAWrongHead,
    AcceptsMalformed,
    PayloadFlip,
    ForgetsOccurredAt,
    ForgetsId,
    RewritesTheClock,
    RepeatsAPosition,
    RevisionFromOne,
    BackwardsIsForwards,
    LastIsOneShort,
    EndIsExclusive,
    ShowsUndurable,
    SyncDoesNothing,
    LosesWrittenOnReopen,
    LosesTheDurableWatermark,
    SplitsABatch,
    StreamsInNameOrder,
    RetryGetsANewReceipt,
    EpochFalls,
    InventsAStream,
    ForksOneEarly,
    ForkSeesItsParentGrow,
}

const LIES: [Lie; 26] = [
    Lie::DropsLastEventOfStream,
    Lie::ForgetsRetries,
    Lie::TakesOtherContentForARetry,
    Lie::IgnoresExpectations,
    Lie::ReportsAWrongHead,
    Lie::AcceptsMalformed,
    Lie::PayloadFlip,
    Lie::ForgetsOccurredAt,
    Lie::ForgetsId,
    Lie::RewritesTheClock,
    Lie::RepeatsAPosition,
    Lie::RevisionFromOne,
    Lie::BackwardsIsForwards,
    Lie::LastIsOneShort,
    Lie::EndIsExclusive,
    Lie::ShowsUndurable,
    Lie::SyncDoesNothing,
    Lie::LosesWrittenOnReopen,
    Lie::LosesTheDurableWatermark,
    Lie::SplitsABatch,
    Lie::StreamsInNameOrder,
    Lie::RetryGetsANewReceipt,
    Lie::EpochFalls,
    Lie::InventsAStream,
    Lie::ForksOneEarly,
    Lie::ForkSeesItsParentGrow,
];

/// A store in a vector, written without the model: events in order, found by looking at all of them.
struct Plain {
    lie: Lie,
    log: Vec<Seen>,
    appends: Vec<(Batch, Receipt)>,
    /// Name, parent, and the last revision that it shares.
    forks: Vec<(String, String, u64)>,
    /// In the order of their making.
    streams: Vec<String>,
    durable_events: usize,
    end: u64,
    clock: i64,
    opened: u64,
}

impl Plain {
    fn new(lie: Lie) -> Plain {
        let (log, appends, forks, streams) = Default::default();
        Plain { lie, log, appends, forks, streams, durable_events: 0, end: 8_192, clock: 1_000, opened: 0 }
    }

    fn of<'a>(&'a self, log: &'a [Seen], stream: &str) -> Vec<&'a Seen> {
        let fork = self.forks.iter().find(|(name, ..)| name == stream);
        let mut all = fork.map_or(Vec::new(), |(_, parent, _)| self.of(log, parent));
        if let Some((.., revision)) = fork {
            let own = log.iter().any(|seen| *seen.stream == *stream);
            all.retain(|seen| seen.revision <= *revision || (self.lie == Lie::ForkSeesItsParentGrow && !own));
        }
        all.extend(log.iter().filter(|seen| *seen.stream == *stream));
        all
    }

    fn head(&self, stream: &str) -> Option<u64> {
        self.of(&self.log, stream).last().map(|seen| seen.revision)
    }

    fn visible(&self, durable: bool) -> &[Seen] {
        match (durable, self.lie) {
            (true, Lie::ShowsUndurable) | (false, _) => &self.log,
            (true, Lie::SplitsABatch) if self.durable_events > 1 => {
                let torn = self.appends.last().is_some_and(|(b, _)| b.sections[0].events.len() > 1);
                &self.log[..self.durable_events - usize::from(torn)]
            }
            (true, _) => &self.log[..self.durable_events],
        }
    }

    fn shown(&self, seen: &Seen) -> Seen {
        let mut seen = seen.clone();
        match self.lie {
            Lie::PayloadFlip if seen.payload.len() > 50 => {
                let mut flipped = seen.payload.to_vec();
                flipped[50] ^= 1;
                seen.payload = flipped.into();
            }
            Lie::ForgetsOccurredAt => seen.occurred_at = None,
            Lie::ForgetsId => seen.id = None,
            Lie::RewritesTheClock => seen.recorded_at ^= self.opened as i64,
            _ => {}
        }
        seen
    }
}

impl Target for Plain {
    fn append(&mut self, batch: &Batch) -> Result<Appended, Failure> {
        let first = batch.sections.first();
        let malformed = MALFORMED.iter().any(|malformed| malformed.batch() == *batch);
        if malformed && !(self.lie == Lie::AcceptsMalformed && first.is_some_and(|s| s.stream.starts_with('$'))) {
            return Ok(Appended::Refused);
        }
        let conflict = |store: &Plain, stream: &str| {
            let wrong = u64::from(store.lie == Lie::ReportsAWrongHead);
            let actual = store.head(stream).map(|head| head + wrong);
            Ok(Appended::Conflict { stream: stream.to_owned(), actual })
        };
        let earlier = self.appends.iter().find(|(earlier, _)| earlier.id.is_some() && earlier.id == batch.id);
        if let Some((earlier, receipt)) = earlier.filter(|_| self.lie != Lie::ForgetsRetries) {
            let content =
                |b: &Batch| b.sections.iter().map(|s| (s.stream.clone(), s.events.clone())).collect::<Vec<_>>();
            if content(earlier) != content(batch) && self.lie != Lie::TakesOtherContentForARetry {
                return conflict(self, &batch.sections[0].stream);
            }
            let mut receipt = Receipt { repeated: true, ..receipt.clone() };
            if batch.synced {
                self.sync()?;
                receipt.synced = true;
            }
            if self.lie == Lie::RetryGetsANewReceipt {
                receipt.position += 8;
            }
            return Ok(Appended::Receipt(receipt));
        }
        for section in &batch.sections {
            let head = self.head(&section.stream);
            let met = match section.expected {
                Expected::Any => true,
                Expected::NoStream => head.is_none(),
                Expected::Exists => head.is_some(),
                Expected::Exactly(n) => head == Some(n),
            };
            if !met && self.lie != Lie::IgnoresExpectations {
                return conflict(self, &section.stream);
            }
        }
        self.clock += 7;
        let position = if self.lie == Lie::RepeatsAPosition { self.end - 8 } else { self.end };
        let mut id = [0; 16];
        id[..8].copy_from_slice(&position.to_le_bytes());
        let id = batch.id.unwrap_or(id);
        let mut sections = Vec::new();
        let mut next = position;
        for section in &batch.sections {
            let first = self.head(&section.stream).map_or(u64::from(self.lie == Lie::RevisionFromOne), |head| head + 1);
            let last = first + section.events.len() as u64 - 1;
            sections.push(SectionReceipt {
                stream: section.stream.clone(),
                first_revision: first,
                last_revision: last,
                first_position: next,
            });
            if !self.streams.contains(&section.stream) {
                self.streams.push(section.stream.clone());
            }
            for (revision, event) in (first..).zip(&section.events) {
                let Event { event_type, id: event_id, occurred_at, recorded_at, metadata, payload } = event.clone();
                self.log.push(Seen {
                    stream: (*section.stream).into(),
                    revision,
                    position: next,
                    global_number: self.log.len() as u64,
                    batch: id,
                    recorded_at: recorded_at.unwrap_or(self.clock),
                    id: event_id.map(Into::into),
                    event_type: event_type.into(),
                    occurred_at,
                    metadata: metadata.into(),
                    payload: payload.into(),
                });
                next += 1;
            }
        }
        self.end = next.next_multiple_of(8) + 96;
        if batch.synced {
            self.durable_events = self.log.len();
        }
        let opened = if self.lie == Lie::EpochFalls { u64::MAX - self.opened } else { self.opened };
        let receipt = Receipt {
            batch: id,
            incarnation: [7; 16],
            epoch: (opened, 0),
            position,
            end: self.end,
            synced: batch.synced,
            repeated: false,
            sections,
        };
        self.appends.push((batch.clone(), receipt.clone()));
        Ok(Appended::Receipt(receipt))
    }

    fn fork(&mut self, parent: &str, revision: Option<u64>, name: &str) -> Result<Forked, Failure> {
        let Some(head) = self.head(parent).filter(|_| self.head(name).is_none()) else {
            return Ok(if self.head(name).is_some() { Forked::Conflict } else { Forked::NotFound });
        };
        let revision = revision.unwrap_or(head);
        if revision > head {
            return Ok(Forked::NotFound);
        }
        let early = u64::from(self.lie == Lie::ForksOneEarly && revision > 0);
        self.forks.push((name.into(), parent.into(), revision - early));
        self.streams.push(name.into());
        self.sync()?;
        Ok(Forked::At(revision))
    }

    fn read_stream(&mut self, stream: &str, query: Query, durable: bool) -> Result<Option<Vec<Seen>>, Failure> {
        let visible = self.visible(durable);
        let mut found: Vec<&Seen> = self.of(visible, stream);
        if found.is_empty() && self.lie != Lie::InventsAStream {
            return Ok(None);
        }
        if self.lie == Lie::DropsLastEventOfStream && found.len() > 3 {
            found.pop();
        }
        if let Some(last) = query.last {
            let last = last.saturating_sub(u64::from(self.lie == Lie::LastIsOneShort));
            while found.len() as u64 > last {
                found.remove(0);
            }
        }
        let exclusive = self.lie == Lie::EndIsExclusive;
        found.retain(|seen| {
            let (from, to) = (query.from, query.to.filter(|_| query.last.is_none()));
            let inside = |at: u64, end: u64| if exclusive { at < end } else { at <= end };
            match query.backwards {
                false => from.is_none_or(|from| seen.revision >= from) && to.is_none_or(|to| inside(seen.revision, to)),
                true => from.is_none_or(|from| seen.revision <= from) && to.is_none_or(|to| inside(to, seen.revision)),
            }
        });
        if query.backwards && self.lie != Lie::BackwardsIsForwards {
            found.reverse();
        }
        Ok(Some(found.into_iter().map(|seen| self.shown(seen)).collect()))
    }

    fn read_all(&mut self, from: u64, durable: bool) -> Result<Vec<Seen>, Failure> {
        let visible = self.visible(durable).iter().filter(|seen| seen.position >= from);
        Ok(visible.map(|seen| self.shown(seen)).collect())
    }

    fn event(&mut self, stream: &str, revision: u64, durable: bool) -> Result<Option<Seen>, Failure> {
        let there = self.of(self.visible(durable), stream);
        Ok(there.into_iter().find(|seen| seen.revision == revision).map(|seen| self.shown(seen)))
    }

    fn streams(&mut self) -> Result<Vec<(String, Option<u64>)>, Failure> {
        let there = self.streams.iter().map(|name| (name.clone(), self.head(name)));
        let mut streams: Vec<_> = there.filter(|(_, head)| head.is_some()).collect();
        if self.lie == Lie::StreamsInNameOrder {
            streams.sort();
        }
        Ok(streams)
    }

    fn sync(&mut self) -> Result<u64, Failure> {
        if self.lie != Lie::SyncDoesNothing {
            self.durable_events = self.log.len();
        }
        Ok(self.end)
    }

    fn watermarks(&mut self) -> Result<(u64, u64), Failure> {
        let durable_frames = self.appends.iter().rev().find(|(_, receipt)| {
            let last = receipt.sections.iter().map(|s| s.first_position).max().unwrap_or(0);
            self.log[..self.durable_events].iter().any(|seen| seen.position >= last)
        });
        let durable = durable_frames.map_or(0, |(_, receipt)| receipt.end);
        let lost = self.lie == Lie::LosesTheDurableWatermark && self.opened > 0;
        Ok((self.end, if lost { durable / 2 } else { durable }))
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        self.opened += 1;
        if self.lie == Lie::LosesWrittenOnReopen {
            self.log.truncate(self.durable_events);
        }
        self.durable_events = self.log.len();
        Ok(())
    }
}

/// The same workloads on every run: this judges the judge, it does not search.
fn workloads(count: usize) -> impl Iterator<Item = Vec<Op>> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[42; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = operations(40, Sizes { small_bytes: 80, large_bytes: 200, events: 20 });
    (0..count).map(move |_| strategy.new_tree(&mut runner).expect("no filters").current())
}

#[test]
fn an_honest_store_passes_and_the_workloads_reach_everything() {
    let (mut repeats, mut conflicts, mut batches, mut wide, mut long) = (0, 0, 0, 0, 0);
    for ops in workloads(400) {
        let mut store = Plain::new(Lie::None);
        let model = run(&ops, &mut store).unwrap_or_else(|failure| panic!("{failure}"));
        batches += model.batches_count();
        for (batch, _) in (0..model.batches_count()).filter_map(|n| model.committed(n)) {
            wide += usize::from(batch.sections.len() > 1);
            long += usize::from(batch.sections.iter().any(|section| section.events.len() > 16));
        }
        for op in &ops {
            let Op::Retry(retry) = op else { continue };
            match retry.resolve(&model).map(|batch| model.predict(&batch)) {
                Some(Prediction::Repeat(_)) => repeats += 1,
                Some(Prediction::Conflict { .. }) => conflicts += 1,
                _ => {}
            }
        }
    }
    let seen = [repeats, conflicts, batches, wide, long];
    assert!(seen.iter().all(|&count| count >= 30), "too little of something: {seen:?}");
}

#[test]
fn every_lie_is_caught() {
    let workloads: Vec<_> = workloads(150).collect();
    for lie in LIES {
        let caught = workloads.iter().filter(|ops| run(ops, &mut Plain::new(lie)).is_err()).count();
        assert!(caught > 0, "{lie:?} was never caught");
    }
}

fn event(payload: &str) -> Event {
    Event { event_type: "message".into(), payload: payload.into(), ..Event::default() }
}

fn batch(id: Option<u8>, stream: &str, expected: Expected, payloads: &[&str]) -> Batch {
    let events = payloads.iter().map(|payload| event(payload)).collect();
    let sections = vec![Section { stream: stream.into(), expected, events }];
    Batch { id: id.map(|id| [id; 16]), synced: true, sections }
}

/// Appends to the model alone; every frame is 100 long.
fn commit(model: &mut Model, batch: &Batch) {
    let Prediction::Append(places) = model.predict(batch) else { panic!("{batch:?} is not appended") };
    let position = model.end().max(8_192);
    let mut next = position;
    let sections = places.into_iter().map(|(stream, first_revision, last_revision)| {
        let first_position = next;
        next += last_revision - first_revision + 1;
        SectionReceipt { stream, first_revision, last_revision, first_position }
    });
    let receipt = Receipt {
        batch: batch.id.unwrap_or([0xEE; 16]),
        incarnation: [7; 16],
        epoch: (0, 0),
        position,
        end: position + 100,
        synced: true,
        repeated: false,
        sections: sections.collect(),
    };
    model.commit(batch, &receipt);
}

#[test]
fn expectations_are_met_by_the_head_alone() {
    let mut model = Model::new();
    let conflict = |actual| Prediction::Conflict { possible: vec![("s".into(), actual)], or_refused: false };
    let appended = |first, last| Prediction::Append(vec![("s".into(), first, last)]);
    let predict = |model: &Model, expected| model.predict(&batch(None, "s", expected, &["x", "y"]));

    assert_eq!(predict(&model, Expected::Any), appended(0, 1));
    assert_eq!(predict(&model, Expected::NoStream), appended(0, 1));
    assert_eq!(predict(&model, Expected::Exists), conflict(None));
    assert_eq!(predict(&model, Expected::Exactly(0)), conflict(None));
    commit(&mut model, &batch(None, "s", Expected::Any, &["a", "b"]));
    assert_eq!(predict(&model, Expected::Any), appended(2, 3));
    assert_eq!(predict(&model, Expected::NoStream), conflict(Some(1)));
    assert_eq!(predict(&model, Expected::Exists), appended(2, 3));
    assert_eq!(predict(&model, Expected::Exactly(0)), conflict(Some(1)));
    assert_eq!(predict(&model, Expected::Exactly(1)), appended(2, 3));
    assert_eq!(predict(&model, Expected::Exactly(2)), conflict(Some(1)));
    let Prediction::Conflict { or_refused, .. } = predict(&model, Expected::Exactly(u64::MAX)) else { panic!() };
    assert!(or_refused, "a number that is no revision may be refused as such");
}

#[test]
fn a_retry_is_recognised_by_owner_or_within_the_window() {
    let exact = batch(Some(1), "s", Expected::NoStream, &["a"]);
    let any = batch(Some(2), "s", Expected::Any, &["b"]);
    let mut model = Model::with_window(2);
    commit(&mut model, &exact);
    commit(&mut model, &any);
    assert!(
        matches!(model.predict(&exact), Prediction::Repeat(receipt) if receipt.position == 8_192 && receipt.repeated)
    );
    assert!(matches!(model.predict(&any), Prediction::Repeat(receipt) if receipt.position == 8_292));
    let other = batch(Some(2), "s", Expected::Any, &["c"]);
    assert!(matches!(model.predict(&other), Prediction::Conflict { .. }), "same id, other content");

    commit(&mut model, &batch(None, "s", Expected::Any, &["no id: takes no place in the window"]));
    assert!(matches!(model.predict(&any), Prediction::Repeat(_)));
    commit(&mut model, &batch(Some(3), "s", Expected::Any, &["c"]));
    commit(&mut model, &batch(Some(4), "s", Expected::Any, &["d"]));
    assert!(matches!(model.predict(&any), Prediction::Append(_)), "fell out of the window");
    assert!(matches!(model.predict(&exact), Prediction::Repeat(_)), "the owner of revision 0 is known for ever");
}

#[test]
fn everything_malformed_is_refused_and_its_neighbour_at_the_limit_is_not() {
    let model = Model::new();
    for malformed in MALFORMED {
        assert_eq!(model.predict(&malformed.batch()), Prediction::Refused, "{malformed:?}");
    }
    let mut longest = batch(None, &"n".repeat(1_024), Expected::Any, &[""]);
    longest.sections[0].events[0].event_type = "t".repeat(255);
    longest.sections[0].events[0].id = Some("i".repeat(255));
    assert!(matches!(model.predict(&longest), Prediction::Append(_)));
}

#[test]
fn queries_choose_by_revision_and_order() {
    let mut model = Model::new();
    commit(&mut model, &batch(None, "s", Expected::Any, &["0", "1"]));
    commit(&mut model, &batch(None, "t", Expected::Any, &["0"]));
    commit(&mut model, &batch(None, "s", Expected::Any, &["2", "3"]));
    let ask = |events, from, to, last, backwards| {
        model.prefix(events).stream("s", Query { from, to, last, backwards }).unwrap_or_else(|| vec![99])
    };
    assert_eq!(ask(5, None, None, None, false), [0, 1, 3, 4]);
    assert_eq!(ask(5, Some(1), Some(2), None, false), [1, 3]);
    assert_eq!(ask(5, Some(2), Some(1), None, true), [3, 1]);
    assert_eq!(ask(5, Some(2), Some(1), None, false), [0; 0]);
    assert_eq!(ask(5, None, None, Some(3), false), [1, 3, 4]);
    assert_eq!(ask(5, None, None, Some(2), true), [4, 3]);
    assert_eq!(ask(5, Some(u64::MAX), None, None, true), [4, 3, 1, 0]);
    assert_eq!(ask(3, None, None, Some(3), false), [0, 1], "only the prefix counts");
    assert_eq!(ask(0, None, None, None, false), [99], "no stream before its first event");
    assert_eq!(model.all().from_position(8_193), [1, 2, 3, 4]);
    assert_eq!(model.all().event("s", 2), Some(3));
    assert_eq!(model.prefix(3).event("s", 2), None);
    assert_eq!(model.batch_ends().collect::<Vec<_>>(), [0, 2, 3, 5]);
    assert_eq!(model.streams(), [("s".into(), 3), ("t".into(), 0)]);
    assert_eq!(model.head(&StreamName(0).name()), None);
}
