//! The making of a segment file: prepared under a name of its own, opened by its head block, published by its rename.
//!
//! Order, each step before the next: length and first blocks; head block with open frame; sync of the file; rename to the
//! segment's name, never over another file; sync of the directory. Only then may anything behind the open frame be shown
//! to anyone. A crash before the rename leaves a prepared file, which is not part of the log.

use std::io;
use std::sync::Arc;

use crate::format::file_name;
use crate::format::open::{HeadBlock, OpenFrame};
use crate::format::segment_header::{FIRST_FRAME_OFFSET, SegmentHeader};
use crate::format::store_block::StoreBlock;
use crate::ids::{Salt, SegmentOrdinal};
use crate::planted::{Plant, planted};
use crate::segment::one::Segment;
use crate::storage::{Storage, StorageFile};
use crate::{Error, Result};

/// How many bytes a new segment allocates at first.
pub(crate) const FIRST_STEP_BYTES: u64 = 64 << 10;

/// A segment file that waits for its open frame.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) header: SegmentHeader,
    file: Arc<dyn StorageFile>,
    name: String,
    /// Blocks are allocated up to this file offset.
    pub(crate) allocated: u64,
}

/// A failure while a segment was made, and whether anything of it can be in the log.
#[derive(Debug)]
pub(crate) struct CreateError {
    pub(crate) error: Error,
    /// The segment may have its name: the store must be reopened to know.
    pub(crate) is_effect_unknown: bool,
}

impl CreateError {
    /// Whether the prepared file was not there any more, so that nothing was done.
    pub(crate) fn is_not_there(&self) -> bool {
        !self.is_effect_unknown && self.error.kind() == crate::ErrorKind::NotFound
    }

    fn known(error: Error) -> CreateError {
        CreateError { error, is_effect_unknown: false }
    }
}

/// Prepares a file for the segment, replacing what an earlier writer prepared. `allocate` bytes get their blocks now, or
/// where there is no space for them, as many as every segment begins with.
pub(crate) fn prepare(
    storage: &dyn Storage,
    store: &StoreBlock,
    ordinal: SegmentOrdinal,
    span: u32,
    allocate: u64,
) -> Result<Prepared> {
    let name = file_name::prepared(ordinal);
    let mut salt = Salt::default();
    storage.fill_random(&mut salt.0).map_err(|error| Error::io("draw random bytes for", &name, error))?;
    let header = SegmentHeader { ordinal, span, salt, created_at: storage.now(), store: *store };
    let create = || storage.create(&name, header.file_bytes());
    let file = match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => storage.remove(&name).and_then(|()| create()),
        other => other,
    };
    let file = file.map_err(|error| Error::io("create", &name, error))?;
    let least = FIRST_STEP_BYTES.min(header.file_bytes());
    let mut allocated = allocate.clamp(least, header.file_bytes());
    let mut done = file.allocate(0..allocated);
    if done.is_err() && allocated > least {
        allocated = least;
        done = file.allocate(0..allocated);
    }
    if let Err(error) = done {
        let _ = storage.remove(&name); // best effort: a prepared file is never part of the log
        return Err(Error::io("allocate space for", &name, error));
    }
    Ok(Prepared { header, file, name, allocated })
}

/// Opens a prepared segment: after this the log goes on in it. `frames`, mostly none, stand behind its head block and are
/// there with it or not at all.
pub(crate) fn publish(
    storage: &dyn Storage,
    prepared: &Prepared,
    open: &OpenFrame,
    frames: &[u8],
) -> Result<Segment, CreateError> {
    let Prepared { header, file, name, allocated } = prepared;
    let (head, _) = HeadBlock::encode(header, open);
    debug_assert_eq!(head.len() as u64, FIRST_FRAME_OFFSET);
    if !frames.is_empty() {
        let end = FIRST_FRAME_OFFSET + frames.len() as u64;
        let needed = end.next_multiple_of(4096).min(header.file_bytes());
        let room = if *allocated < needed { file.allocate(*allocated..needed) } else { Ok(()) };
        room.and_then(|()| file.write_at(frames, FIRST_FRAME_OFFSET))
            .map_err(|error| CreateError::known(Error::io("write", name, error)))?;
    }
    file.write_at(&head, 0).map_err(|error| CreateError::known(Error::io("write", name, error)))?;
    let synced = if planted(Plant::PublishedUnsynced) { Ok(()) } else { file.sync_data() };
    synced.map_err(|error| CreateError::known(Error::io("sync", name, error)))?;
    let segment = file_name::segment(header.ordinal);
    storage.rename(name, &segment).map_err(|error| {
        // A rename that failed for any other reason than these may have happened all the same.
        let known = matches!(
            error.kind(),
            io::ErrorKind::AlreadyExists
                | io::ErrorKind::NotFound
                | io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge
        );
        CreateError { error: Error::io("rename to", &segment, error), is_effect_unknown: !known }
    })?;
    let unknown = |error: Error| CreateError { error, is_effect_unknown: true };
    let synced = if planted(Plant::NoDirectorySyncAtRoll) { Ok(()) } else { storage.sync_directory() };
    synced.map_err(|error| unknown(Error::io("sync the directory of", &segment, error)))?;
    Segment::from_file(Arc::clone(file), segment, header.ordinal, &header.store)
        .map_err(|unusable| unknown(unusable.into()))
}

/// Removes a prepared file that is not wanted any more.
pub(crate) fn discard(storage: &dyn Storage, prepared: Prepared) {
    let _ = storage.remove(&prepared.name); // best effort: a prepared file is never part of the log
}
