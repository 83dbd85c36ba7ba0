//! The one error type: opaque, with a kind to branch on, and a message that says where, what was expected, what was
//! found, and the way out.
//!
//! Damage has a type of its own, [`Damage`], because it is not only an error: readers hand it out as an item between
//! events, reports list it.

use std::fmt;
use std::io;
use std::ops::Range;

use crate::ids::{Incarnation, Position, Revision, StreamId};

/// What every call of this crate that can fail returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
///
/// The message is made for people: one or two plain sentences with the way out. Programs branch on [`kind`](Self::kind).
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<io::Error>,
    conflict: Option<Conflict>,
    damage: Option<Damage>,
    lost_token: Option<LostToken>,
}

/// The classes of errors. More may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The system refused or failed a call, for a reason that is none of the others.
    Io,
    /// No space, quota or file size left. The log is as it was; appending works again once there is space.
    NoSpace,
    /// The store was opened for reading only, or lies on something that cannot be written.
    ReadOnly,
    /// Another process, or another handle of this one, writes to the store.
    Locked,
    /// The expected revision is not the actual one; see [`Error::conflict`].
    Conflict,
    /// The fencing token is not that of the stream's newest claim: another has taken the stream over. Nothing was appended.
    Fenced,
    /// An argument is beyond a limit of the store.
    Limit,
    /// An argument makes no sense.
    Invalid,
    /// There is no such store, stream or event.
    NotFound,
    /// The directory, or a file in it, is something else than a store.
    NotAStore,
    /// The store was written by a newer version, or uses a feature that this build does not have.
    Unsupported,
    /// Bytes that were durable are not what was written; see [`Error::damage`].
    Damage,
    /// The copy of the store ends early.
    CopyIncomplete,
    /// Damage hides where the stream ends.
    HeadUnknown,
    /// An earlier write or sync of this store had an unknown effect: nothing is written until it is reopened.
    Poisoned,
    /// A file of the store lost its name under its writer: it was removed, replaced or moved away. What was appended since the last
    /// sync is lost once this process ends; nothing more is written. Reading works until the store is closed.
    Removed,
    /// The store was closed.
    Closed,
    /// This process is a fork of the one that opened the store for writing: it goes on with nothing that it inherited. Open
    /// the store anew.
    Forked,
    /// The cursor token is of another store.
    ForeignToken,
    /// The cursor token names an event that this log does not hold; see [`Error::lost_token`].
    LostToken,
}

/// A cursor token whose event is not in the log: it was taken in another copy of the store, or of an event that the log
/// lost, or the store was put back to an earlier state.
///
/// The consumer has dealt with events that this log does not know. It goes on by going back: to where both histories are
/// the same, with what it made of the events behind that undone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostToken {
    /// Where the token's event was.
    pub position: Position,
    /// The life of the store that the token was taken in.
    pub incarnation: Incarnation,
    /// Below it this log is the one that the token was taken from: reading goes on from here. `None` where nothing says
    /// how far the two are the same.
    pub shared_until: Option<Position>,
}

/// The expected revision met another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The stream.
    pub stream: String,
    /// Its actual head: the revision of its last event, or `None` where it does not exist.
    pub actual: Option<Revision>,
    /// Up to where the log must be durable for that head to be durable.
    pub position: Position,
}

/// Bytes that are not what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What kind of damage.
    pub class: DamageClass,
    /// The file, by its name in the store.
    pub file: String,
    /// The bytes of the file that are lost to readers.
    pub bytes: Range<u64>,
    /// The positions that lie in them; empty where the file holds none.
    pub positions: Range<Position>,
    /// The streams that have events there; `None` where nothing that is left says it: then it may be any, also one that
    /// nobody knows.
    pub streams: Option<Vec<DamagedStream>>,
    /// What was expected and what was found, in words.
    pub detail: String,
    /// The loss was accepted, and the log records that.
    pub is_accepted: bool,
}

/// A stream that has events in damaged bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedStream {
    /// The stream.
    pub stream: StreamId,
    /// Its name; `None` where that is lost too.
    pub name: Option<String>,
    /// First and last revision of the events that lie there.
    pub revisions: (Revision, Revision),
}

/// The classes of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DamageClass {
    /// Bytes that fail their check below what was durable.
    Damage,
    /// A file, or the end of one, is not there.
    Missing,
    /// The file belongs to another store.
    Foreign,
    /// The file belongs to another moment of this store.
    Stale,
    /// The copy was made while the store was written, and ends early. Nothing was damaged.
    CopyIncomplete,
    /// Bytes behind the last whole frame that nobody was ever promised. For information.
    TornTail,
    /// Events that are as they were written, and that this build cannot decode: encrypted, or coded in another way. Nothing
    /// is damaged.
    Undecoded,
}

