//! Which states a crash may leave: for each moment of a trace, which of the pending units are kept.
//!
//! With few units all subsets; with more the prefixes and suffixes, each one missing and each one alone, pairs missing,
//! the headers of frames alone, and random ones. Where the disk is hostile a sector may also be zeros, garbage, or half old
//! and half new, and blocks that were allocated and not written show what a deleted file held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::disk::{BLOCK, Content, Disk, SECTOR, Sector, Unit, keep};
use super::{Image, Inode};

/// How a pending unit fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It did not reach the disk.
    Lost,
    /// It did.
    Kept,
    /// The sector is zeros.
    Zeros,
    /// The sector is noise.
    Noise,
    /// Its first bytes are new, the others old.
    NewThenOld,
    /// Its first bytes are old, the others new.
    OldThenNew,
    /// It is zeros or noise, and so are all others of its 4 KiB, also those that were durable.
    TakesBlock,
}

impl Fate {
    /// Those that leave alone what is beside the sector.
    const ALONE: [Fate; 6] = [Fate::Lost, Fate::Kept, Fate::Zeros, Fate::Noise, Fate::NewThenOld, Fate::OldThenNew];
    const ALL: [Fate; 7] = {
        let [lost, kept, zeros, noise, new_then_old, old_then_new] = Fate::ALONE;
        [lost, kept, zeros, noise, new_then_old, old_then_new, Fate::TakesBlock]
    };

    /// The digit that stands for it in a replay.
    #[must_use]
    pub fn digit(self) -> char {
        char::from(b'0' + Fate::ALL.iter().position(|fate| *fate == self).expect("it is listed") as u8)
    }

    /// The fate that a digit stands for.
    #[must_use]
    pub fn of_digit(digit: char) -> Option<Fate> {
        Fate::ALL.get(digit.to_digit(10)? as usize).copied()
    }
}

/// What blocks show that were allocated and never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blank {
    /// Zeros.
    Zeros,
    /// What the file with this number held at the same offset, whether it still has a name or not.
    Of(Inode),
    /// Noise.
    Noise,
}

/// What became of the control page where only processes died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Page {
    /// It is as its writer left it.
    #[default]
    Kept,
    /// Somebody removed it.
    Lost,
    /// It is that of another moment of the trace: an older one was put back, or the log was.
    At(usize),
    /// One bit of a word is another.
    Flipped(usize, u32),
    /// A word is this one.
    Word(usize, u64),
    /// It is sound, but this word of its header is that of another store, life, boot, mount or place.
    Foreign(usize),
    /// It is right, and the file system was mounted anew.
    Remounted,
}

/// One state: the moment, and what became of each pending unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How many calls of the trace had happened.
    pub at: usize,
    /// For each pending unit, oldest first.
    pub fates: Vec<Fate>,
    /// For blocks without content.
    pub blank: Blank,
    /// The control page.
    pub page: Page,
}

/// How many states are made at each moment.
#[derive(Clone, Copy, Debug)]
pub struct Width {
    /// Up to so many units all subsets are made.
    pub exhaustive: usize,
    /// So many pairs are left out at most.
    pub pairs: usize,
    /// So many random subsets are made.
    pub random: usize,
    /// One moment in so many is looked at.
    pub moments_one_in: usize,
}

/// A stream of numbers that is the same for the same seed.
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next one.
    #[allow(clippy::should_implement_trait)] // it never ends
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The next one below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// The pending units whose fate is chosen: that of blocks shows only where the disk is hostile; a control page is kept, since
/// after a loss of power none is to be believed.
fn shown(disk: &Disk) -> Vec<usize> {
    let is_shown = |index: &usize| !matches!(disk.pending[*index].unit, Unit::Blocks { .. } | Unit::Page { .. });
    (0..disk.pending.len()).filter(is_shown).collect()
}

