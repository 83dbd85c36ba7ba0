//! What verifying found, and how it tells how far it is.

use crate::error::Damage;
use crate::ids::Position;

/// What verifying a store found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Frames that were read and whose header, table and chain hold; open frames are not counted.
    pub frames: u64,
    /// Events in those frames, lost ones included where the frame still names them, without those of the engine's own.
    pub events: u64,
    /// Streams, without those of the engine's own.
    pub streams: u64,
    /// Events of the engine's own, in streams whose names begin with `$`: of snapshots, and the places of cursors.
    pub engine_events: u64,
    /// The streams that hold them.
    pub engine_streams: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Bytes of the log, from the start of each segment to its end.
    pub bytes: u64,
    /// Seals whose hash was computed again from the bytes of their segment.
    pub seals_checked: u64,
    /// Index blocks that were compared with the frames that they list.
    pub index_blocks_checked: u64,
    /// Everything that is not as it was written: no byte is named twice, in the order of the log.
    pub damage: Vec<Damage>,
    /// What lies behind the end of the log and was never promised to anyone. For information.
    pub torn_tail: Option<Damage>,
    /// What a person may want to know and no reader needs: derived files that are useless, files of no store.
    pub notes: Vec<String>,
    /// Where the log ends.
    pub committed: Position,
    /// Up to where it is witnessed to be durable.
    pub durable: Position,
}

impl VerifyReport {
    /// Whether nothing is damaged, missing, foreign, stale or incomplete; what was accepted as lost is still damage.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }

    /// Whether all that is wrong was accepted as lost.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.damage.iter().all(|damage| damage.is_accepted)
    }
}

/// Is told how far long work is.
pub trait Progress {
    /// `done_bytes` of `total_bytes` are done. Called now and then, and with both equal at the end.
    fn advance(&mut self, done_bytes: u64, total_bytes: u64);
}

/// Does not want to know.
impl Progress for () {
    fn advance(&mut self, _done_bytes: u64, _total_bytes: u64) {}
}

impl<F: FnMut(u64, u64)> Progress for F {
    fn advance(&mut self, done_bytes: u64, total_bytes: u64) {
        self(done_bytes, total_bytes);
    }
}
