//! `journal verify`: whether what was signed still hangs together.
//!
//! Checks the chain of `signed.log` and each of its lines against the journal's envelope, under the
//! lock of the state folder where it has one, and tells the head: the digest that names all lines up to the last.
//! Writes nothing, so that a copy can be checked. Where nothing was ever signed there is nothing that holds.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::files::{self, FileError};
use super::journal::Journal;
use super::signed_log::{LogError, SignedLog};

/// Why it does not hold, or could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    #[error("lock the attestor's state")]
    Lock(#[source] FileError),
    #[error("nothing was signed here: {} is absent or empty", log.display())]
    Nothing { log: PathBuf },
    #[error("the log of what was signed")]
    Log(#[source] LogError),
}

/// Checks a state folder; returns what is told on standard output.
pub(super) fn check(state: &Path) -> Result<String, CheckError> {
    let absent = |source| CheckError::Lock(FileError::Open { path: state.to_owned(), source });
    rustix::fs::stat(state).map_err(absent)?;
    let _lock = files::lock_existing(&state.join("lock")).map_err(CheckError::Lock)?;
    let checked = SignedLog::new(state).check(&Journal::of(state)).map_err(CheckError::Log)?;
    if checked.lines == 0 && checked.torn == 0 && checked.without_line.is_empty() {
        return Err(CheckError::Nothing { log: state.join("signed.log") });
    }
    let mut text = format!("{} lines, the chain holds, head {}\n", checked.lines, checked.head);
    if checked.torn > 0 {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{} bytes of an unfinished line, never answered", checked.torn);
    }
    for nonce in &checked.without_line {
        let _ = writeln!(
            text,
            "nonce {} has an envelope and no line: cut off by a crash, never answered; the next request clears it away",
            nonce.as_str()
        );
    }
    Ok(text)
}
