//! From what a build did to one Record for each artifact.
//!
//! An artifact's Record speaks of the steps that its bytes come from, and of nothing else of the
//! plan, so the same artifact has the same `buildDefinition` whatever else was built with it. Tests
//! gate a build and change no byte: they are part of the run's details.
//!
//! Does no I/O.

use std::collections::{BTreeMap, BTreeSet};

use model::digest::{Blob, Digest};
use model::isolation::Guarantee;
use model::platform::Platform;
use model::record::{
    Asked, Byproduct, Dependency, DigestOf, GitId, Nonce, Observed, Order, RECORD_VERSION, Rebuild,
    Record, Role, RunDetails, SourceRef, StepRecord, Subject,
};
use model::relpath::RelPath;
use model::step::{Epoch, Run, SANDBOX_PROFILE, SCRIPT_PATH, Step, StepId, Widen};

use crate::environment::Environment;
use crate::execute::Ran;
use crate::plan::{Artifact, Plan};

/// Seconds that the attestor has to sign a record after the build.
const SIGNING_SECONDS: i64 = 600;

/// What is known of the inputs of a build.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The source as git knows it.
    pub source: SourceRef,
    /// The sources, by name.
    pub sources: BTreeMap<String, SourceFact>,
    /// The host environments, by name.
    pub environments: BTreeMap<String, Environment>,
    /// The build file's name and bytes, where there is one.
    pub build_file: Option<(String, Digest)>,
    /// The lock's name and bytes, where there is one.
    pub lock: Option<(String, Digest)>,
}

/// One source.
#[derive(Clone, Debug)]
pub struct SourceFact {
    /// Its digest.
    pub digest: Digest,
    /// What that is of.
    pub digest_of: DigestOf,
    /// Its address, where it has one.
    pub uri: Option<String>,
    /// The commit it was taken from.
    pub git_commit: Option<GitId>,
    /// Git's own id of the same bytes, where the source is a whole folder of the repository.
    pub git_tree: Option<GitId>,
}

/// What is alike for every artifact of one run.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// The name of the run.
    pub invocation: String,
    /// Seconds since 1970.
    pub started: i64,
    /// Seconds since 1970.
    pub finished: i64,
    /// The kiln binary.
    pub kiln_digest: Digest,
    /// What ran the steps.
    pub backend: &'static str,
    /// Facts about the host.
    pub host: BTreeMap<String, String>,
    /// What CI variables claim.
    pub claims: BTreeMap<String, String>,
    /// The plan's own bytes.
    pub plan_digest: Digest,
    /// Guarantees allowed to be absent.
    pub waivers: BTreeSet<Guarantee>,
}

/// What a build did, as far as it is alike for all its artifacts.
#[derive(Clone, Copy, Debug)]
pub struct Built<'a> {
    /// What ran.
    pub plan: &'a Plan,
    /// What became of it.
    pub ran: &'a BTreeMap<StepId, Ran>,
    /// What went in.
    pub inputs: &'a Inputs,
    /// The run itself.
    pub run: &'a RunFacts,
}

/// Returns the Record of one artifact.
pub fn record(
    built: &Built<'_>,
    artifact: &Artifact,
    blob: Blob,
    asked: Asked,
    nonce: Nonce,
) -> Record {
    let Built { plan, ran, inputs, run } = *built;
    let closure = plan.closure(artifact.steps());
    let steps: Vec<&Step> = closure.iter().filter_map(|id| plan.steps.get(*id)).collect();
    let tests = plan.steps.values().filter(|step| step.test);
    let told: Vec<StepRecord> = steps
        .iter()
        .copied()
        .chain(tests)
        .filter_map(|step| ran.get(&step.id).map(|ran| step_record(step, ran)))
        .collect();
    let byproducts = byproducts(&told, run);
    let waivers = plan.steps.values().flat_map(|step| step.waived.iter().copied()).collect();
    let environments: BTreeMap<String, Digest> = steps
        .iter()
        .filter_map(|step| {
            inputs
                .environments
                .get(&step.environment_name)
                .map(|found| (step.environment_name.clone(), found.root.digest))
        })
        .collect();
    Record {
        version: RECORD_VERSION,
        order: Order {
            asked: asked.clone(),
            source: inputs.source.clone(),
            waivers: run.waivers.clone(),
            nonce: nonce.clone(),
            deadline: run.finished + SIGNING_SECONDS,
        },
        observed: Observed {
            nonce,
            asked: seen(asked, artifact, inputs),
            source: inputs.source.clone(),
            waivers,
            platform: Platform::HERE,
            sandbox_profile: SANDBOX_PROFILE.to_owned(),
            asked_limits: steps.iter().flat_map(|step| asked_limits(step)).collect(),
            options: steps.iter().flat_map(|step| options(step)).collect(),
            dependencies: dependencies(&steps, &environments, inputs),
            environments,
            subject: Subject { name: artifact.name.to_string(), blob },
            run: RunDetails {
                invocation: run.invocation.clone(),
                started: run.started,
                finished: run.finished,
                kiln_version: env!("CARGO_PKG_VERSION").to_owned(),
                kiln_digest: run.kiln_digest,
                backend: run.backend.to_owned(),
                host: run.host.clone(),
                rebuild: Rebuild::HostBound,
                steps: told,
                byproducts,
                claims: run.claims.clone(),
            },
        },
    }
}

