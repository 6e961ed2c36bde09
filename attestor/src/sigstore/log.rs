//! What an entry of a transparency log says beside what the log signed.
//!
//! The log signs the tree, and by its promise the entry's index and time. A bundle repeats some of that,
//! and holds signatures and names that the crates read past. Each copy has to be what was signed; what
//! nobody signed, and could not be held against something that was, must not be there.
//!
//! ```text
//! rootHash, treeSize      the checkpoint's
//! logIndex of the proof   below the size, and bound by the proof's hashes
//! logIndex of the entry   the proof's, or what the promise signs: a log in shards has two counts
//! integratedTime          what the promise signs, or none
//! logId                   the log whose line stands below the checkpoint, by hint, name and signature
//! kindVersion             what the logged body says of itself
//! ```
//!
//! Lines of a checkpoint that are of none of the root's logs are of witnesses and passed over, as the
//! format of signed notes says: nothing is believed for them.
//!
//! Spec: C2SP signed-note and tlog-checkpoint; protobuf-specs, `sigstore_rekor.proto`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::Digest;
use serde_json::Value;
use sigstore_types::bundle::{InclusionProof, TransparencyLogEntry};
use sigstore_types::{DerPublicKey, KindVersion, SignatureBytes};
use sigstore_verify::crypto::VerificationKey;

/// Bytes of a key's hint in a line.
const HINT: usize = 4;
/// What stands before the 32 bytes of an Ed25519 key in its DER.
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A log that the root lists.
pub(super) struct Log {
    id: Vec<u8>,
    der: DerPublicKey,
    key: VerificationKey,
}

/// Why an entry is refused.
type Reason = &'static str;

impl Log {
    /// Prepares a log of a root; none if its key is of no kind that is known.
    pub(super) fn new(id: &[u8], der: &DerPublicKey) -> Option<Log> {
        let key = VerificationKey::from_spki(der).ok()?;
        Some(Log { id: id.to_vec(), der: der.clone(), key })
    }

    /// Returns the name that entries know it by.
    pub(super) fn id(&self) -> &[u8] {
        &self.id
    }

    fn has_hint(&self, hint: &[u8]) -> bool {
        self.id.get(..HINT) == Some(hint)
    }

    /// Decides whether the log is called so. A log of version 1 is known by its key alone and puts the
    /// number of its tree behind its name; for the others the hint is of name and key.
    fn is_called(&self, name: &str, origin: &str) -> bool {
        if self.id == Digest::of(self.der.as_bytes()).as_bytes() {
            let tree = origin.strip_prefix(name).and_then(|rest| rest.strip_prefix(" - "));
            let numbered =
                |tree: &str| !tree.is_empty() && tree.bytes().all(|byte| byte.is_ascii_digit());
            return origin == name || tree.is_some_and(numbered);
        }
        let named = self.der.as_bytes().strip_prefix(&ED25519).is_none_or(|key| {
            let hashed = Digest::of(&[name.as_bytes(), b"\n\x01", key].concat());
            self.has_hint(&hashed.as_bytes()[..HINT])
        });
        origin == name && named
    }
}

/// Decides whether entries say nothing but what the logs signed.
pub(super) fn check(entries: &[TransparencyLogEntry], logs: &[Log]) -> Result<(), Reason> {
    for (at, entry) in entries.iter().enumerate() {
        one(entry, logs)?;
        let again = entries[..at].iter().any(|other| {
            other.log_id == entry.log_id
                && (other.log_index == entry.log_index
                    || other.canonicalized_body == entry.canonicalized_body)
        });
        if again {
            return Err("one log entry is there twice");
        }
    }
    Ok(())
}

fn one(entry: &TransparencyLogEntry, logs: &[Log]) -> Result<(), Reason> {
    let second = entry.kind_version == KindVersion::HashedRekordV002;
    let (promised, proof) = (entry.inclusion_promise.is_some(), entry.inclusion_proof.as_ref());
    if !promised && entry.integrated_time.is_some() {
        return Err("the log entry has a time that nobody signed");
    }
    if second && promised {
        return Err("the log entry has a promise, which logs of its version give none");
    }
    let body: Value = serde_json::from_slice(entry.canonicalized_body.as_bytes())
        .map_err(|_| "what the log has is no JSON")?;
    let says = |name: &str| body.get(name).and_then(Value::as_str);
    let kind = (Some(entry.kind_version.kind()), Some(entry.kind_version.version()));
    if (says("kind"), says("apiVersion")) != kind {
        return Err("the log entry is of another kind than it says");
    }
    let Some(proof) = proof else {
        return promised.then_some(()).ok_or("the log entry has neither proof nor promise");
    };
    if !promised && proof.log_index != entry.log_index {
        return Err("the log entry's index is not the one that was proven");
    }
    if proof.log_index.get() >= proof.tree_size {
        return Err("the log entry's index lies outside of the tree");
    }
    checkpoint(proof, entry.log_id.key_id.as_bytes(), logs)
}

/// Holds a proof against its checkpoint, and the checkpoint's lines against the logs.
fn checkpoint(proof: &InclusionProof, id: &[u8], logs: &[Log]) -> Result<(), Reason> {
    let Some(note) = Note::read(proof.checkpoint.envelope()) else {
        return Err("the log's checkpoint is no signed note");
    };
    if note.size != proof.tree_size.to_string() {
        return Err("the size beside the log's checkpoint is another than in it");
    }
    if note.root != BASE64_STANDARD.encode(proof.root_hash.as_bytes()) {
        return Err("the root beside the log's checkpoint is another than in it");
    }
    let mut signed = false;
    for line in &note.lines {
        for log in logs.iter().filter(|log| log.has_hint(line.hint())) {
            if !log.is_called(line.name, note.origin) {
                return Err("a line of the log's checkpoint names another than signed it");
            }
            let signature = SignatureBytes::from_bytes(line.signature());
            if log.key.verify(note.text, &signature).is_err() {
                return Err("a line of the log's checkpoint is not the log's signature");
            }
            if log.id == id && std::mem::replace(&mut signed, true) {
                return Err("the log's checkpoint has two lines of the log");
            }
        }
    }
    signed.then_some(()).ok_or("the log's checkpoint is signed by another log than the entry says")
}

/// A checkpoint, in the one form that a signed note has.
struct Note<'a> {
    /// What is signed.
    text: &'a str,
    origin: &'a str,
    size: &'a str,
    root: &'a str,
    lines: Vec<Line<'a>>,
}

struct Line<'a> {
    name: &'a str,
    bytes: Vec<u8>,
}

impl Line<'_> {
    fn hint(&self) -> &[u8] {
        &self.bytes[..HINT]
    }

    fn signature(&self) -> &[u8] {
        &self.bytes[HINT..]
    }
}

impl<'a> Note<'a> {
    fn read(envelope: &'a str) -> Option<Note<'a>> {
        if envelope.chars().any(|letter| letter.is_control() && letter != '\n') {
            return None;
        }
        let (above, below) = envelope.split_once("\n\n")?;
        let text = &envelope[..=above.len()];
        let mut head = above.split('\n');
        let (origin, size, root) = (head.next()?, head.next()?, head.next()?);
        let lines = below.strip_suffix('\n')?.split('\n').map(|line| {
            let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
            let named = !name.is_empty() && !name.contains([' ', '+']);
            let bytes = BASE64_STANDARD.decode(signature).ok()?;
            (named && bytes.len() > HINT).then_some(Line { name, bytes })
        });
        Some(Note { text, origin, size, root, lines: lines.collect::<Option<_>>()? })
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
