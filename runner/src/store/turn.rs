//! Whose turn it is to run an action: one at a time, in this process and in all that share the store.
//!
//! ```text
//! lock/action-HEX           held by whoever runs the action, and gone with its turn
//! ```
//!
//! There are as many actions as there are builds, so these lock files do not stay. A name may therefore
//! be taken away between opening and locking it: who has a lock looks whether the name still leads to
//! what is locked, and otherwise tries again.
//!
//! A kill leaves the file, free, to whoever comes next; opening the store takes it away.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::Digest;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::error::{Error, Operation, io};
use super::lock::{self, Held, holder, sign};
use super::open::{Store, folder, names};
use crate::persist::retry;

/// How the names of these lock files begin.
const PREFIX: &str = "action-";

/// The right to run an action, given back when this is dropped.
#[derive(Debug)]
pub struct Turn {
    above: OwnedFd,
    name: String,
    // Given back after the name is gone.
    _held: Held,
}

/// Whose turn it is.
#[derive(Debug)]
pub enum Tried {
    /// The caller's.
    Mine(Turn),
    /// Somebody else's: this process.
    Ours,
    /// Somebody else's, by what it says of itself.
    Theirs(String),
}

impl Store {
    /// Tries once to get the turn of an action.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn try_turn(&self, action: &Digest) -> Result<Tried, Error> {
        attempt(folder(self.root.as_fd(), "lock")?, format!("{PREFIX}{}", action.hex()))
    }
}

/// Takes away what killed processes left.
pub(super) fn sweep(root: BorrowedFd<'_>) -> Result<(), Error> {
    let above = folder(root, "lock")?;
    for name in names(above.as_fd(), "lock")?.into_iter().filter(|name| name.starts_with(PREFIX)) {
        // The name goes with the turn.
        drop(attempt(folder(root, "lock")?, name)?);
    }
    Ok(())
}

fn attempt(above: OwnedFd, name: String) -> Result<Tried, Error> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        let file = retry(|| rustix::fs::openat(&above, &name, flags, Mode::RUSR | Mode::WUSR))
            .map_err(io(Operation::Open, &name))?;
        let free = lock::try_lock(file.as_fd(), FlockOperation::NonBlockingLockExclusive)
            .map_err(io(Operation::Lock, &name))?;
        if !free {
            let who = holder(file.as_fd());
            return Ok(if who == sign() { Tried::Ours } else { Tried::Theirs(who) });
        }
        let held = rustix::fs::fstat(&file).map_err(io(Operation::Inspect, &name))?;
        match rustix::fs::statat(&above, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino) => {}
            // It was taken away by its last holder just before it was locked.
            Ok(_) | Err(Errno::NOENT) => continue,
            Err(errno) => return Err(io(Operation::Inspect, &name)(errno)),
        }
        lock::note_holder(file.as_fd());
        return Ok(Tried::Mine(Turn { above, name, _held: Held::of(file) }));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::unlinkat(&self.above, &self.name, AtFlags::empty()) {
            tracing::debug!(%error, "the lock file of an action stays until the store is opened");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    #[test]
    fn an_action_has_one_turn_at_a_time_and_leaves_no_file() {
        let scratch = tempfile::tempdir().unwrap();
        let store = store::open(&scratch.path().join("store")).unwrap();
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let Tried::Mine(turn) = store.try_turn(&one).unwrap() else { panic!("it is free") };
        assert!(matches!(store.try_turn(&one).unwrap(), Tried::Ours));
        assert!(matches!(store.try_turn(&other).unwrap(), Tried::Mine(_)));
        drop(turn);
        let lock = scratch.path().join("store/lock");
        let left = || std::fs::read_dir(&lock).unwrap().count();
        assert_eq!(left(), 1, "only the lock of gc");
        // What a kill leaves is free, and goes when the store is opened.
        std::fs::File::create(lock.join(format!("{PREFIX}{}", one.hex()))).unwrap();
        drop(store::open(&scratch.path().join("store")).unwrap());
        assert_eq!(left(), 1);
    }

    #[test]
    fn many_threads_never_have_a_turn_together() {
        let scratch = tempfile::tempdir().unwrap();
        let store = store::open(&scratch.path().join("store")).unwrap();
        let action = Digest::of(b"one");
        let inside = std::sync::atomic::AtomicUsize::new(0);
        let turns = std::sync::atomic::AtomicUsize::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while turns.load(order) < 400 {
                        let Tried::Mine(turn) = store.try_turn(&action).unwrap() else { continue };
                        assert_eq!(inside.fetch_add(1, order), 0, "two at once");
                        turns.fetch_add(1, order);
                        inside.fetch_sub(1, order);
                        drop(turn);
                    }
                });
            }
        });
    }
}
