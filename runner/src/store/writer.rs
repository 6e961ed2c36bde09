//! Bytes on their way into the store, hashed while they are written.
//!
//! The temporary file lies in the run's own folder, which no step can see, and is a fresh inode. It
//! gets its mode, then its name; the name is the digest of exactly the bytes that were written, so
//! nothing is hashed first and opened again later. Dropped unfinished, it is removed.

use std::os::fd::{AsFd, OwnedFd};

use model::{Blob, Digest, Hasher};
use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;

use super::error::{Error, Operation, io};
use super::open::{Store, make_folder, object_path, sharded};
use crate::persist::{self, retry};

/// An object in the making. Write to it, then [`ObjectWriter::finish`].
pub struct ObjectWriter<'store> {
    store: &'store Store,
    file: OwnedFd,
    temporary: String,
    hasher: Hasher,
    moved: bool,
}

impl Store {
    /// Returns how many bytes objects may take of the disk before the part of it is touched that is kept
    /// free; none where so few files can be made.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn free(&self) -> Result<u64, Error> {
        let room = retry(|| rustix::fs::fstatvfs(&self.objects))
            .map_err(io(Operation::Inspect, "objects"))?;
        let bytes = |blocks: u64| blocks.saturating_mul(room.f_frsize);
        // Some file systems have no fixed number of files and say 0.
        let few_files = room.f_favail < room.f_files / 100;
        let kept = sandbox::reserve(bytes(room.f_blocks));
        Ok(if few_files { 0 } else { bytes(room.f_bavail).saturating_sub(kept) })
    }

    /// Starts an object of unknown length.
    ///
    /// # Errors
    /// [`Error::Full`] and what the kernel refuses.
    pub fn writer(&self) -> Result<ObjectWriter<'_>, Error> {
        let temporary = persist::fresh();
        let file = persist::create_exclusive(self.run.as_fd(), &temporary)
            .map_err(io(Operation::Create, "tmp"))?;
        self.wrote();
        Ok(ObjectWriter { store: self, file, temporary, hasher: Hasher::new(), moved: false })
    }
}

impl ObjectWriter<'_> {
    /// Takes the next piece.
    ///
    /// # Errors
    /// [`Error::Full`] and what the kernel refuses.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hasher.update(bytes);
        self.put_raw(bytes)
    }

    /// Gives the object its name and returns it. The same bytes being there already is fine.
    ///
    /// # Errors
    /// [`Error::Full`] and what the kernel refuses.
    pub fn finish(mut self) -> Result<Blob, Error> {
        let blob = std::mem::take(&mut self.hasher).finish();
        self.publish(&blob)?;
        Ok(blob)
    }

    /// Writes bytes that the caller has hashed itself.
    pub(super) fn put_raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        persist::write_all(self.file.as_fd(), bytes).map_err(io(Operation::Write, "tmp"))
    }

    /// Gives the object the name of `blob`, which the caller has computed from the same bytes.
    pub(super) fn publish(&mut self, blob: &Blob) -> Result<(), Error> {
        let at = || object_path(&blob.digest);
        rustix::fs::fchmod(&self.file, Mode::RUSR | Mode::RGRP | Mode::ROTH)
            .map_err(io(Operation::SetMode, "tmp"))?;
        loop {
            match self.store.take_name(&self.temporary, &blob.digest) {
                Ok(()) => {
                    self.moved = true;
                    return Ok(());
                }
                Err(Errno::NOENT) => {
                    make_folder(self.store.objects.as_fd(), &blob.digest.hex()[..2])?;
                }
                Err(Errno::EXIST) if self.store.has_of_size(blob)? => return Ok(()),
                Err(Errno::EXIST) => self.store.quarantine(&blob.digest)?,
                Err(errno) => return Err(io(Operation::Rename, at())(errno)),
            }
        }
    }
}

impl std::fmt::Debug for ObjectWriter<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ObjectWriter").field("temporary", &self.temporary).finish_non_exhaustive()
    }
}

impl Drop for ObjectWriter<'_> {
    fn drop(&mut self) {
        if !self.moved
            && let Err(error) =
                rustix::fs::unlinkat(&self.store.run, &self.temporary, AtFlags::empty())
        {
            tracing::debug!(%error, "a temporary file stays until the run is over");
        }
    }
}

impl std::io::Write for ObjectWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.put(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Store {
    /// Renames a finished temporary file to an object's name, unless the name is taken.
    fn take_name(&self, temporary: &str, digest: &Digest) -> Result<(), Errno> {
        let name = sharded(digest);
        match rustix::fs::renameat_with(
            &self.run,
            temporary,
            &self.objects,
            &name,
            RenameFlags::NOREPLACE,
        ) {
            // A file system without RENAME_NOREPLACE: a second name, then the first one goes.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(&self.run, temporary, &self.objects, &name, AtFlags::empty())?;
                rustix::fs::unlinkat(&self.run, temporary, AtFlags::empty())
            }
            answer => answer,
        }
    }

    /// Says whether an object of that name and size is there; the bytes are checked when read.
    fn has_of_size(&self, blob: &Blob) -> Result<bool, Error> {
        let stat = self.stat_object(&blob.digest)?;
        Ok(stat.is_some_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && stat.st_size.cast_unsigned() == blob.size
        }))
    }

    /// Returns the state of an object, or none if it is not there.
    pub(super) fn stat_object(&self, digest: &Digest) -> Result<Option<rustix::fs::Stat>, Error> {
        match retry(|| {
            rustix::fs::statat(&self.objects, sharded(digest), AtFlags::SYMLINK_NOFOLLOW)
        }) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(io(Operation::Inspect, object_path(digest))(errno)),
        }
    }

    /// Moves a damaged object away, so that it counts as never stored. One that is gone is fine.
    pub(super) fn quarantine(&self, digest: &Digest) -> Result<(), Error> {
        let new_name = format!("{}-{}", digest.hex(), persist::fresh());
        match rustix::fs::renameat(&self.objects, sharded(digest), &self.quarantine, &new_name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(io(Operation::Rename, object_path(digest))(errno)),
        }
    }
}
