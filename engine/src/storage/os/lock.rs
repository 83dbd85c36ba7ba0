//! Who holds a lock, told from what the kernel publishes below `/proc`.
//!
//! Advice for messages only: the answer may be out of date when it arrives, and there is none where `/proc` is not
//! mounted, where the holder lives in another process namespace, or where the file system shows other device numbers in
//! the kernel's table than to `stat` (btrfs). Nothing may be decided by it.

use crate::storage::LockHolder;

/// The holder of the `flock` lock on the file with this device and inode.
pub(super) fn holder(device_major: u32, device_minor: u32, inode: u64) -> Option<LockHolder> {
    let table = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = table.lines().find_map(|line| owner_in(line, device_major, device_minor, inode))?;
    let status = std::fs::read(format!("/proc/{pid}/stat")).ok();
    let (command, state) = status.as_deref().and_then(command_and_state).unzip();
    Some(LockHolder { pid, state, command })
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
