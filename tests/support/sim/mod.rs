//! A simulated directory: what processes see, what a crash leaves.
//!
//! [`SimStorage`] is the storage of one process. What processes see is kept by a storage in memory; beside it every call
//! that changes something is written into a trace, from which [`disk::Disk`] says what a loss of power may leave at any
//! moment. Several processes share a directory; one can be killed, after which none of its calls does anything and its
//! locks are free, whatever its threads and destructors still try.
//!
//! It offers shared words, for the control page, and no mapped writes: every byte of the log passes through `write_at`. A mapped copy differs from that only in
//! which bytes a killed process leaves, any set instead of a prefix, and that is made up when crash states are made.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use treering::storage::mem::{MemStorage, Operation};
use treering::storage::{Access, DirectoryEntry, FileSystem, Storage, StorageFile};
use treering::{BootId, FilePlace, Options};

pub mod account;
pub mod budget;
pub mod check;
pub mod control;
pub mod disk;
pub mod enumerate;
mod file;
pub mod hashes;
pub mod image;
pub mod lab;
pub mod loss;
pub mod plant;
pub mod random;
pub mod rot;
pub mod several;
pub mod sweep;
pub mod workloads;

pub use disk::{Call, Disk, Inode};
pub use image::Image;
pub use plant::Plant;

/// How stores are opened in simulations, where nothing else is said: by one process alone, the smallest segments, and no threads:
/// the background works when it is told to, so that the same script makes the same trace. [`several`] opens them together.
#[must_use]
pub fn options() -> Options {
    crate::store::alone().background_threads(false)
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// With this error; nothing of the call happens, as far as anybody is told.
    Error(io::ErrorKind),
    /// A write stops in its middle, and says so; any other call fails as if it did nothing.
    Short,
    /// A sync fails; the cache keeps the new bytes and calls them clean.
    SyncKeeps,
    /// A sync fails; the cache goes back to the old bytes.
    SyncReverts,
    /// The system fails to write back what is not synced, and tells the next sync of each file that is open now.
    Late,
}

/// Which call fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// So many calls that count succeed before.
    pub after: u64,
    /// Whether all later ones fail too.
    pub sticky: bool,
    /// Which calls count; `None` for all.
    pub on: Option<Operation>,
    /// How it fails.
    pub how: Failure,
}

/// A directory as one process sees it. Clones belong to the same process.
#[derive(Clone, Debug)]
pub struct SimStorage {
    machine: Arc<Machine>,
    process: u32,
    /// Its calls are neither counted nor made to fail; it cannot sync.
    is_observer: bool,
}

#[derive(Debug)]
struct Machine {
    memory: MemStorage,
    state: Mutex<State>,
}

/// A byte that a process has locked through one of its handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LockedByte {
    process: u32,
    handle: u64,
    offset: u64,
}

#[derive(Debug, Default)]
struct State {
    /// The pictures after the first calls of the trace; see [`disk`](State::disk).
    disk: Disk,
    /// The names as they are.
    names: BTreeMap<String, Inode>,
    /// The pictures before the first call of the trace.
    start: Disk,
    trace: Vec<Call>,
    next_inode: Inode,
    next_handle: u64,
    next_process: u32,
    dead: BTreeSet<u32>,
    /// The process that ends after so many calls.
    doomed: Option<(u32, u64)>,
    /// Process and handle that hold the lock of a file.
    locks: BTreeMap<Inode, (u32, u64)>,
    /// The bytes that are locked, and the files through which they are.
    locked_bytes: BTreeMap<LockedByte, Arc<dyn StorageFile>>,
    /// Handles whose next sync is told of a failed write-back.
    late: BTreeSet<u64>,
    /// Open handles and their files.
    handles: BTreeMap<u64, Inode>,
    fault: Option<Fault>,
    calls: u64,
    failed: u64,
    /// Syncs in which their process ended.
    unheard: u64,
    /// The write or sync that failed last, and of which file.
    met: Option<(Operation, String)>,
    plant: Option<Plant>,
    planted: u64,
}

impl State {
    /// The pictures as they are. Most of what is done after a crash is asked for by nobody, so they are made when they are.
    fn disk(&mut self) -> &mut Disk {
        self.trace[self.disk.calls..].iter().for_each(|call| self.disk.apply(call));
        &mut self.disk
    }

