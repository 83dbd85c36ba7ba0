//! Every limit of the store in one place, with its unit. Checked where user input enters, and again where bytes are read.

/// Longest stream name, in bytes of UTF-8.
pub const STREAM_NAME_BYTES_MAX: usize = 1024;
/// Longest event type, in bytes of UTF-8. A type is never empty.
pub const TYPE_BYTES_MAX: usize = 255;
/// Longest caller-given event id, in bytes of UTF-8. An id that is given is never empty.
pub const EVENT_ID_BYTES_MAX: usize = 255;
/// Largest metadata of one event, in bytes.
pub const METADATA_BYTES_MAX: usize = 16 << 20;
/// Largest batch: the sum of its payloads and metadata, in bytes.
pub const BATCH_BYTES_MAX: usize = 1 << 30;
/// Most events in a batch.
pub const BATCH_EVENTS_MAX: usize = 1 << 20;
/// Most streams that one batch appends to.
pub const BATCH_SECTIONS_MAX: usize = 1 << 16;
/// Smallest segment size, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// Largest segment size, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 4 << 30;
/// Segment size of a new store unless told otherwise, in bytes.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// Smallest distance between index blocks, in bytes.
pub const INDEX_STRIDE_BYTES_MIN: u64 = 4 << 10;
/// Distance between index blocks unless told otherwise, in bytes.
pub const INDEX_STRIDE_BYTES_DEFAULT: u64 = 256 << 10;
/// Largest frame on disk, in bytes: the largest batch, its plain part, and room for its index block.
pub const FRAME_BYTES_MAX: u64 = 2 << 30;
/// Greatest position, revision and count of events.
pub const NUMBER_MAX: u64 = 1 << 63;
/// Names that begin so belong to the engine.
pub const RESERVED_NAME_PREFIX: char = '$';
/// Names of streams that hold the events of snapshots begin so; the identity of the source and the label follow.
pub const SNAPSHOT_PREFIX: &str = "$snapshot/";
/// Names of streams that hold the places of cursors begin so; the cursor's name follows.
pub const CURSOR_PREFIX: &str = "$cursor/";
/// Longest label and longest version of a snapshot, in bytes.
pub const LABEL_BYTES_MAX: usize = 255;
/// Longest name of a cursor, in bytes.
pub const CURSOR_NAME_BYTES_MAX: usize = 255;
/// How many of the newest batches with an id given by the caller are remembered for retries.
pub const RETRY_WINDOW_BATCHES: usize = 65_536;

/// Whether a stream of this name is one of the engine's own. One whose name is lost goes by `$` and digits, and is not.
#[must_use]
pub fn is_engines(name: &str) -> bool {
    name.starts_with(SNAPSHOT_PREFIX) || name.starts_with(CURSOR_PREFIX)
}

const _: () = {
    assert!(SNAPSHOT_PREFIX.len() + 17 + LABEL_BYTES_MAX <= STREAM_NAME_BYTES_MAX);
    assert!(CURSOR_PREFIX.len() + CURSOR_NAME_BYTES_MAX <= STREAM_NAME_BYTES_MAX);
    assert!(SEGMENT_BYTES_MIN.is_power_of_two() && SEGMENT_BYTES_MAX.is_power_of_two());
    assert!(SEGMENT_BYTES_DEFAULT.is_power_of_two() && INDEX_STRIDE_BYTES_DEFAULT.is_power_of_two());
    assert!(INDEX_STRIDE_BYTES_DEFAULT <= SEGMENT_BYTES_DEFAULT);
    assert!(BATCH_BYTES_MAX as u64 + BATCH_EVENTS_MAX as u64 * 600 < FRAME_BYTES_MAX);
    assert!(FRAME_BYTES_MAX <= u32::MAX as u64);
};
