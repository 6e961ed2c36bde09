//! Opens and hashes files of the project without ever following a symlink.
//!
//! A path is resolved by the kernel below the project's descriptor (`RESOLVE_BENEATH`,
//! `RESOLVE_NO_SYMLINKS`; name by name where the kernel is too old), so a file swapped for a link
//! between looking and opening is refused. A
//! FIFO or device does not block: files are opened with `O_NONBLOCK` and must be regular. Nothing is
//! mapped into memory: a file cut short while it is read is an error and no signal.
//!
//! Source: openat2(2).

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use model::{Blob, Hasher, RelPath};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::error::SourceError;
use super::git::id::{GitHasher, ObjectKind};
use super::git::{GitFormat, GitId};
use super::stat_cache::Stamp;

/// How many bytes are read at a time: large enough that system calls do not count.
const CHUNK_BYTES: usize = 256 << 10;

const FILE_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

const FOLDER_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The project's folder, held open.
#[derive(Debug)]
pub struct Project {
    folder: OwnedFd,
}

impl Project {
    /// Opens the folder of the build file. The path to it may lead through symlinks.
    ///
    /// # Errors
    /// It is no folder or cannot be opened.
    pub fn open(path: &Path) -> Result<Project, SourceError> {
        rustix::fs::open(path, FOLDER_FLAGS.difference(OFlags::NOFOLLOW), Mode::empty())
            .map(|folder| Project { folder })
            .map_err(|error| SourceError::Project { path: path.to_owned(), source: error.into() })
    }

    /// Opens a regular file of the project, following no symlink.
    ///
    /// # Errors
    /// [`SourceError::Changed`] if it is not there as a regular file any more,
    /// [`SourceError::Unreadable`] if it may not be read.
    pub fn open_file(&self, path: &RelPath) -> Result<File, SourceError> {
        let file = open_beneath(&self.folder, path, FILE_FLAGS)
            .map_err(|error| open_error(error, path.as_str()))?;
        match rustix::fs::fstat(&file) {
            Ok(stat) if is_regular(&stat) => Ok(File::from(file)),
            Ok(_) => Err(SourceError::Changed { path: path.to_string() }),
            Err(error) => Err(unreadable(error, path.as_str())),
        }
    }

    /// Writes a file's bytes to `sink`, for the store, and checks that they are the expected ones.
    ///
    /// The sink has got bytes even if this fails: nothing may be kept of it then.
    ///
    /// # Errors
    /// [`SourceError::Changed`] if the bytes are not those that were hashed (exit 3),
    /// [`SourceError::Sink`] if they cannot be written.
    pub fn copy_verified(
        &self,
        path: &RelPath,
        expected: &Blob,
        sink: &mut impl Write,
    ) -> Result<(), SourceError> {
        let changed = || SourceError::Changed { path: path.to_string() };
        let mut file = self.open_file(path)?;
        let mut hasher = Hasher::new();
        let mut left = expected.size;
        let mut chunk = vec![0; chunk_len(expected.size)];
        loop {
            let got = read_chunk(&mut file, &mut chunk, path.as_str())?;
            if got == 0 {
                break;
            }
            left = left.checked_sub(got as u64).ok_or_else(changed)?;
            hasher.update(&chunk[..got]);
            sink.write_all(&chunk[..got])
                .map_err(|source| SourceError::Sink { path: path.to_string(), source })?;
        }
        if hasher.finish() == *expected { Ok(()) } else { Err(changed()) }
    }

    /// Returns the descriptor of the folder.
    pub(super) fn folder(&self) -> &OwnedFd {
        &self.folder
    }
}

/// Opens a folder by its name in another.
pub(super) fn open_folder(
    parent: impl AsFd,
    name: &str,
    path: &str,
) -> Result<OwnedFd, SourceError> {
    rustix::fs::openat(parent, name, FOLDER_FLAGS, Mode::empty())
        .map_err(|error| open_error(error, path))
}

