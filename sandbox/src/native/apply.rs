//! Does the operations of `setup`: one short function per operation.
//!
//! Every place is reached from a descriptor, one part at a time, never through a symlink, and every
//! mount is attached to a descriptor of its mount point. So no name that an input holds can lead a
//! mount or a file elsewhere (S-A26). What we make carries T0, and what we make it in keeps its times.
//!
//! Runs in the first process of the sandbox, which has one thread, before the root is changed.
//! Never follows a symlink of an input. Never opens a file for truncation.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use model::T0_SECONDS;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Timespec, Timestamps, chmodat, fstat, futimens,
    mkdirat, open, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsmount, fsopen, mount_bind, move_mount, open_tree,
};

use super::copy::{self, times_of};
use super::error::{Doing, Failure, Naming};
use super::mounts::{NOTHING, PLAIN, overlay_mount, own_mount, tmpfs};
use super::setup::{Op, View};
use super::sys;

/// What the operations work with.
pub struct Stage {
    /// The base, see `setup`.
    pub base: Rc<OwnedFd>,
    /// Read-only clones of the sources, taken as they are attached.
    pub sources: Vec<Option<Source>>,
    /// Bodies of added files.
    pub bodies: Vec<u8>,
    /// Descriptors for the build process, in order.
    pub opened: Vec<OwnedFd>,
    /// Whether a view had to be a copy.
    pub copied: bool,
    /// Whether there are device nodes of the step's own.
    pub own_devices: bool,
    /// Whether something read-only is the host's own inode, because no overlay could be made over it.
    pub shared: bool,
    /// Folders that were reached before, by place; forgotten when something is mounted over them.
    reached: RefCell<BTreeMap<String, Rc<OwnedFd>>>,
}

/// What the first process is given to work with.
pub struct Given {
    /// The sources, cloned.
    pub sources: Vec<Option<Source>>,
    /// A file system with device nodes of the step's own, where they could be made.
    pub devices: Option<OwnedFd>,
    /// Bodies of added files.
    pub bodies: Vec<u8>,
    /// The lock on the step's user, kept as long as the first process lives.
    pub slot: Option<OwnedFd>,
}

/// A source, cloned.
pub struct Source {
    /// The folder or file.
    pub tree: OwnedFd,
    /// For a single file: the folder that holds it, and its name there.
    pub holder: Option<(OwnedFd, OsString)>,
}

/// What the child's umask takes from a mode.
const UMASK: u32 = 0o022;
const FOLDER: OFlags =
    OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Where device nodes of the step's own lie.
const OWN_DEVICES: &str = "stage/devices";
const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_SYMLINK_NOFOLLOW);
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const READ_FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Makes the base: a tmpfs over the old root, which absolute paths still see past.
pub fn make_base(given: Given) -> Result<Stage, Failure> {
    let Given { sources, devices, bodies, slot: _ } = given;
    let mount = tmpfs(8 << 20, 65_536, PLAIN).or_fail(Doing::Tmpfs, "base")?;
    let top = open("/", FOLDER, Mode::empty()).or_fail(Doing::Point, "base")?;
    attach(&mount, top.as_fd()).or_fail(Doing::Tmpfs, "base")?;
    for name in ["stage", "work", "root", NOTHING] {
        mkdirat(&mount, name, Mode::from(0o755)).or_fail(Doing::Folder, name)?;
    }
    let blank =
        openat(&mount, "blank", OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC, Mode::from(0o444));
    drop(blank.or_fail(Doing::WriteFile, "blank")?);
    for name in ["blank", NOTHING] {
        seal_blank(&mount, name).or_fail(Doing::ReadOnly, name)?;
    }
    let own_devices = devices.is_some();
    let stage = Stage {
        base: Rc::new(mount),
        sources,
        own_devices,
        bodies,
        opened: Vec::new(),
        copied: false,
        shared: false,
        reached: RefCell::default(),
    };
    if let Some(devices) = devices {
        put(&stage, &devices, OWN_DEVICES, true, Doing::Device)?;
    }
    Ok(stage)
}