    /// A process is dead: its locks are free.
    fn bury(&mut self, process: u32) {
        self.dead.insert(process);
        self.locks.retain(|_, (holder, _)| *holder != process);
        self.locked_bytes.retain(|lock, file| {
            let is_dead = lock.process == process;
            if is_dead {
                file.unlock_byte(lock.offset).expect("a lock in memory is given back");
            }
            !is_dead
        });
    }
}

/// What a call meets.
enum Met {
    Nothing,
    Failure(Failure),
}

impl Default for SimStorage {
    fn default() -> Self {
        SimStorage::new(1)
    }
}

impl SimStorage {
    /// An empty directory; the same seed gives the same randomness.
    #[must_use]
    pub fn new(seed: u64) -> SimStorage {
        let memory = MemStorage::with_seed(seed);
        memory.set_boot_id(lab::boot_id(1)); // what a kill leaves is opened on the same run of the machine
        SimStorage::over(memory, State { next_inode: 1, next_process: 2, ..State::default() })
    }

    fn over(memory: MemStorage, state: State) -> SimStorage {
        SimStorage { machine: Arc::new(Machine { memory, state: Mutex::new(state) }), process: 1, is_observer: false }
    }

    /// The directory after a crash: `image` is on the disk and in the cache, nobody is at work.
    ///
    /// # Panics
    /// Where there is no memory for it.
    #[must_use]
    pub fn of_image(image: &Image, seed: u64, boot: BootId) -> SimStorage {
        let memory = MemStorage::with_seed(seed);
        memory.set_boot_id(boot);
        for (name, (_, content)) in &image.files {
            let file = memory.create(name, content.len).expect("there is memory");
            for (index, bytes) in image::runs(content) {
                file.write_at(&bytes, index * disk::SECTOR as u64).expect("there is memory");
            }
        }
        let disk = Disk::of_image(image);
        let next_inode = 1 + image.files.values().map(|(inode, _)| *inode).max().unwrap_or(0).max(image.last_inode);
        let names = disk.names.clone();
        SimStorage::over(memory, State { disk, names, next_inode, next_process: 2, ..State::default() })
    }

    /// Another process on the same directory.
    #[must_use]
    pub fn process(&self) -> SimStorage {
        let mut state = self.state();
        state.next_process += 1;
        SimStorage { machine: Arc::clone(&self.machine), process: state.next_process, is_observer: false }
    }

    /// A process that looks on: no fault meets it, it does not count, and it cannot sync.
    #[must_use]
    pub fn observer(&self) -> SimStorage {
        SimStorage { is_observer: true, ..self.process() }
    }

    /// Ends this process at once: from now on its calls do nothing but fail, and its locks are free.
    pub fn kill(&self) {
        self.state().bury(self.process);
    }

    /// Has this process end at a later call: so many that can fail come before; `None` takes it back. A write is
    /// done by half, and a sync fails without anybody's hearing of it.
    pub fn kill_after(&self, calls: Option<u64>) {
        self.state().doomed = calls.map(|calls| (self.process, calls));
    }

