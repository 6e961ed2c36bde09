//! The table: every system call with its verdict.
//!
//! Derived from what container engines allow by default, less what no build was seen to need. A name
//! that is in no group is answered EPERM. Sorted within each group. Profile `kiln/1`.
//!
//! Does no I/O.

use std::collections::BTreeMap;

use super::groups::{GROUPS, NATIVE_GROUPS};
use super::nested;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the kernel.
    Allow,
    /// It fails with this number.
    Errno(i32),
    /// It waits for a word of the first process, and then goes to the kernel.
    Wait,
    /// It depends on its arguments.
    If(Check),
}

/// A look at arguments. Each looks at low halves only, as the kernel does for the types in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// None of these bits is set; else `errno`.
    NoBits { argument: u8, bits: u32, errno: i32 },
    /// Argument 0 is another call than this one, in its low 16 bits, or none of these bits is set; else `errno`.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "calls of 32-bit x86"))]
    NoBitsOf { call: u32, argument: u8, bits: u32, errno: i32 },
    /// It is none of these; else EPERM.
    NoneOf { argument: u8, values: &'static [u32] },
    /// It is one of these; else `errno`.
    OneOf { argument: u8, values: &'static [u32], errno: i32 },
    /// If `flags` makes a file, `mode` has no set-id bit; else EPERM.
    CreateMode { flags: u8, mode: u8 },
    /// No set-id bit and no device; else EPERM.
    NodeMode { mode: u8 },
    /// The pointer is null; else as [`Verdict::Wait`].
    NoPointer { argument: u8 },
    /// One of these bits marks a call of the first process's own; else as [`Verdict::Wait`].
    NoMark { argument: u8, bits: u32 },
    /// The ids at `first` and after it are the step's own or `none`, which leaves them; else EPERM.
    OwnIds { first: u8, none: u32 },
    /// Argument 0 is one of these kinds, and argument 1 is not the first process; else EPERM.
    Whose { kinds: &'static [u32] },
    /// A listed family, or routing netlink; else EAFNOSUPPORT.
    Socket { family: u8, protocol: u8 },
}

/// Returns the check that none of these bits is set, with the usual answer.
pub const fn no_bits(argument: u8, bits: u32) -> Check {
    Check::NoBits { argument, bits, errno: libc::EPERM }
}

/// Some calls with one verdict and its reason.
pub struct Group {
    /// Why.
    pub why: &'static str,
    /// What.
    pub verdict: Verdict,
    /// Which, by number.
    pub calls: &'static [libc::c_long],
}

/// Newest number known to this table: `file_setattr`, Linux 6.17. Above it everything is ENOSYS.
pub const NEWEST: u32 = 469;
/// `CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET` of linux/sched.h.
pub const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// `CLONE_NEWTIME`; for clone itself this bit is part of the exit signal.
pub const NEW_TIME: u32 = 0x80;
/// Set-user-id and set-group-id.
pub const SET_ID: u32 = 0o6000;
/// `O_CREAT` and `__O_TMPFILE`: only then does open read its mode.
pub const MAKES_A_FILE: u32 = 0o20_000_100;
/// `MAP_HUGETLB`, `MFD_HUGETLB` and `SHM_HUGETLB`: huge pages are few, the host's, and counted by no limit of a
/// step. The numbers are what a kernel answers that has none, or none left.
pub const HUGE_MAP: Check = Check::NoBits { argument: 3, bits: 0x4_0000, errno: libc::ENOMEM };
/// The same for a file in memory.
pub const HUGE_FILE: Check = Check::NoBits { argument: 1, bits: 0x4, errno: libc::ENOSYS };
/// The same for a shared segment.
pub const HUGE_SEGMENT: Check = Check::NoBits { argument: 2, bits: 0x800, errno: libc::ENOMEM };
/// The same for `ipc`, one call for many: `SHMGET` of linux/ipc.h has its flags in the third argument after its
/// number. What stands above the low 16 bits is a version.
#[cfg(target_arch = "x86_64")]
pub const HUGE_SEGMENT_OF_IPC: Check =
    Check::NoBitsOf { call: 23, argument: 3, bits: 0x800, errno: libc::ENOMEM };
/// Families of sockets that a build may need: local, and the loopback's two.
pub const FAMILIES: [u32; 3] =
    [libc::AF_UNIX.unsigned_abs(), libc::AF_INET.unsigned_abs(), libc::AF_INET6.unsigned_abs()];
/// Execution domains that do not weaken anything: Linux, its 32-bit flag, old uname, unchanged.
pub const PERSONALITIES: [u32; 9] =
    [0, 0x8, 0x2_0000, 0x2_0008, 0x4_0000, 0x4_0008, 0x6_0000, 0x6_0008, 0xffff_ffff];
/// `TIOCSTI` and `TIOCLINUX` of asm-generic/ioctls.h: both put text into a terminal's input.
pub const TERMINAL_INPUT: [u32; 2] = [0x5412, 0x541c];

/// `F_SETLEASE`, `F_NOTIFY` and `F_SETPIPE_SZ` of linux/fcntl.h: what they set is seen beyond the step.
/// A lease makes another step's open of a file of the environment wait; a notice tells of it; pipe
/// sizes come out of one account of the step's user.
pub const SHARED_FILE_STATE: [u32; 3] = [1024, 1026, 1031];
/// The number of the first process in the step's own pid namespace: kiln's. It has the step's user, so
/// the kernel would let a step take its files and memory away (prlimit(2)), or its turn.
pub const FIRST_PROCESS: [u32; 1] = [1];

/// `PRIO_PROCESS` and `PRIO_PGRP` of sys/resource.h: by user (2), the first process is reached too.
pub const PRIORITY_KINDS: [u32; 2] = [0, 1];
/// `IOPRIO_WHO_PROCESS` and `IOPRIO_WHO_PGRP` of linux/ioprio.h; by user is 3.
pub const IO_PRIORITY_KINDS: [u32; 2] = [1, 2];

/// `MSG_CONFIRM`: what the first process's own answers are marked with, since it cannot wait for itself. It
/// means nothing on a loopback. A step that sets it is not heard, and no guarantee rests on hearing it.
pub const OWN_ANSWER: u32 = libc::MSG_CONFIRM.unsigned_abs();

/// Returns the verdict of each number that has one; `nested` says whether that option is on.
pub fn verdicts(nested: bool) -> BTreeMap<u32, Verdict> {
    let mut all = BTreeMap::new();
    for group in GROUPS.iter().chain(NATIVE_GROUPS) {
        debug_assert!(!group.why.is_empty());
        for number in group.calls {
            all.insert(u32::try_from(*number).unwrap_or(u32::MAX), group.verdict);
        }
    }
    for number in nested::ALLOWED.iter().filter(|_| nested) {
        all.insert(u32::try_from(*number).unwrap_or(u32::MAX), Verdict::Allow);
    }
    all
}

/// Returns the verdict of each number of the 32-bit interface that has one.
#[cfg(target_arch = "x86_64")]
pub fn verdicts_i386() -> BTreeMap<u32, Verdict> {
    let calls = super::i386::GROUPS.iter().flat_map(|group| {
        debug_assert!(!group.why.is_empty());
        group.calls.iter().map(|(_, number)| (*number, group.verdict))
    });
    calls.collect()
}

/// Returns how many calls get through, some only with the right arguments.
pub fn allowed_count(nested: bool) -> usize {
    verdicts(nested).values().filter(|verdict| !matches!(verdict, Verdict::Errno(_))).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_listed_twice_and_none_is_newer_than_the_newest() {
        let mut seen = std::collections::BTreeSet::new();
        for number in GROUPS.iter().chain(NATIVE_GROUPS).flat_map(|group| group.calls) {
            assert!(seen.insert(*number), "{number} twice");
            assert!(u32::try_from(*number).unwrap() <= NEWEST);
        }
    }

    #[test]
    fn calls_that_change_the_host_are_in_no_group() {
        let verdicts = verdicts(false);
        for number in [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_mount_setattr,
            libc::SYS_fsopen,
            libc::SYS_name_to_handle_at,
            libc::SYS_open_by_handle_at,
            libc::SYS_clock_settime,
            libc::SYS_clock_adjtime,
            libc::SYS_init_module,
            libc::SYS_kexec_load,
            libc::SYS_reboot,
            libc::SYS_vmsplice,
            libc::SYS_memfd_secret,
        ] {
            assert_eq!(verdicts.get(&u32::try_from(number).unwrap()), None, "{number}");
        }
    }
}
