//! What a disk may hold after a loss of power.
//!
//! Two pictures of the files: the cache, which every reader sees, and the disk. Each call that changes something adds
//! *pending* units to the disk's picture, each of which a crash keeps or loses on its own:
//!
//! - 512 bytes of a file as the cache held them after the call (a later unit of the same place holds the earlier bytes too);
//! - the length of a file; blocks allocated to it; a hole that was punched into it;
//! - one entry of the directory: made, renamed, removed.
//!
//! A sync of a file moves to the disk what was pending for that file when it began; a sync of the directory all entries.
//! The control page is apart: the engine never syncs it, so that a loss of power keeps it as it was first written, or not at
//! all. Words that are stored into it are calls of the trace too, but change the cache alone.
//!
//! Nothing else does, and nothing is in order. What a failed sync was to move becomes *lost*: no later sync moves it, yet it
//! may have reached the disk or may still; writing the bytes again makes new units.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::Image;

/// The unit in which bytes reach the disk or do not.
pub const SECTOR: usize = 512;
/// The unit in which space is allocated.
pub const BLOCK: u64 = 4096;

/// The name of the control page.
pub const CONTROL: &str = treering::format::file_name::CONTROL;
/// A file, whatever its name.
pub type Inode = u64;

/// 512 bytes; shared, since many pictures hold the same ones. Their hash is made when it is asked for: of most it never is.
#[derive(Clone, Debug)]
pub struct Sector(Arc<(OnceLock<u64>, [u8; SECTOR])>);

impl Sector {
    /// The sector with these bytes; `None` for zeros, which take no place.
    #[must_use]
    pub fn new(bytes: &[u8; SECTOR]) -> Option<Sector> {
        if *bytes == [0; SECTOR] {
            return None;
        }
        Some(Sector(Arc::new((OnceLock::new(), *bytes))))
    }

    fn hash(&self) -> u64 {
        let word = |word: &[u8]| u64::from_le_bytes(word.try_into().expect("eight bytes"));
        *self.0.0.get_or_init(|| self.bytes().chunks_exact(8).map(word).fold(SECTOR as u64, mix))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; SECTOR] {
        &self.0.1
    }

    /// The bytes where there is one, else zeros.
    #[must_use]
    pub fn bytes_of(sector: Option<&Sector>) -> [u8; SECTOR] {
        sector.map_or([0; SECTOR], |sector| *sector.bytes())
    }
}

/// Takes one more word into a hash. Nobody chooses bytes to make two of them meet: it only has to be quick and to spread.
#[must_use]
pub fn mix(hash: u64, word: u64) -> u64 {
    let wide = u128::from(hash ^ 0x9E37_79B9_7F4A_7C15) * u128::from(word ^ 0xD6E8_FEB8_6659_FD93);
    (wide as u64) ^ ((wide >> 64) as u64) ^ hash.rotate_left(23)
}

/// What a sector adds to the hash of its file; zeros add nothing.
#[must_use]
pub fn hash_of(sector: Option<&Sector>, index: u64) -> u64 {
    sector.map_or(0, |sector| mix(sector.hash(), index + 1))
}

/// One picture of a file.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Its length in bytes.
    pub len: u64,
    /// Its sectors, in order; those that are not here are zero.
    pub(super) sectors: Vec<Option<Sector>>,
    /// The blocks that it has.
    pub blocks: BTreeSet<u64>,
}

impl Content {
    /// Puts a sector, or zeros.
    pub fn put(&mut self, index: u64, sector: Option<Sector>) {
        let at = index as usize;
        if at >= self.sectors.len() {
            if sector.is_none() {
                return;
            }
            self.sectors.resize(at + 1, None);
        }
        self.sectors[at] = sector;
    }

