//! `inspect`: what a statement claims, in fields that can be told in order. It decides nothing.
//!
//! No signature is checked here and no key is asked for, so everything in a [`Story`] is a claim of
//! whoever wrote the file. What a reader computes afresh (is it signed, logged, rebuilt) is not in
//! it; `verify` answers that. Texts are as the statement has them, untrusted: whoever prints them
//! escapes them.
//!
//! Pure. Source: the order of telling is that of kiln's own reference, "provenance that can be read".

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::bundle::{self, Attestation, EvidenceError};
use crate::claims::{self, ClaimsError, Dependency, Statement};
use crate::dsse;
use crate::predicate;
use crate::sigstore;
use crate::strict_json::{self, Caps};
use crate::vsa;

/// Tools worth naming in one sentence: the name in a purl up to its version suffix, and what people
/// call it.
const TOOLS: [(&str, &str); 12] = [
    ("clang", "clang"),
    ("cmake", "cmake"),
    ("g++", "g++"),
    ("gcc", "gcc"),
    ("ghc", "ghc"),
    ("golang", "go"),
    ("make", "make"),
    ("nodejs", "node"),
    ("openjdk", "openjdk"),
    ("python3", "python"),
    ("rustc", "rustc"),
    ("rust", "rust"),
];

/// One envelope of the file.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Told {
    /// Provenance.
    Provenance(Box<Story>),
    /// A statement of another type, or a payload that is no statement.
    Other {
        /// The payload's type.
        payload_type: String,
        /// The predicate's type, if there is one.
        predicate_type: Option<String>,
        /// The subjects' names and digests, as they stand.
        subjects: Vec<ToldSubject>,
        /// What a predicate of ours says, each line with its name; empty for any other.
        says: Vec<(String, String)>,
        /// Who is named as the signer.
        #[serde(flatten)]
        signer: NamedSigner,
    },
}

/// Who is named as the signer, and when it is said to have signed. Nothing of it is checked.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedSigner {
    /// The key that the bundle names: `SHA256:…`.
    pub named_key: Option<String>,
    /// Whom its certificate names.
    pub named_identity: Option<NamedIdentity>,
    /// Whether a certificate is there, readable or not.
    pub has_certificate: bool,
    /// When, RFC 3339, by a log's entry or a timestamp.
    pub signed_at: Option<String>,
    /// Whether a log entry lies in the bundle.
    pub has_log_entry: bool,
}

/// Whom a certificate names; escaped.
#[derive(Clone, Debug, Serialize)]
pub struct NamedIdentity {
    /// Its subject.
    pub subject: String,
    /// Who vouched for it.
    pub issuer: String,
}

/// A file that the statement speaks for.
#[derive(Clone, Debug, Serialize)]
pub struct ToldSubject {
    /// Its name.
    pub name: String,
    /// Its SHA-256 as `sha256:…`, if it has one.
    pub digest: Option<model::Digest>,
}

/// What a provenance statement claims.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// What was made.
    pub subjects: Vec<ToldSubject>,
    /// The build type.
    pub build_type: String,
    /// Who says that it built it.
    pub builder: String,
    /// The versions of the builder's parts.
    pub builder_version: BTreeMap<String, String>,
    /// When it started, RFC 3339.
    pub started: Option<String>,
    /// When it ended, RFC 3339.
    pub finished: Option<String>,
    /// The run's name.
    pub invocation: Option<String>,
    /// From what.
    pub source: ToldSource,
    /// What the user chose: all external parameters.
    pub parameters: BTreeMap<String, String>,
    /// `internalParameters`, as they stand.
    pub internal_parameters: serde_json::Map<String, Value>,
    /// What steps widened or pinned, `step.option` to value.
    pub options: BTreeMap<String, String>,
    /// What went in.
    pub inputs: Inputs,
    /// Compilers and the like among the inputs.
    pub tools: Vec<Tool>,
    /// Whether it claims that the network was off in every step.
    pub network_off: bool,
    /// What it claims was enforced.
    pub enforced: Vec<ToldMechanism>,
    /// What ran the steps: `native`, `docker`, …
    pub backend: Option<String>,
    /// Guarantees that were absent, with the reason.
    pub absent: BTreeMap<String, String>,
    /// Guarantees that the user allowed to be absent.
    pub waivers: Vec<String>,
    /// The steps, as they stand, and how many there were.
    pub steps: Vec<Value>,
    /// How many steps there were.
    pub steps_total: u64,
    /// Whether it can be built again: `self-contained`, `refetchable` or `host-bound`.
    pub rebuild: Option<String>,
    /// What else came of the run.
    pub byproducts: Vec<ToldFile>,
    /// The rest of `runDetails`: limits, host, claims of a CI.
    pub more: serde_json::Map<String, Value>,
    /// Who is named as the signer.
    #[serde(flatten)]
    pub signer: NamedSigner,
}

