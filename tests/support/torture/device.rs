//! A real block device that fails: below a real ext4, while a writer syncs, or for good under a reader's mappings. What a whole
//! writer on it does stands in [`failing`](super::failing).
//!
//! The device is a file that `qemu-storage-daemon` exports and a loop device stands on. The file lies on a small tmpfs and has
//! holes where nothing was ever written: with the tmpfs full, a write of the device to such a place fails, as on a volume that is
//! thinly provisioned, and the kernel tells it to whoever syncs the page. With room again the device is as good as new, and what
//! the kernel makes of the pages meanwhile is the kernel's own doing. Or the daemon is ordered to fail every flush, on which ext4 gives
//! up its journal and is there for reading only until it is mounted anew. To take the device away, the daemon is killed: from then
//! on every call that needs it is an input/output error.
//!
//! It must not lie. A loop device takes a write of which its file took only the first part for a whole one (Linux 6.18): where a
//! write begins in a page that has a place and ends in a hole, nobody hears of the hole, and a sync says that all is well. So where
//! the tmpfs is to be full, blocks are as large as its pages, and no write of the loop device is longer: it is done or it failed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use treering::storage::os::OsStorage;
use treering::storage::{Access, Storage};

use crate::store::noise;
use crate::torture::blocks::{DROP_CACHES, Held, daemon_of, longest_request, run};
use crate::torture::programs::Programs;

const DISK_BYTES: u64 = 40 << 20;
const BACKING_BYTES: u64 = 64 << 20;
/// A page of the tmpfs.
pub const PAGE_BYTES: u64 = 4096;

/// The device, with a file system on it that is mounted.
pub struct Device {
    mount: Option<Held>,
    held: Option<Held>,
    daemon: Option<Held>,
    _backing: Held,
    folder: tempfile::TempDir,
}

fn told(error: std::io::Error) -> String {
    error.to_string()
}

impl Drop for Device {
    fn drop(&mut self) {
        self.disconnect();
    }
}

impl Device {
    /// A device that works, and a file system with blocks of so many bytes.
    ///
    /// # Errors
    /// Where it cannot be made here.
    pub fn new(block: u64) -> Result<Device, String> {
        let folder = tempfile::tempdir().map_err(told)?;
        let at = |name: &str| folder.path().join(name);
        for name in ["backing", "root"] {
            fs::create_dir(at(name)).map_err(told)?;
        }
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={BACKING_BYTES}"), "tmpfs"])
            .arg(at("backing")))?;
        let backing = Held::Mount(at("backing"));
        File::create(at("backing/disk")).and_then(|file| file.set_len(DISK_BYTES)).map_err(told)?;
        let disk = at("backing/disk");
        run(Command::new("mkfs.ext4")
            .args(["-q", "-b", &block.to_string(), "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"])
            .arg(&disk))?;
        // What the file system has for itself has a place from the start, what is free is given back: so new data alone fails.
        run(Command::new("fallocate").args(["-l", &DISK_BYTES.to_string()]).arg(&disk))?;
        let mut device = Device { mount: None, held: None, daemon: None, _backing: backing, folder };
        device.connect()?;
        run(Command::new("fstrim").arg(device.at("root")))?;
        Ok(device)
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where a store may lie on it.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.at("root/store")
    }

    /// Exports the file and mounts the file system on it.
    fn connect(&mut self) -> Result<(), String> {
        File::create(self.at("export")).map_err(told)?;
        let disk = format!("driver=file,node-name=d,discard=unmap,filename={}", self.at("backing/disk").display());
        // One way that works, one that fails every flush; the last node goes one of them.
        let rule =
            "inject-error.0.event=none,inject-error.0.iotype=flush,inject-error.0.errno=5,inject-error.0.once=off";
        let sound = "driver=blkdebug,node-name=sound,image=d,discard=unmap";
        let unsound = format!("driver=blkdebug,node-name=unsound,image=d,discard=unmap,{rule}");
        let nodes = [&*disk, sound, &*unsound, "driver=raw,node-name=w,discard=unmap,file=sound"];
        let _ = fs::remove_file(self.at("monitor")); // of the daemon before
        self.daemon = Some(daemon_of(&nodes, &self.at("export"), DISK_BYTES, Some(&self.at("monitor")))?);
        let device = run(Command::new("losetup").args(["-f", "--show"]).arg(self.at("export")))?;
        self.held = Some(Held::Loop(device.clone()));
        let longest = longest_request(&device);
        let kib = (PAGE_BYTES >> 10).to_string();
        fs::write(&longest, kib).map_err(|error| format!("losetup: {}: {error}", longest.display()))?;
        run(Command::new("mount").args(["-o", "noatime", &device]).arg(self.at("root")))?;
        self.mount = Some(Held::Mount(self.at("root")));
        Ok(())
    }

    /// As after a loss of power and a new start: the file system is mounted anew, from what the device holds.
    ///
    /// # Errors
    /// Where it cannot be mounted.
    pub fn reconnect(&mut self) -> Result<(), String> {
        self.disconnect();
        self.connect()
    }

    fn disconnect(&mut self) {
        self.mount = None;
        self.held = None;
        self.daemon = None;
        // A daemon that was killed leaves its export behind.
        let _ = run(Command::new("umount").arg("-l").arg(self.at("export")));
    }

    /// From now on it takes no write to a place that was never written.
    ///
    /// # Errors
    /// From the system.
    pub fn fail(&self) -> Result<(), String> {
        // Its own blocks, such as those of a folder, are brought to their places first.
        run(Command::new("fsfreeze").arg("-f").arg(self.at("root")))?;
        run(Command::new("fsfreeze").arg("-u").arg(self.at("root")))?;
        let mut balloon = File::create(self.at("backing/balloon")).map_err(told)?;
        for len in [1 << 20, 4096] {
            let piece = vec![1; len];
            while balloon.write_all(&piece).is_ok() {}
        }
        Ok(())
    }

    /// It is as good as new.
    ///
    /// # Errors
    /// From the system.
    pub fn heal(&self) -> Result<(), String> {
        fs::remove_file(self.at("backing/balloon")).map_err(told)
    }

    /// From now on every flush fails, until it is [connected anew](Self::reconnect).
    ///
    /// # Errors
    /// Where the daemon takes no such order.
    pub fn fail_flushes(&self) -> Result<(), String> {
        let node = r#"{"driver":"raw","node-name":"w","discard":"unmap","file":"unsound"}"#;
        let mut monitor = UnixStream::connect(self.at("monitor")).map_err(told)?;
        let mut answers = BufReader::new(monitor.try_clone().map_err(told)?);
        let mut answer = String::new();
        answers.read_line(&mut answer).map_err(told)?; // who it is
        for order in [
            r#"{"execute":"qmp_capabilities"}"#.to_owned(),
            format!(r#"{{"execute":"blockdev-reopen","arguments":{{"options":[{node}]}}}}"#),
        ] {
            answer.clear();
            writeln!(monitor, "{order}").map_err(told)?;
            answers.read_line(&mut answer).map_err(told)?;
            if !answer.contains(r#""return""#) {
                return Err(format!("qemu-storage-daemon refuses {order}: {answer}"));
            }
        }
        Ok(())
    }

    /// It is gone, at once and for good.
    ///
    /// # Errors
    /// Where there is none, or it cannot be killed.
    pub fn kill(&mut self) -> Result<(), String> {
        match &mut self.daemon {
            Some(Held::Daemon(child)) => child.kill().and_then(|()| child.wait()).map(drop).map_err(told),
            _ => Err("no daemon exports it".to_owned()),
        }
    }

    /// Has the kernel forget every page that is clean: those that a failed sync left too.
    ///
    /// # Errors
    /// From the system.
    pub fn evict(&self) -> Result<(), String> {
        fs::write(DROP_CACHES, "3").map_err(told)
    }
}

