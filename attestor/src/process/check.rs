//! `journal verify`: whether what was signed still hangs together.
//!
//! Checks the chain of `signed.log` and each of its lines against the journal's envelope, under the
//! lock of the state folder, and tells the head: the digest that names all lines up to the last.

use std::fmt::Write as _;
use std::path::Path;

use super::files::{self, FileError};
use super::journal::{Journal, JournalError};
use super::signed_log::{LogError, SignedLog};

/// Why it does not hold, or could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    #[error("lock the attestor's state")]
    Lock(#[source] FileError),
    #[error("read the journal")]
    Journal(#[source] JournalError),
    #[error("the log of what was signed")]
    Log(#[source] LogError),
}

/// Checks a state folder; returns what is told on standard output.
pub(super) fn check(state: &Path) -> Result<String, CheckError> {
    let _lock = files::lock(&state.join("lock")).map_err(CheckError::Lock)?;
    let journal = Journal::open(state).map_err(CheckError::Journal)?;
    let checked = SignedLog::new(state).check(&journal).map_err(CheckError::Log)?;
    let mut text = format!("{} lines, the chain holds, head {}\n", checked.lines, checked.head);
    if checked.torn > 0 {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{} bytes of an unfinished line, never answered", checked.torn);
    }
    for nonce in &checked.without_line {
        let _ = writeln!(
            text,
            "nonce {} has an envelope and no line: cut off by a crash, never answered; its request repeated gets it one",
            nonce.as_str()
        );
    }
    Ok(text)
}
