//! Deletes a folder with everything in it, beneath a descriptor and never through a symlink.
//!
//! Iterative, because a step decides how deep its folders are; each folder is reopened from its
//! parent's descriptor by one name. A folder that its owner may not enter is given the right first.
//! One that lies deeper than descriptors should be held is moved up beside the one to be deleted, and
//! is deleted from there: nobody else is in it any more.
//!
//! Does not catch: names that another process adds meanwhile; the last rmdir then says so.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::persist::{self, retry};

/// Most folders open at once, far below what a process may open.
const DEPTH_MAX: usize = 64;

struct Frame {
    folder: OwnedFd,
    name: CString,
    left: Vec<CString>,
}

/// Deletes `name` of `parent`, whatever it is. One that is gone already is fine.
///
/// # Errors
/// The kernel's answer to the first call that failed.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    let mut moved_up = vec![name];
    while let Some(name) = moved_up.pop() {
        remove_one(parent, name, &mut moved_up)?;
    }
    Ok(())
}

fn remove_one(
    parent: BorrowedFd<'_>,
    name: CString,
    moved_up: &mut Vec<CString>,
) -> Result<(), Errno> {
    let mut stack = Vec::new();
    if let Some(frame) = remove_or_enter(parent, name)? {
        stack.push(frame);
    }
    loop {
        let depth = stack.len();
        let Some(top) = stack.last_mut() else { return Ok(()) };
        if let Some(name) = top.left.pop() {
            if depth >= DEPTH_MAX {
                moved_up.extend(remove_or_move(top.folder.as_fd(), name, parent)?);
            } else if let Some(frame) = remove_or_enter(top.folder.as_fd(), name)? {
                stack.push(frame);
            }
            continue;
        }
        let Some(done) = stack.pop() else { return Ok(()) };
        drop(done.folder);
        let above = stack.last().map_or(parent, |frame| frame.folder.as_fd());
        gone(rustix::fs::unlinkat(above, &done.name, AtFlags::REMOVEDIR))?;
    }
}

/// Removes a file at once; moves a folder into `up` and returns its name there.
fn remove_or_move(
    parent: BorrowedFd<'_>,
    name: CString,
    up: BorrowedFd<'_>,
) -> Result<Option<CString>, Errno> {
    let Some(frame) = remove_or_enter(parent, name)? else { return Ok(None) };
    loop {
        let new = CString::new(persist::fresh()).map_err(|_| Errno::INVAL)?;
        let how = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(parent, &frame.name, up, &new, how) {
            Ok(()) => return Ok(Some(new)),
            Err(Errno::EXIST) => {}
            // A file system without it: a folder only ever takes the place of an empty folder.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::renameat(parent, &frame.name, up, &new)?;
                return Ok(Some(new));
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// Removes a file or an empty folder at once; opens a full folder.
fn remove_or_enter(parent: BorrowedFd<'_>, name: CString) -> Result<Option<Frame>, Errno> {
    match rustix::fs::unlinkat(parent, &name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(None),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let stat = rustix::fs::statat(parent, &name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::PERM);
    }
    let folder = match enter(parent, &name) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, &name, Mode::RWXU, AtFlags::empty())?;
            enter(parent, &name)?
        }
        answer => answer?,
    };
    let owner = Mode::from_raw_mode(stat.st_mode);
    if !owner.contains(Mode::RWXU) {
        rustix::fs::fchmod(&folder, owner | Mode::RWXU)?;
    }
    let mut left = Vec::new();
    for entry in rustix::fs::Dir::read_from(&folder)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            left.push(name);
        }
    }
    Ok(Some(Frame { folder, name, left }))
}

fn enter(parent: BorrowedFd<'_>, name: &CString) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry(|| rustix::fs::openat(parent, name, flags, Mode::empty()))
}

fn gone(answer: Result<(), Errno>) -> Result<(), Errno> {
    match answer {
        Err(Errno::NOENT) => Ok(()),
        answer => answer,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out files of their own")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn removing_never_follows_a_symlink() {
        let scratch = tempfile::tempdir().unwrap();
        let kept = scratch.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("f"), "x").unwrap();
        let doomed = scratch.path().join("doomed");
        std::fs::create_dir_all(doomed.join("a/b")).unwrap();
        std::os::unix::fs::symlink(&kept, doomed.join("a/link")).unwrap();
        std::fs::set_permissions(doomed.join("a/b"), PermissionsExt::from_mode(0o000)).unwrap();
        std::fs::set_permissions(doomed.join("a"), PermissionsExt::from_mode(0o500)).unwrap();
        let parent = std::fs::File::open(scratch.path()).unwrap();
        remove(parent.as_fd(), "doomed").unwrap();
        remove(parent.as_fd(), "doomed").unwrap();
        assert!(!doomed.exists() && kept.join("f").exists());
    }

    #[test]
    fn a_folder_deeper_than_descriptors_reach_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let parent: OwnedFd = std::fs::File::open(scratch.path()).unwrap().into();
        rustix::fs::mkdirat(&parent, "d", Mode::RWXU).unwrap();
        let mut at = enter(parent.as_fd(), &CString::new("d").unwrap()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&at, "e", Mode::RWXU).unwrap();
            at = enter(at.as_fd(), &CString::new("d").unwrap()).unwrap();
        }
        drop(at);
        remove(parent.as_fd(), "d").unwrap();
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
