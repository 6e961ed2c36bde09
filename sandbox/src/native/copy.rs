//! Copies a folder where a view cannot be an overlay.
//!
//! A tmpfs before Linux 6.6 keeps no `user.*` attributes, and an overlay above such a one cannot
//! replace a folder that it has hidden: `rm -rf d; mkdir d` fails. A view that fails there would not
//! be the promised view. Where no folder of a better file system is at hand it is a copy, with the same names, bytes, modes and times. It is
//! slower, and renaming a folder works in it; the record says which of the two it was.
//!
//! Works on descriptors, never follows a symlink, refuses what is no folder, file or symlink.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
    chownat, fchmod, fchown, fsetxattr, futimens, mkdirat, openat, readlinkat, statat, symlinkat,
    utimensat,
};

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// When everything that a step is given was read last.
pub const ACCESSED: Timespec = Timespec { tv_sec: model::ACCESSED_SECONDS, tv_nsec: 0 };

/// Says whether the file system of `folder` keeps what an overlay must write there.
pub fn keeps_attributes(folder: BorrowedFd<'_>) -> bool {
    fsetxattr(folder, "user.kiln", b"", XattrFlags::CREATE).is_ok()
        && rustix::fs::fremovexattr(folder, "user.kiln").is_ok()
}

/// User and group of every copy; whoever copies, if none.
pub type Owner = Option<(Uid, Gid)>;

/// Copies everything in `from` into the empty folder `to`; `to` itself keeps its mode and times.
pub fn copy_folder(from: BorrowedFd<'_>, to: BorrowedFd<'_>, owner: Owner) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            copy_entry(from, name, to, name, owner)?;
        }
    }
    Ok(())
}

/// Copies the entry `name` of `from`, with all below it, to the new name `new` in `to`.
pub fn copy_entry(
    from: BorrowedFd<'_>,
    name: &CStr,
    to: BorrowedFd<'_>,
    new: &CStr,
    owner: Owner,
) -> io::Result<()> {
    let like = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(like.st_mode) {
        FileType::Directory => {
            let below = openat(from, name, FOLDER, Mode::empty())?;
            mkdirat(to, new, Mode::RWXU)?;
            let made = openat(to, new, FOLDER, Mode::empty())?;
            copy_folder(below.as_fd(), made.as_fd(), owner)?;
            settle(&made, &like, owner)
        }
        FileType::RegularFile => {
            let mut source = File::from(openat(from, name, READ, Mode::empty())?);
            let mut target = File::from(openat(to, new, CREATE, Mode::RUSR | Mode::WUSR)?);
            io::copy(&mut source, &mut target)?;
            settle(&target.into(), &like, owner)
        }
        FileType::Symlink => {
            symlinkat(readlinkat(from, name, Vec::new())?, to, new)?;
            if let Some((uid, gid)) = owner {
                chownat(to, new, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Ok(utimensat(to, new, &times_of(&like), AtFlags::SYMLINK_NOFOLLOW)?)
        }
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
}

/// Gives a copy its owner, and then mode and times of what it was copied from.
pub fn settle(made: &OwnedFd, like: &Stat, owner: Owner) -> io::Result<()> {
    if let Some((uid, gid)) = owner {
        fchown(made, Some(uid), Some(gid))?;
    }
    fchmod(made, Mode::from(like.st_mode & 0o777))?;
    Ok(futimens(made, &times_of(like))?)
}

/// Returns the time of last change, with an access time that reading does not move.
pub fn times_of(stat: &Stat) -> Timestamps {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let modified = Timespec { tv_sec: stat.st_mtime, tv_nsec: nanoseconds };
    Timestamps { last_access: ACCESSED, last_modification: modified }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, open};

    #[test]
    fn a_copy_has_the_same_names_bytes_modes_and_times() {
        let top = tempfile::tempdir().expect("a folder");
        let (from, to) = (top.path().join("from"), top.path().join("to"));
        std::fs::create_dir_all(from.join("a/b")).expect("folders");
        std::fs::create_dir(&to).expect("a folder");
        for (name, text, mode) in [("a/b/f", "deep", 0o644), ("tool", "run", 0o755)] {
            let mut file = File::create(from.join(name)).expect("a file");
            io::Write::write_all(&mut file, text.as_bytes()).expect("bytes");
            fchmod(&file, Mode::from(mode)).expect("a mode");
        }
        symlinkat("/nowhere", CWD, from.join("a/link")).expect("a link");
        let old = Timespec { tv_sec: 5, tv_nsec: 0 };
        let times = Timestamps { last_access: old, last_modification: old };
        for name in ["a/b/f", "a/b", "a/link", "a", "tool"] {
            utimensat(CWD, from.join(name), &times, AtFlags::SYMLINK_NOFOLLOW).expect("times");
        }
        let folder = |path| open(path, FOLDER, Mode::empty()).expect("a folder");
        copy_folder(folder(&from).as_fd(), folder(&to).as_fd(), None).expect("a copy");
        for name in ["a", "a/b", "a/b/f", "a/link", "tool"] {
            let copied = statat(CWD, to.join(name), AtFlags::SYMLINK_NOFOLLOW).expect("there");
            assert_eq!(copied.st_atime, model::ACCESSED_SECONDS, "{name}");
            let stat = |top: &std::path::Path| {
                let stat = statat(CWD, top.join(name), AtFlags::SYMLINK_NOFOLLOW).expect("there");
                (stat.st_mode, stat.st_mtime)
            };
            assert_eq!(stat(&to), stat(&from), "{name}");
        }
        assert_eq!(std::fs::read_to_string(to.join("a/b/f")).expect("text"), "deep");
        assert_eq!(
            std::fs::read_link(to.join("a/link")).expect("a link"),
            std::path::Path::new("/nowhere")
        );
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let top = tempfile::tempdir().expect("a folder");
        for name in ["from", "to"] {
            std::fs::create_dir(top.path().join(name)).expect("a folder");
        }
        let fifo = top.path().join("from/fifo");
        rustix::fs::mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
        let folder = |name| open(top.path().join(name), FOLDER, Mode::empty()).expect("a folder");
        assert!(copy_folder(folder("from").as_fd(), folder("to").as_fd(), None).is_err());
    }
}