/// The states that a loss of power may leave at this moment; the plainest ones first.
#[must_use]
pub fn power(disk: &Disk, width: Width, numbers: &mut Numbers) -> Vec<Choice> {
    let units = shown(disk);
    let k = units.len();
    let choice = |is_kept: &dyn Fn(usize) -> bool| {
        let mut fates = vec![Fate::Kept; disk.pending.len()];
        for (number, unit) in units.iter().enumerate() {
            fates[*unit] = if is_kept(number) { Fate::Kept } else { Fate::Lost };
        }
        Choice { at: disk.calls, fates, blank: Blank::Zeros, page: Page::Kept }
    };
    let mut choices = vec![choice(&|_| true), choice(&|_| false)];
    for edge in 1..k {
        choices.push(choice(&|unit| unit < edge));
        choices.push(choice(&|unit| unit >= edge));
        choices.push(choice(&|unit| unit != edge - 1));
        choices.push(choice(&|unit| unit == edge - 1));
    }
    if k > 2 {
        choices.push(choice(&|unit| unit != k - 1));
        let leads = |unit: usize| matches!(disk.pending[units[unit]].unit, Unit::Sector { leads: true, .. });
        choices.push(choice(&|unit| leads(unit)));
        choices.push(choice(&|unit| !leads(unit)));
    }
    if k <= width.exhaustive {
        choices.extend((0..1_u64 << k).map(|mask| choice(&|unit| mask >> unit & 1 == 1)));
        return choices;
    }
    let pairs = (0..k).flat_map(|one| (one + 1..k).map(move |two| (one, two)));
    let stride = (k * (k - 1) / 2).div_ceil(width.pairs.max(1)).max(1);
    for (one, two) in pairs.step_by(stride).take(width.pairs) {
        choices.push(choice(&|unit| unit != one && unit != two));
    }
    for _ in 0..width.random {
        let words: Vec<u64> = (0..k.div_ceil(64)).map(|_| numbers.next()).collect();
        choices.push(choice(&|unit| words[unit / 64] >> (unit % 64) & 1 == 1));
    }
    choices
}

/// The states that a loss of power may leave on a hostile disk.
#[must_use]
pub fn hostile(disk: &Disk, width: Width, numbers: &mut Numbers) -> Vec<Choice> {
    let units = shown(disk);
    let at = disk.calls;
    let mut choices = Vec::new();
    let odd = [Fate::Zeros, Fate::Noise, Fate::NewThenOld, Fate::OldThenNew];
    for unit in &units {
        for (fate, others) in odd.iter().flat_map(|fate| [(fate, Fate::Kept), (fate, Fate::Lost)]) {
            let mut fates = vec![others; disk.pending.len()];
            fates[*unit] = *fate;
            choices.push(Choice { at, fates, blank: Blank::Zeros, page: Page::Kept });
        }
    }
    let inodes: Vec<Inode> = disk.cache.keys().copied().collect();
    let blanks: Vec<Blank> = inodes.iter().map(|inode| Blank::Of(*inode)).chain([Blank::Noise]).collect();
    for blank in &blanks {
        for fate in [Fate::Kept, Fate::Lost] {
            choices.push(Choice { at, fates: vec![fate; disk.pending.len()], blank: *blank, page: Page::Kept });
        }
    }
    // Half of these are told apart by their images, which costs as much as to open them.
    for _ in 0..width.random.min(64) {
        let fates = (0..disk.pending.len()).map(|_| Fate::ALONE[numbers.below(Fate::ALONE.len())]).collect();
        let blank = if numbers.below(2) == 0 { Blank::Zeros } else { blanks[numbers.below(blanks.len())] };
        choices.push(Choice { at, fates, blank, page: Page::Kept });
    }
    choices
}

/// The states that a loss of power may leave where one write fails with the block of 4 KiB that it belongs to; all else that is
/// pending is there, or nothing of it.
#[must_use]
pub fn beside(disk: &Disk, width: Width) -> Vec<Choice> {
    let is_sector = |index: &usize| matches!(disk.pending[*index].unit, Unit::Sector { .. });
    let sectors: Vec<usize> = (0..disk.pending.len()).filter(is_sector).collect();
    let stride = sectors.len().div_ceil(width.random.max(1)).max(1);
    let states = sectors.iter().step_by(stride).flat_map(|unit| [(*unit, Fate::Kept), (*unit, Fate::Lost)]);
    let choices = states.map(|(unit, others)| {
        let mut fates = vec![others; disk.pending.len()];
        fates[unit] = Fate::TakesBlock;
        Choice { at: disk.calls, fates, blank: Blank::Zeros, page: Page::Kept }
    });
    choices.collect()
}

/// The files of a disk, shared by all images that are made of it.
#[derive(Debug)]
pub struct Base {
    files: BTreeMap<Inode, Arc<Content>>,
    last_inode: Inode,
}

impl Base {
    /// What is durable at this moment.
    #[must_use]
    pub fn new(disk: &Disk) -> Base {
        Base { files: disk.durable.clone(), last_inode: disk.durable.keys().max().copied().unwrap_or(0) }
    }
}

