//! `Record` = Order + Observed: the facts that are later sworn to, and their bytes on the pipe.
//!
//! The Order comes from whoever asked for the build; Observed is what the runner saw. They travel
//! together to the attestor, which refuses an Observed that does not answer its Order and derives
//! the Statement by itself. One Record is about one artifact. A Record holds no key, no secret, no
//! builder.id and no level: those are the attestor's own (decision 18).
//!
//! What every rebuilder would see alike is apart from what is of this run only: the parts of
//! [`Observed`] up to `subject` go into `buildDefinition` and `subject`, [`Observed::run`] goes into
//! `runDetails` (decision 19).
//!
//! The bytes are JSON with these field names; unknown fields are refused, see
//! [`RECORD_BYTES_MAX`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Blob, Digest};
use crate::isolation::{Enforced, Guarantee};
use crate::platform::Platform;
use crate::relpath::{Ident, RelPath};
use crate::step::StepId;

/// Largest Record that is read, in bytes: 64 MiB, far above one entry per file of a large tree.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
/// The version of the format.
pub const RECORD_VERSION: u32 = 1;

/// The facts about one artifact of one build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// What was asked for.
    pub order: Order,
    /// What was seen.
    pub observed: Observed,
}

/// What was asked for: the whole of `externalParameters`, and the terms of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// A build file's target, or one wrapped command.
    pub asked: Asked,
    /// The source it is to be made from.
    pub source: SourceRef,
    /// Guarantees allowed to be absent, by name.
    pub waivers: BTreeSet<Guarantee>,
    /// Names this request: one nonce, one envelope.
    pub nonce: Nonce,
    /// Seconds since 1970 after which nothing is signed for it.
    pub deadline: i64,
}

/// What kind of work was asked for; it decides the buildType.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Asked {
    /// An artifact of a build file.
    Build {
        /// The build file, relative to the source's root.
        build_file: RelPath,
        /// The artifact's name.
        target: String,
        /// The matrix choice, `axis=a,other=b`, or empty.
        matrix: String,
        /// What the command line set over the build file, or empty.
        overrides: String,
    },
    /// One command, wrapped by `kiln run` without a build file.
    Run {
        /// The command line, as a JSON array of strings.
        command: String,
        /// The inputs, as a JSON array of paths.
        inputs: String,
        /// The outputs, as a JSON array of paths.
        outputs: String,
        /// The packages asked for, as a JSON array of names.
        packages: String,
        /// The variables set, as a JSON object.
        environment: String,
        /// The output this Record is about.
        target: String,
    },
}

/// A source tree, as it was identified from its own bytes (decision 15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRef {
    /// Where it is published, `git+https://…`, if the repository names a remote; else `local`.
    pub uri: String,
    /// The commit that HEAD names; none outside git.
    pub commit: Option<GitId>,
    /// The folder of the build file below the repository's root.
    pub subfolder: RelPath,
    /// Whether the bytes differ from that commit.
    pub dirty: bool,
}

/// What the runner saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// The Order's nonce.
    pub nonce: Nonce,
    /// What was really built: target and parameters as the runner saw them; must be the Order's.
    pub asked: Asked,
    /// The source that was hashed; must be the Order's.
    pub source: SourceRef,
    /// Guarantees that some step was allowed to go without; must be the Order's.
    pub waivers: BTreeSet<Guarantee>,
    /// What it was built for and on.
    pub platform: Platform,
    /// The sandbox profile, [`crate::step::SANDBOX_PROFILE`].
    pub sandbox_profile: String,
    /// Limits that the build file writes, `step.limit` to value; defaults are not listed.
    pub asked_limits: BTreeMap<String, String>,
    /// What steps widen or pin, `step.option` to value; what is off is not listed.
    pub options: BTreeMap<String, String>,
    /// The merged root of each environment that was used, by name.
    pub environments: BTreeMap<String, Digest>,
    /// Everything that went in. Sorted by role, name, digest; complete.
    pub dependencies: Vec<Dependency>,
    /// The artifact. Its bytes travel as a descriptor and are hashed again by the attestor.
    pub subject: Subject,
    /// What is of this run only.
    pub run: RunDetails,
}

