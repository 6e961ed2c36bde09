//! `config.toml`: what the user of this host asks of every build.
//!
//! ```toml
//! require = ["limits", "loopback"]   # without these nothing runs here
//!
//! [attest]
//! socket = "/run/kiln/attestor"      # ask the attestor that listens here, instead of starting one
//! ```
//!
//! What can be required is a guarantee, or one thing that a backend may lack, such as `loopback` or
//! `pid-numbers`; `kiln doctor` lists what each backend lacks. For people: docs/backends.md.
//!
//! Unknown keys are refused: a misspelt requirement would otherwise demand nothing.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use model::isolation::Guarantee;
use sandbox::Lack;
use serde::Deserialize;

use crate::diagnostic::{Code, Diagnostic, FileText, Place, Span};

/// Largest configuration file that is read, in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The user's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What must hold.
    pub require: BTreeSet<Required>,
    /// Who signs.
    pub attest: Attest,
}

/// Who signs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attest {
    /// The socket of an attestor that listens; without one, the build starts its own.
    pub socket: Option<PathBuf>,
}

/// One thing without which nothing runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Required {
    /// A guarantee, in full.
    Guarantee(Guarantee),
    /// Something that a backend may lack.
    Given(Lack),
}

/// A word that names neither a guarantee nor a thing that a backend may lack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is none of {known}", word = model::text::escape(.word.as_bytes()), known = known())]
pub struct UnknownRequirement {
    word: String,
}

fn known() -> String {
    let guarantees = Guarantee::ALL.iter().map(|guarantee| guarantee.as_str());
    guarantees.chain(Lack::ALL.iter().map(|lack| lack.name())).collect::<Vec<_>>().join(", ")
}

impl TryFrom<String> for Required {
    type Error = UnknownRequirement;

    fn try_from(word: String) -> Result<Required, UnknownRequirement> {
        if let Ok(guarantee) = word.parse() {
            return Ok(Required::Guarantee(guarantee));
        }
        let lack = Lack::ALL.into_iter().find(|lack| lack.name() == word);
        lack.map(Required::Given).ok_or(UnknownRequirement { word })
    }
}

impl std::fmt::Display for Required {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Required::Guarantee(guarantee) => out.write_str(guarantee.as_str()),
            Required::Given(lack) => out.write_str(lack.name()),
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// It is no configuration.
    #[error("{} is not a configuration of kiln", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What stands in it.
        text: String,
        /// What is wrong.
        #[source]
        source: Box<toml::de::Error>,
    },
}

impl ConfigError {
    /// Returns what a person reads of it, with its place in the file.
    pub fn told(&self) -> Diagnostic {
        let told = Diagnostic::new(Code::WrongValue, self.to_string());
        match self {
            ConfigError::Read(path, cause) => told
                .at(Place::file(path.display().to_string()))
                .caused_by(cause)
                .help("make it a plain file that you may read, or move it away"),
            ConfigError::Parse { path, text, source } => {
                let file = FileText::new(path.display().to_string(), text.as_str());
                let told = told.why(source.message().trim());
                let span = source.span().unwrap_or_default();
                told.at(file.place(Span::new(span.start, span.end))).help(
                    "known: `require`, such as [\"limits\"], and table `attest` with `socket`",
                )
            }
        }
    }
}

/// Reads `config.toml` of the configuration folder; without one, nothing is asked.
///
/// # Errors
/// Gives up on a file that cannot be read or understood.
pub fn load(folder: &Path) -> Result<Config, ConfigError> {
    let path = folder.join("config.toml");
    // A named pipe or a device in its place is not waited for.
    let plain = |path: &Path| match std::fs::metadata(path)?.is_file() {
        true => std::fs::File::open(path),
        false => Err(std::io::Error::other("not a plain file")),
    };
    let file = match plain(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
        Err(error) => return Err(ConfigError::Read(path, error)),
    };
    let mut text = String::new();
    file.take(CONFIG_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| ConfigError::Read(path.clone(), error))?;
    toml::from_str(&text).map_err(|source| ConfigError::Parse {
        path,
        text,
        source: Box::new(source),
    })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests lay out files of their own")]
mod tests {
    use super::*;

    /// The page lists every word, and none that is refused.
    #[test]
    fn the_page_of_backends_lists_what_can_be_required() {
        let page = include_str!("../../docs/backends.md");
        let rows = page.lines().filter(|line| line.starts_with("| `") && line.contains("`, `"));
        let words: BTreeSet<&str> = rows
            .filter_map(|row| row.split('|').nth(1))
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        let all = known();
        assert_eq!(words, all.split(", ").collect());
    }

    #[test]
    fn a_wrong_configuration_is_told_with_its_place_and_no_drawing() {
        let folder = tempfile::tempdir().unwrap();
        for (text, line, column, words) in [
            ("require = [\"limits\"]\nfoo = \n", 2, 7, "quoted"),
            ("requir = []\n", 1, 1, "unknown field `requir`"),
            ("require = [\"limts\"]\n", 1, 11, "`limts` is none of files"),
        ] {
            std::fs::write(folder.path().join("config.toml"), text).unwrap();
            let told = load(folder.path()).unwrap_err().told();
            let position = told.place.as_ref().and_then(|place| place.position).unwrap();
            assert_eq!((position.line, position.column), (line, column), "{text}");
            let why = told.why.unwrap();
            assert!(why.contains(words) && !why.contains(['\n', '|']), "{why}");
        }
    }
}
