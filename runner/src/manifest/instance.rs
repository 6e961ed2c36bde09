//! Instances: one step, test or artifact of one combination of the matrix, without placeholders.
//!
//! They are still wishes: sources, environments and outputs are named, not known by digest.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use model::limits::{Limits, Millis};
use model::step::{OutputKind, Run, StepId, Widen};
use model::{AbsPath, Ident, Name, RelPath};

use super::artifact::FileMode;
use super::matrix::Combination;
use crate::diagnostic::Span;

/// Everything that the matrix makes of a build file for one platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// Steps and tests: in the order of the file, each for all combinations.
    pub instances: Vec<Instance>,
    /// Artifacts, likewise.
    pub artifacts: Vec<ArtifactInstance>,
}

/// One step or test of one combination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its name.
    pub id: StepId,
    /// The step it is an instance of.
    pub step: Ident,
    /// Where that step's name stands.
    pub at: Span,
    /// The combination.
    pub combination: Combination,
    /// Its environment.
    pub environment: Ident,
    /// The output that is its root, if the environment is made by a step.
    pub root: Option<OutputOf>,
    /// Sources, sorted by place: where each lies below `/build`.
    pub mounts: Vec<MountAt>,
    /// Outputs of other steps, sorted by place.
    pub from: Vec<TakenAt>,
    /// Steps that must have passed before.
    pub needs: Vec<StepId>,
    /// The environment's variables with its own over them.
    pub env: BTreeMap<String, String>,
    /// What runs.
    pub run: Run,
    /// Where `run` stands.
    pub run_at: Span,
    /// What is taken out.
    pub outputs: BTreeMap<Ident, OutputAt>,
    /// Limits, each knowing whether it was asked for.
    pub limits: Limits,
    /// Wall time allowed.
    pub timeout: Millis,
    /// Processors it is pinned to.
    pub cpus: Option<NonZeroU32>,
    /// What it may do besides.
    pub widen: Widen,
    /// Whether it is a test, and which report it leaves.
    pub role: InstanceRole,
}

impl Instance {
    /// Returns where the build file puts something at this place of the step.
    pub fn placed_at(&self, place: &AbsPath) -> Option<Span> {
        let work = AbsPath::new(model::step::WORK_FOLDER).ok()?;
        let mounts = self.mounts.iter().map(|mount| (work.join(&mount.path), mount.at));
        let from = self.from.iter().map(|taken| (taken.path.clone(), taken.at));
        mounts.chain(from).find_map(|(path, at)| (path == *place).then_some(at))
    }
}

/// Whether an instance makes something or checks something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceRole {
    /// It makes outputs.
    Step,
    /// It checks and ships nothing.
    Test {
        /// Reports below `/build`, by kind.
        reports: BTreeMap<Ident, RelPath>,
    },
}

/// An output of an instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputOf {
    /// The instance.
    pub step: StepId,
    /// Its output.
    pub output: Ident,
}

/// A source at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountAt {
    /// The source.
    pub source: Ident,
    /// Its place below `/build`.
    pub path: RelPath,
    /// Where the build file says so.
    pub at: Span,
}

/// An output of another step at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenAt {
    /// The output.
    pub output: OutputOf,
    /// Its place in the step.
    pub path: AbsPath,
    /// Where the build file says so.
    pub at: Span,
}

/// An output with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputAt {
    /// Its place below `/build`; never `/build` itself.
    pub path: RelPath,
    /// What it must be.
    pub kind: OutputKind,
    /// Where the build file says so.
    pub at: Span,
}

/// One artifact of one combination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactInstance {
    /// Its file name, unique over all.
    pub name: Name,
    /// The combination.
    pub combination: Combination,
    /// Where the build file declares it.
    pub at: Span,
    /// What it is.
    pub kind: ArtifactInstanceKind,
}

/// What one artifact is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactInstanceKind {
    /// One output file as it is.
    File {
        /// The output.
        file: OutputOf,
        /// Its mode; none means by its executable bit.
        mode: Option<FileMode>,
    },
    /// An archive that kiln writes.
    Archive {
        /// The outputs in it.
        members: Vec<OutputOf>,
        /// How it is packed.
        format: ArchiveFormat,
        /// The folder that everything in it lies in.
        prefix: RelPath,
    },
}

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArchiveFormat {
    /// tar, not compressed.
    Tar,
    /// tar, with gzip.
    TarGz,
    /// tar, with zstd.
    TarZst,
}

impl ArchiveFormat {
    /// All of them with their suffixes, the longest first.
    pub const ALL: [(ArchiveFormat, &'static str); 3] = [
        (ArchiveFormat::TarZst, ".tar.zst"),
        (ArchiveFormat::TarGz, ".tar.gz"),
        (ArchiveFormat::Tar, ".tar"),
    ];
}
