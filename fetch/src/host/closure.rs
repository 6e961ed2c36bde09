//! Chooses the packages of an environment: the Essential ones, the asked ones, and all they need.
//!
//! dpkg has already proved that the host's packages satisfy each other, so there is nothing to
//! solve: of each group of alternatives the first one that holds is followed. Where several
//! packages provide a virtual name, one that is asked for or Essential goes first, then the first
//! by name; so the answer depends on the set alone, never on the order of the walk.
//!
//! Does no I/O. Recommends and Suggests are never followed.
//!
//! Rules: Debian Policy, sections 3.8, 7.2, 7.5; architecture qualifiers and `Multi-Arch`:
//! deb-control(5), dpkg(1) `--add-architecture`.

use std::collections::BTreeSet;

use super::database::{Database, MultiArch, Package, State};
use super::package::{AskedPackage, PackageName};
use super::relation::{self, Relation, RelationError};

/// How many near names an error proposes.
const NEAREST_MAX: usize = 3;

/// Why there is no closure.
#[derive(Debug, thiserror::Error)]
pub enum ClosureError {
    /// An asked package is not installed.
    #[error("package {package} is not installed on this host")]
    NotInstalled {
        /// The package asked for.
        package: AskedPackage,
        /// Installed packages with such a name: providers first, then near spellings; at most 3.
        nearest: Vec<PackageName>,
    },
    /// A needed package is there, but dpkg has not finished with it.
    #[error("package {package} is needed and is only {state} on this host")]
    Unfinished {
        /// The package.
        package: Box<str>,
        /// dpkg's word for its state.
        state: Box<str>,
    },
    /// No alternative of a dependency is installed.
    #[error("package {package} needs `{needs}`, which is not installed on this host")]
    Unmet {
        /// The package with the dependency.
        package: Box<str>,
        /// The first alternative.
        needs: Box<str>,
    },
    /// A dependency field cannot be read.
    #[error("cannot read the dependencies of package {package}")]
    Relation {
        /// The package.
        package: Box<str>,
        /// The cause.
        #[source]
        source: RelationError,
    },
}

/// Returns the packages of the environment, sorted by name and architecture.
pub(super) fn closure(
    database: &Database,
    asked: &[AskedPackage],
) -> Result<Vec<usize>, ClosureError> {
    let seeds = seeds(database, asked)?;
    let mut found = seeds.clone();
    let mut todo: Vec<usize> = seeds.iter().copied().collect();
    while let Some(at) = todo.pop() {
        let package = &database.packages[at];
        if let State::Unfinished(state) = package.state {
            return Err(ClosureError::Unfinished {
                package: package.name.into(),
                state: state.into(),
            });
        }
        for field in [package.pre_depends, package.depends] {
            let groups = relation::groups(field);
            for group in groups
                .map_err(|source| ClosureError::Relation { package: package.name.into(), source })?
            {
                let next = choose(database, &seeds, &group, package.arch).ok_or_else(|| {
                    ClosureError::Unmet {
                        package: package.name.into(),
                        needs: group.first().map_or("", |relation| relation.name).into(),
                    }
                })?;
                if found.insert(next) {
                    todo.push(next);
                }
            }
        }
    }
    let mut sorted: Vec<usize> = found.into_iter().collect();
    sorted.sort_by_key(|&at| (database.packages[at].name, database.packages[at].arch));
    Ok(sorted)
}

fn seeds(database: &Database, asked: &[AskedPackage]) -> Result<BTreeSet<usize>, ClosureError> {
    let essential = |package: &Package| package.essential && fits_native(database, package);
    let mut seeds: BTreeSet<usize> =
        (0..database.packages.len()).filter(|&at| essential(&database.packages[at])).collect();
    for wanted in asked {
        let relation = Relation { name: wanted.name.as_str(), qualifier: None, version: None };
        let arch = wanted.arch.as_ref().map_or(database.native.as_str(), |arch| arch.as_str());
        let named = database.named(relation.name).iter().copied();
        let best = named.filter(|&at| match &wanted.arch {
            Some(arch) => database.packages[at].arch == arch.as_str(),
            None => fits(database, &database.packages[at], &relation, arch),
        });
        match best.min_by_key(|&at| preference(database, at, arch)) {
            Some(at) => seeds.insert(at),
            None => {
                return Err(ClosureError::NotInstalled {
                    package: wanted.clone(),
                    nearest: nearest(database, wanted.name.as_str()),
                });
            }
        };
    }
    Ok(seeds)
}

