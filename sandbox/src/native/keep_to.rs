//! `keep_to`: what a process of kiln's own may open sockets for, from now on.
//!
//! For the attestor, which holds a key or a token and whose crate has no unsafe code. It is decided once and
//! can not be taken back. The process must have given up new privileges, and have one thread.
//!
//! And for the same process: how one thread of it is sent a signal.

use std::io;

use super::{seccomp, sys};

/// How far the sockets of this process reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Sockets of this host that have a path.
    Host,
    /// Those, and the network. The kernel is asked for routes by a family of its own.
    Network,
}

/// The signal of [`interrupt_thread`]: one that is ignored where nobody takes it.
pub const INTERRUPT: i32 = libc::SIGURG;

/// Sends a thread of this process a signal, by its number: what it waits for in the kernel, it waits for no longer.
///
/// # Errors
/// There is no such thread in this process.
pub fn interrupt_thread(thread: i32) -> io::Result<()> {
    sys::signal_thread(thread, INTERRUPT)
}

/// Refuses every socket beyond `reach`.
///
/// # Errors
/// What the kernel said; then nothing is refused.
pub fn keep_to(reach: Reach) -> io::Result<()> {
    let families: &[i32] = match reach {
        Reach::Host => &[libc::AF_UNIX],
        Reach::Network => &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK],
    };
    let program: Vec<libc::sock_filter> = seccomp::families_program(families)
        .into_iter()
        .map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    sys::install_filter(&program)
}
