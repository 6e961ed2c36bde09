//! What a statement says, read into types. Reading is not trusting: nothing here is checked but the
//! shape.
//!
//! Members that the format does not know are read past, as in-toto asks, so that a newer statement
//! can be read; only [`Statement::external_parameters`] keeps every name, for `verify` refuses the
//! ones it does not know.
//!
//! Does no I/O. Source: in-toto attestation, spec/v1; SLSA v1.2, provenance v1.

use std::collections::BTreeMap;

use model::Digest;
use model::text::escape;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::predicate::dependencies::MANIFEST_MEDIA_TYPE;
use crate::predicate::provenance::PREDICATE_TYPE;
use crate::statement::{STATEMENT_BYTES_MAX, STATEMENT_TYPE};
use crate::strict_json::{self, Caps, JsonError};

/// Caps of a statement: as large as the attestor would write one, a million values, 64 deep.
const CAPS: Caps = Caps { bytes: STATEMENT_BYTES_MAX, depth: 64, values: 1 << 20 };
/// Caps of a dependency manifest: as large as a Record.
const MANIFEST_CAPS: Caps =
    Caps { bytes: model::record::RECORD_BYTES_MAX, depth: 16, values: 16 << 20 };

/// Most subjects of one statement: the limit of other verifiers.
pub const SUBJECTS_MAX: usize = 1024;
/// Most digests of one subject: the limit of other verifiers.
pub const SUBJECT_DIGESTS_MAX: usize = 32;

/// A SLSA provenance statement, as it was read.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What it is about.
    pub subjects: Vec<Subject>,
    /// The build type.
    pub build_type: String,
    /// What a user controlled: every member, known or not. A value that is no text stands as `None`.
    pub external_parameters: BTreeMap<String, Option<String>>,
    /// `internalParameters`, as they stand.
    pub internal_parameters: Map<String, Value>,
    /// What went in.
    pub dependencies: Vec<Dependency>,
    /// Who built it.
    pub builder: String,
    /// The versions of the builder's parts.
    pub builder_version: BTreeMap<String, String>,
    /// Guarantee and mechanism of each thing that was enforced in every step.
    pub enforced: Vec<Enforced>,
    /// `runDetails` without what stands above, as they stand.
    pub run_details: Map<String, Value>,
    /// The run's name.
    pub invocation: Option<String>,
    /// When it started, RFC 3339.
    pub started: Option<String>,
    /// When it ended, RFC 3339.
    pub finished: Option<String>,
    /// What else came of it.
    pub byproducts: Vec<Dependency>,
}

/// One subject: a label and what it hashes to. A subject without SHA-256 never matches.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its SHA-256, if it has one.
    pub digest: Option<Digest>,
}

/// One resource descriptor.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// Its address or purl.
    pub uri: Option<String>,
    /// Algorithm to value.
    #[serde(rename = "digest")]
    pub digests: BTreeMap<String, String>,
    /// Its media type.
    pub media_type: Option<String>,
    /// More about it.
    pub annotations: BTreeMap<String, Value>,
}

/// One mechanism that kept a guarantee.
#[derive(Clone, Debug, Deserialize)]
pub struct Enforced {
    /// The guarantee.
    pub guarantee: String,
    /// The mechanism.
    pub mechanism: String,
    /// What it was set to.
    #[serde(default)]
    pub detail: String,
}

/// Why bytes are no SLSA provenance statement.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// No strict JSON of this shape.
    #[error("the statement can not be read")]
    Json(#[source] JsonError),
    /// Another kind of document.
    #[error("`{member}` is `{got}`, not `{expected}`")]
    Kind {
        /// The member that says so.
        member: &'static str,
        /// What it has to be.
        expected: &'static str,
        /// What it is, escaped.
        got: String,
    },
    /// No subject, or more than [`SUBJECTS_MAX`].
    #[error("the statement has {got} subjects, which is none or more than {SUBJECTS_MAX}")]
    Subjects {
        /// How many.
        got: usize,
    },
    /// A subject whose name is no plain file name, or whose digests are none, too many or malformed.
    #[error("subject `{name}` is malformed")]
    Subject {
        /// Its name, escaped.
        name: String,
        /// What it has to have.
        expected: &'static str,
        /// What it has, escaped.
        got: String,
    },
    /// The same name twice.
    #[error("two subjects are named `{name}`")]
    SameSubject {
        /// The name, escaped.
        name: String,
    },
}

