//! The streams of an open store: those that somebody asked for in memory, all others in the directory until then.
//!
//! What is in memory is newer than the directory, which says how the log stood at the checkpoint that opening began from,
//! and does not change while the store is open. A stream that is loaded is held against the frame that the directory names:
//! the log is what counts. Where the directory turns out not to be what was written, or contradicts the log, the log up to
//! the checkpoint is read instead, once, and the directory is not asked again.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::HashMap;

use crate::Result;
use crate::error::Damage;
use crate::format::Fault;
use crate::ids::{BatchId, Position, Revision, StreamId};
use crate::index::directory::{Directory, Entry};
use crate::index::find::section_of;
use crate::index::streams::{Stream, StreamTable};
use crate::index::type_names::TypeNames;
use crate::segment::set::SegmentSet;
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, RwLock};

/// So many names are kept of streams of which nothing else was asked for.
const NAMES_KEPT: usize = 1 << 16;
/// Of so many streams places are forgotten at once: readers and appends wait for no more.
const FORGOTTEN_AT_ONCE: usize = 256;
/// A frame is searched for a section only where its plain part is no longer.
const SEARCHED_BYTES_MAX: usize = 64 << 10;

/// Reads the log up to a place.
pub(crate) type ReadLog = dyn Fn(Position) -> Result<LogRead> + Send + Sync;

/// What reading the log up to a place has found.
#[derive(Debug)]
pub(crate) struct LogRead {
    pub(crate) streams: Vec<Stream>,
    /// Streams whose last event lies before it may have had later ones, which are lost.
    pub(crate) unknown_until: Position,
    /// Batches with an id given by the caller, as many as a retry may mean, oldest first.
    pub(crate) retries: Vec<(BatchId, Position)>,
}

/// The directory that opening began from.
struct Base {
    directory: Arc<Directory>,
    /// Whether it is still to be asked.
    is_used: AtomicBool,
    read_log: Box<ReadLog>,
    reading: Mutex<()>,
    unknown_until: AtomicU64,
    /// What it knew of retries, once the log was read in its place.
    retries: Mutex<Option<BTreeMap<BatchId, Position>>>,
    names: RwLock<HashMap<StreamId, (Arc<str>, Revision)>>,
}

/// The streams of an open store.
pub(crate) struct Streams {
    table: RwLock<StreamTable>,
    set: Arc<SegmentSet>,
    base: Option<Base>,
    /// The types of their events.
    pub(crate) types: TypeNames,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive() // there may be many
    }
}

impl Streams {
    /// None yet: all there are come from the log.
    pub(crate) fn of_log(set: Arc<SegmentSet>) -> Streams {
        Streams { table: RwLock::new(StreamTable::default()), set, base: None, types: TypeNames::default() }
    }

    /// Those of a directory, `count` of them. `read_log` serves where it proves bad.
    pub(crate) fn from_directory(
        set: Arc<SegmentSet>,
        directory: Arc<Directory>,
        count: u64,
        read_log: Box<ReadLog>,
    ) -> Streams {
        let base = Base {
            directory,
            is_used: AtomicBool::new(true),
            read_log,
            reading: Mutex::new(()),
            unknown_until: AtomicU64::new(0),
            retries: Mutex::new(None),
            names: RwLock::new(HashMap::default()),
        };
        Streams {
            table: RwLock::new(StreamTable::on_top_of(count)),
            set,
            base: Some(base),
            types: TypeNames::default(),
        }
    }

