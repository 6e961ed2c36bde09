//! The sandbox child: kiln's own program, executed again, with one thread and one order.
//!
//! 1. nothing inherited: descriptors, signals, umask, session, terminal;
//! 2. the order is read;
//! 3. as root: sources are opened while we may, then root is given up for one outer id;
//! 4. namespaces and the id map; from here root and rootless are the same path;
//! 5. not as root: sources are opened now, since cloning a mount needs the new user namespace;
//! 6. once in the step's control group, the first process of the new pid namespace starts, as a
//!    child of the build process, and this one ends.
//!
//! A confined step has no namespaces: its child goes another way after 2 (`confined/warden.rs`).
//!
//! Never returns to `main`. Never has a second thread. Writes nothing on the host.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::Mode;
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::CpuSet;

use super::error::{Doing, Failure, Naming};
use super::outer::Outer;
use super::wire::{CONFINED, GO_ON, KEEP, Order, SWEEP, Word, receive, say, unpack};
use super::{apply, inherited, init, mounts, namespaces, sys};
use crate::confined;
use crate::docker;

/// What the child is called instead of a program's name. Nobody starts kiln under it by accident.
pub const MARK: &str = "kiln: sandbox child";
/// How likely the kernel kills the step before other processes when memory runs out
/// (`/proc/PID/oom_score_adj`, -1000 to 1000).
const OOM_SCORE: &str = "500";

/// Runs the sandbox child if this process was started as one; then it never returns.
///
/// Must be the first thing `main` does: the child needs to be alone in its process.
pub fn enter_child_if_asked() {
    let asked = std::env::args_os().next().is_some_and(|name| name.as_bytes() == MARK.as_bytes());
    if asked {
        start();
    }
}

fn start() -> ! {
    let stdin = sys::adopt(0);
    // 1. Before anything else is opened.
    let closed = sys::close_from(3);
    // Away from the standard descriptors, which become the step's.
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(&stdin, 3) else { sys::exit_now(1) };
    match closed.or_fail(Doing::CloseDescriptors, "").and_then(|()| prepare(&socket)) {
        Ok(Asked::Namespaces(first)) => init::start(first.order, &socket, first.given),
        Ok(Asked::Confined { order, root }) => confined::start(&order, &root, &socket),
        Ok(Asked::Sweep(users)) => confined::sweep(users, &socket),
        Ok(Asked::Keep(kept)) => docker::keep(&kept, &socket),
        Err(failure) => {
            // If the build process is gone nobody is left to tell.
            let _ = say(socket.as_fd(), &Word::Failed(failure), &[]);
            sys::exit_now(1)
        }
    }
}

/// What this process was asked to be.
enum Asked {
    /// The first process of namespaces of its own.
    Namespaces(Box<First>),
    /// The warden of a confined step.
    Confined { order: confined::Order, root: OwnedFd },
    /// The end of all processes of a confined step's user.
    Sweep(confined::Users),
    /// The keeper of an engine's container.
    Keep(docker::Kept),
}

/// What the first process needs.
struct First {
    order: Order,
    given: apply::Given,
}

