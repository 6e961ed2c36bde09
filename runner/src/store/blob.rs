//! Blobs in, blobs out: one read, one stream, one digest.
//!
//! What is hashed is what is stored: a file is read once, and the bytes that went through the hash
//! are the bytes that were written. A file that changed meanwhile is refused, not stored as a mix.
//! On the way out every byte goes through the hash again before the last one is handed on; an object
//! that is not what its name says is moved to `quarantine/` and counts as never stored.
//!
//! Never maps a file into memory: one that is cut short would kill the process.
//! Does not catch: a writer that changes a file to import and puts its times and size back.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::{Blob, Digest, Hasher};
use rayon::prelude::*;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::{Error, Operation, io};
use super::open::{Store, object_path, sharded};
use crate::persist::retry;

/// The piece that is read, hashed and written at once, in bytes: it stays in a core's cache.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

impl Store {
    /// Stores a regular file's bytes, from its start. `observer` sees every piece once, in order, before it
    /// is written; its error ends the import, and nothing is stored.
    ///
    /// # Errors
    /// [`Error::Changed`] if the file changed meanwhile, [`Error::NotAFile`], [`Error::Full`].
    pub fn import_file(
        &self,
        from: impl AsFd,
        observer: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<Blob, Error> {
        let from = from.as_fd();
        let before = inspect_file(from)?;
        with_buffer(|buffer| {
            if before.st_size.cast_unsigned() <= buffer.len() as u64 {
                self.import_small(from, &before, buffer, observer)
            } else {
                self.import_large(from, &before, buffer, observer)
            }
        })
    }

    /// Stores a file whose name is known, unless it is there already; then nothing is read.
    ///
    /// # Errors
    /// As [`Store::import_file`]; [`Error::Mismatch`] if the bytes are others.
    pub fn import_known(&self, from: impl AsFd, expected: &Blob) -> Result<(), Error> {
        if self.has_sized(expected) {
            return Ok(());
        }
        let got = self.import_file(from, &mut |_| Ok(()))?;
        if got == *expected {
            Ok(())
        } else {
            Err(Error::Mismatch { expected: expected.digest, got: got.digest })
        }
    }

    /// Stores bytes.
    ///
    /// # Errors
    /// [`Error::Full`] and what the kernel refuses.
    pub fn import_bytes(&self, bytes: &[u8]) -> Result<Blob, Error> {
        let blob = Blob::of(bytes);
        if !self.has_sized(&blob) {
            let mut writer = self.writer()?;
            writer.put_raw(bytes)?;
            writer.publish(&blob)?;
        }
        Ok(blob)
    }

    /// Stores many files on all cores. `open` gives an item's descriptor and its name, if that is
    /// known; a known one that is stored already is not read. The answers are in the items' order.
    ///
    /// # Errors
    /// The first error of `open` or of an import, by the items' order.
    pub fn import_many<T, E>(
        &self,
        items: &[T],
        open: impl Fn(&T) -> Result<(OwnedFd, Option<Blob>), E> + Sync,
    ) -> Result<Vec<Blob>, E>
    where
        T: Sync,
        E: From<Error> + Send,
    {
        items
            .par_iter()
            .map(|item| {
                let (file, known) = open(item)?;
                match known {
                    Some(known) => {
                        self.import_known(&file, &known)?;
                        Ok(known)
                    }
                    None => Ok(self.import_file(&file, &mut |_| Ok(()))?),
                }
            })
            .collect()
    }

    /// Says whether an object of that name is there. Its bytes are checked when they are read.
    pub fn has(&self, digest: &Digest) -> bool {
        matches!(self.stat_object(digest), Ok(Some(stat)) if is_file(&stat))
    }

    /// Says whether an object of that name and size is there.
    pub fn has_sized(&self, blob: &Blob) -> bool {
        matches!(self.stat_object(&blob.digest), Ok(Some(stat))
            if is_file(&stat) && stat.st_size.cast_unsigned() == blob.size)
    }

    /// Returns an object's size in bytes, or none if it is not there.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        let stat = self.stat_object(digest).ok().flatten()?;
        is_file(&stat).then(|| stat.st_size.cast_unsigned())
    }