/// Bytes whose sync failed, into blocks that were allocated ahead, are written once more when the device works again, and synced;
/// then the kernel forgets all that it knows. Whether they are there.
///
/// # Errors
/// Outside: it could not be tried. Inside: what is broken.
pub fn rewritten() -> Result<Result<(), String>, String> {
    const LEN: u64 = 64 << 10;
    let device = Device::new(PAGE_BYTES)?;
    let storage = OsStorage::open(&device.at("root")).map_err(told)?;
    let file = storage.create("file", LEN).map_err(told)?;
    file.allocate(0..LEN).and_then(|()| file.write_at(b"durable", 0)).map_err(told)?;
    file.sync_data().and_then(|()| storage.sync_directory()).map_err(told)?;
    device.fail()?;
    let bytes = noise(1, 20_000);
    let written = file.write_at(&bytes, 8192);
    if written.is_err() || file.sync_data().is_ok() {
        return Err(format!("the device does not fail: {written:?}"));
    }
    device.heal()?;
    drop(file);
    // Another process knows the file by its name, and maps what it reads.
    let file = storage.open("file", Access::ReadWrite).map_err(told)?;
    let mapping = file.map().map_err(told)?;
    if mapping.as_slice()[8192..][..bytes.len()] != bytes[..] {
        return Err("the kernel went back to the old bytes".to_owned());
    }
    let again = file.rewrite_at(&bytes, 8192).and_then(|()| file.sync_data());
    if let Err(error) = again {
        return Ok(Err(format!("P6: a device that works again says: {error}")));
    }
    drop(mapping);
    device.evict()?;
    let mut found = vec![0; bytes.len()];
    let read = file.read_at(&mut found, 8192).map_err(told)?;
    let is_there = read == found.len() && found == bytes;
    Ok(if is_there {
        Ok(())
    } else {
        Err("P6: written once more and synced, and gone once it was forgotten".to_owned())
    })
}

/// How a reader reads whose device is taken away.
pub const READERS: [&str; 2] = ["guarded", "positioned"];

/// A device dies under a reader that has read an event: it meets an error that names file and bytes, and no signal.
///
/// # Errors
/// Outside: it could not be tried. Inside: what is broken.
pub fn device_dies(programs: &Programs, seed: u64, reader: &str) -> Result<Result<(), String>, String> {
    let mut device = Device::new(PAGE_BYTES)?;
    let mut writer = Command::new(&programs.writer);
    writer.arg(device.store()).args(["--kind", "mixed", "--life", "0", "--batches", "1500"]);
    run(writer.args(["--seed", &seed.to_string()]))?;
    device.reconnect()?;
    device.evict()?;
    let mut reading = Command::new(&programs.verifier);
    reading.arg("outlive").arg(device.store()).args(["--reads", reader]);
    let reading = reading.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut reading = reading.map_err(told)?;
    let mut lines = BufReader::new(reading.stdout.take().expect("it is a pipe"));
    let mut said = String::new();
    lines.read_line(&mut said).map_err(told)?;
    device.kill()?;
    device.evict()?;
    drop(reading.stdin.take()); // it reads on
    std::io::Read::read_to_string(&mut lines, &mut said).map_err(told)?;
    let ended = reading.wait_with_output().map_err(told)?;
    if ended.status.success() {
        return Ok(Ok(()));
    }
    let words = String::from_utf8_lossy(&ended.stderr);
    let signal = ended.status.signal().map(|signal| format!(" by signal {signal}")).unwrap_or_default();
    Ok(Err(format!("P7: a {reader} reader whose device died ends{signal}: {said}{words}")))
}