/// Returns what was built, in the words of a request: what the plan knows comes from the plan.
fn seen(asked: Asked, artifact: &Artifact, inputs: &Inputs) -> Asked {
    let built = artifact.name.to_string();
    match asked {
        Asked::Build { build_file, overrides, .. } => {
            let read = inputs.build_file.as_ref().and_then(|(name, _)| RelPath::new(name).ok());
            Asked::Build {
                build_file: read.unwrap_or(build_file),
                target: built,
                matrix: artifact.choice_text(),
                overrides,
            }
        }
        Asked::Run { command, inputs, outputs, packages, environment, .. } => {
            Asked::Run { command, inputs, outputs, packages, environment, target: built }
        }
    }
}

fn dependencies(
    steps: &[&Step],
    environments: &BTreeMap<String, Digest>,
    inputs: &Inputs,
) -> Vec<Dependency> {
    let mut found = BTreeSet::new();
    for label in steps
        .iter()
        .flat_map(|step| &step.mounts)
        .filter(|mount| mount.epoch == Epoch::Source)
        .map(|mount| &mount.label)
    {
        if let Some(source) = inputs.sources.get(label) {
            found.insert(Dependency {
                role: Role::Source,
                kind: "local".to_owned(),
                name: label.clone(),
                uri: source.uri.clone(),
                digest: source.digest,
                digest_of: source.digest_of,
                git_commit: source.git_commit.clone(),
                git_tree: source.git_tree.clone(),
            });
        }
    }
    for (role, file) in [(Role::BuildFile, &inputs.build_file), (Role::Lock, &inputs.lock)] {
        if let Some((name, digest)) = file {
            found.insert(file_dependency(role, "local", name, *digest));
        }
    }
    for step in steps {
        if let Run::Script { text, .. } = &step.run {
            found.insert(file_dependency(
                Role::Script,
                "inline",
                &format!("{}:{SCRIPT_PATH}", step.id),
                Digest::of(text.as_bytes()),
            ));
        }
    }
    for (name, environment) in environments
        .keys()
        .filter_map(|name| inputs.environments.get(name).map(|found| (name, found)))
    {
        for part in &environment.parts {
            let name = if part.purl.is_none() && !part.name.starts_with('/') {
                format!("{name}: {}", part.name)
            } else {
                part.name.clone()
            };
            found.insert(Dependency {
                role: Role::Environment,
                kind: "host".to_owned(),
                name,
                uri: part.purl.clone(),
                digest: part.digest,
                digest_of: part.digest_of,
                git_commit: None,
                git_tree: None,
            });
        }
    }
    found.into_iter().collect()
}

fn file_dependency(role: Role, kind: &str, name: &str, digest: Digest) -> Dependency {
    Dependency {
        role,
        kind: kind.to_owned(),
        name: name.to_owned(),
        uri: None,
        digest,
        digest_of: DigestOf::File,
        git_commit: None,
        git_tree: None,
    }
}