fn prepare(socket: &OwnedFd) -> Result<Asked, Failure> {
    // 1.
    sys::reset_signals().or_fail(Doing::ResetSignals, "")?;
    set_parent_process_death_signal(Some(Signal::KILL)).or_fail(Doing::TieLife, "")?;
    rustix::process::umask(Mode::from(0o022));
    inherited::set_back();
    // Already a leader only if somebody started us by hand.
    let _ = rustix::process::setsid();
    // A step of many inputs needs many descriptors here; its own limit is set later.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })
        .or_fail(Doing::ResourceLimits, "files")?;
    // The same for every step, so made while none waits. Refused to a root without CAP_MKNOD: then they are
    // the host's, which is told.
    let ours = rustix::process::geteuid().is_root().then(mounts::own_devices);
    // 2.
    let (word, fds) = receive(socket).or_fail(Doing::Talk, "")?;
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or(io::Error::from(io::ErrorKind::UnexpectedEof));
    let file = next().or_fail(Doing::Talk, "")?;
    if word == SWEEP {
        return Ok(Asked::Sweep(unpack(file).or_fail(Doing::Talk, "order")?.0));
    }
    if word == KEEP {
        return Ok(Asked::Keep(unpack(file).or_fail(Doing::Talk, "order")?.0));
    }
    if word == CONFINED {
        let (order, _) = unpack::<confined::Order>(file).or_fail(Doing::Talk, "order")?;
        pin_all(order.processors.as_deref())?;
        await_group(socket)?;
        return Ok(Asked::Confined { order, root: next().or_fail(Doing::Talk, "root")? });
    }
    let (order, bodies) = unpack::<Order>(file).or_fail(Doing::Talk, "order")?;
    pin_all(order.processors.as_deref())?;
    raise_oom_score();
    // 3.
    let (mut sources, mut devices, mut slot) = (None, None, None);
    if let Some(Outer { uid, gid, shown }) = order.outer {
        let outer = (uid, gid);
        hand_pipes(outer).or_fail(Doing::HandPipes, "")?;
        let mut owners = None;
        if let Some(owner) = shown {
            // With a slot comes its lock, and the namespace if there is one already.
            (slot, owners) = (fds.next(), fds.next());
            owners = Some(match owners {
                Some(made) => made,
                None => make_owners(socket, owner, outer)?,
            });
        }
        if let Some(scratch) = &order.scratch {
            hand_scratch(scratch, outer).or_fail(Doing::OpenSource, &scratch.to_string_lossy())?;
        }
        sources = Some(open_sources(&order, owners.as_ref().map(AsFd::as_fd))?);
        devices = ours.and_then(Result::ok);
        namespaces::drop_ids(outer)?;
        // Cleared by the change of ids.
        set_parent_process_death_signal(Some(Signal::KILL)).or_fail(Doing::TieLife, "")?;
    }
    // 4.
    namespaces::enter(order.widen, order.may_miss.network)?;
    // 5.
    let sources = match sources {
        Some(sources) => sources,
        None => open_sources(&order, None)?,
    };
    // 6. By now we are in the step's control group, or are told that we never will be.
    await_group(socket)?;
    namespaces::enter_group()?;
    match sys::clone_beside().or_fail(Doing::FirstProcess, "")? {
        sys::Twin::Original => sys::exit_now(0),
        sys::Twin::New => {
            let given = apply::Given { sources, devices, bodies, slot };
            Ok(Asked::Namespaces(Box::new(First { order, given })))
        }
    }
}

/// Makes the user namespace that shows the owner as the step's user, and hands it on for later steps.
fn make_owners(socket: &OwnedFd, owner: (u32, u32), outer: (u32, u32)) -> Result<OwnedFd, Failure> {
    let made = namespaces::showing(owner, outer).or_fail(Doing::OpenSource, "owners")?;
    say(socket.as_fd(), &Word::Showing, &[made.as_fd()]).or_fail(Doing::Talk, "")?;
    Ok(made)
}

/// Waits for the word that comes once this process is in its control group.
fn await_group(socket: &OwnedFd) -> Result<(), Failure> {
    match receive(socket).or_fail(Doing::Talk, "")? {
        (word, _) if word == GO_ON => Ok(()),
        _ => Err(Doing::Talk.failed("", &io::ErrorKind::UnexpectedEof.into())),
    }
}

fn pin_all(processors: Option<&[usize]>) -> Result<(), Failure> {
    match processors {
        Some(processors) => pin(processors).or_fail(Doing::PinProcessors, ""),
        None => Ok(()),
    }
}

fn pin(processors: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    processors.iter().for_each(|processor| set.set(*processor));
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Only ever raised, which needs no right. A host that refuses loses nothing of the promise.
pub fn raise_oom_score() {
    let file = std::fs::OpenOptions::new().write(true).open("/proc/self/oom_score_adj");
    let _ = file.and_then(|mut file| io::Write::write_all(&mut file, OOM_SCORE.as_bytes()));
}

/// Output pipes belong to the build process's user; the step may reopen `/dev/stdout` only if they
/// are its own, as they are without root.
fn hand_pipes((uid, gid): (u32, u32)) -> io::Result<()> {
    let ids = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    for pipe in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
        rustix::fs::fchown(pipe, Some(ids.0), Some(ids.1))?;
    }
    Ok(())
}

/// The folder for the writable space is empty and lies where nobody but root can go.
fn hand_scratch(folder: &std::path::Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    let ids = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::chownat(rustix::fs::CWD, folder, Some(ids.0), Some(ids.1), flags)?)
}

fn open_sources(
    order: &Order,
    owners: Option<BorrowedFd<'_>>,
) -> Result<Vec<Option<apply::Source>>, Failure> {
    let open = |path: &std::path::PathBuf| {
        apply::clone_source(path, owners)
            .map(Some)
            .or_fail(Doing::OpenSource, &path.to_string_lossy())
    };
    let scratch = order.scratch.iter().map(|path| {
        apply::clone_scratch(path).map(Some).or_fail(Doing::OpenSource, &path.to_string_lossy())
    });
    order.sources.iter().map(open).chain(scratch).collect()
}
