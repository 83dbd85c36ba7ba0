//! The facade: an open store.
//!
//! It wires the parts together and has no logic of its own. A store is opened for writing by one process alone or by
//! several together, for reading by any number.

mod projections;
mod stat;
mod types;

use std::path::Path;
use std::sync::Arc;

use crate::append::{Batch, Fork, Forked, Receipt};
use crate::commit::keeper::{self, WatermarkFile};
use crate::commit::watch;
use crate::commit::writer::Writer;
use crate::commit::{Pending, ReindexReport};
use crate::error::ErrorKind;
use crate::follow::view::{Following, Others, View};
use crate::follow::{SubscribeOptions, Subscription};
use crate::ids::{Position, Revision, StreamId};
use crate::index::find::Finder;
use crate::index::segment_indexes::SegmentIndexes;
use crate::index::streams::Stream;
use crate::lineage::{self, ForkPoint, Parting, StreamReader};
use crate::options::{Options, ReadMode};
use crate::process::claims::Claims;
use crate::read::{Event, LogReader, ReadAllOptions, ReadOptions};
use crate::recovery::cutter::Cutter;
use crate::recovery::{OpenReport, open};
use crate::snapshot::{self, Context, ContextOptions, Ignored, NewSnapshot, Snapshot, Snapshotted};
use crate::storage::Storage;
use crate::storage::os::OsStorage;
use crate::storage::positioned::Positioned;
use crate::sync::Mutex;
use crate::sync::thread::JoinHandle;
use crate::watermark::{Visibility, Watermarks};
use crate::{Error, Result, limits};

pub use self::stat::Stat;
pub use self::types::{TypeCount, TypeCounts};

/// An open store.
///
/// Cheap to share between threads behind an [`Arc`]; all methods take `&self`. Dropping it closes it as
/// [`close`](Store::close) does, without saying whether that went well.
///
/// # Forks
///
/// A store that is open for writing belongs to the process that opened it. In a fork of that process every call fails with
/// [`Forked`](ErrorKind::Forked), closing and dropping do nothing, and no byte of the store is changed; the lock stays with
/// the parent alone. [`streams`](Store::streams), [`watermarks`](Store::watermarks) and [`open_report`](Store::open_report)
/// say what was so at the fork, and events that were handed out stay good. A store that is open for reading may be read in a
/// fork too, where no other thread was using it when the process forked.
#[derive(Debug)]
pub struct Store {
    view: Arc<View>,
    report: OpenReport,
    writing: Option<Writing>,
    claims: Claims,
}

#[derive(Debug)]
struct Writing {
    writer: Arc<Writer>,
    watermark: Arc<Mutex<WatermarkFile>>,
    keeper: Option<[JoinHandle<()>; 3]>,
    coded: (u64, u64),
    is_closed: bool,
}

/// What is known of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub id: StreamId,
    /// The first revision of its own: 0, or for a fork the one behind the last that it shares with its parent.
    pub first: Revision,
    /// The last revision that was given; the next event gets the one behind it.
    pub head: Revision,
    /// Position of the event with that revision, or of the accept that says that the stream ends there.
    pub head_position: Position,
    /// Revision of its last event: below `head` where what lies between was accepted as lost.
    pub last_event: Revision,
    /// Whether nothing hides later events of the stream: it can be appended to. Where damage may, an
    /// [accept](fn@crate::maintain::accept) says where it goes on.
    pub is_head_known: bool,
}

