//! What can go wrong in the store, by what was attempted.
//!
//! A full disk, a lock held elsewhere and damaged bytes have variants of their own, because each has
//! its own code and exit: KILN-0603 (7), KILN-0602 (9), KILN-0601 (3).

use std::path::PathBuf;

use model::reapi::DIRECTORY_BYTES_MAX;
use model::text::escape;
use model::{Digest, RelPath};
use rustix::io::Errno;

/// What was being done when the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Opening a file or folder.
    Open,
    /// Making a file, folder or link.
    Create,
    /// Asking for a file's size, type or times.
    Inspect,
    /// Reading bytes or a folder's names.
    Read,
    /// Writing bytes.
    Write,
    /// Setting mode, owner or time.
    SetMode,
    /// Moving to the final name.
    Rename,
    /// Deleting.
    Remove,
    /// Flushing to the disk.
    Flush,
    /// Taking a lock.
    Lock,
}

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("{operation} {}", at.display())]
    Io {
        /// What was attempted.
        operation: Operation,
        /// On what; relative paths are below the store.
        at: PathBuf,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// No space, no quota or no inode left: KILN-0603.
    #[error("no space left: {operation} {}", at.display())]
    Full {
        /// What was attempted.
        operation: Operation,
        /// On what; relative paths are below the store.
        at: PathBuf,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// Another process holds the lock, and still did when the waiting time was over: KILN-0602.
    #[error("the store is in use by {holder}")]
    Busy {
        /// Who holds it, as far as the lock file tells.
        holder: String,
    },
    /// Stored bytes are not those of their name; they were moved to `quarantine/`: KILN-0601.
    #[error("the stored object {0} is damaged")]
    Damaged(Digest),
    /// No such object; whoever relied on it counts this as a miss.
    #[error("the object {0} is not in the store")]
    Missing(Digest),
    /// An object is no `Directory` in canonical form.
    #[error("the object {digest} is no folder")]
    NotADirectory {
        /// The object.
        digest: Digest,
        /// What is wrong with it.
        #[source]
        source: model::reapi::DecodeError,
    },
    /// An object is larger than the caller takes.
    #[error("the object {digest} has {size} bytes, more than {cap}")]
    TooLarge {
        /// The object.
        digest: Digest,
        /// Its bytes.
        size: u64,
        /// What the caller takes, in bytes.
        cap: u64,
    },
    /// A folder's message is larger than what is read back: too many names, or too long ones.
    #[error("the names and links of the folder `{}` take {size} bytes, more than {DIRECTORY_BYTES_MAX}", escape(at.to_string().as_bytes()))]
    FolderTooLarge {
        /// The folder, as far as it is known.
        at: RelPath,
        /// The bytes of its message.
        size: u64,
    },
    /// Somebody names an object by its digest and a size that it does not have.
    #[error("the object {digest} has {size} bytes, not {expected}")]
    WrongSize {
        /// The object.
        digest: Digest,
        /// Its bytes.
        size: u64,
        /// What was said of it.
        expected: u64,
    },
    /// The caller ended an import before its end.
    #[error("stopped before the end")]
    Stopped,
    /// A file to import changed while it was read (S-F01, S-F05).
    #[error("the file changed while it was read")]
    Changed,
    /// A file to import is not the one that was announced.
    #[error("the bytes are {got}, not {expected}")]
    Mismatch {
        /// What was announced.
        expected: Digest,
        /// What was read.
        got: Digest,
    },
    /// What should be imported is no regular file.
    #[error("not a regular file")]
    NotAFile,
    /// A tree's path cannot be made: too deep or too long.
    #[error("`{0}` lies too deep")]
    TooDeep(RelPath),
    /// The store was written by a newer kiln.
    #[error("the store {} has schema {found}, this kiln knows {known}", at.display())]
    NewerSchema {
        /// The store.
        at: PathBuf,
        /// What it says.
        found: u64,
        /// What this kiln knows.
        known: u64,
    },
    /// The store's `schema` file is no number: not a store, or damaged.
    #[error("{} is not a store", at.display())]
    NotAStore {
        /// The folder.
        at: PathBuf,
    },
    /// The store belongs to another user, or others may write to it.
    #[error("the store {} belongs to user {owner} with mode {mode:04o}", at.display())]
    Foreign {
        /// The folder.
        at: PathBuf,
        /// The user id it belongs to.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// A result or record cannot be put into JSON.
    #[error("encoding a result")]
    Encode(#[source] serde_json::Error),
}

impl Error {
    /// Says whether the caller may treat the object as one that was never stored.
    pub fn is_miss(&self) -> bool {
        matches!(
            self,
            Error::Missing(_)
                | Error::Damaged(_)
                | Error::NotADirectory { .. }
                | Error::WrongSize { .. }
                | Error::TooDeep(_)
        )
    }
}

/// Returns a closure that turns the kernel's answer into an error about `at`.
pub(crate) fn io(operation: Operation, at: impl Into<PathBuf>) -> impl FnOnce(Errno) -> Error {
    let at = at.into();
    move |source| match source {
        Errno::NOSPC | Errno::DQUOT => Error::Full { operation, at, source },
        _ => Error::Io { operation, at, source },
    }
}

/// Turns a failed [`crate::persist`] into an error about `at`.
pub(crate) fn persisting(
    at: impl Into<PathBuf>,
) -> impl FnOnce(crate::persist::PersistError) -> Error {
    use crate::persist::PersistError;
    let at = at.into();
    move |error| {
        let operation = match error {
            PersistError::Create { .. } => Operation::Create,
            PersistError::Write { .. } => Operation::Write,
            PersistError::Flush { .. } => Operation::Flush,
            PersistError::Rename { .. } => Operation::Rename,
        };
        io(operation, at)(error.errno())
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Operation::Open => "opening",
            Operation::Create => "creating",
            Operation::Inspect => "looking at",
            Operation::Read => "reading",
            Operation::Write => "writing",
            Operation::SetMode => "setting mode and time of",
            Operation::Rename => "moving into place",
            Operation::Remove => "deleting",
            Operation::Flush => "flushing",
            Operation::Lock => "locking",
        })
    }
}
