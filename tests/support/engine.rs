//! The engine as a [`Target`]: each call translated, nothing added.

use std::sync::Arc;

use treering::storage::Storage;
use treering::{
    Batch, BatchId, Durability, ErrorKind, Event, Expected, Fork, NewEvent, Options, Position, ReadAllOptions,
    ReadOptions, Revision, Store, Visibility,
};

use crate::model::{self, Appended, Forked, Query, SectionReceipt, Seen};
use crate::run::{Failure, Target};

/// An open store and what it takes to open it again.
#[derive(Debug)]
pub struct Engine {
    storage: Arc<dyn Storage>,
    options: Options,
    store: Option<Store>,
    works: bool,
    /// Answers for it, but for what is durable, of which it hears later.
    reader: Option<Store>,
}

impl Engine {
    /// Opens (and makes) a store on `storage`.
    ///
    /// # Errors
    /// What opening said.
    pub fn open(storage: Arc<dyn Storage>, options: Options) -> Result<Engine, Failure> {
        let store = Store::open_on(Arc::clone(&storage), options.clone()).map_err(|error| error.to_string())?;
        Ok(Engine { storage, options, store: Some(store), works: false, reader: None })
    }

    /// As [`open`](Self::open), without threads in the background: what they would do is done behind each append.
    ///
    /// # Errors
    /// What opening said.
    pub fn without_threads(storage: Arc<dyn Storage>, options: Options) -> Result<Engine, Failure> {
        let engine = Engine::open(storage, options.background_threads(false))?;
        Ok(Engine { works: true, ..engine })
    }

    /// As [`without_threads`](Self::without_threads); what is asked is answered by one that only reads, and is not opened again.
    ///
    /// # Errors
    /// What opening said.
    pub fn read_beside(storage: Arc<dyn Storage>, options: Options) -> Result<Engine, Failure> {
        let engine = Engine::without_threads(storage, options)?;
        let reader = Store::open_read_only_on(Arc::clone(&engine.storage), engine.options.clone());
        Ok(Engine { reader: Some(reader.map_err(|error| error.to_string())?), ..engine })
    }

    /// Who is asked.
    fn asked(&self, durable: bool) -> Result<&Store, Failure> {
        let Some(reader) = self.reader.as_ref().filter(|_| !durable) else { return Ok(self.store()) };
        reader.refresh().map_err(|error| error.to_string())?;
        Ok(reader)
    }

    /// The open store.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open between calls")
    }
}

/// An event of the engine as the model compares it.
#[must_use]
pub fn seen(event: Event) -> Seen {
    Seen {
        revision: event.revision.0,
        position: event.position.0,
        global_number: event.global_number,
        batch: event.batch.0,
        recorded_at: event.recorded_at,
        stream: event.stream,
        id: event.id,
        event_type: event.event_type,
        occurred_at: event.occurred_at,
        metadata: event.metadata,
        payload: event.payload,
    }
}

/// The engine's form of the model's event.
#[must_use]
pub fn new_event(event: &model::Event) -> NewEvent<'_> {
    let mut new = NewEvent::new(&event.event_type, &event.payload).metadata(&event.metadata);
    if let Some(id) = &event.id {
        new = new.id(id);
    }
    if let Some(at) = event.occurred_at {
        new = new.occurred_at(at);
    }
    if let Some(at) = event.recorded_at {
        new = new.recorded_at(at);
    }
    new
}

fn visibility(durable: bool) -> Visibility {
    if durable { Visibility::Durable } else { Visibility::Committed }
}

