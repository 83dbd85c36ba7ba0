//! One open file of a simulated directory.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use treering::FilePlace;
use treering::storage::mem::Operation;
use treering::storage::{LockHolder, LockKind, Mapping, SharedWords, StorageFile, WritableMapping};

use super::plant::Plant;
use super::{Call, Failure, Inode, LockedByte, Met, SimStorage, State, disk, error_of};

/// The one file system of all simulations: an image that is put back stays at home.
const FILE_SYSTEM: u64 = 0x51A;

/// Where the file with this number lies.
pub(super) fn place_of(inode: Inode) -> FilePlace {
    FilePlace { file_system: FILE_SYSTEM, inode, birth: inode as i64 }
}

#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) storage: SimStorage,
    pub(super) inode: Inode,
    pub(super) handle: u64,
    pub(super) file: Arc<dyn StorageFile>,
}

impl SimFile {
    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.storage.is_observer {
            return Err(io::ErrorKind::Unsupported.into()); // who looks on changes nothing, durability included
        }
        let mut state = self.storage.state();
        let met = self.storage.enter(&mut state, Operation::Sync)?;
        sync()?;
        let (inode, begun) = (self.inode, state.trace.len());
        let is_late = state.late.remove(&self.handle);
        let failure = match met {
            Met::Failure(how) => Some(how),
            Met::Nothing => is_late.then_some(Failure::Late),
        };
        if let Some(how) = failure {
            state.note_failed(Operation::Sync, inode);
            if how != Failure::Late {
                let reverts = how == Failure::SyncReverts;
                self.storage.record(&mut state, Call::SyncFailed { inode, begun, reverts });
                if reverts {
                    let places = state.disk().evicted();
                    self.storage.show(&mut state, &places);
                }
            }
            return match state.is_planted(|plant| plant == Plant::SyncErrorsHidden) {
                true => Ok(()),
                false => Err(error_of(how)),
            };
        }
        let name = state.name_of(inode).unwrap_or_default().to_owned();
        if state.is_planted(|plant| plant.drops_sync_of(&name)) {
            return Ok(());
        }
        // The last call of all is left out by a sync that returns too early.
        let early = u64::from(state.is_planted(|plant| plant == Plant::SyncReturnsEarly)) as usize;
        self.storage.record(&mut state, Call::Sync { inode, begun: begun - early.min(begun) });
        Ok(())
    }

    fn write(&self, state: &mut State, bytes: &[u8], offset: u64) -> io::Result<()> {
        let written = self.file.write_at(bytes, offset);
        let done = match &written {
            Ok(()) => bytes.len(),
            // What fitted is in the file: found by looking, since the storage does not say.
            Err(_) => self.prefix_there(bytes, offset)?,
        };
        if done > 0 {
            let bytes = Arc::from(&bytes[..done]);
            self.storage.record(state, Call::Write { inode: self.inode, offset, bytes });
        }
        written
    }

    fn prefix_there(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut there = vec![0; bytes.len()];
        let read = self.file.read_at(&mut there, offset)?;
        Ok(there[..read].iter().zip(bytes).take_while(|(there, written)| there == written).count())
    }
}

