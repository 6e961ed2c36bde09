//! The staging folder: the one place that kiln and a container share.
//!
//! It lies in a folder of kiln's own that nobody else may enter (0700), under a random name, and is
//! locked while its maker lives: a lock that can be had means that the maker is dead, so what is
//! left of it may be removed. All work in it is relative to its descriptor and follows no link.
//!
//! It goes when it is dropped, on every way out; the caller holds it until the outputs are read.
//! Does not catch: a folder that another process of the same user changes meanwhile.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use model::T0_SECONDS;
use model::limits::Bytes;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Timespec, Timestamps, Uid,
    chownat, flock, fstat, mkdirat, openat, statat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::error::{EngineError, own};
use super::layout::{Layout, Op};
use super::tree::{Depth, FOLDER, each, remove};
use crate::error::{Error, MountProblem};
use crate::native::copy::{ACCESSED, copy_folder, times_of};
use crate::native::space;
use crate::spec::Parts;

const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// Folders inside one another that are measured, which bounds the descriptors and the stack that it takes;
/// a step with a tree that is deeper is stopped.
const MEASURED_DEPTH_MAX: usize = 256;

/// What is too much in the writable places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Bytes or files.
    Limit,
    /// Folders inside one another.
    Depth,
}

/// A staging folder in use.
#[derive(Debug)]
pub struct Staging {
    /// Where it lies.
    pub path: PathBuf,
    /// Its name, by which the container is named too.
    pub name: String,
    parent: OwnedFd,
    dir: OwnedFd,
}

/// Opens the folder of all staging folders, made if it is not there.
pub fn open_parent(at: &Path) -> Result<OwnedFd, EngineError> {
    let failed = |source: Errno| own("make the staging folder", at)(source.into());
    match mkdirat(CWD, at, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(cause) => return Err(failed(cause)),
    }
    let parent = openat(CWD, at, FOLDER, Mode::empty()).map_err(failed)?;
    let stat = fstat(&parent).map_err(failed)?;
    // The store's folder may have been made by hand; this one holds other people's inputs.
    let private = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o77 == 0;
    if private { Ok(parent) } else { Err(failed(Errno::PERM)) }
}

