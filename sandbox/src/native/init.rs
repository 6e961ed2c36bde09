//! The first process of the step's pid namespace: builds the root, seals itself, starts the step,
//! reaps, and kills what is left.
//!
//! 1. tells the build process who it is;
//! 2. builds the root and makes it `/`;
//! 3. network, names and the resolver stub;
//! 4. hands out descriptors of the writable places;
//! 5. seals itself;
//! 6. starts the step, always as process 2;
//! 7. waits, hears what the step wants of a network, looks which limits it meets, obeys;
//! 8. kills the rest and ends.
//!
//! When it ends, for whatever reason, the kernel kills all that is left in the namespace. So no
//! process of the step outlives it, and its pidfd is the proof.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::process::{
    PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, pidfd_open,
    set_parent_process_death_signal, wait,
};

use super::attempts::Attempts;
use super::error::{Doing, Failure, Naming};
use super::met::Lookout;
use super::resolver::Resolver;
use super::wire::{DESCRIPTORS_MAX, Facts, Order, TERMINATE, Word, receive, say};
use super::{apply, namespaces, seal, step, sys};

/// Runs the first process; never returns.
pub fn start(order: Order, socket: &OwnedFd, given: apply::Given) -> ! {
    match live(&order, socket, given) {
        Ok(()) => sys::exit_now(0),
        Err(failure) => {
            // If the build process is gone nobody is left to tell.
            let _ = say(socket.as_fd(), &Word::Failed(failure), &[]);
            sys::exit_now(1)
        }
    }
}

fn live(order: &Order, socket: &OwnedFd, mut given: apply::Given) -> Result<(), Failure> {
    // 1.
    set_parent_process_death_signal(Some(Signal::KILL)).or_fail(Doing::TieLife, "")?;
    // Else the name is that of a descriptor. It tells nothing of the host, and failing harms nobody.
    let _ = rustix::thread::set_name(c"kiln");
    let own = pidfd_open(getpid(), PidfdFlags::empty()).or_fail(Doing::FirstProcess, "pidfd")?;
    say(socket.as_fd(), &Word::First, &[own.as_fd()]).or_fail(Doing::Talk, "")?;
    drop(own);
    // 2.
    let _slot = given.slot.take();
    let built = build_root(order, given)?;
    // 3.
    namespaces::set_names()?;
    let resolver = match namespaces::loopback().and_then(|()| Resolver::bind()) {
        Ok(resolver) => Some(resolver),
        Err(_) if order.may_miss.network => None,
        Err(failure) => return Err(failure),
    };
    // 4.
    for (number, some) in built.opened.chunks(DESCRIPTORS_MAX).enumerate() {
        let fds: Vec<BorrowedFd<'_>> = some.iter().map(AsFd::as_fd).collect();
        let word = Word::Places { first: number * DESCRIPTORS_MAX };
        say(socket.as_fd(), &word, &fds).or_fail(Doing::Talk, "")?;
    }
    drop(built.opened);
    // 5.
    let signals = block_child_signal().or_fail(Doing::ResetSignals, "")?;
    let (mut facts, listener) = seal::seal(order, built.ceilings)?;
    // One that is the caller's, as where a kernel makes none for time, is none of the step's.
    facts.namespaces.retain(|name, link| order.host_namespaces.get(name) != Some(link));
    (facts.views_copied, facts.own_inodes) = (built.copied, !built.shared);
    facts.own_devices = built.own_devices;
    facts.network_heard = resolver.is_some() && listener.is_some();
    check(order, &facts)?;
    say(socket.as_fd(), &Word::Sealed(facts), &[]).or_fail(Doing::Talk, "")?;
    // 6.
    let mut lookout = Some(Lookout::start(order.most));
    let (twin, main) = sys::fork_child().or_fail(Doing::StepProcess, "")?;
    if let sys::Twin::New = twin {
        return Err(step::execute(&order.program));
    }
    step::leave_output().or_fail(Doing::StepProcess, "output")?;
    // 7.
    let mut attempts = Attempts::new(resolver, listener);
    let status = attend(&signals, socket, &mut attempts, &mut lookout, main, &obey)?;
    // 8.
    let left = kill_rest();
    let met = lookout.map(Lookout::finish).unwrap_or_default();
    let word = Word::Ended { status, left, met };
    say(socket.as_fd(), &word, &[]).or_fail(Doing::Talk, "")
}

