//! `Store`: the opened folder, and what happens when one is opened.
//!
//! Opening checks the schema before anything else and refuses a newer one. Then, alone for a moment,
//! it clears away what dead runs left in `tmp/`, and after a power failure hashes again everything
//! that was not known to be on the disk. Leftovers are never looked into, only deleted.
//!
//! A run is a folder `tmp/RUN` with a lock on it. Whoever finds the lock free knows that the run is
//! over. It is made and locked while the gc lock is held, so that nobody finds it unlocked before.
//!
//! Reads no clock: the moment of the last flush is the change time that the store's own file system
//! gave to a file. Does not catch: a clock that was set back before a power failure.
//!
//! Spec: decisions 1–4; syncfs(2), flock(2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Blob, Digest};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::{Error, Operation, io, persisting};
use super::scratch::Remover;
use super::{lock, remove, turn};
use crate::persist::{self, Flush, retry};

/// The layout this kiln reads and writes.
const SCHEMA: u64 = 1;
/// The folders a store has.
const FOLDERS: [&str; 10] = [
    "lock",
    "objects",
    "checkouts",
    "actions",
    "records",
    "state",
    "refs",
    "tmp",
    "trash",
    "quarantine",
];
/// Longest file of our own that is read whole outside `objects/`, in bytes.
pub(super) const OWN_FILE_BYTES_MAX: u64 = 64 << 20;
/// How much earlier than the last flush an object may claim to be and still be hashed again after a
/// power failure, in seconds: more than any file system's clock granularity.
const DOUBT_SECONDS: i64 = 10;

/// An open store. Cheap to share between threads; every call works on descriptors.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    pub(super) root: OwnedFd,
    pub(super) objects: OwnedFd,
    pub(super) checkouts: OwnedFd,
    pub(super) quarantine: OwnedFd,
    pub(super) run: OwnedFd,
    pub(super) run_name: String,
    unflushed: AtomicBool,
    reflinks: AtomicBool,
    /// Whether what is damaged is told by a report instead of at once.
    pub(super) reporting: AtomicBool,
    pub(super) wait: std::time::Duration,
    pub(super) remover: Remover,
}

/// What a store holds, from its names alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Info {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Checkouts.
    pub checkouts: u64,
    /// Action results.
    pub actions: u64,
    /// Records of builds.
    pub records: u64,
    /// Objects whose bytes were not those of their name.
    pub quarantined: u64,
    /// Runs that have the store open, this one among them.
    pub runs: u64,
}

/// The moment up to which everything is on the disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Synced {
    boot: String,
    seconds: i64,
}

/// Opens the store at `path`; makes it, and the folders above it, if it is not there.
///
/// 1. Open the folder without following a link at its name; refuse another owner.
/// 2. Read the schema, before anything else; refuse a newer one.
/// 3. Alone: delete what dead runs left, doubt what a power failure may have cut, register this run.
///
/// # Errors
/// [`Error::NewerSchema`], [`Error::Foreign`], [`Error::Busy`], and what the kernel refuses.
pub fn open(path: &Path) -> Result<Store, Error> {
    let root = open_root(path)?;
    check_schema(root.as_fd(), path)?;
    for name in FOLDERS {
        make_folder(root.as_fd(), name)?;
    }
    let store = {
        let _alone = lock::exclusive(root.as_fd(), "lock/gc", lock::WAIT_MAX)?;
        sweep(root.as_fd())?;
        turn::sweep(root.as_fd())?;
        let (run, run_name) = register(root.as_fd())?;
        let store = Store {
            path: path.to_path_buf(),
            objects: folder(root.as_fd(), "objects")?,
            checkouts: folder(root.as_fd(), "checkouts")?,
            quarantine: folder(root.as_fd(), "quarantine")?,
            root,
            run,
            run_name,
            unflushed: AtomicBool::new(false),
            reflinks: AtomicBool::new(true),
            reporting: AtomicBool::new(false),
            wait: lock::WAIT_MAX,
            remover: Remover::default(),
        };
        store.doubt_after_power_failure()?;
        store
    };
    empty_trash(store.root.as_fd())?;
    Ok(store)
}

impl Store {
    /// Returns where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where the temporary folder of this run is.
    pub(crate) fn run_path(&self) -> PathBuf {
        self.path.join("tmp").join(&self.run_name)
    }

