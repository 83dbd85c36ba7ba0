//! The streams of an open store: those that somebody uses in memory, all others in the directory until then.
//!
//! What is in memory is newer than the directory, which says how the log stood at a checkpoint: the one that opening began from,
//! until a newer one is taken, so that streams which nobody goes on with are let go of. A stream that is loaded is held against
//! the frame that the directory names: the log is what counts. Where the directory turns out not to be what was written, or
//! contradicts the log, the log up to the checkpoint is read instead, once, and no directory is asked again.
//!
//! 1. The directory changes under the table's lock, before a stream leaves for it. So who finds a stream neither in memory nor then
//!    in the directory has found that there was none.
//! 2. What a directory says enters the table only while it is the one that is asked: an older one may say what no longer is.
//! 3. Who has to find a stream again that was loaded keeps out who lets go of them, or takes what it needs at once.
//!
//! A process that only reads has no thread that looks after this. There streams leave when one is loaded that has no room, as far as
//! the directory has them that is asked; and for a newer one when what others append is taken in (`follow/view.rs`).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

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
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, RwLock, now};

/// So many names are kept of streams of which nothing else was asked for.
const NAMES_KEPT: usize = 1 << 16;
/// Of so many streams places are forgotten at once: readers and appends wait for no more.
const FORGOTTEN_AT_ONCE: usize = 256;
/// So many streams are looked at before some of them are let go of.
const LET_GO_AT_ONCE: usize = 64;
/// To look for a newer directory takes at most one part in so many of the time, beside once a segment.
const LOOKING_SHARE: u32 = 50;
/// So many are shown at once.
const SHOWN_AT_ONCE: usize = 4096;
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

/// How many streams have room in memory.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) kept: usize,
    /// Where in the table it is looked next for some that can leave.
    hand: usize,
    /// Before it, no newer directory is looked for.
    again_at: Option<Instant>,
}

impl Room {
    /// Whether so many streams are too many, and a newer directory may be looked for.
    pub(crate) fn is_wanted(&self, in_memory: u64) -> bool {
        in_memory > self.kept as u64 && self.again_at.is_none_or(|at| now() >= at)
    }

    /// One was looked for from a moment on. That streams leave then takes its time once for each.
    pub(crate) fn looked_since(&mut self, begun: Instant) {
        let over = now();
        self.again_at = Some(over + (over - begun) * LOOKING_SHARE);
    }
}

/// The streams of an open store.
pub(crate) struct Streams {
    table: RwLock<StreamTable>,
    set: Arc<SegmentSet>,
    /// What is asked for those that are not in the table.
    directory: RwLock<Option<Arc<Directory>>>,
    /// The one that opening began from.
    opened: Option<Arc<Directory>>,
    read_log: Box<ReadLog>,
    reading: Mutex<()>,
    /// Of a process that only reads. Who holds it keeps streams from leaving.
    room: Mutex<Room>,
    /// The log was read in place of a directory.
    is_bad: AtomicBool,
    unknown_until: AtomicU64,
    /// What the directory knew of retries, once the log was read in its place.
    retries: Mutex<Option<BTreeMap<BatchId, Position>>>,
    names: RwLock<HashMap<StreamId, (Arc<str>, Revision)>>,
    /// The types of their events.
    pub(crate) types: TypeNames,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive() // there may be many
    }
}

impl Streams {
    /// Those of a directory, `count` of them, if there is one; all others come from the log. `read_log` serves where a directory
    /// proves bad.
    pub(crate) fn new(set: Arc<SegmentSet>, opened: Option<(Arc<Directory>, u64)>, read_log: Box<ReadLog>) -> Streams {
        let (opened, count) = opened.map_or((None, 0), |(directory, count)| (Some(directory), count));
        Streams {
            table: RwLock::new(StreamTable::on_top_of(count)),
            set,
            directory: RwLock::new(opened.clone()),
            opened,
            read_log,
            reading: Mutex::new(()),
            room: Mutex::new(Room { kept: usize::MAX, hand: 0, again_at: None }),
            is_bad: AtomicBool::new(false),
            unknown_until: AtomicU64::new(0),
            retries: Mutex::new(None),
            names: RwLock::new(HashMap::default()),
            types: TypeNames::default(),
        }
    }

