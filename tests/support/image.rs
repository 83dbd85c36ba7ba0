//! The bytes of a storage in memory at one moment, to be put back into it as often as a test likes.
//!
//! What is put back lies where it lay: the identity file stays the same file, so that the store is at home and no copy.
//! All stores on the storage must be closed or dropped before.

use std::collections::BTreeMap;

use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage, StorageFile};

/// The files of a storage at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(pub BTreeMap<String, Vec<u8>>);

/// Gives a file that is there these bytes; it stays where it lies.
///
/// # Panics
/// Where the storage fails.
pub fn put_file(storage: &MemStorage, name: &str, bytes: &[u8]) {
    storage.set_len(name, bytes.len() as u64).expect("the file can get its length");
    write_blocks(&*storage.open(name, Access::ReadWrite).expect("the file can be written"), bytes, true);
}

/// Writes the blocks that differ. Those of zeros are left out of a new file, as they are in one that was never written there.
fn write_blocks(file: &dyn StorageFile, bytes: &[u8], has_content: bool) {
    let mut now = [0; 4096];
    for (index, block) in bytes.chunks(4096).enumerate() {
        let at = index as u64 * 4096;
        let now = &mut now[..block.len()];
        now.fill(0);
        if has_content {
            file.read_at(now, at).expect("the file can be read");
        }
        if now != block {
            file.write_at(block, at).expect("the file can be written");
        }
    }
}

impl Image {
    /// Takes the files as they are now.
    ///
    /// # Panics
    /// Where the storage fails.
    #[must_use]
    pub fn take(storage: &MemStorage) -> Image {
        let entries = storage.list().expect("the directory can be listed");
        let files = entries.into_iter().filter_map(|entry| {
            let mut bytes = vec![0; entry.len as usize];
            let file = match storage.open(&entry.name, Access::Read) {
                // Derived files come and go.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
                file => file.expect("a listed file opens"),
            };
            assert_eq!(file.read_at(&mut bytes, 0).expect("it can be read"), bytes.len());
            Some((entry.name, bytes))
        });
        Image(files.collect())
    }

    /// The files of the log, in its order.
    #[must_use]
    pub fn segments(self) -> Vec<(String, Vec<u8>)> {
        self.0.into_iter().filter(|(name, _)| name.ends_with(".segment")).collect()
    }

    /// Puts the files back; others go. A file that is there stays where it lies, and only the blocks that differ are written:
    /// of many changes in turn each costs what it changed.
    ///
    /// # Panics
    /// Where the storage fails.
    pub fn put_back(&self, storage: &MemStorage) {
        let mut there = Vec::new();
        for entry in storage.list().expect("the directory can be listed") {
            match self.0.get(&entry.name) {
                Some(bytes) => {
                    storage.set_len(&entry.name, bytes.len() as u64).expect("the file can get its length");
                    there.push(entry.name);
                }
                None => storage.remove(&entry.name).expect("it is there"),
            }
        }
        for (name, bytes) in &self.0 {
            let has_content = there.contains(name);
            let file = match has_content {
                true => storage.open(name, Access::ReadWrite),
                false => storage.create(name, bytes.len() as u64),
            };
            write_blocks(&*file.expect("the file can be written"), bytes, has_content);
        }
    }

    /// A storage of its own with these files, none of which lies where it lay.
    ///
    /// # Panics
    /// Where the storage fails.
    #[must_use]
    pub fn to_storage(&self, seed: u64) -> MemStorage {
        let storage = MemStorage::with_seed(seed);
        self.put_back(&storage);
        storage
    }

    /// The last segment's name.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn last_segment(&self) -> String {
        let segments = self.0.keys().filter(|name| name.ends_with(".segment"));
        segments.max().expect("a store has a segment").clone()
    }
}
