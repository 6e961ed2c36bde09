//! Compares a checkout with the tree it claims to be.
//!
//! Everything a step could see is compared: content, kind, mode, owner, time, links, that nothing is
//! there besides, and that no file shares its inode with another (decision 3). Reading leaves the
//! access times alone where the kernel allows it.
//!
//! Stops at the first difference: a damaged checkout is removed and made again, not mended.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::tree::Node;
use model::{Blob, RelPath, Tree};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::blob;
use super::checkout::{Look, VISIBLE};
use super::error::{Error, Operation, io};
use super::open::{folder, names};
use crate::persist::retry;

/// Says whether the folder `tree` of a checkout is exactly that tree.
pub(super) fn folder_agrees(
    checkout: BorrowedFd<'_>,
    tree: &Tree,
    look: Look,
) -> Result<bool, Error> {
    let Ok(top) = folder(checkout, VISIBLE) else { return Ok(false) };
    let mut entries = vec![(RelPath::here(), Node::Directory(tree.root))];
    let walked = tree.walk(&mut |at, node| entries.push((at.clone(), node.clone())));
    if walked.is_err() {
        return Ok(false);
    }
    let mut inodes = BTreeSet::new();
    for (at, node) in &entries {
        let agrees = match node {
            Node::Directory(blob) => {
                let wanted = tree.directories.get(blob).map_or(0, |below| below.entries().len());
                folder_entry_agrees(top.as_fd(), at, wanted, look)?
            }
            Node::File { blob, executable } => {
                let Some(stat) = inspect(top.as_fd(), at.as_str())? else { return Ok(false) };
                inodes.insert((stat.st_dev, stat.st_ino))
                    && file_agrees(top.as_fd(), at.as_str(), blob, *executable, look)?
            }
            Node::Symlink(target) => link_agrees(top.as_fd(), at.as_str(), target, look)?,
        };
        if !agrees {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Says whether an entry is exactly that file.
pub(super) fn file_agrees(
    above: BorrowedFd<'_>,
    name: &str,
    blob: &Blob,
    executable: bool,
    look: Look,
) -> Result<bool, Error> {
    let mode = if executable { 0o755 } else { 0o644 };
    match inspect(above, name)? {
        Some(stat)
            if looks(&stat, FileType::RegularFile, Some(mode), look)
                && stat.st_nlink == 1
                && stat.st_size.cast_unsigned() == blob.size => {}
        _ => return Ok(false),
    }
    let file = open_quietly(above, name).map_err(io(Operation::Open, name))?;
    Ok(blob::hash_file(&file, &mut |_| ())? == *blob)
}

fn folder_entry_agrees(
    top: BorrowedFd<'_>,
    at: &RelPath,
    wanted: usize,
    look: Look,
) -> Result<bool, Error> {
    let name = if at.is_here() { "." } else { at.as_str() };
    match inspect(top, name)? {
        Some(stat) if looks(&stat, FileType::Directory, Some(0o755), look) => {}
        _ => return Ok(false),
    }
    let opened = folder(top, name)?;
    // A name that is not UTF-8 is left out here and missed: the count is of what a tree can hold.
    let there = rustix::fs::Dir::read_from(&opened).map_err(io(Operation::Read, name))?;
    let count = there.flatten().count().saturating_sub(2);
    Ok(count == wanted && names(opened.as_fd(), name)?.len() == wanted)
}

fn link_agrees(top: BorrowedFd<'_>, at: &str, target: &str, look: Look) -> Result<bool, Error> {
    match inspect(top, at)? {
        Some(stat) if looks(&stat, FileType::Symlink, None, look) => {}
        _ => return Ok(false),
    }
    let there = rustix::fs::readlinkat(top, at, Vec::new()).map_err(io(Operation::Read, at))?;
    Ok(there.as_bytes() == target.as_bytes())
}

fn looks(stat: &Stat, kind: FileType, mode: Option<u32>, look: Look) -> bool {
    let (uid, gid) = match look.owner {
        Some(owner) => (owner.uid, owner.gid),
        None => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
    };
    FileType::from_raw_mode(stat.st_mode) == kind
        && mode.is_none_or(|mode| stat.st_mode & 0o7777 == mode)
        && (stat.st_uid, stat.st_gid) == (uid, gid)
        && (stat.st_mtime, stat.st_mtime_nsec) == (look.seconds, 0)
}

fn inspect(above: BorrowedFd<'_>, name: &str) -> Result<Option<Stat>, Error> {
    match rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(io(Operation::Inspect, name)(errno)),
    }
}

/// Opens a file for reading without changing its access time, where that is allowed.
fn open_quietly(above: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match retry(|| rustix::fs::openat(above, name, flags | OFlags::NOATIME, Mode::empty())) {
        Err(Errno::PERM) => retry(|| rustix::fs::openat(above, name, flags, Mode::empty())),
        answer => answer,
    }
}
