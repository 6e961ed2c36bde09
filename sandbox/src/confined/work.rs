//! What one step gets in its prepared root: `/build`, `/tmp`, `/dev/shm`, `/kiln`, inputs, added files.
//!
//! All of it is made anew and removed afterwards. What the step may change belongs to its user; what it
//! may only read belongs to root. Views are copies, since nothing can be mounted: renaming a folder of
//! a source works, and a read-only input in a writable folder can be renamed, though not changed.
//!
//! Every place is reached from the root's descriptor, one part at a time, never through a symlink.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::AbsPath;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, futimens, mkdirat, open,
    openat, unlinkat,
};

use super::remove::remove;
use super::root::{ANEW, SHARED_MEMORY, empty_folder};
use super::users::Users;
use crate::error::Error;
use crate::native::apply::{keeping_times, t0};
use crate::native::copy::{self, Owner};
use crate::native::error::{Doing, Failure, Naming};
use crate::native::run::explain;
use crate::native::setup::place;
use crate::outcome::Writable;
use crate::spec::{InjectedFile, Mount, MountMode, Parts};

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Says whether a step needs something in the environment itself; such a root serves one step only.
pub fn grows(parts: &Parts) -> bool {
    let Parts { mounts, folders, files, .. } = parts;
    let places = mounts.iter().map(|mount| &mount.at).chain(folders);
    let mut places = places.chain(files.iter().map(|file| &file.at));
    places.any(|at| !at.below_root().parts().next().is_some_and(|first| ANEW.contains(&first)))
}

/// Removes what an earlier step got. `heap` is the slot's folder.
pub fn wipe(heap: BorrowedFd<'_>, root: BorrowedFd<'_>) -> io::Result<()> {
    for name in ANEW {
        remove(heap, root, name)?;
    }
    let dev = openat(root, "dev", FOLDER, Mode::empty())?;
    remove(heap, dev.as_fd(), SHARED_MEMORY)
}

/// Makes all of it; returns where the step may write, parents before children.
pub fn lay(root: &OwnedFd, parts: &Parts, users: Users) -> Result<Vec<Writable>, Error> {
    let work = Work { root, parts, users };
    work.own_folders().map_err(explain)?;
    let mut writable = Vec::new();
    if !parts.mounts.iter().any(|mount| mount.at == place("build")) {
        work.folder(&place("build")).map_err(explain)?;
        writable.push(place("build"));
    }
    for mount in &parts.mounts {
        if work.mount(mount)? {
            writable.push(mount.at.clone());
        }
    }
    for at in &parts.folders {
        work.folder(at).map_err(explain)?;
    }
    for file in &parts.files {
        work.file(file).map_err(explain)?;
    }
    let settled = || {
        futimens(root, &t0())?;
        futimens(openat(root, "dev", FOLDER, Mode::empty())?, &t0())
    };
    settled().or_fail(Doing::Folder, "/").map_err(explain)?;
    let opened = writable.into_iter().map(|at| {
        let (parent, name) = work.parent_of(&at)?;
        let dir = openat(&parent, name.as_c_str(), FOLDER, Mode::empty());
        let dir = dir.or_fail(Doing::OpenPlace, &shown(&at))?;
        Ok(Writable { at, dir })
    });
    opened.collect::<Result<_, Failure>>().map_err(explain)
}

struct Work<'step> {
    root: &'step OwnedFd,
    parts: &'step Parts,
    users: Users,
}

/// The form in which a failure names a place.
fn shown(at: &AbsPath) -> String {
    format!("root/{}", at.below_root().as_str())
}

