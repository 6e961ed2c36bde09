//! Starts the sandbox child from a copy of this program that nobody can write.
//!
//! The copy is a sealed memory file, made once per process: a step that reached its first process's
//! `/proc/PID/exe` could otherwise write to the program on the host (the class of CVE-2019-5736).
//! Where memory files may not be executed, a read-only descriptor of the program takes its place;
//! the first process is undumpable, so nobody inside can follow the link anyway.
//!
//! The child gets no variable, no argument and no descriptor but its three standard ones.
//!
//! Starting a program takes about as long as making its namespaces, and needs to know nothing of the step. So one
//! thread always has the next child started, which waits for its order; a step takes it and waits for a start only
//! if it is the first, or if steps are started side by side. Each child still serves one step only.
//!
//! A child is ready once it is in its control group. The kernel makes whoever moves a process wait until no
//! processor can still see it where it was, often for milliseconds, and all who make or remove a group with it. So
//! the next child is started beside the step that took the one before, but moved only when that step is over, or
//! has run for a while.
//!
//! The thread ends only with the program: the kernel ties a child to the thread that started it
//! (`PR_SET_PDEATHSIG`), and the threads that run steps come and go. However the build process ends, the child in
//! waiting does too.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::{self, Group, Host};
use super::child::MARK;
use super::crowd;
use super::error::Doing;
use super::sys;
use crate::error::Error;

/// How long a step runs before the next child is moved beside it: one that is over sooner is not held up.
const SHORT_STEP: Duration = Duration::from_millis(100);

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

/// Sees to it that a child is started and waits, so that the first step finds it.
pub fn warm_up() {
    prepare();
}

/// Sees to it that the next child is started, and no more: called once a step has taken one.
pub fn prepare_ahead() {
    if let Some(row) = row() {
        row.start_ahead();
    }
}

/// Sees to it that the next child waits before long: called once a step runs.
pub fn prepare_soon() {
    if let Some(row) = row() {
        row.ask(&mut row.lock(), Instant::now() + SHORT_STEP);
    }
}

/// Sees to it that the next child waits: called once a step is over.
pub fn prepare() {
    if let Some(row) = row() {
        row.ask(&mut row.lock(), Instant::now());
    }
}

/// Takes the child that waits, or that is started now.
pub fn take() -> Result<Launched, Error> {
    match row().and_then(Row::take) {
        // One that was killed while it waited serves nobody.
        Some(Ok(launched)) if lives(&launched) => Ok(launched),
        // Nor does what was in the way while it was started ahead: another step may have been it.
        Some(_) | None => launch(),
    }
}

/// Ends the children that wait, and starts no other ahead: for the end of the program.
pub fn cool_down() {
    let Some(Some(row)) = ROW.get() else { return };
    for launched in row.end() {
        // Fails only if it is dead already. Its death is waited for, so that nothing is left.
        let _ = pidfd_send_signal(&launched.child, Signal::KILL);
        let _ = poll(&mut [PollFd::new(&launched.child, PollFlags::IN)], None);
        let _ = sys::reap(&launched.child);
    }
}

/// Where children wait.
#[derive(Default)]
struct Row {
    state: Mutex<State>,
    changed: Condvar,
}

/// The children there are, and what is wanted.
#[derive(Default)]
struct State {
    wanted: Wanted,
    /// A child that is in no control group yet.
    started: Option<Launched>,
    /// The child to be taken, or why there is none.
    ready: Option<Result<Launched, Error>>,
    /// Whether one is being started or put into its group.
    is_busy: bool,
    is_over: bool,
}

/// What is wanted while no child waits.
#[derive(Default, Clone, Copy)]
enum Wanted {
    #[default]
    Nothing,
    /// One that is started.
    Started,
    /// One that is ready, from this moment on.
    Ready(Instant),
}

impl Row {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'row>(&'row self, state: MutexGuard<'row, State>) -> MutexGuard<'row, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn start_ahead(&self) {
        let mut state = self.lock();
        if let Wanted::Nothing = state.wanted {
            state.wanted = Wanted::Started;
            self.changed.notify_all();
        }
    }

