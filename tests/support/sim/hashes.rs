//! What the image of a choice would hash to, without making the image: states that look the same are found before any of
//! them is made.
//!
//! The hash of an image is a sum over its files, that of a file an exclusive or over its sectors. So for one moment it is
//! enough to know what each place adds in the durable picture and what each pending unit adds instead. A sector that is torn
//! depends on what it was torn from: each is made once for all choices of the moment in which the two meet.

use std::collections::{BTreeMap, HashMap};

use super::Inode;
use super::disk::{Disk, Entry, Sector, Unit, hash_of};
use super::enumerate::{Blank, Choice, Fate, odd_sector};
use super::image::{hash_file, hash_name};

/// What a pending unit changes.
#[derive(Debug)]
enum Change {
    /// A place of a file, and the sector there instead.
    Sector {
        file: usize,
        place: usize,
        instead: usize,
    },
    /// Places of a file, and the sectors there instead.
    Hole(usize, Vec<(usize, usize)>),
    Length(usize, u64),
    /// A file as a whole: its hash and length.
    Whole(usize, u64, u64),
    Make(u64, Inode),
    Rename(u64, u64, Inode),
    Remove(u64),
    Nothing,
}

/// Sectors that may be somewhere, by number, and what each adds to the hash of its file.
#[derive(Debug, Default)]
struct Known {
    sectors: Vec<(Option<Sector>, u64)>,
    /// Those that were torn: by which unit, how, and what was there before.
    torn: HashMap<(usize, Fate, usize), usize>,
}

impl Known {
    fn add(&mut self, sector: Option<Sector>, index: u64) -> usize {
        let adds = hash_of(sector.as_ref(), index);
        self.sectors.push((sector, adds));
        self.sectors.len() - 1
    }

    /// The sector that unit `number` leaves as `fate` says, where `new` was to take the place of `old`.
    fn torn(&mut self, number: usize, fate: Fate, [old, new]: [usize; 2], index: u64) -> usize {
        if let Some(known) = self.torn.get(&(number, fate, old)) {
            return *known;
        }
        let bytes = |at: usize| self.sectors[at].0.as_ref();
        let sector = odd_sector(fate, bytes(new), &Sector::bytes_of(bytes(old)), number as u64);
        let added = self.add(sector, index);
        self.torn.insert((number, fate, old), added);
        added
    }
}

/// The hashes of one moment.
#[derive(Debug)]
pub struct Hashes {
    known: Known,
    /// The sector of each place in the durable picture, and where in its file that is.
    places: Vec<usize>,
    indexes: Vec<u64>,
    /// Hash and length of each file in the durable picture.
    files: Vec<(u64, u64)>,
    numbers: BTreeMap<Inode, usize>,
    names: Vec<(u64, Inode)>,
    changes: Vec<Change>,
    // As they are for the choice that is looked at.
    now_places: Vec<usize>,
    now_files: Vec<(u64, u64)>,
    now_names: Vec<(u64, Inode)>,
}

impl Hashes {
    /// Those of this moment.
    #[must_use]
    pub fn new(disk: &Disk) -> Hashes {
        let numbers: BTreeMap<Inode, usize> = disk.durable.keys().enumerate().map(|(at, inode)| (*inode, at)).collect();
        let (mut known, mut places, mut indexes) = (Known::default(), Vec::new(), Vec::new());
        let mut numbered: HashMap<(Inode, u64), usize> = HashMap::new();
        let mut meet = |inode: Inode, index: u64, sector: &Option<Sector>| {
            let place = *numbered.entry((inode, index)).or_insert_with(|| {
                let durable = disk.durable.get(&inode).and_then(|content| content.get(index));
                places.push(known.add(durable.cloned(), index));
                indexes.push(index);
                places.len() - 1
            });
            (place, known.add(sector.clone(), index))
        };
        let changes = disk.pending.iter().map(|pending| match &pending.unit {
            Unit::Sector { inode, index, sector, .. } => {
                let (place, instead) = meet(*inode, *index, sector);
                Change::Sector { file: numbers[inode], place, instead }
            }
            Unit::Hole { inode, sectors, .. } => {
                let met = sectors.iter().map(|(index, sector)| meet(*inode, *index, sector));
                Change::Hole(numbers[inode], met.collect())
            }
            Unit::Length { inode, len } => Change::Length(numbers[inode], *len),
            Unit::Page { inode, content } => Change::Whole(numbers[inode], content.hash(), content.len),
            Unit::Blocks { .. } => Change::Nothing,
            Unit::Entry(Entry::Make { name, inode }) => Change::Make(hash_name(name), *inode),
            Unit::Entry(Entry::Rename { from, to, inode }) => Change::Rename(hash_name(from), hash_name(to), *inode),
            Unit::Entry(Entry::Remove { name }) => Change::Remove(hash_name(name)),
        });
        let changes = changes.collect();
        Hashes {
            known,
            places,
            indexes,
            files: disk.durable.values().map(|content| (content.hash(), content.len)).collect(),
            numbers,
            names: disk.durable_names.iter().map(|(name, inode)| (hash_name(name), *inode)).collect(),
            changes,
            now_places: Vec::new(),
            now_files: Vec::new(),
            now_names: Vec::new(),
        }
    }

    /// The hash of the image of a choice; `None` where blocks show what was never written to them, or are taken along, for which
    /// the image must be made.
    pub fn of(&mut self, choice: &Choice) -> Option<u64> {
        if choice.blank != Blank::Zeros || choice.fates.contains(&Fate::TakesBlock) {
            return None;
        }
        self.now_places.clone_from(&self.places);
        self.now_files.clone_from(&self.files);
        self.now_names.clone_from(&self.names);
        let names = &mut self.now_names;
        let kept = self.changes.iter().zip(&choice.fates).enumerate().filter(|(_, (_, fate))| **fate != Fate::Lost);
        for (number, (change, fate)) in kept {
            match change {
                Change::Sector { file, place, instead } => {
                    let old = self.now_places[*place];
                    let new = match fate {
                        Fate::Kept => *instead,
                        torn => self.known.torn(number, *torn, [old, *instead], self.indexes[*place]),
                    };
                    self.now_places[*place] = new;
                    self.now_files[*file].0 ^= self.known.sectors[old].1 ^ self.known.sectors[new].1;
                }
                Change::Hole(file, met) => {
                    for (place, instead) in met {
                        let old = std::mem::replace(&mut self.now_places[*place], *instead);
                        self.now_files[*file].0 ^= self.known.sectors[old].1 ^ self.known.sectors[*instead].1;
                    }
                }
                Change::Length(file, len) => self.now_files[*file].1 = self.now_files[*file].1.max(*len),
                Change::Whole(file, hash, len) => self.now_files[*file] = (*hash, *len),
                Change::Make(name, inode) => put(names, *name, *inode),
                Change::Rename(from, to, inode) => {
                    names.retain(|(name, _)| name != from);
                    put(names, *to, *inode);
                }
                Change::Remove(gone) => names.retain(|(name, _)| name != gone),
                Change::Nothing => {}
            }
        }
        let files = self.now_names.iter().filter_map(|(name, inode)| {
            let (hash, len) = self.now_files[*self.numbers.get(inode)?];
            Some(hash_file(*name, *inode, len, hash))
        });
        Some(files.fold(0, u64::wrapping_add))
    }
}

fn put(names: &mut Vec<(u64, Inode)>, name: u64, inode: Inode) {
    names.retain(|(other, _)| *other != name);
    names.push((name, inode));
}