/// Binds what masks are bound from over itself, read-only: each copy of that is read-only as well, which saves a
/// call for each mask.
fn seal_blank(base: &OwnedFd, name: &str) -> io::Result<()> {
    let tree = open_tree(base, name, CLONE)?;
    set_read_only(tree.as_fd(), false)?;
    attach(&tree, openat(base, name, LOOK, Mode::empty())?.as_fd())
}

/// Does one operation.
pub fn apply(stage: &mut Stage, op: &Op) -> Result<(), Failure> {
    match op {
        Op::Tmpfs { at, bytes, inodes, no_exec } => {
            fresh_tmpfs(stage, at, *bytes, *inodes, *no_exec)
        }
        Op::Folder { at, mode } => folder(stage, at, *mode),
        Op::Symlink { at, text } => symlink(stage, at, text),
        Op::Attach { source, folder, at } => attach_source(stage, *source, *folder, at),
        Op::Own { lower, at } => own(stage, lower, at),
        Op::OwnFile { source, stage: holder, at } => own_file(stage, *source, holder, at),
        Op::Bind { from, folder, at, read_only } => bind(stage, from, *folder, at, *read_only),
        Op::Overlay { lower, upper, at, view } => overlay(stage, lower, upper, at, *view),
        Op::Copy { from, at } => copy(stage, from, at),
        Op::Write { at, start, length, mode } => write(stage, at, *start, *length, *mode),
        Op::Device { name, major, minor, at } => device(stage, name, (*major, *minor), at),
        Op::Proc { at } => proc(stage, at),
        Op::Mask { at } => mask(stage, at),
        Op::Freeze { at } => freeze(stage, at),
        Op::ReadOnly { at } => read_only(stage, at),
        Op::Replace { at, text } => replace(stage, at, text),
        Op::WorkFolder { at } => point(stage, at, true).map(drop),
        Op::Open { at, .. } => open_place(stage, at),
    }
}

/// Clones the tree at `path` of the host: private, read-only, without devices and privilege.
///
/// With `owners`, a user namespace, its owners are shown as that maps them.
pub fn clone_source(path: &Path, owners: Option<BorrowedFd<'_>>) -> io::Result<Source> {
    let attributes = PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let tree = clone_tree(path, attributes, owners)?;
    let stat = fstat(&tree)?;
    let mut holder = None;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && let (Some(folder), Some(name)) = (path.parent(), path.file_name())
        && let Ok(folder) = clone_tree(folder, attributes, owners)
    {
        // Not where something else is mounted over the name.
        let there = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let same = |it: rustix::fs::Stat| (it.st_dev, it.st_ino) == (stat.st_dev, stat.st_ino);
        holder = there.is_ok_and(same).then(|| (folder, name.to_owned()));
    }
    Ok(Source { tree, holder })
}

/// Clones the folder at `path` of the host for the step to write in: private, without devices and
/// privilege. Its owner is the step's.
pub fn clone_scratch(path: &Path) -> io::Result<Source> {
    Ok(Source { tree: clone_tree(path, PLAIN, None)?, holder: None })
}

fn clone_tree(
    path: &Path,
    attributes: MountAttrFlags,
    owners: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let tree = open_tree(CWD, path, CLONE | OpenTreeFlags::AT_RECURSIVE)?;
    let attributes = attributes.bits().into();
    match owners {
        Some(owners) => sys::mount_showing_owners(tree.as_fd(), attributes, owners)?,
        None => sys::mount_attributes(tree.as_fd(), attributes, true)?,
    }
    Ok(tree)
}

fn fresh_tmpfs(
    stage: &Stage,
    at: &str,
    bytes: u64,
    inodes: u64,
    no_exec: bool,
) -> Result<(), Failure> {
    let exec = if no_exec { MountAttrFlags::MOUNT_ATTR_NOEXEC } else { MountAttrFlags::empty() };
    let mount = tmpfs(bytes, inodes, PLAIN | exec).or_fail(Doing::Tmpfs, at)?;
    put(stage, &mount, at, true, Doing::Tmpfs)?;
    utimensat(&mount, "", &t0(), AtFlags::EMPTY_PATH).or_fail(Doing::Tmpfs, at)
}

