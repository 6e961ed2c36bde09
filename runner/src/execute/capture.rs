//! Takes a step's declared outputs into the store, after the last of its processes is dead.
//!
//! A step decides every name, type, mode and attribute here, so nothing is believed: the walk goes
//! one name at a time beneath a descriptor, looks at the type before it opens, never follows a link
//! and never waits for one. Bytes go through the hash into a fresh inode in the same read; a step's
//! own inode is never moved into the store, since a forgotten descriptor could still write to it.
//!
//! 1. Walk to the output's folder; a link on the way is refused (S-E13).
//! 2. Look at the output itself: absent or of another kind is one error, of a refused type another.
//! 3. A file goes into the store; a folder does with all it holds, its own message last.
//! 4. Names that a case-insensitive or normalising file system would merge are noted.
//!
//! All outputs of a step share one budget and are read once by inode (`taking.rs`). Between files, and between
//! pieces of large ones, the button is looked at; what was stored until then is swept like any other rest.
//!
//! Only the executable bit of a mode is kept. Times and owners are dropped; hardlinks become separate
//! files by content. Set-id and sticky bits, extended attributes, ACLs and file capabilities are
//! refused: they would be lost in silence.
//!
//! Does not catch: another process of the same user that changes the step's folder meanwhile; a file
//! that changed while it was read is refused all the same. Attributes of links: the kernel gives no
//! process without privileges a way to set one.
//!
//! Spec: decision 12; REAPI v2 `OutputFile`, `OutputDirectory`.

mod error;
mod nearest;
#[cfg(test)]
mod properties_tests;
mod taking;
#[cfg(test)]
mod taking_tests;
#[cfg(test)]
mod tests;
mod twins;
mod walk;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::RelPath;
use model::limits::Bytes;
use model::record::OutputRecord;
use model::step::OutputKind;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

pub use error::{CaptureError, FileKind};
pub use taking::Taking;
pub use twins::Twins;

use crate::persist::retry;

/// How much one output may hold, and all outputs of a step together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Folders inside one another: what a tree can have.
    pub depth: usize,
    /// Files, folders and links together.
    pub entries: u64,
    /// Bytes of a path, counted from the output.
    pub path_bytes: usize,
    /// Bytes of all files together as programs see them: a hole counts (S-E09).
    pub logical: Bytes,
    /// Bytes of holes in all files of all outputs of the step. The store writes holes out, so without this
    /// a step could fill the host's disk with files that took nothing of its own.
    pub holes: Bytes,
}

/// What was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The output.
    pub node: OutputRecord,
    /// Files, folders and links, the output itself not counted.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: Bytes,
    /// Names that are one on some file systems (S-E08): for a warning.
    pub twins: Vec<Twins>,
}

impl Default for Caps {
    /// Returns what a tree can express, a million entries, 64 GiB, and holes of 20 GiB: what a step
    /// may write by default.
    fn default() -> Caps {
        Caps {
            depth: model::tree::DEPTH_MAX,
            entries: 1_000_000,
            path_bytes: model::relpath::PATH_BYTES_MAX,
            logical: Bytes(64 << 30),
            holes: Bytes(20 << 30),
        }
    }
}

/// Takes the output `path` of the folder `view` into the store, as one of those that `taking` is for.
///
/// # Errors
/// [`CaptureError`] says what was found and where; nothing is kept then but unreferenced objects.
pub fn capture(
    taking: &Taking<'_>,
    view: BorrowedFd<'_>,
    path: &RelPath,
    kind: OutputKind,
) -> Result<Captured, CaptureError> {
    let Some((above, name)) = path.split_last() else {
        return capture_folder(taking, reopen(view, path)?, path, kind);
    };
    // 1. One name at a time.
    let folder = descend(view, &above, path)?;
    let name = name.as_str();
    // 2. What is it?
    let stat = match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Err(missing(view, path)),
        Err(errno) => return Err(error::io(path)(errno)),
    };
    let found = FileKind::of(&stat);
    match (kind, found) {
        (OutputKind::File, FileKind::File) => {
            // 3. A file.
            let mut walk = walk::Walk::new(taking);
            walk.count(path, Some(&stat))?;
            let (blob, executable) = walk.take_file(folder.as_fd(), name, &stat, path)?;
            let node = OutputRecord::File { blob, executable };
            Ok(Captured { node, entries: 0, bytes: Bytes(blob.size), twins: Vec::new() })
        }
        (OutputKind::Dir | OutputKind::Root, FileKind::Folder) => {
            let opened = walk::open_readable(folder.as_fd(), name, &stat, OFlags::DIRECTORY, path)?;
            capture_folder(taking, opened, path, kind)
        }
        (_, FileKind::File | FileKind::Folder) => {
            Err(CaptureError::WrongKind { at: path.clone(), wanted: kind, found })
        }
        _ => Err(CaptureError::Refused { at: path.clone(), found }),
    }
}

fn capture_folder(
    taking: &Taking<'_>,
    folder: OwnedFd,
    path: &RelPath,
    kind: OutputKind,
) -> Result<Captured, CaptureError> {
    if kind == OutputKind::File {
        let (at, found) = (path.clone(), FileKind::Folder);
        return Err(CaptureError::WrongKind { at, wanted: kind, found });
    }
    // 3. A folder and all it holds; 4. its twins.
    let mut walk = walk::Walk::new(taking);
    let root = walk.take_folder(folder, path)?;
    let (entries, bytes, twins) = walk.totals();
    Ok(Captured { node: OutputRecord::Tree(root), entries, bytes, twins })
}

/// Opens the folder `above`, one name at a time, never through a link.
fn descend(view: BorrowedFd<'_>, above: &RelPath, path: &RelPath) -> Result<OwnedFd, CaptureError> {
    let mut folder = reopen(view, path)?;
    let mut at = RelPath::here();
    for part in above.parts() {
        at = RelPath::new(part).map(|part| at.join(&part)).unwrap_or(at);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let entry = match retry(|| rustix::fs::openat(&folder, part, flags, Mode::empty())) {
            Ok(entry) => entry,
            Err(Errno::NOENT) => return Err(missing(view, path)),
            Err(errno) => return Err(error::io(&at)(errno)),
        };
        let stat = rustix::fs::fstat(&entry).map_err(error::io(&at))?;
        match FileKind::of(&stat) {
            FileKind::Folder => {
                walk::give_right(folder.as_fd(), part, &stat, Mode::RWXU)
                    .map_err(walk::unreadable(&stat, &at))?;
                folder = entry;
            }
            found => {
                return Err(CaptureError::Parent { output: path.clone(), at, found });
            }
        }
    }
    Ok(folder)
}

/// Opens the view anew, so that a descriptor of any kind serves and none of its position is used.
fn reopen(view: BorrowedFd<'_>, path: &RelPath) -> Result<OwnedFd, CaptureError> {
    // The step may have closed its own work folder.
    let stat = rustix::fs::fstat(view).map_err(error::io(path))?;
    if let Some(mode) = walk::missing_right(&stat, Mode::RWXU) {
        rustix::fs::fchmod(view, mode).map_err(walk::unreadable(&stat, path))?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry(|| rustix::fs::openat(view, ".", flags, Mode::empty())).map_err(error::io(path))
}

fn missing(view: BorrowedFd<'_>, path: &RelPath) -> CaptureError {
    CaptureError::Missing { at: path.clone(), nearest: nearest::nearest(view, path) }
}
