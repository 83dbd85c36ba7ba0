//! Dumping: what does a file of a store say, field by field?
//!
//! Line-oriented text for people and for comparing two files: each line begins with the offset of what it shows in the
//! file, so that the same bytes always give the same text. What a file is, its first bytes say, never its name. Checks
//! are computed and shown as `ok` or `BAD`; a dump goes on behind what is bad and judges nothing: whether damage matters is
//! for `verify` to say.

mod control;
mod fields;
mod frame;
mod segment;
mod side_file;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use self::fields::{Fields, Stop};
use crate::checksum::long_check;
use crate::format::file_name::{self, FileKind};
use crate::format::open::OPEN_FRAME_BYTES;
use crate::format::segment_header::{HEAD_BLOCK_BYTES, SEGMENT_HEADER_BYTES, SEGMENT_MAGIC};
use crate::format::side_file::SIDE_MAGIC;
use crate::format::store_block::{STORE_BLOCK_BYTES, STORE_MAGIC};
use crate::format::token::{TOKEN_BYTES, TOKEN_MAGIC};
use crate::format::watermark::{WATERMARK_MAGIC, WATERMARK_SLOT_BYTES, WATERMARK_SLOT_STRIDE};
use crate::process::control::CONTROL_MAGIC;
use crate::storage::os::OsStorage;
use crate::storage::{Access, Mapping, Storage, StorageFile, positioned};
use crate::{Error, ErrorKind, Result};

const _: () = assert!(SEGMENT_HEADER_BYTES + OPEN_FRAME_BYTES == HEAD_BLOCK_BYTES);

/// Writes what the file at `path` says as text to `out`. Any file of a store: identity, segment, prepared segment,
/// watermark, control page, segment index and what else is derived, and a cursor token saved to a file.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) where there is none; [`Invalid`](ErrorKind::Invalid) where it is no file of a store;
/// [`Io`](ErrorKind::Io) from the system and from `out`.
pub fn dump(path: impl AsRef<Path>, out: &mut dyn Write) -> Result<()> {
    let path = path.as_ref();
    let shown = path.display().to_string();
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("{shown} is no name of a file; name a file of a store"))
    })?;
    let storage = OsStorage::open(folder).map_err(|error| Error::io("open", &shown, error))?;
    dump_on(&storage, name, out)
}

/// As [`dump`](fn@dump), of a file on any storage.
///
/// # Errors
/// As [`dump`](fn@dump).
pub fn dump_on(storage: &dyn Storage, name: &str, out: &mut dyn Write) -> Result<()> {
    let shown = format!("{}/{name}", storage.describe());
    let file = storage.open(name, Access::Read).map_err(|error| Error::io("open", &shown, error))?;
    let mapping = read(file).map_err(|error| Error::io("read", &shown, error))?;
    let dumped = match file_name::parse(name) {
        FileKind::Claims(_) if mapping.is_empty() => {
            writeln!(out, "file: claims, no bytes; they are locked, not written").map(|()| true)
        }
        _ => dump_bytes(mapping.as_slice(), out),
    };
    match dumped {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(
            ErrorKind::Invalid,
            format!("{shown} is no file of a store: its first bytes are none that such a file begins with"),
        )),
        Err(error) => Err(Error::io("write the dump of", &shown, error)),
    }
}

/// All of a file of a store, in memory; of another one what says that it is none. Holes are not read and take no memory: to look
/// at them through a mapping would, on tmpfs, take space of the file system.
fn read(file: Arc<dyn StorageFile>) -> io::Result<Mapping> {
    let bytes = positioned::map(Arc::clone(&file))?;
    let head = bytes.len().min(2 * HEAD_BLOCK_BYTES);
    bytes.populate(0..head)?;
    if !dump_bytes(&bytes.as_slice()[..head], &mut io::sink())? {
        return Ok(bytes);
    }
    let mut at = 0;
    while let Some(data) = file.next_data(at as u64)? {
        let data = (data.start as usize).max(at)..(data.end as usize).min(bytes.len());
        if data.is_empty() {
            break;
        }
        at = data.end;
        bytes.populate(data)?;
    }
    Ok(bytes)
}

