//! Verification summaries (VSA): a verdict of one verifier, written and checked.
//!
//! A summary spares whoever receives a file the whole procedure, and moves the trust to whoever made it.
//! It is believed only from a key or an identity that a trust entry names for this `verifier.id`; a builder's is
//! none, and a verifier's builds nothing. It holds for the address that was asked for, or a summary of an
//! evil package could be put in another's place.
//!
//! 1. The signature, by a key or an identity that is believed, as of provenance ([`crate::signed_by`]).
//! 2. The payload is a summary, and a subject has the file's digest.
//! 3. The signer may speak for this verifier; by hand, without an entry, at level 1 at most.
//! 4. `resourceUri` is the one that was asked for, and no newer summary of this verifier about it is at hand: the last
//!    word counts, so that FAILED is not passed over for an older PASSED ([`judge`]).
//! 5. `verificationResult` is PASSED.
//! 6. `verifiedLevels` holds the level that is wanted; the entry's maximum caps it.
//! 7. The policy has the digest that is wanted, if one is.
//! 8. Whether it stands in a log, as of provenance.
//!
//! Pure. Source: SLSA v1.2, verification_summary; A21 and S-K16 of the hostile cases.

use model::Digest;
use model::text::escape;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::builder::BuilderId;
use crate::bundle::Attestation;
use crate::dsse;
use crate::predicate::dependencies::{DigestSet, sha256};
use crate::signed_by::{self, ConfirmedBy, Role, SignedBy};
use crate::statement::{STATEMENT_BYTES_MAX, STATEMENT_TYPE};
use crate::strict_json::{self, Caps, JsonError};
use crate::trust::Level;
use crate::verdict::{Check, Reason, Refusal, Subject};
use crate::verify::{Artifact, Checks, Expected};

/// The predicate type.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/verification_summary/v1";
/// The version of the specification whose levels are meant.
pub const SLSA_VERSION: &str = "1.2";
/// The property of a file that independent builders built alike. It stands in a summary of its own: a
/// known verifier can not read a summary that holds it.
pub const REPRODUCED: &str = "SLSA_BUILD_REPRODUCED";

const CAPS: Caps = Caps { bytes: STATEMENT_BYTES_MAX, depth: 16, values: 1 << 16 };

/// What a summary says, as it was read.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Who judged.
    pub verifier: String,
    /// When, RFC 3339.
    pub time_verified: Option<String>,
    /// What was judged, as an address.
    pub resource_uri: String,
    /// Where the policy can be read.
    pub policy_uri: String,
    /// What it hashes to.
    pub policy_digest: Option<Digest>,
    /// Whether it passed.
    pub passed: bool,
    /// `SLSA_…` levels and properties.
    pub levels: Vec<String>,
}

/// A summary whose checks all held.
#[derive(Debug)]
pub struct VerifiedSummary {
    summary: Summary,
    signer: SignedBy,
    level: Level,
    checks: Vec<Check>,
}

/// What a summary has to say.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The address that the file was to be had from.
    pub resource_uri: String,
    /// The level.
    pub level: Level,
    /// What the policy hashes to, if that is asked for.
    pub policy: Option<Digest>,
}

/// What goes into a summary.
pub(crate) struct Verdict<'a> {
    pub subject: &'a model::record::Subject,
    pub verifier: &'a BuilderId,
    pub time_verified: String,
    pub resource_uri: &'a str,
    pub policy_uri: &'a str,
    pub policy_digest: Digest,
    /// Digests of all evidence that was used.
    pub inputs: Vec<Digest>,
    /// The level, or none for a refusal.
    pub level: Option<Level>,
    /// Say that it was reproduced, in the level's place.
    pub reproduced: bool,
    /// Verified dependencies by level; none if nobody asked.
    pub dependencies: Option<std::collections::BTreeMap<String, u32>>,
}

#[derive(Serialize)]
struct Out<'a> {
    #[serde(rename = "_type")]
    statement_type: &'static str,
    subject: [SubjectOut<'a>; 1],
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: PredicateOut<'a>,
}

#[derive(Serialize)]
struct SubjectOut<'a> {
    name: &'a str,
    digest: DigestSet,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PredicateOut<'a> {
    verifier: VerifierOut<'a>,
    time_verified: String,
    resource_uri: &'a str,
    policy: PolicyOut<'a>,
    input_attestations: Vec<InputOut>,
    verification_result: &'static str,
    verified_levels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependency_levels: Option<std::collections::BTreeMap<String, u32>>,
    slsa_version: &'static str,
}