impl Staging {
    /// Makes an empty one.
    pub fn make(at: &Path) -> Result<Staging, EngineError> {
        let parent = open_parent(at)?;
        let mut random = [0_u8; 16];
        let mut filled = 0;
        while filled < random.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            let more = rustix::rand::getrandom(&mut random[filled..], flags);
            filled += more.map_err(|cause| own("draw random bytes for", at)(cause.into()))?;
        }
        let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = at.join(&name);
        let made = |parent: &OwnedFd| -> io::Result<OwnedFd> {
            // Until it is locked it looks like a dead kiln's; nobody sweeps meanwhile.
            flock(parent, FlockOperation::LockShared)?;
            mkdirat(parent, &name, Mode::RWXU)?;
            let dir = openat(parent, &name, FOLDER, Mode::empty())?;
            flock(&dir, FlockOperation::NonBlockingLockExclusive)?;
            flock(parent, FlockOperation::Unlock)?;
            Ok(dir)
        };
        let dir = made(&parent).map_err(own("make the staging folder", &path))?;
        Ok(Staging { path, name, parent, dir })
    }

    /// Does what `layout` says. `engines_files` are covered by the environment's own.
    pub fn fill(
        &self,
        parts: &Parts,
        layout: &Layout,
        engines_files: &[&str],
    ) -> Result<(), Error> {
        for op in &layout.ops {
            self.apply(parts, op).map_err(|source| told(parts, op, &self.path, source))?;
        }
        for path in engines_files {
            let to = format!("file/{}", path.replace('/', "-"));
            self.copy_file(&parts.root.join(path), &to)
                .map_err(|source| own("copy", &parts.root.join(path))(source))?;
        }
        Ok(())
    }

    fn apply(&self, parts: &Parts, op: &Op) -> io::Result<()> {
        match op {
            Op::Folder { at } => {
                let (parent, name) = self.parent_of(at)?;
                point(parent.as_fd(), name, true)
            }
            Op::Point { at, folder } => {
                let (parent, name) = self.parent_of(at)?;
                point(parent.as_fd(), name, *folder)
            }
            Op::Copy { mount, folder, at } => {
                let Some(source) = parts.mounts.get(*mount).map(|mount| &mount.source) else {
                    return Ok(());
                };
                if !*folder {
                    return self.copy_file(source, at);
                }
                let from = openat(CWD, source, FOLDER, Mode::empty())?;
                let like = fstat(&from)?;
                let (parent, name) = self.parent_of(at)?;
                mkdirat(&parent, name, Mode::RWXU)?;
                let to = openat(&parent, name, FOLDER, Mode::empty())?;
                copy_folder(from.as_fd(), to.as_fd(), None)?;
                rustix::fs::fchmod(&to, Mode::from(like.st_mode & 0o777))?;
                Ok(rustix::fs::futimens(&to, &times_of(&like))?)
            }
            Op::Write { file, at } => {
                let Some(file) = parts.files.get(*file) else { return Ok(()) };
                let (parent, name) = self.parent_of(at)?;
                keeping_times(parent.as_fd(), || {
                    match unlinkat(&parent, name, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(cause) => return Err(cause.into()),
                    }
                    let made = openat(&parent, name, CREATE, Mode::RUSR | Mode::WUSR)?;
                    let mut made = File::from(made);
                    made.write_all(&file.bytes)?;
                    rustix::fs::fchmod(&made, Mode::from(file.mode))?;
                    Ok(rustix::fs::futimens(&made, &t0())?)
                })
            }
        }
    }

    fn copy_file(&self, source: &Path, at: &str) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut from = File::from(openat(CWD, source, flags, Mode::empty())?);
        let like = fstat(&from)?;
        let (parent, name) = self.parent_of(at)?;
        keeping_times(parent.as_fd(), || {
            let mut to = File::from(openat(&parent, name, CREATE, Mode::RUSR | Mode::WUSR)?);
            io::copy(&mut from, &mut to)?;
            rustix::fs::fchmod(&to, Mode::from(like.st_mode & 0o777))?;
            Ok(rustix::fs::futimens(&to, &times_of(&like))?)
        })
    }

    /// Returns the folder that holds `at`, made part by part where it is missing, and the last name.
    fn parent_of<'at>(&self, at: &'at str) -> io::Result<(OwnedFd, &'at str)> {
        let (folders, name) = at.rsplit_once('/').unwrap_or(("", at));
        let mut here = openat(&self.dir, ".", FOLDER, Mode::empty())?;
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            here = match openat(&here, part, FOLDER, Mode::empty()) {
                Err(Errno::NOENT) => {
                    point(here.as_fd(), part, true)?;
                    openat(&here, part, FOLDER, Mode::empty())?
                }
                other => other?,
            };
        }
        Ok((here, name))
    }

    /// Writes a file that is for the engine and bound nowhere.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), EngineError> {
        let made = openat(&self.dir, name, CREATE, Mode::RUSR | Mode::WUSR).map(File::from);
        made.map_err(io::Error::from)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(own("write", &self.path.join(name)))
    }

    /// Gives everything in it to the step's user.
    pub fn give(&self, uid: u32, gid: u32) -> Result<(), EngineError> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        each(self.dir.as_fd(), usize::MAX, &mut |folder, name, _| {
            Ok(chownat(folder, name, Some(uid), Some(gid), flags)?)
        })
        .map(drop)
        .map_err(own("give the step its files in", &self.path))
    }

    /// Returns what is too much in the writable places: more than so many bytes, more files than so many
    /// bytes of a disk have inodes, or folders deeper than anybody will follow them.
    pub fn over(&self, layout: &Layout, most: Bytes) -> Result<Option<Over>, EngineError> {
        let (mut bytes, mut inodes) = (0_u64, 0_u64);
        for (_, at) in &layout.writable {
            let Ok(top) = openat(&self.dir, at.as_str(), FOLDER, Mode::empty()) else { continue };
            // What vanishes while it is measured is not there.
            let measured = each(top.as_fd(), MEASURED_DEPTH_MAX, &mut |_, _, stat| {
                bytes = bytes.saturating_add(stat.st_blocks.unsigned_abs().saturating_mul(512));
                inodes += 1;
                Ok(())
            });
            match measured.map_err(own("measure", &self.path))? {
                Depth::Reached => {}
                Depth::Beyond => return Ok(Some(Over::Depth)),
            }
        }
        let over = bytes > most.0 || inodes > space::inodes(most.0);
        Ok(over.then_some(Over::Limit))
    }

    /// Opens a writable place for reading, after the step is dead.
    pub fn open(&self, at: &str) -> Result<OwnedFd, EngineError> {
        let place = openat(&self.dir, at, FOLDER, Mode::empty());
        place.map_err(|cause| own("open what the step left in", &self.path)(cause.into()))
    }
}

