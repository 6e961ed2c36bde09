//! The step's own process, from its first instant to `exec`: it shuts itself in and proves it.
//!
//! 1. what can only be opened outside;
//! 2. the prepared root becomes `/`;
//! 3. root's ids are given up for the step's;
//! 4. no capability;
//! 5. no new privileges;
//! 6. Landlock;
//! 7. the filter;
//! 8. what holds is read back, mostly by trying what must not work;
//! 9. the program.
//!
//! A root folder alone holds nobody with rights or with a descriptor from outside. This process has
//! neither when it executes the step: no capability, and no descriptor but its three standard ones.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use model::step::Widen;
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat, stat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, socketpair};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, set_capabilities_secure_bits, set_no_new_privs,
};

use super::preflight::LANDLOCK_LEAST;
use super::warden::Order;
use crate::native::child::raise_oom_score;
use crate::native::error::{Doing, Failure, Naming};
use crate::native::wire::{Facts, Word, say};
use crate::native::{landlock, seal, step, sys};

/// A name in `/` that nobody may make.
const FORBIDDEN: &str = "/kiln-read-back";

/// Becomes the step's program; returns only if it cannot.
pub fn become_step(order: &Order, root: &OwnedFd, socket: &OwnedFd) -> Failure {
    let sealed = shut_in(order, root)
        .and_then(|facts| say(socket.as_fd(), &Word::Sealed(facts), &[]).or_fail(Doing::Talk, ""));
    match sealed {
        Ok(()) => step::execute(&order.program),
        Err(failure) => failure,
    }
}

fn shut_in(order: &Order, root: &OwnedFd) -> Result<Facts, Failure> {
    // 1.
    let mut status = seal::own_status()?;
    raise_oom_score();
    // 2.
    rustix::process::fchdir(root).or_fail(Doing::Pivot, "root")?;
    rustix::process::chroot(".").or_fail(Doing::Pivot, "root")?;
    let random_addresses = step::fix_addresses().is_err();
    // 3. The rights stay until 4, which needs one of them to give them up for good.
    set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)
        .or_fail(Doing::Capabilities, "securebits")?;
    take_ids(order.users.step)?;
    // 4.
    seal::drop_capabilities(CapabilitySet::empty())?;
    // 5.
    set_no_new_privs(true).or_fail(Doing::NoNewPrivileges, "")?;
    // 6.
    let landlock = landlock::restrict(Widen::default(), &order.writable)?;
    // 7.
    let program: Vec<libc::sock_filter> = order
        .filter
        .iter()
        .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    sys::install_filter(&program).or_fail(Doing::Filter, "")?;
    // 8.
    let mut facts = Facts { landlock, random_addresses, ..Facts::default() };
    seal::read_rights(&mut facts, &mut status)?;
    check(order, root, &facts)?;
    Ok(facts)
}

fn take_ids(number: u32) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(number), Gid::from_raw(number));
    setgroups(&[]).or_fail(Doing::DropIds, "groups")?;
    setresgid(gid, gid, gid).or_fail(Doing::DropIds, "group")?;
    setresuid(uid, uid, uid).or_fail(Doing::DropIds, "user")
}

/// Compares what is with what was promised; nothing runs if they differ.
fn check(order: &Order, root: &OwnedFd, facts: &Facts) -> Result<(), Failure> {
    let promises = [
        ("files", facts.landlock.is_some_and(|abi| abi >= LANDLOCK_LEAST) && is_shut(root)),
        ("network", has_no_sockets()),
        ("identity", facts.capabilities == Some(0) && is_only(order.users.step)),
        ("syscalls", facts.no_new_privileges && facts.filter),
    ];
    match promises.iter().find(|(_, kept)| !kept) {
        None => Ok(()),
        Some((name, _)) => {
            Err(Doing::ReadBack.failed(name, &io::Error::from_raw_os_error(libc::EPERM)))
        }
    }
}

/// Says whether `/` is the prepared root, has nothing above it, and takes no new file.
fn is_shut(root: &OwnedFd) -> bool {
    let Ok(wanted) = fstat(root) else { return false };
    let is_root = |path: &str| {
        stat(path).is_ok_and(|got| (got.st_dev, got.st_ino) == (wanted.st_dev, wanted.st_ino))
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let refused = openat(CWD, FORBIDDEN, flags, Mode::empty()).err();
    ["/", "/..", "."].into_iter().all(is_root) && refused == Some(rustix::io::Errno::ACCESS)
}

/// Says whether every kind of socket that leads anywhere is refused.
fn has_no_sockets() -> bool {
    let refused = Some(rustix::io::Errno::AFNOSUPPORT);
    let families =
        [AddressFamily::INET, AddressFamily::INET6, AddressFamily::UNIX, AddressFamily::NETLINK];
    let none = families.into_iter().all(|family| {
        socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).err() == refused
    });
    // A datagram socket of a pair could be connected anew, and so to anybody.
    let pair = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).err();
    none && pair == refused
}

/// Says whether this process has one user, one group of the same number, and no other.
fn is_only(number: u32) -> bool {
    let user = getresuid().is_ok_and(|ids| {
        [ids.real, ids.effective, ids.saved].iter().all(|id| id.as_raw() == number)
    });
    let group = getresgid().is_ok_and(|ids| {
        [ids.real, ids.effective, ids.saved].iter().all(|id| id.as_raw() == number)
    });
    user && group && getgroups().is_ok_and(|others| others.is_empty())
}
