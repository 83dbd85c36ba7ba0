//! The bytes of a storage in memory at one moment, to be put back into it as often as a test likes.
//!
//! What is put back lies where it lay: the identity file stays the same file, so that the store is at home and no copy.
//! All stores on the storage must be closed or dropped before.

use std::collections::BTreeMap;

use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};

/// The files of a storage at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(pub BTreeMap<String, Vec<u8>>);

impl Image {
    /// Takes the files as they are now.
    ///
    /// # Panics
    /// Where the storage fails.
    #[must_use]
    pub fn take(storage: &MemStorage) -> Image {
        let entries = storage.list().expect("the directory can be listed");
        let files = entries.into_iter().map(|entry| {
            let mut bytes = vec![0; entry.len as usize];
            let file = storage.open(&entry.name, Access::Read).expect("a listed file opens");
            assert_eq!(file.read_at(&mut bytes, 0).expect("it can be read"), bytes.len());
            (entry.name, bytes)
        });
        Image(files.collect())
    }

    /// Puts the files back; others go.
    ///
    /// # Panics
    /// Where the storage fails.
    pub fn put_back(&self, storage: &MemStorage) {
        for entry in storage.list().expect("the directory can be listed") {
            if entry.name != "identity" {
                storage.remove(&entry.name).expect("it is there");
            }
        }
        for (name, bytes) in &self.0 {
            let file = match name.as_str() {
                "identity" => storage.open(name, Access::ReadWrite),
                _ => storage.create(name, bytes.len() as u64),
            };
            let file = file.expect("the file can be written");
            // Blocks of zeros are left out, as they are in a file that was never written there.
            for (index, block) in bytes.chunks(4096).enumerate() {
                if block.iter().any(|byte| *byte != 0) {
                    file.write_at(block, index as u64 * 4096).expect("the file can be written");
                }
            }
        }
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
