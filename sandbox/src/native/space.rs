//! Where a step's writable space lies: in memory, or in a folder on the host's disk.
//!
//! Memory (a tmpfs) is faster, has an exact size, and is gone with its last user; but it is memory, and
//! the default of 20 GiB is more than most hosts have. So what memory cannot carry lies in a folder
//! that the caller made for it, which a watcher bounds (`usage.rs`): the file systems of hosts rarely
//! have project quotas, and without root there is no other way. Root and rootless do the same.
//!
//! | | in memory | in a folder |
//! |---|---|---|
//! | chosen | `disk` is at most half of the memory limit, or there is no folder | otherwise |
//! | who sees it at the limit | its first process (`met.rs`) | the build process (`usage.rs`) |
//! | /dev/shm | in the same tmpfs | a tmpfs of its own, half of memory, seen by the first process |
//! | both | a step that is seen above it is killed, told so (`OutOfDisk`) and never cached | |
//!
//! The tmpfs is larger than the limit, so that a step is stopped and not refused: a refused one might take
//! no notice and pass, and what it left would then follow from the limit. What is in a tmpfs counts as memory
//! of the step's control group, so where one limits memory the tmpfs may be larger than memory is: before it is
//! full the kernel kills the step, which is seen. Elsewhere it stays below what the host can bear.
//!
//! A third reason for the folder: a tmpfs before Linux 6.6 keeps no `user.*` attributes, so a view
//! above it would have to be a copy (`copy.rs`), and above a folder of ext4 or xfs it need not.
//!
//! Does not catch: a file system that fills up for other reasons between the choice and the step.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use model::limits::{Bytes, Limits};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, fstatfs, fstatvfs, memfd_create, openat};

use super::copy::keeps_attributes;
use crate::spec::{MountMode, Parts, Scratch};

/// How much larger than the limit a space in memory is, and one file in a container: more than a host fills
/// and frees again between two looks at it.
pub const BYTES_ABOVE: u64 = 1 << 30;
/// The same in inodes.
pub const INODES_ABOVE: u64 = 65_536;
/// Least size of the writable space that is chosen without being asked for.
const WORK_BYTES_MIN: u64 = 64 << 20;
/// One inode for so many bytes of writable space, as ext4 has it by default.
const BYTES_PER_INODE: u64 = 16 << 10;
/// An overlay cannot hold the changes of another one (`OVERLAYFS_SUPER_MAGIC` of linux/magic.h).
const OVERLAY: u64 = 0x794c_7630;
/// Share of the host's file system that no step may take, as ext4 keeps for root.
const RESERVE_SHARE: u64 = 20;
/// Largest reserve: on a large disk a twentieth would be more than any host needs to go on.
const RESERVE_BYTES_MAX: u64 = 2 << 30;

/// Where the writable space lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Space {
    /// In a tmpfs of this size.
    Memory {
        /// Most that it may hold, in bytes.
        bytes: u64,
        /// Its size, in bytes.
        size: u64,
    },
    /// In a folder of the host.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Most that it may hold, in bytes.
        bytes: u64,
        /// Most that `/dev/shm` may hold, in bytes.
        shared: u64,
        /// Size of its tmpfs, in bytes.
        size: u64,
    },
}

impl Space {
    /// Returns the limit.
    pub fn bytes(&self) -> Bytes {
        let (Space::Memory { bytes, .. } | Space::Folder { bytes, .. }) = self;
        Bytes(*bytes)
    }
}

/// Returns how many inodes a writable space of so many bytes may use.
pub fn inodes(bytes: u64) -> u64 {
    (bytes / BYTES_PER_INODE).max(65_536)
}

/// Returns what is kept free of a file system of so many bytes.
pub fn reserve(size: u64) -> u64 {
    (size / RESERVE_SHARE).min(RESERVE_BYTES_MAX)
}

/// How much memory a step has, and whether a control group kills it for more.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Most of it.
    pub bytes: Bytes,
    /// Whether a control group limits it.
    pub grouped: bool,
}

/// Chooses, with a look at the folder's file system.
pub fn choose(parts: &Parts, memory: Memory) -> Space {
    let views = parts.mounts.iter().any(|mount| mount.mode == MountMode::View);
    let copies = views && !memory_keeps_attributes();
    let offer = parts.scratch.as_ref();
    decide(&parts.limits, memory, offer, copies, &|folder, least| is_fit(folder, least))
}

/// Returns the size of the writable space where only memory can hold it.
pub fn in_memory(limits: &Limits, memory: Bytes) -> Bytes {
    let memory = Memory { bytes: memory, grouped: false };
    decide(limits, memory, None, false, &|_, _| false).bytes()
}

