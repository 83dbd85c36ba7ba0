//! Looking after a store from outside: is every byte of it as it was written, and what does a file say?
//!
//! All of it works on the files alone and never through an open [`Store`](crate::Store), so that it answers when a store
//! will not open. Verifying and dumping write no byte, take no lock and make no file; another process may write meanwhile.
//!
//! [`verify`](fn@verify) decides nothing anew: which files are the log, where it ends and what is a torn tail is what
//! opening decides. It then proves every byte of that. [`dump`](fn@dump) decides nothing at all: it shows one file.

mod accept;
pub(crate) mod dump;
mod report;
mod salvage;
pub(crate) mod verify;
mod writers;

use std::path::Path;
use std::sync::Arc;

use crate::storage::Storage;
use crate::storage::os::OsStorage;
use crate::{Error, ErrorKind, Result};

pub use crate::recovery::{AcceptPlan, AcceptedStream};
pub use accept::{accept, accept_on, accept_plan, accept_plan_on};
pub use dump::{dump, dump_bytes, dump_on};
pub use report::{Progress, VerifyReport};
pub use salvage::{MissingRange, MovedRange, SalvageReport, salvage, salvage_on};
pub use verify::{verify, verify_on};
pub use writers::{WriterProcess, Writers, writers};

/// The folder of a store that must be there.
fn open_folder(path: &Path) -> Result<Arc<dyn Storage>> {
    let shown = path.display().to_string();
    let storage = OsStorage::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, format!("there is no store in {shown}")),
        std::io::ErrorKind::NotADirectory => {
            Error::new(ErrorKind::NotAStore, format!("{shown} is not a folder; a store is a folder"))
        }
        _ => Error::io("open the folder", &shown, error),
    })?;
    Ok(Arc::new(storage))
}
