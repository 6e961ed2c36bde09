//! The prepared root: a copy of the environment that belongs to root and is used again.
//!
//! A step gets the whole tree by changing its root folder, so what lies beside the environment must lie
//! in the same tree: `/dev`, and during a step `/build`, `/tmp`, `/kiln`. The environment's checkout is
//! shared and named by its digest, so nothing may be added to it; hard links into it could be told from
//! files (decision 3). So it is copied, once per slot and environment.
//!
//! The step's user owns nothing in it and may write nothing in it, and Landlock says the same again.
//! That it stays as it was is not believed but seen: before and after each step every entry is compared
//! with what was noted when it was made. A change of content, mode or owner shows in the change time,
//! which nobody can set. Device nodes are the exception: whoever may write to one may set its times to
//! now, as `touch /dev/null` does, and all else of a node is compared. A touched one is made anew before
//! the next step, so that none sees the times that another set.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use model::digest::Hasher;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, chmodat, makedev, mkdirat, mknodat, open, openat,
    renameat, statat, symlinkat, unlinkat, utimensat,
};

use super::remove::{HEAP, remove};
use crate::error::{Cause, Error, MountProblem};
use crate::native::apply::t0;
use crate::native::error::{Doing, Failure, Naming};
use crate::native::run::explain;
use crate::native::setup::OWN;
use crate::native::{copy, lists};

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A root in the making.
const MAKING: &str = "making";
/// A root that serves one step only, beside the one that is used again.
pub const ONCE: &str = "once";
/// Bytes of a seal: the hex digits of a SHA-256.
const SEAL_BYTES: u64 = 64;

/// Entries that each step gets anew: in `/`, and in `/dev`.
pub const ANEW: [&str; 3] = ["build", "kiln", "tmp"];
/// The one of them in `/dev`.
pub const SHARED_MEMORY: &str = "shm";

/// Returns the name of the root of an environment.
pub fn name(tree: &model::Digest) -> String {
    format!("root-{}", tree.hex())
}

/// Returns the prepared root `name` of a slot and what it looks like: the one that is there if it is as
/// it was, else a new copy of `environment`. A slot keeps one root; one for a single step comes beside it.
pub fn prepare(
    slot: BorrowedFd<'_>,
    name: &str,
    environment: Option<&Path>,
) -> Result<(OwnedFd, String), Error> {
    let seal = format!("seal-{name}");
    let noted = read_seal(slot, &seal);
    if let Ok(root) = openat(slot, name, FOLDER, Mode::empty())
        && noted.is_some()
        && looks(root.as_fd()).ok() == noted
        && let Some(noted) = noted
    {
        renew_devices(root.as_fd())?;
        return Ok((root, noted));
    }
    if name != ONCE {
        clear(slot).or_fail(Doing::Wipe, "slot").map_err(explain)?;
    }
    // What cannot be removed here is removed before the slot is used again.
    let root = make(slot, environment).inspect_err(|_| drop(remove(slot, slot, MAKING)))?;
    let noted = looks(root.as_fd()).or_fail(Doing::PreparedRoot, name).map_err(explain)?;
    if name != ONCE {
        note(slot, &seal, &noted).or_fail(Doing::PreparedRoot, &seal).map_err(explain)?;
    }
    renameat(slot, MAKING, slot, name).or_fail(Doing::PreparedRoot, name).map_err(explain)?;
    Ok((root, noted))
}

/// Removes what a run that was killed left half done, or made for one step.
pub fn clear_passing(slot: BorrowedFd<'_>) -> io::Result<()> {
    [HEAP, MAKING, ONCE].into_iter().try_for_each(|name| remove(slot, slot, name))
}

/// Removes everything in a slot.
pub fn clear(slot: BorrowedFd<'_>) -> io::Result<()> {
    for entry in Dir::read_from(slot)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !matches!(name.as_str(), "." | "..") {
            remove(slot, slot, &name)?;
        }
    }
    Ok(())
}

fn read_seal(slot: BorrowedFd<'_>, seal: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(openat(slot, seal, flags, Mode::empty()).ok()?);
    let mut text = String::new();
    file.take(SEAL_BYTES + 1).read_to_string(&mut text).ok()?;
    Some(text)
}

fn note(slot: BorrowedFd<'_>, seal: &str, noted: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    File::from(openat(slot, seal, flags, Mode::from(0o600))?).write_all(noted.as_bytes())
}

fn make(slot: BorrowedFd<'_>, environment: Option<&Path>) -> Result<OwnedFd, Error> {
    let root = empty_folder(slot, MAKING).map_err(explain)?;
    if let Some(path) = environment {
        copy_environment(path, root.as_fd())?;
    }
    devices(root.as_fd())?;
    drop(empty_folder(root.as_fd(), "proc").map_err(explain)?);
    Ok(root)
}

