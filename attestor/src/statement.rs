//! `derive`: from a Record to the bytes of an in-toto Statement v1.
//!
//! 1. The Record is checked against itself and its Order ([`crate::order`]).
//! 2. The predicate is made from it, with the builder.id of the attestor's own configuration.
//! 3. The statement is serialised once.
//! 4. Addresses with credentials and sizes that no log would take are refused.
//!
//! A subject has a name and a SHA-256 and no other member, since several verifiers refuse anything
//! else there. The same Record always gives the same bytes.
//!
//! Pure: no clock, no key, no I/O. Source: in-toto attestation, spec/v1/statement.md.

use model::record::{Record, Subject};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::builder::BuilderConfig;
use crate::credentials;
use crate::order::{self, Refused};
use crate::predicate::dependencies::{DependencyManifest, DigestSet, sha256};
use crate::predicate::{Further, link, provenance, runtime_trace, scai, test_result};

/// The type of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// Most bytes of a statement: 16 MiB, the largest predicate that a forge's store accepts.
pub const STATEMENT_BYTES_MAX: usize = 16 << 20;

/// What is derived from one Record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// The statement. These bytes are signed and written, never serialised again.
    pub statement_bytes: Vec<u8>,
    /// The dependency manifest, where the inputs are too many for a statement.
    pub dependency_manifest: Option<DependencyManifest>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement<'a, P> {
    #[serde(rename = "_type")]
    statement_type: &'static str,
    subject: Vec<SubjectOut<'a>>,
    predicate_type: &'a str,
    predicate: P,
}

#[derive(Serialize)]
struct SubjectOut<'a> {
    name: &'a str,
    digest: DigestSet,
}

/// Derives the SLSA provenance of one artifact.
///
/// # Errors
/// Refuses a Record that contradicts its Order or itself, in which a guarantee neither held nor was
/// waived, or which names a credential; see [`Refused`].
pub fn derive(record: &Record, config: &BuilderConfig) -> Result<Derived, Refused> {
    // 1. Does it hang together?
    order::check(record)?;
    // 2. What is claimed.
    let (predicate, dependency_manifest) = provenance::provenance(record, config)?;
    // 3. The bytes.
    let subject = std::slice::from_ref(&record.observed.subject);
    let statement_bytes = write(subject, provenance::PREDICATE_TYPE, predicate)?;
    if let Some(manifest) = &dependency_manifest {
        refuse_credentials(&manifest.bytes)?;
    }
    Ok(Derived { statement_bytes, dependency_manifest })
}

/// Derives a further statement about one artifact.
///
/// # Errors
/// As [`derive`], and where the Record does not say what it would have to.
pub fn derive_further(
    record: &Record,
    config: &BuilderConfig,
    further: Further,
) -> Result<Vec<u8>, Refused> {
    // The provenance of the same Record is what the further statement leans on: where that is refused,
    // nothing else is said either.
    let provenance = derive(record, config)?.statement_bytes;
    let builder = provenance::builder(record, config)?;
    let subject = std::slice::from_ref(&record.observed.subject);
    let kind = further.predicate_type();
    match further {
        Further::TestResult => write(subject, kind, test_result::test_result(record)?),
        Further::Scai => write(subject, kind, scai::scai(record, builder, &provenance)),
        Further::Link => write(subject, kind, link::link(record)?),
        Further::RuntimeTrace => {
            write(subject, kind, runtime_trace::runtime_trace(record, builder)?)
        }
    }
}

/// Writes a statement about files with a predicate that somebody else wrote (`kiln attest`). The
/// predicate's bytes stand in it as they came. That its type is none that the attestor derives is
/// the caller's check.
pub(crate) fn write_foreign(
    subjects: &[Subject],
    predicate_type: &str,
    predicate: &RawValue,
) -> Result<Vec<u8>, Refused> {
    write(subjects, predicate_type, predicate)
}

fn write<P: Serialize>(
    subjects: &[Subject],
    predicate_type: &str,
    predicate: P,
) -> Result<Vec<u8>, Refused> {
    let subject = subjects
        .iter()
        .map(|subject| SubjectOut { name: &subject.name, digest: sha256(&subject.blob.digest) })
        .collect();
    let statement =
        Statement { statement_type: STATEMENT_TYPE, subject, predicate_type, predicate };
    let bytes = serde_json::to_vec(&statement).map_err(Refused::Write)?;
    // 4. What must never be published, and what could not be.
    if bytes.len() > STATEMENT_BYTES_MAX {
        return Err(Refused::TooLarge { got: bytes.len(), most: STATEMENT_BYTES_MAX });
    }
    refuse_credentials(&bytes)?;
    Ok(bytes)
}

pub(crate) fn refuse_credentials(bytes: &[u8]) -> Result<(), Refused> {
    let value = serde_json::from_slice(bytes).map_err(Refused::Write)?;
    match credentials::find(&value) {
        Some(place) => Err(Refused::Credential { place }),
        None => Ok(()),
    }
}
