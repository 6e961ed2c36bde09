//! The step's own process, from its first instant to `exec`.
//!
//! It is sealed already when it begins. What is left: its own session, its limits, its standard
//! descriptors and nothing else, its folder, no blocked signal. A terminal is never among them, so
//! no keystroke can be forged into it. Before `exec` the working folder is proven to lie inside the
//! root (the class of CVE-2024-21626).

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags, openat, stat};
use rustix::process::{
    Resource, Rlimit, Signal, getcwd, getrlimit, set_parent_process_death_signal, setrlimit,
};

use super::error::{Doing, Failure, Naming};
use super::wire::Program;
use super::{sys, trial};

/// `ADDR_NO_RANDOMIZE` of personality(2): a program that prints addresses prints the same twice.
const NO_RANDOMIZE: u64 = 0x004_0000;
/// Stack of the main thread, soft limit: the usual 8 MiB.
const STACK_BYTES: u64 = 8 << 20;
/// Memory that may be locked. The kernel charges this and the next two to the user outside as well, so
/// each is an eighth of its default: steps at the same time do not feel each other.
const LOCKED_BYTES: u64 = 1 << 20;
/// Bytes in POSIX message queues (mq_overview(7)): enough for one of the default size.
const QUEUE_BYTES: u64 = 102_400;
/// Signals that wait. The kernel's default follows the host's memory; no build comes near this.
const PENDING_SIGNALS: u64 = 1024;
/// Not 0, since a host that pipes core dumps to a program ignores 0; a pipe honours 1 (core(5)).
const CORE_BYTES: u64 = 1;

/// Becomes the step's program; returns only if it cannot.
pub fn execute(program: &Program) -> Failure {
    match prepare(program).and_then(|()| trial::hold(program.trial)).and_then(|()| run(program)) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

/// Makes addresses the same in each run.
pub fn fix_addresses() -> io::Result<()> {
    sys::set_personality(NO_RANDOMIZE)
}

/// Lets go of the step's output, so that its end is seen when the step's processes end.
pub fn leave_output() -> io::Result<()> {
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    sys::duplicate_onto(null.as_fd(), 1)?;
    sys::duplicate_onto(null.as_fd(), 2)
}

fn prepare(program: &Program) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).or_fail(Doing::TieLife, "")?;
    rustix::process::setsid().or_fail(Doing::StepProcess, "session")?;
    limits(program)?;
    match fix_addresses() {
        Err(_) if program.may_randomize => {}
        fixed => fixed.or_fail(Doing::Personality, "")?,
    }
    working_folder(program)?;
    let null = openat(CWD, "/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let null = null.or_fail(Doing::StepProcess, "/dev/null")?;
    sys::duplicate_onto(null.as_fd(), 0).or_fail(Doing::StepProcess, "stdin")?;
    // Everything from 3 up goes at exec; the socket must live until then, to tell of a failed one.
    sys::close_on_exec_from(3).or_fail(Doing::CloseDescriptors, "")?;
    // The dispositions were reset when the child began.
    let none = nix::sys::signal::SigSet::empty();
    none.thread_set_mask().or_fail(Doing::ResetSignals, "")?;
    // Last, since what stands above opens files: a low one is for the program to meet, and not for us.
    // The hard one is the same: a step that raises its soft one, as some runtimes do unasked, has no more.
    fix(Resource::Nofile, program.files, Some(program.files))
}

/// Fixes what is inherited from the host, as far as no right is needed: a soft limit may move freely
/// below the hard one, a hard one only down.
fn limits(program: &Program) -> Result<(), Failure> {
    fix(Resource::Core, CORE_BYTES, Some(CORE_BYTES))?;
    fix(Resource::Stack, STACK_BYTES, None)?;
    fix(Resource::Memlock, LOCKED_BYTES, Some(LOCKED_BYTES))?;
    for resource in [Resource::Nice, Resource::Rtprio] {
        fix(resource, 0, Some(0))?;
    }
    fix(Resource::Msgqueue, QUEUE_BYTES, Some(QUEUE_BYTES))?;
    fix(Resource::Sigpending, PENDING_SIGNALS, Some(PENDING_SIGNALS))?;
    for resource in [
        Resource::As,
        Resource::Cpu,
        Resource::Data,
        Resource::Locks,
        Resource::Rss,
        Resource::Rttime,
    ] {
        fix(resource, u64::MAX, None)?;
    }
    fix(Resource::Fsize, program.file_bytes.unwrap_or(u64::MAX), program.file_bytes)?;
    let most = program.processes.unwrap_or(u64::MAX);
    fix(Resource::Nproc, most, program.processes)
}

/// Sets a limit to `soft` and `hard`, or to the inherited hard one where that is lower.
fn fix(resource: Resource, soft: u64, hard: Option<u64>) -> Result<(), Failure> {
    let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let hard = hard.unwrap_or(most).min(most);
    let some = |value: u64| (value != u64::MAX).then_some(value);
    let new = Rlimit { current: some(soft.min(hard)), maximum: some(hard) };
    setrlimit(resource, new).or_fail(Doing::ResourceLimits, &format!("{resource:?}"))
}

fn working_folder(program: &Program) -> Result<(), Failure> {
    let at = format!("/{}", program.cwd.below_root().as_str());
    rustix::process::chdir(&*at).or_fail(Doing::WorkingFolder, &at)?;
    // A folder outside the root has no path here, or that path leads somewhere else.
    let (here, path) = (stat(".").or_fail(Doing::WorkingFolder, &at)?, getcwd(Vec::new()));
    let there = path.and_then(stat).or_fail(Doing::WorkingFolder, &at)?;
    if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) {
        Ok(())
    } else {
        Err(Doing::WorkingFolder.failed(&at, &io::Error::from_raw_os_error(libc::EXDEV)))
    }
}

fn run(program: &Program) -> Result<std::convert::Infallible, Failure> {
    let name = program.argv.first().map(String::as_str).unwrap_or_default();
    let text = |text: String| CString::new(text).or_fail(Doing::Execute, name);
    let arguments = program.argv.iter().cloned().map(text).collect::<Result<Vec<_>, _>>()?;
    let variables = program.env.iter().map(|(key, value)| text(format!("{key}={value}")));
    let variables = variables.collect::<Result<Vec<_>, _>>()?;
    // As execvp(3): the first that can be executed; a forbidden one counts only if none can.
    let mut reason = nix::errno::Errno::ENOENT;
    for path in candidates(program, name) {
        let Err(cause) = nix::unistd::execve(&text(path)?, &arguments, &variables);
        match cause {
            nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR => {}
            _ => reason = cause,
        }
        if !matches!(reason, nix::errno::Errno::ENOENT | nix::errno::Errno::EACCES) {
            break;
        }
    }
    Err(Doing::Execute.failed(name, &reason.into()))
}

fn candidates(program: &Program, name: &str) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    let path = program.env.get("PATH").map(String::as_str).unwrap_or_default();
    path.split(':')
        .filter(|folder| folder.starts_with('/'))
        .map(|folder| format!("{folder}/{name}"))
        .collect()
}
