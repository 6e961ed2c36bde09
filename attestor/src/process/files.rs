//! The attestor's own files: private folders, whole reads with a cap, and writes that are durable
//! and never half done.
//!
//! A new file appears under its name complete and flushed, or not at all: it is written under a
//! temporary name, flushed, then linked (never overwriting) or renamed (replacing), and the folder
//! is flushed. Links are never followed at the last part of a path.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// Mode of every file that is written here.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// What was attempted with which path.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("make the folder {}", path.display())]
    MakeFolder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the folder {} can be entered by others; remove their rights: chmod 700", path.display())]
    OpenFolder { path: PathBuf },
    #[error("open {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is no regular file of at most {most} bytes", path.display())]
    NotPlain { path: PathBuf, most: usize },
    #[error("{} can be read by others or is not yours; run: chmod 600", path.display())]
    NotPrivate { path: PathBuf },
    #[error(
        "{} belongs to user {uid} with mode {mode:03o}; it has to be root's or that of user {own}, and nobody else may write there",
        path.display()
    )]
    Strange { path: PathBuf, uid: u32, mode: u32, own: u32 },
    #[error("{} is a link; give its place to a plain file", path.display())]
    Link { path: PathBuf },
    #[error("write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} exists already", path.display())]
    Exists { path: PathBuf },
    #[error("lock {}", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: Errno,
    },
    #[error("draw random bytes")]
    Random(#[source] getrandom::Error),
}

/// Makes a folder and those above it, 0700, or checks that nobody else can write in the one that is
/// there.
pub(super) fn private_folder(path: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| FileError::MakeFolder { path: path.to_owned(), source })?;
    let stat = rustix::fs::stat(path)
        .map_err(|source| FileError::Open { path: path.to_owned(), source })?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::WGRP | Mode::WOTH) {
        return Err(FileError::OpenFolder { path: path.to_owned() });
    }
    Ok(())
}

/// Checks that only root and this user can have put anything into a folder. One that is not there is nobody's.
pub(super) fn owned_folder(path: &Path) -> Result<(), FileError> {
    match rustix::fs::stat(path) {
        Ok(stat) => check_owner(path, &stat),
        Err(Errno::NOENT) => Ok(()),
        Err(source) => Err(FileError::Open { path: path.to_owned(), source }),
    }
}

fn check_owner(path: &Path, stat: &Stat) -> Result<(), FileError> {
    let (uid, own) = (stat.st_uid, rustix::process::geteuid().as_raw());
    let others = Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH);
    if others || ![0, own].contains(&uid) {
        let mode = stat.st_mode & 0o777;
        return Err(FileError::Strange { path: path.to_owned(), uid, mode, own });
    }
    Ok(())
}

/// Reads a file that says whom to believe or whom to hear, and refuses it where anybody but root and this user could
/// have written it, or put it there.
pub(super) fn read_believed(path: &Path, most: usize) -> Result<Option<Vec<u8>>, FileError> {
    owned_folder(path.parent().unwrap_or(Path::new("/")))?;
    let file = match open(path, most) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(FileError::Open { path, source: Errno::LOOP }) => {
            return Err(FileError::Link { path });
        }
        Err(error) => return Err(error),
    };
    let stat = rustix::fs::fstat(&file)
        .map_err(|source| FileError::Open { path: path.to_owned(), source })?;
    check_owner(path, &stat)?;
    let mut bytes = read_whole(path, &file, most)?;
    Ok(Some(std::mem::take(&mut *bytes)))
}

/// Reads a file of at most `most` bytes; none if there is none.
pub(super) fn read(path: &Path, most: usize) -> Result<Option<Vec<u8>>, FileError> {
    let Some(file) = open(path, most)? else { return Ok(None) };
    let mut bytes = read_whole(path, &file, most)?;
    Ok(Some(std::mem::take(&mut *bytes)))
}

/// Reads a file as [`read`] does, and refuses one that anybody but root and this user could have
/// written.
#[cfg(feature = "keyless")]
pub(super) fn read_owned(path: &Path, most: usize) -> Result<Option<Vec<u8>>, FileError> {
    let Some(file) = open(path, most)? else { return Ok(None) };
    let stat = rustix::fs::fstat(&file)
        .map_err(|source| FileError::Open { path: path.to_owned(), source })?;
    check_owner(path, &stat)?;
    let bytes = std::mem::take(&mut *read_whole(path, &file, most)?);
    Ok(Some(bytes))
}

/// Reads what a descriptor of this process holds, which must be a regular file: a pipe could be read
/// once only.
#[cfg(feature = "pkcs11")]
pub(super) fn read_descriptor(number: u32, most: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let path = PathBuf::from(format!("/proc/self/fd/{number}"));
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(&path, flags, Mode::empty())
        .map_err(|source| FileError::Open { path: path.clone(), source })?;
    check_plain(&path, &file, most)?;
    read_whole(&path, &file, most)
}

/// Reads a file that holds a secret: a regular file of this user that nobody else can read. What was
/// read is wiped when dropped.
pub(super) fn read_private(
    path: &Path,
    most: usize,
) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let Some(file) = open(path, most)? else { return Ok(None) };
    let stat = rustix::fs::fstat(&file)
        .map_err(|source| FileError::Open { path: path.to_owned(), source })?;
    let others = Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO);
    if others || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(FileError::NotPrivate { path: path.to_owned() });
    }
    read_whole(path, &file, most).map(Some)
}

/// Reads a secret that a platform mounts: by way of links, as those replace it, and with the rights that
/// they give it. What was read is wiped when dropped.
#[cfg(feature = "keyless")]
pub(super) fn read_mounted(
    path: &Path,
    most: usize,
) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(source) => return Err(FileError::Open { path: path.to_owned(), source }),
    };
    check_plain(path, &file, most)?;
    read_whole(path, &file, most).map(Some)
}

