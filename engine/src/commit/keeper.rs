//! The three background threads of a writer. One syncs what nobody waits for and writes the watermark file; another makes
//! pages present ahead of mapped copies, prepares the next segment and seals the finished ones, and so never waits for a
//! disk that is busy with a sync; the third makes what is derived from the log ([`indexer`](super::indexer)). Where others may write
//! too, one of them seals and makes what is derived, and each has a fourth thread ([`watch`](super::watch)).
//!
//! They sleep without a timeout while there is nothing to do. Whoever makes work for it sets a flag first and wakes it only
//! where the flag was not set: a stream of appends makes one wake-up each sync interval, not one each append.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::commit::roll::Sealing;
use crate::commit::tail::Ahead;
use crate::commit::watch;
use crate::commit::writer::Writer;
use crate::format::file_name;
use crate::format::watermark::{
    WATERMARK_FILE_BYTES, WATERMARK_SLOT_BYTES, WATERMARK_SLOT_STRIDE, Watermark, fold_boot,
};
use crate::storage::{Access, Storage, StorageFile, WritableMapping};
use crate::sync::thread::{Builder, JoinHandle};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, Ordering, now};
use crate::{Error, Position, Result, StoreId, limits};

/// The watermark file is written once the log was quiet for so long.
const QUIET: Duration = Duration::from_millis(10);

/// A burst of copies is over once nobody has asked for pages for so long.
const CALM: Duration = Duration::from_millis(20);
/// A sync that could not be begun is tried again after so long: tasks may wait for it, and what nobody waits for.
const SYNC_AGAIN: Duration = Duration::from_millis(100);
/// A segment that could not be sealed is looked at again after so long, at the latest.
const SEAL_AGAIN: Duration = Duration::from_secs(1);
/// What a thread did that panics there. Nobody does its work then, and tasks would wait for it for ever.
pub(super) const IN_BACKGROUND: &str = "works in the background";
/// So many finished segments may wait for their seals while a burst of copies goes on.
const UNSEALED_MAX: u64 = 16;

/// What the background thread is asked for.
#[derive(Debug)]
pub(crate) struct Signals {
    unsynced: AtomicBool,
    durable_moved: AtomicBool,
    /// The indexing thread is woken once the log is durable up to there.
    index_due: AtomicU64,
    stopping: AtomicBool,
    asked: Mutex<Asked>,
    wake_syncer: Condvar,
    wake_worker: Condvar,
    wake_indexer: Condvar,
    wake_watcher: Condvar,
    /// The thread that looks at what other processes append, and whether tasks wait for that.
    pub(super) watcher: Mutex<Option<JoinHandle<()>>>,
    pub(super) tasks_wait: AtomicBool,
}

impl Default for Signals {
    fn default() -> Signals {
        Signals {
            unsynced: AtomicBool::new(false),
            durable_moved: AtomicBool::new(false),
            index_due: AtomicU64::new(u64::MAX),
            stopping: AtomicBool::new(false),
            asked: Mutex::default(),
            wake_syncer: Condvar::default(),
            wake_worker: Condvar::default(),
            wake_indexer: Condvar::default(),
            wake_watcher: Condvar::default(),
            watcher: Mutex::default(),
            tasks_wait: AtomicBool::new(false),
        }
    }
}

#[derive(Debug, Default)]
struct Asked {
    /// Of the syncing thread: a sync now; a look at the flags.
    sync: bool,
    look: bool,
    /// Of the working thread: a segment to be prepared or sealed; pages up to a file offset.
    work: bool,
    pages: Option<(Arc<Ahead>, u64)>,
    /// Mappings of segments that were left: to unmap one takes long, and nobody waits for it.
    left: Vec<WritableMapping>,
    /// Of the indexing thread: a look at what there is to do.
    index: bool,
    /// Of the watching thread: a look at the log.
    call: bool,
}

impl Signals {
    /// Bytes were written that nobody waits for.
    #[inline]
    pub(crate) fn note_unsynced(&self) {
        if !self.unsynced.load(Ordering::Relaxed) && !self.unsynced.swap(true, Ordering::SeqCst) {
            self.ask(|asked| asked.look = true);
        }
    }