    /// Whether this process was ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state().dead.contains(&self.process)
    }

    /// The storage in memory below: clock, randomness, space.
    #[must_use]
    pub fn memory(&self) -> &MemStorage {
        &self.machine.memory
    }

    /// How many calls changed something so far.
    #[must_use]
    pub fn trace_len(&self) -> usize {
        self.state().trace.len()
    }

    /// Whether anything was changed; a sync changes nothing that is to be seen.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.state().trace.iter().any(|call| !matches!(call, Call::Sync { .. }))
    }

    /// The calls that changed something.
    #[must_use]
    pub fn trace(&self) -> Vec<Call> {
        self.state().trace.clone()
    }

    /// The pictures of the files now.
    #[must_use]
    pub fn disk(&self) -> Disk {
        self.state().disk().clone()
    }

    /// Lets the trace begin here: what is in the cache is durable, nothing happened before.
    pub fn begin_anew(&self) {
        let mut state = self.state();
        let last_inode = state.next_inode;
        let disk = state.disk();
        let file = |(name, inode): (&String, &Inode)| (name.clone(), (*inode, Arc::clone(&disk.cache[inode])));
        let image = Image { files: disk.names.iter().map(file).collect(), last_inode };
        state.start = Disk::of_image(&image);
        state.disk = state.start.clone();
        state.trace.clear();
    }

    /// The pictures before the first call of the trace.
    #[must_use]
    pub fn start(&self) -> Disk {
        self.state().start.clone()
    }

    /// How many calls there were that can fail.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many calls were made to fail.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.state().failed
    }

    /// How many syncs ended with their process, so that nobody heard of them.
    #[must_use]
    pub fn unheard_syncs(&self) -> u64 {
        self.state().unheard
    }

    /// The write or sync that failed last, and the file, by its name then.
    #[must_use]
    pub fn last_failed(&self) -> Option<(Operation, String)> {
        self.state().met.clone()
    }

    /// Makes calls fail; `None` lets all succeed again. Late errors that were not told stay.
    pub fn fail(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Takes the fault out, to be put back with [`fail`](Self::fail).
    #[must_use]
    pub fn take_fault(&self) -> Option<Fault> {
        self.state().fault.take()
    }

    /// Breaks the storage's promises, to see who notices.
    pub fn plant(&self, plant: Option<Plant>) {
        self.state().plant = plant;
    }

    /// How often the plant had an effect.
    #[must_use]
    pub fn planted(&self) -> u64 {
        self.state().planted
    }

    /// The cache lets go of all pages that seem clean: what a failed sync did not move shows its old bytes.
    pub fn evict(&self) {
        let mut state = self.state();
        let places = state.disk().evicted();
        self.record(&mut state, Call::Evict);
        self.show(&mut state, &places);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.machine.state.lock().expect("no panic under the lock")
    }

    fn record(&self, state: &mut State, call: Call) {
        call.rename(&mut state.names);
        state.trace.push(call);
    }

    /// Copies sectors from the picture of the cache into the memory that readers see.
    fn show(&self, state: &mut State, places: &[(Inode, u64)]) {
        let disk = state.disk();
        for (inode, index) in places {
            let Some((name, _)) = disk.names.iter().find(|(_, other)| *other == inode) else { continue };
            let content = &disk.cache[inode];
            let offset = index * disk::SECTOR as u64;
            let len = (content.len.saturating_sub(offset)).min(disk::SECTOR as u64) as usize;
            let file = self.machine.memory.open(name, Access::ReadWrite).expect("the file has this name");
            file.write_at(&content.sector(*index)[..len], offset).expect("the memory is there");
        }
    }

    /// Counts a call of this process; what it meets.
    fn enter(&self, state: &mut State, operation: Operation) -> io::Result<Met> {
        if state.dead.contains(&self.process) {
            return Err(io::Error::other("the process was killed"));
        }
        if self.is_observer {
            return Ok(Met::Nothing);
        }
        state.calls += 1;
        if let Some((process, left)) = &mut state.doomed
            && *process == self.process
        {
            if *left == 0 {
                state.doomed = None;
                state.bury(self.process);
                // A sync that its process did not live to see fails: nobody hears of it.
                let is_sync = operation == Operation::Sync;
                state.unheard += u64::from(is_sync);
                return Ok(Met::Failure(if is_sync { Failure::SyncKeeps } else { Failure::Short }));
            }
            *left -= 1;
        }
        let Some(fault) = state.fault.as_mut().filter(|fault| fault.on.is_none_or(|on| on == operation)) else {
            return Ok(Met::Nothing);
        };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(Met::Nothing);
        }
        let how = fault.how;
        if !fault.sticky {
            state.fault = None;
        }
        if how == Failure::Late {
            self.lose_write_back(state);
            return Ok(Met::Nothing);
        }
        state.failed += 1;
        Ok(Met::Failure(how))
    }

    /// As [`enter`](Self::enter), for calls that do nothing where they fail.
    fn count(&self, state: &mut State, operation: Operation) -> io::Result<()> {
        match self.enter(state, operation)? {
            Met::Nothing => Ok(()),
            Met::Failure(how) => Err(error_of(how)),
        }
    }

    /// What is not synced fails to be written back; every file that is open hears of it at its next sync.
    fn lose_write_back(&self, state: &mut State) {
        let inodes: BTreeSet<Inode> = state.disk().pending.iter().filter_map(|pending| pending.unit.inode()).collect();
        let begun = state.trace.len();
        for inode in inodes {
            state.late.extend(state.handles.iter().filter(|(_, other)| **other == inode).map(|(handle, _)| *handle));
            self.record(state, Call::SyncFailed { inode, begun, reverts: false });
        }
    }

    fn open_handle(&self, state: &mut State, inode: Inode, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        state.next_handle += 1;
        let handle = state.next_handle;
        state.handles.insert(handle, inode);
        Arc::new(file::SimFile { storage: self.clone(), inode, handle, file })
    }
}

