//! `runDetails`: what is of this run only, so that everything else can be compared byte for byte.
//!
//! kiln's own members are named `kiln_…`, never change the meaning of others, and are bounded: a
//! run of a thousand steps names the first [`STEPS_MAX`] and says how many there were. The rest is
//! in the byproduct that holds the step records.
//!
//! Pure. Source: SLSA v1.2, provenance, `runDetails` and "extension fields".

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::isolation::{Enforced, Guarantee, Mechanism};
use model::record::{Byproduct, RunDetails, StepRecord};
use serde::Serialize;

use super::dependencies::{Descriptor, DigestSet, sha256};
use crate::builder::BuilderId;
use crate::order::Refused;

/// Most steps that a statement names one by one.
pub(crate) const STEPS_MAX: usize = 256;

/// The member `runDetails`.
#[derive(Serialize)]
pub(crate) struct Details {
    builder: Builder,
    #[serde(rename = "kiln_backend")]
    backend: String,
    #[serde(rename = "kiln_enforced")]
    enforced: Vec<Mechanism>,
    #[serde(rename = "kiln_absent", skip_serializing_if = "BTreeMap::is_empty")]
    absent: BTreeMap<Guarantee, String>,
    #[serde(rename = "kiln_limits", skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, String>,
    #[serde(rename = "kiln_host", skip_serializing_if = "BTreeMap::is_empty")]
    host: BTreeMap<String, String>,
    #[serde(rename = "kiln_claims", skip_serializing_if = "BTreeMap::is_empty")]
    claims: BTreeMap<String, Claim>,
    #[serde(rename = "kiln_rebuild")]
    rebuild: &'static str,
    #[serde(rename = "kiln_steps")]
    steps: Steps,
    metadata: Metadata,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    byproducts: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Builder {
    id: String,
    version: BTreeMap<&'static str, String>,
    builder_dependencies: [Descriptor; 1],
}

/// What a CI variable said: never a fact.
#[derive(Serialize)]
struct Claim {
    value: String,
    origin: &'static str,
}

#[derive(Serialize)]
struct Steps {
    total: usize,
    listed: Vec<StepOut>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepOut {
    id: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    test: bool,
    action: DigestSet,
    environment: DigestSet,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_from: Option<String>,
    exit: i32,
    started_on: String,
    wall_ms: u64,
    log: DigestSet,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    log_cut: bool,
    #[serde(skip_serializing_if = "is_zero")]
    left_processes: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    network_attempts: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    invocation_id: String,
    started_on: String,
    finished_on: String,
}

/// Most network attempts that one step's entry names.
const ATTEMPTS_MAX: usize = 16;

/// Returns `runDetails`.
///
/// # Errors
/// A time that no calendar has.
pub(crate) fn details(run: &RunDetails, builder: &BuilderId) -> Result<Details, Refused> {
    let steps = run.steps.iter().take(STEPS_MAX).map(step).collect::<Result<_, _>>()?;
    let claims = run
        .claims
        .iter()
        .map(|(name, value)| (name.clone(), Claim { value: value.clone(), origin: "environment" }));
    let mut byproducts: Vec<&Byproduct> = run.byproducts.iter().collect();
    byproducts.sort();
    Ok(Details {
        builder: Builder {
            id: builder.to_string(),
            version: BTreeMap::from([("kiln", run.kiln_version.clone())]),
            builder_dependencies: [plain("kiln", sha256(&run.kiln_digest))],
        },
        backend: run.backend.clone(),
        enforced: everywhere_enforced(&run.steps),
        absent: run.steps.iter().flat_map(|step| step.enforced.absent.clone()).collect(),
        limits: merged_limits(&run.steps),
        host: run.host.clone(),
        claims: claims.collect(),
        rebuild: run.rebuild.as_str(),
        steps: Steps { total: run.steps.len(), listed: steps },
        metadata: Metadata {
            invocation_id: run.invocation.clone(),
            started_on: time(run.started)?,
            finished_on: time(run.finished)?,
        },
        byproducts: byproducts.into_iter().map(byproduct).collect(),
    })
}

/// Returns what held in every step; where steps differ in the detail only, the detail is left empty.
pub(crate) fn everywhere_enforced(steps: &[StepRecord]) -> Vec<Mechanism> {
    let Some((first, others)) = steps.split_first() else { return Vec::new() };
    let held = |enforced: &Enforced, wanted: &Mechanism, exactly: bool| {
        enforced.mechanisms.iter().any(|one| {
            one.guarantee == wanted.guarantee
                && one.mechanism == wanted.mechanism
                && (!exactly || one.detail == wanted.detail)
        })
    };
    let mut common = BTreeSet::new();
    for wanted in &first.enforced.mechanisms {
        let all = |exactly| others.iter().all(|step| held(&step.enforced, wanted, exactly));
        if all(true) {
            common.insert(wanted.clone());
        } else if all(false) {
            common.insert(Mechanism { detail: String::new(), ..wanted.clone() });
        }
    }
    common.into_iter().collect()
}

/// Returns the limits in force: by name where all steps agree, else by `step.name`.
fn merged_limits(steps: &[StepRecord]) -> BTreeMap<String, String> {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in steps.iter().flat_map(|step| &step.limits) {
        values.entry(name).or_default().insert(value);
    }
    let mut merged = BTreeMap::new();
    for step in steps.iter().take(STEPS_MAX) {
        for (name, value) in &step.limits {
            let agreed = values.get(name.as_str()).is_none_or(|all| all.len() == 1)
                && steps.iter().all(|step| step.limits.contains_key(name));
            let key = if agreed { name.clone() } else { format!("{}.{name}", step.id) };
            merged.insert(key, value.clone());
        }
    }
    merged
}

fn step(record: &StepRecord) -> Result<StepOut, Refused> {
    Ok(StepOut {
        id: record.id.to_string(),
        test: record.test,
        action: sha256(&record.action),
        environment: sha256(&record.environment),
        cached_from: record.cached_from.clone(),
        exit: record.exit_code,
        started_on: time(record.started)?,
        wall_ms: record.wall_ms,
        log: sha256(&record.log.digest),
        log_cut: record.log_cut,
        left_processes: record.left_processes,
        network_attempts: record.network_attempts.iter().take(ATTEMPTS_MAX).cloned().collect(),
    })
}

fn byproduct(one: &Byproduct) -> Descriptor {
    Descriptor {
        media_type: Some(one.media_type.clone()),
        annotations: one.annotations.clone(),
        ..plain(&one.name, sha256(&one.digest))
    }
}

pub(crate) fn plain(name: &str, digest: DigestSet) -> Descriptor {
    Descriptor {
        name: name.to_owned(),
        uri: None,
        digest,
        media_type: None,
        annotations: BTreeMap::new(),
    }
}

/// Writes seconds since 1970 as RFC 3339 in UTC with `Z`, whole seconds.
pub(crate) fn time(seconds: i64) -> Result<String, Refused> {
    match Timestamp::from_second(seconds) {
        Ok(time) => Ok(time.to_string()),
        Err(_) => Err(Refused::Calendar { seconds }),
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}
