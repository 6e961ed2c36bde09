//! `config.toml`: what the user of this host asks of every build.
//!
//! ```toml
//! require = ["limits", "landlock"]   # extra guarantees without which nothing runs here
//! ```
//!
//! Unknown keys are refused: a misspelt requirement would otherwise demand nothing.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use model::isolation::Guarantee;
use serde::Deserialize;

/// Largest configuration file that is read, in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The user's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Extra guarantees that must hold.
    pub require: BTreeSet<Guarantee>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// It is no configuration.
    #[error("{0} is not a configuration of kiln")]
    Parse(PathBuf, #[source] Box<toml::de::Error>),
}

/// Reads `config.toml` of the configuration folder; without one, nothing is asked.
///
/// # Errors
/// Gives up on a file that cannot be read or understood.
pub fn load(folder: &Path) -> Result<Config, ConfigError> {
    let path = folder.join("config.toml");
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
        Err(error) => return Err(ConfigError::Read(path, error)),
    };
    let mut text = String::new();
    file.take(CONFIG_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| ConfigError::Read(path.clone(), error))?;
    toml::from_str(&text).map_err(|error| ConfigError::Parse(path, Box::new(error)))
}
