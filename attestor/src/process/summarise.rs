//! The verdict about one file, made here: the attestor verifies for itself and signs what came of it.
//!
//! The caller chooses the evidence, the policy and the address, and nothing else. Whom to believe is this
//! attestor's own trust file, when is its own clock, and the file's digest is of the bytes that it hashed.
//! So the caller can not obtain a summary of its own choosing: a file that does not verify is summarised as
//! FAILED, and the policy is named by digest for whoever reads the summary.
//!
//! Which policies may be used at all can be fixed in the attestor's configuration.

use model::text::escape;
use model::{Digest, address};

use crate::builder::BuilderConfig;
use crate::order::check_name;
use crate::pipe::{Summarise, WhyRefused};
use crate::policy::{Accepted, Dependencies, Policy, Question, decide};
use crate::sigstore::Root;
use crate::trust::{Level, Trust};
use crate::verdict::{self, Reason, Refusal};
use crate::verify::{Artifact, Evidence, Expected};
use crate::vsa::{self, Verdict};

/// Longest address, in bytes.
const URI_BYTES_MAX: usize = 1024;
/// Most evidence files of one file.
const EVIDENCE_MAX: usize = 32;
/// Most files with attestations of dependencies.
const DEPENDENCIES_MAX: usize = 1024;
/// Most reasons that are told beside a verdict: more than a policy has rules.
const REASONS_MAX: usize = 64;
/// The code of a dependency that does not verify, KILN-0822.
const DEPENDENCY_REFUSED: u16 = 822;