/// Decides. What memory can hold is half of its limit, so that a full disk is seen as a full disk and
/// not as the end of memory. In memory, what was asked for is given; a default is cut.
fn decide(
    limits: &Limits,
    memory: Memory,
    offer: Option<&Scratch>,
    copies: bool,
    fits: &dyn Fn(&Path, u64) -> bool,
) -> Space {
    let (wanted, held) = (limits.disk.value.0, (memory.bytes.0 / 2).max(WORK_BYTES_MIN));
    if let Some(scratch) = offer
        && (wanted > held || copies || scratch.always)
        && fits(&scratch.folder, wanted.min(held))
    {
        let (path, size) = (scratch.folder.clone(), memory.room_for(held));
        return Space::Folder { path, bytes: wanted, shared: held, size };
    }
    let bytes = if limits.disk.asked { wanted } else { wanted.min(held) };
    Space::Memory { bytes, size: memory.room_for(bytes) }
}

impl Memory {
    /// Returns the size of a tmpfs that may hold so many bytes.
    fn room_for(self, bytes: u64) -> u64 {
        let size = bytes.saturating_add(BYTES_ABOVE);
        // Where nothing stops the step before, memory is not filled to its end.
        if self.grouped { size } else { size.min(self.bytes.0 / 4 * 3).max(bytes) }
    }
}

/// Says whether a folder can hold the changes of a view, and has more room than memory would give.
fn is_fit(folder: &Path, least: u64) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(folder) = openat(CWD, folder, flags, Mode::empty()) else { return false };
    let (Ok(kind), Ok(room)) = (fstatfs(&folder), fstatvfs(&folder)) else { return false };
    let size = room.f_blocks.saturating_mul(room.f_frsize);
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    kind.f_type.cast_unsigned() != OVERLAY && free.saturating_sub(reserve(size)) >= least
}

/// Finds out by doing, once: a memory file lies in a tmpfs of the kernel's own.
fn memory_keeps_attributes() -> bool {
    static KEEPS: OnceLock<bool> = OnceLock::new();
    *KEEPS.get_or_init(|| {
        let file = memfd_create("kiln-probe", MemfdFlags::CLOEXEC);
        file.is_ok_and(|file| keeps_attributes(std::os::fd::AsFd::as_fd(&file)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::limits::Limit;

    const GIB: u64 = 1 << 30;

    fn chosen(disk: Limit<Bytes>, offer: Option<bool>, copies: bool, fits: bool) -> Space {
        let limits = Limits { disk, ..Limits::default() };
        let offer = offer.map(|always| Scratch { folder: "/store/tmp/x".into(), always });
        let memory = Memory { bytes: Bytes(8 * GIB), grouped: false };
        decide(&limits, memory, offer.as_ref(), copies, &|_, _| fits)
    }

    #[test]
    fn memory_holds_what_it_can_and_a_folder_the_rest() {
        let memory = |gib: u64| {
            let size = (gib + 1).min(6).max(gib) * GIB;
            Space::Memory { bytes: gib * GIB, size }
        };
        let folder = |gib: u64| {
            let path = "/store/tmp/x".into();
            Space::Folder { path, bytes: gib * GIB, shared: 4 * GIB, size: 5 * GIB }
        };
        let (default, asked) =
            (Limit::default_of(Bytes(20 * GIB)), |gib| Limit::asked(Bytes(gib * GIB)));
        for (disk, offer, copies, fits, want) in [
            // No folder: what was asked for is given, a default is cut.
            (default, None, false, true, memory(4)),
            (asked(20), None, false, true, memory(20)),
            // A folder takes what memory cannot carry, and nothing else.
            (default, Some(false), false, true, folder(20)),
            (asked(20), Some(false), false, true, folder(20)),
            (asked(4), Some(false), false, true, memory(4)),
            // Unless a view would have to be a copy in memory, or it is told to.
            (asked(1), Some(false), true, true, folder(1)),
            (asked(1), Some(true), false, true, folder(1)),
            // A folder on an overlay, or on a full disk, is none.
            (default, Some(true), true, false, memory(4)),
        ] {
            assert_eq!(
                chosen(disk, offer, copies, fits),
                want,
                "{disk:?} {offer:?} {copies} {fits}"
            );
        }
    }

    #[test]
    fn what_a_group_limits_has_all_its_headroom() {
        let room = |memory: u64, grouped, bytes: u64| {
            Memory { bytes: Bytes(memory << 20), grouped }.room_for(bytes << 20) >> 20
        };
        assert_eq!((room(64, true, 40), room(64, true, 64)), (1064, 1088));
        assert_eq!((room(64, false, 40), room(64, false, 64)), (48, 64));
        assert_eq!((room(8192, true, 40), room(8192, false, 40)), (1064, 1064));
    }

    #[test]
    fn a_part_of_every_disk_is_kept() {
        assert_eq!((reserve(10 * GIB), reserve(1000 * GIB)), (GIB / 2, 2 * GIB));
        assert_eq!((inodes(0), inodes(20 * GIB)), (65_536, 1_310_720));
    }
}