/// What came of building the root.
struct Built {
    /// Descriptors of the writable places.
    opened: Vec<OwnedFd>,
    /// Whether a view had to be a copy.
    copied: bool,
    /// Whether something read-only has the host's inodes.
    shared: bool,
    /// Whether the device nodes are the step's own.
    own_devices: bool,
    /// What the step's user namespace may hold.
    ceilings: namespaces::Ceilings,
}

/// Builds the root as ordered and makes it `/`.
fn build_root(order: &Order, given: apply::Given) -> Result<Built, Failure> {
    let private =
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).or_fail(Doing::Private, "/")?;
    let mut stage = apply::make_base(given)?;
    // Overlay reads its three paths relative to the working folder.
    rustix::process::fchdir(&stage.base).or_fail(Doing::Point, "base")?;
    for op in &order.ops {
        apply::apply(&mut stage, op)?;
    }
    // Last: a mount that is not yet attached counts as a namespace of mounts.
    let ceilings = namespaces::set_ceilings(order.widen.nested)?;
    change_root(&stage)?;
    let apply::Stage { opened, copied, shared, own_devices, .. } = stage;
    Ok(Built { opened, copied, shared, own_devices, ceilings })
}

/// Makes `base/root` the root and lets go of the old one.
///
/// Of the old root nothing may stay, above all not stacked on the new one, where `/..` leads to it.
/// The base lies on top of it, so letting go takes more than one call; it is done when `/..` is `/`.
fn change_root(stage: &apply::Stage) -> Result<(), Failure> {
    /// More than are ever stacked: the base, the old root, and what a host may have put between.
    const STACKED_MAX: usize = 8;
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = openat(&stage.base, "root", folder, Mode::empty()).or_fail(Doing::Pivot, "root")?;
    let wanted = fstat(&root).or_fail(Doing::Pivot, "root")?;
    rustix::process::fchdir(&root).or_fail(Doing::Pivot, "root")?;
    // The old root ends up on top of the new one, where "." finds and detaches it.
    rustix::process::pivot_root(".", ".").or_fail(Doing::Pivot, ".")?;
    let is_root = |path: &str| {
        let got = rustix::fs::stat(path).or_fail(Doing::Pivot, path)?;
        Ok((got.st_dev, got.st_ino) == (wanted.st_dev, wanted.st_ino))
    };
    for _ in 0..STACKED_MAX {
        if is_root("/..")? {
            break;
        }
        rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH)
            .or_fail(Doing::Pivot, "old root")?;
    }
    rustix::process::chdir("/").or_fail(Doing::Pivot, "/")?;
    if is_root("/")? && is_root("/..")? && is_root(".")? {
        Ok(())
    } else {
        Err(Doing::Pivot.failed("/", &io::Error::from_raw_os_error(libc::EXDEV)))
    }
}

/// Compares what the kernel says with what was promised; nothing runs if they differ.
fn check(order: &Order, facts: &Facts) -> Result<(), Failure> {
    let own = |name: &str| facts.namespaces.contains_key(name);
    let lo_only = own("net") && facts.interfaces == ["lo"];
    let promises = [
        ("files", own("mnt") && facts.root_read_only),
        ("network", lo_only || order.may_miss.network),
        (
            "processes",
            own("pid") && own("ipc") && facts.ceilings && getpid().as_raw_nonzero().get() == 1,
        ),
        (
            "identity",
            own("user")
                && own("uts")
                && (!own("time") || namespaces::clocks_are_new())
                && facts.capabilities == Some(seal::kept(order.widen).bits())
                && facts.host == namespaces::HOST_NAME,
        ),
        (
            "limits",
            order.processors.as_ref().is_none_or(|some| facts.processors as usize == some.len()),
        ),
        ("syscalls", facts.no_new_privileges && (facts.filter || order.may_miss.syscalls)),
    ];
    match promises.iter().find(|(_, kept)| !kept) {
        None => Ok(()),
        Some((name, _)) => {
            Err(Doing::ReadBack.failed(name, &io::Error::from_raw_os_error(libc::EPERM)))
        }
    }
}

