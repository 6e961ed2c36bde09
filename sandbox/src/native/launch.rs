//! Starts the sandbox child from a copy of this program that nobody can write.
//!
//! The copy is a sealed memory file, made once per process: a step that reached its first process's
//! `/proc/PID/exe` could otherwise write to the program on the host (the class of CVE-2019-5736).
//! Where memory files may not be executed, a read-only descriptor of the program takes its place;
//! the first process is undumpable, so nobody inside can follow the link anyway.
//!
//! The child gets no variable, no argument and no descriptor but its three standard ones.
//!
//! Starting a program takes about as long as making its namespaces, and needs to know nothing of the
//! step. So one thread always has the next child started, which waits for its order; a step takes it
//! and never waits for a start but the first. Each child still serves one step only. The thread ends only
//! with the program: the kernel ties a child to the thread that started it (`PR_SET_PDEATHSIG`), and the
//! threads that run steps come and go. However the build process ends, the child in waiting does too.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::{self, Group, Host};
use super::child::MARK;
use super::error::Doing;
use super::sys;
use crate::error::Error;

/// A started child and our ends of its three standard descriptors.
pub struct Launched {
    /// Its number, for the control group.
    pub pid: u32,
    /// The child itself, which ends as soon as the first process of the step exists.
    pub child: OwnedFd,
    /// Our end of its standard input: whole messages both ways.
    pub socket: OwnedFd,
    /// What the step writes to descriptor 1.
    pub stdout: OwnedFd,
    /// What the step writes to descriptor 2.
    pub stderr: OwnedFd,
    /// The control group it is in, where the host has any, or why it is in none.
    pub group: io::Result<Option<Group>>,
}

/// Stack of the thread that starts children, in bytes.
const STACK_BYTES: usize = 1 << 20;

/// Children as they are started: one at a time, each waiting to be taken.
type Row = Mutex<Receiver<Result<Launched, Error>>>;

/// Sees to it that a child is started and waits, so that the first step finds it.
pub fn warm_up() {
    row();
}

/// Takes the child that is started and waits; the next one is started meanwhile.
pub fn take() -> Result<Launched, Error> {
    let waiting = row().map(|row| row.lock().unwrap_or_else(PoisonError::into_inner).recv());
    match waiting {
        // One that was killed while it waited serves nobody.
        Some(Ok(Ok(launched))) if lives(&launched) => Ok(launched),
        Some(Ok(Err(cause))) => Err(cause),
        Some(Ok(Ok(_)) | Err(_)) | None => launch(),
    }
}

/// Ends the child that waits, if there is one, and starts no other ahead: for the end of the program.
pub fn cool_down() {
    ENDING.store(true, Ordering::Relaxed);
    let Some(Some(row)) = ROW.get() else { return };
    // The thread stands at the hand-over or is about to; after it, it sees that this is the end.
    let waiting = row.lock().unwrap_or_else(PoisonError::into_inner).recv();
    if let Ok(Ok(launched)) = waiting {
        // Fails only if it is dead already. Its death is waited for, so that nothing is left.
        let _ = pidfd_send_signal(&launched.child, Signal::KILL);
        let _ = poll(&mut [PollFd::new(&launched.child, PollFlags::IN)], None);
        let _ = sys::reap(&launched.child);
    }
}

static ROW: OnceLock<Option<Row>> = OnceLock::new();
static ENDING: AtomicBool = AtomicBool::new(false);

fn row() -> Option<&'static Row> {
    let start = || {
        // Nothing is kept in the channel: the thread holds one child until it is taken.
        let (hand, taken) = sync_channel(0);
        let thread =
            std::thread::Builder::new().name("sandbox launcher".to_owned()).stack_size(STACK_BYTES);
        let keep_one_ready = move || {
            let mut wanted = true;
            while wanted && !ENDING.load(Ordering::Relaxed) {
                wanted = hand.send(launch()).is_ok();
            }
        };
        thread.spawn(keep_one_ready).ok().map(|_| Mutex::new(taken))
    };
    ROW.get_or_init(start).as_ref()
}

fn lives(launched: &Launched) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(&launched.child, PollFlags::IN)], Some(&now)), Ok(0))
}

/// Starts a child for work that is not a step's, in no control group of its own.
pub fn apart() -> Result<Launched, Error> {
    let failed = |source| Error::Setup { doing: Doing::Start, operand: String::new(), source };
    start(image()?).map_err(failed)
}

fn launch() -> Result<Launched, Error> {
    let mut launched = apart()?;
    launched.group = cgroup::make(Host::get()).and_then(|group| {
        group.as_ref().map_or(Ok(()), |group| group.admit(launched.pid))?;
        Ok(group)
    });
    Ok(launched)
}

fn start(image: &OwnedFd) -> io::Result<Launched> {
    let (socket, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let (stdout, stdout_end) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, stderr_end) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut command = program(image);
    command
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::from(stdout_end))
        .stderr(Stdio::from(stderr_end));
    let started: Child = command.spawn()?;
    // Our copies of its ends go with the command.
    drop(command);
    let pid = started.id();
    // It cannot be reaped by anybody else, so the number is still its own.
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let child = pidfd_open(number.ok_or(io::ErrorKind::InvalidData)?, PidfdFlags::empty())?;
    Ok(Launched { pid, child, socket, stdout, stderr, group: Ok(None) })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that starts a program: its own"
)]
fn program(image: &OwnedFd) -> Command {
    let mut command = Command::new(format!("/proc/self/fd/{}", image.as_raw_fd()));
    command.arg0(MARK).env_clear();
    command
}

/// Returns the program to execute; made at the first use.
fn image() -> Result<&'static OwnedFd, Error> {
    static IMAGE: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(image) = IMAGE.get() {
        return Ok(image);
    }
    let failed = |source| Error::Setup { doing: Doing::Image, operand: String::new(), source };
    let own = File::open("/proc/self/exe").map_err(failed)?;
    let made = match sealed_copy(&own) {
        Ok(copy) => copy,
        // Forbidden by vm.memfd_noexec, or no memory files: the program itself, read-only.
        Err(_) => own.into(),
    };
    Ok(IMAGE.get_or_init(|| made))
}

fn sealed_copy(own: &File) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know that a memory file may be asked to be executable.
    let copy =
        memfd_create("kiln", flags | MemfdFlags::EXEC).or_else(|_| memfd_create("kiln", flags))?;
    let mut left = own.metadata()?.len();
    while left > 0 {
        let step = usize::try_from(left).unwrap_or(usize::MAX);
        match rustix::fs::sendfile(copy.as_fd(), own, None, step)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            sent => left = left.saturating_sub(sent as u64),
        }
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&copy, seals)?;
    Ok(copy)
}
