//! How a lasting file is written: temporary file, flush, rename.
//!
//! Whoever reads the file sees the old bytes or the new ones, at every moment and after every crash.
//! The temporary file lies in the folder of the final one, or in one of the same file system that the
//! caller clears; it is made with `O_EXCL`, so that nothing planted under its name is written through.
//!
//! Works relative to a folder's descriptor and never follows a symlink at the last name. Reads no
//! clock and no randomness: names carry the process id and a counter, and a taken one is passed over.
//! Does not catch: a temporary file left by a process that was killed; it is never read.
//!
//! Spec: docs/formats.md, "Store"; rename(2), fsync(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// How often a taken temporary name is passed over before giving up: leftovers of dead processes
/// that had the same process id.
const NAME_TRIES_MAX: u32 = 10_000;

/// How the names of temporary files begin.
pub(crate) const TEMPORARY_PREFIX: &str = ".kiln-";

/// Whether the bytes must outlive a power failure when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// File and folder are flushed one by one before the call returns.
    Now,
    /// A later flush of the whole file system covers them ([`crate::store::Store::sync`]).
    Later,
}

/// Why a lasting file was not written; the one that was there is untouched.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// No temporary file could be made beside it.
    #[error("creating a temporary file for `{name}`")]
    Create {
        /// The final name, escaped.
        name: String,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The bytes could not be written.
    #[error("writing `{name}`")]
    Write {
        /// The final name, escaped.
        name: String,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The bytes could not be flushed; trying again could report success falsely.
    #[error("flushing `{name}`")]
    Flush {
        /// The final name, escaped.
        name: String,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The temporary file could not take the final name.
    #[error("moving `{name}` into place")]
    Rename {
        /// The final name, escaped.
        name: String,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
}

impl PersistError {
    /// Returns the kernel's answer.
    pub fn errno(&self) -> Errno {
        match self {
            PersistError::Create { source, .. }
            | PersistError::Write { source, .. }
            | PersistError::Flush { source, .. }
            | PersistError::Rename { source, .. } => *source,
        }
    }
}

/// A file that is being written and has no name of its own yet. Dropped unfinished, it is removed.
#[derive(Debug)]
pub struct Pending<'dir> {
    scratch: BorrowedFd<'dir>,
    file: OwnedFd,
    temporary: String,
    named: bool,
}

/// Writes `bytes` as the file `name` of `folder`, in the place of whatever file or link was there.
///
/// # Errors
/// Says which step failed; the old file is untouched then.
pub fn replace(
    folder: BorrowedFd<'_>,
    name: &str,
    bytes: &[u8],
    mode: u32,
    flush: Flush,
) -> Result<(), PersistError> {
    replace_through(folder, folder, name, bytes, mode, flush)
}

/// As [`replace`], with the temporary file in `scratch`, a folder of the same file system.
///
/// # Errors
/// Says which step failed; the old file is untouched then.
pub fn replace_through(
    scratch: BorrowedFd<'_>,
    folder: BorrowedFd<'_>,
    name: &str,
    bytes: &[u8],
    mode: u32,
    flush: Flush,
) -> Result<(), PersistError> {
    let pending = Pending::create(scratch, name)?;
    write_all(pending.file(), bytes)
        .map_err(|source| PersistError::Write { name: shown(name), source })?;
    pending.publish(folder, name, mode, flush)
}

impl<'dir> Pending<'dir> {
    /// Makes an empty file in `scratch`, readable by its owner only, that will be called `name`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(scratch: BorrowedFd<'dir>, name: &str) -> Result<Pending<'dir>, PersistError> {
        let create = |source| PersistError::Create { name: shown(name), source };
        for _ in 0..NAME_TRIES_MAX {
            let temporary = format!("{TEMPORARY_PREFIX}{}", fresh());
            match create_exclusive(scratch, &temporary) {
                Ok(file) => return Ok(Pending { scratch, file, temporary, named: false }),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(create(errno)),
            }
        }
        Err(create(Errno::EXIST))
    }

    /// Returns the descriptor to write through.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Gives the file its mode and its name in `folder`, and flushes it if asked to.
    ///
    /// # Errors
    /// Says which step failed; what had the name before is untouched then.
    pub fn publish(
        mut self,
        folder: BorrowedFd<'_>,
        name: &str,
        mode: u32,
        flush: Flush,
    ) -> Result<(), PersistError> {
        self.finish(name, mode, flush)?;
        self.rename(folder, name)?;
        match flush {
            Flush::Now => flush_folder(folder, name),
            Flush::Later => Ok(()),
        }
    }

    /// Gives the file its mode, and flushes it if asked to.
    ///
    /// # Errors
    /// Says which step failed.
    pub fn finish(&self, name: &str, mode: u32, flush: Flush) -> Result<(), PersistError> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))
            .map_err(|source| PersistError::Write { name: shown(name), source })?;
        match flush {
            Flush::Now => rustix::fs::fsync(&self.file)
                .map_err(|source| PersistError::Flush { name: shown(name), source }),
            Flush::Later => Ok(()),
        }
    }

    fn rename(&mut self, folder: BorrowedFd<'_>, name: &str) -> Result<(), PersistError> {
        rustix::fs::renameat(self.scratch, &self.temporary, folder, name)
            .map_err(|source| PersistError::Rename { name: shown(name), source })?;
        self.named = true;
        Ok(())
    }
}

