//! `verify`: the trust decision, in numbered steps, at a given time.
//!
//! 1. The evidence is read: a bundle or lines of envelopes, each with one signature.
//! 2. A key of the verifier's own makes the signature hold; the key fixes the algorithm, the
//!    bundle's hint only says which to try first. Or a certificate does, for an identity that the
//!    verifier names, under the verifier's own trusted root ([`crate::sigstore`]).
//! 3. The payload is a provenance statement of a build type that is known, and every external
//!    parameter is known to it.
//! 4. A subject has the file's digest.
//! 5. A trust entry lets the key speak for the statement's builder, now. A bare key stands for
//!    level 1 at most, whatever the statement says.
//! 6. The source is the expected one, if one is expected.
//! 7. The network was off and every input is named by digest.
//! 8. Whether it stands in a log. With a trusted root what a bundle says of logs and timestamps must
//!    hold; without one it is only told that it says something.
//!
//! Each envelope is judged alone: all checks must hold for one and the same. From step 4 on all
//! checks are made, so that a refusal names everything that is wrong. The statement is parsed from
//! the bytes whose signature held, after it held, and never again.
//!
//! Opens no socket and reads no clock. Nothing else makes a [`Verified`].
//! What it does not catch: code that is malicious, or a builder that lies. Provenance says how a
//! file came to be, not whether it is good.
//!
//! Source: SLSA v1.2, verifying artifacts; in-toto attestation, docs/validation.md; DSSE 1.0.2.

use model::Digest;
use model::text::escape;

use crate::bundle::{self, Attestation};
use crate::claims::{self, Statement};
use crate::coherent;
use crate::dsse::{self, Envelope};
use crate::expected_source::{ExpectedSource, NAMELESS};
use crate::predicate::provenance::{
    BUILD_PARAMETERS, BUILD_TYPE_BUILD, BUILD_TYPE_RUN, RUN_PARAMETERS,
};
use crate::public_key::PublicKey;
pub use crate::signed_by::SignedBy;
use crate::signed_by::{self, ConfirmedBy, Role};
use crate::sigstore::{self, Identity, Root};
use crate::trust::{Level, Trust};
use crate::verdict::{Check, Outcome, Reason, Refusal, Subject};

/// The file that is to be believed.
#[derive(Clone, Copy, Debug)]
pub struct Artifact<'a> {
    /// Its name, for messages only: a statement is about a digest.
    pub name: &'a str,
    /// What its bytes hash to.
    pub digest: Digest,
}

/// What speaks for the file.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The content of `X.sigstore.json` or `X.intoto.jsonl`.
    pub bytes: &'a [u8],
    /// The content of `X.dependencies.json`, where it is at hand.
    pub manifest: Option<&'a [u8]>,
}

/// What the verifier believes and expects.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Who is believed.
    pub trust: &'a Trust,
    /// A bare key: it alone is believed then, for any builder, at level 1.
    pub key: Option<&'a PublicKey>,
    /// An identity: it alone is believed then, for any builder, at level 1.
    pub identity: Option<&'a Identity>,
    /// Whose certificates, logs and timestamps are believed.
    pub root: Option<&'a Root>,
    /// The source, where one is expected.
    pub source: Option<&'a ExpectedSource>,
}

/// A value whose checks all held. Holding one is the proof.
#[derive(Debug)]
pub struct Verified<T> {
    value: T,
    payload: Vec<u8>,
    listed: Vec<claims::Dependency>,
    signer: SignedBy,
    level: Level,
    checks: Vec<Check>,
}