    /// Returns an object's bytes, verified. `cap` is in bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Missing`], [`Error::Damaged`].
    pub fn read(&self, digest: &Digest, cap: u64) -> Result<Vec<u8>, Error> {
        let (file, stat) = self.open_object(digest)?;
        let size = stat.st_size.cast_unsigned();
        if size > cap {
            return Err(Error::TooLarge { digest: *digest, size, cap });
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let read = read_full(file.as_fd(), &mut bytes)
            .map_err(io(Operation::Read, object_path(digest)))?;
        if read != bytes.len() || Digest::of(&bytes) != *digest {
            return Err(self.damaged(digest)?);
        }
        Ok(bytes)
    }

    /// Writes an object's bytes to `to`, verified on the way. The last piece is handed on only after
    /// the digest of the whole is right, so a damaged object never arrives complete.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Damaged`] (`to` is then incomplete), [`Error::Full`].
    pub fn copy_to(&self, blob: &Blob, to: impl AsFd) -> Result<(), Error> {
        let to = to.as_fd();
        self.stream(blob, &mut |bytes| {
            crate::persist::write_all(to, bytes).map_err(io(Operation::Write, "the copy"))
        })
    }

    /// Hands an object's bytes to `sink` piece by piece, verified as in [`Store::copy_to`].
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Damaged`], and the errors of `sink`.
    pub fn stream<E: From<Error>>(
        &self,
        blob: &Blob,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (file, stat) = self.open_object(&blob.digest)?;
        if stat.st_size.cast_unsigned() != blob.size {
            return Err(self.damaged(&blob.digest)?.into());
        }
        with_buffer(|buffer| {
            let mut hasher = Hasher::new();
            let mut left = blob.size;
            loop {
                let read = read_full(file.as_fd(), buffer)
                    .map_err(io(Operation::Read, object_path(&blob.digest)))?;
                hasher.update(&buffer[..read]);
                let last = read as u64 >= left;
                let wrong =
                    if last { hasher.clone().finish() != *blob } else { read < buffer.len() };
                if wrong {
                    return Err(self.damaged(&blob.digest)?.into());
                }
                sink(&buffer[..read])?;
                if last {
                    return Ok(());
                }
                left -= read as u64;
            }
        })
    }

    /// Reads an object through and says whether it is what its name says.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Damaged`].
    pub fn check_object(&self, blob: &Blob) -> Result<(), Error> {
        self.stream(blob, &mut |_| Ok::<(), Error>(()))
    }

