//! `BuilderConfig`: which builder this attestor speaks for. Its own file says so, never a Record.
//!
//! A builder.id names an instance and all that must be trusted with it, so a build with a guarantee
//! waived has another id than one with all of them, and each backend that keeps the guarantees by
//! other mechanisms needs its own. The ids built in are those of a workstation; whoever runs kiln
//! as a service writes the service's own:
//!
//! ```toml
//! [builder]
//! id = "https://ci.example.org/kiln/v1"
//! waived-id = "https://ci.example.org/kiln-waived/v1"
//!
//! [builder.docker]     # and builder.confined; a backend without a table is not signed for
//! id = "https://ci.example.org/kiln-docker/v1"
//! waived-id = "https://ci.example.org/kiln-docker-waived/v1"
//! ```
//!
//! A verdict (`kiln verify --vsa`) names the verifier, which has an id of its own:
//!
//! ```toml
//! [verifier]
//! id = "https://ci.example.org/kiln-verifier/v1"
//! policies = ["sha256:…"]   # optional: no verdict by another policy is signed
//! ```
//!
//! Source: SLSA v1.2, provenance, `builder.id`: different modes must have different ids.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::Digest;
use serde::Deserialize;

/// The builder.id of a workstation with all guarantees: SLSA Build L1 at most, since it is nobody's
/// hosted service.
pub const LOCAL_BUILDER_ID: &str = "https://kiln.build/builders/local/v1";
/// The builder.id of a workstation where the user allowed a guarantee to be absent.
pub const LOCAL_WAIVED_BUILDER_ID: &str = "https://kiln.build/builders/local-waived/v1";

/// The verifier.id of a workstation.
pub const LOCAL_VERIFIER_ID: &str = "https://kiln.build/verifiers/local/v1";

/// The backend whose ids stand in the table `builder` itself.
pub const NATIVE: &str = "native";
/// The ids of a workstation: backend, with every core guarantee, with one waived.
const LOCAL: [(&str, &str, &str); 3] = [
    (NATIVE, LOCAL_BUILDER_ID, LOCAL_WAIVED_BUILDER_ID),
    (
        "docker",
        "https://kiln.build/builders/local-docker/v1",
        "https://kiln.build/builders/local-docker-waived/v1",
    ),
    (
        "confined",
        "https://kiln.build/builders/local-confined/v1",
        "https://kiln.build/builders/local-confined-waived/v1",
    ),
];

/// Longest builder.id, in bytes: it stands in trust entries that people compare by eye.
pub const BUILDER_ID_BYTES_MAX: usize = 512;
/// Largest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: usize = 64 << 10;

/// A builder.id: an absolute URI without credentials, query or white space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuilderId(String);

/// The builders that this attestor speaks for: no two of its ids are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuilderConfig {
    /// By the name of the backend; native is always there.
    backends: BTreeMap<&'static str, Ids>,
    verifier: BuilderId,
    policies: Option<BTreeSet<Digest>>,
}

/// The ids of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ids {
    /// With every core guarantee.
    full: BuilderId,
    /// With a guarantee waived by name.
    waived: BuilderId,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// An id that is no plain absolute URI.
    #[error(
        "`{got}` is no builder.id: an absolute https URI without credentials, query or fragment"
    )]
    Id {
        /// What stands there, escaped.
        got: String,
    },
    /// A digest of a policy that is none.
    #[error("`{got}` is no digest of a policy, sha256: and 64 hex digits")]
    Policy {
        /// What stands there, escaped.
        got: String,
    },
    /// Two ids are the same.
    #[error(
        "each backend, a build with a waived guarantee, and the verifier need an id of their own"
    )]
    SameId,
}

/// The table `verifier` as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifierIn {
    id: String,
    policies: Option<Vec<String>>,
}

/// The table `builder` as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct BuilderIn {
    id: String,
    waived_id: String,
    docker: Option<IdsIn>,
    confined: Option<IdsIn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct IdsIn {
    id: String,
    waived_id: String,
}

impl BuilderId {
    /// Checks an id.
    ///
    /// # Errors
    /// Refuses what is no `https` URI, is longer than [`BUILDER_ID_BYTES_MAX`], or holds anything
    /// but letters, digits and `-._~/:`.
    pub fn new(text: &str) -> Result<BuilderId, ConfigError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
        let rest = text.strip_prefix("https://").unwrap_or_default();
        if rest.is_empty() || text.len() > BUILDER_ID_BYTES_MAX || !text.bytes().all(plain) {
            return Err(ConfigError::Id { got: model::text::escape(text.as_bytes()) });
        }
        Ok(BuilderId(text.to_owned()))
    }

    /// Returns the URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl BuilderIn {
    /// Checks the ids.
    fn check(self) -> Result<BTreeMap<&'static str, Ids>, ConfigError> {
        let native = IdsIn { id: self.id, waived_id: self.waived_id };
        let mut backends = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (name, ids) in
            [(NATIVE, Some(native)), ("docker", self.docker), ("confined", self.confined)]
        {
            let Some(ids) = ids else { continue };
            let (full, waived) = (BuilderId::new(&ids.id)?, BuilderId::new(&ids.waived_id)?);
            if !seen.insert(full.clone()) || !seen.insert(waived.clone()) {
                return Err(ConfigError::SameId);
            }
            backends.insert(name, Ids { full, waived });
        }
        Ok(backends)
    }
}

impl BuilderConfig {
    /// Returns the built-in ids of a workstation.
    pub fn local() -> BuilderConfig {
        let id = |text: &str| BuilderId(text.to_owned());
        let ids = |(backend, full, waived)| (backend, Ids { full: id(full), waived: id(waived) });
        BuilderConfig {
            backends: LOCAL.into_iter().map(ids).collect(),
            verifier: id(LOCAL_VERIFIER_ID),
            policies: None,
        }
    }

