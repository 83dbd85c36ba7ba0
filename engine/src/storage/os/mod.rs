//! A directory of the operating system.
//!
//! The directory is opened once; every name is resolved against that descriptor, so that neither a change of the working
//! directory nor a renamed parent leads elsewhere. Names never lead through a link. Linux only, for now.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{getpriority_process, setpriority_process};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};

use super::home::Home;
use super::{Access, DirectoryEntry, FilePlace, FileSystem, Storage, StorageFile, check_name};
use crate::ids::BootId;

mod file;
mod file_system;
mod holders;
mod lock;

use file::OsFile;

/// What every descriptor is opened with. Not blocking matters for pipes only, which are refused after opening.
const COMMON: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);

/// A directory of the operating system. See [`Storage`] for what it promises.
#[derive(Debug)]
pub struct OsStorage {
    directory: OwnedFd,
    /// For messages only.
    path: PathBuf,
    home: Home,
    /// This run of the kernel, asked for once.
    boot: OnceLock<BootId>,
}

impl OsStorage {
    /// Opens a directory that exists.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotADirectory`, `PermissionDenied`, or what else the system says.
    pub fn open(path: &Path) -> io::Result<OsStorage> {
        let directory = open_directory(path)?;
        Ok(OsStorage { directory, path: path.to_owned(), home: Home::here()?, boot: OnceLock::new() })
    }

    /// Opens a directory, and makes it and its parents first where they are missing. What was made is durable when this
    /// returns; what was there may be somebody else's work of a moment ago: see [`Storage::sync_name`].
    ///
    /// # Errors
    ///
    /// `NotADirectory` or `AlreadyExists` where something else has the name, or what else the system says.
    pub fn create(path: &Path) -> io::Result<OsStorage> {
        make_directory(path)?;
        OsStorage::open(path)
    }

    /// Where the directory was when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fails with `InvalidInput` unless the descriptor is of a regular file.
    fn check_regular(descriptor: &OwnedFd) -> io::Result<()> {
        match FileType::from_raw_mode(fs::fstat(descriptor)?.st_mode) {
            FileType::RegularFile => Ok(()),
            other => Err(not_regular(&format!("{other:?}"))),
        }
    }

    /// Renames where the file system cannot refuse to replace: a second name never replaces either. If the first name
    /// then cannot be removed, the file has both, and the error says why.
    fn rename_by_link(&self, from: &str, to: &str) -> io::Result<()> {
        match retry_on_intr(|| fs::linkat(&self.directory, from, &self.directory, to, AtFlags::empty())) {
            // What systems without hard links say.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(retry_on_intr(|| fs::unlinkat(&self.directory, from, AtFlags::empty()))?),
        }
    }
}

/// The error for a name that leads to anything else than a regular file.
fn not_regular(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("not a regular file: {what}"))
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(retry_on_intr(|| fs::open(path, flags, Mode::empty()))?)
}

/// The directory that holds `path`; `None` at a root.
fn parent_of(path: &Path) -> Option<&Path> {
    path.parent().map(|parent| if parent == Path::new("") { Path::new(".") } else { parent })
}