/// The image of a state.
#[must_use]
pub fn image(disk: &Disk, base: &Base, choice: &Choice) -> Image {
    let mut names = disk.durable_names.clone();
    let mut files = base.files.clone();
    let mut written: BTreeMap<Inode, BTreeSet<u64>> = BTreeMap::new();
    let mut taken: Vec<(Inode, u64, usize)> = Vec::new();
    for (number, (pending, fate)) in disk.pending.iter().zip(&choice.fates).enumerate() {
        if *fate == Fate::Lost {
            continue;
        }
        match &pending.unit {
            Unit::Entry(entry) => entry.apply(&mut names),
            Unit::Sector { inode, index, .. } if *fate == Fate::TakesBlock => {
                taken.push((*inode, *index * SECTOR as u64 / BLOCK, number));
            }
            Unit::Sector { inode, index, sector, .. } => {
                let content = Arc::make_mut(files.entry(*inode).or_default());
                let sector = match fate {
                    Fate::Kept => sector.clone(),
                    _ => odd_sector(*fate, sector.as_ref(), &content.sector(*index), number as u64),
                };
                content.put(*index, sector);
                content.blocks.insert(*index * SECTOR as u64 / BLOCK);
                if choice.blank != Blank::Zeros {
                    written.entry(*inode).or_default().insert(*index);
                }
            }
            unit => {
                let inode = unit.inode().expect("all but entries are of a file");
                keep(unit, Arc::make_mut(files.entry(inode).or_default()));
            }
        }
    }
    if choice.blank != Blank::Zeros {
        for inode in names.values() {
            if let Some(content) = files.get_mut(inode) {
                fill_blanks(disk, *inode, Arc::make_mut(content), written.get(inode), choice.blank);
            }
        }
    }
    for (inode, block, number) in taken {
        take_block(Arc::make_mut(files.entry(inode).or_default()), block, number);
    }
    let named = names.into_iter().filter_map(|(name, inode)| Some((name, (inode, Arc::clone(files.get(&inode)?)))));
    Image { files: named.collect(), last_inode: base.last_inode }
}

/// A sector that was torn. The bytes beside those that were written stay what they were: the disk may fail to write what it
/// is given, but takes nothing else with it. What one that does leaves is [`beside`]'s.
#[must_use]
pub(super) fn odd_sector(fate: Fate, new: Option<&Sector>, old: &[u8; SECTOR], number: u64) -> Option<Sector> {
    let new_bytes = new.map_or([0; SECTOR], |sector| *sector.bytes());
    let cut = (Numbers(number).next() % SECTOR as u64) as usize;
    let noise = if fate == Fate::Noise { crate::store::noise(number, SECTOR) } else { Vec::new() };
    let mut bytes = *old;
    for at in (0..SECTOR).filter(|at| new_bytes[*at] != old[*at]) {
        bytes[at] = match fate {
            Fate::Lost | Fate::Kept | Fate::TakesBlock => unreachable!("of such a sector nothing is new beside old"),
            Fate::Zeros => 0,
            Fate::Noise => noise[at],
            Fate::NewThenOld => {
                if at < cut {
                    new_bytes[at]
                } else {
                    old[at]
                }
            }
            Fate::OldThenNew => {
                if at < cut {
                    old[at]
                } else {
                    new_bytes[at]
                }
            }
        };
    }
    Sector::new(&bytes)
}

/// A block that the disk cannot read any more, or of which it has nothing.
fn take_block(content: &mut Content, block: u64, number: usize) {
    let first = block * BLOCK / SECTOR as u64;
    let end = (first + BLOCK / SECTOR as u64).min(content.len.div_ceil(SECTOR as u64));
    for index in first..end {
        let noise = crate::store::noise(number as u64 ^ index << 32, SECTOR);
        let sector = if number.is_multiple_of(2) { None } else { Sector::new(noise.first_chunk().expect("so long")) };
        content.put(index, sector);
    }
}

/// Allocated blocks that nothing was ever written to show something else than zeros.
fn fill_blanks(disk: &Disk, inode: Inode, content: &mut Content, written: Option<&BTreeSet<u64>>, blank: Blank) {
    const SECTORS: u64 = BLOCK / SECTOR as u64;
    let is_synced = |block: u64| {
        let sectors = block * SECTORS..(block + 1) * SECTORS;
        disk.durable
            .get(&inode)
            .is_some_and(|durable| durable.sectors_from(sectors.start).next().is_some_and(|(at, _)| at < sectors.end))
    };
    // The cache writes whole blocks: where one was synced all of it was, zeros included.
    for block in content.blocks.clone().into_iter().filter(|block| !is_synced(*block)) {
        for index in block * SECTORS..(block + 1) * SECTORS {
            let is_written = content.get(index).is_some() || written.is_some_and(|written| written.contains(&index));
            if is_written || index * SECTOR as u64 >= content.len {
                continue;
            }
            let sector = match blank {
                Blank::Zeros => None,
                Blank::Noise => {
                    let noise = crate::store::noise(index, SECTOR);
                    Sector::new(noise.as_slice().try_into().expect("it is as long as a sector"))
                }
                Blank::Of(other) if other == inode => None,
                Blank::Of(other) => disk.cache[&other].get(index).cloned(),
            };
            content.put(index, sector);
        }
    }
}