/// The part a dependency played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The project's own files, or another source.
    Source,
    /// The build file.
    BuildFile,
    /// The lock.
    Lock,
    /// A package, folder or file of an environment.
    Environment,
    /// A script of a step, as it lay at `/kiln/script`.
    Script,
    /// A file that an ecosystem's lock names.
    Fetched,
}

/// What a dependency's SHA-256 is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DigestOf {
    /// The bytes of a file.
    File,
    /// The root `Directory` message of a REAPI v2 tree; written as annotation `digestOf`.
    ReapiV2Directory,
}

/// One thing that went in (decision 21).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// The part it played.
    pub role: Role,
    /// Its kind in the build file's words: `local`, `host`, …
    pub kind: String,
    /// Its name, unique within its role.
    pub name: String,
    /// Its purl or address, where it has one.
    pub uri: Option<String>,
    /// What its bytes hash to.
    pub digest: Digest,
    /// What that digest is of.
    pub digest_of: DigestOf,
    /// The commit, for a source in git.
    pub git_commit: Option<GitId>,
    /// The tree, computed from the same bytes, for a source in git.
    pub git_tree: Option<GitId>,
}

/// An artifact: name and digest, nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Its file name, without a slash.
    pub name: String,
    /// Its bytes.
    pub blob: Blob,
}

/// What is of this run only: goes into `runDetails`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunDetails {
    /// Globally unique name of this run.
    pub invocation: String,
    /// Seconds since 1970, UTC.
    pub started: i64,
    /// Seconds since 1970, UTC.
    pub finished: i64,
    /// The version of kiln.
    pub kiln_version: String,
    /// The kiln binary.
    pub kiln_digest: Digest,
    /// Which backend ran the steps: `native`, …
    pub backend: String,
    /// Facts about the host: `kernel`, `mode` (`root` or `rootless`), …
    pub host: BTreeMap<String, String>,
    /// What was asked of the steps and how they went, those this artifact needs and the tests.
    pub steps: Vec<StepRecord>,
    /// What else came of the run, by digest: log, plan, step records, inputs.
    pub byproducts: Vec<Byproduct>,
    /// Whether the same bytes can be built again from what the provenance names.
    pub rebuild: Rebuild,
    /// What CI variables claimed, each by its own name; never a fact.
    pub claims: BTreeMap<String, String>,
}

/// How one step went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// Its name in the plan.
    pub id: StepId,
    /// Whether it is a test.
    pub test: bool,
    /// Its Action digest.
    pub action: Digest,
    /// Its environment's root.
    pub environment: Digest,
    /// The run whose result was used, where it was not run again.
    pub cached_from: Option<String>,
    /// Its exit code; anything else is no record but an error.
    pub exit_code: i32,
    /// Seconds since 1970.
    pub started: i64,
    /// Wall time in milliseconds.
    pub wall_ms: u64,
    /// Its output, escaped nowhere.
    pub log: Blob,
    /// Whether the log was cut at its limit.
    pub log_cut: bool,
    /// Its outputs.
    pub outputs: BTreeMap<Ident, OutputRecord>,
    /// Reports of a test.
    pub reports: BTreeMap<Ident, Blob>,
    /// What was enforced.
    pub enforced: Enforced,
    /// Limits in force, by name.
    pub limits: BTreeMap<String, String>,
    /// Processes that had to be killed at the end.
    pub left_processes: u32,
    /// Where it wanted to go in vain: `HOST` or `ADDRESS:PORT`, and ` by PROCESS` where that is known.
    pub network_attempts: Vec<String>,
    /// Whether it was heard where it wanted to go; else `network_attempts` says nothing.
    #[serde(default)]
    pub network_heard: bool,
    /// What the report of a test says. It is told and decides nothing: that is the exit code's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases: Option<Cases>,
}

/// What the cases of a test came to, counted one by one from its report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// All of them.
    pub tests: u64,
    /// Those whose check did not hold.
    pub failures: u64,
    /// Those that could not be run to their end.
    pub errors: u64,
    /// Those that were left out.
    pub skipped: u64,
    /// The first that failed or erred, in the order of the report.
    pub not_passed: Vec<String>,
}

