//! Every raw system call: the only `unsafe` in the repository.
//!
//! Each block holds one call. What nix and rustix offer safely is not repeated here. Nothing here
//! decides anything: the order of the calls is in `child.rs` and `init.rs`.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Which process we are after [`clone_beside`] or [`fork_child`].
pub enum Twin {
    /// The old one.
    Original,
    /// The new one.
    New,
}

/// The kernel's `struct mount_attr` (`mount_setattr(2)`).
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Sets attributes on the mount `tree` points to, and on all below it if `recursive`; the whole is
/// made private, so that nothing mounted on the host later appears in it.
pub fn mount_attributes(tree: BorrowedFd<'_>, set: u64, recursive: bool) -> io::Result<()> {
    mount_attributes_with(tree, set, recursive, 0)
}

/// Sets attributes as [`mount_attributes`] does, and shows owners as the user namespace `owners` maps them.
pub fn mount_showing_owners(
    tree: BorrowedFd<'_>,
    set: u64,
    owners: BorrowedFd<'_>,
) -> io::Result<()> {
    /// `MOUNT_ATTR_IDMAP` of linux/mount.h.
    const SHOW_OWNERS: u64 = 0x0010_0000;
    mount_attributes_with(tree, set | SHOW_OWNERS, true, owners.as_raw_fd().unsigned_abs().into())
}

fn mount_attributes_with(
    tree: BorrowedFd<'_>,
    set: u64,
    recursive: bool,
    userns_fd: u64,
) -> io::Result<()> {
    let attr = MountAttr { attr_set: set, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal; `attr` lives through the call and its length is
    // its own; the kernel only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(result).map(drop)
}

/// Makes a copy of this process as a sibling: its parent is our parent.
///
/// Only for a process with one thread. The C library is not told, so the copy must not rely on
/// cached thread ids; it does not.
pub fn clone_beside() -> io::Result<Twin> {
    // SAFETY: no new stack and no shared memory: the copy has its own of everything, as after fork.
    // The one-thread rule of this module's callers keeps locks of other threads out of the picture.
    let result =
        unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0) };
    check(result).map(|pid| if pid == 0 { Twin::New } else { Twin::Original })
}

/// Makes a copy of this process as its child and returns its number in the original.
///
/// Only for a process with one thread.
pub fn fork_child() -> io::Result<(Twin, i32)> {
    // SAFETY: as in `clone_beside`.
    let result = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    check(result).map(|pid| match pid {
        0 => (Twin::New, 0),
        _ => (Twin::Original, i32::try_from(pid).unwrap_or(i32::MAX)),
    })
}

/// Makes a copy of this process as its child, in a user namespace of its own, and returns its number in the
/// original.
///
/// Only for a process with one thread.
pub fn fork_into_user_namespace() -> io::Result<(Twin, i32)> {
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    // SAFETY: as in `clone_beside`.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    check(result).map(|pid| match pid {
        0 => (Twin::New, 0),
        _ => (Twin::Original, i32::try_from(pid).unwrap_or(i32::MAX)),
    })
}

/// Ends this process at once, without running anything that the C library keeps for the end.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes no pointer and never returns.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from `first` up.
pub fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: no pointer is passed. The caller holds no owner of a descriptor in the range that it
    // will use again; a later drop of one fails with EBADF and harms nobody in a one-thread process
    // that opens nothing meanwhile.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    match check(result) {
        Err(cause) if is_unknown_call(&cause) => each_from(first, |number| {
            // SAFETY: as above.
            check(unsafe { libc::close(number) }.into())
        }),
        answer => answer.map(drop),
    }
}

/// Marks every descriptor from `first` up to be closed by exec.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: no pointer is passed, and no descriptor changes its meaning for its owner.
    let result = unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    match check(result) {
        Err(cause) if is_unknown_call(&cause) => each_from(first, |number| {
            // SAFETY: as above.
            check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }.into())
        }),
        answer => answer.map(drop),
    }
}

/// Says whether the kernel, or a filter around us that is older than the call, does not know it.
fn is_unknown_call(cause: &io::Error) -> bool {
    matches!(cause.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EPERM))
}

/// Does something to every open descriptor from `first` up, by the kernel's list of them.
fn each_from(first: RawFd, change: impl Fn(RawFd) -> io::Result<libc::c_long>) -> io::Result<()> {
    let mut open: Vec<RawFd> = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    for number in open.into_iter().filter(|number| *number >= first) {
        match change(number) {
            // The list's own, which is closed with the list.
            Err(cause) if cause.raw_os_error() == Some(libc::EBADF) => {}
            answer => drop(answer?),
        }
    }
    Ok(())
}

