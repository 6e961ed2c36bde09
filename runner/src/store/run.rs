//! Files of a run that other runs may read while it lasts.
//!
//! They lie in the run's own folder under `tmp/` and are removed with it. Whether a run, or the
//! writer of a file, still lives is asked of its lock: it is held as long as the process is.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};

use super::error::{Error, Operation, io};
use super::lock;
use super::open::{Store, folder, names};
use crate::persist::{self, retry};

/// A file of this run that others can read; locked until this is dropped.
#[derive(Debug)]
pub struct RunFile {
    file: File,
}

/// The folder of another run.
#[derive(Debug)]
pub struct OtherRun {
    folder: OwnedFd,
}

impl RunFile {
    /// Returns the file, to write at its end.
    pub fn as_file(&self) -> &File {
        &self.file
    }
}

impl Store {
    /// Writes a small file of this run, whole or not at all.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn write_run_file(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write_own(self.run.as_fd(), name, bytes)
    }

    /// Makes an empty file of this run, locked.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn make_run_file(&self, name: &str) -> Result<RunFile, Error> {
        let at = || Path::new("tmp").join(name);
        // Locked before it has its name, so that nobody finds it free.
        let temporary = persist::fresh();
        let file = persist::create_exclusive(self.run.as_fd(), &temporary)
            .map_err(io(Operation::Create, at()))?;
        retry(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive))
            .map_err(io(Operation::Lock, at()))?;
        rustix::fs::renameat(&self.run, &temporary, &self.run, name)
            .map_err(io(Operation::Rename, at()))?;
        Ok(RunFile { file: File::from(file) })
    }

    /// Returns the other runs that have this store open.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn other_runs(&self) -> Result<Vec<OtherRun>, Error> {
        // A run that registers just now has a folder and no lock yet, which must not be tried then.
        let _alone = lock::exclusive(self.root.as_fd(), "lock/gc", self.wait)?;
        let tmp = folder(self.root.as_fd(), "tmp")?;
        let own = self.run_path();
        let others = names(tmp.as_fd(), "tmp")?.into_iter().filter(|name| !own.ends_with(name));
        // One that ended meanwhile is none.
        Ok(others
            .filter_map(|name| folder(tmp.as_fd(), &name).ok())
            .map(|folder| OtherRun { folder })
            .filter(|run| !run.is_over())
            .collect())
    }
}

impl OtherRun {
    /// Opens a regular file of that run; none if it is not there.
    pub fn open(&self, name: &str) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = retry(|| rustix::fs::openat(&self.folder, name, flags, Mode::empty())).ok()?;
        let stat = rustix::fs::fstat(&opened).ok()?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        regular.then(|| File::from(opened))
    }

    /// Says whether that run is over.
    pub fn is_over(&self) -> bool {
        // By an open file of its own, so that the lock is given back at once.
        folder(self.folder.as_fd(), ".").is_ok_and(|again| is_free(&again))
    }
}

/// Says whether nobody holds the lock of an open file for itself; gives it back at once.
pub fn is_free(file: impl AsFd) -> bool {
    let file = file.as_fd();
    let free = lock::try_lock(file, FlockOperation::NonBlockingLockShared).unwrap_or(false);
    if free {
        // A lock of this descriptor alone; closing it would give it back as well.
        let _ = rustix::fs::flock(file, FlockOperation::Unlock);
    }
    free
}