#[derive(Serialize)]
struct VerifierOut<'a> {
    id: &'a str,
    version: std::collections::BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
struct PolicyOut<'a> {
    uri: &'a str,
    digest: DigestSet,
}

#[derive(Serialize)]
struct InputOut {
    digest: DigestSet,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct In {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<SubjectIn>,
    predicate_type: String,
    #[serde(default)]
    predicate: Value,
}

#[derive(Deserialize)]
struct SubjectIn {
    #[serde(default)]
    digest: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PredicateIn {
    verifier: VerifierIn,
    time_verified: Option<String>,
    resource_uri: String,
    policy: PolicyIn,
    verification_result: String,
    verified_levels: Vec<String>,
}

#[derive(Deserialize)]
struct VerifierIn {
    id: String,
}

#[derive(Deserialize)]
struct PolicyIn {
    #[serde(default)]
    uri: String,
    #[serde(default)]
    digest: std::collections::BTreeMap<String, String>,
}

impl VerifiedSummary {
    /// Returns what it says.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Returns who signed.
    pub fn signer(&self) -> &SignedBy {
        &self.signer
    }

    /// Returns the level that is believed.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Returns the checks that were made, in order; none of them failed.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Gives up the proof and keeps its checks: for a refusal by a rule that comes after them.
    pub(crate) fn into_checks(self) -> Vec<Check> {
        self.checks
    }
}

/// Returns the bytes of a summary.
///
/// # Errors
/// None in practice: the members are texts.
pub(crate) fn write(verdict: Verdict<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let levels = match verdict.level {
        None => vec!["FAILED".to_owned()],
        Some(_) if verdict.reproduced => vec![REPRODUCED.to_owned()],
        Some(level) => vec![name_of(level)],
    };
    let version = env!("CARGO_PKG_VERSION");
    serde_json::to_vec(&Out {
        statement_type: STATEMENT_TYPE,
        subject: [SubjectOut {
            name: &verdict.subject.name,
            digest: sha256(&verdict.subject.blob.digest),
        }],
        predicate_type: PREDICATE_TYPE,
        predicate: PredicateOut {
            verifier: VerifierOut {
                id: verdict.verifier.as_str(),
                version: std::collections::BTreeMap::from([("kiln", version)]),
            },
            time_verified: verdict.time_verified,
            resource_uri: verdict.resource_uri,
            policy: PolicyOut { uri: verdict.policy_uri, digest: sha256(&verdict.policy_digest) },
            input_attestations: verdict
                .inputs
                .iter()
                .map(|digest| InputOut { digest: sha256(digest) })
                .collect(),
            verification_result: if verdict.level.is_some() { "PASSED" } else { "FAILED" },
            verified_levels: levels,
            dependency_levels: verdict.dependencies,
            slsa_version: SLSA_VERSION,
        },
    })
}

/// Returns what SLSA calls a level of the build track.
pub(crate) fn name_of(level: Level) -> String {
    format!("SLSA_BUILD_LEVEL_{}", level.number())
}

/// Says whether an envelope holds a summary, by what it says of itself.
pub(crate) fn is_summary(attestation: &Attestation) -> bool {
    let payload = attestation.envelope.unverified_payload();
    strict_json::parse_as::<In>(payload, &CAPS)
        .is_ok_and(|wire| wire.predicate_type == PREDICATE_TYPE)
}

/// Reads a summary that nobody has checked.
///
/// # Errors
/// What is no statement with a summary in it.
pub fn read(bytes: &[u8]) -> Result<Summary, JsonError> {
    let (wire, summary) = parse(bytes)?;
    if wire.predicate_type == PREDICATE_TYPE && wire.statement_type == STATEMENT_TYPE {
        return Ok(summary);
    }
    Err(JsonError::Shape(serde::de::Error::custom("no verification summary")))
}

/// Returns what a summary says, each line with its name; none of what is no summary.
pub(crate) fn told(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let summary = read(bytes).ok()?;
    let digest = summary.policy_digest.map_or_else(String::new, |digest| format!(" {digest}"));
    let lines = [
        ("result", if summary.passed { "PASSED".to_owned() } else { "FAILED".to_owned() }),
        ("resource", summary.resource_uri),
        ("levels", summary.levels.join(", ")),
        ("verifier", summary.verifier),
        ("policy", format!("{}{digest}", summary.policy_uri)),
        ("verified", summary.time_verified.unwrap_or_else(|| "not said".to_owned())),
    ];
    Some(lines.map(|(name, text)| (name.to_owned(), text)).into())
}

fn parse(bytes: &[u8]) -> Result<(In, Summary), JsonError> {
    let value = strict_json::parse(bytes, &CAPS)?;
    strict_json::exact(&value)?;
    let wire: In = serde_json::from_value(value).map_err(JsonError::Shape)?;
    let predicate = PredicateIn::deserialize(&wire.predicate).map_err(JsonError::Shape)?;
    let summary = Summary {
        verifier: predicate.verifier.id,
        time_verified: predicate.time_verified,
        resource_uri: predicate.resource_uri,
        policy_uri: predicate.policy.uri,
        policy_digest: predicate
            .policy
            .digest
            .get("sha256")
            .and_then(|hex| Digest::from_hex(hex).ok()),
        passed: predicate.verification_result == "PASSED",
        levels: predicate.verified_levels,
    };
    Ok((wire, summary))
}

/// A summary that a believed verifier signed, with the checks so far.
struct Heard<'a> {
    attestation: &'a Attestation,
    checks: Checks,
    confirmed: ConfirmedBy<'a>,
    summary: Summary,
    max_level: Level,
}

/// Judges all summaries of one artifact, each in its place. `now` is in seconds since 1970.
///
/// Of several that one verifier signed about the wanted address, and by the wanted policy where one is wanted,
/// the newest counts and the older ones are refused. FAILED without a time is newer than any: nothing shows that it
/// is older. What says nothing of the build track, such as [`REPRODUCED`], takes no other's place.
pub(crate) fn judge<'a>(
    artifact: &Artifact<'_>,
    attestations: impl IntoIterator<Item = &'a Attestation>,
    expected: &Expected<'a>,
    wanted: &Wanted,
    now: i64,
) -> Vec<Result<VerifiedSummary, Refusal>> {
    let heard: Vec<Result<Heard<'_>, Refusal>> =
        attestations.into_iter().map(|one| hear(artifact, one, expected, now)).collect();
    let all: Vec<Summary> = heard.iter().flatten().map(|one| one.summary.clone()).collect();
    heard.into_iter().map(|one| one.and_then(|one| weigh(one, &all, expected, wanted))).collect()
}