/// Takes descriptor `number` into ownership.
///
/// Only for the standard descriptors of the sandbox child, which it got from its parent and which
/// nothing else in it owns.
pub fn adopt(number: RawFd) -> OwnedFd {
    // SAFETY: the caller's promise above: open, and owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Makes `number` a copy of `source`, open across exec.
pub fn duplicate_onto(source: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: no pointer is passed; `number` is a standard descriptor that no owner refers to.
    check(unsafe { libc::dup2(source.as_raw_fd(), number) }.into()).map(drop)
}

/// Sets every signal back to its default action and blocks none.
///
/// The library's `signal` leaves the two that it keeps for itself as they are, and a caller may have
/// ignored them; so the call is raw.
pub fn reset_signals() -> io::Result<()> {
    /// The kernel's `struct sigaction`, zero: `SIG_DFL`, no flags, empty mask. On no architecture
    /// longer than this.
    const DEFAULT: [u64; 4] = [0; 4];
    /// Highest signal number, and size of the kernel's signal set in bytes.
    const SIGNALS: (libc::c_int, usize) = (64, 8);
    for signal in 1..=SIGNALS.0 {
        if matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
            continue;
        }
        let none: *const libc::c_void = std::ptr::null();
        // SAFETY: the kernel reads one `struct sigaction`, which `DEFAULT` covers, and writes nothing.
        // It names no handler, so no code of ours can run in a signal's context.
        let result = unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), none, SIGNALS.1)
        };
        check(result)?;
    }
    let empty = nix::sys::signal::SigSet::empty();
    empty.thread_set_mask().map_err(io::Error::from)
}

/// Sends a signal to one thread of this process.
pub fn signal_thread(thread: i32, signal: i32) -> io::Result<()> {
    let process = std::process::id();
    // SAFETY: no pointer is passed, and the thread is looked for in this process alone.
    check(unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) }).map(drop)
}

/// Switches the interface `lo` of the current network namespace on.
pub fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: `ifreq` is plain old data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives through the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(result.into()).map(drop)
}

/// Puts this process into the ordinary scheduling class.
pub fn ordinary_scheduling() -> io::Result<()> {
    // SAFETY: plain old data, for which all zeroes is a valid value.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel reads one `sched_param`, which lives through the call. 0 is this process.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameters) };
    check(result.into()).map(drop)
}

/// Lets the priority of input and output follow the nice value, as it does by default.
pub fn ordinary_input_output_priority() -> io::Result<()> {
    /// `IOPRIO_WHO_PROCESS` and `IOPRIO_CLASS_NONE` of linux/ioprio.h.
    const NONE: (libc::c_int, libc::c_int) = (1, 0);
    // SAFETY: no pointer is passed. 0 is this process.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, NONE.0, 0, NONE.1) }).map(drop)
}

/// Lets memory come from where the kernel likes.
pub fn ordinary_memory_policy() -> io::Result<()> {
    let none: *const libc::c_ulong = std::ptr::null();
    // SAFETY: the default policy wants no set of nodes, and gets none.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, libc::MPOL_DEFAULT, none, 0) };
    check(result).map(drop)
}

/// Lets same pages be merged, errors of the hardware be told, and the clocks of the processor be read, each as it
/// is by default.
pub fn ordinary_processor_and_pages() {
    /// `PR_SET_MEMORY_MERGE`, `PR_MCE_KILL` and `PR_SET_TSC` of linux/prctl.h, each with its default.
    const DEFAULTS: [(libc::c_int, libc::c_ulong); 3] = [(67, 0), (33, 0), (26, 1)];
    for (option, value) in DEFAULTS {
        // SAFETY: no pointer is passed. What this kernel does not know it does not do either.
        unsafe { libc::prctl(option, value, 0, 0, 0) };
    }
}

/// Says whether this process, and so all it starts, may not make memory that was written executable.
pub fn denies_write_then_execute() -> bool {
    /// `PR_GET_MDWE` of linux/prctl.h.
    const GET: libc::c_int = 66;
    // SAFETY: no pointer is passed. Negative on a kernel that does not know it, which denies nothing.
    unsafe { libc::prctl(GET, 0, 0, 0, 0) > 0 }
}

/// Fixes the execution domain of this process and what it executes.
pub fn set_personality(persona: u64) -> io::Result<()> {
    // SAFETY: no pointer is passed.
    check(unsafe { libc::personality(persona) }.into()).map(drop)
}

/// Installs a filter program for this thread, its children and what they execute.
pub fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length =
        u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let whole = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: `whole` points at `program` with its true length; the kernel copies it and keeps no
    // pointer.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const whole)
    };
    check(result).map(drop)
}

