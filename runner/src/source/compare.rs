//! Compares the work tree with the commit that is checked out, by content and mode.
//!
//! Folders of equal git name are equal and not looked into, so a clean tree costs one tree object.
//! What no source holds is not looked at and counts as the commit has it: the result is the name of
//! the commit's tree with the sources laid over it.
//!
//! Does not catch: files that git would convert on the way in (`eol`, `autocrlf`, filters such as
//! LFS). Their bytes differ from the commit's, so they are told as changed.

use super::error::SourceError;
use super::exclude::{GIT_FOLDER, OUTPUT_FOLDER};
use super::git::object::{Objects, TreeEntry};
use super::git::{GitError, GitFormat, GitId};
use super::node::{
    Entry, Folder, Line, MODE_EXECUTABLE, MODE_FILE, MODE_FOLDER, MODE_GITLINK, MODE_SYMLINK, What,
    is_recorded, tree_id,
};
use super::scan::LocalSource;

/// A path in which the work tree differs from the commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirtyPath {
    /// The path below the project; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// How it differs.
    pub change: Change,
}

/// How a path differs from the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It is not in the commit.
    Added,
    /// Its content, kind or executable bit is another.
    Modified,
    /// It is not in the work tree.
    Deleted,
    /// A submodule has another commit checked out, or none.
    Submodule,
}

/// What the comparison needs all the way down.
pub(super) struct Comparison<'c> {
    pub(super) objects: &'c Objects,
    pub(super) format: GitFormat,
    pub(super) sources: &'c [LocalSource],
}

/// Compares one folder; returns the name of the commit's tree with the sources laid over it, none
/// if nothing is in it. `path` is empty or ends in a slash.
pub(super) fn folder(
    comparison: &Comparison<'_>,
    committed: Option<&GitId>,
    found: Option<&Folder>,
    path: &str,
    dirty: &mut Vec<DirtyPath>,
) -> Result<Option<GitId>, SourceError> {
    if let (Some(id), Some(Folder { git: Some(git), has_submodule: false, .. })) =
        (committed, found)
        && id == git
    {
        return Ok(committed.copied());
    }
    let theirs = committed.map(|id| comparison.objects.tree(id)).transpose()?.unwrap_or_default();
    let mut lines = Vec::new();
    for entry in &theirs {
        let ours = found.and_then(|folder| folder.get(std::str::from_utf8(&entry.name).ok()?));
        let path = format!("{path}{}", String::from_utf8_lossy(&entry.name));
        if let Some((mode, id)) = comparison.entry(entry, ours, path, dirty)? {
            lines.push(Line { mode, name: &entry.name, id });
        }
    }
    let mut names: Vec<&[u8]> = theirs.iter().map(|entry| entry.name.as_slice()).collect();
    names.sort_unstable();
    for ours in found.map(|folder| folder.entries.as_slice()).unwrap_or_default() {
        if names.binary_search(&ours.name.as_str().as_bytes()).is_err() {
            added(ours, path, dirty);
            lines.extend(ours.line());
        }
    }
    let nothing = lines.is_empty();
    let id = tree_id(&mut lines, comparison.format);
    Ok((!nothing).then_some(id))
}