/// Makes a directory and its missing parents, each durable before what lies in it. One that is there is left as it is.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty path"));
    }
    let mut missing = Vec::new();
    let mut at = path;
    // Down to the first that can be made: its parent is there.
    loop {
        match retry_on_intr(|| fs::mkdir(at, Mode::from_raw_mode(0o777))) {
            Ok(()) => break sync_parent(at)?,
            Err(Errno::EXIST) if at.is_dir() && missing.is_empty() => break,
            // It may be somebody else's work of a moment ago, or of a process that died before its sync.
            Err(Errno::EXIST) if at.is_dir() => break unless_denied(sync_parent(at))?,
            Err(Errno::NOENT) => match parent_of(at) {
                Some(parent) if parent != at => {
                    missing.push(at);
                    at = parent;
                }
                _ => return Err(Errno::NOENT.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
    for at in missing.into_iter().rev() {
        match retry_on_intr(|| fs::mkdir(at, Mode::from_raw_mode(0o777))) {
            Ok(()) => {}
            Err(Errno::EXIST) if at.is_dir() => {}
            Err(error) => return Err(error.into()),
        }
        sync_parent(at)?;
    }
    Ok(())
}

/// Where the directory above cannot be read it is not ours to make durable.
fn unless_denied(synced: io::Result<()>) -> io::Result<()> {
    synced.or_else(|error| if error.kind() == io::ErrorKind::PermissionDenied { Ok(()) } else { Err(error) })
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let Some(parent) = parent_of(path) else { return Ok(()) };
    let parent = open_directory(parent)?;
    Ok(retry_on_intr(|| fs::fsync(&parent))?)
}

impl Storage for OsStorage {
    fn describe(&self) -> String {
        self.path.display().to_string()
    }

    fn list(&self) -> io::Result<Vec<DirectoryEntry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match retry_on_intr(|| fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW)) {
                Err(Errno::NOENT) => continue, // removed meanwhile
                stat => stat?,
            };
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            let len = if is_file { stat.st_size.cast_unsigned() } else { 0 };
            entries.push(DirectoryEntry { name: name.to_string_lossy().into_owned(), is_file, len });
        }
        Ok(entries)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        check_name(name)?;
        let how = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        let descriptor = match retry_on_intr(|| fs::openat(&self.directory, name, how | COMMON, Mode::empty())) {
            Err(Errno::LOOP) => return Err(not_regular("a symbolic link")),
            Err(Errno::ISDIR) => return Err(not_regular("Directory")),
            Err(Errno::NXIO | Errno::NODEV) => return Err(not_regular("a socket or device")),
            opened => opened?,
        };
        OsStorage::check_regular(&descriptor)?;
        Ok(Arc::new(OsFile::new(descriptor, self.home)))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn StorageFile>> {
        check_name(name)?;
        self.home.check()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | COMMON;
        let mode = Mode::from_raw_mode(0o666);
        let descriptor = retry_on_intr(|| fs::openat(&self.directory, name, flags, mode))?;
        // A file without a byte is as it should be; another process may have opened it by its name and written to it by now.
        if len > 0
            && let Err(error) = file::set_len(descriptor.as_fd(), len)
        {
            // The first error is the one to tell; a name that cannot be taken back is an unfinished file like others.
            let _ = fs::unlinkat(&self.directory, name, AtFlags::empty());
            return Err(error);
        }
        Ok(Arc::new(OsFile::new(descriptor, self.home)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        self.home.check()?;
        let (directory, flags) = (&self.directory, RenameFlags::NOREPLACE);
        match retry_on_intr(|| fs::renameat_with(directory, from, directory, to, flags)) {
            // The file system does not know the flag, or the kernel not the call.
            Err(Errno::INVAL | Errno::NOSYS) => self.rename_by_link(from, to),
            done => Ok(done?),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        self.home.check()?;
        Ok(retry_on_intr(|| fs::unlinkat(&self.directory, name, AtFlags::empty()))?)
    }

    fn leads_to(&self, name: &str, place: &FilePlace) -> io::Result<bool> {
        check_name(name)?;
        file::leads_to(self.directory.as_fd(), name, place)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.home.check()?;
        Ok(retry_on_intr(|| fs::fsync(&self.directory))?)
    }

    fn sync_name(&self) -> io::Result<()> {
        self.home.check()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = retry_on_intr(|| fs::openat(&self.directory, "..", flags, Mode::empty())).map_err(io::Error::from);
        unless_denied(above.and_then(|above| Ok(retry_on_intr(|| fs::fsync(&above))?)))
    }

    fn now(&self) -> i64 {
        let now = clock_gettime(ClockId::Realtime);
        file::nanoseconds(now.tv_sec, now.tv_nsec)
    }

    fn fill_random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            done += retry_on_intr(|| getrandom(&mut bytes[done..], GetRandomFlags::empty()))?;
        }
        Ok(())
    }

    fn give_way(&self) {
        // A third of the share of others. With less, whoever waits for a lock that it holds on a busy machine would wait long.
        const NICER: i32 = 5;
        const NICEST: i32 = 19;
        // On Linux both are those of a thread, where no process is named.
        let now = getpriority_process(None).unwrap_or(0);
        let _ = setpriority_process(None, (now + NICER).min(NICEST));
    }

    fn boot_id(&self) -> BootId {
        *self.boot.get_or_init(|| {
            let text = std::fs::read_to_string(OsStr::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
            parse_boot_id(&text)
        })
    }

    fn forked_from(&self) -> Option<u32> {
        self.home.forked_from()
    }

    fn mount_id(&self) -> Option<u64> {
        file::mount_id(self.directory.as_fd())
    }

    fn file_system(&self) -> io::Result<FileSystem> {
        file_system::describe(self.directory.as_fd())
    }
}

/// Takes 32 hexadecimal digits with hyphens anywhere; all zero for anything else.
fn parse_boot_id(text: &str) -> BootId {
    text.trim_ascii().replace('-', "").parse().unwrap_or_default()
}

#[cfg(test)]
mod tests;
