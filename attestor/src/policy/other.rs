//! Statements of other kinds about the same file: who signed, what about, what it says.
//!
//! A signature alone makes nothing here true: the key or identity has to be believed by some entry that is in
//! force, whatever for, and the file has to be a subject.
//! Source: in-toto attestation, spec/v1/statement.md and docs/validation.md.

use model::Digest;
use serde::Deserialize;
use serde_json::Value;

use crate::bundle::Attestation;
use crate::claims::Statement;
use crate::dsse;
use crate::predicate::provenance::PREDICATE_TYPE as PROVENANCE;
use crate::signed_by::{self, Role, SignedBy};
use crate::statement::{STATEMENT_BYTES_MAX, STATEMENT_TYPE};
use crate::strict_json::{self, Caps};
use crate::verdict::Reason;
use crate::verify::{self, Artifact, Expected, Verified};

const CAPS: Caps = Caps { bytes: STATEMENT_BYTES_MAX, depth: 64, values: 1 << 20 };

/// A statement whose signature holds and whose subject is the file.
#[derive(Debug)]
pub(super) struct Other {
    pub predicate_type: String,
    pub value: Value,
    pub signer: SignedBy,
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

/// All other statements: those that are believed, and why the rest is not, by the type that each claims.
#[derive(Debug, Default)]
pub(super) struct Others {
    pub sound: Vec<Other>,
    pub refused: Vec<(String, String)>,
}

impl Others {
    /// Adds provenance that verifies.
    pub fn add(&mut self, verified: &Verified<Statement>) {
        let Ok(value) = strict_json::parse(verified.payload(), &CAPS) else { return };
        let (predicate_type, signer) = (PROVENANCE.to_owned(), verified.signer().clone());
        self.sound.push(Other { predicate_type, value, signer });
    }

    /// Reads all; provenance that was refused stays so, for any reason. One that is no statement, or about other files, does not count.
    pub fn read(
        attestations: &[Attestation],
        artifact: &Artifact<'_>,
        expected: &Expected<'_>,
        now: i64,
    ) -> Others {
        let mut all = Others::default();
        for attestation in attestations {
            if attestation.claimed_type().as_deref() == Some(PROVENANCE) {
                let refused = verify::judge(artifact, attestation, None, expected, now).err();
                let why = refused.as_ref().and_then(|refusal| refusal.reasons().next());
                let why = why.map_or_else(|| "refused".to_owned(), Reason::whole);
                all.refused.push((PROVENANCE.to_owned(), why));
                continue;
            }
            match signer(attestation, artifact, expected, now) {
                Ok(signer) => all.sound.extend(Other::read(attestation, &artifact.digest, signer)),
                Err(reason) => {
                    let claimed = attestation.claimed_type().unwrap_or_default();
                    all.refused.push((claimed, reason.whole()));
                }
            }
        }
        all
    }
}

fn signer(
    attestation: &Attestation,
    artifact: &Artifact<'_>,
    expected: &Expected<'_>,
    now: i64,
) -> Result<SignedBy, Reason> {
    let confirmed = signed_by::confirm(artifact, attestation, expected)?;
    confirmed.believed(Role::Witness, expected, now)?;
    Ok(confirmed.signer())
}

impl Other {
    fn read(attestation: &Attestation, digest: &Digest, signer: SignedBy) -> Option<Other> {
        let envelope = &attestation.envelope;
        if envelope.payload_type() != dsse::PAYLOAD_TYPE {
            return None;
        }
        let value = strict_json::parse(envelope.unverified_payload(), &CAPS).ok()?;
        let head = Head::deserialize(&value).ok()?;
        let hex = digest.hex();
        // What is read as provenance here was refused as such, whatever else its bytes can be read as.
        let about = head.predicate_type != PROVENANCE
            && head.subject.iter().any(|one| one.digest.get("sha256") == Some(&hex));
        let sound = head.statement_type == STATEMENT_TYPE && about;
        sound.then_some(Other { predicate_type: head.predicate_type, value, signer })
    }
}
