//! What dpkg's `status` file says: which packages there are, and what they need and provide.
//!
//! ```text
//! /var/lib/dpkg/
//!   status          this module
//!   arch            the host's architectures, its own first; absent while there is only one
//!   updates/        the journal of a dpkg that is running or was interrupted
//!   info/           the files of each package: contents.rs
//!   diversions      files renamed on behalf of other packages: diversions.rs
//!   alternatives/   links chosen among packages: alternatives.rs
//! ```
//!
//! Parsed once from bytes, without a copy; nothing here looks at a second file.
//!
//! Format: dpkg-query(1) for the states; deb-control(5) for the fields.

use std::collections::HashMap;

use super::control::{self, ControlError};
use super::package::{Arch, TextError};
use super::relation::{self, Relation, RelationError};

/// All packages the database knows.
pub(super) struct Database<'a> {
    /// Every stanza that stands for a package with files, in the order of the file.
    pub(super) packages: Vec<Package<'a>>,
    /// The host's own architecture.
    pub(super) native: Arch,
    by_name: HashMap<&'a str, Vec<usize>>,
    providers: HashMap<&'a str, Vec<(usize, Relation<'a>)>>,
}

/// One package of the database.
#[derive(Debug)]
pub(super) struct Package<'a> {
    pub(super) name: &'a str,
    pub(super) arch: &'a str,
    pub(super) version: &'a str,
    pub(super) state: State<'a>,
    pub(super) essential: bool,
    pub(super) multi_arch: MultiArch,
    pub(super) pre_depends: &'a str,
    pub(super) depends: &'a str,
    pub(super) replaces: &'a str,
    pub(super) conffiles: &'a str,
}

/// Whether a package's files can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State<'a> {
    /// Unpacked and configured.
    Installed,
    /// Files are there, but dpkg has not finished: unpacked, half-configured, waiting for triggers.
    Unfinished(&'a str),
}

/// What other architectures may make of a package: the field `Multi-Arch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MultiArch {
    No,
    Same,
    Foreign,
    Allowed,
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file is not made of stanzas.
    #[error("cannot read the package database")]
    Control(#[from] ControlError),
    /// A package's field `Status` is not three words.
    #[error("package number {number} of the database has no readable status")]
    Status {
        /// Which stanza, from 1.
        number: usize,
    },
    /// A package's `Provides` cannot be read.
    #[error("cannot read what package number {number} of the database provides")]
    Provides {
        /// Which stanza, from 1.
        number: usize,
        /// The cause.
        #[source]
        source: RelationError,
    },
    /// The host's own architecture is not a good name.
    #[error("the host's architecture in the package database is not readable")]
    Native(#[source] TextError),
}

impl<'a> Database<'a> {
    /// Parses the `status` file, and `arch` if there is one.
    pub(super) fn parse(
        status: &'a [u8],
        arch: Option<&'a str>,
    ) -> Result<Database<'a>, DatabaseError> {
        let mut packages = Vec::new();
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut providers: HashMap<&str, Vec<(usize, Relation)>> = HashMap::new();
        for (index, stanza) in control::stanzas(status)?.iter().enumerate() {
            let number = index + 1;
            let Some(state) =
                state(stanza.text("Status")?).ok_or(DatabaseError::Status { number })?
            else {
                continue;
            };
            let name = stanza.text("Package")?;
            let at = packages.len();
            by_name.entry(name).or_default().push(at);
            let provides = relation::groups(stanza.text("Provides")?);
            for relation in provides
                .map_err(|source| DatabaseError::Provides { number, source })?
                .into_iter()
                .flatten()
            {
                providers.entry(relation.name).or_default().push((at, relation));
            }
            packages.push(Package {
                name,
                arch: stanza.text("Architecture")?,
                version: stanza.text("Version")?,
                state,
                essential: stanza.text("Essential")? == "yes",
                multi_arch: multi_arch(stanza.text("Multi-Arch")?),
                pre_depends: stanza.text("Pre-Depends")?,
                depends: stanza.text("Depends")?,
                replaces: stanza.text("Replaces")?,
                conffiles: stanza.text("Conffiles")?,
            });
        }
        let native = match arch.and_then(|text| text.lines().next()).map(str::trim) {
            Some(native) if !native.is_empty() => native,
            _ => native(&packages),
        };
        let native = Arch::new(native).map_err(DatabaseError::Native)?;
        Ok(Database { packages, native, by_name, providers })
    }

    /// Returns the packages of a name, of all architectures.
    pub(super) fn named(&self, name: &str) -> &[usize] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns the packages that provide a name, with the version they provide it in.
    pub(super) fn providing(&self, name: &str) -> &[(usize, Relation<'a>)] {
        self.providers.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The architecture of dpkg itself, else of the first Essential package that has one.
fn native<'a>(packages: &[Package<'a>]) -> &'a str {
    let dpkg = packages.iter().find(|package| package.name == "dpkg");
    let essential = || packages.iter().find(|package| package.essential && package.arch != "all");
    dpkg.or_else(essential).map_or("all", |package| package.arch)
}

/// Reads `WANT FLAG STATUS`: none for no status at all, `Some(None)` for a package without files.
fn state(text: &str) -> Option<Option<State<'_>>> {
    let mut words = text.split_ascii_whitespace();
    let (_want, flag, status) = (words.next()?, words.next()?, words.next()?);
    Some(match (flag, status) {
        (_, "not-installed" | "config-files") => None,
        ("ok", "installed") => Some(State::Installed),
        (_, status) => Some(State::Unfinished(status)),
    })
}

fn multi_arch(text: &str) -> MultiArch {
    match text {
        "same" => MultiArch::Same,
        "foreign" => MultiArch::Foreign,
        "allowed" => MultiArch::Allowed,
        _ => MultiArch::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_without_files_are_not_there() {
        let status = b"Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nProvides: x (= 2), y\n\n\
            Package: b\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n\
            Package: c\nStatus: hold ok installed\nArchitecture: all\nVersion: 1\nEssential: yes\nMulti-Arch: foreign\n\n\
            Package: d\nStatus: install reinstreq installed\nArchitecture: all\nVersion: 1\n\n\
            Package: e\nStatus: install ok triggers-pending\nArchitecture: all\nVersion: 1\n";
        let database = Database::parse(status, Some("arm64\namd64\n")).unwrap();
        let states: Vec<_> =
            database.packages.iter().map(|package| (package.name, package.state)).collect();
        assert_eq!(
            states,
            [
                ("a", State::Installed),
                ("c", State::Installed),
                ("d", State::Unfinished("installed")),
                ("e", State::Unfinished("triggers-pending")),
            ]
        );
        assert_eq!(database.native.as_str(), "arm64");
        assert_eq!(database.providing("x").len(), 1);
        assert!(database.named("b").is_empty() && database.packages[1].essential);
    }

    #[test]
    fn a_status_that_is_no_status_is_refused() {
        assert!(matches!(
            Database::parse(b"Package: a\nStatus: installed\n", None),
            Err(DatabaseError::Status { number: 1 })
        ));
    }
}
