//! What a test turns and reads on a storage in memory: clock, randomness, space, faults, counts.
//!
//! One set belongs to one storage and all handles of it, behind one lock that is taken last. Nothing here depends on the
//! real clock, on real randomness or on addresses: the same calls in the same order give the same answers.

use std::io;

use parking_lot::Mutex;

use crate::ids::BootId;

/// Where the clock of a fresh storage stands: 2024-01-01 00:00:00 UTC.
const FIRST_MOMENT: i64 = 1_704_067_200_000_000_000;
/// How far a look at the clock moves it: one microsecond.
const CLOCK_STEP: i64 = 1_000;
/// The unit in which space is taken and given back, in bytes.
pub(super) const BLOCK: u64 = 4096;

/// A call that can fail, to count it or to make it fail.
///
/// Calls that touch a file's name or content are here; the length, the clock, locks and places are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// [`Storage::list`](crate::storage::Storage::list)
    List,
    /// [`Storage::open`](crate::storage::Storage::open)
    Open,
    /// [`Storage::create`](crate::storage::Storage::create)
    Create,
    /// [`Storage::rename`](crate::storage::Storage::rename)
    Rename,
    /// [`Storage::remove`](crate::storage::Storage::remove)
    Remove,
    /// [`Storage::sync_directory`](crate::storage::Storage::sync_directory)
    SyncDirectory,
    /// [`Storage::fill_random`](crate::storage::Storage::fill_random)
    FillRandom,
    /// [`StorageFile::read_at`](crate::storage::StorageFile::read_at) and the direct one
    Read,
    /// [`StorageFile::write_at`](crate::storage::StorageFile::write_at)
    Write,
    /// [`StorageFile::allocate`](crate::storage::StorageFile::allocate)
    Allocate,
    /// [`StorageFile::punch`](crate::storage::StorageFile::punch)
    Punch,
    /// [`StorageFile::sync_data`](crate::storage::StorageFile::sync_data) and `sync_all`
    Sync,
    /// [`StorageFile::map`](crate::storage::StorageFile::map)
    Map,
    /// [`StorageFile::map_writable`](crate::storage::StorageFile::map_writable) and `map_words`
    MapWritable,
}

impl Operation {
    const COUNT: usize = Operation::MapWritable as usize + 1;
}

/// How calls are made to fail. See [`MemStorage::inject`](super::MemStorage::inject).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How many calls still succeed before.
    pub after: u64,
    /// With what the next one fails.
    pub error: io::ErrorKind,
    /// Whether all later ones fail too.
    pub sticky: bool,
    /// Which calls count and fail; `None` for all.
    pub on: Option<Operation>,
    /// How many bytes a failing write writes all the same.
    pub keep: usize,
}

