//! What is handed over: a file as it is, or an archive that kiln writes.

use std::collections::{BTreeMap, BTreeSet};

use model::relpath::{Ident, Name, RelPath};
use model::step::StepId;
use serde::{Deserialize, Serialize};

/// One artifact: a subject of its own provenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Its file name in the output folder.
    pub name: Name,
    /// The matrix choice it belongs to.
    pub choice: BTreeMap<Ident, String>,
    /// What it is.
    pub kind: ArtifactKind,
}

/// What an artifact is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ArtifactKind {
    /// One output as it is.
    File {
        /// The output.
        member: Member,
        /// Whether it is made executable; by default as the output is.
        executable: Option<bool>,
    },
    /// An archive of outputs.
    Archive {
        /// The outputs.
        members: Vec<Member>,
        /// Its form.
        format: ArchiveFormat,
        /// The folder that everything in it lies in.
        prefix: RelPath,
    },
}

/// An output of a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The step.
    pub step: StepId,
    /// Its output.
    pub output: Ident,
}

/// Forms of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveFormat {
    /// POSIX tar.
    Tar,
    /// The same, gzip.
    TarGz,
    /// The same, Zstandard.
    TarZst,
}

impl Artifact {
    /// Returns the steps whose outputs it holds.
    pub fn steps(&self) -> BTreeSet<&StepId> {
        self.members().map(|member| &member.step).collect()
    }

    /// Returns its members, in the order of the build file.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        match &self.kind {
            ArtifactKind::File { member, .. } => std::slice::from_ref(member),
            ArtifactKind::Archive { members, .. } => members.as_slice(),
        }
        .iter()
    }

    /// Returns the matrix choice as one text, `axis=a,other=b`, or empty.
    pub fn choice_text(&self) -> String {
        self.choice
            .iter()
            .map(|(axis, value)| format!("{axis}={value}"))
            .collect::<Vec<_>>()
            .join(",")
    }
}