/// One output of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum OutputRecord {
    /// A file.
    File {
        /// Its content.
        blob: Blob,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A folder, by its root message.
    Tree(Blob),
}

/// Something else that came of the run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Byproduct {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// More about it.
    pub annotations: BTreeMap<String, String>,
}

/// Whether the same bytes can be built again (decision 22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rebuild {
    /// The export holds every blob.
    SelfContained,
    /// The rest can be had again by digest.
    Refetchable,
    /// Some bytes come from this host's packages only.
    HostBound,
}

/// 128 random bits in hex: names one request to the attestor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(String);

/// A git object id: 40 or 64 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitId(String);

/// A text that is no nonce or no object id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not lower-case hex of the right length")]
pub struct NotHex;

impl Cases {
    /// Returns the counts in a few words: `12 tests, 1 failure, 2 skipped`.
    pub fn words(&self) -> String {
        let one = |count: u64, word: &str| {
            let many = if count == 1 || word == "skipped" { "" } else { "s" };
            format!("{count} {word}{many}")
        };
        let mut words = vec![one(self.tests, "test")];
        let more = [(self.failures, "failure"), (self.errors, "error"), (self.skipped, "skipped")];
        words.extend(
            more.iter().filter(|(count, _)| *count > 0).map(|(count, word)| one(*count, word)),
        );
        words.join(", ")
    }

    /// Returns how many failed or erred and are not among the named.
    pub fn unnamed(&self) -> u64 {
        (self.failures + self.errors).saturating_sub(self.not_passed.len() as u64)
    }
}

impl Nonce {
    /// Returns the nonce of these random bits.
    pub fn from_bytes(random: [u8; 16]) -> Nonce {
        Nonce(random.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Reads 32 lower-case hex digits.
    ///
    /// # Errors
    /// Refuses everything else.
    pub fn parse(text: &str) -> Result<Nonce, NotHex> {
        if text.len() == 32 && is_hex(text) { Ok(Nonce(text.to_owned())) } else { Err(NotHex) }
    }

    /// Returns the hex digits; safe as a file name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl GitId {
    /// Reads 40 or 64 lower-case hex digits.
    ///
    /// # Errors
    /// Refuses everything else.
    pub fn parse(text: &str) -> Result<GitId, NotHex> {
        if matches!(text.len(), 40 | 64) && is_hex(text) {
            Ok(GitId(text.to_owned()))
        } else {
            Err(NotHex)
        }
    }

    /// Returns the hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Role {
    /// Returns its name, as the provenance writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::BuildFile => "build-file",
            Role::Lock => "lock",
            Role::Environment => "environment",
            Role::Script => "script",
            Role::Fetched => "fetched",
        }
    }
}

impl Rebuild {
    /// Returns its name, as the provenance writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Rebuild::SelfContained => "self-contained",
            Rebuild::Refetchable => "refetchable",
            Rebuild::HostBound => "host-bound",
        }
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

macro_rules! hex_text {
    ($($type:ident),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                $type::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    )*};
}
hex_text!(Nonce, GitId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_of_the_right_length() {
        assert!(GitId::parse(&"a".repeat(40)).is_ok());
        assert!(GitId::parse(&"a".repeat(64)).is_ok());
        for bad in ["", "HEAD", &"a".repeat(41), &"A".repeat(40), &"g".repeat(40)] {
            assert_eq!(GitId::parse(bad), Err(NotHex), "{bad}");
        }
        assert_eq!(
            Nonce::parse(Nonce::from_bytes([7; 16]).as_str()).map(|n| n.to_string()),
            Ok("07".repeat(16))
        );
    }

    #[test]
    fn roles_are_written_as_serialised() {
        for role in [
            Role::Source,
            Role::BuildFile,
            Role::Lock,
            Role::Environment,
            Role::Script,
            Role::Fetched,
        ] {
            assert_eq!(
                serde_json::to_value(role).ok(),
                Some(serde_json::Value::from(role.as_str()))
            );
        }
    }
}
