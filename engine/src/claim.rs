//! Claims as users open them: beside any store, or through a store that is open for writing.
//!
//! How a claim works is said in `process/claims.rs`; here is only what must be so before there can be one: the directory holds a
//! store, and it is one that may be written.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::FencingToken;
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

    /// A fencing token for a claim that is held, through this store or any other handle: greater than all tokens of the stream
    /// before it. From now on an append that carries one of those ([`Batch::fenced`](crate::Batch::fenced)) is refused.
    ///
    /// That is for who may lose a claim without noticing: its file was deleted, or it is held for a process that outlived
    /// whoever held it. The token is the place of a note in the log that the stream was claimed, which costs about 100 bytes. It
    /// may be handed to other processes, and is good until the next token of the stream is taken, through whatever
    /// openings of the store, but not for a copy of the store that was made before. The note is in the log when this returns,
    /// and no append under the token is durable before it is.
    ///
    /// ```
    /// # use treering::{Batch, ErrorKind, Expected, NewEvent, Options, Store};
    /// # let folder = std::env::temp_dir().join(format!("treering-fenced-{}", std::process::id()));
    /// # let store = Store::open(&folder, Options::new())?;
    /// # let event = [NewEvent::new("step", "{}")];
    /// # let _ = store.append(&Batch::to("session-1", Expected::NoStream, &event))?;
    /// let claim = store.claim("session-1", None)?;
    /// let token = store.fencing_token(&claim)?;
    /// let _ = store.append(&Batch::to("session-1", Expected::Any, &event).fenced("session-1", token))?;
    /// // Whoever claims the stream next takes a token too, and this one is worth nothing from then on:
    /// drop(claim);
    /// let later = store.fencing_token(&store.claim("session-1", None)?)?;
    /// let refused = store.append(&Batch::to("session-1", Expected::Any, &event).fenced("session-1", token));
    /// assert!(later > token && refused.unwrap_err().kind() == ErrorKind::Fenced);
    /// # drop(store);
    /// # std::fs::remove_dir_all(&folder).ok();
    /// # Ok::<(), treering::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) where the stream does not exist yet: whoever appends to it with
    /// [`Expected::NoStream`](crate::Expected::NoStream) begins it, and takes a token then.
    /// [`Invalid`](ErrorKind::Invalid) where the claim is on a stream of another store, or its file was deleted since.
    /// As [`append`](Store::append) else.
    pub fn fencing_token(&self, claim: &Claim) -> Result<FencingToken> {
        let writer = self.writer()?;
        let storage = &*writer.set.storage;
        if !claim.holds_in(storage)? {
            let message = format!(
                "the claim on stream {:?} is none of the store in {}, or its file was deleted since; claim the stream again",
                claim.stream(),
                storage.describe()
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        writer.take_fencing_token(claim.stream(), &format!("process {}", storage.process_id()))
    }
}
