//! Locks: held descriptors on files that are never deleted, but for those of `turn`.
//!
//! A lock is never a process id: a dead holder frees it by dying (S-G08). Waiting has an end, and the
//! error names the holder by what it wrote into the file when it took the lock for itself; that text
//! is only ever shown, never acted on.
//!
//! Source: flock(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::error::{Error, Operation, io};
use crate::persist::retry;

/// How long a process waits for another one before it says "busy". Whoever holds the lock for itself
/// does so for one walk over the store's names.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long one try is apart from the next.
const PAUSE: Duration = Duration::from_millis(5);
/// Longest text about a holder that is shown, in bytes.
const HOLDER_BYTES_MAX: usize = 200;

/// A lock that is held until this is dropped.
///
/// It is given back by name and not by closing alone: a program that this process starts meanwhile
/// holds a copy of the descriptor until its exec, and the lock would live on in the copy.
#[derive(Debug)]
pub(super) struct Held(OwnedFd);

impl Held {
    /// Takes over a descriptor that has its lock already.
    pub(super) fn of(locked: OwnedFd) -> Held {
        Held(locked)
    }

    #[cfg(test)]
    pub(super) fn copy(&self) -> OwnedFd {
        self.0.try_clone().unwrap()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = retry(|| rustix::fs::flock(&self.0, FlockOperation::Unlock)) {
            tracing::debug!(%error, "a lock ends with its last descriptor only");
        }
    }
}

/// Takes the lock file `name` of `folder` for this process alone.
///
/// # Errors
/// [`Error::Busy`] after `wait`.
pub(super) fn exclusive(folder: BorrowedFd<'_>, name: &str, wait: Duration) -> Result<Held, Error> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = retry(|| rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR))
        .map_err(io(Operation::Open, name))?;
    let start = Instant::now();
    while !try_lock(file.as_fd(), FlockOperation::NonBlockingLockExclusive)
        .map_err(io(Operation::Lock, name))?
    {
        if start.elapsed() >= wait {
            return Err(Error::Busy { holder: holder(file.as_fd()) });
        }
        std::thread::sleep(PAUSE);
    }
    note_holder(file.as_fd());
    Ok(Held(file))
}

/// Returns what this process says of itself.
pub(super) fn sign() -> String {
    format!("process {}", std::process::id())
}

/// Writes into a lock file who has it.
pub(super) fn note_holder(file: BorrowedFd<'_>) {
    let who = format!("{}\n", sign());
    let noted = rustix::fs::ftruncate(file, 0)
        .and_then(|()| retry(|| rustix::io::pwrite(file, who.as_bytes(), 0)));
    if let Err(error) = noted {
        tracing::debug!(%error, "the lock file does not name its holder");
    }
}

/// Tries a lock once; says whether it was free.
pub(super) fn try_lock(file: BorrowedFd<'_>, how: FlockOperation) -> Result<bool, Errno> {
    match retry(|| rustix::fs::flock(file, how)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Returns what the holder of a lock file wrote into it.
pub(super) fn holder(file: BorrowedFd<'_>) -> String {
    let mut text = [0_u8; HOLDER_BYTES_MAX];
    match retry(|| rustix::io::pread(file, &mut text, 0)) {
        Ok(0) | Err(_) => "another process".to_owned(),
        Ok(read) => model::text::escape(text[..read].trim_ascii()),
    }
}