/// As [`dump`](fn@dump), of the bytes of a file. Returns whether they are of a file of a store; where not, nothing is
/// written.
///
/// # Errors
/// What `out` says.
pub fn dump_bytes(bytes: &[u8], out: &mut dyn Write) -> io::Result<bool> {
    let magic = |at: usize, magic: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(magic));
    // A second copy is as good as the first.
    if magic(0, &SEGMENT_MAGIC) || magic(HEAD_BLOCK_BYTES, &SEGMENT_MAGIC) {
        segment::dump(bytes, out)?;
    } else if magic(0, &WATERMARK_MAGIC) || magic(WATERMARK_SLOT_STRIDE as usize, &WATERMARK_MAGIC) {
        watermark(bytes, out)?;
    } else if magic(0, &STORE_MAGIC) {
        writeln!(out, "file: identity, {} bytes", bytes.len())?;
        let shown = store_block(&mut Fields::new(bytes, 0, out));
        fields::finish_to(shown, out)?;
        behind(bytes, STORE_BLOCK_BYTES, out)?;
    } else if magic(0, &CONTROL_MAGIC) {
        control::dump(bytes, out)?;
    } else if magic(0, &SIDE_MAGIC) {
        side_file::dump(bytes, out)?;
    } else if magic(0, &TOKEN_MAGIC) {
        writeln!(out, "file: cursor token, {} bytes", bytes.len())?;
        let shown = token(&mut Fields::new(bytes, 0, out));
        fields::finish_to(shown, out)?;
        behind(bytes, TOKEN_BYTES, out)?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn behind(bytes: &[u8], end: usize, out: &mut dyn Write) -> io::Result<()> {
    match bytes.len().saturating_sub(end) {
        0 => Ok(()),
        more => writeln!(out, "{} {more} bytes behind its end", fields::offset(end as u64)),
    }
}

/// The store block at the fields.
fn store_block(fields: &mut Fields<'_, '_>) -> Result<(), Stop> {
    let block = fields.rest();
    fields.text("magic", STORE_MAGIC.len())?;
    fields.u16("format major")?;
    fields.u16("format minor")?;
    fields.u32("block length")?;
    fields.hex("features, compatible", 8)?;
    fields.hex("features, read-only compatible", 8)?;
    fields.hex("features, incompatible", 8)?;
    fields.hex("store id", 16)?;
    fields.u64("segment size")?;
    fields.u64("index stride")?;
    fields.i64("created at")?;
    fields.zeros(40)?;
    fields.long_check(long_check(0, block.get(..STORE_BLOCK_BYTES - 8).unwrap_or_default()))
}

fn watermark(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "file: watermark, {} bytes", bytes.len())?;
    for number in 0..2 {
        let start = number * WATERMARK_SLOT_STRIDE as usize;
        let block = bytes.get(start..).unwrap_or_default();
        let block = &block[..block.len().min(WATERMARK_SLOT_STRIDE as usize)];
        let at = fields::offset(start as u64);
        let slot = &block[..block.len().min(WATERMARK_SLOT_BYTES)];
        if slot.iter().all(|byte| *byte == 0) {
            writeln!(out, "{at} slot {number}: never written")?;
        } else {
            writeln!(out, "{at} slot {number}")?;
            let shown = watermark_slot(&mut Fields::new(slot, start as u64, out).inner());
            fields::finish_to(shown, out)?;
        }
        let rest = block.get(WATERMARK_SLOT_BYTES..).unwrap_or_default();
        if rest.iter().any(|byte| *byte != 0) {
            let at = fields::offset((start + WATERMARK_SLOT_BYTES) as u64);
            writeln!(out, "{at} the rest of the block is not zero")?;
        }
    }
    behind(bytes, 2 * WATERMARK_SLOT_STRIDE as usize, out)
}

fn watermark_slot(fields: &mut Fields<'_, '_>) -> Result<(), Stop> {
    let slot = fields.rest();
    fields.text("magic", WATERMARK_MAGIC.len())?;
    fields.u64("generation")?;
    fields.hex("store id", 16)?;
    fields.hex("incarnation", 16)?;
    fields.u64("durable")?;
    fields.hex("last frame's check", 8)?;
    fields.u64("last frame")?;
    fields.u64("last index block")?;
    fields.u64("next number")?;
    fields.hex("salt", 16)?;
    fields.u16("takeover")?;
    fields.u8("flags (1: clean)")?;
    fields.zeros(5)?;
    fields.hex("boot id, folded", 8)?;
    fields.long_check(long_check(0, slot.get(..WATERMARK_SLOT_BYTES - 8).unwrap_or_default()))
}

/// The cursor token at the fields.
fn token(fields: &mut Fields<'_, '_>) -> Result<(), Stop> {
    let token = fields.rest();
    fields.text("magic", TOKEN_MAGIC.len())?;
    fields.u16("version")?;
    fields.u16("takeover")?;
    fields.hex("store id", 16)?;
    fields.hex("incarnation", 16)?;
    fields.u64("epoch's segment")?;
    fields.u64("frame")?;
    fields.u32("ordinal in frame")?;
    fields.zeros(4)?;
    fields.u64("global number")?;
    fields.hex("frame's check", 8)?;
    fields.long_check(long_check(0, token.get(..TOKEN_BYTES - 8).unwrap_or_default()))
}
