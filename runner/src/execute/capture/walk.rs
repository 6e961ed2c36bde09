//! The walk through one output, from the top down, messages from the bottom up.
//!
//! Iterative, with one descriptor for each folder between the top and the present place, so the depth
//! cap is also the cap on descriptors. Within a folder the files are read on all cores.
//!
//! Does not follow links, does not open what it has not looked at, and opens without waiting.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::limits::Bytes;
use model::reapi::{DIRECTORY_BYTES_MAX, entry_bytes_min};
use model::tree::Node;
use model::{Blob, Directory, Name, RelPath};
use rayon::prelude::*;
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::{CaptureError, FileKind, below, io, storing};
use super::taking::{Inode, Taking};
use super::twins::{Twins, twins_in};
use crate::persist::retry;

/// Attributes that the host's security modules put on every file: not the step's doing.
/// Source: xattr(7), security namespace.
const HOST_ATTRIBUTES: [&[u8]; 4] =
    [b"security.selinux", b"security.ima", b"security.evm", b"security.SMACK64"];

pub(super) struct Walk<'a> {
    taking: &'a Taking<'a>,
    entries: u64,
    bytes: u64,
    twins: Vec<Twins>,
}

/// A folder between the top and the present place.
struct Frame {
    folder: OwnedFd,
    at: RelPath,
    name: Option<Name>,
    message: Directory,
    left: Vec<(Name, Stat)>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(taking: &'a Taking<'a>) -> Walk<'a> {
        Walk { taking, entries: 0, bytes: 0, twins: Vec::new() }
    }

    /// Returns entries, bytes and twins seen.
    pub(super) fn totals(self) -> (u64, Bytes, Vec<Twins>) {
        (self.entries, Bytes(self.bytes), self.twins)
    }

    /// Takes a folder with everything in it and returns its message's name.
    pub(super) fn take_folder(
        &mut self,
        top: OwnedFd,
        path: &RelPath,
    ) -> Result<Blob, CaptureError> {
        let mut stack = vec![self.enter(top, path.clone(), None)?];
        loop {
            let depth = stack.len();
            let Some(frame) = stack.last_mut() else { return Ok(Directory::default().blob()) };
            if let Some((name, stat)) = frame.left.pop() {
                let at = frame.at.child(&name);
                if depth > self.taking.caps.depth {
                    return Err(CaptureError::TooDeep { at, cap: self.taking.caps.depth });
                }
                let folder = open_readable(
                    frame.folder.as_fd(),
                    name.as_str(),
                    &stat,
                    OFlags::DIRECTORY,
                    &at,
                )?;
                let below = self.enter(folder, at, Some(name))?;
                stack.push(below);
                continue;
            }
            let Some(done) = stack.pop() else { return Ok(Directory::default().blob()) };
            let blob = self.taking.store.put_directory(&done.message).map_err(storing(&done.at))?;
            match (stack.last_mut(), done.name) {
                (Some(above), Some(name)) => above.message.set(name, Node::Directory(blob)),
                _ => return Ok(blob),
            }
        }
    }

    /// Counts an entry against the caps before anything of it is read.
    pub(super) fn count(&mut self, at: &RelPath, file: Option<&Stat>) -> Result<(), CaptureError> {
        self.taking.go_on()?;
        self.entries += 1;
        if self.entries > self.taking.caps.entries {
            return Err(CaptureError::TooMany { cap: self.taking.caps.entries });
        }
        if at.as_str().len() > self.taking.caps.path_bytes {
            let folder = at.split_last().map(|(folder, _)| folder).unwrap_or_default();
            return Err(CaptureError::PathTooLong { at: folder, cap: self.taking.caps.path_bytes });
        }
        let size = file.map_or(0, |stat| stat.st_size.cast_unsigned());
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.taking.caps.logical.0 {
            return Err(CaptureError::TooLarge { at: at.clone(), cap: self.taking.caps.logical });
        }
        file.map_or(Ok(()), |stat| self.taking.count_holes(at, stat))
    }

    /// Takes one file into the store.
    pub(super) fn take_file(
        &self,
        folder: BorrowedFd<'_>,
        name: &str,
        stat: &Stat,
        at: &RelPath,
    ) -> Result<(Blob, bool), CaptureError> {
        check_mode(stat, at)?;
        let executable = stat.st_mode & 0o100 != 0;
        if let Some(blob) = self.taking.known(stat) {
            return Ok((blob, executable));
        }
        let file = open_readable(folder, name, stat, OFlags::empty(), at)?;
        check_attributes(file.as_fd(), at)?;
        Ok((self.taking.import(&file, stat, at)?, executable))
    }

    /// Reads a folder's names, takes its links and files, and leaves its folders for later.
    fn enter(
        &mut self,
        folder: OwnedFd,
        at: RelPath,
        name: Option<Name>,
    ) -> Result<Frame, CaptureError> {
        let stat = rustix::fs::fstat(&folder).map_err(io(&at))?;
        check_mode(&stat, &at)?;
        check_attributes(folder.as_fd(), &at)?;
        let names = self.list(folder.as_fd(), &at)?;
        self.twins.extend(twins_in(&at, names.iter()));
        let (mut files, mut left, mut links) = (Vec::new(), Vec::new(), Vec::new());
        let mut least = 0;
        for name in names {
            let path = at.child(&name);
            let stat = rustix::fs::statat(&folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(io(&path))?;
            let kind = FileKind::of(&stat);
            let target = (kind == FileKind::Link).then_some(stat.st_size);
            let target = target.map(|size| usize::try_from(size).unwrap_or(0));
            least += entry_bytes_min(name.as_str().len(), target);
            match kind {
                FileKind::File => {
                    self.count(&path, Some(&stat))?;
                    files.push((name, stat));
                }
                FileKind::Folder => {
                    self.count(&path, None)?;
                    left.push((name, stat));
                }
                FileKind::Link => {
                    self.count(&path, None)?;
                    links.push((name, path));
                }
                found => return Err(CaptureError::Refused { at: path, found }),
            }
        }
        // Before a target or a byte is read: what is too large would fill the memory first.
        if least > DIRECTORY_BYTES_MAX as u64 {
            return Err(CaptureError::FolderTooLarge { at, size: least });
        }
        let mut message = Directory::default();
        for (name, path) in links {
            let target = read_link(folder.as_fd(), &name, &path)?;
            message.set(name, Node::Symlink(target));
        }
        for (name, node) in self.take_files(folder.as_fd(), &at, files)? {
            message.set(name, node);
        }
        left.reverse();
        Ok(Frame { folder, at, name, message, left })
    }

    /// Takes the files of a folder on all cores: first one name of each, then the others, which are known.
    fn take_files(
        &self,
        folder: BorrowedFd<'_>,
        at: &RelPath,
        files: Vec<(Name, Stat)>,
    ) -> Result<Vec<(Name, Node)>, CaptureError> {
        let take = |(name, stat): (Name, Stat)| {
            let path = at.child(&name);
            let (blob, executable) = self.take_file(folder, name.as_str(), &stat, &path)?;
            Ok((name, Node::File { blob, executable }))
        };
        let mut seen = HashSet::new();
        let (first, others): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|(_, stat)| Inode::of(stat).is_none_or(|inode| seen.insert(inode)));
        let mut taken: Vec<_> = if first.len() < 2 {
            first.into_iter().map(take).collect::<Result<_, _>>()?
        } else {
            first.into_par_iter().map(take).collect::<Result<_, _>>()?
        };
        for other in others {
            taken.push(take(other)?);
        }
        Ok(taken)
    }

    /// Returns a folder's names, sorted. Stops at the cap instead of filling the memory.
    fn list(&self, folder: BorrowedFd<'_>, at: &RelPath) -> Result<Vec<Name>, CaptureError> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(folder).map_err(io(at))? {
            let entry = entry.map_err(io(at))?;
            let raw = entry.file_name().to_bytes();
            if matches!(raw, b"." | b"..") {
                continue;
            }
            names.push(below(at, raw)?.0);
            if self.entries + names.len() as u64 > self.taking.caps.entries {
                return Err(CaptureError::TooMany { cap: self.taking.caps.entries });
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Opens an entry that was looked at, and makes sure it is still the same one.
pub(super) fn open_entry(
    folder: BorrowedFd<'_>,
    name: &str,
    stat: &Stat,
    kind: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | kind;
    let file = retry(|| rustix::fs::openat(folder, name, flags, Mode::empty()))?;
    let opened = rustix::fs::fstat(&file)?;
    let same = (opened.st_dev, opened.st_ino, FileKind::of(&opened))
        == (stat.st_dev, stat.st_ino, FileKind::of(stat));
    if same { Ok(file) } else { Err(Errno::STALE) }
}

/// As [`open_entry`]; an entry of our own user that forbids reading is given the right first.
pub(super) fn open_readable(
    folder: BorrowedFd<'_>,
    name: &str,
    stat: &Stat,
    kind: OFlags,
    at: &RelPath,
) -> Result<OwnedFd, CaptureError> {
    let wanted = if kind.contains(OFlags::DIRECTORY) { Mode::RWXU } else { Mode::RUSR };
    if give_right(folder, name, stat, wanted).map_err(unreadable(stat, at))? {
        let again = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io(at))?;
        return open_entry(folder, name, &again, kind).map_err(io(at));
    }
    match open_entry(folder, name, stat, kind) {
        Err(errno @ (Errno::ACCESS | Errno::PERM)) => Err(unreadable(stat, at)(errno)),
        answer => answer.map_err(io(at)),
    }
}

/// Gives an entry of our own user the rights it lacks; says whether it had to. Root needs none, so
/// without this a step could tell a root host from another by what is captured.
///
/// The name is no link: it was looked at, and whoever could change that is dead.
pub(super) fn give_right(
    folder: BorrowedFd<'_>,
    name: &str,
    stat: &Stat,
    wanted: Mode,
) -> Result<bool, Errno> {
    let Some(mode) = missing_right(stat, wanted) else { return Ok(false) };
    rustix::fs::chmodat(folder, name, mode, AtFlags::empty())?;
    Ok(true)
}

/// Returns the mode that an entry of our own user should have; none if it has the right.
pub(super) fn missing_right(stat: &Stat, wanted: Mode) -> Option<Mode> {
    let ours = stat.st_uid == rustix::process::geteuid().as_raw();
    let closed = !Mode::from_raw_mode(stat.st_mode).contains(wanted);
    (ours && closed).then(|| Mode::from_raw_mode(stat.st_mode & 0o777) | wanted)
}

/// Returns a closure that turns the kernel's refusal into an error that shows mode and owner.
pub(super) fn unreadable(stat: &Stat, at: &RelPath) -> impl Fn(Errno) -> CaptureError {
    let (at, mode, owner) = (at.clone(), stat.st_mode & 0o7777, stat.st_uid);
    move |source| CaptureError::Unreadable { at: at.clone(), mode, owner, source }
}

fn read_link(folder: BorrowedFd<'_>, name: &Name, at: &RelPath) -> Result<String, CaptureError> {
    let target = rustix::fs::readlinkat(folder, name.as_str(), Vec::new()).map_err(io(at))?;
    match target.into_string() {
        Ok(target) if !target.is_empty() => Ok(target),
        Ok(_) => Err(CaptureError::TargetNotUtf8 { at: at.clone(), target: Vec::new() }),
        Err(error) => {
            let target = error.into_cstring().into_bytes();
            Err(CaptureError::TargetNotUtf8 { at: at.clone(), target })
        }
    }
}

fn check_mode(stat: &Stat, at: &RelPath) -> Result<(), CaptureError> {
    if stat.st_mode & 0o7000 == 0 {
        Ok(())
    } else {
        Err(CaptureError::SpecialMode { at: at.clone(), mode: stat.st_mode & 0o7777 })
    }
}

/// Refuses an entry with an attribute that the step may have set.
fn check_attributes(file: BorrowedFd<'_>, at: &RelPath) -> Result<(), CaptureError> {
    let size = match rustix::fs::flistxattr_query(file) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(()),
        Ok(size) => size,
        Err(errno) => return Err(io(at)(errno)),
    };
    let mut list = vec![0_u8; size];
    let read = rustix::fs::flistxattr(file, &mut list[..]).map_err(io(at))?;
    let foreign = list[..read]
        .split(|byte| *byte == 0)
        .find(|name| !name.is_empty() && !HOST_ATTRIBUTES.iter().any(|own| name.starts_with(own)));
    match foreign {
        None => Ok(()),
        Some(name) => Err(CaptureError::Attribute { at: at.clone(), attribute: name.to_vec() }),
    }
}