/// Installs a filter program as [`install_filter`] does; returns where the calls that wait are heard.
pub fn install_filter_with_listener(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let length =
        u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let whole = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    let listen = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // A call that was heard is not to be interrupted by a signal; kernels before 5.19 cannot promise it.
    for flags in [listen | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, listen] {
        // SAFETY: as in `install_filter`.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const whole)
        };
        match check(result) {
            Ok(number) => return Ok(adopt(RawFd::try_from(number).unwrap_or(-1))),
            Err(cause) if cause.raw_os_error() == Some(libc::EINVAL) => {}
            Err(cause) => return Err(cause),
        }
    }
    Err(io::ErrorKind::Unsupported.into())
}

/// A call of the step's that waits for a word.
pub struct Call {
    /// Its number at the listener.
    pub id: u64,
    /// The thread that made it.
    pub process: u32,
    /// Which call it is.
    pub names: Names,
    /// Whether it is a 32-bit program's, whose pointers are half as long.
    pub is_narrow: bool,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// How a call names an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// `connect(fd, address, length)`.
    Second,
    /// `sendto(fd, bytes, length, flags, address, length)`.
    Fifth,
    /// `sendmsg(fd, message, …)`, `sendmmsg(fd, messages, …)`: at the start of the message.
    InMessage,
}

/// Takes one waiting call.
pub fn next_call(listener: BorrowedFd<'_>) -> io::Result<Call> {
    /// The numbers of `connect` and `sendto`: of this machine, and of 32-bit programs on x86.
    const CONNECT: [libc::c_long; 2] = [libc::SYS_connect, 362];
    const SENDTO: [libc::c_long; 2] = [libc::SYS_sendto, 369];
    /// `AUDIT_ARCH_I386` of linux/audit.h.
    const NARROW: u32 = 0x4000_0003;
    // SAFETY: plain old data, for which all zeroes is a valid value; the kernel wants it zeroed.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes one `seccomp_notif`, which lives through the call.
    let result =
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) };
    check(result.into())?;
    Ok(Call {
        id: call.id,
        process: call.pid,
        names: match libc::c_long::from(call.data.nr) {
            number if CONNECT.contains(&number) => Names::Second,
            number if SENDTO.contains(&number) => Names::Fifth,
            _ => Names::InMessage,
        },
        is_narrow: call.data.arch == NARROW,
        arguments: call.data.args,
    })
}

/// Says whether a call still waits, and so its thread's number is still its own.
pub fn call_waits(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the request reads one number, which lives through the call.
    let result = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id)
    };
    result == 0
}

/// Lets a waiting call go to the kernel.
pub fn let_call_go_on(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    let flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1);
    let mut answer = libc::seccomp_notif_resp { id, val: 0, error: 0, flags };
    // SAFETY: the request reads one `seccomp_notif_resp`, which lives through the call.
    let result = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer)
    };
    check(result.into()).map(drop)
}

/// Reads memory of another process; returns how many bytes could be read.
pub fn read_other(process: u32, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let address = usize::try_from(address).map_err(invalid)?;
    let own = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let other =
        libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: into.len() };
    let process = libc::pid_t::try_from(process).map_err(invalid)?;
    // SAFETY: the kernel writes at most `into.len()` bytes to `into`; the other address is a number to
    // it, looked up in the other process, and an error if nothing is there.
    let result =
        unsafe { libc::process_vm_readv(process, &raw const own, 1, &raw const other, 1, 0) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Returns the newest Landlock interface of the running kernel, 0 where there is none.
pub fn landlock_abi() -> i32 {
    /// `LANDLOCK_CREATE_RULESET_VERSION` of `linux/landlock.h`.
    const VERSION: libc::c_uint = 1;
    let none: *const libc::c_void = std::ptr::null();
    // SAFETY: with this flag the kernel wants a null pointer and length 0, and makes no ruleset.
    let result = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, VERSION) };
    i32::try_from(result).unwrap_or(0).max(0)
}

/// What a process left when it ended.
pub struct Ended {
    /// Processor time of it and all its descendants that were waited for.
    pub cpu: Duration,
}

/// Reaps the child behind a pidfd if it has ended; `None` while it lives.
pub fn reap(child: impl AsFd) -> io::Result<Option<Ended>> {
    // SAFETY: both are plain old data, for which all zeroes is a valid value.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `siginfo_t` and one `rusage`, which live through the call. The
    // library's wrapper has no place for the fifth argument, so the call is raw.
    let result = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            child.as_fd().as_raw_fd(),
            &raw mut info,
            libc::WEXITED | libc::WNOHANG,
            &raw mut usage,
        )
    };
    check(result)?;
    // SAFETY: waitid filled the part that this accessor reads, or left it zero.
    if unsafe { info.si_pid() } == 0 {
        return Ok(None);
    }
    let span = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs())
            + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    Ok(Some(Ended { cpu: span(usage.ru_utime) + span(usage.ru_stime) }))
}