impl Comparison<'_> {
    /// Compares one entry of the commit with what lies there; returns its line in the result.
    fn entry(
        &self,
        theirs: &TreeEntry,
        ours: Option<&Entry>,
        path: String,
        dirty: &mut Vec<DirtyPath>,
    ) -> Result<Option<(u32, GitId)>, SourceError> {
        let kept = Some((theirs.mode, theirs.id));
        let Some(ours) = ours else {
            if theirs.mode == MODE_FOLDER {
                let below = format!("{path}/");
                let left = folder(self, Some(&theirs.id), None, &below, dirty)?;
                return Ok(left.map(|id| (MODE_FOLDER, id)));
            }
            let submodule = theirs.mode == MODE_GITLINK;
            if !self.covers(&path, submodule) {
                return Ok(kept);
            }
            let change = if submodule { Change::Submodule } else { Change::Deleted };
            dirty.push(DirtyPath { path, change });
            return Ok(None);
        };
        match (&ours.what, theirs.mode) {
            (What::Folder(Folder { submodule: Some(repository), .. }), mode) => {
                if mode != MODE_GITLINK || repository.head.commit != Some(theirs.id) {
                    dirty.push(DirtyPath { path: path.clone(), change: Change::Submodule });
                }
                if let What::Folder(found) = &ours.what {
                    let below = format!("{path}/");
                    submodule(found, self.sources, &below, dirty)?;
                }
                return Ok(ours.line().map(|line| (line.mode, line.id)));
            }
            (What::Folder(found), MODE_FOLDER) => {
                let below = format!("{path}/");
                let id = folder(self, Some(&theirs.id), Some(found), &below, dirty)?;
                return Ok(id.map(|id| (MODE_FOLDER, id)));
            }
            _ => {}
        }
        let line = ours.line();
        if line.is_some_and(|line| line.id == theirs.id && line.mode == canonical(theirs.mode)) {
            return Ok(kept);
        }
        dirty.push(DirtyPath { path, change: Change::Modified });
        Ok(line.map(|line| (line.mode, line.id)))
    }

    /// Says whether a path below the project would have been found, had it been in the work tree.
    fn covers(&self, path: &str, is_folder: bool) -> bool {
        if is_recorded(path) {
            return true;
        }
        let top = path.split('/').next().unwrap_or_default();
        if top == OUTPUT_FOLDER || path.split('/').any(|part| part == GIT_FOLDER) {
            return false;
        }
        self.sources.iter().any(|source| source.covers(path, is_folder))
    }
}

/// Compares a submodule with the commit that is checked out in it.
fn submodule(
    found: &Folder,
    sources: &[LocalSource],
    path: &str,
    dirty: &mut Vec<DirtyPath>,
) -> Result<(), SourceError> {
    let Some(repository) = &found.submodule else { return Ok(()) };
    let committed =
        repository.head.commit.map(|commit| repository.objects.commit_tree(&commit)).transpose()?;
    let inner = Comparison { objects: &repository.objects, format: repository.format, sources };
    folder(&inner, committed.as_ref(), Some(found), path, dirty).map(drop)
}

/// Lists what lies in the work tree under a name that the commit does not have.
fn added(entry: &Entry, path: &str, dirty: &mut Vec<DirtyPath>) {
    let path = format!("{path}{}", entry.name);
    match &entry.what {
        What::Folder(Folder { submodule: None, entries, .. }) => {
            let below = format!("{path}/");
            entries.iter().for_each(|entry| added(entry, &below, dirty));
        }
        What::Folder(_) => dirty.push(DirtyPath { path, change: Change::Submodule }),
        What::File { .. } | What::Symlink { .. } => {
            dirty.push(DirtyPath { path, change: Change::Added });
        }
    }
}

/// Old trees hold other permission bits; git reads them as one of two.
fn canonical(mode: u32) -> u32 {
    match mode & 0o170_000 {
        0o100_000 if mode & 0o100 != 0 => MODE_EXECUTABLE,
        0o100_000 => MODE_FILE,
        0o120_000 => MODE_SYMLINK,
        _ => mode,
    }
}

/// Returns the name of the tree at a path below a commit's tree, if the commit has it.
pub(super) fn subfolder(
    objects: &Objects,
    root: GitId,
    path: &str,
) -> Result<Option<GitId>, GitError> {
    let mut id = root;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let entries = objects.tree(&id)?;
        let found = entries.iter().find(|entry| entry.name == part.as_bytes());
        match found {
            Some(entry) if entry.mode == MODE_FOLDER => id = entry.id,
            _ => return Ok(None),
        }
    }
    Ok(Some(id))
}