/// Blocks the signal of a child's end and returns the descriptor that tells of it instead.
pub fn block_child_signal() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(NixSignal::SIGCHLD);
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Waits for the main process; returns its exit code, or the negative number of its signal. What the
/// build process says meanwhile is done by `obey`.
pub fn attend(
    signals: &SignalFd,
    socket: &OwnedFd,
    attempts: &mut Attempts,
    lookout: &mut Option<Lookout>,
    main: i32,
    obey: &dyn Fn(&OwnedFd),
) -> Result<i32, Failure> {
    loop {
        let [ended, told, question, call] = wait_for(signals, socket, attempts, lookout.as_ref())?;
        if ended {
            while let Ok(Some(_)) = signals.read_signal() {}
            if let Some(status) = reap_ended(main) {
                return Ok(status);
            }
        }
        if told {
            obey(socket);
        }
        let heard = [
            question.then(|| attempts.answer_question()).flatten(),
            call.then(|| attempts.answer_call()).flatten(),
        ];
        for attempt in heard.into_iter().flatten() {
            say(socket.as_fd(), &Word::Wanted(attempt), &[]).or_fail(Doing::Talk, "")?;
        }
        if lookout.as_mut().is_some_and(Lookout::look) {
            say(socket.as_fd(), &Word::Over, &[]).or_fail(Doing::Talk, "")?;
        }
    }
}

/// Sleeps until something happens; says what did.
fn wait_for(
    signals: &SignalFd,
    socket: &OwnedFd,
    attempts: &Attempts,
    lookout: Option<&Lookout>,
) -> Result<[bool; 4], Failure> {
    let [stub, filter] = attempts.ears();
    let watched = [Some(signals.as_fd()), Some(socket.as_fd()), stub, filter];
    let (mut places, mut fds) = (Vec::with_capacity(4), Vec::with_capacity(4));
    for (place, fd) in watched.into_iter().enumerate() {
        if let Some(fd) = fd {
            places.push(place);
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
    }
    let mut ready = [false; 4];
    let left = lookout.and_then(|lookout| Timespec::try_from(lookout.left()).ok());
    match poll(&mut fds, left.as_ref()) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(ready),
        Err(cause) => return Err(Doing::Watch.failed("", &cause.into())),
    }
    for (place, fd) in places.into_iter().zip(&fds) {
        ready[place] = !fd.revents().is_empty();
    }
    Ok(ready)
}

/// Reaps every child that has ended; returns the status of the main one if it is among them.
fn reap_ended(main: i32) -> Option<i32> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid.as_raw_nonzero().get() == main {
            return Some(status_number(status));
        }
    }
    None
}

fn status_number(status: WaitStatus) -> i32 {
    status
        .exit_status()
        .or(status.terminating_signal().map(|signal| -signal))
        .unwrap_or(-libc::SIGKILL)
}

/// Does what the build process says. If it is gone, everything ends here.
fn obey(socket: &OwnedFd) {
    match receive(socket) {
        Ok((message, _)) if message == TERMINATE => {
            // Fails only if nothing is left to be told.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(-1), NixSignal::SIGTERM);
        }
        Ok((message, _)) if message.is_empty() => sys::exit_now(1),
        Ok(_) => {}
        Err(_) => sys::exit_now(1),
    }
}

/// Kills and reaps everything else in the namespace; returns how many were alive.
fn kill_rest() -> u32 {
    // Fails only if nothing is left to be killed.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(-1), NixSignal::SIGKILL);
    let mut left = 0;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((_, status))) if status.terminating_signal() == Some(libc::SIGKILL) => {
                left += 1
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return left,
        }
    }
}
