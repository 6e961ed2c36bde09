//! Why local sources cannot be taken. A file is never passed over because it is awkward.

use std::io;
use std::path::PathBuf;

use model::{Ident, RelPath};

use super::git::GitError;

/// What went wrong, with the path it went wrong at. Paths are relative to the project unless they
/// are absolute; bytes that are no UTF-8 are replaced in them.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The project's folder cannot be opened.
    #[error("cannot open the project folder {path}")]
    Project {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A source names a path that is neither a file nor a folder of the project (KILN-0108).
    #[error("source `{name}`: there is no file or folder `{path}`")]
    Missing {
        /// The source.
        name: Ident,
        /// The path it names.
        path: RelPath,
    },
    /// A source names a path that git's ignore rules leave out, so it would be empty.
    #[error("source `{name}`: `{path}` is ignored by git and not tracked")]
    Ignored {
        /// The source.
        name: Ident,
        /// The path it names.
        path: RelPath,
    },
    /// The threads that walk and hash cannot be started.
    #[error("cannot start the threads that hash the sources")]
    Threads(#[source] rayon::ThreadPoolBuildError),
    /// More local sources than one scan tells apart.
    #[error("more than {max} local sources")]
    TooMany {
        /// The cap.
        max: usize,
    },
    /// A file or folder cannot be read.
    #[error("cannot read `{path}`")]
    Unreadable {
        /// The file or folder.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A device, FIFO or socket lies among the sources.
    #[error("`{path}` is {kind}; sources are files, folders and symlinks")]
    Special {
        /// The file.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// A name or a symlink's target is not UTF-8, which a REAPI `Directory` demands.
    #[error("the name or target of `{path}` is not UTF-8")]
    NotUtf8 {
        /// The file, with other bytes replaced.
        path: String,
    },
    /// A symlink's target is longer than a path may be, or empty.
    #[error("`{path}` has a target that no symlink can have")]
    Target {
        /// The symlink.
        path: String,
    },
    /// Folders nest deeper than a tree may.
    #[error("`{path}` lies deeper than {max} folders")]
    TooDeep {
        /// The folder.
        path: String,
        /// The cap.
        max: usize,
    },
    /// The names and link targets of one folder are more than a folder's message holds.
    #[error("the names and links of the folder `{path}` take {size} bytes, more than {max}")]
    FolderTooLarge {
        /// The folder.
        path: String,
        /// The bytes of its message.
        size: u64,
        /// The cap.
        max: usize,
    },
    /// A file was changed, replaced or removed while it was read, or since it was hashed (exit 3).
    #[error("input `{path}` changed while it was read")]
    Changed {
        /// The file.
        path: String,
    },
    /// Writing a file's bytes to where the caller wants them failed.
    #[error("cannot hand on the bytes of `{path}`")]
    Sink {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The repository around the project cannot be read.
    #[error("cannot read the git repository")]
    Git(#[from] GitError),
}