impl DamageClass {
    /// The word for it in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            DamageClass::Damage => "damage",
            DamageClass::Missing => "missing",
            DamageClass::Foreign => "foreign",
            DamageClass::Stale => "stale",
            DamageClass::CopyIncomplete => "copy incomplete",
            DamageClass::TornTail => "torn tail",
            DamageClass::Undecoded => "undecoded",
        }
    }
}

impl Damage {
    /// What it means, and for whom, in a sentence.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        match (self.class, self.streams.as_deref()) {
            _ if self.is_accepted => "That was accepted as lost; it stands in nobody's way.",
            (DamageClass::TornTail, _) => "Nobody was promised these bytes; nothing is lost.",
            (DamageClass::Undecoded, _) => {
                "Nothing is lost: a build that has the key or knows the coding reads them. All other events are readable."
            }
            (DamageClass::CopyIncomplete, _) => {
                "The log of this copy ends there; what comes before is whole, what comes behind it does not have."
            }
            (_, Some([])) => "No event lies there; nothing is lost to readers.",
            (_, Some(_)) => {
                "Readers of these streams miss the revisions named; it takes nothing that lies elsewhere, and appending goes on."
            }
            (_, None) => {
                "Nothing that is left says whose events lay there: a stream that was not written again behind it is \
                 readable, but not appended to before an accept. It takes nothing that lies elsewhere."
            }
        }
    }

    /// Damage of which nothing says yet what it held.
    pub(crate) fn new(
        class: DamageClass,
        file: impl Into<String>,
        bytes: Range<u64>,
        positions: Range<Position>,
        detail: impl Into<String>,
    ) -> Damage {
        let (file, detail) = (file.into(), detail.into());
        Damage { class, file, bytes, positions, streams: None, detail, is_accepted: false }
    }

    /// Notes that revisions of a stream lie there. Those of one stream that follow each other become one entry.
    pub(crate) fn note_stream(&mut self, stream: StreamId, name: Option<&str>, first: Revision, last: Revision) {
        let streams = self.streams.get_or_insert_default();
        // Bounded, so that a frame of many streams costs no square of them.
        let before = streams.iter_mut().rev().take(64).find(|before| before.stream == stream);
        match before.filter(|before| before.revisions.1.next() == Some(first)) {
            Some(before) => before.revisions.1 = last,
            None => streams.push(DamagedStream { stream, name: name.map(Into::into), revisions: (first, last) }),
        }
    }

    /// Gives the streams their names, where `name_of` knows them and nothing did before.
    pub(crate) fn name_streams(&mut self, name_of: impl Fn(StreamId) -> Option<String>) {
        for stream in self.streams.iter_mut().flatten().filter(|stream| stream.name.is_none()) {
            stream.name = name_of(stream.stream);
        }
    }
}

impl fmt::Display for DamagedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name:?}")?,
            None => write!(f, "${}", self.stream)?,
        }
        match self.revisions {
            (first, last) if first == last => write!(f, " revision {first}"),
            (first, last) => write!(f, " revisions {first}..={last}"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More streams than this are counted, not named.
        const NAMED_MAX: usize = 8;
        let accepted = if self.is_accepted { "accepted " } else { "" };
        write!(
            f,
            "{accepted}{} in {}, bytes {}..{}",
            self.class.as_str(),
            self.file,
            self.bytes.start,
            self.bytes.end
        )?;
        if self.positions.start < self.positions.end {
            write!(f, " (positions {}..{})", self.positions.start, self.positions.end)?;
        }
        write!(f, ": {}", self.detail)?;
        let streams = self.streams.as_deref().unwrap_or_default();
        for (index, stream) in streams.iter().take(NAMED_MAX).enumerate() {
            write!(f, "{} {stream}", if index == 0 { "; there:" } else { "," })?;
        }
        match streams.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            more => write!(f, " and of {more} more streams"),
        }
    }
}

