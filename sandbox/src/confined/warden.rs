//! The child of the build process that keeps a confined step: starts it, obeys, kills, proves.
//!
//! It stays root and outside the prepared root, where the step cannot reach it. The step's process is
//! its child and shuts itself in. Whatever the step starts has the step's user, and whatever loses its
//! parent becomes the warden's child. So the step is dead when a killer has signalled every process of
//! that user, no child is left to wait for, and a look at `/proc` finds nobody.
//!
//! One signal to all reaches also what is being started at that moment: the kernel lets no start finish
//! between (kill(2) to −1 against fork). If the build process is gone the warden ends the step by itself.
//!
//! Sends a signal to −1 only from a process that has proven to be the killer's user and no other.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use model::AbsPath;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, getresuid, setgroups, setresgid, setresuid};
use rustix::process::{WaitOptions, set_child_subreaper, set_parent_process_death_signal, wait};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use serde::{Deserialize, Serialize};

use super::shut;
use super::users::Users;
use crate::native::attempts::Attempts;
use crate::native::error::{Doing, Failure, Naming};
use crate::native::init::{attend, block_child_signal};
use crate::native::met::{self, Met};
use crate::native::wire::{KILL, Program, TERMINATE, Word, receive, say};
use crate::native::{step, sys};

/// How often a look may find somebody after all were killed.
const TRIES_MAX: u32 = 100;
/// How the killer ends when it signalled somebody, and when there was nobody.
const KILLED: [i32; 2] = [0, 3];
/// How it ends when it could not become the killer.
const NO_KILLER: i32 = 4;

/// Everything the warden has to know. The root comes as a descriptor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Who runs.
    pub users: Users,
    /// Processors to run on.
    pub processors: Option<Vec<usize>>,
    /// Places where Landlock allows writing.
    pub writable: Vec<AbsPath>,
    /// The step's own.
    pub program: Program,
    /// The filter, one instruction each: code, jump if true, jump if false, operand.
    pub filter: Vec<(u16, u8, u8, u32)>,
}

/// Runs the warden; never returns.
pub fn start(order: &Order, root: &OwnedFd, socket: &OwnedFd) -> ! {
    end(live(order, root, socket), socket)
}

/// Kills what is left of a step; never returns.
pub fn sweep(users: Users, socket: &OwnedFd) -> ! {
    end(kill_all(users).map(drop), socket)
}

fn end(result: Result<(), Failure>, socket: &OwnedFd) -> ! {
    match result {
        Ok(()) => sys::exit_now(0),
        Err(failure) => {
            // If the build process is gone nobody is left to tell.
            let _ = say(socket.as_fd(), &Word::Failed(failure), &[]);
            sys::exit_now(1)
        }
    }
}

fn live(order: &Order, root: &OwnedFd, socket: &OwnedFd) -> Result<(), Failure> {
    // It must outlive the build process by the time it takes to end the step.
    set_parent_process_death_signal(None).or_fail(Doing::TieLife, "")?;
    set_child_subreaper(Some(rustix::process::getpid())).or_fail(Doing::Subreaper, "")?;
    let signals = block_child_signal().or_fail(Doing::ResetSignals, "")?;
    let (twin, main) = sys::fork_child().or_fail(Doing::StepProcess, "")?;
    if let sys::Twin::New = twin {
        return Err(shut::become_step(order, root, socket));
    }
    step::leave_output().or_fail(Doing::StepProcess, "output")?;
    // Nothing is heard of what it wants of a network: it cannot make a socket to want it with.
    let mut attempts = Attempts::new(None, None);
    let obey = |socket: &OwnedFd| obey(order.users, main, socket);
    let status = attend(&signals, socket, &mut attempts, &mut None, main, &obey)?;
    let left = kill_all(order.users)?;
    let full = rustix::fs::fstatvfs(root).is_ok_and(|space| met::is_full(&space));
    let word = Word::Ended { status, left, met: Met { full, ..Met::default() } };
    say(socket.as_fd(), &word, &[]).or_fail(Doing::Talk, "")
}

/// Does what the build process says. If it is gone, everything ends here.
fn obey(users: Users, main: i32, socket: &OwnedFd) {
    match receive(socket) {
        // Reaped with the others. One that cannot be started is followed by a word to kill.
        Ok((message, _)) if message == TERMINATE => drop(start_killer(users, Signal::SIGTERM)),
        Ok((message, _)) if message == KILL => {
            // By its number too: it may not have its user yet. It is not reaped, so the number is its own.
            let _ = kill(Pid::from_raw(main), Signal::SIGKILL);
            drop(start_killer(users, Signal::SIGKILL));
        }
        Ok((message, _)) if !message.is_empty() => {}
        Ok(_) | Err(_) => {
            let _ = kill(Pid::from_raw(main), Signal::SIGKILL);
            end(kill_all(users).map(drop), socket)
        }
    }
}

/// Kills every process of the step's user and waits for every child; returns how many were alive.
fn kill_all(users: Users) -> Result<u32, Failure> {
    let mut left = 0;
    for _ in 0..TRIES_MAX {
        let killer = start_killer(users, Signal::SIGKILL).or_fail(Doing::KillByUser, "killer")?;
        loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == killer => {
                    if !status.exit_status().is_some_and(|code| KILLED.contains(&code)) {
                        let refused = io::Error::from_raw_os_error(libc::EPERM);
                        return Err(Doing::KillByUser.failed("killer", &refused));
                    }
                }
                Ok(Some((_, status))) if status.terminating_signal() == Some(libc::SIGKILL) => {
                    left += 1;
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                // No child is left: every descendant is dead.
                Err(_) => break,
            }
        }
        if users.alive().or_fail(Doing::KillByUser, "look")?.is_empty() {
            return Ok(left);
        }
        // Somebody who is no descendant, as after a kiln that was killed: dying, or to be killed again.
        std::thread::yield_now();
    }
    Err(Doing::KillByUser.failed("", &io::Error::from_raw_os_error(libc::EBUSY)))
}

/// Starts a process that signals every process of the step's user; returns its number.
fn start_killer(users: Users, signal: Signal) -> io::Result<i32> {
    let (twin, killer) = sys::fork_child()?;
    if let sys::Twin::Original = twin {
        return Ok(killer);
    }
    let code = match become_killer(users) {
        Ok(true) => match kill(Pid::from_raw(-1), signal) {
            Ok(()) => KILLED[0],
            Err(_) => KILLED[1],
        },
        Ok(false) | Err(_) => NO_KILLER,
    };
    sys::exit_now(code)
}

/// Takes the killer's ids and gives up every right; says whether it is now nobody but the killer.
fn become_killer(users: Users) -> io::Result<bool> {
    let (own, theirs) = (Uid::from_raw(users.killer), Uid::from_raw(users.step));
    let group = Gid::from_raw(users.killer);
    setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(own, theirs, own)?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets)?;
    let (now, held) = (getresuid()?, capabilities(None)?);
    let is_killer = (now.real, now.effective, now.saved) == (own, theirs, own);
    Ok(is_killer && !own.is_root() && !theirs.is_root() && held.effective.is_empty())
}
