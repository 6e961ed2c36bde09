//! `signed.log`: one line for each envelope that was signed, each chained to the one before.
//!
//! The journal answers "what was signed under this nonce"; this file answers "what was signed at
//! all, for whom and when", in an order that cannot be changed in the middle without breaking the
//! chain. Whoever wants to know later that nothing was taken off its end writes the last digest
//! down elsewhere: `kiln attestor journal verify` prints it.
//!
//! ```text
//! {"previous":"sha256:0…0","time":…,"uid":1000,"nonce":"…","statement":"sha256:…","envelope":"sha256:…"}
//! {"previous":"sha256:<of the whole line before, with its newline>", …}
//! ```
//!
//! A line is durable before its envelope leaves the process. A crash can leave an unfinished line:
//! its envelope never left, so the next append cuts it off, and only then is anything ever taken
//! out. An envelope whose line a crash prevented never left either; it has a second name in the journal until it is
//! cleared away. An envelope without either, and an end that no line begins like, are no crash's.
//!
//! Does not catch: somebody who can write the file and writes all of it anew. The caller holds the
//! lock of the state folder.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use model::Digest;
use model::record::Nonce;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::journal::{Journal, JournalError};
use crate::dsse::{self, Envelope, EnvelopeError};
use crate::pipe::Signed;
use crate::strict_json::{self, Caps, JsonError};

/// Longest line, in bytes: five short members.
const LINE_BYTES_MAX: usize = 4096;
const CAPS: Caps = Caps { bytes: LINE_BYTES_MAX, depth: 4, values: 32 };

/// The file.
pub(super) struct SignedLog {
    path: PathBuf,
}

