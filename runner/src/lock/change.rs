//! Says whether a lock still belongs to a build file, and if not, what changed.

use std::collections::BTreeSet;

use super::{Lock, UsedBy, inputs_digest};
use crate::diagnostic::{Code, Diagnostic, Place};
use crate::manifest::{EnvironmentKind, Manifest};

/// Returns the environments of `manifest` that need rows in the lock: those of kind `host` with
/// `pin: true`.
pub fn required(manifest: &Manifest) -> BTreeSet<UsedBy> {
    manifest
        .environments
        .iter()
        .filter(|environment| match &environment.kind {
            EnvironmentKind::Host(host) => host.pin,
            EnvironmentKind::Step(_) => false,
        })
        .map(|environment| UsedBy::Environment(environment.name.value.clone()))
        .collect()
}

/// Checks that `lock` was made for the sources and environments of `manifest`.
///
/// # Errors
/// KILN-0202, with what changed as far as the lock tells it.
pub fn check(lock: &Lock, manifest: &Manifest, file: &str) -> Result<(), Box<Diagnostic>> {
    let changes = changes(lock, manifest);
    if changes.is_empty() { Ok(()) } else { Err(Box::new(stale(lock, manifest, file, &changes))) }
}

/// Returns KILN-0201: there is no lock where one is needed.
pub fn absent(file: &str) -> Diagnostic {
    Diagnostic::new(Code::LockAbsent, format!("there is no {file}"))
        .at(Place::file(file))
        .why("nothing moving is used unpinned, and the lock may not be written by this command")
        .help("write it and commit it:  kiln lock")
}

/// Returns KILN-0202 with `changes`, one phrase each.
pub fn stale(lock: &Lock, manifest: &Manifest, file: &str, changes: &[String]) -> Diagnostic {
    Diagnostic::new(Code::LockStale, format!("{file} is stale: {}", changes.join("; ")))
        .at(Place::file(file))
        .expected(inputs_digest(manifest).to_string())
        .got(lock.inputs_digest.to_string())
        .help("look at the change, then pin it:  kiln lock")
}

fn changes(lock: &Lock, manifest: &Manifest) -> Vec<String> {
    let pinned: BTreeSet<UsedBy> = lock.used_by();
    let required = required(manifest);
    let mut changes: Vec<String> = Vec::new();
    for missing in required.difference(&pinned) {
        changes.push(format!("{missing} is not in it"));
    }
    for surplus in pinned.difference(&required) {
        changes.push(format!("{surplus} is in it, and {} does not pin it", manifest.file.name()));
    }
    if changes.is_empty() && lock.inputs_digest != inputs_digest(manifest) {
        let name = manifest.file.name();
        changes
            .push(format!("`sources` or environments of {name} were edited after it was written"));
    }
    changes
}

impl Lock {
    /// Returns everything that has rows.
    fn used_by(&self) -> BTreeSet<UsedBy> {
        let named = |name: &str| model::Ident::new(name.split('/').next().unwrap_or(name)).ok();
        let packages = self.packages.iter().map(|pin| pin.used_by.clone());
        let images = self.images.iter().map(|pin| pin.used_by.clone());
        let rootfs = self.rootfs.iter().map(|pin| pin.used_by.clone());
        let hosts = self.hosts.iter().map(|pin| pin.used_by.clone());
        let sources = self.sources.iter().filter_map(|pin| named(&pin.name).map(UsedBy::Source));
        let lockfiles = self.lockfiles.iter().map(|pin| UsedBy::Source(pin.name.clone()));
        packages.chain(images).chain(rootfs).chain(hosts).chain(sources).chain(lockfiles).collect()
    }
}
