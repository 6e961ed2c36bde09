//! Gives each place to one owner.
//!
//! Folders belong to every package that lists them. A file belongs to one: the copies of a package
//! for several architectures share theirs, a package that replaces another wins, and anything else
//! is a host whose database contradicts itself. A link that stands where packages list a folder, such
//! as `/bin`, is nobody's if files were found through it, else the first one's.
//!
//! Does no I/O.
//!
//! Rules: Debian Policy, section 7.6.1 (Replaces); deb-control(5) (`Multi-Arch: same`).

use std::collections::{BTreeMap, HashMap, HashSet};

use model::RelPath;

use super::absent::Why;
use super::contents::Contents;
use super::database::{MultiArch, Package};
use super::entry::EntryKind;
use super::relation;

/// Two packages list the same file and neither replaces the other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("packages {first} and {second} both list /{at}, and neither replaces the other")]
pub struct OwnershipError {
    /// The package earlier by name.
    pub first: Box<str>,
    /// The other.
    pub second: Box<str>,
    /// The file.
    pub at: RelPath,
}

/// Takes every file that has two owners from one of them, and `walked`, the links that folders were
/// found through, from all.
pub(super) fn settle(
    packages: &[&Package],
    contents: &mut [Contents],
    walked: &BTreeMap<String, String>,
) -> Result<(), OwnershipError> {
    for contents in contents.iter_mut() {
        contents.entries.retain(|entry| !walked.contains_key(entry.at.as_str()));
    }
    let mut owners: HashMap<&RelPath, usize> = HashMap::new();
    let mut losers: HashMap<usize, HashSet<RelPath>> = HashMap::new();
    for (index, content) in contents.iter().enumerate() {
        for entry in content.entries.iter().filter(|entry| entry.kind != EntryKind::Dir) {
            let Some(&before) = owners.get(&entry.at) else {
                owners.insert(&entry.at, index);
                continue;
            };
            let loser = match loser(packages[before], packages[index]) {
                Some(Side::First) => {
                    owners.insert(&entry.at, index);
                    before
                }
                Some(Side::Second) => index,
                None if matches!(entry.kind, EntryKind::Symlink { .. }) => index,
                None => {
                    let (first, second) =
                        (packages[before].name.into(), packages[index].name.into());
                    return Err(OwnershipError { first, second, at: entry.at.clone() });
                }
            };
            losers.entry(loser).or_default().insert(entry.at.clone());
        }
    }
    for (index, places) in losers {
        leave_out(&mut contents[index], &places, Why::Superseded);
    }
    Ok(())
}

/// Takes entries out of a package's contents, and says why.
pub(super) fn leave_out(contents: &mut Contents, places: &HashSet<RelPath>, why: Why) {
    let omitted = &mut contents.omitted;
    contents.entries.retain(|entry| {
        let out = entry.kind != EntryKind::Dir && places.contains(&entry.at);
        if out {
            omitted.push((entry.at.clone(), why));
        }
        !out
    });
}

enum Side {
    First,
    Second,
}

fn loser(first: &Package, second: &Package) -> Option<Side> {
    let shares = |package: &Package| package.multi_arch == MultiArch::Same;
    let copies = first.name == second.name && shares(first) && shares(second);
    if copies || replaces(first, second) {
        Some(Side::Second)
    } else if replaces(second, first) {
        Some(Side::First)
    } else {
        None
    }
}

/// A field that cannot be read replaces nothing. The version does not matter: dpkg took the file
/// when the relation held, and no later version of the other package got it back.
fn replaces(package: &Package, other: &Package) -> bool {
    let groups = relation::groups(package.replaces).unwrap_or_default();
    groups.iter().flatten().any(|relation| relation.name == other.name)
}
