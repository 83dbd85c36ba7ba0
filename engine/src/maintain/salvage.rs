//! Salvage: everything of a store that proves itself, copied into a new one.
//!
//! For a store that does not open, or that nobody wants to go on with. The old store is only read: no byte of it changes, no
//! lock is taken. Its frames are walked in the order of the log, past everything that is lost; each event that proves itself is
//! appended to the new store with all that it says of itself: stream, id, type, both times, metadata, payload, and the batch
//! it came in.
//!
//! What does not come over as it was: *positions*, which are places in a log; *revisions* behind a loss, since a stream of the
//! new store is dense from 0 (the report maps the old ones to the new, range by range); *names* that are lost (such a stream is
//! called `unnamed-` and its old id); the lineage of forks, whose own events become a stream.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::report::Progress;
use super::verify::Ledger;
use super::verify::files;
use crate::append::{Batch, Expected, NewEvent};
use crate::commit::writer::Writer;
use crate::error::Damage;
use crate::ids::{BatchId, FilePlace, Position, Revision, StreamId};
use crate::options::{Durability, Options};
use crate::read::{Event, LogReader, ReadAllOptions};
use crate::recovery::open;
use crate::storage::Storage;
use crate::storage::os::OsStorage;
use crate::watermark::{Marks, Visibility};
use crate::{Error, ErrorKind, Result, limits};

/// What was copied, and what was not.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Events that are in the new store.
    pub events: u64,
    /// Streams of the new store.
    pub streams: u64,
    /// What is lost: it is in neither store.
    pub damage: Vec<Damage>,
    /// Where revisions of a stream are others in the new store than they were.
    pub moved: Vec<MovedRange>,
    /// Revisions of known streams that were there once, as far as what is left says it, and are not in the new store.
    pub missing: Vec<MissingRange>,
    /// Events that this build cannot decode: encrypted, or coded in another way. They are in the old store only.
    pub undecoded: Vec<String>,
}

/// Events of a stream that follow each other in both stores, with other revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MovedRange {
    /// Name of the stream in the new store.
    pub stream: String,
    /// The stream in the old store.
    pub old_stream: StreamId,
    /// Revision of the first of them in the old store.
    pub old_first: Revision,
    /// Revision of the first of them in the new store.
    pub new_first: Revision,
    /// How many they are.
    pub events: u64,
    /// Position of the first of them in the old store.
    pub old_position: Position,
}

/// Revisions of a stream that are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingRange {
    /// Name of the stream in the new store.
    pub stream: String,
    /// First and last old revision that is missing.
    pub revisions: (Revision, Revision),
}

