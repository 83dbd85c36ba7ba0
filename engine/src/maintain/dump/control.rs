//! The control page as text. Its layout is that of [`process::control`](crate::process::control).

use std::io::{self, Write};

use super::behind;
use super::fields::{self, Fields, Stop};
use crate::checksum::long_check;
use crate::process::control::{CONTROL_BYTES, CONTROL_MAGIC, Kind, check_of, word};

/// The page at the start of `bytes`.
pub(super) fn dump(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "file: control, {} bytes", bytes.len())?;
    let shown = page(&mut Fields::new(&bytes[..bytes.len().min(CONTROL_BYTES)], 0, out));
    fields::finish_to(shown, out)?;
    behind(bytes, CONTROL_BYTES, out)
}

fn page(fields: &mut Fields<'_, '_>) -> Result<(), Stop> {
    let header = fields.rest();
    fields.text("magic", CONTROL_MAGIC.len())?;
    fields.u64("version")?;
    fields.hex("store id", 16)?;
    fields.hex("incarnation", 16)?;
    fields.hex("boot id", 16)?;
    fields.u64("mount")?;
    fields.u64("identity's file system")?;
    fields.u64("identity's inode")?;
    fields.i64("identity's birth")?;
    fields.u64("process")?;
    skip_to(fields, word::HEADER_CHECK)?;
    fields.long_check(long_check(0, header.get(..word::HEADER_CHECK * 8).unwrap_or_default()))?;
    skip_to(fields, word::POISONED)?;
    fields.u64("poisoned (0: no)")?;
    skip_to(fields, word::IN_FLIGHT)?;
    let upto = fields.u64("sync in flight, up to (0: none)")?;
    fields.long_check(check_of(Kind::InFlight, [upto, 0, 0]))?;
    skip_to(fields, word::EPOCH)?;
    let epoch = [fields.u64("epoch's segment")?, fields.u64("takeover")?, 0];
    fields.long_check(check_of(Kind::Epoch, epoch))?;
    for (name, kind, slots) in
        [("durable", Kind::Durable, word::DURABLE), ("committed", Kind::Committed, word::COMMITTED)]
    {
        for (number, at) in slots.into_iter().enumerate() {
            skip_to(fields, at)?;
            end(fields, &format!("{name}, slot {number}"), kind)?;
        }
    }
    for (name, at) in [
        ("times that the log grew", word::GROWN),
        ("times that it was synced", word::SYNCED),
        ("writers that waited for their turn", word::WANTED),
        ("of them that had it", word::SERVED),
        ("turns that were ended for them", word::TURNS),
        ("who had the last one", word::HOLDER),
        ("whether threads sleep until somebody appends (0: no)", word::ASLEEP),
        ("times that they were called", word::CALLS),
        ("processes that came to sync", word::ARRIVED),
        ("of them before the last sync began", word::GATHERED),
        ("for the last sync", word::CAME[0]),
        ("for the one before", word::CAME[1]),
        ("nanoseconds that it took", word::TOOK),
        ("count of them that one who syncs waits for", word::AWAITED),
        ("syncs that were begun", word::BEGUN),
        ("times that the right to sync was let go", word::HANDED_ON),
    ] {
        skip_to(fields, at)?;
        fields.u64(name)?;
    }
    let rest = fields.rest().len();
    fields.zeros(rest)
}

fn end(fields: &mut Fields<'_, '_>, name: &str, kind: Kind) -> Result<(), Stop> {
    if fields.rest().iter().take(4 * 8).all(|byte| *byte == 0) {
        fields.line(&format!("{name}: never written"))?;
        return fields.zeros(4 * 8);
    }
    fields.line(name)?;
    fields.indent(1);
    let place = [fields.u64("end")?, fields.u64("last frame")?];
    let check = fields.hex("last frame's check", 8)?;
    let check = u64::from_le_bytes(check.try_into().expect("eight bytes were taken"));
    fields.long_check(check_of(kind, [place[0], place[1], check]))?;
    fields.indent(-1);
    Ok(())
}

/// The words before the one with this index are not used.
fn skip_to(fields: &mut Fields<'_, '_>, word: usize) -> Result<(), Stop> {
    let unused = word * 8 - fields.at();
    fields.zeros(unused)
}
