//! The way to a folder: every folder from the root on down, and whether somebody else could lead it elsewhere.
//!
//! Who may write a folder may put another in the place of one that lies in it, however well that one is closed.
//! So each folder on the way has to be root's or this user's and closed to other writers; or it is sticky, as
//! `/tmp` is, where nobody moves what is another's. Links on the way are followed here, name by name, so that the
//! folders that they lead through count as well.
//!
//! Root goes through folders of anybody: in a container a home is often mounted that another user owns, and whoever
//! would lead root elsewhere has no file that root or nobody else could have written.
//!
//! In a user namespace that does not know every user, who owns a folder cannot always be told: such an owner
//! counts as root. The folder itself is not looked at, only what leads to it. Reads no file.
//!
//! Source: OpenSSH, misc.c, `safe_path`, which `StrictModes` asks, but for sticky folders.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Most links that are followed, as many as the kernel would.
const LINKS_MAX: usize = 40;
/// Whom the kernel shows for a user whom a namespace does not know, unless the host was told otherwise.
const UNKNOWN_USER: u32 = 65_534;
/// The users whom this process's namespace knows.
const USERS: &str = "/proc/self/uid_map";

/// A folder that was reached.
#[derive(Debug)]
pub struct Way {
    /// It; opened without a right to read it.
    pub folder: OwnedFd,
    /// The first on the way to it by which others could lead elsewhere, where there is one.
    pub open: Option<OpenTo>,
}

/// A folder or link that others could change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTo {
    /// Which.
    pub path: PathBuf,
    /// Its owner.
    pub owner: u32,
    /// Whether that is this user or root.
    pub ours: bool,
    /// Its mode.
    pub mode: u32,
}

/// Walks to a folder, by its absolute path.
///
/// # Errors
/// What the kernel says where it cannot be reached.
pub fn walk(path: &Path) -> Result<Way, Errno> {
    if !path.is_absolute() {
        return Err(Errno::INVAL);
    }
    let mut todo = names(path);
    let mut way = vec![(PathBuf::from("/"), enter(rustix::fs::CWD, OsStr::new("/"))?)];
    let (mut open, mut links) = (None, 0);
    while let Some(name) = todo.pop() {
        if name == ".." {
            way.truncate(way.len().saturating_sub(1).max(1));
            continue;
        }
        let Some((above, holder)) = way.last() else { return Err(Errno::NOENT) };
        let stat = rustix::fs::fstat(holder)?;
        open = open.or_else(|| open_to(above, &stat));
        let (here, entered) = (above.join(&name), enter(holder, &name)?);
        let found = rustix::fs::fstat(&entered)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => way.push((here, entered)),
            FileType::Symlink => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::LOOP);
                }
                // A link can be changed by its owner, where others may write beside it.
                if is_written_by_others(&stat) && !is_ours(found.st_uid) {
                    open = open.or_else(|| Some(told(&here, &found)));
                }
                let target = rustix::fs::readlinkat(&entered, "", Vec::new())?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    way.truncate(1);
                }
                todo.extend(names(&target));
            }
            _ => return Err(Errno::NOTDIR),
        }
    }
    let (_, folder) = way.pop().ok_or(Errno::NOENT)?;
    Ok(Way { folder, open })
}

/// Returns the names of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

fn enter(holder: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(holder, name.as_bytes(), flags, Mode::empty())
}

fn open_to(path: &Path, stat: &Stat) -> Option<OpenTo> {
    let sticky = Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX);
    let closed = sticky || !is_written_by_others(stat);
    let ours = is_ours(stat.st_uid) || rustix::process::geteuid().is_root();
    (!closed || !ours).then(|| told(path, stat))
}

fn told(path: &Path, stat: &Stat) -> OpenTo {
    let (owner, mode) = (stat.st_uid, stat.st_mode & 0o7777);
    OpenTo { path: path.to_owned(), owner, ours: is_ours(owner), mode }
}

fn is_written_by_others(stat: &Stat) -> bool {
    Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH)
}

fn is_ours(owner: u32) -> bool {
    owner == 0
        || owner == rustix::process::geteuid().as_raw()
        || owner == UNKNOWN_USER
            && std::fs::read_to_string(USERS).is_ok_and(|map| !knows(&map, owner))
}