#[derive(Debug)]
pub(super) struct Controls {
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
struct State {
    now: i64,
    clock_step: i64,
    random: u64,
    boot_id: BootId,
    mount_id: Option<u64>,
    file_system: u64,
    next_inode: u64,
    copies: u64,
    limit: Option<u64>,
    used_blocks: u64,
    counts: [u64; Operation::COUNT],
    written_bytes: u64,
    fault: Option<Fault>,
    /// The fault was met, or is to be met by the very next call.
    is_fault_met: bool,
    failed: u64,
    faults_panic: bool,
    models_disk: bool,
    has_byte_locks: bool,
}

/// One step of splitmix64: well mixed, and any seed will do.
fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Controls {
    pub(super) fn new(seed: u64) -> Controls {
        let mut random = seed;
        let file_system = step(&mut random);
        let mut boot_id = [0; 16];
        boot_id[..8].copy_from_slice(&step(&mut random).to_le_bytes());
        boot_id[8..].copy_from_slice(&step(&mut random).to_le_bytes());
        Controls {
            state: Mutex::new(State {
                now: FIRST_MOMENT,
                clock_step: CLOCK_STEP,
                random,
                boot_id: BootId(boot_id),
                mount_id: Some(1),
                file_system,
                next_inode: 1,
                copies: 0,
                limit: None,
                used_blocks: 0,
                counts: [0; Operation::COUNT],
                written_bytes: 0,
                fault: None,
                is_fault_met: false,
                failed: 0,
                faults_panic: false,
                models_disk: false,
                has_byte_locks: true,
            }),
        }
    }

    /// The controls of a copy: same machine and clock; another place and other randomness; no file, count or fault.
    pub(super) fn of_copy(&self) -> Controls {
        let mut state = self.state.lock();
        state.copies += 1;
        // Drawn from the copies' number, not from the randomness, so that a copy does not change what the original does.
        let mut random = state.random ^ state.file_system.rotate_left(17) ^ state.copies.rotate_right(8);
        let file_system = step(&mut random);
        Controls {
            state: Mutex::new(State {
                random,
                file_system,
                next_inode: 1,
                copies: 0,
                used_blocks: 0,
                counts: [0; Operation::COUNT],
                written_bytes: 0,
                fault: None,
                is_fault_met: false,
                failed: 0,
                ..state.clone()
            }),
        }
    }

    /// Counts a call; the fault that it meets, if any.
    pub(super) fn enter(&self, operation: Operation) -> Result<(), Fault> {
        let mut state = self.state.lock();
        state.counts[operation as usize] += 1;
        let Some(fault) = state.fault.as_mut().filter(|fault| fault.on.is_none_or(|on| on == operation)) else {
            return Ok(());
        };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        let met = *fault;
        if !met.sticky {
            state.fault = None;
        }
        state.failed += 1;
        state.is_fault_met = true;
        Err(met)
    }

    /// As [`enter`](Self::enter), for calls that do nothing when they fail.
    pub(super) fn count(&self, operation: Operation) -> io::Result<()> {
        self.enter(operation).map_err(|fault| self.fail(&fault))
    }

    /// The error of a call that met a fault.
    ///
    /// # Panics
    /// Where faults are panics.
    pub(super) fn fail(&self, fault: &Fault) -> io::Error {
        let is_panic = self.state.lock().faults_panic;
        assert!(!is_panic, "injected panic");
        io::Error::new(fault.error, "injected fault")
    }

    pub(super) fn set_faults_panic(&self, panics: bool) {
        self.state.lock().faults_panic = panics;
    }

    pub(super) fn inject(&self, fault: Option<Fault>) {
        let mut state = self.state.lock();
        state.fault = fault;
        state.is_fault_met = fault.is_some_and(|fault| fault.after == 0);
    }

    pub(super) fn failed(&self) -> u64 {
        self.state.lock().failed
    }

    pub(super) fn count_of(&self, operation: Operation) -> u64 {
        self.state.lock().counts[operation as usize]
    }

    pub(super) fn operations(&self) -> u64 {
        self.state.lock().counts.iter().sum()
    }

    pub(super) fn add_written(&self, bytes: usize) {
        self.state.lock().written_bytes += bytes as u64;
    }

    pub(super) fn written_bytes(&self) -> u64 {
        self.state.lock().written_bytes
    }

    pub(super) fn now(&self) -> i64 {
        let mut state = self.state.lock();
        let now = state.now;
        state.now = now.saturating_add(state.clock_step);
        now
    }

    /// The time without moving the clock.
    pub(super) fn glance(&self) -> i64 {
        self.state.lock().now
    }

    pub(super) fn set_clock(&self, now: i64) {
        self.state.lock().now = now;
    }

    pub(super) fn advance_clock(&self, by: i64) {
        let mut state = self.state.lock();
        state.now = state.now.saturating_add(by);
    }

    pub(super) fn set_clock_step(&self, step: i64) {
        self.state.lock().clock_step = step;
    }

    pub(super) fn fill_random(&self, bytes: &mut [u8]) {
        let mut state = self.state.lock();
        for chunk in bytes.chunks_mut(8) {
            let number = step(&mut state.random).to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }

    pub(super) fn boot_id(&self) -> BootId {
        self.state.lock().boot_id
    }

    pub(super) fn set_boot_id(&self, boot_id: BootId) {
        self.state.lock().boot_id = boot_id;
    }

    pub(super) fn mount_id(&self) -> Option<u64> {
        self.state.lock().mount_id
    }

    pub(super) fn set_mount_id(&self, mount_id: Option<u64>) {
        self.state.lock().mount_id = mount_id;
    }

    /// Whether every call fails, for ever: what a dead process does has no effect at all.
    pub(super) fn is_dead(&self) -> bool {
        let state = self.state.lock();
        state.is_fault_met && state.fault.is_some_and(|fault| fault.sticky && fault.on.is_none())
    }

    pub(super) fn set_byte_locks(&self, are_known: bool) {
        self.state.lock().has_byte_locks = are_known;
    }

    pub(super) fn check_byte_locks(&self) -> io::Result<()> {
        match self.state.lock().has_byte_locks {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::Unsupported, "there are no locks of open files on bytes")),
        }
    }

