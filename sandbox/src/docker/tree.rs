//! Walks through what a step may have made, and removes it: by descriptors, following no link.
//!
//! A step chooses names, modes and depth. So a walk has a depth beyond which it does not go, and a removal holds two
//! descriptors however deep it is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

/// How a folder is opened.
pub const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What is done with an entry: the folder that it is in, its name, what it is.
pub type Look<'a> =
    &'a mut dyn FnMut(BorrowedFd<'_>, &std::ffi::CStr, &rustix::fs::Stat) -> io::Result<()>;

/// Whether a walk came to the end of every folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// It did.
    Reached,
    /// It stopped at folders that lie deeper than it goes.
    Beyond,
}

/// Calls `look` with every entry beneath `top`, down to `depth` folders, following nothing. Folders
/// are held open on the way down, so that a name cannot lead elsewhere meanwhile.
pub fn each(top: BorrowedFd<'_>, depth: usize, look: Look<'_>) -> io::Result<Depth> {
    let entries = match Dir::read_from(top) {
        Err(Errno::NOENT | Errno::ACCESS) => return Ok(Depth::Reached),
        other => other?,
    };
    for entry in entries {
        let entry = match entry {
            // The folder went away meanwhile.
            Err(Errno::NOENT) => return Ok(Depth::Reached),
            other => other?,
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match statat(top, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT | Errno::ACCESS) => continue,
            other => other?,
        };
        look(top, name, &stat)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            continue;
        }
        let Some(depth) = depth.checked_sub(1) else { return Ok(Depth::Beyond) };
        match openat(top, name, FOLDER, Mode::empty()) {
            Ok(below) => {
                if each(below.as_fd(), depth, look)? == Depth::Beyond {
                    return Ok(Depth::Beyond);
                }
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(Depth::Reached)
}

/// Removes a folder and all in it, whatever modes and depth a step gave it: never more than two
/// descriptors at once, back up by `..`, which is safe now that nothing of the step is alive.
pub fn remove(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let Some(mut here) = enter(parent, name.as_bytes())? else { return Ok(()) };
    let mut above: Vec<Vec<u8>> = vec![name.as_bytes().to_vec()];
    while let Some(own_name) = above.last().cloned() {
        match clear(&here)? {
            Some(below) => {
                if let Some(folder) = enter(here.as_fd(), &below)? {
                    here = folder;
                    above.push(below);
                }
            }
            None => {
                above.pop();
                let up = match above.is_empty() {
                    true => openat(parent, ".", FOLDER, Mode::empty())?,
                    false => openat(&here, "..", FOLDER, Mode::empty())?,
                };
                unlinkat(&up, own_name.as_slice(), AtFlags::REMOVEDIR)?;
                here = up;
            }
        }
    }
    Ok(())
}

fn enter(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<OwnedFd>> {
    match openat(parent, name, FOLDER, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::ACCESS) => {
            // It is a folder, so no link is followed.
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            Ok(Some(openat(parent, name, FOLDER, Mode::empty())?))
        }
        Err(cause) => Err(cause.into()),
    }
}

/// Removes all entries that are no folders; returns a folder that is left.
fn clear(here: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    let mode = fstat(here)?.st_mode;
    if mode & 0o700 != 0o700 {
        rustix::fs::fchmod(here, Mode::RWXU)?;
    }
    let mut folder = None;
    for entry in Dir::read_from(here)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(here, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => folder = Some(name.to_bytes().to_vec()),
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::CWD;

    use super::*;

    #[test]
    fn a_folder_goes_whatever_a_step_left_in_it() {
        let top = tempfile::tempdir().expect("a folder");
        let parent = openat(CWD, top.path(), FOLDER, Mode::empty()).expect("open");
        let left = top.path().join("left");
        let mut deep = left.clone();
        for _ in 0..200 {
            deep.push("d");
        }
        std::fs::create_dir_all(&deep).expect("folders");
        File::create(left.join("file")).expect("a file");
        std::os::unix::fs::symlink(top.path(), left.join("link")).expect("a link");
        rustix::fs::mknodat(CWD, left.join("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
        let closed = left.join("closed");
        std::fs::create_dir(&closed).expect("a folder");
        File::create(closed.join("file")).expect("a file");
        rustix::fs::chmod(&closed, Mode::empty()).expect("a mode");
        let kept = top.path().join("kept");
        File::create(&kept).expect("a file");
        remove(parent.as_fd(), "left").expect("removed");
        assert!(!left.exists() && kept.exists());
    }
}
