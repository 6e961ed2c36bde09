//! An output folder belongs to one build at a time.
//!
//! The lock is on the folder itself, so it holds between users and between stores, leaves no file, and a
//! killed build frees it by dying. The folder is made for it where it is not there, and taken away again
//! if nothing came to lie in it. Who holds it is asked of the kernel, and only shown.
//!
//! Does not catch: a file system without locks on folders (some over a network); two builds there write
//! into each other's files, each of them whole.
//!
//! Source: flock(2), proc_locks(5).

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::ExportError;
use crate::persist::retry;

/// An output folder that is this build's, until this is dropped.
#[derive(Debug)]
pub struct Claim {
    fd: OwnedFd,
    path: PathBuf,
    made: bool,
}

/// Whose an output folder is.
#[derive(Debug)]
pub enum Claimed {
    /// The caller's.
    Mine(Claim),
    /// Another build's, by its process number where the kernel tells it.
    Theirs(Option<u32>),
}

impl Claim {
    /// Tries once to claim a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`ExportError::Folder`]: it cannot be made or opened.
    pub fn attempt(path: &Path) -> Result<Claimed, ExportError> {
        let refuse = |source| ExportError::Folder { at: path.to_path_buf(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let made = match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(errno) => return Err(refuse(errno)),
            };
            let fd = match retry(|| rustix::fs::openat(CWD, path, flags, Mode::empty())) {
                // Whoever had made it took it away again.
                Err(Errno::NOENT) => continue,
                opened => opened.map_err(refuse)?,
            };
            let held = rustix::fs::fstat(&fd).map_err(refuse)?;
            match retry(|| rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    return Ok(Claimed::Theirs(holder(held.st_dev, held.st_ino)));
                }
                Err(error) => tracing::debug!(%error, "the output folder cannot be locked"),
            }
            match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(named) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino) => {}
                Ok(_) | Err(Errno::NOENT) => continue,
                Err(errno) => return Err(refuse(errno)),
            }
            return Ok(Claimed::Mine(Claim { fd, path: path.to_path_buf(), made }));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Refused where something lies in it.
        if self.made && rustix::fs::unlinkat(CWD, &self.path, AtFlags::REMOVEDIR).is_ok() {
            tracing::trace!("nothing came to lie in the output folder");
        }
        // By name: a program that is being started may hold a copy of the descriptor.
        if let Err(error) = retry(|| rustix::fs::flock(self.fd.as_fd(), FlockOperation::Unlock)) {
            tracing::debug!(%error, "the output folder is free once the last descriptor is closed");
        }
    }
}

/// The times that the kernel's list is read for one holder.
const READS: usize = 16;

/// Returns who holds the lock on a file, as far as the kernel tells. Its list comes a page at a time, and a
/// lock that others free between two pages moves one that stays over the edge: so it is read again.
fn holder(dev: u64, ino: u64) -> Option<u32> {
    let at = format!("{:02x}:{:02x}:{ino}", rustix::fs::major(dev), rustix::fs::minor(dev));
    (0..READS).find_map(|_| {
        let text = std::fs::read_to_string("/proc/locks").ok()?;
        text.lines().find_map(|line| held_by(line, &at))
    })
}

/// Reads one line: `1: FLOCK  ADVISORY  WRITE 2153 fe:00:5931243 0 EOF`. A number of 0 is a process of
/// another pid namespace; a line with `->` is of one that waits.
fn held_by(line: &str, at: &str) -> Option<u32> {
    let mut words = line.split_whitespace().skip(1);
    let ours = (words.next()?, words.nth(1)?) == ("FLOCK", "WRITE");
    let pid = words.next()?.parse().ok().filter(|pid| *pid != 0);
    pid.filter(|_| ours && words.next() == Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mine(path: &Path) -> Claim {
        match Claim::attempt(path).unwrap() {
            Claimed::Mine(claim) => claim,
            Claimed::Theirs(who) => panic!("held by {who:?}"),
        }
    }

    #[test]
    fn a_folder_is_one_builds_and_goes_if_nothing_came_to_lie_in_it() {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("kiln-out");
        let claim = mine(&out);
        let own = std::process::id();
        assert!(matches!(Claim::attempt(&out).unwrap(), Claimed::Theirs(Some(pid)) if pid == own));
        drop(claim);
        assert!(!out.exists());
        let claim = mine(&out);
        std::fs::File::create(out.join("artifact")).unwrap();
        drop(claim);
        drop(mine(&out));
        assert!(out.join("artifact").exists());
        std::fs::remove_file(out.join("artifact")).unwrap();
        // A folder that was there stays, empty or not.
        drop(mine(&out));
        assert!(out.exists());
    }

    #[test]
    fn a_line_of_the_kernels_names_the_holder_alone() {
        let at = "fe:00:59";
        for (line, who) in [
            ("1: FLOCK  ADVISORY  WRITE 2153 fe:00:59 0 EOF", Some(2153)),
            ("1: FLOCK  ADVISORY  WRITE 2153 fe:00:591 0 EOF", None),
            ("1: POSIX  ADVISORY  WRITE 2153 fe:00:59 0 EOF", None),
            ("1: FLOCK  ADVISORY  READ 2153 fe:00:59 0 EOF", None),
            ("1: FLOCK  ADVISORY  WRITE 0 fe:00:59 0 EOF", None),
            ("1: -> FLOCK  ADVISORY  WRITE 2154 fe:00:59 0 EOF", None),
            ("", None),
        ] {
            assert_eq!(held_by(line, at), who, "{line}");
        }
    }
}