impl StorageFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.storage.count(&mut self.storage.state(), Operation::Read)?;
        self.file.read_at(buffer, offset)
    }

    fn read_direct_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.storage.state();
        self.storage.count(&mut state, Operation::Read)?;
        // Past the cache: what the disk certainly holds.
        let content = &state.disk().durable[&self.inode];
        let len = content.len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let (index, within) = (at / disk::SECTOR as u64, (at % disk::SECTOR as u64) as usize);
            let part = (disk::SECTOR - within).min(len - done);
            let bytes = content.get(index).map_or(&[0; disk::SECTOR], |sector| sector.bytes());
            buffer[done..done + part].copy_from_slice(&bytes[within..within + part]);
            done += part;
        }
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.storage.state();
        let met = self.storage.enter(&mut state, Operation::Write)?;
        if let Met::Failure(how) = met {
            state.note_failed(Operation::Write, self.inode);
            if how == Failure::Short {
                self.write(&mut state, &bytes[..bytes.len() / 2], offset)?;
            }
            return Err(error_of(how));
        }
        if bytes.len() > disk::SECTOR && state.is_planted(|plant| plant == Plant::ShortWritesHidden) {
            return self.write(&mut state, &bytes[..bytes.len() - 8], offset);
        }
        self.write(&mut state, bytes, offset)
    }

    fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        let mut state = self.storage.state();
        self.storage.count(&mut state, Operation::Allocate)?;
        self.file.allocate(range.clone())?;
        if !range.is_empty() {
            self.storage.record(&mut state, Call::Allocate { inode: self.inode, range });
        }
        Ok(())
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let mut state = self.storage.state();
        self.storage.count(&mut state, Operation::Punch)?;
        self.file.punch(range.clone())?;
        self.storage.record(&mut state, Call::Punch { inode: self.inode, range });
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        // By what readers see, where a sector of zeros is a hole as in the pictures: to make those would cost more than it tells.
        const SECTOR: usize = disk::SECTOR;
        let mapping = self.file.map()?;
        let bytes = mapping.as_slice();
        let begin = (offset as usize / SECTOR * SECTOR).min(bytes.len());
        let is_set = |sector: &[u8]| sector.iter().fold(0, |all, byte| all | byte) != 0;
        let Some(first) = bytes[begin..].chunks(SECTOR).position(is_set) else { return Ok(None) };
        let last = bytes[begin..].chunks(SECTOR).rposition(is_set).unwrap_or(first);
        let found = offset.max((begin + first * SECTOR) as u64)..(begin + (last + 1) * SECTOR).min(bytes.len()) as u64;
        Ok((!found.is_empty()).then_some(found))
    }

    fn allocated_len(&self) -> io::Result<u64> {
        self.file.allocated_len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(|| self.file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(|| self.file.sync_all())
    }

    fn map(&self) -> io::Result<Mapping> {
        self.storage.count(&mut self.storage.state(), Operation::Map)?;
        self.file.map()
    }

    fn map_writable(&self, range: Range<u64>) -> io::Result<WritableMapping> {
        // The refusals of the memory below come first, as they would.
        self.file.map_writable(range).map(drop)?;
        Err(io::ErrorKind::Unsupported.into())
    }

    fn map_words(&self, count: usize) -> io::Result<SharedWords> {
        self.storage.count(&mut self.storage.state(), Operation::MapWritable)?;
        let (storage, inode) = (self.storage.clone(), self.inode);
        let on_store = move |index, value| {
            let mut state = storage.state();
            let is_alive = !state.dead.contains(&storage.process);
            if is_alive {
                storage.record(&mut state, Call::Store { inode, index, value });
            }
            is_alive
        };
        Ok(self.file.map_words(count)?.watched(Arc::new(on_store)))
    }

    fn map_words_to_read(&self, count: usize) -> io::Result<SharedWords> {
        self.file.map_words_to_read(count)
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.storage.state();
        if state.dead.contains(&self.storage.process) {
            return Err(io::Error::other("the process was killed"));
        }
        if state.is_planted(|plant| plant == Plant::LocksAreFree) {
            return Ok(true);
        }
        let holder = *state.locks.entry(self.inode).or_insert((self.storage.process, self.handle));
        Ok(holder.1 == self.handle)
    }

    fn unlock(&self) -> io::Result<()> {
        let mut state = self.storage.state();
        if state.locks.get(&self.inode).is_some_and(|(_, handle)| *handle == self.handle) {
            state.locks.remove(&self.inode);
        }
        Ok(())
    }

    fn lock_holder(&self) -> Option<LockHolder> {
        let is_held = self.storage.state().locks.contains_key(&self.inode);
        is_held.then(|| LockHolder { pid: std::process::id(), state: Some('R'), command: None })
    }

    fn try_lock_byte(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        let mut state = self.storage.state();
        if state.dead.contains(&self.storage.process) {
            return Err(io::Error::other("the process was killed"));
        }
        if state.is_planted(|plant| plant == Plant::LocksAreFree) {
            return Ok(true);
        }
        let is_taken = self.file.try_lock_byte(offset, kind)?;
        if is_taken {
            let lock = LockedByte { process: self.storage.process, handle: self.handle, offset };
            state.locked_bytes.insert(lock, Arc::clone(&self.file));
        }
        Ok(is_taken)
    }

    fn unlock_byte(&self, offset: u64) -> io::Result<()> {
        let mut state = self.storage.state();
        state.locked_bytes.remove(&LockedByte { process: self.storage.process, handle: self.handle, offset });
        self.file.unlock_byte(offset)
    }

    fn is_byte_locked(&self, offset: u64, kind: LockKind) -> io::Result<bool> {
        self.file.is_byte_locked(offset, kind)
    }

    fn byte_holders(&self, offset: u64) -> Vec<(LockHolder, LockKind)> {
        self.file.byte_holders(offset)
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.storage.state().names.values().any(|inode| *inode == self.inode))
    }

    fn place(&self) -> io::Result<FilePlace> {
        Ok(place_of(self.inode))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let Ok(mut state) = self.storage.machine.state.lock() else { return };
        if state.locks.get(&self.inode).is_some_and(|(_, handle)| *handle == self.handle) {
            state.locks.remove(&self.inode);
        }
        state.locked_bytes.retain(|lock, _| lock.handle != self.handle);
        state.handles.remove(&self.handle);
        state.late.remove(&self.handle);
    }
}
