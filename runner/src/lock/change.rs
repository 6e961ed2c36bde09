//! Says whether a lock still belongs to a build file, and if not, what changed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::input::{Wishes, digest_of, wishes};
use super::{Lock, UsedBy, inputs_digest};
use crate::diagnostic::{Code, Diagnostic, Place};
use crate::manifest::{EnvironmentKind, Manifest};

/// Most changes that are told; whoever changed more looks at the build file anyway.
const TOLD_MAX: usize = 12;
/// Longest name or value that is shown of a change, in characters.
const TOLD_CHARS_MAX: usize = 80;

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
    let name = manifest.file.name();
    let mut changes: Vec<String> = Vec::new();
    if lock.inputs_digest != inputs_digest(manifest) {
        changes.extend(wish_changes(lock, &wishes(manifest)));
    }
    for missing in required.difference(&pinned) {
        changes.push(format!("{missing} is not in it"));
    }
    for surplus in pinned.difference(&required) {
        changes.push(format!("{surplus} is in it, and {name} does not pin it"));
    }
    if changes.is_empty() && lock.inputs_digest != inputs_digest(manifest) {
        changes
            .push(format!("`sources` or environments of {name} were edited after it was written"));
    }
    if changes.len() > TOLD_MAX {
        let more = changes.len() - TOLD_MAX;
        changes.truncate(TOLD_MAX);
        changes.push(format!("and {more} more"));
    }
    changes
}

/// Says which wishes are others than those that the lock was made for. Says nothing where the lock
/// does not carry them, or where they are not those of its digest.
fn wish_changes(lock: &Lock, new: &Wishes) -> Vec<String> {
    let read = |pin: &super::InputPin| {
        serde_json::from_str::<Value>(&pin.wish).ok().map(|wish| (pin.used_by.clone(), wish))
    };
    let old: Option<Wishes> = lock.inputs.iter().map(read).collect();
    let Some(old) = old.filter(|old| digest_of(old) == lock.inputs_digest) else {
        return Vec::new();
    };
    let mut changes = Vec::new();
    let both: BTreeSet<&UsedBy> = old.keys().chain(new.keys()).collect();
    for used_by in both {
        match (old.get(used_by), new.get(used_by)) {
            (Some(old), Some(new)) => differences(&used_by.told(), "", old, new, &mut changes),
            (None, _) => changes.push(format!("{} is new", used_by.told())),
            (_, None) => changes.push(format!("{} is gone", used_by.told())),
        }
    }
    changes
}

/// Adds a phrase for each difference between two wishes: by key, and in lists by member.
fn differences(whose: &str, key: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let both: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in both {
                let of = |map: &serde_json::Map<_, _>| map.get(key).cloned().unwrap_or_default();
                differences(whose, &cut(key), &of(old), &of(new), out);
            }
        }
        (Value::Array(before), Value::Array(after)) if before != after => {
            let told = out.len();
            let lost = before.iter().filter(|member| !after.contains(member));
            out.extend(lost.map(|one| format!("{whose}: {} is gone from `{key}`", shown(one))));
            let won = after.iter().filter(|member| !before.contains(member));
            out.extend(won.map(|one| format!("{whose}: {} is new in `{key}`", shown(one))));
            if out.len() == told {
                out.push(format!("{whose}: `{key}` has another order"));
            }
        }
        (old, new) if old != new && old.is_null() => {
            out.push(format!("{whose}: `{key}` is new"));
        }
        (old, new) if old != new && new.is_null() => {
            out.push(format!("{whose}: `{key}` is gone"));
        }
        (old, new) if old != new => {
            out.push(format!("{whose}: `{key}` was {}, is {}", shown(old), shown(new)));
        }
        _ => {}
    }
}

/// Returns a value of a wish as people read it.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("`{}`", cut(&text))
}

/// Cuts a text of the lock to a readable length and makes it harmless.
fn cut(text: &str) -> String {
    let short: String = text.chars().take(TOLD_CHARS_MAX).collect();
    model::text::escape(short.as_bytes()) + if short.len() < text.len() { "…" } else { "" }
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