    /// Flushes everything written so far to the disk, in one call, and notes the moment. Call it
    /// before a build is acknowledged. Does nothing if nothing was written.
    ///
    /// # Errors
    /// A failed flush is final: what was written may be lost, so the build must not be acknowledged.
    pub fn sync(&self) -> Result<(), Error> {
        if !self.unflushed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.flush().inspect_err(|_| self.unflushed.store(true, Ordering::Release))
    }

    /// Counts what the store holds.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn info(&self) -> Result<Info, Error> {
        let mut info = Info::default();
        self.each_object(&mut |_, size| {
            info.objects += 1;
            info.object_bytes += size;
            Ok(())
        })?;
        let root = self.root.as_fd();
        info.checkouts = names(self.checkouts.as_fd(), "checkouts")?.len() as u64;
        info.quarantined = names(self.quarantine.as_fd(), "quarantine")?.len() as u64;
        info.runs = names(folder(root, "tmp")?.as_fd(), "tmp")?.len() as u64;
        for (below, count) in [("actions", &mut info.actions), ("records", &mut info.records)] {
            let above = folder(root, below)?;
            for shard in names(above.as_fd(), below)? {
                let shard_folder = folder(above.as_fd(), &shard)?;
                *count += names(shard_folder.as_fd(), below)?.len() as u64;
            }
        }
        Ok(info)
    }

    /// Calls `visit` with every object's name and size, in the order of names. What lies among the
    /// objects and has no object's name is passed over here; `verify` reports it.
    pub(super) fn each_object(
        &self,
        visit: &mut dyn FnMut(Digest, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for shard in names(self.objects.as_fd(), "objects")? {
            let Ok(shard_folder) = folder(self.objects.as_fd(), &shard) else { continue };
            for rest in names(shard_folder.as_fd(), "objects")? {
                let Ok(digest) = Digest::from_hex(&format!("{shard}{rest}")) else { continue };
                match rustix::fs::statat(&shard_folder, &rest, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => visit(digest, stat.st_size.cast_unsigned())?,
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(io(Operation::Inspect, object_path(&digest))(errno)),
                }
            }
        }
        Ok(())
    }

    /// Notes that something was written that no flush has covered yet.
    pub(super) fn wrote(&self) {
        self.unflushed.store(true, Ordering::Release);
    }

    /// Says whether it is worth trying to share blocks between files.
    pub(super) fn reflinks(&self) -> bool {
        self.reflinks.load(Ordering::Relaxed)
    }

    /// Notes that this file system refused to share blocks, so that it is asked only once.
    pub(super) fn forget_reflinks(&self) {
        self.reflinks.store(false, Ordering::Relaxed);
    }

    fn flush(&self) -> Result<(), Error> {
        let mark = persist::fresh();
        let file = persist::create_exclusive(self.run.as_fd(), &mark)
            .map_err(io(Operation::Create, "synced"))?;
        let stat = rustix::fs::fstat(&file).map_err(io(Operation::Inspect, "synced"))?;
        let removed = rustix::fs::unlinkat(&self.run, &mark, AtFlags::empty());
        removed.map_err(io(Operation::Remove, "synced"))?;
        retry(|| rustix::fs::syncfs(&self.root)).map_err(io(Operation::Flush, &self.path))?;
        self.note_synced(stat.st_ctime)
    }

    fn note_synced(&self, seconds: i64) -> Result<(), Error> {
        let synced = Synced { boot: boot_id(), seconds };
        let bytes = serde_json::to_vec(&synced).map_err(Error::Encode)?;
        self.write_own(self.root.as_fd(), "synced", &bytes)
    }

    /// Writes a small file of our own, whole; the next flush covers it.
    pub(super) fn write_own(
        &self,
        above: BorrowedFd<'_>,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let run = self.run.as_fd();
        persist::replace_through(run, above, name, bytes, 0o600, Flush::Later)
            .map_err(persisting(name))
    }

    /// Hashes again what was written after the last flush before the machine went down, and drops
    /// the checkouts of that time, which can be made again.
    fn doubt_after_power_failure(&self) -> Result<(), Error> {
        let last = read_own(self.root.as_fd(), "synced")?
            .and_then(|bytes| serde_json::from_slice::<Synced>(&bytes).ok());
        match last {
            Some(last) if last.boot == boot_id() => Ok(()),
            Some(last) => {
                self.doubt(last.seconds.saturating_sub(DOUBT_SECONDS))?;
                self.note_synced(last.seconds)
            }
            None => {
                self.doubt(i64::MIN)?;
                self.note_synced(0)
            }
        }
    }

    fn doubt(&self, since: i64) -> Result<(), Error> {
        let mut doubtful = Vec::new();
        self.each_object(&mut |digest, size| {
            let stat = self.stat_object(&digest)?;
            if stat.is_some_and(|stat| stat.st_ctime >= since) {
                doubtful.push(Blob { digest, size });
            }
            Ok(())
        })?;
        for blob in doubtful {
            match self.check_object(&blob) {
                Ok(()) => {}
                Err(error) if error.is_miss() => {
                    tracing::warn!(digest = %blob.digest, "lost when the machine went down");
                }
                Err(error) => return Err(error),
            }
        }
        for name in names(self.checkouts.as_fd(), "checkouts")? {
            let stat = rustix::fs::statat(&self.checkouts, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(io(Operation::Inspect, Path::new("checkouts").join(&name)))?;
            if stat.st_ctime >= since {
                self.discard(self.checkouts.as_fd(), "checkouts", &name)?;
            }
        }
        Ok(())
    }

    /// Moves an entry to `trash/`, from where it is deleted later. One that is gone is fine.
    pub(super) fn discard(
        &self,
        from: BorrowedFd<'_>,
        shown: &str,
        name: &str,
    ) -> Result<(), Error> {
        move_to_trash(self.root.as_fd(), from, shown, name)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.remover.finish();
        if let Err(error) = self.sync() {
            tracing::warn!(%error, "what was stored last may not outlive a power failure");
        }
        let removed =
            folder(self.root.as_fd(), "tmp").map(|tmp| remove::remove(tmp.as_fd(), &self.run_name));
        if let Ok(Err(error)) = removed {
            tracing::debug!(%error, "the next run clears this one's temporary folder");
        }
    }
}

/// Returns where an object lies, relative to the store.
pub(super) fn object_path(digest: &Digest) -> PathBuf {
    Path::new("objects").join(sharded(digest))
}

/// Returns `ab/cdef…`.
pub(super) fn sharded(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{}/{}", &hex[..2], &hex[2..])
}

/// Opens a folder of the store.
pub(super) fn folder(above: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Error> {
    open_folder(above, name).map_err(io(Operation::Open, name))
}

/// Makes a private folder, if it is not there.
pub(super) fn make_folder(above: BorrowedFd<'_>, name: &str) -> Result<(), Error> {
    match rustix::fs::mkdirat(above, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(io(Operation::Create, name)(errno)),
    }
}

/// Returns the names in a folder, sorted; those that are not UTF-8 are none of ours and left out.
pub(super) fn names(folder: BorrowedFd<'_>, shown: &str) -> Result<Vec<String>, Error> {
    let read = |errno| io(Operation::Read, shown)(errno);
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder).map_err(read)? {
        match entry.map_err(read)?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Reads a small file of our own, or none if it is not there.
pub(super) fn read_own(above: BorrowedFd<'_>, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match retry(|| rustix::fs::openat(above, name, flags, Mode::empty())) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(io(Operation::Open, name)(errno)),
    };
    let stat = rustix::fs::fstat(&file).map_err(io(Operation::Inspect, name))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
        || stat.st_size.cast_unsigned() > OWN_FILE_BYTES_MAX
    {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(stat.st_size).unwrap_or(0)];
    let read =
        super::blob::read_full(file.as_fd(), &mut bytes).map_err(io(Operation::Read, name))?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

fn open_root(path: &Path) -> Result<OwnedFd, Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    made.map_err(errno).map_err(io(Operation::Create, path))?;
    let root = open_folder(rustix::fs::CWD, path).map_err(io(Operation::Open, path))?;
    let stat = rustix::fs::fstat(&root).map_err(io(Operation::Inspect, path))?;
    let mode = stat.st_mode & 0o7777;
    if stat.st_uid != rustix::process::geteuid().as_raw() || mode & 0o022 != 0 {
        return Err(Error::Foreign { at: path.to_path_buf(), owner: stat.st_uid, mode });
    }
    Ok(root)
}

fn open_folder<P: rustix::path::Arg>(above: BorrowedFd<'_>, name: P) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(above, name, flags, Mode::empty())
}

/// Reads the schema file, or makes it in an empty folder.
fn check_schema(root: BorrowedFd<'_>, at: &Path) -> Result<(), Error> {
    let not_a_store = || Error::NotAStore { at: at.to_path_buf() };
    let Some(bytes) = read_own(root, "schema")? else {
        let strange =
            |name: &String| !name.starts_with(persist::TEMPORARY_PREFIX) && name != "schema";
        if names(root, "store")?.iter().any(strange) {
            // Another process may be making the same store just now: its schema comes first.
            return match read_own(root, "schema")? {
                Some(bytes) => known_schema(&bytes, at),
                None => Err(not_a_store()),
            };
        }
        return persist::replace(
            root,
            "schema",
            format!("{SCHEMA}\n").as_bytes(),
            0o600,
            Flush::Now,
        )
        .map_err(persisting("schema"));
    };
    known_schema(&bytes, at)
}

fn known_schema(bytes: &[u8], at: &Path) -> Result<(), Error> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    match text.trim_ascii().parse::<u64>() {
        Ok(SCHEMA) => Ok(()),
        Ok(found) => Err(Error::NewerSchema { at: at.to_path_buf(), found, known: SCHEMA }),
        Err(_) => Err(Error::NotAStore { at: at.to_path_buf() }),
    }
}

/// Moves the folders of runs that are over to `trash/`.
fn sweep(root: BorrowedFd<'_>) -> Result<(), Error> {
    let tmp = folder(root, "tmp")?;
    for name in names(tmp.as_fd(), "tmp")? {
        let over = match open_folder(tmp.as_fd(), name.as_str()) {
            Ok(run) => lock::try_lock(run.as_fd(), FlockOperation::NonBlockingLockExclusive)
                .map_err(io(Operation::Lock, Path::new("tmp").join(&name)))?,
            Err(Errno::NOENT) => false,
            Err(_) => true,
        };
        if over {
            move_to_trash(root, tmp.as_fd(), "tmp", &name)?;
        }
    }
    Ok(())
}

fn register(root: BorrowedFd<'_>) -> Result<(OwnedFd, String), Error> {
    let tmp = folder(root, "tmp")?;
    loop {
        let name = persist::fresh();
        let at = Path::new("tmp").join(&name);
        match rustix::fs::mkdirat(&tmp, &name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => continue,
            Err(errno) => return Err(io(Operation::Create, at)(errno)),
        }
        let run = folder(tmp.as_fd(), &name)?;
        rustix::fs::flock(&run, FlockOperation::NonBlockingLockExclusive)
            .map_err(io(Operation::Lock, at))?;
        return Ok((run, name));
    }
}

fn move_to_trash(
    root: BorrowedFd<'_>,
    from: BorrowedFd<'_>,
    shown: &str,
    name: &str,
) -> Result<(), Error> {
    let trash = folder(root, "trash")?;
    loop {
        let new_name = format!("{name}-{}", persist::fresh());
        match rename_folder(from, name, trash.as_fd(), &new_name) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(errno) => {
                return Err(io(Operation::Rename, Path::new(shown).join(name))(errno));
            }
        }
    }
}