/// Steps 1 to 3.
fn hear<'a>(
    artifact: &Artifact<'_>,
    attestation: &'a Attestation,
    expected: &Expected<'a>,
    now: i64,
) -> Result<Heard<'a>, Refusal> {
    let mut checks = Checks::default();
    // 1. The signature.
    let envelope = &attestation.envelope;
    let confirmed = match signed_by::confirm(artifact, attestation, expected) {
        Ok(confirmed) => confirmed,
        Err(reason) => return Err(checks.stop(signed_by::subject_of(&reason), reason)),
    };
    checks.ok(Subject::Signature, confirmed.to_string());
    // 2. What it is about.
    if envelope.payload_type() != dsse::PAYLOAD_TYPE {
        let got = escape(envelope.payload_type().as_bytes());
        return Err(checks.stop(Subject::Statement, Reason::PayloadType { got }));
    }
    let summary = match about(envelope.unverified_payload(), artifact) {
        Ok(summary) => summary,
        Err((subject, reason)) => return Err(checks.stop(subject, reason)),
    };
    checks.ok(Subject::Digest, format!("{} is in the summary", artifact.digest.short()));
    // 3. The verifier.
    let (max_level, by) = match confirmed.believed(Role::Verifier(&summary.verifier), expected, now)
    {
        Ok(believed) => believed,
        Err(reason) => return Err(checks.stop(Subject::Builder, reason)),
    };
    checks.ok(Subject::Builder, format!("{}{by}", escape(summary.verifier.as_bytes())));
    Ok(Heard { attestation, checks, confirmed, summary, max_level })
}

/// Steps 4 to 8, among `all` that believed verifiers signed.
fn weigh(
    heard: Heard<'_>,
    all: &[Summary],
    expected: &Expected<'_>,
    wanted: &Wanted,
) -> Result<VerifiedSummary, Refusal> {
    let Heard { attestation, mut checks, confirmed, summary, max_level } = heard;
    // What is asked for is judged, or it is refused.
    if let Some(source) = expected.source {
        return Err(checks.stop(Subject::Source, source.unsaid()));
    }
    // 4 to 7. What it says.
    let level = match says(&summary, all, wanted, max_level) {
        Ok(level) => level,
        Err(reason) => return Err(checks.stop(Subject::Summary, reason)),
    };
    let detail = format!("{level} for {}", escape(summary.resource_uri.as_bytes()));
    checks.ok(Subject::Summary, detail);
    // 8. The log.
    checks.log(&confirmed, attestation);
    Ok(VerifiedSummary { summary, signer: confirmed.signer(), level, checks: checks.list })
}

