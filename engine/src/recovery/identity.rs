//! The identity file: read, or made together with the store.
//!
//! It is written once, under a temporary name, synced, and given its name by a rename that never replaces: of two
//! processes that make a store at once, one finds the other's.

use std::io;
use std::sync::Arc;

use crate::format::store_block::{FORMAT_MINOR, STORE_BLOCK_BYTES, StoreBlock};
use crate::format::{Fault, file_name};
use crate::ids::StoreId;
use crate::options::Options;
use crate::storage::{Access, Storage, StorageFile};
use crate::{Damage, DamageClass, Error, ErrorKind, Position, Result};

/// The identity file, open, and what it says.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) block: StoreBlock,
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
        Ok(block) => Ok(Some(Identity { file, block })),
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
        Err(fault) => Err(Error::from_damage(Damage {
            class: DamageClass::Damage,
            file: name.into(),
            bytes: 0..STORE_BLOCK_BYTES as u64,
            positions: Position::ZERO..Position::ZERO,
            detail: format!("{fault}; every segment repeats what it said"),
        })),
    }
}

/// Bytes that are not a damaged store block but something that never was one.
fn looks_foreign(bytes: &[u8]) -> bool {
    let magic = crate::format::store_block::STORE_MAGIC;
    let wrong = magic.iter().zip(bytes).filter(|(expected, found)| expected != found).count();
    bytes.len() != STORE_BLOCK_BYTES && wrong > 0 || wrong > 4
}

/// Makes a store in a directory that holds none.
pub(crate) fn create(storage: &dyn Storage, options: &Options) -> Result<()> {
    let entries = storage.list().map_err(|error| Error::io("list", &storage.describe(), error))?;
    let foreign = entries.iter().find(|entry| file_name::parse(&entry.name) != file_name::FileKind::Temporary);
    if let Some(foreign) = foreign {
        return Err(not_a_store(
            storage,
            &format!("it holds {:?} and no identity file; name an empty or a new folder", foreign.name),
        ));
    }
    let mut random = [0; 24];
    storage.fill_random(&mut random).map_err(|error| Error::io("draw random bytes for", &storage.describe(), error))?;
    let mut store = StoreId::default();
    store.0.copy_from_slice(&random[..16]);
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
    let mut suffix = [0; 8];
    suffix.copy_from_slice(&random[16..]);
    let temporary = file_name::temporary(file_name::IDENTITY, u64::from_le_bytes(suffix));
    let failed = |error: io::Error| Error::io("create", &full_name(storage, file_name::IDENTITY), error);
    let file = storage.create(&temporary, 0).map_err(failed)?;
    let written = file.write_at(&block.encode(), 0).and_then(|()| file.sync_data());
    let renamed = written.and_then(|()| match storage.rename(&temporary, file_name::IDENTITY) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => storage.remove(&temporary), // somebody else made it
        other => other,
    });
    renamed.and_then(|()| storage.sync_directory()).map_err(|error| {
        let _ = storage.remove(&temporary); // best effort: a temporary file is never part of a store
        failed(error)
    })
}

fn full_name(storage: &dyn Storage, name: &str) -> String {
    format!("{}/{name}", storage.describe())
}

fn not_a_store(storage: &dyn Storage, why: &str) -> Error {
    Error::new(ErrorKind::NotAStore, format!("{} is not a treering store: {why}", storage.describe()))
}
