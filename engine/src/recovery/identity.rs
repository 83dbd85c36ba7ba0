//! The identity file: read, or made together with the store.
//!
//! It is written once, under a temporary name that all who make a store share, and locked there; then the first segment
//! is made; then the identity file gets its name. So of two processes that make a store at once one waits for nobody and
//! the other is told who does it; a store that was only half made has no identity file and is made again; and a store
//! with an identity file but no segment has lost its log.

use std::io;
use std::sync::Arc;

use crate::format::Fault;
use crate::format::file_name::{self, FileKind};
use crate::format::segment_header::{FIRST_FRAME_OFFSET, HEAD_BLOCK_BYTES, SegmentHeader};
use crate::format::store_block::{FORMAT_MINOR, STORE_BLOCK_BYTES, StoreBlock};
use crate::ids::{FilePlace, SegmentOrdinal, StoreId};
use crate::options::Options;
use crate::storage::{Access, DirectoryEntry, Storage, StorageFile};
use crate::{Damage, DamageClass, Error, ErrorKind, Position, Result};

/// The identity file, open, and what it says.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) block: StoreBlock,
    /// Where it lies; zeros where it is lost.
    pub(crate) place: FilePlace,
}

/// Reads the identity file; `None` where there is none.
pub(crate) fn read(storage: &dyn Storage, access: Access) -> Result<Option<Identity>> {
    let name = file_name::IDENTITY;
    let file = match storage.open(name, access) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            return Err(not_a_store(storage, "its identity is no regular file"));
        }
        Err(error) => return Err(Error::io("open", &full_name(storage, name), error)),
    };
    let mut bytes = [0; STORE_BLOCK_BYTES];
    let read = file.read_at(&mut bytes, 0).map_err(|error| Error::io("read", &full_name(storage, name), error))?;
    match StoreBlock::decode(&bytes[..read]) {
        Ok(block) => {
            let place = file.place().map_err(|error| Error::io("look at", name, error))?;
            Ok(Some(Identity { file, block, place }))
        }
        Err(Fault::Unsupported(what)) => {
            let where_ = storage.describe();
            Err(Error::new(
                ErrorKind::Unsupported,
                format!("the store {where_} uses {what}; use a newer version of treering"),
            ))
        }
        Err(fault) if looks_foreign(&bytes[..read]) => {
            Err(not_a_store(storage, &format!("its file identity is something else ({fault})")))
        }
        Err(fault) => Err(Error::from_damage(damaged(
            DamageClass::Damage,
            format!("{fault}; every segment repeats what it said"),
        ))),
    }
}

/// The identity file, to be read only; where it is lost, what the segments say in its place, and the damage. `None` where there
/// is neither.
pub(crate) fn read_or_recover(storage: &dyn Storage) -> Result<Option<(Identity, Option<Damage>)>> {
    let (damage, refusal) = match read(storage, Access::Read) {
        Ok(Some(identity)) => return Ok(Some((identity, None))),
        Ok(None) => (missing(), None),
        Err(error) if error.kind() == ErrorKind::NotAStore => {
            let detail = format!("{error}; every segment repeats what it said");
            (Damage { class: DamageClass::Foreign, detail, ..missing() }, Some(error))
        }
        Err(error) => match error.damage() {
            Some(damage) => (damage.clone(), Some(error)),
            None => return Err(error),
        },
    };
    match (from_segments(storage)?, refusal) {
        (Some(identity), _) => Ok(Some((identity, Some(damage)))),
        (None, Some(refusal)) => Err(refusal),
        (None, None) => Ok(None),
    }
}

