//! The files of a directory at one moment, as a crash left them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Inode;
use super::disk::{Content, SECTOR, Sector};

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
    let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
    for (index, sector) in &content.sectors {
        let offset = index * SECTOR as u64;
        let visible = content.len.saturating_sub(offset).min(SECTOR as u64) as usize;
        if visible == 0 {
            break;
        }
        match runs.last_mut() {
            Some((first, bytes)) if (*first + (bytes.len() / SECTOR) as u64) == *index => {
                bytes.extend_from_slice(&sector.bytes()[..visible]);
            }
            _ => runs.push((*index, sector.bytes()[..visible].to_vec())),
        }
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

/// A file with these bytes.
#[must_use]
pub fn content_of(bytes: &[u8]) -> Content {
    let mut content = Content { len: bytes.len() as u64, ..Content::default() };
    for (index, part) in bytes.chunks(SECTOR).enumerate() {
        let mut whole = [0; SECTOR];
        whole[..part.len()].copy_from_slice(part);
        content.put(index as u64, Sector::new(&whole));
    }
    content
}

impl Image {
    /// A number that differs where what can be seen differs.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let files =
            self.files.iter().map(|(name, (inode, content))| (name.as_str(), *inode, content.len, content.hash));
        hash_files(files)
    }

    /// Bytes of a file, to look at or to change.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        bytes_of(&self.files[name].1)
    }

    /// Puts other bytes in place of a file's; it stays the same file.
    pub fn set_bytes(&mut self, name: &str, bytes: &[u8]) {
        let entry = self.files.get_mut(name).expect("the file is there");
        entry.1 = Arc::new(content_of(bytes));
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

/// As [`Image::hash`], of files that are not put together yet.
pub fn hash_files<'a>(files: impl Iterator<Item = (&'a str, Inode, u64, u64)>) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    files.for_each(|file| file.hash(&mut hasher));
    hasher.finish()
}
