//! The background thread of a writer: syncs that nobody waits for, the next segment, seals, the watermark file.
//!
//! It sleeps without a timeout while there is nothing to do. Whoever makes work for it sets a flag first and wakes it only
//! where the flag was not set: a stream of appends makes one wake-up each sync interval, not one each append.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::commit::writer::Writer;
use crate::format::file_name;
use crate::format::watermark::{WATERMARK_FILE_BYTES, WATERMARK_SLOT_STRIDE, Watermark, fold_boot};
use crate::storage::{Access, StorageFile};
use crate::sync::{AtomicBool, Condvar, Mutex, Ordering};
use crate::{Error, Result};

/// The watermark file is written once the log was quiet for so long.
const QUIET: Duration = Duration::from_millis(10);

/// What the background thread is asked for.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    unsynced: AtomicBool,
    durable_moved: AtomicBool,
    stopping: AtomicBool,
    asked: Mutex<Asked>,
    wake: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    sync: bool,
    work: bool,
    look: bool,
}

impl Signals {
    /// Bytes were written that nobody waits for.
    #[inline]
    pub(crate) fn note_unsynced(&self) {
        if !self.unsynced.load(Ordering::Relaxed) && !self.unsynced.swap(true, Ordering::SeqCst) {
            self.ask(|asked| asked.look = true);
        }
    }

    /// The durable mark rose.
    pub(crate) fn note_durable(&self) {
        if !self.durable_moved.load(Ordering::Relaxed) && !self.durable_moved.swap(true, Ordering::SeqCst) {
            self.ask(|asked| asked.look = true);
        }
    }

    /// A segment was left: it is to be synced and sealed.
    pub(crate) fn note_roll(&self) {
        self.ask(|asked| {
            asked.sync = true;
            asked.work = true;
        });
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

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn ask(&self, what: impl FnOnce(&mut Asked)) {
        what(&mut self.asked.lock());
        self.wake.notify_one();
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
        let failed = |error: io::Error| Error::io("write", file_name::WATERMARK, error);
        if self.file.is_none() {
            let storage = &writer.set.storage;
            let file = match storage.open(file_name::WATERMARK, Access::ReadWrite) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => storage
                    .create(file_name::WATERMARK, WATERMARK_FILE_BYTES)
                    .and_then(|file| storage.sync_directory().map(|()| file)),
                other => other,
            };
            self.file = Some(file.map_err(failed)?);
        }
        let file = self.file.as_ref().expect("it was just opened");
        let slot = watermark.generation % 2 * WATERMARK_SLOT_STRIDE;
        file.write_at(&watermark.encode(), slot).and_then(|()| file.sync_data()).map_err(failed)?;
        self.generation = watermark.generation;
        Ok(())
    }
}

/// Starts the background thread. It ends after [`Signals::stop`].
pub(crate) fn start(writer: Arc<Writer>, watermark: Arc<Mutex<WatermarkFile>>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("treering".into()).spawn(move || run(&writer, &watermark))
}

fn run(writer: &Writer, watermark: &Mutex<WatermarkFile>) {
    let signals = &writer.signals;
    let mut sync_at: Option<Instant> = None;
    let mut quiet_at: Option<Instant> = None;
    let mut is_work_left = false;
    loop {
        let asked = {
            let mut asked = signals.asked.lock();
            let nothing = |asked: &Asked| !(asked.sync || asked.work || asked.look);
            while nothing(&asked) && !signals.is_stopping() {
                match [sync_at, quiet_at].into_iter().flatten().min() {
                    Some(until) => {
                        if signals.wake.wait_until(&mut asked, until).timed_out() {
                            break;
                        }
                    }
                    None => signals.wake.wait(&mut asked),
                }
            }
            std::mem::take(&mut *asked)
        };
        if signals.is_stopping() || writer.poison.is_set() {
            if writer.poison.is_set() && !signals.is_stopping() {
                let mut asked = signals.asked.lock();
                while !signals.is_stopping() {
                    signals.wake.wait(&mut asked);
                }
            }
            return;
        }
        let now = Instant::now();
        if signals.unsynced.load(Ordering::SeqCst) && sync_at.is_none() {
            sync_at = Some(now + writer.options.sync_interval);
        }
        if asked.sync || sync_at.is_some_and(|at| at <= now) {
            sync_at = None;
            signals.unsynced.store(false, Ordering::SeqCst);
            if writer.sync_in_background().is_err() {
                continue; // it poisoned the store: nothing is prepared or sealed any more, and every call says why
            }
            let marks = writer.marks.get();
            if marks.durable < marks.committed {
                signals.note_unsynced();
            }
        }
        if signals.durable_moved.swap(false, Ordering::SeqCst) {
            quiet_at = Some(Instant::now() + QUIET);
        } else if quiet_at.is_some_and(|at| at <= Instant::now()) {
            quiet_at = None;
            let _ = watermark.lock().write(writer, false); // derived: without it recovery reads a little more
        }
        is_work_left |= asked.work;
        if is_work_left {
            writer.prepare_next();
            while matches!(writer.seal_next(), Ok(true)) {}
            // What is not durable yet is sealed after its sync.
            let next = writer.tail.lock().seals.next;
            is_work_left = writer.set.last().is_some_and(|last| next < last.ordinal);
        }
    }
}
