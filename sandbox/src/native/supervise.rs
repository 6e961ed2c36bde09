//! Watches a step from the build process: output, time, interruption, kill, and proof of death.
//!
//! One thread sleeps in one `poll` over the child, the first process of the step, the socket, the
//! two pipes and the button. Time limits are of the monotonic clock: first TERM to all of the step's
//! processes, a grace, then KILL to the first process, which ends the namespace, and to the control group
//! where that is one write.
//!
//! The step is over when its first process is reaped, which the kernel allows only after every other
//! process of the namespace is gone, and when both pipes are at their end. Nothing is read by name.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use model::limits::{Bytes, Millis};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::cgroup::Group;
use super::crowd::Crowd;
use super::error::{Doing, Failure};
use super::launch::{self, Launched};
use super::met::Met;
use super::sys;
use super::usage::{Full, Watcher};
use super::wire::{Facts, KILL, TERMINATE, Word, receive, send};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::outcome::{NetworkAttempt, Stream};

/// Time between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);
/// Longest wait for the dead to be gone; above the aim of 1 s, for a host under load.
const PROOF_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for the sandbox to be set up, which takes milliseconds.
const SETUP_WAIT: Duration = Duration::from_secs(60);
/// Bytes of output read at once: what a pipe holds by default.
const CHUNK: usize = 64 << 10;

/// What bounds a run.
pub struct Bounds {
    /// Whole time.
    pub timeout: Millis,
    /// Time without output.
    pub idle: Option<Millis>,
    /// Output kept.
    pub log: Bytes,
    /// How the step is killed.
    pub ending: Ending,
}

/// How the step is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By the end of its first process, with which the kernel ends its pid namespace.
    FirstProcess,
    /// By a word to the child, which kills every process of the step's user.
    Word,
}

/// Why the step was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The whole time was over.
    TimeOut,
    /// The time without output was over.
    Idle,
    /// The button.
    Cancelled,
    /// It wrote more than it may, or the disk had to be kept from it.
    Disk(Full),
    /// The set-up did not come to an end.
    Stuck,
}

/// What was seen of a run that is over: every process is dead.
#[derive(Default)]
pub struct Seen {
    /// What was read back in the sealed process; none if it never came so far.
    pub facts: Option<Facts>,
    /// The user namespace that shows what it is given as its own, where it was made for this step.
    pub showing: Option<OwnedFd>,
    /// Descriptors of the writable places, in order.
    pub places: Vec<OwnedFd>,
    /// Status of the main process, leftovers, and which limits were seen to be met.
    pub ended: Option<(i32, u32, Met)>,
    /// What failed in the child.
    pub failure: Option<Failure>,
    /// Why we stopped it, if we did.
    pub stop: Option<Stop>,
    /// Whether the user may have had as many processes as he may have.
    pub crowded: bool,
    /// Whether output was dropped.
    pub log_cut: bool,
    /// Where it wanted to go.
    pub attempts: BTreeSet<NetworkAttempt>,
    /// From the seal to the end.
    pub wall: Duration,
    /// Processor time.
    pub cpu: Duration,
}

/// Who watches what cannot be limited.
pub struct Watchers {
    /// What the step writes to a disk.
    pub disk: Option<Watcher>,
    /// How many processes the user has.
    pub crowd: Option<Crowd>,
}

/// Watches until all is dead.
pub fn watch(
    launched: Launched,
    bounds: &Bounds,
    group: Option<&Group>,
    Watchers { mut disk, mut crowd }: Watchers,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Seen, Error> {
    let now = Instant::now();
    let Launched { child, socket, stdout, stderr, .. } = launched;
    let mut run = Run {
        child: Some(child),
        first: None,
        socket: Some(socket),
        pipes: [(Stream::Stdout, Some(stdout)), (Stream::Stderr, Some(stderr))],
        kept: 0,
        started: now,
        deadline: now + SETUP_WAIT,
        last_output: now,
        kill_at: None,
        killed: None,
        ending: bounds.ending,
        group,
        seen: Seen::default(),
    };
    let mut buffer = vec![0; CHUNK];
    while !run.is_over() {
        run.keep_time(bounds)?;
        let ready = run.wait(bounds, cancel, (disk.as_ref(), crowd.as_ref()))?;
        if let Some(crowd) = &mut crowd {
            crowd.look();
        }
        // No grace: it would go on writing.
        if let Some(full) =
            disk.as_mut().map_or(Ok(None), Watcher::look).map_err(broken(Doing::Watch))?
        {
            run.seen.stop.get_or_insert(Stop::Disk(full));
            run.kill();
            disk = None;
        }
        if ready.cancel && run.seen.stop != Some(Stop::Cancelled) {
            run.seen.stop = Some(Stop::Cancelled);
            run.kill();
        }
        for (index, ready) in ready.pipes.into_iter().enumerate() {
            if ready {
                run.read_output(index, &mut buffer, bounds, sink)?;
            }
        }
        if ready.socket {
            run.hear(bounds)?;
        }
        run.reap()?;
    }
    // The last look is for what came since the one before.
    if let Some(full) = disk.map_or(Ok(None), Watcher::finish).map_err(broken(Doing::Watch))? {
        run.seen.stop.get_or_insert(Stop::Disk(full));
    }
    run.seen.crowded = crowd.is_some_and(Crowd::finish);
    Ok(std::mem::take(&mut run.seen))
}

struct Run<'a> {
    child: Option<OwnedFd>,
    first: Option<OwnedFd>,
    socket: Option<OwnedFd>,
    pipes: [(Stream, Option<OwnedFd>); 2],
    /// Bytes of output handed on.
    kept: u64,
    started: Instant,
    deadline: Instant,
    last_output: Instant,
    kill_at: Option<Instant>,
    killed: Option<Instant>,
    ending: Ending,
    group: Option<&'a Group>,
    seen: Seen,
}

