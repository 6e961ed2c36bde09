//! The digest of what a lock is made for: sources and environments, in one canonical form.
//!
//! It leaves out all that pins nothing: steps, names of artifacts, the matrix, and the variables
//! and comments of environments. So editing `run` never makes a lock stale, and neither does the
//! order of keys.

use model::Digest;
use serde_json::{Value, json};

use crate::manifest::{EnvironmentKind, Manifest, SourceKind};

/// Returns the digest of the sources and environments of `manifest`, normalised: as JSON with
/// sorted keys and lists, without spaces.
pub fn inputs_digest(manifest: &Manifest) -> Digest {
    Digest::of(normal_form(manifest).to_string().as_bytes())
}

fn normal_form(manifest: &Manifest) -> Value {
    let sources: Value = manifest
        .sources
        .iter()
        .map(|source| (source.name.value.to_string(), normal_source(&source.kind)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let environments: Value = manifest
        .environments
        .iter()
        .map(|environment| {
            (environment.name.value.to_string(), normal_environment(&environment.kind))
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({ "sources": sources, "environments": environments })
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