    /// There will be something to index once the log is durable up to `end`: an index block or a whole segment. Costs a look
    /// at a word, and wakes nobody.
    pub(crate) fn note_index_due(&self, end: Position) {
        self.index_due.fetch_min(end.0, Ordering::SeqCst);
    }

    /// There may be something to index.
    pub(crate) fn want_index(&self) {
        self.ask(|asked| asked.index = true);
    }

    /// The durable mark rose to `durable`.
    pub(crate) fn note_durable(&self, durable: Position) {
        if self.index_due.load(Ordering::SeqCst) <= durable.0 {
            self.index_due.store(u64::MAX, Ordering::SeqCst); // before the thread looks: what is due later is noted again
            self.want_index();
        }
        if !self.durable_moved.load(Ordering::Relaxed) && !self.durable_moved.swap(true, Ordering::SeqCst) {
            self.ask(|asked| asked.look = true);
        }
    }

    /// Pages are to be made present up to a file offset, ahead of copies.
    pub(crate) fn want_pages(&self, ahead: Arc<Ahead>, to: u64) {
        self.asked.lock().pages = Some((ahead, to));
        self.wake_worker.notify_one();
    }

    /// A mapping is not needed any more.
    pub(crate) fn leave(&self, mapping: WritableMapping) {
        self.asked.lock().left.push(mapping);
    }

    /// Somebody waits for a sync and does not lead.
    pub(crate) fn want_sync(&self) {
        self.ask(|asked| asked.sync = true);
    }

    /// There is a segment to be prepared or sealed.
    pub(crate) fn want_work(&self) {
        self.ask(|asked| asked.work = true);
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.ask(|asked| asked.look = true);
    }

    /// Wakes the thread that looks at what others append, where there is no control page to wake it by.
    pub(super) fn call_watcher(&self) {
        self.ask(|asked| asked.call = true);
    }

    /// Sleeps until that is done, for `timeout` at most.
    pub(super) fn wait_for_call(&self, timeout: Duration) {
        let mut asked = self.asked.lock();
        if !asked.call && !self.is_stopping() {
            self.wake_watcher.wait_until(&mut asked, now() + timeout);
        }
        asked.call = false;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn ask(&self, what: impl FnOnce(&mut Asked)) {
        let (syncer, worker, indexer, watcher) = {
            let mut asked = self.asked.lock();
            what(&mut asked);
            (asked.sync || asked.look, asked.work, asked.index, asked.call)
        };
        if syncer || self.is_stopping() {
            self.wake_syncer.notify_one();
        }
        if worker || self.is_stopping() {
            self.wake_worker.notify_one();
        }
        if indexer || self.is_stopping() {
            self.wake_indexer.notify_one();
        }
        if watcher || self.is_stopping() {
            self.wake_watcher.notify_one();
        }
    }
}

/// The watermark file and what was last written to it.
#[derive(Debug)]
pub(crate) struct WatermarkFile {
    file: Option<Arc<dyn StorageFile>>,
    generation: u64,
}

impl WatermarkFile {
    /// The generation that the file held when the store was opened.
    pub(crate) fn new(generation: u64) -> WatermarkFile {
        WatermarkFile { file: None, generation }
    }

    /// Writes and syncs the slot whose turn it is.
    pub(crate) fn write(&mut self, writer: &Writer, is_clean: bool) -> Result<()> {
        // Others write it too: one at a time, and each behind what it finds there.
        let Some(_lock) = writer.turns.try_sync(&writer.control) else { return Ok(()) };
        if writer.is_shared() {
            writer.refresh()?;
            let newest = read_slots(&*writer.set.storage, writer.set.store.store).first().map_or(0, |it| it.generation);
            self.generation = self.generation.max(newest);
        }
        let watermark = {
            let tail = writer.tail.lock();
            writer.poison.check()?;
            let durable = writer.marks.get().durable;
            if durable != tail.at {
                return Ok(()); // more was appended since: its sync brings us back
            }
            Watermark {
                generation: self.generation + 1,
                store: writer.set.store.store,
                incarnation: writer.life.incarnation,
                durable,
                last_check: tail.previous_check,
                last_frame: tail.last_frame,
                last_index_block: tail.index.last_block(),
                next_number: tail.next_number,
                salt: tail.segment.head.header.salt,
                takeover: tail.takeover,
                is_clean,
                boot: fold_boot(writer.life.boot),
            }
        };
        self.put(&*writer.set.storage, &watermark)
    }