    /// Opens an object. Its bytes are not checked: whoever reads them hashes them.
    pub(super) fn open_object(&self, digest: &Digest) -> Result<(OwnedFd, Stat), Error> {
        let at = || object_path(digest);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened =
            retry(|| rustix::fs::openat(&self.objects, sharded(digest), flags, Mode::empty()));
        let file = match opened {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(Error::Missing(*digest)),
            Err(Errno::LOOP | Errno::NXIO) => return Err(self.damaged(digest)?),
            Err(errno) => return Err(io(Operation::Open, at())(errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(io(Operation::Inspect, at()))?;
        if is_file(&stat) { Ok((file, stat)) } else { Err(self.damaged(digest)?) }
    }

    /// Moves an object to `quarantine/` and returns the error to give.
    pub(super) fn damaged(&self, digest: &Digest) -> Result<Error, Error> {
        self.quarantine(digest)?;
        if self.reporting.load(std::sync::atomic::Ordering::Relaxed) {
            tracing::debug!(%digest, "a damaged object was moved to quarantine");
        } else {
            tracing::warn!(%digest, "a damaged object was moved to quarantine");
        }
        Ok(Error::Damaged(*digest))
    }

    fn import_small(
        &self,
        from: BorrowedFd<'_>,
        before: &Stat,
        buffer: &mut [u8],
        observer: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<Blob, Error> {
        // Exactly the announced size: a file that grew has another size or time afterwards.
        let size = usize::try_from(before.st_size).unwrap_or(0);
        let read =
            read_at(from, &mut buffer[..size], 0).map_err(io(Operation::Read, "the file"))?;
        unchanged(from, before, read as u64)?;
        let bytes = &buffer[..read];
        observer(bytes)?;
        self.import_bytes(bytes)
    }

    fn import_large(
        &self,
        from: BorrowedFd<'_>,
        before: &Stat,
        buffer: &mut [u8],
        observer: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<Blob, Error> {
        let mut writer = self.writer()?;
        read_pieces(from, before, buffer, &mut |piece| {
            observer(piece)?;
            writer.put(piece)
        })?;
        writer.finish()
    }
}

/// Hashes a regular file from its start without storing it. `observer` sees every piece once.
///
/// # Errors
/// [`Error::Changed`] if the file changed meanwhile, [`Error::NotAFile`].
pub fn hash_file(from: impl AsFd, observer: &mut dyn FnMut(&[u8])) -> Result<Blob, Error> {
    let from = from.as_fd();
    let before = inspect_file(from)?;
    with_buffer(|buffer| {
        let mut hasher = Hasher::new();
        read_pieces(from, &before, buffer, &mut |piece| {
            observer(piece);
            hasher.update(piece);
            Ok(())
        })?;
        Ok(hasher.finish())
    })
}

/// Hands on as many bytes as the file had before, piece by piece, and refuses one that changed.
fn read_pieces(
    from: BorrowedFd<'_>,
    before: &Stat,
    buffer: &mut [u8],
    sink: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let size = before.st_size.cast_unsigned();
    let mut total = 0;
    while total < size {
        let piece =
            usize::try_from(size - total).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read =
            read_at(from, &mut buffer[..piece], total).map_err(io(Operation::Read, "the file"))?;
        total += read as u64;
        sink(&buffer[..read])?;
        if read < piece {
            break;
        }
    }
    unchanged(from, before, total)
}

/// Reads until `buffer` is full or the file ends.
pub(crate) fn read_full(file: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match retry(|| rustix::io::read(file, &mut buffer[filled..]))? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Lends this thread's buffer of [`PIECE_BYTES`]; a nested loan gets one of its own.
pub(crate) fn with_buffer<R>(act: impl FnOnce(&mut [u8]) -> R) -> R {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BUFFER.with(|shared| match shared.try_borrow_mut() {
        Ok(mut buffer) => {
            buffer.resize(PIECE_BYTES, 0);
            act(&mut buffer)
        }
        Err(_) => act(&mut vec![0; PIECE_BYTES]),
    })
}

/// Reads at `offset` until `buffer` is full or the file ends.
fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        let at = offset + filled as u64;
        match retry(|| rustix::io::pread(file, &mut buffer[filled..], at))? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn inspect_file(file: BorrowedFd<'_>) -> Result<Stat, Error> {
    let stat = rustix::fs::fstat(file).map_err(io(Operation::Inspect, "the file"))?;
    if is_file(&stat) { Ok(stat) } else { Err(Error::NotAFile) }
}

/// Refuses a file whose size or times are not those from before it was read.
fn unchanged(file: BorrowedFd<'_>, before: &Stat, read: u64) -> Result<(), Error> {
    let after = inspect_file(file)?;
    let same = read == before.st_size.cast_unsigned()
        && after.st_size == before.st_size
        && (after.st_mtime, after.st_mtime_nsec) == (before.st_mtime, before.st_mtime_nsec)
        && (after.st_ctime, after.st_ctime_nsec) == (before.st_ctime, before.st_ctime_nsec);
    if same { Ok(()) } else { Err(Error::Changed) }
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}
