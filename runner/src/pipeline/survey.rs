//! Step 1 of the pipeline: the build file, its lock, and a plan without digests.
//!
//! The plan is drawn before anything is read besides these two files, since what it asks of the host
//! and what was asked for by name can be decided from it. Only its inputs have no digests yet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use model::digest::Blob;
use model::isolation::Guarantee;
use model::platform::Platform;
use model::relpath::Ident;

use super::build::Wish;
use super::pins::GENERATED_BY;
use super::select;
use crate::cli::Session;
use crate::diagnostic::{Code, Diagnostic};
use crate::lock;
use crate::manifest::{self, Epoch, Expanded, Manifest, SourceKind};
use crate::plan::Plan;
use crate::plan::action::Known;
use crate::plan::expand::{self, Grounds};
use crate::project::{BUILD_FILE, LOCK_FILE, Project};

/// Where a build file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of the project.
    File,
    /// Made up by `kiln run`: no file, no lock.
    CommandLine,
}

/// What the build file says, before anything else is read.
#[derive(Debug)]
pub struct Surveyed {
    /// The build file.
    pub manifest: Arc<Manifest>,
    /// What the matrix makes of it.
    pub expanded: Expanded,
    /// What is wanted of it, without digests.
    pub sketch: Plan,
    /// The lock's new text, where it would change.
    pub new_lock: Option<String>,
}

/// Reads the build file and the lock, and draws what is wanted.
///
/// # Errors
/// Everything that is wrong with them; a target that is not there; steps that wait for each other.
pub fn survey(
    session: &Session,
    project: &Project,
    wish: &Wish,
) -> Result<Surveyed, Vec<Diagnostic>> {
    let manifest = read_manifest(project)?;
    let expanded = manifest::expand(&manifest, Platform::HERE)?;
    let new_lock = match wish.from {
        Source::File => lock_text(session, project, &manifest)?,
        Source::CommandLine => None,
    };
    keep_key_out(session, project, &manifest)?;
    let mut sketch = draw(&manifest, &expanded, None, epoch(&manifest), &wish.waived);
    select::restrict(&mut sketch, &wish.targets, &wish.matrix)?;
    sketch.order().map_err(|error| vec![Diagnostic::new(Code::Cycle, error.to_string())])?;
    let manifest = Arc::new(manifest);
    Ok(Surveyed { manifest, expanded, sketch, new_lock })
}

/// Reads the build file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_manifest(project: &Project) -> Result<Manifest, Vec<Diagnostic>> {
    match &project.made_of {
        Some(origin) => manifest::parse_made(&project.build_file, origin.clone()),
        None => manifest::parse(&project.build_file, BUILD_FILE),
    }
}

/// Returns a plan without digests: enough to draw it.
///
/// # Errors
/// Everything that is wrong with the build file.
pub fn sketch(project: &Project) -> Result<(Manifest, Plan), Vec<Diagnostic>> {
    let manifest = read_manifest(project)?;
    let expanded = manifest::expand(&manifest, Platform::HERE)?;
    let plan = draw(&manifest, &expanded, None, epoch(&manifest), &BTreeSet::new());
    Ok((manifest, plan))
}

/// Returns the plan with the digests of `sources`, or with none at all.
pub fn draw(
    manifest: &Manifest,
    expanded: &Expanded,
    sources: Option<&BTreeMap<Ident, Known>>,
    epoch: i64,
    waived: &BTreeSet<Guarantee>,
) -> Plan {
    let nothing = Blob::of(b"");
    let unread = || {
        let names = manifest.sources.iter().map(|source| source.name.value.clone());
        names.map(|name| (name, Known::Tree(nothing))).collect()
    };
    let environments = manifest
        .environments
        .iter()
        .map(|environment| (environment.name.value.clone(), (nothing, Vec::new())))
        .collect();
    let grounds = Grounds {
        name: manifest.name.value.as_str(),
        sources: &sources.cloned().unwrap_or_else(unread),
        environments: &environments,
        epoch,
        waived,
    };
    expand::expand(expanded, &grounds)
}

fn epoch(manifest: &Manifest) -> i64 {
    match manifest.source_date_epoch {
        Epoch::Seconds(seconds) => seconds,
        Epoch::Commit(_) => model::T0_SECONDS,
    }
}

/// Returns the lock's new text where it is absent or stale; refuses to with `--locked`.
fn lock_text(
    session: &Session,
    project: &Project,
    manifest: &Manifest,
) -> Result<Option<String>, Vec<Diagnostic>> {
    let locked = session.global.locked || session.context.in_ci();
    let old = match &project.lock {
        Some(bytes) => Some(lock::parse(bytes, LOCK_FILE).map_err(|diagnostic| vec![*diagnostic])?),
        None => None,
    };
    let stale = match &old {
        Some(old) => lock::check(old, manifest, LOCK_FILE).err().map(|diagnostic| *diagnostic),
        None => Some(lock::absent(LOCK_FILE)),
    };
    match stale {
        None => Ok(None),
        // Pins are read from the host, which only `kiln lock` does.
        Some(stale) if locked || !lock::required(manifest).is_empty() => Err(vec![stale]),
        Some(_) => Ok(Some(lock::Lock::made_for(manifest, GENERATED_BY).to_text())),
    }
}

/// Refuses a local source that would bring kiln's own folders in, the one with the key among them.
fn keep_key_out(
    session: &Session,
    project: &Project,
    manifest: &Manifest,
) -> Result<(), Vec<Diagnostic>> {
    let own = [&session.context.config, &session.context.state, &session.context.store]
        .map(|path| real(path));
    for source in &manifest.sources {
        let SourceKind::Local { path, .. } = &source.kind;
        let folder = real(&project.folder.join(path.value.as_str()));
        if let Some(meets) =
            own.iter().find(|own| own.starts_with(&folder) || folder.starts_with(own))
        {
            return Err(vec![
                Diagnostic::new(
                    Code::WrongValue,
                    format!(
                        "source `{}` would bring in kiln's own folder {}",
                        source.name.value,
                        meets.display()
                    ),
                )
                .at(manifest.place(source.name.span))
                .why("a key or a store is no input of a build")
                .help("name a folder below it, or keep kiln's folders elsewhere"),
            ]);
        }
    }
    Ok(())
}

/// Returns a path without links, as far as it is there: a store may still have to be made.
pub(super) fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, mut real)) = found else { return path.to_owned() };
    for part in path.strip_prefix(above).unwrap_or(path).components() {
        match part {
            Component::ParentDir => drop(real.pop()),
            Component::Normal(name) => real.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    real
}
