//! The digest of what a lock is made for: sources and environments, in one canonical form.
//!
//! It leaves out all that pins nothing: steps, names of artifacts, the matrix, and the variables
//! and comments of environments. So editing `run` never makes a lock stale, and neither does the
//! order of keys.

use std::collections::BTreeMap;

use model::Digest;
use serde_json::{Map, Value, json};

use super::row::{InputPin, UsedBy};
use crate::manifest::{EnvironmentKind, Manifest, SourceKind};

/// What is wished of each source and environment, in its normal form.
pub(super) type Wishes = BTreeMap<UsedBy, Value>;

/// Returns the digest of the sources and environments of `manifest`, normalised: as JSON with
/// sorted keys and lists, without spaces.
pub fn inputs_digest(manifest: &Manifest) -> Digest {
    digest_of(&wishes(manifest))
}

/// Returns the rows that say what a lock is made for.
pub(super) fn inputs(manifest: &Manifest) -> Vec<InputPin> {
    let pin = |(used_by, wish): (UsedBy, Value)| InputPin { used_by, wish: wish.to_string() };
    wishes(manifest).into_iter().map(pin).collect()
}

/// Returns what is wished of each source and environment.
pub(super) fn wishes(manifest: &Manifest) -> Wishes {
    let sources = manifest
        .sources
        .iter()
        .map(|source| (UsedBy::Source(source.name.value.clone()), normal_source(&source.kind)));
    let environments = manifest.environments.iter().map(|environment| {
        let used_by = UsedBy::Environment(environment.name.value.clone());
        (used_by, normal_environment(&environment.kind))
    });
    sources.chain(environments).collect()
}

/// Returns the digest of wishes as a lock has them; none where one is no JSON.
pub(super) fn pinned(inputs: &[InputPin]) -> Option<Digest> {
    let read = |pin: &InputPin| Some((pin.used_by.clone(), serde_json::from_str(&pin.wish).ok()?));
    inputs.iter().map(read).collect::<Option<Wishes>>().map(|wishes| digest_of(&wishes))
}

/// Returns the digest of all wishes together.
pub(super) fn digest_of(wishes: &Wishes) -> Digest {
    let (mut sources, mut environments) = (Map::new(), Map::new());
    for (used_by, wish) in wishes {
        let of = match used_by {
            UsedBy::Source(_) => &mut sources,
            UsedBy::Environment(_) => &mut environments,
        };
        of.insert(used_by.name().to_string(), wish.clone());
    }
    let all = json!({ "sources": sources, "environments": environments });
    Digest::of(all.to_string().as_bytes())
}

fn normal_source(kind: &SourceKind) -> Value {
    match kind {
        SourceKind::Local { path, exclude } => {
            let mut exclude: Vec<&str> = exclude.iter().map(|glob| glob.value.as_str()).collect();
            exclude.sort_unstable();
            exclude.dedup();
            json!({ "local": path.value.to_string(), "exclude": exclude })
        }
    }
}

fn normal_environment(kind: &EnvironmentKind) -> Value {
    match kind {
        EnvironmentKind::Step(output) => json!({ "step": output.value.to_string() }),
        EnvironmentKind::Host(host) => {
            let mut packages: Vec<String> =
                host.packages.iter().map(|package| package.value.to_string()).collect();
            packages.sort_unstable();
            // Their order is that of `PATH`, so it stays.
            let paths: Vec<Value> = host
                .paths
                .iter()
                .map(|path| {
                    json!({
                        "from": path.value.from.to_string(),
                        "at": path.value.place().to_string(),
                        "path-prefix": path.value.path_prefix,
                    })
                })
                .collect();
            json!({ "host": { "packages": packages, "paths": paths, "pin": host.pin } })
        }
    }
}
