//! Ctrl-C and SIGTERM: the first stops cleanly, one that comes two seconds later at once.
//!
//! A signal writes one byte into a pipe that the running steps wait on; nothing else happens in a
//! signal handler. Stopping cleanly means that every process of every step is dead and every
//! temporary file gone before kiln ends, with exit code 130.
//!
//! The two seconds are there because one press often arrives twice: a terminal, and programs such as
//! timeout(1), signal the process and its whole group.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sandbox::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

use crate::diagnostic::{Code, Diagnostic, Exit};

/// How long after the first signal another one ends the process at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// Stack of the thread that waits for a second signal, in bytes: it does next to nothing.
const STACK_BYTES: usize = 256 << 10;

/// How long one look at a lock is apart from the next, in nanoseconds.
const PAUSE_NANOSECONDS: i64 = 50_000_000;

/// Waits a moment for somebody else; says whether to go on.
pub fn pause(cancel: &Cancel) -> bool {
    let moment = Timespec { tv_sec: 0, tv_nsec: PAUSE_NANOSECONDS };
    // Interrupted by a signal or not: whether it was pressed is asked.
    poll(&mut [PollFd::new(cancel, PollFlags::IN)], Some(&moment)).unwrap_or_default();
    !cancel.is_triggered()
}

/// Has a write beyond the limit on file sizes fail with an error, which is told, instead of ending kiln
/// without a word. What kiln starts is not concerned: a handler does not outlive an exec.
pub fn survive_size_limit() {
    let reached = Arc::new(AtomicBool::new(false));
    // Where that cannot be had, the signal ends kiln as it would have.
    let _ = signal_hook::flag::register(SIGXFSZ, reached);
}

/// Says why signals cannot be watched for: a limit of the caller's, or something that nobody foresaw.
fn refuse(error: &std::io::Error) -> Diagnostic {
    use rustix::io::Errno;
    let told = |code| Diagnostic::new(code, "cannot watch for signals").caused_by(error);
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN) => told(Code::SandboxFailed)
            .why("the system gives this user no further thread")
            .help("let it have more processes:  ulimit -u 4096, or TasksMax and LimitNPROC of its service"),
        Some(Errno::MFILE | Errno::NFILE) => told(Code::SandboxFailed)
            .why("the system gives no further descriptor")
            .help("let kiln have more open files:  ulimit -n 1024, or LimitNOFILE of its service"),
        _ => told(Code::Internal),
    }
}

/// Returns the button that signals press from now on.
///
/// # Errors
/// Gives up where the process has no descriptors left.
pub fn watch() -> Result<Cancel, Diagnostic> {
    let cancel = Cancel::new().map_err(|error| refuse(&error))?;
    let armed = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let exit = i32::from(Exit::Interrupted.number());
        signal_hook::flag::register_conditional_shutdown(signal, exit, Arc::clone(&armed))
            .map_err(|error| refuse(&error))?;
        let end =
            cancel.signal_end().as_fd().try_clone_to_owned().map_err(|error| refuse(&error))?;
        signal_hook::low_level::pipe::register(signal, end).map_err(|error| refuse(&error))?;
    }
    let pressed = cancel.clone();
    let second = std::thread::Builder::new().stack_size(STACK_BYTES);
    let watched = second.spawn(move || {
        let mut wait = [PollFd::new(&pressed, PollFlags::IN)];
        // Interrupted by a signal or not: whether it was pressed is asked again.
        while !pressed.is_triggered() {
            poll(&mut wait, None).unwrap_or_default();
        }
        std::thread::sleep(PATIENCE);
        armed.store(true, Ordering::SeqCst);
    });
    watched.map_err(|error| refuse(&error))?;
    Ok(cancel)
}
