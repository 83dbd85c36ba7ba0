//! Who holds a lock, told from what the kernel publishes below `/proc`.
//!
//! Advice for messages only: the answer may be out of date when it arrives, and there is none where `/proc` is not
//! mounted, where the holder lives in another process namespace, or where the file system shows other device numbers in
//! the kernel's table than to `stat` (btrfs; locks of whole files only). Nothing may be decided by it.
//!
//! The kernel's table of locks names the process that took a lock of a whole file, but none for a lock of a byte. Those are
//! told with the descriptors of each process, of the processes that this one may look at.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use crate::storage::{LockHolder, LockKind};

/// So often the kernel's table is read where the lock is not in it. It comes in pieces: while others take and give back locks, a
/// line may be passed over between two of them.
const LOOKS: usize = 3;

/// The holder of the `flock` lock on the file with this device and inode.
pub(super) fn of_whole(device_major: u32, device_minor: u32, inode: u64) -> Option<LockHolder> {
    let owner = |table: String| table.lines().find_map(|line| owner_in(line, device_major, device_minor, inode));
    let look = |_| std::fs::read_to_string("/proc/locks").ok().and_then(owner);
    (0..LOOKS).find_map(look).map(describe)
}

/// The holders of locks on one byte of an open file, in the order of their numbers.
pub(super) fn of_byte(file: BorrowedFd<'_>, offset: u64) -> Vec<(LockHolder, LockKind)> {
    let place = |path: String| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    // The last part of the path, which no file system is asked for: it leaves few descriptors to look at closely.
    let name = |path: String| std::fs::read_link(path).ok()?.file_name().map(OsStr::to_owned);
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    let (Some(own_place), Some(own_name)) = (place(own.clone()), name(own)) else { return Vec::new() };
    let mut processes = numbers_in("/proc");
    processes.sort_unstable();
    let mut holders = Vec::new();
    for pid in processes {
        let mut kinds = Vec::new();
        for descriptor in numbers_in(&format!("/proc/{pid}/fdinfo")) {
            let link = format!("/proc/{pid}/fd/{descriptor}");
            if name(link.clone()).as_ref() != Some(&own_name) {
                continue;
            }
            let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")) else { continue };
            let Some(kind) = text.lines().find_map(|line| kind_in(line, offset)) else { continue };
            if !kinds.contains(&kind) && place(link) == Some(own_place) {
                kinds.push(kind);
            }
        }
        holders.extend(kinds.into_iter().map(|kind| (describe(pid), kind)));
    }
    holders
}

/// The names in a folder that are numbers; none where it cannot be read.
fn numbers_in(folder: &str) -> Vec<u32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn describe(pid: u32) -> LockHolder {
    let status = std::fs::read(format!("/proc/{pid}/stat")).ok();
    let (command, state) = status.as_deref().and_then(command_and_state).unzip();
    LockHolder { pid, state, command }
}

/// How this line about an open file says that the byte is locked through it, if it does.
///
/// A line reads `lock:\t1: OFDLCK ADVISORY  READ -1 fe:1f:1835 4096 4096`, with the first and the last byte, or `EOF` for
/// all to the end, last.
fn kind_in(line: &str, offset: u64) -> Option<LockKind> {
    let mut fields = line.strip_prefix("lock:")?.split_ascii_whitespace().skip(1);
    if fields.next()? != "OFDLCK" {
        return None;
    }
    let kind = match fields.nth(1)? {
        "READ" => LockKind::Shared,
        "WRITE" => LockKind::Exclusive,
        _ => return None,
    };
    let first: u64 = fields.nth(2)?.parse().ok()?;
    let last = match fields.next()? {
        "EOF" => u64::MAX,
        last => last.parse().ok()?,
    };
    (first..=last).contains(&offset).then_some(kind)
}

/// The owner, if this line of the kernel's table is about a held `flock` lock on the file.
///
/// A line reads `7: FLOCK  ADVISORY  WRITE 4711 08:02:1835 0 EOF`, with the device in hexadecimal and the inode in
/// decimal; one about a process that still waits has `->` behind the number.
fn owner_in(line: &str, device_major: u32, device_minor: u32, inode: u64) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    if fields.next()? != "FLOCK" {
        return None;
    }
    let pid = fields.nth(2)?.parse().ok().filter(|&pid| pid != 0)?;
    let mut place = fields.next()?.split(':');
    let mut device = || u32::from_str_radix(place.next()?, 16).ok();
    let found = (device()?, device()?, place.next()?.parse().ok()?);
    (found == (device_major, device_minor, inode)).then_some(pid)
}

