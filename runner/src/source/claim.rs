//! Whether a file that a build is about to write would be part of a source.
//!
//! The same rules as the walk's, asked of names that need not be there yet. A nested repository is asked by its
//! `.gitignore` files alone: what its own index says is not looked at.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use model::RelPath;

use super::error::SourceError;
use super::exclude::{GIT_FOLDER, OUTPUT_FOLDER};
use super::git::ignore::Level;
use super::git::index::Known;
use super::node::is_recorded;
use super::open::Project;
use super::scan::{Around, LocalSource, Scan, below};
use super::walk;

/// Returns the source that would hold one of the files `names` in `folder` below the project, or that folder where
/// empty folders count; and the path of what it would hold.
///
/// # Errors
/// As [`scan`](super::scan()).
pub fn claims<'s>(
    scan: &Scan<'s>,
    folder: &RelPath,
    names: &BTreeSet<String>,
) -> Result<Option<(&'s LocalSource, String)>, SourceError> {
    let inside = if folder.is_here() { String::new() } else { format!("{folder}/") };
    let mut parts = inside.split('/');
    let top = parts.next().unwrap_or_default();
    if top == OUTPUT_FOLDER || top == GIT_FOLDER || parts.any(|part| part == GIT_FOLDER) {
        return Ok(None);
    }
    let holder = |path: &str, is_folder: bool| {
        scan.sources.iter().find(|source| source.covers(path, is_folder))
    };
    let around = Around::of(scan)?;
    let Some(repository) = &around.repository else {
        // Here an empty folder counts as well.
        let folder = (folder.to_string(), true);
        let files = names.iter().map(|name| (format!("{inside}{name}"), false));
        let all = (!inside.is_empty()).then_some(folder).into_iter().chain(files);
        let mut counted = all.filter(|(path, _)| !is_recorded(path));
        return Ok(counted.find_map(|(path, is_folder)| Some((holder(&path, is_folder)?, path))));
    };
    let whole = format!("{}{inside}", around.prefix);
    let base = walk::base_rules(repository, &around.user_rules, 0)?;
    let (rules, ignored) = rules_in(&repository.work_tree, &whole, base)?;
    let tracked = below(&around.index, &whole);
    for name in names {
        let path = format!("{inside}{name}");
        let by_rule = || {
            let whole = format!("{whole}{name}");
            ignored || rules.as_ref().is_some_and(|rules| rules.ignores(whole.as_bytes(), false))
        };
        if is_recorded(&path) || (tracked.file(name.as_bytes()) == Known::No && by_rule()) {
            continue;
        }
        if let Some(source) = holder(&path, false) {
            return Ok(Some((source, path)));
        }
    }
    Ok(None)
}

/// Collects the rules that hold for files of a folder, which need not be there, and says whether it or one above is
/// ignored. `path` is empty or ends with a slash.
fn rules_in(
    work_tree: &Path,
    path: &str,
    base: Option<Arc<Level>>,
) -> Result<(Option<Arc<Level>>, bool), SourceError> {
    let mut rules = base;
    let mut above = 0;
    loop {
        let folder = work_tree.join(&path[..above]);
        if folder.is_dir() {
            let here = Project::open(&folder)?;
            let here = walk::read_rules_if_any(here.folder(), &path[..above])?;
            rules = Level::over(rules, here, above);
        }
        let Some(slash) = path[above..].find('/').map(|at| above + at) else {
            return Ok((rules, false));
        };
        if rules.as_ref().is_some_and(|rules| rules.ignores(&path.as_bytes()[..slash], true)) {
            return Ok((rules, true));
        }
        above = slash + 1;
    }
}