fn open(path: &Path, most: usize) -> Result<Option<OwnedFd>, FileError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(source) => return Err(FileError::Open { path: path.to_owned(), source }),
    };
    check_plain(path, &file, most)?;
    Ok(Some(file))
}

fn check_plain(path: &Path, file: &OwnedFd, most: usize) -> Result<(), FileError> {
    let stat = rustix::fs::fstat(file)
        .map_err(|source| FileError::Open { path: path.to_owned(), source })?;
    let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || size > most {
        return Err(FileError::NotPlain { path: path.to_owned(), most });
    }
    Ok(())
}

fn read_whole(path: &Path, file: &OwnedFd, most: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let file = std::fs::File::from(file.try_clone().map_err(failed)?);
    // Enough at once, so that no half-filled buffer is left behind when the bytes are a secret.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most.min(64 << 10)));
    file.take(most as u64).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Writes a new file; refuses if the name is taken.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = write_temporary(path, bytes)?;
    let linked = rustix::fs::linkat(CWD, &temporary, CWD, path, AtFlags::empty());
    let removed = rustix::fs::unlink(&temporary);
    match linked.and(removed) {
        Ok(()) => flush_folder(path),
        Err(Errno::EXIST) => Err(FileError::Exists { path: path.to_owned() }),
        Err(source) => Err(FileError::Write { path: path.to_owned(), source: source.into() }),
    }
}

/// Writes a new file, durable when this returns, and leaves its temporary name beside it: who finds both knows that
/// what was to come after the file never ended. Returns that name.
///
/// It gets its name before it is flushed, since a file system with a journal then writes that once for both. So a
/// crash can leave a file that is not whole, but never without its temporary name.
pub(super) fn write_marked(path: &Path, bytes: &[u8]) -> Result<PathBuf, FileError> {
    let (mark, file) = write_unflushed(path, bytes)?;
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    if let Err(error) = rustix::fs::linkat(CWD, &mark, CWD, path, AtFlags::empty()) {
        let _ = rustix::fs::unlink(&mark);
        return Err(match error {
            Errno::EXIST => FileError::Exists { path: path.to_owned() },
            source => failed(source.into()),
        });
    }
    match file.sync_all().map_err(failed).and_then(|()| flush_folder(path)) {
        Ok(()) => Ok(mark),
        Err(error) => {
            // Trying again could report success falsely. The first failure is the one to tell.
            let _ = rustix::fs::unlink(path);
            let _ = rustix::fs::unlink(&mark);
            Err(error)
        }
    }
}

/// Writes a file in the place of the one that may be there.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = write_temporary(path, bytes)?;
    rustix::fs::rename(&temporary, path)
        .map_err(|source| FileError::Write { path: path.to_owned(), source: source.into() })?;
    flush_folder(path)
}

/// Gives the file at `from` a second name; refuses if the name is taken by another file.
pub(super) fn link(from: &Path, to: &Path) -> Result<(), FileError> {
    match rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty()) {
        Ok(()) => flush_folder(to),
        Err(Errno::EXIST) => Err(FileError::Exists { path: to.to_owned() }),
        Err(source) => Err(FileError::Write { path: to.to_owned(), source: source.into() }),
    }
}

/// What every temporary file's name begins with: such a file was never announced to anybody.
pub(super) const TEMPORARY_PREFIX: &str = ".new-";

fn write_temporary(path: &Path, bytes: &[u8]) -> Result<PathBuf, FileError> {
    let (temporary, file) = write_unflushed(path, bytes)?;
    if let Err(source) = file.sync_all() {
        // The first failure is the one to tell; a file left behind is swept at the next start.
        let _ = rustix::fs::unlink(&temporary);
        return Err(FileError::Write { path: temporary, source });
    }
    Ok(temporary)
}

fn write_unflushed(path: &Path, bytes: &[u8]) -> Result<(PathBuf, std::fs::File), FileError> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(FileError::Random)?;
    let name = format!("{TEMPORARY_PREFIX}{:016x}", u64::from_be_bytes(random));
    let temporary = path.with_file_name(name);
    let failed = |source| FileError::Write { path: temporary.clone(), source };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file =
        rustix::fs::open(&temporary, flags, PRIVATE_FILE).map_err(|error| failed(error.into()))?;
    let mut file = std::fs::File::from(file);
    if let Err(source) = file.write_all(bytes) {
        let _ = rustix::fs::unlink(&temporary);
        return Err(failed(source));
    }
    Ok((temporary, file))
}

fn flush_folder(path: &Path) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let failed =
        |source: Errno| FileError::Write { path: folder.to_owned(), source: source.into() };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).map_err(failed)?;
    rustix::fs::fsync(folder.as_fd()).map_err(failed)
}

/// Takes the lock at `path` and waits for it; it is given back when the descriptor is dropped.
pub(super) fn lock(path: &Path) -> Result<OwnedFd, FileError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    take(path, rustix::fs::open(path, flags, PRIVATE_FILE))
}

/// Does the same without writing; there is none to take where nobody ever made one.
pub(super) fn lock_existing(path: &Path) -> Result<Option<OwnedFd>, FileError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(None),
        opened => take(path, opened).map(Some),
    }
}

fn take(path: &Path, opened: Result<OwnedFd, Errno>) -> Result<OwnedFd, FileError> {
    let failed = |source| FileError::Lock { path: path.to_owned(), source };
    let file = opened.map_err(failed)?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::INTR) => {}
            Err(source) => return Err(failed(source)),
        }
    }
}