    /// Exclusive or of what its sectors add.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.sectors_from(0).fold(0, |hash, (index, sector)| hash ^ hash_of(Some(sector), index))
    }

    /// A sector; `None` for zeros.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<&Sector> {
        self.sectors.get(index as usize)?.as_ref()
    }

    /// The bytes of a sector.
    #[must_use]
    pub fn sector(&self, index: u64) -> [u8; SECTOR] {
        Sector::bytes_of(self.get(index))
    }

    /// The sectors that are not zeros, with their places, from this one on.
    pub fn sectors_from(&self, index: u64) -> impl DoubleEndedIterator<Item = (u64, &Sector)> {
        let rest = self.sectors.get(index as usize..).unwrap_or_default();
        let found = rest.iter().enumerate();
        found.filter_map(move |(at, sector)| Some((index + at as u64, sector.as_ref()?)))
    }

    /// Stores a word of shared memory. In place where nobody else holds the sector: there are more of these than of all
    /// other calls.
    fn store(&mut self, index: usize, value: u64) {
        let (at, within) = (index * 8 / SECTOR, index * 8 % SECTOR);
        let there = self.sectors.get_mut(at).and_then(Option::as_mut);
        match there.and_then(|sector| Arc::get_mut(&mut sector.0)) {
            Some((hash, bytes)) if value != 0 => {
                hash.take();
                bytes[within..within + 8].copy_from_slice(&value.to_le_bytes());
            }
            _ => drop(self.write(index as u64 * 8, &value.to_le_bytes())),
        }
    }

    /// Writes bytes; the sectors that changed, as they are now.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Vec<(u64, Option<Sector>)> {
        let mut changed = Vec::new();
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (index, within) = (at / SECTOR as u64, (at % SECTOR as u64) as usize);
            let part = (SECTOR - within).min(bytes.len() - done);
            let sector = match bytes[done..].first_chunk() {
                Some(whole) if within == 0 => Sector::new(whole),
                _ => {
                    let mut whole = self.sector(index);
                    whole[within..within + part].copy_from_slice(&bytes[done..done + part]);
                    Sector::new(&whole)
                }
            };
            self.put(index, sector.clone());
            changed.push((index, sector));
            done += part;
        }
        if !bytes.is_empty() {
            self.len = self.len.max(offset + bytes.len() as u64);
            self.blocks.extend(offset / BLOCK..(offset + bytes.len() as u64).div_ceil(BLOCK));
        }
        changed
    }
}

/// What a crash keeps or loses as a whole.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields are named for what they are
pub enum Unit {
    /// A sector of a file; `leads` where a write began in it: it holds the header of a frame, mostly.
    Sector { inode: Inode, index: u64, sector: Option<Sector>, leads: bool },
    /// A hole: these sectors read as zero, these blocks are gone.
    Hole { inode: Inode, sectors: Vec<(u64, Option<Sector>)>, blocks: Range<u64> },
    /// The length of a file.
    Length { inode: Inode, len: u64 },
    /// Blocks of a file.
    Blocks { inode: Inode, blocks: Range<u64> },
    /// A control page, as it was when it was last written as a whole.
    Page { inode: Inode, content: Arc<Content> },
    /// An entry of the directory.
    Entry(Entry),
}

/// A change of the directory.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields are named for what they are
pub enum Entry {
    /// A name for a file.
    Make { name: String, inode: Inode },
    /// Another name for it, in one step.
    Rename { from: String, to: String, inode: Inode },
    /// One name less.
    Remove { name: String },
}

impl Unit {
    /// The file that it is of; `None` for an entry.
    #[must_use]
    pub fn inode(&self) -> Option<Inode> {
        match self {
            Unit::Sector { inode, .. }
            | Unit::Hole { inode, .. }
            | Unit::Length { inode, .. }
            | Unit::Page { inode, .. }
            | Unit::Blocks { inode, .. } => Some(*inode),
            Unit::Entry(_) => None,
        }
    }
}

