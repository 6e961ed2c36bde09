//! Checkouts: the folders that steps see.
//!
//! One merged folder per tree, time and owner, made once from verified objects and used by every
//! later build. Every file is a fresh inode, a reflink where the file system has them and a copy
//! elsewhere: a step can tell a hardlink, and could reach its other name. The time is the same on
//! every entry, folders and links included; modes are 0644 and 0755. The access time is one that
//! reading does not move, or a step could leave a mark for the next.
//!
//! ```text
//! checkouts/d-HEX-SECONDS[-UID.GID]/     the lease: locked shared by every build that uses it
//! ├── stamp                              the metadata of all of `tree`, as one digest
//! └── tree/                              what is mounted; nothing of kiln's own is inside
//! ```
//!
//! Made under `tmp/` and renamed, so that a half-made one has no name. The lease is a lock on the
//! outer folder, which no step can see; `gc` removes a checkout only after it got the lock alone.
//! Symlinks are made last, so that no path of this module can lead through one.
//!
//! **Touched.** Before a checkout is handed out, its stamp is compared. One that differs is not used:
//! it is removed and made anew from the objects. While another step still uses it, it stays, and this
//! step gets one of its own under `tmp/`, which goes with the run.
//!
//! Does not catch: what the stamp does not; `verify --deep` compares every byte.
//!
//! Spec: decisions 1, 3; ioctl_ficlone(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use model::tree::Node;
use model::{Blob, Digest, RelPath, Tree};
use rayon::prelude::*;
use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::error::{Error, Operation, io};
use super::open::{Store, folder};
use super::{blob, lock, remove, stamp};
use crate::persist;

/// The entry of a checkout's folder that steps see.
pub(super) const VISIBLE: &str = "tree";
/// How often a checkout that vanishes under our hands is made again before giving up.
const TRIES_MAX: u32 = 100;

/// What every entry of a checkout looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Look {
    /// Modification time, in seconds since 1970.
    pub seconds: i64,
    /// Owner; the runner itself if none. Only root can give files away.
    pub owner: Option<Owner>,
}

/// User and group of every entry of a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// User id on the host.
    pub uid: u32,
    /// Group id on the host.
    pub gid: u32,
}

/// A checkout in use. It stays where it is until this is dropped.
#[derive(Debug)]
pub struct Checkout {
    path: PathBuf,
    visible: OwnedFd,
    touched: Option<String>,
    _lease: lock::Held,
}

/// What is at the name of a checkout.
enum Found {
    /// One that is as it was made, leased.
    Sound(OwnedFd),
    /// One that somebody touched.
    Touched,
    /// None, or one that is being removed.
    Nothing,
}

/// What is checked out, and with it the name of the checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) kind: Kind,
    pub(super) digest: Digest,
    pub(super) look: Look,
}

/// What stands under `tree`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File { executable: bool },
}

impl Checkout {
    /// Returns where the tree, or the file, is: the thing to mount.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns an `O_PATH` descriptor of the tree or file.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.visible.as_fd()
    }

    /// Returns the name of the checkout that had been touched, and in whose place this one was made.
    pub fn touched(&self) -> Option<&str> {
        self.touched.as_deref()
    }

    /// Returns what a forked child has of the lease.
    #[cfg(test)]
    pub(super) fn lease_copy(&self) -> OwnedFd {
        self._lease.copy()
    }
}

impl Store {
    /// Returns the checkout of a tree, made if there is none yet.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Damaged`] for parts of the tree, [`Error::Full`].
    pub fn checkout(&self, root: &Blob, look: Look) -> Result<Checkout, Error> {
        let subject = Subject { kind: Kind::Folder, digest: root.digest, look };
        self.lease_or_make(&subject, &|folder| {
            let tree = self.load_tree(root)?;
            populate(self, folder, &tree, look)
        })
    }