    /// Writes and syncs a slot, whose generation is the one behind that of the newest there is.
    pub(crate) fn put(&mut self, storage: &dyn Storage, watermark: &Watermark) -> Result<()> {
        debug_assert_eq!(watermark.generation, self.generation + 1);
        let failed = |error: io::Error| Error::io("write", file_name::WATERMARK, error);
        if self.file.is_none() {
            let create = || {
                let file = storage.create(file_name::WATERMARK, WATERMARK_FILE_BYTES)?;
                // Room for both slots at once: a disk that is full later lets the store be opened.
                file.allocate(0..WATERMARK_FILE_BYTES)?;
                storage.sync_directory().map(|()| file)
            };
            let file = match storage.open(file_name::WATERMARK, Access::ReadWrite) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => create(),
                // A link or a pipe of that name: where it leads is nobody's business, and the name is ours.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    storage.remove(file_name::WATERMARK).and_then(|()| create())
                }
                other => other,
            };
            self.file = Some(file.map_err(failed)?);
        }
        let file = self.file.as_ref().expect("it was just opened");
        // Somebody may cut it at any time.
        let len = file.len().map_err(failed)?;
        if len < WATERMARK_SLOT_BYTES as u64 {
            let _ = file.write_at(&[0; WATERMARK_SLOT_BYTES], 0); // a piece of a slot says nothing
        }
        let slot = watermark.generation % 2 * WATERMARK_SLOT_STRIDE;
        let mut bytes = watermark.encode().to_vec();
        if len < WATERMARK_FILE_BYTES {
            // With the rest of its block: so the other slot is not touched, and the second one gives the file its length.
            bytes.resize(WATERMARK_SLOT_STRIDE as usize, 0);
        }
        file.write_at(&bytes, slot).and_then(|()| file.sync_data()).map_err(failed)?;
        self.generation = watermark.generation;
        Ok(())
    }
}

/// The slots of a store that the watermark file holds, the newer first.
pub(crate) fn read_slots(storage: &dyn Storage, store: StoreId) -> Vec<Watermark> {
    let Ok(file) = storage.open(file_name::WATERMARK, Access::Read) else { return Vec::new() };
    let mut bytes = vec![0; WATERMARK_FILE_BYTES as usize];
    let read = file.read_at(&mut bytes, 0).unwrap_or(0);
    let mut slots = Watermark::slots(&bytes[..read]);
    slots.retain(|slot| slot.store == store && slot.generation < limits::NUMBER_MAX);
    slots
}

/// Starts the background threads. They end after [`Signals::stop`].
pub(crate) fn start(writer: &Arc<Writer>, watermark: &Arc<Mutex<WatermarkFile>>) -> io::Result<[JoinHandle<()>; 3]> {
    let (syncing, file) = (Arc::clone(writer), Arc::clone(watermark));
    let syncer = Builder::new().name("treering-sync".into()).spawn(move || {
        let _unwinding = syncing.stop_on_panic(IN_BACKGROUND);
        run_syncer(&syncing, &file);
    })?;
    let working = Arc::clone(writer);
    let worker = Builder::new().name("treering-work".into()).spawn(move || {
        let _unwinding = working.stop_on_panic(IN_BACKGROUND);
        run_worker(&working);
    });
    let worker = match worker {
        Ok(worker) => worker,
        Err(error) => return Err(give_up(writer, error, [syncer])),
    };
    let indexing = Arc::clone(writer);
    let indexer = Builder::new().name("treering-index".into()).spawn(move || {
        let _unwinding = indexing.stop_on_panic(IN_BACKGROUND);
        run_indexer(&indexing);
    });
    let indexer = match indexer {
        Ok(indexer) => indexer,
        Err(error) => return Err(give_up(writer, error, [syncer, worker])),
    };
    match if writer.is_shared() { watch::start(writer) } else { Ok(()) } {
        Ok(()) => Ok([syncer, worker, indexer]),
        Err(error) => Err(give_up(writer, error, [syncer, worker, indexer])),
    }
}

