//! Records of builds, small caches, and what `gc` must keep.
//!
//! A record's bytes are an object; what lies here is only which record a build of a project left and
//! when, so that `^0` is the newest and `^1` the one before. The project and the moment are the
//! caller's: nothing here reads a clock or a path. Caches under `state/` may vanish at any time and
//! are never believed without asking for the objects they name.

use std::os::fd::AsFd;
use std::path::PathBuf;

use model::{Blob, Digest, Name};
use serde::{Deserialize, Serialize};

use super::action::{Held, seal, unseal};
use super::error::Error;
use super::open::{Store, folder, make_folder, names, read_own};

/// A moment, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

/// One build's record: when, and where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordEntry {
    /// The project: a digest of whatever tells one from another.
    pub project: Digest,
    /// When the build ended.
    pub made: UnixMillis,
    /// The record's bytes: [`Store::read`].
    pub record: Blob,
    /// What the record stands on.
    pub holds: Vec<Held>,
}

/// A record's entry as it lies on the disk.
pub(super) struct FoundRecord {
    /// The name of the project's folder.
    pub(super) project: String,
    /// The entry's file name.
    pub(super) name: String,
    /// The entry; none if it does not check.
    pub(super) entry: Option<RecordEntry>,
}

impl Store {
    /// Keeps a build's record. It outlives a power failure after [`Store::sync`], so put first, then
    /// sync, then tell the user.
    ///
    /// # Errors
    /// [`Error::Full`] and what the kernel refuses.
    pub fn put_record(
        &self,
        project: &Digest,
        made: UnixMillis,
        bytes: &[u8],
        holds: Vec<Held>,
    ) -> Result<RecordEntry, Error> {
        let record = self.import_bytes(bytes)?;
        let entry = RecordEntry { project: *project, made, record, holds };
        let sealed = seal(&entry)?;
        let above = folder(self.root.as_fd(), "records")?;
        make_folder(above.as_fd(), &project.hex())?;
        let project_folder = folder(above.as_fd(), &project.hex())?;
        let name = record_name(&entry);
        self.write_own(project_folder.as_fd(), &name, &sealed)?;
        self.wrote();
        Ok(entry)
    }

    /// Returns the records of a project, newest first; one that does not check is left out.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn records(&self, project: &Digest) -> Result<Vec<RecordEntry>, Error> {
        let found = self.found_records_of(&project.hex())?;
        let mut entries: Vec<_> = found.into_iter().filter_map(|found| found.entry).collect();
        entries.reverse();
        Ok(entries)
    }

    /// Returns the records of all projects, newest first.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn all_records(&self) -> Result<Vec<RecordEntry>, Error> {
        let found = self.found_records()?;
        let mut entries: Vec<_> = found.into_iter().filter_map(|found| found.entry).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.made, entry.record)));
        Ok(entries)
    }

    /// Reads a cache; none if there is none.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn state(&self, name: &Name) -> Result<Option<Vec<u8>>, Error> {
        read_own(folder(self.root.as_fd(), "state")?.as_fd(), name.as_str())
    }

    /// Writes a cache, whole. It may be gone after a power failure.
    ///
    /// # Errors
    /// [`Error::Full`] and what the kernel refuses.
    pub fn put_state(&self, name: &Name, bytes: &[u8]) -> Result<(), Error> {
        let above = folder(self.root.as_fd(), "state")?;
        self.write_own(above.as_fd(), name.as_str(), bytes)
    }

    /// Returns where a cache lies, for readers that want a path.
    pub fn state_path(&self, name: &Name) -> PathBuf {
        self.path().join("state").join(name.as_str())
    }

    /// Tells `gc` to keep things, in the place of what was held under that name before.
    ///
    /// # Errors
    /// [`Error::Full`] and what the kernel refuses.
    pub fn hold(&self, name: &Name, holds: &[Held]) -> Result<(), Error> {
        let above = folder(self.root.as_fd(), "refs")?;
        self.write_own(above.as_fd(), name.as_str(), &seal(&holds)?)?;
        self.wrote();
        Ok(())
    }

    /// Returns everything held by name.
    pub(super) fn held_by_name(&self) -> Result<Vec<Held>, Error> {
        let above = folder(self.root.as_fd(), "refs")?;
        let mut all = Vec::new();
        for name in names(above.as_fd(), "refs")? {
            if let Some(bytes) = read_own(above.as_fd(), &name)?
                && let Some(holds) = unseal::<Vec<Held>>(&bytes)
            {
                all.extend(holds);
            }
        }
        Ok(all)
    }

    /// Returns every record there is, by project, oldest first.
    pub(super) fn found_records(&self) -> Result<Vec<FoundRecord>, Error> {
        let above = folder(self.root.as_fd(), "records")?;
        let mut found = Vec::new();
        for project in names(above.as_fd(), "records")? {
            found.extend(self.found_records_of(&project)?);
        }
        Ok(found)
    }

    fn found_records_of(&self, project: &str) -> Result<Vec<FoundRecord>, Error> {
        let above = folder(self.root.as_fd(), "records")?;
        let project_folder = match folder(above.as_fd(), project) {
            Ok(found) => found,
            Err(Error::Io { source: rustix::io::Errno::NOENT, .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for name in names(project_folder.as_fd(), "records")? {
            let Some(bytes) = read_own(project_folder.as_fd(), &name)? else { continue };
            let entry = unseal::<RecordEntry>(&bytes).filter(|entry| record_name(entry) == name);
            found.push(FoundRecord { project: project.to_owned(), name, entry });
        }
        Ok(found)
    }
}

/// Returns the file name of an entry: names sort like moments.
fn record_name(entry: &RecordEntry) -> String {
    format!("{:020}-{}.json", entry.made.0, entry.record.digest.short())
}
