//! A real ext4 whose block writes are recorded, and what a loss of power would have left of it.
//!
//! A file system lies on a device whose writes and flushes `qemu-storage-daemon` notes in a log (the format of dm-log-writes),
//! without the kernel's help. A writer works on it; beside each Synced receipt stands how far the log reached by then. Then,
//! for a moment of the log, an image is made of all writes before the last flush and of some of those behind it. It is
//! mounted, which has ext4 replay its journal, the verifier holds the store in it against the receipts of that moment, a
//! writer goes on, and the verifier looks again. What the simulation assumes of a file system is so compared with one.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::store::PATIENCE;
use crate::torture::programs::Programs;
use crate::torture::script::{Dice, Line};

const SECTOR: u64 = 512;
const MAGIC: u64 = 0x6a_7366_7773_6872;
const IMAGE_BYTES: u64 = 32 << 20;
/// More than a writer of a test has recorded. What is more finds room or is told by [`Log::read`].
const LOG_BYTES: u64 = 32 << 20;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// Who writes there has the kernel forget what it may of files.
pub(super) const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// One write of the log.
#[derive(Debug)]
struct Entry {
    flags: u64,
    offset: u64,
    bytes: Vec<u8>,
}

/// What was recorded of one writer.
#[derive(Debug)]
pub struct Recording {
    folder: tempfile::TempDir,
    entries: Vec<Entry>,
    /// Synced receipts, and how many entries there were when each was given.
    receipts: Vec<(usize, String)>,
}

/// `Err` where it cannot be done here: found out by doing it once, with nothing at stake. So whatever fails later is a failure.
///
/// # Errors
/// What is missing, in one line.
pub fn is_possible() -> Result<(), String> {
    static TRIED: OnceLock<Result<(), String>> = OnceLock::new();
    TRIED.get_or_init(|| is_there().and_then(|()| is_allowed())).clone()
}

/// What is needed is installed.
fn is_there() -> Result<(), String> {
    let says = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).stderr(Stdio::null()).output();
        output.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    };
    if says("id", "-u").as_deref() != Some("0") {
        return Err("only root may mount file systems".to_owned());
    }
    if !Path::new("/dev/fuse").exists() {
        return Err("there is no /dev/fuse".to_owned());
    }
    for program in ["qemu-storage-daemon", "losetup", "mkfs.ext4", "mount", "fsfreeze", "fstrim"] {
        says(program, "--version").ok_or_else(|| format!("{program} is not installed"))?;
    }
    Ok(())
}

/// Root of a container may have all of it, and may not use it.
fn is_allowed() -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(told("no folder for an image"))?;
    let at = |name: &str| folder.path().join(name);
    allocate(&at("disk"), IMAGE_BYTES)?;
    run(Command::new("mkfs.ext4").arg("-q").arg(at("disk")))?;
    fs::write(at("export"), "").and_then(|()| fs::create_dir(at("root"))).map_err(told("no place to mount at"))?;
    let node = format!("driver=file,node-name=w,filename={}", at("disk").display());
    let _daemon = daemon_of(&[&node], &at("export"), IMAGE_BYTES, None)?;
    let device = run(Command::new("losetup").args(["-f", "--show"]).arg(at("export")))?;
    let _device = Held::Loop(device.clone());
    run(Command::new("mount").args(["-o", "noatime", &device]).arg(at("root")))?;
    let _mount = Held::Mount(at("root"));
    for file in [longest_request(&device), PathBuf::from(DROP_CACHES)] {
        File::options().write(true).open(&file).map_err(told(&file.display().to_string()))?;
    }
    Ok(())
}

/// Where the longest request to a device may be set, in KiB.
pub(super) fn longest_request(device: &str) -> PathBuf {
    Path::new("/sys/block").join(device.trim_start_matches("/dev/")).join("queue/max_sectors_kb")
}

pub(super) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn told(what: &str) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// Gives a file all of its blocks. In a hole of an image a full disk is met by the file system in it, as an input/output error, and what
/// is then lost, or not recorded, looks like a store that broke its promise.
fn allocate(path: &Path, bytes: u64) -> Result<(), String> {
    run(Command::new("fallocate").args(["-l", &bytes.to_string()]).arg(path)).map(drop)
}

/// A file system that is mounted, or a loop device, or a daemon: gone with the value.
pub(super) enum Held {
    Mount(PathBuf),
    Loop(String),
    Daemon(Child),
}