/// Makes a folder of root's that all may enter, with time T0.
pub fn empty_folder(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Failure> {
    let made = || {
        mkdirat(parent, name, Mode::from(0o755))?;
        // Again, since it was cut by the caller's umask.
        chmodat(parent, name, Mode::from(0o755), AtFlags::empty())?;
        utimensat(parent, name, &t0(), AtFlags::SYMLINK_NOFOLLOW)?;
        openat(parent, name, FOLDER, Mode::empty())
    };
    made().or_fail(Doing::Folder, name)
}

fn copy_environment(path: &Path, root: BorrowedFd<'_>) -> Result<(), Error> {
    let unusable = |source: io::Error| Error::Source { path: path.to_owned(), source };
    let from = open(path, FOLDER, Mode::empty()).map_err(|cause| unusable(cause.into()))?;
    for entry in Dir::read_from(&from).map_err(|cause| unusable(cause.into()))? {
        let entry = entry.map_err(|cause| unusable(cause.into()))?;
        let name = entry.file_name();
        match name.to_str() {
            Ok("." | "..") => {}
            Ok(own) if OWN.contains(&own) => own_place(from.as_fd(), own)?,
            _ => copy::copy_entry(from.as_fd(), name, root, name, None)
                .or_fail(Doing::CopyFile, &name.to_string_lossy())
                .map_err(explain)?,
        }
    }
    Ok(())
}

/// What the environment has at a place of kiln's own is not seen; only a folder can be meant there.
fn own_place(from: BorrowedFd<'_>, own: &str) -> Result<(), Error> {
    let kind = statat(from, own, AtFlags::SYMLINK_NOFOLLOW)
        .or_fail(Doing::Point, own)
        .map_err(explain)?
        .st_mode;
    if FileType::from_raw_mode(kind) == FileType::Directory {
        return Ok(());
    }
    let problem = MountProblem::EnvironmentNotAFolder;
    Err(Error::Place { at: crate::native::setup::place(own), problem })
}

fn devices(root: BorrowedFd<'_>) -> Result<(), Error> {
    let dev = empty_folder(root, "dev").map_err(explain)?;
    for device in lists::DEVICES {
        let (name, ..) = device;
        device_node(dev.as_fd(), device).or_fail(Doing::DeviceNode, name).map_err(explain)?;
        // Made is not usable: a file system may be mounted so that none is.
        if let Err(source) = openat(&dev, name, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
            let guarantee = model::isolation::Guarantee::Files;
            let (doing, cause) = (Doing::DeviceNode, Cause::NoDevices);
            return Err(Error::Missing { guarantee, doing, cause, source: source.into() });
        }
    }
    for (name, text) in lists::DEVICE_LINKS {
        let link = || {
            symlinkat(text, &dev, name)?;
            utimensat(&dev, name, &t0(), AtFlags::SYMLINK_NOFOLLOW)
        };
        link().or_fail(Doing::Symlink, name).map_err(explain)?;
    }
    Ok(())
}

fn device_node(
    dev: BorrowedFd<'_>,
    (name, major, minor): (&str, u32, u32),
) -> rustix::io::Result<()> {
    let (kind, mode) = (FileType::CharacterDevice, Mode::from(0o666));
    mknodat(dev, name, kind, mode, makedev(major, minor))?;
    chmodat(dev, name, mode, AtFlags::empty())?;
    utimensat(dev, name, &t0(), AtFlags::SYMLINK_NOFOLLOW)
}

/// Makes the nodes anew whose times a step has set.
fn renew_devices(root: BorrowedFd<'_>) -> Result<(), Error> {
    for device in lists::DEVICES {
        let renew = || {
            let dev = openat(root, "dev", FOLDER, Mode::empty())?;
            let stat = statat(&dev, device.0, AtFlags::SYMLINK_NOFOLLOW)?;
            if stat.st_mtime != t0().last_modification.tv_sec {
                unlinkat(&dev, device.0, AtFlags::empty())?;
                device_node(dev.as_fd(), device)?;
                // The folder's own time was T0 as well.
                utimensat(root, "dev", &t0(), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Ok::<(), rustix::io::Errno>(())
        };
        renew().or_fail(Doing::DeviceNode, device.0).map_err(explain)?;
    }
    Ok(())
}

/// Returns a digest over every entry of a root but those that each step gets anew.
pub fn looks(root: BorrowedFd<'_>) -> io::Result<String> {
    let mut hasher = Hasher::new();
    look_at(root, "", &mut hasher)?;
    Ok(hasher.finish().digest.hex())
}

/// An environment's depth is bounded by its tree's own limits, and nobody but root can add to it.
fn look_at(folder: BorrowedFd<'_>, at: &str, hasher: &mut Hasher) -> io::Result<()> {
    let mut names: Vec<CString> = Vec::new();
    for entry in Dir::read_from(folder)? {
        names.push(entry?.file_name().to_owned());
    }
    names.sort();
    for name in names {
        let anew = match (at, name.to_str()) {
            (_, Ok("." | "..")) => true,
            ("", Ok(name)) => ANEW.contains(&name),
            ("/dev", Ok(name)) => name == SHARED_MEMORY,
            _ => false,
        };
        if anew {
            continue;
        }
        let stat = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let path = format!("{at}/{}", name.to_string_lossy());
        hasher.update(path.as_bytes());
        let owner = (stat.st_mode, stat.st_uid, stat.st_gid);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            // Its own times change with what each step gets anew; its entries follow.
            hasher.update(format!("\0{owner:?}\n").as_bytes());
            let below = openat(folder, &name, FOLDER, Mode::empty())?;
            look_at(below.as_fd(), &path, hasher)?;
        } else if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice {
            // Its times may be set by whoever may write to it, and it may have been made anew.
            let node = (stat.st_rdev, stat.st_size, stat.st_nlink);
            hasher.update(format!("\0{owner:?} {node:?}\n").as_bytes());
        } else {
            let content = (stat.st_ino, stat.st_size, stat.st_rdev, stat.st_nlink);
            let changed = (stat.st_ctime, stat.st_ctime_nsec, stat.st_mtime, stat.st_mtime_nsec);
            hasher.update(format!("\0{owner:?} {content:?} {changed:?}\n").as_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// Only root can make device nodes; without it there is no confined step either.
    #[test]
    fn a_touched_device_is_made_anew_and_another_is_a_change() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: device nodes are made by root alone");
            return;
        }
        let slot = tempfile::tempdir().expect("a folder");
        let slot = open(slot.path(), FOLDER, Mode::empty()).expect("a folder");
        let prepared = || prepare(slot.as_fd(), "root-a", None).expect("a root");
        let (root, noted) = prepared();
        let dev = openat(&root, "dev", FOLDER, Mode::empty()).expect("a folder");
        let node = || statat(&dev, "null", AtFlags::SYMLINK_NOFOLLOW).expect("a node");
        let first = node();
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let now = rustix::fs::Timestamps { last_access: now, last_modification: now };
        utimensat(&dev, "null", &now, AtFlags::empty()).expect("it is ours");
        assert_eq!(looks(root.as_fd()).expect("it can be read"), noted);
        let (_, again) = prepared();
        assert_eq!((again.as_str(), node().st_mtime), (noted.as_str(), first.st_mtime));
        let folder = statat(&root, "dev", AtFlags::SYMLINK_NOFOLLOW).expect("a folder");
        assert_eq!(folder.st_mtime, first.st_mtime);
        unlinkat(&dev, "null", AtFlags::empty()).expect("it is there");
        device_node(dev.as_fd(), ("null", 1, 5)).expect("a node");
        assert_ne!(looks(root.as_fd()).expect("it can be read"), noted);
    }

    #[test]
    fn every_change_of_a_prepared_root_shows() {
        let top = tempfile::tempdir().expect("a folder");
        let path = |below: &str| top.path().join(below);
        for folder in ["etc", "dev", "tmp"] {
            std::fs::create_dir(path(folder)).expect("a folder");
        }
        File::create(path("etc/file")).expect("a file");
        symlink("file", path("etc/link")).expect("a link");
        let root = open(top.path(), FOLDER, Mode::empty()).expect("a folder");
        let look = || looks(root.as_fd()).expect("it can be read");
        let mut last = look();
        assert_eq!(look(), last);
        // What each step gets anew does not count.
        File::create(path("tmp/file")).expect("a file");
        std::fs::create_dir(path("dev/shm")).expect("a folder");
        assert_eq!(look(), last);
        let changes: [&dyn Fn(); 7] = [
            &|| drop(File::create(path("etc/new")).expect("a file")),
            &|| {
                let mut file = File::options().append(true).open(path("etc/file")).expect("a file");
                file.write_all(b"x").expect("bytes");
            },
            &|| {
                let back = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
                let times = rustix::fs::Timestamps { last_access: back, last_modification: back };
                utimensat(CWD, path("etc/file"), &times, AtFlags::empty()).expect("times");
            },
            &|| {
                let mode = std::fs::Permissions::from_mode(0o600);
                std::fs::set_permissions(path("etc/file"), mode).expect("a mode");
            },
            &|| std::fs::hard_link(path("etc/file"), path("etc/other")).expect("a link"),
            &|| {
                std::fs::remove_file(path("etc/link")).expect("it is there");
                symlink("filf", path("etc/link")).expect("a link");
            },
            &|| std::fs::remove_file(path("etc/new")).expect("it is there"),
        ];
        for (number, change) in changes.iter().enumerate() {
            change();
            let now = look();
            assert_ne!(now, last, "change {number}");
            last = now;
        }
    }
}
