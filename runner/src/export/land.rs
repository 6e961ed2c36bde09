//! Puts one file into the output folder, or finds that it is there.
//!
//! The file is compared by content, never by time or size alone; a stale copy of a right name would be
//! shipped under a statement that is about other bytes. Writing is temporary file, flush, rename, so a
//! reader sees the old file or the new one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use model::{Blob, Digest, Name};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::sums::{SUMS_BYTES_MAX, SUMS_NAME, read_sums};
use crate::persist::{self, Flush, Pending, PersistError, retry};
use crate::store::{self, Store};

/// Mode of a file that is no program.
const PLAIN: u32 = 0o644;
/// Mode of one that is.
const EXECUTABLE: u32 = 0o755;

/// The folder artifacts land in.
#[derive(Debug)]
pub struct OutFolder {
    fd: OwnedFd,
    path: PathBuf,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// The file is new, or has a new content.
    Written,
    /// It was there, byte for byte.
    Unchanged,
    /// The last build had made the same file, and somebody changed or removed it since.
    Restored,
}

/// Why a file did not land.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The folder cannot be made or opened; also where a symlink is in its place.
    #[error("opening the output folder {}", at.display())]
    Folder {
        /// The folder.
        at: PathBuf,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The file that is there cannot be read, or a folder is in its place.
    #[error("reading {}", at.display())]
    Read {
        /// The file.
        at: PathBuf,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// The file cannot be written.
    #[error("writing {}", at.display())]
    Write {
        /// The file.
        at: PathBuf,
        /// Which step failed.
        #[source]
        source: PersistError,
    },
    /// The artifact cannot be read from the store.
    #[error("exporting {}", at.display())]
    Store {
        /// The file.
        at: PathBuf,
        /// The store's answer.
        #[source]
        source: store::Error,
    },
}

impl OutFolder {
    /// Opens the folder, made with mode 0755 if it is not there. The folders above it must be there.
    ///
    /// # Errors
    /// Refuses a symlink in its place, and anything that is no folder.
    pub fn open(path: &Path) -> Result<OutFolder, ExportError> {
        let folder = |source| ExportError::Folder { at: path.to_path_buf(), source };
        match rustix::fs::mkdirat(rustix::fs::CWD, path, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(folder(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty()).map_err(folder)?;
        Ok(OutFolder { fd, path: path.to_path_buf() })
    }

    /// Returns where a file of that name lies.
    pub fn path_of(&self, name: &Name) -> PathBuf {
        self.path.join(name.as_str())
    }

    /// Lands an object of the store. `before` is what the last build landed under that name, if it
    /// did: it tells a restored file from a new one.
    ///
    /// # Errors
    /// [`ExportError`]; what was there before is untouched then.
    pub fn land(
        &self,
        store: &Store,
        name: &Name,
        blob: &Blob,
        executable: bool,
        before: Option<&Digest>,
    ) -> Result<Landed, ExportError> {
        self.land_ready(self.ready(store, name, blob, executable)?, before)
    }

    /// Lands bytes, with mode 0644.
    ///
    /// # Errors
    /// As [`OutFolder::land`].
    pub fn land_bytes(
        &self,
        name: &Name,
        bytes: &[u8],
        before: Option<&Digest>,
    ) -> Result<Landed, ExportError> {
        self.land_ready(self.ready_bytes(name, bytes)?, before)
    }

    fn land_ready(&self, ready: Ready<'_>, before: Option<&Digest>) -> Result<Landed, ExportError> {
        let landed = ready.landed(before);
        let mut batch = Batch::new(self);
        batch.add(ready);
        batch.land()?;
        Ok(landed)
    }

    /// Writes an object of the store and flushes it, so that it lacks nothing but its name: for a thread that has
    /// time.
    ///
    /// # Errors
    /// As [`OutFolder::land`].
    pub fn ready(
        &self,
        store: &Store,
        name: &Name,
        blob: &Blob,
        executable: bool,
    ) -> Result<Ready<'_>, ExportError> {
        let mode = if executable { EXECUTABLE } else { PLAIN };
        let at = self.path_of(name);
        self.ready_with(name, blob, mode, &|file| copy(store, blob, file, &at))
    }

    /// Does the same with bytes, with mode 0644.
    ///
    /// # Errors
    /// As [`OutFolder::land`].
    pub fn ready_bytes(&self, name: &Name, bytes: &[u8]) -> Result<Ready<'_>, ExportError> {
        let at = self.path_of(name);
        let fill = |file: BorrowedFd<'_>| write_bytes(name, bytes, file, &at);
        self.ready_with(name, &Blob::of(bytes), PLAIN, &fill)
    }

    /// Says whether the file of that name holds exactly those bytes with that mode.
    ///
    /// # Errors
    /// A folder in its place, and what the kernel refuses.
    pub fn holds(&self, name: &Name, blob: &Blob, mode: u32) -> Result<bool, ExportError> {
        let read = |source| ExportError::Read { at: self.path_of(name), source };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match retry(|| rustix::fs::openat(&self.fd, name.as_str(), flags, Mode::empty()))
        {
            Ok(file) => file,
            // Absent, a link, a socket, or closed to its owner: all are replaced by name.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ACCESS) => return Ok(false),
            Err(errno) => return Err(read(errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(read)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(read(Errno::ISDIR)),
            _ => return Ok(false),
        }
        if stat.st_size.cast_unsigned() != blob.size || stat.st_mode & 0o7777 != mode {
            return Ok(false);
        }
        match store::hash_file(&file, &mut |_| ()) {
            Ok(there) => Ok(there == *blob),
            Err(store::Error::Changed) => Ok(false),
            Err(source) => Err(ExportError::Store { at: self.path_of(name), source }),
        }
    }

    /// Returns what the list of digests in this folder says of `wanted` files that still are as it
    /// says. What cannot be read says nothing: the list is written anew in any case.
    pub fn listed(&self, wanted: &dyn Fn(&Name) -> bool) -> Vec<(Name, Digest)> {
        let Ok(list) = Name::new(SUMS_NAME) else { return Vec::new() };
        let read = self.open_file(&list).filter(|(_, size)| *size <= SUMS_BYTES_MAX);
        let Some((file, size)) = read else { return Vec::new() };
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let Ok(got) = retry(|| rustix::io::pread(&file, &mut bytes[..], 0)) else {
            return Vec::new();
        };
        let text = String::from_utf8_lossy(&bytes[..got]).into_owned();
        let is_so = |(name, digest): &(Name, Digest)| {
            wanted(name)
                && self.open_file(name).is_some_and(|(file, _)| {
                    store::hash_file(&file, &mut |_| ()).is_ok_and(|there| there.digest == *digest)
                })
        };
        read_sums(&text).into_iter().filter(is_so).collect()
    }

    /// Opens a regular file without following a link, and says how many bytes it has.
    fn open_file(&self, name: &Name) -> Option<(OwnedFd, u64)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = retry(|| rustix::fs::openat(&self.fd, name.as_str(), flags, Mode::empty()));
        let file = opened.ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        regular.then_some((file, stat.st_size.cast_unsigned()))
    }

    fn ready_with(
        &self,
        name: &Name,
        blob: &Blob,
        mode: u32,
        fill: &Fill<'_>,
    ) -> Result<Ready<'_>, ExportError> {
        let pending = self.prepare(name, blob, mode, fill)?;
        if let Some(pending) = &pending {
            let write = |source| ExportError::Write { at: self.path_of(name), source };
            pending.finish(name.as_str(), mode, Flush::Now).map_err(write)?;
        }
        Ok(Ready { name: name.to_string(), digest: blob.digest, pending })
    }

    /// Writes the file under a temporary name; none where it is there already.
    fn prepare(
        &self,
        name: &Name,
        blob: &Blob,
        mode: u32,
        fill: &Fill<'_>,
    ) -> Result<Option<Pending<'_>>, ExportError> {
        if self.holds(name, blob, mode)? {
            return Ok(None);
        }
        let write = |source| ExportError::Write { at: self.path_of(name), source };
        let pending = Pending::create(self.fd.as_fd(), name.as_str()).map_err(write)?;
        fill(pending.file())?;
        Ok(Some(pending))
    }
}