impl Held {
    /// Whether it is a daemon that has ended by itself.
    fn has_ended(&mut self) -> bool {
        match self {
            Held::Daemon(child) => child.try_wait().is_ok_and(|ended| ended.is_some()),
            Held::Mount(_) | Held::Loop(_) => false,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = match self {
            Held::Mount(path) => run(Command::new("umount").arg(path)).map(drop),
            Held::Loop(device) => run(Command::new("losetup").arg("-d").arg(device)).map(drop),
            Held::Daemon(child) => {
                if child.try_wait().is_ok_and(|ended| ended.is_none()) {
                    let _ = run(Command::new("kill").arg(child.id().to_string())); // it ends its export then
                }
                child.wait().map(drop).map_err(|error| error.to_string())
            }
        };
    }
}

/// A daemon with these block devices, the last of which, `w`, it exports as a file of so many bytes. At `monitor`, if there is one,
/// it takes orders (QMP).
pub(super) fn daemon_of(nodes: &[&str], export: &Path, bytes: u64, monitor: Option<&Path>) -> Result<Held, String> {
    let mut daemon = Command::new("qemu-storage-daemon");
    for node in nodes {
        daemon.args(["--blockdev", node]);
    }
    if let Some(monitor) = monitor {
        daemon.args(["--chardev", &format!("socket,id=m,server=on,wait=off,path={}", monitor.display())]);
        daemon.args(["--monitor", "chardev=m"]);
    }
    daemon.args(["--export", &format!("type=fuse,id=e,node-name=w,mountpoint={},writable=on", export.display())]);
    let daemon = daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut daemon = Held::Daemon(daemon.map_err(|error| error.to_string())?);
    let began = Instant::now();
    while fs::metadata(export).map_or(0, |data| data.len()) != bytes {
        if began.elapsed() > PATIENCE || daemon.has_ended() {
            return Err("qemu-storage-daemon exports nothing".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(daemon)
}

impl Recording {
    /// Records a writer of `batches` batches.
    ///
    /// # Errors
    /// Where it cannot be done.
    pub fn of_writer(programs: &Programs, seed: u64, batches: u64) -> Result<Recording, String> {
        let folder = tempfile::tempdir().map_err(told("no folder for an image"))?;
        let at = |name: &str| folder.path().join(name);
        let sparse = |name: &str, bytes: u64| File::create(at(name)).and_then(|file| file.set_len(bytes));
        sparse("disk", IMAGE_BYTES).and_then(|()| sparse("log", 1 << 30)).map_err(told("no image can be made"))?;
        run(Command::new("mkfs.ext4").args(["-q", "-E", "lazy_itable_init=0"]).arg(at("disk")))?;
        fs::copy(at("disk"), at("base")).map_err(told("no copy of the image can be made"))?;
        allocate(&at("disk"), IMAGE_BYTES)?; // mkfs gave back what it had
        allocate(&at("log"), LOG_BYTES)?;
        sparse("export", 0)
            .and_then(|()| fs::create_dir(at("root")))
            .map_err(told("no place for the image and what exports it"))?;
        let shown = |name: &str| at(name).display().to_string();
        let disk = format!("driver=file,node-name=d,filename={}", shown("disk"));
        let log = format!("driver=file,node-name=l,filename={}", shown("log"));
        let nodes = [&*disk, &*log, "driver=blklogwrites,node-name=w,file=d,log=l"];
        let daemon = daemon_of(&nodes, &at("export"), IMAGE_BYTES, None)?;
        let device = run(Command::new("losetup").args(["-f", "--show"]).arg(at("export")))?;
        let device_held = Held::Loop(device.clone());
        run(Command::new("mount").args(["-o", "noatime", &device]).arg(at("root")))?;
        let mount = Held::Mount(at("root"));
        let mut log = Log::open(&at("log"))?;
        let mut writer = Command::new(&programs.writer);
        writer.arg(at("root").join("store")).args(["--kind", "mixed", "--life", "0", "--seed", &seed.to_string()]);
        writer.args(["--batches", &batches.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut writer = writer.spawn().map_err(|error| error.to_string())?;
        let mut receipts = Vec::new();
        for line in BufReader::new(writer.stdout.take().expect("it is a pipe")).lines() {
            let line = line.map_err(|error| error.to_string())?;
            if matches!(Line::parse(&line), Some(Line::Receipt(receipt)) if receipt.is_synced) {
                // The log may reach further by now: then less is demanded, never more.
                receipts.push((log.count()?, line));
            }
        }
        let ended = writer.wait().map_err(|error| error.to_string())?;
        if !ended.success() {
            return Err(format!("the writer whose writes are recorded failed: {ended}"));
        }
        // The head of the log is written at the end.
        drop(mount);
        drop(device_held);
        drop(daemon);
        let entries = log.read()?;
        Ok(Recording { folder, entries, receipts })
    }

    /// How many moments it has.
    #[must_use]
    pub fn moments(&self) -> usize {
        self.entries.len() + 1
    }

    /// What a loss of power leaves behind entry `moment`, and with it of the writes behind the last flush those that the dice
    /// choose; all of them for a seed of 0. Returns what the verifier said; nothing where there was no store yet.
    ///
    /// # Errors
    /// Outside: it could not be tried. Inside: what is broken.
    pub fn replay(&self, programs: &Programs, moment: usize, seed: u64) -> Result<Result<(), String>, String> {
        let at = |name: &str| self.folder.path().join(name);
        // Of its own: whoever mounts a file of a name that was mounted before may get the device of before, and what that remembers.
        let image = at(&format!("image-{moment}-{seed}"));
        run(Command::new("cp").args(["--sparse=always"]).arg(at("base")).arg(&image))?;
        allocate(&image, IMAGE_BYTES)?;
        let flushed = self.entries[..moment].iter().rposition(|entry| entry.flags & FLUSH != 0).unwrap_or(0);
        let mut dice = Dice::new(seed);
        let file = File::options().write(true).open(&image).map_err(told("no image"))?;
        for (number, entry) in self.entries[..moment].iter().enumerate() {
            let is_certain = number < flushed || entry.flags & FUA != 0 || seed == 0;
            if is_certain || dice.below(2) == 0 {
                file.write_all_at(&entry.bytes, entry.offset).map_err(told("an image takes no write"))?;
            }
        }
        drop(file);
        let root = at("root");
        run(Command::new("mount").args(["-o", "loop,noatime"]).arg(&image).arg(&root))?;
        let mount = Held::Mount(root.clone());
        let journal = at("receipts");
        let demanded = self.receipts.iter().filter(|(entries, _)| *entries <= flushed);
        let lines: String = demanded.map(|(_, line)| format!("{line}\n")).collect();
        fs::write(&journal, &lines).map_err(told("no file of receipts"))?;
        let found = look(programs, &root.join("store"), &journal, !lines.is_empty());
        drop(mount);
        fs::remove_file(&image).map_err(told("an image stays"))?;
        Ok(found)
    }
}

/// Holds a store against a journal, has a writer go on, and holds it against all receipts by then.
pub(super) fn look(programs: &Programs, store: &Path, journal: &Path, is_demanded: bool) -> Result<(), String> {
    let is_there = store.join("identity").try_exists().map_err(told("the file system cannot be read"))?;
    if is_there || is_demanded {
        programs.check(store, journal, &[], true)?;
    }
    let mut writer = Command::new(&programs.writer);
    writer.arg(store).args(["--kind", "mixed", "--life", "1", "--seed", "3", "--batches", "4"]);
    let said = run(&mut writer).map_err(|what| format!("nobody can go on: {what}"))?;
    let before = fs::read_to_string(journal).map_err(|error| error.to_string())?;
    fs::write(journal, before + &said + "\n").map_err(|error| error.to_string())?;
    programs.check(store, journal, &[], true).map(drop).map_err(|what| format!("gone on with: {what}"))
}

/// The log of the daemon, as far as it was walked.
struct Log {
    file: File,
    at: u64,
    entries: usize,
}

impl Log {
    fn open(path: &Path) -> Result<Log, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        Ok(Log { file, at: SECTOR, entries: 0 })
    }

    /// How many entries there are by now. Their bytes may still be on their way into the log.
    fn count(&mut self) -> Result<usize, String> {
        while self.next(false)?.is_some() {
            self.entries += 1;
        }
        Ok(self.entries)
    }

    /// All entries, once nobody writes them any more.
    fn read(mut self) -> Result<Vec<Entry>, String> {
        let mut head = [0; 24];
        self.file.read_exact_at(&mut head, 0).map_err(|error| error.to_string())?;
        let word = |at: usize| u64::from_le_bytes(head[at * 8..][..8].try_into().expect("eight bytes"));
        if word(0) != MAGIC {
            return Err("the log of writes has another form".to_owned());
        }
        self.at = SECTOR;
        let entries: Vec<_> = std::iter::from_fn(|| self.next(true).transpose()).collect::<Result<_, String>>()?;
        // The daemon goes on behind what it could not note: it is a hole, and looks like the end.
        if word(2) > entries.len() as u64 {
            return Err(format!("the log of writes is to have {} and has {}", word(2), entries.len()));
        }
        Ok(entries)
    }

    fn next(&mut self, is_whole: bool) -> Result<Option<Entry>, String> {
        let mut head = [0; 32];
        self.file.read_exact_at(&mut head, self.at).map_err(|error| error.to_string())?;
        let word = |at: usize| u64::from_le_bytes(head[at * 8..][..8].try_into().expect("eight bytes"));
        let (sector, sectors, flags) = (word(0), word(1), word(2));
        if sectors == 0 && flags == 0 {
            return Ok(None); // nothing is written there yet
        }
        self.at += SECTOR;
        let mut bytes = Vec::new();
        if is_whole {
            bytes.resize((sectors * SECTOR) as usize, 0);
        }
        if flags & DISCARD == 0 {
            self.file.read_exact_at(&mut bytes, self.at).map_err(|error| error.to_string())?;
            self.at += sectors * SECTOR;
        }
        Ok(Some(Entry { flags, offset: sector * SECTOR, bytes }))
    }
}
