//! From the build file's instances and inputs that are known by digest to a [`Plan`].
//!
//! Pure: what lies in a source or an environment was found out before. This is the one place where
//! wishes of the build file become concrete steps, so rules that hold for every step (the fixed
//! variables, times and mount modes) stand here and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use model::digest::Blob;
use model::isolation::Guarantee;
use model::relpath::{AbsPath, Ident};
use model::step::{Epoch, Input, MountMode, Output, Step, StepMount, WORK_FOLDER};

use super::action::Known;
use super::{ArchiveFormat, Artifact, ArtifactKind, Member, Plan};
use crate::environment;
use crate::manifest::{
    self, ArtifactInstance, ArtifactInstanceKind, Expanded, FileMode, Instance, InstanceRole,
    OutputOf,
};

/// The search path that every step starts with.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a plan is made from besides the build file.
#[derive(Clone, Debug)]
pub struct Grounds<'a> {
    /// The project's name.
    pub name: &'a str,
    /// The sources, by name.
    pub sources: &'a BTreeMap<Ident, Known>,
    /// The host environments, by name: root, and what goes to the front of `PATH`.
    pub environments: &'a BTreeMap<Ident, (Blob, Vec<AbsPath>)>,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: i64,
    /// Guarantees allowed to be absent.
    pub waived: &'a BTreeSet<Guarantee>,
}

/// Returns the plan. A step whose source or environment is not among the grounds is left out; the
/// build file's reader has refused those already.
pub fn expand(expanded: &Expanded, grounds: &Grounds<'_>) -> Plan {
    let steps = expanded.instances.iter().filter_map(|instance| step(instance, grounds));
    Plan {
        name: grounds.name.to_owned(),
        steps: steps.map(|step| (step.id.clone(), step)).collect(),
        artifacts: expanded.artifacts.iter().map(artifact).collect(),
        epoch: grounds.epoch,
    }
}

fn step(instance: &Instance, grounds: &Grounds<'_>) -> Option<Step> {
    let (environment, environment_name, prefixes) = match &instance.root {
        Some(root) => (output(root), format!("{}.{}", root.step, root.output), Vec::new()),
        None => {
            let (root, prefixes) = grounds.environments.get(&instance.environment)?;
            (Input::Tree(*root), instance.environment.to_string(), prefixes.clone())
        }
    };
    let (test, reports) = match &instance.role {
        InstanceRole::Step => (false, BTreeMap::new()),
        InstanceRole::Test { reports } => (true, reports.clone()),
    };
    Some(Step {
        id: instance.id.clone(),
        test,
        environment,
        environment_name,
        mounts: mounts(instance, grounds)?,
        needs: instance.needs.iter().cloned().collect(),
        env: variables(instance, &prefixes, grounds.epoch),
        run: instance.run.clone(),
        outputs: instance
            .outputs
            .iter()
            .map(|(name, at)| (name.clone(), Output { path: at.path.clone(), kind: at.kind }))
            .collect(),
        reports,
        limits: instance.limits,
        timeout: instance.timeout,
        cpus: instance.cpus,
        widen: instance.widen,
        waived: grounds.waived.clone(),
    })
}

/// Returns what is mounted, parents before children: `sources` as private views with the later time,
/// outputs of other steps as private views with T0 (decisions 1 and 2).
fn mounts(instance: &Instance, grounds: &Grounds<'_>) -> Option<Vec<StepMount>> {
    let mut found = Vec::with_capacity(instance.mounts.len() + instance.from.len());
    for mount in &instance.mounts {
        let input = match grounds.sources.get(&mount.source)? {
            Known::Tree(blob) => Input::Tree(*blob),
            Known::File { blob, executable } => {
                Input::File { blob: *blob, executable: *executable }
            }
        };
        found.push(StepMount {
            at: work_folder().join(&mount.path),
            input,
            mode: MountMode::View,
            epoch: Epoch::Source,
            label: mount.source.to_string(),
        });
    }
    for taken in &instance.from {
        found.push(StepMount {
            at: taken.path.clone(),
            input: output(&taken.output),
            mode: MountMode::View,
            epoch: Epoch::Base,
            label: format!("{}.{}", taken.output.step, taken.output.output),
        });
    }
    found.sort_by(|left, right| left.at.cmp(&right.at));
    Some(found)
}

fn variables(instance: &Instance, prefixes: &[AbsPath], epoch: i64) -> BTreeMap<String, String> {
    let fixed = [
        ("PATH", environment::path_with(prefixes, PATH)),
        ("HOME", WORK_FOLDER.to_owned()),
        ("TMPDIR", "/tmp".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("TZ", "UTC".to_owned()),
        ("SOURCE_DATE_EPOCH", epoch.to_string()),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
    ];
    let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
    fixed.chain(instance.env.clone()).collect()
}

fn artifact(instance: &ArtifactInstance) -> Artifact {
    let kind = match &instance.kind {
        ArtifactInstanceKind::File { file, mode } => ArtifactKind::File {
            member: member(file),
            executable: mode.map(|mode| match mode {
                FileMode::Plain => false,
                FileMode::Executable => true,
            }),
        },
        ArtifactInstanceKind::Archive { members, format, prefix } => ArtifactKind::Archive {
            members: members.iter().map(member).collect(),
            format: match format {
                manifest::ArchiveFormat::Tar => ArchiveFormat::Tar,
                manifest::ArchiveFormat::TarGz => ArchiveFormat::TarGz,
                manifest::ArchiveFormat::TarZst => ArchiveFormat::TarZst,
            },
            prefix: prefix.clone(),
        },
    };
    let choice =
        instance.combination.iter().map(|(axis, value)| (axis.clone(), value.to_owned())).collect();
    Artifact { name: instance.name.clone(), choice, kind }
}

fn output(of: &OutputOf) -> Input {
    Input::Output { step: of.step.clone(), output: of.output.clone() }
}

fn member(of: &OutputOf) -> Member {
    Member { step: of.step.clone(), output: of.output.clone() }
}

fn work_folder() -> AbsPath {
    AbsPath::new(WORK_FOLDER).unwrap_or_default()
}
