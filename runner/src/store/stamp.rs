//! The stamp of a checkout: says cheaply whether anybody touched it since it was made.
//!
//! A digest over the metadata of every entry, taken when the checkout was made and kept beside it.
//! Reading every byte again would be as dear as making the checkout anew; asking for every entry's
//! metadata takes milliseconds. The change time is what makes it sound: the kernel sets it at every
//! change of bytes, mode, owner, links or names, and nobody can set it back. Inode numbers are taken
//! of files and links only; file systems that stack others make up those of folders at each mount.
//!
//! What cannot be looked at has no stamp, and so is not used.
//!
//! Does not catch: a program of the same user that writes a new stamp as well; a change within the
//! clock tick in which the entry was made; one made while a step runs, until the next use.
//!
//! Spec: inode(7), "change time".

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use model::{Digest, Hasher};
use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::checkout::VISIBLE;
use super::error::{Error, Operation, io};
use super::open::read_own;
use crate::persist;

/// The entry of a checkout's folder that holds the stamp.
const STAMP: &str = "stamp";

/// What one folder holds: its part of the stamp, and the folders below it by path.
struct Level {
    text: Vec<u8>,
    below: Vec<CString>,
}

/// Writes the stamp of a checkout that was just made.
pub(super) fn write(checkout: BorrowedFd<'_>) -> Result<(), Error> {
    let stamp = read(checkout).map_err(io(Operation::Inspect, VISIBLE))?;
    let file = persist::create_exclusive(checkout, STAMP).map_err(io(Operation::Create, STAMP))?;
    persist::write_all(file.as_fd(), stamp.hex().as_bytes()).map_err(io(Operation::Write, STAMP))
}

/// Says whether a checkout is as it was when it was made.
pub(super) fn agrees(checkout: BorrowedFd<'_>) -> bool {
    let kept = read_own(checkout, STAMP).ok().flatten();
    kept.is_some_and(|kept| read(checkout).is_ok_and(|now| kept == now.hex().as_bytes()))
}

/// Takes the stamp of what is there now, one level of folders after the other.
fn read(checkout: BorrowedFd<'_>) -> Result<Digest, Errno> {
    let top = rustix::fs::statat(checkout, VISIBLE, AtFlags::SYMLINK_NOFOLLOW)?;
    let mut hasher = Hasher::new();
    hasher.update(&entry(VISIBLE.as_bytes(), &top));
    let mut folders = Vec::new();
    if is_folder(&top) {
        folders.push(CString::new(VISIBLE).map_err(|_| Errno::INVAL)?);
    }
    while !folders.is_empty() {
        let levels: Vec<Level> =
            folders.par_iter().map(|at| level(checkout, at)).collect::<Result<_, _>>()?;
        folders = Vec::new();
        for level in levels {
            hasher.update(&(level.text.len() as u64).to_le_bytes());
            hasher.update(&level.text);
            folders.extend(level.below);
        }
    }
    Ok(hasher.finish().digest)
}

fn level(checkout: BorrowedFd<'_>, at: &CString) -> Result<Level, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = persist::retry(|| rustix::fs::openat(checkout, at, flags, Mode::empty()))?;
    let mut names = Vec::new();
    for found in Dir::read_from(&folder)? {
        let name = found?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    let mut level = Level { text: Vec::with_capacity(names.len() * 96), below: Vec::new() };
    for name in names {
        let stat = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        level.text.extend(entry(name.as_bytes(), &stat));
        if is_folder(&stat) {
            let path = [at.as_bytes(), b"/", name.as_bytes()].concat();
            level.below.push(CString::new(path).map_err(|_| Errno::INVAL)?);
        }
    }
    Ok(level)
}

/// Returns what the stamp takes of one entry. A name ends at its NUL, the rest has a fixed length.
fn entry(name: &[u8], stat: &Stat) -> Vec<u8> {
    let (inode, links, size) = if is_folder(stat) {
        (0, 0, 0)
    } else {
        (stat.st_ino, wide(stat.st_nlink), wide(stat.st_size))
    };
    let mut out = Vec::with_capacity(name.len() + 73);
    out.extend_from_slice(name);
    out.push(0);
    for word in [
        u64::from(stat.st_mode),
        u64::from(stat.st_uid) << 32 | u64::from(stat.st_gid),
        inode,
        links,
        size,
        wide(stat.st_mtime),
        wide(stat.st_mtime_nsec),
        wide(stat.st_ctime),
        wide(stat.st_ctime_nsec),
    ] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out
}

/// Widens one of the kernel's numbers, whose type differs between architectures. Only that equal
/// numbers stay equal matters here.
fn wide(number: impl TryInto<i128>) -> u64 {
    let number: i128 = number.try_into().unwrap_or(-1);
    (number & i128::from(u64::MAX)).try_into().unwrap_or(u64::MAX)
}

fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
