//! One file, folder or link of an environment, before its bytes are read.

use std::path::PathBuf;

use model::RelPath;

use super::package::PackageName;
use crate::checksum::Md5Sum;

/// Something at a place inside the environment's root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Where it lies in the root, as in `usr/bin/gcc`. No folder on the way is a link.
    pub at: RelPath,
    /// What it is.
    pub kind: EntryKind,
}

/// What lies at a place. Of the mode only the executable bit is kept: no set-user-id bit survives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A folder; what it holds are entries of their own.
    Dir,
    /// A link, as text. It may be absolute, which means inside the root.
    Symlink {
        /// The text.
        target: String,
    },
    /// A regular file of the host.
    File {
        /// Its path on the host. The last name was no link when it was observed: open it so.
        from: PathBuf,
        /// Whether anybody may execute it.
        executable: bool,
        /// The package's own checksum, if it has one. Compare with [`Altered::check`].
        expected_md5: Option<Md5Sum>,
    },
    /// A file whose bytes are kiln's own.
    Synthetic {
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether anybody may execute it.
        executable: bool,
    },
}

/// A file of a package is not the one that the package brought.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "package {package} was altered on this host: /{at} has MD5 {found}, the package says {expected}"
)]
pub struct Altered {
    /// The package.
    pub package: PackageName,
    /// The file's place.
    pub at: RelPath,
    /// The package's checksum.
    pub expected: Md5Sum,
    /// The checksum of the bytes that were read.
    pub found: Md5Sum,
}

impl Altered {
    /// Compares the checksum of the bytes that were read with the one the package expects.
    ///
    /// # Errors
    /// Fails if the package expects another one.
    pub fn check(package: &PackageName, entry: &Entry, found: Md5Sum) -> Result<(), Altered> {
        match entry.kind {
            EntryKind::File { expected_md5: Some(expected), .. } if expected != found => {
                Err(Altered { package: package.clone(), at: entry.at.clone(), expected, found })
            }
            _ => Ok(()),
        }
    }
}
