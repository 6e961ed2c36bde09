//! `pin: true`: a host environment that must stay as the lock has it.
//!
//! A pinned environment has one row for each package, one for each listed path, and one for the files
//! of no package, under the path `/`. Rows are made by `kiln lock` alone; a build compares.

use std::collections::{BTreeMap, BTreeSet};

use fetch::host::{Arch, PackageName, Version};
use model::record::DigestOf;
use model::relpath::{AbsPath, Ident};

use super::prepare::environments;
use crate::cli::Session;
use crate::diagnostic::{Code, Diagnostic, Place};
use crate::environment::{Environment, Part};
use crate::lock::{self, HostItem, HostPin, Lock, UsedBy};
use crate::manifest::Manifest;
use crate::project::{LOCK_FILE, Project};
use crate::report::Talk;

/// What the lock says of who wrote it.
pub const GENERATED_BY: &str = concat!("kiln ", env!("CARGO_PKG_VERSION"));

/// Returns the lock of a build file. Pins that still satisfy it are kept, unless `upgrade` names
/// their environment or, being empty, all.
///
/// # Errors
/// What is wrong with an environment that is pinned.
pub fn lock(
    session: &Session,
    _: &Project,
    manifest: &Manifest,
    old: Option<&Lock>,
    upgrade: Option<&str>,
    talk: &mut Talk,
) -> Result<Lock, Vec<Diagnostic>> {
    let mut new = Lock::made_for(manifest, GENERATED_BY);
    let required = lock::required(manifest);
    let unchanged = old.filter(|old| old.inputs_digest == new.inputs_digest);
    let mut wanted: BTreeSet<&Ident> = BTreeSet::new();
    for used_by in &required {
        let moved = upgrade.is_some_and(|name| name.is_empty() || used_by.name().as_str() == name);
        let kept: Vec<HostPin> = unchanged
            .filter(|_| !moved)
            .map(|old| old.hosts_of(used_by).cloned().collect())
            .unwrap_or_default();
        if kept.is_empty() {
            wanted.insert(used_by.name());
        }
        new.hosts.extend(kept);
    }
    if !wanted.is_empty() {
        let store = session.store()?;
        for (name, environment) in
            environments(session, manifest, &wanted, &Vec::new, &store, talk)?
        {
            new.hosts.extend(pins(&UsedBy::Environment(name), &environment));
        }
        store.sync().map_err(|error| vec![crate::refusal::store(&error)])?;
    }
    Ok(new)
}

/// Compares pinned environments with the lock.
///
/// # Errors
/// KILN-0206 for everything that is not as pinned.
pub fn check(
    manifest: &Manifest,
    environments: &BTreeMap<Ident, Environment>,
    bytes: Option<&[u8]>,
) -> Result<(), Vec<Diagnostic>> {
    let required = lock::required(manifest);
    let Some(bytes) = bytes.filter(|_| !required.is_empty()) else { return Ok(()) };
    let lock = lock::parse(bytes, LOCK_FILE).map_err(|diagnostic| vec![*diagnostic])?;
    let mut wrong = Vec::new();
    for (name, environment) in environments {
        let used_by = UsedBy::Environment(name.clone());
        if !required.contains(&used_by) {
            continue;
        }
        let pinned: BTreeSet<HostPin> = lock.hosts_of(&used_by).cloned().collect();
        let found: BTreeSet<HostPin> = pins(&used_by, environment).into_iter().collect();
        wrong.extend(pinned.difference(&found).map(|pin| {
            differs(name, pin, found.iter().find(|other| same_thing(&pin.item, &other.item)))
        }));
        let new =
            found.iter().filter(|pin| !pinned.iter().any(|old| same_thing(&pin.item, &old.item)));
        wrong.extend(new.map(|pin| differs(name, pin, None).got("a part that is not in the lock")));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn pins(used_by: &UsedBy, environment: &Environment) -> Vec<HostPin> {
    let pin = |part: &Part| {
        Some(HostPin { used_by: used_by.clone(), item: item(part)?, tree: part.digest })
    };
    environment
        .parts
        .iter()
        .filter(|part| part.digest_of == DigestOf::ReapiV2Directory)
        .filter_map(pin)
        .collect()
}

fn item(part: &Part) -> Option<HostItem> {
    match (&part.version, &part.arch) {
        (Some(version), Some(arch)) => Some(HostItem::Package {
            name: PackageName::new(&part.name).ok()?,
            arch: Arch::new(arch).ok()?,
            version: Version::new(version).ok()?,
        }),
        _ if part.name.starts_with('/') => AbsPath::new(&part.name).ok().map(HostItem::Path),
        _ => Some(HostItem::Path(AbsPath::default())),
    }
}

fn same_thing(one: &HostItem, other: &HostItem) -> bool {
    match (one, other) {
        (
            HostItem::Package { name, arch, .. },
            HostItem::Package { name: other, arch: other_arch, .. },
        ) => name == other && arch == other_arch,
        (HostItem::Path(path), HostItem::Path(other)) => path == other,
        (HostItem::Package { .. }, HostItem::Path(_))
        | (HostItem::Path(_), HostItem::Package { .. }) => false,
    }
}

fn text(item: &HostItem) -> String {
    match item {
        HostItem::Package { name, arch, version } => format!("package {name} {version} {arch}"),
        HostItem::Path(path) => format!("path {path}"),
    }
}

fn differs(environment: &Ident, pinned: &HostPin, found: Option<&HostPin>) -> Diagnostic {
    let told = Diagnostic::new(
        Code::HostDiffers,
        format!("environment `{environment}` is not as pinned: {}", text(&pinned.item)),
    )
    .at(Place::file(LOCK_FILE))
    .expected(format!("{}, {}", text(&pinned.item), pinned.tree))
    .help("install what the lock names, or accept what is here:  kiln lock --upgrade");
    match found {
        Some(found) => told.got(format!("{}, {}", text(&found.item), found.tree)),
        None => told.got("nothing"),
    }
}
