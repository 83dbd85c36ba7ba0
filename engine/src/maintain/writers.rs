//! Who has a store open for writing, as the kernel knows it: by the locks that they hold, not by what they wrote anywhere.

use std::path::Path;

use super::open_folder;
use crate::process::turn;
use crate::recovery::identity;
use crate::storage::{Access, LockHolder, LockKind};
use crate::{Error, ErrorKind, Result};

/// Who has a store open for writing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writers {
    /// The processes, as far as this user may see them.
    pub processes: Vec<WriterProcess>,
    /// The one whose turn it is, of those who write together; mostly none, since a turn is short.
    pub turn: Option<WriterProcess>,
}

/// A process that has a store open for writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterProcess {
    /// Its process id.
    pub pid: u32,
    /// Its command name, where known.
    pub command: Option<String>,
    /// Its state as one letter (`R` running, `S` sleeping, `T` stopped, …), where known.
    pub state: Option<char>,
    /// Nobody else may write.
    pub is_exclusive: bool,
}

/// Tells who has the store in the directory `path` open for writing. Advice: it may be out of date when it arrives.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound), [`NotAStore`](ErrorKind::NotAStore) where there is none; [`Io`](ErrorKind::Io) from the
/// system.
pub fn writers(path: impl AsRef<Path>) -> Result<Writers> {
    let path = path.as_ref();
    let storage = open_folder(path)?;
    let identity = identity::read(&*storage, Access::Read)?
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no store in {}", path.display())))?;
    let of = |holder: LockHolder, is_exclusive| WriterProcess {
        pid: holder.pid,
        command: holder.command,
        state: holder.state,
        is_exclusive,
    };
    let present = turn::present(&*identity.file);
    let is_exclusive = present.iter().any(|(_, kind)| *kind == LockKind::Exclusive);
    let processes = present.into_iter().map(|(holder, kind)| of(holder, kind == LockKind::Exclusive)).collect();
    let turn = identity.file.lock_holder().filter(|_| !is_exclusive).map(|holder| of(holder, false));
    Ok(Writers { processes, turn })
}