impl ClaimsError {
    /// Returns what was expected and what was got.
    pub fn compared(&self) -> (String, String) {
        match self {
            ClaimsError::Json(error) => (
                "strict JSON with the members of its format".to_owned(),
                format!("a document that {error}"),
            ),
            ClaimsError::Kind { member, expected, got } => {
                (format!("{member}: {expected}"), got.clone())
            }
            ClaimsError::Subjects { got } => {
                (format!("1 to {SUBJECTS_MAX} subjects"), got.to_string())
            }
            ClaimsError::Subject { expected, got, .. } => ((*expected).to_owned(), got.clone()),
            ClaimsError::SameSubject { name } => {
                ("each name once".to_owned(), format!("`{name}` twice"))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatementIn {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<SubjectIn>,
    predicate_type: String,
    #[serde(default)]
    predicate: Value,
}

#[derive(Deserialize)]
struct SubjectIn {
    name: String,
    #[serde(rename = "digest")]
    digests: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PredicateIn {
    build_definition: DefinitionIn,
    run_details: RunIn,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DefinitionIn {
    build_type: String,
    external_parameters: Map<String, Value>,
    #[serde(default)]
    internal_parameters: Map<String, Value>,
    #[serde(default)]
    resolved_dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct RunIn {
    builder: BuilderIn,
    #[serde(default)]
    metadata: MetadataIn,
    #[serde(default)]
    byproducts: Vec<Dependency>,
    #[serde(rename = "kiln_enforced", default)]
    enforced: Vec<Enforced>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct BuilderIn {
    id: String,
    #[serde(default)]
    version: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct MetadataIn {
    invocation_id: Option<String>,
    started_on: Option<String>,
    finished_on: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestIn {
    version: u32,
    dependencies: Vec<Dependency>,
}

impl Statement {
    /// Reads a statement of SLSA provenance v1.
    ///
    /// # Errors
    /// Refuses JSON with a member twice, another kind of statement or predicate, no subject, a
    /// malformed subject, and a predicate without the members that SLSA requires.
    pub fn read(bytes: &[u8]) -> Result<Statement, ClaimsError> {
        let value = strict_json::parse(bytes, &CAPS).map_err(ClaimsError::Json)?;
        let shape = |error| ClaimsError::Json(JsonError::Shape(error));
        let numbers = strict_json::exact(&value);
        let wire: StatementIn = serde_json::from_value(value).map_err(shape)?;
        expect("_type", STATEMENT_TYPE, &wire.statement_type)?;
        expect("predicateType", PREDICATE_TYPE, &wire.predicate_type)?;
        // Only now: a statement of another kind is told as that, whatever numbers it holds.
        numbers.map_err(ClaimsError::Json)?;
        let subjects = subjects(wire.subject)?;
        let predicate: PredicateIn = serde_json::from_value(wire.predicate).map_err(shape)?;
        let (definition, run) = (predicate.build_definition, predicate.run_details);
        let texts = definition.external_parameters.into_iter().map(|(name, value)| match value {
            Value::String(text) => (name, Some(text)),
            _ => (name, None),
        });
        Ok(Statement {
            subjects,
            build_type: definition.build_type,
            external_parameters: texts.collect(),
            internal_parameters: definition.internal_parameters,
            dependencies: definition.resolved_dependencies,
            builder: run.builder.id,
            builder_version: run.builder.version,
            enforced: run.enforced,
            run_details: run.rest,
            invocation: run.metadata.invocation_id,
            started: run.metadata.started_on,
            finished: run.metadata.finished_on,
            byproducts: run.byproducts,
        })
    }

    /// Returns an external parameter, empty if it is absent or no text.
    pub fn parameter(&self, name: &str) -> &str {
        self.external_parameters.get(name).and_then(Option::as_deref).unwrap_or_default()
    }

    /// Returns the guarantees that were waived, each as it stands. Any text but an empty one names some: what is odd
    /// or not known here is told and judged like a guarantee that was waived, never as none.
    pub fn waivers(&self) -> Vec<&str> {
        match self.external_parameters.get("waivers") {
            None => Vec::new(),
            Some(None) => vec!["(no text)"],
            Some(Some(text)) if text.is_empty() => Vec::new(),
            Some(Some(text)) => text.split(',').collect(),
        }
    }

    /// Says whether files differed from the commit: so does anything but the word that denies it.
    pub fn is_dirty(&self) -> bool {
        self.external_parameters.get("dirty").is_some_and(|told| told.as_deref() != Some("false"))
    }

    /// Returns what the statement says of files that differ, where that is neither yes nor no; not escaped.
    pub fn odd_dirty(&self) -> Option<&str> {
        let told = self.external_parameters.get("dirty")?.as_deref().unwrap_or("(no text)");
        (!["true", "false"].contains(&told)).then_some(told)
    }

    /// Returns what steps widened or pinned, `step.option` to value. A value that is no text is told as it
    /// stands, so that nothing is hidden by being odd.
    pub fn options(&self) -> BTreeMap<String, String> {
        match self.internal_parameters.get("options") {
            None => BTreeMap::new(),
            Some(Value::Object(options)) => options
                .iter()
                .map(|(name, value)| {
                    (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                })
                .collect(),
            Some(other) => BTreeMap::from([("options".to_owned(), other.to_string())]),
        }
    }

    /// Returns the dependency manifest's entry, if the list of inputs moved there.
    pub fn manifest(&self) -> Option<&Dependency> {
        self.dependencies.iter().find(|one| one.media_type.as_deref() == Some(MANIFEST_MEDIA_TYPE))
    }
}

impl Dependency {
    /// Returns its SHA-256, if it has a well-formed one.
    pub fn sha256(&self) -> Option<Digest> {
        self.digests.get("sha256").and_then(|hex| Digest::from_hex(hex).ok())
    }

    /// Says whether it is named by a digest that nobody can move: SHA-256 or a git object.
    pub fn is_pinned(&self) -> bool {
        let git = |name: &str| {
            self.digests.get(name).is_some_and(|id| model::record::GitId::parse(id).is_ok())
        };
        self.sha256().is_some() || git("gitCommit") || git("gitTree")
    }

    /// Returns one of its annotations, if it is a text.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).and_then(Value::as_str)
    }
}

/// Reads the subjects of a statement of a given predicate type, and nothing of its predicate.
///
/// # Errors
/// As [`Statement::read`].
pub fn read_subjects(
    bytes: &[u8],
    predicate_type: &'static str,
) -> Result<Vec<Subject>, ClaimsError> {
    let wire: StatementIn = strict_json::parse_as(bytes, &CAPS).map_err(ClaimsError::Json)?;
    expect("_type", STATEMENT_TYPE, &wire.statement_type)?;
    expect("predicateType", predicate_type, &wire.predicate_type)?;
    subjects(wire.subject)
}

/// Reads a dependency manifest: the whole list of inputs.
///
/// # Errors
/// Refuses JSON with a member twice and every other shape.
pub fn read_manifest(bytes: &[u8]) -> Result<Vec<Dependency>, ClaimsError> {
    let value = strict_json::parse(bytes, &MANIFEST_CAPS).map_err(ClaimsError::Json)?;
    strict_json::exact(&value).map_err(ClaimsError::Json)?;
    let wire: ManifestIn = serde_json::from_value(value)
        .map_err(|error| ClaimsError::Json(JsonError::Shape(error)))?;
    if wire.version != 1 {
        return Err(ClaimsError::Kind {
            member: "version",
            expected: "1",
            got: wire.version.to_string(),
        });
    }
    Ok(wire.dependencies)
}

fn expect(member: &'static str, expected: &'static str, got: &str) -> Result<(), ClaimsError> {
    if got == expected {
        return Ok(());
    }
    Err(ClaimsError::Kind { member, expected, got: escape(got.as_bytes()) })
}

fn subjects(wire: Vec<SubjectIn>) -> Result<Vec<Subject>, ClaimsError> {
    if wire.is_empty() || wire.len() > SUBJECTS_MAX {
        return Err(ClaimsError::Subjects { got: wire.len() });
    }
    let mut names = std::collections::BTreeSet::new();
    let mut subjects = Vec::with_capacity(wire.len());
    for SubjectIn { name, digests } in wire {
        let shown = || escape(name.as_bytes());
        let malformed =
            |expected, got: String| ClaimsError::Subject { name: shown(), expected, got };
        if model::Name::new(&name).is_err() {
            return Err(malformed("a plain file name, without folders", shown()));
        }
        if digests.is_empty() || digests.len() > SUBJECT_DIGESTS_MAX {
            return Err(malformed("1 to 32 digests", format!("{} digests", digests.len())));
        }
        if !names.insert(name.clone()) {
            return Err(ClaimsError::SameSubject { name: escape(name.as_bytes()) });
        }
        let digest = match digests.get("sha256") {
            Some(hex) => Some(Digest::from_hex(hex).map_err(|_| {
                let begin: String = hex.chars().take(64).collect();
                let got = format!("{} bytes, {}", hex.len(), escape(begin.as_bytes()));
                malformed("a sha256 of 64 hexadecimal digits in lower case", got)
            })?),
            None => None,
        };
        subjects.push(Subject { name, digest });
    }
    Ok(subjects)
}
