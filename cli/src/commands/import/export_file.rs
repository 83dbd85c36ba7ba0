//! How does an export get back into the store?
//!
//! [`crate::import::take_back`] decides where each of its streams goes, by comparing; here the store is looked into and the
//! new events are appended: what was one batch is one batch again, of the same id and in the same order. Where that id
//! cannot be given a second time (a part of the batch is in this store already), the batch gets a fresh one: ids of
//! batches only serve retries, and whoever retries into this store has the id that is in it.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use treering::{
    Batch, BatchId, Durability, ErrorKind, Event, Expected, Fork, NewEvent, NewSnapshot, Revision, Snapshot, Store,
    Visibility,
};

use super::Run;
use super::log_file::{Trouble, from_start};
use super::report::{FileReport, Report, Result as FileResult};
use crate::event_json::{Back, SnapshotBack, TakenBack};
use crate::exit::Failure;
use crate::import::record::Format;
use crate::import::take_back::{self, Held, Standing, Target, Unusable};

/// Lines that name no batch are appended in batches of so many events.
const BATCH_EVENTS: usize = 256;
const BATCH_BYTES: usize = 256 << 10;

impl From<Unusable> for Trouble {
    fn from(unusable: Unusable) -> Trouble {
        Trouble::File(unusable.0)
    }
}

/// Imports an export and reports each of its streams.
pub(super) fn import(run: &Run<'_>, path: &Path, file: &File, report: &mut Report) -> Result<(), Trouble> {
    let store = run.store;
    let read = |each: &mut dyn FnMut(&crate::import::lines::Line) -> Result<(), Trouble>| {
        let mut lines = from_start(file)?;
        while let Some(line) = lines.next_line()? {
            each(&line)?;
        }
        Ok(())
    };
    let rename = |name: &str| match run.stream {
        Some(name) => name.to_owned(),
        None => format!("{}{name}", run.prefix),
    };
    let targets = take_back::plan(read, &InStore(store), rename)?;
    if run.stream.is_some() && targets.len() > 1 {
        return Err(Trouble::Run(Failure::Usage(format!(
            "{} holds {} streams, which cannot all be called the same; use --stream-prefix",
            path.display(),
            targets.len()
        ))));
    }
    let mut told: HashMap<&str, FileReport> = HashMap::new();
    for (name, target) in &targets {
        told.insert(name, told_at_first(path, target, &rename(name)));
    }
    let mut group = Group::default();
    let mut lines = from_start(file)?;
    while let Some(line) = lines.next_line()? {
        let changed = || Trouble::File(format!("line {}: the file changed while it was read", line.number));
        let event = match take_back::read(&line)? {
            Some(Back::Event(event)) => event,
            Some(Back::Fork(fork)) => {
                let target = targets.get(&fork.fork).ok_or_else(changed)?;
                let parent = targets.get(&fork.parent).ok_or_else(changed)?;
                if target.is_new_fork {
                    std::mem::take(&mut group).append(store)?;
                    let fork = Fork::new(&parent.name, &target.name).at(Revision(fork.revision));
                    let _forked = store.fork(&fork.durability(Durability::Written))?;
                }
                continue;
            }
            Some(Back::Snapshot(snapshot)) => {
                let target = targets.get(&snapshot.of).ok_or_else(changed)?;
                std::mem::take(&mut group).append(store)?;
                if put_beside(store, &target.name, &snapshot)?
                    && let Some(told) = told.get_mut(snapshot.of.as_str())
                {
                    told.result = if told.result == FileResult::Unchanged { FileResult::Grown } else { told.result };
                    told.events += snapshot.events.len() as u64;
                    told.bytes += snapshot.events.iter().map(|event| event.payload.len() as u64).sum::<u64>();
                }
                continue;
            }
            None => continue,
        };
        let target = targets.get(&event.stream).ok_or_else(changed)?;
        if target.first_new.is_none_or(|first| event.revision < first) {
            continue;
        }
        if let Some(told) = told.get_mut(event.stream.as_str()) {
            told.events += 1;
            told.bytes += event.payload.len() as u64;
        }
        if !group.takes(&event) {
            std::mem::take(&mut group).append(store)?;
        }
        group.push(&target.name, event);
    }
    group.append(store)?;
    let mut names: Vec<_> = targets.keys().collect();
    names.sort();
    for name in names {
        if let Some(told) = told.get(name.as_str()) {
            report.file(told)?;
        }
    }
    Ok(())
}

/// Makes a snapshot of a stream again, unless it is there; whether it was made.
fn put_beside(store: &Store, stream: &str, back: &SnapshotBack) -> Result<bool, Trouble> {
    let range = Revision(back.range[0])..Revision(back.range[1]);
    for there in store.snapshots(stream)?.into_iter().flatten() {
        let is_alike = there.range == range && *there.label == *back.label && *there.version == *back.version;
        if is_alike && has_events(store, &there, &back.events)? {
            return Ok(false);
        }
    }
    let events: Vec<NewEvent<'_>> = back.events.iter().map(as_new).collect();
    let new = NewSnapshot::new(stream, range, &back.label, &events).version(&back.version);
    let _made = store.snapshot(&new.durability(Durability::Written))?;
    Ok(true)
}

