//! What is not a crash: bytes that changed at rest, and copies whose files are of different moments.
//!
//! A flipped byte below what was durable is told of, and costs readers at most its own frame; what is appended behind it
//! never takes a revision or a position that was given before, or is refused. A copy that was taken file by file while the
//! store was written holds everything that was acknowledged before it began, a prefix of what came later, and no damage.

use std::sync::Arc;

use treering::{Batch, DamageClass, Durability, ErrorKind, Expected, NewEvent, Position, Store};

use super::account::{Account, Demand, Oracle, Outcome};
use super::check::{Seen, read};
use super::disk::{Content, Disk};
use super::enumerate::Numbers;
use super::lab::{Record, boot_id};
use super::{Image, Inode, SimStorage, options};

/// What became of the flips.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rotten {
    /// States that were opened.
    pub states: usize,
    /// Those in which readers lost something.
    pub losing: usize,
    /// Appends that were refused, since damage hides where the stream ends.
    pub refused: usize,
    /// Appends that went on behind damage.
    pub appended: usize,
}

/// What the cache shows at the end of a record.
fn end_of(record: &Record) -> (Disk, Image) {
    let mut disk = Disk::default();
    record.trace().iter().for_each(|call| disk.apply(call));
    let image = picture(&disk);
    (disk, image)
}

fn picture(disk: &Disk) -> Image {
    let files = disk.names.iter().map(|(name, inode)| (name.clone(), (*inode, Arc::clone(&disk.cache[inode]))));
    Image { files: files.collect(), last_inode: disk.cache.keys().max().copied().unwrap_or(0) }
}

/// Flips a bit in one of each `stride` bytes of the log that are set, of a store that was closed: in the first of them this one,
/// in the next one the next.
///
/// # Errors
/// The first promise that is broken, in words.
pub fn flip(record: &Record, stride: usize, bit: usize) -> Result<Rotten, String> {
    let (_, image) = end_of(record);
    let mut rotten = Rotten::default();
    let mut number = 0;
    for name in image.files.keys().filter(|name| name.ends_with(".segment")) {
        let bytes = image.bytes(name);
        for at in (0..bytes.len()).filter(|at| bytes[*at] != 0) {
            number += 1;
            if number % stride != 0 {
                continue;
            }
            let mut image = image.clone();
            let (_, content) = image.files.get_mut(name).expect("the file is there");
            Arc::make_mut(content).write(at as u64, &[bytes[at] ^ 1 << ((number / stride + bit) % 8)]);
            judge(&image, record.account(), number as u64, &mut rotten)
                .map_err(|what| format!("byte {at} of {name}: {what}"))?;
        }
    }
    Ok(rotten)
}

fn judge(image: &Image, account: &Account, seed: u64, rotten: &mut Rotten) -> Result<(), String> {
    rotten.states += 1;
    let storage = SimStorage::of_image(image, seed, boot_id(1));
    let store = Store::open_on(Arc::new(storage.process()), options()).map_err(|error| format!("P5: {error:?}"))?;
    let (events, losses) = read(&store)?;
    let report = store.open_report();
    let is_reported = losses > 0 || !report.damage.is_empty();
    let oracle = Oracle { account, first: usize::MAX, last: usize::MAX, demand: Demand::Nothing };
    let _ = oracle.hold(&events, true)?;
    let acknowledged = account.entries.iter().filter(|entry| matches!(entry.outcome, Outcome::Acknowledged(_)));
    let all: usize = acknowledged.map(|entry| entry.plan.events()).sum();
    if events.len() < all {
        rotten.losing += 1;
        if !is_reported {
            return Err(format!("P5: {} events of {all} are there, and nothing is reported", events.len()));
        }
    }
    let mut appended = Vec::new();
    // Nobody appends to the engine's own streams by hand.
    for (stream, head) in account.heads().into_iter().filter(|(stream, _)| !stream.starts_with('$')) {
        let event = [NewEvent::new("t", "behind")];
        let batch = Batch::to(&stream, Expected::Any, &event).durability(Durability::Written);
        match store.append(&batch) {
            Err(error) if error.kind() == ErrorKind::HeadUnknown && is_reported => rotten.refused += 1,
            Err(error) => return Err(format!("P5: an append to {stream:?} failed: {error:?}")),
            Ok(receipt) => {
                let revision = receipt.sections[0].first_revision.0;
                if revision != head + 1 {
                    return Err(format!("P4: {stream:?} had {head}, {revision} was given ({:?})", report.damage));
                }
                if receipt.position < Position(account.seen_at(usize::MAX).0) {
                    return Err(format!("P4: position {} was given before", receipt.position));
                }
                rotten.appended += usize::from(is_reported);
                appended.push((receipt.position.0, revision));
            }
        }
    }
    store.close().map_err(|error| format!("close: {error}"))?;
    let store = Store::open_on(Arc::new(storage.process()), options()).map_err(|error| format!("again: {error:?}"))?;
    let (again, _) = read(&store)?;
    let (before, behind) = again.split_at(events.len().min(again.len()));
    if same_events(before) != same_events(&events)
        || behind.iter().map(|event| (event.position, event.revision)).collect::<Vec<_>>() != appended
    {
        return Err(format!("P5: {} and {} events, then {}", events.len(), appended.len(), again.len()));
    }
    Ok(())
}