fn folder(stage: &Stage, at: &str, mode: u32) -> Result<(), Failure> {
    let (parent, name) = parent_of(stage, at)?;
    keeping_times(parent.as_fd(), || {
        mkdirat(&*parent, name, Mode::from(mode))?;
        if mode & UMASK != 0 {
            // The bits that the umask took. The folder is new and ours, so the name is its own.
            chmodat(&*parent, name, Mode::from(mode), AtFlags::empty())?;
        }
        Ok(utimensat(&*parent, name, &t0(), AtFlags::SYMLINK_NOFOLLOW)?)
    })
    .or_fail(Doing::Folder, at)
}

fn symlink(stage: &Stage, at: &str, text: &str) -> Result<(), Failure> {
    let (parent, name) = parent_of(stage, at)?;
    keeping_times(parent.as_fd(), || {
        symlinkat(text, &*parent, name)?;
        Ok(utimensat(&*parent, name, &t0(), AtFlags::SYMLINK_NOFOLLOW)?)
    })
    .or_fail(Doing::Symlink, at)
}

fn attach_source(stage: &mut Stage, source: usize, folder: bool, at: &str) -> Result<(), Failure> {
    let taken = take_source(stage, source, at)?;
    put(stage, &taken.tree, at, folder, Doing::Bind)
}

fn take_source(stage: &mut Stage, source: usize, at: &str) -> Result<Source, Failure> {
    let taken = stage.sources.get_mut(source).and_then(Option::take);
    taken.ok_or(io::Error::from_raw_os_error(libc::EBADF)).or_fail(Doing::Bind, at)
}

/// Where no overlay can be made the folder itself takes its place, and that is told.
fn own(stage: &mut Stage, lower: &str, at: &str) -> Result<(), Failure> {
    match own_mount(lower) {
        Ok(mount) => put(stage, &mount, at, true, Doing::Overlay),
        Err(_) => {
            stage.shared = true;
            bind(stage, lower, true, at, true)
        }
    }
}

/// An overlay is made of folders only, so it is made of the one that holds the file, which the step
/// never sees.
fn own_file(stage: &mut Stage, source: usize, holder: &str, at: &str) -> Result<(), Failure> {
    let taken = take_source(stage, source, at)?;
    let file = match &taken.holder {
        Some((folder, name)) => {
            put(stage, folder, holder, true, Doing::Bind)?;
            match own_mount(holder) {
                Ok(mount) => {
                    put(stage, &mount, &format!("{holder}-own"), true, Doing::Overlay)?;
                    open_tree(&mount, name, CLONE).ok()
                }
                Err(_) => None,
            }
        }
        None => None,
    };
    stage.shared |= file.is_none();
    put(stage, file.as_ref().unwrap_or(&taken.tree), at, false, Doing::Bind)
}

fn bind(stage: &Stage, from: &str, folder: bool, at: &str, read_only: bool) -> Result<(), Failure> {
    let tree = open_tree(&stage.base, from, CLONE | OpenTreeFlags::AT_RECURSIVE)
        .or_fail(Doing::Bind, from)?;
    if read_only {
        set_read_only(tree.as_fd(), true).or_fail(Doing::ReadOnly, at)?;
    }
    put(stage, &tree, at, folder, Doing::Bind)
}

fn overlay(
    stage: &mut Stage,
    lower: &str,
    upper: &str,
    at: &str,
    view: View,
) -> Result<(), Failure> {
    let below = open_at(stage, lower, READ_FOLDER).or_fail(Doing::Overlay, lower)?;
    let like = fstat(&below).or_fail(Doing::Overlay, lower)?;
    let (changes, scratch) = (format!("{upper}/u"), format!("{upper}/w"));
    for (path, mode) in [(upper, 0o700), (&changes, like.st_mode & 0o777), (&scratch, 0o700)] {
        mkdirat(&stage.base, path, Mode::from(mode)).or_fail(Doing::Overlay, path)?;
    }
    let top = open_at(stage, &changes, READ_FOLDER).or_fail(Doing::Overlay, at)?;
    let copied = view == View::Step && !copy::keeps_attributes(top.as_fd());
    if copied {
        stage.copied = true;
        copy::copy_folder(below.as_fd(), top.as_fd(), None).or_fail(Doing::CopyFile, lower)?;
    }
    futimens(&top, &times_of(&like)).or_fail(Doing::Overlay, at)?;
    if copied {
        return bind(stage, &changes, true, at, false);
    }
    let mount = overlay_mount(lower, &changes, &scratch).or_fail(Doing::Overlay, at)?;
    put(stage, &mount, at, true, Doing::Overlay)
}

