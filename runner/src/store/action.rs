//! Results of actions: the only cache that is believed.
//!
//! A result is written by the runner after it captured the outputs itself, never by a step and never
//! by another program's cache (decision 4). It says which objects it stands on; when one of them is
//! gone or its entry does not check, the result is a miss, not an error: the step simply runs again.
//!
//! ```text
//! actions/ab/cdef….json   {"format":1, "check": sha256 of entry's bytes, "entry": {action, holds, record}}
//! ```
//!
//! Catches bit rot, torn files, and an entry copied to another action's name. Does not catch: an
//! entry forged whole by somebody who can write the user's own store.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use model::{Blob, Digest};
use rustix::fs::{AtFlags, Timespec, Timestamps};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::{Error, Operation, io};
use super::open::{Store, folder, make_folder, names, read_own};

const FORMAT: u32 = 1;

/// Something in the store that must not vanish while something else refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Held {
    /// One object.
    Blob(Blob),
    /// A tree, by its root, with everything it names.
    Tree(Blob),
}

/// What a step left: the record the caller keeps of it, and what it stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionResult<R> {
    /// What the caller wants back on a hit.
    pub record: R,
    /// What must be in the store for this to be a hit.
    pub holds: Vec<Held>,
}

/// A result as it lies on the disk.
pub(super) struct FoundAction {
    /// `ab/cdef….json`.
    pub(super) name: String,
    /// What it stands on; none if it does not check.
    pub(super) holds: Option<Vec<Held>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    format: u32,
    check: Digest,
    entry: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<R> {
    action: Digest,
    holds: Vec<Held>,
    record: R,
}

impl Store {
    /// Returns the result of an action, if there is one and all it stands on is here.
    ///
    /// # Errors
    /// What the kernel refuses; a damaged or incomplete entry is none.
    pub fn action_get<R: DeserializeOwned>(
        &self,
        action: &Digest,
    ) -> Result<Option<ActionResult<R>>, Error> {
        let above = folder(self.root.as_fd(), "actions")?;
        let name = entry_name(action);
        let Some(bytes) = read_own(above.as_fd(), &name)? else { return Ok(None) };
        let Some(entry) = unseal::<Entry<R>>(&bytes).filter(|entry| entry.action == *action) else {
            tracing::warn!(%action, "an action result does not check and is ignored");
            return Ok(None);
        };
        for held in &entry.holds {
            if !self.is_held(held)? {
                return Ok(None);
            }
        }
        touch(above.as_fd(), &name)?;
        Ok(Some(ActionResult { record: entry.record, holds: entry.holds }))
    }

    /// Keeps the result of an action. It outlives a power failure after [`Store::sync`].
    ///
    /// # Errors
    /// [`Error::Full`] and what the kernel refuses.
    pub fn action_put<R: Serialize>(
        &self,
        action: &Digest,
        result: &ActionResult<R>,
    ) -> Result<(), Error> {
        let entry = Entry { action: *action, holds: result.holds.clone(), record: &result.record };
        let bytes = seal(&entry)?;
        let above = folder(self.root.as_fd(), "actions")?;
        let hex = action.hex();
        make_folder(above.as_fd(), &hex[..2])?;
        let shard = folder(above.as_fd(), &hex[..2])?;
        self.write_own(shard.as_fd(), &format!("{}.json", &hex[2..]), &bytes)?;
        self.wrote();
        Ok(())
    }

    /// Forgets the result of an action, for instance one whose object turned out to be damaged.
    ///
    /// # Errors
    /// What the kernel refuses; one that is not there is fine.
    pub fn action_forget(&self, action: &Digest) -> Result<(), Error> {
        let above = folder(self.root.as_fd(), "actions")?;
        match rustix::fs::unlinkat(&above, entry_name(action), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(io(Operation::Remove, shown(action))(errno)),
        }
    }

    /// Says whether something is here, whole. Folders are read and verified; files are looked up by
    /// name and size, and verified when they are read.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn is_held(&self, held: &Held) -> Result<bool, Error> {
        match held {
            Held::Blob(blob) => Ok(self.has_sized(blob)),
            Held::Tree(root) => self.is_complete(root),
        }
    }

    /// Returns every result there is, sorted by name.
    pub(super) fn found_actions(&self) -> Result<Vec<FoundAction>, Error> {
        let above = folder(self.root.as_fd(), "actions")?;
        let mut found = Vec::new();
        for shard in names(above.as_fd(), "actions")? {
            let shard_folder = folder(above.as_fd(), &shard)?;
            for rest in names(shard_folder.as_fd(), "actions")? {
                let name = format!("{shard}/{rest}");
                let Some(bytes) = read_own(above.as_fd(), &name)? else { continue };
                let holds = unseal::<Entry<serde::de::IgnoredAny>>(&bytes)
                    .filter(|entry| entry_name(&entry.action) == name)
                    .map(|entry| entry.holds);
                found.push(FoundAction { name, holds });
            }
        }
        Ok(found)
    }
}

/// Wraps a value with the digest of its own bytes.
pub(super) fn seal<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let entry = serde_json::value::to_raw_value(value).map_err(Error::Encode)?;
    let check = Digest::of(entry.get().as_bytes());
    serde_json::to_vec(&Sealed { format: FORMAT, check, entry }).map_err(Error::Encode)
}

/// Reads what [`seal`] wrote; none for anything else.
pub(super) fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let sealed: Sealed = serde_json::from_slice(bytes).ok()?;
    let text = sealed.entry.get();
    if sealed.format != FORMAT || Digest::of(text.as_bytes()) != sealed.check {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Notes that an entry was used, for `gc`.
fn touch(above: std::os::fd::BorrowedFd<'_>, name: &str) -> Result<(), Error> {
    let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    match rustix::fs::utimensat(above, name, &times, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(io(Operation::SetMode, Path::new("actions").join(name))(errno)),
    }
}

fn entry_name(action: &Digest) -> String {
    format!("{}.json", super::open::sharded(action))
}

fn shown(action: &Digest) -> PathBuf {
    Path::new("actions").join(entry_name(action))
}