/// Copies everything that proves itself in the store in the directory `from` into a new store in the directory `to`, which
/// must not exist. Everything is durable when this returns. `from` is only read.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) and [`NotAStore`](ErrorKind::NotAStore) where there is no store and no segment of one;
/// [`Invalid`](ErrorKind::Invalid) where `to` exists, or lies in `from`; [`Io`](ErrorKind::Io),
/// [`NoSpace`](ErrorKind::NoSpace) from the system: then the new store is not whole and is to be removed.
pub fn salvage(from: impl AsRef<Path>, to: impl AsRef<Path>, progress: &mut dyn Progress) -> Result<SalvageReport> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let source = super::open_folder(from)?;
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if absolute(to).starts_with(absolute(from)) {
        let message = format!("{} lies in the store that is salvaged, which is only read", to.display());
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    match OsStorage::open(to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Ok(_) | Err(_) => {
            let message = format!("{} exists; salvage makes a new store and touches no other", to.display());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
    }
    let target = || {
        let made =
            OsStorage::create(to).map_err(|error| Error::io("make the folder", &to.display().to_string(), error))?;
        Ok(Arc::new(made) as Arc<dyn Storage>)
    };
    run(source, target, progress)
}

/// As [`salvage`], on any storages; `to` must be empty.
///
/// # Errors
/// As [`salvage`].
pub fn salvage_on(from: Arc<dyn Storage>, to: Arc<dyn Storage>, progress: &mut dyn Progress) -> Result<SalvageReport> {
    run(from, || Ok(to), progress)
}

/// Progress is told every so many bytes.
const STEP_BYTES: u64 = 1 << 20;

fn run(
    source: Arc<dyn Storage>,
    target: impl FnOnce() -> Result<Arc<dyn Storage>>,
    progress: &mut dyn Progress,
) -> Result<SalvageReport> {
    let (mut ledger, mut notes) = (Ledger::default(), Vec::new());
    let mut identity = files::identity(&*source, &mut ledger, &mut notes)?;
    // A copy ends early where a store at home is damaged: as if it were at home, what lies behind is read too.
    identity.place = FilePlace::default();
    let found = open::find(source, &identity)?;
    if found.line.known.is_empty() {
        return Err(open::log_missing(&*found.set.storage));
    }
    let end = found.replay.at;
    let marks = Arc::new(Marks::new(found.replay.log_end(), end));
    let options = ReadAllOptions::new().visibility(Visibility::Committed);
    let mut reader = LogReader::new(Arc::clone(&found.set), Arc::clone(&found.streams), marks, options)?;
    let mut copy = Copy::begin(target()?, &found.set.store)?;
    for damage in &found.replay.damage {
        ledger.add(damage.clone());
    }
    let mut undecoded = Vec::new();
    let start = found.line.known.first().map_or(0, |first| first.base.0);
    let mut told = start;
    loop {
        match reader.next() {
            None => break,
            Some(Ok(event)) => {
                if event.position().0 >= told + STEP_BYTES {
                    told = event.position().0;
                    progress.advance(told.saturating_sub(start), end.0 - start);
                }
                copy.take(event.hold())?;
            }
            Some(Err(error)) => match (error.damage(), error.kind()) {
                (_, ErrorKind::Unsupported) => undecoded.push(error.to_string()),
                (Some(damage), _) => drop(ledger.add(damage.clone())),
                _ => return Err(error),
            },
        }
    }
    let heads = found.streams.read().iter().map(|stream| (stream.id, stream.last_event)).collect::<HashMap<_, _>>();
    let mut report = copy.finish(&heads)?;
    report.damage = ledger.into_damage();
    report.undecoded = undecoded;
    progress.advance(end.0 - start, end.0 - start);
    Ok(report)
}

/// A stream on its way.
#[derive(Debug)]
struct Stream {
    name: Arc<str>,
    /// The old revision that is due, and the new one.
    due: u64,
    next: u64,
}

/// The new store, and what came over so far.
struct Copy {
    writer: Arc<Writer>,
    watermark: Arc<crate::sync::Mutex<crate::commit::keeper::WatermarkFile>>,
    streams: HashMap<StreamId, Stream>,
    names: HashMap<Arc<str>, StreamId>,
    /// Events of the batch that is being read, with the names of their streams in the new store.
    batch: Vec<(Arc<str>, Event)>,
    report: SalvageReport,
}

impl Copy {
    fn begin(target: Arc<dyn Storage>, block: &crate::format::store_block::StoreBlock) -> Result<Copy> {
        let options = Options::new()
            .segment_bytes(block.segment_bytes)
            .index_stride_bytes(block.index_stride_bytes)
            .durability(Durability::Written)
            .exclusive(true)
            .mapped_writes(false);
        let opened = open::for_writing(target, &options)?;
        if !opened.report.is_new {
            return Err(Error::new(ErrorKind::Invalid, "salvage makes a new store and touches no other"));
        }
        Ok(Copy {
            writer: opened.writer,
            watermark: opened.watermark,
            streams: HashMap::new(),
            names: HashMap::new(),
            batch: Vec::new(),
            report: SalvageReport::default(),
        })
    }

    /// Takes an event over. Those of one batch stay together.
    fn take(&mut self, event: Event) -> Result<()> {
        if self.batch.last().is_some_and(|(_, last)| last.batch != event.batch) {
            self.write()?;
        }
        let stream = self.stream_of(&event);
        self.batch.push((stream, event));
        Ok(())
    }

    /// Name of the event's stream in the new store; notes where its revision becomes another one.
    fn stream_of(&mut self, event: &Event) -> Arc<str> {
        let is_new = !self.streams.contains_key(&event.stream_id);
        if is_new {
            let name = self.free_name(event);
            self.names.insert(Arc::clone(&name), event.stream_id);
            self.streams.insert(event.stream_id, Stream { name, due: 0, next: 0 });
        }
        let stream = self.streams.get_mut(&event.stream_id).expect("it was just put there");
        let revision = event.revision.0;
        if revision > stream.due {
            let revisions = (Revision(stream.due), Revision(revision - 1));
            self.report.missing.push(MissingRange { stream: stream.name.to_string(), revisions });
        }
        let is_run = revision == stream.due && !is_new;
        if revision != stream.next {
            let of_stream = |range: &&mut MovedRange| range.old_stream == event.stream_id;
            match self.report.moved.iter_mut().rev().find(of_stream).filter(|_| is_run) {
                Some(range) => range.events += 1,
                None => self.report.moved.push(MovedRange {
                    stream: stream.name.to_string(),
                    old_stream: event.stream_id,
                    old_first: event.revision,
                    new_first: Revision(stream.next),
                    events: 1,
                    old_position: event.position,
                }),
            }
        }
        stream.due = revision + 1;
        stream.next += 1;
        Arc::clone(&stream.name)
    }

    /// The event's stream's own name; another one where that is lost, or belongs to a stream before it.
    fn free_name(&self, event: &Event) -> Arc<str> {
        let is_free = |name: &str| !name.starts_with(limits::RESERVED_NAME_PREFIX) && !self.names.contains_key(name);
        if is_free(&event.stream) {
            return Arc::clone(&event.stream);
        }
        let mut name = format!("unnamed-{}", event.stream_id);
        while !is_free(&name) {
            name.push('-');
        }
        name.into()
    }

    /// Appends the batch that was read.
    fn write(&mut self) -> Result<()> {
        let Some((_, first)) = self.batch.first() else { return Ok(()) };
        let id: BatchId = first.batch;
        let mut sections: Vec<(Arc<str>, Vec<NewEvent<'_>>)> = Vec::new();
        for (stream, event) in &self.batch {
            let new = NewEvent {
                event_type: &event.event_type,
                payload: &event.payload,
                metadata: &event.metadata,
                id: event.id.as_deref(),
                occurred_at: event.occurred_at,
                recorded_at: Some(event.recorded_at),
            };
            match sections.last_mut().filter(|(last, _)| last == stream) {
                Some((_, events)) => events.push(new),
                None => sections.push((Arc::clone(stream), vec![new])),
            }
        }
        let put = |mut batch| {
            for (stream, events) in &sections {
                batch = Batch::section(batch, stream, Expected::Any, events);
            }
            self.writer.submit(&batch).map(drop)
        };
        match put(Batch::with_id(id)) {
            // Another batch has the id: one that was repeated long after, or lost a part of itself.
            Err(error) if error.kind() == ErrorKind::Conflict => put(Batch::new())?,
            other => other?,
        }
        self.report.events += self.batch.len() as u64;
        self.batch.clear();
        Ok(())
    }

    /// Makes everything durable. `heads` are the last events of the old streams that are known.
    fn finish(mut self, heads: &HashMap<StreamId, Revision>) -> Result<SalvageReport> {
        self.write()?;
        self.writer.tail.lock().is_closed = true;
        self.writer.finish(&mut self.watermark.lock())?;
        for (id, stream) in &self.streams {
            if let Some(head) = heads.get(id).filter(|head| stream.due <= head.0) {
                let revisions = (Revision(stream.due), *head);
                self.report.missing.push(MissingRange { stream: stream.name.to_string(), revisions });
            }
        }
        self.report.missing.sort_by(|a, b| (&a.stream, a.revisions.0).cmp(&(&b.stream, b.revisions.0)));
        self.report.streams = self.streams.len() as u64;
        Ok(self.report)
    }
}
