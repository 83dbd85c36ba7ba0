//! The files of a directory at one moment, as a crash left them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Inode;
use super::disk::{Content, SECTOR, mix};

/// Files by name. Which file it is goes along, since the place of the identity file is part of the state.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The files.
    pub files: BTreeMap<String, (Inode, Arc<Content>)>,
    /// No file that was ever made had a higher number.
    pub last_inode: Inode,
}

/// Stretches of a file without holes of a block or more: where each begins, in sectors, and its bytes.
#[must_use]
pub fn runs(content: &Content) -> Vec<(u64, Vec<u8>)> {
    let mut runs = Vec::new();
    let mut at = 0;
    for stretch in content.sectors.chunk_by(|one, two| one.is_some() == two.is_some()) {
        let offset = at * SECTOR as u64;
        let visible = content.len.saturating_sub(offset).min((stretch.len() * SECTOR) as u64) as usize;
        if visible > 0 && stretch[0].is_some() {
            let mut bytes = Vec::with_capacity(stretch.len() * SECTOR);
            stretch.iter().flatten().for_each(|sector| bytes.extend_from_slice(sector.bytes()));
            bytes.truncate(visible);
            runs.push((at, bytes));
        }
        at += stretch.len() as u64;
    }
    runs
}

/// The bytes of a file.
#[must_use]
pub fn bytes_of(content: &Content) -> Vec<u8> {
    let mut bytes = vec![0; content.len as usize];
    for (index, run) in runs(content) {
        let at = index as usize * SECTOR;
        bytes[at..at + run.len()].copy_from_slice(&run);
    }
    bytes
}

impl Image {
    /// A number that differs where what can be seen differs.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let hash = |(name, (inode, content)): (&String, &(Inode, Arc<Content>))| {
            hash_file(hash_name(name), *inode, content.len, content.hash())
        };
        self.files.iter().map(hash).fold(0, u64::wrapping_add)
    }

    /// Bytes of a file, to look at or to change.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        bytes_of(&self.files[name].1)
    }

    /// Writes the files into a folder of the system, to be opened again or looked at with other tools.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        for (name, (_, content)) in &self.files {
            std::fs::write(folder.join(name), bytes_of(content))?;
        }
        Ok(())
    }
}

/// What a file adds to the hash of an image.
#[must_use]
pub fn hash_file(name: u64, inode: Inode, len: u64, content: u64) -> u64 {
    mix(mix(mix(name, inode), len), content)
}

/// The hash of a name.
#[must_use]
pub fn hash_name(name: &str) -> u64 {
    name.bytes().fold(name.len() as u64, |hash, byte| mix(hash, byte.into()))
}