impl Entry {
    /// Applies it to a directory.
    pub fn apply(&self, names: &mut BTreeMap<String, Inode>) {
        match self {
            Entry::Make { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Entry::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Entry::Remove { name } => {
                names.remove(name);
            }
        }
    }
}

/// A unit that no sync has moved to the disk.
#[derive(Clone, Debug)]
pub struct Pending {
    /// What it is.
    pub unit: Unit,
    /// The call that made it.
    pub call: usize,
    /// A sync that was to move it failed.
    pub is_lost: bool,
}

/// A call that changed something, as the trace keeps it.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields are named for what they are
pub enum Call {
    /// A file of `len` zeros under a new name.
    Create { name: String, inode: Inode, len: u64 },
    /// A name was exchanged.
    Rename { from: String, to: String },
    /// A name was removed.
    Remove { name: String },
    /// Bytes that are in the cache now.
    Write { inode: Inode, offset: u64, bytes: Arc<[u8]> },
    /// A word of shared memory was stored.
    Store { inode: Inode, index: usize, value: u64 },
    /// Blocks for a range.
    Allocate { inode: Inode, range: Range<u64> },
    /// A hole.
    Punch { inode: Inode, range: Range<u64> },
    /// A sync that succeeded, begun when the trace had so many calls.
    Sync { inode: Inode, begun: usize },
    /// A sync that failed, or a write-back that nobody asked for. `reverts`: the cache shows the old bytes again.
    SyncFailed { inode: Inode, begun: usize, reverts: bool },
    /// The cache lets go of pages that seem clean: what was lost shows its old bytes again.
    Evict,
    /// All names so far are durable.
    SyncDirectory,
}

impl Call {
    /// Does to the names of a directory what the call does to them.
    pub(super) fn rename(&self, names: &mut BTreeMap<String, Inode>) {
        match self {
            Call::Create { name, inode, .. } => {
                names.insert(name.clone(), *inode);
            }
            Call::Rename { from, to } => {
                let inode = names.remove(from).expect("the file has this name");
                names.insert(to.clone(), inode);
            }
            Call::Remove { name } => {
                names.remove(name);
            }
            _ => {}
        }
    }
}

/// The two pictures and what lies between them.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// What readers see.
    pub cache: BTreeMap<Inode, Arc<Content>>,
    /// What is there whatever happens.
    pub durable: BTreeMap<Inode, Arc<Content>>,
    /// The directory as readers see it.
    pub names: BTreeMap<String, Inode>,
    /// The directory that is there whatever happens.
    pub durable_names: BTreeMap<String, Inode>,
    /// Between the two, oldest first.
    pub pending: Vec<Pending>,
    /// The files that are control pages.
    pub pages: BTreeSet<Inode>,
    /// How many calls there were.
    pub calls: usize,
}

impl Disk {
    /// The pictures after a crash: what it left is in the cache and durable.
    #[must_use]
    pub fn of_image(image: &Image) -> Disk {
        let files: BTreeMap<Inode, Arc<Content>> =
            image.files.values().map(|(inode, content)| (*inode, Arc::clone(content))).collect();
        let names: BTreeMap<String, Inode> =
            image.files.iter().map(|(name, (inode, _))| (name.clone(), *inode)).collect();
        let pages = names.get(CONTROL).copied().into_iter().collect();
        Disk {
            cache: files.clone(),
            durable: files,
            names: names.clone(),
            durable_names: names,
            pages,
            ..Disk::default()
        }
    }

    fn add(&mut self, unit: Unit) {
        self.pending.push(Pending { unit, call: self.calls, is_lost: false });
    }