impl Work<'_> {
    fn own_folders(&self) -> Result<(), Failure> {
        let dev = openat(self.root, "dev", FOLDER, Mode::empty()).or_fail(Doing::Folder, "dev")?;
        for (parent, name) in [(self.root, "tmp"), (&dev, SHARED_MEMORY)] {
            let made = empty_folder(parent.as_fd(), name)?;
            let give = || {
                self.give(&made, true)?;
                Ok::<_, io::Error>(fchmod(&made, Mode::from(0o1777))?)
            };
            give().or_fail(Doing::Folder, name)?;
        }
        empty_folder(self.root.as_fd(), "kiln").map(drop)
    }

    /// Puts an input at its place; says whether it is a folder that the step may write in.
    fn mount(&self, mount: &Mount) -> Result<bool, Error> {
        let unusable = |cause: rustix::io::Errno| Error::Source {
            path: mount.source.clone(),
            source: cause.into(),
        };
        let source = open(&mount.source, LOOK, Mode::empty()).map_err(unusable)?;
        let kind = FileType::from_raw_mode(fstat(&source).map_err(unusable)?.st_mode);
        let view = mount.mode == MountMode::View;
        match kind {
            FileType::Directory => {
                let from = openat(&source, ".", FOLDER, Mode::empty()).map_err(unusable)?;
                self.tree(&from, &mount.at, view).map_err(explain)?;
                Ok(view)
            }
            FileType::RegularFile => {
                let path = mount.source.as_os_str().to_string_lossy().into_owned();
                self.copy_file(mount, view).or_fail(Doing::CopyFile, &path).map_err(explain)?;
                Ok(false)
            }
            _ => {
                let problem = crate::error::MountProblem::SourceKind;
                Err(Error::Place { at: mount.at.clone(), problem })
            }
        }
    }

    fn tree(&self, from: &OwnedFd, at: &AbsPath, view: bool) -> Result<(), Failure> {
        let shown = shown(at);
        let made = self.point(at)?;
        let owner = self.owner(view);
        copy::copy_folder(from.as_fd(), made.as_fd(), owner).or_fail(Doing::CopyFile, &shown)?;
        let like = fstat(from).or_fail(Doing::CopyFile, &shown)?;
        copy::settle(&made, &like, owner).or_fail(Doing::CopyFile, &shown)
    }

    fn copy_file(&self, mount: &Mount, view: bool) -> io::Result<()> {
        let (folder, name) = mount
            .source
            .parent()
            .zip(mount.source.file_name())
            .ok_or(io::ErrorKind::InvalidInput)?;
        let folder = open(folder, FOLDER, Mode::empty())?;
        let name = CString::new(std::os::unix::ffi::OsStrExt::as_bytes(name))?;
        let (parent, new) = self
            .parent_of(&mount.at)
            .map_err(|failure| io::Error::from_raw_os_error(failure.errno))?;
        let owner = self.owner(view);
        keeping_times(parent.as_fd(), || {
            copy::copy_entry(folder.as_fd(), &name, parent.as_fd(), &new, owner)
        })
    }

    /// Makes an empty folder, the step's where it lies in what the step may write.
    fn folder(&self, at: &AbsPath) -> Result<(), Failure> {
        let made = self.point(at)?;
        self.give(&made, self.is_writable(at)).or_fail(Doing::Folder, &shown(at))
    }

    fn file(&self, file: &InjectedFile) -> Result<(), Failure> {
        let (parent, name) = self.parent_of(&file.at)?;
        keeping_times(parent.as_fd(), || {
            let there = openat(&parent, name.as_c_str(), LOOK, Mode::empty()).and_then(fstat);
            if there
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
            {
                unlinkat(&parent, name.as_c_str(), AtFlags::empty())?;
            }
            let made = openat(&parent, name.as_c_str(), CREATE, Mode::from(0o600))?;
            let mut target = File::from(made);
            target.write_all(&file.bytes)?;
            let made = OwnedFd::from(target);
            self.give(&made, self.is_writable(&file.at))?;
            fchmod(&made, Mode::from(file.mode))?;
            Ok(futimens(&made, &t0())?)
        })
        .or_fail(Doing::WriteFile, &shown(&file.at))
    }

    fn owner(&self, step: bool) -> Owner {
        step.then(|| (Uid::from_raw(self.users.step), Gid::from_raw(self.users.step)))
    }

    fn give(&self, made: &OwnedFd, step: bool) -> io::Result<()> {
        match self.owner(step) {
            Some((uid, gid)) => Ok(fchown(made, Some(uid), Some(gid))?),
            None => Ok(()),
        }
    }

    /// Says whether what lies at a place is the step's: the nearest input above it decides.
    fn is_writable(&self, at: &AbsPath) -> bool {
        let above = self.parts.mounts.iter().filter(|mount| at.strip_prefix(&mount.at).is_some());
        match above.max_by_key(|mount| mount.at.below_root().parts().count()) {
            Some(mount) => mount.mode == MountMode::View,
            None => matches!(at.below_root().parts().next(), Some("build" | "tmp")),
        }
    }

    /// Returns the empty folder at a place, made if it is not there.
    fn point(&self, at: &AbsPath) -> Result<OwnedFd, Failure> {
        let (parent, name) = self.parent_of(at)?;
        let (parent, shown) = (parent.as_fd(), shown(at));
        match openat(parent, name.as_c_str(), FOLDER, Mode::empty()) {
            Ok(there) => {
                check_empty(&there, &shown)?;
                Ok(there)
            }
            Err(rustix::io::Errno::NOENT) => {
                self.step_into(parent, &name, self.is_writable(at)).or_fail(Doing::Point, &shown)
            }
            Err(cause @ (rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP)) => {
                Err(Doing::PointKind.failed(&shown, &cause.into()))
            }
            Err(cause) => Err(Doing::Point.failed(&shown, &cause.into())),
        }
    }

    /// Makes a folder with time T0 in one that keeps its times.
    fn step_into(&self, parent: BorrowedFd<'_>, name: &CStr, step: bool) -> io::Result<OwnedFd> {
        keeping_times(parent, || Ok(mkdirat(parent, name, Mode::from(0o755))?))?;
        let made = openat(parent, name, FOLDER, Mode::empty())?;
        self.give(&made, step)?;
        fchmod(&made, Mode::from(0o755))?;
        futimens(&made, &t0())?;
        Ok(made)
    }

    /// Returns the folder that holds a place, made part by part where it is missing, and the last name.
    fn parent_of(&self, at: &AbsPath) -> Result<(OwnedFd, CString), Failure> {
        let parts: Vec<&str> = at.below_root().parts().collect();
        let (name, above) = parts.split_last().unwrap_or((&"", &[]));
        let shown = shown(at);
        let mut here =
            openat(self.root, ".", FOLDER, Mode::empty()).or_fail(Doing::Point, &shown)?;
        let mut reached = AbsPath::default();
        for part in above {
            let text = CString::new(*part).or_fail(Doing::Point, &shown)?;
            reached =
                place(format!("{}/{part}", reached.below_root().as_str()).trim_start_matches('/'));
            here = match openat(&here, text.as_c_str(), FOLDER, Mode::empty()) {
                Ok(next) => next,
                Err(rustix::io::Errno::NOENT) => {
                    let step = self.is_writable(&reached);
                    self.step_into(here.as_fd(), &text, step).or_fail(Doing::Point, &shown)?
                }
                Err(cause @ (rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP)) => {
                    return Err(Doing::PointKind.failed(&shown, &cause.into()));
                }
                Err(cause) => return Err(Doing::Point.failed(&shown, &cause.into())),
            };
        }
        Ok((here, CString::new(*name).or_fail(Doing::Point, &shown)?))
    }
}

fn check_empty(folder: &OwnedFd, shown: &str) -> Result<(), Failure> {
    for entry in Dir::read_from(folder).or_fail(Doing::Point, shown)? {
        let entry = entry.or_fail(Doing::Point, shown)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            let occupied = io::Error::from_raw_os_error(libc::ENOTEMPTY);
            return Err(Doing::PointOccupied.failed(shown, &occupied));
        }
    }
    Ok(())
}