impl Target for Engine {
    fn append(&mut self, batch: &model::Batch) -> Result<Appended, Failure> {
        let events: Vec<Vec<NewEvent<'_>>> =
            batch.sections.iter().map(|section| section.events.iter().map(new_event).collect()).collect();
        let mut new = batch.id.map_or_else(Batch::new, |id| Batch::with_id(BatchId(id)));
        for (section, events) in batch.sections.iter().zip(&events) {
            let expected = match section.expected {
                model::Expected::Any => Expected::Any,
                model::Expected::NoStream => Expected::NoStream,
                model::Expected::Exists => Expected::Exists,
                model::Expected::Exactly(revision) => Expected::Exactly(Revision(revision)),
            };
            new = new.section(&section.stream, expected, events);
        }
        let level = if batch.synced { Durability::Synced } else { Durability::Written };
        let appended = self.store().append(&new.durability(level));
        if self.works {
            self.store().work_in_background().map_err(|error| error.to_string())?;
        }
        match appended {
            Ok(receipt) => Ok(Appended::Receipt(model::Receipt {
                batch: receipt.batch.0,
                incarnation: receipt.incarnation.0,
                epoch: (receipt.epoch.segment.0, receipt.epoch.takeover),
                position: receipt.position.0,
                end: receipt.end.0,
                synced: receipt.level == Durability::Synced,
                repeated: receipt.is_repeated,
                sections: receipt
                    .sections
                    .iter()
                    .map(|section| SectionReceipt {
                        stream: section.stream.to_string(),
                        first_revision: section.first_revision.0,
                        last_revision: section.last_revision.0,
                        first_position: section.first_position.0,
                    })
                    .collect(),
            })),
            Err(error) => match (error.kind(), error.conflict()) {
                (ErrorKind::Limit | ErrorKind::Invalid, _) => Ok(Appended::Refused),
                (ErrorKind::Conflict, Some(conflict)) => Ok(Appended::Conflict {
                    stream: conflict.stream.clone(),
                    actual: conflict.actual.map(Revision::get),
                }),
                _ => Err(error.to_string()),
            },
        }
    }

    fn fork(&mut self, parent: &str, revision: Option<u64>, name: &str) -> Result<Forked, Failure> {
        let mut fork = Fork::new(parent, name).durability(Durability::Synced);
        if let Some(revision) = revision {
            fork = fork.at(Revision(revision));
        }
        match self.store().fork(&fork) {
            Ok(forked) if forked.receipt.level == Durability::Synced => Ok(Forked::At(forked.revision.0)),
            Ok(forked) => Err(format!("a fork is not durable: {forked:?}")),
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Ok(Forked::NotFound),
                ErrorKind::Conflict => Ok(Forked::Conflict),
                ErrorKind::Limit | ErrorKind::Invalid => Ok(Forked::Refused),
                _ => Err(error.to_string()),
            },
        }
    }

    fn read_stream(&mut self, stream: &str, query: Query, durable: bool) -> Result<Option<Vec<Seen>>, Failure> {
        let mut options = ReadOptions::new().visibility(visibility(durable));
        if let Some(from) = query.from {
            options = options.from(Revision(from));
        }
        if let Some(to) = query.to {
            options = options.to(Revision(to));
        }
        if let Some(last) = query.last {
            options = options.last(last);
        }
        if query.backwards {
            options = options.backwards();
        }
        let mut reader = match self.asked(durable)?.read_stream(stream, options) {
            Ok(reader) => reader,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut found = Vec::new();
        while let Some(event) = reader.next() {
            found.push(seen(event.map_err(|error| error.to_string())?.hold()));
        }
        Ok(Some(found))
    }

    fn read_all(&mut self, from: u64, durable: bool) -> Result<Vec<Seen>, Failure> {
        let options = ReadAllOptions::new().from(Position(from)).visibility(visibility(durable));
        let mut reader = self.asked(durable)?.read_all(options).map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        while let Some(event) = reader.next() {
            found.push(seen(event.map_err(|error| error.to_string())?.hold()));
        }
        Ok(found)
    }

    fn event(&mut self, stream: &str, revision: u64, durable: bool) -> Result<Option<Seen>, Failure> {
        let event = self
            .asked(durable)?
            .event(stream, Revision(revision), visibility(durable))
            .map_err(|error| error.to_string())?;
        Ok(event.map(seen))
    }

    fn streams(&mut self) -> Result<Vec<(String, Option<u64>)>, Failure> {
        Ok(self
            .asked(false)?
            .streams()
            .map_err(|error| error.to_string())?
            .iter()
            .map(|stream| (stream.name.to_string(), Some(stream.head.0)))
            .collect())
    }

    fn sync(&mut self) -> Result<u64, Failure> {
        self.store().sync().map(Position::get).map_err(|error| error.to_string())
    }

    fn watermarks(&mut self) -> Result<(u64, u64), Failure> {
        let marks = self.store().watermarks();
        Ok((marks.committed.0, marks.durable.0))
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        let store = self.store.take().expect("it is open between calls");
        store.close().map_err(|error| format!("closing: {error}"))?;
        let opened = Store::open_on(Arc::clone(&self.storage), self.options.clone());
        self.store = Some(opened.map_err(|error| format!("opening: {error}"))?);
        Ok(())
    }
}