    /// Returns the id for a backend, or none for a backend that this attestor does not speak for.
    pub fn id(&self, backend: &str, waived: bool) -> Option<&BuilderId> {
        let ids = self.backends.get(backend)?;
        Some(if waived { &ids.waived } else { &ids.full })
    }

    /// Returns the ids of builds with every core guarantee, native first: those that a key made here
    /// is trusted for.
    pub fn full(&self) -> impl Iterator<Item = &BuilderId> {
        let native = self.backends.get(NATIVE);
        let others = self.backends.iter().filter(|(name, _)| **name != NATIVE).map(|(_, ids)| ids);
        native.into_iter().chain(others).map(|ids| &ids.full)
    }

    /// Checks the tables `builder` and `verifier`; without one, what is built in holds.
    pub(crate) fn from_tables(
        builder: Option<BuilderIn>,
        verifier: Option<VerifierIn>,
    ) -> Result<BuilderConfig, ConfigError> {
        let mut config = BuilderConfig::local();
        if let Some(verifier) = verifier {
            config.verifier = BuilderId::new(&verifier.id)?;
            let digest = |text: &String| {
                text.parse()
                    .map_err(|_| ConfigError::Policy { got: model::text::escape(text.as_bytes()) })
            };
            let policies = verifier.policies.map(|all| all.iter().map(digest).collect());
            config.policies = policies.transpose()?;
        }
        if let Some(builder) = builder {
            config.backends = builder.check()?;
        }
        check_verifier(config)
    }

    /// Returns the verifier that this attestor speaks for.
    pub fn verifier(&self) -> &BuilderId {
        &self.verifier
    }

    /// Says whether a verdict by the policy of this digest may be signed.
    pub fn allows_policy(&self, digest: &Digest) -> bool {
        self.policies.as_ref().is_none_or(|allowed| allowed.contains(digest))
    }
}

/// Refuses a verifier's id that is a builder's: who may build could then pass judgement.
fn check_verifier(config: BuilderConfig) -> Result<BuilderConfig, ConfigError> {
    let mut ids = config.backends.values().flat_map(|ids| [&ids.full, &ids.waived]);
    if ids.any(|id| *id == config.verifier) {
        return Err(ConfigError::SameId);
    }
    drop(ids);
    Ok(config)
}

impl fmt::Display for BuilderId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AttestorConfig, AttestorConfigError};

    fn parse(bytes: &[u8]) -> Result<BuilderConfig, AttestorConfigError> {
        AttestorConfig::parse(bytes).map(|config| config.builder)
    }

    #[test]
    fn ids_are_read_from_the_file_and_differ_by_mode() {
        assert_eq!(parse(b"").unwrap(), BuilderConfig::local());
        let own = parse(
            b"[builder]\nid = \"https://a.example/k/v1\"\nwaived-id = \"https://a.example/w/v1\"\n",
        )
        .unwrap();
        assert_eq!(own.id(NATIVE, false).unwrap().as_str(), "https://a.example/k/v1");
        assert_eq!(own.id(NATIVE, true).unwrap().as_str(), "https://a.example/w/v1");
        assert_eq!(own.id("docker", false), None);
    }

    #[test]
    fn each_backend_has_ids_of_its_own() {
        let local = BuilderConfig::local();
        let ids: BTreeSet<&BuilderId> = ["native", "docker", "confined"]
            .into_iter()
            .flat_map(|backend| [local.id(backend, false), local.id(backend, true)])
            .map(Option::unwrap)
            .collect();
        assert_eq!(ids.len(), 6);
        assert_eq!(local.full().next().unwrap().as_str(), LOCAL_BUILDER_ID);
        assert_eq!(local.id("podman", false), None);
        let own = parse(
            b"[builder]\nid = \"https://a/k\"\nwaived-id = \"https://a/w\"\n[builder.docker]\nid = \"https://a/d\"\nwaived-id = \"https://a/dw\"\n",
        )
        .unwrap();
        assert_eq!(own.id("docker", true).unwrap().as_str(), "https://a/dw");
        assert_eq!(own.id("confined", true), None);
        assert_eq!(own.full().count(), 2);
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for text in [
            "[builder]\nid = \"https://a/\"\n",
            "[builder]\nid = \"https://a/\"\nwaived-id = \"https://a/\"\n",
            "[builder]\nid = \"http://a/\"\nwaived-id = \"https://b/\"\n",
            "[builder]\nid = \"https://u:p@a/\"\nwaived-id = \"https://b/\"\n",
            "[builder]\nid = \"https://\"\nwaived-id = \"https://b/\"\n",
            "[builder]\nid = \"https://a/ b\"\nwaived-id = \"https://b/\"\n",
            "level = 3\n",
            "[builder.docker]\nid = \"https://a/\"\nwaived-id = \"https://b/\"\n",
            "[builder]\nid = \"https://a/\"\nwaived-id = \"https://b/\"\n[builder.docker]\nid = \"https://c/\"\nwaived-id = \"https://a/\"\n",
            "[builder]\nid = \"https://a/\"\nwaived-id = \"https://b/\"\n[builder.podman]\nid = \"https://c/\"\nwaived-id = \"https://d/\"\n",
            "[builder]\nid = \"https://a/\"\nwaived-id = \"https://b/\"\nlevel = 3\n",
            "[verifier]\nid = \"https://kiln.build/builders/local/v1\"\n",
            "[builder]\nid = \"https://a/\"\nwaived-id = \"https://b/\"\n[verifier]\nid = \"https://b/\"\n",
            "[verifier]\nid = \"https://v/\"\npolicies = [\"any\"]\n",
            "[verifier]\npolicies = []\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
