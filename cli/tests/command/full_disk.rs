//! A disk that is really full: a small file system of its own, which only root may make.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Ran, treering};

/// A mounted file system of a few MiB, gone with the value.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    const BYTES: u64 = 8 << 20;

    /// `None`, with words why, where it cannot be had.
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
