//! The table: every system call with its verdict, in groups with the reason of each.
//!
//! Derived from what container engines allow by default, less what no build was seen to need. A name
//! that is in no group is answered EPERM. Sorted within each group. Profile `kiln/1`.
//!
//! Does no I/O.

use std::collections::BTreeMap;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the kernel.
    Allow,
    /// It fails with this number.
    Errno(i32),
    /// It depends on its arguments.
    If(Check),
}

/// A look at arguments. Each looks at low halves only, as the kernel does for the types in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// None of these bits is set; else EPERM.
    NoBits { argument: u8, bits: u32 },
    /// It is none of these; else EPERM.
    NoneOf { argument: u8, values: &'static [u32] },
    /// It is one of these; else `errno`.
    OneOf { argument: u8, values: &'static [u32], errno: i32 },
    /// If `flags` makes a file, `mode` has no set-id bit; else EPERM.
    CreateMode { flags: u8, mode: u8 },
    /// No set-id bit and no device; else EPERM.
    NodeMode { mode: u8 },
    /// A listed family, or routing netlink; else EAFNOSUPPORT.
    Socket { family: u8, protocol: u8 },
}

/// Some calls with one verdict and its reason.
struct Group {
    why: &'static str,
    verdict: Verdict,
    calls: &'static [libc::c_long],
}

/// Newest number known to this table: `file_setattr`, Linux 6.17. Above it everything is ENOSYS.
pub const NEWEST: u32 = 469;
/// `CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET` of linux/sched.h.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// `CLONE_NEWTIME`; for clone itself this bit is part of the exit signal.
const NEW_TIME: u32 = 0x80;
/// Set-user-id and set-group-id.
pub const SET_ID: u32 = 0o6000;
/// `O_CREAT` and `__O_TMPFILE`: only then does open read its mode.
pub const MAKES_A_FILE: u32 = 0o20_000_100;
/// Families of sockets that a build may need: local, and the loopback's two.
pub const FAMILIES: [u32; 3] =
    [libc::AF_UNIX.unsigned_abs(), libc::AF_INET.unsigned_abs(), libc::AF_INET6.unsigned_abs()];
/// Execution domains that do not weaken anything: Linux, its 32-bit flag, old uname, unchanged.
const PERSONALITIES: [u32; 9] =
    [0, 0x8, 0x2_0000, 0x2_0008, 0x4_0000, 0x4_0008, 0x6_0000, 0x6_0008, 0xffff_ffff];
/// `TIOCSTI` and `TIOCLINUX` of asm-generic/ioctls.h: both put text into a terminal's input.
const TERMINAL_INPUT: [u32; 2] = [0x5412, 0x541c];

// Calls that the `libc` crate has no name for yet; but for the first, one number on every architecture.
#[cfg(target_arch = "x86_64")]
const SYS_IO_PGETEVENTS: libc::c_long = 333;
#[cfg(target_arch = "aarch64")]
const SYS_IO_PGETEVENTS: libc::c_long = 292;
const SYS_CACHESTAT: libc::c_long = 451;
const SYS_MAP_SHADOW_STACK: libc::c_long = 453;
const SYS_FUTEX_WAKE: libc::c_long = 454;
const SYS_FUTEX_WAIT: libc::c_long = 455;
const SYS_FUTEX_REQUEUE: libc::c_long = 456;
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_GETXATTRAT: libc::c_long = 464;
const SYS_LISTXATTRAT: libc::c_long = 465;
const SYS_REMOVEXATTRAT: libc::c_long = 466;

/// Returns the verdict of each number that has one.
pub fn verdicts() -> BTreeMap<u32, Verdict> {
    let mut all = BTreeMap::new();
    for group in GROUPS.iter().chain(NATIVE_GROUPS) {
        debug_assert!(!group.why.is_empty());
        for number in group.calls {
            all.insert(u32::try_from(*number).unwrap_or(u32::MAX), group.verdict);
        }
    }
    all
}

/// Returns how many calls get through, some only with the right arguments.
pub fn allowed_count() -> usize {
    verdicts().values().filter(|verdict| !matches!(verdict, Verdict::Errno(_))).count()
}

const GROUPS: &[Group] = &[
    Group {
        why: "Reading, writing and describing open files.",
        verdict: Verdict::Allow,
        calls: &[
            libc::SYS_close,
            libc::SYS_close_range,
            libc::SYS_copy_file_range,
            libc::SYS_dup,
            libc::SYS_dup3,
            libc::SYS_fadvise64,
            libc::SYS_fallocate,
            libc::SYS_fcntl,
            libc::SYS_fdatasync,
            libc::SYS_flock,
            libc::SYS_fstat,
            libc::SYS_fsync,
            libc::SYS_ftruncate,
            libc::SYS_lseek,
            libc::SYS_pread64,
            libc::SYS_preadv,
            libc::SYS_preadv2,
            libc::SYS_pwrite64,
            libc::SYS_pwritev,
            libc::SYS_pwritev2,
            libc::SYS_read,
            libc::SYS_readahead,
            libc::SYS_readv,
            libc::SYS_sendfile,
            libc::SYS_splice,
            libc::SYS_sync,
            libc::SYS_sync_file_range,
            libc::SYS_syncfs,
            libc::SYS_tee,
            libc::SYS_write,
            libc::SYS_writev,
        ],
    },
    Group {
        why: "Names, links and attributes; what may be touched is decided by mounts.",
        verdict: Verdict::Allow,
        calls: &[
            libc::SYS_chdir,
            libc::SYS_faccessat,
            libc::SYS_faccessat2,
            libc::SYS_fchdir,
            libc::SYS_fchown,
            libc::SYS_fchownat,
            libc::SYS_fgetxattr,
            libc::SYS_flistxattr,
            libc::SYS_fremovexattr,
            libc::SYS_fsetxattr,
            libc::SYS_fstatfs,
            libc::SYS_getcwd,
            libc::SYS_getdents64,
            libc::SYS_getxattr,
            SYS_GETXATTRAT,
            libc::SYS_lgetxattr,
            libc::SYS_linkat,
            libc::SYS_listxattr,
            SYS_LISTXATTRAT,
            libc::SYS_llistxattr,
            libc::SYS_lremovexattr,
            libc::SYS_lsetxattr,
            libc::SYS_mkdirat,
            libc::SYS_newfstatat,
            libc::SYS_readlinkat,
            libc::SYS_removexattr,
            SYS_REMOVEXATTRAT,
            libc::SYS_renameat,
            libc::SYS_renameat2,
            libc::SYS_setxattr,
            SYS_SETXATTRAT,
            libc::SYS_statfs,
            libc::SYS_statx,
            libc::SYS_symlinkat,
            libc::SYS_truncate,
            libc::SYS_umask,
            libc::SYS_unlinkat,
            libc::SYS_utimensat,
        ],
    },
    Group {
        why: "Opens by a structure behind a pointer, which a filter cannot read; capture refuses what it could make.",
        verdict: Verdict::Allow,
        calls: &[libc::SYS_openat2],
    },
    Group {
        why: "Memory of the own process.",
        verdict: Verdict::Allow,
        calls: &[
            libc::SYS_brk,
            SYS_CACHESTAT,
            libc::SYS_madvise,
            SYS_MAP_SHADOW_STACK,
            libc::SYS_membarrier,
            libc::SYS_memfd_create,
            libc::SYS_mincore,
            libc::SYS_mlock,
            libc::SYS_mlock2,
            libc::SYS_mlockall,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_mremap,
            libc::SYS_mseal,
            libc::SYS_msync,
            libc::SYS_munlock,
            libc::SYS_munlockall,
            libc::SYS_munmap,
            libc::SYS_pkey_alloc,
            libc::SYS_pkey_free,
            libc::SYS_pkey_mprotect,
            libc::SYS_process_madvise,
            libc::SYS_process_mrelease,
            libc::SYS_remap_file_pages,
        ],
    },
    Group {
        why: "Starting, ending and waiting for own processes and threads.",
        verdict: Verdict::Allow,
        calls: &[
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_exit,
            libc::SYS_exit_group,
            libc::SYS_get_robust_list,
            libc::SYS_getpgid,
            libc::SYS_getpid,
            libc::SYS_getppid,
            libc::SYS_getpriority,
            libc::SYS_getrlimit,
            libc::SYS_getrusage,
            libc::SYS_getsid,
            libc::SYS_gettid,
            libc::SYS_kill,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_send_signal,
            libc::SYS_prctl,
            libc::SYS_prlimit64,
            libc::SYS_restart_syscall,
            libc::SYS_rseq,
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigpending,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_rt_sigreturn,
            libc::SYS_rt_sigsuspend,
            libc::SYS_rt_sigtimedwait,
            libc::SYS_rt_tgsigqueueinfo,
            libc::SYS_set_robust_list,
            libc::SYS_set_tid_address,
            libc::SYS_setpgid,
            libc::SYS_setpriority,
            libc::SYS_setrlimit,
            libc::SYS_setsid,
            libc::SYS_sigaltstack,
            libc::SYS_tgkill,
            libc::SYS_times,
            libc::SYS_tkill,
            libc::SYS_wait4,
            libc::SYS_waitid,
        ],
    },
    Group {
        why: "Debuggers and leak checkers look into own children; the pid namespace holds nobody else.",
        verdict: Verdict::Allow,
        calls: &[libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_ptrace],
    },
    Group {
        why: "Scheduling of own threads.",
        verdict: Verdict::Allow,
        calls: &[
            libc::SYS_getcpu,
            libc::SYS_ioprio_get,
            libc::SYS_ioprio_set,
            libc::SYS_sched_get_priority_max,
            libc::SYS_sched_get_priority_min,
            libc::SYS_sched_getaffinity,
            libc::SYS_sched_getattr,
            libc::SYS_sched_getparam,
            libc::SYS_sched_getscheduler,
            libc::SYS_sched_rr_get_interval,
            libc::SYS_sched_setaffinity,
            libc::SYS_sched_setattr,
            libc::SYS_sched_setparam,
            libc::SYS_sched_setscheduler,
            libc::SYS_sched_yield,
        ],
    },
    Group {
        why: "Waiting and waking.",
        verdict: Verdict::Allow,
        calls: &[
            libc::SYS_epoll_create1,
            libc::SYS_epoll_ctl,
            libc::SYS_epoll_pwait,
            libc::SYS_epoll_pwait2,
            libc::SYS_eventfd2,
            libc::SYS_futex,
            SYS_FUTEX_REQUEUE,
            SYS_FUTEX_WAIT,
            libc::SYS_futex_waitv,
            SYS_FUTEX_WAKE,
            libc::SYS_inotify_add_watch,
            libc::SYS_inotify_init1,
            libc::SYS_inotify_rm_watch,
            libc::SYS_io_cancel,
            libc::SYS_io_destroy,
            libc::SYS_io_getevents,
            SYS_IO_PGETEVENTS,
            libc::SYS_io_setup,
            libc::SYS_io_submit,
            libc::SYS_ppoll,
            libc::SYS_pselect6,
            libc::SYS_signalfd4,
        ],
    },
    Group {
        why: "Reading clocks and setting timers; setting a clock is not listed.",
        verdict: Verdict::Allow,
        calls: &[
            libc::SYS_clock_getres,
            libc::SYS_clock_gettime,
            libc::SYS_clock_nanosleep,
            libc::SYS_getitimer,
            libc::SYS_gettimeofday,
            libc::SYS_nanosleep,
            libc::SYS_setitimer,
            libc::SYS_timer_create,
            libc::SYS_timer_delete,
            libc::SYS_timer_getoverrun,
            libc::SYS_timer_gettime,
            libc::SYS_timer_settime,
            libc::SYS_timerfd_create,
            libc::SYS_timerfd_gettime,
            libc::SYS_timerfd_settime,
        ],
    },
    Group {
        why: "Ids and capabilities: one id and none, so these change nothing, but programs ask.",
        verdict: Verdict::Allow,
        calls: &[
            libc::SYS_capget,
            libc::SYS_capset,
            libc::SYS_getegid,
            libc::SYS_geteuid,
            libc::SYS_getgid,
            libc::SYS_getgroups,
            libc::SYS_getresgid,
            libc::SYS_getresuid,
            libc::SYS_getuid,
            libc::SYS_setfsgid,
            libc::SYS_setfsuid,
            libc::SYS_setgid,
            libc::SYS_setgroups,
            libc::SYS_setregid,
            libc::SYS_setresgid,
            libc::SYS_setresuid,
            libc::SYS_setreuid,
            libc::SYS_setuid,
        ],
    },
    Group {
        why: "Talking over sockets; which sockets exist is decided below.",
        verdict: Verdict::Allow,
        calls: &[
            libc::SYS_accept,
            libc::SYS_accept4,
            libc::SYS_bind,
            libc::SYS_connect,
            libc::SYS_getpeername,
            libc::SYS_getsockname,
            libc::SYS_getsockopt,
            libc::SYS_listen,
            libc::SYS_recvfrom,
            libc::SYS_recvmmsg,
            libc::SYS_recvmsg,
            libc::SYS_sendmmsg,
            libc::SYS_sendmsg,
            libc::SYS_sendto,
            libc::SYS_setsockopt,
            libc::SYS_shutdown,
        ],
    },
    Group {
        why: "System V and POSIX queues, private to the ipc namespace.",
        verdict: Verdict::Allow,
        calls: &[
            libc::SYS_mq_getsetattr,
            libc::SYS_mq_notify,
            libc::SYS_mq_open,
            libc::SYS_mq_timedreceive,
            libc::SYS_mq_timedsend,
            libc::SYS_mq_unlink,
            libc::SYS_msgctl,
            libc::SYS_msgget,
            libc::SYS_msgrcv,
            libc::SYS_msgsnd,
            libc::SYS_pipe2,
            libc::SYS_semctl,
            libc::SYS_semget,
            libc::SYS_semop,
            libc::SYS_semtimedop,
            libc::SYS_shmat,
            libc::SYS_shmctl,
            libc::SYS_shmdt,
            libc::SYS_shmget,
        ],
    },
    Group {
        why: "Facts of the system that are on the documented list, and randomness.",
        verdict: Verdict::Allow,
        calls: &[libc::SYS_getrandom, libc::SYS_sysinfo, libc::SYS_uname],
    },
    Group {
        why: "A step may shut itself in further.",
        verdict: Verdict::Allow,
        calls: &[
            libc::SYS_landlock_add_rule,
            libc::SYS_landlock_create_ruleset,
            libc::SYS_landlock_restrict_self,
            libc::SYS_seccomp,
        ],
    },
    Group {
        why: "It gets around a filter, and carried most exploits of its years; libraries fall back.",
        verdict: Verdict::Errno(libc::ENOSYS),
        calls: &[libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_io_uring_setup],
    },
    Group {
        why: "Its flags lie behind a pointer; the C library falls back to clone.",
        verdict: Verdict::Errno(libc::ENOSYS),
        calls: &[libc::SYS_clone3],
    },
    Group {
        why: "Key rings are shared with the host.",
        verdict: Verdict::Errno(libc::ENOSYS),
        calls: &[libc::SYS_add_key, libc::SYS_keyctl, libc::SYS_request_key],
    },
    Group {
        why: "It makes races in the kernel easy to win; nothing needs it.",
        verdict: Verdict::Errno(libc::ENOSYS),
        calls: &[libc::SYS_userfaultfd],
    },
    Group {
        why: "Threads and processes, but no new namespaces.",
        verdict: Verdict::If(Check::NoBits { argument: 0, bits: NEW_NAMESPACES }),
        calls: &[libc::SYS_clone],
    },
    Group {
        why: "Private file tables, but no new namespaces.",
        verdict: Verdict::If(Check::NoBits { argument: 0, bits: NEW_NAMESPACES | NEW_TIME }),
        calls: &[libc::SYS_unshare],
    },
    Group {
        why: "No keystroke may be forged into a terminal.",
        verdict: Verdict::If(Check::NoneOf { argument: 1, values: &TERMINAL_INPUT }),
        calls: &[libc::SYS_ioctl],
    },
    Group {
        why: "Only execution domains that weaken nothing.",
        verdict: Verdict::If(Check::OneOf {
            argument: 0,
            values: &PERSONALITIES,
            errno: libc::EPERM,
        }),
        calls: &[libc::SYS_personality],
    },
    Group {
        why: "Local and loopback sockets only; other families reach the kernel's odd corners.",
        verdict: Verdict::If(Check::Socket { family: 0, protocol: 2 }),
        calls: &[libc::SYS_socket],
    },
    Group {
        why: "Pairs exist for local sockets only.",
        verdict: Verdict::If(Check::OneOf {
            argument: 0,
            values: &[libc::AF_UNIX.unsigned_abs()],
            errno: libc::EAFNOSUPPORT,
        }),
        calls: &[libc::SYS_socketpair],
    },
    Group {
        why: "No file that gives its user's rights to whoever runs it.",
        verdict: Verdict::If(Check::NoBits { argument: 1, bits: SET_ID }),
        calls: &[libc::SYS_fchmod],
    },
    Group {
        why: "The same, by name.",
        verdict: Verdict::If(Check::NoBits { argument: 2, bits: SET_ID }),
        calls: &[libc::SYS_fchmodat, libc::SYS_fchmodat2],
    },
    Group {
        why: "The same, where a file is made.",
        verdict: Verdict::If(Check::CreateMode { flags: 2, mode: 3 }),
        calls: &[libc::SYS_openat],
    },
    Group {
        why: "The same, and no device.",
        verdict: Verdict::If(Check::NodeMode { mode: 2 }),
        calls: &[libc::SYS_mknodat],
    },
];

/// Calls that only this architecture has.
#[cfg(target_arch = "x86_64")]
const NATIVE_GROUPS: &[Group] = &[
    Group {
        why: "Older forms of calls above, which x86_64 still has.",
        verdict: Verdict::Allow,
        calls: &[
            libc::SYS_access,
            libc::SYS_alarm,
            libc::SYS_arch_prctl,
            libc::SYS_chown,
            libc::SYS_dup2,
            libc::SYS_epoll_create,
            libc::SYS_epoll_wait,
            libc::SYS_eventfd,
            libc::SYS_fork,
            libc::SYS_futimesat,
            libc::SYS_getdents,
            libc::SYS_getpgrp,
            libc::SYS_inotify_init,
            libc::SYS_lchown,
            libc::SYS_link,
            libc::SYS_lstat,
            libc::SYS_mkdir,
            libc::SYS_pause,
            libc::SYS_pipe,
            libc::SYS_poll,
            libc::SYS_readlink,
            libc::SYS_rename,
            libc::SYS_rmdir,
            libc::SYS_select,
            libc::SYS_signalfd,
            libc::SYS_stat,
            libc::SYS_symlink,
            libc::SYS_time,
            libc::SYS_unlink,
            libc::SYS_utime,
            libc::SYS_utimes,
            libc::SYS_vfork,
        ],
    },
    Group {
        why: "Older form of openat.",
        verdict: Verdict::If(Check::CreateMode { flags: 1, mode: 2 }),
        calls: &[libc::SYS_open],
    },
    Group {
        why: "Older forms of fchmodat and openat.",
        verdict: Verdict::If(Check::NoBits { argument: 1, bits: SET_ID }),
        calls: &[libc::SYS_chmod, libc::SYS_creat],
    },
    Group {
        why: "Older form of mknodat.",
        verdict: Verdict::If(Check::NodeMode { mode: 1 }),
        calls: &[libc::SYS_mknod],
    },
];

/// Calls that only this architecture has.
#[cfg(not(target_arch = "x86_64"))]
const NATIVE_GROUPS: &[Group] = &[];

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
        let verdicts = verdicts();
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
