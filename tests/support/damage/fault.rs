//! What is done to a store: one fault, made in place and taken back, with a line that says it again.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use treering::storage::{Access, Storage};

use super::golden::Golden;
use super::oracle::Change;
use crate::image::put_file;
use crate::store::noise;

/// What stands in the place of what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// Zeros.
    Zero,
    /// Bytes of 0xFF.
    Ones,
    /// Bytes that mean nothing.
    Noise,
    /// What lies elsewhere in the store: a file, and a place in it. Written twice, or written to the wrong place.
    Copy(usize, u64),
    /// As [`Copy`](Filling::Copy), and there lies what ought to be here.
    Swap(usize, u64),
    /// What lies there in another store.
    Foreign,
    /// What lay there earlier.
    Stale,
}

/// One change to the files of a golden store. Files are numbered in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A bit is another: file, byte, bit.
    Flip(usize, u64, u8),
    /// Bytes of a file, from a place and so many, are others.
    Block(usize, u64, u64, Filling),
    /// A file has another length. What is behind its end is a [`Filling`]: what stands at its own place 8192 for
    /// [`Filling::Copy`].
    Length(usize, u64, Filling),
    /// A file is not there, or two.
    Missing(usize, usize),
    /// A file is another one altogether: [`Filling::Foreign`], [`Filling::Stale`], or a [`Filling::Copy`].
    File(usize, Filling),
}

impl fmt::Display for Filling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Filling::Zero => f.write_str("zero"),
            Filling::Ones => f.write_str("ones"),
            Filling::Noise => f.write_str("noise"),
            Filling::Copy(file, at) => write!(f, "copy {file} {at}"),
            Filling::Swap(file, at) => write!(f, "swap {file} {at}"),
            Filling::Foreign => f.write_str("foreign"),
            Filling::Stale => f.write_str("stale"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Flip(file, at, bit) => write!(f, "flip {file} {at} {bit}"),
            Fault::Block(file, at, len, filling) => write!(f, "block {file} {at} {len} {filling}"),
            Fault::Length(file, len, filling) => write!(f, "length {file} {len} {filling}"),
            Fault::Missing(first, second) => write!(f, "missing {first} {second}"),
            Fault::File(file, filling) => write!(f, "file {file} {filling}"),
        }
    }
}

impl Filling {
    fn of_words(words: &[&str]) -> Option<Filling> {
        Some(match words {
            ["zero"] => Filling::Zero,
            ["ones"] => Filling::Ones,
            ["noise"] => Filling::Noise,
            ["copy", file, at] => Filling::Copy(file.parse().ok()?, at.parse().ok()?),
            ["swap", file, at] => Filling::Swap(file.parse().ok()?, at.parse().ok()?),
            ["foreign"] => Filling::Foreign,
            ["stale"] => Filling::Stale,
            _ => return None,
        })
    }
}

impl Fault {
    /// The fault of a line.
    #[must_use]
    pub fn of_words(words: &[&str]) -> Option<Fault> {
        Some(match words {
            ["flip", file, at, bit] => Fault::Flip(file.parse().ok()?, at.parse().ok()?, bit.parse().ok()?),
            ["block", file, at, len, filling @ ..] => {
                Fault::Block(file.parse().ok()?, at.parse().ok()?, len.parse().ok()?, Filling::of_words(filling)?)
            }
            ["length", file, len, filling @ ..] => {
                Fault::Length(file.parse().ok()?, len.parse().ok()?, Filling::of_words(filling)?)
            }
            ["missing", first, second] => Fault::Missing(first.parse().ok()?, second.parse().ok()?),
            ["file", file, filling @ ..] => Fault::File(file.parse().ok()?, Filling::of_words(filling)?),
            _ => return None,
        })
    }

    /// Makes the change; `None`, and nothing is changed, where the bytes would be the same or there is nothing to put there.
    ///
    /// # Panics
    /// Where the storage fails.
    #[must_use]
    pub fn make(self, golden: &Golden) -> Option<Change> {
        let mut change = Change { what: format!("{} {self}", golden.shape), ..Change::default() };
        match self {
            Fault::Flip(file, at, bit) => {
                let (name, bytes) = golden.file(file);
                write(golden, name, at, &[bytes[at as usize] ^ 1 << bit]);
                change.bytes.push((name.clone(), at..at + 1));
            }
            Fault::Block(file, at, len, filling) => {
                let pieces = block(golden, file, at, len, filling)?;
                pieces.iter().for_each(|(file, at, bytes)| put(golden, &mut change, *file, *at, bytes));
                if change.bytes.is_empty() {
                    return None;
                }
            }
            Fault::Length(file, len, filling) => length(golden, &mut change, file, len, filling)?,
            Fault::Missing(first, second) => {
                for file in [first, second].into_iter().take(if first == second { 1 } else { 2 }) {
                    let (name, _) = golden.file(file);
                    match name.as_str() {
                        "identity" => golden.storage.rename(name, HIDDEN).unwrap(),
                        _ => golden.storage.remove(name).unwrap(),
                    }
                    change.files.push(name.clone());
                }
            }
            Fault::File(file, filling) => whole(golden, &mut change, file, filling)?,
        }
        Some(change)
    }

    /// Takes the change back, where nothing else was changed since.
    ///
    /// # Panics
    /// Where the storage fails.
    pub fn take_back(self, golden: &Golden) {
        match self {
            Fault::Flip(file, at, _) => {
                let (name, bytes) = golden.file(file);
                write(golden, name, at, &bytes[at as usize..=at as usize]);
            }
            Fault::Block(file, _, _, filling) => {
                put_file_back(golden, file);
                if let Filling::Swap(other, _) = filling {
                    put_file_back(golden, other);
                }
            }
            Fault::Length(file, ..) | Fault::File(file, _) => put_file_back(golden, file),
            Fault::Missing(..) => golden.put_back(),
        }
    }
}

