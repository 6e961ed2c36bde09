//! Whether what a build writes is an input of the next one.
//!
//! `kiln-out` of the project is never part of a source. Another output folder is, where a source holds its place: a
//! build reads what an earlier one left there, and a copy of the project elsewhere builds something else. It is told,
//! and not left out: what a source holds must not depend on a flag.

use std::collections::BTreeSet;

use model::RelPath;

use super::build::Wish;
use super::survey::{Surveyed, real};
use super::{out_folder, prepare, select};
use crate::cli::Session;
use crate::diagnostic::Diagnostic;
use crate::export::SUMS_NAME;
use crate::manifest::beside;
use crate::project::Project;
use crate::source::{self, Scan};

/// Returns what is worth saying of an output folder where a source holds what would be written there.
///
/// # Errors
/// A source that cannot be asked.
pub fn note(
    session: &Session,
    project: &Project,
    wish: &Wish,
    surveyed: &Surveyed,
) -> Result<Option<String>, Vec<Diagnostic>> {
    if wish.output.is_none() {
        return Ok(None);
    }
    let manifest = &surveyed.manifest;
    let folder = real(&out_folder::folder(session, project, wish));
    let below = folder.strip_prefix(real(&project.folder)).ok();
    let below = below
        .map(|below| below.to_str().and_then(|below| RelPath::new(&format!("./{below}")).ok()));
    // Outside the project there is no source, and a path that is no text is in none.
    let Some(Some(below)) = below else { return Ok(None) };
    let (sources, user) = (prepare::local_sources(manifest)?, prepare::user_git(session));
    let scan = Scan {
        project: &project.folder,
        sources: &sources,
        user: &user,
        now: session.context.clock(),
    };
    let held = source::claims(&scan, &below, &names(surveyed))
        .map_err(|error| vec![select::source_error(manifest, &error)])?;
    let Some((holder, path)) = held else { return Ok(None) };
    let remedy = match below.is_here() {
        true => String::new(),
        false => format!(
            ", or leave it out of the source (exclude: [/{}/], or in git a line of .gitignore)",
            source_path(&below, &holder.path)
        ),
    };
    Ok(Some(format!(
        "source `{}` holds {}, so the next build reads what this one writes: write to a folder that no source holds, such \
         as kiln-out{remedy}",
        holder.name,
        shown(&path)
    )))
}

/// Returns the names of all that may be written.
fn names(surveyed: &Surveyed) -> BTreeSet<String> {
    let plan = &surveyed.sketch;
    let mut names = BTreeSet::from([SUMS_NAME.to_owned(), format!("{}.inputs", plan.name)]);
    for artifact in &plan.artifacts {
        let name = artifact.name.as_str();
        names.extend(beside::suffixes().into_iter().map(|suffix| format!("{name}{suffix}")));
        names.insert(name.to_owned());
    }
    names
}

/// Returns the folder's path below the source.
fn source_path(folder: &RelPath, source: &RelPath) -> String {
    let below = folder.as_str().strip_prefix(source.as_str()).unwrap_or(folder.as_str());
    model::text::escape(below.trim_start_matches('/').as_bytes())
}

fn shown(path: &impl ToString) -> String {
    model::text::escape(path.to_string().as_bytes())
}
