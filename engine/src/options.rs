//! Every option of a store: its default, its range, what it costs and what it may lose.

use std::time::Duration;

use crate::{Error, ErrorKind, Result, limits};

/// What an append waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum Durability {
    /// In the page cache of the operating system: survives `kill -9` of every process, not a power loss. Synced in the
    /// background, by closing, and by the next opening.
    Written,
    /// On the device, after `fdatasync`: survives a power loss.
    #[default]
    Synced,
}

/// How sections are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// zstd level, 1 to 19. 1 loses 1–5 % of size against 3, 19 gains 5–15 % at a hundredfold cost.
    pub level: i32,
    /// Sections with fewer bytes of bodies stay as they are.
    pub min_bytes: usize,
}

impl Default for Compression {
    /// Level 3 for sections from 1 KiB on.
    fn default() -> Compression {
        Compression { level: 3, min_bytes: 1024 }
    }
}

/// How readers get at the bytes of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReadMode {
    /// Events are lent from mappings of the files: nothing is copied. A page that is lost while it is read, since another
    /// process cut the file short or the device failed, raises a signal unless
    /// [`guard_mapped_reads`](crate::guard_mapped_reads) was called.
    #[default]
    Mapped,
    /// Segments are read into memory, 64 KiB at a time as they are needed, and events own their bytes: no signal, whatever
    /// becomes of the files. Costs a copy, and the memory of the two segments used last and of those that a reader stands
    /// in or an event was held of, as far as they were read.
    Positioned,
}

