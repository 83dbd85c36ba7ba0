//! What the image of a choice would hash to, without making the image: states that look the same are found before any of
//! them is made.
//!
//! The hash of an image is a sum over its files, that of a file an exclusive or over its sectors. So for one moment it is
//! enough to know what each place adds in the durable picture and what each pending unit adds instead.

use std::collections::{BTreeMap, HashMap};

use super::Inode;
use super::disk::{Disk, Entry, Unit, hash_of};
use super::enumerate::{Blank, Choice, Fate};
use super::image::{hash_file, hash_name};

/// What a pending unit changes.
#[derive(Debug)]
enum Change {
    /// Places of a file, and what each adds instead.
    Places(usize, Vec<(usize, u64)>),
    Length(usize, u64),
    /// A file as a whole: its hash and length.
    Whole(usize, u64, u64),
    Make(u64, Inode),
    Rename(u64, u64, Inode),
    Remove(u64),
    Nothing,
}

/// The hashes of one moment.
#[derive(Debug)]
pub struct Hashes {
    /// What each place adds in the durable picture.
    places: Vec<u64>,
    /// Hash and length of each file in the durable picture.
    files: Vec<(u64, u64)>,
    numbers: BTreeMap<Inode, usize>,
    names: Vec<(u64, Inode)>,
    changes: Vec<Change>,
    // As they are for the choice that is looked at.
    now_places: Vec<u64>,
    now_files: Vec<(u64, u64)>,
    now_names: Vec<(u64, Inode)>,
}

impl Hashes {
    /// Those of this moment.
    #[must_use]
    pub fn new(disk: &Disk) -> Hashes {
        let numbers: BTreeMap<Inode, usize> = disk.durable.keys().enumerate().map(|(at, inode)| (*inode, at)).collect();
        let mut places = Vec::new();
        let mut known: HashMap<(Inode, u64), usize> = HashMap::new();
        let mut place = |inode: Inode, index: u64| {
            *known.entry((inode, index)).or_insert_with(|| {
                let durable = disk.durable.get(&inode).and_then(|content| content.get(index));
                places.push(hash_of(durable, index));
                places.len() - 1
            })
        };
        let changes = disk.pending.iter().map(|pending| match &pending.unit {
            Unit::Sector { inode, index, sector, .. } => {
                let adds = hash_of(sector.as_ref(), *index);
                Change::Places(numbers[inode], vec![(place(*inode, *index), adds)])
            }
            Unit::Hole { inode, sectors, .. } => {
                let adds =
                    sectors.iter().map(|(index, sector)| (place(*inode, *index), hash_of(sector.as_ref(), *index)));
                Change::Places(numbers[inode], adds.collect())
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
            places,
            files: disk.durable.values().map(|content| (content.hash(), content.len)).collect(),
            numbers,
            names: disk.durable_names.iter().map(|(name, inode)| (hash_name(name), *inode)).collect(),
            changes,
            now_places: Vec::new(),
            now_files: Vec::new(),
            now_names: Vec::new(),
        }
    }

    /// The hash of the image of a choice; `None` where units fare in ways for which the image must be made.
    pub fn of(&mut self, choice: &Choice) -> Option<u64> {
        if choice.blank != Blank::Zeros || choice.fates.iter().any(|fate| !matches!(fate, Fate::Kept | Fate::Lost)) {
            return None;
        }
        self.now_places.clone_from(&self.places);
        self.now_files.clone_from(&self.files);
        self.now_names.clone_from(&self.names);
        let names = &mut self.now_names;
        for (change, _) in self.changes.iter().zip(&choice.fates).filter(|(_, fate)| **fate == Fate::Kept) {
            match change {
                Change::Places(file, adds) => {
                    for (place, adds) in adds {
                        self.now_files[*file].0 ^= std::mem::replace(&mut self.now_places[*place], *adds) ^ adds;
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
