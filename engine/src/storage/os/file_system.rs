//! What the file system below a store is called, and what may be built on it.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{fstatfs, fstatvfs};

use crate::storage::FileSystem;

/// Magic number, name, whether it lies across a network.
const KNOWN: &[(u32, &str, bool)] = &[
    (0x0000_EF53, "ext4", false),
    (0x5846_5342, "xfs", false),
    (0x9123_683E, "btrfs", false),
    (0x0102_1994, "tmpfs", false),
    (0x8584_58F6, "ramfs", false),
    (0x794C_7630, "overlayfs", false),
    (0xF2F5_2010, "f2fs", false),
    (0x2FC1_2FC1, "zfs", false),
    (0xCA45_1A4E, "bcachefs", false),
    (0x0000_F15F, "ecryptfs", false),
    (0x2011_BAB0, "exfat", false),
    (0x0000_4D44, "vfat", false),
    (0x5346_544E, "ntfs", false),
    (0x7366_746E, "ntfs3", false),
    (0x3153_464A, "jfs", false),
    (0x5265_4973, "reiserfs", false),
    (0x0000_6969, "nfs", true),
    (0xFF53_4D42, "cifs", true),
    (0xFE53_4D42, "smb2", true),
    (0x0000_517B, "smb", true),
    // What lies behind these two cannot be told; often it is another machine, or the host of this one.
    (0x6573_5546, "fuse", true),
    (0x0102_1997, "9p", true),
    (0x00C3_6400, "ceph", true),
    (0x5346_414F, "afs", true),
    (0x0BD0_0BD0, "lustre", true),
    (0x4750_4653, "gpfs", true),
    (0x0116_1970, "gfs2", true),
    (0x7461_636F, "ocfs2", true),
];

/// Where a store into a shared mapping and a positioned write are the same memory *and* overwriting an allocated block
/// takes no further space. Those that copy on write (btrfs, zfs, f2fs, bcachefs) fail the second; overlays, networks and
/// programs (fuse) promise neither.
const MAPPED_STORES: &[&str] = &["ext4", "xfs", "tmpfs"];

fn known(magic: u32) -> Option<&'static (u32, &'static str, bool)> {
    KNOWN.iter().find(|(number, ..)| *number == magic)
}

// The width of the kernel's field differs from machine to machine; magic numbers have 32 bits.
#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
fn magic_of(file: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(fstatfs(file)?.f_type as u32)
}

/// Describes the file system that holds an open file or directory.
pub(super) fn describe(file: BorrowedFd<'_>) -> io::Result<FileSystem> {
    let magic = magic_of(file)?;
    let space = fstatvfs(file)?;
    let (name, is_network) = match known(magic) {
        Some((_, name, is_network)) => ((*name).to_owned(), *is_network),
        None => (format!("{magic:#x}"), false),
    };
    Ok(FileSystem { name, is_network, free_bytes: space.f_bavail.saturating_mul(space.f_frsize) })
}

/// Whether copying into a mapping may take the place of writing.
pub(super) fn takes_mapped_stores(file: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(known(magic_of(file)?).is_some_and(|(_, name, _)| MAPPED_STORES.contains(name)))
}

/// The identity of the file system; `None` where it has none.
pub(super) fn identity(file: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    Ok(Some(fstatvfs(file)?.f_fsid).filter(|&identity| identity != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_magic_number_and_name_is_there_once() {
        for (at, (magic, name, _)) in KNOWN.iter().enumerate() {
            assert!(KNOWN[..at].iter().all(|(m, n, _)| m != magic && n != name), "{name}");
        }
        for name in MAPPED_STORES {
            assert!(KNOWN.iter().any(|(_, known, network)| known == name && !network), "{name}");
        }
    }
}