impl Summary {
    fn seconds(&self) -> Option<i64> {
        let time: Option<jiff::Timestamp> = self.time_verified.as_deref()?.parse().ok();
        time.map(jiff::Timestamp::as_second)
    }

    /// Returns the highest level of the build track that it says, letter by letter: `SLSA_BUILD_LEVEL_03` is no level
    /// that a track has.
    fn claimed(&self) -> Option<Level> {
        let says = |level: &Level| self.levels.contains(&name_of(*level));
        [Level::L3, Level::L2, Level::L1].into_iter().find(says)
    }

    /// Returns the result and its time, for messages.
    fn result(&self) -> String {
        let time = self.time_verified.as_deref().unwrap_or("at no time");
        format!("{}, verified {time}", if self.passed { "PASSED" } else { "FAILED" })
    }

    /// Says whether this one counts in the other's place.
    fn outdoes(&self, other: &Summary, wanted: &Wanted) -> bool {
        let same = self.verifier == other.verifier
            && self.resource_uri == wanted.resource_uri
            && (wanted.policy.is_none()
                || self.policy_digest.is_none()
                || self.policy_digest == wanted.policy);
        let newer = match (self.seconds(), other.seconds()) {
            (Some(this), Some(other)) if self.passed => this > other,
            (Some(this), Some(other)) => this >= other,
            (Some(_), None) => true,
            (None, _) => !self.passed,
        };
        same && newer && (!self.passed || self.claimed().is_some())
    }
}

fn about(payload: &[u8], artifact: &Artifact<'_>) -> Result<Summary, (Subject, Reason)> {
    let unreadable =
        |error| (Subject::Statement, Reason::Statement(crate::claims::ClaimsError::Json(error)));
    let (wire, summary) = parse(payload).map_err(unreadable)?;
    let kinds = [
        ("_type", STATEMENT_TYPE, &wire.statement_type),
        ("predicateType", PREDICATE_TYPE, &wire.predicate_type),
    ];
    for (member, expected, got) in kinds {
        if expected != got {
            let got = escape(got.as_bytes());
            let error = crate::claims::ClaimsError::Kind { member, expected, got };
            return Err((Subject::Statement, Reason::Statement(error)));
        }
    }
    let hex = artifact.digest.hex();
    if wire.subject.iter().any(|one| one.digest.get("sha256") == Some(&hex)) {
        return Ok(summary);
    }
    let got = wire.subject.iter().filter_map(|one| one.digest.get("sha256"));
    let got = got.map(|hex| escape(hex.as_bytes())).take(4).collect::<Vec<_>>().join(", ");
    Err((Subject::Digest, Reason::Digest { expected: artifact.digest.to_string(), got }))
}

fn says(
    summary: &Summary,
    all: &[Summary],
    wanted: &Wanted,
    max_level: Level,
) -> Result<Level, Reason> {
    let wrong = |what, expected: &str, got: &str| {
        let (expected, got) = (escape(expected.as_bytes()), escape(got.as_bytes()));
        Err(Reason::Summary { what, expected, got })
    };
    if summary.resource_uri != wanted.resource_uri {
        return wrong("is about another resource", &wanted.resource_uri, &summary.resource_uri);
    }
    if !summary.passed {
        return wrong("does not say PASSED", "PASSED", &summary.result());
    }
    if let Some(newer) = all.iter().find(|one| one.outdoes(summary, wanted)) {
        let expected = format!("the verifier's last word: {}", newer.result());
        return wrong("is not the newest of its verifier", &expected, &summary.result());
    }
    let got = summary.levels.join(", ");
    let Some(level) = summary.claimed().map(|level| level.min(max_level)) else {
        return wrong("says nothing of the build track", &name_of(wanted.level), &got);
    };
    if level < wanted.level {
        let got = format!("{got}, believed up to {max_level}");
        return wrong("says a lower level", &name_of(wanted.level), &got);
    }
    match (wanted.policy, summary.policy_digest) {
        (Some(wanted), None) => wrong("names no digest of its policy", &wanted.to_string(), "none"),
        (Some(wanted), Some(got)) if wanted != got => {
            wrong("was made with another policy", &wanted.to_string(), &got.to_string())
        }
        (Some(_) | None, _) => Ok(level),
    }
}
