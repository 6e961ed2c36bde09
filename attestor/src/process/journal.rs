//! The journal: one nonce, one envelope.
//!
//! An entry is durable before its envelope leaves the process. So a repeat of a request, even after
//! a crash, gets the same bytes; and a second, different request under the same nonce gets none
//! (S-J09). Each entry is a file named by its nonce: written under a temporary name, linked, flushed, folder
//! flushed. It keeps its temporary name until its line of `signed.log` is durable: so an entry that a crash left
//! without a line is told from one whose line was taken away. Such an entry, whole or not, was never answered: the
//! next request clears it away, and its Order is open again. Nothing else is ever taken out of the journal.
//!
//! ```text
//! journal/NONCE
//!   kiln-journal/1 <sha256 of the next line> \n
//!   {"request": "sha256:…", "signed": {…}} \n
//! ```
//!
//! The caller holds the lock of the state folder while it looks and appends.

use std::collections::BTreeMap;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};

use model::Digest;
use model::record::Nonce;
use serde::{Deserialize, Serialize};

use super::files::{self, FileError};
use crate::pipe::{ANSWER_BYTES_MAX, Signed};
use crate::strict_json::{self, Caps, JsonError};

const HEAD: &str = "kiln-journal/1 ";
/// Caps of an entry: an answer and its head.
const CAPS: Caps = Caps { bytes: ANSWER_BYTES_MAX, depth: 8, values: 4096 };

/// The journal's folder.
pub(super) struct Journal {
    folder: PathBuf,
}

/// Why the journal can not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error("use the journal")]
    File(#[from] FileError),
    #[error("sweep the journal's folder {}", path.display())]
    Sweep {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the journal's entry {} is damaged", path.display())]
    Damaged { path: PathBuf },
    #[error("the journal's entry {} can not be read", path.display())]
    Entry {
        path: PathBuf,
        #[source]
        source: JsonError,
    },
    #[error("write a journal entry")]
    Write(#[source] serde_json::Error),
}

/// What the journal knows of a nonce.
pub(super) enum Known {
    /// Nothing.
    New,
    /// The same request was answered with this.
    Same(Box<Signed>),
    /// Another request was answered under this nonce.
    Other,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryWire {
    request: Digest,
    signed: Signed,
}

impl Journal {
    /// Opens the journal below the state folder.
    pub(super) fn open(state: &Path) -> Result<Journal, JournalError> {
        let folder = state.join("journal");
        files::private_folder(&folder)?;
        Ok(Journal { folder })
    }

    /// Names the journal of a state folder that is only looked at.
    pub(super) fn of(state: &Path) -> Journal {
        Journal { folder: state.join("journal") }
    }

    /// Lists the folder; one that is not there holds nothing.
    fn list(
        &self,
    ) -> Result<impl Iterator<Item = std::io::Result<std::fs::DirEntry>>, JournalError> {
        match std::fs::read_dir(&self.folder) {
            Ok(list) => Ok(Some(list).into_iter().flatten()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(None.into_iter().flatten())
            }
            Err(source) => Err(JournalError::Sweep { path: self.folder.clone(), source }),
        }
    }

    /// Returns what a crash left behind: each temporary name, and the nonce of the entry that has it as well.
    pub(super) fn left(&self) -> Result<Vec<(PathBuf, Option<Nonce>)>, JournalError> {
        let failed = |source| JournalError::Sweep { path: self.folder.clone(), source };
        let mut left = Vec::new();
        for entry in self.list()? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().as_encoded_bytes().starts_with(files::TEMPORARY_PREFIX.as_bytes())
            {
                left.push((entry.path(), entry.ino()));
            }
        }
        if left.is_empty() {
            // As always but after a crash. The journal only grows: not a look more than one at each name.
            return Ok(Vec::new());
        }
        let mut entries = BTreeMap::new();
        for entry in self.list()? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if let Some(nonce) = name.to_str().and_then(|name| Nonce::parse(name).ok()) {
                entries.insert(entry.ino(), nonce);
            }
        }
        Ok(left.into_iter().map(|(path, ino)| (path, entries.get(&ino).cloned())).collect())
    }

    /// Removes a temporary name: of an entry that has its line, or of none.
    pub(super) fn forget(&self, mark: &Path) -> Result<(), JournalError> {
        std::fs::remove_file(mark)
            .map_err(|source| JournalError::Sweep { path: self.folder.clone(), source })
    }

    /// Removes an entry that never left, with its temporary name, which goes last.
    pub(super) fn discard(&self, nonce: &Nonce, mark: &Path) -> Result<(), JournalError> {
        self.forget(&self.folder.join(nonce.as_str()))?;
        self.forget(mark)
    }

    /// Looks a nonce up. `request` is the digest of the whole request.
    pub(super) fn look_up(&self, nonce: &Nonce, request: &Digest) -> Result<Known, JournalError> {
        Ok(match self.entry(nonce)? {
            None => Known::New,
            Some(entry) if entry.request == *request => Known::Same(Box::new(entry.signed)),
            Some(_) => Known::Other,
        })
    }

    fn entry(&self, nonce: &Nonce) -> Result<Option<EntryWire>, JournalError> {
        let path = self.folder.join(nonce.as_str());
        let Some(bytes) = files::read(&path, CAPS.bytes)? else { return Ok(None) };
        match body(&bytes) {
            Some(json) => strict_json::parse_as::<EntryWire>(json, &CAPS)
                .map(Some)
                .map_err(|source| JournalError::Entry { path, source }),
            None => Err(JournalError::Damaged { path }),
        }
    }

    /// Returns the nonce of every entry, sorted.
    pub(super) fn nonces(&self) -> Result<Vec<Nonce>, JournalError> {
        let failed = |source| JournalError::Sweep { path: self.folder.clone(), source };
        let mut nonces = Vec::new();
        for entry in self.list()? {
            let name = entry.map_err(failed)?.file_name();
            nonces.extend(name.to_str().and_then(|name| Nonce::parse(name).ok()));
        }
        nonces.sort();
        Ok(nonces)
    }

    /// Returns the digest of the request that was answered under a nonce.
    pub(super) fn request(&self, nonce: &Nonce) -> Result<Option<Digest>, JournalError> {
        Ok(self.entry(nonce)?.map(|entry| entry.request))
    }

    /// Returns what was signed under a nonce.
    pub(super) fn signed(&self, nonce: &Nonce) -> Result<Option<Signed>, JournalError> {
        Ok(self.entry(nonce)?.map(|entry| entry.signed))
    }

    /// Appends an entry; it is durable when this returns. Returns its second name, which is to be forgotten once
    /// its line is durable.
    pub(super) fn append(
        &self,
        nonce: &Nonce,
        request: Digest,
        signed: &Signed,
    ) -> Result<PathBuf, JournalError> {
        let entry = EntryWire { request, signed: signed.clone() };
        let json = serde_json::to_vec(&entry).map_err(JournalError::Write)?;
        let mut bytes = format!("{HEAD}{}\n", Digest::of(&json).hex()).into_bytes();
        bytes.extend_from_slice(&json);
        bytes.push(b'\n');
        Ok(files::write_marked(&self.folder.join(nonce.as_str()), &bytes)?)
    }
}

/// Returns the entry's second line, if it is whole.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(HEAD.as_bytes())?;
    let (hex, rest) = rest.split_at_checked(64)?;
    let json = rest.strip_prefix(b"\n")?.strip_suffix(b"\n")?;
    let digest = Digest::from_hex(std::str::from_utf8(hex).ok()?).ok()?;
    (Digest::of(json) == digest).then_some(json)
}