/// Returns the limits that the build file writes for a step, under the step's name.
fn asked_limits(step: &Step) -> Vec<(String, String)> {
    let limits = &step.limits;
    let mut asked: Vec<(&str, String)> = Vec::new();
    if let Some(cpu) = limits.cpu.filter(|limit| limit.asked) {
        asked.push(("cpu", cpu.value.to_string()));
    }
    if let Some(memory) = limits.memory.filter(|limit| limit.asked) {
        asked.push(("memory", memory.value.to_string()));
    }
    if let Some(idle) = limits.idle.filter(|limit| limit.asked) {
        asked.push(("idle", idle.value.to_string()));
    }
    for (name, limit) in [("disk", &limits.disk), ("log", &limits.log)] {
        if limit.asked {
            asked.push((name, limit.value.to_string()));
        }
    }
    for (name, limit) in [("pids", &limits.pids), ("files", &limits.files)] {
        if limit.asked {
            asked.push((name, limit.value.to_string()));
        }
    }
    asked.into_iter().map(|(name, value)| (format!("{}.{name}", step.id), value)).collect()
}

/// Returns what a step widens or pins, under the step's name.
fn options(step: &Step) -> Vec<(String, String)> {
    let Widen { nested, fakeroot, abi32 } = step.widen;
    let mut all: Vec<(&str, String)> =
        [("nested", nested), ("fakeroot", fakeroot), ("abi32", abi32)]
            .into_iter()
            .filter(|(_, on)| *on)
            .map(|(name, _)| (name, "true".to_owned()))
            .collect();
    all.extend(step.cpus.map(|cpus| ("cpus", cpus.to_string())));
    all.into_iter().map(|(name, value)| (format!("{}.{name}", step.id), value)).collect()
}

/// Returns the limits that kiln itself keeps for a step. Those that the kernel keeps stand among the
/// mechanisms, with the value that was really set.
fn limits_in_force(step: &Step) -> BTreeMap<String, String> {
    let mut told = BTreeMap::from([
        ("timeout".to_owned(), step.timeout.to_string()),
        ("log".to_owned(), step.limits.log.value.to_string()),
    ]);
    if let Some(idle) = step.limits.idle {
        told.insert("idle".to_owned(), idle.value.to_string());
    }
    told
}

fn step_record(step: &Step, ran: &Ran) -> StepRecord {
    let result = &ran.result;
    let by_path = |path| match result.outputs.get(path) {
        Some(model::record::OutputRecord::File { blob, .. }) => Some(*blob),
        _ => None,
    };
    StepRecord {
        id: step.id.clone(),
        test: step.test,
        action: ran.action,
        environment: ran.environment.digest,
        cached_from: ran.cached.then(|| result.run.clone()),
        exit_code: 0,
        started: result.started,
        wall_ms: result.wall_ms,
        log: result.log,
        log_cut: result.log_cut,
        outputs: ran.outputs.clone(),
        reports: step
            .reports
            .iter()
            .filter_map(|(name, path)| by_path(path).map(|blob| (name.clone(), blob)))
            .collect(),
        enforced: result.enforced.clone(),
        limits: limits_in_force(step),
        left_processes: result.left_processes,
        network_attempts: result.network_attempts.clone(),
        network_heard: result.network_heard,
        cases: ran.cases.clone().filter(|_| step.test),
    }
}

fn byproducts(steps: &[StepRecord], run: &RunFacts) -> Vec<Byproduct> {
    let plain = |name: String, digest, media_type: &str| Byproduct {
        name,
        digest,
        media_type: media_type.to_owned(),
        annotations: BTreeMap::new(),
    };
    let mut found =
        vec![plain("plan.json".to_owned(), run.plan_digest, "application/vnd.kiln.plan.v1+json")];
    for step in steps {
        found.push(plain(format!("{}.log", step.id), step.log.digest, "text/plain"));
        let record = serde_json::to_vec(step).unwrap_or_default();
        found.push(plain(
            format!("{}.record.json", step.id),
            Digest::of(&record),
            "application/vnd.kiln.step-record.v1+json",
        ));
        for (name, report) in &step.reports {
            found.push(plain(format!("{}.{name}", step.id), report.digest, "application/xml"));
        }
    }
    found.sort();
    found
}

/// Returns what the run's details say of `NAME.inputs`.
pub fn inputs_byproduct(name: &str, digest: Digest, level: &str) -> Byproduct {
    let annotations = BTreeMap::from([("inputs".to_owned(), level.to_owned())]);
    Byproduct {
        name: name.to_owned(),
        digest,
        media_type: crate::inputs::MEDIA_TYPE.to_owned(),
        annotations,
    }
}