/// Files that land together: all of them are on the disk before the first has its name, and the folder is flushed
/// once.
#[derive(Debug)]
pub struct Batch<'a> {
    out: &'a OutFolder,
    waiting: Vec<(String, u32, Pending<'a>)>,
    ready: Vec<(String, Pending<'a>)>,
}

impl<'a> Batch<'a> {
    /// Begins one.
    pub fn new(out: &'a OutFolder) -> Batch<'a> {
        Batch { out, waiting: Vec::new(), ready: Vec::new() }
    }

    /// Adds a file that is ready.
    pub fn add(&mut self, ready: Ready<'a>) {
        let Ready { name, pending, .. } = ready;
        self.ready.extend(pending.map(|pending| (name, pending)));
    }

    /// Adds bytes, with mode 0644, to be flushed side by side with the others.
    ///
    /// # Errors
    /// As [`OutFolder::land`]; nothing of the batch lands then.
    pub fn add_bytes(&mut self, name: &Name, bytes: &[u8]) -> Result<(), ExportError> {
        let at = self.out.path_of(name);
        let fill = |file: BorrowedFd<'_>| write_bytes(name, bytes, file, &at);
        let pending = self.out.prepare(name, &Blob::of(bytes), PLAIN, &fill)?;
        self.waiting.extend(pending.map(|pending| (name.to_string(), PLAIN, pending)));
        Ok(())
    }

    /// Lands them in the order in which they were added, those last that were ready.
    ///
    /// # Errors
    /// [`ExportError`]. Where a file could not be flushed, what was there before is untouched.
    pub fn land(self) -> Result<(), ExportError> {
        let write = |source| ExportError::Write { at: self.out.path.clone(), source };
        persist::publish_all(self.out.fd.as_fd(), self.waiting, self.ready).map_err(write)
    }
}

/// A file that is on the disk and lacks nothing but its name, or that is there already. Dropped, it is removed.
#[derive(Debug)]
pub struct Ready<'a> {
    name: String,
    digest: Digest,
    pending: Option<Pending<'a>>,
}

impl Ready<'_> {
    /// Says what landing it does, where the last build landed `before` under its name.
    pub fn landed(&self, before: Option<&Digest>) -> Landed {
        match &self.pending {
            None => Landed::Unchanged,
            Some(_) if before == Some(&self.digest) => Landed::Restored,
            Some(_) => Landed::Written,
        }
    }
}

/// Writes a file's content.
type Fill<'a> = dyn Fn(BorrowedFd<'_>) -> Result<(), ExportError> + 'a;

fn copy(store: &Store, blob: &Blob, file: BorrowedFd<'_>, at: &Path) -> Result<(), ExportError> {
    let failed = |source| ExportError::Store { at: at.to_path_buf(), source };
    store.copy_to(blob, file).map_err(failed)
}

fn write_bytes(
    name: &Name,
    bytes: &[u8],
    file: BorrowedFd<'_>,
    at: &Path,
) -> Result<(), ExportError> {
    persist::write_all(file, bytes).map_err(|source| ExportError::Write {
        at: at.to_path_buf(),
        source: PersistError::Write { name: name.to_string(), source },
    })
}