/// Command and state from a process's `stat` line: `4711 (name) S …`. The name may itself hold spaces and parentheses, so
/// that only the last closing one ends it.
fn command_and_state(status: &[u8]) -> Option<(String, char)> {
    let open = status.iter().position(|&byte| byte == b'(')?;
    let close = status.iter().rposition(|&byte| byte == b')')?;
    let command = status.get(open + 1..close)?;
    let state = status.get(close + 1..)?.iter().find(|byte| !byte.is_ascii_whitespace())?;
    Some((String::from_utf8_lossy(command).into_owned(), char::from(*state)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_of_the_held_lock_on_this_file_counts() {
        let at = |line| owner_in(line, 0xfe, 0x1f, 1835);
        assert_eq!(at("7: FLOCK  ADVISORY  WRITE 4711 fe:1f:1835 0 EOF"), Some(4711));
        for other in [
            "7: -> FLOCK  ADVISORY  WRITE 4711 fe:1f:1835 0 EOF",
            "7: POSIX  ADVISORY  WRITE 4711 fe:1f:1835 0 EOF",
            "7: FLOCK  ADVISORY  WRITE 4711 fe:1f:1836 0 EOF",
            "7: FLOCK  ADVISORY  WRITE 4711 fe:20:1835 0 EOF",
            "7: FLOCK  ADVISORY  WRITE 4711 08:1f:1835 0 EOF",
            "7: FLOCK  ADVISORY  WRITE 0 fe:1f:1835 0 EOF",
            "7: FLOCK  ADVISORY  WRITE -1 fe:1f:1835 0 EOF",
            "7: FLOCK  ADVISORY  WRITE 4711",
            "7:",
            "",
        ] {
            assert_eq!(at(other), None, "{other:?}");
        }
    }

    #[test]
    fn only_a_line_about_the_byte_counts() {
        let at = |line| kind_in(line, 4096);
        assert_eq!(at("lock:\t1: OFDLCK ADVISORY  READ -1 fe:1f:1835 4096 4096"), Some(LockKind::Shared));
        assert_eq!(at("lock:\t12: OFDLCK  ADVISORY  WRITE -1 fe:1f:1835 4000 4100"), Some(LockKind::Exclusive));
        assert_eq!(at("lock:\t1: OFDLCK ADVISORY  WRITE -1 fe:1f:1835 0 EOF"), Some(LockKind::Exclusive));
        for other in [
            "lock:\t1: OFDLCK ADVISORY  READ -1 fe:1f:1835 4097 4097",
            "lock:\t1: OFDLCK ADVISORY  READ -1 fe:1f:1835 0 4095",
            "lock:\t1: OFDLCK ADVISORY  UNLCK -1 fe:1f:1835 4096 4096",
            "lock:\t1: POSIX  ADVISORY  READ 4711 fe:1f:1835 4096 4096",
            "lock:\t1: FLOCK  ADVISORY  WRITE 4711 fe:1f:1835 0 EOF",
            "lock:\t1: OFDLCK ADVISORY  READ -1 fe:1f:1835 4096",
            "lock:\t1: OFDLCK ADVISORY  READ -1 fe:1f:1835 x 4096",
            "1: OFDLCK ADVISORY  READ -1 fe:1f:1835 4096 4096",
            "lock:",
            "ino:\t1835",
            "",
        ] {
            assert_eq!(at(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_command_may_look_like_the_rest_of_the_line() {
        let parse = |line: &str| command_and_state(line.as_bytes());
        assert_eq!(parse("12 (sh) S 1 12"), Some(("sh".into(), 'S')));
        assert_eq!(parse("12 (a) R (b c) T 1 12"), Some(("a) R (b c".into(), 'T')));
        assert_eq!(parse("12 () Z"), Some((String::new(), 'Z')));
        for bad in ["", "12", "12 (sh", "12 sh) S", "12 (sh)", "12 )sh("] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