fn has_events(store: &Store, there: &Snapshot, events: &[TakenBack]) -> Result<bool, Trouble> {
    if there.events.end.get() - there.events.start.get() != events.len() as u64 {
        return Ok(false);
    }
    for (revision, event) in (there.events.start.get()..).zip(events) {
        let held = store.event(&there.stream, Revision(revision), Visibility::Committed)?;
        if !held.is_some_and(|held| is_same(&held, event)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn told_at_first(path: &Path, target: &Target, wanted: &str) -> FileReport {
    let mut told = FileReport::new(path, Some(Format::Treering));
    told.result = match target.first_new {
        _ if target.is_new_fork => FileResult::New,
        None => FileResult::Unchanged,
        Some(0) => FileResult::New,
        Some(_) => FileResult::Grown,
    };
    told.instead_of = (target.name != wanted).then(|| wanted.to_owned());
    told.stream = Some(target.name.clone());
    told
}

/// The store that is imported into.
struct InStore<'s>(&'s Store);

impl Held for InStore<'_> {
    type Error = Trouble;

    fn event(&self, stream: &str, event: &TakenBack) -> Result<Standing, Trouble> {
        stand(self.0, stream, event)
    }

    fn fork(&self, stream: &str, parent: &str, revision: u64) -> Result<Standing, Trouble> {
        let store = self.0;
        let Some(info) = store.stream(stream)? else { return Ok(Standing::Beyond) };
        if info.first.get() != revision + 1 || store.stream(parent)?.is_none() {
            return Ok(Standing::Other);
        }
        // By what both hold: in an export of some streams a fork may name the stream that has its history in its parent's place.
        let is_same = store.parting(stream, parent)?.shared_events() > revision;
        Ok(if is_same { Standing::Same } else { Standing::Other })
    }
}

fn stand(store: &Store, stream: &str, event: &TakenBack) -> Result<Standing, Trouble> {
    let Some(info) = store.stream(stream)? else { return Ok(Standing::Beyond) };
    if info.head.get() < event.revision {
        return Ok(Standing::Beyond);
    }
    let Some(held) = store.event(stream, Revision(event.revision), Visibility::Committed)? else {
        return Ok(Standing::Beyond);
    };
    Ok(if is_same(&held, event) { Standing::Same } else { Standing::Other })
}

fn is_same(held: &Event, event: &TakenBack) -> bool {
    held.payload == event.payload
        && held.metadata == event.metadata
        && *held.event_type == *event.event_type
        && held.id.as_deref() == event.id.as_deref()
        && held.recorded_at == event.recorded_at
        && held.occurred_at == event.occurred_at
}

/// Events that are appended together.
#[derive(Debug, Default)]
struct Group {
    batch: Option<String>,
    sections: Vec<Section>,
    /// Where in `sections` a stream is.
    places: HashMap<String, usize>,
    events: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Section {
    stream: String,
    expected: Expected,
    events: Vec<TakenBack>,
}

impl Group {
    /// Whether the event belongs to what is gathered so far.
    fn takes(&self, event: &TakenBack) -> bool {
        if self.events == 0 {
            return true;
        }
        if event.batch.is_some() || self.batch.is_some() {
            return event.batch == self.batch;
        }
        self.events < BATCH_EVENTS && self.bytes + event.payload.len() + event.metadata.len() <= BATCH_BYTES
    }

    fn push(&mut self, stream: &str, event: TakenBack) {
        self.bytes += event.payload.len() + event.metadata.len();
        self.events += 1;
        self.batch.clone_from(&event.batch);
        let place = self.places.get(stream).copied().unwrap_or_else(|| {
            let expected = match event.revision.checked_sub(1) {
                Some(head) => Expected::Exactly(Revision(head)),
                None => Expected::NoStream,
            };
            self.sections.push(Section { stream: stream.to_owned(), expected, events: Vec::new() });
            self.places.insert(stream.to_owned(), self.sections.len() - 1);
            self.sections.len() - 1
        });
        self.sections[place].events.push(event);
    }

    fn append(self, store: &Store) -> Result<(), Trouble> {
        if self.sections.is_empty() {
            return Ok(());
        }
        let events: Vec<Vec<NewEvent<'_>>> =
            self.sections.iter().map(|section| section.events.iter().map(as_new).collect()).collect();
        let append = |id: Option<BatchId>| {
            let batch = id.map_or_else(Batch::new, Batch::with_id).durability(Durability::Written);
            let sections = self.sections.iter().zip(&events);
            let batch = sections
                .fold(batch, |batch, (section, events)| batch.section(&section.stream, section.expected, events));
            store.append(&batch)
        };
        let id: Option<BatchId> = self.batch.as_deref().and_then(|id| id.parse().ok());
        if let Some(id) = id {
            match append(Some(id)) {
                Ok(_receipt) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
        let _receipt = append(None)?;
        Ok(())
    }
}

fn as_new(event: &TakenBack) -> NewEvent<'_> {
    let mut new =
        NewEvent::new(&event.event_type, &event.payload).metadata(&event.metadata).recorded_at(event.recorded_at);
    if let Some(id) = &event.id {
        new = new.id(id);
    }
    match event.occurred_at {
        Some(time) => new.occurred_at(time),
        None => new,
    }
}