fn copy(stage: &Stage, from: &str, at: &str) -> Result<(), Failure> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut source = File::from(open_at(stage, from, flags).or_fail(Doing::CopyFile, from)?);
    let like = fstat(&source).or_fail(Doing::CopyFile, from)?;
    let (parent, name) = parent_of(stage, at)?;
    keeping_times(parent.as_fd(), || {
        let mut target = create(parent.as_fd(), name, like.st_mode & 0o777)?;
        io::copy(&mut source, &mut target)?;
        Ok(futimens(&target, &times_of(&like))?)
    })
    .or_fail(Doing::CopyFile, at)
}

fn write(stage: &Stage, at: &str, start: usize, length: usize, mode: u32) -> Result<(), Failure> {
    let missing = || io::Error::from_raw_os_error(libc::ENODATA);
    let body = stage
        .bodies
        .get(start..start + length)
        .ok_or_else(missing)
        .or_fail(Doing::WriteFile, at)?;
    let (parent, name) = parent_of(stage, at)?;
    keeping_times(parent.as_fd(), || {
        let there = openat(&*parent, name, LOOK, Mode::empty()).and_then(fstat);
        if there.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) {
            unlinkat(&*parent, name, AtFlags::empty())?;
        }
        let mut target = create(parent.as_fd(), name, mode)?;
        target.write_all(body)?;
        Ok(futimens(&target, &t0())?)
    })
    .or_fail(Doing::WriteFile, at)
}

fn create(parent: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::from(mode))?;
    // The mode again, since it was cut by the umask.
    rustix::fs::fchmod(&file, Mode::from(mode))?;
    Ok(File::from(file))
}

fn device(stage: &Stage, name: &str, number: (u32, u32), at: &str) -> Result<(), Failure> {
    let node = if stage.own_devices {
        open_tree(&stage.base, format!("{OWN_DEVICES}/{name}"), CLONE)
    } else {
        open_tree(CWD, format!("/dev/{name}"), CLONE)
    };
    let node = node.or_fail(Doing::Device, name)?;
    // The node may be the host's: read-only keeps its times and mode from being changed. Its device can be
    // written to all the same (mount(8), `ro`).
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_RDONLY;
    sys::mount_attributes(node.as_fd(), attributes.bits().into(), false)
        .or_fail(Doing::Device, name)?;
    put(stage, &node, at, false, Doing::Device)?;
    let seen =
        open_at(stage, at, LOOK).and_then(|node| Ok(fstat(node)?)).or_fail(Doing::Device, name)?;
    let is_it = FileType::from_raw_mode(seen.st_mode) == FileType::CharacterDevice
        && (rustix::fs::major(seen.st_rdev), rustix::fs::minor(seen.st_rdev)) == number;
    let wrong = io::Error::from_raw_os_error(libc::ENODEV);
    if is_it { Ok(()) } else { Err(wrong).or_fail(Doing::Device, name) }
}

fn proc(stage: &Stage, at: &str) -> Result<(), Failure> {
    let mount = (|| {
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, PLAIN | MountAttrFlags::MOUNT_ATTR_NOEXEC)
    })();
    put(stage, &mount.or_fail(Doing::Proc, at)?, at, true, Doing::Proc)
}