impl Error {
    /// An error of this kind with this message.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            source: None,
            conflict: None,
            damage: None,
            lost_token: None,
        }))
    }

    /// A failed call of the system: what was being done, to which file.
    pub(crate) fn io(doing: &str, file: &str, source: io::Error) -> Error {
        let (kind, way_out) = match source.kind() {
            io::ErrorKind::StorageFull => (ErrorKind::NoSpace, "; make room on the disk and try again"),
            io::ErrorKind::QuotaExceeded => (ErrorKind::NoSpace, "; the quota is used up: make room and try again"),
            io::ErrorKind::FileTooLarge => {
                (ErrorKind::NoSpace, "; the limit on file sizes (ulimit -f) is below the segment size")
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                (ErrorKind::ReadOnly, "; what lies on a read-only file system can be read, not written")
            }
            io::ErrorKind::PermissionDenied => (ErrorKind::Io, "; check who owns the folder and its permissions"),
            io::ErrorKind::NotFound => (ErrorKind::NotFound, ""),
            io::ErrorKind::OutOfMemory => {
                (ErrorKind::Io, "; the limit on memory (ulimit -v) is too low for its mapping")
            }
            _ if wants_descriptors(&source) => {
                (ErrorKind::Io, "; raise the limit on open files (ulimit -n) or close some")
            }
            _ => (ErrorKind::Io, ""),
        };
        let mut error = Error::new(kind, format!("cannot {doing} {file}: {source}{way_out}"));
        error.0.source = Some(source);
        error
    }

    /// Whether nothing was done, for want of descriptors: only calls that would have given one fail so.
    pub(crate) fn is_for_want_of_descriptors(&self) -> bool {
        self.0.source.as_ref().is_some_and(wants_descriptors)
    }

    /// What was opened by `process` is used in a fork of it.
    pub(crate) fn forked(process: u32) -> Error {
        let message = format!(
            "process {process} opened the store, and this process is a fork of it: nothing is read or written through what it \
             inherited; open the store anew here, for writing once process {process} has closed it"
        );
        Error::new(ErrorKind::Forked, message)
    }

    /// The name of a file that this process writes leads to it no more.
    pub(crate) fn removed(file: &str, store: &str) -> Error {
        let message = format!(
            "the file {file} of the store {store} was removed, replaced or moved away while the store was open for writing: what was \
             appended since the last sync is lost once this process ends, and nothing more is appended; reading works until the \
             store is closed: read out what is to be kept, or put the file back, and keep others from taking files away there"
        );
        Error::new(ErrorKind::Removed, message)
    }

    /// There is no stream of this name.
    #[cold]
    pub(crate) fn no_stream(name: &str) -> Error {
        Error::new(ErrorKind::NotFound, format!("there is no stream {name:?}; `streams` lists those there are"))
    }

    pub(crate) fn from_conflict(conflict: Conflict, message: String) -> Error {
        let mut error = Error::new(ErrorKind::Conflict, message);
        error.0.conflict = Some(conflict);
        error
    }

    pub(crate) fn from_damage(damage: Damage) -> Error {
        let message = damage.to_string();
        Error::with_damage(damage, message)
    }

    /// Damage as an error, in other words than its own.
    pub(crate) fn with_damage(damage: Damage, message: String) -> Error {
        let kind = match damage.class {
            DamageClass::CopyIncomplete => ErrorKind::CopyIncomplete,
            DamageClass::Undecoded => ErrorKind::Unsupported,
            _ => ErrorKind::Damage,
        };
        let mut error = Error::new(kind, message);
        error.0.damage = Some(damage);
        error
    }

    /// The same error with its damage, where it is damage, told more exactly.
    pub(crate) fn map_damage(mut self, change: impl FnOnce(&mut Damage)) -> Error {
        match self.0.damage.take() {
            Some(mut damage) => {
                change(&mut damage);
                Error::from_damage(damage)
            }
            None => self,
        }
    }

    pub(crate) fn from_lost_token(lost: LostToken, message: String) -> Error {
        let mut error = Error::new(ErrorKind::LostToken, message);
        error.0.lost_token = Some(lost);
        error
    }

    /// The class to branch on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// For [`ErrorKind::Conflict`]: the stream and its actual head.
    #[must_use]
    pub fn conflict(&self) -> Option<&Conflict> {
        self.0.conflict.as_ref()
    }

    /// For [`ErrorKind::Damage`] and [`ErrorKind::CopyIncomplete`]: what is damaged, and where. For
    /// [`ErrorKind::Unsupported`] of events that cannot be decoded: which they are.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        self.0.damage.as_ref()
    }

    /// For [`ErrorKind::LostToken`]: where its event was, and up to where both histories are the same.
    #[must_use]
    pub fn lost_token(&self) -> Option<&LostToken> {
        self.0.lost_token.as_ref()
    }

    /// Whether the outcome of the append is unknown: it may or may not be in the log after reopening. Append again with
    /// the same batch id: the retry is recognised.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Poisoned | ErrorKind::Removed)
    }
}

/// EMFILE and ENFILE, which have no kind of their own.
fn wants_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}