/// Says whether a user is one of those that a namespace has, by its table.
fn knows(map: &str, user: u32) -> bool {
    let user = u64::from(user);
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return true;
        };
        (first..first.saturating_add(count)).contains(&user)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn modes(folder: &Path, mode: u32) {
        fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_write_is_named_wherever_it_lies_on_the_way() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        fs::create_dir_all(at("a/b/c")).unwrap();
        fs::create_dir_all(at("links/through")).unwrap();
        for name in ["a", "a/b", "a/b/c", "links", "links/through"] {
            modes(&at(name), 0o755);
        }
        symlink(at("a/b"), at("links/absolute")).unwrap();
        symlink("../links/through/on", at("links/relative")).unwrap();
        symlink("../../a/b", at("links/through/on")).unwrap();
        symlink("relative", at("links/twice")).unwrap();
        let ways =
            ["a/b/c", "links/absolute/c", "links/relative/c", "links/twice/c", "a/./b/../b/c"];
        for way in ways {
            let reached = walk(&at(way)).unwrap();
            assert_eq!(reached.open, None, "{way}");
            let (there, here) = (rustix::fs::stat(at("a/b/c")), rustix::fs::fstat(&reached.folder));
            assert_eq!(there.unwrap().st_ino, here.unwrap().st_ino, "{way}");
        }
        for mode in [0o777, 0o775, 0o757] {
            modes(&at("a"), mode);
            for way in ways {
                let found = walk(&at(way)).unwrap().open.unwrap();
                assert_eq!((found.path, found.ours), (at("a"), true), "{way} {mode:o}");
                assert_eq!(found.mode, mode);
            }
        }
        // The folder itself is its reader's to judge; where a link leads through counts.
        modes(&at("a"), 0o755);
        modes(&at("a/b/c"), 0o777);
        modes(&at("links/through"), 0o777);
        assert_eq!(walk(&at("a/b/c")).unwrap().open, None);
        assert_eq!(walk(&at("links/twice/c")).unwrap().open.unwrap().path, at("links/through"));
        // Where nobody moves what is another's, as in /tmp.
        modes(&at("links/through"), 0o1777);
        assert_eq!(walk(&at("links/twice/c")).unwrap().open, None);
    }

    #[test]
    fn what_belongs_to_another_is_theirs_to_change() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::create_dir(at("sticky")).unwrap();
        symlink(at("a"), at("sticky/link")).unwrap();
        modes(&at("sticky"), 0o1777);
        modes(&at("a"), 0o755);
        assert_eq!(walk(&at("sticky/link/b")).unwrap().open, None);
        let owner = |path: &Path| std::os::unix::fs::lchown(path, Some(4_000), None);
        if owner(&at("sticky/link")).is_err() {
            return;
        }
        let found = walk(&at("sticky/link/b")).unwrap().open.unwrap();
        assert_eq!((found.path, found.owner, found.ours), (at("sticky/link"), 4_000, false));
        assert_eq!(walk(&at("a/b")).unwrap().open, None);
        // Who could change the owner is root, who goes through folders of others that nobody else may write.
        owner(&at("a")).unwrap();
        assert_eq!(walk(&at("a/b")).unwrap().open, None);
        modes(&at("a"), 0o775);
        let found = walk(&at("a/b")).unwrap().open.unwrap();
        assert_eq!((found.path, found.owner, found.ours), (at("a"), 4_000, false));
    }

    #[test]
    fn what_cannot_be_reached_is_an_error() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        symlink("loop", at("loop")).unwrap();
        fs::File::create(at("file")).unwrap();
        for (way, errno) in [
            (at("absent/a"), Errno::NOENT),
            (at("loop/a"), Errno::LOOP),
            (at("file/a"), Errno::NOTDIR),
            (PathBuf::from("here"), Errno::INVAL),
        ] {
            assert_eq!(walk(&way).unwrap_err(), errno, "{}", way.display());
        }
    }

    #[test]
    fn only_a_user_whom_the_namespace_lacks_is_unknown() {
        for (map, knows_him) in [
            ("         0          0 4294967295\n", true),
            ("         0       1000          1\n", false),
            ("0 1000 1\n1 100000 65536\n", true),
            ("0 1000 1\n1 100000 65533\n", false),
            ("", false),
            ("nonsense", true),
        ] {
            assert_eq!(knows(map, UNKNOWN_USER), knows_him, "{map}");
        }
    }
}