/// Ends the threads that were started before one that could not be; they have done nothing yet.
fn give_up(writer: &Writer, error: io::Error, started: impl IntoIterator<Item = JoinHandle<()>>) -> io::Error {
    writer.signals.stop();
    for thread in started {
        let _ = thread.join();
    }
    error
}

/// One round of what both threads do, without them: see [`work_in_background`](crate::Store::work_in_background).
#[cfg(feature = "unstable")]
pub(crate) fn work(writer: &Writer, watermark: &Mutex<WatermarkFile>) {
    let _waking = writer.marks.waking();
    if writer.poison.is_set() || writer.tail.lock().is_closed {
        return;
    }
    writer.prepare_next();
    while let Some(mut sealing) =
        Some(writer.turns.is_worker()).filter(|is_worker| *is_worker).and_then(|_| writer.begin_seal().ok().flatten())
    {
        let sealed = loop {
            match writer.seal_step(&mut sealing) {
                Ok(false) => {}
                other => break other,
            }
        };
        if sealed.is_err() {
            break; // it is tried again with the next round
        }
    }
    let mut indexer = writer.indexer.lock();
    while indexer.step(writer) {}
    if !writer.poison.is_set() && writer.signals.durable_moved.swap(false, Ordering::SeqCst) {
        let _ = watermark.lock().write(writer, false); // as in the thread
    }
}

fn run_syncer(writer: &Writer, watermark: &Mutex<WatermarkFile>) {
    let signals = &writer.signals;
    let mut sync_at: Option<Instant> = None;
    let mut quiet = Quiet::Told;
    loop {
        let _waking = writer.marks.waking();
        let is_asked = {
            let mut asked = signals.asked.lock();
            while !(asked.sync || asked.look || signals.is_stopping()) {
                // A poisoned store has nothing left to be done but to be closed.
                match [sync_at, quiet.look_at()].into_iter().flatten().min().filter(|_| !writer.poison.is_set()) {
                    Some(until) => {
                        if signals.wake_syncer.wait_until(&mut asked, until).timed_out() {
                            break;
                        }
                    }
                    None => signals.wake_syncer.wait(&mut asked),
                }
            }
            asked.look = false;
            std::mem::take(&mut asked.sync)
        };
        if signals.is_stopping() {
            return;
        }
        if writer.poison.is_set() {
            continue;
        }
        let now = now();
        if signals.unsynced.load(Ordering::SeqCst) && sync_at.is_none() {
            sync_at = Some(now + writer.options.sync_interval);
        }
        if is_asked || sync_at.is_some_and(|at| at <= now) {
            sync_at = None;
            signals.unsynced.store(false, Ordering::SeqCst);
            if writer.sync_in_background().is_err() {
                // Where that poisoned the store nothing is left to be done, and every call says why. Else it was not begun.
                signals.asked.lock().sync = false;
                sync_at = Some(crate::sync::now() + SYNC_AGAIN);
                continue;
            }
            let marks = writer.marks.get();
            if marks.durable < marks.committed {
                signals.note_unsynced();
            }
        }
        quiet = quiet.look(writer, watermark);
    }
}

/// Whether the log is quiet: then the watermark file is written.
#[derive(Clone, Copy, Debug)]
enum Quiet {
    /// The file says what there is to say.
    Told,
    /// The durable mark stood there when it was last looked at, and is looked at again then.
    Since(Position, Instant),
}

impl Quiet {
    fn look_at(self) -> Option<Instant> {
        match self {
            Quiet::Told => None,
            Quiet::Since(_, at) => Some(at),
        }
    }

