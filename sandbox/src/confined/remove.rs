//! Removes what a step made, however deep and however it is named.
//!
//! A step can nest folders deeper than any stack or table of descriptors. So nothing is descended into:
//! a folder that is met is moved up beside the others, and emptied there in its turn. Two descriptors
//! are enough for any tree. What cannot be removed is an error, never left in silence.
//!
//! Works on descriptors and never follows a symlink. Runs only when nobody else can change the tree.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, mkdirat, openat, renameat, statat, unlinkat,
};

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Where folders wait to be emptied.
pub const HEAP: &str = "removing";

/// Removes `name` from `folder`, with all below it; `heap` is a folder of ours on the same file system.
/// Nothing of that name is no error.
pub fn remove(heap: BorrowedFd<'_>, folder: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => {
            return Ok(unlinkat(folder, name, AtFlags::empty())?);
        }
        other => drop(other?),
    }
    match mkdirat(heap, HEAP, Mode::RWXU) {
        // A run that was killed had begun.
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(cause) => return Err(cause.into()),
    }
    let top = openat(heap, HEAP, FOLDER, Mode::empty())?;
    let mut next = names(top.as_fd())?.len() as u64;
    if name != HEAP {
        renameat(folder, name, &top, free(top.as_fd(), &mut next)?)?;
    }
    empty(top.as_fd(), next)?;
    Ok(unlinkat(heap, HEAP, AtFlags::REMOVEDIR)?)
}

/// Empties the heap: takes any folder in it, moves the folders in that one up, unlinks the rest of it.
fn empty(top: BorrowedFd<'_>, mut next: u64) -> io::Result<()> {
    loop {
        let waiting = names(top)?;
        if waiting.is_empty() {
            return Ok(());
        }
        for (name, is_folder) in waiting {
            if !is_folder {
                unlinkat(top, &name, AtFlags::empty())?;
                continue;
            }
            let folder = openat(top, &name, FOLDER, Mode::empty())?;
            for (below, is_folder) in names(folder.as_fd())? {
                if is_folder {
                    renameat(&folder, &below, top, free(top, &mut next)?)?;
                } else {
                    unlinkat(&folder, &below, AtFlags::empty())?;
                }
            }
            unlinkat(top, &name, AtFlags::REMOVEDIR)?;
        }
    }
}

/// Returns a name that nothing in the heap has.
fn free(top: BorrowedFd<'_>, next: &mut u64) -> io::Result<String> {
    loop {
        let name = next.to_string();
        *next += 1;
        match statat(top, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => return Ok(name),
            other => drop(other?),
        }
    }
}

/// Returns the entries of a folder and which of them are folders.
fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<(std::ffi::CString, bool)>> {
    let mut out = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        out.push((name.to_owned(), FileType::from_raw_mode(kind.st_mode) == FileType::Directory));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, open, symlinkat};

    #[test]
    fn a_tree_deeper_than_any_stack_goes_and_what_links_point_to_stays() {
        let top = tempfile::tempdir().expect("a folder");
        let kept = top.path().join("kept");
        std::fs::create_dir(&kept).expect("a folder");
        std::fs::File::create(kept.join("file")).expect("a file");
        let folder = open(top.path(), FOLDER, Mode::empty()).expect("a folder");
        mkdirat(&folder, "tree", Mode::RWXU).expect("a folder");
        let mut here = openat(&folder, "tree", FOLDER, Mode::empty()).expect("a folder");
        for _ in 0..5000 {
            symlinkat(&kept, &here, "link").expect("a link");
            let flags = OFlags::CREATE | OFlags::WRONLY;
            drop(openat(&here, "file", flags, Mode::empty()).expect("made"));
            mkdirat(&here, "0", Mode::RWXU).expect("a folder");
            here = openat(&here, "0", FOLDER, Mode::empty()).expect("a folder");
        }
        drop(here);
        remove(folder.as_fd(), folder.as_fd(), "tree").expect("removed");
        remove(folder.as_fd(), folder.as_fd(), "tree").expect("nothing to remove");
        assert!(kept.join("file").exists());
        assert!(statat(CWD, top.path().join("tree"), AtFlags::SYMLINK_NOFOLLOW).is_err());
        // What a run that was killed had begun to remove is removed too.
        std::fs::create_dir_all(top.path().join("removing/7/a")).expect("folders");
        remove(folder.as_fd(), folder.as_fd(), HEAP).expect("removed");
        assert_eq!(std::fs::read_dir(top.path()).expect("it can be read").count(), 1);
    }
}