    /// Returns the checkout of a single file, made if there is none yet.
    ///
    /// # Errors
    /// As [`Store::checkout`].
    pub fn checkout_file(
        &self,
        blob: &Blob,
        executable: bool,
        look: Look,
    ) -> Result<Checkout, Error> {
        let subject = Subject { kind: Kind::File { executable }, digest: blob.digest, look };
        self.lease_or_make(&subject, &|folder| {
            write_file(self, folder, VISIBLE, blob, executable, look)
        })
    }

    fn lease_or_make(
        &self,
        subject: &Subject,
        make: &dyn Fn(BorrowedFd<'_>) -> Result<(), Error>,
    ) -> Result<Checkout, Error> {
        let name = subject.name();
        let began = std::time::Instant::now();
        let mut touched = None;
        for _ in 0..TRIES_MAX {
            match self.find(&name)? {
                Found::Sound(lease) => {
                    tracing::debug!(name, took = ?began.elapsed(), "checkout is as it was made");
                    return self.hand_out(&name, lease, touched);
                }
                Found::Nothing => {}
                Found::Touched => {
                    touched = Some(name.clone());
                    if !self.discard_unused_checkout(&name)? {
                        return self.make_private(make, touched);
                    }
                }
            }
            if let Some(lease) = self.make_checkout(&name, make)? {
                tracing::debug!(name, took = ?began.elapsed(), "checkout is made");
                return self.hand_out(&name, lease, touched);
            }
        }
        Err(Error::Busy { holder: format!("whoever removes checkouts/{name}") })
    }

    /// Takes a share of the checkout of this name and compares its stamp.
    fn find(&self, name: &str) -> Result<Found, Error> {
        match self.lease(name) {
            Ok(Some(lease)) if stamp::agrees(lease.as_fd()) => Ok(Found::Sound(lease)),
            Ok(Some(_)) => Ok(Found::Touched),
            Ok(None) => Ok(Found::Nothing),
            Err(Error::Io { source: Errno::NOTDIR | Errno::LOOP, .. }) => Ok(Found::Touched),
            Err(error) => Err(error),
        }
    }

    /// Takes a share of an existing checkout, or none if there is none or it is being removed.
    fn lease(&self, name: &str) -> Result<Option<OwnedFd>, Error> {
        let at = || Path::new("checkouts").join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lease = match rustix::fs::openat(&self.checkouts, name, flags, Mode::empty()) {
            Ok(lease) => lease,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(io(Operation::Open, at())(errno)),
        };
        rustix::fs::flock(&lease, FlockOperation::LockShared).map_err(io(Operation::Lock, at()))?;
        let held = rustix::fs::fstat(&lease).map_err(io(Operation::Inspect, at()))?;
        match rustix::fs::statat(&self.checkouts, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino) => {
                let now = Timestamps { last_access: NOW, last_modification: NOW };
                rustix::fs::futimens(&lease, &now).map_err(io(Operation::SetMode, at()))?;
                Ok(Some(lease))
            }
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(io(Operation::Inspect, at())(errno)),
        }
    }

