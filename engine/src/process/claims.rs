//! Claims: one handle's right to advance a stream, for as long as its process lives.
//!
//! A claim is an exclusive lock on one byte of a file that has none. The kernel keeps it for the open file, so that a process
//! that dies holds nothing, and nobody needs a timeout to find that out.
//!
//! 1. The byte is chosen by the stream's name, not by its id: a stream is claimed before its first event too. Names share a
//!    byte once in 2^64; such streams cannot be claimed at the same time, and nothing else happens.
//! 2. The bytes are spread over 256 files, since the kernel looks through the locks of a file one by one.
//! 3. The files are made when they are needed, hold nothing, and are never synced. Whoever deletes one makes room for a
//!    second claim beside those in it; so a byte is only called claimed while the name leads to the file in which it is
//!    locked, and else it is tried again in the file that has the name now.
//! 4. The kernel gives the same open file the same lock twice; what is held through a handle stands in its table, which is
//!    looked at first.
//! 5. In a fork nothing is claimed or let go of, and no lock of the parent's threads is waited for.
//!
//! A claim keeps others from doing the same work. What is safe without it, and all that anything rests on, is the expected
//! revision of an append.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::append::check_stream_name;
use crate::checksum::long_check;
use crate::format::file_name;
use crate::ids::FilePlace;
use crate::storage::{Access, LockHolder, LockKind, Storage, StorageFile};
use crate::sync::{Mutex, now, thread};
use crate::{Error, ErrorKind, Result};

/// The first wait for a claim that is held; each one after it is twice as long.
const PAUSE_MIN: Duration = Duration::from_micros(100);
/// The longest wait between two looks at it.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// How often a file that was deleted meanwhile is made anew before somebody is to hear of it.
const TRIES: usize = 100;
/// The bits of a name's hash that choose the byte in its file.
const OFFSET_BITS: u32 = 56;

/// Claims on the streams of one store, without the store being open.
///
/// A claim gives one handle the right to advance a stream, for as long as its process lives: of all that ask, in any process,
/// one gets it. It needs no open store, and the stream need not be there yet. A handle and its clones are one party, two
/// handles are two, in one process too. A [`Store`](crate::Store) that is open for writing is a handle of its own
/// ([`try_claim`](crate::Store::try_claim)).
///
/// Claims save work that would be done twice; they protect nothing. Somebody may delete the files that they lie on, or append
/// without one. An append is safe by the revision that it [expects](crate::Expected).
///
/// In a fork of its process a handle refuses everything ([`Forked`](ErrorKind::Forked)), and what it holds stays with the parent.
#[derive(Clone, Debug)]
pub struct Claims(Arc<Table>);

/// What is held through a handle, by the number of the file.
#[derive(Debug)]
struct Table {
    storage: Arc<dyn Storage>,
    slots: Mutex<BTreeMap<u8, Slot>>,
}

/// One of the files, while anything in it is held.
#[derive(Debug, Default)]
struct Slot {
    /// The file that had the name when it was last looked at.
    file: Option<(Arc<dyn StorageFile>, FilePlace)>,
    /// The bytes that are held, in this file or in one that had its name before.
    held: HashSet<u64>,
}

/// The byte of a stream: the number of its file, and where it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    file: u8,
    offset: u64,
}

/// How a try to claim ended.
enum Tried {
    Taken(Arc<dyn StorageFile>),
    HeldHere,
    HeldElsewhere(Arc<dyn StorageFile>),
}

/// The right to advance a stream, until this is dropped or its process ends. See [`Claims`].
#[derive(Debug)]
#[must_use = "the claim is let go of when this is dropped"]
pub struct Claim {
    table: Arc<Table>,
    stream: Box<str>,
    key: Key,
    file: Arc<dyn StorageFile>,
    is_released: bool,
}

impl Claims {
    /// A handle that holds nothing yet.
    pub(crate) fn over(storage: Arc<dyn Storage>) -> Claims {
        Claims(Arc::new(Table { storage, slots: Mutex::new(BTreeMap::new()) }))
    }

