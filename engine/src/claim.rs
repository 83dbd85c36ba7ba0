//! Claims as users open them: beside any store, or through a store that is open for writing.
//!
//! How a claim works is said in `process/claims.rs`; here is only what must be so before there can be one: the directory holds a
//! store, and it is one that may be written.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::options::Options;
use crate::process::claims::{Claim, Claims};
use crate::recovery::{identity, open};
use crate::storage::os::OsStorage;
use crate::storage::{Access, Storage};
use crate::store::{Store, no_directory};
use crate::{Error, ErrorKind, Result};

impl Claims {
    /// Opens the claims of the store in the directory `path`, whoever has it open meanwhile.
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("treering-claims-{}", std::process::id()));
    /// # treering::Store::open(&folder, treering::Options::new())?.close()?;
    /// let claims = treering::Claims::open(&folder, &treering::Options::new())?;
    /// let claim = claims.try_claim("session-1")?;
    /// // Nobody else advances the session now. One that tries is told who does:
    /// let other = treering::Claims::open(&folder, &treering::Options::new())?;
    /// assert_eq!(other.try_claim("session-1").unwrap_err().kind(), treering::ErrorKind::Locked);
    /// drop(claim);
    /// # std::fs::remove_dir_all(&folder).ok();
    /// # Ok::<(), treering::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`NotAStore`](ErrorKind::NotAStore) where there is no store;
    /// [`Unsupported`](ErrorKind::Unsupported) for a store of a newer version or on a network file system;
    /// [`Damage`](ErrorKind::Damage) where its identity file is damaged; [`Io`](ErrorKind::Io) from the system.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Claims> {
        let path = path.as_ref();
        let storage = OsStorage::open(path).map_err(|error| no_directory(path, error))?;
        Claims::of_store(Arc::new(storage), options)
    }

    /// As [`open`](Claims::open), on any storage.
    ///
    /// # Errors
    /// As [`open`](Claims::open).
    #[cfg(feature = "unstable")]
    pub fn open_on(storage: Arc<dyn Storage>, options: &Options) -> Result<Claims> {
        Claims::of_store(storage, options)
    }

    fn of_store(storage: Arc<dyn Storage>, options: &Options) -> Result<Claims> {
        if identity::read(&*storage, Access::Read)?.is_none() {
            let message =
                format!("there is no store in {}; make it before its streams are claimed", storage.describe());
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        open::refuse_network(&*storage, options.force_network_file_system)?;
        Ok(Claims::over(storage))
    }
}

impl Store {
    /// Claims a stream, or says at once who holds it. See [`Claims`].
    ///
    /// # Errors
    /// As [`Claims::try_claim`]; [`ReadOnly`](ErrorKind::ReadOnly) on a store opened for reading.
    pub fn try_claim(&self, stream: &str) -> Result<Claim> {
        self.claims()?.try_claim(stream)
    }

    /// Claims a stream, and waits until whoever holds it lets go or ends, for `timeout` at most; `None` waits for ever. See
    /// [`Claims`].
    ///
    /// # Errors
    /// As [`Claims::claim`]; [`ReadOnly`](ErrorKind::ReadOnly) on a store opened for reading.
    pub fn claim(&self, stream: &str, timeout: Option<Duration>) -> Result<Claim> {
        self.claims()?.claim(stream, timeout)
    }
}