/// The source.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ToldSource {
    /// Where it is published, or `local`.
    pub uri: String,
    /// The commit, or `none`.
    pub commit: String,
    /// Whether the files differed from it.
    pub dirty: bool,
    /// The git tree, computed from the files.
    pub tree: Option<String>,
    /// The build file, below the repository's root.
    #[serde(rename = "buildFile")]
    pub build_file: Option<ToldFile>,
    /// The lock files.
    pub locks: Vec<ToldFile>,
}

/// A file by name and digest.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToldFile {
    /// Its name.
    pub name: String,
    /// Its SHA-256, if it has a well-formed one.
    pub digest: Option<model::Digest>,
    /// Its media type.
    pub media_type: Option<String>,
}

/// The inputs, counted.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// How many there are; with a manifest that is not at hand, what the statement says of it.
    pub total: usize,
    /// How many of those that could be read are named by a digest.
    pub pinned: usize,
    /// Counts by role.
    pub by_role: BTreeMap<String, usize>,
    /// Environment inputs, counted by kind: `host`, `deb`, `oci`, …
    pub environment_kinds: BTreeMap<String, usize>,
    /// The dependency manifest, where the list moved there.
    pub manifest: Option<ToldFile>,
}

/// A tool among the inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tool {
    /// What people call it.
    pub name: String,
    /// Its version, as the package has it.
    pub version: String,
}