/// Renames a folder, unless the new name is taken.
///
/// Where the kernel or the file system cannot be asked for that, a plain rename: it replaces nothing
/// but an empty folder, and no folder that is kept in the store is empty.
pub(super) fn rename_folder(
    from: BorrowedFd<'_>,
    name: &str,
    to: BorrowedFd<'_>,
    new_name: &str,
) -> Result<(), Errno> {
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(from, name, to, new_name, flags) {
        Err(Errno::INVAL | Errno::NOSYS) => {}
        answer => return answer,
    }
    match rustix::fs::renameat(from, name, to, new_name) {
        Err(Errno::NOTEMPTY | Errno::NOTDIR | Errno::ISDIR) => Err(Errno::EXIST),
        answer => answer,
    }
}

/// Deletes what is in `trash/`; two processes may do so at once.
pub(super) fn empty_trash(root: BorrowedFd<'_>) -> Result<(), Error> {
    let trash = folder(root, "trash")?;
    for name in names(trash.as_fd(), "trash")? {
        match remove::remove(trash.as_fd(), &name) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => {}
            Err(errno) => {
                return Err(io(Operation::Remove, Path::new("trash").join(&name))(errno));
            }
        }
    }
    Ok(())
}

/// Returns the kernel's name for the time since the machine started, or nothing where it has none.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