/// The step is dead and its outputs are taken, or nobody wants them.
impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = remove(self.parent.as_fd(), &self.name) {
            tracing::warn!(path = %self.path.display(), %error, "a staging folder was not removed");
        }
    }
}

/// Removes every staging folder whose maker is gone, while none is in the making.
pub fn remove_dead(parent: BorrowedFd<'_>) -> io::Result<()> {
    flock(parent, FlockOperation::LockExclusive)?;
    for name in names(parent)? {
        if let Err(error) = remove_if_dead(parent, &name) {
            tracing::warn!(%name, %error, "a staging folder of a dead kiln was not removed");
        }
    }
    Ok(flock(parent, FlockOperation::Unlock)?)
}

/// Removes what a dead kiln left; says whether it was dead.
fn remove_if_dead(parent: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    let dir = match openat(parent, name, FOLDER, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(true),
        Err(cause) => return Err(cause.into()),
    };
    match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(false),
        Err(cause) => return Err(cause.into()),
    }
    remove(parent, name).map(|()| true)
}

/// Says whether the maker of a staging folder is gone.
pub fn is_dead(parent: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    match openat(parent, name, FOLDER, Mode::empty()) {
        Ok(dir) => match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(cause) => Err(cause.into()),
        },
        Err(Errno::NOENT) => Ok(true),
        Err(cause) => Err(cause.into()),
    }
}

/// Names of all staging folders.
pub fn names(parent: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(parent)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Makes a mount point of time T0, or takes one of the right type that hides nothing.
fn point(parent: BorrowedFd<'_>, name: &str, folder: bool) -> io::Result<()> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            return match (FileType::from_raw_mode(stat.st_mode), folder) {
                (FileType::Directory, true) => {
                    let below = openat(parent, name, FOLDER, Mode::empty())?;
                    let taken = Dir::read_from(&below)?.any(|entry| {
                        entry.map_or(true, |entry| {
                            !matches!(entry.file_name().to_bytes(), b"." | b"..")
                        })
                    });
                    if taken { Err(Errno::NOTEMPTY.into()) } else { Ok(()) }
                }
                (FileType::RegularFile, false) => Err(Errno::EXIST.into()),
                _ => Err(Errno::NOTDIR.into()),
            };
        }
        Err(Errno::NOENT) => {}
        Err(cause) => return Err(cause.into()),
    }
    keeping_times(parent, || {
        if folder {
            mkdirat(parent, name, Mode::from(0o755))?;
        } else {
            drop(openat(parent, name, CREATE, Mode::from(0o644))?);
        }
        rustix::fs::chmodat(
            parent,
            name,
            Mode::from(if folder { 0o755 } else { 0o644 }),
            AtFlags::empty(),
        )?;
        Ok(utimensat(parent, name, &t0(), AtFlags::SYMLINK_NOFOLLOW)?)
    })
}

/// Does `change` in a folder and gives the folder its times back.
fn keeping_times(
    folder: BorrowedFd<'_>,
    change: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let before = fstat(folder)?;
    change()?;
    Ok(rustix::fs::futimens(folder, &times_of(&before))?)
}

fn t0() -> Timestamps {
    let t0 = Timespec { tv_sec: T0_SECONDS, tv_nsec: 0 };
    Timestamps { last_access: ACCESSED, last_modification: t0 }
}

/// Says of a failure in the staging folder what it means for the step.
fn told(parts: &Parts, op: &Op, staging: &Path, source: io::Error) -> Error {
    let place = match op {
        Op::Copy { mount, at, .. } if at.starts_with("input/") && at.matches('/').count() == 1 => {
            let path = parts.mounts.get(*mount).map(|mount| mount.source.clone());
            return Error::Source { path: path.unwrap_or_default(), source };
        }
        Op::Copy { at, .. } | Op::Folder { at } | Op::Point { at, .. } | Op::Write { at, .. } => at,
    };
    let problem = match source.raw_os_error() {
        Some(libc::ENOTEMPTY | libc::EEXIST) => MountProblem::Occupied,
        Some(libc::ENOTDIR | libc::ELOOP | libc::EISDIR) => MountProblem::NotAFolder,
        _ => return own("prepare", &staging.join(place))(source).into(),
    };
    let inside = inside(parts, place);
    match inside {
        Some(at) => Error::Place { at, problem },
        None => own("prepare", &staging.join(place))(source).into(),
    }
}