/// Returns the descriptor of a place and whether it is a folder; none if it is not there.
fn look(stage: &Stage, at: &str) -> Result<Option<(OwnedFd, bool)>, Failure> {
    match open_at(stage, at, LOOK) {
        Ok(place) => {
            let stat = fstat(&place).or_fail(Doing::Point, at)?;
            Ok(Some((place, FileType::from_raw_mode(stat.st_mode) == FileType::Directory)))
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Doing::Point.failed(at, &cause)),
    }
}

/// Binds something blank over a place, if it is there. There are many of these, so this is the one place with the old
/// call, which does in one what the new ones do in five. It follows links; what is masked lies in a fresh proc,
/// where nobody but the kernel makes one, and none of those is on the list.
fn mask(stage: &Stage, at: &str) -> Result<(), Failure> {
    forget(stage, at);
    let done = match mount_bind("blank", at) {
        // A folder.
        Err(rustix::io::Errno::NOTDIR) => mount_bind(NOTHING, at),
        done => done,
    };
    match done {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        done => done.or_fail(Doing::Bind, at),
    }
}

fn freeze(stage: &Stage, at: &str) -> Result<(), Failure> {
    let Some((place, _)) = look(stage, at)? else { return Ok(()) };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&place, "", flags).or_fail(Doing::Bind, at)?;
    set_read_only(tree.as_fd(), false).or_fail(Doing::ReadOnly, at)?;
    forget(stage, at);
    attach(&tree, place.as_fd()).or_fail(Doing::Bind, at)
}

fn read_only(stage: &Stage, at: &str) -> Result<(), Failure> {
    let place = open_at(stage, at, FOLDER).or_fail(Doing::ReadOnly, at)?;
    set_read_only(place.as_fd(), false).or_fail(Doing::ReadOnly, at)
}

fn replace(stage: &Stage, at: &str, text: &str) -> Result<(), Failure> {
    let Some((place, _)) = look(stage, at)? else { return Ok(()) };
    let name = format!("text-{}", at.replace('/', "-"));
    let file = create(stage.base.as_fd(), &name, 0o444);
    file.and_then(|mut file| file.write_all(text.as_bytes())).or_fail(Doing::WriteFile, at)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(&stage.base, &name, flags).or_fail(Doing::Bind, at)?;
    set_read_only(tree.as_fd(), false).or_fail(Doing::ReadOnly, at)?;
    forget(stage, at);
    attach(&tree, place.as_fd()).or_fail(Doing::Bind, at)
}

fn open_place(stage: &mut Stage, at: &str) -> Result<(), Failure> {
    let place = open_at(stage, at, READ_FOLDER).or_fail(Doing::OpenPlace, at)?;
    stage.opened.push(place);
    Ok(())
}

fn set_read_only(tree: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    sys::mount_attributes(tree, attributes.bits().into(), recursive)
}

/// Attaches a mount to the place `at`, which is made if it is not there.
fn put(
    stage: &Stage,
    mount: &OwnedFd,
    at: &str,
    folder: bool,
    doing: Doing,
) -> Result<(), Failure> {
    let place = point(stage, at, folder)?;
    forget(stage, at);
    attach(mount, place.as_fd()).or_fail(doing, at)
}

fn attach(mount: &OwnedFd, place: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", place, "", flags)?)
}

/// Returns the mount point `at`: made if it is not there, and else of the right type and empty.
fn point(stage: &Stage, at: &str, folder: bool) -> Result<OwnedFd, Failure> {
    let (parent, name) = parent_of(stage, at)?;
    match openat(&*parent, name, LOOK, Mode::empty()) {
        Ok(place) => {
            check_point(&place, at, folder)?;
            return Ok(place);
        }
        Err(rustix::io::Errno::NOENT) => {}
        Err(cause) => return Err(Doing::Point.failed(at, &cause.into())),
    }
    keeping_times(parent.as_fd(), || make_point(parent.as_fd(), name, folder))
        .or_fail(Doing::Point, at)?;
    openat(&*parent, name, LOOK, Mode::empty()).or_fail(Doing::Point, at)
}