/// Returns the package that satisfies a group: the first alternative that fully holds, else the
/// first one that is there at all, since dpkg was told to accept it.
fn choose(
    database: &Database,
    seeds: &BTreeSet<usize>,
    group: &[Relation],
    arch: &str,
) -> Option<usize> {
    let strict = group.iter().find_map(|relation| {
        real(database, relation, arch, true)
            .or_else(|| provided(database, seeds, relation, arch, true))
    });
    strict.or_else(|| {
        group.iter().find_map(|relation| {
            real(database, relation, arch, false)
                .or_else(|| provided(database, seeds, relation, arch, false))
        })
    })
}

fn real(database: &Database, relation: &Relation, arch: &str, strict: bool) -> Option<usize> {
    let named = database.named(relation.name).iter().copied();
    let holds = named.filter(|&at| {
        let package = &database.packages[at];
        !strict
            || (package.state == State::Installed
                && relation.accepts(package.version)
                && fits(database, package, relation, arch))
    });
    holds.min_by_key(|&at| preference(database, at, arch))
}

fn provided(
    database: &Database,
    seeds: &BTreeSet<usize>,
    relation: &Relation,
    arch: &str,
    strict: bool,
) -> Option<usize> {
    let offers = database.providing(relation.name).iter();
    let holds = offers.filter(|(at, offer)| {
        let package = &database.packages[*at];
        let version_holds = match (relation.version, offer.version) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(_), Some((_, version))) => relation.accepts(version),
        };
        !strict
            || (package.state == State::Installed
                && version_holds
                && fits(database, package, relation, arch))
    });
    let ranked = holds.map(|&(at, _)| at);
    ranked.min_by_key(|&at| {
        (!seeds.contains(&at), database.packages[at].name, preference(database, at, arch))
    })
}

/// Says whether a package's architecture serves a relation of a package of architecture `arch`.
fn fits(database: &Database, package: &Package, relation: &Relation, arch: &str) -> bool {
    let native = database.native.as_str();
    let own = |arch| if arch == "all" { native } else { arch };
    match relation.qualifier {
        None => own(package.arch) == own(arch) || package.multi_arch == MultiArch::Foreign,
        Some("any") => {
            own(package.arch) == own(arch)
                || matches!(package.multi_arch, MultiArch::Allowed | MultiArch::Foreign)
        }
        Some("native") => own(package.arch) == native,
        Some(wanted) => package.arch == wanted,
    }
}

fn fits_native(database: &Database, package: &Package) -> bool {
    package.arch == "all" || package.arch == database.native.as_str()
}

/// The same architecture first, then `all`, then the others by name.
fn preference<'a>(database: &Database<'a>, at: usize, arch: &str) -> (u8, &'a str) {
    let package = &database.packages[at];
    let rank = if package.arch == arch {
        0
    } else if package.arch == "all" {
        1
    } else {
        2
    };
    (rank, package.arch)
}

/// Returns installed packages that were perhaps meant.
fn nearest(database: &Database, name: &str) -> Vec<PackageName> {
    let installed = |at: &usize| database.packages[*at].state == State::Installed;
    let mut near: Vec<(usize, &str)> = database
        .packages
        .iter()
        .filter(|package| package.state == State::Installed)
        .map(|package| (distance(package.name, name), package.name))
        .filter(|(distance, found)| {
            *distance <= 2.min(name.len() / 2)
                || found.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
        })
        .collect();
    near.sort_unstable();
    let providers = database.providing(name).iter().map(|(at, _)| *at).filter(installed);
    let mut names: Vec<&str> = Vec::new();
    for candidate in
        providers.map(|at| database.packages[at].name).chain(near.into_iter().map(|(_, name)| name))
    {
        if !names.contains(&candidate) && names.len() < NEAREST_MAX {
            names.push(candidate);
        }
    }
    names.into_iter().filter_map(|name| PackageName::new(name).ok()).collect()
}

/// The number of letters to add, drop or change; capped early by the difference in length.
fn distance(left: &str, right: &str) -> usize {
    if left.len().abs_diff(right.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, one) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.bytes().enumerate() {
            let change = diagonal + usize::from(one != other);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