    /// The flag stays set while the mark rises: so a stream of syncs wakes this thread every [`QUIET`], not once a sync.
    fn look(self, writer: &Writer, watermark: &Mutex<WatermarkFile>) -> Quiet {
        let moved = &writer.signals.durable_moved;
        let now = now();
        let durable = writer.marks.get().durable;
        match self {
            Quiet::Told if moved.load(Ordering::SeqCst) => Quiet::Since(durable, now + QUIET),
            Quiet::Since(_, at) if at > now => self,
            Quiet::Since(seen, _) if seen != durable => Quiet::Since(durable, now + QUIET),
            Quiet::Since(..) => {
                moved.store(false, Ordering::SeqCst); // before the mark is read again: who raises it later asks again
                let _ = watermark.lock().write(writer, false); // derived: without it recovery reads a little more
                Quiet::Told
            }
            Quiet::Told => Quiet::Told,
        }
    }
}

fn run_worker(writer: &Writer) {
    let signals = &writer.signals;
    let mut sealer = Sealer::default();
    loop {
        let _waking = writer.marks.waking();
        let (work, pages, left) = {
            let mut asked = signals.asked.lock();
            while !(asked.work || asked.pages.is_some() || signals.is_stopping()) {
                match sealer.due.filter(|_| !writer.poison.is_set()) {
                    Some(due) => {
                        if signals.wake_worker.wait_until(&mut asked, due).timed_out() {
                            break;
                        }
                    }
                    None => signals.wake_worker.wait(&mut asked),
                }
            }
            (std::mem::take(&mut asked.work), asked.pages.take(), std::mem::take(&mut asked.left))
        };
        if signals.is_stopping() {
            return;
        }
        if writer.poison.is_set() {
            continue;
        }
        if let Some((ahead, to)) = pages {
            ahead.fault_in(to); // what cannot be had is met by the copy itself, which then takes the other way
            sealer.calm_at = Some(now() + CALM);
        }
        drop(left);
        if work {
            writer.prepare_next();
            sealer.due = Some(now());
        }
        if writer.turns.is_worker() {
            sealer.step(writer);
        } else {
            sealer.due = None; // another process does it; when that is gone, what comes asks again
        }
    }
}

/// Unlike the seals, what is derived does not wait for the end of a burst: where its writer is killed, opening reads the log from the
/// last checkpoint on.
fn run_indexer(writer: &Writer) {
    let signals = &writer.signals;
    writer.set.storage.give_way();
    let mut is_idle = true;
    loop {
        {
            let mut asked = signals.asked.lock();
            while is_idle && !asked.index && !signals.is_stopping() {
                signals.wake_indexer.wait(&mut asked);
            }
            asked.index = false;
        }
        if signals.is_stopping() {
            return;
        }
        is_idle = !writer.indexer.lock().step(writer);
    }
}

/// Seals what is finished, a piece at a time, so that pages that are asked for meanwhile come first. While a burst of copies
/// goes on it waits, as long as it is not far behind: a hash takes the processor and the memory that the burst wants.
#[derive(Debug, Default)]
struct Sealer {
    current: Option<Sealing>,
    /// When the next piece is to be done; `None` while nothing is finished and unsealed.
    due: Option<Instant>,
    /// When the burst of copies is taken to be over.
    calm_at: Option<Instant>,
}

impl Sealer {
    fn step(&mut self, writer: &Writer) {
        let now = now();
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let is_going_on = match &mut self.current {
            Some(sealing) => {
                let done = writer.seal_step(sealing);
                if !matches!(done, Ok(false)) {
                    self.current = None;
                }
                done.is_ok()
            }
            None => {
                // A failure is met again by whoever reads the segment; the seal is tried again later.
                self.current = writer.begin_seal().unwrap_or(None);
                self.current.is_some()
            }
        };
        let unsealed = writer.unsealed_segments();
        self.due = match (unsealed, is_going_on) {
            (0, _) => None,
            (_, true) => Some(now),
            // What is not durable yet is sealed after its sync, which may come long before the interval ends.
            (_, false) => Some(now + writer.options.sync_interval.clamp(QUIET, SEAL_AGAIN)),
        };
        if unsealed <= UNSEALED_MAX {
            self.due = self.due.max(self.due.and(self.calm_at.filter(|at| *at > now)));
        }
    }
}
