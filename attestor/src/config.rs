//! `attestor.toml`: which builder this attestor speaks for, how it signs, and whom it hears.
//!
//! Every table is optional: without any, this is a workstation's attestor with a key file, started
//! by the build itself. `builder`, `signer` and `process::access` say what each table holds.
//! Unknown tables and keys are refused: a misspelt one would otherwise weaken what it was to guard.

use serde::Deserialize;
use toml::de::DeTable;

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
    #[error("the table `signer`, at line {line}")]
    Signer {
        line: usize,
        #[source]
        source: SignerConfigError,
    },
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
            signer: signer.map_err(|source| AttestorConfigError::Signer {
                line: line(text, source.members()),
                source,
            })?,
            access: access.map_err(AttestorConfigError::Access)?,
        })
    }
}

/// Returns the line of the first of these keys that stands in the table `signer`, or else of the table.
fn line(text: &str, members: &[&str]) -> usize {
    // It was read before.
    let Ok(file) = DeTable::parse(text) else { return 1 };
    let Some((name, signer)) = file.get_ref().iter().find(|(name, _)| name.get_ref() == "signer")
    else {
        return 1;
    };
    let table = signer.get_ref().as_table();
    let place = |wanted: &&str| {
        let key = table?.keys().find(|key| key.get_ref() == wanted)?;
        Some(key.span().start)
    };
    let start = members.iter().find_map(place).unwrap_or(name.span().start);
    text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_below_signer_has_its_line() {
        let keyless = "# first\n\n[signer]\nkind = \"keyless\"\n";
        for (text, at) in [
            (format!("{keyless}token = \"foo\"\n"), 5),
            (format!("{keyless}audience = \"\"\ntoken = \"github\"\n"), 5),
            (format!("{keyless}\ntoken-file = \"relative\"\n"), 6),
            (format!("{keyless}trusted-root = \"/r\"\n"), 5),
            (format!("{keyless}token-file = \"/t\"\ntoken-variable = \"T\"\n"), 6),
            (format!("{keyless}pin-descriptor = 7\n"), 5),
            ("[signer]\nkind = \"ssh-agent\"\nkey = \"me@here\"\n".to_owned(), 3),
            ("\nsigner = {kind = \"ssh-agent\"}\n".to_owned(), 2),
            ("[signer]\nid = \"0\"\nkey = \"k\"\nkind = \"pkcs11\"\n".to_owned(), 2),
        ] {
            let refused = AttestorConfig::parse(text.as_bytes());
            let Err(AttestorConfigError::Signer { line, source }) = refused else {
                panic!("{text}: {refused:?}")
            };
            assert_eq!(line, at, "{text}: {source}");
        }
    }
}