/// Why it can not be used, or does not hold.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    #[error("use {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("write a line")]
    Write(#[source] serde_json::Error),
    #[error("read the envelope that was signed")]
    Json(#[source] JsonError),
    #[error("the envelope that was signed")]
    Envelope(#[source] EnvelopeError),
    #[error("read the journal")]
    Journal(#[source] JournalError),
    #[error("line {number} can not be read")]
    Line {
        number: u64,
        #[source]
        source: JsonError,
    },
    #[error("line {number} does not follow the one before: expected {expected}, got {got}")]
    Chain { number: u64, expected: Digest, got: Digest },
    #[error("line {number}: the journal has no envelope with nonce {}", nonce.as_str())]
    NoEnvelope { number: u64, nonce: Nonce },
    #[error("line {number} is about another envelope than the journal's of nonce {}", nonce.as_str())]
    OtherEnvelope { number: u64, nonce: Nonce },
    #[error("the journal's envelope with nonce {} has no line, and no crash left it so", nonce.as_str())]
    NoLine { nonce: Nonce },
    #[error("line {number} has no end within {LINE_BYTES_MAX} bytes")]
    TooLong { number: u64 },
    #[error("{bytes} bytes after the last line are no line that a crash left unfinished")]
    Odd { bytes: usize },
    #[error("line {number} is the second with nonce {}", nonce.as_str())]
    Twice { number: u64, nonce: Nonce },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineWire {
    previous: Digest,
    time: i64,
    uid: u32,
    nonce: Nonce,
    statement: Digest,
    envelope: Digest,
}

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// Whole lines.
    pub(super) lines: u64,
    /// Digest of the last, which names the whole file.
    pub(super) head: Digest,
    /// Bytes of an unfinished line at the end.
    pub(super) torn: usize,
    /// Envelopes of the journal whose line a crash prevented.
    pub(super) without_line: Vec<Nonce>,
}

/// What is done with a line: its number, what it says, its bytes.
type Look<'a> = dyn FnMut(u64, &LineWire, &[u8]) -> Result<(), LogError> + 'a;

/// What the first line follows.
fn nothing() -> Digest {
    Digest::from_bytes([0; 32])
}

impl SignedLog {
    /// Names the file of a state folder.
    pub(super) fn new(state: &Path) -> SignedLog {
        SignedLog { path: state.join("signed.log") }
    }

    /// Appends a line about `signed`; it is durable when this returns.
    pub(super) fn append(
        &self,
        nonce: &Nonce,
        uid: u32,
        time: i64,
        signed: &Signed,
    ) -> Result<(), LogError> {
        let failed = |source| LogError::File { path: self.path.clone(), source };
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            self.open(options.read(true).append(true).create(true).mode(0o600)).map_err(failed)?;
        let (whole, last) = tail(&mut file).map_err(failed)?;
        file.set_len(whole).map_err(failed)?;
        let (statement, envelope) = digests(signed)?;
        let previous = if last.is_empty() { nothing() } else { Digest::of(&last) };
        let line = LineWire { previous, time, uid, nonce: nonce.clone(), statement, envelope };
        let mut bytes = serde_json::to_vec(&line).map_err(LogError::Write)?;
        bytes.push(b'\n');
        file.write_all(&bytes).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    /// Cuts off a line that a crash left unfinished.
    pub(super) fn cut_unfinished(&self) -> Result<(), LogError> {
        let failed = |source| LogError::File { path: self.path.clone(), source };
        let mut file = match self.open(std::fs::OpenOptions::new().read(true).write(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let (whole, _) = tail(&mut file).map_err(failed)?;
        file.set_len(whole).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// Says whether a nonce has its line.
    pub(super) fn holds(&self, nonce: &Nonce) -> Result<bool, LogError> {
        let mut found = false;
        self.each(&mut |_, line, _| {
            found |= line.nonce == *nonce;
            Ok(())
        })?;
        Ok(found)
    }

    /// Checks the chain, and every line against the journal.
    pub(super) fn check(&self, journal: &Journal) -> Result<Checked, LogError> {
        let mut seen = BTreeMap::new();
        let mut head = nothing();
        let torn = self.each(&mut |number, line, bytes| {
            if line.previous != head {
                return Err(LogError::Chain { number, expected: head, got: line.previous });
            }
            head = Digest::of(bytes);
            let nonce = line.nonce.clone();
            let signed = journal.signed(&nonce).map_err(LogError::Journal)?;
            let Some(signed) = signed else { return Err(LogError::NoEnvelope { number, nonce }) };
            if digests(&signed)? != (line.statement, line.envelope) {
                return Err(LogError::OtherEnvelope { number, nonce });
            }
            match seen.insert(nonce.clone(), number) {
                Some(_) => Err(LogError::Twice { number, nonce }),
                None => Ok(()),
            }
        })?;
        let mut without_line = journal.nonces().map_err(LogError::Journal)?;
        without_line.retain(|nonce| !seen.contains_key(nonce));
        let left = journal.left().map_err(LogError::Journal)?;
        let by_crash = |nonce: &Nonce| left.iter().any(|(_, of)| of.as_ref() == Some(nonce));
        if let Some(nonce) = without_line.iter().find(|nonce| !by_crash(nonce)) {
            return Err(LogError::NoLine { nonce: nonce.clone() });
        }
        // What was being written when it crashed was the line of one of these, after the last.
        let begin = format!("{{\"previous\":\"{head}\",\"time\":");
        let alike = begin.bytes().zip(&torn).all(|(wanted, got)| wanted == *got);
        if !torn.is_empty() && (without_line.is_empty() || !alike) {
            return Err(LogError::Odd { bytes: torn.len() });
        }
        Ok(Checked { lines: seen.len() as u64, head, torn: torn.len(), without_line })
    }

    /// Opens the file, and waits for nobody: what is no regular file is no log.
    fn open(&self, options: &mut std::fs::OpenOptions) -> std::io::Result<std::fs::File> {
        let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
        let file = options.custom_flags(flags.bits().cast_signed()).open(&self.path)?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(std::io::Error::other("it is no regular file"))
        }
    }

    /// Calls `look` with every whole line; returns the bytes of an unfinished one.
    fn each(&self, look: &mut Look<'_>) -> Result<Vec<u8>, LogError> {
        let failed = |source| LogError::File { path: self.path.clone(), source };
        let file = match self.open(std::fs::OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut reader = BufReader::new(file);
        let mut number = 0;
        loop {
            let mut bytes = Vec::new();
            let most = LINE_BYTES_MAX as u64;
            (&mut reader).take(most).read_until(b'\n', &mut bytes).map_err(failed)?;
            number += 1;
            let Some(json) = bytes.strip_suffix(b"\n") else {
                // More may follow it, which must not be passed over.
                let whole = bytes.len() < LINE_BYTES_MAX;
                return if whole { Ok(bytes) } else { Err(LogError::TooLong { number }) };
            };
            let line = strict_json::parse_as::<LineWire>(json, &CAPS)
                .map_err(|source| LogError::Line { number, source })?;
            look(number, &line, &bytes)?;
        }
    }
}

/// Returns the length up to the last newline, and the last whole line.
fn tail(file: &mut std::fs::File) -> std::io::Result<(u64, Vec<u8>)> {
    let length = file.seek(SeekFrom::End(0))?;
    // An unfinished line and the whole one before it.
    let start = length.saturating_sub(2 * LINE_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let whole = match end.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => at + 1,
        None if start == 0 => 0,
        // No line of ours is that long, so nothing is cut off.
        None => return Err(std::io::Error::from(std::io::ErrorKind::InvalidData)),
    };
    end.truncate(whole);
    let before = end.get(..whole.saturating_sub(1)).unwrap_or_default();
    let from = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Ok((start + whole as u64, end.split_off(from)))
}

/// Returns the digests of the statement and of the envelope's line.
fn digests(signed: &Signed) -> Result<(Digest, Digest), LogError> {
    let value = strict_json::parse(signed.line.as_bytes(), &dsse::CAPS).map_err(LogError::Json)?;
    let envelope = Envelope::from_value(value).map_err(LogError::Envelope)?;
    Ok((Digest::of(envelope.unverified_payload()), Digest::of(signed.line.as_bytes())))
}
