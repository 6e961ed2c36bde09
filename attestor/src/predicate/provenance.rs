//! SLSA provenance v1: a total function from a checked Record.
//!
//! `buildDefinition` says what every rebuilder would say, byte for byte; `runDetails` says the rest.
//! The external parameters come from the Order alone, few and all texts, so that a verifier can list
//! the names it knows and refuse every other.
//!
//! Pure. Does not catch: a parameter that a build type forgot to name; `docs/buildtypes/` says what
//! each names and why that is all. Source: SLSA v1.2, provenance v1; decisions 19 to 22.

use std::collections::BTreeMap;

use model::record::{Asked, Order, Record};
use serde::Serialize;

use super::dependencies::{self, DependencyManifest, Descriptor, DigestSet};
use super::run_details::{self, Details};
use crate::builder::{BuilderConfig, BuilderId};
use crate::order::Refused;

/// The predicate type, matched as a text by every verifier.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";

/// An artifact of a build file: `docs/buildtypes/build-v1.md`.
pub const BUILD_TYPE_BUILD: &str = "https://kiln.build/buildtypes/build/v1";
/// One wrapped command without a build file: `docs/buildtypes/run-v1.md`.
pub const BUILD_TYPE_RUN: &str = "https://kiln.build/buildtypes/run/v1";

/// The external parameters of [`BUILD_TYPE_BUILD`], all of them texts and all present.
pub const BUILD_PARAMETERS: [&str; 8] =
    ["buildFile", "commit", "dirty", "matrix", "overrides", "source", "target", "waivers"];
/// The external parameters of [`BUILD_TYPE_RUN`], all of them texts and all present.
pub const RUN_PARAMETERS: [&str; 10] = [
    "command",
    "commit",
    "dirty",
    "environment",
    "inputs",
    "outputs",
    "packages",
    "source",
    "target",
    "waivers",
];

/// The predicate.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Provenance {
    build_definition: BuildDefinition,
    run_details: Details,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    build_type: &'static str,
    external_parameters: BTreeMap<&'static str, String>,
    internal_parameters: InternalParameters,
    resolved_dependencies: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InternalParameters {
    platform: String,
    sandbox_profile: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<String, String>,
    environments: BTreeMap<String, DigestSet>,
}

/// Returns the predicate, and the dependency manifest where the list is too long for it.
///
/// # Errors
/// A backend that `config` has no id for; a time that no calendar has; else none in practice.
pub(crate) fn provenance(
    record: &Record,
    config: &BuilderConfig,
) -> Result<(Provenance, Option<DependencyManifest>), Refused> {
    let observed = &record.observed;
    let listed = dependencies::list(record).map_err(Refused::Write)?;
    let (build_type, external_parameters) = parameters(&record.order);
    let environments = observed
        .environments
        .iter()
        .map(|(name, root)| (name.clone(), dependencies::sha256(root)))
        .collect();
    let builder = builder(record, config)?;
    let predicate = Provenance {
        build_definition: BuildDefinition {
            build_type,
            external_parameters,
            internal_parameters: InternalParameters {
                platform: observed.platform.to_string(),
                sandbox_profile: observed.sandbox_profile.clone(),
                limits: observed.asked_limits.clone(),
                options: observed.options.clone(),
                environments,
            },
            resolved_dependencies: listed.entries,
        },
        run_details: run_details::details(&observed.run, builder)?,
    };
    Ok((predicate, listed.manifest))
}

/// Returns the builder.id that the attestor has for what ran the steps.
///
/// # Errors
/// A backend that `config` has no id for.
pub(crate) fn builder<'c>(
    record: &Record,
    config: &'c BuilderConfig,
) -> Result<&'c BuilderId, Refused> {
    let backend = &record.observed.run.backend;
    config
        .id(backend, !record.order.waivers.is_empty())
        .ok_or_else(|| Refused::Backend { backend: model::text::escape(backend.as_bytes()) })
}

/// Returns the build type of a request.
pub(crate) fn build_type(asked: &Asked) -> &'static str {
    match asked {
        Asked::Build { .. } => BUILD_TYPE_BUILD,
        Asked::Run { .. } => BUILD_TYPE_RUN,
    }
}

/// Returns the build type and its external parameters: the Order, without nonce and deadline, which
/// cannot affect the output.
fn parameters(order: &Order) -> (&'static str, BTreeMap<&'static str, String>) {
    let source = &order.source;
    let waivers: Vec<&str> = order.waivers.iter().map(|waiver| waiver.as_str()).collect();
    let mut all = BTreeMap::from([
        ("source", source.uri.clone()),
        ("commit", source.commit.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)),
        ("dirty", source.dirty.to_string()),
        ("waivers", waivers.join(",")),
    ]);
    match &order.asked {
        Asked::Build { build_file, target, matrix, overrides } => {
            let path = source.subfolder.join(build_file);
            all.insert("buildFile", path.as_str().to_owned());
            all.insert("target", target.clone());
            all.insert("matrix", matrix.clone());
            all.insert("overrides", overrides.clone());
            (BUILD_TYPE_BUILD, all)
        }
        Asked::Run { command, inputs, outputs, packages, environment, target } => {
            for (name, value) in [
                ("command", command),
                ("inputs", inputs),
                ("outputs", outputs),
                ("packages", packages),
                ("environment", environment),
                ("target", target),
            ] {
                all.insert(name, value.clone());
            }
            (BUILD_TYPE_RUN, all)
        }
    }
}