    /// The streams in memory.
    #[inline]
    pub(crate) fn read(&self) -> impl std::ops::Deref<Target = StreamTable> + '_ {
        self.table.read()
    }

    /// How many streams there are, and how many of them are in memory. Under one lock: who took it twice in one expression, which
    /// holds both to its end, would wait for itself where another thread waits to change the table.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let table = self.table.read();
        (table.count(), table.in_memory() as u64)
    }

    /// The streams in memory, to be changed.
    #[inline]
    pub(crate) fn write(&self) -> impl std::ops::DerefMut<Target = StreamTable> + '_ {
        self.table.write()
    }

    /// Forgets the places before `border`, but for the last of each stream: indexes of segments lead to what lies there.
    fn forget_places(&self, border: Position) {
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
        let found = self.table.read().by_name(name).map(&look);
        if found.is_some() {
            return Ok(found);
        }
        self.look_up(|directory| directory.by_name(name), |table| table.by_name(name).map(&look))
    }

    /// As [`of_name`](Self::of_name), of the stream of this identity.
    ///
    /// # Errors
    /// As reading the log.
    #[inline]
    pub(crate) fn of_id<T>(&self, stream: StreamId, look: impl Fn(&Stream) -> T) -> Result<Option<T>> {
        let found = self.table.read().by_id(stream).map(&look);
        if found.is_some() {
            return Ok(found);
        }
        self.look_up(|directory| directory.by_id(stream), |table| table.by_id(stream).map(&look))
    }

    /// Sees to it that the stream of this name is in memory, if there is one, where it stays while streams are not
    /// [let go of](Self::forget).
    ///
    /// # Errors
    /// As reading the log.
    #[inline]
    pub(crate) fn load(&self, name: &str) -> Result<()> {
        self.of_name(name, |_| ()).map(|_| ())
    }

    /// As [`load`](Self::load), the stream of this identity.
    ///
    /// # Errors
    /// As reading the log.
    pub(crate) fn load_id(&self, stream: StreamId) -> Result<()> {
        self.of_id(stream, |_| ()).map(|_| ())
    }

    /// The directory that is asked.
    fn directory(&self) -> Option<Arc<Directory>> {
        self.directory.read().clone()
    }

    /// Whether this directory is the one that is asked. It stays so while the table is locked.
    fn is_asked(&self, directory: &Arc<Directory>) -> bool {
        self.directory.read().as_ref().is_some_and(|asked| Arc::ptr_eq(asked, directory))
    }

    /// From here on every claim in the log is known to the table: what lies before was not read when the store was opened.
    pub(crate) fn claims_from(&self) -> Position {
        self.opened.as_ref().map_or(Position::ZERO, |opened| opened.covered())
    }

    /// Whether a directory proved bad since opening.
    pub(crate) fn is_directory_bad(&self) -> bool {
        self.is_bad.load(Ordering::Acquire)
    }

    /// Streams whose last event lies before it may have had later ones, as far as that was found since opening.
    pub(crate) fn unknown_until(&self) -> Position {
        Position(self.unknown_until.load(Ordering::Acquire))
    }

    /// What `look` finds in the table, with the stream that `find` finds in the directory.
    #[cold]
    #[inline(never)]
    fn look_up<T>(
        &self,
        find: impl Fn(&Directory) -> Result<Option<Entry>, Fault>,
        look: impl Fn(&StreamTable) -> Option<T>,
    ) -> Result<Option<T>> {
        loop {
            let Some(directory) = self.directory() else { return Ok(look(&self.table.read())) };
            match find(&directory) {
                Ok(None) => return Ok(look(&self.table.read())),
                Ok(Some(entry)) if self.agrees(&entry) => {
                    let mut table = self.table.write();
                    if !self.is_asked(&directory) {
                        continue;
                    }
                    if table.load(entry).is_some() {
                        let found = look(&table);
                        drop(table);
                        self.make_room();
                        return Ok(found);
                    }
                }
                Ok(Some(_)) | Err(_) => {}
            }
            self.read_log(&directory)?;
        }
    }

    /// From now on, who loads a stream lets others go where more than `kept` are in memory: for a process that has no thread for it.
    pub(crate) fn keep(&self, kept: usize) {
        self.room.lock().kept = kept;
    }

    /// Until it is dropped no stream leaves but by who holds it: for who takes in what others append.
    pub(crate) fn stay(&self) -> MutexGuard<'_, Room> {
        self.room.lock()
    }

    /// Lets go, in turn, of as many streams as there are in memory without having room, as far as the directory that is asked has them
    /// as they are. Of few at a time: who loads one waits for it.
    fn make_room(&self) {
        // Who takes in what others append may have loaded it, and has to find it again.
        let Some(mut room) = self.room.try_lock() else { return };
        let Some(asked) = self.directory() else { return };
        let covered = asked.covered();
        let some: Vec<Stream> = {
            let table = self.table.read();
            let Some(more) = table.in_memory().checked_sub(room.kept).filter(|more| *more > 0) else { return };
            let first = if room.hand < table.loaded() { room.hand } else { 0 };
            let is_covered = |stream: &&Stream| {
                room.hand = stream.slot as usize + 1;
                stream.last_place < covered
            };
            let seen = table.some(first..first + LET_GO_AT_ONCE);
            seen.iter().filter(is_covered).take(more).cloned().collect()
        };
        self.let_go_as_in(&asked, some, || ());
    }

    /// What is remembered of streams is forgotten as far as it lies before `border`, where indexes and the directory have it: places,
    /// and of more streams than are `kept` those that were left alone longest. `alone` is as [`let_go`](Self::let_go) says.
    pub(crate) fn forget<G>(
        &self,
        border: Position,
        kept: usize,
        newest: impl FnOnce() -> Option<Arc<Directory>>,
        alone: impl Fn() -> G,
    ) {
        self.forget_places(border);
        if let Some(more) = self.more_than(kept)
            && let Some(newest) = newest()
        {
            self.let_go(&newest, more, alone);
        }
    }

    /// Lets go of streams of which nothing was appended from `border` on, where `newest`, the directory of a later checkpoint than
    /// that of opening, has them as they are; it is asked from then on. `alone` keeps out who changes the table or rests on
    /// what it has seen there; it is held for few streams at a time.
    fn let_go<G>(&self, newest: &Arc<Directory>, border: Position, alone: impl Fn() -> G) {
        let covered = newest.covered();
        {
            let _alone = alone();
            let mut table = self.table.write();
            let mut asked = self.directory.write();
            let is_newer = asked.as_ref().is_none_or(|asked| asked.covered() < covered);
            if is_newer && table.move_base() {
                *asked = Some(Arc::clone(newest));
            }
            if asked.as_ref().is_none_or(|asked| asked.covered() != covered) {
                return; // it is too old, or none is asked any more
            }
        }
        let mut idle = Vec::new();
        self.each(|stream| idle.extend((stream.last_place < border.min(covered)).then_some(stream.id)));
        idle.sort_unstable(); // so that each look into the directory is near the last one
        for some in idle.chunks(LET_GO_AT_ONCE) {
            let there = {
                let table = self.table.read();
                some.iter().filter_map(|stream| table.newest_of(*stream).cloned()).collect()
            };
            self.let_go_as_in(newest, there, &alone);
        }
        self.table.write().shrink();
    }

    /// Lets go of those that a directory has as they are, and that are so still.
    fn let_go_as_in<G>(&self, directory: &Directory, mut streams: Vec<Stream>, alone: impl Fn() -> G) {
        streams.retain(|stream| directory.by_id(stream.id).ok().flatten().is_some_and(|entry| stream.is_as_in(&entry)));
        let _alone = alone();
        let mut table = self.table.write();
        streams.iter().for_each(|stream| table.let_go(stream));
    }

    /// Where those lie that were left alone longest of the streams in memory, so that `kept` are not among them; `None` where
    /// there are no more.
    fn more_than(&self, kept: usize) -> Option<Position> {
        if self.table.read().in_memory() <= kept {
            return None;
        }
        let mut places = Vec::new();
        self.each(|stream| places.push(stream.last_place));
        let more = places.len().checked_sub(kept).filter(|more| *more > 0)?;
        Some(if more == places.len() { Position::MAX } else { *places.select_nth_unstable(more).1 })
    }

    /// Shows what is in memory, a part at a time, so that nobody waits long for the table; not what comes meanwhile.
    fn each(&self, mut show: impl FnMut(&Stream)) {
        let mut left = self.table.read().loaded();
        while left > 0 {
            let first = left.saturating_sub(SHOWN_AT_ONCE);
            self.table.read().some(first..left).iter().for_each(&mut show);
            left = first;
        }
        self.table.read().continued().for_each(show);
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

    /// Reads the log up to the checkpoint in place of the directory, which proved bad, unless another one is asked by now.
    fn read_log(&self, bad: &Arc<Directory>) -> Result<()> {
        let _one = self.reading.lock();
        {
            // No stream leaves while the log is read: it would come back as it was.
            let mut table = self.table.write();
            if !self.is_asked(bad) {
                return Ok(());
            }
            table.keep_all(true);
        }
        let read = match (self.read_log)(bad.covered()) {
            Ok(read) => read,
            Err(error) => {
                self.table.write().keep_all(false);
                return Err(error);
            }
        };
        self.unknown_until.store(read.unknown_until.0, Ordering::Release);
        *self.retries.lock() = Some(read.retries.into_iter().collect());
        let mut table = self.table.write();
        table.load_all(read.streams);
        *self.directory.write() = None;
        self.is_bad.store(true, Ordering::Release);
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
        loop {
            if let Some(known) = known() {
                return Ok(Some(known));
            }
            if let Some((name, first)) = self.names.read().get(&stream) {
                return Ok(Some((Arc::clone(name), *first)));
            }
            let Some(directory) = self.directory() else { return Ok(known()) };
            let Ok(found) = directory.named(stream) else {
                self.read_log(&directory)?;
                continue;
            };
            let named = found.map(|(name, first)| (Arc::<str>::from(name), first));
            if let Some(named) = &named {
                let mut names = self.names.write();
                if names.len() >= NAMES_KEPT {
                    names.clear();
                }
                names.insert(stream, named.clone());
            }
            return Ok(named);
        }
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
        let Some(opened) = &self.opened else { return Ok(None) };
        while !self.is_directory_bad() {
            if let Ok(found) = opened.retry_of(batch, newer) {
                return Ok(found);
            }
            // Where a newer one is asked by now, the log up to there holds all that lies before.
            self.directory().map_or(Ok(()), |asked| self.read_log(&asked))?;
        }
        Ok(self.retries.lock().as_ref().and_then(|retries| retries.get(&batch).copied()))
    }

    /// Hands out the streams whose names begin with `prefix`, in no order.
    ///
    /// # Errors
    /// As reading the log.
    pub(crate) fn with_prefix(&self, prefix: &str, mut each: impl FnMut(&Stream)) -> Result<()> {
        loop {
            let directory = self.directory();
            let mut others = Vec::new();
            let read = directory.as_ref().map_or(Ok(()), |directory| {
                directory.with_prefix(prefix, |entry| {
                    others.push(entry);
                    ControlFlow::Continue(())
                })
            });
            let table = self.table.read();
            if let Some(directory) = &directory {
                if !self.is_asked(directory) {
                    continue;
                }
                if read.is_err() || others.iter().any(|entry| !table.is_continued(entry)) {
                    drop(table);
                    self.read_log(directory)?;
                    continue;
                }
            }
            table.iter().filter(|stream| stream.name.starts_with(prefix)).for_each(&mut each);
            for entry in others.into_iter().filter(|entry| table.by_id(entry.stream).is_none()) {
                table.newest(entry).iter().for_each(&mut each);
            }
            return Ok(());
        }
    }
}