impl<T> Verified<T> {
    /// Returns what was verified.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Returns the statement's bytes, as they were signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Returns the list of inputs that moved out of the statement, where it did and is at hand; it has the
    /// digest that the statement names.
    pub fn listed(&self) -> Option<&[claims::Dependency]> {
        if self.listed.is_empty() { None } else { Some(&self.listed) }
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

/// Decides whether the evidence speaks for the file. `now` is in seconds since 1970.
///
/// # Errors
/// A refusal with a reason for each check that failed; of several envelopes, that of the one that
/// came furthest.
pub fn verify(
    artifact: &Artifact<'_>,
    evidence: &Evidence<'_>,
    expected: &Expected<'_>,
    now: i64,
) -> Result<Verified<Statement>, Refusal> {
    let mut furthest: Option<Refusal> = None;
    for (_, judged) in judge_each(artifact, evidence, expected, now)? {
        let refusal = match judged {
            Ok(verified) => return Ok(verified),
            Err(refusal) => refusal,
        };
        furthest = Some(further(furthest, refusal));
    }
    // `bundle::read` returns at least one; if it ever returned none, that is no pass either.
    Err(furthest.unwrap_or(Refusal { checks: Vec::new() }))
}

/// An envelope and what came of judging it.
pub(crate) type Judged = (Attestation, Result<Verified<Statement>, Refusal>);

/// Judges every envelope of the evidence alone.
pub(crate) fn judge_each(
    artifact: &Artifact<'_>,
    evidence: &Evidence<'_>,
    expected: &Expected<'_>,
    now: i64,
) -> Result<Vec<Judged>, Refusal> {
    // 1. Read the evidence.
    let attestations = bundle::read(evidence.bytes).map_err(|error| {
        let mut checks = Checks::default();
        checks.failed(Subject::Evidence, Reason::Evidence(error));
        checks.refusal()
    })?;
    let judged = attestations.into_iter().map(|attestation| {
        let judged = judge(artifact, &attestation, evidence.manifest, expected, now);
        (attestation, judged)
    });
    Ok(judged.collect())
}

/// Returns the refusal of the envelope that came furthest.
pub(crate) fn further(best: Option<Refusal>, other: Refusal) -> Refusal {
    match best {
        Some(best) if passed(&best) >= passed(&other) => best,
        Some(_) | None => other,
    }
}

/// Says whether an envelope holds a statement of this type about this digest, signed by this key. It is
/// no trust decision: of what the statement says nothing is looked at.
pub fn names(
    envelope: &Envelope,
    key: &PublicKey,
    predicate_type: &'static str,
    digest: &Digest,
) -> bool {
    let signed = key.check(&envelope.signed_bytes(), envelope.signature()).is_ok();
    let is_statement = envelope.payload_type() == dsse::PAYLOAD_TYPE;
    signed
        && is_statement
        && claims::read_subjects(envelope.unverified_payload(), predicate_type)
            .is_ok_and(|subjects| subjects.iter().any(|one| one.digest == Some(*digest)))
}

/// Judges one envelope alone; `manifest` is the content of `X.dependencies.json`, where it is at hand.
pub(crate) fn judge(
    artifact: &Artifact<'_>,
    attestation: &Attestation,
    manifest: Option<&[u8]>,
    expected: &Expected<'_>,
    now: i64,
) -> Result<Verified<Statement>, Refusal> {
    let mut checks = Checks::default();
    // 2. The signature.
    let confirmed = match signed_by::confirm(artifact, attestation, expected) {
        Ok(confirmed) => confirmed,
        Err(reason) => return Err(checks.stop(signed_by::subject_of(&reason), reason)),
    };
    checks.ok(Subject::Signature, confirmed.to_string());
    // 3. The statement.
    let statement = match read_statement(&attestation.envelope) {
        Ok(statement) => statement,
        Err(reason) => return Err(checks.stop(Subject::Statement, reason)),
    };
    checks.ok(Subject::Statement, escape(statement.build_type.as_bytes()));
    // 4. The digest.
    checks.add(Subject::Digest, check_digest(artifact, &statement));
    // 5. The builder.
    let role = Role::Builder(&statement.builder);
    let level = match confirmed.believed(role, expected, now) {
        Ok((level, by)) => {
            checks.ok(Subject::Builder, format!("{}{by}", escape(statement.builder.as_bytes())));
            level
        }
        Err(reason) => {
            checks.failed(Subject::Builder, reason);
            Level::L1
        }
    };
    // 6. The source.
    match (coherent::commit(&statement), expected.source) {
        (Err(reason), _) => checks.failed(Subject::Source, reason),
        (Ok(()), Some(source)) => match source.check(&statement) {
            Ok(found) if source.pins_nothing() => {
                checks.skip(Subject::Source, format!("{found}: {NAMELESS}"));
            }
            checked => checks.add(Subject::Source, checked),
        },
        (Ok(()), None) => {
            checks.skip(Subject::Source, crate::expected_source::describe(&statement))
        }
    }
    // 7. Hermetic.
    let mut listed = Vec::new();
    checks.add(Subject::Hermetic, check_hermetic(&statement, manifest, &mut listed));
    // 8. The log.
    checks.log(&confirmed, attestation);
    if checks.any_failed {
        return Err(checks.refusal());
    }
    Ok(Verified {
        value: statement,
        payload: attestation.envelope.unverified_payload().to_vec(),
        listed,
        signer: confirmed.signer(),
        level,
        checks: checks.list,
    })
}

/// Step 3: reads the payload and refuses every parameter that the build type does not name.
fn read_statement(envelope: &Envelope) -> Result<Statement, Reason> {
    if envelope.payload_type() != dsse::PAYLOAD_TYPE {
        return Err(Reason::PayloadType { got: escape(envelope.payload_type().as_bytes()) });
    }
    let statement = Statement::read(envelope.unverified_payload()).map_err(Reason::Statement)?;
    let names: &[&'static str] = match statement.build_type.as_str() {
        BUILD_TYPE_BUILD => &BUILD_PARAMETERS,
        BUILD_TYPE_RUN => &RUN_PARAMETERS,
        other => return Err(Reason::BuildType { got: escape(other.as_bytes()) }),
    };
    let parameters = &statement.external_parameters;
    if let Some(name) = parameters.keys().find(|name| !names.contains(&name.as_str())) {
        return Err(Reason::UnknownParameter { name: escape(name.as_bytes()) });
    }
    let is_text = |name: &&&str| matches!(parameters.get(**name), Some(Some(_)));
    match names.iter().find(|name| !is_text(name)) {
        Some(name) => Err(Reason::BadParameter { name }),
        None => Ok(statement),
    }
}

/// Step 4.
fn check_digest(artifact: &Artifact<'_>, statement: &Statement) -> Result<String, Reason> {
    let found = statement.subjects.iter().find(|one| one.digest == Some(artifact.digest));
    if let Some(subject) = found {
        let (short, name) = (artifact.digest.short(), escape(subject.name.as_bytes()));
        return Ok(if subject.name == artifact.name {
            format!("{short} is in the statement")
        } else {
            format!("{short} is in the statement, under the name {name}")
        });
    }
    let shown = statement.subjects.iter().take(4).map(|one| match one.digest {
        Some(digest) => format!("{digest} ({})", escape(one.name.as_bytes())),
        None => format!("no sha256 ({})", escape(one.name.as_bytes())),
    });
    Err(Reason::Digest {
        expected: artifact.digest.to_string(),
        got: shown.collect::<Vec<_>>().join(", "),
    })
}

/// Step 7. Fills in the list of inputs that moved out of the statement, where it is at hand.
fn check_hermetic(
    statement: &Statement,
    manifest: Option<&[u8]>,
    listed: &mut Vec<claims::Dependency>,
) -> Result<String, Reason> {
    let held = coherent::guarantees(statement)?;
    if let (Some(entry), Some(bytes)) = (statement.manifest(), manifest) {
        let got = Digest::of(bytes);
        if entry.sha256() != Some(got) {
            let expected = entry.sha256().map_or_else(String::new, |digest| digest.to_string());
            return Err(Reason::Manifest { expected, got: got.to_string() });
        }
        *listed = claims::read_manifest(bytes).map_err(Reason::ManifestUnreadable)?;
    }
    let listed = listed.as_slice();
    let all = if listed.is_empty() { statement.dependencies.as_slice() } else { listed };
    if all.is_empty() {
        return Err(Reason::NoInputs);
    }
    if let Some(one) = statement.dependencies.iter().chain(listed).find(|one| !one.is_pinned()) {
        return Err(Reason::NotPinned { name: escape(one.name.as_bytes()) });
    }
    let count = all.len();
    Ok(match statement.manifest() {
        Some(entry) if listed.is_empty() => {
            let entries = escape(entry.annotation("entries").unwrap_or("all").as_bytes());
            let name = escape(entry.name.as_bytes());
            format!("{held}, {entries} inputs listed in {name}, which is named by digest")
        }
        _ => format!("{held}, {count} of {count} inputs by digest"),
    })
}

/// Step 8. What was proven, or else why nothing was.
fn log_detail(confirmed: &ConfirmedBy<'_>, attestation: &Attestation) -> Result<String, String> {
    let vouched = confirmed.vouched();
    let signed_at = |found: &sigstore::Confirmed| match found.times.first() {
        None => String::new(),
        Some(time) => match jiff::Timestamp::from_second(*time) {
            Ok(time) => format!(", signed at {time}"),
            Err(_) => format!(", signed {time} s after 1970"),
        },
    };
    match vouched {
        Some(found) if found.logs > 0 => Ok(format!(
            "recorded in {}{}",
            if found.logs == 1 { "a transparency log" } else { "transparency logs" },
            signed_at(found)
        )),
        Some(found) if !found.times.is_empty() => {
            Ok(format!("not recorded in a transparency log; time-stamped{}", signed_at(found)))
        }
        _ if attestation.has_log_entry() => {
            Err("has a log entry, which needs --trusted-root to be checked".to_owned())
        }
        _ => Err("not recorded in a transparency log".to_owned()),
    }
}

/// Returns how many checks held.
pub(crate) fn passed(refusal: &Refusal) -> usize {
    refusal.checks.iter().filter(|check| matches!(check.outcome, Outcome::Ok)).count()
}

/// The checks so far.
#[derive(Default)]
pub(crate) struct Checks {
    pub(crate) list: Vec<Check>,
    any_failed: bool,
}

impl Checks {
    pub(crate) fn add(&mut self, subject: Subject, result: Result<String, Reason>) {
        match result {
            Ok(detail) => self.ok(subject, detail),
            Err(reason) => self.failed(subject, reason),
        }
    }

    pub(crate) fn ok(&mut self, subject: Subject, detail: String) {
        self.list.push(Check { subject, outcome: Outcome::Ok, detail });
    }

    pub(crate) fn skip(&mut self, subject: Subject, detail: String) {
        self.list.push(Check { subject, outcome: Outcome::NotApplicable, detail });
    }

    pub(crate) fn log(&mut self, confirmed: &ConfirmedBy<'_>, attestation: &Attestation) {
        match log_detail(confirmed, attestation) {
            Ok(detail) => self.ok(Subject::Log, detail),
            Err(detail) => self.skip(Subject::Log, detail),
        }
    }

    pub(crate) fn failed(&mut self, subject: Subject, reason: Reason) {
        self.any_failed = true;
        let detail = reason.to_string();
        self.list.push(Check { subject, outcome: Outcome::Failed(reason), detail });
    }

    pub(crate) fn stop(mut self, subject: Subject, reason: Reason) -> Refusal {
        self.failed(subject, reason);
        self.refusal()
    }

    pub(crate) fn refusal(self) -> Refusal {
        Refusal { checks: self.list }
    }
}