/// Why no verdict is signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SummariseError {
    #[error("the policy can not be read: {problems} problems, the first at byte {at}")]
    Policy {
        problems: usize,
        at: usize,
        #[source]
        source: crate::policy::Problem,
    },
    #[error("the policy has no `uri` that says where it can be read")]
    PolicyUri,
    #[error("no verdict by policy {digest} is signed here; attestor.toml lists those that are")]
    PolicyNotAllowed { digest: Digest },
    #[error("`{got}` is no address: an absolute URI without credentials")]
    ResourceUri { got: String },
    #[error("{got} {what} are given, more than {most}")]
    Count { what: &'static str, got: usize, most: usize },
    #[error("the file's name")]
    Name(#[source] crate::order::Refused),
    #[error("attestations of dependencies can not be read")]
    Dependency(#[source] crate::policy::DependenciesError),
    #[error("it was not reproduced by independent builders, as the policy asks")]
    NotReproduced,
    #[error("{seconds} s since 1970 is no time that can be written")]
    Time { seconds: i64 },
    #[error("write the summary")]
    Write(#[source] serde_json::Error),
}

/// Whom this attestor believes.
#[derive(Clone, Copy)]
pub(super) struct Believed<'a> {
    pub(super) trust: &'a Trust,
    /// By what certificates are judged, where an identity is believed.
    pub(super) root: Option<&'a Root>,
}

/// A verdict that is passed, not yet signed.
pub(super) struct Passed {
    /// The bytes of the summary.
    pub(super) statement_bytes: Vec<u8>,
    /// Why the file is refused; empty where it is not.
    pub(super) refused: Vec<WhyRefused>,
}

/// Returns the bytes of the summary, and why it says FAILED where it does.
pub(super) fn statement(
    asked: &Summarise,
    config: &BuilderConfig,
    believed: Believed<'_>,
    now: i64,
) -> Result<Passed, SummariseError> {
    check_name(&asked.subject.name).map_err(SummariseError::Name)?;
    check_uri(&asked.resource_uri)?;
    let most = |what, got, most| match got > most {
        true => Err(SummariseError::Count { what, got, most }),
        false => Ok(()),
    };
    most("evidence files", asked.evidence.len(), EVIDENCE_MAX)?;
    let dependencies = asked.dependencies.as_ref();
    most("files of dependencies", dependencies.map_or(0, Vec::len), DEPENDENCIES_MAX)?;
    let policy = Policy::parse(asked.policy.as_bytes()).map_err(|mut problems| {
        let count = problems.len();
        let source = problems.swap_remove(0);
        SummariseError::Policy { problems: count, at: source.span.start, source }
    })?;
    let policy_uri = policy.uri().ok_or(SummariseError::PolicyUri)?;
    if !config.allows_policy(&policy.digest()) {
        return Err(SummariseError::PolicyNotAllowed { digest: policy.digest() });
    }
    let verdict = judge(asked, &policy, believed, now)?;
    let time = jiff::Timestamp::from_second(now);
    let statement_bytes = vsa::write(Verdict {
        subject: &asked.subject,
        verifier: config.verifier(),
        time_verified: time.map_err(|_| SummariseError::Time { seconds: now })?.to_string(),
        resource_uri: &asked.resource_uri,
        policy_uri,
        policy_digest: policy.digest(),
        inputs: verdict.inputs,
        level: verdict.level,
        reproduced: asked.reproduced,
        dependencies: verdict.dependencies,
    })
    .map_err(SummariseError::Write)?;
    Ok(Passed { statement_bytes, refused: verdict.refused })
}

struct Judged {
    level: Option<Level>,
    refused: Vec<WhyRefused>,
    inputs: Vec<Digest>,
    dependencies: Option<std::collections::BTreeMap<String, u32>>,
}

fn judge(
    asked: &Summarise,
    policy: &Policy,
    Believed { trust, root }: Believed<'_>,
    now: i64,
) -> Result<Judged, SummariseError> {
    let evidence: Vec<Evidence<'_>> = asked
        .evidence
        .iter()
        .map(|one| Evidence {
            bytes: one.text.as_bytes(),
            manifest: one.manifest.as_deref().map(str::as_bytes),
        })
        .collect();
    let decision = decide(&Question {
        artifact: Artifact { name: &asked.subject.name, digest: asked.subject.blob.digest },
        evidence: &evidence,
        expected: Expected { trust, key: None, identity: None, root, source: None },
        policy: Some(policy),
        summary: None,
        now,
    });
    let mut inputs: Vec<Digest> =
        asked.evidence.iter().map(|one| Digest::of(one.text.as_bytes())).collect();
    let mut level = decision.as_ref().ok().map(|decision| decision.level);
    if asked.reproduced && decision.as_ref().map_or(0, |decision| decision.reproduced) < 2 {
        return Err(SummariseError::NotReproduced);
    }
    let mut refused = why(decision.as_ref().err());
    let mut levels = None;
    if let (Some(texts), Ok(decision)) = (&asked.dependencies, &decision)
        && let Accepted::Provenance(verified) = &decision.accepted
    {
        let mut dependencies = Dependencies::default();
        for text in texts {
            dependencies.add(text.as_bytes()).map_err(SummariseError::Dependency)?;
            inputs.push(Digest::of(text.as_bytes()));
        }
        let tree = dependencies.walk(verified, trust, root, now);
        if let Some(bad) = tree.first_bad() {
            level = None;
            let text = format!("{}: {}", bad.name, bad.why());
            refused.push(WhyRefused { code: DEPENDENCY_REFUSED, text });
        }
        levels = Some(tree.levels());
    }
    inputs.sort_unstable();
    inputs.dedup();
    Ok(Judged { level, refused, inputs, dependencies: levels })
}

/// Returns the reasons of a refusal.
fn why(refusal: Option<&Refusal>) -> Vec<WhyRefused> {
    let Some(refusal) = refusal else { return Vec::new() };
    let one = |reason: &Reason| {
        let mut text = reason.to_string();
        if let Some((expected, got)) = reason.compared() {
            text.push_str(&format!(": expected {expected}, got {got}"));
        }
        WhyRefused { code: reason.code().number(), text }
    };
    let mut reasons: Vec<WhyRefused> = refusal.reasons().take(REASONS_MAX).map(one).collect();
    if reasons.is_empty() {
        let text = "nothing speaks for it".to_owned();
        reasons.push(WhyRefused { code: verdict::Code::NoStatement.number(), text });
    }
    reasons
}

fn check_uri(uri: &str) -> Result<(), SummariseError> {
    let host =
        uri.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    if address::is_plain(uri) && uri.len() <= URI_BYTES_MAX && !host.contains('@') {
        return Ok(());
    }
    let got = address::without_credentials(uri);
    Err(SummariseError::ResourceUri { got: escape(got.as_bytes()) })
}