    fn ask(&self, state: &mut State, from: Instant) {
        if state.ready.is_none() {
            state.wanted = match state.wanted {
                Wanted::Ready(earlier) => Wanted::Ready(earlier.min(from)),
                Wanted::Nothing | Wanted::Started => Wanted::Ready(from),
            };
            self.changed.notify_all();
        }
    }

    /// Returns the child that waits, once one does; none at the end.
    fn take(&self) -> Option<Result<Launched, Error>> {
        let mut state = self.lock();
        loop {
            if let Some(child) = state.ready.take() {
                return Some(child);
            }
            if state.is_over {
                return None;
            }
            self.ask(&mut state, Instant::now());
            state = self.wait(state);
        }
    }

    /// Starts no child any more; returns those that wait.
    fn end(&self) -> impl Iterator<Item = Launched> + use<> {
        let mut state = self.lock();
        state.is_over = true;
        self.changed.notify_all();
        while state.is_busy {
            state = self.wait(state);
        }
        state.started.take().into_iter().chain(state.ready.take().and_then(Result::ok))
    }

    /// Does what is wanted, until the end.
    fn serve(&self, start: fn() -> Result<Launched, Error>) {
        let _told = Over(self);
        let mut state = self.lock();
        while !state.is_over {
            let now = Instant::now();
            state = match state.wanted {
                _ if state.ready.is_some() => self.wait(state),
                Wanted::Started if state.started.is_none() => {
                    let (mut state, started) = self.unlocked(state, start);
                    // Why it could not be started is told to whoever wants to take it.
                    state.started = started.ok();
                    if let (Wanted::Started, None) = (state.wanted, &state.started) {
                        state.wanted = Wanted::Nothing;
                    }
                    state
                }
                Wanted::Ready(from) if from <= now => {
                    let started = state.started.take();
                    let (mut state, ready) =
                        self.unlocked(state, || started.map_or_else(start, Ok).map(admitted));
                    (state.ready, state.wanted) = (Some(ready), Wanted::Nothing);
                    state
                }
                Wanted::Ready(from) => {
                    let waited = self.changed.wait_timeout(state, from.duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                Wanted::Nothing | Wanted::Started => self.wait(state),
            };
        }
    }

    /// Does `work` while others may look at the row.
    fn unlocked<'row, R>(
        &'row self,
        mut state: MutexGuard<'row, State>,
        work: impl FnOnce() -> R,
    ) -> (MutexGuard<'row, State>, R) {
        state.is_busy = true;
        drop(state);
        let done = work();
        let mut state = self.lock();
        state.is_busy = false;
        self.changed.notify_all();
        (state, done)
    }
}

/// Tells the end of whoever serves a row, also one by panic: nobody waits for a child that will not come.
struct Over<'row>(&'row Row);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        (state.is_over, state.is_busy) = (true, false);
        self.0.changed.notify_all();
    }
}

static ROW: OnceLock<Option<&Row>> = OnceLock::new();

fn row() -> Option<&'static Row> {
    let start = || {
        crowd::take_whole_line();
        let row: &Row = Box::leak(Box::default());
        let thread =
            std::thread::Builder::new().name("sandbox launcher".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(|| row.serve(apart)).ok().map(|_| row)
    };
    *ROW.get_or_init(start)
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
    apart().map(admitted)
}

/// Puts a child into a control group of its own.
fn admitted(mut launched: Launched) -> Launched {
    launched.group = cgroup::make(Host::get()).and_then(|group| {
        group.as_ref().map_or(Ok(()), |group| group.admit(launched.pid))?;
        Ok(group)
    });
    launched
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_a_row_whose_thread_is_gone() {
        let (row, broken): (&Row, _) = (Box::leak(Box::default()), || panic!("it breaks"));
        row.start_ahead();
        let served = std::thread::spawn(move || row.serve(broken)).join();
        assert!(served.is_err(), "control: it broke");
        let state = row.lock();
        assert!(state.is_over && !state.is_busy);
        drop(state);
        assert!(row.take().is_none());
        assert_eq!(row.end().count(), 0);
    }
}
