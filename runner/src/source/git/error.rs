//! Why a repository cannot be read. Nothing here is guessed around: an unreadable repository is an
//! error, never a work tree "outside git".

use std::io;
use std::path::PathBuf;

use super::GitId;

/// What went wrong, with the file or object it went wrong at.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// A file of the repository cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file of the repository is larger than the cap for its kind.
    #[error("{path} is larger than {bytes_max} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The cap in bytes.
        bytes_max: u64,
    },
    /// A file of the repository does not have the form git gives it.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// A feature of git that is not read here; the remedy is a command that turns it off.
    #[error("{path} uses {feature}, which kiln does not read; to turn it off: {remedy}")]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// The feature.
        feature: &'static str,
        /// What makes the repository readable.
        remedy: &'static str,
    },
    /// An object that a commit or tree names is not in the repository, as in a partial clone.
    #[error("the repository lacks the {kind} {id}")]
    MissingObject {
        /// What it should be.
        kind: &'static str,
        /// Its name.
        id: GitId,
    },
    /// The bytes stored under a name are not the object of that name.
    #[error("the {kind} {id} in the repository is damaged")]
    DamagedObject {
        /// What it should be.
        kind: &'static str,
        /// Its name.
        id: GitId,
    },
}
