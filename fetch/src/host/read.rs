//! Reads the small files of a package database, whole and with a cap.
//!
//! Does not write. A file that is absent is no error here: databases leave out what is empty.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Largest file of a package database, in bytes. The `status` file of a host with 5,000 packages
/// has 5 MB.
pub const FILE_BYTES_MAX: u64 = 128 << 20;

/// Why a file of the database could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The kernel refused.
    #[error("cannot read {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than [`FILE_BYTES_MAX`].
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file must be text and is not UTF-8.
    #[error("{} is not UTF-8", .path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
}

/// Returns the bytes of a file, or none if there is no such file.
pub(super) fn bytes(path: &Path) -> Result<Option<Vec<u8>>, ReadError> {
    let failed = |source| ReadError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge { path: path.to_owned() });
    }
    Ok(Some(bytes))
}

/// Returns the text of a file, or none if there is no such file.
pub(super) fn text(path: &Path) -> Result<Option<String>, ReadError> {
    bytes(path)?
        .map(|bytes| {
            String::from_utf8(bytes).map_err(|_| ReadError::NotUtf8 { path: path.to_owned() })
        })
        .transpose()
}

/// Returns the names in a folder, sorted; none if there is no such folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, ReadError> {
    let failed = |source| ReadError::Io { path: folder.to_owned(), source };
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in listing {
        let name = entry.map_err(failed)?.file_name();
        names.push(
            name.into_string().map_err(|name| ReadError::NotUtf8 { path: folder.join(name) })?,
        );
    }
    names.sort_unstable();
    Ok(names)
}

/// Says whether an error means that there is nothing at the path.
pub(super) fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
