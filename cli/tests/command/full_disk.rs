//! A disk that is really full (a small file system of its own, which only root may make), and limits of the process.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Place, Ran, treering};

/// A mounted file system of a few MiB, gone with the value.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    const BYTES: u64 = 8 << 20;

    /// A tmpfs. `None`, with words why, where it cannot be had.
    fn mount_tmpfs() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let size = format!("size={}", SmallDisk::BYTES);
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&root).stderr(Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(SmallDisk { folder });
        }
        eprintln!("skipped: a file system can be mounted by root only");
        None
    }

    /// Takes all space that is left.
    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.path("ballast")).unwrap();
        while ballast.write_all(&[1; 4096]).is_ok() {}
    }

    /// An ext4. `None`, with words why, where it cannot be had.
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let (image, root) = (folder.path().join("image"), folder.path().join("root"));
        std::fs::create_dir(&root).unwrap();
        std::fs::File::create(&image).unwrap().set_len(SmallDisk::BYTES).unwrap();
        let run = |program: &str, args: &[&str], paths: &[&Path]| {
            let done = Command::new(program).args(args).args(paths).stderr(Stdio::null()).status();
            done.is_ok_and(|status| status.success())
        };
        if run("mkfs.ext4", &["-q"], &[&image]) && run("mount", &["-o", "loop"], &[&image, &root]) {
            return Some(SmallDisk { folder });
        }
        eprintln!("skipped: a file system can be made and mounted by root only, with mkfs.ext4 and loop devices");
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name)
    }

    fn run(&self, command: &str, args: &[&str]) -> Ran {
        treering([command]).arg(self.path("s")).args(args).output().unwrap().into()
    }

    fn append(&self, lines: usize, args: &[&str]) -> Ran {
        let mut child =
            treering(["append"]).arg(self.path("s")).arg("log").args(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feeder = std::thread::spawn(move || {
            let line = format!("{}\n", "r".repeat(1000));
            // A command that fails early does not read to the end.
            let _ = (0..lines).try_for_each(|_| stdin.write_all(line.as_bytes()));
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        output.into()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.folder.path().join("root")).status();
        if !unmounted.is_ok_and(|status| status.success()) && !std::thread::panicking() {
            panic!("the file system of the test is still mounted");
        }
    }
}

/// Appending fails with one plain sentence, everything that was acknowledged is read, and appending works again once there
/// is room.
#[test]
fn p09_on_a_full_disk_append_says_so_cat_works_and_append_works_again_once_there_is_room() {
    for level in ["synced", "written"] {
        let Some(disk) = SmallDisk::mount() else { return };
        std::fs::write(disk.path("ballast"), vec![1; 1 << 20]).unwrap();
        disk.append(1, &[]).ok();
        let full = disk.append(100_000, &["--durability", level]);
        assert_eq!(full.code, 1, "{level}: {}", full.stderr);
        assert_eq!(full.stderr.trim_end().lines().count(), 1, "one plain sentence: {}", full.stderr);
        assert!(full.stderr.contains("make room on the disk and try again"), "{}", full.stderr);
        let receipts = full.stdout.iter().filter(|byte| **byte == b'\n').count();
        assert!(receipts > 1000, "{level}: the disk holds more than {receipts} events");

        let events =
            |disk: &SmallDisk| disk.run("cat", &["log", "--json"]).ok().iter().filter(|b| **b == b'\n').count();
        let there = events(&disk);
        assert!(there > receipts, "{level}: {there} events for {receipts} receipts and the first one");
        assert_eq!(disk.run("verify", &[]).code, 0);

        std::fs::remove_file(disk.path("ballast")).unwrap();
        disk.append(1, &[]).ok();
        assert_eq!(events(&disk), there + 1);
        assert_eq!(disk.run("verify", &[]).code, 0);
    }
}

/// To look at a hole of a file through a mapping wants a page on tmpfs, which is not there when it is full: what a hole says is
/// read all the same, at the end of the log and, in a copy that left zeros out, in the middle of an event.
#[test]
fn p09_on_a_full_tmpfs_everything_is_read_also_what_lies_in_holes() {
    let Some(disk) = SmallDisk::mount_tmpfs() else { return };
    let place = Place::new();
    let zeros = |count: usize| [vec![0; count], b"\n".to_vec()].concat();
    place.feed("append", &["log"], &[zeros(20_000), b"small\n".to_vec(), zeros(30_000)].concat()).ok();
    let mut copy = Command::new("cp");
    let copied = copy.args(["-r", "--sparse=always"]).arg(place.store()).arg(disk.path("s")).status();
    if !copied.is_ok_and(|status| status.success()) {
        return eprintln!("skipped: cp does not know how to leave zeros out");
    }
    disk.fill();
    assert_eq!(disk.run("cat", &["log"]).ok(), place.run("cat", &["log"]).ok());
    assert_eq!(disk.run("export", &[]).ok(), place.run("export", &[]).ok());
    let verified = disk.run("verify", &[]);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    assert_eq!(disk.run("accept", &["--dry-run"]).code, 0);
    treering(["salvage"])
        .arg(disk.path("s"))
        .arg(disk.folder.path().join("salvaged"))
        .output()
        .map(Ran::from)
        .unwrap()
        .ok();
    let dump = |store: &Path| {
        let segment = store.join(format!("{:016x}.segment", 0));
        Ran::from(treering(["dump"]).arg(segment).output().unwrap()).ok()
    };
    assert_eq!(dump(&disk.path("s")), dump(&place.store()));
}

/// Opening for appending wants no space of its own: what fits where blocks were allocated before is appended.
#[test]
fn p09_a_store_on_a_full_tmpfs_takes_what_it_has_room_for() {
    let Some(disk) = SmallDisk::mount_tmpfs() else { return };
    disk.append(1, &[]).ok();
    disk.fill();
    disk.append(1, &[]).ok();
    disk.append(1, &[]).ok();
    let full = disk.append(1000, &[]);
    assert!(full.code == 1 && full.stderr.contains("make room on the disk and try again"), "{}", full.stderr);
    let events = |disk: &SmallDisk| disk.run("cat", &["log", "--json"]).ok().iter().filter(|b| **b == b'\n').count();
    let there = events(&disk);
    assert_eq!(disk.run("verify", &[]).code, 0);
    std::fs::remove_file(disk.path("ballast")).unwrap();
    disk.append(1, &[]).ok();
    assert_eq!(events(&disk), there + 1);
}

/// With too few descriptors or too little memory the command says which limit is too low, whatever call meets it; the store is
/// as it was, and all of it works again without the limit.
#[test]
fn p09_a_limit_of_the_process_is_named_and_changes_nothing() {
    let place = Place::new();
    place.feed("append", &["log", "--batch", "10"], "line\n".repeat(500).as_bytes()).ok();
    let line = place.write("line", "more\n");
    let limited = |limit: &str, command: &str| -> Ran {
        let script = format!("ulimit {limit} && exec \"$0\" {command} \"$1\" log");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_treering")).arg(place.store());
        shell.stdin(std::fs::File::open(&line).unwrap());
        shell.output().unwrap().into()
    };
    let (mut refused, mut appended) = (0, 0);
    for (limit, words) in (4..12)
        .map(|count| (format!("-n {count}"), "ulimit -n"))
        .chain([("-v 30000".to_owned(), "ulimit -v"), ("-f 1".to_owned(), "ulimit -f")])
    {
        for command in ["cat", "append"] {
            let ran = limited(&limit, command);
            match ran.code {
                0 => appended += u64::from(command == "append"),
                1 => {
                    assert!(ran.stderr.contains(words), "{limit}, {command}: {}", ran.stderr);
                    refused += 1;
                }
                code => panic!("{limit}, {command}: {code}, {}", ran.stderr),
            }
            assert_eq!(place.events(), 500 + appended, "{limit}, {command}");
        }
    }
    assert!(refused > 4 && appended > 0, "{refused} were refused, {appended} appended");
    place.is_clean();
}