    /// Claims a stream, or says at once who holds it.
    ///
    /// # Errors
    /// [`Locked`](ErrorKind::Locked) where it is claimed, through this handle or any other; the message names the process, and
    /// says so where it is stopped. [`Invalid`](ErrorKind::Invalid), [`Limit`](ErrorKind::Limit) for what is no name of a
    /// stream; [`Unsupported`](ErrorKind::Unsupported) where the system has no locks of open files;
    /// [`Forked`](ErrorKind::Forked) in a fork; [`ReadOnly`](ErrorKind::ReadOnly), [`Io`](ErrorKind::Io) from the system.
    pub fn try_claim(&self, stream: &str) -> Result<Claim> {
        self.claim(stream, Some(Duration::ZERO))
    }

    /// Claims a stream, and waits until whoever holds it lets go or ends, for `timeout` at most; `None` waits for ever.
    ///
    /// Looks again after a tenth of a millisecond, and less often the longer it takes, up to every 20 ms. Who waits longer has no
    /// right before others. Where the same thread holds the claim it waits for itself.
    ///
    /// # Errors
    /// As [`try_claim`](Claims::try_claim); [`Locked`](ErrorKind::Locked) when the time is over.
    pub fn claim(&self, stream: &str, timeout: Option<Duration>) -> Result<Claim> {
        check_stream_name(stream)?;
        let key = Key::of(stream);
        let end = timeout.and_then(|timeout| now().checked_add(timeout));
        let mut pause = PAUSE_MIN;
        loop {
            let tried = self.0.take(key)?;
            if let Tried::Taken(file) = tried {
                return Ok(Claim { table: Arc::clone(&self.0), stream: stream.into(), key, file, is_released: false });
            }
            let left = end.map_or(PAUSE_MAX, |end| end.saturating_duration_since(now()));
            if left.is_zero() {
                return Err(self.0.refusal(stream, key, &tried));
            }
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Key {
    fn of(stream: &str) -> Key {
        let hash = long_check(0, stream.as_bytes());
        Key { file: (hash >> OFFSET_BITS) as u8, offset: hash & ((1 << OFFSET_BITS) - 1) }
    }
}

impl Table {
    fn check_process(&self) -> Result<()> {
        match self.storage.forked_from() {
            None => Ok(()),
            Some(process) => Err(Error::forked(process)),
        }
    }

    fn take(&self, key: Key) -> Result<Tried> {
        self.check_process()?;
        let mut slots = self.slots.lock();
        let slot = slots.entry(key.file).or_default();
        if slot.held.contains(&key.offset) {
            return Ok(Tried::HeldHere);
        }
        let tried = slot.take(&*self.storage, key);
        if let Ok(Tried::Taken(_)) = tried {
            slot.held.insert(key.offset);
        } else if slot.held.is_empty() {
            slots.remove(&key.file);
        }
        tried
    }

    fn give_back(&self, key: Key, file: &dyn StorageFile) -> Result<()> {
        self.check_process()?;
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get_mut(&key.file) {
            slot.held.remove(&key.offset);
            if slot.held.is_empty() {
                slots.remove(&key.file);
            }
        }
        file.unlock_byte(key.offset).map_err(|error| Error::io("unlock", &file_name::claims(key.file), error))
    }

    /// Says who holds the claim, and what can be done.
    fn refusal(&self, stream: &str, key: Key, tried: &Tried) -> Error {
        let (holder, way_out) = match tried {
            Tried::HeldElsewhere(file) => match file.byte_holders(key.offset).into_iter().next() {
                Some((holder, _)) if holder.pid == self.storage.process_id() => {
                    ("by another handle of this process".to_owned(), "it is free once that lets go".to_owned())
                }
                Some((holder, _)) => told(&holder),
                None => (
                    "by a process that cannot be seen from here, or that has let go of it just now".to_owned(),
                    "try again; it is free once the process lets go or ends".to_owned(),
                ),
            },
            _ => ("by this handle".to_owned(), "it is free once that claim is dropped".to_owned()),
        };
        let message =
            format!("the claim on stream {stream:?} of {} is held {holder}; {way_out}", self.storage.describe());
        Error::new(ErrorKind::Locked, message)
    }
}

/// The other process, and how it is got rid of.
fn told(holder: &LockHolder) -> (String, String) {
    let way_out = match holder.state {
        Some('T') => {
            format!("nothing takes it from a process that lives: let that go on (kill -CONT {}) or end it", holder.pid)
        }
        _ => "it is free once that lets go or ends".to_owned(),
    };
    (format!("by {holder}"), way_out)
}

impl Slot {
    /// Asks for the byte in the file that has the name.
    fn take(&mut self, storage: &dyn Storage, key: Key) -> Result<Tried> {
        let name = file_name::claims(key.file);
        let failed = |doing, error| Error::io(doing, &format!("{}/{name}", storage.describe()), error);
        for _ in 0..TRIES {
            let (file, place) = match self.file.take() {
                Some(known) => known,
                None => match open_or_make(storage, &name).map_err(|error| failed("open", error))? {
                    Some(opened) => opened,
                    None => continue,
                },
            };
            let is_taken = file.try_lock_byte(key.offset, LockKind::Exclusive).map_err(|error| match error.kind() {
                io::ErrorKind::Unsupported => {
                    Error::new(ErrorKind::Unsupported, format!("nothing can be claimed: {error}"))
                }
                _ => failed("lock a byte of", error),
            })?;
            let is_named = has_name(storage, &name, place);
            if let Ok(true) = is_named {
                self.file = Some((Arc::clone(&file), place));
                return Ok(if is_taken { Tried::Taken(file) } else { Tried::HeldElsewhere(file) });
            }
            // A lock in a file that lost its name excludes nobody who comes later.
            if is_taken {
                file.unlock_byte(key.offset).map_err(|error| failed("unlock", error))?;
            }
            is_named.map_err(|error| failed("look at", error))?;
        }
        let message = format!("{}/{name} is deleted again and again: nothing can be claimed", storage.describe());
        Err(Error::new(ErrorKind::Io, message))
    }
}

/// The file of this name, made where there is none; `None` where its name was taken or lost meanwhile.
fn open_or_make(storage: &dyn Storage, name: &str) -> io::Result<Option<(Arc<dyn StorageFile>, FilePlace)>> {
    let file = match storage.open(name, Access::ReadWrite) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => storage.create(name, 0),
        opened => opened,
    };
    match file {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        file => file.and_then(|file| file.place().map(|place| Some((file, place)))),
    }
}

/// Whether the name leads to the file that lies there.
fn has_name(storage: &dyn Storage, name: &str, place: FilePlace) -> io::Result<bool> {
    match storage.open(name, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        file => Ok(file?.place()? == place),
    }
}

impl Claim {
    /// The stream.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Whether this is a claim on a stream of the store that lies there, and the file in which it is locked has its name still.
    pub(crate) fn holds_in(&self, storage: &dyn Storage) -> Result<bool> {
        let name = file_name::claims(self.key.file);
        let is_named = self.file.place().and_then(|place| has_name(storage, &name, place));
        is_named.map_err(|error| Error::io("look at", &name, error))
    }

    /// Lets go of the claim, as dropping it does, and says whether that went well.
    ///
    /// # Errors
    /// [`Forked`](ErrorKind::Forked) in a fork, where nothing is done: the claim is the parent's;
    /// [`Io`](ErrorKind::Io) from the system.
    pub fn release(mut self) -> Result<()> {
        self.let_go()
    }

    fn let_go(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.is_released, true) {
            return Ok(());
        }
        self.table.give_back(self.key, &*self.file)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = self.let_go(); // `release` is there for who wants to know
    }
}

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Claims>();
    shared::<Claim>();
};