/// How a store is made and opened.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) create: bool,
    pub(crate) segment_bytes: u64,
    pub(crate) index_stride_bytes: u64,
    pub(crate) durability: Durability,
    pub(crate) sync_interval: Duration,
    pub(crate) unsynced_bytes_max: u64,
    pub(crate) compression: Option<Compression>,
    pub(crate) force_network_file_system: bool,
    pub(crate) mapped_writes: bool,
    pub(crate) read_mode: ReadMode,
    pub(crate) background_threads: bool,
    pub(crate) derives: bool,
    pub(crate) exclusive: bool,
    pub(crate) streams_kept: usize,
    pub(crate) patience: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            create: true,
            segment_bytes: limits::SEGMENT_BYTES_DEFAULT,
            index_stride_bytes: limits::INDEX_STRIDE_BYTES_DEFAULT,
            durability: Durability::Synced,
            sync_interval: Duration::from_millis(100),
            unsynced_bytes_max: 2 << 30,
            compression: None,
            force_network_file_system: false,
            mapped_writes: true,
            read_mode: ReadMode::Mapped,
            background_threads: true,
            derives: true,
            exclusive: false,
            streams_kept: 1 << 17,
            patience: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Options {
        Options::default()
    }

    /// Whether opening for writing makes the store where there is none. Default: yes.
    #[must_use]
    pub fn create(mut self, create: bool) -> Options {
        self.create = create;
        self
    }

    /// Segment size in bytes of a store that is made now: a power of two from 16 KiB to 4 GiB; a store that exists keeps
    /// its own. Default: 64 MiB. Smaller ones cost more syncs of directories, larger ones more time after a crash.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Options {
        self.segment_bytes = bytes;
        self
    }

    /// Distance in bytes between index blocks of a store that is made now: a power of two from 4 KiB to the segment size.
    /// Default: 256 KiB.
    #[must_use]
    pub fn index_stride_bytes(mut self, bytes: u64) -> Options {
        self.index_stride_bytes = bytes;
        self
    }

    /// What appends wait for where the batch does not say. Default: [`Durability::Synced`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// How long [`Durability::Written`] events may wait for their sync in the background, at most. Default: 100 ms. In a store that is
    /// shared a sync begins also once about a MiB waits for it, so that opening it beside others stays fast.
    #[must_use]
    pub fn sync_interval(mut self, interval: Duration) -> Options {
        self.sync_interval = interval;
        self
    }

    /// How many bytes may be written and not synced: an append that would pass it waits for a sync. Default: 2 GiB.
    #[must_use]
    pub fn unsynced_bytes_max(mut self, bytes: u64) -> Options {
        self.unsynced_bytes_max = bytes;
        self
    }

    /// Whether and how bodies are compressed. Default: not. Readers need nothing to be set.
    #[must_use]
    pub fn compression(mut self, compression: Option<Compression>) -> Options {
        self.compression = compression;
        self
    }

    /// Whether a store on a network file system may be written. Default: no, since locks and syncs promise less there.
    #[must_use]
    pub fn force_network_file_system(mut self, force: bool) -> Options {
        self.force_network_file_system = force;
        self
    }

    /// Whether Written appends may be copied into a mapping instead of written by a system call. Default: yes; it happens
    /// only where the store is opened [exclusively](Options::exclusive), and the file system was found good for it.
    #[must_use]
    pub fn mapped_writes(mut self, mapped: bool) -> Options {
        self.mapped_writes = mapped;
        self
    }

    /// How the bytes of segments are read. Default: [`ReadMode::Mapped`].
    #[must_use]
    pub fn read_mode(mut self, mode: ReadMode) -> Options {
        self.read_mode = mode;
        self
    }

    /// Whether this process writes to the store alone for as long as it has it open. Default: no.
    ///
    /// *Shared*, any number of processes have it open and append, turn by turn, and so may a process that opens it twice; none need
    /// know of the others. Each commit sees all that was committed before it, whoever appended that. A turn costs three calls to the
    /// system, and every append is written by one more: 300,000 Written events a second, one a call, on a machine where a
    /// writer that is alone wrote 650,000 by such calls, and millions by copies into a mapping
    /// ([`mapped_writes`](Options::mapped_writes)). [`Synced`](Durability::Synced) appends wait for the disk: one thread's took
    /// some 5 µs more each where a sync took 90, those of 64 threads or tasks together 1 to 2 µs an event.
    ///
    /// *Exclusively*, it is the fastest single writer. Who else opens the store for writing is refused with
    /// [`Locked`](ErrorKind::Locked), and so is this one where others have it open. Readers are the same either way.
    ///
    /// Sharing needs locks of open files on bytes, which Linux has on local file systems. Where there are none, opening fails with
    /// [`Unsupported`](ErrorKind::Unsupported), and the store can be written exclusively.
    #[must_use]
    pub fn exclusive(mut self, exclusive: bool) -> Options {
        self.exclusive = exclusive;
        self
    }

    /// How long another process's turn to write is waited for, before a call fails with
    /// [`Locked`](ErrorKind::Locked) and names the process. Default: 10 s. A turn lasts microseconds, or where a segment is
    /// begun as long as two syncs; only a process that is stopped in the middle of one, or a disk that hangs, lasts longer.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Options {
        self.patience = patience;
        self
    }

    /// So many streams stay in memory though nobody appends to them. What is asked for later is found in the directory of streams, which
    /// takes some microseconds. Default: 131,072, some 30 MB.
    ///
    /// In a process that writes, those of more than these that were left alone longest leave memory when a segment is finished. In one
    /// that only reads they do once it has taken in what another one appended in the next segment; and whoever asks for a stream that is
    /// not in memory has another one leave, in turn, which takes a microsecond or two. What the directory does not have yet stays; of a
    /// burst of appends that may be several segments, until it is over.
    #[must_use]
    pub fn streams_kept(mut self, streams: usize) -> Options {
        self.streams_kept = streams;
        self
    }

    /// Whether a writer has its background threads. Default: yes. Without them nothing is synced that nobody waits for,
    /// nothing is prepared or sealed and no task is served, unless somebody calls
    /// [`work_in_background`](crate::Store::work_in_background): for simulations, in which every run is to be the same.
    #[cfg(feature = "unstable")]
    #[must_use]
    pub fn background_threads(mut self, threads: bool) -> Options {
        self.background_threads = threads;
        self
    }

    /// Whether a writer makes indexes of segments and the directory of streams in the background. Default: yes. To measure what that
    /// costs: a store without them is opened and read at the cost of its length.
    #[cfg(feature = "unstable")]
    #[must_use]
    pub fn derives(mut self, derives: bool) -> Options {
        self.derives = derives;
        self
    }

    /// Refuses what is out of range.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::new(ErrorKind::Invalid, what));
        let power = |value: u64, min: u64, max: u64| value.is_power_of_two() && (min..=max).contains(&value);
        if !power(self.segment_bytes, limits::SEGMENT_BYTES_MIN, limits::SEGMENT_BYTES_MAX) {
            return refuse(format!(
                "a segment size must be a power of two from 16 KiB to 4 GiB, not {} bytes",
                self.segment_bytes
            ));
        }
        if !power(self.index_stride_bytes, limits::INDEX_STRIDE_BYTES_MIN, self.segment_bytes) {
            return refuse(format!(
                "the distance between index blocks must be a power of two from 4 KiB to the segment size, not {} bytes",
                self.index_stride_bytes
            ));
        }
        if let Some(Compression { level, .. }) = self.compression {
            if !(1..=19).contains(&level) {
                return refuse(format!("a compression level must be 1 to 19, not {level}"));
            }
            if cfg!(not(feature = "zstd")) {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "this build cannot compress; build it with the feature zstd",
                ));
            }
        }
        Ok(())
    }
}