/// What the segments say in place of an identity file that is lost; `None` where none of them proves itself. Where they are
/// divided most of them are believed, so that one foreign file does not make all the others foreign.
pub(crate) fn from_segments(storage: &dyn Storage) -> Result<Option<Identity>> {
    let entries = storage.list().map_err(|error| Error::io("list", &storage.describe(), error))?;
    let is_segment = |name: &String| matches!(file_name::parse(name), FileKind::Segment(_));
    let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).filter(is_segment).collect();
    names.sort();
    let mut said: Vec<(Identity, u64)> = Vec::new();
    for name in &names {
        let Ok(file) = storage.open(name, Access::Read) else { continue };
        let mut bytes = vec![0; 2 * HEAD_BLOCK_BYTES];
        let Ok(read) = file.read_at(&mut bytes, 0) else { continue };
        let copies = bytes[..read].chunks(HEAD_BLOCK_BYTES);
        let Some(header) = copies.filter_map(|copy| SegmentHeader::decode(copy).ok()).next() else { continue };
        match said.iter_mut().find(|(identity, _)| identity.block == header.store) {
            Some((_, times)) => *times += 1,
            None => said.push((Identity { file, block: header.store, place: FilePlace::default() }, 1)),
        }
    }
    let most = said.iter().map(|(_, times)| *times).max();
    Ok(said.into_iter().find(|(_, times)| Some(*times) == most).map(|(identity, _)| identity))
}

/// The identity file is not there, though segments are.
pub(crate) fn missing() -> Damage {
    damaged(DamageClass::Missing, "the file is not there; every segment repeats what it said".into())
}

/// What is wrong with the identity file, in which no event lies.
fn damaged(class: DamageClass, detail: String) -> Damage {
    let bytes = 0..STORE_BLOCK_BYTES as u64;
    let damage = Damage::new(class, file_name::IDENTITY, bytes, Position::ZERO..Position::ZERO, detail);
    Damage { streams: Some(Vec::new()), ..damage }
}

/// Bytes that are not a damaged store block but something that never was one.
fn looks_foreign(bytes: &[u8]) -> bool {
    let magic = crate::format::store_block::STORE_MAGIC;
    let wrong = magic.iter().zip(bytes).filter(|(expected, found)| expected != found).count();
    bytes.len() != STORE_BLOCK_BYTES && wrong > 0 || wrong > 4
}

/// Begins to make a store in a directory that holds none: the identity file, written and locked, under its temporary name.
/// The first segment is made next, then [`publish`] ends it.
pub(crate) fn begin(storage: &dyn Storage, options: &Options) -> Result<Identity> {
    let name = temporary_name();
    let failed = |error: io::Error| Error::io("create", &full_name(storage, file_name::IDENTITY), error);
    refuse_foreign(storage)?;
    let file = match storage.create(&name, 0) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => storage.open(&name, Access::ReadWrite),
        other => other,
    };
    let file = file.map_err(failed)?;
    lock(storage, &*file)?;
    // Whoever held the lock before may have made the store meanwhile, with this very file.
    if storage.open(file_name::IDENTITY, Access::Read).is_ok() {
        return Err(Error::new(
            ErrorKind::Locked,
            format!("another process has just made the store {}; try again", storage.describe()),
        ));
    }
    refuse_foreign(storage)?;
    for entry in storage.list().map_err(|error| Error::io("list", &storage.describe(), error))? {
        // What a maker left that died: nothing of it was ever part of a store.
        let is_of_store = |kind: &FileKind| {
            matches!(kind, FileKind::Segment(_) | FileKind::Prepared(_) | FileKind::Watermark | FileKind::Control)
        };
        if is_of_store(&file_name::parse(&entry.name)) {
            storage.remove(&entry.name).map_err(failed)?;
        }
    }
    let mut store = StoreId::default();
    storage
        .fill_random(&mut store.0)
        .map_err(|error| Error::io("draw random bytes for", &storage.describe(), error))?;
    let block = StoreBlock {
        minor: FORMAT_MINOR,
        compatible: 0,
        read_only_compatible: 0,
        incompatible: 0,
        store,
        segment_bytes: options.segment_bytes,
        index_stride_bytes: options.index_stride_bytes.min(options.segment_bytes),
        created_at: storage.now(),
    };
    file.write_at(&block.encode(), 0).and_then(|()| file.sync_data()).map_err(failed)?;
    let place = file.place().map_err(failed)?;
    Ok(Identity { file, block, place })
}