/// Returns the content of a small regular file of a folder.
pub(super) fn read_small(
    folder: impl AsFd,
    name: &str,
    path: &str,
    bytes_max: u64,
) -> Result<Vec<u8>, SourceError> {
    let fd = rustix::fs::openat(folder, name, FILE_FLAGS, Mode::empty())
        .map_err(|error| open_error(error, path))?;
    let stat = rustix::fs::fstat(&fd).map_err(|error| unreadable(error, path))?;
    if !is_regular(&stat) {
        return Err(SourceError::Changed { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    let got = File::from(fd).take(bytes_max).read_to_end(&mut bytes);
    got.map_err(|source| SourceError::Unreadable { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// Says whether a file or folder lies at a path below a folder, reached through no symlink.
pub(super) fn exists(root: impl AsFd, path: &RelPath) -> bool {
    // With `O_NOFOLLOW` as well, openat2 would return a symlink itself.
    open_beneath(root, path, OFlags::PATH | OFlags::CLOEXEC).is_ok()
}

/// Opens what lies at a path below a folder, reached through no symlink and being none.
fn open_beneath(root: impl AsFd, path: &RelPath, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(&root, path.as_str(), flags, Mode::empty(), resolve) {
        // A kernel before 5.6, or a filter around us that is older than the call.
        Err(Errno::NOSYS | Errno::PERM) => open_part_by_part(root, path, flags),
        answer => answer,
    }
}

/// As [`open_beneath`], one name after the other: a path of ours holds no `..`.
fn open_part_by_part(root: impl AsFd, path: &RelPath, flags: OFlags) -> Result<OwnedFd, Errno> {
    let folder = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let (above, name) = path.split_last().ok_or(Errno::NOENT)?;
    let mut here = rustix::fs::openat(root, ".", folder, Mode::empty())?;
    for part in above.parts() {
        here = rustix::fs::openat(&here, part, folder, Mode::empty())?;
    }
    let opened = rustix::fs::openat(here, name.as_str(), flags | OFlags::NOFOLLOW, Mode::empty())?;
    // `O_PATH` alone opens a symlink itself.
    match FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode) {
        FileType::Symlink => Err(Errno::LOOP),
        _ => Ok(opened),
    }
}

/// Hashes a file whose stamp was taken before, in one pass for both names.
///
/// # Errors
/// [`SourceError::Changed`] if it is not the file that was looked at, before or after reading.
pub(super) fn hash_at(
    folder: impl AsFd,
    name: &str,
    path: &str,
    before: &Stamp,
    git: Option<GitFormat>,
) -> Result<(Blob, Option<GitId>), SourceError> {
    let changed = || SourceError::Changed { path: path.to_owned() };
    let fd = rustix::fs::openat(folder, name, FILE_FLAGS, Mode::empty())
        .map_err(|error| open_error(error, path))?;
    let mut file = File::from(fd);
    check_stamp(&file, before, path)?;
    let mut ours = Hasher::new();
    let mut theirs = git.map(|format| GitHasher::new(format, ObjectKind::Blob, before.size));
    let mut chunk = vec![0; chunk_len(before.size)];
    let mut left = before.size;
    loop {
        let got = read_chunk(&mut file, &mut chunk, path)?;
        if got == 0 {
            break;
        }
        left = left.checked_sub(got as u64).ok_or_else(changed)?;
        ours.update(&chunk[..got]);
        if let Some(theirs) = &mut theirs {
            theirs.update(&chunk[..got]);
        }
    }
    if left != 0 {
        return Err(changed());
    }
    check_stamp(&file, before, path)?;
    Ok((ours.finish(), theirs.map(GitHasher::finish)))
}

/// Reads what tells this content from another out of `lstat`'s answer.
pub(super) fn stamp(stat: &Stat) -> Stamp {
    let nanos = |value: u64| u32::try_from(value).unwrap_or_default();
    Stamp {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: stat.st_size.unsigned_abs(),
        mtime: (stat.st_mtime, nanos(stat.st_mtime_nsec)),
        ctime: (stat.st_ctime, nanos(stat.st_ctime_nsec)),
        executable: stat.st_mode & 0o100 != 0,
    }
}

pub(super) fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

pub(super) fn unreadable(error: Errno, path: &str) -> SourceError {
    SourceError::Unreadable { path: shown(path), source: error.into() }
}

fn shown(path: &str) -> String {
    if path.is_empty() { ".".to_owned() } else { path.to_owned() }
}

/// Something that was listed and is now gone or of another kind was changed meanwhile.
pub(super) fn open_error(error: Errno, path: &str) -> SourceError {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::XDEV => {
            SourceError::Changed { path: shown(path) }
        }
        other => unreadable(other, path),
    }
}

fn check_stamp(file: &File, before: &Stamp, path: &str) -> Result<(), SourceError> {
    let stat = rustix::fs::fstat(file).map_err(|error| unreadable(error, path))?;
    if is_regular(&stat) && stamp(&stat) == *before {
        Ok(())
    } else {
        Err(SourceError::Changed { path: path.to_owned() })
    }
}

fn chunk_len(size: u64) -> usize {
    usize::try_from(size).map_or(CHUNK_BYTES, |size| size.saturating_add(1).min(CHUNK_BYTES))
}

fn read_chunk(file: &mut File, chunk: &mut [u8], path: &str) -> Result<usize, SourceError> {
    loop {
        match file.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => {
                return other
                    .map_err(|source| SourceError::Unreadable { path: path.to_owned(), source });
            }
        }
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