/// What the identity file is called while it is missing: it must come back as the same file, since where it lies is the
/// store's home.
const HIDDEN: &str = "identity-elsewhere";

impl Golden {
    /// Puts all files back, whatever was done to them.
    ///
    /// # Panics
    /// Where the storage fails.
    pub fn put_back(&self) {
        if self.storage.open(HIDDEN, Access::Read).is_ok() {
            let _ = self.storage.remove("identity");
            self.storage.rename(HIDDEN, "identity").unwrap();
        }
        self.image.put_back(&self.storage);
    }

    /// A file by its number, and what is in it.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn file(&self, number: usize) -> (&String, &Vec<u8>) {
        self.image.0.iter().nth(number).expect("files are numbered in the order of their names")
    }
}

fn write(golden: &Golden, name: &str, at: u64, bytes: &[u8]) {
    golden.storage.open(name, Access::ReadWrite).unwrap().write_at(bytes, at).unwrap();
}

/// Writes bytes into a file, and notes which are others than before.
fn put(golden: &Golden, change: &mut Change, file: usize, at: u64, bytes: &[u8]) {
    let (name, before) = golden.file(file);
    write(golden, name, at, bytes);
    note(change, name, &before[at as usize..at as usize + bytes.len()], bytes, at);
}

/// Notes the runs of bytes that differ, the first of them at `at`.
fn note(change: &mut Change, name: &str, before: &[u8], now: &[u8], at: u64) {
    let len = before.len().max(now.len());
    let mut open: Option<usize> = None;
    for place in 0..=len {
        let differs = place < len && before.get(place) != now.get(place);
        match (open, differs) {
            (None, true) => open = Some(place),
            (Some(from), false) => {
                change.bytes.push((name.to_owned(), at + from as u64..at + place as u64));
                open = None;
            }
            _ => {}
        }
    }
}

/// What is to be written where for a block: one piece, or two of the same length for a swap.
fn block(golden: &Golden, file: usize, at: u64, len: u64, filling: Filling) -> Option<Vec<(usize, u64, Vec<u8>)>> {
    let (name, bytes) = golden.file(file);
    let range = at as usize..((at + len) as usize).min(bytes.len());
    let of = |files: &BTreeMap<String, Vec<u8>>| files.get(name)?.get(range.clone()).map(<[u8]>::to_vec);
    let there = |file: usize, from: u64| {
        let bytes = golden.file(file).1;
        bytes.get(from as usize..from as usize + range.len()).map(<[u8]>::to_vec)
    };
    let now = match filling {
        Filling::Zero => vec![0; range.len()],
        Filling::Ones => vec![0xFF; range.len()],
        Filling::Noise => noise(at * 31 + len, range.len()),
        Filling::Copy(other, from) => there(other, from)?,
        Filling::Swap(other, from) => {
            let here = bytes[range.clone()].to_vec();
            return Some(vec![(file, at, there(other, from)?), (other, from, here)]);
        }
        Filling::Foreign => of(&golden.foreign.0)?,
        Filling::Stale => of(&golden.earlier.0)?,
    };
    Some(vec![(file, at, now)])
}

/// A file that is cut short, or goes on.
fn length(golden: &Golden, change: &mut Change, file: usize, len: u64, filling: Filling) -> Option<()> {
    let (name, before) = golden.file(file);
    let (len, had) = (len as usize, before.len());
    let mut now = before.clone();
    now.truncate(len);
    let more = len.saturating_sub(had);
    now.extend(match filling {
        Filling::Zero => vec![0; more],
        Filling::Noise => noise(len as u64, more),
        Filling::Copy(..) => before.iter().copied().cycle().skip(8192 % had.max(1)).take(more).collect(),
        _ => return None,
    });
    (len != had).then_some(())?;
    if len < had {
        change.bytes.push((name.clone(), len as u64..had as u64));
        change.is_cut = true;
        // Without a whole copy of its head the segment is lost, but for what others know of it.
        if len < 4096 && name.ends_with(".segment") {
            change.files.push(name.clone());
        }
    }
    replace(golden, name, &now);
    Some(())
}

/// A file that is another one.
fn whole(golden: &Golden, change: &mut Change, file: usize, filling: Filling) -> Option<()> {
    let (name, before) = golden.file(file);
    let now = match filling {
        Filling::Foreign => golden.foreign.0.get(name)?,
        Filling::Stale => golden.earlier.0.get(name)?,
        Filling::Copy(other, _) => golden.file(other).1,
        _ => return None,
    };
    (now != before).then_some(())?;
    match filling {
        Filling::Stale => note(change, name, before, now, 0),
        _ => change.files.push(name.clone()),
    }
    replace(golden, name, now);
    Some(())
}

/// Gives a file these bytes; the identity file, which is what makes this place the store's home, stays the same file.
fn replace(golden: &Golden, name: &str, now: &[u8]) {
    put_file(&golden.storage, name, now);
}

fn put_file_back(golden: &Golden, file: usize) {
    let (name, bytes) = golden.file(file);
    put_file(&golden.storage, name, bytes);
}

/// The first and last byte of a file that a change touches.
pub(super) fn hull(runs: &[(String, Range<u64>)], file: &str) -> Option<Range<u64>> {
    let mut of_file = runs.iter().filter(|(name, _)| name == file).map(|(_, bytes)| bytes);
    let first = of_file.next()?.clone();
    Some(of_file.fold(first, |hull, bytes| hull.start.min(bytes.start)..hull.end.max(bytes.end)))
}