/// Gives the identity file its name: from now on there is a store.
pub(crate) fn publish(storage: &dyn Storage) -> Result<()> {
    let renamed = storage.rename(&temporary_name(), file_name::IDENTITY).and_then(|()| storage.sync_directory());
    renamed.map_err(|error| Error::io("create", &full_name(storage, file_name::IDENTITY), error))
}

fn temporary_name() -> String {
    file_name::temporary(file_name::IDENTITY, 0)
}

/// A folder without identity file may hold what a maker left that died, and nothing else. The names come to the disk in any
/// order: derived files, which are made last, may be there without the identity.
fn refuse_foreign(storage: &dyn Storage) -> Result<()> {
    let entries = storage.list().map_err(|error| Error::io("list", &storage.describe(), error))?;
    let is_segment = |entry: &DirectoryEntry| matches!(file_name::parse(&entry.name), FileKind::Segment(_));
    let is_log = |entry: &DirectoryEntry| {
        is_segment(entry) && (entry.name != file_name::segment(SegmentOrdinal(0)) || has_frames(storage, &entry.name))
    };
    if entries.iter().any(is_log)
        && let Some(store) = from_segments(storage)?
    {
        let damage = missing();
        let message = format!(
            "{} holds segments of the store {} and no identity file: put it back from a copy. Without it the store can be \
             read, and `salvage` copies it into a new one",
            storage.describe(),
            store.block.store
        );
        return Err(Error::with_damage(damage, message));
    }
    let was_begun = entries.iter().any(is_segment) && from_segments(storage)?.is_some();
    let foreign = entries.iter().find(|entry| match file_name::parse(&entry.name) {
        FileKind::Temporary | FileKind::Prepared(_) | FileKind::Identity => false,
        FileKind::Watermark | FileKind::Control => !was_begun,
        FileKind::Segment(_) => is_log(entry),
        _ => true,
    });
    match foreign {
        None => Ok(()),
        Some(entry) => {
            let why = format!("it holds {:?} and no identity file; name an empty or a new folder", entry.name);
            Err(not_a_store(storage, &why))
        }
    }
}

/// Whether anything stands behind the head of a segment file; also where that cannot be told.
fn has_frames(storage: &dyn Storage, name: &str) -> bool {
    let look = || -> io::Result<bool> {
        let file = storage.open(name, Access::Read)?;
        let mut bytes = [0; 4096];
        let read = file.read_at(&mut bytes, FIRST_FRAME_OFFSET)?;
        Ok(bytes[..read].iter().any(|byte| *byte != 0))
    };
    look().unwrap_or(true)
}

/// Takes the lock of who makes the store, or says who holds it.
fn lock(storage: &dyn Storage, file: &dyn StorageFile) -> Result<()> {
    let got = file.try_lock().map_err(|error| Error::io("lock", file_name::IDENTITY, error))?;
    if got {
        return Ok(());
    }
    let holder = file.lock_holder().map_or_else(|| "another process".into(), |holder| holder.to_string());
    let message = format!(
        "the store {} is locked by who makes it: {holder}; until that is done there is nothing to be read either. Try again \
         then, or once it has ended: what it leaves half made is made anew",
        storage.describe()
    );
    Err(Error::new(ErrorKind::Locked, message))
}

fn full_name(storage: &dyn Storage, name: &str) -> String {
    format!("{}/{name}", storage.describe())
}

fn not_a_store(storage: &dyn Storage, why: &str) -> Error {
    Error::new(ErrorKind::NotAStore, format!("{} is not a treering store: {why}", storage.describe()))
}