    /// Takes in one more call.
    pub fn apply(&mut self, call: &Call) {
        match call {
            Call::Create { name, inode, len } => {
                self.cache.insert(*inode, Arc::new(Content { len: *len, ..Content::default() }));
                self.durable.insert(*inode, Arc::default());
                if name == CONTROL {
                    self.pages.insert(*inode);
                }
                if *len > 0 {
                    self.add(Unit::Length { inode: *inode, len: *len });
                }
                self.enter(Entry::Make { name: name.clone(), inode: *inode });
            }
            Call::Rename { from, to } => {
                let inode = self.names[from];
                self.enter(Entry::Rename { from: from.clone(), to: to.clone(), inode });
            }
            Call::Remove { name } => self.enter(Entry::Remove { name: name.clone() }),
            Call::Write { inode, offset, bytes } if self.pages.contains(inode) => {
                self.write_page(*inode, *offset, bytes)
            }
            Call::Write { inode, offset, bytes } => self.write(*inode, *offset, bytes),
            Call::Store { inode, index, value } => {
                Arc::make_mut(self.cache.entry(*inode).or_default()).store(*index, *value);
            }
            Call::Allocate { inode, range } => {
                let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK);
                Arc::make_mut(self.cache.entry(*inode).or_default()).blocks.extend(blocks.clone());
                self.add(Unit::Blocks { inode: *inode, blocks });
            }
            Call::Punch { inode, range } => self.punch(*inode, range),
            Call::Sync { inode, begun } => self.flush(*inode, *begun),
            Call::SyncFailed { inode, begun, reverts } => self.lose(*inode, *begun, *reverts),
            Call::Evict => self.evict(),
            Call::SyncDirectory => {
                let names = &mut self.durable_names;
                self.pending.retain(|pending| match &pending.unit {
                    Unit::Entry(entry) => {
                        entry.apply(names);
                        false
                    }
                    _ => true,
                });
            }
        }
        self.calls += 1;
    }

    fn enter(&mut self, entry: Entry) {
        entry.apply(&mut self.names);
        self.add(Unit::Entry(entry));
    }

    fn write(&mut self, inode: Inode, offset: u64, bytes: &[u8]) {
        let content = Arc::make_mut(self.cache.entry(inode).or_default());
        let len = content.len;
        let changed = content.write(offset, bytes);
        let grown = content.len;
        for (number, (index, sector)) in changed.into_iter().enumerate() {
            self.add(Unit::Sector { inode, index, sector, leads: number == 0 });
        }
        if grown > len {
            self.add(Unit::Length { inode, len: grown });
        }
    }

    fn write_page(&mut self, inode: Inode, offset: u64, bytes: &[u8]) {
        let content = Arc::make_mut(self.cache.entry(inode).or_default());
        content.write(offset, bytes);
        let content = Arc::clone(&self.cache[&inode]);
        self.pending.retain(|pending| !matches!(&pending.unit, Unit::Page { inode: other, .. } if *other == inode));
        self.add(Unit::Page { inode, content });
    }

    fn punch(&mut self, inode: Inode, range: &Range<u64>) {
        let content = Arc::make_mut(self.cache.entry(inode).or_default());
        let end = range.end.min(content.len);
        if range.start >= end {
            return;
        }
        let before = (content.len, content.blocks.clone());
        let sectors = content.write(range.start, &vec![0; (end - range.start) as usize]);
        (content.len, content.blocks) = before;
        let blocks = range.start.div_ceil(BLOCK)..range.end / BLOCK;
        content.blocks.retain(|block| !blocks.contains(block));
        self.add(Unit::Hole { inode, sectors, blocks });
    }

    fn flush(&mut self, inode: Inode, begun: usize) {
        let is_moved =
            |pending: &Pending| pending.unit.inode() == Some(inode) && pending.call < begun && !pending.is_lost;
        let (moved, rest) = std::mem::take(&mut self.pending).into_iter().partition(is_moved);
        self.pending = rest;
        let content = Arc::make_mut(self.durable.entry(inode).or_default());
        for Pending { unit, call, .. } in moved {
            keep(&unit, content);
            // What was lost before at the same place is older: it can no longer show.
            if let Unit::Sector { index, .. } = unit {
                self.pending.retain(|pending| {
                    !matches!(&pending.unit, Unit::Sector { inode: other, index: same, .. }
                        if *other == inode && *same == index && pending.call < call)
                });
            }
        }
    }

    fn lose(&mut self, inode: Inode, begun: usize, reverts: bool) {
        let mut lost = Vec::new();
        for pending in &mut self.pending {
            if let Unit::Sector { inode: other, index, .. } = pending.unit
                && other == inode
                && pending.call < begun
            {
                pending.is_lost = true;
                lost.push(index);
            }
        }
        if reverts {
            self.show_old(inode, &lost);
        }
    }

    /// The cache shows of these sectors what the disk holds.
    fn show_old(&mut self, inode: Inode, sectors: &[u64]) {
        let old = &self.durable[&inode];
        let shown = Arc::make_mut(self.cache.entry(inode).or_default());
        for index in sectors {
            shown.put(*index, old.get(*index).cloned());
        }
    }

    fn evict(&mut self) {
        for (inode, index) in self.evicted() {
            self.show_old(inode, &[index]);
            // It was looked at: the disk holds the old bytes, and will.
            self.pending.retain(|pending| {
                !matches!(pending.unit, Unit::Sector { inode: other, index: same, .. }
                    if other == inode && same == index)
            });
        }
    }

    /// The sectors that an eviction changes: lost, and not written since.
    #[must_use]
    pub fn evicted(&self) -> Vec<(Inode, u64)> {
        let mut places = BTreeMap::new();
        for pending in &self.pending {
            if let Unit::Sector { inode, index, .. } = pending.unit {
                places.insert((inode, index), pending.is_lost);
            }
        }
        places.into_iter().filter(|(_, is_lost)| *is_lost).map(|(place, _)| place).collect()
    }
}

/// Applies a unit of a file to a picture of it.
pub fn keep(unit: &Unit, content: &mut Content) {
    match unit {
        Unit::Sector { index, sector, .. } => {
            content.put(*index, sector.clone());
            content.blocks.insert(*index * SECTOR as u64 / BLOCK);
        }
        Unit::Hole { sectors, blocks, .. } => {
            for (index, sector) in sectors {
                content.put(*index, sector.clone());
            }
            content.blocks.retain(|block| !blocks.contains(block));
        }
        Unit::Length { len, .. } => content.len = content.len.max(*len),
        Unit::Blocks { blocks, .. } => content.blocks.extend(blocks.clone()),
        Unit::Page { content: page, .. } => content.clone_from(page),
        Unit::Entry(_) => {}
    }
}
