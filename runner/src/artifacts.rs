//! From outputs to artifacts: a file as it is, or an archive that kiln writes.

use std::collections::BTreeMap;

use model::digest::Blob;
use model::record::OutputRecord;
use model::relpath::RelPath;
use model::step::{OutputKind, StepId};

use crate::archive::{self, ArchiveError, Format, MemberKind};
use crate::diagnostic::{Code, Diagnostic};
use crate::execute::Ran;
use crate::plan::{ArchiveFormat, Artifact, ArtifactKind, Member, Plan};
use crate::refusal;
use crate::store::Store;

/// An artifact whose bytes are in the store.
#[derive(Clone, Debug)]
pub struct Made {
    /// The artifact.
    pub artifact: Artifact,
    /// Its bytes.
    pub blob: Blob,
    /// Whether it is handed over as executable.
    pub executable: bool,
}

/// Makes every artifact of a plan whose steps all have results.
///
/// # Errors
/// Names the artifact that cannot be made.
pub fn make(
    store: &Store,
    plan: &Plan,
    ran: &BTreeMap<StepId, Ran>,
) -> Result<Vec<Made>, Diagnostic> {
    plan.artifacts.iter().map(|artifact| one(store, plan, ran, artifact)).collect()
}

fn one(
    store: &Store,
    plan: &Plan,
    ran: &BTreeMap<StepId, Ran>,
    artifact: &Artifact,
) -> Result<Made, Diagnostic> {
    let find =
        |member: &Member| ran.get(&member.step).and_then(|ran| ran.outputs.get(&member.output));
    let lost = |member: &Member| {
        Diagnostic::new(
            Code::Internal,
            format!(
                "artifact `{}`: `{}.{}` has no result",
                artifact.name, member.step, member.output
            ),
        )
    };
    match &artifact.kind {
        ArtifactKind::File { member, executable } => {
            match find(member).ok_or_else(|| lost(member))? {
                OutputRecord::File { blob, executable: found } => Ok(Made {
                    artifact: artifact.clone(),
                    blob: *blob,
                    executable: executable.unwrap_or(*found),
                }),
                OutputRecord::Tree(_) => Err(lost(member)),
            }
        }
        ArtifactKind::Archive { members, format, prefix } => {
            let mut entries = Vec::with_capacity(members.len());
            for member in members {
                let output = find(member).ok_or_else(|| lost(member))?;
                entries.push(entry(plan, member, output).ok_or_else(|| lost(member))?);
            }
            let blob = archive::write(store, kind(*format), prefix, &entries, plan.epoch)
                .map_err(|error| told(artifact, &error))?;
            Ok(Made { artifact: artifact.clone(), blob, executable: false })
        }
    }
}

/// Returns a member's place: a file keeps its name, a folder lies under its own, and a folder or root
/// that is alone in its archive is laid out in the prefix.
fn entry(plan: &Plan, member: &Member, output: &OutputRecord) -> Option<archive::Member> {
    let declared = plan.steps.get(&member.step)?.outputs.get(&member.output)?;
    let (_, name) = declared.path.split_last()?;
    let (at, kind) = match (output, declared.kind) {
        (OutputRecord::File { blob, executable }, _) => (
            RelPath::here().child(&name),
            MemberKind::File { blob: *blob, executable: *executable },
        ),
        (OutputRecord::Tree(blob), OutputKind::Root) => (RelPath::here(), MemberKind::Root(*blob)),
        (OutputRecord::Tree(blob), OutputKind::Dir | OutputKind::File) => {
            (RelPath::here(), MemberKind::Tree(*blob))
        }
    };
    Some(archive::Member { at, kind })
}

fn kind(format: ArchiveFormat) -> Format {
    match format {
        ArchiveFormat::Tar => Format::Tar,
        ArchiveFormat::TarGz => Format::TarGz,
        ArchiveFormat::TarZst => Format::TarZst,
    }
}

fn told(artifact: &Artifact, error: &ArchiveError) -> Diagnostic {
    let headline = format!("artifact `{}`: {error}", artifact.name);
    let diagnostic = match error {
        ArchiveError::Store(cause) => return refusal::store(cause),
        ArchiveError::Collision { .. } => Diagnostic::new(Code::Collision, headline).help("put one of the outputs into an archive of its own"),
        ArchiveError::LinkLeaves { .. } => Diagnostic::new(Code::OutputRefused, headline)
            .why("whoever unpacks the archive would follow the link out of it")
            .help("let the step make a relative link that stays inside, or declare the output  as: root"),
        ArchiveError::Time { .. } | ArchiveError::Write(_) => Diagnostic::new(Code::Internal, headline),
    };
    refusal::with_causes(diagnostic, error)
}