    /// Makes a checkout and gives it its name, leased already; none if somebody was faster.
    fn make_checkout(
        &self,
        name: &str,
        make: &dyn Fn(BorrowedFd<'_>) -> Result<(), Error>,
    ) -> Result<Option<OwnedFd>, Error> {
        let temporary = persist::fresh();
        let at = || Path::new("checkouts").join(name);
        let attempt = || {
            let lease = self.populated(&temporary, make)?;
            let (from, to) = (self.run.as_fd(), self.checkouts.as_fd());
            match super::open::rename_folder(from, &temporary, to, name) {
                Ok(()) => Ok(Some(lease)),
                Err(Errno::EXIST) => Ok(None),
                Err(errno) => Err(io(Operation::Rename, at())(errno)),
            }
        };
        let made = attempt();
        if !matches!(made, Ok(Some(_))) {
            remove::remove(self.run.as_fd(), &temporary)
                .map_err(io(Operation::Remove, Path::new("tmp").join(&temporary)))?;
        }
        made
    }

    /// Makes a checkout that only this run sees, and that ends with it.
    fn make_private(
        &self,
        make: &dyn Fn(BorrowedFd<'_>) -> Result<(), Error>,
        touched: Option<String>,
    ) -> Result<Checkout, Error> {
        let temporary = persist::fresh();
        let lease = self.populated(&temporary, make)?;
        self.hand_out_at(&self.run_path().join(temporary), lease, touched)
    }

    /// Makes a leased checkout under a name of this run's own.
    fn populated(
        &self,
        temporary: &str,
        make: &dyn Fn(BorrowedFd<'_>) -> Result<(), Error>,
    ) -> Result<OwnedFd, Error> {
        let at = || Path::new("tmp").join(temporary);
        rustix::fs::mkdirat(&self.run, temporary, Mode::RWXU)
            .map_err(io(Operation::Create, at()))?;
        let lease = folder(self.run.as_fd(), temporary)?;
        rustix::fs::flock(&lease, FlockOperation::NonBlockingLockShared)
            .map_err(io(Operation::Lock, at()))?;
        make(lease.as_fd())?;
        stamp::write(lease.as_fd())?;
        self.wrote();
        Ok(lease)
    }

    fn hand_out(
        &self,
        name: &str,
        lease: OwnedFd,
        touched: Option<String>,
    ) -> Result<Checkout, Error> {
        self.hand_out_at(&self.path().join("checkouts").join(name), lease, touched)
    }

    fn hand_out_at(
        &self,
        folder: &Path,
        lease: OwnedFd,
        touched: Option<String>,
    ) -> Result<Checkout, Error> {
        let path = folder.join(VISIBLE);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let visible = rustix::fs::openat(&lease, VISIBLE, flags, Mode::empty())
            .map_err(io(Operation::Open, &path))?;
        Ok(Checkout { path, visible, touched, _lease: lock::Held::of(lease) })
    }
}

impl Subject {
    /// Returns the name of the checkout.
    pub(super) fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Folder => 'd',
            Kind::File { executable: false } => 'f',
            Kind::File { executable: true } => 'x',
        };
        let plain = format!("{kind}-{}-{}", self.digest.hex(), self.look.seconds);
        match self.look.owner {
            None => plain,
            Some(Owner { uid, gid }) => format!("{plain}-{uid}.{gid}"),
        }
    }

    /// Reads the name of a checkout back; none for any other name.
    pub(super) fn parse(name: &str) -> Option<Subject> {
        let (kind, rest) = name.split_at_checked(2)?;
        let kind = match kind {
            "d-" => Kind::Folder,
            "f-" => Kind::File { executable: false },
            "x-" => Kind::File { executable: true },
            _ => return None,
        };
        let (hex, rest) = rest.split_at_checked(64)?;
        let rest = rest.strip_prefix('-')?;
        let (seconds, owner) = match rest.char_indices().skip(1).find(|(_, letter)| *letter == '-')
        {
            None => (rest, None),
            Some((at, _)) => {
                let (uid, gid) = rest[at + 1..].split_once('.')?;
                let owner = Owner { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
                (&rest[..at], Some(owner))
            }
        };
        let look = Look { seconds: seconds.parse().ok()?, owner };
        let subject = Subject { kind, digest: Digest::from_hex(hex).ok()?, look };
        (subject.name() == name).then_some(subject)
    }
}

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };

/// Writes a tree into `folder` under the name every checkout has.
fn populate(store: &Store, folder: BorrowedFd<'_>, tree: &Tree, look: Look) -> Result<(), Error> {
    let mut folders = vec![RelPath::here()];
    let mut files = Vec::new();
    let mut links = Vec::new();
    tree.walk(&mut |at, node| match node {
        Node::Directory(_) => folders.push(at.clone()),
        Node::File { blob, executable } => files.push((at.clone(), *blob, *executable)),
        Node::Symlink(target) => links.push((at.clone(), target.clone())),
    })
    .map_err(|_| Error::Missing(tree.root.digest))?;

    rustix::fs::mkdirat(folder, VISIBLE, Mode::RWXU).map_err(io(Operation::Create, VISIBLE))?;
    let top = super::open::folder(folder, VISIBLE)?;
    for at in &folders[1..] {
        rustix::fs::mkdirat(&top, at.as_str(), Mode::RWXU)
            .map_err(io(Operation::Create, at.as_str()))?;
    }
    let top = top.as_fd();
    files.par_iter().try_for_each(|(at, blob, executable)| {
        write_file(store, top, at.as_str(), blob, *executable, look)
    })?;
    links.par_iter().try_for_each(|(at, target)| write_link(top, at.as_str(), target, look))?;
    folders.par_iter().try_for_each(|at| finish_folder(top, at, look))
}

/// Writes one file, verified on its way from the object to its own inode.
fn write_file(
    store: &Store,
    folder: BorrowedFd<'_>,
    at: &str,
    blob: &Blob,
    executable: bool,
    look: Look,
) -> Result<(), Error> {
    let file = persist::create_exclusive(folder, at).map_err(io(Operation::Create, at))?;
    if !reflinked(store, file.as_fd(), blob)? {
        store.stream(blob, &mut |bytes| {
            persist::write_all(file.as_fd(), bytes).map_err(io(Operation::Write, at))
        })?;
    }
    let set = |errno| io(Operation::SetMode, at)(errno);
    if let Some((uid, gid)) = ids(look) {
        rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(set)?;
    }
    let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
    rustix::fs::fchmod(&file, mode).map_err(set)?;
    rustix::fs::futimens(&file, &times(look)).map_err(set)
}

/// Shares the object's blocks with a new file, where the file system can; then what was shared is
/// read and hashed. Says whether it did.
fn reflinked(store: &Store, file: BorrowedFd<'_>, blob: &Blob) -> Result<bool, Error> {
    if blob.size == 0 || !store.reflinks() {
        return Ok(false);
    }
    let (object, _) = store.open_object(&blob.digest)?;
    match rustix::fs::ioctl_ficlone(file, &object) {
        Ok(()) => {}
        Err(_) => {
            store.forget_reflinks();
            return Ok(false);
        }
    }
    if blob::hash_file(file, &mut |_| ())? == *blob {
        Ok(true)
    } else {
        Err(store.damaged(&blob.digest)?)
    }
}

fn write_link(folder: BorrowedFd<'_>, at: &str, target: &str, look: Look) -> Result<(), Error> {
    rustix::fs::symlinkat(target, folder, at).map_err(io(Operation::Create, at))?;
    let set = |errno| io(Operation::SetMode, at)(errno);
    let own = AtFlags::SYMLINK_NOFOLLOW;
    if let Some((uid, gid)) = ids(look) {
        rustix::fs::chownat(folder, at, Some(uid), Some(gid), own).map_err(set)?;
    }
    rustix::fs::utimensat(folder, at, &times(look), own).map_err(set)
}

fn finish_folder(top: BorrowedFd<'_>, at: &RelPath, look: Look) -> Result<(), Error> {
    let name = if at.is_here() { "." } else { at.as_str() };
    let opened = super::open::folder(top, name)?;
    let set = |errno| io(Operation::SetMode, name)(errno);
    if let Some((uid, gid)) = ids(look) {
        rustix::fs::fchown(&opened, Some(uid), Some(gid)).map_err(set)?;
    }
    rustix::fs::fchmod(&opened, Mode::from_raw_mode(0o755)).map_err(set)?;
    rustix::fs::futimens(&opened, &times(look)).map_err(set)
}

fn ids(look: Look) -> Option<(Uid, Gid)> {
    look.owner.map(|owner| (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid)))
}

fn times(look: Look) -> Timestamps {
    let moment = Timespec { tv_sec: look.seconds, tv_nsec: 0 };
    let accessed = Timespec { tv_sec: model::ACCESSED_SECONDS, tv_nsec: 0 };
    Timestamps { last_access: accessed, last_modification: moment }
}