fn make_point(parent: BorrowedFd<'_>, name: &str, folder: bool) -> io::Result<()> {
    if folder {
        mkdirat(parent, name, Mode::from(0o755))?;
    } else {
        drop(create(parent, name, 0o644)?);
    }
    Ok(utimensat(parent, name, &t0(), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn check_point(place: &OwnedFd, at: &str, folder: bool) -> Result<(), Failure> {
    let stat = fstat(place).or_fail(Doing::Point, at)?;
    match (FileType::from_raw_mode(stat.st_mode), folder) {
        (FileType::Directory, true) => {
            let list = openat(place, ".", READ_FOLDER, Mode::empty()).and_then(Dir::new);
            let mut list = list.or_fail(Doing::Point, at)?;
            let entry = list.find(|entry| {
                entry
                    .as_ref()
                    .map_or(true, |entry| !matches!(entry.file_name().to_bytes(), b"." | b".."))
            });
            match entry {
                None => Ok(()),
                Some(_) => {
                    Err(Doing::PointOccupied
                        .failed(at, &io::Error::from_raw_os_error(libc::ENOTEMPTY)))
                }
            }
        }
        // A file point is new, or one of ours: an existing file would be hidden.
        (FileType::RegularFile, false) => {
            Err(Doing::PointOccupied.failed(at, &io::Error::from_raw_os_error(libc::EEXIST)))
        }
        _ => Err(Doing::PointKind.failed(at, &io::Error::from_raw_os_error(libc::ENOTDIR))),
    }
}

/// Returns the folder that holds `at`, made part by part where it is missing, and the last name.
fn parent_of<'at>(stage: &Stage, at: &'at str) -> Result<(Rc<OwnedFd>, &'at str), Failure> {
    let (folders, name) = at.rsplit_once('/').unwrap_or(("", at));
    let step = |here: &OwnedFd, part: &str| match openat(here, part, FOLDER, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => {
            keeping_times(here.as_fd(), || make_point(here.as_fd(), part, true))?;
            Ok(openat(here, part, FOLDER, Mode::empty())?)
        }
        other => Ok(other?),
    };
    match reach(stage, folders, step) {
        Ok(parent) => Ok((parent, name)),
        Err(cause) if matches!(cause.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => {
            Err(Doing::PointKind.failed(at, &cause))
        }
        Err(cause) => Err(Doing::Point.failed(at, &cause)),
    }
}

/// Opens what lies at `at`, part by part, without following a symlink.
fn open_at(stage: &Stage, at: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let (folders, name) = at.rsplit_once('/').unwrap_or(("", at));
    let step = |here: &OwnedFd, part: &str| Ok(openat(here, part, FOLDER, Mode::empty())?);
    let parent = reach(stage, folders, step)?;
    Ok(openat(&*parent, name, flags, Mode::empty())?)
}

/// Walks `folders` from the base, one part at a time, and remembers where it came.
fn reach(
    stage: &Stage,
    folders: &str,
    step: impl Fn(&OwnedFd, &str) -> io::Result<OwnedFd>,
) -> io::Result<Rc<OwnedFd>> {
    if let Some(reached) = stage.reached.borrow().get(folders) {
        return Ok(Rc::clone(reached));
    }
    let mut here = Rc::clone(&stage.base);
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        here = Rc::new(step(&here, part)?);
    }
    stage.reached.borrow_mut().insert(folders.to_owned(), Rc::clone(&here));
    Ok(here)
}

/// Forgets what was reached at or beneath `at`, where something else is mounted now.
fn forget(stage: &Stage, at: &str) {
    let beneath = |folder: &str| {
        folder.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    stage.reached.borrow_mut().retain(|folder, _| !beneath(folder));
}

/// Does `change` in a folder and gives the folder its times back.
pub fn keeping_times(
    folder: BorrowedFd<'_>,
    change: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let before = fstat(folder)?;
    change()?;
    Ok(utimensat(folder, "", &times_of(&before), AtFlags::EMPTY_PATH)?)
}

/// Returns T0 as the time of last change, with an access time that reading does not move.
pub fn t0() -> Timestamps {
    let t0 = Timespec { tv_sec: T0_SECONDS, tv_nsec: 0 };
    Timestamps { last_access: copy::ACCESSED, last_modification: t0 }
}
