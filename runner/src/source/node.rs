//! What the walk found: the project's folders and files with both names of each.
//!
//! One walk serves all sources, since they may overlap: every entry says which of them hold it. The
//! build file and the lock file are held by none, but belong to git's view of the project.

use model::{Blob, Name, RelPath};

use super::exclude::{BUILD_FILE, LOCK_FILE};
use super::git::id::ObjectKind;
use super::git::repository::Repository;
use super::git::{GitFormat, GitId};

/// A set of local sources, by their position: bit 0 is the first.
pub(super) type SourceSet = u64;

/// Modes of entries in git's trees.
pub(super) const MODE_FILE: u32 = 0o100_644;
pub(super) const MODE_EXECUTABLE: u32 = 0o100_755;
pub(super) const MODE_SYMLINK: u32 = 0o120_000;
pub(super) const MODE_FOLDER: u32 = 0o040_000;
pub(super) const MODE_GITLINK: u32 = 0o160_000;

/// One folder of the work tree.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Sorted by the bytes of their names.
    pub(super) entries: Vec<Entry>,
    /// The name that git would give to a tree of these entries; none outside git, and none if
    /// there is no file in it.
    pub(super) git: Option<GitId>,
    /// The repository, if this folder is a submodule.
    pub(super) submodule: Option<Box<Repository>>,
    /// Whether it is a submodule or one lies below.
    pub(super) has_submodule: bool,
}

/// One name in a folder.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Name,
    /// Which sources hold it. For a folder: which may hold something in it.
    pub(super) sources: SourceSet,
    pub(super) what: What,
}

/// What a name stands for.
#[derive(Debug)]
pub(super) enum What {
    File { blob: Blob, executable: bool, git: Option<GitId> },
    Symlink { target: String, git: Option<GitId> },
    Folder(Folder),
}

impl Folder {
    /// Returns the entry of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()?;
        self.entries.get(at)
    }

    /// Computes git's name of this folder from its entries.
    pub(super) fn name_for_git(&self, format: GitFormat) -> Option<GitId> {
        let mut lines: Vec<Line<'_>> = self.entries.iter().filter_map(Entry::line).collect();
        (!lines.is_empty()).then(|| tree_id(&mut lines, format))
    }
}

impl Entry {
    /// Returns how git's tree of the folder lists this entry; none for a folder without files.
    pub(super) fn line(&self) -> Option<Line<'_>> {
        let (mode, id) = match &self.what {
            What::File { executable: false, git, .. } => (MODE_FILE, (*git)?),
            What::File { executable: true, git, .. } => (MODE_EXECUTABLE, (*git)?),
            What::Symlink { git, .. } => (MODE_SYMLINK, (*git)?),
            What::Folder(Folder { submodule: Some(repository), .. }) => {
                (MODE_GITLINK, repository.head.commit?)
            }
            What::Folder(folder) => (MODE_FOLDER, folder.git?),
        };
        Some(Line { mode, name: self.name.as_str().as_bytes(), id })
    }
}

/// One line of a git tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'name> {
    pub(super) mode: u32,
    pub(super) name: &'name [u8],
    pub(super) id: GitId,
}

/// Sorts the lines as git does, a folder as if its name ended in a slash, and names the tree.
pub(super) fn tree_id(lines: &mut [Line<'_>], format: GitFormat) -> GitId {
    lines.sort_by(|a, b| sort_key(a).cmp(sort_key(b)));
    let mut bytes = Vec::with_capacity(lines.len() * 64);
    for line in lines {
        octal(line.mode, &mut bytes);
        bytes.push(b' ');
        bytes.extend_from_slice(line.name);
        bytes.push(0);
        bytes.extend_from_slice(line.id.as_bytes());
    }
    format.name(ObjectKind::Tree, &bytes)
}

fn sort_key<'line>(line: &Line<'line>) -> impl Iterator<Item = &'line u8> + use<'line> {
    let end: &[u8] = if line.mode == MODE_FOLDER { b"/" } else { b"" };
    line.name.iter().chain(end)
}

/// Modes are written in octal without leading zeros.
fn octal(mode: u32, out: &mut Vec<u8>) {
    let digits = (32 - mode.leading_zeros()).div_ceil(3).max(1);
    out.extend((0..digits).rev().map(|place| b'0' + (mode >> (place * 3) & 7) as u8));
}

/// Says whether a path relative to the project is the build file or the lock file.
pub(super) fn is_recorded(path: &str) -> bool {
    path == BUILD_FILE || path == LOCK_FILE
}

/// Returns the entry at a path below `root`.
pub(super) fn find<'tree>(root: &'tree Folder, path: &RelPath) -> Option<&'tree Entry> {
    let (above, name) = path.split_last()?;
    let mut folder = root;
    for part in above.parts() {
        folder = match &folder.get(part)?.what {
            What::Folder(next) => next,
            _ => return None,
        };
    }
    folder.get(name.as_str())
}