/// One mechanism.
#[derive(Clone, Debug, Serialize)]
pub struct ToldMechanism {
    /// The guarantee.
    pub guarantee: String,
    /// The mechanism.
    pub mechanism: String,
    /// What it was set to.
    pub detail: String,
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The file is neither a bundle nor lines of envelopes.
    #[error("read the evidence")]
    Evidence(#[source] EvidenceError),
    /// A provenance statement that can not be read.
    #[error("read the statement")]
    Statement(#[source] ClaimsError),
    /// A dependency manifest that can not be read.
    #[error("read the dependency manifest")]
    Manifest(#[source] ClaimsError),
}

/// Tells what each envelope of a bundle or line file claims. `manifest` is the content of
/// `X.dependencies.json`, where it is at hand; it is read only if the statement names its digest.
///
/// # Errors
/// Refuses what can not be read. A bad signature is not noticed here.
pub fn inspect(bytes: &[u8], manifest: Option<&[u8]>) -> Result<Vec<Told>, InspectError> {
    let attestations = bundle::read(bytes).map_err(InspectError::Evidence)?;
    attestations.iter().map(|attestation| tell(attestation, manifest)).collect()
}

fn tell(attestation: &Attestation, manifest: Option<&[u8]>) -> Result<Told, InspectError> {
    let payload = attestation.envelope.unverified_payload();
    match Statement::read(payload) {
        Ok(statement) => {
            story(statement, attestation, manifest).map(Box::new).map(Told::Provenance)
        }
        Err(ClaimsError::Kind { .. }) => Ok(other(attestation)),
        Err(_) if attestation.envelope.payload_type() != dsse::PAYLOAD_TYPE => {
            Ok(other(attestation))
        }
        // Classic metadata of in-toto has the same payload type and is no statement.
        Err(_) if matches!(other(attestation), Told::Other { ref says, .. } if !says.is_empty()) => {
            Ok(other(attestation))
        }
        Err(error) => Err(InspectError::Statement(error)),
    }
}

fn story(
    statement: Statement,
    attestation: &Attestation,
    manifest: Option<&[u8]>,
) -> Result<Story, InspectError> {
    let named = statement.manifest().and_then(Dependency::sha256);
    let listed = match manifest.filter(|bytes| named == Some(model::Digest::of(bytes))) {
        Some(bytes) => Some(claims::read_manifest(bytes).map_err(InspectError::Manifest)?),
        None => None,
    };
    let all = listed.as_deref().unwrap_or(&statement.dependencies);
    let mut more = statement.run_details.clone();
    let steps = more.remove("kiln_steps").unwrap_or_default();
    let absent = more.remove("kiln_absent").and_then(|value| serde_json::from_value(value).ok());
    let backend = more.remove("kiln_backend").and_then(|value| value.as_str().map(str::to_owned));
    let rebuild = more.remove("kiln_rebuild").and_then(|value| value.as_str().map(str::to_owned));
    let listed_steps = steps.get("listed").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(Story {
        subjects: subjects(&statement),
        source: source(&statement, all),
        options: statement.options(),
        inputs: inputs(&statement, all, listed.is_some()),
        tools: tools(all),
        waivers: statement.waivers().into_iter().map(str::to_owned).collect(),
        network_off: statement.enforced.iter().any(|one| one.guarantee == "network"),
        steps_total: steps
            .get("total")
            .and_then(Value::as_u64)
            .unwrap_or(listed_steps.len() as u64),
        steps: listed_steps,
        absent: absent.unwrap_or_default(),
        backend,
        rebuild,
        more,
        enforced: statement.enforced.into_iter().map(mechanism).collect(),
        byproducts: statement.byproducts.iter().map(told_file).collect(),
        parameters: statement
            .external_parameters
            .into_iter()
            .map(|(name, value)| (name, value.unwrap_or_else(|| "(no text)".to_owned())))
            .collect(),
        build_type: statement.build_type,
        builder: statement.builder,
        builder_version: statement.builder_version,
        started: statement.started,
        finished: statement.finished,
        invocation: statement.invocation,
        internal_parameters: statement.internal_parameters,
        signer: signer(attestation),
    })
}

fn signer(attestation: &Attestation) -> NamedSigner {
    let claimed = attestation.whole.as_deref().map(sigstore::claimed).unwrap_or_default();
    let signed = claimed.signed.and_then(|time| jiff::Timestamp::from_second(time).ok());
    NamedSigner {
        named_key: attestation.hint.as_ref().map(|hint| format!("SHA256:{hint}")),
        named_identity: claimed
            .identity
            .map(|one| NamedIdentity { subject: one.subject, issuer: one.issuer }),
        has_certificate: attestation.certificate,
        signed_at: signed.map(|time| time.to_string()),
        has_log_entry: attestation.has_log_entry(),
    }
}

fn subjects(statement: &Statement) -> Vec<ToldSubject> {
    let told = |one: &claims::Subject| ToldSubject { name: one.name.clone(), digest: one.digest };
    statement.subjects.iter().map(told).collect()
}

fn source(statement: &Statement, all: &[Dependency]) -> ToldSource {
    let of_role = |role: &str| {
        let role = role.to_owned();
        all.iter().filter(move |one| one.annotation("role") == Some(role.as_str()))
    };
    let commit = statement.parameter("commit");
    let is_project =
        |one: &&Dependency| one.digests.get("gitCommit").is_some_and(|id| id == commit);
    ToldSource {
        uri: statement.parameter("source").to_owned(),
        commit: commit.to_owned(),
        dirty: statement.is_dirty(),
        tree: of_role("source")
            .find(is_project)
            .and_then(|one| one.digests.get("gitTree").cloned()),
        build_file: of_role("build-file").next().map(told_file),
        locks: of_role("lock").map(told_file).collect(),
    }
}

fn inputs(statement: &Statement, all: &[Dependency], is_listed: bool) -> Inputs {
    let mut inputs = Inputs {
        total: all.len(),
        pinned: all.iter().filter(|one| one.is_pinned()).count(),
        manifest: statement.manifest().map(told_file),
        ..Inputs::default()
    };
    for one in all {
        let role = one.annotation("role").unwrap_or("none");
        *inputs.by_role.entry(role.to_owned()).or_default() += 1;
        if role == "environment" {
            let kind = one.annotation("kind").unwrap_or("none").to_owned();
            *inputs.environment_kinds.entry(kind).or_default() += 1;
        }
    }
    if let Some(entry) = statement.manifest().filter(|_| !is_listed) {
        let count = entry.annotation("entries").and_then(|text| text.parse().ok());
        inputs.total = count.unwrap_or(inputs.total);
    }
    inputs
}

/// Finds the compilers and the like among the inputs by their purls.
fn tools(all: &[Dependency]) -> Vec<Tool> {
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    for (name, version) in all.iter().filter_map(|one| purl(one.uri.as_deref()?)) {
        for (prefix, called) in TOOLS {
            let rest = name.strip_prefix(prefix);
            let is_tool = rest.is_some_and(|rest| {
                rest.is_empty()
                    || rest.strip_prefix('-').is_some_and(|rest| {
                        rest.starts_with(|letter: char| letter.is_ascii_digit())
                            && !rest.contains(|letter: char| letter.is_ascii_alphabetic())
                    })
            });
            if is_tool {
                // `gcc-12` tells more than `gcc`, which may be a package of links only.
                let is_exact = rest.is_some_and(|rest| !rest.is_empty());
                if is_exact || !found.contains_key(called) {
                    found.insert(called, version.clone());
                }
            }
        }
    }
    found.into_iter().map(|(name, version)| Tool { name: name.to_owned(), version }).collect()
}

/// Returns name and version of a purl, without percent signs.
fn purl(uri: &str) -> Option<(String, String)> {
    let rest = uri.strip_prefix("pkg:")?;
    let rest = rest.split(['?', '#']).next()?;
    let (path, version) = rest.rsplit_once('@')?;
    let name = path.rsplit('/').next()?;
    let plain = |text: &str| {
        text.replace("%2B", "+").replace("%2b", "+").replace("%3A", ":").replace("%3a", ":")
    };
    Some((plain(name), plain(version)))
}

fn mechanism(one: claims::Enforced) -> ToldMechanism {
    ToldMechanism { guarantee: one.guarantee, mechanism: one.mechanism, detail: one.detail }
}

fn told_file(one: &Dependency) -> ToldFile {
    ToldFile { name: one.name.clone(), digest: one.sha256(), media_type: one.media_type.clone() }
}

/// Tells what can be told of a payload that is no provenance.
fn other(attestation: &Attestation) -> Told {
    const CAPS: Caps = Caps { bytes: 16 << 20, depth: 64, values: 1 << 20 };
    let payload = attestation.envelope.unverified_payload();
    let value = strict_json::parse(payload, &CAPS).unwrap_or_default();
    let told = |one: &Value| ToldSubject {
        name: one.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        digest: one
            .pointer("/digest/sha256")
            .and_then(Value::as_str)
            .and_then(|hex| model::Digest::from_hex(hex).ok()),
    };
    let subjects = value.get("subject").and_then(Value::as_array);
    Told::Other {
        payload_type: attestation.envelope.payload_type().to_owned(),
        predicate_type: value.get("predicateType").and_then(Value::as_str).map(str::to_owned),
        subjects: subjects.map(|all| all.iter().map(told).collect()).unwrap_or_default(),
        says: value
            .get("predicateType")
            .and_then(Value::as_str)
            .and_then(|kind| match kind {
                vsa::PREDICATE_TYPE => vsa::told(payload),
                _ => predicate::told::told(kind, value.get("predicate")?),
            })
            .or_else(|| predicate::told::classic(&value))
            .unwrap_or_default(),
        signer: signer(attestation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_found_by_their_packages_and_nothing_else_is() {
        let of = |uris: &[&str]| {
            let all: Vec<Dependency> = uris
                .iter()
                .map(|uri| Dependency { uri: Some((*uri).to_owned()), ..Dependency::default() })
                .collect();
            tools(&all)
                .into_iter()
                .map(|tool| format!("{} {}", tool.name, tool.version))
                .collect::<Vec<_>>()
                .join(", ")
        };
        assert_eq!(
            of(&[
                "pkg:deb/debian/gcc@4%3A12.2.0-3?arch=amd64",
                "pkg:deb/debian/gcc-12@12.2.0-14?arch=amd64",
                "pkg:deb/debian/gcc-12-base@12.2.0-14",
                "pkg:deb/debian/g%2B%2B-12@12.2.0-14",
                "pkg:deb/debian/makedev@2.3",
                "pkg:cargo/rustc_version@0.4.0",
                "https://example.org/make@1",
            ]),
            "g++ 12.2.0-14, gcc 12.2.0-14"
        );
        assert_eq!(of(&[]), "");
    }
}