fn same_events(events: &[Seen]) -> Vec<(u64, u64, &[u8])> {
    // Not by name: an index block may have brought back one that was lost.
    events.iter().map(|event| (event.position, event.revision, &event.payload[..])).collect()
}

/// What became of the copies.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copied {
    /// Copies that were opened.
    pub copies: usize,
    /// Those that end early and say so.
    pub incomplete: usize,
    /// Those that were written to.
    pub written: usize,
}

/// Makes copies of a store that is written: the names of one moment, each file of the same or a later one.
///
/// # Errors
/// The first promise that is broken, in words.
pub fn copy(record: &Record, copies: usize) -> Result<Copied, String> {
    let mut moments = vec![Disk::default()];
    for call in record.trace() {
        let mut next = moments.last().expect("there is a first").clone();
        next.apply(call);
        moments.push(next);
    }
    let mut copied = Copied::default();
    let mut numbers = Numbers(record.trace().len() as u64);
    while copied.copies < copies {
        let listed = numbers.below(moments.len());
        if !moments[listed].names.contains_key("identity") {
            continue; // there was no store yet
        }
        let last = (listed + 1 + numbers.below(moments.len() - listed)).min(moments.len() - 1);
        let mut image = Image { last_inode: 1000, ..Image::default() };
        let mut times = Vec::new();
        for name in moments[listed].names.keys() {
            let at = listed + numbers.below(last - listed + 1);
            if let Some((inode, content)) = file_at(&moments[at], name) {
                times.push(format!("{name}@{at}"));
                image.files.insert(name.clone(), (1000 + inode, content));
            }
        }
        copied.copies += 1;
        judge_copy(&image, record.account(), listed, last, &mut copied)
            .map_err(|what| format!("listed at {listed}, {times:?}: {what}"))?;
    }
    Ok(copied)
}

fn file_at(disk: &Disk, name: &str) -> Option<(Inode, Arc<Content>)> {
    let inode = disk.names.get(name)?;
    Some((*inode, Arc::clone(&disk.cache[inode])))
}

fn judge_copy(image: &Image, account: &Account, listed: usize, last: usize, copied: &mut Copied) -> Result<(), String> {
    let storage = SimStorage::of_image(image, copied.copies as u64, boot_id(1));
    let reader = Store::open_read_only_on(Arc::new(storage.process()), options());
    let reader = reader.map_err(|error| format!("P17: {error:?}"))?;
    let (events, losses) = read(&reader)?;
    let damage = &reader.open_report().damage;
    if let Some(damage) = damage.iter().find(|damage| damage.class != DamageClass::CopyIncomplete) {
        return Err(format!("P17: a copy is called damaged: {damage}"));
    }
    if losses > damage.len() {
        return Err(format!("P17: {losses} losses in a copy, reported {damage:?}"));
    }
    let oracle = Oracle { account, first: last, last: listed, demand: Demand::Acknowledged };
    let _ = oracle.hold(&events, false)?;
    let life = reader.open_report().incarnation;
    let is_incomplete = !damage.is_empty();
    copied.incomplete += usize::from(is_incomplete);
    drop(reader);
    let store = match Store::open_on(Arc::new(storage.process()), options()) {
        Err(error) if error.kind() == ErrorKind::CopyIncomplete && is_incomplete => return Ok(()),
        other => other.map_err(|error| format!("P17: a whole copy is refused: {error:?}"))?,
    };
    if is_incomplete {
        return Err("P17: a copy that ends early is written to".into());
    }
    let event = [NewEvent::new("t", "in the copy")];
    let receipt = store.append(&Batch::to("copy", Expected::Any, &event)).map_err(|error| error.to_string())?;
    if !events.is_empty() && receipt.incarnation == life {
        return Err("P4: a copy goes on in the life of its original".into());
    }
    store.close().map_err(|error| error.to_string())?;
    let store = Store::open_on(Arc::new(storage.process()), options()).map_err(|error| error.to_string())?;
    let (again, _) = read(&store)?;
    copied.written += 1;
    match again.len() == events.len() + 1 && again.starts_with(&events) {
        true => Ok(()),
        false => Err(format!("P17: {} events in a copy, then {}", events.len(), again.len())),
    }
}
