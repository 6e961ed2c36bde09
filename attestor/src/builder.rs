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
//! ```
//!
//! Source: SLSA v1.2, provenance, `builder.id`: different modes must have different ids.

use std::fmt;

use serde::Deserialize;

/// The builder.id of a workstation with all guarantees: SLSA Build L1 at most, since it is nobody's
/// hosted service.
pub const LOCAL_BUILDER_ID: &str = "https://kiln.build/builders/local/v1";
/// The builder.id of a workstation where the user allowed a guarantee to be absent.
pub const LOCAL_WAIVED_BUILDER_ID: &str = "https://kiln.build/builders/local-waived/v1";

/// Longest builder.id, in bytes: it stands in trust entries that people compare by eye.
pub const BUILDER_ID_BYTES_MAX: usize = 512;
/// Largest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: usize = 64 << 10;

/// A builder.id: an absolute URI without credentials, query or white space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuilderId(String);

/// The builders that this attestor speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuilderConfig {
    /// With every core guarantee, on the native backend.
    pub full: BuilderId,
    /// With a guarantee waived by name.
    pub waived: BuilderId,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// More bytes than [`CONFIG_BYTES_MAX`], or no UTF-8.
    #[error("the file is too large or no text")]
    Text,
    /// No TOML of this shape.
    #[error("the file is not as the format says")]
    Toml(#[source] toml::de::Error),
    /// An id that is no plain absolute URI.
    #[error(
        "`{got}` is no builder.id: an absolute https URI without credentials, query or fragment"
    )]
    Id {
        /// What stands there, escaped.
        got: String,
    },
    /// Both ids are the same.
    #[error("a build with a waived guarantee needs another builder.id than a full one")]
    SameId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigIn {
    builder: Option<BuilderIn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct BuilderIn {
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

impl BuilderConfig {
    /// Returns the built-in ids of a workstation.
    pub fn local() -> BuilderConfig {
        BuilderConfig {
            full: BuilderId(LOCAL_BUILDER_ID.to_owned()),
            waived: BuilderId(LOCAL_WAIVED_BUILDER_ID.to_owned()),
        }
    }

    /// Reads `attestor.toml`.
    ///
    /// # Errors
    /// Refuses unknown keys, ids that are none, and one id for both modes.
    pub fn parse(bytes: &[u8]) -> Result<BuilderConfig, ConfigError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ConfigError::Text)?;
        if bytes.len() > CONFIG_BYTES_MAX {
            return Err(ConfigError::Text);
        }
        let wire: ConfigIn = toml::from_str(text).map_err(ConfigError::Toml)?;
        let Some(builder) = wire.builder else { return Ok(BuilderConfig::local()) };
        let full = BuilderId::new(&builder.id)?;
        let waived = BuilderId::new(&builder.waived_id)?;
        if full == waived {
            return Err(ConfigError::SameId);
        }
        Ok(BuilderConfig { full, waived })
    }
}

impl fmt::Display for BuilderId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_from_the_file_and_differ_by_mode() {
        assert_eq!(BuilderConfig::parse(b"").unwrap(), BuilderConfig::local());
        let own = BuilderConfig::parse(
            b"[builder]\nid = \"https://a.example/k/v1\"\nwaived-id = \"https://a.example/w/v1\"\n",
        )
        .unwrap();
        assert_eq!(own.full.as_str(), "https://a.example/k/v1");
        assert_eq!(own.waived.as_str(), "https://a.example/w/v1");
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
            "[builder]\nid = \"https://a/\"\nwaived-id = \"https://b/\"\nlevel = 3\n",
        ] {
            assert!(BuilderConfig::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