struct Ready {
    cancel: bool,
    socket: bool,
    pipes: [bool; 2],
}

fn broken(doing: Doing) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Setup { doing, operand: String::new(), source }
}

impl Run<'_> {
    fn is_over(&self) -> bool {
        let quiet = self.socket.is_none() && self.pipes.iter().all(|(_, pipe)| pipe.is_none());
        quiet && self.child.is_none() && self.first.is_none()
    }

    /// Stops what has run too long, and gives up on what will not die.
    fn keep_time(&mut self, bounds: &Bounds) -> Result<(), Error> {
        let now = Instant::now();
        if self.killed.is_some_and(|killed| now >= killed + PROOF_WAIT) {
            return Err(Error::StillAlive { pids: Vec::new() });
        }
        if self.kill_at.is_some_and(|kill_at| now >= kill_at) && self.killed.is_none() {
            self.kill();
        }
        if self.seen.stop.is_some() || self.seen.ended.is_some() {
            return Ok(());
        }
        let sealed = self.seen.facts.is_some();
        let idle = bounds.idle.filter(|_| sealed).map(|idle| self.last_output + idle.duration());
        if now >= self.deadline {
            self.stop(if sealed { Stop::TimeOut } else { Stop::Stuck });
        } else if idle.is_some_and(|idle| now >= idle) {
            self.stop(Stop::Idle);
        }
        Ok(())
    }

    fn stop(&mut self, why: Stop) {
        self.seen.stop = Some(why);
        // If it cannot be told, it is killed a moment later all the same.
        if let Some(socket) = &self.socket {
            let _ = send(socket.as_fd(), TERMINATE, &[]);
        }
        self.kill_at =
            Some(Instant::now() + if why == Stop::Stuck { Duration::ZERO } else { GRACE });
    }

    fn kill(&mut self) {
        self.killed.get_or_insert_with(Instant::now);
        let told = match (self.ending, &self.socket) {
            (Ending::Word, Some(socket)) => send(socket.as_fd(), KILL, &[]).is_ok(),
            _ => false,
        };
        if !told {
            self.kill_processes();
        }
    }

    fn kill_processes(&self) {
        // Where the kernel cannot, what follows is enough: with the first process ends its namespace.
        let _ = self.group.map(Group::kill);
        for process in [&self.first, &self.child].into_iter().flatten() {
            // Fails only if it is dead already.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }

    /// Sleeps until something happens or the next moment that matters.
    fn wait(
        &self,
        bounds: &Bounds,
        cancel: &Cancel,
        (disk, crowd): (Option<&Watcher>, Option<&Crowd>),
    ) -> Result<Ready, Error> {
        let stopping = self.seen.stop == Some(Stop::Cancelled);
        let [(_, stdout), (_, stderr)] = &self.pipes;
        let button = (!stopping).then_some(cancel.as_fd());
        let watched = [
            button,
            self.socket.as_ref().map(AsFd::as_fd),
            stdout.as_ref().map(AsFd::as_fd),
            stderr.as_ref().map(AsFd::as_fd),
            self.child.as_ref().map(AsFd::as_fd),
            self.first.as_ref().map(AsFd::as_fd),
            disk.and_then(Watcher::walk_over),
        ];
        let mut present: Vec<(usize, PollFd<'_>)> = Vec::with_capacity(watched.len());
        for (index, fd) in watched.into_iter().enumerate() {
            present.extend(fd.map(|fd| (index, PollFd::from_borrowed_fd(fd, PollFlags::IN))));
        }
        let mut fds: Vec<PollFd<'_>> = present.iter().map(|(_, fd)| fd.clone()).collect();
        match poll(&mut fds, Some(&self.until_next(bounds, disk, crowd))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(cause) => return Err(broken(Doing::Watch)(cause.into())),
        }
        let mut ready = [false; 7];
        for ((index, _), fd) in present.iter().zip(&fds) {
            ready[*index] = !fd.revents().is_empty();
        }
        let [cancel, socket, stdout, stderr, ..] = ready;
        Ok(Ready { cancel, socket, pipes: [stdout, stderr] })
    }

    fn until_next(
        &self,
        bounds: &Bounds,
        disk: Option<&Watcher>,
        crowd: Option<&Crowd>,
    ) -> Timespec {
        let running = self.seen.stop.is_none();
        let idle = bounds.idle.filter(|_| running).map(|idle| self.last_output + idle.duration());
        let moments = [
            running.then_some(self.deadline),
            idle,
            self.kill_at.filter(|_| self.killed.is_none()),
            self.killed.map(|killed| killed + PROOF_WAIT),
            disk.map(Watcher::next_look),
            crowd.map(Crowd::next_look),
        ];
        let next = moments.into_iter().flatten().min().unwrap_or(self.deadline);
        // One millisecond more, so that the moment has come when the sleep is over.
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        }
    }

    fn read_output(
        &mut self,
        index: usize,
        buffer: &mut [u8],
        bounds: &Bounds,
        sink: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<(), Error> {
        let Some((stream, Some(pipe))) = self.pipes.get(index) else { return Ok(()) };
        let count = match rustix::io::read(pipe, &mut *buffer) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(cause) => return Err(broken(Doing::Watch)(cause.into())),
        };
        if count == 0 {
            self.pipes[index].1 = None;
            return Ok(());
        }
        self.last_output = Instant::now();
        let room = usize::try_from(bounds.log.0.saturating_sub(self.kept)).unwrap_or(usize::MAX);
        let kept = count.min(room);
        if kept > 0 {
            sink(*stream, &buffer[..kept]);
        }
        self.kept += kept as u64;
        self.seen.log_cut |= kept < count;
        Ok(())
    }

    /// Takes one message of the child's.
    fn hear(&mut self, bounds: &Bounds) -> Result<(), Error> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let (message, fds) = match receive(socket) {
            Ok(heard) => heard,
            // The other side closed with a message of ours unread. This is told once and first; what it
            // said before that, and then the end, are still to be read.
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(cause) => return Err(broken(Doing::Talk)(cause)),
        };
        if message.is_empty() {
            self.socket = None;
            return Ok(());
        }
        let word = serde_json::from_slice(&message).map_err(|source| Error::Garbled { source })?;
        match word {
            // Only before the step exists.
            Word::Showing if self.seen.facts.is_none() => {
                self.seen.showing = fds.into_iter().next()
            }
            Word::Showing => {}
            Word::First => {
                self.first = fds.into_iter().next();
                if self.killed.is_some() {
                    self.kill();
                }
            }
            Word::Places { first } if first == self.seen.places.len() => {
                self.seen.places.extend(fds)
            }
            Word::Places { .. } => {}
            Word::Sealed(facts) => {
                launch::prepare_soon();
                let now = Instant::now();
                (self.started, self.last_output, self.deadline) =
                    (now, now, now + bounds.timeout.duration());
                self.seen.facts = Some(facts);
            }
            Word::Failed(failure) => self.seen.failure = Some(failure),
            Word::Wanted(attempt) => drop(self.seen.attempts.insert(attempt)),
            Word::Over => {
                // No grace: it would go on writing.
                self.seen.stop.get_or_insert(Stop::Disk(Full::Limit));
                self.kill();
            }
            Word::Ended { status, left, met } => {
                self.seen.ended = Some((status, left, met));
                // It ends at once; one that does not is helped.
                self.kill_at.get_or_insert_with(|| Instant::now() + GRACE);
            }
        }
        Ok(())
    }

    /// Reaps the child and the first process once they have ended.
    fn reap(&mut self) -> Result<(), Error> {
        for slot in [&mut self.child, &mut self.first] {
            let Some(process) = slot else { continue };
            if let Some(ended) = sys::reap(&*process).map_err(broken(Doing::Watch))? {
                self.seen.cpu += ended.cpu;
                self.seen.wall = self.started.elapsed();
                *slot = None;
            }
        }
        if self.child.is_none() && self.first.is_none() && self.socket.is_none() {
            // From here only the ends of the pipes are waited for, and not for ever.
            self.killed.get_or_insert_with(Instant::now);
        }
        Ok(())
    }
}

/// On a path that failed: the run is over for us, so nothing of it may go on, not even as a zombie.
impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.kill();
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        for process in [&self.first, &self.child].into_iter().flatten() {
            // It was killed; what still cannot be reaped then is reaped when this process ends.
            let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&second));
            // One that was asked and does not listen.
            let _ = pidfd_send_signal(process, Signal::KILL);
            let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&second));
            let _ = sys::reap(process);
        }
    }
}