/// Returns where something in the staging folder appears in the step.
fn inside(parts: &Parts, at: &str) -> Option<model::AbsPath> {
    let (top, rest) = at.split_once('/').unwrap_or((at, ""));
    if top == "build" {
        return model::AbsPath::new(&format!("/build/{rest}")).ok();
    }
    let (index, rest) = rest.split_once('/')?;
    let mount = parts.mounts.get(index.parse::<usize>().ok()?)?;
    model::AbsPath::new(&format!("{}/{rest}", mount.at)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_too_deep_to_measure_is_told_as_that_under_every_limit() {
        let top = tempfile::tempdir().expect("a folder");
        let staging = Staging::make(&top.path().join("staging")).expect("a staging folder");
        let place = staging.path.join("work");
        std::fs::create_dir(&place).expect("a folder");
        let writable = vec![(crate::native::setup::place("work"), "work".to_owned())];
        let layout = Layout { writable, ..Layout::default() };
        let deep = vec!["d"; MEASURED_DEPTH_MAX].join("/");
        std::fs::create_dir_all(place.join(&deep)).expect("folders");
        let mut file = File::create(place.join("file")).expect("a file");
        file.write_all(&vec![1; 1 << 20]).expect("bytes");
        let over = |most| staging.over(&layout, Bytes(most)).expect("a look");
        assert_eq!((over(1 << 20), over(8 << 20)), (Some(Over::Limit), None), "control");
        std::fs::create_dir(place.join(&deep).join("d")).expect("a folder");
        assert_eq!(over(u64::MAX), Some(Over::Depth));
    }

    #[test]
    fn files_without_a_byte_are_counted() {
        let top = tempfile::tempdir().expect("a folder");
        let staging = Staging::make(&top.path().join("staging")).expect("a staging folder");
        let place = staging.path.join("work");
        std::fs::create_dir(&place).expect("a folder");
        let writable = vec![(crate::native::setup::place("work"), "work".to_owned())];
        let layout = Layout { writable, ..Layout::default() };
        let most = space::inodes(0);
        for number in 0..=most {
            // What is linked to itself leads nowhere and takes no block.
            std::os::unix::fs::symlink(".", place.join(number.to_string())).expect("a link");
        }
        assert_eq!(staging.over(&layout, Bytes(1 << 30)).expect("a look"), Some(Over::Limit));
        std::fs::remove_file(place.join("0")).expect("it is there");
        assert_eq!(staging.over(&layout, Bytes(1 << 30)).expect("a look"), None);
    }

    #[test]
    fn a_folder_whose_maker_lives_is_left_alone() {
        let top = tempfile::tempdir().expect("a folder");
        let at = top.path().join("staging");
        let staging = Staging::make(&at).expect("a staging folder");
        let parent = open_parent(&at).expect("open");
        assert!(!remove_if_dead(parent.as_fd(), &staging.name).expect("a look"));
        assert_eq!(names(parent.as_fd()).expect("names"), std::slice::from_ref(&staging.name));
        let path = staging.path.clone();
        drop(staging);
        assert!(!path.exists());
        // As a killed kiln leaves it.
        let dead = "0".repeat(32);
        std::fs::create_dir(at.join(&dead)).expect("a folder");
        assert!(remove_if_dead(parent.as_fd(), &dead).expect("a look"));
        assert!(names(parent.as_fd()).expect("names").is_empty());
    }

    #[test]
    fn a_folder_in_the_making_is_not_swept() {
        let top = tempfile::tempdir().expect("a folder");
        let at = top.path().join("staging");
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let sweep = scope.spawn(|| {
                let parent = open_parent(&at).expect("open");
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    remove_dead(parent.as_fd()).expect("a look");
                }
            });
            let made: Vec<_> = (0..2000).map(|_| Staging::make(&at).map(drop)).collect();
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            sweep.join().expect("it ends");
            assert!(made.iter().all(Result::is_ok), "{made:?}");
        });
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        let top = tempfile::tempdir().expect("a folder");
        let at = top.path().join("open");
        std::fs::create_dir(&at).expect("a folder");
        rustix::fs::chmod(&at, Mode::from(0o755)).expect("a mode");
        assert!(open_parent(&at).is_err());
    }
}