impl Store {
    /// Opens the store in the directory `path` for writing, and makes both where there is none. Others may have it open too and
    /// append by turns, unless one of them chose to be alone ([`Options::exclusive`]).
    ///
    /// # Errors
    /// [`Locked`](ErrorKind::Locked) where another process writes to it in a way that excludes this one
    /// ([`Options::exclusive`]), or does not end its turn; the message names it;
    /// [`NotAStore`](ErrorKind::NotAStore) where the path is a file or the folder holds something else;
    /// [`NotFound`](ErrorKind::NotFound) where there is none and [`Options::create`] is off;
    /// [`Unsupported`](ErrorKind::Unsupported) for a store of a newer version, on a network file system, or to be shared where bytes of
    /// files cannot be locked;
    /// [`CopyIncomplete`](ErrorKind::CopyIncomplete) for a copy that ends early;
    /// [`NoSpace`](ErrorKind::NoSpace), [`ReadOnly`](ErrorKind::ReadOnly), [`Io`](ErrorKind::Io) from the system.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Store> {
        let path = path.as_ref();
        options.check()?;
        let storage = match options.create {
            true => OsStorage::create(path),
            false => OsStorage::open(path),
        };
        let storage = storage.map_err(|error| no_directory(path, error))?;
        Store::for_writing(Arc::new(storage), options)
    }

    /// Opens the store in the directory `path` for reading. Writes no byte, makes no file, takes no lock; another process
    /// may write meanwhile: [`refresh`](Store::refresh) takes in what it appended.
    ///
    /// # Errors
    /// As [`open`](Store::open), without those about writing.
    pub fn open_read_only(path: impl AsRef<Path>, options: Options) -> Result<Store> {
        let path = path.as_ref();
        let storage = OsStorage::open(path).map_err(|error| no_directory(path, error))?;
        Store::for_reading(Arc::new(storage), &options)
    }

    /// As [`open`](Store::open), on any storage.
    ///
    /// # Errors
    /// As [`open`](Store::open).
    #[cfg(feature = "unstable")]
    pub fn open_on(storage: Arc<dyn Storage>, options: Options) -> Result<Store> {
        Store::for_writing(storage, options)
    }

    fn for_writing(storage: Arc<dyn Storage>, options: Options) -> Result<Store> {
        let storage = as_read(storage, &options);
        let opened = open::for_writing(storage, &options)?;
        let open::OpenedWriter { writer, watermark, report, coded } = opened;
        let covered = writer.streams.claims_from();
        let noted = Arc::clone(&writer.noted);
        let cutter = Cutter::new(Arc::clone(&writer.set.storage), writer.set.store, covered, noted);
        writer.indexer.lock().do_first(Box::new(cutter));
        let keeper = writer.options.background_threads.then(|| keeper::start(&writer, &watermark)).transpose();
        let keeper = keeper.map_err(|error| Error::io("start a thread for", "the background work", error))?;
        let (set, streams) = (Arc::clone(&writer.set), Arc::clone(&writer.streams));
        let others = writer.is_shared().then(|| Others::Writers(Arc::clone(&writer)));
        let view = View::new(set, streams, Arc::clone(&writer.marks), Arc::clone(&writer.finder), others);
        let writing = Writing { writer, watermark, keeper, coded, is_closed: false };
        writing.writer.signals.want_work();
        writing.writer.signals.want_index();
        let claims = Claims::over(Arc::clone(&view.set.storage));
        Ok(Store { view: Arc::new(view), report, writing: Some(writing), claims })
    }

    /// As [`open_read_only`](Store::open_read_only), on any storage.
    ///
    /// # Errors
    /// As [`open_read_only`](Store::open_read_only).
    #[cfg(feature = "unstable")]
    pub fn open_read_only_on(storage: Arc<dyn Storage>, options: Options) -> Result<Store> {
        Store::for_reading(storage, &options)
    }

    fn for_reading(storage: Arc<dyn Storage>, options: &Options) -> Result<Store> {
        let storage = as_read(storage, options);
        let open::OpenedReader { set, streams, marks, replay, identity, report } = open::for_reading(storage)?;
        streams.keep(options.streams_kept);
        let indexes = Arc::new(SegmentIndexes::new(Arc::clone(&set)));
        let finder = Arc::new(Finder::new(Arc::clone(&set), Arc::clone(&streams), indexes));
        let others = Others::Writer(Box::new(Following::new(&*set.storage, replay, identity)));
        let view = View::new(set, streams, marks, finder, Some(others));
        let claims = Claims::over(Arc::clone(&view.set.storage));
        Ok(Store { view: Arc::new(view), report, writing: None, claims })
    }

    /// What opening found and did.
    #[must_use]
    pub fn open_report(&self) -> &OpenReport {
        &self.report
    }

    /// Takes in what other processes have appended since. A subscription does so by itself, and each append before it is held against
    /// what it expects; nothing to do in a process that writes alone.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) from the system; [`Unsupported`](ErrorKind::Unsupported) where a newer version writes.
    pub fn refresh(&self) -> Result<()> {
        self.view.refresh()
    }

    /// Appends a batch and waits until its durability level is reached.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict): an expected revision was not met; nothing was appended, and
    /// [`Error::conflict`] says the actual head. [`Fenced`](ErrorKind::Fenced): a fencing token of the batch is not that of the
    /// stream's newest claim; nothing was appended. [`Limit`](ErrorKind::Limit), [`Invalid`](ErrorKind::Invalid): the batch
    /// cannot be appended to any store. [`NoSpace`](ErrorKind::NoSpace): nothing was appended; try again once there is
    /// space. [`Poisoned`](ErrorKind::Poisoned): the outcome is unknown, or an earlier one was: reopen the store and
    /// append again with the same batch id. [`Removed`](ErrorKind::Removed): its files were taken away; also there the outcome is
    /// unknown. [`ReadOnly`](ErrorKind::ReadOnly): the store was opened for reading.
    /// [`Damage`](ErrorKind::Damage): the place where an earlier try would be looked up is lost.
    /// [`Forked`](ErrorKind::Forked): another process opened the store, and this one is a fork of it.
    /// [`Locked`](ErrorKind::Locked), where others write too: one of them does not end its turn within
    /// [`Options::patience`], and nothing was appended; or, of a Synced batch, it does not end a sync, and what was appended is
    /// Written so far: append again with the same batch id.
    pub fn append(&self, batch: &Batch<'_>) -> Result<Receipt> {
        self.writer()?.append(batch)
    }

    /// Appends a batch: when this returns it is in the log, visible as committed, and survives the end of every process.
    /// Its durability level is reached once the returned value was waited for or awaited.
    ///
    /// # Errors
    /// As [`append`](Store::append).
    pub fn submit(&self, batch: &Batch<'_>) -> Result<Pending> {
        self.writer()?.submit(batch)
    }

    /// Forks a stream: a new one that reads as its parent up to the fork point, and goes on by itself. It is one frame in the log,
    /// whatever the length of the history and the depth of forks; nothing is copied, and the parent is as it was.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound): there is no such parent, or it does not have the revision.
    /// [`Conflict`](ErrorKind::Conflict): a stream of the new name exists. [`Damage`](ErrorKind::Damage): the event at the fork
    /// point is lost. [`HeadUnknown`](ErrorKind::HeadUnknown): a loss in the log may hide a stream of that name. Else as
    /// [`append`](Store::append).
    pub fn fork(&self, fork: &Fork<'_>) -> Result<Forked> {
        self.writer()?.fork(fork)
    }

    /// Appends a snapshot: events that stand beside a range of a stream, bound to it by the stream's chain. The range stays, and
    /// so does every byte of it; several snapshots may stand for the same range.
    ///
    /// Binding folds the chain of what no earlier snapshot covers, about half a microsecond an event and the range itself; the
    /// log is not kept from others meanwhile.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound): there is no such stream, or its head lies before the end of the range.
    /// [`Invalid`](ErrorKind::Invalid), [`Limit`](ErrorKind::Limit): a range that holds nothing, no event, a label that is empty or
    /// too long. [`Damage`](ErrorKind::Damage): the range cannot be bound, since events of it or before it are lost. Else as
    /// [`append`](Store::append). Nothing is written then.
    pub fn snapshot(&self, new: &NewSnapshot<'_>) -> Result<Snapshotted> {
        snapshot::make(&self.view, self.writer()?, new)
    }

    /// All snapshots of a stream, label by label, the oldest first; those that are lost are told in their places.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where there is no such stream.
    pub fn snapshots(&self, name: &str) -> Result<Vec<std::result::Result<Snapshot, Ignored>>> {
        snapshot::of_stream(&self.view, name)
    }

    /// What a stream comes to at a revision: the newest snapshots that are of use, and the events behind and between them. It is a
    /// function of the stream and the revision: snapshots that were appended after the next event of the stream do not count. A fork
    /// has the snapshots of its parent whose ranges end before its fork point. Snapshots that do not match are passed over and
    /// told.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where there is no such stream; [`Io`](ErrorKind::Io) from the system.
    pub fn context(&self, name: &str, options: ContextOptions<'_>) -> Result<Context> {
        snapshot::context(&self.view, name, options)?.ok_or_else(|| Error::no_stream(name))
    }

    /// From an event of a snapshot back to the range that it stands for; `None` where it is an event of no snapshot.
    ///
    /// # Errors
    /// [`Damage`](ErrorKind::Damage) where its frame is lost.
    pub fn snapshot_of(&self, stream: &str, revision: Revision) -> Result<Option<Snapshot>> {
        snapshot::of_event(&self.view, stream, revision)
    }

    /// What the first events of a stream, `count` of them, hash to: the stream chain, which is the same wherever these events lie,
    /// in a fork, in an import, in another store. Costs folding what was not folded before, half a microsecond an event.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where there is no such stream, or there are fewer; [`Damage`](ErrorKind::Damage) where one
    /// of them is lost.
    pub fn chain(&self, name: &str, count: u64) -> Result<[u8; 32]> {
        let stream = self.view.stream(name)?.ok_or_else(|| Error::no_stream(name))?;
        self.view.chains.behind(&self.view.finder, (stream.id, name), count, None)
    }

    /// Where a stream leaves its parent; `None` where it is no fork, or where there is no such stream.
    ///
    /// # Errors
    /// [`Damage`](ErrorKind::Damage) where the frame is lost that says it.
    pub fn fork_point(&self, name: &str) -> Result<Option<ForkPoint>> {
        let stream = self.view.stream(name)?.filter(|stream| stream.first.0 > 0);
        stream.map_or(Ok(None), |stream| lineage::fork_point(&self.view.finder, stream.id))
    }

    /// The forks that lead to a stream, its own first, then that of its parent; none for a stream that is no fork.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where there is no such stream; as [`fork_point`](Store::fork_point).
    pub fn lineage(&self, name: &str) -> Result<Vec<ForkPoint>> {
        self.view.set.check_process()?;
        lineage::lineage(&self.view.finder, name)
    }

    /// All forks, in the order of their making; those whose frames are lost are left out. Costs a look at every stream and at the
    /// frame of each fork.
    ///
    /// # Errors
    /// As [`stream`](Store::stream).
    pub fn forks(&self) -> Result<Vec<ForkPoint>> {
        self.view.set.check_process()?;
        let mut forks = Vec::new();
        self.view.streams.with_prefix("", |stream| forks.extend((stream.first.0 > 0).then_some(stream.id)))?;
        forks.sort_unstable();
        let point = |stream| match lineage::fork_point(&self.view.finder, stream) {
            Err(error) if error.damage().is_some() => None,
            found => found.transpose(),
        };
        forks.into_iter().filter_map(point).collect()
    }

    /// What two streams share, and what each has of its own.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where there is no such stream; [`Damage`](ErrorKind::Damage) where a lineage is lost
    /// before the two meet.
    pub fn parting(&self, one: &str, other: &str) -> Result<Parting> {
        self.view.set.check_process()?;
        lineage::parting(&self.view.finder, one, other)
    }

    /// Makes everything durable that is in the log now; returns up to where it is.
    ///
    /// # Errors
    /// [`Poisoned`](ErrorKind::Poisoned) where a sync failed; [`Removed`](ErrorKind::Removed) where files of the store were taken
    /// away; [`ReadOnly`](ErrorKind::ReadOnly) on a store opened for reading.
    pub fn sync(&self) -> Result<Position> {
        let writer = self.writer()?;
        let _waking = writer.marks.waking();
        writer.wait_durable(self.view.watermarks().committed)?;
        writer.check_files()?; // also where nothing was left to be synced
        Ok(self.view.watermarks().durable)
    }

    /// Blocks until the log is durable up to `position`, such as that of a [`Conflict`](crate::Conflict).
    ///
    /// # Errors
    /// As [`sync`](Store::sync).
    pub fn wait_durable(&self, position: Position) -> Result<()> {
        let writer = self.writer()?;
        if position > self.view.watermarks().committed {
            return Err(Error::new(ErrorKind::Invalid, format!("the log does not reach to position {position}")));
        }
        writer.wait_durable(position)
    }

    /// Does at once, on this thread, what the background has to do now: the next segment is prepared, finished ones that are
    /// durable are sealed, the watermark file is written. Events that nobody waits for stay unsynced.
    ///
    /// # Errors
    /// [`ReadOnly`](ErrorKind::ReadOnly) on a store opened for reading. What fails in the background is told by later calls.
    #[cfg(feature = "unstable")]
    pub fn work_in_background(&self) -> Result<()> {
        let writer = self.writer()?;
        if let Some(writing) = &self.writing {
            keeper::work(writer, &writing.watermark);
        }
        Ok(())
    }

    /// Makes everything anew that is derived from the log, after making that durable: the directory of streams, then the indexes of
    /// finished segments. Nothing depends on it but the time that reading takes; it is for who does not trust these files. `tell` hears
    /// how many bytes of how many were read: all of the log for the directory, and each finished segment again for its index. Who makes
    /// derived files in the background waits meanwhile, so `tell` must not call this again: it would wait for itself.
    ///
    /// # Errors
    /// As [`sync`](Store::sync); [`NoSpace`](ErrorKind::NoSpace) and [`Io`](ErrorKind::Io) where a file cannot be written;
    /// [`Locked`](ErrorKind::Locked) where another process that has the store open makes these files, which is named.
    pub fn reindex(&self, tell: &mut dyn FnMut(u64, u64)) -> Result<ReindexReport> {
        self.sync()?;
        let writer = self.writer()?;
        writer.turns.check_worker(&writer.set.storage.describe())?;
        writer.indexer.lock().make_all(writer, tell)
    }

    /// How far the log reaches, and how far it is durable.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        self.view.watermarks()
    }

    /// The stream of this name.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) from the system, where it is looked up in the log; in a fork of the writing process.
    pub fn stream(&self, name: &str) -> Result<Option<StreamInfo>> {
        Ok(self.view.stream(name)?.as_ref().map(self.describe()))
    }

    /// All streams, in the order of their making, but for those of the engine's own.
    ///
    /// # Errors
    /// As [`stream`](Store::stream).
    pub fn streams(&self) -> Result<Vec<StreamInfo>> {
        self.streams_with_prefix("")
    }

    /// The streams whose names begin with `prefix`, in the order of their making. Costs what they are, not what there are. Those
    /// that belong to the engine, of snapshots and cursors, are among them only where the prefix begins with `$`.
    ///
    /// # Errors
    /// As [`stream`](Store::stream).
    pub fn streams_with_prefix(&self, prefix: &str) -> Result<Vec<StreamInfo>> {
        self.view.set.check_process()?;
        let describe = self.describe();
        let mut found = Vec::new();
        let with_engines = prefix.starts_with(limits::RESERVED_NAME_PREFIX);
        self.view.streams.with_prefix(prefix, |stream| {
            if with_engines || !limits::is_engines(&stream.name) {
                found.push(describe(stream));
            }
        })?;
        found.sort_unstable_by_key(|stream| stream.id);
        Ok(found)
    }

    /// What is known of a stream as users see it.
    fn describe(&self) -> impl Fn(&Stream) -> StreamInfo + use<> {
        let unknown_until = match &self.writing {
            Some(writing) => writing.writer.doubts.unknown_until,
            None => self.view.replayed(crate::recovery::replay::Replay::unknown_until).unwrap_or(Position::ZERO),
        };
        let unknown_until = unknown_until.max(self.view.streams.unknown_until());
        move |stream| StreamInfo {
            name: Arc::clone(&stream.name),
            id: stream.id,
            first: stream.first,
            head: stream.head,
            head_position: stream.head_position,
            last_event: stream.last_event,
            is_head_known: stream.head_position >= unknown_until,
        }
    }

    /// Reads a stream.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where there is no such stream; as [`read_all`](Store::read_all) where it is to begin
    /// behind a token.
    pub fn read_stream(&self, name: &str, options: ReadOptions<'_>) -> Result<StreamReader> {
        self.view.stream_reader(name, options)?.ok_or_else(|| Error::no_stream(name))
    }

    /// Reads the whole log.
    ///
    /// # Errors
    /// Where it is to begin behind a [token](crate::Token): [`ForeignToken`](ErrorKind::ForeignToken) for one of another
    /// store; [`LostToken`](ErrorKind::LostToken) where this log does not hold its event; [`Damage`](ErrorKind::Damage) where
    /// its place is lost, and nothing says whether its event was there.
    pub fn read_all(&self, options: ReadAllOptions<'_>) -> Result<LogReader> {
        self.view.log_reader(options)
    }

    /// Where the log ended at a time, in nanoseconds since 1970: the end of its longest prefix of whole batches in which no
    /// event was recorded later. With [`ReadOptions::at`] and [`ReadAllOptions::at`] the store is read as it was then.
    ///
    /// The time is that of `recorded_at`. Clocks may go backwards, the prefix does not: of two times the later one has the
    /// longer prefix, or the same. Events that are lost count as recorded in time, since nobody knows. The cost is a look
    /// at a few segments and index blocks, and one stretch of frames.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) from the system; [`Unsupported`](ErrorKind::Unsupported) where the log goes on with what only
    /// a newer version knows.
    pub fn end_at(&self, recorded: i64, visibility: Visibility) -> Result<Position> {
        self.view.end_at(recorded, visibility)
    }

    /// One event.
    ///
    /// # Errors
    /// [`Damage`](ErrorKind::Damage) where it is lost.
    pub fn event(&self, name: &str, revision: Revision, visibility: Visibility) -> Result<Option<Event>> {
        self.view.event(name, revision, visibility)
    }

    /// Follows the log or one stream: what is there, then what comes, without gap or duplicate.
    ///
    /// # Errors
    /// [`Damage`](ErrorKind::Damage) where the place to begin from is lost; as [`read_all`](Store::read_all) where it is to
    /// begin behind a token.
    pub fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        Subscription::new(&self.view, options)
    }

    /// Syncs everything, notes that the log ended cleanly, and closes the store. The next opening continues where it ended.
    ///
    /// # Errors
    /// [`Poisoned`](ErrorKind::Poisoned) where the last sync failed: Written events may be lost with the power.
    /// [`Removed`](ErrorKind::Removed) where files of the store were taken away.
    /// [`Forked`](ErrorKind::Forked) in a fork of the process that opened it, where nothing is done.
    pub fn close(mut self) -> Result<()> {
        match &mut self.writing {
            Some(writing) => writing.close(),
            None => Ok(()),
        }
    }

    /// The store as readers see it.
    pub(crate) fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// How many events are in the log.
    pub(crate) fn stat_events(&self) -> Result<u64> {
        self.view.set.check_process()?;
        Ok(match &self.writing {
            Some(writing) => writing.writer.tail.lock().next_number,
            None => self.view.replayed(|replay| replay.next_number).unwrap_or(0),
        })
    }

    /// The handle of its claims, where it may claim.
    pub(crate) fn claims(&self) -> Result<&Claims> {
        self.writer().map(|_| &self.claims)
    }

    pub(crate) fn writer(&self) -> Result<&Arc<Writer>> {
        self.view.set.check_process()?;
        match &self.writing {
            Some(writing) => Ok(&writing.writer),
            None => {
                Err(Error::new(ErrorKind::ReadOnly, "the store was opened for reading; open it for writing to append"))
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(writing) = &mut self.writing {
            let _ = writing.close(); // `close` is there for who wants to know
        }
    }
}

impl Writing {
    fn close(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.is_closed, true) {
            return Ok(());
        }
        let writer = &self.writer;
        if let Err(error) = writer.set.check_process() {
            std::mem::forget(self.keeper.take()); // they are threads of another process
            return Err(error);
        }
        let _waking = writer.marks.waking();
        writer.signals.stop();
        for thread in self.keeper.take().into_iter().flatten() {
            let _ = thread.join(); // a panic there was printed by it; the log does not depend on it
        }
        watch::stop(writer);
        writer.cover_the_end();
        let mut closed = writer.finish(&mut self.watermark.lock());
        if closed.is_ok() && writer.turns.is_worker() {
            writer.indexer.lock().close(writer);
        }
        if writer.is_shared() {
            closed = closed.and_then(|()| writer.leave(&mut self.watermark.lock()));
        }
        writer.marks.close();
        writer.turns.leave(); // the locks go with the file anyway
        closed
    }
}

/// The storage as its segments are to be read.
fn as_read(storage: Arc<dyn Storage>, options: &Options) -> Arc<dyn Storage> {
    match options.read_mode {
        ReadMode::Mapped => storage,
        ReadMode::Positioned => Arc::new(Positioned(storage)),
    }
}

pub(crate) fn no_directory(path: &Path, error: std::io::Error) -> Error {
    let shown = path.display().to_string();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(ErrorKind::NotFound, format!("there is no store in {shown}; a writing command makes one"))
        }
        std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists => {
            Error::new(ErrorKind::NotAStore, format!("{shown} is not a folder; a store is a folder"))
        }
        _ => Error::io("open the folder", &shown, error),
    }
}

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Store>();
};
