//! How much does a store hold, where does it end, and how are the files that are made from its log?
//!
//! Nothing is counted by reading the log. Of finished segments without an index the first frames are looked at, to tell those that
//! need none.

use std::sync::Arc;

use crate::error::{Damage, Error};
use crate::format::batch::Sections;
use crate::format::frame::KIND_BATCH;
use crate::ids::{Epoch, Incarnation, StoreId};
use crate::index::build::SECTIONS_MIN;
use crate::recovery::{DirectoryStat, checkpoint};
use crate::segment::set::Known;
use crate::segment::walk::{LogWalk, Walked};
use crate::storage::Access;
use crate::store::Store;
use crate::watermark::Watermarks;
use crate::{Result, limits};

/// Figures of a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stat {
    /// Its identity.
    pub store: StoreId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// The epoch of its writer, or of the last one.
    pub epoch: Epoch,
    /// Events in the log, without those of the engine's own.
    pub events: u64,
    /// Streams, without those of the engine's own.
    pub streams: u64,
    /// Events of the engine's own, in streams whose names begin with `$`: of snapshots, and the places of cursors.
    pub engine_events: u64,
    /// The streams that hold them.
    pub engine_streams: u64,
    /// How many of them are in memory: those that were asked for or came in since the store was opened.
    pub streams_in_memory: u64,
    /// The newest checkpoint that fits the log, and the stream directory up to there; `None` where there is none.
    pub directory: Option<DirectoryStat>,
    /// Bytes of the log that the directory does not cover: so much is read to open the store.
    pub opening_bytes: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Segments whose seal is in the log.
    pub sealed_segments: u64,
    /// Finished segments that have an index, which answers what else takes a walk over them.
    pub indexed_segments: u64,
    /// Finished segments that have none that fits, though they hold enough to need one: [`reindex`](Store::reindex) makes it, and
    /// so does a writer in the background.
    pub unindexed_segments: u64,
    /// Length of these indexes, in bytes.
    pub index_bytes: u64,
    /// Size of a segment, in bytes.
    pub segment_bytes: u64,
    /// Bytes of the log, from the start of each segment to its end.
    pub bytes: u64,
    /// Bytes that its files take on the disk.
    pub disk_bytes: u64,
    /// Up to where the log reaches, and up to where it is durable.
    pub watermarks: Watermarks,
    /// Bytes of bodies that are compressed, before it. Counted when the store was opened.
    pub coded_raw_bytes: u64,
    /// The same bytes as they are stored.
    pub coded_stored_bytes: u64,
    /// What is lost, as far as it is known without verifying every byte.
    pub damage: Vec<Damage>,
}

impl Store {
    /// Figures of the store.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) from the system.
    pub fn stat(&self) -> Result<Stat> {
        let set = &self.view.set;
        set.check_process()?;
        let segments = set.all();
        let watermarks = self.view.watermarks();
        let end = |known: &Known| known.end.unwrap_or(watermarks.committed.max(known.base));
        let storage = &set.storage;
        let entries = storage.list().map_err(|error| Error::io("list", &storage.describe(), error))?;
        let mut disk_bytes = 0;
        for entry in entries.iter().filter(|entry| entry.is_file) {
            if let Ok(file) = storage.open(&entry.name, Access::Read) {
                disk_bytes += file.allocated_len().unwrap_or(0);
            }
        }
        let (events, epoch, seals, coded) = match &self.writing {
            Some(writing) => {
                let tail = writing.writer.tail.lock();
                (tail.next_number, tail.epoch(), tail.seals, writing.coded)
            }
            None => self
                .view
                .replayed(|replay| {
                    let segment = replay.segment.as_ref().map_or_else(Default::default, |segment| segment.ordinal());
                    (replay.next_number, Epoch { segment, takeover: replay.takeover }, replay.seals, replay.coded)
                })
                .expect("a store that does not write follows"),
        };
        let (mut engine_events, mut engine_streams) = (0, 0);
        self.view.streams.with_prefix(limits::RESERVED_NAME_PREFIX.encode_utf8(&mut [0; 4]), |stream| {
            engine_events += stream.head.0.saturating_add(1).saturating_sub(stream.first.0);
            engine_streams += 1;
        })?;
        let (streams, streams_in_memory) = self.view.streams.counts();
        let indexes: Vec<_> = segments.iter().filter_map(|known| self.view.finder.indexes.of(known)).collect();
        let directory = checkpoint::stat(set);
        let covered = directory.map_or(0, |directory| directory.covered.0);
        Ok(Stat {
            store: set.store.store,
            incarnation: self.report.incarnation,
            epoch,
            events: events.saturating_sub(engine_events),
            streams: streams.saturating_sub(engine_streams),
            engine_events,
            engine_streams,
            streams_in_memory,
            opening_bytes: segments.iter().map(|known| end(known).0.saturating_sub(covered.max(known.base.0))).sum(),
            directory,
            segments: segments.len() as u64,
            sealed_segments: segments.iter().filter(|known| known.ordinal < seals.next).count() as u64,
            indexed_segments: indexes.len() as u64,
            unindexed_segments: segments.iter().filter(|known| self.lacks_index(known)).count() as u64,
            index_bytes: indexes.iter().map(|index| index.file.file_len()).sum(),
            segment_bytes: set.store.segment_bytes,
            bytes: segments.iter().map(|known| end(known).0 - known.base.0).sum(),
            disk_bytes,
            watermarks,
            coded_raw_bytes: coded.0,
            coded_stored_bytes: coded.1,
            damage: self.report.damage.clone(),
        })
    }

    /// Whether a segment is finished and whole, holds enough to need an index, and has none that fits.
    fn lacks_index(&self, known: &Known) -> bool {
        let Some(end) = known.end else { return false };
        if known.damage.is_some() || known.lost_head.is_some() || self.view.finder.indexes.of(known).is_some() {
            return false;
        }
        let mut walk = LogWalk::new(Arc::clone(&self.view.set), known.base);
        let mut sections = 0;
        while sections < SECTIONS_MIN {
            let Ok(Walked::Frame(place)) = walk.next(end) else { return false };
            let frame = walk.frame(place);
            if frame.kind() == KIND_BATCH {
                let Ok(mut of_frame) = Sections::new(frame) else { return false };
                let more = std::iter::from_fn(|| of_frame.next().ok().flatten());
                sections += more.take(SECTIONS_MIN).count();
            }
        }
        true
    }
}