    /// The streams in memory.
    #[inline]
    pub(crate) fn read(&self) -> impl std::ops::Deref<Target = StreamTable> + '_ {
        self.table.read()
    }

    /// The streams in memory, to be changed.
    #[inline]
    pub(crate) fn write(&self) -> impl std::ops::DerefMut<Target = StreamTable> + '_ {
        self.table.write()
    }

    /// Forgets the places before `border`, but for the last of each stream: indexes of segments lead to what lies there.
    pub(crate) fn forget_places(&self, border: Position) {
        let mut left = self.table.read().with_places();
        while left > 0 {
            let count = left.min(FORGOTTEN_AT_ONCE);
            self.table.write().forget_places(border, count);
            left -= count;
        }
    }

    /// What `look` says of the stream of this name, which comes to memory where it is not there yet; `None` where there is none.
    ///
    /// # Errors
    /// As reading the log.
    #[inline]
    pub(crate) fn of_name<T>(&self, name: &str, look: impl Fn(&Stream) -> T) -> Result<Option<T>> {
        if let Some(stream) = self.table.read().by_name(name) {
            return Ok(Some(look(stream)));
        }
        self.load(name)?;
        Ok(self.table.read().by_name(name).map(look))
    }

    /// The directory, where it is still asked.
    pub(crate) fn directory(&self) -> Option<&Arc<Directory>> {
        self.base.as_ref().filter(|base| base.is_used.load(Ordering::Acquire)).map(|base| &base.directory)
    }

    /// From here on every claim in the log is known to the table: what lies before was not read when the store was opened.
    pub(crate) fn claims_from(&self) -> Position {
        self.base.as_ref().map_or(Position::ZERO, |base| base.directory.covered())
    }

    /// Whether the directory proved bad since opening.
    pub(crate) fn is_directory_bad(&self) -> bool {
        self.base.as_ref().is_some_and(|base| !base.is_used.load(Ordering::Acquire))
    }

    /// Streams whose last event lies before it may have had later ones, as far as that was found since opening.
    pub(crate) fn unknown_until(&self) -> Position {
        Position(self.base.as_ref().map_or(0, |base| base.unknown_until.load(Ordering::Acquire)))
    }

    /// Sees to it that the stream of this name is in memory, if there is one. Returns whether it came just now.
    ///
    /// # Errors
    /// As reading the log.
    #[inline]
    pub(crate) fn load(&self, name: &str) -> Result<bool> {
        if self.directory().is_none() || self.table.read().by_name(name).is_some() {
            return Ok(false);
        }
        self.load_from_directory(|directory| directory.by_name(name))
    }

    /// As [`load`](Self::load), the stream of this identity.
    ///
    /// # Errors
    /// As reading the log.
    #[inline]
    pub(crate) fn load_id(&self, stream: StreamId) -> Result<bool> {
        if self.directory().is_none() || self.table.read().by_id(stream).is_some() {
            return Ok(false);
        }
        self.load_from_directory(|directory| directory.by_id(stream))
    }

    #[cold]
    #[inline(never)]
    fn load_from_directory(&self, find: impl Fn(&Directory) -> Result<Option<Entry>, Fault>) -> Result<bool> {
        let Some(directory) = self.directory() else { return Ok(false) };
        match find(directory) {
            Ok(None) => Ok(false),
            Ok(Some(entry)) if self.agrees(&entry) => {
                let loaded = self.table.write().load(entry);
                loaded.map_or_else(|| self.read_log().map(|()| true), Ok)
            }
            Ok(Some(_)) | Err(_) => self.read_log().map(|()| true),
        }
    }

    /// Whether the log says what the directory says of a stream, as far as one look can tell: its last section stands there.
    /// Where the frame is bad the log says nothing, and one with very many sections is not asked.
    pub(crate) fn agrees(&self, entry: &Entry) -> bool {
        let Ok(segment) = self.set.holding(entry.last_place) else { return true };
        let Ok(frame) = segment.frame_without_bodies(entry.last_place, segment.file_end()) else { return true };
        if frame.plain().len() > SEARCHED_BYTES_MAX {
            return true;
        }
        match section_of(frame, entry.stream) {
            Ok(Some(section)) => section.last_revision() == entry.head,
            // A fork is the item that made it until it goes on.
            Ok(None) => entry.head.next() == Some(entry.first),
            Err(_) => true,
        }
    }

    /// Reads the log up to the checkpoint in place of the directory.
    fn read_log(&self) -> Result<()> {
        let Some(base) = &self.base else { return Ok(()) };
        let _one = base.reading.lock();
        if !base.is_used.load(Ordering::Acquire) {
            return Ok(());
        }
        let read = (base.read_log)(base.directory.covered())?;
        base.unknown_until.store(read.unknown_until.0, Ordering::Release);
        *base.retries.lock() = Some(read.retries.into_iter().collect());
        self.table.write().load_all(read.streams);
        base.is_used.store(false, Ordering::Release);
        Ok(())
    }

    /// The name of a stream.
    ///
    /// # Errors
    /// As reading the log.
    pub(crate) fn name_of(&self, stream: StreamId) -> Result<Option<Arc<str>>> {
        Ok(self.named(stream)?.map(|(name, _)| name))
    }

    /// The name of a stream, and the first revision of its own, above 0 for a fork.
    ///
    /// # Errors
    /// As reading the log.
    pub(crate) fn named(&self, stream: StreamId) -> Result<Option<(Arc<str>, Revision)>> {
        let known = || self.table.read().by_id(stream).map(|stream| (Arc::clone(&stream.name), stream.first));
        let (Some(base), None) = (&self.base, known()) else { return Ok(known()) };
        if let Some((name, first)) = base.names.read().get(&stream) {
            return Ok(Some((Arc::clone(name), *first)));
        }
        let Some(directory) = self.directory() else { return Ok(None) };
        let Ok(found) = directory.named(stream) else {
            self.read_log()?;
            return Ok(known());
        };
        let named = found.map(|(name, first)| (Arc::<str>::from(name), first));
        if let Some(named) = &named {
            let mut names = base.names.write();
            if names.len() >= NAMES_KEPT {
                names.clear();
            }
            names.insert(stream, named.clone());
        }
        Ok(named)
    }

    /// Gives the streams that damage is said to hold their names, as far as they are known.
    pub(crate) fn name_in(&self, damage: &mut Damage) {
        damage.name_streams(|stream| self.name_of(stream).ok().flatten().map(|name| name.to_string()));
    }

    /// The newest frame of the batch with this id given by the caller that the directory knows, if no more than the window
    /// of retries lies behind it; `newer` such batches are known behind the checkpoint.
    ///
    /// # Errors
    /// As reading the log.
    pub(crate) fn retry_of(&self, batch: BatchId, newer: u64) -> Result<Option<Position>> {
        let Some(base) = &self.base else { return Ok(None) };
        if let Some(directory) = self.directory() {
            match directory.retry_of(batch, newer) {
                Ok(found) => return Ok(found),
                Err(_) => self.read_log()?,
            }
        }
        Ok(base.retries.lock().as_ref().and_then(|retries| retries.get(&batch).copied()))
    }

    /// Hands out the streams whose names begin with `prefix`, in no order.
    ///
    /// # Errors
    /// As reading the log.
    pub(crate) fn with_prefix(&self, prefix: &str, mut each: impl FnMut(&Stream)) -> Result<()> {
        let mut others = Vec::new();
        if let Some(directory) = self.directory() {
            let read = directory.with_prefix(prefix, |entry| {
                others.push(entry);
                ControlFlow::Continue(())
            });
            if read.is_err() {
                others.clear();
                self.read_log()?;
            }
        }
        if others.iter().any(|entry| !self.table.read().is_continued(entry)) {
            others.clear();
            self.read_log()?;
        }
        let table = self.table.read();
        table.iter().filter(|stream| stream.name.starts_with(prefix)).for_each(&mut each);
        for entry in others.into_iter().filter(|entry| table.by_id(entry.stream).is_none()) {
            table.newest(entry).iter().for_each(&mut each);
        }
        Ok(())
    }
}