/// Gives several files their modes and names, in this order, once all of them are flushed; then flushes their
/// folder, once. Those that are `finished` already come last.
///
/// # Errors
/// Says which step failed. What had a name before is untouched if a file could not be flushed.
pub fn publish_all<'dir>(
    folder: BorrowedFd<'_>,
    files: Vec<(String, u32, Pending<'dir>)>,
    finished: Vec<(String, Pending<'dir>)>,
) -> Result<(), PersistError> {
    files.chunks(FLUSHED_AT_ONCE).try_for_each(finish_all)?;
    let mut all: Vec<(String, Pending<'dir>)> =
        files.into_iter().map(|(name, _, file)| (name, file)).chain(finished).collect();
    for (name, file) in &mut all {
        file.rename(folder, name)?;
    }
    all.last().map_or(Ok(()), |(name, _)| flush_folder(folder, name))
}

/// Most files that are flushed side by side.
const FLUSHED_AT_ONCE: usize = 8;

/// Gives files their modes and flushes them, side by side: a file system with a journal writes it once for all.
fn finish_all(files: &[(String, u32, Pending<'_>)]) -> Result<(), PersistError> {
    let Some(((name, mode, first), rest)) = files.split_first() else { return Ok(()) };
    std::thread::scope(|scope| {
        let flush =
            |(name, mode, file): &(String, u32, Pending<'_>)| file.finish(name, *mode, Flush::Now);
        let others: Vec<_> = rest.iter().map(|one| meanwhile(scope, move || flush(one))).collect();
        let first = first.finish(name, *mode, Flush::Now);
        others.into_iter().map(|flushed| flushed()).fold(first, Result::and)
    })
}

/// Begins work beside this thread's own, and returns what waits for it; where no thread can be started, that
/// does it.
pub(crate) fn meanwhile<'scope, T: Send + 'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    work: impl Fn() -> T + Copy + Send + 'scope,
) -> impl FnOnce() -> T {
    /// Whatever the environment asks for (RUST_MIN_STACK).
    const STACK_BYTES: usize = 256 << 10;
    let begun = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
    move || match begun {
        Ok(begun) => begun.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        Err(_) => work(),
    }
}

fn flush_folder(folder: BorrowedFd<'_>, name: &str) -> Result<(), PersistError> {
    rustix::fs::fsync(folder).map_err(|source| PersistError::Flush { name: shown(name), source })
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.named
            && let Err(error) =
                rustix::fs::unlinkat(self.scratch, &self.temporary, AtFlags::empty())
        {
            tracing::warn!(name = self.temporary, %error, "a temporary file was left behind");
        }
    }
}

/// Returns a text that no other call in this process returns: process id and counter.
pub(crate) fn fresh() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Makes a new file beneath `folder`, for its owner only, refusing whatever has that name.
pub(crate) fn create_exclusive(folder: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry(|| rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR))
}

/// Writes all of `bytes` at the descriptor's position.
pub(crate) fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = retry(|| rustix::io::write(file, bytes))?;
        if written == 0 {
            return Err(Errno::IO);
        }
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Repeats a call that a signal interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}

fn shown(name: &str) -> String {
    model::text::escape(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn open(folder: &std::path::Path) -> OwnedFd {
        std::fs::File::open(folder).unwrap().into()
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let fd = open(folder.path());
        replace(fd.as_fd(), "f", b"one", 0o644, Flush::Now).unwrap();
        replace(fd.as_fd(), "f", b"two", 0o600, Flush::Later).unwrap();
        let at = folder.path().join("f");
        assert_eq!(std::fs::read(&at).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&at).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn several_files_get_their_names_together_or_none_does() {
        let folder = tempfile::tempdir().unwrap();
        let fd = open(folder.path());
        let pending = |bytes: &[u8]| {
            let pending = Pending::create(fd.as_fd(), "x").unwrap();
            write_all(pending.file(), bytes).unwrap();
            pending
        };
        let files = vec![
            ("a".to_owned(), 0o644, pending(b"one")),
            ("b".to_owned(), 0o600, pending(b"two")),
        ];
        publish_all(fd.as_fd(), files, Vec::new()).unwrap();
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"one");
        assert_eq!(std::fs::read(folder.path().join("b")).unwrap(), b"two");
        let mode = |name| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!((mode("a") & 0o7777, mode("b") & 0o7777), (0o644, 0o600));
        // The second cannot be flushed: a pipe.
        let (_reader, writer) = rustix::pipe::pipe().unwrap();
        let mut second = pending(b"four");
        second.file = writer;
        let files =
            vec![("a".to_owned(), 0o644, pending(b"three")), ("b".to_owned(), 0o644, second)];
        let refused = publish_all(fd.as_fd(), files, Vec::new()).unwrap_err();
        assert!(matches!(refused, PersistError::Flush { .. }), "{refused}");
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"one");
        assert_eq!(std::fs::read(folder.path().join("b")).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_symlink_under_the_name_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        std::os::unix::fs::symlink(&target, folder.path().join("f")).unwrap();
        replace(open(folder.path()).as_fd(), "f", b"x", 0o644, Flush::Now).unwrap();
        assert!(!target.exists());
        assert!(folder.path().join("f").symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn a_file_that_was_never_finished_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let fd = open(folder.path());
        drop(Pending::create(fd.as_fd(), "f").unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
