//! Statements of other kinds about the same file: who signed, what about, what it says.
//!
//! A signature alone makes nothing here true: the key has to be believed by some entry that is in force,
//! and the file has to be a subject.
//! Source: in-toto attestation, spec/v1/statement.md and docs/validation.md.

use model::Digest;
use serde::Deserialize;
use serde_json::Value;

use crate::bundle::Attestation;
use crate::dsse;
use crate::public_key::{KeyId, PublicKey};
use crate::statement::{STATEMENT_BYTES_MAX, STATEMENT_TYPE};
use crate::strict_json::{self, Caps};
use crate::trust::Trust;

const CAPS: Caps = Caps { bytes: STATEMENT_BYTES_MAX, depth: 64, values: 1 << 20 };

/// A statement whose signature holds and whose subject is the file.
#[derive(Debug)]
pub(super) struct Other {
    pub predicate_type: String,
    pub value: Value,
    pub key: KeyId,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "_type")]
    statement_type: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    subject: Vec<SubjectIn>,
}

#[derive(Deserialize)]
struct SubjectIn {
    #[serde(default)]
    digest: std::collections::BTreeMap<String, String>,
}

impl Other {
    /// Reads an attestation; none if a believed key did not sign it, it is no statement, or it is about
    /// other files.
    pub fn read(
        attestation: &Attestation,
        digest: &Digest,
        trust: &Trust,
        key: Option<&PublicKey>,
        now: i64,
    ) -> Option<Other> {
        let envelope = &attestation.envelope;
        let signed = envelope.signed_bytes();
        let revoked = |id: &KeyId| trust.of_key(id).any(|entry| entry.revoked.is_some());
        let entries = trust.entries().iter().filter(|entry| entry.is_in_force(now));
        let believed: Vec<&PublicKey> = match key {
            Some(key) => vec![key],
            None => entries.filter_map(crate::trust::Entry::key).collect(),
        };
        let signer =
            believed.into_iter().find(|key| key.check(&signed, envelope.signature()).is_ok())?;
        if envelope.payload_type() != dsse::PAYLOAD_TYPE || revoked(&signer.id()) {
            return None;
        }
        let value = strict_json::parse(envelope.unverified_payload(), &CAPS).ok()?;
        let head = Head::deserialize(&value).ok()?;
        let hex = digest.hex();
        let about = head.subject.iter().any(|one| one.digest.get("sha256") == Some(&hex));
        let sound = head.statement_type == STATEMENT_TYPE && about;
        sound.then(|| Other { predicate_type: head.predicate_type, value, key: signer.id() })
    }
}
