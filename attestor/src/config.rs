//! `attestor.toml`: which builder this attestor speaks for, how it signs, and whom it hears.
//!
//! Every table is optional: without any, this is a workstation's attestor with a key file, started
//! by the build itself. `builder`, `signer` and `process::access` say what each table holds.
//! Unknown tables and keys are refused: a misspelt one would otherwise weaken what it was to guard.

use serde::Deserialize;

use crate::access::{Access, AccessError, AccessIn};
use crate::builder::{BuilderConfig, BuilderIn, CONFIG_BYTES_MAX, ConfigError, VerifierIn};
use crate::signer::{SignerConfig, SignerConfigError, SignerIn};

/// What the file says.
#[derive(Clone, Debug)]
pub(crate) struct AttestorConfig {
    /// Which builder and verifier it speaks for.
    pub(crate) builder: BuilderConfig,
    /// How it signs.
    pub(crate) signer: SignerConfig,
    /// Whom it hears on a socket; none where it is only started by a build.
    pub(crate) access: Option<Access>,
}

/// Why the file is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestorConfigError {
    #[error("the file is too large or no text")]
    Text,
    #[error("the file is not as the format says")]
    Toml(#[source] toml::de::Error),
    #[error("the table `builder` or `verifier`")]
    Builder(#[source] ConfigError),
    #[error("the table `signer`")]
    Signer(#[source] SignerConfigError),
    #[error("the table `listen`")]
    Access(#[source] AccessError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigIn {
    builder: Option<BuilderIn>,
    verifier: Option<VerifierIn>,
    signer: Option<SignerIn>,
    listen: Option<AccessIn>,
}

impl AttestorConfig {
    /// Returns what holds without a file.
    pub(crate) fn local() -> AttestorConfig {
        AttestorConfig {
            builder: BuilderConfig::local(),
            signer: SignerConfig::default(),
            access: None,
        }
    }

    /// Reads the file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<AttestorConfig, AttestorConfigError> {
        let text = std::str::from_utf8(bytes).map_err(|_| AttestorConfigError::Text)?;
        if bytes.len() > CONFIG_BYTES_MAX {
            return Err(AttestorConfigError::Text);
        }
        let wire: ConfigIn = toml::from_str(text).map_err(AttestorConfigError::Toml)?;
        let builder = BuilderConfig::from_tables(wire.builder, wire.verifier);
        let signer = wire.signer.map_or(Ok(SignerConfig::default()), SignerIn::check);
        let access = wire.listen.map(AccessIn::check).transpose();
        Ok(AttestorConfig {
            builder: builder.map_err(AttestorConfigError::Builder)?,
            signer: signer.map_err(AttestorConfigError::Signer)?,
            access: access.map_err(AttestorConfigError::Access)?,
        })
    }
}