fn error_of(how: Failure) -> io::Error {
    match how {
        Failure::Error(kind) => io::Error::new(kind, "injected fault"),
        Failure::Short => io::Error::new(io::ErrorKind::WriteZero, "injected fault: a short write"),
        Failure::SyncKeeps | Failure::SyncReverts | Failure::Late => io::Error::from_raw_os_error(5),
    }
}

impl Storage for SimStorage {
    fn describe(&self) -> String {
        "simulation".to_owned()
    }

    fn list(&self) -> io::Result<Vec<DirectoryEntry>> {
        self.count(&mut self.state(), Operation::List)?;
        self.machine.memory.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.state();
        self.count(&mut state, Operation::Open)?;
        let file = self.machine.memory.open(name, access)?;
        let inode = state.names[name];
        Ok(self.open_handle(&mut state, inode, file))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.state();
        self.count(&mut state, Operation::Create)?;
        let file = self.machine.memory.create(name, len)?;
        let inode = state.next_inode;
        state.next_inode += 1;
        self.record(&mut state, Call::Create { name: name.to_owned(), inode, len });
        Ok(self.open_handle(&mut state, inode, file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        self.count(&mut state, Operation::Rename)?;
        self.machine.memory.rename(from, to)?;
        self.record(&mut state, Call::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        self.count(&mut state, Operation::Remove)?;
        self.machine.memory.remove(name)?;
        self.record(&mut state, Call::Remove { name: name.to_owned() });
        Ok(())
    }

    fn leads_to(&self, name: &str, place: &FilePlace) -> io::Result<bool> {
        self.machine.memory.leads_to(name, place)?; // it refuses what is no name; its places are others
        Ok(self.state().names.get(name).is_some_and(|inode| file::place_of(*inode) == *place))
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state();
        self.count(&mut state, Operation::SyncDirectory)?;
        if !state.is_planted(|plant| plant == Plant::NoDirectorySync) {
            self.record(&mut state, Call::SyncDirectory);
        }
        Ok(())
    }

    fn now(&self) -> i64 {
        self.machine.memory.now()
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        self.count(&mut state, Operation::FillRandom)?;
        if state.is_planted(|plant| plant == Plant::SameSalts) {
            bytes.fill(0x5A);
            return Ok(());
        }
        self.machine.memory.fill_random(bytes)
    }

    fn boot_id(&self) -> BootId {
        self.machine.memory.boot_id()
    }

    fn mount_id(&self) -> Option<u64> {
        self.machine.memory.mount_id()
    }

    fn file_system(&self) -> io::Result<FileSystem> {
        let system = self.machine.memory.file_system()?;
        Ok(FileSystem { name: "simulation".to_owned(), ..system })
    }
}

impl State {
    /// Whether the planted bug is one of these; counts it.
    fn is_planted(&mut self, is_it: impl Fn(Plant) -> bool) -> bool {
        let is_planted = self.plant.is_some_and(is_it);
        self.planted += u64::from(is_planted);
        is_planted
    }

    /// Keeps in mind which write or sync failed.
    fn note_failed(&mut self, operation: Operation, inode: Inode) {
        self.met = Some((operation, self.name_of(inode).unwrap_or_default().to_owned()));
    }

    /// The name of a file, as readers see it.
    fn name_of(&self, inode: Inode) -> Option<&str> {
        self.names.iter().find(|(_, other)| **other == inode).map(|(name, _)| name.as_str())
    }
}
