//! Tries the place of a step from inside: its devices, and its loopback.
//!
//! What surrounds kiln can take single things away that no namespace gives back: a control group's rules on devices
//! or on sockets and addresses, which on version 2 are programs of BPF; rules of Landlock on ports. Nobody can list
//! them. A step that is refused one may go on by another branch and pass. So a rehearsal, which every build makes
//! before its first step, does in the step's own process what a step may do, and a refusal is told with its cause.
//!
//! Takes a fraction of a millisecond where nothing is refused.
//!
//! Does not catch: rules on single ports, or that come up after the rehearsal.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind, connect,
    getsockname, listen, recv, send, socket_with, sockopt,
};
use serde::{Deserialize, Serialize};

use super::error::{Doing, Failure, Naming};
use super::lists;

/// Longest wait for something to pass the loopback, which the kernel does at once. Rules may drop it in silence.
const WAIT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// What is tried before the program is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trial {
    /// Nothing: it is a step.
    None,
    /// The device nodes.
    Devices,
    /// These, and the loopback.
    Place,
}

/// Tries what a rehearsal is to try.
pub fn hold(trial: Trial) -> Result<(), Failure> {
    if trial != Trial::None {
        devices()?;
    }
    if trial == Trial::Place {
        [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            .into_iter()
            .try_for_each(|address| loopback(SocketAddr::new(address, 0)))?;
    }
    Ok(())
}

fn devices() -> Result<(), Failure> {
    for (name, _, _) in lists::DEVICES {
        let path = format!("/dev/{name}");
        for (flags, how) in [(OFlags::RDONLY, "read"), (OFlags::WRONLY, "write")] {
            openat(CWD, &*path, flags | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
                .or_fail(Doing::TryDevice, &format!("{path} to {how}"))?;
        }
    }
    Ok(())
}

/// Lets one byte pass by a connection and one by a datagram. A host may be without IPv6, and then so is a step.
fn loopback(at: SocketAddr) -> Result<(), Failure> {
    let named = |how: &str| format!("{how} {}", at.ip());
    let stream = match socket(at, SocketType::STREAM) {
        Err(Errno::AFNOSUPPORT) if at.is_ipv6() => return Ok(()),
        made => made.or_fail(Doing::TryLoopback, &named("socket"))?,
    };
    match bind(&stream, &at) {
        Err(Errno::ADDRNOTAVAIL) if at.is_ipv6() => return Ok(()),
        bound => bound.or_fail(Doing::TryLoopback, &named("bind"))?,
    }
    listen(&stream, 1).or_fail(Doing::TryLoopback, &named("listen"))?;
    by_connection(&stream, at).or_fail(Doing::TryLoopback, &named("connect"))?;
    by_datagram(at).or_fail(Doing::TryLoopback, &named("datagram"))
}

fn by_connection(listening: &OwnedFd, at: SocketAddr) -> io::Result<()> {
    let client = socket(at, SocketType::STREAM)?;
    match connect(&client, &getsockname(listening)?) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(cause) => return Err(cause.into()),
    }
    await_it(&client, PollFlags::OUT)?;
    sockopt::socket_error(&client)??;
    await_it(listening, PollFlags::IN)?;
    let server = accept_with(listening, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    pass(&client, &server)
}

fn by_datagram(at: SocketAddr) -> io::Result<()> {
    let socket = socket(at, SocketType::DGRAM)?;
    bind(&socket, &at)?;
    connect(&socket, &getsockname(&socket)?)?;
    pass(&socket, &socket)
}

fn pass(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    send(from, b"x", SendFlags::NOSIGNAL)?;
    await_it(to, PollFlags::IN)?;
    recv(to, &mut [0; 1][..], RecvFlags::empty())?;
    Ok(())
}

fn socket(at: SocketAddr, kind: SocketType) -> rustix::io::Result<OwnedFd> {
    let family = if at.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

fn await_it(socket: &OwnedFd, what: PollFlags) -> io::Result<()> {
    let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), what)];
    match poll(&mut fds, Some(&WAIT))? {
        0 => Err(Errno::TIMEDOUT.into()),
        _ => Ok(()),
    }
}