    pub(super) fn models_disk(&self) -> bool {
        self.state.lock().models_disk
    }

    pub(super) fn set_models_disk(&self, models_disk: bool) {
        self.state.lock().models_disk = models_disk;
    }

    pub(super) fn file_system(&self) -> u64 {
        self.state.lock().file_system
    }

    pub(super) fn next_inode(&self) -> u64 {
        let mut state = self.state.lock();
        state.next_inode += 1;
        state.next_inode - 1
    }

    pub(super) fn set_space_limit(&self, bytes: Option<u64>) {
        self.state.lock().limit = bytes;
    }

    /// Takes up to `blocks` blocks of space; how many there were.
    pub(super) fn take_blocks(&self, blocks: u64) -> u64 {
        let mut state = self.state.lock();
        let free = state.free_blocks();
        let taken = blocks.min(free);
        state.used_blocks += taken;
        taken
    }

    /// Gives blocks back.
    pub(super) fn give_blocks(&self, blocks: u64) {
        let mut state = self.state.lock();
        state.used_blocks = state.used_blocks.checked_sub(blocks).expect("more blocks given back than were taken");
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.state.lock().used_blocks * BLOCK
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.state.lock().free_blocks().saturating_mul(BLOCK)
    }
}

impl State {
    fn free_blocks(&self) -> u64 {
        self.limit.map_or(u64::MAX / BLOCK, |limit| limit / BLOCK).saturating_sub(self.used_blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_comes_after_its_calls_once_or_for_ever() {
        for sticky in [false, true] {
            let controls = Controls::new(1);
            let error = io::ErrorKind::StorageFull;
            controls.inject(Some(Fault { after: 2, error, sticky, on: Some(Operation::Write), keep: 0 }));
            let failed: Vec<bool> = (0..6)
                .map(|_| {
                    assert!(controls.count(Operation::Sync).is_ok(), "only the chosen calls fail");
                    controls.count(Operation::Write).is_err_and(|met| met.kind() == error)
                })
                .collect();
            assert_eq!(failed, [false, false, true, sticky, sticky, sticky]);
            assert_eq!(controls.failed(), if sticky { 4 } else { 1 });
            assert_eq!((controls.count_of(Operation::Write), controls.operations()), (6, 12));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_and_a_copy_something_else() {
        let draw = |controls: &Controls| {
            let mut bytes = [0; 13];
            controls.fill_random(&mut bytes);
            (bytes, controls.file_system())
        };
        assert_eq!(draw(&Controls::new(7)), draw(&Controls::new(7)));
        assert_ne!(draw(&Controls::new(7)), draw(&Controls::new(8)));

        let original = Controls::new(7);
        let copies = [original.of_copy(), original.of_copy()].map(|copy| draw(&copy));
        let first = draw(&original);
        assert_eq!(first, draw(&Controls::new(7)), "copying changes nothing in the original");
        assert_ne!(copies[0], copies[1]);
        assert_ne!(copies[0].0, first.0);
        assert_ne!(copies[0].1, first.1);
    }
}
